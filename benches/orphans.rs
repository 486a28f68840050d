//! Orphans that come to us from a program that makes nothing but orphans.

use crate::exeunt::{Run, own_command, own_path};
use crate::roles::{ORPHAN_MAKER, SUBREAPER};
use crate::table::{Goal, Rounds, Table, Unit};
use std::process::{Command, Stdio};
use std::time::Instant;

const MANY: u64 = 10_000;
const ROUNDS: usize = 9;

pub fn measure(table: &mut Table) {
    let rounds = Rounds::of(ROUNDS, ours, floor);
    table.ratio(&format!("{MANY} orphans"), Unit::Seconds, &rounds, Goal::AtMost(1.3));
}

/// The whole run: it ends when its one worker has made them all and nobody is left.
fn ours() -> f64 {
    let command = own_command(&[ORPHAN_MAKER, &MANY.to_string()]);
    let begun = Instant::now();
    Run::start(&format!("[worker.maker]\nrestart = \"never\"\ncommand = {command}\n"), Stdio::null()).end();
    begun.elapsed().as_secs_f64()
}

fn floor() -> f64 {
    let begun = Instant::now();
    let status = Command::new(own_path()).args([SUBREAPER, &MANY.to_string()]).status().expect("the subreaper");
    assert!(status.success());
    begun.elapsed().as_secs_f64()
}
