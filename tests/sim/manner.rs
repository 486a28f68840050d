//! How one incarnation behaves: drawn when it is spawned, so that a seed tells all.

use crate::dice::Dice;
use crate::generate::Mood;
use crate::voice::Voice;
use exeunt::model::{ExitStatus, Signal, SpawnError, Stage};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Manner {
    pub birth: BirthFate,
    pub on_event: Reaction,
    /// The item pipe was closed and read to its end.
    pub on_eof: Reaction,
    pub on_signal: Reaction,
    /// In a stop of its own: acts on CONT and KILL only.
    pub stopped: bool,
    /// In D state for ever.
    pub unkillable: bool,
    /// Dies after this long, whatever it is doing.
    pub life: Option<(Duration, ExitStatus)>,
    pub offspring: Vec<Offspring>,
    /// Writes nonsense the moment it runs.
    pub babbles: bool,
    /// Reads all that is in the pipe at once, as a buffered reader does.
    pub hungry: bool,
    /// Frames that the item pipe holds.
    pub room: usize,
    pub habits: Habits,
    /// From the wish to leave to the exit.
    pub cleanup: Duration,
    pub status: ExitStatus,
    /// Gives back what it holds unread when it leaves.
    pub releases: bool,
    pub voice: Voice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BirthFate {
    Executes {
        after: Duration,
    },
    /// The child tells a failed step.
    Fails {
        after: Duration,
        error: SpawnError,
    },
    /// There is no child.
    NoFork {
        error: SpawnError,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Answers the item in hand, then leaves.
    FinishItem,
    AtOnce,
    Ignore,
}

#[derive(Clone, Copy, Debug)]
pub struct Offspring {
    pub after: Duration,
    pub temper: Temper,
    /// Into a session of its own.
    pub escapes: bool,
    /// Ends by itself so long after its birth.
    pub life: Option<Duration>,
    /// Makes a session of its own so long after its birth.
    pub leaves: Option<Duration>,
}

/// What a process that is no leader does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    Obeys,
    IgnoresAllButKill,
    Unkillable,
}

/// What is done with items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habits {
    Diligent,
    /// Answers with any verdict, late, twice, touches, changes its window.
    Moody,
    /// Moody, and says nonsense, dies or falls silent.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    OkWithResult,
    Retry,
    Fail,
    Release,
    Twice,
    TouchFirst,
    Prefetch(u32),
    UnknownToken,
    Garbage,
    Never,
    Dies,
    /// It lives on, and can say nothing any more.
    ClosesReplies,
    /// The word is written and the process is gone in the same moment.
    OkAndDies,
    /// All that is held, newest first.
    Reversed,
}

pub fn draw(dice: &mut Dice, mood: Mood, ends: bool) -> Manner {
    let faults = match mood {
        Mood::Calm | Mood::Stopped => 0,
        Mood::Mixed => 12,
        Mood::Wild | Mood::Healing | Mood::Recovering => 45,
    };
    let mut manner = obedient(dice);
    if mood == Mood::Stopped {
        manner.habits = dice.pick(&[Habits::Diligent, Habits::Moody]);
    }
    if ends && faults > 0 {
        manner.life = dice.percent(40).then(|| (dice.millis(0, 9000), ExitStatus::Exited(0)));
    }
    if dice.percent(faults) {
        manner.birth = birth(dice);
    }
    spoil(dice, faults, &mut manner);
    if faults > 0 {
        manner.habits = dice.pick(&[Habits::Diligent, Habits::Moody, Habits::Broken]);
    }
    manner
}

fn obedient(dice: &mut Dice) -> Manner {
    Manner {
        birth: BirthFate::Executes { after: dice.millis(0, 100) },
        on_event: Reaction::FinishItem,
        on_eof: Reaction::FinishItem,
        on_signal: dice.pick(&[Reaction::FinishItem, Reaction::AtOnce]),
        stopped: false,
        unkillable: false,
        life: None,
        offspring: Vec::new(),
        babbles: false,
        hungry: dice.percent(30),
        room: usize::try_from(dice.between(1, 6)).unwrap(),
        habits: Habits::Diligent,
        cleanup: dice.millis(0, 50),
        status: ExitStatus::Exited(0),
        releases: dice.percent(30),
        voice: Voice::default(),
    }
}

