//! Which machine this is, and which boot of it.

use std::fs;

/// Names the running kernel, for a file that outlives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The host name. Machines may share one, and a container has its own.
    pub name: String,
    /// The kernel's random number of this boot (`/proc/sys/kernel/random/boot_id`, random(4)), which containers on one
    /// kernel share. Empty if it cannot be read.
    pub boot_id: String,
}

impl Host {
    pub fn this() -> Host {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Host { name: read("/proc/sys/kernel/hostname"), boot_id: read("/proc/sys/kernel/random/boot_id") }
    }
}
