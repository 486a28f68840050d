//! Orders in the short words of the scenario files.

use exeunt::machine::{Action, Note, Report};
use exeunt::model::plan::Plan;
use exeunt::model::{Payload, ProcId};
use std::collections::BTreeMap;

/// `None` for notes that say what an order beside them says.
pub fn order(action: &Action, plan: &Plan, names: &BTreeMap<ProcId, String>) -> Option<String> {
    let name = |proc: &ProcId| names.get(proc).cloned().unwrap_or_else(|| proc.to_string());
    Some(match action {
        Action::Spawn { proc, .. } => format!("spawn {}", name(proc)),
        Action::Deliver { proc, token, payload } => format!("deliver {} {token} {}", name(proc), text(payload)),
        Action::CloseItems { proc } => format!("close-items {}", name(proc)),
        Action::Tell { proc, reason, next } => format!("tell {} {reason}, next in {next:?}", name(proc)),
        Action::Kill { proc, signal, target } => {
            format!("kill {} {signal} {}", name(proc), format!("{target:?}").to_lowercase())
        }
        Action::Unask { proc } => format!("unask {}", name(proc)),
        Action::Ask { proc, question, .. } => format!("ask {} {question:?}", name(proc)),
        Action::CheckMembers { proc } => format!("check-members {}", name(proc)),
        Action::Forget { proc } => format!("forget {}", name(proc)),
        Action::Pause { source } => format!("pause {}", plan.source(*source).name),
        Action::Resume { source } => format!("resume {}", plan.source(*source).name),
        Action::Abandon { source } => format!("abandon {}", plan.source(*source).name),
        Action::Distrust { source } => format!("distrust {}", plan.source(*source).name),
        Action::CancelResults { worker } => format!("cancel results {}", plan.worker(*worker).name),
        Action::WriteResult { worker, result } => format!("result {} {}", plan.worker(*worker).name, text(result)),
        Action::Bury(letter) => {
            let (queue, reason) = (&plan.queue(letter.queue).name, &letter.reason);
            let counted = format!("attempts {} crashes {}", letter.attempts, letter.crashes);
            format!("bury {queue} {} {} {reason:?} {counted}", letter.seq, text(&letter.payload))
        }
        Action::HandBack { queue, seq: _, payload } => {
            format!("hand-back {} {}", plan.queue(*queue).name, text(payload))
        }
        Action::Sweep { signal, .. } => format!("sweep {signal}"),
        Action::CountStrangers => "count-strangers".into(),
        Action::CountOrphans => "count-orphans".into(),
        Action::Quit(report) => quit(report, plan),
        Action::Note(Note::Climbed { .. } | Note::Started { .. } | Note::Buried { .. }) => return None,
        Action::Note(Note::Died { instance, status, ready, .. }) => {
            let early = if *ready { "" } else { " before it was ready" };
            format!("note {} died{early}, {status}", plan.instance_name(*instance))
        }
        Action::Note(Note::Left { instance, status, took, .. }) => {
            format!("note {} left, {status}, took {took:?}", plan.instance_name(*instance))
        }
        Action::Note(Note::Restarting { instance, after, .. }) => {
            format!("note {} restarts after {after:?}", plan.instance_name(*instance))
        }
        Action::Note(note) => format!("note {note:?}"),
    })
}

fn quit(report: &Report, plan: &Plan) -> String {
    let queues = report.queues.iter().map(|queue| {
        let name = &plan.queue(queue.queue).name;
        format!(
            "; {name}: accepted {} done {} dead {} handed back {}",
            queue.accepted, queue.done, queue.dead, queue.handed_back
        )
    });
    let starved =
        report.leavers.iter().filter(|leaver| leaver.oom_kills > 0).map(|leaver| {
            format!("; {}: {} for want of memory", plan.instance_name(leaver.instance), leaver.oom_kills)
        });
    let more: String = queues.chain(starved).collect();
    format!("quit {}, stop took {:?}{more}", report.exit_code, report.stop_took)
}

fn text(payload: &Payload) -> String {
    format!("{:?}", String::from_utf8_lossy(payload))
}
