//! Any bytes as a file: a plan that keeps what `model::plan` says of itself, or problems that can be shown.

use exeunt::config::{Context, Files, Problem, compile, decode, render};
use exeunt::machine::{Event, Machine};
use exeunt::model::plan::{Feed, Kind, Plan, Probe, Ready, WorkerPlan};
use exeunt::model::printable::is_printable;
use exeunt::model::{InstanceId, Time};
use std::env::VarError;
use std::path::Path;
use std::rc::Rc;

/// A machine is not made for a plan of more instances: it would only be slow.
const MANY: usize = 200;

pub fn target(data: &[u8]) {
    let environment = |name: &str| match name {
        "PORT" => Ok("8080".to_owned()),
        "EMPTY" => Ok(String::new()),
        "ODD" => Err(VarError::NotUnicode("\u{fffd}".into())),
        _ => Err(VarError::NotPresent),
    };
    let context =
        Context { directory: Path::new("/etc/shop"), stem: "shop", environment: &environment, files: Files::NONE };
    // What problems point into: the text without its byte order mark.
    let text = decode(data).ok();
    match compile(data, &context) {
        Ok(compiled) => {
            assert!(text.is_some(), "a file that is no text was taken");
            sound(&compiled.plan);
            show(&compiled.warnings, text);
            assert_eq!(compiled.source_commands.len(), compiled.plan.sources.len());
            assert_eq!(compiled.worker_commands.len(), compiled.plan.workers.len());
            begin(compiled.plan);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            show(&problems, text);
        }
    }
}

pub fn show(problems: &[Problem], text: Option<&str>) {
    for colour in [false, true] {
        let shown = render(problems, "shop.toml", text, colour);
        assert!(problems.is_empty() || !shown.is_empty());
        let odd = |c: char| !is_printable(c) && c != '\n' && !(colour && c == '\x1b');
        assert!(!shown.contains(odd), "what is not printable reaches the terminal: {shown:?}");
    }
}

/// What the fields of a plan promise.
fn sound(plan: &Plan) {
    assert_eq!(plan.instances, Plan::roles(&plan.sources, &plan.workers));
    for queue in &plan.queues {
        assert!(queue.size >= 1 && queue.max_attempts >= 1 && queue.max_crashes >= 1);
        assert!(queue.max_bytes >= queue.max_item as u64);
        assert!(queue.backoff.factor >= 1.0 && (0.0..=1.0).contains(&queue.backoff.jitter));
    }
    for source in &plan.sources {
        assert!(source.queue.index() < plan.queues.len());
    }
    for worker in &plan.workers {
        assert!(worker.replicas >= 1 && !worker.program.command.is_empty());
        assert!(worker.restart_delay.factor >= 1.0 && (0.0..=1.0).contains(&worker.restart_delay.jitter));
        assert!(worker.start_limit.is_none_or(|limit| limit.burst >= 1));
        let above = worker.after.iter().map(|id| plan.worker(*id).level + 1).max().unwrap_or(0);
        assert_eq!(worker.level, above);
        if let Some(consumer) = &worker.consumer {
            assert!(consumer.queue.index() < plan.queues.len());
            assert!(consumer.prefetch >= 1 && consumer.max_items.is_none_or(|items| items >= 1));
        }
        watched(worker);
    }
    let strings = plan.workers.iter().map(|worker| &worker.program);
    let commands = plan.sources.iter().filter_map(|source| match &source.feed {
        Feed::Command(program) => Some(&**program),
        Feed::Stdin => None,
    });
    for program in strings.chain(commands) {
        let words = program.words("w.0");
        assert!(!words.command.iter().any(|word| word.contains('\0')), "execve takes no NUL");
        assert!(!words.env.iter().any(|(name, value)| name.contains(['\0', '=']) || value.contains('\0')));
    }
    assert!(plan.worst_stop() >= plan.stop_budget.unwrap_or_default().min(plan.worst_stop()));
}

fn watched(worker: &WorkerPlan) {
    if worker.kind == Kind::Oneshot {
        assert!(worker.ready.is_none() && worker.health.is_none() && worker.watchdog.is_none());
        assert!(worker.consumer.is_none());
    }
    assert!(worker.watchdog.is_none_or(|time| !time.is_zero() && worker.ready == Some(Ready::Notify)));
    if let Some(health) = &worker.health {
        assert!(health.failures >= 1 && !health.interval.is_zero() && !health.timeout.is_zero());
    }
    if let Some(Ready::Fd(fd)) = worker.ready {
        assert!((3..=9).contains(&fd) && (worker.consumer.is_none() || fd > 5));
    }
    for probe in worker.probes() {
        match probe {
            Probe::Command(command) => {
                let words = worker.program.words_with(command, "w.0").command;
                assert!(!words.is_empty() && !words.iter().any(|word| word.contains('\0')), "{words:?}");
            }
            Probe::Tcp(address) => assert_ne!(address.port(), 0),
            Probe::Http(url) => {
                let path = url.strip_prefix("http://").and_then(|rest| rest.find('/'));
                assert!(path.is_some_and(|at| at > 0) && url.bytes().all(|byte| byte.is_ascii_graphic()), "{url:?}");
            }
        }
    }
}

fn begin(plan: Plan) {
    for id in (0u32..).take(plan.instances.len().min(MANY)).map(InstanceId) {
        assert!(!plan.instance_name(id).is_empty());
        assert!(!plan.program(id).command.is_empty());
    }
    if plan.instances.len() <= MANY {
        let mut out = Vec::new();
        Machine::new(Rc::new(plan), 1).handle(Time::from_millis(1), Event::Began, &mut out);
    }
}
