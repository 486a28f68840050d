//! What a probe finds out about a worker.

use super::{ExitStatus, SpawnError};
use std::time::Duration;

/// The worker is ready, or well; or why it was not found so.
pub type ProbeAnswer = Result<(), Refusal>;

/// Why a probe says no: the last of them is told when a worker is stopped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The status of an HTTP answer.
    Status(u16),
    /// Connecting, writing or reading failed with this errno.
    Failed(i32),
    /// There was no answer within this time.
    TimedOut(Duration),
    /// The server closed the connection before its answer was whole.
    Closed,
    /// What the server answered is not HTTP.
    Nonsense,
    /// How the command of the probe ended.
    Exited(ExitStatus),
    /// The process that asks could not be started.
    NotStarted(SpawnError),
    /// Too many processes that asked before cannot be killed.
    NotAsked,
}
