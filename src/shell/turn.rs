//! The turn: poll, read the clock once, gather, tell the machine, perform, again until quiet.

use super::dead_letters::DeadLetters;
use super::disk::Disk;
use super::launch::Launcher;
use super::meaning::Meanings;
use super::messages::messages;
use super::paused::Paused;
use super::pipes::BUDGET;
use super::probes::Probes;
use super::relay::{Relays, Stream};
use super::results::Sinks;
use super::sources::{Glut, Sources};
use super::status::Statuses;
use super::table::{Due, Life, Table, Topic, What};
use super::{RunOptions, Suspend};
use crate::machine::{Action, Event, Machine, Report};
use crate::model::plan::Plan;
use crate::model::{InstanceId, ProcId, Seen, Signal, Time};
use crate::sys::init::Inherited;
use crate::sys::oom::OomKills;
use crate::sys::sent::SentSignals;
use crate::sys::signals::Signals;
use crate::sys::{Pid, clock, permit};
use mio::{Events, Poll, Waker};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Rounds of telling and performing in one turn at most.
const ROUNDS_A_TURN: usize = 64;
/// A thread that could not be had is asked for again after this long.
pub(super) const THREADS_AGAIN: Duration = Duration::from_millis(100);
/// Of so many facts at once …
const CROWD: usize = 64;
/// … the orders that come of the first few are carried out before the others are told: while we think about a worker's other answers,
/// it wakes up and works on the items that it got for these.
const EARLY: usize = 32;
/// Room for so many facts and orders is kept from turn to turn.
const KEPT: usize = 512;

/// All that the loop holds.
pub struct Shell {
    pub(super) plan: Rc<Plan>,
    pub(super) inherited: Inherited,
    machine: Machine,
    pub(super) poll: Poll,
    /// Ends a wait in `poll` from a writing thread.
    pub(super) waker: Arc<Waker>,
    readiness: Events,
    pub(super) signals: Signals,
    pub(super) launcher: Launcher,
    pub(super) table: Table,
    /// The process ids of those that left the table in this turn: their start may be a message that is still to be written.
    pub(super) gone: HashMap<ProcId, Pid>,
    /// What was seen of the file of the last start that failed, for the message about it.
    pub(super) seen: HashMap<InstanceId, Seen>,
    /// Stop signals that were sent, so that none is sent to the same process twice.
    pub(super) sent: SentSignals,
    /// The stray processes of the last sweep had all been sent its signal before.
    pub(super) strays_had_it: bool,
    pub(super) sources: Sources,
    pub(super) sinks: Sinks,
    pub(super) disk: Disk,
    pub(super) letters: DeadLetters,
    pub(super) scratch: Vec<u8>,
    /// To be told to the machine, in this order.
    pub(super) facts: Vec<Event>,
    /// Empty between turns; kept for their room.
    told: Vec<Event>,
    actions: Vec<Action>,
    /// There may be more dead than were reaped.
    pub(super) reap_due: bool,
    /// Error pipes, reply pipes and item pipes that there is something to do on.
    pub(super) births_due: Due,
    pub(super) words_due: Due,
    pub(super) items_due: Due,
    /// Readiness pipes that somebody wrote to.
    pub(super) ready_due: Due,
    /// Notification sockets that somebody wrote to, and connections that came to something.
    pub(super) notices_due: Due,
    pub(super) answers_due: Due,
    pub(super) probes: Probes,
    /// Descriptors that are out of the poll set for a while.
    pub(super) paused: Paused,
    pub(super) statuses: Statuses,
    pub(super) relays: Relays,
    /// The time of this turn.
    pub(super) now: Time,
    /// Somebody died or a source ended: the dead may be gone.
    pub(super) look_due: bool,
    pub(super) outcome: Option<Box<Report>>,
    pub(super) meanings: Meanings,
    /// The incarnation that owns the terminal, or did last.
    pub(super) on_terminal: Option<ProcId>,
    suspend: Suspend,
    pub(super) warn_reaping: bool,
    pub(super) oom_kills: OomKills,
}

