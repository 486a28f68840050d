//! The run, and what may come of it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A hang, on a machine that is busy with other tests. A stop may take its budget, 5 s for what KILL does not remove, and
/// 3 s for strangers.
const HANG: Duration = Duration::from_secs(25);
/// A run that can never come to its end by itself, because something is refused for ever, is told to stop after this.
const ENOUGH: Duration = Duration::from_secs(3);

const PLAN: &str = r#"
[supervisor]
stop-budget = "4s"
end = "work"
[queue.q]
backoff = { delay = "5ms" }
leftovers = "left"
[source.s]
queue = "q"
command = ["sh", "-c", "printf '%s\n' one crash two orphan stray three count stop four"]
stop = ["TERM 500ms"]
[worker.w]
queue = "q"
command = ["sh", "worker.sh"]
results = "stdout"
restart-delay = { delay = "5ms" }
stop = ["event 500ms", "TERM 500ms"]
[worker.plain]
command = ["sleep", "1000"]
after = ["w"]
ready = { command = ["true"] }
stop = ["TERM 500ms"]
[worker.silent]
command = ["sleep", "1000"]
ready = { notify = true }
start-timeout = "off"
stop = ["TERM 500ms"]
"#;

/// `crash` once, `orphan` a process in the worker's session, `stray` one in its own, `count` our parent's descriptors, `stop` all.
const WORKER: &str = r#"
while IFS= read -r line <&3; do
  id=${line%% *} item=${line#* } more=
  case $item in
    crash) [ -e crashed ] || { : >crashed; kill -KILL $$; } ;;
    orphan) sleep 1000 3<&- 4>&- 5<&- >/dev/null 2>&1 & ;;
    stray) setsid sleep 1000 3<&- 4>&- 5<&- >/dev/null 2>&1 & ;;
    count)
      # Starts and ends that are under way have descriptors of their own.
      for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        set -- /proc/$PPID/fd/*
        [ $# -le "$EXEUNT_SEAM_FEW" ] && break
        sleep 0.1
      done
      more=" $#" ;;
    stop) kill -TERM $PPID ;;
  esac
  echo "ok $id $item$more" >&4
done
"#;

const ITEMS: [&str; 9] = ["one", "crash", "two", "orphan", "stray", "three", "count", "stop", "four"];

#[derive(Clone, Debug)]
pub struct Fault {
    /// `FILE:LINE`
    pub place: String,
    /// Of the calls from there, counted from 1.
    pub nth: usize,
    pub errno: i32,
    pub how: &'static str,
}

impl Fault {
    pub fn none() -> Fault {
        Fault { place: "nowhere".to_owned(), nth: 1, errno: 0, how: "once" }
    }

    pub fn parse(text: &str) -> Option<Fault> {
        let words: Vec<&str> = text.split(' ').collect();
        let [place, nth, errno, how] = words.as_slice() else { return None };
        let how = ["once", "place", "ever"].into_iter().find(|known| known == how)?;
        Some(Fault { place: (*place).to_owned(), nth: nth.parse().ok()?, errno: errno.parse().ok()?, how })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.place, self.nth, self.errno, self.how)
    }
}

#[derive(Debug)]
pub struct Outcome {
    /// `None`: killed by a signal, or by us because it hung.
    pub code: Option<i32>,
    pub hung: bool,
    pub took: Duration,
    pub stdout: String,
    pub stderr: String,
    pub leftovers: String,
    /// What bore our mark when exeunt had gone.
    pub left_behind: Vec<String>,
    /// The places of the calls, in order, and of those that failed.
    pub calls: Vec<String>,
    pub struck: BTreeSet<String>,
}

/// Runs the scenario in a directory of its own.
/// `few`: with so many descriptors of exeunt, or fewer, the item `count` is content at once.
pub fn run(fault: &Fault, few: u32) -> Outcome {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    fs::write(at.join("plan.toml"), PLAN).expect("the plan is written");
    fs::write(at.join("worker.sh"), WORKER).expect("the worker is written");
    let mark = format!("EXEUNT_SEAM_RUN={}.{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let (name, value) = mark.split_once('=').expect("it has a value");
    let file = |name: &str| fs::File::create(at.join(name)).expect("a file");
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_exeunt"))
        .args(["run", "plan.toml"])
        .current_dir(at)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(name, value)
        .env("EXEUNT_SEAM_FEW", few.to_string())
        .env("EXEUNT_FAULT", fault.to_string())
        .env("EXEUNT_FAULT_TRACE", at.join("trace"))
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("exeunt starts");
    let status = wait(&mut child, began, fault.how != "once");
    let took = began.elapsed();
    let left_behind = marked(&mark);
    let read = |name: &str| String::from_utf8_lossy(&fs::read(at.join(name)).unwrap_or_default()).into_owned();
    let (calls, struck) = trace(&read("trace"));
    Outcome {
        code: status.and_then(|status| status.code()),
        hung: status.is_none(),
        took,
        stdout: read("stdout"),
        stderr: read("stderr"),
        leftovers: read("left"),
        left_behind,
        calls,
        struck,
    }
}

/// `None`: it hung and was killed.
fn wait(child: &mut Child, began: Instant, mut patient: bool) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if patient && began.elapsed() > ENOUGH {
            patient = false;
            signal("-TERM", &child.id().to_string());
        }
        if began.elapsed() > HANG {
            child.kill().and_then(|()| child.wait()).expect("a child can be killed");
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that have the mark in their environment: all that descend from the run. They are killed, for the next run's sake.
fn marked(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("there is a /proc").flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
            signal("-KILL", &entry.file_name().to_string_lossy());
        }
    }
    found
}

fn signal(signal: &str, pid: &str) {
    Command::new("kill").args([signal, pid]).status().expect("there is a kill");
}

fn trace(text: &str) -> (Vec<String>, BTreeSet<String>) {
    let lines = || text.lines().filter_map(|line| line.split_once(' '));
    let struck = lines().filter(|(word, _)| *word == "struck").map(|(_, place)| place.to_owned());
    (lines().map(|(_, place)| place.to_owned()).collect(), struck.collect())
}

impl Outcome {
    /// Whether that may come of this fault; `plain` is the run without one.
    pub fn judge(&self, fault: &Fault, plain: &Outcome) -> Result<(), String> {
        let complain =
            |what: &str| Err(format!("{what} (exit {:?} after {:.1?})\n{}", self.code, self.took, self.stderr));
        if self.hung {
            return complain("it hung");
        }
        if self.stderr.contains("internal fault") || self.stderr.contains("panicked") {
            return complain("it panicked");
        }
        let Some(code) = self.code else { return complain("it was killed by a signal") };
        let unread = code == 78 && self.stderr.contains("it cannot be opened");
        if ![0, 1, 65, 70, 75].contains(&code) && !unread {
            return complain("an exit code that is not documented");
        }
        if fault.errno == 0 && code != 0 && code != 75 {
            return complain("it failed without a fault");
        }
        if fault.how == "ever" {
            return Ok(());
        }
        if code == 70 && !self.stderr.contains("cannot begin") {
            return complain("a fault of our own");
        }
        let mute = fault.how == "place" && fault.place.starts_with("src/shell/messages.rs");
        if code != 0 && self.stderr.is_empty() && !mute {
            return complain("not a word");
        }
        if !self.left_behind.is_empty() && !self.stderr.contains("left behind\n") {
            return complain(&format!("left behind: {:?}", self.left_behind));
        }
        if let Some(lost) = self.lost_item().filter(|_| ![70, 78].contains(&code) && !self.stderr.contains("source s"))
        {
            return complain(&format!("item {lost} is lost: {:?} {:?}", self.stdout, self.leftovers));
        }
        match (self.descriptors(), plain.descriptors()) {
            (Some(ours), Some(plain)) if ours > plain => complain(&format!("{ours} descriptors instead of {plain}")),
            _ => Ok(()),
        }
    }

    /// One that is neither done nor kept nor told.
    fn lost_item(&self) -> Option<&'static str> {
        let done = |item: &str| self.stdout.lines().any(|line| line.split(' ').next() == Some(item));
        let kept = |item: &str| self.leftovers.lines().any(|line| line == item);
        let told = |item: &str| self.stderr.contains(&format!("\"{item}\""));
        ITEMS.into_iter().find(|item| !done(item) && !kept(item) && !told(item))
    }

    /// How many exeunt had open at the end, late enough that all that comes and goes had gone.
    pub fn descriptors(&self) -> Option<u32> {
        self.stdout.lines().find_map(|line| line.strip_prefix("count ")?.parse().ok())
    }
}
