//! Whether a program can probably be started: a look beforehand, for a warning. The truth is what exec says.

use super::rights;
use crate::config::quote;
use crate::model::Identity;
use crate::model::plan::{Program, Words};
use crate::model::script::{self, Needs};
use crate::sys::file_head::{self, HEAD_BYTES};
use crate::sys::file_user::FileUser;
use crate::sys::{open, variables};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
        return file_obstacle(&directory.join(name), directory, who, &search_path(program, words));
    }
    let path = search_path(program, words);
    let candidates = std::env::split_paths(&path).map(|entry| directory.join(entry).join(name));
    let mut obstacles =
        candidates.map(|candidate| file_obstacle(&candidate, directory, who, &path)).collect::<Vec<_>>();
    if obstacles.iter().any(Option::is_none) {
        return None;
    }
    // One that is there and cannot be executed says more than many that are not.
    let found = obstacles.iter_mut().flatten().find(|obstacle| !obstacle.starts_with(NOT_THERE));
    Some(found.map(std::mem::take).unwrap_or_else(|| format!("there is no program {} in PATH", quote(name))))
}

/// The same numbers on every Linux.
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;

const NOT_THERE: &str = "there is no";

fn user(who: &Identity) -> &str {
    who.user.as_ref().map_or("?", |user| &user.name)
}

/// `directory`: where the program starts; `search`: its PATH.
fn file_obstacle(path: &Path, directory: &Path, who: &Identity, search: &OsStr) -> Option<String> {
    let shown = quote(&path.display().to_string());
    match std::fs::metadata(path) {
        Err(_) if path.to_string_lossy().contains(char::is_whitespace) => {
            Some(format!("{NOT_THERE} file {shown}; each argument is a string of its own"))
        }
        Err(_) => Some(format!("{NOT_THERE} file {shown}")),
        Ok(metadata) if metadata.is_dir() => Some(format!("{shown} is a directory")),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Some(format!("{shown} is not executable")),
        Ok(_) => match rights::closed(path, who) {
            Some(closed) => {
                let closed = quote(&closed.display().to_string());
                Some(format!("user {} may not enter or execute {closed}", user(who)))
            }
            None => {
                // What its user may not read is not shown of it.
                let look = || Ok(unmet(path, directory, search));
                let unmet = open::act(path, FileUser::of(who).as_ref(), look).ok()??;
                Some(format!("{shown} cannot be executed: {unmet}"))
            }
        },
    }
}

/// What a file that is there and executable needs and does not have, by its first bytes: an interpreter or a loader, or a first line
/// that names one.
fn unmet(path: &Path, directory: &Path, search: &OsStr) -> Option<String> {
    let c_path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut buffer = vec![0; HEAD_BYTES];
    let length = file_head::head(&c_path, &mut buffer)?;
    let needs = Needs::of(buffer.get(..length)?);
    let other = |name: &[u8]| {
        let error = match std::fs::metadata(directory.join(OsStr::from_bytes(name))) {
            Err(error) => error,
            Ok(metadata) if metadata.is_dir() || metadata.permissions().mode() & 0o111 == 0 => {
                io::Error::from_raw_os_error(EACCES)
            }
            Ok(_) => return None,
        };
        needs.obstacle(error.raw_os_error()?, &super::file::reason(&error))
    };
    match needs {
        Needs::Interpreter(script) => other(script.interpreter).or_else(|| {
            let own = file_head::own_id();
            let starts_itself = own.is_some_and(|own| file_head::starts_itself(&c_path, own, search.as_bytes()));
            let what = if starts_itself { script::STARTS_ITSELF } else { script::CARRIAGE_RETURN };
            (starts_itself || script.ends_in_carriage_return()).then(|| what.to_owned())
        }),
        Needs::Loader(path) => other(path),
        Needs::FirstLine | Needs::NoByteOrderMark | Needs::Content => needs.obstacle(ENOEXEC, ""),
        // The kernel may know more kinds of programs than we do.
        Needs::Nothing | Needs::Unknown => None,
    }
}

/// The child's PATH, not ours.
fn search_path(program: &Program, words: &Words) -> OsString {
    let own = words.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.into());
    let inherited = || variables::get("PATH").filter(|_| !program.env_clear);
    own.or_else(inherited).unwrap_or_else(|| DEFAULT_PATH.into())
}
