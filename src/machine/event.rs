//! Facts, in the past tense: all that the machine ever hears. The shell builds them; it decides only their order.

use crate::model::process::Usage;
use crate::model::{
    ExitStatus, Notice, Payload, PipeWriter, ProbeAnswer, ProcId, Reply, Signal, SourceId, SpawnError, WorkerId,
};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The loop stands; nothing was started yet. Always the first.
    Began,
    /// A signal reached exeunt, or someone asked for the same by other means.
    Signalled { signal: Signal, meaning: Meaning },
    /// Exec was reported: user code runs from here on.
    Spawned { proc: ProcId },
    /// The start came to nothing and no process is left of it: either there was no fork, or the child told its failed step
    /// and is reaped.
    SpawnFailed { proc: ProcId, error: SpawnError },
    /// A line feed came on the readiness descriptor, or the socket that is this incarnation's own said so.
    Notified { proc: ProcId, notice: Notice },
    /// The answer to `Action::Ask`: none within its time is a no.
    Answered { proc: ProcId, question: Question, answer: ProbeAnswer },
    /// So many frames to this worker were written to their end since the last such word, and `progress` says that at
    /// least one byte went into the pipe.
    Wrote { proc: ProcId, frames: u32, progress: bool },
    /// A line on the reply pipe.
    Replied { proc: ProcId, reply: Reply },
    /// The reply pipe carried something that is no reply; the first bytes (80 at most) to show. Nothing more is read from it.
    Garbled { proc: ProcId, seen: Vec<u8> },
    /// The last writer of the reply pipe closed it, though the leader is not known to be dead. Nothing more is read from it.
    RepliesClosed { proc: ProcId },
    /// The leader of the session died and is reaped, or will be in this very turn. `in_hand`: it had read at least
    /// a byte of its oldest unanswered item (true where that cannot be known). `out_of_memory`: it died of KILL, and the kernel
    /// says that it killed somebody of our control group for want of memory.
    Exited { proc: ProcId, status: ExitStatus, in_hand: bool, usage: Usage, out_of_memory: bool },
    /// After `Exited`: so many living members are left in the session.
    MembersLeft { proc: ProcId, count: u32 },
    /// After `Exited`: the session is empty, the reply pipe was read to its end, our ends are closed. Of a source's stdout there
    /// may be more to read: its end is told by `SourceEnded`.
    MembersGone { proc: ProcId },
    /// A child that is none of ours died and was reaped.
    OrphanReaped,
    /// Whole items that a source gave, in order.
    Submitted { source: SourceId, items: Vec<Payload> },
    /// In a stop, after the items in them: so many bytes of standard input were read; 0: some are there, and what was read before is not
    /// written yet.
    StdinRead { source: SourceId, bytes: u64 },
    /// An item over `max-item` went by: its length, and its first bytes (4096 at most).
    Oversized { source: SourceId, length: u64, head: Payload },
    /// The source gives nothing more.
    SourceEnded { source: SourceId, end: SourceEnd },
    /// So many results of this worker, in the order they were handed to the writer, are written.
    ResultsWritten { worker: WorkerId, count: u32 },
    /// Results can no longer be written there (EPIPE and worse). What was handed over and not reported written is not.
    ResultsClosed { worker: WorkerId, errno: i32 },
    /// After `Action::Sweep` or `CountStrangers`: so many strangers (descendants outside every session of ours) are alive.
    Strangers { count: u32 },
    /// After `Action::CountOrphans`: so many orphans that exeunt has adopted are alive.
    Orphans { count: u32 },
    /// Always the last of a turn.
    Tick,
}

/// What is asked of a worker by its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Ready,
    Health,
}

/// What a signal means to us, told at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// TERM, QUIT, RTMIN+3, PWR, HUP of a terminal: stop; repeated, it changes nothing.
    Stop,
    /// INT: stop; the second and each further one climbs a rung.
    Interrupt,
    /// Passed on to the workers that want it; nothing to us.
    Forward,
    /// Heard and harmless.
    Nothing,
}

/// How a source came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// End of file at an item's end. An unterminated last line that counts was told by `Submitted` before.
    Whole,
    /// End of file in the middle of an item that does not count, because the source was told to stop.
    Torn { length: u64, head: Payload },
    /// Reading failed.
    Failed { errno: i32 },
    /// No member of the source is left and its pipe is empty, but a process that is no member still has it open, so that
    /// there is no end of file. `writer`: which process, if that could be found out. An unterminated last line does not
    /// count.
    StillOpen { writer: Option<PipeWriter>, torn: Option<(u64, Payload)> },
    /// Standard input is a regular file that was read to the size it had when the stop began. It is longer now.
    FileGrew,
    /// Reading was given up, on the machine's order. A regular file's offset stands behind the last whole item then, and
    /// nothing of it is torn.
    Abandoned { torn: Option<Payload> },
}
