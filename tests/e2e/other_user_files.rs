//! Files of a queue in a directory that belongs to the workers' user, who may put a link to any other file there. Also what must
//! go on as before: directories of root, shared ones, and those of a user that exeunt does not know.

use crate::support::{Need, Outcome, Run, Sandbox, has, numbered, pool, sorted};
use nix::sys::signal::Signal;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

const WORKER: u32 = 1000;
const SHARED: u32 = 4321;

/// Says `fail` to item-1, `ok` to the others, and waits for the exit event with item-3 in hand.
const SCRIPT: &str = "prepare\n\
    while IFS= read -r line <&3; do id=${line%% *} item=${line#* }\n\
    case $item in\n\
    item-1) echo \"fail $id no\" >&4 ;;\n\
    item-3) echo holding >&2; read -r _ <&5; echo \"release $id\" >&4 ;;\n\
    *) echo \"ok $id $item\" >&4 ;;\n\
    esac; done\n";

fn directory(sandbox: &Sandbox, name: &str, owner: u32, group: u32, mode: u32) {
    std::fs::create_dir(sandbox.path(name)).unwrap();
    chown(sandbox.path(name), Some(owner), Some(group)).unwrap();
    std::fs::set_permissions(sandbox.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

/// With results, leftovers and dead letters in `place`, and a file that only root may write. `prepare` is what the worker does
/// first.
fn sandbox(place: &str, user: &str, prepare: &str) -> Sandbox {
    let stop = "stop = [\"event 40s\", \"TERM 5s\"]";
    let worker = format!("command = [\"sh\", \"w.sh\"]\nresults = \"file:{place}/done.txt\"\n{user}\n{stop}");
    let config = pool("", &worker).replace("left.txt", &format!("{place}/left.txt"));
    let sandbox = Sandbox::new(&config);
    std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.file("w.sh", &SCRIPT.replace("prepare", prepare));
    sandbox.file("root-only", "as it was\n");
    std::fs::set_permissions(sandbox.path("root-only"), std::fs::Permissions::from_mode(0o644)).unwrap();
    sandbox
}

const USER: &str = "user = \"1000\"\nsupplementary-groups = [\"4321\"]";

fn start(sandbox: &Sandbox) -> Run<'_> {
    let mut run = sandbox.launch().stdin_pipe().start();
    run.feed(&numbered(4));
    run
}

/// One result, one dead letter and two leftovers.
fn whole_run(sandbox: &Sandbox) -> Outcome {
    let run = start(sandbox);
    run.wait_for_line("holding");
    run.signal(Signal::SIGTERM);
    run.finish()
}

#[track_caller]
fn assert_untouched(sandbox: &Sandbox, outcome: &Outcome) {
    assert_eq!(sandbox.read("root-only"), "as it was\n", "{outcome}");
    assert_eq!(std::fs::metadata(sandbox.path("root-only")).unwrap().mode() & 0o7777, 0o644, "{outcome}");
}

#[track_caller]
fn assert_owner(sandbox: &Sandbox, place: &str, owner: (u32, u32), outcome: &Outcome) {
    for name in ["done.txt", "left.txt", "left.txt.dead"] {
        let found = std::fs::metadata(sandbox.path(&format!("{place}/{name}")));
        let found = found.map(|found| (found.uid(), found.gid()));
        assert_eq!(found.ok(), Some(owner), "{name}: {outcome}");
    }
}

#[track_caller]
fn assert_all_kept(sandbox: &Sandbox, place: &str, outcome: &Outcome) {
    outcome.expect_code(75);
    assert_eq!(sandbox.lines(&format!("{place}/done.txt")), ["item-2"], "{outcome}");
    assert_eq!(sorted(sandbox.lines(&format!("{place}/left.txt"))), ["item-3", "item-4"], "{outcome}");
    assert!(sandbox.read(&format!("{place}/left.txt.dead")).contains("item-1"), "{outcome}");
}

#[test]
fn results_do_not_follow_a_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    for link in ["ln -s ../root-only mine/done.txt", "ln -s .. mine/up; ln -s up/root-only mine/done.txt"] {
        let sandbox = sandbox("mine", USER, link);
        directory(&sandbox, "mine", WORKER, WORKER, 0o755);
        let outcome = start(&sandbox).finish();
        assert_untouched(&sandbox, &outcome);
        assert!(outcome.stderr.contains("it is a link, and others may write in its directory"), "{outcome}");
    }
}

