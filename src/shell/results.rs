//! Results on their way to stdout or a file: written by a thread for each target, told back when they are written.

use super::lane::{HIGH, LOW, Lane, Mode, Piece, write_all};
use crate::machine::Event;
use crate::model::WorkerId;
use crate::model::plan::{Plan, Results};
use mio::Waker;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// A write that is not longer than PIPE_BUF goes into a pipe whole or not at all (pipe(7)), so that we know what a reader
    /// gets even if it stops reading, and it never gets half a result.
    fn atom(&self) -> usize {
        match self {
            Target::Stdout => 4096,
            Target::File(_) => usize::MAX,
        }
    }

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
        let mut writer = Writer { target, file: None, news: news.clone(), waker, closed: false };
        let lane = Lane::new("results", move |batch: &mut Batch, _: Mode| {
            writer.write(batch);
            Piece::Last
        });
        Sink { lane, news, workers, batch: Batch::default(), choked: false, closed: None }
    }
}

/// The thread's side of a sink.
struct Writer {
    target: Target,
    file: Option<File>,
    news: Arc<Mutex<News>>,
    waker: Arc<Waker>,
    closed: bool,
}

impl Writer {
    fn write(&mut self, batch: &Batch) {
        let mut results = batch.ends.as_slice();
        let mut start = 0;
        while !results.is_empty() && !self.closed {
            let (count, end) = chunk(results, start, self.target.atom());
            let (done, rest) = results.split_at(count);
            let written = self.write_chunk(batch.bytes.get(start..end).unwrap_or_default());
            self.tell(done, written.map_err(|(error, length)| (error, start + length)));
            (results, start) = (rest, end);
        }
    }

    /// On failure, how much was written before it.
    fn write_chunk(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut length = 0;
        let progress = |part| length += part;
        let result = match &self.target {
            Target::Stdout => write_all(io::stdout().as_fd(), bytes, progress),
            Target::File(path) => {
                let file = match self.file.take() {
                    Some(file) => Ok(file),
                    None => OpenOptions::new().append(true).create(true).open(path),
                };
                file.and_then(|file| write_all(self.file.insert(file).as_fd(), bytes, progress))
            }
        };
        result.map_err(|error| (error, length))
    }

    fn tell(&mut self, chunk: &[(WorkerId, usize)], written: Result<(), (io::Error, usize)>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let until = written.as_ref().map_or_else(|(_, length)| *length, |()| usize::MAX);
        let whole = chunk.iter().take_while(|(_, end)| *end <= until);
        whole.for_each(|(worker, _)| *news.written.entry(*worker).or_default() += 1);
        if let Err((error, _)) = written {
            self.closed = true;
            news.closed = Some(error.raw_os_error().unwrap_or(0));
        }
        drop(news);
        let _the_loop_is_gone = self.waker.wake();
    }
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
