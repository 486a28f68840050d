//! F105–F111, F115: what a child is born with, whatever we were born with.

use crate::support::{Need, QUICK_RESTART, Sandbox, has, pool, python};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;

/// Writes down masks and dispositions, by a program that changes none of them.
const SIGNALS: &str = "cat /proc/self/status >status\n";

/// Writes down the open descriptors and what they are, session and group. Runs as the worker itself, in Python.
const DESCRIPTORS: &str = r#"
import os, sys
from worker import frames, record
name = sys.argv[1]
for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        record(name, fd, os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
    except FileNotFoundError:
        pass
own = os.getpid()
record("ids", name, os.getsid(0) == own, os.getpgid(0) == own)
if name == "queue":
    for frame in frames():
        pass
"#;

fn hex(sandbox: &Sandbox, field: &str) -> u64 {
    let status = sandbox.lines("status");
    let line = status.iter().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field} in {status:?}"));
    u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
}

fn bits(signals: &[Signal]) -> u64 {
    signals.iter().map(|&signal| 1u64 << (signal as i32 - 1)).sum()
}

fn assert_clean_signals(sandbox: &Sandbox) {
    for field in ["SigIgn", "SigBlk", "SigCgt", "SigPnd"] {
        let seen = hex(sandbox, field);
        assert_eq!(seen, 0, "{field} is {seen:016x}");
    }
}

fn descriptors(sandbox: &Sandbox, name: &str) -> BTreeMap<i32, String> {
    let lines = sandbox.lines(name);
    let pairs = lines.iter().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(fd, what)| (fd.parse().unwrap(), what.to_owned())).collect()
}

fn one_shot(keys: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n"));
    sandbox.file("w.sh", SIGNALS);
    sandbox
}

#[test]
fn f108_a_child_has_no_signal_blocked_or_ignored() {
    let sandbox = one_shot("");
    sandbox.launch().finish().expect_code(0);
    assert_clean_signals(&sandbox);
}

/// By grep alone: a shell between us and it would clear its mask. The file that is not there makes it fail, and live again.
#[test]
fn f109_the_shield_lists_are_exactly_what_a_child_is_born_with_in_each_life() {
    let config = format!(
        "[worker.w]\ncommand = [\"grep\", \"-h\", \"^Sig\", \"/proc/self/status\", \"not-there\"]\n\
         ignore-signals = [\"INT\", \"SIGHUP\"]\nblock-signals = [\"USR1\", \"CHLD\"]\n\
         start-limit = {{ burst = 2, interval = \"60s\" }}\n{QUICK_RESTART}\n"
    );
    let outcome = Sandbox::new(&config).launch().finish();
    outcome.expect_code(1);
    let lives = |field: &str, bits: u64| {
        let line = format!("{field}:\t{bits:016x}");
        outcome.stdout.lines().filter(|seen| **seen == line).count()
    };
    let lived = outcome.stdout.lines().filter(|line| line.starts_with("SigBlk")).count();
    assert!(lived >= 2, "{lived} lives\n{outcome}");
    assert_eq!(lives("SigIgn", bits(&[Signal::SIGINT, Signal::SIGHUP])), lived, "{outcome}");
    assert_eq!(lives("SigBlk", bits(&[Signal::SIGUSR1, Signal::SIGCHLD])), lived, "{outcome}");
}

/// The parent blocked everything, ignored everything (CHLD too, which then is never sent), and left descriptors open.
#[test]
fn f106_f107_f110_an_unkind_parent_shows_neither_in_us_nor_in_the_child() {
    if !has(Need::Python) {
        return;
    }
    let script = "cat /proc/self/status >status\n\
        while IFS= read -r line <&3; do echo \"got $line\" >&2; echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let config = format!(
        "{}\n[worker.fds]\ncommand = [\"@PYTHON@\", \"fds.py\", \"fds\"]\n",
        pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 20s\"]")
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", script);
    sandbox.file("fds.py", DESCRIPTORS);
    sandbox.file("hostile.py", include_str!("workers/hostile.py"));
    let launcher = [python().unwrap(), "hostile.py", "blocked", "ignored", "descriptors", "--"];
    let mut run = sandbox.launch().under(&launcher).stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"a\nb\n").unwrap();
    run.wait_for_lines("got", 2);
    sandbox.wait_for_line("ids", "fds");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["a", "b"], "{outcome}");
    assert_clean_signals(&sandbox);
    assert_eq!(descriptors(&sandbox, "fds").into_keys().collect::<Vec<_>>(), [0, 1, 2], "{outcome}");
}

