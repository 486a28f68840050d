//! Runs a target over its corpus and over mutations of it; keeps the input that breaks it.

use fastrand::Rng;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

pub type Target = fn(&[u8]);

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Mutated inputs of a smoke run, and the time after which it ends all the same.
const SMOKE_INPUTS: u64 = 20_000;
const SMOKE_TIME: Duration = Duration::from_secs(4);
const SMOKE_SEED: u64 = 0x00e7_e047;
/// No input is longer.
const LONGEST: usize = 4096;
/// An input that takes longer is a failure of its own.
const SLOWEST: Duration = Duration::from_secs(30);

/// Replays the corpus, then mutates it. `seeds`: more directories to begin from, below the project's root.
pub fn run(name: &'static str, target: Target, seeds: &[&str]) {
    quiet_panics();
    if let Some(path) = env::var_os("EXEUNT_FUZZ_INPUT") {
        return target(&fs::read(&path).expect("the input can be read"));
    }
    let watch = Watch::new(name);
    let corpus = corpus(name, seeds);
    assert!(!corpus.is_empty(), "no corpus for {name}");
    corpus.iter().for_each(|input| try_one(name, target, input, &watch));
    let long = env::var("EXEUNT_FUZZ_SECONDS").ok().map(|text| text.parse().expect("EXEUNT_FUZZ_SECONDS is a number"));
    let (seed, inputs, time) = match long {
        Some(seconds) => (fastrand::u64(..), u64::MAX, Duration::from_secs(seconds)),
        None => (SMOKE_SEED, SMOKE_INPUTS, SMOKE_TIME),
    };
    let (mut random, began, mut done) = (Rng::with_seed(seed), Instant::now(), 0);
    while done < inputs && began.elapsed() < time {
        let input = mutant(&corpus, &mut random);
        try_one(name, target, &input, &watch);
        done += 1;
    }
    println!("{name}: {} seeds, {done} mutants of seed {seed:#x} in {:.1?}", corpus.len(), began.elapsed());
}

fn try_one(name: &str, target: Target, input: &[u8], watch: &Watch) {
    watch.begin(input);
    let result = catch_unwind(AssertUnwindSafe(|| target(input)));
    watch.end();
    if let Err(panic) = result {
        let words = words(&*panic);
        panic!("{words}\n{}", keep(name, input));
    }
}

/// Puts the input into a file and says how to come back to it.
fn keep(name: &str, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let directory = Path::new(ROOT).join("tests/fuzz/crashes");
    let path = directory.join(format!("{name}-{:016x}", hasher.finish()));
    fs::create_dir_all(&directory).and_then(|()| fs::write(&path, input)).expect("the input can be kept");
    let path = path.strip_prefix(ROOT).unwrap_or(&path).display().to_string();
    let test = thread::current().name().unwrap_or("TEST").to_owned();
    format!("again: EXEUNT_FUZZ_INPUT={path} cargo test --test fuzz {test}")
}

/// The words of a caught panic.
pub fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let word = panic.downcast_ref::<String>().cloned();
    word.or_else(|| panic.downcast_ref::<&str>().map(|word| (*word).to_owned())).unwrap_or_default()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic as expected, without a word on stderr.
pub fn expecting_panics<R>(work: impl FnOnce() -> R) -> R {
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
}

/// Tells the input that never ends, which no test could tell by itself.
struct Watch(Arc<Mutex<Option<Underway>>>);

/// When it began, and its input.
type Underway = (Instant, Vec<u8>);

impl Watch {
    fn new(name: &'static str) -> Watch {
        let current = Arc::new(Mutex::new(None::<(Instant, Vec<u8>)>));
        let watched = Arc::downgrade(&current);
        thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let current = current.lock().expect("nobody panics with it").clone();
                if let Some((_, input)) = current.filter(|(began, _)| began.elapsed() > SLOWEST) {
                    eprintln!("{name}: an input takes longer than {SLOWEST:?}\n{}", keep(name, &input));
                    process::abort();
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        Watch(current)
    }

    fn begin(&self, input: &[u8]) {
        *self.0.lock().expect("nobody panics with it") = Some((Instant::now(), input.to_vec()));
    }

    fn end(&self) {
        *self.0.lock().expect("nobody panics with it") = None;
    }
}

/// In order of name, so that a seed means the same everywhere.
fn corpus(name: &str, seeds: &[&str]) -> Vec<Vec<u8>> {
    let own = Path::new(ROOT).join("tests/fuzz/corpus").join(name);
    let mut paths = files(&own, |_| true);
    for seed in seeds {
        paths.extend(files(&Path::new(ROOT).join(seed), |path| path.extension().is_some_and(|end| end == "toml")));
    }
    paths.iter().map(|path| fs::read(path).expect("a corpus file can be read")).collect()
}

fn files(directory: &Path, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    let deeper = |path: PathBuf| match path.is_dir() {
        true => files(&path, wanted),
        false if wanted(&path) => vec![path],
        false => vec![],
    };
    paths.into_iter().flat_map(deeper).collect()
}

/// Some changes to one of the corpus, or bytes out of nothing.
fn mutant(corpus: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    if random.u8(..) < 16 {
        return bytes(random, 512);
    }
    let mut input = pick(corpus, random).to_vec();
    for _ in 0..=random.usize(..6) {
        mutate(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=32)).min(input.len());
    match random.u8(..8) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => _ = input.drain(at..end),
        3 => {
            let piece = input[at..end].to_vec();
            let to = random.usize(..=input.len());
            input.splice(to..to, piece);
        }
        4 => {
            let other = pick(corpus, random);
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..=64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        5 => {
            // The end of another: what both mean, one after the other.
            let other = pick(corpus, random);
            input.truncate(at);
            input.extend_from_slice(&other[random.usize(..=other.len())..]);
        }
        6 => _ = input.splice(at..at, bytes(random, 24)),
        _ => {
            let telling = [0, b'\n', b' ', b'"', b'.', b'$', b'{', b'[', b'-', b'9', 0x7f, 0x80, 0xff];
            input.insert(at, telling[random.usize(..telling.len())]);
        }
    }
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut Rng) -> &'a [u8] {
    &corpus[random.usize(..corpus.len())]
}

fn bytes(random: &mut Rng, longest: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(..=longest)];
    random.fill(&mut bytes);
    bytes
}
