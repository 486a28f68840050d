//! L4 and L5: a reference model of the queues, told by what is seen from outside. Payloads are unique, so each item is
//! followed by its text.

use super::ends::{Blame, Doom, End, Hands, State};
use super::places::{Load, Places};
use super::{Broken, Verdict, hold};
use crate::fake::Fake;
use crate::source::{CHUNK, FakeSource, LARGE_ROOM};
use exeunt::machine::{Action, DeadLetter, DeathReason, Event, Report};
use exeunt::model::plan::{OnFull, Plan, Results, Role};
use exeunt::model::{Payload, ProcId, QueueId, Reply, Time, Token, Verdict as Word, WorkerId};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

pub struct Reference {
    plan: Rc<Plan>,
    /// Those that have no end yet.
    items: BTreeMap<Payload, Item>,
    /// Done, dead and handed back, for each queue.
    ended: Vec<[u64; 3]>,
    /// Which item a number of a queue names.
    names: BTreeMap<(QueueId, u64), Payload>,
    /// Of what waited, what the present event handed back.
    back: Vec<(QueueId, u64)>,
    homes: BTreeMap<ProcId, Role>,
    hands: BTreeMap<ProcId, Hands>,
    places: Places,
    /// Results handed to each writer and not confirmed.
    unwritten: Vec<VecDeque<Payload>>,
    closed: Vec<bool>,
    /// The writer was told to write no more of them.
    cancelled: Vec<bool>,
}

struct Item {
    queue: QueueId,
    state: State,
    deliveries: u32,
    /// Retry verdicts and timeouts.
    attempts: u32,
    /// Deaths of workers with this item in hand.
    crashes: u32,
}

impl Reference {
    pub fn new(plan: Rc<Plan>) -> Reference {
        let workers = plan.workers.len();
        Reference {
            items: BTreeMap::new(),
            ended: vec![[0; 3]; plan.queues.len()],
            names: BTreeMap::new(),
            back: Vec::new(),
            homes: BTreeMap::new(),
            hands: BTreeMap::new(),
            places: Places::new(plan.clone()),
            unwritten: vec![VecDeque::new(); workers],
            closed: vec![false; workers],
            cancelled: vec![false; workers],
            plan,
        }
    }

