//! What counts against a program, what does not, and what the report says of it.

use crate::support::{Need, QUICK_BACKOFF, QUICK_RESTART, Sandbox, has, numbered, pool, skip, state, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The entry of this instance in the report.
fn instance(report: &Value, name: &str) -> Value {
    let instances = report["instances"].as_array().cloned().unwrap_or_default();
    instances.into_iter().find(|instance| instance["name"] == name).unwrap_or_default()
}

/// `db`, and `web` that requires it.
fn db_and_web(db: &str) -> Sandbox {
    Sandbox::new(&format!(
        "[worker.db]\n{db}\n\n[worker.web]\ncommand = [\"sleep\", \"1000\"]\nrequires = [\"db\"]\nstop = [\"TERM 20s\"]\n"
    ))
}

#[test]
fn a_program_that_ends_before_it_was_ready_has_failed_whatever_its_code() {
    for restart in ["restart = \"never\"", "start-limit = { burst = 2, interval = \"60s\" }\non-give-up = \"ignore\""] {
        let db = format!("command = [\"true\"]\nready = {{ tcp = \"127.0.0.1:1\" }}\n{restart}\n{QUICK_RESTART}");
        let sandbox = db_and_web(&db);
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.contains("before it was ready (exit 0)"), "{outcome}");
        let never = "web.0 never started: worker db, which it requires, failed\n";
        assert!(outcome.stderr.contains(never), "{outcome}");
        let outcome = sandbox.launch().report_json().finish();
        outcome.expect_code(1);
        let web = instance(&outcome.report(), "web.0");
        assert_eq!(web["fate"], "never-started", "{outcome}");
        assert_eq!(web["reason"], json!({"kind": "requires", "worker": "db", "failed": true}), "{outcome}");
    }
}

/// Neither the probe of another worker nor what another worker starts in a session of its own is a daemon of a program that ends
/// well at once.
#[test]
fn good_ends_beside_workers_with_processes_in_sessions_of_their_own_are_no_failed_starts() {
    let others = [
        "command = [\"sleep\", \"1000\"]\nhealth = { command = [\"sleep\", \"0.1\"], interval = \"130ms\" }",
        "command = [\"sh\", \"-c\", \"while :; do setsid sleep 0.5 & sleep 0.2; done\"]",
    ];
    for other in others {
        let job =
            "command = [\"sh\", \"-c\", \"echo x >>ends; [ $$(wc -l <ends) -lt 15 ] || exec sleep 1000; sleep 0.1\"]";
        let limit = "start-limit = { burst = 2, interval = \"60s\" }";
        let keys = format!("[supervisor]\ncgroup = \"off\"\n\n[worker.other]\n{other}\n\n");
        let sandbox =
            Sandbox::new(&format!("{keys}[worker.job]\n{job}\nrestart = \"always\"\n{limit}\n{QUICK_RESTART}"));
        let run = sandbox.launch().start();
        until("15 starts, or the end of the run", || {
            (sandbox.lines("ends").len() >= 15 || state(run.pid()) == Some('Z')).then_some(())
        });
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        assert!(!outcome.stderr.contains("given up"), "{outcome}");
        outcome.expect_code(0);
    }
}

/// Mostly it is killed while it is starting, because `db` ends in that moment, and otherwise it is not started at all.
#[test]
fn a_worker_that_never_ran_for_what_it_requires_makes_the_exit_code_1() {
    let sandbox = db_and_web("command = [\"true\"]");
    let code_from_web =
        Sandbox::new(&format!("[supervisor]\nexit-code-from = \"web\"\n\n{}", sandbox.read("exeunt.toml")));
    for sandbox in [sandbox, code_from_web].iter().cycle().take(10) {
        let outcome = sandbox.launch().finish();
        if !outcome.stderr.contains("web.0 started") {
            outcome.expect_code(1);
        }
    }
}

#[test]
fn a_worker_that_a_stop_came_before_is_no_failure() {
    let sandbox = db_and_web("command = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\nready = { fd = 3 }");
    let run = sandbox.launch().report_json().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let web = instance(&outcome.report(), "web.0");
    assert_eq!((&web["fate"], &web["reason"]), (&json!("never-started"), &Value::Null), "{outcome}");
}

