use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A pipe, both ends CLOEXEC and numbered 10 or higher, so that `dup2` to 0–5 in a child never hits one.
pub struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

pub fn pipe() -> io::Result<Pipe> {
    todo!()
}

/// `O_NONBLOCK` on an end that is ours alone. Never on 0, 1, 2, whose open files are shared with others.
pub fn set_nonblocking(_fd: BorrowedFd) -> io::Result<()> {
    todo!()
}

/// `read(2)`, EINTR retried. `Ok(0)` is the end; `WouldBlock` where nothing is there.
pub fn read(_fd: BorrowedFd, _buffer: &mut [u8]) -> io::Result<usize> {
    todo!()
}

/// `write(2)`, EINTR retried.
pub fn write(_fd: BorrowedFd, _bytes: &[u8]) -> io::Result<usize> {
    todo!()
}

/// `FIONREAD`: bytes written to this pipe that nobody has read. Works on either end.
pub fn unread(_pipe: BorrowedFd) -> io::Result<usize> {
    todo!()
}

/// What kind of thing our standard input is; decides how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdinKind {
    /// A pipe, FIFO, socket: readiness by epoll, then a read that cannot block.
    Pollable,
    /// The same, but a person sits there.
    Terminal,
    /// A regular file, or a device epoll refuses: always ready, read by turns.
    Regular,
}

pub fn stdin_kind() -> StdinKind {
    todo!()
}

/// One read of standard input that does not block even when another process took the bytes in between: `preadv2` with
/// `RWF_NOWAIT` where it is to be had, else `poll` with no wait and `read`. `WouldBlock` where nothing is there.
pub fn read_stdin(_buffer: &mut [u8]) -> io::Result<usize> {
    todo!()
}

/// Device and inode of an open file, to see whether two names are one file.
pub fn identity(_fd: BorrowedFd) -> io::Result<(u64, u64)> {
    todo!()
}
