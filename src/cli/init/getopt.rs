//! Options as getopt(3) reads them when it stops at the first word that is none: letters in one word, values in the same word or
//! the next, `--` as an end.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// What a command line knows.
pub struct Options {
    /// Letters; those that have a value are followed by a colon.
    pub letters: &'static str,
    /// Long names, the letters they stand for.
    pub names: &'static [(&'static str, char)],
}

#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    Unknown(String),
    NoValue(String),
    /// A value for an option that has none.
    SuperfluousValue(String),
}

/// In the words of glibc's getopt(3).
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_letter = |what: &str| what.chars().count() == 1;
        match self {
            Wrong::Unknown(letter) if is_letter(letter) => write!(f, "invalid option -- '{letter}'"),
            Wrong::Unknown(word) => write!(f, "unrecognized option '{word}'"),
            Wrong::NoValue(letter) if is_letter(letter) => write!(f, "option requires an argument -- '{letter}'"),
            Wrong::NoValue(name) => write!(f, "option '--{name}' requires an argument"),
            Wrong::SuperfluousValue(name) => write!(f, "option '--{name}' doesn't allow an argument"),
        }
    }
}

/// Letters with their values, in order.
pub type Given = Vec<(char, Option<OsString>)>;

impl Options {
    /// The letters that were given, with their values, and the words behind them.
    pub fn read<'a>(&self, words: &'a [OsString]) -> Result<(Given, &'a [OsString]), Wrong> {
        let mut given = Vec::new();
        let mut rest = words;
        while let Some((word, behind)) = rest.split_first() {
            match word.as_bytes() {
                b"--" => return Ok((given, behind)),
                [b'-', b'-', ..] => rest = self.long(word, behind, &mut given)?,
                [b'-', letters @ ..] if !letters.is_empty() => rest = self.short(letters, behind, &mut given)?,
                _ => return Ok((given, rest)),
            }
        }
        Ok((given, rest))
    }

    fn short<'a>(
        &self,
        mut letters: &[u8],
        mut behind: &'a [OsString],
        given: &mut Given,
    ) -> Result<&'a [OsString], Wrong> {
        while let Some((&letter, others)) = letters.split_first() {
            let letter = char::from(letter);
            let has_value = self.has_value(letter).ok_or_else(|| Wrong::Unknown(letter.to_string()))?;
            let value = match (has_value, others.is_empty(), behind.split_first()) {
                (false, ..) => None,
                (true, false, _) => Some(OsStr::from_bytes(others).to_owned()),
                (true, true, Some((value, after))) => {
                    behind = after;
                    Some(value.clone())
                }
                (true, true, None) => return Err(Wrong::NoValue(letter.to_string())),
            };
            given.push((letter, value));
            letters = if has_value { &[] } else { others };
        }
        Ok(behind)
    }

    /// Names may be cut short as long as one alone begins so.
    fn long<'a>(&self, word: &OsStr, behind: &'a [OsString], given: &mut Given) -> Result<&'a [OsString], Wrong> {
        let text = word.to_string_lossy();
        let plain = text.strip_prefix("--").unwrap_or(&text);
        let (name, value) = match plain.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (plain.to_owned(), None),
        };
        let exact = self.names.iter().filter(|(known, _)| *known == name).collect::<Vec<_>>();
        let begun = self.names.iter().filter(|(known, _)| known.starts_with(&name)).collect::<Vec<_>>();
        let letter = match (exact.as_slice(), begun.as_slice()) {
            ([(_, letter)], _) | ([], [(_, letter)]) => *letter,
            _ => return Err(Wrong::Unknown(text.into_owned())),
        };
        match (self.has_value(letter) == Some(true), value) {
            (true, None) => {
                let (value, after) = behind.split_first().ok_or(Wrong::NoValue(name))?;
                given.push((letter, Some(value.clone())));
                Ok(after)
            }
            (false, Some(_)) => Err(Wrong::SuperfluousValue(name)),
            (_, value) => {
                given.push((letter, value));
                Ok(behind)
            }
        }
    }

    /// `None` for a letter that there is not.
    fn has_value(&self, letter: char) -> Option<bool> {
        let at = self.letters.find(letter).filter(|_| letter != ':')?;
        Some(self.letters[at + letter.len_utf8()..].starts_with(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { letters: "vp:s", names: &[("verbose", 'v'), ("value", 'p'), ("single", 's')] };

    fn read(words: &str) -> Result<(String, usize), Wrong> {
        let words = words.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        let (given, rest) = OPTIONS.read(&words)?;
        let show = |(letter, value): (char, Option<OsString>)| match value {
            Some(value) => format!("{letter}={} ", value.to_string_lossy()),
            None => format!("{letter} "),
        };
        Ok((given.into_iter().map(show).collect::<String>().trim_end().to_owned(), rest.len()))
    }

    fn good(given: &str, rest: usize) -> Result<(String, usize), Wrong> {
        Ok((given.to_owned(), rest))
    }

    #[test]
    fn letters_values_and_names_are_read_as_getopt_does() {
        assert_eq!(read("-vvs prog -v"), good("v v s", 2));
        assert_eq!(read("-vpX prog"), good("v p=X", 1));
        assert_eq!(read("-p X -- -v"), good("p=X", 1));
        assert_eq!(read("--value=X --verb --single prog -- x"), good("p=X v s", 3));
        assert_eq!(read("- x"), good("", 2));
        assert_eq!(read("prog"), good("", 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(read("-vx prog"), Err(Wrong::Unknown("x".into())));
        assert_eq!(read("-:"), Err(Wrong::Unknown(":".into())));
        assert_eq!(read("-p"), Err(Wrong::NoValue("p".into())));
        assert_eq!(read("--v x"), Err(Wrong::Unknown("--v".into())), "two begin so");
        assert_eq!(read("--nope"), Err(Wrong::Unknown("--nope".into())));
        assert_eq!(read("----verbose"), Err(Wrong::Unknown("----verbose".into())));
        assert_eq!(read("--single=1"), Err(Wrong::SuperfluousValue("single".into())));
        assert_eq!(read("-x").unwrap_err().to_string(), "invalid option -- 'x'");
        assert_eq!(read("--nope").unwrap_err().to_string(), "unrecognized option '--nope'");
        assert_eq!(read("-p").unwrap_err().to_string(), "option requires an argument -- 'p'");
        assert_eq!(read("--value").unwrap_err().to_string(), "option '--value' requires an argument");
        assert_eq!(read("--single=1").unwrap_err().to_string(), "option '--single' doesn't allow an argument");
    }
}
