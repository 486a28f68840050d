//! `exeunt init`: one program under it, without a terminal.

use crate::support::{Launch, Need, Outcome, Run, Sandbox, has, python, send, send_number, state, until};
use nix::sys::signal::Signal;

/// A session of its own without a terminal, wherever the tests are run from.
const APART: [&str; 1] = ["setsid"];
const NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

fn init<'a>(sandbox: &'a Sandbox, arguments: &[&str]) -> Launch<'a> {
    sandbox.launch().under(&APART).init(arguments)
}

fn sh(sandbox: &Sandbox, options: &[&str], script: &str) -> Outcome {
    let words: Vec<&str> = options.iter().chain(&["--", "sh", "-c", script]).copied().collect();
    init(sandbox, &words).finish()
}

/// Writes each signal that it hears down, and ends with 0 on the last real-time signal.
pub const LISTENER: &str = r#"
import os, signal, sys
from worker import say
def heard(number, _):
    say("got", number, "in", os.path.basename(sys.argv[0]))
    if number == 64:
        sys.exit(0)
for number in range(1, 65):
    if number not in (9, 19, 32, 33):
        signal.signal(number, heard)
say("up")
while True:
    signal.pause()
"#;

#[test]
fn f40_the_exit_code_is_the_programs_or_128_and_its_signal() {
    let sandbox = Sandbox::new("");
    for (script, code) in [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        let outcome = sh(&sandbox, &[], script);
        outcome.expect_code(code);
        assert_eq!(outcome.stderr, "", "nothing is said: {script}");
    }
}

#[test]
fn exit_codes_can_be_taken_as_0() {
    let sandbox = Sandbox::new("");
    sh(&sandbox, &["-e", "143", "-e", "7"], "exit 7").expect_code(0);
    sh(&sandbox, &["-e", "143", "-e", "7"], "kill -TERM $$").expect_code(0);
    sh(&sandbox, &["-e", "143"], "exit 7").expect_code(7);
    init(&sandbox, &["-e", "256", "--", "true"]).finish().expect_code(2);
}

/// Whatever stands behind the program is its own, `--` or not; what stands before it is ours, and must be known to us.
#[test]
fn options_end_at_the_program_or_at_two_dashes() {
    let sandbox = Sandbox::new("");
    let shows = ["sh", "-c", "echo \"$@\"; exit 3", "sh", "-v", "--", "--stop", "-e3"];
    for options in [&[][..], &["--"], &["-g"], &["-gwe7"], &["-gw", "-e7", "--"], &["-e", "7", "-r15:3", "--"]] {
        let words: Vec<&str> = options.iter().chain(&shows).copied().collect();
        let outcome = init(&sandbox, &words).finish();
        outcome.expect_code(3);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("-v -- --stop -e3\n", ""), "{options:?}");
    }
    init(&sandbox, &["-e3", "sh", "-c", "exit 3"]).finish().expect_code(0);
    init(&sandbox, &["--", "-x"]).finish().expect_code(127);
    for (words, says) in [
        (&["--foo", "true"][..], "unexpected argument '--foo'"),
        (&["-x", "true"], "unexpected argument '-x'"),
        (&["-gx", "true"], "unexpected argument '-x'"),
        (&[], "<PROGRAM>"),
        (&["-g"], "<PROGRAM>"),
        (&["-e", "300", "true"], "300"),
        (&["-p", "NOPE", "true"], "it is no signal"),
        (&["-r", "TERM", "true"], "write FROM:TO"),
        (&["--stop", "nope 3s", "true"], "unknown signal \"nope\""),
        (&["-g", "-c", "true"], "--single-child"),
    ] {
        let outcome = init(&sandbox, words).finish();
        outcome.expect_code(2);
        assert!(outcome.stderr.contains(says) && outcome.stdout.is_empty(), "{words:?}: {outcome}");
    }
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_be_executed_126_with_one_line_each() {
    let sandbox = Sandbox::new("");
    sandbox.file("plain", "no program\n");
    let cases = [
        ("no-such-program", 127, "executing no-such-program: No such file or directory"),
        ("./nowhere/program", 127, "executing ./nowhere/program: No such file or directory"),
        ("./plain", 126, "executing ./plain: Permission denied"),
        ("/", 126, "executing /: Permission denied"),
        ("", 127, "executing \"\": No such file or directory"),
        (" ", 127, "executing \" \": No such file or directory"),
        ("two words", 127, "executing \"two words\": No such file or directory"),
    ];
    for (program, code, words) in cases {
        let outcome = init(&sandbox, &["--", program]).finish();
        outcome.expect_code(code);
        assert_eq!(outcome.stderr, format!("exeunt: error: {words}\n"));
    }
}

