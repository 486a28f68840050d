//! Refuses a plan that uses one file for two purposes, where one of them is leftovers or dead letters: what is written for
//! the one would be read, replaced or removed for the other.
//!
//! Files are compared by identity, not by spelling: device and inode, or those of the directory and the name where there is no
//! file yet. Only regular files are compared; `/dev/null` may be used for as many purposes as one likes.

use super::file::Loaded;
use crate::config::{Problem, Span, quote};
use crate::model::QueueId;
use crate::model::plan::{Feed, Plan, Results};
use crate::shell::{dead_letters_file, lock_file};
use crate::sys::fds;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that lead to one another, at most, before the file system is believed to be a circle (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file that is used, and for what.
pub struct Use {
    what: String,
    purpose: Purpose,
    file: Named,
    place: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Leftovers of a queue, which are read back through our standard input.
    Leftovers(QueueId),
    /// What is kept beside the leftovers of a queue: dead letters, the lock.
    Beside,
    Stdin,
    Other,
}

/// How the file is found.
enum Named {
    Path(PathBuf),
    Descriptor(Standard),
}

#[derive(Clone, Copy)]
enum Standard {
    Input,
    Output,
    Error,
}

/// All files that matter here. A look at a plan alone has no use of our own descriptors: `with_descriptors` is for a run.
pub fn uses(loaded: &Loaded, with_descriptors: bool) -> Vec<Use> {
    let (compiled, plan) = (&loaded.compiled, &loaded.compiled.plan);
    let by_path = |what: String, purpose, path: PathBuf, place| Use { what, purpose, file: Named::Path(path), place };
    let mut uses = vec![by_path("this file".to_owned(), Purpose::Other, PathBuf::from(&loaded.name), None)];
    for ((id, queue), &place) in (0u32..).map(QueueId).zip(&plan.queues).zip(&compiled.leftovers) {
        let Some(path) = &queue.leftovers else { continue };
        let of_queue = |what: &str| format!("{what} of queue {}", quote(&queue.name));
        uses.push(by_path(of_queue("the leftovers"), Purpose::Leftovers(id), path.clone(), place));
        let letters = of_queue("the dead letters");
        uses.push(by_path(letters, Purpose::Beside, dead_letters_file(path), place));
        if let Ok(lock) = lock_file(path) {
            uses.push(by_path(of_queue("the lock of the leftovers"), Purpose::Beside, lock, place));
        }
    }
    for (worker, &place) in plan.workers.iter().zip(&compiled.results) {
        if let Some(Results::File(path)) = worker.consumer.as_ref().map(|consumer| &consumer.results) {
            let what = format!("the results of worker {}", quote(&worker.name));
            uses.push(by_path(what, Purpose::Other, path.clone(), place));
        }
    }
    if with_descriptors {
        let standard = |what: &str, purpose, which| {
            let (what, file) = (format!("{what} of exeunt"), Named::Descriptor(which));
            Use { what, purpose, file, place: None }
        };
        // Even if no source reads it: items that are fed in must not be passed over without a word.
        uses.push(standard("the standard input", Purpose::Stdin, Standard::Input));
        uses.push(standard("the standard output", Purpose::Other, Standard::Output));
        uses.push(standard("the standard error", Purpose::Other, Standard::Error));
    }
    uses
}

/// Words by which two files can be compared, one for each use, without white space. Looks at the file system, which may hang. Empty
/// for what cannot be compared.
pub fn identities(uses: &[Use]) -> Vec<String> {
    uses.iter().map(|one| one.identity().unwrap_or_default()).collect()
}

/// What is wrong, in the order of the uses.
pub fn conflicts(plan: &Plan, uses: &[Use], identities: &[String]) -> Vec<Problem> {
    let known: Vec<(&Use, &String)> =
        uses.iter().zip(identities).filter(|(_, identity)| !identity.is_empty()).collect();
    let mut problems = Vec::new();
    for (at, (later, identity)) in known.iter().enumerate() {
        let mut earlier = known.iter().take(at).filter(|(_, other)| other == identity).map(|(earlier, _)| earlier);
        // One complaint for each use is enough to mend it.
        problems
            .extend(earlier.find(|earlier| clash(plan, earlier.purpose, later.purpose)).map(|it| problem(it, later)));
    }
    problems
}

fn clash(plan: &Plan, one: Purpose, other: Purpose) -> bool {
    match (one, other) {
        // That is how leftovers are worked off.
        (Purpose::Leftovers(queue), Purpose::Stdin) | (Purpose::Stdin, Purpose::Leftovers(queue)) => {
            // Taken in without our standard input.
            let first = plan.queue(queue).leftovers_first && !reads_stdin(plan);
            !first && !plan.sources.iter().any(|source| source.feed == Feed::Stdin && source.queue == queue)
        }
        // Nobody reads it.
        (Purpose::Beside, Purpose::Stdin) | (Purpose::Stdin, Purpose::Beside) if !reads_stdin(plan) => false,
        (Purpose::Stdin | Purpose::Other, Purpose::Stdin | Purpose::Other) => false,
        // Each dead letter names its queue.
        (Purpose::Beside, Purpose::Beside) => false,
        (Purpose::Leftovers(_) | Purpose::Beside, _) | (_, Purpose::Leftovers(_) | Purpose::Beside) => true,
    }
}

fn reads_stdin(plan: &Plan) -> bool {
    plan.sources.iter().any(|source| source.feed == Feed::Stdin)
}

fn problem(earlier: &Use, later: &Use) -> Problem {
    let message = format!("{} and {} are the same file", later.what, earlier.what);
    let problem = match (later.place, earlier.place) {
        (Some(place), Some(other)) if place != other => {
            Problem::error(place, message).related(other, earlier.what.clone())
        }
        (Some(place), _) | (None, Some(place)) => Problem::error(place, message),
        (None, None) => Problem::error(Span { start: 0, end: 0 }, message),
    };
    let beside = [earlier.purpose, later.purpose].contains(&Purpose::Beside);
    let where_it_is = if beside { ": FILE.dead and .FILE.lock stand beside the leftovers FILE" } else { "" };
    let purposes = [earlier.purpose, later.purpose];
    if purposes.contains(&Purpose::Stdin) && purposes.iter().any(|purpose| matches!(purpose, Purpose::Leftovers(_))) {
        return problem.help(
            "no source of that queue reads the standard input: set leftovers-first = true, and items in the leftovers \
             are taken in before its source is read",
        );
    }
    problem.help(format!("name a file of its own for each{where_it_is}"))
}

impl Use {
    fn identity(&self) -> io::Result<String> {
        match &self.file {
            Named::Path(path) => of_path(path),
            Named::Descriptor(Standard::Input) => of_descriptor(&io::stdin()),
            Named::Descriptor(Standard::Output) => of_descriptor(&io::stdout()),
            Named::Descriptor(Standard::Error) => of_descriptor(&io::stderr()),
        }
    }
}

fn of_descriptor(fd: &impl AsFd) -> io::Result<String> {
    if !fds::is_regular(fd.as_fd()) {
        return Err(ErrorKind::InvalidInput.into());
    }
    fds::identity(fd.as_fd()).map(|(device, inode)| format!("{device}:{inode}"))
}

fn of_path(path: &Path) -> io::Result<String> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => return Ok(format!("{}:{}", found.dev(), found.ino())),
            Ok(_) => return Err(ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match fs::read_link(&path) {
            // A link whose target will be made.
            Ok(target) => path = directory.join(target),
            Err(_) => return of_missing(directory, &path),
        }
    }
    Err(ErrorKind::InvalidInput.into())
}

