//! The smallest correct worker in five languages, each through the same tests.

mod by_hand;
mod table;

use crate::support::{QUICK_BACKOFF, QUICK_RESTART, Sandbox, children, pool, send, sorted, state, text, until};
use by_hand::{ByHand, unread};
use nix::sys::signal::Signal;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use table::{Language, language};

/// A module of five tests for each function.
macro_rules! in_five_languages {
    ($($test:ident)*) => { $(
        mod $test {
            in_five_languages!(@ $test sh python node c rust);
        }
    )* };
    (@ $test:ident $($language:ident)*) => { $(
        #[test]
        fn $language() {
            if let Some(language) = super::language(stringify!($language)) {
                super::$test(language);
            }
        }
    )* };
}

in_five_languages! {
    awkward_items_are_done
    items_may_come_in_any_pieces
    the_event_is_heard_between_items
    f140_a_storm_of_kills_loses_nothing
    f53_ctrl_c_on_a_terminal_loses_nothing
    f60_a_torn_item_of_a_killed_exeunt_is_no_item
}

/// One queue from stdin, and this language's worker.
fn sandbox(language: &Language, queue: &str, worker: &str) -> Sandbox {
    let worker = format!("command = {:?}\n{worker}", language.command());
    Sandbox::new(&pool(queue, &worker))
}

/// All bytes but NUL, which no shell can hold, and the line feed; lengths around what a reply can hold; many in one read.
/// What does not fit is a dead letter, whose message proves that the item was read whole. None costs a worker its life.
fn awkward_items_are_done(language: &Language) {
    let results = "prefetch = 16\nreplicas = 2\nresults = \"file:results\"";
    let sandbox = sandbox(language, "max-item = \"1MiB\"", results);
    let bytes: Vec<u8> = (1..10).chain(11..=255).collect();
    let short = [&b""[..], b" ", b"two  spaces ", br"back\tslash\n", b"%s %d", b"-n", b"*", b"$HOME `id` \"'", &bytes];
    let around = (4060..=4090).map(|length| vec![b'r'; length]);
    let large = [vec![b'l'; 100_000], vec![b'm'; 1 << 20]];
    let items: Vec<Vec<u8>> = short.map(<[u8]>::to_vec).into_iter().chain(around).chain(large).collect();
    std::fs::write(sandbox.path("input"), [items.join(&b'\n'), b"\n".to_vec()].concat()).unwrap();

    let outcome = sandbox.launch().report_json().stdin_file("input").finish();
    outcome.expect_code(65);
    let did = format!("{} did ", language.name).into_bytes();
    let written = std::fs::read(sandbox.path("results")).unwrap();
    let results: Vec<&[u8]> = written.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n').collect();
    for item in short {
        let result = [&did, item].concat();
        assert_eq!(results.iter().filter(|told| **told == result).count(), 1, "{item:?}\n{outcome}");
    }
    for item in &items[short.len()..] {
        let message = format!("a result of {} ", did.len() + item.len());
        let fits = results.contains(&[&did[..], item].concat().as_slice());
        let refused =
            outcome.dead.iter().any(|letter| letter["message"].as_str().is_some_and(|told| told.starts_with(&message)));
        assert!(fits != refused, "{} bytes: done {fits}, refused {refused}\n{outcome}", item.len());
    }
    assert_eq!(results.len() + outcome.dead.len(), items.len(), "{outcome}");
    assert_eq!((outcome.count("crashed"), outcome.count("retried")), (0, 0), "{outcome}");
}

/// Every piece is read before the next one comes. The last has no line feed, and so is no item.
fn items_may_come_in_any_pieces(language: &Language) {
    let sandbox = Sandbox::new("");
    let mut worker = ByHand::start(&sandbox, language);
    for piece in ["1.", "1 whole\n2", ".1", " ", "split  ", "here \n3.1 \n4.1 four\n5.1 five\n6.1 s", "ix\n7.1 torn"] {
        worker.send(piece.as_bytes());
        worker.wait_until_read();
    }
    worker.end_items();
    let (replies, said) = worker.wait();
    let items = ["whole", "split  here ", "", "four", "five", "six"];
    let expected = (1..).zip(items).map(|(token, item)| format!("ok {token}.1 {} did {item}\n", language.name));
    assert_eq!(replies, expected.collect::<String>());
    assert_eq!(said, format!("{} cleaned up\n", language.name));
}

