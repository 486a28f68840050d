//! Mode and owner of files that we make. What exists keeps its own.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The mode and owner of a file that is made because it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewFile {
    /// `0666` less the umask, as any program makes files.
    Umask,
    /// `0600` whatever the umask: items may be secrets.
    Private,
    /// As this file, without set-id bits; `0600` if it is not there.
    Like(PathBuf),
}

impl NewFile {
    /// For open(2), so that the file is never open to more processes than it will be.
    pub fn first_mode(&self) -> u32 {
        match self {
            NewFile::Umask => 0o666,
            NewFile::Private | NewFile::Like(_) => 0o600,
        }
    }

    /// Completes what open(2) could not do, because of the umask or because it sets no owner. A file system that knows no
    /// modes is no reason to lose lines, so errors are ignored.
    pub fn complete(&self, file: &File) {
        match self {
            NewFile::Umask => {}
            NewFile::Private => make_private(file),
            NewFile::Like(model) => take_after(file, model),
        }
    }
}

/// Gives a file that we just made the mode and owner of another one, as far as we may; `0600` if that is not there.
pub fn take_after(file: &File, model: &Path) {
    match fs::metadata(model) {
        Ok(model) if model.is_file() => take_after_metadata(file, &model),
        Ok(_) | Err(_) => make_private(file),
    }
}

/// As [`take_after`]. Owner and group can be given away with `CAP_CHOWN` only, which is no error. If the group is not
/// the same, its rights are not given to the other group either.
pub fn take_after_metadata(file: &File, model: &Metadata) {
    let owner = fchown(file, Some(model.uid()), Some(model.gid()));
    let group = owner.or_else(|_no_right_to| fchown(file, None, Some(model.gid())));
    let shared = if group.is_ok() { 0o777 } else { 0o707 };
    let _best_effort = file.set_permissions(Permissions::from_mode(model.mode() & shared));
}

fn make_private(file: &File) {
    let _best_effort = file.set_permissions(Permissions::from_mode(0o600));
}
