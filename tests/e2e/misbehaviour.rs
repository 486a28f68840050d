//! F144: workers that break the protocol, each in its own way, and what becomes of their items.

use crate::support::{Need, Outcome, QUICK_BACKOFF, QUICK_RESTART, Sandbox, has, numbered, pool, sorted};
use nix::sys::signal::Signal;

/// One sh worker with these lines in its loop, before `echo "ok $id $item"`.
fn sandbox(queue: &str, worker: &str, body: &str) -> Sandbox {
    let queue = format!("{QUICK_BACKOFF}\n{queue}");
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{QUICK_RESTART}\n{worker}");
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    let head = "while IFS= read -r line <&3; do\nid=${line%% *} item=${line#* }\n";
    sandbox.file("w.sh", &format!("{head}{body}\necho \"ok $id $item\" >&4\ndone\n"));
    sandbox
}

fn done_but_one(outcome: &Outcome, items: &[String], dead: &str) {
    outcome.expect_code(65);
    let others: Vec<&String> = items.iter().filter(|item| *item != dead).collect();
    assert_eq!(sorted(outcome.results()), sorted(others), "{outcome}");
    outcome.dead_letter(dead);
}

#[test]
fn f144_an_item_that_is_never_answered_times_out_into_the_dead_letters() {
    let sandbox = sandbox(
        "item-timeout = \"2s\"\nmax-attempts = 2",
        "stop = [\"TERM 5s\"]",
        "[ \"$item\" = item-2 ] && exec sleep 1000",
    );
    let items = numbered(5);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    done_but_one(&outcome, &items, "item-2");
    assert_eq!(outcome.dead_letter("item-2")["attempts"], 2, "{outcome}");
}

/// Its output is buffered: it has read the item, and no answer came. The message says what to look for.
#[test]
fn f144_an_item_that_was_read_and_never_answered_is_said_to_be_so() {
    let sandbox = sandbox("item-timeout = \"500ms\"\nmax-attempts = 1", "stop = [\"TERM 5s\"]", "exec sleep 1000");
    let outcome = sandbox.launch().stdin_items(&["a"]).finish();
    outcome.expect_code(65);
    assert!(outcome.stderr.contains("buffered"), "{outcome}");
}

/// The items are not to blame: the program is given up, and they are kept.
#[test]
fn f144_a_worker_that_never_reads_times_out_too() {
    let limit = "start-limit = { burst = 4, interval = \"1s\" }";
    let config = pool(
        &format!("item-timeout = \"300ms\"\nmax-attempts = 2\n{QUICK_BACKOFF}"),
        &format!("command = [\"sleep\", \"1000\"]\n{limit}\nstop = [\"TERM 5s\"]\n{QUICK_RESTART}"),
    );
    let sandbox = Sandbox::new(&config);
    let outcome = sandbox.launch().report_json().stdin_items(&numbered(3)).finish();
    outcome.expect_code(1);
    assert_eq!((outcome.dead.len(), outcome.count("timed_out")), (0, 4), "{outcome}");
    assert_eq!(sorted(&outcome.leftovers), sorted(numbered(3)), "{outcome}");
}

/// An item larger than a pipe, to a worker that does not read: the loop is not blocked, and the stop is not either.
#[test]
fn f144_a_full_item_pipe_does_not_hold_up_a_stop() {
    let worker = "command = [\"sh\", \"w.sh\"]\nprefetch = 4\nstop = [\"event 200ms\", \"TERM 20s\"]";
    let sandbox = Sandbox::new(&pool("max-item = \"1MiB\"", worker));
    sandbox.file("w.sh", "echo 'not reading' >&2; exec sleep 1000");
    let items = ["x".repeat(900_000), "y".repeat(900_000)];
    let run = sandbox.launch().stdin_items(&items).start();
    run.wait_for_line("not reading");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert!(sorted(&outcome.leftovers) == items, "{} leftovers\n{outcome}", outcome.leftovers.len());
}

#[test]
fn f144_a_second_answer_for_a_settled_item_is_harmless() {
    let sandbox = sandbox("", "", "echo \"ok $id first\" >&4; echo \"fail $id\" >&4; echo \"touch $id\" >&4");
    let outcome = sandbox.launch().stdin_items(&numbered(20)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["first"; 20], "{outcome}");
    assert!(!sandbox.exists("left.txt.dead"));
}

#[test]
fn f144_nonsense_is_shown_and_its_item_goes_to_the_next_incarnation() {
    let sandbox = sandbox(
        "",
        "",
        "[ \"$item\" = item-3 ] && [ ! -e said ] && { : >said; echo 'Hello, I am a worker!' >&4; }; echo \"$$\" >>pids",
    );
    let items = numbered(8);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert!(outcome.stderr.contains("Hello, I am a worker!"), "the first bytes are shown\n{outcome}");
    let mut pids = sandbox.lines("pids");
    pids.dedup();
    assert_eq!(pids.len(), 2, "the worker was stopped and replaced\n{outcome}");
}

