//! What workers say of their items, and what becomes of items whose worker left without a word.
//!
//! A verdict is heard in every state in which its incarnation exists, so a late `ok` counts as long as the last words are
//! read before the items are given back. What nobody answered is given back only when the session is empty: the oldest
//! item is blamed for a death in its hand, or for the time it took; all others go back to the head, uncounted, in order.

use super::Machine;
use super::action::{Action, Actions, DeathReason, Note, StopCause};
use super::instance::{Charge, Purpose, Remains, State};
use super::lease::{Claim, Touch};
use super::queue::{Gate, Item, backoff_delay};
use super::timers::Key;
use crate::model::plan::{Consumer, Results};
use crate::model::{InstanceId, Payload, ProcId, QueueId, Reply, Token, Verdict, WorkerId};
use std::collections::VecDeque;

impl Machine {
    pub(super) fn wrote(&mut self, proc: ProcId, frames: u32, progress: bool) {
        let Some(id) = self.slot(proc) else { return };
        let plan = self.plan.clone();
        let (Some(consumer), Some(work)) = (plan.consumer(id), self.instances[id.index()].work_mut()) else { return };
        let waited = !work.leases.is_empty() && !work.leases.oldest_is_written();
        work.leases.wrote(frames);
        if waited && progress && self.instances[id.index()].is_up() {
            self.start_item_clock(id, consumer);
        }
    }

    pub(super) fn replied(&mut self, proc: ProcId, reply: Reply, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let plan = self.plan.clone();
        let Some(consumer) = plan.consumer(id) else {
            return self.bug(format!("{} has no queue and replied", plan.instance_name(id)), out);
        };
        match reply {
            Reply::Settle { token, verdict } => self.verdict(id, consumer, token, verdict, out),
            Reply::Touch(token) => self.touched(id, consumer, token, out),
            Reply::Prefetch(window) => {
                if let Some(work) = self.instances[id.index()].work_mut() {
                    work.window = window;
                }
                self.enlist(id, out);
            }
        }
    }

    fn verdict(&mut self, id: InstanceId, consumer: &Consumer, token: Token, verdict: Verdict, out: &mut Actions) {
        let Some(work) = self.instances[id.index()].work_mut() else { return };
        match work.leases.claim(token) {
            Claim::Settled => self.late_replies += 1,
            Claim::Never => self.garbled_by(id, format!("a verdict for {token}, which it never had").into_bytes(), out),
            Claim::Held { item, oldest } => {
                self.queues[consumer.queue.index()].leased -= 1;
                self.worker_of(id).into_iter().for_each(|worker| self.workers[worker.index()].unread.end());
                self.apply(id, consumer, item, verdict, out);
                self.after_settling(id, consumer.queue, out);
                // When the next item is given out, so that a clock is moved and not stopped and started.
                if oldest {
                    self.move_item_clock(id, consumer);
                }
            }
        }
    }

    /// The next unanswered item is the oldest now, or there is none.
    fn move_item_clock(&mut self, id: InstanceId, consumer: &Consumer) {
        let up = self.instances[id.index()].is_up();
        let more = self.instances[id.index()].work_mut().is_some_and(|work| !work.leases.is_empty());
        if up && more {
            self.start_item_clock(id, consumer);
        } else {
            self.timers.cancel(Key::Clock(id));
        }
    }

    fn apply(&mut self, id: InstanceId, consumer: &Consumer, item: Item, verdict: Verdict, out: &mut Actions) {
        let queue = consumer.queue;
        match verdict {
            Verdict::Ok(result) => self.succeeded(id, consumer, item, result, out),
            Verdict::Fail(reason) => self.bury(queue, item, DeathReason::Failed(reason), out),
            Verdict::Retry(reason) => {
                self.queues[queue.index()].stats.retried += 1;
                self.attempted(queue, item, reason, out);
            }
            Verdict::Release if self.instances[id.index()].is_up() => {
                // Nobody asked it to leave. A pause keeps an item that nobody wants from going round without end.
                let delay = self.plan.queue(queue).backoff.delay;
                self.put_off(queue, item, delay, out);
            }
            Verdict::Release => self.back_to_the_head(queue, VecDeque::from([item]), out),
        }
    }

    fn succeeded(
        &mut self,
        id: InstanceId,
        consumer: &Consumer,
        item: Item,
        result: Option<Payload>,
        out: &mut Actions,
    ) {
        let Some(worker) = self.worker_of(id) else { return };
        let instance = &mut self.instances[id.index()];
        instance.done += 1;
        instance.delays.reset();
        if let Some(work) = instance.work_mut() {
            work.proven = true;
        }
        let crew = &mut self.workers[worker.index()];
        crew.failures.clear();
        let unwritten = match (&consumer.results, result) {
            (Results::Null, _) | (_, None) => None,
            (Results::Stdout | Results::File(_), Some(result)) => Some(result),
        };
        match unwritten {
            None => self.done(consumer.queue, &item),
            Some(_) if crew.results_closed => self.give_back_for_good(consumer.queue, item, out),
            Some(result) => {
                crew.settling.push_back(item);
                self.queues[consumer.queue.index()].settling += 1;
                out.push(Action::WriteResult { worker, result });
            }
        }
    }

