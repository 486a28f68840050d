//! One leftovers file that a run takes in while others append to it, or were killed when they did.

use crate::support::{Need, Run, Sandbox, has, numbered, pool, sorted, text, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;

const ECHOES: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
/// As above, from the moment when the gate opens.
const GATED: &str = "read -r line <&3; echo holding >&2; read -r _ <gate\n\
                     echo \"ok ${line%% *} ${line#* }\" >&4\n";
/// Holds its first item beyond the stop, until the gate opens.
const HOLDS: &str = "read -r line <&3; echo holding >&2; read -r _ <&5; echo leaving >&2; read -r _ <gate; exit 0\n";

fn start<'a>(sandbox: &'a Sandbox, stdin: &str) -> Run<'a> {
    let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).stdin_file(stdin).start();
    run.wait_for_line("holding");
    run
}

#[test]
fn a_second_run_that_is_fed_the_same_leftovers_is_refused() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file("w.sh", &format!("{GATED}{ECHOES}"));
    sandbox.file("left.txt", &text(&numbered(9)));
    let gate = sandbox.gate("gate");
    let first = start(&sandbox, "left.txt");
    let second = sandbox.launch().stdin_file("left.txt").start().finish_alone();
    second.expect_code(75);
    assert!(second.stderr.contains("another run takes in"), "{second}");
    gate.open();
    first.finish().expect_code(0);
    assert_eq!(sandbox.lines("done.txt"), numbered(9));
    assert!(!sandbox.exists("left.txt"));
}

/// The second is fed by its source, and takes the leftovers in first, if no other run does.
#[test]
fn leftovers_that_are_the_stdin_of_a_run_are_not_taken_in_first_by_another() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file("w.sh", &format!("{GATED}{ECHOES}"));
    sandbox.file("left.txt", &text(&numbered(9)));
    let gate = sandbox.gate("gate");
    let first = start(&sandbox, "left.txt");
    let config = sandbox.read("exeunt.toml").replace("[source.in]", "leftovers-first = true\n[source.in]");
    sandbox.file("other.toml", &config);
    let arguments = ["run", "--log-level", "info", "other.toml"];
    let second = sandbox.launch().arguments(&arguments).stdin_text("").start().finish_alone();
    second.expect_code(0);
    gate.open();
    first.finish().expect_code(0);
    assert_eq!(sandbox.lines("done.txt"), numbered(9));
}

/// The item that comes last would be put in front of those that the reader has read: it would read another one twice, and
/// never that one.
#[test]
fn items_that_another_run_is_reading_are_not_put_in_order() {
    let items: Vec<String> = numbered(1000).iter().map(|item| format!("{item:0>900}")).collect();
    let writing = Sandbox::new(&pool("size = 5000", "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]"));
    writing.file("w.sh", HOLDS);
    let last = writing.gate("gate");
    writing.file("items.txt", &text(&items));
    let writer = start(&writing, "items.txt");
    writer.wait_for_words("source in is at its end: 1000 items", 1);
    writer.signal(Signal::SIGTERM);
    writer.wait_for_line("leaving");
    until("all that waited", || (writing.lines("left.txt").len() == 999).then_some(()));
    let config = pool("size = 10", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\"");
    let left = writing.path("left.txt");
    let reading = Sandbox::new(&config.replace("left.txt", left.to_str().expect("UTF-8")));
    reading.file("w.sh", &format!("{GATED}{ECHOES}"));
    let gate = reading.gate("gate");
    let reader = start(&reading, left.to_str().expect("UTF-8"));
    last.open();
    let outcome = writer.finish();
    outcome.expect_code(75);
    assert!(outcome.stderr.contains("are not in their order in"), "{outcome}");
    gate.open();
    reader.finish().expect_code(0);
    let mut done = reading.lines("done.txt");
    done.sort();
    assert!(done == items, "each item once, not {} lines", done.len());
    assert!(!left.exists());
}

/// Says beside the leftovers that a run was killed when it appended from this offset on.
fn killed_when_appending(sandbox: &Sandbox, offset: usize) {
    let found = fs::metadata(sandbox.path("left.txt")).expect("it is there");
    sandbox.file(".left.txt.lock", &format!("{} {} {offset}\n", found.dev(), found.ino()));
}

