//! What the exit code says: 0, 1, 2, 65, 75, 78, or a program's own.

use crate::support::{QUICK_BACKOFF, QUICK_RESTART, Sandbox, numbered, pool, sorted};
use nix::sys::signal::Signal;

const ECHO: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";

fn echo_pool(queue: &str, worker: &str, rest: &str) -> Sandbox {
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n{worker}");
    let sandbox = Sandbox::new(&format!("{}\n{rest}", pool(queue, &worker)));
    sandbox.file("w.sh", ECHO);
    sandbox
}

#[test]
fn exit_0_when_all_work_is_done() {
    let sandbox = echo_pool("", "replicas = 3", "");
    let outcome = sandbox.launch().stdin_items(&numbered(30)).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(numbered(30)), "{outcome}");
    assert!(!sandbox.exists("left.txt") && !sandbox.exists("left.txt.dead"), "nothing to keep, no file");
}

#[test]
fn exit_0_without_any_work() {
    echo_pool("", "", "").launch().finish().expect_code(0);
}

#[test]
fn exit_0_when_stopped_with_nothing_unfinished() {
    let sandbox = echo_pool("", "", "");
    let mut run = sandbox.launch().stdin_pipe().start();
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), b"a\n").unwrap();
    assert!(run.wait_for_results(1));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn exit_65_when_an_item_failed() {
    let sandbox = echo_pool("", "", "");
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *} broken\" >&4; done\n");
    let outcome = sandbox.launch().stdin_items(&["a"]).finish();
    outcome.expect_code(65);
    assert_eq!(outcome.dead.len(), 1, "{outcome}");
}

/// `restart = "never"` is one try, also where that try comes to nothing before the program runs.
#[test]
fn exit_1_after_one_try_when_a_start_fails_and_restart_is_never() {
    for broken in ["working-directory = \"nowhere\"", "env-from-file = { TOKEN = \"nothing\" }"] {
        let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"true\"]\nrestart = \"never\"\n{broken}\n"));
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        assert!(!outcome.stderr.contains("is restarted"), "{outcome}");
        assert!(outcome.stderr.contains("worker w is given up, it cannot be started"), "{outcome}");
    }
}

/// Without `leftovers` the unfinished items are JSON lines on stderr.
#[test]
fn exit_75_with_the_leftovers_on_stderr_when_there_is_no_file_for_them() {
    let config = "[queue.q]\n[source.in]\nqueue = \"q\"\nstdin = true\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"event 20s\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do echo holding >&2; read -r _ <&5; echo \"ok ${line%% *}\" >&4; done\n",
    );
    sandbox.file("items", "first\nsecond \"quoted\"\nthird\n");
    let run = sandbox.launch().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    let values = outcome.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let kept: Vec<String> = values.map(|value| value.to_string()).collect();
    for item in ["second", "third"] {
        assert_eq!(kept.iter().filter(|line| line.contains(item)).count(), 1, "{item} in {kept:?}\n{outcome}");
    }
    assert!(!kept.iter().any(|line| line.contains("first")), "{outcome}");
}

#[test]
fn exit_1_when_a_service_is_given_up() {
    let config = format!(
        "[worker.broken]\ncommand = [\"sh\", \"-c\", \"echo once >>starts; exit 3\"]\n\
         start-limit = {{ burst = 3, interval = \"60s\" }}\n{QUICK_RESTART}\n\
         [worker.fine]\ncommand = [\"sleep\", \"1000\"]\n"
    );
    let sandbox = Sandbox::new(&config);
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    let starts = sandbox.lines("starts").len();
    assert!((3..=4).contains(&starts), "{starts} starts\n{outcome}");
}

#[test]
fn exit_1_when_a_queue_worker_is_given_up_and_its_items_are_leftovers() {
    let sandbox = echo_pool("", &format!("start-limit = {{ burst = 2, interval = \"60s\" }}\n{QUICK_RESTART}"), "");
    sandbox.file("w.sh", "exit 9\n");
    sandbox.file("items", "a\nb\nc\n");
    let outcome = sandbox.launch().stdin_file("items").finish();
    outcome.expect_code(1);
    assert_eq!(sorted(&outcome.leftovers), ["a", "b", "c"], "{outcome}");
}

#[test]
fn f23_a_command_that_is_not_there_gives_up_at_once_and_says_why() {
    for (command, word) in
        [("no-such-program-here", "o such file"), ("./w.sh", "ermission denied"), ("./sub", "ermission")]
    {
        let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"{command}\"]\n"));
        sandbox.file("w.sh", "exit 0\n");
        std::fs::create_dir(sandbox.path("sub")).unwrap();
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.contains(word), "{command}: {outcome}");
    }
}

#[test]
fn exit_1_when_a_source_command_fails_and_its_items_are_done() {
    let config = "[queue.q]\nleftovers = \"left.txt\"\n\
        [source.in]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"echo a; echo b; exit 3\"]\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("w.sh", ECHO);
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert_eq!(outcome.results(), ["a", "b"], "{outcome}");
}

