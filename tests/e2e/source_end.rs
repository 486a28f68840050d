//! How the end of what a command source or a worker says is recognised: read, and never concluded from a budget or a death.

use crate::support::{Need, QUICK_RESTART, Sandbox, has, numbered, send, skip, sorted};
use nix::sys::signal::Signal;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

const ECHO: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";

/// A queue that is fed by `in.sh` (or what `source` says) and worked off by `w.sh`. Without control groups, in which
/// processes in sessions of their own would be members.
fn fed_by(source: &str, queue: &str, worker: &str) -> Sandbox {
    let config = format!(
        "[supervisor]\ncgroup = \"off\"\n[queue.q]\nleftovers = \"left.txt\"\n{queue}\n\
         [source.in]\nqueue = \"q\"\ncommand = {source}\n\
         [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{worker}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", ECHO);
    sandbox
}

fn source_of(outcome: &crate::support::Outcome) -> serde_json::Value {
    outcome.report()["sources"][0].clone()
}

/// Makes the pipe in its first argument hold 8 MiB; `F_SETPIPE_SZ` is 1031 (fcntl(2)).
const ENLARGE: &str = "import fcntl, os, sys\nfcntl.fcntl(int(sys.argv[1]), 1031, 8 << 20)\n";

/// The largest pipe that a process without CAP_SYS_RESOURCE may make (pipe(7)) is 8 MiB while this exists.
struct LargePipes {
    before: String,
    _one_at_a_time: MutexGuard<'static, ()>,
}

const PIPE_MAX_SIZE: &str = "/proc/sys/fs/pipe-max-size";

impl LargePipes {
    fn new() -> Option<LargePipes> {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(PIPE_MAX_SIZE).ok()?;
        if fs::write(PIPE_MAX_SIZE, "8388608").is_err() {
            skip("fs.pipe-max-size cannot be raised here");
            return None;
        }
        Some(LargePipes { before, _one_at_a_time: one })
    }
}

impl Drop for LargePipes {
    fn drop(&mut self) {
        fs::write(PIPE_MAX_SIZE, self.before.trim()).expect("it was written before");
    }
}

#[test]
fn all_that_a_dead_source_left_in_a_pipe_of_eight_megabytes_is_read() {
    let Some(_large) = has(Need::Python).then(LargePipes::new).flatten() else { return };
    let sandbox = fed_by("[\"@PYTHON@\", \"in.py\", \"1\"]", "size = 100", "prefetch = 50");
    // 3 MB are in the pipe before the first item is answered, and nobody is left to write.
    sandbox.file(
        "in.py",
        &format!("{ENLARGE}os.write(1, b''.join(b'%d %s\\n' % (n, b'x' * 3000) for n in range(1000)))\n"),
    );
    sandbox.file("w.sh", "read -r _ <gate\nwhile IFS= read -r line <&3; do rest=${line#* }; echo \"ok ${line%% *} ${rest%% *}\" >&4; done\n");
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().report_json().start();
    run.wait_for_line_with("in ended by itself");
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(0);
    let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(outcome.results(), expected, "{outcome}");
    let source = source_of(&outcome);
    assert_eq!((&source["items"], &source["read_to_eof"]), (&1000.into(), &true.into()), "{outcome}");
}

/// The reply pipe is not read while results wait for a reader, so what is unread when the worker leaves is more than any budget
/// of one turn.
#[test]
fn all_replies_of_a_dead_worker_in_a_pipe_of_eight_megabytes_are_heard() {
    let Some(_large) = has(Need::Python).then(LargePipes::new).flatten() else { return };
    let config = format!(
        "[queue.q]\nsize = 5000\n[source.in]\nqueue = \"q\"\nstdin = true\n\
         [worker.w]\nqueue = \"q\"\ncommand = [\"@PYTHON@\", \"w.py\", \"4\"]\nresults = \"stdout\"\nprefetch = 2000\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file(
        "w.py",
        &format!(
            "{ENLARGE}\
             pipe = os.fdopen(3, 'rb')\n\
             lines = [pipe.readline() for _ in range(2000)]\n\
             if all(lines):\n    print('writing', file=sys.stderr, flush=True)\n\
             os.write(4, b''.join(b'ok %s %s %s\\n' % (*line.split(), b'x' * 3000) for line in lines if line))\n\
             print('written', len([line for line in lines if line]), file=sys.stderr, flush=True)\n"
        ),
    );
    let gate = sandbox.gate("gate");
    let reader = ["sh", "-c", "{ \"$@\"; echo $? >code; } | { read -r _ <gate; cat; }", "sh"];
    let run = sandbox.launch().under(&reader).report_json().stdin_items(&numbered(2000)).start();
    run.wait_for_line_with("written 2000");
    run.wait_for_line_with("w.0 ended by itself");
    gate.open();
    let outcome = run.finish();
    assert_eq!(sandbox.read("code"), "0\n", "{outcome}");
    let results: Vec<String> =
        outcome.results().iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert_eq!(sorted(results), sorted(numbered(2000)), "{outcome}");
    assert_eq!((outcome.count("done"), outcome.count("crashed")), (2000, 0), "{outcome}");
}

