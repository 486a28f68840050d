//! A plan from a seed: small sizes and short times, so that every limit is met.

mod services;

use crate::dice::Dice;
use exeunt::model::identity::{Bound, Limit, Resource};
use exeunt::model::plan::{
    Backoff, Consumer, End, Feed, KillMode, OnFull, OnGiveUp, Plan, Program, QueuePlan, Restart, Results, Rung,
    SourcePlan, StartLimit, Step, WorkerPlan,
};
use exeunt::model::{Framing, QueueId, Signal, WorkerId};
use std::path::PathBuf;
use std::time::Duration;

/// What a seed sets out to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Obedient processes and finite sources: the run must end by itself with everything done.
    Calm,
    /// Obedient processes, and a stop at some moment: it must end the instant all have left.
    Stopped,
    /// Some faults.
    Mixed,
    /// Faults for ever.
    Wild,
    /// Faults for a while, and no stop: then the run must come to its end by itself.
    Healing,
    /// Faults for a while; then all that is wanted must be up within its back-off, and a stop must end in its time.
    Recovering,
}

impl Mood {
    pub fn faulty(self) -> bool {
        match self {
            Mood::Calm | Mood::Stopped => false,
            Mood::Mixed | Mood::Wild | Mood::Healing | Mood::Recovering => true,
        }
    }

    /// The sources are finite, and nobody stops the run.
    pub fn finite(self) -> bool {
        matches!(self, Mood::Calm | Mood::Healing)
    }
}

/// When faults end in a run that heals.
pub const HEALED: Duration = Duration::from_secs(20);
/// So long after that everything that is wanted is up: more than the longest back-off of any plan.
pub const RECOVERED: Duration = Duration::from_secs(60);

pub fn plan(dice: &mut Dice, mood: Mood) -> Plan {
    if dice.percent(6) {
        return services::init(dice);
    }
    let queues: Vec<QueuePlan> = (0..dice.between(1, 2)).map(|i| queue(dice, mood, i)).collect();
    let sources = sources(dice, mood, &queues);
    let mut workers = workers(dice, mood, &queues);
    services::dress(dice, mood, &mut workers);
    let instances = Plan::roles(&sources, &workers);
    let ends = mood.finite() || dice.percent(50);
    Plan {
        stop_budget: dice.percent(50).then(|| dice.millis(0, 9000)),
        end: if ends { End::Work } else { End::Idle },
        exit_code_from: dice.percent(15).then(|| WorkerId(u32::try_from(dice.below(workers.len() as u64)).unwrap())),
        queues,
        sources,
        workers,
        instances,
        ..Plan::empty("sim")
    }
}

fn queue(dice: &mut Dice, mood: Mood, i: u64) -> QueuePlan {
    let calm = mood == Mood::Calm;
    let max_bytes = dice.pick(&[24, 64, 1000, 1 << 20]);
    QueuePlan {
        name: format!("q{i}"),
        size: usize::try_from(dice.between(1, 12)).unwrap(),
        max_bytes,
        max_item: 24,
        on_full: if !calm && dice.percent(25) { OnFull::Reject } else { OnFull::Block },
        item_timeout: (!calm && dice.percent(60)).then(|| dice.millis(200, 6000).max(LEAST_PATIENCE)),
        max_attempts: if calm { 1000 } else { dice.pick(&[1, 2, 3, 1000]) },
        max_crashes: u32::try_from(dice.between(1, 3)).unwrap(),
        backoff: backoff(dice),
        drain_on_stop: dice.percent(30),
        leftovers_first: false,
        leftovers: dice.percent(50).then(|| PathBuf::from("left.txt")),
        framing: Framing::Line,
        leftovers_max: dice.pick(&[1 << 30, 1 << 30, 40, 400]),
    }
}

fn backoff(dice: &mut Dice) -> Backoff {
    let delay = dice.millis(0, 1500);
    Backoff {
        delay,
        factor: dice.pick(&[1.0, 1.5, 2.0, 10.0]),
        max: delay + dice.millis(0, 9000),
        jitter: dice.pick(&[0.0, 0.0, 0.2, 1.0]),
    }
}

fn sources(dice: &mut Dice, mood: Mood, queues: &[QueuePlan]) -> Vec<SourcePlan> {
    let fewest = if mood.finite() { queues.len() as u64 } else { 0 };
    let count = dice.between(fewest, 3).max(fewest);
    let mut stdin = false;
    let mut list = Vec::new();
    for i in 0..count {
        let of_stdin = !stdin && dice.percent(50);
        stdin |= of_stdin;
        let queue = if i < queues.len() as u64 { i } else { dice.below(queues.len() as u64) };
        let feed = if of_stdin { Feed::Stdin } else { Feed::Command(Box::new(program(dice, 30))) };
        let queue = QueueId(u32::try_from(queue).unwrap());
        let framing = if mood == Mood::Calm { Framing::Line } else { dice.pick(&[Framing::Line, Framing::Nul]) };
        let stop_read_timeout = dice.pick(&[1000, 1000, 0, 150, 3000]);
        let stop_read_timeout = Duration::from_millis(stop_read_timeout);
        list.push(SourcePlan { name: format!("s{i}"), queue, framing, feed, stop_read_timeout });
    }
    list
}

