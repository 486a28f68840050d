//! The laws, looked at after every event and every turn. Each is a function of its own that says what it guards. They
//! see what a stranger could see: events, orders, the fake world; never the machine's insides.

mod cause;
mod clocks;
mod ends;
mod finish;
mod forward;
mod items;
mod ladder;
mod leave;
mod places;
mod renewal;
mod report;
mod restart;
mod service;
mod stdin;
mod waits;

use crate::coverage::about;
use crate::fake::Fake;
use crate::generate::{Mood, SECOND};
use clocks::Clocks;
use exeunt::machine::{Action, Event, Meaning, Note, Report};
use exeunt::model::plan::{Plan, Program, Role};
use exeunt::model::{
    ExitStatus, InstanceId, Notice, ProcId, Reply, Signal, SourceId, SpawnError, StopReason, Target, Time, Token,
};
use items::Reference;
use restart::{Restarts, Unfit};
use service::Services;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use stdin::Stdin;
use waits::Waits;

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

/// Starts under way, at most.
const STARTS_AT_ONCE: usize = 64;

/// `Err` unless it holds.
pub fn hold(law: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken::new(law, what())) }
}

pub struct Laws {
    plan: Rc<Plan>,
    mood: Mood,
    /// Of those that are not over.
    records: BTreeMap<ProcId, Record>,
    used: BTreeSet<ProcId>,
    reference: Reference,
    restarts: Restarts,
    clocks: Clocks,
    services: Services,
    /// Of each instance, how its last incarnation ended.
    statuses: BTreeMap<InstanceId, ExitStatus>,
    /// Those whose program ran at least once.
    ran: BTreeSet<InstanceId>,
    /// How often each died of a KILL that may have been the kernel's, for want of memory.
    oom_kills: BTreeMap<InstanceId, u64>,
    /// Why a start of an init's program came to nothing.
    start_error: Option<SpawnError>,
    /// A person or the platform said stop.
    told_to_stop: Option<Time>,
    /// All the time that was asked for in a stop.
    extended: Duration,
    /// A signal that is to be passed on waits for the program of an init.
    kept: bool,
    began: Time,
    /// These said something that is no reply, named a token that they never had, or cannot say anything of what they hold.
    nonsense: Vec<ProcId>,
    /// How the last incarnation of each instance came to its end.
    ends: BTreeMap<InstanceId, report::End>,
    /// Instances that had not run when the stop began, and require what will never be ready.
    lost: Option<BTreeSet<InstanceId>>,
    /// The event is about an incarnation that is over, or the run is.
    inert: bool,
    quit: bool,
    stop: Option<Stop>,
    /// An INT was heard in this turn, when a stop was under way.
    interrupt: Option<Time>,
    /// All the time that we were late.
    late: Duration,
    stdin: Stdin,
    waits: Waits,
    /// Command sources whose output was opened, and has not been told to be at its end.
    unread: BTreeSet<SourceId>,
    /// A signal rung waits for its CONT.
    cont: Option<(ProcId, Target)>,
    /// The last signal that was ordered in answer to this event, if no other order came after it.
    last_signal: Option<(ProcId, Target, Signal)>,
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
    /// Why it was asked to leave.
    cause: Option<StopReason>,
    /// The item that took too long.
    timed_out: Option<Token>,
    /// When its exec was reported.
    since: Option<Time>,
    death: Option<Death>,
    /// Killed before its exec was reported: it may be told as born and is not.
    aborted: bool,
    /// A signal to be passed on came before its exec was reported.
    kept: bool,
    /// Signals that are to be passed on to it now.
    owed: u32,
    /// Why it was found unfit to stay.
    unfit: Option<Unfit>,
    /// It closed its reply pipe.
    mute: bool,
    /// It must not hold an item any longer then, for it cannot answer.
    mute_until: Option<Time>,
    /// It answered the last of its items then.
    empty_since: Time,
    /// It did at least one item.
    proven: bool,
    /// It was ready, or needed not say so, when its leader died.
    ready: bool,
    /// The next rung does not come before.
    extended: Time,
    /// All the time by which it has moved its KILL.
    granted: Duration,
    /// How often the clock of its rung was moved because a turn was late.
    shifts: u8,
}

