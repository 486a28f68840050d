//! Replacing an instance that has worked on as many items as one incarnation may.
//!
//! Replicas that begin together work at the same pace and would be replaced together, and then nobody works. So each incarnation
//! draws a limit of its own, and one that is used up waits while another replica is not ready, though not for ever.

use super::Machine;
use super::action::Actions;
use super::instance::Purpose;
use super::timers::Key;
use crate::model::plan::Consumer;
use crate::model::{InstanceId, StopReason};
use std::time::Duration;

/// The limits of replicas are spread over this part of `max-items`, downwards: a fifth.
const SPREAD: u64 = 5;

impl Machine {
    /// How many items the next incarnation of this instance may be given. Never more than `max-items`; exactly so many where no
    /// other replica could be replaced at the same moment.
    pub(super) fn draw_most(&mut self, id: InstanceId, consumer: &Consumer) -> Option<u64> {
        let most = consumer.max_items?;
        let alone = self.worker_of(id).is_none_or(|worker| self.workers[worker.index()].replicas.len() == 1);
        Some(if alone { most } else { most - self.random.u64(0..=most / SPREAD) })
    }

    /// All that it may be given is answered: it is asked to leave with nothing in its hands, as soon as its absence is no gap.
    pub(super) fn renew_if_used_up(&mut self, id: InstanceId, out: &mut Actions) {
        if !self.is_used_up(id) {
            return;
        }
        let wait = self.plan.consumer(id).map_or(Duration::ZERO, |consumer| consumer.renewal_wait);
        if self.others_are_ready(id) || wait.is_zero() {
            self.renew(id, out);
        } else if let (None, Some(worker)) = (self.timers.get(Key::Renewal(id)), self.worker_of(id)) {
            self.timers.set(Key::Renewal(id), self.now + wait);
            self.workers[worker.index()].used_up.push_back(id);
        }
    }

    /// Of the used-up replicas of its worker one may leave, now that this one is ready, or at rest for good.
    pub(super) fn renew_who_waits(&mut self, id: InstanceId, out: &mut Actions) {
        let Some(worker) = self.worker_of(id) else { return };
        while let Some(&first) = self.workers[worker.index()].used_up.front() {
            if self.timers.get(Key::Renewal(first)).is_some() {
                return self.renew_if_used_up(first, out);
            }
            // It waits no more.
            self.workers[worker.index()].used_up.pop_front();
        }
    }

    /// Whatever the others do.
    pub(super) fn renew(&mut self, id: InstanceId, out: &mut Actions) {
        if self.is_used_up(id) {
            self.ask_to_leave(id, StopReason::MaxItems, Purpose::Renew, out);
        }
    }

    fn is_used_up(&mut self, id: InstanceId) -> bool {
        let instance = &mut self.instances[id.index()];
        instance.is_up() && instance.work_mut().is_some_and(|work| work.is_used_up())
    }

    /// Each other replica of its worker is ready, or never will be.
    fn others_are_ready(&self, id: InstanceId) -> bool {
        let Some(worker) = self.worker_of(id) else { return true };
        let mut others = self.workers[worker.index()].replicas.iter().filter(|&&other| other != id);
        others.all(|other| {
            let other = &self.instances[other.index()];
            other.serves() || other.is_resting()
        })
    }
}
