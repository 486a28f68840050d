//! Printing that may fail. std's macros panic on a closed descriptor; here nobody is left who would want to know.

use std::io::Write;

/// To standard output, as it is.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// What [`err`] would write, for who writes it later.
pub fn for_err(text: &str) -> String {
    match anstream::AutoStream::choice(&std::io::stderr()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
            text.to_owned()
        }
    }
}

/// To standard error; colours are taken out where nobody sees them.
pub fn err(text: &str) {
    let mut stderr = anstream::AutoStream::auto(std::io::stderr().lock());
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
