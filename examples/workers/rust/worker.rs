//! The smallest correct worker in Rust, with nothing but std: rustc -O worker.rs

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::raw::{c_int, c_short, c_ulong};

const ITEMS: c_int = 3;
const REPLIES: c_int = 4;
const EXIT: c_int = 5;
const REPLY_MAX: usize = 4096;

fn work(item: &[u8]) -> Vec<u8> {
    [b"rust did ", item].concat() // its result is one line
}

fn cleanup() {
    eprintln!("rust cleaned up");
}

fn main() {
    // SAFETY: exeunt opened both for us, and nothing else in this program owns them.
    let [mut items, mut replies] = [ITEMS, REPLIES].map(|fd| unsafe { File::from_raw_fd(fd) });
    let (mut buffer, mut chunk) = (Vec::new(), [0; 65536]);
    'serve: while !leaving(-1) {
        let Ok(length @ 1..) = items.read(&mut chunk) else { break };
        buffer.extend_from_slice(&chunk[..length]);
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') { // no line feed, no item
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if replies.write_all(&answer(&line[..end])).is_err() || leaving(0) { // an error: exeunt was killed
                break 'serve;
            }
        }
    }
    cleanup();
}

/// The reply, which goes out by one write: a File has no buffer, so there is nothing to flush.
fn answer(line: &[u8]) -> Vec<u8> {
    let space = line.iter().position(|&byte| byte == b' ').expect("TOKEN SP PAYLOAD");
    let (token, item) = line.split_at(space + 1);
    let result = work(item);
    let reply = [b"ok ", token, &result, b"\n"].concat();
    if reply.len() <= REPLY_MAX {
        return reply;
    }
    let reason = format!("a result of {} bytes does not fit in a reply\n", result.len());
    [b"fail ", token, reason.as_bytes()].concat()
}

/// Waits for an item or the exit event, and says whether it was the event.
fn leaving(timeout: c_int) -> bool {
    let mut fds = [ITEMS, EXIT].map(|fd| PollFd { fd, events: 1, revents: 0 }); // POLLIN
    // SAFETY: two live structures, as poll(2) wants them.
    unsafe { poll(fds.as_mut_ptr(), 2, timeout) };
    fds[1].revents != 0
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

// std does not show poll(2), but it links the libc that has it.
unsafe extern "C" {
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}
