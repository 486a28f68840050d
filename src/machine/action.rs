//! Orders, in the imperative: all that the machine ever asks for. The shell performs them in order.

use super::event::Question;
use super::report::{ReadEnd, Report, Why};
use super::stop_waits::Wait;
use crate::model::identity::Resource;
use crate::model::process::Usage;
use crate::model::{
    ExitStatus, InstanceId, Payload, PipeWriter, ProcId, QueueId, Refusal, Signal, SourceId, SpawnError, StopReason,
    Target, Token, WorkerId,
};
use std::time::Duration;

/// Where the machine puts its orders.
pub type Actions = Vec<Action>;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a new incarnation. Answered by `Spawned` or `SpawnFailed`, later by `Exited` and `MembersGone`.
    Spawn {
        proc: ProcId,
        instance: InstanceId,
    },
    /// Put one frame into the item pipe; answered by `Wrote` when it is written to its end.
    Deliver {
        proc: ProcId,
        token: Token,
        payload: Payload,
    },
    /// No new item from this moment: forget frames that are not begun, write the one that is to its end, close the item pipe.
    CloseItems {
        proc: ProcId,
    },
    /// The exit event: write `stop REASON MILLISECONDS\n` to the exit pipe and close it.
    Tell {
        proc: ProcId,
        reason: StopReason,
        next: Duration,
    },
    Kill {
        proc: ProcId,
        signal: Signal,
        target: Target,
    },
    /// Put the worker's probe for this question, once; answered by `Answered` within `timeout`. A probe that is under way for
    /// an incarnation that is gone is ended and not answered.
    Ask {
        proc: ProcId,
        question: Question,
        timeout: Duration,
    },
    /// End the probe that is under way for this incarnation, if there is one. It is not answered.
    Unask {
        proc: ProcId,
    },
    /// Look again whether a session whose leader is gone is empty: answered by `MembersLeft` or `MembersGone`.
    CheckMembers {
        proc: ProcId,
    },
    /// Do not look for members any more and forget the incarnation: read what it said, close our ends. Not answered.
    Forget {
        proc: ProcId,
    },
    /// Stop reading this source until `Resume`.
    Pause {
        source: SourceId,
    },
    Resume {
        source: SourceId,
    },
    /// Standard input: stop reading for good. A command that has left: read what is in its pipe now, whatever holds that up,
    /// and no more. Answered by `SourceEnded`.
    Abandon {
        source: SourceId,
    },
    /// Whatever this source's end, an unterminated last item no longer counts: we told it to stop.
    Distrust {
        source: SourceId,
    },
    /// Write one result and a line feed; answered by `ResultsWritten` or `ResultsClosed`.
    WriteResult {
        worker: WorkerId,
        result: Payload,
    },
    /// Of the results of this worker, write none that is not being written already: their items are handed back, and would be
    /// done twice.
    CancelResults {
        worker: WorkerId,
    },
    /// Keep for the dead-letter file, or stderr.
    Bury(Box<DeadLetter>),
    /// Keep an unfinished item in the queue's leftovers, or on stderr. Items are handed back as early as possible, so those in the
    /// hands of workers come last; `seq` tells their order of acceptance.
    HandBack {
        queue: QueueId,
        /// The item's number in its queue. Items that a source gives in a stop have one too.
        seq: u64,
        payload: Payload,
    },
    /// Signal every stranger (descendants outside every session of ours; as PID 1 every process). Answered by `Strangers`.
    Sweep {
        signal: Signal,
        /// Also those to which exeunt has sent this signal before.
        repeat: bool,
    },
    /// Count them again. Answered by `Strangers`.
    CountStrangers,
    /// Answers how many orphans exeunt has adopted that are alive and outside every session of ours: what a program leaves
    /// behind in a session of its own is one of them. Processes whose parent still lives are not.
    CountOrphans,
    /// For people and logs. The shell formats.
    Note(Note),
    /// Everybody has left: finish the leftovers, print the report, exit with its code.
    Quit(Box<Report>),
}

/// An item that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub queue: QueueId,
    /// The item's number in its queue. Items over `max-item` and those that a full queue rejected have one too.
    pub seq: u64,
    pub payload: Payload,
    /// Of the whole item; more than the payload's when it was cut.
    pub length: u64,
    pub reason: DeathReason,
    pub deliveries: u32,
    pub attempts: u32,
    pub crashes: u32,
    /// Of the worker that held it last, when it died with it.
    pub last_status: Option<ExitStatus>,
}

/// Why an item was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathReason {
    /// The worker said `fail`, with its reason.
    Failed(Option<String>),
    /// `max-attempts` reached; the last `retry` reason, or `None` for a timeout.
    Attempts { last: Option<String> },
    /// `max-crashes` reached.
    Crashes,
    /// A line feed in an item for a worker that reads lines.
    LineFeed,
    /// Over the queue's `max-item`.
    TooLong,
    /// The queue was full and `on-full` is `reject`.
    Full,
}

/// Why a stop began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    Signal(Signal),
    /// All work is done.
    Done,
    GaveUp(WorkerId),
    ResultsClosed(WorkerId),
    /// Every worker of this queue is at rest for good and nobody else will work it off.
    Deserted(QueueId),
}

