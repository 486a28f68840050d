//! F54, F57: a terminal that goes away under us, and one that stops who writes to it from the background.

use crate::support::{Need, QUICK_RESTART, Sandbox, has, pool, python, send, until};
use nix::sys::signal::Signal;

/// Leads the session and stays in the foreground; exeunt gets a group of its own and the terminal as 0 and 2.
const LAUNCHER: &str = r#"
import os, signal, sys, termios
terminal = os.open("/dev/tty", os.O_RDWR)
modes = termios.tcgetattr(terminal)
modes[3] |= termios.TOSTOP
termios.tcsetattr(terminal, termios.TCSANOW, modes)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.dup2(terminal, 0)
    os.dup2(terminal if sys.argv[1] == "terminal" else os.open("messages", os.O_WRONLY | os.O_CREAT), 2)
    os.execv(sys.argv[2], sys.argv[2:])
open("exeunt.pid", "w").write(f"{child}\n")
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    print("stopped by", os.WSTOPSIG(status), file=sys.stderr)
    os.kill(child, signal.SIGKILL)
    sys.exit(99)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

#[test]
fn f57_messages_from_the_background_do_not_stop_us() {
    background("terminal", "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nlog = \"null\"\n", 0);
}

/// What is typed is for the foreground. Reading it is refused with EIO, for TTIN is ignored in us: a source that failed, and no
/// stop of ours in the shell's sense.
#[test]
fn f57_reading_the_terminal_from_the_background_does_not_stop_us() {
    background(
        "messages",
        "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nlog = \"null\"\n\
         [queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
         [worker.reader]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"while IFS= read -r line <&3; do echo \\\"ok ${line%% *}\\\" >&4; done\"]\nlog = \"null\"\n",
        1,
    );
}

/// `place` is that of our messages.
fn background(place: &str, config: &str, code: i32) {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new(&config.replace("${line", "$${line"));
    sandbox.file("w.sh", "trap 'echo bye >bye; exit 0' TERM; echo up >up; while :; do sleep 0.02; done\n");
    let launch = sandbox.launch().under(&[python().unwrap(), "-c", LAUNCHER, place]);
    let mut run = launch.arguments(&["run", "--log-level", "trace"]).on_terminal().start();
    sandbox.wait_for_line("up", "up");
    let pid: i32 = sandbox.wait_for_line("exeunt.pid", "").parse().unwrap();
    if place == "messages" {
        run.type_keys(b"for the shell\n");
        sandbox.wait_for_line("messages", "Input/output error");
    }
    // Threads of ours that write have all signals blocked, which would do as well: both nets are there.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    for signal in [Signal::SIGTTIN, Signal::SIGTTOU] {
        assert!(ignored & (1 << (signal as i32 - 1)) != 0, "{signal}: {status}");
    }
    send(pid, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(code);
    assert!(!outcome.stderr.contains("stopped by"), "{outcome}");
    assert_eq!(sandbox.read("bye"), "bye\n", "{outcome}");
}

/// The terminal is our 0 and 2 and goes away, and HUP is ignored as under nohup: we live on, and do not turn round on a terminal
/// that is for ever readable and tells EIO to whoever reads or writes.
#[test]
fn f54_where_hup_is_ignored_a_terminal_that_went_away_is_no_reason_to_stop_or_spin() {
    let sandbox = Sandbox::new(&format!(
        "{}[worker.s]\ncommand = [\"sh\", \"s.sh\"]\nlog = \"null\"\nrestart = \"always\"\n{QUICK_RESTART}\n",
        pool("", "command = [\"sh\", \"w.sh\"]\nlog = \"null\"\nresults = \"file:results\"")
    ));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    sandbox.file("s.sh", "echo $$ >>lives; trap 'echo bye >>bye; exit 0' TERM; while :; do sleep 1000 & wait; done\n");
    let launcher = ["sh", "-c", "trap '' HUP; exec \"$@\" 2>/dev/tty", "sh"];
    let launch = sandbox.launch().under(&launcher).arguments(&["run", "--log-level", "trace"]);
    let mut run = launch.reading_terminal().start();
    run.type_keys(b"one\n");
    sandbox.wait_for_line("results", "one");
    run.hang_up();
    // Messages of this death have nowhere to go.
    let first: i32 = sandbox.wait_for_line("lives", "").parse().unwrap();
    send(first, Signal::SIGKILL);
    until("a second life", || (sandbox.lines("lives").len() == 2).then_some(()));
    super::idle::assert_a_quiet_span(run.pid());
    assert!(!sandbox.exists("bye"), "it lives");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert!([0, 1].contains(&outcome.code), "{outcome}");
    assert_eq!(sandbox.read("bye"), "bye\n", "{outcome}");
}
