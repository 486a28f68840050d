//! Whether a path is in trusted hands: who else could make it lead to another file.
//!
//! A path is trusted if every directory and every link on its way belongs to root or to us and nobody else may write there. It is
//! walked component by component, each one opened before it is looked at (`O_PATH`) and gone on from by its descriptor. So what
//! is opened in the end is what was looked at: whoever cannot write into a trusted directory cannot exchange its entries.
//!
//! Nothing here allocates or locks, so a forked child may walk too.

use super::raw::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// `PATH_MAX`, its NUL included, and `NAME_MAX` with one.
const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 256;
/// As many links as the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: u32 = 40;
/// Of statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const AUTOFS_SUPER_MAGIC: i64 = 0x0187;

/// Where a walk came to.
pub struct Way {
    pub directory: OwnedFd,
    rest: Rest,
    /// All that was passed, `directory` included, is in trusted hands, and what is left is one name in it that is no link.
    pub trusted: bool,
    /// What is left is a link that only the kernel can follow, such as `/proc/self/fd/1`.
    pub magic: bool,
}

impl Way {
    /// What is left of the path, relative to `directory`.
    pub fn rest(&self) -> &CStr {
        self.rest.as_c_str()
    }
}

/// What entries of a directory can be trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hands {
    /// Nobody else may write here.
    Closed,
    /// Others may add entries, and remove their own only: a directory of ours stays where it is.
    Sticky,
    Open,
}

/// A way of which nothing was gone yet.
///
/// # Errors
///
/// ENOENT for an empty path, ENAMETOOLONG; of openat(2).
pub fn start(path: &CStr) -> io::Result<Way> {
    let rest = Rest::new(path.to_bytes())?;
    let directory = open_directory(None, if rest.is_absolute() { c"/" } else { c"." })?;
    Ok(Way { directory, rest, trusted: false, magic: false })
}

/// Walks along a path for as long as it is trusted.
///
/// # Errors
///
/// Of openat(2), fstat(2) and readlinkat(2): ENOENT for a directory that is missing, not for the last name; ELOOP for too many
/// links, ENAMETOOLONG, EACCES.
pub fn walk(path: &CStr, outside: Option<u32>) -> io::Result<Way> {
    let Way { mut directory, mut rest, .. } = start(path)?;
    let mut links = MOST_LINKS;
    let mut hands = hands(&directory, outside)?;
    let untrusted = |directory, rest| Ok(Way { directory, rest, trusted: false, magic: false });
    loop {
        // Skips slashes too: what is left is relative to the directory.
        let Some(name) = rest.first()? else {
            rest.replace(b".", 0)?;
            return Ok(Way { directory, rest, trusted: hands == Hands::Closed, magic: false });
        };
        if hands == Hands::Open {
            return untrusted(directory, rest);
        }
        let last = rest.after(name.length).is_empty();
        let node = match open_node(&directory, name.as_c_str()) {
            Err(error) if last && error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(Way { directory, rest, trusted: hands == Hands::Closed, magic: false });
            }
            told => told?,
        };
        let stat = stat(&node)?;
        let is_ours = is_trusted(stat.st_uid, outside);
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK if is_on_proc(&directory) => {
                if last {
                    return Ok(Way { directory, rest, trusted: true, magic: true });
                }
                directory = open_directory(Some(&directory), name.as_c_str())?;
                hands = self::hands(&directory, outside)?;
                rest.skip(name.length);
            }
            libc::S_IFLNK if !is_ours || hands != Hands::Closed => return untrusted(directory, rest),
            libc::S_IFLNK => {
                links = links.checked_sub(1).ok_or_else(|| io::Error::from_raw_os_error(libc::ELOOP))?;
                let mut target = [0; LONGEST_PATH];
                rest.replace(read_link(&node, &mut target)?, name.length)?;
                if rest.is_absolute() {
                    directory = open_directory(None, c"/")?;
                    hands = self::hands(&directory, outside)?;
                }
            }
            // In a directory where others may add what they like, only a directory is proof against them: nobody can make a
            // second name for one.
            libc::S_IFDIR if hands == Hands::Sticky && !is_ours => return untrusted(directory, rest),
            libc::S_IFDIR if !last => {
                directory = enter(node, &directory, name.as_c_str())?;
                hands = self::hands(&directory, outside)?;
                rest.skip(name.length);
            }
            _ if last => return Ok(Way { directory, rest, trusted: hands == Hands::Closed, magic: false }),
            _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
    }
}

