//! F30, F33, F34, F36: clocks that jump, clocks at their ends, and a processor that is hardly ever ours.

use crate::support::{
    Controller, Need, Over, QUICK_BACKOFF, Run, Sandbox, has, numbered, pool, runs, send, sorted, state, until,
};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Everything that has a time: a crash with a delay before the restart, an item that is retried with one, an item's clock, a
/// worker that is held until the stop, rungs.
fn timed() -> Sandbox {
    let keys = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 30s\", \"TERM 5s\"]\n\
        restart-delay = { delay = \"20ms\", factor = 1, max = \"20ms\", jitter = 0, reset-after = \"10s\" }";
    let sandbox = Sandbox::new(&pool(&format!("item-timeout = \"10m\"\n{QUICK_BACKOFF}"), keys));
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do id=${line%% *} item=${line#* }\n\
         case $item in\n\
         item-2) [ -e died ] || { : >died; kill -9 $$; } ;;\n\
         item-3) [ -e died-twice ] || { : >died-twice; kill -9 $$; } ;;\n\
         item-4) [ -e retried ] || { : >retried; echo \"retry $id\" >&4; continue; } ;;\n\
         item-9) echo holding >&2; read -r line <&5; echo \"$line\" >told ;;\n\
         esac\n\
         echo \"ok $id $item\" >&4; done\n",
    );
    sandbox
}

fn assert_all_was_in_time(sandbox: &Sandbox, mut run: Run, signalled: i32) {
    let items = numbered(10);
    run.feed(&items[..8]);
    assert!(run.wait_for_results(8));
    run.feed(&items[8..]);
    run.wait_for_line("holding");
    send(signalled, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(sorted(outcome.results()), sorted(numbered(9)), "{outcome}");
    assert_eq!(outcome.leftovers, ["item-10"], "{outcome}");
    assert_eq!((outcome.count("crashed"), outcome.count("timed_out")), (2, 0), "{outcome}");
    let told = sandbox.read("told");
    let milliseconds: u64 = told.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(told.starts_with("stop shutdown") && (1..=30_000).contains(&milliseconds), "{told}");
    assert!(!outcome.stderr.contains("woke up"), "no clock was taken for a delay of ours\n{outcome}");
}

/// Each reading of the wall clock is a year before or behind the one before. Monotonic clocks are let be.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static int (*real)(clockid_t, struct timespec *);
static int count;
static long jump(void) { return (count++ % 2 ? 1 : -1) * 31536000L; }
__attribute__((constructor)) static void loaded(void) {
    int fd = open("shim", O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd >= 0) { if (write(fd, "loaded\n", 7)) {} close(fd); }
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int told = real(clock, at);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += jump();
    return told;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

#[test]
fn f33_a_wall_clock_that_jumps_by_years_has_no_effect() {
    if !has(Need::CCompiler) {
        return;
    }
    let sandbox = timed();
    sandbox.file("shim.c", SHIM);
    let at = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    assert!(runs(&["cc", "-shared", "-fPIC", "-O1", "-o", &at("shim.so"), &at("shim.c"), "-ldl"]));
    let run = sandbox.launch().env("LD_PRELOAD", &at("shim.so")).report_json().stdin_pipe().start();
    let pid = run.pid();
    assert_all_was_in_time(&sandbox, run, pid);
    let loaded = sandbox.lines("shim").len();
    assert!(loaded >= 2, "exeunt and its workers were to have the shim, {loaded} had it");
}

#[test]
fn f34_a_monotonic_clock_near_zero_has_no_effect() {
    // From zero on, where `now - interval` would be before all time.
    in_a_time_namespace(-i64::try_from(monotonic_seconds()).unwrap());
}

#[test]
fn f34_a_monotonic_clock_of_a_hundred_years_has_no_effect() {
    in_a_time_namespace(100 * 365 * 24 * 60 * 60);
}

fn in_a_time_namespace(offset: i64) {
    if !has(Need::TimeNamespace) {
        return;
    }
    let sandbox = timed();
    let offset = offset.to_string();
    let launcher = ["unshare", "--time", "--monotonic", &offset, "--boottime", &offset, "--fork"];
    let run = sandbox.launch().under(&launcher).report_json().stdin_pipe().start();
    let pid = run.inner_pid();
    assert_all_was_in_time(&sandbox, run, pid);
}

fn monotonic_seconds() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

/// One part in a hundred of a processor, by the quota of a control group into which we alone are put.
#[test]
fn f36_with_a_hundredth_of_a_processor_order_and_counts_are_right() {
    if !has(Need::ProcessorGroup) {
        return;
    }
    let sandbox = Sandbox::new(&format!(
        "{}[worker.last]\ncommand = [\"sh\", \"last.sh\"]\nstop = [\"TERM 40s\"]\n",
        pool(
            &format!("item-timeout = \"30s\"\n{QUICK_BACKOFF}"),
            "command = [\"sh\", \"w.sh\"]\nreplicas = 3\nresults = \"stdout\"\nstop = [\"event 40s\"]\nafter = [\"last\"]",
        )
    ));
    sandbox.file(
        "w.sh",
        "echo up >&2; while IFS= read -r line <&3; do [ \"${line#* }\" = item-60 ] && { echo holding >&2; read -r _ <&5; }\n\
         echo \"ok ${line%% *} ${line#* }\" >&4; done\necho bye >>bye\n",
    );
    sandbox.file("last.sh", "trap 'echo last >>bye; exit 0' TERM; echo up >&2; while :; do sleep 0.1; done\n");
    let group = Controller::new(&sandbox, "cpu", ["cpu.cfs_quota_us=1000", "cpu.max=1000 100000"]);
    let mut run = sandbox.launch().under(&group.launcher(false)).report_json().stdin_pipe().start();
    run.wait_for_lines("up", 4);
    let exeunt = run.inner_pid();
    group.enter(&run, exeunt);
    run.feed(&numbered(60));
    run.wait_for_line("holding");
    assert!(run.wait_for_results(59));
    let held_back = group.read(&run, "cpu.stat");
    send(exeunt, Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(60)), "{outcome}");
    assert_eq!((outcome.count("crashed"), outcome.count("timed_out")), (0, 0), "{outcome}");
    assert_eq!(sandbox.lines("bye"), ["bye", "bye", "bye", "last"], "{outcome}");
    assert!(held_back.contains("nr_throttled") && !held_back.contains("nr_throttled 0\n"), "{held_back}");
}

/// We are frozen in the middle of a stop for longer than its rung lasts: whoever was told has its whole time all the same.
#[test]
fn f30_a_freeze_of_ours_in_a_stop_takes_nobody_his_time() {
    let sandbox = Sandbox::new("[worker.w]\nreplicas = 3\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"TERM 3s\"]\n");
    sandbox.file(
        "w.sh",
        "trap 'echo told >&2; read -r _ <gate; echo bye >>bye; exit 0' TERM; echo up >&2; while :; do sleep 0.02; done\n",
    );
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 3);
    run.signal(Signal::SIGTERM);
    run.wait_for_lines("told", 3);
    run.signal(Signal::SIGSTOP);
    until("the freeze", || (state(run.pid()) == Some('T')).then_some(()));
    // Longer than the rung: the span of the freeze is the very thing that is tested.
    std::thread::sleep(Duration::from_millis(4500));
    run.signal(Signal::SIGCONT);
    run.wait_for_words("late (stopped or starved); all clocks are shifted", 1);
    gate.open();
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("bye"), ["bye"; 3], "{outcome}");
    assert!(!outcome.stderr.contains("KILL rung") && !outcome.stderr.contains("signal KILL"), "{outcome}");
}

