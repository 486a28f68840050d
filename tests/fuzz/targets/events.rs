//! Any list of events that keeps the contract of `machine::event`: never a fault, no item lost or held twice, nobody left
//! behind; and when the strange day is over and everybody does what he is told, the run ends.

use super::plans::{self, Choices};
use exeunt::machine::{Action, Actions, Event, Machine, Meaning, Note, Report, SourceEnd};
use exeunt::model::plan::{Feed, Plan, Role};
use exeunt::model::process::Usage;
use exeunt::model::{
    ExitStatus, Payload, ProcId, QueueId, Reply, Signal, SourceId, SpawnError, Stage, Time, Token, Verdict, WorkerId,
};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Events of one strange day, at most.
const DAY: usize = 1000;
/// Steps that an orderly end may take. Each is an event, or a jump to the next deadline.
const EVENING: usize = 20_000;

pub fn target(data: &[u8]) {
    let mut choices = Choices(data);
    let mut world = World::new(plans::plan(&mut choices));
    world.tell(Event::Began);
    for _ in 0..DAY {
        let Some(kind) = choices.next() else { break };
        if world.report.is_some() {
            return;
        }
        if let Some(event) = world.something(kind, &mut choices) {
            world.tell(event);
        }
        if kind >= 0x80 {
            world.turn_ends(Duration::from_millis(u64::from(choices.byte()) * 20));
        }
    }
    world.evening();
}

/// What the shell and the kernel know, as far as it binds what they may say.
struct World {
    plan: Rc<Plan>,
    machine: Machine,
    now: Time,
    procs: BTreeMap<ProcId, Proc>,
    sources: Vec<Source>,
    /// Results handed to the writer of each worker and not reported.
    unwritten: Vec<u32>,
    closed: Vec<bool>,
    /// Items told, for each queue, and who holds which.
    told: Vec<u64>,
    held: BTreeMap<(Option<QueueId>, u64), ProcId>,
    /// Facts that follow from orders, told when all orders of the event are carried out.
    facts: VecDeque<Event>,
    report: Option<Box<Report>>,
}

struct Proc {
    role: Role,
    life: Life,
    /// Frames in the pipe that are not reported written, and tokens that are not answered.
    frames: u32,
    tokens: VecDeque<Token>,
    /// Somebody told it to go.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Unborn,
    Up,
    Dead,
}

#[derive(Clone, Default)]
struct Source {
    proc: Option<ProcId>,
    ended: bool,
    distrusted: bool,
}

impl World {
    fn new(plan: Plan) -> World {
        let plan = Rc::new(plan);
        World {
            machine: Machine::new(plan.clone(), 7),
            now: Time::from_millis(1),
            procs: BTreeMap::new(),
            sources: vec![Source::default(); plan.sources.len()],
            unwritten: vec![0; plan.workers.len()],
            closed: vec![false; plan.workers.len()],
            told: vec![0; plan.queues.len()],
            held: BTreeMap::new(),
            facts: VecDeque::new(),
            report: None,
            plan,
        }
    }

    fn tell(&mut self, event: Event) {
        if self.report.is_some() {
            return;
        }
        if let Event::Submitted { source, items } = &event {
            self.told[self.plan.source(*source).queue.index()] += items.len() as u64;
        } else if let Event::Oversized { source, .. } = &event {
            self.told[self.plan.source(*source).queue.index()] += 1;
        }
        let mut out = Actions::new();
        self.machine.handle(self.now, event, &mut out);
        out.into_iter().for_each(|action| self.obey(action));
        if let Some(fact) = self.facts.pop_front() {
            self.tell(fact);
        }
    }

