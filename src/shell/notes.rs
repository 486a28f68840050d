//! The machine's notes in words, each with its level. This is what operators read.

use super::letters;
use super::phrases::{
    cause, counted, errno, instance_name, queue_name, read_end, rung, source_name, span, worker_name,
};
use super::reasons::{last_failure, own_limit, refusal, waited_for};
use super::start_error::spawn_error;
use super::waits;
use crate::machine::{DeadLetter, HeldItem, LadderStep, Note};
use crate::model::plan::{Plan, Role};
use crate::model::process::Usage;
use crate::model::{ExitStatus, InstanceId, PipeWriter, SpawnError, WorkerId};
use log::Level;
use std::time::Duration;

/// Sends a note to the log.
///
/// `detail`: what only the shell knows: the process id of what started, the names with process ids of what a stop waits for, why a program could not be executed, where
/// more is known than the errno in the note, or that stray processes had a signal before.
pub fn put(plan: &Plan, note: &Note, detail: Option<&str>) {
    let level = level(plan, note);
    if log::log_enabled!(level) {
        log::log!(level, "{}", words(plan, note, detail));
    }
}

fn level(plan: &Plan, note: &Note) -> Level {
    match note {
        // An init does what it is there for without a word.
        Note::Died { .. }
        | Note::Survivors { .. }
        | Note::SurvivorsKilled { .. }
        | Note::Strangers { .. }
        | Note::Late { .. }
            if plan.init.is_some() =>
        {
            Level::Info
        }
        Note::Climbed { .. } => Level::Debug,
        Note::SpawnFailed { again: true, .. } | Note::Restarting { again: true, .. } => Level::Debug,
        // A source that came to its end, a job that is done: as it should be.
        Note::Died { instance, status, ready: true, .. } if plan.program(*instance).is_success(*status) => Level::Info,
        Note::Started { .. }
        | Note::Ready { .. }
        | Note::Said { .. }
        | Note::Falls { .. }
        | Note::Left { .. }
        | Note::KilledWhileStarting { .. }
        | Note::Restarting { .. }
        | Note::Stopping { .. }
        | Note::Draining { .. }
        | Note::SourceEnded { .. }
        | Note::SignalIgnored { .. }
        | Note::StillWaiting { .. }
        | Note::Hurried { .. } => Level::Info,
        Note::SpawnFailed { .. }
        | Note::NotReady { .. }
        | Note::Unhealthy { .. }
        | Note::WatchdogExpired { .. }
        | Note::FoundItselfUnwell { .. }
        | Note::Died { .. }
        | Note::OutOfMemory { .. }
        | Note::ItemTimedOut { .. }
        | Note::ItemUnread { .. }
        | Note::ProtocolError { .. }
        | Note::RepliesClosed { .. }
        | Note::Buried { .. }
        | Note::Survivors { .. }
        | Note::SurvivorsKilled { .. }
        | Note::StopDeadline
        | Note::Strangers { .. }
        | Note::TornItem { .. }
        | Note::SourceStillOpen { .. }
        | Note::StdinAbandoned { .. }
        | Note::ResultsClosed { .. }
        | Note::ResultsGivenUp { .. }
        | Note::Late { .. } => Level::Warn,
        Note::GaveUp { .. }
        | Note::NeverReads { .. }
        | Note::LimitedToDeath { .. }
        | Note::CannotStart { .. }
        | Note::Unkillable { .. }
        | Note::StrangersLeft { .. }
        | Note::SourceFailed { .. }
        | Note::Bug(_) => Level::Error,
    }
}

