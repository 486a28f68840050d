//! Values that only a program shall see. The child itself reads each file, into a place in its environment that was made
//! before the fork: no other process ever holds the value, and a file system that does not answer keeps nobody but the child.

use super::file_user::FileUser;
use super::open::{self, How};
use super::raw::check;
use crate::model::Stage;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// What execve(2) takes of one string, its NUL included (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 * 1024;

/// A variable whose value is the content of a file.
#[derive(Clone, Debug)]
pub struct FileVariable {
    pub name: CString,
    pub path: CString,
}

/// Reads the value as a start of a program of this user would, and forgets it: whether one would do so now.
///
/// # Errors
///
/// As a start has them: of [`open`](open::open) and read(2); EISDIR, and EINVAL for what is no regular file otherwise; EILSEQ for
/// a NUL, which no variable can hold; E2BIG for more than a variable can hold.
pub fn try_out(variable: &FileVariable, user: Option<&FileUser>) -> io::Result<()> {
    let mut slot = Slot::new(variable)?;
    let told = slot.fill(user);
    slot.bytes.fill(0);
    // So that the compiler does not leave that out.
    std::hint::black_box(&slot.bytes);
    told
}

/// What an error number says of such a file, where it says more than elsewhere.
pub fn reason(errno: i32) -> Option<&'static str> {
    match errno {
        libc::EINVAL => Some("it is no regular file"),
        libc::EILSEQ => Some("there is a NUL in it, which no variable can hold"),
        libc::ELOOP => Some("it is a link in a directory where others may write, or it leads through too many links"),
        libc::E2BIG => Some("it is longer than a variable can be (128 KiB with its name)"),
        _ => None,
    }
}

/// `NAME=`, and room for the value.
pub(super) struct Slot<'a> {
    path: &'a CStr,
    /// One byte more than the kernel takes, for the line feed that is cut.
    bytes: Vec<u8>,
    /// Where the value begins.
    begin: usize,
}

impl<'a> Slot<'a> {
    /// E2BIG for a name that leaves no room.
    pub fn new(variable: &'a FileVariable) -> io::Result<Slot<'a>> {
        let name = variable.name.to_bytes();
        let begin = name.len() + 1;
        // Zeros that the kernel hands out lazily: nothing is touched but what is written.
        let mut bytes = vec![0; LONGEST + 1];
        let prefix = bytes.get_mut(..begin).filter(|_| begin < LONGEST);
        let prefix = prefix.ok_or_else(|| io::Error::from_raw_os_error(libc::E2BIG))?;
        prefix.iter_mut().zip(name.iter().chain(b"=")).for_each(|(place, &byte)| *place = byte);
        Ok(Slot { path: &variable.path, bytes, begin })
    }

    /// Stays right when the slot is moved, and when it is filled.
    pub fn pointer(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// In a forked child: reads the value, cuts one line feed at its end and closes it with a NUL.
    ///
    /// The errors are those of [`try_out`]. What is no regular file could keep us waiting for ever.
    fn fill(&mut self, user: Option<&FileUser>) -> io::Result<()> {
        let file = open::open_name(self.path, How::read(), user)?;
        let length = self.read(&file)?;
        let value = self.bytes.get(self.begin..self.begin + length).unwrap_or_default();
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let end = self.begin + value.len();
        if value.contains(&0) {
            return Err(io::Error::from_raw_os_error(libc::EILSEQ));
        }
        match self.bytes.get_mut(end).filter(|_| end < LONGEST) {
            Some(last) => *last = 0,
            None => return Err(io::Error::from_raw_os_error(libc::E2BIG)),
        }
        Ok(())
    }

    /// As much as there is room for; answers how much it was.
    fn read(&mut self, file: &OwnedFd) -> io::Result<usize> {
        let room = self.bytes.get_mut(self.begin..).unwrap_or_default();
        let mut length = 0;
        loop {
            let rest = room.get_mut(length..).unwrap_or_default();
            // SAFETY: the kernel writes at most `len` bytes into memory that is ours.
            match check(unsafe { libc::read(file.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) }) {
                Ok(0) => return Ok(length),
                Ok(count) => length += usize::try_from(count).unwrap_or(0),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// In a forked child. `user` is the one that the program runs as, if that is not our own. Answers the number of the first that
/// could not be read.
pub(super) fn fill(slots: &mut [Slot], user: Option<&FileUser>) -> Result<(), (Stage, io::Error)> {
    for (slot, number) in slots.iter_mut().zip(0u16..) {
        slot.fill(user).map_err(|error| (Stage::Secret(number), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn value(path: &Path) -> Result<Vec<u8>, i32> {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let variable = FileVariable { name: c"TOKEN".to_owned(), path };
        let mut slot = Slot::new(&variable).unwrap();
        slot.fill(None).map_err(|error| error.raw_os_error().unwrap())?;
        let text = CStr::from_bytes_until_nul(&slot.bytes).unwrap().to_bytes();
        Ok(text.strip_prefix(b"TOKEN=").unwrap().to_vec())
    }

    #[test]
    fn one_line_feed_is_cut_and_no_more() {
        let made = tempfile::tempdir().unwrap();
        let path = made.path().join("secret");
        let value = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            value(&path)
        };
        assert_eq!(value(b"x\n"), Ok(b"x".to_vec()));
        assert_eq!(value(b"x"), Ok(b"x".to_vec()));
        assert_eq!(value(b" x\r\n\n"), Ok(b" x\r\n".to_vec()));
        assert_eq!(value(b""), Ok(vec![]));
        assert_eq!(value(b"\xff\n"), Ok(vec![0xff]));
        assert_eq!(value(b"a\0b"), Err(libc::EILSEQ));
        let most = LONGEST - "TOKEN=".len() - 1;
        assert_eq!(value(&vec![b'x'; most]), Ok(vec![b'x'; most]));
        assert_eq!(value(&[vec![b'x'; most], vec![b'\n']].concat()), Ok(vec![b'x'; most]));
        for more in [1, 2, 3, 100_000] {
            assert_eq!(value(&vec![b'x'; most + more]), Err(libc::E2BIG), "{more}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let made = tempfile::tempdir().unwrap();
        assert_eq!(value(&made.path().join("missing")), Err(libc::ENOENT));
        assert_eq!(value(made.path()), Err(libc::EISDIR));
        let fifo = made.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(value(&fifo), Err(libc::EINVAL));
        assert_eq!(value(Path::new("/dev/zero")), Err(libc::EINVAL));
    }
}