    /// The shell's part of every order that binds it.
    fn obey(&mut self, action: Action) {
        assert!(self.report.is_none(), "{action:?} after the end");
        match action {
            Action::Spawn { proc, instance } => {
                let role = self.plan.role(instance);
                let namesake = self.procs.values().any(|other| other.role == role);
                assert!(!namesake, "started while the incarnation before is not gone");
                if let Role::Source(source) = role {
                    self.sources[source.index()].proc = Some(proc);
                }
                let born = Proc { role, life: Life::Unborn, frames: 0, tokens: VecDeque::new(), told: false };
                self.procs.insert(proc, born);
            }
            Action::Deliver { proc, token, .. } => {
                let before = self.held.insert((self.queue_of(proc), token.seq), proc);
                assert_eq!(before, None, "item {token} is given out while {before:?} holds it");
                let proc = self.procs.get_mut(&proc).expect("an item is given to one that lives");
                assert!(proc.life == Life::Up, "an item is given to one that does not run");
                proc.frames += 1;
                proc.tokens.push_back(token);
            }
            Action::CloseItems { proc } | Action::Tell { proc, .. } | Action::Kill { proc, .. } => {
                if let Some(proc) = self.procs.get_mut(&proc) {
                    proc.told = true;
                }
            }
            Action::Ask { .. } | Action::Unask { .. } => panic!("no plan here has a probe"),
            Action::Forget { proc } => {
                // What a source said is read all the same.
                self.stdout_ends(proc);
                self.remove(proc);
            }
            Action::Abandon { source } => {
                if !std::mem::replace(&mut self.sources[source.index()].ended, true) {
                    self.facts.push_back(Event::SourceEnded { source, end: SourceEnd::Abandoned { torn: None } });
                }
            }
            Action::Distrust { source } => self.sources[source.index()].distrusted = true,
            Action::WriteResult { worker, .. } => self.unwritten[worker.index()] += 1,
            // All that are not written yet may be on their way.
            Action::CancelResults { .. } => {}
            Action::Sweep { .. } | Action::CountStrangers | Action::CountOrphans => {}
            Action::Note(Note::Bug(what)) => panic!("bug: {what}"),
            Action::Quit(report) => self.is_over(report),
            Action::CheckMembers { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Bury(_)
            | Action::HandBack { .. }
            | Action::Note(_) => {}
        }
    }

    fn is_over(&mut self, report: Box<Report>) {
        assert!(self.procs.is_empty(), "the end, and {} are not gone", self.procs.len());
        assert_eq!(report.bugs, 0);
        for (queue, told) in report.queues.iter().zip(&self.told) {
            assert_eq!(queue.accepted, *told, "items that were given and never accepted");
            assert_eq!(queue.accepted, queue.done + queue.dead + queue.handed_back, "items are lost: {queue:?}");
        }
        self.report = Some(report);
    }

    fn remove(&mut self, id: ProcId) {
        self.procs.remove(&id);
        self.held.retain(|_, holder| *holder != id);
    }

    /// After the facts of a turn: who died is looked for, then time goes on and the turn ends.
    fn turn_ends(&mut self, span: Duration) {
        self.tell(Event::Tick);
        self.now = self.now + span;
        self.tell(Event::Tick);
    }

    fn pick(&self, choices: &mut Choices, wanted: impl Fn(&Proc) -> bool) -> Option<ProcId> {
        let fitting: Vec<ProcId> = self.procs.iter().filter(|(_, proc)| wanted(proc)).map(|(&id, _)| id).collect();
        fitting.get(choices.below(fitting.len())).copied()
    }

    /// One thing that may happen now; `None` where the byte means nothing.
    fn something(&mut self, kind: u8, choices: &mut Choices) -> Option<Event> {
        match kind % 16 {
            0 | 1 => {
                let proc = self.pick(choices, |proc| proc.life == Life::Unborn)?;
                self.born(proc, true)
            }
            2 => {
                let proc = self.pick(choices, |proc| proc.life == Life::Unborn)?;
                let stage = Stage::all()[choices.below(Stage::all().len())];
                let errno = [2, 11, 12, 13, 24][choices.below(5)];
                self.unborn(proc, SpawnError { stage, errno })
            }
            3 | 4 => self.submission(choices),
            5..=7 => self.reply(choices),
            8 => {
                let proc = self.pick(choices, |proc| proc.frames > 0)?;
                let frames = u32::from(choices.byte() % 3).min(self.procs[&proc].frames);
                self.procs.get_mut(&proc)?.frames -= frames;
                Some(Event::Wrote { proc, frames, progress: true })
            }
            9 => {
                let proc = self.pick(choices, |proc| proc.life != Life::Dead)?;
                let status = [ExitStatus::Exited(0), ExitStatus::Exited(3), killed()][choices.below(3)];
                let in_hand = choices.flag();
                self.death(proc, status, in_hand, choices.flag())
            }
            10 => {
                let proc = self.pick(choices, |proc| proc.life == Life::Dead)?;
                self.gone(proc)
            }
            11 => self.source_end(choices),
            12 => {
                let worker = choices.below(self.plan.workers.len());
                let id = WorkerId(u32::try_from(worker).unwrap_or(0));
                if choices.byte() % 8 == 7 && !std::mem::replace(&mut self.closed[worker], true) {
                    self.unwritten[worker] = 0;
                    return Some(Event::ResultsClosed { worker: id, errno: 32 });
                }
                let count = u32::from(choices.byte()).min(self.unwritten[worker]);
                self.unwritten[worker] -= count;
                (count > 0).then_some(Event::ResultsWritten { worker: id, count })
            }
            13 => Some(match choices.byte() % 8 {
                0 => Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop },
                1 => Event::Signalled { signal: Signal::INT, meaning: Meaning::Interrupt },
                2..=4 => Event::Strangers { count: u32::from(choices.byte() % 3) },
                _ => Event::OrphanReaped,
            }),
            14 => {
                let proc = self.pick(choices, |proc| matches!(proc.role, Role::Worker { .. }))?;
                let closes = choices.flag();
                self.plan_consumes(proc).then(|| match closes {
                    true => Event::RepliesClosed { proc },
                    false => Event::Garbled { proc, seen: b"what".to_vec() },
                })
            }
            _ => Some(Event::Tick),
        }
    }

