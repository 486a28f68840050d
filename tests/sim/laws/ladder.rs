//! L2 and L10: how an incarnation is asked to leave, and who may be signalled.

use super::restart::Unfit;
use super::{Laws, Phase, Record, Verdict, hold};
use crate::generate::FORWARDED;
use exeunt::machine::Action;
use exeunt::model::plan::{KillMode, Program, SURVIVORS_EXTRA, Step};
use exeunt::model::{InstanceId, ProcId, Signal, StopReason, Target, Time};
use std::time::Duration;

impl Laws {
    /// L2: the exit event is a rung of the ladder like any other: in its place, once, and told to the living only.
    pub(super) fn tells(&mut self, now: Time, proc: ProcId) -> Verdict {
        let (phase, cause) = (self.record(proc)?.phase, self.record(proc)?.cause);
        hold("L1", cause.is_some(), || format!("{proc} is told to leave, and nobody wants it to"))?;
        hold("L2", phase == Phase::Alive, || format!("{proc} is told to leave while {phase:?}"))?;
        self.climbs(now, proc, Some(Step::Event))
    }

    /// L10: an unborn child is signalled by its pid alone and only by KILL, a leader only while it lives, members only until
    /// the session is over.
    pub(super) fn kills(&mut self, now: Time, proc: ProcId, signal: Signal, target: Target) -> Verdict {
        let record = self.record(proc)?;
        let (phase, instance, climbed) = (record.phase, record.instance, record.climbed);
        let allowed = match target {
            Target::Unborn => phase == Phase::Unborn && signal == Signal::KILL,
            Target::Leader => phase == Phase::Alive,
            Target::Members => phase == Phase::Alive || phase == Phase::Exited,
            Target::Unsignalled => phase == Phase::Exited,
        };
        hold("L10", allowed, || format!("{signal} for {target:?} of {proc}, which is {phase:?}"))?;
        let cause = self.record(proc)?.cause;
        let wanted = match target {
            Target::Unborn => self.stop.is_some() || self.start_is_ended(proc, instance),
            Target::Leader | Target::Members | Target::Unsignalled => phase == Phase::Exited || cause.is_some(),
        };
        // What is passed on is no wish of ours; L2 looks at it.
        hold("L1", wanted || signal == FORWARDED, || format!("{proc} gets {signal}, and nobody wants it to leave"))?;
        if target == Target::Unborn {
            let record = self.record(proc)?;
            (record.killed, record.aborted, record.last) = (true, true, now);
            self.services.leaves(now, proc);
            return Ok(());
        }
        if signal == Signal::CONT {
            return Ok(());
        }
        if signal == FORWARDED {
            return self.passes_on(proc, instance, target);
        }
        self.target_is_right(instance, phase, signal, target)?;
        if signal.is_discarded_by_cont() {
            let before = self.last_signal == Some((proc, target, Signal::CONT));
            hold("L2", before, || format!("{signal} for {proc} without a CONT before it"))?;
        } else if signal != Signal::KILL {
            self.cont = Some((proc, target));
        }
        if phase == Phase::Exited {
            self.nobody_is_pushed(proc)?;
            return self.cleans_up(now, proc, signal);
        }
        let ladder = &self.program(instance).ladder;
        let last = climbed >= ladder.len();
        let step = (signal != Signal::KILL || (!last && ladder[climbed].step == Step::Signal(signal)))
            .then_some(Step::Signal(signal));
        self.climbs(now, proc, step)
    }

    /// A start takes too long, or what it requires has fallen.
    fn start_is_ended(&mut self, proc: ProcId, instance: InstanceId) -> bool {
        let lacks = self.services.lacks(instance);
        let Some(record) = self.records.get_mut(&proc) else { return false };
        if let Some(worker) = lacks {
            record.unfit.get_or_insert(Unfit::Falls(worker));
        }
        record.unfit.is_some()
    }

    /// What it asked for: the next rung comes so much later, but all that it asks for moves KILL by the time of its ladder at
    /// most. After KILL there is none.
    pub(super) fn extends(&mut self, now: Time, proc: ProcId, time: Duration) {
        let stopping = self.stop.is_some();
        let Some(record) = self.records.get_mut(&proc) else { return };
        let program = self.plan.program(record.instance);
        if let (Phase::Alive, Some(before), false) = (record.phase, record.climbed.checked_sub(1), record.killed) {
            let due = (record.last + program.ladder[before].wait).max(record.extended);
            let more = (now + time).since(due).min(program.ladder_time().saturating_sub(record.granted));
            record.granted += more;
            record.extended = due + more;
            self.extended += if stopping { time } else { Duration::ZERO };
        }
    }

