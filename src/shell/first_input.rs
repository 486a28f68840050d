//! The leftovers of an earlier run as the first items of a source (`leftovers-first`).
//!
//! The file stays as it is until the end of the run, when what is unfinished takes its place. It is locked meanwhile, so that
//! a second run does not take in the same items. Others may append to it.

use super::file_lock::{Deadline, SideLock, lock_now};
use super::leftovers::Input;
use super::owned_file::FileId;
use super::phrases::counted;
use crate::model::printable::printable;
use crate::sys::file_user::FileUser;
use crate::sys::open::{self as by_path, How};
use crate::sys::{clock, fds};
use log::{info, warn};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file, from which items are read before the source is.
#[derive(Debug)]
pub struct FirstInput {
    path: PathBuf,
    /// Locked.
    file: File,
    /// How many items were read. If no other source feeds the queue, their numbers are 1 up to this.
    taken: Arc<AtomicU64>,
    writers: Writers,
}

/// Other runs that append to leftovers which are our input.
#[derive(Clone, Debug)]
pub struct Writers {
    leftovers: PathBuf,
    user: Option<FileUser>,
}

impl Writers {
    pub fn of(leftovers: &Path, user: Option<FileUser>) -> Writers {
        Writers { leftovers: leftovers.to_owned(), user }
    }

    /// Whether an item without its delimiter at the end of the file may be half an item: one is at work just now, or was killed
    /// when it was.
    pub fn may_have_left_half_an_item(&self) -> bool {
        let deadline = Deadline::default();
        deadline.set(clock::now());
        let look = || {
            let locked = SideLock::take(&self.leftovers, &deadline)?;
            let id = FileId::at(&self.leftovers).map(|id| (id.device, id.inode));
            Ok(id.is_some_and(|id| locked.unfinished_append(id).is_some()))
        };
        match by_path::act(&self.leftovers, self.user.as_ref(), look) {
            Ok(half) => half,
            Err(error) => error.kind() == io::ErrorKind::ResourceBusy,
        }
    }
}

impl FirstInput {
    /// Opens the leftovers of a queue, for the source and for the writer of what will be left. `None` if nothing is there, or
    /// another run has them.
    /// It is opened with the rights of `user` where others may write beside it.
    pub fn open(queue: &str, path: &Path, sole: bool, user: Option<FileUser>) -> Option<(FirstInput, Input)> {
        let failed = |error: &io::Error| {
            let (path, reason) = (path.display(), super::phrases::why(error));
            warn!("unfinished items of queue {queue} in {path} cannot be taken in: {reason}");
        };
        // Within `act`, since it is of no use if it cannot be replaced with the same rights.
        let how = How::new(libc::O_RDONLY, 0).nonblocking();
        let file = match by_path::act(path, user.as_ref(), || by_path::open(path, how, user.as_ref())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            opened => opened.inspect_err(failed).ok()?,
        };
        // Where there are no locks, nobody else has one.
        if lock_now(&file).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
            info!("another run takes in the unfinished items of queue {queue} in {}", path.display());
            return None;
        }
        let taken = Arc::new(AtomicU64::new(0));
        let copy = fds::duplicate_file(&file).inspect_err(failed).ok()?;
        let input = Input { taken: Some(taken.clone()), ..Input::of(copy, path, sole)? };
        Some((FirstInput { path: path.to_owned(), file, taken, writers: Writers::of(path, user) }, input))
    }

    /// The next bytes; 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        fds::read(self.file.as_fd(), buffer)
    }

    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// So many more items were read.
    pub fn took(&self, items: u64) {
        self.taken.fetch_add(items, Ordering::Relaxed);
    }

    /// No more is read of it.
    pub fn tell(&self) {
        let taken = counted(self.taken.load(Ordering::Relaxed), "unfinished item");
        info!("{taken} of an earlier run came from {}", printable(&self.path.to_string_lossy()));
    }

    /// The last bytes were of no whole item: what is not taken in stays in the file.
    pub fn give_back(&self, bytes: u64) {
        let back = i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Err(error) = (&self.file).seek(SeekFrom::Current(-back)) {
            warn!("{}: {}", self.path.display(), super::phrases::why(&error));
        }
    }
}
