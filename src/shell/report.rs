//! The report at the end of a run: for people, or as one JSON object.

use super::disk::{Left, Rest};
use super::messages::line;
use super::phrases::{
    asked, cause, counted, instance_name, queue_name, read_end, rung, source_name, span, worker_name,
};
use crate::machine::report::{Fate, Leaver, QueueReport, SourceReport, Unstarted, Why};
use crate::machine::{LadderStep, ReadEnd, Report, StopCause};
use crate::model::PipeWriter;
use crate::model::plan::Plan;
use log::Level;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Lines for people.
pub fn text(plan: &Plan, report: &Report, rest: &Rest) -> Vec<u8> {
    let mut lines = vec![format!(
        "stopped {}; the stop took {}, the run {}; exit code {}",
        cause(plan, &report.cause),
        span(report.stop_took),
        span(report.ran),
        report.exit_code
    )];
    lines.extend(hidden_code(plan, report).map(|text| format!("  {text}")));
    lines.extend(report.leavers.iter().map(|leaver| format!("  {}", leaver_line(plan, leaver))));
    lines.extend(report.sources.iter().map(|source| format!("  {}", source_line(plan, source))));
    lines.extend(report.queues.iter().map(|queue| format!("  {}", queue_line(plan, queue))));
    lines.extend(rest.left.iter().map(|left| format!("  {}", left_line(plan, left))));
    let dead = report.queues.iter().filter(|queue| queue.dead > 0);
    lines.extend(dead.map(|queue| format!("  {}", dead_line(plan, queue, said(rest, queue)))));
    let extra = [
        (report.orphans_reaped, "orphan reaped", "orphans reaped"),
        (u64::from(report.strangers_left), "process left alive", "processes left alive"),
        (report.late_replies, "late reply for an item already settled", "late replies for items already settled"),
        (u64::from(report.bugs), "internal fault", "internal faults"),
    ];
    let worth_saying = extra.into_iter().filter(|&(count, ..)| count > 0);
    lines.extend(worth_saying.map(|(count, one, many)| format!("  {count} {}", if count == 1 { one } else { many })));
    lines.iter().flat_map(|text| line(Level::Info, text)).collect()
}

/// One object on one line. Names are stable; `version` changes when one changes its meaning.
pub fn json(plan: &Plan, report: &Report, rest: &Rest) -> Vec<u8> {
    let object = json!({
        "version": 1,
        "exit_code": report.exit_code,
        "code_of_all": report.code_of_all.unwrap_or(report.exit_code),
        "cause": cause_json(plan, &report.cause),
        "stop_ms": millis(report.stop_took),
        "ran_ms": millis(report.ran),
        "instances": report.leavers.iter().map(|leaver| leaver_json(plan, leaver)).collect::<Vec<_>>(),
        "queues": report.queues.iter().map(|queue| queue_json(plan, queue, said(rest, queue))).collect::<Vec<_>>(),
        "sources": report.sources.iter().map(|source| source_json(plan, source)).collect::<Vec<_>>(),
        "leftovers": rest.left.iter().map(|left| left_json(plan, left)).collect::<Vec<_>>(),
        "dead_letters": rest.letters,
        "orphans_reaped": report.orphans_reaped,
        "strangers_left": report.strangers_left,
        "late_replies": report.late_replies,
        "bugs": report.bugs,
    });
    super::json::to_line(&object)
}

/// What `exit-code-from` hides.
fn hidden_code(plan: &Plan, report: &Report) -> Option<String> {
    let (code, worker) = (report.code_of_all?, plan.exit_code_from?);
    let what = match code {
        0 => "nothing else failed",
        65 => "there are dead letters",
        75 => "there are unfinished items",
        _ => "something failed",
    };
    let (own, worker) = (report.exit_code, worker_name(plan, worker));
    Some(format!("exit code {own} is that of worker {worker}; without exit-code-from it would be {code}: {what}"))
}

