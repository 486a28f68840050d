//! Where results go: files on a full disk, files of several writers, FIFOs without a reader and with one that does not read.

use crate::idle::assert_a_quiet_span;
use crate::support::{Launch, Need, Outcome, Sandbox, has, numbered, pool, runs, sorted, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};

/// The result of `a` is `result-of-a`: twelve bytes with its line feed.
const RESULTS: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} result-of-${line#* }\" >&4; done\n";

fn to(target: &str) -> Sandbox {
    let keys = format!("command = [\"sh\", \"w.sh\"]\nresults = \"file:{target}\"\nstop = [\"event 20s\"]");
    let sandbox = Sandbox::new(&format!("[supervisor]\ncgroup = \"off\"\n{}", pool("", &keys)));
    sandbox.file("w.sh", RESULTS);
    sandbox
}

fn mkfifo(sandbox: &Sandbox, name: &str) {
    assert!(runs(&["mkfifo", sandbox.path(name).to_str().unwrap()]));
}

/// Each item is either done, with a whole line in the file, or left over.
fn assert_each_once(outcome: &Outcome, results: &[String], items: &[String]) {
    let done = results.iter().map(|line| line.strip_prefix("result-of-").expect("a whole result").to_owned());
    let all: Vec<String> = done.chain(outcome.leftovers.iter().cloned()).collect();
    assert_eq!(sorted(&all), sorted(items), "{outcome}");
}

/// A limit on the size of files: no half result stays, and the next run goes on with whole lines.
#[test]
fn f84_results_that_do_not_fit_leave_no_half_line() {
    let sandbox = to("out.txt");
    let items: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let outcome = sandbox.launch().under(&["prlimit", "--fsize=20"]).stdin_items(&items).finish();
    outcome.expect_code(75);
    assert_eq!(sandbox.read("out.txt"), "result-of-a\n", "{outcome}");
    assert_each_once(&outcome, &sandbox.lines("out.txt"), &items);
    assert!(outcome.stderr.contains("results cannot be written to"), "{outcome}");
    let again = sandbox.launch().stdin_file("left.txt").finish();
    again.expect_code(0);
    assert_eq!(sandbox.lines("out.txt"), ["result-of-a", "result-of-b", "result-of-c"], "{again}");
    assert!(!sandbox.exists("left.txt"), "{again}");
}

/// The same with our stdout, which a shell has opened.
#[test]
fn f84_half_a_result_is_taken_back_from_a_stdout_that_is_a_file() {
    for redirection in [">", ">>"] {
        let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
        sandbox.file("w.sh", RESULTS);
        let script = format!("prlimit --fsize=20 \"$@\" {redirection} out.txt; echo $? >code; echo next >>out.txt");
        let items: Vec<String> = ["a", "b"].map(str::to_owned).into();
        let outcome = sandbox.launch().under(&["sh", "-c", &script, "sh"]).stdin_items(&items).finish();
        assert_eq!(sandbox.read("out.txt"), "result-of-a\nnext\n", "{outcome}");
        assert_eq!(sandbox.read("code"), "75\n", "{outcome}");
        assert_eq!(outcome.leftovers, ["b"], "{outcome}");
    }
}

/// A file system that is full, in the middle of a result. The leftovers are elsewhere.
#[test]
fn f76_results_on_a_full_disk_leave_no_half_line() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = to("small/out.txt");
    std::fs::create_dir(sandbox.path("small")).unwrap();
    let items: Vec<String> = (0..2000).map(|n| format!("{n}-{}", "x".repeat(n % 90))).collect();
    sandbox.file("items", &crate::support::text(&items));
    let script = "mount -t tmpfs -o size=16k none small && \"$@\" <items; code=$?; cp small/out.txt kept; rm small/out.txt; \
        cp kept small/again; exit $code";
    let outcome = sandbox.launch().under(&["unshare", "--mount", "sh", "-c", script, "sh"]).finish();
    outcome.expect_code(75);
    let kept = sandbox.read("kept");
    assert!(kept.ends_with('\n') && kept.len() > 15_000, "{} bytes\n{outcome}", kept.len());
    assert_each_once(&outcome, &sandbox.lines("kept"), &items);
}

/// A writer that was killed in the middle of a line: only its own line is spoilt.
#[test]
fn f84_a_torn_result_of_an_earlier_run_is_closed_off() {
    let sandbox = to("out.txt");
    sandbox.file("out.txt", "result-of-x\nresult-o");
    sandbox.launch().stdin_items(&["b", "c"]).finish().expect_code(0);
    assert_eq!(sandbox.lines("out.txt"), ["result-of-x", "result-o", "result-of-b", "result-of-c"]);
}

