//! "waits": what a stop waits for longer than a second is said, once, and not before.

use super::{Laws, Verdict, hold};
use exeunt::machine::{Action, Event, LadderStep, Note, Wait};
use exeunt::model::{InstanceId, ProcId, QueueId, Signal, StopReason, Time};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What the stop waits for, as the orders tell it.
#[derive(Default)]
pub struct Waits {
    stopping: Option<Time>,
    /// The rung that each instance took last in the stop.
    rungs: BTreeMap<InstanceId, (LadderStep, Watched)>,
    /// The last incarnation that was started of each instance.
    procs: BTreeMap<ProcId, InstanceId>,
    queues: BTreeMap<QueueId, Watched>,
    strangers: Option<(Signal, Watched)>,
}

#[derive(Clone, Copy)]
struct Watched {
    since: Time,
    said: bool,
}

impl Watched {
    fn new(since: Time) -> Watched {
        Watched { since, said: false }
    }

    /// It is said now, for the first time and not too early.
    fn is_said(&mut self, now: Time) -> Verdict {
        let (first, due) = (!std::mem::replace(&mut self.said, true), now >= self.since + SECOND);
        hold("waits", first && due, || format!("said at {now}, first: {first}, waited for since {}", self.since))
    }

    fn is_unsaid(&self, now: Time) -> bool {
        !self.said && now >= self.since + SECOND
    }
}

impl Waits {
    pub fn hear(&mut self, now: Time, event: &Event) {
        match event {
            Event::Exited { proc, .. } => {
                if let Some(instance) = self.procs.get(proc) {
                    self.rungs.remove(instance);
                }
            }
            // What is found at the first count after a signal is waited for from then on.
            Event::Strangers { count: 1.. } => {
                if let Some((_, watched)) = &mut self.strangers
                    && watched.since == Time::NEVER
                {
                    watched.since = now;
                }
            }
            _ => {}
        }
    }

    pub fn ordered(&mut self, now: Time, action: &Action) -> Verdict {
        match action {
            Action::Spawn { proc, instance } => _ = self.procs.insert(*proc, *instance),
            Action::Forget { proc } => {
                if let Some(instance) = self.procs.get(proc) {
                    self.rungs.remove(instance);
                }
            }
            Action::Sweep { signal, .. } => self.strangers = Some((*signal, Watched::new(Time::NEVER))),
            Action::Quit(_) => *self = Waits::default(),
            Action::Note(Note::Stopping { .. }) => self.stopping = Some(now),
            // These close the queues, which are worked off no longer.
            Action::Note(Note::StopDeadline | Note::Hurried { .. }) => self.queues.clear(),
            Action::Note(Note::Draining { queue, .. }) => _ = self.queues.insert(*queue, Watched::new(now)),
            Action::Note(Note::Climbed { instance, step, reason }) => {
                // What is stopped for another reason may belong to a level that is not waited for yet.
                if self.stopping.is_some() && matches!(reason, StopReason::Shutdown | StopReason::Drained) {
                    self.rungs.insert(*instance, (*step, Watched::new(now)));
                } else {
                    self.rungs.remove(instance);
                }
            }
            Action::Note(Note::StillWaiting { wait, .. }) => return self.said(now, wait),
            _ => {}
        }
        Ok(())
    }

    fn said(&mut self, now: Time, wait: &Wait) -> Verdict {
        hold("waits", self.stopping.is_some(), || format!("{wait:?} outside of a stop"))?;
        match wait {
            Wait::Rung { instances, rung, .. } => {
                for instance in instances {
                    let watched = self.rungs.get_mut(instance).filter(|(step, _)| step == rung);
                    watched.map_or(Ok(()), |(_, watched)| watched.is_said(now))?;
                }
                Ok(())
            }
            Wait::Drain { queue, .. } => self.queues.get_mut(queue).map_or(Ok(()), |watched| watched.is_said(now)),
            Wait::Strangers { signal, .. } => {
                let watched = self.strangers.as_mut().filter(|(other, _)| other == signal);
                watched.map_or(Ok(()), |(_, watched)| watched.is_said(now))
            }
            Wait::Starts { .. }
            | Wait::Members { .. }
            | Wait::Results { .. }
            | Wait::Stdin { .. }
            | Wait::Output { .. } => Ok(()),
        }
    }
}

impl Laws {
    pub(super) fn waits_are_said(&self, now: Time) -> Verdict {
        let silent = self.waits.rungs.iter().find(|(_, (_, watched))| watched.is_unsaid(now));
        hold("waits", silent.is_none(), || {
            let (instance, (step, watched)) = silent.expect("it is some");
            format!("{instance:?} is waited for on {step:?} since {} and nothing is said of it", watched.since)
        })?;
        let drains = |queue: QueueId| !self.reference.is_empty(queue.index()) && self.waits.rungs.is_empty();
        let silent = self.waits.queues.iter().find(|(queue, watched)| drains(**queue) && watched.is_unsaid(now));
        hold("waits", silent.is_none(), || {
            format!("that queue {:?} is worked off is not said", silent.map(|it| it.0))
        })?;
        let silent = self.waits.strangers.filter(|(_, watched)| watched.is_unsaid(now));
        hold("waits", silent.is_none(), || format!("strangers had {:?} and nothing is said", silent.map(|it| it.0)))
    }
}
