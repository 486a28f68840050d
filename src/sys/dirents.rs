//! Numbered names of a /proc directory, without an allocation for each: a look at thousands of processes has to be cheap.

use super::raw::call;
use super::stat::number;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Offset of the name in `struct linux_dirent64` (getdents(2)): inode and offset of 8 bytes, length of 2, type of 1.
const NAME: usize = 19;
const LENGTH: usize = 16;

/// The names that are numbers, from the directory's start, ascending as /proc tells them.
pub fn numbers(directory: BorrowedFd, buffer: &mut [u8]) -> io::Result<Vec<i32>> {
    // SAFETY: lseek takes integers; the descriptor is borrowed, hence open.
    call(|| unsafe { libc::lseek(directory.as_raw_fd(), 0, libc::SEEK_SET) })?;
    let mut found = Vec::new();
    loop {
        // SAFETY: the kernel writes at most `len` bytes into a buffer that is ours for the time of the call.
        let filled = call(|| unsafe {
            libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
        })?;
        match usize::try_from(filled) {
            Ok(0) | Err(_) => return Ok(found),
            Ok(filled) => collect(buffer.get(..filled).unwrap_or_default(), &mut found),
        }
    }
}

fn collect(mut entries: &[u8], found: &mut Vec<i32>) {
    while let Some(length) = length(entries) {
        let (entry, rest) = entries.split_at_checked(length).unwrap_or((entries, &[]));
        let name = entry.get(NAME..).and_then(|name| name.split(|&byte| byte == 0).next());
        found.extend(name.and_then(number::<i32>));
        entries = rest;
    }
}

/// Of the first entry; `None` at the end.
fn length(entries: &[u8]) -> Option<usize> {
    let bytes = entries.get(LENGTH..LENGTH + 2)?;
    let length = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]);
    (length > 0).then_some(usize::from(length))
}
