//! F90–F95, F24, F59: system calls that fail, because the machine is short of something or for no reason at all. What cannot be
//! brought about on purpose is injected by strace, into exeunt alone unless a test says otherwise.

use crate::support::{
    Controller, Need, QUICK_BACKOFF, QUICK_RESTART, Run, Sandbox, has, numbered, pool, runs, send, sorted, until,
};
use nix::sys::signal::Signal;

/// `a`, and `b` which is started after it; both stay. Started by fork, since clone3 makes threads too.
fn two_services() -> Sandbox {
    let sandbox = Sandbox::new(&format!(
        "[supervisor]\ncgroup = \"off\"\n[worker.a]\ncommand = [\"sh\", \"w.sh\", \"a\"]\n\
         [worker.b]\ncommand = [\"sh\", \"w.sh\", \"b\"]\nafter = [\"a\"]\n{QUICK_RESTART}\n"
    ));
    sandbox
        .file("w.sh", "trap 'echo \"$1 bye\" >>bye; exit 0' TERM; echo \"$1 up\" >&2; while :; do sleep 0.02; done\n");
    sandbox
}

/// strace's exit is that of exeunt, which is its only child. What it would say goes to a file.
fn injecting<'a>(rule: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["strace", "-qq", "-o", "strace.out"];
    words.extend(more);
    words.extend(["-e", rule]);
    words
}

fn stop(run: &Run) {
    send(run.inner_pid(), Signal::SIGTERM);
}

/// The first fork is that of the look at the programs, the second is `a`. The eighth try for `b` succeeds; more failures than the start limit would allow, for they are not the worker's.
#[test]
fn f90_a_fork_that_fails_is_tried_again_and_the_others_live() {
    if !has(Need::Strace) {
        return;
    }
    for (error, words) in [("EAGAIN", "Resource temporarily unavailable"), ("ENOMEM", "Cannot allocate memory")] {
        let sandbox = two_services();
        let rule = format!("inject=clone,fork,vfork:error={error}:when=3..9");
        let run = sandbox.launch().under(&injecting(&rule, &[])).start();
        run.wait_for_line("b up");
        stop(&run);
        let outcome = run.finish();
        outcome.expect_code(0);
        let said = format!("b.0 cannot be started: forking: {words}");
        assert_eq!(outcome.stderr.matches(&said).count(), 1, "it is said once\n{outcome}");
        assert_eq!(outcome.stderr.matches("b.0 is restarted").count(), 1, "{outcome}");
        assert_eq!(sandbox.read("strace.out").matches("(INJECTED)").count(), 7, "{outcome}");
        assert_eq!(outcome.stderr.matches("a up").count(), 1, "the neighbour was let be\n{outcome}");
        assert_eq!(sorted(sandbox.lines("bye")), ["a bye", "b bye"], "{outcome}");
    }
}

#[test]
fn f59_f90_a_stop_while_a_fork_is_tried_again_for_ever_ends() {
    if !has(Need::Strace) {
        return;
    }
    let sandbox = two_services();
    let rule = "inject=clone,fork,vfork:error=EAGAIN:when=3+";
    let run = sandbox.launch().under(&injecting(rule, &[])).env("EXEUNT_LOG", "debug").start();
    run.wait_for_line("a up");
    run.wait_for_words("b.0 cannot be started: forking", 20);
    stop(&run);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("bye"), ["a bye"], "{outcome}");
}

