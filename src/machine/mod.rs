//! The functional core: pure state machines. No system, no clock, no random but a seed.
//!
//! [`Machine::handle`] and [`Machine::deadline`] are its whole face. Events are facts in the past tense, actions are orders;
//! an action's result comes back as a new event. Every event in every state has an answer. What cannot happen is reported
//! as a bug of our own ([`Note::Bug`], exit code 70), and the safest way on is taken.
//!
//! The rooms of the core: `instance` (one process slot and its states), `order` (whose turn it is to start), `life` (one
//! incarnation), `ready` (whether it is ready and well), `ladder` (its stop), `sequel` (what follows it: another or rest), `restart`
//! (delays and limits), `shutdown` (the stop of all), `sweep` (what escaped from every session), `queue`, `lease` and `pool` (where
//! items are and who is given them), `renewal` (replacing an instance that had its items), `settle` (what workers say of them), `feed` (where they come from), `stop_input`
//! (standard input in a stop), `stop_waits` (what a stop waits for is said), `forward` (signals that
//! are passed on), `timers`, `report` and `reckoning` (what the run comes to).

pub mod action;
#[doc(hidden)]
pub mod census;
pub mod event;
mod feed;
mod forward;
mod instance;
mod ladder;
mod lease;
mod life;
mod order;
mod pool;
mod queue;
mod ready;
mod reckoning;
mod renewal;
pub mod report;
mod restart;
mod sequel;
mod settle;
mod shutdown;
mod stop_input;
mod stop_waits;
mod sweep;
#[cfg(test)]
mod tests;
mod timers;

pub use action::{Action, Actions, DeadLetter, DeathReason, HeldItem, LadderStep, LastFailure, Note, StopCause};
pub use event::{Event, Meaning, Question, SourceEnd};
pub use report::{Fate, Leaver, QueueReport, ReadEnd, Report, SourceReport, Unstarted, Why};
pub use stop_waits::Wait;

use crate::model::plan::{Plan, Role};
use crate::model::{InstanceId, Payload, ProcId, QueueId, SignalSet, SourceId, Time, WorkerId};
use feed::Feeding;
use instance::{Instance, State};
use queue::{Item, Queue};
use restart::{Failures, Streak};
use shutdown::Phase;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use stop_waits::Awaited;
use timers::{Key, Timers};

/// A wake-up later than this after its deadline says that we were stopped or starved, and so perhaps were the workers.
const LATE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Machine {
    plan: Rc<Plan>,
    now: Time,
    began: Time,
    random: fastrand::Rng,
    phase: Phase,
    instances: Vec<Instance>,
    queues: Vec<Queue>,
    feeds: Vec<Feeding>,
    workers: Vec<Crew>,
    timers: Timers,
    /// In the line of starts, and how many starts are under way.
    due: VecDeque<InstanceId>,
    starting: usize,
    /// Somebody is after somebody: only then is anybody waited for.
    has_order: bool,
    orphans_reaped: u64,
    late_replies: u64,
    bugs: u32,
    /// Signals that mean nothing, and of which that was said.
    ignored: SignalSet,
    /// Queues that have room they had not; their sources are looked at before the event is over.
    roomier: Vec<QueueId>,
    /// Workers that are not ready any more, and whose dependents are to be looked at; the first is being looked at.
    fallen: VecDeque<WorkerId>,
    /// Came to rest for good, and whether their queue has a worker left is to be looked at.
    rested: Vec<InstanceId>,
    /// Ended well at once, and are asked after: an orphan outside of every session may be what they left.
    suspects: Vec<InstanceId>,
    /// Orphans at the last count.
    orphans: u32,
    /// What a stop waits for and of which that was said.
    said: BTreeSet<Awaited>,
    /// Something happened that may end the run or let the stop go on.
    progressed: bool,
}

