//! The machine's notes in words, each with its level. This is what operators read.

use super::letters;
use crate::machine::{DeadLetter, LadderStep, Note, StopCause};
use crate::model::plan::Plan;
use crate::model::process::Usage;
use crate::model::{InstanceId, QueueId, SourceId, SpawnError, Stage, WorkerId};
use log::Level;
use std::time::Duration;

/// Sends a note to the log.
pub fn put(plan: &Plan, note: &Note) {
    let level = level(plan, note);
    if log::log_enabled!(level) {
        log::log!(level, "{}", words(plan, note));
    }
}

/// A duration as people say it: `12ms`, `1.5s`, `2m 5s`.
pub fn span(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => {
            let tenths = (millis + 50) / 100;
            if tenths % 10 == 0 { format!("{}s", tenths / 10) } else { format!("{}.{}s", tenths / 10, tenths % 10) }
        }
        _ => humantime::format_duration(Duration::from_secs(span.as_secs())).to_string(),
    }
}

/// Why a stop began, as it follows `stopped` or `stopping`.
pub fn cause(plan: &Plan, cause: &StopCause) -> String {
    match cause {
        StopCause::Signal(signal) => format!("on {signal}"),
        StopCause::Done => "because all work is done".into(),
        StopCause::GaveUp(worker) => format!("because worker {} was given up", worker_name(plan, *worker)),
        StopCause::ResultsClosed(worker) => {
            format!("because the results of worker {} can no longer be written", worker_name(plan, *worker))
        }
        StopCause::Deserted(queue) => format!("because nobody is left to work off queue {}", queue_name(plan, *queue)),
    }
}

pub fn rung(step: LadderStep) -> String {
    match step {
        LadderStep::Event => "the event rung".into(),
        LadderStep::Signal(signal) => format!("the {signal} rung"),
        LadderStep::Kill => "the KILL rung".into(),
    }
}

pub fn instance_name(plan: &Plan, id: InstanceId) -> String {
    if id.index() < plan.instances.len() { plan.instance_name(id) } else { format!("instance {}", id.0) }
}

pub fn queue_name(plan: &Plan, id: QueueId) -> &str {
    plan.queues.get(id.index()).map_or("?", |queue| &queue.name)
}

pub fn source_name(plan: &Plan, id: SourceId) -> &str {
    plan.sources.get(id.index()).map_or("?", |source| &source.name)
}

pub fn worker_name(plan: &Plan, id: WorkerId) -> &str {
    plan.workers.get(id.index()).map_or("?", |worker| &worker.name)
}

/// `changing directory to /srv: No such file or directory`.
pub fn spawn_error(plan: &Plan, instance: Option<InstanceId>, error: SpawnError) -> String {
    let program = instance.filter(|id| id.index() < plan.instances.len()).map(|id| plan.program(id));
    let step = match error.stage {
        Stage::Prepare => "preparing the start".into(),
        Stage::Fork => "forking".into(),
        Stage::Session => "making a session".into(),
        Stage::Descriptors => "setting up descriptors".into(),
        Stage::Signals => "setting up signals".into(),
        Stage::Directory => match program.and_then(|program| program.working_directory.as_ref()) {
            Some(directory) => format!("changing directory to {}", directory.display()),
            None => "changing directory".into(),
        },
        Stage::Exec => match program.and_then(|program| program.command.first()) {
            Some(command) => format!("executing {command}"),
            None => "executing the program".into(),
        },
    };
    format!("{step}: {}", errno(error.errno))
}

/// The text of an error number, without the number that std adds.
pub fn errno(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let marker = format!(" (os error {number})");
    text.strip_suffix(&marker).unwrap_or(&text).to_owned()
}

fn level(plan: &Plan, note: &Note) -> Level {
    match note {
        Note::Climbed { .. } => Level::Debug,
        // A source that came to its end, a job that is done: as it should be.
        Note::Died { instance, status, .. } if plan.program(*instance).is_success(*status) => Level::Info,
        Note::Started { .. }
        | Note::Left { .. }
        | Note::Restarting { .. }
        | Note::Stopping { .. }
        | Note::Draining { .. }
        | Note::SourceEnded { .. }
        | Note::Hurried { .. } => Level::Info,
        Note::SpawnFailed { .. }
        | Note::Died { .. }
        | Note::ItemTimedOut { .. }
        | Note::ProtocolError { .. }
        | Note::Buried { .. }
        | Note::Survivors { .. }
        | Note::SurvivorsKilled { .. }
        | Note::StopDeadline
        | Note::Strangers { .. }
        | Note::TornItem { .. }
        | Note::StdinAbandoned { .. }
        | Note::ResultsClosed { .. }
        | Note::Late { .. } => Level::Warn,
        Note::GaveUp { .. }
        | Note::CannotStart { .. }
        | Note::Unkillable { .. }
        | Note::StrangersLeft { .. }
        | Note::SourceFailed { .. }
        | Note::Bug(_) => Level::Error,
    }
}

