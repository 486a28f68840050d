//! What this program is when exeunt, or a floor, starts it: a worker, a service, a maker of orphans.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pause};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

pub const WORKER: &str = "as-worker";
pub const SERVICE: &str = "as-service";
pub const LISTENER: &str = "as-listener";
pub const WATCHER: &str = "as-watcher";
pub const ORPHAN_MAKER: &str = "as-orphan-maker";
pub const SUBREAPER: &str = "as-subreaper";

/// Plays the part that the first argument names, if it names one.
pub fn play(arguments: &[String]) -> Option<ExitCode> {
    let number = |at: usize| arguments.get(at).and_then(|word| word.parse().ok()).expect("a number");
    match arguments.first().map(String::as_str)? {
        WORKER => worker(number(1), number(2), number(3)),
        SERVICE => service(),
        LISTENER => listener(),
        WATCHER => watcher(number(1)),
        ORPHAN_MAKER => orphan_maker(number(1)),
        SUBREAPER => subreaper(number(1)),
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn descriptor(number: i32) -> File {
    // SAFETY: who starts us in a role hands us this descriptor, and each role takes each number once.
    unsafe { File::from_raw_fd(number) }
}

/// Answers `ok TOKEN` to every whole line, with one write for each read. At the end it tells how many there were, and how
/// many nanoseconds lay between the first read and the last write.
fn worker(items: i32, replies: i32, told: i32) {
    let (mut items, mut replies, mut told) = (descriptor(items), descriptor(replies), descriptor(told));
    let mut buffer = vec![0; 64 * 1024];
    let (mut held, mut count, mut out) = (0, 0u64, Vec::new());
    let (mut first, mut last) = (None, Duration::ZERO);
    loop {
        let length = items.read(&mut buffer[held..]).expect("items");
        if length == 0 {
            break;
        }
        let first = *first.get_or_insert_with(Instant::now);
        let (filled, mut begin) = (held + length, 0);
        while let Some(at) = memchr::memchr(b'\n', &buffer[begin..filled]) {
            let line = &buffer[begin..begin + at];
            let token = &line[..memchr::memchr(b' ', line).expect("a token")];
            out.extend_from_slice(b"ok ");
            out.extend_from_slice(token);
            out.push(b'\n');
            count += 1;
            begin += at + 1;
        }
        replies.write_all(&out).expect("replies");
        out.clear();
        last = first.elapsed();
        buffer.copy_within(begin..filled, 0);
        held = filled - begin;
    }
    writeln!(told, "{count} {}", last.as_nanos()).expect("the count");
}

/// Says its pid in four bytes and waits for a signal.
fn service() {
    descriptor(1).write_all(&std::process::id().to_ne_bytes()).expect("stdout");
    loop {
        pause();
    }
}

/// Says its pid in four bytes, and a byte for each USR1.
fn listener() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGUSR1);
    signals.thread_block().expect("a mask");
    let mut out = descriptor(1);
    out.write_all(&std::process::id().to_ne_bytes()).expect("stdout");
    while signals.wait().is_ok() {
        out.write_all(b"x").expect("stdout");
    }
}

/// Says its pid in four bytes, waits until there is something to read, or the end, and says a byte.
fn watcher(event: i32) {
    let mut out = descriptor(1);
    out.write_all(&std::process::id().to_ne_bytes()).expect("stdout");
    let _length = descriptor(event).read(&mut [0; 64]).expect("the event");
    out.write_all(b"x").expect("stdout");
}

/// Forks so many children whose own children are orphans, and end, at once.
fn orphan_maker(count: i32) {
    for _ in 0..count {
        // SAFETY: we have one thread, and the child does nothing but fork and leave.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                // SAFETY: as above; both leave at once, without the handlers of a process that they are a copy of.
                unsafe {
                    let _ = fork();
                    libc::_exit(0)
                }
            }
            ForkResult::Parent { child } => _ = waitpid(child, None).expect("wait"),
        }
    }
}

/// The floor for orphans: a process that they come to, and that does nothing but wait for them.
fn subreaper(count: i32) {
    nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
    let maker = Command::new(crate::exeunt::own_path()).args([ORPHAN_MAKER, &count.to_string()]).spawn();
    drop(maker.expect("the maker"));
    let mut reaped: i32 = 0;
    while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::empty())) {
        reaped += i32::from(matches!(status, WaitStatus::Exited(..)));
    }
    assert_eq!(reaped, count + 1, "all orphans and their maker");
}