/// Goes on along an untrusted path, up to its last name, with the rights that the calling thread has now. Answers the directory
/// of that name, and the name.
///
/// Links are followed by their text. The kernel would also follow those links of /proc that lead to an open file or to the
/// directory of a process, and past every directory on the way: `/proc/self/cwd` would lead the user whose rights these are
/// into a directory that is closed to it.
///
/// # Errors
///
/// As [`walk`]. ELOOP also for a link of /proc on the way.
pub fn approach(way: Way) -> io::Result<Way> {
    let Way { mut directory, mut rest, .. } = way;
    let mut links = MOST_LINKS;
    loop {
        let Some(name) = rest.first()? else {
            rest.replace(b".", 0)?;
            return Ok(Way { directory, rest, trusted: false, magic: false });
        };
        if rest.after(name.length).is_empty() {
            return Ok(Way { directory, rest, trusted: false, magic: false });
        }
        let node = open_node(&directory, name.as_c_str())?;
        if stat(&node)?.st_mode & libc::S_IFMT != libc::S_IFLNK {
            directory = enter(node, &directory, name.as_c_str())?;
            rest.skip(name.length);
            continue;
        }
        let too_many = || io::Error::from_raw_os_error(libc::ELOOP);
        if is_on_proc(&directory) {
            return Err(too_many());
        }
        links = links.checked_sub(1).ok_or_else(too_many)?;
        let mut target = [0; LONGEST_PATH];
        rest.replace(read_link(&node, &mut target)?, name.length)?;
        if rest.is_absolute() {
            directory = open_directory(None, c"/")?;
        }
    }
}

/// Goes on along an untrusted path with our own rights, up to its last name, as long as each directory is one that
/// `may_change` denies. No link is followed: whoever may write there could have put it there.
///
/// # Errors
///
/// As [`walk`]. ELOOP for a link on the way, EACCES for a directory that `may_change` affirms.
pub fn approach_closed(way: Way, may_change: impl Fn(&OwnedFd) -> io::Result<bool>) -> io::Result<Way> {
    let Way { mut directory, mut rest, .. } = way;
    loop {
        if may_change(&directory)? {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        let Some(name) = rest.first()? else {
            rest.replace(b".", 0)?;
            return Ok(Way { directory, rest, trusted: false, magic: false });
        };
        if rest.after(name.length).is_empty() {
            return Ok(Way { directory, rest, trusted: false, magic: false });
        }
        let node = open_node(&directory, name.as_c_str())?;
        if stat(&node)?.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        directory = enter(node, &directory, name.as_c_str())?;
        rest.skip(name.length);
    }
}

/// The number under which a file's owner is seen that our user namespace does not know, where no process of ours can have that
/// number itself (`/proc/sys/kernel/overflowuid`, user_namespaces(7)). Such an owner is outside, and could do as it likes with us.
pub fn outside() -> Option<u32> {
    static OUTSIDE: OnceLock<Option<u32>> = OnceLock::new();
    *OUTSIDE.get_or_init(|| {
        let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(65534);
        let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
        (!is_mapped(&map, overflow)).then_some(overflow)
    })
}

/// Lines of a first number inside, one outside, and how many follow it.
fn is_mapped(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (inside..inside.saturating_add(count)).contains(&u64::from(uid))
    })
}

