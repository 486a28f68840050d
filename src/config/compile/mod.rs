//! From the sections as written to the plan as meant: defaults filled in, names resolved, limits counted.

mod env_file;
mod identity;
mod program;
mod queue;
mod readiness;
mod source;
mod strings;
mod worker;

pub(super) use program::pick;

use super::accounts::Accounts;
use super::expand::Lookup;
use super::graph;
use super::problem::{Place, Problem, Problems, Severity, Span, quote};
use super::raw::{File, Worker};
use super::read::{At, Field, NamedSection};
use super::toml_text;
use super::value::Text;
use super::{Context, Variables};
use crate::model::plan::{Backoff, ControlGroups, End, Feed, INSTANCE_MARK, Plan, SourcePlan, WorkerPlan};
use crate::model::{Identity, QueueId, WorkerId};
use std::collections::BTreeMap;
use std::env::VarError;
use std::rc::Rc;
use std::time::Duration;
use strings::Strings;

/// Processes of one plan, at most.
const MOST_INSTANCES: u64 = 10_000;
const MOST_QUEUES: usize = 1000;
const MOST_SOURCES: usize = 1000;
const MOST_WORKERS: usize = 10_000;
/// Circles of workers that wait for each other: as many are told, since each costs a look at all workers.
const CYCLES_TOLD: usize = 20;

/// The plan of a file. It is only good for something when no problem was added. `None` when the file declares so much
/// that it was not looked at any further.
pub fn link(
    file: &File,
    text: &str,
    context: &Context<'_>,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Option<Plan> {
    let mut linker = Linker::new(file, text, context, problems, warnings);
    if !linker.is_within_limits() {
        return None;
    }
    linker.check_names();
    let queues = linker.queues();
    let sources = linker.sources();
    let mut workers = linker.workers();
    linker.levels(&mut workers);
    linker.check_instances(&sources, &workers);
    linker.check_terminal();
    let (name, exit_code_from) = (linker.run_name(), linker.exit_code_from(&workers));
    let supervisor = file.supervisor.value();
    Some(Plan {
        name,
        stop_budget: supervisor.and_then(|section| section.stop_budget.value()).map(|span| span.0),
        end: supervisor.and_then(|section| section.end.value()).map_or(End::Idle, |word| word.0),
        exit_code_from,
        cgroup: supervisor.and_then(|section| section.cgroup.value()).map_or(ControlGroups::Auto, |word| word.0),
        init: None,
        instances: Plan::roles(&sources, &workers),
        queues,
        sources,
        workers,
    })
}

struct Linker<'a> {
    file: &'a File,
    text: &'a str,
    context: &'a Context<'a>,
    problems: &'a mut Problems,
    warnings: &'a mut Problems,
    queue_ids: BTreeMap<&'a str, QueueId>,
    worker_ids: BTreeMap<&'a str, WorkerId>,
    /// Stands in where a file has no `[defaults]`.
    defaults: Worker,
    accounts: Accounts<'a>,
    scope: Scope,
    strings: Strings,
    /// The variables of each list of env-files that was read, by where the list begins.
    env_files: BTreeMap<usize, Vec<(Identity, Rc<Variables>)>>,
}

/// What variables can be expanded besides those of our own environment.
#[derive(Debug, Default)]
struct Scope {
    /// What is written is for one instance: `${EXEUNT_INSTANCE}` becomes [`INSTANCE_MARK`].
    instance: bool,
    /// `${EXEUNT_WORKER}`.
    worker: Option<String>,
    /// From the env-files, in order of their names. They go over our own, as they do in the program's environment.
    file: Rc<Variables>,
}

impl Scope {
    fn lookup(&self, name: &str, environment: Lookup<'_>) -> Result<String, VarError> {
        match name {
            // Those of an exeunt above us mean nothing here.
            "EXEUNT_INSTANCE" => self.instance.then(|| INSTANCE_MARK.to_string()).ok_or(VarError::NotPresent),
            "EXEUNT_WORKER" => self.worker.clone().ok_or(VarError::NotPresent),
            _ => match self.file.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
                Ok(at) => self.file.get(at).map(|(_, value)| value.clone()).ok_or(VarError::NotPresent),
                Err(_) => environment(name),
            },
        }
    }
}

