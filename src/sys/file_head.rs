//! What a forked child finds out about a file that it is to execute, or could not: its first bytes, and whether its interpreter is
//! exeunt itself. Only system calls and buffers on the stack, so that a forked child may call all of it but [`own_id`].

use super::executable;
use crate::model::script::{FIRST_LINE, Script};
use std::ffi::CStr;

/// Enough for the program headers of an ELF file and the path of its loader. With the rest of a child's report it stays below
/// PIPE_BUF, so that the report is written whole.
pub const HEAD_BYTES: usize = 2048;
/// Linux follows interpreters that are scripts themselves this deep (exec_binprm in fs/exec.c).
const LEVELS: u32 = 5;

/// Device and inode: two paths with the same are the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(u64, u64);

/// Of the program that we are; `None` where it cannot be found any more.
pub fn own_id() -> Option<FileId> {
    executable::own().iter().find_map(|path| id_of(path))
}

/// Whether executing this file has the kernel execute exeunt, which would execute the file again, and so on without end. `search`:
/// the PATH in which env(1) looks. A script that is a file of `exeunt run` is none of these: it names other programs.
pub fn starts_itself(path: &CStr, own: FileId, search: &[u8]) -> bool {
    let mut at = PathBuffer::new();
    if !at.set(&[path.to_bytes()]) {
        return false;
    }
    for _ in 0..LEVELS {
        let mut line = [0; FIRST_LINE];
        let Some(length) = at.path().and_then(|path| head(path, &mut line)) else { return false };
        let Some(script) = line.get(..length).and_then(Script::of) else { return false };
        let found = match script.program_of_env() {
            Some(program) => at.find(program, search),
            None => at.set(&[script.interpreter]),
        };
        if !found {
            return false;
        }
        if at.path().and_then(id_of) == Some(own) {
            return script.words().all(|word| word != b"run") || script.words().any(|word| word == b"init");
        }
    }
    false
}

/// The first bytes of the first of these files that is there and may be executed, or of the interpreter that it names if that is
/// there, and so on: of the file that is at fault. `None` where none is there.
pub fn see<'a>(candidates: impl IntoIterator<Item = &'a CStr>, buffer: &mut [u8]) -> Option<usize> {
    let path = candidates.into_iter().find(|path| may(path, libc::X_OK) && head(path, &mut [0; 1]).is_some())?;
    let mut at = PathBuffer::new();
    if !at.set(&[path.to_bytes()]) {
        return None;
    }
    let mut length = head(path, buffer)?;
    for _ in 0..LEVELS {
        let Some(script) = buffer.get(..length).and_then(Script::of) else { break };
        if !at.set(&[script.interpreter]) || !at.path().is_some_and(|path| may(path, libc::X_OK)) {
            break;
        }
        let Some(next) = at.path().and_then(|path| head(path, buffer)) else { break };
        length = next;
    }
    Some(length)
}

/// The first bytes of a regular file. Never waits for a FIFO or a device.
pub fn head(path: &CStr, buffer: &mut [u8]) -> Option<usize> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string; no mode is needed without O_CREAT.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    if fd < 0 {
        return None;
    }
    // SAFETY: stat is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the call fills a live stat.
    let is_regular = unsafe { libc::fstat(fd, &raw mut stat) } == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    // SAFETY: the buffer is live and as long as is told; the descriptor is open.
    let read = if is_regular { unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) } } else { -1 };
    // SAFETY: the descriptor was opened above, and nothing else knows its number.
    unsafe { libc::close(fd) };
    usize::try_from(read).ok()
}

fn id_of(path: &CStr) -> Option<FileId> {
    // SAFETY: stat is plain integers, for which all zeros is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the call fills a live stat.
    let told = unsafe { libc::stat(path.as_ptr(), &raw mut stat) };
    (told == 0).then_some(FileId(stat.st_dev, stat.st_ino))
}

fn may(path: &CStr, mode: libc::c_int) -> bool {
    // SAFETY: the path is a C string; access takes an integer with it.
    unsafe { libc::access(path.as_ptr(), mode) == 0 }
}

/// Room for one path and its NUL.
struct PathBuffer([u8; libc::PATH_MAX as usize]);

impl PathBuffer {
    fn new() -> PathBuffer {
        PathBuffer([0; libc::PATH_MAX as usize])
    }

    /// Puts these parts together. False where there is no room for them.
    fn set(&mut self, parts: &[&[u8]]) -> bool {
        let mut end = 0usize;
        for part in parts {
            let Some(room) = self.0.get_mut(end..end.saturating_add(part.len())) else { return false };
            room.copy_from_slice(part);
            end += part.len();
        }
        match self.0.get_mut(end) {
            Some(nul) => {
                *nul = 0;
                end > 0
            }
            None => false,
        }
    }

    fn path(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.0).ok()
    }

    /// A program as execvp(3) finds it. False where there is none.
    fn find(&mut self, program: &[u8], search: &[u8]) -> bool {
        if program.contains(&b'/') {
            return self.set(&[program]);
        }
        search.split(|&byte| byte == b':').any(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            self.set(&[directory, b"/", program]) && self.path().is_some_and(|path| may(path, libc::X_OK))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn c_path(path: &Path) -> CString {
        CString::new(path.to_str().unwrap()).unwrap()
    }

    fn program(directory: &Path, name: &str, text: &str) -> CString {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        c_path(&path)
    }

    #[test]
    fn a_script_for_ourselves_is_found_by_link_through_env_and_through_another_script() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let us = own_id().unwrap();
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), at("tini")).unwrap();
        let search = format!("/nowhere:{}", directory.path().display());
        let starts = |line: &str| {
            let script = program(directory.path(), "script", &format!("{line}\nx\n"));
            starts_itself(&script, us, search.as_bytes())
        };
        program(directory.path(), "wrapper", &format!("#!{}\n", at("tini")));
        for line in [
            format!("#!{}", at("tini")),
            format!("#! {} -g", at("tini")),
            format!("#!{} init --", at("tini")),
            "#!/usr/bin/env tini".to_owned(),
            "#!/usr/bin/env -S tini -s --".to_owned(),
            format!("#!{}", at("wrapper")),
            "#!/usr/bin/env wrapper".to_owned(),
        ] {
            assert!(starts(&line), "{line}");
        }
        for line in
            ["#!/bin/sh".to_owned(), "x".to_owned(), format!("#!{} run", at("tini")), format!("#!{}", at("gone"))]
        {
            assert!(!starts(&line), "{line}");
        }
        assert!(!starts_itself(&c_path(&std::env::current_exe().unwrap()), us, b""), "it is no script");
    }

    #[test]
    fn the_file_at_fault_is_seen_and_a_fifo_is_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let inner = program(directory.path(), "inner", "#!/nowhere/interpreter\n");
        let outer = program(directory.path(), "outer", &format!("#!{}\n", inner.to_str().unwrap()));
        let missing = c_path(&directory.path().join("missing"));
        let mut buffer = [0; HEAD_BYTES];
        let length = see([missing.as_c_str(), &outer], &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"#!/nowhere/interpreter\n");
        assert_eq!(see([missing.as_c_str()], &mut buffer), None);
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(see([c_path(&fifo).as_c_str()], &mut buffer), None);
    }
}
