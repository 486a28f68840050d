//! /proc of our own pid namespace, kept open: a look at it must not fail just because descriptors run out.

use super::stat::{Stat, number};
use super::{Pid, dirents, fds, raw, reap};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Some hundred names of a directory, or any one small file. No larger, for it is kept.
const BUFFER: usize = 8 * 1024;

static KEPT: Mutex<Option<Proc>> = Mutex::new(None);

pub struct Proc {
    directory: OwnedFd,
    buffer: Vec<u8>,
}

/// What a look at one process found.
pub enum Look {
    Stat(Stat),
    /// No such process (any more).
    Gone,
    /// It may be there, but we could not see it: no descriptor left, or we are not permitted.
    Unseen,
}

/// Works with /proc where there is one that counts as we do; `None` otherwise.
pub fn with<R>(work: impl FnOnce(&mut Proc) -> R) -> Option<R> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.is_none() {
        *kept = Proc::open();
    }
    kept.as_mut().map(work)
}

/// Our children, zombies included; empty without /proc.
pub fn children() -> Vec<Pid> {
    let listed = |proc: &mut Proc| proc.listed_children().unwrap_or_else(|| proc.scan_children());
    // Opened in any case: later there may be no descriptor left for it.
    with(|proc| if reap::is_childless() { Vec::new() } else { listed(proc) }).unwrap_or_default()
}

impl Proc {
    /// A /proc that belongs to another pid namespace (`unshare --pid` without `--mount-proc`) is worse than none: its
    /// numbers are other processes to our kill(2). There `/proc/self` is not the number that we know ourselves by.
    fn open() -> Option<Proc> {
        let directory = open_at(None, c"/proc", libc::O_DIRECTORY).ok()?;
        let mut name = [0u8; 24];
        // SAFETY: the kernel writes at most `len` bytes into a live buffer, and the path is a C string.
        let length = raw::call(|| unsafe {
            libc::readlinkat(directory.as_raw_fd(), c"self".as_ptr(), name.as_mut_ptr().cast(), name.len())
        });
        let shown: Pid = number(name.get(..usize::try_from(length.ok()?).ok()?)?)?;
        (shown == raw::own_pid()).then(|| Proc { directory, buffer: vec![0; BUFFER] })
    }

    /// Every process that /proc shows, ascending; `None` where it cannot be read, which must not look like nobody.
    pub fn pids(&mut self) -> Option<Vec<Pid>> {
        const ATTEMPTS: u32 = 3;
        (0..ATTEMPTS).find_map(|_| dirents::numbers(self.directory.as_fd(), &mut self.buffer).ok())
    }

    pub fn look(&mut self, pid: Pid) -> Look {
        let Ok(path) = CString::new(format!("{pid}/stat")) else { return Look::Gone };
        match self.slurp(&path) {
            Ok(line) => Stat::parse(line).map_or(Look::Unseen, Look::Stat),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Look::Gone,
            Err(_) => Look::Unseen,
        }
    }

    pub fn stat(&mut self, pid: Pid) -> Option<Stat> {
        match self.look(pid) {
            Look::Stat(stat) => Some(stat),
            Look::Gone | Look::Unseen => None,
        }
    }

    /// Of every process that could be looked at; `None` where /proc cannot be read.
    pub fn stats(&mut self) -> Option<BTreeMap<Pid, Stat>> {
        let mut stats = BTreeMap::new();
        for pid in self.pids()? {
            stats.extend(self.stat(pid).map(|stat| (pid, stat)));
        }
        Some(stats)
    }

    /// Our children as `/proc/self/task/TID/children` lists them; `None` where the kernel was built without that file. It can
    /// skip one when another is reaped meanwhile (proc_tid_children(5)), and nobody reaps ours but the thread that reads it.
    pub fn listed_children(&mut self) -> Option<Vec<Pid>> {
        let tasks = open_at(Some(self.directory.as_fd()), c"self/task", libc::O_DIRECTORY).ok()?;
        let mut children = Vec::new();
        for task in dirents::numbers(tasks.as_fd(), &mut self.buffer).ok()? {
            let path = CString::new(format!("self/task/{task}/children")).ok()?;
            let file = open_at(Some(self.directory.as_fd()), &path, 0).ok()?;
            let mut text = Vec::new();
            io::Read::read_to_end(&mut std::fs::File::from(file), &mut text).ok()?;
            children.extend(text.split(u8::is_ascii_whitespace).filter_map(number::<Pid>));
        }
        Some(children)
    }

