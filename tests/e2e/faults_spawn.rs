//! F16, F20, F21, F23, F24, F32, F62, F97: programs that cannot be started, hang in their start, or end at once.

use crate::support::{Need, QUICK_RESTART, Run, Sandbox, children, has, marked, python, send, state, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::time::{Duration, Instant};

fn one(keys: &str) -> Sandbox {
    Sandbox::new(&format!("[worker.w]\n{keys}\n"))
}

/// What is wrong with each kind of file that is no program, and that it is said once and given up.
#[test]
fn f23_what_is_no_program_is_given_up_at_once_and_says_what_is_wrong() {
    let sandbox = one("command = [\"./prog\"]");
    let cases: [(&str, &dyn Fn()); 8] = [
        ("No such file or directory", &|| {}),
        ("Permission denied", &|| fs::create_dir(sandbox.path("prog")).unwrap()),
        ("Permission denied", &|| sandbox.file("prog", "#!/bin/sh\necho ran >>ran\n")),
        ("its interpreter \"/nowhere/sh\" cannot be executed: No such file", &|| {
            sandbox.program("prog", "#!/nowhere/sh\n")
        }),
        ("it has no first line that names its interpreter", &|| sandbox.program("prog", "echo ran >>ran\n")),
        ("it is damaged, or built for another", &|| sandbox.program("prog", "\u{7f}ELF\u{2}\u{1}\u{1}")),
        ("it is empty", &|| sandbox.program("prog", "")),
        ("Too many levels of symbolic links", &|| std::os::unix::fs::symlink("prog", sandbox.path("prog")).unwrap()),
    ];
    for (words, make) in cases {
        make();
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        let said = format!("worker w is given up, it cannot be started: executing ./prog: {words}");
        assert_eq!(outcome.stderr.matches(&said).count(), 1, "{words}: {outcome}");
        assert!(!sandbox.exists("ran"), "{words}: {outcome}");
        let path = sandbox.path("prog");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
}

/// A program whose loader is no program: ELIBBAD.
#[test]
fn f23_a_broken_loader_is_said_too() {
    let sandbox = one("command = [\"./prog\"]");
    sandbox.program("ld", &"no loader\n".repeat(100));
    let mut elf = fs::read("/bin/true").unwrap();
    let marker = b"/ld-linux";
    let at = elf
        .windows(marker.len())
        .position(|bytes| bytes == marker)
        .or_else(|| elf.windows(6).position(|bytes| bytes == b"/ld-mu"));
    let at = at.expect("/bin/true names its loader");
    let begin = elf[..at].iter().rposition(|&byte| byte == 0).unwrap() + 1;
    elf[begin..begin + 5].copy_from_slice(b"./ld\0");
    fs::write(sandbox.path("prog"), elf).unwrap();
    sandbox.executable("prog");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("Accessing a corrupted shared library"), "{outcome}");
}

/// What ran once and is broken later is a failure like others: said, tried again after a delay, and well again when it is mended.
#[test]
fn f23_a_program_that_is_broken_for_a_while_is_tried_again() {
    let sandbox = one(&format!("command = [\"./prog\"]\nstart-limit = \"off\"\n{QUICK_RESTART}"));
    for (breaks, words) in [
        ("rm prog", "No such file or directory"),
        ("chmod 644 prog", "Permission denied"),
        ("rm prog; mkdir prog", "Permission denied"),
        ("rm prog; printf 'no program' >prog; chmod 755 prog", "it has no first line"),
    ] {
        sandbox.program("prog", &format!("#!/bin/sh\n{breaks}; exit 1\n"));
        let run = sandbox.launch().start();
        run.wait_for_words(&format!("w.0 cannot be started: executing ./prog: {words}"), 12);
        let path = sandbox.path("prog");
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        sandbox.program("mended", "#!/bin/sh\necho up >&2; exec sleep 1000\n");
        fs::rename(sandbox.path("mended"), path).unwrap();
        run.wait_for_line("up");
        run.signal(Signal::SIGTERM);
        run.finish().expect_code(0);
    }
}

/// Somebody still writes the program: not counted, tried again, and started when it is closed.
#[test]
fn f24_a_program_that_is_being_written_is_started_when_it_is_closed() {
    let sandbox = one(&format!("command = [\"./prog\"]\n{QUICK_RESTART}"));
    fs::copy("/bin/sleep", sandbox.path("prog")).unwrap();
    sandbox.executable("prog");
    sandbox.config(&sandbox.read("exeunt.toml").replace("[\"./prog\"]", "[\"./prog\", \"1000\"]"));
    let writer = File::options().append(true).open(sandbox.path("prog")).unwrap();
    let run = sandbox.launch().arguments(&["run", "--log-level", "debug"]).start();
    run.wait_for_words("executing ./prog: Text file busy", 12);
    drop(writer);
    run.wait_for_words("w.0 started", 1);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// The change of uid goes beyond that user's limit of processes, which the kernel says at exec only (execve(2), EAGAIN). Not
/// counted, and over when the limit is raised.
#[test]
fn f24_users_beyond_their_process_limit_start_when_it_is_raised() {
    if !has(Need::Root) {
        return;
    }
    let user = 2_000_000 + std::process::id();
    let sandbox = one(&format!(
        "replicas = 12\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\nuser = \"{user}\"\n{QUICK_RESTART}"
    ));
    // A shortage is said once, and each time to whoever asks for details.
    let launch = sandbox.launch().arguments(&["run", "--log-level", "debug"]);
    let run = launch.under(&["prlimit", "--nproc=4:1000"]).start();
    run.wait_for_words("sh: Resource temporarily unavailable", 20);
    let target = format!("--pid={}", run.pid());
    assert!(crate::support::runs(&["prlimit", &target, "--nproc=500:1000"]));
    run.wait_for_lines("up", 12);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.lines().filter(|line| *line == "up").count(), 12, "{outcome}");
    assert!(outcome.stderr.contains("cannot be started: executing"), "it is the exec that fails\n{outcome}");
}

/// An argument of more than 128 KiB is refused by the kernel; it comes from the environment, so no look at the file can tell.
#[test]
fn f24_an_argument_that_is_too_long_is_a_clean_failure() {
    let sandbox = one("command = [\"sh\", \"-c\", \"echo ran >>ran\", \"${HALF}${HALF}\"]");
    let outcome = sandbox.launch().env("HALF", &"x".repeat(100_000)).finish();
    assert!([1, 78].contains(&outcome.code), "{outcome}");
    assert!(!sandbox.exists("ran") && !outcome.stderr.is_empty(), "{outcome}");
}

/// A file system in which every look hangs: `deaf` so that KILL still helps, `mute` so that nothing does (D state).
const FUSE: &str = r#"
import ctypes, os, struct, subprocess, sys, threading
kind, at, command = sys.argv[1], sys.argv[2], sys.argv[3:]
os.makedirs(at, exist_ok=True)
fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"dead", at.encode(), b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")

def serve():
    while True:
        request = os.read(fuse, 1 << 20)
        opcode, unique = struct.unpack_from("=IQ", request, 4)
        if opcode == 26:
            init = struct.pack("=IIIIHHII", 7, 31, 65536, 0, 16, 12, 65536, 1) + bytes(36)
            os.write(fuse, struct.pack("=IiQ", 16 + len(init), 0, unique) + init)
        else:
            os.write(2, b"hangs for ever\n")

if kind == "mute":
    threading.Thread(target=serve, daemon=True).start()
child = subprocess.Popen(command)
status = child.wait()
os._exit(status if status >= 0 else 128 - status)
"#;

fn fuse<'a>(sandbox: &Sandbox, kind: &'a str) -> Option<Vec<&'a str>> {
    if !has(Need::Python) || !has(Need::Root) {
        return None;
    }
    sandbox.file("fuse.py", FUSE);
    Some(vec!["unshare", "--mount", python().unwrap(), "fuse.py", kind, "dead"])
}

