//! The leftovers file: several runs that share it, its order, its mode, and a KILL at any moment.

use crate::support::{Launch, Need, Run, Sandbox, has, numbered, pool, sorted, text, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Reads one item and holds it until it is told to leave.
const HOLDS: &str = "read -r line <&3; echo holding >&2; read -r _ <&5; exit 0\n";

fn holding(queue: &str) -> String {
    pool(&format!("size = 5000\n{queue}"), "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]")
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.directory()).expect("the directory is there");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    sorted(names.filter(|name| name.contains("left.txt")))
}

/// `count` items that begin with this letter, all accepted, one of them held.
fn run_with<'a>(sandbox: &'a Sandbox, letter: &str, count: usize) -> Run<'a> {
    let items: Vec<String> = numbered(count).iter().map(|item| format!("{letter}{item}")).collect();
    let launch = sandbox.launch().arguments(&["run", "--report", "json", "--log-level", "info"]);
    let run = launch.stdin_items(&items).start();
    run.wait_for_line("holding");
    run.wait_for_words(&format!("source in is at its end: {count} items"), 1);
    run
}

#[test]
fn leftovers_from_ten_runs_are_all_kept() {
    for _round in 0..20 {
        let sandbox = Sandbox::new(&holding(""));
        sandbox.file("w.sh", HOLDS);
        let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let runs: Vec<Run> = letters.iter().map(|letter| run_with(&sandbox, letter, 1000)).collect();
        runs.iter().for_each(|run| run.signal(Signal::SIGTERM));
        for run in runs {
            let outcome = run.finish_alone();
            outcome.expect_code(75);
            assert_eq!(outcome.count("handed_back"), 1000, "{outcome}");
        }
        let files = names(&sandbox).into_iter().filter(|name| !name.starts_with('.'));
        let all = sorted(files.flat_map(|name| sandbox.lines(&name)));
        let wanted =
            letters.iter().flat_map(|letter| numbered(1000).into_iter().map(move |item| format!("{letter}{item}")));
        assert!(all == sorted(wanted), "each item of each run once, not {} lines: {:?}", all.len(), names(&sandbox));
    }
}

#[test]
fn a_run_that_reads_the_leftovers_keeps_what_another_run_adds() {
    let worker = "while IFS= read -r line <&3; do [ -p gate ] && { echo holding >&2; read -r _ <gate; }\n\
                  echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file("w.sh", worker);
    sandbox.file("left.txt", "a1\na2\n");
    let gate = sandbox.gate("gate");
    let reader = sandbox.launch().arguments(&["run", "--log-level", "info"]).stdin_file("left.txt").start();
    reader.wait_for_line("holding");
    reader.wait_for_words("source in is at its end: 2 items", 1);
    let other = Sandbox::new(&holding("").replace("left.txt", sandbox.path("left.txt").to_str().expect("UTF-8")));
    other.file("w.sh", HOLDS);
    let run = run_with(&other, "b", 50);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(75);
    gate.open();
    reader.finish().expect_code(0);
    assert_eq!(sandbox.lines("done.txt"), ["a1", "a2"]);
    let wanted: Vec<String> = numbered(50).iter().map(|item| format!("b{item}")).collect();
    // What is being read is not put in order.
    assert_eq!(sorted(sandbox.lines("left.txt")), sorted(wanted));
    // Fed in and done, they are gone, and so is the file.
    sandbox.launch().stdin_file("left.txt").start().finish().expect_code(0);
    assert_eq!(names(&sandbox), [""; 0]);
}

/// Another run is just appending: what it has written of an item so far is no item.
#[test]
fn half_an_item_of_a_run_that_is_appending_is_left_to_be_read_later() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\""));
    sandbox.file("w.sh", &format!("read -r _ <gate\n{ECHOES}"));
    let gate = sandbox.gate("gate");
    sandbox.file("left.txt", "old\nhal");
    let writer = fs::File::create(sandbox.path(".left.txt.lock")).expect("the directory is ours");
    writer.lock().expect("nobody else has it");
    let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).stdin_file("left.txt").start();
    run.wait_for_words("source in is at its end: 1 item", 1);
    let mut left = fs::OpenOptions::new().append(true).open(sandbox.path("left.txt")).expect("it is there");
    std::io::Write::write_all(&mut left, b"f\n").expect("there is room");
    writer.unlock().expect("it is ours");
    gate.open();
    run.finish().expect_code(0);
    assert_eq!((sandbox.read("done.txt"), sandbox.read("left.txt")), ("old\n".into(), "half\n".into()));
}

