//! Which processes exeunt has sent which stop signal, so that it does not send a process the same one twice.
//!
//! A process is known by its number and the moment of its start (field 22 of proc_pid_stat(5)), which a later process of the
//! same number does not share. Where /proc cannot be read nothing is known, and every process counts as one that was sent nothing.

use super::{Pid, proc};
use crate::model::{Signal, SignalSet};
use std::collections::BTreeMap;

/// Below so many entries those of processes that have ended are not looked for.
const FEW: usize = 64;

#[derive(Debug)]
pub struct SentSignals {
    sent: BTreeMap<(Pid, u64), SignalSet>,
    /// When there are so many entries, those of processes that have ended are dropped.
    prune_at: usize,
}

impl Default for SentSignals {
    fn default() -> SentSignals {
        SentSignals { sent: BTreeMap::new(), prune_at: FEW }
    }
}

impl SentSignals {
    /// Notes that these processes are sent this signal. Only stop signals are noted, for no other is ever sent a second time.
    pub fn add(&mut self, pids: impl IntoIterator<Item = Pid>, signal: Signal) {
        if !signal.stops_a_run() {
            return;
        }
        for pid in pids {
            if let Some(started) = started(pid) {
                self.sent.entry((pid, started)).or_insert(SignalSet::EMPTY).insert(signal);
            }
        }
        if self.sent.len() >= self.prune_at {
            self.sent.retain(|&(pid, since), _| started(pid) == Some(since));
            self.prune_at = FEW.max(self.sent.len().saturating_mul(2));
        }
    }

    /// Whether this process was sent this signal.
    pub fn has(&self, pid: Pid, signal: Signal) -> bool {
        !self.sent.is_empty()
            && signal.stops_a_run()
            && started(pid).and_then(|since| self.sent.get(&(pid, since))).is_some_and(|sent| sent.contains(signal))
    }
}

/// In clock ticks since the system was started. `None` where there is no such process, or /proc does not show it.
fn started(pid: Pid) -> Option<u64> {
    proc::with(|proc| proc.stat(pid)).flatten().map(|stat| stat.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let us = Pid::try_from(std::process::id()).unwrap();
        let mut sent = SentSignals::default();
        assert!(!sent.has(us, Signal::TERM));
        sent.add([us], Signal::TERM);
        assert!(sent.has(us, Signal::TERM));
        assert!(!sent.has(us, Signal::QUIT) && !sent.has(1, Signal::TERM));
        let (&(pid, since), &signals) = sent.sent.iter().next().unwrap();
        sent.sent = BTreeMap::from([((pid, since + 1), signals)]);
        assert!(!sent.has(us, Signal::TERM), "another process had this number");
    }

    #[test]
    fn what_is_known_of_processes_that_have_ended_is_dropped() {
        let us = Pid::try_from(std::process::id()).unwrap();
        let ended = (0..1000).map(|tick| ((us, tick), SignalSet::EMPTY)).collect();
        let mut sent = SentSignals { sent: ended, prune_at: FEW };
        sent.add([us], Signal::TERM);
        assert_eq!(sent.sent.len(), 1);
        assert!(sent.has(us, Signal::TERM));
    }
}
