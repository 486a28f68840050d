//! What a stop waits for. What takes longer than a second is said, once, with the time that it may still take at most.
//!
//! The timer `Key::Waits` runs in a stop only, and only while something may be waited for of which that was not said: it is set when
//! something happens, for what may begin by that, and at each look for what began since.

use super::Machine;
use super::action::Action;
use super::action::{Actions, LadderStep, Note};
use super::instance::{State, Survivors};
use super::ladder::UNKILLABLE_AFTER;
use super::queue::Gate;
use super::shutdown::{Phase, Stop};
use super::timers::Key;
use crate::model::plan::{Feed, Step};
use crate::model::{InstanceId, ProcId, QueueId, Signal, SourceId, Time};
use std::time::Duration;

/// Shorter waits are not said.
const UNSAID: Duration = Duration::from_secs(1);

/// What a stop waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// These took this rung and have not left; the next one follows, or after KILL they are given up.
    Rung { instances: Vec<InstanceId>, rung: LadderStep, next: Option<LadderStep> },
    /// These were killed before their program ran, and are not gone.
    Starts { instances: Vec<InstanceId> },
    /// Processes that these left behind.
    Members { instances: Vec<InstanceId>, killed: bool },
    /// A queue that is worked off first, with so many items.
    Drain { queue: QueueId, items: u64 },
    /// So many results are handed to the writer and not written.
    Results { items: u64 },
    /// Standard input is being read into the leftovers.
    Stdin { source: SourceId },
    /// What a command has left in its pipe is being read.
    Output { source: SourceId },
    /// Processes outside of every session that had this signal.
    Strangers { count: u32, signal: Signal },
}

/// One thing that is waited for: its name, by which it is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// So many rungs of its ladder were taken.
    Rung(ProcId, usize),
    Start(ProcId),
    Members {
        proc: ProcId,
        killed: bool,
    },
    Drain(QueueId),
    Results,
    Source(SourceId),
    Strangers(Signal),
}

struct Found {
    what: Awaited,
    since: Time,
    wait: Wait,
    until: Option<Time>,
}

impl Wait {
    /// One message for all that wait for the same.
    fn takes_in(&mut self, other: &Wait) -> bool {
        let (own, more) = match (self, other) {
            (Wait::Rung { instances, rung, next }, Wait::Rung { instances: more, rung: other, next: other_next })
                if rung == other && next == other_next =>
            {
                (instances, more)
            }
            (Wait::Starts { instances }, Wait::Starts { instances: more }) => (instances, more),
            (Wait::Members { instances, killed }, Wait::Members { instances: more, killed: other })
                if killed == other =>
            {
                (instances, more)
            }
            (
                Wait::Rung { .. }
                | Wait::Starts { .. }
                | Wait::Members { .. }
                | Wait::Drain { .. }
                | Wait::Results { .. }
                | Wait::Stdin { .. }
                | Wait::Output { .. }
                | Wait::Strangers { .. },
                _,
            ) => return false,
        };
        own.extend(more);
        true
    }
}

impl Machine {
    /// Something happened. In a stop, what begins by it is looked at in a second.
    pub(super) fn a_wait_may_have_begun(&mut self) {
        let stops = match &self.phase {
            Phase::Stopping(_) => true,
            Phase::Sweeping(sweep) => !sweep.is_patient(),
            Phase::Running | Phase::Over => false,
        };
        if stops && self.timers.get(Key::Waits).is_none() {
            self.timers.set(Key::Waits, self.now + UNSAID);
        }
    }

    pub(super) fn look_at_waits(&mut self, out: &mut Actions) {
        let mut said: Vec<(Wait, Option<Time>)> = Vec::new();
        let mut next: Option<Time> = None;
        for Found { what, since, wait, until } in self.awaited() {
            let due = since + UNSAID;
            if self.said.contains(&what) {
                continue;
            }
            if due > self.now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else {
                self.said.insert(what);
                let mut alike = said.iter_mut().filter(|(_, last)| last.is_some() == until.is_some());
                match alike.find_map(|(other, last)| other.takes_in(&wait).then_some(last)) {
                    Some(last) => *last = (*last).max(until),
                    None => said.push((wait, until)),
                }
            }
        }
        for (wait, until) in said {
            let left = until.map(|until| until.since(self.now));
            out.push(Action::Note(Note::StillWaiting { wait, left }));
        }
        if let Some(next) = next {
            self.timers.set(Key::Waits, next);
        }
    }

