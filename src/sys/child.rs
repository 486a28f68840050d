//! What a forked child does until it becomes another program. Only system calls on what was prepared before the fork: the
//! child has one thread of a process that may have had several, so a lock or the allocator may be held for ever.

use super::file_head::{self, FileId, HEAD_BYTES};
use super::file_user::FileUser;
use super::numbered::Numbered;
use super::secret::{self, Slot};
use super::spawn::MAX_DESCRIPTORS;
use super::{identity, raw};
use crate::model::plan::Place;
use crate::model::{Seen, SignalSet, SpawnError, Stage};
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::RawFd;

/// The number of the stage and the errno, both in native order: what a report begins with.
const STEP_BYTES: usize = 8;
/// The most that the error pipe carries: the step, then one byte that says what follows, and the first bytes of a file. Below
/// PIPE_BUF, so that it is written and read whole.
pub const REPORT_BYTES: usize = STEP_BYTES + 1 + HEAD_BYTES;
/// What follows the step.
const HEAD: u8 = 1;
const STARTS_ITSELF: u8 = 2;
/// The exit code of a child that could not become its program.
const NOT_STARTED: i32 = 127;

/// All that the child looks at.
pub struct Child<'a> {
    /// Null-terminated, as execve wants it.
    pub argv: Vec<*const c_char>,
    /// For each candidate, /bin/sh and the script that it may be; `None` where no shell is to be tried.
    pub scripts: Option<Vec<Vec<*const c_char>>>,
    pub env: Vec<*const c_char>,
    /// What the last pointers of `env` point to.
    pub secrets: Vec<Slot<'a>>,
    /// With whose rights their files are opened where others may write; see [`open`](super::open::open).
    pub file_user: Option<FileUser>,
    pub numbered: Vec<Numbered>,
    pub candidates: &'a [CString],
    /// Our own program, which must not be the interpreter of what is executed.
    pub own: Option<FileId>,
    /// The program's PATH.
    pub search: &'a [u8],
    /// Where it starts, 10 or higher, before it goes anywhere else.
    pub home: Option<RawFd>,
    pub directory: Option<&'a CStr>,
    pub ignore: SignalSet,
    pub block: SignalSet,
    pub who: identity::Prepared,
    /// What becomes 0, 1, …, each number 10 or higher; -1 is closed. Those from `given` on are not looked at.
    pub descriptors: [RawFd; MAX_DESCRIPTORS],
    pub given: usize,
    /// Descriptors that are not given stay open.
    pub passes: bool,
    pub place: Place,
    pub foreground: bool,
    /// Write end of the error pipe, 10 or higher, CLOEXEC.
    pub error: RawFd,
    /// Close one by one up to here, where there is no `close_range`.
    pub ceiling: Option<RawFd>,
}

/// Becomes the program, or tells why not and leaves. To be called in a forked child with all signals blocked.
pub fn run(child: &mut Child) -> ! {
    let mut report = [0; REPORT_BYTES];
    let length = tell(child, &mut report);
    // The bytes go whole or not at all; if they do not, the exit code still says it.
    // SAFETY: a live buffer of at least that length; a wrong descriptor is only an error.
    unsafe { libc::write(child.error, report.as_ptr().cast(), length) };
    // SAFETY: `_exit` runs no handlers of the process we are a copy of.
    unsafe { libc::_exit(NOT_STARTED) }
}

/// The failed step, and what there is to say of the file. Answers the length of it.
fn tell(child: &mut Child, report: &mut [u8; REPORT_BYTES]) -> usize {
    let (error, starts_itself) = attempt(child);
    let (step, rest) = report.split_at_mut(STEP_BYTES);
    step.copy_from_slice(&encode(error));
    let Some((kind, room)) = rest.split_first_mut().filter(|_| error.stage == Stage::Exec) else { return STEP_BYTES };
    if starts_itself {
        *kind = STARTS_ITSELF;
        return STEP_BYTES + 1;
    }
    match file_head::see(child.candidates.iter().map(CString::as_c_str), room) {
        Some(length) => {
            *kind = HEAD;
            STEP_BYTES + 1 + length
        }
        None => STEP_BYTES,
    }
}

/// Why the program could not be started, and whether it would have started itself without end.
fn attempt(child: &mut Child) -> (SpawnError, bool) {
    if let Err((stage, error)) = prepare(child) {
        return (SpawnError { stage, errno: raw::errno_of(&error) }, false);
    }
    // Last, when every disposition is what the program shall find: what waited for us strikes here.
    raw::set_mask(child.block.bits());
    let (errno, starts_itself) = exec(child);
    (SpawnError { stage: Stage::Exec, errno }, starts_itself)
}

