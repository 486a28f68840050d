//! Those that were given all the items of one life, and those that can answer none.

use super::{Laws, Phase, Verdict, hold};
use exeunt::machine::Event;
use exeunt::model::plan::Role;
use exeunt::model::{InstanceId, ProcId, Reply, StopReason, Time};
use std::time::Duration;

/// What holds an item and closed its reply pipe breaks the protocol after this: its death may be seen a moment later.
const MUTE: Duration = Duration::from_millis(100);

impl Laws {
    /// Items that one life of this incarnation takes in any case: `max-items`, or a fifth less where replicas are spread.
    pub(super) fn fewest_items(&self, proc: ProcId) -> Option<u64> {
        let most = self.most_items(proc)?;
        let record = self.records.get(&proc)?;
        let alone = self.others(record.instance).is_empty();
        Some(if alone { most } else { most - most / 5 })
    }

    /// It drew a limit that nobody knows, and holds nothing.
    pub(super) fn may_be_used_up(&self, proc: ProcId) -> bool {
        let granted = self.reference.granted(proc);
        self.fewest_items(proc).is_some_and(|fewest| granted >= fewest) && !self.reference.holds_any(proc)
    }

    /// L5: who was given `max-items` and has answered them all is asked to leave as soon as the others are ready, and at last
    /// whatever they are.
    pub(super) fn used_up_are_replaced(&self, now: Time, event: &Event) -> Verdict {
        let said = matches!(event, Event::Replied { reply: Reply::Settle { .. }, .. });
        if !said && *event != Event::Tick {
            return Ok(());
        }
        for (&proc, record) in self.open().filter(|(_, record)| record.phase == Phase::Alive && record.cause.is_none())
        {
            let granted = self.reference.granted(proc);
            let used_up = self.most_items(proc).is_some_and(|most| granted >= most) && !self.reference.holds_any(proc);
            // Whether the time is over is looked at in a tick.
            let patient = said || now < record.empty_since + self.patience(record.instance);
            let waits = patient && (self.stop.is_some() || self.away(record.instance).is_some());
            hold("L5", !used_up || waits, || format!("{proc} is used up and stays"))?;
        }
        Ok(())
    }

    /// "renewal": nobody leaves to be replaced while another replica is not ready, unless it has waited its time. In a stop nobody
    /// knows who will still be started.
    pub(super) fn renewed_one_by_one(&self, now: Time, instance: InstanceId, reason: StopReason) -> Verdict {
        let found = self.open().find(|(_, record)| record.instance == instance && record.phase == Phase::Alive);
        let Some((&proc, record)) = found.filter(|(_, record)| record.cause.is_none()) else { return Ok(()) };
        let waited = now >= record.empty_since + self.patience(instance);
        let away = self.away(instance);
        hold("renewal", reason != StopReason::MaxItems || waited || away.is_none() || self.stop.is_some(), || {
            format!("{proc} leaves to be replaced, and {away:?} is not ready")
        })
    }

    fn patience(&self, instance: InstanceId) -> Duration {
        self.plan.consumer(instance).map_or(Duration::ZERO, |consumer| consumer.renewal_wait)
    }

    /// Another replica that is not ready, and may be one day.
    fn away(&self, instance: InstanceId) -> Option<InstanceId> {
        let open = |id| self.open().any(|(_, record)| record.instance == id);
        let serves = |id| self.open().any(|(&proc, record)| record.instance == id && self.services.serves(proc));
        let wanted = |id| open(id) || self.restarts.is_wanted(id, &open, &self.services);
        self.others(instance).into_iter().find(|&other| !serves(other) && wanted(other))
    }

    fn others(&self, instance: InstanceId) -> Vec<InstanceId> {
        let worker = |id: InstanceId| match self.plan.role(id) {
            Role::Worker { worker, .. } => Some(worker),
            Role::Source(_) => None,
        };
        let ids = (0u32..).map(InstanceId).take(self.plan.instances.len());
        ids.filter(|&id| id != instance && worker(id).is_some() && worker(id) == worker(instance)).collect()
    }

    pub(super) fn falls_mute(&mut self, now: Time, proc: ProcId) {
        let holds = self.reference.holds_any(proc);
        if let Some(record) = self.records.get_mut(&proc) {
            record.mute = true;
            record.mute_until = holds.then_some(now + MUTE);
        }
    }

    pub(super) fn is_given_while_mute(&mut self, now: Time, proc: ProcId) {
        let holds = self.reference.holds_any(proc);
        if let Some(record) = self.records.get_mut(&proc).filter(|record| record.mute && !holds) {
            record.mute_until = Some(now + MUTE);
        }
    }

    /// "protocol": these hold an item, cannot answer, and were not told to leave.
    pub(super) fn mute_for_too_long(&self, now: Time) -> Vec<ProcId> {
        let due = |record: &super::Record| record.mute_until.is_some_and(|until| until <= now);
        let up = |record: &super::Record| record.phase == Phase::Alive && record.cause.is_none();
        self.open().filter(|(_, record)| up(record) && due(record)).map(|(&proc, _)| proc).collect()
    }
}
