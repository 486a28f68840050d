//! F3, F4, F6, F10, F13, F25, F55, F58: deaths at odd moments, seen by others first, many at once, and numbers that come back.

use crate::support::{
    Need, QUICK_BACKOFF, QUICK_RESTART, Sandbox, children, has, numbered, pool, python, send, state, until,
};
use nix::sys::signal::Signal;
use std::process::{Child, Command, Stdio};

/// Forty die while we are frozen: one SIGCHLD, forty deaths, each of which is followed by one start.
#[test]
fn f3_forty_deaths_behind_one_sigchld_are_forty_restarts() {
    let config = format!(
        "[worker.w]\nreplicas = 40\ncommand = [\"sh\", \"-c\", \"echo $EXEUNT_INSTANCE >>starts; echo up >&2; exec sleep 1000\"]\n\
         restart = \"always\"\nstart-limit = \"off\"\n{QUICK_RESTART}\n"
    );
    let sandbox = Sandbox::new(&config);
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 40);
    run.signal(Signal::SIGSTOP);
    until("exeunt to freeze", || (state(run.pid()) == Some('T')).then_some(()));
    let first = children(run.pid());
    assert_eq!(first.len(), 40);
    first.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
    until("all to be dead", || first.iter().all(|&pid| state(pid) == Some('Z')).then_some(()));
    run.signal(Signal::SIGCONT);
    run.wait_for_lines("up", 80);
    assert_eq!(children(run.pid()).len(), 40);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    let mut starts = sandbox.lines("starts");
    starts.sort();
    assert!(starts.len() == 80 && starts.chunks(2).all(|pair| pair[0] == pair[1]), "two lives each: {starts:?}");
}

/// Every way of dying that there is a row for: the report tells it, and a signal is a failure.
#[test]
fn f4_every_signal_that_kills_is_told_by_its_name() {
    for (number, name) in [(11, "SEGV"), (9, "KILL"), (15, "TERM"), (6, "ABRT"), (35, "RTMIN+1")] {
        let config = format!(
            "[worker.w]\ncommand = [\"sh\", \"-c\", \"ulimit -c 0; echo once >>starts; kill -{number} $$$$; sleep 1000\"]\n\
             start-limit = {{ burst = 2, interval = \"60s\" }}\n{QUICK_RESTART}\n"
        );
        let sandbox = Sandbox::new(&config);
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        assert_eq!(sandbox.lines("starts").len(), 2, "{outcome}");
        assert!(outcome.stderr.contains(&format!("signal {name}")), "{name}: {outcome}");
    }
}

/// A helper of the test's own, killed with it.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tracer_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap_or("0");
    line.trim().parse().unwrap()
}

/// A tracer sees the death first and keeps it to itself for a while: nothing is started before the death is ours.
#[test]
fn f6_the_death_of_a_traced_worker_is_awaited_and_followed_by_one_restart() {
    if !has(Need::Strace) {
        return;
    }
    let script = "[ -e released ] && echo after >>lives || echo before >>lives\necho \"up $$\" >&2; exec sleep 1000\n";
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{QUICK_RESTART}\n"));
    sandbox.file("w.sh", script);
    let run = sandbox.launch().start();
    let worker: i32 = run.wait_for_line("up ").rsplit(' ').next().unwrap().parse().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-q", "-o", "/dev/null", "-p", &worker.to_string()]).stderr(Stdio::null()).stdin(Stdio::null());
    let tracer = Helper(strace.spawn().expect("strace starts"));
    let tracer_pid = i32::try_from(tracer.0.id()).unwrap();
    until("strace to have hold of it", || (tracer_of(worker) == tracer_pid).then_some(()));
    send(tracer_pid, Signal::SIGSTOP);
    until("strace to be frozen", || (state(tracer_pid) == Some('T')).then_some(()));
    send(worker, Signal::SIGKILL);
    until("a death that nobody was told", || matches!(state(worker), Some('Z' | 'X' | 't')).then_some(()));
    sandbox.file("released", "");
    send(tracer_pid, Signal::SIGCONT);
    run.wait_for_lines("up ", 2);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert_eq!(sandbox.lines("lives"), ["before", "after"]);
}

/// The number of a worker that has gone is given to somebody else, in a namespace where numbers can be chosen.
#[test]
fn f10_who_gets_the_number_of_a_dead_worker_is_not_signalled() {
    if !has(Need::PidNamespace) || !has(Need::Python) {
        return;
    }
    // PID 1 of the namespace is this, exeunt its child, and the innocent one another child of it.
    let launcher = r#"
import os, subprocess, sys, time
run = subprocess.Popen(sys.argv[1:])
while not os.path.exists("up"):
    time.sleep(0.005)
dead = int(open("pid").read())
while os.path.exists(f"/proc/{dead}"):
    time.sleep(0.005)
for attempt in range(200):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(dead - 1))
    innocent = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if innocent.pid == dead:
        break
    innocent.kill()
    innocent.wait()
