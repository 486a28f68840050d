//! The smallest correct worker in Rust, with nothing but std: rustc -O worker.rs
//!
//! std has no `poll`, so a thread waits for the exit event. An item's read ends by itself: the event closes fd 3 too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn work(item: &[u8]) -> Vec<u8> {
    [b"rust did ", item].concat()
}

fn main() -> Result<()> {
    // SAFETY: exeunt opened 3, 4 and 5 for us, and nothing else in this program uses them.
    let [items, mut replies, mut exit] = [3, 4, 5].map(|fd| unsafe { File::from_raw_fd(fd) });
    let leaving = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&leaving);
    thread::spawn(move || {
        let _ = exit.read(&mut [0; 64]); // returns when there is a word, or when exeunt is no more
        told.store(true, Ordering::Relaxed);
    });

    let mut items = BufReader::new(items);
    let mut line = Vec::new();
    while !leaving.load(Ordering::Relaxed) {
        line.clear();
        items.read_until(b'\n', &mut line)?;
        let Some(item) = line.strip_suffix(b"\n") else { break }; // the end; no line feed, no item
        let Some(space) = item.iter().position(|&byte| byte == b' ') else { break };
        let (token, item) = item.split_at(space + 1);
        let reply = [b"ok ", token, &work(item), b"\n"].concat();
        replies.write_all(&reply)?; // a File has no buffer, so nothing to flush
    }
    Ok(()) // clean up here
}
