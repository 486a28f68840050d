//! A thread for writes that may block, fed through a queue. It starts with the first job, so that who never writes has none.

use crate::sys::{clock, permit, threads};
use log::warn;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Above so many waiting bytes what brings more of them is not read …
pub const HIGH: usize = 1024 * 1024;
/// … until it is below so many.
pub const LOW: usize = HIGH / 2;

/// How long a lane's thread waits before it tries a [stuck](Piece::Stuck) job again.
const AGAIN: Duration = Duration::from_millis(100);

type Work<J> = Box<dyn FnMut(&mut J, Mode) -> Piece + Send>;

/// Jobs done in order, one at a time, off the loop. The caller keeps the bound: it asks [`Lane::waiting_bytes`] first.
pub struct Lane<J> {
    name: &'static str,
    shared: Arc<Shared<J>>,
    /// Until the thread is started.
    work: Mutex<Option<Work<J>>>,
    without: Without,
    /// A thread was wanted and none was to be had.
    stranded: AtomicBool,
}

/// What becomes of the jobs where a sandbox forbids threads. It will forbid them later too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// They are done by who brings them: what waits for ever is worse than what may wait for a reader.
    DoneAtOnce,
    /// They wait for [`Lane::work_here`].
    DoneInPieces,
}

/// What came of the wish for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// There is one, or no need of one.
    Done,
    /// The machine is short of something.
    Later,
    /// A sandbox refuses the system call; glibc (2.34 and later) does without `clone3` only where that is told as ENOSYS.
    Forbidden,
}

/// Which thread does the work of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A thread of the lane's own, which may block.
    Thread,
    /// The thread of the event loop, because no other can be had. It should not block where it can tell.
    Loop,
}

/// What was done of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Part,
    /// There is nothing left of it.
    Last,
    /// Nothing now: it is tried again after a moment.
    Stuck,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    /// A job came.
    came: Condvar,
    /// All jobs are done.
    done: Condvar,
}

struct State<J> {
    jobs: VecDeque<(J, usize)>,
    /// Of the jobs that wait and the one that is under way.
    bytes: usize,
    busy: bool,
    /// The thread died of a fault of our own.
    broken: bool,
    /// Who waits until there are fewer than [`LOW`] bytes.
    waiting: Option<Arc<Waker>>,
    /// Who waits until there is nothing to do.
    at_rest: Option<Arc<Waker>>,
    /// How many jobs were done so far.
    done: u64,
}

