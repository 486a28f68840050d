//! The fake kernel: births, signals, deaths, sessions.

use crate::fake::{Fake, Happening, Items, Leader, Process, Session, Told};
use crate::generate::{FORWARDED, Mood};
use crate::manner::{self, BirthFate, Manner, Offspring, Reaction, Temper};
use crate::voice;
use exeunt::machine::Event;
use exeunt::model::plan::{Kind, Role};
use exeunt::model::process::Usage;
use exeunt::model::{ExitStatus, InstanceId, Notice, ProcId, Signal, SignalSet, SpawnError, Stage, Target, WorkerId};
use std::time::Duration;

impl Fake {
    pub fn spawn(&mut self, proc: ProcId, instance: InstanceId) {
        let consumes = self.plan.consumer(instance).is_some();
        let ends = !consumes;
        let manner = match self.plan.role(instance) {
            Role::Source(_) => manner::draw(&mut self.dice, self.mood, false),
            Role::Worker { worker, .. } => self.manner_of(worker, ends),
        };
        match manner.birth {
            BirthFate::Executes { after } => self.after(after, Happening::Executes(proc)),
            BirthFate::Fails { after, error } => self.after(after, Happening::BirthFails(proc, error)),
            BirthFate::NoFork { error } => self.facts.births.push(Event::SpawnFailed { proc, error }),
        }
        let forked = !matches!(manner.birth, BirthFate::NoFork { .. });
        if forked && let Some(namesake) = self.pids.fork(proc) {
            self.gone(namesake);
        }
        let session = Session {
            instance,
            sent: SignalSet::EMPTY,
            stopped: manner.stopped,
            manner,
            leader: if forked { Leader::Unborn } else { Leader::Dead(ExitStatus::Exited(127)) },
            reaped: !forked,
            members: Vec::new(),
            told: if forked { Told::Nothing } else { Told::Over },
            pending: Vec::new(),
            hung: false,
            stood_still: Duration::ZERO,
            event_seen: false,
            unasked: false,
            since: None,
            leaving: false,
            read_later: None,
            items: consumes.then(Items::default),
        };
        self.sessions.insert(proc, session);
    }

    fn manner_of(&mut self, worker: WorkerId, ends: bool) -> Manner {
        let plan = self.plan.clone();
        let (dice, mood, worker) = (&mut self.dice, self.mood, plan.worker(worker));
        let mut manner = manner::draw(dice, mood, ends);
        if plan.init.is_some() {
            // Nobody listens to what it might say of itself.
            if mood.faulty() && dice.percent(40) {
                manner.birth = manner::shortage();
            }
            manner::with_an_end(dice, mood, 9000, &mut manner, &[0, 2, 3]);
            return manner;
        }
        if mood.faulty() && !worker.program.identity.limits.is_empty() && dice.percent(20) {
            let error = SpawnError { stage: Stage::Exec, errno: 11 };
            manner.birth = BirthFate::Fails { after: dice.millis(0, 500), error };
        }
        manner.voice = voice::draw(dice, mood, worker);
        if worker.kind == Kind::Oneshot {
            manner::with_an_end(dice, mood, 1500, &mut manner, &[0]);
        }
        manner
    }

    pub fn executes(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader != Leader::Unborn || (session.hung && self.mood != Mood::Calm) {
            return;
        }
        session.leader = Leader::Alive;
        let manner = session.manner.clone();
        let instance = session.instance;
        self.facts.births.push(Event::Spawned { proc });
        if manner.babbles && self.plan.consumer(instance).is_some() {
            self.babbles(proc);
        }
        if let Some((life, status)) = manner.life {
            self.after(life, Happening::Dies(proc, status));
        }
        for child in manner.offspring {
            self.after(child.after, Happening::Forks(proc, child));
        }
        self.begins_to_speak(proc);
        if let Role::Source(source) = self.plan.role(instance) {
            self.after(Duration::ZERO, Happening::Produces(source));
        }
    }

