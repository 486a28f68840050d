//! The plan: the configuration as meant. Every default is filled in, every name resolved, every limit a number.

mod address;
mod longest;
mod program;
mod worker;

pub use address::TcpAddress;
pub use longest::{
    LAST_MOMENT, LongestStop, STDIN_SILENCE, STOP_READ_TIMEOUT, STRANGERS_LEAST, STRANGERS_TERM, SURVIVORS_EXTRA,
};
pub use program::{INSTANCE_MARK, KillMode, Log, Place, Program, Rung, Secret, Step, Words};
pub use worker::{Consumer, Health, Kind, OnGiveUp, Probe, Ready, Restart, Results, StartLimit, WorkerPlan};

use super::id::{InstanceId, QueueId, SourceId, WorkerId};
use super::item::Framing;
use std::path::PathBuf;
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
    /// How long each process that the program leaves behind has between its stop signal and KILL. `None`: the members of its
    /// session have the wait of the ladder's last signal, what left that session has [`STRANGERS_TERM`]; with `wait_all` they
    /// are never killed.
    pub stop_timeout: Option<Duration>,
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
    /// What is in the leftovers is taken in before the first source of the queue is read. Needs `leftovers`.
    pub leftovers_first: bool,
    /// Once a stop has handed back so many bytes of this queue, standard input is read no more.
    pub leftovers_max: u64,
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
    /// In a stop standard input is read for so long once the last worker has left.
    pub stop_read_timeout: Duration,
}

/// Where a source's items come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    Stdin,
    /// The standard output of a program.
    Command(Box<Program>),
}

impl Plan {
    /// With nothing in it, and nothing asked for.
    pub fn empty(name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            stop_budget: None,
            end: End::Idle,
            exit_code_from: None,
            cgroup: ControlGroups::Off,
            queues: Vec::new(),
            sources: Vec::new(),
            workers: Vec::new(),
            instances: Vec::new(),
            init: None,
        }
    }

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
}
