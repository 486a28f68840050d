//! A temporary file beside the leftovers whose owner can be told to be dead.
//!
//! It is two files: `.NAME.exeunt-PID-N` with whole items, and the same with `.owner`, which says whose it is and what it is for. The
//! owner file is made first, locked as long as its owner lives, and removed last, so that a KILL at any moment
//! leaves either no owner file, or one that says what is to be done with the other.

use super::file_lock::lock_now;
use crate::model::Framing;
use crate::sys::host::Host;
use crate::sys::permit;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What stands in an owner file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub queue: String,
    pub framing: Framing,
    pub host: Host,
    pub pid: u32,
    /// The owner has the lock as long as it lives. Not every file system knows locks.
    pub locked: bool,
    pub purpose: Purpose,
}

/// What the items of the temporary file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Unfinished items. `also_in`: all of them stand in this file too, as long as it is the leftovers.
    Items { also_in: Option<FileId> },
    /// The same, which are being appended to this file at this offset.
    Appending { file: FileId, at: u64 },
    /// What stands in this file from `at` on for `length` bytes, in another order. `ready`: it is complete, and
    /// writing it there may have begun.
    Reorder { file: FileId, at: u64, length: u64, ready: bool },
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(metadata: &fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Of the file that has this name now.
    pub fn at(path: &Path) -> Option<FileId> {
        fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|found| FileId::of(&found))
    }
}

/// The temporary file of this process.
#[derive(Debug)]
pub struct OwnedFile {
    pub path: PathBuf,
    pub data: File,
    /// Up to the end of the last whole batch.
    pub length: u64,
    /// Locked.
    owner_file: File,
    owner: Owner,
}

