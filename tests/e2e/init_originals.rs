//! What tini and dumb-init promise to whoever calls them, beside what `init_names` checks: exit codes, words, signals, directories.

use crate::init::LISTENER;
use crate::support::{Launch, Need, Run, Sandbox, has, python, send_number, state, until};
use nix::sys::signal::Signal;

const TSTP: i32 = libc::SIGTSTP;
const TTIN: i32 = libc::SIGTTIN;
const TTOU: i32 = libc::SIGTTOU;
const CONT: i32 = libc::SIGCONT;

fn called<'a>(sandbox: &'a Sandbox, name: &str, arguments: &[&str]) -> Launch<'a> {
    if sandbox.exists(name) {
        sandbox.remove(name);
    }
    sandbox.launch().under(&["setsid"]).called(name).arguments(arguments)
}

/// A program that writes down what it hears; it ends on signal 64.
fn listening<'a>(sandbox: &'a Sandbox, name: &str, options: &[&str]) -> Run<'a> {
    sandbox.file("listen.py", LISTENER);
    let words: Vec<&str> = options.iter().chain(&[python().unwrap(), "-S", "listen.py"]).copied().collect();
    let run = called(sandbox, name, &words).start();
    run.wait_for_line("up");
    run
}

fn heard(run: &Run, number: i32, times: usize) {
    run.wait_for_lines(&format!("got {number} "), times);
}

#[test]
fn tini_takes_exactly_the_codes_for_0_that_it_is_given() {
    let sandbox = Sandbox::new("");
    for code in [0u8, 1, 2, 31, 32, 127, 128, 254, 255] {
        let script = format!("exit {code}");
        let taken = called(&sandbox, "tini", &["-e", &code.to_string(), "--", "sh", "-c", &script]).finish();
        taken.expect_code(0);
        let others = (0..=255u8).filter(|&other| other != code).flat_map(|other| ["-e".to_owned(), other.to_string()]);
        let words: Vec<String> = others.chain(["sh", "-c", &script].map(str::to_owned)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        called(&sandbox, "tini", &words).finish().expect_code(i32::from(code));
    }
}

#[test]
fn dumb_init_leaves_with_the_code_or_the_signal_of_its_program() {
    let sandbox = Sandbox::new("");
    for options in [&[][..], &["-c"]] {
        let run = |script: &str| {
            let words: Vec<&str> = options.iter().chain(&["sh", "-c", script]).copied().collect();
            called(&sandbox, "dumb-init", &words).finish().code
        };
        for code in [0, 1, 2, 32, 64, 127, 254, 255] {
            assert_eq!(run(&format!("exit {code}")), code);
        }
        for number in [15, 1, 3, 9] {
            assert_eq!(run(&format!("kill -{number} $$")), 128 + number);
        }
    }
}

/// Alerts look for these lines.
#[test]
fn a_program_that_cannot_be_executed_is_told_in_the_words_of_the_original() {
    let sandbox = Sandbox::new("");
    for options in [&[][..], &["--"], &["-c"], &["--single-child", "--"], &["-v"]] {
        let words: Vec<&str> = options.iter().chain(&["/doesnotexist"]).copied().collect();
        let outcome = called(&sandbox, "dumb-init", &words).finish();
        outcome.expect_code(127);
        assert!(outcome.stderr.contains("[dumb-init] /doesnotexist: No such file or directory\n"), "{outcome}");
    }
    sandbox.file("plain", "");
    for (program, code, why) in [("nowhere", 127, "No such file or directory"), ("./plain", 126, "Permission denied")] {
        let run = called(&sandbox, "tini", &["--", program]).start();
        let pid = run.pid();
        let outcome = run.finish();
        outcome.expect_code(code);
        assert_eq!(outcome.stderr, format!("[FATAL tini ({pid})] exec {program} failed: {why}\n"));
    }
}

#[test]
fn wrong_words_are_refused_as_by_getopt() {
    let sandbox = Sandbox::new("");
    for (name, words, says) in [
        ("tini", &["-x", "true"][..], "tini: invalid option -- 'x'\n"),
        ("tini", &["-e"], "tini: option requires an argument -- 'e'\n"),
        ("tini", &["-z"], "tini: invalid option -- 'z'\n"),
        ("dumb-init", &["--yolo", "true"], "dumb-init: unrecognized option '--yolo'\n"),
        ("dumb-init", &["-x", "true"], "dumb-init: invalid option -- 'x'\n"),
        ("dumb-init", &["--rewrite"], "dumb-init: option '--rewrite' requires an argument\n"),
        ("dumb-init", &["--help=yes"], "dumb-init: option '--help' doesn't allow an argument\n"),
        ("dumb-init", &[], "Usage: dumb-init [option] program [args]\n"),
    ] {
        let outcome = called(&sandbox, name, words).finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.starts_with(says) && outcome.stdout.is_empty(), "{words:?}: {outcome}");
    }
    let rewrites: [&[&str]; 9] = [
        &["-r"],
        &["-r", ""],
        &["-r", "herp"],
        &["-r", "herp:derp"],
        &["-r", "15"],
        &["-r", "15::12"],
        &["-r", "15:derp"],
        &["-r", "15:12", "-r"],
        &["-r", "15:12", "-r", "1:32"],
    ];
    for rewrite in rewrites {
        let words: Vec<&str> = rewrite.iter().chain(&["echo", "hi"]).copied().collect();
        let outcome = called(&sandbox, "dumb-init", &words).finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.starts_with("Usage: -r option takes <signum>:<signum>"), "{rewrite:?}: {outcome}");
        assert_eq!(outcome.stdout, "", "nothing was run");
    }
}

