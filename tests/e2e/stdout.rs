//! F56, F81, F82: our own output is full, closed, or read by somebody who has had enough.

use crate::support::{
    Launch, Need, Outcome, Sandbox, children, has, numbered, pool, python, sorted, state, text, until,
};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read};

const ITEMS: usize = 4000;

/// Each result is the item and a tail of a thousand bytes, so that all together are far more than a pipe and our own
/// buffer can hold.
const VERBOSE: &str = r#"
tail=$(printf '%01000d' 7)
while IFS= read -r line <&3; do
  item=${line#* }
  [ "$item" = item-150 ] && echo 'many are done' >&2
  echo "ok ${line%% *} $item $tail" >&4
done
"#;

fn verbose() -> Sandbox {
    let worker = "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nprefetch = 8\nresults = \"stdout\"";
    let sandbox = Sandbox::new(&pool("size = 100", worker));
    sandbox.file("w.sh", VERBOSE);
    sandbox.file("items", &text(&numbered(ITEMS)));
    sandbox
}

/// The items of all results that were written whole, and of all leftovers: each item once.
fn assert_all_accounted_for(written: &[u8], outcome: &Outcome) {
    let written = String::from_utf8_lossy(written);
    let whole = written.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let done: Vec<&str> = whole.map(|line| line.split(' ').next().unwrap()).collect();
    assert!(!done.is_empty() && !outcome.leftovers.is_empty(), "{} done\n{outcome}", done.len());
    let left = outcome.leftovers.iter().map(String::as_str);
    let all = sorted(done.into_iter().chain(left));
    let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    assert!(twice.is_empty(), "written and left over: {twice:?}\n{outcome}");
    assert_eq!(all, sorted(numbered(ITEMS)), "{outcome}");
}

/// Nobody reads our stdout: results that could not be written are results of items that are not settled.
#[test]
fn f81_a_full_stdout_does_not_hold_up_a_stop_and_loses_nothing() {
    let sandbox = verbose();
    let mut run = sandbox.launch().report_json().stdin_file("items").stdout_unread().start();
    run.wait_for_line("many are done");
    run.signal(Signal::SIGTERM);
    let mut pipe = run.stdout_pipe.take().unwrap();
    let outcome = run.finish();
    let mut written = Vec::new();
    pipe.read_to_end(&mut written).unwrap();
    outcome.expect_code(75);
    assert_all_accounted_for(&written, &outcome);
}

/// Nobody reads our stderr either, and it is full: our own messages are dropped, and the stop is not held up.
#[test]
fn f81_a_full_stderr_holds_up_neither_work_nor_stop() {
    full_stderr("");
}

/// A stop without an event gives an item no time: that is said before anything is started.
#[test]
fn f81_a_full_stderr_does_not_hold_up_a_start_with_warnings() {
    full_stderr("stop = [\"TERM 2s\"]");
}

/// Starts what follows it with a stderr that is a full pipe, held open by somebody who never reads.
pub const FULL_STDERR: &str = r#"
import os, sys
reader, writer = os.pipe()
os.set_blocking(writer, False)
for size in (4096, 1):
    try:
        while True:
            os.write(writer, b"x" * size)
    except BlockingIOError:
        pass
os.set_blocking(writer, True)
os.dup2(reader, 20)
os.dup2(writer, 2)
if os.fork() == 0:
    os.closerange(0, 3)
    os.execvp("sleep", ["sleep", "1000"])
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn full_stderr(keys: &str) {
    if !has(Need::Python) {
        return;
    }
    let sandbox = Sandbox::new(&pool("", &format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{keys}")));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    let launch = sandbox.launch().under(&[python().unwrap(), "-c", FULL_STDERR]);
    let mut run = launch.arguments(&["run", "--log-level", "trace"]).stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"a\nb\n").unwrap();
    assert!(run.wait_for_results(2));
    run.signal(Signal::SIGTERM);
    // The reader that does not read was there before us, and stays.
    run.finish_alone().expect_code(0);
}

/// With the threads that write, where no more processes may be had, and where threads are forbidden.
const THREADS: [fn(Launch) -> Launch; 3] =
    [|launch| launch, |launch| launch.refusing_threads(libc::EAGAIN), |launch| launch.refusing_threads(libc::EPERM)];

/// Unfinished items that have no other place wait for somebody to read them, but no longer than the whole stop may take.
#[test]
fn f81_leftovers_for_a_full_stderr_hold_up_a_stop_no_longer_than_its_budget() {
    if !has(Need::Python) {
        return;
    }
    let config = "[supervisor]\ncgroup = \"off\"\nstop-budget = \"1s\"\n[queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"read -r line <&3; echo $line >got; exec sleep 1000\"]\n";
    for threads in THREADS {
        let sandbox = Sandbox::new(config);
        let launch = threads(sandbox.launch()).under(&[python().unwrap(), "-c", FULL_STDERR]);
        let run = launch.stdin_items(&["a"]).start();
        sandbox.wait_for_line("got", "a");
        run.signal(Signal::SIGTERM);
        run.finish_alone().expect_code(75);
    }
}

/// Without a budget they wait for a reader, and a person who presses Ctrl+C once more says that there will be none.
#[test]
fn f50_f81_leftovers_for_a_full_stderr_wait_until_the_next_int() {
    if !has(Need::Python) {
        return;
    }
    let config = "[supervisor]\ncgroup = \"off\"\n[queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"read -r line <&3; echo $line >got; read -r line <&5; echo bye >gone\"]\n";
    for threads in THREADS {
        let sandbox = Sandbox::new(config);
        let launch = threads(sandbox.launch()).under(&[python().unwrap(), "-c", FULL_STDERR]);
        let run = launch.stdin_items(&["a"]).start();
        sandbox.wait_for_line("got", "a");
        run.signal(Signal::SIGINT);
        sandbox.wait_for_line("gone", "bye");
        // The one that is left holds the pipe's other end.
        until("the worker to be reaped", || (children(run.pid()).len() == 1).then_some(()));
        // Our own last words are waited for a second.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(!matches!(state(run.pid()), None | Some('Z')), "it left, and nobody has the item");
        until("exeunt to leave", || {
            run.signal(Signal::SIGINT);
            matches!(state(run.pid()), None | Some('Z')).then_some(())
        });
        run.finish_alone().expect_code(75);
    }
}

/// Reads what follows it says on stderr, but not before there is a file `go`, into a file `heard`.
const LATE_READER: &str = r#"
import os, sys, time
reader, writer = os.pipe()
if os.fork() == 0:
    os.close(writer)
    os.closerange(0, 3)
    while not os.path.exists("go"):
        time.sleep(0.01)
    heard = os.open("heard", os.O_WRONLY | os.O_CREAT, 0o644)
    while part := os.read(reader, 8192):
        os.write(heard, part)
    os._exit(0)
os.close(reader)
os.dup2(writer, 2)
os.close(writer)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// The same where somebody reads in the end: more items than a pipe holds, long ones among them, and not a byte is missing.
#[test]
fn f50_f81_f91_leftovers_for_a_slow_stderr_come_whole_without_a_thread_too() {
    if !has(Need::Python) {
        return;
    }
    let config = "[supervisor]\ncgroup = \"off\"\n[queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"read -r line <&3; echo $line >got; read -r line <&5; echo bye >gone\"]\n";
    let items: Vec<String> = (0..300).map(|n| format!("item-{n}-{}", "x".repeat(n * 7 % 9000))).collect();
    for threads in THREADS {
        let sandbox = Sandbox::new(config);
        sandbox.file("items", &text(&items));
        let launch = threads(sandbox.launch()).under(&[python().unwrap(), "-c", LATE_READER]);
        let run = launch.stdin_file("items").start();
        sandbox.wait_for_line("got", "item-0");
        let place = format!("pos:\t{}\n", sandbox.read("items").len());
        let position = || std::fs::read_to_string(format!("/proc/{}/fdinfo/0", run.pid())).unwrap();
        until("stdin to be read", || position().contains(&place).then_some(()));
        run.signal(Signal::SIGINT);
        sandbox.wait_for_line("gone", "bye");
        until("the worker to be reaped", || (children(run.pid()).len() == 1).then_some(()));
        sandbox.file("go", "");
        let outcome = run.finish_alone();
        outcome.expect_code(75);
        until("the reader to hear it all", || sandbox.read("heard").contains("exit code 75").then_some(()));
        let heard = sandbox.read("heard");
        let told = heard.lines().filter(|line| line.starts_with('{'));
        let told: Vec<serde_json::Value> = told.map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<&str> = told.iter().map(|letter| letter["item"].as_str().unwrap()).collect();
        // The first was in hand: it came back last.
        assert!(told.iter().eq(items[1..].iter().chain(&items[..1])), "{} items\n{outcome}", told.len());
    }
}

/// A dead letter has no other place either: a reader who is slow, and slower than we are patient with our own words, gets it.
#[test]
fn f50_f81_dead_letters_for_a_full_stderr_wait_until_the_next_int() {
    if !has(Need::Python) {
        return;
    }
    // The second has a file that cannot be made.
    for keys in ["", "leftovers = \"nowhere/left.txt\"\n"] {
        let config =
            "[source.in]\nqueue = \"q\"\nstdin = true\n[worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\n";
        let sandbox = Sandbox::new(&format!("[queue.q]\n{keys}{config}"));
        sandbox.file("w.sh", "read -r line <&3; echo fail ${line%% *} >&4; read -r line <&5; echo bye >gone\n");
        let run = sandbox.launch().under(&[python().unwrap(), "-c", FULL_STDERR]).stdin_items(&["a"]).start();
        sandbox.wait_for_line("gone", "bye");
        until("the worker to be reaped", || (children(run.pid()).len() == 1).then_some(()));
        // Our own last words are waited for a second.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(!matches!(state(run.pid()), None | Some('Z')), "it left, and nobody has the letter");
        until("exeunt to leave", || {
            run.signal(Signal::SIGINT);
            matches!(state(run.pid()), None | Some('Z')).then_some(())
        });
        run.finish_alone().expect_code(65);
    }
}

/// Dead letters that nobody reads are not heaped up in our memory: their source is held up as by a full queue.
#[test]
fn f81_dead_letters_for_a_full_stderr_hold_up_their_source() {
    if !has(Need::Python) {
        return;
    }
    let config = "[queue.q]\nsize = 1\non-full = \"reject\"\n\
        [source.in]\nqueue = \"q\"\ncommand = [\"sh\", \"in.sh\"]\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sleep\", \"1000\"]\n";
    let sandbox = Sandbox::new(config);
    let source = "line=$(printf '%010000d' 7); n=0\n\
        while [ $n -lt 2000 ]; do n=$((n + 1)); echo \"$line\"; echo $n >>written; done\n";
    sandbox.file("in.sh", source);
    let run = sandbox.launch().under(&[python().unwrap(), "-c", FULL_STDERR]).start();
    let written = || sandbox.lines("written").len();
    until("the source to be held up", || {
        let before = written();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (before > 100 && written() == before).then_some(())
    });
    // A megabyte of letters, a pipe and a read of ours.
    assert!(written() < 400, "{} of 2000 items were read and none of their letters", written());
    drop(run);
}

/// `exeunt run | head -1`: what cannot be written is a stop, and what was not written is a leftover.
#[test]
fn f82_a_pipeline_that_closes_early_stops_the_run_and_keeps_the_rest() {
    let sandbox = verbose();
    let mut run = sandbox.launch().report_json().stdin_file("items").stdout_unread().start();
    let mut reader = BufReader::with_capacity(4096, run.stdout_pipe.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let outcome = run.finish();
    outcome.expect_code(75);
    let item = first.split(' ').next().unwrap().to_owned();
    assert!(!outcome.leftovers.contains(&item), "{item} was done\n{outcome}");
    let mut left = sorted(&outcome.leftovers);
    left.dedup();
    assert_eq!(left.len(), outcome.leftovers.len(), "no item is left over twice");
    assert!(outcome.leftovers.contains(&format!("item-{ITEMS}")), "the file of stdin was read to its end");
    // A pipe and our buffers may have taken some more results before the reader went.
    assert!(outcome.leftovers.len() > ITEMS - 1500, "{outcome}");
    assert_eq!(outcome.count("done") + outcome.leftovers.len() as u64, ITEMS as u64, "{outcome}");
}

/// The same by the shell, as people write it.
#[test]
fn f82_head_takes_one_line_and_the_run_ends_with_75() {
    let sandbox = verbose();
    let script = "{ \"$@\" <items; echo $? >code; } | head -1 | cut -c1-6";
    let outcome = sandbox.launch().under(&["sh", "-c", script, "sh"]).finish();
    assert!(outcome.stdout.starts_with("item-"), "{outcome}");
    assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
}

/// Our messages go nowhere, for the reader of stderr has left: that is no reason to stop.
#[test]
fn f56_f82_a_stderr_without_a_reader_is_no_reason_to_stop() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    let script = "{ \"$@\" <items 3>&- 2>&1 >results; echo $? >code; } | :";
    sandbox.file("items", &text(&numbered(50)));
    sandbox.launch().arguments(&["run", "--log-level", "trace"]).under(&["sh", "-c", script, "sh"]).finish();
    assert_eq!(sandbox.read("code"), "0\n");
    assert_eq!(sandbox.lines("results"), numbered(50));
}

#[test]
fn results_on_stdout_are_not_mixed_with_what_workers_print() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do echo 'stray print'; echo \"ok ${line%% *} ${line#* }\" >&4; done\n",
    );
    let outcome = sandbox.launch().stdin_items(&numbered(3)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(3), "{outcome}");
    assert_eq!(outcome.stderr.matches("stray print").count(), 3, "{outcome}");
}

/// The flag belongs to the open file, and so to everybody who shares it.
#[test]
fn our_0_1_and_2_are_never_made_non_blocking() {
    let flags = "while IFS= read -r line <&3; do grep flags /proc/$PPID/fdinfo/[012] >flags; echo \"ok ${line%% *}\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]"));
    sandbox.file("w.sh", flags);
    sandbox.launch().stdin_items(&["a"]).finish().expect_code(0);
    let lines = sandbox.lines("flags");
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        let flags = u32::from_str_radix(line.split_whitespace().last().unwrap(), 8).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK as u32, 0, "{line}");
    }
}
