//! L4 and L5: a reference model of the queues, told by what is seen from outside. Payloads are unique, so each item is
//! followed by its text.

use super::{Broken, Verdict, hold};
use crate::fake::Fake;
use crate::source::{CHUNK, FakeSource, ROOM};
use exeunt::machine::{Action, DeadLetter, DeathReason, Event, Report};
use exeunt::model::plan::{OnFull, Plan, Results, Role};
use exeunt::model::{Payload, ProcId, QueueId, Reply, Time, Token, Verdict as Word, WorkerId};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

pub struct Reference {
    plan: Rc<Plan>,
    items: BTreeMap<Payload, Item>,
    /// Which item a number of a queue names.
    names: BTreeMap<(QueueId, u64), Payload>,
    homes: BTreeMap<ProcId, Role>,
    /// Results handed to each writer and not confirmed.
    unwritten: Vec<VecDeque<Payload>>,
    closed: Vec<bool>,
    /// Dead letters of items that were too long, and counted as accepted.
    oversized: Vec<u64>,
}

struct Item {
    queue: QueueId,
    state: State,
    deliveries: u32,
    handed_out: Time,
    /// Retry verdicts and returns of a lease, at most so many attempts can be counted.
    retries: u32,
    crashes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting, delayed, or not accepted yet.
    Waiting,
    Leased(ProcId, Token),
    /// `fail` was heard: to be buried before anything else.
    Failing,
    /// `ok` with a result that is to be written.
    Answered(WorkerId, Token),
    /// Its result cannot be written any more, or its holder cannot be killed: nobody gets it any more.
    Stuck,
    Done,
    Dead,
    /// Never accepted: the queue was full.
    Refused,
    HandedBack,
}

