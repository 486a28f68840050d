//! Text that may come from a file, a worker or a stranger, made harmless for a terminal: the one place that decides
//! what reaches it as it is.

use std::borrow::Cow;

/// Whether a character is shown as it is. All others are escaped:
///
/// * control characters, DEL and C1 included: they move the cursor and begin escape sequences;
/// * bidirectional controls (UAX #9), which change the order in which a reader sees the rest of the line;
/// * the line and paragraph separators;
/// * the other characters that are invisible by themselves (Default_Ignorable_Code_Point of the Unicode character
///   database) and the interlinear annotations, which make two different names look alike. The sixteen variation
///   selectors that choose the look of an emoji are left alone.
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_control() => false,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => true,
    }
}

/// The text on one line, with `\n`, `\t`, `\r`, `\0` and `\u{…}` in place of what is not [printable](is_printable). Quotes and
/// backslashes stay as they are.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable)
}

/// The same of a text of several lines: its line feeds stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_printable(c))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if stays(c) => out.push(c),
            '\0' => out.push_str("\\0"),
            _ => out.extend(c.escape_default()),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that the sources above name, written down by itself.
    #[test]
    fn what_moves_or_hides_text_is_not_printable() {
        let controls = ('\0'..' ').chain('\u{7f}'..='\u{9f}');
        let bidirectional = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let bidirectional = bidirectional.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let others = ['\u{2028}', '\u{2029}', '\u{200b}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{e0041}', '\u{fff9}'];
        for c in controls.chain(bidirectional).chain(others) {
            assert!(!is_printable(c), "{}", c.escape_unicode());
            let escaped = if c == '\0' { "\\0".to_owned() } else { c.escape_default().to_string() };
            assert_eq!(printable(&format!("a{c}b")), format!("a{escaped}b"));
        }
    }

    #[test]
    fn text_of_all_languages_is_left_alone() {
        for text in
            ["", "plain \"it's\" \\ text", "Grüße, Ελλάδα, 日本語\u{3000}日本, עברית, e\u{301}", "❤\u{fe0f} 🦀 \u{a0}"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn only_a_text_of_several_lines_keeps_its_line_feeds() {
        assert_eq!(printable("a\nb\tc\u{1b}[31m"), "a\\nb\\tc\\u{1b}[31m");
        assert_eq!(printable_lines("a\nb\tc\u{1b}[31m"), "a\nb\\tc\\u{1b}[31m");
    }
}
