//! Which other process can still write into one of our pipes.

use super::proc::{self, Proc};
use super::{fds, raw};
use crate::model::PipeWriter;
use std::os::fd::BorrowedFd;

/// Processes that are looked at, at most, and open files of all of them together: a machine full of processes must not hold
/// up the loop for longer than some milliseconds.
const MOST_PROCESSES: usize = 10_000;
const MOST_FILES: usize = 50_000;

/// Another process that has this pipe open for writing, as /proc shows it (proc_pid_fd(5)). `None` where there is none,
/// where /proc cannot be read, where the process belongs to a user whose files we may not look at, or where the search
/// takes too long.
pub fn other_writer(pipe: BorrowedFd) -> Option<PipeWriter> {
    let (_, inode) = fds::identity(pipe).ok()?;
    proc::with(|proc| search(proc, &format!("pipe:[{inode}]"))).flatten()
}

fn search(proc: &mut Proc, target: &str) -> Option<PipeWriter> {
    let us = raw::own_pid();
    let mut files = 0;
    for pid in proc.pids()?.into_iter().filter(|&pid| pid != us).take(MOST_PROCESSES) {
        if proc.writes_to(pid, target.as_bytes(), &mut files) {
            return Some(PipeWriter { pid, name: proc.command_name(pid).unwrap_or_default() });
        }
        if files >= MOST_FILES {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_that_has_the_write_end_is_found_and_one_with_the_read_end_is_not() {
        let pipe = fds::pipe().unwrap();
        assert_eq!(other_writer(pipe.read.as_fd()), None);
        let end = |fd: &std::os::fd::OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let reader = Command::new("sleep").arg("60").stdin(end(&pipe.read)).stdout(Stdio::null()).spawn();
        let mut reader = reader.unwrap();
        assert_eq!(other_writer(pipe.read.as_fd()), None, "it can only read {}", pipe.read.as_raw_fd());
        let writer = Command::new("sleep").arg("60").stdout(end(&pipe.write)).spawn();
        let mut writer = writer.unwrap();
        let found = other_writer(pipe.read.as_fd());
        let expected = PipeWriter { pid: i32::try_from(writer.id()).unwrap(), name: "sleep".into() };
        for child in [&mut reader, &mut writer] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, Some(expected));
    }
}
