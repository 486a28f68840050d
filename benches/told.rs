//! How long it takes until a thousand queue workers have all seen the exit event.

use crate::exeunt::{Run, own_command, own_path};
use crate::roles::WATCHER;
use crate::table::{Goal, Rounds, Table, Unit};
use nix::sys::signal::{Signal, kill};
use std::io::{PipeWriter, Read, Write, pipe};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const MANY: usize = 1000;
const ROUNDS: usize = 9;
/// What a watcher says when it runs.
pub const WORD: usize = size_of::<u32>();

pub fn toml(count: usize) -> String {
    let command = own_command(&[WATCHER, "5"]);
    format!(
        "[queue.jobs]\n[source.items]\nqueue = \"jobs\"\nstdin = true\n[worker.one]\nqueue = \"jobs\"\nreplicas = {count}\n\
         results = \"null\"\ncommand = {command}\n"
    )
}

pub fn measure(table: &mut Table) {
    let (mut starts, mut told, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (ours, floor) = (ours(), floor());
        starts.push((ours.0, floor.0));
        told.push((ours.1, floor.1));
        ends.push((ours.2, floor.2));
    }
    table.ratio(&format!("start of {MANY} queue workers"), Unit::Seconds, &Rounds::from(starts), Goal::None);
    table.ratio(&format!("exit event seen by {MANY}"), Unit::Seconds, &Rounds::from(told), Goal::AtMost(1.5));
    table.ratio(&format!("stop of {MANY} queue workers by event"), Unit::Seconds, &Rounds::from(ends), Goal::None);
}

/// Until all run; from TERM until all have seen the event, and until exeunt has left.
fn ours() -> (f64, f64, f64) {
    // The other end of its stdin: as long as it is open, the run goes on.
    let (stdin, held) = pipe().expect("a pipe");
    let begun = Instant::now();
    let mut run = Run::start(&toml(MANY), Stdio::from(stdin));
    run.hear(MANY * WORD);
    let started = begun.elapsed();
    crate::exeunt::settle();
    let begun = Instant::now();
    kill(run.pid(), Signal::SIGTERM).expect("TERM");
    run.hear(MANY);
    let told = begun.elapsed();
    run.end();
    drop(held);
    (started.as_secs_f64(), told.as_secs_f64(), begun.elapsed().as_secs_f64())
}

fn floor() -> (f64, f64, f64) {
    let (mut heard, stdout) = pipe().expect("a pipe");
    let begun = Instant::now();
    let mut watchers: Vec<(Child, PipeWriter)> = (0..MANY)
        .map(|_| {
            let (event, tell) = pipe().expect("a pipe");
            let stdout = stdout.try_clone().expect("a descriptor");
            let child = Command::new(own_path()).args([WATCHER, "0"]).stdin(event).stdout(stdout).spawn();
            (child.expect("a watcher"), tell)
        })
        .collect();
    heard.read_exact(&mut vec![0; MANY * WORD]).expect("their words");
    let started = begun.elapsed();
    crate::exeunt::settle();
    let begun = Instant::now();
    watchers.iter_mut().for_each(|(_, tell)| tell.write_all(b"stop shutdown 5000\n").expect("the event"));
    heard.read_exact(&mut vec![0; MANY]).expect("their words");
    let told = begun.elapsed();
    watchers.into_iter().for_each(|(mut child, _)| _ = child.wait().expect("wait"));
    (started.as_secs_f64(), told.as_secs_f64(), begun.elapsed().as_secs_f64())
}
