//! What we say on stderr: log records, reports, and items that have no better place. Never blocks the loop.
//!
//! The loop's thread gathers what it says and hands it over once a turn: a thousand services that leave at once are a thousand
//! lines, and not a thousand times waking the thread that writes them.

use super::lane::{Lane, Piece, write_all};
use super::voice::Voice;
use crate::model::Time;
use crate::model::printable::printable;
use crate::sys::{Pid, clock, fds};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mio::Waker;
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Log records are dropped, and counted, while so many bytes of them wait for a stderr that is not read. Items do not count: one
/// that is larger than this may be on its way to a reader that reads.
const BOUND: usize = 256 * 1024;
/// And above so many bytes of one turn: what comes at once has had no time to be written.
const MOST_A_TURN: usize = 1024 * 1024;
/// Of many lines so much is written at once: what is not longer than PIPE_BUF goes into a pipe whole (pipe(7)), so that no line of
/// a child, which may have the same stderr, comes into the middle of one of ours.
const ATOM: usize = 4096;

thread_local! {
    /// What was said and is not handed over, on a thread that gathers.
    static GATHERED: RefCell<Option<Text>> = const { RefCell::new(None) };
}

/// Whole lines for stderr.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// So many of the bytes are log records.
    records: usize,
}

pub struct Messages {
    lane: Lane<Text>,
    /// Bytes of log records that were handed over and are not written.
    waiting: Arc<AtomicUsize>,
    dropped: AtomicU64,
}

/// The one stderr of the process.
pub fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| Messages::new("stderr", to_stderr))
}

impl Messages {
    fn new(name: &'static str, mut write: impl FnMut(&[u8]) + Send + 'static) -> Messages {
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = waiting.clone();
        let lane = Lane::in_pieces(name, move |text: &mut Text| {
            write(&text.bytes);
            written.fetch_sub(std::mem::take(&mut text.records), Ordering::Relaxed);
        });
        Messages { lane, waiting, dropped: AtomicU64::new(0) }
    }

    /// A message for people: dropped and counted when stderr is not read.
    pub fn say(&self, text: Vec<u8>) {
        let gathered = GATHERED.with_borrow(|gathered| gathered.as_ref().map_or(0, |gathered| gathered.records));
        if self.waiting.load(Ordering::Relaxed) > BOUND || gathered + text.len() > MOST_A_TURN {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.own_up();
        let records = text.len();
        self.take(Text { bytes: text, records });
    }

    /// Data that must not be dropped. What waits is bounded, since no source is read while it is [much](Self::is_choked).
    pub fn must(&self, text: Vec<u8>) {
        self.take(Text { bytes: text, records: 0 });
    }

    fn take(&self, text: Text) {
        let rest = GATHERED.with_borrow_mut(|gathered| match gathered {
            Some(gathered) => {
                gathered.bytes.extend_from_slice(&text.bytes);
                gathered.records += text.records;
                None
            }
            None => Some(text),
        });
        rest.into_iter().for_each(|text| self.push(text));
    }

    /// From now on what this thread says waits for [`hand_over`](Self::hand_over) or [`flush`](Self::flush).
    pub fn gather(&self) {
        GATHERED.with_borrow_mut(|gathered| _ = gathered.get_or_insert_default());
    }

    /// What this thread gathered goes to the thread that writes.
    pub fn hand_over(&self) {
        let gathered = GATHERED.with_borrow_mut(|gathered| gathered.as_mut().map(std::mem::take));
        gathered.filter(|text| !text.bytes.is_empty()).into_iter().for_each(|text| self.push(text));
    }

    /// Whether messages wait for a thread that cannot be had; tries again to have it. That there are too few processes is worth
    /// saying just then: what stderr takes without a wait is written here.
    pub fn are_stranded(&self) -> bool {
        self.lane.is_stranded() && !self.write_here(Some(clock::now()))
    }

    /// Whether so much waits that no further item should be read, for each may end here. `waker` is woken when that is over.
    pub fn is_choked(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_choked(waker)
    }

    /// Whether all is written, what this thread gathered too. Where not, `waker` is woken when it is.
    pub fn are_written(&self, waker: &Arc<Waker>) -> bool {
        self.own_up();
        self.hand_over();
        self.lane.is_at_rest(waker)
    }

    /// Blocks until all is written, or for `limit`. Answers whether all is.
    pub fn flush(&self, limit: Option<Duration>) -> bool {
        self.own_up();
        self.hand_over();
        if self.lane.is_stranded() {
            return self.write_here(limit.map(|limit| clock::now() + limit));
        }
        self.lane.flush(limit)
    }

    fn push(&self, text: Text) {
        let bytes = text.bytes.len();
        self.waiting.fetch_add(text.records, Ordering::Relaxed);
        self.lane.push(text, bytes);
        self.write_here(Some(clock::now()));
    }

    /// Without a thread: writes what stderr takes without a wait, and again when it has room, until then. Answers whether nothing
    /// waits any more.
    fn write_here(&self, until: Option<Time>) -> bool {
        self.lane.work_here(|text| {
            let piece = write_piece(&mut text.bytes, until);
            if piece == Piece::Last {
                self.waiting.fetch_sub(std::mem::take(&mut text.records), Ordering::Relaxed);
            }
            piece
        });
        self.lane.waiting_bytes() == 0
    }

    fn own_up(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let what = if dropped == 1 { "1 message was".to_owned() } else { format!("{dropped} messages were") };
            self.must(line(Level::Warn, &format!("{what} dropped: stderr was not read as fast as they came")));
        }
    }
}