fn of_missing(directory: &Path, path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let directory = fs::metadata(directory)?;
    let mut identity = format!("{}:{}/", directory.dev(), directory.ino());
    for byte in name.as_bytes() {
        let _to_a_string = write!(identity, "{byte:02x}");
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_the_same_under_all_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("real")).unwrap();
        symlink("real", path("link")).unwrap();
        symlink("real/new.txt", path("dangling")).unwrap();
        let same = |one: &str, other: &str| of_path(&path(one)).unwrap() == of_path(&path(other)).unwrap();
        // Before there is a file, and with one.
        for made in [false, true] {
            if made {
                fs::write(path("real/new.txt"), "").unwrap();
                fs::hard_link(path("real/new.txt"), path("hard.txt")).unwrap();
                assert!(same("hard.txt", "dangling"));
            }
            for name in ["real/new.txt", "link/new.txt", "real/../link/./new.txt", "dangling"] {
                assert!(same("real/new.txt", name), "{name} {made}");
            }
            assert!(!same("real/new.txt", "real/other.txt") && !same("real/new.txt", "new.txt"));
        }
        symlink("circle", path("circle")).unwrap();
        for odd in ["/dev/null", "real", "circle", "nowhere/left.txt"] {
            assert!(of_path(&path(odd)).is_err(), "{odd}");
        }
    }
}
