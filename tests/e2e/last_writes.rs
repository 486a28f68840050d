//! What is still to be written when every process has left: a disk that hangs, a FIFO in the place of a file, a reader that does
//! not read. None of them holds up the end of a run for longer than its budget says, and no item is lost.

use crate::results::unread;
use crate::support::{Hanging, Need, Outcome, Run, Sandbox, has, numbered, pool, runs, sorted, state, until};
use nix::sys::signal::Signal;
use std::io::Read;

/// Calls that hang where the file system has gone: nothing is made and nothing is synced. Shells make files without
/// O_CLOEXEC, and are spared.
const GONE: [Hanging; 2] = [
    Hanging { call: libc::SYS_openat, when: Some((2, libc::O_CREAT | libc::O_CLOEXEC)) },
    Hanging { call: libc::SYS_fsync, when: None },
];
/// Files can be made and written, but never synced.
const UNSYNCED: [Hanging; 1] = [Hanging { call: libc::SYS_fsync, when: None }];

/// Gives up items that begin with `bad`, and holds the first other one until the stop.
const HOLDER: &str = r#"
while IFS= read -r line <&3; do
  case ${line#* } in
    bad*) echo "fail ${line%% *}" >&4 ;;
    *) echo holding >&2; read -r _ <&5; exit 0 ;;
  esac
done
"#;

fn holder(budget: &str, items: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        "[supervisor]\ncgroup = \"off\"\n{budget}\n{}",
        pool("", "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]")
    ));
    sandbox.file("w.sh", HOLDER);
    sandbox.file("items", &crate::support::text(items));
    sandbox
}

/// The items that stand on stderr as JSON lines.
fn on_stderr(outcome: &Outcome) -> Vec<String> {
    let objects = outcome.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    objects.filter_map(|object| Some(object.get("item")?.as_str()?.to_owned())).collect()
}

fn mkfifo(sandbox: &Sandbox, name: &str) {
    assert!(runs(&["mkfifo", sandbox.path(name).to_str().unwrap()]));
}

/// Nobody ever opens the FIFO. The letter comes to stderr, and the unfinished items to their file.
#[test]
fn f83_a_fifo_in_the_place_of_the_dead_letters_holds_up_nothing() {
    let sandbox = holder("", &["bad-1", "a", "b", "c"]);
    mkfifo(&sandbox, "left.txt.dead");
    let run = sandbox.launch().report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let stopped = stop(run, &sandbox);
    stopped.expect_code(75);
    assert_eq!(sorted(sandbox.lines("left.txt")), ["a", "b", "c"], "{stopped}");
    assert_eq!(on_stderr(&stopped), ["bad-1"], "{stopped}");
    assert!(stopped.stderr.contains("left.txt.dead: it is not a regular file"), "{stopped}");
    assert_eq!((stopped.count("dead"), stopped.count("dead_on_stderr")), (1, 1), "{stopped}");
}

/// The same where somebody has the FIFO open and does not read.
#[test]
fn f83_a_fifo_with_a_reader_takes_no_dead_letter_either() {
    let sandbox = holder("", &["bad-1", "a"]);
    let _gate = sandbox.gate("left.txt.dead");
    let run = sandbox.launch().report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let stopped = stop(run, &sandbox);
    assert_eq!(on_stderr(&stopped), ["bad-1"], "{stopped}");
    assert_eq!(sandbox.lines("left.txt"), ["a"], "{stopped}");
}

#[test]
fn f83_a_fifo_in_the_place_of_the_leftovers_sends_them_to_stderr() {
    let sandbox = holder("", &["a", "b"]);
    mkfifo(&sandbox, "left.txt");
    let run = sandbox.launch().report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let stopped = stop(run, &sandbox);
    stopped.expect_code(75);
    assert_eq!(sorted(on_stderr(&stopped)), ["a", "b"], "{stopped}");
    assert_eq!(stopped.report()["leftovers"][0]["on_stderr"], 2, "{stopped}");
}

