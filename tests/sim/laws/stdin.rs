//! "stdin": how long standard input is read in a stop, and that it is not given up without a cause.

use super::{Laws, Verdict, hold};
use crate::fake::Fake;
use exeunt::machine::{Action, Event};
use exeunt::model::plan::{Feed, LAST_MOMENT, STDIN_SILENCE};
use exeunt::model::{QueueId, SourceId, Time};
use std::collections::BTreeMap;

/// What was seen of standard input in a stop.
#[derive(Default)]
pub struct Stdin {
    /// When bytes of it came last, or the stop began.
    last_read: Time,
    given_up: bool,
    /// Since when no process of ours is left.
    alone_since: Option<Time>,
    /// Bytes that were handed back, with a delimiter for each item.
    handed_back: BTreeMap<QueueId, u64>,
}

impl Laws {
    pub(super) fn hears_stdin(&mut self, now: Time, event: &Event) {
        if let Event::StdinRead { .. } = event {
            self.stdin.last_read = now;
        }
    }

    pub(super) fn stop_begins_for_stdin(&mut self, now: Time) {
        self.stdin.last_read = now;
    }

    fn source_on_stdin(&self) -> Option<SourceId> {
        let at = self.plan.sources.iter().position(|source| source.feed == Feed::Stdin)?;
        Some(SourceId(u32::try_from(at).unwrap()))
    }

    /// It is given up for one of the reasons that there are.
    pub(super) fn stdin_is_given_up(&mut self, now: Time, source: SourceId) -> Verdict {
        let plan = self.plan.source(source).clone();
        if plan.feed != Feed::Stdin {
            return Ok(());
        }
        self.stdin.given_up = true;
        let queue = self.plan.queue(plan.queue);
        let handed_back = self.stdin.handed_back.get(&plan.queue).copied().unwrap_or(0);
        let silent = now >= self.stdin.last_read + STDIN_SILENCE;
        let moment = plan.stop_read_timeout.min(LAST_MOMENT);
        // In the turn in which the last process is told to have left, the law has not looked yet.
        let alone = self.open().next().is_none();
        let long = self.stdin.alone_since.map_or(moment.is_zero(), |since| now >= since + moment);
        let hurried = self.past_deadline(now) || self.interrupt.is_some();
        let allowed = queue.leftovers.is_none() || handed_back >= queue.leftovers_max;
        hold("stdin", allowed || hurried || (alone && (silent || long)), || {
            format!("{source:?} is read no more at {now}, the last bytes came at {}", self.stdin.last_read)
        })
    }

    pub(super) fn hands_back_bytes(&mut self, action: &Action) {
        if let Action::HandBack { queue, payload, .. } = action {
            *self.stdin.handed_back.entry(*queue).or_default() += payload.len() as u64 + 1;
        }
    }

    /// `leftovers-max`: what is read after it was reached is the last.
    pub(super) fn leftovers_have_a_limit(&self, event: &Event) -> Verdict {
        let Event::StdinRead { source, .. } = event else { return Ok(()) };
        let queue = self.plan.source(*source).queue;
        let handed_back = self.stdin.handed_back.get(&queue).copied().unwrap_or(0);
        let most = self.plan.queue(queue).leftovers_max;
        hold("stdin", self.inert || self.stdin.given_up || handed_back < most, || {
            format!("{handed_back} bytes are handed back of {most} at most, and {source:?} is read on")
        })
    }

    /// When every process has left, it is read for a moment only: whoever goes on writing does not keep the stop.
    pub(super) fn stdin_ends(&mut self, now: Time, fake: &Fake) -> Verdict {
        let drained =
            (0..).zip(&self.plan.queues).all(|(at, queue)| !queue.drain_on_stop || self.reference.is_empty(at));
        let alone = self.stop.is_some() && drained && self.open().next().is_none();
        self.stdin.alone_since = if alone { Some(self.stdin.alone_since.unwrap_or(now)) } else { None };
        let (Some(since), Some(source)) = (self.stdin.alone_since, self.source_on_stdin()) else { return Ok(()) };
        let timeout = self.plan.source(source).stop_read_timeout;
        let due = (since + timeout).min(since.max(self.stdin.last_read) + STDIN_SILENCE);
        let read_on = !self.stdin.given_up && !fake.sources[source.index()].ended;
        hold("stdin", !read_on || now < due || since == now, || format!("{source:?} is read on at {now}, due at {due}"))
    }
}
