//! `exeunt init` and `exeunt run` in containers as they are: sandboxes that refuse system calls, nobody's uid, nothing to write to, nothing
//! mounted, shortages of every kind. What is here for `run` alone has its neighbours in `surroundings` and `faults_rights`.

use crate::support::{Launch, Need, Sandbox, has, numbered, pool, runs, send, sorted};
use nix::sys::signal::Signal;

const NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];
/// The answers of sandboxes: older ones say the first, newer ones the second.
const REFUSALS: [i32; 2] = [libc::EPERM, libc::ENOSYS];

fn echo_pool(worker: &str) -> Sandbox {
    let sandbox = Sandbox::new(&pool("", &format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{worker}")));
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    sandbox
}

/// One that leaves all kinds of processes behind, hears TERM, and knows its exit code.
const FAMILY: &str = "trap 'echo term; exit 6' TERM; sleep 1000 & setsid sleep 1000 & \
                      sh -c \"trap '' TERM; echo deaf >&2; exec sleep 1000\" & while :; do sleep 0.01; done";

/// TERM is passed on, the code is the program's, and none of its family is left.
fn ends_in_order(launch: Launch, inner: bool) {
    let run = launch.init(&["--", "sh", "-c", FAMILY]).start();
    run.wait_for_line("deaf");
    let pid = if inner { run.inner_pid() } else { run.pid() };
    send(pid, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(6);
    assert_eq!(outcome.stdout, "term\n", "{outcome}");
    assert!(!outcome.stderr.contains("exeunt"), "nothing is said: {outcome}");
}

#[test]
fn f96_init_does_without_every_new_system_call() {
    for errno in REFUSALS {
        let sandbox = Sandbox::new("");
        ends_in_order(sandbox.launch().under(&["setsid"]).refusing_new_calls(errno), false);
        let missing = sandbox.launch().refusing_new_calls(errno).init(&["--", "nowhere"]).finish();
        missing.expect_code(127);
        assert_eq!(missing.stderr, "exeunt: error: executing nowhere: No such file or directory\n");
    }
}

#[test]
fn f96_init_as_pid_1_does_without_every_new_system_call() {
    if !has(Need::PidNamespace) {
        return;
    }
    for errno in REFUSALS {
        let sandbox = Sandbox::new("");
        ends_in_order(sandbox.launch().under(&NAMESPACE).refusing_new_calls(errno), true);
    }
}

/// Where `clone3` answers EPERM glibc starts no thread at all: results, messages and leftovers are written all the same.
#[test]
fn f96_a_run_does_without_every_new_system_call() {
    for errno in REFUSALS {
        let sandbox = echo_pool("replicas = 2\nstop = [\"event 20s\", \"TERM 1s\"]");
        let outcome = sandbox.launch().refusing_new_calls(errno).stdin_items(&numbered(500)).finish();
        outcome.expect_code(0);
        assert_eq!(sorted(outcome.results()), sorted(numbered(500)), "{outcome}");
        let warnings = outcome.stderr.matches("no thread may be started here").count();
        assert!(warnings <= usize::from(errno == libc::EPERM), "it is said once\n{outcome}");

        // A stop in the middle: what is in hand is finished, the rest is kept.
        sandbox.file(
            "w.sh",
            "while IFS= read -r line <&3; do echo holding >&2; read -r _ <&5; echo \"ok ${line%% *} done\" >&4; done\n",
        );
        let run = sandbox.launch().refusing_new_calls(errno).stdin_items(&numbered(9)).start();
        run.wait_for_lines("holding", 2);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(75);
        assert_eq!((outcome.results().len(), outcome.leftovers.len()), (2, 7), "{outcome}");
    }
}

/// Hides a directory under an empty file system before exeunt starts, for it alone.
fn hidden(mounts: &str) -> Vec<String> {
    let script = format!("{mounts} && exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

#[test]
fn f101_f102_f103_init_needs_no_proc_no_dev_and_nothing_to_write_to() {
    if !has(Need::PidNamespace) {
        return;
    }
    // Without /proc a session is not seen: what left it is the kernel's, or PID 1's, to end. The others stay.
    let plain = "trap 'echo term; exit 6' TERM; sleep 1000 & echo deaf >&2; while :; do sleep 0.01; done";
    for mounts in [
        "mount -t tmpfs none /proc",
        "mount -t tmpfs none /dev",
        "mount -o bind,ro / /",
        "mount -t tmpfs -o noexec,ro none /run && mount -t tmpfs -o ro none /tmp2",
    ] {
        let sandbox = Sandbox::new("");
        let mounts = mounts.replace("/tmp2", "/var/tmp");
        let launcher = hidden(&mounts);
        let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
        let run = sandbox.launch().under(&launcher).init(&["--", "sh", "-c", plain]).start();
        run.wait_for_line("deaf");
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(6);
        assert_eq!(outcome.stdout, "term\n", "{mounts}: {outcome}");
        assert!(!outcome.stderr.contains("exeunt"), "nothing is said: {outcome}");
    }
}

#[test]
fn f104_init_as_a_user_that_nobody_knows_without_capabilities() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = Sandbox::new("");
    sandbox.open_to_all();
    let ids =
        ["setpriv", "--reuid=1234567", "--regid=7654321", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let launcher: Vec<&str> = ["setsid"]
        .iter()
        .chain(&ids)
        .chain(&["--no-new-privs", "sh", "-c", "shift; exec ./exeunt \"$@\"", "sh"])
        .copied()
        .collect();
    ends_in_order(sandbox.launch().under(&launcher), false);
}

/// The kernel takes a quarter of the stack's limit of arguments and environment, in strings of 128 KiB at most.
#[test]
fn f114_init_passes_an_environment_of_one_and_a_half_megabytes_on() {
    let sandbox = Sandbox::new("");
    let mut launch = sandbox.launch().init(&["--", "sh", "-c", "env | wc -c"]);
    let value = "x".repeat(100_000);
    for number in 0..15 {
        launch = launch.env(&format!("HUGE_{number}"), &value);
    }
    let outcome = launch.finish();
    outcome.expect_code(0);
    let bytes: usize = outcome.stdout.trim().parse().unwrap();
    assert!(bytes > 1_500_000, "{bytes} bytes of environment");
}

#[test]
fn f105_init_without_0_1_and_2_runs_its_program() {
    let sandbox = Sandbox::new("");
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$@\" {closed}");
        let under = ["setsid", "sh", "-c", &script, "sh"];
        let outcome = sandbox.launch().under(&under).init(&["--", "sh", "-c", "cat; exit 4"]).finish();
        outcome.expect_code(4);
    }
}

/// It is said once, whatever runs short, and the signals that came meanwhile are not lost.
#[test]
fn f90_f92_f94_a_shortage_at_the_start_of_an_init_is_said_once_and_waited_out() {
    if !has(Need::Strace) {
        return;
    }
    for (call, error, when, words) in [
        ("clone,fork,vfork", "EAGAIN", "1..4", "forking: Resource temporarily unavailable"),
        ("clone,fork,vfork", "ENOMEM", "1..4", "forking: Cannot allocate memory"),
        ("pipe2", "EMFILE", "1..4", "preparing the start: Too many open files"),
        ("pipe2", "ENFILE", "1..4", "preparing the start: Too many open files in system"),
    ] {
        let sandbox = Sandbox::new("");
        let rule = format!("inject={call}:error={error}:when={when}");
        let under = ["strace", "-qq", "-o", "strace.out", "-e", &rule];
        let outcome = sandbox.launch().under(&under).init(&["--", "sh", "-c", "echo ran; exit 7"]).finish();
        outcome.expect_code(7);
        assert_eq!(outcome.stdout, "ran\n", "{outcome}");
        assert_eq!(outcome.stderr.matches(words).count(), 1, "{outcome}");
        assert_eq!(sandbox.read("strace.out").matches("(INJECTED)").count(), 4, "{outcome}");
    }
}

/// The user may have no further process, until the limit is raised. TERM came before that, and is for the program.
#[test]
fn f91_init_waits_for_the_process_limit_to_be_raised() {
    if !has(Need::Root) {
        return;
    }
    let user = format!("{}", 3_000_000 + std::process::id());
    let sandbox = Sandbox::new("");
    sandbox.open_to_all();
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let limit = "shift; exec prlimit --nproc=1:1000 ./exeunt \"$@\"";
    let under = ["setsid", "setpriv", &uid, &gid, "--clear-groups", "sh", "-c", limit, "sh"];
    let script = "trap 'echo term; exit 5' TERM; echo up >&2; while :; do sleep 0.01; done";
    let run = sandbox.launch().under(&under).env("EXEUNT_LOG", "debug").init(&["--", "sh", "-c", script]).start();
    run.wait_for_words("forking: Resource temporarily unavailable", 3);
    let target = format!("--pid={}", run.pid());
    assert!(runs(&["setpriv", &uid, &gid, "--clear-groups", "prlimit", &target, "--nproc=500:1000"]));
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(5);
    assert_eq!(outcome.stdout, "term\n");
}
