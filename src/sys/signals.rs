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
    /// Those that another process or the kernel sent: what comes from our own writes (PIPE, XFSZ) is left out.
    fn pending(&mut self) -> Vec<Signal> {
        let mut bytes = [0u8; RECORD * 16];
        let mut heard = Heard::default();
        while let Ok(length @ 1..) = fds::read(self.fd.as_fd(), &mut bytes) {
            bytes
                .chunks_exact(RECORD)
                .take(length / RECORD)
                .filter_map(Record::of)
                .for_each(|record| heard.add(record));
        }
        self.of_the_kernel = heard.only_from_kernel().filter(|&signal| self.typed.contains(signal)).collect();
        heard.from_kernel.union(heard.from_processes).iter().collect()
    }
}

/// The signals of one call.
#[derive(Debug, Default)]
struct Heard {
    from_kernel: SignalSet,
    from_processes: SignalSet,
}

impl Heard {
    fn add(&mut self, record: Record) {
        match record.origin {
            Origin::Ourselves => {}
            Origin::Kernel => self.from_kernel.insert(record.signal),
            Origin::Process => self.from_processes.insert(record.signal),
        }
    }

    /// A signal can come twice in one call, since it may come again as soon as it has been read. If a process sent one of
    /// the two, that one must be heard as such, or it would be lost.
    fn only_from_kernel(&self) -> impl Iterator<Item = Signal> {
        self.from_kernel.iter().filter(|&signal| !self.from_processes.contains(signal))
    }
}

/// The size of the kernel's `struct signalfd_siginfo` (signalfd(2)).
const RECORD: usize = 128;

/// What a record of signalfd(2) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    signal: Signal,
    origin: Origin,
}

/// Where a signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A write of our own, to a pipe without a reader or over the limit of a file's size.
    Ourselves,
    /// The terminal and its like: the signal was sent by no process.
    Kernel,
    Process,
}

impl Record {
    fn of(bytes: &[u8]) -> Option<Record> {
        /// Offsets of the signal's number, of how it came, and of its sender.
        const NUMBER: usize = 0;
        const CODE: usize = 8;
        const SENDER: usize = 12;
        let field = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes);
        let signal = Signal::new(field(NUMBER)?)?;
        let origin = match (field(SENDER)? == raw::own_pid(), field(CODE)? == libc::SI_KERNEL) {
            (true, _) => Origin::Ourselves,
            (false, true) => Origin::Kernel,
            (false, false) => Origin::Process,
        };
        Some(Record { signal, origin })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(signal: Signal, code: i32, sender: i32) -> Record {
        let mut bytes = [0; RECORD];
        for (at, value) in [(0, signal.number()), (8, code), (12, sender)] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        Record::of(&bytes).unwrap()
    }

    #[test]
    fn a_signal_of_a_process_is_heard_beside_the_same_one_of_the_terminal() {
        let typed = record(Signal::INT, libc::SI_KERNEL, 0);
        let sent = record(Signal::INT, libc::SI_USER, raw::own_pid() + 1);
        let ours = record(Signal::INT, libc::SI_USER, raw::own_pid());
        let only_from_kernel = |records: &[Record]| {
            let mut heard = Heard::default();
            records.iter().for_each(|&record| heard.add(record));
            heard.only_from_kernel().collect::<Vec<_>>()
        };
        assert_eq!(only_from_kernel(&[typed]), [Signal::INT]);
        assert_eq!(only_from_kernel(&[typed, ours]), [Signal::INT]);
        for records in [[typed, sent], [sent, typed]] {
            assert_eq!(only_from_kernel(&records), []);
        }
    }
}