/// One sentence for each kind; what takes more than that stands below.
fn words(plan: &Plan, note: &Note, detail: Option<&str>) -> String {
    let name = |id: &InstanceId| instance_name(plan, *id);
    match note {
        Note::Started { instance, .. } => {
            let pid = detail.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("{} started{pid}", name(instance))
        }
        Note::SpawnFailed { instance, error, own_limit, .. } => {
            let own_limit = own_limit.map(|resource| self::own_limit(plan, *instance, resource)).unwrap_or_default();
            format!(
                "{} cannot be started: {}{own_limit}",
                name(instance),
                spawn_error(plan, Some(*instance), *error, detail)
            )
        }
        Note::Ready { instance, took } => format!("{} is ready after {}", name(instance), span(*took)),
        Note::NotReady { instance, timeout, last } => {
            let waited_for = waited_for(plan, *instance, *last);
            format!("{} was not ready within {} and is stopped: {waited_for}", name(instance), span(*timeout))
        }
        Note::Unhealthy { instance, failures, last } => {
            let (times, last) = (counted(u64::from(*failures), "time"), refusal(*last));
            format!("{} was found unwell {times} in a row and is stopped; the last answer: {last}", name(instance))
        }
        Note::WatchdogExpired { instance } => {
            format!("{} did not tell its watchdog in time and is stopped", name(instance))
        }
        Note::FoundItselfUnwell { instance } => format!("{} says that it is unwell and is stopped", name(instance)),
        Note::Said { instance, status } => format!("{} says: {status}", name(instance)),
        Note::Falls { instance, required } => {
            let required = worker_name(plan, *required);
            format!("{} is stopped, for it requires {required}, which is not ready any more", name(instance))
        }
        Note::Died { instance, status, ran, usage, ready, held } => {
            let early = if *ready { "" } else { ", before it was ready" };
            let (used, held) = (used(usage), in_hand(held.as_ref()));
            format!("{} ended by itself after {}{early} ({status}){used}{held}", name(instance), span(*ran))
        }
        Note::OutOfMemory { instance } => format!(
            "{} was killed while our control group was out of memory: the kernel says that it killed somebody",
            name(instance)
        ),
        Note::Left { instance, status, took, held } => {
            format!("{} left after {} ({status}){}", name(instance), span(*took), in_hand(held.as_ref()))
        }
        Note::KilledWhileStarting { instance } => format!("{} was killed while it was starting", name(instance)),
        Note::Restarting { instance, after, .. } if after.is_zero() => format!("{} is restarted", name(instance)),
        Note::Restarting { instance, after, .. } => format!("{} is restarted in {}", name(instance), span(*after)),
        Note::GaveUp { worker, burst, interval, instance, last } => {
            let (worker, within) = (worker_name(plan, *worker), span(*interval));
            let last = last_failure(plan, *instance, *last);
            let starts = counted(u64::from(*burst), "failed start");
            format!("worker {worker} is given up: {starts} within {within}, the last: {last}")
        }
        Note::NeverReads { worker, times } => {
            let (worker, times) = (worker_name(plan, *worker), counted(u64::from(*times), "item"));
            format!("worker {worker} is given up: it did not read {times} in a row within their item-timeout")
        }
        Note::LimitedToDeath { worker, resource, times } => {
            let (worker, times) = (worker_name(plan, *worker), counted(u64::from(*times), "start"));
            let resource = resource.name();
            format!("worker {worker} is given up: {times} in a row failed for its own limit {resource}, see `limits`")
        }
        Note::CannotStart { worker, error } => cannot_start(plan, *worker, *error, detail),
        Note::ItemTimedOut { instance, token, timeout } => {
            format!("{} did not answer item {token} within {} and is stopped", name(instance), span(*timeout))
        }
        Note::ItemUnread { instance, token } => {
            format!(
                "{} never read item {token}: its timeout is a failure of the worker, not of the item",
                name(instance)
            )
        }
        Note::ProtocolError { instance, seen } => {
            let seen = seen.escape_ascii();
            format!("{} sent what is no reply (like \"ok TOKEN\") and is stopped: \"{seen}\"", name(instance))
        }
        Note::RepliesClosed { instance } => {
            format!("{} closed its reply pipe with an item unanswered and is stopped", name(instance))
        }
        Note::Buried { letter } => buried(plan, letter),
        Note::Climbed { instance, step, reason } => format!("{} is on {} ({reason})", name(instance), rung(*step)),
        Note::Survivors { instance, count } => {
            format!("{} left {} behind, which {} asked to go with TERM", name(instance), processes(*count), are(*count))
        }
        Note::SurvivorsKilled { instance } => format!("what {} left behind is killed", name(instance)),
        Note::Unkillable { instance } => {
            format!("{} is still there after KILL, and is no longer waited for", name(instance))
        }
        Note::Stopping { cause: why, budget } => {
            let within = budget.map(|budget| format!(" (within {})", span(budget))).unwrap_or_default();
            format!("stopping {}{within}", cause(plan, why))
        }
        Note::Draining { queue, items } => {
            format!("queue {} is worked off first: {}", queue_name(plan, *queue), counted(*items, "item"))
        }
        Note::SignalIgnored { signal } => format!(
            "{signal} means nothing to exeunt and is ignored; forward-signals = [\"{signal}\"] passes it on to a worker"
        ),
        Note::StopDeadline => "the stop budget is used up: everybody is killed".into(),
        Note::Hurried { next } => hurried(*next),
        Note::Strangers { count, signal } => {
            let are = are(*count);
            match detail {
                None => format!("{} that {are} left at the end {are} sent {signal}", processes(*count)),
                // It had the signal as a member of its worker, and is not sent it again.
                Some(when) => format!("{} that {are} left at the end had {signal} {when}", processes(*count)),
            }
        }
        Note::StrangersLeft { count } => format!("{} could not be killed", processes(*count)),
        Note::SourceEnded { source, items } => {
            format!("source {} is at its end: {}", source_name(plan, *source), counted(*items, "item"))
        }
        Note::SourceStillOpen { source, items, writer } => {
            still_open(source_name(plan, *source), *items, writer.as_ref())
        }
        Note::SourceFailed { source, errno, status } => source_failed(source_name(plan, *source), *errno, *status),
        Note::TornItem { source, length, head } => torn(source_name(plan, *source), *length, head),
        Note::StdinAbandoned { source, why } => {
            let (name, why) = (source_name(plan, *source), read_end(plan, *source, *why));
            format!("source {name} is not read to its end: {why}; what it still has was not accepted")
        }
        Note::ResultsClosed { worker, errno: number } => {
            format!("results of worker {} can no longer be written: {}", worker_name(plan, *worker), errno(*number))
        }
        Note::ResultsGivenUp { worker, items } => {
            format!(
                "results of worker {} were not written, so their items are unfinished: {items}",
                worker_name(plan, *worker)
            )
        }
        Note::StillWaiting { wait, left } => waits::words(plan, wait, *left, detail),
        Note::Late { by } => format!("woke up {} late (stopped or starved); all clocks are shifted", span(*by)),
        Note::Bug(what) => format!("internal fault, going on: {what}"),
    }
}

