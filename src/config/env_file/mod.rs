//! Env-files: `NAME=value`, a line each. The rules, with those of other programs beside them, are in
//! `docs/env-file.md`, whose table is a test of this file.

mod excerpt;
mod quoted;

use super::Variables;
use super::expand::Lookup;
pub use excerpt::excerpt;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The largest env-file that is read, in bytes.
pub const LARGEST_ENV_FILE: usize = 1024 * 1024;
/// Variables of one env-file, and of all env-files of one program together, at most.
pub const MOST_VARIABLES: usize = 4096;
/// Bytes of a name and its value together, at most: what execve(2) takes of one string (`MAX_ARG_STRLEN`, 128 KiB), less
/// the equals sign and the closing NUL.
pub const LONGEST_VARIABLE: usize = 128 * 1024 - 2;
/// Bytes of all arguments and variables of one program, at most: execve(2) never takes more than three quarters of the
/// kernel's own 8 MiB for them.
pub const MOST_BYTES: usize = 6 * 1024 * 1024;
/// Errors of one file that are kept, and warnings.
const MOST_ERRORS: usize = 100;

/// What is wrong with a part of an env-file, and the rule that says so. Never holds a part of the file other than the name
/// of a variable: the rest may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The bytes of the file that it is about.
    pub range: Range<usize>,
    pub message: String,
    pub help: Option<&'static str>,
}

/// The variables of an env-file, in order, and what will surprise.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    pub variables: Variables,
    /// `${…}` in a value where it is not expanded; the first 100.
    pub unexpanded: Vec<LineError>,
}

/// Reads an env-file. `${NAME}` is looked up in the lines before it, then by `lookup`.
///
/// # Errors
///
/// Everything that is wrong with the file, in order, at most 100 errors. Never empty.
pub fn parse(text: &str, lookup: Lookup<'_>) -> Result<EnvFile, Vec<LineError>> {
    let mut parser = Parser {
        text,
        at: if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 },
        lookup,
        file: EnvFile::default(),
        latest: BTreeMap::new(),
        wrong: BTreeSet::new(),
        bytes: 0,
    };
    let mut errors = Vec::new();
    while errors.len() < MOST_ERRORS && parser.skip_to_statement() {
        if let Err(error) = parser.statement() {
            errors.push(error);
            parser.skip_line();
        }
    }
    if errors.is_empty() { Ok(parser.file) } else { Err(errors) }
}

