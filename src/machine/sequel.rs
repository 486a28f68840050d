//! What follows an incarnation, and a start that came to nothing: another start, or rest.
//!
//! ```text
//!  left because we asked, wanted again ────▶ Waiting or Due, at once
//!  ended by itself, tried again ───────────▶ Delayed ──the back-off is over──▶ Waiting or Due
//!  failed too often, or beyond hope ───────▶ Resting, with all replicas that have no process: the worker is given up
//!  done, or not wanted any more ───────────▶ Resting
//! ```
//!
//! Resting is for good. Always: nothing is started of a worker that was given up, nor in a stop, but for the workers of a queue
//! that is worked off; a back-off begins only where a start may follow. A queue is not left without anybody who ever works on it:
//! when the last of its workers rests, the run stops. Only Delayed has a timer, `Key::Slot`.

use super::Machine;
use super::action::{Action, Actions, Note, StopCause};
use super::instance::{Purpose, Remains, State};
use super::report::Fate;
use super::restart::{Prospect, prospect};
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::{Backoff, Kind, OnGiveUp, Restart};
use crate::model::{ExitStatus, InstanceId, SignalSet, SpawnError, WorkerId};
use std::time::Duration;

/// A source's start is tried again like this when the machine is short of something.
const SOURCE_BACKOFF: Backoff =
    Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 };

impl Machine {
    /// A worker's incarnation is gone, its items are given back. `counts`: as a failure, if it was one.
    pub(super) fn follow(
        &mut self,
        id: InstanceId,
        worker: WorkerId,
        remains: &Remains,
        counts: bool,
        out: &mut Actions,
    ) {
        let (status, fate) = (remains.status, remains.fate(self.now));
        if !self.may_start(id) {
            return self.rest(id, fate, out);
        }
        match remains.climb.as_ref().map(|climb| climb.purpose) {
            Some(Purpose::Rest) => self.rest(id, fate, out),
            Some(Purpose::Renew | Purpose::TimedOut(_) | Purpose::Await) => {
                self.due_or_waiting(id, out);
            }
            None if self.is_completed(worker, status) => {
                self.instances[id.index()].completed = true;
                self.rest(id, fate, out);
                self.wake_waiting(worker);
            }
            Some(Purpose::Unwell | Purpose::Garbled) if !self.tries_again(worker) => {
                self.workers[worker.index()].failed = true;
                self.rest(id, fate, out);
            }
            None if !self.wants_restart(worker, status) => {
                self.workers[worker.index()].failed |= !self.plan.worker(worker).program.is_success(status);
                self.rest(id, fate, out);
            }
            Some(Purpose::Garbled | Purpose::Unwell) | None if counts => self.failed_again(id, worker, fate, out),
            Some(Purpose::Garbled | Purpose::Unwell) | None => self.start_later(id, false, out),
        }
    }

    /// A start that we ended before it had run.
    pub(super) fn start_was_aborted(&mut self, id: InstanceId, purpose: Purpose, out: &mut Actions) {
        match (purpose, self.worker_of(id)) {
            (Purpose::Unwell, Some(worker)) if self.may_start(id) => {
                self.instances[id.index()].failed_starts += 1;
                self.failed_again(id, worker, Fate::NeverStarted, out)
            }
            (Purpose::Await, Some(_)) if self.may_start(id) => self.due_or_waiting(id, out),
            (
                Purpose::Renew
                | Purpose::TimedOut(_)
                | Purpose::Garbled
                | Purpose::Unwell
                | Purpose::Await
                | Purpose::Rest,
                _,
            ) => self.rest_unstarted(id, out),
        }
    }

