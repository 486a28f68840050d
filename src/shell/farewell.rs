//! The last waits of a run: for the disk that takes leftovers and dead letters, and for a reader of what has no other place
//! than our stderr. Both are waits in `poll`, with a limit, and INT ends them.

use super::messages::messages;
use super::turn::{Shell, THREADS_AGAIN};
use crate::model::{Signal, Time};
use crate::sys::clock;
use log::warn;
use mio::Events;
use std::time::Duration;

/// Where the stop has no budget, a disk that has taken nothing for this long is not waited for.
const STILL: Duration = Duration::from_secs(2);
/// The disk has this long in any case, and of a budget this much is kept for what it does not take.
const RESERVE: Duration = Duration::from_secs(1);
/// A wait that is longer is said.
const UNSAID: Duration = Duration::from_secs(1);
/// After INT the disk has this long: the INT may have been meant for what was before.
const AFTER_INT: Duration = Duration::from_millis(100);

impl Shell {
    /// Until leftovers and dead letters are in their files. With a `deadline` almost until then; without one until the disk
    /// no longer moves; INT ends it soon.
    pub(super) fn wait_for_the_disk(&mut self, deadline: Option<Time>) {
        self.disk.work_without_thread();
        self.letters.work_without_thread();
        let began = clock::now();
        let patience = |deadline: Time| deadline.since(began).saturating_sub(RESERVE).max(RESERVE);
        let mut until = began + deadline.map_or(STILL, patience);
        let (mut progress, mut said, mut interrupted) = (self.written(), false, false);
        let mut readiness = Events::with_capacity(16);
        loop {
            let finished = [self.disk.is_finished(&self.waker), self.letters.are_written(&self.waker)];
            let now = clock::now();
            // Before the look at the clock: nothing wakes us when a disk has moved.
            let written = self.written();
            if written != std::mem::replace(&mut progress, written) && deadline.is_none() && !interrupted {
                until = now + STILL;
            }
            if finished == [true, true] || now >= until {
                return;
            }
            if self.signals.pending().contains(&Signal::INT) {
                interrupted = true;
                self.disk.hurry();
                until = until.min(now + AFTER_INT);
            }
            if !said && now >= began + UNSAID {
                said = true;
                warn!("the disk is slow: leftovers or dead letters are not written yet; INT ends the wait");
            }
            let next = if said { until } else { until.min(began + UNSAID) };
            messages().hand_over();
            let _interrupted = self.poll.poll(&mut readiness, Some(next.since(now)));
        }
    }

    /// How much the writers of files have done so far.
    fn written(&self) -> u64 {
        self.disk.progress() + self.letters.progress()
    }

    /// Until all is written, until `deadline`, or until INT says that there will never be a reader.
    pub(super) fn wait_for_a_reader(&mut self, deadline: Option<Time>) {
        let mut readiness = Events::with_capacity(16);
        let _heard_before = self.signals.pending();
        while !messages().are_written(&self.waker) {
            let left = deadline.map(|deadline| deadline.since(clock::now()));
            let interrupted = self.signals.pending().contains(&Signal::INT);
            if interrupted || left.is_some_and(|left| left.is_zero()) {
                return;
            }
            if messages().are_stranded() {
                // No thread wakes us when there is room: we write it ourselves, and look up now and then.
                messages().flush(Some(left.map_or(THREADS_AGAIN, |left| left.min(THREADS_AGAIN))));
            } else {
                let _interrupted = self.poll.poll(&mut readiness, left);
            }
        }
    }
}