#[test]
fn half_an_item_of_a_killed_run_is_cut_off_before_the_leftovers_are_taken_in() {
    for first in [false, true] {
        let queue = if first { "leftovers-first = true" } else { "" };
        let sandbox = Sandbox::new(&pool(queue, "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
        sandbox.file("w.sh", ECHOES);
        sandbox.file("left.txt", "1\n2\nhal");
        killed_when_appending(&sandbox, 2);
        let launch = if first { sandbox.launch().stdin_text("") } else { sandbox.launch().stdin_file("left.txt") };
        let outcome = launch.finish();
        outcome.expect_code(0);
        assert_eq!(sandbox.lines("done.txt"), ["1", "2"], "{outcome}");
        assert!(outcome.stderr.contains("was cut off after 3 bytes"), "{outcome}");
        assert!(!sandbox.exists("left.txt"));
    }
}

/// The run that was killed had begun to append while another one read. What comes later is not taken for the rest of the half item.
#[test]
fn half_an_item_of_a_run_that_is_killed_meanwhile_is_no_item_of_the_reader() {
    let sandbox = Sandbox::new(&pool("size = 1", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file("w.sh", &format!("{GATED}{ECHOES}"));
    let items: Vec<String> = numbered(200).iter().map(|item| format!("{item:0>900}")).collect();
    sandbox.file("left.txt", &text(&items));
    let gate = sandbox.gate("gate");
    let reader = start(&sandbox, "left.txt");
    let whole = text(&items).len();
    let half = fs::OpenOptions::new().append(true).open(sandbox.path("left.txt")).expect("it is there");
    std::io::Write::write_all(&mut &half, b"hal").expect("there is room");
    killed_when_appending(&sandbox, whole);
    gate.open();
    let outcome = reader.finish();
    outcome.expect_code(0);
    assert!(sandbox.lines("done.txt") == items, "{outcome}");
    assert!(!sandbox.exists("left.txt"), "{outcome}");
}

/// Without a budget a disk that has not moved for two seconds is given up. Here each 64 KiB that are read take a tenth of a second.
#[test]
fn leftovers_that_take_long_to_replace_are_replaced() {
    if !has(Need::Strace) {
        return;
    }
    let sandbox = Sandbox::new(&pool("size = 1", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file(
        "w.sh",
        "read -r line <&3; echo \"ok ${line%% *} x\" >&4\nread -r line <&3; echo holding >&2; read -r _ <&5; exit 0\n",
    );
    let item = "x".repeat(64 * 1024 - 1);
    let items: Vec<String> = numbered(40).iter().map(|number| format!("{number}{item}")).collect();
    sandbox.file("left.txt", &text(&items));
    let slow =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", "inject=pread64:delay_exit=100000"];
    let launch = sandbox.launch().under(&slow).arguments(&["run", "--log-level", "info"]);
    let run = launch.stdin_file("left.txt").start();
    run.wait_for_line("holding");
    crate::support::send(run.inner_pid(), Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert!(sandbox.lines("left.txt") == items[1..], "{outcome}");
}

/// As after a loss of power.
#[test]
fn a_temporary_file_whose_owner_file_is_damaged_is_named_and_left_alone() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]"));
    sandbox.file("w.sh", ECHOES);
    sandbox.file(".left.txt.exeunt-1-0", "1\n");
    sandbox.file(".left.txt.exeunt-1-0.owner", "");
    let outcome = sandbox.launch().stdin_text("").finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains(".left.txt.exeunt-1-0, whose owner file is damaged"), "{outcome}");
    assert_eq!(sandbox.read(".left.txt.exeunt-1-0"), "1\n");
}

/// On a full disk there is room for none of the items beside the leftovers, or for the one that the worker held. The others are on
/// stderr, and the leftovers are the only file that has them.
#[test]
fn f76_leftovers_are_not_removed_where_unfinished_items_could_not_be_kept() {
    let worker = "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\"\nstop = [\"event 20s\"]";
    for (room, kept) in [("--fsize=100", 0), ("--fsize=5000", 1)] {
        let sandbox = Sandbox::new(&pool("", worker));
        sandbox.file("w.sh", &format!("read -r line <&3; echo \"ok ${{line%% *}} x\" >&4\n{LEAVES}"));
        let items: Vec<String> = numbered(21).iter().map(|item| format!("{item:0>299}")).collect();
        sandbox.file("left.txt", &text(&items));
        let launch = sandbox.launch().arguments(&["run", "--report", "json", "--log-level", "info"]);
        let run = launch.under(&["prlimit", room, "--"]).stdin_file("left.txt").start();
        run.wait_for_line("holding");
        run.wait_for_words("source in is at its end: 21 items", 1);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert!(sandbox.lines("left.txt") == items, "{outcome}");
        assert!(outcome.stderr.contains("it still has"), "{outcome}");
        let beside = fs::read_to_string(sandbox.path("left.txt.1")).unwrap_or_default();
        assert_eq!(beside.lines().count(), kept, "{outcome}");
        assert_eq!(outcome.report()["leftovers"][0]["on_stderr"], 20 - kept, "{outcome}");
    }
}

/// Holds its first item until the stop.
const LEAVES: &str = "read -r line <&3; echo holding >&2; read -r _ <&5; exit 0\n";

/// Three runs with one file: two that would take it in, of which one does, and one that appends. They are stopped after so many results.
#[test]
fn no_item_is_lost_or_doubled_by_runs_that_share_leftovers_and_are_stopped() {
    let config = pool("size = 50", "command = [\"sh\", \"w.sh\"]\nprefetch = 3\nresults = \"file:done.txt\"");
    for round in 0..8 {
        let sandbox = Sandbox::new(&config);
        sandbox.file("first.toml", &config.replace("[source.in]", "leftovers-first = true\n[source.in]"));
        sandbox.file("w.sh", ECHOES);
        let mut all = Vec::new();
        for (name, count) in [("left.txt", 300), ("b.txt", 100), ("c.txt", 100)] {
            let items: Vec<String> = numbered(count).iter().map(|item| format!("{name}-{item:0>200}")).collect();
            sandbox.file(name, &text(&items));
            all.extend(items);
        }
        let first = sandbox.launch().arguments(&["run", "first.toml"]).stdin_file("b.txt").start();
        let fed = sandbox.launch().stdin_file("left.txt").start();
        let other = sandbox.launch().stdin_file("c.txt").start();
        [&first, &other].iter().for_each(|run| run.wait_for_words("w.0 started", 1));
        let results = || fs::read_to_string(sandbox.path("done.txt")).unwrap_or_default().lines().count();
        until("results", || (results() >= round * 40).then_some(()));
        [&other, &fed, &first].iter().for_each(|run| run.signal(Signal::SIGTERM));
        let outcomes = [fed, other, first].map(Run::finish_alone);
        let found = ["done.txt", "left.txt", "left.txt.1", "left.txt.2"];
        let found = found.map(|name| fs::read_to_string(sandbox.path(name)).unwrap_or_default());
        let found = sorted(found.iter().flat_map(|text| text.lines()));
        let said: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
        assert!(
            found == sorted(&all),
            "round {round}: each item once, not {} of {}: {said:#?}",
            found.len(),
            all.len()
        );
    }
}
