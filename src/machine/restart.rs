//! When a program is started again, and when it is given up.
//!
//! The start limit counts, per worker: spawn failures, deaths without an item in hand, and the first blame of each item. Any
//! `ok` clears it. Exits that we asked for never count, and neither do good ends, nor failures that only say that the machine is
//! short of something just now: those are retried for ever.
//!
//! Two kinds of failure are rare by nature, so the limit's interval would forget them before there are enough: an item that is not
//! read within its time, and a start that meets a limit which the worker's own `limits` set. These are counted in a row: see
//! [`Streak`].

use super::queue::backoff_delay;
use crate::model::identity::{Identity, Resource};
use crate::model::plan::{Backoff, StartLimit};
use crate::model::{SpawnError, Stage, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// A program that ends well after this long is started again at once.
pub(super) const GOOD_RUN: Duration = Duration::from_secs(1);
/// One that ends well before that is started again after this long, whatever the file says: it must not keep a processor busy.
pub(super) const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// A limit that the file sets is met by many starts at once, and may be met only for a moment, since others use the same resource.
/// It is counted no more often than this.
const OWN_LIMIT_EVERY: Duration = Duration::from_secs(10);

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

/// Failures of one kind in a row, however long they take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streak {
    length: u32,
    last: Option<Time>,
}

impl Streak {
    /// Counts one more. True when the limit's burst is reached.
    pub fn count(&mut self, limit: Option<StartLimit>, now: Time) -> bool {
        let Some(limit) = limit else { return false };
        self.length = self.length.saturating_add(1);
        self.last = Some(now);
        self.length >= limit.burst
    }

    /// The same, but for those that come soon after one that was counted.
    pub fn count_own_limit(&mut self, limit: Option<StartLimit>, now: Time) -> bool {
        match self.last {
            Some(last) if now < last + OWN_LIMIT_EVERY => false,
            Some(_) | None => self.count(limit, now),
        }
    }

    pub fn length(&self) -> u32 {
        self.length
    }

    pub fn end(&mut self) {
        *self = Streak::default();
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
    /// The worker is short of something that its own `limits` hold down: counted, but not often.
    OwnLimit(Resource),
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

pub(super) fn prospect(error: SpawnError, identity: &Identity) -> Prospect {
    use errno::*;
    let hopeless = [ENOENT, E2BIG, ENOEXEC, EACCES, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, ELIBBAD];
    if let Some(resource) = own_limit(error, identity) {
        Prospect::OwnLimit(resource)
    } else if [EAGAIN, ENOMEM, ENFILE, EMFILE, ETXTBSY].contains(&error.errno) {
        Prospect::Shortage
    } else if error.stage == Stage::Exec && hopeless.contains(&error.errno) {
        Prospect::Hopeless
    } else {
        Prospect::Doubtful
    }
}

/// Which of the limits that the file sets explains this error: setrlimit(2), execve(2) and setuid(2) name the errors.
fn own_limit(error: SpawnError, identity: &Identity) -> Option<Resource> {
    let candidates: &[Resource] = match error.errno {
        errno::EAGAIN => &[Resource::Nproc],
        errno::ENOMEM => &[Resource::As, Resource::Data, Resource::Stack],
        errno::EMFILE => &[Resource::Nofile],
        _ => return None,
    };
    let in_force = match error.stage {
        // In the parent, or in the child before its limits are set.
        Stage::Prepare
        | Stage::Fork
        | Stage::Session
        | Stage::Descriptors
        | Stage::Signals
        | Stage::Secret(_)
        | Stage::OomScore
        | Stage::Nice
        | Stage::Limit(_) => false,
        Stage::Groups
        | Stage::Group
        | Stage::User
        | Stage::Privileges
        | Stage::Directory
        | Stage::ParentDeath
        | Stage::Exec => true,
    };
    candidates.iter().copied().find(|&resource| in_force && identity.limit(resource).is_some())
}

/// There is no such program, as against one that is there and cannot be executed.
pub(super) fn is_missing(error: SpawnError) -> bool {
    error.stage == Stage::Exec && [errno::ENOENT, errno::ENOTDIR].contains(&error.errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::{Bound, Limit};

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
        let prospect = |stage, errno| prospect(SpawnError { stage, errno }, &Identity::default());
        assert_eq!(prospect(Stage::Exec, 11), Prospect::Shortage);
        assert_eq!(prospect(Stage::Exec, 2), Prospect::Hopeless);
        assert_eq!(prospect(Stage::Directory, 2), Prospect::Doubtful);
    }

    #[test]
    fn a_limit_of_the_file_explains_an_error_of_a_step_in_which_it_is_in_force() {
        let set = |resource| Limit { resource, soft: Bound::At(0), hard: Bound::At(0) };
        let identity = Identity { limits: vec![set(Resource::Nproc), set(Resource::Nofile)], ..Identity::default() };
        let prospect = |stage, errno| prospect(SpawnError { stage, errno }, &identity);
        assert_eq!(prospect(Stage::Exec, 11), Prospect::OwnLimit(Resource::Nproc));
        assert_eq!(prospect(Stage::User, 11), Prospect::OwnLimit(Resource::Nproc));
        assert_eq!(prospect(Stage::Directory, 24), Prospect::OwnLimit(Resource::Nofile));
        assert_eq!(prospect(Stage::Fork, 11), Prospect::Shortage, "exeunt's own limit");
        assert_eq!(prospect(Stage::Secret(0), 24), Prospect::Shortage, "it is not in force yet");
        assert_eq!(prospect(Stage::Exec, 12), Prospect::Shortage, "no limit of memory is set");
        assert_eq!(prospect(Stage::Exec, 23), Prospect::Shortage, "ENFILE is the machine's");
    }

    #[test]
    fn a_streak_does_not_forget_and_an_own_limit_is_counted_once_in_ten_seconds() {
        let limit = Some(StartLimit { burst: 3, interval: Duration::from_secs(1) });
        let mut streak = Streak::default();
        let at = |seconds: u64| Time::from_millis(1000 * seconds);
        assert!(!streak.count_own_limit(limit, at(0)));
        assert!(!streak.count_own_limit(limit, at(9)));
        assert!(!streak.count_own_limit(limit, at(10)));
        assert!(!streak.count_own_limit(limit, at(11)));
        assert!(streak.count_own_limit(limit, at(500)));
        streak.end();
        assert!(!streak.count(limit, at(500)));
        assert!(!streak.count(limit, at(500)));
        assert!(streak.count(limit, at(500)));
        assert!(!Streak::default().count(None, at(0)));
    }
}
