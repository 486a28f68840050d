//! Decisions of the machine, one by one: events in, orders out.

mod failures;
mod renewal;

use super::*;
use crate::model::plan::*;
use crate::model::process::Usage;
use crate::model::{
    ExitStatus, Framing, Notice, Refusal, Reply, Signal, SignalSet, SpawnError, Stage, StopReason, Target, Token,
    Verdict,
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn program(ladder: &[(Step, u64)]) -> Program {
    Program {
        ladder: ladder.iter().map(|&(step, wait)| Rung { step, wait: secs(wait) }).collect(),
        kill_mode: KillMode::Mixed,
        ..Program::plain(vec!["worker".into()])
    }
}

fn worker(name: &str, consumer: Option<Consumer>) -> WorkerPlan {
    let ladder: &[_] = if consumer.is_some() {
        &[(Step::Event, 5), (Step::Signal(Signal::TERM), 3)]
    } else {
        &[(Step::Signal(Signal::TERM), 8)]
    };
    WorkerPlan {
        name: name.into(),
        program: program(ladder),
        replicas: 1,
        restart: if consumer.is_some() { Restart::Always } else { Restart::OnFailure },
        consumer,
        restart_delay: Backoff { delay: Duration::from_millis(100), factor: 2.0, max: secs(30), jitter: 0.0 },
        restart_reset_after: secs(10),
        start_limit: Some(StartLimit { burst: 5, interval: secs(60) }),
        on_give_up: OnGiveUp::Shutdown,
        forward_signals: SignalSet::EMPTY,
        after: vec![],
        level: 0,
        ..WorkerPlan::plain("", Program::plain(vec![]))
    }
}

fn queue() -> QueuePlan {
    QueuePlan {
        name: "q".into(),
        size: 4,
        max_bytes: 1000,
        max_item: 100,
        on_full: OnFull::Block,
        item_timeout: Some(secs(60)),
        max_attempts: 3,
        max_crashes: 2,
        backoff: Backoff { delay: secs(1), factor: 2.0, max: secs(600), jitter: 0.0 },
        drain_on_stop: false,
        leftovers_first: false,
        leftovers: None,
        framing: Framing::Line,
        leftovers_max: 1 << 30,
    }
}

fn consumer(prefetch: u32) -> Consumer {
    let (queue, framing, results) = (QueueId(0), Framing::Line, Results::Null);
    Consumer { queue, framing, prefetch, results, max_items: None, renewal_wait: secs(30) }
}

fn pool(prefetch: u32) -> Plan {
    let (queue_id, framing, feed) = (QueueId(0), Framing::Line, Feed::Stdin);
    let stop_read_timeout = STOP_READ_TIMEOUT;
    let source = SourcePlan { name: "in".into(), queue: queue_id, framing, feed, stop_read_timeout };
    plan(vec![queue()], vec![source], vec![worker("w", Some(consumer(prefetch)))])
}

fn plan(queues: Vec<QueuePlan>, sources: Vec<SourcePlan>, workers: Vec<WorkerPlan>) -> Plan {
    let instances = Plan::roles(&sources, &workers);
    Plan { queues, sources, workers, instances, ..Plan::empty("t") }
}

/// A machine and what it ordered last.
struct Stand {
    machine: Machine,
    now: Time,
    out: Actions,
}

impl Stand {
    fn new(plan: Plan) -> Stand {
        let mut stand = Stand { machine: Machine::new(Rc::new(plan), 1), now: Time::from_millis(1), out: vec![] };
        stand.tell(Event::Began);
        stand
    }

    /// The orders that follow, notes left out.
    fn tell(&mut self, event: Event) -> Actions {
        let mut out = vec![];
        self.machine.handle(self.now, event, &mut out);
        let orders: Actions = out.iter().filter(|action| !matches!(action, Action::Note(_))).cloned().collect();
        self.out = out;
        orders
    }

    /// As [`Stand::after`], and as the shell does it: never late, since it wakes up at each deadline on the way.
    fn pass(&mut self, millis: u64) -> Actions {
        let end = self.now + Duration::from_millis(millis);
        let mut orders = Actions::new();
        while let Some(due) = self.machine.deadline().filter(|&due| due < end) {
            self.now = self.now.max(due);
            orders.extend(self.tell(Event::Tick));
        }
        self.now = end;
        orders.extend(self.tell(Event::Tick));
        orders
    }

    fn after(&mut self, millis: u64) -> Actions {
        self.now = self.now + Duration::from_millis(millis);
        self.tell(Event::Tick)
    }

    fn spawned(&mut self) -> ProcId {
        let proc = self.out.iter().find_map(|action| match action {
            Action::Spawn { proc, .. } => Some(*proc),
            _ => None,
        });
        let proc = proc.expect("a spawn was ordered");
        self.tell(Event::Spawned { proc });
        proc
    }

    fn give(&mut self, items: &[&str]) -> Actions {
        let items = items.iter().map(|item| Payload::from(item.as_bytes())).collect();
        self.tell(Event::Submitted { source: SourceId(0), items })
    }

    fn end_of_input(&mut self) -> Actions {
        self.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Whole })
    }

    fn reply(&mut self, proc: ProcId, token: Token, verdict: Verdict) -> Actions {
        self.tell(Event::Replied { proc, reply: Reply::Settle { token, verdict } })
    }

    fn dies(&mut self, proc: ProcId, status: ExitStatus, in_hand: bool) -> Actions {
        self.tell(exited(proc, status, in_hand));
        self.tell(Event::MembersGone { proc })
    }

    fn term(&mut self) -> Actions {
        self.tell(Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop })
    }

    fn interrupt(&mut self) -> Actions {
        self.tell(Event::Signalled { signal: Signal::INT, meaning: Meaning::Interrupt })
    }
}

const KILLED: ExitStatus = ExitStatus::Signalled { signal: Signal::KILL, core: false };

/// Not for want of memory.
fn exited(proc: ProcId, status: ExitStatus, in_hand: bool) -> Event {
    Event::Exited { proc, status, in_hand, usage: Usage::default(), out_of_memory: false }
}

fn token(seq: u64, delivery: u32) -> Token {
    Token { seq, delivery }
}

fn delivered(orders: &Actions) -> Vec<Token> {
    let deliveries = orders.iter().filter_map(|action| match action {
        Action::Deliver { token, .. } => Some(*token),
        _ => None,
    });
    deliveries.collect()
}

fn report(orders: &Actions) -> &Report {
    let quit = orders.iter().find_map(|action| match action {
        Action::Quit(report) => Some(report),
        _ => None,
    });
    quit.expect("the run is over")
}

#[test]
fn an_item_is_given_answered_and_the_run_ends() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    assert_eq!(delivered(&stand.give(&["a", "b"])), [token(1, 1)]);
    assert_eq!(delivered(&stand.reply(proc, token(1, 1), Verdict::Ok(None))), [token(2, 1)]);
    stand.end_of_input();
    let orders = stand.reply(proc, token(2, 1), Verdict::Ok(None));
    let told = Action::Tell { proc, reason: StopReason::Drained, next: secs(5) };
    assert!(orders.contains(&told), "{orders:?}");
    assert_eq!(stand.dies(proc, ExitStatus::Exited(0), false), [Action::Sweep { signal: Signal::TERM, repeat: false }]);
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!((report(&orders).exit_code, report(&orders).queues[0].done), (0, 2));
}

