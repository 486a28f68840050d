//! Standard input in a stop: how long it is read into the leftovers, what ends that, and that nothing is lost or done twice.

use crate::support::{Outcome, Sandbox, numbered, pool, send, sorted, text};
use nix::sys::signal::Signal;
use std::fs;

/// Tells the pid of exeunt, holds its first item, and leaves when it is told to.
const HOLDS_ONE: &str = "echo $PPID >pid; IFS= read -r line <&3; echo holding >&2; read -r _ <&5\n";

/// With the worker above, and a ladder that is long enough for any machine.
fn holding(queue: &str) -> Sandbox {
    let sandbox = Sandbox::new(&pool(queue, "command = [\"sh\", \"w.sh\"]\nstop = [\"event 10m\"]"));
    sandbox.file("w.sh", HOLDS_ONE);
    sandbox
}

fn end_of_reading(outcome: &Outcome) -> String {
    outcome.report()["sources"][0]["end"].as_str().unwrap_or_default().to_owned()
}

fn pid_of_exeunt(sandbox: &Sandbox) -> i32 {
    sandbox.read("pid").trim().parse().expect("the worker told it")
}

/// Runs with two items on a stdin that then stays open and silent.
const IDLE: [&str; 4] = ["sh", "-c", "exec 0<>fifo; printf 'a\nb\n' >&0; exec \"$@\"", "sh"];

/// Before, the stop took as long as all ladders together.
#[test]
fn an_idle_stdin_does_not_hold_up_a_stop() {
    let sandbox = holding("");
    let _fifo = sandbox.gate("fifo");
    let run = sandbox.launch().under(&IDLE).report_json().start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(end_of_reading(&outcome), "silence", "{outcome}");
    assert_eq!(sorted(&outcome.leftovers), ["a", "b"], "{outcome}");
    let took = outcome.report()["stop_ms"].as_u64().unwrap();
    assert!((200..60_000).contains(&took), "{took} ms\n{outcome}");
}

