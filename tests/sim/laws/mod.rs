//! The laws, looked at after every event and every turn. Each is a function of its own that says what it guards. They
//! see what a stranger could see: events, orders, the fake world; never the machine's insides.

mod items;
mod ladder;
mod leave;

use crate::fake::Fake;
use crate::generate::{Mood, SECOND};
use exeunt::machine::{Action, Event, Meaning, Note, Report};
use exeunt::model::plan::{Plan, Program};
use exeunt::model::{InstanceId, ProcId, Reply, Target, Time};
use items::Reference;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Which law, and what it saw.
#[derive(Debug)]
pub struct Broken {
    pub law: &'static str,
    pub what: String,
}

pub type Verdict = Result<(), Broken>;

impl Broken {
    pub fn new(law: &'static str, what: impl Into<String>) -> Broken {
        Broken { law, what: what.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.what)
    }
}

/// `Err` unless it holds.
pub fn hold(law: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken::new(law, what())) }
}

pub struct Laws {
    plan: Rc<Plan>,
    mood: Mood,
    records: BTreeMap<ProcId, Record>,
    reference: Reference,
    stop: Option<Stop>,
    /// An INT was heard in this turn, when a stop was under way.
    interrupt: Option<Time>,
    /// All the time that we were late.
    late: Duration,
    /// A signal rung waits for its CONT.
    cont: Option<(ProcId, Target)>,
    restarts: BTreeMap<InstanceId, Time>,
    turns_at: (Time, u32),
}

/// What was seen of one incarnation.
struct Record {
    instance: InstanceId,
    phase: Phase,
    /// Rungs taken.
    climbed: usize,
    /// When the last one was.
    last: Time,
    /// When the first one was.
    asked: Option<Time>,
    killed: bool,
    /// When its survivors were sent TERM.
    survivors: Option<Time>,
    /// It was said that KILL did not remove it.
    unkillable: bool,
    closed: bool,
    window: u32,
    /// When it last was given something, took something or said something.
    last_sign: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unborn,
    Alive,
    Exited,
    Over,
}

#[derive(Clone, Copy)]
struct Stop {
    began: Time,
    deadline: Option<Time>,
}

impl Laws {
    pub fn new(plan: Rc<Plan>, mood: Mood) -> Laws {
        Laws {
            reference: Reference::new(plan.clone()),
            plan,
            mood,
            records: BTreeMap::new(),
            stop: None,
            interrupt: None,
            late: Duration::ZERO,
            cont: None,
            restarts: BTreeMap::new(),
            turns_at: (Time::ZERO, 0),
        }
    }

    /// Lateness moves clocks, and what was due then gets a second more.
    pub fn late(&mut self, by: Duration) {
        self.late += by + SECOND;
    }

    /// Before the machine hears it.
    pub fn hear(&mut self, now: Time, event: &Event) -> Verdict {
        match event {
            Event::Signalled { meaning: Meaning::Interrupt, .. } if self.stop.is_some() => self.interrupt = Some(now),
            Event::Spawned { proc } => self.enter(*proc, Phase::Alive),
            Event::SpawnFailed { proc, .. } | Event::MembersGone { proc } => self.enter(*proc, Phase::Over),
            Event::Exited { proc, .. } => self.enter(*proc, Phase::Exited),
            Event::Replied { proc, reply: Reply::Prefetch(window) } => {
                self.records.entry(*proc).and_modify(|record| record.window = *window);
            }
            _ => {}
        }
        if let Event::Wrote { proc, .. } | Event::Replied { proc, .. } = event {
            self.records.entry(*proc).and_modify(|record| record.last_sign = now);
        }
        self.reference.hear(event);
        Ok(())
    }

    /// After the machine has answered it.
    pub fn handled(&mut self, now: Time, event: &Event, actions: &[Action]) -> Verdict {
        for action in actions {
            self.cont_follows(action)?;
            self.ordered(now, action)?;
            let record = proc_of(action).and_then(|proc| self.records.get(&proc));
            self.reference.ordered(now, action, record.map(|record| record.window), self.stop.is_some())?;
        }
        hold("L2", self.cont.is_none(), || "a signal rung without its CONT".into())?;
        self.reference.handled(event)
    }

