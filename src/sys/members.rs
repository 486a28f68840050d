//! Members: the living processes that belong to one program of ours, found and signalled: all in its session, whoever made the
//! group they are in, or what descends from us in our own session where the program has none of its own.

use super::proc::{Look, Proc};
use super::raw::{group_of, reached, session_of};
use super::{Pid, family, init, proc, raw};
use crate::model::Signal;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A living (not zombie) process of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub pid: Pid,
    pub group: Pid,
    pub session: Pid,
}

/// The living members of these sessions, in one look at /proc for all. Where every child of ours is a known leader (`is_leader`,
/// asked with pids of living children from `/proc/self/task/…/children`) and none of them leads one of these, dead leaders have left
/// nobody behind, and the look is one short read. Without /proc: the leader's group by `kill(-group, 0)`, told as one member with
/// the group's number.
pub fn living(sessions: &[Pid], is_leader: &dyn Fn(Pid) -> bool) -> Vec<Member> {
    if sessions.is_empty() {
        return Vec::new();
    }
    let look = |proc: &mut Proc| {
        if nobody_is_left(proc, sessions, is_leader) {
            return Some(Vec::new());
        }
        scan_settled(proc, sessions)
    };
    proc::with(look).flatten().unwrap_or_else(|| living_groups(sessions))
}

/// The living descendants of ours in our own session: what belongs to a program that has no session of its own. Neither children
/// from before our time nor leaders of other programs (who are in our session only until they make their own), nor what
/// descends from them. Without /proc: the program's group, told as one member, if it has one.
pub fn beside(pid: Pid, has_group: bool, others: &dyn Fn(Pid) -> bool) -> Vec<Member> {
    let look = |proc: &mut Proc| {
        if init::is_reaper() && family::has_living_children(proc, others) == Some(false) {
            return Some(Vec::new());
        }
        let session = session_of(raw::own_pid()).ok()?;
        let stats = proc.stats()?;
        let descendants = family::descendants(&stats, others);
        let ours = |pid: &Pid| stats.get(pid).filter(|stat| stat.is_living() && stat.session == session);
        let member = |pid: Pid| ours(&pid).map(|stat| Member { pid, group: stat.group, session });
        Some(descendants.into_iter().filter_map(member).collect())
    };
    proc::with(look).flatten().unwrap_or_else(|| if has_group { living_groups(&[pid]) } else { Vec::new() })
}

/// Signals members of our own session: group by group where every living process of a group is one of them, else each by
/// itself, so that nobody else is hit.
pub fn signal_beside(members: &[Member], signal: Signal) -> io::Result<()> {
    let own = group_of(0);
    let is_member = |pid: Pid| members.iter().any(|member| member.pid == pid);
    let others_groups: Vec<Pid> = proc::with(Proc::stats)
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .filter(|&(pid, stat)| stat.is_living() && !is_member(pid))
        .map(|(_, stat)| stat.group)
        .collect();
    let mixed =
        |member: &Member| others_groups.contains(&member.group) || own.as_ref().is_ok_and(|own| member.group == *own);
    let (each, groups): (Vec<Member>, Vec<Member>) = members.iter().partition(|member| mixed(member));
    for member in each {
        // Whom we may not signal is still there at the next look.
        let _told = family::signal(member.pid, signal);
    }
    signal_members(&groups, signal).map(drop)
}

/// A process whose number is known from elsewhere; `None` if it is gone, or has no session apart from ours yet.
pub fn named(pid: Pid) -> Option<Member> {
    let member = Member { pid, group: group_of(pid).ok()?, session: session_of(pid).ok()? };
    session_of(0).is_ok_and(|own| own != member.session).then_some(member)
}

/// Whether /proc can be read. Where it cannot, processes that leave their session are not found.
pub fn sees_all() -> bool {
    proc::with(|proc| proc.pids().is_some()).unwrap_or(false)
}

/// Signals one process that is our unreaped child, by its pidfd where there is one. ESRCH is success.
pub fn signal_child(pid: Pid, pidfd: Option<BorrowedFd>, signal: Signal) -> io::Result<()> {
    // 0, 1 and negative numbers mean crowds to kill(2), or init. No child of ours has such a number.
    if pid <= 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let told = pidfd.map(|pidfd| raw::pidfd_send_signal(pidfd, signal.number(), 0));
    reached(match told {
        Some(Err(error)) if raw::is_absent(&error) => raw::kill(pid, signal.number()),
        Some(told) => told,
        None => raw::kill(pid, signal.number()),
    })
    .map(drop)
}

