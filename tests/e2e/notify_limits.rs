//! What others make exeunt do by sd_notify(3) and by readiness pipes: it has limits, and the worker's own words come through.

use crate::support::{Need, Sandbox, children, has, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A worker `w` that is a Python program with the words of `notify.py`.
fn told_by_hand(program: &str, keys: &str) -> Sandbox {
    let config = format!("[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nready = {{ notify = true }}\n{keys}\n");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.py", &format!("from notify import *\n{program}"));
    sandbox
}

/// Processor time of a process so far, in clock ticks of 10 ms.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// That a flood costs little has no word to wait for: it is looked at for a while. Load makes it less, never more.
fn assert_little_work(pid: i32, most_percent: u64) {
    let (before, began) = (ticks(pid), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (used, span) = (ticks(pid) - before, began.elapsed());
    let percent = used * 1000 / u64::try_from(span.as_millis()).unwrap();
    assert!(percent <= most_percent, "{percent} % of a processor, {used} ticks in {span:?}");
}

#[test]
fn a_flood_of_the_readiness_pipe_costs_next_to_nothing() {
    for before in ["", "head -c 1000000 /dev/zero >&7; "] {
        let script = format!("{before}exec yes >&7");
        let config = format!("[worker.w]\ncommand = [\"sh\", \"-c\", \"{script}\"]\nready = {{ fd = 7 }}\n");
        let sandbox = Sandbox::new(&config);
        let run = sandbox.launch().start();
        run.wait_for_line("exeunt: w.0 is ready after");
        assert_little_work(run.pid(), 5);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(0);
        assert!(!outcome.stderr.contains("by itself"), "it did not die of SIGPIPE: {outcome}");
    }
}

/// Long after it was ready, and in small pieces: exeunt looks once a second, and the worker never waits for it.
#[test]
fn a_worker_that_writes_again_and_again_to_its_readiness_pipe_goes_on() {
    let script = "echo >&7; i=0; while [ $i -lt 20000 ]; do echo again >&7 || exit 9; i=$((i+1)); done; echo all >&2; exec sleep 1000";
    let config = format!("[worker.w]\ncommand = [\"sh\", \"-c\", '{script}']\nready = {{ fd = 7 }}\n");
    let sandbox = Sandbox::new(&config);
    let run = sandbox.launch().start();
    run.wait_for_line("all");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("is ready after").count(), 1, "{outcome}");
}

/// Processes outside of the worker, of the same user, write as fast as they can; the worker gives its signs of life.
#[test]
fn a_flood_by_others_costs_little_and_fires_no_watchdog() {
    if !has(Need::Python) {
        return;
    }
    let program = "say('READY=1')\nopen('address', 'w').write(os.environ['NOTIFY_SOCKET'] + '\\n')\n\
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nfor sign in range(100000):\n    say('WATCHDOG=1')\n    \
        time.sleep(0.1)\n    if sign == 30: log('thirty signs')\n";
    let sandbox = told_by_hand(program, "watchdog = \"1s\"");
    sandbox.file("flood.py", "from notify import *\nchan = channel()\nwhile True: chan.send(b'READY=1')\n");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    let address = sandbox.wait_for_line("address", "exeunt");
    let python = crate::support::python().unwrap();
    let flooders: Vec<_> = (0..4)
        .map(|_| {
            let mut command = std::process::Command::new(python);
            command.arg("flood.py").current_dir(sandbox.directory()).env("NOTIFY_SOCKET", &address);
            Killed(command.spawn().unwrap())
        })
        .collect();
    run.wait_for_line("exeunt: warning: w.0: its notification socket is flooded");
    assert_little_work(run.pid(), 30);
    run.wait_for_line("thirty signs");
    drop(flooders);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("watchdog"), "{outcome}");
    assert_eq!(outcome.stderr.matches("none of its own").count(), 1, "{outcome}");
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_many_status_messages_a_few_and_the_last_are_shown() {
    if !has(Need::Python) {
        return;
    }
    let program =
        "for n in range(500):\n    say('STATUS=step %d' % n)\nsay('STOPPING=1', 'READY=1')\nlog('said')\nstay()\n";
    let sandbox = told_by_hand(program, "");
    let run = sandbox.launch().start();
    run.wait_for_line("said");
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let shown: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("w.0 says:")).collect();
    assert!(shown.len() < 20, "{} lines: {outcome}", shown.len());
    let last = shown.last().copied().unwrap_or_default();
    assert!(last.starts_with("exeunt: w.0 says: stopping (") && last.ends_with("before it were dropped)"), "{outcome}");
}

