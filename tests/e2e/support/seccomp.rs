//! A sandbox that does not know some system calls: a filter that answers each of them with an errno.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What kernels and filters of some years ago do not know.
pub const NEW_CALLS: [libc::c_long; 9] = [
    libc::SYS_clone3,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_close_range,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_epoll_pwait2,
    libc::SYS_preadv2,
    libc::SYS_statx,
];

/// Without it glibc starts no thread, unless the answer is ENOSYS, and forks all the same.
pub const THREADS: [libc::c_long; 1] = [libc::SYS_clone3];

/// As a file system answers that knows no locks.
pub const LOCKS: [libc::c_long; 1] = [libc::SYS_flock];

/// The command's process and all below it get `errno` from each of `calls`.
pub fn refuse(command: &mut Command, errno: i32, calls: &[libc::c_long]) {
    let step = |code: u32, jt: usize, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("a BPF code has 16 bits"),
        jt: u8::try_from(jt).expect("a short program"),
        jf: 0,
        k,
    };
    let number = |call: libc::c_long| u32::try_from(call).expect("system calls have small numbers");
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).expect("errnos are positive");
    // The number is the first word of what the filter sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    program.extend(calls.iter().enumerate().map(|(at, &call)| step(equal, calls.len() - at, number(call))));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, answer));
    let install = move || {
        let filter = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: prctl with integers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the program lives over the call, its length is right, and its jumps stay inside.
        let told = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        if told == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// A system call that hangs for ever.
#[derive(Clone, Copy)]
pub struct Hanging {
    pub call: libc::c_long,
    /// An argument, counted from 0, and bits that are all set in it; none for every such call.
    pub when: Option<(u8, i32)>,
}

/// Each of these calls of the command's process hangs until the process is killed, as on a file system that has gone: the
/// kernel asks a supervisor about it (SECCOMP_RET_USER_NOTIF, seccomp(2)), and the one who could answer is the command itself.
pub fn hang(command: &mut Command, calls: &[Hanging]) {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("a BPF code has 16 bits"),
        jt,
        jf,
        k,
    };
    let load = |at: u32| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let mut program = Vec::new();
    for hanging in calls {
        let number = u32::try_from(hanging.call).expect("system calls have small numbers");
        let ask = step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF);
        program.push(load(0));
        match hanging.when {
            None => program.extend([step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number), ask]),
            Some((argument, bits)) => {
                // The arguments are eight bytes each behind the first sixteen; the low half is first on a little-endian machine.
                let low = if cfg!(target_endian = "big") { 4 } else { 0 };
                let bits = u32::from_ne_bytes(bits.to_ne_bytes());
                program.extend([
                    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 4, number),
                    load(16 + 8 * u32::from(argument) + low),
                    step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits),
                    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, bits),
                    ask,
                ]);
            }
        }
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let filter = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_ptr().cast_mut(),
        };
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // SAFETY: prctl with integers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the program lives over the call, its length is right, and its jumps stay inside.
        let listener =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
        let listener = libc::c_int::try_from(listener).unwrap_or(-1);
        // It is closed at the exec, and then the calls would fail; the copy stays.
        // SAFETY: the descriptor was just made; F_DUPFD takes an integer.
        let copy = if listener < 0 { -1 } else { unsafe { libc::fcntl(listener, libc::F_DUPFD, 100) } };
        if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure makes a few system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}