/// Whether this process, which may be a zombie, is in that session; `None` where it is gone already.
pub fn is_in_session(pid: Pid, session: Pid) -> Option<bool> {
    match session_of(pid) {
        Ok(found) => Some(found == session),
        Err(error) if raw::is_gone(&error) => None,
        Err(_) => Some(false),
    }
}

/// Why a process could not be pinned.
#[derive(Debug)]
pub enum Unpinned {
    Gone,
    /// It is not in that session.
    Foreign,
    /// Of pidfd_open(2): ENOSYS, or EPERM of a sandbox, where there is no such descriptor for anybody.
    Refused(io::Error),
}

/// A process, with a descriptor that stands for it whatever becomes of its number.
#[derive(Debug)]
pub struct Pinned {
    pub pid: Pid,
    pidfd: OwnedFd,
}

impl AsFd for Pinned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Pins this process, if it is in that session.
pub fn pin(pid: Pid, session: Pid) -> Result<Pinned, Unpinned> {
    let pidfd = raw::pidfd_open(pid);
    // Checked after it was opened: from now on the number cannot become another's without the descriptor being a dead one's.
    match (is_in_session(pid, session), pidfd) {
        (None, _) => Err(Unpinned::Gone),
        (Some(false), _) => Err(Unpinned::Foreign),
        (Some(true), Ok(pidfd)) => Ok(Pinned { pid, pidfd }),
        (Some(true), Err(error)) if raw::is_gone(&error) => Err(Unpinned::Gone),
        (Some(true), Err(error)) => Err(Unpinned::Refused(error)),
    }
}

impl std::fmt::Display for Unpinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unpinned::Gone => f.write_str("it is gone"),
            Unpinned::Foreign => f.write_str("it is none of its own"),
            Unpinned::Refused(error) if raw::is_absent(error) => f.write_str(
                "this kernel, or the sandbox that exeunt is in, has no descriptors for processes (pidfd_open)",
            ),
            Unpinned::Refused(error) => write!(f, "pidfd_open: {error}"),
        }
    }
}

/// Signals who was pinned. False where it is gone, or a zombie: that takes every signal and does nothing.
pub fn signal_pinned(pidfd: BorrowedFd, signal: Signal) -> io::Result<bool> {
    if raw::has_exited(pidfd) { Ok(false) } else { reached(raw::pidfd_send_signal(pidfd, signal.number(), 0)) }
}

/// Signals every group of these members once, each only after a member of it is proven alive and in its session.
/// Answers how many groups were signalled. EPERM is told in the error after all were tried.
pub fn signal_members(members: &[Member], signal: Signal) -> io::Result<usize> {
    let mut groups: BTreeMap<Pid, Vec<Member>> = BTreeMap::new();
    for member in members.iter().filter(|member| member.group > 1) {
        groups.entry(member.group).or_default().push(*member);
    }
    let mut signalled = 0;
    let mut refused = None;
    for (group, members) in groups {
        match signal_group(group, &members, signal) {
            Ok(true) => signalled += 1,
            Ok(false) => {}
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(signalled), Err)
}

/// Signals these members and no others: group by group where all of a group are among them, else each by itself. `all` are the
/// members among whom they were chosen.
pub fn signal_chosen(chosen: &[Member], all: &[Member], signal: Signal) -> io::Result<()> {
    let spared = |group: Pid| all.iter().any(|member| member.group == group && !chosen.contains(member));
    let (each, whole): (Vec<Member>, Vec<Member>) = chosen.iter().partition(|member| spared(member.group));
    let mut refused = None;
    for member in each {
        let told = match pin(member.pid, member.session) {
            Ok(pinned) => raw::reached(raw::pidfd_send_signal(pinned.as_fd(), signal.number(), 0)),
            Err(Unpinned::Refused(_)) if is_still(&member) => reached(raw::kill(member.pid, signal.number())),
            Err(Unpinned::Refused(_) | Unpinned::Gone | Unpinned::Foreign) => Ok(false),
        };
        refused = told.err().or(refused);
    }
    let told = signal_members(&whole, signal).map(drop);
    refused.map_or(told, Err)
}

/// Exact where the group's first process still is there: its pidfd stands for the group, whatever becomes of the number. Else
/// the number is pinned by any member that is proven in the group a moment before.
fn signal_group(group: Pid, members: &[Member], signal: Signal) -> io::Result<bool> {
    let leader = raw::pidfd_open(group).ok();
    let Some(session) = members.iter().find(|member| is_still(member)).map(|member| member.session) else {
        // Without /proc the members are mere groups, and their leaders may be long gone.
        return if sees_all() { Ok(false) } else { reached(raw::kill(-group, signal.number())) };
    };
    let ours = Member { pid: group, group, session };
    if let Some(leader) = leader.filter(|_| is_still(&ours)) {
        let told = raw::pidfd_send_signal(leader.as_fd(), signal.number(), raw::TO_PROCESS_GROUP);
        let unknown = |error: &io::Error| raw::is_absent(error) || error.raw_os_error() == Some(libc::EINVAL);
        if !told.as_ref().is_err_and(unknown) {
            return reached(told);
        }
    }
    reached(raw::kill(-group, signal.number()))
}

/// As a reaper of orphans we get whom a dead leader left, so our living children tell whether there is anybody.
fn nobody_is_left(proc: &mut Proc, sessions: &[Pid], is_leader: &dyn Fn(Pid) -> bool) -> bool {
    init::is_reaper()
        && family::has_living_children(proc, &|child| leads_another(child, sessions, is_leader)) == Some(false)
}

/// A child that leads a session of ours was forked by us, and so are its descendants in that session: none of them is of
/// these sessions, whose leaders must be dead. If one of these is led by a living child, the look has to be a full one.
fn leads_another(child: Pid, sessions: &[Pid], is_leader: &dyn Fn(Pid) -> bool) -> bool {
    is_leader(child) && !sessions.contains(&child)
}

/// A process may fork and die while we look, and its child may have a number that we already passed. So when
/// someone was born meanwhile and a session seems empty, we look again.
fn scan_settled(proc: &mut Proc, sessions: &[Pid]) -> Option<Vec<Member>> {
    const LOOKS: u32 = 3;
    let mut sessions = sessions.to_vec();
    sessions.sort_unstable();
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        let before = proc.last_pid();
        found = scan(proc, &sessions)?;
        let all_seen = sessions.iter().all(|&session| found.iter().any(|member| member.session == session));
        if all_seen || (before.is_some() && proc.last_pid() == before) {
            break;
        }
    }
    Some(found)
}

