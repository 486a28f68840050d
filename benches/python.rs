//! The four-line Python worker, against a worker behind Python's own two queues.

use crate::exeunt::Run;
use crate::queue::{items, stdin};
use crate::table::{Goal, Rounds, Table, Unit};
use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 9;
const SIZE: usize = 10;
const OURS: u64 = 300_000;
const THEIRS: u64 = 100_000;

const WORKER: &str = r#"
items, replies = open(3), open(4, "w", buffering=1)
for line in items:
    token, item = line.rstrip("\n").split(" ", 1)
    replies.write(f"ok {token} {item}\n")
"#;

/// Tells the seconds between the first result and the last.
const QUEUES: &str = r#"
import multiprocessing, sys, time

def work(jobs, results):
    for item in iter(jobs.get, None):
        results.put(item)

if __name__ == "__main__":
    count = int(sys.argv[1])
    jobs, results = multiprocessing.Queue(), multiprocessing.Queue()
    worker = multiprocessing.Process(target=work, args=(jobs, results))
    worker.start()
    for number in range(count):
        jobs.put(f"{number:0>10}")
    jobs.put(None)
    results.get()
    begun = time.monotonic()
    for _ in range(count - 1):
        results.get()
    print(time.monotonic() - begun)
    worker.join()
"#;

pub fn measure(table: &mut Table) {
    let directory = tempfile::tempdir().expect("a directory");
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("the script");
        path.display().to_string()
    };
    let (worker, queues) = (script("worker.py", WORKER), script("queues.py", QUEUES));
    let items = items(SIZE, OURS);
    let rounds = Rounds::of(ROUNDS, || ours(&worker, &items), || theirs(&queues));
    table.ratio("python worker, prefetch 128, with results", Unit::PerSecond, &rounds, Goal::AtLeast(4.0));
}

fn ours(script: &str, items: &File) -> f64 {
    let toml = format!(
        "[queue.jobs]\n[source.items]\nqueue = \"jobs\"\nstdin = true\n[worker.one]\nqueue = \"jobs\"\nprefetch = 128\n\
         results = \"stdout\"\ncommand = [\"python3\", {script:?}]\n"
    );
    let mut run = Run::start(&toml, stdin(items));
    // The clock runs from the first result to the last, so that the start of an interpreter is on neither side.
    let (mut buffer, mut bytes, mut begun, mut last) = (vec![0; 64 * 1024], 0, None, 0.0);
    loop {
        let length = run.stdout.read(&mut buffer).expect("results");
        if length == 0 {
            break;
        }
        bytes += length as u64;
        last = begun.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
    }
    run.end();
    assert_eq!(bytes, OURS * (SIZE as u64 + 1), "every result is there");
    OURS as f64 / last
}

fn theirs(script: &str) -> f64 {
    let output = Command::new("python3").args([script, &THEIRS.to_string()]).stderr(Stdio::inherit()).output();
    let told = String::from_utf8(output.expect("python3").stdout).expect("a number");
    THEIRS as f64 / told.trim().parse::<f64>().expect("a number")
}
