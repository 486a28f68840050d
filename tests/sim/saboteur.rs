//! Broken copies of the machine, to prove that the laws bite: each spoils one kind of order (or the deadline) on its way
//! out, as a wrong decision would, and the law named beside it must notice.

use crate::fake::Fake;
use crate::generate::FORWARDED;
use exeunt::machine::{Action, Actions, Event, Fate, Meaning, Note, SourceEnd, Unstarted};
use exeunt::model::plan::{Consumer, End, Kind, Plan, QueuePlan, Ready, Restart, Role, WorkerPlan};
use exeunt::model::{InstanceId, Notice, ProcId, Refusal, Reply, Signal, Target, Time};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    KillsAtOnce,
    SkipsTheEvent,
    TellsTwice,
    ForgetsCont,
    ContinuesTooLate,
    TerminatesSurvivorsAgain,
    TerminatesStraysAgain,
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
    HandsBackUnderAnotherNumber,
    HandsBackBackwards,
    ForgetsTheDead,
    WritesTwice,
    WritesOnAndOn,
    NeverPauses,
    FindsABug,
    Spins,
    Sleeps,
    NeverQuits,
    MissesTheDeadline,
    KillsTheGone,
    ReusesNumbers,
    SignalsTheIdle,
    ToldTheWrongDelay,
    ForgetsARestart,
    HandsOutBackwards,
    /// These two are broken copies of the shell: it signals by numbers that were reaped, it reaps one child a SIGCHLD.
    SignalsStaleNumbers,
    ReapsOne,
    /// These do not hear what was told.
    BlamesNobody,
    BlamesTheUnread,
    IgnoresTheKernel,
    BlamesTheKernel,
    IgnoresTouches,
    IgnoresWrites,
    IgnoresNonsense,
    KeepsLatenessToItself,
    LiesInItsCode,
    SparesStarts,
    KeepsAsking,
    TakesBirthsForGranted,
    IgnoresSignsOfLife,
    IgnoresFloods,
    MishearsAnswers,
    IgnoresPleas,
    IgnoresStops,
    /// These run another plan than the laws know.
    ClimbsEarly,
    StopsAllLevels,
    BuriesEarly,
    Overfills,
    OverrunsTheBudget,
    BuriesLate,
    BuriesAfterACrash,
    HandsOutTooFew,
    OverusesWorkers,
    NeverRenews,
    TimesOutEarly,
    TimesOutLate,
    GivesUpEarly,
    NeverGivesUp,
    RestartsInHaste,
    RestartsAtLeisure,
    LeavesTheDown,
    IgnoresTheOrder,
    RetriesInHaste,
    OverfillsQueues,
    TrustsTheUnready,
    BelievesTooEarly,
    IgnoresRequirements,
    RunsOutOfPatience,
    WaitsForTheLate,
    LosesFaithEarly,
    LosesFaithLate,
    AsksInHaste,
    ForgetsTheSilent,
    RepeatsOneshots,
    ConfusesTheEnd,
    ForgetsWhoseCode,
    TakesNothingForZero,
    PushesWhoIsLeft,
    WaitsForTheUnkillable,
    IgnoresTheMute,
    RenewsAllAtOnce,
    RenewsEarly,
    TakesLimitsForShortage,
    BlamesItemsForTimeouts,
    TakesGoodEndsForFailures,
    CallsAStopAnEnd,
    ForgetsWhyItNeverStarted,
    HidesTheCode,
    OverlooksDaemons,
    ConcludesTheEnd,
    ReadsForEver,
    ReadsTooBriefly,
    FillsTheLeftovers,
    WaitsInSilence,
}

use Sabotage::*;

