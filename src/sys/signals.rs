use super::init::Inherited;
use crate::model::Signal;
use std::io;

/// The self-pipe of signal-hook-mio: every signal that can be caught, but TSTP, TTIN, TTOU and those that mean a fault of our own.
pub struct Signals {
    // signal_hook_mio::v1_0::Signals
}

impl Signals {
    pub fn new(_inherited: &Inherited) -> io::Result<Signals> {
        todo!()
    }

    /// Signals that came since the last call, each at most once, in ascending order. CHLD is among them.
    pub fn pending(&mut self) -> Vec<Signal> {
        todo!()
    }

    /// For registering with mio.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        todo!()
    }
}
