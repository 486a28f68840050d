//! The start of a process that asks.

use super::book::Asker;
use crate::model::plan::{Place, Plan};
use crate::model::{Identity, InstanceId, Signal, SignalSet, SpawnError};
use crate::shell::launch::{Launcher, Strings, prepare};
use crate::sys::fds::{self, Pipe};
use crate::sys::spawn::{self, Launch};
use std::os::fd::AsFd;
use std::time::Duration;

/// Tells our own program to ask by HTTP; the URL and the milliseconds it has follow.
const ASK_HTTP: &str = "ask-http";

impl Launcher {
    /// A command with the worker's environment, directory and identity.
    pub fn asker(&self, plan: &Plan, instance: InstanceId, command: &[String]) -> Result<Asker, SpawnError> {
        let program = plan.program(instance);
        let words = program.words_with(command, &plan.instance_name(instance));
        let environment = self.environment.for_probe(plan, instance, &words)?;
        self.start_asker(plan, instance, &Strings::new(&words, None, environment)?, &program.identity, None)
    }

    /// Our own program, as whom we are.
    pub fn http_asker(
        &self,
        plan: &Plan,
        instance: InstanceId,
        url: &str,
        timeout: Duration,
    ) -> Result<Asker, SpawnError> {
        let strings = Strings::of_ourselves(&[ASK_HTTP, url, &timeout.as_millis().to_string()])?;
        let answer = fds::pipe().map_err(prepare)?;
        fds::set_nonblocking(answer.read.as_fd()).map_err(prepare)?;
        self.start_asker(plan, instance, &strings, &Identity::default(), Some(answer))
    }

    /// In a session of its own, so that all it starts can be found; it dies with us. Its standard output is the pipe `answer`,
    /// or nothing.
    fn start_asker(
        &self,
        plan: &Plan,
        instance: InstanceId,
        strings: &Strings,
        identity: &Identity,
        answer: Option<Pipe>,
    ) -> Result<Asker, SpawnError> {
        let identity = Identity { parent_death: Some(Signal::KILL), ..identity.clone() };
        let group = self.group(&format!("{}-probe", plan.instance_name(instance)));
        let door = group.as_ref().and_then(|group| group.open().ok());
        let mut descriptors = self.silence().map(Some);
        if let (Some(out), Some(pipe)) = (descriptors.get_mut(1), &answer) {
            *out = Some(pipe.write.as_fd());
        }
        let born = spawn::spawn(&Launch {
            argv: &strings.argv,
            env: &strings.env,
            secrets: &strings.secrets,
            numbered: &[],
            own: None,
            candidates: &strings.candidates,
            directory: strings.directory.as_deref(),
            ignore: SignalSet::EMPTY,
            block: SignalSet::EMPTY,
            identity: &identity,
            descriptors: &descriptors,
            place: Place::Session,
            foreground: false,
            passage: None,
            group: door.as_ref().map(AsFd::as_fd),
        })?;
        let group = group.filter(|_| born.grouped);
        Ok(Asker { pid: born.pid, pidfd: born.pidfd, report: born.report, answer: answer.map(|pipe| pipe.read), group })
    }
}
