//! F57: we are in the background of a terminal that stops who writes to it from there.

use crate::support::{Need, Sandbox, has, python, send};
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
    os.dup2(terminal, 2)
    os.execv(sys.argv[1], sys.argv[1:])
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
    background("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nlog = \"null\"\n");
}

/// Reading is refused with EIO, for TTIN is ignored in us: a source that failed, and no stop of ours in the shell's sense.
#[test]
fn f57_reading_the_terminal_from_the_background_does_not_stop_us() {
    background(
        "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nlog = \"null\"\n\
         [queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
         [worker.reader]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"while IFS= read -r line <&3; do echo \\\"ok ${line%% *}\\\" >&4; done\"]\nlog = \"null\"\n",
    );
}

fn background(config: &str) {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new(&config.replace("${line", "$${line"));
    sandbox.file("w.sh", "trap 'echo bye >bye; exit 0' TERM; echo up >up; while :; do sleep 0.02; done\n");
    let launch = sandbox.launch().under(&[python().unwrap(), "-c", LAUNCHER]);
    let run = launch.arguments(&["run", "--log-level", "trace"]).on_terminal().start();
    sandbox.wait_for_line("up", "up");
    let pid: i32 = sandbox.wait_for_line("exeunt.pid", "").parse().unwrap();
    send(pid, Signal::SIGTERM);
    let outcome = run.finish();
    assert!([0, 1].contains(&outcome.code) && !outcome.stderr.contains("stopped by"), "{outcome}");
    assert_eq!(sandbox.read("bye"), "bye\n", "{outcome}");
}
