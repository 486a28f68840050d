//! Fuzz targets, their corpora, and a smoke run of all. Each target is a plain function of bytes that panics when a promise
//! is broken. See `docs/testing.md`.
//!
//! `cargo test --test fuzz` replays `corpus/TARGET/*` and runs some thousand mutations of it from a fixed seed.
//! `EXEUNT_FUZZ_SECONDS=600 cargo test --release --test fuzz -- --nocapture` goes on for that long, from a new seed.
//! `EXEUNT_FUZZ_INPUT=FILE cargo test --test fuzz TARGET` runs one input.

mod harness;
mod targets;

#[test]
fn f118_config_text() {
    harness::run("config", targets::config::target, &["tests/config/good", "tests/config/bad", "examples"]);
}

#[test]
fn f144_worker_replies() {
    harness::run("replies", targets::replies::target, &[]);
}

#[test]
fn f70_source_frames() {
    harness::run("frames", targets::frames::target, &[]);
}

#[test]
fn env_files() {
    harness::run("env_files", targets::env_files::target, &[]);
}

#[test]
fn notification_datagrams() {
    harness::run("datagrams", targets::datagrams::target, &[]);
}

#[test]
fn answers_to_probes() {
    harness::run("answers", targets::answers::target, &[]);
}

#[test]
fn events_that_keep_the_contract() {
    harness::run("events", targets::events::target, &[]);
}

#[test]
fn events_that_do_not() {
    harness::run("anything", targets::anything::target, &[]);
}
