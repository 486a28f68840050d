//! One source's stream of bytes: how it is read, and how its end is recognised.
//!
//! Only two things are the end of a command's output: end of file, and an empty pipe (EAGAIN) once no member of the source
//! is left to write. How many bytes one turn may read says nothing about the end. In the second case some process in
//! a session of its own still has the pipe open, and the end says which.

use super::first_input::{FirstInput, Writers};
use super::pipes::Standing;
use super::sources::Glut;
use crate::machine::{Event, SourceEnd};
use crate::model::{Payload, ProcId, SourceId};
use crate::sys::fds::{self, StdinKind};
use crate::sys::pipe_writer;
use crate::wire::frames::{Frame, Splitter};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Of items that are shorter than this less is read at once, so that they stay in the cache until they are given out.
const SHORT: usize = 128;
const SHORT_CHUNK: usize = 16 * 1024;
/// So many items are submitted at once: a list of them is a small block to the allocator. (A large one would make glibc's
/// merge all small blocks that are free, which are just what the next items need.)
const AT_ONCE: usize = 60;

pub(super) struct Stream {
    pub id: SourceId,
    pub inlet: Inlet,
    pub splitter: Splitter,
    /// What becomes of its items ends in files, for their queue has leftovers; else on stderr.
    pub has_file: bool,
    /// The last chunk was one of short items.
    short_items: bool,
    pub paused: bool,
    /// An unterminated last item does not count.
    pub distrusted: bool,
    /// No member of its process is left. Until then nobody knows whether a torn item's source ended by itself.
    pub writers_gone: bool,
    /// What is left of it is read at once, however full the queue or slow the disk is.
    pub hurried: bool,
    /// Bytes that are still read at most, where a process that is no member of ours could go on writing for ever.
    pub bound: Option<usize>,
    /// Standard input in a stop: it is read straight into the leftovers, and the machine hears of each byte.
    pub straight: bool,
    /// A regular file in a stop: bytes of it that were there when the stop began and are not read yet.
    pub file_left: Option<u64>,
    pub ended: bool,
    /// Leftovers that are read before the source itself.
    pub first: Option<FirstInput>,
    /// This is standard input, and the leftovers of its queue.
    pub writers: Option<Writers>,
}

pub(super) enum Inlet {
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

impl Stream {
    pub fn new(id: SourceId, inlet: Inlet, splitter: Splitter, has_file: bool) -> Stream {
        Stream {
            id,
            inlet,
            splitter,
            has_file,
            short_items: false,
            paused: false,
            distrusted: false,
            writers_gone: false,
            hurried: false,
            bound: None,
            straight: false,
            file_left: None,
            ended: false,
            first: None,
            writers: None,
        }
    }

    /// A new process's output, from its beginning.
    pub fn starts(&mut self, inlet: Inlet, splitter: Splitter) {
        (self.inlet, self.splitter) = (inlet, splitter);
        (self.writers_gone, self.hurried, self.bound, self.ended) = (false, false, None, false);
    }

    /// No member of its process is left: from now on an empty pipe is the end.
    pub fn loses_its_writers(&mut self) {
        let Inlet::Stdout { ready, .. } = &mut self.inlet else { return };
        // Nothing may happen to this pipe any more that `poll` would tell.
        *ready = true;
        self.writers_gone = true;
        self.bound_what_others_write();
    }

    /// In a stop no process that is not a member of ours may keep us reading: what is in the pipe now is read, no more.
    pub fn bound_what_others_write(&mut self) {
        if let Inlet::Stdout { read, .. } = &self.inlet
            && self.writers_gone
            && (self.distrusted || self.hurried)
        {
            self.bound = Some(fds::unread(read.as_fd()).unwrap_or(0));
        }
    }

    pub fn may_read(&self, glut: impl Fn() -> Glut) -> bool {
        let first = self.first.is_some();
        let ready = match &self.inlet {
            Inlet::Stdin { ready, .. } => *ready || first,
            Inlet::Stdout { ready, born, .. } => (*ready || first) && (*born || self.writers_gone),
            Inlet::Idle => false,
        };
        // What the disk does not take goes to stderr.
        let held_up = |glut: Glut| glut.stderr || (self.has_file && glut.disk);
        ready && !self.ended && (self.hurried || !self.paused && !held_up(glut()))
    }

