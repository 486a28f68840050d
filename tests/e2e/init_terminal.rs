//! The terminal under `exeunt init`, and under a worker that owns it: foreground, Ctrl+C, Ctrl+Z and back.

use crate::support::{Need, Run, Sandbox, has, python, state, until};
use nix::sys::signal::Signal;

/// Says where it stands and what it reads; Ctrl+C is a word to it. Stops when it reads `stop`, ends when it reads `quit`.
const SPEAKER: &str = r#"
import os, signal, sys
from worker import say
signal.signal(signal.SIGINT, lambda *_: say("interrupted"))
ours = os.getsid(0) != os.getpid()
say("up", os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getpid(), ours)
for line in iter(sys.stdin.readline, ""):
    say("read", line.strip())
    if line == "quit\n":
        sys.exit(5)
"#;

/// The same, and never deaf for a moment.
const LISTENER: &str = r#"
import os, select, signal, sys
from worker import say

# A signal that comes just before a read would wait, in Python, until there is something to read.
heard, hear = os.pipe()
os.set_blocking(hear, False)
signal.set_wakeup_fd(hear)
signal.signal(signal.SIGINT, lambda *_: say("interrupted"))

def lines():
    text = b""
    while True:
        if heard in select.select([0, heard], [], [])[0]:
            os.read(heard, 512)
            continue
        more = os.read(0, 4096)
        if not more:
            return
        *whole, text = (text + more).split(b"\n")
        yield from (line.decode() for line in whole)

ours = os.getsid(0) != os.getpid()
say("up", os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getpid(), ours)
for line in lines():
    say("read", line)
    if line == "quit":
        sys.exit(5)
"#;

fn sandbox(config: &str) -> Sandbox {
    let sandbox = Sandbox::new(config);
    sandbox.file("speak.py", SPEAKER);
    sandbox
}

fn program() -> [&'static str; 4] {
    ["--", python().unwrap(), "-S", "speak.py"]
}

#[test]
fn f53_the_program_is_in_the_foreground_and_ctrl_c_is_for_it_alone() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("");
    sandbox.file("speak.py", LISTENER);
    let mut run = sandbox.launch().init(&program()).reading_terminal().start();
    assert_eq!(run.wait_for_line("up"), "up True True True");
    run.type_keys(b"\x03");
    run.wait_for_line("interrupted");
    run.type_keys(b"word\n");
    run.wait_for_line("read word");
    run.type_keys(b"quit\n");
    let outcome = run.finish();
    outcome.expect_code(5);
    assert_eq!(outcome.stderr.matches("interrupted").count(), 1, "{outcome}");
}

/// We lead the session: nobody could bring us back, so the program goes on at once.
#[test]
fn without_a_shell_above_ctrl_z_does_not_stop_for_ever() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("");
    let mut run = sandbox.launch().init(&program()).reading_terminal().start();
    run.wait_for_line("up True");
    run.type_keys(b"\x1a");
    run.type_keys(b"after\n");
    run.wait_for_line("read after");
    run.type_keys(b"quit\n");
    run.finish().expect_code(5);
}

#[test]
fn as_pid_1_on_a_terminal_ctrl_z_does_not_stop_for_ever() {
    if !has(Need::Python) || !has(Need::PidNamespace) {
        return;
    }
    let sandbox = sandbox("");
    let under = ["unshare", "--pid", "--fork", "--mount-proc"];
    let mut run = sandbox.launch().under(&under).init(&program()).reading_terminal().start();
    run.wait_for_line("up True");
    run.type_keys(b"\x1aafter\n");
    run.wait_for_line("read after");
    run.type_keys(b"\x03quit\n");
    run.wait_for_line("interrupted");
    run.finish().expect_code(5);
}

/// Under a shell with job control.
fn shell<'a>(sandbox: &'a Sandbox) -> Run<'a> {
    let run = sandbox.launch().program("bash").arguments(&["--norc", "--noediting", "-i"]).reading_terminal();
    let mut run = run.start();
    run.type_keys(b"set -b; echo ready >&2\n");
    run.wait_for_line_with("ready");
    run
}

fn command(options: &str) -> String {
    format!("{} init {options} {}", env!("CARGO_BIN_EXE_exeunt"), program().join(" "))
}

#[test]
fn ctrl_z_and_fg_work_under_a_shell() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("");
    sandbox.file("speak.py", LISTENER);
    let mut run = shell(&sandbox);
    run.type_keys(format!("{}\n", command("")).as_bytes());
    run.wait_for_line_with("up True True True");
    for word in ["one", "two"] {
        to_the_shell(&mut run);
        and_back(&mut run, word);
    }
    run.type_keys(b"\x03");
    run.wait_for_line_with("interrupted");
    quit(run);
}

