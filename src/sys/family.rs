//! Our family: who comes from us, children and what descends from them, found in /proc and signalled one by one.
//!
//! A process keeps its place in it whatever session or group it makes; only a parent's death changes that place, and where orphans come
//! to us it is lost to nobody.

use super::proc::{Look, Proc};
use super::stat::Stat;
use super::{Pid, proc, raw, reap};
use crate::model::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;

/// Whether anybody lives among our children, but for those that do not count. Whoever dies hands its children over to us before it
/// is dead to anybody, and may have done so just after the list was made: while somebody is found dead who was not in the list
/// before, there is another list to be made. `None` where the kernel makes none.
pub fn has_living_children(proc: &mut Proc, excepted: &dyn Fn(Pid) -> bool) -> Option<bool> {
    /// In a storm of deaths a full look is cheaper, and somebody is there for sure.
    const LISTS: u32 = 8;
    // The usual end of a single program, told by one call.
    if reap::is_childless() {
        return Some(false);
    }
    let mut dead = BTreeSet::new();
    for _ in 0..LISTS {
        let mut news = false;
        for child in proc.listed_children()?.into_iter().filter(|&child| !excepted(child)) {
            if !dead.contains(&child) {
                if !is_dead(proc, child) {
                    return Some(true);
                }
                news = dead.insert(child);
            }
        }
        if !news {
            return Some(false);
        }
    }
    Some(true)
}

/// All that come from us, without those that are `foreign` and what comes from these.
pub fn descendants(stats: &BTreeMap<Pid, Stat>, foreign: &dyn Fn(Pid) -> bool) -> Vec<Pid> {
    descendants_of(raw::own_pid(), stats, foreign)
}

/// Signals one that comes from us, by a pidfd that is opened before it is checked: should the process die and its number be given
/// away meanwhile, the signal goes to the dead. To an init everybody counts as its own. ESRCH is success.
pub fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    // 0, 1 and negative numbers mean crowds to kill(2), or init.
    if pid <= 1 {
        return Ok(());
    }
    let pidfd = raw::pidfd_open(pid);
    if raw::own_pid() != 1 && !proc::with(|proc| descends_from_us(proc, pid)).unwrap_or(false) {
        return Ok(());
    }
    let told = pidfd.and_then(|pidfd| raw::pidfd_send_signal(pidfd.as_fd(), signal.number(), 0));
    match told {
        Err(error) if !raw::is_gone(&error) => raw::kill(pid, signal.number()),
        told => raw::reached(told).map(drop),
    }
}

fn descendants_of(root: Pid, stats: &BTreeMap<Pid, Stat>, foreign: &dyn Fn(Pid) -> bool) -> Vec<Pid> {
    let mut families: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for (&pid, stat) in stats {
        families.entry(stat.parent).or_default().push(pid);
    }
    let (mut found, mut parents) = (Vec::new(), vec![root]);
    while let Some(parent) = parents.pop() {
        // Removed, so that a tree that changed while we looked cannot make us go in circles.
        let children = families.remove(&parent).unwrap_or_default();
        children.into_iter().filter(|&child| !foreign(child)).for_each(|child| {
            found.push(child);
            parents.push(child);
        });
    }
    found
}

fn descends_from_us(proc: &mut Proc, pid: Pid) -> bool {
    // A chain is seldom longer than ten; the bound is for one that changes while we climb it.
    const LONGEST: u32 = 1000;
    if proc.listed_children().is_some_and(|children| children.contains(&pid)) {
        return true;
    }
    let us = raw::own_pid();
    let mut at = pid;
    for _ in 0..LONGEST {
        match proc.stat(at) {
            Some(stat) if stat.parent == us => return true,
            Some(stat) if stat.parent > 1 => at = stat.parent,
            Some(_) | None => return false,
        }
    }
    false
}

fn is_dead(proc: &mut Proc, pid: Pid) -> bool {
    match proc.look(pid) {
        Look::Stat(stat) => !stat.is_living(),
        Look::Gone => true,
        Look::Unseen => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process for each pair of a number and its parent's.
    fn tree(family: &[(Pid, Pid)]) -> BTreeMap<Pid, Stat> {
        let stat = |parent| Stat { state: b'S', parent, group: 0, session: 0, flags: 0, threads: 1, started: 0 };
        family.iter().map(|&(pid, parent)| (pid, stat(parent))).collect()
    }

    #[test]
    fn what_comes_from_a_foreign_child_is_foreign_too() {
        let stats = tree(&[(10, 5), (11, 10), (20, 5), (21, 20), (22, 21), (30, 6)]);
        let mut found = descendants_of(5, &stats, &|pid| pid == 20);
        found.sort_unstable();
        assert_eq!(found, [10, 11]);
    }

    /// Numbers are given away again while the tree is read.
    #[test]
    fn a_tree_that_bites_its_tail_is_walked_once() {
        let stats = tree(&[(5, 11), (10, 5), (11, 10)]);
        let mut found = descendants_of(5, &stats, &|_| false);
        found.sort_unstable();
        assert_eq!(found, [5, 10, 11]);
    }
}
