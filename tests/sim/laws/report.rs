//! "report": what the report says of each instance is what was seen.

use super::restart::Unfit;
use super::{Laws, Verdict, hold};
use exeunt::machine::{Fate, Leaver, Report, Unstarted, Why};
use exeunt::model::plan::{Kind, Role};
use exeunt::model::{ExitStatus, InstanceId, ProcId, StopReason};
use std::collections::BTreeSet;

/// How an incarnation that is over came to its end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub status: ExitStatus,
    /// Why it was asked to leave, if it was.
    pub cause: Option<StopReason>,
    pub unfit: Option<Unfit>,
    /// Killed before its exec was reported.
    pub aborted: bool,
    pub ready: bool,
}

impl Laws {
    /// Before its death is heard, for then nothing is expected of it any more.
    pub(super) fn was_ready(&mut self, proc: ProcId) {
        let ready = self.services.serves(proc);
        let plan = self.plan.clone();
        let Some(record) = self.records.get_mut(&proc) else { return };
        let Role::Worker { worker, .. } = plan.role(record.instance) else { return };
        let worker = plan.worker(worker);
        record.ready = ready || worker.kind == Kind::Oneshot || worker.ready.is_none();
    }

    /// In the moment in which the stop begins: those that never ran and never will, for what they require is lost.
    pub(super) fn those_lost(&self) -> BTreeSet<InstanceId> {
        let open = |id| self.open().any(|(_, record)| record.instance == id);
        let ids = (0u32..).map(InstanceId).take(self.plan.instances.len());
        let lost = |id: &InstanceId| !open(*id) && self.restarts.waits_in_vain(*id, &open, &self.services);
        ids.filter(lost).collect()
    }

    pub(super) fn report_is_true(&self, report: &Report) -> Verdict {
        for leaver in &report.leavers {
            let end = self.ends.get(&leaver.instance);
            let right = match leaver.fate {
                Fate::NeverStarted { why } => end.is_none() && self.unstarted_is_true(leaver, why),
                Fate::Ended { status, ready } => {
                    end.is_some_and(|end| (end.status, end.ready, end.cause) == (status, ready, None) && !end.aborted)
                }
                Fate::Left { status, why, .. } => {
                    end.is_some_and(|end| end.status == status && !end.aborted && end.why() == Some(why))
                }
                Fate::KilledWhileStarting { .. } => end.is_some_and(|end| end.aborted),
                Fate::GivenUp | Fate::Unkillable => true,
            };
            hold("report", right, || format!("{leaver:?}, and {end:?} was seen"))?;
        }
        Ok(())
    }

    fn unstarted_is_true(&self, leaver: &Leaver, why: Unstarted) -> bool {
        let lost = self.lost.as_ref().is_some_and(|lost| lost.contains(&leaver.instance));
        let Role::Worker { worker, .. } = self.plan.role(leaver.instance) else { return why == Unstarted::Stop };
        match why {
            Unstarted::Stop => !lost,
            Unstarted::Requires { worker: required, .. } => self.plan.worker(worker).requires.contains(&required),
            Unstarted::StartTimeout => self.plan.worker(worker).start_timeout.is_some(),
        }
    }
}

impl End {
    /// Why it was asked to leave; `None` where nobody asked.
    fn why(&self) -> Option<Why> {
        Some(match (self.cause?, self.unfit) {
            (StopReason::Timeout, _) => Why::ItemTimeout,
            (StopReason::MaxItems, _) => Why::Renewed,
            (StopReason::Restart, Some(Unfit::Unwell)) => Why::Unwell,
            (StopReason::Restart, Some(Unfit::Falls(worker))) => Why::Requires(worker),
            (StopReason::Restart, None) => Why::Protocol,
            (StopReason::Shutdown | StopReason::Drained | StopReason::Scale | StopReason::Requested, _) => Why::Stop,
        })
    }
}
