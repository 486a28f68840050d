//! What exeunt costs while nothing happens: memory and wake-ups.

use crate::exeunt::{Run, program, settle};
use crate::table::{Goal, Table};
use crate::{services, told};
use nix::unistd::Pid;
use std::fs;
use std::io::pipe;
use std::process::Stdio;
use std::time::Duration;

/// PSS and private dirty memory in KiB.
pub const SMALL: (Goal, Goal) = (Goal::AtMost(2200.0), Goal::AtMost(250.0));

const WATCHED: Duration = Duration::from_secs(3);

pub fn idle(table: &mut Table) {
    for count in [20, 1000] {
        let mut run = Run::start(&services::toml(count), Stdio::null());
        run.hear(count * told::WORD);
        settle();
        let before = switches(run.pid());
        std::thread::sleep(WATCHED);
        let woken = switches(run.pid()) - before;
        run.stop();
        table.plain(&format!("wake-ups in 3 s, {count} services"), woken as f64, "", Goal::AtMost(0.0));
    }
}

/// Voluntary context switches of all threads: each is one sleep that ended.
fn switches(pid: Pid) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the threads");
    let status = threads.map(|thread| fs::read_to_string(thread.expect("a thread").path().join("status")));
    status.map(|text| field(&text.expect("its status"), "voluntary_ctxt_switches:")).sum()
}

/// The goals are for a binary without shared libraries, whose pages nobody shares with it.
pub fn measure(table: &mut Table) {
    let size = fs::metadata(program()).expect("the program").len();
    table.plain("size of the program, with its symbols or not", size as f64 / 1024.0, "KiB", Goal::None);
    for count in [1, 10, 100, 1000] {
        let goals = match count {
            10 => SMALL,
            1000 => (Goal::AtMost(10_240.0), Goal::None),
            _ => (Goal::None, Goal::None),
        };
        let mut run = Run::start(&services::toml(count), Stdio::null());
        run.hear(count * told::WORD);
        tell(table, run.pid(), &format!("{count} services"), goals);
        run.stop();
    }
    for count in [1, 10, 100, 1000] {
        let (stdin, held) = pipe().expect("a pipe");
        let mut run = Run::start(&told::toml(count), Stdio::from(stdin));
        run.hear(count * told::WORD);
        tell(table, run.pid(), &format!("{count} queue workers"), (Goal::None, Goal::None));
        drop(held);
        run.end();
    }
}

pub fn tell(table: &mut Table, pid: Pid, what: &str, (pss, dirty): (Goal, Goal)) {
    // Until a program that was just built is on the disk, its own pages count as dirty.
    fs::File::open(format!("/proc/{pid}/exe")).and_then(|program| program.sync_all()).expect("the program");
    settle();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its memory");
    table.plain(&format!("PSS, {what}"), field(&rollup, "Pss:") as f64, "KiB", pss);
    table.plain(&format!("private dirty, {what}"), field(&rollup, "Private_Dirty:") as f64, "KiB", dirty);
}

/// The number after a line's name.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the line");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
