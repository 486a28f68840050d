//! Where items come from, and how a full queue holds its sources back.
//!
//! A source gives items in the chunks that were read from it. What finds no room is kept here, at most one chunk, and the
//! source is paused until all of it has found its place: that is the whole of backpressure. In a stop, what a source still had
//! is taken in and handed back, so that nothing that was read is lost.

use super::Machine;
use super::action::{Action, Actions, DeathReason, Note};
use super::event::SourceEnd;
use super::instance::{Remains, State, Survivors};
use super::queue::Gate;
use super::report::ReadEnd;
use super::shutdown::Phase;
use crate::model::plan::Role;
use crate::model::plan::{Feed, OnFull, SourcePlan};
use crate::model::{ExitStatus, InstanceId, Payload, PipeWriter, QueueId, SourceId, Time};
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Feeding {
    /// Read, and not accepted yet.
    held: VecDeque<Payload>,
    paused: bool,
    /// It gives nothing more: end of file, failure, or given up.
    pub ended: bool,
    /// Standard input in a stop: what comes goes straight into the leftovers.
    pub straight: bool,
    pub failed: bool,
    /// It was read to its end of file.
    pub read_to_eof: bool,
    /// The process that still has its output open, where there was no end of file.
    pub still_open_in: Option<PipeWriter>,
    /// It was ordered to be read in a hurry, once.
    hurried: bool,
    /// In a stop: when bytes of it were read last.
    pub last_read: Time,
    /// Why it was ordered to be read no more.
    pub given_up: Option<ReadEnd>,
    /// Why reading has ended.
    pub end: ReadEnd,
    pub items: u64,
    /// The process of a command source has left with all its members (true for standard input, which has none).
    pub process_gone: bool,
}

impl Feeding {
    pub fn new(plan: &SourcePlan) -> Feeding {
        Feeding {
            held: VecDeque::new(),
            paused: false,
            ended: false,
            straight: false,
            failed: false,
            read_to_eof: false,
            still_open_in: None,
            hurried: false,
            last_read: Time::ZERO,
            given_up: None,
            end: ReadEnd::NotStarted,
            items: 0,
            process_gone: plan.feed == Feed::Stdin,
        }
    }

    /// Nothing more comes from it, and all that came has found its place.
    pub fn is_over(&self) -> bool {
        self.ended && self.process_gone && self.held.is_empty()
    }
}

impl Machine {
    pub(super) fn submitted(&mut self, source: SourceId, items: Vec<Payload>, out: &mut Actions) {
        let queue = self.plan.source(source).queue;
        let feeding = &mut self.feeds[source.index()];
        feeding.items += items.len() as u64;
        if feeding.straight {
            for payload in items {
                let item = self.queues[queue.index()].accept(payload);
                self.hand_back(queue, item, out);
            }
            return;
        }
        feeding.held.extend(items);
        self.pump(queue, out);
    }

    /// Moves what the sources hold into the queue as far as it has room, then gives out what can be given out.
    pub(super) fn pump(&mut self, queue: QueueId, out: &mut Actions) {
        for index in 0..self.feeds.len() {
            if self.plan.sources[index].queue == queue {
                self.pump_source(index, queue, out);
            }
        }
        self.dispatch(queue, out);
    }

    fn pump_source(&mut self, index: usize, queue: QueueId, out: &mut Actions) {
        let plan = self.plan.clone();
        let limits = plan.queue(queue);
        while let Some(payload) = self.feeds[index].held.pop_front() {
            let state = &mut self.queues[queue.index()];
            if state.gate == Gate::Closed {
                let item = state.accept(payload);
                self.hand_back(queue, item, out);
            } else if state.has_room(limits, payload.len()) {
                let item = state.accept(payload);
                state.ready.push_back(item);
            } else if limits.on_full == OnFull::Reject {
                let item = state.accept(payload);
                self.bury(queue, item, DeathReason::Full, out);
            } else {
                self.feeds[index].held.push_front(payload);
                break;
            }
        }
        self.press_back(index, queue, out);
    }

    /// Pauses a source whose items found no room, or lets it go on.
    fn press_back(&mut self, index: usize, queue: QueueId, out: &mut Actions) {
        let source = self.plan.sources.get(index).map(|_| SourceId(u32::try_from(index).unwrap_or(u32::MAX)));
        let (Some(source), feeding) = (source, &mut self.feeds[index]) else { return };
        if feeding.held.is_empty() {
            self.progressed |= feeding.ended;
            let limits = &self.plan.queues[queue.index()];
            let state = &self.queues[queue.index()];
            let go_on = state.gate == Gate::Closed || state.has_room(limits, 0) || limits.on_full == OnFull::Reject;
            if feeding.paused && go_on && !feeding.ended {
                feeding.paused = false;
                out.push(Action::Resume { source });
            }
        } else if !feeding.paused && !feeding.ended && !feeding.straight {
            feeding.paused = true;
            out.push(Action::Pause { source });
        }
    }