/// What the replicas of one worker have in common.
#[derive(Debug)]
struct Crew {
    replicas: Rc<[InstanceId]>,
    /// So many of them have neither begun nor are at rest for good, and so many are not at rest: counted, for a look at each after
    /// every death would make the stop of a thousand a million looks.
    unbegun: usize,
    awake: usize,
    failures: Failures,
    /// Items in a row that were not read within their time, and starts in a row that met a limit which the file sets.
    unread: Streak,
    own_limit: Streak,
    /// Wait to be replaced, the first to be used up before the others. One that waits no more may stand here still.
    used_up: VecDeque<InstanceId>,
    gave_up: bool,
    /// It ended badly and nobody starts it again.
    failed: bool,
    /// Exec succeeded at least once.
    ever_ran: bool,
    /// Items whose result is handed to the writer and not reported written, in that order.
    settling: VecDeque<Item>,
    /// Results that were no longer waited for: the writer may still get them written, ahead of those in `settling`.
    forsaken: u32,
    results_closed: bool,
}

impl Crew {
    fn of(plan: &Plan, worker: WorkerId) -> Crew {
        let own = |role: &Role| matches!(*role, Role::Worker { worker: of, .. } if of == worker);
        let slots = (0u32..).map(InstanceId).zip(&plan.instances).filter(|(_, role)| own(role));
        let replicas: Rc<[InstanceId]> = slots.map(|(id, _)| id).collect();
        Crew {
            unbegun: replicas.len(),
            awake: replicas.len(),
            replicas,
            failures: Failures::default(),
            unread: Streak::default(),
            own_limit: Streak::default(),
            used_up: VecDeque::new(),
            gave_up: false,
            failed: false,
            ever_ran: false,
            settling: VecDeque::new(),
            forsaken: 0,
            results_closed: false,
        }
    }
}

impl Machine {
    /// A machine that has started nothing. `seed` decides every jitter.
    pub fn new(plan: Rc<Plan>, seed: u64) -> Machine {
        Machine {
            now: Time::ZERO,
            began: Time::ZERO,
            random: fastrand::Rng::with_seed(seed),
            phase: Phase::Running,
            instances: plan.instances.iter().map(|_| Instance::new()).collect(),
            queues: (0u32..).zip(&plan.queues).map(|(id, _)| Queue::of(&plan, QueueId(id))).collect(),
            feeds: plan.sources.iter().map(Feeding::new).collect(),
            workers: (0u32..).zip(&plan.workers).map(|(id, _)| Crew::of(&plan, WorkerId(id))).collect(),
            timers: Timers::default(),
            due: VecDeque::new(),
            starting: 0,
            has_order: plan.workers.iter().any(|worker| !worker.after.is_empty()),
            orphans_reaped: 0,
            late_replies: 0,
            bugs: 0,
            ignored: SignalSet::EMPTY,
            roomier: Vec::new(),
            fallen: VecDeque::new(),
            rested: Vec::new(),
            suspects: Vec::new(),
            orphans: 0,
            said: BTreeSet::new(),
            progressed: false,
            plan,
        }
    }

    /// When the machine wants a `Tick`, if nothing else happens before.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }

