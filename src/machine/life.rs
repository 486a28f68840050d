//! Start, death and restart of one instance.

use super::Machine;
use super::action::{Action, Actions, LadderStep, Note, StopCause};
use super::instance::{Climb, Life, Purpose, Remains, State, Survivors, Work};
use super::ladder::UNKILLABLE_AFTER;
use super::report::Fate;
use super::restart::{Prospect, prospect};
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::{Backoff, KillMode, Kind, OnGiveUp, Restart, Role};
use crate::model::process::Usage;
use crate::model::{ExitStatus, InstanceId, ProcId, SignalSet, SpawnError, Time, WorkerId};
use std::time::Duration;

/// Starts under way at once, at most: a thousand workers must not keep a stop waiting.
pub(super) const STARTS_AT_ONCE: usize = 64;

/// A source's start is tried again like this when the machine is short of something.
const SOURCE_BACKOFF: Backoff =
    Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 };

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

    pub(super) fn spawned(&mut self, proc: ProcId, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        match &self.instances[id.index()].state {
            State::Starting { .. } => {}
            // It was killed in the moment in which its exec succeeded.
            State::Aborting { .. } => return,
            State::Up(_) | State::Leaving(..) | State::Remains(..) => {
                return self.bug(format!("{proc} was reported to run twice"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => return,
        }
        self.starting -= 1;
        self.instances[id.index()].last_error = None;
        let work = self.plan.consumer(id).map(|consumer| Work::new(consumer.prefetch));
        self.instances[id.index()].state = State::Up(Life { proc, since: self.now, ready: false, refusals: 0, work });
        if let Some(worker) = self.worker_of(id) {
            self.workers[worker.index()].ever_ran = true;
        }
        out.push(Action::Note(Note::Started { instance: id, proc }));
        self.forward_kept(id, out);
        self.await_readiness(id, out);
    }

    pub(super) fn spawn_failed(&mut self, proc: ProcId, error: SpawnError, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        match &self.instances[id.index()].state {
            State::Starting { .. } => {
                self.starting -= 1;
                self.stop_watching(id);
                self.start_failed(id, error, out);
            }
            State::Aborting { purpose, .. } => {
                let purpose = *purpose;
                self.timers.cancel(Key::Slot(id));
                self.start_was_aborted(id, purpose, out);
            }
            State::Up(_) | State::Leaving(..) | State::Remains(..) => {
                self.bug(format!("{proc} failed to start and ran"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => {}
        }
    }

    /// A start that we ended before it had run.
    fn start_was_aborted(&mut self, id: InstanceId, purpose: Purpose, out: &mut Actions) {
        match (purpose, self.worker_of(id)) {
            (Purpose::Unwell, Some(worker)) if self.may_start(id) => {
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

    fn start_failed(&mut self, id: InstanceId, error: SpawnError, out: &mut Actions) {
        if !self.may_start(id) {
            return self.rest_as_it_was(id, out);
        }
        let prospect = prospect(error);
        let is_init = self.plan.init.is_some();
        let instance = &mut self.instances[id.index()];
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
        instance.restarts += 1;
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

    pub(super) fn exited(&mut self, proc: ProcId, status: ExitStatus, in_hand: bool, usage: Usage, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        self.timers.cancel(Key::Slot(id));
        self.stop_watching(id);
        let instance = &mut self.instances[id.index()];
        instance.last_status = Some(status);
        instance.kept = SignalSet::EMPTY;
        let state = std::mem::replace(&mut instance.state, State::Waiting);
        let remains = |climb| Remains { status, usage, died: self.now, in_hand, climb, survivors: Survivors::Unknown };
        let unheard = |proc| Life { proc, since: self.now, ready: false, refusals: 0, work: None };
        let next = match state {
            State::Up(life) => State::Remains(life, remains(None)),
            State::Leaving(life, climb) => State::Remains(life, remains(Some(climb))),
            // Its exec was never reported, so it was killed before, or its report was not read yet: both have no items.
            State::Aborting { proc, purpose } => {
                State::Remains(unheard(proc), remains(Some(Climb::aborted(self.now, purpose))))
            }
            State::Starting { proc } => {
                self.starting -= 1;
                State::Remains(unheard(proc), remains(None))
            }
            other @ (State::Remains(..) | State::Waiting | State::Due | State::Delayed | State::Resting(_)) => other,
        };
        self.instances[id.index()].state = next;
        if let Some(worker) = self.worker_of(id) {
            self.check_dependents(worker, out);
        }
    }

    pub(super) fn members_left(&mut self, proc: ProcId, count: u32, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let kill_mode = self.plan.program(id).kill_mode;
        match &self.instances[id.index()].state {
            State::Remains(..) if kill_mode == KillMode::Process => {
                out.push(Action::Forget { proc });
                self.members_gone(proc, out);
            }
            // Each of them, or who adopts it, is our child by the time that it is the last: its death will be told.
            State::Remains(_, remains) if remains.climb.is_none() && self.waits_for_all() => {}
            State::Remains(..) => self.tell_survivors(id, count, out),
            State::Starting { .. } | State::Aborting { .. } | State::Up(_) | State::Leaving(..) => {
                self.bug(format!("members of {proc} were counted before its leader died"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => {}
        }
    }

    pub(super) fn members_gone(&mut self, proc: ProcId, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let instance = &mut self.instances[id.index()];
        let (life, remains) = match std::mem::replace(&mut instance.state, State::Waiting) {
            State::Remains(life, remains) => (life, remains),
            other @ (State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Up(_)
            | State::Leaving(..)
            | State::Resting(_)) => {
                instance.state = other;
                return self.bug(format!("{proc} was told empty before its leader died"), out);
            }
        };
        self.timers.cancel(Key::Slot(id));
        self.note_departure(id, &life, &remains, out);
        self.depart(id, life, remains, out);
    }

    fn note_departure(&mut self, id: InstanceId, life: &Life, remains: &Remains, out: &mut Actions) {
        let (status, usage) = (remains.status, remains.usage);
        out.push(Action::Note(match &remains.climb {
            Some(climb) => Note::Left { instance: id, status, took: self.now.since(climb.began) },
            None => Note::Died { instance: id, status, ran: remains.died.since(life.since), usage },
        }));
    }

    /// The incarnation is gone entirely: its items go back, and what comes next is decided.
    fn depart(&mut self, id: InstanceId, life: Life, remains: Remains, out: &mut Actions) {
        // While its items are given back the slot is nobody's; it is due, delayed or at rest before this event is over.
        self.instances[id.index()].state = State::Waiting;
        let ran = remains.died.since(life.since);
        self.leave_the_line(id, &life);
        let (items, proven) =
            life.work.map_or((Default::default(), false), |mut work| (work.leases.drain(), work.proven));
        let counts = self.give_back(id, items, &remains, out);
        let fate = fate_of(&remains, self.now);
        match self.plan.role(id) {
            Role::Source(source) => {
                let asked = remains.climb.is_some();
                self.rest(id, fate, out);
                self.source_process_gone(source, remains.status, asked, out);
            }
            Role::Worker { worker, .. } => {
                let purpose = remains.climb.as_ref().map(|climb| climb.purpose);
                if proven || ran >= self.plan.worker(worker).restart_reset_after {
                    self.instances[id.index()].delays.reset();
                }
                self.after_worker(id, worker, purpose, remains.status, counts, fate, out);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one death, used here once")]
    fn after_worker(
        &mut self,
        id: InstanceId,
        worker: WorkerId,
        purpose: Option<Purpose>,
        status: ExitStatus,
        counts: bool,
        fate: Fate,
        out: &mut Actions,
    ) {
        if !self.may_start(id) {
            return self.rest(id, fate, out);
        }
        match purpose {
            Some(Purpose::Rest) => self.rest(id, fate, out),
            Some(Purpose::Renew | Purpose::TimedOut(_) | Purpose::Await) => {
                self.instances[id.index()].restarts += 1;
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

    fn note_give_up(&mut self, worker: WorkerId, out: &mut Actions) {
        if let Some(limit) = self.plan.worker(worker).start_limit {
            out.push(Action::Note(Note::GaveUp { worker, burst: limit.burst, interval: limit.interval }));
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

    pub(super) fn slot_is_due(&mut self, id: InstanceId, out: &mut Actions) {
        match &self.instances[id.index()].state {
            State::Delayed => self.due_or_waiting(id, out),
            State::Leaving(..) => self.climb(id, out),
            State::Aborting { .. } => self.is_unkillable(id, out),
            State::Remains(..) => self.survivors_are_due(id, out),
            State::Waiting | State::Due | State::Starting { .. } | State::Up(_) | State::Resting(_) => {
                self.bug(format!("instance {} had a timer and nothing to wait for", id.0), out);
            }
        }
    }

    /// Kills a child that has run no user code yet.
    pub(super) fn abort_start(&mut self, id: InstanceId, proc: ProcId, purpose: Purpose, out: &mut Actions) {
        self.starting -= 1;
        self.stop_watching(id);
        let instance = &mut self.instances[id.index()];
        // What was meant for this one is not for the next.
        instance.kept = SignalSet::EMPTY;
        instance.state = State::Aborting { proc, purpose };
        self.timers.set(Key::Slot(id), self.now + UNKILLABLE_AFTER);
        let kill = crate::model::Signal::KILL;
        out.push(Action::Kill { proc, signal: kill, target: crate::model::Target::Unborn });
    }
}

impl Climb {
    /// The stop of a start.
    fn aborted(now: Time, purpose: Purpose) -> Climb {
        let reason = crate::model::StopReason::Shutdown;
        Climb { began: now, reason, purpose, rung: Some(LadderStep::Kill), next: usize::MAX }
    }
}

fn fate_of(remains: &Remains, now: Time) -> Fate {
    let status = remains.status;
    match &remains.climb {
        None => Fate::Ended { status },
        Some(climb) => {
            let rung = climb.rung.unwrap_or(LadderStep::Event);
            Fate::Left { status, rung, took: now.since(climb.began) }
        }
    }
}
