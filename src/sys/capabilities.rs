//! The capabilities of the calling thread (capabilities(7)). Nothing here allocates or locks, so a forked child may call all of it.

use super::raw::check;
use std::io;

/// Those that the kernel drops when the file-system user is no longer root (`CAP_FS_MASK`): they override the permissions, the
/// ownership or the flags of files.
pub const OF_FILES: u64 = bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(9) | bit(27) | bit(32);
/// Those that make a process as good as root where files are concerned: [`OF_FILES`], and changing group or user, tracing
/// every process, and administering the system.
pub const OVER_OTHERS: u64 = OF_FILES | bit(6) | bit(7) | bit(19) | bit(21);

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

const fn bit(number: u32) -> u64 {
    1 << number
}

/// Three of a thread's sets; bit n is the capability with number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    /// 0 is the calling thread.
    pid: libc::c_int,
}

/// Half of each set: `__user_cap_data_struct` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Sets {
    /// # Errors
    ///
    /// Of capget(2); a sandbox may forbid it.
    pub fn now() -> io::Result<Sets> {
        let mut header = Header { version: VERSION, pid: 0 };
        let mut halves = [Half::default(); 2];
        // SAFETY: both structures are live and have the layout that this version asks for.
        check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
        let [low, high] = halves;
        let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Ok(Sets {
            effective: join(low.effective, high.effective),
            permitted: join(low.permitted, high.permitted),
            inheritable: join(low.inheritable, high.inheritable),
        })
    }

    /// Makes them the calling thread's. Lowering them needs no privilege.
    ///
    /// # Errors
    ///
    /// Of capset(2).
    pub fn set(self) -> io::Result<()> {
        let mut header = Header { version: VERSION, pid: 0 };
        let half = |shift: u32| {
            // The other half of each set is cut off on purpose.
            let part = |set: u64| (set >> shift & u64::from(u32::MAX)) as u32;
            Half {
                effective: part(self.effective),
                permitted: part(self.permitted),
                inheritable: part(self.inheritable),
            }
        };
        let halves = [half(0), half(32)];
        // SAFETY: both structures are live and have the layout that this version asks for.
        check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
    }
}

/// Takes every capability from the calling thread: ambient, inheritable, permitted and effective. The bounding set stays.
///
/// # Errors
///
/// Of capset(2), where a sandbox forbids it and something is left. A kernel without ambient capabilities (before 4.3) has
/// none to clear.
pub fn clear() -> io::Result<()> {
    let (unused, option) = (0 as libc::c_ulong, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong);
    // An ambient capability is always an inheritable one too (capabilities(7)), so clearing those takes it away where
    // this call is refused.
    // SAFETY: five integers, the last three 0 as prctl(2) wants them for this option.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, option, unused, unused, unused) };
    match Sets::default().set() {
        Err(error) if Sets::now().ok() != Some(Sets::default()) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether we have more rights over files or users than an ordinary process of our user.
pub fn are_privileged() -> bool {
    super::identity::own_user() == 0 || Sets::now().is_ok_and(|sets| sets.effective & OVER_OTHERS != 0)
}
