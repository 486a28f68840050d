//! What messages add to say why: the parts of their sentences that name a cause.

use super::phrases::{asked, errno, span};
use super::start_error::spawn_error;
use crate::machine::LastFailure;
use crate::model::identity::{Bound, Resource};
use crate::model::plan::{Plan, Probe, Ready, Role};
use crate::model::printable::printable;
use crate::model::{InstanceId, Refusal};
use crate::sys::cgroup::Left;

/// What follows the kernel's reason where a limit that the file sets explains it.
pub fn own_limit(plan: &Plan, id: InstanceId, resource: Resource) -> String {
    let limit = plan.program(id).identity.limit(resource);
    let name = resource.name();
    match limit.map(|limit| limit.soft) {
        Some(Bound::At(number)) => format!(" (it is limited to {name} = {number} by `limits` in the file)"),
        Some(Bound::Inherited | Bound::Unlimited) | None => format!(" (`limits` in the file sets {name})"),
    }
}

/// What did not come in time, for one that was not ready.
pub fn waited_for(plan: &Plan, instance: InstanceId, last: Option<Refusal>) -> String {
    let worker = plan.instances.get(instance.index()).and_then(|role| match role {
        Role::Worker { worker, .. } => plan.workers.get(worker.index()),
        Role::Source(_) => None,
    });
    match (worker.and_then(|worker| worker.ready.as_ref()), last) {
        (Some(Ready::Probe(probe)), Some(last)) => {
            format!("the last answer of its probe ({}): {}", asked_of(probe), refusal(last))
        }
        (_, Some(last)) => format!("the last answer of its probe: {}", refusal(last)),
        (Some(Ready::Probe(probe)), None) => format!("its probe ({}) had no answer yet", asked_of(probe)),
        (Some(Ready::Notify), None) => "it did not send READY=1".into(),
        (Some(Ready::Fd(number)), None) => format!("it wrote no line feed to descriptor {number}"),
        (Some(Ready::Delay(delay)), None) => format!("its delay is {}", span(*delay)),
        (None, None) => "it had not ended".into(),
    }
}

/// What a probe asks: an address, or the name of a program without its arguments, which may be long.
fn asked_of(probe: &Probe) -> String {
    match probe {
        Probe::Command(words) => printable(words.first().map_or("", String::as_str)).into_owned(),
        Probe::Tcp(address) => address.to_string(),
        Probe::Http(url) => url.clone(),
    }
}

/// Why a probe said no.
pub fn refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::Status(status) => format!("HTTP status {status}"),
        Refusal::Failed(number) => errno(number),
        Refusal::TimedOut(after) => format!("none within {}", span(after)),
        Refusal::Closed => "the connection was closed before an answer".into(),
        Refusal::Nonsense => "it is not HTTP".into(),
        Refusal::Exited(status) => status.to_string(),
        Refusal::NotStarted(error) => {
            // The failed step was told when it failed first.
            format!("the probe could not be started: {}", errno(error.errno))
        }
        Refusal::NotAsked => "it was not asked, since earlier probes cannot be killed".into(),
    }
}

/// What a killed run left, and how it can be ended. No more than a few processes are named.
pub fn left_processes(left: &Left) -> String {
    const NAMED: usize = 10;
    let named: Vec<String> =
        left.processes.iter().take(NAMED).map(|(group, pid, name)| format!("{group}: {pid} ({name})")).collect();
    let more = left.processes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let path = left.directory.display();
    format!(
        "an exeunt that ran this file was killed, and processes of it live on in the control group {path}: {}{more}; they may \
         hold its ports and locks; to end them: echo 1 >'{path}/cgroup.kill'",
        named.join(", ")
    )
}

/// How the start that was one too many came to its end.
pub fn last_failure(plan: &Plan, instance: InstanceId, last: LastFailure) -> String {
    match last {
        LastFailure::Exited(status) => status.to_string(),
        LastFailure::Stopped { status, why } => format!("it was stopped ({status}){}", asked(plan, why)),
        LastFailure::LeftProcesses(status) => {
            format!(
                "{status}, and it left processes behind (a program that puts itself into the background cannot be watched)"
            )
        }
        LastFailure::NotInTime => "not executed within its start-timeout".into(),
        LastFailure::NotStarted(error) => spawn_error(plan, Some(instance), error, None),
    }
}
