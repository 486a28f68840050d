//! L2 and L10: how an incarnation is asked to leave, and who may be signalled.

use super::{Laws, Phase, Record, Verdict, hold};
use crate::generate::FORWARDED;
use exeunt::machine::Action;
use exeunt::model::plan::{KillMode, Program, Step};
use exeunt::model::{InstanceId, ProcId, Signal, StopReason, Target, Time, Token};
use std::time::Duration;

impl Laws {
    /// L2: the exit event is a rung of the ladder like any other: in its place, once, and told to the living only.
    pub(super) fn tells(&mut self, now: Time, proc: ProcId) -> Verdict {
        let phase = self.record(proc)?.phase;
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
        };
        hold("L10", allowed, || format!("{signal} for {target:?} of {proc}, which is {phase:?}"))?;
        if target == Target::Unborn {
            let record = self.record(proc)?;
            (record.killed, record.aborted, record.last) = (true, true, now);
            return Ok(());
        }
        if signal == Signal::CONT {
            return Ok(());
        }
        if signal == FORWARDED {
            return self.passes_on(proc, instance, target);
        }
        self.target_is_right(instance, phase, signal, target)?;
        if signal != Signal::KILL {
            self.cont = Some((proc, target));
        }
        if phase == Phase::Exited {
            return self.cleans_up(now, proc, signal);
        }
        let ladder = &self.program(instance).ladder;
        let last = climbed >= ladder.len();
        let step = (signal != Signal::KILL || (!last && ladder[climbed].step == Step::Signal(signal)))
            .then_some(Step::Signal(signal));
        self.climbs(now, proc, step)
    }

    /// L2: rungs in order, each once, none before the wait of the one before is over, and KILL last. Only the deadline of
    /// the stop may skip rungs, and only an INT of a person may take one early.
    fn climbs(&mut self, now: Time, proc: ProcId, step: Option<Step>) -> Verdict {
        let skips = self.past_deadline(now);
        let hurried = self.interrupt.is_some();
        let record = self.record(proc)?;
        let (climbed, last, killed, instance) = (record.climbed, record.last, record.killed, record.instance);
        let ladder = self.program(instance).ladder.clone();
        hold("L2", !killed, || format!("{step:?} for {proc} after KILL"))?;
        let due = climbed.checked_sub(1).map_or(Time::ZERO, |before| last + ladder[before].wait);
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
        record.last = now;
        record.killed = step.is_none();
        Ok(())
    }

    /// L3: survivors of a leader get TERM, then KILL when the last signal rung's wait is over, or a second after the
    /// ladder is, or when the stop's deadline is reached.
    fn cleans_up(&mut self, now: Time, proc: ProcId, signal: Signal) -> Verdict {
        let hurried = self.past_deadline(now) || self.interrupt.is_some();
        let record = self.record(proc)?;
        let (since, asked, killed, instance) = (record.survivors, record.asked, record.killed, record.instance);
        if signal != Signal::KILL {
            hold("L2", signal == Signal::TERM && since.is_none() && !killed, || {
                format!("{signal} for survivors of {proc}, TERM at {since:?}, KILL {killed}")
            })?;
            self.record(proc)?.survivors = Some(now);
            return Ok(());
        }
        let earliest = since.map(|since| survivors_killed(self.program(instance), since, asked));
        hold("L2", killed || hurried || earliest.is_some_and(|earliest| now >= earliest), || {
            format!("KILL for survivors of {proc} at {now}, due at {earliest:?}")
        })?;
        let record = self.record(proc)?;
        (record.killed, record.last) = (true, now);
        Ok(())
    }

    /// L2: signals to the leader or to all members, as the kill mode says.
    fn target_is_right(&self, instance: InstanceId, phase: Phase, signal: Signal, target: Target) -> Verdict {
        let mode = self.program(instance).kill_mode;
        let right = match mode {
            KillMode::Process => target == Target::Leader,
            KillMode::Group => target == Target::Members,
            KillMode::Mixed if signal == Signal::KILL || phase == Phase::Exited => target == Target::Members,
            KillMode::Mixed => target == Target::Leader,
        };
        hold("L2", right, || format!("{signal} for {target:?} in kill mode {mode:?}"))
    }

    /// L2: every signal but KILL is followed by CONT to the same, so that a stopped process can act on it.
    pub(super) fn cont_follows(&mut self, action: &Action) -> Verdict {
        let Action::Kill { proc, signal, target } = action else { return Ok(()) };
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
    pub(super) fn delivers(&mut self, now: Time, proc: ProcId) -> Verdict {
        if !self.reference.holds_any(proc) {
            self.record(proc)?.last_sign = now;
        }
        let record = self.record(proc)?;
        let open = record.phase == Phase::Alive && !record.closed && record.asked.is_none();
        hold("L4", open, || format!("an item for {proc}, which was asked to leave or is gone"))
    }

    /// L2 for items: none times out early.
    pub(super) fn times_out(&mut self, now: Time, instance: InstanceId, token: Token, timeout: Duration) -> Verdict {
        let holder = self.open().find(|(_, record)| record.instance == instance).map(|(proc, _)| *proc);
        let since = holder.and_then(|proc| self.reference.held_since(proc, token));
        hold("L2", since.is_some_and(|since| now >= since + timeout), || {
            format!("{token} timed out at {now}, handed out at {since:?}")
        })
    }

    /// L9 for items: whoever holds one and says nothing for as long as the item may take is asked to leave.
    pub(super) fn nobody_hangs(&mut self, now: Time) -> Verdict {
        for (proc, record) in self.open().filter(|(_, record)| record.phase == Phase::Alive && record.asked.is_none()) {
            let consumer = self.plan.consumer(record.instance);
            let timeout = consumer.and_then(|consumer| self.plan.queue(consumer.queue).item_timeout);
            let Some(timeout) = timeout.filter(|_| self.reference.holds_any(*proc)) else { continue };
            hold("L9", now <= record.last_sign + timeout + self.late, || {
                format!("{proc} holds an item and says nothing since {}", record.last_sign)
            })?;
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
        record.phase = Phase::Over;
        let spares = self.program(instance).kill_mode == KillMode::Process && phase == Phase::Exited;
        hold("L3", killed || spares, || format!("{proc} is forgotten while {phase:?}, and KILL had no time"))?;
        if sticks {
            self.reference.sticks(proc);
        } else {
            self.reference.returns(proc);
        }
        Ok(())
    }
}

/// The earliest moment at which survivors may be killed.
fn survivors_killed(program: &Program, since: Time, asked: Option<Time>) -> Time {
    let wait = since + program.last_signal_wait();
    let bound = asked.map(|asked| asked + program.ladder_time() + Duration::from_secs(1));
    bound.map_or(wait, |bound| wait.min(bound))
}
