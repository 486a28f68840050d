//! The machine's orders, carried out in their order. What comes of them are new facts.

use super::notes;
use super::pipes::{Hearing, Standing};
use super::start_error;
use super::table::{Life, Proc, Topic, What};
use super::turn::Shell;
use super::waits;
use crate::machine::{Action, Event, Note, Wait};
use crate::model::plan::{Place, Role};
use crate::model::{InstanceId, ProcId, Signal, StopReason, Target};
use crate::sys::members::{self, Member};
use crate::sys::{Pid, fds, permit, strangers};
use crate::wire::worker::encode_stop;
use log::{debug, warn};
use mio::Interest;
use mio::unix::SourceFd;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// What the orders of one round share.
#[derive(Default)]
struct Round {
    /// One look at the members of every session for all kills.
    members: Option<Vec<Member>>,
    /// Who is to be looked at again.
    asked: BTreeSet<ProcId>,
}

impl Shell {
    /// Carries out all orders; many items and results for one pipe share one write at the end.
    pub(super) fn perform(&mut self, actions: &mut Vec<Action>) {
        let mut round = Round::default();
        for action in actions.drain(..) {
            self.carry_out(action, &mut round);
        }
        self.write_items();
        self.sinks.hand_over();
        self.disk.hand_over();
        if !round.asked.is_empty() {
            self.look(&round.asked);
        }
    }

    fn carry_out(&mut self, action: Action, round: &mut Round) {
        match action {
            Action::Spawn { proc, instance } => self.spawn(proc, instance),
            Action::Deliver { proc, token, payload } => {
                if let Some(items) = self.table.get_mut(proc).and_then(|proc| proc.items.as_mut()) {
                    items.push(token, &payload);
                    self.items_due.insert(proc);
                }
            }
            Action::CloseItems { proc } => {
                if let Some(items) = self.table.get_mut(proc).and_then(|proc| proc.items.as_mut()) {
                    items.close();
                    self.items_due.insert(proc);
                }
            }
            Action::Tell { proc, reason, next } => self.tell(proc, reason, next),
            Action::Kill { proc, signal, target } => self.kill(proc, signal, target, round),
            Action::Ask { proc, question, timeout } => self.ask(proc, question, timeout),
            Action::Unask { proc } => self.unask(proc),
            Action::CheckMembers { proc } => _ = round.asked.insert(proc),
            Action::Forget { proc } => self.forget(proc),
            Action::Pause { source } => self.sources.pause(source, true),
            Action::Resume { source } => self.sources.pause(source, false),
            Action::Abandon { source } => {
                self.sources.abandon(source, self.poll.registry(), &mut self.facts);
                self.look_due = true;
            }
            Action::Distrust { source } => {
                self.sources.distrust(source, self.poll.registry(), &mut self.facts);
                self.look_due = true;
            }
            Action::WriteResult { worker, result } => self.sinks.push(worker, &result),
            Action::CancelResults { worker } => self.sinks.cancel(worker),
            Action::Bury(letter) => self.letters.bury(&letter),
            Action::HandBack { queue, seq, payload } => self.disk.hand_back(queue, seq, &payload),
            Action::Sweep { signal, repeat } => self.sweep(Some((signal, repeat))),
            Action::CountStrangers => self.sweep(None),
            Action::CountOrphans => self.count_orphans(),
            Action::Note(note) => self.note(&note),
            Action::Quit(report) => self.outcome = Some(report),
        }
    }

    /// Only here is it known whether an item that took too long was read at all, which is what its owner asks first.
    fn note(&self, note: &Note) {
        notes::put(&self.plan, note, self.detail(note).as_deref());
        let Note::ItemTimedOut { instance, .. } = note else { return };
        let lives = |proc: &&Proc| proc.instance == *instance && matches!(proc.life, Life::Running);
        let proc = self.table.iter().map(|(_, proc)| proc).find(lives);
        if let Some(items) = proc.and_then(|proc| proc.items.as_ref()) {
            let hint = if items.in_hand() {
                "it was read and never answered: is the worker slow, or its output buffered?"
            } else {
                "it was never read: the worker does not read descriptor 3"
            };
            warn!("{}: {hint}", self.plan.instance_name(*instance));
        }
    }

