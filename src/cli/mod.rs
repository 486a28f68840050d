//! The command line: arguments, the file, `check`, `schema`, `run`, `init`. The only room that prints.

mod args;
mod check;
mod describe;
mod executable;
mod file;
mod init;
mod print;
mod rights;
mod run;

use crate::model::printable::printable;
use crate::shell::probes::http;
use args::{Arguments, Command, LogLevel};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// The file is wrong, or is none (sysexits.h, `EX_CONFIG`).
const WRONG_FILE: u8 = 78;

/// The JSON schema of the file, kept fresh by a test.
const SCHEMA: &str = include_str!("../../schemas/exeunt.schema.json");

/// The whole program. Wrong usage leaves with 2 from within.
pub fn main() -> ExitCode {
    let words = std::env::args_os().collect::<Vec<_>>();
    if let Some(code) = init::by_another_name(&words).or_else(|| init::plainly(&words)) {
        return ExitCode::from(code);
    }
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return wrong_usage(&words, error),
    };
    ExitCode::from(match arguments.command {
        Command::Run(run) => run::run(&run, arguments.log_level.unwrap_or(LogLevel::Info)),
        Command::AskHttp(ask) => u8::from(!http::is_well(&ask.url, Duration::from_millis(ask.milliseconds))),
        Command::Init(init) => init::init(init, arguments.log_level),
        Command::Check(check) => check::check(check.file.as_deref()),
        Command::Schema => {
            print::out(SCHEMA);
            0
        }
    })
}

/// Prints help, or what is wrong with the arguments. The message quotes them, so it is made from printable ones.
fn wrong_usage(words: &[OsString], error: clap::Error) -> ExitCode {
    let harmless = words.iter().map(|word| printable(&word.to_string_lossy()).into_owned());
    let error = Arguments::try_parse_from(harmless).err().unwrap_or(error);
    let _nowhere_to_report = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
