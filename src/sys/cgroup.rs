//! Control groups of version 2 (cgroups(7)): one for each program, where we may make some. No process leaves its group by forking or by a
//! session of its own, so that the group knows all that came of a program, and one word kills them all. Nothing is limited here.
//!
//! Where none can be made, because the file system is read-only, not there, or not ours, nothing is said: sessions are what
//! all promises rest on.

use super::members::{self, Member};
use super::{Pid, permit, raw, stat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const PREFIX: &str = "exeunt-";
/// Another exeunt may have our number, in a pid namespace of its own.
const NAMESAKES: u32 = 16;

/// Where the groups of a run are.
#[derive(Debug)]
pub struct Groups {
    directory: PathBuf,
    /// The directory once more: its lock says that we live, whoever else knows himself by our number.
    _lock: Option<File>,
    left: Vec<Left>,
}

/// The groups of a run that was killed, where some of its processes live on.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// The directory of all of them: `cgroup.kill` in it ends them.
    pub directory: PathBuf,
    /// Each process: the name of its group, which is that of its instance, its pid and the name of its program.
    pub processes: Vec<(String, Pid, String)>,
}

/// The group of one incarnation. When dropped it is removed, if it is empty.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Groups {
    /// Makes a directory for our groups in our own one. `None` where that is not possible, or `cgroup.kill` (Linux 5.14) is missing.
    ///
    /// `file`: the configuration file of the run. The directory's name carries a mark of its path, so that a later run of
    /// the same file can tell what this one leaves if it is killed.
    pub fn probe(file: Option<&Path>) -> Option<Groups> {
        let home = Own::read()?.home(None)?;
        let mark = file.and_then(mark);
        let inhabited = remove_what_was_left(&home);
        let is_marked = |path: &PathBuf| mark.as_deref().is_some_and(|mark| path.extension() == Some(OsStr::new(mark)));
        let left = inhabited.into_iter().filter(is_marked).filter_map(Left::in_directory).collect();
        let name = format!("{PREFIX}{}", raw::own_pid());
        let numbered = (2..=NAMESAKES).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let marked = |name: String| mark.as_ref().map_or(name.clone(), |mark| format!("{name}.{mark}"));
        let mut groups = names.find_map(|name| claim(home.join(marked(name))))?;
        groups.left = left;
        groups.directory.join("cgroup.kill").exists().then_some(groups)
    }

    /// What killed runs of the same file left, with the processes that still live there. To be asked once.
    pub fn take_left(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }

    /// A fresh, empty group.
    pub fn make(&self, name: &str) -> io::Result<Group> {
        match self.make_numbered(name) {
            // Whoever tidied up took ours for one that was left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&self.directory)?;
                self.make_numbered(name)
            }
            made => made,
        }
    }

    /// Somebody may still live in a group of that name, left on purpose or unkillable.
    fn make_numbered(&self, name: &str) -> io::Result<Group> {
        let mut path = self.directory.join(name);
        for number in 2..=NAMESAKES {
            permit()?;
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = self.directory.join(format!("{name}-{number}"));
                }
                made => return made.map(|()| Group { path }),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove_tree(&self.directory);
    }
}

impl Group {
    /// What `clone3` wants.
    pub fn open(&self) -> io::Result<OwnedFd> {
        permit()?;
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map(OwnedFd::from)
    }

    /// Removes it if nobody is in it, which the kernel alone decides, and in one call. False where somebody is, or it has groups of its
    /// own, or there is no telling.
    pub fn is_left(&self) -> bool {
        permit().is_ok() && fs::remove_dir(&self.path).is_ok()
    }

    /// Everybody in it and in groups that it made itself. An error does not mean nobody.
    pub fn members(&self) -> io::Result<Vec<Member>> {
        if !is_populated(&self.path)? {
            return Ok(Vec::new());
        }
        let mut pids = Vec::new();
        collect(&self.path, &mut pids)?;
        Ok(pids.into_iter().filter_map(members::named).collect())
    }

