//! L5 and L9 for starts: what counts against the start limit and what does not, how long a restart is put off, and that
//! everything which is wanted is up as soon as its delay is over.

use super::service::Services;
use super::{Verdict, hold};
use exeunt::machine::{Action, Note};
use exeunt::model::identity::Resource;
use exeunt::model::plan::{Backoff, Kind, Plan, Restart, Role};
use exeunt::model::{ExitStatus, InstanceId, SpawnError, Stage, StopReason, Time, WorkerId};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

pub struct Restarts {
    plan: Rc<Plan>,
    crews: Vec<Crew>,
    slots: Vec<Slot>,
    /// Who ended well at once since strangers were counted, and how many there were then.
    suspects: Vec<InstanceId>,
    orphans: u32,
    /// What must follow from the event that is being handled.
    expected: Option<(InstanceId, Next)>,
}

#[derive(Default)]
struct Crew {
    failures: VecDeque<Time>,
    /// Items in a row that were not read in time.
    unread: u32,
    own_limit: OwnLimit,
    ever_ran: bool,
    gave_up: bool,
    /// It was given up, or ended badly and is not started again; perhaps so in a stop.
    failed: bool,
    may_have_failed: bool,
}

/// Starts in a row that met a limit which the file sets, one in ten seconds counted.
#[derive(Default)]
struct OwnLimit {
    count: u32,
    last: Option<Time>,
}

impl OwnLimit {
    fn reaches(&mut self, burst: u32, now: Time) -> bool {
        if self.last.is_some_and(|last| now < last + Duration::from_secs(10)) {
            return false;
        }
        (self.count, self.last) = (self.count + 1, Some(now));
        self.count >= burst
    }
}

#[derive(Default)]
struct Slot {
    /// Restarts that were put off since the last success.
    in_row: u32,
    rests: bool,
    due: Option<Time>,
    /// Of a source.
    own_limit: OwnLimit,
}

/// What becomes of an instance whose incarnation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Rests,
    /// So does a oneshot that ended well.
    Completes,
    /// As soon as all that it waits for is there.
    AtOnce,
    /// The so manieth delay in a row, from 0, which is none.
    Later(u32),
    /// After a good end that came soon: the first delay, and a tenth of a second at least.
    Pause,
    GivesUp,
}

/// How an incarnation that ran came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// Why it was asked to leave, if it was.
    pub cause: Option<StopReason>,
    pub status: ExitStatus,
    pub ran: Duration,
    /// It had no item in hand, or one that is blamed for the first time.
    pub counts: bool,
    /// It left no item unanswered, and no process that had to be stopped.
    pub empty: bool,
    /// It did at least one item.
    pub proven: bool,
    /// It was ready, or needed not say so.
    pub ready: bool,
    /// It was stopped for an item that it did not read.
    pub unread: bool,
    /// Why it was found unfit to stay, if it was.
    pub unfit: Option<Unfit>,
}

/// Why an incarnation is asked to leave, where it is neither the stop of all nor its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Not ready in time, not healthy, or silent.
    Unwell,
    /// What it requires is not ready.
    Falls(WorkerId),
}

/// Who ended well and soon comes again no sooner.
const PAUSE: Duration = Duration::from_millis(100);
/// A source's start is tried again like this when the machine is short of something.
const OF_SOURCES: Backoff =
    Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 };

impl Restarts {
    pub fn new(plan: Rc<Plan>) -> Restarts {
        Restarts {
            crews: plan.workers.iter().map(|_| Crew::default()).collect(),
            slots: plan.instances.iter().map(|_| Slot::default()).collect(),
            suspects: Vec::new(),
            orphans: 0,
            expected: None,
            plan,
        }
    }

    pub fn runs(&mut self, id: InstanceId) {
        match self.worker(id) {
            Some(worker) => {
                let crew = &mut self.crews[worker.index()];
                (crew.ever_ran, crew.own_limit) = (true, OwnLimit::default());
            }
            None => self.slots[id.index()].own_limit = OwnLimit::default(),
        }
    }

    /// It said something of an item that it has: it reads.
    pub fn answers(&mut self, id: InstanceId) {
        if let Some(worker) = self.worker(id) {
            self.crews[worker.index()].unread = 0;
        }
    }

