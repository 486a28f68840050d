//! Runs of the program that is measured.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// This program, to be started again in another role.
pub fn own_path() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// The program that is measured: the one that was built with these benches, or another that `EXEUNT_BENCHED` names, for example
/// one without shared libraries.
pub fn program() -> PathBuf {
    std::env::var_os("EXEUNT_BENCHED").map_or_else(|| env!("CARGO_BIN_EXE_exeunt").into(), PathBuf::from)
}

/// `["PROGRAM", "WORD", …]` for a file: this program in a role.
pub fn own_command(words: &[&str]) -> String {
    let words: Vec<String> = std::iter::once(own_path().display().to_string())
        .chain(words.iter().map(|word| (*word).to_owned()))
        .map(|word| format!("{word:?}"))
        .collect();
    format!("[{}]", words.join(", "))
}

/// One `exeunt run`, from its start to its end.
pub struct Run {
    child: Child,
    pub stdout: ChildStdout,
    directory: TempDir,
}

impl Run {
    /// What it says goes to a file, and is shown when it fails.
    pub fn start(toml: &str, stdin: Stdio) -> Run {
        let directory = tempfile::tempdir().expect("a directory for the file");
        let file = directory.path().join("bench.toml");
        fs::write(&file, toml).expect("the file");
        let stderr = File::create(directory.path().join("stderr")).expect("a file for stderr");
        let mut command = Command::new(program());
        command.arg("run").arg(&file).stdin(stdin).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("exeunt starts");
        let stdout = child.stdout.take().expect("it is a pipe");
        Run { child, stdout, directory }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Reads exactly so many bytes of what its programs say.
    pub fn hear(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        if self.stdout.read_exact(&mut heard).is_err() {
            panic!("exeunt ended early:\n{}", self.words());
        }
        heard
    }

    /// Waits for its end, which must be a good one.
    pub fn end(mut self) -> String {
        let mut heard = String::new();
        self.stdout.read_to_string(&mut heard).expect("stdout");
        let status: ExitStatus = self.child.wait().expect("wait");
        assert!(status.success(), "exeunt ended with {status}:\n{}", self.words());
        heard
    }

    pub fn stop(self) {
        kill(self.pid(), Signal::SIGTERM).expect("TERM");
        self.end();
    }

    /// What it said on stderr.
    pub fn words(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }
}

/// Lets a run come to rest before something is looked at that is quiet by itself.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}