fn leaver_line(plan: &Plan, leaver: &Leaver) -> String {
    let fate = match &leaver.fate {
        Fate::NeverStarted { why } => format!("never started{}", unstarted(plan, *why)),
        Fate::Ended { status, ready: true } => format!("ended by itself ({status})"),
        Fate::Ended { status, ready: false } => format!("ended by itself before it was ready ({status})"),
        Fate::Left { status, rung: step, took, why } => {
            format!("left on {} after {} ({status}){}", rung(*step), span(*took), asked(plan, *why))
        }
        Fate::KilledWhileStarting { why } => format!("killed while it was starting{}", asked(plan, *why)),
        Fate::GivenUp => "given up".into(),
        Fate::Unkillable => "unkillable: KILL did not remove it in time".into(),
    };
    let counts = [
        (leaver.items, "item", ""),
        (leaver.restarts, "restart", ""),
        (leaver.failed_starts, "failed start", ""),
        (leaver.oom_kills, "kill", " for want of memory"),
    ];
    let worth_saying = counts.into_iter().filter(|&(count, ..)| count > 0);
    let counts = worth_saying.map(|(count, what, why)| format!(", {}{why}", counted(count, what))).collect::<String>();
    format!("{} {fate}{counts}", instance_name(plan, leaver.instance))
}

/// Why it never was.
fn unstarted(plan: &Plan, why: Unstarted) -> String {
    match why {
        Unstarted::Stop => String::new(),
        Unstarted::Requires { worker, failed: true } => {
            format!(": worker {}, which it requires, failed", worker_name(plan, worker))
        }
        Unstarted::Requires { worker, failed: false } => {
            format!(": worker {}, which it requires, had ended", worker_name(plan, worker))
        }
        Unstarted::StartTimeout => ": its start took longer than its start-timeout".to_owned(),
    }
}

fn queue_line(plan: &Plan, queue: &QueueReport) -> String {
    let mut text = format!(
        "queue {}: {} accepted, {} done, {} dead, {} handed back",
        queue_name(plan, queue.queue),
        queue.accepted,
        queue.done,
        queue.dead,
        queue.handed_back
    );
    let causes = [(queue.retried, "retried"), (queue.crashed, "crashed"), (queue.timed_out, "timed out")];
    for (count, word) in causes.into_iter().filter(|&(count, _)| count > 0) {
        text.push_str(&format!(", {count} {word}"));
    }
    text
}

fn source_line(plan: &Plan, source: &SourceReport) -> String {
    let end = match (source.failed, source.read_to_eof) {
        (true, _) => "failed",
        (false, true) => "read to its end",
        (false, false) => "not read to its end",
    };
    let why = match source.end {
        ReadEnd::EndOfFile | ReadEnd::Failed | ReadEnd::StillOpen | ReadEnd::NotStarted => String::new(),
        why => format!(" ({})", read_end(plan, source.source, why)),
    };
    let open = source.still_open_in.as_ref();
    let open = open.map(|PipeWriter { pid, name }| format!(", process {pid} ({name}) still has its output open"));
    let (name, items) = (source_name(plan, source.source), counted(source.items, "item"));
    format!("source {name}: {items}, {end}{why}{}", open.unwrap_or_default())
}

fn left_line(plan: &Plan, left: &Left) -> String {
    let Left { queue, items, on_stderr, places } = left;
    let files: Vec<String> =
        places.iter().map(|place| format!("in {}: {}", place.path.display(), place.items)).collect();
    let place = match (files.join(", "), on_stderr) {
        (files, 0) if files.is_empty() => format!("are lost: {items}"),
        (files, _) if files.is_empty() => format!("are on stderr: {items}"),
        (files, 0) => format!("are {files}"),
        (files, said) => format!("are {files}; and on stderr, for the disk failed: {said}"),
    };
    format!("unfinished items of queue {} {place}", queue_name(plan, *queue))
}

/// Dead letters of this queue that the disk did not take.
fn said(rest: &Rest, queue: &QueueReport) -> u64 {
    rest.letters_on_stderr.get(queue.queue.index()).copied().unwrap_or(0)
}

fn dead_line(plan: &Plan, queue: &QueueReport, said: u64) -> String {
    let leftovers = plan.queues.get(queue.queue.index()).and_then(|queue| queue.leftovers.as_deref());
    let place = letters_place(leftovers, queue.dead, said);
    format!("dead letters of queue {}: {}, see {place}", queue_name(plan, queue.queue), queue.dead)
}

fn letters_place(leftovers: Option<&Path>, dead: u64, said: u64) -> String {
    match leftovers.map(Path::display) {
        Some(path) if said == 0 => format!("{path}.dead"),
        Some(path) if said < dead => format!("{path}.dead; and above, for the disk failed: {said}"),
        Some(_) | None => "above".to_owned(),
    }
}

