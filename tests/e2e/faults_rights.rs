//! F76, F84, F99, F101, F104, F112, F114: little that may be written, nobody's uid, limits of somebody else's making.

use crate::support::{Need, QUICK_BACKOFF, QUICK_RESTART, Run, Sandbox, has, numbered, pool, runs, sorted, until};
use nix::sys::signal::Signal;
use std::io::Read;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;

/// A whole life: a crash, a retry, a worker with a stubborn member, a stop, leftovers.
const LIFE: &str = "(trap '' TERM; exec sleep 1000) >/dev/null 2>&1 &\n\
    while IFS= read -r line <&3; do id=${line%% *} item=${line#* }\n\
    case $item in\n\
    item-2) [ \"${id#*.}\" = 1 ] && { echo \"retry $id\" >&4; continue; } ;;\n\
    item-5) echo holding >&2; read -r _ <&5 ;;\n\
    esac\n\
    echo \"ok $id $item\" >&4; done\n";

/// Until everything but the last four is done, and one of those in hand.
fn feed(run: &mut Run) {
    let items = numbered(8);
    run.feed(&items[..4]);
    assert!(run.wait_for_results(4));
    run.feed(&items[4..]);
    run.wait_for_line("holding");
}

fn life(leftovers: &str) -> Sandbox {
    let keys = format!(
        "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 40s\", \"TERM 300ms\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &keys).replace("leftovers = \"left.txt\"\n", leftovers));
    sandbox.file("w.sh", LIFE);
    sandbox
}

/// Everything is read-only but what was mounted by itself before.
fn read_only(before: &str) -> [String; 6] {
    let script = format!(
        "set -e; {before}\n\
         for at in $(cut -d' ' -f5 /proc/self/mountinfo | grep -v -e \"^$PWD/rw$\" | tac); do\n\
           case $at in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro \"$at\" 2>/dev/null || true ;; esac; done\n\
         if (: >nothing) 2>/dev/null; then echo 'it can be written' >&2; exit 99; fi\n\
         exec \"$@\""
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned)
}

#[test]
fn f101_on_a_read_only_root_with_one_directory_to_write_leftovers_are_kept() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = life("leftovers = \"rw/left.txt\"\n");
    std::fs::create_dir(sandbox.path("rw")).unwrap();
    let launcher = read_only("mount --bind rw rw");
    let launch = sandbox.launch().under(&launcher.each_ref().map(String::as_str)).report_json();
    let mut run = launch.stdin_pipe().start();
    feed(&mut run);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(outcome.results()), sorted(numbered(5)), "{outcome}");
    assert_eq!(sandbox.lines("rw/left.txt"), ["item-6", "item-7", "item-8"], "{outcome}");
}

/// Without any: they are told on stderr, none is lost.
#[test]
fn f101_where_nothing_can_be_written_leftovers_are_told() {
    if !has(Need::Root) {
        return;
    }
    for leftovers in ["", "leftovers = \"left.txt\"\n"] {
        let sandbox = life(leftovers);
        let launcher = read_only("");
        let mut run = sandbox.launch().under(&launcher.each_ref().map(String::as_str)).stdin_pipe().start();
        feed(&mut run);
        drop(run.stdin.take());
        run.wait_for_words("source in is at its end", 1);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!(sorted(outcome.results()), sorted(numbered(5)), "{outcome}");
        for item in ["item-6", "item-7", "item-8"] {
            assert!(outcome.stderr.contains(&format!("\"{item}\"")), "{item}: {outcome}");
        }
    }
}

