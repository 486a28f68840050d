//! One incarnation, from the report of its exec to the end of its session.
//!
//! ```text
//!  Starting ──exec──▶ Up ──asked to leave──▶ Leaving ──its leader dies──▶ Remains ──its session is empty──▶ gone
//!     │               └────────────its leader dies by itself─────────────────▲
//!     └──not wanted any more──▶ Aborting ──the child dies────────────────────┘
//! ```
//!
//! Starting may fail instead, and Aborting with it: then there was no incarnation. The way from Leaving upwards is the ladder's,
//! and so is what becomes of members without their leader. Always: each word about it is heard until it is gone, and none
//! after; its items go back when it is gone, once, before it is decided what follows. A start is under way in
//! Starting alone: whoever leaves that state makes room for another.

use super::Machine;
use super::action::{Action, Actions, HeldItem, LadderStep, Note};
use super::instance::{Charge, Climb, Life, Past, Purpose, Remains, State, Survivors, Work};
use super::ladder::UNKILLABLE_AFTER;
use super::report::{Fate, Why};
use super::timers::Key;
use crate::model::plan::{KillMode, Kind, Role};
use crate::model::process::Usage;
use crate::model::{ExitStatus, InstanceId, ProcId, Signal, SignalSet, SpawnError, StopReason, Target, Time};

