//! Who a child becomes and what it may use: prepared before the fork, done after it by system calls alone. The C library's own
//! functions for users and groups are not for a forked child: they reach for all threads of a process and their locks.

use super::raw::{self, call, check};
use super::{Pid, capabilities};
use crate::model::identity::{Account, Bound, Identity, Limit, Resource};
use crate::model::{Signal, Stage};
use std::io;
use std::ptr;
use std::sync::OnceLock;

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
pub(super) use libc::SYS_setgroups as SETGROUPS;
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
pub(super) use libc::SYS_setgroups32 as SETGROUPS;
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::{SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::{SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID};

/// What this process itself is and may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub nice: i32,
    /// 0 where there is no telling.
    pub oom_score_adjust: i32,
    /// The effective capabilities, bit n for number n (capabilities(7)).
    pub capabilities: u64,
}

impl Own {
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_NICE: u32 = 23;
    pub const SYS_RESOURCE: u32 = 24;

    /// Without /proc root is taken to have every capability, and nobody else any.
    pub fn now() -> Own {
        // SAFETY: neither call has preconditions or can fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        // SAFETY: two integers; 0 is the calling process. -1 may be an answer or an error, which asking for ourselves never is.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let score = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
        let oom_score_adjust = score.and_then(|score| score.trim().parse().ok()).unwrap_or(0);
        let told = std::fs::read_to_string("/proc/self/status").ok();
        let line = told.as_ref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("CapEff:")));
        let capabilities = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        let capabilities = capabilities.unwrap_or(if uid == 0 { u64::MAX } else { 0 });
        Own { uid, gid, groups: groups().unwrap_or_default(), nice, oom_score_adjust, capabilities }
    }

    pub fn may(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }
}

/// Our effective user.
pub fn own_user() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Our effective group.
pub(super) fn own_group() -> u32 {
    // SAFETY: getegid has no preconditions and cannot fail.
    unsafe { libc::getegid() }
}

/// The soft limit of open files that exeunt was started with, once [`raise_descriptors`] has raised it.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises our own soft limit of open files to the hard one (setrlimit(2)): exeunt may need some for each of thousands of processes,
/// and has no use for select(2), for which soft limits are low. To be called before anything is started; children get the soft
/// limit that was there before. Where it is refused everything stays as it is.
pub fn raise_descriptors() {
    let Ok(limit) = own_limit(Resource::Nofile) else { return };
    let raised = libc::rlimit64 { rlim_cur: limit.rlim_max, ..limit };
    if limit.rlim_cur < limit.rlim_max && set_limit(Resource::Nofile, &raised).is_ok() {
        let _set_once = STARTED_WITH.set(limit.rlim_cur);
    }
}

/// The soft and the hard limit that a child inherits; `u64::MAX` for no limit.
pub fn limits_of(resource: Resource) -> Option<(u64, u64)> {
    own_limit(resource).ok().map(|limit| (limit.rlim_cur, limit.rlim_max))
}

/// An [`Identity`] as the child needs it.
pub(super) struct Prepared {
    /// The text for /proc/self/oom_score_adj.
    oom_score: Option<Vec<u8>>,
    nice: Option<i32>,
    limits: Vec<(Resource, libc::rlimit64)>,
    umask: Option<libc::mode_t>,
    /// `None` also where they are what they shall be: it takes a privilege to set them even to what they are.
    groups: Option<Vec<libc::gid_t>>,
    gid: Option<libc::gid_t>,
    uid: Option<libc::uid_t>,
    /// It is another than ours, so that none of our capabilities goes with it.
    changes_user: bool,
    no_new_privileges: bool,
    /// The signal, and who the parent must be.
    parent_death: Option<(Signal, Pid)>,
}

impl Prepared {
    pub fn new(identity: &Identity) -> io::Result<Prepared> {
        let limits = identity.limits.iter().map(|limit| Ok((limit.resource, numbers(limit)?)));
        let mut limits = limits.collect::<io::Result<Vec<_>>>()?;
        if STARTED_WITH.get().is_some() && identity.limit(Resource::Nofile).is_none() {
            limits.push((Resource::Nofile, own_limit(Resource::Nofile)?));
        }
        Ok(Prepared {
            oom_score: identity.oom_score_adjust.map(|score| score.to_string().into_bytes()),
            nice: identity.nice,
            limits,
            umask: identity.umask,
            groups: identity.groups.as_deref().map(|groups| changed(groups, identity.gid())).transpose()?.flatten(),
            gid: identity.gid(),
            uid: identity.uid(),
            changes_user: identity.uid().is_some_and(|uid| uid != own_user()),
            no_new_privileges: identity.no_new_privileges,
            parent_death: identity.parent_death.map(|signal| (signal, raw::own_pid())),
        })
    }
}