/// No room, or a limit on the size of files: the first ones that fit are in the file, whole, and the others are told.
#[test]
fn f76_f84_leftovers_for_which_there_is_no_room_are_told() {
    if !has(Need::Root) {
        return;
    }
    let full = "mount -t tmpfs -o size=16k none rw; printf 'old\\n' >rw/left.txt; exec \"$@\"";
    let bounded = "printf 'old\\n' >rw/left.txt; exec prlimit --fsize=8192 \"$@\"";
    for script in [full, bounded] {
        let sandbox = life("leftovers = \"rw/left.txt\"\n");
        std::fs::create_dir(sandbox.path("rw")).unwrap();
        let mut run = sandbox.launch().under(&["unshare", "--mount", "sh", "-c", script, "sh"]).stdin_pipe().start();
        feed(&mut run);
        // Far more than there is room for.
        let rest: Vec<String> = (9..=1000).map(|n| format!("item-{n}-{}", "x".repeat(80))).collect();
        run.feed(&rest);
        let mount = format!("/proc/{}/root{}", run.pid(), sandbox.path("rw/left.txt").display());
        drop(run.stdin.take());
        run.wait_for_words("source in is at its end", 1);
        // Held open: the mount goes with the run.
        let mut file = std::fs::File::open(mount).unwrap();
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!(sorted(outcome.results()), sorted(numbered(5)), "{outcome}");
        let mut left = String::new();
        file.read_to_string(&mut left).unwrap();
        let left: Vec<&str> = left.strip_prefix("old\n").expect("what was there is still there").lines().collect();
        assert!(left.len() > 10, "{outcome}");
        for item in ["item-6", "item-7", "item-8"].into_iter().chain(rest.iter().map(String::as_str)) {
            let told = outcome.stderr.contains(&format!("\"{item}\""));
            assert!(told != left.contains(&item), "{item} is in one place: {outcome}");
        }
    }
}

/// The first fit, then there is a limit: each is either in the file or told, and the report says how many are where.
#[test]
fn f76_f84_the_report_says_which_leftovers_the_disk_took() {
    let sandbox = life("leftovers = \"left.txt\"\n");
    sandbox.file("left.txt", "old\n");
    let mut run = sandbox.launch().under(&["prlimit", "--fsize=8192"]).report_json().stdin_pipe().start();
    feed(&mut run);
    run.signal(Signal::SIGTERM);
    until("the first leftovers to be written", || (sandbox.lines("left.txt").len() == 4).then_some(()));
    // stdin is read on, straight into the leftovers.
    let rest: Vec<String> = (9..=1000).map(|n| format!("item-{n}-{}", "x".repeat(80))).collect();
    run.feed(&rest);
    let outcome = run.finish();
    outcome.expect_code(75);
    let kept = &outcome.leftovers[1..];
    assert_eq!(outcome.leftovers[0], "old", "{outcome}");
    assert_eq!(kept[..3], ["item-6", "item-7", "item-8"], "{outcome}");
    let told = |item: &&String| outcome.stderr.contains(&format!("\"{item}\""));
    let told: Vec<&String> = rest.iter().filter(told).collect();
    assert!(kept[3..].iter().chain(told.iter().copied()).eq(&rest), "each is in one place, in order\n{outcome}");
    let report = outcome.report();
    let left = &report["leftovers"][0];
    let expected = (Some(kept.len() + told.len()), Some(told.len()));
    let number = |name: &str| left[name].as_u64().map(|number| number as usize);
    assert_eq!((number("items"), number("on_stderr")), expected, "{outcome}");
    assert!(left["path"].as_str().is_some_and(|path| path.ends_with("left.txt")), "{outcome}");
    assert!(outcome.stderr.contains("some leftovers of queue q cannot be kept in"), "{outcome}");
}

/// What has no room in the file stands on stderr, whole, and the report says how many.
#[test]
fn f76_the_report_says_which_dead_letters_the_disk_took() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nprefetch = 1\n"));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *} broken\" >&4; done\n");
    let items = numbered(20);
    let names = |text: &str| -> Vec<String> {
        let letters = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        letters.filter_map(|letter| Some(letter["item"].as_str()?.to_owned())).collect()
    };
    let outcome = sandbox.launch().under(&["prlimit", "--fsize=1024"]).report_json().stdin_items(&items).finish();
    let kept = names(&sandbox.lines("left.txt.dead").join("\n"));
    let told = names(&outcome.stderr);
    assert!(!kept.is_empty() && !told.is_empty(), "{outcome}");
    assert_eq!([kept, told.clone()].concat(), items, "{outcome}");
    let queue = &outcome.report()["queues"][0];
    assert_eq!((queue["dead"].as_u64(), queue["dead_on_stderr"].as_u64()), (Some(20), Some(told.len() as u64)));
    assert!(outcome.stderr.contains("a dead letter cannot be kept in"), "{outcome}");
}