/// exeunt under unshare, which becomes the interpreter, whose only child it is.
fn stop(run: &Run) {
    send(run.inner_pid(), Signal::SIGTERM);
}

#[test]
fn f16_an_exec_that_hangs_holds_up_neither_the_neighbour_nor_a_stop() {
    who_hangs_holds_nobody_up("command = [\"dead/program\"]");
}

#[test]
fn f16_a_chdir_that_hangs_holds_up_neither_the_neighbour_nor_a_stop() {
    who_hangs_holds_nobody_up("command = [\"true\"]\nworking-directory = \"dead/there\"");
}

/// The neighbour works, and a stop ends: what hangs before its exec has run nothing and is killed at once.
fn who_hangs_holds_nobody_up(hanging: &str) {
    let sandbox = Sandbox::new(&format!(
        "[worker.h]\n{hanging}\nstop = [\"TERM 10m\"]\n\
         [worker.n]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\n"
    ));
    let Some(launcher) = fuse(&sandbox, "deaf") else { return };
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    stop(&run);
    run.finish().expect_code(0);
}

/// In the kernel's hands (D state): KILL is of no use, the wait has a bound, and the exit code says so.
#[test]
fn f11_a_process_in_the_kernels_hands_is_unkillable_and_no_longer_waited_for() {
    let sandbox = Sandbox::new(
        "[worker.d]\ncommand = [\"sh\", \"-c\", \"exec cat dead/file\"]\nstop = [\"TERM 200ms\"]\n\
         [worker.n]\ncommand = [\"sh\", \"-c\", \"trap 'echo bye >bye; exit 0' TERM; echo up >&2; while :; do sleep 0.02; done\"]\n",
    );
    let Some(launcher) = fuse(&sandbox, "mute") else { return };
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    run.wait_for_line("hangs for ever");
    stop(&run);
    // When the file system is gone with its server, the stuck one dies after all.
    let outcome = run.finish_alone();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("d.0 is still there after KILL, and is no longer waited for"), "{outcome}");
    assert_eq!(sandbox.read("bye"), "bye\n", "the others are unaffected\n{outcome}");
    sandbox.wait_until_empty();
}

