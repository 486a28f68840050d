//! Scenarios: text files of commands, dashes and the expected orders, with simulated times. No fake world here: each
//! command is one turn of facts, and time passes only where it is written. `EXEUNT_BLESS=1` writes what was ordered.

use crate::told::order;
use exeunt::config::{Context, Files, compile};
use exeunt::machine::{Action, Actions, Event, Machine, Meaning, Question, SourceEnd};
use exeunt::model::plan::{Init, Plan, Role};
use exeunt::model::process::Usage;
use exeunt::model::{
    ExitStatus, InstanceId, Notice, Payload, ProcId, Refusal, Reply, Signal, SignalSet, SourceId, SpawnError, Stage,
    Time, Token, Verdict, WorkerId,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn scenarios_go_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut differing = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if played != text && std::env::var_os("EXEUNT_BLESS").is_some() {
            std::fs::write(&file, played).unwrap();
        } else if played != text {
            differing.push(format!("{}:\n{}", file.display(), first_difference(&text, &played)));
        }
    }
    assert!(differing.is_empty(), "{}\nexplain it, then EXEUNT_BLESS=1 cargo test --test sim", differing.join("\n"));
}

fn first_difference(expected: &str, played: &str) -> String {
    let mut expected = expected.lines();
    let mut before = Vec::new();
    for line in played.lines() {
        let wanted = expected.next();
        if wanted != Some(line) {
            let last = before.iter().rev().take(12).rev().copied().collect::<Vec<_>>().join("\n");
            return format!("{last}\n- {}\n+ {line}", wanted.unwrap_or("(end)"));
        }
        before.push(line);
    }
    format!("- {}", expected.next().unwrap_or("(end)"))
}

/// The whole text with its expectations replaced by what was ordered.
fn play(text: &str) -> String {
    let mut out = String::new();
    let mut stage = None;
    for block in text.split("\n\n") {
        let block = block.trim_matches('\n');
        if block.starts_with('#') {
            let _ = writeln!(out, "{block}\n");
            continue;
        }
        let (commands, _) = block.split_once("\n----").unwrap_or((block, ""));
        let orders = if let Some(toml) = commands.strip_prefix("plan\n") {
            stage = Some(Theatre::new(toml));
            String::new()
        } else {
            let stage = stage.as_mut().expect("a scenario begins with its plan");
            commands.lines().map(|line| stage.play(line)).collect()
        };
        let _ = writeln!(out, "{commands}\n----\n{orders}");
    }
    format!("{}\n", out.trim_end())
}

struct Theatre {
    plan: Rc<Plan>,
    machine: Machine,
    now: Time,
    procs: BTreeMap<u32, ProcId>,
    names: BTreeMap<ProcId, String>,
}

impl Theatre {
    fn new(toml: &str) -> Theatre {
        let environment = |_: &str| Err(std::env::VarError::NotPresent);
        let context =
            Context { directory: Path::new("/"), stem: "scenario", environment: &environment, files: Files::NONE };
        let (options, toml) = toml.strip_prefix("init").map_or((None, toml), |rest| {
            let (options, toml) = rest.split_once('\n').unwrap_or((rest, ""));
            (Some(options), toml)
        });
        let mut plan = compile(toml.as_bytes(), &context).unwrap_or_else(|problems| panic!("{problems:?}")).plan;
        // As `exeunt init` does it: the first worker is what the run is about.
        plan.init = options.map(|options| Init {
            as_zero: vec![],
            wait_all: options.contains(" --wait-all"),
            stop_timeout: options.split_once(" --stop-timeout ").map(|(_, timeout)| duration(timeout)),
        });
        if plan.init.is_some() {
            plan.workers.iter_mut().for_each(|worker| worker.forward_signals = SignalSet::FULL);
        }
        let plan = Rc::new(plan);
        let machine = Machine::new(plan.clone(), 1);
        Theatre { plan, machine, now: Time::ZERO, procs: BTreeMap::new(), names: BTreeMap::new() }
    }

