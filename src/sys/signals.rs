use super::init::Inherited;
use super::{fds, raw};
use crate::model::{Signal, SignalSet};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use signal_hook_mio::v1_0::Signals as SelfPipe;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How we hear of signals.
pub struct Signals(Ear);

enum Ear {
    /// The self-pipe of signal-hook-mio: every signal that can be caught, but TSTP, TTIN, TTOU and those that mean a fault of our own.
    ///
    /// Never dropped: it would take back what it registered, each signal by itself and at the cost of all, just before the
    /// process ends; and the handlers have to stand until then.
    Pipe(ManuallyDrop<SelfPipe>),
    Descriptor(Descriptor),
}

/// signalfd(2), for an init, which hears of more, and lives so short at times that to put up sixty handlers would be half of its
/// work. All that it hears of stays blocked. Those that mean a fault of our own, or something of our terminal or our pipes, when the
/// kernel sends them, are somebody's word like all others when somebody sends them; a true fault ends us in spite of the mask.
struct Descriptor {
    fd: OwnedFd,
    /// Of these it is told whether nobody sent them.
    typed: SignalSet,
    of_the_kernel: SignalSet,
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
        Ok(Signals(Ear::Pipe(ManuallyDrop::new(pipe))))
    }

    /// Hears of those signals too that [`new`](Signals::new) leaves alone, and of `more`; of these it is known whether they
    /// are [the kernel's](Signals::of_the_kernel). Blocked as they are, TTIN and TTOU are to the terminal what ignored ones are: it
    /// lets us write, and sends none. Errors are those of signalfd(2).
    pub fn of_an_init(more: SignalSet) -> io::Result<Signals> {
        let typed: SignalSet = rest().chain(more.iter()).collect();
        let set: SignalSet = caught().filter(|&signal| !is_of_libc(signal)).chain(typed.iter()).collect();
        let fd = raw::signalfd(set.bits())?;
        raw::set_mask(set.bits());
        Ok(Signals(Ear::Descriptor(Descriptor { fd, typed, of_the_kernel: SignalSet::EMPTY })))
    }

    /// Those of the last [`pending`](Signals::pending) that nobody sent: Ctrl+C and its like, which the terminal has told the whole
    /// foreground group.
    pub fn of_the_kernel(&self) -> SignalSet {
        match &self.0 {
            Ear::Pipe(_) => SignalSet::EMPTY,
            Ear::Descriptor(descriptor) => descriptor.of_the_kernel,
        }
    }

    /// Signals that came since the last call, each at most once, in ascending order. CHLD is among them.
    pub fn pending(&mut self) -> Vec<Signal> {
        match &mut self.0 {
            Ear::Pipe(pipe) => {
                let mut signals: Vec<Signal> = pipe.pending().filter_map(Signal::new).collect();
                signals.sort_unstable();
                signals
            }
            Ear::Descriptor(descriptor) => descriptor.pending(),
        }
    }

    /// Whether this signal has come and is still to be told by [`pending`](Signals::pending). Of an init only: others hear of
    /// signals by handlers.
    pub fn waits(&self, signal: Signal) -> bool {
        SignalSet::from_bits(raw::pending()).contains(signal)
    }

    /// To be told by `poll` when there is something. Errors are those of epoll_ctl(2).
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.0 {
            Ear::Pipe(pipe) => registry.register(&mut **pipe, token, Interest::READABLE),
            Ear::Descriptor(descriptor) => {
                registry.register(&mut SourceFd(&descriptor.fd.as_raw_fd()), token, Interest::READABLE)
            }
        }
    }
}

impl Descriptor {
    /// Those that somebody else sent: what comes from our own writes (PIPE, XFSZ) is nobody's word.
    fn pending(&mut self) -> Vec<Signal> {
        /// The kernel's `struct signalfd_siginfo`, and in it the number of the signal, how it came, and its sender.
        const RECORD: usize = 128;
        const NUMBER: usize = 0;
        const CODE: usize = 8;
        const SENDER: usize = 12;
        self.of_the_kernel = SignalSet::EMPTY;
        let mut records = [0u8; RECORD * 16];
        let mut signals = SignalSet::EMPTY;
        while let Ok(length @ 1..) = fds::read(self.fd.as_fd(), &mut records) {
            let field = |record: &[u8], at: usize| record.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
            for record in records.chunks_exact(RECORD).take(length / RECORD) {
                let signal = field(record, NUMBER).and_then(Signal::new);
                let foreign = field(record, SENDER) != Some(raw::own_pid());
                let Some(signal) = signal.filter(|_| foreign) else { continue };
                signals.insert(signal);
                if self.typed.contains(signal) && field(record, CODE) == Some(libc::SI_KERNEL) {
                    self.of_the_kernel.insert(signal);
                }
            }
        }
        signals.iter().collect()
    }
}

/// What only an init wants to hear of, beside what a self-pipe catches.
fn rest() -> impl Iterator<Item = Signal> {
    let numbers = [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGPIPE,
        libc::SIGXFSZ,
        libc::SIGTSTP,
    ];
    numbers.into_iter().filter_map(Signal::new)
}

/// musl's own third one, by which it has all threads do something at once.
fn is_of_libc(signal: Signal) -> bool {
    cfg!(target_env = "musl") && signal.number() == 34
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
