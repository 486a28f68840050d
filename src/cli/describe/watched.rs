//! When a worker is ready, and how it is watched from then on.

use super::shell_words;
use crate::config::show;
use crate::model::plan::{Health, Kind, Probe, Ready, Restart, WorkerPlan};

/// Labels and words; probes as the instance of this name is asked.
pub(super) fn lines(worker: &WorkerPlan, instance: &str) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let late = late_words(worker);
    match worker.kind {
        Kind::Oneshot => lines.push(("type", format!("oneshot: ready when it has ended well{late}"))),
        Kind::Service => lines.extend(ready_words(worker, instance).map(|how| ("ready", how + &late))),
    }
    if let Some(health) = &worker.health {
        lines.push(("health", health_words(worker, health, instance)));
    }
    if let Some(silence) = worker.watchdog {
        lines.push(("watchdog", format!("WATCHDOG=1 at least every {}, or {}", show(silence), unwell_words(worker))));
    }
    lines
}

fn ready_words(worker: &WorkerPlan, instance: &str) -> Option<String> {
    match &worker.ready {
        Some(Ready::Fd(number)) => Some(format!("by a line feed on descriptor {number}")),
        Some(Ready::Notify) => Some("by READY=1 to the socket that NOTIFY_SOCKET names".to_owned()),
        Some(Ready::Probe(probe)) => Some(format!("when {}", probe_words(worker, probe, instance))),
        Some(Ready::Delay(delay)) => Some(format!("{} after it runs", show(*delay))),
        None => worker.start_timeout.map(|_| "at once when it runs".to_owned()),
    }
}

fn late_words(worker: &WorkerPlan) -> String {
    let Some(time) = worker.start_timeout else { return String::new() };
    let then = match worker.restart {
        Restart::Always | Restart::OnFailure => "tried again",
        Restart::Never => "stopped",
    };
    format!(", within {} or it is {then}", show(time))
}

/// What makes the answer a yes.
fn probe_words(worker: &WorkerPlan, probe: &Probe, instance: &str) -> String {
    match probe {
        Probe::Command(command) => {
            format!("{} exits 0", shell_words(&worker.program.words_with(command, instance).command))
        }
        Probe::Tcp(address) => format!("{address} accepts a connection"),
        Probe::Http(url) => format!("{url} answers with 200 to 399"),
    }
}

fn health_words(worker: &WorkerPlan, health: &Health, instance: &str) -> String {
    let (interval, timeout) = (show(health.interval), show(health.timeout));
    let noes = match health.failures {
        1 => "the first no".to_owned(),
        many => format!("{many} noes in a row"),
    };
    let well = probe_words(worker, &health.probe, instance);
    format!("asked every {interval}: well when {well} in {timeout}; at {noes} {}", unwell_words(worker))
}

fn unwell_words(worker: &WorkerPlan) -> &'static str {
    match worker.restart {
        Restart::Always | Restart::OnFailure => "it is stopped and started again",
        Restart::Never => "it is stopped for good",
    }
}