/// In our own group the program hears the terminal's TSTP by itself. We stop with it, or the shell would wait for ever.
#[test]
fn ctrl_z_and_fg_work_under_a_shell_for_a_single_child_too() {
    if !has(Need::Python) {
        return;
    }
    let link = "dumb-init";
    for by_name in [false, true] {
        let sandbox = sandbox("");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_exeunt"), sandbox.path(link)).unwrap();
        let mut run = shell(&sandbox);
        let line = match by_name {
            true => format!("./{link} -c {}", program()[1..].join(" ")),
            false => command("-c"),
        };
        run.type_keys(format!("{line}\n").as_bytes());
        run.wait_for_line_with("up True False True");
        for word in ["one", "two"] {
            to_the_shell(&mut run);
            // Until then it could still read what is meant for the shell.
            until("the program to stop", || (state(program_of(&run)?) == Some('T')).then_some(()));
            and_back(&mut run, word);
        }
        quit(run);
    }
}

/// The terminal tells the whole group, of which it is a part. What somebody sends to exeunt is passed on as ever.
#[test]
fn f53_a_single_child_hears_ctrl_c_once() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("");
    sandbox.file("speak.py", LISTENER);
    for name in ["init", "dumb-init"] {
        let words: Vec<&str> = ["-c"].iter().chain(&program()).copied().collect();
        let launch = match name {
            "init" => sandbox.launch().init(&words),
            _ => sandbox.launch().called(name).arguments(&words),
        };
        let mut run = launch.reading_terminal().start();
        run.wait_for_line("up True");
        for round in 1..=3 {
            run.type_keys(b"\x03");
            run.wait_for_lines("interrupted", 2 * round - 1);
            run.type_keys(b"word\n");
            run.wait_for_lines("read word", round);
            // One that still waits would be one with the next, to the kernel.
            until("exeunt to have read its own", || (!is_pending(run.pid(), 2)).then_some(()));
            run.signal(Signal::SIGINT);
            run.wait_for_lines("interrupted", 2 * round);
        }
        run.type_keys(b"quit\n");
        let outcome = run.finish();
        outcome.expect_code(5);
        assert_eq!(outcome.stderr.matches("interrupted").count(), 6, "{outcome}");
    }
}

fn is_pending(pid: i32, number: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let bits = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).map(str::trim).unwrap();
    u64::from_str_radix(bits, 16).unwrap() & 1 << (number - 1) != 0
}

fn to_the_shell(run: &mut Run) {
    run.type_keys(b"\x1a");
    run.wait_for_line_with("Stopped");
}

/// The shell hears one word, and the program in the foreground the next.
fn and_back(run: &mut Run, word: &str) {
    run.type_keys(format!("echo shell-{word} >&2\n").as_bytes());
    run.wait_for_line_with(&format!("shell-{word}"));
    run.type_keys(b"fg\n");
    until("the program in the foreground", || in_foreground(run));
    run.type_keys(format!("{word}\n").as_bytes());
    run.wait_for_line_with(&format!("read {word}"));
}

/// The program leaves, its code reaches the shell, and the shell leaves.
fn quit(mut run: Run) {
    run.type_keys(b"quit\n");
    run.wait_for_line_with("read quit");
    run.type_keys(b"echo code=$? >&2; exit 0\n");
    run.wait_for_line_with("code=5");
    run.finish().expect_code(0);
}

/// Nobody of the shell's children is stopped any more, and the shell itself is not in the foreground.
fn in_foreground(run: &Run) -> Option<()> {
    let exeunt = *crate::support::children(run.pid()).first()?;
    (state(exeunt)? != 'T' && state(program_of(run)?)? != 'T').then_some(())
}

/// The only child of the shell's only child.
fn program_of(run: &Run) -> Option<i32> {
    let exeunt = *crate::support::children(run.pid()).first()?;
    crate::support::children(exeunt).first().copied()
}

#[test]
fn f57_in_the_background_it_leaves_the_foreground_to_the_shell() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = sandbox("");
    let mut run = shell(&sandbox);
    // Reading from there stops it, as it would any job.
    run.type_keys(format!("{} &\n", command("")).as_bytes());
    run.wait_for_line_with("up False True True");
    run.type_keys(b"echo shell >&2\n");
    run.wait_for_line_with("shell");
    until("the job to stop", || {
        let below = crate::support::children(run.pid());
        below.first().filter(|&&exeunt| state(exeunt) == Some('T')).map(|_| ())
    });
    run.type_keys(b"fg\n");
    until("the program to go on", || in_foreground(&run));
    run.type_keys(b"quit\n");
    run.wait_for_line_with("read quit");
    run.type_keys(b"exit 0\n");
    run.finish().expect_code(0);
}

/// Standard input is no terminal, so the program has a session of its own, where Ctrl+Z and Ctrl+C do not reach it.
#[test]
fn behind_a_pipe_ctrl_z_stops_both_and_ctrl_c_is_passed_on() {
    let sandbox = Sandbox::new("");
    let mut run = shell(&sandbox);
    let sleep = "sh -c 'echo up >&2; exec sleep 1000'";
    run.type_keys(format!("{sleep} | {} init -- {sleep}\n", env!("CARGO_BIN_EXE_exeunt")).as_bytes());
    // Until its exec a child of an interactive shell ignores Ctrl+Z, and the job is not stopped while one of it runs.
    run.wait_for_line_with("up");
    run.wait_for_line_with("up");
    to_the_shell(&mut run);
    let sleepers = || crate::support::marked(&sandbox.mark()).into_iter().filter(|one| one.command.contains("sleep"));
    until("all to stop", || sleepers().all(|one| state(one.pid) == Some('T')).then_some(()));
    run.type_keys(b"fg\n");
    until("all to go on", || sleepers().all(|one| state(one.pid) != Some('T')).then_some(()));
    run.type_keys(b"\x03");
    until("the job to end", || (sleepers().count() == 0).then_some(()));
    run.type_keys(b"echo code=$? >&2; exit 0\n");
    run.wait_for_line_with("code=130");
    run.finish().expect_code(0);
}

