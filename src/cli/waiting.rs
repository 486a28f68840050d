//! Unfinished items of an earlier run that no source of this one takes in.

use super::file::Loaded;
use crate::config::{Place, Problem, Severity};
use crate::model::QueueId;
use crate::model::plan::{Feed, Plan, QueuePlan};
use crate::model::printable::printable;
use crate::sys::fds;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// For each queue where such items wait, a line: its number, the first file, a tab, and all files with their lengths. Looks at the file system, which may hang. `for_run`: our
/// standard input is that of the run.
pub fn look(plan: &Plan, for_run: bool) -> Vec<String> {
    let stdin = if for_run { fds::identity(io::stdin().as_fd()).ok() } else { None };
    let queues = (0u32..).map(QueueId).zip(&plan.queues);
    queues.filter_map(|(id, queue)| Some(format!("{} {}", id.0, files(plan, id, queue, stdin)?))).collect()
}

/// What to say of these lines.
pub fn problems(loaded: &Loaded, lines: &[String]) -> Vec<Problem> {
    let plan = &loaded.compiled.plan;
    let problem = |line: &String| {
        let (number, found) = line.split_once(' ')?;
        let (first, files) = found.split_once('\t')?;
        let queue = QueueId(number.parse().ok()?);
        let place = loaded.compiled.leftovers.get(queue.index()).copied().flatten().map_or(Place::File, Place::Span);
        let message = format!("unfinished items of an earlier run wait in {files}, and no source takes them in");
        let reads_stdin = plan.sources.iter().any(|source| source.queue == queue && source.feed == Feed::Stdin);
        let help = match (plan.queues.get(queue.index())?.leftovers_first, reads_stdin) {
            (true, _) => "append what is in the numbered file to the leftovers, and remove it".to_owned(),
            (false, true) => {
                let config = printable(&loaded.name);
                format!("feed them in with `exeunt run {config} < {first}`, or set leftovers-first = true")
            }
            (false, false) => "set leftovers-first = true, and they are taken in before the source is read".to_owned(),
        };
        Some(Problem::new(Severity::Warning, place, message).help(help))
    };
    lines.iter().filter_map(problem).collect()
}

fn files(plan: &Plan, id: QueueId, queue: &QueuePlan, stdin: Option<(u64, u64)>) -> Option<String> {
    let leftovers = queue.leftovers.as_ref()?;
    let fed = plan.sources.iter().any(|source| source.queue == id && source.feed == Feed::Stdin);
    let taken_in = |path: &Path| {
        let found = fs::metadata(path).ok();
        let is_stdin = found.is_some_and(|found| stdin == Some((found.dev(), found.ino())));
        (is_stdin && fed) || (queue.leftovers_first && path == leftovers.as_path())
    };
    let mut paths = vec![leftovers.clone()];
    paths.extend(numbered(leftovers));
    let files: Vec<_> = paths.iter().filter(|path| !taken_in(path)).filter_map(|path| file(path)).collect();
    let (first, _) = files.first()?;
    let lengths: Vec<String> = files.iter().map(|(path, bytes)| format!("{path} ({bytes})")).collect();
    Some(format!("{first}\t{}", lengths.join(" and ")))
}

/// Its name and its length in words. `None` if there is nothing in it.
fn file(path: &Path) -> Option<(String, String)> {
    let found = fs::metadata(path).ok().filter(|found| found.is_file() && found.len() > 0)?;
    let bytes = if found.len() == 1 { "1 byte".to_owned() } else { format!("{} bytes", found.len()) };
    Some((printable(&path.to_string_lossy()).into_owned(), bytes))
}

/// `left.txt.1`, `left.txt.2` … that are there, where a run left items that could not have the lock.
fn numbered(leftovers: &Path) -> Vec<PathBuf> {
    let directory = leftovers.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = leftovers.file_name() else { return Vec::new() };
    let is_number = |other: &OsStr| {
        let rest = other.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        rest.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name| is_number(name));
    let mut found: Vec<PathBuf> = names.map(|name| leftovers.with_file_name(name)).collect();
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    found
}
