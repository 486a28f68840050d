//! Values in quotes, and what is expanded in them.

use super::{LineError, Parser, error};
use std::env::VarError;
use std::ops::Range;

impl<'a> Parser<'a> {
    /// Everything up to the closing quote is literal, but for `\'`. A backslash before a backslash does not escape a quote.
    pub(super) fn single_quoted(&mut self, name: &str) -> Result<String, LineError> {
        let opening = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let (start, Some(c)) = (self.at, self.next()) else { return Err(unclosed(opening)) };
            self.at += c.len_utf8();
            match (c, self.next()) {
                ('\'', _) => break,
                ('\\', Some('\'')) => {
                    self.at += 1;
                    value.push('\'');
                }
                ('\\', Some('\\')) => {
                    self.at += 1;
                    value.push_str("\\\\");
                }
                _ => value.push(c),
            }
            self.check(name, &value, start..self.at)?;
        }
        self.end_of_quoted()?;
        Ok(value)
    }

    /// With escapes, `${NAME}` and `${NAME:-default}`.
    pub(super) fn double_quoted(&mut self, name: &str) -> Result<String, LineError> {
        let opening = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let start = self.at;
            match self.next() {
                None => {
                    return Err(unclosed(opening));
                }
                Some('"') => break,
                Some('\\') => value.push_str(self.escape()?),
                Some('$') if self.rest().starts_with("${") => value.push_str(&self.expansion()?),
                Some(c) => {
                    self.at += c.len_utf8();
                    value.push(c);
                }
            }
            self.check(name, &value, start..self.at)?;
        }
        self.at += 1;
        self.end_of_quoted()?;
        Ok(value)
    }

    /// What a backslash and the character behind it mean. An escape that is not known stays as it is.
    fn escape(&mut self) -> Result<&'a str, LineError> {
        let start = self.at;
        self.at += 1 + self.rest().chars().nth(1).map_or(0, char::len_utf8);
        let written = self.text.get(start..self.at).unwrap_or_default();
        Ok(match written {
            "\\n" => "\n",
            "\\r" => "\r",
            "\\t" => "\t",
            "\\a" => "\u{7}",
            "\\b" => "\u{8}",
            "\\f" => "\u{c}",
            "\\v" => "\u{b}",
            "\\\"" | "\\\\" | "\\$" => written.get(1..).unwrap_or_default(),
            "\\'" | "\\0" => {
                let message = "the escapes \\' and \\0 mean different things to different programs";
                let help = "write ' for a quote, two backslashes for one, or put the value in single quotes";
                return Err(error(start..self.at, message).help(help));
            }
            _ => written,
        })
    }

    /// `${NAME}` or `${NAME:-default}`.
    fn expansion(&mut self) -> Result<String, LineError> {
        let start = self.at;
        self.at += 2;
        let length = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest().len());
        let name = self.rest().get(..length).unwrap_or_default();
        self.at += length;
        let default = match self.rest().strip_prefix(":-") {
            Some(_) => {
                self.at += 2;
                Some(self.default(start)?)
            }
            None => None,
        };
        if matches!(self.next(), None | Some('"' | '\n')) {
            return Err(error(start..start + 2, "this ${ is not closed by a }"));
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || self.next() != Some('}') {
            let rest = self.text.get(start..self.line_end()).unwrap_or_default();
            return Err(unknown_form(start..start + rest.find(['}', '"']).map_or(rest.len(), |length| length + 1)));
        }
        self.at += 1;
        let range = start..self.at;
        let value = match self.latest.get(name).and_then(|&at| self.file.variables.get(at)) {
            Some((_, value)) => Some(value.clone()),
            None if self.wrong.contains(name) => Some(String::new()),
            None => match (self.lookup)(name) {
                Ok(value) => Some(value),
                Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => return Err(error(range, format!("the variable {name} is not UTF-8"))),
            },
        };
        match (value, default) {
            (Some(value), None) => Ok(value),
            (value, Some(default)) => Ok(value.filter(|value| !value.is_empty()).unwrap_or(default)),
            (None, None) => {
                let message =
                    format!("the variable {name} is not set, neither in a line before nor in the environment");
                Err(error(range, message).help("set it, or give it a default: ${NAME:-…}"))
            }
        }
    }

    /// Up to the closing brace.
    fn default(&mut self, expansion: usize) -> Result<String, LineError> {
        let mut default = String::new();
        loop {
            match self.next() {
                Some('}') => return Ok(default),
                Some('\\') => default.push_str(self.escape()?),
                None | Some('"') => return Err(error(expansion..expansion + 2, "this ${ is not closed by a }")),
                Some('$') => {
                    let help = "write \\$ for a $";
                    return Err(
                        error(self.at..self.at + 1, "a default is literal and must not have a $ in it").help(help)
                    );
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    default.push(c);
                }
            }
        }
    }

    /// After the closing quote.
    fn end_of_quoted(&mut self) -> Result<(), LineError> {
        self.skip_blanks();
        let end = self.line_end();
        let rest = self.text.get(self.at..end).unwrap_or_default();
        if rest.is_empty() || rest.starts_with('#') {
            self.at = end;
            return Ok(());
        }
        let message = "only a comment may follow the closing quote";
        Err(error(self.at..self.at + rest.trim_end().len(), message).help("put the whole value in quotes"))
    }
}

fn unclosed(opening: usize) -> LineError {
    error(opening..opening + 1, "this quote is not closed")
}

fn unknown_form(range: Range<usize>) -> LineError {
    let help = "write \\${ for a ${ of your own, or put the value in single quotes";
    error(range, "double quotes know ${NAME} and ${NAME:-default}, and this is neither").help(help)
}
