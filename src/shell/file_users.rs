//! With whose rights the files of a queue are opened in directories where others may write: see [`open`](crate::sys::open::open).

use crate::model::QueueId;
use crate::model::identity::Identity;
use crate::model::plan::{Plan, Results, WorkerPlan};
use crate::sys::file_user::FileUser;
use std::path::Path;

/// For leftovers and dead letters: the user of the workers of the queue, where all that are not of our own user have the same.
pub fn of_queue(plan: &Plan, queue: QueueId) -> Option<FileUser> {
    FileUser::only_one_of(workers_of(plan, queue))
}

/// For a file of results: the user of the workers whose results go there.
pub fn of_results(plan: &Plan, path: &Path) -> Option<FileUser> {
    let to_it = |results: &Results| matches!(results, Results::File(file) if file == path);
    let consumers = plan.workers.iter().filter_map(|worker| Some((worker, worker.consumer.as_ref()?)));
    FileUser::only_one_of(
        consumers.filter(|(_, consumer)| to_it(&consumer.results)).map(|(worker, _)| &worker.program.identity),
    )
}

fn workers_of(plan: &Plan, queue: QueueId) -> impl Iterator<Item = &Identity> {
    let takes = move |worker: &&WorkerPlan| worker.consumer.as_ref().is_some_and(|consumer| consumer.queue == queue);
    plan.workers.iter().filter(takes).map(|worker| &worker.program.identity)
}