#[test]
fn a_full_queue_pauses_its_source_and_room_resumes_it() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    let orders = stand.give(&["1", "2", "3", "4", "5"]);
    assert!(orders.contains(&Action::Pause { source: SourceId(0) }));
    assert_eq!(stand.machine.queues[0].held(), 4);
    let orders = stand.reply(proc, token(1, 1), Verdict::Ok(None));
    assert!(!orders.contains(&Action::Resume { source: SourceId(0) }), "the fifth took the room");
    stand.reply(proc, token(2, 1), Verdict::Ok(None));
    assert!(stand.after(0).contains(&Action::Resume { source: SourceId(0) }), "once a turn, for many items at once");
}

#[test]
fn the_ladder_is_climbed_rung_by_rung_and_kill_is_the_last() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    let orders = stand.term();
    assert_eq!(
        orders,
        [
            Action::Abandon { source: SourceId(0) },
            Action::Tell { proc, reason: StopReason::Shutdown, next: secs(5) },
            Action::CloseItems { proc },
        ]
    );
    assert_eq!(stand.pass(4_999), []);
    let term = |signal| Action::Kill { proc, signal, target: Target::Leader };
    assert_eq!(stand.after(1), [term(Signal::TERM), term(Signal::CONT)]);
    assert_eq!(stand.pass(2_999), []);
    assert_eq!(stand.after(1), [Action::Kill { proc, signal: Signal::KILL, target: Target::Members }]);
    let orders = stand.pass(5_000);
    assert!(orders.contains(&Action::Forget { proc }), "what KILL does not remove is not waited for");
}

#[test]
fn a_repeated_term_changes_nothing_and_a_second_interrupt_climbs() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.interrupt();
    assert_eq!(stand.term(), []);
    let orders = stand.interrupt();
    assert!(orders.contains(&Action::Kill { proc, signal: Signal::TERM, target: Target::Leader }));
    assert!(stand.out.contains(&Action::Note(Note::Hurried { next: Some(LadderStep::Kill) })));
    let orders = stand.interrupt();
    assert!(orders.contains(&Action::Kill { proc, signal: Signal::KILL, target: Target::Members }));
    assert!(stand.out.contains(&Action::Note(Note::Hurried { next: None })));
}

#[test]
fn the_first_interrupt_after_a_term_does_not_climb() {
    let mut stand = Stand::new(pool(1));
    stand.spawned();
    stand.term();
    assert_eq!(stand.interrupt(), []);
}

#[test]
fn a_budget_kills_all_at_its_deadline() {
    let mut plan = pool(1);
    plan.stop_budget = Some(secs(2));
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    let orders = stand.term();
    assert!(orders.contains(&Action::Tell { proc, reason: StopReason::Shutdown, next: secs(2) }));
    let orders = stand.after(2_000);
    assert!(orders.contains(&Action::Kill { proc, signal: Signal::KILL, target: Target::Members }));
}

#[test]
fn survivors_get_term_then_kill_and_only_then_a_new_incarnation_comes() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.tell(exited(proc, KILLED, false));
    let members = |signal| Action::Kill { proc, signal, target: Target::Members };
    let unsignalled = |signal| Action::Kill { proc, signal, target: Target::Unsignalled };
    let orders = stand.tell(Event::MembersLeft { proc, count: 1 });
    assert_eq!(orders, [unsignalled(Signal::TERM), unsignalled(Signal::CONT)]);
    let mut killed = vec![];
    while killed.is_empty() {
        killed = stand.after(200).into_iter().filter(|order| *order == members(Signal::KILL)).collect();
        assert!(stand.now < Time::from_millis(4_000));
    }
    assert!(stand.now >= Time::from_millis(3_000), "the wait of the last signal rung");
    let orders = stand.tell(Event::MembersGone { proc });
    assert!(matches!(orders[..], [Action::Spawn { .. }]), "{orders:?}");
}

#[test]
fn a_death_is_blamed_on_the_oldest_item_and_the_others_go_back_in_order() {
    let mut stand = Stand::new(pool(3));
    let proc = stand.spawned();
    assert_eq!(delivered(&stand.give(&["a", "b", "c"])), [token(1, 1), token(2, 1), token(3, 1)]);
    stand.dies(proc, KILLED, true);
    let proc = stand.machine.instances[0].proc().unwrap();
    let orders = stand.tell(Event::Spawned { proc });
    assert_eq!(delivered(&orders), [token(2, 2), token(3, 2)], "the first waits for its back-off");
    assert_eq!(delivered(&stand.after(1_000)), [token(1, 2)]);
    stand.reply(proc, token(2, 2), Verdict::Ok(None));
    stand.reply(proc, token(3, 2), Verdict::Ok(None));
    let orders = stand.dies(proc, KILLED, true);
    let Some(Action::Bury(letter)) = orders.iter().find(|order| matches!(order, Action::Bury(_))) else {
        panic!("no dead letter in {orders:?}")
    };
    assert_eq!((letter.reason.clone(), letter.crashes, letter.last_status), (DeathReason::Crashes, 2, Some(KILLED)));
}

#[test]
fn f38_a_death_for_want_of_memory_is_told_and_counted_but_not_after_our_own_kill() {
    let mut stand = Stand::new(pool(1));
    let starve = |stand: &mut Stand, proc| {
        let (usage, in_hand) = (Usage::default(), false);
        stand.tell(Event::Exited { proc, status: KILLED, in_hand, usage, out_of_memory: true });
        let note = Action::Note(Note::OutOfMemory { instance: InstanceId(0) });
        std::mem::take(&mut stand.out).contains(&note)
    };
    let proc = stand.spawned();
    assert!(starve(&mut stand, proc));
    stand.tell(Event::MembersGone { proc });
    let proc = stand.machine.instances[0].proc().unwrap();
    stand.tell(Event::Spawned { proc });
    stand.interrupt();
    for _ in 0..2 {
        stand.interrupt();
    }
    assert!(!starve(&mut stand, proc));
    assert_eq!(stand.machine.instances[0].oom_kills, 1);
}

#[test]
fn a_death_without_an_item_in_hand_blames_nobody() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.dies(proc, KILLED, false);
    let proc = stand.machine.instances[0].proc().unwrap();
    assert_eq!(delivered(&stand.tell(Event::Spawned { proc })), [token(1, 2)]);
    assert_eq!(stand.machine.queues[0].stats.crashed, 0);
}