fn words(plan: &Plan, note: &Note) -> String {
    let name = |id: &InstanceId| instance_name(plan, *id);
    match note {
        Note::Started { instance, .. } => format!("{} started", name(instance)),
        Note::SpawnFailed { instance, error } => {
            format!("{} cannot be started: {}", name(instance), spawn_error(plan, Some(*instance), *error))
        }
        Note::Died { instance, status, ran, usage } => {
            format!("{} ended by itself after {} ({status}){}", name(instance), span(*ran), used(usage))
        }
        Note::Left { instance, status, took } => format!("{} left after {} ({status})", name(instance), span(*took)),
        Note::Restarting { instance, after } if after.is_zero() => format!("{} is restarted", name(instance)),
        Note::Restarting { instance, after } => format!("{} is restarted in {}", name(instance), span(*after)),
        Note::GaveUp { worker, burst, interval } => {
            let worker = worker_name(plan, *worker);
            format!("worker {worker} is given up: {burst} failed starts within {}", span(*interval))
        }
        Note::CannotStart { worker, error } => {
            let first = plan
                .instances
                .iter()
                .position(|role| matches!(role, crate::model::plan::Role::Worker { worker: of, .. } if of == worker));
            let instance = first.and_then(|at| u32::try_from(at).ok()).map(InstanceId);
            let why = spawn_error(plan, instance, *error);
            format!("worker {} is given up, it cannot be started: {why}", worker_name(plan, *worker))
        }
        Note::ItemTimedOut { instance, token, timeout } => {
            format!("{} did not answer item {token} within {} and is stopped", name(instance), span(*timeout))
        }
        Note::ProtocolError { instance, seen } => format!(
            "{} sent what is no reply and is stopped: \"{}\" (descriptor 4 takes \"ok TOKEN\" and the like; see the worker protocol)",
            name(instance),
            seen.escape_ascii()
        ),
        Note::Buried { letter } => buried(plan, letter),
        Note::Climbed { instance, step, reason } => format!("{} is on {} ({reason})", name(instance), rung(*step)),
        Note::Survivors { instance, count } => {
            format!("{} left {} behind, which {} asked to go with TERM", name(instance), processes(*count), are(*count))
        }
        Note::SurvivorsKilled { instance } => format!("what {} left behind is killed", name(instance)),
        Note::Unkillable { instance } => {
            format!("{} is unkillable: KILL was sent and it is still there; it is no longer waited for", name(instance))
        }
        Note::Stopping { cause: why, budget: Some(budget) } => {
            format!("stopping {} (within {})", cause(plan, why), span(*budget))
        }
        Note::Stopping { cause: why, budget: None } => format!("stopping {}", cause(plan, why)),
        Note::Draining { queue, items } => {
            format!("queue {} is worked off first: {}", queue_name(plan, *queue), counted(*items, "item"))
        }
        Note::StopDeadline => "the stop budget is used up: everybody is killed".into(),
        Note::Hurried { next } => match next {
            Some(LadderStep::Kill) => "everybody climbs one rung; the next Ctrl+C kills".into(),
            Some(step @ (LadderStep::Event | LadderStep::Signal(_))) => {
                format!("everybody climbs one rung; the next Ctrl+C goes on to {}", rung(*step))
            }
            None => "everybody climbs one rung; it was the last".into(),
        },
        Note::Strangers { count, signal } => {
            let (who, are) = (processes(*count), are(*count));
            format!("{who} that made a session of their own {are} sent {signal}")
        }
        Note::StrangersLeft { count } => format!("{} could not be killed", processes(*count)),
        Note::SourceEnded { source, items } => {
            format!("source {} is at its end: {}", source_name(plan, *source), counted(*items, "item"))
        }
        Note::SourceFailed { source, errno: number, status } => {
            let why = match (number, status) {
                (Some(number), _) => format!("reading it: {}", errno(*number)),
                (None, Some(status)) => format!("it ended with {status}"),
                (None, None) => "it could not be started".into(),
            };
            format!("source {} failed: {why}", source_name(plan, *source))
        }
        Note::TornItem { source, length, head } => format!(
            "source {} was stopped in the middle of an item, which does not count: {}, \"{}\"",
            source_name(plan, *source),
            counted(*length, "byte"),
            shown(head)
        ),
        Note::StdinAbandoned { source } => {
            format!(
                "source {} was not read to its end; what it still holds was never accepted",
                source_name(plan, *source)
            )
        }
        Note::ResultsClosed { worker, errno: number } => {
            format!("results of worker {} can no longer be written: {}", worker_name(plan, *worker), errno(*number))
        }
        Note::Late { by } => format!("woke up {} late (stopped or starved); all clocks are shifted", span(*by)),
        Note::Bug(what) => format!("internal fault, going on: {what}"),
    }
}

fn buried(plan: &Plan, letter: &DeadLetter) -> String {
    let (kind, text) = letters::reason(&letter.reason);
    let text = text.map(|text| format!(" ({text})")).unwrap_or_default();
    let queue = queue_name(plan, letter.queue);
    format!("item {} of queue {queue} is a dead letter: {kind}{text}: \"{}\"", letter.seq, shown(&letter.payload))
}

/// The beginning of an item, printable.
fn shown(payload: &[u8]) -> String {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(payload.get(..SHOWN).unwrap_or(payload)).into_owned();
    if payload.len() > SHOWN { format!("{text}…") } else { text }
}

fn used(usage: &Usage) -> String {
    let cpu = usage.user + usage.system;
    if cpu < Duration::from_secs(1) { String::new() } else { format!(", {} of processor time", span(cpu)) }
}

fn processes(count: u32) -> String {
    if count == 1 { "a process".into() } else { format!("{count} processes") }
}

fn are(count: u32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
