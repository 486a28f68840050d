//! Values that only a program shall see. They pass from a file to its environment, and nothing else ever holds them.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// execve(2) passes no longer string: `MAX_ARG_STRLEN`.
const LONGEST: u64 = 128 * 1024;

/// The content of a file, without the one line feed that editors and `echo` leave at its end.
///
/// # Errors
///
/// The errno: of opening and reading; EINVAL for what is no regular file, which could keep us waiting, and for a NUL, which no
/// variable can hold; E2BIG for more than a variable can hold.
pub fn read(path: &Path) -> Result<Vec<u8>, i32> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    // O_NONBLOCK, so that nobody has to open the other end of a FIFO; it means nothing to a regular file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(errno)?;
    let kind = file.metadata().map_err(errno)?.file_type();
    if !kind.is_file() {
        return Err(if kind.is_dir() { libc::EISDIR } else { libc::EINVAL });
    }
    let mut value = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut value).map_err(errno)?;
    if value.len() as u64 > LONGEST {
        return Err(libc::E2BIG);
    }
    if value.ends_with(b"\n") {
        value.pop();
    }
    if value.contains(&0) { Err(libc::EINVAL) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_feed_is_cut_and_no_more() {
        let made = tempfile::tempdir().unwrap();
        let path = made.path().join("secret");
        let value = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path)
        };
        assert_eq!(value(b"x\n"), Ok(b"x".to_vec()));
        assert_eq!(value(b"x"), Ok(b"x".to_vec()));
        assert_eq!(value(b" x\r\n\n"), Ok(b" x\r\n".to_vec()));
        assert_eq!(value(b""), Ok(vec![]));
        assert_eq!(value(b"\xff\n"), Ok(vec![0xff]));
        assert_eq!(value(b"a\0b"), Err(libc::EINVAL));
        assert_eq!(value(&[b'x'; 128 * 1024 + 1]), Err(libc::E2BIG));
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let made = tempfile::tempdir().unwrap();
        assert_eq!(read(&made.path().join("missing")), Err(2));
        assert_eq!(read(made.path()), Err(libc::EISDIR));
        let fifo = made.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(read(&fifo), Err(libc::EINVAL));
        assert_eq!(read(Path::new("/dev/zero")), Err(libc::EINVAL));
    }
}