#[derive(Clone, Copy)]
struct Death {
    at: Time,
    status: ExitStatus,
    in_hand: bool,
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
            restarts: Restarts::new(plan.clone()),
            clocks: Clocks::new(plan.clone()),
            services: Services::new(plan.clone()),
            statuses: BTreeMap::new(),
            ran: BTreeSet::new(),
            oom_kills: BTreeMap::new(),
            start_error: None,
            told_to_stop: None,
            extended: Duration::ZERO,
            kept: false,
            began: Time::ZERO,
            nonsense: Vec::new(),
            ends: BTreeMap::new(),
            lost: None,
            inert: false,
            quit: false,
            plan,
            mood,
            records: BTreeMap::new(),
            used: BTreeSet::new(),
            stop: None,
            interrupt: None,
            late: Duration::ZERO,
            stdin: Stdin::default(),
            waits: Waits::default(),
            unread: BTreeSet::new(),
            cont: None,
            last_signal: None,
            turns_at: (Time::ZERO, 0),
        }
    }

    /// Lateness moves clocks, and what was due then gets a second more.
    pub fn late(&mut self, by: Duration) {
        self.late += by + SECOND;
    }

    /// Before an event: a late turn moves the clocks that it finds.
    pub fn clock(&mut self, now: Time, deadline: Option<Time>) {
        let paused = self.clocks.since_last(now);
        let Some(by) = self.clocks.look(now, deadline) else { return };
        self.late += paused;
        self.restarts.shift(by);
        self.services.shift(by);
        let moves = |record: &&mut Record| !record.killed || record.phase != Phase::Exited;
        for record in self.records.values_mut().filter(moves) {
            // A rung has the time left that it had at the last turn, a second more once, and not more than three times.
            let climbs = record.phase == Phase::Alive && record.climbed > 0 && !record.killed;
            let by = match record.shifts {
                _ if !climbs => by,
                0 => paused + SECOND,
                1 | 2 => paused,
                _ => Duration::ZERO,
            };
            record.shifts += u8::from(climbs && record.shifts < 3);
            record.last = record.last + by;
            record.extended = record.extended + by;
            record.mute_until = record.mute_until.map(|until| until + by);
            record.empty_since = record.empty_since + by;
        }
    }

    /// Before the machine hears it.
    pub fn hear(&mut self, now: Time, event: &Event) -> Verdict {
        let over = |proc: ProcId| self.used.contains(&proc) && !self.records.contains_key(&proc);
        self.inert = self.quit || about(event).is_some_and(over);
        self.hear_of_items(now, event);
        self.hears_stdin(now, event);
        self.waits.hear(now, event);
        if let Event::Exited { proc, .. } = event {
            self.was_ready(*proc);
        }
        if !self.inert {
            self.services.hear(now, event);
        }
        if let Event::Signalled { meaning: Meaning::Stop | Meaning::Interrupt, .. } = event {
            self.told_to_stop.get_or_insert(now);
        }
        match event {
            Event::Began => self.began = now,
            Event::Signalled { meaning: Meaning::Forward, signal } => self.owes(*signal),
            Event::Signalled { meaning: Meaning::Interrupt, .. } if self.stop.is_some() => self.interrupt = Some(now),
            Event::Spawned { proc } => {
                self.enter(*proc, Phase::Alive);
                self.runs(now, *proc);
            }
            Event::SpawnFailed { proc, error } => {
                self.start_fails(now, *proc, *error);
                self.enter(*proc, Phase::Over);
            }
            Event::SourceEnded { source, .. } => _ = self.unread.remove(source),
            Event::MembersGone { proc } => {
                self.departs(now, *proc);
                self.enter(*proc, Phase::Over);
            }
            Event::MembersLeft { proc, .. } => self.leaves_them(now, *proc),
            Event::Exited { proc, status, in_hand, out_of_memory, .. } => {
                self.enter(*proc, Phase::Exited);
                let death = Death { at: now, status: *status, in_hand: *in_hand };
                if let Some(record) = self.records.get_mut(proc) {
                    record.death = Some(death);
                    // A start that was ended has no status of its program.
                    if !record.aborted {
                        self.statuses.insert(record.instance, *status);
                    }
                    let starved = *out_of_memory && !record.killed;
                    *self.oom_kills.entry(record.instance).or_default() += u64::from(starved);
                }
            }
            Event::Notified { proc, notice: Notice::Extend(time) } => self.extends(now, *proc, *time),
            Event::RepliesClosed { proc } => self.falls_mute(now, *proc),
            Event::Orphans { count } => self.restarts.orphans(now, *count, self.stop.is_none()),
            Event::Replied { proc, reply: Reply::Prefetch(window) } => {
                self.records.entry(*proc).and_modify(|record| record.window = *window);
            }
            _ => {}
        }
        self.clocks.hear(now, event);
        Ok(())
    }

    /// After the machine has answered it.
    pub fn handled(&mut self, now: Time, event: &Event, actions: &[Action]) -> Verdict {
        let orders = actions.iter().filter(|action| !matches!(action, Action::Note(Note::Late { .. }))).count();
        hold("L10", !self.inert || orders == 0, || format!("{event:?} comes too late and is obeyed: {actions:?}"))?;
        let starts = actions.iter().filter(|action| matches!(action, Action::Spawn { .. })).count();
        let crowded = self.unborn() + starts >= STARTS_AT_ONCE;
        let states = (self.stop.is_some(), crowded);
        // Whoever is forgotten for the sake of members that are not ours is over before it is decided what comes next.
        let forgotten = |proc| actions.iter().any(|action| matches!(action, Action::Forget { proc: of } if of == proc));
        let open = |id| self.records.iter().any(|(proc, record)| record.instance == id && !forgotten(proc));
        self.restarts.handled(now, actions, states, &open, &mut self.services)?;
        for action in actions {
            self.cont_follows(action)?;
            self.hands_back_bytes(action);
            self.waits.ordered(now, action)?;
            self.ordered(now, action)?;
            self.last_signal = match action {
                Action::Kill { proc, signal, target } => Some((*proc, *target, *signal)),
                _ => None,
            };
            self.services.ordered(now, action)?;
            let record = proc_of(action).and_then(|proc| self.records.get(&proc));
            self.reference.ordered(now, action, record.map(|record| record.window), self.stop.is_some())?;
        }
        hold("L2", self.cont.is_none(), || "a signal rung without its CONT".into())?;
        self.clocks.handled(now, event, actions)?;
        self.nonsense_is_answered(actions)?;
        self.used_up_are_replaced(now, event)?;
        self.services.handled(now, event, self.stop.is_some())?;
        self.leftovers_have_a_limit(event)?;
        self.stops_when_told(event)?;
        self.starts_are_abandoned(actions)?;
        self.all_is_passed_on()?;
        self.reference.handled(event)
    }

    fn ordered(&mut self, now: Time, action: &Action) -> Verdict {
        match action {
            Action::Spawn { proc, instance } => self.spawns(now, *proc, *instance),
            Action::Tell { proc, .. } => self.tells(now, *proc),
            Action::Kill { proc, signal, target } => self.kills(now, *proc, *signal, *target),
            Action::Deliver { proc, .. } => {
                self.is_given_while_mute(now, *proc);
                self.delivers(*proc)
            }
            Action::CloseItems { proc } => self.closes(*proc),
            Action::CheckMembers { proc } => self.checks(*proc),
            Action::Forget { proc } => self.forgets(now, *proc),
            Action::Sweep { signal, .. } => self.sweeps(now, *signal),
            Action::Note(note) => self.notes(now, note),
            Action::Abandon { source } => self.stdin_is_given_up(now, *source),
            Action::Ask { .. }
            | Action::Unask { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Distrust { .. }
            | Action::WriteResult { .. }
            | Action::CancelResults { .. }
            | Action::Bury(_)
            | Action::HandBack { .. }
            | Action::CountStrangers
            | Action::CountOrphans => Ok(()),
            Action::Quit(_) => {
                self.quit = true;
                Ok(())
            }
        }
    }

    fn notes(&mut self, now: Time, note: &Note) -> Verdict {
        self.services.notes(now, note)?;
        match note {
            Note::NotReady { instance, .. }
            | Note::Unhealthy { instance, .. }
            | Note::WatchdogExpired { instance }
            | Note::FoundItselfUnwell { instance } => {
                self.is_unfit(*instance, Unfit::Unwell);
                Ok(())
            }
            Note::Falls { instance, required } => {
                self.is_unfit(*instance, Unfit::Falls(*required));
                Ok(())
            }
            Note::Bug(what) => Err(Broken::new("L6", format!("the machine reports a bug: {what}"))),
            Note::Stopping { cause, .. } => {
                self.ends_when_done(cause)?;
                hold("L9", self.stop.is_none(), || "a second stop".into())?;
                self.lost = Some(self.those_lost());
                let deadline = self.plan.stop_budget.map(|budget| now + budget);
                self.stop = Some(Stop { began: now, deadline });
                self.stop_begins_for_stdin(now);
                Ok(())
            }
            Note::ItemTimedOut { instance, token, .. } => {
                let open = self.records.values_mut().filter(|record| record.phase == Phase::Alive);
                open.filter(|record| record.instance == *instance).for_each(|record| record.timed_out = Some(*token));
                Ok(())
            }
            Note::Climbed { instance, reason, .. } => {
                self.renewed_one_by_one(now, *instance, *reason)?;
                self.has_a_cause(*instance, *reason)?;
                self.services.is_asked(now, *instance)?;
                self.levels_in_order(now, *instance, *reason)
            }
            Note::Unkillable { instance } => {
                let open = self.records.values_mut();
                open.filter(|record| record.instance == *instance).for_each(|record| record.unkillable = true);
                self.restarts.is_given_up(*instance);
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
        self.nobody_starves(now)?;
        self.all_are_up(now)?;
        self.rungs_are_taken(now)?;
        self.the_unkillable_are_left(now)?;
        self.every_child_is_reaped(fake)?;
        hold("L10", fake.strays.is_empty(), || fake.strays.join("; "))?;
        hold("once", fake.repeated.is_empty(), || fake.repeated.join("; "))?;
        self.heals(now)?;
        self.drains_are_worked_off()?;
        self.does_not_go_on(fake)?;
        self.stdin_ends(now, fake)?;
        self.waits_are_said(now)?;
        self.ends_at_once(now, fake)?;
        self.ends_in_time(now)
    }

    pub fn at_quit(&mut self, report: Option<&Report>, fake: &Fake) -> Verdict {
        let Some(report) = report else { return Ok(()) };
        self.nobody_is_left(report, fake)?;
        self.reference.adds_up(report)?;
        self.code_is_right(report)?;
        self.report_is_true(report)?;
        self.the_starved_are_counted(report)?;
        self.calm_runs_do_everything(report)
    }

    /// "stop": who says stop is heard at any moment, whatever starts, waits or is put off.
    fn stops_when_told(&self, event: &Event) -> Verdict {
        let told = matches!(event, Event::Signalled { meaning: Meaning::Stop | Meaning::Interrupt, .. });
        hold("stop", !told || self.stop.is_some(), || format!("{event:?}, and no stop begins"))
    }

    /// "stop": a start that is under way when the stop begins is ended at once, unless it is to work off a queue.
    fn starts_are_abandoned(&self, actions: &[Action]) -> Verdict {
        let begins = actions.iter().any(|action| matches!(action, Action::Note(Note::Stopping { .. })));
        let drains = |id| self.plan.consumer(id).is_some_and(|consumer| self.plan.queue(consumer.queue).drain_on_stop);
        let spared = |record: &Record| record.phase == Phase::Unborn && !record.killed && !drains(record.instance);
        let left = self.open().find(|(_, record)| begins && spared(record)).map(|(proc, _)| proc);
        hold("stop", left.is_none(), || format!("{left:?} was being started when the stop began, and is let to"))
    }

    fn start_fails(&mut self, now: Time, proc: ProcId, error: SpawnError) {
        let Some(record) = self.records.get(&proc) else { return };
        if let Role::Source(source) = self.plan.role(record.instance) {
            self.unread.remove(&source);
        }
        let (instance, kept) = (record.instance, record.kept);
        if !record.killed {
            self.kept |= kept && self.plan.init.is_some();
            self.start_error = Some(error);
            self.restarts.start_fails(now, instance, error);
        } else if let Some(unfit) = record.unfit {
            self.restarts.is_ended(now, instance, unfit);
        }
    }

    fn hear_of_items(&mut self, now: Time, event: &Event) {
        let up = |proc| {
            self.records.get(proc).is_some_and(|record: &Record| record.phase == Phase::Alive && record.cause.is_none())
        };
        let up = matches!(event, Event::Replied { proc, .. } if up(proc));
        self.finds_nonsense(now, event);
        self.succeeds(now, event);
        self.reference.hear(now, event, up);
    }

    /// Children whose exec is not reported yet, and that were not killed.
    fn unborn(&self) -> usize {
        self.open().filter(|(_, record)| record.phase == Phase::Unborn && !record.killed).count()
    }

    fn enter(&mut self, proc: ProcId, phase: Phase) {
        if phase == Phase::Over {
            self.records.remove(&proc);
        } else if let Some(record) = self.records.get_mut(&proc) {
            record.phase = phase;
            let kept = std::mem::take(&mut record.kept);
            record.owed = u32::from(kept && phase == Phase::Alive && !record.aborted);
        }
    }

    fn past_deadline(&self, now: Time) -> bool {
        self.stop.and_then(|stop| stop.deadline).is_some_and(|deadline| now >= deadline)
    }

    fn program(&self, instance: InstanceId) -> &Program {
        self.plan.program(instance)
    }

    fn open(&self) -> impl Iterator<Item = (&ProcId, &Record)> {
        self.records.iter()
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
