//! Workers that are asked: by a connection, by HTTP, by a command; until they are ready, and whether they are well.

use crate::support::{Need, Run, Sandbox, has, marked, until};
use nix::sys::signal::Signal;
use std::net::TcpListener;

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `web` serves on `port`; `keys` may hold `@PORT@`. `next` starts when it is ready.
fn web(keys: &str) -> Sandbox {
    let port = port();
    let config = format!(
        "[worker.web]\ncommand = [\"@PYTHON@\", \"serve.py\", \"{port}\"]\n{}\n{QUICK}\n\n\
         [worker.next]\ncommand = [\"sh\", \"-c\", \"echo next up >&2; exec sleep 1000\"]\nafter = [\"web\"]\n",
        keys.replace("@PORT@", &port.to_string())
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("serve.py", include_str!("workers/serve.py"));
    sandbox
}

const QUICK: &str = crate::support::QUICK_RESTART;

/// A shell as the worker, which leaves on TERM; the keys are the test's own.
fn shell(keys: &str) -> Sandbox {
    let config = format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n{QUICK}\n");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", "trap 'echo left >&2; exit 0' TERM\necho up >&2\nwhile :; do sleep 0.02; done\n");
    sandbox
}

fn stop(run: Run) -> crate::support::Outcome {
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    outcome
}

/// Pids of the processes of this sandbox whose command line holds `word`.
fn with_word(sandbox: &Sandbox, word: &str) -> Vec<i32> {
    let has_word = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    };
    marked(&sandbox.mark()).into_iter().map(|process| process.pid).filter(has_word).collect()
}

#[test]
fn a_connection_that_is_accepted_is_yes() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = web("ready = { tcp = \"localhost:@PORT@\" }");
    sandbox.file("closed", "");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: web.0 started");
    sandbox.remove("closed");
    run.wait_for_line("opens");
    run.wait_for_line("exeunt: web.0 is ready after");
    run.wait_for_line("next up");
    let outcome = stop(run);
    let place = |words: &str| outcome.stderr.find(words).unwrap();
    assert!(place("opens") < place("web.0 is ready"), "{outcome}");
}

/// localhost is 127.0.0.1, where nobody is, and ::1. Before it opens both say no, and that is an answer too.
#[test]
fn who_listens_at_either_address_of_localhost_is_found() {
    if !has(Need::Python) || !has(Need::Ipv6) {
        return;
    }
    for question in ["tcp = \"localhost:@PORT@\"", "http = \"http://localhost:@PORT@/\""] {
        let health = format!("{{ {question}, interval = \"10ms\", failures = 2 }}");
        let sandbox = web(&format!("ready = {{ {question} }}\nhealth = {health}\nenv = {{ HOST = \"::1\" }}"));
        sandbox.file("closed", "");
        let run = sandbox.launch().start();
        run.wait_for_line("exeunt: web.0 started");
        sandbox.remove("closed");
        run.wait_for_line("exeunt: web.0 is ready after");
        run.wait_for_line("next up");
        let outcome = stop(run);
        assert!(!outcome.stderr.contains("unwell"), "{outcome}");
    }
}

/// Where both refuse, the answer is no long before the time for it is over.
#[test]
fn where_both_addresses_of_localhost_refuse_the_answer_is_no() {
    let health = format!("{{ tcp = \"localhost:{}\", interval = \"10ms\", timeout = \"10m\", failures = 2 }}", port());
    let sandbox = shell(&format!("health = {health}\nstart-limit = \"off\""));
    let run = sandbox.launch().start();
    let why = "the last answer: Connection refused";
    run.wait_for_line(&format!("exeunt: warning: w.0 was found unwell 2 times in a row and is stopped; {why}"));
    stop(run);
}

#[test]
fn a_good_status_is_yes_and_a_bad_one_no() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = web("ready = { http = \"http://127.0.0.1:@PORT@/ready?deep=1\" }");
    sandbox.file("status", "503");
    let run = sandbox.launch().start();
    sandbox.wait_for_line("asked", "/ready?deep=1 503");
    sandbox.file("status.new", "302");
    std::fs::rename(sandbox.path("status.new"), sandbox.path("status")).unwrap();
    run.wait_for_line("exeunt: web.0 is ready after");
    run.wait_for_line("next up");
    stop(run);
    let asked = sandbox.lines("asked");
    assert_eq!(asked.iter().filter(|line| line.ends_with("302")).count(), 1, "{asked:?}");
}

/// The program that asks is found without /proc too.
#[test]
fn http_is_asked_without_proc() {
    if !has(Need::Python) || !has(Need::Root) {
        return;
    }
    let sandbox = web("ready = { http = \"http://127.0.0.1:@PORT@/\" }");
    let hide = ["unshare", "--mount", "sh", "-c", "umount -l /proc && ! [ -e /proc/self ] && exec \"$@\"", "sh"];
    let run = sandbox.launch().under(&hide).start();
    run.wait_for_line("exeunt: web.0 is ready after");
    stop(run);
}

