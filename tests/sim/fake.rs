//! The fake world: everything outside the machine. This file has its state and its agenda; what processes do is in
//! `kernel`, what workers do with items in `worker`, what services say in `service`, where items come from in `source`, where results go in `writer`.

use crate::dice::Dice;
use crate::generate::Mood;
use crate::manner::{Answer, Manner, Offspring, Temper};
use crate::pids::Pids;
use crate::source::FakeSource;
use crate::writer::FakeWriter;
use exeunt::machine::{Event, Meaning, Question};
use exeunt::model::plan::Plan;
use exeunt::model::process::Usage;
use exeunt::model::{
    ExitStatus, InstanceId, Notice, ProcId, Refusal, Reply, Signal, SignalSet, SourceId, SpawnError, Stage, Time,
    Token, Verdict, WorkerId,
};
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
    pub pids: Pids,
    /// Signals that went to a number which was not the incarnation's any more.
    pub strays: Vec<String>,
    /// Signals that no rung asked for and that a process had been sent before.
    pub repeated: Vec<String>,
    /// Incarnations that are over.
    pub ghosts: Vec<ProcId>,
    /// A broken copy: one child is reaped for each SIGCHLD, however many died.
    pub reaps_one: bool,
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
    Forks(ProcId, Offspring),
    /// A service speaks of itself, gives a sign of life, or is heard to answer.
    Says(ProcId, Notice),
    Pings(ProcId),
    Answers(ProcId, Question, bool),
    MemberDies(ProcId, usize),
    /// A member of a session makes one of its own.
    Escapes(ProcId, usize),
    /// A member of a session whose leader is dead answers for it.
    Afterword(ProcId),
    StrangerDies(usize),
    /// The last replies of a session that is empty are read.
    Looks(ProcId),
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
    /// SIGCHLD is pending: once, however many died.
    pub child_died: bool,
    /// Not all of the dead are known to be reaped.
    pub reap_due: bool,
    /// The dead that are not reaped.
    pub zombies: VecDeque<ProcId>,
    /// Sessions to look into.
    pub looks: Vec<ProcId>,
    pub others: Vec<Event>,
}

