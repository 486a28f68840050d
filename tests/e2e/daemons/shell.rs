//! A shell script with background jobs, which a shell that is told to leave does not tell to leave.

use super::{family, kill_main_process};
use crate::support::{Run, Sandbox};
use nix::sys::signal::Signal;

/// Five ways to have a job in the background: plain, stubborn, immune to hang-ups, in a group of its own (by the shell and by `timeout`), in a
/// pipeline.
const JOBS: &str = r#"
sleep 1000 &
(trap '' TERM HUP INT; echo job >>jobs; while :; do sleep 1000; done) &
nohup sleep 1000 >/dev/null 2>&1 &
timeout 2000 sleep 1000 &
yes | sleep 1000 &
set -m
sleep 1000 &
set +m
while ! [ -s jobs ]; do sleep 0.01; done
echo "up" >&2
wait
"#;
/// Those, what `timeout` runs, and the two ends of the pipeline with a shell around them or not.
const FEWEST: usize = 8;

fn sandbox(keys: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!("[worker.jobs]\ncommand = [\"sh\", \"jobs.sh\"]\n{keys}\n"));
    sandbox.file("jobs.sh", JOBS);
    sandbox
}

#[test]
fn its_jobs_go_when_it_goes() {
    let sandbox = sandbox("stop-timeout = \"1s\"");
    let run = start(&sandbox);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("jobs.0 left "), "it says what it found: {outcome}");
    assert!(outcome.stderr.contains("what jobs.0 left behind is killed"), "the stubborn one: {outcome}");
}

#[test]
fn its_jobs_go_when_it_is_killed_and_the_next_one_starts_with_its_own_alone() {
    let sandbox = sandbox("stop-timeout = \"1s\"");
    let run = start(&sandbox);
    sandbox.remove("jobs");
    kill_main_process(&run);
    run.wait_for_lines("up", 2);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// A script that ends well while its jobs go on has ended: they do not keep the run alive.
#[test]
fn its_jobs_go_when_it_ends() {
    let sandbox = sandbox("stop-timeout = \"1s\"");
    sandbox.file("jobs.sh", &JOBS.replace("wait\n", "exit 0\n"));
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("what jobs.0 left behind is killed"), "{outcome}");
}

#[test]
fn its_jobs_hear_the_signal_too_with_the_kill_mode_group() {
    let sandbox = sandbox("stop-timeout = \"1s\"\nkill-mode = \"group\"");
    let run = start(&sandbox);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

fn start(sandbox: &Sandbox) -> Run<'_> {
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    let family = family(&run);
    assert!(family.len() > FEWEST, "the script and its jobs: {family:#?}");
    run
}
