//! L2, for signals that are passed on: once to each living instance of the workers that want it, in the very turn; to
//! one that is being started as soon as its exec is reported; to nobody else.

use super::{Laws, Phase, Verdict, hold};
use exeunt::model::plan::{KillMode, Role};
use exeunt::model::{InstanceId, ProcId, Signal, Target};

impl Laws {
    pub(super) fn owes(&mut self, signal: Signal) {
        let plan = self.plan.clone();
        let wants = |instance| match plan.role(instance) {
            Role::Worker { worker, .. } => plan.worker(worker).forward_signals.contains(signal),
            Role::Source(_) => false,
        };
        // The one program of an init is what the signal is for, whenever it comes to life.
        self.kept |= self.plan.init.is_some() && self.records.is_empty();
        let waits = self.waits_for_all();
        for record in
            self.records.values_mut().filter(|record| wants(record.instance) && !record.unkillable && !record.aborted)
        {
            match record.phase {
                Phase::Alive => record.owed += 1,
                Phase::Unborn => record.kept = true,
                Phase::Exited if waits => record.owed += 1,
                Phase::Exited | Phase::Over => {}
            }
        }
    }

    pub(super) fn passes_on(&mut self, proc: ProcId, instance: InstanceId, target: Target) -> Verdict {
        let left = self.records.get(&proc).is_some_and(|record| record.phase == Phase::Exited);
        let right = match self.program(instance).kill_mode {
            _ if left => Target::Members,
            KillMode::Group => Target::Members,
            KillMode::Mixed | KillMode::Process => Target::Leader,
        };
        hold("L2", target == right, || format!("a signal is passed on to {target:?} of {proc}, not to {right:?}"))?;
        let record = self.record(proc)?;
        hold("L2", record.owed > 0, || format!("a signal that was not for {proc}, or not again, is passed on to it"))?;
        record.owed -= 1;
        Ok(())
    }

    pub(super) fn all_is_passed_on(&self) -> Verdict {
        let owed = self.records.iter().find(|(_, record)| record.owed > 0);
        hold("L2", owed.is_none(), || format!("a signal was not passed on: {:?}", owed.map(|(proc, _)| proc)))
    }

    /// What an init's program leaves behind is waited for, for as long as nobody says stop.
    pub(super) fn waits_for_all(&self) -> bool {
        let wanted = self.plan.init.as_ref().is_some_and(|init| init.wait_all);
        wanted && self.told_to_stop.is_none() && !self.restarts.gives_up()
    }

    /// "wait": and nothing is sent to it but what is passed on.
    pub(super) fn nobody_is_pushed(&self, proc: ProcId) -> Verdict {
        hold("wait", !self.waits_for_all(), || format!("the members of {proc} are to be waited for, and are signalled"))
    }
}
