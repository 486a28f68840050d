//! A plan as a person reads it.

mod identity;
mod watched;

use super::needs;
use crate::config::{quote, show, show_size};
use crate::model::SignalSet;
use crate::model::plan::{
    Backoff, Consumer, End, Feed, KillMode, Log, OnFull, OnGiveUp, Place, Plan, Program, QueuePlan, Restart, Results,
    Role, SourcePlan, Step, Words, WorkerPlan,
};
use crate::model::printable::{is_printable, printable};
use crate::model::{Framing, InstanceId};
use std::fmt::Write as _;

/// Bytes that pipes and lines of one process may hold in our memory: a reply line, an item's frame, a chunk.
const BUFFERS: u64 = 72 * 1024;

/// The plan, every default filled in; how a stop goes and how long it takes; how the run ends; what it needs.
pub fn describe(plan: &Plan, file_name: &str) -> String {
    let mut text = format!("{} is good: the plan of {}\n", quote(file_name), quote(&plan.name));
    plan.queues.iter().for_each(|queue| text.push_str(&queue_text(queue)));
    plan.sources.iter().for_each(|source| text.push_str(&source_text(plan, source)));
    plan.workers.iter().for_each(|worker| text.push_str(&worker_text(plan, worker)));
    text.push_str(&stop_text(plan));
    text.push_str(&end_text(plan));
    text.push_str(&needs_text(plan));
    text
}

/// One line of a section: what, and then the words about it. They may come from the file.
fn line(text: &mut String, what: &str, words: &str) {
    let _ = writeln!(text, "  {what:<10}{}", printable(words));
}

fn queue_text(queue: &QueuePlan) -> String {
    let mut text = format!("\nqueue {}\n", queue.name);
    let full = match queue.on_full {
        OnFull::Block => "when it is full its sources are not read",
        OnFull::Reject => "when it is full items become dead letters",
    };
    let (bytes, item) = (show_size(queue.max_bytes), show_size(queue.max_item as u64));
    line(
        &mut text,
        "holds",
        &format!("{} of {item} at most, {bytes} together; {full}", count(queue.size as u64, "item")),
    );
    let time = queue.item_timeout.map_or("any time".to_owned(), show);
    let (attempts, crashes) = (count(queue.max_attempts.into(), "attempt"), count(queue.max_crashes.into(), "crash"));
    line(&mut text, "an item", &format!("has {time}; after {attempts} or {crashes} it is a dead letter"));
    line(&mut text, "again", &format!("after {}", backoff_words(&queue.backoff)));
    let place = queue.leftovers.as_ref().map_or("stderr".to_owned(), |path| path.display().to_string());
    let drain = if queue.drain_on_stop { "the queue is worked off first, " } else { "" };
    let limit = match queue.leftovers {
        Some(_) => format!("; stdin is read into it up to {}", show_size(queue.leftovers_max)),
        None => String::new(),
    };
    line(&mut text, "at a stop", &format!("{drain}unfinished items go to {place}{limit}"));
    if queue.leftovers_first {
        line(&mut text, "first", "items in the leftovers are taken in before the source is read");
    }
    text
}

fn backoff_words(backoff: &Backoff) -> String {
    let (delay, max) = (show(backoff.delay), show(backoff.max));
    format!("{delay}, ×{} each time up to {max}, ±{}%", backoff.factor, backoff.jitter * 100.0)
}

fn source_text(plan: &Plan, source: &SourcePlan) -> String {
    let mut text = format!("\nsource {} -> queue {}\n", source.name, plan.queue(source.queue).name);
    let framing = match source.framing {
        Framing::Line => "an item ends with a line feed",
        Framing::Nul => "an item ends with a NUL byte",
    };
    match &source.feed {
        Feed::Stdin => line(&mut text, "reads", &format!("stdin; {framing}")),
        Feed::Command(program) => {
            line(&mut text, "reads", &format!("the output of its command; {framing}"));
            program_text(&mut text, program, &source.name);
        }
    }
    text
}

