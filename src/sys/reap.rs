use super::Pid;
use crate::model::ExitStatus;
use crate::model::process::Usage;

/// A child that died and is reaped: its number may be somebody else's from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    pub pid: Pid,
    pub status: ExitStatus,
    pub usage: Usage,
}

/// `wait4(-1, …, WNOHANG)`: one dead child, if there is any. Not nix's `waitpid`, which loses children killed by real-time signals.
pub fn reap_one() -> Option<Reaped> {
    todo!()
}
