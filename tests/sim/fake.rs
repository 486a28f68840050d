//! The fake world: everything outside the machine. This file has its state and its agenda; what processes do is in
//! `kernel`, what workers do with items in `worker`, where items come from in `source`, where results go in `writer`.

use crate::dice::Dice;
use crate::generate::Mood;
use crate::manner::{Answer, Manner, Temper};
use crate::source::FakeSource;
use crate::writer::FakeWriter;
use exeunt::machine::{Event, Meaning};
use exeunt::model::plan::Plan;
use exeunt::model::{ExitStatus, InstanceId, ProcId, Signal, SourceId, SpawnError, Time, Token, WorkerId};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub struct Fake {
    pub plan: Rc<Plan>,
    pub mood: Mood,
    pub now: Time,
    pub dice: Dice,
    pub agenda: BTreeMap<(Time, u64), Happening>,
    order: u64,
    pub facts: Facts,
    pub sessions: BTreeMap<ProcId, Session>,
    pub strangers: Vec<Process>,
    pub sources: Vec<FakeSource>,
    pub writers: Vec<FakeWriter>,
}

/// What the world has decided to do at a moment.
#[derive(Clone, Debug)]
pub enum Happening {
    Executes(ProcId),
    BirthFails(ProcId, SpawnError),
    Pump(ProcId),
    Answer(ProcId),
    /// A wish to leave comes true.
    Dies(ProcId, ExitStatus),
    Forks(ProcId, Temper, bool),
    MemberDies(ProcId, usize),
    StrangerDies(usize),
    Produces(SourceId),
    Reads(SourceId),
    Writes(WorkerId),
    Signalled(Signal, Meaning),
    /// Faults end.
    Heals,
}

/// What the shell found in a turn, by its place in the turn.
#[derive(Default)]
pub struct Facts {
    pub signals: Vec<Event>,
    pub births: Vec<Event>,
    pub words: Vec<Event>,
    /// Of sources.
    pub items: Vec<Event>,
    pub dead: Vec<ProcId>,
    /// Sessions to look into.
    pub looks: Vec<ProcId>,
    pub others: Vec<Event>,
}

pub struct Session {
    pub instance: InstanceId,
    pub manner: Manner,
    pub leader: Leader,
    pub members: Vec<Process>,
    pub told: Told,
    pub stopped: bool,
    /// Came while it was stopped.
    pub pending: Vec<Signal>,
    /// Got KILL and is still in the kernel's hands, perhaps for ever: runs no more code.
    pub hung: bool,
    pub event_seen: bool,
    pub leaving: bool,
    pub items: Option<Items>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    Unborn,
    Alive,
    Dead(ExitStatus),
}

/// What the machine knows of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Nothing,
    Exited,
    Over,
}

/// A process that is no leader.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub temper: Temper,
    pub alive: bool,
    /// A signal took effect; its death is on the agenda.
    pub doomed: bool,
}

/// The item pipe of a worker, from our buffer to its hands.
#[derive(Default)]
pub struct Items {
    pub buffer: VecDeque<Token>,
    /// A frame of which a part is in the pipe.
    pub begun: Option<Token>,
    pub pipe: VecDeque<Token>,
    pub closing: bool,
    pub closed: bool,
    /// Read by the worker and not answered, oldest first.
    pub held: VecDeque<Token>,
    /// Handed out and not settled as far as was told, oldest first: for `in_hand`.
    pub unsettled: Vec<Token>,
    /// An answer is on the agenda: `next`.
    pub busy: bool,
    pub next: Option<Answer>,
    /// Never says anything again.
    pub silent: bool,
    pub garbled: bool,
}

impl Fake {
    pub fn new(plan: Rc<Plan>, mood: Mood, dice: Dice) -> Fake {
        let mut fake = Fake {
            mood,
            now: Time::from_millis(5),
            dice,
            agenda: BTreeMap::new(),
            order: 0,
            facts: Facts::default(),
            sessions: BTreeMap::new(),
            strangers: Vec::new(),
            sources: Vec::new(),
            writers: plan.workers.iter().map(|_| FakeWriter::default()).collect(),
            plan,
        };
        fake.open_sources();
        fake
    }

    pub fn after(&mut self, delay: Duration, happening: Happening) {
        self.order += 1;
        self.agenda.insert((self.now + delay, self.order), happening);
    }

    pub fn next_happening(&self) -> Option<Time> {
        self.agenda.keys().next().map(|&(time, _)| time)
    }

    /// Lets everything happen that is due. What comes of it at once is for the next round.
    pub fn run_due(&mut self) {
        let last = self.order;
        let due: Vec<(Time, u64)> = self.agenda.range(..=(self.now, last)).map(|(&key, _)| key).collect();
        for key in due {
            if let Some(happening) = self.agenda.remove(&key) {
                self.happen(happening);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Executes(proc) => self.executes(proc),
            Happening::BirthFails(proc, error) => self.birth_fails(proc, error),
            Happening::Pump(proc) => self.pump(proc),
            Happening::Answer(proc) => self.answers(proc),
            Happening::Dies(proc, status) => self.dies(proc, status),
            Happening::Forks(proc, temper, escapes) => self.forks(proc, temper, escapes),
            Happening::MemberDies(proc, at) => self.member_dies(proc, at),
            Happening::StrangerDies(at) => self.stranger_dies(at),
            Happening::Produces(source) => self.produces(source),
            Happening::Reads(source) => self.read_source(source),
            Happening::Writes(worker) => self.writes(worker),
            Happening::Heals => self.heals(),
            Happening::Signalled(signal, meaning) => {
                let same = |event: &Event| matches!(event, Event::Signalled { signal: s, .. } if *s == signal);
                if !self.facts.signals.iter().any(same) {
                    self.facts.signals.push(Event::Signalled { signal, meaning });
                }
            }
        }
    }
}