/// The worker reads one item of three that it was given; the others wait in its pipe and in the queue.
#[test]
fn a_stop_leaves_items_in_the_order_of_acceptance() {
    let worker = "command = [\"sh\", \"w.sh\"]\nprefetch = 3\nstop = [\"event 20s\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file("w.sh", HOLDS);
    sandbox.file("left.txt", "from before\n");
    let inode = fs::metadata(sandbox.path("left.txt")).expect("it is there").ino();
    let run = run_with(&sandbox, "", 20);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    let mut wanted = vec!["from before".to_owned()];
    wanted.extend(numbered(20));
    assert_eq!(sandbox.lines("left.txt"), wanted, "{outcome}");
    assert_eq!(fs::metadata(sandbox.path("left.txt")).expect("it is there").ino(), inode, "it was appended to");
    assert_eq!(names(&sandbox), [".left.txt.lock", "left.txt"]);
}

#[test]
fn a_kill_in_mid_stop_leaves_what_was_handed_back_in_the_file() {
    let worker = "command = [\"sh\", \"w.sh\"]\nstop = [\"event 60s\"]\nparent-death-signal = \"KILL\"";
    let sandbox = Sandbox::new(&pool("size = 5000", worker));
    sandbox.file("w.sh", "read -r line <&3; echo holding >&2; read -r _ <&5; echo staying >&2; exec sleep 1000\n");
    let run = run_with(&sandbox, "", 1000);
    run.signal(Signal::SIGTERM);
    run.wait_for_line("staying");
    until("all items that waited", || (sandbox.lines("left.txt").len() == 999).then_some(()));
    run.signal(Signal::SIGKILL);
    run.finish();
    assert_eq!(sandbox.lines("left.txt"), numbered(1000)[1..]);
    assert_eq!(names(&sandbox), [".left.txt.lock", "left.txt"]);
}

/// strace kills exeunt at the Nth system call that changes or locks a file, for every N until it lives through the stop. The
/// next start takes in what the killed one left. `judge` sees the leftovers then, and whether the stop was lived through.
fn killed_at_each_system_call(
    before: &str,
    feed: for<'a> fn(Launch<'a>) -> Launch<'a>,
    judge: impl Fn(&[String], bool),
) {
    let (mut killed, mut survived) = (0, 0);
    for number in 1..100 {
        let worker =
            "command = [\"sh\", \"w.sh\"]\nprefetch = 3\nstop = [\"event 20s\"]\nparent-death-signal = \"KILL\"";
        let sandbox = Sandbox::new(&pool("", worker));
        sandbox.file("w.sh", "read -r line <&3; kill -TERM $PPID; read -r _ <&5; exit 0\n");
        sandbox.file("left.txt", before);
        sandbox.file("number", &number.to_string());
        let lived = feed(under_strace(&sandbox)).finish().code == 75;
        sandbox.launch().start().finish();
        judge(&sandbox.lines("left.txt"), lived);
        assert!(names(&sandbox).iter().all(|name| !name.contains(".exeunt-")), "call {number}: {:?}", names(&sandbox));
        if lived {
            survived += 1;
        } else {
            killed += 1;
        }
        if survived == 2 {
            break;
        }
    }
    assert!(survived == 2 && killed >= 5, "killed {killed} times, and not killed {survived} times");
}

fn under_strace(sandbox: &Sandbox) -> Launch<'_> {
    const CALLS: &str = "flock,pwrite64,fsync,ftruncate,fchmod,?rename,?renameat,?renameat2,?unlink,?unlinkat";
    let inject = format!("inject={CALLS}:signal=KILL:when={}", sandbox.read("number"));
    let trace = format!("trace={CALLS}");
    sandbox.launch().under(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])
}

#[test]
fn a_kill_at_any_call_while_leftovers_are_fed_in_loses_and_doubles_nothing() {
    if !has(Need::Strace) {
        return;
    }
    let all = numbered(20);
    killed_at_each_system_call(&text(&all), |launch| launch.stdin_file("left.txt"), |lines, _| assert_eq!(lines, all));
}

#[test]
fn a_kill_at_any_call_while_leftovers_are_appended_spoils_and_doubles_nothing() {
    if !has(Need::Strace) {
        return;
    }
    killed_at_each_system_call(
        "old\n",
        |launch| launch.stdin_items(&numbered(20)),
        |lines, lived| {
            let ours = lines.strip_prefix(&["old".to_owned()]).expect("what was there is still there");
            let known = numbered(20);
            assert!(ours.iter().all(|item| known.contains(item)), "{lines:?}");
            let mut once = ours.to_vec();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), ours.len(), "{lines:?}");
            assert!(!lived || ours == known, "{lines:?}");
            // Those that waited are there from the first append on.
            assert!(ours.is_empty() || once.len() >= 17, "{lines:?}");
        },
    );
}