    /// Reads one chunk, and tells what was in it in one event where nothing odd was among it.
    pub fn read(&mut self, scratch: &mut [u8], events: &mut Vec<Event>) -> Standing {
        if self.file_left == Some(0) {
            self.file_is_read(events);
            return Standing::Ended;
        }
        let chunk = if self.short_items { SHORT_CHUNK.min(scratch.len()) } else { scratch.len() };
        let chunk = self.file_left.map_or(chunk, |left| chunk.min(usize::try_from(left).unwrap_or(chunk)));
        let scratch = scratch.get_mut(..chunk).unwrap_or_default();
        if let Some(first) = self.first.take() {
            self.read_first(first, scratch, events);
            return Standing::More;
        }
        let bound_is_used_up = self.bound == Some(0);
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
                self.bound = self.bound.map(|bound| bound.saturating_sub(length));
                self.submit(scratch.get(..length).unwrap_or_default(), events);
                self.file_left = self.file_left.map(|left| left.saturating_sub(length as u64));
                if self.straight {
                    events.push(Event::StdinRead { source: self.id, bytes: length as u64 });
                }
                if bound_is_used_up {
                    self.stays_open(events);
                    return Standing::Ended;
                }
                Standing::More
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.writers_gone => {
                self.stays_open(events);
                Standing::Ended
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

    /// One chunk of the leftovers. At their end the source itself follows.
    fn read_first(&mut self, first: FirstInput, scratch: &mut [u8], events: &mut Vec<Event>) {
        let read = first.read(scratch);
        let length = read.as_ref().map_or(0, |length| *length);
        if length > 0 {
            first.took(self.submit(scratch.get(..length).unwrap_or_default(), events));
            self.first = Some(first);
            return;
        }
        match read {
            Ok(_) if self.splitter.tail_length() > 0 && !first.writers().may_have_left_half_an_item() => {
                first.took(1);
                self.submit_tail(events);
            }
            Ok(_) | Err(_) => {
                self.first = Some(first);
                self.leave_first_input();
            }
        }
    }

    /// What was not taken in of the leftovers stays there.
    pub fn leave_first_input(&mut self) {
        if let Some(first) = self.first.take() {
            first.give_back(self.splitter.tail_length());
            let _not_taken_in = self.splitter.take_tail();
            first.tell();
        }
    }

    /// Answers how many items ended in these bytes.
    fn submit(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> u64 {
        let source = self.id;
        let (mut items, mut count, mut oversized) = (Vec::new(), 0, 0);
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
                oversized += 1;
                submit(source, &mut items, events);
                events.push(Event::Oversized { source, length, head });
            }
        });
        submit(source, &mut items, events);
        self.short_items = bytes.len() / (count + 1) < SHORT;
        count as u64 + oversized
    }

    /// The bytes behind the last delimiter, as an item.
    fn submit_tail(&mut self, events: &mut Vec<Event>) {
        let source = self.id;
        match self.splitter.take_tail() {
            Some(Frame::Item(payload)) => events.push(Event::Submitted { source, items: vec![payload] }),
            Some(Frame::Oversized { length, head }) => events.push(Event::Oversized { source, length, head }),
            None => {}
        }
    }

    /// End of file: an unterminated last item counts, unless its source was told to stop.
    fn end(&mut self, events: &mut Vec<Event>) {
        if self.distrusted
            && let Some((length, head)) = self.torn()
        {
            self.over(SourceEnd::Torn { length, head }, events);
            return;
        }
        if self.torn().is_some() && self.writers.as_ref().is_some_and(Writers::may_have_left_half_an_item) {
            // Another run is just appending it, or was killed then. It stays there, and so does what follows.
            self.unread_torn();
        }
        self.submit_tail(events);
        self.over(SourceEnd::Whole, events);
    }

    /// A stop has begun, and this is standard input, whose rest goes into the leftovers.
    pub fn goes_straight(&mut self) {
        self.straight = true;
        match self.inlet {
            // A file has an end of its own, so what it holds behind its last delimiter is an item.
            Inlet::Stdin { kind: StdinKind::Regular, .. } if fds::stdin_is_file() => self.file_left = fds::stdin_rest(),
            Inlet::Stdin { .. } | Inlet::Idle | Inlet::Stdout { .. } => self.distrusted = true,
        }
    }

    /// Something could be read, and what was read before is not written yet.
    pub fn tell_that_it_waits(&self, glut: impl Fn() -> Glut, events: &mut Vec<Event>) {
        if let Inlet::Stdin { ready: true, .. } = self.inlet
            && self.straight
            && !self.ended
            && !self.may_read(glut)
        {
            events.push(Event::StdinRead { source: self.id, bytes: 0 });
        }
    }

    /// The file is read to the size that it had. Where it has grown since, what came is left in it, from an item's beginning on.
    fn file_is_read(&mut self, events: &mut Vec<Event>) {
        if fds::stdin_rest() == Some(0) {
            self.end(events);
        } else {
            self.unread_torn();
            self.over(SourceEnd::FileGrew, events);
        }
        self.inlet = Inlet::Idle;
    }

    /// Puts what was read of an unfinished item back, where that can be done: whoever reads the file next begins with that item.
    pub fn unread_torn(&mut self) {
        let length = self.splitter.tail_length();
        if length > 0 && fds::stdin_is_file() && fds::seek_stdin_back(length).is_ok() {
            self.splitter.forget_tail();
        }
    }

    /// No member is left and there is no end of file: another process has the pipe open. Whether it would complete a torn
    /// item cannot be known, so that is no item.
    fn stays_open(&mut self, events: &mut Vec<Event>) {
        let writer = match &self.inlet {
            Inlet::Stdout { read, .. } => pipe_writer::other_writer(read.as_fd()),
            Inlet::Stdin { .. } | Inlet::Idle => None,
        };
        self.over(SourceEnd::StillOpen { writer, torn: self.torn() }, events);
    }

    /// A command's stdout ended in the middle of an item, and how the command ended is not known yet.
    fn awaits_verdict(&self) -> bool {
        matches!(self.inlet, Inlet::Stdout { .. }) && !self.writers_gone && !self.distrusted && self.torn().is_some()
    }

    pub fn over(&mut self, end: SourceEnd, events: &mut Vec<Event>) {
        self.ended = true;
        if let Inlet::Stdout { .. } = self.inlet {
            self.inlet = Inlet::Idle;
        }
        events.push(Event::SourceEnded { source: self.id, end });
    }

    pub fn torn(&self) -> Option<(u64, Payload)> {
        let length = self.splitter.tail_length();
        (length > 0).then(|| (length, self.splitter.tail_head()))
    }
}

fn submit(source: SourceId, items: &mut Vec<Payload>, events: &mut Vec<Event>) {
    if !items.is_empty() {
        events.push(Event::Submitted { source, items: std::mem::take(items) });
    }
}
