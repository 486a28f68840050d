//! Thin covers of calls that libc has not, or bends: glibc's `sigprocmask` and `sigaction` keep 32 and 33 to
//! themselves, and neither nix nor libc know pidfds on all targets. Nothing here allocates or locks, so a forked child may call
//! all of it.

use super::Pid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// The kernel's `sigset_t` is 64 bits on every target we know; libc's is larger.
const SIGSET_BYTES: usize = 8;
/// `PIDFD_SIGNAL_PROCESS_GROUP` (pidfd_send_signal(2), Linux 6.9).
pub const TO_PROCESS_GROUP: u32 = 1 << 2;

/// clone3(2), Linux 5.7; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a signal does in this process, as far as we care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Default,
    Ignored,
    Caught,
}

/// Makes a system call and turns its -1 into its errno. Every call of ours that the kernel may refuse is made through here
/// (but for those of a forked child), so that a test build can have it fail.
#[cfg_attr(feature = "faults", track_caller)]
pub fn call<T: PartialOrd + From<i8>>(call: impl FnOnce() -> T) -> io::Result<T> {
    #[cfg(feature = "faults")]
    super::faults::strike()?;
    check(call())
}

/// Turns the -1 of a system call into its errno.
pub fn check<T: PartialOrd + From<i8>>(result: T) -> io::Result<T> {
    if result < T::from(0) { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub fn errno() -> i32 {
    errno_of(&io::Error::last_os_error())
}

/// The errno of an error that came from a system call; EIO for one that did not.
pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The new system calls that a sandbox refuses with EPERM are as absent as those the kernel does not know.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// ESRCH: there is no such process (any more), or none in the group.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether anybody was there to get a signal.
pub fn reached(told: io::Result<()>) -> io::Result<bool> {
    match told {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the mask of this thread to exactly these signals, bit n-1 for signal n, and answers the one before.
pub fn set_mask(bits: u64) -> u64 {
    let mut before = 0u64;
    // SAFETY: both pointers are to live u64, and 8 bytes is the size of the kernel's set. With SIG_SETMASK and valid
    // pointers the call cannot fail (rt_sigprocmask(2)).
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const bits, &raw mut before, SIGSET_BYTES)
    };
    before
}

/// Signals that are blocked in this thread and wait for it or for the process, bit n-1 for signal n.
pub fn pending() -> u64 {
    let mut bits = 0u64;
    // SAFETY: the pointer is to a live u64, which is the size of the kernel's set; with that the call cannot fail
    // (rt_sigpending(2)).
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut bits, SIGSET_BYTES) };
    bits
}

/// The kernel's `struct sigaction`. Its later fields differ between architectures, the handler comes first on all we
/// build for; zeros in the rest mean no flags and an empty mask on each.
#[repr(C)]
struct KernelAction {
    handler: usize,
    rest: [u64; 4],
}

/// Sets a signal to its default or to be ignored.
pub fn set_ignored(signal: i32, ignored: bool) -> io::Result<()> {
    let handler = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    let action = KernelAction { handler, rest: [0; 4] };
    let nowhere = ptr::null_mut::<KernelAction>();
    // SAFETY: `action` is live and at least as large as the kernel's structure, no old action is asked for, and neither
    // SIG_DFL nor SIG_IGN makes the kernel run any code of ours.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, nowhere, SIGSET_BYTES) };
    check(result).map(drop)
}

pub fn disposition(signal: i32) -> Disposition {
    let mut action = KernelAction { handler: libc::SIG_DFL, rest: [0; 4] };
    let nothing = ptr::null::<KernelAction>();
    // SAFETY: nothing is changed; `action` is live and at least as large as what the kernel writes there.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, nothing, &raw mut action, SIGSET_BYTES) };
    match action.handler {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Caught,
    }
}

/// `kill(2)` with any signal, real-time ones too; 0 only asks whether it could be sent.
#[cfg_attr(feature = "faults", track_caller)]
pub fn kill(target: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers; whom it hits is the caller's business.
    call(|| unsafe { libc::kill(target, signal) }).map(drop)
}

/// `fork(2)`.
///
/// # Safety
/// The child may only make async-signal-safe calls.
#[cfg_attr(feature = "faults", track_caller)]
pub unsafe fn fork() -> io::Result<Pid> {
    // SAFETY: what the child does is the caller's promise.
    call(|| unsafe { libc::fork() })
}

/// `fork(2)` into a control group: clone3(2) with CLONE_INTO_CGROUP.
///
/// # Safety
/// The child may only make system calls: libc does not know that it is another process.
#[cfg_attr(feature = "faults", track_caller)]
pub unsafe fn fork_into(group: BorrowedFd) -> io::Result<Pid> {
    // SAFETY: clone_args is plain integers, for which all zeros is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = group.as_raw_fd() as u64;
    // SAFETY: the arguments are live and of the size that is told. No memory is shared (no CLONE_VM), so the child goes on with
    // copies, as after fork; what it does is the caller's promise.
    let pid = call(|| unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    Pid::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// `pidfd_open(2)`, CLOEXEC as all pidfds.
#[cfg_attr(feature = "faults", track_caller)]
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: two integers go in, a descriptor comes out.
    let fd = call(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `signalfd(2)`, CLOEXEC and non-blocking; bit n-1 for signal n.
#[cfg_attr(feature = "faults", track_caller)]
pub fn signalfd(bits: u64) -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is live and of the size that is told.
    let fd = call(|| unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const bits, SIGSET_BYTES, flags) })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `pidfd_send_signal(2)`; `flags` 0 or [`TO_PROCESS_GROUP`].
#[cfg_attr(feature = "faults", track_caller)]
pub fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32, flags: u32) -> io::Result<()> {
    let no_info = ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed, hence open; a null siginfo is allowed and means the same as kill(2).
    call(|| unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, flags) }).map(drop)
}

/// Whether the process of a pidfd has ended, reaped or not: then it is readable (pidfd_open(2)).
pub fn has_exited(pidfd: BorrowedFd) -> bool {
    let mut asked = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd, and no time to wait.
    call(|| unsafe { libc::poll(&raw mut asked, 1, 0) }).is_ok_and(|ready| ready == 1)
}

/// `close_range(2)`, both ends included.
///
/// # Safety
/// No descriptor in the range may be owned by anything that is used afterwards.
pub unsafe fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: three integers; that the descriptors are nobody's is the caller's promise.
    call(|| unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

pub fn own_pid() -> Pid {
    // SAFETY: getpid has no preconditions and cannot fail.
    unsafe { libc::getpid() }
}

/// `getsid(2)`, 0 for ourselves. Zombies have one too.
#[cfg_attr(feature = "faults", track_caller)]
pub fn session_of(pid: Pid) -> io::Result<Pid> {
    // SAFETY: getsid takes an integer.
    call(|| unsafe { libc::getsid(pid) })
}

/// `getpgid(2)`, 0 for ourselves. Zombies have one too.
#[cfg_attr(feature = "faults", track_caller)]
pub fn group_of(pid: Pid) -> io::Result<Pid> {
    // SAFETY: getpgid takes an integer.
    call(|| unsafe { libc::getpgid(pid) })
}
