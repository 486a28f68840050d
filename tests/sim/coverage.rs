//! Which pairs of state and event the machine was put through: for an event about one incarnation the state of its instance,
//! for signals and ticks the state of every instance, and for every event the phase of the run.

use crate::never::{NEVER, RARE};
use exeunt::machine::{Event, Machine, Meaning, Question, SourceEnd};
use exeunt::model::{Notice, ProcId, Reply, Stage, Verdict};
use std::collections::BTreeMap;
use std::fmt;

type Pair = (&'static str, &'static str);

#[derive(Clone, Default)]
pub struct Coverage {
    states: BTreeMap<Pair, u64>,
    phases: BTreeMap<Pair, u64>,
    stages: BTreeMap<Stage, u64>,
    /// In which seed each pair was reached first.
    firsts: BTreeMap<Pair, u64>,
}

const STATES: [&str; 13] = [
    "waiting",
    "due",
    "delayed",
    "starting",
    "aborting",
    "getting ready",
    "up",
    "leaving",
    "remains",
    "remains, told",
    "remains, killed",
    "resting",
    "stale",
];
const PHASES: [&str; 4] = ["running", "stopping", "sweeping", "over"];

/// Events about one incarnation.
const OF_ONE: [&str; 25] = [
    "says ready",
    "says alive",
    "triggers",
    "extends",
    "says status",
    "flooded",
    "ready: yes",
    "ready: no",
    "health: yes",
    "health: no",
    "spawned",
    "spawn failed",
    "wrote",
    "ok",
    "retry",
    "fail",
    "release",
    "touch",
    "prefetch",
    "garbled",
    "closes replies",
    "exited",
    "exited, item in hand",
    "members left",
    "members gone",
];
/// Events that every instance hears.
const OF_ALL: [&str; 5] = ["stop", "interrupt", "forward", "results closed", "tick"];
const OTHERS: [&str; 15] = [
    "began",
    "harmless signal",
    "orphan reaped",
    "submitted",
    "oversized",
    "stdin read",
    "file grew",
    "source whole",
    "source torn",
    "source failed",
    "source still open",
    "source abandoned",
    "results written",
    "strangers",
    "no strangers",
];

impl Coverage {
    /// Before the machine hears the event.
    pub fn count(&mut self, machine: &Machine, event: &Event) {
        let name = name(event);
        *self.phases.entry((machine.phase_name(), name)).or_default() += 1;
        if let Some(proc) = about(event) {
            *self.states.entry((machine.state_name(proc), name)).or_default() += 1;
        } else if OF_ALL.contains(&name) {
            machine.state_names().into_iter().for_each(|state| *self.states.entry((state, name)).or_default() += 1);
        }
        if let Event::SpawnFailed { error, .. } = event {
            *self.stages.entry(error.stage).or_default() += 1;
        }
    }

    /// What a seed reached.
    pub fn add(&mut self, other: &Coverage, seed: u64) {
        let firsts = &mut self.firsts;
        let mut add = |into: &mut BTreeMap<Pair, u64>, from: &BTreeMap<Pair, u64>| {
            for (&pair, count) in from {
                *into.entry(pair).or_default() += count;
                firsts.entry(pair).or_insert(seed);
            }
        };
        add(&mut self.states, &other.states);
        add(&mut self.phases, &other.phases);
        other.stages.iter().for_each(|(&stage, count)| *self.stages.entry(stage).or_default() += count);
    }

    /// What was never reached and has no reason, and what was reached against its reason.
    pub fn surprises(&self) -> Vec<String> {
        let reason = |(at, event): Pair| {
            let fits = |pattern: &str, name: &str| pattern == "*" || pattern.split('|').any(|other| other == name);
            NEVER.iter().find(|(state, heard, _)| fits(state, at) && fits(heard, event)).map(|(.., why)| *why)
        };
        let (of_states, all) = (events_of_states(), all_events());
        let states = pairs(&STATES, &of_states).map(|pair| (pair, self.states.contains_key(&pair)));
        let phases = pairs(&PHASES, &all).map(|pair| (pair, self.phases.contains_key(&pair)));
        let stages = Stage::all().into_iter().filter(|stage| !self.stages.contains_key(stage));
        let stages = stages.map(|stage| format!("no start failed at {stage:?}"));
        states
            .chain(phases)
            .filter_map(|(pair, reached)| match (reached, reason(pair)) {
                (false, None) => Some(format!("{pair:?} was never reached")),
                (true, Some(why)) if !why.starts_with(RARE) => Some(format!(
                    "{pair:?} was reached, first in seed {}, but {why}",
                    self.firsts.get(&pair).unwrap_or(&0)
                )),
                (true, _) | (false, Some(_)) => None,
            })
            .chain(stages)
            .collect()
    }
}

