//! The output of programs of another user, on its way to our terminal.
//!
//! A process that has a terminal open can do more than write to it: it can read what is typed, turn off Ctrl+C, and put input
//! into it (termios(3), `TIOCSTI`). A program that runs as another user than exeunt must not do so to the person at
//! exeunt's terminal. It gets a pipe in its place, and what it writes is passed on as it is.

use super::lane::{Lane, Mode, Piece, write_all};
use super::pipes::BUDGET;
use super::table::Topic;
use super::turn::{Shell, THREADS_AGAIN};
use crate::model::{InstanceId, ProcId, Signal, Time};
use crate::sys::fds::{self, End, Pipe};
use crate::sys::file_user::FileUser;
use crate::sys::{clock, permit};
use log::warn;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Pipes of so many incarnations of one instance stay open at most: what its processes leave behind may hold them.
const MOST_OF_AN_INSTANCE: usize = 4;

/// A terminal that takes nothing for so long is not waited for at the end.
const STILL: Duration = Duration::from_secs(1);

/// One of our own two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Output,
    Errors,
}

impl Stream {
    /// Our own open file, if it is a terminal.
    fn is_terminal(self) -> bool {
        self.with(fds::is_terminal)
    }

    fn with<T>(self, work: impl FnOnce(BorrowedFd) -> T) -> T {
        match self {
            Stream::Output => work(io::stdout().as_fd()),
            Stream::Errors => work(io::stderr().as_fd()),
        }
    }

    fn topic(self, id: ProcId) -> Topic {
        match self {
            Stream::Output => Topic::Output(id),
            Stream::Errors => Topic::Errors(id),
        }
    }
}

/// The pipes that a child gets in the place of our terminal.
#[derive(Debug, Default)]
pub struct Instead {
    pipes: Vec<(Stream, Pipe)>,
    /// Which of them becomes its descriptor 1, and which its descriptor 2.
    output: Option<usize>,
    errors: Option<usize>,
}

impl Instead {
    /// For a child of this user whose descriptors 1 and 2 would be these streams of ours. If both are one terminal, it gets one
    /// pipe for both, so that what it writes keeps its order.
    pub fn of(user: &FileUser, output: Option<Stream>, errors: Option<Stream>) -> io::Result<Instead> {
        let mut instead = Instead::default();
        let output = output.filter(|stream| stream.is_terminal());
        let errors = errors.filter(|stream| stream.is_terminal());
        let identity = |stream: Option<Stream>| stream.and_then(|stream| stream.with(fds::identity).ok());
        instead.output = output.map(|stream| instead.make(stream, user)).transpose()?;
        instead.errors = match errors {
            Some(_) if identity(errors) == identity(output) => instead.output,
            Some(stream) => Some(instead.make(stream, user)?),
            None => None,
        };
        Ok(instead)
    }

    fn make(&mut self, stream: Stream, user: &FileUser) -> io::Result<usize> {
        let pipe = fds::pipe()?;
        fds::set_nonblocking(pipe.read.as_fd())?;
        fds::give(&pipe, user, End::Write);
        self.pipes.push((stream, pipe));
        Ok(self.pipes.len() - 1)
    }

    /// The child's end in the place of its descriptor 1.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.end(self.output)
    }

    /// And of its descriptor 2.
    pub fn errors(&self) -> Option<BorrowedFd<'_>> {
        self.end(self.errors)
    }

    fn end(&self, index: Option<usize>) -> Option<BorrowedFd<'_>> {
        self.pipes.get(index?).map(|(_, pipe)| pipe.write.as_fd())
    }

    /// Our ends, when the child has its own.
    pub fn into_read_ends(self) -> Vec<(Stream, OwnedFd)> {
        self.pipes.into_iter().map(|(stream, pipe)| (stream, pipe.read)).collect()
    }
}

/// All that is passed on.
pub struct Relays {
    lane: Lane<Chunk>,
    open: BTreeMap<(ProcId, Stream), Relay>,
    /// Those that there is something to read from.
    due: BTreeSet<(ProcId, Stream)>,
    /// Room for one read; empty until it is needed.
    scratch: Vec<u8>,
    /// Bytes that our terminal took.
    written: Arc<AtomicU64>,
}

struct Relay {
    instance: InstanceId,
    pipe: OwnedFd,
    /// The beginning of a line whose end is still in the pipe.
    held: Vec<u8>,
}

struct Chunk {
    to: Stream,
    bytes: Vec<u8>,
}

impl Default for Relays {
    fn default() -> Relays {
        let written = Arc::new(AtomicU64::default());
        let count = written.clone();
        let lane = Lane::new("terminal", move |chunk: &mut Chunk, mode| write(chunk, mode, &count));
        Relays { lane, open: BTreeMap::new(), due: BTreeSet::new(), scratch: Vec::new(), written }
    }
}

impl Relays {
    /// Passes on what comes out of these pipes from now on.
    pub fn start(
        &mut self,
        id: ProcId,
        instance: InstanceId,
        pipes: Vec<(Stream, OwnedFd)>,
        registry: &Registry,
    ) -> io::Result<()> {
        for (stream, pipe) in pipes {
            self.close_the_oldest(instance, stream);
            permit()?;
            registry.register(&mut SourceFd(&pipe.as_raw_fd()), stream.topic(id).token(), Interest::READABLE)?;
            self.open.insert((id, stream), Relay { instance, pipe, held: Vec::new() });
        }
        Ok(())
    }

