//! What a signal means to this run, and as which signal it counts.

use super::{InitOptions, Suspend};
use crate::machine::Meaning;
use crate::model::plan::{Place, Plan};
use crate::model::{Signal, SignalSet};
use crate::sys::init::Inherited;
use crate::sys::terminal;

/// Decided once, when the run begins.
#[derive(Clone, Debug)]
pub struct Meanings {
    /// A terminal is there to hang up, and nobody asked us to outlive it (nohup(1)).
    hangs_up: bool,
    /// Signals that some worker wants.
    forwarded: SignalSet,
    rewrites: Vec<(Signal, Option<Signal>)>,
    /// An init without a ladder: nothing stops it but the end of its program.
    passes_all: bool,
    suspend: Suspend,
    /// The program hears no Ctrl+Z, and would be deaf to it.
    apart: bool,
}

impl Meanings {
    pub fn new(plan: &Plan, init: Option<&InitOptions>, inherited: &Inherited) -> Meanings {
        let wanted = plan.workers.iter().map(|worker| worker.forward_signals);
        let apart = plan.workers.iter().all(|worker| worker.program.place != Place::Beside);
        let suspend = init.map_or(Suspend::Never, |init| match init.suspend {
            // There it is watched.
            _ if apart && terminal::is_ours() => Suspend::Never,
            Suspend::Ourselves if !inherited.controlling_terminal || inherited.init => Suspend::Never,
            suspend => suspend,
        });
        Meanings {
            hangs_up: inherited.controlling_terminal && !inherited.ignored.contains(Signal::HUP),
            forwarded: wanted.fold(SignalSet::EMPTY, SignalSet::union),
            rewrites: init.map(|init| init.rewrites.clone()).unwrap_or_default(),
            passes_all: init.is_some_and(|init| !init.stops),
            suspend,
            apart,
        }
    }

    /// Signals of which an init wants to know whether the terminal sent them, or to hear of at all.
    pub fn worth_a_look(plan: &Plan, init: &InitOptions) -> SignalSet {
        let beside = plan.workers.iter().any(|worker| worker.program.place == Place::Beside);
        let typed = [Signal::INT, Signal::QUIT, Signal::WINCH].into_iter().filter(|_| beside);
        let background = [Signal::TTIN, Signal::TTOU].into_iter().filter(|_| init.suspend == Suspend::Always);
        typed.chain(background).collect()
    }

    /// The signal it counts as, and what that means. What the terminal told our whole group is the program's already where that
    /// is in it.
    pub fn of(&self, received: Signal, of_the_kernel: bool) -> (Signal, Meaning) {
        match self.told(received) {
            (signal, Meaning::Forward) if of_the_kernel && !self.apart && signal == received => {
                (signal, Meaning::Nothing)
            }
            meaning => meaning,
        }
    }

    fn told(&self, received: Signal) -> (Signal, Meaning) {
        let rewritten = self.rewrites.iter().find(|(from, _)| *from == received).map(|&(_, to)| to);
        let signal = match rewritten {
            Some(Some(signal)) => signal,
            Some(None) => return (received, Meaning::Nothing),
            None if self.apart && self.suspends(received) != Suspend::Never => Signal::STOP,
            None => received,
        };
        let stop = self.stop(signal);
        let meaning = match stop {
            Meaning::Stop | Meaning::Interrupt if self.passes_all => Meaning::Forward,
            // HUP is the one that may be both: who wants it gets it.
            Meaning::Stop if signal == Signal::HUP && self.is_wanted(signal) => Meaning::Forward,
            Meaning::Nothing if self.is_wanted(signal) => Meaning::Forward,
            Meaning::Stop | Meaning::Interrupt | Meaning::Nothing | Meaning::Forward => stop,
        };
        (signal, meaning)
    }

    /// Whether we stop with the program when this comes, and how.
    pub fn suspends(&self, received: Signal) -> Suspend {
        match received {
            Signal::TSTP => self.suspend,
            Signal::TTIN | Signal::TTOU if self.suspend == Suspend::Always => Suspend::Always,
            _other => Suspend::Never,
        }
    }

    fn is_wanted(&self, signal: Signal) -> bool {
        self.forwarded.contains(signal)
    }

