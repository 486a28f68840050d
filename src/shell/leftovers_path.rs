//! Names of leftovers: where a path leads to, and the next free one beside it.

use super::file_mode::NewFile;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes the first of `left.txt.1`, `left.txt.2` … that is not there.
pub fn numbered(path: &Path) -> io::Result<PathBuf> {
    for number in 1u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let name = PathBuf::from(name);
        match super::line_file::create(&name, &NewFile::Like(path.to_owned())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|_| name),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The file that this path leads to. Where it is not there yet, its directory is what leads to it.
pub fn resolve(path: &Path) -> PathBuf {
    let is_link = || fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let otherwise = || if is_link() { None } else { in_its_directory(path) };
    fs::canonicalize(path).ok().or_else(otherwise).unwrap_or(path.to_owned())
}

/// The last name as it is, in a directory with links resolved.
pub fn in_its_directory(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(directory).ok()?.join(path.file_name()?))
}

/// A directory that cannot be synced does not undo what is in it.
pub fn sync_directory(of: &Path) {
    let directory = of.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _best_effort = File::open(directory).and_then(|directory| directory.sync_all());
}
