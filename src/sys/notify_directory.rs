//! A private directory for each notification socket: only the user of its worker, and root, can reach the socket.
//!
//! ```text
//! /run/exeunt-notify-RANDOM/      ours, 0711, locked (flock(2)) while we live
//!     1/                          the worker's user, 0700, one for each incarnation
//!         notify                  the socket
//! ```
//!
//! The lock tells a later exeunt which of these directories a killed one left. A path below the first directory is safe to
//! use: only we may change what it holds.

use super::{inbox, permit};
use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

const PREFIX: &str = "exeunt-notify-";
const SOCKET: &str = "notify";
/// Where everybody may have a directory, in order of preference. All are gone after a reboot, as sockets are.
const BASES: [&str; 3] = ["/run", "/dev/shm", "/tmp"];
/// Entries of such a place that are looked at for what a killed exeunt left.
const MOST_ENTRIES: usize = 10_000;
/// Attempts to make a directory that no other exeunt takes for one that was left.
const ATTEMPTS: u32 = 4;

/// The directory of one run. Removed when dropped.
#[derive(Debug)]
pub struct NotifyDirectory {
    path: PathBuf,
    user: u32,
    /// How many directories were made in it.
    count: Cell<u64>,
    _lock: File,
}

/// The directory of one socket. When dropped it is removed, and the socket with it.
#[derive(Debug)]
pub struct Place(PathBuf);

impl NotifyDirectory {
    /// Makes one in the first place that may hold it: below `$XDG_RUNTIME_DIR` (only where `shared` is false), `/run`,
    /// `/dev/shm` or `/tmp`. `shared`: workers of other users than ours must reach it. `None` where there is no such place,
    /// as with a read-only root. What a killed exeunt of this user left there is removed.
    pub fn make(shared: bool) -> Option<NotifyDirectory> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && !shared);
        let mut bases = own.into_iter().chain(BASES.map(PathBuf::from));
        let user = super::identity::own_user();
        bases.find_map(|base| Self::make_in(&base, user, shared))
    }

    fn make_in(base: &Path, user: u32, shared: bool) -> Option<NotifyDirectory> {
        permit().ok()?;
        let found = fs::metadata(base).ok()?;
        if !found.is_dir() || !is_safe(found.uid(), found.mode(), user) || (shared && found.mode() & 0o001 == 0) {
            return None;
        }
        remove_what_was_left(base, user);
        (0..ATTEMPTS).find_map(|_| Self::claim(base.join(inbox::unpredictable(PREFIX)), user))
    }

    /// Another exeunt may find the new directory unlocked for a moment and remove it: then there is none.
    fn claim(path: PathBuf, user: u32) -> Option<NotifyDirectory> {
        permit().ok()?;
        DirBuilder::new().mode(0o700).create(&path).ok()?;
        let Some(lock) = open(&path).filter(|lock| lock.try_lock().is_ok() && is_at(lock, &path)) else {
            remove(&path);
            return None;
        };
        let directory = NotifyDirectory { path, user, count: Cell::new(0), _lock: lock };
        // After the lock, and whatever the umask says: workers of other users go through it.
        let made = permit().and_then(|()| fs::set_permissions(&directory.path, Permissions::from_mode(0o711)));
        made.is_ok().then_some(directory)
    }

    /// A fresh place for a socket, which [`give`](Place::give) then hands to the worker's user.
    #[cfg_attr(feature = "faults", track_caller)]
    pub(super) fn place(&self) -> io::Result<Place> {
        let number = self.count.get() + 1;
        self.count.set(number);
        permit()?;
        let path = self.path.join(number.to_string());
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Place(path))
    }

    pub(super) fn user(&self) -> u32 {
        self.user
    }
}

impl Drop for NotifyDirectory {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl Place {
    pub(super) fn socket(&self) -> PathBuf {
        self.0.join(SOCKET)
    }

