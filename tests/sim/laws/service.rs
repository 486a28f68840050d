//! Readiness, requirements, health and watchdogs: a model of each incarnation beside the machine, told by what is seen from
//! outside. Who is ready, what is due when, and why somebody is found unfit.

use super::{Verdict, hold};
use exeunt::machine::{Action, Event, Note, Question};
use exeunt::model::plan::{Kind, Plan, Ready, Role, WorkerPlan};
use exeunt::model::{InstanceId, Notice, ProbeAnswer, ProcId, Refusal, Time, WorkerId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Between a no and the next question whether a worker is ready.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// So long after it was said a notification socket counts as flooded; a watchdog that is due then has so much more time, so
/// often in a row.
const FLOODED: Duration = Duration::from_secs(1);
const REPRIEVE: Duration = Duration::from_millis(250);
const REPRIEVES: u32 = 20;
/// Within this time whether it is ready must be answered.
const READY_ANSWER: Duration = Duration::from_secs(5);

pub struct Services {
    plan: Rc<Plan>,
    lives: BTreeMap<ProcId, Life>,
    slots: Vec<Slot>,
    /// What the event that is being handled makes of whom it is about.
    due: Option<(ProcId, Due)>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// It was ready once.
    begun: bool,
    /// A oneshot that ended well.
    completed: bool,
    /// When it was ready for the last time.
    last_ready: Time,
}

/// One incarnation that was not asked to leave.
struct Life {
    instance: InstanceId,
    /// Its exec was reported.
    runs: bool,
    ready: bool,
    /// It must be ready before.
    start: Option<Time>,
    /// It is taken for ready then.
    delay: Option<Time>,
    /// The next question, and the one that is not answered.
    ask: Option<Time>,
    asked: Option<Question>,
    /// It must be heard before.
    silence: Option<Time>,
    /// When its socket was flooded last, and how often it was given more time for that since its last sign of life.
    flooded: Option<Time>,
    reprieves: u32,
    /// Its last bad answer.
    refusal: Option<Refusal>,
    /// Bad answers in a row.
    refusals: u32,
}

impl Life {
    /// Its silence is over while its socket is flooded: it may have spoken, and is given more time, but not for ever.
    fn reprieve(&mut self, now: Time) {
        let flooded = self.flooded.is_some_and(|at| now <= at + FLOODED);
        if flooded && self.reprieves < REPRIEVES && self.silence.is_some_and(|at| at <= now) {
            self.reprieves += 1;
            self.silence = Some(now + REPRIEVE);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Ready,
    Unhealthy,
    Triggered,
}

impl Services {
    pub fn new(plan: Rc<Plan>) -> Services {
        Services {
            lives: BTreeMap::new(),
            slots: plan.instances.iter().map(|_| Slot::default()).collect(),
            due: None,
            plan,
        }
    }

    /// A late turn moves what it finds.
    pub fn shift(&mut self, by: Duration) {
        for life in self.lives.values_mut() {
            for at in [&mut life.start, &mut life.delay, &mut life.ask, &mut life.silence].into_iter().flatten() {
                *at = *at + by;
            }
        }
    }

    /// Before the machine hears it.
    pub fn hear(&mut self, now: Time, event: &Event) {
        self.due = None;
        match event {
            Event::Spawned { proc } => self.runs(now, *proc),
            Event::Notified { proc, notice } => self.notified(now, *proc, notice),
            Event::Answered { proc, question, answer } => self.answered(now, *proc, *question, *answer),
            Event::Exited { proc, .. } | Event::SpawnFailed { proc, .. } => self.leaves(now, *proc),
            Event::Tick => self.lives.values_mut().for_each(|life| life.reprieve(now)),
            _ => {}
        }
    }

    fn runs(&mut self, now: Time, proc: ProcId) {
        let Some(life) = self.lives.get_mut(&proc) else { return };
        life.runs = true;
        let Role::Worker { worker, .. } = self.plan.role(life.instance) else { return };
        let worker = self.plan.worker(worker);
        match (&worker.ready, worker.kind) {
            (None, Kind::Service) => self.is_ready_now(now, proc),
            (None, Kind::Oneshot) | (Some(Ready::Fd(_) | Ready::Notify), _) => {}
            (Some(Ready::Delay(delay)), _) => life.delay = Some(now + *delay),
            (Some(Ready::Probe(_)), _) => life.ask = Some(now),
        }
    }

    fn is_ready_now(&mut self, now: Time, proc: ProcId) {
        let plan = self.plan.clone();
        let Some(life) = self.lives.get_mut(&proc) else { return };
        let Some(worker) = worker_of(&plan, life.instance).map(|worker| plan.worker(worker)) else { return };
        (life.ready, life.start, life.delay) = (true, None, None);
        life.ask = worker.health.as_ref().map(|health| now + health.interval);
        life.silence = worker.watchdog.map(|watchdog| now + watchdog);
        self.slots[life.instance.index()].begun = true;
    }

    fn notified(&mut self, now: Time, proc: ProcId, notice: &Notice) {
        let plan = self.plan.clone();
        let Some(life) = self.lives.get_mut(&proc) else { return };
        let Some(worker) = worker_of(&plan, life.instance).map(|worker| plan.worker(worker)) else { return };
        let tells = matches!(worker.ready, Some(Ready::Fd(_) | Ready::Notify));
        match notice {
            Notice::Ready if life.runs && !life.ready && tells => self.due = Some((proc, Due::Ready)),
            Notice::Trigger if life.runs => self.due = Some((proc, Due::Triggered)),
            Notice::Watchdog if life.ready => {
                life.silence = worker.watchdog.map(|watchdog| now + watchdog);
                life.reprieves = 0;
            }
            Notice::Unheard if life.runs => life.flooded = Some(now),
            Notice::Extend(time) => life.start = life.start.map(|at| at.max(now + *time)),
            Notice::Ready | Notice::Trigger | Notice::Watchdog | Notice::Unheard => {}
            Notice::Status(_) | Notice::Stopping => {}
        }
    }

    fn answered(&mut self, now: Time, proc: ProcId, question: Question, answer: ProbeAnswer) {
        let yes = answer.is_ok();
        let plan = self.plan.clone();
        let Some(life) = self.lives.get_mut(&proc) else { return };
        let Some(worker) = worker_of(&plan, life.instance).map(|worker| plan.worker(worker)) else { return };
        if life.asked == Some(question) {
            life.asked = None;
        }
        life.refusal = answer.err();
        match (question, &worker.health) {
            (Question::Ready, _) if life.ready => {}
            (Question::Ready, _) if yes => self.due = Some((proc, Due::Ready)),
            (Question::Ready, _) => life.ask = Some(now + ASK_AGAIN),
            (Question::Health, Some(health)) => {
                life.refusals = if yes { 0 } else { life.refusals + 1 };
                life.ask = Some(now + health.interval);
                if life.refusals >= health.failures {
                    self.due = Some((proc, Due::Unhealthy));
                }
            }
            (Question::Health, None) => {}
        }
    }

    /// It is on its way out, or gone: nothing more is expected of it.
    pub fn leaves(&mut self, now: Time, proc: ProcId) {
        if let Some(life) = self.lives.remove(&proc)
            && life.ready
        {
            self.slots[life.instance.index()].last_ready = now;
        }
    }

    /// Whoever of an instance was not asked to leave before.
    pub fn is_asked(&mut self, now: Time, instance: InstanceId) -> Verdict {
        let Some(proc) = self.living(instance) else { return Ok(()) };
        let open = self.lives.get(&proc).and_then(|life| life.asked);
        self.leaves(now, proc);
        hold("probe", open.is_none(), || format!("{proc} is asked to leave, and its probe goes on: {open:?}"))
    }

    pub fn completes(&mut self, instance: InstanceId) {
        let slot = &mut self.slots[instance.index()];
        (slot.begun, slot.completed) = (true, true);
    }

    pub fn begun(&self, instance: InstanceId) -> bool {
        self.slots[instance.index()].begun
    }

    pub fn completed(&self, instance: InstanceId) -> bool {
        self.slots[instance.index()].completed
    }

    /// Whether those that require this worker may run: one replica is ready, or all of a oneshot ended well.
    pub fn is_ready(&self, worker: WorkerId) -> bool {
        match self.plan.worker(worker).kind {
            Kind::Oneshot => self.replicas(worker).all(|id| self.slots[id.index()].completed),
            Kind::Service => {
                self.lives.values().any(|life| life.ready && worker_of(&self.plan, life.instance) == Some(worker))
            }
        }
    }

    pub fn serves(&self, proc: ProcId) -> bool {
        self.lives.get(&proc).is_some_and(|life| life.ready)
    }

    /// What this instance requires, and is not ready.
    pub fn lacks(&self, instance: InstanceId) -> Option<WorkerId> {
        self.worker(instance)?.requires.iter().copied().find(|&worker| !self.is_ready(worker))
    }

    /// "ready", "start", "health", "watchdog", "requires": each of these is told when it is so, and never without cause.
    pub fn notes(&mut self, now: Time, note: &Note) -> Verdict {
        match *note {
            Note::Ready { instance, .. } => {
                let proc = self.entitled("ready", instance, now, Due::Ready, |life| life.delay)?;
                let again = self.lives[&proc].ready;
                hold("ready", !again, || format!("{proc} is told ready again"))?;
                self.is_ready_now(now, proc);
                self.due = None;
                Ok(())
            }
            Note::NotReady { instance, timeout, last } => {
                let heard = self.life(instance).and_then(|life| life.refusal);
                hold("start", last == heard, || format!("{instance:?} is told of {last:?} and was {heard:?}"))?;
                let right = self.worker(instance).and_then(|worker| worker.start_timeout) == Some(timeout);
                let late = self.life(instance).is_some_and(|life| life.start.is_some_and(|at| at <= now));
                hold("start", right && late, || format!("{instance:?} is found late after {timeout:?}, and is not"))
            }
            Note::Unhealthy { instance, last, .. } => {
                let heard = self.life(instance).and_then(|life| life.refusal);
                hold("health", heard == Some(last), || format!("{instance:?} is told of {last:?} and was {heard:?}"))?;
                self.entitled("health", instance, now, Due::Unhealthy, |_| None).map(|_| ())
            }
            Note::FoundItselfUnwell { instance } => {
                self.entitled("watchdog", instance, now, Due::Triggered, |_| None).map(|_| ())
            }
            Note::WatchdogExpired { instance } => {
                let silent = self.life(instance).and_then(|life| life.silence);
                hold("watchdog", silent.is_some_and(|at| at <= now), || {
                    format!("{instance:?} is silent for too long at {now}, it has until {silent:?}")
                })
            }
            Note::Falls { instance, required } => {
                let right = self.worker(instance).is_some_and(|worker| worker.requires.contains(&required));
                hold("requires", right && !self.is_ready(required), || {
                    format!("{instance:?} falls, and {required:?} stands")
                })
            }
            _ => Ok(()),
        }
    }

    /// The event says so of this instance, or a moment of its has come.
    fn entitled(
        &self,
        law: &'static str,
        id: InstanceId,
        now: Time,
        due: Due,
        at: impl Fn(&Life) -> Option<Time>,
    ) -> Result<ProcId, super::Broken> {
        let proc = self.living(id);
        let told = proc.is_some() && self.due == proc.map(|proc| (proc, due));
        let come = self.life(id).and_then(at);
        hold(law, told || come.is_some_and(|at| at <= now), || format!("{id:?} is {due:?} at {now}, due {come:?}"))?;
        proc.ok_or_else(|| super::Broken::new(law, "nobody lives"))
    }

    pub fn ordered(&mut self, now: Time, action: &Action) -> Verdict {
        match *action {
            Action::Spawn { proc, instance } => {
                let lacks = self.lacks(instance);
                hold("requires", lacks.is_none(), || format!("{instance:?} is started without {lacks:?}"))?;
                let start = self.worker(instance).and_then(|worker| worker.start_timeout).map(|time| now + time);
                let (runs, ready, refusals) = (false, false, 0);
                let (delay, ask, asked, silence) = (None, None, None, None);
                let (flooded, reprieves, refusal) = (None, 0, None);
                let life = Life {
                    instance,
                    runs,
                    ready,
                    start,
                    delay,
                    ask,
                    asked,
                    silence,
                    flooded,
                    reprieves,
                    refusal,
                    refusals,
                };
                self.lives.insert(proc, life);
                Ok(())
            }
            Action::Deliver { proc, token, .. } => {
                let ready = self.lives.get(&proc).is_none_or(|life| life.ready);
                hold("ready", ready, || format!("{token} goes to {proc}, which is not ready"))
            }
            Action::Ask { proc, question, timeout } => self.asks(now, proc, question, timeout),
            Action::Unask { proc } => {
                self.lives.entry(proc).and_modify(|life| life.asked = None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// "probe": each question in its time, one at a time, with the patience that the plan says.
    fn asks(&mut self, now: Time, proc: ProcId, question: Question, timeout: Duration) -> Verdict {
        let plan = self.plan.clone();
        let life = self.lives.get_mut(&proc).filter(|life| life.runs);
        let Some(life) = life else { return hold("probe", false, || format!("{proc} is asked and is not up")) };
        let health = worker_of(&plan, life.instance).and_then(|worker| plan.worker(worker).health.as_ref());
        let patience = match question {
            Question::Ready => (!life.ready).then_some(READY_ANSWER),
            Question::Health => health.filter(|_| life.ready).map(|health| health.timeout),
        };
        let due = life.ask.take();
        let right = patience == Some(timeout) && life.asked.is_none() && due.is_some_and(|at| at <= now);
        hold("probe", right, || format!("{proc} is asked {question:?} at {now}, due {due:?}, {:?} open", life.asked))?;
        life.asked = Some(question);
        Ok(())
    }

    /// After each event: nothing of it is overlooked, and nobody runs without what it requires.
    pub fn handled(&self, now: Time, event: &Event, stopping: bool) -> Verdict {
        if let Some((proc, due)) = self.due {
            let law = match due {
                Due::Ready => "ready",
                Due::Unhealthy => "health",
                Due::Triggered => "watchdog",
            };
            hold(law, !self.lives.contains_key(&proc), || format!("{proc} is {due:?}, and nothing follows"))?;
        }
        for (proc, life) in self.lives.iter().filter(|_| *event == Event::Tick) {
            let dues = [("start", life.start), ("ready", life.delay), ("probe", life.ask), ("watchdog", life.silence)];
            let overlooked = dues.into_iter().find(|(_, at)| at.is_some_and(|at| at <= now));
            let law = overlooked.map_or("start", |(law, _)| law);
            hold(law, overlooked.is_none(), || format!("{overlooked:?} of {proc} is overlooked at {now}"))?;
        }
        if stopping {
            return Ok(());
        }
        for (proc, life) in &self.lives {
            let lacks = self.lacks(life.instance);
            hold("requires", lacks.is_none(), || format!("{proc} stays, though {lacks:?} is not ready"))?;
        }
        Ok(())
    }

    /// Who was not ready for so long, and was to be: `wanted`. An instance that requires one that is renewed again and again
    /// may never have the time.
    pub fn lingers(
        &self,
        now: Time,
        since: Time,
        most: Duration,
        wanted: &dyn Fn(InstanceId) -> bool,
    ) -> Option<InstanceId> {
        let ids = (0u32..).map(InstanceId).take(self.slots.len());
        let mut missing = ids.filter(|&id| worker_of(&self.plan, id).is_some_and(|worker| !self.is_fickle(worker)));
        missing.find(|&id| {
            let ready = self.life(id).is_some_and(|life| life.ready) || self.completed(id);
            let last = self.slots[id.index()].last_ready.max(since);
            wanted(id) && !ready && last + most < now
        })
    }

    fn is_fickle(&self, worker: WorkerId) -> bool {
        let renewed =
            |worker: &WorkerPlan| worker.consumer.as_ref().is_some_and(|consumer| consumer.max_items.is_some());
        let requires = &self.plan.worker(worker).requires;
        requires.iter().any(|&other| renewed(self.plan.worker(other)) || self.is_fickle(other))
    }

    fn living(&self, instance: InstanceId) -> Option<ProcId> {
        self.lives.iter().find(|(_, life)| life.instance == instance).map(|(&proc, _)| proc)
    }

    fn life(&self, instance: InstanceId) -> Option<&Life> {
        self.lives.values().find(|life| life.instance == instance)
    }

    fn worker(&self, instance: InstanceId) -> Option<&WorkerPlan> {
        worker_of(&self.plan, instance).map(|worker| self.plan.worker(worker))
    }

    fn replicas(&self, worker: WorkerId) -> impl Iterator<Item = InstanceId> {
        let ids = (0u32..).map(InstanceId).take(self.slots.len());
        ids.filter(move |&id| worker_of(&self.plan, id) == Some(worker))
    }
}

fn worker_of(plan: &Plan, instance: InstanceId) -> Option<WorkerId> {
    match plan.role(instance) {
        Role::Worker { worker, .. } => Some(worker),
        Role::Source(_) => None,
    }
}
