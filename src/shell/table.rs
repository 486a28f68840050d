//! The incarnations that the shell knows: what they are to the kernel, and our ends of their pipes.

use super::notify::Mailbox;
use super::pipes::{ItemPipe, ReplyPipe};
use super::ready::ReadyPipe;
use crate::model::plan::Place;
use crate::model::{InstanceId, ProcId, Seen, SourceId, SpawnError, WorkerId};
use crate::sys::cgroup::Group;
use crate::sys::members::Pinned;
use crate::sys::{NOBODY, Pid};
use mio::Token;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

/// One incarnation, from fork until its members are gone.
#[derive(Debug)]
pub struct Proc {
    pub instance: InstanceId,
    pub what: What,
    pub pid: Pid,
    /// As it came out: without a terminal there is no place at it.
    pub place: Place,
    pub pidfd: Option<OwnedFd>,
    pub life: Life,
    pub items: Option<ItemPipe>,
    pub replies: Option<ReplyPipe>,
    /// Write end of the exit pipe, until the event is told.
    pub exit: Option<OwnedFd>,
    /// The readiness pipe, until its writers closed it.
    pub ready: Option<ReadyPipe>,
    /// What it tells of itself comes here, if it does.
    pub notify: Option<Mailbox>,
    /// The member that it named to get its signals: `MAINPID` of sd_notify(3).
    pub main: Option<Pinned>,
    /// The item pipe was blocked once and is registered with `poll` since.
    pub items_registered: bool,
    /// All that came of it is in here, sessions of their own or not.
    pub group: Option<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Worker(WorkerId),
    Source(SourceId),
}

#[derive(Debug)]
pub enum Life {
    /// Forked; exec is not reported yet.
    Unborn {
        report: OwnedFd,
    },
    /// Told its failed step; its death is still to come.
    Stillborn {
        error: SpawnError,
        seen: Seen,
    },
    Running,
    /// The leader is reaped; `told`: the number of members that the machine knows of.
    Dead {
        told: Option<u32>,
    },
}

#[derive(Debug, Default)]
pub struct Table {
    procs: BTreeMap<ProcId, Proc>,
    /// Of those that are not reaped.
    by_pid: HashMap<Pid, ProcId>,
    /// Of those that are: the number still names what may be left of their session.
    reaped: HashMap<Pid, ProcId>,
}

impl Table {
    pub fn insert(&mut self, id: ProcId, proc: Proc) {
        self.by_pid.insert(proc.pid, id);
        self.procs.insert(id, proc);
    }

    pub fn get_mut(&mut self, id: ProcId) -> Option<&mut Proc> {
        self.procs.get_mut(&id)
    }

    pub fn get(&self, id: ProcId) -> Option<&Proc> {
        self.procs.get(&id)
    }

    /// Drops our ends of its pipes.
    pub fn remove(&mut self, id: ProcId) -> Option<Proc> {
        let proc = self.procs.remove(&id)?;
        for names in [&mut self.by_pid, &mut self.reaped] {
            if names.get(&proc.pid) == Some(&id) {
                names.remove(&proc.pid);
            }
        }
        Some(proc)
    }

    /// The incarnation whose leader has this number; from now on the number means nothing any more.
    pub fn reaped(&mut self, pid: Pid) -> Option<ProcId> {
        let id = self.by_pid.remove(&pid)?;
        self.reaped.insert(pid, id);
        Some(id)
    }

    /// The incarnation whose reaped leader had this number.
    pub fn namesake(&self, pid: Pid) -> Option<ProcId> {
        self.reaped.get(&pid).copied()
    }

    /// Its number means somebody else from now on: no session is looked for by it any more.
    pub fn take_number(&mut self, id: ProcId) {
        let Some(proc) = self.procs.get_mut(&id) else { return };
        let pid = std::mem::replace(&mut proc.pid, NOBODY);
        self.reaped.remove(&pid);
    }

    pub fn is_leader(&self, pid: Pid) -> bool {
        self.by_pid.contains_key(&pid)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ProcId, &mut Proc)> {
        self.procs.iter_mut().map(|(&id, proc)| (id, proc))
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProcId, &Proc)> {
        self.procs.iter().map(|(&id, proc)| (id, proc))
    }

    /// Every session that is ours.
    pub fn sessions(&self) -> Vec<Pid> {
        self.procs.values().filter(|proc| proc.place == Place::Session).map(|proc| proc.pid).collect()
    }
}

/// Incarnations that there is something to do on, each once, in ascending order. Mostly few, and told in order.
#[derive(Debug, Default)]
pub struct Due(Vec<ProcId>);

