//! Starting exeunt, speaking to it, and waiting for its end.

use super::lines::{Lines, Silence};
use super::outcome::{Outcome, tail};
use super::pty::Terminal;
use super::sandbox::Sandbox;
use super::seccomp::{Hanging, LOCKS, NEW_CALLS, THREADS, hang, refuse};
use super::{PATIENCE, children, send, until};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

/// How a run is to be started.
pub struct Launch<'a> {
    sandbox: &'a Sandbox,
    under: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    input: Input,
    terminal: bool,
    unread: bool,
    /// What each of these system calls answers.
    refused: Option<(i32, &'static [libc::c_long])>,
    hanging: Vec<Hanging>,
    /// Another name of the program, or another program.
    program: Option<OsString>,
}

enum Input {
    Null,
    Terminal,
    Text(String),
    Pipe,
    File(String),
}

impl<'a> Launch<'a> {
    pub fn new(sandbox: &'a Sandbox) -> Launch<'a> {
        let (under, environment) = (Vec::new(), Vec::new());
        let arguments = vec!["run".into()];
        Launch {
            sandbox,
            under,
            arguments,
            environment,
            input: Input::Null,
            terminal: false,
            unread: false,
            refused: None,
            hanging: Vec::new(),
            program: None,
        }
    }

    /// Instead of `run`.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(OsString::from).collect();
        self
    }

    /// `exeunt init`, and what follows.
    pub fn init(self, arguments: &[&str]) -> Self {
        let words: Vec<&str> = ["init"].iter().chain(arguments).copied().collect();
        self.arguments(&words)
    }

    /// Called by another name, that of a symbolic link.
    pub fn called(mut self, name: &str) -> Self {
        let link = self.sandbox.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_exeunt"), &link).expect("a link can be made");
        self.program = Some(link.into());
        self
    }

    /// Something else in the place of exeunt.
    pub fn program(mut self, name: &str) -> Self {
        self.program = Some(name.into());
        self
    }

    /// In a sandbox that answers newer system calls with this errno.
    pub fn refusing_new_calls(mut self, errno: i32) -> Self {
        self.refused = Some((errno, &NEW_CALLS));
        self
    }

    /// Where every wish for a thread is answered with this errno, and a fork into a control group too.
    pub fn refusing_threads(mut self, errno: i32) -> Self {
        self.refused = Some((errno, &THREADS));
        self
    }

    /// On a file system that has gone: each of these calls hangs until the process is killed.
    pub fn hanging(mut self, calls: &[Hanging]) -> Self {
        self.hanging = calls.to_vec();
        self
    }

    /// Where every wish for a lock of a file is answered with this errno.
    pub fn refusing_locks(mut self, errno: i32) -> Self {
        self.refused = Some((errno, &LOCKS));
        self
    }

    pub fn report_json(self) -> Self {
        self.arguments(&["run", "--report", "json"])
    }

    /// The program that starts exeunt, which comes behind its arguments.
    pub fn under(mut self, launcher: &[&str]) -> Self {
        self.under = launcher.iter().map(OsString::from).collect();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn stdin_text(mut self, text: impl Into<String>) -> Self {
        self.input = Input::Text(text.into());
        self
    }

    pub fn stdin_items<S: AsRef<str>>(self, items: &[S]) -> Self {
        self.stdin_text(super::text(items))
    }

    /// Held open by the test, which writes to `Run::stdin`.
    pub fn stdin_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    pub fn stdin_file(mut self, name: &str) -> Self {
        self.input = Input::File(name.into());
        self
    }

    /// Leading a session with a terminal: `Run::type_keys`.
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// The same, with the terminal as standard input.
    pub fn reading_terminal(mut self) -> Self {
        self.input = Input::Terminal;
        self.on_terminal()
    }

    /// A pipe on stdout that nobody reads: `Run::stdout_pipe`.
    pub fn stdout_unread(mut self) -> Self {
        self.unread = true;
        self
    }

    pub fn start(self) -> Run<'a> {
        let mut words = self.under;
        words.push(self.program.unwrap_or_else(|| env!("CARGO_BIN_EXE_exeunt").into()));
        words.extend(self.arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.sandbox.directory());
        command.env("EXEUNT_TEST_ID", self.sandbox.id()).envs(self.environment);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let terminal = self.terminal.then(Terminal::open);
        command.stdin(match &self.input {
            Input::Null => Stdio::null(),
            Input::Terminal => terminal.as_ref().map_or_else(Stdio::null, Terminal::as_stdin),
            Input::Text(_) | Input::Pipe => Stdio::piped(),
            Input::File(name) => File::open(self.sandbox.path(name)).expect("the file of stdin is there").into(),
        });
        terminal.iter().for_each(|terminal| terminal.control(&mut command));
        self.refused.iter().for_each(|&(errno, calls)| refuse(&mut command, errno, calls));
        if !self.hanging.is_empty() {
            hang(&mut command, &self.hanging);
        }
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take();
        if let Input::Text(text) = self.input {
            let mut pipe = stdin.take().expect("stdin is a pipe");
            // A run that ends early does not read it all.
            std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        }
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (stdout, stdout_pipe) = if self.unread { (Lines::none(), Some(stdout)) } else { (Lines::of(stdout), None) };
        let stderr = Lines::of(child.stderr.take().expect("stderr is a pipe"));
        Run { sandbox: self.sandbox, child, stdin, stdout, stdout_pipe, stderr, terminal }
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.start().finish()
    }
}

