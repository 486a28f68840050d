//! Dead letters on their way to a file beside the leftovers, or to stderr. A thread of their own writes them: a leftovers
//! file that hangs does not hold them up, nor they it.

use super::file_lock::Deadline;
use super::file_mode::NewFile;
use super::file_users;
use super::lane::{Lane, Mode, Piece};
use super::letters;
use super::line_file::{Failure, Kinds, LineFile, Locking, Options};
use super::messages::{line, messages};
use super::phrases::why;
use super::unwritten::{Entry, Unwritten};
use crate::machine::DeadLetter;
use crate::model::QueueId;
use crate::model::plan::Plan;
use crate::sys::clock;
use log::Level;
use mio::Waker;
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The last so many dead letters are in the report.
const REPORTED: usize = 1000;

pub struct DeadLetters {
    plan: Rc<Plan>,
    lane: Lane<Arc<Entry<Letter>>>,
    unwritten: Unwritten<Letter>,
    /// The last dead letters, for the report.
    recent: VecDeque<Value>,
    /// For each queue, how many letters are on stderr because its file did not take them.
    on_stderr: Arc<Vec<AtomicU64>>,
}

/// A dead letter as a JSON line.
struct Letter {
    queue: usize,
    path: PathBuf,
    line: Vec<u8>,
}

impl DeadLetters {
    pub fn new(plan: &Rc<Plan>) -> DeadLetters {
        let on_stderr: Arc<Vec<AtomicU64>> = Arc::new(plan.queues.iter().map(|_| AtomicU64::default()).collect());
        let counts = on_stderr.clone();
        let mut files: Vec<Option<LineFile>> =
            (0u32..).map(QueueId).zip(&plan.queues).map(|(id, _)| file(plan, id)).collect();
        let lane = Lane::new("dead letters", move |letter: &mut Arc<Entry<Letter>>, _: Mode| {
            if let Some(Some(file)) = files.get_mut(letter.value.queue) {
                write(letter, file, &counts);
            }
            Piece::Last
        });
        let (unwritten, recent) = (Unwritten::default(), VecDeque::new());
        DeadLetters { plan: plan.clone(), lane, unwritten, recent, on_stderr }
    }

    /// Hands the letter to the thread, or says it on stderr where its queue has no leftovers file.
    pub fn bury(&mut self, letter: &DeadLetter) {
        let now = clock::wall();
        let line = letters::dead(&self.plan, letter, now);
        if self.recent.len() == REPORTED {
            self.recent.pop_front();
        }
        self.recent.push_back(letters::dead_in_brief(&self.plan, letter, now));
        let queue = letter.queue.index();
        let leftovers = self.plan.queues.get(queue).and_then(|queue| queue.leftovers.as_ref());
        match leftovers {
            Some(leftovers) => {
                let (path, bytes) = (path_beside(leftovers), line.len());
                let letter = self.unwritten.hand_over(Letter { queue, path, line });
                self.lane.push(letter, bytes);
            }
            None => messages().must(line),
        }
    }

    /// Whether so much waits to be written that no further item should be read, because each may end here. Where it does,
    /// `waker` is woken when that is over.
    pub fn are_choked(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_choked(waker)
    }

    /// Whether letters wait for a thread that cannot be had; tries again to have it.
    pub fn are_stranded(&self) -> bool {
        self.lane.is_stranded()
    }

    /// For the end of a run: writes here what waits for a thread that cannot be had.
    pub fn work_without_thread(&self) {
        self.lane.work_without_thread();
    }

    /// Whether all letters are written, or never will be. Where not, `waker` is woken when they are.
    pub fn are_written(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_at_rest(waker)
    }

    /// How many letters were written so far.
    pub fn progress(&self) -> u64 {
        self.lane.done()
    }

    /// Says on stderr what is not written yet, and takes the letters for the report. Answers, for each queue, how many are
    /// on stderr because its file did not take them.
    pub fn end(&mut self) -> (Vec<u64>, VecDeque<Value>) {
        for letter in self.unwritten.take_back() {
            let late = io::Error::other("it did not take it in time");
            say(&letter.value, &late, &self.on_stderr);
        }
        let counts = self.on_stderr.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        (counts, std::mem::take(&mut self.recent))
    }
}

/// Only a regular file keeps what is written. A new one takes after the leftovers, whose items it shows.
fn file(plan: &Plan, queue: QueueId) -> Option<LineFile> {
    let leftovers = plan.queue(queue).leftovers.as_deref()?;
    let (kinds, new_file, locking) = (Kinds::Regular, NewFile::Like(leftovers.to_owned()), Locking::Itself);
    let file = LineFile::new(path_beside(leftovers), Options { delimiter: b'\n', kinds, new_file, locking });
    Some(file.for_user(file_users::of_queue(plan, queue)))
}

/// The file of the dead letters of a queue: `left.txt.dead` for the leftovers `left.txt`.
pub fn path_beside(leftovers: &Path) -> PathBuf {
    let mut path = leftovers.as_os_str().to_owned();
    path.push(".dead");
    path.into()
}

/// The thread's work.
fn write(letter: &Entry<Letter>, file: &mut LineFile, on_stderr: &[AtomicU64]) {
    if letter.is_taken_back() {
        return;
    }
    let written = file.append(&letter.value.line, &Deadline::default()).map_err(Failure::into_error);
    if let (true, Err(error)) = (letter.finish(), written) {
        say(&letter.value, &error, on_stderr);
    }
}

fn say(letter: &Letter, error: &io::Error, on_stderr: &[AtomicU64]) {
    let text = format!("a dead letter cannot be kept in {}: {}", letter.path.display(), why(error));
    messages().must(line(Level::Error, &text));
    messages().must(letter.line.clone());
    if let Some(count) = on_stderr.get(letter.queue) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
