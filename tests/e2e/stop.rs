//! The stop: its order, its rungs, and what repeated signals do to it.

use crate::support::{Need, QUICK_RESTART, Sandbox, has, numbered, pool, send, sorted, text, until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Each level is entirely gone, members that linger after their leader included, before the next is told.
#[test]
fn f47_levels_leave_in_reverse_order_and_each_is_gone_before_the_next() {
    let script = r#"
trap 'echo "$1 leader" >>order; exit 0' TERM
(trap 'sleep 0.2; echo "$1 member" >>order; exit 0' TERM; echo "$1 up" >&2; while :; do sleep 0.02; done) &
while :; do sleep 0.02; done
"#;
    let worker = |name: &str, after: &str| {
        format!("[worker.{name}]\ncommand = [\"sh\", \"w.sh\", \"{name}\"]\n{after}\nstop = [\"TERM 30s\"]\n")
    };
    let config = format!("{}{}{}", worker("c", "after = [\"b\"]"), worker("b", "after = [\"a\"]"), worker("a", ""));
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", script);
    let run = sandbox.launch().start();
    for name in ["a up", "b up", "c up"] {
        run.wait_for_line(name);
    }
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let expected = ["c leader", "c member", "b leader", "b member", "a leader", "a member"];
    assert_eq!(sandbox.lines("order"), expected, "{outcome}");
}

/// Says on which rung it is, and goes on to the next.
const STUBBORN: &str = r#"
import signal, time
from worker import record, say, wait_for_event
def term(*_):
    say("rung TERM")
signal.signal(signal.SIGTERM, term)
signal.signal(signal.SIGINT, lambda *_: record("sigint", "seen"))
say("up")
say("rung event", wait_for_event())
while True:
    time.sleep(1000)
"#;

#[test]
fn f50_the_second_and_third_int_climb_one_rung_each() {
    if !has(Need::Python) {
        return;
    }
    let config = "[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nstop = [\"event 10m\", \"TERM 10m\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("w.py", STUBBORN);
    let mut run = sandbox.launch().on_terminal().start();
    run.wait_for_line("up");
    run.type_keys(b"\x03");
    run.wait_for_line("rung event stop shutdown");
    run.type_keys(b"\x03");
    run.wait_for_line("rung TERM");
    run.type_keys(b"\x03");
    let outcome = run.finish();
    assert_eq!(sandbox.read("sigint"), "", "{outcome}");
    assert_eq!(outcome.stderr.matches("rung TERM").count(), 1, "{outcome}");
    assert!(outcome.stderr.to_uppercase().contains("KILL"), "the messages say what the next one will do\n{outcome}");
}

#[test]
fn f50_repeated_term_changes_nothing() {
    let script = "trap 'echo seen >>sigterm' TERM\nwhile IFS= read -r line <&3; do\n\
        read -r word _ <&5; echo \"told $word\" >&2; read -r _ <gate; echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let worker = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 10m\", \"TERM 10m\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file("w.sh", &script.replace("read -r word", "echo holding >&2; read -r word"));
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_items(&["a"]).start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("told stop");
    let waiting = || pending_signals(run.pid());
    for _ in 0..5 {
        run.signal(Signal::SIGTERM);
        // Equal signals coalesce: the next one only when this one was taken.
        until("the signal to be taken", || (waiting() == 0).then_some(()));
    }
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["a"], "{outcome}");
    assert_eq!(sandbox.read("sigterm"), "", "{outcome}");
}