    fn ordered(&mut self, now: Time, action: &Action) -> Verdict {
        match action {
            Action::Spawn { proc, instance } => self.spawns(now, *proc, *instance),
            Action::Tell { proc, .. } => self.tells(now, *proc),
            Action::Kill { proc, signal, target } => self.kills(now, *proc, *signal, *target),
            Action::Deliver { proc, .. } => self.delivers(now, *proc),
            Action::CloseItems { proc } => self.closes(*proc),
            Action::CheckMembers { proc } => self.checks(*proc),
            Action::Forget { proc } => self.forgets(now, *proc),
            Action::Sweep { signal } => self.sweeps(now, *signal),
            Action::Note(note) => self.notes(now, note),
            Action::Ask { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Abandon { .. }
            | Action::Distrust { .. }
            | Action::WriteResult { .. }
            | Action::Bury(_)
            | Action::HandBack { .. }
            | Action::CountStrangers
            | Action::Quit(_) => Ok(()),
        }
    }

    fn notes(&mut self, now: Time, note: &Note) -> Verdict {
        match note {
            Note::Bug(what) => Err(Broken::new("L6", format!("the machine reports a bug: {what}"))),
            Note::Stopping { .. } => {
                hold("L9", self.stop.is_none(), || "a second stop".into())?;
                let deadline = self.plan.stop_budget.map(|budget| now + budget);
                self.stop = Some(Stop { began: now, deadline });
                Ok(())
            }
            Note::ItemTimedOut { instance, token, timeout } => self.times_out(now, *instance, *token, *timeout),
            Note::Climbed { instance, reason, .. } => self.levels_in_order(now, *instance, *reason),
            Note::Unkillable { instance } => {
                let open = self.records.values_mut().filter(|record| record.phase != Phase::Over);
                open.filter(|record| record.instance == *instance).for_each(|record| record.unkillable = true);
                Ok(())
            }
            Note::Restarting { instance, after } => {
                self.restarts.insert(*instance, now + *after);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn after_turn(&mut self, now: Time, fake: &Fake) -> Verdict {
        self.interrupt = None;
        self.time_passes(now)?;
        self.killed_at_the_deadline(now)?;
        self.reference.limits(fake)?;
        self.nobody_hangs(now)?;
        self.heals(now)?;
        self.ends_at_once(now, fake)?;
        self.ends_in_time(now)
    }

    pub fn at_quit(&mut self, report: Option<&Report>, fake: &Fake) -> Verdict {
        let Some(report) = report else { return Ok(()) };
        self.nobody_is_left(report, fake)?;
        self.reference.adds_up(report)?;
        self.code_is_right(report)?;
        self.calm_runs_do_everything(report)
    }

    fn enter(&mut self, proc: ProcId, phase: Phase) {
        if let Some(record) = self.records.get_mut(&proc) {
            record.phase = phase;
        }
    }

    fn past_deadline(&self, now: Time) -> bool {
        self.stop.and_then(|stop| stop.deadline).is_some_and(|deadline| now >= deadline)
    }

    fn program(&self, instance: InstanceId) -> &Program {
        self.plan.program(instance)
    }

    fn open(&self) -> impl Iterator<Item = (&ProcId, &Record)> {
        self.records.iter().filter(|(_, record)| record.phase != Phase::Over)
    }

    fn record(&mut self, proc: ProcId) -> Result<&mut Record, Broken> {
        self.records.get_mut(&proc).ok_or_else(|| Broken::new("L10", format!("an order for {proc}, which never was")))
    }
}

fn proc_of(action: &Action) -> Option<ProcId> {
    match action {
        Action::Deliver { proc, .. } => Some(*proc),
        _ => None,
    }
}
