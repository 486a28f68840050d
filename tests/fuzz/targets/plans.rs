//! Small plans out of bytes, for the machine.

use exeunt::model::plan::*;
use exeunt::model::{Framing, QueueId, Signal, WorkerId};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes as choices. Zeros when there are no more.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Below `many`.
    pub fn below(&mut self, many: usize) -> usize {
        usize::from(self.byte()) % many.max(1)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }
}

/// A plan as the compiler could make it: 1 or 2 queues, up to 3 sources, 1 to 4 workers.
pub fn plan(choices: &mut Choices) -> Plan {
    let queues: Vec<QueuePlan> = (0..1 + choices.below(2)).map(|at| queue(at, choices)).collect();
    let sources: Vec<SourcePlan> = (0..choices.below(4)).map(|at| source(at, queues.len(), choices)).collect();
    let mut workers: Vec<WorkerPlan> = Vec::new();
    for at in 0..queues.len() + choices.below(3) {
        let worker = worker(at, queues.len(), &workers, choices);
        workers.push(worker);
    }
    Plan {
        name: "fuzz".into(),
        stop_budget: choices.flag().then(|| millis(u64::from(choices.byte()) * 50)),
        cgroup: ControlGroups::Off,
        end: if choices.flag() { End::Work } else { End::Idle },
        exit_code_from: choices.flag().then_some(WorkerId(0)),
        init: None,
        instances: Plan::roles(&sources, &workers),
        queues,
        sources,
        workers,
    }
}

fn millis(many: u64) -> Duration {
    Duration::from_millis(many)
}

fn backoff(choices: &mut Choices) -> Backoff {
    let delay = millis(u64::from(choices.byte()) * 10);
    Backoff { delay, factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 }
}

fn queue(at: usize, choices: &mut Choices) -> QueuePlan {
    QueuePlan {
        name: format!("q{at}"),
        size: 1 + choices.below(5),
        max_bytes: 64,
        max_item: 32,
        on_full: if choices.flag() { OnFull::Reject } else { OnFull::Block },
        item_timeout: choices.flag().then_some(Duration::from_secs(2)),
        max_attempts: 1 + u32::from(choices.byte() % 4),
        max_crashes: 1 + u32::from(choices.byte() % 4),
        backoff: backoff(choices),
        drain_on_stop: choices.flag(),
        leftovers_first: false,
        leftovers: choices.flag().then(|| PathBuf::from("left")),
        framing: Framing::Line,
        leftovers_max: 1 + u64::from(choices.byte()),
    }
}

/// Only the first can be standard input.
fn source(at: usize, queues: usize, choices: &mut Choices) -> SourcePlan {
    let queue = QueueId(u32::try_from(choices.below(queues)).unwrap_or(0));
    let command = choices.flag() || at > 0;
    let feed = if command { Feed::Command(Box::new(program(false, choices))) } else { Feed::Stdin };
    SourcePlan { name: format!("s{at}"), queue, framing: Framing::Nul, feed, stop_read_timeout: STOP_READ_TIMEOUT }
}

fn program(event: bool, choices: &mut Choices) -> Program {
    let wait = |choices: &mut Choices| millis(u64::from(choices.byte()) * 20);
    let mut ladder = Vec::new();
    if event || choices.flag() {
        ladder.push(Rung { step: Step::Event, wait: wait(choices) });
    }
    for signal in [Signal::TERM, Signal::INT, Signal::CONT].into_iter().take(choices.below(4)) {
        ladder.push(Rung { step: Step::Signal(signal), wait: wait(choices) });
    }
    Program {
        ladder,
        kill_mode: [KillMode::Mixed, KillMode::Group, KillMode::Process][choices.below(3)],
        ..Program::plain(vec!["program".into()])
    }
}

/// The first workers have a queue each, so that none is without; who comes later may be a plain service.
fn worker(at: usize, queues: usize, before: &[WorkerPlan], choices: &mut Choices) -> WorkerPlan {
    let consumes = at < queues || choices.flag();
    let consumer = consumes.then(|| Consumer {
        queue: QueueId(u32::try_from(at % queues).unwrap_or(0)),
        framing: Framing::Line,
        prefetch: 1 + u32::from(choices.byte() % 3),
        results: if choices.flag() { Results::Stdout } else { Results::Null },
        max_items: choices.flag().then_some(1 + u64::from(choices.byte() % 4)),
        renewal_wait: Duration::from_secs(u64::from(choices.byte() % 4)),
    });
    let after: Vec<WorkerId> = (0u32..).take(before.len()).map(WorkerId).filter(|_| choices.flag()).collect();
    let level = after.iter().filter_map(|id| before.get(id.index())).map(|worker| worker.level + 1).max().unwrap_or(0);
    WorkerPlan {
        name: format!("w{at}"),
        program: program(consumes, choices),
        replicas: 1 + u32::from(choices.byte() % 3),
        consumer,
        restart: [Restart::Always, Restart::OnFailure, Restart::Never][choices.below(3)],
        restart_delay: backoff(choices),
        restart_reset_after: Duration::from_secs(10),
        start_limit: choices
            .flag()
            .then(|| StartLimit { burst: 1 + u32::from(choices.byte() % 5), interval: Duration::from_secs(60) }),
        on_give_up: if choices.flag() { OnGiveUp::Ignore } else { OnGiveUp::Shutdown },
        forward_signals: Default::default(),
        after,
        level,
        ..WorkerPlan::plain("", Program::plain(vec![]))
    }
}
