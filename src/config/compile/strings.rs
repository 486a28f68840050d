//! The strings of a plan: their variables expanded, their sizes counted.

use super::Linker;
use crate::config::env_file::MOST_BYTES;
use crate::config::expand::expand;
use crate::config::problem::{Problem, Span};
use crate::config::read::At;
use crate::config::shell_text::warn_of_home;
use crate::config::value::{LONGEST_STRING, PathText};
use crate::model::plan::INSTANCE_MARK;
use std::path::{Component, PathBuf};

/// What all strings of a plan may come to, in bytes, once their variables are expanded. What stands once in the file may be in
/// the plan ten thousand times: a variable that is named often, a default of many workers.
const MOST_OF_A_PLAN: usize = 64 * 1024 * 1024;
/// What a string of a plan costs besides its bytes: its place in memory.
const EACH_IN_A_PLAN: usize = 48;
/// What execve(2) takes for a string besides its bytes: a pointer and the closing NUL.
const EACH_IN_A_PROGRAM: usize = 9;
/// The longest name of an instance: a worker's name of 64 bytes, a dot and four digits.
const LONGEST_INSTANCE: usize = 69;

/// What the strings come to so far, in bytes.
#[derive(Debug, Default)]
pub(super) struct Strings {
    program: usize,
    plan: usize,
    /// A limit was passed, which has been told: nothing more is expanded.
    pub full: bool,
}

impl Linker<'_> {
    /// From now on strings belong to another program.
    pub(super) fn begin_program(&mut self) {
        self.strings.program = 0;
    }

    /// Counts a string of the program that is being compiled.
    pub(super) fn count_string(&mut self, length: usize, span: Span) {
        self.strings.program = self.strings.program.saturating_add(length + EACH_IN_A_PROGRAM);
        self.count_bytes(length + EACH_IN_A_PLAN, span);
        let most = MOST_BYTES;
        if self.strings.program > most && !self.strings.full {
            let message = format!("here the arguments and variables of this program grow to over {most} bytes");
            self.refuse_more(span, message, "no program can be given more: execve(2)");
        }
    }

    /// Counts what the plan has once for each worker, or what was read for it.
    pub(super) fn count_bytes(&mut self, bytes: usize, span: Span) {
        self.strings.plan = self.strings.plan.saturating_add(bytes);
        let most = MOST_OF_A_PLAN;
        if self.strings.plan > most && !self.strings.full {
            let message = format!("here the strings of all programs grow to over {most} bytes (64 MiB)");
            let help = "variables that are expanded, and what the defaults and env-files give to each worker, count as often \
                as they are used";
            self.refuse_more(span, message, help);
        }
    }

    fn refuse_more(&mut self, span: Span, message: String, help: &str) {
        self.problems.push(Problem::error(span, message).help(help));
        self.strings.full = true;
    }

    /// Expands the variables of a string; the string itself where that fails.
    pub(super) fn expand(&mut self, text: &str, span: Span) -> String {
        if let Some(expanded) = self.try_expand(text, span) {
            return expanded;
        }
        self.count_string(text.len(), span);
        if self.strings.full || self.problems.is_full() { String::new() } else { text.to_owned() }
    }

    /// The same for those that need to know whether it failed, which is told.
    pub(super) fn try_expand(&mut self, text: &str, span: Span) -> Option<String> {
        // Once so much is wrong that nothing more is told, nothing more is looked at: each string may cost 128 KiB.
        if self.strings.full || self.problems.is_full() {
            return None;
        }
        match expand(text, LONGEST_STRING, &|name| self.scope.lookup(name, self.context.environment)) {
            Ok(expanded) => {
                let marks = expanded.matches(INSTANCE_MARK).count();
                let length = expanded.len().saturating_add(marks * LONGEST_INSTANCE);
                if length > LONGEST_STRING {
                    let message =
                        format!("the string grows to over {LONGEST_STRING} bytes once an instance is named in it");
                    self.problems.push(Problem::error(span, message));
                    return None;
                }
                self.count_string(length, span);
                Some(expanded)
            }
            Err(errors) => {
                errors.into_iter().for_each(|error| {
                    let place = self.place_within(text, span, &error.range);
                    let problem = Problem::error(place, error.message);
                    self.problems.push(match error.help {
                        Some(_) if self.names_instance(text, &error.range) && !self.scope.instance => problem.help(
                            "it is known where one instance is meant: command, env, env-from-file, working-directory",
                        ),
                        Some(help) => problem.help(help),
                        None => problem,
                    });
                });
                None
            }
        }
    }

    fn names_instance(&self, text: &str, range: &std::ops::Range<usize>) -> bool {
        text.get(range.clone()).is_some_and(|part| part.contains("${EXEUNT_INSTANCE"))
    }

    /// Where a part of a string stands in the file. The offset is only right in a string that is written without escapes.
    fn place_within(&self, text: &str, span: Span, range: &std::ops::Range<usize>) -> Span {
        let start = span.start + 1;
        let plain = self.text.get(start..span.end.saturating_sub(1)).is_some_and(|written| written == text);
        if plain { Span { start: start + range.start, end: start + range.end } } else { span }
    }

    /// Joined to the file's directory where it is relative.
    pub(super) fn path(&mut self, text: &str, span: Span) -> PathBuf {
        warn_of_home(text, span, self.warnings);
        let path = self.expand(text, span);
        if path.is_empty() && !self.strings.full {
            self.problems.push(Problem::error(span, "the path is empty once its variables are expanded"));
        }
        // Without `.` in it, so that equal paths look equal.
        let joined = self.context.directory.join(path);
        let plain = joined.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
        if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
    }

    pub(super) fn path_of(&mut self, path: Option<&At<PathText>>) -> Option<PathBuf> {
        path.map(|path| self.path(&path.value.0, path.span))
    }
}