/// A run under way. Dropping it kills it; its sandbox kills the rest.
pub struct Run<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    pub stdin: Option<ChildStdin>,
    stdout: Lines,
    pub stdout_pipe: Option<ChildStdout>,
    stderr: Lines,
    terminal: Option<Terminal>,
}

impl Run<'_> {
    /// Of what was started: of the launcher, if there is one that does not become exeunt.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is a small number")
    }

    /// Of the only child of the launcher.
    pub fn inner_pid(&self) -> i32 {
        until("the launcher's child", || children(self.pid()).first().copied())
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Until a line on stderr begins with `word`. There exeunt itself speaks too, but never without its name in front.
    #[track_caller]
    pub fn wait_for_line(&self, word: &str) -> String {
        self.wait_for_lines(word, 1)
    }

    /// Until `count` lines on stderr begin with `word`; the last of them.
    #[track_caller]
    pub fn wait_for_lines(&self, word: &str, count: usize) -> String {
        let found = self.stderr.wait_for(word, count, Instant::now() + PATIENCE);
        found.unwrap_or_else(|silence| self.vain(&format!("{count} x {word:?}"), &silence))
    }

    /// Until a line on stderr holds `needle`: what a shell says stands behind its prompts.
    #[track_caller]
    pub fn wait_for_line_with(&self, needle: &str) -> String {
        let found = self.stderr.wait_for_new(needle, Instant::now() + PATIENCE);
        found.unwrap_or_else(|silence| self.vain(&format!("{needle:?}"), &silence))
    }

    /// Until `count` lines on stderr hold `words`: for what exeunt itself says.
    #[track_caller]
    pub fn wait_for_words(&self, words: &str, count: usize) {
        let found = self.stderr.wait_for_words(words, count, Instant::now() + PATIENCE);
        found.unwrap_or_else(|silence| self.vain(&format!("{count} x {words:?}"), &silence));
    }

    /// Until so many results are on stdout. False if it ended before.
    pub fn wait_for_results(&self, count: usize) -> bool {
        match self.stdout.wait_for_count(count, Instant::now() + PATIENCE) {
            Ok(()) => true,
            Err(Silence::Ended) => false,
            Err(silence @ Silence::TimedOut) => self.vain(&format!("{count} results"), &silence),
        }
    }

    /// Writes items to stdin, which is a pipe.
    pub fn feed<S: AsRef<str>>(&mut self, items: &[S]) {
        let pipe = self.stdin.as_mut().expect("stdin is a pipe that is open");
        pipe.write_all(super::text(items).as_bytes()).expect("stdin is read");
    }

    pub fn type_keys(&mut self, keys: &[u8]) {
        let terminal = self.terminal.as_mut().expect("the run is on a terminal");
        terminal.keyboard.write_all(keys).expect("the terminal takes keys");
    }

    /// All that the terminal shows from now on.
    pub fn screen(&self) -> Lines {
        let terminal = self.terminal.as_ref().expect("the run is on a terminal");
        Lines::of(terminal.keyboard.try_clone().expect("a descriptor can be copied"))
    }

    pub fn hang_up(&mut self) {
        self.terminal = None;
    }

    /// Waits for the end, and checks that nobody is left behind.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        let sandbox = self.sandbox;
        let outcome = self.finish_alone();
        sandbox.assert_nobody_left();
        outcome
    }

    /// Waits for the end of exeunt only.
    #[track_caller]
    pub fn finish_alone(mut self) -> Outcome {
        drop(self.stdin.take());
        let status = self.wait();
        let deadline = Instant::now() + PATIENCE;
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.wait_for_end(deadline) {
                let left = super::marked(&self.sandbox.mark());
                panic!("it left, but somebody holds its {name}: {left:#?}\n{}", self.heard());
            }
        }
        Outcome {
            code: status.code().or(status.signal().map(|signal| 128 + signal)).expect("it ended"),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            leftovers: self.sandbox.lines("left.txt"),
            dead: self.dead_letters(),
        }
    }

    /// Waits for the end of exeunt, whoever still holds its pipes.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > deadline {
                let left = super::marked(&self.sandbox.mark());
                panic!("it does not end; alive: {left:#?}\n{}", self.heard());
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn dead_letters(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.sandbox.path("left.txt.dead")).unwrap_or_default();
        let letter = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        text.lines().map(letter).collect()
    }

    fn heard(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", tail(&self.stdout.text()), tail(&self.stderr.text()))
    }

    #[track_caller]
    fn vain(&self, what: &str, silence: &Silence) -> ! {
        panic!("waited in vain for {what} ({silence:?})\n{}", self.heard())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
