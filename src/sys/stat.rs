//! One line of `/proc/PID/stat`.

use super::Pid;

/// `PF_KTHREAD` of the kernel's `linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The fields of proc_pid_stat(5) that we look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub state: u8,
    pub parent: Pid,
    pub group: Pid,
    pub session: Pid,
    pub flags: u64,
    pub threads: u64,
    /// When it was started, in clock ticks since the system was.
    pub started: u64,
}

impl Stat {
    /// Reads the fields after the *last* `)`: the name before it is the program's own choice and may hold anything.
    pub fn parse(line: &[u8]) -> Option<Stat> {
        let end = line.iter().rposition(|&byte| byte == b')')?;
        let mut fields = line.get(end + 1..)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        Some(Stat {
            state: *fields.next()?.first()?,
            parent: number(fields.next()?)?,
            group: number(fields.next()?)?,
            session: number(fields.next()?)?,
            flags: number(fields.nth(2)?)?,
            threads: number(fields.nth(10)?)?,
            started: number(fields.nth(1)?)?,
        })
    }

    /// A zombie only waits to be reaped, unless just its first thread ended and others run on.
    pub fn is_living(&self) -> bool {
        match self.state {
            b'Z' | b'X' | b'x' => self.threads > 1,
            _ => true,
        }
    }

    pub fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }
}

/// A decimal number and nothing else.
pub fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &[u8] = b" S 41 42 43 34816 42 4194560 120 0 0 0 0 0 0 0 20 0 3 0 11 2 3";

    #[test]
    fn a_name_may_hold_anything() {
        let wanted =
            Stat { state: b'S', parent: 41, group: 42, session: 43, flags: 4_194_560, threads: 3, started: 11 };
        for name in [b"sleep".as_slice(), b"", b") Z 1 1 1 (", b"a b\n)", b"\xff\xfe"] {
            let line = [b"42 (", name, b")", REST].concat();
            assert_eq!(Stat::parse(&line), Some(wanted), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_torn_line_is_none() {
        let line = [b"42 (x)".as_slice(), REST].concat();
        for length in 0..30 {
            assert_eq!(Stat::parse(&line[..length]), None, "{}", line[..length].escape_ascii());
        }
    }

    #[test]
    fn a_zombie_with_threads_is_alive() {
        let stat = |state, threads| Stat { state, parent: 1, group: 1, session: 1, flags: 0, threads, started: 0 };
        assert!(!stat(b'Z', 1).is_living());
        assert!(!stat(b'X', 0).is_living());
        assert!(stat(b'Z', 2).is_living());
        assert!(stat(b'T', 1).is_living());
        assert!(stat(b'D', 1).is_living());
    }
}
