//! One run: the machine in the fake world, turn by turn, with the laws looking on.

use crate::coverage::{Coverage, about};
use crate::dice::Dice;
use crate::fake::{Fake, Happening};
use crate::generate::{self, FORWARDED, HEALED, Mood, RECOVERED};
use crate::laws::{Broken, Laws};
use crate::saboteur::Sabotage;
use crate::trace::Trace;
use exeunt::machine::{Action, Actions, Event, Machine, Meaning, Note, Report};
use exeunt::model::plan::Plan;
use exeunt::model::{InstanceId, ProcId, Signal, Time};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// More turns than this in one run, and for each instance: something goes round in circles. Hundreds that are asked about their health
/// each second have many turns in three minutes.
const MOST_TURNS: u64 = 30_000;
const MOST_TURNS_EACH: u64 = 1000;
/// Rounds of one turn, in which no time passes.
const MOST_ROUNDS: u64 = 200;

pub struct World {
    pub machine: Machine,
    pub fake: Fake,
    pub laws: Laws,
    pub trace: Trace,
    pub coverage: Coverage,
    pub turns: u64,
    pub quit: Option<Report>,
    /// Which wrong decision is put in, if any.
    pub sabotage: Option<Sabotage>,
    /// Instances that are stopped for an item that took too long.
    timed_out: BTreeSet<InstanceId>,
}

/// What a broken run leaves for people to look at.
pub struct Failure {
    pub turn: u64,
    pub broken: Broken,
    pub trace: Trace,
    pub plan: Rc<Plan>,
}

pub fn mood_of(seed: u64) -> Mood {
    let moods =
        [Mood::Calm, Mood::Stopped, Mood::Mixed, Mood::Wild, Mood::Wild, Mood::Healing, Mood::Wild, Mood::Recovering];
    moods[usize::try_from(seed % 8).unwrap()]
}

/// A run in which all laws held.
pub struct Run {
    pub trace: Trace,
    pub turns: u64,
    pub coverage: Coverage,
    /// Process numbers that came back while the incarnation that bore them was known.
    pub reused: u64,
}

/// Runs a seed to its end.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Run, Box<Failure>> {
    let mood = mood_of(seed);
    let mut dice = Dice::new(seed);
    let plan = Rc::new(generate::plan(&mut dice, mood));
    let mut world = World::new(plan.clone(), mood, dice, seed);
    if let Some(sabotage) = sabotage {
        let mut other = (*plan).clone();
        sabotage.plan(&mut other);
        world.machine = Machine::new(Rc::new(other), seed);
        world.sabotage = Some(sabotage);
        sabotage.world(&mut world.fake);
    }
    world.plan_signals();
    match world.run() {
        Ok(()) => {
            let World { trace, turns, coverage, fake, .. } = world;
            Ok(Run { trace, turns, coverage, reused: fake.pids.reused })
        }
        Err(broken) => Err(Box::new(Failure { turn: world.turns, broken, trace: world.trace, plan })),
    }
}

impl World {
    pub fn new(plan: Rc<Plan>, mood: Mood, dice: Dice, seed: u64) -> World {
        World {
            machine: Machine::new(plan.clone(), seed),
            fake: Fake::new(plan.clone(), mood, dice),
            laws: Laws::new(plan, mood),
            trace: Trace::default(),
            coverage: Coverage::default(),
            turns: 0,
            quit: None,
            sabotage: None,
            timed_out: BTreeSet::new(),
        }
    }