    fn plan_consumes(&self, proc: ProcId) -> bool {
        self.queue_of(proc).is_some()
    }

    /// Items are numbered for each queue.
    fn queue_of(&self, proc: ProcId) -> Option<QueueId> {
        match self.procs.get(&proc)?.role {
            Role::Worker { worker, .. } => self.plan.worker(worker).consumer.as_ref().map(|consumer| consumer.queue),
            Role::Source(_) => None,
        }
    }

    fn born(&mut self, proc: ProcId, runs: bool) -> Option<Event> {
        let known = self.procs.get_mut(&proc)?;
        known.life = Life::Up;
        runs.then_some(Event::Spawned { proc })
    }

    /// No process is left of it, and nothing was ever read from it.
    fn unborn(&mut self, proc: ProcId, error: SpawnError) -> Option<Event> {
        if let Role::Source(source) = self.procs.get(&proc)?.role {
            self.sources[source.index()].proc = None;
        }
        self.remove(proc);
        Some(Event::SpawnFailed { proc, error })
    }

    fn submission(&mut self, choices: &mut Choices) -> Option<Event> {
        let source = self.open_source(choices)?;
        let length = [0, 1, 3, 20, 32][choices.below(5)];
        let line_feed = choices.byte().is_multiple_of(8);
        let item = || {
            let mut bytes = vec![b'x'; length];
            bytes.first_mut().filter(|_| line_feed).into_iter().for_each(|byte| *byte = b'\n');
            Payload::from(bytes)
        };
        if choices.byte().is_multiple_of(8) {
            return Some(Event::Oversized { source, length: 99, head: item() });
        }
        Some(Event::Submitted { source, items: (0..1 + choices.below(4)).map(|_| item()).collect() })
    }

    /// One that may still give something: stdin, or a command whose stdout is not at its end.
    fn open_source(&self, choices: &mut Choices) -> Option<SourceId> {
        let id = u32::try_from(choices.below(self.sources.len())).ok().map(SourceId)?;
        let source = self.sources.get(id.index())?;
        let is_stdin = self.plan.source(id).feed == Feed::Stdin;
        let ran = source.proc.and_then(|proc| self.procs.get(&proc)).is_some_and(|proc| proc.life != Life::Unborn);
        (!source.ended && (is_stdin || ran)).then_some(id)
    }

    fn source_end(&mut self, choices: &mut Choices) -> Option<Event> {
        let source = self.open_source(choices)?;
        let state = &mut self.sources[source.index()];
        state.ended = true;
        let end = match choices.byte() % 4 {
            0 => SourceEnd::Failed { errno: 5 },
            1 if state.distrusted => SourceEnd::Torn { length: 3, head: Payload::from(&b"tor"[..]) },
            _ => SourceEnd::Whole,
        };
        Some(Event::SourceEnded { source, end })
    }

    fn reply(&mut self, choices: &mut Choices) -> Option<Event> {
        let proc = self.pick(choices, |proc| proc.life != Life::Unborn && matches!(proc.role, Role::Worker { .. }))?;
        if !self.plan_consumes(proc) {
            return None;
        }
        let tokens = &self.procs[&proc].tokens;
        let token = match choices.byte() {
            0..=199 => *tokens.get(choices.below(tokens.len()))?,
            number => Token { seq: u64::from(number - 200) % 8, delivery: 1 },
        };
        let result = Payload::from(&b"result"[..]);
        let verdict = match choices.byte() % 8 {
            0 => return Some(Event::Replied { proc, reply: Reply::Touch(token) }),
            1 => return Some(Event::Replied { proc, reply: Reply::Prefetch(u32::from(choices.byte() % 4)) }),
            2 => Verdict::Retry(None),
            3 => Verdict::Fail(Some("no".into())),
            4 => Verdict::Release,
            5 => Verdict::Ok(None),
            _ => Verdict::Ok(Some(result)),
        };
        Some(self.settles(proc, token, verdict))
    }