impl Reference {
    pub fn new(plan: Rc<Plan>) -> Reference {
        let workers = plan.workers.len();
        Reference {
            items: BTreeMap::new(),
            names: BTreeMap::new(),
            homes: BTreeMap::new(),
            unwritten: vec![VecDeque::new(); workers],
            closed: vec![false; workers],
            oversized: vec![0; plan.queues.len()],
            plan,
        }
    }

    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Submitted { source, items } => {
                let queue = self.plan.source(*source).queue;
                for payload in items {
                    let item = Item {
                        queue,
                        state: State::Waiting,
                        deliveries: 0,
                        handed_out: Time::ZERO,
                        retries: 0,
                        crashes: 0,
                    };
                    self.items.insert(payload.clone(), item);
                }
            }
            Event::Replied { proc, reply: Reply::Settle { token, verdict } } => self.settles(*proc, *token, verdict),
            Event::Exited { proc, in_hand: true, .. } => self.blame(*proc),
            Event::SpawnFailed { proc, .. } | Event::MembersGone { proc } => self.returns(*proc),
            Event::ResultsWritten { worker, count } => {
                for _ in 0..*count {
                    let Some(payload) = self.unwritten[worker.index()].pop_front() else { continue };
                    // One that was given up in the meantime stays handed back.
                    if self.items.get(&payload).is_some_and(|item| matches!(item.state, State::Answered(..))) {
                        self.put(&payload, State::Done);
                    }
                }
            }
            Event::ResultsClosed { worker, .. } => {
                self.closed[worker.index()] = true;
                let left = std::mem::take(&mut self.unwritten[worker.index()]);
                left.iter().for_each(|payload| self.put(payload, State::Stuck));
            }
            _ => {}
        }
    }

    /// The lease of a token ends by a verdict of its holder, and by nothing else said by anybody.
    fn settles(&mut self, proc: ProcId, token: Token, verdict: &Word) {
        let Some(Role::Worker { worker, .. }) = self.homes.get(&proc).copied() else { return };
        let Some(consumer) = self.plan.worker(worker).consumer.as_ref() else { return };
        let Some(payload) = self.names.get(&(consumer.queue, token.seq)).cloned() else { return };
        let results = consumer.results != Results::Null;
        let closed = self.closed[worker.index()];
        let Some(item) = self.items.get_mut(&payload).filter(|item| item.state == State::Leased(proc, token)) else {
            return;
        };
        item.state = match verdict {
            Word::Ok(Some(_)) if results && closed => State::Stuck,
            Word::Ok(Some(_)) if results => State::Answered(worker, token),
            Word::Ok(_) => State::Done,
            Word::Fail(_) => State::Failing,
            Word::Release => State::Waiting,
            Word::Retry(_) => {
                item.retries += 1;
                State::Waiting
            }
        };
    }

    fn blame(&mut self, proc: ProcId) {
        let held =
            self.items.values_mut().filter(|item| matches!(item.state, State::Leased(holder, _) if holder == proc));
        held.for_each(|item| item.crashes += 1);
    }

    /// An incarnation that KILL did not remove is forgotten, with what it holds.
    pub fn sticks(&mut self, proc: ProcId) {
        for item in self.items.values_mut() {
            if matches!(item.state, State::Leased(holder, _) if holder == proc) {
                item.state = State::Stuck;
            }
        }
    }

    /// An incarnation is over: what it held may be handed out again.
    pub fn returns(&mut self, proc: ProcId) {
        for item in self.items.values_mut() {
            if matches!(item.state, State::Leased(holder, _) if holder == proc) {
                item.state = State::Waiting;
                item.retries += 1;
            }
        }
    }

    pub fn ordered(&mut self, now: Time, action: &Action, window: Option<u32>, stopping: bool) -> Verdict {
        match action {
            Action::Spawn { proc, instance } => {
                self.homes.insert(*proc, self.plan.role(*instance));
                Ok(())
            }
            Action::Deliver { proc, token, payload } => {
                self.delivers(now, (*proc, *token), payload, window.unwrap_or(0))
            }
            Action::WriteResult { worker, result } => self.writes(*worker, result),
            Action::Bury(letter) => self.buries(letter),
            Action::HandBack { queue, payload } => self.hands_back(*queue, payload, stopping),
            _ => Ok(()),
        }
    }

    /// L4: an item is handed out when nobody holds it, under its own number and the next delivery. L5: within the window.
    fn delivers(&mut self, now: Time, (proc, token): (ProcId, Token), payload: &Payload, window: u32) -> Verdict {
        let held = self.items.values().filter(|item| matches!(item.state, State::Leased(holder, _) if holder == proc));
        let held = held.count();
        hold("L5", held < window as usize, || format!("{proc} holds {held} of {window} and gets {token}"))?;
        let Some(Role::Worker { worker, .. }) = self.homes.get(&proc).copied() else {
            return Err(Broken::new("L4", "an item for a source"));
        };
        let eats = self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue);
        let item = self.item(payload)?;
        hold("L4", eats == Some(item.queue), || format!("{token} goes to a worker of another queue"))?;
        hold("L4", item.state == State::Waiting, || format!("{token} for {proc} is {:?}", item.state))?;
        hold("L4", token.delivery > item.deliveries, || format!("{token} after delivery {}", item.deliveries))?;
        item.deliveries = token.delivery;
        item.handed_out = now;
        item.state = State::Leased(proc, token);
        let name = (item.queue, token.seq);
        let named = self.names.entry(name).or_insert_with(|| payload.clone());
        hold("L4", named == payload, || format!("{token} names two items"))
    }

    /// L4: a result is written once, for an item that was answered with it.
    fn writes(&mut self, worker: WorkerId, result: &Payload) -> Verdict {
        let text = |token: &Token| format!("r{token}").into_bytes();
        let mut items = self.items.iter();
        let answered = items.find(
            |(_, item)| matches!(&item.state, State::Answered(by, token) if *by == worker && text(token) == result[..]),
        );
        let Some((payload, _)) = answered else { return Err(Broken::new("L4", "a result that no item has")) };
        let waiting = &mut self.unwritten[worker.index()];
        hold("L4", !waiting.contains(payload), || "a result is written twice".into())?;
        waiting.push_back(payload.clone());
        Ok(())
    }

    /// L4: an item is given up when nobody holds it, and its counters allow it.
    fn buries(&mut self, letter: &DeadLetter) -> Verdict {
        if letter.reason == DeathReason::TooLong {
            self.oversized[letter.queue.index()] += u64::from(letter.seq != 0);
            return Ok(());
        }
        let plan = self.plan.clone();
        let queue = plan.queue(letter.queue);
        let refused = letter.seq == 0;
        let item = self.item(&letter.payload)?;
        let state = item.state;
        let right = match &letter.reason {
            DeathReason::Failed(_) => state == State::Failing,
            DeathReason::Full => state == State::Waiting && queue.on_full == OnFull::Reject,
            DeathReason::Attempts { .. } => {
                state == State::Waiting && letter.attempts >= queue.max_attempts && item.retries >= letter.attempts
            }
            DeathReason::Crashes => {
                state == State::Waiting && letter.crashes >= queue.max_crashes && item.crashes >= letter.crashes
            }
            DeathReason::LineFeed => state == State::Waiting && letter.payload.contains(&b'\n'),
            DeathReason::TooLong => true,
        };
        let seen = (item.retries, item.crashes);
        item.state = if refused { State::Refused } else { State::Dead };
        hold("L4", right, || format!("{letter:?} is buried while {state:?}, retries and crashes seen {seen:?}"))
    }

    /// L4: an unfinished item is handed back once, when nobody holds it, and only at a stop.
    fn hands_back(&mut self, queue: QueueId, payload: &Payload, stopping: bool) -> Verdict {
        if payload.starts_with(crate::source::TORN) {
            return Ok(());
        }
        let item = self.item(payload)?;
        let free = match item.state {
            State::Waiting => stopping,
            State::Stuck => true,
            // A result that nobody confirmed in time.
            State::Answered(..) => stopping,
            State::Leased(..) | State::Failing | State::Done | State::Dead | State::Refused | State::HandedBack => {
                false
            }
        };
        hold("L4", free && item.queue == queue, || format!("handed back while {:?}", item.state))?;
        item.state = State::HandedBack;
        Ok(())
    }

    /// L4: `fail` is final at once.
    pub fn handled(&mut self, event: &Event) -> Verdict {
        let Event::Replied { .. } = event else { return Ok(()) };
        let failing = self.items.values().any(|item| item.state == State::Failing);
        hold("L4", !failing, || "a failed item was not buried".into())
    }

    /// L5: what is held passes the queue's size only by what was read already: for each chunk of a source that found no
    /// room, and one that was read in the moment of the pause, that source is paused.
    pub fn limits(&self, fake: &Fake) -> Verdict {
        for (id, queue) in (0u32..).map(QueueId).zip(&self.plan.queues) {
            let held: Vec<&Payload> = self.unfinished(id).map(|(payload, _)| payload).collect();
            let bytes: usize = held.iter().map(|payload| payload.len()).sum();
            let sources = fake.sources.iter().zip(&self.plan.sources).filter(|(_, plan)| plan.queue == id);
            let sources: Vec<&FakeSource> = sources.map(|(source, _)| source).collect();
            let full = sources.iter().filter(|source| source.paused || source.ended || source.distrusted).count();
            let drained = sources.iter().filter(|source| source.drained).count();
            let most = queue.size + full * 2 * CHUNK + drained * ROOM;
            hold("L5", held.len() <= most && (full > 0 || bytes as u64 <= queue.max_bytes), || {
                format!("{} items, {bytes} bytes in {} and {full} sources are paused", held.len(), queue.name)
            })?;
        }
        Ok(())
    }

    pub fn holds_any(&self, proc: ProcId) -> bool {
        self.items.values().any(|item| matches!(item.state, State::Leased(holder, _) if holder == proc))
    }

    pub fn held_since(&self, proc: ProcId, token: Token) -> Option<Time> {
        let held = self.items.values().find(|item| item.state == State::Leased(proc, token));
        held.map(|item| item.handed_out)
    }

    pub fn is_empty(&self, queue: usize) -> bool {
        let id = QueueId(u32::try_from(queue).unwrap());
        self.unfinished(id).next().is_none()
    }

    /// L4: accepted = done + dead + handed back, by the report's numbers and by what was seen; every item that was read
    /// has an end.
    pub fn adds_up(&self, report: &Report) -> Verdict {
        let open = self.items.iter().find(|(_, item)| !item.state.is_final());
        hold("L4", open.is_none(), || {
            let text = open.map(|(payload, item)| (String::from_utf8_lossy(payload).into_owned(), item.state));
            format!("an item is lost: {text:?}")
        })?;
        for queue in &report.queues {
            let count =
                |state| self.items.values().filter(|item| item.queue == queue.queue && item.state == state).count();
            let dead = count(State::Dead) as u64 + self.oversized[queue.queue.index()];
            let seen = [count(State::Done) as u64, dead, count(State::HandedBack) as u64];
            let told = [queue.done, queue.dead, queue.handed_back];
            hold("L4", seen == told, || format!("{queue:?}, seen done, dead, handed back {seen:?}"))?;
            hold("L4", queue.accepted == told.iter().sum::<u64>(), || format!("{queue:?} does not add up"))?;
        }
        Ok(())
    }

    fn unfinished(&self, queue: QueueId) -> impl Iterator<Item = (&Payload, &Item)> {
        self.items.iter().filter(move |(_, item)| item.queue == queue && !item.state.is_final())
    }

    fn item(&mut self, payload: &Payload) -> Result<&mut Item, Broken> {
        let text = || format!("an item out of thin air: {:?}", String::from_utf8_lossy(payload));
        self.items.get_mut(payload).ok_or_else(|| Broken::new("L4", text()))
    }

    fn put(&mut self, payload: &Payload, state: State) {
        if let Some(item) = self.items.get_mut(payload) {
            item.state = state;
        }
    }
}

impl State {
    fn is_final(self) -> bool {
        match self {
            State::Done | State::Dead | State::Refused | State::HandedBack => true,
            State::Waiting | State::Leased(..) | State::Failing | State::Answered(..) | State::Stuck => false,
        }
    }
}
