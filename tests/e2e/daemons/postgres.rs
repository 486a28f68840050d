//! PostgreSQL: INT is its fast shutdown, after which the next start has nothing to recover. It runs as a user of its own, since it refuses
//! to run as root.

use super::{daemon, family};
use crate::support::{Known, Need, Run, Sandbox, has, send, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

const READY: &str = "database system is ready to accept connections";

#[test]
fn int_is_a_fast_shutdown_and_the_next_start_has_nothing_to_recover() {
    let Some(database) = Database::new("stop-signal = \"INT\"\nstop-timeout = \"50s\"") else { return };
    let run = database.start();
    database.sql("create table plays (title text); insert into plays values ('The Winter''s Tale')");
    // Who is in the middle of something is told to leave: the smart shutdown, on TERM, would wait for him.
    let mut idle = database.client("begin; insert into plays values ('Cardenio'); select pg_sleep(1000)");
    database.wait_for_sleeper();
    run.signal(Signal::SIGTERM);
    let first = run.finish();
    first.expect_code(0);
    assert!(first.stderr.contains("received fast shutdown request"), "{first}");
    assert_eq!(first.report()["instances"][0]["rung"], "INT", "{first}");
    assert!(!idle.wait().expect("it ends").success(), "its transaction was broken off");

    let run = database.start();
    assert_eq!(database.sql("select title from plays"), "The Winter's Tale\n");
    run.signal(Signal::SIGTERM);
    let second = run.finish();
    second.expect_code(0);
    assert!(second.stderr.contains("database system was shut down at"), "{second}");
    assert!(!second.stderr.contains("interrupted") && !second.stderr.contains("recovery"), "{second}");
}

/// It says to systemd when it takes connections, and to us, though it is another user than we are.
#[test]
fn it_tells_when_it_is_ready() {
    let keys = "stop-signal = \"INT\"\nready = { notify = true }\n\n[worker.client]\ncommand = [\"sh\", \"client.sh\"]\nrequires = [\"db\"]";
    let Some(database) = Database::new(keys) else { return };
    let select = format!("{} -h \"$PWD/data\" -U postgres -Atc 'select 6 * 7' >&2\nexec sleep 1000\n", database.client);
    database.sandbox.file("client.sh", &select);
    let run = database.start();
    run.wait_for_line("42");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("exeunt: db.0 is ready after"), "{outcome}");
}

/// What the first test would see if it were not so. Its helpers are in sessions of their own, where they are left to notice that their
/// parent is gone; a new one does not start before they have.
#[test]
fn after_kill_the_next_start_recovers_what_was_committed() {
    let Some(database) = Database::new("stop-signal = \"INT\"\nstop-timeout = \"50s\"") else { return };
    let run = database.start();
    database.sql("create table plays (title text); insert into plays values ('Pericles')");
    let family = family(&run);
    assert!(family.len() > 4, "it has helpers: {family:?}");
    send(family[0].pid, Signal::SIGKILL);
    run.wait_for_words(READY, 2);
    assert!(!family.iter().any(Known::lives), "two clusters on the same data: {family:#?}");
    assert_eq!(database.sql("select title from plays"), "Pericles\n");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("database system was interrupted"), "{outcome}");
    assert!(outcome.stderr.contains("automatic recovery in progress"), "{outcome}");
}

/// A busy one does not look for its parent and holds the shared memory. Without control groups no new one starts until the worker is given
/// up; the end of the run takes the busy one along, and the next run can recover.
#[test]
fn after_kill_a_busy_backend_goes_with_the_run_at_the_latest() {
    let Some(database) = Database::new("stop-signal = \"INT\"") else { return };
    let run = database.start();
    let mut busy = database.kill_while_busy(&run);
    let outcome = run.finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("is still in use"), "{outcome}");
    assert!(!busy.wait().expect("it ends").success(), "nobody is left to answer it");

    let run = database.start();
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// With them the busy one is gone before the restart.
#[test]
fn after_kill_a_busy_backend_goes_with_its_control_group() {
    let Some(database) = Database::new("stop-signal = \"INT\"").filter(|_| has(Need::ControlGroups)) else { return };
    let config = database.sandbox.read("exeunt.toml");
    database.sandbox.config(&config.replace("\"off\"", "\"auto\""));
    let run = crate::cgroup::start(&database.sandbox);
    run.wait_for_line_with(READY);
    let mut busy = database.kill_while_busy(&run);
    run.wait_for_words(READY, 2);
    assert!(!busy.wait().expect("it ends").success(), "nobody is left to answer it");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.report()["instances"][0]["restarts"], 1, "the first try did it\n{outcome}");
}

/// A cluster of its own in a directory of its own, reached by a socket in there.
struct Database {
    sandbox: Sandbox,
    client: String,
}

impl Database {
    fn new(keys: &str) -> Option<Database> {
        let (server, init, client) = (daemon("postgres")?, daemon("initdb")?, daemon("psql")?);
        if !has(Need::Root) {
            return None;
        }
        let options =
            "\"-c\", \"listen_addresses=\", \"-c\", \"unix_socket_directories=.\", \"-c\", \"logging_collector=off\"";
        let sandbox = Sandbox::new(&format!(
            "[supervisor]\ncgroup = \"off\"\n\n[worker.db]\ncommand = [\"{server}\", \"-D\", \"data\", {options}]\nuser = \"postgres\"\n{keys}\n"
        ));
        std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let data = sandbox.path("data");
        std::fs::create_dir(&data).expect("there is room");
        succeed(Command::new("chown").arg("postgres:postgres").arg(&data));
        let mut made = as_postgres(&init);
        made.args(["--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync", "-D"]).arg(&data);
        succeed(&mut made);
        Some(Database { sandbox, client })
    }

    /// Until it takes connections.
    fn start(&self) -> Run<'_> {
        let run = self.sandbox.launch().report_json().start();
        run.wait_for_line_with(READY);
        run
    }

    /// What this prints, without any ornaments.
    #[track_caller]
    fn sql(&self, statements: &str) -> String {
        succeed(&mut self.psql(statements))
    }

    /// Kills the main process while a child of it computes, for the client that is returned.
    fn kill_while_busy(&self, run: &Run) -> Child {
        let busy = self.client("select count(*) from generate_series(1, 1000000000000)");
        let active =
            "select count(*) from pg_stat_activity where query like 'select count(*) from gen%' and state = 'active'";
        until("a busy backend", || (self.sql(active) == "1\n").then_some(()));
        send(family(run)[0].pid, Signal::SIGKILL);
        busy
    }

    /// One that goes on.
    fn client(&self, statements: &str) -> Child {
        let mut psql = self.psql(statements);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql starts")
    }

    fn wait_for_sleeper(&self) {
        let sleepers = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        until("somebody to sleep in the database", || (self.sql(sleepers) == "1\n").then_some(()));
    }

    fn psql(&self, statements: &str) -> Command {
        let mut psql = as_postgres(&self.client);
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1", "-h"]);
        psql.arg(self.sandbox.path("data")).args(["-c", statements, "postgres"]);
        psql
    }
}

fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]).current_dir("/");
    command
}

/// Its output; it ends well.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
