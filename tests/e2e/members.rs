//! Everybody leaves: leaders, members, and those who went away into groups and sessions of their own.

use crate::support::{Need, Outcome, QUICK_RESTART, Run, Sandbox, children, has, numbered, pool, send, state, until};
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

/// KILL is for the members of this level, not for whoever is left at the very end: the next level is told when they are gone.
#[test]
fn f46_a_stubborn_member_is_gone_before_the_next_level_is_told() {
    let sandbox = Sandbox::new(
        "[supervisor]\ncgroup = \"off\"\n[worker.below]\ncommand = [\"sh\", \"below.sh\"]\nstop = [\"TERM 40s\"]\n\
         [worker.w]\ncommand = [\"sh\", \"w.sh\"]\nafter = [\"below\"]\nstop = [\"TERM 500ms\"]\n",
    );
    sandbox.file("w.sh", "(trap '' TERM; echo up >&2; exec sleep 1000) & echo $! >member; exec sleep 1000");
    sandbox.file(
        "below.sh",
        "look() { grep -q '^State:.[^ZX]' /proc/$(cat member)/status && echo lives >>saw || echo gone >>saw; }\n\
         trap 'look; exit 0' TERM; while :; do sleep 0.02; done\n",
    );
    up_and_stop(&sandbox, 1);
    assert_eq!(sandbox.lines("saw"), ["gone"]);
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
    let escaped = "setsid sh -c 'trap \"echo bye >>bye; exit 0\" TERM; echo up >&2; while :; do sleep 0.02; done'";
    let sandbox = service("stop = [\"TERM 5s\"]", &format!("{escaped} & exec sleep 1000"));
    up_and_stop(&sandbox, 1);
    assert_eq!(sandbox.lines("bye"), ["bye"], "TERM comes before KILL");
}

#[test]
fn f9_a_stubborn_process_in_a_session_of_its_own_is_killed() {
    let script = "setsid sh -c 'trap \"\" TERM HUP; echo up >&2; exec sleep 1000' & exec sleep 1000";
    up_and_stop(&service("stop = [\"TERM 5s\"]", script), 1);
}

/// The leader is killed from outside: its members are gone before the next incarnation starts.
#[test]
fn f19_members_of_a_dead_leader_are_removed_before_the_restart() {
    let (word, _) = word_after_the_leaders_death("stop = [\"TERM 300ms\"]", "(trap '' TERM; exec sleep 1000)");
    assert_eq!(word, "member gone");
}

/// `kill-mode = "process"` leaves them to themselves until the end of the run.
#[test]
fn f19_members_of_a_dead_leader_live_on_where_only_the_leader_is_ours() {
    let (word, outcome) =
        word_after_the_leaders_death("kill-mode = \"process\"\nstop = [\"TERM 300ms\"]", "sleep 1000");
    assert_eq!(word, "member lives");
    assert!(outcome.stderr.contains("a process that is left at the end is sent TERM\n"), "{outcome}");
}

/// What the second incarnation says of the member that the first, which is killed, had; and the end.
fn word_after_the_leaders_death(keys: &str, member: &str) -> (String, Outcome) {
    let script = format!(
        r#"
if [ -s member ]; then
  if grep -q '^State:.[^ZX]' "/proc/$(cat member)/status"; then echo 'member lives' >&2; else echo 'member gone' >&2; fi
  exec sleep 1000
fi
{member} & echo $! >member
echo "leader $$" >&2
exec sleep 1000
"#
    );
    let sandbox = service(keys, &script);
    let run = sandbox.launch().start();
    let leader = run.wait_for_line("leader ");
    send(leader.rsplit(' ').next().unwrap().parse().unwrap(), Signal::SIGKILL);
    let word = run.wait_for_line("member ");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    (word, outcome)
}

/// A double fork; the leader leaves when the daemon has its handlers.
const DAEMON: &str = r#"
echo "start $$" >>starts
(setsid sh -c 'trap "echo bye >>bye; exit 0" TERM; : >"daemon.$0"; while :; do sleep 0.02; done' $$ &)
while [ ! -e daemon.$$ ]; do sleep 0.01; done
"#;

/// It daemonises and its leader ends well: nobody is wanted any more, and the daemon goes with the run.
#[test]
fn f8_a_daemon_that_a_service_leaves_behind_is_stopped_at_the_end() {
    let sandbox = service("", DAEMON);
    sandbox.launch().finish().expect_code(0);
    assert_eq!(sandbox.lines("bye"), ["bye"]);
}