    /// What only the shell knows: the process id of what started, what stood in the way of executing a file, where more of
    /// it is known than an errno, and that stray processes had a signal before.
    fn detail(&self, note: &Note) -> Option<String> {
        let (error, seen) = match note {
            Note::SpawnFailed { instance, error, .. } => (*error, self.seen.get(instance)?),
            Note::CannotStart { worker, error } => {
                let ids = (0u32..).zip(&self.plan.instances);
                let is_ours = |role: &Role| matches!(role, Role::Worker { worker: of, .. } if of == worker);
                let mut seen =
                    ids.filter(|(_, role)| is_ours(role)).filter_map(|(id, _)| self.seen.get(&InstanceId(id)));
                (*error, seen.next()?)
            }
            Note::Started { proc, .. } => {
                let pid = self.table.get(*proc).map(|proc| proc.pid).or_else(|| self.gone.get(proc).copied());
                return pid.map(|pid| pid.to_string());
            }
            Note::Strangers { .. } => return self.strays_had_it.then(|| "before".to_owned()),
            Note::StillWaiting { wait: Wait::Rung { instances, .. } | Wait::Starts { instances }, .. } => {
                return Some(waits::names(&self.plan, instances, |id| self.pid_of(id)));
            }
            _other => return None,
        };
        start_error::detail(seen, error)
    }

    fn pid_of(&self, instance: InstanceId) -> Option<i32> {
        let proc = self.table.iter().map(|(_, proc)| proc).find(|proc| proc.instance == instance);
        proc.map(|proc| proc.pid)
    }

    fn spawn(&mut self, id: ProcId, instance: InstanceId) {
        // What is known of an earlier start says nothing about this one.
        self.seen.remove(&instance);
        let started = match self.launcher.start(&self.plan, instance) {
            Ok(started) => started,
            Err(error) => return self.facts.push(Event::SpawnFailed { proc: id, error }),
        };
        let pid = started.proc.pid;
        self.bury_namesake(pid);
        let mut watched = self.register(id, &started.proc);
        if let (What::Source(source), Some(stdout)) = (started.proc.what, started.stdout) {
            let heard = self.sources.started(source, id, stdout, &self.plan, self.poll.registry());
            watched = watched.and(heard);
        }
        let relayed = self.relays.start(id, instance, started.relays, self.poll.registry());
        watched = watched.and(relayed);
        if let Err(error) = watched {
            // Deaf to it, we could not keep any promise about it.
            warn!("cannot watch {}: {error}", self.plan.instance_name(instance));
            let pidfd = started.proc.pidfd.as_ref().map(AsFd::as_fd);
            let _it_is_our_unreaped_child = members::signal_child(pid, pidfd, Signal::KILL);
        }
        if started.proc.place == Place::Terminal {
            self.on_terminal = Some(id);
        }
        debug!("forked {} as process {pid}", self.plan.instance_name(instance));
        self.table.insert(id, started.proc);
    }

    fn register(&self, id: ProcId, proc: &Proc) -> io::Result<()> {
        let registry = self.poll.registry();
        permit()?;
        if let Life::Unborn { report } = &proc.life {
            registry.register(&mut SourceFd(&report.as_raw_fd()), Topic::Birth(id).token(), Interest::READABLE)?;
        }
        match &proc.replies {
            Some(pipe) => {
                registry.register(&mut SourceFd(&pipe.read.as_raw_fd()), Topic::Words(id).token(), Interest::READABLE)
            }
            None => Ok(()),
        }?;
        match &proc.ready {
            Some(pipe) => {
                registry.register(&mut SourceFd(&pipe.as_raw_fd()), Topic::Ready(id).token(), Interest::READABLE)
            }
            None => Ok(()),
        }?;
        match &proc.notify {
            Some(mailbox) => {
                registry.register(&mut SourceFd(&mailbox.as_raw_fd()), Topic::Notify(id).token(), Interest::READABLE)
            }
            None => Ok(()),
        }
    }

    /// The kernel gives a number away only when no session bears it any more: a dead leader whose number a new child
    /// has, has left nobody behind; but who has a session of its own, and is in the control group all the same. From now
    /// on the number means the new child. The look that follows finds who is left, reads the last replies and tells the end.
    pub(super) fn bury_namesake(&mut self, pid: Pid) {
        self.probes.bury(pid);
        let Some(id) = self.table.namesake(pid) else { return };
        self.table.take_number(id);
        self.look_due = true;
    }

    fn tell(&mut self, id: ProcId, reason: StopReason, next: Duration) {
        let Some(exit) = self.table.get_mut(id).and_then(|proc| proc.exit.take()) else { return };
        // The pipe is fresh and has room; who has closed its end does not want to know.
        if let Err(error) = fds::write(exit.as_fd(), &encode_stop(reason, next)) {
            debug!("the exit event of {id} was not read: {error}");
        }
    }

