//! The arguments and their help.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  exeunt check                              look over ./exeunt.toml: the plan, the time a stop takes, warnings
  find . -name '*.jpg' | exeunt run         feed names to the workers of ./exeunt.toml
  exeunt run /etc/shop.toml                 run until the work is done, or Ctrl+C
  exeunt run --report json shop.toml        the same, with the final report as JSON on stderr
  exeunt schema > exeunt.schema.json        for editors that complete and check TOML files

Exit codes:
  0   all done, or stopped with nothing left over
  1   a worker gave up, a source failed, or something could not be killed
  2   wrong usage
  65  some items became dead letters
  70  a fault of exeunt's own
  75  unfinished items are in the leftovers, or on stderr
  78  the file is wrong";

/// Runs the programs of one TOML file, feeds them from bounded queues, and sees that they all leave in order.
#[derive(Debug, Parser)]
#[command(name = "exeunt", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// How much exeunt says of its own doings on stderr
    #[arg(long, global = true, env = "EXEUNT_LOG", value_enum, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,

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
}

#[derive(Debug, Args)]
pub struct Run {
    /// How the final report on stderr is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub report: ReportFormat,

    /// The file [default: ./exeunt.toml, else /etc/exeunt/exeunt.toml]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The file [default: ./exeunt.toml, else /etc/exeunt/exeunt.toml]
    pub file: Option<PathBuf>,
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