    /// Stops at random moments, often during the boot, often more than one.
    fn plan_signals(&mut self) {
        let fake = &mut self.fake;
        let harmless = fake.dice.millis(0, 900);
        fake.after(harmless, Happening::Signalled(Signal::USR1, Meaning::Nothing));
        match fake.mood {
            Mood::Calm => return,
            Mood::Healing => return fake.after(HEALED, Happening::Heals),
            Mood::Recovering => {
                fake.after(HEALED, Happening::Heals);
                let stop = Happening::Signalled(Signal::TERM, Meaning::Stop);
                return fake.after(HEALED + RECOVERED + Duration::from_secs(90), stop);
            }
            Mood::Stopped | Mood::Mixed | Mood::Wild => {}
        }
        // Some meet starts, some work, some the stop.
        for millis in [0, 3, 40, 350, 2000, 9000] {
            let passed_on = Happening::Signalled(FORWARDED, Meaning::Forward);
            fake.after(Duration::from_millis(millis), passed_on);
        }
        let stop = [(Signal::TERM, Meaning::Stop), (Signal::INT, Meaning::Interrupt), (Signal::QUIT, Meaning::Stop)];
        let longest = fake.dice.pick(&[200, 5000, 60_000]);
        let mut at = fake.dice.millis(0, longest);
        let (signal, meaning) = fake.dice.pick(&stop);
        fake.after(at, Happening::Signalled(signal, meaning));
        while fake.mood != Mood::Stopped && fake.dice.percent(60) {
            let pause = fake.dice.pick(&[0, 300, 3000]);
            at += fake.dice.millis(0, pause);
            let (signal, meaning) = fake.dice.pick(&stop);
            fake.after(at, Happening::Signalled(signal, meaning));
        }
        // A drain without a budget and with a worker that never answers has no other end.
        // Far enough apart that no odd clock makes one of them.
        for patience in [400, 500, 600] {
            fake.after(at + Duration::from_secs(patience), Happening::Signalled(Signal::INT, Meaning::Interrupt));
        }
        fake.after(at + Duration::from_millis(70), Happening::Signalled(Signal::USR1, Meaning::Nothing));
    }

    pub fn run(&mut self) -> Result<(), Broken> {
        let most = MOST_TURNS + MOST_TURNS_EACH * u64::try_from(self.fake.plan.instances.len()).unwrap();
        self.round(vec![Event::Began])?;
        self.turn()?;
        while self.quit.is_none() {
            self.turns += 1;
            if self.turns > most {
                return Err(Broken::new("L9", "the run does not end"));
            }
            if !self.pass_time()? {
                return Ok(());
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Everything that is due now: told, and what comes of it told, until it is quiet.
    pub fn turn(&mut self) -> Result<(), Broken> {
        for round in 0.. {
            if round > MOST_ROUNDS {
                return Err(Broken::new("L8", "rounds without end in one turn"));
            }
            self.fake.run_due();
            let events = self.gather();
            if events.is_empty() && round > 0 {
                break;
            }
            let orders = self.round(events)?;
            if self.quit.is_some() {
                self.afterlife()?;
                return self.laws.at_quit(self.quit.as_ref(), &self.fake);
            }
            if orders == 0 && self.deadline().is_some_and(|due| due <= self.fake.now) {
                return Err(Broken::new("L8", "the deadline is not in the future, and nothing was ordered"));
            }
        }
        self.fake.tidy();
        self.laws.after_turn(self.fake.now, &self.fake)
    }

    /// Facts may still be told in the turn of the last order: they change nothing.
    fn afterlife(&mut self) -> Result<(), Broken> {
        let signalled = |signal, meaning| Event::Signalled { signal, meaning };
        let mut events = vec![
            signalled(Signal::TERM, Meaning::Stop),
            signalled(Signal::INT, Meaning::Interrupt),
            signalled(Signal::USR1, Meaning::Nothing),
            signalled(FORWARDED, Meaning::Forward),
            Event::OrphanReaped,
            Event::Strangers { count: 1 },
        ];
        while self.fake.mood.faulty() && events.len() < 9 {
            events.extend(self.fake.ghost_story());
            events.push(Event::Tick);
        }
        for event in events {
            self.tell(event, &mut Actions::new())?;
        }
        Ok(())
    }

    /// Signals, births, words, items, deaths with what they leave, others: the order of the shell.
    fn gather(&mut self) -> Vec<Event> {
        self.fake.sources.iter_mut().for_each(|source| source.had_its_turn = false);
        let facts = &mut self.fake.facts;
        let mut events = std::mem::take(&mut facts.signals);
        events.append(&mut facts.births);
        events.append(&mut facts.words);
        events.append(&mut facts.items);
        let looks = std::mem::take(&mut facts.looks);
        let dead = self.fake.reap();
        dead.into_iter().for_each(|proc| self.fake.obituary(proc, &mut events));
        looks.into_iter().for_each(|proc| self.fake.look(proc, &mut events));
        events.append(&mut self.fake.facts.others);
        if !events.is_empty() && self.fake.mood.faulty() && self.fake.dice.percent(5) {
            events.extend(self.fake.ghost_story());
        }
        events
    }

    /// Tells the machine these events and a tick, then does what it ordered. Answers how much that was.
    fn round(&mut self, events: Vec<Event>) -> Result<usize, Broken> {
        let mut orders = Actions::new();
        for event in events.into_iter().chain([Event::Tick]) {
            self.tell(event, &mut orders)?;
        }
        let count = orders.len();
        orders.into_iter().for_each(|order| self.perform(order));
        Ok(count)
    }

    fn tell(&mut self, event: Event, orders: &mut Actions) -> Result<(), Broken> {
        let now = self.fake.now;
        self.trace.heard(now, &event);
        self.laws.clock(now, self.machine.deadline());
        self.laws.hear(now, &event)?;
        self.coverage.count(&self.machine, &event);
        let mut actions = Actions::new();
        let heard = match self.sabotage {
            None => Some(event.clone()),
            Some(sabotage) => sabotage.hears(event.clone(), about(&event).is_some_and(|proc| self.timed_out(proc))),
        };
        let machine = &mut self.machine;
        let sabotage = self.sabotage;
        let concluded = sabotage.and_then(|sabotage| sabotage.concludes(&event, &self.fake.plan));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            heard.into_iter().chain(concluded).for_each(|event| machine.handle(now, event, &mut actions));
            let mut told = 0;
            while let Some(sabotage) = sabotage.filter(|_| told < actions.len()) {
                let early = sabotage.hears_at_once(&actions[told..]);
                told = actions.len();
                early.into_iter().for_each(|event| machine.handle(now, event, &mut actions));
            }
        }));
        if let Some(sabotage) = self.sabotage {
            sabotage.spoil(&event, &mut actions);
        }
        actions.iter().for_each(|action| self.trace.ordered(now, action));
        actions.iter().for_each(|action| self.note_timeout(action));
        outcome.map_err(|_| Broken::new("L6", "the machine panicked"))?;
        self.laws.sizes(&self.machine)?;
        self.laws.handled(now, &event, &actions)?;
        orders.append(&mut actions);
        Ok(())
    }