/// Structured facts for people; the edge puts them into words and chooses the log level.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    Started {
        instance: InstanceId,
        proc: ProcId,
    },
    SpawnFailed {
        instance: InstanceId,
        error: SpawnError,
        /// The same shortage as the time before.
        again: bool,
        /// The limit that the file sets for it and that explains the error.
        own_limit: Option<Resource>,
    },
    /// It told that it is ready, or is taken for ready.
    Ready {
        instance: InstanceId,
        took: Duration,
    },
    /// It was not ready in time.
    NotReady {
        instance: InstanceId,
        timeout: Duration,
        /// What its probe was answered last, if it has one that was.
        last: Option<Refusal>,
    },
    /// Its health probe failed so often in a row that it is stopped.
    Unhealthy {
        instance: InstanceId,
        failures: u32,
        last: Refusal,
    },
    /// It was silent for longer than its watchdog allows.
    WatchdogExpired {
        instance: InstanceId,
    },
    /// It told that it is to be taken for silent: `WATCHDOG=trigger`.
    FoundItselfUnwell {
        instance: InstanceId,
    },
    /// `STATUS=` and `STOPPING=1` of sd_notify(3).
    Said {
        instance: InstanceId,
        status: String,
    },
    /// A worker that it requires is not ready any more.
    Falls {
        instance: InstanceId,
        required: WorkerId,
    },
    /// Nobody asked it to go.
    Died {
        instance: InstanceId,
        status: ExitStatus,
        ran: Duration,
        usage: Usage,
        /// `false`: it was to be ready first and was not, so that it has failed whatever its status.
        ready: bool,
        /// Its oldest unanswered item, if it had begun to read it.
        held: Option<HeldItem>,
    },
    /// Killed by the kernel, it seems, for want of memory. How it left is told when the rest of it has gone too.
    OutOfMemory {
        instance: InstanceId,
    },
    /// It was not wanted any more before its exec was reported.
    KilledWhileStarting {
        instance: InstanceId,
    },
    /// It was asked to go and went.
    Left {
        instance: InstanceId,
        status: ExitStatus,
        took: Duration,
        held: Option<HeldItem>,
    },
    Restarting {
        instance: InstanceId,
        after: Duration,
        /// For the same shortage as the time before.
        again: bool,
    },
    GaveUp {
        worker: WorkerId,
        burst: u32,
        interval: Duration,
        /// How the start that was one too many came to its end: of this instance.
        instance: InstanceId,
        last: LastFailure,
    },
    /// A command that cannot be found or executed at its first start, or any start that failed and is not to be tried again.
    CannotStart {
        worker: WorkerId,
        error: SpawnError,
    },
    /// So many items in a row were not read within their time.
    NeverReads {
        worker: WorkerId,
        times: u32,
    },
    /// So many starts in a row met this limit, which the file sets.
    LimitedToDeath {
        worker: WorkerId,
        resource: Resource,
        times: u32,
    },
    ItemTimedOut {
        instance: InstanceId,
        token: Token,
        timeout: Duration,
    },
    /// The item that it had all its time for was not begun to be read: the time is not counted against the item.
    ItemUnread {
        instance: InstanceId,
        token: Token,
    },
    /// It said what is no reply.
    ProtocolError {
        instance: InstanceId,
        seen: Vec<u8>,
    },
    /// It closed its reply pipe and holds an item.
    RepliesClosed {
        instance: InstanceId,
    },
    Buried {
        letter: Box<DeadLetter>,
    },
    Climbed {
        instance: InstanceId,
        step: LadderStep,
        reason: StopReason,
    },
    Survivors {
        instance: InstanceId,
        count: u32,
    },
    SurvivorsKilled {
        instance: InstanceId,
    },
    Unkillable {
        instance: InstanceId,
    },
    Stopping {
        cause: StopCause,
        budget: Option<Duration>,
    },
    Draining {
        queue: QueueId,
        items: u64,
    },
    /// A signal came that means nothing to this run. Told once for each.
    SignalIgnored {
        signal: Signal,
    },
    StopDeadline,
    /// The second INT, or a further one: what the next will do, if there is anything left to do.
    Hurried {
        next: Option<LadderStep>,
    },
    Strangers {
        count: u32,
        signal: Signal,
    },
    StrangersLeft {
        count: u32,
    },
    SourceEnded {
        source: SourceId,
        items: u64,
    },
    SourceFailed {
        source: SourceId,
        errno: Option<i32>,
        status: Option<ExitStatus>,
    },
    TornItem {
        source: SourceId,
        length: u64,
        head: Payload,
    },
    /// All that the source wrote was read, and a process that is no member of it has its output open: there may be more to
    /// come, which is not read.
    SourceStillOpen {
        source: SourceId,
        items: u64,
        writer: Option<PipeWriter>,
    },
    /// Standard input is not read to its end.
    StdinAbandoned {
        source: SourceId,
        why: ReadEnd,
    },
    /// So many items are unfinished, since their results were not written in time or cannot be written.
    ResultsGivenUp {
        worker: WorkerId,
        items: u64,
    },
    ResultsClosed {
        worker: WorkerId,
        errno: i32,
    },
    /// We were stopped or starved; clocks were shifted.
    /// In a stop: it has waited a second for this.
    StillWaiting {
        wait: Wait,
        /// So much longer at most, if there is a limit.
        left: Option<Duration>,
    },
    Late {
        by: Duration,
    },
    /// An event came in a state where it cannot; a fault of our own.
    Bug(String),
}

/// An item in the hands of a worker that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldItem {
    pub token: Token,
    pub payload: Payload,
}

/// How a start that counts as failed came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastFailure {
    NotStarted(SpawnError),
    /// It ended by itself.
    Exited(ExitStatus),
    /// It ended well by itself and left processes behind: members that had to be stopped, or a daemon.
    LeftProcesses(ExitStatus),
    /// It was not ready in time, not well, or broke the protocol, and was stopped.
    Stopped {
        status: ExitStatus,
        why: Why,
    },
    /// Its program was not executed within `start-timeout`.
    NotInTime,
}

/// A rung as a message names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LadderStep {
    Event,
    Signal(Signal),
    Kill,
}
