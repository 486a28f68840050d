//! Processes as /proc shows them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

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
