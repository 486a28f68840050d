//! The longest that a stop may take, in its parts.

use super::{Feed, KillMode, Plan, Program, Results};
use crate::model::id::InstanceId;
use std::time::Duration;

/// Survivors of a leader that was asked to go are killed this long after its ladder's end, at the latest.
pub const SURVIVORS_EXTRA: Duration = Duration::from_millis(300);
/// What escaped from every session of ours has this moment between TERM and KILL, when all others have left.
pub const STRANGERS_TERM: Duration = Duration::from_secs(1);
/// They have this long even where everything before them took as long as it may.
pub const STRANGERS_LEAST: Duration = Duration::from_millis(400);
/// The last results and standard input have this long when every worker took all the time that it may take, and in any other
/// case as much more as the workers left over.
pub const LAST_MOMENT: Duration = Duration::from_millis(200);
/// Once the last worker has left, standard input is read until nothing came for this long.
pub const STDIN_SILENCE: Duration = Duration::from_millis(200);
/// The default of `stop-read-timeout`: once the last worker has left, standard input is read for this long in all.
pub const STOP_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// What may follow one after the other in a stop in which nobody leaves before KILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongestStop {
    /// The slowest ladder of each level, in the order of the levels.
    pub ladders: Vec<Duration>,
    /// What members that outlive their leader may add, in all levels together.
    pub survivors: Duration,
    /// What the last results and reading standard input may add once the last worker has left.
    pub last: Duration,
    /// What those that escaped may add at the end.
    pub strangers: Duration,
}

impl LongestStop {
    pub fn total(&self) -> Duration {
        self.ladders.iter().sum::<Duration>() + self.survivors + self.last + self.strangers
    }
}

impl Plan {
    /// In parts, and whatever `stop_budget` says.
    pub fn longest_stop(&self) -> LongestStop {
        let ladders = self.slowest(Program::ladder_time);
        let survivors = self.level_times().iter().sum::<Duration>().saturating_sub(ladders.iter().sum());
        LongestStop { ladders, survivors, last: self.last_moment(), strangers: STRANGERS_LEAST }
    }

    /// The longest that each level may take, in the order of the levels: from the beginning of its ladders to KILL for what they
    /// leave behind.
    pub fn level_times(&self) -> Vec<Duration> {
        self.slowest(survivors_time)
    }

    fn slowest(&self, time: fn(&Program) -> Duration) -> Vec<Duration> {
        let of_level = |level: &Vec<InstanceId>| level.iter().map(|&id| time(self.program(id))).max();
        self.stop_levels().iter().map(|level| of_level(level).unwrap_or_default()).collect()
    }

    fn last_moment(&self) -> Duration {
        let mut consumers = self.workers.iter().filter_map(|worker| worker.consumer.as_ref());
        let results =
            if consumers.any(|consumer| consumer.results != Results::Null) { LAST_MOMENT } else { Duration::ZERO };
        let read_on = self
            .sources
            .iter()
            .find(|source| source.feed == Feed::Stdin && self.queue(source.queue).leftovers.is_some());
        let reading = read_on.map_or(Duration::ZERO, |source| {
            source.stop_read_timeout.min(LAST_MOMENT) + source.stop_read_timeout.saturating_sub(STOP_READ_TIMEOUT)
        });
        results.max(reading)
    }

    /// The longest a stop may take when every ladder is climbed to KILL and somebody is left behind everywhere; not more than
    /// `stop_budget`.
    pub fn worst_stop(&self) -> Duration {
        let longest = self.longest_stop().total();
        self.stop_budget.map_or(longest, |budget| longest.min(budget))
    }
}

/// From the beginning of the ladder to KILL for those that outlive the leader.
fn survivors_time(program: &Program) -> Duration {
    let wait = program.last_signal_wait();
    match program.kill_mode {
        // The leader may go at the last moment, or be gone when the stop begins.
        KillMode::Mixed | KillMode::Group => wait.max(program.ladder_time() + wait.min(SURVIVORS_EXTRA)),
        // Nobody waits for them before the end.
        KillMode::Process => program.ladder_time(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Signal;
    use crate::model::plan::{Rung, Step};

    #[test]
    fn survivors_may_outlast_the_ladder_by_a_second_or_their_own_wait() {
        let millis = Duration::from_millis;
        let program = |ladder: &[(Step, u64)], kill_mode| {
            let ladder = ladder.iter().map(|&(step, wait)| Rung { step, wait: millis(wait) }).collect();
            Program { ladder, kill_mode, ..Program::plain(vec![]) }
        };
        let term = Step::Signal(Signal::TERM);
        for (ladder, kill_mode, expected) in [
            (&[(term, 8000)][..], KillMode::Mixed, 8300),
            (&[(Step::Event, 5000), (term, 3000)], KillMode::Group, 8300),
            (&[(term, 8000)], KillMode::Process, 8000),
            (&[(term, 400)], KillMode::Mixed, 700),
            (&[(term, 0)], KillMode::Mixed, 0),
            // Without a signal rung they have the default of 3 s, if the leader was gone before.
            (&[(Step::Event, 500)], KillMode::Mixed, 3000),
            (&[(Step::Event, 5000)], KillMode::Mixed, 5300),
        ] {
            assert_eq!(survivors_time(&program(ladder, kill_mode)), millis(expected), "{ladder:?}, {kill_mode:?}");
        }
    }
}
