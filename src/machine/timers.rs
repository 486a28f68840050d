//! What is due when. One moment per key; setting it again moves it. In order of time, then of key, so that equal stamps
//! are told in the same order in every run.

use crate::model::{InstanceId, QueueId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The one deadline of the whole stop.
    Deadline,
    /// How long standard input is read into the leftovers.
    Stdin,
    /// How long unwritten results are waited for once everybody has left.
    Farewell,
    /// What strangers have to themselves after a signal.
    Strangers,
    /// The next rung, the end of a back-off, the patience with survivors: an instance waits for one thing at a time.
    Slot(InstanceId),
    /// The item clock of an instance.
    Clock(InstanceId),
    /// How long an instance may take to be ready.
    Start(InstanceId),
    /// The next question to an instance, or the end of its delay.
    Probe(InstanceId),
    /// How long an instance may be silent.
    Watch(InstanceId),
    /// How long a used-up instance waits for the others to be ready. It holds no item then, so that no clock runs.
    Renewal(InstanceId),
    /// The first delayed item of a queue.
    Delayed(QueueId),
    /// In a stop: the next look at what it waits for. The last of one moment, so that what ends then is not said to last.
    Waits,
}

impl Key {
    fn is_patience(self) -> bool {
        match self {
            Key::Strangers
            | Key::Slot(_)
            | Key::Clock(_)
            | Key::Start(_)
            | Key::Probe(_)
            | Key::Watch(_)
            | Key::Renewal(_) => true,
            Key::Deadline | Key::Stdin | Key::Farewell | Key::Delayed(_) | Key::Waits => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    moments: BTreeMap<Key, Time>,
    order: BTreeSet<(Time, Key)>,
}

impl Timers {
    pub fn set(&mut self, key: Key, at: Time) {
        let before = self.moments.insert(key, at);
        if before == Some(at) {
            return;
        }
        // The new moment first: a tree that is never empty keeps its node, and mostly there is but one clock.
        self.order.insert((at, key));
        if let Some(before) = before {
            self.order.remove(&(before, key));
        }
    }

    pub fn cancel(&mut self, key: Key) {
        if let Some(at) = self.moments.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    pub fn get(&self, key: Key) -> Option<Time> {
        self.moments.get(&key).copied()
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn first(&self) -> Option<Time> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes one key that is due, the earliest first.
    pub fn pop(&mut self, now: Time) -> Option<Key> {
        let &(at, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.cancel(key);
        Some(key)
    }

    /// Moves the clocks that measure patience with others (starts, items, strangers) by `late`, except those in `apart`. The
    /// deadline of the stop and the moments of delayed items stay: those are promises to the world outside.
    pub fn shift(&mut self, late: Duration, apart: &BTreeSet<Key>) {
        let moves = |key: &Key| key.is_patience() && !apart.contains(key);
        let moved: Vec<(Key, Time)> =
            self.moments.iter().filter(|(key, _)| moves(key)).map(|(&key, &at)| (key, at)).collect();
        for (key, at) in moved {
            self.set(key, at + late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Key = Key::Clock(InstanceId(0));

    #[test]
    fn a_key_has_one_moment_and_the_last_word_counts() {
        let mut timers = Timers::default();
        timers.set(CLOCK, Time::from_millis(10));
        timers.set(CLOCK, Time::from_millis(30));
        timers.set(Key::Deadline, Time::from_millis(20));
        assert_eq!(timers.pop(Time::from_millis(19)), None);
        assert_eq!(timers.pop(Time::from_millis(40)), Some(Key::Deadline));
        assert_eq!(timers.pop(Time::from_millis(40)), Some(CLOCK));
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn a_shift_moves_patience_and_not_promises() {
        let mut timers = Timers::default();
        timers.set(CLOCK, Time::from_millis(10));
        timers.set(Key::Strangers, Time::from_millis(10));
        timers.set(Key::Deadline, Time::from_millis(20));
        timers.shift(Duration::from_millis(50), &BTreeSet::new());
        assert_eq!([CLOCK, Key::Strangers].map(|key| timers.get(key)), [Some(Time::from_millis(60)); 2]);
        assert_eq!(timers.get(Key::Deadline), Some(Time::from_millis(20)));
    }
}
