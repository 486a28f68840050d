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
        // From the first moment on closed by exec: a program that another test starts just then would hold the terminal for as
        // long as it lives, and it would never hang up.
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: posix_openpt takes flags.
        let master = told(unsafe { libc::posix_openpt(flags) });
        // SAFETY: each takes a descriptor, and the last one flags for the new one besides (ioctl_tty(2)).
        let child_side = unsafe {
            told(libc::grantpt(master));
            told(libc::unlockpt(master));
            told(libc::ioctl(master, libc::TIOCGPTPEER, flags))
        };
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
            // Tests inherit HUP as ignored from nohup(1), INT and QUIT from a shell that starts them in the background.
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
                // SAFETY: the default disposition is no function of ours.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            // SAFETY: the descriptor is open until exec, and TIOCSCTTY takes an integer.
            if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: the closure makes a few system calls and allocates nothing.
        unsafe { command.pre_exec(take) };
    }
}

/// The result of a system call, which here never fails.
fn told(result: i32) -> i32 {
    assert!(result >= 0, "a pseudo-terminal: {}", io::Error::last_os_error());
    result
}
