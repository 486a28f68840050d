//! What is wrong with a file, or doubtful: facts with a place, put into words for people at the edge by [`render`].

use crate::model::printable::{is_printable, printable};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// Problems kept of one file.
pub const KEPT: usize = 1000;
/// Problems shown of one file; the rest is counted.
const SHOWN: usize = 100;
/// Names that are searched for the nearest one.
const SEARCHED: usize = 1000;
/// Characters of a user's value that are shown.
const QUOTED: usize = 60;

/// Bytes `start..end` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(range: Range<usize>) -> Span {
        Span { start: range.start, end: range.end.max(range.start) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, but something in it will surprise.
    Warning,
    /// Worth to know; comes from defaults that the file did not choose.
    Note,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole file.
    File,
    /// Where the text cannot be shown, because it is none. Both count from 1.
    Point {
        line: usize,
        column: usize,
    },
    Span(Span),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub place: Place,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Another place that has to do with it, and what it has.
    pub related: Option<Box<(Span, String)>>,
    /// The line of another file that it is about, where the place is what names that file.
    pub excerpt: Option<Box<Excerpt>>,
}

/// A line of another file, as far as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    pub text: String,
    /// The bytes of the text that the problem is about.
    pub range: Range<usize>,
}

impl Problem {
    pub fn error(span: Span, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Error, Place::Span(span), message)
    }

    pub fn warning(span: Span, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Warning, Place::Span(span), message)
    }

    pub fn new(severity: Severity, place: Place, message: impl Into<String>) -> Problem {
        Problem { severity, place, message: message.into(), help: None, related: None, excerpt: None }
    }

    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }

    /// Adds the nearest right name as help, or all of them where none is near and they are few.
    pub fn suggest<'a>(self, wrong: &str, right: impl IntoIterator<Item = &'a str>) -> Problem {
        let right = right.into_iter().collect::<Vec<_>>();
        match nearest(wrong, &right) {
            Some(near) => self.help(format!("did you mean {}?", quote(near))),
            None if right.is_empty() || right.len() > 40 => self,
            None => self.help(format!("known here: {}", right.join(", "))),
        }
    }

    pub fn related(self, span: Span, label: impl Into<String>) -> Problem {
        Problem { related: Some(Box::new((span, label.into()))), ..self }
    }

    pub fn excerpt(self, excerpt: Excerpt) -> Problem {
        Problem { excerpt: Some(Box::new(excerpt)), ..self }
    }

    fn start(&self) -> usize {
        match self.place {
            Place::File | Place::Point { .. } => 0,
            Place::Span(span) => span.start,
        }
    }
}

/// Collects what is found, at most [`KEPT`].
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        if self.0.len() < KEPT {
            self.0.push(problem);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is found from now on is not kept, so that it need not be put into words.
    pub fn is_full(&self) -> bool {
        self.0.len() >= KEPT
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// In order of place.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(Problem::start);
        // A default is looked at once for each worker that has it.
        self.0.dedup();
        self.0
    }
}

/// The one of `right` that `wrong` was meant to be, most probably.
pub fn nearest<'a>(wrong: &str, right: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-").chars().take(QUOTED).collect::<String>();
    let wrong = plain(wrong);
    // Jaro-Winkler is good at long names; two letters changed over in a short one are better seen by the edit distance.
    let slip = |name: &str| wrong.len() > 2 && strsim::damerau_levenshtein(&wrong, name) == 1;
    let closeness = |name: &str| strsim::jaro_winkler(&wrong, name).max(if slip(name) { 0.9 } else { 0.0 });
    let score = |name: &&'a str| (closeness(&plain(name)), *name);
    let best = right.iter().take(SEARCHED).map(score).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|&(score, _)| score >= 0.8).map(|(_, name)| name)
}

/// A user's text between quotes, harmless on a terminal and not long.
pub fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let shown = chars.by_ref().take(QUOTED).collect::<String>();
    let more = if chars.next().is_some() { "…" } else { "" };
    let mut quoted = String::with_capacity(shown.len() + 2);
    for c in shown.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    format!("\"{}{more}\"", printable(&quoted))
}

/// The beginning of a text of our own making that may have become long.
pub fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The problems in words: `file:line:col`, the line, a caret. `text` is the file where it is text.
pub fn render(problems: &[Problem], file_name: &str, text: Option<&str>, colour: bool) -> String {
    let file_name = &*printable(file_name);
    let text = text.map(without_unprintable);
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in problems.iter().take(SHOWN) {
        let _ = writeln!(out, "{}\n", renderer.render(&[group(problem, file_name, text.as_deref())]));
    }
    if let Some(more) = problems.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        let least = if problems.len() < KEPT { "" } else { "at least " };
        let _ = writeln!(out, "… and {least}{more} more");
    }
    out
}

