//! Printing that may fail. std's macros panic on a closed descriptor; here nobody is left who would want to know.

use std::io::Write;

/// To standard output, as it is.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// To standard error; colours are taken out where nobody sees them.
pub fn err(text: &str) {
    let mut stderr = anstream::AutoStream::auto(std::io::stderr().lock());
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
