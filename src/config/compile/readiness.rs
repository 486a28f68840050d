//! When a worker is ready, and how one that is ready is watched.

use super::Linker;
use super::program::pick;
use super::queue::small;
use crate::config::problem::{Place, Problem, Span};
use crate::config::raw::Worker;
use crate::config::read::{At, Field};
use crate::config::value::{Command, HealthTable, HttpText, OrOff, ReadyTable, TcpText, http_url, tcp_address};
use crate::model::plan::{self, Health, INSTANCE_MARK, Kind, Probe, Program, Ready};
use std::time::Duration;

/// On top of a delay, which cannot be late by itself.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const FAILURES: u64 = 3;

/// What a worker's keys and the defaults say of its being ready.
pub(super) struct Watched {
    pub kind: Kind,
    pub ready: Option<Ready>,
    pub start_timeout: Option<Duration>,
    pub health: Option<Health>,
    pub watchdog: Option<Duration>,
}

/// The three keys of a probe, in one or the other table.
struct ProbeKeys<'a> {
    command: &'a Field<Command>,
    tcp: &'a Field<TcpText>,
    http: &'a Field<HttpText>,
}

impl ProbeKeys<'_> {
    fn given(&self) -> [(&'static str, Option<Span>); 3] {
        [("command", self.command.span()), ("tcp", self.tcp.span()), ("http", self.http.span())]
    }
}

impl<'a> From<&'a ReadyTable> for ProbeKeys<'a> {
    fn from(table: &'a ReadyTable) -> ProbeKeys<'a> {
        ProbeKeys { command: &table.command, tcp: &table.tcp, http: &table.http }
    }
}

impl<'a> From<&'a HealthTable> for ProbeKeys<'a> {
    fn from(table: &'a HealthTable) -> ProbeKeys<'a> {
        ProbeKeys { command: &table.command, tcp: &table.tcp, http: &table.http }
    }
}

