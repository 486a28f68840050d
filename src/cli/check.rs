//! `exeunt check`.

use super::{WRONG_FILE, describe, executable, exposed, file, needs, one_file, print, rights, waiting};
use crate::config::{Place, Problem, Severity, Span, quote};
use crate::model::plan::{Feed, Health, Probe, Program, Ready, WorkerPlan};
use crate::model::printable::printable;
use crate::sys::Pid;
use crate::sys::aside::{Aside, aside};
use crate::sys::identity::Own;
use std::path::Path;
use std::time::Duration;

/// Tells what is wrong with a file, or what it means. Answers the exit code.
pub fn check(path: Option<&Path>) -> u8 {
    let Some(loaded) = file::load(path) else { return WRONG_FILE };
    let uses = one_file::uses(&loaded, false);
    let conflicts = one_file::conflicts(&loaded.compiled.plan, &uses, &one_file::identities(&uses));
    if !conflicts.is_empty() {
        loaded.tell(&conflicts);
        return WRONG_FILE;
    }
    print::out(&describe::describe(&loaded.compiled.plan, &loaded.name));
    loaded.tell(&warnings(&loaded));
    0
}

/// The compiler's warnings, and those that need a look at the system, in order of place.
fn warnings(loaded: &file::Loaded) -> Vec<Problem> {
    let suspects = suspects(loaded);
    let own = Own::now();
    let told = |suspect: &Suspect| suspect.obstacles(&own).iter().map(|it| suspect.problem(it)).collect::<Vec<_>>();
    let opened = exposed::files(loaded);
    let mut found = exposed::problems(&opened, exposed::weaknesses(&opened).iter().map(String::as_str));
    found.extend(suspects.iter().flat_map(told));
    found.extend(waiting::problems(loaded, &waiting::look(&loaded.compiled.plan, false)));
    all_warnings(loaded, found)
}

/// What a look at the system before a run has found.
pub struct Found {
    /// Files that are used for two purposes: the run is refused.
    pub conflicts: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// A copy of this process that hangs on as a child of ours.
    pub left: Option<Pid>,
}

/// The same for who cannot wait: a look at a file system that does not answer would hang for ever, so a copy of this process takes
/// it, and is not waited for longer than this. To be called where [`aside`] may.
pub fn found_within(loaded: &file::Loaded, patience: Duration) -> Found {
    let (uses, opened, suspects) = (one_file::uses(loaded, true), exposed::files(loaded), suspects(loaded));
    // All but obstacles are lines without a NUL.
    let look = || {
        let waiting = waiting::look(&loaded.compiled.plan, true).join("\n");
        let lines = [one_file::identities(&uses).join("\n"), exposed::weaknesses(&opened).join("\n"), waiting];
        format!("{}\0{}", lines.join("\0"), obstacles(&suspects))
    };
    let Aside { answer, left } = aside(patience, || look().into_bytes());
    let (conflicts, found) = match answer {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let (identities, rest) = text.split_once('\0').unwrap_or_default();
            let (weaknesses, rest) = rest.split_once('\0').unwrap_or_default();
            let (waiting, obstacles) = rest.split_once('\0').unwrap_or_default();
            let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
            let identities = lines(identities);
            let told = suspects.iter().zip(obstacles.split('\0'));
            let mut found = exposed::problems(&opened, weaknesses.split('\n'));
            found.extend(waiting::problems(loaded, &lines(waiting)));
            found.extend(told.flat_map(|(suspect, obstacles)| obstacles.lines().map(|it| suspect.problem(it))));
            (one_file::conflicts(&loaded.compiled.plan, &uses, &identities), found)
        }
        Err(error) => {
            // A warning beforehand is a kindness; whether a program can be started is found out by starting it.
            let message = format!("whether the programs can be started is not known: {}", file::reason(&error));
            (Vec::new(), vec![Problem::new(Severity::Warning, Place::File, message)])
        }
    };
    Found { conflicts, warnings: all_warnings(loaded, found), left }
}

/// For each program what is in its way, each thing on a line of its own, with a NUL between. What comes from the file or
/// the system is quoted and has neither in it.
fn obstacles(suspects: &[Suspect]) -> String {
    let own = Own::now();
    let told = suspects.iter().map(|suspect| suspect.obstacles(&own).join("\n"));
    told.collect::<Vec<_>>().join("\0")
}

fn all_warnings(loaded: &file::Loaded, found: Vec<Problem>) -> Vec<Problem> {
    let compiled = &loaded.compiled;
    let mut warnings = compiled.warnings.clone();
    warnings.extend(found);
    let shortages = needs::shortages(&compiled.plan).into_iter();
    warnings.extend(shortages.map(|message| Problem::new(Severity::Warning, Place::File, message)));
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
    /// The name of the first instance.
    instance: String,
    program: &'a Program,
    /// What it is asked, and the command that asks; `None` for the program itself.
    probe: Option<(&'static str, &'a [String])>,
    place: Option<Span>,
}

impl Suspect<'_> {
    /// All that stands in the way of the first instance, each on one line.
    fn obstacles(&self, own: &Own) -> Vec<String> {
        let obstacles = match self.probe {
            Some((_, command)) => {
                let words = self.program.words_with(command, &self.instance);
                executable::missing(self.program, &words).into_iter().collect()
            }
            None => self.obstacles_of_program(own),
        };
        obstacles.iter().map(|obstacle| printable(obstacle).into_owned()).collect()
    }

    fn obstacles_of_program(&self, own: &Own) -> Vec<String> {
        let words = self.program.words(&self.instance);
        let mut obstacles = rights::refusals(&self.program.identity, own);
        obstacles.extend(rights::missing_secrets(&words, &self.program.identity));
        obstacles.extend(executable::obstacle(self.program, &words));
        obstacles
    }

    fn problem(&self, obstacle: &str) -> Problem {
        let what = self.probe.map_or("started", |(question, _)| question);
        let message = format!("the {} {} cannot be {what}: {obstacle}", self.kind, quote(self.name));
        Problem::new(Severity::Warning, self.place.map_or(Place::File, Place::Span), message)
    }
}

fn suspects(loaded: &file::Loaded) -> Vec<Suspect<'_>> {
    let compiled = &loaded.compiled;
    let sources = compiled.plan.sources.iter().zip(&compiled.source_commands);
    let sources = sources.filter_map(|(source, &place)| match &source.feed {
        Feed::Command(program) => {
            let (name, instance) = (&source.name, source.name.clone());
            Some(Suspect { kind: "source", name, instance, program, probe: None, place })
        }
        Feed::Stdin => None,
    });
    let workers = compiled.plan.workers.iter().zip(&compiled.worker_commands).zip(&compiled.probe_commands);
    sources.chain(workers.flat_map(|((worker, &place), probes)| of_worker(worker, place, probes))).collect()
}

/// Its program, and those that ask it.
fn of_worker<'a>(worker: &'a WorkerPlan, place: Option<Span>, probes: &[Option<Span>; 2]) -> Vec<Suspect<'a>> {
    let suspect = |probe, place| {
        let (name, instance) = (&worker.name, format!("{}.0", worker.name));
        Suspect { kind: "worker", name, instance, program: &worker.program, probe, place }
    };
    let mut suspects = vec![suspect(None, place)];
    if let Some(Ready::Probe(Probe::Command(command))) = &worker.ready {
        suspects.push(suspect(Some(("asked whether it is ready", command)), probes[0]));
    }
    if let Some(Health { probe: Probe::Command(command), .. }) = &worker.health {
        suspects.push(suspect(Some(("asked whether it is well", command)), probes[1]));
    }
    suspects
}
