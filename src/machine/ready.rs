//! When a worker is ready, whether it is well, and what becomes of those that require it.
//!
//! ```text
//!  Up, not ready ──told, asked, waited, or nothing to wait for──▶ Up, ready ──▶ (health, watchdog) ──▶ Leaving
//! ```
//!
//! A worker is *ready* while at least one replica is, and from the start only when all have been; a oneshot is when it ended
//! well. Those `after` it start once it has begun, whatever comes later. Those that *require* it run only while it is ready:
//! when it falls they are stopped, and started when it is ready again; when it rests for good, so do they.
//! Only an instance that is ready is given items. Always: `Key::Start` runs from the start until ready, `Key::Probe`
//! while something is to be asked or waited for, `Key::Watch` only while ready.

use super::Machine;
use super::action::{Action, Actions, Note};
use super::event::Question;
use super::instance::{Instance, Purpose, State};
use super::report::Unstarted;
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::{Kind, Ready};
use crate::model::{InstanceId, Notice, ProbeAnswer, ProcId, StopReason, WorkerId};
use std::time::Duration;

/// Between two questions whether a worker is ready.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// So long after the last word of it a notification socket counts as one that gets more than is read.
const CROWDED: Duration = Duration::from_secs(1);
/// A watchdog that is due while its socket does is put off by so much …
const REPRIEVE: Duration = Duration::from_millis(250);
/// … at most so often in a row.
const REPRIEVES: u32 = 20;
/// Within this time whether it is ready must be answered.
const READY_ANSWER: Duration = Duration::from_secs(5);

impl Machine {
    /// Exec was reported: what is there to wait for?
    pub(super) fn await_readiness(&mut self, id: InstanceId, out: &mut Actions) {
        let plan = self.plan.clone();
        let Some(worker) = self.worker_of(id).map(|worker| plan.worker(worker)) else {
            return self.became_ready(id, out);
        };
        match (&worker.ready, worker.kind) {
            (None, Kind::Service) => self.became_ready(id, out),
            (None, Kind::Oneshot) | (Some(Ready::Fd(_) | Ready::Notify), _) => {}
            (Some(Ready::Delay(delay)), _) => self.timers.set(Key::Probe(id), self.now + *delay),
            (Some(Ready::Probe(_)), _) => self.ask(id, out),
        }
    }

    pub(super) fn became_ready(&mut self, id: InstanceId, out: &mut Actions) {
        let plan = self.plan.clone();
        let State::Up(life) = &mut self.instances[id.index()].state else { return };
        if std::mem::replace(&mut life.ready, true) {
            return;
        }
        let took = self.now.since(life.since);
        self.timers.cancel(Key::Start(id));
        self.timers.cancel(Key::Probe(id));
        if let Some(worker) = self.worker_of(id).map(|worker| plan.worker(worker)) {
            if worker.ready.is_some() {
                out.push(Action::Note(Note::Ready { instance: id, took }));
            }
            if let Some(health) = &worker.health {
                self.timers.set(Key::Probe(id), self.now + health.interval);
            }
            if let Some(watchdog) = worker.watchdog {
                self.timers.set(Key::Watch(id), self.now + watchdog);
            }
        }
        self.has_begun(id);
        self.worker_of(id).into_iter().for_each(|worker| self.wake_waiting(worker));
        self.enlist(id, out);
        self.renew_who_waits(id, out);
    }

    /// A line feed or a datagram came from this incarnation.
    pub(super) fn notified(&mut self, proc: ProcId, notice: Notice, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let plan = self.plan.clone();
        let Some(worker) = self.worker_of(id).map(|worker| plan.worker(worker)) else { return };
        let state = &self.instances[id.index()].state;
        let (up, ready) = match state {
            State::Up(life) => (true, life.ready),
            State::Leaving(..)
            | State::Remains(..)
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Waiting
            | State::Due
            | State::Delayed
            | State::Resting(_) => (false, false),
        };
        match notice {
            Notice::Ready if up && matches!(worker.ready, Some(Ready::Fd(_) | Ready::Notify)) => {
                self.became_ready(id, out);
            }
            Notice::Watchdog if ready => {
                if let State::Up(life) = &mut self.instances[id.index()].state {
                    life.reprieves = 0;
                }
                if let Some(watchdog) = worker.watchdog {
                    self.timers.set(Key::Watch(id), self.now + watchdog);
                }
            }
            Notice::Trigger if up => {
                out.push(Action::Note(Note::FoundItselfUnwell { instance: id }));
                self.ask_to_leave(id, StopReason::Restart, Purpose::Unwell, out);
            }
            Notice::Extend(time) => self.extend(id, time),
            Notice::Status(status) => out.push(Action::Note(Note::Said { instance: id, status })),
            Notice::Stopping => out.push(Action::Note(Note::Said { instance: id, status: "stopping".to_owned() })),
            Notice::Unheard => {
                if let State::Up(life) = &mut self.instances[id.index()].state {
                    life.unheard = Some(self.now);
                }
            }
            Notice::Ready | Notice::Watchdog | Notice::Trigger => {}
        }
    }