fn pairs<'a>(rows: &'a [&'static str], columns: &'a [&'static str]) -> impl Iterator<Item = Pair> + use<'a> {
    rows.iter().flat_map(move |row| columns.iter().map(move |column| (*row, *column)))
}

fn events_of_states() -> Vec<&'static str> {
    OF_ONE.iter().chain(&OF_ALL).copied().collect()
}

fn all_events() -> Vec<&'static str> {
    events_of_states().into_iter().chain(OTHERS).collect()
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, "state", &STATES, &events_of_states(), &self.states)?;
        table(f, "phase", &PHASES, &all_events(), &self.phases)?;
        writeln!(f, "failed starts by stage: {:?}", self.stages)
    }
}

/// Events down, states across.
fn table(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    columns: &[&'static str],
    rows: &[&'static str],
    counts: &BTreeMap<Pair, u64>,
) -> fmt::Result {
    write!(f, "{:>22}", format!("event \\ {what}"))?;
    columns.iter().try_for_each(|column| write!(f, " {column:>15}"))?;
    writeln!(f)?;
    for row in rows {
        write!(f, "{row:>22}")?;
        for column in columns {
            match counts.get(&(*column, *row)) {
                Some(count) => write!(f, " {count:>15}")?,
                None => write!(f, " {:>15}", "-")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

/// The incarnation that an event is about.
pub fn about(event: &Event) -> Option<ProcId> {
    match event {
        Event::Spawned { proc }
        | Event::SpawnFailed { proc, .. }
        | Event::Wrote { proc, .. }
        | Event::Replied { proc, .. }
        | Event::Garbled { proc, .. }
        | Event::RepliesClosed { proc }
        | Event::Notified { proc, .. }
        | Event::Answered { proc, .. }
        | Event::Exited { proc, .. }
        | Event::MembersLeft { proc, .. }
        | Event::MembersGone { proc } => Some(*proc),
        Event::Began
        | Event::Signalled { .. }
        | Event::OrphanReaped
        | Event::Submitted { .. }
        | Event::Oversized { .. }
        | Event::StdinRead { .. }
        | Event::SourceEnded { .. }
        | Event::ResultsWritten { .. }
        | Event::ResultsClosed { .. }
        | Event::Strangers { .. }
        | Event::Orphans { .. }
        | Event::Tick => None,
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Began => "began",
        Event::Signalled { meaning: Meaning::Stop, .. } => "stop",
        Event::Signalled { meaning: Meaning::Interrupt, .. } => "interrupt",
        Event::Signalled { meaning: Meaning::Forward, .. } => "forward",
        Event::Signalled { meaning: Meaning::Nothing, .. } => "harmless signal",
        Event::Spawned { .. } => "spawned",
        Event::SpawnFailed { .. } => "spawn failed",
        Event::Wrote { .. } => "wrote",
        Event::Replied { reply: Reply::Settle { verdict, .. }, .. } => match verdict {
            Verdict::Ok(_) => "ok",
            Verdict::Retry(_) => "retry",
            Verdict::Fail(_) => "fail",
            Verdict::Release => "release",
        },
        Event::Replied { reply: Reply::Touch(_), .. } => "touch",
        Event::Replied { reply: Reply::Prefetch(_), .. } => "prefetch",
        Event::Garbled { .. } => "garbled",
        Event::RepliesClosed { .. } => "closes replies",
        Event::Notified { notice, .. } => match notice {
            Notice::Ready => "says ready",
            Notice::Watchdog => "says alive",
            Notice::Trigger => "triggers",
            Notice::Extend(_) => "extends",
            Notice::Status(_) | Notice::Stopping => "says status",
            Notice::Unheard => "flooded",
        },
        Event::Answered { question, answer, .. } => match (question, answer) {
            (Question::Ready, Ok(())) => "ready: yes",
            (Question::Ready, Err(_)) => "ready: no",
            (Question::Health, Ok(())) => "health: yes",
            (Question::Health, Err(_)) => "health: no",
        },
        Event::Exited { in_hand: false, .. } => "exited",
        Event::Exited { in_hand: true, .. } => "exited, item in hand",
        Event::MembersLeft { .. } => "members left",
        Event::MembersGone { .. } => "members gone",
        Event::OrphanReaped => "orphan reaped",
        Event::Submitted { .. } => "submitted",
        Event::Oversized { .. } => "oversized",
        Event::StdinRead { .. } => "stdin read",
        Event::SourceEnded { end, .. } => match end {
            SourceEnd::Whole => "source whole",
            SourceEnd::Torn { .. } => "source torn",
            SourceEnd::Failed { .. } => "source failed",
            SourceEnd::StillOpen { .. } => "source still open",
            SourceEnd::FileGrew => "file grew",
            SourceEnd::Abandoned { .. } => "source abandoned",
        },
        Event::ResultsWritten { .. } => "results written",
        Event::ResultsClosed { .. } => "results closed",
        Event::Strangers { count: 0 } | Event::Orphans { count: 0 } => "no strangers",
        Event::Strangers { .. } | Event::Orphans { .. } => "strangers",
        Event::Tick => "tick",
    }
}