    /// L2: rungs in order, each once, none before the wait of the one before is over, and KILL last. Only the deadline of
    /// the stop may skip rungs, and only an INT of a person may take one early.
    fn climbs(&mut self, now: Time, proc: ProcId, step: Option<Step>) -> Verdict {
        let skips = self.past_deadline(now);
        let hurried = self.interrupt.is_some();
        let record = self.record(proc)?;
        let (climbed, killed, instance) = (record.climbed, record.killed, record.instance);
        let (last, extended) = (record.last, record.extended);
        let ladder = self.program(instance).ladder.clone();
        hold("L2", !killed, || format!("{step:?} for {proc} after KILL"))?;
        let due = climbed.checked_sub(1).map_or(Time::ZERO, |before| (last + ladder[before].wait).max(extended));
        hold("L2", now >= due || hurried || (skips && step.is_none()), || {
            format!("{step:?} for {proc} at {now}, due at {due}")
        })?;
        let expected = ladder.get(climbed).map(|rung| rung.step);
        hold("L2", expected == step || (step.is_none() && skips), || {
            format!("{proc} gets {step:?} where {expected:?} is due")
        })?;
        let record = self.record(proc)?;
        record.asked.get_or_insert(now);
        record.climbed += 1;
        record.shifts = 0;
        (record.last, record.extended) = (now, Time::ZERO);
        record.killed = step.is_none();
        Ok(())
    }

    /// L3: survivors of a leader get TERM, then KILL when the last signal rung's wait is over, or a moment after the
    /// ladder is, or when the stop's deadline is reached.
    fn cleans_up(&mut self, now: Time, proc: ProcId, signal: Signal) -> Verdict {
        let hurried = self.past_deadline(now) || self.interrupt.is_some();
        let record = self.record(proc)?;
        let (since, asked, killed, instance) = (record.survivors, record.asked, record.killed, record.instance);
        let (climbed, died) = (record.climbed, record.death.map(|death| death.at));
        if signal != Signal::KILL {
            hold("L2", signal == Signal::TERM && since.is_none() && !killed, || {
                format!("{signal} for survivors of {proc}, TERM at {since:?}, KILL {killed}")
            })?;
            self.record(proc)?.survivors = Some(now);
            return Ok(());
        }
        // Where a rung sent TERM to all of them already, their time begins with the death of the leader.
        let since = since.or(died.filter(|_| self.had_term(instance, climbed)));
        let earliest = since.map(|since| survivors_killed(self.program(instance), since, asked));
        hold("L2", killed || hurried || earliest.is_some_and(|earliest| now >= earliest), || {
            format!("KILL for survivors of {proc} at {now}, due at {earliest:?}")
        })?;
        let record = self.record(proc)?;
        (record.killed, record.last) = (true, now);
        Ok(())
    }

    /// A rung that was taken has sent TERM to every member.
    fn had_term(&self, instance: InstanceId, climbed: usize) -> bool {
        let program = self.program(instance);
        let taken = program.ladder.iter().take(climbed);
        program.kill_mode == KillMode::Group && taken.into_iter().any(|rung| rung.step == Step::Signal(Signal::TERM))
    }

    /// L2: signals to the leader or to all members, as the kill mode says.
    fn target_is_right(&self, instance: InstanceId, phase: Phase, signal: Signal, target: Target) -> Verdict {
        let mode = self.program(instance).kill_mode;
        let right = match mode {
            KillMode::Process => target == Target::Leader,
            KillMode::Group | KillMode::Mixed if phase == Phase::Exited => {
                matches!(target, Target::Members | Target::Unsignalled)
            }
            KillMode::Group => target == Target::Members,
            KillMode::Mixed if signal == Signal::KILL => target == Target::Members,
            KillMode::Mixed => target == Target::Leader,
        };
        hold("L2", right, || format!("{signal} for {target:?} in kill mode {mode:?}"))
    }

    /// L2: every signal but KILL is followed by CONT to the same, so that a stopped process can act on it; but for those that
    /// CONT would throw away.
    pub(super) fn cont_follows(&mut self, action: &Action) -> Verdict {
        let Action::Kill { proc, signal, target } = action else { return Ok(()) };
        let thrown_away = |&(of, _, last): &(ProcId, Target, Signal)| {
            of == *proc && last.is_discarded_by_cont() && *signal == Signal::CONT
        };
        hold("L2", !self.last_signal.as_ref().is_some_and(thrown_away), || {
            format!("CONT for {proc} throws away the signal before it")
        })?;
        match self.cont.take() {
            None => Ok(()),
            Some(expected) => hold("L2", *signal == Signal::CONT && (*proc, *target) == expected, || {
                format!("{signal} for {target:?} of {proc} where CONT for {expected:?} is due")
            }),
        }
    }

