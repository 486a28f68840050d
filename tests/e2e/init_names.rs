//! Called by the name of another init, it is that init to whoever calls it.

use crate::support::{Launch, Need, Sandbox, has, python, send_number, state, until};
use nix::sys::signal::Signal;

fn called<'a>(sandbox: &'a Sandbox, name: &str, arguments: &[&str]) -> Launch<'a> {
    if sandbox.exists(name) {
        sandbox.remove(name);
    }
    sandbox.launch().under(&["setsid"]).called(name).arguments(arguments)
}

#[test]
fn tini_takes_its_options_and_says_its_name() {
    let sandbox = Sandbox::new("");
    for name in ["tini", "tini-static", "docker-init", "podman-init"] {
        let version = called(&sandbox, name, &["--version"]).finish();
        version.expect_code(0);
        assert!(version.stdout.starts_with("tini version 0."), "{version}");
        called(&sandbox, name, &["-s", "-vv", "-e", "143", "--", "sh", "-c", "kill -TERM $$"]).finish().expect_code(0);
        let outcome = called(&sandbox, name, &["sh", "-c", "echo \"$1 $2\"; exit 5", "sh", "--", "-v"]).finish();
        outcome.expect_code(5);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("-- -v\n", ""));
        called(&sandbox, name, &["-x", "true"]).finish().expect_code(1);
        called(&sandbox, name, &["no-such-program"]).finish().expect_code(127);
        called(&sandbox, name, &["-h"]).finish().expect_code(0);
    }
}

/// The inner one hears only what is for the whole group.
const NESTED: &str = "trap 'echo outer >&2' USR1; \
                      sh -c 'trap \"echo inner >&2\" USR1; echo up >&2; while :; do sleep 0.01; done' & \
                      while ! [ -e gone ]; do sleep 0.01; done; exit 9";

/// Whether the inner one hears it, as it should if it is for `both`.
fn both_hear(sandbox: &Sandbox, launch: Launch, both: bool) -> bool {
    let run = launch.start();
    run.wait_for_line("up");
    run.signal(Signal::SIGUSR1);
    run.wait_for_line("outer");
    if both {
        run.wait_for_line("inner");
    }
    sandbox.file("gone", "");
    let outcome = run.finish();
    sandbox.remove("gone");
    outcome.expect_code(9);
    outcome.stderr.contains("inner")
}

#[test]
fn f42_tini_signals_the_program_and_with_g_or_its_variable_the_group() {
    let sandbox = Sandbox::new("");
    assert!(!both_hear(&sandbox, called(&sandbox, "tini", &["--", "sh", "-c", NESTED]), false));
    assert!(both_hear(&sandbox, called(&sandbox, "tini", &["-g", "--", "sh", "-c", NESTED]), true));
    let launch = called(&sandbox, "tini", &["--", "sh", "-c", NESTED]).env("TINI_KILL_PROCESS_GROUP", "");
    assert!(both_hear(&sandbox, launch, true));
}

#[test]
fn f42_dumb_init_signals_the_whole_session_and_with_c_or_its_variable_the_program() {
    let sandbox = Sandbox::new("");
    assert!(both_hear(&sandbox, called(&sandbox, "dumb-init", &["sh", "-c", NESTED]), true));
    assert!(!both_hear(&sandbox, called(&sandbox, "dumb-init", &["-c", "sh", "-c", NESTED]), false));
    let launch = called(&sandbox, "dumb-init", &["--", "sh", "-c", NESTED]).env("DUMB_INIT_SETSID", "0");
    assert!(!both_hear(&sandbox, launch, false));
}

#[test]
fn dumb_init_rewrites_by_number_and_a_rewritten_signal_may_be_one_that_cannot_be_caught() {
    let sandbox = Sandbox::new("");
    let script = "trap 'echo quit; exit 3' QUIT; echo up >&2; while :; do sleep 0.01; done";
    let options = ["-r", "15:3", "--rewrite", "1:0", "sh", "-c", script];
    let run = called(&sandbox, "dumb-init", &options).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGHUP);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(3);
    assert_eq!(outcome.stdout, "quit\n");
    let run = called(&sandbox, "dumb-init", &["-r", "15:9", "sh", "-c", script]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(137);
}

#[test]
fn dumb_init_says_its_version_and_usage() {
    let sandbox = Sandbox::new("");
    for option in ["-V", "--version", "-h", "--help"] {
        let outcome = called(&sandbox, "dumb-init", &[option]).finish();
        outcome.expect_code(0);
        assert!(outcome.stderr.contains("dumb-init"), "{outcome}");
    }
    for wrong in [&[][..], &["--yolo", "true"], &["-r", "x", "true"]] {
        let outcome = called(&sandbox, "dumb-init", wrong).finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.starts_with("Usage") || outcome.stderr.starts_with("dumb-init: "), "{outcome}");
    }
}

/// TSTP for a session without a terminal would be for nobody: the program is stopped, and dumb-init with it, until CONT.
#[test]
fn dumb_init_stops_and_goes_on_with_its_program() {
    let sandbox = Sandbox::new("");
    let run = called(&sandbox, "dumb-init", &["sh", "-c", "echo $$ >&2; read x; exit 2"]).stdin_pipe().start();
    let program: i32 = run.wait_for_line("").parse().unwrap();
    run.signal(Signal::SIGTSTP);
    until("both to stop", || (state(program) == Some('T') && state(run.pid()) == Some('T')).then_some(()));
    run.signal(Signal::SIGCONT);
    until("both to go on", || (state(program) != Some('T') && state(run.pid()) != Some('T')).then_some(()));
    run.finish().expect_code(2);
}

/// What tini sets for itself: its parent is gone, so the signal comes to it, and it passes it on.
#[test]
fn tini_gets_its_parent_death_signal_and_passes_it_on() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let parent = r#"
import os, sys
if os.fork() == 0:
    os.execv("./tini", ["tini", "-p", "SIGUSR1", "--", "sh", "-c", "trap 'echo heard; exit' USR1; echo up >&2; while :; do sleep 0.01; done"])
os.read(0, 1)
os._exit(0)
"#;
    sandbox.file("parent.py", parent);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_exeunt"), sandbox.path("tini")).unwrap();
    let launch = sandbox.launch().program(python().unwrap()).arguments(&["-S", "parent.py"]).stdin_pipe();
    let mut run = launch.start();
    run.wait_for_line("up");
    drop(run.stdin.take());
    let outcome = run.finish_alone();
    assert_eq!(outcome.stdout, "heard\n", "{outcome}");
    sandbox.wait_until_empty();
}

#[test]
fn real_time_signals_pass_under_every_name() {
    let sandbox = Sandbox::new("");
    for name in ["tini", "dumb-init"] {
        let run = called(&sandbox, name, &["sh", "-c", "echo up >&2; exec sleep 1000"]).start();
        run.wait_for_line("up");
        send_number(run.pid(), 40);
        run.finish().expect_code(128 + 40);
    }
}
