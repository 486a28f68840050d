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

type Work<J> = Box<dyn FnMut(J) + Send>;

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

/// What was done of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Part,
    /// There is nothing left of it.
    Last,
    /// Nothing now.
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
}

impl<J: Send + 'static> Lane<J> {
    pub fn new(name: &'static str, work: impl FnMut(J) + Send + 'static) -> Lane<J> {
        Lane::with(name, Without::DoneAtOnce, work)
    }

    /// One that never makes who brings a job wait: where no thread is to be had, now or ever, somebody has to ask for [`Lane::work_here`].
    pub fn in_pieces(name: &'static str, work: impl FnMut(J) + Send + 'static) -> Lane<J> {
        Lane::with(name, Without::DoneInPieces, work)
    }

    fn with(name: &'static str, without: Without, work: impl FnMut(J) + Send + 'static) -> Lane<J> {
        let state = State { jobs: VecDeque::new(), bytes: 0, busy: false, broken: false, waiting: None, at_rest: None };
        let shared = Shared { state: Mutex::new(state), came: Condvar::new(), done: Condvar::new() };
        Lane {
            name,
            shared: Arc::new(shared),
            work: Mutex::new(Some(Box::new(work))),
            without,
            stranded: AtomicBool::new(false),
        }
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
            self.work_all_here();
            return true;
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
                self.work_all_here();
                true
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

    /// The last resort where no thread could be started: blocks.
    fn work_all_here(&self) {
        let mut slot = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = slot.as_mut() else { return };
        while let Some((job, bytes)) = self.shared.next() {
            work(job);
            self.shared.finish(bytes);
        }
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
            if let Some((job, bytes)) = self.next() {
                work(job);
                self.finish(bytes);
            }
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
        let lane = Lane::new("test", move |job: u32| told.send(job).unwrap());
        (0..100).for_each(|job| lane.push(job, 10));
        assert!(lane.flush(None));
        assert_eq!(lane.waiting_bytes(), 0);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_blocked_job_does_not_hold_up_a_bounded_flush() {
        let (open, gate) = mpsc::channel::<()>();
        let lane = Lane::new("test", move |_: ()| gate.recv().unwrap());
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
        let lane = Lane::new("test", move |_: ()| gate.recv().unwrap());
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
        let lane = Lane::new("test", |_: ()| panic!("on purpose"));
        lane.push((), 1);
        assert!(!lane.flush(None));
    }
}