#[test]
fn a_worker_that_was_told_to_leave_before_it_was_ready_has_not_failed() {
    let config = "[worker.db]\ncommand = [\"sh\", \"-c\", \"trap 'exit 0' TERM; echo up >&2; while :; do sleep 0.05; done\"]\n\
        ready = { fd = 3 }\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn a_worker_that_fell_with_what_it_requires_did_not_end_by_itself() {
    let gate = "command = [\"sh\", \"-c\", \"echo >&3; until test -e go; do sleep 0.05; done\"]\nready = { fd = 3 }";
    let sandbox = db_and_web(gate);
    for json in [false, true] {
        let launch = sandbox.launch();
        let run = if json { launch.report_json() } else { launch }.start();
        run.wait_for_words("web.0 started", 1);
        sandbox.file("go", "");
        let outcome = run.finish();
        outcome.expect_code(0);
        sandbox.remove("go");
        if json {
            let web = instance(&outcome.report(), "web.0");
            assert_eq!((&web["fate"], &web["rung"]), (&json!("left"), &json!("TERM")), "{outcome}");
            assert_eq!(web["reason"], json!({"kind": "requires", "worker": "db"}), "{outcome}");
        } else {
            let because = "(signal TERM), because worker db, which it requires, was not ready any more\n";
            assert!(outcome.stderr.contains(because), "{outcome}");
            assert!(!outcome.stderr.contains("web.0 ended by itself"), "{outcome}");
        }
    }
}

#[test]
fn a_large_dead_letter_on_a_stderr_that_is_read_drops_no_message() {
    let config = "[queue.q]\nmax-item = \"1MiB\"\n[source.in]\nqueue = \"q\"\nstdin = true\n\
        [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *} broken\" >&4; done\n");
    let large = "x".repeat(700_000);
    let outcome = sandbox.launch().stdin_items(&["a", &large, "b"]).finish();
    assert_eq!(outcome.code, 65);
    assert!(!outcome.stderr.contains("dropped"), "a message was dropped");
    assert!(outcome.stderr.contains("item 3 of queue q is a dead letter"), "the message about the last one");
}

#[test]
fn what_exit_code_from_hides_is_in_the_report() {
    let work = pool("", "command = [\"sh\", \"w.sh\"]");
    let config = format!("[supervisor]\nexit-code-from = \"main\"\n{work}\n[worker.main]\ncommand = [\"true\"]\n");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *} broken\" >&4; done\n");
    let outcome = sandbox.launch().stdin_items(&["a"]).finish();
    outcome.expect_code(0);
    let hidden = "exit code 0 is that of worker main; without exit-code-from it would be 65: there are dead letters\n";
    assert!(outcome.stderr.contains(hidden), "{outcome}");
    let outcome = sandbox.launch().report_json().stdin_items(&["a"]).finish();
    let report = outcome.report();
    assert_eq!((&report["exit_code"], &report["code_of_all"]), (&json!(0), &json!(65)), "{outcome}");
}

#[test]
fn good_ends_are_no_failed_starts_and_a_quick_one_waits_a_tenth_of_a_second() {
    let config = "[worker.w]\ncommand = [\"sh\", \"-c\", \"echo once >>runs\"]\nrestart = \"always\"\n\
        restart-delay = { delay = \"0s\", max = \"0s\" }\nstart-limit = { burst = 2, interval = \"60s\" }\n";
    let sandbox = Sandbox::new(config);
    let began = Instant::now();
    let run = sandbox.launch().start();
    run.wait_for_words("w.0 started", 12);
    assert!(began.elapsed() >= Duration::from_millis(1100), "eleven pauses took {:?}", began.elapsed());
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("w.0 is restarted in 100ms"), "{outcome}");
}

/// A user that has a process already has one too many.
#[test]
fn a_limit_of_the_file_that_forbids_every_start_is_named_and_ends_the_run() {
    if !has(Need::PidNamespace) {
        return;
    }
    if !std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0) {
        return skip("only root may start a program as another user");
    }
    let config = "[worker.other]\ncommand = [\"sleep\", \"1000\"]\nuser = \"54321\"\nstop = [\"TERM 20s\"]\n\
        [worker.w]\nafter = [\"other\"]\ncommand = [\"true\"]\nuser = \"54321\"\nlimits = { nproc = 0 }\n\
        start-limit = { burst = 2, interval = \"1s\" }\n\
        restart-delay = { delay = \"1s\", factor = 1, max = \"1s\", jitter = 0 }\n";
    let sandbox = Sandbox::new(config);
    sandbox.open_to_all();
    let began = Instant::now();
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(began.elapsed() >= Duration::from_secs(10), "counted too often: {outcome}");
    assert!(outcome.stderr.contains("it is limited to nproc = 0 by `limits` in the file"), "{outcome}");
    assert!(outcome.stderr.contains("2 starts in a row failed for its own limit nproc"), "{outcome}");
}