impl OwnedFile {
    /// Makes it beside `target`, which is the leftovers. Both files are `0600`.
    pub fn create(target: &Path, queue: &str, framing: Framing, purpose: Purpose) -> io::Result<OwnedFile> {
        let prefix = prefix(target)?;
        for number in 0u32.. {
            let mut name = prefix.clone();
            name.push(format!("{}-{number}", std::process::id()));
            let path = target.with_file_name(name);
            let made = make(&owner_path(&path)).and_then(|owner_file| {
                let (queue, host) = (queue.to_owned(), Host::this());
                let owner = Owner { queue, framing, host, pid: std::process::id(), locked: false, purpose };
                OwnedFile::complete(path, owner_file, owner)
            });
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn complete(path: PathBuf, owner_file: File, mut owner: Owner) -> io::Result<OwnedFile> {
        match lock_now(&owner_file) {
            Ok(()) => owner.locked = true,
            // A run that has just started takes it for the file of a dead one, and will remove it.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(_no_locks_here) => {}
        }
        let made = write_owner(&owner_file, &owner).and_then(|()| make(&path));
        let named = FileId::at(&owner_path(&path)) == owner_file.metadata().ok().map(|found| FileId::of(&found));
        match made {
            Ok(data) if named => Ok(OwnedFile { path, data, length: 0, owner_file, owner }),
            Ok(_) => {
                let _gone_already = fs::remove_file(&path);
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Err(error) => {
                let _gone_already = fs::remove_file(owner_path(&path));
                Err(error)
            }
        }
    }

    /// Appends whole items. After an error it is as before.
    pub fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if let Err(error) = permit().and_then(|()| self.data.write_all_at(frames, self.length)) {
            self.data.set_len(self.length)?;
            return Err(error);
        }
        self.length += frames.len() as u64;
        Ok(())
    }

    /// Appends this part of another file. Counts in `moved` what the disk has taken, so that a wait for a large file can be told from
    /// a wait for a disk that hangs.
    pub fn append_part(&mut self, of: &File, from: u64, length: u64, moved: &AtomicU64) -> io::Result<()> {
        /// What stays in memory is written at the final fsync, which must not take long.
        const UNSYNCED: u64 = 16 * 1024 * 1024;
        let mut synced = self.length;
        copy_part(of, from, length, |bytes| {
            self.append(bytes)?;
            if self.length - synced >= UNSYNCED {
                permit()?;
                self.data.sync_data()?;
                synced = self.length;
            }
            moved.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    pub fn set_purpose(&mut self, purpose: Purpose) -> io::Result<()> {
        self.owner.purpose = purpose;
        write_owner(&self.owner_file, &self.owner)
    }

    pub fn sync(&self) -> io::Result<()> {
        permit()?;
        self.data.sync_all()
    }

    /// Its items are in another place now.
    pub fn remove(self) {
        remove(&self.path);
    }

    /// The temporary file becomes the target.
    pub fn rename(self, target: &Path) -> io::Result<()> {
        permit()?;
        fs::rename(&self.path, target)?;
        let _gone_already = permit().and_then(|()| fs::remove_file(owner_path(&self.path)));
        Ok(())
    }
}

/// Removes a temporary file and, after it, its owner file.
pub fn remove(path: &Path) {
    let _gone_already = permit().and_then(|()| fs::remove_file(path));
    let _gone_already = permit().and_then(|()| fs::remove_file(owner_path(path)));
}

/// Reads a part of a file in pieces.
pub fn copy_part(of: &File, from: u64, length: u64, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let (mut at, end) = (from, from.saturating_add(length));
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
        let read = of.read_at(piece.get_mut(..wanted).unwrap_or_default(), at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write(piece.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(())
}

/// How the names of all temporary files of these leftovers begin.
pub fn prefix(target: &Path) -> io::Result<OsString> {
    let mut name = OsString::from(".");
    name.push(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".exeunt-");
    Ok(name)
}

pub fn owner_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".owner");
    name.into()
}

/// `None` if it is not whole: its owner was killed before it made the temporary file.
pub fn read_owner(file: &File) -> io::Result<Option<Owner>> {
    const MOST: u64 = 64 * 1024;
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    Ok(values.next().and_then(Result::ok).and_then(|value| Owner::from_json(&value)))
}

fn make(path: &Path) -> io::Result<File> {
    permit()?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    super::file_mode::NewFile::Private.complete(&file);
    Ok(file)
}

/// One write within one page, always as long, so that a KILL leaves the old text or the new one.
pub fn write_owner(file: &File, owner: &Owner) -> io::Result<()> {
    const WIDTH: usize = 4095;
    let text = format!("{:<WIDTH$}\n", owner.to_json().to_string());
    permit()?;
    file.write_all_at(text.as_bytes(), 0)
}

impl Owner {
    fn to_json(&self) -> Value {
        let framing = match self.framing {
            Framing::Line => "line",
            Framing::Nul => "nul",
        };
        let file = |file: FileId| json!([file.device, file.inode]);
        let purpose = match self.purpose {
            Purpose::Items { also_in } => json!({"kind": "items", "file": also_in.map(file)}),
            Purpose::Appending { file: to, at } => json!({"kind": "appending", "file": file(to), "at": at}),
            Purpose::Reorder { file: of, at, length, ready } => {
                json!({"kind": "reorder", "file": file(of), "at": at, "length": length, "ready": ready})
            }
        };
        json!({
            "exeunt": 1,
            "queue": self.queue,
            "framing": framing,
            "host": self.host.name,
            "boot_id": self.host.boot_id,
            "pid": self.pid,
            "locked": self.locked,
            "purpose": purpose,
        })
    }

    fn from_json(value: &Value) -> Option<Owner> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let framing = match text("framing")?.as_str() {
            "line" => Framing::Line,
            "nul" => Framing::Nul,
            _ => return None,
        };
        let purpose = value.get("purpose")?;
        let number = |name: &str| purpose.get(name)?.as_u64();
        let file = || {
            let pair = purpose.get("file")?.as_array()?;
            Some(FileId { device: pair.first()?.as_u64()?, inode: pair.get(1)?.as_u64()? })
        };
        let purpose = match purpose.get("kind")?.as_str()? {
            "items" => Purpose::Items { also_in: file() },
            "appending" => Purpose::Appending { file: file()?, at: number("at")? },
            "reorder" => Purpose::Reorder {
                file: file()?,
                at: number("at")?,
                length: number("length")?,
                ready: purpose.get("ready")?.as_bool()?,
            },
            _ => return None,
        };
        Some(Owner {
            queue: text("queue")?,
            framing,
            host: Host { name: text("host")?, boot_id: text("boot_id")? },
            pid: u32::try_from(value.get("pid")?.as_u64()?).ok()?,
            locked: value.get("locked")?.as_bool()?,
            purpose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("left.txt");
        let file = FileId { device: 1, inode: u64::MAX };
        for purpose in [
            Purpose::Items { also_in: None },
            Purpose::Items { also_in: Some(file) },
            Purpose::Appending { file, at: 7 },
            Purpose::Reorder { file, at: 7, length: 8, ready: true },
        ] {
            let mut owned =
                OwnedFile::create(&target, "q \"x\"", Framing::Nul, Purpose::Items { also_in: None }).unwrap();
            owned.set_purpose(purpose).unwrap();
            let read = read_owner(&File::open(owner_path(&owned.path)).unwrap()).unwrap();
            assert_eq!(read, Some(owned.owner.clone()));
            assert!(owned.owner.locked && owned.owner.purpose == purpose);
        }
        // More than a hundred of them are no reason to fail.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 8);
    }

    #[test]
    fn there_is_no_limit_of_files_that_were_left_before() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("left.txt");
        for number in 0..150 {
            let name = format!(".left.txt.exeunt-{}-{number}", std::process::id());
            fs::write(directory.path().join(name), "old\n").unwrap();
        }
        let mut owned = OwnedFile::create(&target, "q", Framing::Line, Purpose::Items { also_in: None }).unwrap();
        owned.append(b"a\n").unwrap();
        assert!(owned.path.to_str().unwrap().ends_with("-150"));
        let name = owned.path.clone();
        owned.rename(&target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "a\n");
        assert!(!owner_path(&name).exists() && !name.exists());
    }
}