/// The same once a file of its own was opened.
#[test]
fn results_do_not_follow_a_link_that_the_worker_makes_later() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("mine", USER, "");
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do id=${line%% *}\n\
         until [ ${id%%.*} = 1 ] || [ -s mine/done.txt ]; do sleep 0.01; done\n\
         [ ${id%%.*} = 1 ] || ln -sf ../root-only mine/done.txt\n\
         echo \"ok $id ${line#* }\" >&4; done\n",
    );
    let mut run = sandbox.launch().stdin_pipe().start();
    run.feed(&numbered(2));
    let outcome = run.finish();
    assert_untouched(&sandbox, &outcome);
}

/// Whether the file behind the link is there or not.
#[test]
fn leftovers_and_dead_letters_do_not_follow_a_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    for name in ["left.txt", "left.txt.dead", ".left.txt.lock"] {
        for target in ["root-only", "new-file"] {
            // By an earlier run's worker, and by this one's.
            for before in [true, false] {
                let link = format!("ln -s ../{target} mine/{name}");
                let sandbox = sandbox("mine", USER, if before { "" } else { &link });
                directory(&sandbox, "mine", WORKER, WORKER, 0o755);
                if before {
                    symlink(format!("../{target}"), sandbox.path(&format!("mine/{name}"))).unwrap();
                }
                let outcome = whole_run(&sandbox);
                outcome.expect_code(75);
                assert_untouched(&sandbox, &outcome);
                assert!(!sandbox.exists("new-file"), "{outcome}");
                assert_nothing_lost(&sandbox, &outcome);
            }
        }
    }
}

/// Each item is in a file, or on stderr.
#[track_caller]
fn assert_nothing_lost(sandbox: &Sandbox, outcome: &Outcome) {
    for item in ["item-1", "item-3", "item-4"] {
        let names = ["left.txt", "left.txt.dead", "left.txt.1"].map(|name| format!("mine/{name}"));
        let kept = names.iter().any(|name| sandbox.read(name).contains(item));
        assert!(kept || outcome.stderr.contains(&format!("\"{item}\"")), "{item} is nowhere: {outcome}");
    }
}

#[test]
fn leftovers_are_not_written_in_a_directory_that_the_worker_linked_to() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("mine/sub", USER, "");
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    directory(&sandbox, "closed", 0, 0, 0o755);
    symlink("../closed", sandbox.path("mine/sub")).unwrap();
    let run = start(&sandbox);
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert_eq!(std::fs::read_dir(sandbox.path("closed")).unwrap().count(), 0, "{outcome}");
}

/// A run that was killed may have left files beside the leftovers; the worker may make up such a file.
#[test]
fn what_is_adopted_is_no_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("mine", USER, "");
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    for name in [".left.txt.exeunt-1-0", ".left.txt.exeunt-1-0.owner", ".left.txt.lock"] {
        symlink("../root-only", sandbox.path(&format!("mine/{name}"))).unwrap();
    }
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    assert_untouched(&sandbox, &outcome);
    assert!(!sandbox.read("mine/left.txt").contains("as it was"), "{outcome}");
}

#[test]
fn files_in_a_directory_of_the_worker_belong_to_the_worker() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("mine", USER, "");
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    let outcome = whole_run(&sandbox);
    assert_all_kept(&sandbox, "mine", &outcome);
    assert_owner(&sandbox, "mine", (WORKER, WORKER), &outcome);
    // They are worked off as its own stdin, and replaced or removed.
    sandbox.file("w.sh", "while IFS= read -r line <&3; do echo \"ok ${line%% *} ${line#* }\" >&4; done\n");
    let outcome = sandbox.launch().stdin_file("mine/left.txt").finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("mine/done.txt"), ["item-2", "item-3", "item-4"], "{outcome}");
    assert!(!sandbox.exists("mine/left.txt"), "{outcome}");
}

