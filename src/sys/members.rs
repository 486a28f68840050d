use super::Pid;
use crate::model::Signal;
use std::os::fd::BorrowedFd;

/// A living (not zombie) process of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub pid: Pid,
    pub group: Pid,
    pub session: Pid,
}

/// The living members of these sessions, in one look at /proc for all. Where every child of ours is a known leader (`is_leader`,
/// asked with pids of living children from `/proc/self/task/…/children`), dead leaders have left nobody behind,
/// and the look is one short read. Without /proc: the leader's group by `kill(-group, 0)`, told as one member with the group's number.
pub fn living(_sessions: &[Pid], _is_leader: &dyn Fn(Pid) -> bool) -> Vec<Member> {
    todo!()
}

/// Signals one process that is our unreaped child, by its pidfd where there is one. ESRCH is success.
pub fn signal_child(_pid: Pid, _pidfd: Option<BorrowedFd>, _signal: Signal) -> std::io::Result<()> {
    todo!()
}

/// Signals every group of these members once, each only after a member of it is proven alive and in its session.
/// Answers how many groups were signalled. EPERM is told in the error after all were tried.
pub fn signal_members(_members: &[Member], _signal: Signal) -> std::io::Result<usize> {
    todo!()
}

/// Living descendants of ours that are neither leaders nor in one of these sessions nor children from before our time (nor
/// their descendants). As PID 1: every other process of the namespace.
pub fn strangers(_sessions: &[Pid], _before: &[Pid], _init: bool) -> Vec<Pid> {
    todo!()
}

/// Signals strangers, each by a pidfd that was checked after it was opened, so that no recycled number is hit.
pub fn signal_strangers(_strangers: &[Pid], _signal: Signal) {
    todo!()
}