fn prepare(child: &mut Child) -> Result<(), (Stage, io::Error)> {
    let at = |stage: Stage| move |error: io::Error| (stage, error);
    take_place(child).map_err(at(Stage::Session))?;
    descriptors(child).map_err(at(Stage::Descriptors))?;
    dispositions(child).map_err(at(Stage::Signals))?;
    // With our own rights still, where the path is in trusted hands: the program need not be able to read them again.
    secret::fill(&mut child.secrets, child.file_user.as_ref())?;
    child.numbered.iter_mut().for_each(Numbered::fill);
    identity::take_on(&child.who)?;
    directory(child).map_err(at(Stage::Directory))?;
    identity::die_with_parent(&child.who).map_err(at(Stage::ParentDeath))
}

fn take_place(child: &Child) -> io::Result<()> {
    match child.place {
        Place::Session => {
            // SAFETY: setsid has no preconditions.
            raw::check(unsafe { libc::setsid() }).map(drop)
        }
        Place::Terminal => {
            // SAFETY: setpgid takes two integers; 0 and 0 mean this process and a group of its own number.
            raw::check(unsafe { libc::setpgid(0, 0) })?;
            // All signals are blocked, TTOU too, so that a group in the background may take the foreground. If the terminal
            // is gone meanwhile, the program will see that for itself.
            if child.foreground {
                // SAFETY: both calls take integers.
                unsafe { libc::tcsetpgrp(0, libc::getpid()) };
            }
            Ok(())
        }
        Place::Beside => Ok(()),
    }
}

/// Puts the given descriptors in place and closes everything else but the error pipe, at once and not by exec, so
/// that a chdir or exec that hangs holds nobody's pipe.
fn descriptors(child: &Child) -> io::Result<()> {
    for (target, &source) in (0..).zip(child.descriptors.iter().take(child.given)) {
        if source < 0 {
            if !child.passes {
                close(target);
            }
        } else {
            replace(source, target)?;
        }
    }
    if child.passes {
        return Ok(());
    }
    let first = RawFd::try_from(child.given).unwrap_or(0);
    close_between(first, child.error, child.ceiling);
    close_above(child.error, child.ceiling);
    Ok(())
}

/// `dup2`; the new descriptor stays open over exec.
fn replace(source: RawFd, target: RawFd) -> io::Result<()> {
    loop {
        // SAFETY: what stood at `target` belongs to the parent's copy of the table; nothing in this child uses it.
        match raw::check(unsafe { libc::dup2(source, target) }) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            told => return told.map(drop),
        }
    }
}

/// Closes `first` up to, not including, `end`.
fn close_between(first: RawFd, end: RawFd, ceiling: Option<RawFd>) {
    if let (None, Ok(from), Ok(last)) = (ceiling, u32::try_from(first), u32::try_from(end - 1)) {
        // SAFETY: nothing in this child uses a descriptor but those below `first` and the error pipe.
        if unsafe { raw::close_range(from, last) }.is_ok() {
            return;
        }
    }
    (first..end).for_each(close);
}

/// Closes all above this one.
fn close_above(keep: RawFd, ceiling: Option<RawFd>) {
    match (ceiling, u32::try_from(keep)) {
        (None, Ok(keep)) => {
            // It worked when the parent tried it; should it fail now, CLOEXEC is the second net.
            // SAFETY: nothing in this child uses a descriptor above the error pipe's.
            let _ = unsafe { raw::close_range(keep + 1, u32::MAX) };
        }
        (Some(ceiling), _) => (keep + 1..ceiling).for_each(close),
        (None, Err(_)) => {}
    }
}

fn close(fd: RawFd) {
    // SAFETY: nothing in this child uses it; closing what is not open is only an error.
    unsafe { libc::close(fd) };
}

/// All 64 to their default, then those to ignore. 32 and 33 too, which libc keeps to itself: exec would hand them on.
fn dispositions(child: &Child) -> io::Result<()> {
    for signal in SignalSet::FULL.iter() {
        if !matches!(signal.number(), libc::SIGKILL | libc::SIGSTOP) {
            raw::set_ignored(signal.number(), child.ignore.contains(signal))?;
        }
    }
    Ok(())
}

fn directory(child: &Child) -> io::Result<()> {
    if let Some(home) = child.home {
        // SAFETY: takes an integer.
        raw::check(unsafe { libc::fchdir(home) })?;
    }
    match child.directory {
        // SAFETY: a CStr is null-terminated and lives as long as the plan.
        Some(path) => raw::check(unsafe { libc::chdir(path.as_ptr()) }).map(drop),
        None => Ok(()),
    }
}