/// It ends at once, again and again: the delay grows, and we are idle meanwhile.
#[test]
fn f20_a_crash_loop_is_held_back_and_the_neighbour_is_fine() {
    let sandbox = Sandbox::new(
        "[worker.c]\ncommand = [\"sh\", \"-c\", \"echo died >&2; exit 1\"]\nstart-limit = \"off\"\n\
         [worker.n]\ncommand = [\"sh\", \"-c\", \"echo up >>up; exec sleep 1000\"]\n",
    );
    let run = sandbox.launch().start();
    run.wait_for_lines("died", 2);
    let (begin, before) = (Instant::now(), ticks(run.pid()));
    run.wait_for_lines("died", 7);
    let (took, used) = (begin.elapsed(), ticks(run.pid()) - before);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    // 100, 200, 400, 800 and 1600 ms, each a fifth more or less; a tick is 10 ms.
    assert!(took > Duration::from_millis(2400), "{took:?}");
    assert!(Duration::from_millis(10 * used) < took / 20, "{used} ticks of {took:?}");
    assert_eq!(sandbox.lines("up").len(), 1);
}

/// Thirty at once: each is held back by itself, what is said of them is bounded by their deaths, and a stop is heard.
#[test]
fn f21_thirty_crash_loops_are_held_back_and_a_stop_is_heard_at_once() {
    let sandbox = Sandbox::new(
        "[worker.c]\ncommand = [\"sh\", \"-c\", \"echo died >>died; exit 1\"]\nreplicas = 30\nstart-limit = \"off\"\n\
         [worker.n]\ncommand = [\"sh\", \"-c\", \"echo up >>up; exec sleep 1000\"]\n",
    );
    let run = sandbox.launch().start();
    let deaths = || sandbox.lines("died").len();
    until("four deaths each", || (deaths() >= 120).then_some(()));
    let (begin, before) = (Instant::now(), ticks(run.pid()));
    until("two more each", || (deaths() >= 180).then_some(()));
    let (took, used) = (begin.elapsed(), ticks(run.pid()) - before);
    run.signal(Signal::SIGTERM);
    run.wait_for_words("stopping on TERM", 1);
    let outcome = run.finish();
    outcome.expect_code(0);
    // 400 and 800 ms, each a fifth more or less, less what the thirty differ in.
    assert!(took > Duration::from_millis(500), "{took:?}");
    assert!(Duration::from_millis(10 * used) < took / 5, "{used} ticks of {took:?}");
    let said = outcome.stderr.lines().count();
    assert!(said <= 3 * deaths() + 40, "{said} lines about {} deaths", deaths());
    assert_eq!(sandbox.lines("up").len(), 1, "{outcome}");
}