#[test]
fn a_timeout_stops_the_worker_and_a_late_ok_counts() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.tell(Event::Wrote { proc, frames: 1, progress: true });
    let orders = stand.after(60_000);
    assert!(orders.contains(&Action::Tell { proc, reason: StopReason::Timeout, next: secs(5) }));
    stand.reply(proc, token(1, 1), Verdict::Ok(None));
    stand.dies(proc, ExitStatus::Exited(0), false);
    assert_eq!((stand.machine.queues[0].stats.done, stand.machine.queues[0].stats.timed_out), (1, 0));
}

#[test]
fn a_timeout_counts_an_attempt_and_too_many_are_a_dead_letter() {
    let mut stand = Stand::new(pool(1));
    let mut proc = stand.spawned();
    stand.give(&["a"]);
    for attempt in 1..=3 {
        stand.after(60_000);
        let orders = stand.dies(proc, KILLED, true);
        let buried = orders.iter().any(|order| matches!(order, Action::Bury(_)));
        assert_eq!(buried, attempt == 3);
        proc = stand.machine.instances[0].proc().unwrap();
        stand.tell(Event::Spawned { proc });
        stand.after(10_000);
    }
}

#[test]
fn a_touch_starts_the_clock_anew() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.now = stand.now + secs(59);
    stand.tell(Event::Replied { proc, reply: Reply::Touch(token(1, 1)) });
    assert_eq!(stand.after(59_000), []);
    assert!(!stand.after(1_000).is_empty());
}

#[test]
fn a_broken_program_is_given_up_and_the_run_ends_with_one() {
    let mut stand = Stand::new(pool(1));
    let mut proc = stand.spawned();
    stand.give(&["a"]);
    for _ in 1..5 {
        stand.dies(proc, ExitStatus::Exited(1), false);
        stand.now = stand.machine.deadline().unwrap_or(stand.now);
        stand.after(0);
        proc = stand.machine.instances[0].proc().unwrap();
        stand.tell(Event::Spawned { proc });
    }
    stand.dies(proc, ExitStatus::Exited(1), false);
    stand.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Abandoned { torn: None } });
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!((report(&orders).exit_code, report(&orders).queues[0].handed_back), (1, 1));
    assert_eq!(report(&orders).cause, StopCause::GaveUp(WorkerId(0)), "and not that nobody is left for the queue");
}

/// A queue that is to be worked off at a stop, and nobody is left to do it: its items are handed back at once.
#[test]
fn a_give_up_hands_back_what_nobody_can_drain() {
    let mut plan = pool(1);
    plan.queues[0].drain_on_stop = true;
    let mut stand = Stand::new(plan);
    stand.give(&["a"]);
    let Action::Spawn { proc, .. } = Stand::new(pool(1)).out[0] else { panic!() };
    let orders = stand.tell(Event::SpawnFailed { proc, error: SpawnError { stage: Stage::Exec, errno: 2 } });
    assert!(orders.iter().any(|order| matches!(order, Action::HandBack { .. })), "{orders:?}");
}

