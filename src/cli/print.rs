//! Printing that may fail. std's macros panic on a closed descriptor; here nobody is left who would want to know.

use crate::model::printable::printable_lines;
use crate::sys::threads;
use std::io::Write;

/// Lines to standard output. What is not printable is escaped.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(printable_lines(text).as_bytes()).and_then(|()| stdout.flush());
}

/// Lines to standard error. What is not printable is escaped.
pub fn plain_err(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(printable_lines(text).as_bytes()).and_then(|()| stderr.flush());
}

/// As [`plain_err`], for the last words of a process that is about to leave. A run has all signals blocked until its loop stands;
/// they are let through here, so that a reader who does not read cannot hold it up for ever.
pub fn last_plain_err(text: &str) {
    threads::unblock_all_signals();
    plain_err(text);
}

/// As [`err`], for the last words of a process that is about to leave.
pub fn last_err(text: &str) {
    threads::unblock_all_signals();
    err(text);
}

/// Text with colours, which must be printable but for them, to standard error; they are taken out where nobody sees them.
pub fn err(text: &str) {
    let mut stderr = anstream::AutoStream::auto(std::io::stderr().lock());
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
