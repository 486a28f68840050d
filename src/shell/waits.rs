//! What a stop waits for, in words.

use super::phrases::{counted, instance_name, queue_name, source_name, span};
use crate::machine::{LadderStep, Wait};
use crate::model::InstanceId;
use crate::model::plan::Plan;
use std::time::Duration;

/// So many instances are named; of the others a message says how many there are.
const NAMED: usize = 3;

/// `names`: those of the instances with their process ids, where these are known.
pub fn words(plan: &Plan, wait: &Wait, left: Option<Duration>, names: Option<&str>) -> String {
    let named = |instances: &[InstanceId]| names.map_or_else(|| self::names(plan, instances, |_| None), str::to_owned);
    let then = |what: &str| left.map(|left| format!(": {what} in {}", span(left))).unwrap_or_default();
    let at_most = left.map(|left| format!(", for {} more at most", span(left))).unwrap_or_default();
    match wait {
        Wait::Rung { instances, rung, next } => {
            let next = next.map_or("given up".into(), step);
            format!("still waiting for {} after {}{}", named(instances), step(*rung), then(&next))
        }
        Wait::Starts { instances } => {
            format!("still waiting for {}, killed while starting{}", named(instances), then("given up"))
        }
        Wait::Members { instances, killed } => {
            let (after, next) = if *killed { (" after KILL", "given up") } else { ("", "KILL") };
            format!("still waiting for what {} left behind{after}{}", named(instances), then(next))
        }
        Wait::Drain { queue, items } => {
            let limit = left.map_or(", without a limit (no stop-budget)".into(), |left| {
                format!(": the stop budget ends in {}", span(left))
            });
            let items = counted(*items, "item");
            format!("still working off queue {}, which has {items} left{limit}", queue_name(plan, *queue))
        }
        Wait::Results { items } => {
            format!("still waiting for {} to be written{at_most}", counted(*items, "result"))
        }
        Wait::Stdin { source } => {
            format!("still reading standard input (source {}) into the leftovers{at_most}", source_name(plan, *source))
        }
        Wait::Output { source } => format!("still reading what source {} has written", source_name(plan, *source)),
        Wait::Strangers { count, signal } => {
            let next = if *signal == crate::model::Signal::KILL { "given up" } else { "KILL" };
            let processes = if *count == 1 { "a process".into() } else { format!("{count} processes") };
            format!("still waiting for {processes} outside of every session after {signal}{}", then(next))
        }
    }
}

/// The first few of them, with their process ids, and how many there are besides.
pub fn names(plan: &Plan, instances: &[InstanceId], pid: impl Fn(InstanceId) -> Option<i32>) -> String {
    let name = |&id: &InstanceId| {
        let pid = pid(id).map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        format!("{}{pid}", instance_name(plan, id))
    };
    let named: Vec<String> = instances.iter().take(NAMED).map(name).collect();
    let more = instances.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", named.join(", "))
}

fn step(step: LadderStep) -> String {
    match step {
        LadderStep::Event => "the exit event".into(),
        LadderStep::Signal(signal) => signal.to_string(),
        LadderStep::Kill => "KILL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Program, Role, WorkerPlan};
    use crate::model::{Signal, WorkerId};

    #[test]
    fn a_few_instances_are_named_with_what_follows_and_the_rest_counted() {
        let role = |index| Role::Worker { worker: WorkerId(0), index };
        let plan = Plan {
            workers: vec![WorkerPlan::plain("web", Program::plain(vec!["./web".into()]))],
            instances: (0..5).map(role).collect(),
            ..Plan::empty("test")
        };
        let term = LadderStep::Signal(Signal::TERM);
        let left = Some(Duration::from_micros(6_999_100));
        let rung = |count, next| Wait::Rung { instances: (0..count).map(InstanceId).collect(), rung: term, next };
        let one = rung(1, Some(LadderStep::Kill));
        assert_eq!(
            words(&plan, &one, left, Some("web.0 (pid 12)")),
            "still waiting for web.0 (pid 12) after TERM: KILL in 7s"
        );
        let many = rung(5, Some(LadderStep::Kill));
        assert_eq!(
            words(&plan, &many, left, None),
            "still waiting for web.0, web.1, web.2 and 2 more after TERM: KILL in 7s"
        );
        let ids: Vec<InstanceId> = (0..2).map(InstanceId).collect();
        assert_eq!(names(&plan, &ids, |id| (id.0 == 0).then_some(12)), "web.0 (pid 12), web.1");
    }
}