/// Signals that wait for a process, as bits.
fn pending_signals(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn a_stop_budget_is_one_deadline_for_all_levels() {
    let worker = |name: &str, keys: &str| {
        format!("[worker.{name}]\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"TERM 10m\"]\n{keys}\n")
    };
    let config = format!(
        "[supervisor]\nstop-budget = \"1s\"\n{}{}",
        worker("a", "replicas = 3"),
        worker("b", "after = [\"a\"]\nreplicas = 3")
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", "trap '' TERM; echo up >&2; while :; do sleep 1000; done\n");
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 6);
    let begin = Instant::now();
    run.signal(Signal::SIGTERM);
    run.finish();
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1), "before its time: {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// L9: it ends the instant everybody has left, not when the budget is over.
#[test]
fn a_stop_does_not_wait_for_its_budget() {
    let config = "[supervisor]\nstop-budget = \"10m\"\n[worker.w]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGQUIT);
    run.finish().expect_code(0);
}

/// F142: the event, then each signal in turn, then KILL. By the clock of five workers: what one of them sees late, it is itself.
#[test]
fn f142_the_rungs_come_in_order_each_after_its_time() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
import os, signal, time
from worker import record, say, wait_for_event
own = os.environ["EXEUNT_INSTANCE"]
for name in ("USR1", "TERM"):
    signal.signal(getattr(signal, "SIG" + name), lambda *_, name=name: record(own, name, time.monotonic()))
say("up")
line = wait_for_event()
record(own, "event", time.monotonic())
record("line", line)
while True:
    time.sleep(0.01)
    with open(own + ".last", "w") as last:
        last.write(str(time.monotonic()))
    os.rename(own + ".last", own + ".lived")
"#;
    let rungs = "stop = [\"event 1600ms\", \"USR1 1500ms\", \"TERM 1400ms\"]";
    let config = format!("[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nreplicas = 5\n{rungs}\n");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.py", script);
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 5);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let second = |text: &str| text.trim().rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let mut waits = [const { Vec::new() }; 3];
    for instance in (0..5).map(|number| format!("w.{number}")) {
        let rungs = sandbox.lines(&instance);
        let names: Vec<&str> = rungs.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["event", "USR1", "TERM"], "each once\n{outcome}");
        let last = sandbox.read(&format!("{instance}.lived"));
        let times: Vec<f64> = rungs.iter().chain([&last]).map(|text| second(text)).collect();
        waits.iter_mut().zip(times.windows(2)).for_each(|(waits, two)| waits.push(two[1] - two[0]));
        assert!(outcome.stderr.contains(&format!("{instance} left on the KILL rung")), "{outcome}");
    }
    for (mut waits, rung) in waits.into_iter().zip([1.6, 1.5, 1.4]) {
        waits.sort_by(f64::total_cmp);
        // The longest but one: noise goes both ways, and whoever is busy sees all of it late.
        assert!(waits[3] > rung - 0.5, "a rung of {rung} s was over early: {waits:?}");
    }
    for line in sandbox.lines("line") {
        let milliseconds = second(&line);
        assert!(line.starts_with("stop shutdown ") && (1.0..=1600.0).contains(&milliseconds), "{line}");
    }
}

#[test]
fn kill_mode_group_signals_all_members_and_mixed_only_the_leader() {
    let script = "trap 'echo leader >>saw; wait; exit 0' TERM\n\
        (trap 'echo member >>saw; exit 0' TERM; echo up >&2; while :; do sleep 0.02; done) &\n\
        while :; do sleep 0.02; done\n";
    for (mode, expected) in [("group", 2), ("mixed", 1)] {
        let config =
            format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nkill-mode = \"{mode}\"\nstop = [\"TERM 1s\"]\n");
        let sandbox = Sandbox::new(&config);
        sandbox.file("w.sh", script);
        let run = sandbox.launch().start();
        run.wait_for_line("up");
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        assert_eq!(sandbox.lines("saw").len(), expected, "{mode}: {outcome}");
    }
}

#[test]
fn f55_f58_signals_that_mean_nothing_are_harmless() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n");
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    for _ in 0..300 {
        for number in [1, 10, 12, 13, 14, 16, 17, 18, 21, 22, 23, 28, 29] {
            send(run.pid(), Signal::try_from(number).unwrap());
        }
    }
    assert!(run.pid() > 0 && matches!(crate::support::state(run.pid()), Some('S' | 'R')), "it lives");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn f22_f59_a_stop_while_a_restart_is_awaited_starts_nothing_more() {
    let config = "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo once >>starts; echo died >&2; exit 1\"]\nstart-limit = \"off\"\n\
        restart-delay = { delay = \"10m\", factor = 1, max = \"10m\", jitter = 0, reset-after = \"10s\" }\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    // The first restart is immediate, the second is ten minutes away.
    run.wait_for_lines("died", 2);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert_eq!(sandbox.lines("starts").len(), 2);
}

/// A worker that leaves at the event with items unread in its pipe: they are leftovers, uncounted.
#[test]
fn items_left_unread_in_the_pipe_are_handed_back() {
    let script = "read -r line <&3; echo holding >&2; read -r _ <&5; echo \"ok ${line%% *} ${line#* }\" >&4\n";
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nprefetch = 4\nresults = \"stdout\"\nstop = [\"event 20s\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool("", &worker));
    sandbox.file("w.sh", script);
    let run = sandbox.launch().stdin_items(&["a", "b", "c", "d", "e", "f"]).start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.results(), ["a"], "{outcome}");
    assert_eq!(sorted(&outcome.leftovers), ["b", "c", "d", "e", "f"], "{outcome}");
}

/// A stop that is out of time still reads a file to its end: it is its own leftovers here, and what was read of it and what was
/// not would be in it twice.
#[test]
fn a_file_on_stdin_is_read_to_its_end_whatever_the_budget() {
    const ITEMS: usize = 300_000;
    let worker = "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]";
    let sandbox = Sandbox::new(&format!("[supervisor]\nstop-budget = \"1ms\"\n{}", pool("", worker)));
    sandbox.file("w.sh", "read -r line <&3; echo holding >&2; exec sleep 1000\n");
    sandbox.file("left.txt", &text(&numbered(ITEMS)));
    let run = sandbox.launch().stdin_file("left.txt").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.leftovers.len(), ITEMS, "each item once");
    assert!(sorted(&outcome.leftovers) == sorted(numbered(ITEMS)), "each item once");
}