#[test]
fn f110_f111_f115_each_kind_of_child_has_the_descriptors_that_are_promised() {
    if !has(Need::Python) {
        return;
    }
    let plain =
        |name: &str, keys: &str| format!("[worker.{name}]\ncommand = [\"@PYTHON@\", \"fds.py\", \"{name}\"]\n{keys}\n");
    let config = format!(
        "{}\n{}{}",
        pool("", "command = [\"@PYTHON@\", \"fds.py\", \"queue\"]\nresults = \"stdout\""),
        plain("plain", ""),
        plain("event", "stop = [\"event 5s\"]"),
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("fds.py", DESCRIPTORS);
    let run = sandbox.launch().stdin_pipe().start();
    for name in ["queue", "plain", "event"] {
        sandbox.wait_for_line("ids", name);
    }
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    let table = |name: &str| descriptors(&sandbox, name).into_iter().collect::<Vec<_>>();
    let expect = |rest: &[(i32, &str)]| -> Vec<(i32, String)> {
        let all = [(0, "/dev/null"), (1, "pipe"), (2, "pipe")].into_iter().chain(rest.iter().copied());
        all.map(|(fd, what)| (fd, what.to_owned())).collect()
    };
    assert_eq!(table("plain"), expect(&[]), "{outcome}");
    assert_eq!(table("event"), expect(&[(5, "pipe")]), "{outcome}");
    assert_eq!(table("queue"), expect(&[(3, "pipe"), (4, "pipe"), (5, "pipe")]), "{outcome}");
    for line in sandbox.lines("ids") {
        assert!(line.ends_with("True True"), "a session and group of its own: {line}");
    }
}

/// Twelve services and the second life of each, born while all the pipes of the others are open in us, and what our parent left.
#[test]
fn f110_twelve_services_and_their_second_lives_have_0_1_and_2_only() {
    if !has(Need::Python) {
        return;
    }
    let worker = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nreplicas = 3";
    let services =
        "[worker.s]\ncommand = [\"sh\", \"s.sh\"]\nreplicas = 12\nstart-limit = \"off\"\nrestart = \"always\"";
    let sandbox = Sandbox::new(&format!("{}\n{services}\n{QUICK_RESTART}\n", pool("", worker)));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *}\" >&4; done\n");
    // By ls, whose own look at the directory is one more. The shell itself keeps its script open.
    sandbox.file(
        "s.sh",
        "life=first; [ -e $EXEUNT_INSTANCE ] && life=second; : >$EXEUNT_INSTANCE\n\
         open=; for fd in $(ls /proc/self/fd); do open=$open,$fd; done\n\
         echo \"$EXEUNT_INSTANCE $life $open\" >>seen; echo $life >&2; [ $life = first ] && exit 1; exec sleep 1000\n",
    );
    sandbox.file("hostile.py", include_str!("workers/hostile.py"));
    let run = sandbox.launch().under(&[python().unwrap(), "hostile.py", "descriptors", "--"]).stdin_pipe().start();
    run.wait_for_lines("second", 12);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let seen = sandbox.lines("seen");
    assert_eq!(seen.len(), 24, "{outcome}");
    assert!(seen.iter().all(|line| line.ends_with(" ,0,1,2,3")), "3 is that of ls: {seen:?}");
}

#[test]
fn f105_without_0_1_and_2_the_work_is_done_all_the_same() {
    if !has(Need::Python) {
        return;
    }
    let config = "[queue.q]\nleftovers = \"left.txt\"\n\
        [source.in]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"echo a; echo b\"]\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"@PYTHON@\", \"w.py\"]\nresults = \"file:out.txt\"\n\
        [worker.fds]\ncommand = [\"@PYTHON@\", \"fds.py\", \"fds\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("fds.py", DESCRIPTORS);
    sandbox
        .file("w.py", "from worker import frames, reply\nfor token, item in frames():\n    reply('ok', token, item)\n");
    sandbox.file("hostile.py", include_str!("workers/hostile.py"));
    let outcome = sandbox.launch().under(&[python().unwrap(), "hostile.py", "closed", "--"]).finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("out.txt"), ["a", "b"]);
    let fds = descriptors(&sandbox, "fds");
    assert_eq!(fds.into_keys().collect::<Vec<_>>(), [0, 1, 2], "always all three");
}

/// Our stdin feeds a queue; no child may read from it.
#[test]
fn f111_a_child_that_reads_its_stdin_sees_the_end_at_once() {
    let script = "cat >stolen; while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&["a", "b"]).finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.read("stolen"), "");
    assert_eq!(outcome.results(), ["a", "b"], "{outcome}");
}

