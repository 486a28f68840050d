//! When a program is started again, and when it is given up.
//!
//! The start limit counts, per worker: spawn failures, deaths without an item in hand, and the first blame of each item. Any
//! `ok` clears it. Exits that we asked for never count, and neither do failures that only say that the machine is short of
//! something just now: those are retried for ever.

use super::queue::backoff_delay;
use crate::model::plan::{Backoff, StartLimit};
use crate::model::{SpawnError, Stage, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// What the restarts of one instance remember.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    /// Starts in a row that came to nothing.
    failures: u32,
}

impl Delays {
    /// The delay before the next start: none the first time.
    pub fn next(&mut self, backoff: &Backoff, chance: f64) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 { Duration::ZERO } else { backoff_delay(backoff, failures, chance) }
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The counted failures of one worker that lie within its interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(VecDeque<Time>);

impl Failures {
    /// Counts one more. True when the limit is reached.
    pub fn count(&mut self, limit: Option<StartLimit>, now: Time) -> bool {
        let Some(limit) = limit else { return false };
        while self.0.front().is_some_and(|&at| at + limit.interval < now) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() >= limit.burst as usize
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a failed start says of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// The machine is short of processes, memory or descriptors, or the program is being written: try again for ever.
    Shortage,
    /// There is no such program, or it is none: at a worker's first start there is no sense in trying again.
    Hopeless,
    /// Anything else: counted.
    Doubtful,
}

/// Linux errno values, the same on every architecture that Rust's std supports for Linux on x86 and ARM.
mod errno {
    pub const ENOENT: i32 = 2;
    pub const E2BIG: i32 = 7;
    pub const ENOEXEC: i32 = 8;
    pub const EAGAIN: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EACCES: i32 = 13;
    pub const ENOTDIR: i32 = 20;
    pub const EISDIR: i32 = 21;
    pub const ENFILE: i32 = 23;
    pub const EMFILE: i32 = 24;
    pub const ETXTBSY: i32 = 26;
    pub const ELOOP: i32 = 40;
    pub const ENAMETOOLONG: i32 = 36;
    pub const ELIBBAD: i32 = 80;
}

pub(super) fn prospect(error: SpawnError) -> Prospect {
    use errno::*;
    let hopeless = [ENOENT, E2BIG, ENOEXEC, EACCES, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, ELIBBAD];
    if [EAGAIN, ENOMEM, ENFILE, EMFILE, ETXTBSY].contains(&error.errno) {
        Prospect::Shortage
    } else if error.stage == Stage::Exec && hopeless.contains(&error.errno) {
        Prospect::Hopeless
    } else {
        Prospect::Doubtful
    }
}

/// There is no such program, as against one that is there and cannot be executed.
pub(super) fn is_missing(error: SpawnError) -> bool {
    error.stage == Stage::Exec && [errno::ENOENT, errno::ENOTDIR].contains(&error.errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_a_reset_makes_it_so_again() {
        let backoff =
            Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.0 };
        let mut delays = Delays::default();
        let millis: Vec<u128> = (0..4).map(|_| delays.next(&backoff, 0.5).as_millis()).collect();
        assert_eq!(millis, [0, 100, 200, 400]);
        delays.reset();
        assert_eq!(delays.next(&backoff, 0.5), Duration::ZERO);
    }

    #[test]
    fn failures_outside_the_interval_do_not_count() {
        let limit = Some(StartLimit { burst: 3, interval: Duration::from_secs(10) });
        let mut failures = Failures::default();
        assert!(!failures.count(limit, Time::from_millis(0)));
        assert!(!failures.count(limit, Time::from_millis(9_000)));
        assert!(!failures.count(limit, Time::from_millis(11_000)));
        assert!(failures.count(limit, Time::from_millis(12_000)));
        failures.clear();
        assert!(!failures.count(limit, Time::from_millis(12_000)));
        assert!(!Failures::default().count(None, Time::ZERO));
    }

    #[test]
    fn a_shortage_is_never_hopeless() {
        assert_eq!(prospect(SpawnError { stage: Stage::Exec, errno: 11 }), Prospect::Shortage);
        assert_eq!(prospect(SpawnError { stage: Stage::Exec, errno: 2 }), Prospect::Hopeless);
        assert_eq!(prospect(SpawnError { stage: Stage::Directory, errno: 2 }), Prospect::Doubtful);
    }
}