    /// §5.2: in a stop a level begins when the one above has left, but for the deadline and an INT.
    pub(super) fn levels_in_order(&mut self, now: Time, instance: InstanceId, reason: StopReason) -> Verdict {
        if reason != StopReason::Shutdown || self.past_deadline(now) || self.interrupt.is_some() {
            return Ok(());
        }
        let begins = |record: &Record| record.instance == instance && record.asked.is_none_or(|asked| asked == now);
        if !self.open().any(|(_, record)| begins(record)) {
            return Ok(());
        }
        let levels = self.plan.stop_levels();
        let above = levels.iter().take_while(|level| !level.contains(&instance)).flatten();
        for other in above {
            let left = self.open().all(|(_, record)| record.instance != *other);
            hold("L2", left, || format!("{instance:?} is asked to leave before {other:?} has left"))?;
        }
        Ok(())
    }

    /// L4: no new item for one that was asked to leave or has died.
    pub(super) fn delivers(&mut self, proc: ProcId) -> Verdict {
        let record = self.record(proc)?;
        let open = record.phase == Phase::Alive && !record.closed && record.asked.is_none();
        hold("L4", open, || format!("an item for {proc}, which was asked to leave or is gone"))?;
        let most = self.most_items(proc);
        let granted = self.reference.granted(proc);
        hold("L5", most.is_none_or(|most| granted < most), || format!("{proc} gets more than {most:?} items"))
    }

    /// L9: what KILL does not remove in its time is waited for no longer, whatever is said.
    pub(super) fn the_unkillable_are_left(&self, now: Time) -> Verdict {
        let waits = |record: &Record| record.killed && record.phase != Phase::Exited && now > record.last + UNKILLABLE;
        let waited_for = self.open().find(|(_, record)| waits(record)).map(|(proc, _)| proc);
        hold("L9", waited_for.is_none(), || format!("{waited_for:?} was killed long ago, and is waited for"))
    }

    /// L2: no rung is overlooked: who was asked to leave and has not is on the rung whose wait is not over.
    pub(super) fn rungs_are_taken(&self, now: Time) -> Verdict {
        for (proc, record) in self.open().filter(|(_, record)| record.phase == Phase::Alive && !record.killed) {
            let Some(before) = record.climbed.checked_sub(1) else { continue };
            let due = (record.last + self.program(record.instance).ladder[before].wait).max(record.extended);
            // A rung without a wait, taken in the last round of a turn, is followed in the next turn.
            hold("L2", now <= due, || format!("the rung after {before} of {proc} was due at {due}"))?;
        }
        Ok(())
    }

    pub(super) fn closes(&mut self, proc: ProcId) -> Verdict {
        let record = self.record(proc)?;
        record.closed = true;
        let (phase, instance) = (record.phase, record.instance);
        hold("L10", phase == Phase::Alive || phase == Phase::Unborn || phase == Phase::Exited, || {
            format!("{proc} is over")
        })?;
        hold("L6", self.plan.consumer(instance).is_some(), || format!("{proc} has no items"))
    }

    /// L10: only a session whose leader is gone is looked into.
    pub(super) fn checks(&mut self, proc: ProcId) -> Verdict {
        let phase = self.record(proc)?.phase;
        hold("L10", phase == Phase::Exited, || format!("{proc} is looked into while {phase:?}"))
    }

    /// L3: nobody is forgotten but what KILL did not remove in a second or more, and survivors that the kill mode leaves alone.
    pub(super) fn forgets(&mut self, now: Time, proc: ProcId) -> Verdict {
        let record = self.record(proc)?;
        let (phase, instance, sticks) = (record.phase, record.instance, record.unkillable);
        let killed = record.killed && now >= record.last + Duration::from_secs(1);
        let spares = self.program(instance).kill_mode == KillMode::Process && phase == Phase::Exited;
        hold("L3", killed || spares, || format!("{proc} is forgotten while {phase:?}, and KILL had no time"))?;
        self.enter(proc, Phase::Over);
        if sticks {
            self.reference.sticks(proc);
        } else {
            self.reference.returns(now, proc, super::ends::Blame::Nothing);
        }
        Ok(())
    }
}

/// What KILL does not remove in this time is in the kernel's hands.
const UNKILLABLE: Duration = Duration::from_secs(5);

/// The earliest moment at which survivors may be killed.
fn survivors_killed(program: &Program, since: Time, asked: Option<Time>) -> Time {
    let wait = since + program.last_signal_wait();
    let bound = asked.map(|asked| asked + program.ladder_time() + SURVIVORS_EXTRA);
    bound.map_or(wait, |bound| wait.min(bound))
}
