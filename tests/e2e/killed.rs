//! F60: kill -9 of exeunt itself. Nothing can be done then but what was arranged before.

use crate::support::{Need, Sandbox, has, pool};
use nix::sys::signal::Signal;

#[test]
fn f60_workers_see_the_exit_event_when_exeunt_is_killed_and_leave() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
from worker import frames, record, reply, say, wait_for_event
for token, item in frames():
    say("holding", item)
    line = wait_for_event()
    record("seen", "event without a line" if line == "" else line)
"#;
    let service = r#"
from worker import record, say, wait_for_event
say("serving")
record("service", "event without a line" if wait_for_event() == "" else "a line")
"#;
    let worker = "command = [\"@PYTHON@\", \"w.py\"]\nreplicas = 2";
    let plain = "[worker.s]\ncommand = [\"@PYTHON@\", \"s.py\"]\nstop = [\"event 5s\"]\n";
    let sandbox = Sandbox::new(&format!("{}\n{plain}", pool("", worker)));
    sandbox.file("w.py", script);
    sandbox.file("s.py", service);
    let mut run = sandbox.launch().stdin_items(&["a", "b", "c", "d"]).start();
    run.wait_for_lines("holding", 2);
    run.wait_for_line("serving");
    run.signal(Signal::SIGKILL);
    run.wait();
    sandbox.wait_until_empty();
    assert_eq!(sandbox.lines("seen"), ["event without a line"; 2]);
    assert_eq!(sandbox.lines("service"), ["event without a line"]);
}

/// The four-line sh loop knows nothing of descriptor 5 and leaves all the same: its items end.
#[test]
fn f60_the_plain_sh_loop_ends_with_exeunt() {
    let script =
        "while IFS= read -r line <&3; do echo \"ok ${line%% *}\" >&4; echo answered >&2; done\necho bye >>cleanup\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nreplicas = 2"));
    sandbox.file("w.sh", script);
    let mut run = sandbox.launch().stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"a\nb\n").unwrap();
    run.wait_for_lines("answered", 2);
    run.signal(Signal::SIGKILL);
    run.wait();
    sandbox.wait_until_empty();
    assert_eq!(sandbox.lines("cleanup"), ["bye"; 2]);
    // Nothing of it stands in the way of the next one.
    let next = sandbox.launch().stdin_items(&["c"]).finish();
    next.expect_code(0);
    assert_eq!(next.stderr.matches("answered").count(), 1, "{next}");
}
