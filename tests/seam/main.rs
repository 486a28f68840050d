//! A whole run (boot, crash, items, survivors, strangers, stop) in which the Nth system call fails, for every N: it works, or
//! it fails cleanly. Never a hang, a panic, a lost item, a process left behind or a descriptor that nobody closes.
//! See `docs/testing.md`; `EXEUNT_SEAM="src/sys/spawn.rs:58 2 11 once" cargo test --features faults --test seam` is one such run, shown.

mod scenario;

use scenario::{Fault, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ERRNOS: [i32; 5] = [EINTR, EAGAIN, ENOMEM, EPERM, EMFILE];

/// Where we read and write pipes that `poll` watches.
const WAITED_FOR: [&str; 3] = ["src/shell/pipes.rs:", "src/shell/sources.rs:", "src/shell/stream.rs:"];

/// Runs at once. They mostly wait.
const AT_ONCE: usize = 10;
/// For each sweep, unless `EXEUNT_SEAM_ALL` asks for all.
const PATIENCE: Duration = Duration::from_secs(80);

#[test]
fn one_run_as_asked() {
    let Ok(text) = std::env::var("EXEUNT_SEAM") else { return };
    let fault = Fault::parse(&text).expect("FILE:LINE NTH ERRNO once|place|ever");
    let plain = plain();
    let outcome = scenario::run(&fault, plain.descriptors().unwrap_or(0));
    println!("{outcome:#?}");
    outcome.judge(&fault, &plain).expect("it works or fails cleanly");
}

/// Each call once, with one errno after the other.
#[test]
fn f90_f92_f94_f95_every_call_fails_once() {
    if std::env::var_os("EXEUNT_SEAM").is_some() {
        return;
    }
    let plain = plain();
    let calls = telling(&plain.calls);
    println!("{} of {} calls, from {} places", calls.len(), plain.calls.len(), plain.places().len());
    let fault = |(place, nth): (String, usize), errno| Fault { place, nth, errno, how: "once" };
    let faults = calls.into_iter().enumerate();
    let faults = faults.flat_map(|(at, call)| errnos(at).map(move |errno| fault(call.clone(), errno)));
    sweep(faults.collect(), &plain);
}

/// The first call of each place of the code, and with it every later one from there: as where a sandbox forbids it.
#[test]
fn f96_every_place_fails_for_ever() {
    if std::env::var_os("EXEUNT_SEAM").is_some() {
        return;
    }
    let plain = plain();
    let fault = |place: &String, errno| Fault { place: place.clone(), nth: 1, errno, how: "place" };
    let places = plain.places().into_iter().enumerate();
    sweep(places.flat_map(|(at, place)| errnos(at).map(move |errno| fault(place, errno))).collect(), &plain);
}

/// From some call on nothing succeeds any more, of all the calls that we make ourselves. Nobody can be stopped or heard then; it
/// must end all the same, and say why where it still can.
#[test]
fn from_some_call_on_all_fail_for_ever() {
    if std::env::var_os("EXEUNT_SEAM").is_some() {
        return;
    }
    let plain = plain();
    let calls = telling(&plain.calls);
    let every = if is_thorough() { 1 } else { calls.len() / 20 };
    let faults = calls.into_iter().step_by(every.max(1)).enumerate();
    let fault = |(place, nth): (String, usize), errno| Fault { place, nth, errno, how: "ever" };
    sweep(faults.flat_map(|(at, call)| errnos(at).map(move |errno| fault(call.clone(), errno))).collect(), &plain);
}

/// One for each fault in its turn; all of them where `EXEUNT_SEAM_ALL` is set.
fn errnos(at: usize) -> impl Iterator<Item = i32> {
    ERRNOS.into_iter().enumerate().filter(move |(i, _)| is_thorough() || i % 5 == at % 5).map(|(_, errno)| errno)
}

fn is_thorough() -> bool {
    std::env::var_os("EXEUNT_SEAM_ALL").is_some()
}

/// Each call by its place and its number there. A look through /proc makes the same few calls for each process of the machine,
/// of which the first and last few stand for all.
fn telling(calls: &[String]) -> Vec<(String, usize)> {
    let mut numbers = BTreeMap::<&String, usize>::new();
    let mut told = Vec::new();
    for (at, place) in calls.iter().enumerate() {
        let number = numbers.entry(place).or_default();
        *number += 1;
        let near = |range: std::ops::Range<usize>| calls.get(range).is_some_and(|some| some.contains(place));
        if !(near(at.saturating_sub(3)..at) && near(at + 1..at + 4)) {
            told.push((place.clone(), *number));
        }
    }
    told
}

fn plain() -> Outcome {
    let plain = scenario::run(&Fault::none(), 0);
    plain.judge(&Fault::none(), &plain).expect("a run without faults works");
    assert!(plain.descriptors().is_some(), "the run counted its descriptors");
    plain
}

/// What the kernel never does and nobody could bear: EAGAIN for a pipe that has something, or room, means that `poll` tells
/// when that changes; it never will.
fn happens(fault: &Fault) -> bool {
    let waited_for = WAITED_FOR.iter().any(|file| fault.place.starts_with(file)) || fault.place == birth();
    fault.errno != EAGAIN || !waited_for
}

/// Where the error pipe of a start is read.
fn birth() -> String {
    let mut lines = include_str!("../../src/sys/spawn.rs").lines();
    let line = lines.position(|line| line.contains("fds::read(report")).expect("the error pipe is read in spawn.rs");
    format!("src/sys/spawn.rs:{}", line + 1)
}

fn sweep(faults: Vec<Fault>, plain: &Outcome) {
    let faults: Vec<Fault> = faults.into_iter().filter(happens).collect();
    let few = plain.descriptors().unwrap_or(0);
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let in_time = || is_thorough() || began.elapsed() < PATIENCE;
    let failures = Mutex::new(BTreeMap::<String, Vec<String>>::new());
    let codes = Mutex::new(BTreeMap::<Option<i32>, usize>::new());
    let worker = || {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| in_time()) {
            let outcome = scenario::run(fault, few);
            *codes.lock().unwrap().entry(outcome.code).or_default() += 1;
            if let Err(why) = outcome.judge(fault, plain) {
                let place = outcome.struck.iter().next().cloned().unwrap_or_default();
                failures.lock().unwrap().entry(place).or_default().push(format!("{fault}: {why}"));
            }
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| _ = scope.spawn(worker)));
    let (failures, codes) = (failures.into_inner().unwrap(), codes.into_inner().unwrap());
    println!("{} faults in {:.0?}, exit codes {codes:?}", faults.len(), began.elapsed());
    assert!(in_time(), "only {codes:?} of {} faults in time", faults.len());
    let text: Vec<String> = failures.iter().map(|(place, all)| format!("== {place}\n{}", all.join("\n"))).collect();
    assert!(failures.is_empty(), "{}", text.join("\n"));
}

impl Outcome {
    fn places(&self) -> BTreeSet<&String> {
        self.calls.iter().collect()
    }
}
