//! Workers.

use super::program::{CONSUMER_LADDER, ProgramKeys, SERVICE_LADDER, pick};
use super::queue::small;
use super::readiness::START_TIMEOUT;
use super::{Linker, backoff, named};
use crate::config::problem::{Problem, quote};
use crate::config::raw::Worker;
use crate::config::read::{At, Field};
use crate::config::toml_text;
use crate::config::value::{Names, OrOff, RestartDelayTable, SignalList, StartLimitTable};
use crate::model::plan::{Backoff, Consumer, OnGiveUp, Place, Restart, Results, StartLimit, WorkerPlan};
use crate::model::{Framing, QueueId, SignalSet, WorkerId};
use std::time::Duration;

const RESTART_DELAY: Backoff =
    Backoff { delay: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(30), jitter: 0.2 };
const RESET_AFTER: Duration = Duration::from_secs(10);
const BURST: u64 = 5;
const INTERVAL: Duration = Duration::from_secs(60);

impl Linker<'_> {
    /// One for each section, so that their indices are right.
    pub(super) fn workers(&mut self) -> Vec<WorkerPlan> {
        let file = self.file;
        let defaults = std::mem::take(&mut self.defaults);
        self.check_defaults(&defaults);
        let absent =
            Worker { command: Field::Bad(crate::config::problem::Span { start: 0, end: 0 }), ..Worker::default() };
        let sections = named(&file.worker).iter();
        sections
            .map(|section| self.worker(&section.name, section.section.as_ref().unwrap_or(&absent), &defaults))
            .collect()
    }

    fn check_defaults(&mut self, defaults: &Worker) {
        let own = [
            ("command", defaults.command.span()),
            ("queue", defaults.queue.span()),
            ("after", defaults.after.span()),
            ("terminal", defaults.terminal.span()),
            ("requires", defaults.requires.span()),
        ];
        for (key, span) in own {
            if let Some(span) = span {
                self.error(span, format!("{key} has no default: every worker says its own"));
            }
        }
        self.check_one_way_to_stop(&ProgramKeys::from(defaults));
    }

    fn worker(&mut self, name: &At<String>, keys: &Worker, defaults: &Worker) -> WorkerPlan {
        if keys.command.is_absent() {
            let problem = Problem::error(name.span, format!("the worker {} has no command", quote(&name.value)));
            self.problems.push(problem.help("add command = [\"PROGRAM\", \"ARGUMENT\"]"));
        }
        let queue = keys.queue.given().and_then(|queue| self.queue_named(queue));
        if keys.queue.is_absent() {
            self.refuse_queue_keys(name, keys);
        }
        let feeds = !keys.queue.is_absent();
        let (ladder, restart) = match feeds {
            true => (&CONSUMER_LADDER[..], Restart::Always),
            false => (&SERVICE_LADDER[..], Restart::OnFailure),
        };
        let (restart_delay, restart_reset_after) =
            self.restart_delay(pick(&keys.restart_delay, &defaults.restart_delay));
        let mut program = self.program(&keys.into(), &defaults.into(), ladder, Some(&name.value));
        if keys.terminal.value().is_some_and(|flag| flag.0) {
            program.place = Place::Terminal;
        }
        let watched = self.watched(keys, defaults, &program);
        self.leave_program();
        let renewal_wait = watched.start_timeout.unwrap_or(START_TIMEOUT);
        let consumer = queue.map(|queue| self.consumer(name, queue, keys, defaults));
        let requires = self.names(&keys.requires, "requires");
        let mut after = self.names(&keys.after, "after");
        after.extend(requires.iter().copied().filter(|id| !after.contains(id)).collect::<Vec<_>>());
        WorkerPlan {
            name: name.value.clone(),
            program,
            replicas: small(pick(&keys.replicas, &defaults.replicas).map_or(1, |count| count.value.0)),
            consumer: consumer.map(|consumer| Consumer { renewal_wait, ..consumer }),
            restart: pick(&keys.restart, &defaults.restart).map_or(restart, |word| word.value.0),
            restart_delay,
            restart_reset_after,
            start_limit: start_limit(pick(&keys.start_limit, &defaults.start_limit)),
            on_give_up: pick(&keys.on_give_up, &defaults.on_give_up).map_or(OnGiveUp::Shutdown, |word| word.value.0),
            forward_signals: self.forward_signals(pick(&keys.forward_signals, &defaults.forward_signals)),
            after,
            level: 0,
            requires,
            kind: watched.kind,
            ready: watched.ready,
            start_timeout: watched.start_timeout,
            health: watched.health,
            watchdog: watched.watchdog,
        }
    }

    /// Keys that mean nothing without a queue. In `[defaults]` they are for those workers that have one.
    fn refuse_queue_keys(&mut self, name: &At<String>, keys: &Worker) {
        let all = [
            ("mode", keys.mode.span()),
            ("framing", keys.framing.span()),
            ("prefetch", keys.prefetch.span()),
            ("results", keys.results.span()),
            ("max-items", keys.max_items.span()),
        ];
        for (key, span) in all {
            let Some(span) = span else { continue };
            let message = format!("{key} is for workers with a queue, {} has none", quote(&name.value));
            let only = self.queue_ids.keys().next().filter(|_| self.queue_ids.len() == 1);
            let queue = only.copied().unwrap_or("NAME");
            let help = format!("add queue = {}, or take {key} out", toml_text::string(queue));
            self.problems.push(Problem::error(span, message).help(help));
        }
    }

    fn consumer(&mut self, name: &At<String>, queue: QueueId, keys: &Worker, defaults: &Worker) -> Consumer {
        let results = pick(&keys.results, &defaults.results);
        // All its instances write to the same place.
        self.scope.worker = Some(name.value.clone());
        let consumer = Consumer {
            queue,
            framing: Framing::Line,
            prefetch: small(pick(&keys.prefetch, &defaults.prefetch).map_or(1, |count| count.value.0)),
            results: match results.map(|at| (&at.value.0, at.span)) {
                None | Some((Results::Null, _)) => Results::Null,
                Some((Results::Stdout, _)) => Results::Stdout,
                Some((Results::File(path), span)) => Results::File(self.path(&path.to_string_lossy(), span)),
            },
            max_items: pick(&keys.max_items, &defaults.max_items).map(|count| count.value.0),
            renewal_wait: START_TIMEOUT,
        };
        self.scope.worker = None;
        consumer
    }

    fn restart_delay(&mut self, table: Option<&At<RestartDelayTable>>) -> (Backoff, Duration) {
        let Some(table) = table else { return (RESTART_DELAY, RESET_AFTER) };
        let keys = &table.value;
        let (delay, max) = (keys.delay.value().map(|span| span.0), keys.max.value().map(|span| span.0));
        self.check_backoff(delay, keys.max.given().map(|max| (max.value.0, max.span)));
        let factor = keys.factor.value().map(|factor| factor.0);
        let delays = backoff(delay, factor, max, keys.jitter.value().map(|jitter| jitter.0), RESTART_DELAY);
        (delays, keys.reset_after.value().map_or(RESET_AFTER, |span| span.0))
    }

    /// A signal that is passed on does nothing else to us, so that what stops us, and what we live by, cannot be passed on.
    fn forward_signals(&mut self, list: Option<&At<SignalList>>) -> SignalSet {
        let Some(list) = list else { return SignalSet::EMPTY };
        for name in &list.value.0 {
            let (signal, refuse) = (name.value.0, |why: &str| format!("{} cannot be passed on: {why}", name.value.0));
            if signal.stops_a_run() {
                let problem = Problem::error(name.span, refuse("it stops the run"));
                let help = format!("with stop = [\"{signal} 8s\"] it is what the program gets then");
                self.problems.push(problem.help(help));
            } else if !signal.is_heard() {
                self.error(name.span, refuse("exeunt does not hear it, or needs it itself"));
            }
        }
        list.value.0.iter().map(|name| name.value.0).collect()
    }

    /// One terminal has one owner, and what it types cannot be a source as well.
    pub(super) fn check_terminal(&mut self) {
        let file = self.file;
        let given = |field: &Field<crate::config::value::Flag>| field.given().filter(|at| at.value.0).map(|at| at.span);
        let workers = named(&file.worker).iter().filter_map(|section| section.section.as_ref());
        let owners = workers.filter_map(|keys| Some((given(&keys.terminal)?, keys))).collect::<Vec<_>>();
        let Some(&(first, keys)) = owners.first() else { return };
        for &(span, _) in &owners[1..] {
            let problem = Problem::error(span, "a second worker owns the terminal: one can");
            self.problems.push(problem.related(first, "the first one"));
        }
        let replicas = pick(&keys.replicas, &file.defaults.value().cloned().unwrap_or_default().replicas)
            .map_or(1, |count| count.value.0);
        if replicas > 1 {
            self.error(first, format!("{replicas} replicas cannot own one terminal"));
        }
        let sources = named(&file.source).iter().filter_map(|section| section.section.as_ref());
        for span in sources.filter_map(|source| given(&source.stdin)) {
            let problem = Problem::error(span, "standard input belongs to the worker that owns the terminal");
            self.problems.push(problem.related(first, "it is given away here"));
        }
    }

    fn names(&mut self, names: &Field<Names>, key: &str) -> Vec<WorkerId> {
        let Some(names) = names.value() else { return Vec::new() };
        let mut ids = Vec::new();
        for name in &names.0 {
            let id = self.worker_named(name, key);
            ids.extend(id.filter(|id| !ids.contains(id)));
        }
        ids
    }
}

fn start_limit(limit: Option<&At<OrOff<StartLimitTable>>>) -> Option<StartLimit> {
    let keys = match limit.map(|at| &at.value) {
        Some(OrOff::Off) => return None,
        Some(OrOff::On(table)) => table,
        None => &StartLimitTable::default(),
    };
    Some(StartLimit {
        burst: small(keys.burst.value().map_or(BURST, |count| count.0)),
        interval: keys.interval.value().map_or(INTERVAL, |span| span.0),
    })
}