    /// In a run: where there are more orphans than before, a program that ended well at once has left one, which counts.
    pub fn orphans(&mut self, now: Time, count: u32, running: bool) {
        let before = std::mem::replace(&mut self.orphans, count);
        let suspects = std::mem::take(&mut self.suspects);
        let waits = |id: &InstanceId| self.slots[id.index()].due.is_some() && !self.slots[id.index()].rests;
        let Some(id) = suspects.into_iter().find(waits).filter(|_| count > before && running) else {
            return;
        };
        let Some(worker) = self.worker(id) else { return };
        if self.reaches_the_limit(worker, now) {
            self.expected = Some((id, Next::GivesUp));
        }
    }

    /// It did an item: the program works.
    pub fn succeeds(&mut self, id: InstanceId) {
        self.slots[id.index()].in_row = 0;
        if let Some(worker) = self.worker(id) {
            self.crews[worker.index()].failures.clear();
        }
    }

    /// A start came to nothing, and nobody had asked for that. A shortage of the machine's counts for nothing; a command
    /// that is none is hopeless where it never ran; who is never restarted is not tried again; everything else counts.
    pub fn start_fails(&mut self, now: Time, id: InstanceId, error: SpawnError) {
        let shortage = [11, 12, 23, 24, 26].contains(&error.errno);
        let hopeless = error.stage == Stage::Exec && [2, 7, 8, 13, 20, 21, 36, 40, 80].contains(&error.errno);
        let limited = shortage && error.errno == 11 && self.is_limited(id, error.stage);
        let next = match self.worker(id) {
            None if limited && self.slots[id.index()].own_limit.reaches(5, now) => Next::Rests,
            None if shortage => self.later(id),
            None => Next::Rests,
            Some(worker) if self.crews[worker.index()].gave_up => Next::Rests,
            Some(worker) if limited && self.meets_its_limit(worker, now) => Next::GivesUp,
            Some(_) if shortage => self.later(id),
            Some(worker) if hopeless && !self.crews[worker.index()].ever_ran => Next::GivesUp,
            Some(worker) if self.plan.worker(worker).restart == Restart::Never => Next::GivesUp,
            Some(worker) if self.reaches_the_limit(worker, now) => Next::GivesUp,
            Some(_) => self.later(id),
        };
        self.expected = Some((id, next));
    }

    /// A start that was ended since it took too long, or what it requires is not there, came to nothing.
    pub fn is_ended(&mut self, now: Time, id: InstanceId, unfit: Unfit) {
        let Some(worker) = self.worker(id) else { return };
        self.expected = Some((id, self.after_unfit(now, id, worker, unfit)));
    }

    fn after_unfit(&mut self, now: Time, id: InstanceId, worker: WorkerId, unfit: Unfit) -> Next {
        match unfit {
            _ if self.crews[worker.index()].gave_up => Next::Rests,
            Unfit::Falls(_) => Next::AtOnce,
            Unfit::Unwell if self.plan.worker(worker).restart == Restart::Never => {
                self.crews[worker.index()].may_have_failed = true;
                Next::Rests
            }
            Unfit::Unwell if self.reaches_the_limit(worker, now) => Next::GivesUp,
            Unfit::Unwell => self.later(id),
        }
    }

    pub fn departs(&mut self, now: Time, id: InstanceId, how: Departure) {
        let Some(worker) = self.worker(id) else {
            return self.expected = Some((id, Next::Rests));
        };
        let plan = self.plan.clone();
        let plan = plan.worker(worker);
        if how.ran >= plan.restart_reset_after {
            self.slots[id.index()].in_row = 0;
        }
        let well = plan.program.is_success(how.status) && how.ready;
        let wanted = match plan.restart {
            Restart::Always => true,
            Restart::OnFailure => !well,
            Restart::Never => false,
        };
        let next = match how.cause {
            Some(StopReason::Shutdown | StopReason::Drained) => Next::Rests,
            _ if self.crews[worker.index()].gave_up => Next::Rests,
            Some(StopReason::Timeout) if how.unread && plan.restart == Restart::Never => {
                self.crews[worker.index()].may_have_failed = true;
                Next::Rests
            }
            Some(StopReason::Timeout) if how.unread && self.does_not_read(worker) => Next::GivesUp,
            Some(StopReason::Timeout) if how.unread => self.later(id),
            Some(StopReason::Timeout | StopReason::MaxItems) => Next::AtOnce,
            None if plan.kind == Kind::Oneshot && well => Next::Completes,
            None if !wanted => {
                self.crews[worker.index()].may_have_failed |= !well;
                Next::Rests
            }
            None if well && how.empty && (how.proven || how.ran >= Duration::from_secs(1)) => {
                self.slots[id.index()].in_row = 0;
                self.later(id)
            }
            None if well && how.empty => Next::Pause,
            Some(_) if matches!(how.unfit, Some(Unfit::Falls(_))) => Next::AtOnce,
            Some(_) if plan.restart == Restart::Never => {
                self.crews[worker.index()].may_have_failed = true;
                Next::Rests
            }
            _ if how.counts && self.reaches_the_limit(worker, now) => Next::GivesUp,
            _ => self.later(id),
        };
        self.expected = Some((id, next));
    }