/// EPIPE and its kind are ignored: nobody is left to be told.
fn to_stderr(text: &[u8]) {
    for lines in atoms(text) {
        if write_all(io::stderr().as_fd(), lines, |_| ()).is_err() {
            return;
        }
    }
}

/// No more than stderr has room for: a write there blocks until all is written, for we never make it non-blocking.
/// A line longer than that is cut, and a child's may come in between.
fn write_piece(text: &mut Vec<u8>, until: Option<Time>) -> Piece {
    let stderr = io::stderr();
    if !fds::has_room(stderr.as_fd(), || until.map(|until| until.since(clock::now()))) {
        return Piece::Stuck;
    }
    let lines = atoms(text).next().unwrap_or_default();
    match fds::write(stderr.as_fd(), lines.get(..fds::ALWAYS_ROOM).unwrap_or(lines)) {
        Ok(written) if (1..text.len()).contains(&written) => {
            text.drain(..written);
            Piece::Part
        }
        // Somebody else made it non-blocking, and was faster.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Piece::Stuck,
        Ok(_) | Err(_) => Piece::Last,
    }
}

/// Whole lines, as many at once as [`ATOM`] has room for; at least one.
fn atoms(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let fitting = text.get(..ATOM).filter(|_| text.len() > ATOM);
        let whole = fitting.map(|head| memchr::memrchr(b'\n', head).or_else(|| memchr::memchr(b'\n', text)));
        let end = whole.flatten().map_or(text.len(), |at| at + 1);
        let (lines, rest) = text.split_at(end);
        text = rest;
        (!lines.is_empty()).then_some(lines)
    })
}

/// `exeunt: text`, with the level where it is not the usual one, on one line. What is not printable is escaped.
pub fn line(level: Level, text: &str) -> Vec<u8> {
    let (voice, pid) = SPEAKER.get().copied().unwrap_or_default();
    let mut line = voice.prefix(level, pid);
    line.push_str(&printable(text));
    line.push('\n');
    line.into_bytes()
}

/// Whose words these are, and our pid. Set once, when the run begins.
static SPEAKER: OnceLock<(Voice, Pid)> = OnceLock::new();

/// The voice of this run.
pub fn voice() -> Voice {
    SPEAKER.get().copied().unwrap_or_default().0
}

struct Backend;

