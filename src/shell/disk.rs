//! The leftovers of all queues on their way to their files, or to stderr. One thread writes them.

use super::lane::{Lane, Mode, Piece};
use super::leftovers::{Keeper, Kept, Place, Previous};
use super::letters;
use super::messages::{line, messages};
use super::phrases::{counted, why};
use super::unwritten::{Entry, Unwritten};
use crate::model::plan::{Feed, Plan, QueuePlan};
use crate::model::{Framing, Payload, QueueId};
use crate::sys::fds;
use crate::wire::frames::{Frame, Splitter};
use log::Level;
use mio::Waker;
use serde_json::Value;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Items are handed over in batches of about this size, so that a slow disk is seen to move.
const BATCH: usize = 256 * 1024;

pub struct Disk {
    plan: Rc<Plan>,
    lane: Lane<Job>,
    queues: Vec<Shelf>,
    /// The thread's answers to the jobs of [`begin_finish`](Disk::begin_finish).
    answers: Option<mpsc::Receiver<Finished>>,
}

/// The leftovers of one queue, as the loop sees them.
#[derive(Default)]
struct Shelf {
    /// What was handed back in this round.
    batch: Batch,
    unwritten: Unwritten<Batch>,
    ledger: Arc<Ledger>,
    items: u64,
    /// The leftovers file is our own stdin.
    is_stdin: bool,
}

/// Items as they stand in the file, each with its delimiter.
#[derive(Debug, Default)]
struct Batch {
    frames: Vec<u8>,
    items: u64,
}

/// What the thread writes down of one queue, for a loop that can no longer wait for it.
#[derive(Debug, Default)]
struct Ledger {
    /// Items on stderr because the disk did not take them.
    on_stderr: AtomicU64,
    /// Where the items are that the disk took.
    place: Mutex<Option<PathBuf>>,
}

/// What became of the items that were not done.
#[derive(Debug, Default)]
pub struct Rest {
    /// Of each queue that left some unfinished.
    pub left: Vec<Left>,
    /// Of each queue, dead letters that are on stderr because the disk did not take them.
    pub letters_on_stderr: Vec<u64>,
    /// The last dead letters, each as an object.
    pub letters: VecDeque<Value>,
}

/// What became of the unfinished items of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub queue: QueueId,
    pub items: u64,
    /// So many of them went to stderr: all where there is no file for them, the last ones where the disk failed.
    pub on_stderr: u64,
    /// Where the others are, if there are any.
    pub path: Option<PathBuf>,
}

impl Left {
    /// Whether somebody should read our stderr: items are there, or it says where they are.
    pub fn needs_a_reader(&self, asked_for: Option<&PathBuf>) -> bool {
        self.on_stderr > 0 || self.path.as_ref() != asked_for
    }
}

enum Job {
    Keep { queue: usize, batch: Arc<Entry<Batch>> },
    Finish { queue: usize, previous: Previous, answer: mpsc::Sender<Finished> },
}

/// The thread's last word on the leftovers of a queue.
struct Finished {
    queue: usize,
    kept: Kept,
}

impl Disk {
    pub fn new(plan: &Rc<Plan>) -> Disk {
        let queues = (0u32..).map(QueueId).zip(&plan.queues);
        let queues = queues.map(|(id, _)| Shelf { is_stdin: is_stdin(plan, id), ..Shelf::default() });
        let queues: Vec<Shelf> = queues.collect();
        let keeper = |(queue, shelf): (&QueuePlan, &Shelf)| Keeping {
            name: queue.name.clone(),
            framing: queue.framing,
            keeper: queue.leftovers.clone().map(|path| Keeper::new(path, queue.framing.delimiter())),
            ledger: shelf.ledger.clone(),
        };
        let mut keepers: Vec<Keeping> = plan.queues.iter().zip(&queues).map(keeper).collect();
        let lane = Lane::new("leftovers", move |job: &mut Job, _: Mode| {
            work(&mut keepers, job);
            Piece::Last
        });
        Disk { plan: plan.clone(), lane, queues, answers: None }
    }

