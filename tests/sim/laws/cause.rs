//! L1, and why incarnations come and go: nobody is stopped without a cause, and what follows from an end is right.

use super::ends::Blame;
use super::report::End;
use super::restart::{Departure, Unfit};
use super::{Laws, Phase, Verdict, hold};
use exeunt::machine::{Action, Event, Machine, Note};
use exeunt::model::plan::KillMode;
use exeunt::model::{InstanceId, ProcId, Reply, StopReason, Time, Verdict as Word};
use std::time::Duration;

impl Laws {
    /// L1: nobody is asked to leave without a cause: the stop of all, an item that took too long, nonsense that it said, or the
    /// end of its items.
    pub(super) fn has_a_cause(&mut self, instance: InstanceId, reason: StopReason) -> Verdict {
        let found = self.open().find(|(_, record)| record.instance == instance && record.phase == Phase::Alive);
        let Some((&proc, record)) = found else { return Ok(()) };
        if record.cause.is_some() {
            return Ok(());
        }
        let right = match reason {
            StopReason::Shutdown | StopReason::Drained => self.stop.is_some(),
            StopReason::Timeout => record.timed_out.is_some(),
            StopReason::Restart => self.nonsense.contains(&proc) || record.unfit.is_some(),
            StopReason::MaxItems => self.may_be_used_up(proc),
            StopReason::Scale | StopReason::Requested => false,
        };
        hold("L1", right, || format!("{proc} is asked to leave for {reason} without a cause"))?;
        self.record(proc)?.cause = Some(reason);
        Ok(())
    }

    /// Items that one life of this incarnation may take, at most.
    pub(super) fn most_items(&self, proc: ProcId) -> Option<u64> {
        let record = self.records.get(&proc)?;
        self.plan.consumer(record.instance)?.max_items
    }

    pub(super) fn finds_nonsense(&mut self, now: Time, event: &Event) {
        let known = |proc: ProcId| {
            let phase = self.records.get(&proc).map(|record| record.phase);
            matches!(phase, Some(Phase::Alive | Phase::Exited)).then_some(proc)
        };
        let found = match *event {
            Event::Garbled { proc, .. } => known(proc),
            Event::Tick => return self.nonsense = self.mute_for_too_long(now),
            Event::Replied { proc, reply: Reply::Settle { token, .. } | Reply::Touch(token) } => {
                // Who was killed before its exec was heard of is not listened to any more.
                let heard = self.records.get(&proc).is_some_and(|record| !record.aborted);
                known(proc).filter(|&proc| heard && !self.reference.had(proc, token))
            }
            _ => None,
        };
        self.nonsense = found.into_iter().collect();
    }

    /// A reply that is none, or names a token that its sender never had, is told as a protocol error, and so is one that closed
    /// its reply pipe with an item unanswered; nothing else is.
    pub(super) fn nonsense_is_answered(&self, actions: &[Action]) -> Verdict {
        let is_told =
            |action: &&Action| matches!(action, Action::Note(Note::ProtocolError { .. } | Note::RepliesClosed { .. }));
        let told = actions.iter().filter(is_told).count();
        hold("protocol", told == self.nonsense.len(), || {
            format!("nonsense of {:?}, protocol errors that are told: {told}", self.nonsense)
        })
    }

    /// An item was done: its worker works. One that was answered: it reads.
    pub(super) fn succeeds(&mut self, now: Time, event: &Event) {
        let Event::Replied { proc, reply: Reply::Settle { token, verdict } } = event else { return };
        let Some(record) = self.records.get_mut(proc).filter(|_| self.reference.holds(*proc, *token)) else { return };
        record.empty_since = now;
        self.restarts.answers(record.instance);
        if matches!(verdict, Word::Ok(_)) {
            record.proven = true;
            self.restarts.succeeds(record.instance);
        }
    }

    pub(super) fn runs(&mut self, now: Time, proc: ProcId) {
        let Some(record) = self.records.get_mut(&proc).filter(|record| !record.killed) else { return };
        record.since = Some(now);
        self.start_error = None;
        self.ran.insert(record.instance);
        self.restarts.runs(record.instance);
    }

    /// Why an incarnation may be asked to leave: it was told in the same breath.
    pub(super) fn is_unfit(&mut self, instance: InstanceId, unfit: Unfit) {
        let open = self.records.values_mut().filter(|record| record.instance == instance && record.cause.is_none());
        open.for_each(|record| record.unfit = Some(unfit));
    }

    /// Members that the kill mode leaves alone are not waited for.
    pub(super) fn leaves_them(&mut self, now: Time, proc: ProcId) {
        let Some(record) = self.records.get(&proc).filter(|record| record.phase == Phase::Exited) else { return };
        if self.program(record.instance).kill_mode == KillMode::Process {
            self.departs(now, proc);
        }
    }

    /// An incarnation is over: what becomes of its items, and what must follow.
    pub(super) fn departs(&mut self, now: Time, proc: ProcId) {
        let Some(record) = self.records.get(&proc) else { return };
        let Some(death) = record.death else { return };
        let (instance, cause, unfit) = (record.instance, record.cause, record.unfit);
        let oldest = self.reference.oldest(proc);
        let took_too_long = oldest.is_some() && oldest == record.timed_out;
        let unread = cause == Some(StopReason::Timeout) && took_too_long && !death.in_hand;
        let empty = oldest.is_none() && record.survivors.is_none();
        let (proven, ready) = (record.proven, record.ready);
        let blame = match cause {
            Some(StopReason::Timeout) if took_too_long && death.in_hand => Blame::Attempt,
            None | Some(StopReason::Restart) if unfit.is_none() && oldest.is_some() && death.in_hand => Blame::Crash,
            _ => Blame::Nothing,
        };
        let ran = record.since.map_or(Duration::ZERO, |since| death.at.since(since));
        // A start that was killed was asked to leave.
        let aborted = record.killed && record.since.is_none();
        let why = if unfit.is_some() { StopReason::Restart } else { StopReason::Shutdown };
        let cause = cause.or(aborted.then_some(why));
        self.ends.insert(instance, End { status: death.status, cause, unfit, aborted, ready });
        let first = self.reference.returns(now, proc, blame);
        let counts = blame != Blame::Crash || first;
        let status = death.status;
        let how = Departure { cause, status, ran, counts, unfit, empty, proven, ready, unread };
        self.restarts.departs(now, instance, how);
    }

    /// L9: no item waits while an instance has room for it.
    pub(super) fn nobody_starves(&self, now: Time) -> Verdict {
        if self.stop.is_some() {
            return Ok(());
        }
        for (&proc, record) in self.open().filter(|(_, record)| record.phase == Phase::Alive && record.cause.is_none())
        {
            let Some(consumer) = self.plan.consumer(record.instance).filter(|_| self.services.serves(proc)) else {
                continue;
            };
            let room = self.reference.held(proc) < record.window as usize;
            let more = self.fewest_items(proc).is_none_or(|fewest| self.reference.granted(proc) < fewest);
            if room && more {
                self.reference.nobody_starves(now, consumer.queue)?;
            }
        }
        Ok(())
    }

    /// L5: what only the machine itself can count stays within its limits.
    pub fn sizes(&self, machine: &Machine) -> Verdict {
        let over = machine.sizes().into_iter().find(|size| size.length > size.limit);
        hold("L5", over.is_none(), || format!("{over:?}"))
    }
}
