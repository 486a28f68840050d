//! Text as TOML, for suggestions that can be pasted into the file.

use crate::model::printable::is_printable;
use std::fmt::Write as _;

/// Characters of a string that are written; of a longer one the beginning.
const LONGEST: usize = 500;

/// A basic string of TOML. What is not printable is escaped.
pub fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().take(LONGEST) {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ if is_printable(c) => out.push(c),
            _ if u32::from(c) < 0x1_0000 => _ = write!(out, "\\u{:04x}", u32::from(c)),
            _ => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push_str(if text.chars().nth(LONGEST).is_some() { "…\"" } else { "\"" });
    out
}

/// An array of strings.
pub fn array<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", words.into_iter().map(string).collect::<Vec<_>>().join(", "))
}

/// A key, or a part of the name of a table.
pub fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { string(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn every_text_reads_back_as_it_was(text in "\\PC{0,40}|[\"'\\\\\n\t\r\0\u{7f}\u{9b}\u{202e}\u{e0041}a]{0,40}") {
            let table = format!("{} = {}", key(&text), array([text.as_str(), "b"])).parse::<toml::Table>().unwrap();
            let (name, value) = table.iter().next().unwrap();
            assert_eq!((name.as_str(), value[0].as_str(), value[1].as_str()), (text.as_str(), Some(&*text), Some("b")));
        }
    }

    #[test]
    fn of_a_long_text_the_beginning_is_written() {
        let text = string(&"\"".repeat(LONGEST + 1));
        let table = format!("a = {text}").parse::<toml::Table>().unwrap();
        assert_eq!(table["a"].as_str(), Some(&*format!("{}…", "\"".repeat(LONGEST))));
    }
}