#[test]
fn exit_78_for_a_file_that_is_wrong_and_nothing_is_started() {
    let sandbox =
        Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"echo started >>started\"]\nrestrat = \"never\"\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(78);
    assert!(outcome.stderr.contains("restrat") && outcome.stderr.contains("restart"), "{outcome}");
    assert!(outcome.stderr.contains("exeunt.toml:3:"), "{outcome}");
    assert!(!sandbox.exists("started"));
}

#[test]
fn exit_2_for_wrong_usage() {
    let sandbox = Sandbox::new("");
    for arguments in [&["run", "--no-such-flag"][..], &["no-such-command"], &["run", "a.toml", "b.toml"]] {
        let outcome = sandbox.launch().arguments(arguments).finish();
        assert_eq!(outcome.code, 2, "{arguments:?}: {outcome}");
    }
}

#[test]
fn end_work_stops_the_services_when_the_work_is_done() {
    let rest = "[supervisor]\nend = \"work\"\n[worker.service]\ncommand = [\"sleep\", \"1000\"]\nreplicas = 2\n";
    let outcome = echo_pool("", "", rest).launch().stdin_items(&numbered(5)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), numbered(5), "{outcome}");
}

/// `end = "idle"`: a service that is up keeps the run alive after the last item.
#[test]
fn end_idle_waits_for_the_services() {
    let rest = "[worker.service]\ncommand = [\"sh\", \"s.sh\"]\n";
    let sandbox = echo_pool("", "", rest);
    sandbox.file("s.sh", "echo serving >&2; read -r _ <gate; echo served >&2\n");
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().stdin_items(&["a"]).start();
    run.wait_for_line("serving");
    assert!(run.wait_for_results(1));
    gate.open();
    run.wait_for_line("served");
    run.finish().expect_code(0);
}

#[test]
fn f40_exit_code_from_is_the_programs_own() {
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)] {
        let config = "[supervisor]\nexit-code-from = \"main\"\n\
            [worker.main]\ncommand = [\"sh\", \"main.sh\"]\nrestart = \"never\"\n";
        let sandbox = Sandbox::new(config);
        sandbox.file("main.sh", &format!("{script}\n"));
        sandbox.launch().finish().expect_code(code);
    }
}

#[test]
fn f40_exit_code_from_holds_after_a_stop_too() {
    let config = "[supervisor]\nexit-code-from = \"main\"\n[worker.main]\ncommand = [\"sh\", \"main.sh\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("main.sh", "trap 'exit 42' TERM; echo up >&2; while :; do sleep 0.05; done\n");
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(42);
}

#[test]
fn success_exit_status_is_a_success() {
    let config = format!(
        "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo once >>starts; exit 143\"]\n\
         success-exit-status = [0, 143]\n{QUICK_RESTART}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.launch().finish().expect_code(0);
    assert_eq!(sandbox.lines("starts").len(), 1);
}

#[test]
fn restart_never_is_never() {
    let config = "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo once >>starts; exit 5\"]\nrestart = \"never\"\n";
    let sandbox = Sandbox::new(config);
    sandbox.launch().finish();
    assert_eq!(sandbox.lines("starts").len(), 1);
}

/// A given-up worker with `on-give-up = "ignore"` does not end the run, but it is told in the exit code.
#[test]
fn on_give_up_ignore_lets_the_others_live_and_exits_1() {
    let rest = format!(
        "[worker.broken]\ncommand = [\"false\"]\non-give-up = \"ignore\"\n\
         start-limit = {{ burst = 1, interval = \"60s\" }}\n{QUICK_RESTART}\n"
    );
    let outcome = echo_pool("", "", &rest).launch().stdin_items(&numbered(5)).finish();
    outcome.expect_code(1);
    assert_eq!(outcome.results(), numbered(5), "{outcome}");
}

/// Dead letters and leftovers: 75 comes before 65.
#[test]
fn exit_75_comes_before_65() {
    let script = "while IFS= read -r line <&3; do id=${line%% *}\n\
        case ${line#* } in bad) echo \"fail $id\" ;; *) echo holding >&2; read -r _ <&5; echo \"release $id\" ;; esac >&4\ndone\n";
    let sandbox = echo_pool(QUICK_BACKOFF, "stop = [\"event 20s\"]", "");
    sandbox.file("w.sh", script);
    let run = sandbox.launch().stdin_items(&["bad", "good"]).start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGINT);
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!((outcome.dead.len(), outcome.leftovers.len()), (1, 1), "{outcome}");
}

#[test]
fn version_and_help_say_what_they_are() {
    let sandbox = Sandbox::new("");
    let version = sandbox.launch().arguments(&["--version"]).finish();
    version.expect_code(0);
    assert_eq!(version.stdout.trim(), concat!("exeunt ", env!("CARGO_PKG_VERSION")));
    let help = sandbox.launch().arguments(&["--help"]).finish();
    help.expect_code(0);
    assert!(["run", "check", "schema"].iter().all(|word| help.stdout.contains(word)), "{help}");
}
