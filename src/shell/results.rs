//! Results on their way to stdout or a file: written by a thread for each target, told back when they are written.

use super::file_lock::Deadline;
use super::file_mode::NewFile;
use super::file_users;
use super::lane::{HIGH, LOW, Lane, Mode, Piece, write_all};
use super::line_file::{Failure, Kinds, LineFile, Locking, Options, whole_lines};
use super::phrases::why;
use crate::machine::Event;
use crate::model::WorkerId;
use crate::model::plan::{Plan, Results};
use crate::sys::fds;
use log::{error, warn};
use mio::Waker;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A write that is not longer than PIPE_BUF goes into a pipe whole or not at all (pipe(7)), so that we know what a reader
/// gets even if it stops reading, and it never gets half a result.
const PIPE: usize = fds::ALWAYS_ROOM;

/// All the targets of results.
pub struct Sinks {
    sinks: Vec<Sink>,
    /// For each worker, the index of its sink.
    of_worker: Vec<Option<usize>>,
}

struct Sink {
    lane: Lane<Batch>,
    news: Arc<Mutex<News>>,
    cancelled: Arc<AtomicBool>,
    workers: Vec<WorkerId>,
    /// What came in this round.
    batch: Batch,
    /// Above the high mark, and not yet below the low one.
    choked: bool,
    /// Nothing can be written there any more.
    closed: Option<i32>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each result ends in `bytes`, and whose it is.
    ends: Vec<(WorkerId, usize)>,
    /// So many of them were written, or cannot be.
    written: usize,
}

/// What the thread has to tell since it was last asked.
#[derive(Default)]
struct News {
    written: BTreeMap<WorkerId, u32>,
    closed: Option<i32>,
}

impl Sinks {
    pub fn new(plan: &Plan, waker: &Arc<Waker>) -> Sinks {
        let mut targets: Vec<(Target, Vec<WorkerId>)> = Vec::new();
        let mut of_worker = Vec::new();
        for (id, worker) in (0u32..).map(WorkerId).zip(&plan.workers) {
            let target = worker.consumer.as_ref().and_then(|consumer| Target::of(&consumer.results));
            of_worker.push(target.map(|target| match targets.iter().position(|(known, _)| *known == target) {
                Some(at) => {
                    targets[at].1.push(id);
                    at
                }
                None => {
                    targets.push((target, vec![id]));
                    targets.len() - 1
                }
            }));
        }
        let sink = |(target, workers)| {
            let writing = Writing::new(target, plan);
            Sink::new(writing, workers, waker.clone())
        };
        let sinks = targets.into_iter().map(sink).collect();
        Sinks { sinks, of_worker }
    }

    /// Puts a result into the round's batch. A worker without a sink has no results to write; its machine never asks.
    pub fn push(&mut self, worker: WorkerId, result: &[u8]) {
        let Some(sink) = self.sink_of(worker).and_then(|at| self.sinks.get_mut(at)) else { return };
        if sink.closed.is_none() {
            sink.batch.bytes.extend_from_slice(result);
            sink.batch.bytes.push(b'\n');
            sink.batch.ends.push((worker, sink.batch.bytes.len()));
        }
    }

    /// Has the writer begin no further write. A worker whose results are given up shares its sink with others that are given up too.
    pub fn cancel(&mut self, worker: WorkerId) {
        let Some(sink) = self.sink_of(worker).and_then(|at| self.sinks.get_mut(at)) else { return };
        sink.batch = Batch::default();
        sink.cancelled.store(true, Ordering::Release);
    }

    /// The end of a round: hands the batches over.
    pub fn hand_over(&mut self) {
        for sink in &mut self.sinks {
            if !sink.batch.ends.is_empty() {
                let batch = std::mem::take(&mut sink.batch);
                let bytes = batch.bytes.len();
                sink.lane.push(batch, bytes);
            }
        }
    }

    /// Whether results wait for a thread that cannot be had; tries again to have it.
    pub fn are_stranded(&self) -> bool {
        self.sinks.iter().any(|sink| sink.lane.is_stranded())
    }

