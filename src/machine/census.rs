//! Where everything stands, for the simulation: it counts which events were heard in which states, and holds the machine to its
//! own limits. Nothing decides by it.

use super::Machine;
use super::instance::{Instance, State, Survivors};
use super::lease;
use super::order::STARTS_AT_ONCE;
use super::shutdown::Phase;
use crate::model::{InstanceId, ProcId};

/// Lengths of what grows with the input, each with its limit.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub what: &'static str,
    pub length: usize,
    pub limit: usize,
}

impl Machine {
    /// The phase's name.
    pub fn phase_name(&self) -> &'static str {
        match &self.phase {
            Phase::Running => "running",
            Phase::Stopping(_) => "stopping",
            Phase::Sweeping(_) => "sweeping",
            Phase::Over => "over",
        }
    }

    /// The name of the state that an event about this incarnation finds: `"stale"` when the incarnation is gone.
    pub fn state_name(&self, proc: ProcId) -> &'static str {
        self.slot(proc).map_or("stale", |id| self.instances[id.index()].state_name())
    }

    /// The state of each instance by name.
    pub fn state_names(&self) -> Vec<&'static str> {
        self.instances.iter().map(Instance::state_name).collect()
    }

    /// Everything that has a limit but no law that sees it from outside.
    pub fn sizes(&self) -> Vec<Size> {
        let size = |what, length, limit| Size { what, length, limit };
        let slots = self.instances.len();
        // Of the stop three, of each slot its wait, its item clock, its start, its probe and its watchdog.
        let timers = 3 + 5 * slots + self.queues.len();
        let mut sizes = vec![
            size("timers", self.timers.len(), timers),
            size("line of starts", self.due.len(), slots),
            size("starts under way", self.starting, STARTS_AT_ONCE),
            size("queues to look at", self.roomier.len(), 0),
        ];
        sizes.extend(self.queues.iter().map(|queue| size("line for items", queue.line.len(), slots)));
        for id in (0u32..).map(InstanceId).take(slots) {
            let State::Up(life) = &self.instances[id.index()].state else { continue };
            let Some(work) = &life.work else { continue };
            sizes.push(size("settled tokens remembered", work.leases.remembered(), lease::MEMORY));
        }
        for (plan, crew) in self.plan.workers.iter().zip(&self.workers) {
            let burst = plan.start_limit.map_or(0, |limit| limit.burst as usize);
            sizes.push(size("failures remembered", crew.failures.len(), burst));
            sizes.push(size("replicas to be replaced", crew.used_up.len(), 2 * crew.replicas.len()));
        }
        sizes
    }
}

impl Instance {
    fn state_name(&self) -> &'static str {
        match &self.state {
            State::Waiting => "waiting",
            State::Due => "due",
            State::Delayed => "delayed",
            State::Starting { .. } => "starting",
            State::Aborting { .. } => "aborting",
            State::Up(life) if life.ready => "up",
            State::Up(_) => "getting ready",
            State::Leaving(..) => "leaving",
            State::Remains(_, remains) => match remains.survivors {
                Survivors::Unknown => "remains",
                Survivors::Told { .. } => "remains, told",
                Survivors::Killed { .. } => "remains, killed",
            },
            State::Resting(_) => "resting",
        }
    }
}