/// A retried item waits behind younger ones, and a released one before them.
#[test]
fn what_waits_is_handed_back_in_the_order_of_acceptance() {
    let mut queue = super::queue::Queue::new();
    let items: Vec<_> = (0..4).map(|_| queue.accept(Payload::from(&b"x"[..]))).collect();
    let [a, b, c, d] = items.try_into().unwrap();
    queue.ready.extend([d, b]);
    queue.delay(Time::from_millis(2), a);
    queue.delay(Time::from_millis(1), c);
    assert_eq!(queue.empty().iter().map(|item| item.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn who_outlives_a_killed_leader_is_not_asked_to_go() {
    let mut stand = Stand::new(plan(vec![], vec![], vec![worker("s", None)]));
    let proc = stand.spawned();
    stand.term();
    stand.pass(8_000);
    stand.tell(exited(proc, KILLED, false));
    let orders = stand.tell(Event::MembersLeft { proc, count: 1 });
    let kill = Action::Kill { proc, signal: Signal::KILL, target: Target::Members };
    assert_eq!(orders, [kill, Action::CheckMembers { proc }]);
    assert!(!stand.out.iter().any(|action| matches!(action, Action::Note(Note::Survivors { .. }))), "{:?}", stand.out);
}

#[test]
fn no_replica_of_a_worker_that_was_given_up_is_started_again() {
    let mut w = worker("w", None);
    (w.replicas, w.on_give_up) = (2, OnGiveUp::Ignore);
    let mut stand = Stand::new(plan(vec![], vec![], vec![w]));
    let procs: Vec<ProcId> = stand.machine.instances.iter().filter_map(|instance| instance.proc()).collect();
    stand.tell(Event::Spawned { proc: procs[1] });
    stand.machine.workers[0].ever_ran = false;
    stand.tell(Event::SpawnFailed { proc: procs[0], error: SpawnError { stage: Stage::Exec, errno: 2 } });
    let orders = stand.dies(procs[1], KILLED, false);
    assert_eq!(
        orders,
        [Action::Sweep { signal: Signal::TERM, repeat: false }],
        "the other one went on, and nothing follows it"
    );
}

#[test]
fn a_missing_program_is_given_up_at_once() {
    let mut stand = Stand::new(plan(vec![], vec![], vec![worker("s", None)]));
    let Action::Spawn { proc, .. } = stand.out[0] else { panic!() };
    stand.tell(Event::SpawnFailed { proc, error: SpawnError { stage: Stage::Exec, errno: 2 } });
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!(report(&orders).exit_code, 1);
}

#[test]
fn nothing_is_started_in_the_turn_that_brings_term() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.term();
    let orders = stand.dies(proc, KILLED, false);
    assert!(!orders.iter().any(|order| matches!(order, Action::Spawn { .. })));
}

#[test]
fn a_start_under_way_is_killed_by_its_pid() {
    let mut stand = Stand::new(pool(1));
    let Action::Spawn { proc, .. } = stand.out[0] else { panic!() };
    let orders = stand.term();
    assert!(orders.contains(&Action::Kill { proc, signal: Signal::KILL, target: Target::Unborn }));
    assert_eq!(stand.tell(Event::Spawned { proc }), [], "a late word of an exec changes nothing");
}

#[test]
fn a_second_verdict_is_late_and_an_unknown_token_breaks_the_protocol() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.give(&["a", "b"]);
    stand.reply(proc, token(1, 1), Verdict::Ok(None));
    assert_eq!(stand.reply(proc, token(1, 1), Verdict::Ok(None)), []);
    assert_eq!(stand.machine.late_replies, 1);
    let orders = stand.reply(proc, token(9, 1), Verdict::Ok(None));
    assert!(orders.contains(&Action::Tell { proc, reason: StopReason::Restart, next: secs(5) }));
}

/// A stop in which every process has left and one result is not written.
fn unwritten_result(budget: Option<Duration>, stop: fn(&mut Stand) -> Actions, leaves_after: u64) -> Stand {
    let mut plan = pool(2);
    plan.stop_budget = budget;
    plan.workers[0].consumer.as_mut().unwrap().results = Results::Stdout;
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.reply(proc, token(1, 1), Verdict::Ok(Some(Payload::from(&b"r"[..]))));
    stand.end_of_input();
    stop(&mut stand);
    stand.after(leaves_after);
    stand.dies(proc, ExitStatus::Exited(0), false);
    stand
}

fn hands_back(orders: &Actions) -> bool {
    orders.iter().any(|order| matches!(order, Action::HandBack { .. }))
}

#[test]
fn the_last_results_are_waited_for_until_the_deadline_and_a_moment_after_it() {
    // The budget, when the worker leaves, and when the wait is over after that.
    let cases = [(None, 0, 2_000), (Some(secs(20)), 0, 2_000), (Some(secs(1)), 0, 1_000), (Some(secs(1)), 1_500, 200)];
    for (budget, leaves_after, over_after) in cases {
        let mut stand = unwritten_result(budget, Stand::term, leaves_after);
        assert!(!hands_back(&stand.after(over_after - 1)), "{budget:?} {leaves_after}");
        assert!(hands_back(&stand.after(1)), "{budget:?} {leaves_after}");
    }
}

#[test]
fn f50_int_ends_the_wait_for_the_last_results() {
    for stop in [Stand::term, Stand::interrupt] {
        let mut stand = unwritten_result(None, stop, 0);
        assert!(!hands_back(&stand.term()), "TERM again changes nothing");
        assert!(hands_back(&stand.interrupt()));
    }
}

#[test]
fn results_that_were_not_written_are_handed_back() {
    let mut plan = pool(2);
    plan.workers[0].consumer.as_mut().unwrap().results = Results::Stdout;
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    stand.give(&["a", "b"]);
    let ok = || Verdict::Ok(Some(Payload::from(&b"r"[..])));
    stand.reply(proc, token(1, 1), ok());
    stand.reply(proc, token(2, 1), ok());
    stand.tell(Event::ResultsWritten { worker: WorkerId(0), count: 1 });
    let orders = stand.tell(Event::ResultsClosed { worker: WorkerId(0), errno: 32 });
    assert!(orders.contains(&Action::HandBack { queue: QueueId(0), seq: 2, payload: Payload::from(&b"b"[..]) }));
    let stats = stand.machine.queues[0].stats;
    assert_eq!((stats.done, stats.handed_back), (1, 1));
}

#[test]
fn used_up_instances_leave_with_empty_hands_and_are_replaced() {
    let mut plan = pool(2);
    plan.workers[0].consumer.as_mut().unwrap().max_items = Some(2);
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    assert_eq!(delivered(&stand.give(&["a", "b", "c"])).len(), 2);
    stand.reply(proc, token(1, 1), Verdict::Ok(None));
    let orders = stand.reply(proc, token(2, 1), Verdict::Ok(None));
    assert!(orders.contains(&Action::Tell { proc, reason: StopReason::MaxItems, next: secs(5) }));
    let orders = stand.dies(proc, ExitStatus::Exited(0), false);
    assert!(matches!(orders[..], [Action::Spawn { .. }]), "at once, and without a count");
}

#[test]
fn a_stop_waits_for_each_level_to_leave() {
    let mut front = worker("front", None);
    (front.after, front.level) = (vec![WorkerId(0)], 1);
    let mut stand = Stand::new(plan(vec![], vec![], vec![worker("back", None), front]));
    let back = stand.spawned();
    let front = stand.spawned();
    let killed = |orders: &Actions| -> Vec<ProcId> {
        let kills = orders.iter().filter_map(|order| match order {
            Action::Kill { proc, signal: Signal::TERM, .. } => Some(*proc),
            _ => None,
        });
        kills.collect()
    };
    assert_eq!(killed(&stand.term()), [front]);
    assert_eq!(killed(&stand.dies(front, ExitStatus::Exited(0), false)), [back]);
}

#[test]
fn a_drained_queue_is_worked_off_before_its_workers_are_told() {
    let mut plan = pool(1);
    plan.queues[0].drain_on_stop = true;
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    stand.give(&["a", "b"]);
    assert_eq!(stand.term(), [Action::Abandon { source: SourceId(0) }]);
    stand.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Abandoned { torn: None } });
    assert_eq!(delivered(&stand.reply(proc, token(1, 1), Verdict::Ok(None))), [token(2, 1)]);
    let orders = stand.reply(proc, token(2, 1), Verdict::Ok(None));
    assert!(orders.contains(&Action::Tell { proc, reason: StopReason::Drained, next: secs(5) }));
}

#[test]
fn a_drain_does_not_wait_for_a_worker_that_waits_for_one_that_is_never_started_again() {
    let mut drained = pool(1);
    drained.queues[0].drain_on_stop = true;
    let mut db = worker("db", None);
    db.restart_delay.delay = secs(60);
    drained.workers.push(db);
    (drained.workers[0].after, drained.workers[0].requires) = (vec![WorkerId(1)], vec![WorkerId(1)]);
    drained.workers[0].level = 1;
    drained.instances = Plan::roles(&drained.sources, &drained.workers);
    let mut stand = Stand::new(drained);
    let db = spawns(&stand.out)[0];
    let shortage = |proc| Event::SpawnFailed { proc, error: SpawnError { stage: Stage::Fork, errno: 11 } };
    let db = spawns(&stand.tell(shortage(db)))[0];
    stand.tell(shortage(db));
    stand.give(&["a"]);
    let orders = stand.term();
    assert!(
        orders.contains(&Action::HandBack { queue: QueueId(0), seq: 1, payload: Payload::from(&b"a"[..]) }),
        "{orders:?}"
    );
}

#[test]
fn in_a_drain_too_nobody_in_the_line_of_starts_is_started_without_what_it_requires() {
    let mut drained = pool(1);
    drained.queues[0].drain_on_stop = true;
    drained.workers.push(worker("db", Some(consumer(1))));
    // Two more than may be starting at once.
    (drained.workers[0].after, drained.workers[0].requires) = (vec![WorkerId(1)], vec![WorkerId(1)]);
    (drained.workers[0].replicas, drained.workers[0].level) = (66, 1);
    drained.instances = Plan::roles(&drained.sources, &drained.workers);
    let mut stand = Stand::new(drained);
    let db = spawns(&stand.out)[0];
    stand.give(&["a"]);
    let starting = spawns(&stand.tell(Event::Spawned { proc: db }));
    assert_eq!(starting.len(), 64);
    stand.term();
    stand.dies(db, KILLED, true);
    let started = stand.tell(Event::Spawned { proc: starting[0] });
    let [Action::Spawn { proc: db, instance: InstanceId(66) }] = started[..] else { panic!("{started:?}") };
    let started = stand.tell(Event::Spawned { proc: db });
    assert!(matches!(started[..], [Action::Spawn { instance: InstanceId(64), .. }]), "{started:?}");
}

