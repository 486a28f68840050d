//! L3, L8 and L9: who is left behind, whether time passes, and when a stop is over.

use super::STARTS_AT_ONCE;
use super::{Laws, Phase, Record, Verdict, hold};
use crate::fake::{Fake, Leader, Session, Told};
use crate::generate::{FORWARDED, HEALED, Mood, RECOVERED, SECOND};
use crate::manner::Temper;
use exeunt::machine::Report;
use exeunt::model::plan::{Feed, KillMode, Role, SourcePlan};
use exeunt::model::{InstanceId, ProcId, Signal, Time};
use std::time::Duration;

impl Laws {
    /// L3: an instance has one incarnation at a time, numbers are never used twice, and nothing is started once a stop has
    /// begun, but for the workers of a queue that is drained. L2's cousin: no restart before its delay is over.
    pub(super) fn spawns(&mut self, now: Time, proc: ProcId, instance: InstanceId) -> Verdict {
        hold("L10", self.used.insert(proc), || format!("{proc} is used twice"))?;
        let old = self.open().find(|(_, record)| record.instance == instance).map(|(proc, _)| *proc);
        hold("L3", old.is_none(), || format!("{instance:?} is started anew while {old:?} is not over"))?;
        let drains = self.plan.consumer(instance).is_some_and(|consumer| self.plan.queue(consumer.queue).drain_on_stop);
        // In the turn in which the deadline is reached it is not heard before the tick.
        let heard = self.past_deadline(self.turns_at.0) && self.stop.is_some_and(|stop| stop.began < now);
        hold("L3", self.stop.is_none() || (drains && !heard), || format!("{instance:?} is started in a stop"))?;
        hold("L5", self.unborn() < STARTS_AT_ONCE, || format!("{} starts are under way", self.unborn() + 1))?;
        let open = |id| self.open().any(|(_, record)| record.instance == id);
        if self.stop.is_none() {
            self.restarts.spawns(now, instance, &open, &self.services)?;
        }
        let window = self.plan.consumer(instance).map_or(0, |consumer| consumer.prefetch);
        let record = Record {
            instance,
            phase: Phase::Unborn,
            climbed: 0,
            last: now,
            asked: None,
            killed: false,
            survivors: None,
            unkillable: false,
            closed: false,
            window,
            cause: None,
            timed_out: None,
            since: None,
            death: None,
            aborted: false,
            kept: std::mem::take(&mut self.kept),
            unfit: None,
            mute: false,
            mute_until: None,
            empty_since: now,
            proven: false,
            ready: true,
            extended: Time::ZERO,
            granted: Duration::ZERO,
            shifts: 0,
            owed: 0,
        };
        self.records.insert(proc, record);
        if let Role::Source(source) = self.plan.role(instance) {
            self.unread.insert(source);
        }
        Ok(())
    }

    /// L8: time passes. A loop that comes back at once, again and again, spins.
    pub(super) fn time_passes(&mut self, now: Time) -> Verdict {
        let (at, turns) = self.turns_at;
        self.turns_at = if at == now { (now, turns + 1) } else { (now, 0) };
        hold("L8", self.turns_at.1 < 50, || "turn after turn, and no time passes".into())
    }

    /// L9: at the deadline KILL goes to everybody who is still there.
    pub(super) fn killed_at_the_deadline(&mut self, now: Time) -> Verdict {
        if !self.past_deadline(now) {
            return Ok(());
        }
        let spared = |record: &Record| {
            record.phase == Phase::Exited && self.program(record.instance).kill_mode == KillMode::Process
        };
        let alive = self.open().find(|(_, record)| !record.killed && !spared(record));
        hold("L9", alive.is_none(), || format!("{:?} was not killed at the deadline", alive.map(|(proc, _)| proc)))
    }

    /// L9: past the deadline strangers, too, get nothing but KILL.
    pub(super) fn sweeps(&mut self, now: Time, signal: Signal) -> Verdict {
        let late = self.past_deadline(now) && signal != Signal::KILL;
        hold("L9", !late, || format!("strangers get {signal} past the deadline"))?;
        let passed_on = signal == FORWARDED;
        hold("wait", passed_on == self.waits_for_all(), || format!("strangers get {signal}, and are waited for"))
    }

    /// L9: a stop is over the instant that everybody has left and everything was said.
    pub(super) fn ends_at_once(&mut self, _now: Time, fake: &Fake) -> Verdict {
        let is_command = |plan: &SourcePlan| matches!(plan.feed, Feed::Command(_));
        let sources = || fake.sources.iter().zip(&self.plan.sources);
        let read = self.unread.is_empty() && sources().all(|(source, plan)| source.ended || is_command(plan));
        let written = fake.writers.iter().all(|writer| writer.closed || writer.waiting == 0);
        let drained = (0..).zip(&self.plan.queues).all(|(i, queue)| !queue.drain_on_stop || self.reference.is_empty(i));
        let gone = self.open().next().is_none() && fake.strangers_alive() == 0;
        let over = self.stop.is_some() && read && written && drained && gone;
        hold("L9", !over, || "everybody has left, and the stop goes on".into())
    }

