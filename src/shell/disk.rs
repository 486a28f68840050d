//! The leftovers of all queues on their way to their files, or to stderr. One thread writes them.

use super::file_lock::Deadline;
use super::file_users;
use super::first_input::{FirstInput, Writers};
use super::lane::{Lane, Mode, Piece};
use super::leftovers::{Input, Keeper, Kept, Place};
use super::letters;
use super::messages::{line, messages};
use super::order::Numbers;
use super::phrases::{counted, why};
use super::unwritten::{Entry, Unwritten};
use crate::model::plan::{Feed, Plan, QueuePlan};
use crate::model::{Framing, Payload, QueueId};
use crate::sys::{clock, fds};
use crate::wire::frames::{Frame, Splitter};
use log::Level;
use mio::Waker;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Items are handed over in batches of about this size, so that a slow disk is seen to move.
const BATCH: usize = 256 * 1024;

pub struct Disk {
    plan: Rc<Plan>,
    lane: Lane<Job>,
    queues: Vec<Shelf>,
    /// The thread's answers to the jobs of [`begin_finish`](Disk::begin_finish).
    answers: Option<mpsc::Receiver<Finished>>,
    /// After it the thread waits for no lock.
    deadline: Arc<Deadline>,
    /// Pieces that the thread has copied at the end, for one job may move all that is in a file.
    moved: Arc<AtomicU64>,
    /// Until the sources take them.
    first_inputs: Vec<(QueueId, FirstInput)>,
}

/// At the end of the run the locks of all files are waited for this long, which is less than the loop waits for the disk.
const LOCKS: Duration = Duration::from_millis(700);

/// The leftovers of one queue, as the loop sees them.
#[derive(Default)]
struct Shelf {
    /// What was handed back in this round.
    batch: Batch,
    unwritten: Unwritten<Batch>,
    ledger: Arc<Ledger>,
    items: u64,
    /// The leftovers file is our own input.
    is_input: bool,
    /// Items with these first numbers came from it, if it is not our stdin.
    taken: Option<Arc<AtomicU64>>,
}

/// Items as they stand in the file, each with its delimiter.
#[derive(Debug, Default)]
struct Batch {
    frames: Vec<u8>,
    items: u64,
    numbers: Vec<Numbers>,
}

/// What the thread writes down of one queue, for a loop that can no longer wait for it.
#[derive(Debug, Default)]
struct Ledger {
    /// Items on stderr because the disk did not take them.
    on_stderr: AtomicU64,
    /// Where the items are that the disk took.
    places: Mutex<Vec<Place>>,
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
    /// Where the others are.
    pub places: Vec<Place>,
}

impl Left {
    /// Whether somebody should read our stderr: items are there, or it says where they are.
    pub fn needs_a_reader(&self, asked_for: Option<&PathBuf>) -> bool {
        self.on_stderr > 0 || self.places.iter().any(|place| Some(&place.path) != asked_for)
    }
}

enum Job {
    Keep { queue: usize, batch: Arc<Entry<Batch>> },
    Finish { queue: usize, answer: mpsc::Sender<Finished> },
}

/// The thread's last word on the leftovers of a queue.
struct Finished {
    queue: usize,
    kept: Kept,
}

impl Shelf {
    /// Whether the thread has something to do at the end of the run.
    fn keeps(&self) -> bool {
        self.items > 0 || self.is_input
    }
}

impl Disk {
    pub fn new(plan: &Rc<Plan>) -> Disk {
        let (deadline, moved) = (Arc::new(Deadline::default()), Arc::new(AtomicU64::default()));
        let (mut queues, mut keepers, mut first_inputs) = (Vec::new(), Vec::new(), Vec::new());
        for (id, queue) in (0u32..).map(QueueId).zip(&plan.queues) {
            let (mut input, user) = (input(plan, id), file_users::of_queue(plan, id));
            // A queue that is worked off at a stop takes in items that are read later before those that wait for room.
            let numbered = is_sole(plan, id) && !queue.drain_on_stop;
            if let (true, Some(path), None) = (queue.leftovers_first, &queue.leftovers, &input)
                && let Some((first, as_input)) = FirstInput::open(&queue.name, path, numbered, user.clone())
            {
                first_inputs.push((id, first));
                input = Some(as_input);
            }
            let taken = input.as_ref().and_then(|input| input.taken.clone());
            let shelf = Shelf { is_input: input.is_some(), taken, ..Shelf::default() };
            let keeper = queue.leftovers.as_deref();
            let keeper = keeper.map(|path| {
                let keeper = Keeper::new(&queue.name, queue.framing, path, input, deadline.clone());
                keeper.for_user(user).counting(moved.clone())
            });
            let (name, ledger) = (queue.name.clone(), shelf.ledger.clone());
            keepers.push(Keeping { name, framing: queue.framing, keeper, ledger });
            queues.push(shelf);
        }
        let lane = Lane::new("leftovers", move |job: &mut Job, _: Mode| {
            work(&mut keepers, job);
            Piece::Last
        });
        Disk { plan: plan.clone(), lane, queues, answers: None, deadline, moved, first_inputs }
    }

    /// Leftovers that are to be read before the source of their queue is.
    pub fn first_inputs(&mut self) -> Vec<(QueueId, FirstInput)> {
        std::mem::take(&mut self.first_inputs)
    }

    /// For each queue whose leftovers are our stdin, those who may append to it meanwhile.
    pub fn writers_to_stdin(&self) -> Vec<(QueueId, Writers)> {
        let queues = (0u32..).map(QueueId).zip(self.queues.iter().zip(&self.plan.queues));
        let own = queues.filter(|(_, (shelf, _))| shelf.is_input && shelf.taken.is_none());
        let writers = |(id, (_, plan)): (QueueId, (&Shelf, &QueuePlan))| {
            Some((id, Writers::of(plan.leftovers.as_deref()?, file_users::of_queue(&self.plan, id))))
        };
        own.filter_map(writers).collect()
    }

