//! Messages say what their reader needs next.

use crate::support::{Need, Sandbox, children, has, pool};
use nix::sys::signal::Signal;

#[test]
fn the_process_id_of_what_started_is_told() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sleep\", \"1000\"]\n");
    let run = sandbox.launch().start();
    let line = run.wait_for_line("exeunt: w.0 started");
    assert_eq!(line, format!("exeunt: w.0 started (pid {})", children(run.pid())[0]));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// Many of them die in the moment in which it is heard that they run.
#[test]
fn the_process_id_of_what_has_ended_when_its_start_is_heard_of_is_told_too() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"true\"]\nreplicas = 200\nrestart = \"never\"\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    let starts: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains(" started")).collect();
    assert_eq!(starts.len(), 200, "{outcome}");
    let without = starts.iter().find(|line| !line.contains(" started (pid "));
    assert_eq!(without, None, "{outcome}");
}

#[test]
fn the_item_that_a_worker_died_with_is_told_and_harmless() {
    let worker = "command = [\"sh\", \"-c\", \"head -n 1 <&3 >line; exit 3\"]";
    let sandbox = Sandbox::new(&pool("max-crashes = 1", worker));
    let outcome = sandbox.launch().stdin_text("a\u{1b}]0;x\u{7}b\n").finish();
    outcome.expect_code(65);
    let words = "(exit 3), with item 1.1 in hand: \"a\\u{1b}]0;x\\u{7}b\"\n";
    assert!(outcome.stderr.contains(words), "{outcome}");
}

/// What it was given and did not read is not in its hands.
#[test]
fn an_item_that_was_not_read_is_not_told() {
    let worker =
        "command = [\"sh\", \"-c\", \"read -r _ <gate; exit 3\"]\nstart-limit = { burst = 1, interval = \"60s\" }";
    let sandbox = Sandbox::new(&pool("", worker));
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_text("a\n").start();
    run.wait_for_line("exeunt: w.0 started");
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(1);
    assert!(!outcome.stderr.contains("in hand"), "{outcome}");
    let words = "worker w is given up: 1 failed start within 1m, the last: exit 3\n";
    assert!(outcome.stderr.contains(words), "{outcome}");
}

#[test]
fn a_give_up_tells_how_the_last_start_failed() {
    let limit = "start-limit = { burst = 2, interval = \"60s\" }";
    let cases = [
        ("command = [\"sh\", \"-c\", \"exit 4\"]", "the last: exit 4"),
        ("command = [\"sh\", \"-c\", \"kill -SEGV $$$$\"]", "the last: signal SEGV"),
        ("command = [\"true\"]\nworking-directory = \"none\"", "the last: changing directory to"),
        (
            "command = [\"sleep\", \"1000\"]\nready = { fd = 7 }\nstart-timeout = \"50ms\"",
            "the last: it was stopped (signal TERM), because it was not ready or not healthy in time",
        ),
    ];
    for (keys, last) in cases {
        let sandbox = Sandbox::new(&format!("[worker.w]\n{keys}\n{limit}\n"));
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        let words = format!("worker w is given up: 2 failed starts within 1m, {last}");
        assert!(outcome.stderr.contains(&words), "{keys}: {outcome}");
    }
}

/// TERM went to all of them with its group: that they leave after their leader is as it should be.
#[test]
fn members_that_were_sent_term_with_their_group_are_not_called_left_behind() {
    if !has(Need::Python) {
        return;
    }
    let config = "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nkill-mode = \"group\"\n";
    let sandbox = Sandbox::new(config);
    let slow = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(0)))\n\
        print('up', file=sys.stderr, flush=True)\nsignal.pause()\n";
    sandbox.file("slow.py", slow);
    sandbox.file("w.sh", &format!("{} slow.py &\nwait\n", crate::support::python().unwrap()));
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("behind"), "{outcome}");
}
