use super::Pid;
use crate::model::SignalSet;

/// What exeunt found when it was started.
#[derive(Clone, Debug)]
pub struct Inherited {
    pub pid: Pid,
    /// We are PID 1 of our namespace.
    pub init: bool,
    /// Orphans come to us (`PR_SET_CHILD_SUBREAPER` took, or we are PID 1).
    pub subreaper: bool,
    /// Signals that were ignored / blocked when we were started.
    pub ignored: SignalSet,
    pub blocked: SignalSet,
    /// Children that were ours before we started anything (`sh -c 'sleep 9 & exec exeunt …'`).
    pub children: Vec<Pid>,
    /// `/dev/tty` can be opened.
    pub controlling_terminal: bool,
    /// 0, 1, 2 are open (a closed one was replaced by /dev/null, or an empty pipe where there is none).
    pub replaced: [bool; 3],
}

/// First thing in main, before any thread: descriptors 0–2, SIGCHLD to its default and one sweep, everything unblocked,
/// TTIN, TTOU, PIPE and XFSZ ignored, subreaper. Never fails: what cannot be had is told in the answer.
pub fn first_steps() -> Inherited {
    todo!()
}