/// Options behind the program are the program's, `--` or not.
#[test]
fn words_behind_the_program_are_its_own() {
    let sandbox = Sandbox::new("");
    for name in ["tini", "dumb-init"] {
        for words in [
            &["sh", "-c", "echo \"$@\"", "sh", "-v", "--", "-h"][..],
            &["--", "sh", "-c", "echo \"$@\"", "sh", "-v", "--", "-h"],
        ] {
            let outcome = called(&sandbox, name, words).finish();
            outcome.expect_code(0);
            assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("-v -- -h\n", ""), "{name} {words:?}");
        }
    }
}

#[test]
fn dumb_init_says_help_and_version_on_stderr() {
    let sandbox = Sandbox::new("");
    for option in ["-V", "--version"] {
        let outcome = called(&sandbox, "dumb-init", &[option]).finish();
        assert_eq!((outcome.code, outcome.stderr.as_str(), outcome.stdout.as_str()), (0, "dumb-init v1.2.5\n", ""));
    }
    for option in ["-h", "--help"] {
        let outcome = called(&sandbox, "dumb-init", &[option]).finish();
        outcome.expect_code(0);
        assert!(outcome.stderr.starts_with("dumb-init v1.2.5 (exeunt ") && outcome.stdout.is_empty(), "{outcome}");
    }
    for words in [&["-v", "echo", "hi"][..], &["--verbose", "-c", "echo", "hi"]] {
        let outcome = called(&sandbox, "dumb-init", words).finish();
        outcome.expect_code(0);
        assert_eq!(outcome.stdout, "hi\n");
        assert!(outcome.stderr.lines().all(|line| line.starts_with("[dumb-init] ")), "{outcome}");
        assert!(outcome.stderr.contains("echo ended by itself"), "{outcome}");
    }
}

#[test]
fn tini_tells_each_reaped_orphan_with_w_and_none_without() {
    let sandbox = Sandbox::new("");
    for (options, told) in [(&["-w"][..], 20), (&[], 0), (&["-s", "-w"], 20)] {
        let gate = sandbox.gate("gate");
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'exit 5' & sh -c 'exit 0' &); done; \
                      while [ \"$(cat /proc/$PPID/task/*/children)\" != \"$$ \" ]; do sleep 0.01; done; \
                      echo alone >&2; read x <gate; exit 0";
        let words: Vec<&str> = options.iter().chain(&["--", "sh", "-c", script]).copied().collect();
        let run = called(&sandbox, "tini", &words).start();
        let pid = run.pid();
        run.wait_for_line("alone");
        gate.open();
        let outcome = run.finish();
        outcome.expect_code(0);
        let prefix = format!("[WARN  tini ({pid})] Reaped zombie process with pid=");
        assert_eq!(outcome.stderr.lines().filter(|line| line.starts_with(&prefix)).count(), told, "{outcome}");
    }
}

