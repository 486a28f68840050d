//! Who is given the next item.
//!
//! Instances with room stand in the queue's line; the one that waits longest is given one item and goes to the end of the
//! line, so that work is spread evenly and a window of many is filled by turns. An instance may stand in line and have lost
//! its room since: that is seen when its turn comes.

use super::Machine;
use super::action::{Action, Actions, DeathReason};
use super::instance::{Life, State};
use super::queue::{Gate, Item};
use super::timers::Key;
use crate::model::plan::Consumer;
use crate::model::{InstanceId, QueueId};
use std::time::Duration;

/// A worker that closed its reply pipe has broken the protocol once it holds an item for this long. A process that ends closes its
/// pipes a moment before its death can be seen, and that is no offence.
pub(super) const MUTE: Duration = Duration::from_millis(100);

impl Machine {
    /// An instance may have room now: it joins the line.
    pub(super) fn enlist(&mut self, id: InstanceId, out: &mut Actions) {
        let plan = self.plan.clone();
        let Some(consumer) = plan.consumer(id) else { return };
        if !self.instances[id.index()].serves() || self.queues[consumer.queue.index()].gate == Gate::Closed {
            return;
        }
        let State::Up(life) = &mut self.instances[id.index()].state else { return };
        let Some(work) = &mut life.work else { return };
        if !work.in_line && work.has_room() {
            work.in_line = true;
            self.queues[consumer.queue.index()].line.push_back(id);
        }
        self.dispatch(consumer.queue, out);
    }

    /// The next incarnation stands in the line for itself: where a queue is empty nobody's turn comes, and the line of a worker
    /// that dies again and again would grow.
    pub(super) fn leave_the_line(&mut self, id: InstanceId, life: &Life) {
        let in_line = life.work.as_ref().is_some_and(|work| work.in_line);
        if let (true, Some(consumer)) = (in_line, self.plan.consumer(id)) {
            self.queues[consumer.queue.index()].line.retain(|&other| other != id);
        }
    }

    /// Gives out what can be given out.
    pub(super) fn dispatch(&mut self, queue: QueueId, out: &mut Actions) {
        loop {
            let state = &mut self.queues[queue.index()];
            if state.gate == Gate::Closed || state.ready.is_empty() {
                return;
            }
            let Some(id) = state.line.pop_front() else { return };
            if !self.may_take(id) {
                continue;
            }
            let Some(item) = self.next_item(queue, out) else {
                // What was waiting could not be given to anybody; whoever stood first still does.
                self.queues[queue.index()].line.push_front(id);
                continue;
            };
            self.deliver(id, queue, item, out);
        }
    }

    /// Takes the instance out of the line's books; true when it still has room.
    fn may_take(&mut self, id: InstanceId) -> bool {
        let serves = self.instances[id.index()].serves();
        let Some(work) = self.instances[id.index()].work_mut() else { return false };
        let may = serves && work.has_room();
        work.in_line = may;
        may
    }

    /// The first item that a worker of lines can take; those it cannot are dead letters.
    fn next_item(&mut self, queue: QueueId, out: &mut Actions) -> Option<Item> {
        let item = self.queues[queue.index()].ready.pop_front()?;
        let suspect = item.deliveries == 0 && !self.queues[queue.index()].lines_only;
        if suspect && Self::breaks_lines(&item.payload) {
            self.bury(queue, item, DeathReason::LineFeed, out);
            self.roomier.push(queue);
            return None;
        }
        Some(item)
    }

    fn deliver(&mut self, id: InstanceId, queue: QueueId, item: Item, out: &mut Actions) {
        let plan = self.plan.clone();
        let (State::Up(life), Some(consumer)) = (&mut self.instances[id.index()].state, plan.consumer(id)) else {
            self.queues[queue.index()].ready.push_front(item);
            return self.bug(format!("an item was to be given to instance {} that does not run", id.0), out);
        };
        let Some(work) = &mut life.work else { return self.queues[queue.index()].ready.push_front(item) };
        let payload = item.payload.clone();
        let first = work.leases.is_empty();
        let token = work.leases.grant(item);
        let (proc, room) = (life.proc, work.has_room());
        work.in_line = room;
        let state = &mut self.queues[queue.index()];
        state.leased += 1;
        if room {
            state.line.push_back(id);
        }
        out.push(Action::Deliver { proc, token, payload });
        if first {
            self.start_item_clock(id, consumer);
        }
    }

    /// The oldest unanswered item's clock begins: it was given out, written further, touched, or became the oldest.
    pub(super) fn start_item_clock(&mut self, id: InstanceId, consumer: &Consumer) {
        if self.instances[id.index()].work_mut().is_some_and(|work| work.mute) {
            // Nothing that it does moves its clock.
            if self.timers.get(Key::Clock(id)).is_none() {
                self.start_mute_clock(id);
            }
            return;
        }
        if let Some(timeout) = self.plan.queue(consumer.queue).item_timeout {
            self.timers.set(Key::Clock(id), self.now + timeout);
        }
    }

    /// Of one that holds an item and cannot answer.
    pub(super) fn start_mute_clock(&mut self, id: InstanceId) {
        self.timers.set(Key::Clock(id), self.now + MUTE);
    }

    pub(super) fn delayed_is_due(&mut self, queue: QueueId, out: &mut Actions) {
        self.queues[queue.index()].wake(self.now);
        self.set_delayed_timer(queue);
        self.dispatch(queue, out);
    }

    pub(super) fn set_delayed_timer(&mut self, queue: QueueId) {
        match self.queues[queue.index()].first_delayed() {
            Some(at) => self.timers.set(Key::Delayed(queue), at),
            None => self.timers.cancel(Key::Delayed(queue)),
        }
    }
}
