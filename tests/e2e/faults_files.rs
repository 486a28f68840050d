//! F117, F118, F119: files that are none. The messages are in `tests/check.rs` and `tests/config/bad`; here, that `run` starts
//! nothing, and that nothing hangs.

use crate::support::{Over, Sandbox, runs};
use std::fs;
use std::time::{Duration, Instant};

/// A worker that would leave a trace, and then what is wrong.
fn spoilt(with: &[u8]) -> Vec<u8> {
    let good = b"[worker.w]\ncommand = [\"sh\", \"-c\", \"echo ran >>ran\"]\n";
    [&good[..], with].concat()
}

#[test]
fn f117_f118_a_bad_file_starts_nothing_and_leaves_with_78() {
    let nested = |open: &str, times: usize| spoilt(open.repeat(times).as_bytes());
    // A debug build takes its time.
    let workers = if cfg!(debug_assertions) { 11_000 } else { 100_000 };
    let many: String = (0..workers).map(|i| format!("[worker.x{i}]\ncommand = [\"true\"]\n")).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("binary", spoilt(&(0..=255).collect::<Vec<u8>>())),
        ("NUL", spoilt(b"\0")),
        ("UTF-16", spoilt(b"").iter().flat_map(|&byte| [byte, 0]).collect()),
        ("unclosed", spoilt(b"[worker.x]\ncommand = [\"true\"")),
        ("brackets", nested("[", 100_000)),
        ("a value's brackets", [spoilt(b"x = "), b"[".repeat(100_000)].concat()),
        ("tables", nested("[a.", 10_000)),
        ("deep keys", [spoilt(b""), b"a.".repeat(10_000), b"b = 1\n".to_vec()].concat()),
        ("50 MB", spoilt(&b"# nothing\n".repeat(5_000_000))),
        ("too many workers", spoilt(many.as_bytes())),
        ("a key twice", spoilt(b"command = [\"true\"]\n")),
        ("a name twice", spoilt(b"[worker.w]\ncommand = [\"true\"]\n")),
        ("an unknown key", spoilt(b"comand = [\"true\"]\n")),
        ("a wrong type", spoilt(b"replicas = \"four\"\n")),
        ("a negative duration", spoilt(b"stop-timeout = \"-5s\"\n")),
        ("a huge duration", spoilt(b"stop-timeout = \"99999999999999999999y\"\n")),
        ("a number that is none", spoilt(b"restart-delay = { delay = \"1s\", factor = nan }\n")),
        ("an unknown signal", spoilt(b"stop-signal = \"TREM\"\n")),
        ("KILL in a list", spoilt(b"ignore-signals = [\"KILL\"]\n")),
        ("STOP in a list", spoilt(b"block-signals = [\"STOP\"]\n")),
        ("an empty command", spoilt(b"[worker.x]\ncommand = []\n")),
        ("a NUL in a string", spoilt(b"[worker.x]\ncommand = [\"a\\u0000b\"]\n")),
        ("a name with a slash", spoilt(b"[worker.\"a/b\"]\ncommand = [\"true\"]\n")),
        ("a name with a line feed", spoilt(b"[worker.\"a\\nb\"]\ncommand = [\"true\"]\n")),
        ("a name with an escape", spoilt(b"[worker.\"\\u001b[31m\"]\ncommand = [\"true\"]\n")),
    ];
    let sandbox = Sandbox::new("");
    for (name, bytes) in cases {
        fs::write(sandbox.path("exeunt.toml"), bytes).unwrap();
        let begin = Instant::now();
        let outcome = sandbox.launch().finish();
        let took = begin.elapsed();
        // Five seconds of a machine that has nothing else to do.
        assert!(took < Duration::from_secs(30), "{name}: {took:?}");
        assert_eq!(outcome.code, 78, "{name}: {outcome}");
        assert!(!outcome.stderr.is_empty() && !outcome.stderr.contains(['\0', '\u{1b}']), "{name}: {outcome}");
        assert!(outcome.stderr.len() < 1 << 20, "{name}: {} bytes of message", outcome.stderr.len());
        assert!(!sandbox.exists("ran"), "{name}: {outcome}");
        // Some are wrong as a whole.
        let place = if ["empty", "UTF-16", "too many workers"].contains(&name) {
            "--> exeunt.toml"
        } else {
            "--> exeunt.toml:"
        };
        assert!(outcome.stderr.contains(place) || name == "50 MB", "{name}: {outcome}");
    }
}

#[test]
fn f119_what_is_no_regular_file_is_refused_and_never_waited_for() {
    let sandbox = Sandbox::new("");
    let path = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    fs::create_dir(sandbox.path("directory")).unwrap();
    assert!(runs(&["mkfifo", &path("fifo")]));
    std::os::unix::fs::symlink("loop", sandbox.path("loop")).unwrap();
    std::os::unix::fs::symlink("gone", sandbox.path("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    for name in ["directory", "fifo", "loop", "dangling", "socket", "missing", "/dev/null", "/dev/zero", "/dev/tty"] {
        let outcome = sandbox.launch().arguments(&["run", name]).finish();
        assert_eq!(outcome.code, 78, "{name}: {outcome}");
        assert!(outcome.stderr.starts_with("error: "), "{name}: {outcome}");
    }
}

/// Removed and replaced again and again while it is read: what was opened is what counts, so each run is whole or refused.
#[test]
fn f119_a_file_that_vanishes_and_comes_back_is_read_whole_or_refused() {
    let sandbox = Sandbox::new("");
    let good = spoilt(b"");
    fs::write(sandbox.path("exeunt.toml"), &good).unwrap();
    std::thread::scope(|scope| {
        let over = Over::default();
        let ended = over.flag();
        let (sandbox, good) = (&sandbox, &good);
        scope.spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(sandbox.path("next"), good).unwrap();
                fs::rename(sandbox.path("next"), sandbox.path("exeunt.toml")).unwrap();
                std::thread::yield_now();
                let _ = fs::remove_file(sandbox.path("exeunt.toml"));
            }
        });
        for _ in 0..30 {
            let outcome = sandbox.launch().arguments(&["run", "exeunt.toml"]).finish();
            let refused = outcome.code == 78 && outcome.stderr.contains("there is no such file");
            assert!(outcome.code == 0 || refused, "{outcome}");
        }
    });
}
