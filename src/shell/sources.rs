//! Where items come from: our stdin, and the stdout of command sources.

use super::pipes::{BUDGET, Standing};
use super::table::Topic;
use crate::machine::{Event, SourceEnd};
use crate::model::plan::{Feed, Plan};
use crate::model::{Payload, ProcId, SourceId};
use crate::sys::fds::{self, StdinKind};
use crate::sys::permit;
use crate::wire::frames::{Frame, Splitter};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Of items that are shorter than this less is read at once, so that they stay in the cache until they are given out.
const SHORT: usize = 128;
const SHORT_CHUNK: usize = 16 * 1024;
/// So many items are submitted at once: a list of them is a small block to the allocator. (A large one would make glibc's
/// merge all small blocks that are free, which are just what the next items need.)
const AT_ONCE: usize = 60;

pub struct Sources(Vec<Source>);

/// Where items that were given up or left undone wait to be written, and too many do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glut {
    pub disk: bool,
    pub stderr: bool,
}

struct Source {
    id: SourceId,
    inlet: Inlet,
    splitter: Splitter,
    /// What becomes of its items ends in files, for their queue has leftovers; else on stderr.
    has_file: bool,
    /// The last chunk was one of short items.
    short_items: bool,
    paused: bool,
    /// An unterminated last item does not count.
    distrusted: bool,
    /// All that could write to it are gone. Until then nobody knows whether a torn item's source ended by itself.
    bereft: bool,
    /// A file in a stop: it ends by itself, and what is not read of it is in no leftovers.
    to_its_end: bool,
    ended: bool,
}

enum Inlet {
    Stdin {
        kind: StdinKind,
        ready: bool,
    },
    /// A command that does not run (yet, or any more).
    Idle,
    Stdout {
        proc: ProcId,
        read: OwnedFd,
        ready: bool,
        /// Exec was reported. Before that an end of file is that of a start that failed, not the source's.
        born: bool,
    },
}

impl Sources {
    pub fn new(plan: &Plan) -> Sources {
        let source = |(id, source): (u32, &crate::model::plan::SourcePlan)| {
            let inlet = match source.feed {
                Feed::Stdin => Inlet::Stdin { kind: StdinKind::Pollable, ready: false },
                Feed::Command(_) => Inlet::Idle,
            };
            let queue = plan.queue(source.queue);
            Source {
                id: SourceId(id),
                inlet,
                splitter: Splitter::new(source.framing, queue.max_item),
                has_file: queue.leftovers.is_some(),
                short_items: false,
                paused: false,
                distrusted: false,
                bereft: false,
                to_its_end: false,
                ended: false,
            }
        };
        Sources((0u32..).zip(&plan.sources).map(source).collect())
    }

