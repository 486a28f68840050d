//! `exeunt check`.

use super::{WRONG_FILE, describe, executable, file, print};
use crate::config::{Place, Problem, Severity, Span, quote};
use crate::model::plan::{Feed, Program};
use std::path::Path;

/// Tells what is wrong with a file, or what it means. Answers the exit code.
pub fn check(path: Option<&Path>) -> u8 {
    let Some(loaded) = file::load(path) else { return WRONG_FILE };
    print::out(&describe::describe(&loaded.compiled.plan, &loaded.name));
    loaded.tell(&warnings(&loaded));
    0
}

/// The compiler's warnings, and those that need a look at the system, in order of place.
pub fn warnings(loaded: &file::Loaded) -> Vec<Problem> {
    let compiled = &loaded.compiled;
    let mut warnings = compiled.warnings.clone();
    for (source, place) in compiled.plan.sources.iter().zip(&compiled.source_commands) {
        if let Feed::Command(program) = &source.feed {
            warnings.extend(cannot_start("source", &source.name, program, *place));
        }
    }
    for (worker, place) in compiled.plan.workers.iter().zip(&compiled.worker_commands) {
        warnings.extend(cannot_start("worker", &worker.name, &worker.program, *place));
    }
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

fn cannot_start(kind: &str, name: &str, program: &Program, place: Option<Span>) -> Option<Problem> {
    let obstacle = executable::obstacle(program)?;
    let message = format!("the {kind} {} cannot be started: {obstacle}", quote(name));
    Some(Problem::new(Severity::Warning, place.map_or(Place::File, Place::Span), message))
}
