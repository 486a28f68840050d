//! Where items come from: standard input, or the standard output of a program, with a pipe in between that outlives the
//! program and may be held open by a process of no session of ours.

use crate::fake::{Fake, Happening, Leader};
use exeunt::machine::{Event, SourceEnd};
use exeunt::model::plan::{Feed, Role};
use exeunt::model::{ExitStatus, Framing, InstanceId, Payload, PipeWriter, ProcId, SourceId};
use std::collections::VecDeque;
use std::time::Duration;

/// Begins every payload that is no whole item.
pub const TORN: &[u8] = b"torn";

/// Items that the pipe of a source holds; now and then a program enlarges its pipe, so that what it leaves behind takes
/// many turns to read.
const ROOM: usize = 8;
pub const LARGE_ROOM: usize = 60;
/// Items that are read at once, at most.
pub const CHUNK: usize = 5;

#[derive(Default)]
pub struct FakeSource {
    stdin: bool,
    /// Standard input is a regular file to which another program appends: in a stop it is read to the size it had when the stop began.
    file: bool,
    /// Items it will still give; `None`: never ends.
    left: Option<u64>,
    given: u64,
    /// Written and not read.
    pipe: VecDeque<Payload>,
    room: usize,
    /// Nobody will write any more.
    eof: bool,
    /// No member of its session is left, but a stranger has the pipe open: there is no end of file.
    still_open: bool,
    /// The last item lacks its end.
    torn_tail: bool,
    fails: bool,
    pub paused: bool,
    /// Was read before the pause came.
    slack: bool,
    /// One chunk a round.
    pub had_its_turn: bool,
    pub distrusted: bool,
    /// To be read at once, against the pause.
    pub hurried: bool,
    pub ended: bool,
}

impl Fake {
    pub fn open_sources(&mut self) {
        let plan = self.plan.clone();
        for (i, source) in (0u32..).zip(&plan.sources) {
            let finite = self.mood.finite() || self.dice.percent(60);
            let faulty = self.mood.faulty();
            let left = finite.then(|| self.dice.below(40));
            let fails = faulty && self.dice.percent(10);
            let torn_tail = self.dice.percent(30);
            let stdin = source.feed == Feed::Stdin;
            let file = stdin && self.dice.percent(15);
            let room = if faulty && !stdin && self.dice.percent(20) { LARGE_ROOM } else { ROOM };
            self.sources.push(FakeSource { stdin, file, left, fails, torn_tail, room, ..FakeSource::default() });
            if stdin {
                self.after(Duration::ZERO, Happening::Produces(SourceId(i)));
            }
        }
    }

    /// The other side of the pipe writes a burst, as far as there is room, or ends.
    pub fn produces(&mut self, id: SourceId) {
        if !self.sources[id.index()].stdin && self.leader_of(id).is_none() {
            if self.source_is_stopped(id) {
                self.after(Duration::from_millis(500), Happening::Produces(id));
            }
            return;
        }
        if source_of(self, id).has_its_size() {
            return;
        }
        let nul = self.plan.source(id).framing == Framing::Nul;
        let burst = self.dice.between(1, 6);
        let long = self.dice.below(4);
        let source = &mut self.sources[id.index()];
        for _ in 0..burst {
            if source.left == Some(0) || source.pipe.len() >= source.room {
                break;
            }
            source.left = source.left.map(|left| left - 1);
            source.given += 1;
            source.pipe.push_back(item(id, source.given, nul, long));
        }
        let full = source.pipe.len() >= source.room;
        if source.left == Some(0) {
            match self.leader_of(id) {
                Some(proc) => self.after(Duration::ZERO, Happening::Dies(proc, ExitStatus::Exited(0))),
                None => source_of(self, id).eof = true,
            }
        } else {
            let ended = source.ended;
            let pause = self.dice.pick(&[20, 100, 1500]);
            let pause = if full { Duration::from_millis(500) } else { self.dice.millis(10, pause) };
            if !ended {
                self.after(pause, Happening::Produces(id));
            }
        }
        self.read_source(id);
    }

    /// The shell reads one chunk, if it may.
    pub fn read_source(&mut self, id: SourceId) {
        let chunk = usize::try_from(self.dice.between(1, CHUNK as u64)).unwrap();
        let oversized = self.mood.faulty() && self.dice.percent(3);
        let source = source_of(self, id);
        if source.ended || !source.may_be_read() {
            return;
        }
        if source.had_its_turn {
            return self.after(Duration::ZERO, Happening::Reads(id));
        }
        source.slack = false;
        source.had_its_turn = !source.pipe.is_empty();
        let chunk = chunk.min(source.pipe.len());
        let items: Vec<Payload> = source.pipe.drain(..chunk).collect();
        let more = !source.pipe.is_empty();
        let read = (source.stdin && source.distrusted).then_some(items.len() as u64).filter(|&bytes| bytes > 0);
        if !items.is_empty() {
            self.facts.items.push(Event::Submitted { source: id, items });
        }
        self.facts.items.extend(read.map(|bytes| Event::StdinRead { source: id, bytes }));
        if oversized {
            let head: Payload = b"torn oversized".as_slice().into();
            self.facts.items.push(Event::Oversized { source: id, length: 5000, head });
        }
        if more {
            self.after(Duration::ZERO, Happening::Reads(id));
        }
        self.end_source(id);
    }