/// The event comes with the first of three items in hand, which came by one read. exeunt would end the items with it; here they
/// stay open, and the worker must hear it all the same. sh cannot: it does what is there, and waits for the end of its items.
fn the_event_is_heard_between_items(language: &Language) {
    let sandbox = Sandbox::new("");
    let gate = sandbox.gate("gate");
    let mut worker = ByHand::start(&sandbox, language);
    worker.send(b"1.1 hold\n2.1 second\n3.1 third\n");
    worker.wait_for_line("holding hold");
    worker.tell();
    gate.open();
    let mut expected = format!("ok 1.1 {} did hold\n", language.name);
    if !language.looks_at_the_event() {
        worker.wait_until_read();
        worker.end_items();
        expected += &format!("ok 2.1 {0} did second\nok 3.1 {0} did third\n", language.name);
    }
    let (replies, said) = worker.wait();
    assert_eq!(replies, expected);
    assert_eq!(said, format!("holding hold\n{} cleaned up\n", language.name));
}

/// In each of many rounds all workers are killed: one certainly with an item in hand, the others wherever they are while they
/// work off the rest of the round, before exec, reading, at work or writing. (Kills at random moments alone hardly ever
/// find a fast worker at work.)
fn f140_a_storm_of_kills_loses_nothing(language: &Language) {
    const ROUNDS: usize = 30;
    const ITEMS: usize = 100;
    let queue = format!("size = 1024\nmax-crashes = 100000\n{QUICK_BACKOFF}");
    let pool = "replicas = 4\nprefetch = 16\nresults = \"stdout\"\nstart-limit = \"off\"";
    let sandbox = sandbox(language, &queue, &format!("{pool}\n{QUICK_RESTART}"));
    let mut run = sandbox.launch().report_json().stdin_pipe().start();
    let mut feed = run.stdin.take().expect("a pipe");
    let mut items = Vec::new();
    for round in 1..=ROUNDS {
        let gate = sandbox.gate("gate");
        let held = format!("hold-{round:02}");
        let mut some: Vec<String> = (1..ITEMS).map(|n| format!("item-{round}-{n}")).collect();
        some.insert(round * ITEMS / (2 * ROUNDS), held.clone());
        feed.write_all(text(&some).as_bytes()).expect("exeunt reads");
        items.append(&mut some);
        run.wait_for_line(&format!("holding {held}"));
        children(run.pid()).into_iter().for_each(|worker| send(worker, Signal::SIGKILL));
        gate.open();
        assert!(run.wait_for_results(items.len()), "it ended in the middle");
    }
    drop(feed);
    let outcome = run.finish();
    outcome.expect_code(0);
    let expected = items.iter().map(|item| format!("{} did {item}", language.name));
    assert_eq!(sorted(outcome.results()), sorted(expected), "{} results", outcome.results().len());
    let all = items.len() as u64;
    assert_eq!((outcome.count("accepted"), outcome.count("done")), (all, all), "{outcome}");
    assert!(outcome.count("crashed") >= ROUNDS as u64, "each round has a death to blame on its held item\n{outcome}");
}