    /// In a stop standard input is read on, straight into the leftovers, however full the queue is.
    pub(super) fn read_straight(&mut self, source: SourceId, out: &mut Actions) {
        let feeding = &mut self.feeds[source.index()];
        feeding.straight = true;
        if std::mem::take(&mut feeding.paused) {
            out.push(Action::Resume { source });
        }
    }

    pub(super) fn oversized(&mut self, source: SourceId, length: u64, head: Payload, out: &mut Actions) {
        let queue = self.plan.source(source).queue;
        self.feeds[source.index()].items += 1;
        let item = self.queues[queue.index()].accept(head);
        let before = out.len();
        self.bury(queue, item, DeathReason::TooLong, out);
        for action in &mut out[before..] {
            if let Action::Bury(letter) | Action::Note(Note::Buried { letter }) = action {
                letter.length = length;
            }
        }
    }

    pub(super) fn source_ended(&mut self, source: SourceId, end: SourceEnd, out: &mut Actions) {
        let feeding = &mut self.feeds[source.index()];
        if std::mem::replace(&mut feeding.ended, true) {
            // It was given up before, because its process could not be started or removed.
            return;
        }
        let items = feeding.items;
        match end {
            SourceEnd::Whole => {
                (feeding.read_to_eof, feeding.end) = (true, ReadEnd::EndOfFile);
                out.push(Action::Note(Note::SourceEnded { source, items }));
            }
            SourceEnd::Torn { length, head } => {
                feeding.end = ReadEnd::EndOfFile;
                out.push(Action::Note(Note::TornItem { source, length, head }));
            }
            SourceEnd::FileGrew => {
                feeding.end = ReadEnd::FileSize;
                out.push(Action::Note(Note::StdinAbandoned { source, why: ReadEnd::FileSize }));
            }
            SourceEnd::Failed { errno } => {
                feeding.end = ReadEnd::Failed;
                feeding.failed = true;
                out.push(Action::Note(Note::SourceFailed { source, errno: Some(errno), status: None }));
            }
            SourceEnd::StillOpen { writer, torn } => {
                feeding.end = ReadEnd::StillOpen;
                feeding.still_open_in.clone_from(&writer);
                out.push(Action::Note(Note::SourceStillOpen { source, items, writer }));
                if let Some((length, head)) = torn {
                    out.push(Action::Note(Note::TornItem { source, length, head }));
                }
            }
            SourceEnd::Abandoned { torn } => {
                // A terminal is given up by the shell itself.
                let why = feeding.given_up.unwrap_or(ReadEnd::Stop);
                feeding.end = why;
                out.push(Action::Note(Note::StdinAbandoned { source, why }));
                if let Some(head) = torn {
                    out.push(Action::Note(Note::TornItem { source, length: head.len() as u64, head }));
                }
            }
        }
        self.progressed = true;
        self.look_for_idle_members(source, out);
    }

    /// Members that were left alone because they might write more have nothing left to write to.
    fn look_for_idle_members(&mut self, source: SourceId, out: &mut Actions) {
        let Some(at) = self.plan.instances.iter().position(|role| *role == Role::Source(source)) else { return };
        if let State::Remains(life, remains) = &self.instances[at].state
            && remains.survivors == Survivors::Unknown
        {
            out.push(Action::CheckMembers { proc: life.proc });
        }
    }

    /// Whether what the first process of a source left behind may still write items: that process ended well, nobody told it to
    /// stop, and its output is not at its end.
    pub(super) fn still_feeds(&self, id: InstanceId, remains: &Remains) -> bool {
        let Some(source) = self.source_of(id) else { return false };
        matches!(self.phase, Phase::Running)
            && remains.climb.is_none()
            && self.plan.program(id).is_success(remains.status)
            && !self.feeds[source.index()].ended
    }

    /// The first process of a command source has ended. `asked`: we told it to. A bad end counts at once, whatever its members
    /// still write.
    pub(super) fn source_process_exited(
        &mut self,
        source: SourceId,
        status: ExitStatus,
        asked: bool,
        out: &mut Actions,
    ) {
        let Feed::Command(program) = &self.plan.source(source).feed else { return };
        if asked || program.is_success(status) || !matches!(self.phase, Phase::Running) {
            return;
        }
        self.feeds[source.index()].failed = true;
        out.push(Action::Note(Note::SourceFailed { source, errno: None, status: Some(status) }));
    }

    /// The process of a command source has left with all its members. What it wrote is still read to the end.
    pub(super) fn source_process_gone(&mut self, source: SourceId) {
        self.feeds[source.index()].process_gone = true;
        self.progressed = true;
    }

    /// Nobody else is waited for: what commands that have left wrote is read at once, however slowly it is written to the
    /// leftovers.
    pub(super) fn hurry_dead_sources(&mut self, out: &mut Actions) {
        for (source, feeding) in (0u32..).map(SourceId).zip(&mut self.feeds) {
            let is_command = matches!(self.plan.source(source).feed, Feed::Command(_));
            let due = is_command && feeding.process_gone && !feeding.ended;
            if due && !std::mem::replace(&mut feeding.hurried, true) {
                out.push(Action::Abandon { source });
            }
        }
    }
}
