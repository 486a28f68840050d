//! `exeunt init` against the bare program, and against other inits where they are installed.

use crate::exeunt::{own_path, program, settle};
use crate::memory;
use crate::roles::SERVICE;
use crate::table::{Goal, Rounds, Table, Unit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 201;

/// How each is asked to stand in front of a program, as the reaper of its orphans.
struct Init {
    name: &'static str,
    words: Vec<OsString>,
}

pub fn measure(table: &mut Table) {
    let mut inits = vec![Init::ours()];
    inits.extend(Init::installed("tini", &["-s", "--"]));
    inits.extend(Init::installed("dumb-init", &["--"]));
    took(table, &inits);
    system_calls(table, &inits);
    inits.iter().for_each(|init| memory_of(table, init));
}

impl Init {
    fn ours() -> Init {
        Init { name: "exeunt init", words: vec![program().into(), "init".into(), "-s".into(), "--".into()] }
    }

    fn installed(name: &'static str, words: &[&str]) -> Option<Init> {
        let found = on_path(name);
        if found.is_none() {
            println!("<!-- {name} is not installed -->");
        }
        let words = found?.into_iter().chain(words.iter().map(OsString::from));
        Some(Init { name, words: words.collect() })
    }

    fn before(&self, program: &[OsString]) -> Command {
        command(&[&self.words, program].concat())
    }
}

fn on_path(name: &str) -> Option<Vec<OsString>> {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&directories).map(|path| path.join(name)).find(|path| path.exists())?;
    Some(vec![found.into()])
}

fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // cargo sets it, and every loader then looks there first.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// From the start of each to its end, by turns.
fn took(table: &mut Table, inits: &[Init]) {
    let nothing = [OsString::from("/bin/true")];
    let once = |mut command: Command| {
        let begun = Instant::now();
        assert!(command.status().expect("a start").success());
        begun.elapsed().as_secs_f64()
    };
    let round = |_| {
        let each = inits.iter().map(|init| once(init.before(&nothing))).collect::<Vec<_>>();
        (each, once(command(&nothing)))
    };
    let rounds: Vec<(Vec<f64>, f64)> = (0..ROUNDS).map(round).collect();
    for (at, init) in inits.iter().enumerate() {
        let pairs = rounds.iter().map(|(each, bare)| (each[at], *bare)).collect();
        table.ratio(
            &format!("{} -- true, by the bare program", init.name),
            Unit::Seconds,
            &Rounds::from(pairs),
            Goal::None,
        );
    }
    for (at, init) in inits.iter().enumerate().skip(1) {
        let pairs = rounds.iter().map(|(each, _)| (each[0], each[at])).collect();
        let goal = if init.name == "tini" { Goal::AtMost(1.0) } else { Goal::None };
        table.ratio(&format!("exeunt init by {}", init.name), Unit::Seconds, &Rounds::from(pairs), goal);
    }
}

/// Its own, not the program's, as strace(1) counts them.
fn system_calls(table: &mut Table, inits: &[Init]) {
    if on_path("strace").is_none() {
        return println!("<!-- strace is not installed -->");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("strace");
    for init in inits {
        let words = ["strace", "-o"].iter().map(OsString::from).chain([log.clone().into()]);
        let traced: Vec<OsString> = words.chain(init.words.iter().cloned()).chain(["/bin/true".into()]).collect();
        assert!(command(&traced).status().expect("strace").success());
        table.plain(&format!("system calls, {}", init.name), calls(&log) as f64, "", Goal::None);
    }
}

/// Lines that tell no signal and no end.
fn calls(log: &Path) -> usize {
    let text = fs::read_to_string(log).expect("what strace wrote");
    text.lines().filter(|line| !line.starts_with(['-', '+'])).count()
}

fn memory_of(table: &mut Table, init: &Init) {
    let service = [own_path().into(), SERVICE.into()];
    let mut child = init.before(&service).stdout(Stdio::piped()).spawn().expect("an init");
    let mut word = [0; size_of::<u32>()];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut word).expect("its program runs");
    settle();
    let pid = Pid::from_raw(child.id().cast_signed());
    let goals = if init.name == "exeunt init" { memory::SMALL } else { (Goal::None, Goal::None) };
    memory::tell(table, pid, init.name, goals);
    kill(pid, Signal::SIGTERM).expect("TERM");
    child.wait().expect("wait");
}
