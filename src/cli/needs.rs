//! What a plan needs of exeunt itself: descriptors and processes, and whether there are so many.

use crate::model::identity::Resource;
use crate::model::plan::{Log, Place, Plan, Probe, Ready, Results, Role, WorkerPlan};
use crate::model::{InstanceId, WorkerId};
use crate::sys::identity::{Own, limits_of};

/// Descriptors that exeunt has in any case: 0, 1, 2, /dev/null, /proc, signals, `poll` and its waker, directories of sockets and of
/// control groups; and what one start takes until it is forked: both ends of each of its pipes, copies of what the child gets.
const OWN: u64 = 40;
/// A pidfd and, until exec is reported, the error pipe.
const PROCESS: u64 = 2;
/// Both ends of the item pipe, the replies, the exit event.
const CONSUMER: u64 = 4;
/// What a program of another user gets in the place of our terminal, for its stdout and its stderr.
const INSTEAD_OF_TERMINAL: u64 = 2;
/// A file of lines, and the side file that is its lock.
const LINE_FILE: u64 = 2;

/// File descriptors that exeunt itself may have open at once.
pub fn descriptors(plan: &Plan) -> u64 {
    let instances = (0u32..).map(InstanceId).take(plan.instances.len());
    let processes = instances.map(|id| PROCESS + of_instance(plan, id)).sum::<u64>();
    let consumers = plan.workers.iter().filter_map(|worker| worker.consumer.as_ref());
    let results = consumers.filter(|consumer| matches!(consumer.results, Results::File(_))).count() as u64;
    // The unfinished items and the dead letters.
    let leftovers = 2 * plan.queues.iter().filter(|queue| queue.leftovers.is_some()).count() as u64;
    OWN + processes + LINE_FILE * (results + leftovers)
}

fn of_instance(plan: &Plan, id: InstanceId) -> u64 {
    let program = plan.program(id);
    let may_have_it = program.log == Log::Inherit && program.place != Place::Terminal;
    let instead = if may_have_it && program.identity.uid().is_some() { INSTEAD_OF_TERMINAL } else { 0 };
    instead + own_pipes(plan, id)
}

fn own_pipes(plan: &Plan, id: InstanceId) -> u64 {
    match plan.role(id) {
        Role::Source(_) => 1 + u64::from(plan.program(id).has_event_rung()),
        Role::Worker { worker, .. } => {
            let pipes = match plan.consumer(id) {
                Some(_) => CONSUMER,
                None => u64::from(plan.program(id).has_event_rung()),
            };
            pipes + watching(plan.worker(worker))
        }
    }
}

/// Where an instance tells that it is ready, the process that it names as its main one, and what a question under way takes.
fn watching(worker: &WorkerPlan) -> u64 {
    let told = match worker.ready {
        Some(Ready::Notify) => 2,
        Some(Ready::Fd(_)) => 1,
        Some(Ready::Probe(_) | Ready::Delay(_)) | None => 0,
    };
    told + if worker.probes().next().is_some() { PROCESS } else { 0 }
}

/// One entry for each process that may ask an instance at a time, with the worker that it asks, and whether it runs as that worker
/// does.
pub fn probe_processes(plan: &Plan) -> impl Iterator<Item = (WorkerId, bool)> {
    let processes = |(id, worker): (u32, &WorkerPlan)| {
        let asks = worker.probes().any(|probe| match probe {
            Probe::Command(_) | Probe::Http(_) => true,
            Probe::Tcp(_) => false,
        });
        let as_worker = worker.probes().any(|probe| matches!(probe, Probe::Command(_)));
        let count = if asks { worker.replicas } else { 0 };
        (0..count).map(move |_| (WorkerId(id), as_worker))
    };
    (0u32..).zip(&plan.workers).flat_map(processes)
}

/// Processes of our own user that a plan needs beside exeunt, those that its programs start left out.
fn processes_of(plan: &Plan, own: u32) -> u64 {
    let ours = |id: &InstanceId| plan.program(*id).identity.uid().is_none_or(|uid| uid == own);
    let instances = (0u32..).map(InstanceId).take(plan.instances.len()).filter(ours).count();
    let of_us = |&(worker, as_worker): &(WorkerId, bool)| {
        !as_worker || plan.worker(worker).program.identity.uid().is_none_or(|uid| uid == own)
    };
    (instances + probe_processes(plan).filter(of_us).count()) as u64
}

/// What there is too little of. A run raises the soft limit of descriptors to the hard one.
pub fn shortages(plan: &Plan) -> Vec<String> {
    let mut shortages = Vec::new();
    let needed = descriptors(plan);
    if let Some((_, limit)) = limits_of(Resource::Nofile).filter(|&(_, limit)| needed > limit) {
        shortages
            .push(format!("up to {needed} file descriptors may be needed, the hard limit is {limit} (ulimit -Hn)"));
    }
    let own = Own::now();
    let needed = processes_of(plan, own.uid) + 1;
    // getrlimit(2): the limit holds for neither of these.
    let is_bound = own.uid != 0 && !own.may(Own::SYS_RESOURCE) && !own.may(Own::SYS_ADMIN);
    if let Some((limit, _)) = limits_of(Resource::Nproc).filter(|&(limit, _)| is_bound && needed > limit) {
        shortages.push(format!(
            "up to {needed} processes of user {} are needed at once, the limit for all that it runs is {limit} (ulimit -u)",
            own.uid
        ));
    }
    shortages
}