    /// Whatever is waited for has at least so long from now. The deadline of the whole stop is not moved, and all that one stop
    /// of a worker asks for moves its KILL by the time of its whole ladder at most.
    fn extend(&mut self, id: InstanceId, time: Duration) {
        let plan = self.plan.clone();
        let program = plan.program(id);
        let slot = self.timers.get(Key::Slot(id));
        let wanted = self.now + time;
        match &mut self.instances[id.index()].state {
            // After KILL no rung is waited for, but for the kernel, and whom it left alive does not prolong that.
            State::Leaving(_, climb) if climb.next > program.ladder.len() => {}
            State::Leaving(_, climb) => {
                let Some(at) = slot else { return };
                let more = wanted.since(at).min(program.ladder_time().saturating_sub(climb.extended));
                climb.extended += more;
                self.timers.set(Key::Slot(id), at + more);
                if let Phase::Stopping(stop) = &mut self.phase {
                    stop.latest = stop.latest + more;
                }
            }
            State::Starting { .. } | State::Up(_) => {
                if let Some(at) = self.timers.get(Key::Start(id)) {
                    self.timers.set(Key::Start(id), at.max(wanted));
                }
            }
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Aborting { .. }
            | State::Remains(..)
            | State::Resting(_) => {}
        }
    }

    fn ask(&mut self, id: InstanceId, out: &mut Actions) {
        let plan = self.plan.clone();
        let Some(worker) = self.worker_of(id).map(|worker| plan.worker(worker)) else { return };
        let State::Up(life) = &self.instances[id.index()].state else { return };
        let proc = life.proc;
        match (life.ready, &worker.health) {
            (false, _) => out.push(Action::Ask { proc, question: Question::Ready, timeout: READY_ANSWER }),
            (true, Some(health)) => {
                out.push(Action::Ask { proc, question: Question::Health, timeout: health.timeout });
            }
            (true, None) => {}
        }
    }

    pub(super) fn answered(&mut self, proc: ProcId, question: Question, answer: ProbeAnswer, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let plan = self.plan.clone();
        let Some(worker) = self.worker_of(id).map(|worker| plan.worker(worker)) else { return };
        let State::Up(life) = &mut self.instances[id.index()].state else { return };
        life.refusal = answer.err();
        match (question, answer, &worker.health) {
            (Question::Ready, _, _) if life.ready => {}
            (Question::Ready, Ok(()), _) => self.became_ready(id, out),
            (Question::Ready, Err(_), _) => self.timers.set(Key::Probe(id), self.now + ASK_AGAIN),
            (Question::Health, Ok(()), Some(health)) => {
                life.refusals = 0;
                self.timers.set(Key::Probe(id), self.now + health.interval);
            }
            (Question::Health, Err(last), Some(health)) => {
                life.refusals += 1;
                if life.refusals >= health.failures {
                    out.push(Action::Note(Note::Unhealthy { instance: id, failures: health.failures, last }));
                    self.ask_to_leave(id, StopReason::Restart, Purpose::Unwell, out);
                } else {
                    self.timers.set(Key::Probe(id), self.now + health.interval);
                }
            }
            (Question::Health, _, None) => self.bug(format!("{proc} was asked for its health and has no probe"), out),
        }
    }

    /// `Key::Probe`: a delay is over, or the next question is due.
    pub(super) fn probe_is_due(&mut self, id: InstanceId, out: &mut Actions) {
        let ready = self.worker_of(id).and_then(|worker| self.plan.worker(worker).ready.clone());
        let waits = matches!(&self.instances[id.index()].state, State::Up(life) if !life.ready);
        if waits && matches!(ready, Some(Ready::Delay(_))) {
            self.became_ready(id, out);
        } else {
            self.ask(id, out);
        }
    }

    /// `Key::Start`: not ready in time.
    pub(super) fn start_timed_out(&mut self, id: InstanceId, out: &mut Actions) {
        let timeout = self.worker_of(id).and_then(|worker| self.plan.worker(worker).start_timeout);
        let last = match &self.instances[id.index()].state {
            State::Up(life) => life.refusal,
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Leaving(..)
            | State::Remains(..)
            | State::Resting(_) => None,
        };
        out.push(Action::Note(Note::NotReady { instance: id, timeout: timeout.unwrap_or_default(), last }));
        match self.instances[id.index()].state {
            State::Starting { proc } => self.abort_start(id, proc, Purpose::Unwell, out),
            State::Up(_) => self.ask_to_leave(id, StopReason::Restart, Purpose::Unwell, out),
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Aborting { .. }
            | State::Leaving(..)
            | State::Remains(..)
            | State::Resting(_) => {
                self.bug(format!("instance {} was late to be ready and was not starting", id.0), out);
            }
        }
    }

