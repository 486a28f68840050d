use super::child::{Child, REPORT_BYTES};
use super::file_head::FileId;
use super::file_user::FileUser;
use super::numbered::Numbered;
use super::raw::errno_of;
use super::secret::{FileVariable, Slot};
use super::{Pid, child, fds, identity, raw};
use crate::model::identity::Resource;
use crate::model::plan::Place;
use crate::model::{Identity, Seen, SignalSet, SpawnError, Stage};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;

/// The most descriptors a child is given: 0 to 9, for ours are 10 and higher.
pub const MAX_DESCRIPTORS: usize = 10;
/// Where programs are looked for when the child has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// All that a child needs, prepared before fork.
pub struct Launch<'a> {
    pub argv: &'a [CString],
    /// `NAME=VALUE`.
    pub env: &'a [Rc<CStr>],
    /// Come after those of `env`; the child reads their values.
    pub secrets: &'a [FileVariable],
    /// Variables that tell the child its own number; not in `env`.
    pub numbered: &'a [CString],
    /// Paths to try in order, as execvp(3) does (ENOENT, ENOTDIR and a file server that is silent go on, EACCES goes on and is remembered).
    pub candidates: &'a [CString],
    /// Our own program: a script whose interpreter it is would be executed by it again without end, and is refused.
    pub own: Option<FileId>,
    pub directory: Option<&'a CStr>,
    pub ignore: SignalSet,
    pub block: SignalSet,
    pub identity: &'a Identity,
    /// What becomes descriptor 0, 1, 2, … of the child; `None` is closed. At most 10. All else is closed.
    pub descriptors: &'a [Option<BorrowedFd<'a>>],
    pub place: Place,
    /// At `Place::Terminal`: the child's group becomes the foreground of the terminal on 0.
    pub foreground: bool,
    /// The control group that the child is born into, if the kernel lets us: see [`Born::grouped`].
    pub group: Option<BorrowedFd<'a>>,
    /// For a program that we only stand in front of.
    pub passage: Option<Passage<'a>>,
}

/// What a program finds that shall find all as if we were not there: descriptors that are not given in its place stay as they
/// are, and a script without `#!` is run by /bin/sh, as execvp(3) has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage<'a> {
    /// Where it starts, if that is not our working directory any more.
    pub home: Option<BorrowedFd<'a>>,
}

/// A forked child of which it is not known yet whether its exec succeeds.
#[derive(Debug)]
pub struct Born {
    pub pid: Pid,
    /// Where the kernel has pidfds: pins the process and, with `PIDFD_SIGNAL_PROCESS_GROUP`, its group.
    pub pidfd: Option<OwnedFd>,
    /// It is in the control group that was asked for, and so is all that will come of it.
    pub grouped: bool,
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

/// Forks. All signals are blocked around it, so that none is swallowed by our handlers running in the child. The child makes only
/// async-signal-safe calls: session, descriptors, dispositions, secrets, limits and ids, directory, mask, exec. Never waits for the child: a hanging chdir
/// or exec keeps nobody but itself.
pub fn spawn(launch: &Launch) -> Result<Born, SpawnError> {
    let at = |stage| move |error: io::Error| SpawnError { stage, errno: errno_of(&error) };
    let mut prepared = Prepared::new(launch).map_err(at(Stage::Prepare))?;
    let before = raw::set_mask(SignalSet::FULL.bits());
    // SAFETY: the child calls nothing but `child::run`, which makes only system calls on what was prepared here and never
    // returns.
    let forked = unsafe { fork(launch.group) };
    if let Ok((0, _)) = forked {
        child::run(&mut prepared.child);
    }
    raw::set_mask(before);
    let (pid, grouped) = forked.map_err(at(Stage::Fork))?;
    // Until we reap the child its number is its own, so this opens no other. Absence, or a full table, is no failure.
    let pidfd = raw::pidfd_open(pid).ok();
    Ok(Born { pid, pidfd, grouped, report: prepared.report })
}

/// Into the group if possible, else without: a sandbox may know no clone3, and a group may not take anybody in.
///
/// # Safety
/// The child may only make system calls.
unsafe fn fork(group: Option<BorrowedFd>) -> io::Result<(Pid, bool)> {
    // SAFETY: passed on to our caller.
    let forked = group.map(|group| unsafe { raw::fork_into(group) });
    match forked {
        Some(Ok(pid)) => Ok((pid, true)),
        // These would meet every fork.
        Some(Err(error)) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => Err(error),
        // SAFETY: passed on to our caller.
        Some(Err(_)) | None => unsafe { raw::fork() }.map(|pid| (pid, false)),
    }
}

pub fn birth(report: BorrowedFd) -> Birth {
    birth_and_file(report).0
}

/// The same, and what the child saw of a file that it could not execute.
pub fn birth_and_file(report: BorrowedFd) -> (Birth, Seen) {
    let mut bytes = [0; REPORT_BYTES];
    let birth = match fds::read(report, &mut bytes) {
        Ok(0) => Birth::Executed,
        // The child writes it with one call below PIPE_BUF: a part of it cannot be seen.
        Ok(length) => match bytes.get(..length).and_then(child::decode) {
            Some((error, seen)) => return (Birth::Failed(error), seen),
            None => Birth::Failed(SpawnError { stage: Stage::Prepare, errno: libc::EPROTO }),
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Birth::Pending,
        // The word cannot be heard, and the child may run all the same. If it does not, its exit tells.
        Err(_) => Birth::Executed,
    };
    (birth, Seen::Nothing)
}

/// The paths that exec shall try for `program`: itself where it has a slash, else one for each directory of `path`
/// (the *child's* PATH; `None` means the default `/usr/local/bin:/usr/bin:/bin`). An empty directory is the current one.
pub fn candidates(program: &CStr, path: Option<&[u8]>) -> Vec<CString> {
    let name = program.to_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![program.to_owned()];
    }
    let directories = path.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':');
    let join = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        // A directory with a NUL in it does not exist.
        CString::new([directory, b"/", name].concat()).ok()
    };
    directories.filter_map(join).collect()
}

