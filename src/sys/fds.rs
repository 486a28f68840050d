use super::file_user::FileUser;
use super::raw::call;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The lowest number for descriptors of our own. Below it a child puts what it is given.
pub(super) const LOWEST: RawFd = 10;

/// A pipe, both ends CLOEXEC and numbered 10 or higher, so that `dup2` to 0–5 in a child never hits one.
#[derive(Debug)]
pub struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

#[cfg_attr(feature = "faults", track_caller)]
pub fn pipe() -> io::Result<Pipe> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: `ends` has room for the two numbers the call writes.
    call(|| unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just made both for us; nobody else knows their numbers.
    let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    Ok(Pipe { read: lift(read)?, write: lift(write)? })
}

/// What a child does with its end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Read,
    Write,
}

/// Lets the user of a child open its end of this pipe by name, such as `/dev/fd/4`: a pipe belongs to who made it, and that is us.
/// Both ends are one file with one mode, so it may be opened only the way that the child's end goes. Descriptors that are open
/// already, ours among them, are as they were. To be called for pipes of our own alone, before the child is forked.
pub fn give(pipe: &Pipe, user: &FileUser, end: End) {
    let (own, everybody) = match end {
        End::Read => (0o400, 0o444),
        End::Write => (0o200, 0o222),
    };
    let fd = pipe.read.as_raw_fd();
    // Best effort: what is refused is refused to a program that opens it by its name, and to no other.
    // SAFETY: the descriptor is open, and the mode an integer.
    let _refused = call(|| unsafe { libc::fchmod(fd, own) });
    // SAFETY: the descriptor is open, and the others are integers.
    if call(|| unsafe { libc::fchown(fd, user.uid(), user.gid()) }).is_err() {
        // It takes a capability to give it away. This lets in only those who hold a descriptor of it, or may trace one who does:
        // it has no other name.
        // SAFETY: as above.
        let _refused = call(|| unsafe { libc::fchmod(fd, everybody) });
    }
}

/// The same open file under a number of 10 or higher.
pub(super) fn lift(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST { Ok(fd) } else { duplicate(fd.as_fd()) }
}