/// A user who may have few processes, until the limit is raised. The long stop is warned of before anything is started, so that the
/// thread that writes messages is there in time to have its share of the limit.
#[test]
fn f91_workers_beyond_the_process_limit_start_when_it_is_raised() {
    if !has(Need::Root) {
        return;
    }
    let user = format!("{}", 1_000_000 + std::process::id());
    let config = format!(
        "[worker.w]\nreplicas = 12\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\nstop = [\"TERM 20s\"]\n{QUICK_RESTART}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.open_to_all();
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    let launcher = [
        "setpriv",
        &ids[0],
        &ids[1],
        "--clear-groups",
        "prlimit",
        "--nproc=7:1000",
        "sh",
        "-c",
        "shift; exec ./exeunt \"$@\"",
        "sh",
    ];
    let run = sandbox.launch().under(&launcher).env("EXEUNT_LOG", "debug").start();
    run.wait_for_words("cannot be started: forking: Resource temporarily unavailable", 10);
    let target = format!("--pid={}", run.pid());
    assert!(runs(&["setpriv", &ids[0], &ids[1], "--clear-groups", "prlimit", &target, "--nproc=500:1000"]));
    run.wait_for_lines("up", 12);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// The same where a control group has few processes, us and our launcher among them.
#[test]
fn f91_workers_beyond_the_limit_of_a_control_group_start_when_it_is_raised() {
    if !has(Need::ProcessesGroup) {
        return;
    }
    let sandbox = Sandbox::new(&format!(
        "[supervisor]\ncgroup = \"off\"\n[worker.w]\nreplicas = 12\n\
         command = [\"sh\", \"-c\", \"echo up $$$$ >&2; exec sleep 1000\"]\nstop = [\"TERM 20s\"]\n{QUICK_RESTART}\n"
    ));
    let group = Controller::new(&sandbox, "pids", ["pids.max=8"; 2]);
    let run = sandbox.launch().under(&group.launcher(true)).env("EXEUNT_LOG", "debug").start();
    run.wait_for_words("cannot be started: forking: Resource temporarily unavailable", 10);
    // One that dies in the shortage is reaped, and its place is taken.
    let victim: i32 = run.wait_for_line("up ").rsplit(' ').next().unwrap().parse().unwrap();
    send(victim, Signal::SIGKILL);
    until("the dead one to be reaped", || crate::support::state(victim).is_none().then_some(()));
    group.set(&run, "max");
    run.wait_for_lines("up", 13);
    stop(&run);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.lines().filter(|line| line.starts_with("up ")).count(), 13, "{outcome}");
}

/// No thread can be had for a while, for messages nor for results: both come when one can, and the run ends by itself.
#[test]
fn f91_without_a_thread_for_a_while_results_are_only_late() {
    if !has(Need::Strace) {
        return;
    }
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    let rule = "inject=clone3:error=EAGAIN:when=1..12";
    let outcome = sandbox.launch().under(&injecting(rule, &[])).stdin_items(&numbered(2)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(2), "{outcome}");
    let refused = sandbox.read("strace.out").matches("(INJECTED)").count();
    assert!(refused == 12, "{refused} threads were refused");
    assert!(outcome.stderr.contains("w.0 started"), "no message is lost\n{outcome}");
}

/// Four descriptors are short: some workers wait, those that die are reaped and started again all the same.
#[test]
fn f92_workers_for_whom_no_descriptor_is_left_start_when_the_limit_is_raised() {
    let keys = format!(
        "command = [\"sh\", \"w.sh\"]\nreplicas = 12\nresults = \"stdout\"\nstop = [\"event 20s\"]\nafter = [\"gate\"]\n\
         {QUICK_RESTART}\n[worker.gate]\ntype = \"oneshot\"\n\
         command = [\"sh\", \"-c\", \"echo waiting >&2; until test -e go; do sleep 0.05; done\"]"
    );
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &keys));
    sandbox.file(
        "w.sh",
        "echo \"up $$\" >&2; while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n",
    );
    let launch = sandbox.launch().under(&["prlimit", "--nofile=44:1000"]).env("EXEUNT_LOG", "debug");
    let mut run = launch.stdin_pipe().start();
    run.wait_for_line("waiting");
    // A soft limit that is low from the start is raised by exeunt itself.
    let target = format!("--pid={}", run.pid());
    assert!(runs(&["prlimit", &target, "--nofile=44:1000"]));
    sandbox.file("go", "");
    run.wait_for_words("cannot be started: preparing the start: Too many open files", 10);
    let first = run.wait_for_line("up ");
    // One that runs dies in the middle of the shortage: it is reaped.
    let victim: i32 = first.rsplit(' ').next().unwrap().parse().unwrap();
    send(victim, Signal::SIGKILL);
    until("the dead one to be reaped", || crate::support::state(victim).is_none().then_some(()));
    assert!(runs(&["prlimit", &target, "--nofile=1000:1000"]));
    run.wait_for_lines("up", 13);
    run.feed(&numbered(30));
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(30)), "{outcome}");
}

