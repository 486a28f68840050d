//! The claim of a run on the leftovers that it takes in: a lock (flock(2)) on the file itself. A second run does not take in the
//! same items, and a run that appends does not move or cut what may be read just then.

use super::file_lock::{Deadline, lock};
use super::owned_file::FileId;
use crate::model::QueueId;
use crate::model::plan::{Feed, Plan};
use crate::sys::fds;
use crate::sys::open::{self as by_path, How};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Another run takes in these leftovers, or puts them in order.
#[derive(Debug)]
pub struct Taken {
    pub queue: String,
    pub leftovers: PathBuf,
}

/// Claims our standard input if it is the leftovers of a queue that it feeds. The claim lasts until the file is closed. `None` if it is not, or if
/// there are no locks here. Another run is waited for at most 1 s, which is enough for one that puts leftovers in order.
pub fn of_stdin(plan: &Plan) -> Result<Option<File>, Taken> {
    let own = || {
        let found = fds::stdin_file()?.metadata()?;
        Ok::<_, io::Error>(FileId::of(&found))
    };
    let Ok(own) = own() else { return Ok(None) };
    let fed = plan.sources.iter().filter(|source| source.feed == Feed::Stdin).map(|source| source.queue);
    for queue in fed.map(|id: QueueId| plan.queue(id)) {
        let Some(leftovers) = queue.leftovers.as_ref() else { continue };
        if FileId::at(leftovers) != Some(own) {
            continue;
        }
        let taken = || Taken { queue: queue.name.clone(), leftovers: leftovers.clone() };
        // Opened anew: the lock of our standard input itself would be that of every process that has it from the same open.
        let how = How::new(libc::O_RDONLY, 0).nonblocking();
        let Ok(file) = by_path::open(Path::new("/proc/thread-self/fd/0"), how, None) else { return Ok(None) };
        match lock(&file, &Deadline::default()) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(taken()),
            Err(_no_locks_here) => return Ok(None),
            // The other run may have replaced the file while we waited: then our input has what it has done.
            Ok(()) if FileId::at(leftovers) != Some(own) => return Err(taken()),
            Ok(()) => return Ok(Some(file)),
        }
    }
    Ok(None)
}
