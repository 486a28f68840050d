//! `exeunt run`.

use super::args::{LogLevel, Run};
use super::{WRONG_FILE, file, print};

/// A fault of our own (sysexits.h, `EX_SOFTWARE`).
const OWN_FAULT: u8 = 70;

/// Loads the file, warns, and hands its plan to the loop. Answers the exit code.
pub fn run(arguments: &Run, log_level: LogLevel) -> u8 {
    let Some(loaded) = file::load(arguments.file.as_deref()) else { return WRONG_FILE };
    loaded.tell(&super::check::warnings(&loaded));
    let _level = log::LevelFilter::from(log_level);
    print::err("error: running is not wired yet\n");
    OWN_FAULT
}