fn cause_json(plan: &Plan, cause: &StopCause) -> Value {
    match cause {
        StopCause::Signal(signal) => json!({"kind": "signal", "signal": signal.to_string()}),
        StopCause::Done => json!({"kind": "done"}),
        StopCause::GaveUp(worker) => json!({"kind": "gave-up", "worker": worker_name(plan, *worker)}),
        StopCause::ResultsClosed(worker) => json!({"kind": "results-closed", "worker": worker_name(plan, *worker)}),
        StopCause::Deserted(queue) => json!({"kind": "deserted", "queue": queue_name(plan, *queue)}),
    }
}

fn leaver_json(plan: &Plan, leaver: &Leaver) -> Value {
    let (fate, status, step, took) = match &leaver.fate {
        Fate::NeverStarted { .. } => ("never-started", None, None, None),
        Fate::Ended { status, .. } => ("ended", Some(status), None, None),
        Fate::Left { status, rung, took, .. } => ("left", Some(status), Some(*rung), Some(*took)),
        Fate::KilledWhileStarting { .. } => ("killed-while-starting", None, None, None),
        Fate::GivenUp => ("given-up", None, None, None),
        Fate::Unkillable => ("unkillable", None, None, None),
    };
    let step = step.map(|step| match step {
        LadderStep::Event => "event".to_owned(),
        LadderStep::Signal(signal) => signal.to_string(),
        LadderStep::Kill => "KILL".to_owned(),
    });
    json!({
        "name": instance_name(plan, leaver.instance),
        "fate": fate,
        "reason": reason_json(plan, &leaver.fate),
        "status": status.map(ToString::to_string),
        "code": status.map(|status| status.shell_code()),
        "rung": step,
        "took_ms": took.map(millis),
        "restarts": leaver.restarts,
        "failed_starts": leaver.failed_starts,
        "oom_kills": leaver.oom_kills,
        "items": leaver.items,
    })
}

/// Why it was never started, was asked to leave, or has failed though its status is a good one; null where the stop of all, its
/// status or the fate itself says it.
fn reason_json(plan: &Plan, fate: &Fate) -> Value {
    let requires = |worker| json!({"kind": "requires", "worker": worker_name(plan, worker)});
    match fate {
        Fate::NeverStarted { why } => match *why {
            Unstarted::Stop => Value::Null,
            Unstarted::Requires { worker, failed } => {
                json!({"kind": "requires", "worker": worker_name(plan, worker), "failed": failed})
            }
            Unstarted::StartTimeout => json!({"kind": "start-timeout"}),
        },
        Fate::Left { why, .. } | Fate::KilledWhileStarting { why } => match *why {
            Why::Stop => Value::Null,
            Why::Requires(worker) => requires(worker),
            Why::Unwell => json!({"kind": "unwell"}),
            Why::Protocol => json!({"kind": "protocol"}),
            Why::ItemTimeout => json!({"kind": "item-timeout"}),
            Why::Renewed => json!({"kind": "max-items"}),
        },
        Fate::Ended { ready: false, .. } => json!({"kind": "not-ready"}),
        Fate::Ended { ready: true, .. } | Fate::GivenUp | Fate::Unkillable => Value::Null,
    }
}

fn queue_json(plan: &Plan, queue: &QueueReport, said: u64) -> Value {
    json!({
        "name": queue_name(plan, queue.queue),
        "accepted": queue.accepted,
        "done": queue.done,
        "dead": queue.dead,
        "dead_on_stderr": said,
        "handed_back": queue.handed_back,
        "retried": queue.retried,
        "crashed": queue.crashed,
        "timed_out": queue.timed_out,
    })
}

fn source_json(plan: &Plan, source: &SourceReport) -> Value {
    json!({
        "name": source_name(plan, source.source),
        "items": source.items,
        "failed": source.failed,
        "read_to_eof": source.read_to_eof,
        "end": read_end_word(source.end),
        "still_open_in": source.still_open_in.as_ref().map(|writer| json!({"pid": writer.pid, "name": writer.name})),
    })
}

fn read_end_word(end: ReadEnd) -> &'static str {
    match end {
        ReadEnd::NotStarted => "not-started",
        ReadEnd::EndOfFile => "eof",
        ReadEnd::Failed => "failed",
        ReadEnd::StillOpen => "still-open",
        ReadEnd::Stop => "stop",
        ReadEnd::Silence => "silence",
        ReadEnd::Timeout => "stop-read-timeout",
        ReadEnd::Deadline => "deadline",
        ReadEnd::LeftoversMax => "leftovers-max",
        ReadEnd::Interrupt => "interrupt",
        ReadEnd::FileSize => "file-size",
    }
}