/// A file system without locks.
#[test]
fn where_there_are_no_locks_items_go_to_a_numbered_file_which_is_said() {
    for errno in [nix::errno::Errno::ENOLCK, nix::errno::Errno::EOPNOTSUPP, nix::errno::Errno::EBADF] {
        let sandbox = Sandbox::new(&holding(""));
        sandbox.file("w.sh", HOLDS);
        sandbox.file("left.txt", "old\n");
        sandbox.file("left.txt.1", "older\n");
        let launch = sandbox.launch().arguments(&["run", "--report", "json", "--log-level", "info"]);
        let run = launch.refusing_locks(errno as i32).stdin_items(&numbered(5)).start();
        run.wait_for_line("holding");
        run.wait_for_words("source in is at its end: 5 items", 1);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!((sandbox.read("left.txt"), sandbox.read("left.txt.1")), ("old\n".into(), "older\n".into()));
        assert_eq!(sorted(sandbox.lines("left.txt.2")), sorted(numbered(5)), "{outcome}");
        assert!(outcome.stderr.contains("unfinished items of queue q go to"), "{outcome}");
        let left = &outcome.report()["leftovers"][0];
        assert!(left["files"][0]["path"].as_str().is_some_and(|path| path.ends_with("left.txt.2")), "{outcome}");
        assert_eq!(left["files"][0]["items"], 5, "{outcome}");
    }
}

/// A process that has the lock and hangs.
#[test]
fn a_lock_that_is_held_for_long_does_not_hold_up_the_stop() {
    let sandbox = Sandbox::new(&holding(""));
    sandbox.file("w.sh", HOLDS);
    let held = fs::File::create(sandbox.path(".left.txt.lock")).expect("the directory is ours");
    held.lock().expect("nobody else has it");
    let run = run_with(&sandbox, "", 5);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(sandbox.lines("left.txt.1")), sorted(numbered(5)), "{outcome}");
    assert!(!sandbox.exists("left.txt"));
}

#[test]
fn leftovers_are_private_whatever_the_umask_and_keep_their_mode() {
    for (umask, before, after) in [("000", None, 0o600), ("777", None, 0o600), ("077", Some(0o664), 0o664)] {
        let sandbox = Sandbox::new(&holding(""));
        sandbox.file("w.sh", HOLDS);
        if let Some(mode) = before {
            sandbox.file("left.txt", "old\n");
            fs::set_permissions(sandbox.path("left.txt"), fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let script = format!("umask {umask}; exec \"$@\"");
        let launch = sandbox.launch().arguments(&["run", "--log-level", "info"]);
        let run = launch.under(&["sh", "-c", &script, "sh"]).stdin_items(&numbered(3)).start();
        run.wait_for_line("holding");
        run.wait_for_words("source in is at its end: 3 items", 1);
        run.signal(Signal::SIGTERM);
        run.finish().expect_code(75);
        let mode = fs::metadata(sandbox.path("left.txt")).expect("it is there").mode();
        assert_eq!(mode & 0o7777, after, "umask {umask}");
    }
}

/// Half an item fits on the disk, and none of it stays.
#[test]
fn f84_what_a_full_disk_takes_of_an_item_is_taken_back() {
    let sandbox = Sandbox::new(&holding(""));
    sandbox.file("w.sh", HOLDS);
    let items = ["aaaaaaaaa", "bbbbbbbbb", "ccccccccc", "ddddddddd"];
    let launch = sandbox.launch().arguments(&["run", "--report", "json", "--log-level", "info"]);
    let run = launch.under(&["prlimit", "--fsize=25", "--"]).stdin_items(&items).start();
    run.wait_for_line("holding");
    run.wait_for_words("source in is at its end: 4 items", 1);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sandbox.read("left.txt"), "bbbbbbbbb\nccccccccc\n", "{outcome}");
    for item in ["ddddddddd", "aaaaaaaaa"] {
        assert!(outcome.stderr.contains(&format!("{{\"item\":\"{item}\",\"queue\":\"q\"}}")), "{outcome}");
    }
    let left = &outcome.report()["leftovers"][0];
    assert_eq!((left["files"][0]["items"].as_u64(), left["on_stderr"].as_u64()), (Some(2), Some(2)), "{outcome}");
}

/// A queue that a command feeds.
fn fed_by_a_command(queue: &str) -> String {
    format!(
        "[queue.q]\nleftovers = \"left.txt\"\n{queue}\n[source.in]\nqueue = \"q\"\ncommand = [\"sh\", \"source.sh\"]\n\
         [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nresults = \"file:done.txt\"\n"
    )
}

/// Everything would be done anew, and left.txt would still have items that are all done.
#[test]
fn leftovers_as_a_stdin_that_no_source_reads_are_refused() {
    let sandbox = Sandbox::new(&fed_by_a_command(""));
    sandbox.file("source.sh", "echo new\n");
    sandbox.file("w.sh", ECHOES);
    sandbox.file("left.txt", "old\n");
    let outcome = sandbox.launch().stdin_file("left.txt").finish();
    outcome.expect_code(78);
    assert!(outcome.stderr.contains("leftovers-first = true"), "{outcome}");
    assert_eq!((sandbox.read("left.txt").as_str(), sandbox.exists("done.txt")), ("old\n", false));
}

const ECHOES: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";

#[test]
fn unfinished_items_that_no_source_takes_in_are_told_by_run_and_check() {
    let sandbox = Sandbox::new(&fed_by_a_command(""));
    sandbox.file("source.sh", "echo new\n");
    sandbox.file("w.sh", ECHOES);
    for (text, wait) in [("old\n", true), ("", false)] {
        sandbox.file("left.txt", text);
        sandbox.file("left.txt.10", text);
        sandbox.file("left.txt.dead", "{}\n");
        for arguments in [&["run"][..], &["check"]] {
            let outcome = sandbox.launch().arguments(arguments).finish();
            outcome.expect_code(0);
            let told = "left.txt (4 bytes) and left.txt.10 (4 bytes), and no source takes them in";
            assert_eq!(outcome.stderr.contains(told), wait, "{outcome}");
            assert_eq!(outcome.stderr.contains("wait in"), wait, "{outcome}");
        }
    }
    // What a source takes in does not wait.
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]"));
    sandbox.file("w.sh", ECHOES);
    sandbox.file("left.txt", "old\n");
    let outcome = sandbox.launch().stdin_text("").finish();
    let command = "feed them in with `exeunt run exeunt.toml < left.txt`, or set leftovers-first = true";
    assert!(outcome.stderr.contains(command), "{outcome}");
    assert!(!sandbox.launch().stdin_file("left.txt").finish().stderr.contains("wait in"));
}