/// Every second call of each kind is interrupted, once we have begun.
#[test]
fn f93_interrupted_calls_are_invisible() {
    if !has(Need::Strace) {
        return;
    }
    let keys = format!(
        "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nresults = \"stdout\"\nprefetch = 2\nstop = [\"event 20s\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &keys));
    // One death, so that the restart is in it too.
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do\n\
           [ \"${line#* }\" = item-7 ] && [ ! -e died ] && { : >died; kill -9 $$; }\n\
           [ \"${line#* }\" = item-30 ] && { echo holding >&2; read -r _ <&5; }\n\
           echo \"ok ${line%% *} ${line#* }\" >&4; done\n",
    );
    let calls =
        "epoll_wait,epoll_pwait,poll,read,write,writev,wait4,waitid,openat,recvfrom,recvmsg,sendto,close_range,ioctl";
    // Not the first calls, which are those of the dynamic loader: it gives up.
    let rule = format!("inject={calls}:error=EINTR:when=8+2");
    let mut run = sandbox.launch().under(&injecting(&rule, &[])).report_json().stdin_pipe().start();
    run.feed(&numbered(30)[..29]);
    assert!(run.wait_for_results(29));
    run.feed(&["item-30"]);
    run.wait_for_line("holding");
    stop(&run);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(30)), "{outcome}");
    assert_eq!(outcome.count("crashed"), 1, "{outcome}");
    let injected = sandbox.read("strace.out").matches("(INJECTED)").count();
    assert!(injected > 40, "only {injected} calls were interrupted");
}

#[test]
fn f94_pipes_that_cannot_be_had_are_asked_for_again() {
    if !has(Need::Strace) {
        return;
    }
    for error in ["ENFILE", "ENOMEM", "EMFILE"] {
        let keys = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{QUICK_RESTART}");
        let sandbox = Sandbox::new(&pool("", &keys));
        sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
        let rule = format!("inject=pipe2:error={error}:when=2..10");
        // The first pipe is that of the look at the programs.
        let outcome = sandbox.launch().under(&injecting(&rule, &[])).stdin_items(&numbered(3)).finish();
        outcome.expect_code(0);
        assert_eq!(outcome.results(), numbered(3), "{outcome}");
        assert_eq!(outcome.stderr.matches("cannot be started: preparing the start").count(), 1, "{outcome}");
        assert_eq!(sandbox.read("strace.out").matches("(INJECTED)").count(), 9, "{outcome}");
    }
}

/// What we cannot do without: a clean refusal before anything is started.
#[test]
fn f94_without_the_pipe_of_the_signals_nothing_is_started() {
    if !has(Need::Strace) {
        return;
    }
    for rule in ["inject=socketpair:error=ENFILE", "inject=epoll_create1:error=EMFILE", "inject=eventfd2:error=ENFILE"]
    {
        let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo ran >>ran\"]\n");
        let outcome = sandbox.launch().under(&injecting(rule, &[])).finish();
        outcome.expect_code(70);
        assert!(outcome.stderr.contains("cannot begin"), "{rule}: {outcome}");
        assert!(!sandbox.exists("ran"), "{rule}: {outcome}");
    }
}

/// A signal that is refused is said, the ladder goes on, and KILL ends it.
#[test]
fn f14_f95_a_stop_signal_that_is_refused_is_said_and_the_next_rung_comes() {
    if !has(Need::Strace) {
        return;
    }
    for (error, said) in [("EPERM", true), ("ESRCH", false)] {
        // A control group would be asked without a signal.
        let keys = "command = [\"sh\", \"w.sh\"]\nstop = [\"TERM 300ms\"]\n";
        let sandbox = Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n[worker.w]\n{keys}"));
        sandbox.file("w.sh", "trap 'echo TERM >>seen' TERM; echo up >&2; while :; do sleep 0.02; done\n");
        // TERM and CONT, by whichever call.
        let rule = format!("inject=pidfd_send_signal,kill:error={error}:when=1..2");
        let run = sandbox.launch().under(&injecting(&rule, &[])).start();
        run.wait_for_line("up");
        stop(&run);
        let outcome = run.finish();
        outcome.expect_code(0);
        assert_eq!(sandbox.read("seen"), "", "{outcome}");
        assert_eq!(outcome.stderr.contains("cannot send TERM to w.0"), said, "{error}: {outcome}");
        assert!(outcome.stderr.contains("KILL"), "{outcome}");
    }
}