/// `getsid` costs a hundredth of reading a `stat`, so only those that matter are read.
fn scan(proc: &mut Proc, sessions: &[Pid]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    for pid in proc.pids()? {
        match session_of(pid) {
            Ok(session) if sessions.binary_search(&session).is_err() => continue,
            Err(error) if raw::is_gone(&error) => continue,
            Ok(_) | Err(_) => {}
        }
        members.extend(member(proc, pid).filter(|member| sessions.binary_search(&member.session).is_ok()));
    }
    Some(members)
}

/// `None` for the dead. Whom we cannot look at counts as living.
fn member(proc: &mut Proc, pid: Pid) -> Option<Member> {
    match proc.look(pid) {
        Look::Stat(stat) => stat.is_living().then_some(Member { pid, group: stat.group, session: stat.session }),
        Look::Gone => None,
        Look::Unseen => Some(Member { pid, group: group_of(pid).ok()?, session: session_of(pid).ok()? }),
    }
}

fn living_groups(sessions: &[Pid]) -> Vec<Member> {
    let lives = |&session: &Pid| match raw::kill(-session, 0) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    };
    let named = |session: Pid| Member { pid: session, group: session, session };
    // 0 and 1 would mean crowds: our own group, and everybody.
    sessions.iter().copied().filter(|&session| session > 1).filter(lives).map(named).collect()
}

/// Asked of the kernel and not of /proc. A zombie passes, and it pins its group's number as well as the living do.
fn is_still(member: &Member) -> bool {
    session_of(member.pid).is_ok_and(|session| session == member.session)
        && group_of(member.pid).is_ok_and(|group| group == member.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_takes_no_signal_in_place_of_another() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::try_from(child.id()).unwrap();
        let pidfd = pin(pid, session_of(0).unwrap()).unwrap();
        assert!(signal_pinned(pidfd.as_fd(), Signal::TERM).unwrap());
        // Dead, and not reaped.
        let mut asked =
            libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&pidfd.as_fd()), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut asked, 1, -1) }, 1);
        assert!(!signal_pinned(pidfd.as_fd(), Signal::TERM).unwrap());
        child.wait().unwrap();
        assert!(!signal_pinned(pidfd.as_fd(), Signal::TERM).unwrap());
    }

    #[test]
    fn only_leaders_of_other_sessions_make_a_look_short() {
        let is_leader = |pid| pid < 100;
        assert!(leads_another(10, &[20, 30], &is_leader));
        assert!(!leads_another(20, &[20, 30], &is_leader), "its leader lives, so it has members");
        assert!(!leads_another(500, &[20, 30], &is_leader), "adopted: somebody's descendant");
    }
}
