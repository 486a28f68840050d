//! The plan: the configuration as meant. Every default is filled in, every name resolved, every limit a number.

use super::id::{InstanceId, QueueId, SourceId, WorkerId};
use super::identity::Identity;
use super::item::Framing;
use super::process::ExitStatus;
use super::signal::{Signal, SignalSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub name: String,
    /// One deadline for a whole stop; `None`: as long as the ladders need.
    pub stop_budget: Option<Duration>,
    pub end: End,
    pub exit_code_from: Option<WorkerId>,
    pub cgroup: ControlGroups,
    pub queues: Vec<QueuePlan>,
    pub sources: Vec<SourcePlan>,
    pub workers: Vec<WorkerPlan>,
    /// One entry for each process slot: command sources first, then the workers' replicas, in the order of the file.
    pub instances: Vec<Role>,
    /// Not a file's plan, but one program under `exeunt init`: the first worker, which is what the run is about.
    pub init: Option<Init>,
}

/// What is particular to `exeunt init`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Init {
    /// Exit codes of the program that become 0.
    pub as_zero: Vec<u8>,
    /// What the program leaves behind is waited for and not stopped.
    pub wait_all: bool,
}

/// What a process slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Source(SourceId),
    /// Replica `index` of a worker.
    Worker {
        worker: WorkerId,
        index: u32,
    },
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When no work and no plain service is left.
    Idle,
    /// When the work is done; services are then stopped.
    Work,
}

/// Whether each program is put into a control group of its own (cgroups(7), version 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlGroups {
    /// Where we may make some.
    Auto,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueuePlan {
    pub name: String,
    /// Items waiting, delayed or leased, at most. At least 1.
    pub size: usize,
    /// Payload bytes held, at most. At least `max_item`.
    pub max_bytes: u64,
    /// Payload bytes of one item, at most.
    pub max_item: usize,
    pub on_full: OnFull,
    pub item_timeout: Option<Duration>,
    /// At least 1.
    pub max_attempts: u32,
    /// At least 1.
    pub max_crashes: u32,
    pub backoff: Backoff,
    pub drain_on_stop: bool,
    /// Absolute, or relative to exeunt's own working directory; the compiler joined it to the file's directory.
    pub leftovers: Option<PathBuf>,
    /// Of the leftovers: the framing of the queue's source.
    pub framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Stop reading the source.
    Block,
    /// A plain source's item becomes a dead letter.
    Reject,
}

/// Exponential delays: `delay`, `delay * factor`, …, never over `max`, each times a random number in `1 ± jitter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub delay: Duration,
    /// At least 1.
    pub factor: f64,
    pub max: Duration,
    /// 0 to 1.
    pub jitter: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    pub name: String,
    pub queue: QueueId,
    pub framing: Framing,
    pub feed: Feed,
}

/// Where a source's items come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    Stdin,
    /// The standard output of a program.
    Command(Box<Program>),
}

/// How a process is started, watched and stopped: what a worker and a command source have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Never empty; variables are expanded, but for the instance's name: see [`INSTANCE_MARK`].
    pub command: Vec<String>,
    pub working_directory: Option<PathBuf>,
    /// Set in the child, in this order; the last of equal names wins.
    pub env: Vec<(String, String)>,
    /// Start from an empty environment instead of exeunt's own.
    pub env_clear: bool,
    /// Variables whose values are read from files at each start; set after `env`.
    pub secrets: Vec<Secret>,
    pub identity: Identity,
    /// SIG_IGN in the child, kept over exec.
    pub ignore_signals: SignalSet,
    /// In the child's signal mask, kept over exec.
    pub block_signals: SignalSet,
    pub place: Place,
    pub log: Log,
    pub ladder: Vec<Rung>,
    pub kill_mode: KillMode,
    /// Exit codes that count as success; holds 0 unless the file says otherwise.
    pub success_exit_status: Vec<u8>,
}

