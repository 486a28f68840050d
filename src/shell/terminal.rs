//! The one program that owns the terminal: its stops are ours, and the foreground goes to and fro between it and us.

use super::Suspend;
use super::table::{Life, Proc};
use super::turn::Shell;
use crate::machine::Meaning;
use crate::model::Signal;
use crate::model::plan::Place;
use crate::sys::members::{self, Member};
use crate::sys::{Pid, terminal};

impl Shell {
    /// What the terminal has to do with these signals, which are then done with: stops of the program, and CONT for us.
    pub(super) fn terminal_signals(&mut self, signals: &mut Vec<Signal>) {
        if signals.contains(&Signal::CHLD) && self.watch_stops() {
            // The CONT that ended our stop is among these; passed on later, it could undo a new stop.
            signals.extend(self.signals.pending());
            signals.sort_unstable();
            signals.dedup();
            signals.retain(|&signal| signal != Signal::CONT);
        }
        if signals.contains(&Signal::CONT) && self.on_terminal().is_some() {
            self.resume();
            signals.retain(|&signal| signal != Signal::CONT);
        }
    }

    /// When the program stopped, so do we, with the terminal back in our hands, for whoever started us to take; and when we go
    /// on, it does. Answers whether it stopped.
    fn watch_stops(&mut self) -> bool {
        let Some(pid) = self.on_terminal().map(|proc| proc.pid) else { return false };
        let Some(signal) = terminal::stop_of(pid) else { return false };
        terminal::take_from(pid);
        // PID 1 is stopped by nobody, and who shares its group from outside of its namespace is none of its business.
        if !self.inherited.init {
            terminal::suspend_group();
        }
        let in_front = terminal::foreground() == Some(terminal::own_group());
        // Stopped for being in the background, and still there: it would only stop again, for ever.
        if in_front || !matches!(signal, Signal::TTIN | Signal::TTOU) {
            self.resume();
        }
        true
    }

    /// Somebody continued us: if that put us into the foreground, the program gets it, and goes on in any case.
    fn resume(&mut self) {
        let Some(proc) = self.on_terminal() else { return };
        if terminal::foreground() == Some(terminal::own_group()) {
            terminal::give_to(proc.pid);
        }
        // It stopped as a group. Who is gone needs no CONT.
        let mut group = self.beside(proc.pid, proc.place);
        group.retain(|member| member.group == proc.pid);
        let _told = members::signal_members(&group, Signal::CONT);
    }

    /// Everybody has left: whoever had the foreground among them has it no more.
    pub(super) fn leave_the_terminal(&self) {
        if self.on_terminal.is_some() {
            // None of our children has this number.
            terminal::take_from(terminal::own_group());
        }
    }

    /// TSTP was passed on as STOP to a program that the terminal does not reach: now we stop.
    pub(super) fn suspend_with(&mut self, how: Suspend) {
        match how {
            Suspend::Never => return,
            Suspend::Ourselves => terminal::suspend_softly(),
            // Who says CONT to us says it to the program as well.
            Suspend::Always => return terminal::suspend_self(),
        }
        // The CONT that ended our stop is passed on to the program like any other signal.
        if self.signals.waits(Signal::CONT) && self.meanings.of(Signal::CONT, false) == (Signal::CONT, Meaning::Forward)
        {
            return;
        }
        // Nobody may have stopped us, and then nobody says CONT either.
        for (_, proc) in self.table.iter().filter(|(_, proc)| !matches!(proc.life, Life::Dead { .. })) {
            let members = members::living(&[proc.pid], &|_| false);
            let _told = members::signal_members(&members, Signal::CONT);
        }
    }

    /// Where a new program at this place stands now, and whether it takes the foreground.
    pub(super) fn place_now(wanted: Place) -> (Place, bool) {
        match wanted {
            Place::Terminal if terminal::is_ours() => {
                // In the background (`exeunt … &`) the foreground is somebody else's.
                (Place::Terminal, terminal::foreground() == Some(terminal::own_group()))
            }
            Place::Terminal | Place::Session => (Place::Session, false),
            Place::Beside => (Place::Beside, false),
        }
    }

    /// Living members of a program that has no session of its own.
    pub(super) fn beside(&self, pid: Pid, place: Place) -> Vec<Member> {
        let others = |other| other != pid && self.is_known(other);
        members::beside(pid, place == Place::Terminal, &others)
    }

    fn on_terminal(&self) -> Option<&Proc> {
        let proc = self.table.get(self.on_terminal?)?;
        let lives = !matches!(proc.life, Life::Dead { .. } | Life::Stillborn { .. });
        (lives && proc.place == Place::Terminal).then_some(proc)
    }
}
