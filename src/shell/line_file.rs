//! The one writer of line files: results, dead letters, leftovers.
//!
//! Other processes may append to the same file. Each batch is written under a lock, so that a line of one never comes
//! into the middle of a line of another. A writer that is killed or meets a full disk leaves a last line without its end (a *torn tail*).
//! It is closed off with a delimiter, so that it spoils no line but itself. That is done under the lock, and only when the
//! file is opened and after a failed write of our own: at any other time the tail may be a line that a living writer has half written.

use super::file_lock::{Deadline, SideLock, lock, lock_now};
use super::file_mode::NewFile;
use super::lane::write_all;
use crate::sys::file_user::FileUser;
use crate::sys::open::{self as by_path, How};
use crate::sys::permit;
use log::warn;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How a line file is opened and written.
#[derive(Clone, Debug)]
pub struct Options {
    /// The last byte of each line.
    pub delimiter: u8,
    pub kinds: Kinds,
    pub new_file: NewFile,
    pub locking: Locking,
}

/// What kind of file it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// A FIFO may have no reader, and a device keeps nothing.
    Regular,
    /// Also FIFOs and character devices. To those lines are written as they come: without a lock, and nothing is taken back.
    Any,
}

impl Kinds {
    fn check(self, found: &Metadata) -> io::Result<()> {
        let kind = found.file_type();
        match self {
            Kinds::Regular if !kind.is_file() => Err(io::Error::other("it is not a regular file")),
            Kinds::Any if kind.is_dir() || kind.is_block_device() || kind.is_socket() => {
                Err(io::Error::other("it is neither a regular file nor a FIFO nor a character device"))
            }
            Kinds::Regular | Kinds::Any => Ok(()),
        }
    }
}

/// Which lock a batch is written under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// That of the file itself, for a file that no writer replaces. If it cannot be had, lines are appended without, which is said once, and no
    /// torn tail is closed off.
    Itself,
    /// [`SideLock`], for a file that may be replaced or removed. If it cannot be had, nothing is written.
    SideFile,
}

/// Why a batch is not, or not whole, in the file.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was written because the [side lock](Locking::SideFile) could not be had.
    NoLock(io::Error),
    /// Of the batch, the first `kept` bytes are in the file, which are whole lines.
    Write { kept: usize, error: io::Error },
}

impl Failure {
    /// Why, whatever is in the file.
    pub fn into_error(self) -> io::Error {
        match self {
            Failure::NoLock(error) | Failure::Write { error, .. } => error,
        }
    }
}

/// A file that whole lines are appended to. It is opened with the first of them, and opened anew after an error of open(2).
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    options: Options,
    open: Option<Open>,
    /// The lock of the file itself is not to be had.
    lockless: bool,
    /// With whose rights it is opened where others may write; see [`by_path::open`].
    user: Option<FileUser>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// The tail has not been looked at, or a failed write of ours may have torn it.
    suspect: bool,
    regular: bool,
}

impl LineFile {
    /// Opens nothing.
    pub fn new(path: PathBuf, options: Options) -> LineFile {
        LineFile { path, options, open: None, lockless: false, user: None }
    }

    /// The file is one of the workers of this user.
    pub fn for_user(self, user: Option<FileUser>) -> LineFile {
        LineFile { user, ..self }
    }

    /// Appends whole lines, each with its delimiter, and answers the offset where they begin (0 for a FIFO or device). The lock
    /// is waited for until the deadline, for at most 1 s; a FIFO that is full for as long as it is.
    pub fn append(&mut self, lines: &[u8], deadline: &Deadline) -> Result<u64, Failure> {
        match self.options.locking {
            Locking::SideFile => {
                // No lock file is made beside a device.
                refuse_odd(&self.path, self.options.kinds).map_err(|error| Failure::Write { kept: 0, error })?;
                let locked = SideLock::take(&self.path, deadline).map_err(Failure::NoLock)?;
                self.append_locked(lines, &locked)
            }
            Locking::Itself => self.append_under_own_lock(lines, deadline),
        }
    }

