//! Every system call, all `unsafe`, and the only clock. Speaks the model's types. Nothing here decides anything.

pub mod aside;
pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod elevation;
pub mod executable;
pub mod fds;
pub mod file_user;
pub mod host;
pub mod identity;
pub mod inbox;
pub mod init;
pub mod members;
pub mod memory;
pub mod notify_directory;
pub mod oom;
pub mod open;
pub mod pipe_writer;
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
pub mod file_head;
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
    #[cfg(test)]
    step();
    Ok(())
}

#[cfg(test)]
thread_local! {
    /// How many calls of `permit` this thread may make before it ends.
    static STEPS: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn step() {
    STEPS.with(|steps| match steps.get() {
        Some(0) => std::panic::resume_unwind(Box::new("killed")),
        Some(left) => steps.set(Some(left - 1)),
        None => {}
    });
}

/// Does `work` up to its `steps`th call of [`permit`], and ends it there as a KILL would: nothing tidies up, but the kernel closes
/// files and releases locks. Answers whether `work` came to its end.
#[cfg(test)]
pub fn kill_after(steps: u32, work: impl FnOnce()) -> bool {
    STEPS.set(Some(steps));
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    STEPS.set(None);
    told.is_ok()
}

/// A process id as the kernel counts.
pub type Pid = i32;

/// A number that the kernel gives to no process: there are at most 2^22 (`PID_MAX_LIMIT`, proc_sys_kernel(5)).
pub const NOBODY: Pid = Pid::MAX;
