//! Our ends of a worker's pipes: items out with frame boundaries, replies in.

use crate::model::{Payload, Reply, Token, Window};
use crate::sys::fds;
use crate::wire::worker::{self, Garbled, ReplyReader};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes that one pipe may move in a turn, so that nobody holds up a stop.
pub const BUDGET: usize = 64 * 1024;
/// Bytes that are read in one turn from a pipe whose leader is dead. No end follows from it: a pipe may hold more (pipe(7)).
pub const DRAIN: usize = 1024 * 1024;
/// Of a buffer that was larger than this no more is kept.
const KEPT_CAPACITY: usize = 256 * 1024;

/// How a pipe stands after it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing more to do, or nothing can be done, until `poll` says so.
    Waiting,
    /// The budget is used up and there is more to do.
    More,
    /// End of file, or closed on order, or of no use any more.
    Ended,
}

/// How much of a reply pipe is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// A part, for the worker lives and others wait for us.
    Some,
    /// All that is there now, within a larger budget: its leader is dead.
    All,
}

/// Frames on their way into an item pipe. Knows which are begun, which are written, and which are not answered yet.
/// Positions are counted in bytes from the pipe's beginning.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes not written yet stand from `cursor` on.
    bytes: Vec<u8>,
    cursor: usize,
    written: u64,
    /// Start and end of the frames that are not written to their end.
    open: VecDeque<(u64, u64)>,
    /// Start of the frames that no verdict was read for.
    unanswered: Window<u64>,
}

impl Frames {
    pub fn push(&mut self, token: Token, payload: &[u8]) {
        let start = self.queued();
        worker::encode_item(token, payload, &mut self.bytes);
        self.open.push_back((start, self.queued()));
        self.unanswered.push(token, start);
    }

    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.cursor..).unwrap_or_default()
    }

    /// So many of the pending bytes are written. Answers how many frames that completes.
    pub fn advance(&mut self, length: usize) -> u32 {
        self.cursor += length;
        self.written += length as u64;
        let mut completed = 0;
        while self.open.front().is_some_and(|&(_, end)| end <= self.written) {
            self.open.pop_front();
            completed += 1;
        }
        let pending = self.pending().len();
        if pending == 0 {
            self.cursor = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY);
        } else if self.cursor >= KEPT_CAPACITY.max(pending) {
            // A worker that always lags behind must not make us keep all that it ever read. No byte is moved twice for
            // less than one that was written.
            self.bytes.drain(..self.cursor);
            self.cursor = 0;
        }
        completed
    }

    /// Forgets the frames that are not begun; the one that is stays to its end.
    pub fn cut(&mut self) {
        let written = self.written;
        let begun = self.open.front().filter(|&&(start, _)| start < written);
        let end = begun.map_or(written, |&(_, end)| end);
        self.bytes.truncate(self.cursor + usize::try_from(end - written).unwrap_or(0));
        self.open.retain(|&(start, _)| start < end);
        self.unanswered.cut(|&start| start < end);
    }

    /// A verdict was read for this token.
    pub fn settle(&mut self, token: Token) {
        let _it_may_have_been_cut = self.unanswered.take(token);
    }

    /// Whether at least a byte of the oldest unanswered frame was read, given how many bytes lie unread in the pipe.
    pub fn in_hand(&self, unread: usize) -> bool {
        let read = self.written.saturating_sub(unread as u64);
        self.unanswered.oldest().is_some_and(|(_, &start)| start < read)
    }

    fn queued(&self) -> u64 {
        self.written + self.pending().len() as u64
    }
}

/// The item pipe of one incarnation.
#[derive(Debug)]
pub struct ItemPipe {
    pub frames: Frames,
    /// `None` once it is closed: the worker reads the end of file.
    write: Option<OwnedFd>,
    /// The worker's end, kept to ask how much of it is unread when our own is closed.
    read: OwnedFd,
    /// Close when the frame that is begun is written.
    closing: bool,
}

/// What a write came to, for `Event::Wrote`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub frames: u32,
    pub progress: bool,
}

impl ItemPipe {
    /// `write` must be non-blocking.
    pub fn new(read: OwnedFd, write: OwnedFd) -> ItemPipe {
        ItemPipe { frames: Frames::default(), write: Some(write), read, closing: false }
    }

    pub fn write_end(&self) -> Option<&OwnedFd> {
        self.write.as_ref()
    }

    pub fn push(&mut self, token: Token, payload: &Payload) {
        if !self.closing {
            self.frames.push(token, payload);
        }
    }

    /// No frame is begun from now on. Takes effect with the next [`flush`](Self::flush).
    pub fn close(&mut self) {
        self.closing = true;
        self.frames.cut();
    }