const FIRST: &str = "leftovers-first = true";

#[test]
fn leftovers_that_come_first_are_done_before_the_source_and_removed() {
    for (before, text) in [("old-1\nold-2\n", "with an end"), ("old-1\nold-2", "without")] {
        let sandbox = Sandbox::new(&fed_by_a_command(FIRST));
        sandbox.file("source.sh", "echo new-1; echo new-2\n");
        sandbox.file("w.sh", ECHOES);
        sandbox.file("left.txt", before);
        let outcome = sandbox.launch().report_json().finish();
        outcome.expect_code(0);
        assert_eq!(sandbox.lines("done.txt"), ["old-1", "old-2", "new-1", "new-2"], "{text}");
        assert_eq!(names(&sandbox), [""; 0], "{text}");
        assert!(!outcome.stderr.contains("wait in"), "{outcome}");
        assert_eq!(outcome.report()["sources"][0]["items"], 4, "{outcome}");
    }
    // Without any, nothing is different.
    let sandbox = Sandbox::new(&fed_by_a_command(FIRST));
    sandbox.file("source.sh", "echo new-1\n");
    sandbox.file("w.sh", ECHOES);
    sandbox.launch().finish().expect_code(0);
    assert_eq!((sandbox.lines("done.txt"), names(&sandbox)), (vec!["new-1".to_owned()], vec![]));
}

/// With a queue of three, neither the leftovers nor the source are read to their end when the stop comes.
#[test]
fn a_stop_keeps_what_was_not_taken_in_and_what_came_from_the_source() {
    for size in [3, 30] {
        let config = fed_by_a_command(&format!("{FIRST}\nsize = {size}"));
        let sandbox = Sandbox::new(&format!("{config}stop = [\"event 20s\"]\n"));
        sandbox.file("source.sh", "for n in 1 2 3 4 5; do echo new-$n; done; echo written >&2\n");
        sandbox.file("w.sh", HOLDS);
        let old: Vec<String> = numbered(9).iter().map(|item| format!("old-{item}")).collect();
        sandbox.file("left.txt", &text(&old));
        let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).start();
        run.wait_for_line("holding");
        run.wait_for_line("written");
        if size == 30 {
            run.wait_for_words("source in is at its end: 14 items", 1);
        }
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        let new = (1..=5).map(|n| format!("new-{n}"));
        let all: Vec<String> = old.into_iter().chain(new).collect();
        assert_eq!(sandbox.lines("left.txt"), all, "size {size}: {outcome}");
        let words = " unfinished items of an earlier run came from left.txt\n";
        assert!(outcome.stderr.contains(words), "{outcome}");
        assert_eq!(names(&sandbox), [".left.txt.lock", "left.txt"]);
    }
}

