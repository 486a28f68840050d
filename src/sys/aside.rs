//! A look at the world that may hang, taken by somebody who can be killed for it.

use super::{Pid, clock, fds, raw};
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What came of it.
#[derive(Debug)]
pub struct Aside {
    /// `TimedOut` when patience was over; else an error is one of pipe(2) or fork(2), or `UnexpectedEof` if the copy died.
    pub answer: io::Result<Vec<u8>>,
    /// A copy that hangs so deep in the kernel that KILL did not help yet. It is a child of ours.
    pub left: Option<Pid>,
}

/// Runs `work` in a copy of this process, which is killed when its answer takes longer than `patience`. A thread would not do: one that
/// hangs in a file system cannot be got rid of, and makes everybody hang who looks at the same place. To be called while the
/// process has one thread and all signals are blocked, as they are after [`first_steps`](super::init::first_steps).
pub fn aside(patience: Duration, work: impl FnOnce() -> Vec<u8>) -> Aside {
    let pipe = match fds::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return Aside { answer: Err(error), left: None },
    };
    let us = raw::own_pid();
    // SAFETY: the process has one thread (the caller's promise), so the copy is whole: no lock is held by a thread that is
    // not there. The copy leaves by `_exit` below, whatever happens in it.
    match raw::call(|| unsafe { libc::fork() }) {
        Err(error) => Aside { answer: Err(error), left: None },
        Ok(0) => {
            leave_with(us);
            copy(pipe, work)
        }
        Ok(pid) => {
            drop(pipe.write);
            let answer = heard(&pipe.read, patience);
            Aside { answer, left: end(pid, &pipe.read) }
        }
    }
}

/// Should the original be killed, the copy goes too, and hangs nowhere for ever.
fn leave_with(original: Pid) {
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    // It may have died before that was said.
    // SAFETY: getppid has no arguments; `_exit` runs no handlers of the process we are a copy of.
    if unsafe { libc::getppid() } != original {
        // SAFETY: as above.
        unsafe { libc::_exit(1) };
    }
}

fn copy(pipe: fds::Pipe, work: impl FnOnce() -> Vec<u8>) -> ! {
    let told = catch_unwind(AssertUnwindSafe(|| {
        let answer = work();
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            match fds::write(pipe.write.as_fd(), rest) {
                Ok(count @ 1..) => rest = rest.get(count..).unwrap_or_default(),
                Ok(0) | Err(_) => return false,
            }
        }
        // The mark of a whole answer.
        fds::write(pipe.write.as_fd(), &[0]).is_ok()
    }));
    // SAFETY: `_exit` runs no handlers of the process we are a copy of.
    unsafe { libc::_exit(i32::from(!told.unwrap_or(false))) }
}

/// Reads to the end of the pipe, bounded by patience.
fn heard(read: &impl AsFd, patience: Duration) -> io::Result<Vec<u8>> {
    let until = clock::now() + patience;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if !readable(read, until.since(clock::now())) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match fds::read(read.as_fd(), &mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    match answer.pop() {
        Some(0) => Ok(answer),
        Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Kills and reaps the copy. Where it does not die within a moment, it is told who is left.
fn end(pid: Pid, read: &impl AsFd) -> Option<Pid> {
    const MOMENT: Duration = Duration::from_millis(200);
    // It is our unreaped child, so the number is its own. Should it be dead already, this does nothing.
    let _dead_or_dying = raw::kill(pid, libc::SIGKILL);
    // The last holder of the other end lets go of it when it dies, a little before it can be reaped.
    let until = clock::now() + MOMENT;
    while readable(read, until.since(clock::now())) {
        match fds::read(read.as_fd(), &mut [0; 4096]) {
            Ok(1..) => {}
            Ok(0) | Err(_) => {
                // SAFETY: our unreaped child; no status is asked for.
                let _reaped = raw::call(|| unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) });
                return None;
            }
        }
    }
    Some(pid)
}

/// Whether there is something to read, or an end, within this time.
fn readable(read: &impl AsFd, within: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // Rounded up: the last part of a millisecond is waited for too.
    let millis = u16::try_from(within.as_millis() + 1).unwrap_or(u16::MAX);
    let mut asked = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::from(millis)).is_ok_and(|count| count > 0)
}