    /// As [`append`](Self::append), for a caller that has the side lock of this file already.
    pub fn append_locked(&mut self, lines: &[u8], locked: &SideLock) -> Result<u64, Failure> {
        // Another process may have replaced the file while we did not have the lock.
        self.open = self.open.take().filter(|open| is_named(&open.file, &self.path));
        let delimiter = self.options.delimiter;
        let (path, user) = (self.path.clone(), self.user.clone());
        let open = self.opened()?;
        let failed = |error| Failure::Write { kept: 0, error };
        let id = open.file.metadata().map(|found| identity(&found)).map_err(failed)?;
        if let Some(offset) = locked.unfinished_append(id) {
            cut_unfinished(&path, offset, delimiter, user.as_ref()).map_err(failed)?;
            locked.forget_append();
        }
        open.heal(delimiter, &path, user.as_ref())?;
        if lines.is_empty() {
            locked.forget_append();
            return open.length().map_err(failed);
        }
        // Without the note a killed writer's half line becomes a line. That is no reason not to write.
        let _best_effort = open.length().and_then(|length| locked.note_append(id, length));
        let told = open.write(lines, delimiter);
        locked.forget_append();
        told
    }

    /// Opens the file and closes off a torn tail, for a caller that has the side lock. Answers where the next line will begin.
    pub fn prepare(&mut self, locked: &SideLock) -> io::Result<u64> {
        self.append_locked(b"", locked).map_err(Failure::into_error)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that lines were appended to, to be written at any offset, by a caller that has its side lock. `None` if its name
    /// stands for another file now.
    pub fn open_to_rewrite(&self) -> io::Result<Option<File>> {
        let Some(open) = &self.open else { return Ok(None) };
        let file = open_by_path(&self.path, Purpose::Rewrite, self.user.as_ref())?;
        Ok((identity(&file.metadata()?) == identity(&open.file.metadata()?)).then_some(file))
    }

    /// Opens the file if it is not open, and answers whether it is a regular one.
    pub fn open(&mut self) -> io::Result<bool> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path, &self.options, self.user.as_ref())?,
        };
        Ok(self.open.insert(open).regular)
    }

    /// The open file, if lines were appended to it.
    pub fn file(&self) -> Option<&File> {
        self.open.as_ref().map(|open| &open.file)
    }

    /// Waits until the disk has all that was appended (fsync(2)).
    pub fn sync(&self) -> io::Result<()> {
        let Some(open) = self.open.as_ref().filter(|open| open.regular) else { return Ok(()) };
        permit()?;
        open.file.sync_all()
    }

    fn append_under_own_lock(&mut self, lines: &[u8], deadline: &Deadline) -> Result<u64, Failure> {
        let (delimiter, path, mut lockless) = (self.options.delimiter, self.path.clone(), self.lockless);
        let user = self.user.clone();
        // Rotated or removed: what is appended to it now would not be found.
        self.open = self.open.take().filter(|open| !open.regular || is_named(&open.file, &path));
        let open = self.opened()?;
        if !open.regular {
            return open.write(lines, delimiter);
        }
        if !lockless && let Err(error) = lock(&open.file, deadline) {
            warn!("cannot lock {} ({error}): lines of other writers may come in between", path.display());
            lockless = true;
        }
        let healed = if lockless { Ok(()) } else { open.heal(delimiter, &path, user.as_ref()) };
        let told = healed.and_then(|()| open.write(lines, delimiter));
        if !lockless {
            // Closing the file would release the lock too.
            let _no_longer_ours = open.file.unlock();
        }
        self.lockless = lockless;
        told
    }

    fn opened(&mut self) -> Result<&mut Open, Failure> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path, &self.options, self.user.as_ref())
                .map_err(|error| Failure::Write { kept: 0, error })?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    fn new(path: &Path, options: &Options, user: Option<&FileUser>) -> io::Result<Open> {
        // A look before the open: opening a FIFO would wake its reader, and a device may do anything.
        refuse_odd(path, options.kinds)?;
        let file = open_or_create(path, &options.new_file, user)?;
        let found = file.metadata()?;
        options.kinds.check(&found)?;
        Ok(Open { file, suspect: true, regular: found.is_file() })
    }

    /// Closes off a torn tail, for the holder of the lock of a regular file.
    fn heal(&mut self, delimiter: u8, path: &Path, user: Option<&FileUser>) -> Result<(), Failure> {
        if self.suspect && is_torn(&self.file, path, delimiter, user) {
            self.put(&[delimiter]).map_err(|(_, error)| Failure::Write { kept: 0, error })?;
        }
        self.suspect = false;
        Ok(())
    }

    fn write(&mut self, lines: &[u8], delimiter: u8) -> Result<u64, Failure> {
        if !self.regular {
            return self
                .put(lines)
                .map(|()| 0)
                .map_err(|(written, error)| Failure::Write { kept: whole_lines(lines, written, delimiter), error });
        }
        let start = self.length().map_err(|error| Failure::Write { kept: 0, error })?;
        self.put(lines).map(|()| start).map_err(|(written, error)| {
            let kept = whole_lines(lines, written, delimiter);
            self.take_back(start, written, kept);
            Failure::Write { kept, error }
        })
    }

    /// On failure, how many bytes were written before it.
    fn put(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        write_all(self.file.as_fd(), bytes, |part| written += part).map_err(|error| (written, error))
    }

    /// Cuts off the half line that a failed write left, unless another process wrote behind it; then the next write closes it off.
    fn take_back(&mut self, start: u64, written: usize, kept: usize) {
        if written == kept {
            return;
        }
        let alone = self.length().is_ok_and(|length| length == start + written as u64);
        self.suspect = !alone || self.file.set_len(start + kept as u64).is_err();
    }

    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|found| found.len())
    }
}

