//! What the kernel counts of those that it killed for want of memory, in the control group that we live in: `memory.events` of cgroup v2,
//! `memory.oom_control` of v1.

use super::cgroup::{Own, small_file};
use std::path::{Path, PathBuf};

/// How many it was.
#[derive(Debug, Default)]
pub enum OomKills {
    /// Nobody asked yet.
    #[default]
    Unasked,
    /// The kernel does not count for us: without /proc, without a memory controller, or in no group at all.
    Uncounted,
    /// The count is in this file, and was that when it was last looked at.
    Counted { file: PathBuf, seen: u64 },
}

impl OomKills {
    /// What is counted from now on is [news](OomKills::news). Reads a few files the first time, and is to be called when somebody
    /// runs who can use that time.
    pub fn begin(&mut self) {
        if matches!(self, OomKills::Unasked) {
            *self = OomKills::of_our_group().unwrap_or(OomKills::Uncounted);
        }
    }

    /// How many more there are since the last call, or since the beginning. None before that.
    pub fn news(&mut self) -> u64 {
        let OomKills::Counted { file, seen } = self else { return 0 };
        let Some(now) = count(file) else { return 0 };
        now.saturating_sub(std::mem::replace(seen, now))
    }

    fn of_our_group() -> Option<OomKills> {
        let own = Own::read()?;
        let v2 = || own.home(None).map(|home| home.join("memory.events"));
        let v1 = || own.home(Some("memory")).map(|home| home.join("memory.oom_control"));
        let counted = |file: PathBuf| count(&file).map(|seen| OomKills::Counted { file, seen });
        v2().and_then(counted).or_else(|| v1().and_then(counted))
    }
}

fn count(file: &Path) -> Option<u64> {
    let text = String::from_utf8(small_file(file).ok()?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f38_news_are_what_came_since_the_last_look() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let says = |count: u64| std::fs::write(file.path(), format!("oom 7\noom_kill {count}\n")).unwrap();
        let mut kills = OomKills::default();
        assert_eq!(kills.news(), 0);
        kills = OomKills::Counted { file: file.path().into(), seen: 2 };
        kills.begin();
        says(5);
        assert_eq!((kills.news(), kills.news()), (3, 0));
        says(1);
        assert_eq!(kills.news(), 0, "another group's count");
        assert_eq!(OomKills::Uncounted.news(), 0);
    }
}
