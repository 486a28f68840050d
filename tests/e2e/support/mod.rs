//! The harness: starts the real binary with a file of its own in a directory of its own, hears what it says, and sees to
//! it that nobody is left behind. Tests wait for words; the deadline is there for failing tests alone.

mod controller;
mod lines;
mod outcome;
mod processes;
mod pty;
mod run;
mod sandbox;
mod seccomp;

pub use controller::Controller;
pub use lines::Lines;
pub use outcome::Outcome;
pub use processes::{Known, children, context_switches, descendants, marked, send, send_number, state};
pub use run::{Launch, Run};
pub use sandbox::Sandbox;
pub use seccomp::Hanging;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a test waits for a word before it fails. Generous: only failing tests ever wait that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Delays so small that tests of retries and restarts do not wait for them.
pub const QUICK_BACKOFF: &str = r#"backoff = { delay = "1ms", factor = 1, max = "1ms", jitter = 0 }"#;
pub const QUICK_RESTART: &str =
    r#"restart-delay = { delay = "1ms", factor = 1, max = "5ms", jitter = 0, reset-after = "10s" }"#;

/// One queue fed from stdin, one worker: the keys of both are the test's own.
pub fn pool(queue: &str, worker: &str) -> String {
    format!(
        "[queue.q]\nleftovers = \"left.txt\"\n{queue}\n\n[source.in]\nqueue = \"q\"\nstdin = true\n\n\
         [worker.w]\nqueue = \"q\"\n{worker}\n"
    )
}

/// The interpreter itself, not a wrapper in front of it, so that pids and signals are the worker's own.
pub fn python() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    PYTHON.get_or_init(find).as_deref()
}

/// False, with a word on why, when something the test cannot do without is missing. With `CI` set that is a failure, unless it is the
/// kernel itself that was built or mounted without it.
pub fn has(what: Need) -> bool {
    let (found, reason) = match what {
        Need::Python => (python().is_some(), "python3 is not there"),
        Need::PidNamespace => (pid_namespace(), "unshare --pid is not allowed here"),
        Need::Root => (runs(&["sh", "-c", "[ $(id -u) = 0 ]"]), "this is not root"),
        Need::Strace => {
            (runs(&["strace", "-qq", "-o", "/dev/null", "true"]), "strace is not there, or not allowed here")
        }
        Need::TimeNamespace => (runs(&["unshare", "--time", "--fork", "true"]), "unshare --time is not allowed here"),
        Need::Node => (runs(&["node", "--version"]), "node is not there"),
        Need::CCompiler => (runs(&["cc", "--version"]), "cc is not there"),
        Need::StaticBinary => (
            std::env::var_os("EXEUNT_STATIC").is_some(),
            "EXEUNT_STATIC does not name what examples/scratch/build.sh built",
        ),
        Need::ControlGroups => (control_groups(), "a cgroup v2 tree cannot be mounted and written here"),
        Need::PidChoice => (
            std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists(),
            "this kernel lets nobody choose the next process number",
        ),
        Need::MemoryGroup => (
            limited_group("memory", "memory.limit_in_bytes", "memory.max"),
            "the memory of a control group cannot be limited here",
        ),
        Need::ProcessorGroup => (
            limited_group("cpu", "cpu.cfs_quota_us", "cpu.max"),
            "the processor time of a control group cannot be limited here",
        ),
        Need::ProcessesGroup => {
            (limited_group("pids", "pids.max", "pids.max"), "the processes of a control group cannot be limited here")
        }
        Need::RustCompiler => (runs(&["rustc", "--version"]), "rustc is not there"),
        Need::SystemdNotify => (runs(&["systemd-notify", "--version"]), "systemd-notify is not there"),
        Need::Redis => (runs(&["redis-server", "--version"]), "redis-server is not there"),
        Need::Haproxy => (runs(&["haproxy", "-v"]), "haproxy is not there"),
        Need::Ipv6 => (std::net::TcpListener::bind("[::1]:0").is_ok(), "there is no ::1 here"),
    };
    match what {
        _ if found => {}
        // No package and no right brings these about.
        Need::ControlGroups
        | Need::PidChoice
        | Need::MemoryGroup
        | Need::ProcessorGroup
        | Need::ProcessesGroup
        | Need::Ipv6
        | Need::TimeNamespace => println!("WITHOUT: {reason}"),
        Need::Python
        | Need::PidNamespace
        | Need::Root
        | Need::Strace
        | Need::Node
        | Need::CCompiler
        | Need::RustCompiler
        | Need::StaticBinary
        | Need::SystemdNotify
        | Need::Redis
        | Need::Haproxy => skip(reason),
    }
    found
}

/// Says why a test passes without having tested anything; with `CI` set that is a failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI, but {reason}");
    println!("SKIP: {reason}");
}

#[derive(Clone, Copy, Debug)]
pub enum Need {
    Python,
    PidNamespace,
    Root,
    Strace,
    TimeNamespace,
    Node,
    CCompiler,
    RustCompiler,
    StaticBinary,
    SystemdNotify,
    Redis,
    Haproxy,
    ControlGroups,
    PidChoice,
    MemoryGroup,
    ProcessorGroup,
    ProcessesGroup,
    Ipv6,
}

/// Whether a group can be made that has this limit, in the first or the second version of control groups.
fn limited_group(kind: &str, first: &str, second: &str) -> bool {
    let script = "d=$(mktemp -d) && if mount -t cgroup -o $0 none $d 2>/dev/null; then f=$1 g=$(sed -n \"s/^[0-9]*:$0://p\" /proc/self/cgroup); \
        else mount -t cgroup2 none $d && f=$2 g=$(sed -n 's/^0:://p' /proc/self/cgroup); fi && \
        n=$d$g/exeunt-e2e.$$ && mkdir $n && { [ -e $n/$f ]; found=$?; rmdir $n; exit $found; }";
    runs(&["unshare", "--mount", "sh", "-c", script, kind, first, second])
}

fn control_groups() -> bool {
    let script = "d=$(mktemp -d) && mount -t cgroup2 none $d && g=$d$(sed -n 's/^0:://p' /proc/self/cgroup)/exeunt-e2e.$$ && mkdir $g && \
        [ -e $g/cgroup.kill ] && rmdir $g";
    runs(&["unshare", "--mount", "sh", "-c", script])
}

fn pid_namespace() -> bool {
    runs(&["unshare", "--pid", "--fork", "--mount-proc", "true"])
}

/// Whether the command ends well.
pub fn runs(command: &[&str]) -> bool {
    let mut probe = Command::new(command[0]);
    probe.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Looks until `look` finds something; panics with `what` when patience is over.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Set when it is dropped, by a panic too: what ends the threads of a test that go on until they are told.
#[derive(Default)]
pub struct Over(Arc<AtomicBool>);

impl Over {
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `item-1` … `item-N`.
pub fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("item-{n}")).collect()
}

/// As a source reads them: each ended by a line feed.
pub fn text<S: AsRef<str>>(items: &[S]) -> String {
    items.iter().map(|item| format!("{}\n", item.as_ref())).collect()
}

pub fn sorted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut items: Vec<String> = items.into_iter().map(|item| item.as_ref().to_owned()).collect();
    items.sort();
    items
}
