//! What a worker is besides its program: when it starts, is ready, well, restarted and given up, and what it does with a queue.

use super::Backoff;
use super::address::TcpAddress;
use super::program::Program;
use crate::model::id::{QueueId, WorkerId};
use crate::model::item::Framing;
use crate::model::signal::SignalSet;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct WorkerPlan {
    pub name: String,
    pub program: Program,
    /// At least 1.
    pub replicas: u32,
    /// `None`: a plain service.
    pub consumer: Option<Consumer>,
    pub restart: Restart,
    pub restart_delay: Backoff,
    /// An instance that ran this long starts its delays anew.
    pub restart_reset_after: Duration,
    pub start_limit: Option<StartLimit>,
    pub on_give_up: OnGiveUp,
    /// Signals sent to us that are passed on to every instance.
    pub forward_signals: SignalSet,
    /// Started after these, stopped before them.
    pub after: Vec<WorkerId>,
    /// 0 for a worker that is after nobody, else one more than the highest of `after`. Stops go from the highest down.
    pub level: u32,
    /// All of them are in `after` too. When none of a required worker's replicas is ready any more, this worker is stopped,
    /// and started again when the other is ready again.
    pub requires: Vec<WorkerId>,
    pub kind: Kind,
    /// When those that are after it may start. `None`: at once when a service runs, when a oneshot ended well.
    pub ready: Option<Ready>,
    /// From the start to being ready.
    pub start_timeout: Option<Duration>,
    pub health: Option<Health>,
    /// Longest silence between two `WATCHDOG=1` of a worker that is ready. Only with `Ready::Notify`.
    pub watchdog: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Service,
    /// Ready when it has ended well; what waits for it waits for that.
    Oneshot,
}

/// How a worker tells that it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A line feed on this descriptor, 3 or higher (s6's way).
    Fd(u8),
    /// `READY=1` to the socket that `NOTIFY_SOCKET` names (sd_notify(3)).
    Notify,
    /// It is asked until it answers well.
    Probe(Probe),
    /// So long after its exec was reported.
    Delay(Duration),
}

/// A question that is answered by yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Exit 0 is yes. Runs with the worker's environment, directory and identity; see [`Program::words_with`].
    Command(Vec<String>),
    /// A connection that is accepted is yes.
    Tcp(TcpAddress),
    /// A status of 200 to 399 is yes. `http://HOST[:PORT]/PATH`, where HOST is an address or `localhost`; all of it visible
    /// ASCII, and at most 2 KiB.
    Http(String),
}

/// Asked again and again once the worker is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub probe: Probe,
    /// From being ready, and from each answer, to the next question. Not zero.
    pub interval: Duration,
    /// No answer in this time is a no. Not zero.
    pub timeout: Duration,
    /// So many a row and the worker is stopped by its ladder and started again. At least 1.
    pub failures: u32,
}

/// The queue side of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub queue: QueueId,
    pub framing: Framing,
    /// Unanswered items one instance may hold. At least 1.
    pub prefetch: u32,
    pub results: Results,
    /// After so many items at most an instance is asked to leave and replaced. At least 1.
    pub max_items: Option<u64>,
    /// An instance that is to be replaced so waits while another replica is not ready, but no longer than this.
    pub renewal_wait: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Results {
    Null,
    Stdout,
    /// Appended to; joined to the file's directory by the compiler.
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartLimit {
    /// At so many failed starts within `interval` the worker is given up. At least 1.
    pub burst: u32,
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGiveUp {
    Shutdown,
    Ignore,
}

impl WorkerPlan {
    /// A plain service with nothing said about it: one replica, restarted at once and for ever when it fails.
    pub fn plain(name: &str, program: Program) -> WorkerPlan {
        let no_delay = Backoff { delay: Duration::ZERO, factor: 1.0, max: Duration::ZERO, jitter: 0.0 };
        WorkerPlan {
            name: name.to_owned(),
            program,
            replicas: 1,
            consumer: None,
            restart: Restart::OnFailure,
            restart_delay: no_delay,
            restart_reset_after: Duration::ZERO,
            start_limit: None,
            on_give_up: OnGiveUp::Shutdown,
            forward_signals: SignalSet::EMPTY,
            after: Vec::new(),
            level: 0,
            requires: Vec::new(),
            kind: Kind::Service,
            ready: None,
            start_timeout: None,
            health: None,
            watchdog: None,
        }
    }

    /// The probes that ask its instances: whether they are ready, and whether they are well.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        let ready = match &self.ready {
            Some(Ready::Probe(probe)) => Some(probe),
            Some(Ready::Fd(_) | Ready::Notify | Ready::Delay(_)) | None => None,
        };
        ready.into_iter().chain(self.health.as_ref().map(|health| &health.probe))
    }
}