/// A directory of root, by its own name and by a link of root's; the worker may not even enter it.
#[test]
fn files_in_a_linked_directory_of_root_are_written_as_before() {
    if !has(Need::Root) {
        return;
    }
    for place in ["log", "linked"] {
        let sandbox = sandbox(place, USER, "");
        directory(&sandbox, "log", 0, 0, 0o700);
        symlink("log", sandbox.path("linked")).unwrap();
        symlink("results-of-today", sandbox.path("log/done.txt")).unwrap();
        let outcome = whole_run(&sandbox);
        assert_all_kept(&sandbox, place, &outcome);
        assert_owner(&sandbox, place, (0, 0), &outcome);
        assert_eq!(sandbox.lines("log/results-of-today"), ["item-2"], "{outcome}");
    }
}

#[test]
fn files_in_the_directory_of_a_group_belong_to_the_worker_and_the_group() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("shared", USER, "");
    directory(&sandbox, "shared", 0, SHARED, 0o2775);
    let outcome = whole_run(&sandbox);
    assert_all_kept(&sandbox, "shared", &outcome);
    assert_owner(&sandbox, "shared", (WORKER, SHARED), &outcome);
}

/// A volume that belongs to a user of the host, in a container without users: nobody in it has fewer rights than exeunt.
#[test]
fn files_in_a_volume_of_another_owner_are_written_as_before() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("volume", "", "");
    directory(&sandbox, "volume", 2000, 2000, 0o755);
    symlink("elsewhere", sandbox.path("volume/done.txt")).unwrap();
    let outcome = whole_run(&sandbox);
    assert_all_kept(&sandbox, "volume", &outcome);
    assert_owner(&sandbox, "volume", (0, 0), &outcome);
}

fn check(sandbox: &Sandbox) -> String {
    let outcome = sandbox.launch().arguments(&["check"]).finish();
    outcome.expect_code(0);
    outcome.stderr
}

/// Where nobody's rights fit, `check` and the start say so, and the file is opened all the same.
#[test]
fn files_that_others_may_exchange_are_warned_of() {
    if !has(Need::Root) {
        return;
    }
    let written = |what: &str| format!("a link in the place of {what} would be followed with the rights of exeunt");
    // Workers of our own user, in a volume of another.
    let sandbox = sandbox("volume", "", "");
    directory(&sandbox, "volume", 2000, 2000, 0o755);
    let told = [check(&sandbox), whole_run(&sandbox).stderr];
    for text in told {
        let directory = format!("others may write in \"{}\"", sandbox.path("volume").display());
        for what in ["the leftovers of queue \"q\"", "the results of worker \"w\""] {
            assert!(text.contains(&format!("{directory}: {}", written(what))), "{what}: {text}");
        }
    }
    // Workers of several users.
    let second = "[worker.v]\nqueue = \"q\"\ncommand = [\"sh\", \"w.sh\"]\nuser = \"2000\"\n";
    let config = sandbox.read("exeunt.toml").replace("[worker.w]", &format!("{second}\n[worker.w]\nuser = \"1000\""));
    sandbox.config(&config);
    let text = check(&sandbox);
    assert!(text.contains(&written("the leftovers of queue \"q\"")), "{text}");
    assert!(!text.contains(&written("the results of worker \"w\"")), "those are of one user: {text}");
}

/// Such as /var/log where a group may write there, or a volume of a user of the host: results go on as before. Leftovers are
/// replaced and removed too, which our own rights are not used for.
#[test]
fn where_only_others_than_the_workers_user_may_write_results_are_written_with_our_own_rights() {
    if !has(Need::Root) {
        return;
    }
    for (owner, group, mode) in [(0, SHARED, 0o2775), (2000, 2000, 0o755)] {
        let sandbox = sandbox("others", "user = \"1000\"", "");
        directory(&sandbox, "others", owner, group, mode);
        let before = check(&sandbox);
        let outcome = whole_run(&sandbox);
        outcome.expect_code(75);
        assert_eq!(sandbox.lines("others/done.txt"), ["item-2"], "{outcome}");
        assert!(sandbox.read("others/left.txt.dead").contains("item-1"), "{outcome}");
        for name in ["done.txt", "left.txt.dead"] {
            assert_eq!(std::fs::metadata(sandbox.path("others").join(name)).unwrap().uid(), 0, "{name}");
        }
        assert!(outcome.stderr.contains("{\"item\":\"item-3\""), "{outcome}");
        assert!(outcome.stderr.contains("{\"item\":\"item-4\""), "{outcome}");
        let directory = format!("others may write in \"{}\"", sandbox.path("others").display());
        for words in [
            "but not user 1000, so exeunt's own rights are used for the results of worker \"w\"",
            "so user 1000's rights are used, which do not suffice for the leftovers of queue \"q\"",
        ] {
            for text in [&before, &outcome.stderr] {
                assert!(text.contains(&format!("{directory}, {words}")), "{text}");
            }
        }
    }
}

