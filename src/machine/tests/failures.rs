//! What counts as a failure of a program, and what does not.

use super::*;
use crate::machine::report::{Fate, Why};
use crate::model::identity::{Bound, Limit, Resource};

fn exit(code: u8) -> ExitStatus {
    ExitStatus::Exited(code)
}

/// A run with one service, which is started.
fn service(change: impl FnOnce(&mut WorkerPlan)) -> Stand {
    let mut web = worker("web", None);
    change(&mut web);
    Stand::new(plan(vec![], vec![], vec![web]))
}

/// The delay of the restart that was announced last.
fn delay(stand: &Stand) -> Option<Duration> {
    stand.out.iter().find_map(|action| match action {
        Action::Note(Note::Restarting { after, .. }) => Some(*after),
        _ => None,
    })
}

/// Runs the first instance, and lets it end so long after.
fn runs_for(stand: &mut Stand, span: Duration, status: ExitStatus) {
    let proc = stand.machine.instances[0].proc().expect("it was started");
    stand.tell(Event::Spawned { proc });
    stand.now = stand.now + span;
    stand.tell(exited(proc, status, false));
    stand.tell(Event::MembersGone { proc });
}

/// Waits for the next start.
fn starts_again(stand: &mut Stand) {
    if stand.machine.instances[0].proc().is_none() {
        stand.now = stand.machine.deadline().expect("it waits to be started again");
        stand.tell(Event::Tick);
    }
}

fn gave_up(stand: &Stand) -> bool {
    stand.machine.workers[0].gave_up
}

#[test]
fn good_ends_after_a_second_are_never_failed_starts() {
    let mut stand = service(|web| web.restart = Restart::Always);
    for _ in 0..20 {
        runs_for(&mut stand, secs(1), exit(0));
        assert_eq!((delay(&stand), gave_up(&stand)), (Some(Duration::ZERO), false));
        starts_again(&mut stand);
    }
}

#[test]
fn good_ends_within_a_second_are_no_failed_starts_and_are_slowed_down() {
    let tenth = Duration::from_millis(100);
    for (written, expected) in [(Duration::ZERO, tenth), (tenth * 3, tenth * 3)] {
        let mut stand = service(|web| {
            web.restart = Restart::Always;
            web.restart_delay.delay = written;
        });
        for _ in 0..20 {
            runs_for(&mut stand, Duration::from_millis(999), exit(0));
            assert_eq!((delay(&stand), gave_up(&stand)), (Some(expected), false), "it does not grow");
            starts_again(&mut stand);
        }
    }
}

#[test]
fn bad_ends_of_a_worker_that_is_always_restarted_still_count() {
    let mut stand = service(|web| web.restart = Restart::Always);
    for _ in 0..4 {
        runs_for(&mut stand, secs(2), exit(1));
        assert!(!gave_up(&stand));
        starts_again(&mut stand);
    }
    runs_for(&mut stand, secs(2), exit(1));
    assert!(gave_up(&stand));
}

/// It was given an item and left without a word about it.
#[test]
fn a_queue_worker_that_ends_well_with_an_item_unanswered_has_failed() {
    let mut stand = Stand::new(pool(1));
    let proc = stand.spawned();
    stand.give(&["a"]);
    stand.dies(proc, exit(0), false);
    for _ in 1..5 {
        assert!(!gave_up(&stand));
        starts_again(&mut stand);
        runs_for(&mut stand, secs(2), exit(0));
    }
    assert!(gave_up(&stand));
}

#[test]
fn a_program_that_ends_before_it_was_ready_has_failed_whatever_its_code() {
    let mut stand = service(|web| web.ready = Some(Ready::Notify));
    for _ in 0..4 {
        runs_for(&mut stand, secs(2), exit(0));
        assert!(!gave_up(&stand));
        starts_again(&mut stand);
    }
    runs_for(&mut stand, secs(2), exit(0));
    assert!(gave_up(&stand));
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!(report(&orders).exit_code, 1);
}

#[test]
fn a_program_that_is_never_restarted_and_ends_before_it_was_ready_makes_the_exit_code_1() {
    let mut stand = service(|web| {
        web.ready = Some(Ready::Notify);
        web.restart = Restart::Never;
    });
    runs_for(&mut stand, secs(2), exit(0));
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!(report(&orders).exit_code, 1);
}

#[test]
fn a_program_that_was_told_to_leave_before_it_was_ready_has_not_failed() {
    let mut stand = service(|web| web.ready = Some(Ready::Notify));
    let proc = stand.spawned();
    stand.term();
    stand.dies(proc, exit(0), false);
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!(report(&orders).exit_code, 0);
}

