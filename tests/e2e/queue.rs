//! The queue at work: windows, limits, framings, sources.

use crate::support::{QUICK_BACKOFF, QUICK_RESTART, Sandbox, numbered, pool, sorted, until};
use nix::sys::signal::Signal;

const ECHO: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";

fn echo_pool(queue: &str, worker: &str) -> Sandbox {
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{worker}");
    let sandbox = Sandbox::new(&pool(queue, &worker));
    sandbox.file("w.sh", ECHO);
    sandbox
}

/// A queue fed by `in.sh`.
fn command_source(framing: &str, source: &str) -> Sandbox {
    let config = format!(
        "[queue.q]\nleftovers = \"left.txt\"\n\
         [source.in]\nqueue = \"q\"\ncommand = [\"sh\", \"in.sh\"]\n{framing}\n\
         [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("in.sh", source);
    sandbox.file("w.sh", ECHO);
    sandbox
}

#[test]
fn max_items_replaces_the_instance_and_loses_nothing() {
    let script = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; echo $$ >>pids; done\n\
        read -r word reason ms <&5; echo \"$word $reason\" >>told\n";
    let sandbox = echo_pool("", &format!("max-items = 3\nstop = [\"event 20s\"]\n{QUICK_RESTART}"));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&numbered(10)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(10), "{outcome}");
    let pids = sandbox.lines("pids");
    let counts: Vec<usize> = pids.chunk_by(|a, b| a == b).map(<[String]>::len).collect();
    assert_eq!(counts, [3, 3, 3, 1], "{outcome}");
    assert_eq!(sandbox.lines("told").iter().filter(|line| *line == "stop max-items").count(), 3, "{outcome}");
}

#[test]
fn prefetch_16_with_several_replicas_does_every_item_once() {
    let items = numbered(3000);
    let outcome = echo_pool("size = 200", "prefetch = 16\nreplicas = 4").launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items));
}

/// In a window of 8, the oldest is blamed; the others go back to the head, uncounted and in order.
#[test]
fn only_the_oldest_of_a_window_is_blamed_and_the_others_keep_their_order() {
    let script = "[ -e died ] || { read -r line <&3; : >died; kill -9 $$; }\n\
        while IFS= read -r line <&3; do echo \"${line#* }\" >>order; echo \"ok ${line%% *}\" >&4; done\n";
    let queue = "max-crashes = 2\nbackoff = { delay = \"2s\", factor = 1, max = \"2s\", jitter = 0 }";
    let sandbox = echo_pool(queue, &format!("prefetch = 8\n{QUICK_RESTART}"));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().report_json().stdin_items(&numbered(6)).finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("order"), ["item-2", "item-3", "item-4", "item-5", "item-6", "item-1"], "{outcome}");
    assert_eq!(outcome.count("crashed"), 1, "{outcome}");
}

#[test]
fn a_file_of_results_is_appended_to() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"file:out.txt\""));
    sandbox.file("w.sh", ECHO);
    for item in ["a", "b"] {
        let outcome = sandbox.launch().stdin_items(&[item]).finish();
        outcome.expect_code(0);
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
    assert_eq!(sandbox.lines("out.txt"), ["a", "b"]);
}

#[test]
fn a_name_with_a_line_feed_is_a_dead_letter_for_a_worker_that_reads_lines() {
    let config = pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"")
        .replace("stdin = true", "stdin = true\nframing = \"nul\"");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", ECHO);
    let outcome = sandbox.launch().stdin_text("one\0two\nlines\0three").finish();
    outcome.expect_code(65);
    assert_eq!(outcome.results(), ["one", "three"], "{outcome}");
    let reason = outcome.dead_letter("two\nlines")["reason"].to_string().to_lowercase();
    assert!(reason.contains("line feed") || reason.contains("line-feed") || reason.contains("linefeed"), "{reason}");
}

/// Leftovers use the framing of the source, so that they can be fed in again.
#[test]
fn leftovers_of_a_nul_source_are_ended_by_nul() {
    let config = pool("", "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]")
        .replace("stdin = true", "stdin = true\nframing = \"nul\"");
    let sandbox = Sandbox::new(&config);
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do echo holding >&2; read -r _ <&5; echo \"ok ${line%% *}\" >&4; done\n",
    );
    let run = sandbox.launch().stdin_text("a\0b\0c d\0").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(75);
    assert_eq!(sandbox.read("left.txt"), "b\0c d\0");
}

