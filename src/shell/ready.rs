//! Workers that say that they are ready: a line feed on a descriptor of their own.

use super::turn::Shell;
use crate::machine::Event;
use crate::model::{Notice, ProcId};
use crate::sys::fds;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Reads a turn, so that who writes without end holds up nobody. What comes before the line feed says nothing.
const READS: usize = 16;

/// What a readiness pipe had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Ready,
    /// Not yet; `poll` tells when there is more.
    Nothing,
    /// There is more to read, and this turn has read enough.
    More,
    /// Nobody can say it any more.
    Closed,
}

impl Shell {
    /// After the births, so that nobody is ready before it runs.
    pub(super) fn hear_readiness(&mut self) {
        for id in self.ready_due.take() {
            self.hear_ready(id);
        }
    }

    fn hear_ready(&mut self, id: ProcId) {
        let Some(proc) = self.table.get_mut(id) else { return };
        let Some(pipe) = &proc.ready else { return };
        match listen(pipe) {
            Heard::Nothing => {}
            Heard::More => self.ready_due.insert(id),
            Heard::Closed => proc.ready = None,
            Heard::Ready => {
                // The pipe stays open: who says it twice must not die of SIGPIPE.
                self.ready_due.insert(id);
                self.facts.push(Event::Notified { proc: id, notice: Notice::Ready });
            }
        }
    }
}

fn listen(pipe: &OwnedFd) -> Heard {
    let mut buffer = [0; 512];
    for _ in 0..READS {
        match fds::read(pipe.as_fd(), &mut buffer) {
            Ok(0) => return Heard::Closed,
            Ok(length) if buffer.get(..length).is_some_and(|read| read.contains(&b'\n')) => return Heard::Ready,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
            Err(_) => return Heard::Closed,
        }
    }
    Heard::More
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_says_ready_and_nothing_else_does() {
        let pipe = fds::pipe().unwrap();
        fds::set_nonblocking(pipe.read.as_fd()).unwrap();
        assert_eq!(listen(&pipe.read), Heard::Nothing);
        fds::write(pipe.write.as_fd(), b"soon").unwrap();
        assert_eq!(listen(&pipe.read), Heard::Nothing);
        fds::write(pipe.write.as_fd(), b"now\nand again\n").unwrap();
        assert_eq!(listen(&pipe.read), Heard::Ready);
        drop(pipe.write);
        assert_eq!(listen(&pipe.read), Heard::Closed);
    }
}
