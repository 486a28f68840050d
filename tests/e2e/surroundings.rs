//! Odd surroundings: no /proc, no /dev, no directory, huge environments, a terminal that is not there, a freeze.

use crate::support::{Need, QUICK_BACKOFF, QUICK_RESTART, Sandbox, has, numbered, pool, sorted, state, until};
use nix::sys::signal::Signal;

const ECHO: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";

fn echo_pool(queue: &str, worker: &str) -> Sandbox {
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{worker}");
    let sandbox = Sandbox::new(&pool(queue, &worker));
    sandbox.file("w.sh", ECHO);
    sandbox
}

/// Hides a directory under an empty file system before exeunt starts, for it alone.
fn without(directory: &str) -> [String; 6] {
    let script = format!("mount -t tmpfs none {directory} && exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned)
}

#[test]
fn f102_without_proc_work_is_done_and_groups_are_removed() {
    if !has(Need::PidNamespace) {
        return;
    }
    let sandbox = echo_pool("", "replicas = 2\nstop = [\"event 20s\", \"TERM 500ms\"]");
    let member = "(trap '' TERM; echo member >&2; exec sleep 1000) &\n";
    sandbox.file("w.sh", &format!("{member}{ECHO}"));
    let launcher = without("/proc");
    let mut run = sandbox.launch().under(&launcher.each_ref().map(String::as_str)).stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), crate::support::text(&numbered(4)).as_bytes()).unwrap();
    run.wait_for_lines("member", 2);
    assert!(run.wait_for_results(4));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), numbered(4), "{outcome}");
}

#[test]
fn f103_without_dev_work_is_done() {
    if !has(Need::PidNamespace) {
        return;
    }
    let launcher = without("/dev");
    let sandbox = echo_pool("", "");
    let launch = sandbox.launch().under(&launcher.each_ref().map(String::as_str));
    let outcome = launch.stdin_items(&numbered(4)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(4), "{outcome}");
}

#[test]
fn f116_a_directory_that_was_removed_under_us_has_no_effect() {
    let sandbox = echo_pool("", "working-directory = \".\"");
    let file = sandbox.path("exeunt.toml");
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let launch = sandbox.launch().arguments(&["run", file.to_str().unwrap()]).under(&["sh", "-c", script, "sh"]);
    let outcome = launch.stdin_items(&numbered(3)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(3), "{outcome}");
}

#[test]
fn f114_a_large_environment_is_passed_on_and_a_too_large_one_is_a_clean_failure() {
    let sandbox = echo_pool("", "");
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${#HUGE}\" >&4; done\n");
    let huge = "x".repeat(120_000);
    let outcome = sandbox.launch().env("HUGE", &huge).stdin_items(&["a"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["120000"]);

    // One string of more than 128 KiB is refused by the kernel, and so by us beforehand.
    let sandbox = echo_pool("", &format!("env = {{ HUGE = \"{huge}{huge}\" }}"));
    let outcome = sandbox.launch().stdin_items(&["a"]).finish();
    outcome.expect_code(78);
    assert!(outcome.stderr.contains("131071"), "{outcome}");
}

/// Without a terminal HUP means anything but a stop.
#[test]
fn f52_hup_without_a_terminal_is_no_stop() {
    let sandbox = echo_pool("", "");
    let mut run = sandbox.launch().under(&["setsid"]).stdin_pipe().start();
    let mut write = |text: &[u8]| std::io::Write::write_all(run.stdin.as_mut().unwrap(), text).unwrap();
    write(b"a\n");
    write(b"b\n");
    assert!(run.wait_for_results(2));
    run.signal(Signal::SIGHUP);
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"c\n").unwrap();
    assert!(run.wait_for_results(3), "it stopped");
    run.finish().expect_code(0);
}

#[test]
fn f51_every_stop_signal_is_a_stop() {
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGPWR, 34 + 3] {
        let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n");
        let run = sandbox.launch().start();
        run.wait_for_line("up");
        // SAFETY: kill takes two integers; real-time signals are not in nix's enum.
        assert_eq!(unsafe { libc::kill(run.pid(), number) }, 0);
        let outcome = run.finish();
        assert_eq!(outcome.code, 0, "signal {number}: {outcome}");
    }
}

/// We were stopped for longer than an item may take; its answer was given meanwhile and is heard before the clock.
#[test]
fn f30_a_freeze_of_ours_is_not_held_against_the_workers() {
    let sandbox = echo_pool(&format!("item-timeout = \"1s\"\n{QUICK_BACKOFF}"), QUICK_RESTART);
    let script = "while IFS= read -r line <&3; do [ \"${line#* }\" = slow ] && { echo holding >&2; read -r _ <gate; }\n\
        echo \"ok ${line%% *} ${line#* }\" >&4; echo answered >&2; done\n";
    sandbox.file("w.sh", script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().report_json().stdin_items(&["quick", "slow", "next"]).start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGSTOP);
    until("the freeze", || (state(run.pid()) == Some('T')).then_some(()));
    // Longer than the timeout: the span of the freeze is the very thing that is tested.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    gate.open();
    run.wait_for_lines("answered", 2);
    run.signal(Signal::SIGCONT);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["quick", "slow", "next"], "{outcome}");
    assert_eq!(outcome.count("timed_out"), 0, "{outcome}");
}