/// The end of its leader is the end that counts: a good one, so no second copy is started while the daemon serves on.
#[test]
fn f8_a_service_that_daemonised_is_not_started_again() {
    let sandbox = service("[worker.n]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]", DAEMON);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    let leader: i32 = sandbox.wait_for_line("starts", "start").rsplit(' ').next().unwrap().parse().unwrap();
    until("the leader to be reaped", || state(leader).is_none().then_some(()));
    // What would follow that death has followed by the time another one has been answered.
    let neighbour = until("the neighbour", || {
        let sleeps =
            |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
        children(run.pid()).into_iter().find(sleeps)
    });
    send(neighbour, Signal::SIGKILL);
    run.wait_for_lines("up", 2);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!((sandbox.lines("starts").len(), sandbox.lines("bye").len()), (1, 1), "{outcome}");
}

/// Where every end is to be followed by a start, the limit of starts ends it: no storm of daemons, and none outlives us.
#[test]
fn f8_a_service_that_daemonises_again_and_again_is_given_up() {
    let keys = format!("restart = \"always\"\nstart-limit = {{ burst = 5, interval = \"60s\" }}\n{QUICK_RESTART}");
    let sandbox = service(&keys, DAEMON);
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert_eq!((sandbox.lines("starts").len(), sandbox.lines("bye").len()), (5, 5), "{outcome}");
    let words = "5 failed starts within 1m, the last: exit 0, and it left processes behind";
    assert!(outcome.stderr.contains(words), "{outcome}");
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

/// Stopped is not gone: nothing is started in its place. And whoever is deaf besides is killed like others.
#[test]
fn f12_a_stopped_worker_is_not_taken_for_dead_and_is_killed_if_it_is_deaf() {
    let neighbour = "[worker.n]\ncommand = [\"sh\", \"-c\", \"echo n $$$$ >&2; exec sleep 1000\"]";
    let sandbox = service(
        &format!("stop = [\"TERM 300ms\"]\n{neighbour}"),
        "trap '' TERM; echo once >>starts; echo \"up $$\" >&2; while :; do sleep 0.1; done",
    );
    let run = sandbox.launch().start();
    let pid = |line: String| -> i32 { line.rsplit(' ').next().unwrap().parse().unwrap() };
    let (stopped, other) = (pid(run.wait_for_line("up ")), pid(run.wait_for_line("n ")));
    send(stopped, Signal::SIGSTOP);
    until("the worker to stop", || (state(stopped) == Some('T')).then_some(()));
    // Its death is told after the stop.
    send(other, Signal::SIGKILL);
    run.wait_for_lines("n ", 2);
    assert_eq!((state(stopped), sandbox.lines("starts").len()), (Some('T'), 1));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("starts").len(), 1, "{outcome}");
    assert!(outcome.stderr.contains("KILL"), "{outcome}");
}

#[test]
fn f43_a_worker_that_ignores_term_is_killed_after_its_timeout_and_not_earlier() {
    let sandbox =
        service("stop-signal = \"TERM\"\nstop-timeout = \"3s\"", "trap '' TERM; echo up >&2; exec sleep 1000");
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    let begin = Instant::now();
    run.signal(Signal::SIGTERM);
    run.wait_for_words("stopping on TERM", 1);
    let outcome = run.finish();
    let took = begin.elapsed();
    outcome.expect_code(0);
    assert!(took >= Duration::from_secs(3), "killed after {took:?}");
    assert!(outcome.stderr.contains("w.0 left on the KILL rung"), "{outcome}");
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
    // One stays; the other dies while we run.
    let script = "trap '' HUP; sleep 1000 >/dev/null 2>&1 & echo $! >before\n\
        sh -c 'read -r _ <gate' >/dev/null 2>&1 & echo $! >mortal; exec \"$@\"";
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).under(&["sh", "-c", script, "sh"]).start();
    run.wait_for_line("up");
    let number = |name: &str| sandbox.read(name).trim().parse::<i32>().unwrap();
    assert!(children(run.pid()).contains(&number("mortal")));
    gate.open();
    until("the one that died to be reaped", || state(number("mortal")).is_none().then_some(()));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish_alone();
    outcome.expect_code(0);
    assert!(matches!(state(number("before")), Some('S' | 'R')), "it was not ours to kill\n{outcome}");
    assert!(!outcome.stderr.contains(&number("mortal").to_string()), "it was none of our business\n{outcome}");
}

/// As PID 1 it is: nobody else could end them, and with us they would be killed without a word.
#[test]
fn f5_as_pid_1_children_of_the_shell_before_us_are_told_to_leave() {
    if !has(Need::PidNamespace) {
        return;
    }
    let sandbox = service("", "echo up >&2; exec sleep 1000");
    sandbox.file("before.sh", "trap 'echo told >>told; exit 0' TERM; echo before >&2; while :; do sleep 0.02; done\n");
    let launcher = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", "sh before.sh & exec \"$@\"", "sh"];
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("before");
    run.wait_for_line("up");
    send(run.inner_pid(), Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("told"), ["told"], "{outcome}");
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