/// Where a program stands among sessions, groups and terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A session of its own: no signal of a terminal reaches it.
    Session,
    /// A process group of its own in our session, in the foreground of our terminal. Where standard input is no terminal
    /// that controls us, a session of its own.
    Terminal,
    /// Our own session and process group.
    Beside,
}

/// A variable whose value nobody but the program shall see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    /// Holds the value and at most one line feed at its end; joined to the file's directory by the compiler.
    pub path: PathBuf,
}

/// Stands for the instance's name in the words of a program. No string of a file, of the environment or of the kernel can hold
/// it, so that it means nothing else.
pub const INSTANCE_MARK: char = '\0';

/// What a program is told, with the name of one instance in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub command: Vec<String>,
    pub working_directory: Option<PathBuf>,
    pub env: Vec<(String, String)>,
    pub secrets: Vec<Secret>,
}

/// One rung of a stop ladder. KILL always follows the last and is not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub step: Step,
    /// Until the next rung.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Event,
    Signal(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// Signals to the leader, survivors and KILL to all members.
    Mixed,
    /// All to all members.
    Group,
    /// The leader only.
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Inherit,
    Null,
}

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
    /// A connection that is accepted is yes. The port is not 0.
    Tcp(std::net::SocketAddr),
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
    /// After so many items an instance is asked to leave and replaced. At least 1.
    pub max_items: Option<u64>,
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
}

impl WorkerPlan {
    /// The probes that ask its instances: whether they are ready, and whether they are well.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        let ready = match &self.ready {
            Some(Ready::Probe(probe)) => Some(probe),
            Some(Ready::Fd(_) | Ready::Notify | Ready::Delay(_)) | None => None,
        };
        ready.into_iter().chain(self.health.as_ref().map(|health| &health.probe))
    }
}

impl Plan {
    pub fn queue(&self, id: QueueId) -> &QueuePlan {
        &self.queues[id.index()]
    }

    pub fn source(&self, id: SourceId) -> &SourcePlan {
        &self.sources[id.index()]
    }

    pub fn worker(&self, id: WorkerId) -> &WorkerPlan {
        &self.workers[id.index()]
    }

    pub fn role(&self, id: InstanceId) -> Role {
        self.instances[id.index()]
    }

    /// `NAME.0` for a worker's replica, the source's name for a command source, the bare name of the program of an init.
    pub fn instance_name(&self, id: InstanceId) -> String {
        match self.role(id) {
            Role::Worker { worker, .. } if self.init.is_some() => self.worker(worker).name.clone(),
            Role::Source(source) => self.source(source).name.clone(),
            Role::Worker { worker, index } => format!("{}.{index}", self.worker(worker).name),
        }
    }

    /// The program of a process slot. A slot of a source always has one: only command sources have slots.
    pub fn program(&self, id: InstanceId) -> &Program {
        match self.role(id) {
            Role::Worker { worker, .. } => &self.worker(worker).program,
            Role::Source(source) => match &self.source(source).feed {
                Feed::Command(program) => program,
                Feed::Stdin => unreachable!("the compiler makes slots for command sources only"),
            },
        }
    }

    /// The program's words for a process slot.
    pub fn words(&self, id: InstanceId) -> Words {
        self.program(id).words(&self.instance_name(id))
    }

    /// The queue side of a process slot, if it consumes.
    pub fn consumer(&self, id: InstanceId) -> Option<&Consumer> {
        match self.role(id) {
            Role::Worker { worker, .. } => self.worker(worker).consumer.as_ref(),
            Role::Source(_) => None,
        }
    }

    /// The list that belongs into [`Plan::instances`]: command sources first, then the workers' replicas.
    pub fn roles(sources: &[SourcePlan], workers: &[WorkerPlan]) -> Vec<Role> {
        let sources = (0u32..).zip(sources).filter(|(_, source)| matches!(source.feed, Feed::Command(_)));
        let sources = sources.map(|(i, _)| Role::Source(SourceId(i)));
        let replicas = (0u32..)
            .zip(workers)
            .flat_map(|(i, worker)| (0..worker.replicas).map(move |index| Role::Worker { worker: WorkerId(i), index }));
        sources.chain(replicas).collect()
    }

