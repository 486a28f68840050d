//! Who was born and who died, as the loop finds it out and tells it.

use super::messages::voice;
use super::pipes::Hearing;
use super::table::{Life, What};
use super::turn::Shell;
use crate::machine::Event;
use crate::model::plan::Place;
use crate::model::{ExitStatus, ProcId, Signal};
use crate::sys::cgroup::Group;
use crate::sys::reap::{self, Reaped};
use crate::sys::spawn::{Birth, birth_and_file};
use crate::sys::{Pid, members, terminal};
use log::warn;
use std::collections::BTreeSet;
use std::os::fd::AsFd;

/// Children reaped in one turn at most: a storm must not starve a stop.
const REAPED_A_TURN: usize = 512;

impl Shell {
    /// Nobody is alive any more, and no zombie outlives us either.
    pub(super) fn reap_the_last(&mut self) -> u64 {
        std::iter::from_fn(reap::reap_one).map(|_| 1).sum()
    }

    pub(super) fn reap(&mut self) -> Vec<(Option<ProcId>, Reaped)> {
        let mut dead = Vec::new();
        while self.reap_due && dead.len() < REAPED_A_TURN {
            match reap::reap_one() {
                Some(reaped) if self.asker_died(&reaped) => {}
                Some(reaped) => dead.push((self.table.reaped(reaped.pid), reaped)),
                None => self.reap_due = false,
            }
        }
        self.look_due |= !dead.is_empty();
        dead
    }

    /// A signal is read a little after the poll ended: who began to run before it was sent may have done so in that moment, and the
    /// poll could not tell.
    pub(super) fn ask_after_the_unborn(&mut self) {
        let unborn = self.table.iter().filter(|(_, proc)| matches!(proc.life, Life::Unborn { .. }));
        unborn.for_each(|(id, _)| self.births_due.insert(id));
    }

    pub(super) fn hear_births(&mut self, dead: &[(Option<ProcId>, Reaped)]) {
        dead.iter().filter_map(|&(id, _)| id).for_each(|id| self.births_due.insert(id));
        for id in self.births_due.take() {
            let is_dead = || dead.iter().any(|&(other, _)| other == Some(id));
            let Some(proc) = self.table.get_mut(id) else { continue };
            let Life::Unborn { report } = &proc.life else { continue };
            let (birth, seen) = birth_and_file(report.as_fd());
            match birth {
                Birth::Executed => proc.life = Life::Running,
                Birth::Failed(error) => proc.life = Life::Stillborn { error, seen },
                // A word that is still to come from the dead never comes.
                Birth::Pending if is_dead() => proc.life = Life::Running,
                Birth::Pending => {}
            }
            if let Life::Running = proc.life {
                // To be compared with when somebody dies. For who is dead already it comes too late, and an init waits for nobody else.
                if !is_dead() {
                    self.oom_kills.begin();
                }
                self.facts.push(Event::Spawned { proc: id });
                self.launcher.arrived();
                if let What::Source(source) = proc.what {
                    self.sources.born(source);
                }
            }
        }
    }

    pub(super) fn tell_deaths(&mut self, dead: &[(Option<ProcId>, Reaped)]) {
        // Whom the kernel killed it does not say, only how many.
        let mut oom_kills = if dead.iter().any(|(_, reaped)| is_killed(reaped)) { self.oom_kills.news() } else { 0 };
        for &(id, reaped) in dead {
            let out_of_memory = oom_kills > 0 && is_killed(&reaped);
            oom_kills -= u64::from(out_of_memory);
            let Some((id, proc)) = id.and_then(|id| Some((id, self.table.get_mut(id)?))) else {
                if self.warn_reaping {
                    warn!("{}", voice().reaped(reaped.pid, &reaped.status.to_string()));
                }
                // Its number may be a descendant's from now on.
                self.inherited.children.retain(|&before| before != reaped.pid);
                self.facts.push(Event::OrphanReaped);
                continue;
            };
            if let Life::Stillborn { error, seen } = &mut proc.life {
                let error = *error;
                self.seen.insert(proc.instance, std::mem::take(seen));
                self.facts.push(Event::SpawnFailed { proc: id, error });
                if let What::Source(source) = proc.what {
                    self.sources.unstarted(source);
                }
                self.table.remove(id);
                continue;
            }
            let in_hand = proc.items.as_ref().is_some_and(|items| items.in_hand());
            proc.life = Life::Dead { told: None };
            if proc.place == Place::Terminal {
                terminal::take_from(proc.pid);
            }
            let Reaped { status, usage, .. } = reaped;
            if let (What::Source(source), ExitStatus::Signalled { .. }) = (proc.what, status) {
                self.sources.killed(source);
            }
            self.facts.push(Event::Exited { proc: id, status, in_hand, usage, out_of_memory });
            self.unask(id);
        }
    }