else:
    sys.exit("the number was not to be had")
os.kill(run.pid, 15)
code = run.wait()
print("innocent", "lives" if innocent.poll() is None else innocent.returncode, flush=True)
innocent.kill()
sys.exit(code)
"#;
    let sandbox = Sandbox::new(
        "[worker.dead]\ncommand = [\"sh\", \"-c\", \"echo $$$$ >pid\"]\nrestart = \"never\"\nstop = [\"TERM 1s\"]\n\
         [worker.up]\ncommand = [\"sh\", \"-c\", \"while [ ! -s pid ]; do sleep 0.01; done; : >up; exec sleep 1000\"]\n",
    );
    sandbox.file("launcher.py", launcher);
    let words = ["unshare", "--pid", "--fork", "--mount-proc", python().unwrap(), "launcher.py"];
    let outcome = sandbox.launch().under(&words).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "innocent lives\n", "{outcome}");
}

/// It closes what it was given: that is its own affair, and no end.
#[test]
fn f13_a_service_that_closes_0_1_and_2_still_runs() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"event 50s\"]\n");
    sandbox.file("w.sh", "exec 0<&- 1>&- 2>&-; echo up >up; read -r line <&5; echo \"$line\" >told\n");
    let run = sandbox.launch().start();
    sandbox.wait_for_line("up", "up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert!(sandbox.read("told").starts_with("stop shutdown "));
}

/// A queue worker that closes everything, with no item in hand: it has not ended, and nobody turns round on pipes that
/// are for ever at their end. With an item in hand it would break the protocol.
#[test]
fn f13_a_worker_that_closes_all_its_pipes_is_no_reason_to_spin() {
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, "command = [\"sh\", \"w.sh\"]\nstop = [\"TERM 40s\"]"));
    sandbox.file(
        "w.sh",
        "trap 'echo bye >>bye; exit 0' TERM; echo once >>starts; IFS= read -r line <&3\n\
         echo \"ok ${line%% *}\" >&4\n\
         exec 0<&- 1>&- 2>&- 3<&- 4>&- 5<&-; echo closed >closed; while :; do sleep 1000 & wait; done\n",
    );
    let mut run = sandbox.launch().stdin_pipe().start();
    run.feed(&numbered(1));
    sandbox.wait_for_line("closed", "closed");
    super::idle::assert_a_quiet_span(run.pid());
    assert_eq!((sandbox.lines("starts").len(), sandbox.exists("bye")), (1, false));
    drop(run.stdin.take());
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.leftovers.is_empty(), "{outcome}");
    assert_eq!(sandbox.read("bye"), "bye\n", "{outcome}");
}

/// It leaves by itself in the moment in which it is told to.
#[test]
fn f25_a_worker_that_ends_in_the_moment_of_the_stop_has_ended_well() {
    for round in 0..25u64 {
        let sandbox = Sandbox::new(
            "[worker.w]\nreplicas = 3\ncommand = [\"sh\", \"-c\", \"echo up >&2; read -r _ <gate; exit 0\"]\n",
        );
        let gate = sandbox.gate("gate");
        let run = sandbox.launch().start();
        run.wait_for_lines("up", 3);
        // Which comes first is the very thing that is varied.
        let jitter = std::time::Duration::from_micros(round % 12 * 150);
        if round % 2 == 0 {
            gate.open();
            std::thread::sleep(jitter);
            run.signal(Signal::SIGTERM);
        } else {
            run.signal(Signal::SIGTERM);
            std::thread::sleep(jitter);
            gate.open();
        }
        let outcome = run.finish();
        assert_eq!(outcome.code, 0, "round {round}: {outcome}");
        assert!(!outcome.stderr.contains("cannot send"), "round {round}: {outcome}");
    }
}

#[test]
fn f55_f58_ten_thousand_signals_and_the_real_time_ones_are_harmless() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n");
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    // RTMIN+3 is a stop.
    let numbers: Vec<i32> =
        (34..=64).filter(|&number| number != 37).chain([10, 12, 14, 16, 23, 26, 27, 28, 29]).collect();
    for _ in 0..10_000 / numbers.len() {
        for &number in &numbers {
            // SAFETY: kill takes two integers; real-time signals are not in nix's enum.
            unsafe { libc::kill(run.pid(), number) };
        }
    }
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("stopped on TERM"), "{outcome}");
    // Of what somebody may have meant it is said once that it has no effect; never of what the kernel sends by itself.
    let told = |signal: &str| outcome.stderr.matches(&format!("exeunt: {signal} means nothing to exeunt")).count();
    assert_eq!(["USR1", "USR2", "ALRM", "URG", "WINCH"].map(told), [1, 1, 1, 0, 0], "{outcome}");
    // Most of them would have ended it.
    assert_eq!(outcome.stderr.lines().filter(|line| *line == "up").count(), 1, "none was passed on\n{outcome}");
}