    fn play(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["pass", span] => self.pass(duration(span)),
            ["freeze", span] => {
                self.now = self.now + duration(span);
                self.turn(Vec::new())
            }
            _ => {
                let events = self.events(&words);
                self.turn(events)
            }
        }
    }

    /// Stops at each deadline on the way.
    fn pass(&mut self, span: Duration) -> String {
        let end = self.now + span;
        let mut text = String::new();
        while let Some(due) = self.machine.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            text += &self.turn(Vec::new());
        }
        self.now = end;
        text
    }

    fn turn(&mut self, events: Vec<Event>) -> String {
        let mut actions = Actions::new();
        for event in events.into_iter().chain([Event::Tick]) {
            self.machine.handle(self.now, event, &mut actions);
        }
        let mut text = String::new();
        for action in &actions {
            if let Action::Spawn { proc, instance } = action {
                self.procs.insert(instance.0, *proc);
                self.names.insert(*proc, self.plan.instance_name(*instance));
            }
            if let Some(order) = order(action, &self.plan, &self.names) {
                let _ = writeln!(text, "{} {order}", self.now);
            }
        }
        text
    }

    /// One line of a scenario, as the facts of one turn.
    fn events(&self, words: &[&str]) -> Vec<Event> {
        let usage = Usage::default();
        let exit = |proc, text: &str, in_hand| Event::Exited {
            proc,
            status: status(text),
            in_hand,
            usage,
            out_of_memory: false,
        };
        match *words {
            ["begin"] => vec![Event::Began],
            ["signal", "INT"] => vec![Event::Signalled { signal: Signal::INT, meaning: Meaning::Interrupt }],
            ["forward", name] => {
                vec![Event::Signalled { signal: Signal::parse(name).expect(name), meaning: Meaning::Forward }]
            }
            ["signal", name] => {
                vec![Event::Signalled { signal: Signal::parse(name).expect(name), meaning: Meaning::Stop }]
            }
            ["runs", ref names @ ..] => names.iter().map(|name| Event::Spawned { proc: self.proc(name) }).collect(),
            ["cannot-start", name, errno] => {
                let error = SpawnError { stage: Stage::Exec, errno: errno.parse().expect(errno) };
                vec![Event::SpawnFailed { proc: self.proc(name), error }]
            }
            ["leaves", name, how] => {
                vec![exit(self.proc(name), how, false), Event::MembersGone { proc: self.proc(name) }]
            }
            ["runs-out-of-memory", name] => {
                let (proc, status) = (self.proc(name), status("KILL"));
                vec![
                    Event::Exited { proc, status, in_hand: false, usage, out_of_memory: true },
                    Event::MembersGone { proc },
                ]
            }
            ["dies-with-item", name, how] => {
                vec![exit(self.proc(name), how, true), Event::MembersGone { proc: self.proc(name) }]
            }
            ["leaves-behind", name, how, count] => {
                let count = count.parse().expect(count);
                vec![exit(self.proc(name), how, false), Event::MembersLeft { proc: self.proc(name), count }]
            }
            ["members", name, "0"] => vec![Event::MembersGone { proc: self.proc(name) }],
            ["members", name, n] => vec![Event::MembersLeft { proc: self.proc(name), count: n.parse().expect(n) }],
            ["gives", name, ref items @ ..] => {
                let items = items.iter().map(|text| Payload::from(text.as_bytes())).collect();
                vec![Event::Submitted { source: self.source(name), items }]
            }
            ["reads", name, ref items @ ..] => {
                let source = self.source(name);
                let payloads: Vec<Payload> = items.iter().map(|text| Payload::from(text.as_bytes())).collect();
                let bytes = payloads.iter().map(|payload| payload.len() as u64 + 1).sum();
                vec![Event::Submitted { source, items: payloads }, Event::StdinRead { source, bytes }]
            }
            ["ends", name] => vec![Event::SourceEnded { source: self.source(name), end: SourceEnd::Whole }],
            ["abandoned", name] => {
                vec![Event::SourceEnded { source: self.source(name), end: SourceEnd::Abandoned { torn: None } }]
            }
            ["wrote", name, frames] => {
                vec![Event::Wrote { proc: self.proc(name), frames: frames.parse().expect(frames), progress: true }]
            }
            ["written", worker, count] => {
                vec![Event::ResultsWritten { worker: self.worker(worker), count: count.parse().expect(count) }]
            }
            ["closed", worker, errno] => {
                vec![Event::ResultsClosed { worker: self.worker(worker), errno: errno.parse().expect(errno) }]
            }
            ["garbles", name, ref words @ ..] => {
                vec![Event::Garbled { proc: self.proc(name), seen: words.join(" ").into_bytes() }]
            }
            ["closes-replies", name] => vec![Event::RepliesClosed { proc: self.proc(name) }],
            ["breaks", source, errno] => {
                let end = SourceEnd::Failed { errno: errno.parse().expect(errno) };
                vec![Event::SourceEnded { source: self.source(source), end }]
            }
            ["notifies", name, ref words @ ..] => {
                vec![Event::Notified { proc: self.proc(name), notice: notice(words) }]
            }
            ["answers", name, question, yes] => {
                let question = if question == "ready" { Question::Ready } else { Question::Health };
                let answer = if yes == "yes" { Ok(()) } else { Err(Refusal::Status(503)) };
                vec![Event::Answered { proc: self.proc(name), question, answer }]
            }
            ["orphan"] => vec![Event::OrphanReaped],
            ["strangers", count] => vec![Event::Strangers { count: count.parse().expect(count) }],
            ["says", name, verb, token, ref rest @ ..] => vec![self.says(name, verb, token, &rest.join(" "))],
            _ => panic!("no such command: {}", words.join(" ")),
        }
    }

    fn says(&self, name: &str, verb: &str, token: &str, rest: &str) -> Event {
        let token = Token::parse(token.as_bytes()).expect(token);
        let reason = (!rest.is_empty()).then(|| rest.to_owned());
        let verdict = match verb {
            "ok" => Verdict::Ok(reason.map(|text| Payload::from(text.into_bytes()))),
            "retry" => Verdict::Retry(reason),
            "fail" => Verdict::Fail(reason),
            "release" => Verdict::Release,
            "touch" => return Event::Replied { proc: self.proc(name), reply: Reply::Touch(token) },
            _ => panic!("no such verdict: {verb}"),
        };
        Event::Replied { proc: self.proc(name), reply: Reply::Settle { token, verdict } }
    }

    /// The present incarnation of an instance.
    fn proc(&self, name: &str) -> ProcId {
        let ids = (0..u32::try_from(self.plan.instances.len()).unwrap()).map(InstanceId);
        let id = ids.into_iter().find(|&id| self.plan.instance_name(id) == name).expect(name);
        *self.procs.get(&id.0).unwrap_or_else(|| panic!("{name} was not started"))
    }

    fn source(&self, name: &str) -> SourceId {
        let at = self.plan.sources.iter().position(|source| source.name == name).expect(name);
        SourceId(u32::try_from(at).unwrap())
    }

    fn worker(&self, name: &str) -> WorkerId {
        let named = |role: &Role| match *role {
            Role::Worker { worker, .. } if self.plan.worker(worker).name == name => Some(worker),
            Role::Worker { .. } | Role::Source(_) => None,
        };
        self.plan.instances.iter().find_map(named).expect(name)
    }
}

/// What a worker tells of itself, in few words.
fn notice(words: &[&str]) -> Notice {
    match *words {
        ["ready"] => Notice::Ready,
        ["stopping"] => Notice::Stopping,
        ["alive"] => Notice::Watchdog,
        ["trigger"] => Notice::Trigger,
        ["extend", span] => Notice::Extend(duration(span)),
        ["status", ref words @ ..] => Notice::Status(words.join(" ")),
        _ => panic!("no such notice: {words:?}"),
    }
}

/// `0`, `3` or a signal's name.
fn status(text: &str) -> ExitStatus {
    match text.parse() {
        Ok(code) => ExitStatus::Exited(code),
        Err(_) => ExitStatus::Signalled { signal: Signal::parse(text).expect(text), core: false },
    }
}

/// `250ms` or `3s`.
fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().expect(text)),
        None => Duration::from_secs(text.trim_end_matches('s').parse().expect(text)),
    }
}