/// We get a moment now and then: order and counts are as ever, all is only late, and lateness is not held against anybody.
#[test]
fn f36_with_hardly_any_processor_order_and_counts_are_right() {
    let sandbox = Sandbox::new(&pool(
        &format!("item-timeout = \"30s\"\n{QUICK_BACKOFF}"),
        "command = [\"sh\", \"w.sh\"]\nreplicas = 3\nresults = \"stdout\"\nstop = [\"event 40s\"]",
    ));
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do [ \"${line#* }\" = item-60 ] && { echo holding >&2; read -r _ <&5; }\n\
         echo \"ok ${line%% *} ${line#* }\" >&4; done\necho bye >>bye\n",
    );
    let run = sandbox.launch().report_json().stdin_items(&numbered(60)).start();
    let pid = run.pid();
    let outcome = std::thread::scope(|scope| {
        let over = Over::default();
        let ended = over.flag();
        scope.spawn(move || {
            // Here a span of time is the very thing that is meant: one part in twenty.
            while !ended.load(std::sync::atomic::Ordering::Relaxed) && !matches!(state(pid), None | Some('Z')) {
                send(pid, Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(38));
                send(pid, Signal::SIGCONT);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        run.wait_for_line("holding");
        // The other two may do all the work before the third is up.
        run.wait_for_words(" started", 3);
        assert!(run.wait_for_results(59));
        send(pid, Signal::SIGTERM);
        until("the end", || matches!(state(pid), None | Some('Z')).then_some(()));
        drop(over);
        run.finish()
    });
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(60)), "{outcome}");
    assert_eq!((outcome.count("crashed"), outcome.count("timed_out")), (0, 0), "{outcome}");
    assert_eq!(sandbox.lines("bye").len(), 3, "{outcome}");
}