/// In a forked child. What needs privileges comes before the user is changed, and what the kernel undoes with such a change
/// comes later, in [`die_with_parent`].
pub(super) fn take_on(who: &Prepared) -> Result<(), (Stage, io::Error)> {
    let at = |stage: Stage| move |error: io::Error| (stage, error);
    if let Some(score) = &who.oom_score {
        write_oom_score(score).map_err(at(Stage::OomScore))?;
    }
    if let Some(nice) = who.nice {
        // SAFETY: three integers; 0 is the calling process.
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map_err(at(Stage::Nice))?;
    }
    for (resource, limit) in &who.limits {
        set_limit(*resource, limit).map_err(at(Stage::Limit(*resource)))?;
    }
    if let Some(mask) = who.umask {
        // SAFETY: umask takes an integer and cannot fail.
        unsafe { libc::umask(mask) };
    }
    if let Some(groups) = &who.groups {
        // SAFETY: a live array of that many group numbers.
        let told = unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) };
        check(told).map_err(at(Stage::Groups))?;
    }
    if let Some(gid) = who.gid {
        // SAFETY: three integers.
        check(unsafe { libc::syscall(SETRESGID, gid, gid, gid) }).map_err(at(Stage::Group))?;
    }
    if let Some(uid) = who.uid {
        // SAFETY: three integers.
        check(unsafe { libc::syscall(SETRESUID, uid, uid, uid) }).map_err(at(Stage::User))?;
    }
    if who.changes_user {
        // The kernel does so for root alone, not for the inheritable ones, and not at all where SECBIT_NO_SETUID_FIXUP is set
        // (capabilities(7)): otherwise the program could become whom we can become.
        capabilities::clear().map_err(at(Stage::User))?;
    }
    if who.no_new_privileges {
        let (yes, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
        // SAFETY: integers, as prctl(2) wants them for this option.
        let told = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) };
        check(told).map_err(at(Stage::Privileges))?;
    }
    Ok(())
}

/// In a forked child, after every change of user: that resets it (prctl(2)). A parent that died before it could be asked for
/// is gone all the same, so who the parent is now decides.
pub(super) fn die_with_parent(who: &Prepared) -> io::Result<()> {
    let Some((signal, parent)) = who.parent_death else { return Ok(()) };
    // SAFETY: an option and a number.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.number().unsigned_abs())) })?;
    // SAFETY: getppid has no preconditions and cannot fail.
    let now = unsafe { libc::getppid() };
    if now == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

fn write_oom_score(score: &[u8]) -> io::Result<()> {
    let path = c"/proc/self/oom_score_adj";
    // SAFETY: a C string; no mode is needed without O_CREAT. Neither call allocates or locks.
    let file = check(unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    // SAFETY: a live buffer of that length.
    let told = check(unsafe { libc::write(file, score.as_ptr().cast(), score.len()) });
    // SAFETY: it was opened here, and nobody else has its number.
    unsafe { libc::close(file) };
    told.map(drop)
}

fn set_limit(resource: Resource, limit: &libc::rlimit64) -> io::Result<()> {
    let nowhere = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: 0 is the calling process, the limit is live, and the old one is not asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, number(resource), ptr::from_ref(limit), nowhere) }).map(drop)
}

/// Both numbers, what is inherited filled in.
fn numbers(limit: &Limit) -> io::Result<libc::rlimit64> {
    let own = match (limit.soft, limit.hard) {
        (Bound::Inherited, _) | (_, Bound::Inherited) => own_limit(limit.resource)?,
        (Bound::At(_) | Bound::Unlimited, Bound::At(_) | Bound::Unlimited) => {
            libc::rlimit64 { rlim_cur: 0, rlim_max: 0 }
        }
    };
    let of = |bound: Bound, inherited: u64| match bound {
        Bound::Inherited => inherited,
        Bound::At(number) => number,
        Bound::Unlimited => libc::RLIM64_INFINITY,
    };
    let (soft, hard) = (of(limit.soft, own.rlim_cur), of(limit.hard, own.rlim_max));
    let soft = if limit.soft == Bound::Inherited { soft.min(hard) } else { soft };
    Ok(libc::rlimit64 { rlim_cur: soft, rlim_max: hard })
}

/// Our own, but for a soft limit that we raised for ourselves alone.
fn own_limit(resource: Resource) -> io::Result<libc::rlimit64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let nothing = ptr::null::<libc::rlimit64>();
    // SAFETY: nothing is set, and the call fills a live structure.
    call(|| unsafe { libc::syscall(libc::SYS_prlimit64, 0, number(resource), nothing, &raw mut limit) })?;
    if let (Resource::Nofile, Some(&soft)) = (resource, STARTED_WITH.get()) {
        limit.rlim_cur = soft.min(limit.rlim_max);
    }
    Ok(limit)
}

fn number(resource: Resource) -> libc::c_long {
    let number = match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Rss => libc::RLIMIT_RSS,
        Resource::Rtprio => libc::RLIMIT_RTPRIO,
        Resource::Rttime => libc::RLIMIT_RTTIME,
        Resource::Sigpending => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    libc::c_long::from(number)
}

/// The numbers, unless they are already ours: then even a process without privileges may have them. The main group does
/// not count; whether it is listed again makes no difference.
fn changed(wanted: &[Account], gid: Option<u32>) -> io::Result<Option<Vec<libc::gid_t>>> {
    let wanted = wanted.iter().map(|group| group.id).collect::<Vec<_>>();
    let main = gid.unwrap_or_else(own_group);
    let plain = |groups: &[u32]| {
        let mut plain = groups.iter().copied().filter(|&group| group != main).collect::<Vec<_>>();
        plain.sort_unstable();
        plain.dedup();
        plain
    };
    Ok((plain(&wanted) != plain(&groups()?)).then_some(wanted))
}

/// The supplementary groups of this process.
pub(super) fn groups() -> io::Result<Vec<libc::gid_t>> {
    // SAFETY: with no room given it only counts them.
    let count = call(|| unsafe { libc::getgroups(0, ptr::null_mut()) })?;
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: there is room for as many as were counted; nothing in this process changes them meanwhile.
    call(|| unsafe { libc::getgroups(count, groups.as_mut_ptr()) })?;
    Ok(groups)
}