/// A megabyte and a half for the child, and then more than the kernel takes at once.
#[test]
fn f114_an_environment_of_many_values_is_passed_on_or_fails_cleanly() {
    let names: Vec<String> = (0..15).map(|n| format!("LARGE_{n}")).collect();
    let value = "x".repeat(100_000);
    let config = "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo $${#LARGE_0} $${#LARGE_14} >seen\"]\n";
    let sandbox = Sandbox::new(config);
    names.iter().fold(sandbox.launch(), |launch, name| launch.env(name, &value)).finish().expect_code(0);
    assert_eq!(sandbox.lines("seen"), ["100000 100000"]);

    // All strings together may have a quarter of the stack's limit, 128 KiB at least (execve(2)).
    sandbox.remove("seen");
    sandbox.config(&format!("{config}env = {{ A = \"{value}\", B = \"{value}\" }}\n"));
    let outcome = sandbox.launch().under(&["prlimit", "--stack=262144:262144"]).finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("Argument list too long"), "{outcome}");
    assert!(!sandbox.exists("seen"), "{outcome}");
}

/// No memory when children are there: nothing in us goes on after a failed allocation, and for the workers that is as if we
/// had been killed. They see the event without a line.
#[test]
fn f99_without_memory_we_end_at_once_and_the_workers_leave() {
    let keys = "command = [\"sh\", \"w.sh\"]\nprefetch = 2";
    let sandbox = Sandbox::new(&pool("max-item = \"32MiB\"\nmax-bytes = \"64MiB\"", keys));
    sandbox.file(
        "w.sh",
        "IFS= read -r line <&3; echo holding >&2; read -r word <&5; echo \"event <$word>\" >>seen\n\
         echo \"ok ${line%% *}\" >&4; cat <&3 >>rest\n",
    );
    let mut run = sandbox.launch().stdin_pipe().start();
    run.feed(&["first"]);
    run.wait_for_line("holding");
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(runs(&["prlimit", &format!("--pid={}", run.pid()), &format!("--as={}", (kib + 4096) * 1024)]));
    // It does not read to its end what it has no room for.
    let _broken = run.stdin.as_mut().unwrap().write_all(&[b'x'; 30_000_000]);
    assert_eq!(run.wait().signal(), Some(libc::SIGABRT));
    sandbox.wait_until_empty();
    assert_eq!(sandbox.lines("seen"), ["event <>"]);
    assert_eq!(sandbox.read("rest"), "", "what was not accepted was not handed out");
}

/// Nobody's uid and gid, no capability, no way to get one, no environment that says who it is.
#[test]
fn f104_as_an_arbitrary_user_without_any_capability_the_whole_life_is_the_same() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = life("leftovers = \"left.txt\"\n");
    sandbox.open_to_all();
    let launcher = [
        "env",
        "-u",
        "HOME",
        "-u",
        "USER",
        "-u",
        "LOGNAME",
        "setpriv",
        "--reuid=1234567",
        "--regid=1234567",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--no-new-privs",
        "sh",
        "-c",
        "shift; exec ./exeunt \"$@\"",
        "sh",
    ];
    let mut run = sandbox.launch().under(&launcher).report_json().stdin_pipe().start();
    feed(&mut run);
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("Uid:\t1234567"), "{status}");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(outcome.results()), sorted(numbered(5)), "{outcome}");
    assert_eq!(outcome.leftovers, ["item-6", "item-7", "item-8"], "{outcome}");
}

/// As root of a user namespace in which nobody else is known.
#[test]
fn f104_in_a_user_namespace_of_its_own_it_is_the_same() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = life("leftovers = \"left.txt\"\n");
    let mut run = sandbox.launch().under(&["unshare", "--user", "--map-root-user"]).stdin_pipe().start();
    feed(&mut run);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.leftovers, ["item-6", "item-7", "item-8"], "{outcome}");
}

#[test]
fn f112_a_child_has_the_limits_that_we_were_given() {
    let sandbox = Sandbox::new(
        "[worker.w]\ncommand = [\"sh\", \"-c\", \"ulimit -Sn >seen; ulimit -Hn >>seen; ulimit -Sc >>seen; umask >>seen\"]\n",
    );
    let launcher = ["sh", "-c", "umask 0137; exec prlimit --nofile=777:999 --core=0:0 \"$@\"", "sh"];
    sandbox.launch().under(&launcher).finish().expect_code(0);
    assert_eq!(sandbox.lines("seen"), ["777", "999", "0", "0137"]);
}