    pub fn birth_fails(&mut self, proc: ProcId, error: SpawnError) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        // Who hangs after KILL runs no more code, not even that which tells the failed step.
        if session.leader != Leader::Unborn || session.hung {
            return;
        }
        session.leader = Leader::Dead(ExitStatus::Exited(127));
        (session.told, session.reaped) = (Told::Over, true);
        self.pids.reaped(proc, true);
        self.pids.removed(proc);
        self.facts.births.push(Event::SpawnFailed { proc, error });
    }

    /// A signal goes to a number; it must still be the incarnation's.
    pub fn kill(&mut self, proc: ProcId, signal: Signal, target: Target) {
        let number = match target {
            Target::Unborn | Target::Leader => self.pids.of_leader(proc),
            Target::Members | Target::Unsignalled => self.pids.of_session(proc),
        };
        let Some(number) = number else { return };
        let owner = self.pids.owner(number);
        // The members are looked up by their session: nobody bears the number of an empty one.
        let members = matches!(target, Target::Members | Target::Unsignalled);
        if owner != Some(proc) && !(members && owner.is_none()) {
            return self.strays.push(format!("{signal} for {proc} goes to number {number}, which is {owner:?}'s"));
        }
        // A word among friends: it ends nobody.
        if signal == FORWARDED {
            return;
        }
        match target {
            Target::Unborn => self.kill_unborn(proc, signal),
            Target::Leader => self.signal_leader(proc, signal),
            Target::Members | Target::Unsignalled => {
                let added = self.sessions.get(&proc).is_some_and(|session| session.told == Told::Exited);
                self.signal_session(proc, signal, added, target == Target::Unsignalled);
            }
        }
    }

    /// A child that is killed before its exec closes the error pipe without a word: a birth, and in the same moment a death.
    /// Or it has told its failed step already.
    fn kill_unborn(&mut self, proc: ProcId, signal: Signal) {
        let told = self.dice.percent(50);
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader == Leader::Unborn && session.manner.unkillable {
            session.hung = true;
        } else if let (Leader::Unborn, BirthFate::Fails { error, .. }, true) =
            (session.leader, session.manner.birth, told)
        {
            self.birth_fails(proc, error);
        } else if session.leader == Leader::Unborn {
            session.leader = Leader::Alive;
            self.facts.births.push(Event::Spawned { proc });
            // It may have come further than was heard.
            if self.mood.faulty() && self.dice.percent(20) {
                let time = Duration::from_secs(3);
                let notices =
                    [Notice::Ready, Notice::Watchdog, Notice::Trigger, Notice::Stopping, Notice::Extend(time)];
                self.facts.words.extend(notices.map(|notice| Event::Notified { proc, notice }));
            }
            self.dies(proc, ExitStatus::Signalled { signal, core: false });
        } else {
            self.signal_leader(proc, signal);
        }
    }

    fn signal_leader(&mut self, proc: ProcId, signal: Signal) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        note(&mut session.sent, signal);
        if session.leader != Leader::Alive || session.hung {
            return;
        }
        if signal == Signal::KILL && session.manner.unkillable {
            session.hung = true;
        } else if signal == Signal::KILL {
            // Runs no more code from now on, but taking its memory apart may take a while.
            session.hung = true;
            let status = ExitStatus::Signalled { signal, core: false };
            if self.dice.percent(30) {
                let delay = self.dice.millis(10, 300);
                self.after(delay, Happening::Dies(proc, status));
            } else {
                self.dies(proc, status);
            }
        } else if signal == Signal::CONT {
            session.stopped = false;
            let pending = std::mem::take(&mut session.pending);
            pending.into_iter().for_each(|signal| self.reacts(proc, signal));
            self.work(proc);
        } else if session.stopped {
            session.pending.push(signal);
        } else {
            self.reacts(proc, signal);
        }
    }

    fn reacts(&mut self, proc: ProcId, signal: Signal) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let cleanup = session.manner.cleanup;
        match session.manner.on_signal {
            Reaction::Ignore => {}
            Reaction::AtOnce => {
                let status = ExitStatus::Signalled { signal, core: false };
                self.says_farewell(proc);
                self.after(cleanup, Happening::Dies(proc, status));
            }
            Reaction::FinishItem => {
                session.event_seen = true;
                self.work(proc);
            }
        }
    }

    /// The read end of the exit pipe became readable.
    pub fn tell(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        match session.manner.on_event {
            Reaction::Ignore => {}
            Reaction::AtOnce | Reaction::FinishItem if session.leader != Leader::Alive => {}
            Reaction::AtOnce => self.leave(proc),
            Reaction::FinishItem => {
                session.event_seen = true;
                self.work(proc);
            }
        }
    }

    /// Cleans up and exits.
    pub fn leave(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leaving || session.stopped {
            return;
        }
        session.leaving = true;
        let (cleanup, status) = (session.manner.cleanup, session.manner.status);
        self.says_farewell(proc);
        self.after(cleanup, Happening::Dies(proc, status));
    }

    pub fn dies(&mut self, proc: ProcId, status: ExitStatus) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader != Leader::Alive {
            return;
        }
        session.leader = Leader::Dead(status);
        if session.items.is_some() && session.anybody() {
            let delay = self.dice.millis(0, 400);
            self.after(delay, Happening::Afterword(proc));
        }
        self.facts.zombies.push_back(proc);
        self.facts.child_died = true;
        self.session_changed(proc);
    }

    pub fn forks(&mut self, proc: ProcId, child: Offspring) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader != Leader::Alive || session.hung {
            return;
        }
        let (sent, escaped) = (SignalSet::EMPTY, None);
        let process = Process { temper: child.temper, alive: true, doomed: false, sent, escaped };
        let end = if child.escapes {
            self.strangers.push(process);
            Happening::StrangerDies(self.strangers.len() - 1)
        } else {
            session.members.push(process);
            Happening::MemberDies(proc, session.members.len() - 1)
        };
        let member = session_of(&end);
        if let Some(life) = child.life {
            self.after(life, end);
        }
        if let (Some((proc, at)), Some(leaves)) = (member, child.leaves) {
            self.after(leaves, Happening::Escapes(proc, at));
        }
    }

    /// A member leaves its session: exeunt hears nothing of it.
    pub fn escapes(&mut self, proc: ProcId, at: usize) {
        let to = self.strangers.len();
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let Some(member) = session.members.get_mut(at).filter(|member| member.alive) else { return };
        self.strangers.push(*member);
        (member.alive, member.escaped) = (false, Some(to));
        self.session_changed(proc);
        if self.sessions.get(&proc).is_some_and(|session| session.reaped && !session.anybody()) {
            self.pids.emptied(proc);
        }
    }

    /// `added`: no rung asks for it. `sparing`: not those that were sent it before.
    fn signal_session(&mut self, proc: ProcId, signal: Signal, added: bool, sparing: bool) {
        let Some(session) = self.sessions.get(&proc) else { return };
        let leader = (session.leader == Leader::Alive && session.sent.contains(signal)).then(|| format!("{proc}"));
        let had = |member: &Process| member.alive && member.sent.contains(signal);
        let members: Vec<bool> = session.members.iter().map(had).collect();
        let repeated = members.contains(&true).then(|| format!("a member of {proc}")).or(leader.clone());
        if let Some(who) = repeated.filter(|_| added && !sparing) {
            self.repeated.push(format!("{who} is sent {signal} again"));
        }
        if !(sparing && leader.is_some()) {
            self.signal_leader(proc, signal);
        }
        let wanted = (0..).zip(members).filter(|&(_, had)| !(sparing && had));
        wanted.for_each(|(at, _)| self.signal_member(proc, at, signal));
    }

    fn signal_member(&mut self, proc: ProcId, at: usize, signal: Signal) {
        let Some(member) = self.sessions.get_mut(&proc).and_then(|session| session.members.get_mut(at)) else { return };
        note(&mut member.sent, signal);
        if let Some(at_once) = fate(member, signal) {
            let delay = if at_once { Duration::ZERO } else { self.dice.millis(0, 400) };
            self.after(delay, Happening::MemberDies(proc, at));
        }
    }

    pub fn member_dies(&mut self, proc: ProcId, at: usize) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let orphan = matches!(session.leader, Leader::Dead(_));
        let known = session.told != Told::Over;
        if let Some(stranger) = session.members.get(at).and_then(|member| member.escaped) {
            return self.stranger_dies(stranger);
        }
        match session.members.get_mut(at) {
            Some(member) if member.alive => member.alive = false,
            Some(_) | None => return,
        }
        let unseen = known && self.mood.faulty() && self.dice.percent(50) && self.strangers_alive() > 0;
        // The child of a living stranger is reaped by that one, and nobody tells us.
        if orphan && !unseen {
            self.orphan_reaped();
        }
        self.session_changed(proc);
        if self.sessions.get(&proc).is_some_and(|session| session.reaped && !session.anybody()) {
            self.pids.emptied(proc);
        }
    }

    /// Strangers are all who live outside the sessions that the shell knows: those who made themselves one of their own, and
    /// those whose session was forgotten.
    pub fn sweep(&mut self, signal: Signal, repeat: bool) {
        if signal == FORWARDED {
            return self.count_strangers();
        }
        for at in 0..self.strangers.len() {
            let stranger = &mut self.strangers[at];
            if stranger.alive && stranger.sent.contains(signal) {
                if !repeat {
                    continue;
                }
                self.repeated.push(format!("a stranger is sent {signal} again"));
            }
            note(&mut self.strangers[at].sent, signal);
            if let Some(at_once) = fate(&mut self.strangers[at], signal) {
                let delay = if at_once { Duration::ZERO } else { self.dice.millis(0, 400) };
                self.after(delay, Happening::StrangerDies(at));
            }
        }
        let forgotten = self.sessions.iter().filter(|(_, session)| session.told == Told::Over);
        let forgotten: Vec<ProcId> = forgotten.map(|(&proc, _)| proc).collect();
        for proc in forgotten {
            self.signal_session(proc, signal, true, !repeat);
        }
        self.count_strangers();
    }

    pub fn count_strangers(&mut self) {
        let count = self.strangers_alive();
        self.facts.others.push(Event::Strangers { count });
    }

    /// All strangers are orphans here.
    pub fn count_orphans(&mut self) {
        let count = self.strangers_alive();
        self.facts.others.push(Event::Orphans { count });
    }

    pub fn strangers_alive(&self) -> u32 {
        let own = self.strangers.iter().filter(|process| process.alive).count();
        let forgotten = self.sessions.values().filter(|session| session.told == Told::Over);
        let forgotten: usize = forgotten.map(Session::living).sum();
        u32::try_from(own + forgotten).unwrap()
    }

    pub fn stranger_dies(&mut self, at: usize) {
        if std::mem::replace(&mut self.strangers[at].alive, false) {
            self.orphan_reaped();
        }
    }

    /// Whose it was cannot be known: all sessions without a leader are looked into.
    fn orphan_reaped(&mut self) {
        self.facts.others.push(Event::OrphanReaped);
        let left = self.sessions.iter().filter(|(_, session)| session.told == Told::Exited);
        self.facts.looks.extend(left.map(|(&proc, _)| proc));
    }

    /// Whoever lives dies now, the unkillable too, and whoever is born from now on is obedient.
    pub fn heals(&mut self) {
        self.mood = Mood::Calm;
        let living: Vec<(ProcId, usize)> =
            self.sessions.iter().map(|(&proc, session)| (proc, session.members.len())).collect();
        for (proc, members) in living {
            self.executes(proc);
            self.dies(proc, ExitStatus::Exited(1));
            (0..members).for_each(|at| self.member_dies(proc, at));
        }
        (0..self.strangers.len()).for_each(|at| self.stranger_dies(at));
    }

    pub fn forget(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        session.told = Told::Over;
        let instance = session.instance;
        self.pids.removed(proc);
        self.source_is_left(instance);
    }

    /// A new child has the number of this one, whose leader is gone: so its session is empty.
    fn gone(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        session.told = Told::Over;
        let instance = session.instance;
        self.pids.removed(proc);
        self.source_is_left(instance);
        self.facts.others.push(Event::MembersGone { proc });
    }

    /// Words that come of a death, told when the turn comes to deaths: the exit, then what is left of the session.
    pub fn obituary(&mut self, proc: ProcId, told: &mut Vec<Event>) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let Leader::Dead(status) = session.leader else { return };
        if session.told == Told::Over {
            // Nobody of ours any more: it was forgotten.
            return told.push(Event::OrphanReaped);
        }
        session.told = Told::Exited;
        let in_hand = session.items.as_ref().is_some_and(Items::in_hand);
        // Of those that we killed ourselves too: who it was, the kernel does not say.
        let killed = matches!(status, ExitStatus::Signalled { signal: Signal::KILL, .. });
        let out_of_memory = killed && self.dice.percent(30);
        told.push(Event::Exited { proc, status, in_hand, usage: Usage::default(), out_of_memory });
        self.look(proc, told);
    }

    /// Whether the session is empty. What is still in a source's pipe is read after that.
    pub fn look(&mut self, proc: ProcId, told: &mut Vec<Event>) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.told != Told::Exited {
            return;
        }
        let count = session.members.iter().filter(|member| member.alive).count();
        let instance = session.instance;
        if count > 0 {
            told.push(Event::MembersLeft { proc, count: u32::try_from(count).unwrap() });
        } else if self.reads_on_later(proc) {
            let delay = self.dice.millis(0, 50);
            self.after(delay, Happening::Looks(proc));
        } else {
            // What was read in this turn is told before the end of the session.
            told.append(&mut self.facts.items);
            self.source_is_left(instance);
            self.last_words(proc);
            told.append(&mut self.facts.words);
            if let Some(session) = self.sessions.get_mut(&proc) {
                session.told = Told::Over;
            }
            self.pids.removed(proc);
            told.push(Event::MembersGone { proc });
        }
    }
}