/// Up in a minute, gone in forty seconds. How fast it is, the benches say.
#[test]
fn f32_a_thousand_services_are_started_and_stopped() {
    let sandbox = one("command = [\"sleep\", \"1000\"]\nreplicas = 1000");
    let run = sandbox.launch().arguments(&["run", "--log-level", "info"]).start();
    run.wait_for_words("started", 1000);
    assert_eq!(children(run.pid()).len(), 1000);
    let begin = Instant::now();
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert!(!outcome.stderr.contains("KILL"), "{outcome}");
}

/// Processor time of a process, its children's not counted, in ticks of the clock (USER_HZ, 100 a second).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Killed in the middle of starting workers: those that are between fork and exec find the event and the end like the rest.
#[test]
fn f62_workers_that_are_being_started_when_exeunt_is_killed_leave_too() {
    let sandbox = Sandbox::new(&crate::support::pool("", "command = [\"sh\", \"w.sh\"]\nreplicas = 12"));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *}\" >&4; done\n");
    for round in 0..24 {
        let mut run = sandbox.launch().stdin_pipe().start();
        until("the first children", || (children(run.pid()).len() > round / 2).then_some(()));
        run.signal(Signal::SIGKILL);
        run.wait();
        sandbox.wait_until_empty();
    }
    assert!(marked(&sandbox.mark()).is_empty());
}

/// Killed when the child has left our session and not yet asked the kernel for a signal at its parent's death: strace holds it
/// up in the step before. It sees that its parent is another by now, and never becomes the program.
#[test]
fn f62_a_worker_whose_parent_died_before_it_could_ask_for_a_signal_is_never_started() {
    if !has(Need::Strace) {
        return;
    }
    let keys = "command = [\"sh\", \"-c\", \"echo ran >>ran; exec sleep 1000\"]\nworking-directory = \".\"";
    let leads = |&pid: &i32| nix::unistd::getsid(Some(Pid::from_raw(pid))) == Ok(Pid::from_raw(pid));
    // We have to be faster than the delay.
    let in_time = [1, 5, 20, 50].into_iter().any(|seconds| {
        let sandbox = one(&format!("{keys}\nparent-death-signal = \"KILL\""));
        let hold = format!("inject=chdir:delay_enter={seconds}000000");
        let run = sandbox.launch().under(&["strace", "-f", "-qq", "-o", "strace.out", "-e", &hold]).start();
        // strace has children of its own for a moment.
        let (exeunt, child) = until("a child with a session of its own", || {
            let pair = |exeunt: i32| Some((exeunt, children(exeunt).into_iter().find(leads)?));
            children(run.pid()).into_iter().find_map(pair)
        });
        send(exeunt, Signal::SIGKILL);
        until("the death", || matches!(state(exeunt), None | Some('Z')).then_some(()));
        let has_asked = || {
            let trace = sandbox.read("strace.out");
            trace.lines().any(|line| line.starts_with(&format!("{child} ")) && line.contains("PR_SET_PDEATHSIG"))
        };
        if has_asked() {
            return false;
        }
        sandbox.wait_until_empty();
        assert!(has_asked(), "it got as far as that");
        assert!(!sandbox.exists("ran"), "it ran without its parent");
        true
    });
    assert!(in_time, "it had always asked before we were dead");
}

#[test]
fn f97_memory_does_not_grow_over_restarts() {
    let keys = format!("command = [\"sh\", \"-c\", \"echo died >&2; exit 1\"]\nstart-limit = \"off\"\n{QUICK_RESTART}");
    let sandbox = one(&keys);
    let run = sandbox.launch().start();
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    run.wait_for_lines("died", 60);
    let early = resident();
    run.wait_for_lines("died", 460);
    let late = resident();
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
    assert!(late <= early + 100, "{early} KiB, after 400 more restarts {late} KiB");
}