    fn awaited(&self) -> Vec<Found> {
        match &self.phase {
            Phase::Running | Phase::Over => Vec::new(),
            Phase::Sweeping(sweep) => {
                let strangers = sweep.waits_after().map(|(signal, since)| Found {
                    what: Awaited::Strangers(signal),
                    since,
                    wait: Wait::Strangers { count: sweep.count, signal },
                    until: self.timers.get(Key::Strangers),
                });
                strangers.into_iter().collect()
            }
            Phase::Stopping(stop) => {
                let mut found: Vec<Found> = stop.awaited().filter_map(|id| self.awaited_of(id, stop)).collect();
                if let Some(last_left) = stop.last_left {
                    found.extend(self.awaited_at_the_end(stop, last_left));
                } else if !self.is_drained() {
                    found.extend(self.queues_awaited(stop));
                }
                found
            }
        }
    }

    fn awaited_of(&self, id: InstanceId, stop: &Stop) -> Option<Found> {
        let (slot, deadline) = (self.timers.get(Key::Slot(id)), self.timers.get(Key::Deadline));
        let instances = vec![id];
        match &self.instances[id.index()].state {
            State::Leaving(life, climb) => {
                let rung = climb.rung?;
                let sooner = rung != LadderStep::Kill && deadline.is_some_and(|deadline| slot > Some(deadline));
                let next = match self.plan.program(id).ladder.get(climb.next).map(|rung| rung.step) {
                    _ if rung == LadderStep::Kill => None,
                    Some(Step::Event) if !sooner => Some(LadderStep::Event),
                    Some(Step::Signal(signal)) if !sooner => Some(LadderStep::Signal(signal)),
                    Some(Step::Event | Step::Signal(_)) | None => Some(LadderStep::Kill),
                };
                Some(Found {
                    what: Awaited::Rung(life.proc, climb.next),
                    since: climb.rung_began,
                    wait: Wait::Rung { instances, rung, next },
                    until: if sooner { deadline } else { slot },
                })
            }
            State::Aborting { proc, .. } => Some(Found {
                what: Awaited::Start(*proc),
                since: slot.map_or(stop.began, |slot| slot.before(UNKILLABLE_AFTER)),
                wait: Wait::Starts { instances },
                until: slot,
            }),
            State::Remains(life, remains) => {
                let (killed, since, until) = match remains.survivors {
                    Survivors::Unknown => (false, remains.died, None),
                    Survivors::Told { kill_at } => (false, remains.died, Some(kill_at)),
                    Survivors::Killed { until } => (true, until.before(UNKILLABLE_AFTER), Some(until)),
                };
                Some(Found {
                    what: Awaited::Members { proc: life.proc, killed },
                    since: since.max(stop.began),
                    wait: Wait::Members { instances, killed },
                    until,
                })
            }
            // They are not waited for: they have no process, or are let to work off a queue.
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Up(_)
            | State::Resting(_) => None,
        }
    }

    fn queues_awaited(&self, stop: &Stop) -> impl Iterator<Item = Found> {
        let until = self.timers.get(Key::Deadline);
        let draining = (0u32..).map(QueueId).zip(&self.queues).filter(|(_, queue)| queue.gate == Gate::Draining);
        draining.map(move |(id, queue)| Found {
            what: Awaited::Drain(id),
            since: stop.began,
            wait: Wait::Drain { queue: id, items: queue.held() as u64 },
            until,
        })
    }

    /// What comes after the workers: the last results, and then what was not read of sources.
    fn awaited_at_the_end(&self, stop: &Stop, last_left: Time) -> Vec<Found> {
        let unwritten: usize = self.workers.iter().map(|crew| crew.settling.len()).sum();
        if stop.farewell && unwritten > 0 {
            let wait = Wait::Results { items: unwritten as u64 };
            let until = self.timers.get(Key::Farewell);
            return vec![Found { what: Awaited::Results, since: last_left, wait, until }];
        }
        let ids = (0u32..).map(SourceId).zip(&self.feeds);
        let open = ids.filter(|(_, feeding)| !feeding.ended && feeding.given_up.is_none());
        open.map(|(source, _)| {
            let (wait, until) = match self.plan.source(source).feed {
                Feed::Stdin => (Wait::Stdin { source }, self.reading_must_end()),
                Feed::Command(_) => (Wait::Output { source }, None),
            };
            Found { what: Awaited::Source(source), since: last_left, wait, until }
        })
        .collect()
    }
}
