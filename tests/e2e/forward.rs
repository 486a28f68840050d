//! Signals that a worker of a file wants are passed on to it.

use crate::support::{Need, Sandbox, has};
use nix::sys::signal::Signal;

const LISTENER: &str = r#"
import os, signal
from worker import say
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, lambda number, _: say("got", number, os.environ["EXEUNT_INSTANCE"]))
say("up")
while True:
    signal.pause()
"#;

#[test]
fn f42_a_signal_goes_once_to_every_instance_that_wants_it_and_to_no_other() {
    if !has(Need::Python) {
        return;
    }
    let config = "[worker.eager]\ncommand = [\"@PYTHON@\", \"-S\", \"listen.py\"]\nreplicas = 2\n\
                  forward-signals = [\"USR1\", \"HUP\"]\n\
                  [worker.calm]\ncommand = [\"@PYTHON@\", \"-S\", \"listen.py\"]\nforward-signals = [\"USR2\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("listen.py", LISTENER);
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 3);
    run.signal(Signal::SIGUSR1);
    run.wait_for_lines("got 10 eager", 2);
    run.signal(Signal::SIGUSR2);
    run.wait_for_line("got 12 calm.0");
    run.signal(Signal::SIGHUP);
    run.wait_for_lines("got 1 eager", 2);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.lines().filter(|line| line.starts_with("got")).count(), 5, "{outcome}");
}
