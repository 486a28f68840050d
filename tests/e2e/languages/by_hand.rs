//! A worker without exeunt: the test holds the other ends of its three pipes.

use super::table::Language;
use crate::support::{Lines, PATIENCE, Sandbox, until};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

pub struct ByHand<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    items: Option<File>,
    exit: Option<ChildStdin>,
    stderr: Lines,
}

impl<'a> ByHand<'a> {
    /// In the sandbox's directory, as exeunt would start it. Its items come through a FIFO there, its replies go into a file.
    pub fn start(sandbox: &'a Sandbox, language: &Language) -> ByHand<'a> {
        nix::unistd::mkfifo(&sandbox.path("items"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO can be made");
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<items 4>replies 5<&0 </dev/null"#, "sh"]).args(language.command());
        command.current_dir(sandbox.directory()).env("EXEUNT_TEST_ID", sandbox.id());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sh starts");
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let items = OpenOptions::new().write(true).open(sandbox.path("items")).expect("the worker opens its items");
        let exit = child.stdin.take();
        ByHand { sandbox, child, items: Some(items), exit, stderr }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.items.as_mut().expect("the items have not ended").write_all(bytes).expect("a pipe has room");
    }

    /// Until the worker has read all that was sent.
    pub fn wait_until_read(&self) {
        let items = self.items.as_ref().expect("the items have not ended");
        until("the worker to read", || (unread(items) == 0).then_some(()));
    }

    pub fn end_items(&mut self) {
        self.items = None;
    }

    /// The exit event, as exeunt brings it.
    pub fn tell(&mut self) {
        let mut exit = self.exit.take().expect("told once");
        exit.write_all(b"stop requested 5000\n").expect("a pipe has room");
    }

    pub fn wait_for_line(&self, word: &str) {
        let heard = self.stderr.wait_for(word, 1, Instant::now() + PATIENCE);
        heard.unwrap_or_else(|silence| panic!("no {word:?} ({silence:?}): {}", self.stderr.text()));
    }

    /// Until it has left of its own accord; with what it replied, and what it said on stderr.
    pub fn wait(mut self) -> (String, String) {
        let status = until("the worker to leave", || self.child.try_wait().expect("it is our child"));
        assert!(self.stderr.wait_for_end(Instant::now() + PATIENCE), "nobody holds its stderr");
        assert!(status.success(), "{status}: {}", self.stderr.text());
        (self.sandbox.read("replies"), self.stderr.text())
    }
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many bytes lie in a pipe.
pub fn unread(pipe: &File) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: an open descriptor, and FIONREAD fills in a live int.
    assert_eq!(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut count) }, 0);
    usize::try_from(count).expect("a count")
}
