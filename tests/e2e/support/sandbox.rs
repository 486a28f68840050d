//! A directory, a file and a mark of its own for each test.

use super::processes::{Process, marked, within};
use super::run::Launch;
use super::{send, until};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::Permissions;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Everything started in it bears `EXEUNT_TEST_ID=…` in its environment; what still lives when it is dropped is killed.
pub struct Sandbox {
    directory: TempDir,
    id: String,
}

impl Sandbox {
    /// With `exeunt.toml` holding `config`, in which `@PYTHON@` stands for the interpreter.
    pub fn new(config: &str) -> Sandbox {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix("exeunt-e2e-").tempdir().expect("a temporary directory");
        let sandbox = Sandbox { directory, id };
        sandbox.config(config);
        sandbox.file("worker.py", include_str!("../workers/worker.py"));
        sandbox.file("notify.py", include_str!("../workers/notify.py"));
        sandbox
    }

    pub fn config(&self, config: &str) {
        let python = super::python().unwrap_or("python3");
        self.file("exeunt.toml", &config.replace("@PYTHON@", python));
    }

    pub fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the temporary directory can be written");
    }

    /// A file that may be executed.
    pub fn program(&self, name: &str, text: &str) {
        self.file(name, text);
        self.executable(name);
    }

    pub fn executable(&self, name: &str) {
        fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).expect("the file is there");
    }

    /// For a run as another user: the directory, and a copy of exeunt in it, for the original may be where nobody else
    /// gets. `sh -c 'shift; exec ./exeunt "$@"' sh` as the last launcher starts that one.
    pub fn open_to_all(&self) {
        fs::set_permissions(self.directory(), Permissions::from_mode(0o777)).expect("the directory is ours");
        // By a process of its own: a descriptor of ours that writes it might be in a child of another test just now, and what
        // is being written cannot be executed.
        let copy = self.path("exeunt");
        let copied = super::runs(&["cp", env!("CARGO_BIN_EXE_exeunt"), copy.to_str().expect("UTF-8")]);
        assert!(copied, "there is room for a copy");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("the file is there");
    }

    /// Empty when it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }

    /// Until the file has a whole line that holds `needle`.
    pub fn wait_for_line(&self, name: &str, needle: &str) -> String {
        until(&format!("{needle:?} in {name}"), || {
            let text = self.read(name);
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.map(str::trim_end).find(|line| line.contains(needle)).map(str::to_owned)
        })
    }

    /// A FIFO that holds up whoever reads it until it is opened.
    pub fn gate(&self, name: &str) -> Gate {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO can be made");
        let writer = OpenOptions::new().read(true).write(true).open(&path).expect("the FIFO opens");
        Gate { path, _writer: writer }
    }

    pub fn launch(&self) -> Launch<'_> {
        Launch::new(self)
    }

    /// `NAME=VALUE`, as it stands in the environment.
    pub fn mark(&self) -> String {
        format!("EXEUNT_TEST_ID={}", self.id)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn assert_nobody_left(&self) {
        let left = self.alive();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// Until everybody has gone of their own accord.
    pub fn wait_until_empty(&self) {
        until("everybody to leave", || self.alive().is_empty().then_some(()));
    }

    /// Whoever bears the mark, or works in the directory.
    fn alive(&self) -> Vec<Process> {
        let mut alive = marked(&self.mark());
        alive.extend(within(self.directory()));
        alive
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.alive();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            left.iter().for_each(|process| send(process.pid, Signal::SIGKILL));
        }
    }
}

/// Held shut while it exists; see [`Sandbox::gate`].
pub struct Gate {
    path: PathBuf,
    _writer: File,
}

impl Gate {
    /// Lets everybody through who waits, and all who come later. The name goes first, then the last writer: whoever found
    /// the name has a writer to wait for.
    pub fn open(self) {
        fs::remove_file(&self.path).expect("the FIFO is there");
    }
}
