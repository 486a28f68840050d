//! One process slot: a replica of a worker, or the process of a command source.
//!
//! ```text
//!  Waiting ─▶ Due ─▶ Starting ─▶ Up ─▶ Leaving ─▶ Remains ─▶ Due, Delayed or Resting
//!              ▲        │  │     └──────────────────▲ (died by itself)
//!              │        │  └▶ Aborting ─────────────┘ (stopped before exec was reported)
//!           Delayed ◀───┘ (the start failed)
//!  any of Waiting, Due, Delayed ─▶ Resting at a stop; Leaving, Aborting, Remains ─▶ Resting when KILL does not help
//! ```
//!
//! Always: an incarnation exists in Starting, Aborting, Up, Leaving and Remains and nowhere else, and every event that
//! names another incarnation is inert. Only Up is given items. Leases live from Up to the end of Remains: items come back
//! when the session is empty and its last words were read. The timer `Key::Slot` belongs to Delayed (the end of the
//! back-off), Aborting (patience with an unkillable child), Leaving (the next rung) and Remains (survivors).

use super::action::LadderStep;
use super::lease::Leases;
use super::report::{Fate, Unstarted, Why};
use super::restart::{Delays, Streak};
use crate::model::process::Usage;
use crate::model::{ExitStatus, ProcId, Refusal, SignalSet, SpawnError, StopReason, Time, WorkerId};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Instance {
    pub state: State,
    pub delays: Delays,
    /// Starts so far, failed ones included; the incarnation's number comes from it.
    pub starts: u64,
    /// Starts that came to running the program, and those that did not; those that we ended ourselves are neither.
    pub runs: u64,
    pub failed_starts: u64,
    /// Deaths for want of memory.
    pub oom_kills: u64,
    /// Items it settled as done, in all its lives.
    pub done: u64,
    /// It ran once, or never will: workers that are `after` it need not wait any more.
    pub begun: bool,
    /// A oneshot that ended well.
    pub completed: bool,
    pub last_status: Option<ExitStatus>,
    /// How its last incarnation came to its end.
    pub last_fate: Option<Fate>,
    /// Starts of a source in a row that met a limit which the file sets.
    pub own_limit: Streak,
    /// Why its last start came to nothing, if it did. Forgotten when it runs.
    pub last_error: Option<SpawnError>,
    /// Signals to be passed on when it runs, each once.
    pub kept: SignalSet,
    /// Signals that were passed on to its present or last incarnation.
    pub passed_on: SignalSet,
}

#[derive(Debug)]
pub(super) enum State {
    /// For the workers that it is `after`.
    Waiting,
    /// In the line of starts.
    Due,
    /// For the end of its back-off.
    Delayed,
    /// Spawn was ordered; exec is not reported yet.
    Starting {
        proc: ProcId,
    },
    /// Killed before its exec was reported.
    Aborting {
        proc: ProcId,
        purpose: Purpose,
    },
    Up(Life),
    Leaving(Life, Climb),
    /// The leader is gone; its session is not known to be empty.
    Remains(Life, Remains),
    /// For good.
    Resting(Fate),
}

/// One incarnation whose exec was reported.
#[derive(Debug)]
pub(super) struct Life {
    pub proc: ProcId,
    pub since: Time,
    pub ready: bool,
    /// Health probes in a row that were answered by no.
    pub refusals: u32,
    /// What its probe was answered last, while it was no.
    pub refusal: Option<Refusal>,
    /// When it was said last that its notification socket gets more than is read.
    pub unheard: Option<Time>,
    /// How often its watchdog was put off for that, since its last sign of life.
    pub reprieves: u32,
    /// `None` for a plain service and a source.
    pub work: Option<Work>,
}

impl Life {
    /// Of this incarnation, from now on: not ready, not asked, with nothing in its hands.
    pub fn new(proc: ProcId, since: Time, work: Option<Work>) -> Life {
        Life { proc, since, ready: false, refusals: 0, refusal: None, unheard: None, reprieves: 0, work }
    }
}

