//! The end of a run and the stop of all.
//!
//! ```text
//!  Running ──▶ Stopping: sources ─▶ (drain) ─▶ workers, level by level ─▶ last results, stdin ──▶ Sweeping ──▶ Over
//! ```
//!
//! One deadline, fixed at the beginning, holds for all of it, and the stop is over the instant everybody has left. Each level
//! begins when the one above has left entirely; within a level all ladders run in parallel. From the beginning of a
//! stop a queue that is not worked off gives nothing out any more: what waits is handed back at once, what is in a worker's
//! hands when that worker has left. Nothing is started, but for the workers of a queue that is being worked off.

use super::Machine;
use super::action::{Action, Actions, LadderStep, Note, StopCause};
use super::event::Meaning;
use super::instance::{Instance, Purpose, State};
use super::queue::Gate;
use super::report::ReadEnd;
use super::report::Unstarted;
use super::sweep::Sweep;
use super::timers::Key;
use crate::model::plan::{End, LAST_MOMENT, Step};
use crate::model::{InstanceId, QueueId, Signal, StopReason, Time, WorkerId};
use std::time::Duration;

/// Results that are handed to the writer are waited for this long once everybody has left.
const LAST_RESULTS: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum Phase {
    Running,
    Stopping(Stop),
    Sweeping(Sweep),
    Over,
}

#[derive(Debug)]
pub(super) struct Stop {
    cause: StopCause,
    pub began: Time,
    /// In the order in which they leave.
    levels: Vec<Vec<InstanceId>>,
    /// So many of them were begun.
    entered: usize,
    /// Who has left by now: all of so many levels, and so many of the next. They rest for good and are not looked at again.
    left: (usize, usize),
    /// Ctrl+C so far, the one that began the stop included.
    interrupts: u32,
    /// The last results are being waited for.
    pub farewell: bool,
    /// How long each level may take at most: its slowest ladder, and what may outlive a leader.
    level_times: Vec<Duration>,
    /// When the last worker will have left at the latest, if none asks for more time. What comes after the workers has its
    /// full time only as far as this allows, so that the longest stop is bounded.
    pub latest: Time,
    /// When the last worker left.
    pub last_left: Option<Time>,
}

impl Stop {
    /// Whether this instance works off a queue and is started again when it dies: until its level is begun. From then on
    /// nobody would tell a new incarnation to leave.
    pub fn drains(&self, machine: &Machine, id: InstanceId) -> bool {
        let told = || self.levels.iter().take(self.entered).flatten().any(|&other| other == id);
        machine.is_fed_from_draining(id) && !told()
    }

    /// Instances whose level is begun; those of levels that have left are not among them.
    pub fn awaited(&self) -> impl Iterator<Item = InstanceId> {
        self.levels.iter().take(self.entered).skip(self.left.0).flatten().copied()
    }

    /// Whether all whose level is begun rest.
    fn have_left(&mut self, instances: &[Instance]) -> bool {
        while self.left.0 < self.entered
            && let Some(level) = self.levels.get(self.left.0)
        {
            let rest = level.iter().skip(self.left.1);
            self.left.1 += rest.take_while(|id| instances[id.index()].is_resting()).count();
            if self.left.1 < level.len() {
                return false;
            }
            self.left = (self.left.0 + 1, 0);
        }
        true
    }
}