    fn done(&mut self, queue: QueueId, item: &Item) {
        let state = &mut self.queues[queue.index()];
        state.forget(item);
        state.stats.done += 1;
        self.progressed = true;
    }

    pub(super) fn results_written(&mut self, worker: WorkerId, count: u32, out: &mut Actions) {
        let Some(queue) = self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue) else { return };
        let crew = &mut self.workers[worker.index()];
        let late = count.min(crew.forsaken);
        crew.forsaken -= late;
        for _ in late..count {
            let Some(item) = self.workers[worker.index()].settling.pop_front() else {
                return self.bug(format!("more results of worker {} were written than there were", worker.0), out);
            };
            self.queues[queue.index()].settling -= 1;
            self.done(queue, &item);
        }
        self.roomier.push(queue);
    }

    /// What was handed to the writer and not written is unfinished, and so is all that still waits: the reader has gone.
    pub(super) fn results_closed(&mut self, worker: WorkerId, errno: i32, out: &mut Actions) {
        let crew = &mut self.workers[worker.index()];
        if std::mem::replace(&mut crew.results_closed, true) {
            return;
        }
        out.push(Action::Note(Note::ResultsClosed { worker, errno }));
        self.give_up_results(worker, out);
        self.begin_stop(StopCause::ResultsClosed(worker), out);
        if let Some(queue) = self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue) {
            // The stop may have begun before, and the queue be one that is worked off: no more of it can be.
            self.close_queue(queue, out);
        }
    }

    /// Items whose result is not known to be written are unfinished.
    pub(super) fn give_up_results(&mut self, worker: WorkerId, out: &mut Actions) {
        let Some(queue) = self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue) else { return };
        // They stand in the order of their replies.
        let mut items = Vec::from(std::mem::take(&mut self.workers[worker.index()].settling));
        items.sort_by_key(|item| item.seq);
        if !items.is_empty() {
            out.push(Action::CancelResults { worker });
            out.push(Action::Note(Note::ResultsGivenUp { worker, items: items.len() as u64 }));
        }
        for item in items {
            self.queues[queue.index()].settling -= 1;
            let forsaken = &mut self.workers[worker.index()].forsaken;
            *forsaken = forsaken.saturating_add(1);
            self.give_back_for_good(queue, item, out);
        }
        self.progressed = true;
    }

    fn give_back_for_good(&mut self, queue: QueueId, item: Item, out: &mut Actions) {
        self.hand_back(queue, item, out);
        self.progressed = true;
    }

    /// A retry verdict or a timeout.
    pub(super) fn attempted(&mut self, queue: QueueId, mut item: Item, reason: Option<String>, out: &mut Actions) {
        item.attempts += 1;
        let plan = self.plan.queue(queue);
        if item.attempts >= plan.max_attempts {
            return self.bury(queue, item, DeathReason::Attempts { last: reason }, out);
        }
        let delay = backoff_delay(&plan.backoff, item.attempts, self.random.f64());
        self.put_off(queue, item, delay, out);
    }

    /// A death with this item in hand. True when it is the first one blamed on it.
    fn blame(&mut self, queue: QueueId, mut item: Item, remains: &Remains, out: &mut Actions) -> bool {
        self.queues[queue.index()].stats.crashed += 1;
        item.crashes += 1;
        item.last_status = Some(remains.status);
        let first = item.crashes == 1;
        let plan = self.plan.queue(queue);
        if item.crashes >= plan.max_crashes {
            self.bury(queue, item, DeathReason::Crashes, out);
        } else {
            let delay = backoff_delay(&plan.backoff, item.crashes, self.random.f64());
            self.put_off(queue, item, delay, out);
        }
        first
    }

    fn put_off(&mut self, queue: QueueId, item: Item, delay: std::time::Duration, out: &mut Actions) {
        if self.queues[queue.index()].gate == Gate::Closed {
            return self.give_back_for_good(queue, item, out);
        }
        self.queues[queue.index()].delay(self.now + delay, item);
        self.set_delayed_timer(queue);
    }

    /// `items` are in order, the oldest first.
    fn back_to_the_head(&mut self, queue: QueueId, items: VecDeque<Item>, out: &mut Actions) {
        if self.queues[queue.index()].gate == Gate::Closed {
            items.into_iter().for_each(|item| self.give_back_for_good(queue, item, out));
            return;
        }
        let ready = &mut self.queues[queue.index()].ready;
        items.into_iter().rev().for_each(|item| ready.push_front(item));
    }

    fn after_settling(&mut self, id: InstanceId, queue: QueueId, out: &mut Actions) {
        self.renew_if_used_up(id, out);
        let state = &mut self.queues[queue.index()];
        if state.ready.is_empty() {
            self.roomier.push(queue);
        } else {
            state.roomier = true;
        }
        self.progressed |= state.held() == 0;
        self.enlist(id, out);
    }

    fn touched(&mut self, id: InstanceId, consumer: &Consumer, token: Token, out: &mut Actions) {
        let Some(touch) = self.instances[id.index()].work_mut().map(|work| work.leases.touch(token)) else { return };
        match touch {
            Touch::Oldest if self.instances[id.index()].is_up() => self.start_item_clock(id, consumer),
            Touch::Oldest | Touch::Waiting => {}
            Touch::Settled => self.late_replies += 1,
            Touch::Never => self.garbled_by(id, format!("a touch for {token}, which it never had").into_bytes(), out),
        }
    }

    pub(super) fn garbled(&mut self, proc: ProcId, seen: Vec<u8>, out: &mut Actions) {
        if let Some(id) = self.slot(proc) {
            self.garbled_by(id, seen, out);
        }
    }

    fn garbled_by(&mut self, id: InstanceId, seen: Vec<u8>, out: &mut Actions) {
        out.push(Action::Note(Note::ProtocolError { instance: id, seen }));
        self.ask_to_leave(id, crate::model::StopReason::Restart, Purpose::Garbled, out);
    }

    /// It can never answer again. What it said before is heard, and so may be its death in a moment, which would explain it.
    pub(super) fn replies_closed(&mut self, proc: ProcId) {
        let Some(id) = self.slot(proc) else { return };
        let instance = &mut self.instances[id.index()];
        let up = instance.is_up();
        let Some(work) = instance.work_mut() else { return };
        work.mute = true;
        if up && !work.leases.is_empty() {
            self.start_mute_clock(id);
        }
    }

    /// The clock of the oldest unanswered item ran out.
    pub(super) fn item_timed_out(&mut self, id: InstanceId, out: &mut Actions) {
        if self.instances[id.index()].work_mut().is_some_and(|work| work.mute) {
            out.push(Action::Note(Note::RepliesClosed { instance: id }));
            return self.ask_to_leave(id, crate::model::StopReason::Restart, Purpose::Garbled, out);
        }
        let timeout = self.plan.consumer(id).and_then(|consumer| self.plan.queue(consumer.queue).item_timeout);
        let token = self.instances[id.index()].work_mut().and_then(|work| work.leases.oldest());
        let (Some(token), Some(timeout), State::Up(_)) = (token, timeout, &self.instances[id.index()].state) else {
            return self.bug(format!("an item clock ran out in instance {}, which has no item", id.0), out);
        };
        out.push(Action::Note(Note::ItemTimedOut { instance: id, token, timeout }));
        self.ask_to_leave(id, crate::model::StopReason::Timeout, Purpose::TimedOut(token), out);
    }

    /// The session is empty and its last words were read: what is unanswered goes back. Answers who is to blame.
    pub(super) fn give_back(
        &mut self,
        id: InstanceId,
        mut items: VecDeque<Item>,
        remains: &Remains,
        out: &mut Actions,
    ) -> Charge {
        let Some(queue) = self.plan.consumer(id).map(|consumer| consumer.queue) else { return Charge::Nothing };
        self.queues[queue.index()].leased -= items.len();
        let oldest = items.front().map(|item| Token { seq: item.seq, delivery: item.deliveries });
        let purpose = remains.climb.as_ref().map(|climb| climb.purpose);
        let mut charge = if items.is_empty() { Charge::Nothing } else { Charge::Program };
        match (purpose, oldest) {
            (Some(Purpose::TimedOut(token)), Some(oldest)) if token == oldest && remains.in_hand => {
                self.queues[queue.index()].stats.timed_out += 1;
                if let Some(item) = items.pop_front() {
                    self.attempted(queue, item, None, out);
                }
            }
            (Some(Purpose::TimedOut(token)), Some(oldest)) if token == oldest => {
                self.queues[queue.index()].stats.timed_out += 1;
                out.push(Action::Note(Note::ItemUnread { instance: id, token }));
                charge = Charge::Unread;
            }
            (None | Some(Purpose::Garbled), Some(_)) if remains.in_hand => {
                if let Some(item) = items.pop_front() {
                    let first = self.blame(queue, item, remains, out);
                    charge = if first { Charge::Program } else { Charge::ItemAgain };
                }
            }
            (
                None
                | Some(
                    Purpose::Garbled
                    | Purpose::Unwell
                    | Purpose::TimedOut(_)
                    | Purpose::Renew
                    | Purpose::Await(_)
                    | Purpose::Lost(_)
                    | Purpose::Rest,
                ),
                _,
            ) => {}
        }
        self.back_to_the_head(queue, items, out);
        self.roomier.push(queue);
        self.progressed = true;
        charge
    }
}