#[test]
fn nobody_sits_out_a_back_off_when_what_it_requires_will_never_be_ready_again() {
    let mut stand = Stand::new(pair(|db, web| {
        db.restart = Restart::Never;
        (web.requires, web.restart_delay.delay) = (vec![WorkerId(0)], secs(30));
    }));
    let db = stand.spawned();
    let web = stand.spawned();
    let web = spawns(&stand.dies(web, KILLED, false))[0];
    stand.tell(Event::Spawned { proc: web });
    // It dies in the same turn as the other, and is gone after it.
    stand.tell(exited(web, KILLED, false));
    stand.dies(db, KILLED, false);
    let orders = stand.tell(Event::MembersGone { proc: web });
    assert!(orders.contains(&Action::Sweep { signal: Signal::TERM, repeat: false }), "{orders:?}");
}

#[test]
fn a_worker_that_was_used_up_by_the_last_drained_item_is_not_replaced() {
    let mut plan = pool(1);
    plan.queues[0].drain_on_stop = true;
    plan.workers[0].consumer.as_mut().unwrap().max_items = Some(1);
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.term();
    stand.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Abandoned { torn: None } });
    stand.reply(proc, token(1, 1), Verdict::Ok(None));
    stand.tell(exited(proc, ExitStatus::Exited(0), false));
    // Nobody would ever tell a new one to leave.
    assert_eq!(stand.tell(Event::MembersGone { proc }), [Action::Sweep { signal: Signal::TERM, repeat: false }]);
}

#[test]
fn a_result_that_is_written_after_it_was_given_up_is_no_fault() {
    let mut plan = pool(1);
    plan.workers[0].consumer.as_mut().unwrap().results = Results::Stdout;
    let mut stand = Stand::new(plan);
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.reply(proc, token(1, 1), Verdict::Ok(Some(Payload::from(&b"r"[..]))));
    stand.term();
    stand.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Abandoned { torn: None } });
    stand.tell(exited(proc, ExitStatus::Exited(0), false));
    stand.tell(Event::MembersGone { proc });
    assert!(stand.after(2000).iter().any(|order| matches!(order, Action::HandBack { .. })));
    assert_eq!(stand.tell(Event::ResultsWritten { worker: WorkerId(0), count: 1 }), []);
    assert_eq!(stand.out, []);
}

#[test]
fn f30_a_late_turn_shifts_the_rungs_by_its_lateness() {
    let mut stand = Stand::new(pool(1));
    stand.spawned();
    stand.term();
    // The first look at what the stop waits for was due after a second.
    assert_eq!(stand.after(8_000), [], "7 s late: the workers may have slept as well");
    assert!(stand.out.contains(&Action::Note(Note::Late { by: secs(7) })));
    // Of its 5 s none had passed at the turn before, and there is a second more.
    assert_eq!(stand.after(5_999), []);
    assert!(stand.after(1).iter().any(|order| matches!(order, Action::Kill { signal: Signal::TERM, .. })));
}

#[test]
fn an_item_with_a_line_feed_is_a_dead_letter_and_its_neighbours_are_not() {
    let mut plan = pool(1);
    plan.sources[0].framing = Framing::Nul;
    let mut stand = Stand::new(plan);
    stand.spawned();
    let orders = stand.give(&["a\nb", "c"]);
    assert_eq!(delivered(&orders), [token(2, 1)]);
    assert_eq!(stand.machine.queues[0].stats.dead, 1);
}

#[test]
fn late_words_of_an_old_incarnation_are_inert() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.dies(proc, KILLED, false);
    stand.give(&["a"]);
    for event in [
        Event::Replied { proc, reply: Reply::Prefetch(9) },
        exited(proc, KILLED, true),
        Event::MembersGone { proc },
        Event::Garbled { proc, seen: vec![] },
        Event::Wrote { proc, frames: 1, progress: true },
    ] {
        assert_eq!(stand.tell(event.clone()), [], "{event:?}");
    }
}

fn usr1() -> Event {
    Event::Signalled { signal: Signal::USR1, meaning: Meaning::Forward }
}

fn init(wait_all: bool) -> Plan {
    let program = worker("program", None);
    let program = WorkerPlan { forward_signals: SignalSet::FULL, restart: Restart::Never, ..program };
    Plan { init: Some(Init { as_zero: vec![7], wait_all, stop_timeout: None }), ..plan(vec![], vec![], vec![program]) }
}

fn code(stand: &Stand) -> Option<u8> {
    stand.out.iter().find_map(|action| match action {
        Action::Quit(report) => Some(report.exit_code),
        _ => None,
    })
}

#[test]
fn f42_a_signal_goes_once_to_each_living_instance_that_wants_it() {
    let eager = WorkerPlan { forward_signals: [Signal::USR1].into_iter().collect(), ..worker("eager", None) };
    let mut stand = Stand::new(plan(vec![], vec![], vec![eager, worker("calm", None)]));
    let procs: Vec<ProcId> = (stand.out.iter())
        .filter_map(|action| match action {
            Action::Spawn { proc, .. } => Some(*proc),
            _ => None,
        })
        .collect();
    // Twice before its exec is reported is once.
    assert_eq!((stand.tell(usr1()), stand.tell(usr1())), (vec![], vec![]));
    let kill = Action::Kill { proc: procs[0], signal: Signal::USR1, target: Target::Leader };
    assert_eq!(stand.tell(Event::Spawned { proc: procs[0] }), std::slice::from_ref(&kill));
    assert_eq!(stand.tell(Event::Spawned { proc: procs[1] }), []);
    assert_eq!(stand.tell(usr1()), std::slice::from_ref(&kill));
    stand.term();
    assert_eq!(stand.tell(usr1()), [kill], "on its way out it still hears");
    stand.tell(exited(procs[0], KILLED, false));
    assert_eq!(stand.tell(usr1()), []);
}

#[test]
fn a_signal_for_a_start_that_failed_is_not_for_the_next_one() {
    let eager = WorkerPlan { forward_signals: [Signal::USR1].into_iter().collect(), ..worker("eager", None) };
    for (plan, heard) in [(plan(vec![], vec![], vec![eager]), 0), (init(false), 1)] {
        let mut stand = Stand::new(plan);
        let Some(Action::Spawn { proc, .. }) = stand.out.first().cloned() else { panic!("a spawn was ordered") };
        stand.tell(usr1());
        let error = SpawnError { stage: Stage::Fork, errno: 11 };
        stand.tell(Event::SpawnFailed { proc, error });
        if !stand.out.iter().any(|action| matches!(action, Action::Spawn { .. })) {
            stand.after(1000);
        }
        let proc = stand.out.iter().find_map(|action| match action {
            Action::Spawn { proc, .. } => Some(*proc),
            _ => None,
        });
        assert_eq!(
            stand.tell(Event::Spawned { proc: proc.unwrap() }).len(),
            heard,
            "the one program of an init gets it"
        );
    }
}

