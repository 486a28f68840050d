//! Items of many pipes' size: whole or not at all.

use crate::support::{Need, Sandbox, has, pool};
use nix::sys::signal::Signal;

/// Reads the beginning of the frame, waits for the event, and only then reads the rest, slowly.
const SLOW_READER: &str = r#"
import hashlib, os
from worker import EXIT, ITEMS, reply, say, wait_for_event
buffer = os.read(ITEMS, 4096)
say("began")
say("told", wait_for_event())
while not buffer.endswith(b"\n"):
    chunk = os.read(ITEMS, 4099)
    if not chunk:
        break
    buffer += chunk
token, payload = buffer.split(b" ", 1)
if payload.endswith(b"\n"):
    payload = payload[:-1]
    reply("ok", token.decode(), len(payload), hashlib.sha256(payload).hexdigest())
say("the end" if os.read(ITEMS, 4096) == b"" else "more")
"#;

#[test]
fn an_item_is_not_truncated_when_the_event_comes_in_the_middle_of_its_writing() {
    if !has(Need::Python) {
        return;
    }
    let worker = "command = [\"@PYTHON@\", \"w.py\"]\nresults = \"stdout\"\nstop = [\"event 50s\"]";
    let sandbox = Sandbox::new(&pool("max-item = \"1MiB\"", worker));
    sandbox.file("w.py", SLOW_READER);
    let item: String =
        (0..1_048_575u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    let run = sandbox.launch().stdin_items(&[item.as_str(), "second"]).start();
    run.wait_for_line("began");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("the end");
    let outcome = run.finish();
    outcome.expect_code(75);
    sandbox.file("item", &item);
    let digest = std::process::Command::new("sha256sum").arg(sandbox.path("item")).output().unwrap().stdout;
    let digest = String::from_utf8_lossy(&digest).split(' ').next().unwrap().to_owned();
    assert_eq!(outcome.results(), [format!("1048575 {digest}")], "{outcome}");
    assert_eq!(outcome.leftovers, ["second"], "{outcome}");
}

#[test]
fn an_item_over_max_item_is_a_dead_letter_and_its_neighbours_are_done() {
    let script = "while IFS= read -r line <&3; do item=${line#* }; echo \"ok ${line%% *} ${#item}\" >&4; done\n";
    let sandbox = Sandbox::new(&pool("max-item = \"1KiB\"", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", script);
    let items = ["a".to_owned(), "b".repeat(1025), "c".repeat(1024), "d".repeat(300_000), "e".to_owned()];
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(65);
    assert_eq!(outcome.results(), ["1", "1024", "1"], "{outcome}");
    assert_eq!(outcome.dead.len(), 2, "{outcome}");
}

/// All bytes but the frame's own pass through unchanged.
#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
import os
from worker import ITEMS, REPLIES
line = b""
while not line.endswith(b"\n"):
    line += os.read(ITEMS, 4096)
token, payload = line[:-1].split(b" ", 1)
assert payload == bytes(range(1, 10)) + bytes(range(11, 256)), payload
os.write(REPLIES, b"ok " + token + b" the same\n")
"#;
    let sandbox = Sandbox::new(&pool("", "command = [\"@PYTHON@\", \"w.py\"]\nresults = \"stdout\""));
    sandbox.file("w.py", script);
    let bytes: Vec<u8> = (1..10).chain(11..=255).chain([b'\n']).collect();
    std::fs::write(sandbox.path("items"), bytes).unwrap();
    let outcome = sandbox.launch().stdin_file("items").finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["the same"], "{outcome}");
}