fn workers(dice: &mut Dice, mood: Mood, queues: &[QueuePlan]) -> Vec<WorkerPlan> {
    let count = queues.len() as u64 + dice.below(3);
    let mut list: Vec<WorkerPlan> = Vec::new();
    for i in 0..count {
        let queue =
            if i < queues.len() as u64 { Some(i) } else { dice.percent(50).then(|| dice.below(queues.len() as u64)) };
        let queue = queue.map(|queue| QueueId(u32::try_from(queue).unwrap()));
        let after: Vec<WorkerId> = (0..u32::try_from(i).unwrap()).map(WorkerId).filter(|_| dice.percent(25)).collect();
        let level = after.iter().map(|id| list[id.index()].level + 1).max().unwrap_or(0);
        list.push(worker(dice, mood, i, queue, after, level));
    }
    list
}

fn worker(dice: &mut Dice, mood: Mood, i: u64, queue: Option<QueueId>, after: Vec<WorkerId>, level: u32) -> WorkerPlan {
    let calm = mood == Mood::Calm;
    let limit = StartLimit { burst: u32::try_from(dice.between(1, 5)).unwrap(), interval: dice.millis(1000, 60_000) };
    // Sometimes more than may be started at once.
    let replicas = if dice.percent(1) { dice.between(65, 90) } else { dice.between(1, 4) };
    let mut program = program(dice, if queue.is_some() { 75 } else { 30 });
    if !calm && i % 3 == 1 {
        // No dice, so that a seed keeps its meaning. What fails with EAGAIN may fail for this.
        let few = Bound::At(1);
        program.identity.limits = vec![Limit { resource: Resource::Nproc, soft: few, hard: few }];
    }
    WorkerPlan {
        name: format!("w{i}"),
        program,
        replicas: u32::try_from(replicas).unwrap(),
        consumer: queue.map(|queue| consumer(dice, queue)),
        restart: if calm { Restart::Always } else { dice.pick(&[Restart::Always, Restart::OnFailure, Restart::Never]) },
        restart_delay: backoff(dice),
        restart_reset_after: dice.millis(0, 10_000),
        start_limit: (!calm && dice.percent(60)).then_some(limit),
        on_give_up: if dice.percent(30) { OnGiveUp::Shutdown } else { OnGiveUp::Ignore },
        // Every other one; no dice, so that a seed keeps its meaning.
        forward_signals: i.is_multiple_of(2).then_some(FORWARDED).into_iter().collect(),
        after,
        level,
        ..WorkerPlan::plain("", Program::plain(vec![]))
    }
}

fn consumer(dice: &mut Dice, queue: QueueId) -> Consumer {
    Consumer {
        queue,
        framing: Framing::Line,
        prefetch: dice.pick(&[1, 1, 1, 2, 3, 8]),
        results: match dice.below(3) {
            0 => Results::Null,
            1 => Results::Stdout,
            _ => Results::File(PathBuf::from("out.txt")),
        },
        max_items: dice.percent(30).then(|| dice.between(1, 12)),
        renewal_wait: dice.millis(0, 4000),
    }
}

/// `event`: chance in a hundred that the ladder begins with the exit event.
fn program(dice: &mut Dice, event: u64) -> Program {
    let mut ladder = Vec::new();
    if dice.percent(event) {
        ladder.push(Rung { step: Step::Event, wait: dice.millis(0, 4000) });
    }
    let signals = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::USR1, Signal::TSTP];
    let fewest = u64::from(ladder.is_empty());
    for _ in 0..dice.between(fewest, 2) {
        ladder.push(Rung { step: Step::Signal(dice.pick(&signals)), wait: dice.millis(0, 3000) });
    }
    Program {
        ladder,
        kill_mode: dice.pick(&[KillMode::Mixed, KillMode::Mixed, KillMode::Group, KillMode::Process]),
        ..Program::plain(vec!["prog".into()])
    }
}

/// In no ladder: whoever gets it, gets it since it was passed on.
pub const FORWARDED: Signal = Signal::USR2;

/// A second, for bounds.
pub const SECOND: Duration = Duration::from_secs(1);

/// The shortest time that an item may have: less is never enough for anybody.
const LEAST_PATIENCE: Duration = Duration::from_millis(200);
