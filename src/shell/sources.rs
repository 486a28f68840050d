//! Where items come from: our stdin, and the stdout of command sources.

use super::first_input::{FirstInput, Writers};
use super::stream::{Inlet, Stream};
use super::table::Topic;
use crate::machine::{Event, SourceEnd};
use crate::model::plan::{Feed, Plan};
use crate::model::{ProcId, QueueId, SourceId};
use crate::sys::fds::{self, StdinKind};
use crate::sys::permit;
use crate::wire::frames::Splitter;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub struct Sources(Vec<Stream>);

/// Where items that were given up or left undone wait to be written, and too many do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glut {
    pub disk: bool,
    pub stderr: bool,
}

impl Sources {
    /// `first`: leftovers that the first source of their queue begins with. `writers`: of leftovers that are our stdin.
    pub fn new(plan: &Plan, mut first: Vec<(QueueId, FirstInput)>, writers: &[(QueueId, Writers)]) -> Sources {
        let stream = |(id, source): (u32, &crate::model::plan::SourcePlan)| {
            let inlet = match source.feed {
                Feed::Stdin => Inlet::Stdin { kind: StdinKind::Pollable, ready: false },
                Feed::Command(_) => Inlet::Idle,
            };
            let queue = plan.queue(source.queue);
            let splitter = Splitter::new(source.framing, queue.max_item);
            let mut stream = Stream::new(SourceId(id), inlet, splitter, queue.leftovers.is_some());
            let at = first.iter().position(|(queue, _)| *queue == source.queue);
            stream.first = at.map(|at| first.swap_remove(at).1);
            let own = writers.iter().find(|(queue, _)| *queue == source.queue && source.feed == Feed::Stdin);
            stream.writers = own.map(|(_, writers)| writers.clone());
            stream
        };
        Sources((0u32..).zip(&plan.sources).map(stream).collect())
    }

    /// Touches descriptor 0 only where the plan has a source on it.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for stream in &mut self.0 {
            if let Inlet::Stdin { kind, ready } = &mut stream.inlet {
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
        let Some(stream) = self.0.get_mut(id.index()) else { return Ok(()) };
        let raw = read.as_raw_fd();
        let token = Topic::SourceOutput(proc).token();
        let registered = permit().and_then(|()| registry.register(&mut SourceFd(&raw), token, Interest::READABLE));
        let described = plan.source(id);
        let splitter = Splitter::new(described.framing, plan.queue(described.queue).max_item);
        stream.starts(Inlet::Stdout { proc, read, ready: false, born: false }, splitter);
        registered
    }

    pub fn stdin_ready(&mut self) {
        for stream in &mut self.0 {
            if let Inlet::Stdin { ready, .. } = &mut stream.inlet {
                *ready = true;
            }
        }
    }

    /// Something may have happened to the stdout of this incarnation.
    pub fn stdout_ready(&mut self, of: ProcId) {
        for stream in &mut self.0 {
            if let Inlet::Stdout { proc, ready, .. } = &mut stream.inlet
                && *proc == of
            {
                *ready = true;
            }
        }
    }

    /// Its program runs: what comes from now on is the source's.
    pub fn born(&mut self, id: SourceId) {
        if let Some(Inlet::Stdout { born, .. }) = self.0.get_mut(id.index()).map(|stream| &mut stream.inlet) {
            *born = true;
        }
    }

    /// Reads one chunk from each source that may be read and has something. `glut` is asked only where there is one that could
    /// be: mostly the queue is full and none is.
    pub fn gather(&mut self, glut: impl Fn() -> Glut, scratch: &mut [u8], events: &mut Vec<Event>) {
        for stream in &mut self.0 {
            if stream.may_read(&glut) {
                stream.read(scratch, events);
            } else {
                stream.tell_that_it_waits(&glut, events);
            }
        }
    }

    /// Something can be read and nothing forbids it: come back without waiting.
    pub fn wants_turn(&self, glut: impl Fn() -> Glut) -> bool {
        self.0.iter().any(|stream| stream.may_read(&glut))
    }

    /// No member of its process is left. What is in its pipe is read as if the process lived, over as many turns as that
    /// takes, and then the end is told.
    pub fn gone(&mut self, id: SourceId) {
        if let Some(stream) = self.0.get_mut(id.index()) {
            stream.loses_its_writers();
        }
    }

    /// The start came to nothing: the stream never was.
    pub fn unstarted(&mut self, id: SourceId) {
        if let Some(stream) = self.0.get_mut(id.index()) {
            stream.inlet = Inlet::Idle;
        }
    }

    pub fn pause(&mut self, id: SourceId, paused: bool) {
        if let Some(stream) = self.0.get_mut(id.index()) {
            stream.paused = paused;
        }
    }

    pub fn distrust(&mut self, id: SourceId, registry: &Registry, events: &mut Vec<Event>) {
        let Some(stream) = self.0.get_mut(id.index()) else { return };
        stream.leave_first_input();
        match stream.inlet {
            // Nobody goes on typing into a program that they told to stop, and no end of file would come.
            Inlet::Stdin { kind: StdinKind::Terminal, .. } => self.abandon(id, registry, events),
            Inlet::Stdin { .. } => stream.goes_straight(),
            Inlet::Idle | Inlet::Stdout { .. } => {
                stream.distrusted = true;
                stream.bound_what_others_write();
            }
        }
    }

    /// Its command was killed by a signal, and so did not end by itself: an unterminated last item is half an item.
    pub fn killed(&mut self, id: SourceId) {
        if let Some(stream) = self.0.get_mut(id.index()) {
            stream.distrusted = true;
        }
    }

    /// stdin: stops reading for good. A regular file's offset, which others may share, then stands behind the last item that was
    /// accepted. A command whose members are gone: what is left in its pipe is read now, whatever holds that up.
    pub fn abandon(&mut self, id: SourceId, registry: &Registry, events: &mut Vec<Event>) {
        let Some(stream) = self.0.get_mut(id.index()).filter(|stream| !stream.ended) else {
            return;
        };
        stream.leave_first_input();
        if let Inlet::Stdout { .. } = stream.inlet {
            stream.hurried = true;
            stream.bound_what_others_write();
            return;
        }
        if let Inlet::Stdin { kind: StdinKind::Pollable | StdinKind::Terminal, .. } = stream.inlet {
            let _not_registered = registry.deregister(&mut SourceFd(&0));
        }
        if let Inlet::Stdin { kind: StdinKind::Regular, .. } = stream.inlet {
            stream.unread_torn();
        }
        let torn = stream.torn();
        stream.over(SourceEnd::Abandoned { torn: torn.map(|(_, head)| head) }, events);
        stream.inlet = Inlet::Idle;
    }
}
