//! Real daemons, as Debian packs them: started, killed and stopped. Each is told to leave as its manual says, and what that promises is
//! looked at; when its main process is killed, nothing of it is left when the next one starts.

mod double_fork;
mod nginx;
mod postgres;
mod python;
mod redis;
mod shell;

use crate::support::{Known, Run, children, descendants, send, skip, until};
use nix::sys::signal::Signal;
use std::path::Path;

/// The whole path of a daemon's program; without one it says that the test is skipped. Daemons live where the PATH of people does not
/// always look, and PostgreSQL in a place of its own.
fn daemon(name: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut places: Vec<String> = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]).map(str::to_owned).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.flatten().map(|version| version.path().join("bin").to_string_lossy().into_owned()));
    }
    let found = places.iter().map(|place| format!("{place}/{name}")).find(|file| Path::new(file).is_file());
    if found.is_none() {
        skip(&format!("{name} is not there"));
    }
    found
}

/// Kills the only service's main process as the kernel would when memory is short, waits until exeunt has started it anew, and makes
/// sure that of all that belonged to the first nobody lives any more at that moment.
#[track_caller]
fn kill_main_process(run: &Run) {
    let family = family(run);
    send(family[0].pid, Signal::SIGKILL);
    run.wait_for_words(" started", 2);
    let left: Vec<&Known> = family.iter().filter(|known| known.lives()).collect();
    assert!(left.is_empty(), "it was started anew while these lived: {left:#?}");
}

/// The only service's main process, and all that descend from it.
#[track_caller]
fn family(run: &Run) -> Vec<Known> {
    let main = until("the service's main process", || children(run.pid()).first().copied());
    let mut family = vec![Known::of(main).expect("it lives")];
    family.extend(descendants(main));
    family
}
