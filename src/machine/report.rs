//! The report at the end of a run: who left how, on which rung, after how long; what became of the items.

use super::action::{LadderStep, StopCause};
use crate::model::{ExitStatus, InstanceId, QueueId, SourceId};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub exit_code: u8,
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
    NeverStarted,
    /// Ended by itself before the stop.
    Ended {
        status: ExitStatus,
    },
    /// Left in the stop (or after being asked), on this rung: the highest that was climbed.
    Left {
        status: ExitStatus,
        rung: LadderStep,
        took: Duration,
    },
    GivenUp,
    Unkillable,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    pub source: SourceId,
    pub items: u64,
    pub failed: bool,
    /// Read to its end.
    pub whole: bool,
}
