//! Every system call, all `unsafe`, and the only clock. Speaks the model's types. Nothing here decides anything.

pub mod clock;
pub mod fds;
pub mod identity;
pub mod init;
pub mod members;
pub mod reap;
pub mod signals;
pub mod spawn;
pub mod threads;

mod child;
mod dirents;
#[cfg(feature = "faults")]
mod faults;
mod proc;
mod raw;
mod stat;

/// A process id as the kernel counts.
pub type Pid = i32;
