//! What exeunt adds by itself (TERM for survivors and for stray processes) is not sent to a process that was sent it before. Many
//! programs finish their work on the first TERM and drop it on the second.

use crate::support::{Need, Outcome, Sandbox, has, python};
use nix::sys::signal::Signal;

/// Counts its TERMs in the file `heard`, and stays until KILL, by when all that is ever sent to it has been sent.
const COUNTER: &str = r#"
import os, signal, time
from worker import record, say
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, lambda number, _: record("heard", signal.Signals(number).name))
say("up")
# A signal that comes just before signal.pause() would wait, in Python, until there is another one.
while True:
    time.sleep(0.02)
"#;

/// A shell that dies of the first signal, with the counter as its child.
fn sandbox(supervisor: &str, keys: &str) -> Sandbox {
    let config = format!(
        "[supervisor]\ncgroup = \"off\"\n{supervisor}\n[worker.w]\n\
         command = [\"sh\", \"-c\", \"'@PYTHON@' -S counter.py & wait\"]\n{keys}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("counter.py", COUNTER);
    sandbox
}

fn heard_after_term(sandbox: &Sandbox) -> (Vec<String>, Outcome) {
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    (sandbox.lines("heard"), outcome)
}

#[test]
fn a_survivor_that_had_term_with_its_group_is_not_sent_it_again() {
    if !has(Need::Python) {
        return;
    }
    let (heard, outcome) = heard_after_term(&sandbox("", "kill-mode = \"group\"\nstop = [\"TERM 2s\"]"));
    assert_eq!(heard, ["SIGTERM"], "{outcome}");
    assert!(!outcome.stderr.contains("asked to go with TERM"), "{outcome}");
    outcome.expect_code(0);
}

#[test]
fn rungs_of_the_file_are_always_sent() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("", "kill-mode = \"group\"\nstop = [\"TERM 2s\", \"TERM 60s\"]");
    // Both go on after the first TERM and end with the second.
    let config = sandbox
        .read("exeunt.toml")
        .replace("\"-c\", \"", "\"-c\", \"trap : TERM; ")
        .replace("& wait", "& while ! [ -e done ]; do sleep 0.01; done");
    sandbox.file("exeunt.toml", &config);
    let ends = "record(\"heard\", signal.Signals(number).name)\n    \
                if open(\"heard\").read().count(\"\\n\") == 2: open(\"done\", \"w\"); os._exit(0)\n";
    let handler = format!("def heard(number, _):\n    {ends}for number in");
    let counter = COUNTER.replacen("for number in", &handler, 1);
    let counter = counter.replace("lambda number, _: record(\"heard\", signal.Signals(number).name)", "heard");
    sandbox.file("counter.py", &counter);
    let (heard, outcome) = heard_after_term(&sandbox);
    assert_eq!(heard, ["SIGTERM", "SIGTERM"], "{outcome}");
}

#[test]
fn a_survivor_that_had_another_signal_or_none_is_sent_term_once() {
    if !has(Need::Python) {
        return;
    }
    let group = "kill-mode = \"group\"\nstop = [\"QUIT 2s\"]";
    for (keys, expected) in [(group, &["SIGQUIT", "SIGTERM"][..]), ("stop = [\"TERM 2s\"]", &["SIGTERM"])] {
        let (mut heard, outcome) = heard_after_term(&sandbox("", keys));
        // They come together, and one handler may interrupt the other before that has written anything.
        heard.sort_unstable();
        assert_eq!(heard, expected, "{keys}\n{outcome}");
    }
}

/// `MAINPID` has the rung's TERM go to the member that is named and not to the leader, which ends after it all the same.
#[test]
fn a_survivor_that_had_term_in_its_leaders_place_is_not_sent_it_again() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new(
        "[supervisor]\ncgroup = \"off\"\n[worker.w]\nready = { notify = true }\nstop = [\"TERM 2s\"]\n\
         command = [\"sh\", \"-c\", \"'@PYTHON@' -S main.py & while ! [ -e heard ]; do sleep 0.01; done\"]\n",
    );
    let tells = "import notify, os\nnotify.say(f'MAINPID={os.getpid()}\\nREADY=1')\n";
    sandbox.file("main.py", &COUNTER.replace("say(\"up\")", tells));
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(sandbox.lines("heard"), ["SIGTERM"], "{outcome}");
}

/// A member that leaves its session when it has had TERM is a stray process at the end of the run.
#[test]
fn a_stray_that_had_term_as_a_member_is_not_sent_it_again() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("", "kill-mode = \"group\"\nstop = [\"TERM 30s\"]");
    let leaves = "lambda number, _: (os.getsid(0) != os.getpid() and os.setsid(), \
                  record(\"heard\", signal.Signals(number).name))";
    let counter = COUNTER.replace("lambda number, _: record(\"heard\", signal.Signals(number).name)", leaves);
    // The shell ends when the session has been made.
    sandbox.file("counter.py", &counter);
    let config = sandbox
        .read("exeunt.toml")
        .replace("\"-c\", \"", "\"-c\", \"trap : TERM; ")
        .replace("& wait", "& while ! [ -e heard ]; do sleep 0.01; done");
    sandbox.file("exeunt.toml", &config);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("exeunt: warning: a process that is left at the end had TERM before");
    run.wait_for_line("exeunt: warning: a process that is left at the end is sent KILL");
    let outcome = run.finish();
    assert_eq!(sandbox.lines("heard"), ["SIGTERM"], "{outcome}");
}

/// TERM for an init that passes it on to all reaches each process once, under every name.
#[test]
fn an_init_that_signals_all_sends_term_once() {
    if !has(Need::Python) {
        return;
    }
    let script = format!("'{}' -S counter.py & wait", python().unwrap());
    for (name, options) in
        [("exeunt", &["init", "-g", "--stop-timeout", "2s", "--"][..]), ("tini", &["-g", "--"]), ("dumb-init", &["--"])]
    {
        let sandbox = Sandbox::new("");
        sandbox.file("counter.py", COUNTER);
        let words: Vec<&str> = options.iter().chain(&["sh", "-c", &script]).copied().collect();
        let run = sandbox.launch().under(&["setsid"]).called(name).arguments(&words).start();
        run.wait_for_line("up");
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(143);
        assert_eq!(sandbox.lines("heard"), ["SIGTERM"], "{name}: {outcome}");
    }
}

/// CONT, which follows every other stop signal, would throw these away.
#[test]
fn tstp_ttin_and_ttou_arrive_as_stop_signals_even_at_a_stopped_program() {
    if !has(Need::Python) {
        return;
    }
    let program = "import os, signal, time\nfrom worker import say\n\
        signal.signal(getattr(signal, f'SIG{os.environ[\"STOP\"]}'), lambda *_: (say('heard'), os._exit(0)))\n\
        say('up', os.getpid())\nwhile True: time.sleep(0.02)\n";
    for name in ["TSTP", "TTIN", "TTOU"] {
        for stopped in [false, true] {
            let sandbox = Sandbox::new(&format!(
                "[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nenv = {{ STOP = \"{name}\" }}\nstop = [\"{name} 60s\"]\n"
            ));
            sandbox.file("w.py", program);
            let run = sandbox.launch().start();
            let pid = run.wait_for_line("up ").rsplit(' ').next().unwrap().parse().unwrap();
            if stopped {
                crate::support::send(pid, Signal::SIGSTOP);
                crate::support::until("it to stop", || (crate::support::state(pid) == Some('T')).then_some(()));
            }
            run.signal(Signal::SIGTERM);
            run.wait_for_line("heard");
            run.finish().expect_code(0);
        }
    }
}
