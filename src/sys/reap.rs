use super::{Pid, raw};
use crate::model::process::Usage;
use crate::model::{ExitStatus, Signal};
use std::time::Duration;

/// A child that died and is reaped: its number may be somebody else's from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    pub pid: Pid,
    pub status: ExitStatus,
    pub usage: Usage,
}

/// Errors that make no sense and are not believed.
const REFUSALS: u32 = 3;

/// `wait4(-1, …, WNOHANG)`: one dead child, if there is any. Not nix's `waitpid`, which loses children killed by real-time signals.
pub fn reap_one() -> Option<Reaped> {
    // No error but ECHILD is known here (wait(2)). Should there be another, the dead are not forgotten for one refusal.
    let mut refusals = 0;
    loop {
        let mut status = 0;
        // SAFETY: rusage is plain integers, for which all zeros is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // `__WALL`: children from before our exec may have been cloned with another exit signal than CHLD.
        // SAFETY: both pointers are to live values that the call fills.
        let pid = raw::call(|| unsafe { libc::wait4(-1, &mut status, libc::WNOHANG | libc::__WALL, &mut usage) });
        match pid {
            Ok(pid @ 1..) => {
                // A stop is not an exit. The kernel tells stops only of those we trace, and we trace nobody.
                if let Some(status) = decode(status) {
                    return Some(Reaped { pid, status, usage: used(&usage) });
                }
            }
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() != Some(libc::ECHILD) && refusals < REFUSALS => refusals += 1,
            // ECHILD: there is nobody to wait for.
            Err(_) => return None,
        }
    }
}

/// There is not even a zombie.
pub(super) fn is_childless() -> bool {
    // SAFETY: siginfo_t is plain integers, for which all zeros is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the call fills a live siginfo; WNOWAIT leaves the child as it is.
    let told = raw::call(|| unsafe { libc::waitid(libc::P_ALL, 0, &mut info, how) });
    told.is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// The raw status of wait(2): `None` if it tells no end.
fn decode(status: i32) -> Option<ExitStatus> {
    if libc::WIFEXITED(status) {
        return u8::try_from(libc::WEXITSTATUS(status)).ok().map(ExitStatus::Exited);
    }
    if !libc::WIFSIGNALED(status) {
        return None;
    }
    let signal = Signal::new(libc::WTERMSIG(status))?;
    Some(ExitStatus::Signalled { signal, core: libc::WCOREDUMP(status) })
}

fn used(usage: &libc::rusage) -> Usage {
    Usage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        // Linux counts it in KiB (getrusage(2)).
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_statuses_are_read_as_the_kernel_writes_them() {
        assert_eq!(decode(0), Some(ExitStatus::Exited(0)));
        assert_eq!(decode(255 << 8), Some(ExitStatus::Exited(255)));
        let signalled = |number, core| Some(ExitStatus::Signalled { signal: Signal::new(number).unwrap(), core });
        assert_eq!(decode(9), signalled(9, false));
        assert_eq!(decode(11 | 0x80), signalled(11, true));
        assert_eq!(decode(37), signalled(37, false));
        assert_eq!(decode(64 | 0x80), signalled(64, true));
        assert_eq!(decode(0x137f), None, "stopped by signal 19");
        assert_eq!(decode(0xffff), None, "continued");
    }
}
