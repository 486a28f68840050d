//! The stop of one instance: the exit event, the stop signals, KILL; and what is left after the leader.
//!
//! Each rung is taken once, none before the wait of the one before is over, and KILL is the last. Three things may shorten
//! the way: the deadline of the whole stop, a second Ctrl+C, and the death of the leader, after which there is nobody left to
//! tell the event to: survivors get TERM, a moment, KILL.

use super::Machine;
use super::action::{Action, Actions, LadderStep, Note};
use super::instance::{Climb, Purpose, State, Survivors};
use super::report::Fate;
use super::timers::Key;
use crate::model::plan::{KillMode, Rung, SURVIVORS_EXTRA, Step};
use crate::model::{InstanceId, ProcId, Signal, SignalSet, StopReason, Target, Time};
use std::time::Duration;

/// What KILL does not remove in this time is in the kernel's hands (D state, frozen) and is no longer waited for.
pub(super) const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);

/// Survivors are looked for again this often while they are being stopped: the last of them may be the child of a living
/// stranger, and its death is not told to us.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Machine {
    /// Begins the ladder of an instance that runs. Nothing for one that is on its way already.
    pub(super) fn ask_to_leave(&mut self, id: InstanceId, reason: StopReason, purpose: Purpose, out: &mut Actions) {
        if !self.instances[id.index()].is_up() {
            return;
        }
        self.enter_ladder(id, reason, purpose, 0, out);
        // Who is on its way out is not ready any more, however long it takes.
        if let Some(worker) = self.worker_of(id) {
            self.check_dependents(worker, out);
        }
    }

    /// From Up onto this rung of the ladder.
    fn enter_ladder(&mut self, id: InstanceId, reason: StopReason, purpose: Purpose, next: usize, out: &mut Actions) {
        let instance = &mut self.instances[id.index()];
        match std::mem::replace(&mut instance.state, State::Waiting) {
            State::Up(life) => {
                let (proc, consumes) = (life.proc, life.work.is_some());
                let sent_to_members = SignalSet::EMPTY;
                let climb = Climb {
                    began: self.now,
                    reason,
                    purpose,
                    rung: None,
                    rung_began: self.now,
                    next,
                    sent_to_members,
                    extended: Duration::ZERO,
                    shifts: 0,
                    shifted: Duration::ZERO,
                };
                instance.state = State::Leaving(life, climb);
                self.stop_watching(id);
                self.unask(id, proc, out);
                self.climb(id, out);
                if consumes {
                    out.push(Action::CloseItems { proc });
                }
            }
            other @ (State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Leaving(..)
            | State::Remains(..)
            | State::Resting(_)) => instance.state = other,
        }
    }

    /// Takes the next rung.
    pub(super) fn climb(&mut self, id: InstanceId, out: &mut Actions) {
        let plan = self.plan.clone();
        let program = plan.program(id);
        let deadline = self.timers.get(Key::Deadline);
        let State::Leaving(life, climb) = &mut self.instances[id.index()].state else { return };
        let (proc, reason) = (life.proc, climb.reason);
        let index = climb.next;
        climb.next = index.saturating_add(1);
        climb.shifts = 0;
        let (step, wait) = match program.ladder.get(index) {
            Some(Rung { step: Step::Event, wait }) => (LadderStep::Event, *wait),
            Some(Rung { step: Step::Signal(signal), wait }) => (LadderStep::Signal(*signal), *wait),
            None if index == program.ladder.len() => (LadderStep::Kill, UNKILLABLE_AFTER),
            None => return self.is_unkillable(id, out),
        };
        (climb.rung, climb.rung_began) = (Some(step), self.now);
        if let (LadderStep::Signal(signal), KillMode::Group) = (step, program.kill_mode) {
            climb.sent_to_members.insert(signal);
        }
        out.push(Action::Note(Note::Climbed { instance: id, step, reason }));
        self.timers.set(Key::Slot(id), self.now + wait);
        match step {
            LadderStep::Event => {
                let next = deadline.map_or(wait, |deadline| wait.min(deadline.since(self.now)));
                out.push(Action::Tell { proc, reason, next });
            }
            LadderStep::Signal(signal) => signal_rung(proc, signal, program.kill_mode, out),
            LadderStep::Kill => {
                let target = if program.kill_mode == KillMode::Process { Target::Leader } else { Target::Members };
                out.push(Action::Kill { proc, signal: Signal::KILL, target });
            }
        }
    }

    /// KILL now, whatever rung it is on: the deadline of the stop is reached.
    pub(super) fn kill_now(&mut self, id: InstanceId, reason: StopReason, out: &mut Actions) {
        let ladder = self.plan.program(id).ladder.len();
        match &mut self.instances[id.index()].state {
            State::Starting { proc } => {
                let proc = *proc;
                self.abort_start(id, proc, Purpose::Rest, out);
            }
            State::Up(_) => self.enter_ladder(id, reason, Purpose::Rest, ladder, out),
            State::Leaving(_, climb) if climb.next <= ladder => {
                climb.next = ladder;
                self.climb(id, out);
            }
            State::Remains(..) => self.kill_survivors(id, out),
            State::Leaving(..)
            | State::Aborting { .. }
            | State::Waiting
            | State::Due
            | State::Delayed
            | State::Resting(_) => {}
        }
    }

    /// The first look found members without their leader: TERM and CONT, and KILL after the last signal rung's wait, at most a
    /// second more than the ladder allows. A later look found some still: nothing new.
    ///
    /// No process is sent TERM a second time: many programs finish their work on the first one and drop it on the second. Where
    /// a rung of this ladder has sent TERM to every member, nothing is sent and only KILL is still to come; where it went to
    /// some of them (the process that a worker named with `MAINPID`, those that an init passed it on to), the shell knows them.
    pub(super) fn tell_survivors(&mut self, id: InstanceId, count: u32, out: &mut Actions) {
        let program = self.plan.program(id);
        let chosen = self.plan.init.as_ref().and_then(|init| init.stop_timeout);
        let patience = self.now + chosen.unwrap_or(program.last_signal_wait());
        let ladder_end =
            self.ladder_end(id).filter(|_| chosen.is_none()).map_or(Time::NEVER, |end| end + SURVIVORS_EXTRA);
        let deadline = self.timers.get(Key::Deadline).unwrap_or(Time::NEVER);
        let ladder = program.ladder.len();
        let State::Remains(life, remains) = &mut self.instances[id.index()].state else { return };
        if remains.survivors != Survivors::Unknown {
            return;
        }
        let proc = life.proc;
        if remains.climb.as_ref().is_some_and(|climb| climb.next > ladder) {
            return self.kill_survivors(id, out);
        }
        let kill_at = patience.min(ladder_end).min(deadline);
        remains.survivors = Survivors::Told { kill_at };
        if !remains.climb.as_ref().is_some_and(|climb| climb.sent_to_members.contains(Signal::TERM)) {
            out.push(Action::Note(Note::Survivors { instance: id, count }));
            signal_then_cont(proc, Signal::TERM, Target::Unsignalled, out);
        }
        self.timers.set(Key::Slot(id), kill_at.min(self.now + LOOK_AGAIN));
    }

    /// The members that outlive the program of an init that waits for all were sent its stop signal just now: they have the
    /// time of `stop_timeout`, if there is one, before KILL.
    pub(super) fn limit_survivors(&mut self, id: InstanceId) {
        let Some(timeout) = self.plan.init.as_ref().and_then(|init| init.stop_timeout) else { return };
        let State::Remains(_, remains) = &mut self.instances[id.index()].state else { return };
        if remains.survivors == Survivors::Unknown {
            let kill_at = self.now + timeout;
            remains.survivors = Survivors::Told { kill_at };
            self.timers.set(Key::Slot(id), kill_at.min(self.now + LOOK_AGAIN));
        }
    }

    /// When KILL would come if the leader had stayed; `None` when nobody asked it to go.
    fn ladder_end(&self, id: InstanceId) -> Option<Time> {
        let State::Remains(_, remains) = &self.instances[id.index()].state else { return None };
        let climb = remains.climb.as_ref()?;
        Some(climb.began + self.plan.program(id).ladder_time() + climb.extended + climb.shifted)
    }

    pub(super) fn survivors_are_due(&mut self, id: InstanceId, out: &mut Actions) {
        let State::Remains(life, remains) = &self.instances[id.index()].state else { return };
        let proc = life.proc;
        match remains.survivors {
            Survivors::Told { kill_at } if kill_at <= self.now => self.kill_survivors(id, out),
            Survivors::Killed { until } if until <= self.now => self.is_unkillable(id, out),
            Survivors::Told { kill_at: end } | Survivors::Killed { until: end } => {
                out.push(Action::CheckMembers { proc });
                self.timers.set(Key::Slot(id), end.min(self.now + LOOK_AGAIN));
            }
            Survivors::Unknown => self.bug(format!("survivors of {proc} were waited for before they were told"), out),
        }
    }

    pub(super) fn kill_survivors(&mut self, id: InstanceId, out: &mut Actions) {
        let leaves_them = self.plan.program(id).kill_mode == KillMode::Process;
        let State::Remains(life, remains) = &mut self.instances[id.index()].state else { return };
        let proc = life.proc;
        match remains.survivors {
            // The next look, which is asked for, ends the wait for them.
            Survivors::Unknown if leaves_them => return out.push(Action::CheckMembers { proc }),
            Survivors::Killed { .. } => return,
            Survivors::Unknown | Survivors::Told { .. } => {}
        }
        let until = self.now + UNKILLABLE_AFTER;
        remains.survivors = Survivors::Killed { until };
        out.push(Action::Note(Note::SurvivorsKilled { instance: id }));
        out.push(Action::Kill { proc, signal: Signal::KILL, target: Target::Members });
        out.push(Action::CheckMembers { proc });
        self.timers.set(Key::Slot(id), self.now + LOOK_AGAIN);
    }

    /// KILL did not help: it is no longer waited for. Its items are not given to anybody else in this run.
    pub(super) fn is_unkillable(&mut self, id: InstanceId, out: &mut Actions) {
        let state = std::mem::replace(&mut self.instances[id.index()].state, State::Waiting);
        let (proc, work) = match state {
            State::Leaving(life, _) | State::Remains(life, _) => (life.proc, life.work),
            State::Aborting { proc, .. } => (proc, None),
            other @ (State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Up(_)
            | State::Resting(_)) => {
                self.instances[id.index()].state = other;
                return self.bug(format!("instance {} was found unkillable and was not killed", id.0), out);
            }
        };
        self.timers.cancel(Key::Slot(id));
        out.push(Action::Note(Note::Unkillable { instance: id }));
        out.push(Action::Forget { proc });
        if let (Some(mut work), Some(queue)) = (work, self.plan.consumer(id).map(|consumer| consumer.queue)) {
            // In order of acceptance, which a delivery that came back may have left.
            let mut items: Vec<_> = work.leases.drain().into();
            items.sort_by_key(|item| item.seq);
            for item in items {
                self.queues[queue.index()].leased -= 1;
                self.hand_back(queue, item, out);
            }
            self.roomier.push(queue);
        }
        if let Some(source) = self.source_of(id) {
            let feeding = &mut self.feeds[source.index()];
            // What it wrote is read all the same, and then its end is told.
            (feeding.failed, feeding.process_gone) = (true, true);
        }
        self.rest(id, Fate::Unkillable, out);
    }
}

/// A stop signal, and CONT so that a stopped process can act on it.
fn signal_rung(proc: ProcId, signal: Signal, kill_mode: KillMode, out: &mut Actions) {
    let target = if kill_mode == KillMode::Group { Target::Members } else { Target::Leader };
    signal_then_cont(proc, signal, target, out);
}

/// For TSTP, TTIN and TTOU, which a CONT that follows would throw away, CONT comes first.
pub(super) fn signal_then_cont(proc: ProcId, signal: Signal, target: Target, out: &mut Actions) {
    let cont = Action::Kill { proc, signal: Signal::CONT, target };
    if signal.is_discarded_by_cont() {
        out.push(cont.clone());
    }
    out.push(Action::Kill { proc, signal, target });
    if signal != Signal::CONT && !signal.is_discarded_by_cont() {
        out.push(cont);
    }
}
