//! The simulation: the machine in a world that is made up from a seed, with laws that are looked at after every step.
//! `docs/testing.md` says how it is run and how a law is added.

mod clock;
mod coverage;
mod dice;
mod fake;
mod generate;
mod kernel;
mod laws;
mod manner;
mod never;
mod pids;
mod saboteur;
mod scenario;
mod service;
mod source;
mod told;
mod trace;
mod voice;
mod worker;
mod world;
mod writer;

use coverage::Coverage;
use std::time::{Duration, Instant};

/// How long the seeds of a plain `cargo test` may take.
const PATIENCE: Duration = Duration::from_secs(20);
const FEWEST: u64 = 100;
/// After so many seeds every pair of state and event was reached that ever is.
const ENOUGH: u64 = 5000;

#[test]
fn laws_hold_over_seeds() {
    if let Some(seed) = number("EXEUNT_SEED") {
        return repeat(seed);
    }
    let (mut seeds, mut turns) = (0, 0);
    let (mut coverage, mut reused) = (Coverage::default(), 0);
    let mut broken = Vec::new();
    let began = Instant::now();
    let wanted = number("EXEUNT_SEEDS");
    let first = number("EXEUNT_FIRST").unwrap_or(0);
    while wanted.map_or_else(|| seeds < FEWEST || began.elapsed() < PATIENCE, |wanted| seeds < wanted) {
        let seed = first + seeds;
        match world::run(seed, None) {
            Ok(run) => {
                turns += run.turns;
                reused += run.reused;
                coverage.add(&run.coverage, seed);
            }
            Err(failure) if wanted.is_some() => broken.push((seed, failure)),
            Err(failure) => panic!("{}", told(seed, &failure, 60)),
        }
        seeds += 1;
    }
    println!("{seeds} seeds, {turns} turns, {:.1?}; {reused} process numbers came back early", began.elapsed());
    println!("{coverage}");
    // A run of many goes on after a broken law, and tells the shortest trace of all.
    for (seed, failure) in &broken {
        println!("seed {seed}, {} lines, {}", failure.trace.len(), failure.broken);
    }
    if let Some((seed, failure)) = broken.iter().min_by_key(|(_, failure)| failure.trace.len()) {
        panic!("{} of {seeds} seeds break a law\n{}", broken.len(), told(*seed, failure, 60));
    }
    let surprises = coverage.surprises().join("\n");
    // Other seeds than the first may not come upon the rarest pairs.
    let looks = seeds >= ENOUGH && first == 0;
    assert!(!looks || surprises.is_empty(), "{surprises}\n`never.rs` tells another story");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let hash = || {
            world::run(seed, None)
                .map(|run| (run.trace.hash(), run.trace.len()))
                .map_err(|failure| told(seed, &failure, 60))
        };
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

/// A law that nothing can break proves nothing: each broken copy of the machine is caught, and by the law it breaks.
#[test]
fn every_law_bites() {
    let bites = |&&(sabotage, law): &&(saboteur::Sabotage, &str)| {
        let mut runs = (0..2000).filter_map(|seed| world::run(seed, Some(sabotage)).err());
        runs.any(|failure| failure.broken.law == law)
    };
    let toothless: Vec<_> = saboteur::ALL.iter().filter(|each| !bites(each)).collect();
    assert!(toothless.is_empty(), "these are not noticed: {toothless:?}");
}

/// One seed, with its whole trace.
fn repeat(seed: u64) {
    match world::run(seed, None) {
        Ok(run) => println!("{}seed {seed}: {} turns, all laws hold", run.trace.tail(usize::MAX), run.turns),
        Err(failure) => panic!("{:#?}\n{}", failure.plan, told(seed, &failure, usize::MAX)),
    }
}

fn told(seed: u64, failure: &world::Failure, lines: usize) -> String {
    let mood = world::mood_of(seed);
    let tail = failure.trace.tail(lines);
    format!(
        "seed {seed} ({mood:?}), turn {}\n{tail}{}\nrepeat it: EXEUNT_SEED={seed} cargo test --test sim -- --nocapture",
        failure.turn, failure.broken
    )
}

/// Nothing is read from the environment but how many seeds, or which.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
