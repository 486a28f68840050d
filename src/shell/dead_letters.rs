//! Dead letters on their way to a file beside the leftovers, or to stderr. A thread of their own writes them: a leftovers
//! file that hangs does not hold them up, nor they it.

use super::lane::{Lane, Mode, Piece};
use super::letters;
use super::messages::{line, messages};
use super::phrases::why;
use super::unwritten::{Entry, Unwritten};
use crate::machine::DeadLetter;
use crate::model::plan::Plan;
use crate::sys::clock;
use log::Level;
use mio::Waker;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
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
        let lane = Lane::new("dead letters", move |letter: &mut Arc<Entry<Letter>>, _: Mode| {
            write(letter, &counts);
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

/// `left.txt.dead` for `left.txt`.
fn path_beside(leftovers: &Path) -> PathBuf {
    let mut path = leftovers.as_os_str().to_owned();
    path.push(".dead");
    path.into()
}

/// The thread's work.
fn write(letter: &Entry<Letter>, on_stderr: &[AtomicU64]) {
    if letter.is_taken_back() {
        return;
    }
    let written = append_line(&letter.value.path, &letter.value.line);
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

/// A line that the disk does not take whole is taken back, if no other process wrote after it. A killed writer may have left half a
/// line all the same: it must not spoil this one too.
fn append_line(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
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
    if outcome.is_err() && file.metadata()?.len() == before.len() + half {
        file.set_len(before.len())?;
    }
    outcome
}

/// Never waits for the other end of a FIFO, and takes nothing but a regular file, which is all that keeps what is written.
fn open(path: &Path) -> io::Result<File> {
    let not_regular = || io::Error::other("it is not a regular file");
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path);
    // What a FIFO without a reader and a socket answer.
    let file = file.map_err(|error| if error.raw_os_error() == Some(libc::ENXIO) { not_regular() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Only a file that may be read can be looked at.
fn ends_in_half_a_line(path: &Path) -> bool {
    let mut last = [b'\n'];
    let mut look = || -> io::Result<usize> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read(&mut last)
    };
    look().is_ok_and(|length| length == 1) && last != *b"\n"
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
    }

    #[test]
    fn f83_what_is_no_regular_file_takes_no_letter_and_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/null"), directory.path()] {
            append_line(path, b"{5}\n").unwrap_err();
        }
    }
}