/// The producer is a member of the source: it is waited for, and not asked to leave.
#[test]
fn members_that_hold_the_pipe_are_read_to_the_end_and_not_signalled() {
    let sandbox = fed_by("[\"sh\", \"-c\", \"echo first; sh in.sh & exit 0\"]", "", "");
    sandbox.file(
        "in.sh",
        "trap 'echo TERM >>signalled' TERM\nread -r _ <gate\necho second\nread -r _ <gate2\necho third\n",
    );
    let (gate, gate2) = (sandbox.gate("gate"), sandbox.gate("gate2"));
    let run = sandbox.launch().report_json().start();
    assert!(run.wait_for_results(1));
    gate.open();
    assert!(run.wait_for_results(2));
    gate2.open();
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["first", "second", "third"], "{outcome}");
    assert_eq!(sandbox.read("signalled"), "", "{outcome}");
    let source = source_of(&outcome);
    assert_eq!((&source["read_to_eof"], &source["failed"]), (&true.into(), &false.into()), "{outcome}");
}

/// What is left when the pipe is at its end writes no items: it is asked to leave as everywhere.
#[test]
fn members_that_have_closed_the_pipe_are_asked_to_leave() {
    let sandbox = fed_by("[\"sh\", \"-c\", \"echo first; sh in.sh >/dev/null & exit 0\"]", "", "");
    sandbox.file("in.sh", "trap 'echo TERM >>signalled; exit 0' TERM\necho up >&2\nwhile :; do sleep 0.02; done\n");
    let outcome = sandbox.launch().report_json().finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["first"], "{outcome}");
    assert_eq!(source_of(&outcome)["read_to_eof"], true, "{outcome}");
}

#[test]
fn a_bad_exit_of_the_first_process_counts_at_once() {
    let sandbox =
        fed_by("[\"sh\", \"-c\", \"echo first; sh in.sh & read -r _ <up; exit 3\"]\nstop = [\"TERM 10m\"]", "", "");
    sandbox.file(
        "in.sh",
        "trap 'echo TERM >>signalled; until [ -e failed ]; do sleep 0.02; done; exit 0' TERM\n\
         echo >up\nwhile :; do sleep 0.02; done\n",
    );
    let _up = sandbox.gate("up");
    let run = sandbox.launch().report_json().start();
    run.wait_for_line_with("source in failed: it ended with exit 3");
    sandbox.file("failed", "");
    let outcome = run.finish();
    outcome.expect_code(1);
    assert_eq!(outcome.results(), ["first"], "{outcome}");
    assert_eq!(source_of(&outcome)["failed"], true, "{outcome}");
    assert_eq!(sandbox.read("signalled"), "TERM\n", "{outcome}");
    assert!(outcome.stderr.contains("source in failed: it ended with exit 3"), "{outcome}");
}

#[test]
fn a_process_in_a_session_of_its_own_that_holds_the_pipe_is_named() {
    let sandbox = fed_by(
        "[\"sh\", \"-c\", \"echo first; setsid sh in.sh & read -r _ <up; printf 'second\\nto'; exit 0\"]",
        "",
        "",
    );
    sandbox.file("in.sh", "trap 'exit 0' TERM\necho $$ >pid\necho >up\nwhile :; do sleep 0.02; done\n");
    let _up = sandbox.gate("up");
    let outcome = sandbox.launch().report_json().finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["first", "second"], "{outcome}");
    let (source, pid) = (source_of(&outcome), sandbox.read("pid"));
    assert_eq!(source["read_to_eof"], false, "{outcome}");
    assert_eq!(source["still_open_in"]["name"], "sh", "{outcome}");
    assert_eq!(source["still_open_in"]["pid"].to_string(), pid.trim(), "{outcome}");
    assert!(outcome.stderr.contains(&format!("process {} (sh)", pid.trim())), "{outcome}");
    assert!(outcome.stderr.contains("in the middle of an item, which is not accepted: 2 bytes, \"to\""), "{outcome}");
}

/// In a stop what is left of a source gets its signals like anything else.
#[test]
fn in_a_stop_members_that_hold_the_pipe_are_asked_to_leave() {
    let sandbox = fed_by("[\"sh\", \"-c\", \"echo first; sh in.sh & read -r _ <up; exit 0\"]", "", "");
    let _up = sandbox.gate("up");
    sandbox.file(
        "in.sh",
        "trap 'echo last; echo TERM >>signalled; exit 0' TERM\necho >up\n\
         while kill -0 $PPID 2>/dev/null; do sleep 0.02; done\necho alone >&2\nwhile :; do sleep 0.02; done\n",
    );
    let run = sandbox.launch().report_json().start();
    assert!(run.wait_for_results(1));
    run.wait_for_line("alone");
    send(run.pid(), Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sandbox.read("signalled"), "TERM\n", "{outcome}");
    assert_eq!(outcome.leftovers, ["last"], "{outcome}");
}