/// Whether a file of a kind that is not wanted has this name now.
fn refuse_odd(path: &Path, kinds: Kinds) -> io::Result<()> {
    fs::metadata(path).map_or(Ok(()), |found| kinds.check(&found))
}

/// How much of what was written of these lines is whole lines.
pub fn whole_lines(lines: &[u8], written: usize, delimiter: u8) -> usize {
    let written = lines.get(..written).unwrap_or(lines);
    memchr::memrchr(delimiter, written).map_or(0, |last| last + 1)
}

/// A process was killed while it appended here: the half line that it left is no line. The lock is ours, so no living writer is at
/// work.
fn cut_unfinished(path: &Path, offset: u64, delimiter: u8, user: Option<&FileUser>) -> io::Result<()> {
    let file = open_by_path(path, Purpose::Rewrite, user)?;
    // Another run may have read the half item, and would take what comes in its place for the rest of it.
    if lock_now(&file).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
        return Ok(());
    }
    let length = file.metadata()?.len();
    let whole = whole_until(&file, offset, delimiter)?;
    if whole < length {
        let bytes = length - whole;
        warn!(
            "{}: the last item was cut off after {bytes} bytes, when its writer was killed; it is removed",
            path.display()
        );
        permit()?;
        file.set_len(whole)?;
    }
    Ok(())
}

/// Where the last whole line ends in a file of which all lines up to `offset` are whole. `offset` if there is none behind it, or the end of the
/// file if that is before it.
pub fn whole_until(file: &File, offset: u64, delimiter: u8) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let (mut at, mut whole, mut piece) = (offset, offset.min(length), vec![0; 64 * 1024]);
    while at < length {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            break;
        }
        if let Some(last) = memchr::memrchr(delimiter, piece.get(..read).unwrap_or_default()) {
            whole = at + last as u64 + 1;
        }
        at += read as u64;
    }
    Ok(whole)
}

/// Whether the last byte is not the delimiter. `false` if the file is empty, or we may not read it.
fn is_torn(file: &File, path: &Path, delimiter: u8, user: Option<&FileUser>) -> bool {
    let look = || -> io::Result<bool> {
        let length = file.metadata()?.len();
        let Some(last) = length.checked_sub(1) else { return Ok(false) };
        let readable = open_by_path(path, Purpose::Read, user)?;
        let mut byte = [delimiter];
        if identity(&readable.metadata()?) == identity(&file.metadata()?) {
            readable.read_exact_at(&mut byte, last)?;
        }
        Ok(byte != [delimiter])
    };
    look().unwrap_or(false)
}

