//! Opening files by path. Where others may write in a directory on the way, they decide which file a path leads to. If exeunt
//! has more rights than they have, it must not lend them: it opens such a path with the rights of the worker's user.

use super::file_user::FileUser;
use super::raw::check;
use super::trust::{self, Way};
use super::{capabilities, fds, permit};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often a path is walked anew because a link took the place of its last name just then.
const MOST_WALKS: u32 = 3;

/// How a file is opened: the flags and the mode of open(2). `O_CLOEXEC` and `O_NOCTTY` are added. `O_TRUNC` is not allowed: the
/// file is looked at only when it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    flags: libc::c_int,
    mode: u32,
    /// A file of another kind is refused before it is opened: who waits at the other end of a FIFO would take us for its peer.
    regular: bool,
}

impl How {
    /// Of open(2), for what has no name here.
    pub const fn new(flags: libc::c_int, mode: u32) -> How {
        How { flags, mode, regular: false }
    }

    /// To be read. Anything but a regular file is an error.
    pub const fn read() -> How {
        How { flags: libc::O_RDONLY | libc::O_NONBLOCK, mode: 0, regular: true }
    }

    /// To be appended to; made with this mode, less the umask, where it is missing.
    pub const fn append(mode: u32) -> How {
        How::new(libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT, mode)
    }

    /// To be read and written, and made here: EEXIST where it is there already.
    pub const fn create_new(mode: u32) -> How {
        How::new(libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode)
    }

    /// The same, and no operation of open, read or write waits for a FIFO's other end or for a lease.
    pub const fn nonblocking(self) -> How {
        How { flags: self.flags | libc::O_NONBLOCK, ..self }
    }

    const fn writes(self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }
}

/// Opens a file. `user` is the one whose workers use it, if that is another than our own; `None` opens any path as open(2) does.
///
/// With a user, a path in trusted hands (every directory and link on its way belongs to root or us, and nobody else may write
/// there) is opened with our own rights, links followed. Any other is opened with the rights of that user; then a link is
/// not followed, the file must be a regular one, and for writing it must have one name only. A file that is made
/// there belongs to that user. Where these rights do not suffice, and that user is none of those who may write in the
/// directories from the first untrusted one on, our own rights are used, and no link and no second name is allowed. The names of our own descriptors (`/dev/stdout`, `/dev/fd/N`) are open already.
///
/// # Errors
///
/// Of open(2). On an untrusted path those that come of it are in words and have no number: a link, a file with several names,
/// what is no regular file, and what that user has no right to, which is still `PermissionDenied`.
#[cfg_attr(feature = "faults", track_caller)]
pub fn open(path: &Path, how: How, user: Option<&FileUser>) -> io::Result<File> {
    permit()?;
    open_before_run(path, how, user)
}

/// As [`open`], for what is read before a run begins: there a test build has no call fail.
///
/// # Errors
///
/// As [`open`].
pub fn open_before_run(path: &Path, how: How, user: Option<&FileUser>) -> io::Result<File> {
    let own = own_descriptor(path);
    let name = CString::new(path.as_os_str().as_bytes())?;
    let user = user.filter(|_| own.is_none());
    let opened = open_name(&name, how, user).map_err(|error| match user {
        Some(user) if !is_trusted(&name) => in_words(error, user),
        Some(_) | None => error,
    });
    match (opened, own) {
        // Sockets cannot be opened by a name, and a pipe may belong to somebody else: what stands behind them is ours all the same.
        (Err(error), Some(number)) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EACCES)) => {
            // SAFETY: it is only copied, and a number that is closed is told as EBADF.
            let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, fds::LOWEST) })?;
            // SAFETY: the kernel just made this descriptor for us.
            Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        (opened, _) => opened.map(File::from),
    }
}

/// Does something with a path other than to open it, such as to rename or to remove a file: with our own rights where it is
/// trusted, with those of the user where it is not. There what `work` does with the path may follow any link, so that our
/// own rights are never used, not even where that user has no hand in the directories.
///
/// # Errors
///
/// Those of `work`; EPERM where the user's rights cannot be taken.
#[cfg_attr(feature = "faults", track_caller)]
pub fn act<T>(path: &Path, user: Option<&FileUser>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    permit()?;
    match user {
        Some(user) if !is_trusted(&CString::new(path.as_os_str().as_bytes())?) => {
            let _rights = user.assume()?;
            work()
        }
        Some(_) | None => work(),
    }
}

