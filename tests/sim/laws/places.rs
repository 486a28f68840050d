//! In which order items are handed out, and that none waits for no reason. Part of the reference model of the queues: where each
//! item waits that nobody has.

use super::{Verdict, hold};
use exeunt::machine::DeathReason;
use exeunt::model::plan::{Backoff, Plan};
use exeunt::model::{Payload, QueueId, SourceId, Time, Token};
use std::collections::VecDeque;
use std::rc::Rc;

pub struct Places {
    plan: Rc<Plan>,
    queues: Vec<Waiting>,
    /// Given by each source and never handed out, in order: accepted or not, that cannot be seen.
    fresh: Vec<VecDeque<Payload>>,
}

#[derive(Default)]
struct Waiting {
    /// Came back uncounted, and goes out before everything else.
    head: VecDeque<Payload>,
    delayed: Vec<Delayed>,
    /// The number of the item that was handed out for the first time last.
    newest: u64,
}

struct Delayed {
    payload: Payload,
    /// The jitter of its delay puts it between these.
    earliest: Time,
    latest: Time,
}

/// What is known to be in a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub items: usize,
    pub bytes: u64,
}

impl Places {
    pub fn new(plan: Rc<Plan>) -> Places {
        Places {
            queues: plan.queues.iter().map(|_| Waiting::default()).collect(),
            fresh: plan.sources.iter().map(|_| VecDeque::new()).collect(),
            plan,
        }
    }

    pub fn submitted(&mut self, source: SourceId, payload: &Payload) {
        self.fresh[source.index()].push_back(payload.clone());
    }

    /// In order, the oldest first.
    pub fn at_the_head(&mut self, queue: QueueId, payloads: Vec<Payload>) {
        let head = &mut self.queues[queue.index()].head;
        payloads.into_iter().rev().for_each(|payload| head.push_front(payload));
    }

    /// The `n`th back-off of this item; 0 for the plain delay of one that was given back unasked.
    pub fn delayed(&mut self, now: Time, queue: QueueId, payload: &Payload, n: u32) {
        let backoff = self.plan.queue(queue).backoff;
        let (least, most) = match n {
            0 => (backoff.delay, backoff.delay),
            n => super::restart::bounds(&Backoff { ..backoff }, n),
        };
        let delayed = Delayed { payload: payload.clone(), earliest: now + least, latest: now + most };
        self.queues[queue.index()].delayed.push(delayed);
    }

    /// Items that came back uncounted go out first and in their old order, new ones in the order of their sources and of their
    /// numbers, delayed ones not before their time nor after one whose time was over before.
    pub fn delivered(&mut self, now: Time, queue: QueueId, payload: &Payload, token: Token) -> Verdict {
        let waiting = &mut self.queues[queue.index()];
        if let Some(first) = waiting.head.front() {
            let right = first == payload;
            let text = String::from_utf8_lossy(first).into_owned();
            hold("order", right, || format!("{token} is handed out before {text:?}, which came back to the head"))?;
            waiting.head.pop_front();
            return Ok(());
        }
        if let Some(at) = waiting.delayed.iter().position(|delayed| delayed.payload == *payload) {
            let item = waiting.delayed.remove(at);
            hold("order", item.earliest <= now, || {
                format!("{token} is due at {} and goes out at {now}", item.earliest)
            })?;
            let earlier = waiting.delayed.iter().find(|other| other.latest < item.earliest);
            return hold("order", earlier.is_none(), || {
                format!("{token} goes out before one that was due at {:?}", earlier.map(|other| other.latest))
            });
        }
        hold("order", token.seq > waiting.newest, || format!("{token} goes out after number {}", waiting.newest))?;
        waiting.newest = token.seq;
        self.leaves_its_source(payload)
    }

    /// An item leaves the queue without being handed out again.
    pub fn gone(&mut self, queue: QueueId, payload: &Payload, reason: Option<&DeathReason>) -> Verdict {
        let waiting = &mut self.queues[queue.index()];
        if let Some(at) = waiting.head.iter().position(|other| other == payload) {
            waiting.head.remove(at);
            return Ok(());
        }
        if let Some(at) = waiting.delayed.iter().position(|delayed| delayed.payload == *payload) {
            waiting.delayed.remove(at);
            return Ok(());
        }
        match reason {
            // Where it stands in its queue is not seen by the worker.
            Some(_) => self.fresh.iter_mut().for_each(|fresh| fresh.retain(|other| other != payload)),
            // What standard input still has goes into the leftovers while what was read before is worked off.
            None if self.plan.queue(queue).drain_on_stop => _ = self.leaves_its_source(payload),
            None => self.leaves_its_source(payload)?,
        }
        Ok(())
    }

    fn leaves_its_source(&mut self, payload: &Payload) -> Verdict {
        for fresh in &mut self.fresh {
            if let Some(at) = fresh.iter().position(|other| other == payload) {
                fresh.remove(at);
                return hold("order", at == 0, || "an item overtakes one of its source".into());
            }
        }
        Ok(())
    }

    /// Waiting with its place known, for what a queue holds at least.
    pub fn load(&self, queue: QueueId) -> Load {
        let waiting = &self.queues[queue.index()];
        let payloads = waiting.head.iter().chain(waiting.delayed.iter().map(|delayed| &delayed.payload));
        payloads.fold(Load::default(), |load, payload| load.and(payload))
    }

    /// An item that waits while an instance has room; `load`: what the queue holds but for items never handed out.
    pub fn starving(&self, now: Time, queue: QueueId, load: Load) -> Option<String> {
        let waiting = &self.queues[queue.index()];
        let limits = self.plan.queue(queue);
        let fits =
            |payload: &Payload| load.items < limits.size && load.bytes + payload.len() as u64 <= limits.max_bytes;
        let sources = self.fresh.iter().zip(&self.plan.sources).filter(|(_, plan)| plan.queue == queue);
        let fresh = sources.filter_map(|(fresh, _)| fresh.front()).find(|payload| fits(payload));
        let due = waiting.delayed.iter().find(|delayed| delayed.latest <= now).map(|delayed| &delayed.payload);
        let waits = waiting.head.front().or(due).or(fresh)?;
        Some(String::from_utf8_lossy(waits).into_owned())
    }
}

impl Load {
    pub fn and(self, payload: &Payload) -> Load {
        Load { items: self.items + 1, bytes: self.bytes + payload.len() as u64 }
    }
}
