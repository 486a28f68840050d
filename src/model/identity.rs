//! As whom and within which limits a program runs. All numbers: names were looked up by the compiler.

use super::signal::Signal;

/// What a program is given beyond what exeunt itself was started with. The default says nothing: all is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The real, effective and saved user.
    pub user: Option<Account>,
    /// The real, effective and saved group.
    pub group: Option<Account>,
    /// The supplementary groups, all of them.
    pub groups: Option<Vec<Account>>,
    /// Permissions that new files do not get, 0 to 0o777 (umask(2)).
    pub umask: Option<u32>,
    /// -20 to 19 (setpriority(2)).
    pub nice: Option<i32>,
    /// -1000 to 1000 (proc_pid_oom_score_adj(5)).
    pub oom_score_adjust: Option<i32>,
    /// Each resource at most once.
    pub limits: Vec<Limit>,
    /// Nothing it executes gives it more rights than it has (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// What the kernel sends it when exeunt dies (`PR_SET_PDEATHSIG`).
    pub parent_death: Option<Signal>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: u32,
    /// As people know it: its name, or the number where that was all the file said.
    pub name: String,
}

/// A limit of a resource (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub resource: Resource,
    pub soft: Bound,
    pub hard: Bound,
}

/// One of the two numbers of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// As exeunt's own; a soft limit no higher than the hard one.
    Inherited,
    At(u64),
    Unlimited,
}

/// What can be limited, by the names of ulimit(1) and setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    pub const ALL: [Resource; 16] = [
        Resource::As,
        Resource::Core,
        Resource::Cpu,
        Resource::Data,
        Resource::Fsize,
        Resource::Locks,
        Resource::Memlock,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Nofile,
        Resource::Nproc,
        Resource::Rss,
        Resource::Rtprio,
        Resource::Rttime,
        Resource::Sigpending,
        Resource::Stack,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Resource::As => "as",
            Resource::Core => "core",
            Resource::Cpu => "cpu",
            Resource::Data => "data",
            Resource::Fsize => "fsize",
            Resource::Locks => "locks",
            Resource::Memlock => "memlock",
            Resource::Msgqueue => "msgqueue",
            Resource::Nice => "nice",
            Resource::Nofile => "nofile",
            Resource::Nproc => "nproc",
            Resource::Rss => "rss",
            Resource::Rtprio => "rtprio",
            Resource::Rttime => "rttime",
            Resource::Sigpending => "sigpending",
            Resource::Stack => "stack",
        }
    }

    pub fn named(name: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|resource| resource.name() == name)
    }

    /// Whether it is counted in bytes.
    pub const fn is_bytes(self) -> bool {
        match self {
            Resource::As
            | Resource::Core
            | Resource::Data
            | Resource::Fsize
            | Resource::Memlock
            | Resource::Msgqueue
            | Resource::Rss
            | Resource::Stack => true,
            Resource::Cpu
            | Resource::Locks
            | Resource::Nice
            | Resource::Nofile
            | Resource::Nproc
            | Resource::Rtprio
            | Resource::Rttime
            | Resource::Sigpending => false,
        }
    }
}

impl Identity {
    /// The user's and all groups' numbers, where they are said: what may be looked at, and what may not, depends on them.
    pub fn uid(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.id)
    }

    pub fn gid(&self) -> Option<u32> {
        self.group.as_ref().map(|group| group.id)
    }

    pub fn limit(&self, resource: Resource) -> Option<Limit> {
        self.limits.iter().copied().find(|limit| limit.resource == resource)
    }
}