fn is_trusted(owner: u32, outside: Option<u32>) -> bool {
    owner == 0 || owner == super::identity::own_user() || Some(owner) == outside
}

/// Where there is an access control list, the bits of the group are its mask (acl(5)): what it grants to anyone shows there.
fn hands(directory: &OwnedFd, outside: Option<u32>) -> io::Result<Hands> {
    let stat = stat(directory)?;
    Ok(match () {
        () if !is_trusted(stat.st_uid, outside) => Hands::Open,
        () if stat.st_mode & (libc::S_IWGRP | libc::S_IWOTH) == 0 => Hands::Closed,
        // The volumes of Kubernetes secrets have mode 1777 and are mounted read-only.
        () if is_read_only(directory) => Hands::Closed,
        () if stat.st_mode & libc::S_ISVTX != 0 => Hands::Sticky,
        () => Hands::Open,
    })
}

fn is_read_only(directory: &OwnedFd) -> bool {
    // SAFETY: `statvfs` is plain integers, for which all zeros is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a live `statvfs`.
    let told = unsafe { libc::fstatvfs(directory.as_raw_fd(), &mut stat) };
    told == 0 && stat.f_flag & libc::ST_RDONLY != 0
}

/// Links of /proc lead to open files and running processes, whatever their text says.
fn is_on_proc(directory: &OwnedFd) -> bool {
    is_on(directory, PROC_SUPER_MAGIC)
}

fn is_on(node: &OwnedFd, magic: i64) -> bool {
    // SAFETY: `statfs` is plain integers, for which all zeros is a value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a live `statfs`.
    let told = unsafe { libc::fstatfs(node.as_raw_fd(), &mut stat) };
    told == 0 && stat.f_type as i64 == magic
}

fn stat(fd: &OwnedFd) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills a live `stat`.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) })?;
    Ok(stat)
}

/// The kernel follows the last link, if it is one.
fn open_directory(at: Option<&OwnedFd>, name: &CStr) -> io::Result<OwnedFd> {
    open_path(at.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd), name, libc::O_DIRECTORY)
}

/// What to go on from behind this directory, which has this name. Where the kernel mounts something at the first use (autofs), it
/// has not done so yet: a lookup for `O_PATH` alone is no use, one for `O_DIRECTORY` is.
fn enter(node: OwnedFd, directory: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    match is_on(&node, AUTOFS_SUPER_MAGIC) {
        true => open_path(directory.as_raw_fd(), name, libc::O_DIRECTORY | libc::O_NOFOLLOW),
        false => Ok(node),
    }
}

fn open_node(directory: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    open_path(directory.as_raw_fd(), name, libc::O_NOFOLLOW)
}