    pub fn hand_back(&mut self, queue: QueueId, payload: &Payload) {
        let (Some(shelf), Some(plan)) = (self.queues.get_mut(queue.index()), self.plan.queues.get(queue.index()))
        else {
            return;
        };
        shelf.items += 1;
        if plan.leftovers.is_none() {
            return messages().must(letters::handed_back(&plan.name, payload));
        }
        shelf.batch.frames.extend_from_slice(payload);
        shelf.batch.frames.push(plan.framing.delimiter());
        shelf.batch.items += 1;
        if shelf.batch.frames.len() >= BATCH {
            self.hand_over();
        }
    }

    /// Whether so much waits for the disk that no further item should be read, for each may end here. `waker` is woken when
    /// that is over.
    pub fn is_choked(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_choked(waker)
    }

    /// The end of a round: hands what was handed back over to the thread.
    pub fn hand_over(&mut self) {
        for (queue, shelf) in self.queues.iter_mut().enumerate() {
            if shelf.batch.items > 0 {
                let batch = std::mem::take(&mut shelf.batch);
                let bytes = batch.frames.len();
                self.lane.push(Job::Keep { queue, batch: shelf.unwritten.hand_over(batch) }, bytes);
            }
        }
    }

    /// Whether anything waits for a thread that cannot be had; tries again to have it.
    pub fn is_stranded(&self) -> bool {
        self.lane.is_stranded()
    }

    /// Has the thread put the leftovers in place. `whole`: the queue's stdin source was read to its end. What comes of it
    /// is known to [`end`](Self::end).
    pub fn begin_finish(&mut self, whole: impl Fn(QueueId) -> bool) {
        self.hand_over();
        let (answer, answers) = mpsc::channel();
        for (id, (shelf, plan)) in (0u32..).map(QueueId).zip(self.queues.iter().zip(&self.plan.queues)) {
            let previous = if shelf.is_stdin && whole(id) { Previous::Replace } else { Previous::Keep };
            let due = shelf.items > 0 || previous == Previous::Replace;
            if plan.leftovers.is_some() && due {
                self.lane.push(Job::Finish { queue: id.index(), previous, answer: answer.clone() }, 0);
            }
        }
        self.answers = Some(answers);
    }

    /// For the end of a run: writes here what waits for a thread that cannot be had.
    pub fn work_without_thread(&self) {
        self.lane.work_without_thread();
    }

    /// Whether all is in place, or never will be. Where not, `waker` is woken when it is.
    pub fn is_finished(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_at_rest(waker)
    }

    /// How many batches were written so far.
    pub fn progress(&self) -> u64 {
        self.lane.done()
    }

    /// Says on stderr, item by item, what the disk has not taken. Answers what became of the unfinished items.
    pub fn end(&mut self) -> Vec<Left> {
        let finished: Vec<Finished> = self.answers.take().iter().flat_map(mpsc::Receiver::try_iter).collect();
        let queues = (0u32..).map(QueueId).zip(self.queues.iter_mut().zip(&self.plan.queues));
        let left = queues.map(|(id, (shelf, plan))| {
            let (more, path) = match finished.iter().find(|finished| finished.queue == id.index()) {
                Some(finished) => told(plan, finished),
                None if plan.leftovers.is_none() => (shelf.items, None),
                None => take_back(plan, shelf),
            };
            let on_stderr = shelf.ledger.on_stderr.load(Ordering::Relaxed) + more;
            Left { queue: id, items: shelf.items, on_stderr, path }
        });
        left.filter(|left| left.items > 0).collect()
    }
}

