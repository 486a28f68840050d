//! Any list of events, whether it can happen or not: the machine goes on. A "cannot happen" is its right answer to what breaks
//! the contract: a panic with debug assertions, a `Note::Bug` that is counted without. Numbers of sources and workers are
//! indices into the plan, so they are always those of one.

use super::plans::{self, Choices};
use crate::harness;
use exeunt::machine::{Action, Actions, Event, Machine, Meaning, Note, SourceEnd};
use exeunt::model::process::Usage;
use exeunt::model::{
    ExitStatus, Payload, ProcId, Reply, Signal, SourceId, SpawnError, Stage, Time, Token, Verdict, WorkerId,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

pub fn target(data: &[u8]) {
    let mut choices = Choices(data);
    let plan = plans::plan(&mut choices);
    let (sources, workers) = (plan.sources.len(), plan.workers.len());
    let slots = plan.instances.len() as u64;
    let mut machine = Machine::new(Rc::new(plan), 7);
    let (mut now, mut out, mut bugs) = (Time::from_millis(1), Actions::new(), 0);
    while let Some(kind) = choices.next() {
        let Some(event) = event(kind, sources, workers, slots, &mut choices) else { continue };
        if kind >= 0x80 {
            now = now + Duration::from_millis(u64::from(choices.byte()) * 25);
        }
        if !survives(&mut machine, now, event, &mut out) {
            return;
        }
        bugs += out.iter().filter(|action| matches!(action, Action::Note(Note::Bug(_)))).count() as u32;
        for action in out.drain(..) {
            if let Action::Quit(report) = action {
                assert_eq!(report.bugs, bugs, "faults that were told and not counted");
                assert_eq!(report.exit_code == 70, bugs > 0);
            }
        }
        assert!(machine.deadline() != Some(Time::NEVER), "a timer that never rings");
    }
}

/// False when the machine called a fault and panicked, as it does with debug assertions only: it is of no use after that.
fn survives(machine: &mut Machine, now: Time, event: Event, out: &mut Actions) -> bool {
    let told = harness::expecting_panics(|| catch_unwind(AssertUnwindSafe(|| machine.handle(now, event.clone(), out))));
    let Err(panic) = told else { return true };
    let words = harness::words(&*panic);
    assert!(cfg!(debug_assertions) && words.starts_with("bug: "), "{event:?} made the machine panic: {words}");
    false
}

fn event(kind: u8, sources: usize, workers: usize, slots: u64, choices: &mut Choices) -> Option<Event> {
    let index = |many: usize, choices: &mut Choices| u32::try_from(choices.below(many)).unwrap_or(0);
    let proc = |choices: &mut Choices| ProcId(slots + u64::from(choices.byte()) % (4 * slots));
    let status = |choices: &mut Choices| match choices.byte() % 4 {
        0 => ExitStatus::Exited(0),
        1 => ExitStatus::Exited(1),
        _ => ExitStatus::Signalled { signal: Signal::KILL, core: false },
    };
    let item = |choices: &mut Choices| Payload::from(&b"an item\nof two lines"[..choices.below(20)]);
    let token =
        |choices: &mut Choices| Token { seq: u64::from(choices.byte() % 16), delivery: u32::from(choices.byte() % 4) };
    if sources == 0 && (10..14).contains(&(kind % 18)) {
        return None;
    }
    Some(match kind % 18 {
        0 => Event::Began,
        1 => match choices.byte() % 3 {
            0 => Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop },
            1 => Event::Signalled { signal: Signal::INT, meaning: Meaning::Interrupt },
            _ => Event::Signalled { signal: Signal::USR1, meaning: Meaning::Nothing },
        },
        2 | 3 => Event::Spawned { proc: proc(choices) },
        4 => {
            let stage = Stage::all()[choices.below(Stage::all().len())];
            let errno = [2, 11, 12, 13, 24][choices.below(5)];
            Event::SpawnFailed { proc: proc(choices), error: SpawnError { stage, errno } }
        }
        5 => Event::Wrote { proc: proc(choices), frames: u32::from(choices.byte() % 4), progress: choices.flag() },
        6 => {
            let token = token(choices);
            let verdict = match choices.byte() % 5 {
                0 => Verdict::Ok(None),
                1 => Verdict::Ok(Some(item(choices))),
                2 => Verdict::Retry(None),
                3 => Verdict::Fail(Some("why".into())),
                _ => Verdict::Release,
            };
            Event::Replied { proc: proc(choices), reply: Reply::Settle { token, verdict } }
        }
        7 => {
            let reply =
                if choices.flag() { Reply::Touch(token(choices)) } else { Reply::Prefetch(choices.byte().into()) };
            Event::Replied { proc: proc(choices), reply }
        }
        8 if choices.flag() => Event::RepliesClosed { proc: proc(choices) },
        8 => Event::Garbled { proc: proc(choices), seen: b"hello".to_vec() },
        9 => Event::Exited {
            proc: proc(choices),
            status: status(choices),
            in_hand: choices.flag(),
            usage: Usage::default(),
            out_of_memory: choices.flag(),
        },
        10 | 11 => {
            let source = SourceId(index(sources, choices));
            Event::Submitted { source, items: (0..choices.below(6)).map(|_| item(choices)).collect() }
        }
        12 => Event::Oversized { source: SourceId(index(sources, choices)), length: 99, head: item(choices) },
        13 => {
            let end = match choices.byte() % 4 {
                0 => SourceEnd::Whole,
                1 => SourceEnd::Torn { length: 3, head: item(choices) },
                2 => SourceEnd::Failed { errno: 5 },
                _ => SourceEnd::Abandoned { torn: choices.flag().then(|| item(choices)) },
            };
            Event::SourceEnded { source: SourceId(index(sources, choices)), end }
        }
        14 => match choices.flag() {
            true => Event::MembersGone { proc: proc(choices) },
            false => Event::MembersLeft { proc: proc(choices), count: u32::from(choices.byte()) },
        },
        15 => match choices.byte() % 4 {
            0 => Event::ResultsClosed { worker: WorkerId(index(workers, choices)), errno: 32 },
            _ => Event::ResultsWritten { worker: WorkerId(index(workers, choices)), count: choices.byte().into() },
        },
        16 => match choices.byte() % 4 {
            0 => Event::OrphanReaped,
            1 => Event::Orphans { count: u32::from(choices.byte() % 3) },
            _ => Event::Strangers { count: u32::from(choices.byte() % 3) },
        },
        _ => Event::Tick,
    })
}
