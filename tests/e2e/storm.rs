//! Workers that are killed all the time.

use crate::support::{QUICK_BACKOFF, QUICK_RESTART, Sandbox, children, numbered, pool, send, sorted, until};
use nix::sys::signal::Signal;

const WORKER: &str = r#"
while IFS= read -r line <&3; do echo "ok ${line%% *} ${line#* }" >&4; done
"#;

/// A worker is killed after every few results, wherever it is at that moment: before exec, reading, writing. The source waits
/// for the storm, so that however fast the workers are, it lasts as long as the items.
#[test]
fn f140_twenty_thousand_items_under_a_storm_of_kills_have_one_result_each() {
    const ITEMS: usize = 20_000;
    const KILLS: usize = 250;
    let queue = format!("size = 4096\nmax-crashes = 100000\n{QUICK_BACKOFF}");
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nreplicas = 4\nprefetch = 16\nresults = \"stdout\"\nstart-limit = \"off\"\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.sh", WORKER);
    let items = numbered(ITEMS);
    let mut run = sandbox.launch().report_json().stdin_pipe().start();
    let mut kills = 0;
    for (index, some) in items.chunks(ITEMS / KILLS).enumerate() {
        run.feed(some);
        // Half of the ones before are done: the others, and these, are on their way.
        assert!(run.wait_for_results((index * some.len()).saturating_sub(some.len() / 2)));
        let workers = until("a worker", || Some(children(run.pid())).filter(|workers| !workers.is_empty()));
        send(workers[index % workers.len()], Signal::SIGKILL);
        kills += 1;
    }
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{} results", outcome.results().len());
    assert_eq!((outcome.count("accepted"), outcome.count("done")), (ITEMS as u64, ITEMS as u64), "{outcome}");
    assert_eq!(kills, KILLS);
    let restarts = outcome.report()["workers"].to_string();
    assert!(outcome.count("crashed") > 20, "a storm that hits nobody at work proves nothing: {restarts}");
}

/// The exact storm: every worker kills itself with its item half done, some hundred times in a row.
#[test]
fn f140_a_worker_that_dies_with_every_third_item_in_hand_loses_none() {
    let script = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* }
  case $item in *[369]) [ -e "died-$item" ] || { : >"died-$item"; kill -9 $$; } ;; esac
  echo "ok $id $item" >&4
done
"#;
    let queue = format!("max-crashes = 2\n{QUICK_BACKOFF}");
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nreplicas = 2\nprefetch = 8\nresults = \"stdout\"\nstart-limit = \"off\"\n{QUICK_RESTART}"
    );
    let sandbox = Sandbox::new(&pool(&queue, &worker));
    sandbox.file("w.sh", script);
    let items = numbered(300);
    let outcome = sandbox.launch().report_json().stdin_items(&items).finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), sorted(&items), "{outcome}");
    assert_eq!(outcome.count("crashed"), 90, "one blame for each that died, none for its neighbours\n{outcome}");
}