impl Log for Backend {
    fn enabled(&self, _metadata: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        // Our libraries' own chatter (mio's registrations) is no operator's business.
        if record.target().starts_with("exeunt") {
            messages().say(line(record.level(), &record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Sends the records of the `log` crate to stderr. A second call changes the level only.
pub fn install_log(level: LevelFilter, voice: Voice, pid: Pid) {
    static BACKEND: Backend = Backend;
    let _already_known = SPEAKER.set((voice, pid));
    let _already_there = log::set_logger(&BACKEND);
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_are_written_as_whole_lines() {
        let lines = |lengths: &[usize]| -> Vec<u8> {
            lengths.iter().flat_map(|&length| [vec![b'x'; length - 1], vec![b'\n']].concat()).collect()
        };
        let cut = |text: &[u8]| atoms(text).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(cut(b""), [0; 0]);
        assert_eq!(cut(&lines(&[4000, 96, 1])), [4096, 1]);
        assert_eq!(cut(&lines(&[4000, 97, 1])), [4000, 98]);
        assert_eq!(cut(&lines(&[10, 5000, 10])), [10, 5000, 10]);
        assert_eq!(cut(&[b'x'; 5000]), [5000], "a line without an end");
    }

    #[test]
    fn what_is_gathered_is_written_when_it_is_handed_over() {
        let (told, heard) = std::sync::mpsc::channel();
        let messages = Messages::new("test", move |text| told.send(text.to_vec()).unwrap());
        messages.must(b"a\n".to_vec());
        messages.gather();
        messages.must(b"b\n".to_vec());
        messages.say(b"c\n".to_vec());
        messages.say(vec![b'x'; MOST_A_TURN]);
        messages.hand_over();
        messages.hand_over();
        messages.must(b"d\n".to_vec());
        messages.flush(None);
        let texts: Vec<String> = heard.try_iter().map(|text| String::from_utf8(text).unwrap()).collect();
        assert_eq!(texts[..2], ["a\n", "b\nc\n"]);
        assert!(texts[2].starts_with("d\n") && texts[2].contains("1 message was dropped"), "{texts:?}");
        assert_eq!(texts.len(), 3);
    }

    /// The writer waits at its gate all the time.
    #[test]
    fn records_are_dropped_when_records_wait_and_not_when_an_item_does() {
        let (told, heard) = std::sync::mpsc::channel();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let messages = Messages::new("test", move |text| {
            gate.recv().unwrap();
            told.send(text.to_vec()).unwrap();
        });
        messages.must(vec![b'x'; 4 * BOUND]);
        messages.say(b"after an item\n".to_vec());
        messages.say(vec![b'y'; BOUND]);
        messages.say(b"after too many records\n".to_vec());
        (0..4).for_each(|_| open.send(()).unwrap());
        messages.flush(None);
        let texts: Vec<String> = heard.try_iter().map(|text| String::from_utf8(text).unwrap()).collect();
        let ends: Vec<&str> = texts.iter().map(|text| &text[text.len().saturating_sub(30)..]).collect();
        assert_eq!(ends[1], "after an item\n");
        assert!(texts[3].contains("1 message was dropped"), "{ends:?}");
        messages.say(b"all were written\n".to_vec());
        open.send(()).unwrap();
        messages.flush(None);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [b"all were written\n"]);
    }

    #[test]
    fn what_is_gathered_is_not_written() {
        let waker = Arc::new(Waker::new(mio::Poll::new().unwrap().registry(), mio::Token(7)).unwrap());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let messages = Messages::new("test", move |_| gate.recv().unwrap());
        messages.gather();
        assert!(messages.are_written(&waker));
        messages.must(b"a\n".to_vec());
        assert!(!messages.are_written(&waker));
        open.send(()).unwrap();
        assert!(messages.flush(None) && messages.are_written(&waker));
    }

    #[test]
    fn f86_a_message_is_one_line_without_control_characters() {
        assert_eq!(line(Level::Info, "a\n\x1b]0;b\u{e9}"), "exeunt: a\\n\\u{1b}]0;b\u{e9}\n".as_bytes());
        assert_eq!(line(Level::Error, "x"), b"exeunt: error: x\n");
    }
}