impl<J: Send + 'static> Lane<J> {
    /// `work` does a part of a job, or all of it, and answers what is left. In [`Mode::Thread`] it may block.
    pub fn new(name: &'static str, work: impl FnMut(&mut J, Mode) -> Piece + Send + 'static) -> Lane<J> {
        Lane::with(name, Without::DoneAtOnce, Box::new(work))
    }

    /// One that never makes who brings a job wait: where no thread is to be had, now or ever, somebody has to ask for [`Lane::work_here`].
    pub fn in_pieces(name: &'static str, mut work: impl FnMut(&mut J) + Send + 'static) -> Lane<J> {
        let whole = move |job: &mut J, _mode: Mode| {
            work(job);
            Piece::Last
        };
        Lane::with(name, Without::DoneInPieces, Box::new(whole))
    }

    fn with(name: &'static str, without: Without, work: Work<J>) -> Lane<J> {
        let (jobs, waiting, at_rest) = (VecDeque::new(), None, None);
        let state = State { jobs, bytes: 0, busy: false, broken: false, waiting, at_rest, done: 0 };
        let shared = Shared { state: Mutex::new(state), came: Condvar::new(), done: Condvar::new() };
        Lane { name, shared: Arc::new(shared), work: Mutex::new(Some(work)), without, stranded: AtomicBool::new(false) }
    }

    /// Never blocks, but in a [`new`](Lane::new) lane where no thread ever is to be had. `bytes` is what the job counts for in
    /// [`Lane::waiting_bytes`].
    pub fn push(&self, job: J, bytes: usize) {
        let mut state = self.shared.lock();
        // With jobs before it the thread is at work, or was woken already.
        let sleeps = state.jobs.is_empty();
        state.jobs.push_back((job, bytes));
        state.bytes += bytes;
        drop(state);
        if sleeps {
            self.shared.came.notify_one();
        }
        self.start_or_work_here();
    }

    pub fn waiting_bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// How many jobs were done so far: whoever waits for all can tell a slow disk from one that does not move.
    pub fn done(&self) -> u64 {
        self.shared.lock().done
    }

    /// For the end of a run: does here what waits for a thread that cannot be had. May block.
    pub fn work_without_thread(&self) {
        let idle = self.shared.lock().jobs.is_empty();
        if !idle && self.start() != Start::Done {
            self.work_all_here();
        }
    }

    /// Whether jobs wait for a thread that cannot be had. Tries again to have it: until then nobody else may, and who waits for a
    /// job to be done would wait for ever.
    pub fn is_stranded(&self) -> bool {
        self.stranded.load(Ordering::Relaxed) && !self.shared.lock().jobs.is_empty() && !self.start_or_work_here()
    }

    /// Whether so much waits that nothing should be read that brings more. Where it does, `waker` is woken when that is over.
    pub fn is_choked(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.shared.lock();
        let mark = if state.waiting.is_some() { LOW } else { HIGH };
        let choked = !state.broken && state.bytes > mark;
        state.waiting = choked.then(|| waker.clone());
        choked
    }

    /// Where jobs wait for a thread: has `piece` do a part of the first, again and again, until that is
    /// [no longer possible](Piece::Stuck) or nothing waits.
    pub fn work_here(&self, mut piece: impl FnMut(&mut J) -> Piece) {
        let slot = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            return;
        }
        while let Some((mut job, bytes)) = self.shared.next() {
            let done = loop {
                match piece(&mut job) {
                    Piece::Part => {}
                    Piece::Last => break true,
                    Piece::Stuck => break false,
                }
            };
            if !done {
                return self.shared.put_back(job, bytes);
            }
            self.shared.finish(bytes);
        }
    }

    /// Whether all jobs are done, or will never be. Where not, `waker` is woken when they are.
    pub fn is_at_rest(&self, waker: &Arc<Waker>) -> bool {
        let mut state = self.shared.lock();
        let rests = state.broken || (!state.busy && state.jobs.is_empty());
        state.at_rest = (!rests).then(|| waker.clone());
        rests
    }

    /// Blocks until all jobs are done, or for `limit`, which binds only a thread. Answers whether all are done.
    pub fn flush(&self, limit: Option<Duration>) -> bool {
        let state = self.shared.lock();
        if !state.busy && state.jobs.is_empty() {
            // Who never had anything to write needs no thread for it.
            return !state.broken;
        }
        drop(state);
        if self.start() != Start::Done {
            return self.work_all_here();
        }
        let until = limit.map(|limit| clock::now() + limit);
        let mut state = self.shared.lock();
        while !state.broken && (state.busy || !state.jobs.is_empty()) {
            let left = until.map(|until| until.since(clock::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => self.shared.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        !state.broken
    }

    /// Answers whether the jobs are somebody's by now: the thread's, or done.
    fn start_or_work_here(&self) -> bool {
        match (self.start(), self.without) {
            (Start::Done, _) => true,
            (Start::Later, _) | (Start::Forbidden, Without::DoneInPieces) => false,
            (Start::Forbidden, Without::DoneAtOnce) => {
                static SAID: AtomicBool = AtomicBool::new(false);
                if !SAID.swap(true, Ordering::Relaxed) {
                    warn!("no thread may be started here: a slow reader of what is written holds up everything else");
                }
                let all = self.work_all_here();
                // What is stuck is tried again by whoever asks `is_stranded`.
                self.stranded.store(!all, Ordering::Relaxed);
                all
            }
        }
    }

    /// Where no thread is to be had now, the next job or [`Lane::is_stranded`] tries again.
    fn start(&self) -> Start {
        let mut slot = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = slot.take() else { return Start::Done };
        // The work travels through a cell of its own, so that it is not lost with a thread that could not be made.
        let parcel = Arc::new(Mutex::new(Some(work)));
        let (inside, shared) = (parcel.clone(), self.shared.clone());
        let thread = permit().and_then(|()| {
            std::thread::Builder::new().name(self.name.into()).spawn(move || {
                let work = inside.lock().unwrap_or_else(PoisonError::into_inner).take();
                work.into_iter().for_each(|work| shared.run(work));
            })
        });
        if thread.is_err() {
            *slot = parcel.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let start = match &thread {
            Ok(_) => Start::Done,
            Err(error) if threads::are_forbidden(error) => Start::Forbidden,
            Err(_) => Start::Later,
        };
        self.stranded.store(start != Start::Done, Ordering::Relaxed);
        start
    }

    /// The last resort where no thread could be started: may block. Answers whether all is done.
    fn work_all_here(&self) -> bool {
        let mut slot = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = slot.as_mut() else { return true };
        while let Some((mut job, bytes)) = self.shared.next() {
            let done = loop {
                match work(&mut job, Mode::Loop) {
                    Piece::Part => {}
                    Piece::Last => break true,
                    Piece::Stuck => break false,
                }
            };
            if !done {
                self.shared.put_back(job, bytes);
                return false;
            }
            self.shared.finish(bytes);
        }
        true
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut work: Work<J>) {
        threads::block_all_signals();
        let _guard = BrokenUnlessForgotten(self);
        loop {
            let mut state = self.lock();
            while state.jobs.is_empty() {
                state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            let Some((mut job, bytes)) = self.next() else { continue };
            loop {
                match work(&mut job, Mode::Thread) {
                    Piece::Part => {}
                    Piece::Last => break,
                    // A job that comes meanwhile may end this wait early, which does no harm.
                    Piece::Stuck => drop(self.came.wait_timeout(self.lock(), AGAIN)),
                }
            }
            self.finish(bytes);
        }
    }

    fn next(&self) -> Option<(J, usize)> {
        let mut state = self.lock();
        let next = state.jobs.pop_front();
        state.busy = next.is_some();
        next
    }

    fn put_back(&self, job: J, bytes: usize) {
        let mut state = self.lock();
        state.jobs.push_front((job, bytes));
        state.busy = false;
    }

    fn finish(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.busy = false;
        state.done += 1;
        if state.jobs.is_empty() {
            self.done.notify_all();
            wake(&mut state.at_rest);
        }
        if state.bytes <= LOW {
            wake(&mut state.waiting);
        }
    }
}

fn wake(waiting: &mut Option<Arc<Waker>>) {
    if let Some(waker) = waiting.take() {
        let _the_loop_is_gone = waker.wake();
    }
}

/// A panic in a job must not make the end of the run wait for ever.
struct BrokenUnlessForgotten<'a, J>(&'a Shared<J>);

impl<J> Drop for BrokenUnlessForgotten<'_, J> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.broken = true;
        wake(&mut state.waiting);
        wake(&mut state.at_rest);
        self.0.done.notify_all();
    }
}

/// Writes all, blocking, whatever the open file's flags say: `O_NONBLOCK` may have been set on 1 or 2 by somebody else,
/// and is waited out. `progress` hears the length of each part as it is written.
#[cfg_attr(feature = "faults", track_caller)]
pub fn write_all(fd: BorrowedFd, mut bytes: &[u8], mut progress: impl FnMut(usize)) -> io::Result<()> {
    while !bytes.is_empty() {
        match crate::sys::fds::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                progress(written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_writable(fd)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_writable(fd: BorrowedFd) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), Token(0), Interest::WRITABLE)?;
    match poll.poll(&mut Events::with_capacity(1), None) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_are_done_in_order_and_counted() {
        let (told, heard) = mpsc::channel();
        let lane = Lane::new("test", move |job: &mut u32, _mode| {
            told.send(*job).unwrap();
            Piece::Last
        });
        (0..100).for_each(|job| lane.push(job, 10));
        assert!(lane.flush(None));
        assert_eq!(lane.waiting_bytes(), 0);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_blocked_job_does_not_hold_up_a_bounded_flush() {
        let (open, gate) = mpsc::channel::<()>();
        let lane = Lane::new("test", move |_: &mut (), _mode| {
            gate.recv().unwrap();
            Piece::Last
        });
        lane.push((), 7);
        assert!(!lane.flush(Some(Duration::from_millis(1))));
        assert_eq!(lane.waiting_bytes(), 7);
        open.send(()).unwrap();
        assert!(lane.flush(None));
    }

    #[test]
    fn who_waits_for_room_is_woken_when_there_is() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let (open, gate) = mpsc::channel::<()>();
        let lane = Lane::new("test", move |_: &mut (), _mode| {
            gate.recv().unwrap();
            Piece::Last
        });
        lane.push((), HIGH - LOW);
        lane.push((), LOW);
        assert!(!lane.is_choked(&waker), "the mark itself is allowed");
        lane.push((), 1);
        assert!(lane.is_choked(&waker));
        open.send(()).unwrap();
        open.send(()).unwrap();
        let mut news = Events::with_capacity(1);
        poll.poll(&mut news, None).unwrap();
        assert!(!lane.is_choked(&waker));
        open.send(()).unwrap();
    }

    #[test]
    fn a_panic_in_a_job_ends_the_wait() {
        let lane = Lane::new("test", |_: &mut (), _mode| panic!("on purpose"));
        lane.push((), 1);
        assert!(!lane.flush(None));
    }

    #[test]
    fn a_stuck_job_is_tried_again_and_those_behind_it_wait() {
        let (told, heard) = mpsc::channel();
        let mut tries = 0;
        let lane = Lane::new("test", move |job: &mut u32, _mode| {
            tries += 1;
            if tries < 3 {
                return Piece::Stuck;
            }
            told.send((*job, tries)).unwrap();
            Piece::Last
        });
        lane.push(1, 1);
        lane.push(2, 1);
        assert!(lane.flush(None));
        assert_eq!(lane.done(), 2);
        let heard: Vec<(u32, u32)> = heard.try_iter().collect();
        assert_eq!(heard, [(1, 3), (2, 4)]);
    }
}
