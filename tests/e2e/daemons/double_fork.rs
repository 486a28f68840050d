//! Daemons that go into the background: they fork, make a session of their own, fork again, and their first process ends well. With
//! `kill-mode = "process"` they live until the end of the run (else they may be caught on their way out); then they must not stay behind.

use super::daemon;
use crate::support::{Need, Run, Sandbox, has, send, state, until};
use nix::sys::signal::Signal;
use std::os::unix::net::UnixStream;

/// As in the books; at last it says in a file that it is there. `stubborn` ignores what can be ignored.
const DAEMON: &str = r#"
import os, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
middle = os.getpid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.umask(0)
null = os.open("/dev/null", os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)

def leave(*_):
    with open(sys.argv[1] + "/told", "a") as file:
        file.write("TERM\n")
    os._exit(0)

if sys.argv[2] == "stubborn":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, leave)
while os.getppid() == middle:
    time.sleep(0.001)
with open(sys.argv[1] + "/up", "a") as file:
    file.write(f"up {os.getpid()} of {os.getppid()} in {os.getsid(0)}\n")
while True:
    signal.pause()
"#;

const NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// The daemon, and a plain service that keeps the run alive when the daemon's first process has ended.
fn sandbox(manner: &str) -> Sandbox {
    let sandbox = Sandbox::new("");
    let directory = sandbox.directory().to_str().expect("UTF-8").to_owned();
    sandbox.config(&format!(
        "[supervisor]\ncgroup = \"off\"\n\n[worker.daemon]\ncommand = [\"@PYTHON@\", \"daemon.py\", \"{directory}\", \"{manner}\"]\nkill-mode = \"process\"\n\n\
         [worker.other]\ncommand = [\"sleep\", \"1000\"]\n"
    ));
    sandbox.file("daemon.py", DAEMON);
    sandbox
}

#[test]
fn f9_one_that_obeys_is_told_to_leave_and_may_say_good_bye() {
    if has(Need::Python) {
        let sandbox = sandbox("obedient");
        stop(&sandbox, false);
        assert_eq!(sandbox.read("told"), "TERM\n", "TERM, and time to act on it");
    }
}

#[test]
fn f9_one_that_ignores_everything_is_killed() {
    if has(Need::Python) {
        let sandbox = sandbox("stubborn");
        stop(&sandbox, false);
    }
}

#[test]
fn f9_f100_one_that_obeys_is_told_to_leave_by_pid_1() {
    if has(Need::Python) && has(Need::PidNamespace) {
        let sandbox = sandbox("obedient");
        stop(&sandbox, true);
        assert_eq!(sandbox.read("told"), "TERM\n", "TERM, and time to act on it");
        assert!(sandbox.read("up").contains(" of 1 "), "PID 1 adopted it: {}", sandbox.read("up"));
    }
}

#[test]
fn f9_f100_one_that_ignores_everything_is_killed_by_pid_1() {
    if has(Need::Python) && has(Need::PidNamespace) {
        let sandbox = sandbox("stubborn");
        stop(&sandbox, true);
    }
}

/// One that dies while the run goes on is reaped by exeunt, whose child it has become.
#[test]
fn f1_one_that_dies_on_its_own_is_reaped() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("obedient");
    let run = sandbox.launch().report_json().start();
    let up = sandbox.wait_for_line("up", "up");
    let words: Vec<&str> = up.split(' ').collect();
    assert_eq!(words[3], run.pid().to_string(), "exeunt adopted it: {up}");
    let daemon: i32 = words[1].parse().expect("a pid");
    send(daemon, Signal::SIGKILL);
    until("exeunt to reap it", || state(daemon).is_none().then_some(()));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.report()["strangers_left"], 0, "{outcome}");
}

/// Where nothing else keeps the run alive it ends with the daemon's first process, and takes the daemon with it.
#[test]
fn f8_a_run_of_nothing_but_a_daemon_that_went_away_ends_at_once() {
    if !has(Need::Python) {
        return;
    }
    for kill_mode in ["mixed", "process"] {
        let sandbox = sandbox("stubborn");
        let config = sandbox.read("exeunt.toml").replace("\"process\"", &format!("\"{kill_mode}\""));
        sandbox.config(config.split("[worker.other]").next().expect("a first half"));
        sandbox.launch().finish().expect_code(0);
    }
}

#[test]
fn f9_memcached_in_the_background_is_stopped_with_the_run() {
    let Some(memcached) = daemon("memcached") else { return };
    let sandbox = in_the_background(|here| format!("{memcached:?}, \"-d\", \"-u\", \"root\", \"-s\", \"{here}/sock\""));
    until_it_answers_and_stop(&sandbox);
}

#[test]
fn f9_redis_in_the_background_is_stopped_with_the_run() {
    let Some(redis) = daemon("redis-server") else { return };
    let sandbox = in_the_background(|here| {
        format!("{redis:?}, \"--daemonize\", \"yes\", \"--port\", \"0\", \"--unixsocket\", \"{here}/sock\"")
    });
    until_it_answers_and_stop(&sandbox);
    assert!(!sandbox.exists("sock"), "it was not killed: it tidied up");
}

/// As `daemon = off;` is not said.
#[test]
fn f9_nginx_in_the_background_is_stopped_with_the_run() {
    let Some(nginx) = daemon("nginx") else { return };
    let sandbox =
        in_the_background(|here| format!("{nginx:?}, \"-e\", \"stderr\", \"-p\", \"{here}\", \"-c\", \"nginx.conf\""));
    sandbox.file(
        "nginx.conf",
        "pid nginx.pid; error_log error.log notice; events {}\nhttp { access_log off; server { listen unix:sock; } }\n",
    );
    until_it_answers_and_stop(&sandbox);
    let log = sandbox.read("error.log");
    assert!(log.contains("signal 15 (SIGTERM) received") && log.contains("exit\n"), "it left by itself: {log}");
}

fn in_the_background(command: impl Fn(&str) -> String) -> Sandbox {
    let sandbox = Sandbox::new("");
    let command = command(sandbox.directory().to_str().expect("UTF-8"));
    sandbox.config(&format!(
        "[supervisor]\ncgroup = \"off\"\n\n[worker.daemon]\ncommand = [{command}]\nkill-mode = \"process\"\n\n[worker.other]\ncommand = [\"sleep\", \"1000\"]\n"
    ));
    sandbox
}

fn until_it_answers_and_stop(sandbox: &Sandbox) {
    let run = sandbox.launch().report_json().start();
    run.wait_for_line("exeunt: daemon.0 ended by itself");
    until("the daemon to answer", || UnixStream::connect(sandbox.path("sock")).ok());
    end(run, false);
}

fn stop(sandbox: &Sandbox, as_pid_1: bool) {
    let launch = sandbox.launch().report_json();
    let run = if as_pid_1 { launch.under(&NAMESPACE) } else { launch }.start();
    run.wait_for_line("exeunt: daemon.0 ended by itself");
    sandbox.wait_for_line("up", "up");
    end(run, as_pid_1);
}

/// Told to stop it ends well, with nobody left: neither alive nor, says the report, out of reach.
fn end(run: Run, as_pid_1: bool) {
    send(if as_pid_1 { run.inner_pid() } else { run.pid() }, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let report = outcome.report();
    assert_eq!(report["strangers_left"], 0, "{outcome}");
    assert!(outcome.stderr.contains("left at the end"), "it tells what it found: {outcome}");
}