    /// Writes what the pipe takes, within the budget.
    pub fn flush(&mut self) -> (Written, Standing) {
        let mut written = Written::default();
        let Some(pipe) = &self.write else { return (written, Standing::Ended) };
        let mut budget = 4 * BUDGET;
        while !self.frames.pending().is_empty() {
            if budget == 0 {
                return (written, Standing::More);
            }
            let pending = self.frames.pending();
            match fds::write(pipe.as_fd(), pending.get(..budget).unwrap_or(pending)) {
                Ok(length) => {
                    let full = length < pending.len().min(budget);
                    budget = budget.saturating_sub(length);
                    written.frames += self.frames.advance(length);
                    written.progress = true;
                    if full {
                        return (written, Standing::Waiting);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (written, Standing::Waiting),
                // Nobody can read it, for we hold a read end ourselves; still, a pipe that fails is of no use.
                Err(_) => {
                    self.write = None;
                    return (written, Standing::Ended);
                }
            }
        }
        if self.closing {
            self.write = None;
            return (written, Standing::Ended);
        }
        (written, Standing::Waiting)
    }

    /// Whether the worker had read at least a byte of its oldest unanswered item; true where that cannot be known.
    pub fn in_hand(&self) -> bool {
        let unread = fds::unread(self.read.as_fd()).unwrap_or(0);
        self.frames.in_hand(unread)
    }
}

/// The reply pipe of one incarnation.
#[derive(Debug)]
pub struct ReplyPipe {
    pub read: OwnedFd,
    reader: ReplyReader,
    /// `poll` told that the last writer closed it. That is told once, perhaps together with the last bytes.
    pub hung_up: bool,
    last: Option<Last>,
}

/// How far [`ReplyPipe::hear_last`] has come.
#[derive(Clone, Copy, Debug)]
struct Last {
    empty: bool,
    /// Bytes that are still to be read.
    left: usize,
}

impl ReplyPipe {
    /// `read` must be non-blocking.
    pub fn new(read: OwnedFd) -> ReplyPipe {
        ReplyPipe { read, reader: ReplyReader::new(), hung_up: false, last: None }
    }

    /// One read, and the replies that end in it. An error is the end of all reading.
    pub fn hear(&mut self, scratch: &mut [u8], tell: impl FnMut(Reply)) -> Result<Standing, Garbled> {
        match fds::read(self.read.as_fd(), scratch) {
            Ok(0) => Ok(Standing::Ended),
            Ok(length) => {
                self.reader.feed(scratch.get(..length).unwrap_or_default(), tell)?;
                // A pipe that gives less than it was asked for is empty (epoll(7)): what comes later is told by `poll`, but
                // not an end of file that it told of before.
                let ends = std::mem::take(&mut self.hung_up);
                Ok(if length < scratch.len() && !ends { Standing::Waiting } else { Standing::More })
            }
            Err(error) => cannot_read(error),
        }
    }

    /// Reads and tells until the pipe is empty or at its end, or `budget` bytes are read. Answers how many were.
    pub fn hear_many(
        &mut self,
        scratch: &mut [u8],
        budget: usize,
        mut tell: impl FnMut(Reply),
    ) -> Result<(usize, Standing), Garbled> {
        let mut heard = 0;
        while heard < budget {
            match fds::read(self.read.as_fd(), scratch) {
                Ok(0) => return Ok((heard, Standing::Ended)),
                Ok(length) => {
                    heard += length;
                    self.reader.feed(scratch.get(..length).unwrap_or_default(), &mut tell)?;
                }
                Err(error) => return cannot_read(error).map(|standing| (heard, standing)),
            }
        }
        Ok((heard, Standing::More))
    }

    /// Reads and tells what was in the pipe when this was first called with this `empty` (no process is left that it counts
    /// for), within a turn's budget. `More`: call again. What comes after it is from a process that is not the worker's, or it
    /// is found by the next call; neither may keep us here for ever.
    pub fn hear_last(&mut self, empty: bool, scratch: &mut [u8], tell: impl FnMut(Reply)) -> Result<Standing, Garbled> {
        let begun = self.last.filter(|last| last.empty == empty).map(|last| last.left);
        let left = begun.map_or_else(|| fds::unread(self.read.as_fd()), Ok).unwrap_or(0);
        let (heard, standing) = self.hear_many(scratch, DRAIN, tell)?;
        let left = left.saturating_sub(heard);
        let is_more = standing == Standing::More && left > 0;
        self.last = is_more.then_some(Last { empty, left });
        Ok(if standing == Standing::More && !is_more { Standing::Waiting } else { standing })
    }
}

/// Deaf to a worker, we would wait for ever for what it says: it is stopped, as one that says nonsense.
fn cannot_read(error: io::Error) -> Result<Standing, Garbled> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(Standing::Waiting),
        _ => Err(Garbled(format!("(it cannot be read: {error})").into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_pipe_that_cannot_be_read_is_a_protocol_error() {
        // The wrong end: EBADF.
        let wrong = || ReplyPipe::new(fds::pipe().unwrap().write);
        assert!(wrong().hear(&mut [0; 8], |_| ()).is_err());
        assert!(wrong().hear_many(&mut [0; 8], 1, |_| ()).is_err());
        assert!(wrong().hear_last(true, &mut [0; 8], |_| ()).is_err());
    }

    /// 4096 bytes are what any pipe holds; the budget of the test is smaller than the pipe.
    #[test]
    fn a_budget_is_no_end_and_what_was_there_is_heard_by_asking_again() {
        let ends = fds::pipe().unwrap();
        fds::set_nonblocking(ends.read.as_fd()).unwrap();
        let mut pipe = ReplyPipe::new(ends.read);
        fds::write(ends.write.as_fd(), "ok 1.1\n".repeat(100).as_bytes()).unwrap();
        let (mut heard, mut scratch) = (0, [0; 70]);
        let (read, standing) = pipe.hear_many(&mut scratch, 100, |_| heard += 1).unwrap();
        assert_eq!((read, standing, heard), (140, Standing::More, 20));
        assert_eq!(pipe.hear_last(true, &mut scratch, |_| heard += 1).unwrap(), Standing::Waiting);
        assert_eq!(heard, 100);
    }

    /// As a process does that is in a session of its own and still has the pipe.
    #[test]
    fn one_that_writes_for_ever_does_not_keep_the_last_words_from_ending() {
        let ends = fds::pipe().unwrap();
        fds::set_nonblocking(ends.read.as_fd()).unwrap();
        fds::set_nonblocking(ends.write.as_fd()).unwrap();
        let mut pipe = ReplyPipe::new(ends.read);
        let line = "ok 1.1\n".repeat(500);
        let mut scratch = [0; 4096];
        let mut calls = 0;
        let standing = loop {
            let flood = |_| _ = fds::write(ends.write.as_fd(), line.as_bytes());
            flood(());
            calls += 1;
            match pipe.hear_last(true, &mut scratch, |_| flood(())).unwrap() {
                Standing::More if calls < 100 => {}
                standing => break standing,
            }
        };
        assert_eq!(standing, Standing::Waiting, "after {calls} calls");
    }

    fn token(seq: u64) -> Token {
        Token { seq, delivery: 1 }
    }

    /// Three frames of six bytes each: `1.1 a\n`, `2.1 b\n`, `3.1 c\n`.
    fn three() -> Frames {
        let mut frames = Frames::default();
        for (seq, payload) in [(1, b"a"), (2, b"b"), (3, b"c")] {
            frames.push(token(seq), payload);
        }
        frames
    }

    #[test]
    fn frames_count_when_they_are_written_to_their_end() {
        let mut frames = three();
        assert_eq!([frames.advance(5), frames.advance(1), frames.advance(11), frames.advance(1)], [0, 1, 1, 1]);
        assert_eq!(frames.pending(), b"");
        frames.push(token(4), b"d");
        assert_eq!(frames.pending(), b"4.1 d\n");
    }

    #[test]
    fn f70_what_a_lagging_worker_has_read_is_not_kept() {
        let mut frames = Frames::default();
        let payload = [b'x'; 1000];
        (0..1000).for_each(|seq| frames.push(token(seq), &payload));
        let behind = frames.pending().len();
        for seq in 1000..100_000 {
            frames.push(token(seq), &payload);
            frames.settle(token(seq - 1000));
            frames.advance(1003 + seq.to_string().len());
            assert!(frames.bytes.len() <= 3 * behind, "{} bytes after {seq} items", frames.bytes.len());
        }
    }

    #[test]
    fn a_cut_keeps_the_frame_that_is_begun_and_no_other() {
        for (written, left) in [(0, ""), (1, ".1 a\n"), (6, ""), (7, ".1 b\n"), (17, "\n"), (18, "")] {
            let mut frames = three();
            frames.advance(written);
            frames.cut();
            assert_eq!(frames.pending(), left.as_bytes(), "after {written} bytes");
            let last = frames.advance(left.len());
            assert_eq!(last, u32::from(!left.is_empty()), "after {written} bytes");
        }
    }

    #[test]
    fn what_is_cut_is_no_longer_unanswered() {
        let mut frames = three();
        frames.advance(7);
        frames.cut();
        assert_eq!(frames.unanswered.drain().collect::<Vec<_>>(), [0, 6]);
    }

    #[test]
    fn an_item_is_in_hand_once_a_byte_of_it_was_read() {
        let mut frames = three();
        frames.advance(18);
        assert!(!frames.in_hand(18));
        assert!(frames.in_hand(17));
        frames.settle(token(1));
        assert!(!frames.in_hand(12));
        assert!(frames.in_hand(11));
        frames.settle(token(3));
        frames.settle(token(2));
        assert!(!frames.in_hand(0));
    }
}
