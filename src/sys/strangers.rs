//! Strangers: who descends from us and belongs to no session of ours any more, because it made one of its own. No member of a
//! session shows us to them; only the family does.
//!
//! A child from before our time is not ours to end, nor is what descends from it. To an init everybody in its namespace that is
//! in no session of its own is a stranger, whatever it descends from.

use super::proc::Proc;
use super::stat::Stat;
use super::{Pid, family, proc, raw, reap};
use crate::model::Signal;

/// Everybody, to kill(2).
const EVERYBODY: Pid = -1;

/// Living descendants of ours that are neither in one of these sessions nor children from before our time (nor
/// their descendants). As PID 1: every other process of the namespace but those in these sessions and kernel threads. Without
/// /proc nobody can be named; as PID 1 the answer then is -1, which means everybody to kill(2), while anybody is there.
pub fn living(sessions: &[Pid], before: &[Pid], init: bool) -> Vec<Pid> {
    let look = |proc: &mut Proc| {
        if !init && has_no_children_but(proc, before) {
            return Some(Vec::new());
        }
        scan_settled(proc, sessions, before, init)
    };
    proc::with(look).flatten().unwrap_or_else(|| {
        let anybody = raw::own_pid() == 1 && raw::kill(EVERYBODY, 0).is_ok();
        if anybody { vec![EVERYBODY] } else { Vec::new() }
    })
}

/// Living children of ours that are in none of these sessions and that we have not started ourselves: orphans that came to us. None
/// where there is no /proc.
pub fn orphans(sessions: &[Pid], started: &dyn Fn(Pid) -> bool) -> Vec<Pid> {
    let us = raw::own_pid();
    let is_orphan = |pid: Pid, stat: &Stat| {
        stat.parent == us && stat.is_living() && !sessions.contains(&stat.session) && !started(pid)
    };
    let found = proc::with(|proc| {
        let stats = proc.stats()?;
        Some(stats.iter().filter(|&(&pid, stat)| is_orphan(pid, stat)).map(|(&pid, _)| pid).collect())
    });
    found.flatten().unwrap_or_default()
}

/// Signals strangers, each so that no recycled number is hit.
pub fn signal(strangers: &[Pid], signal: Signal) {
    for &stranger in strangers {
        let told = match stranger {
            // Only an init may mean everybody: its everybody ends at its namespace.
            EVERYBODY if raw::own_pid() == 1 => raw::kill(EVERYBODY, signal.number()),
            one => family::signal(one, signal),
        };
        // Whom we may not signal is still counted by the next look, which is where it is told.
        drop(told);
    }
}

fn has_no_children_but(proc: &mut Proc, before: &[Pid]) -> bool {
    family::has_living_children(proc, &|child| before.contains(&child)).map_or_else(reap::is_childless, |some| !some)
}

/// Who forks and dies while we look may hide its child from one look, for its place in the tree is gone; nobody is there when two
/// looks in a row found nobody, and nobody forked meanwhile.
fn scan_settled(proc: &mut Proc, sessions: &[Pid], before: &[Pid], init: bool) -> Option<Vec<Pid>> {
    const LOOKS: u32 = 4;
    let mut found = scan(proc, sessions, before, init)?;
    for _ in 1..LOOKS {
        if !found.is_empty() {
            break;
        }
        let last = proc.last_pid();
        found = scan(proc, sessions, before, init)?;
        if found.is_empty() && last.is_some() && proc.last_pid() == last {
            break;
        }
    }
    Some(found)
}

fn scan(proc: &mut Proc, sessions: &[Pid], before: &[Pid], init: bool) -> Option<Vec<Pid>> {
    let us = raw::own_pid();
    let stats = proc.stats()?;
    let everybody = || stats.keys().copied().collect();
    let mut suspects: Vec<Pid> =
        if init { everybody() } else { family::descendants(&stats, &|child| before.contains(&child)) };
    let mut unseen = proc.listed_children().unwrap_or_default();
    unseen.retain(|child| !stats.contains_key(child) && !before.contains(child));
    suspects.retain(|&pid| {
        let counts = |stat: &Stat| stat.is_living() && !stat.is_kernel_thread() && !sessions.contains(&stat.session);
        pid != us && stats.get(&pid).is_some_and(counts)
    });
    // Whom we cannot look at counts as living, as long as it is a child of ours: orphans come to us.
    let is_elsewhere = |pid| raw::session_of(pid).is_ok_and(|session| !sessions.contains(&session));
    suspects.extend(unseen.into_iter().filter(|&pid| is_elsewhere(pid)));
    Some(suspects)
}
