//! Results on their way to stdout or a file: written by a thread for each target, told back when they are written.

use super::lane::{Lane, write_all};
use crate::machine::Event;
use crate::model::WorkerId;
use crate::model::plan::{Plan, Results};
use mio::Waker;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Above so many unwritten bytes the replies that bring more are not read …
const HIGH: usize = 1024 * 1024;
/// … until it is below so many.
const LOW: usize = 512 * 1024;

/// All the targets of results.
pub struct Sinks {
    sinks: Vec<Sink>,
    /// For each worker, the index of its sink.
    of_worker: Vec<Option<usize>>,
}

struct Sink {
    lane: Lane<Batch>,
    news: Arc<Mutex<News>>,
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
        let sinks = targets.into_iter().map(|(target, workers)| Sink::new(target, workers, waker.clone())).collect();
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

    /// Blocks until all is written, each for `limit` at most.
    pub fn flush(&mut self, limit: Duration) -> bool {
        self.hand_over();
        self.sinks.iter().all(|sink| sink.lane.flush(Some(limit)))
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
    fn new(target: Target, workers: Vec<WorkerId>, waker: Arc<Waker>) -> Sink {
        let news = Arc::new(Mutex::new(News::default()));
        let shared = news.clone();
        let mut closed = false;
        let mut file = None;
        let lane = Lane::new("results", move |batch: Batch| {
            if closed {
                return;
            }
            for piece in batch.pieces() {
                let mut written = 0;
                let result = write_piece(&target, &mut file, piece.bytes, &mut written);
                let mut news = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let whole = piece.ends.iter().take_while(|(_, end)| *end <= piece.start + written);
                whole.for_each(|(worker, _)| *news.written.entry(*worker).or_default() += 1);
                if let Err(error) = result {
                    closed = true;
                    news.closed = Some(error.raw_os_error().unwrap_or(0));
                    break;
                }
            }
            let _the_loop_is_gone = waker.wake();
        });
        Sink { lane, news, workers, batch: Batch::default(), choked: false, closed: None }
    }
}

/// So many bytes are written to a pipe all at once or not at all (PIPE_BUF, pipe(7)).
const ATOMIC: usize = 4096;

/// Some whole results of a batch.
struct Piece<'a> {
    start: usize,
    bytes: &'a [u8],
    ends: &'a [(WorkerId, usize)],
}

impl Batch {
    /// As many whole results at a time as one atomic write can hold. A longer write to a pipe that nobody reads stays in
    /// the kernel with some of its results written and none reported.
    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let (mut first, mut start) = (0, 0);
        std::iter::from_fn(move || {
            let rest = self.ends.get(first..).filter(|rest| !rest.is_empty())?;
            let count = rest.iter().take_while(|(_, end)| end - start <= ATOMIC).count().max(1);
            let ends = rest.get(..count)?;
            let end = ends.last()?.1;
            let piece = Piece { start, bytes: self.bytes.get(start..end)?, ends };
            (first, start) = (first + count, end);
            Some(piece)
        })
    }
}

fn write_piece(target: &Target, file: &mut Option<std::fs::File>, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    let mut progress = |length| *written += length;
    match target {
        Target::Stdout => write_all(io::stdout().as_fd(), bytes, &mut progress),
        Target::File(path) => {
            let file = match file {
                Some(file) => file,
                None => file.insert(OpenOptions::new().append(true).create(true).open(path)?),
            };
            write_all(file.as_fd(), bytes, &mut progress)
        }
    }
}
