//! `exeunt init`: one program under a small init. The same machine and shell as `run`, with a plan of one worker. Called by the name
//! of another init, the command line is that one's; all of them end in a [`Request`].

mod dumb_init;
mod getopt;
mod plain;
mod tini;

use super::args::{self, Init as Arguments, LogLevel};
use crate::config::quote;
use crate::model::plan::{
    Backoff, Init, KillMode, Place, Plan, Program, Restart, Role, Rung, StartLimit, Step, WorkerPlan,
};
use crate::model::{Identity, Signal, SignalSet, WorkerId};
use crate::shell::{self, InitOptions, ReportFormat, RunOptions, Suspend, Voice};
use crate::sys::init::{Inherited, die_with, first_steps, parent_pid};
use log::LevelFilter;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// What the program left behind has so long between TERM and KILL.
const MOMENT: Duration = Duration::from_secs(3);
/// How long we wait before we try again when the machine is short of processes or memory.
const SHORTAGE: Backoff =
    Backoff { delay: Duration::from_millis(50), factor: 2.0, max: Duration::from_secs(5), jitter: 0.2 };

/// What an init is asked to do, by whatever command line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Never empty.
    pub argv: Vec<OsString>,
    pub group: bool,
    pub single_child: bool,
    pub parent_death: Option<Signal>,
    /// The same for ourselves: what the kernel sends us when our parent dies.
    pub own_parent_death: Option<Signal>,
    pub as_zero: Vec<u8>,
    pub warn_reaping: bool,
    /// 0 for errors alone, 1 for warnings too, 2 for what happens, 3 and 4 for more.
    pub verbosity: u8,
    pub rewrites: Vec<(Signal, Option<Signal>)>,
    pub stop: Option<Vec<Rung>>,
    pub wait_all: bool,
    /// Between TERM and KILL for what the program leaves behind.
    pub stop_timeout: Option<Duration>,
    pub suspend: Suspend,
    /// Dispositions and mask that we found are the program's too.
    pub keeps_signals: bool,
    pub voice: Voice,
}

/// How reading a foreign command line ends without a program to run: words for stdout or stderr, and our exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub out: String,
    pub err: String,
    pub code: u8,
}

/// `exeunt init`. Answers the exit code.
pub fn init(arguments: Arguments, log_level: Option<LogLevel>) -> u8 {
    let verbosity = match (arguments.verbose, log_level) {
        (0, Some(level)) => verbosity(level.into()),
        (more, _) => more.saturating_add(1),
    };
    run(Request {
        argv: arguments.program,
        group: arguments.group,
        single_child: arguments.single_child,
        parent_death: arguments.parent_death_signal,
        own_parent_death: None,
        as_zero: arguments.exit_zero,
        warn_reaping: arguments.warn_reaping,
        verbosity,
        rewrites: arguments.rewrite,
        stop: arguments.stop.map(|ladder| ladder.0),
        wait_all: arguments.wait_all,
        stop_timeout: arguments.stop_timeout,
        suspend: Suspend::Ourselves,
        keeps_signals: true,
        voice: Voice::Exeunt,
    })
}

/// What we were called by, if it is the name of another init: its exit code.
pub fn by_another_name(words: &[OsString]) -> Option<u8> {
    let (name, arguments) = words.split_first()?;
    let environment = |name: &str| std::env::var_os(name);
    let read = match Path::new(name).file_name().and_then(OsStr::to_str)? {
        "tini" | "tini-static" | "docker-init" | "podman-init" => tini::read(arguments, &environment),
        "dumb-init" => dumb_init::read(arguments, &environment),
        _ => return None,
    };
    Some(match read {
        Ok(request) => run(request),
        Err(farewell) => {
            super::print::out(&farewell.out);
            super::print::plain_err(&farewell.err);
            farewell.code
        }
    })
}

/// `exeunt init` by the quick way, where all is as usual: its exit code.
pub fn plainly(words: &[OsString]) -> Option<u8> {
    let (_exeunt, words) = words.split_first()?;
    let arguments = plain::read(words).filter(|_| std::env::var_os(args::LOG).is_none())?;
    Some(init(arguments, None))
}

fn run(request: Request) -> u8 {
    let parent = parent_pid();
    let inherited = first_steps();
    if let Some(signal) = request.own_parent_death {
        die_with(parent, signal);
    }
    let report = (request.verbosity > 1).then_some(ReportFormat::Text);
    let plan = Rc::new(plan(&request, &inherited));
    let options = RunOptions {
        report,
        log_level: level(request.verbosity),
        warnings: Vec::new(),
        file: None,
        init: Some(InitOptions {
            argv: request.argv,
            rewrites: request.rewrites,
            stops: request.stop.is_some(),
            warn_reaping: request.warn_reaping,
            suspend: request.suspend,
            voice: request.voice,
        }),
    };
    shell::run(plan, options, inherited)
}

/// One worker, which is never started again.
fn plan(request: &Request, inherited: &Inherited) -> Plan {
    let command = request.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let path = command.first().cloned().unwrap_or_default();
    let name = match Path::new(&path).file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None if path.is_empty() => quote(&path),
        None => path,
    };
    let (ignore_signals, block_signals) = match request.keeps_signals {
        true => (without_pipe(inherited.ignored), inherited.blocked),
        false => (SignalSet::EMPTY, SignalSet::EMPTY),
    };
    let ladder = request.stop.clone().unwrap_or_else(|| vec![Rung { step: Step::Signal(Signal::TERM), wait: MOMENT }]);
    let program = Program {
        ignore_signals,
        block_signals,
        place: if request.single_child { Place::Beside } else { Place::Terminal },
        ladder,
        kill_mode: if request.group { KillMode::Group } else { KillMode::Mixed },
        identity: Identity { parent_death: request.parent_death, ..Identity::default() },
        ..Program::plain(command)
    };
    let worker = WorkerPlan {
        restart: Restart::Never,
        restart_delay: SHORTAGE,
        start_limit: Some(StartLimit { burst: 1, interval: Duration::from_secs(1) }),
        forward_signals: SignalSet::FULL,
        ..WorkerPlan::plain(&name, program)
    };
    Plan {
        init: Some(Init {
            as_zero: request.as_zero.clone(),
            wait_all: request.wait_all,
            stop_timeout: request.stop_timeout,
        }),
        workers: vec![worker],
        instances: vec![Role::Worker { worker: WorkerId(0), index: 0 }],
        ..Plan::empty("init")
    }
}

/// The runtime ignores PIPE before `main`: what it was before cannot be told.
fn without_pipe(mut ignored: SignalSet) -> SignalSet {
    ignored.remove(Signal::PIPE);
    ignored
}

fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Error,
        1 => LevelFilter::Warn,
        2 => LevelFilter::Info,
        3 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

fn verbosity(level: LevelFilter) -> u8 {
    match level {
        LevelFilter::Off | LevelFilter::Error => 0,
        LevelFilter::Warn => 1,
        LevelFilter::Info => 2,
        LevelFilter::Debug => 3,
        LevelFilter::Trace => 4,
    }
}

/// For the tests of foreign command lines: what one makes of these words and variables.
#[cfg(test)]
fn asked<R>(
    read: impl FnOnce(&[OsString], &dyn Fn(&str) -> Option<OsString>) -> R,
    words: &str,
    variables: &[(&str, &str)],
) -> R {
    let words = words.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    let known = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    read(&words, &known)
}