    /// What was written and what was closed since the last call.
    pub fn news(&mut self, events: &mut Vec<Event>) {
        for sink in &mut self.sinks {
            let news = std::mem::take(&mut *sink.news.lock().unwrap_or_else(PoisonError::into_inner));
            events.extend(news.written.into_iter().map(|(worker, count)| Event::ResultsWritten { worker, count }));
            if let (Some(errno), None) = (news.closed, sink.closed) {
                sink.closed = Some(errno);
                events.extend(sink.workers.iter().map(|&worker| Event::ResultsClosed { worker, errno }));
            }
        }
    }

    /// Whether replies of this worker must wait until earlier results are written.
    pub fn choked(&mut self, worker: WorkerId) -> bool {
        let Some(sink) = self.sink_of(worker).and_then(|at| self.sinks.get_mut(at)) else { return false };
        let mark = if sink.choked { LOW } else { HIGH };
        sink.choked = sink.closed.is_none() && sink.batch.bytes.len() + sink.lane.waiting_bytes() > mark;
        sink.choked
    }

    fn sink_of(&self, worker: WorkerId) -> Option<usize> {
        self.of_worker.get(worker.index()).copied().flatten()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    fn of(results: &Results) -> Option<Target> {
        match results {
            Results::Null => None,
            Results::Stdout => Some(Target::Stdout),
            Results::File(path) => Some(Target::File(path.clone())),
        }
    }
}

impl Sink {
    fn new(to: Writing, workers: Vec<WorkerId>, waker: Arc<Waker>) -> Sink {
        let news = Arc::new(Mutex::new(News::default()));
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut writer = Writer { to, news: news.clone(), waker, closed: false, cancelled: cancelled.clone() };
        let lane = Lane::new("results", move |batch: &mut Batch, mode: Mode| writer.write(batch, mode));
        Sink { lane, news, cancelled, workers, batch: Batch::default(), choked: false, closed: None }
    }
}

/// The thread's side of a sink.
struct Writer {
    to: Writing,
    news: Arc<Mutex<News>>,
    waker: Arc<Waker>,
    closed: bool,
    /// Set by the loop when it no longer waits for the results.
    cancelled: Arc<AtomicBool>,
}

impl Writer {
    /// Writes as many results of the batch as go into one write.
    fn write(&mut self, batch: &mut Batch, mode: Mode) -> Piece {
        let rest = batch.ends.get(batch.written..).unwrap_or_default();
        if self.closed || rest.is_empty() {
            return Piece::Last;
        }
        let begin = batch.written.checked_sub(1).and_then(|last| batch.ends.get(last)).map_or(0, |&(_, end)| end);
        let most = match self.to.prepare(mode) {
            Ok(Some(most)) => most,
            Ok(None) => return Piece::Stuck,
            Err(error) => {
                self.tell(&[], Err((error, 0)));
                return Piece::Last;
            }
        };
        // A wait for a reader may have been long.
        if self.cancelled.load(Ordering::Acquire) {
            return Piece::Last;
        }
        let (count, end) = chunk(rest, begin, most);
        let written = self.to.put(batch.bytes.get(begin..end).unwrap_or_default());
        let chunk = rest.get(..count).unwrap_or_default();
        self.tell(chunk, written.map_err(|(error, kept)| (error, begin + kept)));
        batch.written += count;
        Piece::Part
    }

    fn tell(&mut self, chunk: &[(WorkerId, usize)], written: Result<(), (io::Error, usize)>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let until = written.as_ref().map_or_else(|(_, kept)| *kept, |()| usize::MAX);
        let whole = chunk.iter().take_while(|(_, end)| *end <= until);
        whole.for_each(|(worker, _)| *news.written.entry(*worker).or_default() += 1);
        if let Err((error, _)) = written {
            self.closed = true;
            self.to.say(&error);
            news.closed = Some(error.raw_os_error().unwrap_or(libc::EINVAL));
        }
        drop(news);
        let _the_loop_is_gone = self.waker.wake();
    }
}

/// An open target, or one that is opened with the first result.
enum Writing {
    Stdout { is_file: bool },
    File { path: PathBuf, file: LineFile, said: bool },
}

impl Writing {
    fn new(target: Target, plan: &Plan) -> Writing {
        match target {
            Target::Stdout => Writing::Stdout { is_file: fds::is_regular(io::stdout().as_fd()) },
            Target::File(path) => {
                let (kinds, new_file, locking) = (Kinds::Any, NewFile::Umask, Locking::Itself);
                let options = Options { delimiter: b'\n', kinds, new_file, locking };
                let file = LineFile::new(path.clone(), options).for_user(file_users::of_results(plan, &path));
                Writing::File { file, path, said: false }
            }
        }
    }

