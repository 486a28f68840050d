//! Process numbers, from a pool so small that they soon come back, and the shell's table that maps incarnations to them.
//!
//! The kernel keeps a number for as long as its process is not reaped and for as long as somebody lives in the session that bears
//! it; then it gives it to whoever forks next. The table answers signals as the shell's does: a leader that is reaped has no
//! number any more, whatever was ordered before.

use exeunt::model::ProcId;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Pids {
    /// Sessions whose leader is not reaped, or in which somebody lives.
    in_use: BTreeMap<u32, ProcId>,
    /// What the shell knows: the number, and whether its leader was reaped.
    table: BTreeMap<ProcId, (u32, bool)>,
    last: u32,
    /// Numbers, from 1.
    pool: u32,
    /// A broken copy: it signals by a number that it no longer owns.
    pub stale: bool,
    /// How often a number came back.
    pub reused: u64,
}

impl Pids {
    pub fn new(pool: u32) -> Pids {
        Pids { pool, ..Pids::default() }
    }

    /// The next free number, and the incarnation in the table that bore it before and has left nobody behind.
    pub fn fork(&mut self, proc: ProcId) -> Option<ProcId> {
        let pid = self.free();
        self.last = pid;
        self.in_use.insert(pid, proc);
        let namesake = self.table.iter().find(|(_, (number, _))| *number == pid).map(|(&proc, _)| proc);
        self.reused += u64::from(namesake.is_some());
        self.table.insert(proc, (pid, false));
        namesake
    }

    /// The leader is reaped; `empty`: nobody else lives in its session.
    pub fn reaped(&mut self, proc: ProcId, empty: bool) {
        if let Some((_, reaped)) = self.table.get_mut(&proc) {
            *reaped = true;
        }
        if empty {
            self.emptied(proc);
        }
    }

    /// The last of a session whose leader is reaped is gone: its number is free.
    pub fn emptied(&mut self, proc: ProcId) {
        self.in_use.retain(|_, owner| *owner != proc);
    }

    /// The shell removes the incarnation from its table.
    pub fn removed(&mut self, proc: ProcId) {
        self.table.remove(&proc);
    }

    /// Which number a signal for the leader goes to; `None` where the shell sends nothing.
    pub fn of_leader(&self, proc: ProcId) -> Option<u32> {
        let &(pid, reaped) = self.table.get(&proc)?;
        (!reaped || self.stale).then_some(pid)
    }

    /// Which session's members a signal goes to.
    pub fn of_session(&self, proc: ProcId) -> Option<u32> {
        self.table.get(&proc).map(|&(pid, _)| pid)
    }

    pub fn owner(&self, pid: u32) -> Option<ProcId> {
        self.in_use.get(&pid).copied()
    }

    /// The next in turn. Who lives on in forgotten sessions keeps numbers, so the pool may have to grow.
    fn free(&mut self) -> u32 {
        let mut round = (self.last..self.pool).chain(0..self.last).map(|before| before + 1);
        round.find(|pid| !self.in_use.contains_key(pid)).unwrap_or_else(|| {
            self.pool += 1;
            self.pool
        })
    }
}
