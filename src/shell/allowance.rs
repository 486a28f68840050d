//! How often something may happen: so many times at once, then one more each time a span has passed (a token bucket).

use crate::model::Time;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    most: u32,
    /// After each of these spans one more is allowed, up to `most`.
    every: Duration,
    left: u32,
    /// Until when the spans are counted. `None` before the first use: then all are there.
    counted: Option<Time>,
}

impl Allowance {
    pub const fn new(most: u32, every: Duration) -> Allowance {
        Allowance { most, every, left: most, counted: None }
    }

    /// Uses up `cost`, or what is left. False if nothing was left.
    pub fn take(&mut self, now: Time, cost: u32) -> bool {
        self.refill(now);
        let some = self.left > 0;
        self.left = self.left.saturating_sub(cost);
        some
    }

    /// When there is one to take; `now` where there is one already.
    pub fn next(&mut self, now: Time) -> Time {
        self.refill(now);
        if self.left > 0 { now } else { self.counted.unwrap_or(now) + self.every }
    }

    fn refill(&mut self, now: Time) {
        let counted = self.counted.get_or_insert(now);
        let spans = now.since(*counted).as_nanos().checked_div(self.every.as_nanos()).unwrap_or(u128::MAX);
        let missing = self.most - self.left.min(self.most);
        match u32::try_from(spans) {
            Ok(spans) if spans < missing => {
                self.left += spans;
                *counted = *counted + self.every.saturating_mul(spans);
            }
            Ok(_) | Err(_) => {
                self.left = self.most;
                *counted = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn so_many_at_once_and_then_one_a_span() {
        let mut allowance = Allowance::new(3, SECOND);
        let at = Time::from_millis;
        let taken: Vec<bool> = (0..5).map(|_| allowance.take(at(500), 1)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert_eq!(allowance.next(at(700)), at(1500));
        assert!(!allowance.take(at(1499), 1));
        assert!(allowance.take(at(1500), 1));
        assert!(!allowance.take(at(1500), 1));
        assert!(allowance.take(at(2600), 1) && !allowance.take(at(2600), 1));
        assert_eq!(allowance.next(at(2600)), at(3500), "parts of a span are not lost");
    }

    #[test]
    fn a_long_quiet_time_allows_no_more_than_at_first() {
        let mut allowance = Allowance::new(2, SECOND);
        assert!(allowance.take(Time::ZERO, 9), "what costs more than is left takes all");
        let later = Time::from_millis(1_000_000);
        let taken: Vec<bool> = (0..3).map(|_| allowance.take(later, 1)).collect();
        assert_eq!(taken, [true, true, false]);
        assert!(!allowance.take(Time::from_millis(1_000_999), 1), "a full allowance does not count on");
    }
}
