//! Strings and what is made of one; flags.

use crate::config::problem::{Problem, Problems, Span, quote};
use crate::config::read::{Read, Value};
use crate::model::plan::Results;

/// `MAX_ARG_STRLEN` of the kernel, less the closing NUL: no longer string passes execve(2).
pub const LONGEST_STRING: usize = 128 * 1024 - 1;

/// A string that may go to the kernel: no NUL in it and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Read for Text {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Text> {
        let text = string(value, "a string", problems)?;
        Some(Text(text.to_owned()))
    }
}

fn string<'a>(value: &Value<'a>, expected: &str, problems: &mut Problems) -> Option<&'a str> {
    let Some(text) = value.tree.as_str() else {
        problems.push(value.unexpected(expected));
        return None;
    };
    checked(text, value.span, problems)
}

fn checked<'a>(text: &'a str, span: Span, problems: &mut Problems) -> Option<&'a str> {
    let message = match () {
        () if text.contains('\0') => {
            format!("{} holds a NUL, which no argument, path or variable can", quote(text))
        }
        () if text.len() > LONGEST_STRING => {
            format!("a string of {} bytes, at most {LONGEST_STRING} pass to a program", text.len())
        }
        () => return Some(text),
    };
    problems.push(Problem::error(span, message));
    None
}

/// A path, and never an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText(pub String);

impl Read for PathText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<PathText> {
        let text = string(value, "a path", problems)?;
        if text.is_empty() {
            problems.push(Problem::error(value.span, "a path cannot be empty"));
            return None;
        }
        Some(PathText(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Read for Flag {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Flag> {
        let flag = value.tree.as_bool();
        if flag.is_none() {
            problems.push(value.unexpected("true or false"));
        }
        flag.map(Flag)
    }
}

/// `"null"`, `"stdout"` or `"file:PATH"`; the path is as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsText(pub Results);

impl Read for ResultsText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let expected = "\"null\", \"stdout\" or \"file:PATH\"";
        let text = string(value, expected, problems)?;
        let results = match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Results::File(path.into()),
            None if text == "null" => Results::Null,
            None if text == "stdout" => Results::Stdout,
            Some(_) | None => {
                problems.push(value.unexpected(expected));
                return None;
            }
        };
        Some(ResultsText(results))
    }
}