/// The program ignores the signal, what it waits for does not.
#[test]
fn f42_tinis_group_hears_what_its_leader_ignores() {
    let sandbox = Sandbox::new("");
    let script = "import os, signal, subprocess\n\
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n\
        child = subprocess.Popen(['sleep', '1000'], preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL))\n\
        os.write(2, b'up\\n')\n\
        raise SystemExit(-child.wait())\n";
    if !has(Need::Python) {
        return;
    }
    for with_variable in [false, true] {
        let options: &[&str] = if with_variable { &[] } else { &["-g"] };
        let words: Vec<&str> = options.iter().chain(&[python().unwrap(), "-c", script]).copied().collect();
        let launch = called(&sandbox, "tini", &words);
        let launch = if with_variable { launch.env("TINI_KILL_PROCESS_GROUP", "1") } else { launch };
        let run = launch.start();
        run.wait_for_line("up");
        run.signal(Signal::SIGUSR1);
        run.finish().expect_code(libc::SIGUSR1);
    }
}

/// Dispositions and mask are the program's as they were, those too that tini changes for itself.
#[test]
fn f106_tini_hands_ignored_and_blocked_signals_on_and_dumb_init_does_not() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let parent = "import os, signal, sys\n\
        for ignored in (signal.SIGTTOU, signal.SIGSEGV, signal.SIGINT): signal.signal(ignored, signal.SIG_IGN)\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGILL, signal.SIGTERM})\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    let show = ["cat", "/proc/self/status"];
    let bits = |numbers: [i32; 3]| numbers.iter().fold(0u64, |bits, number| bits | 1 << (number - 1));
    let blocked = bits([libc::SIGTTIN, libc::SIGILL, libc::SIGTERM]);
    let ignored = bits([libc::SIGTTOU, libc::SIGSEGV, libc::SIGINT]);
    for (name, expected) in [("tini", (blocked, ignored)), ("dumb-init", (0, 0))] {
        let under = ["setsid", python().unwrap(), "-c", parent];
        let outcome = sandbox.launch().under(&under).called(name).arguments(&show).finish();
        outcome.expect_code(0);
        let shown = |key: &str| {
            let line = outcome.stdout.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            u64::from_str_radix(line.trim(), 16).ok()
        };
        // Python ignores some for itself, and whoever runs the tests may too.
        let shown = |key: &str| shown(key).map(|bits| bits & (blocked | ignored));
        assert_eq!((shown("SigBlk:"), shown("SigIgn:")), (Some(expected.0), Some(expected.1)), "{name}: {outcome}");
    }
}

#[test]
fn f42_dumb_init_passes_on_all_signals_in_both_modes() {
    if !has(Need::Python) {
        return;
    }
    for options in [&[][..], &["-c"]] {
        let sandbox = Sandbox::new("");
        let run = listening(&sandbox, "dumb-init", options);
        let numbers = (1..32).filter(|number| ![9, 17, 19, TSTP, TTIN, TTOU].contains(number));
        for number in numbers {
            send_number(run.pid(), number);
            heard(&run, number, 1);
        }
        send_number(run.pid(), 64);
        run.finish().expect_code(0);
    }
}

#[test]
fn dumb_init_rewrites_each_signal_once_and_not_what_it_became() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let options = ["-r", "15:2", "-r", "2:15", "-r", "3:3", "-r", "1:31", "-r", "31:1", "-r", "28:0"];
    let run = listening(&sandbox, "dumb-init", &options);
    for (sent, expected) in [(15, 2), (3, 3), (CONT, CONT), (2, 15), (1, 31), (31, 1)] {
        send_number(run.pid(), sent);
        heard(&run, expected, 1);
    }
    send_number(run.pid(), 28);
    send_number(run.pid(), 64);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("got 28 "), "{outcome}");
    assert_eq!(outcome.stderr.matches("got ").count(), 7, "{outcome}");
}

/// In a session of its own the program is stopped by STOP, for it would be deaf to the three of the terminal.
#[test]
fn dumb_init_stops_with_its_program_on_each_of_the_terminals_signals() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let run = listening(&sandbox, "dumb-init", &[]);
    let program = crate::support::children(run.pid())[0];
    let both = |letter| (state(run.pid()) == Some(letter) && state(program) == Some(letter)).then_some(());
    for (count, number) in [TSTP, TTIN, TTOU].into_iter().enumerate() {
        send_number(run.pid(), number);
        until("both to stop", || both('T'));
        run.signal(Signal::SIGCONT);
        heard(&run, CONT, count + 1);
        until("both to go on", || both('S'));
    }
    send_number(run.pid(), 64);
    run.finish().expect_code(0);
}