#[test]
fn an_item_that_was_never_read_is_not_blamed_for_its_timeout() {
    let mut stand = Stand::new(pool(1));
    let mut proc = stand.spawned();
    stand.give(&["a"]);
    for times in 1..=5 {
        stand.after(60_000);
        stand.dies(proc, KILLED, false);
        assert_eq!(stand.machine.queues[0].stats.dead, 0, "the item stays");
        assert_eq!(gave_up(&stand), times == 5, "it is the program's failure, however long it takes");
        if times < 5 {
            starts_again(&mut stand);
            proc = stand.machine.instances[0].proc().unwrap();
            stand.tell(Event::Spawned { proc });
        }
    }
    stand.tell(Event::SourceEnded { source: SourceId(0), end: SourceEnd::Abandoned { torn: None } });
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!((report(&orders).exit_code, report(&orders).queues[0].handed_back), (1, 1));
}

/// EAGAIN of exec after the change of user: too many processes.
#[test]
fn a_limit_that_the_file_sets_is_no_shortage_of_the_machine() {
    let none = Bound::At(0);
    let mut stand = service(|web| {
        web.program.identity.limits = vec![Limit { resource: Resource::Nproc, soft: none, hard: none }];
    });
    let mut failed = 0;
    while !gave_up(&stand) {
        let proc = stand.machine.instances[0].proc().expect("it was started");
        stand.tell(Event::SpawnFailed { proc, error: SpawnError { stage: Stage::Exec, errno: 11 } });
        failed += 1;
        assert!(failed < 50, "tried again for ever");
        if !gave_up(&stand) {
            starts_again(&mut stand);
        }
    }
    assert!(stand.now.since(Time::ZERO) >= secs(40), "counted once in ten seconds at most, {} is early", stand.now);
}

#[test]
fn a_shortage_that_no_limit_of_the_file_explains_is_waited_out() {
    let mut stand = service(|_| {});
    for _ in 0..50 {
        let proc = stand.machine.instances[0].proc().expect("it was started");
        stand.tell(Event::SpawnFailed { proc, error: SpawnError { stage: Stage::Exec, errno: 11 } });
        assert!(!gave_up(&stand));
        starts_again(&mut stand);
    }
}

/// Each time it leaves a process in a session of its own.
#[test]
fn good_ends_that_leave_a_daemon_are_failed_starts() {
    let mut stand = service(|web| web.restart = Restart::Always);
    for daemons in 1..=5 {
        runs_for(&mut stand, Duration::from_millis(5), exit(0));
        assert!(stand.out.contains(&Action::CountOrphans));
        assert!(!gave_up(&stand));
        stand.tell(Event::Orphans { count: daemons });
        if daemons < 5 {
            starts_again(&mut stand);
        }
    }
    assert!(gave_up(&stand));
}

/// `web` requires `db`, which ends well in the moment in which `web` is being started.
fn web_is_killed_while_it_starts(exit_code_from: Option<WorkerId>) -> Stand {
    let mut web = worker("web", None);
    web.requires = vec![WorkerId(0)];
    web.after = vec![WorkerId(0)];
    let workers = vec![worker("db", None), web];
    let mut stand = Stand::new(Plan { exit_code_from, ..plan(vec![], vec![], workers) });
    let db = stand.spawned();
    let web = stand.machine.instances[1].proc().expect("it is being started");
    stand.dies(db, exit(0), false);
    stand.dies(web, KILLED, false);
    stand
}

#[test]
fn a_worker_that_was_killed_before_it_ever_ran_for_what_it_requires_makes_the_exit_code_1() {
    let mut stand = web_is_killed_while_it_starts(None);
    let orders = stand.tell(Event::Strangers { count: 0 });
    let web = Fate::KilledWhileStarting { why: Why::Requires(WorkerId(0)) };
    assert_eq!((report(&orders).exit_code, &report(&orders).leavers[1].fate), (1, &web));
}

#[test]
fn a_kill_of_ours_before_a_program_ran_is_no_exit_code_of_it() {
    let mut stand = web_is_killed_while_it_starts(Some(WorkerId(1)));
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!((report(&orders).exit_code, report(&orders).code_of_all), (1, None), "it never ran");

    let from_web = Plan { exit_code_from: Some(WorkerId(0)), ..plan(vec![], vec![], vec![worker("web", None)]) };
    let mut stand = Stand::new(from_web);
    runs_for(&mut stand, secs(1), exit(7));
    starts_again(&mut stand);
    let proc = stand.machine.instances[0].proc().expect("it is being started again");
    stand.term();
    stand.dies(proc, KILLED, false);
    let orders = stand.tell(Event::Strangers { count: 0 });
    assert_eq!(report(&orders).exit_code, 7, "with which it ended when it ran");
}