    /// `Key::Watch`: it was silent for too long. Where others fill its socket it may have spoken and wait to be read: then
    /// it has a moment more, but not for ever.
    pub(super) fn watchdog_expired(&mut self, id: InstanceId, out: &mut Actions) {
        if let State::Up(life) = &mut self.instances[id.index()].state
            && life.reprieves < REPRIEVES
            && life.unheard.is_some_and(|at| self.now <= at + CROWDED)
        {
            life.reprieves += 1;
            return self.timers.set(Key::Watch(id), self.now + REPRIEVE);
        }
        out.push(Action::Note(Note::WatchdogExpired { instance: id }));
        self.ask_to_leave(id, StopReason::Restart, Purpose::Unwell, out);
    }

    /// It runs no more, or is on its way out: nothing more is expected of it.
    pub(super) fn stop_watching(&mut self, id: InstanceId) {
        for key in [Key::Start(id), Key::Probe(id), Key::Watch(id), Key::Clock(id), Key::Renewal(id)] {
            self.timers.cancel(key);
        }
    }

    /// Nobody wants to know any more how who is asked to leave is.
    pub(super) fn unask(&self, id: InstanceId, proc: ProcId, out: &mut Actions) {
        let has_probe = |worker| self.plan.worker(worker).probes().next().is_some();
        if self.worker_of(id).is_some_and(has_probe) {
            out.push(Action::Unask { proc });
        }
    }

    /// Whether those that require this worker may run.
    pub(super) fn is_ready(&self, worker: WorkerId) -> bool {
        let oneshot = self.plan.worker(worker).kind == Kind::Oneshot;
        let mut replicas = self.replicas(worker);
        match oneshot {
            true => replicas.all(|instance| instance.completed),
            false => replicas.any(Instance::serves),
        }
    }

    /// A replica of this worker is not ready any more, or never will be. Those that require it fall if it was the last, and those that
    /// require them in their turn, one after another: a file may name a chain of thousands, and the stack holds no such chain.
    pub(super) fn check_dependents(&mut self, worker: WorkerId, out: &mut Actions) {
        if !self.has_order {
            return;
        }
        self.fallen.push_back(worker);
        if self.fallen.len() > 1 {
            return;
        }
        while let Some(&worker) = self.fallen.front() {
            self.check_direct_dependents(worker, out);
            self.fallen.pop_front();
        }
        self.look_at_the_rested(out);
    }

    fn check_direct_dependents(&mut self, worker: WorkerId, out: &mut Actions) {
        if self.is_ready(worker) {
            return;
        }
        let for_good = self.rests(worker);
        let running = match &self.phase {
            Phase::Running => true,
            // Nobody falls in a stop. But who is to work off a queue leaves the line of starts, and does not wait for ever.
            Phase::Stopping(_) if self.drains_any() => false,
            Phase::Stopping(_) | Phase::Sweeping(_) | Phase::Over => return,
        };
        let plan = self.plan.clone();
        for id in self.instance_ids() {
            let requires = |other: WorkerId| plan.worker(other).requires.contains(&worker);
            let waits = matches!(self.instances[id.index()].state, State::Waiting | State::Due | State::Delayed);
            if (running || waits) && self.worker_of(id).is_some_and(requires) {
                self.falls(id, worker, for_good, out);
            }
        }
    }

    fn falls(&mut self, id: InstanceId, required: WorkerId, for_good: bool, out: &mut Actions) {
        let purpose = if for_good { Purpose::Lost(required) } else { Purpose::Await(required) };
        match self.instances[id.index()].state {
            State::Waiting | State::Due | State::Delayed if for_good => {
                let why = if self.is_running() { self.required(required) } else { Unstarted::Stop };
                self.rest_unstarted(id, why, out);
            }
            State::Due => self.instances[id.index()].state = State::Waiting,
            State::Starting { proc } => self.abort_start(id, proc, purpose, out),
            State::Up(_) => {
                out.push(Action::Note(Note::Falls { instance: id, required }));
                self.ask_to_leave(id, StopReason::Restart, purpose, out);
            }
            // At the end of its back-off it looks again.
            State::Delayed => {}
            State::Waiting | State::Aborting { .. } | State::Leaving(..) | State::Remains(..) | State::Resting(_) => {}
        }
    }
}