/// Says what the disk did not take in time. Answers how many items that were, and where the others are.
fn take_back(plan: &QueuePlan, shelf: &mut Shelf) -> (u64, Option<PathBuf>) {
    let late = shelf.unwritten.take_back();
    let items: u64 = late.iter().map(|batch| batch.value.items).sum();
    if items > 0 {
        let (count, path) = (counted(items, "unfinished item"), plan.leftovers.as_deref().unwrap_or(Path::new("")));
        let text = format!("{} did not take {count} of queue {} in time", path.display(), plan.name);
        messages().must(line(Level::Error, &text));
    }
    let said = late.iter().map(|batch| say(&plan.name, plan.framing, &batch.value.frames)).sum();
    (said, shelf.ledger.place.lock().unwrap_or_else(PoisonError::into_inner).take())
}

/// Says what the disk did not take, where that was not done yet. Answers how many items are on stderr, and where the others are.
fn told(plan: &QueuePlan, finished: &Finished) -> (u64, Option<PathBuf>) {
    let kept = &finished.kept;
    if let (Some(error), Some(path)) = (&kept.trouble, &plan.leftovers) {
        let which = if kept.place == Place::File { "some leftovers" } else { "leftovers" };
        let (name, path, why) = (&plan.name, path.display(), why(error));
        let text = format!("{which} of queue {name} cannot be kept in {path}: {why}");
        messages().must(line(Level::Error, &text));
    }
    if let Place::Stranded(path) = &kept.place {
        let text = format!("unfinished items of queue {} are in {}", plan.name, path.display());
        messages().must(line(Level::Error, &text));
    }
    let said = say(&plan.name, plan.framing, &kept.lost);
    let path = match &kept.place {
        Place::Nowhere => None,
        Place::File => plan.leftovers.clone(),
        Place::Stranded(path) => Some(path.clone()),
    };
    (said, path)
}
/// The last resort: items on stderr. Answers how many.
fn say(queue: &str, framing: Framing, frames: &[u8]) -> u64 {
    let (mut splitter, mut said) = (Splitter::new(framing, usize::MAX), 0);
    splitter.feed(frames, |frame| match frame {
        Frame::Item(payload) => {
            messages().must(letters::handed_back(queue, &payload));
            said += 1;
        }
        Frame::Oversized { .. } => {}
    });
    said
}

/// What the thread knows of a queue.
struct Keeping {
    name: String,
    framing: Framing,
    keeper: Option<Keeper>,
    ledger: Arc<Ledger>,
}

fn work(keepers: &mut [Keeping], job: &Job) {
    match job {
        Job::Keep { queue, batch } => {
            if let Some(Keeping { name, framing, keeper: Some(keeper), ledger }) = keepers.get_mut(*queue)
                && !batch.is_taken_back()
            {
                let kept = keeper.keep(&batch.value.frames);
                *ledger.place.lock().unwrap_or_else(PoisonError::into_inner) = keeper.place();
                if batch.finish() && !kept {
                    // At once: a full disk must not become a full memory.
                    let said = say(name, *framing, &batch.value.frames);
                    ledger.on_stderr.fetch_add(said, Ordering::Relaxed);
                }
            }
        }
        Job::Finish { queue, previous, answer } => {
            if let Some(keeping) = keepers.get_mut(*queue)
                && let Some(keeper) = keeping.keeper.take()
            {
                let kept = keeper.finish(*previous);
                let _nobody_waits = answer.send(Finished { queue: *queue, kept });
            }
        }
    }
}

/// Whether the queue is fed from our stdin and its leftovers are that very file.
fn is_stdin(plan: &Plan, queue: QueueId) -> bool {
    let fed = plan.sources.iter().any(|source| source.queue == queue && source.feed == Feed::Stdin);
    let leftovers = plan.queues.get(queue.index()).and_then(|queue| queue.leftovers.as_ref());
    let file = leftovers.filter(|_| fed).and_then(|path| std::fs::metadata(path).ok());
    let stdin = fds::identity(io::stdin().as_fd()).ok();
    file.is_some_and(|file| file.is_file() && stdin == Some((file.dev(), file.ino())))
}
