use super::Pid;
use crate::model::{SignalSet, SpawnError};
use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

/// All that a child needs, prepared before fork.
pub struct Launch<'a> {
    pub argv: &'a [CString],
    /// `NAME=VALUE`.
    pub env: &'a [CString],
    /// Paths to try in order, as execvp does (ENOENT and ENOTDIR go on, EACCES goes on and is remembered).
    pub candidates: &'a [CString],
    pub directory: Option<&'a CStr>,
    pub ignore: SignalSet,
    pub block: SignalSet,
    /// What becomes descriptor 0, 1, 2, … of the child; `None` is closed. At most 6. All else is closed.
    pub descriptors: &'a [Option<BorrowedFd<'a>>],
}

/// A forked child of which it is not known yet whether its exec succeeds.
#[derive(Debug)]
pub struct Born {
    pub pid: Pid,
    /// Where the kernel has pidfds: pins the process and, with `PIDFD_SIGNAL_PROCESS_GROUP`, its group.
    pub pidfd: Option<OwnedFd>,
    /// Read end of the error pipe, non-blocking: ask with [`birth`].
    pub report: OwnedFd,
}

/// What the error pipe tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    Pending,
    /// The pipe closed without a word: exec succeeded (or the child was killed before it; then its death is told too).
    Executed,
    /// The child told its failed step and leaves with 127.
    Failed(SpawnError),
}

/// Forks. All signals are blocked around it; the child makes only async-signal-safe calls, in the order of DESIGN §7.
pub fn spawn(_launch: &Launch) -> Result<Born, SpawnError> {
    todo!()
}

pub fn birth(_report: BorrowedFd) -> Birth {
    todo!()
}

/// The paths that exec shall try for `program`: itself where it has a slash, else one for each directory of `path`
/// (the *child's* PATH; `None` means the default `/usr/local/bin:/usr/bin:/bin`).
pub fn candidates(_program: &CStr, _path: Option<&[u8]>) -> Vec<CString> {
    todo!()
}
