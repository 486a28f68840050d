//! Items through one worker, against the same bytes over bare pipes with the same window.

use crate::exeunt::{Run, own_command, own_path};
use crate::roles::WORKER;
use crate::table::{Goal, Rounds, Table, Unit};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

const ROUNDS: usize = 15;

/// Window, bytes of an item, items in a round.
const CASES: [(u32, usize, u64); 9] = [
    (1, 10, 20_000),
    (1, 100, 20_000),
    (1, 10_000, 10_000),
    (16, 10, 150_000),
    (16, 100, 150_000),
    (16, 10_000, 10_000),
    (128, 10, 600_000),
    (128, 100, 400_000),
    (128, 10_000, 10_000),
];

pub fn measure(table: &mut Table) {
    for (window, size, count) in CASES {
        let items = items(size, count);
        let rounds = Rounds::of(ROUNDS, || ours(window, count, &items), || floor(window, size, count, None));
        let goal = if window == 1 { Goal::AtLeast(0.8) } else { Goal::None };
        let what = format!("queue, prefetch {window}, {} items", bytes(size));
        table.ratio(&what, Unit::PerSecond, &rounds, goal);
        if (window, size) == (128, 10) {
            table.absolute("the same by itself", Unit::PerSecond, &rounds, Goal::AtLeast(3e6));
        }
        if (window, size) == (1, 10) {
            let polled = || floor(window, size, count, Poll::new().ok());
            let rounds = Rounds::of(ROUNDS, polled, || floor(window, size, count, None));
            table.ratio("the floor itself, waiting with epoll", Unit::PerSecond, &rounds, Goal::None);
        }
    }
}

fn bytes(size: usize) -> String {
    if size < 1000 { format!("{size} B") } else { format!("{} KB", size / 1000) }
}

/// A file in memory, so that no disk is measured.
pub fn items(size: usize, count: u64) -> File {
    let mut file = File::from(memfd_create("items", MFdFlags::MFD_CLOEXEC).expect("memory"));
    let mut chunk = Vec::new();
    for number in 0..count {
        let begin = chunk.len();
        write!(chunk, "{number:0>10}").expect("memory");
        chunk.resize(begin + size, b'x');
        chunk.push(b'\n');
        if chunk.len() > 1 << 20 || number + 1 == count {
            file.write_all(&chunk).expect("memory");
            chunk.clear();
        }
    }
    file
}

/// The same file, read from its beginning.
pub fn stdin(mut items: &File) -> Stdio {
    items.rewind().expect("memory");
    Stdio::from(items.try_clone().expect("a descriptor"))
}

fn ours(window: u32, count: u64, items: &File) -> f64 {
    let command = own_command(&[WORKER, "3", "4", "1"]);
    let toml = format!(
        "[queue.jobs]\n[source.items]\nqueue = \"jobs\"\nstdin = true\n[worker.one]\nqueue = \"jobs\"\nprefetch = {window}\n\
         results = \"null\"\ncommand = {command}\n"
    );
    per_second(&Run::start(&toml, stdin(items)).end(), count)
}

/// What the worker told: items and nanoseconds.
fn per_second(told: &str, count: u64) -> f64 {
    let mut numbers = told.split_whitespace().map(|word| word.parse::<u64>().expect("a number"));
    assert_eq!(numbers.next(), Some(count), "the worker has seen every item once");
    count as f64 / (numbers.next().expect("a time") as f64 / 1e9)
}

/// As many frames as the window has room for, in one write; then what is answered, in one read. With a `poll` each read is
/// preceded by a wait for it: what it costs to be able to hear anybody else.
fn floor(window: u32, size: usize, count: u64, mut poll: Option<Poll>) -> f64 {
    let mut command = Command::new(own_path());
    command.args([WORKER, "0", "1", "2"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = command.spawn().expect("the worker");
    let (mut items, mut replies) = (worker.stdin.take().expect("a pipe"), worker.stdout.take().expect("a pipe"));
    let mut events = Events::with_capacity(16);
    if let Some(poll) = &poll {
        let source = &mut SourceFd(&replies.as_raw_fd());
        poll.registry().register(source, Token(0), Interest::READABLE).expect("epoll");
    }
    let payload = vec![b'x'; size];
    let (mut out, mut heard) = (Vec::new(), vec![0; 64 * 1024]);
    let (mut given, mut answered) = (0, 0);
    while answered < count {
        while given < count && given - answered < u64::from(window) {
            given += 1;
            write!(out, "{given}.1 ").expect("memory");
            out.extend_from_slice(&payload);
            out.push(b'\n');
        }
        items.write_all(&out).expect("items");
        out.clear();
        if let Some(poll) = &mut poll {
            poll.poll(&mut events, None).expect("epoll");
        }
        let length = replies.read(&mut heard).expect("replies");
        answered += memchr::memchr_iter(b'\n', &heard[..length]).count() as u64;
    }
    drop(items);
    let mut told = String::new();
    worker.stderr.take().expect("a pipe").read_to_string(&mut told).expect("the count");
    worker.wait().expect("wait");
    per_second(&told, count)
}
