//! L8: what has nothing to do does nothing.

use crate::support::{Need, Sandbox, context_switches, has, pool};
use nix::sys::signal::Signal;
use std::time::Duration;

/// A tick of any shorter period is seen in so many seconds.
const SPAN: u32 = 8;
const MOST: u32 = 4 * SPAN;

/// The one place where a test waits for time: that nobody wakes up has no word to wait for, and can only be seen by looking for as
/// long as the slowest tick that is to be found may take. What is still on its way at first is over some time; a tick is not.
pub fn assert_a_quiet_span(pid: i32) {
    let (mut before, mut quiet) = (context_switches(pid), 0);
    for _ in 0..MOST {
        std::thread::sleep(Duration::from_secs(1));
        let now = context_switches(pid);
        quiet = if now == before { quiet + 1 } else { 0 };
        if quiet == SPAN {
            return;
        }
        before = now;
    }
    panic!("it woke up again and again, and was never quiet for {SPAN} s in {MOST} s");
}

#[test]
fn f31_twenty_sleepers_cost_no_wake_up() {
    let config = "[worker.w]\nreplicas = 20\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 20);
    assert_a_quiet_span(run.pid());
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// With an open source, a result written and an item in hand too.
#[test]
fn f31_a_queue_that_waits_costs_no_wake_up() {
    let worker = "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nresults = \"stdout\"";
    let sandbox = Sandbox::new(&pool("", worker));
    let script = "while IFS= read -r line <&3; do [ \"${line#* }\" = hold ] && { echo holding >&2; read -r _ <gate; }\n\
        echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    sandbox.file("w.sh", script);
    let gate = sandbox.gate("gate");
    let mut run = sandbox.launch().stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"a\nb\nhold\n").unwrap();
    assert!(run.wait_for_results(2));
    run.wait_for_line("holding");
    assert_a_quiet_span(run.pid());
    gate.open();
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn f31_a_worker_that_may_notify_costs_no_wake_up() {
    if !has(Need::SystemdNotify) {
        return;
    }
    let config = "[worker.w]\nreplicas = 5\ncommand = [\"sh\", \"-c\", \"systemd-notify --ready; exec sleep 1000\"]\nready = { notify = true }\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_words("is ready after", 5);
    assert_a_quiet_span(run.pid());
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// One that says again that it is ready, and so is looked at a second later.
#[test]
fn f31_a_worker_that_was_ready_twice_costs_no_wake_up() {
    let config = "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo >&7; sleep 0.1; echo >&7; echo said >&2; exec sleep 1000\"]\nready = { fd = 7 }\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_line("said");
    assert_a_quiet_span(run.pid());
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}