impl Linker<'_> {
    /// To be asked within the scope of the worker's program: its probes know the same variables. What stands in the defaults
    /// is for those workers that it means something to.
    pub(super) fn watched(&mut self, keys: &Worker, defaults: &Worker, program: &Program) -> Watched {
        let kind = self.kind(keys, defaults);
        let ready = match kind {
            Kind::Oneshot => None,
            Kind::Service => self.ready(keys, defaults, program),
        };
        let health = match (pick(&keys.health, &defaults.health).map(|at| (&at.value, at.span)), kind) {
            (Some((OrOff::On(table), span)), Kind::Service) => self.health(table, span),
            (Some((OrOff::On(_), _)), Kind::Oneshot) | (Some((OrOff::Off, _)) | None, _) => None,
        };
        let start_timeout = match (pick(&keys.start_timeout, &defaults.start_timeout).map(|at| &at.value), &ready) {
            (Some(OrOff::Off), _) | (None, None) => None,
            (Some(OrOff::On(time)), _) => Some(time.0),
            (None, Some(Ready::Delay(delay))) => Some(*delay + START_TIMEOUT),
            (None, Some(Ready::Fd(_) | Ready::Notify | Ready::Probe(_))) => Some(START_TIMEOUT),
        };
        Watched { kind, start_timeout, health, watchdog: self.watchdog(keys, defaults, kind, ready.as_ref()), ready }
    }

    /// A oneshot has an end, and all that is said of those that have none is refused.
    fn kind(&mut self, keys: &Worker, defaults: &Worker) -> Kind {
        let own = keys.r#type.value().map(|word| word.0);
        let feeds = !keys.queue.is_absent();
        let default = defaults.r#type.value().map(|word| word.0).filter(|_| !feeds);
        let kind = own.or(default).unwrap_or(Kind::Service);
        if kind == Kind::Service {
            return kind;
        }
        if let Some(span) = keys.r#type.span().filter(|_| feeds) {
            self.error(span, "a oneshot has an end, and a worker with a queue waits for items");
        }
        if let Some(span) = keys.ready.span() {
            self.error(span, "a oneshot is ready when it has ended well, and ready says otherwise");
        }
        let is_on = |field: &Field<OrOff<HealthTable>>| !matches!(field.value(), Some(OrOff::Off));
        if let Some(span) = keys.health.span().filter(|_| is_on(&keys.health)) {
            let problem = Problem::error(span, "health is for those that go on running, and a oneshot has an end");
            self.problems.push(problem.help("start-timeout is the longest that it may take"));
        }
        kind
    }

    fn ready(&mut self, keys: &Worker, defaults: &Worker, program: &Program) -> Option<Ready> {
        let table = pick(&keys.ready, &defaults.ready)?;
        let ready = self.way_to_tell(table)?;
        match (&ready, program.place) {
            (Ready::Notify, plan::Place::Terminal) => {
                let span = keys.ready.span()?;
                let message = "notify is not for the worker that owns the terminal: it shares our session, by which senders are known";
                self.problems.push(Problem::error(span, message).help("take a probe: command, tcp or http"));
                None
            }
            (Ready::Fd(fd), _) => {
                self.check_descriptor(*fd, !keys.queue.is_absent(), program, table);
                Some(ready)
            }
            (Ready::Notify | Ready::Probe(_) | Ready::Delay(_), _) => Some(ready),
        }
    }

    /// 3 and 4 are a queue worker's for its items, 5 is everybody's for the exit event.
    fn check_descriptor(&mut self, fd: u8, feeds: bool, program: &Program, table: &At<ReadyTable>) {
        let span = table.value.fd.span().unwrap_or(table.span);
        if feeds && (3..=5).contains(&fd) {
            let message = format!("descriptor {fd} of a queue worker is for its items and its exit event");
            self.problems.push(Problem::error(span, message).help("take 6 or higher"));
        } else if fd == 5 && program.has_event_rung() {
            let problem =
                Problem::error(span, "descriptor 5 is for the exit event, and the stop ladder has an event rung");
            self.problems.push(problem.help("take another: 3, 4, or 6 to 9"));
        }
    }

    fn way_to_tell(&mut self, table: &At<ReadyTable>) -> Option<Ready> {
        let (keys, span) = (&table.value, table.span);
        let others = [("fd", keys.fd.span()), ("notify", keys.notify.span()), ("delay", keys.delay.span())];
        let probe = ProbeKeys::from(keys);
        let help = "one of fd = 3, notify = true, command = […], tcp = \"…\", http = \"…\" and delay = \"2s\"";
        self.exactly_one("ready", &[&others[..], &probe.given()].concat(), span, help)?;
        if let Some(fd) = keys.fd.value() {
            return u8::try_from(fd.0).ok().map(Ready::Fd);
        }
        if let Some(notify) = keys.notify.given() {
            if !notify.value.0 {
                let problem = Problem::error(notify.span, "notify = false is no way to tell");
                self.problems.push(problem.help("write notify = true, or leave ready out"));
            }
            return Some(Ready::Notify);
        }
        if let Some(delay) = keys.delay.value() {
            return Some(Ready::Delay(delay.0));
        }
        self.probe(&probe).map(Ready::Probe)
    }

    fn health(&mut self, keys: &HealthTable, span: Span) -> Option<Health> {
        let probe = ProbeKeys::from(keys);
        self.exactly_one("health", &probe.given(), span, "one of command = […], tcp = \"…\" and http = \"…\"")?;
        Some(Health {
            probe: self.probe(&probe)?,
            interval: keys.interval.value().map_or(INTERVAL, |span| span.0),
            timeout: keys.timeout.value().map_or(TIMEOUT, |span| span.0),
            failures: small(keys.failures.value().map_or(FAILURES, |count| count.0)),
        })
    }

    fn watchdog(&mut self, keys: &Worker, defaults: &Worker, kind: Kind, ready: Option<&Ready>) -> Option<Duration> {
        let Some(OrOff::On(time)) = pick(&keys.watchdog, &defaults.watchdog).map(|at| &at.value) else { return None };
        if ready == Some(&Ready::Notify) {
            return Some(time.0);
        }
        let span = keys.watchdog.span()?;
        // Whoever said of `ready` what was refused may have meant notify.
        let table = pick(&keys.ready, &defaults.ready).map(|table| table.span);
        let refused =
            matches!(keys.ready, Field::Bad(_)) || ready.is_none() && table.is_some_and(|it| self.has_problem(it));
        if kind == Kind::Oneshot {
            let problem = Problem::error(span, "a watchdog is for those that go on running, and a oneshot has an end");
            self.problems.push(problem.help("start-timeout is the longest that it may take"));
        } else if !refused {
            let problem = Problem::error(span, "a watchdog waits for WATCHDOG=1, and nothing listens without notify");
            let help = "add ready = { notify = true }; a program that says nothing by itself is asked by health";
            self.problems.push(problem.help(help));
        }
        None
    }

    /// Refuses a table that says several of these, or none.
    fn exactly_one(&mut self, table: &str, all: &[(&str, Option<Span>)], span: Span, help: &str) -> Option<()> {
        let given = all.iter().filter(|(_, span)| span.is_some()).map(|(key, _)| *key).collect::<Vec<_>>();
        let found = match given.split_last() {
            Some((_, [])) => return Some(()),
            // What was given was no key at all, which has been told.
            None if self.has_problem(span) => return None,
            None => "none is here".to_owned(),
            Some((last, first)) => format!("here are {} and {last}", first.join(", ")),
        };
        let what = if table == "ready" { "one way to tell" } else { "one question" };
        self.problems.push(Problem::error(span, format!("{table} takes {what}, {found}")).help(help));
        None
    }

    fn has_problem(&self, within: Span) -> bool {
        let inside = |place: Place| match place {
            Place::Span(span) => within.start <= span.start && span.end <= within.end,
            Place::File | Place::Point { .. } => false,
        };
        self.problems.is_full() || self.problems.iter().any(|problem| inside(problem.place))
    }

    fn probe(&mut self, keys: &ProbeKeys<'_>) -> Option<Probe> {
        if let Some(command) = keys.command.given() {
            return Some(Probe::Command(self.command(&command.value)));
        }
        if let Some(tcp) = keys.tcp.given() {
            let address = tcp_address(&self.address(&tcp.value.0.0, tcp.span)?, tcp.span);
            return address.map(Probe::Tcp).map_err(|problem| self.problems.push(problem)).ok();
        }
        let http = keys.http.given()?;
        let url = http_url(&self.address(&http.value.0.0, http.span)?, http.span);
        url.map(Probe::Http).map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Its variables expanded, but never to the instance's name, which is known too late to look an address over.
    fn address(&mut self, text: &str, span: Span) -> Option<String> {
        let expanded = self.try_expand(text, span)?;
        if expanded.contains(INSTANCE_MARK) {
            let problem = Problem::error(span, "${EXEUNT_INSTANCE} cannot stand in an address");
            self.problems
                .push(problem.help("a command can be told its instance, or a worker of its own written for each"));
            return None;
        }
        Some(expanded)
    }
}
