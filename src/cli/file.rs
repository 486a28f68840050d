//! Finding, opening and compiling the file.

use super::print;
use crate::config::{self, Compiled, Context, Files, LARGEST_ENV_FILE, LARGEST_FILE, Problem, quote, render};
use crate::model::Identity;
use crate::sys::file_user::FileUser;
use crate::sys::open::{self, How};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

const HERE: &str = "exeunt.toml";
const SYSTEM_WIDE: &str = "/etc/exeunt/exeunt.toml";

/// A good file, with all that is needed to tell about it.
pub struct Loaded {
    pub compiled: Compiled,
    /// As it was named, for messages.
    pub name: String,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl Loaded {
    /// Tells problems on stderr, with the lines that they are about, as the last words of this process.
    pub fn tell(&self, warnings: &[Problem]) {
        print::last_err(&render(warnings, &self.name, config::decode(&self.bytes).ok(), true));
    }

    /// Each on one line, for the log.
    pub fn in_lines(&self, warnings: &[Problem]) -> Vec<String> {
        let text = config::decode(&self.bytes).ok();
        warnings.iter().map(|problem| config::in_one_line(problem, &self.name, text)).collect()
    }
}

/// Loads the file, or tells on stderr everything that is wrong with it.
pub fn load(file: Option<&Path>) -> Option<Loaded> {
    let path = file.map_or_else(default_file, Path::to_path_buf);
    let name = path.display().to_string();
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(why) => {
            print::last_plain_err(&match (file, is_missing(&path)) {
                (None, true) => format!(
                    "error: there is neither {} in this directory nor {}\n  = help: name a file, as in exeunt run shop.toml, or make an exeunt.toml here\n",
                    quote(HERE),
                    quote(SYSTEM_WIDE)
                ),
                (None, false) | (Some(_), _) => format!("error: {}: {why}\n", quote(&name)),
            });
            return None;
        }
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let environment = |name: &str| crate::sys::variables::text(name);
    let directory = path.parent().unwrap_or(Path::new(""));
    let files = Files { text: &text, env_file: &env_file };
    let context = Context { directory, stem: &stem, environment: &environment, files };
    match config::compile(&bytes, &context) {
        Ok(compiled) => Some(Loaded { compiled, name, path, bytes }),
        Err(problems) => {
            print::last_err(&render(&problems, &name, config::decode(&bytes).ok(), true));
            None
        }
    }
}

/// With the rights of the program's user where others may exchange the file: its content goes to that program.
fn env_file(path: &Path, identity: &Identity) -> Result<Vec<u8>, String> {
    read_at_most(path, LARGEST_ENV_FILE, "1 MiB", FileUser::of(identity).as_ref())
}

/// Of a file of the system, whose odd bytes are somebody else's.
fn text(path: &Path) -> Result<String, String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn is_missing(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn default_file() -> PathBuf {
    let here = PathBuf::from(HERE);
    let system_wide = PathBuf::from(SYSTEM_WIDE);
    if !here.exists() && system_wide.exists() { system_wide } else { here }
}

/// The bytes of a regular file that is not larger than a configuration may be.
///
/// # Errors
///
/// Why there are none, in words.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_at_most(path, LARGEST_FILE, "4 MiB", None)
}

/// Opens once and reads from that descriptor, so that what was looked at is what is read. O_NONBLOCK keeps a FIFO from
/// holding us up; it means nothing to a regular file.
fn read_at_most(path: &Path, most: usize, in_words: &str, user: Option<&FileUser>) -> Result<Vec<u8>, String> {
    let opened = open::open_before_run(path, How::new(libc::O_RDONLY, 0).nonblocking(), user);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        // A socket, or a device without a driver.
        _ if error.raw_os_error() == Some(libc::ENXIO) => "it is no regular file".to_owned(),
        _ => format!("it cannot be opened: {}", reason(&error)),
    })?;
    check_kind(&file, most, in_words)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the compiler can tell.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let result = file.take(limit).read_to_end(&mut bytes);
    result.map_err(|error| format!("it cannot be read: {}", reason(&error)))?;
    Ok(bytes)
}

fn check_kind(file: &File, most: usize, in_words: &str) -> Result<(), String> {
    let metadata = file.metadata().map_err(|error| format!("it cannot be looked at: {}", reason(&error)))?;
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() && metadata.len() > most as u64 => {
            return Err(format!("it has {} bytes, at most {most} ({in_words}) are read", metadata.len()));
        }
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "no regular file",
    };
    Err(format!("it is {what}; the file must be a regular one"))
}

/// The system's words for an error, without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