    fn stop(&self, signal: Signal) -> Meaning {
        match signal {
            Signal::INT => Meaning::Interrupt,
            Signal::HUP if self.hangs_up => Meaning::Stop,
            signal if signal.stops_a_run() => Meaning::Stop,
            _ => Meaning::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_a_run() -> Meanings {
        Meanings {
            hangs_up: false,
            forwarded: SignalSet::EMPTY,
            rewrites: Vec::new(),
            passes_all: false,
            suspend: Suspend::Never,
            apart: true,
        }
    }

    #[test]
    fn f52_hup_is_a_stop_only_where_a_terminal_may_hang_up() {
        let plain = of_a_run();
        assert_eq!(plain.of(Signal::HUP, false).1, Meaning::Nothing);
        assert_eq!(Meanings { hangs_up: true, ..plain.clone() }.of(Signal::HUP, false).1, Meaning::Stop);
        assert_eq!(plain.of(Signal::INT, false).1, Meaning::Interrupt);
        assert_eq!(plain.of(Signal::USR1, false).1, Meaning::Nothing);
        for stop in [Signal::TERM, Signal::QUIT, Signal::RTMIN_3, Signal::PWR] {
            assert_eq!(plain.of(stop, false).1, Meaning::Stop);
        }
    }

    #[test]
    fn what_a_worker_wants_is_passed_on_and_what_stops_still_stops() {
        let forwarded = [Signal::USR1, Signal::HUP].into_iter().collect();
        let meanings = Meanings { forwarded, hangs_up: true, ..of_a_run() };
        assert_eq!(meanings.of(Signal::USR1, false).1, Meaning::Forward);
        assert_eq!(meanings.of(Signal::HUP, false).1, Meaning::Forward);
        assert_eq!(meanings.of(Signal::USR2, false).1, Meaning::Nothing);
        assert_eq!(meanings.of(Signal::TERM, false).1, Meaning::Stop);
    }

    #[test]
    fn an_init_passes_all_on_unless_it_has_a_ladder_and_as_what_it_is_told() {
        let rewrites = vec![(Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None)];
        let init = Meanings { forwarded: SignalSet::FULL, passes_all: true, rewrites, ..of_a_run() };
        assert_eq!(init.of(Signal::INT, false), (Signal::INT, Meaning::Forward));
        assert_eq!(init.of(Signal::TERM, false), (Signal::QUIT, Meaning::Forward));
        assert_eq!(init.of(Signal::HUP, false), (Signal::HUP, Meaning::Nothing));
        let ladder = Meanings { passes_all: false, ..init };
        assert_eq!(ladder.of(Signal::INT, false), (Signal::INT, Meaning::Interrupt));
        assert_eq!(ladder.of(Signal::TERM, false), (Signal::QUIT, Meaning::Stop));
        assert_eq!(ladder.of(Signal::USR1, false), (Signal::USR1, Meaning::Forward));
    }

    #[test]
    fn what_suspends_becomes_stop_for_a_program_in_a_session_of_its_own_unless_it_is_rewritten() {
        let rewrites = vec![(Signal::TTIN, Some(Signal::USR1))];
        let always =
            Meanings { forwarded: SignalSet::FULL, passes_all: true, rewrites, suspend: Suspend::Always, ..of_a_run() };
        let heard =
            |meanings: &Meanings| [Signal::TSTP, Signal::TTIN, Signal::TTOU].map(|signal| meanings.of(signal, false).0);
        assert_eq!(heard(&always), [Signal::STOP, Signal::USR1, Signal::STOP]);
        assert_eq!(always.suspends(Signal::TTIN), Suspend::Always, "as what it was received");
        assert_eq!(always.suspends(Signal::TERM), Suspend::Never);
        let beside = Meanings { apart: false, ..always.clone() };
        assert_eq!(heard(&beside), [Signal::TSTP, Signal::USR1, Signal::TTOU]);
        let typed = |meanings: &Meanings, signal| meanings.of(signal, true).1;
        assert_eq!([typed(&beside, Signal::INT), typed(&beside, Signal::TSTP)], [Meaning::Nothing; 2]);
        assert_eq!(typed(&beside, Signal::TTIN), Meaning::Forward, "that one it did not hear");
        assert_eq!(typed(&always, Signal::INT), Meaning::Forward, "in another session it hears none");
        let ourselves = Meanings { suspend: Suspend::Ourselves, rewrites: Vec::new(), ..always };
        assert_eq!(heard(&ourselves), [Signal::STOP, Signal::TTIN, Signal::TTOU]);
        assert_eq!(ourselves.suspends(Signal::TTIN), Suspend::Never);
    }
}