#[test]
fn a_program_that_never_reads_is_given_up_and_its_items_are_kept() {
    let worker = format!(
        "command = [\"sleep\", \"1000\"]\nstop = [\"TERM 20s\"]\n\
         start-limit = {{ burst = 3, interval = \"100ms\" }}\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(&format!("item-timeout = \"300ms\"\nmax-attempts = 2\n{QUICK_BACKOFF}"), &worker));
    sandbox.file("items", "a\nb\n");
    let outcome = sandbox.launch().stdin_file("items").finish();
    outcome.expect_code(1);
    assert!(outcome.dead.is_empty(), "{outcome}");
    assert_eq!(outcome.leftovers, ["a", "b"], "{outcome}");
    assert!(outcome.stderr.contains("w.0 never read item 1.1"), "{outcome}");
    assert!(outcome.stderr.contains("worker w is given up: it did not read 3 items in a row"), "{outcome}");
}

/// One closes it at once, one together with its last word.
#[test]
fn a_worker_that_closes_its_replies_with_an_item_in_hand_does_not_stall_the_run() {
    for word in ["", "echo \"touch ${line%% *}\" >&4;"] {
        let worker = format!("command = [\"sh\", \"w.sh\"]\nstop = [\"TERM 20s\"]\n{QUICK_RESTART}");
        let sandbox =
            Sandbox::new(&pool(&format!("item-timeout = \"off\"\nmax-crashes = 2\n{QUICK_BACKOFF}"), &worker));
        sandbox.file("w.sh", &format!("IFS= read -r line <&3; {word} exec 4>&-; exec sleep 1000\n"));
        let outcome = sandbox.launch().stdin_items(&["a"]).finish();
        outcome.expect_code(65);
        assert_eq!(outcome.dead.len(), 1, "{outcome}");
        let said = "w.0 closed its reply pipe with an item unanswered and is stopped";
        assert_eq!(outcome.stderr.matches(said).count(), 2, "{outcome}");
    }
}

/// How many items each incarnation answered, as it wrote down at its end.
fn answered(sandbox: &Sandbox) -> Vec<u64> {
    sandbox.lines("lives").iter().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn replicas_are_replaced_one_by_one_and_none_takes_more_than_max_items() {
    let worker =
        "command = [\"sh\", \"w.sh\"]\nreplicas = 4\nmax-items = 20\nready = { fd = 6 }\nstop = [\"event 20s\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file(
        "w.sh",
        "sleep 0.2; echo >&6; n=0\n\
         while IFS= read -r line <&3; do n=$((n+1)); echo \"ok ${line%% *}\" >&4; done; echo $n >>lives\n",
    );
    let outcome = sandbox.launch().env("EXEUNT_LOG", "debug").stdin_items(&numbered(400)).finish();
    outcome.expect_code(0);
    let lives = answered(&sandbox);
    assert_eq!(lives.iter().sum::<u64>(), 400, "{lives:?}");
    assert!(lives.iter().all(|&life| life <= 20), "{lives:?}");
    let replaced: Vec<u64> = lives.into_iter().filter(|&life| life >= 16).collect();
    assert!(replaced.iter().any(|&life| life != replaced[0]), "each draws a limit of its own: {replaced:?}");
    // Between the moment in which one is asked to leave and that in which its successor is ready, no other is asked.
    let mut away = None;
    for line in outcome.stderr.lines() {
        let name = |line: &str| line.split_whitespace().find(|word| word.starts_with("w.")).map(str::to_owned);
        if line.contains("(max-items)") {
            assert_eq!(away, None, "{line}\n{outcome}");
            away = name(line);
        } else if line.contains("is ready after") && name(line) == away {
            away = None;
        }
    }
}