/// Who uses it has no workers and gives nobody up.
#[test]
fn what_it_says_of_its_end_is_about_the_program() {
    let sandbox = Sandbox::new("");
    for (program, why) in [("true", "the program has ended"), ("no-such-program", "the program cannot be started")] {
        let outcome = init(&sandbox, &["-v", "--", program]).finish();
        assert!(outcome.stderr.contains(&format!("exeunt: stopping because {why}\n")), "{outcome}");
        assert!(outcome.stderr.contains(&format!("exeunt: stopped because {why};")), "{outcome}");
        assert!(!outcome.stderr.contains("worker"), "{outcome}");
    }
}

/// execvp(3) has it so, and entrypoints rely on it.
#[test]
fn a_script_without_its_first_line_is_run_by_sh() {
    let sandbox = Sandbox::new("");
    sandbox.file("entry", "echo \"$1|$2\"\nexit 9\n");
    std::process::Command::new("chmod").arg("+x").arg(sandbox.path("entry")).status().unwrap();
    let outcome = init(&sandbox, &["--", "./entry", "a b", "c"]).finish();
    outcome.expect_code(9);
    assert_eq!(outcome.stdout, "a b|c\n");
}

#[test]
fn f42_every_signal_that_can_be_passed_on_is_passed_on_once_and_no_other() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    sandbox.file("listen.py", LISTENER);
    let run = init(&sandbox, &["--", python().unwrap(), "-S", "listen.py"]).start();
    run.wait_for_line("up");
    let (chld, ttin, ttou) = (17, 21, 22);
    [chld, ttin, ttou].into_iter().for_each(|number| send_number(run.pid(), number));
    let passed: Vec<i32> = (1..=64).filter(|number| ![9, 19, 32, 33, chld, ttin, ttou].contains(number)).collect();
    for number in &passed {
        send_number(run.pid(), *number);
        run.wait_for_line(&format!("got {number} "));
    }
    let outcome = run.finish();
    outcome.expect_code(0);
    let heard: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("got")).collect();
    assert_eq!(heard.len(), passed.len(), "{outcome}");
}

#[test]
fn f42_the_group_hears_with_g_and_the_program_alone_without() {
    if !has(Need::Python) {
        return;
    }
    for (option, both) in [("-g", true), ("-s", false)] {
        let sandbox = Sandbox::new("");
        sandbox.file(
            "outer.py",
            &LISTENER.replacen(
                "say(\"up\")",
                "os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, '-S', 'inner.py'])",
                1,
            ),
        );
        sandbox.file("inner.py", LISTENER);
        let run = init(&sandbox, &[option, "--", python().unwrap(), "-S", "outer.py"]).start();
        run.wait_for_line("up");
        run.signal(Signal::SIGUSR1);
        run.wait_for_line("got 10 in outer.py");
        if both {
            run.wait_for_line("got 10 in inner.py");
        }
        run.signal(Signal::SIGHUP);
        run.wait_for_line("got 1 in outer.py");
        send_number(run.pid(), 64);
        let outcome = run.finish();
        outcome.expect_code(0);
        // TERM at the end is for what is left.
        let inner = outcome.stderr.lines().filter(|line| line.starts_with("got 10 in inner")).count();
        assert_eq!(inner, usize::from(both), "{outcome}");
    }
}

#[test]
fn signals_can_be_rewritten_and_dropped() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    sandbox.file("listen.py", LISTENER);
    let options = ["-r", "TERM:QUIT", "-r", "1:0", "--", python().unwrap(), "-S", "listen.py"];
    let run = init(&sandbox, &options).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGHUP);
    run.signal(Signal::SIGTERM);
    run.wait_for_line("got 3 ");
    send_number(run.pid(), 64);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("got 1 ") && !outcome.stderr.contains("got 15 "), "{outcome}");
}

