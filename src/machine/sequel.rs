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
use super::action::{Action, Actions, LastFailure, Note, StopCause};
use super::instance::{Charge, Instance, Past, Purpose, Remains, State};
use super::queue::backoff_delay;
use super::report::{Fate, Unstarted};
use super::restart::{GOOD_RUN, LEAST_PAUSE, Prospect, prospect};
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::{Backoff, Kind, OnGiveUp, Restart, StartLimit};
use crate::model::{ExitStatus, InstanceId, SignalSet, SpawnError, WorkerId};
use std::time::Duration;

/// A source that meets a limit of its own so often has failed. Only the number counts.
const LIMIT_OF_SOURCES: StartLimit = StartLimit { burst: 5, interval: Duration::ZERO };
/// A source's start is tried again like this when the machine is short of something.
const SOURCE_BACKOFF: Backoff =
    Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 };

impl Machine {
    /// A worker's incarnation is gone, its items are given back.
    pub(super) fn follow(
        &mut self,
        id: InstanceId,
        worker: WorkerId,
        remains: &Remains,
        past: Past,
        out: &mut Actions,
    ) {
        let (status, fate) = (remains.status, remains.fate(past.ready, self.now));
        self.instances[id.index()].last_fate = Some(fate.clone());
        if !self.may_start(id) {
            return self.rest(id, fate, out);
        }
        let well = past.ready && self.plan.worker(worker).program.is_success(status);
        match remains.climb.as_ref().map(|climb| climb.purpose) {
            Some(Purpose::Rest | Purpose::Lost(_)) => self.rest(id, fate, out),
            Some(Purpose::TimedOut(_)) if past.charge == Charge::Unread => self.did_not_read(id, worker, fate, out),
            Some(Purpose::Renew | Purpose::TimedOut(_) | Purpose::Await(_)) => {
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
            None if !self.wants_restart(worker, well) => {
                self.workers[worker.index()].failed |= !well;
                self.rest(id, fate, out);
            }
            None if well && past.left_nothing => self.start_after_a_good_end(id, worker, past, out),
            Some(Purpose::Garbled | Purpose::Unwell) | None if past.charge != Charge::ItemAgain => {
                let last = match remains.climb.is_none() && well && past.charge == Charge::Nothing {
                    true => LastFailure::LeftProcesses(status),
                    false => last_failure(&fate),
                };
                self.failed_again(id, worker, fate, last, out);
            }
            Some(Purpose::Garbled | Purpose::Unwell) | None => self.start_later(id, false, out),
        }
    }

    /// It had all the time that an item may take and did not begin to read the one that it was given.
    fn did_not_read(&mut self, id: InstanceId, worker: WorkerId, fate: Fate, out: &mut Actions) {
        let limit = self.plan.worker(worker).start_limit;
        if !self.tries_again(worker) {
            self.workers[worker.index()].failed = true;
            return self.rest(id, fate, out);
        }
        let crew = &mut self.workers[worker.index()];
        if crew.unread.count(limit, self.now) {
            let times = crew.unread.length();
            out.push(Action::Note(Note::NeverReads { worker, times }));
            self.give_up(worker, id, out);
        } else {
            self.start_later(id, false, out);
        }
    }

    /// It ended well by itself and is wanted again: no failure, so that no delay grows by it.
    fn start_after_a_good_end(&mut self, id: InstanceId, worker: WorkerId, past: Past, out: &mut Actions) {
        if past.ran >= GOOD_RUN || past.proven {
            self.instances[id.index()].delays.reset();
            return self.start_later(id, false, out);
        }
        let chance = self.random.f64();
        let first = backoff_delay(&self.plan.worker(worker).restart_delay, 1, chance);
        self.start_after(id, first.max(LEAST_PAUSE), false, out);
        if self.is_running() && matches!(self.instances[id.index()].state, State::Delayed) {
            if self.suspects.is_empty() {
                out.push(Action::CountOrphans);
            }
            self.suspects.push(id);
        }
    }

    /// Exeunt has adopted so many orphans. A program that ends well at once may have put itself into the background: where there
    /// are more than before, that end counts as a failure, or there would soon be a thousand daemons.
    pub(super) fn orphans_are_counted(&mut self, count: u32, out: &mut Actions) {
        let before = std::mem::replace(&mut self.orphans, count);
        let suspects = std::mem::take(&mut self.suspects);
        let waits = |id: &InstanceId| matches!(self.instances[id.index()].state, State::Delayed);
        let Some(id) = suspects.into_iter().find(waits).filter(|_| count > before && self.is_running()) else {
            return;
        };
        let last = self.instances[id.index()].last_status.map(LastFailure::LeftProcesses);
        let (Some(worker), Some(last)) = (self.worker_of(id), last) else { return };
        let limit = self.plan.worker(worker).start_limit;
        if self.workers[worker.index()].failures.count(limit, self.now) {
            self.timers.cancel(Key::Slot(id));
            self.note_give_up(id, worker, last, out);
            self.give_up(worker, id, out);
        }
    }

    /// A start that we ended before it had run.
    pub(super) fn start_was_aborted(&mut self, id: InstanceId, purpose: Purpose, out: &mut Actions) {
        match (purpose, self.worker_of(id)) {
            (Purpose::Unwell, Some(worker)) if self.may_start(id) => {
                self.instances[id.index()].failed_starts += 1;
                // An earlier incarnation may have run: then its end is how the instance left.
                let earlier = self.instances[id.index()].last_fate.clone();
                let fate = earlier.unwrap_or(Fate::NeverStarted { why: Unstarted::StartTimeout });
                self.failed_again(id, worker, fate, LastFailure::NotInTime, out)
            }
            (Purpose::Await(_), Some(_)) if self.may_start(id) => self.due_or_waiting(id, out),
            (Purpose::Lost(worker), Some(_)) => {
                let why = self.required(worker);
                self.rest_unstarted(id, why, out);
            }
            (
                Purpose::Renew
                | Purpose::TimedOut(_)
                | Purpose::Garbled
                | Purpose::Unwell
                | Purpose::Await(_)
                | Purpose::Lost(_)
                | Purpose::Rest,
                _,
            ) => self.rest_unstarted(id, Unstarted::Stop, out),
        }
    }

    pub(super) fn start_failed(&mut self, id: InstanceId, error: SpawnError, out: &mut Actions) {
        if !self.may_start(id) {
            return self.rest_as_it_was(id, Unstarted::Stop, out);
        }
        let prospect = prospect(error, &self.plan.program(id).identity);
        let waits = matches!(prospect, Prospect::Shortage | Prospect::OwnLimit(_));
        let is_init = self.plan.init.is_some();
        let instance = &mut self.instances[id.index()];
        instance.failed_starts += 1;
        // A shortage is said once, however often it is met until it is over.
        let again = instance.last_error.replace(error) == Some(error) && waits;
        if !is_init {
            // The next incarnation is another process: what was meant for this one is not for it.
            instance.kept = SignalSet::EMPTY;
        }
        // An init that gives up says so once.
        if !is_init || waits {
            let own_limit = if let Prospect::OwnLimit(resource) = prospect { Some(resource) } else { None };
            out.push(Action::Note(Note::SpawnFailed { instance: id, error, again, own_limit }));
        }
        let Some(worker) = self.worker_of(id) else {
            return self.source_start_failed(id, prospect, again, out);
        };
        let (limit, restart) = (self.plan.worker(worker).start_limit, self.plan.worker(worker).restart);
        let crew = &mut self.workers[worker.index()];
        let in_vain = prospect == Prospect::Hopeless && !crew.ever_ran;
        // Who is never started again is not tried again either. A shortage is not the program's: that is waited out.
        if in_vain || restart == Restart::Never && !waits {
            out.push(Action::Note(Note::CannotStart { worker, error }));
            self.give_up(worker, id, out);
        } else if !waits && crew.failures.count(limit, self.now) {
            self.note_give_up(id, worker, LastFailure::NotStarted(error), out);
            self.give_up(worker, id, out);
        } else if let Prospect::OwnLimit(resource) = prospect
            && crew.own_limit.count_own_limit(limit, self.now)
        {
            let times = crew.own_limit.length();
            out.push(Action::Note(Note::LimitedToDeath { worker, resource, times }));
            self.give_up(worker, id, out);
        } else {
            self.start_later(id, again, out);
        }
    }

    fn source_start_failed(&mut self, id: InstanceId, prospect: Prospect, again: bool, out: &mut Actions) {
        let too_often = match prospect {
            Prospect::Shortage => false,
            Prospect::OwnLimit(_) => {
                self.instances[id.index()].own_limit.count_own_limit(Some(LIMIT_OF_SOURCES), self.now)
            }
            Prospect::Hopeless | Prospect::Doubtful => true,
        };
        if too_often { self.source_cannot_start(id, out) } else { self.start_later(id, again, out) }
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
    fn failed_again(&mut self, id: InstanceId, worker: WorkerId, fate: Fate, last: LastFailure, out: &mut Actions) {
        let limit = self.plan.worker(worker).start_limit;
        if !self.tries_again(worker) {
            self.workers[worker.index()].failed = true;
            self.rest(id, fate, out);
        } else if self.workers[worker.index()].failures.count(limit, self.now) {
            self.note_give_up(id, worker, last, out);
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

    fn note_give_up(&mut self, id: InstanceId, worker: WorkerId, last: LastFailure, out: &mut Actions) {
        if let Some(StartLimit { burst, interval }) = self.plan.worker(worker).start_limit {
            out.push(Action::Note(Note::GaveUp { worker, burst, interval, instance: id, last }));
        }
    }

    /// The next start, after its delay. `again`: for a reason that was said before.
    fn start_later(&mut self, id: InstanceId, again: bool, out: &mut Actions) {
        let backoff = self.worker_of(id).map_or(SOURCE_BACKOFF, |worker| self.plan.worker(worker).restart_delay);
        let chance = self.random.f64();
        let after = self.instances[id.index()].delays.next(&backoff, chance);
        self.start_after(id, after, again, out);
    }

    fn start_after(&mut self, id: InstanceId, after: Duration, again: bool, out: &mut Actions) {
        // A back-off at whose end nothing is started would only keep a stop waiting.
        if !self.may_start(id) || self.waits_in_vain(id).is_some() {
            return self.rest_as_it_was(id, self.why_unstarted(id), out);
        }
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

    fn wants_restart(&self, worker: WorkerId, well: bool) -> bool {
        match self.plan.worker(worker).restart {
            Restart::Always => true,
            Restart::OnFailure => !well,
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
        self.rested.push(id);
        if let Some(worker) = self.worker_of(id) {
            self.check_dependents(worker, out);
        }
        self.look_at_the_rested(out);
        self.renew_who_waits(id, out);
    }

    /// At rest, and how it left is told by its last incarnation, if there was one; else `why` there was none.
    pub(super) fn rest_as_it_was(&mut self, id: InstanceId, why: Unstarted, out: &mut Actions) {
        let fate = self.instances[id.index()].last_fate.clone();
        self.rest(id, fate.unwrap_or(Fate::NeverStarted { why }), out);
    }

    /// At rest without a process; a command source then gives nothing more either.
    pub(super) fn rest_unstarted(&mut self, id: InstanceId, why: Unstarted, out: &mut Actions) {
        self.timers.cancel(Key::Slot(id));
        if let Some(source) = self.source_of(id) {
            let feeding = &mut self.feeds[source.index()];
            (feeding.ended, feeding.process_gone) = (true, true);
        }
        self.rest_as_it_was(id, why, out);
    }

    /// Why an instance that is not to be started any more never was.
    fn why_unstarted(&self, id: InstanceId) -> Unstarted {
        let required = self.waits_in_vain(id).filter(|_| self.is_running());
        required.map_or(Unstarted::Stop, |worker| self.required(worker))
    }

    /// Lost for good is what it requires.
    pub(super) fn required(&self, worker: WorkerId) -> Unstarted {
        Unstarted::Requires { worker, failed: self.has_failed(worker) }
    }

    /// The worker was given up, ended badly, could not be removed, or could not be started.
    fn has_failed(&self, worker: WorkerId) -> bool {
        let crew = &self.workers[worker.index()];
        let lost = |instance: &Instance| match &instance.state {
            State::Resting(Fate::Unkillable | Fate::GivenUp) => true,
            State::Resting(_)
            | State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Up(_)
            | State::Leaving(..)
            | State::Remains(..) => instance.could_not_run(),
        };
        crew.gave_up || crew.failed || self.replicas(worker).any(lost)
    }

    /// Once all that require one of those at rest were looked at: that is why they are not started, and not the stop which may
    /// begin here.
    pub(super) fn look_at_the_rested(&mut self, out: &mut Actions) {
        while self.fallen.is_empty()
            && let Some(id) = self.rested.pop()
        {
            self.look_for_consumers(id, out);
        }
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

fn last_failure(fate: &Fate) -> LastFailure {
    match fate {
        Fate::Ended { status, .. } => LastFailure::Exited(*status),
        Fate::Left { status, why, .. } => LastFailure::Stopped { status: *status, why: *why },
        Fate::NeverStarted { .. } | Fate::KilledWhileStarting { .. } | Fate::GivenUp | Fate::Unkillable => {
            LastFailure::NotInTime
        }
    }
}