fn worker_text(plan: &Plan, worker: &WorkerPlan) -> String {
    let mut text = match &worker.consumer {
        Some(consumer) => format!("\nworker {} <- queue {}", worker.name, plan.queue(consumer.queue).name),
        None => format!("\nworker {} (a plain service)", worker.name),
    };
    let _ = match worker.replicas {
        1 => writeln!(text),
        replicas => writeln!(text, ", {replicas} replicas"),
    };
    let first = format!("{}.0", worker.name);
    program_text(&mut text, &worker.program, &first);
    if worker.replicas > 1 && worker.program.differs_by_instance() {
        line(&mut text, "instances", &format!("each with its own name where {first} stands"));
    }
    if let Some(consumer) = &worker.consumer {
        line(&mut text, "works", &consumer_words(consumer));
    }
    if worker.program.place == Place::Terminal {
        line(&mut text, "terminal", "owns standard input and the foreground");
    }
    let forwarded = worker.forward_signals.iter().map(|signal| signal.to_string()).collect::<Vec<_>>();
    if !forwarded.is_empty() {
        line(&mut text, "passed on", &forwarded.join(", "));
    }
    watched::lines(worker, &first).into_iter().for_each(|(what, words)| line(&mut text, what, &words));
    let requires = worker.requires.iter().map(|&id| plan.worker(id).name.as_str()).collect::<Vec<_>>();
    if !requires.is_empty() {
        line(&mut text, "requires", &requires.join(", "));
    }
    let after = worker.after.iter().map(|&id| plan.worker(id).name.as_str()).collect::<Vec<_>>();
    if !after.is_empty() {
        line(&mut text, "after", &after.join(", "));
    }
    line(&mut text, "restart", &restart_words(worker));
    text
}

fn consumer_words(consumer: &Consumer) -> String {
    let results = match &consumer.results {
        Results::Null => "are dropped".to_owned(),
        Results::Stdout => "go to stdout".to_owned(),
        Results::File(path) => format!("are appended to {}", path.display()),
    };
    let replaced =
        consumer.max_items.map_or(String::new(), |items| format!("; replaced after {} at most", count(items, "item")));
    let held = count(consumer.prefetch.into(), "item");
    format!("mode lines, holds {held} at a time; results {results}{replaced}")
}

fn restart_words(worker: &WorkerPlan) -> String {
    let when = match worker.restart {
        Restart::Always => "always",
        Restart::OnFailure => "on failure",
        Restart::Never => return "never".to_owned(),
    };
    let delay = backoff_words(&worker.restart_delay);
    let reset = show(worker.restart_reset_after);
    format!("{when}: at once, then after {delay}, anew after {reset} up; {}", give_up_words(worker))
}

fn give_up_words(worker: &WorkerPlan) -> String {
    let then = match worker.on_give_up {
        OnGiveUp::Shutdown => "the run is shut down",
        OnGiveUp::Ignore => "the run goes on",
    };
    match worker.start_limit {
        Some(limit) => {
            format!("given up at {} failures in {}, then {then}", limit.burst, show(limit.interval))
        }
        None => "never given up".to_owned(),
    }
}

/// As the instance of this name is told.
fn program_text(text: &mut String, program: &Program, instance: &str) {
    let words = program.words(instance);
    line(text, "command", &shell_words(&words.command));
    if let Some(directory) = &words.working_directory {
        line(text, "in", &directory.display().to_string());
    }
    environment_text(text, program.env_clear, &words);
    identity::lines(&program.identity).into_iter().for_each(|(what, words)| line(text, what, &words));
    let shields = [("ignores", program.ignore_signals), ("blocks", program.block_signals)];
    shields.into_iter().filter(|(_, set)| !set.is_empty()).for_each(|(what, set)| line(text, what, &signals(set)));
    if program.log == Log::Null {
        line(text, "log", "null");
    }
    if program.success_exit_status != [0] {
        let codes = program.success_exit_status.iter().map(u8::to_string).collect::<Vec<_>>();
        line(text, "success", &format!("exit {}", codes.join(", ")));
    }
    line(text, "stop", &format!("{}, KILL {}", ladder_words(program), kill_mode_words(program.kill_mode)));
}

/// The names alone: a value may be nobody's business.
fn environment_text(text: &mut String, clear: bool, words: &Words) {
    let mut names = words.env.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    names.retain(|name| words.secrets.iter().all(|secret| secret.name != *name));
    names.extend(words.secrets.iter().map(|secret| format!("{} (from {})", secret.name, secret.path.display())));
    match (clear, names.is_empty()) {
        (false, true) => {}
        (false, false) => line(text, "env", &format!("exeunt's own and {}", names.join(", "))),
        (true, true) => line(text, "env", "none"),
        (true, false) => line(text, "env", &format!("only {}", names.join(", "))),
    }
}

fn kill_mode_words(mode: KillMode) -> &'static str {
    match mode {
        KillMode::Mixed => "(signals to the leader, KILL to all members)",
        KillMode::Group => "(all to all members)",
        KillMode::Process => "(all to the leader only)",
    }
}

