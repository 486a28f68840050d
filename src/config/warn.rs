//! What is allowed, but will surprise.

use super::problem::{Place, Problem, Problems, Severity, Span, quote};
use super::raw::{File, Queue, Worker};
use super::read::{At, Field, NamedSection};
use super::value::{Timespan, show};
use crate::model::Signal;
use crate::model::plan::{Consumer, End, Kind, Plan, Probe, Program, QueuePlan, Ready, Restart, Step, WorkerPlan};
use std::time::Duration;

/// What `docker stop` waits before it kills everybody.
const DOCKER_STOP: Duration = Duration::from_secs(10);
/// An item that may take longer than this makes the items behind it wait long.
const LONG_ITEM: Duration = Duration::from_secs(10);

/// Looks a plan over. It was linked from this file without a problem, so that their lists have the same order.
pub fn warn(plan: &Plan, file: &File, problems: &mut Problems) {
    long_stop(plan, problems);
    no_work(plan, file, problems);
    outlives_exeunt(plan, problems);
    for (queue, section) in plan.queues.iter().zip(sections(&file.queue)) {
        unused_queue(plan, queue, section, problems);
        endless_drain(plan, queue, section, problems);
    }
    for (worker, section) in plan.workers.iter().zip(sections(&file.worker)) {
        let Some(keys) = &section.section else { continue };
        shield(&worker.program, keys, section.name.span, problems);
        never_ready(worker, keys, file.defaults.value(), section.name.span, problems);
        one_address_for_many(worker, keys, section.name.span, problems);
        once_for_ever(worker, keys, problems);
        if let Some(consumer) = &worker.consumer {
            let queue = plan.queue(consumer.queue);
            let queue_keys = sections(&file.queue).get(consumer.queue.index()).and_then(|queue| queue.section.as_ref());
            let budget = file.supervisor.value().and_then(|keys| keys.stop_budget.given());
            short_event(worker, queue, keys, queue_keys, budget, section.name.span, problems);
            hoarding(consumer, queue, keys, section.name.span, problems);
        }
    }
}

fn sections<T>(field: &Field<super::read::Named<T>>) -> &[NamedSection<T>] {
    field.value().map_or(&[], |named| &named.0)
}

fn long_stop(plan: &Plan, problems: &mut Problems) {
    let worst = plan.worst_stop();
    if plan.stop_budget.is_none() && worst >= DOCKER_STOP {
        let message = format!("a stop may take {}, and docker stop kills after {}", show(worst), show(DOCKER_STOP));
        let problem = Problem::new(Severity::Warning, Place::File, message);
        problems.push(problem.help(
            "set stop-budget in [supervisor] to less than that, or give the platform more time (docker stop --time)",
        ));
    }
}

/// Plain services that neither the kernel nor an exit pipe tells that exeunt was killed. One note for all: it is a question of where
/// exeunt runs.
fn outlives_exeunt(plan: &Plan, problems: &mut Problems) {
    const NAMED: usize = 5;
    let is_told = |worker: &WorkerPlan| {
        let program = &worker.program;
        worker.consumer.is_some() || program.identity.parent_death.is_some() || program.has_event_rung()
    };
    let left = plan.workers.iter().filter(|worker| worker.kind == Kind::Service && !is_told(worker));
    let mut names: Vec<String> = left.map(|worker| quote(&worker.name)).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let (subject, them) = match names.as_slice() {
        [] => return,
        [one] => (format!("{one} goes on running"), "it"),
        [first @ .., last] => (format!("{} and {last} go on running", first.join(", ")), "them"),
    };
    let message = format!("if exeunt itself is killed, {subject}, and the next run meets {them}");
    let help = "set parent-death-signal = \"KILL\" to have the kernel end it then; where exeunt is PID 1 of a container, the kernel ends all of it anyway";
    problems.push(Problem::new(Severity::Note, Place::File, message).help(help));
}

fn no_work(plan: &Plan, file: &File, problems: &mut Problems) {
    let span = file.supervisor.value().and_then(|supervisor| supervisor.end.span());
    let Some(span) = span.filter(|_| plan.end == End::Work && plan.sources.is_empty()) else { return };
    let message = "without a source there is no work that could be done, so the run ends when no worker runs";
    problems.push(Problem::warning(span, message).help("a oneshot is a worker like any other in this; take end out"));
}

fn unused_queue(plan: &Plan, queue: &QueuePlan, section: &NamedSection<Queue>, problems: &mut Problems) {
    let is_it = |id: crate::model::QueueId| plan.queue(id).name == queue.name;
    let fed = plan.sources.iter().any(|source| is_it(source.queue));
    let worked = plan.workers.iter().any(|worker| worker.consumer.as_ref().is_some_and(|c| is_it(c.queue)));
    let message = match (fed, worked) {
        (false, false) => format!("the queue {} has neither a source nor a worker", quote(&queue.name)),
        (false, true) => format!("the queue {} has no source, so its workers wait for ever", quote(&queue.name)),
        (true, _) => return,
    };
    problems.push(Problem::warning(section.name.span, message));
}

fn endless_drain(plan: &Plan, queue: &QueuePlan, section: &NamedSection<Queue>, problems: &mut Problems) {
    if queue.drain_on_stop && plan.stop_budget.is_none() {
        let keys = section.section.as_ref();
        let span = keys.and_then(|keys| keys.drain_on_stop.span()).unwrap_or(section.name.span);
        let message = "without a stop-budget a stop takes as long as the queue needs to be worked off";
        problems.push(Problem::warning(span, message).help("set stop-budget in [supervisor]"));
    }
}

