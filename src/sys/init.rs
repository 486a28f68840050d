use super::fds::{self, Pipe};
use super::raw::{self, Disposition, call};
use super::spawn::MAX_DESCRIPTORS;
use super::{Pid, proc};
use crate::model::{Signal, SignalSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What exeunt found when it was started.
#[derive(Clone, Debug)]
pub struct Inherited {
    pub pid: Pid,
    /// We are PID 1 of our namespace.
    pub init: bool,
    /// Orphans come to us (`PR_SET_CHILD_SUBREAPER` took, or we are PID 1).
    pub subreaper: bool,
    /// Signals that were ignored / blocked when we were started. PIPE always is ignored here: the Rust runtime does that
    /// before `main`, and what it was before is lost.
    pub ignored: SignalSet,
    pub blocked: SignalSet,
    /// Children that were ours before we started anything (`sh -c 'sleep 9 & exec exeunt …'`).
    pub children: Vec<Pid>,
    /// `/dev/tty` can be opened.
    pub controlling_terminal: bool,
    /// Descriptors 3 to 9 that were open and stay so over exec: whoever started us meant them for us, or for our program.
    pub open: Vec<RawFd>,
    /// 0, 1, 2 were closed and stand for nothing now (/dev/null, or an empty pipe where there is none). Best effort: the
    /// Rust runtime replaces closed ones before `main`, so /dev/null that is open for reading *and* writing counts
    /// as replaced, though some parents hand over exactly that. Good for a message, not for a decision.
    pub replaced: [bool; 3],
}

/// First thing in main, before any thread: descriptors 0–2, SIGCHLD to its default and a note of the children that are there
/// (they are left for [`reap_one`](super::reap::reap_one)), TTIN, TTOU, PIPE and XFSZ ignored, subreaper.
/// Never fails: what cannot be had is told in the answer.
///
/// Everything is *blocked* until [`Signals`](super::signals::Signals) stands: what comes before there is a handler would kill
/// us, one TERM that a parent held back included, and the kernel throws it away where we are PID 1; what is blocked it keeps.
pub fn first_steps() -> Inherited {
    let open = (3..MAX_DESCRIPTORS as RawFd).filter(|&number| is_handed_on(number)).collect();
    let replaced = [0, 1, 2].map(ensure_open);
    let pid = raw::own_pid();
    let init = pid == 1;
    let ignored = SignalSet::FULL.iter().filter(is_ignored).collect();
    // Before the children are noted: while CHLD is ignored the kernel reaps by itself and tells nobody.
    set(Signal::CHLD, false);
    let blocked = SignalSet::from_bits(raw::set_mask(SignalSet::FULL.bits()));
    for signal in [libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE, libc::SIGXFSZ].into_iter().filter_map(Signal::new) {
        set(signal, true);
    }
    let subreaper = become_subreaper() || init;
    let children = proc::children();
    let controlling_terminal = std::fs::File::open("/dev/tty").is_ok();
    Inherited { pid, init, subreaper, ignored, blocked, children, controlling_terminal, open, replaced }
}

/// The kernel sends us this signal when our parent dies; if `parent` is dead already, it comes at once. Best effort.
pub fn die_with(parent: Pid, signal: Signal) {
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    let _refused = call(|| unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong) });
    if parent_pid() != parent {
        let _told = raw::kill(raw::own_pid(), signal.number());
    }
}

/// The working directory that we were started in and left: we stand in nobody's, so that it can be unmounted.
#[derive(Debug)]
pub struct Home(OwnedFd);

impl Home {
    /// `/` is our working directory from now on. `None`, and nothing is changed, where there would be no way back.
    pub fn leave() -> Option<Home> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path is a C string; no mode is needed without O_CREAT.
        let fd = call(|| unsafe { libc::open(c".".as_ptr(), flags) }).ok()?;
        // SAFETY: the kernel just made this descriptor for us.
        let home = Home(unsafe { OwnedFd::from_raw_fd(fd) });
        std::env::set_current_dir("/").is_ok().then_some(home)
    }
}

impl AsFd for Home {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// 0 where it is in another namespace.
pub fn parent_pid() -> Pid {
    // SAFETY: getppid has no preconditions and cannot fail.
    unsafe { libc::getppid() }
}

/// Whether orphans among our descendants come to us.
pub(super) fn is_reaper() -> bool {
    let mut set: libc::c_int = 0;
    // SAFETY: PR_GET_CHILD_SUBREAPER writes one int through the pointer.
    let told = call(|| unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut set) });
    raw::own_pid() == 1 || (told.is_ok() && set == 1)
}

fn become_subreaper() -> bool {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes an integer.
    call(|| unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) }).is_ok()
}

fn is_ignored(signal: &Signal) -> bool {
    raw::disposition(signal.number()) == Disposition::Ignored
}

fn set(signal: Signal, ignored: bool) {
    // The kernel refuses only numbers that do not exist and KILL and STOP; none of them comes here.
    let _ = raw::set_ignored(signal.number(), ignored);
}

fn is_handed_on(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no argument; a closed number is told as EBADF.
    call(|| unsafe { libc::fcntl(number, libc::F_GETFD) }).is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0)
}

/// Makes sure that this one of 0, 1, 2 is open; answers whether it stands for nothing.
fn ensure_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no argument; a closed number is told as EBADF.
    let told = call(|| unsafe { libc::fcntl(number, libc::F_GETFD) });
    if !told.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF)) {
        return is_placeholder(number);
    }
    if let Some(placeholder) = placeholder(number) {
        // SAFETY: `number` is closed, so nothing that anybody owns is replaced. The copy stays open for ever.
        unsafe { libc::dup2(placeholder.as_raw_fd(), number) };
        if placeholder.as_raw_fd() == number {
            std::mem::forget(placeholder);
        }
    }
    true
}

/// /dev/null; without it a pipe whose other end is closed: an end of file to read, EPIPE to write.
fn placeholder(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the path is a C string; no mode is needed without O_CREAT.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    if null >= 0 {
        // SAFETY: the kernel just made this descriptor for us.
        return Some(unsafe { OwnedFd::from_raw_fd(null) });
    }
    let Pipe { read, write } = fds::pipe().ok()?;
    Some(if number == 0 { read } else { write })
}

/// What the Rust runtime puts in the place of a closed one.
fn is_placeholder(number: RawFd) -> bool {
    // SAFETY: F_GETFL takes no argument, and the caller found the number open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    // SAFETY: the caller found it open, and nothing closes it meanwhile.
    let stat = fds::stat(unsafe { BorrowedFd::borrow_raw(number) });
    let is_null =
        |stat: libc::stat| stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3);
    flags & libc::O_ACCMODE == libc::O_RDWR && stat.is_ok_and(is_null)
}
