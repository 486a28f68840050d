//! The last wait of a run: for somebody who reads what has no other place than our stderr.

use super::messages::messages;
use super::turn::{Shell, THREADS_AGAIN};
use crate::model::Signal;
use crate::sys::clock;
use mio::Events;
use std::time::Duration;

impl Shell {
    /// Until all is written, for `limit`, or until INT says that nobody will ever read it.
    pub(super) fn wait_for_a_reader(&mut self, limit: Option<Duration>) {
        let until = limit.map(|limit| clock::now() + limit);
        let mut readiness = Events::with_capacity(16);
        let _heard_before = self.signals.pending();
        while !messages().are_written(&self.waker) {
            let left = until.map(|until| until.since(clock::now()));
            let interrupted = self.signals.pending().contains(&Signal::INT);
            if interrupted || left.is_some_and(|left| left.is_zero()) {
                return;
            }
            if messages().are_stranded() {
                // Nobody wakes us when there is room: we write it ourselves, and look up now and then.
                messages().flush(Some(left.map_or(THREADS_AGAIN, |left| left.min(THREADS_AGAIN))));
            } else {
                let _interrupted = self.poll.poll(&mut readiness, left);
            }
        }
    }
}
