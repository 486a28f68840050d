//! The arguments and their help.

use crate::model::Signal;
use crate::model::plan::Rung;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  exeunt check                              look over ./exeunt.toml: the plan, the time a stop takes, warnings
  find . -name '*.jpg' | exeunt run         feed names to the workers of ./exeunt.toml
  exeunt run /etc/shop.toml                 run until the work is done, or Ctrl+C
  exeunt run --report json shop.toml        the same, with the final report as JSON on stderr
  exeunt schema > exeunt.schema.json        for editors that complete and check TOML files
  exeunt init -- nginx -g 'daemon off;'     one program under a small init, in a container

Exit codes:
  0   all done, or stopped with nothing left over
  1   a worker gave up, a source failed, or something could not be killed
  2   wrong usage
  65  some items became dead letters
  70  a fault of exeunt's own
  75  unfinished items are in the leftovers, or on stderr
  77  exeunt is a set-user-ID or set-group-ID program
  78  the file is wrong";

/// The environment's word for `--log-level`.
pub const LOG: &str = "EXEUNT_LOG";

/// Runs the programs of one TOML file, feeds them from bounded queues, and sees that they all leave in order.
#[derive(Debug, Parser)]
#[command(name = "exeunt", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// How much exeunt says of its own doings on stderr [env: EXEUNT_LOG] [default: info, of init: warn]
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the workers of a file and stay until the work is done or a signal says stop
    ///
    /// TERM, INT and QUIT begin an orderly stop: the sources first, then each worker by its exit event, its signals
    /// and, if all that is of no use, KILL. A second INT climbs one rung at once.
    Run(Run),
    /// Tell every problem of a file, or what it means
    ///
    /// Problems and warnings go to stderr, the plan to stdout. No program is started.
    Check(Check),
    /// Print the JSON schema of the file
    Schema,
    /// Run one program under a small init, as tini and dumb-init do
    ///
    /// Signals are passed on, orphans are reaped, the terminal is handed over. When the program has ended, what it left
    /// behind is stopped, and its exit code, or 128 + n for signal n, is ours: 127 for a program that is not there, 126 for one that
    /// cannot be executed. Called by the name tini, docker-init, podman-init or dumb-init, exeunt takes that tool's command line.
    Init(Init),
    /// Exit 0 where a GET is answered by 200 to 399: how exeunt itself asks whether a worker is well
    #[command(hide = true)]
    AskHttp(AskHttp),
}

#[derive(Debug, Args)]
pub struct AskHttp {
    pub url: String,
    pub milliseconds: u64,
}

#[derive(Debug, Args)]
pub struct Run {
    /// How the final report on stderr is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub report: ReportFormat,

    /// The TOML file [default: ./exeunt.toml, else /etc/exeunt/exeunt.toml]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The TOML file [default: ./exeunt.toml, else /etc/exeunt/exeunt.toml]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq, Args)]
pub struct Init {
    /// Accepted for tini's sake: orphans come to us in any case
    #[arg(short = 's', long)]
    pub subreaper: bool,

    /// Pass signals on to all that belongs to the program, not to it alone
    #[arg(short = 'g', long, conflicts_with = "single_child")]
    pub group: bool,

    /// What the kernel sends the program if exeunt dies
    #[arg(short = 'p', long, value_name = "SIGNAL", value_parser = signal)]
    pub parent_death_signal: Option<Signal>,

    /// Take this exit code of the program as 0; may be repeated
    #[arg(short = 'e', long, value_name = "CODE")]
    pub exit_zero: Vec<u8>,

    /// Warn of each orphan that is reaped
    #[arg(short = 'w', long)]
    pub warn_reaping: bool,

    /// Say more; may be repeated
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Give the program no session, process group or foreground of its own
    #[arg(short = 'c', long)]
    pub single_child: bool,

    /// Take one signal for another; 0 drops it; may be repeated
    #[arg(short = 'r', long, value_name = "FROM:TO", value_parser = rewrite)]
    pub rewrite: Vec<(Signal, Option<Signal>)>,

    /// On TERM, INT, QUIT and the like climb this ladder, as in "event 5s, TERM 3s", instead of passing them on
    #[arg(long, value_name = "LADDER", value_parser = ladder)]
    pub stop: Option<Ladder>,

    /// Wait for all that the program leaves behind, instead of stopping it
    #[arg(long)]
    pub wait_all: bool,

    /// How long what the program leaves behind has between TERM and KILL, as in "10s" [default: 3s; with --wait-all no limit]
    #[arg(long, value_name = "TIME", value_parser = crate::config::wait)]
    pub stop_timeout: Option<Duration>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Rungs as one value: clap would take a list for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(pub Vec<Rung>);

fn ladder(text: &str) -> Result<Ladder, String> {
    crate::config::ladder(text).map(Ladder)
}

fn signal(text: &str) -> Result<Signal, String> {
    let signal = Signal::parse(text).filter(|signal| !matches!(signal.number(), 32 | 33));
    signal.ok_or_else(|| "it is no signal; they are written TERM, SIGTERM or 15".to_owned())
}

/// `FROM:TO`, by names or numbers.
fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let (from, to) = text.split_once(':').ok_or("write FROM:TO, as in TERM:QUIT, or FROM:0 to drop it")?;
    let to = if to == "0" { None } else { Some(signal(to)?) };
    Ok((signal(from)?, to))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> log::LevelFilter {
        match level {
            LogLevel::Off => log::LevelFilter::Off,
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