fn cannot_start(plan: &Plan, worker: WorkerId, error: SpawnError, detail: Option<&str>) -> String {
    let is_ours = |role: &Role| matches!(role, Role::Worker { worker: of, .. } if *of == worker);
    let instance = (0u32..).zip(&plan.instances).find(|(_, role)| is_ours(role)).map(|(id, _)| InstanceId(id));
    let why = spawn_error(plan, instance, error, detail);
    if plan.init.is_some() {
        return why;
    }
    format!("worker {} is given up, it cannot be started: {why}", worker_name(plan, worker))
}

fn hurried(next: Option<LadderStep>) -> String {
    match next {
        Some(LadderStep::Kill) => "everybody climbs one rung; the next Ctrl+C kills".into(),
        Some(step @ (LadderStep::Event | LadderStep::Signal(_))) => {
            format!("everybody climbs one rung; the next Ctrl+C goes on to {}", rung(step))
        }
        None => "everybody climbs one rung; it was the last".into(),
    }
}

fn source_failed(source: &str, number: Option<i32>, status: Option<ExitStatus>) -> String {
    match (number, status) {
        (Some(number), _) => format!("source {source} failed: reading it: {}", errno(number)),
        (None, Some(status)) => format!("source {source} failed: it ended with {status}"),
        (None, None) => format!("source {source} failed: it could not be started"),
    }
}

fn still_open(source: &str, items: u64, writer: Option<&PipeWriter>) -> String {
    let items = counted(items, "item");
    let writer = match writer {
        Some(PipeWriter { pid, name }) => format!("process {pid} ({name})"),
        None => "a process that cannot be seen".to_owned(),
    };
    format!(
        "source {source} was read until it was empty, not to its end: {items}; {writer}, in a session of its own, still has \
         its output open, and what it writes from now on is not read"
    )
}

fn torn(source: &str, length: u64, head: &[u8]) -> String {
    let (length, head) = (counted(length, "byte"), shown(head));
    format!("source {source} ended in the middle of an item, which is not accepted: {length}, \"{head}\"")
}

fn buried(plan: &Plan, letter: &DeadLetter) -> String {
    let (kind, text) = letters::reason(&letter.reason);
    let text = text.map(|text| format!(" ({text})")).unwrap_or_default();
    let queue = queue_name(plan, letter.queue);
    format!("item {} of queue {queue} is a dead letter: {kind}{text}: \"{}\"", letter.seq, shown(&letter.payload))
}

/// The item that a worker had in its hands: to be looked for in the dead letters, or to be tried by hand.
fn in_hand(held: Option<&HeldItem>) -> String {
    let words = |held: &HeldItem| format!(", with item {} in hand: \"{}\"", held.token, shown(&held.payload));
    held.map(words).unwrap_or_default()
}