    /// For a broken copy that is to know it.
    fn note_timeout(&mut self, action: &Action) {
        match action {
            Action::Note(Note::ItemTimedOut { instance, .. }) => _ = self.timed_out.insert(*instance),
            Action::Spawn { instance, .. } => _ = self.timed_out.remove(instance),
            _ => {}
        }
    }

    fn timed_out(&self, proc: ProcId) -> bool {
        self.fake.sessions.get(&proc).is_some_and(|session| self.timed_out.contains(&session.instance))
    }

    fn perform(&mut self, action: Action) {
        let fake = &mut self.fake;
        match action {
            Action::Spawn { proc, instance } => fake.spawn(proc, instance),
            Action::Deliver { proc, token, payload: _ } => fake.deliver(proc, token),
            Action::CloseItems { proc } => fake.close_items(proc),
            Action::Tell { proc, .. } => fake.tell(proc),
            Action::Kill { proc, signal, target } => fake.kill(proc, signal, target),
            Action::CheckMembers { proc } => fake.facts.looks.push(proc),
            Action::Forget { proc } => fake.forget(proc),
            Action::Pause { source } => fake.pause(source),
            Action::Resume { source } => fake.resume(source),
            Action::Abandon { source } => fake.abandon(source),
            Action::Distrust { source } => fake.distrust(source),
            Action::WriteResult { worker, .. } => fake.write_result(worker),
            Action::CancelResults { worker } => fake.cancel_results(worker),
            Action::Sweep { signal, repeat } => fake.sweep(signal, repeat),
            Action::CountStrangers => fake.count_strangers(),
            Action::CountOrphans => fake.count_orphans(),
            Action::Ask { proc, question, timeout } => fake.ask(proc, question, timeout),
            Action::Unask { proc } => fake.unask(proc),
            Action::Bury(_) | Action::HandBack { .. } | Action::Note(_) => {}
            Action::Quit(report) => self.quit = Some(*report),
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        let deadline = self.machine.deadline();
        self.sabotage.map_or(deadline, |sabotage| sabotage.deadline(self.fake.now, deadline))
    }
}