/// `Run::finish` reads `left.txt`, which would wait for a FIFO's writer.
fn stop(mut run: Run, sandbox: &Sandbox) -> Outcome {
    run.wait();
    for name in ["left.txt", "left.txt.dead"] {
        let is_fifo = std::fs::metadata(sandbox.path(name)).is_ok_and(|found| !found.is_file());
        if is_fifo {
            sandbox.remove(name);
        }
    }
    run.finish()
}

/// Ends by itself, with or without a budget: what the disk does not take is on stderr, item by item, and counted.
#[test]
fn a_disk_that_hangs_is_waited_for_no_longer_than_the_stop_may_take() {
    for budget in ["stop-budget = \"3s\"", ""] {
        let sandbox = holder(budget, &["bad-1", "bad-2", "a", "b", "c"]);
        let run = sandbox.launch().hanging(&GONE).report_json().stdin_file("items").start();
        run.wait_for_line("holding");
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!(sorted(on_stderr(&outcome)), ["a", "b", "bad-1", "bad-2", "c"], "{outcome}");
        let report = outcome.report();
        let left = (&report["leftovers"][0]["items"], &report["leftovers"][0]["on_stderr"]);
        assert_eq!(left, (&3.into(), &3.into()), "{outcome}");
        assert_eq!((outcome.count("dead"), outcome.count("dead_on_stderr")), (2, 2), "{outcome}");
        assert!(outcome.stderr.contains("did not take 3 unfinished items of queue q in time"), "{outcome}");
    }
}

/// The same for results: their items are not done, and one INT ends the wait for them.
#[test]
fn f50_results_on_a_disk_that_hangs_hold_up_no_stop() {
    for (budget, int) in [("", false), ("stop-budget = \"2s\"", false), ("stop-budget = \"1h\"", true)] {
        let worker =
            "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; echo answered >&2; done\n";
        let keys = "command = [\"sh\", \"w.sh\"]\nresults = \"file:out.txt\"\nstop = [\"event 20s\"]";
        let sandbox = Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n{budget}\n{}", pool("", keys)));
        sandbox.file("w.sh", worker);
        sandbox.file("left.txt", "");
        let mut run = sandbox.launch().hanging(&GONE).report_json().stdin_pipe().start();
        run.feed(&["a", "b"]);
        run.wait_for_lines("answered", 2);
        run.signal(Signal::SIGTERM);
        if int {
            // Each ends one wait: for the results, then for the leftovers.
            run.wait_for_words("left after", 1);
            until("exeunt to leave", || {
                run.signal(Signal::SIGINT);
                matches!(state(run.pid()), None | Some('Z')).then_some(())
            });
        }
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!(outcome.count("done"), 0, "{outcome}");
        assert_eq!(outcome.count("handed_back"), 2, "{outcome}");
        let found = sorted(on_stderr(&outcome).iter().chain(&outcome.leftovers));
        assert_eq!(found, ["a", "b"], "{outcome}");
    }
}

/// The budget is an hour. After a second it is said what is waited for, and one INT ends it.
#[test]
fn int_ends_the_wait_for_a_disk_that_hangs() {
    let sandbox = holder("stop-budget = \"1h\"", &["bad-1", "a", "b"]);
    let run = sandbox.launch().hanging(&GONE).report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    run.wait_for_words("INT ends the wait", 1);
    run.signal(Signal::SIGTERM);
    run.signal(Signal::SIGINT);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(on_stderr(&outcome)), ["a", "b", "bad-1"], "{outcome}");
}

