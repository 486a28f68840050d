//! What a process says, read by a thread as it comes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    line_feeds: usize,
    ended: bool,
    /// Bytes that `wait_for_new` has been through.
    passed: usize,
}

/// Why a word was not heard.
#[derive(Debug)]
pub enum Silence {
    Ended,
    TimedOut,
}

impl Lines {
    pub fn of(mut stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let heard = lines.clone();
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => heard.add(&chunk[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            heard.0.0.lock().unwrap().ended = true;
            heard.0.1.notify_all();
        });
        lines
    }

    /// A stream nobody listens to: empty, and ended.
    pub fn none() -> Lines {
        let lines = Lines::default();
        lines.0.0.lock().unwrap().ended = true;
        lines
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }

    /// Until `count` whole lines begin with `word`.
    pub fn wait_for(&self, word: &str, count: usize, deadline: Instant) -> Result<String, Silence> {
        self.wait_until(deadline, |heard| {
            let text = String::from_utf8_lossy(&heard.bytes);
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.filter(|line| line.starts_with(word)).nth(count - 1).map(|line| line.trim_end().to_owned())
        })
    }

    /// Until a whole line holds `needle` that comes after the one that was waited for like this before.
    pub fn wait_for_new(&self, needle: &str, deadline: Instant) -> Result<String, Silence> {
        let (line, end) = self.wait_until(deadline, |heard| {
            let text = String::from_utf8_lossy(&heard.bytes[heard.passed..]);
            let mut end = heard.passed;
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                end += line.len();
                if line.contains(needle) {
                    return Some((line.trim_end().to_owned(), end));
                }
            }
            None
        })?;
        self.0.0.lock().unwrap().passed = end;
        Ok(line)
    }

    /// Until `count` whole lines hold `words`.
    pub fn wait_for_words(&self, words: &str, count: usize, deadline: Instant) -> Result<(), Silence> {
        self.wait_until(deadline, |heard| {
            let text = String::from_utf8_lossy(&heard.bytes);
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            (whole.filter(|line| line.contains(words)).count() >= count).then_some(())
        })
    }

    pub fn wait_for_count(&self, count: usize, deadline: Instant) -> Result<(), Silence> {
        self.wait_until(deadline, |heard| (heard.line_feeds >= count).then_some(()))
    }

    pub fn wait_for_end(&self, deadline: Instant) -> bool {
        matches!(self.wait_until(deadline, |heard| heard.ended.then_some(())), Ok(()))
    }

    fn add(&self, bytes: &[u8]) {
        let mut heard = self.0.0.lock().unwrap();
        heard.bytes.extend_from_slice(bytes);
        heard.line_feeds += bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.0.1.notify_all();
    }

    fn wait_until<T>(&self, deadline: Instant, look: impl Fn(&Heard) -> Option<T>) -> Result<T, Silence> {
        let mut heard = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = look(&heard) {
                return Ok(found);
            }
            if heard.ended {
                return Err(Silence::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Silence::TimedOut);
            }
            heard = self.0.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}
