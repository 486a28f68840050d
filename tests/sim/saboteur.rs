//! Broken copies of the machine, to prove that the laws bite: each spoils one kind of order (or the deadline) on its way
//! out, as a wrong decision would, and the law named beside it must notice.

use crate::generate::FORWARDED;
use exeunt::machine::{Action, Actions, Event, Note};
use exeunt::model::plan::Plan;
use exeunt::model::{InstanceId, ProcId, Signal, Target, Time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    KillsAtOnce,
    SkipsTheEvent,
    TellsTwice,
    ForgetsCont,
    ForgetsToPassOn,
    PassesOnTwice,
    SignalsTheWrong,
    StartsInAStop,
    StartsTwice,
    LeavesStrangers,
    ForgetsTheLiving,
    HandsOutTwice,
    LosesAnItem,
    HandsBackTwice,
    ForgetsTheDead,
    WritesTwice,
    NeverPauses,
    FindsABug,
    Spins,
    Sleeps,
    NeverQuits,
    MissesTheDeadline,
    KillsTheGone,
    ReusesNumbers,
    /// These five run another plan than the laws know.
    ClimbsEarly,
    StopsAllLevels,
    BuriesEarly,
    Overfills,
    OverrunsTheBudget,
}

use Sabotage::*;

/// Each broken copy, and a law that notices it.
pub const ALL: [(Sabotage, &str); 29] = [
    (KillsAtOnce, "L2"),
    (SkipsTheEvent, "L2"),
    (TellsTwice, "L2"),
    (ForgetsCont, "L2"),
    (ForgetsToPassOn, "L2"),
    (PassesOnTwice, "L2"),
    (SignalsTheWrong, "L2"),
    (StartsInAStop, "L3"),
    (StartsTwice, "L3"),
    (LeavesStrangers, "L3"),
    (ForgetsTheLiving, "L3"),
    (HandsOutTwice, "L4"),
    (LosesAnItem, "L4"),
    (HandsBackTwice, "L4"),
    (ForgetsTheDead, "L4"),
    (WritesTwice, "L4"),
    (NeverPauses, "L5"),
    (FindsABug, "L6"),
    (Spins, "L8"),
    (Sleeps, "L9"),
    (NeverQuits, "L9"),
    (MissesTheDeadline, "L9"),
    (KillsTheGone, "L10"),
    (ReusesNumbers, "L10"),
    (ClimbsEarly, "L2"),
    (StopsAllLevels, "L2"),
    (BuriesEarly, "L4"),
    (Overfills, "L5"),
    (OverrunsTheBudget, "L9"),
];