    pub fn ready(&mut self, id: ProcId, stream: Stream) {
        self.due.insert((id, stream));
    }

    /// Whether there is something to read, and room for it.
    pub fn are_due(&self, waker: &Arc<Waker>) -> bool {
        !self.due.is_empty() && !self.lane.is_choked(waker)
    }

    /// Whether output waits for a thread that cannot be had; tries again to have it.
    pub fn are_stranded(&self) -> bool {
        self.lane.is_stranded()
    }

    /// Reads one budget from each that is due. While the terminal does not take what it was given (Ctrl+S), nothing is read, and
    /// the programs wait as they would at the terminal itself.
    pub fn pass_on(&mut self, waker: &Arc<Waker>) {
        for key in std::mem::take(&mut self.due) {
            if self.lane.is_choked(waker) || self.read_one(key, BUDGET) {
                self.due.insert(key);
            }
        }
    }

    /// Whether there is more to read now.
    fn read_one(&mut self, key: (ProcId, Stream), most: usize) -> bool {
        let Some(relay) = self.open.get_mut(&key) else { return false };
        self.scratch.resize(BUDGET, 0);
        let room = self.scratch.get_mut(..most).unwrap_or_default();
        let told = fds::read(relay.pipe.as_fd(), room);
        let read = *told.as_ref().unwrap_or(&0);
        let ended = match &told {
            Ok(length) => *length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        let mut bytes = std::mem::take(&mut relay.held);
        bytes.extend_from_slice(room.get(..read).unwrap_or_default());
        // A pipe that gives less than it was asked for is empty: then the rest of a line is passed on too, for it may be a
        // question or a bar that shows progress.
        let more = read == room.len();
        if let (true, Some(last)) = (more, memchr::memrchr(b'\n', &bytes)) {
            relay.held = bytes.split_off(last + 1);
        }
        if !bytes.is_empty() {
            let length = bytes.len();
            self.lane.push(Chunk { to: key.1, bytes }, length);
        }
        if ended {
            self.open.remove(&key);
        }
        more
    }

    /// What is in the pipe now, and no more: whoever still holds it may write for ever.
    fn read_the_rest(&mut self, key: (ProcId, Stream)) {
        let unread = |relay: &Relay| fds::unread(relay.pipe.as_fd()).unwrap_or(0);
        let mut left = self.open.get(&key).map_or(0, unread);
        while left > 0 {
            let most = left.min(BUDGET);
            self.read_one(key, most);
            left -= most;
        }
        let held = self.open.remove(&key).map(|relay| relay.held).unwrap_or_default();
        let length = held.len();
        self.lane.push(Chunk { to: key.1, bytes: held }, length);
    }

    fn close_the_oldest(&mut self, instance: InstanceId, stream: Stream) {
        let same =
            |(key, relay): (&(ProcId, Stream), &Relay)| (relay.instance == instance && key.1 == stream).then_some(*key);
        let open = self.open.iter().filter_map(same).collect::<Vec<_>>();
        if let (Some(&oldest), true) = (open.first(), open.len() >= MOST_OF_AN_INSTANCE) {
            warn!("closing the output of a process that outlived {} earlier starts of its worker", open.len());
            self.read_the_rest(oldest);
        }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn finish(&mut self) {
        let keys = self.open.keys().copied().collect::<Vec<_>>();
        keys.into_iter().for_each(|key| self.read_the_rest(key));
    }
}

/// What the thread does. EIO is ignored: the terminal is gone.
fn write(chunk: &mut Chunk, mode: Mode, count: &AtomicU64) -> Piece {
    let took = |length: usize| _ = count.fetch_add(length as u64, Ordering::Relaxed);
    let Chunk { to, bytes } = chunk;
    match mode {
        Mode::Thread => {
            let _gone = to.with(|fd| write_all(fd, bytes, took));
            Piece::Last
        }
        Mode::Loop => to.with(|fd| {
            if !fds::has_room(fd, || Some(Duration::ZERO)) {
                return Piece::Stuck;
            }
            match fds::write(fd, bytes.get(..fds::ALWAYS_ROOM).unwrap_or(bytes)) {
                Ok(written) if (1..bytes.len()).contains(&written) => {
                    took(written);
                    bytes.drain(..written);
                    Piece::Part
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Piece::Stuck,
                Ok(_) | Err(_) => Piece::Last,
            }
        }),
    }
}

impl Shell {
    /// When everybody has left: all that they wrote, before the report. It is waited for while the terminal takes something at least
    /// once a second, until `deadline`, and until INT.
    pub(super) fn pass_on_the_last_output(&mut self, deadline: Option<Time>) {
        self.relays.finish();
        let waker = self.waker.clone();
        let mut readiness = Events::with_capacity(16);
        let (mut written, mut moved) = (self.relays.written(), clock::now());
        while !self.relays.lane.is_at_rest(&waker) {
            let now = clock::now();
            if self.relays.written() != std::mem::replace(&mut written, self.relays.written()) {
                moved = now;
            }
            let until = deadline.map_or(moved + STILL, |deadline| deadline.min(moved + STILL));
            if now >= until || self.signals.pending().contains(&Signal::INT) {
                return;
            }
            let left = if self.relays.are_stranded() { until.since(now).min(THREADS_AGAIN) } else { until.since(now) };
            let _interrupted = self.poll.poll(&mut readiness, Some(left));
        }
    }
}