impl Machine {
    /// No stop has begun.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    pub(super) fn signalled(&mut self, signal: Signal, meaning: Meaning, out: &mut Actions) {
        match (meaning, &mut self.phase) {
            (Meaning::Nothing, Phase::Over) | (Meaning::Stop, Phase::Stopping(_)) => {}
            (Meaning::Nothing, _) => self.ignore(signal, out),
            (Meaning::Forward, _) => self.forward(signal, out),
            (Meaning::Stop | Meaning::Interrupt, Phase::Running) => {
                self.begin_stop(StopCause::Signal(signal), out);
            }
            (Meaning::Interrupt, Phase::Stopping(stop)) => {
                stop.interrupts += 1;
                let (again, farewell) = (stop.interrupts > 1, stop.farewell);
                self.give_up_stdin(ReadEnd::Interrupt, out);
                if again {
                    self.hurry(out);
                }
                if farewell {
                    // Every process has left, and nothing but the last results may be missing.
                    self.farewell_is_over(out);
                }
            }
            (Meaning::Stop | Meaning::Interrupt, Phase::Sweeping(_)) => self.end_patience(out),
            (Meaning::Stop | Meaning::Interrupt, Phase::Over) => {}
        }
    }

    /// Says once that a signal has no effect, to whoever sent it and waits for one. Of what the kernel sends by itself (a window
    /// that changes its size, a child, a pipe) nothing is said, and an init was told itself what to drop.
    fn ignore(&mut self, signal: Signal, out: &mut Actions) {
        let by_itself = [Signal::CHLD, Signal::CONT, Signal::WINCH, Signal::URG, Signal::PIPE];
        if self.plan.init.is_none() && !by_itself.contains(&signal) && !self.ignored.contains(signal) {
            self.ignored.insert(signal);
            out.push(Action::Note(Note::SignalIgnored { signal }));
        }
    }

    /// Begins the stop of all. Nothing when it has begun already.
    pub(super) fn begin_stop(&mut self, cause: StopCause, out: &mut Actions) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let plan = self.plan.clone();
        out.push(Action::Note(Note::Stopping { cause: cause.clone(), budget: plan.stop_budget }));
        if let Some(budget) = plan.stop_budget {
            self.timers.set(Key::Deadline, self.now + budget);
        }
        let interrupts = u32::from(cause == StopCause::Signal(Signal::INT));
        self.phase = Phase::Stopping(Stop {
            cause: cause.clone(),
            began: self.now,
            levels: plan.stop_levels(),
            entered: 0,
            left: (0, 0),
            interrupts,
            farewell: false,
            level_times: plan.level_times(),
            latest: self.now,
            last_left: None,
        });
        self.stop_reading(out);
        self.shut_gates(&cause, out);
        self.rest_what_never_runs(out);
        self.progressed = true;
    }

    fn shut_gates(&mut self, cause: &StopCause, out: &mut Actions) {
        let plan = self.plan.clone();
        for (index, queue) in (0u32..).zip(&plan.queues) {
            let id = QueueId(index);
            let unheard = matches!(*cause, StopCause::ResultsClosed(worker) if self.queue_of(worker) == Some(id));
            if queue.drain_on_stop && !unheard && !self.is_deserted(id) {
                let items = self.queues[index as usize].held() as u64;
                self.queues[index as usize].gate = Gate::Draining;
                out.push(Action::Note(Note::Draining { queue: id, items }));
                self.roomier.push(id);
            } else {
                self.close_queue(id, out);
            }
        }
    }

    /// Every worker of this queue is at rest for good.
    pub(super) fn is_deserted(&self, queue: QueueId) -> bool {
        let workers = (0u32..).map(WorkerId).take(self.workers.len());
        workers.filter(|&worker| self.queue_of(worker) == Some(queue)).all(|worker| self.rests(worker))
    }

    fn queue_of(&self, worker: WorkerId) -> Option<QueueId> {
        self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue)
    }

    /// The queue gives nothing out any more; what waits in it is handed back, what comes in will be.
    pub(super) fn close_queue(&mut self, queue: QueueId, out: &mut Actions) {
        let state = &mut self.queues[queue.index()];
        if state.gate == Gate::Closed {
            return;
        }
        state.gate = Gate::Closed;
        // Nobody's turn comes any more, and nobody has to be searched for in the line when it leaves.
        state.line.clear();
        for item in state.empty() {
            self.hand_back(queue, item, out);
        }
        self.timers.cancel(Key::Delayed(queue));
        self.roomier.push(queue);
        self.progressed = true;
    }

    /// In a stop, instances that have no process stay without one, but for those that work off a queue.
    fn rest_what_never_runs(&mut self, out: &mut Actions) {
        for id in self.instance_ids() {
            let Phase::Stopping(stop) = &self.phase else { return };
            if stop.drains(self, id) {
                continue;
            }
            match self.instances[id.index()].state {
                State::Waiting | State::Due | State::Delayed => self.rest_unstarted(id, Unstarted::Stop, out),
                State::Starting { proc } => self.abort_start(id, proc, Purpose::Rest, out),
                State::Aborting { .. } | State::Up(_) | State::Leaving(..) | State::Remains(..) | State::Resting(_) => {
                }
            }
        }
    }

    /// Goes as far as the present state of things allows.
    pub(super) fn advance(&mut self, out: &mut Actions) {
        match &self.phase {
            Phase::Running if self.work_is_done() => self.begin_stop(StopCause::Done, out),
            Phase::Running | Phase::Sweeping(_) | Phase::Over => {}
            Phase::Stopping(_) => self.next_level(out),
        }
    }

    fn work_is_done(&self) -> bool {
        if self.plan.sources.is_empty() {
            // A queue that nobody feeds yet keeps the run alive.
            return self.plan.queues.is_empty() && self.workers.iter().all(|crew| crew.awake == 0);
        }
        let fed = |queue: QueueId| self.plan.sources.iter().any(|source| source.queue == queue);
        let idle = |(i, queue): (u32, &super::queue::Queue)| queue.held() == 0 && fed(QueueId(i));
        self.feeds.iter().all(|feeding| feeding.is_over())
            && (0u32..).zip(&self.queues).all(idle)
            && (self.plan.end == End::Work || self.services_rest())
    }

    fn services_rest(&self) -> bool {
        let mut services = self.plan.workers.iter().zip(&self.workers).filter(|(worker, _)| worker.consumer.is_none());
        services.all(|(_, crew)| crew.awake == 0)
    }

    fn next_level(&mut self, out: &mut Actions) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        if !stop.have_left(&self.instances) {
            return;
        }
        let Some(level) = stop.levels.get(stop.entered).cloned() else { return self.all_have_left(out) };
        let workers = level.iter().any(|&id| self.worker_of(id).is_some());
        if workers && !self.is_drained() {
            return;
        }
        self.enter_level(&level, out);
        self.progressed = true;
    }

    /// Some queue is being worked off.
    pub(super) fn drains_any(&self) -> bool {
        self.queues.iter().any(|queue| queue.gate == Gate::Draining)
    }

    fn is_fed_from_draining(&self, id: InstanceId) -> bool {
        let gate = self.plan.consumer(id).map(|consumer| self.queues[consumer.queue.index()].gate);
        gate == Some(Gate::Draining)
    }

    /// Every queue that is worked off is empty and gets nothing more.
    pub(super) fn is_drained(&self) -> bool {
        let draining = |queue: QueueId| self.queues[queue.index()].gate == Gate::Draining;
        let feeds_on = |(plan, feeding): (&crate::model::plan::SourcePlan, &super::feed::Feeding)| {
            draining(plan.queue) && !feeding.is_over() && !feeding.straight
        };
        let holds = |queue: &super::queue::Queue| queue.gate == Gate::Draining && queue.held() > 0;
        !self.queues.iter().any(holds) && !self.plan.sources.iter().zip(&self.feeds).any(feeds_on)
    }

    fn enter_level(&mut self, level: &[InstanceId], out: &mut Actions) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        let times = stop.level_times.iter().skip(stop.entered).sum::<Duration>();
        stop.latest = self.now + times;
        stop.entered += 1;
        for &id in level {
            let reason = self.reason_for(id);
            match self.instances[id.index()].state {
                State::Waiting | State::Due | State::Delayed => self.rest_unstarted(id, Unstarted::Stop, out),
                State::Starting { proc } => self.abort_start(id, proc, Purpose::Rest, out),
                State::Up(_) => self.ask_to_leave(id, reason, Purpose::Rest, out),
                // They may have been waited for in peace until now: the look that is asked for ends that.
                State::Remains(ref life, _) if self.plan.init.is_some() || self.source_of(id).is_some() => {
                    out.push(Action::CheckMembers { proc: life.proc });
                }
                State::Aborting { .. } | State::Leaving(..) | State::Remains(..) | State::Resting(_) => {}
            }
        }
    }

    fn reason_for(&self, id: InstanceId) -> StopReason {
        let Phase::Stopping(stop) = &self.phase else { return StopReason::Shutdown };
        let consumes = self.plan.consumer(id).is_some();
        if consumes && (stop.cause == StopCause::Done || self.is_fed_from_draining(id)) {
            StopReason::Drained
        } else {
            StopReason::Shutdown
        }
    }

    /// No process of ours is left. The last results and what standard input still has are waited for, each with a bound.
    fn all_have_left(&mut self, out: &mut Actions) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        if stop.last_left.is_none() {
            stop.last_left = Some(self.now);
            self.set_reading_clock();
        }
        let Phase::Stopping(stop) = &mut self.phase else { return };
        let unwritten = self.workers.iter().any(|crew| !crew.settling.is_empty());
        if unwritten {
            if !std::mem::replace(&mut stop.farewell, true) {
                // A deadline that is no longer among the timers is over.
                let past = if self.plan.stop_budget.is_some() { self.now } else { Time::NEVER };
                let deadline = self.timers.get(Key::Deadline).unwrap_or(past);
                let until = deadline.min(stop.latest).min(self.now + LAST_RESULTS).max(self.now + LAST_MOMENT);
                self.timers.set(Key::Farewell, until);
            }
            return;
        }
        self.hurry_dead_sources(out);
        let Phase::Stopping(stop) = &mut self.phase else { return };
        if self.feeds.iter().all(|feeding| feeding.ended) {
            let (cause, began, latest) = (stop.cause.clone(), stop.began, stop.latest);
            self.timers.cancel(Key::Farewell);
            self.timers.cancel(Key::Stdin);
            self.begin_sweep(cause, began, latest, out);
        }
    }

    /// The second Ctrl+C and each further one: everybody climbs one rung.
    fn hurry(&mut self, out: &mut Actions) {
        (0u32..).zip(0..self.queues.len()).for_each(|(index, _)| self.close_queue(QueueId(index), out));
        let asked_before: Vec<InstanceId> =
            self.instance_ids().filter(|&id| matches!(self.instances[id.index()].state, State::Leaving(..))).collect();
        self.enter_all_levels(out);
        for id in self.instance_ids() {
            match &self.instances[id.index()].state {
                // After KILL there is no rung left, only the patience with what is in the kernel's hands.
                State::Leaving(..) if asked_before.contains(&id) && self.next_step(id).is_some() => self.climb(id, out),
                State::Remains(..) => self.kill_survivors(id, out),
                State::Leaving(..)
                | State::Waiting
                | State::Due
                | State::Delayed
                | State::Starting { .. }
                | State::Aborting { .. }
                | State::Up(_)
                | State::Resting(_) => {}
            }
        }
        let next = self.instance_ids().find_map(|id| self.next_step(id));
        out.push(Action::Note(Note::Hurried { next }));
    }

    /// What one more Ctrl+C would do to this instance; `None` where KILL was sent already, or nobody is left.
    fn next_step(&self, id: InstanceId) -> Option<LadderStep> {
        let State::Leaving(_, climb) = &self.instances[id.index()].state else { return None };
        let ladder = &self.plan.program(id).ladder;
        match ladder.get(climb.next).map(|rung| rung.step) {
            Some(Step::Event) => Some(LadderStep::Event),
            Some(Step::Signal(signal)) => Some(LadderStep::Signal(signal)),
            None => (climb.next == ladder.len()).then_some(LadderStep::Kill),
        }
    }

    fn enter_all_levels(&mut self, out: &mut Actions) {
        while let Phase::Stopping(stop) = &self.phase
            && let Some(level) = stop.levels.get(stop.entered).cloned()
        {
            self.enter_level(&level, out);
        }
        self.progressed = true;
    }

    /// The deadline of the whole stop: KILL for all.
    pub(super) fn stop_deadline(&mut self, out: &mut Actions) {
        out.push(Action::Note(Note::StopDeadline));
        match &mut self.phase {
            Phase::Stopping(stop) => {
                stop.entered = stop.levels.len();
                self.give_up_stdin(ReadEnd::Deadline, out);
                (0u32..).zip(0..self.queues.len()).for_each(|(index, _)| self.close_queue(QueueId(index), out));
                self.rest_what_never_runs(out);
                self.instance_ids().for_each(|id| self.kill_now(id, StopReason::Shutdown, out));
                self.progressed = true;
            }
            Phase::Sweeping(_) => self.sweep_deadline(out),
            Phase::Running | Phase::Over => {}
        }
    }

    pub(super) fn farewell_is_over(&mut self, out: &mut Actions) {
        if let Phase::Stopping(_) = self.phase {
            for index in 0..u32::try_from(self.workers.len()).unwrap_or(u32::MAX) {
                self.give_up_results(WorkerId(index), out);
            }
        }
    }
}