impl Sabotage {
    /// What becomes of the orders that follow from one event.
    pub fn spoil(self, event: &Event, actions: &mut Actions) {
        match self {
            KillsAtOnce => signals(actions, |signal, _| *signal = Signal::KILL),
            SignalsTheWrong => signals(actions, |_, target| {
                *target = if *target == Target::Leader { Target::Members } else { Target::Leader };
            }),
            SkipsTheEvent => actions.retain(|action| !matches!(action, Action::Tell { .. })),
            TellsTwice => twice(actions, |action| matches!(action, Action::Tell { .. })),
            ForgetsCont => actions.retain(|action| !matches!(action, Action::Kill { signal: Signal::CONT, .. })),
            ForgetsToPassOn => actions.retain(|action| !matches!(action, Action::Kill { signal: FORWARDED, .. })),
            PassesOnTwice => twice(actions, |action| matches!(action, Action::Kill { signal: FORWARDED, .. })),
            StartsInAStop => on_stop(actions, |actions| {
                actions.push(Action::Spawn { proc: ProcId(1_000_000), instance: InstanceId(0) });
            }),
            StartsTwice => started(actions, |proc| ProcId(proc.0 + 1_000_000)),
            ReusesNumbers => started(actions, |proc| proc),
            LeavesStrangers => {
                for action in actions.iter_mut().filter(|action| matches!(action, Action::Sweep { .. })) {
                    *action = Action::CountStrangers;
                }
            }
            ForgetsTheLiving => forget_instead_of_looking(event, actions),
            HandsOutTwice => twice(actions, |action| matches!(action, Action::Deliver { .. })),
            LosesAnItem => actions.retain(|action| !matches!(action, Action::HandBack { .. })),
            HandsBackTwice => twice(actions, |action| matches!(action, Action::HandBack { .. })),
            ForgetsTheDead => actions.retain(|action| !matches!(action, Action::Bury(_))),
            WritesTwice => twice(actions, |action| matches!(action, Action::WriteResult { .. })),
            NeverPauses => actions.retain(|action| !matches!(action, Action::Pause { .. })),
            FindsABug => on_stop(actions, |actions| actions.push(Action::Note(Note::Bug("sabotage".into())))),
            NeverQuits => actions.retain(|action| !matches!(action, Action::Quit(_))),
            MissesTheDeadline => {
                if actions.contains(&Action::Note(Note::StopDeadline)) {
                    actions.retain(|action| !matches!(action, Action::Kill { signal: Signal::KILL, .. }));
                }
            }
            KillsTheGone => {
                if let Event::MembersGone { proc } = *event {
                    actions.push(Action::Kill { proc, signal: Signal::KILL, target: Target::Members });
                }
            }
            Spins | Sleeps | ClimbsEarly | StopsAllLevels | BuriesEarly | Overfills | OverrunsTheBudget => {}
        }
    }

    /// The plan that the machine gets.
    pub fn plan(self, plan: &mut Plan) {
        let workers = plan.workers.iter_mut();
        match self {
            ClimbsEarly => {
                let rungs = workers.flat_map(|worker| &mut worker.program.ladder);
                rungs.for_each(|rung| rung.wait /= 2);
            }
            StopsAllLevels => workers.for_each(|worker| worker.level = 0),
            BuriesEarly => plan.queues.iter_mut().for_each(|queue| queue.max_attempts = 1),
            Overfills => {
                let consumers = workers.filter_map(|worker| worker.consumer.as_mut());
                consumers.for_each(|consumer| consumer.prefetch += 1);
            }
            OverrunsTheBudget => plan.stop_budget = plan.stop_budget.map(|budget| budget * 2),
            _ => {}
        }
    }

    /// What becomes of the machine's deadline.
    pub fn deadline(self, now: Time, deadline: Option<Time>) -> Option<Time> {
        match self {
            Spins => Some(now),
            Sleeps => None,
            _ => deadline,
        }
    }
}

fn signals(actions: &mut Actions, spoil: impl Fn(&mut Signal, &mut Target)) {
    for action in actions {
        if let Action::Kill { signal, target, .. } = action
            && *signal != Signal::KILL
            && *signal != Signal::CONT
        {
            spoil(signal, target);
        }
    }
}

fn twice(actions: &mut Actions, which: impl Fn(&Action) -> bool) {
    *actions = actions
        .drain(..)
        .flat_map(|action| if which(&action) { vec![action.clone(), action] } else { vec![action] })
        .collect();
}

fn started(actions: &mut Actions, number: impl Fn(ProcId) -> ProcId) {
    let again: Vec<Action> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Spawn { proc, instance } => Some(Action::Spawn { proc: number(*proc), instance: *instance }),
            _ => None,
        })
        .collect();
    actions.extend(again);
}

fn on_stop(actions: &mut Actions, spoil: impl Fn(&mut Actions)) {
    if actions.iter().any(|action| matches!(action, Action::Note(Note::Stopping { .. }))) {
        spoil(actions);
    }
}

fn forget_instead_of_looking(event: &Event, actions: &mut Actions) {
    if let Event::MembersLeft { proc, .. } = *event
        && actions.iter().any(|action| matches!(action, Action::Kill { .. }))
    {
        *actions = vec![Action::Forget { proc }];
    }
}
