//! Signals that are passed on: each once, to every living instance of the workers that want it. Whoever is just being
//! started gets it as soon as its exec is reported, since before that nobody of it is there to hear.
//!
//! What an init's program leaves behind and is waited for (`--wait-all`) gets the signals in its place; and when the program was
//! sent a stop signal and ended, what it leaves behind is sent that signal too.

use super::Machine;
use super::action::{Action, Actions};
use super::instance::State;
use super::ladder::signal_then_cont;
use super::shutdown::Phase;
use super::timers::Key;
use crate::model::plan::KillMode;
use crate::model::{ExitStatus, InstanceId, Signal, SignalSet, Target};

impl Machine {
    pub(super) fn forward(&mut self, signal: Signal, out: &mut Actions) {
        for id in self.instance_ids() {
            let wanted = self.worker_of(id).map(|worker| self.plan.worker(worker).forward_signals);
            if wanted.is_some_and(|signals| signals.contains(signal)) {
                self.forward_to(id, signal, out);
            }
        }
        if let Phase::Sweeping(sweep) = &self.phase
            && sweep.is_patient()
        {
            out.push(Action::Sweep { signal, repeat: true });
            if is_stop(signal) {
                self.limit_strays();
            }
        }
    }

    fn forward_to(&mut self, id: InstanceId, signal: Signal, out: &mut Actions) {
        let target = self.forward_target(id);
        let waits = self.waits_for_all();
        let is_init = self.plan.init.is_some();
        let instance = &mut self.instances[id.index()];
        match &mut instance.state {
            State::Up(life) | State::Leaving(life, _) => {
                out.push(Action::Kill { proc: life.proc, signal, target });
                instance.passed_on.insert(signal);
            }
            State::Remains(life, remains) if waits => {
                out.push(Action::Kill { proc: life.proc, signal, target: Target::Members });
                if is_stop(signal) {
                    remains.told_in_its_place = true;
                    // For what has left the session, when its turn comes.
                    instance.passed_on.insert(signal);
                    self.limit_survivors(id);
                }
            }
            State::Starting { .. } => instance.kept.insert(signal),
            // The one program of an init is what the signal is for, whenever it comes to life.
            State::Waiting | State::Due | State::Delayed if is_init => instance.kept.insert(signal),
            State::Remains(..)
            | State::Waiting
            | State::Due
            | State::Delayed
            | State::Aborting { .. }
            | State::Resting(_) => {}
        }
    }

    /// Its exec was reported: what came meanwhile is its own now.
    pub(super) fn forward_kept(&mut self, id: InstanceId, out: &mut Actions) {
        let target = self.forward_target(id);
        let instance = &mut self.instances[id.index()];
        let kept = std::mem::replace(&mut instance.kept, SignalSet::EMPTY);
        if let State::Up(life) = &instance.state {
            out.extend(kept.iter().map(|signal| Action::Kill { proc: life.proc, signal, target }));
            instance.passed_on = kept;
        }
    }

    fn forward_target(&self, id: InstanceId) -> Target {
        match self.plan.program(id).kill_mode {
            KillMode::Group => Target::Members,
            KillMode::Mixed | KillMode::Process => Target::Leader,
        }
    }

    /// What the program of an init leaves behind ends by itself, for as long as nobody says stop.
    pub(super) fn waits_for_all(&self) -> bool {
        let wanted = self.plan.init.as_ref().is_some_and(|init| init.wait_all);
        wanted && matches!(self.phase, Phase::Running)
    }

    /// The program of an init has ended after a stop signal was passed on to it, and members of its session are still there.
    /// Those to which the signal did not go are sent it, once; without this a wrapper that dies of TERM would be the last process
    /// to hear of it.
    pub(super) fn pass_on_to_survivors(&mut self, id: InstanceId, out: &mut Actions) {
        let signals = self.stops_passed_on(id);
        let is_group = self.plan.program(id).kill_mode == KillMode::Group;
        let State::Remains(life, remains) = &mut self.instances[id.index()].state else { return };
        if signals.is_empty() || std::mem::replace(&mut remains.told_in_its_place, true) {
            return;
        }
        let proc = life.proc;
        if !is_group {
            signals.iter().for_each(|signal| signal_then_cont(proc, signal, Target::Unsignalled, out));
        }
        self.limit_survivors(id);
    }

    /// The same for what has left the session. Answers whether there was such a signal.
    pub(super) fn pass_on_to_strays(&mut self, out: &mut Actions) -> bool {
        let ids = self.instance_ids().collect::<Vec<_>>();
        let signals = ids.into_iter().map(|id| self.stops_passed_on(id)).fold(SignalSet::EMPTY, SignalSet::union);
        out.extend(signals.iter().map(|signal| Action::Sweep { signal, repeat: false }));
        if !signals.is_empty() {
            self.limit_strays();
        }
        !signals.is_empty()
    }

    fn limit_strays(&mut self) {
        let timeout = self.plan.init.as_ref().and_then(|init| init.stop_timeout);
        if let Some(timeout) = timeout.filter(|_| self.timers.get(Key::Strangers).is_none()) {
            self.timers.set(Key::Strangers, self.now + timeout);
        }
    }

    /// Signals that were passed on to this instance, and by which it was told to end: those that mean a stop to whoever gets
    /// them, and the one it died of. INT is not among the former: an interactive program takes it as the end of one command.
    fn stops_passed_on(&self, id: InstanceId) -> SignalSet {
        let instance = &self.instances[id.index()];
        let died_of =
            |signal| matches!(instance.last_status, Some(ExitStatus::Signalled { signal: of, .. }) if of == signal);
        instance.passed_on.iter().filter(|&signal| is_stop(signal) || died_of(signal)).collect()
    }
}

fn is_stop(signal: Signal) -> bool {
    signal.stops_a_run() && signal != Signal::INT
}