    /// The socket is bound: from now on this user may reach it. Its mode does not matter beside that of the directory.
    #[cfg_attr(feature = "faults", track_caller)]
    pub(super) fn give(&self, to: Option<u32>) -> io::Result<()> {
        permit()?;
        // Before the directory is another's, who could put a link in the socket's place.
        fs::set_permissions(self.socket(), Permissions::from_mode(0o666))?;
        permit()?;
        fs::set_permissions(&self.0, Permissions::from_mode(0o700))?;
        match to {
            Some(user) => permit().and_then(|()| chown(&self.0, Some(user), None)),
            None => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_file(self.socket());
        let _not_empty = fs::remove_dir(&self.0);
    }
}

/// Whether nobody but root and `user` can replace what we make in a directory of this owner and mode: others may not write
/// there, or it is sticky.
fn is_safe(owner: u32, mode: u32, user: u32) -> bool {
    let (writable, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    (owner == 0 || owner == user) && (!writable || sticky)
}

/// Removes directories of killed runs of this user: their locks are free.
fn remove_what_was_left(base: &Path, user: u32) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let named = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
    for entry in entries.take(MOST_ENTRIES).flatten().filter(named) {
        let path = entry.path();
        let Some(lock) = open(&path) else { continue };
        if lock.metadata().is_ok_and(|found| found.uid() == user) && lock.try_lock().is_ok() {
            remove(&path);
        }
    }
}

/// Follows no link, and is not held up by a FIFO.
fn open(directory: &Path) -> Option<File> {
    permit().ok()?;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(directory).ok()
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let (open, named) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}

/// The directory of a run with the places in it. What a worker's user put into its own place is left there.
fn remove(directory: &Path) {
    let places = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| Place(entry.path()));
    places.for_each(drop);
    let _not_empty = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_could_change_is_not_used() {
        let us = 1000;
        let safe = [(0, 0o755), (0, 0o1777), (us, 0o700), (us, 0o1777)];
        let unsafe_ones = [(0, 0o777), (us, 0o775), (1001, 0o700), (1001, 0o1777)];
        safe.into_iter().for_each(|(owner, mode)| assert!(is_safe(owner, mode, us), "{owner} {mode:o}"));
        unsafe_ones.into_iter().for_each(|(owner, mode)| assert!(!is_safe(owner, mode, us), "{owner} {mode:o}"));
    }

    fn make(base: &Path) -> NotifyDirectory {
        NotifyDirectory::make_in(base, crate::sys::identity::own_user(), true).unwrap()
    }

    fn base() -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        base
    }

    fn entries(base: &Path) -> usize {
        fs::read_dir(base).unwrap().count()
    }

    #[test]
    fn nothing_is_left_when_a_run_ends() {
        let base = base();
        let directory = make(base.path());
        let place = directory.place().unwrap();
        fs::write(place.socket(), "").unwrap();
        place.give(None).unwrap();
        assert_eq!(fs::metadata(&place.0).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&directory.path).unwrap().mode() & 0o777, 0o711);
        drop(place);
        assert_eq!(entries(&directory.path), 0);
        drop(directory);
        assert_eq!(entries(base.path()), 0);
    }

    #[test]
    fn f60_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not() {
        let base = base();
        let (killed, living) = (make(base.path()), make(base.path()));
        let place = killed.place().unwrap();
        fs::write(place.socket(), "").unwrap();
        std::mem::forget(place);
        let NotifyDirectory { path, _lock, .. } = &killed;
        _lock.unlock().unwrap();
        let left = path.clone();
        std::mem::forget(killed);
        let other = make(base.path());
        assert!(!left.exists() && living.path.exists() && other.path.exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_not_followed() {
        let (base, elsewhere) = (base(), tempfile::tempdir().unwrap());
        fs::create_dir(elsewhere.path().join("1")).unwrap();
        fs::write(elsewhere.path().join("1/notify"), "keep").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("exeunt-notify-0")).unwrap();
        let _directory = make(base.path());
        assert_eq!(fs::read(elsewhere.path().join("1/notify")).unwrap(), b"keep");
    }
}
