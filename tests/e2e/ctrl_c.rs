//! The origin of it all: Ctrl+C on a terminal, in the middle of the work.

use crate::support::{Need, Outcome, Sandbox, has, numbered, pool, sorted, text};

/// Does the first ten items at once. With a later one in hand it waits for the exit event and only then does the work,
/// as long as the file `hold` is there.
const SH: &str = r#"
trap 'echo seen >>sigint' INT
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  if [ "${item#item-}" -gt 10 ] && [ -e hold ]; then
    echo "holding $item" >&2
    read -r word reason rest <&5
    echo "$word $reason" >>told
  fi
  echo "$item" >>done
  echo "ok $id $item" >&4
done
echo "$$" >>cleanup
"#;

const PYTHON: &str = r#"
import os, signal
from worker import frames, record, reply, say, wait_for_event
signal.signal(signal.SIGINT, lambda *_: record("sigint", "seen"))
for token, item in frames():
    if int(item.removeprefix("item-")) > 10 and os.path.exists("hold"):
        say("holding", item)
        record("told", *wait_for_event().split(" ")[:2])
    record("done", item)
    reply("ok", token, item)
record("cleanup", os.getpid())
"#;

#[test]
fn f53_ctrl_c_on_a_terminal_loses_nothing_with_sh_workers() {
    ctrl_c(r#"["sh", "w.sh"]"#, "w.sh", SH);
}

#[test]
fn f53_ctrl_c_on_a_terminal_loses_nothing_with_python_workers() {
    if has(Need::Python) {
        ctrl_c(r#"["@PYTHON@", "w.py"]"#, "w.py", PYTHON);
    }
}

/// Interrupts a run of 40 items when three workers are in the middle of one each, then feeds it what is left.
fn ctrl_c(command: &str, name: &str, program: &str) {
    let worker =
        format!("command = {command}\nreplicas = 3\nresults = \"stdout\"\nstop = [\"event 50s\", \"TERM 5s\"]");
    let sandbox = Sandbox::new(&pool("size = 8", &worker));
    sandbox.file(name, program);
    sandbox.file("hold", "");
    let items = numbered(40);

    let mut run = sandbox.launch().on_terminal().stdin_items(&items).start();
    run.wait_for_lines("holding", 3);
    run.type_keys(b"\x03");
    let first = run.finish();

    first.expect_code(75);
    assert_eq!(sandbox.read("sigint"), "", "a worker saw the terminal's signal\n{first}");
    assert_eq!(sandbox.lines("cleanup").len(), 3, "every worker cleaned up\n{first}");
    assert_eq!(sandbox.lines("told"), ["stop shutdown"; 3], "{first}");
    let done = sandbox.lines("done");
    assert_eq!(done.len(), 13, "ten before and one each in hand\n{first}");
    assert_eq!(sorted(done.iter().chain(&first.leftovers)), sorted(&items), "{first}");
    assert_eq!(sorted(first.results()), sorted(&done), "{first}");

    sandbox.remove("hold");
    let second = sandbox.launch().stdin_file("left.txt").finish();
    second.expect_code(0);
    assert_eq!(sorted(sandbox.lines("done")), sorted(&items), "exactly once over both runs\n{second}");
    assert_eq!(sorted(results_of(&[first, second])), sorted(&items));
    assert!(!sandbox.exists("left.txt"), "what was worked off is no leftover any more");
}

fn results_of(runs: &[Outcome]) -> Vec<String> {
    runs.iter().flat_map(Outcome::results).collect()
}

/// The terminal goes away: HUP for the session's leader, as when a window is closed.
#[test]
fn f54_a_hang_up_of_the_terminal_is_a_stop_in_order() {
    let worker = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"event 50s\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file("w.sh", SH);
    sandbox.file("hold", "");
    let mut run = sandbox.launch().on_terminal().stdin_items(&["item-1", "item-11", "item-12"]).start();
    run.wait_for_line("holding");
    run.hang_up();
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.results(), ["item-1", "item-11"], "{outcome}");
    assert_eq!(outcome.leftovers, ["item-12"], "{outcome}");
}

/// Leftovers that were there already are kept, in front.
#[test]
fn leftovers_of_an_earlier_run_are_kept_in_front() {
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nstop = [\"event 50s\"]"));
    sandbox.file("w.sh", SH);
    sandbox.file("hold", "");
    sandbox.file("left.txt", &text(&["old-1", "old-2"]));
    let mut run = sandbox.launch().on_terminal().stdin_items(&["item-11", "item-12", "item-13"]).start();
    run.wait_for_line("holding");
    run.type_keys(b"\x03");
    let outcome = run.finish();
    outcome.expect_code(75);
    assert_eq!(outcome.leftovers, ["old-1", "old-2", "item-12", "item-13"], "{outcome}");
}
