//! The environment of a child: ours where the file does not clear it, what we tell it, what the file says.

use crate::model::plan::{Plan, Program, Ready, Role, Words};
use crate::model::{InstanceId, SpawnError, Stage};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// Names that we give to children. Those of an exeunt or a systemd above us mean nothing to ours and are not passed on.
const OWN_NAMES: [&str; 11] = [
    "EXEUNT_ITEM_FD",
    "EXEUNT_REPLY_FD",
    "EXEUNT_EXIT_FD",
    "EXEUNT_QUEUE",
    "EXEUNT_WORKER",
    "EXEUNT_INSTANCE",
    "EXEUNT_PREFETCH",
    "EXEUNT_READY_FD",
    NOTIFY_SOCKET,
    WATCHDOG_USEC,
    WATCHDOG_PID,
];
/// Those of [`OWN_NAMES`] that stand for something of one process, and mean nothing to a probe that asks after it.
const PERSONAL: [&str; 7] = [
    "EXEUNT_ITEM_FD",
    "EXEUNT_REPLY_FD",
    "EXEUNT_EXIT_FD",
    "EXEUNT_READY_FD",
    NOTIFY_SOCKET,
    WATCHDOG_USEC,
    WATCHDOG_PID,
];
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// Where the numbers are the same on every Linux.
const EINVAL: i32 = 22;

/// Names and values in order; each name once.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    pub fn inherited() -> Environment {
        let mut environment = Environment::ours();
        environment.remove(&OWN_NAMES);
        environment
    }

    pub fn ours() -> Environment {
        Environment(std::env::vars_os().collect())
    }

    /// As it is; only who asked for an exit event is told where it is.
    pub fn for_program(&self, program: &Program) -> Environment {
        let mut environment = self.clone();
        if program.has_event_rung() {
            environment.set("EXEUNT_EXIT_FD", "5");
        }
        environment
    }

    /// For a probe of this instance: what its worker has, but for what is the worker's alone.
    pub fn for_probe(&self, plan: &Plan, instance: InstanceId, words: &Words) -> Environment {
        let mut environment = self.for_child(plan, instance, words, None);
        environment.remove(&PERSONAL);
        environment
    }

    /// Ours where the file does not clear it, then what we tell the child, then what the file says. Secrets are for the child
    /// to read. `notify`: the address of the socket that it tells of itself on.
    pub fn for_child(&self, plan: &Plan, instance: InstanceId, words: &Words, notify: Option<&str>) -> Environment {
        let program = plan.program(instance);
        let mut environment = if program.env_clear { Environment::default() } else { self.clone() };
        environment.set("PYTHONUNBUFFERED", "1");
        environment.set("EXEUNT_INSTANCE", plan.instance_name(instance));
        if let Role::Worker { worker, .. } = plan.role(instance) {
            environment.set("EXEUNT_WORKER", &plan.worker(worker).name);
        }
        let consumer = plan.consumer(instance);
        if let Some(consumer) = consumer {
            environment.set("EXEUNT_ITEM_FD", "3");
            environment.set("EXEUNT_REPLY_FD", "4");
            environment.set("EXEUNT_QUEUE", &plan.queue(consumer.queue).name);
            environment.set("EXEUNT_PREFETCH", consumer.prefetch.to_string());
        }
        if consumer.is_some() || program.has_event_rung() {
            environment.set("EXEUNT_EXIT_FD", "5");
        }
        if let Some(Ready::Fd(number)) = ready(plan, instance) {
            environment.set("EXEUNT_READY_FD", number.to_string());
        }
        if let Some(address) = notify {
            environment.set(NOTIFY_SOCKET, address);
        }
        if let Some(watchdog) = watchdog(plan, instance) {
            environment.set(WATCHDOG_USEC, watchdog.as_micros().to_string());
        }
        words.env.iter().for_each(|(name, value)| environment.set(name, value));
        words.secrets.iter().for_each(|secret| environment.0.retain(|(name, _)| *name != *secret.name));
        environment
    }

    fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    fn remove(&mut self, names: &[&str]) {
        self.0.retain(|(name, _)| !names.iter().any(|unwanted| name == *unwanted));
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    pub fn to_strings(&self) -> Result<Vec<CString>, SpawnError> {
        let join = |(name, value): &(OsString, OsString)| {
            let mut text = name.clone().into_vec();
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            CString::new(text).map_err(|_| SpawnError { stage: Stage::Prepare, errno: EINVAL })
        };
        self.0.iter().map(join).collect()
    }
}

/// The name under which a child that has a watchdog is told its own number: the one that is to ping.
pub const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// How this instance tells that it is ready. A source never does.
pub fn ready(plan: &Plan, instance: InstanceId) -> Option<&Ready> {
    let Role::Worker { worker, .. } = plan.role(instance) else { return None };
    plan.worker(worker).ready.as_ref()
}

/// How long it may be silent at most.
pub fn watchdog(plan: &Plan, instance: InstanceId) -> Option<Duration> {
    let Role::Worker { worker, .. } = plan.role(instance) else { return None };
    plan.worker(worker).watchdog
}
