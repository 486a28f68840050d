//! The terminal that controls us, where it is our standard input; its foreground group; stops of who works there.

use super::Pid;
use super::raw::{self, call};
use crate::model::{Signal, SignalSet};

const TERMINAL: libc::c_int = 0;

/// Whether standard input is the terminal that controls us.
pub fn is_ours() -> bool {
    // SAFETY: both calls take an integer, and answer -1 for what is no such terminal.
    let (theirs, ours) = unsafe { (libc::tcgetsid(TERMINAL), libc::getsid(0)) };
    // Both are 0 where the session was made outside of our pid namespace.
    theirs >= 0 && theirs == ours
}

/// The foreground group, 0 for one that was made outside of our pid namespace; `None` where there is none, or no terminal any more.
pub fn foreground() -> Option<Pid> {
    // SAFETY: takes an integer.
    Some(unsafe { libc::tcgetpgrp(TERMINAL) }).filter(|&group| group >= 0)
}

/// 0 where it was made outside of our pid namespace.
pub fn own_group() -> Pid {
    // SAFETY: getpgrp has no preconditions and cannot fail.
    unsafe { libc::getpgrp() }
}

/// Makes this group the foreground. From the background too: TTOU is ignored in us.
pub fn give_to(group: Pid) {
    // Fails where the terminal or the group is gone, or outside of our namespace: then there is nothing to give, or nobody that
    // we could give it to.
    // SAFETY: takes two integers.
    unsafe { libc::tcsetpgrp(TERMINAL, group) };
}

/// Takes the foreground back from this group, or from one of which nobody is left; not from others.
pub fn take_from(group: Pid) {
    // 0 would be our own group to kill(2), and 1 everybody.
    let is_dead = |group: Pid| group > 1 && raw::kill(-group, 0).is_err_and(|error| raw::is_gone(&error));
    if foreground().is_some_and(|holder| holder == group || is_dead(holder)) {
        give_to(own_group());
    }
}

/// By which signal this child of ours was stopped since we asked last, if it was.
pub fn stop_of(child: Pid) -> Option<Signal> {
    // SAFETY: siginfo_t is plain integers, for which all zeros is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = libc::id_t::try_from(child).ok()?;
    // SAFETY: the call fills a live siginfo. Without WEXITED it takes no death away from whoever reaps.
    call(|| unsafe { libc::waitid(libc::P_PID, id, &mut info, libc::WSTOPPED | libc::WNOHANG | libc::__WALL) }).ok()?;
    // SAFETY: filled by waitid, which leaves the pid 0 where nothing was to be told.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == child { Signal::new(status) } else { None }
}

/// Stops our whole process group as Ctrl+Z would. Comes back when somebody continues it; at once where the kernel stops nobody
/// since nobody could (a group without a parent in its session, PID 1).
pub fn suspend_group() {
    suspend(0, libc::SIGTSTP);
}

/// The same for this process alone.
pub fn suspend_softly() {
    suspend(raw::own_pid(), libc::SIGTSTP);
}

/// Stops this process alone, and whatever anybody says but KILL and CONT.
pub fn suspend_self() {
    suspend(raw::own_pid(), libc::SIGSTOP);
}

/// Where TSTP is blocked, it is let through for this moment.
fn suspend(whom: Pid, signal: i32) {
    // The kernel refuses neither ourselves nor our group, of which we are a part.
    let _told = raw::kill(whom, signal);
    let before = raw::set_mask(SignalSet::FULL.bits());
    let mut open = SignalSet::from_bits(before);
    open.remove(Signal::TSTP);
    raw::set_mask(open.bits());
    raw::set_mask(before);
}
