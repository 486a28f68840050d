//! A user with whose rights files are opened: the file-system user and group, the groups and the capabilities of the calling
//! thread, taken for a moment. These belong to a thread (credentials(7)); the C library's functions would change them in all.
//!
//! Taking them and giving them back neither allocates nor locks, so a forked child may do both.

use super::capabilities::{self, Sets};
use super::identity::{self, SETGROUPS};
use super::raw::check;
use super::trust;
use crate::model::Identity;
use std::io;
use std::sync::OnceLock;

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_setfsgid as SETFSGID, SYS_setfsuid as SETFSUID};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setfsgid32 as SETFSGID, SYS_setfsuid32 as SETFSUID};

/// A user other than our own, as whom a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUser {
    uid: u32,
    gid: u32,
    /// `None`: our own.
    groups: Option<Vec<u32>>,
    own: Own,
    /// An owner that our user namespace does not know; see [`trust::outside`].
    outside: Option<u32>,
}

/// What is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether this process may be traced and dump core (`PR_GET_DUMPABLE`), as it was before any change of rights: each
    /// change clears that.
    dumpable: libc::c_int,
}

impl FileUser {
    /// The user of a program; `None` where that is our own, or none is said.
    pub fn of(program: &Identity) -> Option<FileUser> {
        let (uid, own) = (program.uid()?, identity::own_user());
        if uid == own {
            return None;
        }
        let gid = identity::own_group();
        let own = Own { uid: own, gid, groups: identity::groups().unwrap_or_default(), dumpable: dumpable() };
        let groups = program.groups.as_ref().map(|groups| groups.iter().map(|group| group.id).collect());
        Some(FileUser { uid, gid: program.gid().unwrap_or(gid), groups, own, outside: trust::outside() })
    }

    /// The one user among these programs that is not our own. `None` where there is none, or where there are several.
    pub fn only_one_of<'a>(programs: impl IntoIterator<Item = &'a Identity>) -> Option<FileUser> {
        let mut users = programs.into_iter().filter_map(FileUser::of);
        let first = users.next()?;
        users.all(|other| other.uid == first.uid).then_some(first)
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    pub fn gid(&self) -> u32 {
        self.gid
    }

    #[cfg(test)]
    pub(super) fn dumpable_before(&self) -> libc::c_int {
        self.own.dumpable
    }

    pub(super) fn outside(&self) -> Option<u32> {
        self.outside
    }

    /// Takes this user's rights over files for the calling thread, until the answer is dropped. A thread that has them already keeps
    /// them: then nothing is changed, now or later.
    ///
    /// # Errors
    ///
    /// EPERM where we may not; then nothing is changed. Else of setgroups(2) and capset(2).
    pub(super) fn assume(&self) -> io::Result<Assumed<'_>> {
        // SAFETY: all bits set is no user: the call only answers whose rights this thread has.
        if unsafe { libc::syscall(SETFSUID, u32::MAX) } as u32 == self.uid {
            return Ok(Assumed { user: None, capabilities: Sets::default(), death_signal: 0 });
        }
        let capabilities = Sets::now()?;
        // From here on dropping it gives back whatever was taken.
        let assumed = Assumed { user: Some(self), capabilities, death_signal: death_signal() };
        if let Some(groups) = &self.groups {
            set_groups(groups)?;
        }
        set_fs(SETFSGID, self.gid)?;
        set_fs(SETFSUID, self.uid)?;
        // The kernel does so by itself only for root, and not where SECBIT_NO_SETUID_FIXUP is set.
        Sets { effective: capabilities.effective & !capabilities::OF_FILES, ..capabilities }.set()?;
        Ok(assumed)
    }
}

/// The rights of another user, held by this thread.
pub(super) struct Assumed<'a> {
    /// `None` where the thread had them before.
    user: Option<&'a FileUser>,
    capabilities: Sets,
    death_signal: libc::c_int,
}

impl Drop for Assumed<'_> {
    /// Going back to the effective user and to capabilities that are permitted is never refused (setfsuid(2), capset(2)).
    fn drop(&mut self) {
        let Some(user) = self.user else { return };
        let own = &user.own;
        let _never_refused = set_fs(SETFSUID, own.uid).and_then(|()| set_fs(SETFSGID, own.gid));
        let _never_refused = self.capabilities.set();
        if user.groups.is_some() {
            let _taken_with_the_same_right = set_groups(&own.groups);
        }
        // Both were cleared by the kernel.
        // SAFETY: each takes an option and an integer.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(own.dumpable == 1));
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(self.death_signal.unsigned_abs()));
        }
    }
}

/// The call answers the number before it, and says nothing of a failure: so it is asked again, with one that is never taken.
fn set_fs(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: both calls take an integer; all bits set is no user and no group.
    let now = unsafe {
        libc::syscall(call, id);
        libc::syscall(call, u32::MAX)
    };
    if now as u32 == id { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: a live array of that many group numbers.
    check(unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) }).map(drop)
}

/// What the kernel sends this thread when our parent dies, 0 for nothing.
fn death_signal() -> libc::c_int {
    let mut signal = 0;
    // SAFETY: PR_GET_PDEATHSIG writes one int through the pointer.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    signal
}

/// As it is before the first change: nobody can change rights without having asked for a [`FileUser`].
fn dumpable() -> libc::c_int {
    static BEFORE: OnceLock<libc::c_int> = OnceLock::new();
    // SAFETY: PR_GET_DUMPABLE takes no argument and answers an integer.
    *BEFORE.get_or_init(|| unsafe { libc::prctl(libc::PR_GET_DUMPABLE) })
}
