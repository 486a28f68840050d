//! The command line: arguments, the file, `check`, `schema`, `run`, `init`. The only room that prints.

mod args;
mod check;
mod describe;
mod executable;
mod exposed;
mod file;
mod init;
mod needs;
mod one_file;
mod print;
mod rights;
mod run;
mod waiting;

use crate::config::quote;
use crate::model::printable::{printable, printable_lines};
use crate::shell::probes::http;
use crate::sys::elevation::{Elevation, elevation};
use crate::wire::probe;
use args::{Arguments, AskHttp, Command, LogLevel};
use clap::{Parser, ValueEnum};
use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// The file is wrong, or is none (sysexits.h, `EX_CONFIG`).
const WRONG_FILE: u8 = 78;

/// We have rights that our caller has not (sysexits.h, `EX_NOPERM`).
const NOT_PERMITTED: u8 = 77;

/// As clap has it.
const WRONG_USAGE: i32 = 2;

/// The JSON schema of the file, kept fresh by a test.
const SCHEMA: &str = include_str!("../../schemas/exeunt.schema.json");

/// The whole program. Wrong usage leaves with 2 from within.
pub fn main() -> ExitCode {
    if let Err(code) = refuse_others_rights() {
        return ExitCode::from(code);
    }
    let words = std::env::args_os().collect::<Vec<_>>();
    if let Some(code) = init::by_another_name(&words).or_else(|| init::plainly(&words)) {
        return ExitCode::from(code);
    }
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return wrong_usage(&words, error),
    };
    let log_level = arguments.log_level.or_else(level_of_the_variable);
    ExitCode::from(match arguments.command {
        Command::Run(run) => run::run(&run, log_level.unwrap_or(LogLevel::Info)),
        Command::AskHttp(ask) => ask_http(&ask),
        Command::Init(init) => init::init(init, log_level),
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
    let text = error.render();
    let plain = text.to_string();
    match printable_lines(&plain) {
        // Colours come from clap alone.
        Cow::Borrowed(_) if is_harmless(std::env::var_os(args::LOG)) => _ = error.print(),
        harmless if error.use_stderr() => print::plain_err(&harmless),
        harmless => print::out(&harmless),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Of a variable that a message may quote.
fn is_harmless(value: Option<OsString>) -> bool {
    value.is_none_or(|value| matches!(printable(&value.to_string_lossy()), Cow::Borrowed(_)))
}

/// A caller with fewer rights would have us open any file, and run any program as any user. Nothing was read before.
fn refuse_others_rights() -> Result<(), u8> {
    match elevation() {
        Elevation::None => Ok(()),
        Elevation::Ids { real, effective } => {
            let (real, effective) = (format!("{}:{}", real.0, real.1), format!("{}:{}", effective.0, effective.1));
            let problem = format!("exeunt has the rights of {effective}, but was started by {real}");
            print::err(&format!(
                "exeunt: error: {problem} (real and effective user:group); it would lend them to its caller.\n\
                 Remove the set-user-ID and set-group-ID bits (chmod ug-s), and start it as {effective}, for example with \
                 sudo or setpriv.\n"
            ));
            Err(NOT_PERMITTED)
        }
        Elevation::FileCapabilities => {
            print::err(
                "exeunt: warning: exeunt has file capabilities (getcap): whoever may execute it can use them, through \
                 any file it is given. Remove them (setcap -r), and start it by a program that gives it ambient ones.\n",
            );
            Ok(())
        }
    }
}

/// Not left to clap, which blames the option for what the variable says. Ends with 2 where that is no level.
fn level_of_the_variable() -> Option<LogLevel> {
    let variable = std::env::var_os(args::LOG)?;
    let told = variable.to_str().and_then(|level| LogLevel::from_str(level, false).ok());
    if told.is_none() {
        let levels = LogLevel::value_variants().iter().filter_map(LogLevel::to_possible_value);
        let levels: Vec<String> = levels.map(|level| level.get_name().to_owned()).collect();
        let (level, levels) = (quote(&variable.to_string_lossy()), levels.join(", "));
        print::plain_err(&format!("error: the variable {} is {level}, and must be one of {levels}\n", args::LOG));
        std::process::exit(WRONG_USAGE);
    }
    told
}

/// Tells its answer on standard output, for the exeunt that started it, and whether it is yes by its exit code.
fn ask_http(ask: &AskHttp) -> u8 {
    let answer = http::ask(&ask.url, Duration::from_millis(ask.milliseconds));
    print::out(&probe::encode(&answer).unwrap_or_default());
    u8::from(answer.is_err())
}
