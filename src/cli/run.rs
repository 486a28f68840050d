//! `exeunt run`.

use super::args::{LogLevel, ReportFormat, Run};
use super::{WRONG_FILE, file, print};
use crate::config::Severity;
use crate::model::plan::Plan;
use crate::shell::{self, RunOptions};
use crate::sys::init;
use std::rc::Rc;

/// Loads the file, warns, and hands its plan to the loop. Answers the exit code.
pub fn run(arguments: &Run, log_level: LogLevel) -> u8 {
    let inherited = init::first_steps();
    let Some((plan, warnings)) = plan(arguments) else { return WRONG_FILE };
    let report = match arguments.report {
        ReportFormat::Text => shell::ReportFormat::Text,
        ReportFormat::Json => shell::ReportFormat::Json,
    };
    let options = RunOptions { report, log_level: log_level.into(), warnings };
    shell::run(Rc::new(plan), options, inherited)
}

/// All that a run keeps of its file, and what is to be said of it.
fn plan(arguments: &Run) -> Option<(Plan, String)> {
    let loaded = file::load(arguments.file.as_deref())?;
    // Notes are for who looks a file over; each run again they would only hide the rest.
    let mut warnings = super::check::warnings(&loaded);
    warnings.retain(|problem| problem.severity != Severity::Note);
    let warnings = print::for_err(&loaded.in_words(&warnings));
    Some((loaded.compiled.plan, warnings))
}