    /// Touches descriptor 0 only where the plan has a source on it.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for source in &mut self.0 {
            if let Inlet::Stdin { kind, ready } = &mut source.inlet {
                *kind = fds::stdin_kind();
                let registered = || registry.register(&mut SourceFd(&0), Topic::Stdin.token(), Interest::READABLE);
                // EPERM: a kind of file that epoll does not know, which is always ready.
                if *kind != StdinKind::Regular && registered().is_err() {
                    *kind = StdinKind::Regular;
                }
                *ready = *kind == StdinKind::Regular;
            }
        }
        Ok(())
    }

    /// A command source was started: its stdout is a new stream. After an error nobody will tell when it has something.
    pub fn started(
        &mut self,
        id: SourceId,
        proc: ProcId,
        read: OwnedFd,
        plan: &Plan,
        registry: &Registry,
    ) -> io::Result<()> {
        let Some(source) = self.0.get_mut(id.index()) else { return Ok(()) };
        let raw = read.as_raw_fd();
        let token = Topic::Words(proc).token();
        let registered = permit().and_then(|()| registry.register(&mut SourceFd(&raw), token, Interest::READABLE));
        let described = plan.source(id);
        source.splitter = Splitter::new(described.framing, plan.queue(described.queue).max_item);
        source.inlet = Inlet::Stdout { proc, read, ready: false, born: false };
        (source.bereft, source.ended) = (false, false);
        registered
    }

    pub fn stdin_ready(&mut self) {
        for source in &mut self.0 {
            if let Inlet::Stdin { ready, .. } = &mut source.inlet {
                *ready = true;
            }
        }
    }

    pub fn stdout_ready(&mut self, id: SourceId, of: ProcId) {
        if let Some(Inlet::Stdout { proc, ready, .. }) = self.0.get_mut(id.index()).map(|source| &mut source.inlet)
            && *proc == of
        {
            *ready = true;
        }
    }

    /// Its program runs: what comes from now on is the source's.
    pub fn born(&mut self, id: SourceId) {
        if let Some(Inlet::Stdout { born, .. }) = self.0.get_mut(id.index()).map(|source| &mut source.inlet) {
            *born = true;
        }
    }

    /// Reads one chunk from each source that may be read and has something. `glut` is asked only where there is one that could
    /// be: mostly the queue is full and none is.
    pub fn gather(&mut self, glut: impl Fn() -> Glut, scratch: &mut [u8], events: &mut Vec<Event>) {
        for source in self.0.iter_mut().filter(|source| source.may_read(&glut)) {
            let chunk = if source.short_items { SHORT_CHUNK } else { scratch.len() };
            source.read(scratch.get_mut(..chunk).unwrap_or_default(), events);
        }
    }

    /// Something can be read and nothing forbids it: come back without waiting.
    pub fn wants_turn(&self, glut: impl Fn() -> Glut) -> bool {
        self.0.iter().any(|source| source.may_read(&glut))
    }

    /// The source is paused, it is not at its end, and nobody told it to stop.
    pub fn is_held_back(&self, id: SourceId) -> bool {
        self.0.get(id.index()).is_some_and(|source| source.paused && !source.distrusted && !source.ended)
    }

    /// Its writers are dead: reads what is left of a command source, bounded by what a pipe can hold, and tells the end.
    pub fn drain(&mut self, id: SourceId, scratch: &mut [u8], events: &mut Vec<Event>) {
        let Some(source) = self.0.get_mut(id.index()) else { return };
        source.bereft = true;
        let mut left = super::pipes::DRAIN;
        while left > 0 && !source.ended && source.read(scratch, events) == Standing::More {
            left = left.saturating_sub(BUDGET);
        }
        if !source.ended && matches!(source.inlet, Inlet::Stdout { .. }) {
            source.end(events);
        }
        source.inlet = Inlet::Idle;
    }

    /// The start came to nothing: the stream never was.
    pub fn unstarted(&mut self, id: SourceId) {
        if let Some(source) = self.0.get_mut(id.index()) {
            source.inlet = Inlet::Idle;
        }
    }

    pub fn pause(&mut self, id: SourceId, paused: bool) {
        if let Some(source) = self.0.get_mut(id.index()) {
            source.paused = paused;
        }
    }

    pub fn distrust(&mut self, id: SourceId, registry: &Registry, events: &mut Vec<Event>) {
        let Some(source) = self.0.get_mut(id.index()) else { return };
        match source.inlet {
            Inlet::Stdin { kind: StdinKind::Regular, .. } => source.to_its_end = fds::stdin_is_file(),
            // Nobody goes on typing into a program that they told to stop, and no end of file would come.
            Inlet::Stdin { kind: StdinKind::Terminal, .. } => self.abandon(id, registry, events),
            Inlet::Stdin { kind: StdinKind::Pollable, .. } | Inlet::Idle | Inlet::Stdout { .. } => {
                source.distrusted = true;
            }
        }
    }

    /// Its command was killed by a signal, and so did not end by itself: an unterminated last item is half an item.
    pub fn killed(&mut self, id: SourceId) {
        if let Some(source) = self.0.get_mut(id.index()) {
            source.distrusted = true;
        }
    }

    /// Stops reading for good. A file whose rest goes into the leftovers is read to its end all the same: were the leftovers
    /// that very file, half of it would be done again, and else the other half be forgotten.
    pub fn abandon(&mut self, id: SourceId, registry: &Registry, events: &mut Vec<Event>) {
        let Some(source) = self.0.get_mut(id.index()).filter(|source| !source.ended && !source.to_its_end) else {
            return;
        };
        if let Inlet::Stdin { kind: StdinKind::Pollable | StdinKind::Terminal, .. } = source.inlet {
            let _not_registered = registry.deregister(&mut SourceFd(&0));
        }
        let torn = source.torn();
        source.over(SourceEnd::Abandoned { torn: torn.map(|(_, head)| head) }, events);
        source.inlet = Inlet::Idle;
    }
}

