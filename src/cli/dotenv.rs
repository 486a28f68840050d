//! Env-files: variables in dotenv format.

use super::file;
use crate::config::Variables;
use std::path::Path;

/// The variables of a file, in order. They are only handed on: our own environment stays as it is.
///
/// # Errors
///
/// Why there are none, in words. A line that is wrong is told by its number alone, since what stands in it may be secret.
pub fn variables(path: &Path) -> Result<Variables, String> {
    let bytes = file::read(path)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    parse(&text)
}

fn parse(text: &str) -> Result<Variables, String> {
    // A mark at the beginning is no part of a name, and the last line needs no end.
    let whole = format!("{}\n", text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut variables = Vec::new();
    for item in dotenvy::from_read_iter(whole.as_bytes()) {
        match item {
            Ok((name, value)) if value.contains('\0') => return Err(format!("the value of {name} holds a NUL")),
            Ok(variable) => variables.push(variable),
            Err(dotenvy::Error::LineParse(part, _)) => return Err(unreadable(&whole, &part)),
            Err(_) => return Err("it cannot be read".to_owned()),
        }
    }
    Ok(variables)
}

/// Where the part stands that is no assignment. It may begin within a line and go over several.
fn unreadable(text: &str, part: &str) -> String {
    let what = "is no NAME=value, or has a quote that is not closed";
    match text.find(part).filter(|_| !part.trim().is_empty()) {
        Some(at) => {
            let before = text.get(..at).unwrap_or_default();
            format!("line {} {what}", before.matches('\n').count() + 1)
        }
        None => format!("a line {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn the_dotenv_format_is_read() {
        let text = "\u{feff}# comment\n\nA=1\nexport B = two # more\nC='$x \"y\"'\nD=\"line\\nline\"\nE=\nF=\"${A}1\"\n\
                    G='over\nlines'\nA=last";
        let expected = [
            ("A", "1"),
            ("B", "two"),
            ("C", "$x \"y\""),
            ("D", "line\nline"),
            ("E", ""),
            ("F", "11"),
            ("G", "over\nlines"),
            ("A", "last"),
        ];
        assert_eq!(pairs(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_never_shown() {
        for (text, line) in [
            ("A=1\nhunter2\n", "line 2 "),
            ("A=1\n\nB=hunter2 hunter3\n", "line 3 "),
            ("# x\nA='hunter2\nhunter3\n", "line 2 "),
            ("1=hunter2", "line 1 "),
            ("A=\"hunter2\\q\"", "line 1 "),
            ("A=hunter2\0", "the value of A "),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.starts_with(line) && !why.contains("hunter"), "{text:?}: {why}");
        }
    }
}