/// Tries the candidates as execvp(3) does, but gives a script without `#!` to /bin/sh only where that is wanted. Returns only if none could be executed, with the
/// errno that tells most: a file that is there and may not be executed over one that is not there; and whether it is one that would
/// start itself without end, for which ELOOP stands, as for interpreters that are nested too deep.
fn exec(child: &Child) -> (i32, bool) {
    let mut worst = None;
    for (index, path) in child.candidates.iter().enumerate() {
        if child.own.is_some_and(|own| file_head::starts_itself(path, own, child.search)) {
            return (libc::ELOOP, true);
        }
        // SAFETY: path, argv and env are null-terminated and live as long as the plan.
        unsafe { libc::execve(path.as_ptr(), child.argv.as_ptr(), child.env.as_ptr()) };
        let errno = raw::errno();
        let script = child.scripts.as_ref().and_then(|scripts| scripts.get(index));
        if let (libc::ENOEXEC, Some(script)) = (errno, script) {
            // A shell would take the bytes of a program for another machine for commands.
            if !is_elf(path) {
                // SAFETY: as above.
                unsafe { libc::execve(c"/bin/sh".as_ptr(), script.as_ptr(), child.env.as_ptr()) };
            }
            return (libc::ENOEXEC, false);
        }
        match next_path(worst, errno) {
            Ok(so_far) => worst = Some(so_far),
            Err(errno) => return (errno, false),
        }
    }
    (worst.unwrap_or(libc::ENOENT), false)
}

fn is_elf(path: &CStr) -> bool {
    let mut magic = [0; 4];
    file_head::head(path, &mut magic) == Some(4) && magic == *b"\x7fELF"
}

/// Whether the next path is to be tried after this errno, as execvp(3) decides it: the errno that tells most by now, or in the error
/// the one to give up with.
fn next_path(worst: Option<i32>, errno: i32) -> Result<i32, i32> {
    match (errno, worst) {
        (libc::EACCES, _) | (libc::ENOENT, None) => Ok(errno),
        (libc::ENOENT, Some(libc::EACCES)) => Ok(libc::EACCES),
        (libc::ENOENT, Some(_)) => Ok(libc::ENOENT),
        // A directory that is none, or whose file server does not answer.
        (libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT, _) => Ok(worst.unwrap_or(errno)),
        (errno, _) => Err(errno),
    }
}

fn encode(error: SpawnError) -> [u8; STEP_BYTES] {
    let [s, t, u, v] = error.stage.number().to_ne_bytes();
    let [a, b, c, d] = error.errno.to_ne_bytes();
    [s, t, u, v, a, b, c, d]
}

/// What [`run`] wrote. `None` where it is no report.
pub fn decode(report: &[u8]) -> Option<(SpawnError, Seen)> {
    let (step, rest) = report.split_first_chunk::<STEP_BYTES>()?;
    let [s, t, u, v, a, b, c, d] = *step;
    let stage = Stage::from_number(u32::from_ne_bytes([s, t, u, v])).unwrap_or(Stage::Prepare);
    let seen = match rest.split_first() {
        Some((&HEAD, head)) => Seen::Head(head.to_vec()),
        Some((&STARTS_ITSELF, _)) => Seen::StartsItself,
        Some(_) | None => Seen::Nothing,
    };
    Some((SpawnError { stage, errno: i32::from_ne_bytes([a, b, c, d]) }, seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_answer_hides_no_program() {
        use libc::{EACCES, ENOENT, ENOEXEC, ENOTDIR, ESTALE, ETIMEDOUT};
        let told = |errnos: &[i32]| {
            errnos.iter().try_fold(None, |worst, &errno| next_path(worst, errno).map(Some)).map(Option::unwrap)
        };
        assert_eq!(told(&[ESTALE, ETIMEDOUT, ENOENT]), Ok(ENOENT));
        assert_eq!(told(&[ENOTDIR, ESTALE]), Ok(ENOTDIR));
        assert_eq!(told(&[ENOENT, EACCES, ENOENT, ESTALE]), Ok(EACCES));
        assert_eq!(told(&[ENOENT, ENOEXEC, ENOENT]), Err(ENOEXEC));
    }

    #[test]
    fn every_stage_and_errno_comes_back_as_it_was_told() {
        for stage in Stage::all() {
            for errno in [libc::ENOENT, libc::E2BIG, 4095] {
                let error = SpawnError { stage, errno };
                assert_eq!(decode(&encode(error)), Some((error, Seen::Nothing)));
            }
        }
    }
}