    fn kill(&mut self, id: ProcId, signal: Signal, target: Target, round: &mut Round) {
        let Some(proc) = self.table.get(id) else { return };
        let reaped = matches!(proc.life, Life::Dead { .. });
        let result = match target {
            Target::Unborn | Target::Leader if reaped => Ok(()),
            Target::Leader if signal != Signal::KILL && stands_in(proc, signal) => {
                self.sent.add(proc.main.iter().map(|main| main.pid), signal);
                Ok(())
            }
            Target::Unborn | Target::Leader => {
                self.sent.add([proc.pid], signal);
                members::signal_child(proc.pid, proc.pidfd.as_ref().map(AsFd::as_fd), signal)
            }
            Target::Members | Target::Unsignalled if proc.place != Place::Session => {
                let mut members = self.beside(proc.pid, proc.place);
                members.retain(|member| target == Target::Members || !self.sent.has(member.pid, signal));
                self.sent.add(members.iter().map(|member| member.pid), signal);
                members::signal_beside(&members, signal)
            }
            Target::Members | Target::Unsignalled => {
                let known = |pid| self.is_known(pid);
                let all = round.members.get_or_insert_with(|| members::living(&self.table.sessions(), &known));
                let mut own: Vec<Member> = all.iter().copied().filter(|member| member.session == proc.pid).collect();
                let group = proc.group.as_ref();
                own.extend(group.and_then(|group| group.members().ok()).unwrap_or_default());
                // Most are in both lists.
                own.sort_unstable_by_key(|member| member.pid);
                own.dedup_by_key(|member| member.pid);
                let mut chosen = own.clone();
                chosen.retain(|member| target == Target::Members || !self.sent.has(member.pid, signal));
                self.sent.add(chosen.iter().map(|member| member.pid), signal);
                let told = members::signal_chosen(&chosen, &own, signal);
                match group {
                    // Whoever was forked meanwhile is met too.
                    Some(group) if signal == Signal::KILL => group.kill().or(told),
                    Some(_) | None => told,
                }
            }
        };
        if let Err(error) = result {
            warn!("cannot send {signal} to {}: {error}", self.plan.instance_name(proc.instance));
        }
    }

    fn forget(&mut self, id: ProcId) {
        self.hear(id, Hearing::All);
        self.hear_datagrams(id, Hearing::All);
        self.unask(id);
        self.probes.forget(id);
        if let Some(proc) = self.table.remove(id)
            && let What::Source(source) = proc.what
        {
            self.sources.gone(source);
        }
    }

    fn count_orphans(&mut self) {
        let orphans = strangers::orphans(&self.table.sessions(), &|pid| self.is_known(pid));
        self.facts.push(Event::Orphans { count: u32::try_from(orphans.len()).unwrap_or(u32::MAX) });
    }

    /// Counts strangers, and signals them: all, or those that were not sent this signal before.
    fn sweep(&mut self, order: Option<(Signal, bool)>) {
        // Who waits for all waits for what its program left, not for those that came into its namespace from outside.
        let waits = self.plan.init.as_ref().is_some_and(|init| init.wait_all);
        let everybody = self.inherited.init && !waits;
        let strangers = strangers::living(&self.table.sessions(), &self.inherited.children, everybody);
        if let Some((signal, repeat)) = order {
            let mut chosen = strangers.clone();
            chosen.retain(|&pid| repeat || !self.sent.has(pid, signal));
            strangers::signal(&chosen, signal);
            self.strays_had_it = chosen.is_empty();
            self.sent.add(chosen, signal);
        }
        self.facts.push(Event::Strangers { count: u32::try_from(strangers.len()).unwrap_or(u32::MAX) });
    }

    /// Writes every item pipe that has something, as far as it takes it.
    pub(super) fn write_items(&mut self) {
        let due = self.items_due.take();
        for &id in &due {
            let Some(proc) = self.table.get_mut(id) else { continue };
            let Some(items) = &mut proc.items else { continue };
            let (written, standing) = items.flush();
            if standing == Standing::More {
                self.items_due.insert(id);
            }
            let blocked = standing == Standing::Waiting && !items.frames.pending().is_empty();
            if let (true, false, Some(pipe)) = (blocked, proc.items_registered, items.write_end()) {
                let token = Topic::Items(id).token();
                let source = &mut SourceFd(&pipe.as_raw_fd());
                let registered =
                    permit().and_then(|()| self.poll.registry().register(source, token, Interest::WRITABLE));
                proc.items_registered = registered.is_ok();
                if let (Err(error), false) = (registered, matches!(proc.life, Life::Dead { .. })) {
                    // Nobody would tell us when it has room: its items are better off with another one.
                    warn!("cannot watch {}: {error}", self.plan.instance_name(proc.instance));
                    let pidfd = proc.pidfd.as_ref().map(AsFd::as_fd);
                    let _it_is_our_unreaped_child = members::signal_child(proc.pid, pidfd, Signal::KILL);
                }
            }
            if written.progress {
                self.facts.push(Event::Wrote { proc: id, frames: written.frames, progress: written.progress });
            }
        }
        self.items_due.keep(due);
    }
}

/// Whether the member that the worker named as its main one got the signal in its leader's place.
fn stands_in(proc: &Proc, signal: Signal) -> bool {
    proc.main.as_ref().is_some_and(|main| members::signal_pinned(main.as_fd(), signal).unwrap_or(false))
}