/// Interrupts a run of 40 items when three workers have one each in hand and more in their pipes, then feeds it what is left.
fn f53_ctrl_c_on_a_terminal_loses_nothing(language: &Language) {
    let pool = "replicas = 3\nprefetch = 4\nresults = \"stdout\"\nstop = [\"event 50s\", \"TERM 5s\"]";
    let sandbox = sandbox(language, "size = 20", pool);
    let gate = sandbox.gate("gate");
    let items: Vec<String> =
        (1..=40).map(|n| if n <= 10 { format!("item-{n}") } else { format!("hold-{n}") }).collect();
    let mut run = sandbox.launch().report_json().on_terminal().stdin_items(&items).start();
    run.wait_for_lines("holding", 3);
    let workers = children(run.pid());
    run.type_keys(b"\x03");
    workers.iter().for_each(|&worker| wait_until_told(worker));
    gate.open();
    let first = run.finish();

    first.expect_code(75);
    let instances = first.report()["instances"].as_array().unwrap().clone();
    let left_well = |instance: &&serde_json::Value| instance["rung"] == "event" && instance["code"] == 0;
    assert_eq!(instances.iter().filter(left_well).count(), 3, "on the event, unharmed by the terminal\n{first}");
    let cleaned = format!("{} cleaned up", language.name);
    assert_eq!(first.stderr.lines().filter(|line| *line == cleaned).count(), 3, "{first}");
    let done = |outcome: &crate::support::Outcome| -> Vec<String> {
        let did = format!("{} did ", language.name);
        outcome.results().iter().map(|result| result.strip_prefix(&did).expect("a result").to_owned()).collect()
    };
    let done_first = done(&first);
    if language.looks_at_the_event() {
        assert_eq!(done_first.len(), 13, "ten before and one each in hand\n{first}");
    } else {
        assert!((13..=22).contains(&done_first.len()), "and what was in the pipes\n{first}");
    }
    assert_eq!(sorted(done_first.iter().chain(&first.leftovers)), sorted(&items), "{first}");

    let second = sandbox.launch().stdin_file("left.txt").finish();
    second.expect_code(0);
    assert_eq!(
        sorted(done_first.iter().chain(&done(&second))),
        sorted(&items),
        "exactly once over both runs\n{second}"
    );
    assert!(!sandbox.exists("left.txt"), "what was worked off is no leftover any more");
}

/// Stopped with an item in hand, the worker cannot read the next one, which is larger than its pipe. exeunt is killed in the
/// middle of writing it. The worker finishes, finds nobody to tell, takes nothing for an item, and cleans up.
fn f60_a_torn_item_of_a_killed_exeunt_is_no_item(language: &Language) {
    let sandbox = sandbox(language, "max-item = \"1MiB\"", "prefetch = 2");
    let gate = sandbox.gate("gate");
    let mut run = sandbox.launch().stdin_pipe().start();
    let mut feed = run.stdin.take().expect("a pipe");
    feed.write_all(b"hold-first\n").unwrap();
    run.wait_for_line("holding hold-first");
    let worker = children(run.pid())[0];
    send(worker, Signal::SIGSTOP);
    until("the worker to stop", || (state(worker) == Some('T')).then_some(()));
    feed.write_all(format!("hold-{}\n", "x".repeat(1_000_000)).as_bytes()).unwrap();
    until("the item pipe to be full", || (unread(&descriptor(worker, 3)?) > 32 * 1024).then_some(()));
    run.signal(Signal::SIGKILL);
    run.wait();
    send(worker, Signal::SIGCONT);
    gate.open();
    sandbox.wait_until_empty();
    let outcome = run.finish_alone();
    let said: Vec<&str> = outcome.stderr.lines().filter(|line| !line.starts_with("exeunt")).collect();
    assert_eq!(said.iter().filter(|line| line.starts_with("holding")).count(), 1, "{outcome}");
    assert_eq!(said.last(), Some(&format!("{} cleaned up", language.name).as_str()), "{outcome}");
}

/// Until the exit event lies in the worker's pipe, or was read already.
fn wait_until_told(worker: i32) {
    until("the exit event", || {
        let Some(mut pipe) = descriptor(worker, 5) else { return Some(()) };
        (unread(&pipe) > 0 || matches!(pipe.read(&mut [0]), Ok(0))).then_some(())
    });
}

/// One more reading end of a process's pipe; `None` when it has gone or closed it.
fn descriptor(pid: i32, fd: i32) -> Option<std::fs::File> {
    let path = format!("/proc/{pid}/fd/{fd}");
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()
}
