//! From the bytes of a file to its text, or the reason why it is none; and from the text to a tree.

use super::problem::{KEPT, Place, Problem, Problems, Severity, Span};
use super::read::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest file that is read, in bytes.
pub const LARGEST_FILE: usize = 4 * 1024 * 1024;
/// The largest text whose syntax errors are all told, in bytes: nonsense makes more errors than it has bytes.
const RECOVERED: usize = 256 * 1024;
/// How deep arrays and tables may be nested. The format itself needs four.
const DEEPEST: usize = 32;

/// The text of a file, without a byte order mark.
pub fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    let whole = |message: &str| Problem::new(Severity::Error, Place::File, message);
    if bytes.len() > LARGEST_FILE {
        let message = format!("the file has {} bytes, at most {LARGEST_FILE} (4 MiB) are read", bytes.len());
        return Err(whole(&message));
    }
    if looks_like_utf16(bytes) {
        return Err(whole("the file is UTF-16").help("save it as UTF-8"));
    }
    if let Some(offset) = memchr::memchr(0, bytes) {
        return Err(point(bytes, offset, "the file is not text: there is a NUL byte in it"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let byte = bytes.get(offset).copied().unwrap_or_default();
        point(bytes, offset, &format!("the file is not UTF-8: there is a byte 0x{byte:02x} in it"))
            .help("save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(whole("the file is empty").help("a file declares at least one [worker.NAME] with a command"));
    }
    match too_deep(text) {
        Some(at) => {
            let message = format!("arrays and tables are nested over {DEEPEST} deep");
            Err(point(text.as_bytes(), at, &message))
        }
        None => Ok(text),
    }
}

fn looks_like_utf16(bytes: &[u8]) -> bool {
    let mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let every_second = |first: usize| {
        let start = bytes.get(..16.min(bytes.len())).unwrap_or_default();
        start.len() >= 4 && start.iter().skip(first).step_by(2).all(|&byte| byte == 0)
    };
    mark || every_second(0) != every_second(1)
}

fn point(bytes: &[u8], offset: usize, message: &str) -> Problem {
    let before = bytes.get(..offset).unwrap_or_default();
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    // Columns count characters; what is not UTF-8 counts by bytes.
    let line_before = before.get(line_start..).unwrap_or_default();
    let column = String::from_utf8_lossy(line_before).chars().count() + 1;
    Problem::new(Severity::Error, Place::Point { line, column }, message)
}

/// The offset of the bracket, or the dot of a key, that goes deeper than [`DEEPEST`]. Knows strings and comments, but
/// nothing else of the language: it runs ahead of the parser so that no recursion, ours or a destructor's, ever follows
/// the input.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut dots, mut at) = (0usize, 0usize, 0usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'#' => at = memchr::memchr(b'\n', bytes.get(at..)?).map_or(bytes.len(), |newline| at + newline),
            b'"' | b'\'' => {
                at = string_end(bytes, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'.' => dots += 1,
            b'=' | b',' | b'\n' => dots = 0,
            _ => {}
        }
        if depth > DEEPEST || dots > DEEPEST {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The offset behind the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let Some(&quote) = bytes.get(at) else { return at };
    let multi_line = bytes.get(at..at + 3) == Some(&[quote; 3]);
    let mut end = if multi_line { at + 3 } else { at + 1 };
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'\\' if quote == b'"' => end += 2,
            b'\n' if !multi_line => return end,
            _ if byte == quote && !multi_line => return end + 1,
            _ if byte == quote && bytes.get(end..end + 3) == Some(&[quote; 3]) => return end + 3,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// Hands the tree of the text to `read`, also when there are syntax errors: then it is what could be saved.
/// Answers whether the syntax was right.
pub fn parse<T>(text: &str, problems: &mut Problems, read: impl FnOnce(&Value<'_>, &mut Problems) -> T) -> (T, bool) {
    let (tree, errors) = if text.len() <= RECOVERED { DeTable::parse_recoverable(text) } else { parse_large(text) };
    let span = Span::new(tree.span());
    let tree = DeValue::Table(tree.into_inner());
    let mut found = Problems::default();
    let result = read(&Value { tree: &tree, span }, &mut found);
    let broken = causes(&errors, text);
    let lines = broken.iter().map(|problem| lines_of(problem, text)).collect::<Vec<_>>();
    let follows = |problem: &Problem| {
        let (first, last) = lines_of(problem, text);
        lines.iter().any(|&(from, to)| first <= to && from <= last)
    };
    // What stands on a line that is broken anyway is most probably a consequence.
    found.iter().filter(|problem| !follows(problem)).for_each(|problem| problems.push(problem.clone()));
    let sound = broken.is_empty();
    broken.into_iter().for_each(|problem| problems.push(problem));
    (result, sound)
}

/// Offsets of the first and the last byte of the lines of a problem.
fn lines_of(problem: &Problem, text: &str) -> (usize, usize) {
    let Place::Span(span) = problem.place else { return (0, text.len()) };
    let bytes = text.as_bytes();
    let first = bytes.get(..span.start).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |at| at + 1);
    let last = bytes.get(span.end..).and_then(|after| memchr::memchr(b'\n', after));
    (first, last.map_or(text.len(), |at| span.end + at))
}

/// Up to the first error.
fn parse_large(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    match DeTable::parse(text) {
        Ok(tree) => (tree, Vec::new()),
        Err(error) => (Spanned::new(0..text.len(), DeTable::new()), vec![error]),
    }
}

/// The syntax errors without their consequences: one for each line, and for a table that is declared twice none of its
/// keys.
fn causes(errors: &[toml::de::Error], text: &str) -> Vec<Problem> {
    let mut errors = errors.iter().collect::<Vec<_>>();
    // An array or table is unclosed at the end of a string that is.
    errors.sort_by_key(|error| (error.span().map_or(0, |span| span.start), error.message().starts_with("unclosed")));
    errors.truncate(KEPT);
    let mut causes = Vec::new();
    let mut told_to = None;
    let mut in_duplicate_table = false;
    for error in errors {
        let problem = syntax_problem(error, text);
        let (first, last) = lines_of(&problem, text);
        let is_duplicate = error.message().trim() == "duplicate key";
        in_duplicate_table &= !text.get(told_to.unwrap_or(0)..first).is_some_and(|passed| passed.contains("\n["));
        if told_to.is_some_and(|told_to| first < told_to) || (is_duplicate && in_duplicate_table) {
            continue;
        }
        in_duplicate_table = is_duplicate && text.get(first..).is_some_and(|line| line.starts_with('['));
        told_to = Some(last);
        causes.push(problem);
    }
    causes
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().map_or(Span { start: 0, end: 0 }, Span::new);
    let message = error.message().trim().replace('\n', ", ");
    let key = text.get(span.start..span.end).unwrap_or_default();
    match message.as_str() {
        "duplicate key" => Problem::error(span, format!("{} is declared twice", super::problem::quote(key))),
        _ => Problem::error(span, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_are_no_depth() {
        let many = "[".repeat(1000);
        for text in [
            format!("a = '{many}'"),
            format!("a = \"{many}\\\"{many}\""),
            format!("a = '''{many}\n{many}''' # {many}\n"),
            format!("a = \"\"\"{many}\n\"{many}\"\"\"\nb = []"),
            "a = [[[1]]]\n".repeat(100),
            "a = 1.5\n".repeat(100),
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
        assert_eq!(too_deep(&format!("a = {many}")), Some(4 + DEEPEST));
        assert!(too_deep(&vec!["a"; 40].join(".")).is_some());
        assert!(too_deep(&format!("a = '''x''' \n b = {many}")).is_some());
    }
}
