//! `exeunt check`.

use super::{WRONG_FILE, describe, executable, file, print};
use crate::config::{Place, Problem, Severity, Span, quote};
use crate::model::plan::{Feed, Program};
use crate::sys::Pid;
use crate::sys::aside::{Aside, aside};
use std::path::Path;
use std::time::Duration;

/// Tells what is wrong with a file, or what it means. Answers the exit code.
pub fn check(path: Option<&Path>) -> u8 {
    let Some(loaded) = file::load(path) else { return WRONG_FILE };
    print::out(&describe::describe(&loaded.compiled.plan, &loaded.name));
    loaded.tell(&warnings(&loaded));
    0
}

/// The compiler's warnings, and those that need a look at the system, in order of place.
fn warnings(loaded: &file::Loaded) -> Vec<Problem> {
    let suspects = suspects(loaded);
    let told = |suspect: &Suspect| Some(suspect.problem(&executable::obstacle(suspect.program)?));
    all_warnings(loaded, suspects.iter().filter_map(told).collect())
}

/// The same for who cannot wait: a look at a file system that does not answer would hang for ever, so a copy of this process takes
/// it, and is not waited for longer than this. To be called where [`aside`] may. Answers also a copy that
/// hangs on as a child of ours.
pub fn warnings_within(loaded: &file::Loaded, patience: Duration) -> (Vec<Problem>, Option<Pid>) {
    let suspects = suspects(loaded);
    let Aside { answer, left } = aside(patience, || obstacles(&suspects).into_bytes());
    let found = match answer {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let told = suspects.iter().zip(text.split('\0'));
            told.filter(|(_, obstacle)| !obstacle.is_empty())
                .map(|(suspect, obstacle)| suspect.problem(obstacle))
                .collect()
        }
        Err(error) => {
            // A warning beforehand is a kindness; whether a program can be started is found out by starting it.
            let message = format!("whether the programs can be started is not known: {}", file::reason(&error));
            vec![Problem::new(Severity::Warning, Place::File, message)]
        }
    };
    (all_warnings(loaded, found), left)
}

/// For each program what is in its way, or nothing, with a NUL between.
fn obstacles(suspects: &[Suspect]) -> String {
    let told = suspects.iter().map(|suspect| executable::obstacle(suspect.program).unwrap_or_default());
    told.collect::<Vec<_>>().join("\0")
}

fn all_warnings(loaded: &file::Loaded, found: Vec<Problem>) -> Vec<Problem> {
    let compiled = &loaded.compiled;
    let mut warnings = compiled.warnings.clone();
    warnings.extend(found);
    let (needed, limit) = (describe::descriptors(&compiled.plan), executable::descriptor_limit());
    if let Some(limit) = limit.filter(|&limit| needed > limit) {
        let message = format!("up to {needed} file descriptors may be needed, the limit is {limit} (ulimit -n)");
        warnings.push(Problem::new(Severity::Warning, Place::File, message));
    }
    warnings.sort_by_key(|problem| match problem.place {
        Place::File | Place::Point { .. } => 0,
        Place::Span(span) => span.start,
    });
    warnings
}

/// A program to be looked for.
struct Suspect<'a> {
    kind: &'static str,
    name: &'a str,
    program: &'a Program,
    place: Option<Span>,
}

impl Suspect<'_> {
    fn problem(&self, obstacle: &str) -> Problem {
        let message = format!("the {} {} cannot be started: {obstacle}", self.kind, quote(self.name));
        Problem::new(Severity::Warning, self.place.map_or(Place::File, Place::Span), message)
    }
}

fn suspects(loaded: &file::Loaded) -> Vec<Suspect<'_>> {
    let compiled = &loaded.compiled;
    let sources = compiled.plan.sources.iter().zip(&compiled.source_commands);
    let sources = sources.filter_map(|(source, &place)| match &source.feed {
        Feed::Command(program) => Some(Suspect { kind: "source", name: &source.name, program, place }),
        Feed::Stdin => None,
    });
    let workers = compiled.plan.workers.iter().zip(&compiled.worker_commands);
    let workers =
        workers.map(|(worker, &place)| Suspect { kind: "worker", name: &worker.name, program: &worker.program, place });
    sources.chain(workers).collect()
}