/// The beginning of an item. Whatever it holds is made printable with the whole message.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{LastFailure, StopCause};
    use crate::model::Stage;
    use crate::model::identity::Limit;
    use crate::model::identity::{Bound, Resource};
    use crate::model::plan::{Program, WorkerPlan};

    /// One service, `web`.
    fn plan() -> Plan {
        let mut program = Program { working_directory: Some("/srv".into()), ..Program::plain(vec!["./web".into()]) };
        let none = Bound::At(0);
        program.identity.limits = vec![Limit { resource: Resource::Nproc, soft: none, hard: none }];
        Plan {
            workers: vec![WorkerPlan::plain("web", program)],
            instances: vec![Role::Worker { worker: WorkerId(0), index: 0 }],
            ..Plan::empty("test")
        }
    }

    #[test]
    fn notes_name_the_instance_the_step_and_the_cause() {
        let (plan, web) = (plan(), InstanceId(0));
        let enoent = SpawnError { stage: Stage::Directory, errno: 2 };
        let killed = ExitStatus::Signalled { signal: crate::model::Signal::KILL, core: false };
        let ran = Duration::from_secs(90);
        let held = || {
            let token = crate::model::Token { seq: 17, delivery: 2 };
            Some(HeldItem { token, payload: crate::model::Payload::from(&b"a.jpg"[..]) })
        };
        let gave_up = |last| {
            let (worker, burst, interval) = (WorkerId(0), 5, Duration::from_secs(60));
            Note::GaveUp { worker, burst, interval, instance: web, last }
        };
        let notes = [
            (
                Note::SpawnFailed { instance: web, error: enoent, again: false, own_limit: None },
                "web.0 cannot be started: changing directory to /srv: No such file or directory",
            ),
            (
                Note::SpawnFailed {
                    instance: web,
                    error: SpawnError { stage: Stage::Secret(0), errno: 22 },
                    again: false,
                    own_limit: None,
                },
                "web.0 cannot be started: reading a secret: it is no regular file",
            ),
            (
                Note::CannotStart { worker: WorkerId(0), error: SpawnError { stage: Stage::Exec, errno: 13 } },
                "worker web is given up, it cannot be started: executing ./web: Permission denied",
            ),
            (
                Note::Died { instance: web, status: killed, ran, usage: Usage::default(), ready: true, held: None },
                "web.0 ended by itself after 1m 30s (signal KILL)",
            ),
            (
                Note::Died {
                    instance: web,
                    status: ExitStatus::Exited(0),
                    ran,
                    usage: Usage::default(),
                    ready: false,
                    held: held(),
                },
                "web.0 ended by itself after 1m 30s, before it was ready (exit 0), with item 17.2 in hand: \"a.jpg\"",
            ),
            (
                Note::SpawnFailed {
                    instance: web,
                    error: SpawnError { stage: Stage::Exec, errno: 11 },
                    again: false,
                    own_limit: Some(Resource::Nproc),
                },
                "web.0 cannot be started: executing ./web: Resource temporarily unavailable (it is limited to nproc = 0 by \
                 `limits` in the file)",
            ),
            (
                Note::LimitedToDeath { worker: WorkerId(0), resource: Resource::Nproc, times: 5 },
                "worker web is given up: 5 starts in a row failed for its own limit nproc, see `limits`",
            ),
            (
                Note::NeverReads { worker: WorkerId(0), times: 5 },
                "worker web is given up: it did not read 5 items in a row within their item-timeout",
            ),
            (
                gave_up(LastFailure::Exited(ExitStatus::Exited(3))),
                "worker web is given up: 5 failed starts within 1m, the last: exit 3",
            ),
            (
                gave_up(LastFailure::NotStarted(enoent)),
                "worker web is given up: 5 failed starts within 1m, the last: changing directory to /srv: No such file or \
                 directory",
            ),
            (Note::KilledWhileStarting { instance: web }, "web.0 was killed while it was starting"),
            (
                Note::OutOfMemory { instance: web },
                "web.0 was killed while our control group was out of memory: the kernel says that it killed somebody",
            ),
            (
                Note::Left { instance: web, status: ExitStatus::Exited(0), took: ran, held: None },
                "web.0 left after 1m 30s (exit 0)",
            ),
            (
                Note::Stopping { cause: StopCause::GaveUp(WorkerId(0)), budget: Some(Duration::from_secs(9)) },
                "stopping because worker web was given up (within 9s)",
            ),
            (
                Note::Survivors { instance: web, count: 1 },
                "web.0 left a process behind, which is asked to go with TERM",
            ),
            // Some made sessions of their own, others were left in theirs by `kill-mode = "process"`.
            (
                Note::Strangers { count: 2, signal: crate::model::Signal::TERM },
                "2 processes that are left at the end are sent TERM",
            ),
            (Note::Hurried { next: Some(LadderStep::Kill) }, "everybody climbs one rung; the next Ctrl+C kills"),
        ];
        for (note, expected) in notes {
            assert_eq!(words(&plan, &note, None), expected);
        }
    }

    #[test]
    fn a_note_about_an_unknown_name_is_still_said() {
        let note = Note::Started { instance: InstanceId(9), proc: crate::model::ProcId(1) };
        assert_eq!(words(&plan(), &note, None), "instance 9 started");
        assert_eq!(words(&plan(), &note, Some("4711")), "instance 9 started (pid 4711)");
    }
}
