//! The file that unfinished items are left in.
//!
//! Items go to a temporary name in the same directory as they are handed back, and the file is put in place at the end:
//! synced, renamed, the directory synced. What was in the file before is kept in front. If nothing was handed back,
//! nothing is touched.

use crate::sys::permit;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Keeps the items of one queue.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    delimiter: u8,
    temp: Option<Temp>,
    trouble: Option<io::Error>,
}

/// What is read back from a file that could not be put in place, at most: the rest of us fits into memory too.
const READ_BACK: u64 = 1024 * 1024;

#[derive(Debug)]
struct Temp {
    file: File,
    path: PathBuf,
    /// Up to the end of the last whole batch.
    length: u64,
}

/// What becomes of a file that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    Keep,
    /// It is our own stdin and was read to its end: what is unfinished of it is among the items handed back.
    Replace,
}

/// How the keeping ended.
#[derive(Debug, Default)]
pub struct Kept {
    /// Frames that were kept and cannot be any longer, in order, for a last resort.
    pub lost: Vec<u8>,
    /// Where the others are that were kept.
    pub place: Place,
    pub trouble: Option<io::Error>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// There are none.
    #[default]
    Nowhere,
    /// In the file.
    File,
    /// Here, under a name that nobody asked for: too many to be said.
    Stranded(PathBuf),
}

impl Keeper {
    pub fn new(path: PathBuf, delimiter: u8) -> Keeper {
        Keeper { path, delimiter, temp: None, trouble: None }
    }

    /// Appends whole frames, each with its delimiter. Answers whether they are kept. After a failure nothing is any more, so that
    /// the file's items are the first ones.
    pub fn keep(&mut self, frames: &[u8]) -> bool {
        if self.trouble.is_none() {
            self.trouble = self.append(frames).err();
        }
        self.trouble.is_none()
    }

    /// Where the items are that were kept so far; `None` where there are none.
    pub fn place(&self) -> Option<PathBuf> {
        self.temp.as_ref().filter(|temp| temp.length > 0).map(|temp| temp.path.clone())
    }

    /// Puts the file in place. Blocks for as long as the disk does.
    pub fn finish(mut self, previous: Previous) -> Kept {
        let Some(mut temp) = self.temp.take() else { return self.without_file(previous) };
        if temp.length == 0 {
            let _gone_already = fs::remove_file(&temp.path);
            return self.without_file(previous);
        }
        match put_in_place(&mut temp, &self.path, self.delimiter, previous) {
            Ok(()) => Kept { lost: Vec::new(), place: Place::File, trouble: self.trouble },
            Err(error) => {
                let lost = if temp.length <= READ_BACK { temp.read_back().unwrap_or_default() } else { Vec::new() };
                // The temporary file is the only copy left where it is not read back.
                if lost.len() as u64 == temp.length {
                    let _gone_already = fs::remove_file(&temp.path);
                    return Kept { lost, place: Place::Nowhere, trouble: Some(error) };
                }
                Kept { lost: Vec::new(), place: Place::Stranded(temp.path), trouble: Some(error) }
            }
        }
    }

    fn without_file(self, previous: Previous) -> Kept {
        let removal = match previous {
            Previous::Replace if self.trouble.is_none() => fs::remove_file(&self.path),
            Previous::Replace | Previous::Keep => Ok(()),
        };
        Kept { trouble: self.trouble.or(removal.err()), ..Kept::default() }
    }

    fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        let temp = match &mut self.temp {
            Some(temp) => temp,
            None => self.temp.insert(Temp::create(&self.path)?),
        };
        if let Err(error) = permit().and_then(|()| temp.file.write_all(frames)) {
            // Half a frame would become an item of its own.
            temp.file.set_len(temp.length)?;
            return Err(error);
        }
        temp.length += frames.len() as u64;
        Ok(())
    }
}