/// The directory that a worker's socket is in.
fn directory_of(sandbox: &Sandbox) -> PathBuf {
    let address = sandbox.wait_for_line("address", "/exeunt-notify-");
    Path::new(&address).parent().unwrap().to_owned()
}

const TELLS_WHERE: &str = "open('address', 'w').write(os.environ['NOTIFY_SOCKET'] + '\\n')\nsay('READY=1')\nstay()\n";

#[test]
fn only_the_user_of_the_worker_can_reach_its_socket() {
    if !has(Need::SystemdNotify) || !has(Need::Root) {
        return;
    }
    let script = "echo \"$$NOTIFY_SOCKET\" >address; systemd-notify --ready; exec sleep 1000";
    let config =
        format!("[worker.w]\ncommand = [\"sh\", \"-c\", '{script}']\nready = {{ notify = true }}\nuser = \"65534\"\n");
    let sandbox = Sandbox::new(&config);
    sandbox.open_to_all();
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    let directory = directory_of(&sandbox);
    let found = fs::metadata(&directory).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (65534, 0o700));
    let path = directory.join("notify");
    // A program of its own: the `test` of a shell asks its own way.
    let is_writable = ["/usr/bin/test", "-w", path.to_str().unwrap()];
    for (uid, reaches) in [("65533", false), ("65534", true)] {
        let words = [["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"].as_slice(), &is_writable].concat();
        assert_eq!(crate::support::runs(&words), reaches, "as user {uid}");
    }
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert!(!directory.exists() && !directory.parent().unwrap().exists(), "nothing is left");
}

#[test]
fn f60_the_directory_of_a_killed_exeunt_is_removed_by_the_next() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(TELLS_WHERE, "parent-death-signal = \"KILL\"");
    let mut run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    let left = directory_of(&sandbox).parent().unwrap().to_owned();
    run.signal(Signal::SIGKILL);
    run.wait();
    assert!(left.exists());
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    assert!(!left.exists());
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// We are stopped while the sender comes and goes, so that it can be asked no more what it was.
#[test]
fn one_that_is_gone_cannot_trigger_extend_or_name_the_main_process() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "log('up')\nwait_for('let-it')\nchild = os.fork()\nif child == 0:\n    \
         say('WATCHDOG=trigger', 'EXTEND_TIMEOUT_USEC=9000000000', 'MAINPID=%d' % os.getppid(), 'STATUS=gone')\n    \
         os._exit(0)\nos.waitpid(child, 0)\nlog('gone')\nwait_for('ready')\nsay('READY=1')\nstay()\n",
        "start-timeout = \"off\"",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGSTOP);
    sandbox.file("let-it", "");
    run.wait_for_line("gone");
    run.signal(Signal::SIGCONT);
    run.wait_for_line("exeunt: w.0 says: gone");
    sandbox.file("ready", "");
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("ended before its notification was read").count(), 1, "{outcome}");
    assert!(!outcome.stderr.contains("unwell"), "{outcome}");
}

/// What the control group proves, a session of its own does not take away.
#[test]
fn a_member_of_the_control_group_speaks_for_the_worker() {
    if !has(Need::Python) || !has(Need::ControlGroups) {
        return;
    }
    let program = "child = os.fork()\nif child == 0:\n    os.setsid()\n    say('READY=1')\n    stay()\nstay()\n";
    let sandbox = told_by_hand(program, "start-timeout = \"off\"");
    let run = super::cgroup::start(&sandbox);
    run.wait_for_line("exeunt: w.0 is ready after");
    let exeunt = until("exeunt", || (!children(run.pid()).is_empty()).then(|| run.pid()));
    crate::support::send(exeunt, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("none of its own"), "{outcome}");
}
