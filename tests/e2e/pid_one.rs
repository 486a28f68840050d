//! As PID 1 of a namespace of its own.

use crate::support::{Need, Outcome, Run, Sandbox, has, numbered, pool, send, sorted};
use nix::sys::signal::Signal;

const NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// Sends to exeunt itself, from outside its namespace.
fn signal_pid_one(run: &Run, signal: Signal) {
    send(run.inner_pid(), signal);
}

/// No zombie outlives us, and each is counted.
fn expect_orphans(outcome: &Outcome, count: u64) {
    let orphans = outcome.report()["orphans_reaped"].as_u64();
    assert!(orphans >= Some(count), "{orphans:?} of {count} orphans were reaped\n{outcome}");
}

#[test]
fn f41_f100_term_from_outside_stops_pid_1_in_order() {
    if !has(Need::PidNamespace) {
        return;
    }
    let script = "while IFS= read -r line <&3; do\n\
         id=${line%% *} item=${line#* }\n\
         case $item in hold*) echo \"holding $item\" >&2; read -r _ <&5 ;; esac\n\
         echo \"ok $id $item\" >&4\ndone\necho bye >>cleanup\n";
    let worker = "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nresults = \"stdout\"\nstop = [\"event 50s\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file("w.sh", script);
    let items = ["item-1", "item-2", "hold-1", "hold-2", "rest-1", "rest-2"];
    let run = sandbox.launch().under(&NAMESPACE).report_json().stdin_items(&items).start();
    run.wait_for_lines("holding", 2);
    signal_pid_one(&run, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(outcome.results()), ["hold-1", "hold-2", "item-1", "item-2"], "{outcome}");
    assert_eq!(outcome.leftovers, ["rest-1", "rest-2"], "{outcome}");
    assert_eq!(sandbox.lines("cleanup").len(), 2, "{outcome}");
}

#[test]
fn pid_1_works_its_items_off_and_its_exit_code_says_so() {
    if !has(Need::PidNamespace) {
        return;
    }
    let script = "while IFS= read -r line <&3; do echo \"ok ${line%% *} $(cat /proc/1/comm)\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().under(&NAMESPACE).stdin_items(&numbered(5)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["exeunt"; 5], "it was PID 1\n{outcome}");
}

/// Senders are known by their numbers in its namespace, and a probe by the one that is its parent there.
#[test]
fn pid_1_hears_notifications_and_asks() {
    if !has(Need::PidNamespace) || !has(Need::SystemdNotify) || !has(Need::Python) {
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "[worker.told]\ncommand = [\"sh\", \"-c\", \"systemd-notify --ready; exec sleep 1000\"]\nready = {{ notify = true }}\n\
         [worker.web]\ncommand = [\"@PYTHON@\", \"serve.py\", \"{port}\"]\nready = {{ http = \"http://127.0.0.1:{port}/\" }}\n\
         [worker.asked]\ncommand = [\"sleep\", \"1000\"]\nready = {{ command = [\"true\"] }}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("serve.py", include_str!("workers/serve.py"));
    let run = sandbox.launch().under(&NAMESPACE).start();
    ["told", "web", "asked"].iter().for_each(|name| _ = run.wait_for_line(&format!("exeunt: {name}.0 is ready after")));
    signal_pid_one(&run, Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// PID 1 gets every orphan of its namespace, and none stays a zombie while it runs.
#[test]
fn f1_f100_pid_1_reaps_orphans() {
    if !has(Need::PidNamespace) || !has(Need::Python) {
        return;
    }
    let script = r#"
import os, time
from worker import frames, orphan, reply

def others():
    """Processes of the namespace but PID 1 and this one, dead ones that nobody reaped included."""
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]

for token, item in frames():
    os.waitpid(orphan(int(item)), 0)
    while others():
        time.sleep(0.01)
    reply("ok", token, item)
"#;
    let sandbox = Sandbox::new(&pool("", "command = [\"@PYTHON@\", \"w.py\"]\nresults = \"stdout\""));
    sandbox.file("w.py", script);
    let outcome = sandbox.launch().under(&NAMESPACE).report_json().stdin_items(&["100", "1", "300"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["100", "1", "300"], "{outcome}");
    expect_orphans(&outcome, 401);
}

/// Ten thousand, and only four thousand numbers for them: they must be reaped while they come, or nobody can fork any more.
#[test]
fn f1_ten_thousand_orphans_are_reaped_where_there_are_four_thousand_numbers() {
    if !has(Need::PidNamespace) || !has(Need::Python) {
        return;
    }
    let script = r#"
import os, time
from worker import orphan, record, say
for _ in range(100):
    if os.waitpid(orphan(100), 0)[1]:
        record("starved", "a fork failed")
while [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]:
    time.sleep(0.01)
say("all reaped")
time.sleep(1000)
"#;
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"@PYTHON@\", \"-S\", \"w.py\"]\n");
    sandbox.file("w.py", script);
    // A namespace has a limit of its own since Linux 6.14; before, this would be that of the whole machine.
    let launcher = "[ \"$0\" = own ] && { echo 4000 >/proc/sys/kernel/pid_max || exit 9; }; exec \"$@\"";
    let whose = if release() >= (6, 14) { "own" } else { "machine's" };
    let under: Vec<&str> = NAMESPACE.into_iter().chain(["sh", "-c", launcher, whose]).collect();
    let run = sandbox.launch().under(&under).report_json().start();
    run.wait_for_line("all reaped");
    signal_pid_one(&run, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.read("starved"), "", "{outcome}");
    expect_orphans(&outcome, 10_000);
}

/// Major and minor number of the kernel.
fn release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// While exeunt is frozen, ten thousand children of nobody die and TERM comes: then it has all of it before it at once.
#[test]
fn f1_f3_f30_ten_thousand_dead_orphans_do_not_delay_term() {
    if !has(Need::PidNamespace) || !has(Need::Python) {
        return;
    }
    let script = r#"
import os
from worker import orphan, say, wait_at, wait_for_event
say("up")
wait_at("gate")
for middle in [orphan(100) for _ in range(100)]:
    os.waitpid(middle, 0)
say("orphaned")
say("told", wait_for_event())
"#;
    let config = "[worker.w]\ncommand = [\"@PYTHON@\", \"-S\", \"w.py\"]\nstop = [\"event 50s\", \"TERM 5s\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("w.py", script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().under(&NAMESPACE).report_json().start();
    run.wait_for_line("up");
    signal_pid_one(&run, Signal::SIGSTOP);
    gate.open();
    run.wait_for_line("orphaned");
    signal_pid_one(&run, Signal::SIGTERM);
    signal_pid_one(&run, Signal::SIGCONT);
    let told = run.wait_for_line("told");
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(told.contains("stop shutdown"), "{told}");
    expect_orphans(&outcome, 10_000);
}

/// Orphans without end, one dying after the other, until it is told to stop.
#[test]
fn f1_an_endless_storm_of_orphans_does_not_starve_term() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
import os
from worker import orphan, say
done = 0
while True:
    os.waitpid(orphan(20), 0)
    done += 20
    if done == 1000:
        say("up")
"#;
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"@PYTHON@\", \"-S\", \"w.py\"]\n");
    sandbox.file("w.py", script);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn f61_a_kill_of_pid_1_empties_the_namespace() {
    if !has(Need::PidNamespace) {
        return;
    }
    let config = "[worker.w]\nreplicas = 3\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().under(&NAMESPACE).start();
    run.wait_for_lines("up", 3);
    signal_pid_one(&run, Signal::SIGKILL);
    run.finish_alone();
    sandbox.wait_until_empty();
}
