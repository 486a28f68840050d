//! What is kept of items on disk: leftovers and dead letters. One thread writes both.

use super::lane::Lane;
use super::leftovers::{Keeper, Kept, Place, Previous};
use super::letters;
use super::messages::messages;
use crate::machine::DeadLetter;
use crate::model::plan::{Feed, Plan, QueuePlan};
use crate::model::{Framing, Payload, QueueId};
use crate::sys::{clock, fds};
use crate::wire::frames::{Frame, Splitter};
use mio::Waker;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// So many dead letters are in the report.
const REPORTED: usize = 1000;

pub struct Disk {
    plan: Rc<Plan>,
    lane: Lane<Job>,
    queues: Vec<Shelf>,
    /// The last dead letters, for the report.
    obituary: VecDeque<Value>,
    fallback: Arc<Fallback>,
}

/// What went to stderr because the disk failed.
#[derive(Debug, Default)]
struct Fallback {
    /// Something that a file should have kept was said there instead, or where else it is.
    happened: AtomicBool,
    /// Dead letters of each queue.
    letters: Vec<AtomicU64>,
}

/// The leftovers of one queue, as the loop sees them.
struct Shelf {
    /// Frames of this round.
    batch: Vec<u8>,
    items: u64,
    /// The leftovers file is our own stdin.
    is_stdin: bool,
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

enum Job {
    Keep { queue: usize, frames: Vec<u8> },
    Bury { queue: usize, path: PathBuf, line: Vec<u8> },
    Finish { queue: usize, previous: Previous, answer: mpsc::Sender<Finished> },
}

/// The disk's last word on the leftovers of a queue.
struct Finished {
    queue: usize,
    kept: Kept,
    /// Items that it did not take were said, so many.
    said: u64,
}

impl Disk {
    pub fn new(plan: &Rc<Plan>) -> Disk {
        let queues = (0u32..).map(QueueId).zip(&plan.queues);
        let queues =
            queues.map(|(id, _)| Shelf { batch: Vec::new(), items: 0, is_stdin: is_stdin(plan, id) }).collect();
        let keeper = |queue: &QueuePlan| Keeping {
            name: queue.name.clone(),
            framing: queue.framing,
            keeper: queue.leftovers.clone().map(|path| Keeper::new(path, queue.framing.delimiter())),
            said: 0,
        };
        let mut keepers: Vec<Keeping> = plan.queues.iter().map(keeper).collect();
        let letters = plan.queues.iter().map(|_| AtomicU64::default()).collect();
        let fallback = Arc::new(Fallback { letters, ..Fallback::default() });
        let told = fallback.clone();
        let lane = Lane::new("disk", move |job| work(&mut keepers, job, &told));
        Disk { plan: plan.clone(), lane, queues, obituary: VecDeque::new(), fallback }
    }

    pub fn hand_back(&mut self, queue: QueueId, payload: &Payload) {
        let (Some(shelf), Some(plan)) = (self.queues.get_mut(queue.index()), self.plan.queues.get(queue.index()))
        else {
            return;
        };
        shelf.items += 1;
        if plan.leftovers.is_some() {
            shelf.batch.extend_from_slice(payload);
            shelf.batch.push(plan.framing.delimiter());
        } else {
            messages().must(letters::handed_back(&plan.name, payload));
        }
    }

    pub fn bury(&mut self, letter: &DeadLetter) {
        let now = clock::wall();
        let line = letters::dead(&self.plan, letter, now);
        if self.obituary.len() == REPORTED {
            self.obituary.pop_front();
        }
        self.obituary.push_back(letters::dead_in_brief(&self.plan, letter, now));
        let leftovers = self.plan.queues.get(letter.queue.index()).and_then(|queue| queue.leftovers.as_ref());
        match leftovers {
            Some(path) => {
                let mut path = path.clone().into_os_string();
                path.push(".dead");
                let bytes = line.len();
                self.lane.push(Job::Bury { queue: letter.queue.index(), path: path.into(), line }, bytes);
            }
            None => messages().must(line),
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
            if !shelf.batch.is_empty() {
                let frames = std::mem::take(&mut shelf.batch);
                let bytes = frames.len();
                self.lane.push(Job::Keep { queue, frames }, bytes);
            }
        }
    }

    /// Whether anything that a file should have kept was said on stderr instead, or where else it is. All is known after
    /// [`finish`](Self::finish).
    pub fn fell_back(&self) -> bool {
        self.fallback.happened.load(Ordering::Relaxed)
    }

    /// Whether anything waits for a thread that cannot be had; tries again to have it.
    pub fn is_stranded(&self) -> bool {
        self.lane.is_stranded()
    }