    pub fn hand_back(&mut self, queue: QueueId, number: u64, payload: &Payload) {
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
        let border = shelf.taken.as_ref().map_or(0, |taken| taken.load(Ordering::Relaxed));
        Numbers::push(&mut shelf.batch.numbers, number, payload.len() as u64 + 1, border);
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

    /// Has the thread put the leftovers in place. What comes of it is known to [`end`](Self::end).
    pub fn begin_finish(&mut self) {
        self.deadline.set(clock::now() + LOCKS);
        self.hand_over();
        let (answer, answers) = mpsc::channel();
        for (queue, shelf) in self.queues.iter().enumerate() {
            if shelf.keeps() {
                self.lane.push(Job::Finish { queue, answer: answer.clone() }, 0);
            }
        }
        self.answers = Some(answers);
    }

    /// No lock is waited for any longer.
    pub fn hurry(&self) {
        self.deadline.set(clock::now());
    }

    /// For the end of a run: writes here what waits for a thread that cannot be had.
    pub fn work_without_thread(&self) {
        self.lane.work_without_thread();
    }

    /// Whether all is in place, or never will be. Where not, `waker` is woken when it is.
    pub fn is_finished(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_at_rest(waker)
    }

    /// How many batches were written, and how many pieces copied, so far.
    pub fn progress(&self) -> u64 {
        self.lane.done() + self.moved.load(Ordering::Relaxed)
    }

    /// Says on stderr, item by item, what the disk has not taken. Answers what became of the unfinished items.
    pub fn end(&mut self) -> Vec<Left> {
        let finished: Vec<Finished> = self.answers.take().iter().flat_map(mpsc::Receiver::try_iter).collect();
        let queues = (0u32..).map(QueueId).zip(self.queues.iter_mut().zip(&self.plan.queues));
        let left = queues.map(|(id, (shelf, plan))| {
            let (more, places) = match finished.iter().find(|finished| finished.queue == id.index()) {
                Some(finished) => told(plan, finished),
                None if plan.leftovers.is_none() => (shelf.items, Vec::new()),
                None => take_back(plan, shelf),
            };
            let on_stderr = shelf.ledger.on_stderr.load(Ordering::Relaxed) + more;
            Left { queue: id, items: shelf.items, on_stderr, places }
        });
        left.filter(|left| left.items > 0).collect()
    }
}

/// Says what the disk did not take in time. Answers how many items that were, and where the others are.
fn take_back(plan: &QueuePlan, shelf: &mut Shelf) -> (u64, Vec<Place>) {
    let late = shelf.unwritten.take_back();
    let items: u64 = late.iter().map(|batch| batch.value.items).sum();
    if items > 0 {
        let (count, path) = (counted(items, "unfinished item"), plan.leftovers.as_deref().unwrap_or(Path::new("")));
        let text = format!("{} did not take {count} of queue {} in time", path.display(), plan.name);
        messages().must(line(Level::Error, &text));
    }
    let said = late.iter().map(|batch| say(&plan.name, plan.framing, &batch.value.frames)).sum();
    (said, std::mem::take(&mut *shelf.ledger.places.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Says what went wrong, and where the items are if that is not where they should be. Answers how many more items are on
/// stderr, and where the others are.
fn told(plan: &QueuePlan, finished: &Finished) -> (u64, Vec<Place>) {
    let (kept, asked) = (&finished.kept, plan.leftovers.as_deref().unwrap_or(Path::new("")));
    if let Some(error) = &kept.trouble {
        let which = if kept.places.is_empty() { "leftovers" } else { "some leftovers" };
        let text = format!("{which} of queue {} cannot be kept in {}: {}", plan.name, asked.display(), why(error));
        messages().must(line(Level::Error, &text));
    }
    for place in kept.places.iter().filter(|place| place.path != asked) {
        let count = counted(place.items, "unfinished item");
        let text = format!("{count} of queue {}: in {}", plan.name, place.path.display());
        messages().must(line(Level::Warn, &text));
    }
    (0, kept.places.clone())
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
                let kept = keeper.keep(&batch.value.frames, &batch.value.numbers);
                *ledger.places.lock().unwrap_or_else(PoisonError::into_inner) = keeper.places().to_vec();
                let rest = batch.value.frames.get(kept..).unwrap_or_default();
                if batch.finish() && !rest.is_empty() {
                    // At once: a full disk must not become a full memory.
                    let said = say(name, *framing, rest);
                    ledger.on_stderr.fetch_add(said, Ordering::Relaxed);
                }
            }
        }
        Job::Finish { queue, answer } => {
            if let Some(keeping) = keepers.get_mut(*queue)
                && let Some(keeper) = keeping.keeper.take()
            {
                let kept = keeper.finish();
                let _nobody_waits = answer.send(Finished { queue: *queue, kept });
            }
        }
    }
}

/// The leftovers of the queue as its own input: our stdin is that very file.
fn input(plan: &Plan, queue: QueueId) -> Option<Input> {
    let mut feeds = plan.sources.iter().filter(|source| source.queue == queue).map(|source| &source.feed);
    let leftovers = plan.queue(queue).leftovers.as_ref()?;
    if !feeds.any(|feed| *feed == Feed::Stdin) {
        return None;
    }
    Input::of(fds::stdin_file().ok()?, leftovers, is_sole(plan, queue))
}

/// Whether one source alone feeds the queue.
fn is_sole(plan: &Plan, queue: QueueId) -> bool {
    plan.sources.iter().filter(|source| source.queue == queue).count() == 1
}