    /// Tells the end once everything before it was read.
    fn end_source(&mut self, id: SourceId) {
        let source = source_of(self, id);
        let read = (source.eof || source.still_open || source.has_its_size()) && source.pipe.is_empty();
        if source.ended || !read || !source.may_be_read() {
            return;
        }
        source.ended = true;
        let head: Payload = TORN.into();
        let end = if source.fails {
            SourceEnd::Failed { errno: 5 }
        } else if !source.eof && source.has_its_size() {
            SourceEnd::FileGrew
        } else if !source.eof {
            let writer = PipeWriter { pid: 4711, name: "stranger".into() };
            SourceEnd::StillOpen { writer: Some(writer), torn: source.torn_tail.then_some((4, head)) }
        } else if source.torn_tail && source.distrusted {
            SourceEnd::Torn { length: 4, head }
        } else {
            SourceEnd::Whole
        };
        self.facts.items.push(Event::SourceEnded { source: id, end });
        let role = Role::Source(id);
        let procs = self.sessions.iter().filter(|(_, session)| self.plan.role(session.instance) == role);
        // Members whose death nobody told us of had the pipe, perhaps.
        self.facts.looks.extend(procs.map(|(&proc, _)| proc));
    }

    pub fn pause(&mut self, id: SourceId) {
        let slack = self.dice.percent(50);
        let source = source_of(self, id);
        source.paused = true;
        source.slack = slack;
    }

    pub fn resume(&mut self, id: SourceId) {
        source_of(self, id).paused = false;
        self.after(Duration::ZERO, Happening::Reads(id));
    }

    pub fn distrust(&mut self, id: SourceId) {
        let source = source_of(self, id);
        source.distrusted = true;
        if source.has_its_size() {
            self.after(Duration::ZERO, Happening::Reads(id));
        }
    }

    /// Standard input: read no more, whatever is there. A command's output: read what is there, whatever is in the way.
    pub fn abandon(&mut self, id: SourceId) {
        if !source_of(self, id).stdin {
            source_of(self, id).hurried = true;
            return self.read_source(id);
        }
        let torn = self.dice.percent(30).then(|| Payload::from(TORN));
        let source = source_of(self, id);
        if !std::mem::replace(&mut source.ended, true) {
            let end = SourceEnd::Abandoned { torn };
            self.facts.items.push(Event::SourceEnded { source: id, end });
        }
    }

    /// Somebody of a session died: where nobody is left to write, the source's pipe ends, unless a stranger has it.
    pub fn session_changed(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get(&proc) else { return };
        if let Role::Source(id) = self.plan.role(session.instance)
            && !session.anybody()
        {
            if self.strangers_alive() == 0 || self.dice.percent(50) {
                source_of(self, id).eof = true;
            }
            self.read_source(id);
        }
    }

    /// No member of this instance is left, or none is looked for any more: an empty pipe is the end, whoever has it.
    pub fn source_is_left(&mut self, instance: InstanceId) {
        let Role::Source(id) = self.plan.role(instance) else { return };
        source_of(self, id).still_open = true;
        self.after(Duration::ZERO, Happening::Reads(id));
    }

    fn source_is_stopped(&self, id: SourceId) -> bool {
        let role = Role::Source(id);
        let mut sessions = self.sessions.values();
        sessions.any(|session| self.plan.role(session.instance) == role && session.leader == Leader::Alive)
    }

    /// The process that writes, unless it is stopped.
    fn leader_of(&self, id: SourceId) -> Option<ProcId> {
        let mut sessions = self.sessions.iter();
        let alive = sessions.find(|(_, session)| {
            self.plan.role(session.instance) == Role::Source(id) && session.leader == Leader::Alive && !session.stopped
        });
        alive.map(|(&proc, _)| proc)
    }
}

impl FakeSource {
    fn may_be_read(&self) -> bool {
        !self.paused || self.slack || self.hurried
    }

    /// It is read to its present size and no further, though more is being appended.
    fn has_its_size(&self) -> bool {
        self.file && self.distrusted && !self.eof
    }
}

fn source_of(fake: &mut Fake, id: SourceId) -> &mut FakeSource {
    &mut fake.sources[id.index()]
}

/// No two items are equal, so that each can be followed by its text.
fn item(source: SourceId, number: u64, nul: bool, long: u64) -> Payload {
    let feed = if nul && number.is_multiple_of(7) { "\n" } else { "" };
    let tail = "x".repeat(usize::try_from(long * 4).unwrap());
    format!("{}-{number}{feed}{tail}", source.0).into_bytes().into()
}