impl Shell {
    pub fn new(plan: Rc<Plan>, inherited: Inherited, options: &RunOptions) -> io::Result<Shell> {
        let init = options.init.clone();
        permit()?;
        let poll = Poll::new()?;
        permit()?;
        let waker = Arc::new(Waker::new(poll.registry(), Topic::News.token())?);
        permit()?;
        let mut signals = match &init {
            Some(init) => Signals::of_an_init(Meanings::worth_a_look(&plan, init))?,
            None => Signals::new(&inherited)?,
        };
        signals.register(poll.registry(), Topic::Signals.token())?;
        let mut disk = Disk::new(&plan);
        let mut sources = Sources::new(&plan, disk.first_inputs(), &disk.writers_to_stdin());
        sources.register(poll.registry())?;
        let seed = clock::now().as_nanos() ^ (inherited.pid as u64) << 32;
        Ok(Shell {
            machine: Machine::new(plan.clone(), seed),
            readiness: Events::with_capacity(1024),
            meanings: Meanings::new(&plan, init.as_ref(), &inherited),
            warn_reaping: init.as_ref().is_some_and(|init| init.warn_reaping),
            launcher: Launcher::new(&plan, options, inherited.open.clone())?,
            oom_kills: OomKills::default(),
            on_terminal: None,
            suspend: Suspend::Never,
            table: Table::default(),
            gone: HashMap::new(),
            seen: HashMap::new(),
            sent: SentSignals::default(),
            strays_had_it: false,
            sinks: Sinks::new(&plan, &waker),
            disk,
            letters: DeadLetters::new(&plan),
            // Where nobody has items to give or words to say, nothing is read.
            scratch: vec![0; if plan.queues.is_empty() { 0 } else { BUDGET }],
            facts: Vec::new(),
            told: Vec::new(),
            actions: Vec::new(),
            // A child from before our time may have died before our handler stood.
            reap_due: true,
            births_due: Due::default(),
            words_due: Due::default(),
            items_due: Due::default(),
            ready_due: Due::default(),
            notices_due: Due::default(),
            answers_due: Due::default(),
            probes: Probes::default(),
            paused: Paused::default(),
            statuses: Statuses::default(),
            relays: Relays::default(),
            now: clock::now(),
            look_due: false,
            outcome: None,
            plan,
            inherited,
            poll,
            waker,
            signals,
            sources,
        })
    }

    /// Turns until the machine says `Quit`.
    pub fn turns(&mut self) -> Report {
        messages().gather();
        self.launcher.tell_what_was_left();
        self.facts.push(Event::Began);
        self.converse();
        loop {
            messages().hand_over();
            if let Some(mut report) = self.outcome.take() {
                report.orphans_reaped += self.reap_the_last();
                self.leave_the_terminal();
                return *report;
            }
            let signalled = self.wait();
            self.now = clock::now();
            self.gather(signalled);
            self.converse();
            match std::mem::take(&mut self.suspend) {
                Suspend::Never => {}
                suspend => {
                    messages().hand_over();
                    self.suspend_with(suspend);
                }
            }
        }
    }

    /// Polls until the machine's deadline, or not at all where there is something to do. Answers whether signals came.
    fn wait(&mut self) -> bool {
        let timeout = if self.busy() {
            Some(Duration::ZERO)
        } else {
            let now = clock::now();
            let deadlines = [self.machine.deadline(), self.probes.deadline()];
            let limits = [self.paused.deadline(), self.statuses.deadline()];
            deadlines.into_iter().chain(limits).flatten().min().map(|deadline| deadline.since(now))
        };
        // Each is asked, for it does then what it can.
        let files = [self.sinks.are_stranded(), self.disk.is_stranded(), self.letters.are_stranded()];
        let stranded = messages().are_stranded() || self.relays.are_stranded() || files.contains(&true);
        let timeout =
            if stranded { Some(timeout.map_or(THREADS_AGAIN, |span| span.min(THREADS_AGAIN))) } else { timeout };
        match self.poll.poll(&mut self.readiness, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("poll failed: {error}"),
        }
        let mut signalled = false;
        for event in &self.readiness {
            match Topic::of(event.token()) {
                Topic::Signals => signalled = true,
                Topic::News => {}
                Topic::Stdin => self.sources.stdin_ready(),
                Topic::Birth(id) => self.births_due.insert(id),
                Topic::Ready(id) => {
                    self.births_due.insert(id);
                    self.ready_due.insert(id);
                }
                Topic::Notify(id) => {
                    self.births_due.insert(id);
                    self.notices_due.insert(id);
                }
                Topic::Answer(id) => self.answers_due.insert(id),
                Topic::Output(id) => self.relays.ready(id, Stream::Output),
                Topic::Errors(id) => self.relays.ready(id, Stream::Errors),
                Topic::Items(id) => self.items_due.insert(id),
                Topic::Words(id) => {
                    let Some(proc) = self.table.get_mut(id) else { continue };
                    if let (true, Some(replies)) = (event.is_read_closed(), &mut proc.replies) {
                        replies.hung_up = true;
                    }
                    // Who speaks was born, even where the news of it did not fit into this poll.
                    if let Life::Unborn { .. } = proc.life {
                        self.births_due.insert(id);
                    }
                    self.words_due.insert(id);
                }
                Topic::SourceOutput(id) => {
                    self.births_due.insert(id);
                    self.sources.stdout_ready(id);
                }
            }
        }
        signalled
    }