    /// How many bytes may go into one write: no more than [`PIPE`] where another process reads; `None` where nothing can be
    /// written now. Waits until a write of that length does not block; in the loop it does not wait.
    fn prepare(&mut self, mode: Mode) -> io::Result<Option<usize>> {
        let patience = match mode {
            Mode::Thread => None,
            Mode::Loop => Some(Duration::ZERO),
        };
        let has_room = |fd: BorrowedFd| fds::has_room(fd, || patience);
        match self {
            Writing::Stdout { is_file: true } => Ok(Some(usize::MAX)),
            Writing::Stdout { is_file: false } => Ok(has_room(io::stdout().as_fd()).then_some(PIPE)),
            Writing::File { path, file, said } => match file.open() {
                Ok(true) => Ok(Some(usize::MAX)),
                Ok(false) => Ok(file.file().filter(|file| has_room(file.as_fd())).map(|_| PIPE)),
                Err(error) if has_no_reader(path, &error) => {
                    if !std::mem::replace(said, true) {
                        warn!("results wait: no process has opened the FIFO {} for reading", path.display());
                    }
                    Ok(None)
                }
                // Another process has a lease on it (fcntl(2), F_SETLEASE), and was told to give it up.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// On failure, how many bytes of whole results were written before it. Where possible, half a result is taken back.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        match self {
            Writing::Stdout { is_file } => {
                let mut length = 0;
                let written = write_all(io::stdout().as_fd(), bytes, |part| length += part);
                written.map_err(|error| {
                    let kept = whole_lines(bytes, length, b'\n');
                    if *is_file && kept < length {
                        let _half_a_result_stays = take_back(io::stdout().as_fd(), length - kept);
                    }
                    (error, kept)
                })
            }
            Writing::File { file, .. } => match file.append(bytes, &Deadline::default()) {
                Ok(_) => Ok(()),
                Err(Failure::Write { kept, error }) => Err((error, kept)),
                Err(Failure::NoLock(error)) => Err((error, 0)),
            },
        }
    }

    fn say(&self, error: &io::Error) {
        if let Writing::File { path, .. } = self {
            error!("results cannot be written to {}: {}", path.display(), why(error));
        }
    }
}

/// Cuts off the half result that a failed write left at the end of our stdout, a file. It is not done if another process
/// has written behind it.
fn take_back(stdout: BorrowedFd, half: usize) -> io::Result<()> {
    let mut file = File::from(stdout.try_clone_to_owned()?);
    let end = file.stream_position()?;
    match end.checked_sub(half as u64) {
        Some(begin) if file.metadata()?.len() == end => {
            file.set_len(begin)?;
            // What the shell or another program writes there next begins here and not behind a hole.
            file.seek(SeekFrom::Start(begin)).map(drop)
        }
        Some(_) | None => Ok(()),
    }
}

/// What open(2) answers for a FIFO without a reader; a socket answers the same, and never has one.
fn has_no_reader(path: &Path, error: &io::Error) -> bool {
    let is_fifo = || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    error.raw_os_error() == Some(libc::ENXIO) && is_fifo()
}

/// How many of the results that begin at `start` go into one write of at most `atom` bytes, and where they end. At least one.
fn chunk(results: &[(WorkerId, usize)], start: usize, atom: usize) -> (usize, usize) {
    let fitting = results.iter().take_while(|(_, end)| end - start <= atom).count().max(1);
    (fitting, results.get(fitting - 1).map_or(start, |&(_, end)| end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_holds_whole_results_only() {
        let results: Vec<_> = [10, 20, 25, 95, 100].map(|end| (WorkerId(0), end)).into();
        assert_eq!(chunk(&results, 0, 24), (2, 20));
        assert_eq!(chunk(&results, 0, 25), (3, 25));
        assert_eq!(chunk(&results[3..], 25, 24), (1, 95));
        assert_eq!(chunk(&results[4..], 95, 24), (1, 100));
    }
}