/// Whether [`open`] follows a link that this path ends in.
pub fn follows_links(path: &Path, user: Option<&FileUser>) -> bool {
    user.is_none() || CString::new(path.as_os_str().as_bytes()).is_ok_and(|name| is_trusted(&name))
}

fn is_trusted(path: &CStr) -> bool {
    trust::walk(path, trust::outside()).is_ok_and(|way| way.trusted)
}

/// Why an untrusted path was not opened with the rights of this user.
fn in_words(error: io::Error, user: &FileUser) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::ELOOP) => "it is a link, and others may write in its directory".to_owned(),
        Some(libc::EMLINK) => "it has several names, and others may write in its directory".to_owned(),
        Some(libc::EINVAL | libc::EISDIR | libc::ENXIO) => {
            "it is no regular file, and others may write in its directory".to_owned()
        }
        Some(libc::EACCES) => format!("user {} may not, and others may write in its directory", user.uid()),
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

/// A directory, or a link, because of which a path is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weakness {
    pub directory: PathBuf,
}

/// What is untrusted on the way to a path, where we have more rights than an ordinary process of our user. A path that
/// cannot be walked, or a directory that is missing, is no weakness.
pub fn weakness(path: &Path) -> Option<Weakness> {
    if !capabilities::are_privileged() || own_descriptor(path).is_some() {
        return None;
    }
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    let way = trust::walk(&name, trust::outside()).ok().filter(|way| !way.trusted)?;
    Some(Weakness { directory: trust::name_of(way.directory.as_fd()).ok()? })
}

/// How [`open`] writes a file on an untrusted path where the rights of the workers' user do not suffice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// With our own rights, since that user may not write in any of the directories.
    OwnRights(Weakness),
    /// Not at all.
    Refused(Weakness),
}

/// What is untrusted on the way to a file that [`open`] would write for this user, where that user's rights do not suffice.
pub fn shortfall(path: &Path, user: &FileUser) -> Option<Shortfall> {
    let name = CString::new(path.as_os_str().as_bytes()).ok().filter(|_| own_descriptor(path).is_none())?;
    let way = trust::walk(&name, user.outside()).ok().filter(|way| !way.trusted)?;
    let weakness = Weakness { directory: trust::name_of(way.directory.as_fd()).ok()? };
    let rights = user.assume().ok()?;
    let told = trust::approach(way).and_then(|way| may_write(&way));
    drop(rights);
    told.is_err_and(|error| is_denied(&error)).then(|| match walk_closed(&name, user) {
        Ok(_) => Shortfall::OwnRights(weakness),
        Err(_) => Shortfall::Refused(weakness),
    })
}

fn is_denied(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EACCES)
}

/// EACCES where this thread may not write the file, or may not make it. ENOSYS before Linux 5.8.
fn may_write(way: &Way) -> io::Result<()> {
    match may_access(&way.directory, way.rest(), libc::W_OK) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            may_access(&way.directory, c".", libc::W_OK | libc::X_OK)
        }
        told => told,
    }
}

fn may_access(directory: &OwnedFd, name: &CStr, mode: libc::c_int) -> io::Result<()> {
    // AT_EACCESS: with the rights that files are opened with, as setfsuid(2) sets them.
    let (directory, flags) = (directory.as_raw_fd(), libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: an open directory, a C string and two integers, as faccessat2(2) wants them.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, directory, name.as_ptr(), mode, flags) }).map(drop)
}

/// Along an untrusted path, if this user may write in none of the directories from the first untrusted one on.
fn walk_closed(path: &CStr, user: &FileUser) -> io::Result<Way> {
    trust::approach_closed(trust::walk(path, user.outside())?, |directory| {
        if stat(directory)?.st_uid == user.uid() {
            return Ok(true);
        }
        let _rights = user.assume()?;
        // What cannot be found out, such as before Linux 5.8, is no denial.
        Ok(!may_access(directory, c".", libc::W_OK).is_err_and(|error| is_denied(&error)))
    })
}