/// Every policy with every way of dying. The third life stays, so that nothing is restarted once too often.
#[test]
fn f4_the_way_of_dying_decides_about_the_restart() {
    let ends = ["exit 0", "exit 1", "exit 255", "kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "kill -ABRT $$"];
    for policy in ["always", "on-failure", "never"] {
        for end in ends {
            let restarts = policy == "always" || (policy == "on-failure" && end != "exit 0");
            let stay = "[ $(wc -l <starts) -ge 3 ] && { echo third >&2; exec sleep 1000; }";
            let script = format!("ulimit -c 0; echo once >>starts; {stay}; {end}");
            let sandbox = service(&format!("restart = \"{policy}\"\n{QUICK_RESTART}"), &script);
            let run = sandbox.launch().start();
            if restarts {
                run.wait_for_line("third");
                run.signal(Signal::SIGTERM);
            }
            let outcome = run.finish();
            assert_eq!(outcome.code, i32::from(!restarts && end != "exit 0"), "{policy}, {end}: {outcome}");
            assert_eq!(sandbox.lines("starts").len(), if restarts { 3 } else { 1 }, "{policy}, {end}: {outcome}");
        }
    }
}

/// One after the other, each with our whole patience.
fn wait_for_lives(run: &Run, mut lives: impl Iterator<Item = usize>) {
    lives.by_ref().for_each(|life| drop(run.wait_for_line(&format!("life {life}"))));
}

#[test]
fn f98_descriptors_do_not_grow_over_restarts() {
    let keys = "start-limit = \"off\"\nrestart-delay = { delay = \"1ms\", factor = 1, max = \"1ms\", jitter = 0, reset-after = \"10s\" }\nstop = [\"event 1s\", \"TERM 1s\"]";
    let script = "echo once >>starts; n=$(wc -l <starts)\necho \"life $n\" >&2; [ $n -eq 5 ] || [ $n -ge 47 ] && read -r _ <gate\nexit 1";
    let sandbox = service(keys, script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    let count = || std::fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    wait_for_lives(&run, 1..=5);
    let early = count();
    // Its name stays for the 47th: only the reader that waits now is let through.
    std::fs::write(sandbox.path("gate"), "go\n").unwrap();
    wait_for_lives(&run, 6..=47);
    let late = count();
    run.signal(Signal::SIGTERM);
    drop(gate);
    run.finish().expect_code(0);
    assert!(late <= early + 1, "{early} descriptors, {late} after 42 more restarts");
}

/// Each life leaves somebody behind who holds its pipes and cannot be found while we run: our ends are closed all the same.
#[test]
fn f7_f98_holders_of_old_pipes_cost_no_descriptor_of_ours() {
    let keys = format!(
        "command = [\"sh\", \"w.sh\"]\nstart-limit = \"off\"\nstop = [\"event 1s\", \"TERM 1s\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n{}", pool("size = 100", &keys)));
    let script = "IFS= read -r line <&3 || exit 0; setsid sh -c ': >held.$0; exec sleep 1000' $$ &\n\
        while [ ! -e held.$$ ]; do sleep 0.01; done; echo \"ok ${line%% *}\" >&4\n\
        echo once >>starts; n=$(wc -l <starts)\n\
        echo \"life $n\" >&2; [ $n -eq 5 ] || [ $n -ge 47 ] && read -r _ <gate; exit 1\n";
    sandbox.file("w.sh", script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_items(&numbered(60)).start();
    let count = || std::fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    wait_for_lives(&run, 1..=5);
    let early = count();
    std::fs::write(sandbox.path("gate"), "go\n").unwrap();
    wait_for_lives(&run, 6..=47);
    let late = count();
    let holders = children(run.pid()).len();
    run.signal(Signal::SIGTERM);
    drop(gate);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(holders, 47, "a worker and 46 holders of its former pipes\n{outcome}");
    assert!(late <= early + 1, "{early} descriptors, {late} after 42 more restarts\n{outcome}");
}

/// Its leader has ended while it is still forking its way out: whoever dies in the moment of our look hides nobody.
#[test]
fn f8_f9_who_is_still_forking_when_its_leader_ends_is_found() {
    if !has(Need::CCompiler) {
        return;
    }
    let source = "#include <unistd.h>\n\
        int main(void) { if (fork()) _exit(0); setsid(); if (fork()) _exit(0); if (fork()) _exit(0);\n\
        execlp(\"sleep\", \"sleep\", \"1000\", (char *)0); return 1; }\n";
    for kill_mode in ["mixed", "process"] {
        let keys = format!("log = \"null\"\nkill-mode = \"{kill_mode}\"");
        let sandbox =
            Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n[worker.w]\ncommand = [\"./w\"]\n{keys}\n"));
        sandbox.file("w.c", source);
        let (source, program) = (sandbox.path("w.c"), sandbox.path("w"));
        assert!(crate::support::runs(&["cc", "-o", program.to_str().unwrap(), source.to_str().unwrap()]));
        for _ in 0..100 {
            sandbox.launch().finish().expect_code(0);
        }
    }
}