    /// Takes one fact and pushes the orders that follow from it. `now` never goes back.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Actions) {
        self.look_at_the_clock(now, out);
        let mut happened = true;
        match event {
            Event::Began => self.begin(out),
            Event::Signalled { signal, meaning } => self.signalled(signal, meaning, out),
            Event::Spawned { proc } => self.spawned(proc, out),
            Event::SpawnFailed { proc, error } => self.spawn_failed(proc, error, out),
            Event::Notified { proc, notice } => self.notified(proc, notice, out),
            Event::Answered { proc, question, answer } => self.answered(proc, question, answer, out),
            Event::Wrote { proc, frames, progress } => self.wrote(proc, frames, progress),
            Event::Replied { proc, reply } => self.replied(proc, reply, out),
            Event::Garbled { proc, seen } => self.garbled(proc, seen, out),
            Event::RepliesClosed { proc } => self.replies_closed(proc),
            Event::Exited { proc, status, in_hand, usage, out_of_memory } => {
                if out_of_memory {
                    self.killed_for_memory(proc, out);
                }
                self.exited(proc, status, in_hand, usage, out);
            }
            Event::MembersLeft { proc, count } => self.members_left(proc, count, out),
            Event::MembersGone { proc } => self.members_gone(proc, out),
            Event::OrphanReaped => self.orphan_reaped(out),
            Event::Submitted { source, items } => self.submitted(source, items, out),
            Event::Oversized { source, length, head } => self.oversized(source, length, head, out),
            Event::StdinRead { source, bytes: _ } => self.stdin_read(source, out),
            Event::SourceEnded { source, end } => self.source_ended(source, end, out),
            Event::ResultsWritten { worker, count } => self.results_written(worker, count, out),
            Event::ResultsClosed { worker, errno } => self.results_closed(worker, errno, out),
            Event::Strangers { count } => self.strangers(count, out),
            Event::Orphans { count } => self.orphans_are_counted(count, out),
            Event::Tick => happened = self.tick(out),
        }
        self.follow_up(out);
        if happened {
            self.a_wait_may_have_begun();
        }
    }

    fn begin(&mut self, out: &mut Actions) {
        self.began = self.now;
        for id in self.instance_ids() {
            self.start_if_its_turn(id);
        }
        self.progressed = true;
        self.start_due(out);
    }

    /// Lateness moves other people's clocks before anything of this turn is looked at; clocks that this turn sets are not
    /// late. What was due gets a second from now: whoever was frozen with us must have the time to say its word.
    fn look_at_the_clock(&mut self, now: Time, out: &mut Actions) {
        if now <= self.now {
            return;
        }
        if let Some(deadline) = self.timers.first()
            && deadline + LATE < now
        {
            let late = now.since(deadline);
            self.shift_clocks(late, now.since(self.now));
            out.push(Action::Note(Note::Late { by: late }));
        }
        self.now = now;
    }

    /// A stop that is under way goes on where it was at the last turn: a container that was paused may have been paused just after
    /// it. So each rung has the very time left that it had then, a second more the first time, and no more than three times,
    /// so that one who is hardly ever given the processor comes to an end, too. All else is moved by what is known for certain, and
    /// has a second from now.
    fn shift_clocks(&mut self, late: Duration, paused: Duration) {
        let mut rungs = BTreeSet::new();
        for (id, instance) in (0u32..).map(InstanceId).zip(&mut self.instances) {
            let killed_next = self.plan.program(id).ladder.len();
            match &mut instance.state {
                State::Leaving(_, climb) if climb.next <= killed_next => {
                    rungs.insert(Key::Slot(id));
                    if let (Some(at), Some(more)) = (self.timers.get(Key::Slot(id)), climb.shift(paused)) {
                        self.timers.set(Key::Slot(id), at + more);
                    }
                }
                State::Remains(_, remains) => remains.shift(paused),
                State::Leaving(..)
                | State::Waiting
                | State::Due
                | State::Delayed
                | State::Starting { .. }
                | State::Aborting { .. }
                | State::Up(_)
                | State::Resting(_) => {}
            }
        }
        if let Phase::Stopping(stop) = &mut self.phase {
            stop.latest = stop.latest + paused;
        }
        self.timers.shift(late + LATE, &rungs);
    }

    /// Answers whether anything was due, other than the look at what a stop waits for.
    fn tick(&mut self, out: &mut Actions) -> bool {
        let mut happened = false;
        for (id, queue) in (0u32..).map(QueueId).zip(&mut self.queues) {
            if std::mem::take(&mut queue.roomier) {
                happened = true;
                self.roomier.push(id);
            }
        }
        while let Some(key) = self.timers.pop(self.now) {
            happened |= key != Key::Waits;
            match key {
                Key::Deadline => self.stop_deadline(out),
                Key::Stdin => self.reading_is_over(out),
                Key::Farewell => self.farewell_is_over(out),
                Key::Strangers => self.sweep_goes_on(out),
                Key::Slot(id) => self.slot_is_due(id, out),
                Key::Clock(id) => self.item_timed_out(id, out),
                Key::Start(id) => self.start_timed_out(id, out),
                Key::Probe(id) => self.probe_is_due(id, out),
                Key::Watch(id) => self.watchdog_expired(id, out),
                Key::Renewal(id) => self.renew(id, out),
                Key::Delayed(queue) => self.delayed_is_due(queue, out),
                Key::Waits => self.look_at_waits(out),
            }
        }
        happened
    }

    /// What one event may set free elsewhere: starts, the end of the run, the next level of a stop.
    fn follow_up(&mut self, out: &mut Actions) {
        loop {
            if !self.due.is_empty() {
                self.start_due(out);
            }
            if let Some(queue) = self.roomier.pop() {
                self.pump(queue, out);
            } else if std::mem::take(&mut self.progressed) {
                self.advance(out);
            } else {
                return;
            }
        }
    }

    fn instance_ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..u32::try_from(self.instances.len()).unwrap_or(u32::MAX)).map(InstanceId)
    }

    /// The incarnation that `id` gets at its next start. Numbers are never used twice, and name their slot.
    fn next_proc(&mut self, id: InstanceId) -> ProcId {
        let slots = self.instances.len() as u64;
        let instance = &mut self.instances[id.index()];
        instance.starts += 1;
        ProcId(instance.starts * slots + u64::from(id.0))
    }

    /// The slot whose present incarnation this is; `None` for one that is gone.
    fn slot(&self, proc: ProcId) -> Option<InstanceId> {
        let slots = self.instances.len() as u64;
        let index = u32::try_from(proc.0.checked_rem(slots)?).ok()?;
        let id = InstanceId(index);
        (self.instances[id.index()].proc() == Some(proc)).then_some(id)
    }

    /// The kernel chose it, as far as can be known: who dies after our own KILL needs no other reason.
    fn killed_for_memory(&mut self, proc: ProcId, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let instance = &mut self.instances[id.index()];
        if instance.lives_unkilled() {
            instance.oom_kills += 1;
            out.push(Action::Note(Note::OutOfMemory { instance: id }));
        }
    }

    fn worker_of(&self, id: InstanceId) -> Option<WorkerId> {
        match self.plan.role(id) {
            Role::Worker { worker, .. } => Some(worker),
            Role::Source(_) => None,
        }
    }

    fn source_of(&self, id: InstanceId) -> Option<SourceId> {
        match self.plan.role(id) {
            Role::Source(source) => Some(source),
            Role::Worker { .. } => None,
        }
    }

    fn replicas(&self, worker: WorkerId) -> impl Iterator<Item = &Instance> {
        self.workers[worker.index()].replicas.iter().map(|id| &self.instances[id.index()])
    }

    /// Every replica of this worker is at rest for good.
    fn rests(&self, worker: WorkerId) -> bool {
        self.workers[worker.index()].awake == 0
    }

    fn bug(&mut self, what: String, out: &mut Actions) {
        self.bugs += 1;
        debug_assert!(false, "bug: {what}");
        out.push(Action::Note(Note::Bug(what)));
    }

    fn hand_back(&mut self, queue: QueueId, item: Item, out: &mut Actions) {
        let state = &mut self.queues[queue.index()];
        state.forget(&item);
        state.stats.handed_back += 1;
        state.stats.handed_back_bytes += item.payload.len() as u64 + 1;
        out.push(Action::HandBack { queue, seq: item.seq, payload: item.payload });
    }

    fn bury(&mut self, queue: QueueId, item: Item, reason: DeathReason, out: &mut Actions) {
        let state = &mut self.queues[queue.index()];
        state.forget(&item);
        state.stats.dead += 1;
        let letter = Box::new(DeadLetter {
            queue,
            seq: item.seq,
            length: item.payload.len() as u64,
            payload: item.payload,
            reason,
            deliveries: item.deliveries,
            attempts: item.attempts,
            crashes: item.crashes,
            last_status: item.last_status,
        });
        out.push(Action::Note(Note::Buried { letter: letter.clone() }));
        out.push(Action::Bury(letter));
        self.progressed = true;
    }

    /// Whether this payload could not be told from two items on a pipe of lines.
    fn breaks_lines(payload: &Payload) -> bool {
        memchr::memchr(b'\n', payload).is_some()
    }
}