#[test]
fn a_signal_for_a_start_that_was_ended_is_not_for_the_next_one() {
    let mut eager = WorkerPlan { forward_signals: [Signal::USR1].into_iter().collect(), ..worker("eager", None) };
    eager.start_timeout = Some(secs(1));
    let mut stand = Stand::new(plan(vec![], vec![], vec![eager]));
    let proc = spawns(&stand.out)[0];
    stand.tell(usr1());
    stand.after(1000);
    // It had failed already when it was killed, and that is what is told.
    let error = SpawnError { stage: Stage::Directory, errno: 2 };
    let proc = spawns(&stand.tell(Event::SpawnFailed { proc, error }))[0];
    assert_eq!(stand.tell(Event::Spawned { proc }), []);
}

#[test]
fn f40_an_init_leaves_with_its_programs_code() {
    let dies = |status| {
        let mut stand = Stand::new(init(false));
        let proc = stand.spawned();
        stand.dies(proc, status, false);
        stand.tell(Event::Strangers { count: 0 });
        code(&stand)
    };
    assert_eq!(dies(ExitStatus::Exited(3)), Some(3));
    assert_eq!(dies(ExitStatus::Exited(7)), Some(0), "taken as 0");
    assert_eq!(dies(KILLED), Some(137));
    let fails = |stage, errno| {
        let mut stand = Stand::new(init(false));
        let Some(Action::Spawn { proc, .. }) = stand.out.first().cloned() else { panic!("a spawn was ordered") };
        stand.tell(Event::SpawnFailed { proc, error: SpawnError { stage, errno } });
        let notes = stand
            .out
            .iter()
            .filter(|action| matches!(action, Action::Note(note) if !matches!(note, Note::Stopping { .. })));
        assert_eq!(notes.count(), 1, "one line says it");
        stand.tell(Event::Strangers { count: 0 });
        code(&stand)
    };
    assert_eq!(fails(Stage::Exec, 2), Some(127));
    assert_eq!(fails(Stage::Exec, 20), Some(127));
    assert_eq!(fails(Stage::Exec, 13), Some(126));
    assert_eq!(fails(Stage::Exec, 8), Some(126));
    assert_eq!(fails(Stage::Session, 1), Some(126));
}

/// Its fork is killed, since nothing of it runs yet; the program ends by the signal that was sent, as it would have done.
#[test]
fn f49_an_init_that_is_stopped_before_exec_leaves_with_that_signals_code() {
    for (signal, meaning, expected) in
        [(Signal::TERM, Meaning::Stop, 143), (Signal::INT, Meaning::Interrupt, 130), (Signal::PWR, Meaning::Stop, 158)]
    {
        let mut stand = Stand::new(init(false));
        let Some(Action::Spawn { proc, .. }) = stand.out.first().cloned() else { panic!("a spawn was ordered") };
        stand.tell(Event::Signalled { signal, meaning });
        stand.dies(proc, KILLED, false);
        stand.tell(Event::Strangers { count: 0 });
        assert_eq!(code(&stand), Some(expected));
    }
}

#[test]
fn an_init_that_waits_for_all_stops_nobody_until_it_is_told() {
    let leaves = || {
        let mut stand = Stand::new(init(true));
        let proc = stand.spawned();
        stand.tell(exited(proc, ExitStatus::Exited(0), false));
        assert_eq!(stand.tell(Event::MembersLeft { proc, count: 1 }), []);
        assert_eq!(stand.machine.deadline(), None, "nothing wakes it but their deaths");
        (stand, proc)
    };
    let (mut stand, proc) = leaves();
    assert_eq!(stand.tell(usr1()), [Action::Kill { proc, signal: Signal::USR1, target: Target::Members }]);
    assert_eq!(stand.tell(Event::MembersGone { proc }), [Action::CountStrangers]);
    assert_eq!(stand.tell(Event::Strangers { count: 1 }), []);
    assert_eq!(stand.tell(usr1()), [Action::Sweep { signal: Signal::USR1, repeat: true }]);
    assert_eq!(stand.machine.deadline(), None);
    stand.tell(Event::Strangers { count: 0 });
    assert_eq!(code(&stand), Some(0));

    let (mut stand, proc) = leaves();
    assert_eq!(stand.term(), [Action::CheckMembers { proc }]);
    let term = |signal| Action::Kill { proc, signal, target: Target::Unsignalled };
    assert_eq!(stand.tell(Event::MembersLeft { proc, count: 1 }), [term(Signal::TERM), term(Signal::CONT)]);
}

/// We wake long after the patience with them is over.
#[test]
fn f30_f36_strangers_have_their_moment_though_we_are_late_and_a_last_look_before_they_are_told_to_be_left() {
    for (left, exit_code) in [(0, 0), (1, 1)] {
        let mut stand = Stand::new(plan(vec![], vec![], vec![worker("w", None)]));
        let proc = stand.spawned();
        stand.term();
        assert_eq!(
            stand.dies(proc, ExitStatus::Exited(0), false),
            [Action::Sweep { signal: Signal::TERM, repeat: false }]
        );
        stand.tell(Event::Strangers { count: 1 });
        assert_eq!(stand.after(4000), [], "3 s late: they may have slept as well, and TERM is still to be heard");
        assert_eq!(stand.after(1000), [Action::Sweep { signal: Signal::KILL, repeat: true }]);
        stand.tell(Event::Strangers { count: 1 });
        assert_eq!(stand.after(1000), []);
        assert_eq!(stand.after(4000), []);
        assert_eq!(stand.after(1000), [Action::CountStrangers]);
        stand.tell(Event::Strangers { count: left });
        assert_eq!(code(&stand), Some(exit_code), "{left} left");
    }
}

/// `db`, and `web` that is after it.
fn pair(change: impl FnOnce(&mut WorkerPlan, &mut WorkerPlan)) -> Plan {
    let (mut db, mut web) = (worker("db", None), worker("web", None));
    (web.after, web.level) = (vec![WorkerId(0)], 1);
    change(&mut db, &mut web);
    plan(vec![], vec![], vec![db, web])
}

fn spawns(orders: &Actions) -> Vec<ProcId> {
    let spawns = orders.iter().filter_map(|order| match order {
        Action::Spawn { proc, .. } => Some(*proc),
        _ => None,
    });
    spawns.collect()
}

fn told_term(orders: &Actions, proc: ProcId) -> bool {
    orders.contains(&Action::Kill { proc, signal: Signal::TERM, target: Target::Leader })
}