#[test]
fn a_command_asks_as_its_worker() {
    let probe = "echo \"$EXEUNT_INSTANCE $COLOUR ${EXEUNT_READY_FD-no}${NOTIFY_SOCKET-no} $(pwd -P) $#$0\" >told; \
        test -e there || exit 7";
    let sandbox = shell(&format!(
        "ready = {{ command = [\"sh\", \"-c\", '{}', \"of ${{EXEUNT_INSTANCE}}\"] }}\nworking-directory = \"sub\"\nenv = {{ COLOUR = \"red\" }}",
        probe.replace('$', "$$")
    ));
    std::fs::create_dir(sandbox.path("sub")).unwrap();
    std::fs::rename(sandbox.path("w.sh"), sandbox.path("sub/w.sh")).unwrap();
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    let told = sandbox.wait_for_line("sub/told", " ");
    let sub = sandbox.path("sub").canonicalize().unwrap();
    assert_eq!(told, format!("w.0 red nono {} 0of w.0", sub.display()));
    sandbox.file("sub/there", "");
    run.wait_for_line("exeunt: w.0 is ready after");
    stop(run);
}

#[test]
fn a_command_asks_as_the_user_of_its_worker() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = shell("user = \"65534\"\nready = { command = [\"sh\", \"-c\", \"id -u >asked-as\"] }");
    sandbox.open_to_all();
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    assert_eq!(sandbox.read("asked-as"), "65534\n");
    stop(run);
}

#[test]
fn what_a_command_leaves_behind_is_killed() {
    let sandbox = shell("ready = { command = [\"sh\", \"-c\", \"sleep 1234 & sleep 1234 & echo $$! >left; exit 0\"] }");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    assert!(sandbox.exists("left"));
    until("the rest of the probe to be gone", || with_word(&sandbox, "1234").is_empty().then_some(()));
    stop(run);
}

/// A pipeline, a child in a group of its own: all in the probe's session.
const HANGS: &str = "[\"sh\", \"-c\", \"sleep 1235 | sleep 1235 & trap '' TERM; echo x >>asked; sleep 1235\"]";

#[test]
fn a_probe_that_hangs_is_killed_with_its_children_and_the_worker_is_unwell() {
    let health =
        "{ command = @HANGS@, interval = \"10ms\", timeout = \"500ms\", failures = 2 }".replace("@HANGS@", HANGS);
    let sandbox = shell(&format!("health = {health}\nstart-limit = \"off\""));
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: warning: w.0 was found unwell 2 times in a row and is stopped");
    run.wait_for_line("left");
    run.wait_for_lines("up", 2);
    sandbox.wait_for_line("asked", "x");
    let at_once = with_word(&sandbox, "1235").len();
    assert!(at_once <= 4, "{at_once} are left of several probes");
    let outcome = stop(run);
    assert!(!outcome.stderr.contains("left behind") && !outcome.stderr.contains("cannot be killed"), "{outcome}");
}

#[test]
fn a_stop_does_not_wait_for_a_probe() {
    let sandbox = shell(&format!("health = {{ command = {HANGS}, interval = \"10ms\", timeout = \"10m\" }}"));
    let run = sandbox.launch().start();
    sandbox.wait_for_line("asked", "x");
    let outcome = stop(run);
    assert!(!outcome.stderr.contains("process"), "nobody is to be swept out: {outcome}");
}