fn named<T>(field: &Field<super::read::Named<T>>) -> &[NamedSection<T>] {
    field.value().map_or(&[], |named| &named.0)
}

fn ids<T, I>(field: &Field<super::read::Named<T>>, id: impl Fn(u32) -> I) -> BTreeMap<&str, I> {
    (0u32..).zip(named(field)).map(|(i, section)| (section.name.value.as_str(), id(i))).collect()
}

impl<'a> Linker<'a> {
    fn new(
        file: &'a File,
        text: &'a str,
        context: &'a Context<'a>,
        problems: &'a mut Problems,
        warnings: &'a mut Problems,
    ) -> Linker<'a> {
        Linker {
            file,
            text,
            context,
            problems,
            warnings,
            queue_ids: ids(&file.queue, QueueId),
            worker_ids: ids(&file.worker, WorkerId),
            defaults: file.defaults.value().cloned().unwrap_or_default(),
            accounts: Accounts::new(context.files),
            scope: Scope::default(),
            strings: Strings::default(),
            env_files: BTreeMap::new(),
        }
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.problems.push(Problem::error(span, message));
    }

    fn is_within_limits(&mut self) -> bool {
        let counts = [
            ("queues", named(&self.file.queue).len(), MOST_QUEUES),
            ("sources", named(&self.file.source).len(), MOST_SOURCES),
            ("workers", named(&self.file.worker).len(), MOST_WORKERS),
        ];
        let over = counts.into_iter().filter(|&(_, count, most)| count > most).collect::<Vec<_>>();
        for (what, count, most) in &over {
            let message = format!("the file declares {count} {what}, at most {most} are allowed");
            self.problems.push(Problem::new(Severity::Error, Place::File, message));
        }
        if self.file.worker.is_absent() || self.file.worker.value().is_some_and(|workers| workers.0.is_empty()) {
            let problem = Problem::new(Severity::Error, Place::File, "the file declares no worker");
            self.problems.push(problem.help("add a [worker.NAME] with a command"));
        }
        over.is_empty()
    }

    fn check_instances(&mut self, sources: &[SourcePlan], workers: &[WorkerPlan]) {
        let replicas = workers.iter().map(|worker| u64::from(worker.replicas)).sum::<u64>();
        let count = replicas + sources.iter().filter(|source| source.feed != Feed::Stdin).count() as u64;
        if count > MOST_INSTANCES {
            let message = format!("the file asks for {count} processes, at most {MOST_INSTANCES} are allowed");
            self.problems.push(Problem::new(Severity::Error, Place::File, message));
        }
    }

    /// Sources and workers share one space of names, the instances' names `NAME.0` included: they are told by them.
    fn check_names(&mut self) {
        let file = self.file;
        let workers = named(&file.worker).iter().map(|section| &section.name);
        let sources = named(&file.source).iter().map(|section| &section.name);
        for name in sources.clone() {
            if !self.worker_ids.contains_key(name.value.as_str()) {
                continue;
            }
            let message = format!("{} is the name of a source and of a worker", quote(&name.value));
            self.error(name.span, message);
        }
        for name in workers.chain(sources) {
            let Some((stem, index)) = name.value.rsplit_once('.') else { continue };
            let is_index = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
            if is_index && self.worker_ids.contains_key(stem) {
                let message =
                    format!("{} would be the name of an instance of the worker {}", quote(&name.value), quote(stem));
                self.error(name.span, message);
            }
        }
    }

    fn run_name(&mut self) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let stem = || self.context.stem.chars().map(|c| if allowed(c) { c } else { '-' }).take(64).collect::<String>();
        let Some(name) = self.file.supervisor.value().and_then(|section| section.name.given()) else {
            return Some(stem()).filter(|stem| !stem.is_empty()).unwrap_or_else(|| "exeunt".to_owned());
        };
        if name.value.0.is_empty() || name.value.0.len() > 64 || !name.value.0.chars().all(allowed) {
            let message = format!("the name {} is not allowed", quote(&name.value.0));
            let problem = Problem::error(name.span, message);
            self.problems.push(problem.help("names are made of A-Z a-z 0-9 _ . -, 1 to 64 of them"));
        }
        name.value.0.clone()
    }

    fn exit_code_from(&mut self, workers: &[WorkerPlan]) -> Option<WorkerId> {
        let file = self.file;
        let name = file.supervisor.value()?.exit_code_from.given()?;
        let id = self.worker_named(name, "exit-code-from")?;
        let replicas = workers.get(id.index()).map_or(1, |worker| worker.replicas);
        if replicas > 1 {
            let message =
                format!("the worker {} has {replicas} replicas, so it has no one exit code", quote(&name.value.0));
            self.error(name.span, message);
        }
        Some(id)
    }

    fn queue_named(&mut self, name: &At<Text>) -> Option<QueueId> {
        let found = self.queue_ids.get(name.value.0.as_str()).copied();
        if found.is_none() && !self.problems.is_full() {
            let problem = Problem::error(name.span, format!("unknown queue {}", quote(&name.value.0)));
            let problem = match self.queue_ids.is_empty() {
                true => problem.help(format!("declare it with [queue.{}]", toml_text::key(&name.value.0))),
                false => problem.suggest(&name.value.0, self.queue_ids.keys().copied()),
            };
            self.problems.push(problem);
        }
        found
    }

    fn worker_named(&mut self, name: &At<Text>, key: &str) -> Option<WorkerId> {
        let found = self.worker_ids.get(name.value.0.as_str()).copied();
        if found.is_none() && !self.problems.is_full() {
            let message = format!("unknown worker {} in {key}", quote(&name.value.0));
            let problem = Problem::error(name.span, message).suggest(&name.value.0, self.worker_ids.keys().copied());
            self.problems.push(problem);
        }
        found
    }

    /// Fills the levels in, from `after`.
    fn levels(&mut self, workers: &mut [WorkerPlan]) {
        let after = |worker: &WorkerPlan| worker.after.iter().map(|id| id.index()).collect();
        let mut after = workers.iter().map(after).collect::<Vec<Vec<_>>>();
        for _ in 0..CYCLES_TOLD {
            let cycle = match graph::levels(&after) {
                Ok(levels) => {
                    return workers.iter_mut().zip(levels).for_each(|(worker, level)| worker.level = level);
                }
                Err(cycle) => cycle,
            };
            self.tell_cycle(&cycle, workers);
            // As if it were mended there, so that a circle elsewhere is told too.
            cycle.first().and_then(|&node| after.get_mut(node)).into_iter().for_each(Vec::clear);
        }
    }

    /// `cycle` ends with the worker that it begins with.
    fn tell_cycle(&mut self, cycle: &[usize], workers: &[WorkerPlan]) {
        let names = cycle.iter().filter_map(|&node| workers.get(node)).map(|worker| worker.name.as_str());
        let names = names.collect::<Vec<_>>();
        let path = super::problem::shorten(&names.join(" -> "), 300);
        let first = cycle.first().and_then(|&node| named(&self.file.worker).get(node));
        let section = first.and_then(|first| first.section.as_ref());
        // Where the first one names the second.
        let lists = section.into_iter().flat_map(|section| [section.after.value(), section.requires.value()]);
        let said = lists.flatten().flat_map(|names| &names.0).find(|name| names.get(1) == Some(&name.value.0.as_str()));
        let message = match cycle.len() {
            2 => format!("a worker cannot be after itself: {path}"),
            _ => format!("the workers wait for each other in a circle: {path}"),
        };
        match said.map(|name| name.span) {
            Some(span) => self.error(span, message),
            None => self.problems.push(Problem::new(Severity::Error, Place::File, message)),
        }
    }
}

/// Waits that grow, from what is given; a `max` that is not given is never under `delay`.
fn backoff(
    delay: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    jitter: Option<f64>,
    default: Backoff,
) -> Backoff {
    let delay = delay.unwrap_or(default.delay);
    Backoff {
        delay,
        factor: factor.unwrap_or(default.factor),
        max: max.unwrap_or(default.max.max(delay)),
        jitter: jitter.unwrap_or(default.jitter),
    }
}