impl Due {
    pub fn insert(&mut self, id: ProcId) {
        match self.0.last() {
            Some(&last) if last == id => {}
            Some(&last) if last > id => {
                if let Err(at) = self.0.binary_search(&id) {
                    self.0.insert(at, id);
                }
            }
            Some(_) | None => self.0.push(id),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = ProcId> {
        self.0.iter().copied()
    }

    /// Takes them all.
    pub fn take(&mut self) -> Vec<ProcId> {
        std::mem::take(&mut self.0)
    }

    /// Keeps the room of a list that was taken, if nobody is due again.
    pub fn keep(&mut self, mut taken: Vec<ProcId>) {
        if self.0.is_empty() {
            taken.clear();
            self.0 = taken;
        }
    }
}

/// What a readiness is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Signals,
    /// A writing thread has news.
    News,
    Stdin,
    /// The error pipe of a start.
    Birth(ProcId),
    Items(ProcId),
    /// The reply pipe.
    Words(ProcId),
    /// The readiness pipe.
    Ready(ProcId),
    /// The notification socket.
    Notify(ProcId),
    /// The connection by which it is asked.
    Answer(ProcId),
    /// The pipes that it has in the place of our terminal, for its stdout and its stderr.
    Output(ProcId),
    Errors(ProcId),
    /// A source's stdout, which may outlive its process.
    SourceOutput(ProcId),
}

const FIRST_PROC: usize = 3;
const KINDS: usize = 9;

impl Topic {
    /// Incarnations are never numbered twice, so a late readiness of an old one finds nothing.
    pub fn token(self) -> Token {
        let of = |id: ProcId, kind: usize| Token(FIRST_PROC + id.0 as usize * KINDS + kind);
        match self {
            Topic::Signals => Token(0),
            Topic::News => Token(1),
            Topic::Stdin => Token(2),
            Topic::Birth(id) => of(id, 0),
            Topic::Items(id) => of(id, 1),
            Topic::Words(id) => of(id, 2),
            Topic::Ready(id) => of(id, 3),
            Topic::Notify(id) => of(id, 4),
            Topic::Answer(id) => of(id, 5),
            Topic::Output(id) => of(id, 6),
            Topic::Errors(id) => of(id, 7),
            Topic::SourceOutput(id) => of(id, 8),
        }
    }

    pub fn of(token: Token) -> Topic {
        let Some(number) = token.0.checked_sub(FIRST_PROC) else {
            return [Topic::Signals, Topic::News].get(token.0).copied().unwrap_or(Topic::Stdin);
        };
        let id = ProcId((number / KINDS) as u64);
        match number % KINDS {
            0 => Topic::Birth(id),
            1 => Topic::Items(id),
            2 => Topic::Words(id),
            3 => Topic::Ready(id),
            4 => Topic::Notify(id),
            5 => Topic::Answer(id),
            6 => Topic::Output(id),
            7 => Topic::Errors(id),
            _ => Topic::SourceOutput(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_due_is_told_once_and_in_order() {
        let mut due = Due::default();
        [3, 3, 9, 1, 9, 3, 2].into_iter().for_each(|id| due.insert(ProcId(id)));
        assert_eq!(due.take(), [1, 2, 3, 9].map(ProcId));
        assert!(due.is_empty());
    }

    #[test]
    fn a_number_that_was_given_away_names_its_new_owner_alone() {
        let mut table = Table::default();
        table.insert(ProcId(1), running(42));
        assert_eq!(table.reaped(42), Some(ProcId(1)));
        assert_eq!(table.namesake(42), Some(ProcId(1)));
        table.take_number(ProcId(1));
        assert_eq!((table.namesake(42), table.sessions().contains(&42)), (None, false));
        table.insert(ProcId(2), running(42));
        assert!(table.remove(ProcId(1)).is_some());
        assert!(table.is_leader(42), "the new owner's");
        assert_eq!(table.reaped(42), Some(ProcId(2)));
    }

    fn running(pid: Pid) -> Proc {
        Proc {
            instance: InstanceId(0),
            what: What::Worker(WorkerId(0)),
            pid,
            place: Place::Session,
            pidfd: None,
            life: Life::Running,
            items: None,
            replies: None,
            exit: None,
            ready: None,
            notify: None,
            main: None,
            items_registered: false,
            group: None,
        }
    }

    #[test]
    fn every_topic_reads_back_from_its_token() {
        let procs = [ProcId(0), ProcId(1), ProcId(1_000_000_007)];
        let kinds = [
            Topic::Birth,
            Topic::Items,
            Topic::Words,
            Topic::Ready,
            Topic::Notify,
            Topic::Answer,
            Topic::Output,
            Topic::Errors,
            Topic::SourceOutput,
        ];
        let of_procs = procs.into_iter().flat_map(|id| kinds.map(|kind| kind(id)));
        for topic in [Topic::Signals, Topic::News, Topic::Stdin].into_iter().chain(of_procs) {
            assert_eq!(Topic::of(topic.token()), topic);
        }
    }
}