#[test]
fn an_endless_stdin_is_read_for_its_timeout_once_the_last_worker_has_left() {
    let sandbox = holding("");
    let endless = ["sh", "-c", "yes item | { \"$@\"; echo $? >code; }", "sh"];
    let run = sandbox.launch().under(&endless).report_json().start();
    run.wait_for_line("holding");
    send(pid_of_exeunt(&sandbox), Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
    assert_eq!(end_of_reading(&outcome), "stop-read-timeout", "{outcome}");
    assert!(outcome.leftovers.iter().all(|line| line == "item"), "{outcome}");
    assert_eq!(outcome.leftovers.len() as u64, outcome.count("handed_back"), "{outcome}");
}

#[test]
fn an_int_in_a_stop_ends_the_reading_of_stdin() {
    let sandbox = holding("");
    sandbox.file("w.sh", &HOLDS_ONE.replace("read -r _ <&5", "read -r _ <&5; echo told >&2; read -r _ <gate"));
    let gate = sandbox.gate("gate");
    let _fifo = sandbox.gate("fifo");
    let run = sandbox.launch().under(&IDLE).report_json().start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("told");
    run.signal(Signal::SIGINT);
    run.wait_for_line_with("an INT ended that");
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(end_of_reading(&outcome), "interrupt", "{outcome}");
}

#[test]
fn without_leftovers_nothing_more_is_read_in_a_stop() {
    let sandbox = holding("");
    sandbox.config(&fs::read_to_string(sandbox.path("exeunt.toml")).unwrap().replace("leftovers = \"left.txt\"", ""));
    let _fifo = sandbox.gate("fifo");
    let run = sandbox.launch().under(&IDLE).report_json().start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(end_of_reading(&outcome), "stop", "{outcome}");
}

/// Runs with `items` as stdin, and keeps what is behind the offset afterwards, as the next reader of the file would see it.
const AND_REST: [&str; 4] = ["sh", "-c", "exec 0<items; \"$@\"; echo $? >code; cat >rest", "sh"];

/// 4 MB of lines; what is not accepted stays in the file, from the beginning of an item on.
#[test]
fn leftovers_max_ends_the_reading_of_a_file_at_an_items_end() {
    let sandbox = holding("size = 10\nleftovers-max = \"64KiB\"");
    let items: Vec<String> = numbered(100_000).iter().map(|item| format!("{item}-{}", "x".repeat(30))).collect();
    sandbox.file("items", &text(&items));
    let run = sandbox.launch().under(&AND_REST).report_json().start();
    run.wait_for_line("holding");
    send(pid_of_exeunt(&sandbox), Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
    assert_eq!(end_of_reading(&outcome), "leftovers-max", "{outcome}");
    let rest = sandbox.lines("rest");
    assert!(!rest.is_empty() && outcome.leftovers.len() < 20_000, "{} are left\n{outcome}", rest.len());
    let all = outcome.leftovers.iter().chain(&rest);
    assert_eq!(sorted(all), sorted(&items), "each item is in the leftovers or in the rest, once");
}

/// One item of three gigabytes, which would take longer to read than any stop may take.
#[test]
fn a_huge_file_on_stdin_does_not_hold_up_a_stop() {
    let sandbox = holding("");
    let file = fs::File::create(sandbox.path("items")).unwrap();
    std::io::Write::write_all(&mut &file, b"first\n").unwrap();
    file.set_len(3 << 30).unwrap();
    let reader = ["sh", "-c", "exec 0<items; \"$@\"; echo $? >code; od -An -N1 -c >rest", "sh"];
    let run = sandbox.launch().under(&reader).report_json().start();
    run.wait_for_line("holding");
    send(pid_of_exeunt(&sandbox), Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
    assert_eq!(end_of_reading(&outcome), "stop-read-timeout", "{outcome}");
    assert_eq!(outcome.leftovers, ["first"], "{outcome}");
    assert_eq!(sandbox.read("rest").trim(), "\\0", "the item that was not read to its end is the next one to be read");
}

/// Whatever is appended all the while: only what was there when the stop began is read.
#[test]
fn a_file_that_grows_all_the_time_is_read_to_the_size_that_it_had() {
    let sandbox = holding("size = 10");
    sandbox.file("items", &text(&numbered(50_000)));
    let reader = [
        "sh",
        "-c",
        "i=0; while [ ! -e code ]; do i=$((i + 1)); echo more-$i; done >>items &\nexec 0<items; \"$@\"; echo $? >code; wait; cat >rest",
        "sh",
    ];
    let run = sandbox.launch().under(&reader).report_json().start();
    run.wait_for_line("holding");
    send(pid_of_exeunt(&sandbox), Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
    let end = end_of_reading(&outcome);
    assert!(end == "file-size" || end == "eof", "{end}\n{outcome}");
    let rest = sandbox.lines("rest");
    let all = outcome.leftovers.iter().chain(&rest);
    assert_eq!(sorted(all), sorted(sandbox.lines("items")), "each item is in the leftovers or in the rest, once");
}

/// The stop of a second's wait and more was silent until the program had left.
#[test]
fn a_stop_says_what_it_waits_for_longer_than_a_second() {
    let sandbox = holding("");
    let worker = HOLDS_ONE.replace("read -r _ <&5", "read -r _ <gate");
    sandbox.file("w.sh", &worker.replace("echo $PPID >pid", "trap '' TERM; echo $$ >pid"));
    sandbox.config(&sandbox.read("exeunt.toml").replace("event 10m", "TERM 10m"));
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_text("a\n").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let message = run.wait_for_line_with("still waiting for");
    let pid = pid_of_exeunt(&sandbox);
    assert!(message.contains(&format!("w.0 (pid {pid}) after TERM: KILL in ")), "{message}");
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.stderr.matches("still ").count(), 1, "said once: {outcome}");
}

#[test]
fn a_stop_says_that_it_still_reads_standard_input() {
    let sandbox = holding("");
    sandbox.file("w.sh", HOLDS_ONE);
    let config = sandbox.read("exeunt.toml");
    sandbox.config(&config.replace("stdin = true", "stdin = true\nstop-read-timeout = \"10m\""));
    let endless = ["sh", "-c", "yes item | { \"$@\"; echo $? >code; }", "sh"];
    let run = sandbox.launch().under(&endless).start();
    run.wait_for_line("holding");
    send(pid_of_exeunt(&sandbox), Signal::SIGTERM);
    run.wait_for_line_with("still reading standard input (source in) into the leftovers, for ");
    send(pid_of_exeunt(&sandbox), Signal::SIGINT);
    run.finish();
    assert_eq!(sandbox.read("code"), "75\n");
}