    fn scan_children(&mut self) -> Vec<Pid> {
        let us = raw::own_pid();
        let mut pids = self.pids().unwrap_or_default();
        pids.retain(|&pid| self.stat(pid).is_some_and(|stat| stat.parent == us));
        pids
    }

    /// Whether this process has the file that /proc shows as `target` open for writing. `files` counts the open files that
    /// were looked at. False for a process whose files we may not see.
    pub fn writes_to(&mut self, pid: Pid, target: &[u8], files: &mut usize) -> bool {
        let Ok(path) = CString::new(format!("{pid}/fd")) else { return false };
        let Ok(directory) = open_at(Some(self.directory.as_fd()), &path, libc::O_DIRECTORY) else { return false };
        let Ok(numbers) = dirents::numbers(directory.as_fd(), &mut self.buffer) else { return false };
        *files += numbers.len();
        numbers.into_iter().any(|number| {
            let Ok(name) = CString::new(number.to_string()) else { return false };
            link_at(directory.as_fd(), &name).is_some_and(|shown| shown == target)
                && is_writable_link(directory.as_fd(), &name)
        })
    }

    /// The process's name as `ps` shows it: 15 bytes at most (proc_pid_comm(5)).
    pub fn command_name(&mut self, pid: Pid) -> Option<String> {
        let path = CString::new(format!("{pid}/comm")).ok()?;
        let name = self.slurp(&path).ok()?;
        Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
    }

    /// The last process number that the kernel gave away in our namespace: while it stands still, nobody forks.
    pub fn last_pid(&mut self) -> Option<Pid> {
        let line = self.slurp(c"loadavg").ok()?;
        number(line.trim_ascii_end().rsplit(|&byte| byte == b' ').next()?)
    }

    /// The start of a small file, read by one call so that its fields are of one moment.
    fn slurp(&mut self, path: &CStr) -> io::Result<&[u8]> {
        let file = open_at(Some(self.directory.as_fd()), path, 0)?;
        let length = fds::read(file.as_fd(), &mut self.buffer)?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}

/// Where a symbolic link of a /proc directory points to; `None` where it is gone or longer than a pipe's name can be.
fn link_at(directory: BorrowedFd, name: &CStr) -> Option<Vec<u8>> {
    let mut shown = [0u8; 64];
    // SAFETY: the kernel writes at most `len` bytes into a live buffer, and the name is a C string.
    let length = raw::call(|| unsafe {
        libc::readlinkat(directory.as_raw_fd(), name.as_ptr(), shown.as_mut_ptr().cast(), shown.len())
    });
    shown.get(..usize::try_from(length.ok()?).ok()?).map(<[u8]>::to_vec)
}

/// The permissions of a link in `/proc/PID/fd` say how the file was opened (proc_pid_fd(5)).
fn is_writable_link(directory: BorrowedFd, name: &CStr) -> bool {
    // SAFETY: `stat` is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the name is a C string and the call fills a live `stat`.
    let told = raw::call(|| unsafe {
        libc::fstatat(directory.as_raw_fd(), name.as_ptr(), &raw mut stat, libc::AT_SYMLINK_NOFOLLOW)
    });
    told.is_ok() && stat.st_mode & libc::S_IWUSR != 0
}

#[cfg_attr(feature = "faults", track_caller)]
fn open_at(directory: Option<BorrowedFd>, path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let directory = directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd());
    let flags = flags | libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; no mode is needed without O_CREAT.
    let fd = raw::call(|| unsafe { libc::openat(directory, path.as_ptr(), flags) });
    // SAFETY: the kernel just made this descriptor for us.
    fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}