    /// Puts the leftovers in place; blocks until that is done, since nothing else is left to do. `whole`: the queue's
    /// stdin source was read to its end.
    pub fn finish(&mut self, whole: impl Fn(QueueId) -> bool) -> Rest {
        self.hand_over();
        let (answer, answers) = mpsc::channel();
        let ids = || (0u32..).map(QueueId);
        for (id, (shelf, plan)) in ids().zip(self.queues.iter().zip(&self.plan.queues)) {
            let previous = if shelf.is_stdin && whole(id) { Previous::Replace } else { Previous::Keep };
            let due = shelf.items > 0 || previous == Previous::Replace;
            if plan.leftovers.is_some() && due {
                self.lane.push(Job::Finish { queue: id.index(), previous, answer: answer.clone() }, 0);
            }
        }
        drop(answer);
        self.lane.flush(None);
        let finished: Vec<Finished> = answers.try_iter().collect();
        let fates = ids().zip(self.queues.iter().zip(&self.plan.queues)).map(|(id, (shelf, plan))| {
            let finished = finished.iter().find(|finished| finished.queue == id.index());
            let (on_stderr, path) = match finished {
                Some(finished) => self.told(plan, finished),
                None if plan.leftovers.is_none() => (shelf.items, None),
                // Of a thread that panicked no answer comes.
                None => (0, None),
            };
            Left { queue: id, items: shelf.items, on_stderr, path }
        });
        let left = fates.filter(|left| left.items > 0).collect();
        let letters_on_stderr = self.fallback.letters.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Rest { left, letters_on_stderr, letters: std::mem::take(&mut self.obituary) }
    }

    /// Says what the disk did not take, where that was not done yet. Answers how many items are on stderr, and where the others are.
    fn told(&self, plan: &QueuePlan, finished: &Finished) -> (u64, Option<PathBuf>) {
        let kept = &finished.kept;
        if let (Some(error), Some(path)) = (&kept.trouble, &plan.leftovers) {
            let which = if kept.place == Place::File { "some leftovers" } else { "leftovers" };
            let (name, path, why) = (&plan.name, path.display(), why(error));
            let text = format!("{which} of queue {name} cannot be kept in {path}: {why}");
            messages().must(super::messages::line(log::Level::Error, &text));
        }
        if let Place::Stranded(path) = &kept.place {
            let text = format!("unfinished items of queue {} are in {}", plan.name, path.display());
            messages().must(super::messages::line(log::Level::Error, &text));
            self.fallback.happened.store(true, Ordering::Relaxed);
        }
        let said = finished.said + say(&plan.name, plan.framing, &kept.lost);
        let path = match &kept.place {
            Place::Nowhere => None,
            Place::File => plan.leftovers.clone(),
            Place::Stranded(path) => Some(path.clone()),
        };
        (said, path)
    }
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
    /// Items that the disk did not take.
    said: u64,
}

fn work(keepers: &mut [Keeping], job: Job, fallback: &Fallback) {
    match job {
        Job::Keep { queue, frames } => {
            if let Some(Keeping { name, framing, keeper: Some(keeper), said }) = keepers.get_mut(queue)
                && !keeper.keep(&frames)
            {
                // At once: a full disk must not become a full memory.
                *said += say(name, *framing, &frames);
                fallback.happened.store(true, Ordering::Relaxed);
            }
        }
        Job::Bury { queue, path, line } => {
            if let Err(error) = append_line(&path, &line) {
                let text = format!("a dead letter cannot be kept in {}: {}", path.display(), why(&error));
                messages().must(super::messages::line(log::Level::Error, &text));
                messages().must(line);
                fallback.happened.store(true, Ordering::Relaxed);
                if let Some(letters) = fallback.letters.get(queue) {
                    letters.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Job::Finish { queue, previous, answer } => {
            if let Some(keeping) = keepers.get_mut(queue)
                && let Some(keeper) = keeping.keeper.take()
            {
                let _nobody_waits = answer.send(Finished { queue, kept: keeper.finish(previous), said: keeping.said });
            }
        }
    }
}

/// A line that the disk does not take whole is taken back, if nobody wrote after it. Half a line may be there all the same, from who was
/// killed: it must not spoil this one too.
fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if ends_in_half_a_line(path) {
        file.write_all(b"\n")?;
    }
    let before = file.metadata()?;
    let mut rest = line;
    let outcome = loop {
        match file.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
        if rest.is_empty() {
            break Ok(());
        }
    };
    let half = (line.len() - rest.len()) as u64;
    if outcome.is_err() && before.is_file() && file.metadata()?.len() == before.len() + half {
        file.set_len(before.len())?;
    }
    outcome
}

/// Only of a file can it be said, and only by who may read it.
fn ends_in_half_a_line(path: &Path) -> bool {
    let mut last = [b'\n'];
    let mut look = || -> io::Result<usize> {
        if !std::fs::metadata(path)?.is_file() {
            return Ok(0);
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read(&mut last)
    };
    look().is_ok_and(|length| length == 1) && last != *b"\n"
}

fn why(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), super::phrases::errno)
}

/// Whether the queue is fed from our stdin and its leftovers are that very file.
fn is_stdin(plan: &Plan, queue: QueueId) -> bool {
    let fed = plan.sources.iter().any(|source| source.queue == queue && source.feed == Feed::Stdin);
    let leftovers = plan.queues.get(queue.index()).and_then(|queue| queue.leftovers.as_ref());
    let file = leftovers.filter(|_| fed).and_then(|path| std::fs::metadata(path).ok());
    let stdin = fds::identity(io::stdin().as_fd()).ok();
    file.is_some_and(|file| file.is_file() && stdin == Some((file.dev(), file.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_of_an_earlier_run_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.dead");
        append_line(&path, b"{1}\n").unwrap();
        append_line(&path, b"{2").unwrap();
        append_line(&path, b"{3}\n").unwrap();
        append_line(&path, b"{4}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n{2\n{3}\n{4}\n");
        // What is no file takes lines all the same.
        append_line(Path::new("/dev/null"), b"{5}\n").unwrap();
    }
}
