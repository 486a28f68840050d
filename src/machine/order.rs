//! Whose turn it is to start.
//!
//! ```text
//!  Waiting ──all it is after began, all it requires is ready──▶ Due ──fewer than 64 starts under way──▶ Starting
//! ```
//!
//! A worker has *begun* when each of its replicas was ready once or is at rest for good; that is never taken back. What a waiting
//! instance requires may be lost for good meanwhile: then it waits in vain, and rests. Always: who is Due stands in the line;
//! who stands there and is not Due any more is passed over. Nobody in these states has a process or a timer.

use super::Machine;
use super::action::{Action, Actions};
use super::instance::State;
use super::timers::Key;
use crate::model::{InstanceId, WorkerId};

/// Starts under way at once, at most: a thousand workers must not keep a stop waiting.
pub(super) const STARTS_AT_ONCE: usize = 64;

impl Machine {
    /// A waiting instance is due when every worker it is `after` has begun and every one it requires is ready.
    pub(super) fn start_if_its_turn(&mut self, id: InstanceId) {
        if !matches!(self.instances[id.index()].state, State::Waiting) {
            return;
        }
        let worker = self.worker_of(id).map(|worker| self.plan.worker(worker));
        let begun = |worker: &WorkerId| self.workers[worker.index()].unbegun == 0;
        let ready = |worker: &WorkerId| self.is_ready(*worker);
        if worker.is_none_or(|worker| worker.after.iter().all(begun) && worker.requires.iter().all(ready)) {
            self.make_due(id);
        }
    }

    /// Due when all it waits for is there; else it waits on. What it requires may have been given up meanwhile.
    pub(super) fn due_or_waiting(&mut self, id: InstanceId, out: &mut Actions) {
        self.instances[id.index()].state = State::Waiting;
        if let Some(worker) = self.waits_in_vain(id) {
            let why = self.required(worker);
            return self.rest_unstarted(id, why, out);
        }
        self.start_if_its_turn(id);
    }

    /// What it requires and will never be ready again.
    pub(super) fn waits_in_vain(&self, id: InstanceId) -> Option<WorkerId> {
        let lost = |worker: &WorkerId| !self.is_ready(*worker) && self.rests(*worker);
        self.plan.worker(self.worker_of(id)?).requires.iter().copied().find(lost)
    }

    /// It ran, or never will: those that are after its worker may start.
    pub(super) fn has_begun(&mut self, id: InstanceId) {
        let Some(worker) = self.worker_of(id) else { return };
        if std::mem::replace(&mut self.instances[id.index()].begun, true) {
            return;
        }
        let crew = &mut self.workers[worker.index()];
        crew.unbegun -= 1;
        if crew.unbegun > 0 || !self.has_order {
            return;
        }
        let waiting: Vec<InstanceId> = self
            .instance_ids()
            .filter(|&id| matches!(self.instances[id.index()].state, State::Waiting))
            .filter(|&id| self.worker_of(id).is_some_and(|other| self.plan.worker(other).after.contains(&worker)))
            .collect();
        waiting.into_iter().for_each(|id| self.start_if_its_turn(id));
    }

    /// A replica of this worker became ready: who waited for it may start, but when others were ready before.
    pub(super) fn wake_waiting(&mut self, worker: WorkerId) {
        let ready = self.replicas(worker).filter(|instance| instance.serves()).take(2).count();
        if !self.has_order || ready > 1 || !self.is_ready(worker) {
            return;
        }
        for id in self.instance_ids() {
            self.start_if_its_turn(id);
        }
    }

    fn make_due(&mut self, id: InstanceId) {
        self.instances[id.index()].state = State::Due;
        self.due.push_back(id);
    }

    pub(super) fn start_due(&mut self, out: &mut Actions) {
        while self.starting < STARTS_AT_ONCE
            && let Some(id) = self.due.pop_front()
        {
            if matches!(self.instances[id.index()].state, State::Due) {
                let proc = self.next_proc(id);
                self.instances[id.index()].state = State::Starting { proc };
                self.starting += 1;
                if let Some(timeout) = self.worker_of(id).and_then(|worker| self.plan.worker(worker).start_timeout) {
                    self.timers.set(Key::Start(id), self.now + timeout);
                }
                out.push(Action::Spawn { proc, instance: id });
            }
        }
    }
}