    /// A worker was given up, or ended badly and is not started again.
    pub fn has_failed(&self) -> bool {
        self.crews.iter().any(|crew| crew.failed)
    }

    /// Or perhaps, in a stop.
    pub fn may_have_failed(&self) -> bool {
        self.crews.iter().any(|crew| crew.may_have_failed)
    }

    /// Whether this one has for certain, and whether it may have.
    pub fn failure_of(&self, worker: WorkerId) -> (bool, bool) {
        let crew = &self.crews[worker.index()];
        (crew.failed, crew.may_have_failed)
    }

    pub fn gives_up(&self) -> bool {
        self.crews.iter().any(|crew| crew.gave_up)
    }

    pub fn ever_ran(&self, worker: WorkerId) -> bool {
        self.crews[worker.index()].ever_ran
    }

    /// Nobody waits for it any more.
    pub fn is_given_up(&mut self, id: InstanceId) {
        self.rests(id);
    }

    fn later(&mut self, id: InstanceId) -> Next {
        let slot = &mut self.slots[id.index()];
        slot.in_row += 1;
        Next::Later(slot.in_row - 1)
    }

    /// Whether the file limits the processes of its program, and the step comes after that.
    fn is_limited(&self, id: InstanceId, stage: Stage) -> bool {
        let later = [
            Stage::Groups,
            Stage::Group,
            Stage::User,
            Stage::Privileges,
            Stage::Directory,
            Stage::ParentDeath,
            Stage::Exec,
        ];
        self.plan.program(id).identity.limit(Resource::Nproc).is_some() && later.contains(&stage)
    }

    fn meets_its_limit(&mut self, worker: WorkerId, now: Time) -> bool {
        let Some(limit) = self.plan.worker(worker).start_limit else { return false };
        self.crews[worker.index()].own_limit.reaches(limit.burst, now)
    }

    fn does_not_read(&mut self, worker: WorkerId) -> bool {
        let Some(limit) = self.plan.worker(worker).start_limit else { return false };
        let unread = &mut self.crews[worker.index()].unread;
        *unread += 1;
        *unread >= limit.burst
    }

    fn reaches_the_limit(&mut self, worker: WorkerId, now: Time) -> bool {
        let Some(limit) = self.plan.worker(worker).start_limit else { return false };
        let failures = &mut self.crews[worker.index()].failures;
        failures.push_back(now);
        failures.retain(|&at| at + limit.interval >= now);
        failures.len() >= limit.burst as usize
    }

    fn rests(&mut self, id: InstanceId) {
        let slot = &mut self.slots[id.index()];
        (slot.rests, slot.due) = (true, None);
    }