/// A second descriptor of the same open file, CLOEXEC and 10 or higher.
#[cfg_attr(feature = "faults", track_caller)]
pub(super) fn duplicate(fd: BorrowedFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is borrowed, hence open, and the third argument is an integer as F_DUPFD_CLOEXEC wants it.
    let copy = call(|| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LOWEST) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// `O_NONBLOCK` on an end that is ours alone. Never on 0, 1, 2, whose open files are shared with others: EINVAL there.
#[cfg_attr(feature = "faults", track_caller)]
pub fn set_nonblocking(fd: BorrowedFd) -> io::Result<()> {
    if fd.as_raw_fd() <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the descriptor is borrowed, hence open; F_GETFL takes no argument.
    let flags = call(|| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above; F_SETFL takes an integer.
    call(|| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// `read(2)`, EINTR retried. `Ok(0)` is the end; `WouldBlock` where nothing is there.
#[cfg_attr(feature = "faults", track_caller)]
pub fn read(fd: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes into a buffer that is ours for the time of the call.
    retry(|| unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `write(2)`, EINTR retried.
#[cfg_attr(feature = "faults", track_caller)]
pub fn write(fd: BorrowedFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `len` bytes from a live slice.
    retry(|| unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

#[cfg_attr(feature = "faults", track_caller)]
fn retry(mut attempt: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match call(&mut attempt) {
            Ok(count) => return Ok(usize::try_from(count).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `FIONREAD`: bytes written to this pipe that nobody has read. Works on either end.
#[cfg_attr(feature = "faults", track_caller)]
pub fn unread(pipe: BorrowedFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer.
    call(|| unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
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

/// A standard input that is closed counts as regular: the next read tells its error.
pub fn stdin_kind() -> StdinKind {
    let stdin = stdin();
    match file_type(stdin) {
        Ok(libc::S_IFIFO | libc::S_IFSOCK) => StdinKind::Pollable,
        Ok(libc::S_IFCHR) if is_terminal(stdin) => StdinKind::Terminal,
        Ok(libc::S_IFCHR) if epoll_takes(stdin) => StdinKind::Pollable,
        Ok(_) | Err(_) => StdinKind::Regular,
    }
}

/// A second descriptor of our standard input, which shares its position.
#[cfg_attr(feature = "faults", track_caller)]
pub fn stdin_file() -> io::Result<std::fs::File> {
    duplicate(stdin()).map(std::fs::File::from)
}

/// A second descriptor of an open file, which shares its position and its lock.
#[cfg_attr(feature = "faults", track_caller)]
pub fn duplicate_file(file: &std::fs::File) -> io::Result<std::fs::File> {
    duplicate(file.as_fd()).map(std::fs::File::from)
}

/// Whether standard input is a file in the narrow sense, which has an end.
pub fn stdin_is_file() -> bool {
    file_type(stdin()).is_ok_and(|kind| kind == libc::S_IFREG)
}

/// Bytes of a regular file on standard input from its offset to its end; `None` for any other kind of file.
pub fn stdin_rest() -> Option<u64> {
    let stat = stat(stdin()).ok().filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG)?;
    let offset = seek_stdin(0).ok()?;
    Some(u64::try_from(stat.st_size).ok()?.saturating_sub(offset))
}

/// Moves the offset of standard input back by so many bytes. ESPIPE where it has none, EINVAL before its beginning
/// (lseek(2)).
pub fn seek_stdin_back(bytes: u64) -> io::Result<()> {
    let back = i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    seek_stdin(-back).map(drop)
}

/// Answers the new offset.
#[cfg_attr(feature = "faults", track_caller)]
fn seek_stdin(by: i64) -> io::Result<u64> {
    // SAFETY: lseek takes integers, and 0 is open (see `stdin`).
    let offset = call(|| unsafe { libc::lseek64(0, by, libc::SEEK_CUR) })?;
    u64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EIO))
}

/// One read of standard input that does not block even when another process took the bytes in between: `preadv2` with
/// `RWF_NOWAIT` where it is to be had, else `poll` with no wait and `read`. `WouldBlock` where nothing is there.
/// A regular file is simply read: `RWF_NOWAIT` would refuse what is not cached, and nothing would ever tell when it is.
pub fn read_stdin(buffer: &mut [u8]) -> io::Result<usize> {
    if file_type(stdin())? == libc::S_IFREG {
        return read(stdin(), buffer);
    }
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let here: libc::c_long = -1;
    let result = retry(|| {
        // SAFETY: one iovec is passed, and it describes a buffer that is ours for the time of the call. An offset of -1
        // (in both halves) means the file's own position (preadv2(2)).
        let count = unsafe { libc::syscall(libc::SYS_preadv2, 0, &raw const part, 1, here, here, libc::RWF_NOWAIT) };
        isize::try_from(count).unwrap_or(-1)
    });
    match result {
        Err(error) if lacks_nowait(&error) => read_if_polled(buffer),
        told => told,
    }
}

/// A terminal or device does not know RWF_NOWAIT, an old kernel or a sandbox not even the call.
fn lacks_nowait(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::ESPIPE))
}

fn read_if_polled(buffer: &mut [u8]) -> io::Result<usize> {
    let mut asked = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd, no wait.
    let ready = call(|| unsafe { libc::poll(&mut asked, 1, 0) })?;
    if ready == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    read(stdin(), buffer)
}

/// Device and inode of an open file, to see whether two names are one file.
pub fn identity(fd: BorrowedFd) -> io::Result<(u64, u64)> {
    stat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether this is a regular file; `false` too for what cannot be looked at.
pub fn is_regular(fd: BorrowedFd) -> bool {
    file_type(fd).is_ok_and(|kind| kind == libc::S_IFREG)
}

#[cfg_attr(feature = "faults", track_caller)]
pub(super) fn stat(fd: BorrowedFd) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a live `stat`.
    call(|| unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) })?;
    Ok(stat)
}

fn stdin() -> BorrowedFd<'static> {
    // SAFETY: 0 is open from the start of the program on (the runtime sees to it) and nothing of ours ever closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

fn file_type(fd: BorrowedFd) -> io::Result<libc::mode_t> {
    stat(fd).map(|stat| stat.st_mode & libc::S_IFMT)
}

pub fn is_terminal(fd: BorrowedFd) -> bool {
    // SAFETY: isatty takes an integer.
    unsafe { libc::isatty(fd.as_raw_fd()) == 1 }
}

/// So many bytes a pipe that [has room](has_room) takes without a wait (POSIX: PIPE_BUF).
pub const ALWAYS_ROOM: usize = libc::PIPE_BUF;

/// Whether a write of up to [`ALWAYS_ROOM`] bytes does not block now, or within the time that `left` says there is (`None`: for
/// ever). Somebody else who writes there may be faster.
pub fn has_room(fd: BorrowedFd, left: impl Fn() -> Option<Duration>) -> bool {
    loop {
        // Rounded up, so that the wait does not end a moment too early. A negative number is no limit (poll(2)).
        let millis = left().map(|left| left.as_nanos().div_ceil(1_000_000));
        let timeout = millis.map_or(-1, |millis| libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX));
        let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one live pollfd.
        match call(|| unsafe { libc::poll(&raw mut asked, 1, timeout) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reader that is gone is told by the write, at once.
            told => return told.is_ok_and(|ready| ready == 1),
        }
    }
}

/// Asks epoll itself: it refuses what is always ready (EPERM).
fn epoll_takes(fd: BorrowedFd) -> bool {
    // SAFETY: an integer goes in, a descriptor comes out.
    let Ok(epoll) = call(|| unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }) else { return false };
    // SAFETY: the kernel just made this descriptor for us.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let mut interest = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: both descriptors are open and the event is live.
    call(|| unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut interest) }).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_numbered_ten_or_higher_and_close_at_exec() {
        let pipe = pipe().unwrap();
        for end in [&pipe.read, &pipe.write] {
            assert!(end.as_raw_fd() >= LOWEST);
            // SAFETY: F_GETFD takes no argument.
            assert_eq!(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn what_nobody_has_read_is_counted_at_both_ends() {
        let pipe = pipe().unwrap();
        assert_eq!(unread(pipe.read.as_fd()).unwrap(), 0);
        write(pipe.write.as_fd(), b"seven b").unwrap();
        assert_eq!(unread(pipe.read.as_fd()).unwrap(), 7);
        assert_eq!(unread(pipe.write.as_fd()).unwrap(), 7);
        read(pipe.read.as_fd(), &mut [0; 3]).unwrap();
        assert_eq!(unread(pipe.write.as_fd()).unwrap(), 4);
    }

    #[test]
    fn an_empty_pipe_would_block_and_a_closed_one_is_at_its_end() {
        let pipe = pipe().unwrap();
        set_nonblocking(pipe.read.as_fd()).unwrap();
        let told = read(pipe.read.as_fd(), &mut [0; 8]);
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(pipe.write);
        assert_eq!(read(pipe.read.as_fd(), &mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn shared_descriptors_are_never_made_nonblocking() {
        assert!(set_nonblocking(stdin()).is_err());
    }

    #[test]
    fn two_pipes_are_two_files_and_two_ends_are_one() {
        let (one, other) = (pipe().unwrap(), pipe().unwrap());
        assert_eq!(identity(one.read.as_fd()).unwrap(), identity(one.write.as_fd()).unwrap());
        assert_ne!(identity(one.read.as_fd()).unwrap(), identity(other.read.as_fd()).unwrap());
    }
}