/// Each broken copy, and a law that notices it.
pub const ALL: &[(Sabotage, &str)] = &[
    (KillsAtOnce, "L2"),
    (SkipsTheEvent, "L2"),
    (TellsTwice, "L2"),
    (ForgetsCont, "L2"),
    (ContinuesTooLate, "L2"),
    (TerminatesSurvivorsAgain, "once"),
    (TerminatesStraysAgain, "once"),
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
    (HandsBackUnderAnotherNumber, "L4"),
    (HandsBackBackwards, "order"),
    (ForgetsTheDead, "L4"),
    (WritesTwice, "L4"),
    (WritesOnAndOn, "L4"),
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
    (SignalsTheIdle, "L1"),
    (SignalsStaleNumbers, "L10"),
    (ReapsOne, "L6"),
    (ToldTheWrongDelay, "L5"),
    (ForgetsARestart, "up"),
    (HandsOutBackwards, "order"),
    (BlamesNobody, "L4"),
    (BlamesTheUnread, "L4"),
    (IgnoresTheKernel, "memory"),
    (BlamesTheKernel, "memory"),
    (IgnoresTouches, "clock"),
    (IgnoresWrites, "clock"),
    (IgnoresNonsense, "protocol"),
    (KeepsLatenessToItself, "late"),
    (LiesInItsCode, "code"),
    (TakesBirthsForGranted, "L5"),
    (BuriesLate, "L4"),
    (BuriesAfterACrash, "L4"),
    (HandsOutTooFew, "starvation"),
    (OverusesWorkers, "L5"),
    (NeverRenews, "L5"),
    (TimesOutEarly, "clock"),
    (TimesOutLate, "clock"),
    (GivesUpEarly, "L5"),
    (NeverGivesUp, "L5"),
    (RestartsInHaste, "L5"),
    (RestartsAtLeisure, "L5"),
    (LeavesTheDown, "L5"),
    (IgnoresTheOrder, "after"),
    (RetriesInHaste, "order"),
    (OverfillsQueues, "L5"),
    (TrustsTheUnready, "ready"),
    (BelievesTooEarly, "ready"),
    (IgnoresRequirements, "requires"),
    (RunsOutOfPatience, "start"),
    (WaitsForTheLate, "start"),
    (IgnoresPleas, "start"),
    (IgnoresPleas, "L2"),
    (LosesFaithEarly, "health"),
    (LosesFaithLate, "health"),
    (AsksInHaste, "probe"),
    (KeepsAsking, "probe"),
    (ForgetsTheSilent, "watchdog"),
    (IgnoresSignsOfLife, "watchdog"),
    (IgnoresFloods, "watchdog"),
    (MishearsAnswers, "health"),
    (RepeatsOneshots, "L5"),
    (ConfusesTheEnd, "end"),
    (ForgetsWhoseCode, "code"),
    (TakesNothingForZero, "code"),
    (PushesWhoIsLeft, "wait"),
    (IgnoresStops, "stop"),
    (SparesStarts, "stop"),
    (LosesAnItem, "drain"),
    (WaitsForTheUnkillable, "L9"),
    (IgnoresTheMute, "protocol"),
    (RenewsAllAtOnce, "renewal"),
    (RenewsEarly, "L1"),
    (TakesLimitsForShortage, "L5"),
    (BlamesItemsForTimeouts, "L5"),
    (TakesGoodEndsForFailures, "L5"),
    (TrustsTheUnready, "L5"),
    (CallsAStopAnEnd, "report"),
    (ForgetsWhyItNeverStarted, "report"),
    (HidesTheCode, "code"),
    (OverlooksDaemons, "L5"),
    (ConcludesTheEnd, "end"),
    (ReadsForEver, "stdin"),
    (ReadsTooBriefly, "stdin"),
    (FillsTheLeftovers, "stdin"),
    (WaitsInSilence, "waits"),
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
            // Of CONT and TSTP, for which that is the order, the other way round.
            ContinuesTooLate => {
                let at = actions.windows(2).position(|pair| {
                    let signal = |action: &Action| match action {
                        Action::Kill { signal, .. } => Some(*signal),
                        _ => None,
                    };
                    signal(&pair[0]) == Some(Signal::CONT) && signal(&pair[1]) == Some(Signal::TSTP)
                });
                if let Some(at) = at {
                    actions.swap(at, at + 1);
                }
            }
            TerminatesSurvivorsAgain => {
                if let Event::MembersLeft { proc, .. } = *event
                    && !actions.iter().any(|action| matches!(action, Action::Kill { .. }))
                {
                    let kill = |signal| Action::Kill { proc, signal, target: Target::Members };
                    actions.extend([kill(Signal::TERM), kill(Signal::CONT)]);
                }
            }
            TerminatesStraysAgain => {
                for action in actions.iter_mut() {
                    if let Action::Sweep { repeat, .. } = action {
                        *repeat = true;
                    }
                }
            }
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
            ReadsForEver => actions.retain(|action| !matches!(action, Action::Abandon { .. })),
            LosesAnItem => actions.retain(|action| !matches!(action, Action::HandBack { .. })),
            HandsBackTwice => twice(actions, |action| matches!(action, Action::HandBack { .. })),
            HandsBackBackwards => {
                let back = actions.iter().filter(|action| matches!(action, Action::HandBack { .. })).cloned();
                let mut back: Vec<Action> = back.collect();
                let places = actions.iter_mut().filter(|action| matches!(action, Action::HandBack { .. }));
                places.for_each(|place| *place = back.pop().unwrap_or_else(|| place.clone()));
            }
            HandsBackUnderAnotherNumber => actions.iter_mut().for_each(|action| {
                if let Action::HandBack { seq, .. } = action {
                    *seq += 1;
                }
            }),
            ForgetsTheDead => actions.retain(|action| !matches!(action, Action::Bury(_))),
            WritesOnAndOn => actions.retain(|action| !matches!(action, Action::CancelResults { .. })),
            WritesTwice => twice(actions, |action| matches!(action, Action::WriteResult { .. })),
            NeverPauses => actions.retain(|action| !matches!(action, Action::Pause { .. })),
            FindsABug => on_stop(actions, |actions| actions.push(Action::Note(Note::Bug("sabotage".into())))),
            NeverQuits => actions.retain(|action| !matches!(action, Action::Quit(_))),
            MissesTheDeadline if actions.contains(&Action::Note(Note::StopDeadline)) => {
                actions.retain(|action| !matches!(action, Action::Kill { signal: Signal::KILL, .. }));
            }
            KillsTheGone => {
                if let Event::MembersGone { proc } = *event {
                    actions.push(Action::Kill { proc, signal: Signal::KILL, target: Target::Members });
                }
            }
            SignalsTheIdle => {
                if let Event::Wrote { proc, .. } = *event {
                    let kill = |signal| Action::Kill { proc, signal, target: Target::Leader };
                    actions.extend([kill(Signal::TERM), kill(Signal::CONT)]);
                }
            }
            ToldTheWrongDelay => {
                for action in actions {
                    if let Action::Note(Note::Restarting { after, .. }) = action {
                        *after += Duration::from_secs(30);
                    }
                }
            }
            ForgetsARestart if *event == Event::Tick => {
                actions.retain(|action| !matches!(action, Action::Spawn { .. }));
            }
            HandsOutBackwards => {
                let at: Vec<usize> =
                    (0..actions.len()).filter(|&at| matches!(actions[at], Action::Deliver { .. })).collect();
                if let [first, .., last] = at[..] {
                    actions.swap(first, last);
                }
            }
            LiesInItsCode => {
                for action in actions {
                    if let Action::Quit(report) = action {
                        report.exit_code = 0;
                    }
                }
            }
            WaitsForTheUnkillable => actions.retain(|action| !matches!(action, Action::Forget { .. })),
            KeepsAsking => actions.retain(|action| !matches!(action, Action::Unask { .. })),
            SparesStarts => actions.retain(|action| !matches!(action, Action::Kill { target: Target::Unborn, .. })),
            CallsAStopAnEnd => fates(actions, |fate| {
                if let Fate::Left { status, .. } = *fate {
                    *fate = Fate::Ended { status, ready: true };
                }
            }),
            ForgetsWhyItNeverStarted => fates(actions, |fate| {
                if let Fate::NeverStarted { why } = fate {
                    *why = Unstarted::Stop;
                }
            }),
            HidesTheCode => {
                for action in actions {
                    if let Action::Quit(report) = action {
                        report.code_of_all = None;
                    }
                }
            }
            KeepsLatenessToItself => actions.retain(|action| !matches!(action, Action::Note(Note::Late { .. }))),
            WaitsInSilence => actions.retain(|action| !matches!(action, Action::Note(Note::StillWaiting { .. }))),
            // These spoil something else than orders, or other orders.
            _ => {}
        }
    }

    /// What the machine hears of an event. `timed_out`: about an incarnation that is stopped for an item that took too long.
    pub fn hears(self, event: Event, timed_out: bool) -> Option<Event> {
        match (self, event) {
            (BlamesItemsForTimeouts, Event::Exited { proc, status, usage, out_of_memory, .. }) if timed_out => {
                Some(Event::Exited { proc, status, usage, in_hand: true, out_of_memory })
            }
            (BlamesNobody, Event::Exited { proc, status, usage, out_of_memory, .. }) => {
                Some(Event::Exited { proc, status, usage, in_hand: false, out_of_memory })
            }
            (BlamesTheUnread, Event::Exited { proc, status, usage, out_of_memory, .. }) => {
                Some(Event::Exited { proc, status, usage, in_hand: true, out_of_memory })
            }
            (IgnoresTheKernel, Event::Exited { proc, status, usage, in_hand, .. }) => {
                Some(Event::Exited { proc, status, usage, in_hand, out_of_memory: false })
            }
            (BlamesTheKernel, Event::Exited { proc, status, usage, in_hand, .. }) => {
                Some(Event::Exited { proc, status, usage, in_hand, out_of_memory: true })
            }
            (MishearsAnswers, Event::Answered { proc, question, answer }) => {
                Some(Event::Answered { proc, question, answer: answer.map_err(|_| Refusal::Closed) })
            }
            (OverlooksDaemons, Event::Orphans { .. }) => Some(Event::Orphans { count: 0 }),
            (IgnoresTouches, Event::Replied { reply: Reply::Touch(_), .. })
            | (IgnoresWrites, Event::Wrote { .. })
            | (IgnoresNonsense, Event::Garbled { .. })
            | (IgnoresTheMute, Event::RepliesClosed { .. })
            | (TakesBirthsForGranted, Event::Spawned { .. })
            | (IgnoresSignsOfLife, Event::Notified { notice: Notice::Watchdog, .. })
            | (IgnoresFloods, Event::Notified { notice: Notice::Unheard, .. })
            | (IgnoresPleas, Event::Notified { notice: Notice::Extend(_), .. })
            | (IgnoresStops, Event::Signalled { meaning: Meaning::Stop | Meaning::Interrupt, .. }) => None,
            (_, event) => Some(event),
        }
    }

    /// It takes the end of a source's process for the end of what that wrote.
    pub fn concludes(self, event: &Event, plan: &Plan) -> Option<Event> {
        let Event::MembersGone { proc } = *event else { return None };
        let slot = usize::try_from(proc.0).ok()? % plan.instances.len();
        let Role::Source(source) = plan.instances[slot] else { return None };
        (self == ConcludesTheEnd).then_some(Event::SourceEnded { source, end: SourceEnd::Whole })
    }

    /// What it believes to have heard as soon as it has ordered something.
    pub fn hears_at_once(self, orders: &[Action]) -> Vec<Event> {
        let born = |order: &Action| match order {
            Action::Spawn { proc, .. } => Some(Event::Spawned { proc: *proc }),
            _ => None,
        };
        if self == TakesBirthsForGranted { orders.iter().filter_map(born).collect() } else { Vec::new() }
    }

    /// What is broken in the world, which is to say in the shell.
    pub fn world(self, fake: &mut Fake) {
        fake.pids.stale = self == SignalsStaleNumbers;
        fake.reaps_one = self == ReapsOne;
    }

    /// The plan that the machine gets.
    pub fn plan(self, plan: &mut Plan) {
        let Plan { queues, workers, stop_budget, init, .. } = plan;
        let consumers = |workers: &mut Vec<WorkerPlan>, spoil: fn(&mut Consumer)| {
            workers.iter_mut().filter_map(|worker| worker.consumer.as_mut()).for_each(spoil);
        };
        match self {
            ClimbsEarly => {
                let rungs = workers.iter_mut().flat_map(|worker| &mut worker.program.ladder);
                rungs.for_each(|rung| rung.wait /= 2);
            }
            StopsAllLevels => workers.iter_mut().for_each(|worker| worker.level = 0),
            Overfills => consumers(workers, |consumer| consumer.prefetch += 1),
            HandsOutTooFew => consumers(workers, |consumer| consumer.prefetch = consumer.prefetch.div_ceil(2)),
            OverusesWorkers => {
                consumers(workers, |consumer| consumer.max_items = consumer.max_items.map(|most| most + 1))
            }
            NeverRenews => consumers(workers, |consumer| consumer.max_items = None),
            RenewsAllAtOnce => consumers(workers, |consumer| consumer.renewal_wait = Duration::ZERO),
            RenewsEarly => consumers(workers, |consumer| {
                consumer.max_items = consumer.max_items.map(|most| (most / 2).max(1));
            }),
            OverrunsTheBudget => *stop_budget = stop_budget.map(|budget| budget * 2),
            ConfusesTheEnd => plan.end = if plan.end == End::Work { End::Idle } else { End::Work },
            ForgetsWhoseCode => plan.exit_code_from = None,
            ReadsTooBriefly => {
                plan.sources.iter_mut().for_each(|source| source.stop_read_timeout = Duration::ZERO);
            }
            FillsTheLeftovers => queues.iter_mut().for_each(|queue| queue.leftovers_max = u64::MAX),
            TakesNothingForZero => init.iter_mut().for_each(|init| init.as_zero.clear()),
            PushesWhoIsLeft => init.iter_mut().for_each(|init| init.wait_all = false),
            _ => {
                workers.iter_mut().for_each(|worker| self.worker(worker));
                queues.iter_mut().for_each(|queue| self.queue(queue));
            }
        }
    }

    fn worker(self, worker: &mut WorkerPlan) {
        match self {
            GivesUpEarly => worker.start_limit.iter_mut().for_each(|limit| limit.burst = 1),
            NeverGivesUp => worker.start_limit = None,
            RestartsInHaste => worker.restart_delay.delay /= 2,
            RestartsAtLeisure => worker.restart_delay.max *= 3,
            LeavesTheDown => worker.restart = Restart::Never,
            IgnoresTheOrder => worker.after.clear(),
            TrustsTheUnready => worker.ready = None,
            BelievesTooEarly => {
                if let Some(Ready::Delay(delay)) = &mut worker.ready {
                    *delay /= 2;
                }
            }
            IgnoresRequirements => worker.requires.clear(),
            RunsOutOfPatience => worker.start_timeout.iter_mut().for_each(|time| *time /= 2),
            WaitsForTheLate => worker.start_timeout = None,
            LosesFaithEarly => worker.health.iter_mut().for_each(|health| health.failures = 1),
            LosesFaithLate => worker.health.iter_mut().for_each(|health| health.failures += 1),
            AsksInHaste => worker.health.iter_mut().for_each(|health| health.interval /= 2),
            ForgetsTheSilent => worker.watchdog = None,
            RepeatsOneshots => worker.kind = Kind::Service,
            TakesLimitsForShortage => worker.program.identity.limits.clear(),
            // An end that is no success is a failure, and nothing else of it is changed.
            TakesGoodEndsForFailures if worker.restart == Restart::Always && worker.kind == Kind::Service => {
                worker.program.success_exit_status.clear();
            }
            _ => {}
        }
    }

    fn queue(self, queue: &mut QueuePlan) {
        match self {
            BuriesEarly => queue.max_attempts = 1,
            BuriesLate => queue.max_attempts += 1,
            BuriesAfterACrash => queue.max_crashes = 1,
            TimesOutEarly => queue.item_timeout = queue.item_timeout.map(|timeout| timeout / 2),
            TimesOutLate => queue.item_timeout = queue.item_timeout.map(|timeout| timeout * 2),
            RetriesInHaste => queue.backoff.delay /= 2,
            OverfillsQueues => queue.size += 1,
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

fn fates(actions: &mut Actions, spoil: impl Fn(&mut Fate)) {
    for action in actions {
        if let Action::Quit(report) = action {
            report.leavers.iter_mut().for_each(|leaver| spoil(&mut leaver.fate));
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
