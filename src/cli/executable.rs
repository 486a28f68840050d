//! Whether a program can probably be started: a look beforehand, for a warning. The truth is what exec says.

use super::rights;
use crate::config::quote;
use crate::model::Identity;
use crate::model::plan::{Program, Words};
use crate::sys::variables;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are searched when the child has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why the program could not be started as things are now, if so.
pub fn obstacle(program: &Program, words: &Words) -> Option<String> {
    let directory = words.working_directory.as_deref().unwrap_or(Path::new(""));
    if words.working_directory.is_some() && !directory.is_dir() {
        return Some(format!("there is no directory {} to start in", quote(&directory.display().to_string())));
    }
    let who = &program.identity;
    if let Some(closed) = rights::closed(directory, who) {
        return Some(format!("user {} may not enter {}", user(who), quote(&closed.display().to_string())));
    }
    missing(program, words)
}

/// The same of the command alone, which may be a probe's.
pub fn missing(program: &Program, words: &Words) -> Option<String> {
    let directory = words.working_directory.as_deref().unwrap_or(Path::new(""));
    let who = &program.identity;
    let name = words.command.first()?;
    if name.contains('/') {
        return file_obstacle(&directory.join(name), who);
    }
    let path = search_path(program, words);
    let candidates = std::env::split_paths(&path).map(|entry| directory.join(entry).join(name));
    let mut obstacles = candidates.map(|candidate| file_obstacle(&candidate, who)).collect::<Vec<_>>();
    if obstacles.iter().any(Option::is_none) {
        return None;
    }
    // One that is there and cannot be executed says more than many that are not.
    let found = obstacles.iter_mut().flatten().find(|obstacle| !obstacle.starts_with(NOT_THERE));
    Some(found.map(std::mem::take).unwrap_or_else(|| format!("there is no program {} in PATH", quote(name))))
}

const NOT_THERE: &str = "there is no";

fn user(who: &Identity) -> &str {
    who.user.as_ref().map_or("?", |user| &user.name)
}

fn file_obstacle(path: &Path, who: &Identity) -> Option<String> {
    let shown = quote(&path.display().to_string());
    match std::fs::metadata(path) {
        Err(_) => Some(format!("{NOT_THERE} file {shown}")),
        Ok(metadata) if metadata.is_dir() => Some(format!("{shown} is a directory")),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Some(format!("{shown} is not executable")),
        Ok(_) => {
            let closed = quote(&rights::closed(path, who)?.display().to_string());
            Some(format!("user {} may not enter or execute {closed}", user(who)))
        }
    }
}

/// The child's PATH, not ours.
fn search_path(program: &Program, words: &Words) -> OsString {
    let own = words.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.into());
    let inherited = || variables::get("PATH").filter(|_| !program.env_clear);
    own.or_else(inherited).unwrap_or_else(|| DEFAULT_PATH.into())
}

/// Descriptors that this process may have, from proc(5); `None` where there is no telling, or no limit.
pub fn descriptor_limit() -> Option<u64> {
    let limits = std::fs::read_to_string(PathBuf::from("/proc/self/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
