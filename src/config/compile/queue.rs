//! Queues.

use super::{Linker, backoff, named};
use crate::config::problem::{Problem, Span, quote};
use crate::config::raw::Queue;
use crate::config::read::Field;
use crate::config::value::{BackoffTable, OrOff, show_size};
use crate::model::Framing;
use crate::model::plan::{Backoff, OnFull, QueuePlan};
use std::time::Duration;

const SIZE: usize = 1024;
const MAX_BYTES: u64 = 64 << 20;
const MAX_ITEM: u64 = 1 << 20;
const LEFTOVERS_MAX: u64 = 1 << 30;
const ITEM_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u64 = 5;
const MAX_CRASHES: u64 = 3;
const BACKOFF: Backoff =
    Backoff { delay: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(600), jitter: 0.2 };

impl Linker<'_> {
    pub(super) fn queues(&mut self) -> Vec<QueuePlan> {
        let file = self.file;
        let absent = Queue::default();
        let sections = named(&file.queue).iter();
        sections
            .map(|section| {
                let keys = section.section.as_ref().unwrap_or(&absent);
                self.queue(&section.name.value, keys, section.name.span)
            })
            .collect()
    }

    fn queue(&mut self, name: &str, keys: &Queue, name_span: Span) -> QueuePlan {
        let max_item = keys.max_item.value().map_or(MAX_ITEM, |size| size.0);
        let max_bytes = keys.max_bytes.value().map_or(MAX_BYTES, |size| size.0);
        if max_bytes < max_item {
            self.tell_too_small(keys, max_bytes, max_item, name_span);
        }
        QueuePlan {
            name: name.to_owned(),
            size: keys.size.value().and_then(|count| usize::try_from(count.0).ok()).unwrap_or(SIZE),
            max_bytes,
            max_item: usize::try_from(max_item).unwrap_or(usize::MAX),
            on_full: keys.on_full.value().map_or(OnFull::Block, |word| word.0),
            item_timeout: match keys.item_timeout.value() {
                None => Some(ITEM_TIMEOUT),
                Some(OrOff::Off) => None,
                Some(OrOff::On(span)) => Some(span.0),
            },
            max_attempts: small(keys.max_attempts.value().map_or(MAX_ATTEMPTS, |count| count.0)),
            max_crashes: small(keys.max_crashes.value().map_or(MAX_CRASHES, |count| count.0)),
            backoff: self.queue_backoff(&keys.backoff),
            drain_on_stop: keys.drain_on_stop.value().is_some_and(|flag| flag.0),
            leftovers: self.path_of(keys.leftovers.given()),
            leftovers_first: self.leftovers_first(keys),
            leftovers_max: keys.leftovers_max.value().map_or(LEFTOVERS_MAX, |size| size.0),
            framing: self.framing_of(name, keys),
        }
    }

    fn leftovers_first(&mut self, keys: &Queue) -> bool {
        let first = keys.leftovers_first.value().is_some_and(|flag| flag.0);
        if first && keys.leftovers.span().is_none() {
            let span = keys.leftovers_first.span().unwrap_or(Span { start: 0, end: 0 });
            let problem =
                Problem::error(span, "leftovers-first without leftovers: there is no file to take items from");
            self.problems.push(problem.help("add leftovers = \"FILE\", or take leftovers-first out"));
        }
        first
    }

    fn tell_too_small(&mut self, keys: &Queue, max_bytes: u64, max_item: u64, name_span: Span) {
        let (bytes, item) = (show_size(max_bytes), show_size(max_item));
        let span = keys.max_bytes.span().or(keys.max_item.span()).unwrap_or(name_span);
        let message = format!("max-bytes of {bytes} cannot hold one item of max-item, {item}");
        self.problems.push(Problem::error(span, message).help("lower max-item, or raise max-bytes"));
    }

    fn queue_backoff(&mut self, keys: &Field<BackoffTable>) -> Backoff {
        let Some(table) = keys.given() else { return BACKOFF };
        let keys = &table.value;
        self.check_backoff(keys.delay.value().map(|d| d.0), keys.max.given().map(|max| (max.value.0, max.span)));
        let (delay, max) = (keys.delay.value().map(|span| span.0), keys.max.value().map(|span| span.0));
        backoff(delay, keys.factor.value().map(|f| f.0), max, keys.jitter.value().map(|j| j.0), BACKOFF)
    }

    /// Only where both are written: a default never clashes.
    pub(super) fn check_backoff(&mut self, delay: Option<Duration>, max: Option<(Duration, Span)>) {
        let (Some(delay), Some((max, span))) = (delay, max) else { return };
        if max < delay {
            let (max, delay) = (super::super::show(max), super::super::show(delay));
            self.error(span, format!("the longest wait, {max}, is shorter than the first one, {delay}"));
        }
    }

    /// Leftovers are written in the framing of the queue's source, so that they can be fed in again.
    fn framing_of(&mut self, name: &str, keys: &Queue) -> Framing {
        let sources = named(&self.file.source).iter().filter_map(|section| section.section.as_ref());
        let own = sources.filter(|source| source.queue.value().is_some_and(|queue| queue.0 == name));
        let framings =
            own.map(|source| source.framing.value().map_or(Framing::Line, |word| word.0)).collect::<Vec<_>>();
        let framing = framings.first().copied().unwrap_or(Framing::Line);
        if let (Some(span), true) = (keys.leftovers.span(), framings.iter().any(|&other| other != framing)) {
            let message = format!("the sources of {} have different framings, so its leftovers have none", quote(name));
            self.problems.push(Problem::error(span, message).help("give each framing a queue of its own"));
        }
        framing
    }
}

/// The reader has checked that it is small.
pub(super) fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