/// A problem in one line, for logs: `file:line:col: message; help`.
pub fn in_one_line(problem: &Problem, file_name: &str, text: Option<&str>) -> String {
    let place = match (problem.place, text, &problem.excerpt) {
        (_, _, Some(excerpt)) => {
            let before = excerpt.text.get(..excerpt.range.start).unwrap_or_default();
            format!("{}:{}:{}", excerpt.file, excerpt.line, before.chars().count() + 1)
        }
        (Place::Span(span), Some(text), None) => {
            let before = text.get(..span.start).unwrap_or_default();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{file_name}:{}:{column}", before.matches('\n').count() + 1)
        }
        (Place::Point { line, column }, _, None) => format!("{file_name}:{line}:{column}"),
        (Place::File | Place::Span(_), _, None) => file_name.to_owned(),
    };
    let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{place}: {}{help}", problem.message)
}

/// The renderer shows the ASCII control characters by their pictures. What else is not printable becomes dots of as many
/// bytes, so that places stay right.
fn without_unprintable(text: &str) -> Cow<'_, str> {
    let stays = |c: char| c.is_ascii() || is_printable(c);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            _ if stays(c) => out.push(c),
            2 => out.push('\u{b7}'),
            3 => out.push('\u{2022}'),
            _ => out.push_str("\u{b7}\u{b7}"),
        }
    }
    Cow::Owned(out)
}

fn group<'a>(problem: &'a Problem, file_name: &'a str, text: Option<&'a str>) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(printable(&problem.message));
    let group = match (problem.place, text, &problem.excerpt) {
        (Place::Span(span), Some(text), Some(excerpt)) => {
            let line =
                Snippet::source(printable(&excerpt.text)).path(printable(&excerpt.file)).line_start(excerpt.line);
            let line = line.annotation(AnnotationKind::Primary.span(excerpt.range.clone()));
            let named = snippet(span, AnnotationKind::Context, &None, file_name, text);
            title.element(line).element(named)
        }
        (Place::Span(span), Some(text), None) => {
            title.element(snippet(span, AnnotationKind::Primary, &problem.related, file_name, text))
        }
        (Place::Point { line, column }, _, _) => title.element(Origin::path(file_name).line(line).char_column(column)),
        (Place::File | Place::Span(_), _, _) => title.element(Origin::path(file_name)),
    };
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(printable(help))),
        None => group,
    }
}

/// Only the lines that matter are given to the renderer, which looks at all it gets.
fn snippet<'a>(
    span: Span,
    kind: AnnotationKind,
    related: &'a Option<Box<(Span, String)>>,
    file_name: &'a str,
    text: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let spans = related.iter().map(|related| related.0).chain([span]);
    let (first, last) = spans.fold((span.start, span.end), |(a, b), s| (a.min(s.start), b.max(s.end)));
    let begin = text.get(..first).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text.get(last..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| last + newline);
    let shown = text.get(begin..end).unwrap_or_default();
    let lines_before = text.get(..begin).unwrap_or_default().bytes().filter(|&byte| byte == b'\n').count();
    let within = |s: Span| s.start.saturating_sub(begin).min(shown.len())..s.end.saturating_sub(begin).min(shown.len());
    let snippet = Snippet::source(shown).path(file_name).line_start(lines_before + 1);
    let snippet = snippet.annotation(kind.span(within(span)));
    match related {
        Some(related) => {
            let (other, label) = &**related;
            snippet.annotation(AnnotationKind::Context.span(within(*other)).label(printable(label)))
        }
        None => snippet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_nonsense_is_not() {
        let keys = ["size", "max-bytes", "max-items", "on-full"];
        assert_eq!(nearest("siz", &keys), Some("size"));
        assert_eq!(nearest("max_items", &keys), Some("max-items"));
        assert_eq!(nearest("MaxByte", &keys), Some("max-bytes"));
        assert_eq!(nearest("wbe", &["db", "web"]), Some("web"));
        assert_eq!(nearest("priority", &keys), None);
    }

    #[test]
    fn words_from_the_file_can_neither_run_on_nor_colour_the_terminal() {
        let span = Span { start: 0, end: 1 };
        let problem = Problem::error(span, "m\u{1b}[31m").suggest("wrong", ["a\nb", "\u{1b}[31m", "it's \"ä\" \\"]);
        let shown = render(&[problem.related(span, "r\u{7}")], "f\u{1b}.toml", Some("x\u{9b}31m\u{1b}[31m"), false);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown}");
        assert!(shown.contains(r#"a\nb, \u{1b}[31m, it's "ä" \"#), "{shown}");
    }

    #[test]
    fn in_one_line_a_problem_has_its_place_and_its_help() {
        let text = "a = 1\né = 2\n";
        let span = Span { start: 11, end: 12 };
        let told = |problem: &Problem| in_one_line(problem, "f.toml", Some(text));
        assert_eq!(told(&Problem::warning(span, "m").help("h")), "f.toml:2:5: m; h");
        assert_eq!(told(&Problem::new(Severity::Warning, Place::File, "m")), "f.toml: m");
        let excerpt = Excerpt { file: "e.env".to_owned(), line: 7, text: "A=*$".to_owned(), range: 3..4 };
        assert_eq!(told(&Problem::warning(span, "m").excerpt(excerpt)), "e.env:7:4: m");
    }

    #[test]
    fn a_quoted_value_can_neither_run_on_nor_colour_the_terminal() {
        assert_eq!(quote("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quote(&"x".repeat(61)), format!("\"{}…\"", "x".repeat(60)));
    }
}
