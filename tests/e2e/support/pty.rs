//! A terminal of its own: the child leads a new session, and its group is the terminal's foreground group.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub struct Terminal {
    /// What the keyboard is to a person. Dropping it hangs up.
    pub keyboard: File,
    child_side: OwnedFd,
}

impl Terminal {
    pub fn open() -> Terminal {
        let (mut master, mut child_side) = (-1, -1);
        // SAFETY: both out-pointers are live integers; name, settings and size may be null (openpty(3)).
        let result = unsafe {
            libc::openpty(&mut master, &mut child_side, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
        };
        assert_eq!(result, 0, "openpty: {}", io::Error::last_os_error());
        for fd in [master, child_side] {
            // SAFETY: the descriptor was opened above and is ours.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: both descriptors were opened above and have no other owner.
        unsafe { Terminal { keyboard: File::from_raw_fd(master), child_side: OwnedFd::from_raw_fd(child_side) } }
    }

    pub fn as_stdin(&self) -> Stdio {
        self.child_side.try_clone().expect("a descriptor can be copied").into()
    }

    /// Makes the command's process the leader of a session that this terminal controls.
    pub fn control(&self, command: &mut Command) {
        let terminal = self.child_side.as_raw_fd();
        let take = move || {
            // SAFETY: setsid takes no arguments and is async-signal-safe.
            if unsafe { libc::setsid() } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is open until exec, and TIOCSCTTY takes an integer.
            if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(take) };
    }
}