/// The items of the source are in the leftovers as soon as they are handed back, and those that were there stay.
#[test]
fn a_kill_in_a_stop_with_leftovers_first_loses_and_doubles_nothing() {
    let config = fed_by_a_command(&format!("{FIRST}\nsize = 30"));
    let sandbox = Sandbox::new(&format!("{config}stop = [\"event 60s\"]\nparent-death-signal = \"KILL\"\n"));
    sandbox.file("source.sh", "for n in 1 2 3 4 5; do echo new-$n; done\n");
    sandbox.file("w.sh", "read -r line <&3; echo holding >&2; read -r _ <&5; echo staying >&2; exec sleep 1000\n");
    let old: Vec<String> = numbered(3).iter().map(|item| format!("old-{item}")).collect();
    sandbox.file("left.txt", &text(&old));
    let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).start();
    run.wait_for_line("holding");
    run.wait_for_words("source in is at its end: 8 items", 1);
    run.signal(Signal::SIGTERM);
    run.wait_for_line("staying");
    let all: Vec<String> = old.into_iter().chain((1..=5).map(|n| format!("new-{n}"))).collect();
    until("the items of the source", || (sandbox.lines("left.txt").len() == 8).then_some(()));
    run.signal(Signal::SIGKILL);
    run.finish();
    assert_eq!(sandbox.lines("left.txt"), all);
    // The next run takes them in, and what the killed one kept aside is not taken in a second time.
    sandbox.file("source.sh", "true\n");
    sandbox.file("w.sh", ECHOES);
    sandbox.launch().finish().expect_code(0);
    assert_eq!(sandbox.lines("done.txt"), all);
    assert_eq!(names(&sandbox), [""; 0]);
}

#[test]
fn two_runs_do_not_take_in_the_same_leftovers() {
    let sandbox = Sandbox::new(&format!("{}stop = [\"event 20s\"]\n", fed_by_a_command(FIRST)));
    sandbox.file("source.sh", "true\n");
    sandbox.file("w.sh", HOLDS);
    sandbox.file("left.txt", "old\n");
    let one = sandbox.launch().start();
    one.wait_for_line("holding");
    let other = sandbox.launch().arguments(&["run", "--log-level", "info"]).start().finish_alone();
    other.expect_code(0);
    assert!(other.stderr.contains("another run takes in the unfinished items of queue q"), "{other}");
    assert_eq!(sandbox.read("left.txt"), "old\n");
    one.signal(Signal::SIGTERM);
    one.finish().expect_code(75);
    assert_eq!(sandbox.read("left.txt"), "old\n");
}

/// Dead letters and a numbered file show the same items, so they are for the same readers. What replaces our input too.
#[test]
fn what_is_made_beside_the_leftovers_takes_after_them() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]"));
    let worker = "read -r line <&3; echo \"fail ${line%% *} broken\" >&4\n";
    sandbox.file("w.sh", &format!("{worker}{HOLDS}"));
    sandbox.file("left.txt", &text(&numbered(4)));
    let path = |name: &str| sandbox.path(name);
    std::os::unix::fs::chown(path("left.txt"), Some(12_345), Some(54_321)).expect("this is root");
    fs::set_permissions(path("left.txt"), fs::Permissions::from_mode(0o6640)).expect("this is root");
    let looks = |name: &str| {
        let found = fs::metadata(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let locked = fs::File::create(path(".left.txt.lock")).expect("it is ours");
    for round in 0..2 {
        let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).stdin_file("left.txt").start();
        run.wait_for_line("holding");
        run.wait_for_words("source in is at its end", 1);
        if round == 0 {
            locked.lock().expect("nobody has it");
        }
        run.signal(Signal::SIGTERM);
        run.finish().expect_code(75);
        assert_eq!(looks("left.txt.dead"), (12_345, 54_321, 0o640), "set-id bits are not copied");
        match round {
            // Without the lock it is not replaced.
            0 => assert_eq!((looks("left.txt").2, looks("left.txt.1")), (0o6640, (12_345, 54_321, 0o640))),
            _ => assert_eq!(looks("left.txt"), (12_345, 54_321, 0o640)),
        }
        locked.unlock().expect("it is ours");
    }
}