/// The program has run nothing yet: its exec hangs in a file that nobody writes.
#[test]
fn a_signal_that_comes_at_once_is_not_lost() {
    let sandbox = Sandbox::new("");
    for round in 0..40 {
        // Passed on, or the beginning of a stop: the program ends by it, whether or not it ran already.
        let words: &[&str] = if round % 2 == 0 { &[] } else { &["--stop", "TERM 20s"] };
        let words: Vec<&str> = words.iter().chain(&["--", "sleep", "1000"]).copied().collect();
        let run = init(&sandbox, &words).start();
        // Caught as soon as it can be; before that it is kept blocked.
        until("signals are held or heard", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).ok()?;
            let bits = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                u64::from_str_radix(line.trim(), 16).ok()
            };
            let exeunt = status.starts_with("Name:\texeunt");
            (exeunt && (bits("SigBlk:")? | bits("SigCgt:")?) & (1 << 14) != 0).then_some(())
        });
        run.signal(Signal::SIGTERM);
        run.finish().expect_code(143);
    }
}

#[test]
fn what_the_program_leaves_behind_is_stopped() {
    let sandbox = Sandbox::new("");
    // One in its session, one in a session of its own, and one that is deaf to TERM.
    let script = "sleep 1000 & setsid sleep 1000 & sh -c \"trap '' TERM; echo deaf >&2; exec sleep 1000\" & \
                  while ! [ -e gone ]; do sleep 0.01; done; exit 3";
    let run = init(&sandbox, &["--", "sh", "-c", script]).start();
    run.wait_for_line("deaf");
    sandbox.file("gone", "");
    run.finish().expect_code(3);
}

#[test]
fn with_wait_all_what_the_program_leaves_behind_ends_by_itself() {
    let sandbox = Sandbox::new("");
    let (one, other) = (sandbox.gate("one"), sandbox.gate("other"));
    let script = "sh -c 'read x <one; echo one >>ended' & setsid sh -c 'echo up >&2; read x <other; echo other >>ended' & \
                  while ! [ -e gone ]; do sleep 0.01; done; exit 3";
    let run = init(&sandbox, &["--wait-all", "-v", "--", "sh", "-c", script]).start();
    run.wait_for_line("up");
    sandbox.file("gone", "");
    // Of the program's session nobody is left then, but it was waited for.
    one.open();
    run.wait_for_line("exeunt: sh ended by itself");
    assert_eq!(sandbox.lines("ended"), ["one"]);
    other.open();
    run.finish().expect_code(3);
    assert_eq!(sandbox.lines("ended"), ["one", "other"]);
}

#[test]
fn what_is_waited_for_gets_the_signals_in_the_programs_place() {
    let sandbox = Sandbox::new("");
    let script = "setsid sh -c 'trap \"echo bye >>ended; exit\" TERM; echo up >&2; while :; do sleep 0.01; done' & \
                  while ! [ -e gone ]; do sleep 0.01; done";
    let run = init(&sandbox, &["--wait-all", "-v", "--", "sh", "-c", script]).start();
    run.wait_for_line("up");
    sandbox.file("gone", "");
    run.wait_for_line("exeunt: sh ended by itself");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert_eq!(sandbox.lines("ended"), ["bye"]);
}

/// docker stop sends TERM to exeunt, which passes it on to the wrapper alone: what the wrapper started has to hear of it too.
#[test]
fn what_outlives_a_wrapper_that_dies_of_term_is_sent_term_too() {
    let sandbox = Sandbox::new("");
    let inner = "sh -c 'trap \"echo $0 >>ended; exit\" TERM; echo up >&2; while :; do sleep 0.01; done'";
    let script = format!("{inner} member & setsid {inner} stray & wait");
    let run = init(&sandbox, &["--wait-all", "--", "sh", "-c", &script]).start();
    run.wait_for_lines("up", 2);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(143);
    assert_eq!(sandbox.lines("ended"), ["member", "stray"]);
}