    /// Looks for the members of all the dead at once. `asked`: who is answered whatever was said before.
    pub(super) fn look(&mut self, asked: &BTreeSet<ProcId>) {
        self.look_due = false;
        self.look_for_askers();
        let is_dead = |life: &Life| matches!(life, Life::Dead { .. });
        let dead = self.table.iter().filter(|(_, proc)| is_dead(&proc.life));
        let dead: Vec<_> = dead.map(|(id, proc)| (id, proc.pid, proc.place)).collect();
        if dead.is_empty() {
            return;
        }
        let apart = dead.iter().filter(|&&(.., place)| place == Place::Session);
        let sessions: Vec<_> = apart.map(|&(_, pid, _)| pid).collect();
        let living = members::living(&sessions, &|pid| self.is_known(pid));
        for (id, pid, place) in dead {
            let count = match place {
                Place::Session => {
                    let session = living.iter().filter(|member| member.session == pid).count();
                    let group = self.in_group(id);
                    if session == 0 && group > 0 {
                        // Nobody holds the number any more: a session that bears it later is somebody else's.
                        self.table.take_number(id);
                    }
                    session.max(group)
                }
                Place::Terminal | Place::Beside => self.beside(pid, place).len(),
            };
            let held = self.probes.held(id);
            let is_asked = asked.contains(&id);
            let silent = matches!(self.table.get(id).map(|proc| &proc.life), Some(Life::Dead { told: None }));
            if count == 0 && held > 0 && silent && !is_asked {
                // Its probe was killed a moment ago, and that it is gone is told soon.
                continue;
            }
            let count = u32::try_from(count + held).unwrap_or(u32::MAX);
            if !self.heard_all(id, count == 0) {
                // Its last replies come before the news that it is gone, if in a later turn.
                self.look_due = true;
            } else if count == 0 {
                self.gone(id);
            } else if let Some(Life::Dead { told }) = self.table.get_mut(id).map(|proc| &mut proc.life)
                && (told.replace(count) != Some(count) || is_asked)
            {
                self.facts.push(Event::MembersLeft { proc: id, count });
            }
        }
    }

    /// Not a descendant's that came to us as an orphan: the child of this number was forked by us, or was there before us.
    pub(super) fn is_known(&self, pid: Pid) -> bool {
        self.table.is_leader(pid) || self.probes.is_leader(pid) || self.inherited.children.contains(&pid)
    }

    /// Members by the kernel's own book, those in sessions of their own among them. A book that cannot be read is not empty.
    pub(super) fn in_group(&self, id: ProcId) -> usize {
        let group = self.table.get(id).and_then(|proc| proc.group.as_ref());
        let counted = |group: &Group| group.members().map_or(1, |members| members.len());
        group.filter(|group| !group.is_left()).map_or(0, counted)
    }

    /// The session is empty and its replies are heard: our ends are closed. What a source still has in its pipe is read on
    /// like before, as fast as its queue takes it.
    fn gone(&mut self, id: ProcId) {
        self.hear_datagrams(id, Hearing::All);
        let Some(proc) = self.table.get(id) else { return };
        if let What::Source(source) = proc.what {
            self.sources.gone(source);
        }
        self.gone.insert(id, proc.pid);
        self.table.remove(id);
        self.probes.forget(id);
        self.facts.push(Event::MembersGone { proc: id });
    }
}

fn is_killed(reaped: &Reaped) -> bool {
    matches!(reaped.status, ExitStatus::Signalled { signal: Signal::KILL, .. })
}
