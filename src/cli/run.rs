//! `exeunt run`.

use super::args::{LogLevel, ReportFormat, Run};
use super::check::Found;
use super::{WRONG_FILE, file};
use crate::config::Severity;
use crate::model::plan::Plan;
use crate::shell::{self, RunOptions};
use crate::sys::identity;
use crate::sys::init::{self, Inherited};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// For a look at the programs before the start.
const PATIENCE: Duration = Duration::from_secs(1);

/// Loads the file, warns, and hands its plan to the loop. Answers the exit code.
pub fn run(arguments: &Run, log_level: LogLevel) -> u8 {
    let mut inherited = init::first_steps();
    identity::raise_descriptors();
    let Some((plan, warnings, file)) = plan(arguments, &mut inherited) else { return WRONG_FILE };
    let report = match arguments.report {
        ReportFormat::Text => shell::ReportFormat::Text,
        ReportFormat::Json => shell::ReportFormat::Json,
    };
    let options =
        RunOptions { report: Some(report), log_level: log_level.into(), warnings, file: Some(file), init: None };
    shell::run(Rc::new(plan), options, inherited)
}

/// All that a run keeps of its file, and what is to be said of it.
fn plan(arguments: &Run, inherited: &mut Inherited) -> Option<(Plan, Vec<String>, PathBuf)> {
    let loaded = file::load(arguments.file.as_deref())?;
    let Found { conflicts, mut warnings, left } = super::check::found_within(&loaded, PATIENCE);
    if !conflicts.is_empty() {
        loaded.tell(&conflicts);
        return None;
    }
    // What hangs in its look is none of those that the run is about.
    inherited.children.extend(left);
    // Notes are for who looks a file over; each run again they would only hide the rest.
    warnings.retain(|problem| problem.severity != Severity::Note);
    let warnings = loaded.in_lines(&warnings);
    Some((loaded.compiled.plan, warnings, loaded.path))
}