#[test]
fn files_that_the_workers_user_may_not_write_are_warned_of() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox("mine", USER, "");
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    sandbox.file("mine/done.txt", "");
    std::fs::set_permissions(sandbox.path("mine/done.txt"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = "so user 1000's rights are used, which do not suffice for the results of worker \"w\"";
    let text = check(&sandbox);
    assert!(text.contains(words) && !text.contains("for the leftovers"), "{text}");
    chown(sandbox.path("mine/done.txt"), Some(WORKER), None).unwrap();
    assert!(!check(&sandbox).contains("do not suffice"));
}

#[test]
fn files_that_nobody_may_exchange_or_that_have_a_user_are_not_warned_of() {
    if !has(Need::Root) {
        return;
    }
    for (place, user, owner) in [("own", "", 0), ("own", USER, 0), ("mine", USER, WORKER)] {
        let sandbox = sandbox(place, user, "");
        directory(&sandbox, place, owner, owner, 0o755);
        let text = check(&sandbox);
        assert!(!text.contains("others may write"), "{text}");
    }
}

/// Who may write the file itself may do anything with the rights of exeunt.
#[test]
fn a_file_that_workers_may_change_is_warned_of() {
    if !has(Need::Root) {
        return;
    }
    let config = "[worker.w]\ncommand = [\"true\"]\nuser = \"1000\"\n";
    let sandbox = Sandbox::new(config);
    std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = "whoever changes this file runs programs with the rights of exeunt";
    assert!(!check(&sandbox).contains(words));
    chown(sandbox.path("exeunt.toml"), Some(WORKER), None).unwrap();
    assert!(check(&sandbox).contains(&format!("others may write to it: {words}")));
    chown(sandbox.path("exeunt.toml"), Some(0), None).unwrap();
    chown(sandbox.directory(), Some(WORKER), None).unwrap();
    let text = check(&sandbox);
    assert!(text.contains("others may write in \"") && text.contains(words), "{text}");
    // Without other users it is the operator's own affair.
    sandbox.config("[worker.w]\ncommand = [\"true\"]\n");
    assert!(!check(&sandbox).contains(words));
}

/// What the leftovers hold is given to the worker.
#[test]
fn leftovers_that_are_taken_in_first_are_not_read_through_a_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    let worker = format!("command = [\"sh\", \"w.sh\"]\n{USER}");
    let config = pool("leftovers-first = true", &worker).replace("stdin = true", "command = [\"echo\", \"item-1\"]");
    let sandbox = Sandbox::new(&config.replace("left.txt", "mine/left.txt"));
    std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory(&sandbox, "mine", WORKER, WORKER, 0o755);
    sandbox.file(
        "w.sh",
        "while IFS= read -r line <&3; do echo \"${line#* }\" >>mine/seen; echo \"ok ${line%% *}\" >&4; done\n",
    );
    sandbox.file("secret", "root-only\n");
    std::fs::set_permissions(sandbox.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("../secret", sandbox.path("mine/left.txt")).unwrap();
    let outcome = sandbox.launch().finish();
    assert_eq!(sandbox.lines("mine/seen"), ["item-1"], "{outcome}");
    assert_eq!(sandbox.read("secret"), "root-only\n", "{outcome}");
    assert!(outcome.stderr.contains("it is a link, and others may write in its directory"), "{outcome}");
}