fn left_json(plan: &Plan, left: &Left) -> Value {
    let path = left.places.first().map(|place| place.path.to_string_lossy());
    let files = left.places.iter().map(|place| json!({"path": place.path.to_string_lossy(), "items": place.items}));
    let files: Vec<Value> = files.collect();
    let queue = queue_name(plan, left.queue);
    json!({"queue": queue, "items": left.items, "path": path, "files": files, "on_stderr": left.on_stderr})
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::leftovers::Place;
    use super::*;
    use crate::model::{ExitStatus, InstanceId, QueueId, Signal, SourceId};
    use std::collections::VecDeque;

    fn report() -> Report {
        let took = Duration::from_millis(12);
        let left = Fate::Left { status: ExitStatus::Exited(0), rung: LadderStep::Event, took, why: Why::Stop };
        Report {
            exit_code: 75,
            code_of_all: None,
            cause: StopCause::Signal(Signal::INT),
            stop_took: Duration::from_millis(1200),
            ran: Duration::from_secs(12),
            leavers: vec![Leaver {
                instance: InstanceId(0),
                fate: left,
                restarts: 1,
                failed_starts: 0,
                oom_kills: 2,
                items: 13,
            }],
            queues: vec![QueueReport {
                queue: QueueId(0),
                accepted: 100,
                done: 59,
                dead: 1,
                handed_back: 40,
                retried: 0,
                crashed: 2,
                timed_out: 0,
            }],
            sources: vec![SourceReport {
                source: SourceId(0),
                items: 100,
                failed: false,
                read_to_eof: true,
                end: ReadEnd::EndOfFile,
                still_open_in: None,
            }],
            orphans_reaped: 1,
            strangers_left: 0,
            late_replies: 0,
            bugs: 0,
        }
    }

    /// Names do not matter here; an empty plan knows none.
    pub fn nameless() -> Plan {
        Plan::empty("test")
    }

    fn rest() -> Rest {
        let left = vec![Left {
            queue: QueueId(0),
            items: 40,
            on_stderr: 0,
            places: vec![Place { path: "left.txt".into(), items: 40 }],
        }];
        Rest { left, letters_on_stderr: vec![1], letters: VecDeque::from([json!({"item": "a"})]) }
    }

    /// Two services, `db` and `web`.
    fn services() -> Plan {
        use crate::model::WorkerId;
        use crate::model::plan::{Program, Role, WorkerPlan};
        let worker = |name| WorkerPlan::plain(name, Program::plain(vec!["x".into()]));
        let roles = [0, 1].map(|worker| Role::Worker { worker: WorkerId(worker), index: 0 });
        let workers = vec![worker("db"), worker("web")];
        Plan { workers, instances: roles.into(), exit_code_from: Some(WorkerId(0)), ..Plan::empty("test") }
    }

    #[test]
    fn every_fate_is_told_with_its_reason() {
        let (took, status) = (Duration::from_millis(12), ExitStatus::Exited(0));
        let term = LadderStep::Signal(Signal::TERM);
        let left = |why| Fate::Left { status, rung: term, took, why };
        let db = crate::model::WorkerId(0);
        let unstarted = |why| Fate::NeverStarted { why };
        let requires = |failed| unstarted(Unstarted::Requires { worker: db, failed });
        let cases = [
            (unstarted(Unstarted::Stop), "never started", Value::Null),
            (
                requires(true),
                "never started: worker db, which it requires, failed",
                json!({"kind": "requires", "worker": "db", "failed": true}),
            ),
            (
                requires(false),
                "never started: worker db, which it requires, had ended",
                json!({"kind": "requires", "worker": "db", "failed": false}),
            ),
            (
                unstarted(Unstarted::StartTimeout),
                "never started: its start took longer than its start-timeout",
                json!({"kind": "start-timeout"}),
            ),
            (Fate::Ended { status, ready: true }, "ended by itself (exit 0)", Value::Null),
            (
                Fate::Ended { status, ready: false },
                "ended by itself before it was ready (exit 0)",
                json!({"kind": "not-ready"}),
            ),
            (left(Why::Stop), "left on the TERM rung after 12ms (exit 0)", Value::Null),
            (
                left(Why::Requires(db)),
                "left on the TERM rung after 12ms (exit 0), because worker db, which it requires, was not ready any more",
                json!({"kind": "requires", "worker": "db"}),
            ),
            (
                left(Why::Renewed),
                "left on the TERM rung after 12ms (exit 0), because it had worked on max-items",
                json!({"kind": "max-items"}),
            ),
            (Fate::KilledWhileStarting { why: Why::Stop }, "killed while it was starting", Value::Null),
            (Fate::GivenUp, "given up", Value::Null),
            (Fate::Unkillable, "unkillable: KILL did not remove it in time", Value::Null),
        ];
        for (fate, line, reason) in cases {
            let counts =
                Leaver { instance: InstanceId(1), fate, restarts: 0, failed_starts: 0, oom_kills: 0, items: 0 };
            assert_eq!(leaver_line(&services(), &counts), format!("web.0 {line}"));
            assert_eq!(leaver_json(&services(), &counts)["reason"], reason, "{line}");
        }
    }

    #[test]
    fn what_exit_code_from_hides_is_told() {
        let hidden = |exit_code, code_of_all| hidden_code(&services(), &Report { exit_code, code_of_all, ..report() });
        let line = |code, what: &str| {
            Some(format!("exit code 0 is that of worker db; without exit-code-from it would be {code}: {what}"))
        };
        assert_eq!(hidden(0, None), None);
        assert_eq!(hidden(0, Some(65)), line(65, "there are dead letters"));
        assert_eq!(hidden(0, Some(75)), line(75, "there are unfinished items"));
        assert_eq!(hidden(0, Some(1)), line(1, "something failed"));
    }

    #[test]
    fn the_report_for_people() {
        let text = String::from_utf8(text(&nameless(), &report(), &rest())).unwrap();
        let expected = "\
exeunt: stopped on INT; the stop took 1.2s, the run 12s; exit code 75
exeunt:   instance 0 left on the event rung after 12ms (exit 0), 13 items, 1 restart, 2 kills for want of memory
exeunt:   source ?: 100 items, read to its end
exeunt:   queue ?: 100 accepted, 59 done, 1 dead, 40 handed back, 2 crashed
exeunt:   unfinished items of queue ? are in left.txt: 40
exeunt:   dead letters of queue ?: 1, see above
exeunt:   1 orphan reaped
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_report_for_programs_is_one_line_of_json() {
        let text = json(&nameless(), &report(), &rest());
        assert_eq!(text.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["exit_code"], 75);
        assert_eq!(value["cause"], json!({"kind": "signal", "signal": "INT"}));
        assert_eq!(value["instances"][0]["rung"], "event");
        assert_eq!(value["instances"][0]["took_ms"], 12);
        assert_eq!(value["instances"][0]["oom_kills"], 2);
        assert_eq!(value["queues"][0]["handed_back"], 40);
        assert_eq!(value["queues"][0]["dead_on_stderr"], 1);
        assert_eq!(value["dead_letters"], json!([{"item": "a"}]));
        assert_eq!(
            value["leftovers"][0],
            json!({"queue": "?", "items": 40, "path": "left.txt", "files": [{"path": "left.txt", "items": 40}], "on_stderr": 0})
        );
    }

    #[test]
    fn f76_leftovers_are_said_to_be_where_they_are() {
        let place = |path: &str, items| Place { path: path.into(), items };
        let (file, second) = (|items| place("left.txt", items), place("left.txt.1", 3));
        let cases = [
            (0, vec![file(40)], "in left.txt: 40"),
            (0, vec![file(37), second], "in left.txt: 37, in left.txt.1: 3"),
            (30, vec![file(10)], "in left.txt: 10; and on stderr, for the disk failed: 30"),
            (40, vec![], "on stderr: 40"),
            (0, vec![], "lost: 40"),
        ];
        for (on_stderr, places, place) in cases {
            let left = Left { queue: QueueId(0), items: 40, on_stderr, places };
            assert_eq!(left_line(&nameless(), &left), format!("unfinished items of queue ? are {place}"));
        }
    }

    #[test]
    fn f76_dead_letters_are_said_to_be_where_they_are() {
        let cases = [(0, "left.txt.dead"), (3, "left.txt.dead; and above, for the disk failed: 3"), (5, "above")];
        for (said, place) in cases {
            assert_eq!(letters_place(Some(Path::new("left.txt")), 5, said), place);
        }
    }
}
