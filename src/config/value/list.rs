//! Values of several parts: lists, commands, variables.

use super::text::Text;
use crate::config::problem::{Problem, Problems, Span, quote};
use crate::config::read::{At, Entry, Read, Value};
use crate::config::{shell_text, toml_text};

const MOST_ARGUMENTS: usize = 4096;
const MOST_VARIABLES: usize = 1024;

/// A list of values, each told about by itself. It has those that could be read, so that what is wrong with these is found in the
/// same run; that others could not is a problem already.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T, const MOST: usize>(pub Vec<At<T>>);

impl<T: Read, const MOST: usize> Read for List<T, MOST> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let elements = elements::<T>(value, MOST, problems)?;
        let good = elements.into_iter().filter_map(|(span, value)| value.map(|value| At { value, span }));
        Some(List(good.collect()))
    }
}

/// All elements of an array, the bad ones too, so that each is told about.
pub(super) fn elements<T: Read>(
    value: &Value<'_>,
    most: usize,
    problems: &mut Problems,
) -> Option<Vec<(Span, Option<T>)>> {
    let Some(elements) = value.elements() else {
        let problem = value.unexpected("an array");
        problems.push(match value.tree.as_str() {
            Some(text) => problem.help(format!("write {}", toml_text::array([text]))),
            None => problem,
        });
        return None;
    };
    if elements.len() > most {
        let message = format!("an array of {} values, at most {most} are allowed", elements.len());
        problems.push(Problem::error(value.span, message));
        return None;
    }
    Some(elements.iter().map(|element| (element.span, T::read(element, problems))).collect())
}

/// A program and its arguments; variables are not expanded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Command(pub Vec<At<Text>>);

impl Read for Command {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        if let Some(text) = value.tree.as_str() {
            let problem = Problem::error(value.span, "a command is an array, not a string: no shell takes it apart");
            problems.push(problem.help(shell_text::as_array(text)));
            return None;
        }
        let words = elements::<Text>(value, MOST_ARGUMENTS, problems)?.into_iter();
        // Something stands for what could not be read, so that the others keep their places.
        let words = words.map(|(span, word)| At { value: word.unwrap_or_else(|| Text("?".to_owned())), span });
        let words = words.collect::<Vec<_>>();
        let message = match words.first() {
            None => "the command is empty",
            Some(program) if program.value.0.is_empty() => "the command's program has an empty name",
            Some(_) => return Some(Command(words)),
        };
        let span = words.first().map_or(value.span, |program| program.span);
        problems.push(Problem::error(span, message).help("the first string is the program, as in [\"sleep\", \"10\"]"));
        None
    }
}

/// Environment variables, in the order of the file; values are not expanded yet. As of a [`List`], those that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment(pub Vec<(String, At<Text>)>);

impl Read for Environment {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(entries) = value.entries() else {
            let problem = value.unexpected("a table of variables");
            problems.push(problem.help("write { NAME = \"value\" }"));
            return None;
        };
        if entries.len() > MOST_VARIABLES {
            let message = format!("{} variables, at most {MOST_VARIABLES} are allowed", entries.len());
            problems.push(Problem::error(value.span, message));
            return None;
        }
        Some(Environment(entries.iter().filter_map(|entry| variable(entry, problems)).collect()))
    }
}

fn variable(entry: &Entry<'_>, problems: &mut Problems) -> Option<(String, At<Text>)> {
    let name = entry.key.value;
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!("{} is no name of a variable: it is empty or has a = or NUL in it", quote(name));
        problems.push(Problem::error(entry.key.span, message));
        return None;
    }
    if let Some(number) = entry.value.tree.as_integer() {
        let problem = entry.value.unexpected("a string");
        problems.push(problem.help(format!("write \"{number}\"")));
        return None;
    }
    let text = Text::read(&entry.value, problems)?;
    Some((name.to_owned(), At { value: text, span: entry.value.span }))
}
