//! The static binary in a root that holds nothing else. `EXEUNT_STATIC` names it: what `examples/scratch/build.sh` built.

use crate::support::{Launch, Need, Sandbox, has, numbered, runs, send, sorted};
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// A sandbox whose directory `root` holds exeunt as `/exeunt`; `None`, with a word on why, where that cannot be had.
fn empty_root() -> Option<Sandbox> {
    if !has(Need::Root) || !has(Need::StaticBinary) {
        return None;
    }
    let sandbox = Sandbox::new("");
    let root = sandbox.path("root");
    fs::create_dir(&root).unwrap();
    let binary = std::env::var_os("EXEUNT_STATIC").unwrap();
    // By a process of its own, as `Sandbox::open_to_all` does and for its reason.
    assert!(runs(&["cp", PathBuf::from(binary).to_str().unwrap(), root.join("exeunt").to_str().unwrap()]));
    Some(sandbox)
}

fn inside<'a>(sandbox: &'a Sandbox, before: &[&str], arguments: &[&str]) -> Launch<'a> {
    let root = sandbox.path("root");
    let words: Vec<&str> = before.iter().chain(&["chroot", root.to_str().unwrap()]).copied().collect();
    sandbox.launch().under(&words).program("/exeunt").arguments(arguments)
}

#[test]
fn the_static_binary_needs_nothing_beside_it() {
    let Some(sandbox) = empty_root() else { return };
    let version = inside(&sandbox, &[], &["--version"]).finish();
    version.expect_code(0);
    assert_eq!(version.stdout, concat!("exeunt ", env!("CARGO_PKG_VERSION"), "\n"));
    for before in [&[][..], &["setsid"], &["unshare", "--pid", "--fork"]] {
        let outcome =
            inside(&sandbox, before, &["init", "--", "/exeunt", "init", "--", "/exeunt", "--version"]).finish();
        outcome.expect_code(0);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (version.stdout.as_str(), ""), "{before:?}");
    }
    let outcome = inside(&sandbox, &[], &["init", "--", "nowhere"]).finish();
    outcome.expect_code(127);
    assert_eq!(outcome.stderr, "exeunt: error: executing nowhere: No such file or directory\n");
    assert_eq!(fs::read_dir(sandbox.path("root")).unwrap().count(), 1, "nothing was made");
}

/// `examples/workers/rust`, static too. Compiled once.
fn static_worker() -> Option<&'static [u8]> {
    static WORKER: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    if !has(Need::RustCompiler) {
        return None;
    }
    let compile = || {
        let sandbox = Sandbox::new("");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/workers/rust/worker.rs");
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut rustc = Command::new("rustc");
        rustc.args(["-O", "-C", "target-feature=+crt-static", "--target", &target, "-o"]);
        let done = rustc.arg(sandbox.path("worker")).arg(source).status().unwrap();
        done.success().then(|| fs::read(sandbox.path("worker")).unwrap())
    };
    Some(WORKER.get_or_init(compile).as_deref().expect("it compiles"))
}

#[test]
fn a_queue_with_static_workers_runs_in_an_empty_root_as_any_user() {
    let Some(sandbox) = empty_root() else { return };
    let Some(worker) = static_worker() else { return };
    fs::write(sandbox.path("worker"), worker).unwrap();
    let (from, to) = (sandbox.path("worker"), sandbox.path("root/worker"));
    assert!(runs(&["install", "-m", "755", from.to_str().unwrap(), to.to_str().unwrap()]));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/scratch/exeunt.toml");
    assert!(runs(&["cp", file, sandbox.path("root").to_str().unwrap()]));
    assert!(runs(&["chmod", "-R", "a+rX", sandbox.directory().to_str().unwrap()]));
    let root = sandbox.path("root");
    let nobody = ["chroot", "--userspec=10001:10001", root.to_str().unwrap()];

    let launch = || sandbox.launch().under(&nobody).program("/exeunt").arguments(&["run", "/exeunt.toml"]);
    let outcome = launch().stdin_items(&numbered(100)).finish();
    outcome.expect_code(0);
    let expected: Vec<String> = numbered(100).iter().map(|item| format!("rust did {item}")).collect();
    assert_eq!(sorted(outcome.results()), sorted(expected), "{outcome}");

    // A stop: whoever is there cleans up and leaves.
    let mut run = launch().stdin_pipe().start();
    run.feed(&["one"]);
    assert!(run.wait_for_results(1));
    run.wait_for_words(" started", 2);
    send(run.pid(), Signal::SIGTERM);
    run.wait_for_words("stopping on TERM", 1);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("rust cleaned up").count(), 2, "{outcome}");
}
