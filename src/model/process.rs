//! Processes as the machine sees them.

use super::identity::Resource;
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

/// A process that can write into a pipe of ours: for messages and reports. Nothing is ever signalled by this number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeWriter {
    pub pid: i32,
    /// As `ps` shows it; empty where it could not be read.
    pub name: String,
}

/// What a worker tells of itself (sd_notify(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Ready,
    Stopping,
    Status(String),
    /// Still alive.
    Watchdog,
    /// `WATCHDOG=trigger`: as if it had been silent for too long.
    Trigger,
    /// `EXTEND_TIMEOUT_USEC`: whatever is waited for (readiness, the next rung) has at least so long from now.
    Extend(Duration),
    /// Not its word, but the shell's: its socket gets more than is read just now, so that a sign of life may wait unread.
    Unheard,
}

/// The step of a spawn, in the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// In the parent: pipes, /dev/null.
    Prepare,
    Fork,
    Session,
    Descriptors,
    Signals,
    /// Reading this one of the program's secrets, counted from 0.
    Secret(u16),
    OomScore,
    Nice,
    Limit(Resource),
    Groups,
    Group,
    User,
    /// Forbidding new privileges.
    Privileges,
    Directory,
    ParentDeath,
    Exec,
}

impl Stage {
    /// Those that are one step and not many.
    const PLAIN: [Stage; 14] = [
        Stage::Prepare,
        Stage::Fork,
        Stage::Session,
        Stage::Descriptors,
        Stage::Signals,
        Stage::OomScore,
        Stage::Nice,
        Stage::Groups,
        Stage::Group,
        Stage::User,
        Stage::Privileges,
        Stage::Directory,
        Stage::ParentDeath,
        Stage::Exec,
    ];
    /// Where the numbers of limits and of secrets begin.
    const LIMITS: u32 = 100;
    const SECRETS: u32 = 1000;

    /// Every step; two secrets stand for all.
    pub fn all() -> Vec<Stage> {
        let limits = Resource::ALL.into_iter().map(Stage::Limit);
        Stage::PLAIN.into_iter().chain(limits).chain([0, 300].map(Stage::Secret)).collect()
    }

    /// The number under which a child tells the step. Allocates nothing and cannot panic.
    pub fn number(self) -> u32 {
        let small = |at: Option<usize>| at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        match self {
            Stage::Secret(number) => Stage::SECRETS + u32::from(number),
            Stage::Limit(limited) => Stage::LIMITS + small(Resource::ALL.iter().position(|&it| it == limited)),
            plain => small(Stage::PLAIN.iter().position(|&it| it == plain)),
        }
    }

    pub fn from_number(number: u32) -> Option<Stage> {
        if let Some(secret) = number.checked_sub(Stage::SECRETS) {
            return u16::try_from(secret).ok().map(Stage::Secret);
        }
        let index = |number: u32| usize::try_from(number).ok();
        match number.checked_sub(Stage::LIMITS) {
            Some(limit) => Resource::ALL.get(index(limit)?).copied().map(Stage::Limit),
            None => Stage::PLAIN.get(index(number)?).copied(),
        }
    }
}

/// Why a program could not be started: the step and the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    pub stage: Stage,
    pub errno: i32,
}

/// What a child found out about a file that it could not execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// There is no such file, or nothing was looked for.
    #[default]
    Nothing,
    /// The first bytes of the file, or of the interpreter that it names if that is a script too.
    Head(Vec<u8>),
    /// It is a script whose interpreter is exeunt itself.
    StartsItself,
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
    /// Every member of the session to which exeunt has not sent this signal before, as far as its process number and the moment
    /// of its start tell.
    Unsignalled,
}

/// What the kernel counted for a dead child, from `wait4(2)`; descendants it waited for included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user: Duration,
    pub system: Duration,
    pub max_rss_kib: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_a_child_is_found_by_its_number() {
        for stage in Stage::all() {
            assert_eq!(Stage::from_number(stage.number()), Some(stage));
        }
        assert_eq!([14, 99, 116, 999, 1000 + 65_536].map(Stage::from_number), [None; 5]);
    }
}
