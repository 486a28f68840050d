//! What workers say of their status, and how much of it becomes a message.

use super::allowance::Allowance;
use super::turn::Shell;
use crate::machine::Event;
use crate::model::{InstanceId, Notice, ProcId, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many status messages of one instance are shown at once …
const AT_ONCE: u32 = 10;
/// … and then one in this time. Of those between, the newest is kept and the others are counted.
const EVERY: Duration = Duration::from_secs(5);

/// The statuses of all instances. One entry for each that ever told one.
#[derive(Debug, Default)]
pub struct Statuses {
    told: BTreeMap<InstanceId, Told>,
    /// What waits until a message is allowed again. Mostly empty, and without a timer then.
    waiting: BTreeMap<InstanceId, Waiting>,
}

#[derive(Debug)]
struct Told {
    /// What this incarnation said last, which is worth no second message.
    last: Option<(ProcId, String)>,
    /// Kept over restarts.
    allowance: Allowance,
}

#[derive(Debug)]
struct Waiting {
    proc: ProcId,
    status: String,
    /// How many before it were not shown.
    dropped: u32,
    until: Time,
}

impl Waiting {
    /// As it is shown, with the number of those that are not.
    fn into_event(self) -> Event {
        let text = match self.dropped {
            0 => self.status,
            1 => format!("{} (1 status message before it was dropped)", self.status),
            many => format!("{} ({many} status messages before it were dropped)", self.status),
        };
        Event::Notified { proc: self.proc, notice: Notice::Status(text) }
    }
}

impl Statuses {
    /// Takes what an incarnation says. Answers it if it is to be shown now; else it is a repetition, or waits.
    pub fn hear(&mut self, now: Time, instance: InstanceId, proc: ProcId, status: String) -> Option<Event> {
        let fresh = || Told { last: None, allowance: Allowance::new(AT_ONCE, EVERY) };
        let told = self.told.entry(instance).or_insert_with(fresh);
        let said = (proc, status);
        if told.last.as_ref() == Some(&said) {
            return None;
        }
        let (_, status) = told.last.insert(said).clone();
        if let Some(waiting) = self.waiting.get_mut(&instance) {
            (waiting.proc, waiting.status) = (proc, status);
            waiting.dropped = waiting.dropped.saturating_add(1);
            return None;
        }
        if told.allowance.take(now, 1) {
            return Some(Waiting { proc, status, dropped: 0, until: now }.into_event());
        }
        self.waiting.insert(instance, Waiting { proc, status, dropped: 0, until: told.allowance.next(now) });
        None
    }

    /// When something that waits may be shown.
    pub fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Takes what may be shown by now.
    pub fn take_due(&mut self, now: Time) -> Vec<Event> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        let due: Vec<InstanceId> = due.map(|(&instance, _)| instance).collect();
        let mut shown = Vec::new();
        for instance in due {
            if let Some(told) = self.told.get_mut(&instance) {
                told.allowance.take(now, 1);
            }
            shown.extend(self.waiting.remove(&instance).map(Waiting::into_event));
        }
        shown
    }

    /// Takes what waits of an incarnation that has died: its last word is shown before its death.
    pub fn take_last(&mut self, instance: InstanceId) -> Option<Event> {
        self.waiting.remove(&instance).map(Waiting::into_event)
    }
}

impl Shell {
    /// Tells the statuses that waited for their time.
    pub(super) fn hear_statuses(&mut self) {
        if self.statuses.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.facts.extend(self.statuses.take_due(self.now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: InstanceId = InstanceId(0);

    fn text(event: Option<Event>) -> Option<String> {
        match event {
            Some(Event::Notified { notice: Notice::Status(text), .. }) => Some(text),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn a_status_is_shown_when_it_is_another_than_before() {
        let mut statuses = Statuses::default();
        let mut hear = |proc, status: &str| text(statuses.hear(Time::ZERO, W, ProcId(proc), status.to_owned()));
        let shown = ["a", "a", "b", "a"].map(|status| hear(1, status).is_some());
        assert_eq!(shown, [true, false, true, true]);
        assert!(hear(2, "a").is_some(), "of another incarnation it is news");
    }

    #[test]
    fn of_a_flood_the_newest_is_shown_with_the_number_of_the_others() {
        let mut statuses = Statuses::default();
        let at = |millis: u64| Time::from_millis(1000 + millis);
        let shown = (0..1000).filter_map(|number| statuses.hear(at(0), W, ProcId(1), number.to_string()));
        assert_eq!(shown.count(), AT_ONCE as usize);
        assert_eq!(statuses.deadline(), Some(at(5000)));
        assert_eq!(statuses.take_due(at(4999)), []);
        let shown = text(statuses.take_due(at(5000)).pop());
        assert_eq!(shown.unwrap(), "999 (989 status messages before it were dropped)");
        assert_eq!((statuses.deadline(), statuses.take_due(at(9999))), (None, vec![]));
        let late = statuses.hear(at(5001), W, ProcId(1), "late".to_owned());
        assert_eq!(late, None, "a message that waited is one of those that are allowed");
        assert_eq!(text(statuses.take_last(W)).unwrap(), "late");
        assert_eq!(statuses.deadline(), None);
    }

    #[test]
    fn a_restart_does_not_begin_the_count_anew_and_others_are_counted_apart() {
        let mut statuses = Statuses::default();
        let shown = (0..100).filter_map(|number| statuses.hear(Time::ZERO, W, ProcId(number), "up".to_owned()));
        assert_eq!(shown.count(), AT_ONCE as usize);
        assert!(statuses.hear(Time::ZERO, InstanceId(1), ProcId(1), "up".to_owned()).is_some());
    }
}
