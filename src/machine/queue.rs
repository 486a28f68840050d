//! One bounded queue.
//!
//! An item is, at each moment, in exactly one place:
//!
//! ```text
//!   ready ──deliver──▶ leased ──ok──▶ settling ──written──▶ done
//!     ▲                  │  │             └──not written──▶ handed back
//!     │◀──release, stop──┘  ├─fail, too many──▶ dead
//!     └──◀── delayed ◀──────┘ retry, crash, timeout
//!   any of ready, delayed, leased ──at a stop──▶ handed back
//! ```
//!
//! Always: `accepted = done + dead + handed back + ready + delayed + leased + settling`, and the last four together are
//! never more than `size` items and `max_bytes` bytes, but while a stop takes in what its sources still had.

use crate::model::plan::{Backoff, Plan, QueuePlan};
use crate::model::{ExitStatus, Framing, InstanceId, Payload, QueueId, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub seq: u64,
    pub payload: Payload,
    pub deliveries: u32,
    /// Retry verdicts and timeouts.
    pub attempts: u32,
    /// Deaths of workers that are blamed on it.
    pub crashes: u32,
    pub last_status: Option<ExitStatus>,
}

/// Whether a queue still gives items out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// A stop works it off: what it has is given out, what standard input still had is not taken in.
    Draining,
    /// What comes in or back is handed back.
    Closed,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub gate: Gate,
    pub ready: VecDeque<Item>,
    delayed: BTreeMap<(Time, u64), Item>,
    /// Instances that may have room for an item, the one that waits longest first.
    pub line: VecDeque<InstanceId>,
    pub leased: usize,
    pub settling: usize,
    bytes: u64,
    next_seq: u64,
    /// Its sources may find room that was made; looked at with the next `Tick`, for many items at once.
    pub roomier: bool,
    /// Every item in it comes from a source of lines, and so holds no line feed.
    pub lines_only: bool,
    pub stats: Stats,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub accepted: u64,
    pub done: u64,
    pub dead: u64,
    pub handed_back: u64,
    /// With a delimiter for each.
    pub handed_back_bytes: u64,
    pub retried: u64,
    pub crashed: u64,
    pub timed_out: u64,
}

impl Queue {
    pub fn new() -> Queue {
        Queue {
            gate: Gate::Open,
            ready: VecDeque::new(),
            delayed: BTreeMap::new(),
            line: VecDeque::new(),
            leased: 0,
            settling: 0,
            bytes: 0,
            next_seq: 1,
            roomier: false,
            lines_only: false,
            stats: Stats::default(),
        }
    }

    /// The queue as the plan's sources fill it.
    pub fn of(plan: &Plan, id: QueueId) -> Queue {
        let mut sources = plan.sources.iter().filter(|source| source.queue == id).peekable();
        let lines_only = sources.peek().is_some() && sources.all(|source| source.framing == Framing::Line);
        Queue { lines_only, ..Queue::new() }
    }

    /// Items that are somewhere between accepted and settled.
    pub fn held(&self) -> usize {
        self.ready.len() + self.delayed.len() + self.leased + self.settling
    }

    pub fn has_room(&self, plan: &QueuePlan, payload: usize) -> bool {
        self.held() < plan.size && self.bytes.saturating_add(payload as u64) <= plan.max_bytes
    }

    pub fn accept(&mut self, payload: Payload) -> Item {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.stats.accepted += 1;
        self.bytes += payload.len() as u64;
        Item { seq, payload, deliveries: 0, attempts: 0, crashes: 0, last_status: None }
    }

    /// An item that goes out of the queue for good: done, dead or handed back.
    pub fn forget(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_sub(item.payload.len() as u64);
    }

    pub fn delay(&mut self, until: Time, item: Item) {
        self.delayed.insert((until, item.seq), item);
    }

    pub fn first_delayed(&self) -> Option<Time> {
        self.delayed.first_key_value().map(|(&(until, _), _)| until)
    }

    /// Delayed items whose time has come are ready again, behind those that wait already.
    pub fn wake(&mut self, now: Time) {
        while self.first_delayed().is_some_and(|until| until <= now)
            && let Some((_, item)) = self.delayed.pop_first()
        {
            self.ready.push_back(item);
        }
    }

    /// Takes out all that waits, ready or delayed, in the order of acceptance.
    pub fn empty(&mut self) -> Vec<Item> {
        let delayed = std::mem::take(&mut self.delayed).into_values();
        let mut items: Vec<Item> = self.ready.drain(..).chain(delayed).collect();
        items.sort_by_key(|item| item.seq);
        items
    }
}

/// The `n`th delay (from 1) of an exponential back-off; `chance` in 0..1 is spread over `1 ± jitter`.
pub(super) fn backoff_delay(backoff: &Backoff, n: u32, chance: f64) -> Duration {
    // The factor's power may be infinite, and 0 times that is NaN, which `min` would take for the longest delay.
    if backoff.delay.is_zero() {
        return Duration::ZERO;
    }
    let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
    let plain = backoff.delay.as_secs_f64() * backoff.factor.powi(exponent);
    let capped = plain.min(backoff.max.as_secs_f64());
    let spread = 1.0 + backoff.jitter * (2.0 * chance - 1.0);
    Duration::try_from_secs_f64(capped * spread).unwrap_or(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(delay: u64, factor: f64, max: u64, jitter: f64) -> Backoff {
        Backoff { delay: Duration::from_secs(delay), factor, max: Duration::from_secs(max), jitter }
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = seconds(1, 2.0, 600, 0.0);
        let delays: Vec<u64> = [1, 2, 3, 10, 11, u32::MAX].map(|n| backoff_delay(&backoff, n, 0.5).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 512, 600, 600]);
    }

    /// 0 times a factor that has grown beyond all numbers is no number.
    #[test]
    fn no_delay_stays_none_however_often_it_is_multiplied() {
        let backoff = seconds(0, 2.0, 30, 0.2);
        let delays = [1, 2, 1_024, 1_025, 5_000, u32::MAX].map(|n| backoff_delay(&backoff, n, 0.9));
        assert_eq!(delays, [Duration::ZERO; 6]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let backoff = seconds(10, 1.0, 10, 0.2);
        assert_eq!(backoff_delay(&backoff, 1, 0.0), Duration::from_secs(8));
        assert_eq!(backoff_delay(&backoff, 1, 1.0), Duration::from_secs(12));
    }

    #[test]
    fn delayed_items_wake_in_order_of_time() {
        let mut queue = Queue::new();
        let items: Vec<Item> = (0..3).map(|_| queue.accept(Payload::from(&b"x"[..]))).collect();
        for (item, at) in items.into_iter().zip([30, 10, 20]) {
            queue.delay(Time::from_millis(at), item);
        }
        queue.wake(Time::from_millis(20));
        assert_eq!(queue.ready.iter().map(|item| item.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(queue.held(), 3);
    }
}
