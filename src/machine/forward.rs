//! Signals that are passed on: each once, to every living instance of the workers that want it. Whoever is just being
//! started gets it as soon as its exec is reported, since before that nobody of it is there to hear.
//!
//! What an init's program leaves behind and is waited for (`--wait-all`) gets the signals in its place.

use super::Machine;
use super::action::{Action, Actions};
use super::instance::State;
use super::shutdown::Phase;
use crate::model::plan::KillMode;
use crate::model::{InstanceId, Signal, SignalSet, Target};

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
            out.push(Action::Sweep { signal });
        }
    }

    fn forward_to(&mut self, id: InstanceId, signal: Signal, out: &mut Actions) {
        let target = self.forward_target(id);
        let waits = self.waits_for_all();
        let is_init = self.plan.init.is_some();
        let instance = &mut self.instances[id.index()];
        match &instance.state {
            State::Up(life) | State::Leaving(life, _) => out.push(Action::Kill { proc: life.proc, signal, target }),
            State::Remains(life, _) if waits => {
                out.push(Action::Kill { proc: life.proc, signal, target: Target::Members });
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
}