#[test]
fn the_death_of_a_worker_ends_its_probe() {
    let sandbox = shell(&format!("ready = {{ command = {HANGS} }}\nrestart = \"never\""));
    sandbox.file("w.sh", "while ! [ -s asked ]; do sleep 0.01; done; exit 3\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("w.0 ended by itself"), "{outcome}");
    assert!(!outcome.stderr.contains("left behind"), "its probe is not its own: {outcome}");
    assert_eq!(sandbox.lines("asked"), ["x"]);
}

#[test]
fn no_probe_outlives_us() {
    let keys = "parent-death-signal = \"KILL\"\nready = { command = [\"sleep\", \"1236\"] }";
    let sandbox = shell(keys);
    sandbox.file("w.sh", "exec sleep 1237\n");
    let run = sandbox.launch().start();
    until("the probe", || (!with_word(&sandbox, "1236").is_empty()).then_some(()));
    run.signal(Signal::SIGKILL);
    sandbox.wait_until_empty();
}

#[test]
fn a_probe_that_cannot_be_started_is_no_and_is_said_once() {
    let keys = "ready = { command = [\"./no-such-probe\"] }\nstart-timeout = \"2s\"\nstart-limit = { burst = 1, interval = \"60s\" }";
    let sandbox = shell(keys);
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    let words = "the probe of w.0 cannot be started: executing ./no-such-probe: No such file or directory";
    assert_eq!(outcome.stderr.matches(words).count(), 1, "{outcome}");
    let why = "the last answer of its probe (./no-such-probe): the probe could not be started: No such file";
    assert!(outcome.stderr.contains(&format!("w.0 was not ready within 2s and is stopped: {why}")), "{outcome}");
}

#[test]
fn who_is_found_unwell_is_stopped_by_its_ladder_and_started_again() {
    if !has(Need::Python) {
        return;
    }
    let health = "{ http = \"http://127.0.0.1:@PORT@/health\", interval = \"20ms\", timeout = \"20s\", failures = 3 }";
    let sandbox = web(&format!("ready = {{ tcp = \"127.0.0.1:@PORT@\" }}\nhealth = {health}"));
    let run = sandbox.launch().start();
    sandbox.wait_for_line("asked", "/health 200");
    sandbox.file("status", "500");
    let why = "the last answer: HTTP status 500";
    run.wait_for_line(&format!("exeunt: warning: web.0 was found unwell 3 times in a row and is stopped; {why}"));
    sandbox.remove("status");
    run.wait_for_lines("exeunt: web.0 is ready after", 2);
    let asked = sandbox.lines("asked");
    assert!(asked.iter().filter(|line| line.ends_with("500")).count() >= 3, "{asked:?}");
    stop(run);
}

#[test]
fn a_server_that_accepts_and_never_answers_is_unwell() {
    if !has(Need::Python) {
        return;
    }
    let health = "{ http = \"http://127.0.0.1:@PORT@/\", interval = \"10ms\", timeout = \"400ms\", failures = 1 }";
    let sandbox = web(&format!("ready = {{ tcp = \"127.0.0.1:@PORT@\" }}\nhealth = {health}\nstart-limit = \"off\""));
    sandbox.file("status", "0");
    let run = sandbox.launch().start();
    let why = "the last answer: none within 400ms";
    run.wait_for_line(&format!("exeunt: warning: web.0 was found unwell 1 time in a row and is stopped; {why}"));
    sandbox.remove("status");
    run.wait_for_lines("exeunt: web.0 is ready after", 2);
    stop(run);
}

/// Nobody answers there, not even by a refusal: a connection that comes to nothing is a no when its time is over.
#[test]
fn a_connection_that_comes_to_nothing_is_no() {
    if !has(Need::Python) {
        return;
    }
    let port = port();
    // A listener whose queue is full drops what comes.
    let full = format!(
        "import os, socket, signal\naddress = ('127.0.0.1', {port})\nqueue = socket.socket()\nqueue.bind(address)\nqueue.listen(0)\n\
         full = [socket.socket() for _ in range(8)]\nfor each in full:\n    each.setblocking(False)\n    each.connect_ex(address)\n\
         os.write(int(os.environ['EXEUNT_READY_FD']), b'\\n')\nsignal.pause()\n"
    );
    let health = format!("{{ tcp = \"127.0.0.1:{port}\", interval = \"10ms\", timeout = \"100ms\", failures = 2 }}");
    let config = format!(
        "[worker.w]\ncommand = [\"@PYTHON@\", \"full.py\"]\nready = {{ fd = 3 }}\nhealth = {health}\nstart-limit = \"off\"\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("full.py", &full);
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: warning: w.0 was found unwell 2 times in a row and is stopped");
    stop(run);
}

/// What a message says of the last answer: how the command ended, what the server said, or that there was none.
#[test]
fn the_last_answer_of_a_probe_is_told_with_what_follows_from_it() {
    let cases = [
        ("ready = { command = [\"sh\", \"-c\", \"exit 3\"] }", "the last answer of its probe (sh): exit 3"),
        (
            "ready = { command = [\"sh\", \"-c\", \"kill -USR1 $$$$\"] }",
            "the last answer of its probe (sh): signal USR1",
        ),
        ("ready = { fd = 7 }", "it wrote no line feed to descriptor 7"),
        ("ready = { notify = true }", "it did not send READY=1"),
        ("ready = { command = [\"sleep\", \"1000\"] }", "its probe (sleep) had no answer yet"),
    ];
    for (ready, why) in cases {
        let keys = format!("{ready}\nstart-timeout = \"400ms\"\nstart-limit = {{ burst = 1, interval = \"60s\" }}");
        let outcome = shell(&keys).launch().finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.contains(&format!("within 400ms and is stopped: {why}\n")), "{ready}: {outcome}");
    }
    let (health, why) = ("{ command = [\"sh\", \"-c\", \"exit 7\"], interval = \"10ms\", failures = 2 }", "exit 7");
    let sandbox = shell(&format!("health = {health}\nstart-limit = \"off\""));
    let run = sandbox.launch().start();
    run.wait_for_line_with(&format!("found unwell 2 times in a row and is stopped; the last answer: {why}"));
    stop(run);
}

/// Its status is not found in an exit code: the process that asks tells it.
#[test]
fn the_status_of_a_server_that_is_never_ready_is_told() {
    if !has(Need::Python) {
        return;
    }
    let keys = "start-timeout = \"3s\"\nstart-limit = { burst = 1, interval = \"60s\" }";
    let sandbox = web(&format!("ready = {{ http = \"http://127.0.0.1:@PORT@/\" }}\n{keys}"));
    sandbox.file("status", "503");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    let told =
        outcome.stderr.lines().find(|line| line.contains("web.0 was not ready within 3s and is stopped: ")).unwrap();
    assert!(told.contains("the last answer of its probe (http://127.0.0.1:"), "{outcome}");
    assert!(told.ends_with("/): HTTP status 503"), "{outcome}");
}