/// Nothing we send arrives, ever: bounded, said, and exit code 1. The neighbour needs no signal and leaves by the event.
#[test]
fn f14_f95_a_worker_that_may_not_be_signalled_is_unkillable_and_no_endless_wait() {
    if !has(Need::Strace) {
        return;
    }
    let sandbox = Sandbox::new(
        "[supervisor]\ncgroup = \"off\"\n[worker.w]\ncommand = [\"sh\", \"-c\", \"echo up-w >>up; exec sleep 1000\"]\nlog = \"null\"\nstop = [\"TERM 100ms\"]\n\
         [worker.n]\ncommand = [\"sh\", \"-c\", \"echo up-n >>up; read -r line <&5; echo $line >told\"]\nstop = [\"event 50s\"]\n",
    );
    let run = sandbox.launch().under(&injecting("inject=pidfd_send_signal,kill:error=EPERM", &[])).start();
    sandbox.wait_for_line("up", "up-w");
    sandbox.wait_for_line("up", "up-n");
    stop(&run);
    let outcome = run.finish_alone();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("w.0 is still there after KILL"), "{outcome}");
    assert!(sandbox.read("told").starts_with("stop shutdown"), "{outcome}");
}

/// Where a sandbox does not let us fork into a group, it is done without one.
#[test]
fn f96_without_clone3_programs_start_without_a_group() {
    if !has(Need::Strace) {
        return;
    }
    for error in ["ENOSYS", "EPERM", "EOPNOTSUPP"] {
        let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo ran >>ran\"]\n");
        let rule = format!("inject=clone3:error={error}");
        let outcome = sandbox.launch().under(&injecting(&rule, &[])).finish();
        outcome.expect_code(0);
        assert_eq!(sandbox.read("ran"), "ran\n", "{error}: {outcome}");
    }
}

/// exec fails for want of something: not counted, tried again for ever. A stop ends it.
#[test]
fn f24_f59_an_exec_that_fails_for_want_of_something_is_tried_again() {
    if !has(Need::Strace) {
        return;
    }
    for (error, words) in [("EAGAIN", "Resource temporarily unavailable"), ("ENOMEM", "Cannot allocate memory")] {
        let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"./prog\"]\n{QUICK_RESTART}\n"));
        sandbox.program("prog", "#!/bin/sh\necho ran >>ran\n");
        let rule = format!("inject=execve:error={error}");
        // Every child is followed, and only the exec of this path is meddled with.
        let launch = sandbox.launch().under(&injecting(&rule, &["-f", "-P", "./prog"]));
        let run = launch.env("EXEUNT_LOG", "debug").start();
        run.wait_for_words(&format!("w.0 cannot be started: executing ./prog: {words}"), 12);
        stop(&run);
        let outcome = run.finish();
        outcome.expect_code(0);
        assert!(!sandbox.exists("ran"), "{outcome}");
    }
}

/// An item larger than its pipe, whose room nobody would tell us of: its worker is replaced, and the item is done by the next.
#[test]
fn f92_a_full_pipe_that_cannot_be_watched_costs_a_worker_and_no_item() {
    if !has(Need::Strace) {
        return;
    }
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{QUICK_RESTART}");
    let sandbox = Sandbox::new(&pool(&format!("max-item = \"1MiB\"\n{QUICK_BACKOFF}"), &worker));
    sandbox
        .file("w.sh", "while IFS= read -r line <&3; do item=${line#* }; echo \"ok ${line%% *} ${#item}\" >&4; done\n");
    let item = ["x".repeat(300_000)];
    // Which call it is, a run without a fault tells.
    let watched = ["strace", "-qq", "-o", "strace.out", "-e", "trace=epoll_ctl"];
    sandbox.launch().under(&watched).stdin_items(&item).finish().expect_code(0);
    let calls = sandbox.read("strace.out");
    let place = 1 + calls
        .lines()
        .filter(|line| line.contains("epoll_ctl("))
        .position(|line| line.contains("EPOLLOUT"))
        .unwrap();
    let rule = format!("inject=epoll_ctl:error=ENOSPC:when={place}");
    let outcome = sandbox.launch().under(&injecting(&rule, &[])).stdin_items(&item).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["300000"], "{outcome}");
    assert!(outcome.stderr.contains("cannot watch w.0: No space left on device"), "{outcome}");
}
