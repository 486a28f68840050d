//! How a run comes to its end: when, and with which exit code.

use super::{Laws, Verdict, hold};
use crate::fake::Fake;
use crate::generate::Mood;
use exeunt::machine::{Fate, Leaver, Report, StopCause, Unstarted, Why};
use exeunt::model::plan::{End, Feed, Role};
use exeunt::model::{ExitStatus, InstanceId, QueueId, SourceId, SpawnError, Stage, WorkerId};

impl Laws {
    /// "end": the run is over when all its work is done, which means that every source was read to its end, and where the plan says so, when no service is left; not before.
    pub(super) fn ends_when_done(&self, cause: &StopCause) -> Verdict {
        let early = *cause == StopCause::Done && !self.is_done(None);
        hold("end", !early, || "the run is said to be done, and is not".into())
    }

    /// "end": and it does not go on then.
    pub(super) fn does_not_go_on(&self, fake: &Fake) -> Verdict {
        hold("end", self.stop.is_some() || !self.is_done(Some(fake)), || "all is done, and the run goes on".into())
    }

    /// What standard input has told is seen in the world only.
    fn is_done(&self, fake: Option<&Fake>) -> bool {
        let rests = |id: InstanceId| !self.is_open(id) && self.rests(id);
        let ids = || (0u32..).map(InstanceId).take(self.plan.instances.len());
        if self.plan.sources.is_empty() {
            return self.plan.queues.is_empty() && ids().all(rests);
        }
        let is_service = |id: &InstanceId| match self.plan.role(*id) {
            Role::Worker { worker, .. } => self.plan.worker(worker).consumer.is_none(),
            Role::Source(_) => false,
        };
        let is_source = |id: &InstanceId| matches!(self.plan.role(*id), Role::Source(_));
        let of_stdin = |id: SourceId| self.plan.source(id).feed == Feed::Stdin;
        let sources = || (0u32..).map(SourceId).take(self.plan.sources.len());
        let read = fake.is_none_or(|fake| sources().all(|id| !of_stdin(id) || fake.sources[id.index()].ended));
        let fed = |at: usize| sources().any(|id| self.plan.source(id).queue == QueueId(u32::try_from(at).unwrap()));
        let services = self.plan.end == End::Work || ids().filter(is_service).all(rests);
        let queues = (0..self.plan.queues.len()).all(|at| fed(at) && self.reference.is_empty(at));
        read && self.unread.is_empty() && services && queues && ids().filter(is_source).all(rests)
    }

    fn is_open(&self, id: InstanceId) -> bool {
        self.open().any(|(_, record)| record.instance == id)
    }

    fn rests(&self, id: InstanceId) -> bool {
        !self.restarts.is_wanted(id, &|id| self.is_open(id), &self.services)
    }

    /// A finite source and obedient workers: the run ends by itself, with everything done.
    pub(super) fn calm_runs_do_everything(&mut self, report: &Report) -> Verdict {
        let done = report.queues.iter().all(|queue| queue.done == queue.accepted);
        let own = self.plan.init.is_some() || self.plan.exit_code_from.is_some();
        hold("L9", self.mood != Mood::Calm || (done && (own || report.exit_code == 0)), || {
            format!("a calm run ends with code {} and {:?}", report.exit_code, report.queues)
        })
    }

    /// "memory": who died of KILL while memory was short is counted, but for those that our own KILL ended.
    pub(super) fn the_starved_are_counted(&self, report: &Report) -> Verdict {
        let seen = |leaver: &Leaver| self.oom_kills.get(&leaver.instance).copied().unwrap_or(0);
        let wrong = report.leavers.iter().find(|leaver| leaver.oom_kills != seen(leaver));
        hold("memory", wrong.is_none(), || format!("{wrong:?}, and {:?} was seen", wrong.map(seen)))
    }

    /// "code": the program's own code where one was chosen; else 1 before 75 before 65 before 0, and none without its cause.
    pub(super) fn code_is_right(&mut self, report: &Report) -> Verdict {
        let own = self.plan.exit_code_from.and_then(|worker| Some((worker, self.last_status_of(worker)?)));
        let codes = match (&self.plan.init, own) {
            (Some(init), _) => vec![self.code_of_program(&init.as_zero, &report.cause)],
            (None, Some((worker, status))) => self.own_codes(worker, status.shell_code()),
            (None, None) => self.codes_of_work(report),
        };
        // What that code hides is told.
        let of_all = report.code_of_all.unwrap_or(report.exit_code);
        let hides = own.is_some() && report.bugs == 0 && self.plan.init.is_none();
        hold("code", !hides || self.codes_of_work(report).contains(&of_all), || {
            format!("{of_all} is told to be the code of all, {report:?}")
        })?;
        hold("code", codes.contains(&report.exit_code), || {
            format!("{} where {codes:?} is right, {report:?}", report.exit_code)
        })
    }

    /// A worker that failed does not leave with 0.
    fn own_codes(&self, worker: WorkerId, code: u8) -> Vec<u8> {
        match self.restarts.failure_of(worker) {
            (true, _) => vec![code.max(1)],
            (false, true) => vec![code, code.max(1)],
            (false, false) => vec![code],
        }
    }

    /// Who was told to stop before it had run anything ends by that signal.
    fn code_of_program(&self, as_zero: &[u8], cause: &StopCause) -> u8 {
        let told = match cause {
            StopCause::Signal(signal) if !self.restarts.ever_ran(WorkerId(0)) => {
                Some(ExitStatus::Signalled { signal: *signal, core: false })
            }
            _ => None,
        };
        let status = told.or_else(|| self.statuses.get(&InstanceId(0)).copied());
        match (status, self.start_error) {
            (Some(status), _) if as_zero.contains(&status.shell_code()) => 0,
            (Some(status), _) => status.shell_code(),
            (None, Some(SpawnError { stage: Stage::Exec, errno: 2 | 20 })) => 127,
            (None, Some(_)) => 126,
            (None, None) => 1,
        }
    }

    fn last_status_of(&self, worker: WorkerId) -> Option<ExitStatus> {
        let of_worker = |id: &InstanceId| matches!(self.plan.role(*id), Role::Worker { worker: w, .. } if w == worker);
        self.statuses.iter().find(|(id, _)| of_worker(id)).map(|(_, status)| *status)
    }

    /// What failed in a stop may or may not have been wanted.
    fn codes_of_work(&self, report: &Report) -> Vec<u8> {
        let lost = |leaver: &Leaver| {
            let unable = match leaver.fate {
                Fate::NeverStarted { why } => why != Unstarted::Stop,
                Fate::KilledWhileStarting { why } => why != Why::Stop && !self.ran.contains(&leaver.instance),
                Fate::Ended { .. } | Fate::Left { .. } | Fate::GivenUp | Fate::Unkillable => false,
            };
            leaver.fate == Fate::Unkillable || unable
        };
        let sources = report.sources.iter().any(|source| source.failed);
        let wrong =
            self.restarts.has_failed() || report.leavers.iter().any(lost) || sources || report.strangers_left > 0;
        let back = report.queues.iter().any(|queue| queue.handed_back > 0);
        let dead = report.queues.iter().any(|queue| queue.dead > 0);
        let else_right = if back {
            75
        } else if dead {
            65
        } else {
            0
        };
        match wrong {
            true => vec![1],
            false if self.restarts.may_have_failed() => vec![1, else_right],
            false => vec![else_right],
        }
    }
}
