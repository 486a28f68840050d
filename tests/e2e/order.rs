//! Order at the start: readiness, oneshots, and workers that cannot be without others.

use crate::support::{Sandbox, until};
use nix::sys::signal::Signal;

/// Waits until the test lets it, then says that it is ready; leaves on TERM.
const SLOW: &str = r#"
trap 'exit 0' TERM
echo "slow runs" >&2
while ! [ -e let-it ]; do sleep 0.02; done
echo "slow tells" >>order
eval "echo >&$EXEUNT_READY_FD"
eval "echo and twice >&$EXEUNT_READY_FD"
while :; do sleep 0.02; done
"#;

const FAST: &str = r#"
trap 'exit 0' TERM
echo "fast runs" >>order
echo "fast up" >&2
while :; do sleep 0.02; done
"#;

fn slow_and_fast(slow: &str, fast: &str) -> Sandbox {
    let config = format!(
        "[worker.slow]\ncommand = [\"sh\", \"slow.sh\"]\n{slow}\n[worker.fast]\ncommand = [\"sh\", \"fast.sh\"]\n{fast}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("slow.sh", SLOW);
    sandbox.file("fast.sh", FAST);
    sandbox
}

#[test]
fn f48_who_is_after_another_starts_when_that_says_it_is_ready() {
    let sandbox = slow_and_fast("ready = { fd = 7 }", "after = [\"slow\"]");
    let run = sandbox.launch().start();
    run.wait_for_line("slow runs");
    sandbox.file("let-it", "");
    run.wait_for_line("exeunt: slow.0 is ready");
    run.wait_for_line("fast up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("order"), ["slow tells", "fast runs"], "{outcome}");
}

#[test]
fn f59_term_while_readiness_is_awaited_ends_the_run_at_once() {
    let sandbox = slow_and_fast("ready = { fd = 3 }", "after = [\"slow\"]");
    let run = sandbox.launch().start();
    run.wait_for_line("slow runs");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!sandbox.exists("order"), "who waited was never started: {outcome}");
}

#[test]
fn f29_readiness_that_never_comes_is_a_failed_start() {
    let limits = "start-timeout = \"100ms\"\nstart-limit = { burst = 2, interval = \"60s\" }";
    let sandbox = slow_and_fast(&format!("ready = {{ fd = 3 }}\n{limits}"), "after = [\"slow\"]");
    let outcome = sandbox.launch().start().finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("slow.0 was not ready within 100ms and is stopped"), "{outcome}");
    assert!(outcome.stderr.contains("worker slow is given up: 2 failed starts within 1m"), "{outcome}");
}

#[test]
fn who_waits_for_a_oneshot_starts_after_its_good_end() {
    let config = r#"
[worker.migrate]
command = ["sh", "-c", "echo migrate >>order; [ -e again ] || { : >again; exit 1; }"]
type = "oneshot"

[worker.web]
command = ["sh", "-c", "echo web >>order; echo up >&2; exec sleep 1000"]
requires = ["migrate"]
"#;
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("order"), ["migrate", "migrate", "web"], "{outcome}");
}

#[test]
fn who_requires_a_oneshot_that_fails_for_good_never_starts() {
    let config = r#"
[worker.migrate]
command = ["sh", "-c", "exit 3"]
type = "oneshot"
restart = "never"

[worker.web]
command = ["sh", "-c", "echo web >>order"]
requires = ["migrate"]
"#;
    let sandbox = Sandbox::new(config);
    let outcome = sandbox.launch().start().finish();
    outcome.expect_code(1);
    assert!(!sandbox.exists("order"), "{outcome}");
    assert!(outcome.stderr.contains("stopped because no worker is left to run"), "no work was done: {outcome}");
}

/// The required one is killed: the other is stopped by its ladder, and both come back in order.
#[test]
fn who_requires_another_falls_with_it_and_comes_back_with_it() {
    let db = "trap 'exit 0' TERM; echo db $$ >>order; echo $$ >pid; while :; do sleep 0.02; done";
    let web =
        "trap 'echo web falls >>order; exit 0' TERM; echo web >>order; echo web up >&2; while :; do sleep 0.02; done";
    let config = format!(
        "[worker.db]\ncommand = [\"sh\", \"-c\", \"{}\"]\nready = {{ delay = \"1ms\" }}\n\n[worker.web]\ncommand = [\"sh\", \"-c\", \"{web}\"]\nrequires = [\"db\"]\n",
        db.replace("$$", "$$$$")
    );
    let sandbox = Sandbox::new(&config);
    let run = sandbox.launch().start();
    run.wait_for_line("web up");
    let first = until("the first has told its pid", || {
        sandbox.exists("pid").then(|| sandbox.read("pid").trim().parse().ok())?
    });
    crate::support::send(first, Signal::SIGKILL);
    until("both came back", || {
        let webs = sandbox.lines("order").iter().filter(|line| *line == "web").count();
        (webs == 2).then_some(())
    });
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let mut lines = sandbox.lines("order");
    let starts: Vec<&str> =
        lines.iter().map(|line| line.split_once(' ').map_or(line.as_str(), |(name, _)| name)).collect();
    assert_eq!((&starts[..2], &starts[4..]), (&["db", "web"][..], &["web", "web"][..]), "{outcome}");
    // The one may be back before the other has gone: it is started only after both.
    lines[2..4].sort();
    assert!(lines[2].starts_with("db ") && lines[3] == "web falls", "{outcome}");
    let words = "web.0 is stopped, for it requires db, which is not ready any more";
    assert!(outcome.stderr.contains(words), "{outcome}");
}
