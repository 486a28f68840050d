//! What the kernel counts of those that it killed for want of memory, in the control group that we live in: `memory.events` of cgroup v2,
//! `memory.oom_control` of v1.

use super::cgroup::{Own, small_file};
use std::path::{Path, PathBuf};

/// The count, and what it was when it was last looked at.
#[derive(Debug)]
pub struct OomKills {
    file: PathBuf,
    seen: u64,
}

impl OomKills {
    /// `None` where the kernel does not count for us: without /proc, without a memory controller, or in no group at all.
    pub fn of_our_group() -> Option<OomKills> {
        let own = Own::read()?;
        let v2 = || own.home(None).map(|home| home.join("memory.events"));
        let v1 = || own.home(Some("memory")).map(|home| home.join("memory.oom_control"));
        let counted = |file: PathBuf| count(&file).map(|seen| OomKills { file, seen });
        v2().and_then(counted).or_else(|| v1().and_then(counted))
    }

    /// How many more there are since the last call.
    pub fn news(&mut self) -> u64 {
        let Some(now) = count(&self.file) else { return 0 };
        let before = std::mem::replace(&mut self.seen, now);
        now.saturating_sub(before)
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = String::from_utf8(small_file(file).ok()?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}