    /// L9: a stop ends: within its budget, or within what the ladders need, and a bound for what KILL does not remove.
    pub(super) fn ends_in_time(&mut self, now: Time) -> Verdict {
        let Some(stop) = self.stop.filter(|_| !self.waits_for_all()) else { return Ok(()) };
        let began = self.told_to_stop.unwrap_or(stop.began).max(stop.began);
        let (each, strangers) = match self.mood {
            Mood::Calm => (MOMENT, LAST_RESULTS + MOMENT),
            Mood::Stopped | Mood::Recovering => (SECOND * 2, STRANGERS),
            Mood::Mixed | Mood::Wild | Mood::Healing => (UNKILLABLE + SECOND, STRANGERS),
        };
        let drains = self.plan.queues.iter().any(|queue| queue.drain_on_stop);
        let longest = match self.plan.stop_budget {
            Some(budget) => budget,
            None if drains => return Ok(()),
            None => self.plan.worst_stop() + self.extended,
        };
        let most = longest + each * u32::try_from(self.plan.stop_levels().len()).unwrap() + strangers + self.late;
        hold("L9", now <= began + most, || format!("the stop of {began} is not over after {most:?}"))
    }

    /// L3: at the end nobody is left, but for those whom KILL does not remove, and these are reported.
    pub(super) fn nobody_is_left(&mut self, report: &Report, fake: &Fake) -> Verdict {
        for (proc, session) in &fake.sessions {
            hold("L3", !leader_left(session) || dies_unseen(session), || format!("the leader of {proc} is left"))?;
            hold("L3", !members_left(session), || format!("members of {proc} are left"))?;
        }
        let strangers = fake.strangers.iter().filter(|process| process.alive);
        let killable = strangers.filter(|process| process.temper != Temper::Unkillable).count();
        hold("L3", killable == 0, || format!("{killable} strangers are left"))?;
        hold("L3", report.strangers_left >= fake.strangers_alive(), || {
            format!("{} strangers are reported, {} are left", report.strangers_left, fake.strangers_alive())
        })
    }

    /// L9: once faults have stopped, a run with finite sources comes to its end by itself.
    pub(super) fn heals(&mut self, now: Time) -> Verdict {
        let most = HEALED + HEALING + self.late;
        let began = self.began;
        hold("L9", self.mood != Mood::Healing || now <= began + most, || {
            format!("faults ended at {HEALED:?}, the run goes on")
        })
    }

    /// L6: every child that dies is reaped, however many die at once.
    pub(super) fn every_child_is_reaped(&self, fake: &Fake) -> Verdict {
        let left = &fake.facts.zombies;
        hold("L6", left.is_empty(), || format!("{left:?} died and were not reaped"))
    }

    /// L9: everything that is wanted is up once its delay is over; and long after the last fault, everything.
    pub(super) fn all_are_up(&self, now: Time) -> Verdict {
        if self.stop.is_some() || self.unborn() >= STARTS_AT_ONCE {
            return Ok(());
        }
        let open = |id| self.open().any(|(_, record)| record.instance == id);
        self.restarts.all_are_up(now, &open, &self.services)?;
        let (healed, most) = (self.began + HEALED, RECOVERED + self.late);
        let recovers = self.mood == Mood::Recovering;
        if recovers { self.restarts.nobody_waits(now, healed, most, &open, &self.services) } else { Ok(()) }
    }

    /// L9: a drain is not waited for when nobody is there, or comes, who works it off.
    pub(super) fn drains_are_worked_off(&self) -> Verdict {
        if self.stop.is_none() {
            return Ok(());
        }
        let open = |id| self.open().any(|(_, record)| record.instance == id);
        for (at, queue) in (0..).zip(&self.plan.queues).filter(|(_, queue)| queue.drain_on_stop) {
            let ids = (0u32..).map(InstanceId).take(self.plan.instances.len());
            let consumes =
                |id: &InstanceId| self.plan.consumer(*id).is_some_and(|consumer| consumer.queue.index() == at);
            let mut consumers = ids.filter(consumes);
            let worked_off =
                !self.reference.waits(at) || consumers.any(|id| self.restarts.comes(id, &open, &self.services));
            hold("drain", worked_off, || format!("{} is drained, and nobody is there to do it", queue.name))?;
        }
        Ok(())
    }
}

/// How long the machine may wait for what KILL does not remove, per level.
const UNKILLABLE: Duration = Duration::from_secs(11);
/// The longest that a run takes to its end after the faults: a backlog, and every item in the longest back-off.
const HEALING: Duration = Duration::from_secs(600);
/// For descendants outside every session: TERM, a moment, KILL, a bound.
/// Who is killed takes a moment to be gone.
const MOMENT: Duration = Duration::from_millis(300);
/// What is not yet written when all have left is waited for.
const LAST_RESULTS: Duration = Duration::from_secs(2);
const STRANGERS: Duration = Duration::from_secs(20);

/// The 5 s that are given to KILL, but for the second of lateness that is not told.
const STANDSTILL: Duration = Duration::from_secs(4);

fn leader_left(session: &Session) -> bool {
    (session.leader == Leader::Unborn || session.leader == Leader::Alive) && !session.manner.unkillable
}

/// It got KILL and dies of it, but nearly all the time that it was given for that everybody was stopped, and the clock was not.
/// Within a second of what is due next nobody can know of that. It was said to be unkillable, and is counted among those left.
fn dies_unseen(session: &Session) -> bool {
    session.hung && session.told == Told::Over && session.stood_still >= STANDSTILL
}

fn members_left(session: &Session) -> bool {
    session.members.iter().any(|member| member.alive && member.temper != Temper::Unkillable)
}