    pub(super) fn start_failed(&mut self, id: InstanceId, error: SpawnError, out: &mut Actions) {
        if !self.may_start(id) {
            return self.rest_as_it_was(id, out);
        }
        let prospect = prospect(error);
        let is_init = self.plan.init.is_some();
        let instance = &mut self.instances[id.index()];
        instance.failed_starts += 1;
        // A shortage is said once, however often it is met until it is over.
        let again = instance.last_error.replace(error) == Some(error) && prospect == Prospect::Shortage;
        if !is_init {
            // The next incarnation is another process: what was meant for this one is not for it.
            instance.kept = SignalSet::EMPTY;
        }
        // An init that gives up says so once.
        if !is_init || prospect == Prospect::Shortage {
            out.push(Action::Note(Note::SpawnFailed { instance: id, error, again }));
        }
        let Some(worker) = self.worker_of(id) else {
            return if prospect == Prospect::Shortage {
                self.start_later(id, again, out)
            } else {
                self.source_cannot_start(id, out)
            };
        };
        let (limit, restart) = (self.plan.worker(worker).start_limit, self.plan.worker(worker).restart);
        let crew = &mut self.workers[worker.index()];
        let in_vain = prospect == Prospect::Hopeless && !crew.ever_ran;
        // Who is never started again is not tried again either. A shortage is not the program's: that is waited out.
        if in_vain || restart == Restart::Never && prospect != Prospect::Shortage {
            out.push(Action::Note(Note::CannotStart { worker, error }));
            self.give_up(worker, id, out);
        } else if prospect != Prospect::Shortage && crew.failures.count(limit, self.now) {
            self.note_give_up(worker, out);
            self.give_up(worker, id, out);
        } else {
            self.start_later(id, again, out);
        }
    }

    fn source_cannot_start(&mut self, id: InstanceId, out: &mut Actions) {
        if let Some(source) = self.source_of(id) {
            let feeding = &mut self.feeds[source.index()];
            (feeding.failed, feeding.ended, feeding.process_gone) = (true, true, true);
            out.push(Action::Note(Note::SourceFailed { source, errno: None, status: None }));
        }
        self.rest(id, Fate::GivenUp, out);
    }

    /// One more failure that counts against the start limit.
    fn failed_again(&mut self, id: InstanceId, worker: WorkerId, fate: Fate, out: &mut Actions) {
        let limit = self.plan.worker(worker).start_limit;
        if !self.tries_again(worker) {
            self.workers[worker.index()].failed = true;
            self.rest(id, fate, out);
        } else if self.workers[worker.index()].failures.count(limit, self.now) {
            self.note_give_up(worker, out);
            self.give_up(worker, id, out);
        } else {
            self.start_later(id, false, out);
        }
    }

    /// The worker is given up: no replica of it is started again. Those that run go on.
    fn give_up(&mut self, worker: WorkerId, id: InstanceId, out: &mut Actions) {
        self.workers[worker.index()].gave_up = true;
        self.rest(id, Fate::GivenUp, out);
        let replicas = self.workers[worker.index()].replicas.clone();
        for &other in replicas.iter() {
            if matches!(self.instances[other.index()].state, State::Waiting | State::Due | State::Delayed) {
                self.timers.cancel(Key::Slot(other));
                self.rest(other, Fate::GivenUp, out);
            }
        }
        match self.plan.worker(worker).on_give_up {
            OnGiveUp::Shutdown => self.begin_stop(StopCause::GaveUp(worker), out),
            OnGiveUp::Ignore => {}
        }
    }

    fn note_give_up(&mut self, worker: WorkerId, out: &mut Actions) {
        if let Some(limit) = self.plan.worker(worker).start_limit {
            out.push(Action::Note(Note::GaveUp { worker, burst: limit.burst, interval: limit.interval }));
        }
    }

    /// The next start, after its delay. `again`: for a reason that was said before.
    fn start_later(&mut self, id: InstanceId, again: bool, out: &mut Actions) {
        // A back-off at whose end nothing is started would only keep a stop waiting.
        if !self.may_start(id) || self.waits_in_vain(id) {
            return self.rest_as_it_was(id, out);
        }
        let backoff = self.worker_of(id).map_or(SOURCE_BACKOFF, |worker| self.plan.worker(worker).restart_delay);
        let chance = self.random.f64();
        let instance = &mut self.instances[id.index()];
        let after = instance.delays.next(&backoff, chance);
        out.push(Action::Note(Note::Restarting { instance: id, after, again }));
        if after.is_zero() {
            self.due_or_waiting(id, out);
        } else {
            self.instances[id.index()].state = State::Delayed;
            self.timers.set(Key::Slot(id), self.now + after);
        }
    }

