//! Puts a part of a file in another order so that a KILL at any moment loses nothing.
//!
//! The new order is written to a temporary file first, whole; then it is written over the old one in its place. The part is as long as
//! before, so that what others append behind it is not touched. If we are killed while we write, the next start
//! writes it again.

use super::file_lock::{SideLock, lock_now};
use super::line_file::LineFile;
use super::order::Run;
use super::owned_file::{FileId, OwnedFile, Purpose, copy_part};
use crate::model::Framing;
use crate::sys::permit;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a part is not in its new order.
#[derive(Debug)]
pub struct Failed {
    pub error: io::Error,
    /// The part is damaged. All of its items are in this file, from which the next start will write them again.
    pub aside: Option<PathBuf>,
}

/// What is put in order.
#[derive(Clone, Copy, Debug)]
pub struct Leftovers<'a> {
    pub queue: &'a str,
    pub framing: Framing,
    /// Of the file.
    pub _locked: &'a SideLock,
    /// Counts the pieces that were copied, so that a disk that is slow is known from one that hangs.
    pub moved: &'a AtomicU64,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed { error, aside: None }
    }
}

/// `runs` are the part of the file, in the order that they shall have. `claimed`: this run has the [claim](super::claim) on it.
///
/// # Errors
///
/// `ResourceBusy` if another run takes in the file: it would read an item twice, and another one never.
pub fn reorder(file: &LineFile, runs: &[Run], to: Leftovers, claimed: bool) -> Result<(), Failed> {
    let Leftovers { queue, framing, moved, .. } = to;
    // Another process has replaced the file; its items are as they are.
    let Some(part) = file.open_to_rewrite()? else { return Ok(()) };
    if !claimed {
        lock_now(&part)?;
    }
    let at = runs.iter().map(|run| run.start).min().unwrap_or(0);
    let length = runs.iter().map(|run| run.length).sum();
    let id = FileId::of(&part.metadata()?);
    let purpose = |ready| Purpose::Reorder { file: id, at, length, ready };
    let mut new = OwnedFile::create(file.path(), queue, framing, purpose(false))?;
    let prepared = runs.iter().try_for_each(|run| new.append_part(&part, run.start, run.length, moved));
    let prepared = prepared.and_then(|()| new.sync()).and_then(|()| new.set_purpose(purpose(true)));
    if let Err(error) = prepared {
        new.remove();
        return Err(error.into());
    }
    write_over(&part, at, &new.data, length, moved)
        .map_err(|error| Failed { error, aside: Some(new.path.clone()) })
        .map(|()| new.remove())
}

/// Writes a whole file over a part of another, as often as need be. Counts the pieces in `moved`.
pub fn write_over(part: &File, at: u64, new: &File, length: u64, moved: &AtomicU64) -> io::Result<()> {
    let mut to = at;
    copy_part(new, 0, length, |bytes| {
        permit()?;
        part.write_all_at(bytes, to)?;
        to += bytes.len() as u64;
        moved.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })?;
    permit()?;
    part.sync_all()
}