    /// SIGKILL for everybody at once; nobody can fork away from it.
    pub fn kill(&self) -> io::Result<()> {
        permit()?;
        OpenOptions::new().write(true).open(self.path.join("cgroup.kill"))?.write_all(b"1")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

/// What the kernel says of our own groups.
pub(super) struct Own {
    groups: Vec<u8>,
    mounts: Vec<u8>,
}

impl Own {
    pub fn read() -> Option<Own> {
        let groups = small_file(Path::new("/proc/self/cgroup")).ok()?;
        let mounts = small_file(Path::new("/proc/self/mountinfo")).ok()?;
        Some(Own { groups, mounts })
    }

    /// The directory of our own group, as we see it: in the tree of version 2, or in that of a controller of version 1.
    pub fn home(&self, controller: Option<&str>) -> Option<PathBuf> {
        place_of(controller, &self.groups, &self.mounts)
    }
}

/// Files of the kernel have no size to ask for first, and most fit into one read.
pub(super) fn small_file(path: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = 1024 * 1024;
    permit()?;
    let mut text = Vec::with_capacity(4096);
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// From `/proc/self/cgroup` (cgroups(7)) and `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn place_of(controller: Option<&str>, own: &[u8], mounts: &[u8]) -> Option<PathBuf> {
    let named = |list: &[u8], name: &str| list.split(|&byte| byte == b',').any(|item| item == name.as_bytes());
    let path = |line: &'_ [u8]| -> Option<OsString> {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (number, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = controller.map_or(number == b"0" && list.is_empty(), |name| named(list, name));
        wanted.then(|| OsStr::from_bytes(path).to_owned())
    };
    let own = own.split(|&byte| byte == b'\n').find_map(path)?;
    let mount = |line: &[u8]| {
        // The kind is the last but two, and most lines are of another one: the rest of those is not looked at.
        let mut fields = line.rsplitn(4, |&byte| byte == b' ');
        let (options, kind, place) = (fields.next()?, fields.nth(1)?, fields.next()?);
        if !controller.map_or(kind == b"cgroup2", |name| kind == b"cgroup" && named(options, name)) {
            return None;
        }
        let mut fields = place.split(|&byte| byte == b' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let below = Path::new(&own).strip_prefix(&root).ok()?;
        // Outside of our namespace: "/..".
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        inside.then(|| Path::new(&point).components().chain(below.components()).collect())
    };
    mounts.split(|&byte| byte == b'\n').find_map(mount)
}

/// Blanks and their like are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

impl Left {
    /// `None` where no process that we can see lives there.
    fn in_directory(directory: PathBuf) -> Option<Left> {
        let mut processes = Vec::new();
        for group in inner_groups(&directory) {
            let mut pids = Vec::new();
            let _all_that_can_be_read = collect(&group, &mut pids);
            let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // 0 stands for a process of another pid namespace.
            processes.extend(pids.into_iter().filter(|&pid| pid > 0).map(|pid| (name.clone(), pid, program(pid))));
        }
        processes.sort();
        (!processes.is_empty()).then_some(Left { directory, processes })
    }
}

/// The name of the program that a process executes, at most 15 bytes (proc_pid_comm(5)).
fn program(pid: Pid) -> String {
    let name = small_file(Path::new(&format!("/proc/{pid}/comm"))).unwrap_or_default();
    String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned()
}

/// Sixteen digits that stand for the path of a file, links resolved (FNV-1a). `None` for what has no path, as a pipe.
fn mark(file: &Path) -> Option<String> {
    permit().ok()?;
    let path = fs::canonicalize(file).ok()?;
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step);
    Some(format!("{hash:016x}"))
}

fn claim(directory: PathBuf) -> Option<Groups> {
    permit().ok()?;
    fs::create_dir(&directory).ok()?;
    let lock = open(&directory).filter(|lock| lock.try_lock().is_ok());
    Some(Groups { directory, _lock: lock, left: Vec::new() })
}

/// Who was killed could not tidy up. What is still inhabited cannot be removed, so it stays; what belongs to a living process is
/// not touched, for it may be about to fork into it: numbers tell who lives in our own pid namespace, locks in the others.
/// Answers the directories that are still inhabited.
fn remove_what_was_left(home: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let is_left = |name: &OsStr| owner(name).is_some_and(|pid| pid == raw::own_pid() || !exists(pid));
    let left = entries.flatten().filter(|entry| is_left(&entry.file_name()) && !is_locked(&entry.path()));
    let left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
    left.iter().for_each(|path| remove_tree(path));
    left.into_iter().filter(|path| path.exists()).collect()
}

fn is_locked(directory: &Path) -> bool {
    open(directory).is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

fn open(directory: &Path) -> Option<File> {
    permit().ok()?;
    File::open(directory).ok()
}

/// The exeunt that made a directory of this name, as it knew itself.
fn owner(name: &OsStr) -> Option<Pid> {
    let name = name.to_str()?.strip_prefix(PREFIX)?;
    let is_mark = |mark: &str| mark.len() == 16 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
    let numbers = match name.split_once('.') {
        Some((numbers, mark)) => Some(numbers).filter(|_| is_mark(mark))?,
        None => name,
    };
    let (pid, namesake) = numbers.split_once('-').unwrap_or((numbers, "0"));
    stat::number::<u32>(namesake.as_bytes())?;
    stat::number(pid.as_bytes()).filter(|&pid| pid > 0)
}

fn exists(pid: Pid) -> bool {
    !raw::kill(pid, 0).is_err_and(|error| raw::is_gone(&error))
}

/// Groups within groups first. The kernel refuses to remove one that has living members.
fn remove_tree(path: &Path) {
    let is_gone =
        |removed: io::Result<()>| removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true);
    if permit().is_err() || is_gone(fs::remove_dir(path)) {
        return;
    }
    inner_groups(path).iter().for_each(|inner| remove_tree(inner));
    let _inhabited = fs::remove_dir(path);
}

fn inner_groups(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_group = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_group).map(|entry| entry.path()).collect()
}

