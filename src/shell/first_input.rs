//! The leftovers of an earlier run as the first items of a source (`leftovers-first`).
//!
//! The file stays as it is until the end of the run, when what is unfinished takes its place. It is locked meanwhile, so that
//! a second run does not take in the same items. Others may append to it.

use super::file_lock::{Deadline, SideLock, lock_now};
use super::leftovers::Input;
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
    user: Option<FileUser>,
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
        let file = match by_path::open(path, How::new(libc::O_RDONLY, 0).nonblocking(), user.as_ref()) {
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
        Some((FirstInput { path: path.to_owned(), file, taken, user }, input))
    }

    /// The next bytes; 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        fds::read(self.file.as_fd(), buffer)
    }

    /// So many more items were read.
    pub fn took(&self, items: u64) {
        self.taken.fetch_add(items, Ordering::Relaxed);
    }

    /// At the end of the file: whether an item without its delimiter is all that will come of it. If another run is at work on the
    /// file, it may be half an item.
    pub fn is_complete(&self) -> bool {
        let deadline = Deadline::default();
        deadline.set(clock::now());
        let locked = by_path::act(&self.path, self.user.as_ref(), || SideLock::take(&self.path, &deadline));
        !locked.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    }

    /// The last bytes were of no whole item: what is not taken in stays in the file.
    pub fn give_back(&self, bytes: u64) {
        let back = i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Err(error) = (&self.file).seek(SeekFrom::Current(-back)) {
            warn!("{}: {}", self.path.display(), super::phrases::why(&error));
        }
    }
}