impl Temp {
    /// A new file beside the target, with a name that says whose it is.
    fn create(target: &Path) -> io::Result<Temp> {
        refuse_odd(target)?;
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        for attempt in 0..100 {
            let mut own = OsString::from(".");
            own.push(name);
            own.push(format!(".exeunt-{}-{attempt}", std::process::id()));
            let path = target.with_file_name(own);
            let opened = permit().and_then(|()| OpenOptions::new().read(true).write(true).create_new(true).open(&path));
            match opened {
                Ok(file) => return Ok(Temp { file, path, length: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn read_back(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&mut self.file).take(self.length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn put_in_place(temp: &mut Temp, target: &Path, delimiter: u8, previous: Previous) -> io::Result<()> {
    refuse_odd(target)?;
    // The link's target is replaced, not the link.
    let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let existing = match fs::metadata(&target) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let in_front = existing.as_ref().is_some_and(|found| found.len() > 0) && previous == Previous::Keep;
    let mut joined = if in_front { Some(join(temp, &target, delimiter)?) } else { None };
    let placed = joined.as_mut().unwrap_or(temp);
    let result = (|| {
        if let Some(found) = &existing {
            placed.file.set_permissions(found.permissions())?;
        }
        permit()?;
        placed.file.sync_all()?;
        permit()?;
        fs::rename(&placed.path, &target)
    })();
    if let Some(joined) = joined {
        let superfluous = if result.is_ok() { &temp.path } else { &joined.path };
        let _gone_already = fs::remove_file(superfluous);
    }
    result?;
    // From here on the items are in their place; a directory that cannot be synced does not undo that.
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _best_effort = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// A new file with what was there before, and our items after it.
fn join(temp: &mut Temp, target: &Path, delimiter: u8) -> io::Result<Temp> {
    let mut joined = Temp::create(target)?;
    let result = (|| {
        io::copy(&mut File::open(target)?, &mut joined.file)?;
        let mut last = [0u8];
        joined.file.seek(SeekFrom::End(-1))?;
        joined.file.read_exact(&mut last)?;
        if last != [delimiter] {
            joined.file.write_all(&[delimiter])?;
        }
        temp.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut (&mut temp.file).take(temp.length), &mut joined.file)
    })();
    match result {
        Ok(_) => Ok(joined),
        Err(error) => {
            let _gone_already = fs::remove_file(&joined.path);
            Err(error)
        }
    }
}

/// A rename over a device or a FIFO would take it from everybody else.
fn refuse_odd(target: &Path) -> io::Result<()> {
    match fs::metadata(target) {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a regular file")),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(directory: &Path) -> Keeper {
        Keeper::new(directory.join("left.txt"), b'\n')
    }

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_handed_back_touches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let kept = keeper(directory.path()).finish(Previous::Keep);
        assert!(kept.lost.is_empty() && kept.trouble.is_none());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_was_there_stays_in_front_and_gets_its_delimiter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        for (before, after) in [("", "a\nb\n"), ("old", "old\na\nb\n"), ("old\n", "old\na\nb\n")] {
            fs::write(&path, before).unwrap();
            let mut keeper = keeper(directory.path());
            keeper.keep(b"a\n");
            keeper.keep(b"b\n");
            let kept = keeper.finish(Previous::Keep);
            assert!(kept.lost.is_empty() && kept.trouble.is_none() && kept.place == Place::File, "{kept:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
            assert_eq!(names(directory.path()), ["left.txt"]);
        }
    }

    #[test]
    fn our_own_stdin_is_replaced_and_removed_when_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.txt");
        fs::write(&path, "a\nb\n").unwrap();
        let mut first = keeper(directory.path());
        first.keep(b"b\n");
        assert!(first.finish(Previous::Replace).trouble.is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
        assert!(keeper(directory.path()).finish(Previous::Replace).trouble.is_none());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_said_at_once() {
        let mut keeper = Keeper::new("/nonexistent/left.txt".into(), b'\n');
        assert!(!keeper.keep(b"a\n"));
        assert!(!keeper.keep(b"b\n"));
        let kept = keeper.finish(Previous::Keep);
        assert!(kept.lost.is_empty() && kept.trouble.is_some());
    }

    #[test]
    fn too_much_to_be_said_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = keeper(directory.path());
        let frames = vec![b'\n'; READ_BACK as usize + 1];
        assert!(keeper.keep(&frames));
        fs::create_dir(directory.path().join("left.txt")).unwrap();
        let kept = keeper.finish(Previous::Keep);
        assert!(kept.lost.is_empty() && kept.trouble.is_some());
        let Place::Stranded(path) = kept.place else { panic!("{:?}", kept.place) };
        assert_eq!(fs::read(path).unwrap(), frames);
    }

    #[test]
    fn a_target_that_became_a_directory_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut keeper = keeper(directory.path());
        keeper.keep(b"a\n");
        fs::create_dir(directory.path().join("left.txt")).unwrap();
        let kept = keeper.finish(Previous::Keep);
        assert_eq!(kept.lost, b"a\n");
        assert!(kept.trouble.is_some() && kept.place == Place::Nowhere);
        assert_eq!(names(directory.path()), ["left.txt"]);
    }

    #[test]
    fn f83_a_device_is_never_replaced() {
        let mut keeper = Keeper::new("/dev/null".into(), b'\n');
        assert!(!keeper.keep(b"a\n"));
        assert!(keeper.finish(Previous::Keep).trouble.is_some());
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