/// The queue side of a life.
#[derive(Debug)]
pub(super) struct Work {
    pub leases: Leases,
    /// Unanswered items it may hold.
    pub window: u32,
    /// It stands in the queue's line.
    pub in_line: bool,
    /// It settled at least one item as done: the program works.
    pub proven: bool,
    /// It closed its reply pipe: it can never answer what it is given.
    pub mute: bool,
    /// Items it may be given in its life, at most.
    pub most: Option<u64>,
}

/// A stop on its way up the ladder.
#[derive(Debug)]
pub(super) struct Climb {
    pub began: Time,
    pub reason: StopReason,
    pub purpose: Purpose,
    /// The rung that was taken last; `None` before the first.
    pub rung: Option<LadderStep>,
    /// When it was taken; when the stop began, before the first.
    pub rung_began: Time,
    /// Index of the next rung in the plan's ladder; its length for KILL; one more when KILL was sent; [`Climb::ABORTED`].
    pub next: usize,
    /// Signals that rungs of this stop sent to every member, not to the leader alone. A member that was born later counts as one
    /// of them: it was started by a process that had the signal.
    pub sent_to_members: SignalSet,
    /// By so much in all it has moved its own KILL (`EXTEND_TIMEOUT_USEC`).
    pub extended: Duration,
    /// How often the clock of the present rung was moved because we were late, and by how much all of them were.
    pub shifts: u8,
    pub shifted: Duration,
}

/// A rung's clock is moved so often at most because we were late.
const MOST_SHIFTS: u8 = 3;
/// What its first move adds: whoever was paused with us must have the time to say its word.
const EXTRA: Duration = Duration::from_secs(1);

impl Climb {
    /// We were paused for so long: by how much the clock of the present rung is moved, if it still is.
    pub fn shift(&mut self, paused: Duration) -> Option<Duration> {
        let more = match self.shifts {
            0 => paused + EXTRA,
            1..MOST_SHIFTS => paused,
            MOST_SHIFTS.. => return None,
        };
        self.shifts += 1;
        self.shifted += more;
        Some(more)
    }

    /// There was no ladder: it was killed before its exec was reported.
    pub const ABORTED: usize = usize::MAX;
}

/// Why an instance is stopped, as far as it matters for what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new incarnation follows at once and nothing is blamed.
    Renew,
    /// The item with this token took too long: it counts an attempt if it is still unanswered.
    TimedOut(crate::model::Token),
    /// It broke the protocol: as if it had crashed.
    Garbled,
    /// It was not ready in time, not healthy or silent: as if it had crashed, but no item is blamed.
    Unwell,
    /// This worker, which it requires, is not ready: it is started again when that is.
    Await(WorkerId),
    /// For good, since this worker, which it requires, will never be ready again.
    Lost(WorkerId),
    /// For good: the stop of all.
    Rest,
}

/// What is left of a session after its leader.
#[derive(Debug)]
pub(super) struct Remains {
    pub status: ExitStatus,
    pub usage: Usage,
    pub died: Time,
    /// The leader had read of its oldest unanswered item.
    pub in_hand: bool,
    /// How it was stopped, if it was.
    pub climb: Option<Climb>,
    pub survivors: Survivors,
    /// How often its clock was moved because we were late.
    pub shifts: u8,
    /// Those that outlive the program of an init that waits for all were sent the stop signals that it had.
    pub told_in_its_place: bool,
}

/// What an incarnation that is gone leaves to be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub ran: Duration,
    /// It settled at least one item as done.
    pub proven: bool,
    /// It had been told to be ready, or needed not tell.
    pub ready: bool,
    pub charge: Charge,
    /// Neither an unanswered item nor processes that had to be stopped.
    pub left_nothing: bool,
}

/// Who is to blame for what an incarnation left unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// It left nothing unanswered.
    Nothing,
    /// The program.
    Program,
    /// An item that was blamed before: the program does not fail once more by it.
    ItemAgain,
    /// The program: it had all the time that an item may take, and did not begin to read it.
    Unread,
}