    /// The stop levels in the order they leave: command sources first, then the workers from the highest level down.
    pub fn stop_levels(&self) -> Vec<Vec<InstanceId>> {
        let rank = |role: &Role| match *role {
            Role::Source(_) => 0,
            Role::Worker { worker, .. } => u32::MAX - self.worker(worker).level,
        };
        let mut levels = std::collections::BTreeMap::<u32, Vec<InstanceId>>::new();
        for (i, role) in (0u32..).zip(&self.instances) {
            levels.entry(rank(role)).or_default().push(InstanceId(i));
        }
        levels.into_values().collect()
    }

    /// The longest a stop may take when every ladder is climbed to KILL: the slowest ladder of each level, added up, and not
    /// more than `stop_budget`. Members that outlive their leader may add a second to each level.
    pub fn worst_stop(&self) -> Duration {
        let level_time =
            |level: &Vec<InstanceId>| level.iter().map(|&id| self.program(id).ladder_time()).max().unwrap_or_default();
        let ladders = self.stop_levels().iter().map(level_time).sum::<Duration>();
        self.stop_budget.map_or(ladders, |budget| ladders.min(budget))
    }
}

impl Program {
    /// A program with nothing said about it: no ladder, so that KILL is its only rung.
    pub fn plain(command: Vec<String>) -> Program {
        Program {
            command,
            working_directory: None,
            env: Vec::new(),
            env_clear: false,
            secrets: Vec::new(),
            identity: Identity::default(),
            ignore_signals: SignalSet::EMPTY,
            block_signals: SignalSet::EMPTY,
            place: Place::Session,
            log: Log::Inherit,
            ladder: Vec::new(),
            kill_mode: KillMode::Mixed,
            success_exit_status: vec![0],
        }
    }

    /// What the instance of this name is told.
    pub fn words(&self, instance: &str) -> Words {
        self.words_with(&self.command, instance)
    }

    /// What a probe of the instance of this name is told: all that the program is, but for its own command.
    pub fn words_with(&self, command: &[String], instance: &str) -> Words {
        let text = |text: &String| text.replace(INSTANCE_MARK, instance);
        let path = |path: &PathBuf| named_path(path, instance);
        let secret = |secret: &Secret| Secret { name: secret.name.clone(), path: path(&secret.path) };
        Words {
            command: command.iter().map(text).collect(),
            working_directory: self.working_directory.as_ref().map(path),
            env: self.env.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            secrets: self.secrets.iter().map(secret).collect(),
        }
    }

    /// Whether each instance is told something of its own.
    pub fn differs_by_instance(&self) -> bool {
        self.words("") != self.words("x")
    }

    /// Whether a program that ended by itself like this ended well.
    pub fn is_success(&self, status: ExitStatus) -> bool {
        matches!(status, ExitStatus::Exited(code) if self.success_exit_status.contains(&code))
    }

    /// All waits of the ladder: how long after its beginning KILL comes.
    pub fn ladder_time(&self) -> Duration {
        self.ladder.iter().map(|rung| rung.wait).sum()
    }

    pub fn has_event_rung(&self) -> bool {
        self.ladder.iter().any(|rung| rung.step == Step::Event)
    }

    /// The wait of the last rung that is a signal; the default of a stop, 3 s, where there is none.
    pub fn last_signal_wait(&self) -> Duration {
        let mut signals = self.ladder.iter().rev().filter(|rung| rung.step != Step::Event);
        signals.next().map_or(Duration::from_secs(3), |rung| rung.wait)
    }
}

fn named_path(path: &Path, instance: &str) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace(INSTANCE_MARK, instance)),
        // The part that is no text came from the file's own directory, and each component is text or is not.
        None => path
            .iter()
            .map(|part| match part.to_str() {
                Some(text) => text.replace(INSTANCE_MARK, instance).into(),
                None => part.to_owned(),
            })
            .collect(),
    }
}