fn is_populated(path: &Path) -> io::Result<bool> {
    match small_file(&path.join("cgroup.events")) {
        Ok(events) => Ok(!events.split(|&byte| byte == b'\n').any(|line| line == b"populated 0")),
        // Only an empty group can be removed by others.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn collect(path: &Path, pids: &mut Vec<Pid>) -> io::Result<()> {
    let text = small_file(&path.join("cgroup.procs"))?;
    pids.extend(text.split(|&byte| byte == b'\n').filter_map(stat::number::<Pid>));
    inner_groups(path).iter().try_for_each(|inner| collect(inner, pids))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &[u8] = b"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn place(own: &str, mounts: &[u8]) -> Option<String> {
        place_of(None, own.as_bytes(), mounts).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn our_own_group_is_found_below_the_mount() {
        assert_eq!(place("0::/a/b\n", V2).unwrap(), "/sys/fs/cgroup/a/b");
        assert_eq!(place("0::/\n", V2).unwrap(), "/sys/fs/cgroup");
        assert_eq!(place("4:memory:/x\n0::/a\n", V2).unwrap(), "/sys/fs/cgroup/a");
    }

    #[test]
    fn what_a_mount_does_not_show_is_not_guessed() {
        assert_eq!(place("4:memory:/x\n", V2), None);
        assert_eq!(place("0::/../other\n", V2), None);
        assert_eq!(place("0::/a\n", b"31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"), None);
        let elsewhere = b"30 24 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place("0::/docker/2", elsewhere), None);
        assert_eq!(place("0::/docker/1/x", elsewhere).unwrap(), "/sys/fs/cgroup/x");
    }

    #[test]
    fn a_controller_of_version_1_has_a_tree_of_its_own() {
        let v1 = b"31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let own = b"4:cpu,cpuacct:/y\n3:memory:/x\n0::/a\n";
        let place = |controller| place_of(Some(controller), own, v1);
        assert_eq!(place("memory"), Some(PathBuf::from("/sys/fs/cgroup/memory/x")));
        assert_eq!(place("cpuacct"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/y")));
        assert_eq!(place("pids"), None);
    }

    #[test]
    fn only_what_we_named_is_ours() {
        assert_eq!(owner(OsStr::new("exeunt-12")), Some(12));
        assert_eq!(owner(OsStr::new("exeunt-12-3")), Some(12));
        assert_eq!(owner(OsStr::new("exeunt-12.0123456789abcdef")), Some(12));
        assert_eq!(owner(OsStr::new("exeunt-12-3.0123456789abcdef")), Some(12));
        for foreign in
            ["exeunt-", "exeunt-web", "exeunt-0", "exeunt--1", "exeunt-1-2-3", "12", "exeunt-1.slice", "exeunt-1.0123"]
        {
            assert_eq!(owner(OsStr::new(foreign)), None, "{foreign}");
        }
    }

    /// As in another pid namespace, where somebody else has our number and lives.
    #[test]
    fn what_a_living_namesake_made_is_not_taken_for_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(format!("{PREFIX}{}", raw::own_pid()));
        let mut groups = claim(path.clone()).unwrap();
        groups.make("web.0").map(std::mem::forget).unwrap();
        remove_what_was_left(home.path());
        assert!(path.join("web.0").exists());
        // It is killed: its lock goes, and what it made stays.
        drop(groups._lock.take());
        std::mem::forget(groups);
        remove_what_was_left(home.path());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_marked_by_where_it_is_and_not_by_how_it_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("a.toml"), "").unwrap();
        fs::write(path("b.toml"), "").unwrap();
        std::os::unix::fs::symlink(path("a.toml"), path("link.toml")).unwrap();
        assert_eq!(mark(&path("a.toml")), mark(&path("link.toml")));
        assert_eq!(mark(&path("a.toml")), mark(&home.path().join("./a.toml")));
        assert_ne!(mark(&path("a.toml")), mark(&path("b.toml")));
        assert_eq!(mark(&path("none.toml")), None);
    }

    #[test]
    fn blanks_in_a_mount_point_are_read_back() {
        assert_eq!(place("0::/a", b"30 24 0:26 / /my\\040groups rw - cgroup2 none rw\n").unwrap(), "/my groups/a");
        assert_eq!(unescape(b"a\\x\\04"), "a\\x\\04");
    }
}