/// The life of a program that is there to end: mostly with one of these codes, sometimes otherwise, sometimes never.
pub fn with_an_end(dice: &mut Dice, mood: Mood, longest: u64, manner: &mut Manner, codes: &[u8]) {
    let well = (dice.millis(0, longest), ExitStatus::Exited(dice.pick(codes)));
    if !mood.faulty() || dice.percent(60) {
        manner.life = Some(well);
    } else if dice.percent(60) {
        manner.life = Some((dice.millis(0, longest), status(dice)));
    }
}

/// Of each kind some: no such program, shortages, and others.
const ERRNOS: [i32; 13] = [1, 2, 5, 7, 8, 11, 12, 13, 20, 22, 24, 26, 40];

fn birth(dice: &mut Dice) -> BirthFate {
    let stage = dice.pick(&Stage::all());
    let errno = dice.pick(&ERRNOS);
    let error = SpawnError { stage, errno };
    match stage {
        Stage::Prepare | Stage::Fork => BirthFate::NoFork { error },
        Stage::Session
        | Stage::Descriptors
        | Stage::Signals
        | Stage::Secret(_)
        | Stage::OomScore
        | Stage::Nice
        | Stage::Limit(_)
        | Stage::Groups
        | Stage::Group
        | Stage::User
        | Stage::Privileges
        | Stage::Directory
        | Stage::ParentDeath
        | Stage::Exec => {
            let after = dice.millis(0, 3000);
            if dice.percent(50) { BirthFate::Executes { after } } else { BirthFate::Fails { after, error } }
        }
    }
}

/// The machine has no room for one more process just now.
pub fn shortage() -> BirthFate {
    BirthFate::NoFork { error: SpawnError { stage: Stage::Fork, errno: 11 } }
}

fn spoil(dice: &mut Dice, faults: u64, manner: &mut Manner) {
    let reactions = [Reaction::FinishItem, Reaction::AtOnce, Reaction::Ignore];
    if dice.percent(faults) {
        manner.on_event = dice.pick(&reactions);
        manner.on_eof = dice.pick(&reactions);
    }
    if dice.percent(faults) {
        manner.on_signal = dice.pick(&reactions);
        manner.cleanup = dice.millis(0, 4000);
    }
    manner.stopped = dice.percent(faults / 4);
    manner.babbles = dice.percent(faults / 10);
    manner.unkillable = dice.percent(faults / 15);
    if dice.percent(faults) {
        let longest = dice.pick(&[0, 500, 8000]);
        manner.life = Some((dice.millis(0, longest), status(dice)));
    }
    if dice.percent(faults) {
        manner.status = status(dice);
    }
    for _ in 0..3 {
        if dice.percent(faults / 2) {
            let temper = match dice.below(100) {
                0..50 => Temper::Obeys,
                50..97 => Temper::IgnoresAllButKill,
                _ => Temper::Unkillable,
            };
            let (after, escapes) = (dice.millis(0, 3000), dice.percent(30));
            let life = dice.percent(20).then(|| dice.millis(0, 20_000));
            let leaves = dice.percent(20).then(|| dice.millis(0, 8000));
            manner.offspring.push(Offspring { after, temper, escapes, life, leaves });
        }
    }
}

fn status(dice: &mut Dice) -> ExitStatus {
    let signal = dice.pick(&[Signal::KILL, Signal::TERM, Signal::USR1]);
    let code = u8::try_from(dice.below(3)).unwrap();
    dice.pick(&[ExitStatus::Exited(code), ExitStatus::Signalled { signal, core: false }])
}

pub fn answer(dice: &mut Dice, habits: Habits) -> (Answer, Duration) {
    let late = if dice.percent(10) { 4000 } else { 300 };
    let after = dice.millis(0, late);
    let plain = [Answer::Ok, Answer::OkWithResult];
    let moody = [Answer::Retry, Answer::Fail, Answer::Release, Answer::Twice, Answer::TouchFirst, Answer::Reversed];
    let broken =
        [Answer::UnknownToken, Answer::Garbage, Answer::Never, Answer::Dies, Answer::OkAndDies, Answer::ClosesReplies];
    let answer = match (habits, dice.below(100)) {
        (Habits::Moody | Habits::Broken, 0..30) => dice.pick(&moody),
        (Habits::Moody | Habits::Broken, 30..36) => Answer::Prefetch(dice.pick(&[0, 1, 2, 20])),
        (Habits::Broken, 36..56) => dice.pick(&broken),
        (Habits::Diligent | Habits::Moody | Habits::Broken, _) => dice.pick(&plain),
    };
    (answer, after)
}
