//! Processes as the machine sees them.

use super::signal::Signal;
use std::fmt;
use std::time::Duration;

/// How a process ended (`wait(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// `_exit` with this code, 0–255.
    Exited(u8),
    Signalled {
        signal: Signal,
        core: bool,
    },
}

impl ExitStatus {
    /// The code a shell would show: the exit code, or 128 + n for signal n.
    pub fn shell_code(self) -> u8 {
        match self {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signalled { signal, .. } => 128u8.saturating_add(u8::try_from(signal.number()).unwrap_or(127)),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exit {code}"),
            ExitStatus::Signalled { signal, core: false } => write!(f, "signal {signal}"),
            ExitStatus::Signalled { signal, core: true } => write!(f, "signal {signal}, core dumped"),
        }
    }
}

/// The step of a spawn, in the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// In the parent: pipes, /dev/null.
    Prepare,
    Fork,
    Session,
    Descriptors,
    Signals,
    Directory,
    Exec,
}

impl Stage {
    pub const ALL: [Stage; 7] = [
        Stage::Prepare,
        Stage::Fork,
        Stage::Session,
        Stage::Descriptors,
        Stage::Signals,
        Stage::Directory,
        Stage::Exec,
    ];

    pub fn from_number(number: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|&stage| stage as u8 == number)
    }
}

/// Why a program could not be started: the step and the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    pub stage: Stage,
    pub errno: i32,
}

/// The REASON word of an exit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    Shutdown,
    Drained,
    Restart,
    Timeout,
    MaxItems,
    Scale,
    Requested,
}

impl StopReason {
    pub const fn word(self) -> &'static str {
        match self {
            StopReason::Shutdown => "shutdown",
            StopReason::Drained => "drained",
            StopReason::Restart => "restart",
            StopReason::Timeout => "timeout",
            StopReason::MaxItems => "max-items",
            StopReason::Scale => "scale",
            StopReason::Requested => "requested",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A child whose exec is not reported yet: by its pid alone, it has no session to speak of.
    Unborn,
    /// The leader of the session.
    Leader,
    /// Every member of the session, group by group.
    Members,
}

/// What the kernel counted for a dead child, from `wait4(2)`; descendants it waited for included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    pub max_rss_kib: u64,
}
