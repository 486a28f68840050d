//! The report at the end of a run: who left how, on which rung, after how long; what became of the items.

use super::action::{LadderStep, StopCause};
use crate::model::{ExitStatus, InstanceId, PipeWriter, QueueId, SourceId, WorkerId};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub exit_code: u8,
    /// What the code would be without `exit-code-from`, where that key gives another one.
    pub code_of_all: Option<u8>,
    pub cause: StopCause,
    /// From the beginning of the stop to the end.
    pub stop_took: Duration,
    /// From `Began` to the end.
    pub ran: Duration,
    pub leavers: Vec<Leaver>,
    pub queues: Vec<QueueReport>,
    pub sources: Vec<SourceReport>,
    pub orphans_reaped: u64,
    /// Strangers still alive when we left.
    pub strangers_left: u32,
    /// Late verdicts for items already settled: harmless, counted.
    pub late_replies: u64,
    /// Faults of our own.
    pub bugs: u32,
}

/// How one instance left for good.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaver {
    pub instance: InstanceId,
    pub fate: Fate,
    /// How often it ran once more, in the whole run.
    pub restarts: u64,
    /// Starts that never came to running the program.
    pub failed_starts: u64,
    /// Deaths for want of memory, as the kernel tells it.
    pub oom_kills: u64,
    pub items: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    NeverStarted {
        why: Unstarted,
    },
    /// Ended by itself before it was asked to leave.
    Ended {
        status: ExitStatus,
        /// `false`: it was to be ready first and was not.
        ready: bool,
    },
    /// Left in the stop (or after being asked), on this rung: the highest that was climbed.
    Left {
        status: ExitStatus,
        rung: LadderStep,
        took: Duration,
        why: Why,
    },
    /// Killed before its program ran.
    KilledWhileStarting {
        why: Why,
    },
    GivenUp,
    Unkillable,
}

/// Why an instance never ran its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstarted {
    /// The run stopped before its turn came.
    Stop,
    /// This worker, which it requires, will never be ready (again). `failed`: it was given up, ended badly, or could itself not be
    /// started.
    Requires { worker: WorkerId, failed: bool },
    /// Its start took longer than `start-timeout`, and it is not tried again.
    StartTimeout,
}

/// Why an instance was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The stop of all.
    Stop,
    /// This worker, which it requires, was not ready any more.
    Requires(WorkerId),
    /// It was not ready in time, found unhealthy, or silent for too long.
    Unwell,
    /// It broke the protocol.
    Protocol,
    /// An item took too long.
    ItemTimeout,
    /// It had worked on as many items as one incarnation may.
    Renewed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    pub queue: QueueId,
    pub accepted: u64,
    pub done: u64,
    pub dead: u64,
    pub handed_back: u64,
    /// Deliveries that came back as retries, crashes and timeouts.
    pub retried: u64,
    pub crashed: u64,
    pub timed_out: u64,
}

/// Why a source is not read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    /// It was never read.
    NotStarted,
    /// The end of file.
    EndOfFile,
    /// Reading failed.
    Failed,
    /// Its members have left and it was empty, but a process that is no member has it open.
    StillOpen,
    /// A stop began, and its queue has no leftovers to read into.
    Stop,
    /// In a stop, when the last worker had left: nothing came for a while.
    Silence,
    /// In a stop: the time for it after the last worker had left is over.
    Timeout,
    /// The deadline of the stop.
    Deadline,
    /// As much as `leftovers-max` allows was handed back.
    LeftoversMax,
    /// An INT during the stop.
    Interrupt,
    /// A regular file was read to the size that it had when the stop began.
    FileSize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    pub source: SourceId,
    pub items: u64,
    pub failed: bool,
    /// It was read to its end of file.
    pub read_to_eof: bool,
    /// Why reading has ended.
    pub end: ReadEnd,
    /// The process that still had its output open when reading ended, if there was one and it is known.
    pub still_open_in: Option<PipeWriter>,
}
