//! The environment of a child: ours where the file does not clear it, what we tell it, what the file says.

use crate::model::plan::{Plan, Program, Ready, Role, Words};
use crate::model::{InstanceId, SpawnError, Stage};
use crate::sys::variables;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
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
/// Variables of sd_listen_fds(3), sd_watchdog_enabled(3) and systemd.exec(5) that hold the number of the process that is meant.
const NAMING_A_PID: [&str; 3] = [LISTEN_PID, WATCHDOG_PID, "SYSTEMD_EXEC_PID"];
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_PIDFDID: &str = "LISTEN_PIDFDID";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// Where the numbers are the same on every Linux.
const EINVAL: i32 = 22;

/// `NAME=VALUE` in order; each name once, but for an init. What children have in common they share.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<Rc<CStr>>);

impl Environment {
    pub fn inherited() -> Environment {
        let mut environment = Environment::of(variables::all());
        environment.remove(&OWN_NAMES);
        environment
    }

    /// With every name as often as it was given to us: an init stands in nobody's way.
    pub fn ours() -> Environment {
        Environment::of(std::env::vars_os())
    }

    fn of(all: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let entry = |(name, value): (OsString, OsString)| entry(name.as_bytes(), value.as_bytes()).ok();
        Environment(all.into_iter().filter_map(entry).collect())
    }

    /// As it is; only who asked for an exit event is told where it is.
    pub fn for_program(&self, program: &Program, exit: Option<usize>) -> Result<Environment, SpawnError> {
        let mut environment = self.clone();
        if let Some(exit) = exit.filter(|_| program.has_event_rung()) {
            environment.set("EXEUNT_EXIT_FD", exit.to_string())?;
        }
        Ok(environment)
    }

    /// Takes out the variables in which systemd, or who imitates it, has put the process number of the program that it started,
    /// which is us, and answers their names: the program of an init is to find its own number there. A number of another process
    /// stays as it is.
    pub fn take_numbered(&mut self, own_pid: u32) -> Vec<&'static str> {
        let own = own_pid.to_string();
        let names: Vec<_> = NAMING_A_PID.into_iter().filter(|name| self.get(name) == Some(OsStr::new(&own))).collect();
        self.remove(&names);
        if names.contains(&LISTEN_PID) {
            // It names the same process by another number, and sd_listen_fds(3) does without it.
            self.remove(&[LISTEN_PIDFDID]);
        }
        names
    }

    /// For a probe of this instance: what its worker has, but for what is the worker's alone.
    pub fn for_probe(&self, plan: &Plan, instance: InstanceId, words: &Words) -> Result<Environment, SpawnError> {
        let mut environment = self.for_child(plan, instance, words, None)?;
        environment.remove(&PERSONAL);
        Ok(environment)
    }

    /// Ours where the file does not clear it, then what we tell the child, then what the file says. Secrets are for the child
    /// to read. `notify`: the address of the socket that it tells of itself on.
    pub fn for_child(
        &self,
        plan: &Plan,
        instance: InstanceId,
        words: &Words,
        notify: Option<&str>,
    ) -> Result<Environment, SpawnError> {
        let program = plan.program(instance);
        let mut environment = if program.env_clear { Environment::default() } else { self.clone() };
        environment.set("PYTHONUNBUFFERED", "1")?;
        environment.set("EXEUNT_INSTANCE", plan.instance_name(instance))?;
        if let Role::Worker { worker, .. } = plan.role(instance) {
            environment.set("EXEUNT_WORKER", &plan.worker(worker).name)?;
        }
        let consumer = plan.consumer(instance);
        if let Some(consumer) = consumer {
            environment.set("EXEUNT_ITEM_FD", "3")?;
            environment.set("EXEUNT_REPLY_FD", "4")?;
            environment.set("EXEUNT_QUEUE", &plan.queue(consumer.queue).name)?;
            environment.set("EXEUNT_PREFETCH", consumer.prefetch.to_string())?;
        }
        if consumer.is_some() || program.has_event_rung() {
            environment.set("EXEUNT_EXIT_FD", "5")?;
        }
        if let Some(Ready::Fd(number)) = ready(plan, instance) {
            environment.set("EXEUNT_READY_FD", number.to_string())?;
        }
        if let Some(address) = notify {
            environment.set(NOTIFY_SOCKET, address)?;
        }
        if let Some(watchdog) = watchdog(plan, instance) {
            environment.set(WATCHDOG_USEC, watchdog.as_micros().to_string())?;
        }
        words.env.iter().try_for_each(|(name, value)| environment.set(name, value))?;
        let secrets: Vec<&str> = words.secrets.iter().map(|secret| &*secret.name).collect();
        environment.remove(&secrets);
        Ok(environment)
    }

    fn set(&mut self, name: &str, value: impl AsRef<OsStr>) -> Result<(), SpawnError> {
        let new = entry(name.as_bytes(), value.as_ref().as_bytes())?;
        match self.0.iter_mut().find(|known| value_of(known, name).is_some()) {
            Some(old) => *old = new,
            None => self.0.push(new),
        }
        Ok(())
    }

    fn remove(&mut self, names: &[&str]) {
        self.0.retain(|entry| !names.iter().any(|unwanted| value_of(entry, unwanted).is_some()));
    }

    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find_map(|entry| value_of(entry, name)).map(OsStr::from_bytes)
    }

    /// As exec wants them.
    pub fn into_strings(self) -> Vec<Rc<CStr>> {
        self.0
    }
}

fn entry(name: &[u8], value: &[u8]) -> Result<Rc<CStr>, SpawnError> {
    let text = [name, b"=", value].concat();
    CString::new(text).map(Rc::from).map_err(|_| SpawnError { stage: Stage::Prepare, errno: EINVAL })
}

/// The value, if it is this name's.
fn value_of<'a>(entry: &'a CStr, name: &str) -> Option<&'a [u8]> {
    entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
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
