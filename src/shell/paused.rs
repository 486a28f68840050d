//! Descriptors that are out of the poll set for a while, because their writers say more than is worth a wake-up.

use super::table::Topic;
use super::turn::Shell;
use crate::model::Time;
use std::collections::BTreeMap;

/// Each paused descriptor, and when it is read again. Empty most of the time: a pause begins only after something was
/// read, so an idle run has no timer here.
#[derive(Debug, Default)]
pub struct Paused(BTreeMap<Topic, Time>);

impl Paused {
    pub fn insert(&mut self, topic: Topic, until: Time) {
        self.0.insert(topic, until);
    }

    /// When the first pause ends.
    pub fn deadline(&self) -> Option<Time> {
        self.0.values().min().copied()
    }

    /// Takes the topics whose pause is over. One may belong to an incarnation that is gone by now.
    pub fn take_due(&mut self, now: Time) -> Vec<Topic> {
        let due: Vec<Topic> = self.0.iter().filter(|&(_, &until)| until <= now).map(|(&topic, _)| topic).collect();
        due.iter().for_each(|topic| _ = self.0.remove(topic));
        due
    }
}

impl Shell {
    /// Reads the descriptors whose pause is over.
    pub(super) fn end_pauses(&mut self) {
        for topic in self.paused.take_due(self.now) {
            match topic {
                Topic::Ready(id) => self.hear_ready(id, true),
                Topic::Notify(id) => self.hear_paused_mailbox(id),
                Topic::Signals
                | Topic::News
                | Topic::Stdin
                | Topic::Birth(_)
                | Topic::Items(_)
                | Topic::Words(_)
                | Topic::Answer(_)
                | Topic::Output(_)
                | Topic::Errors(_)
                | Topic::SourceOutput(_) => debug_assert!(false, "{topic:?} is never paused"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcId;

    #[test]
    fn a_pause_ends_once_and_nothing_is_due_afterwards() {
        let (one, other) = (Topic::Ready(ProcId(1)), Topic::Notify(ProcId(1)));
        let mut paused = Paused::default();
        assert_eq!(paused.deadline(), None);
        paused.insert(one, Time::from_millis(1000));
        paused.insert(other, Time::from_millis(20));
        assert_eq!(paused.deadline(), Some(Time::from_millis(20)));
        assert_eq!(paused.take_due(Time::from_millis(19)), []);
        assert_eq!(paused.take_due(Time::from_millis(999)), [other]);
        assert_eq!(paused.take_due(Time::from_millis(1000)), [one]);
        assert_eq!(paused.deadline(), None);
    }
}