fn ladder_words(program: &Program) -> String {
    let rung = |rung: &crate::model::plan::Rung| match rung.step {
        Step::Event => format!("event {}", show(rung.wait)),
        Step::Signal(signal) => format!("{signal} {}", show(rung.wait)),
    };
    program.ladder.iter().map(rung).collect::<Vec<_>>().join(", ")
}

fn signals(set: SignalSet) -> String {
    set.iter().map(|signal| signal.to_string()).collect::<Vec<_>>().join(", ")
}

fn shell_words(words: &[String]) -> String {
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// As a shell would take it, so that it can be tried out.
fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false if !word.chars().all(is_printable) => format!("$'{}'", word.chars().map(ansi_c).collect::<String>()),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A character between `$'` and `'`, as bash and other shells read it.
fn ansi_c(c: char) -> String {
    match c {
        '\\' | '\'' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        _ if is_printable(c) => c.to_string(),
        _ => c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
    }
}

fn stop_text(plan: &Plan) -> String {
    let mut text = "\nstop, in this order\n".to_owned();
    let longest = plan.longest_stop();
    for ((level, &time), number) in plan.stop_levels().iter().zip(&longest.ladders).zip(1u32..) {
        let _ = writeln!(text, "  {number}. {} (KILL after {})", level_words(plan, level), show(time));
    }
    let extra =
        [(longest.survivors, "survivors"), (longest.last, "stdin and last results"), (longest.strangers, "strangers")];
    let extra = extra.into_iter().filter(|(time, _)| !time.is_zero());
    let extra = extra.map(|(time, whose)| format!("{} for {whose}", show(time)));
    let terms = longest.ladders.iter().map(|&time| show(time)).chain(extra).collect::<Vec<_>>();
    let sum = longest.total();
    let added = format!("{} = {}", terms.join(" + "), show(sum));
    let budget = match plan.stop_budget {
        Some(budget) if budget < sum => format!(", cut to {} by the stop-budget", show(budget)),
        Some(budget) => format!(", within the stop-budget of {}", show(budget)),
        None => String::new(),
    };
    line(&mut text, "at worst", &format!("{added}{budget}"));
    text
}

/// Names of the sources and workers of a level, each once.
fn level_words(plan: &Plan, level: &[InstanceId]) -> String {
    let name = |&id: &InstanceId| match plan.role(id) {
        Role::Source(source) => format!("source {}", plan.source(source).name),
        Role::Worker { worker, .. } => format!("worker {}", plan.worker(worker).name),
    };
    let mut names = level.iter().map(name).collect::<Vec<_>>();
    names.dedup();
    names.join(", ")
}

fn end_text(plan: &Plan) -> String {
    let mut text = "\nend\n".to_owned();
    let services = plan.workers.iter().any(|worker| worker.consumer.is_none());
    let unfed = plan.queues.iter().enumerate().any(|(i, _)| plan.sources.iter().all(|s| s.queue.index() != i));
    let when = match (plan.sources.is_empty(), plan.end, services) {
        _ if unfed => "never by itself: a queue without a source could be fed any time",
        (true, _, _) => "when no worker runs or is due to be started",
        (false, End::Work, true) => "when the sources have ended and all items are settled; services are then stopped",
        (false, End::Idle, true) => "when the sources have ended, all items are settled and no service is wanted up",
        (false, End::Idle | End::Work, false) => "when the sources have ended and all items are settled",
    };
    line(&mut text, "when", when);
    if let Some(worker) = plan.exit_code_from {
        line(&mut text, "exit code", &format!("that of the worker {}", plan.worker(worker).name));
    }
    text
}

fn needs_text(plan: &Plan) -> String {
    let mut text = "\nneeds at most\n".to_owned();
    let processes = plan.instances.len() as u64;
    let probes = match needs::probe_processes(plan).count() as u64 {
        0 => String::new(),
        probes => format!(" and {}", count(probes, "probe")),
    };
    line(&mut text, "processes", &format!("{processes}{probes}, and what they start themselves"));
    line(&mut text, "files", &format!("{} descriptors", needs::descriptors(plan)));
    let items = plan.queues.iter().map(|queue| queue.max_bytes).fold(0, u64::saturating_add);
    let buffers = processes.saturating_mul(BUFFERS);
    let (items, buffers) = (show_size(items), show_size(buffers));
    line(&mut text, "memory", &format!("{items} of items, {buffers} of buffers"));
    text
}

fn count(number: u64, what: &str) -> String {
    let plural = if what.ends_with("sh") { "es" } else { "s" };
    format!("{number} {what}{}", if number == 1 { "" } else { plural })
}
