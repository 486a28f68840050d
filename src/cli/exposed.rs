//! Warns of files that others may exchange for a link, where exeunt follows it with its own rights. Where the workers of a file have one
//! user, that user's rights are used instead (see [`open`]): then it warns where they do not suffice.

use super::file::Loaded;
use crate::config::{Place, Problem, Severity, Span, quote};
use crate::model::plan::Results;
use crate::model::printable::printable;
use crate::model::{InstanceId, QueueId};
use crate::shell::file_users;
use crate::sys::file_user::FileUser;
use crate::sys::open::{self, Shortfall};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that is opened in a run.
pub struct Opened {
    what: What,
    path: PathBuf,
    place: Option<Span>,
    /// With whose rights, where others may write. `None`: with exeunt's own.
    user: Option<FileUser>,
}

enum What {
    /// It says which programs are run, and as which user.
    ThisFile,
    /// Results, in words.
    Written(String),
    /// Leftovers, in words. These are replaced and removed too, which is never done with our own rights on such a path.
    Replaced(String),
}

/// All files whose directories matter. Looks at no file.
pub fn files(loaded: &Loaded) -> Vec<Opened> {
    let (compiled, plan) = (&loaded.compiled, &loaded.compiled.plan);
    let opened = |what, path: &Path, place, user| Opened { what, path: path.to_owned(), place, user };
    let mut files = Vec::new();
    let mut programs = (0u32..).take(plan.instances.len()).map(|number| plan.program(InstanceId(number)));
    if programs.any(|program| FileUser::of(&program.identity).is_some()) {
        files.push(Opened { what: What::ThisFile, path: PathBuf::from(&loaded.name), place: None, user: None });
    }
    for ((id, queue), &place) in (0u32..).map(QueueId).zip(&plan.queues).zip(&compiled.leftovers) {
        if let Some(path) = &queue.leftovers {
            let what = format!("the leftovers of queue {}", quote(&queue.name));
            files.push(opened(What::Replaced(what), path, place, file_users::of_queue(plan, id)));
        }
    }
    for (worker, &place) in plan.workers.iter().zip(&compiled.results) {
        if let Some(Results::File(path)) = worker.consumer.as_ref().map(|consumer| &consumer.results) {
            let what = format!("the results of worker {}", quote(&worker.name));
            files.push(opened(What::Written(what), path, place, file_users::of_results(plan, path)));
        }
    }
    files
}

/// For each file who could exchange it, in words on one line; empty where nobody could. Looks at the file system, which may hang.
pub fn weaknesses(files: &[Opened]) -> Vec<String> {
    files.iter().map(|file| file.weakness().unwrap_or_default()).collect()
}

/// What [`weaknesses`] has found.
pub fn problems<'a>(files: &[Opened], found: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
    let exposed = files.iter().zip(found).filter(|(_, weakness)| !weakness.is_empty());
    exposed.map(|(file, weakness)| file.problem(weakness)).collect()
}

impl Opened {
    fn weakness(&self) -> Option<String> {
        let others = |weakness: open::Weakness| {
            format!("others may write in {}", quote(&weakness.directory.display().to_string()))
        };
        let own_rights = |weakness, user: &FileUser| {
            format!("{}, but not user {}, so exeunt's own rights are used for", others(weakness), user.uid())
        };
        let too_few = |weakness, user: &FileUser| {
            format!("{}, so user {}'s rights are used, which do not suffice for", others(weakness), user.uid())
        };
        match (&self.what, &self.user) {
            (What::Written(_), Some(user)) => open::shortfall(&self.path, user).map(|shortfall| match shortfall {
                Shortfall::OwnRights(weakness) => own_rights(weakness, user),
                Shortfall::Refused(weakness) => too_few(weakness, user),
            }),
            (What::Replaced(_), Some(user)) => open::shortfall(&self.path, user)
                .map(|(Shortfall::OwnRights(weakness) | Shortfall::Refused(weakness))| too_few(weakness, user)),
            (What::Written(_) | What::Replaced(_), None) => open::weakness(&self.path).map(others),
            (What::ThisFile, _) => open::weakness(&self.path)
                .map(others)
                .or_else(|| written_by_others(&self.path).then(|| "others may write to it".to_owned())),
        }
    }

    fn problem(&self, weakness: &str) -> Problem {
        let weakness = printable(weakness);
        let (message, help) = match (&self.what, &self.user) {
            (What::Written(what) | What::Replaced(what), Some(_)) => (
                format!("{weakness} {what}"),
                "keep the file where only exeunt can write, or let that user write there",
            ),
            (What::ThisFile, _) => (
                format!("{weakness}: whoever changes this file runs programs with the rights of exeunt"),
                "keep it where only root can write",
            ),
            (What::Written(what) | What::Replaced(what), None) => (
                format!("{weakness}: a link in the place of {what} would be followed with the rights of exeunt"),
                "keep the file where only exeunt can write, or give all workers of it one `user`: then its rights are used",
            ),
        };
        let place = self.place.map_or(Place::File, Place::Span);
        Problem::new(Severity::Warning, place, message).help(help)
    }
}

fn written_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| {
        let ours = [0, crate::sys::identity::own_user()].contains(&found.uid());
        !ours || found.permissions().mode() & 0o022 != 0
    })
}