    fn settles(&mut self, proc: ProcId, token: Token, verdict: Verdict) -> Event {
        if let Some(known) = self.procs.get_mut(&proc) {
            known.tokens.retain(|held| *held != token);
        }
        let item = (self.queue_of(proc), token.seq);
        if self.held.get(&item) == Some(&proc) {
            self.held.remove(&item);
        }
        Event::Replied { proc, reply: Reply::Settle { token, verdict } }
    }

    /// The look at the members comes in the same turn, before anything else is told of it.
    fn death(&mut self, proc: ProcId, status: ExitStatus, in_hand: bool, members: bool) -> Option<Event> {
        self.procs.get_mut(&proc)?.life = Life::Dead;
        self.tell(Event::Exited { proc, status, in_hand, usage: Usage::default(), out_of_memory: status == killed() });
        if members { Some(Event::MembersLeft { proc, count: 2 }) } else { self.gone(proc) }
    }

    /// A source's stdout is at its end before it is called gone.
    fn gone(&mut self, proc: ProcId) -> Option<Event> {
        self.stdout_ends(proc);
        if let Some(fact) = self.facts.pop_front() {
            self.tell(fact);
        }
        // The end of its stdout may have been what the run waited for, and nobody looks any more.
        self.procs.contains_key(&proc).then(|| self.remove(proc))?;
        Some(Event::MembersGone { proc })
    }

    fn stdout_ends(&mut self, proc: ProcId) {
        if let Some(Role::Source(source)) = self.procs.get(&proc).map(|proc| proc.role)
            && !std::mem::replace(&mut self.sources[source.index()].ended, true)
        {
            self.facts.push_back(Event::SourceEnded { source, end: SourceEnd::Whole });
        }
    }

    /// From now on everybody obeys: the run must end.
    fn evening(&mut self) {
        self.tell(Event::Signalled { signal: Signal::TERM, meaning: Meaning::Stop });
        // A queue that is worked off without a budget waits for a worker that wants nothing as long as the worker likes.
        let takers: Vec<ProcId> = self.procs.keys().copied().filter(|&proc| self.plan_consumes(proc)).collect();
        takers.into_iter().for_each(|proc| self.tell(Event::Replied { proc, reply: Reply::Prefetch(2) }));
        for _ in 0..EVENING {
            // Heard while strangers are waited for, and nothing before.
            self.tell(Event::Strangers { count: 0 });
            if self.report.is_some() {
                return;
            }
            match self.next_duty() {
                Some(event) => self.tell(event),
                None => {
                    let deadline = self.machine.deadline();
                    let deadline = deadline
                        .unwrap_or_else(|| panic!("nothing happens any more and it is not over: {:#?}", self.machine));
                    self.now = self.now.max(deadline);
                }
            }
            self.tell(Event::Tick);
        }
        panic!("the stop never ends");
    }

    fn next_duty(&mut self) -> Option<Event> {
        let dying = |proc: &Proc| proc.life == Life::Dead || (proc.told && proc.life != Life::Dead);
        if let Some((&id, proc)) = self.procs.iter().find(|(_, proc)| dying(proc)) {
            return if proc.life == Life::Dead { self.gone(id) } else { self.death(id, killed(), false, false) };
        }
        if let Some((&id, _)) = self.procs.iter().find(|(_, proc)| proc.life == Life::Unborn) {
            return self.born(id, true);
        }
        if let Some((&proc, _)) = self.procs.iter().find(|(_, proc)| proc.frames > 0) {
            let frames = self.procs.get_mut(&proc).map(|proc| std::mem::take(&mut proc.frames))?;
            return Some(Event::Wrote { proc, frames, progress: true });
        }
        if let Some((&id, token)) = self.procs.iter().find_map(|(id, proc)| Some((id, *proc.tokens.front()?))) {
            return Some(self.settles(id, token, Verdict::Ok(None)));
        }
        if let Some(worker) = self.unwritten.iter().position(|&count| count > 0) {
            let count = std::mem::take(&mut self.unwritten[worker]);
            return Some(Event::ResultsWritten { worker: WorkerId(u32::try_from(worker).unwrap_or(0)), count });
        }
        let is_open = |(id, source): (u32, &Source)| {
            (!source.ended && self.plan.source(SourceId(id)).feed == Feed::Stdin).then_some(SourceId(id))
        };
        let source = (0u32..).zip(&self.sources).find_map(is_open)?;
        self.sources[source.index()].ended = true;
        Some(Event::SourceEnded { source, end: SourceEnd::Whole })
    }
}

fn killed() -> ExitStatus {
    ExitStatus::Signalled { signal: Signal::KILL, core: false }
}
