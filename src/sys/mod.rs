//! Every system call, all `unsafe`, and the only clock. Speaks the model's types. Nothing here decides anything.

pub mod aside;
pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod elevation;
pub mod executable;
pub mod fds;
pub mod file_user;
pub mod identity;
pub mod inbox;
pub mod init;
pub mod members;
pub mod memory;
pub mod notify_directory;
pub mod oom;
pub mod open;
pub mod reap;
pub mod secret;
pub mod sent;
pub mod signals;
pub mod spawn;
pub mod strangers;
pub mod terminal;
pub mod threads;
pub mod variables;

mod child;
mod dirents;
mod family;
#[cfg(feature = "faults")]
mod faults;
mod numbered;
mod proc;
mod raw;
mod stat;
mod trust;

/// To be asked before a system call that a library makes for us, so that a test build can have that one fail too. A
/// program that people run permits everything.
#[cfg_attr(feature = "faults", track_caller)]
pub fn permit() -> std::io::Result<()> {
    #[cfg(feature = "faults")]
    faults::strike()?;
    Ok(())
}

/// A process id as the kernel counts.
pub type Pid = i32;

/// A number that the kernel gives to no process: there are at most 2^22 (`PID_MAX_LIMIT`, proc_sys_kernel(5)).
pub const NOBODY: Pid = Pid::MAX;
