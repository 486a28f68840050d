//! The sweep, the last part of a stop: for strangers, descendants that escaped from every session of ours.
//!
//! ```text
//!  Patient ──a stop signal──▶ Asked (TERM) ──a moment──▶ Killed (KILL) ──a moment──▶ Over ──▶ the end of the run
//! ```
//!
//! It begins when no instance has a process any more: with Patient for an init that waits for all, with Killed past the deadline
//! of the stop, else with Asked. In every state the run ends when a count finds nobody, in Over whoever it finds. Always: only
//! Patient is without an end of its own (but for the timeout of an init after a stop signal); a signal goes to all strangers at once, and once for each state; what was found is noted
//! once for each signal. Their moment, the timer `Key::Strangers`, begins when a count after the signal finds somebody.

use super::Machine;
use super::action::{Action, Actions, Note, StopCause};
use super::shutdown::Phase;
use super::timers::{Key, Timers};
use crate::model::plan::{LAST_MOMENT, STRANGERS_LEAST, STRANGERS_TERM};
use crate::model::{Signal, Time};
use std::time::Duration;

/// Strangers are waited for that long after KILL.
const KILL_MOMENT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Sweep {
    pub cause: StopCause,
    /// When the stop did.
    pub began: Time,
    /// When the last worker was to have left at the latest. Strangers have their whole moment as far as this allows.
    latest: Time,
    /// Strangers at the last count.
    pub count: u32,
    stage: Stage,
    /// When the first count after the last signal found some.
    found: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// They end by themselves, and nothing is sent to them but what an init passes on.
    Patient,
    Asked {
        noted: bool,
    },
    Killed {
        noted: bool,
    },
    /// What is counted next is what is left.
    Over,
}

impl Sweep {
    pub fn is_patient(&self) -> bool {
        self.stage == Stage::Patient
    }

    /// The signal that strangers were sent and were found after, and when.
    pub fn waits_after(&self) -> Option<(Signal, Time)> {
        match self.stage {
            Stage::Asked { noted: true } => Some((Signal::TERM, self.found)),
            Stage::Killed { noted: true } => Some((Signal::KILL, self.found)),
            Stage::Patient | Stage::Asked { noted: false } | Stage::Killed { noted: false } | Stage::Over => None,
        }
    }
}

impl Machine {
    /// No process of ours is left, and nothing else is waited for. `began`: when the stop did.
    pub(super) fn begin_sweep(&mut self, cause: StopCause, began: Time, latest: Time, out: &mut Actions) {
        let patient = cause == StopCause::Done && self.plan.init.as_ref().is_some_and(|init| init.wait_all);
        self.phase = Phase::Sweeping(Sweep { cause, began, latest, count: 0, stage: Stage::Patient, found: began });
        if patient {
            if !self.pass_on_to_strays(out) {
                out.push(Action::CountStrangers);
            }
        } else {
            self.end_patience(out);
        }
    }

    /// Whoever was waited for in peace is sent a signal from now on. Nothing when that was done already.
    pub(super) fn end_patience(&mut self, out: &mut Actions) {
        let Phase::Sweeping(sweep) = &mut self.phase else { return };
        if !sweep.is_patient() {
            return;
        }
        // Past the deadline there is no moment left between TERM and KILL.
        let past = self.plan.stop_budget.is_some_and(|budget| sweep.began + budget <= self.now);
        if past {
            sweep.stage = Stage::Killed { noted: false };
            out.push(Action::Sweep { signal: Signal::KILL, repeat: true });
        } else {
            sweep.stage = Stage::Asked { noted: false };
            // Members of a session may have been sent TERM and have left it since.
            out.push(Action::Sweep { signal: Signal::TERM, repeat: false });
        }
    }

    /// The deadline of the whole stop. Who is killed already has the moment that KILL takes.
    pub(super) fn sweep_deadline(&mut self, out: &mut Actions) {
        let Phase::Sweeping(sweep) = &self.phase else { return };
        match sweep.stage {
            Stage::Patient | Stage::Asked { .. } => self.sweep_goes_on(out),
            Stage::Killed { .. } | Stage::Over => {}
        }
    }

    /// Their moment is over.
    pub(super) fn sweep_goes_on(&mut self, out: &mut Actions) {
        let Phase::Sweeping(sweep) = &mut self.phase else { return };
        match sweep.stage {
            Stage::Patient | Stage::Asked { .. } => {
                sweep.stage = Stage::Killed { noted: false };
                self.timers.cancel(Key::Strangers);
                out.push(Action::Sweep { signal: Signal::KILL, repeat: true });
            }
            // Whose death we slept through is not left behind.
            Stage::Killed { .. } | Stage::Over => {
                sweep.stage = Stage::Over;
                out.push(Action::CountStrangers);
            }
        }
    }

    /// So many were found by a count.
    pub(super) fn strangers(&mut self, count: u32, out: &mut Actions) {
        let init_moment = self.plan.init.as_ref().and_then(|init| init.stop_timeout);
        let now = self.now;
        let Phase::Sweeping(sweep) = &mut self.phase else { return };
        let granted = (sweep.latest + LAST_MOMENT + STRANGERS_LEAST).since(now);
        let asked_moment = init_moment.unwrap_or(granted.clamp(STRANGERS_LEAST, STRANGERS_TERM));
        sweep.count = count;
        if count == 0 {
            return self.quit(out);
        }
        let (noted, signal, moment) = match &mut sweep.stage {
            Stage::Patient => return,
            Stage::Asked { noted } => (noted, Signal::TERM, asked_moment),
            Stage::Killed { noted } => (noted, Signal::KILL, KILL_MOMENT),
            Stage::Over => return self.quit(out),
        };
        if !std::mem::replace(noted, true) {
            sweep.found = now;
            self.timers.set(Key::Strangers, self.now + moment);
            out.push(Action::Note(Note::Strangers { count, signal }));
        }
    }

    /// Who is adopted and dies may have been the last stranger.
    pub(super) fn orphan_reaped(&mut self, out: &mut Actions) {
        self.orphans_reaped += 1;
        if let Phase::Sweeping(_) = self.phase
            && !out.contains(&Action::CountStrangers)
        {
            out.push(Action::CountStrangers);
        }
    }

    fn quit(&mut self, out: &mut Actions) {
        let Phase::Sweeping(sweep) = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        if sweep.count > 0 {
            out.push(Action::Note(Note::StrangersLeft { count: sweep.count }));
        }
        self.timers = Timers::default();
        let report = self.report(sweep);
        out.push(Action::Quit(Box::new(report)));
    }
}