impl Fake {
    /// Whether the last replies of an empty session take more than one turn to read: its pipe may hold more than a budget.
    fn reads_on_later(&mut self, proc: ProcId) -> bool {
        let later = self.mood.faulty() && self.dice.percent(10);
        let Some(session) = self.sessions.get_mut(&proc) else { return false };
        let first = session.read_later.is_none();
        first && *session.read_later.insert(later)
    }
}

impl Session {
    pub fn anybody(&self) -> bool {
        self.living() > 0
    }

    fn living(&self) -> usize {
        let leader = usize::from(!matches!(self.leader, Leader::Dead(_)));
        leader + self.members.iter().filter(|member| member.alive).count()
    }
}

/// KILL and CONT may come as often as they like.
fn note(sent: &mut SignalSet, signal: Signal) {
    if !matches!(signal, Signal::KILL | Signal::CONT) {
        sent.insert(signal);
    }
}

fn session_of(end: &Happening) -> Option<(ProcId, usize)> {
    match end {
        Happening::MemberDies(proc, at) => Some((*proc, *at)),
        _ => None,
    }
}

/// Whether the process dies of this signal, and if so whether at once.
fn fate(process: &mut Process, signal: Signal) -> Option<bool> {
    let kill = signal == Signal::KILL;
    let dies = match process.temper {
        Temper::Obeys => signal != Signal::CONT,
        Temper::IgnoresAllButKill => kill,
        Temper::Unkillable => false,
    };
    if !process.alive || !dies || (process.doomed && !kill) {
        return None;
    }
    process.doomed = true;
    Some(kill)
}