#[test]
fn f113_the_environment_is_exact() {
    let config = r#"
[worker.w]
command = ["sh", "w.sh", "${FROM_OUTSIDE}", "${NOT_SET:-default}", "$$HOME"]
env-clear = true
env = { PATH = "${PATH}", EXEUNT_TEST_ID = "${EXEUNT_TEST_ID}", ODD = "a 'quote' \"two\" % = é\nsecond line" }
"#;
    let sandbox = Sandbox::new(config);
    sandbox.file("w.sh", "printf '%s|' \"$@\" \"$ODD\" \"${FROM_OUTSIDE-unset}\" >seen\n");
    sandbox.launch().env("FROM_OUTSIDE", "out side").finish().expect_code(0);
    assert_eq!(sandbox.read("seen"), "out side|default|$HOME|a 'quote' \"two\" % = é\nsecond line|unset|");
}

/// As execve hands it over, before a shell tidies it up: of a name that our parent gave us twice the last is passed on, and once;
/// the file's value is in the place of ours.
#[test]
fn f113_every_name_is_there_once_and_the_last_value_wins() {
    if !has(Need::Python) {
        return;
    }
    // Python's own exec takes a dictionary, which has every name once.
    let launcher = "import ctypes, os, sys\n\
        words = [word.encode() for word in sys.argv[1:]]\n\
        env = [b'TWICE=first', b'MINE=outside', b'TWICE=last', b'MINE=again', b'EMPTY=', b'ODD=$HOME %s \\\\ \\xc3\\xa9\\xff\\n=x'] + [b'%s=%s' % it for it in os.environb.items()]\n\
        array = lambda it: (ctypes.c_char_p * (len(it) + 1))(*it, None)\n\
        ctypes.CDLL(None).execve(words[0], array(words), array(env))\n";
    let sandbox = Sandbox::new(
        "[worker.w]\ncommand = [\"cp\", \"/proc/self/environ\", \"seen\"]\nenv = { MINE = \"file\", OURS = \"${TWICE}\" }\n",
    );
    let outcome = sandbox.launch().under(&[python().unwrap(), "-c", launcher]).finish();
    outcome.expect_code(0);
    let seen = std::fs::read(sandbox.path("seen")).unwrap();
    let all: Vec<&[u8]> = seen.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()).collect();
    let of = |name: &str| -> Vec<&[u8]> {
        let begin = format!("{name}=");
        all.iter().filter_map(|entry| entry.strip_prefix(begin.as_bytes())).collect()
    };
    assert_eq!(of("TWICE"), [b"last"], "{outcome}");
    assert_eq!((of("MINE"), of("OURS")), (vec![&b"file"[..]], vec![&b"last"[..]]), "{outcome}");
    assert_eq!(of("EMPTY"), [b""], "{outcome}");
    assert_eq!(of("ODD"), [b"$HOME %s \\ \xc3\xa9\xff\n=x"], "{outcome}");
    let names: std::collections::BTreeSet<&[u8]> =
        all.iter().map(|entry| entry.split(|&byte| byte == b'=').next().unwrap()).collect();
    assert_eq!(names.len(), all.len(), "each name once\n{outcome}");
}

/// What a queue worker is told in its environment.
#[test]
fn a_queue_worker_is_told_its_descriptors_and_its_name() {
    let script = "env | grep -E '^(EXEUNT_(ITEM|REPLY|EXIT)_FD|EXEUNT_(QUEUE|WORKER|PREFETCH)|PYTHONUNBUFFERED)=' | sort >env\n\
        echo \"$EXEUNT_INSTANCE\" >>instances\n\
        while IFS= read -r line <&3; do echo \"ok ${line%% *}\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nprefetch = 7"));
    sandbox.file("w.sh", script);
    sandbox.launch().stdin_items(&["a"]).finish().expect_code(0);
    let expected = [
        "EXEUNT_EXIT_FD=5",
        "EXEUNT_ITEM_FD=3",
        "EXEUNT_PREFETCH=7",
        "EXEUNT_QUEUE=q",
        "EXEUNT_REPLY_FD=4",
        "EXEUNT_WORKER=w",
        "PYTHONUNBUFFERED=1",
    ];
    assert_eq!(sandbox.lines("env"), expected);
    assert_eq!(sandbox.lines("instances").len(), 1);
}

#[test]
fn the_working_directory_is_ours_unless_the_file_says_otherwise() {
    let config = "[worker.here]\ncommand = [\"sh\", \"-c\", \"pwd >>here\"]\n\
        [worker.there]\ncommand = [\"sh\", \"-c\", \"pwd >>../there\"]\nworking-directory = \"sub\"\n";
    let sandbox = Sandbox::new(config);
    std::fs::create_dir(sandbox.path("sub")).unwrap();
    sandbox.launch().finish().expect_code(0);
    let here = std::fs::canonicalize(sandbox.directory()).unwrap();
    assert_eq!(sandbox.lines("here"), [here.to_str().unwrap()]);
    assert_eq!(sandbox.lines("there"), [here.join("sub").to_str().unwrap()]);
}
