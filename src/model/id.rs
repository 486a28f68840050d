//! Names of things as small integers. A number is an index into the matching list of the [`Plan`](super::plan::Plan),
//! but for [`ProcId`], which is never used twice in a run.

use std::fmt;

macro_rules! index_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index_id!(
    /// `Plan::queues[i]`.
    QueueId
);
index_id!(
    /// `Plan::sources[i]`.
    SourceId
);
index_id!(
    /// `Plan::workers[i]`.
    WorkerId
);
index_id!(
    /// `Plan::instances[i]`: one running copy of a worker, or the one process of a command source.
    InstanceId
);

/// One incarnation of an instance: changes at each spawn, so that late timers, words and deaths of an old one are inert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcId(pub u64);

impl fmt::Display for ProcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