#[test]
fn dumb_init_stops_itself_where_the_program_hears_of_it_by_another_signal() {
    if !has(Need::Python) {
        return;
    }
    let rewritten = ["-r", "21:15", "-r", "22:2", "-r", "20:1"];
    for (options, expected) in [(&rewritten[..], [1, 15, 2]), (&["-c"], [TSTP, TTIN, TTOU])] {
        let sandbox = Sandbox::new("");
        let run = listening(&sandbox, "dumb-init", options);
        for (count, (sent, word)) in [TSTP, TTIN, TTOU].into_iter().zip(expected).enumerate() {
            send_number(run.pid(), sent);
            heard(&run, word, 1);
            until("it to stop", || (state(run.pid()) == Some('T')).then_some(()));
            run.signal(Signal::SIGCONT);
            heard(&run, CONT, count + 1);
        }
        send_number(run.pid(), 64);
        run.finish().expect_code(0);
    }
}

/// The others never pass TTIN and TTOU on, nor stop for them.
#[test]
fn the_terminals_signals_mean_nothing_to_tini() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    let run = listening(&sandbox, "tini", &[]);
    [TTIN, TTOU, TSTP].into_iter().for_each(|number| send_number(run.pid(), number));
    heard(&run, TSTP, 1);
    send_number(run.pid(), 64);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("got 21 ") && !outcome.stderr.contains("got 22 "), "{outcome}");
}

#[test]
fn a_whole_pipeline_is_stopped_under_dumb_init() {
    let sandbox = Sandbox::new("");
    let script = "yes 'oh, hi' | tail & (yes error | tail >&2) & echo up >&2; wait";
    let run = called(&sandbox, "dumb-init", &["sh", "-c", script]).start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(143);
}

/// exeunt holds nobody's directory, and so no file system, while the program runs in it. The descriptor that leads back is
/// closed once nobody needs it any more.
#[test]
fn f116_the_working_directory_is_the_programs_and_not_ours() {
    let sandbox = Sandbox::new("");
    let script = "readlink /proc/$PPID/cwd; readlink /proc/$$/cwd; echo up >&2; read x";
    for name in ["dumb-init", "tini"] {
        let run = called(&sandbox, name, &["sh", "-c", script]).stdin_pipe().start();
        run.wait_for_line("up");
        let directory = sandbox.directory().canonicalize().unwrap();
        until("no descriptor of the directory", || {
            let own = std::fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().flatten();
            let held = own.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == directory);
            (!held).then_some(())
        });
        let outcome = run.finish();
        assert_eq!(outcome.stdout, format!("/\n{}\n", directory.display()));
    }
}

/// The words that the guide and the examples put into a Dockerfile, with a program behind them.
#[test]
fn every_entrypoint_of_the_guide_and_the_examples_runs_its_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "docs/from-tini-and-dumb-init.md",
        "docs/init.md",
        "examples/init/Dockerfile",
        "examples/init/Dockerfile.stop",
        "examples/init/Dockerfile.tini",
    ];
    let texts = files.map(|file| std::fs::read_to_string(root.join(file)).unwrap()).concat();
    let mut entrypoints: Vec<Vec<String>> = texts
        .match_indices("ENTRYPOINT [")
        .filter_map(|(at, _)| serde_json::Deserializer::from_str(&texts[at + "ENTRYPOINT ".len()..]).into_iter().next())
        .map(|words| words.expect("a JSON array"))
        .collect();
    entrypoints.retain(|words| words.get(1).is_none_or(|word| word != "run"));
    assert!(entrypoints.len() > 20, "{entrypoints:?}");
    let sandbox = Sandbox::new("");
    for words in &entrypoints {
        let name = words[0].rsplit('/').next().unwrap();
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).chain(["sh", "-c", "exit 9"]).collect();
        called(&sandbox, name, &arguments).finish().expect_code(9);
        sandbox.remove(name);
    }
}