    pub fn hear(&mut self, now: Time, event: &Event, up: bool) {
        match event {
            Event::Submitted { source, items } => {
                let queue = self.plan.source(*source).queue;
                for payload in items {
                    let item = Item { queue, state: State::Waiting, deliveries: 0, attempts: 0, crashes: 0 };
                    self.items.insert(payload.clone(), item);
                    self.places.submitted(*source, payload);
                }
            }
            Event::Replied { proc, reply: Reply::Settle { token, verdict } } => {
                self.settles(now, *proc, *token, verdict, up);
            }
            Event::ResultsWritten { worker, count } => {
                for _ in 0..*count {
                    let Some(payload) = self.unwritten[worker.index()].pop_front() else { continue };
                    // One that was given up in the meantime stays handed back.
                    if self.items.get(&payload).is_some_and(|item| matches!(item.state, State::Answered(..))) {
                        self.ends(&payload, End::Done);
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
    fn settles(&mut self, now: Time, proc: ProcId, token: Token, verdict: &Word, up: bool) {
        let Some(Role::Worker { worker, .. }) = self.homes.get(&proc).copied() else { return };
        let Some(consumer) = self.plan.worker(worker).consumer.as_ref() else { return };
        let queue = consumer.queue;
        let Some(payload) = self.names.get(&(queue, token.seq)).cloned() else { return };
        let results = consumer.results != Results::Null;
        let closed = self.closed[worker.index()];
        let limit = self.plan.queue(queue).max_attempts;
        let Some(item) = self.items.get_mut(&payload).filter(|item| item.state == State::Leased(proc, token)) else {
            return;
        };
        self.hands.entry(proc).or_default().held.retain(|held| *held != token);
        item.state = match verdict {
            Word::Ok(Some(_)) if results && closed => State::Stuck,
            Word::Ok(Some(_)) if results => State::Answered(worker, token),
            Word::Ok(_) => return self.ends(&payload, End::Done),
            Word::Fail(_) => State::Doomed(Doom::Failed),
            Word::Release if up => {
                self.places.delayed(now, queue, &payload, 0);
                State::Waiting
            }
            Word::Release => {
                self.places.at_the_head(queue, vec![payload]);
                State::Waiting
            }
            Word::Retry(_) => {
                item.attempts += 1;
                attempted(&mut self.places, now, &payload, item, limit)
            }
        };
    }

    /// An incarnation that KILL did not remove is forgotten, with what it holds.
    pub fn sticks(&mut self, proc: ProcId) {
        self.hands.remove(&proc);
        for item in self.items.values_mut() {
            if matches!(item.state, State::Leased(holder, _) if holder == proc) {
                item.state = State::Stuck;
            }
        }
    }

    /// An incarnation is over: what it held may be handed out again, or is given up. True when the oldest of it is blamed for
    /// the first time.
    pub fn returns(&mut self, now: Time, proc: ProcId, blame: Blame) -> bool {
        let mut payloads = self.payloads_of(proc);
        let first = payloads.first().filter(|_| blame != Blame::Nothing).cloned();
        self.hands.remove(&proc);
        for payload in &payloads {
            self.put(payload, State::Waiting);
        }
        let mut blamed = false;
        if let Some(item) = first.as_ref().and_then(|first| self.items.get_mut(first)) {
            let payload = payloads.remove(0);
            let limits = self.plan.queue(item.queue);
            if blame == Blame::Attempt {
                item.attempts += 1;
                item.state = attempted(&mut self.places, now, &payload, item, limits.max_attempts);
            } else {
                item.crashes += 1;
                blamed = item.crashes == 1;
                if item.crashes >= limits.max_crashes {
                    item.state = State::Doomed(Doom::Crashes);
                } else {
                    self.places.delayed(now, item.queue, &payload, item.crashes);
                }
            }
        }
        if let Some(item) = payloads.first().and_then(|payload| self.items.get(payload)) {
            self.places.at_the_head(item.queue, payloads);
        }
        blamed
    }

    /// What an incarnation holds, the oldest first.
    fn payloads_of(&self, proc: ProcId) -> Vec<Payload> {
        let Some(queue) = self.eats(proc) else { return Vec::new() };
        let held = self.hands.get(&proc).into_iter().flat_map(|hands| &hands.held);
        held.filter_map(|token| self.names.get(&(queue, token.seq)).cloned()).collect()
    }

    fn eats(&self, proc: ProcId) -> Option<QueueId> {
        let Some(Role::Worker { worker, .. }) = self.homes.get(&proc).copied() else { return None };
        self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue)
    }

    pub fn oldest(&self, proc: ProcId) -> Option<Token> {
        self.hands.get(&proc)?.held.front().copied()
    }

    pub fn holds(&self, proc: ProcId, token: Token) -> bool {
        self.hands.get(&proc).is_some_and(|hands| hands.held.contains(&token))
    }

    pub fn held(&self, proc: ProcId) -> usize {
        self.hands.get(&proc).map_or(0, |hands| hands.held.len())
    }

    /// Whether this incarnation was ever given this token.
    pub fn had(&self, proc: ProcId, token: Token) -> bool {
        self.hands.get(&proc).is_some_and(|hands| hands.had.contains(&token))
    }

    /// Frames that it was given in its life.
    pub fn granted(&self, proc: ProcId) -> u64 {
        self.hands.get(&proc).map_or(0, |hands| hands.had.len() as u64)
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
            Action::CancelResults { worker } => {
                self.cancelled[worker.index()] = true;
                Ok(())
            }
            Action::Bury(letter) => self.buries(letter),
            Action::HandBack { queue, seq, payload } => self.hands_back((*queue, *seq), payload, stopping),
            _ => Ok(()),
        }
    }

    /// L4: an item is handed out when nobody holds it, under its own number and the next delivery. L5: within the window.
    fn delivers(&mut self, now: Time, (proc, token): (ProcId, Token), payload: &Payload, window: u32) -> Verdict {
        let held = self.held(proc);
        hold("L5", held < window as usize, || format!("{proc} holds {held} of {window} and gets {token}"))?;
        let Some(Role::Worker { worker, .. }) = self.homes.get(&proc).copied() else {
            return Err(Broken::new("L4", "an item for a source"));
        };
        let eats = self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue);
        let item = self.item(payload)?;
        hold("L4", eats == Some(item.queue), || format!("{token} goes to a worker of another queue"))?;
        hold("L4", item.state == State::Waiting, || format!("{token} for {proc} is {:?}", item.state))?;
        hold("L4", token.delivery == item.deliveries + 1, || format!("{token} after delivery {}", item.deliveries))?;
        let queue = item.queue;
        item.deliveries = token.delivery;
        item.state = State::Leased(proc, token);
        let name = (item.queue, token.seq);
        let named = self.names.entry(name).or_insert_with(|| payload.clone());
        hold("L4", named == payload, || format!("{token} names two items"))?;
        let hands = self.hands.entry(proc).or_default();
        hands.held.push_back(token);
        hands.had.insert(token);
        self.places.delivered(now, queue, payload, token)
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
            self.ended[letter.queue.index()][End::Dead as usize] += 1;
            return Ok(());
        }
        let plan = self.plan.clone();
        let queue = plan.queue(letter.queue);
        let item = self.item(&letter.payload)?;
        let state = item.state;
        let right = match &letter.reason {
            DeathReason::Failed(_) => state == State::Doomed(Doom::Failed),
            DeathReason::Full => state == State::Waiting && queue.on_full == OnFull::Reject,
            DeathReason::Attempts { .. } => state == State::Doomed(Doom::Attempts),
            DeathReason::Crashes => state == State::Doomed(Doom::Crashes),
            DeathReason::LineFeed => state == State::Waiting && letter.payload.contains(&b'\n'),
            DeathReason::TooLong => true,
        };
        let seen = (item.deliveries, item.attempts, item.crashes);
        let counted = seen == (letter.deliveries, letter.attempts, letter.crashes);
        self.ends(&letter.payload, End::Dead);
        hold("L4", right && counted, || format!("{letter:?} is buried while {state:?}, counted {seen:?}"))?;
        self.places.gone(letter.queue, &letter.payload, Some(&letter.reason))
    }

    /// L4: an unfinished item is handed back once, when nobody holds it, and only at a stop.
    fn hands_back(&mut self, (queue, seq): (QueueId, u64), payload: &Payload, stopping: bool) -> Verdict {
        if payload.starts_with(crate::source::TORN) {
            return Ok(());
        }
        // The order of acceptance in the leftovers depends on it.
        let named = self.names.entry((queue, seq)).or_insert_with(|| payload.clone());
        hold("L4", named == payload, || format!("number {seq} names two items"))?;
        let item = self.item(payload)?;
        let (state, of_queue) = (item.state, item.queue);
        let free = match state {
            State::Waiting => stopping,
            State::Stuck => true,
            // A result that was not confirmed in time. Written later, its item would be done twice.
            State::Answered(worker, _) => stopping && self.cancelled[worker.index()],
            State::Leased(..) | State::Doomed(_) => false,
        };
        hold("L4", free && of_queue == queue, || format!("handed back while {state:?}"))?;
        if state == State::Waiting {
            self.back.push((queue, seq));
        }
        self.ends(payload, End::HandedBack);
        self.places.gone(queue, payload, None)
    }

    /// L4: an item is given up exactly when it was failed, or its attempts or crashes have reached their limit.
    pub fn handled(&mut self, event: &Event) -> Verdict {
        // What waits is handed back in the order of acceptance. A worker that dies gives the item that is blamed back last.
        let mut back = std::mem::take(&mut self.back);
        back.sort_by_key(|&(queue, _)| queue);
        // With `kill-mode = "process"` it is gone though members of its session are left.
        let waited = !matches!(event, Event::MembersGone { .. } | Event::MembersLeft { .. });
        let sorted = back.is_sorted();
        hold("order", sorted || !waited, || format!("{event:?} hands back out of order: {back:?}"))?;
        if *event == Event::Tick {
            return Ok(());
        }
        let doomed = self.items.iter().find(|(_, item)| matches!(item.state, State::Doomed(_)));
        hold("L4", doomed.is_none(), || {
            let text = doomed.map(|(payload, item)| (String::from_utf8_lossy(payload).into_owned(), item.state));
            format!("{text:?} is not buried")
        })
    }

    /// L5: what is held passes the queue's size only by what was read already: for each chunk of a source that found no
    /// room, and one that was read in the moment of the pause, that source is paused.
    pub fn limits(&self, fake: &Fake) -> Verdict {
        for (id, queue) in (0u32..).map(QueueId).zip(&self.plan.queues) {
            let load = self.load(id);
            hold("L5", load.items <= queue.size && load.bytes <= queue.max_bytes, || {
                format!("{load:?} in {}, which takes {} items and {} bytes", queue.name, queue.size, queue.max_bytes)
            })?;
            let held: Vec<&Payload> = self.unfinished(id).map(|(payload, _)| payload).collect();
            let bytes: usize = held.iter().map(|payload| payload.len()).sum();
            let sources = fake.sources.iter().zip(&self.plan.sources).filter(|(_, plan)| plan.queue == id);
            let sources: Vec<&FakeSource> = sources.map(|(source, _)| source).collect();
            let full = sources.iter().filter(|source| source.paused || source.ended || source.distrusted).count();
            let hurried = sources.iter().filter(|source| source.hurried).count();
            let most = queue.size + full * 2 * CHUNK + hurried * LARGE_ROOM;
            hold("L5", held.len() <= most && (full > 0 || bytes as u64 <= queue.max_bytes), || {
                format!("{} items, {bytes} bytes in {} and {full} sources are paused", held.len(), queue.name)
            })?;
        }
        Ok(())
    }

    pub fn holds_any(&self, proc: ProcId) -> bool {
        self.held(proc) > 0
    }

    /// What a queue holds for certain: all but what was never handed out.
    fn load(&self, queue: QueueId) -> Load {
        let out = self.unfinished(queue).filter(|(_, item)| {
            matches!(item.state, State::Leased(..) | State::Answered(..) | State::Doomed(_) | State::Stuck)
        });
        let waiting = self.places.load(queue);
        out.fold(waiting, |load, (payload, _)| load.and(payload))
    }

    /// L9: an item that is ready while an instance has room is handed out in the same turn.
    pub fn nobody_starves(&self, now: Time, queue: QueueId) -> Verdict {
        let starving = self.places.starving(now, queue, self.load(queue));
        hold("starvation", starving.is_none(), || format!("{starving:?} waits, and an instance has room"))
    }

    /// Somebody must take an item of this queue yet.
    pub fn waits(&self, queue: usize) -> bool {
        let id = QueueId(u32::try_from(queue).unwrap());
        self.unfinished(id).any(|(_, item)| item.state == State::Waiting)
    }

    pub fn is_empty(&self, queue: usize) -> bool {
        let id = QueueId(u32::try_from(queue).unwrap());
        self.unfinished(id).next().is_none()
    }

    /// L4: accepted = done + dead + handed back, by the report's numbers and by what was seen; every item that was read
    /// has an end.
    pub fn adds_up(&self, report: &Report) -> Verdict {
        let open = self.items.first_key_value();
        hold("L4", open.is_none(), || {
            let text = open.map(|(payload, item)| (String::from_utf8_lossy(payload).into_owned(), item.state));
            format!("an item is lost: {text:?}")
        })?;
        for queue in &report.queues {
            let seen = self.ended[queue.queue.index()];
            let told = [queue.done, queue.dead, queue.handed_back];
            hold("L4", seen == told, || format!("{queue:?}, seen done, dead, handed back {seen:?}"))?;
            hold("L4", queue.accepted == told.iter().sum::<u64>(), || format!("{queue:?} does not add up"))?;
        }
        Ok(())
    }

    fn unfinished(&self, queue: QueueId) -> impl Iterator<Item = (&Payload, &Item)> {
        self.items.iter().filter(move |(_, item)| item.queue == queue)
    }

    fn item(&mut self, payload: &Payload) -> Result<&mut Item, Broken> {
        let text = || format!("an item out of thin air: {:?}", String::from_utf8_lossy(payload));
        self.items.get_mut(payload).ok_or_else(|| Broken::new("L4", text()))
    }

    fn ends(&mut self, payload: &Payload, end: End) {
        if let Some(item) = self.items.remove(payload) {
            self.ended[item.queue.index()][end as usize] += 1;
        }
    }

    fn put(&mut self, payload: &Payload, state: State) {
        if let Some(item) = self.items.get_mut(payload) {
            item.state = state;
        }
    }
}

/// A retry verdict or a timeout was counted.
fn attempted(places: &mut Places, now: Time, payload: &Payload, item: &Item, limit: u32) -> State {
    if item.attempts >= limit {
        return State::Doomed(Doom::Attempts);
    }
    places.delayed(now, item.queue, payload, item.attempts);
    State::Waiting
}