struct Parser<'a> {
    text: &'a str,
    /// The offset of what is read next.
    at: usize,
    lookup: Lookup<'a>,
    file: EnvFile,
    /// Where the latest value of each name is in `file.variables`.
    latest: BTreeMap<String, usize>,
    /// Names whose value was refused, so that they are not reported as unset too.
    wrong: BTreeSet<String>,
    /// Of all names and values so far.
    bytes: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The offset of the line feed that ends the line, or of the end of the file.
    fn line_end(&self) -> usize {
        self.rest().find('\n').map_or(self.text.len(), |length| self.at + length)
    }

    fn skip_line(&mut self) {
        self.at = self.line_end();
    }

    /// Goes on to the next line that is neither blank nor a comment. Answers whether there is one.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            match self.next() {
                None => return false,
                Some('#') => self.skip_line(),
                Some(_) => return true,
            }
        }
    }

    /// Skips blanks of this line.
    fn skip_blanks(&mut self) {
        let blank = |c: char| c.is_whitespace() && c != '\n';
        self.at = self.text.len() - self.rest().trim_start_matches(blank).len();
    }

    fn statement(&mut self) -> Result<(), LineError> {
        let after_export = self
            .rest()
            .strip_prefix("export")
            .filter(|rest| rest.starts_with(|c: char| c.is_whitespace() && c != '\n'));
        if after_export.is_some() {
            self.at += "export".len();
            self.skip_blanks();
        }
        let name = self.name()?;
        let equals = self.at;
        let value = self.value(&name).and_then(|value| {
            self.check(&name, &value, equals..equals + 1)?;
            Ok(value)
        });
        match value {
            Ok(value) => self.add(name, value, equals),
            Err(error) => {
                self.wrong.insert(name);
                Err(error)
            }
        }
    }

    /// From the equals sign to the end of the value.
    fn value(&mut self, name: &str) -> Result<String, LineError> {
        self.at += 1;
        let equals = self.at;
        self.skip_blanks();
        match self.next() {
            Some('\'') => self.single_quoted(name),
            Some('"') => self.double_quoted(name),
            Some('#') if self.at > equals => {
                let message = "a value must not begin with a # after a blank, since that may be meant as a comment";
                let help = "write \"\" before the comment for an empty value, or put the value in quotes";
                Err(error(self.at..self.at + 1, message).help(help))
            }
            Some(_) | None => self.unquoted(name),
        }
    }

    /// Reads up to the equals sign.
    fn name(&mut self) -> Result<String, LineError> {
        let line = self.text.get(self.at..self.line_end()).unwrap_or_default();
        let Some(length) = line.find('=') else {
            let message = "a line must be NAME=value, and this one has no =";
            let help = "a value of several lines stands in quotes; a name alone does not pass a variable on";
            return Err(error(self.at..self.at + line.trim_end().len(), message).help(help));
        };
        let name = line.get(..length).unwrap_or_default().trim_end();
        if name.is_empty() {
            return Err(error(self.at + length..self.at + length + 1, "there is no name before the ="));
        }
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if let Some((offset, wrong)) = name.char_indices().find(|&(_, c)| !allowed(c)) {
            let start = self.at + offset;
            let message = match wrong.is_whitespace() {
                true => "a name must not have a blank in it",
                false => "a name must be made of letters, digits and the characters _ . - [ ]",
            };
            return Err(error(start..start + wrong.len_utf8(), message));
        }
        self.at += length;
        Ok(name.to_owned())
    }

    /// To the end of the line, or to a blank and a `#`. Everything in it is literal.
    fn unquoted(&mut self, name: &str) -> Result<String, LineError> {
        let (start, end) = (self.at, self.line_end());
        let line = self.text.get(start..end).unwrap_or_default();
        let value = line.split_once(" #").map_or(line, |(value, _)| value);
        let mut before = ' ';
        for (offset, c) in value.char_indices() {
            if c == '#' && before.is_whitespace() && before != ' ' {
                let message = "a comment begins with a space and a #, and this # follows another kind of blank";
                return Err(error(start + offset..start + offset + 1, message)
                    .help("put a space before it, or the value in quotes"));
            }
            before = c;
        }
        let value = value.trim_end();
        let marks = [
            ('\r', "a carriage return must stand at the end of a line or in quotes"),
            ('\0', "no variable can hold a NUL"),
        ];
        for (mark, message) in marks {
            if let Some(offset) = value.find(mark) {
                return Err(error(start + offset..start + offset + 1, message));
            }
        }
        if let Some(range) = reference(value).filter(|_| self.file.unexpanded.len() < MOST_ERRORS) {
            let range = start + range.start..start + range.end;
            let message =
                format!("a $ is literal outside of double quotes, so the value of {name} holds this as it is");
            let found = error(range, message)
                .help("put the value in double quotes to have it expanded, in single quotes to keep it");
            self.file.unexpanded.push(found);
        }
        self.at = end;
        Ok(value.to_owned())
    }

    /// To be called for each part of a value that was read, so that none grows far over its limit.
    fn check(&self, name: &str, value: &str, part: Range<usize>) -> Result<(), LineError> {
        if value.ends_with('\0') {
            return Err(error(part, "no variable can hold a NUL"));
        }
        if name.len() + value.len() > LONGEST_VARIABLE {
            let message =
                format!("here {name} and its value grow to over {LONGEST_VARIABLE} bytes, the most of one variable");
            return Err(error(part, message));
        }
        if self.bytes + value.len() > MOST_BYTES {
            let message =
                format!("here the variables of this file grow to over {MOST_BYTES} bytes, the most of one program");
            return Err(error(part, message));
        }
        Ok(())
    }

    fn add(&mut self, name: String, value: String, equals: usize) -> Result<(), LineError> {
        if self.file.variables.len() >= MOST_VARIABLES {
            self.at = self.text.len();
            let message = format!("this is variable {}, at most {MOST_VARIABLES} are allowed", MOST_VARIABLES + 1);
            return Err(error(equals..equals + 1, message));
        }
        self.bytes += name.len() + value.len();
        self.latest.insert(name.clone(), self.file.variables.len());
        self.file.variables.push((name, value));
        Ok(())
    }
}

/// The first `${NAME…}` of a value, if any.
fn reference(value: &str) -> Option<Range<usize>> {
    let start = value.find("${")?;
    let rest = value.get(start + 2..).unwrap_or_default();
    rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(())?;
    rest.find('}').map(|length| start..start + 2 + length + 1)
}

fn error(range: Range<usize>, message: impl Into<String>) -> LineError {
    LineError { range, message: message.into(), help: None }
}

impl LineError {
    fn help(self, help: &'static str) -> LineError {
        LineError { help: Some(help), ..self }
    }
}

#[cfg(test)]
mod tests;
