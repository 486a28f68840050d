//! Whose an item is: until it is settled, one worker's alone.

use crate::support::{Need, QUICK_BACKOFF, QUICK_RESTART, Sandbox, has, numbered, pool, sorted};

#[test]
fn an_ack_written_just_before_a_kill_counts() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  echo "$item" >>delivered
  echo "ok $id $item" >&4
  kill -9 $$
done
"#;
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nresults = \"stdout\"\nstart-limit = \"off\"\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(QUICK_BACKOFF, &worker));
    sandbox.file("w.sh", script);
    let items = numbered(60);
    let outcome = sandbox.launch().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert_eq!(sorted(sandbox.lines("delivered")), sorted(&items), "none was handed out again\n{outcome}");
}

/// The first holder and its grandchild ignore TERM and never answer; the second looks whether both are dead.
#[test]
fn a_timeout_never_makes_two_live_copies() {
    if !has(Need::Python) {
        return;
    }
    let script = r#"
import os, signal, time
from worker import frames, record, reply
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

for token, item in frames():
    try:
        holders = [int(pid) for pid in open("holders-" + item).read().split()]
    except FileNotFoundError:
        child = os.fork()
        if child == 0:
            time.sleep(1000)
        with open("new-" + item, "w") as lock:
            lock.write(f"{os.getpid()} {child}")
        os.rename("new-" + item, "holders-" + item)
        time.sleep(1000)
    record("living" if any(map(lives, holders)) else "dead", item)
    reply("ok", token, item)
"#;
    let queue = format!("item-timeout = \"3s\"\n{QUICK_BACKOFF}");
    let worker = format!(
        "command = [\"@PYTHON@\", \"w.py\"]\nreplicas = 2\nresults = \"stdout\"\nstop = [\"TERM 100ms\"]\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.py", script);
    let items = numbered(4);
    let outcome = sandbox.launch().report_json().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.read("living"), "", "an item had two holders\n{outcome}");
    assert_eq!(sorted(sandbox.lines("dead")), sorted(&items), "{outcome}");
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert_eq!(outcome.count("timed_out"), 4, "{outcome}");
}

/// It answers while it is being stopped for its silence; the answer counts, and nobody does the item again.
#[test]
fn an_answer_that_comes_during_the_stop_for_a_timeout_counts() {
    let script = r#"
trap 'echo "ok $id late" >&4; exit 0' TERM
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  echo "$item" >>delivered
  [ "$item" = slow ] && while :; do sleep 0.05; done
  echo "ok $id $item" >&4
done
"#;
    let queue = format!("item-timeout = \"1500ms\"\n{QUICK_BACKOFF}");
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstop = [\"TERM 40s\"]\n{QUICK_RESTART}");
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&["slow", "next"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["late", "next"], "{outcome}");
    assert_eq!(sandbox.lines("delivered"), ["slow", "next"], "{outcome}");
}

#[test]
fn touch_keeps_an_item_longer_than_its_timeout() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} n=0
  while [ $n -lt 12 ]; do sleep 0.25; echo "touch $id" >&4; n=$((n + 1)); done
  echo "ok $id ${line#* }" >&4
done
"#;
    let queue = format!("item-timeout = \"2s\"\n{QUICK_BACKOFF}");
    let sandbox = Sandbox::new(&pool(&queue, "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().report_json().stdin_items(&["long"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["long"], "{outcome}");
    assert_eq!(outcome.count("timed_out"), 0, "{outcome}");
}

#[test]
fn f143_a_poison_item_ends_in_the_dead_letters_and_its_neighbours_do_not() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  [ "$item" = poison ] && kill -SEGV $$
  echo "ok $id $item" >&4
done
"#;
    let queue = format!("max-crashes = 3\n{QUICK_BACKOFF}");
    let worker = format!("command = [\"sh\", \"w.sh\"]\nprefetch = 8\nresults = \"stdout\"\n{QUICK_RESTART}");
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.sh", script);
    let mut items = numbered(20);
    items.insert(10, "poison".to_owned());
    let outcome = sandbox.launch().report_json().stdin_items(&items).finish();
    outcome.expect_code(65);
    assert_eq!(sorted(outcome.results()), sorted(numbered(20)), "{outcome}");
    assert_eq!(outcome.dead.len(), 1, "{outcome}");
    let letter = outcome.dead_letter("poison");
    assert_eq!(letter["crashes"], 3, "{letter:#}");
    assert!(letter["reason"].to_string().to_lowercase().contains("crash"), "{letter:#}");
    assert!(letter.to_string().contains("SEGV"), "the letter names the last exit status: {letter:#}");
    assert_eq!((outcome.count("dead"), outcome.count("crashed")), (1, 3), "{outcome}");
}

/// `start-limit` counts the first blame of each item only, and any `ok` clears it.
#[test]
fn many_poison_items_do_not_give_up_a_worker_that_works() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  case $item in *[05]) kill -9 $$ ;; esac
  echo "ok $id $item" >&4
done
"#;
    let queue = format!("max-crashes = 2\n{QUICK_BACKOFF}");
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nstart-limit = {{ burst = 3, interval = \"60s\" }}\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.sh", script);
    let outcome = sandbox.launch().stdin_items(&numbered(40)).finish();
    outcome.expect_code(65);
    assert_eq!((outcome.results().len(), outcome.dead.len()), (32, 8), "{outcome}");
}

#[test]
fn retry_counts_an_attempt_fail_is_final_and_release_is_free() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  echo "$item" >>delivered
  case $item in
    retry) echo "retry $id not yet" ;;
    fail) echo "fail $id no such thing" ;;
    release) if [ -e released ]; then echo "ok $id $item"; else : >released; echo "release $id"; fi ;;
    quiet) echo "ok $id" ;;
    empty) echo "ok $id " ;;
    *) echo "ok $id $item" ;;
  esac >&4
done
"#;
    let queue = format!("max-attempts = 4\n{QUICK_BACKOFF}");
    let sandbox = Sandbox::new(&pool(&queue, "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\""));
    sandbox.file("w.sh", script);
    let outcome =
        sandbox.launch().stdin_items(&["retry", "fail", "release", "quiet", "empty", "", "last one"]).finish();
    outcome.expect_code(65);
    let delivered = sandbox.lines("delivered");
    let times = |item: &str| delivered.iter().filter(|line| *line == item).count();
    assert_eq!((times("retry"), times("fail"), times("release"), times("")), (4, 1, 2, 1), "{outcome}");
    assert_eq!(outcome.dead_letter("retry")["attempts"], 4, "{outcome}");
    assert!(outcome.dead_letter("retry").to_string().contains("not yet"), "{outcome}");
    assert!(outcome.dead_letter("fail").to_string().contains("no such thing"), "{outcome}");
    assert_eq!(sorted(outcome.results()), ["", "", "last one", "release"], "no result where none was given\n{outcome}");
}