/// A second writer lives, and has written half of its line when our first result comes: we wait for it.
#[test]
fn f85_the_half_written_line_of_another_writer_is_not_cut() {
    let sandbox = to("out.txt");
    let mut theirs = OpenOptions::new().append(true).create(true).open(sandbox.path("out.txt")).unwrap();
    theirs.lock().unwrap();
    theirs.write_all(b"their ").unwrap();
    let run = sandbox.launch().stdin_items(&["a"]).start();
    // What waits for a lock asks for it again and again.
    until("the result to wait for the lock", || has_thread(run.pid(), "results").then_some(()));
    theirs.write_all(b"line\n").unwrap();
    theirs.unlock().unwrap();
    run.finish().expect_code(0);
    assert_eq!(sandbox.read("out.txt"), "their line\nresult-of-a\n");
}

fn has_thread(pid: i32, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.any(|found| found.trim() == name)
}

/// Two runs write long results to one file at the same time, and every line is whole.
#[test]
fn two_runs_share_a_results_file() {
    let long = "while IFS= read -r line <&3; do echo \"ok ${line%% *} $(printf '%03000d' 7)-${line#* }\" >&4; done\n";
    let sandboxes = [to("out.txt"), to("out.txt")];
    let shared = sandboxes[0].path("out.txt");
    std::os::unix::fs::symlink(&shared, sandboxes[1].path("out.txt")).unwrap();
    let started = sandboxes.each_ref().map(|sandbox| {
        sandbox.file("w.sh", long);
        sandbox.launch().stdin_items(&numbered(100)).start()
    });
    started.into_iter().for_each(|run| _ = run.finish().expect_code(0));
    let lines = sandboxes[0].lines("out.txt");
    assert_eq!(lines.len(), 200);
    let expected: Vec<String> = numbered(100).iter().map(|item| format!("{:03000}-{item}", 7)).collect();
    assert_eq!(sorted(lines), sorted(expected.iter().chain(&expected)));
}

/// A dead letter that does not fit is on stderr, and no half of it is in the file.
#[test]
fn f84_a_dead_letter_that_does_not_fit_leaves_no_half_line() {
    let sandbox = to("out.txt");
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *}\" >&4; done\n");
    let outcome = sandbox.launch().under(&["prlimit", "--fsize=200"]).report_json().stdin_items(&numbered(3)).finish();
    outcome.expect_code(65);
    assert_eq!(outcome.dead.len(), 1, "{outcome}");
    assert_eq!(outcome.count("dead_on_stderr"), 2, "{outcome}");
    let told = outcome.stderr.lines().filter(|line| line.starts_with('{') && line.contains("\"reason\":\"failed\""));
    // The report repeats all three.
    assert_eq!(told.filter(|line| !line.contains("queues")).count(), 2, "{outcome}");
}

/// With a thread that writes, and where threads are forbidden: then the loop writes, and must not wait for a reader.
const THREADS: [fn(Launch) -> Launch; 2] = [|launch| launch, |launch| launch.refusing_threads(libc::EPERM)];