    fn busy(&mut self) -> bool {
        let wants_turn = self.sources.wants_turn(|| glut(&self.disk, &self.letters, &self.waker));
        let Shell { table, sinks, words_due, .. } = self;
        let mut audible = words_due.iter().filter_map(|id| table.get(id)).map(|proc| proc.what);
        self.reap_due
            || self.look_due
            || !self.facts.is_empty()
            || !self.births_due.is_empty()
            || !self.items_due.is_empty()
            || !self.ready_due.is_empty()
            || !self.notices_due.is_empty()
            || self.relays.are_due(&self.waker)
            || audible.any(|what| !is_choked(sinks, what))
            || wants_turn
    }

    /// Finds out all that happened, in the order in which it is told.
    fn gather(&mut self, signalled: bool) {
        let signals = if signalled { self.hear_signals() } else { Vec::new() };
        if !signals.is_empty() {
            self.ask_after_the_unborn();
        }
        let dead = self.reap();
        // Before the signals: whoever runs by now is told to leave, not killed like one that has run nothing yet.
        self.hear_births(&dead);
        self.facts.extend(signals);
        self.end_pauses();
        self.hear_readiness();
        self.write_items();
        self.hear_words(&dead);
        self.hear_notifications(&dead);
        self.hear_statuses();
        self.hear_answers();
        self.relays.pass_on(&self.waker);
        let told = self.facts.len();
        let glut = || glut(&self.disk, &self.letters, &self.waker);
        self.sources.gather(glut, &mut self.scratch, &mut self.facts);
        let over = |fact: &Event| matches!(fact, Event::SourceEnded { .. });
        self.look_due |= self.facts.iter().skip(told).any(over);
        self.tell_deaths(&dead);
        if self.look_due {
            self.look(&BTreeSet::new());
        }
        self.sinks.news(&mut self.facts);
    }

    /// Tells the facts, performs the orders, tells what came of them, until nothing does.
    fn converse(&mut self) {
        let now = self.now;
        let (mut told, mut actions) = (std::mem::take(&mut self.told), std::mem::take(&mut self.actions));
        for _ in 0..ROUNDS_A_TURN {
            std::mem::swap(&mut told, &mut self.facts);
            // Nobody is started any more when a signal to stop is known to us and not yet to the machine.
            let signalled = told.iter().any(|fact| matches!(fact, Event::Signalled { .. }));
            let early = if told.len() >= CROWD && !signalled { EARLY } else { usize::MAX };
            for (number, fact) in told.drain(..).enumerate() {
                if number == early && !actions.is_empty() {
                    self.perform(&mut actions);
                }
                self.machine.handle(now, fact, &mut actions);
            }
            self.machine.handle(now, Event::Tick, &mut actions);
            if !actions.is_empty() {
                self.perform(&mut actions);
            }
            if self.facts.is_empty() || self.outcome.is_some() {
                break;
            }
        }
        told.shrink_to(KEPT);
        actions.shrink_to(KEPT);
        (self.told, self.actions) = (told, actions);
        self.gone.clear();
        self.gone.shrink_to(KEPT);
    }

    fn hear_signals(&mut self) -> Vec<Event> {
        let mut signals = self.signals.pending();
        self.terminal_signals(&mut signals);
        let (children, others): (Vec<_>, Vec<_>) = signals.into_iter().partition(|&signal| signal == Signal::CHLD);
        self.reap_due |= !children.is_empty();
        let suspend = others.iter().map(|&signal| self.meanings.suspends(signal));
        self.suspend = suspend.fold(Suspend::Never, |one, other| if one == Suspend::Never { other } else { one });
        let of_the_kernel = self.signals.of_the_kernel();
        let signalled = |signal| {
            let (signal, meaning) = self.meanings.of(signal, of_the_kernel.contains(signal));
            Event::Signalled { signal, meaning }
        };
        others.into_iter().map(signalled).collect()
    }
}

/// Where so many dead letters and leftovers wait that no item is read that may become one more.
fn glut(disk: &Disk, letters: &DeadLetters, waker: &Arc<Waker>) -> Glut {
    let files = [disk.is_choked(waker), letters.are_choked(waker)];
    Glut { disk: files.contains(&true), stderr: messages().is_choked(waker) }
}

/// Whether replies of this worker must wait for results to be written. A source has none.
fn is_choked(sinks: &mut Sinks, what: What) -> bool {
    match what {
        What::Worker(worker) => sinks.choked(worker),
        What::Source(_) => false,
    }
}