/// In hand counts: a queue of one is full while its item is at work.
#[test]
fn f141_a_full_queue_that_rejects_makes_dead_letters_of_the_rest() {
    let sandbox = echo_pool("size = 1\non-full = \"reject\"", "");
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do read -r _ <gate; echo \"ok ${line%% *} ${line#* }\" >&4; done\n",
    );
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_items(&numbered(5)).start();
    until("four rejected items", || (sandbox.lines("left.txt.dead").len() == 4).then_some(()));
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(65);
    assert_eq!(outcome.results(), ["item-1"], "{outcome}");
    assert!(outcome.dead_letter("item-5")["reason"].to_string().to_lowercase().contains("full"), "{outcome}");
}

/// Backpressure is not reading: the source is held up by its own pipe while the queue is full.
#[test]
fn a_full_queue_that_blocks_holds_up_its_source() {
    let source = "line=$(printf '%01000d' 7); n=0\n\
        while [ $n -lt 1000 ]; do n=$((n + 1)); echo \"$line\"; echo $n >>written; done\n";
    let sandbox = command_source("", source);
    let config = sandbox.read("exeunt.toml").replace("[queue.q]", "[queue.q]\nsize = 10");
    sandbox.config(&config);
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo holding >&2; [ -p gate ] && read -r _ <gate; echo \"ok ${line%% *} x\" >&4; done\n");
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    run.wait_for_line("holding");
    // Ten in the queue and what a pipe and one read of ours can hold: far from all.
    until("the source to be held up", || {
        let stuck = || sandbox.lines("written").len();
        let before = stuck();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (before > 0 && stuck() == before).then_some(())
    });
    let written = sandbox.lines("written").len();
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(written < 400, "{written} of 1000 were taken from the source while the queue was full");
    assert_eq!(outcome.results().len(), 1000);
}

#[test]
fn an_unterminated_last_line_is_an_item_when_stdin_ends() {
    let outcome = echo_pool("", "").launch().stdin_text("a\nb\n\nlast").finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["a", "b", "", "last"], "an empty line is an item too\n{outcome}");
}

#[test]
fn an_unterminated_last_line_is_an_item_when_a_command_ends_by_itself() {
    let outcome = command_source("", "echo a; printf last").launch().finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["a", "last"], "{outcome}");
}

#[test]
fn an_unterminated_last_line_of_a_killed_command_is_reported_and_no_item() {
    let outcome = command_source("", "echo a; printf torn; kill -9 $$").launch().finish();
    outcome.expect_code(1);
    assert_eq!(outcome.results(), ["a"], "{outcome}");
    assert!(outcome.stderr.contains("torn"), "{outcome}");
    assert!(outcome.leftovers.is_empty(), "{outcome}");
}

/// Told to go, a command source may still end its sentence: whole lines count, the torn one does not.
#[test]
fn at_a_stop_the_whole_lines_of_a_command_count_and_the_torn_one_does_not() {
    let source = "trap 'echo last-words; printf torn; exit 0' TERM\n\
        echo first; echo up >&2; while :; do sleep 0.05; done\n";
    let sandbox = command_source("", source);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    let all = sorted(outcome.results().iter().chain(&outcome.leftovers));
    assert_eq!(all, ["first", "last-words"], "{outcome}");
    outcome.expect_code(if outcome.leftovers.is_empty() { 0 } else { 75 });
}

#[test]
fn two_sources_may_feed_one_queue_and_two_queues_one_run() {
    let source = |name: &str, queue: &str, item: &str| {
        format!("[source.{name}]\nqueue = \"{queue}\"\ncommand = [\"sh\", \"-c\", \"echo {item}1; echo {item}2\"]\n")
    };
    let worker = |name: &str| {
        format!("[worker.{name}]\nqueue = \"{name}\"\ncommand = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n")
    };
    let config = format!(
        "[queue.x]\n[queue.y]\n{}{}{}{}{}",
        source("one", "x", "a"),
        source("two", "x", "b"),
        source("three", "y", "c"),
        worker("x"),
        worker("y")
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", ECHO);
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), ["a1", "a2", "b1", "b2", "c1", "c2"], "{outcome}");
}

#[test]
fn drain_on_stop_works_the_queue_off() {
    let sandbox = echo_pool(&format!("drain-on-stop = true\n{QUICK_BACKOFF}"), "stop = [\"event 20s\"]");
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo holding >&2; [ -p gate ] && read -r _ <gate; echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    sandbox.file("items", &crate::support::text(&numbered(8)));
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    gate.open();
    let outcome = run.finish();
    let all = sorted(outcome.results().iter().chain(&outcome.leftovers));
    assert_eq!(all, sorted(numbered(8)), "{outcome}");
    outcome.expect_code(if outcome.leftovers.is_empty() { 0 } else { 75 });
    assert!(outcome.results().len() > 1, "more than the one in hand was done\n{outcome}");
}