    /// L5: after each end of an incarnation, exactly this: rest, a new start at once, one after the right delay, or the end
    /// of the whole worker. In a stop nothing of it is looked at: L3 forbids starts there.
    pub fn handled(
        &mut self,
        now: Time,
        actions: &[Action],
        (stopping, crowded): (bool, bool),
        open: &dyn Fn(InstanceId) -> bool,
        services: &mut Services,
    ) -> Verdict {
        let expected = self.expected.take();
        for action in actions {
            match action {
                Action::Spawn { instance, .. } => {
                    self.slots[instance.index()].due = None;
                }
                Action::Note(Note::Restarting { instance, after, .. }) => {
                    self.slots[instance.index()].due = Some(now + *after);
                }
                _ => {}
            }
        }
        let gives_up = |worker: WorkerId| {
            actions.iter().any(|action| match action {
                Action::Note(
                    Note::GaveUp { worker: other, .. }
                    | Note::CannotStart { worker: other, .. }
                    | Note::NeverReads { worker: other, .. }
                    | Note::LimitedToDeath { worker: other, .. },
                ) => *other == worker,
                _ => false,
            })
        };
        let gave_up = (0u32..).map(WorkerId).take(self.crews.len()).find(|&worker| gives_up(worker));
        gave_up.into_iter().for_each(|worker| self.crews[worker.index()].failed = true);
        let expects_it = expected.filter(|(_, next)| *next == Next::GivesUp).and_then(|(id, _)| self.worker(id));
        hold("L5", stopping || gave_up == expects_it, || {
            format!("{gave_up:?} is given up, by its failures {expects_it:?} should be")
        })?;
        if let (false, Some((id, next))) = (stopping, expected) {
            self.crews.iter_mut().for_each(|crew| crew.failed |= std::mem::take(&mut crew.may_have_failed));
            self.follows(id, next, actions, crowded, open, services)?;
        }
        Ok(())
    }

    fn follows(
        &mut self,
        id: InstanceId,
        next: Next,
        actions: &[Action],
        crowded: bool,
        open: &dyn Fn(InstanceId) -> bool,
        services: &mut Services,
    ) -> Verdict {
        let started = actions.iter().any(|action| matches!(action, Action::Spawn { instance, .. } if *instance == id));
        let at_once = crowded || started == self.may_run(id, open, services);
        let put_off = actions.iter().find_map(|action| match action {
            Action::Note(Note::Restarting { instance, after, .. }) if *instance == id => Some(*after),
            _ => None,
        });
        let right = match next {
            Next::Rests | Next::Completes | Next::GivesUp => !started,
            Next::AtOnce => at_once && put_off.is_none(),
            Next::Later(_) | Next::Pause if !self.is_wanted(id, open, services) => !started && put_off.is_none(),
            Next::Later(0) => at_once && put_off == Some(Duration::ZERO),
            Next::Later(_) | Next::Pause => put_off.is_some(),
        };
        hold("L5", right, || format!("{id:?}: {next:?} is due, started {started}, put off by {put_off:?}"))?;
        let number = match next {
            Next::Later(n) => Some(n),
            Next::Pause => Some(1),
            Next::Rests | Next::Completes | Next::AtOnce | Next::GivesUp => None,
        };
        if let (Some(n), Some(after)) = (number, put_off) {
            let backoff = self.worker(id).map_or(OF_SOURCES, |worker| self.plan.worker(worker).restart_delay);
            let (least, most) = if n == 0 { Default::default() } else { bounds(&backoff, n) };
            let (least, most) = if next == Next::Pause { (least.max(PAUSE), most.max(PAUSE)) } else { (least, most) };
            hold("L5", (least..=most).contains(&after), || {
                format!("{id:?} is put off by {after:?} the {n}th time, {least:?} to {most:?} are right")
            })?;
        }
        match next {
            Next::Rests => self.rests(id),
            Next::Completes => {
                services.completes(id);
                self.rests(id);
            }
            Next::GivesUp => {
                if let Some(worker) = self.worker(id) {
                    self.crews[worker.index()].gave_up = true;
                }
                self.rests(id);
            }
            Next::Pause if put_off.is_some() => self.suspects.push(id),
            Next::AtOnce | Next::Later(_) | Next::Pause => {}
        }
        Ok(())
    }

    /// Where an instance whose worker is given up has no incarnation, it never will have one; nor where what it requires will
    /// never be ready again.
    pub fn is_wanted(&self, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        let Some(worker) = self.worker(id) else { return !self.slots[id.index()].rests };
        let lost = || self.waits_in_vain(id, open, services);
        !self.slots[id.index()].rests && (open(id) || (!self.crews[worker.index()].gave_up && !lost()))
    }

    /// Something that it requires will never be ready (again), and nothing else keeps it from being started.
    pub fn waits_in_vain(&self, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        let Some(worker) = self.worker(id).filter(|worker| !self.crews[worker.index()].gave_up) else { return false };
        let mut requires = self.plan.worker(worker).requires.iter();
        !self.slots[id.index()].rests && requires.any(|&other| self.is_lost(other, open, services))
    }

    fn is_lost(&self, worker: WorkerId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        let mut replicas = self.ids().filter(|&id| self.worker(id) == Some(worker));
        !services.is_ready(worker) && !replicas.any(|id| open(id) || self.is_wanted(id, open, services))
    }

