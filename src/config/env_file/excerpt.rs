//! A wrong line as it may be shown.

use super::LineError;
use std::ops::Range;

/// The line that an error is about, with its number from 1, and where in it the error is. Only the name of the variable and
/// the marks of the format are shown: what else stands there may be secret.
pub fn excerpt(text: &str, error: &LineError) -> (usize, String, Range<usize>) {
    let Range { start, end } = error.range;
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |feed| feed + 1);
    let line_start =
        if line_start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8().min(start) } else { line_start };
    let number = before.matches('\n').count() + 1;
    let ahead = text.get(line_start..start).unwrap_or_default();
    let name = ahead.find('=').map_or(0, |at| at + 1);
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']' | '=' | ' ');
    let shown = ahead.get(..name).filter(|name| name.chars().all(is_name)).unwrap_or_default();
    let hidden = ahead.get(shown.len()..).unwrap_or_default().chars().map(|_| '*');
    let mut line = shown.to_owned();
    line.extend(hidden);
    let from = line.len();
    let marks = |c: char| matches!(c, '"' | '\'' | '\\' | '#' | '$' | '{' | '}' | '=');
    let part = text.get(start..end).unwrap_or_default().lines().next().unwrap_or_default();
    line.extend(part.chars().map(|c| if marks(c) { c } else { '*' }));
    let to = line.len();
    let more = text.get(start + part.len()..).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['\n', '\r']));
    line.push_str(if more { "…" } else { "" });
    (number, line, from..to)
}
