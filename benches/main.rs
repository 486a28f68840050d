//! How fast exeunt is, as ratios to a floor: a loop that does only what is physically needed, in the same run on the same
//! machine.
//!
//! `cargo bench` measures everything, `cargo bench -- NAME` the rows whose name contains NAME, `cargo bench -- --list` tells the
//! names. Nothing else is needed: workers, services and makers of orphans are this very program, started again with another
//! first argument. No test hangs on a number.

mod exeunt;
mod fanout;
mod init;
mod memory;
mod orphans;
mod python;
mod queue;
mod roles;
mod services;
mod table;
mod told;

use std::process::ExitCode;
use table::Table;

/// What can be asked for, and who measures it.
type Group = (&'static str, fn(&mut Table));

const GROUPS: [Group; 10] = [
    ("queue", queue::measure),
    ("python", python::measure),
    ("services", services::start_and_stop),
    ("told", told::measure),
    ("fanout", fanout::measure),
    ("crash", services::crash),
    ("orphans", orphans::measure),
    ("idle", memory::idle),
    ("memory", memory::measure),
    ("init", init::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = roles::play(&arguments) {
        return code;
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    if arguments.iter().any(|word| word == "--list") {
        GROUPS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` starts us too, without this word.
    if !arguments.iter().any(|word| word == "--bench") {
        println!("measures with `cargo bench` alone");
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word));
    let mut table = Table::begin();
    GROUPS.iter().filter(|(name, _)| chosen(name)).for_each(|(_, measure)| measure(&mut table));
    table.end();
    ExitCode::SUCCESS
}
