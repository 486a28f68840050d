//! Signals as Linux numbers 1–64. Not nix's enum, which has no real-time signals, and not libc's `SIGRTMIN`, which differs
//! between C libraries: real-time signals are counted from 34, as Docker and systemd do.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// signal(7), Linux on x86 and ARM.
const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    pub const HUP: Signal = Signal(1);
    pub const INT: Signal = Signal(2);
    pub const QUIT: Signal = Signal(3);
    pub const KILL: Signal = Signal(9);
    pub const USR1: Signal = Signal(10);
    pub const USR2: Signal = Signal(12);
    pub const PIPE: Signal = Signal(13);
    pub const TERM: Signal = Signal(15);
    pub const CHLD: Signal = Signal(17);
    pub const CONT: Signal = Signal(18);
    pub const STOP: Signal = Signal(19);
    pub const TSTP: Signal = Signal(20);
    pub const TTIN: Signal = Signal(21);
    pub const TTOU: Signal = Signal(22);
    pub const URG: Signal = Signal(23);
    pub const WINCH: Signal = Signal(28);
    pub const PWR: Signal = Signal(30);
    /// RTMIN+3: how systemd tells a container manager to halt.
    pub const RTMIN_3: Signal = Signal(RTMIN + 3);

    /// 1–64; `None` outside.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= RTMAX as i32 { Some(Signal(number as u8)) } else { None }
    }

    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// TERM, INT, QUIT, PWR and RTMIN+3 stop a run, whoever runs (HUP only where a terminal can hang up).
    pub const fn stops_a_run(self) -> bool {
        matches!(self, Self::TERM | Self::INT | Self::QUIT | Self::PWR | Self::RTMIN_3)
    }

    /// TSTP, TTIN and TTOU: by default they stop a process. CONT throws away those that wait for a process, and they throw away
    /// a CONT that waits (signal(7), kill(2)).
    pub const fn is_discarded_by_cont(self) -> bool {
        matches!(self, Self::TSTP | Self::TTIN | Self::TTOU)
    }

    /// What reaches us as news of somebody else, and may be passed on: not what cannot be caught (KILL, STOP), what we live
    /// by (CHLD), what the terminal means for us alone (TSTP, TTIN, TTOU), what tells a fault of our own, and what belongs to
    /// the C library (32, 33).
    pub const fn is_heard(self) -> bool {
        !matches!(self.0, 4..=9 | 11 | 13 | 17 | 19..=22 | 25 | 31 | 32 | 33)
    }

    /// Reads `TERM`, `SIGTERM`, `RTMIN+3`, `RTMAX-1` or a number. Case matters not.
    pub fn parse(text: &str) -> Option<Signal> {
        if let Ok(number) = text.parse::<i32>() {
            return Signal::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number);
        named.or_else(|| real_time(name)).or_else(|| alias(name)).map(Signal)
    }

    /// Every name that [`parse`](Self::parse) knows, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|&(name, _)| name)
    }
}

fn alias(name: &str) -> Option<u8> {
    match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "UNUSED" => Some(31),
        _ => None,
    }
}

fn real_time(name: &str) -> Option<u8> {
    let at = |base: u8, offset: &str, sign: i32| {
        let digits = offset.get(1..).unwrap_or("0");
        let offset: i32 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        let number = i32::from(base) + sign * offset;
        (i32::from(RTMIN)..=i32::from(RTMAX)).contains(&number).then(|| u8::try_from(number).ok())?
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(offset), _) if offset.is_empty() || offset.starts_with('+') => at(RTMIN, offset, 1),
        (_, Some(offset)) if offset.is_empty() || offset.starts_with('-') => at(RTMAX, offset, -1),
        _ => None,
    }
}

impl fmt::Display for Signal {
    /// `TERM`, `RTMIN+3`, or the bare number for the two that libc keeps for itself (32, 33).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => f.write_str(name),
            None if self.0 == RTMIN => f.write_str("RTMIN"),
            None if self.0 > RTMIN => write!(f, "RTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A set of signals, laid out as the kernel's `sigset_t`: bit n-1 for signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    pub const EMPTY: SignalSet = SignalSet(0);
    pub const FULL: SignalSet = SignalSet(u64::MAX);

    pub const fn bits(self) -> u64 {
        self.0
    }

    pub const fn from_bits(bits: u64) -> SignalSet {
        SignalSet(bits)
    }

    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= Self::bit(signal);
    }

    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !Self::bit(signal);
    }

    /// What is in one of the two.
    pub const fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Ascending.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        (1..=RTMAX).map(Signal).filter(move |&signal| self.contains(signal))
    }

    const fn bit(signal: Signal) -> u64 {
        1 << (signal.0 - 1)
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SignalSet {
        let mut set = SignalSet::EMPTY;
        signals.into_iter().for_each(|signal| set.insert(signal));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_its_own_name() {
        for number in 1..=64 {
            let signal = Signal::new(number).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
        }
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        assert_eq!(Signal::parse("SIGTERM"), Some(Signal::TERM));
        assert_eq!(Signal::parse("sigterm"), Some(Signal::TERM));
        assert_eq!(Signal::parse("RTMIN+3"), Some(Signal::RTMIN_3));
        assert_eq!(Signal::parse("SIGRTMAX-1"), Signal::new(63));
        for bad in
            ["", "SIG", "0", "65", "-1", "RTMIN+31", "RTMIN-1", "RTMAX+1", "TERMS", "RTMINx", "RTMIN+", "RTMIN++3"]
        {
            assert_eq!(Signal::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: SignalSet = [Signal::INT, Signal::new(64).unwrap()].into_iter().collect();
        assert_eq!(set.bits(), 1 << 1 | 1 << 63);
        assert_eq!(set.iter().map(Signal::number).collect::<Vec<_>>(), [2, 64]);
    }
}
