//! The report at the end, for people and for programs.

use crate::support::{QUICK_BACKOFF, QUICK_RESTART, Sandbox, pool};
use nix::sys::signal::Signal;

const MIXED: &str = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  case $item in
    bad*) echo "fail $id" >&4 ;;
    die*) kill -9 $$ ;;
    hold*) echo holding >&2; read -r _ <&5; echo "ok $id $item" >&4 ;;
    *) echo "ok $id $item" >&4 ;;
  esac
done
"#;

fn mixed() -> Sandbox {
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 20s\"]\n{QUICK_RESTART}");
    let sandbox = Sandbox::new(&pool(&format!("max-crashes = 1\n{QUICK_BACKOFF}"), &worker));
    sandbox.file("w.sh", MIXED);
    sandbox
}

#[test]
fn f145_the_numbers_of_the_json_report_add_up() {
    let sandbox = mixed();
    let items = ["a", "bad-1", "b", "die-1", "c", "bad-2", "hold", "d", "e"];
    sandbox.file("items", &crate::support::text(&items));
    let run = sandbox.launch().report_json().stdin_file("items").start();
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(75);
    let count = |name| outcome.count(name);
    assert_eq!((count("done"), count("dead"), count("handed_back")), (4, 3, 2), "{outcome}");
    assert_eq!(count("accepted"), count("done") + count("dead") + count("handed_back"), "{outcome}");
    assert_eq!(outcome.report()["exit_code"], 75, "{outcome}");
    assert_eq!((outcome.dead.len(), outcome.leftovers.len()), (3, 2), "{outcome}");
    assert_eq!(outcome.report()["dead_letters"].as_array(), Some(&outcome.dead), "{outcome}");
}

#[test]
fn the_report_for_people_names_who_left_and_the_numbers() {
    let outcome = mixed().launch().stdin_items(&["a", "bad-1", "b"]).finish();
    outcome.expect_code(65);
    assert!(outcome.stderr.contains("w.0"), "{outcome}");
    assert!(outcome.stderr.contains("2 done") && outcome.stderr.contains("1 dead"), "{outcome}");
}

#[test]
fn the_report_tells_the_rung_on_which_a_worker_left() {
    let config = "[worker.obeys]\ncommand = [\"sh\", \"-c\", \"echo up >&2; exec sleep 1000\"]\nstop = [\"TERM 20s\"]\n\
        [worker.refuses]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo up >&2; exec sleep 1000\"]\nstop = [\"TERM 200ms\"]\n";
    let sandbox = Sandbox::new(config);
    let run = sandbox.launch().start();
    run.wait_for_lines("up", 2);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    let line = |name: &str, word: &str| outcome.stderr.lines().any(|line| line.contains(name) && line.contains(word));
    assert!(line("obeys.0", "TERM") && line("refuses.0", "KILL"), "{outcome}");
}

/// Who never ran cannot have run once more.
#[test]
fn failed_starts_are_told_and_are_no_restarts() {
    let config = "[worker.w]\ncommand = [\"true\"]\nenv-from-file = { TOKEN = \"token\" }\nrestart-delay = { delay = \"10m\" }\n";
    let sandbox = Sandbox::new(config);
    let stopped = |launch: crate::support::Launch| {
        let run = launch.start();
        run.wait_for_words("w.0 is restarted in", 1);
        run.signal(Signal::SIGTERM);
        run.finish()
    };
    let outcome = stopped(sandbox.launch());
    assert!(outcome.stderr.contains("w.0 never started, 2 failed starts\n"), "{outcome}");
    let outcome = stopped(sandbox.launch().report_json());
    let instance = &outcome.report()["instances"][0];
    assert_eq!((&instance["fate"], &instance["restarts"]), (&"never-started".into(), &0.into()), "{outcome}");
    assert_eq!(instance["failed_starts"], 2, "{outcome}");
}