/// The child's plan, together with all that its pointers and numbers stand for.
struct Prepared<'a> {
    child: Child<'a>,
    report: OwnedFd,
    _error: OwnedFd,
    _copies: Vec<OwnedFd>,
}

impl<'a> Prepared<'a> {
    fn new(launch: &'a Launch) -> io::Result<Prepared<'a>> {
        if launch.argv.is_empty() || launch.descriptors.len() > MAX_DESCRIPTORS {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut copies = Vec::new();
        let mut numbers = [-1; MAX_DESCRIPTORS];
        for (number, descriptor) in numbers.iter_mut().zip(launch.descriptors) {
            if let Some(descriptor) = descriptor {
                *number = out_of_the_way(*descriptor, &mut copies)?;
            }
        }
        let home = launch.passage.and_then(|passage| passage.home);
        let home = home.map(|home| out_of_the_way(home, &mut copies)).transpose()?;
        let error = fds::pipe()?;
        fds::set_nonblocking(error.read.as_fd())?;
        let secrets = launch.secrets.iter().map(Slot::new).collect::<io::Result<Vec<_>>>()?;
        let mut env = pointers(launch.env);
        let end = env.pop();
        let numbered = launch.numbered.iter().map(|name| Numbered::new(name)).collect::<Vec<_>>();
        env.extend(secrets.iter().map(Slot::pointer).chain(numbered.iter().map(Numbered::pointer)).chain(end));
        let child = Child {
            argv: pointers(launch.argv),
            place: launch.place,
            foreground: launch.foreground,
            scripts: launch.passage.map(|_| launch.candidates.iter().map(|path| script(path, launch.argv)).collect()),
            passes: launch.passage.is_some(),
            env,
            secrets,
            file_user: FileUser::of(launch.identity).filter(|_| !launch.secrets.is_empty()),
            numbered,
            candidates: launch.candidates,
            own: launch.own,
            search: launch.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH),
            home,
            directory: launch.directory,
            ignore: launch.ignore,
            block: launch.block,
            who: identity::Prepared::new(launch.identity)?,
            descriptors: numbers,
            given: launch.descriptors.len(),
            error: error.write.as_raw_fd(),
            ceiling: ceiling(),
        };
        Ok(Prepared { child, report: error.read, _error: error.write, _copies: copies })
    }
}

/// The number under which the child finds it: 10 or higher, so that no `dup2` overwrites what a later one needs.
fn out_of_the_way(descriptor: BorrowedFd, copies: &mut Vec<OwnedFd>) -> io::Result<RawFd> {
    if descriptor.as_raw_fd() >= fds::LOWEST {
        return Ok(descriptor.as_raw_fd());
    }
    let copy = fds::duplicate(descriptor)?;
    let number = copy.as_raw_fd();
    copies.push(copy);
    Ok(number)
}

/// The null-terminated array that execve(2) wants. Borrowed strings outlive it by the lifetime of `Prepared`.
fn pointers(strings: &[impl AsRef<CStr>]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ref().as_ptr()).chain([ptr::null()]).collect()
}

/// What /bin/sh is given to run a script without `#!`.
fn script(path: &CStr, argv: &[CString]) -> Vec<*const c_char> {
    let arguments = argv.iter().skip(1).map(|string| string.as_ptr());
    [c"/bin/sh".as_ptr(), path.as_ptr()].into_iter().chain(arguments).chain([ptr::null()]).collect()
}

/// Where there is no `close_range`, the number after the highest that the child has to close one by one; `None` where there is.
fn ceiling() -> Option<RawFd> {
    // SAFETY: the range holds just the highest number there is, far above every limit: nothing is closed.
    if unsafe { raw::close_range(u32::MAX, u32::MAX) }.is_ok() {
        return None;
    }
    let names = std::fs::read_dir("/proc/self/fd").ok();
    let highest =
        names.and_then(|names| names.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max());
    Some(highest.map_or_else(descriptor_limit, |highest: RawFd| highest.saturating_add(1)))
}

/// The soft limit of open files that we were started with, but no more than 2^20, which takes a tenth of a second: some containers
/// set it to 2^30. What is above was opened CLOEXEC by us, or was handed to us on purpose.
fn descriptor_limit() -> RawFd {
    const MOST: u64 = 1 << 20;
    let soft = identity::limits_of(Resource::Nofile).map_or(MOST, |(soft, _)| soft.min(MOST));
    RawFd::try_from(soft).unwrap_or(RawFd::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(program: &CStr, path: Option<&[u8]>) -> Vec<String> {
        candidates(program, path).into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn a_program_is_looked_for_as_execvp_does() {
        assert_eq!(paths(c"sh", None), ["/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh"]);
        assert_eq!(paths(c"sh", Some(b"/a::b:")), ["/a/sh", "./sh", "b/sh", "./sh"]);
        assert_eq!(paths(c"./sh", Some(b"/a")), ["./sh"]);
        assert_eq!(paths(c"sh", Some(b"")), ["./sh"]);
        assert!(paths(c"", Some(b"/a")).is_empty());
    }
}