#[test]
fn who_is_after_another_waits_until_that_says_it_is_ready() {
    let mut stand = Stand::new(pair(|db, _| db.ready = Some(Ready::Notify)));
    let Action::Spawn { proc: db, .. } = stand.out[0] else { panic!() };
    assert_eq!(stand.tell(Event::Spawned { proc: db }), []);
    assert_eq!(spawns(&stand.tell(Event::Notified { proc: db, notice: Notice::Ready })).len(), 1);
    assert_eq!(stand.tell(Event::Notified { proc: db, notice: Notice::Ready }), [], "twice is harmless");
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_stopped_and_started_again() {
    let mut stand = Stand::new(pair(|db, _| {
        db.ready = Some(Ready::Fd(3));
        db.start_timeout = Some(secs(30));
    }));
    let db = stand.spawned();
    assert!(told_term(&stand.after(30_000), db));
    let orders = stand.dies(db, ExitStatus::Exited(0), false);
    assert_eq!(spawns(&orders).len(), 1, "the first restart is at once");
}

#[test]
fn a_start_that_hangs_before_exec_is_ended_and_tried_again() {
    let mut stand = Stand::new(pair(|db, _| db.start_timeout = Some(secs(30))));
    let Action::Spawn { proc: db, .. } = stand.out[0] else { panic!() };
    let orders = stand.after(30_000);
    assert_eq!(orders, [Action::Kill { proc: db, signal: Signal::KILL, target: Target::Unborn }]);
    assert_eq!(spawns(&stand.dies(db, KILLED, false)).len(), 1);
}

#[test]
fn a_probe_is_put_until_it_is_answered_by_yes() {
    let probe = Probe::Tcp(crate::model::plan::TcpAddress::Localhost(80));
    let mut stand = Stand::new(pair(|db, _| db.ready = Some(Ready::Probe(probe))));
    let Action::Spawn { proc: db, .. } = stand.out[0] else { panic!() };
    let asked = |orders: &Actions| matches!(orders[..], [Action::Ask { question: Question::Ready, .. }]);
    assert!(asked(&stand.tell(Event::Spawned { proc: db })));
    assert_eq!(
        stand.tell(Event::Answered { proc: db, question: Question::Ready, answer: Err(Refusal::Status(503)) }),
        []
    );
    assert!(asked(&stand.after(200)));
    let orders = stand.tell(Event::Answered { proc: db, question: Question::Ready, answer: Ok(()) });
    assert_eq!(spawns(&orders).len(), 1);
}

#[test]
fn a_stop_ends_the_question_that_is_under_way() {
    let probe = Probe::Tcp(crate::model::plan::TcpAddress::Localhost(80));
    let mut stand = Stand::new(pair(|db, _| db.ready = Some(Ready::Probe(probe))));
    let db = stand.spawned();
    let orders = stand.tell(Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop });
    let place = |wanted: &Action| orders.iter().position(|action| action == wanted).unwrap();
    let term = Action::Kill { proc: db, signal: Signal::TERM, target: Target::Leader };
    assert!(place(&Action::Unask { proc: db }) < place(&term), "{orders:?}");
    assert_eq!(stand.tell(Event::Answered { proc: db, question: Question::Ready, answer: Ok(()) }), [], "too late");
}

#[test]
fn who_waits_for_a_oneshot_waits_for_its_good_end() {
    let mut stand = Stand::new(pair(|db, web| {
        db.kind = Kind::Oneshot;
        web.requires = vec![WorkerId(0)];
    }));
    let db = stand.spawned();
    assert_eq!(stand.dies(db, ExitStatus::Exited(1), false).len(), 1, "tried again, and nobody else started");
    let db = stand.spawned();
    let orders = stand.dies(db, ExitStatus::Exited(0), false);
    let web = spawns(&orders)[0];
    assert_eq!(stand.machine.plan.instance_name(stand.machine.slot(web).unwrap()), "web.0");
}

#[test]
fn who_requires_another_falls_with_it_and_comes_back_with_it() {
    let mut stand = Stand::new(pair(|_, web| web.requires = vec![WorkerId(0)]));
    let db = stand.spawned();
    let web = stand.spawned();
    let event = exited(db, KILLED, false);
    assert!(told_term(&stand.tell(event), web));
    assert_eq!(stand.dies(web, ExitStatus::Exited(0), false), [], "it waits for the other");
    let db = spawns(&stand.tell(Event::MembersGone { proc: db }))[0];
    assert_eq!(spawns(&stand.tell(Event::Spawned { proc: db })).len(), 1);
}

#[test]
fn who_requires_another_falls_as_soon_as_that_is_asked_to_leave() {
    let mut stand = Stand::new(pair(|db, web| {
        db.ready = Some(Ready::Notify);
        web.requires = vec![WorkerId(0)];
    }));
    let db = stand.spawned();
    let web = spawns(&stand.tell(Event::Notified { proc: db, notice: Notice::Ready }))[0];
    stand.tell(Event::Spawned { proc: web });
    let orders = stand.tell(Event::Notified { proc: db, notice: Notice::Trigger });
    assert!(told_term(&orders, db) && told_term(&orders, web), "{orders:?}");
}

#[test]
fn a_back_off_is_not_cut_short_by_what_is_required_coming_back() {
    let mut stand = Stand::new(pair(|_, web| {
        web.requires = vec![WorkerId(0)];
        web.restart_delay = Backoff { delay: secs(9), factor: 1.0, max: secs(9), jitter: 0.0 };
    }));
    let db = stand.spawned();
    let web = stand.spawned();
    let web = spawns(&stand.dies(web, KILLED, false))[0];
    assert!(spawns(&stand.dies(web, KILLED, false)).is_empty());
    let db = spawns(&stand.dies(db, KILLED, false))[0];
    assert!(spawns(&stand.tell(Event::Spawned { proc: db })).is_empty());
    assert_eq!(stand.after(8_999), []);
    assert_eq!(spawns(&stand.after(1)).len(), 1);
}

#[test]
fn who_requires_one_that_rests_for_good_rests_too() {
    let mut stand = Stand::new(pair(|_, web| web.requires = vec![WorkerId(0)]));
    let db = stand.spawned();
    let web = stand.spawned();
    stand.tell(exited(db, ExitStatus::Exited(0), false));
    stand.tell(Event::MembersGone { proc: db });
    let orders = stand.dies(web, ExitStatus::Exited(0), false);
    assert_eq!(orders, [Action::Sweep { signal: Signal::TERM, repeat: false }], "nobody is left: the run is over");
}