pub struct Session {
    pub instance: InstanceId,
    pub manner: Manner,
    pub leader: Leader,
    /// The leader's status was taken from the kernel.
    pub reaped: bool,
    pub members: Vec<Process>,
    pub told: Told,
    /// What the leader was sent.
    pub sent: SignalSet,
    pub stopped: bool,
    /// Came while it was stopped.
    pub pending: Vec<Signal>,
    /// Got KILL and is still in the kernel's hands, perhaps for ever: runs no more code.
    pub hung: bool,
    /// For how long everybody was stopped while it was in the kernel's hands.
    pub stood_still: Duration,
    pub event_seen: bool,
    /// Its probe was called off.
    pub unasked: bool,
    /// When its exec succeeded.
    pub since: Option<Time>,
    pub leaving: bool,
    /// Its replies are read to the end in this or a later turn, and then it is told to be gone.
    pub read_later: Option<bool>,
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
    /// What it was sent, but for KILL, CONT and what was passed on.
    pub sent: SignalSet,
    /// It left its session and is this stranger now.
    pub escaped: Option<usize>,
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
    pub fn new(plan: Rc<Plan>, mood: Mood, mut dice: Dice) -> Fake {
        let few = u32::try_from(plan.instances.len()).unwrap() + 2;
        let mut fake = Fake {
            mood,
            now: beginning(&mut dice),
            dice,
            agenda: BTreeMap::new(),
            order: 0,
            facts: Facts::default(),
            sessions: BTreeMap::new(),
            strangers: Vec::new(),
            pids: Pids::new(few),
            strays: Vec::new(),
            repeated: Vec::new(),
            ghosts: Vec::new(),
            reaps_one: false,
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

    /// The world goes on while the clock stands still (`late` is taken off every appointment), or stands still while it goes on.
    pub fn shift_agenda(&mut self, by: Duration, earlier: bool) {
        if !earlier {
            self.sessions.values_mut().filter(|session| session.hung).for_each(|session| session.stood_still += by);
        }
        let now = self.now;
        let moved = |at: Time| match earlier {
            _ if at == Time::NEVER => at,
            true => now + at.since(now).saturating_sub(by),
            false => at + by,
        };
        let agenda = std::mem::take(&mut self.agenda);
        self.agenda = agenda.into_iter().map(|((at, order), what)| ((moved(at), order), what)).collect();
    }

    /// Forgets sessions of which nothing is left.
    pub fn tidy(&mut self) {
        let Fake { sessions, ghosts, .. } = self;
        sessions.retain(|&proc, session| {
            let stays = session.told != Told::Over || session.anybody() || !session.reaped;
            if !stays && ghosts.len() < 20 {
                ghosts.push(proc);
            }
            stays
        });
    }

    /// Children whose death is to be told in this round: SIGCHLD comes once for many, so all are reaped, some a round.
    pub fn reap(&mut self) -> Vec<ProcId> {
        let Facts { child_died, reap_due, zombies, .. } = &mut self.facts;
        *reap_due |= std::mem::take(child_died);
        if !*reap_due {
            return Vec::new();
        }
        let budget = if self.mood.faulty() { self.dice.pick(&[1, 2, 3, 100]) } else { 100 };
        let count = zombies.len().min(if self.reaps_one { 1 } else { budget });
        let dead: Vec<ProcId> = zombies.drain(..count).collect();
        *reap_due = !zombies.is_empty() && !self.reaps_one;
        for &proc in &dead {
            if let Some(session) = self.sessions.get_mut(&proc) {
                session.reaped = true;
                let empty = !session.anybody();
                self.pids.reaped(proc, empty);
            }
        }
        dead
    }

    /// Whoever signals us may have signalled one of ours in the same breath.
    fn hits_another(&mut self, signal: Signal) {
        let alive = self.sessions.iter().filter(|(_, session)| session.leader == Leader::Alive && !session.hung);
        let alive: Vec<ProcId> = alive.map(|(&proc, _)| proc).collect();
        if self.mood.faulty() && !alive.is_empty() && self.dice.percent(25) {
            let proc = self.dice.pick(&alive);
            self.dies(proc, ExitStatus::Signalled { signal, core: false });
        }
    }

    /// A late word about an incarnation that is over.
    pub fn ghost_story(&mut self) -> Option<Event> {
        if self.ghosts.is_empty() {
            return None;
        }
        let proc = self.dice.pick(&self.ghosts);
        let token = Token { seq: self.dice.between(1, 9), delivery: 1 };
        let settle = |verdict| Event::Replied { proc, reply: Reply::Settle { token, verdict } };
        let error = SpawnError { stage: Stage::Exec, errno: 2 };
        let exited = |in_hand| Event::Exited {
            proc,
            status: ExitStatus::Exited(1),
            in_hand,
            usage: Usage::default(),
            out_of_memory: in_hand,
        };
        Some(match self.dice.below(26) {
            0 => Event::Spawned { proc },
            1 => Event::SpawnFailed { proc, error },
            2 => Event::Wrote { proc, frames: 1, progress: true },
            3 => settle(Verdict::Ok(None)),
            4 => settle(Verdict::Retry(None)),
            5 => settle(Verdict::Fail(None)),
            6 => settle(Verdict::Release),
            7 => Event::Replied { proc, reply: Reply::Touch(token) },
            8 => Event::Replied { proc, reply: Reply::Prefetch(3) },
            9 => Event::Garbled { proc, seen: b"late".to_vec() },
            10 => exited(false),
            11 => exited(true),
            12 => Event::MembersLeft { proc, count: 1 },
            13 => Event::Notified { proc, notice: Notice::Ready },
            14 => Event::Notified { proc, notice: Notice::Watchdog },
            15 => Event::Notified { proc, notice: Notice::Trigger },
            16 => Event::Notified { proc, notice: Notice::Extend(Duration::from_secs(5)) },
            17 => Event::Notified { proc, notice: Notice::Stopping },
            18 => Event::Answered { proc, question: Question::Ready, answer: Ok(()) },
            19 => Event::Answered { proc, question: Question::Health, answer: Err(Refusal::Status(503)) },
            20 => Event::Answered { proc, question: Question::Ready, answer: Err(Refusal::Status(503)) },
            21 => Event::Answered { proc, question: Question::Health, answer: Ok(()) },
            22 => Event::Notified { proc, notice: Notice::Status("late".into()) },
            23 => Event::Notified { proc, notice: Notice::Unheard },
            24 => Event::RepliesClosed { proc },
            _ => Event::MembersGone { proc },
        })
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
            Happening::Forks(proc, child) => self.forks(proc, child),
            Happening::Says(proc, notice) => self.says(proc, notice),
            Happening::Pings(proc) => self.pings(proc),
            Happening::Answers(proc, question, yes) => self.answers_probe(proc, question, yes),
            Happening::MemberDies(proc, at) => self.member_dies(proc, at),
            Happening::Escapes(proc, at) => self.escapes(proc, at),
            Happening::Afterword(proc) => self.afterword(proc),
            Happening::StrangerDies(at) => self.stranger_dies(at),
            Happening::Looks(proc) => self.facts.looks.push(proc),
            Happening::Produces(source) => self.produces(source),
            Happening::Reads(source) => self.read_source(source),
            Happening::Writes(worker) => self.writes(worker),
            Happening::Heals => self.heals(),
            Happening::Signalled(signal, meaning) => {
                let same = |event: &Event| matches!(event, Event::Signalled { signal: s, .. } if *s == signal);
                if !self.facts.signals.iter().any(same) {
                    self.facts.signals.push(Event::Signalled { signal, meaning });
                }
                self.hits_another(signal);
            }
        }
    }
}

/// Mostly a moment like any other; sometimes the very first, or so late that what is added to it passes the end of time.
fn beginning(dice: &mut Dice) -> Time {
    let end = Time::NEVER.as_nanos();
    let second = 1_000_000_000;
    let moment = Time::from_millis(5).as_nanos();
    Time::from_nanos(match dice.below(20) {
        0 | 1 => 0,
        2 => 1,
        3 => end - 100_000 * second,
        4 => end - 20 * second,
        5 => 1_000_000 * second,
        _ => moment,
    })
}
