//! The last word of a run: what it comes to, and the code that we leave with.

use super::Machine;
use super::action::StopCause;
use super::instance::{Instance, State};
use super::report::{Fate, Leaver, QueueReport, Report, SourceReport, Unstarted};
use super::sweep::Sweep;
use crate::model::{ExitStatus, InstanceId, QueueId, SourceId, WorkerId};

impl Machine {
    pub(super) fn report(&self, sweep: Sweep) -> Report {
        let leaver = |id: InstanceId| {
            let instance = &self.instances[id.index()];
            let fate = match &instance.state {
                State::Resting(fate) => fate.clone(),
                // In a sweep everybody rests.
                State::Waiting
                | State::Due
                | State::Delayed
                | State::Starting { .. }
                | State::Aborting { .. }
                | State::Up(_)
                | State::Leaving(..)
                | State::Remains(..) => Fate::NeverStarted { why: Unstarted::Stop },
            };
            let Instance { runs, failed_starts, oom_kills, done: items, .. } = *instance;
            Leaver { instance: id, fate, restarts: runs.saturating_sub(1), failed_starts, oom_kills, items }
        };
        let mut report = Report {
            exit_code: 0,
            code_of_all: None,
            cause: sweep.cause,
            stop_took: self.now.since(sweep.began),
            ran: self.now.since(self.began),
            leavers: self.instance_ids().map(leaver).collect(),
            queues: self.queue_reports(),
            sources: self.source_reports(),
            orphans_reaped: self.orphans_reaped,
            strangers_left: sweep.count,
            late_replies: self.late_replies,
            bugs: self.bugs,
        };
        (report.exit_code, report.code_of_all) = self.exit_codes(&report);
        report
    }

    fn queue_reports(&self) -> Vec<QueueReport> {
        let report = |(index, queue): (u32, &super::queue::Queue)| QueueReport {
            queue: QueueId(index),
            accepted: queue.stats.accepted,
            done: queue.stats.done,
            dead: queue.stats.dead,
            handed_back: queue.stats.handed_back,
            retried: queue.stats.retried,
            crashed: queue.stats.crashed,
            timed_out: queue.stats.timed_out,
        };
        (0u32..).zip(&self.queues).map(report).collect()
    }

    fn source_reports(&self) -> Vec<SourceReport> {
        let report = |(index, feeding): (u32, &super::feed::Feeding)| SourceReport {
            source: SourceId(index),
            items: feeding.items,
            failed: feeding.failed,
            read_to_eof: feeding.read_to_eof,
            end: feeding.end,
            still_open_in: feeding.still_open_in.clone(),
        };
        (0u32..).zip(&self.feeds).map(report).collect()
    }

    /// 70 before 1 before 75 before 65 before 0; the program's own code where one was chosen. And what the first rule would give
    /// where it is the second that counts.
    fn exit_codes(&self, report: &Report) -> (u8, Option<u8>) {
        if report.bugs > 0 {
            return (70, None);
        }
        if let Some(init) = &self.plan.init {
            return (self.program_code(&init.as_zero, &report.cause), None);
        }
        let code_of_all = self.code_of_all(report);
        match self.plan.exit_code_from.and_then(|worker| self.own_code(worker)) {
            Some(own) => (own, Some(code_of_all).filter(|&code| code != own)),
            None => (code_of_all, None),
        }
    }

    /// The code of the worker that the file names; `None` where it never ran. 0 is not what a worker that failed leaves with.
    fn own_code(&self, worker: WorkerId) -> Option<u8> {
        let code = self.last_status_of(worker)?.shell_code();
        let crew = &self.workers[worker.index()];
        Some(if crew.gave_up || crew.failed { code.max(1) } else { code })
    }

    fn code_of_all(&self, report: &Report) -> u8 {
        let crews = self.workers.iter().any(|crew| crew.gave_up || crew.failed);
        let lost = |leaver: &Leaver| {
            leaver.fate == Fate::Unkillable || self.instances[leaver.instance.index()].could_not_run()
        };
        let sources = report.sources.iter().any(|source| source.failed);
        if crews || report.leavers.iter().any(lost) || sources || report.strangers_left > 0 {
            1
        } else if report.queues.iter().any(|queue| queue.handed_back > 0) {
            75
        } else if report.queues.iter().any(|queue| queue.dead > 0) {
            65
        } else {
            0
        }
    }

    /// Of the program of an init: its own, 128 + n for signal n, and as a shell says it where there is none: 127 for a
    /// program that is not there, 126 for one that cannot be executed. One that was told to stop before it had run anything ends
    /// by that signal, as it would have a moment later: our KILL of a bare fork is nobody's business.
    fn program_code(&self, as_zero: &[u8], cause: &StopCause) -> u8 {
        let Some(program) = self.instances.first() else { return 1 };
        let status = match cause {
            StopCause::Signal(signal) if !self.workers.first().is_some_and(|crew| crew.ever_ran) => {
                Some(ExitStatus::Signalled { signal: *signal, core: false })
            }
            StopCause::Signal(_)
            | StopCause::Done
            | StopCause::GaveUp(_)
            | StopCause::ResultsClosed(_)
            | StopCause::Deserted(_) => program.last_status,
        };
        match (status, program.last_error) {
            (Some(status), _) if as_zero.contains(&status.shell_code()) => 0,
            (Some(status), _) => status.shell_code(),
            (None, Some(error)) if super::restart::is_missing(error) => 127,
            (None, Some(_)) => 126,
            // It was never started, or is in the kernel's hands for ever.
            (None, None) => 1,
        }
    }

    fn last_status_of(&self, worker: WorkerId) -> Option<ExitStatus> {
        self.replicas(worker).find_map(|instance| instance.last_status)
    }
}
