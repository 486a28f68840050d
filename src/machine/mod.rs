//! The functional core: pure state machines. No system, no clock, no random but a seed.

pub mod action;
pub mod event;
pub mod report;

pub use action::{Action, Actions, DeadLetter, DeathReason, LadderStep, Note, StopCause};
pub use event::{Event, Meaning, SourceEnd};
pub use report::Report;

use crate::model::{Time, plan::Plan};
use std::rc::Rc;

pub struct Machine {
    _plan: Rc<Plan>,
}

impl Machine {
    pub fn new(plan: Rc<Plan>, _seed: u64) -> Machine {
        Machine { _plan: plan }
    }
    pub fn handle(&mut self, _now: Time, _event: Event, _actions: &mut Actions) {}
    pub fn deadline(&self) -> Option<Time> {
        None
    }
}