    /// L2's cousins: nobody is started before those it is after have begun, before its delay is over, or at rest.
    pub fn spawns(&self, now: Time, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> Verdict {
        let gave_up = self.worker(id).is_some_and(|worker| self.crews[worker.index()].gave_up);
        hold("L5", !gave_up, || format!("{id:?} is started though its worker was given up"))?;
        let slot = &self.slots[id.index()];
        hold("L5", !slot.rests, || format!("{id:?} is started and was at rest"))?;
        hold("L5", slot.due.is_none_or(|due| due <= now), || format!("{id:?} is started before {:?}", slot.due))?;
        hold("after", self.may_begin(id, open, services), || format!("{id:?} is started before those it is after"))
    }

    fn may_begin(&self, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        let Some(worker) = self.worker(id) else { return true };
        let after = &self.plan.worker(worker).after;
        let mut others = self.ids().filter(|&other| self.worker(other).is_some_and(|worker| after.contains(&worker)));
        others.all(|other| services.begun(other) || !self.is_wanted(other, open, services))
    }

    fn may_run(&self, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        self.may_begin(id, open, services) && services.lacks(id).is_none()
    }

    /// L9: everything that is wanted is up once its delay is over, those it is after have begun, and those it requires are ready.
    pub fn all_are_up(&self, now: Time, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> Verdict {
        for id in self.ids().filter(|&id| !open(id) && self.is_wanted(id, open, services)) {
            let slot = &self.slots[id.index()];
            let waits = slot.due.is_some_and(|due| due > now) || !self.may_run(id, open, services);
            hold("up", waits, || format!("{id:?} is wanted up and not started, due {:?}", slot.due))?;
        }
        Ok(())
    }

    /// Liveness: once faults have stopped, and the longest back-off is over, everything wanted is ready.
    pub fn nobody_waits(
        &self,
        now: Time,
        since: Time,
        most: Duration,
        open: &dyn Fn(InstanceId) -> bool,
        services: &Services,
    ) -> Verdict {
        let waits = services.lingers(now, since, most, &|id| self.is_wanted(id, open, services));
        hold("up", waits.is_none(), || format!("{waits:?} is not ready, long after the last fault"))
    }

    /// In a drain: it is there to work, or comes to do so. Nobody else is started in a stop.
    pub fn comes(&self, id: InstanceId, open: &dyn Fn(InstanceId) -> bool, services: &Services) -> bool {
        let drains = self.plan.consumer(id).is_some_and(|consumer| self.plan.queue(consumer.queue).drain_on_stop);
        let comes = |worker: &WorkerId| {
            let mut replicas = self.ids().filter(|&id| self.worker(id) == Some(*worker));
            services.is_ready(*worker) || replicas.any(|id| self.comes(id, open, services))
        };
        let requires = self.worker(id).map(|worker| &self.plan.worker(worker).requires);
        let wanted = drains && self.is_wanted(id, open, services);
        open(id) || (wanted && requires.is_some_and(|requires| requires.iter().all(comes)))
    }

    /// A late turn moves what it finds.
    pub fn shift(&mut self, by: Duration) {
        self.slots.iter_mut().filter_map(|slot| slot.due.as_mut()).for_each(|due| *due = *due + by);
    }

    fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..u32::try_from(self.slots.len()).unwrap()).map(InstanceId)
    }

    fn worker(&self, id: InstanceId) -> Option<WorkerId> {
        match self.plan.role(id) {
            Role::Worker { worker, .. } => Some(worker),
            Role::Source(_) => None,
        }
    }
}

/// Between what the `n`th delay (from 1) of a back-off lies, the rounding of its arithmetic included.
pub fn bounds(backoff: &Backoff, n: u32) -> (Duration, Duration) {
    let exponent = i32::try_from(n - 1).unwrap();
    let plain = backoff.delay.as_secs_f64() * backoff.factor.powi(exponent);
    let capped = plain.min(backoff.max.as_secs_f64());
    let rounding = Duration::from_micros(1);
    let least = Duration::from_secs_f64(capped * (1.0 - backoff.jitter)).saturating_sub(rounding);
    (least, Duration::from_secs_f64(capped * (1.0 + backoff.jitter)) + rounding)
}