/// It is said once, and a stop does not wait: the items are not done.
#[test]
fn f83_a_fifo_without_a_reader_takes_no_result_and_holds_up_no_stop() {
    for threads in THREADS {
        let sandbox = to("fifo");
        mkfifo(&sandbox, "fifo");
        let mut run = threads(sandbox.launch()).report_json().stdin_pipe().start();
        run.feed(&["a", "b"]);
        run.wait_for_words("results wait: no process has opened the FIFO", 1);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!(sorted(&outcome.leftovers), ["a", "b"], "{outcome}");
        assert_eq!(outcome.count("done"), 0, "{outcome}");
        assert_eq!(outcome.stderr.matches("results wait").count(), 1, "{outcome}");
        let words = "results of worker w were not written, so their items are unfinished: 2\n";
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
}

/// A reader that comes late gets everything, and the run, whose work was done, ends by itself.
#[test]
fn f83_a_fifo_that_gets_its_reader_late_gets_every_result() {
    for threads in THREADS {
        let sandbox = to("fifo");
        mkfifo(&sandbox, "fifo");
        let run = threads(sandbox.launch()).stdin_items(&["a", "b", "c"]).start();
        run.wait_for_words("results wait: no process has opened the FIFO", 1);
        let mut results = String::new();
        File::open(sandbox.path("fifo")).unwrap().read_to_string(&mut results).unwrap();
        assert_eq!(results, "result-of-a\nresult-of-b\nresult-of-c\n");
        run.finish().expect_code(0);
    }
}

/// Once it is open, nothing looks at it any more.
#[test]
fn f31_a_fifo_with_a_reader_costs_no_wake_up() {
    let sandbox = to("fifo");
    mkfifo(&sandbox, "fifo");
    let mut run = sandbox.launch().stdin_pipe().start();
    run.feed(&["a"]);
    run.wait_for_words("results wait", 1);
    let mut reader = File::open(sandbox.path("fifo")).unwrap();
    let mut first = [0; 12];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"result-of-a\n");
    assert_a_quiet_span(run.pid());
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// The reader is there and does not read. What it could get is whole lines, and the rest is left over; a budget of 1 s ends
/// that as a matter of course, and without one a stop does.
#[test]
fn f81_a_fifo_whose_reader_does_not_read_holds_up_no_stop() {
    for (threads, budget) in
        THREADS.into_iter().flat_map(|threads| [(threads, ""), (threads, "stop-budget = \"1s\"\n")])
    {
        let sandbox = to("fifo");
        sandbox
            .config(&sandbox.read("exeunt.toml").replace("cgroup = \"off\"\n", &format!("cgroup = \"off\"\n{budget}")));
        mkfifo(&sandbox, "fifo");
        let items: Vec<String> = (0..400).map(|n| format!("{n}-{}", "x".repeat(500))).collect();
        sandbox.file("items", &crate::support::text(&items));
        let mut reader = OpenOptions::new().read(true).write(true).open(sandbox.path("fifo")).unwrap();
        let run = threads(sandbox.launch()).stdin_file("items").start();
        until("the FIFO to be full", || is_full(&reader).then_some(()));
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        let results = drain(&mut reader);
        assert!(results.len() > 50, "{} results\n{outcome}", results.len());
        assert_each_once(&outcome, &results, &items);
    }
}

/// The FIFO has no room for a page.
fn is_full(fifo: &File) -> bool {
    let mut asked = [PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO).unwrap() == 0
}

/// How many bytes are in the FIFO and were not read.
pub fn unread(fifo: &impl AsRawFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer.
    let told = unsafe { libc::ioctl(fifo.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    assert_eq!(told, 0);
    usize::try_from(count).unwrap()
}

/// The lines that are in the FIFO now.
fn drain(fifo: &mut File) -> Vec<String> {
    let mut bytes = vec![0; unread(fifo)];
    fifo.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

/// The reader leaves: that is a stop, as with a pipe on stdout.
#[test]
fn f82_a_fifo_whose_reader_leaves_stops_the_run() {
    let sandbox = to("fifo");
    mkfifo(&sandbox, "fifo");
    let mut run = sandbox.launch().stdin_pipe().start();
    let reader = OpenOptions::new().read(true).write(true).open(sandbox.path("fifo")).unwrap();
    run.feed(&["a"]);
    until("the result", || (unread(&reader) == 12).then_some(()));
    drop(reader);
    run.feed(&["b"]);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.leftovers, ["b"], "{outcome}");
}

/// What keeps nothing, or is no place for lines, is refused with the first result. A device that is full is a closed target.
#[test]
fn f83_results_go_to_files_fifos_and_character_devices_only() {
    let sandbox = to("directory");
    std::fs::create_dir(sandbox.path("directory")).unwrap();
    let refused = sandbox.launch().stdin_items(&["a"]).finish();
    assert_eq!((refused.code, refused.leftovers.clone()), (75, vec!["a".to_owned()]), "{refused}");
    let full = to("/dev/full");
    let outcome = full.launch().stdin_items(&["a"]).finish();
    assert_eq!((outcome.code, outcome.leftovers.clone()), (75, vec!["a".to_owned()]), "{outcome}");
    assert!(outcome.stderr.contains("/dev/full: No space left on device"), "{outcome}");
    to("/dev/null").launch().stdin_items(&["a"]).finish().expect_code(0);
    let socket = to("socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket.path("socket")).unwrap();
    let outcome = socket.launch().stdin_items(&["a"]).finish();
    assert_eq!((outcome.code, outcome.leftovers.clone()), (75, vec!["a".to_owned()]), "{outcome}");
}