fn open_or_create(path: &Path, new_file: &NewFile, user: Option<&FileUser>) -> io::Result<File> {
    /// Other processes may make and remove it, but not always between two calls of ours.
    const ATTEMPTS: usize = 100;
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    for _ in 0..ATTEMPTS {
        match open_by_path(path, Purpose::Append, user) {
            Err(error) if missing(&error) => {}
            opened => return opened,
        }
        // `O_EXCL` tells whether it is we who made it, but it does not follow a link whose target is not there.
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let made = open_by_path(path, Purpose::Create { mode: new_file.first_mode(), exclusive: !is_link }, user);
        match made {
            Ok(file) => {
                if !is_link {
                    // With the same rights: the file that it takes after may be of the worker's making too.
                    let _best_effort = by_path::act(path, user, || {
                        new_file.complete(&file);
                        Ok(())
                    });
                }
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes a file that is not there.
///
/// # Errors
///
/// `AlreadyExists`, or an error of open(2).
pub fn create(path: &Path, new_file: &NewFile) -> io::Result<File> {
    let file = open_by_path(path, Purpose::Create { mode: new_file.first_mode(), exclusive: true }, None)?;
    new_file.complete(&file);
    Ok(file)
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Append,
    Create {
        mode: u32,
        exclusive: bool,
    },
    Read,
    /// To read and write at any offset.
    Rewrite,
}

/// Every open by path of this module. It never blocks (a FIFO without a reader is ENXIO), and makes no terminal ours.
fn open_by_path(path: &Path, purpose: Purpose, user: Option<&FileUser>) -> io::Result<File> {
    const APPEND: i32 = libc::O_WRONLY | libc::O_APPEND;
    let how = match purpose {
        Purpose::Append => How::new(APPEND, 0),
        Purpose::Create { mode, exclusive: true } => How::new(APPEND | libc::O_CREAT | libc::O_EXCL, mode),
        Purpose::Create { mode, exclusive: false } => How::new(APPEND | libc::O_CREAT, mode),
        Purpose::Read => How::new(libc::O_RDONLY, 0),
        Purpose::Rewrite => How::new(libc::O_RDWR, 0),
    };
    by_path::open(path, how.nonblocking(), user)
}

/// Whether this name still stands for the open file.
fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    identity(&file) == identity(&named)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn options(locking: Locking) -> Options {
        Options { delimiter: b'\n', kinds: Kinds::Regular, new_file: NewFile::Private, locking }
    }

    fn by_itself(path: &Path) -> LineFile {
        LineFile::new(path.to_owned(), options(Locking::Itself))
    }

    fn beside(path: &Path) -> LineFile {
        LineFile::new(path.to_owned(), options(Locking::SideFile))
    }

    fn append(file: &mut LineFile, lines: &str) -> u64 {
        file.append(lines.as_bytes(), &Deadline::default()).unwrap()
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_torn_tail_is_closed_off_when_the_file_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        for (number, locking) in [Locking::Itself, Locking::SideFile].into_iter().enumerate() {
            let path = directory.path().join(number.to_string());
            for (before, after) in [("", "a\nb\n"), ("old", "old\na\nb\n"), ("old\n", "old\na\nb\n")] {
                fs::write(&path, before).unwrap();
                let mut file = LineFile::new(path.clone(), options(locking));
                let start = append(&mut file, "a\n");
                assert_eq!(start as usize, after.len() - "a\nb\n".len());
                append(&mut file, "b\n");
                assert_eq!(read(&path), after);
            }
        }
    }

    #[test]
    fn half_a_line_of_a_killed_writer_is_removed_and_that_of_any_other_is_closed_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let mut file = beside(&path);
        append(&mut file, "a\n");
        let locked = SideLock::take(&path, &Deadline::default()).unwrap();
        let id = identity(&fs::metadata(&path).unwrap());
        assert_eq!(locked.unfinished_append(id), None);
        locked.note_append(id, 2).unwrap();
        assert_eq!(locked.unfinished_append((id.0, id.1 + 1)), None);
        drop(locked);
        let tear = |text: &str| OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes());
        tear("b\nhal").unwrap();
        append(&mut beside(&path), "c\n");
        assert_eq!(read(&path), "a\nb\nc\n");
        tear("hal").unwrap();
        append(&mut beside(&path), "d\n");
        assert_eq!(read(&path), "a\nb\nc\nhal\nd\n");
    }

    #[test]
    fn the_half_written_line_of_a_living_writer_is_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("done.txt");
        let mut ours = by_itself(&path);
        append(&mut ours, "a\n");
        // Another writer has the lock and half a line in the file.
        let mut theirs = OpenOptions::new().append(true).open(&path).unwrap();
        theirs.lock().unwrap();
        theirs.write_all(b"their l").unwrap();
        let deadline = Deadline::default();
        let waiting = std::thread::spawn(move || ours.append(b"b\n", &deadline).unwrap());
        let mut new = by_itself(&path);
        let other = std::thread::spawn(move || new.append(b"c\n", &Deadline::default()).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        theirs.write_all(b"ine\n").unwrap();
        theirs.unlock().unwrap();
        waiting.join().unwrap();
        other.join().unwrap();
        let text = read(&path);
        assert!(text == "a\ntheir line\nb\nc\n" || text == "a\ntheir line\nc\nb\n", "{text:?}");
    }

    #[test]
    fn without_the_side_lock_nothing_is_written_and_without_the_own_lock_all_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let deadline = Deadline::default();
        deadline.set(clock::now());
        let held = SideLock::take(&path, &deadline).unwrap();
        let refused = beside(&path).append(b"a\n", &deadline).unwrap_err();
        assert!(matches!(refused, Failure::NoLock(_)), "{refused:?}");
        assert!(!path.exists());
        drop(held);

        fs::write(&path, "").unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        let mut file = by_itself(&path);
        file.append(b"a\n", &deadline).unwrap();
        file.append(b"b\n", &deadline).unwrap();
        assert_eq!(read(&path), "a\nb\n");
    }

    #[test]
    fn a_file_that_was_replaced_is_opened_anew_under_the_side_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        let mut file = beside(&path);
        append(&mut file, "a\n");
        fs::rename(&path, directory.path().join("gone")).unwrap();
        fs::write(&path, "torn").unwrap();
        append(&mut file, "b\n");
        assert_eq!(read(&path), "torn\nb\n");
        fs::remove_file(&path).unwrap();
        append(&mut file, "c\n");
        assert_eq!(read(&path), "c\n");
    }

    /// What a full disk leaves is made by hand: the first bytes of a batch, and the failure.
    #[test]
    fn half_a_line_of_our_own_is_taken_back_or_closed_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("done.txt");
        let mut file = by_itself(&path);
        append(&mut file, "old\n");
        let open = file.open.as_mut().unwrap();
        let torn = b"whole\nhal";
        let kept = whole_lines(b"whole\nhalf\n", torn.len(), b'\n');
        assert_eq!(kept, 6);
        open.file.write_all(torn).unwrap();
        open.take_back(4, torn.len(), kept);
        assert!(!open.suspect);
        assert_eq!(read(&path), "old\nwhole\n");
        // The same, and a writer without a lock comes behind it.
        open.file.write_all(b"hal").unwrap();
        fs::write(&path, "old\nwhole\nhalother\ntai").unwrap();
        open.take_back(10, 3, 0);
        append(&mut file, "new\n");
        assert_eq!(read(&path), "old\nwhole\nhalother\ntai\nnew\n");
    }

    #[test]
    fn new_files_have_the_mode_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let model = directory.path().join("model");
        fs::write(&model, "").unwrap();
        fs::set_permissions(&model, fs::Permissions::from_mode(0o4640)).unwrap();
        let wanted = [
            (NewFile::Private, 0o600),
            (NewFile::Like(model), 0o640),
            (NewFile::Like(directory.path().join("not there")), 0o600),
        ];
        for (number, (new_file, mode)) in wanted.into_iter().enumerate() {
            let path = directory.path().join(number.to_string());
            let options = Options { new_file, ..options(Locking::Itself) };
            append(&mut LineFile::new(path.clone(), options.clone()), "a\n");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode, "{options:?}");
            // What exists keeps its mode.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            append(&mut LineFile::new(path.clone(), options), "b\n");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);
        }
    }

    #[test]
    fn a_link_is_followed_even_to_a_file_that_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("target", &path).unwrap();
        append(&mut by_itself(&path), "a\n");
        assert_eq!(read(&directory.path().join("target")), "a\n");
    }

    #[test]
    fn only_regular_files_are_taken_where_only_they_are_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/null"), &fifo, directory.path()] {
            let refused = by_itself(path).append(b"a\n", &Deadline::default()).unwrap_err();
            assert!(matches!(refused, Failure::Write { kept: 0, .. }), "{refused:?}");
        }
        let any = |path: &Path| {
            let options = Options { kinds: Kinds::Any, ..options(Locking::Itself) };
            LineFile::new(path.to_owned(), options).append(b"a\n", &Deadline::default())
        };
        assert_eq!(any(Path::new("/dev/null")).unwrap(), 0);
        let Err(Failure::Write { kept: 0, error }) = any(&fifo) else { panic!("a FIFO without a reader is an error") };
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    }
}
