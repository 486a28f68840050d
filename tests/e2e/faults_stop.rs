//! F48, F145: the order of a start, and a stop with a thousand items waiting.

use crate::support::{Outcome, Sandbox, numbered, pool, sorted, text};
use nix::sys::signal::Signal;

const ITEMS: usize = 1000;

/// The first item is held; a stop comes when all thousand were accepted.
fn stopped_with_a_thousand(queue: &str) -> Outcome {
    let keys = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nprefetch = 8\nstop = [\"event 50s\"]";
    let sandbox = Sandbox::new(&pool(&format!("size = 2000\n{queue}"), keys));
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do [ -p gate ] && { echo holding >&2; read -r _ <gate; }\n\
         echo \"ok ${line%% *} ${line#* }\" >&4; done\n",
    );
    sandbox.file("items", &text(&numbered(ITEMS)));
    let gate = sandbox.gate("gate");
    let launch = sandbox.launch().arguments(&["run", "--report", "json", "--log-level", "info"]);
    let run = launch.stdin_file("items").start();
    run.wait_for_line("holding");
    run.wait_for_words("source in is at its end: 1000 items", 1);
    run.signal(Signal::SIGTERM);
    run.wait_for_words("stopping on TERM", 1);
    gate.open();
    let outcome = run.finish();
    let all = sorted(outcome.results().iter().chain(&outcome.leftovers));
    assert_eq!(all, sorted(numbered(ITEMS)), "each once\n{outcome}");
    assert_eq!(outcome.count("accepted"), ITEMS as u64, "{outcome}");
    assert_eq!(outcome.count("done"), outcome.results().len() as u64, "{outcome}");
    assert_eq!(outcome.count("handed_back"), outcome.leftovers.len() as u64, "{outcome}");
    outcome
}

#[test]
fn f145_a_thousand_waiting_items_are_handed_back_and_counted() {
    let outcome = stopped_with_a_thousand("");
    outcome.expect_code(75);
    // What the worker had in its pipe may be done; nothing else is.
    assert!(outcome.results().len() <= 8, "{outcome}");
}

#[test]
fn f145_a_thousand_waiting_items_are_worked_off_where_the_file_says_so() {
    let outcome = stopped_with_a_thousand("drain-on-stop = true");
    outcome.expect_code(0);
    assert_eq!(outcome.results().len(), ITEMS, "{outcome}");
}

/// Whoever is started after another sees it run already.
#[test]
fn f48_a_worker_is_started_when_what_it_is_after_runs() {
    let worker = |name: &str, after: &str| {
        format!("[worker.{name}]\ncommand = [\"sh\", \"w.sh\", \"{name}\"]\nreplicas = 2\n{after}\n")
    };
    let config = format!("{}{}{}", worker("c", "after = [\"b\"]"), worker("b", "after = [\"a\"]"), worker("a", ""));
    let sandbox = Sandbox::new(&config);
    // The command lines of all that exeunt has started so far, us included.
    sandbox.file(
        "w.sh",
        "seen=$(for pid in $(cat /proc/$PPID/task/$PPID/children); do tr '\\0' ' ' </proc/$pid/cmdline; echo; done | sort)\n\
         echo \"$1 sees\" $seen >>order\necho up >&2\nsleep 1000 & wait\n",
    );
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 6);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    let sees = |line: &String, name: &str| line.matches(&format!("sh w.sh {name}")).count();
    for line in sandbox.lines("order") {
        match line.as_bytes()[0] {
            b'b' => assert_eq!(sees(&line, "a"), 2, "{line}"),
            b'c' => assert_eq!((sees(&line, "a"), sees(&line, "b")), (2, 2), "{line}"),
            _ => {}
        }
    }
}