/// Only who spoke nonsense is stopped: its neighbour holds an item all the while, and is the same process at the end.
#[test]
fn f144_nonsense_of_one_worker_is_not_held_against_its_neighbour() {
    let keys = format!("command = [\"sh\", \"w.sh\"]\nreplicas = 2\nresults = \"stdout\"\n{QUICK_RESTART}");
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &keys));
    let script = "echo \"$EXEUNT_INSTANCE $$\" >>starts\n\
        while IFS= read -r line <&3; do\n\
        if mkdir said 2>/dev/null; then echo $EXEUNT_INSTANCE >sayer; echo 'Hello!' >&4; sleep 1000; fi\n\
        while [ $(wc -l <starts) -lt 3 ]; do sleep 0.01; done\n\
        echo \"$EXEUNT_INSTANCE $$\" >>worked; echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&numbered(6)).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(6)), "{outcome}");
    let sayer = sandbox.read("sayer").trim().to_owned();
    let (of_sayer, of_neighbour): (Vec<_>, Vec<_>) =
        sandbox.lines("starts").into_iter().partition(|line| line.starts_with(&sayer));
    assert_eq!((of_sayer.len(), of_neighbour.len()), (2, 1), "{outcome}");
    assert!(sandbox.lines("worked").contains(&of_neighbour[0]), "{outcome}");
}

/// Its child answers when the leader is dead already: before the members are gone it is an answer like any other.
#[test]
fn f144_an_answer_that_comes_after_the_death_of_its_worker_counts_once() {
    let script = "trap '' TERM; echo $$ >>lives; while IFS= read -r line <&3; do echo \"${line#* }\" >>delivered\n\
        [ \"${line#* }\" = item-2 ] && { leader=$$; (while [ -e /proc/$leader/fd/0 ]; do sleep 0.01; done\n\
        echo \"ok ${line%% *} late\" >&4; echo \"ok ${line%% *} later\" >&4) & kill -9 $$; }\n\
        echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let keys = format!(
        "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 1s\", \"TERM 40s\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &keys));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&numbered(3)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["item-1", "late", "item-3"], "{outcome}");
    assert_eq!((sandbox.lines("delivered"), sandbox.lines("lives").len()), (numbered(3), 2), "{outcome}");
}

#[test]
fn f144_an_answer_for_an_item_it_never_had_is_a_protocol_error() {
    let sandbox = sandbox("", "", "[ -e said ] || { : >said; echo 'ok 9999.1 stolen' >&4; }");
    let items = numbered(4);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert!(outcome.stderr.contains("9999.1"), "{outcome}");
}

#[test]
fn f144_a_reply_of_five_thousand_bytes_is_a_protocol_error() {
    let body = "[ -e said ] || { : >said; printf 'ok %s %05000d\\n' \"$id\" 7 >&4; }";
    let sandbox = sandbox("", "", body);
    let items = numbered(4);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    let shown = outcome.stderr.lines().find(|line| line.contains("00000000")).unwrap_or_else(|| panic!("{outcome}"));
    assert!(shown.matches('0').count() <= 100, "the first 80 bytes, not more: {shown}");
}

/// 4096 bytes with the line feed: the longest that is one write.
#[test]
fn a_reply_of_4096_bytes_is_whole() {
    let body = "printf 'ok %s %0*d\\n' \"$id\" $((4096 - 5 - ${#id})) 7 >&4; continue";
    let sandbox = sandbox("", "", body);
    let outcome = sandbox.launch().stdin_items(&["a", "b"]).finish();
    outcome.expect_code(0);
    let lengths: Vec<usize> = outcome.results().iter().map(String::len).collect();
    assert_eq!(lengths, [4088, 4088], "{outcome}");
}

/// Killed together with half an answer, in the middle of a verdict: that is no answer.
#[test]
fn f144_half_an_answer_is_no_answer() {
    let sandbox = sandbox("", "", "[ -e died ] || { : >died; printf 'ok %s wro' \"$id\" >&4; kill -9 $$; }");
    let items = numbered(3);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
}

/// It closes its end of the replies and lives on: no answer can ever come.
#[test]
fn f144_a_worker_that_closes_its_replies_does_not_keep_its_item_for_ever() {
    let sandbox = sandbox(
        "item-timeout = \"2s\"",
        "stop = [\"TERM 5s\"]",
        "[ -e closed ] || { : >closed; exec 4>&-; exec sleep 1000; }",
    );
    let items = numbered(3);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
}

/// Its background process holds items, replies, exit event and stdout; the restart and the stop do not wait for it.
#[test]
fn f7_a_grandchild_that_holds_the_pipes_delays_neither_restart_nor_stop() {
    let sandbox = sandbox(
        "",
        "stop = [\"event 1s\", \"TERM 1s\"]",
        "sleep 1000 & echo $! >>sleepers; [ -e died ] || { : >died; kill -9 $$; }",
    );
    let items = numbered(6);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert_eq!(sandbox.lines("sleepers").len(), 7, "{outcome}");
}

/// The same with one that ignores TERM, and one that has left the session.
#[test]
fn f7_f9_grandchildren_that_hold_the_pipes_stubbornly_are_gone_at_the_end() {
    let sandbox = sandbox(
        "",
        "stop = [\"event 1s\", \"TERM 500ms\"]",
        "(trap '' TERM; exec sleep 1000) & setsid sleep 1000 & [ -e died ] || { : >died; kill -9 $$; }",
    );
    let items = numbered(3);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
}

#[test]
fn a_worker_may_change_its_own_prefetch() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
import os
from worker import ITEMS, reply
reply("prefetch", 5)
buffer = b""
while buffer.count(b"\n") < 5:
    buffer += os.read(ITEMS, 65536)
for line in buffer.splitlines():
    reply("ok", line.split(b" ")[0].decode(), line.split(b" ")[1].decode())
while os.read(ITEMS, 65536):
    pass
"#;
    let sandbox = Sandbox::new(&pool("", "command = [\"@PYTHON@\", \"w.py\"]\nresults = \"stdout\""));
    sandbox.file("w.py", script);
    let outcome = sandbox.launch().stdin_items(&numbered(5)).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(5)), "{outcome}");
}
