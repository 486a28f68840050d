//! The start of a process that asks.

use crate::model::plan::{Place, Plan};
use crate::model::{Identity, InstanceId, Signal, SignalSet, SpawnError};
use crate::shell::launch::{Launcher, Strings};
use crate::sys::spawn::{self, Born, Launch};
use std::time::Duration;

/// Tells our own program to ask by HTTP; the URL and the milliseconds it has follow.
const ASK_HTTP: &str = "ask-http";

impl Launcher {
    /// A command with the worker's environment, directory and identity.
    pub fn asker(&self, plan: &Plan, instance: InstanceId, command: &[String]) -> Result<Born, SpawnError> {
        let program = plan.program(instance);
        let words = program.words_with(command, &plan.instance_name(instance));
        let environment = self.environment.for_probe(plan, instance, &words);
        self.start_asker(&Strings::new(&words, None, &environment)?, &program.identity)
    }

    /// Our own program, as whom we are.
    pub fn http_asker(&self, url: &str, timeout: Duration) -> Result<Born, SpawnError> {
        let strings = Strings::of_ourselves(&[ASK_HTTP, url, &timeout.as_millis().to_string()])?;
        self.start_asker(&strings, &Identity::default())
    }

    /// In a session of its own, so that all it starts can be found; it says nothing, and dies with us.
    fn start_asker(&self, strings: &Strings, identity: &Identity) -> Result<Born, SpawnError> {
        let identity = Identity { parent_death: Some(Signal::KILL), ..identity.clone() };
        spawn::spawn(&Launch {
            argv: &strings.argv,
            env: &strings.env,
            secrets: &strings.secrets,
            numbered: None,
            candidates: &strings.candidates,
            directory: strings.directory.as_deref(),
            ignore: SignalSet::EMPTY,
            block: SignalSet::EMPTY,
            identity: &identity,
            descriptors: &self.silence().map(Some),
            place: Place::Session,
            foreground: false,
            passage: None,
            group: None,
        })
    }
}
