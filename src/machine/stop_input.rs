//! Standard input in a stop: how long it is read on, straight into the leftovers.
//!
//! ```text
//!  Read ──end of file──▶ over
//!    └──the deadline, leftovers-max, an INT; or once the last worker has left:
//!       nothing came for 200 ms, or stop-read-timeout is over──▶ given up, with the reason
//! ```
//!
//! Without leftovers nothing more is read from the beginning of the stop. Always: what was read is handed back, and reading is given
//! up once, for one reason.

use super::Machine;
use super::action::{Action, Actions};
use super::report::ReadEnd;
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::{Feed, LAST_MOMENT, STDIN_SILENCE, STOP_READ_TIMEOUT};
use crate::model::{SourceId, Time};

impl Machine {
    /// The stop begins. What the other sources say from now on counts in whole items only.
    pub(super) fn stop_reading(&mut self, out: &mut Actions) {
        let plan = self.plan.clone();
        for (id, source) in (0u32..).map(SourceId).zip(&plan.sources) {
            match &source.feed {
                _ if self.feeds[id.index()].ended => {}
                Feed::Stdin if plan.queue(source.queue).leftovers.is_some() => {
                    let feeding = &mut self.feeds[id.index()];
                    feeding.last_read = self.now;
                    out.push(Action::Distrust { source: id });
                    self.read_straight(id, out);
                }
                Feed::Stdin => self.give_up_reading(id, ReadEnd::Stop, out),
                Feed::Command(_) => out.push(Action::Distrust { source: id }),
            }
        }
    }

    /// Bytes came from standard input in a stop; or none did although some are there, because the disk is slow.
    pub(super) fn stdin_read(&mut self, source: SourceId, out: &mut Actions) {
        let feeding = &mut self.feeds[source.index()];
        if !feeding.straight || feeding.ended {
            return;
        }
        feeding.last_read = self.now;
        self.set_reading_clock();
        let queue = self.plan.source(source).queue;
        if self.queues[queue.index()].stats.handed_back_bytes >= self.plan.queue(queue).leftovers_max {
            self.give_up_reading(source, ReadEnd::LeftoversMax, out);
        }
    }

    /// The last worker has left: from now on reading has its own limits.
    pub(super) fn set_reading_clock(&mut self) {
        let Some(end) = self.reading_must_end() else { return };
        let straight = self.feeds.iter().filter(|feeding| feeding.straight && !feeding.ended);
        if let Some(last_read) = straight.map(|feeding| feeding.last_read).max() {
            self.timers.set(Key::Stdin, end.min(last_read + STDIN_SILENCE).max(self.now));
        }
    }

    /// `None` before the last worker has left. Where workers took all the time that they may take, only a moment is left; a
    /// longer `stop-read-timeout` is granted in any case.
    pub(super) fn reading_must_end(&self) -> Option<Time> {
        let Phase::Stopping(stop) = &self.phase else { return None };
        let left_at = stop.last_left?;
        let stdin = self.plan.sources.iter().find(|source| source.feed == Feed::Stdin);
        let timeout = stdin.map(|source| source.stop_read_timeout)?;
        let granted = stop.latest + LAST_MOMENT + timeout.saturating_sub(STOP_READ_TIMEOUT);
        Some((left_at + timeout).min(granted.max(left_at + timeout.min(LAST_MOMENT))))
    }

    /// `Key::Stdin`: nothing came for a while, or the time is over.
    pub(super) fn reading_is_over(&mut self, out: &mut Actions) {
        let end = self.reading_must_end().unwrap_or(self.now);
        let why = if end <= self.now { ReadEnd::Timeout } else { ReadEnd::Silence };
        self.give_up_stdin(why, out);
    }

    /// Whatever is left of standard input is not read.
    pub(super) fn give_up_stdin(&mut self, why: ReadEnd, out: &mut Actions) {
        let plan = self.plan.clone();
        for (id, source) in (0u32..).map(SourceId).zip(&plan.sources) {
            if source.feed == Feed::Stdin {
                self.give_up_reading(id, why, out);
            }
        }
    }

    fn give_up_reading(&mut self, source: SourceId, why: ReadEnd, out: &mut Actions) {
        self.timers.cancel(Key::Stdin);
        let feeding = &mut self.feeds[source.index()];
        if !feeding.ended && feeding.given_up.is_none() {
            feeding.given_up = Some(why);
            out.push(Action::Abandon { source });
        }
    }
}
