//! JSON as it is written to stderr, where it may end on a terminal, and to files.

use crate::model::printable::{is_printable, printable};
use serde_json::Value;
use std::borrow::Cow;

/// The value on one line, and a line feed. What is not [printable](is_printable) stands as `\u` and four digits: JSON itself escapes
/// only the ASCII control characters before the space. Each reader gets the same strings.
pub fn to_line(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    // Outside of strings there are ASCII characters only.
    let mut line = match printable(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(_) => escaped(&text),
    };
    line.push('\n');
    line.into_bytes()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match is_printable(c) {
            true => out.push(c),
            false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn f72_json_is_printable_and_reads_back_as_it_was() {
        let odd = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2028}\u{feff}\u{e0041}\n\"\\ é🦀";
        let value = json!({ "item": odd, odd: 1 });
        let line = String::from_utf8(to_line(&value)).unwrap();
        assert!(line.trim_end_matches('\n').chars().all(is_printable), "{line:?}");
        assert!(line.contains("\\u007f\\u009b\\u202e\\u2028\\ufeff\\udb40\\udc41"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
