//! Replacing replicas that have worked on `max-items`.

use super::*;

/// Replicas of a worker that are replaced after so many items, all up.
fn replicas(count: u32, max_items: u64) -> (Stand, Vec<ProcId>) {
    let mut plan = pool(1);
    plan.queues[0].size = 10_000;
    plan.queues[0].max_bytes = 1 << 20;
    plan.workers[0].replicas = count;
    plan.workers[0].ready = Some(Ready::Notify);
    plan.workers[0].consumer.as_mut().unwrap().max_items = Some(max_items);
    plan.instances = Plan::roles(&plan.sources, &plan.workers);
    let mut stand = Stand::new(plan);
    let procs = spawns(&stand.out);
    for &proc in &procs {
        stand.tell(Event::Spawned { proc });
        stand.tell(Event::Notified { proc, notice: Notice::Ready });
    }
    (stand, procs)
}

/// Answers every item that is handed out until none is. In these orders, who was asked to leave, after how many items.
fn works_off(stand: &mut Stand, orders: Actions) -> Vec<(ProcId, usize)> {
    let mut open: std::collections::VecDeque<Action> = orders.into();
    let (mut answered, mut asked) = (std::collections::BTreeMap::<ProcId, usize>::new(), Vec::new());
    while let Some(order) = open.pop_front() {
        match order {
            Action::Deliver { proc, token, .. } => {
                *answered.entry(proc).or_default() += 1;
                open.extend(stand.reply(proc, token, Verdict::Ok(None)));
            }
            Action::Tell { proc, reason: StopReason::MaxItems, .. } => asked.push((proc, answered[&proc])),
            _ => {}
        }
    }
    asked
}

fn items(count: usize) -> Vec<&'static str> {
    vec!["x"; count]
}

#[test]
fn replicas_draw_limits_of_their_own_and_none_is_above_max_items() {
    let (mut stand, _) = replicas(8, 100);
    let consumer = stand.machine.plan.consumer(InstanceId(0)).cloned().unwrap();
    let drawn: Vec<u64> = (0..100).map(|_| stand.machine.draw_most(InstanceId(0), &consumer).unwrap()).collect();
    assert!(drawn.iter().all(|limit| (80..=100).contains(limit)), "{drawn:?}");
    assert!(drawn.contains(&80) && drawn.contains(&100), "the whole range: {drawn:?}");
    let orders = stand.give(&items(2_000));
    let asked = works_off(&mut stand, orders);
    assert_eq!(asked.len(), 1, "the others wait until it is back");
    assert!((80..=100).contains(&asked[0].1), "{asked:?}");
}

#[test]
fn a_single_instance_takes_exactly_max_items() {
    let (mut stand, _) = replicas(1, 100);
    let orders = stand.give(&items(200));
    assert_eq!(works_off(&mut stand, orders)[0].1, 100);
}

#[test]
fn the_next_is_replaced_when_the_one_before_is_ready_again() {
    let (mut stand, _) = replicas(3, 10);
    let orders = stand.give(&items(100));
    let first = works_off(&mut stand, orders);
    assert_eq!(first.len(), 1);
    let orders = stand.dies(first[0].0, ExitStatus::Exited(0), false);
    let next = spawns(&orders)[0];
    stand.tell(Event::Spawned { proc: next });
    assert_eq!(works_off(&mut stand, vec![]), [], "it is not ready yet");
    let orders = stand.tell(Event::Notified { proc: next, notice: Notice::Ready });
    let told = orders.iter().filter(|order| matches!(order, Action::Tell { reason: StopReason::MaxItems, .. })).count();
    assert_eq!(told, 1, "{orders:?}");
}

#[test]
fn a_used_up_replica_waits_no_longer_than_it_may() {
    let (mut stand, _) = replicas(2, 10);
    let orders = stand.give(&items(100));
    let first = works_off(&mut stand, orders);
    assert_eq!(first.len(), 1);
    stand.dies(first[0].0, ExitStatus::Exited(0), false);
    let told = |orders: &Actions| {
        orders.iter().any(|order| matches!(order, Action::Tell { reason: StopReason::MaxItems, .. }))
    };
    assert!(!told(&stand.after(29_999)));
    assert!(told(&stand.after(1)), "the other is not ready for 30 s");
}
