//! One file for two purposes is refused by `check` and by `run`, however it is spelled, before anything is started.

use crate::support::{Outcome, Sandbox, text};
use std::os::unix::fs::symlink;

const SOURCES: &str = "[source.in]\nqueue = \"a\"\nstdin = true\n[source.other]\nqueue = \"b\"\ncommand = [\"true\"]\n";

/// Two queues and a worker for each.
fn plan(leftovers: [&str; 2], results: [&str; 2]) -> String {
    let [a, b] = leftovers;
    let [first, second] = results;
    format!(
        "[queue.a]\nleftovers = \"{a}\"\n[queue.b]\nleftovers = \"{b}\"\n{SOURCES}\
         [worker.wa]\nqueue = \"a\"\ncommand = [\"sh\", \"-c\", \"echo ran >>ran; exit 0\"]\nresults = \"{first}\"\n\
         [worker.wb]\nqueue = \"b\"\ncommand = [\"sh\", \"-c\", \"echo ran >>ran; exit 0\"]\nresults = \"{second}\"\n"
    )
}

fn links(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path("real")).unwrap();
    symlink("real", sandbox.path("link")).unwrap();
    symlink("real/x.txt", sandbox.path("to-x")).unwrap();
}

#[track_caller]
fn assert_refused(outcome: &Outcome, sandbox: &Sandbox, words: [&str; 2]) {
    outcome.expect_code(78);
    let first = outcome.stderr.lines().next().unwrap_or_default();
    assert!(words.iter().all(|word| first.contains(word)) && first.ends_with("are the same file"), "{outcome}");
    assert!(!sandbox.exists("ran"), "{outcome}");
}

#[test]
fn a_file_for_two_purposes_is_refused_under_every_spelling() {
    let null = ["null", "null"];
    let cases = [
        // Results and leftovers.
        (
            ["real/x.txt", "b.txt"],
            ["file:real/x.txt", "null"],
            ["results of worker \"wa\"", "leftovers of queue \"a\""],
        ),
        (
            ["real/x.txt", "b.txt"],
            ["null", "file:link/x.txt"],
            ["results of worker \"wb\"", "leftovers of queue \"a\""],
        ),
        (
            ["b.txt", "to-x"],
            ["file:link/../real/x.txt", "null"],
            ["results of worker \"wa\"", "leftovers of queue \"b\""],
        ),
        // Leftovers of two queues, and what stands beside them.
        (["real/x.txt", "./link/x.txt"], null, ["leftovers of queue \"b\"", "leftovers of queue \"a\""]),
        (["real/x.txt", "link/x.txt.dead"], null, ["leftovers of queue \"b\"", "dead letters"]),
        (["real/x.txt.dead", "link/x.txt"], null, ["dead letters", "leftovers of queue \"a\""]),
        (["real/x.txt", "b.txt"], ["file:link/x.txt.dead", "null"], ["results of worker \"wa\"", "dead letters"]),
        (["real/x.txt", "b.txt"], ["file:link/.x.txt.lock", "null"], ["results of worker \"wa\"", "the lock"]),
        (["exeunt.toml", "b.txt"], null, ["leftovers of queue \"a\"", "this file"]),
    ];
    for (leftovers, results, words) in cases {
        // Before there is such a file, and with one.
        for exists in [false, true] {
            let sandbox = Sandbox::new(&plan(leftovers, results));
            links(&sandbox);
            if exists {
                sandbox.file("real/x.txt", "old\n");
                sandbox.file("real/x.txt.dead", "");
                sandbox.file("real/.x.txt.lock", "");
            }
            let checked = sandbox.launch().arguments(&["check"]).finish();
            assert_refused(&checked, &sandbox, words);
            assert_eq!(checked.stdout, "", "{checked}");
            let place = "--> exeunt.toml:";
            assert!(checked.stderr.contains(place), "{checked}");
            assert_refused(&sandbox.launch().stdin_items(&["1"]).finish(), &sandbox, words);
            assert_eq!(sandbox.read("real/x.txt"), if exists { "old\n" } else { "" });
        }
    }
}

/// A second name of the file that is no link and cannot be seen in its path.
#[test]
fn a_hard_link_is_the_same_file() {
    let sandbox = Sandbox::new(&plan(["a.txt", "b.txt"], ["file:done.txt", "null"]));
    sandbox.file("b.txt", "old\n");
    std::fs::hard_link(sandbox.path("b.txt"), sandbox.path("done.txt")).unwrap();
    let words = ["results of worker \"wa\"", "leftovers of queue \"b\""];
    assert_refused(&sandbox.launch().arguments(&["check"]).finish(), &sandbox, words);
    assert_refused(&sandbox.launch().stdin_items(&["1"]).finish(), &sandbox, words);
}

/// Only a run knows its descriptors.
#[test]
fn leftovers_and_dead_letters_are_not_our_own_output_and_input() {
    let words = |of: &'static str, what| [of, what];
    let cases = [
        (">>a.txt", words("standard output", "leftovers of queue \"a\"")),
        (">>a.txt.dead", words("standard output", "dead letters")),
        // Items of b would be fed to a.
        ("<b.txt", words("standard input", "leftovers of queue \"b\"")),
        // What is read grows with each item that is given up.
        ("<a.txt.dead", words("standard input", "dead letters")),
    ];
    for (redirection, words) in cases {
        let sandbox = Sandbox::new(&plan(["a.txt", "b.txt"], ["stdout", "null"]));
        sandbox.file("b.txt", "1\n");
        sandbox.file("a.txt.dead", "2\n");
        let script = format!("\"$@\" {redirection}");
        assert_refused(&sandbox.launch().under(&["sh", "-c", &script, "sh"]).finish(), &sandbox, words);
    }
}

/// Two workers with one results file, what keeps nothing, and leftovers that are worked off.
#[test]
fn what_may_be_shared_is_not_refused() {
    let worker = "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n";
    let cases = [
        (["a.txt", "b.txt"], ["file:done.txt", "file:./done.txt"]),
        (["a.txt", "b.txt"], ["file:/dev/null", "file:/dev/null"]),
        (["/dev/null", "/dev/null"], ["file:/dev/null", "null"]),
    ];
    for (leftovers, results) in cases {
        let config =
            plan(leftovers, results).replace("[\"sh\", \"-c\", \"echo ran >>ran; exit 0\"]", "[\"sh\", \"w.sh\"]");
        let sandbox = Sandbox::new(&config);
        sandbox.file("w.sh", worker);
        sandbox.file("a.txt", &text(&["1", "2"]));
        sandbox.launch().arguments(&["check"]).finish().expect_code(0);
        sandbox.launch().stdin_file("a.txt").finish().expect_code(0);
    }
}