impl Remains {
    /// We were paused for so long, and so, it may be, was what is left of the session.
    pub fn shift(&mut self, paused: Duration) {
        if self.shifts < MOST_SHIFTS {
            self.shifts += 1;
            match &mut self.survivors {
                Survivors::Unknown => {}
                Survivors::Told { kill_at: end } | Survivors::Killed { until: end } => *end = *end + paused,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survivors {
    /// The look at the members is still to come.
    Unknown,
    /// Told to leave; at this moment they are killed.
    Told { kill_at: Time },
    /// Killed; waited for until then.
    Killed { until: Time },
}

impl Instance {
    pub fn new() -> Instance {
        Instance {
            state: State::Waiting,
            delays: Delays::default(),
            starts: 0,
            runs: 0,
            failed_starts: 0,
            oom_kills: 0,
            done: 0,
            begun: false,
            completed: false,
            last_status: None,
            last_fate: None,
            own_limit: Streak::default(),
            last_error: None,
            kept: SignalSet::EMPTY,
            passed_on: SignalSet::EMPTY,
        }
    }

    /// The incarnation that exists now.
    pub fn proc(&self) -> Option<ProcId> {
        match &self.state {
            State::Starting { proc } | State::Aborting { proc, .. } => Some(*proc),
            State::Up(life) | State::Leaving(life, _) | State::Remains(life, _) => Some(life.proc),
            State::Waiting | State::Due | State::Delayed | State::Resting(_) => None,
        }
    }

    pub fn work_mut(&mut self) -> Option<&mut Work> {
        match &mut self.state {
            State::Up(life) | State::Leaving(life, _) | State::Remains(life, _) => life.work.as_mut(),
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Resting(_) => None,
        }
    }

    /// Its leader is alive, and was sent no KILL by us.
    pub fn lives_unkilled(&self) -> bool {
        match &self.state {
            State::Starting { .. } | State::Up(_) => true,
            State::Leaving(_, climb) => climb.rung != Some(LadderStep::Kill),
            State::Waiting
            | State::Due
            | State::Delayed
            | State::Aborting { .. }
            | State::Remains(..)
            | State::Resting(_) => false,
        }
    }

    /// At rest, it never ran its program, and a stop of all is not the only reason.
    pub fn could_not_run(&self) -> bool {
        match &self.state {
            State::Resting(Fate::NeverStarted { why: Unstarted::Requires { .. } | Unstarted::StartTimeout }) => true,
            State::Resting(Fate::KilledWhileStarting { why: Why::Requires(_) | Why::Unwell }) => self.runs == 0,
            State::Resting(
                Fate::NeverStarted { why: Unstarted::Stop }
                | Fate::KilledWhileStarting { why: Why::Stop | Why::Protocol | Why::ItemTimeout | Why::Renewed }
                | Fate::Ended { .. }
                | Fate::Left { .. }
                | Fate::GivenUp
                | Fate::Unkillable,
            )
            | State::Waiting
            | State::Due
            | State::Delayed
            | State::Starting { .. }
            | State::Aborting { .. }
            | State::Up(_)
            | State::Leaving(..)
            | State::Remains(..) => false,
        }
    }

    pub fn is_resting(&self) -> bool {
        matches!(self.state, State::Resting(_))
    }

    /// Runs and was not asked to leave.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Runs, is ready, and was not asked to leave: items may be given to it.
    pub fn serves(&self) -> bool {
        matches!(&self.state, State::Up(life) if life.ready)
    }
}

impl Work {
    /// `most`: items in its life, at most.
    pub fn new(window: u32, most: Option<u64>) -> Work {
        Work { leases: Leases::new(), window, in_line: false, proven: false, mute: false, most }
    }

    /// It may be given one more item.
    pub fn has_room(&self) -> bool {
        self.leases.len() < self.window as usize && self.most.is_none_or(|most| self.leases.granted() < most)
    }

    /// It was given all the items of its life, and has answered them.
    pub fn is_used_up(&self) -> bool {
        self.leases.is_empty() && self.most.is_some_and(|most| self.leases.granted() >= most)
    }
}