#[test]
fn a_long_chain_of_requirements_falls_on_a_small_stack() {
    let link = |index: u32| {
        let before: Vec<WorkerId> = index.checked_sub(1).map(WorkerId).into_iter().collect();
        let ready = Some(Ready::Notify);
        WorkerPlan { restart: Restart::Never, after: before.clone(), requires: before, ready, ..worker("w", None) }
    };
    let fall = move || {
        let mut stand = Stand::new(plan(vec![], vec![], (0..2000).map(link).collect()));
        let first = stand.spawned();
        assert_eq!(stand.dies(first, KILLED, false), [Action::Sweep { signal: Signal::TERM, repeat: false }]);
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(fall).unwrap().join().unwrap();
}

#[test]
fn a_silent_watchdog_and_a_failing_health_probe_stop_the_worker() {
    let probe = Probe::Command(vec!["true".into()]);
    let health = Health { probe, interval: secs(10), timeout: secs(1), failures: 2 };
    let mut stand = Stand::new(pair(|db, _| (db.health, db.watchdog) = (Some(health), Some(secs(25)))));
    let db = stand.spawned();
    let ask = Action::Ask { proc: db, question: Question::Health, timeout: secs(1) };
    let no = || Event::Answered { proc: db, question: Question::Health, answer: Err(Refusal::Status(503)) };
    assert!(stand.after(10_000).contains(&ask));
    assert_eq!(stand.tell(no()), []);
    assert!(stand.after(10_000).contains(&ask));
    stand.tell(Event::Notified { proc: db, notice: Notice::Watchdog });
    assert!(told_term(&stand.tell(no()), db), "the second no in a row");
    let db = spawns(&stand.dies(db, ExitStatus::Exited(0), false))[0];
    stand.tell(Event::Spawned { proc: db });
    let mut told = false;
    for _ in 0..5 {
        told |= told_term(&stand.after(5_000), db);
        stand.tell(Event::Answered { proc: db, question: Question::Health, answer: Ok(()) });
    }
    assert!(told, "25 s of silence");
}

#[test]
fn a_probe_is_called_off_at_the_deadline_of_a_stop_too() {
    let probe = Probe::Command(vec!["true".into()]);
    let health = Health { probe, interval: secs(10), timeout: secs(1), failures: 2 };
    let mut levels = pair(|db, _| db.health = Some(health));
    levels.stop_budget = Some(secs(1));
    let mut stand = Stand::new(levels);
    let db = stand.spawned();
    stand.spawned();
    stand.term();
    assert!(stand.after(1_000).contains(&Action::Unask { proc: db }));
}

#[test]
fn more_time_is_given_to_who_asks_for_it() {
    let mut stand = Stand::new(pair(|db, _| {
        db.ready = Some(Ready::Notify);
        db.start_timeout = Some(secs(30));
    }));
    let db = stand.spawned();
    stand.now = stand.now + secs(29);
    stand.tell(Event::Notified { proc: db, notice: Notice::Extend(secs(60)) });
    assert_eq!(stand.after(59_999), []);
    assert!(told_term(&stand.after(1), db));
}

#[test]
fn no_time_is_given_to_what_was_killed() {
    let mut stand = Stand::new(pair(|db, _| db.ready = Some(Ready::Notify)));
    let db = stand.spawned();
    stand.term();
    let slot = Key::Slot(stand.machine.slot(db).unwrap());
    let deadline = |stand: &Stand| stand.machine.timers.get(slot).unwrap();
    let extend = Event::Notified { proc: db, notice: Notice::Extend(secs(600)) };
    stand.tell(extend.clone());
    let most = stand.machine.plan.workers[0].program.ladder_time() * 2;
    assert_eq!(deadline(&stand), stand.now + most);
    stand.pass(u64::try_from(most.as_millis()).unwrap());
    let patience = deadline(&stand);
    stand.tell(extend);
    assert_eq!(deadline(&stand), patience);
}

#[test]
fn more_time_is_given_to_who_asks_for_it_while_it_leaves() {
    let mut stand = Stand::new(pair(|db, _| db.ready = Some(Ready::Notify)));
    let db = stand.spawned();
    let stop = Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop };
    assert!(told_term(&stand.tell(stop), db));
    // As long again as its ladder, and no longer, however much it asks for.
    stand.tell(Event::Notified { proc: db, notice: Notice::Extend(secs(60)) });
    let kill = Action::Kill { proc: db, signal: Signal::KILL, target: Target::Members };
    let most = stand.machine.plan.workers[0].program.ladder_time() * 2;
    let most = u64::try_from(most.as_millis()).unwrap();
    assert!(!stand.pass(most - 1).contains(&kill));
    stand.tell(Event::Notified { proc: db, notice: Notice::Extend(secs(60)) });
    assert!(stand.after(1).contains(&kill));
}

#[test]
fn the_line_of_an_empty_queue_does_not_grow_with_the_deaths_of_its_worker() {
    let mut idle = pool(1);
    idle.workers[0].start_limit = None;
    let mut stand = Stand::new(idle);
    for _ in 0..10 {
        let proc = stand.spawned();
        stand.tell(exited(proc, ExitStatus::Exited(1), false));
        stand.tell(Event::MembersGone { proc });
        while !stand.out.iter().any(|action| matches!(action, Action::Spawn { .. })) {
            stand.after(500);
        }
    }
    stand.spawned();
    assert_eq!(stand.machine.queues[0].line.len(), 1);
}

#[test]
fn standard_input_that_goes_straight_to_the_leftovers_is_not_held_back_by_a_full_queue() {
    let mut full = pool(1);
    (full.queues[0].size, full.queues[0].drain_on_stop) = (1, true);
    full.queues[0].leftovers = Some("left.txt".into());
    let mut stand = Stand::new(full);
    stand.spawned();
    assert!(stand.give(&["a", "b"]).contains(&Action::Pause { source: SourceId(0) }));
    let orders = stand.tell(Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop });
    let paused = orders.iter().filter(|action| matches!(action, Action::Pause { .. })).count();
    assert!(orders.contains(&Action::Resume { source: SourceId(0) }) && paused == 0, "{orders:?}");
    assert_eq!(stand.give(&["c"]), [Action::HandBack { queue: QueueId(0), seq: 2, payload: Payload::from(&b"c"[..]) }]);
}

#[test]
fn nonsense_does_not_bring_back_a_worker_that_is_never_restarted() {
    let mut both = pool(1);
    (both.workers[0].replicas, both.workers[0].restart) = (2, Restart::Never);
    (both.queues[0].max_crashes, both.instances) = (3, Plan::roles(&both.sources, &both.workers));
    let mut stand = Stand::new(both);
    let procs = spawns(&stand.out);
    procs.iter().for_each(|&proc| _ = stand.tell(Event::Spawned { proc }));
    assert_eq!(delivered(&stand.give(&["a"])), [token(1, 1)]);
    stand.dies(procs[0], ExitStatus::Exited(1), true);
    let mut orders = vec![];
    while delivered(&orders).is_empty() {
        orders = stand.after(500);
    }
    stand.tell(Event::Garbled { proc: procs[1], seen: b"?".to_vec() });
    // The item has been blamed before, so this death counts for nothing: it still is the last one.
    let orders = stand.dies(procs[1], ExitStatus::Exited(1), true);
    assert!(spawns(&orders).is_empty(), "{orders:?}");
}

#[test]
fn a_signal_that_means_nothing_is_told_once_and_what_the_kernel_sends_by_itself_never() {
    let plan = || Plan { instances: vec![], ..Plan::empty("test") };
    let told = |plan: Plan| {
        let mut stand = Stand::new(plan);
        let mut told = vec![];
        let signals = [Signal::USR1, Signal::HUP, Signal::WINCH, Signal::CHLD, Signal::CONT, Signal::URG, Signal::PIPE];
        for signal in [signals, signals].concat() {
            assert_eq!(stand.tell(Event::Signalled { signal, meaning: Meaning::Nothing }), []);
            told.extend(stand.out.iter().filter_map(|action| match action {
                Action::Note(Note::SignalIgnored { signal }) => Some(*signal),
                _ => None,
            }));
        }
        told
    };
    assert_eq!(told(plan()), [Signal::USR1, Signal::HUP]);
    assert_eq!(told(Plan { init: Some(Init::default()), ..plan() }), [], "an init was told what to drop");
}
