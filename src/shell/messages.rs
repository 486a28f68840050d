//! What we say on stderr: log records, reports, and items that have no better place. Never blocks the loop.

use super::lane::{Lane, write_all};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mio::Waker;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Log records are dropped, and counted, while so many bytes wait for a stderr that is not read.
const BOUND: usize = 256 * 1024;

pub struct Messages {
    lane: Lane<Vec<u8>>,
    dropped: AtomicU64,
}

/// The one stderr of the process.
pub fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| Messages { lane: Lane::new("stderr", to_stderr), dropped: AtomicU64::new(0) })
}

impl Messages {
    /// A message for people: dropped and counted when stderr is not read.
    pub fn say(&self, text: Vec<u8>) {
        if self.lane.waiting_bytes() + text.len() > BOUND {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.own_up();
        self.must(text);
    }

    /// Data that must not be dropped. What waits is bounded, since no source is read while it is [much](Self::is_choked).
    pub fn must(&self, text: Vec<u8>) {
        let bytes = text.len();
        self.lane.push(text, bytes);
    }

    /// Whether messages wait for a thread that cannot be had; tries again to have it.
    pub fn are_stranded(&self) -> bool {
        self.lane.is_stranded()
    }

    /// Whether so much waits that no further item should be read, for each may end here. `waker` is woken when that is over.
    pub fn is_choked(&self, waker: &Arc<Waker>) -> bool {
        self.lane.is_choked(waker)
    }

    /// Whether all is written. Where not, `waker` is woken when it is.
    pub fn are_written(&self, waker: &Arc<Waker>) -> bool {
        self.own_up();
        self.lane.is_at_rest(waker)
    }

    /// Blocks until all is written, or for `limit`. Answers whether all is.
    pub fn flush(&self, limit: Option<Duration>) -> bool {
        self.own_up();
        self.lane.flush(limit)
    }

    fn own_up(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.must(line(Level::Warn, &format!("{dropped} messages were dropped: stderr was not read")));
        }
    }
}

/// EPIPE and its kind are ignored: nobody is left to be told.
fn to_stderr(text: Vec<u8>) {
    let _gone = write_all(io::stderr().as_fd(), &text, |_| ());
}

/// `exeunt: text`, with the level where it is not the usual one. Control characters are escaped: a line stays a line.
pub fn line(level: Level, text: &str) -> Vec<u8> {
    let word = match level {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        Level::Info => "",
        Level::Debug => "debug: ",
        Level::Trace => "trace: ",
    };
    let mut line = format!("exeunt: {word}");
    for character in text.chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line.push('\n');
    line.into_bytes()
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
pub fn install_log(level: LevelFilter) {
    static BACKEND: Backend = Backend;
    let _already_there = log::set_logger(&BACKEND);
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f86_a_message_is_one_line_without_control_characters() {
        assert_eq!(line(Level::Info, "a\n\x1b]0;b\u{e9}"), "exeunt: a\\n\\u{1b}]0;b\u{e9}\n".as_bytes());
        assert_eq!(line(Level::Error, "x"), b"exeunt: error: x\n");
    }
}
