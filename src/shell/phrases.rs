//! What notes and reports have in common: the names of things, durations, counts, and why a run stops.

use crate::machine::report::Why;
use crate::machine::{LadderStep, ReadEnd, StopCause};
use crate::model::plan::{Plan, STOP_READ_TIMEOUT};
use crate::model::{InstanceId, QueueId, SourceId, WorkerId};
use std::time::Duration;

/// A duration as people say it: `0.4ms`, `12ms`, `1.5s`, `2m 5s`.
pub fn span(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..10 => format!("{}.{}ms", millis, span.subsec_micros() / 100 % 10),
        10..1000 => format!("{millis}ms"),
        1000..60_000 => {
            let tenths = (millis + 50) / 100;
            if tenths.is_multiple_of(10) {
                format!("{}s", tenths / 10)
            } else {
                format!("{}.{}s", tenths / 10, tenths % 10)
            }
        }
        _ => humantime::format_duration(Duration::from_secs(span.as_secs())).to_string(),
    }
}

/// `1 item`, `7 items`.
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What went wrong with a file, without the number of the error.
pub fn why(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno)
}

/// Why a stop began, as it follows `stopped` or `stopping`.
pub fn cause(plan: &Plan, cause: &StopCause) -> String {
    match cause {
        StopCause::Signal(signal) => format!("on {signal}"),
        // Its user has no workers.
        StopCause::Done if plan.init.is_some() => "because the program has ended".into(),
        StopCause::GaveUp(_) if plan.init.is_some() => "because the program cannot be started".into(),
        StopCause::Done if plan.queues.is_empty() => "because no worker is left to run".into(),
        StopCause::Done => "because all work is done".into(),
        StopCause::GaveUp(worker) => format!("because worker {} was given up", worker_name(plan, *worker)),
        StopCause::ResultsClosed(worker) => {
            format!("because the results of worker {} can no longer be written", worker_name(plan, *worker))
        }
        StopCause::Deserted(queue) => format!("because nobody is left to work off queue {}", queue_name(plan, *queue)),
    }
}

/// Why it was asked to leave, where it was not the stop of all.
pub fn asked(plan: &Plan, why: Why) -> String {
    match why {
        Why::Stop => String::new(),
        Why::Requires(worker) => {
            format!(", because worker {}, which it requires, was not ready any more", worker_name(plan, worker))
        }
        Why::Unwell => ", because it was not ready or not healthy in time".to_owned(),
        Why::Protocol => ", because it broke the protocol".to_owned(),
        Why::ItemTimeout => ", because an item took too long".to_owned(),
        Why::Renewed => ", because it had worked on max-items".to_owned(),
    }
}

/// Why a source is not read any more.
pub fn read_end(plan: &Plan, source: SourceId, end: ReadEnd) -> String {
    let source = plan.sources.get(source.index());
    match end {
        ReadEnd::NotStarted => "it was never started".into(),
        ReadEnd::EndOfFile => "it is at its end".into(),
        ReadEnd::Failed => "reading it failed".into(),
        ReadEnd::StillOpen => "another process has its output open".into(),
        ReadEnd::Stop => {
            let queue = source.and_then(|source| plan.queues.get(source.queue.index()));
            let why = if queue.is_some_and(|queue| queue.leftovers.is_none()) {
                ", and its queue has no leftovers"
            } else {
                ""
            };
            format!("the stop has begun{why}")
        }
        ReadEnd::Silence => "every worker has left and nothing comes any more".into(),
        ReadEnd::Timeout => {
            let timeout = source.map_or(STOP_READ_TIMEOUT, |source| source.stop_read_timeout);
            format!("every worker has left, and its stop-read-timeout ({} at most) is over", span(timeout))
        }
        ReadEnd::Deadline => "the stop budget is used up".into(),
        ReadEnd::LeftoversMax => {
            let max = source.and_then(|source| plan.queues.get(source.queue.index())).map(|queue| queue.leftovers_max);
            format!("the leftovers hold the {} bytes of leftovers-max", max.unwrap_or_default())
        }
        ReadEnd::Interrupt => "an INT ended that".into(),
        ReadEnd::FileSize => "the file has grown since the stop began".into(),
    }
}

pub fn rung(step: LadderStep) -> String {
    match step {
        LadderStep::Event => "the event rung".into(),
        LadderStep::Signal(signal) => format!("the {signal} rung"),
        LadderStep::Kill => "the KILL rung".into(),
    }
}

pub fn instance_name(plan: &Plan, id: InstanceId) -> String {
    if id.index() < plan.instances.len() { plan.instance_name(id) } else { format!("instance {}", id.0) }
}

pub fn queue_name(plan: &Plan, id: QueueId) -> &str {
    plan.queues.get(id.index()).map_or("?", |queue| &queue.name)
}

pub fn source_name(plan: &Plan, id: SourceId) -> &str {
    plan.sources.get(id.index()).map_or("?", |source| &source.name)
}

pub fn worker_name(plan: &Plan, id: WorkerId) -> &str {
    plan.workers.get(id.index()).map_or("?", |worker| &worker.name)
}

/// The text of an error number, without the number that std adds.
pub fn errno(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let marker = format!(" (os error {number})");
    text.strip_suffix(&marker).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        let said = [400, 12_000, 999_999, 1_000_000, 1_550_000, 8_000_000, 59_960_000, 125_000_000];
        let said = said.map(|micros| span(Duration::from_micros(micros)));
        assert_eq!(said, ["0.4ms", "12ms", "999ms", "1s", "1.6s", "8s", "60s", "2m 5s"]);
    }
}
