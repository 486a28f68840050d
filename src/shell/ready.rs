//! Workers that say that they are ready: a line feed on a descriptor of their own.
//!
//! The pipe stays open after that, so that a program that writes again does not die of SIGPIPE. What it writes then says
//! nothing, and neither does what comes without a line feed: such a pipe is taken out of the poll set and read at most once
//! a second, until one look finds it empty.

use super::table::Topic;
use super::turn::Shell;
use crate::machine::Event;
use crate::model::{Notice, ProcId};
use crate::sys::{fds, permit};
use mio::Interest;
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Bytes that are read at a time: what a pipe holds.
const AT_ONCE: usize = 64 * 1024;
/// So many reads before the line feed may say nothing without a pause.
const PATIENCE: u32 = 16;
/// From one read of a paused pipe to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The read end of a readiness pipe.
#[derive(Debug)]
pub struct ReadyPipe {
    pipe: OwnedFd,
    /// The line feed came.
    told: bool,
    /// Reads that said nothing.
    useless: u32,
}

/// What one read of a readiness pipe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    line_feed: bool,
    bytes: usize,
    /// No process holds the other end any more.
    closed: bool,
    /// There may be more to read.
    more: bool,
}

impl ReadyPipe {
    pub fn new(pipe: OwnedFd) -> ReadyPipe {
        ReadyPipe { pipe, told: false, useless: 0 }
    }

    /// Whether what was heard is not worth a wake-up each time it comes.
    fn is_noisy(&mut self, heard: Heard) -> bool {
        let first = heard.line_feed && !self.told;
        if heard.bytes > 0 && !first {
            self.useless = self.useless.saturating_add(1);
        }
        self.told |= heard.line_feed;
        let patience = if self.told { 0 } else { PATIENCE };
        heard.more || (heard.bytes > 0 && self.useless > patience)
    }
}

impl AsRawFd for ReadyPipe {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pipe.as_raw_fd()
    }
}

impl Shell {
    /// After the births, so that no incarnation is ready before it runs.
    pub(super) fn hear_readiness(&mut self) {
        for id in self.ready_due.take() {
            self.hear_ready(id, false);
        }
    }

    /// `paused`: the pipe is out of the poll set, and its pause is over.
    pub(super) fn hear_ready(&mut self, id: ProcId, paused: bool) {
        let Some(proc) = self.table.get_mut(id) else { return };
        let Some(ready) = &mut proc.ready else { return };
        let heard = listen(&ready.pipe);
        if heard.line_feed && !ready.told {
            self.facts.push(Event::Notified { proc: id, notice: Notice::Ready });
        }
        let noisy = ready.is_noisy(heard);
        let source = &mut SourceFd(&ready.as_raw_fd());
        let (registry, topic) = (self.poll.registry(), Topic::Ready(id));
        if heard.closed {
            proc.ready = None;
            return;
        }
        // A call that fails leaves the pipe to the next look.
        let watched = match (paused, noisy) {
            (false, false) => Ok(true),
            (true, true) => Ok(false),
            (false, true) => registry.deregister(source).map(|()| false),
            (true, false) => {
                permit().and_then(|()| registry.register(source, topic.token(), Interest::READABLE)).map(|()| true)
            }
        };
        if !watched.unwrap_or(false) {
            self.paused.insert(topic, self.now + PAUSE);
        }
    }
}

fn listen(pipe: &OwnedFd) -> Heard {
    let mut heard = Heard { line_feed: false, bytes: 0, closed: false, more: true };
    let mut buffer = [0; 4096];
    while heard.bytes < AT_ONCE && heard.more {
        match fds::read(pipe.as_fd(), &mut buffer) {
            Ok(0) => (heard.closed, heard.more) = (true, false),
            Ok(length) => {
                heard.bytes += length;
                heard.line_feed |= buffer.get(..length).is_some_and(|read| read.contains(&b'\n'));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => heard.more = false,
            Err(_) => (heard.closed, heard.more) = (true, false),
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        let pipe = fds::pipe().unwrap();
        fds::set_nonblocking(pipe.read.as_fd()).unwrap();
        (pipe.read, pipe.write)
    }

    #[test]
    fn a_line_feed_says_ready_and_nothing_else_does() {
        let (read, write) = pipe();
        let nothing = Heard { line_feed: false, bytes: 0, closed: false, more: false };
        assert_eq!(listen(&read), nothing);
        fds::write(write.as_fd(), b"soon").unwrap();
        assert_eq!(listen(&read), Heard { bytes: 4, ..nothing });
        fds::write(write.as_fd(), b"now\nand again\n").unwrap();
        assert_eq!(listen(&read), Heard { bytes: 14, line_feed: true, ..nothing });
        drop(write);
        assert_eq!(listen(&read), Heard { closed: true, ..nothing });
    }

    #[test]
    fn a_full_pipe_is_read_at_once_and_no_more_than_that() {
        let (read, write) = pipe();
        fds::set_nonblocking(write.as_fd()).unwrap();
        let full = [b'y'; AT_ONCE];
        assert_eq!(fds::write(write.as_fd(), &full).unwrap(), AT_ONCE);
        let heard = listen(&read);
        assert_eq!((heard.bytes, heard.more), (AT_ONCE, true));
    }

    #[test]
    fn what_comes_after_the_line_feed_is_noise_and_a_little_before_it_is_not() {
        let heard = |bytes, line_feed| Heard { line_feed, bytes, closed: false, more: false };
        let mut pipe = ReadyPipe::new(pipe().0);
        for _ in 0..PATIENCE {
            assert!(!pipe.is_noisy(heard(1, false)));
        }
        assert!(pipe.is_noisy(heard(1, false)));
        let mut pipe = ReadyPipe::new(self::pipe().0);
        assert!(!pipe.is_noisy(heard(1, true)), "the line feed that says ready");
        assert!(!pipe.is_noisy(heard(0, false)), "nothing came");
        assert!(pipe.is_noisy(heard(1, true)));
        assert!(pipe.is_noisy(heard(2, false)));
    }
}
