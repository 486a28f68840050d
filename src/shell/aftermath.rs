//! After a fault of our own: nothing of the machine is trusted any more, but nobody may be left behind.

use super::messages::messages;
use super::table::Life;
use super::turn::Shell;
use crate::model::Signal;
use crate::sys::{clock, members, reap, strangers};
use log::error;
use mio::Events;
use std::os::fd::AsFd;
use std::time::Duration;

/// Everybody has this long between the exit event with TERM and KILL, and is waited for so long after KILL.
const PATIENCE: [(Signal, Duration); 2] =
    [(Signal::TERM, Duration::from_secs(3)), (Signal::KILL, Duration::from_secs(2))];

impl Shell {
    /// TERM for all that we started, KILL for who does not go. Bounded.
    pub(super) fn clear_the_house(&mut self) {
        error!("all workers are stopped now; unfinished items are lost");
        messages().hand_over();
        // Closing our ends is the exit event for who listens to it.
        for (_, proc) in self.table.iter_mut() {
            (proc.exit, proc.items) = (None, None);
        }
        for (signal, patience) in PATIENCE {
            self.signal_all(signal);
            if signal != Signal::KILL {
                self.signal_all(Signal::CONT);
            }
            let until = clock::now() + patience;
            while clock::now() < until {
                if self.is_house_empty() {
                    return;
                }
                self.rest_a_moment(until.since(clock::now()));
            }
        }
        error!("some processes could not be killed");
    }

    fn signal_all(&self, signal: Signal) {
        for (_, proc) in self.table.iter().filter(|(_, proc)| !matches!(proc.life, Life::Dead { .. })) {
            // A failure shows in the wait that follows.
            let _told = members::signal_child(proc.pid, proc.pidfd.as_ref().map(AsFd::as_fd), signal);
        }
        let sessions = self.table.sessions();
        let living = members::living(&sessions, &|_| false);
        let _told = members::signal_members(&living, signal);
        let strangers = strangers::living(&sessions, &self.inherited.children, self.inherited.init);
        strangers::signal(&strangers, signal);
    }

    fn is_house_empty(&mut self) -> bool {
        while let Some(dead) = reap::reap_one() {
            let id = self.table.reaped(dead.pid);
            if let Some(proc) = id.and_then(|id| self.table.get_mut(id)) {
                proc.life = Life::Dead { told: None };
            }
        }
        let sessions = self.table.sessions();
        let leaders = self.table.iter().all(|(_, proc)| matches!(proc.life, Life::Dead { .. }));
        leaders
            && members::living(&sessions, &|_| false).is_empty()
            && strangers::living(&sessions, &self.inherited.children, self.inherited.init).is_empty()
    }

    /// Until a signal comes, which may be a death; members that are no children of ours die without a word to us.
    fn rest_a_moment(&mut self, at_most: Duration) {
        let mut readiness = Events::with_capacity(64);
        let _interrupted = self.poll.poll(&mut readiness, Some(at_most.min(Duration::from_millis(100))));
        let _heard = self.signals.pending();
    }
}