    /// Whether a new incarnation is wanted at all: not of a worker that was given up, and not in a stop, but for the workers of
    /// a queue that is worked off.
    fn may_start(&self, id: InstanceId) -> bool {
        if self.worker_of(id).is_some_and(|worker| self.workers[worker.index()].gave_up) {
            return false;
        }
        match &self.phase {
            Phase::Running => true,
            Phase::Stopping(stop) => stop.drains(self, id),
            Phase::Sweeping(_) | Phase::Over => false,
        }
    }

    /// A oneshot that did what it is for.
    fn is_completed(&self, worker: WorkerId, status: ExitStatus) -> bool {
        let worker = self.plan.worker(worker);
        worker.kind == Kind::Oneshot && worker.program.is_success(status)
    }

    fn wants_restart(&self, worker: WorkerId, status: ExitStatus) -> bool {
        match self.plan.worker(worker).restart {
            Restart::Always => true,
            Restart::OnFailure => !self.plan.worker(worker).program.is_success(status),
            Restart::Never => false,
        }
    }

    /// Whether a worker that was found unwell is started again.
    fn tries_again(&self, worker: WorkerId) -> bool {
        self.plan.worker(worker).restart != Restart::Never
    }

    /// The instance is at rest for good.
    pub(super) fn rest(&mut self, id: InstanceId, fate: Fate, out: &mut Actions) {
        let before = std::mem::replace(&mut self.instances[id.index()].state, State::Resting(fate));
        if let (false, Some(worker)) = (matches!(before, State::Resting(_)), self.worker_of(id)) {
            self.workers[worker.index()].awake -= 1;
        }
        self.stop_watching(id);
        self.has_begun(id);
        self.progressed = true;
        self.look_for_consumers(id, out);
        if let Some(worker) = self.worker_of(id) {
            self.check_dependents(worker, out);
        }
    }

    /// At rest, and how it left is told by its last death, if there was one.
    pub(super) fn rest_as_it_was(&mut self, id: InstanceId, out: &mut Actions) {
        let status = self.instances[id.index()].last_status;
        self.rest(id, status.map_or(Fate::NeverStarted, |status| Fate::Ended { status }), out);
    }

    /// At rest without a process; a command source then gives nothing more either.
    pub(super) fn rest_unstarted(&mut self, id: InstanceId, out: &mut Actions) {
        self.timers.cancel(Key::Slot(id));
        if let Some(source) = self.source_of(id) {
            let feeding = &mut self.feeds[source.index()];
            (feeding.ended, feeding.process_gone) = (true, true);
        }
        self.rest_as_it_was(id, out);
    }

    /// A queue whose workers are all at rest for good will never be worked off: the run stops instead of waiting for ever.
    fn look_for_consumers(&mut self, id: InstanceId, out: &mut Actions) {
        let Some(queue) = self.plan.consumer(id).map(|consumer| consumer.queue) else { return };
        // A give-up that stops the run is on its way to do so, and is the better word for it.
        let stops = |worker: WorkerId| self.plan.worker(worker).on_give_up == OnGiveUp::Shutdown;
        let gave_up = self.worker_of(id).is_some_and(|worker| self.workers[worker.index()].gave_up && stops(worker));
        if !self.is_deserted(queue) {
            return;
        }
        match self.phase {
            Phase::Running if gave_up => {}
            Phase::Running => self.begin_stop(StopCause::Deserted(queue), out),
            Phase::Stopping(_) => self.close_queue(queue, out),
            Phase::Sweeping(_) | Phase::Over => {}
        }
    }
}
