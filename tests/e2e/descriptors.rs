//! F92, F112: how many descriptors exeunt may have, what it needs, and what its children are given.

use crate::support::{QUICK_BACKOFF, Sandbox, pool};
use nix::sys::signal::Signal;

/// A script under which exeunt has these limits, soft and hard.
fn limited(limits: &str) -> [String; 2] {
    ["prlimit".to_owned(), format!("--nofile={limits}")]
}

#[test]
fn f92_a_low_soft_limit_does_not_end_many_services() {
    let script = "ulimit -Sn; ulimit -Hn; exec sleep 1000";
    let config =
        format!("[worker.w]\ncommand = [\"sh\", \"-c\", \"{script}\"]\nreplicas = 80\nstop = [\"TERM 20s\"]\n");
    let sandbox = Sandbox::new(&config);
    let under = limited("64:4096");
    let run = sandbox.launch().under(&[&under[0], &under[1]]).start();
    assert!(run.wait_for_results(160), "each tells its limits");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("Too many open files"), "{outcome}");
    let (soft, hard): (Vec<String>, Vec<String>) = outcome.results().into_iter().partition(|line| line == "64");
    assert_eq!((soft.len(), hard.len()), (80, 80), "{outcome}");
    assert!(hard.iter().all(|line| line == "4096"), "{outcome}");
}

/// Sources and probes too; and what the file says wins.
#[test]
fn f112_every_child_has_the_soft_limit_that_exeunt_was_started_with() {
    let config = format!(
        "[queue.q]\n{QUICK_BACKOFF}\n[source.s]\nqueue = \"q\"\ncommand = [\"sh\", \"-c\", \"ulimit -Sn\"]\n\
         [worker.w]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nlimits = {{ nofile = {{ soft = 50 }} }}\n\
         ready = {{ command = [\"sh\", \"-c\", \"ulimit -Sn >probe\"] }}\n"
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do echo ${line#* } $(ulimit -Sn) >seen; echo \"ok ${line%% *}\" >&4; done\n",
    );
    let under = limited("77:4096");
    sandbox.launch().under(&[&under[0], &under[1]]).finish().expect_code(0);
    assert_eq!((sandbox.read("seen").trim(), sandbox.read("probe").trim()), ("77 50", "50"));
    let config = config.replace("limits = { nofile = { soft = 50 } }\n", "");
    sandbox.config(&config);
    sandbox.launch().under(&[&under[0], &under[1]]).finish().expect_code(0);
    assert_eq!((sandbox.read("seen").trim(), sandbox.read("probe").trim()), ("77 77", "77"));
}

#[test]
fn check_warns_where_the_hard_limit_is_too_low_and_not_where_the_soft_one_is() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"true\"]\nreplicas = 40\n");
    let check = |limits: &str| {
        let under = limited(limits);
        sandbox.launch().arguments(&["check"]).under(&[&under[0], &under[1]]).finish()
    };
    let outcome = check("30:50");
    assert!(outcome.stderr.contains("file descriptors may be needed, the hard limit is 50 (ulimit -Hn)"), "{outcome}");
    assert!(!check("30:4096").stderr.contains("descriptors"));
}

#[test]
fn check_warns_where_a_user_may_not_have_so_many_processes() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"true\"]\nreplicas = 40\n");
    sandbox.open_to_all();
    let drop = ["setpriv", "--reuid=54322", "--regid=54322", "--clear-groups", "--bounding-set=-all", "prlimit"];
    let drop = if crate::support::runs(&[&drop[..5], &["true"]].concat()) { &drop[..] } else { &drop[5..] };
    if std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0) && drop.len() == 1
    {
        return crate::support::skip("no process of another user can be made");
    }
    let outcome = sandbox.launch().arguments(&["check"]).under(&[drop, &["--nproc=30"]].concat()).finish();
    assert!(outcome.stderr.contains("up to 41 processes of user"), "{outcome}");
    assert!(outcome.stderr.contains("the limit for all that it runs is 30 (ulimit -u)"), "{outcome}");
}

/// Every kind of instance, all being started at once, with exactly as many descriptors as `check` asks for.
#[test]
fn as_many_descriptors_as_check_says_are_enough() {
    let slow =
        "start-timeout = \"off\"\nreplicas = 12\nstop = [\"event 1s\", \"TERM 20s\"]\ncommand = [\"sleep\", \"1000\"]";
    let config = format!(
        "{}\n[worker.fd]\nready = {{ fd = 6 }}\n{slow}\n[worker.notify]\nready = {{ notify = true }}\n{slow}\n\
         [worker.asked]\nready = {{ command = [\"sleep\", \"1000\"] }}\n{slow}\n[worker.plain]\n{slow}\n",
        pool("", "command = [\"sh\", \"w.sh\"]\nreplicas = 12\nresults = \"file:out.txt\"")
    );
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"fail ${line%% *}\" >&4; done\n");
    let check = sandbox.launch().arguments(&["check"]).finish();
    let line = check.stdout.lines().find_map(|line| line.trim().strip_prefix("files"));
    let number = line.and_then(|line| line.split_whitespace().next()).expect("check tells how many");
    let under = limited(&format!("{number}:{number}"));
    let run = sandbox.launch().under(&[&under[0], &under[1]]).stdin_items(&["a", "b"]).start();
    run.wait_for_words(" started", 60);
    run.wait_for_words("is a dead letter", 2);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert!(!outcome.stderr.contains("Too many open files"), "{outcome}");
    let too_few = limited("40:40");
    let run = sandbox.launch().under(&[&too_few[0], &too_few[1]]).start();
    run.wait_for_words("Too many open files", 1);
    run.signal(Signal::SIGTERM);
    run.finish();
}
