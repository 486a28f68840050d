//! Redis, as a plain service: TERM saves what it holds.

use super::{daemon, family, kill_main_process};
use crate::support::{PATIENCE, Run, Sandbox, until};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

fn sandbox(redis: &str) -> Sandbox {
    let options = "\"--port\", \"0\", \"--unixsocket\", \"redis.sock\", \"--save\", \"3600 1\"";
    Sandbox::new(&format!("[worker.redis]\ncommand = [\"{redis}\", {options}]\nstop-timeout = \"2s\"\n"))
}

#[test]
fn term_saves_what_it_holds_and_the_next_start_has_it() {
    let Some(redis) = daemon("redis-server") else { return };
    let sandbox = sandbox(&redis);
    let run = start(&sandbox);
    assert_eq!(ask(&sandbox, "SET king lear"), "+OK");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(outcome.stdout.contains("DB saved on disk"), "{outcome}");
    assert_eq!(outcome.report()["instances"][0]["rung"], "TERM", "{outcome}");

    let run = start(&sandbox);
    assert_eq!(ask(&sandbox, "GET king"), "lear");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// It is killed while a child of its own, slowed down, writes the data to the disk. That child takes TERM for something to look at later.
#[test]
fn a_killed_redis_leaves_no_child_that_still_saves() {
    let Some(redis) = daemon("redis-server") else { return };
    let sandbox = sandbox(&redis);
    let run = start(&sandbox);
    assert_eq!(ask(&sandbox, "SET king lear"), "+OK");
    assert_eq!(ask(&sandbox, "CONFIG SET rdb-key-save-delay 1000000000"), "+OK");
    assert_eq!(ask(&sandbox, "BGSAVE"), "+Background saving started");
    let members = family(&run);
    assert_eq!(members.len(), 2, "redis and its child: {members:?}");
    kill_main_process(&run);
    wait_until_it_listens(&sandbox);
    assert_eq!(ask(&sandbox, "GET king"), "$-1", "nothing was saved");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

fn start(sandbox: &Sandbox) -> Run<'_> {
    let run = sandbox.launch().report_json().start();
    wait_until_it_listens(sandbox);
    run
}

fn wait_until_it_listens(sandbox: &Sandbox) {
    until("redis to answer", || UnixStream::connect(sandbox.path("redis.sock")).ok());
}

/// One request, one answer, of one line or a length and a line. (Not until the end: a child that saves keeps its copy of the connection.)
fn ask(sandbox: &Sandbox, request: &str) -> String {
    let mut stream = UnixStream::connect(sandbox.path("redis.sock")).expect("redis listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request}\r\n").expect("redis reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("redis answers"));
    let first = lines.next().expect("an answer");
    match first.strip_prefix('$') {
        Some("-1") | None => first,
        Some(_) => lines.next().expect("what it holds"),
    }
}
