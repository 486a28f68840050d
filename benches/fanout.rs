//! A signal that is passed on to a thousand services.

use crate::exeunt::{Run, own_command, own_path, settle};
use crate::roles::LISTENER;
use crate::table::{Goal, Rounds, Table, Unit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{PipeReader, Read, pipe};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const MANY: usize = 1000;
const ROUNDS: usize = 15;
const WORD: usize = size_of::<u32>();

/// Both crowds live side by side and are told by turns.
pub fn measure(table: &mut Table) {
    let command = own_command(&[LISTENER]);
    let toml = format!("[worker.listener]\nreplicas = {MANY}\nforward-signals = [\"USR1\"]\ncommand = {command}\n");
    let mut run = Run::start(&toml, Stdio::null());
    run.hear(MANY * WORD);
    let (mut children, mut heard) = crowd();
    settle();
    let ours = || {
        let begun = Instant::now();
        kill(run.pid(), Signal::SIGUSR1).expect("USR1");
        run.hear(MANY);
        begun.elapsed().as_secs_f64()
    };
    let floor = || {
        let begun = Instant::now();
        children.iter().for_each(|child| kill(pid(child), Signal::SIGUSR1).expect("USR1"));
        heard.read_exact(&mut [0; MANY]).expect("their words");
        begun.elapsed().as_secs_f64()
    };
    let rounds = Rounds::of(ROUNDS, ours, floor);
    run.stop();
    for child in &mut children {
        child.kill().and_then(|()| child.wait()).expect("its end");
    }
    table.ratio(&format!("a signal passed on to {MANY}"), Unit::Seconds, &rounds, Goal::None);
}

fn crowd() -> (Vec<Child>, PipeReader) {
    let (mut heard, stdout) = pipe().expect("a pipe");
    let mut command = Command::new(own_path());
    command.arg(LISTENER).stdin(Stdio::null()).stdout(stdout);
    let children = (0..MANY).map(|_| command.spawn().expect("a listener")).collect();
    heard.read_exact(&mut [0; MANY * WORD]).expect("their words");
    (children, heard)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
