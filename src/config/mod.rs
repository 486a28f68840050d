//! From the text of a file to a [`Plan`], or to all of its problems. Opens no file and reads no environment: both are
//! arguments.
//!
//! ```text
//! text     bytes -> text -> tree of values      what is no text, or too deep, is refused here
//! read     tree -> sections                     key by key, so that every problem is told
//! raw      the sections: every key there is     as written
//! value    how each value is written
//! expand   ${VAR}
//! env_file variables from files
//! accounts users and groups                  what /etc/passwd and /etc/group hold
//! compile  sections -> plan                     as meant: defaults, references, limits
//! shell_text what was meant for a shell
//! graph    levels of `after`
//! warn     what is allowed, but will surprise
//! problem  facts with a place, and their words
//! ```

mod accounts;
mod compile;
mod env_file;
mod expand;
mod graph;
pub mod problem;
mod raw;
mod read;
#[cfg(test)]
mod schema;
mod shell_text;
mod text;
mod toml_text;
mod value;
mod warn;

pub use env_file::LARGEST_ENV_FILE;
pub use expand::Lookup;
pub use problem::{Excerpt, Place, Problem, Severity, Span, in_one_line, quote, render};
pub use text::{LARGEST_FILE, decode};
pub use value::{ladder, show, show_bound, show_size, wait};

use crate::model::Identity;
use crate::model::plan::Plan;
use problem::Problems;
use read::{Field, Named, Read};
use std::path::Path;
use value::Command;

/// What a file's meaning depends on besides its text.
pub struct Context<'a> {
    /// The file's own directory: relative paths in the file start there.
    pub directory: &'a Path,
    /// The file's name without its ending: the name of a run that has no other.
    pub stem: &'a str,
    /// Looks up a variable of our own environment, as [`std::env::var`] does.
    pub environment: Lookup<'a>,
    pub files: Files<'a>,
}

/// Other files that a file may refer to. Each is asked for when it is needed, and answers in words why it cannot be read.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// The text of `/etc/passwd` or `/etc/group`.
    pub text: &'a dyn Fn(&Path) -> Result<String, String>,
    /// The bytes of an env-file of a program that runs as this identity. Its lines may be secret. Of one that is larger than [`LARGEST_ENV_FILE`] at least one byte
    /// more.
    pub env_file: ReadEnvFile<'a>,
}

/// Reads a file with the rights of an identity.
pub type ReadEnvFile<'a> = &'a dyn Fn(&Path, &Identity) -> Result<Vec<u8>, String>;

/// Names and values.
pub type Variables = Vec<(String, String)>;

impl Files<'static> {
    /// A system without files.
    pub const NONE: Files<'static> = Files { text: &no_text, env_file: &no_bytes };
}

fn no_text(_path: &Path) -> Result<String, String> {
    Err("there is no such file".to_owned())
}

fn no_bytes(_path: &Path, _identity: &Identity) -> Result<Vec<u8>, String> {
    Err("there is no such file".to_owned())
}

/// A good file.
#[derive(Debug)]
pub struct Compiled {
    pub plan: Plan,
    /// Warnings and notes, in order of place.
    pub warnings: Vec<Problem>,
    /// Where the program of each source stands in the file, in the plan's order; `None` for those that read stdin.
    pub source_commands: Vec<Option<Span>>,
    /// Where the program of each worker stands in the file, in the plan's order.
    pub worker_commands: Vec<Option<Span>>,
    /// Where the programs stand that ask whether each worker is ready, and whether it is well, in the plan's order.
    pub probe_commands: Vec<[Option<Span>; 2]>,
    /// Where `leftovers` of each queue stands, in the plan's order.
    pub leftovers: Vec<Option<Span>>,
    /// Where `results` of each worker stands, in the plan's order: its own, or that of the defaults.
    pub results: Vec<Option<Span>>,
}

/// Compiles the bytes of a file.
///
/// # Errors
///
/// All problems of the file, in order of place. Never empty.
pub fn compile(bytes: &[u8], context: &Context<'_>) -> Result<Compiled, Vec<Problem>> {
    let text = decode(bytes).map_err(|problem| vec![problem])?;
    let mut problems = Problems::default();
    let (file, sound) = text::parse(text, &mut problems, raw::File::read);
    let Some(file) = file.filter(|_| sound) else {
        // What is missing may be behind the syntax error.
        return Err(problems.into_sorted());
    };
    let mut warnings = Problems::default();
    let plan = compile::link(&file, text, context, &mut problems, &mut warnings);
    let Some(plan) = plan.filter(|_| problems.is_empty()) else {
        return Err(problems.into_sorted());
    };
    warn::warn(&plan, &file, &mut warnings);
    Ok(Compiled {
        plan,
        warnings: warnings.into_sorted(),
        source_commands: places(&file.source, |source| &source.command),
        worker_commands: places(&file.worker, |worker| &worker.command),
        probe_commands: probe_places(&file),
        leftovers: sections(&file.queue).iter().map(|section| section.as_ref()?.leftovers.span()).collect(),
        results: results_places(&file),
    })
}

fn places<T>(sections: &Field<Named<T>>, command: impl Fn(&T) -> &Field<Command>) -> Vec<Option<Span>> {
    let sections = sections.value().map_or(&[][..], |named| &named.0);
    sections.iter().map(|section| section.section.as_ref().and_then(|keys| place(command(keys)))).collect()
}

fn place(command: &Field<Command>) -> Option<Span> {
    command.value().and_then(|words| words.0.first()).map(|program| program.span)
}

fn sections<T>(sections: &Field<Named<T>>) -> Vec<Option<&T>> {
    let sections = sections.value().map_or(&[][..], |named| &named.0);
    sections.iter().map(|section| section.section.as_ref()).collect()
}

fn results_places(file: &raw::File) -> Vec<Option<Span>> {
    let defaults = file.defaults.value().cloned().unwrap_or_default();
    let of = |keys: Option<&raw::Worker>| {
        keys.map_or(defaults.results.span(), |keys| keys.results.span().or(defaults.results.span()))
    };
    sections(&file.worker).into_iter().map(of).collect()
}

fn probe_places(file: &raw::File) -> Vec<[Option<Span>; 2]> {
    let defaults = file.defaults.value().cloned().unwrap_or_default();
    let of = |keys: &raw::Worker| {
        let ready = compile::pick(&keys.ready, &defaults.ready).and_then(|table| place(&table.value.command));
        let health = match compile::pick(&keys.health, &defaults.health).map(|at| &at.value) {
            Some(value::OrOff::On(table)) => place(&table.command),
            Some(value::OrOff::Off) | None => None,
        };
        [ready, health]
    };
    let sections = file.worker.value().map_or(&[][..], |named| &named.0);
    sections.iter().map(|section| section.section.as_ref().map_or([None; 2], of)).collect()
}

#[cfg(test)]
mod tests;
