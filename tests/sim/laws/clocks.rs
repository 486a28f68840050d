//! The clock of each item, and what a late turn does to clocks.

use super::{Verdict, hold};
use exeunt::machine::{Action, Event, Note};
use exeunt::model::plan::Plan;
use exeunt::model::{InstanceId, ProcId, Reply, Time, Token};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// A turn that is later than this moves clocks.
const LATE: Duration = Duration::from_secs(1);

pub struct Clocks {
    plan: Rc<Plan>,
    hands: BTreeMap<ProcId, Hands>,
    last: Time,
    deadline: Option<Time>,
    /// What is to be said of this turn's lateness.
    late: Option<Duration>,
    quiet: bool,
}

/// What one incarnation holds, as far as its clock goes.
struct Hands {
    instance: InstanceId,
    timeout: Option<Duration>,
    /// Runs and was not asked to leave.
    up: bool,
    /// It closed its reply pipe: another law has its clock.
    mute: bool,
    /// Oldest first, each with its place among all frames.
    held: VecDeque<(Token, u64)>,
    granted: u64,
    written: u64,
    runs_out: Option<Time>,
}

impl Clocks {
    pub fn new(plan: Rc<Plan>) -> Clocks {
        Clocks { plan, hands: BTreeMap::new(), last: Time::ZERO, deadline: None, late: None, quiet: false }
    }

    /// The time that passed since the last event.
    pub fn since_last(&self, now: Time) -> Duration {
        now.since(self.last)
    }

    /// Before an event: by how much clocks move now, if they do.
    pub fn look(&mut self, now: Time, deadline: Option<Time>) -> Option<Duration> {
        self.deadline = deadline;
        let late = deadline.filter(|&deadline| now > self.last && deadline + LATE < now);
        self.late = late.map(|deadline| now.since(deadline));
        self.last = now;
        let by = self.late? + LATE;
        self.hands.values_mut().filter_map(|hands| hands.runs_out.as_mut()).for_each(|at| *at = *at + by);
        Some(by)
    }

    pub fn hear(&mut self, now: Time, event: &Event) {
        match *event {
            Event::Spawned { proc } => {
                self.hands.entry(proc).and_modify(|hands| hands.up = true);
            }
            Event::Wrote { proc, frames, progress } => {
                self.hands.entry(proc).and_modify(|hands| hands.wrote(now, frames, progress));
            }
            Event::Replied { proc, reply: Reply::Touch(token) } => {
                let oldest = |hands: &Hands| hands.held.front().is_some_and(|(oldest, _)| *oldest == token);
                self.hands.entry(proc).and_modify(|hands| {
                    if oldest(hands) {
                        hands.start(now);
                    }
                });
            }
            Event::Replied { proc, reply: Reply::Settle { token, .. } } => {
                self.hands.entry(proc).and_modify(|hands| hands.settle(now, token));
            }
            Event::RepliesClosed { proc } => {
                self.hands.entry(proc).and_modify(|hands| (hands.mute, hands.runs_out) = (true, None));
            }
            Event::Exited { proc, .. } => {
                self.hands.entry(proc).and_modify(Hands::stop);
            }
            Event::SpawnFailed { proc, .. } | Event::MembersGone { proc } => _ = self.hands.remove(&proc),
            _ => {}
        }
    }

    /// The item clock is that of the oldest unanswered item: it begins when the item is given out, anew when it was written
    /// to its end, when it is touched, and when it becomes the oldest. It never runs out early, and is never overlooked.
    pub fn handled(&mut self, now: Time, event: &Event, actions: &[Action]) -> Verdict {
        self.lateness_is_told(actions)?;
        let before = *event == Event::Tick && self.quiet && self.deadline.is_none_or(|deadline| now < deadline);
        hold("L8", !before || actions.is_empty(), || "a tick before the deadline, and something is ordered".into())?;
        self.quiet = *event == Event::Tick;
        for action in actions {
            match action {
                Action::Spawn { proc, instance } => self.enter(*proc, *instance),
                Action::Deliver { proc, token, .. } => {
                    self.hands.entry(*proc).and_modify(|hands| hands.take(now, *token));
                }
                Action::Forget { proc } => _ = self.hands.remove(proc),
                Action::Note(Note::ItemTimedOut { instance, token, .. }) => self.runs_out(now, *instance, *token)?,
                Action::Note(Note::Climbed { instance, .. }) => {
                    self.hands.values_mut().filter(|hands| hands.instance == *instance).for_each(Hands::stop);
                }
                _ => {}
            }
        }
        if *event == Event::Tick {
            let overlooked = self.hands.iter().find(|(_, hands)| hands.runs_out.is_some_and(|at| at <= now));
            hold("clock", overlooked.is_none(), || {
                format!("the item clock of {:?} is overlooked", overlooked.map(|(proc, hands)| (proc, hands.runs_out)))
            })?;
        }
        Ok(())
    }

    /// Each turn that is over a second late is told, by how much, before anything else; no other is.
    fn lateness_is_told(&mut self, actions: &[Action]) -> Verdict {
        let told: Vec<Duration> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Note(Note::Late { by }) => Some(*by),
                _ => None,
            })
            .collect();
        let late: Vec<Duration> = self.late.take().into_iter().collect();
        hold("late", told == late, || format!("late by {late:?}, told {told:?}"))
    }

    fn runs_out(&mut self, now: Time, instance: InstanceId, token: Token) -> Verdict {
        let hands = self.hands.values().find(|hands| hands.instance == instance && hands.up);
        let at = hands.and_then(|hands| hands.runs_out);
        let oldest = hands.and_then(|hands| hands.held.front()).map(|(token, _)| *token);
        hold("clock", at.is_some_and(|at| at <= now) && oldest == Some(token), || {
            format!("{token} timed out, the oldest is {oldest:?} and has until {at:?}")
        })
    }

    fn enter(&mut self, proc: ProcId, instance: InstanceId) {
        let timeout = self.plan.consumer(instance).and_then(|consumer| self.plan.queue(consumer.queue).item_timeout);
        let held = VecDeque::new();
        let hands = Hands { instance, timeout, up: false, mute: false, held, granted: 0, written: 0, runs_out: None };
        self.hands.insert(proc, hands);
    }
}

impl Hands {
    fn start(&mut self, now: Time) {
        if self.up && !self.mute {
            self.runs_out = self.timeout.map(|timeout| now + timeout);
        }
    }

    fn stop(&mut self) {
        (self.up, self.runs_out) = (false, None);
    }

    fn take(&mut self, now: Time, token: Token) {
        if self.held.is_empty() {
            self.start(now);
        }
        self.held.push_back((token, self.granted));
        self.granted += 1;
    }

    fn wrote(&mut self, now: Time, frames: u32, progress: bool) {
        let waited = self.held.front().is_some_and(|(_, place)| *place >= self.written);
        self.written = (self.written + u64::from(frames)).min(self.granted);
        if waited && progress {
            self.start(now);
        }
    }

    fn settle(&mut self, now: Time, token: Token) {
        let Some(at) = self.held.iter().position(|(held, _)| *held == token) else { return };
        self.held.remove(at);
        if at == 0 {
            self.runs_out = None;
        }
        if at == 0 && !self.held.is_empty() {
            self.start(now);
        }
    }
}