impl Machine {
    pub(super) fn spawned(&mut self, proc: ProcId, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        match &self.instances[id.index()].state {
            State::Starting { .. } => {}
            // It was killed in the moment in which its exec succeeded.
            State::Aborting { .. } => return,
            State::Up(_) | State::Leaving(..) | State::Remains(..) => {
                return self.bug(format!("{proc} was reported to run twice"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => return,
        }
        self.starting -= 1;
        self.instances[id.index()].runs += 1;
        self.instances[id.index()].last_error = None;
        self.instances[id.index()].own_limit.end();
        let plan = self.plan.clone();
        let work = plan.consumer(id).map(|consumer| Work::new(consumer.prefetch, self.draw_most(id, consumer)));
        self.instances[id.index()].state = State::Up(Life::new(proc, self.now, work));
        if let Some(worker) = self.worker_of(id) {
            let crew = &mut self.workers[worker.index()];
            crew.ever_ran = true;
            crew.own_limit.end();
        }
        out.push(Action::Note(Note::Started { instance: id, proc }));
        self.forward_kept(id, out);
        self.await_readiness(id, out);
    }

    pub(super) fn spawn_failed(&mut self, proc: ProcId, error: SpawnError, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        match &self.instances[id.index()].state {
            State::Starting { .. } => {
                self.starting -= 1;
                self.stop_watching(id);
                self.start_failed(id, error, out);
            }
            State::Aborting { purpose, .. } => {
                let purpose = *purpose;
                self.timers.cancel(Key::Slot(id));
                self.start_was_aborted(id, purpose, out);
            }
            State::Up(_) | State::Leaving(..) | State::Remains(..) => {
                self.bug(format!("{proc} failed to start and ran"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => {}
        }
    }

    pub(super) fn exited(&mut self, proc: ProcId, status: ExitStatus, in_hand: bool, usage: Usage, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        self.timers.cancel(Key::Slot(id));
        self.stop_watching(id);
        let instance = &mut self.instances[id.index()];
        // What a start that we ended dies of is our KILL, and no status of the program, which did not run.
        if !matches!(instance.state, State::Aborting { .. }) {
            instance.last_status = Some(status);
        }
        instance.kept = SignalSet::EMPTY;
        let state = std::mem::replace(&mut instance.state, State::Waiting);
        let remains = |climb| Remains {
            status,
            usage,
            died: self.now,
            in_hand,
            climb,
            survivors: Survivors::Unknown,
            shifts: 0,
            told_in_its_place: false,
        };
        let asked = matches!(state, State::Leaving(..) | State::Aborting { .. });
        let unheard = |proc| Life::new(proc, self.now, None);
        let next = match state {
            State::Up(life) => State::Remains(life, remains(None)),
            State::Leaving(life, climb) => State::Remains(life, remains(Some(climb))),
            // Its exec was never reported, so it was killed before, or its report was not read yet: both have no items.
            State::Aborting { proc, purpose } => {
                State::Remains(unheard(proc), remains(Some(Climb::aborted(self.now, purpose))))
            }
            State::Starting { proc } => {
                self.starting -= 1;
                State::Remains(unheard(proc), remains(None))
            }
            other @ (State::Remains(..) | State::Waiting | State::Due | State::Delayed | State::Resting(_)) => other,
        };
        let died = matches!(next, State::Remains(..));
        self.instances[id.index()].state = next;
        if let Some(source) = self.source_of(id).filter(|_| died) {
            self.source_process_exited(source, status, asked, out);
        }
        if let Some(worker) = self.worker_of(id) {
            self.check_dependents(worker, out);
        }
    }

    pub(super) fn members_left(&mut self, proc: ProcId, count: u32, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let kill_mode = self.plan.program(id).kill_mode;
        match &self.instances[id.index()].state {
            // They may be what the source consists of. What it writes is waited for, and how long that takes is its own matter.
            State::Remains(_, remains) if self.still_feeds(id, remains) => {}
            State::Remains(..) if kill_mode == KillMode::Process => {
                out.push(Action::Forget { proc });
                self.members_gone(proc, out);
            }
            // Each of them, or who adopts it, is our child by the time that it is the last: its death will be told.
            State::Remains(_, remains) if remains.climb.is_none() && self.waits_for_all() => {
                self.pass_on_to_survivors(id, out);
            }
            State::Remains(..) => self.tell_survivors(id, count, out),
            State::Starting { .. } | State::Aborting { .. } | State::Up(_) | State::Leaving(..) => {
                self.bug(format!("members of {proc} were counted before its leader died"), out);
            }
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => {}
        }
    }

    pub(super) fn members_gone(&mut self, proc: ProcId, out: &mut Actions) {
        let Some(id) = self.slot(proc) else { return };
        let instance = &mut self.instances[id.index()];
        let (life, remains) = match std::mem::replace(&mut instance.state, State::Waiting) {
            State::Remains(life, remains) => (life, remains),
            other @ (State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Up(_)
            | State::Leaving(..)
            | State::Resting(_)) => {
                instance.state = other;
                return self.bug(format!("{proc} was told empty before its leader died"), out);
            }
        };
        self.timers.cancel(Key::Slot(id));
        self.note_departure(id, &life, &remains, out);
        self.depart(id, life, remains, out);
    }

    fn note_departure(&mut self, id: InstanceId, life: &Life, remains: &Remains, out: &mut Actions) {
        let (status, usage) = (remains.status, remains.usage);
        let oldest = life.work.as_ref().and_then(|work| work.leases.oldest_item()).filter(|_| remains.in_hand);
        let held = oldest.map(|(token, item)| HeldItem { token, payload: item.payload.clone() });
        out.push(Action::Note(match &remains.climb {
            Some(climb) if climb.next == Climb::ABORTED => Note::KilledWhileStarting { instance: id },
            Some(climb) => Note::Left { instance: id, status, took: self.now.since(climb.began), held },
            None => {
                let (ran, ready) = (remains.died.since(life.since), self.was_ready(id, life));
                Note::Died { instance: id, status, ran, usage, ready, held }
            }
        }));
    }

    /// The incarnation is gone entirely: its items go back, and what comes next is decided.
    fn depart(&mut self, id: InstanceId, life: Life, remains: Remains, out: &mut Actions) {
        // While its items are given back the slot is nobody's; it is due, delayed or at rest before this event is over.
        self.instances[id.index()].state = State::Waiting;
        let (ran, ready) = (remains.died.since(life.since), self.was_ready(id, &life));
        self.leave_the_line(id, &life);
        let (items, proven) =
            life.work.map_or((Default::default(), false), |mut work| (work.leases.drain(), work.proven));
        let charge = self.give_back(id, items, &remains, out);
        match self.plan.role(id) {
            Role::Source(source) => {
                self.rest(id, remains.fate(ready, self.now), out);
                self.source_process_gone(source);
            }
            Role::Worker { worker, .. } => {
                if proven || ran >= self.plan.worker(worker).restart_reset_after {
                    self.instances[id.index()].delays.reset();
                }
                let left_nothing = charge == Charge::Nothing && remains.survivors == Survivors::Unknown;
                self.follow(id, worker, &remains, Past { ran, proven, ready, charge, left_nothing }, out);
            }
        }
    }

    /// A service that is to say or show that it is ready had done so; of others nothing is expected.
    fn was_ready(&self, id: InstanceId, life: &Life) -> bool {
        let worker = self.worker_of(id).map(|worker| self.plan.worker(worker));
        life.ready || worker.is_none_or(|worker| worker.kind == Kind::Oneshot || worker.ready.is_none())
    }

    pub(super) fn slot_is_due(&mut self, id: InstanceId, out: &mut Actions) {
        match &self.instances[id.index()].state {
            State::Delayed => self.due_or_waiting(id, out),
            State::Leaving(..) => self.climb(id, out),
            State::Aborting { .. } => self.is_unkillable(id, out),
            State::Remains(..) => self.survivors_are_due(id, out),
            State::Waiting | State::Due | State::Starting { .. } | State::Up(_) | State::Resting(_) => {
                self.bug(format!("instance {} had a timer and nothing to wait for", id.0), out);
            }
        }
    }

    /// Kills a child that has run no user code yet.
    pub(super) fn abort_start(&mut self, id: InstanceId, proc: ProcId, purpose: Purpose, out: &mut Actions) {
        self.starting -= 1;
        self.stop_watching(id);
        let instance = &mut self.instances[id.index()];
        // What was meant for this one is not for the next.
        instance.kept = SignalSet::EMPTY;
        instance.state = State::Aborting { proc, purpose };
        self.timers.set(Key::Slot(id), self.now + UNKILLABLE_AFTER);
        out.push(Action::Kill { proc, signal: Signal::KILL, target: Target::Unborn });
    }
}

impl Climb {
    /// The stop of a start.
    fn aborted(now: Time, purpose: Purpose) -> Climb {
        let reason = StopReason::Shutdown;
        Climb {
            began: now,
            reason,
            purpose,
            rung: Some(LadderStep::Kill),
            rung_began: now,
            next: Climb::ABORTED,
            sent_to_members: SignalSet::EMPTY,
            extended: std::time::Duration::ZERO,
            shifts: 0,
            shifted: std::time::Duration::ZERO,
        }
    }
}

impl Remains {
    /// How it ended, once the session is empty.
    pub fn fate(&self, ready: bool, now: Time) -> Fate {
        let status = self.status;
        match &self.climb {
            None => Fate::Ended { status, ready },
            Some(climb) if climb.next == Climb::ABORTED => Fate::KilledWhileStarting { why: climb.purpose.why() },
            Some(climb) => {
                let rung = climb.rung.unwrap_or(LadderStep::Event);
                Fate::Left { status, rung, took: now.since(climb.began), why: climb.purpose.why() }
            }
        }
    }
}

impl Purpose {
    fn why(self) -> Why {
        match self {
            Purpose::Renew => Why::Renewed,
            Purpose::TimedOut(_) => Why::ItemTimeout,
            Purpose::Garbled => Why::Protocol,
            Purpose::Unwell => Why::Unwell,
            Purpose::Await(worker) | Purpose::Lost(worker) => Why::Requires(worker),
            Purpose::Rest => Why::Stop,
        }
    }
}
