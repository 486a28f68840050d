//! Start, crash and stop of plain services.

use crate::exeunt::{Run, own_command, own_path};
use crate::roles::SERVICE;
use crate::table::{Goal, Rounds, Table, Unit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{PipeReader, Read, pipe};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MANY: usize = 1000;
const ROUNDS: usize = 9;
const CRASHES: usize = 100;
/// A service says its pid when it runs.
const WORD: usize = size_of::<u32>();

pub fn toml(count: usize) -> String {
    format!("[worker.service]\nreplicas = {count}\ncommand = {}\n", own_command(&[SERVICE]))
}

pub fn start_and_stop(table: &mut Table) {
    for (keys, note) in [("", ""), ("[supervisor]\ncgroup = \"off\"\n", ", without control groups")] {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (ours, floor) = (run_many(keys), spawn_many());
            starts.push((ours.0, floor.0));
            stops.push((ours.1, floor.1));
        }
        let row = |what: &str| format!("{what} {MANY} services{note}");
        table.ratio(&row("start of"), Unit::Seconds, &Rounds::from(starts), Goal::AtMost(1.5));
        table.ratio(&row("stop by TERM of"), Unit::Seconds, &Rounds::from(stops), Goal::AtMost(1.5));
    }
}

/// Until all have said their word, and from TERM until exeunt has left.
fn run_many(keys: &str) -> (f64, f64) {
    let begun = Instant::now();
    let mut run = Run::start(&format!("{keys}{}", toml(MANY)), Stdio::null());
    run.hear(MANY * WORD);
    let started = begun.elapsed();
    crate::exeunt::settle();
    let begun = Instant::now();
    run.stop();
    (started.as_secs_f64(), begun.elapsed().as_secs_f64())
}

fn spawn_many() -> (f64, f64) {
    let begun = Instant::now();
    let (mut heard, mut command) = command();
    let children: Vec<Child> = (0..MANY).map(|_| command.spawn().expect("a service")).collect();
    heard.read_exact(&mut vec![0; MANY * WORD]).expect("their words");
    let started = begun.elapsed();
    crate::exeunt::settle();
    let begun = Instant::now();
    children.iter().for_each(|child| kill(pid(child), Signal::SIGTERM).expect("TERM"));
    children.into_iter().for_each(|mut child| _ = child.wait().expect("wait"));
    (started.as_secs_f64(), begun.elapsed().as_secs_f64())
}

/// The service, and where it is heard. One command is spawned many times; without a `pre_exec` that is posix_spawn(3).
fn command() -> (PipeReader, Command) {
    let (heard, stdout) = pipe().expect("a pipe");
    let mut command = Command::new(own_path());
    command.arg(SERVICE).stdin(Stdio::inherit()).stdout(stdout);
    (heard, command)
}

/// From KILL until its successor has said its word; each death counts as a first one.
pub fn crash(table: &mut Table) {
    let always =
        "restart = \"always\"\nrestart-delay = { delay = \"1s\", reset-after = \"1ms\" }\nstart-limit = \"off\"\n";
    let mut run = Run::start(&format!("{}{always}", toml(1)), Stdio::null());
    let mut service = word(&mut run);
    let (mut heard, mut command) = command();
    let mut ours = || {
        std::thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        kill(service, Signal::SIGKILL).expect("KILL");
        service = word(&mut run);
        begun.elapsed().as_secs_f64()
    };
    let mut floor = || {
        let begun = Instant::now();
        let mut child = command.spawn().expect("a service");
        heard.read_exact(&mut [0; WORD]).expect("its word");
        let took = begun.elapsed();
        child.kill().and_then(|()| child.wait()).expect("its end");
        took.as_secs_f64()
    };
    let rounds = Rounds::of(CRASHES, &mut ours, &mut floor);
    run.stop();
    table.ratio("crash to running again", Unit::Seconds, &rounds, Goal::AtMost(2.0));
}

fn word(run: &mut Run) -> Pid {
    let heard: [u8; WORD] = run.hear(WORD).try_into().expect("four bytes");
    Pid::from_raw(u32::from_ne_bytes(heard).cast_signed())
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