impl Source {
    fn may_read(&self, glut: impl Fn() -> Glut) -> bool {
        let ready = match &self.inlet {
            Inlet::Stdin { ready, .. } => *ready,
            Inlet::Stdout { ready, born, .. } => *ready && *born,
            Inlet::Idle => false,
        };
        // What the disk does not take goes to stderr.
        let held_up = |glut: Glut| glut.stderr || (self.has_file && glut.disk);
        ready && !self.paused && !self.ended && !held_up(glut())
    }

    /// One read and what it gave, in one event where nothing odd was among it.
    fn read(&mut self, scratch: &mut [u8], events: &mut Vec<Event>) -> Standing {
        let result = match &self.inlet {
            Inlet::Stdin { .. } => fds::read_stdin(scratch),
            Inlet::Stdout { read, .. } => fds::read(read.as_fd(), scratch),
            Inlet::Idle => return Standing::Ended,
        };
        match result {
            Ok(0) if self.awaits_verdict() => {
                if let Inlet::Stdout { ready, .. } = &mut self.inlet {
                    *ready = false;
                }
                Standing::Waiting
            }
            Ok(0) => {
                self.end(events);
                Standing::Ended
            }
            Ok(length) => {
                self.submit(scratch.get(..length).unwrap_or_default(), events);
                Standing::More
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Inlet::Stdin { ready, .. } | Inlet::Stdout { ready, .. } = &mut self.inlet {
                    *ready = false;
                }
                Standing::Waiting
            }
            Err(error) => {
                self.over(SourceEnd::Failed { errno: error.raw_os_error().unwrap_or(0) }, events);
                Standing::Ended
            }
        }
    }

    fn submit(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        let source = self.id;
        let (mut items, mut count) = (Vec::new(), 0);
        self.splitter.feed(bytes, |frame| match frame {
            Frame::Item(payload) => {
                if items.is_empty() {
                    items.reserve_exact(AT_ONCE);
                }
                items.push(payload);
                count += 1;
                if items.len() == AT_ONCE {
                    submit(source, &mut items, events);
                }
            }
            Frame::Oversized { length, head } => {
                submit(source, &mut items, events);
                events.push(Event::Oversized { source, length, head });
            }
        });
        submit(source, &mut items, events);
        self.short_items = bytes.len() / (count + 1) < SHORT;
    }

    /// End of file: an unterminated last item counts, unless its source was told to stop.
    fn end(&mut self, events: &mut Vec<Event>) {
        let source = self.id;
        if self.distrusted
            && let Some((length, head)) = self.torn()
        {
            self.over(SourceEnd::Torn { length, head }, events);
            return;
        }
        match self.splitter.take_tail() {
            Some(Frame::Item(payload)) => events.push(Event::Submitted { source, items: vec![payload] }),
            Some(Frame::Oversized { length, head }) => events.push(Event::Oversized { source, length, head }),
            None => {}
        }
        self.over(SourceEnd::Whole, events);
    }

    /// A command's stdout ended in the middle of an item, and how the command ended is not known yet.
    fn awaits_verdict(&self) -> bool {
        matches!(self.inlet, Inlet::Stdout { .. }) && !self.bereft && !self.distrusted && self.torn().is_some()
    }

    fn over(&mut self, end: SourceEnd, events: &mut Vec<Event>) {
        self.ended = true;
        events.push(Event::SourceEnded { source: self.id, end });
    }

    fn torn(&self) -> Option<(u64, Payload)> {
        let length = self.splitter.tail_length();
        (length > 0).then(|| (length, self.splitter.tail_head()))
    }
}

fn submit(source: SourceId, items: &mut Vec<Payload>, events: &mut Vec<Event>) {
    if !items.is_empty() {
        events.push(Event::Submitted { source, items: std::mem::take(items) });
    }
}
