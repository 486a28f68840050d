//! Silence that is too long, and signs of life.

use crate::support::{Need, Sandbox, has};
use nix::sys::signal::Signal;

/// Tells the number of each life; `then` is what it does once it is ready.
fn watched(then: &str, keys: &str) -> Sandbox {
    let config = format!(
        "[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nready = {{ notify = true }}\nrestart-delay = {{ delay = \"1ms\", factor = 1, max = \"5ms\", jitter = 0, reset-after = \"10s\" }}\n{keys}\n"
    );
    let sandbox = Sandbox::new(&config);
    let program = format!(
        "from notify import *\nopen('lives', 'a').write('x')\nlife = len(open('lives').read())\n\
         def left(*_):\n    log('TERM in life %d' % life)\n    sys.exit(0)\nsignal.signal(signal.SIGTERM, left)\n\
         say('READY=1')\nlog('life %d' % life)\n{then}\nsignal.pause()\n"
    );
    sandbox.file("w.py", &program);
    sandbox
}

#[test]
fn who_goes_silent_is_stopped_by_its_ladder_and_started_again() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = watched(
        "if life == 2:\n    while True:\n        say('WATCHDOG=1')\n        time.sleep(0.05)",
        "watchdog = \"1s\"",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("life 1");
    run.wait_for_line("exeunt: warning: w.0 did not tell its watchdog in time and is stopped");
    run.wait_for_line("TERM in life 1");
    run.wait_for_line("life 2");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.read("lives"), "xx", "{outcome}");
}

/// Ten signs, each a quarter of the watchdog after the one before: without them there would be a restart or two.
#[test]
fn who_gives_signs_of_life_stays() {
    if !has(Need::Python) {
        return;
    }
    let signs = "for sign in range(10):\n    say('WATCHDOG=1')\n    time.sleep(float(os.environ['WATCHDOG_USEC']) / 4e6)\nsay('WATCHDOG=1')\nlog('ten signs')\nopen('end', 'w')";
    let sandbox = watched(signs, "watchdog = \"1500ms\"");
    let run = sandbox.launch().start();
    run.wait_for_line("ten signs");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.read("lives"), "x", "{outcome}");
}

#[test]
fn who_finds_itself_unwell_says_so() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = watched("if life == 1:\n    say('WATCHDOG=trigger')", "");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: warning: w.0 says that it is unwell and is stopped");
    run.wait_for_line("TERM in life 1");
    run.wait_for_line("life 2");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// A stopped process can say nothing, and TERM alone does not reach it: CONT comes with it.
#[test]
fn a_stopped_worker_is_found_out() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = watched(
        "if life == 1:\n    os.kill(os.getpid(), signal.SIGSTOP)",
        "watchdog = \"300ms\"\nstart-limit = \"off\"",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("TERM in life 1");
    run.wait_for_line("life 2");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}
