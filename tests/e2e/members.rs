//! Everybody leaves: leaders, members, and those who went away into groups and sessions of their own.

use crate::support::{Need, Sandbox, children, has, send, state, until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// A plain service in sh. Control groups, which find more than sessions do, have tests of their own.
fn service(keys: &str, script: &str) -> Sandbox {
    let sandbox =
        Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n"));
    sandbox.file("w.sh", script);
    sandbox
}

/// Starts it, waits for the word `up` of each instance, and stops it.
fn up_and_stop(sandbox: &Sandbox, instances: usize) -> Duration {
    let run = sandbox.launch().start();
    run.wait_for_lines("up", instances);
    let begin = Instant::now();
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    begin.elapsed()
}

#[test]
fn f46_a_member_that_ignores_term_after_its_leader_left_is_killed() {
    let sandbox = service("stop = [\"TERM 500ms\"]", "(trap '' TERM; echo up >&2; exec sleep 1000) & exec sleep 1000");
    up_and_stop(&sandbox, 1);
}

#[test]
fn f46_a_member_in_a_group_of_its_own_is_removed_too() {
    let sandbox = service("stop = [\"TERM 5s\"]", "timeout 2000 sh -c 'echo up >&2; exec sleep 1900' & wait");
    up_and_stop(&sandbox, 1);
}

#[test]
fn f46_f17_a_stubborn_member_in_a_group_of_its_own_is_killed() {
    let sandbox = service(
        "stop = [\"TERM 500ms\"]",
        "timeout 2000 sh -c 'trap \"\" TERM; echo up >&2; exec sleep 1900' & exec sleep 1000",
    );
    up_and_stop(&sandbox, 1);
}

#[test]
fn f9_f17_a_process_in_a_session_of_its_own_does_not_outlive_us() {
    let sandbox = service("stop = [\"TERM 5s\"]", "setsid sh -c 'echo up >&2; exec sleep 1000' & exec sleep 1000");
    up_and_stop(&sandbox, 1);
}

#[test]
fn f9_a_stubborn_process_in_a_session_of_its_own_is_killed() {
    let script = "setsid sh -c 'trap \"\" TERM HUP; echo up >&2; exec sleep 1000' & exec sleep 1000";
    up_and_stop(&service("stop = [\"TERM 5s\"]", script), 1);
}

/// The leader is killed from outside: its members are gone before the next incarnation starts.
#[test]
fn f19_members_of_a_dead_leader_are_removed_before_the_restart() {
    let script = r#"
if [ -s member ]; then
  if kill -0 "$(cat member)" 2>/dev/null; then echo 'member lives' >&2; else echo 'member gone' >&2; fi
  exec sleep 1000
fi
(trap '' TERM; exec sleep 1000) & echo $! >member
echo "leader $$" >&2
exec sleep 1000
"#;
    let sandbox = service("stop = [\"TERM 300ms\"]", script);
    let run = sandbox.launch().start();
    let leader = run.wait_for_line("leader ");
    send(leader.rsplit(' ').next().unwrap().parse().unwrap(), Signal::SIGKILL);
    let word = run.wait_for_line("member ");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert!(word.contains("member gone"), "{outcome}");
    outcome.expect_code(0);
}

/// It daemonises and its leader ends well: nobody is wanted any more, and the daemon goes with the run.
#[test]
fn f8_a_daemon_that_a_service_leaves_behind_is_stopped_at_the_end() {
    let sandbox = service("", "setsid sh -c 'echo up >&2; exec sleep 1000' & exit 0");
    sandbox.launch().finish().expect_code(0);
}

#[test]
fn f12_f45_a_stopped_worker_does_not_hold_up_the_stop() {
    let sandbox = service(
        "stop = [\"TERM 40s\"]",
        "trap 'echo bye >>bye; exit 0' TERM; echo \"up $$\" >&2\nwhile :; do sleep 0.1; done",
    );
    let run = sandbox.launch().start();
    let pid = run.wait_for_line("up ").rsplit(' ').next().unwrap().parse().unwrap();
    send(pid, Signal::SIGSTOP);
    until("the worker to stop", || (state(pid) == Some('T')).then_some(()));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert_eq!(sandbox.read("bye"), "bye\n", "TERM, then CONT: it could still say good-bye");
}

#[test]
fn f43_a_worker_that_ignores_term_is_killed_after_its_timeout_and_not_earlier() {
    let sandbox =
        service("stop-signal = \"TERM\"\nstop-timeout = \"1s\"", "trap '' TERM; echo up >&2; exec sleep 1000");
    let took = up_and_stop(&sandbox, 1);
    assert!(took >= Duration::from_secs(1), "killed after {took:?}");
}

#[test]
fn f44_the_grace_of_ten_stubborn_workers_runs_in_parallel() {
    let sandbox = service("replicas = 10\nstop = [\"TERM 3s\"]", "trap '' TERM; echo up >&2; exec sleep 1000");
    let took = up_and_stop(&sandbox, 10);
    assert!(took >= Duration::from_secs(3), "killed after {took:?}");
    assert!(took < Duration::from_secs(20), "one after the other: {took:?}");
}

/// Children we had before we started anything, from the shell we were exec'ed over, are none of our business.
#[test]
fn f5_children_of_the_shell_before_us_are_neither_signalled_nor_waited_for() {
    let sandbox = service("", "echo up >&2; exec sleep 1000");
    let script = "trap '' HUP; sleep 1000 >/dev/null 2>&1 & echo $! >before; exec \"$@\"";
    let run = sandbox.launch().under(&["sh", "-c", script, "sh"]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish_alone();
    outcome.expect_code(0);
    let before: i32 = sandbox.read("before").trim().parse().unwrap();
    assert!(matches!(state(before), Some('S' | 'R')), "it was not ours to kill\n{outcome}");
}

/// A child from before our time has died, and a process that a worker started bears its number: that one is ours.
#[test]
fn f5_f17_the_number_of_a_child_from_before_us_protects_nobody_else() {
    if !has(Need::PidNamespace) {
        return;
    }
    let script = "before=$(cat before); while kill -0 $before 2>/dev/null; do sleep 0.02; done\n\
        while :; do\n\
        echo $((before - 1)) >/proc/sys/kernel/ns_last_pid || exit 9\n\
        setsid sleep 1000 & [ $! = $before ] && break\n\
        kill $!\n\
        done; echo up >&2; exec sleep 1000\n";
    let sandbox = service("stop = [\"TERM 5s\"]", script);
    let outer = "sh -c 'sleep 0.1 & echo $! >before; exec \"$@\"' sh \"$@\" & wait $!\n\
        kill -0 $(cat before) 2>/dev/null && echo left >left; exit 0";
    let launcher = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", outer, "sh"];
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    // The namespace's first process is the outer shell, the one below it is exeunt.
    let exeunt = until("exeunt itself", || children(run.inner_pid()).first().copied());
    send(exeunt, Signal::SIGTERM);
    run.finish().expect_code(0);
    assert!(!sandbox.exists("left"), "the worker's child outlived us");
}

#[test]
fn f2_an_orphan_is_adopted_and_reaped_when_we_are_not_pid_1() {
    let script = "sh -c 'sleep 1000 & echo $! >orphan'; echo up >&2; exec sleep 1000";
    let sandbox = service("stop = [\"TERM 5s\"]", script);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    let orphan: i32 = sandbox.read("orphan").trim().parse().unwrap();
    until("the orphan to be ours", || children(run.pid()).contains(&orphan).then_some(()));
    send(orphan, Signal::SIGKILL);
    until("the orphan to be reaped", || state(orphan).is_none().then_some(()));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn f4_the_way_of_dying_decides_about_the_restart() {
    for (exit, restarts) in [("exit 0", false), ("exit 1", true), ("exit 255", true), ("kill -TERM $$", true)] {
        let script = format!("echo once >>starts; [ $(wc -l <starts) -ge 3 ] && exit 0; {exit}");
        let keys = "restart-delay = { delay = \"1ms\", factor = 1, max = \"1ms\", jitter = 0, reset-after = \"10s\" }";
        let sandbox = service(keys, &script);
        sandbox.launch().finish().expect_code(0);
        assert_eq!(sandbox.lines("starts").len(), if restarts { 3 } else { 1 }, "{exit}");
    }
}

#[test]
fn f98_descriptors_do_not_grow_over_restarts() {
    let keys = "start-limit = \"off\"\nrestart-delay = { delay = \"1ms\", factor = 1, max = \"1ms\", jitter = 0, reset-after = \"10s\" }\nstop = [\"event 1s\", \"TERM 1s\"]";
    let script = "echo once >>starts; n=$(wc -l <starts)\n[ $n -eq 5 ] || [ $n -ge 45 ] && { echo \"up $n\" >&2; read -r _ <gate; }\nexit 1";
    let sandbox = service(keys, script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    let count = || std::fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    run.wait_for_line("up 5");
    let early = count();
    // Its name stays for the 45th: only the reader that waits now is let through.
    std::fs::write(sandbox.path("gate"), "go\n").unwrap();
    run.wait_for_line("up 45");
    let late = count();
    run.signal(Signal::SIGTERM);
    drop(gate);
    run.finish().expect_code(0);
    assert!(late <= early + 1, "{early} descriptors, {late} after forty more restarts");
}
