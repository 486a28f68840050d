//! Running one test in a process of its own: reaping, masks and subreaping belong to the whole process.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const ALONE: &str = "EXEUNT_TEST_ALONE";

/// Whether this process was started for this very test.
pub fn is_alone(test: &str) -> bool {
    std::env::var(ALONE).is_ok_and(|name| name == test)
}

/// Runs the test again as the only thing of a new process, behind `launcher` (a program and arguments before ours).
pub fn run_alone(test: &str, launcher: &[&str], prepare: fn(&mut Command)) {
    let this = std::env::current_exe().unwrap();
    let mut words = launcher.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
    words.push(this.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, test);
    command.stdin(Stdio::null());
    prepare(&mut command);
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}\n{text}", output.status);
}

pub fn as_it_is(_command: &mut Command) {}

/// Blocks all signals and ignores all that can be, in this thread and from the start.
pub fn numb(command: &mut Command) {
    let block_and_ignore = || {
        numb_here();
        Ok(())
    };
    // SAFETY: the closure makes only system calls.
    unsafe { command.pre_exec(block_and_ignore) };
}

/// The same for this thread: 32 and 33 too, which libc would not let us, and changes when a thread is made.
pub fn numb_here() {
    let everything = u64::MAX;
    let ignore = [libc::SIG_IGN as u64, 0, 0, 0, 0];
    for signal in 1..=64 {
        // SAFETY: the action is larger than the kernel's structure; SIG_IGN runs no code.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, ignore.as_ptr(), 0usize, 8) };
    }
    // SAFETY: a live 64-bit set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const everything, 0usize, 8) };
}

/// Runs this as PID 1 of a new namespace, with one thread; with the /proc of that namespace or the one of ours.
pub fn as_init(own_proc: bool, body: fn()) {
    // SAFETY: two flags; the mounts of others stay as they are.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) }, 0);
    // SAFETY: the test's process does nothing else meanwhile, so no lock is held in the child.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        if own_proc {
            mount_own_proc();
        }
        let told = std::panic::catch_unwind(body);
        // SAFETY: ends the child, and with it its namespace.
        unsafe { libc::_exit(i32::from(told.is_err())) };
    }
    let mut status = 0;
    // SAFETY: our child, and a live int.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
}

fn mount_own_proc() {
    let (root, flags, nothing) = (c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null());
    // SAFETY: live C strings, integers and nulls where mount(2) allows them.
    let private = unsafe { libc::mount(c"none".as_ptr(), root, nothing, flags, nothing.cast()) };
    let (proc, at) = (c"proc".as_ptr(), c"/proc".as_ptr());
    // SAFETY: as above.
    let mounted = unsafe { libc::mount(proc, at, proc, 0, nothing.cast()) };
    assert_eq!((private, mounted), (0, 0));
}

/// A sandbox that refuses, with EPERM, the calls that older filters do not know.
pub fn sandboxed(command: &mut Command) {
    let install = || {
        let refused = [libc::SYS_close_range, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_preadv2];
        let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut program = [step(0, 0, 0, 0); 7];
        program[0] = step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
        for (index, call) in refused.into_iter().enumerate() {
            program[index + 1] = step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 4 - index as u8, 0, call as u32);
        }
        program[5] = step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
        program[6] = step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
        let filter = libc::sock_fprog { len: 7, filter: program.as_mut_ptr() };
        // SAFETY: prctl with integers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the filter program lives over the call, its length is right and its jumps stay inside.
        let told = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        if told == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes only system calls.
    unsafe { command.pre_exec(install) };
}

/// Forks one process that forks `count` more, all of which are gone at once; nobody waits for them there.
pub fn fork_orphans(count: usize) {
    // SAFETY: the children make only system calls.
    unsafe {
        if libc::fork() == 0 {
            for _ in 0..count {
                match libc::fork() {
                    0 => libc::_exit(0),
                    -1 => libc::_exit(1),
                    _ => {}
                }
            }
            libc::_exit(0);
        }
    }
}

/// A file system that never answers, at this directory, for as long as the file is held: everything that looks into it
/// hangs, killable.
pub struct Dead {
    at: std::ffi::CString,
    _fuse: std::fs::File,
}

pub fn dead_file_system(at: &std::path::Path) -> Dead {
    use std::os::fd::AsRawFd;
    let fuse = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", fuse.as_raw_fd());
    let (at, options) = (c_string(at.to_str().unwrap()), c_string(&options));
    // SAFETY: five live C strings or integers, as mount(2) wants them.
    let told = unsafe { libc::mount(c"dead".as_ptr(), at.as_ptr(), c"fuse".as_ptr(), 0, options.as_ptr().cast()) };
    assert_eq!(told, 0, "{}", std::io::Error::last_os_error());
    Dead { at, _fuse: fuse }
}

impl Drop for Dead {
    fn drop(&mut self) {
        // SAFETY: a live C string.
        unsafe { libc::umount2(self.at.as_ptr(), libc::MNT_DETACH) };
    }
}

pub fn c_string(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap()
}