/// Opens a file as [`open`] does, but makes only system calls: for a forked child. `outside` was found out before the fork.
pub(super) fn open_name(path: &CStr, how: How, user: Option<&FileUser>) -> io::Result<OwnedFd> {
    let Some(user) = user else { return open_at(libc::AT_FDCWD, path, how, 0) };
    for _ in 0..MOST_WALKS {
        match trust::walk(path, user.outside()) {
            Ok(way) if way.trusted => match open_trusted(&way, how) {
                Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {}
                told => return told,
            },
            Ok(way) => {
                return match open_untrusted(way, how, user) {
                    Err(error) if is_denied(&error) => open_closed(path, how, user).map_err(|_| error),
                    told => told,
                };
            }
            // We may not even look there; that user may.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                return open_untrusted(trust::start(path)?, how, user);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn open_trusted(way: &Way, how: How) -> io::Result<OwnedFd> {
    let flags = if way.magic { 0 } else { libc::O_NOFOLLOW };
    open_at(way.directory.as_raw_fd(), way.rest(), how, flags)
}

fn open_untrusted(way: Way, how: How, user: &FileUser) -> io::Result<OwnedFd> {
    let rights = user.assume()?;
    let way = trust::approach(way)?;
    // O_NONBLOCK, so that nobody puts a FIFO there to keep us waiting; it means nothing to a regular file.
    let how = How { regular: true, ..how };
    let file = open_at(way.directory.as_raw_fd(), way.rest(), how, libc::O_NOFOLLOW | libc::O_NONBLOCK)?;
    drop(rights);
    if how.writes() && stat(&file)?.st_nlink > 1 {
        return Err(io::Error::from_raw_os_error(libc::EMLINK));
    }
    Ok(file)
}

/// With our own rights, where this user's do not suffice and it has no hand in the directories.
fn open_closed(path: &CStr, how: How, user: &FileUser) -> io::Result<OwnedFd> {
    let way = walk_closed(path, user)?;
    let how = How { regular: true, ..how };
    let file = open_at(way.directory.as_raw_fd(), way.rest(), how, libc::O_NOFOLLOW | libc::O_NONBLOCK)?;
    if stat(&file)?.st_nlink > 1 { Err(io::Error::from_raw_os_error(libc::EMLINK)) } else { Ok(file) }
}

fn open_at(directory: RawFd, name: &CStr, how: How, more: libc::c_int) -> io::Result<OwnedFd> {
    let follow = if more & libc::O_NOFOLLOW == 0 { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    if how.regular {
        check_before(directory, name, follow)?;
    }
    let flags = how.flags | more | libc::O_CLOEXEC | libc::O_NOCTTY;
    let fd = loop {
        // SAFETY: the directory is open or AT_FDCWD, the name a C string, and the mode an integer as O_CREAT wants it.
        match check(unsafe { libc::openat(directory, name.as_ptr(), flags, how.mode as libc::c_uint) }) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            told => break told?,
        }
    };
    // SAFETY: the kernel just made this descriptor for us.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    if how.regular {
        // It may be another one by now.
        check_kind(&stat(&file)?)?;
    }
    Ok(file)
}

/// A file that is missing is the business of open.
fn check_before(directory: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: `stat` is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the directory is open or AT_FDCWD, the name a C string, and the call fills a live `stat`.
    match check(unsafe { libc::fstatat(directory, name.as_ptr(), &mut stat, flags) }) {
        Ok(_) => check_kind(&stat),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_kind(stat: &libc::stat) -> io::Result<()> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok(()),
        libc::S_IFDIR => Err(io::Error::from_raw_os_error(libc::EISDIR)),
        libc::S_IFLNK => Err(io::Error::from_raw_os_error(libc::ELOOP)),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

fn stat(file: &OwnedFd) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a live `stat`.
    check(unsafe { libc::fstat(file.as_raw_fd(), &mut stat) })?;
    Ok(stat)
}

/// The number of our own descriptor that a path names (proc_pid_fd(5)).
fn own_descriptor(path: &Path) -> Option<RawFd> {
    match path.to_str()? {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        other => {
            let number = other.strip_prefix("/dev/fd/").or_else(|| other.strip_prefix("/proc/self/fd/"))?;
            let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| plain)
        }
    }
}

#[cfg(test)]
mod tests;