/// Whatever the wrapper makes of it: one that ends well after TERM was told to stop as well.
#[test]
fn a_wrapper_that_ends_well_after_term_counts_as_stopped() {
    let sandbox = Sandbox::new("");
    let inner = "sh -c 'trap \"echo $0 >>ended; exit\" TERM; echo up >&2; while :; do sleep 0.01; done'";
    let script = format!("trap 'exit 5' TERM; {inner} member & wait");
    let run = init(&sandbox, &["--wait-all", "--", "sh", "-c", &script]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(5);
    assert_eq!(sandbox.lines("ended"), ["member"]);
}

#[test]
fn stop_timeout_is_what_is_left_behind_has_before_kill() {
    let sandbox = Sandbox::new("");
    let deaf = "sh -c 'trap \"echo $0 >>heard\" TERM; echo up >&2; while :; do sleep 0.01; done'";
    let script = format!("{deaf} member & setsid {deaf} stray & wait");
    // 3 s without it, and no end at all with --wait-all.
    for options in [&["--stop-timeout", "200ms"][..], &["--wait-all", "--stop-timeout", "200ms"]] {
        let words: Vec<&str> = options.iter().chain(&["-v", "--", "sh", "-c", &script]).copied().collect();
        let run = init(&sandbox, &words).start();
        run.wait_for_lines("up", 2);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(143);
        assert_eq!(sandbox.lines("heard"), ["member", "stray"], "{outcome}");
        sandbox.remove("heard");
    }
    let outcome = init(&sandbox, &["--stop-timeout", "5", "--", "true"]).finish();
    outcome.expect_code(2);
    assert!(outcome.stderr.contains("the duration \"5\" has no unit"), "{outcome}");
}

#[test]
fn f1_orphans_are_reaped_and_with_w_each_is_told() {
    let sandbox = Sandbox::new("");
    let gate = sandbox.gate("gate");
    let script = "for i in 1 2 3; do (sh -c 'exit 5' &); done; read x <gate; exit 0";
    let run = init(&sandbox, &["-w", "--", "sh", "-c", script]).start();
    run.wait_for_lines("exeunt: warning: reaped process", 3);
    gate.open();
    run.finish().expect_code(0);
}

#[test]
fn with_a_ladder_the_stop_signals_climb_it_and_the_others_are_passed_on() {
    let sandbox = Sandbox::new("");
    let script = "trap 'echo usr >&2' USR1; trap 'echo term >&2' TERM; echo up >&2; while :; do sleep 0.01; done";
    let run = init(&sandbox, &["--stop", "TERM 100ms", "--", "sh", "-c", script]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGUSR1);
    run.wait_for_line("usr");
    run.signal(Signal::SIGINT);
    run.wait_for_line("term");
    let outcome = run.finish();
    outcome.expect_code(137);
    assert!(!outcome.stderr.contains("exeunt: "), "{outcome}");
}

#[test]
fn a_ladder_may_begin_with_the_exit_event() {
    let sandbox = Sandbox::new("");
    let script = "echo up >&2; read -r word reason rest <&\"$EXEUNT_EXIT_FD\"; echo \"$word $reason\"; exit 4";
    let run = init(&sandbox, &["--stop", "event 50s, TERM 1s", "--", "sh", "-c", script]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(4);
    assert_eq!(outcome.stdout, "stop shutdown\n");
}

#[test]
fn standard_streams_environment_and_descriptors_are_the_programs() {
    let sandbox = Sandbox::new("");
    let outcome = init(&sandbox, &["--", "cat"]).stdin_text("hi\n").finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "hi\n");

    let outcome = init(&sandbox, &["--", "env"]).env("EXEUNT_QUEUE", "of another").env("PYTHONUNBUFFERED", "").finish();
    assert!(outcome.stdout.contains("EXEUNT_QUEUE=of another\n"), "{outcome}");
    assert!(outcome.stdout.contains("PYTHONUNBUFFERED=\n") && !outcome.stdout.contains("EXEUNT_INSTANCE"), "{outcome}");

    sandbox.file("text", "of descriptor 7\n");
    let before = ["setsid", "sh", "-c", "exec 7<text; exec \"$@\"", "sh"];
    let script = "cat <&7; ls /proc/self/fd";
    let under_init = sandbox.launch().under(&before).init(&["--", "sh", "-c", script]).finish();
    let without = sandbox.launch().under(&before).program("sh").arguments(&["-c", script]).finish();
    assert!(under_init.stdout.starts_with("of descriptor 7\n"), "{under_init}");
    assert_eq!(under_init.stdout, without.stdout);
}

/// systemd tells by number which process its variables are for. It is us that it started, and the program that it meant.
#[test]
fn variables_that_name_our_process_name_the_programs_and_its_sockets_are_passed_on() {
    let sandbox = Sandbox::new("");
    for name in ["three", "four", "five"] {
        sandbox.file(name, &format!("{name}\n"));
    }
    let before = "exec 3<three 4<four 5<five; export LISTEN_PID=$$ LISTEN_PIDFDID=1 LISTEN_FDS=3 WATCHDOG_PID=$$ \
                  SYSTEMD_EXEC_PID=$$; exec \"$@\"";
    let script = "echo $LISTEN_PID:$WATCHDOG_PID:$SYSTEMD_EXEC_PID:${LISTEN_PIDFDID-none}:$LISTEN_FDS >&2; echo $$ >&2; \
                  cat <&3 >&2; cat <&4 >&2; cat <&5 >&2; exit 3";
    // With an exit event, too, whose descriptor is another one then.
    for options in [&[][..], &["--stop", "event 5s"]] {
        let words: Vec<&str> = options.iter().chain(&["--", "sh", "-c", script]).copied().collect();
        let outcome = sandbox.launch().under(&["setsid", "sh", "-c", before, "sh"]).init(&words).finish();
        outcome.expect_code(3);
        let mut lines = outcome.stderr.lines();
        let (told, pid) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(told, format!("{pid}:{pid}:{pid}:none:3"), "{outcome}");
        assert_eq!(lines.collect::<Vec<_>>(), ["three", "four", "five"], "{outcome}");
    }
    let exit = "read -r word _ <&$EXEUNT_EXIT_FD; echo $EXEUNT_EXIT_FD $word >&2";
    let words = ["--stop", "event 50s", "--", "sh", "-c", &format!("echo up >&2; {exit}")];
    let run = sandbox.launch().under(&["setsid", "sh", "-c", before, "sh"]).init(&words).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("6 stop");
    run.finish().expect_code(0);
}

#[test]
fn variables_that_name_another_process_are_left_alone() {
    let sandbox = Sandbox::new("");
    let script = "echo $LISTEN_PID:$WATCHDOG_PID:$SYSTEMD_EXEC_PID:$LISTEN_PIDFDID";
    let launch = init(&sandbox, &["--", "sh", "-c", script]).env("LISTEN_PID", "1").env("WATCHDOG_PID", "x");
    let outcome = launch.env("SYSTEMD_EXEC_PID", "").env("LISTEN_PIDFDID", "7").finish();
    assert_eq!(outcome.stdout, "1:x::7\n", "{outcome}");
}

#[test]
fn ignored_signals_stay_ignored_as_nohup_wants_it() {
    let sandbox = Sandbox::new("");
    let before = ["setsid", "sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let outcome = sandbox.launch().under(&before).init(&["--", "grep", "SigIgn", "/proc/self/status"]).finish();
    let bits = outcome.stdout.split_whitespace().nth(1).and_then(|bits| u64::from_str_radix(bits, 16).ok());
    assert_eq!(bits.map(|bits| bits & 1), Some(1), "{outcome}");
}

#[test]
fn a_single_child_stays_in_our_session_and_group_and_the_others_are_stopped_all_the_same() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let script = "import os, subprocess; subprocess.Popen(['sleep', '1000']); up = os.getppid(); \
                  print(os.getpgrp() == os.getpgid(up), os.getsid(0) == os.getsid(up))";
    let outcome = init(&sandbox, &["-c", "--", python().unwrap(), "-c", script]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "True True\n");
}

#[test]
fn f63_the_parent_death_signal_reaches_the_program_when_exeunt_is_killed() {
    let sandbox = Sandbox::new("");
    let run = init(&sandbox, &["-p", "KILL", "--", "sh", "-c", "echo up >&2; exec sleep 1000"]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGKILL);
    run.finish_alone().expect_code(137);
    sandbox.wait_until_empty();
}

#[test]
fn f41_f100_as_pid_1_it_passes_term_on_and_reaps() {
    if !has(Need::PidNamespace) {
        return;
    }
    let sandbox = Sandbox::new("");
    let script = "(sleep 0.01 &); trap 'echo term; exit 6' TERM; echo up $PPID >&2; while :; do sleep 0.01; done";
    let run = sandbox.launch().under(&NAMESPACE).init(&["-w", "--", "sh", "-c", script]).start();
    assert_eq!(run.wait_for_line("up"), "up 1");
    run.wait_for_line("exeunt: warning: reaped process");
    send(run.inner_pid(), Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(6);
    assert_eq!(outcome.stdout, "term\n");
}

#[test]
fn f42_a_stop_of_the_program_is_no_end() {
    let sandbox = Sandbox::new("");
    let run: Run = init(&sandbox, &["--", "sh", "-c", "echo $$ >&2; kill -STOP $$; exit 8"]).start();
    let program: i32 = run.wait_for_line("").parse().unwrap();
    until("the program to stop", || (state(program) == Some('T')).then_some(()));
    run.signal(Signal::SIGCONT);
    run.finish().expect_code(8);
}