/// What was written and could not be synced is where the report says, and is not said again.
#[test]
fn items_that_were_written_and_not_synced_are_not_said_twice() {
    let sandbox = holder("stop-budget = \"3s\"", &["a", "b", "c"]);
    let run = sandbox.launch().hanging(&UNSYNCED).report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(on_stderr(&outcome), [""; 0], "{outcome}");
    let left = &outcome.report()["leftovers"][0];
    assert_eq!((&left["items"], &left["on_stderr"]), (&3.into(), &0.into()), "{outcome}");
    let path = left["path"].as_str().unwrap();
    let kept = std::fs::read_to_string(sandbox.directory().join(path)).unwrap();
    assert_eq!(sorted(kept.lines()), ["a", "b", "c"], "{outcome}");
}

const LONG_RESULTS: &str = r#"
while IFS= read -r line <&3; do
  echo "ok ${line%% *} $(printf '%-800s' "${line#* }")" >&4
  echo "${line#* }" >>answered
done
"#;

/// A reader of the results that goes on after they were given up, while the disk holds up the end: no item is both done and left over.
#[test]
fn f81_a_reader_that_goes_on_too_late_gets_no_result_of_an_item_that_is_left_over() {
    let keys = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nprefetch = 8";
    let config = format!("[supervisor]\ncgroup = \"off\"\nstop-budget = \"1h\"\n{}", pool("size = 100", keys));
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", LONG_RESULTS);
    let items = numbered(500);
    sandbox.file("items", &crate::support::text(&items));
    let mut run = sandbox.launch().hanging(&UNSYNCED).stdin_file("items").stdout_unread().start();
    let mut pipe = run.stdout_pipe.take().unwrap();
    // Far more than the pipe holds.
    sandbox.wait_for_line("answered", "item-150");
    run.signal(Signal::SIGTERM);
    run.wait_for_words("INT ends the wait", 1);
    let mut written = Vec::new();
    let mut looks_at_nothing = 0;
    until("no more to come", || {
        let mut part = vec![0; unread(&pipe)];
        pipe.read_exact(&mut part).unwrap();
        looks_at_nothing = if part.is_empty() { looks_at_nothing + 1 } else { 0 };
        written.extend(part);
        (looks_at_nothing == 100).then_some(())
    });
    run.signal(Signal::SIGINT);
    let outcome = run.finish();
    outcome.expect_code(75);
    pipe.read_to_end(&mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    let done = written.lines().map(str::trim_end);
    let all = sorted(done.chain(outcome.leftovers.iter().map(String::as_str)));
    assert_eq!(all, sorted(items), "{outcome}");
}

/// A file that is refused, and nobody reads why: TERM and INT end the wait, as of any program.
#[test]
fn f81_a_full_stderr_does_not_keep_a_refused_run_from_its_signals() {
    if !has(Need::Python) {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let sandbox = Sandbox::new("[worker.w]\ncomand = [\"true\"]\n");
        let launch = sandbox.launch().under(&[crate::support::python().unwrap(), "-c", crate::stdout::FULL_STDERR]);
        let run = launch.start();
        until("the message to wait for a reader", || {
            let call = std::fs::read_to_string(format!("/proc/{}/syscall", run.pid())).unwrap_or_default();
            call.starts_with(&format!("{} 0x2 ", libc::SYS_write)).then_some(())
        });
        run.signal(signal);
        run.finish_alone().expect_code(128 + signal as i32);
    }
}

/// The disk hangs and nobody reads stderr: the budget ends that too.
#[test]
fn f81_a_hanging_disk_and_a_full_stderr_hold_up_a_stop_no_longer_than_its_budget() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = holder("stop-budget = \"2s\"", &["bad-1", "a", "b"]);
    sandbox.file("w.sh", &HOLDER.replace("echo holding >&2", "echo holding >held"));
    let launch = sandbox.launch().hanging(&GONE).report_json().stdin_file("items");
    let run = launch.under(&[crate::support::python().unwrap(), "-c", crate::stdout::FULL_STDERR]).start();
    sandbox.wait_for_line("held", "holding");
    run.signal(Signal::SIGTERM);
    run.finish_alone().expect_code(75);
}