fn open_path(at: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the directory is open or AT_FDCWD, the name a C string; no mode is needed without O_CREAT.
    let fd = check(unsafe { libc::openat(at, name.as_ptr(), libc::O_PATH | libc::O_CLOEXEC | flags) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn read_link<'a>(link: &OwnedFd, room: &'a mut [u8; LONGEST_PATH]) -> io::Result<&'a [u8]> {
    // SAFETY: the kernel writes at most `len` bytes into memory that is ours; an empty name means the link itself.
    let length =
        check(unsafe { libc::readlinkat(link.as_raw_fd(), c"".as_ptr(), room.as_mut_ptr().cast(), room.len()) })?;
    Ok(usize::try_from(length).ok().and_then(|length| room.get(..length)).unwrap_or_default())
}

/// A path, or what is left of it, with a NUL after it.
struct Rest {
    bytes: [u8; LONGEST_PATH],
    start: usize,
    end: usize,
}

/// The first name of a path, with a NUL after it.
struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Rest {
    fn new(path: &[u8]) -> io::Result<Rest> {
        if path.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        let mut rest = Rest { bytes: [0; LONGEST_PATH], start: LONGEST_PATH - 1, end: LONGEST_PATH - 1 };
        rest.replace(path, 0)?;
        Ok(rest)
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The last byte is never written to.
    fn as_c_str(&self) -> &CStr {
        let bytes = self.bytes.get(self.start..).unwrap_or_default();
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }

    fn is_absolute(&self) -> bool {
        self.as_bytes().first() == Some(&b'/')
    }

    /// Skips slashes; `None` where nothing comes after them.
    fn first(&mut self) -> io::Result<Option<Name>> {
        let slashes = self.as_bytes().iter().take_while(|&&byte| byte == b'/').count();
        self.skip(slashes);
        let length = self.as_bytes().iter().take_while(|&&byte| byte != b'/').count();
        if length == 0 {
            return Ok(None);
        }
        let mut name = Name { bytes: [0; LONGEST_NAME], length };
        let room = name.bytes.get_mut(..length).filter(|_| length < LONGEST_NAME);
        let room = room.ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
        room.copy_from_slice(self.as_bytes().get(..length).unwrap_or_default());
        Ok(Some(name))
    }

    /// What comes after so many bytes. A slash at the end counts: it says that the name is a directory's.
    fn after(&self, length: usize) -> &[u8] {
        self.as_bytes().get(length..).unwrap_or_default()
    }

    fn skip(&mut self, length: usize) {
        self.start = self.end.min(self.start + length);
    }

    /// Puts other bytes in the place of the first so many. It is kept at the end of its room, so that there is room in front of it.
    fn replace(&mut self, other: &[u8], length: usize) -> io::Result<()> {
        self.skip(length);
        let too_long = || io::Error::from_raw_os_error(libc::ENAMETOOLONG);
        let start = self.start.checked_sub(other.len()).ok_or_else(too_long)?;
        self.bytes.get_mut(start..self.start).ok_or_else(too_long)?.copy_from_slice(other);
        self.start = start;
        Ok(())
    }
}

/// What a descriptor is called now, for messages.
pub fn name_of(fd: BorrowedFd) -> io::Result<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_mapped_where_a_line_covers_it() {
        assert!(is_mapped("         0          0 4294967295\n", 65534));
        assert!(is_mapped("0 1000 1\n1 100000 65535\n", 65534));
        assert!(!is_mapped("0 1000 1\n", 65534));
        assert!(!is_mapped("0 1000 65534\n65535 9 9\n", 65534));
        assert!(!is_mapped("", 0));
    }

    fn after(path: &str, other: &str, length: usize) -> Result<String, i32> {
        let told = Rest::new(path.as_bytes()).and_then(|mut rest| {
            rest.replace(other.as_bytes(), length)?;
            Ok(rest.as_c_str().to_str().unwrap().to_owned())
        });
        told.map_err(|error| error.raw_os_error().unwrap())
    }

    #[test]
    fn a_link_takes_the_place_of_its_name() {
        assert_eq!(after("a/b", "../c", 1), Ok("../c/b".to_owned()));
        assert_eq!(after("a", "/", 1), Ok("/".to_owned()));
        assert_eq!(after("", "", 0), Err(libc::ENOENT));
        let long = "x/".repeat(2047);
        assert_eq!(after(&long, "", 0), Ok(long.clone()));
        assert_eq!(after(&long, "yyyy", 1), Err(libc::ENAMETOOLONG));
        assert_eq!(after(&format!("{long}zz"), "", 0), Err(libc::ENAMETOOLONG));
    }

    #[test]
    fn a_name_is_what_stands_before_a_slash() {
        let mut rest = Rest::new(b"//a/b//").unwrap();
        let mut names = Vec::new();
        while let Some(name) = rest.first().unwrap() {
            names.push((name.as_c_str().to_str().unwrap().to_owned(), rest.after(name.length).is_empty()));
            rest.skip(name.length);
        }
        assert_eq!(names, [("a".to_owned(), false), ("b".to_owned(), false)]);
        assert!(Rest::new("x".repeat(256).as_bytes()).unwrap().first().is_err());
    }
}
