//! `exeunt check`.

use super::{WRONG_FILE, describe, executable, file, print, rights};
use crate::config::{Place, Problem, Severity, Span, quote};
use crate::model::plan::{Feed, Program};
use crate::sys::identity::Own;
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
    let own = Own::now();
    for (source, place) in compiled.plan.sources.iter().zip(&compiled.source_commands) {
        if let Feed::Command(program) = &source.feed {
            warnings.extend(cannot_start("source", &source.name, &source.name, program, &own, *place));
        }
    }
    for (worker, place) in compiled.plan.workers.iter().zip(&compiled.worker_commands) {
        let first = format!("{}.0", worker.name);
        warnings.extend(cannot_start("worker", &worker.name, &first, &worker.program, &own, *place));
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

/// All that stands in the way of the first instance.
fn cannot_start(
    kind: &str,
    name: &str,
    instance: &str,
    program: &Program,
    own: &Own,
    place: Option<Span>,
) -> Vec<Problem> {
    let words = program.words(instance);
    let mut obstacles = rights::refusals(&program.identity, own);
    obstacles.extend(rights::missing_secrets(&words));
    obstacles.extend(executable::obstacle(program, &words));
    let place = place.map_or(Place::File, Place::Span);
    let problem = |obstacle: String| {
        let message = format!("the {kind} {} cannot be started: {obstacle}", quote(name));
        Problem::new(Severity::Warning, place, message)
    };
    obstacles.into_iter().map(problem).collect()
}
