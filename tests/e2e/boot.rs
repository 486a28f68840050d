//! F49: TERM at many moments of the start.

use crate::support::{Need, Sandbox, children, has, numbered, pool, sorted};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::time::Duration;

const WORKER: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; sleep 0.01; done\n";

fn sandbox() -> Sandbox {
    let worker = "command = [\"sh\", \"w.sh\"]\nreplicas = 4\nresults = \"stdout\"";
    let service = "[worker.service]\ncommand = [\"sleep\", \"1000\"]\nreplicas = 3";
    let sandbox = Sandbox::new(&format!("{}\n[supervisor]\nend = \"work\"\n{service}\n", pool("size = 5", worker)));
    sandbox.file("w.sh", WORKER);
    sandbox.file("items", &crate::support::text(&numbered(60)));
    sandbox
}

/// The one thing that is allowed to vary is how far it came. The file of stdin is read to its end in any case.
#[test]
fn f49_term_at_any_moment_of_the_start_is_not_lost_and_leaves_nobody() {
    for round in 0..30u64 {
        let sandbox = sandbox();
        let run = sandbox.launch().stdin_file("items").start();
        // Here a span of time is the very thing that is varied.
        std::thread::sleep(Duration::from_micros(round * round * 450));
        let has_an_ear = catches(run.pid(), Signal::SIGTERM);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        // Before its first instruction a program has no handler, and no child either.
        let died_of_it = outcome.code == 128 + libc::SIGTERM;
        if died_of_it && !has_an_ear && outcome.stderr.is_empty() && outcome.stdout.is_empty() {
            continue;
        }
        assert!([0, 75].contains(&outcome.code), "round {round}: {outcome}");
        assert_eq!(outcome.code == 75, !outcome.leftovers.is_empty(), "round {round}: {outcome}");
        let all = sorted(outcome.results().iter().chain(&outcome.leftovers));
        assert_eq!(all, sorted(numbered(60)), "round {round}: {outcome}");
    }
}

fn catches(pid: i32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (signal as i32 - 1)) != 0
}

/// A TERM that waits before the first instruction, because the parent blocks it, is heard as soon as there is an ear.
#[test]
fn f49_f106_a_term_that_was_pending_before_the_start_is_heard() {
    if !has(Need::Python) {
        return;
    }
    let launcher = "import os, signal, sys\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n\
        os.kill(os.getpid(), signal.SIGTERM)\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    let sandbox = sandbox();
    let python = crate::support::python().unwrap();
    let outcome = sandbox.launch().under(&[python, "-c", launcher]).stdin_file("items").finish();
    outcome.expect_code(75);
    let all = sorted(outcome.results().iter().chain(&outcome.leftovers));
    assert_eq!(all, sorted(numbered(60)), "{outcome}");
}

/// We are frozen in the moment after the fork, and when we wake there is both: the word that exec succeeded, and TERM.
/// What runs by then is told to leave; only what has run nothing yet may be killed at once.
#[test]
fn f49_f59_a_worker_that_runs_when_term_is_heard_is_told_and_not_killed() {
    let script = "trap 'echo bye >>bye; exit 0' TERM; echo up >&2; while :; do sleep 0.02; done\n";
    for round in 0..20 {
        let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"TERM 40s\"]\n");
        sandbox.file("w.sh", script);
        let run = sandbox.launch().start();
        // A worker leads a session; the helper that looks for programs beforehand does not.
        let leads = |&pid: &i32| nix::unistd::getsid(Some(Pid::from_raw(pid))) == Ok(Pid::from_raw(pid));
        while !children(run.pid()).iter().any(leads) {}
        run.signal(Signal::SIGSTOP);
        run.wait_for_line("up");
        run.signal(Signal::SIGTERM);
        run.signal(Signal::SIGCONT);
        let outcome = run.finish();
        outcome.expect_code(0);
        assert_eq!(sandbox.read("bye"), "bye\n", "round {round}: {outcome}");
    }
}
