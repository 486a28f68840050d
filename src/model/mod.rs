//! The words every other room speaks. Depends on nothing but std.

pub mod id;
pub mod identity;
pub mod item;
pub mod plan;
pub mod printable;
pub mod probe;
pub mod process;
pub mod script;
pub mod signal;
pub mod time;
pub mod window;

pub use id::{InstanceId, ProcId, QueueId, SourceId, WorkerId};
pub use identity::{Identity, Resource};
pub use item::{Framing, Payload, Reply, Token, Verdict};
pub use probe::{ProbeAnswer, Refusal};
pub use process::{ExitStatus, Notice, PipeWriter, Seen, SpawnError, Stage, StopReason, Target};
pub use signal::{Signal, SignalSet};
pub use time::Time;
pub use window::Window;