fn shield(program: &Program, keys: &Worker, name: Span, problems: &mut Problems) {
    if program.ignore_signals.contains(Signal::CHLD) {
        let span = keys.ignore_signals.span().unwrap_or(name);
        let message = "a program that starts with CHLD ignored cannot wait for its own children";
        problems.push(Problem::warning(span, message).help("wait(2) fails with ECHILD then; few programs expect it"));
    }
    let deaf = |step: Step| match step {
        Step::Event => false,
        Step::Signal(signal) => program.block_signals.contains(signal) || program.ignore_signals.contains(signal),
    };
    if program.ladder.iter().all(|rung| deaf(rung.step)) {
        let span = keys.block_signals.span().or(keys.ignore_signals.span()).unwrap_or(name);
        let message = "every signal of the stop ladder is blocked or ignored and there is no event rung";
        let help = "unless the program undoes that, only KILL ends it; begin the ladder with \"event 5s\"";
        problems.push(Problem::warning(span, message).help(help));
    }
}

fn never_ready(worker: &WorkerPlan, keys: &Worker, defaults: Option<&Worker>, name: Span, problems: &mut Problems) {
    let (Some(Ready::Delay(delay)), Some(timeout)) = (&worker.ready, worker.start_timeout) else { return };
    if timeout > *delay {
        return;
    }
    let common = defaults.and_then(|defaults| defaults.start_timeout.span());
    let span = keys.start_timeout.span().or(keys.ready.span()).or(common).unwrap_or(name);
    let message = format!(
        "the worker {} is never ready: its start-timeout of {} is over before its delay of {}",
        quote(&worker.name),
        show(timeout),
        show(*delay)
    );
    problems.push(Problem::warning(span, message).help("raise start-timeout, or take it out"));
}

/// Which of them answers is the kernel's choice.
fn one_address_for_many(worker: &WorkerPlan, keys: &Worker, name: Span, problems: &mut Problems) {
    let by_address = |probe: &Probe| match probe {
        Probe::Command(_) => false,
        Probe::Tcp(_) | Probe::Http(_) => true,
    };
    if worker.replicas == 1 || !worker.probes().any(by_address) {
        return;
    }
    let health = worker.health.as_ref().is_some_and(|health| by_address(&health.probe));
    let probe = if health { keys.health.span() } else { keys.ready.span() };
    let span = probe.or(keys.replicas.span()).unwrap_or(name);
    let message = format!(
        "the {} replicas of {} are all asked at one address, where one may answer for another",
        worker.replicas,
        quote(&worker.name)
    );
    problems.push(Problem::warning(span, message).help("a command can be told its ${EXEUNT_INSTANCE}"));
}

fn once_for_ever(worker: &WorkerPlan, keys: &Worker, problems: &mut Problems) {
    let Some(span) = keys.restart.span().filter(|_| worker.restart == Restart::Always) else { return };
    if worker.kind == Kind::Oneshot {
        let message = "a oneshot that has ended well is not started again, whatever restart says";
        problems.push(Problem::warning(span, message).help("write on-failure, or take type = \"oneshot\" out"));
    }
}

/// A stop that leaves an item less time than it may take cuts off the slow ones. It is only a note where nobody chose
/// the times.
fn short_event(
    worker: &WorkerPlan,
    queue: &QueuePlan,
    keys: &Worker,
    queue_keys: Option<&Queue>,
    budget: Option<&At<Timespan<1>>>,
    name: Span,
    problems: &mut Problems,
) {
    let rung =
        worker.program.ladder.iter().find(|rung| rung.step == Step::Event).map_or(Duration::ZERO, |rung| rung.wait);
    let cut = budget.filter(|budget| budget.value.0 < rung);
    let event = cut.map_or(rung, |budget| budget.value.0);
    let whole = match queue.item_timeout {
        Some(timeout) if timeout <= event => return,
        Some(timeout) => format!("of its {}", show(timeout)),
        None => "of a time without limit".to_owned(),
    };
    let ladder = keys.stop.span().or(keys.stop_signal.span()).or(keys.stop_timeout.span());
    let chosen = cut.map(|budget| budget.span).or(ladder).or(queue_keys.and_then(|keys| keys.item_timeout.span()));
    let severity = if chosen.is_some() { Severity::Warning } else { Severity::Note };
    let message = match event.is_zero() {
        true => format!("a stop gives an item in hand no time {whole}"),
        false => format!("a stop gives an item in hand at most {} {whole}", show(event)),
    };
    let raise = if cut.is_some() { "stop-budget" } else { "the event rung" };
    let help = format!("a slower item is cut off and handed back: lower item-timeout, or raise {raise}");
    problems.push(Problem::new(severity, Place::Span(chosen.unwrap_or(name)), message).help(help));
}

fn hoarding(consumer: &Consumer, queue: &QueuePlan, keys: &Worker, name: Span, problems: &mut Problems) {
    if consumer.prefetch == 1 || queue.item_timeout.is_some_and(|timeout| timeout <= LONG_ITEM) {
        return;
    }
    let each = queue.item_timeout.map_or("any time".to_owned(), show);
    let waiting = match consumer.prefetch - 1 {
        1 => "1 item waits".to_owned(),
        many => format!("{many} items wait"),
    };
    let message = format!("{waiting} behind one that may take {each}");
    let span = keys.prefetch.span().unwrap_or(name);
    let help = "idle instances cannot take them over: lower prefetch, or item-timeout if items are short";
    problems.push(Problem::warning(span, message).help(help));
}
