//! How a process is started, watched and stopped.

use crate::model::identity::Identity;
use crate::model::process::ExitStatus;
use crate::model::signal::{Signal, SignalSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a process is started, watched and stopped: what a worker and a command source have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Never empty; variables are expanded, but for the instance's name: see [`INSTANCE_MARK`].
    pub command: Vec<String>,
    pub working_directory: Option<PathBuf>,
    /// Set in the child, in this order; the last of equal names wins.
    pub env: Vec<(String, String)>,
    /// Start from an empty environment instead of exeunt's own.
    pub env_clear: bool,
    /// Variables whose values are read from files at each start; set after `env`.
    pub secrets: Vec<Secret>,
    pub identity: Identity,
    /// SIG_IGN in the child, kept over exec.
    pub ignore_signals: SignalSet,
    /// In the child's signal mask, kept over exec.
    pub block_signals: SignalSet,
    pub place: Place,
    pub log: Log,
    pub ladder: Vec<Rung>,
    pub kill_mode: KillMode,
    /// Exit codes that count as success; holds 0 unless the file says otherwise.
    pub success_exit_status: Vec<u8>,
}

/// Where a program stands among sessions, groups and terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A session of its own: no signal of a terminal reaches it.
    Session,
    /// A process group of its own in our session, in the foreground of our terminal. Where standard input is no terminal
    /// that controls us, a session of its own.
    Terminal,
    /// Our own session and process group.
    Beside,
}

/// A variable whose value nobody but the program shall see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    /// Holds the value and at most one line feed at its end; joined to the file's directory by the compiler.
    pub path: PathBuf,
}

/// Stands for the instance's name in the words of a program. No string of a file, of the environment or of the kernel can hold
/// it, so that it means nothing else.
pub const INSTANCE_MARK: char = '\0';

/// What a program is told, with the name of one instance in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub command: Vec<String>,
    pub working_directory: Option<PathBuf>,
    pub env: Vec<(String, String)>,
    pub secrets: Vec<Secret>,
}

/// One rung of a stop ladder. KILL always follows the last and is not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub step: Step,
    /// Until the next rung.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Event,
    Signal(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMode {
    /// Signals to the leader, survivors and KILL to all members.
    Mixed,
    /// All to all members.
    Group,
    /// The leader only.
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Inherit,
    Null,
}

impl Program {
    /// A program with nothing said about it: no ladder, so that KILL is its only rung.
    pub fn plain(command: Vec<String>) -> Program {
        Program {
            command,
            working_directory: None,
            env: Vec::new(),
            env_clear: false,
            secrets: Vec::new(),
            identity: Identity::default(),
            ignore_signals: SignalSet::EMPTY,
            block_signals: SignalSet::EMPTY,
            place: Place::Session,
            log: Log::Inherit,
            ladder: Vec::new(),
            kill_mode: KillMode::Mixed,
            success_exit_status: vec![0],
        }
    }

    /// What the instance of this name is told.
    pub fn words(&self, instance: &str) -> Words {
        self.words_with(&self.command, instance)
    }

    /// What a probe of the instance of this name is told: all that the program is, but for its own command.
    pub fn words_with(&self, command: &[String], instance: &str) -> Words {
        let text = |text: &String| text.replace(INSTANCE_MARK, instance);
        let path = |path: &PathBuf| named_path(path, instance);
        let secret = |secret: &Secret| Secret { name: secret.name.clone(), path: path(&secret.path) };
        Words {
            command: command.iter().map(text).collect(),
            working_directory: self.working_directory.as_ref().map(path),
            env: self.env.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            secrets: self.secrets.iter().map(secret).collect(),
        }
    }

    /// Whether each instance is told something of its own.
    pub fn differs_by_instance(&self) -> bool {
        self.words("") != self.words("x")
    }

    /// Whether a program that ended by itself like this ended well.
    pub fn is_success(&self, status: ExitStatus) -> bool {
        matches!(status, ExitStatus::Exited(code) if self.success_exit_status.contains(&code))
    }

    /// All waits of the ladder: how long after its beginning KILL comes.
    pub fn ladder_time(&self) -> Duration {
        self.ladder.iter().map(|rung| rung.wait).sum()
    }

    pub fn has_event_rung(&self) -> bool {
        self.ladder.iter().any(|rung| rung.step == Step::Event)
    }

    /// The wait of the last rung that is a signal; the default of a stop, 3 s, where there is none.
    pub fn last_signal_wait(&self) -> Duration {
        let mut signals = self.ladder.iter().rev().filter(|rung| rung.step != Step::Event);
        signals.next().map_or(Duration::from_secs(3), |rung| rung.wait)
    }
}

fn named_path(path: &Path, instance: &str) -> PathBuf {
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace(INSTANCE_MARK, instance)),
        // The part that is no text came from the file's own directory, and each component is text or is not.
        None => path
            .iter()
            .map(|part| match part.to_str() {
                Some(text) => text.replace(INSTANCE_MARK, instance).into(),
                None => part.to_owned(),
            })
            .collect(),
    }
}
