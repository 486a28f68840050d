use super::init::Inherited;
use super::raw;
use crate::model::{Signal, SignalSet};
use signal_hook_mio::v1_0::Signals as SelfPipe;
use std::io;

/// The self-pipe of signal-hook-mio: every signal that can be caught, but TSTP, TTIN, TTOU and those that mean a fault of our own.
pub struct Signals {
    pipe: SelfPipe,
}

impl Signals {
    /// Catches the signals, those that were inherited as ignored too, and then unblocks everything: as PID 1
    /// [`first_steps`](super::init::first_steps) holds signals back until here. Errors are those of socketpair(2).
    pub fn new(_inherited: &Inherited) -> io::Result<Signals> {
        let pipe = SelfPipe::new(std::iter::empty::<i32>())?;
        for signal in caught() {
            match pipe.add_signal(signal.number()) {
                // Some real-time signals belong to what is beneath us: 34 to musl, 64 to an emulator such as valgrind.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && signal.number() >= 34 => {}
                told => told?,
            }
        }
        raw::set_mask(SignalSet::EMPTY.bits());
        Ok(Signals { pipe })
    }

    /// Signals that came since the last call, each at most once, in ascending order. CHLD is among them.
    pub fn pending(&mut self) -> Vec<Signal> {
        let mut signals: Vec<Signal> = self.pipe.pending().filter_map(Signal::new).collect();
        signals.sort_unstable();
        signals
    }

    /// For registering with mio.
    pub fn source(&mut self) -> &mut dyn mio::event::Source {
        &mut self.pipe
    }
}

/// What the self-pipe catches, in ascending order.
fn caught() -> impl Iterator<Item = Signal> {
    SignalSet::FULL.iter().filter(|signal| match signal.number() {
        libc::SIGKILL | libc::SIGSTOP => false,
        // A person's Ctrl+Z stops us, as it stops any program.
        libc::SIGTSTP => false,
        // Ignored by `first_steps`: a handler would make a write to the terminal from the background spin, and would be
        // one wake-up for each broken pipe.
        libc::SIGTTIN | libc::SIGTTOU | libc::SIGPIPE | libc::SIGXFSZ => false,
        // A fault of our own: going on after it would run with broken memory.
        libc::SIGILL | libc::SIGTRAP | libc::SIGABRT | libc::SIGBUS | libc::SIGFPE | libc::SIGSEGV | libc::SIGSYS => {
            false
        }
        // libc's own.
        32 | 33 => false,
        _ => true,
    })
}
