//! Nothing that comes from a file, a worker or an item moves the cursor, changes the order of the text or hides in it.

use crate::support::{Need, Outcome, Sandbox, has};
use nix::sys::signal::Signal;
use std::fs;

/// One of each kind: ESC and BEL, DEL, C1, bidirectional controls, separators, invisible characters.
const HOSTILE: &str = "\u{1b}]0;title\u{7}\r\t\u{7f}\u{9b}31m\u{85}\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\
    \u{2028}\u{2029}\u{200b}\u{2060}\u{feff}\u{ad}\u{e0041}";

/// For a string of a TOML file or of a Python program.
fn toml(text: &str) -> String {
    text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect()
}

#[track_caller]
fn assert_harmless(outcome: &Outcome) {
    for (stream, text) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        let found = text
            .chars()
            .find(|&c| c != '\n' && (c.is_control() || HOSTILE.chars().any(|bad| bad == c && !bad.is_ascii_graphic())));
        assert_eq!(found, None, "{stream}: {:?}", outcome.to_string());
    }
}

const WORKER: &str = "
from worker import *
from notify import say as notify
notify('READY=1\\nSTATUS=HOSTILE')
buffer = b''
while True:
    chunk = os.read(ITEMS, 4096)
    if not chunk: break
    buffer += chunk
    while b'\\n' in buffer:
        line, buffer = buffer.split(b'\\n', 1)
        token, item = line.decode().split(' ', 1)
        if item.startswith('bad'): reply('fail', token, 'HOSTILE'.replace('\\r', ''))
        elif item.startswith('odd'): os.write(REPLIES, 'HOSTILE\\n'.encode()); wait_for_event()
        elif item.startswith('hold'): say('holding'); wait_for_event()
        else: reply('ok', token, item)
";

/// A run with this text wherever a file takes one. `place` ends the names of files.
fn hostile_sandbox(leftovers: &str) -> Sandbox {
    let text = toml(HOSTILE);
    let sandbox = Sandbox::new(&format!(
        "[queue.q]\nmax-attempts = 1\nmax-crashes = 1\n{leftovers}\n[source.in]\nqueue = \"q\"\nstdin = true\n\
         [worker.w]\ncommand = [\"@PYTHON@\", \"../w.py\", \"{text}\"]\nqueue = \"q\"\nresults = \"file:results{text}\"\n\
         working-directory = \"dir{text}\"\nenv = {{ \"NAME{text}\" = \"{text}\", PYTHONPATH = \"..\" }}\n\
         env-file = \"file{text}\"\nenv-from-file = {{ \"SECRET{text}\" = \"secret{text}\" }}\nready = {{ notify = true }}\n\
         stop = [\"event 10s\", \"TERM 1s\"]\nrestart-delay = {{ delay = \"1ms\" }}\n\
         [worker.missing]\ncommand = [\"./no{text}\"]\nrestart = \"never\"\non-give-up = \"ignore\"\n\
         [worker.lost]\ncommand = [\"true\"]\nworking-directory = \"nowhere{text}\"\nrestart = \"never\"\n\
         on-give-up = \"ignore\"\n"
    ));
    fs::create_dir(sandbox.path(&format!("dir{HOSTILE}"))).expect("a directory can be made");
    sandbox.file(&format!("file{HOSTILE}"), "A=${HOSTILE}\n");
    sandbox.file(&format!("secret{HOSTILE}"), "secret\n");
    sandbox.file("w.py", &WORKER.replace("HOSTILE", &toml(HOSTILE)));
    sandbox
}

#[test]
fn f86_check_prints_nothing_that_a_terminal_obeys() {
    let sandbox = hostile_sandbox(&format!("leftovers = \"left{}\"", toml(HOSTILE)));
    let outcome = sandbox.launch().arguments(&["check"]).finish();
    outcome.expect_code(0);
    assert_harmless(&outcome);
    for shown in ["dir\\u{1b}]0;title", "left\\u{1b}", "NAME\\u{1b}", "SECRET\\u{1b}", "results\\u{1b}"] {
        assert!(outcome.stdout.contains(shown), "{shown}: {outcome}");
    }
    assert!(outcome.stderr.contains("./no\\u{1b}"), "{outcome}");
    let name = format!("file{HOSTILE}.toml");
    sandbox.file(
        &name,
        &format!("[worker.\"{0}\"]\ncommand = \"{0}\"\nkey = '\u{202e}\u{2028}\u{feff}'\n", toml(HOSTILE)),
    );
    let refused = sandbox.launch().arguments(&["check", &name]).finish();
    refused.expect_code(78);
    assert_harmless(&refused);
    for arguments in [&["check", &format!("missing{HOSTILE}")][..], &[HOSTILE], &["run", HOSTILE, HOSTILE]] {
        assert_harmless(&sandbox.launch().arguments(arguments).finish());
    }
    assert_harmless(&sandbox.launch().arguments(&["run"]).env("EXEUNT_LOG", HOSTILE).finish());
    for name in ["tini", "dumb-init"] {
        assert_harmless(&sandbox.launch().called(name).arguments(&["-Z", HOSTILE]).finish());
        let sandbox = Sandbox::new("");
        assert_harmless(&sandbox.launch().called(name).arguments(&["--", &format!("./no{HOSTILE}")]).finish());
    }
}

#[test]
fn f86_messages_and_both_reports_hold_nothing_that_a_terminal_obeys() {
    if !has(Need::Python) {
        return;
    }
    for (format, leftovers) in [("text", ""), ("json", ""), ("text", "left"), ("json", "left")] {
        let leftovers = match leftovers {
            "" => String::new(),
            name => format!("leftovers = \"{name}{}\"", toml(HOSTILE)),
        };
        let sandbox = hostile_sandbox(&leftovers);
        let items = ["good", "bad", "odd", "hold"].map(|item| format!("{item}{}", HOSTILE.replace('\r', "")));
        let run = sandbox
            .launch()
            .arguments(&["--log-level", "trace", "run", "--report", format])
            .stdin_items(&items)
            .start();
        run.wait_for_line("holding");
        run.wait_for_words("says: ", 1);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        assert_harmless(&outcome);
        assert!(outcome.stderr.contains("dead letter: failed (\\u{1b}]0;title"), "{outcome}");
    }
}