/// The CONT of the shell reaches exeunt, which passes it on like any other signal, and sends none of its own beside it.
#[test]
fn behind_a_pipe_the_program_is_continued_once() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new("");
    // One byte for each signal that is caught, its number: two that come together are two.
    sandbox.file(
        "count.py",
        "import os, signal, sys, time\nfrom worker import say\n\
         flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK\n\
         signal.set_wakeup_fd(os.open('heard', flags))\n\
         signal.signal(signal.SIGCONT, lambda *_: None)\n\
         signal.signal(signal.SIGINT, lambda *_: (say('interrupted'), sys.exit(6)))\n\
         say('up')\nwhile True: time.sleep(0.02)\n",
    );
    let continued = || sandbox.read("heard").matches('\x12').count();
    let mut run = shell(&sandbox);
    let init = format!("{} init -- {} -S count.py", env!("CARGO_BIN_EXE_exeunt"), python().unwrap());
    run.type_keys(format!("sh -c 'echo up >&2; exec sleep 1000' | {init}\n").as_bytes());
    run.wait_for_line_with("up");
    run.wait_for_line_with("up");
    for round in 1..=3 {
        to_the_shell(&mut run);
        run.type_keys(b"fg\n");
        until("it to be continued", || (continued() >= round).then_some(()));
        until("exeunt to go on", || {
            let below = crate::support::children(run.pid());
            below.iter().all(|&pid| state(pid) != Some('T')).then_some(())
        });
    }
    run.type_keys(b"\x03");
    run.wait_for_line_with("interrupted");
    assert_eq!(continued(), 3);
    run.type_keys(b"echo code=$? >&2; exit 0\n");
    run.wait_for_line_with("code=6");
    run.finish().expect_code(0);
}

/// The jobs of the shell are groups of their own in our session: none of them is left behind.
#[test]
fn a_shell_under_init_has_job_control_and_leaves_no_job_behind() {
    let sandbox = Sandbox::new("");
    let arguments = ["--", "bash", "--norc", "--noediting", "-i"];
    let mut run = sandbox.launch().init(&arguments).reading_terminal().start();
    run.type_keys(b"set -b; echo ready >&2; sh -c 'echo up >&2; exec sleep 1000'\n");
    run.wait_for_line_with("up");
    run.type_keys(b"\x1a");
    run.wait_for_line_with("Stopped");
    run.type_keys(b"setsid sleep 1000 & sleep 1000 & disown -a; exit 3\n");
    run.finish().expect_code(3);
}

#[test]
fn a_hang_up_ends_the_program() {
    let sandbox = Sandbox::new("");
    let run = sandbox.launch().init(&["--", "sh", "-c", "echo up >&2; exec sleep 1000"]);
    let mut run = run.reading_terminal().start();
    run.wait_for_line("up");
    run.hang_up();
    run.finish().expect_code(129);
}

/// A worker of a file: exeunt goes on with its other workers, whatever is typed.
#[test]
fn f53_a_worker_may_own_the_terminal() {
    if !has(Need::Python) {
        return;
    }
    let config = "[supervisor]\nend = \"idle\"\nexit-code-from = \"shell\"\n\
                  [worker.shell]\ncommand = [\"@PYTHON@\", \"-S\", \"speak.py\"]\nterminal = true\nrestart = \"never\"\n\
                  [worker.service]\ncommand = [\"sh\", \"-c\", \"echo serving >&2; exec sleep 1000\"]\n";
    let sandbox = sandbox(config);
    sandbox.file("speak.py", LISTENER);
    let mut run = sandbox.launch().reading_terminal().start();
    run.wait_for_line("up True True True");
    run.wait_for_line("serving");
    run.type_keys(b"\x03");
    run.wait_for_line("interrupted");
    run.type_keys(b"quit\n");
    run.wait_for_line("exeunt: warning: shell.0 ended by itself");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(5);
    assert_eq!(outcome.stderr.matches("serving").count(), 1, "{outcome}");
}

#[test]
fn a_worker_with_the_terminal_is_stopped_with_all_its_jobs() {
    let config = "[worker.shell]\ncommand = [\"bash\", \"--norc\", \"--noediting\", \"-i\"]\nterminal = true\n\
                  stop = [\"HUP 100ms\"]\n";
    let sandbox = Sandbox::new(config);
    let mut run = sandbox.launch().reading_terminal().start();
    run.type_keys(b"sh -c 'trap \"\" HUP TERM; echo up >&2; exec sleep 1000' & sleep 1000 &\n");
    run.wait_for_line_with("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}
