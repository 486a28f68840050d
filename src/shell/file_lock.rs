//! Locks on files, by flock(2). A lock is asked for again and again with `LOCK_NB`, so that a wait for it can always be ended.

use crate::model::Time;
use crate::sys::{clock, permit};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A lock is held for one batch of lines. If it cannot be had for this long, its holder hangs or is stopped.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// The side file may be removed by an operator between our open and our lock, but not this often.
const REOPENINGS: usize = 100;

/// A moment after which no lock is waited for. Shared between the loop, which sets it, and the threads that wait.
#[derive(Debug)]
pub struct Deadline(AtomicU64);

impl Default for Deadline {
    /// No deadline.
    fn default() -> Deadline {
        Deadline(AtomicU64::new(Time::NEVER.as_nanos()))
    }
}

impl Deadline {
    /// Every wait that is under way notices within 20 ms.
    pub fn set(&self, time: Time) {
        self.0.store(time.as_nanos(), Ordering::Relaxed);
    }

    fn time(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The lock of a file that may be replaced or removed while others wait for it. It is a lock on a small file beside it, whose
/// name is `.NAME.lock`, because a lock on the file itself would stay with the replaced one.
///
/// The side file is not removed by its users, except together with the file that it guards. Whoever gets the lock
/// checks that the locked file still has the name, and starts again otherwise, so a removal does no harm.
#[derive(Debug)]
pub struct SideLock {
    side: PathBuf,
    locked: File,
}

impl SideLock {
    /// Waits for the lock until the deadline, at most 1 s.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if another process held it all the time; otherwise an error of open(2) or flock(2): EROFS, EACCES, ENOLCK,
    /// EBADF (on NFS), EOPNOTSUPP and others. Then there is no lock to be had here.
    pub fn take(guarded: &Path, deadline: &Deadline) -> io::Result<SideLock> {
        let side = side_file(guarded)?;
        for _ in 0..REOPENINGS {
            let file = open_side_file(&side, guarded)?;
            lock(&file, deadline)?;
            if is_named(&file, &side) {
                return Ok(SideLock { side, locked: file });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Notes in the side file that lines are being appended at this offset of the file with this device and inode. If this
    /// process is killed while it does so, the next holder of the lock finds the note.
    pub fn note_append(&self, (device, inode): (u64, u64), offset: u64) -> io::Result<()> {
        permit()?;
        self.locked.write_all_at(format!("{device} {inode} {offset}\n").as_bytes(), 0)
    }

    /// The lines are appended.
    pub fn forget_append(&self) {
        let _best_effort = self.locked.set_len(0);
    }

    /// Where a killed holder of the lock was appending, if that was to this file.
    pub fn unfinished_append(&self, file: (u64, u64)) -> Option<u64> {
        let mut note = [0; 64];
        let length = self.locked.read_at(&mut note, 0).ok()?;
        let text = std::str::from_utf8(note.get(..length)?).ok()?.strip_suffix('\n')?;
        let mut numbers = text.split(' ').map(|word| word.parse::<u64>().ok());
        let (device, inode, offset) = (numbers.next()??, numbers.next()??, numbers.next()??);
        ((device, inode) == file).then_some(offset)
    }

    /// Removes the side file and gives up the lock: for when the guarded file has been removed.
    pub fn remove(self) {
        // Still locked here. A process that waits finds that the name is gone, and makes a new side file.
        let _gone_already = fs::remove_file(&self.side);
    }
}

/// `.NAME.lock` beside the file.
///
/// # Errors
///
/// `InvalidInput` if the path does not end in a name.
pub fn side_file(guarded: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(guarded.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".lock");
    Ok(guarded.with_file_name(name))
}

/// Takes an exclusive lock on an open file, until the deadline, for at most 1 s. It is released by `File::unlock` or when the file is
/// closed.
///
/// # Errors
///
/// As [`SideLock::take`], for flock(2) alone.
pub fn lock(file: &File, deadline: &Deadline) -> io::Result<()> {
    let until = clock::now() + LONGEST_WAIT;
    let mut pause = FIRST_PAUSE;
    loop {
        match lock_now(file) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted) => {}
            told => return told,
        }
        let left = until.min(deadline.time()).since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        clock::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`lock`], without waiting.
pub fn lock_now(file: &File) -> io::Result<()> {
    permit()?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::ErrorKind::ResourceBusy.into(),
        TryLockError::Error(error) => error,
    })
}

/// A process that may append to the guarded file may take the lock too: the side file has its mode and its owner.
fn open_side_file(side: &Path, guarded: &Path) -> io::Result<File> {
    let open = |options: &mut OpenOptions| {
        permit()?;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(side)
    };
    let opened = match open(OpenOptions::new().read(true).write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match open(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600)) {
                Ok(file) => {
                    super::file_mode::take_after(&file, guarded);
                    Ok(file)
                }
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    open(OpenOptions::new().read(true).write(true))
                }
                Err(error) => Err(error),
            }
        }
        // flock(2) needs no right to write, except on NFS, which says so.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OpenOptions::new().read(true)),
        opened => opened,
    }?;
    let found = opened.metadata()?;
    match () {
        () if !found.is_file() => Err(io::Error::other("the lock file is not a regular file")),
        // Where others may write, it may be a second name of any file: notes are written to it, and it is emptied.
        () if found.nlink() > 1 => Err(io::Error::other("the lock file has several names")),
        () => Ok(opened),
    }
}

fn is_named(file: &File, name: &Path) -> bool {
    let (Ok(file), Ok(named)) = (file.metadata(), fs::symlink_metadata(name)) else { return false };
    (file.dev(), file.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_held_lock_is_refused_at_the_deadline_and_had_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let held = SideLock::take(&path, &Deadline::default()).unwrap();
        let deadline = Deadline::default();
        deadline.set(clock::now());
        let refused = SideLock::take(&path, &deadline).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        SideLock::take(&path, &deadline).unwrap();
    }

    #[test]
    fn a_lock_on_a_removed_side_file_counts_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let held = SideLock::take(&path, &Deadline::default()).unwrap();
        let deadline = Arc::new(Deadline::default());
        let (guarded, shared) = (path.clone(), deadline.clone());
        let waiting = thread::spawn(move || SideLock::take(&guarded, &shared));
        held.remove();
        let taken = waiting.join().unwrap().unwrap();
        assert!(is_named(&taken.locked, &taken.side));
        deadline.set(clock::now());
        assert!(SideLock::take(&path, &deadline).is_err(), "the lock under the present name is the one that holds");
    }

    #[test]
    fn a_lock_file_that_is_another_name_of_some_file_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("left.txt"), directory.path().join("important"));
        fs::write(&other, "as it was\n").unwrap();
        fs::hard_link(&other, side_file(&path).unwrap()).unwrap();
        let refused = SideLock::take(&path, &Deadline::default()).unwrap_err();
        assert_eq!(refused.to_string(), "the lock file has several names");
        assert_eq!(fs::read_to_string(&other).unwrap(), "as it was\n");
    }

    #[test]
    fn where_no_side_file_can_be_made_there_is_no_lock() {
        let refused = SideLock::take(Path::new("/proc/left.txt"), &Deadline::default()).unwrap_err();
        assert_ne!(refused.kind(), io::ErrorKind::ResourceBusy);
    }
}
