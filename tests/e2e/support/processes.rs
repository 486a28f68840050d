//! Processes as /proc shows them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

/// A process that bears a test's mark in its environment.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// Its state, and its arguments, each with a space behind it.
    pub command: String,
}

/// Every living process with this `NAME=VALUE` in its environment. A zombie has none and is not listed.
pub fn marked(mark: &str) -> Vec<Process> {
    let bears = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
    };
    pids().filter(bears).map(|pid| Process { pid, command: command(pid) }).collect()
}

/// Every living process whose working directory is this one or below it: daemons that write a title over their arguments
/// write over their environment too, and bear no mark any more.
pub fn within(directory: &Path) -> Vec<Process> {
    let inside = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
    pids().filter(inside).map(|pid| Process { pid, command: command(pid) }).collect()
}

/// A process that cannot be taken for a later one with its number.
#[derive(Clone, Debug)]
pub struct Known {
    pub pid: i32,
    /// In clock ticks since the boot.
    started: String,
    /// For the message of a failing test.
    #[allow(dead_code, reason = "read by Debug alone")]
    command: String,
}

impl Known {
    pub fn of(pid: i32) -> Option<Known> {
        Some(Known { pid, started: field(pid, 19)?, command: command(pid) })
    }

    /// A zombie does not.
    pub fn lives(&self) -> bool {
        let same = field(self.pid, 19).as_deref() == Some(&self.started);
        same && !matches!(state(self.pid), None | Some('Z' | 'X'))
    }
}

/// Children, their children and so on.
pub fn descendants(ancestor: i32) -> Vec<Known> {
    let mut found: Vec<Known> = children(ancestor).into_iter().filter_map(Known::of).collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|known| known.pid) {
        found.extend(children(parent).into_iter().filter_map(Known::of));
        at += 1;
    }
    found
}

/// Direct children, dead ones that nobody reaped included.
pub fn children(parent: i32) -> Vec<i32> {
    pids().filter(|&pid| field(pid, 1).and_then(|ppid| ppid.parse().ok()) == Some(parent)).collect()
}

/// The state letter of `/proc/PID/stat`; `None` when it is gone.
pub fn state(pid: i32) -> Option<char> {
    field(pid, 0)?.chars().next()
}

/// Voluntary context switches of all threads: what a process that sleeps and wakes collects.
pub fn context_switches(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().to_owned();
        line.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(|task| of(fs::read_to_string(task.path().join("status")).ok()?)).sum()
}

/// The same by number, for those that have no name.
pub fn send_number(pid: i32, number: i32) {
    // SAFETY: kill takes two integers.
    unsafe { nix::libc::kill(pid, number) };
}

/// Sends a signal; a process that is gone already is no error.
pub fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A field of `/proc/PID/stat`, counted from 0 behind the name, which may hold spaces and brackets.
fn field(pid: i32, index: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat[stat.rfind(')')? + 2..].split(' ').nth(index).map(str::to_owned)
}

fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = state(pid).unwrap_or('?');
    format!("{state} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}
