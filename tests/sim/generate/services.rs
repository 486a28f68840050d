//! What makes services of workers: readiness, requirements, oneshots, health, watchdogs; and the plan of an init.

use super::{FORWARDED, Mood, program};
use crate::dice::Dice;
use exeunt::model::plan::{
    Backoff, Health, Init, KillMode, Kind, OnGiveUp, Plan, Probe, Ready, Restart, StartLimit, WorkerPlan,
};
use std::time::Duration;

/// Some plans know nothing of all this: there the queues are in the foreground.
pub fn dress(dice: &mut Dice, mood: Mood, workers: &mut [WorkerPlan]) {
    if dice.percent(40) {
        return;
    }
    for worker in workers {
        worker.requires = worker.after.iter().copied().filter(|_| dice.percent(60)).collect();
        if worker.consumer.is_none() && dice.percent(30) {
            worker.kind = Kind::Oneshot;
            worker.start_timeout = dice.percent(50).then(|| patience(dice, mood));
            continue;
        }
        worker.ready = ready(dice);
        let timed = worker.ready.is_some() || dice.percent(20);
        worker.start_timeout = (timed && dice.percent(70)).then(|| patience(dice, mood));
        worker.health = dice.percent(25).then(|| health(dice));
        let tells = worker.ready == Some(Ready::Notify);
        worker.watchdog = (tells && dice.percent(60)).then(|| dice.millis(500, 4000).max(LEAST_SILENCE));
    }
}

fn ready(dice: &mut Dice) -> Option<Ready> {
    match dice.below(100) {
        0..40 => None,
        40..60 => Some(Ready::Notify),
        60..70 => Some(Ready::Fd(6)),
        70..85 => Some(Ready::Probe(probe())),
        _ => Some(Ready::Delay(dice.millis(0, 1500))),
    }
}

fn probe() -> Probe {
    Probe::Command(vec!["probe".into()])
}

/// Who obeys is ready long before, and so all are in the end where faults end. Else it may be too little for anybody.
fn patience(dice: &mut Dice, mood: Mood) -> Duration {
    let shortest = match mood {
        Mood::Calm | Mood::Stopped | Mood::Healing | Mood::Recovering => 4000,
        Mood::Mixed | Mood::Wild => 500,
    };
    dice.millis(shortest, 8000).max(Duration::from_millis(shortest))
}

fn health(dice: &mut Dice) -> Health {
    Health {
        probe: probe(),
        interval: dice.millis(500, 5000).max(LEAST_SILENCE),
        timeout: dice.millis(200, 2000).max(LEAST_SILENCE),
        failures: u32::try_from(dice.between(1, 3)).unwrap(),
    }
}

/// The plan that `exeunt init` makes: one program, which is never started again.
pub fn init(dice: &mut Dice) -> Plan {
    let mut program = program(dice, 0);
    program.kill_mode = dice.pick(&[KillMode::Mixed, KillMode::Group]);
    let shortage = Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(2), jitter: 0.2 };
    let workers = vec![WorkerPlan {
        restart: Restart::Never,
        restart_delay: shortage,
        start_limit: Some(StartLimit { burst: 1, interval: Duration::from_secs(1) }),
        on_give_up: OnGiveUp::Shutdown,
        forward_signals: [FORWARDED].into_iter().collect(),
        ..WorkerPlan::plain("program", program)
    }];
    Plan {
        init: Some(Init {
            as_zero: if dice.percent(50) { vec![1, 2, 130, 131, 138, 143] } else { vec![] },
            wait_all: dice.percent(50),
            stop_timeout: None,
        }),
        instances: Plan::roles(&[], &workers),
        workers,
        ..Plan::empty("init")
    }
}

/// The shortest time in which anybody can be heard twice.
const LEAST_SILENCE: Duration = Duration::from_millis(200);
