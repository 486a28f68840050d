//! The edge to the system, with real processes. Each test runs in a process of its own, see `support`. Some need root: they make
//! namespaces, mount, and change their uid.

#![cfg(feature = "os")]

#[path = "support/alone.rs"]
mod support;

use exeunt::model::identity::{Account, Bound, Limit, Resource};
use exeunt::model::plan::Place;
use exeunt::model::{ExitStatus, Identity, Signal, SignalSet, SpawnError, Stage};
use exeunt::sys::aside::aside;
use exeunt::sys::init::{Inherited, first_steps};
use exeunt::sys::members::{self, Member};
use exeunt::sys::reap::{Reaped, reap_one};
use exeunt::sys::secret::FileVariable;
use exeunt::sys::signals::Signals;
use exeunt::sys::spawn::{Birth, Born, Launch, birth, candidates, spawn};
use exeunt::sys::{Pid, fds, strangers};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;
use support::{as_it_is, c_string, is_alone, numb, run_alone, sandboxed};

macro_rules! alone {
    ($($name:ident, $launcher:expr, $prepare:expr, $body:block)*) => {$(
        #[test]
        fn $name() {
            let name = stringify!($name);
            if is_alone(name) { $body } else { run_alone(name, &$launcher, $prepare) }
        }
    )*};
}

const HERE: [&str; 0] = [];
const OPEN: &str = r#"i=0; while [ $i -lt 300 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done"#;

/// What a test varies; the rest is as a plain service gets it.
#[derive(Default)]
struct Want<'a> {
    ignore: SignalSet,
    block: SignalSet,
    secrets: Vec<FileVariable>,
    identity: Identity,
    directory: Option<&'a CStr>,
    env: Vec<Rc<CStr>>,
    /// Descriptors 3 and up.
    more: Vec<Option<BorrowedFd<'a>>>,
}

/// Starts a program with /dev/null as 0, and a pipe that is answered as 1 and 2.
fn start(argv: &[&str], want: &Want) -> Result<(Born, File), SpawnError> {
    let argv: Vec<CString> = argv.iter().map(|word| c_string(word)).collect();
    let null = File::open("/dev/null").unwrap();
    let pipe = fds::pipe().unwrap();
    let mut descriptors = vec![Some(null.as_fd()), Some(pipe.write.as_fd()), Some(pipe.write.as_fd())];
    descriptors.extend(want.more.iter().copied());
    let born = spawn(&Launch {
        env: &want.env,
        directory: want.directory,
        ignore: want.ignore,
        block: want.block,
        secrets: &want.secrets,
        descriptors: &descriptors,
        ..bare(&argv, &candidates(&argv[0], None), &want.identity)
    })?;
    Ok((born, File::from(pipe.read)))
}

/// Without any file, and without anything else that can be left out.
fn bare<'a>(argv: &'a [CString], candidates: &'a [CString], identity: &'a Identity) -> Launch<'a> {
    Launch {
        argv,
        env: &[],
        candidates,
        directory: None,
        ignore: SignalSet::EMPTY,
        block: SignalSet::EMPTY,
        secrets: &[],
        numbered: &[],
        own: None,
        identity,
        descriptors: &[],
        place: Place::Session,
        foreground: false,
        group: None,
        passage: None,
    }
}

fn account(id: u32) -> Account {
    Account { id, name: id.to_string() }
}

/// Waits for the word of the error pipe.
fn awaited(born: &Born) -> Birth {
    let mut asked = [nix::poll::PollFd::new(born.report.as_fd(), nix::poll::PollFlags::POLLIN)];
    loop {
        let _ = nix::poll::poll(&mut asked, nix::poll::PollTimeout::NONE);
        match birth(born.report.as_fd()) {
            Birth::Pending => {}
            told => return told,
        }
    }
}

/// Waits until the child is dead and reaps it, and whom else it meets.
fn reaped(pid: Pid) -> Reaped {
    loop {
        let everything = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        // Its translation of the status may fail; the wait itself does not.
        let _ = nix::sys::wait::waitid(nix::sys::wait::Id::All, everything);
        match reap_one() {
            Some(reaped) if reaped.pid == pid => return reaped,
            _ => {}
        }
    }
}

fn output(argv: &[&str], want: &Want) -> String {
    let (born, mut pipe) = start(argv, want).unwrap();
    assert_eq!(awaited(&born), Birth::Executed);
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    assert_eq!(reaped(born.pid).status, ExitStatus::Exited(0), "{text}");
    text
}

fn failure(argv: &[&str], want: &Want) -> (Stage, i32) {
    let (born, _pipe) = start(argv, want).unwrap();
    let Birth::Failed(error) = awaited(&born) else { panic!("{argv:?} was executed") };
    assert_eq!(reaped(born.pid).status, ExitStatus::Exited(127));
    (error.stage, error.errno)
}

/// Starts a shell whose script says one line when it is where the test wants it.
fn start_until_line(script: &str) -> (Born, String, File) {
    let (born, mut pipe) = start(&["sh", "-c", script], &Want::default()).unwrap();
    let line = line(&mut pipe);
    (born, line, pipe)
}

fn line(pipe: &mut File) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while pipe.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn signal(number: i32) -> Signal {
    Signal::new(number).unwrap()
}

fn set(numbers: &[i32]) -> SignalSet {
    numbers.iter().map(|&number| signal(number)).collect()
}

fn nobody(_: Pid) -> bool {
    false
}

fn numbers(text: &str) -> Vec<i32> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// A field of /proc/PID/status that is a set of signals.
fn field(status: &str, name: &str) -> SignalSet {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    SignalSet::from_bits(u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap())
}

/// Waits for deaths, and reaps, until it is so.
fn reap_until(mut so: impl FnMut() -> bool) {
    while !so() {
        let everything = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
        let told = nix::sys::wait::waitid(nix::sys::wait::Id::All, everything);
        assert_ne!(told, Err(nix::Error::ECHILD), "nobody is left to wait for");
        while reap_one().is_some() {}
    }
}

fn pids(members: &[Member]) -> BTreeSet<Pid> {
    members.iter().map(|member| member.pid).collect()
}

fn groups(members: &[Member]) -> BTreeSet<Pid> {
    members.iter().map(|member| member.group).collect()
}

/// Blocks until a signal came.
fn next_signals(poll: &mut mio::Poll, signals: &mut Signals) -> Vec<Signal> {
    let mut events = mio::Events::with_capacity(4);
    loop {
        let came = signals.pending();
        if !came.is_empty() {
            return came;
        }
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            told => told.unwrap(),
        }
    }
}

fn signals(inherited: &Inherited) -> (mio::Poll, Signals) {
    let poll = mio::Poll::new().unwrap();
    let mut signals = Signals::new(inherited).unwrap();
    signals.register(poll.registry(), mio::Token(0)).unwrap();
    (poll, signals)
}

alone! {
    f106_f108_f109_a_child_has_exactly_the_signals_it_was_given, HERE, numb, {
        support::numb_here();
        let inherited = first_steps();
        for number in [1, 2, 13, 15, 17, 32, 33, 34, 64] {
            assert!(inherited.ignored.contains(signal(number)), "{number}");
            assert!(inherited.blocked.contains(signal(number)), "{number}");
        }
        let _signals = Signals::new(&inherited).unwrap();
        let ours = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(field(&ours, "SigBlk"), SignalSet::EMPTY);

        let plain = output(&["cat", "/proc/self/status"], &Want::default());
        for name in ["SigIgn", "SigBlk", "SigCgt", "SigPnd", "ShdPnd"] {
            assert_eq!(field(&plain, name), SignalSet::EMPTY, "{name}");
        }
        let (ignore, block) = (set(&[1, 2, 13, 64]), set(&[10, 15, 34]));
        for _ in 0..3 {
            let shielded = output(&["cat", "/proc/self/status"], &Want { ignore, block, ..Want::default() });
            assert_eq!(field(&shielded, "SigIgn"), ignore);
            assert_eq!(field(&shielded, "SigBlk"), block);
        }
        let ours = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(field(&ours, "SigBlk"), SignalSet::EMPTY, "the mask is as before the fork");
    }

    a_child_leads_its_own_session, HERE, as_it_is, {
        let (born, mut pipe) = start(&["cat", "/proc/self/stat"], &Want::default()).unwrap();
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        reaped(born.pid);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let pid = born.pid.to_string();
        assert_eq!([fields[0], fields[4], fields[5]], [&pid, &pid, &pid], "pid, group, session");
    }

    f110_a_child_has_only_the_descriptors_it_was_given, HERE, as_it_is, {
        descriptors_are_exact();
    }

    f96_f110_descriptors_are_exact_where_the_sandbox_refuses_new_calls, HERE, sandboxed, {
        descriptors_are_exact();
        first_steps();
        let (born, _pipe) = start(&["sleep", "1000"], &Want::default()).unwrap();
        assert!(born.pidfd.is_none());
        assert_eq!(awaited(&born), Birth::Executed);
        members::signal_child(born.pid, None, Signal::TERM).unwrap();
        assert_eq!(reaped(born.pid).status, ExitStatus::Signalled { signal: Signal::TERM, core: false });
        stop_of_a_session();
        assert_eq!(fds::read_stdin(&mut [0; 8]).unwrap(), 0, "/dev/null");
    }

    handed_descriptors_survive_the_order_of_dup2, HERE, as_it_is, {
        let directory = tempfile::tempdir().unwrap();
        let files: Vec<File> = (0..3).map(|number| {
            let path = directory.path().join(number.to_string());
            std::fs::write(&path, format!("file {number}\n")).unwrap();
            File::open(path).unwrap()
        }).collect();
        let mut order: Vec<&File> = files.iter().collect();
        // Number 3 becomes 5, 4 becomes 3, 5 becomes 4, or something alike: each target is another's source.
        assert!(files.iter().all(|file| file.as_raw_fd() < 10), "{files:?}");
        order.rotate_left(1);
        let more = order.iter().map(|file| Some(file.as_fd())).collect();
        let text = output(&["sh", "-c", "cat <&3; cat <&4; cat <&5"], &Want { more, ..Want::default() });
        assert_eq!(text, "file 1\nfile 2\nfile 0\n");
    }

    f23_f24_each_failed_step_is_told_with_its_errno, HERE, as_it_is, {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(at(name), text).unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("plain", "#!/bin/sh\n", 0o644);
        write("bare", "echo no first line\n", 0o755);
        write("lost", "#!/nowhere/sh\n", 0o755);
        std::fs::copy("/bin/true", at("busy")).unwrap();
        let told = |argv: &[&str]| failure(argv, &Want::default());
        assert_eq!(told(&[&at("missing")]), (Stage::Exec, libc::ENOENT));
        assert_eq!(told(&["no-such-program-anywhere"]), (Stage::Exec, libc::ENOENT));
        assert_eq!(told(&[""]), (Stage::Exec, libc::ENOENT));
        assert_eq!(told(&[&at("plain/below")]), (Stage::Exec, libc::ENOTDIR));
        assert_eq!(told(&[&at("")]), (Stage::Exec, libc::EACCES));
        assert_eq!(told(&[&at("plain")]), (Stage::Exec, libc::EACCES));
        assert_eq!(told(&[&at("bare")]), (Stage::Exec, libc::ENOEXEC));
        assert_eq!(told(&[&at("lost")]), (Stage::Exec, libc::ENOENT));
        let writer = File::options().append(true).open(at("busy")).unwrap();
        assert_eq!(told(&[&at("busy")]), (Stage::Exec, libc::ETXTBSY));
        drop(writer);
        assert_eq!(output(&[&at("busy")], &Want::default()), "");
        assert_eq!(told(&["true", &"x".repeat(200_000)]), (Stage::Exec, libc::E2BIG));
        let nowhere = c_string(&at("nowhere"));
        let want = Want { directory: Some(&nowhere), ..Want::default() };
        assert_eq!(failure(&["true"], &want), (Stage::Directory, libc::ENOENT));
        let file = c_string(&at("plain"));
        let want = Want { directory: Some(&file), ..Want::default() };
        assert_eq!(failure(&["true"], &want), (Stage::Directory, libc::ENOTDIR));
    }

    a_child_takes_on_all_that_is_said_of_it, HERE, as_it_is, {
        let (soft, hard) = (Bound::At(777), Bound::At(1000));
        let identity = Identity {
            user: Some(account(12345)),
            group: Some(account(23456)),
            groups: Some(vec![account(34567), account(23456), account(5)]),
            umask: Some(0o027),
            nice: Some(7),
            oom_score_adjust: Some(500),
            limits: vec![
                Limit { resource: Resource::Nofile, soft, hard },
                Limit { resource: Resource::Core, soft: Bound::At(0), hard: Bound::At(0) },
                Limit { resource: Resource::Fsize, soft: Bound::At(4096), hard: Bound::Inherited },
            ],
            no_new_privileges: true,
            parent_death: Some(Signal::KILL),
        };
        let script = "cat /proc/self/status /proc/self/limits; cat /proc/self/oom_score_adj; nice; umask";
        let told = output(&["sh", "-c", script], &Want { identity, ..Want::default() });
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        let lines = told.lines().map(words).collect::<Vec<_>>();
        for expected in [
            "Uid: 12345 12345 12345 12345",
            "Gid: 23456 23456 23456 23456",
            "Groups: 5 23456 34567",
            "NoNewPrivs: 1",
            "CapEff: 0000000000000000",
            "Max open files 777 1000 files",
            "Max core file size 0 0 bytes",
            "Max file size 4096 unlimited bytes",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}\n{told}");
        }
        assert!(told.ends_with("500\n7\n0027\n"), "{told}");
    }

    f39_f112_without_a_word_a_child_has_what_we_were_started_with,
    ["prlimit", "--nofile=777:888", "nice", "-n", "3", "setpriv", "--groups=5,6", "choom", "-n", "300", "--"], as_it_is, {
        let script = "grep -E 'Groups|NoNew' /proc/self/status; ulimit -Sn; ulimit -Hn; nice; cat /proc/self/oom_score_adj";
        let told = output(&["sh", "-c", script], &Want::default());
        assert_eq!(told, "Groups:\t5 6 \nNoNewPrivs:\t0\n777\n888\n3\n300\n");
    }

    a_soft_limit_is_never_left_over_a_hard_one, ["prlimit", "--nofile=777:888"], as_it_is, {
        let limited = |soft, hard| {
            let limits = vec![Limit { resource: Resource::Nofile, soft, hard }];
            let identity = Identity { limits, ..Identity::default() };
            output(&["sh", "-c", "echo $(ulimit -Sn) $(ulimit -Hn)"], &Want { identity, ..Want::default() })
        };
        assert_eq!(limited(Bound::Inherited, Bound::At(100)), "100 100\n");
        assert_eq!(limited(Bound::At(100), Bound::Inherited), "100 888\n");
        assert_eq!(limited(Bound::At(888), Bound::At(888)), "888 888\n");
    }

    every_limit_is_the_one_of_its_name, HERE, as_it_is, {
        // In the order of /proc/self/limits, whose lines have other names: cpu, fsize, data, …
        use Resource::*;
        let rows = [Cpu, Fsize, Data, Stack, Core, Rss, Nproc, Nofile, Memlock, As, Locks, Sigpending, Msgqueue, Nice, Rtprio, Rttime];
        for (row, resource) in rows.into_iter().enumerate() {
            // Low enough to be allowed, high enough to live with.
            let number = if matches!(resource, Nice | Rtprio) { 0 } else { 8_000_000_000 };
            let number = if matches!(resource, Nofile | Nproc | Sigpending | Msgqueue | Memlock) { 300 } else { number };
            let (soft, hard) = (Bound::At(number), Bound::At(number));
            let identity = Identity { limits: vec![Limit { resource, soft, hard }], ..Identity::default() };
            let told = output(&["cat", "/proc/self/limits"], &Want { identity, ..Want::default() });
            let line = told.lines().nth(row + 1).unwrap();
            let numbers = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).skip(1).take(2);
            assert_eq!(numbers.collect::<Vec<_>>(), [number.to_string(), number.to_string()], "{resource:?}: {line}");
        }
    }

    f104_what_a_plain_user_may_not_is_told_by_its_step,
    ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "prlimit", "--nofile=777:888"], as_it_is, {
        let refused = |identity: Identity| failure(&["true"], &Want { identity, ..Want::default() });
        let none = Identity::default;
        let high = Bound::At(889);
        let limits = vec![Limit { resource: Resource::Nofile, soft: high, hard: high }];
        assert_eq!(refused(Identity { user: Some(account(5)), ..none() }), (Stage::User, libc::EPERM));
        assert_eq!(refused(Identity { group: Some(account(5)), ..none() }), (Stage::Group, libc::EPERM));
        assert_eq!(refused(Identity { groups: Some(vec![account(5)]), ..none() }), (Stage::Groups, libc::EPERM));
        assert_eq!(refused(Identity { nice: Some(-5), ..none() }), (Stage::Nice, libc::EACCES));
        assert_eq!(refused(Identity { oom_score_adjust: Some(-5), ..none() }), (Stage::OomScore, libc::EACCES));
        assert_eq!(refused(Identity { limits, ..none() }), (Stage::Limit(Resource::Nofile), libc::EPERM));
        // To be what one is already takes no right.
        let (user, group) = (Some(account(12345)), Some(account(12345)));
        for groups in [vec![], vec![account(12345)]] {
            let identity = Identity { user: user.clone(), group: group.clone(), groups: Some(groups), ..none() };
            assert_eq!(output(&["id", "-u"], &Want { identity, ..Want::default() }), "12345\n");
        }
    }

    f91_a_user_with_too_many_processes_is_a_shortage, HERE, as_it_is, {
        let limits = vec![Limit { resource: Resource::Nproc, soft: Bound::At(0), hard: Bound::At(0) }];
        let identity = Identity { user: Some(account(12346)), ..Identity::default() };
        let (first, _pipe) = start(&["sleep", "1000"], &Want { identity: identity.clone(), ..Want::default() }).unwrap();
        assert_eq!(awaited(&first), Birth::Executed);
        let want = Want { identity: Identity { limits, ..identity }, ..Want::default() };
        assert_eq!(failure(&["true"], &want), (Stage::Exec, libc::EAGAIN));
        members::signal_child(first.pid, first.pidfd.as_ref().map(AsFd::as_fd), Signal::KILL).unwrap();
        reaped(first.pid);
    }

    a_secret_is_read_with_our_rights_and_told_by_its_number, HERE, as_it_is, {
        let made = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = made.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
            c_string(path.to_str().unwrap())
        };
        let secret = |name: &str, path: &CString| FileVariable { name: c_string(name), path: path.clone() };
        let (short, long) = (file("short", b"one two\n"), file("long", &[b'x'; 100_000]));
        let (empty, missing) = (file("empty", b""), c_string(made.path().join("missing").to_str().unwrap()));
        let want = |secrets: Vec<FileVariable>| {
            let identity = Identity { user: Some(account(12345)), ..Identity::default() };
            Want { secrets, identity, env: vec![c_string("A=1").into()], ..Want::default() }
        };
        let secrets = vec![secret("S", &short), secret("L", &long), secret("E", &empty)];
        let told = output(&["env"], &want(secrets));
        assert_eq!(told, format!("A=1\nS=one two\nL={}\nE=\n", "x".repeat(100_000)));
        let secrets = vec![secret("S", &short), secret("M", &missing)];
        assert_eq!(failure(&["env"], &want(secrets)), (Stage::Secret(1), libc::ENOENT));
    }

    the_directory_is_entered_as_the_user, HERE, as_it_is, {
        let shut = tempfile::tempdir().unwrap();
        std::fs::set_permissions(shut.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let directory = c_string(shut.path().to_str().unwrap());
        let identity = Identity { user: Some(account(12345)), ..Identity::default() };
        let want = Want { directory: Some(&directory), identity, ..Want::default() };
        assert_eq!(failure(&["true"], &want), (Stage::Directory, libc::EACCES));
    }

    without_proc_the_oom_score_is_a_step_that_fails, ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"],
    as_it_is, {
        let identity = Identity { oom_score_adjust: Some(5), ..Identity::default() };
        assert_eq!(failure(&["true"], &Want { identity, ..Want::default() }), (Stage::OomScore, libc::ENOENT));
    }

    what_is_wrong_before_the_fork_is_told_at_once, HERE, as_it_is, {
        let more = vec![None; 8];
        let told = start(&["true"], &Want { more, ..Want::default() }).map(drop);
        assert_eq!(told, Err(SpawnError { stage: Stage::Prepare, errno: libc::EINVAL }));
        assert!(reap_one().is_none());
    }

    f90_f91_a_fork_that_is_refused_is_told_as_such, ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", "--nproc=1"],
    as_it_is, {
        let told = start(&["true"], &Want::default()).map(drop);
        assert_eq!(told, Err(SpawnError { stage: Stage::Fork, errno: libc::EAGAIN }));
    }

    a_child_gets_its_words_environment_and_directory, HERE, as_it_is, {
        let env = vec![c_string("A=one two").into(), c_string("B=").into()];
        let want = Want { directory: Some(c"/usr"), env, ..Want::default() };
        assert_eq!(output(&["sh", "-c", "pwd; echo $0 $1", "zero", "a  b"], &want), "/usr\nzero a b\n");
        assert_eq!(output(&["env"], &Want { env: want.env, ..Want::default() }), "A=one two\nB=\n");
    }

    a_file_that_may_not_be_executed_is_remembered_over_later_ones_that_are_missing, HERE, as_it_is, {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tool")).unwrap();
        let path = format!("/nowhere:{}:/nowhere/else", directory.path().display());
        let argv = [c_string("tool")];
        let candidates = candidates(c"tool", Some(path.as_bytes()));
        let born = spawn(&bare(&argv, &candidates, &Identity::default())).unwrap();
        assert_eq!(awaited(&born), Birth::Failed(SpawnError { stage: Stage::Exec, errno: libc::EACCES }));
        reaped(born.pid);
    }

    f16_an_exec_that_hangs_keeps_nobody, ["unshare", "--mount"], as_it_is, {
        let directory = tempfile::tempdir().unwrap();
        let dead = support::dead_file_system(directory.path());
        let program = format!("{}/program", directory.path().display());
        // The child has a copy of both ends, and only an exec would close them by itself: the end of file below comes
        // because the child let go of what it has no business with before it hung.
        let bystander = fds::pipe().unwrap();
        let (born, mut pipe) = start(&[&program], &Want::default()).unwrap();
        assert_eq!(birth(born.report.as_fd()), Birth::Pending);
        drop(bystander.write);
        assert_eq!(fds::read(bystander.read.as_fd(), &mut [0; 8]).unwrap(), 0);
        assert_eq!(birth(born.report.as_fd()), Birth::Pending);
        members::signal_child(born.pid, born.pidfd.as_ref().map(AsFd::as_fd), Signal::KILL).unwrap();
        assert_eq!(reaped(born.pid).status, ExitStatus::Signalled { signal: Signal::KILL, core: false });
        assert_eq!(birth(born.report.as_fd()), Birth::Executed, "its death tells the rest");
        assert_eq!(pipe.read(&mut [0; 8]).unwrap(), 0);
        drop(dead);
    }

    f16_a_look_that_hangs_is_given_up_and_leaves_nobody, ["unshare", "--mount"], as_it_is, {
        first_steps();
        let directory = tempfile::tempdir().unwrap();
        let dead = support::dead_file_system(directory.path());
        let program = directory.path().join("program");
        let look = aside(Duration::from_millis(50), || format!("{:?}", std::fs::metadata(&program)).into_bytes());
        assert_eq!(look.answer.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!((look.left, reap_one()), (None, None));
        drop(dead);
    }

    a_look_tells_its_whole_answer_and_leaves_nobody, HERE, as_it_is, {
        first_steps();
        let long: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[1]).collect();
        for answer in [&b""[..], b"\0", &long] {
            assert_eq!(aside(Duration::from_secs(60), || answer.to_vec()).answer.unwrap(), answer);
        }
        let died = aside(Duration::from_secs(60), || std::process::exit(0)).answer;
        assert_eq!(died.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(reap_one(), None);
    }

    f4_deaths_are_told_as_they_were, HERE, as_it_is, {
        let end = |script: &str| {
            let (born, _pipe) = start(&["sh", "-c", script], &Want::default()).unwrap();
            reaped(born.pid).status
        };
        assert_eq!(end("exit 0"), ExitStatus::Exited(0));
        assert_eq!(end("exit 255"), ExitStatus::Exited(255));
        for number in [9, 15, 32, 33, 34, 37, 64] {
            let (born, _pipe) = start(&["sleep", "1000"], &Want::default()).unwrap();
            assert_eq!(awaited(&born), Birth::Executed);
            members::signal_child(born.pid, born.pidfd.as_ref().map(AsFd::as_fd), signal(number)).unwrap();
            let status = reaped(born.pid).status;
            assert_eq!(status, ExitStatus::Signalled { signal: signal(number), core: false });
            members::signal_child(born.pid, born.pidfd.as_ref().map(AsFd::as_fd), Signal::TERM).unwrap();
        }
    }

    what_a_child_used_is_counted, HERE, as_it_is, {
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let (born, _pipe) = start(&["sh", "-c", script], &Want::default()).unwrap();
        let usage = reaped(born.pid).usage;
        assert!(usage.user + usage.system > Duration::from_millis(1), "{usage:?}");
        assert!((100..1_000_000).contains(&usage.max_rss_kib), "{usage:?}");
    }

    f107_a_death_is_heard_though_sigchld_was_inherited_as_ignored, HERE, numb, {
        let inherited = first_steps();
        let (mut poll, mut signals) = signals(&inherited);
        let (born, _pipe) = start(&["sh", "-c", "exit 7"], &Want::default()).unwrap();
        assert_eq!(next_signals(&mut poll, &mut signals), [Signal::CHLD]);
        let reaped = reap_one().unwrap();
        assert_eq!((reaped.pid, reaped.status), (born.pid, ExitStatus::Exited(7)));
    }

    f1_f2_f3_ten_thousand_orphans_are_all_reaped, HERE, as_it_is, {
        const ORPHANS: usize = 10_000;
        let inherited = first_steps();
        assert!(inherited.subreaper);
        let (mut poll, mut signals) = signals(&inherited);
        support::fork_orphans(ORPHANS);
        let mut count = 0;
        while count < ORPHANS + 1 {
            next_signals(&mut poll, &mut signals);
            count += std::iter::from_fn(reap_one).filter(|dead| dead.status == ExitStatus::Exited(0)).count();
        }
        assert_eq!(reap_one(), None);
    }

    f55_f58_harmless_signals_are_heard_once_each, HERE, as_it_is, {
        let inherited = first_steps();
        let (_poll, mut signals) = signals(&inherited);
        let heard: Vec<i32> =
            [1, 2, 3, 10, 12, 14, 15, 16, 17, 18, 23, 24, 26, 27, 28, 29, 30].into_iter().chain(34..=64).collect();
        // kill(2) on ourselves delivers at least one signal before it returns, and all are unblocked.
        for &number in heard.iter().chain(&heard).chain(&[13, 21, 22, 25]) {
            let status = std::process::Command::new("sh")
                .args(["-c", &format!("kill -{number} $PPID")])
                .status();
            assert!(status.unwrap().success());
        }
        let came: Vec<i32> = signals.pending().into_iter().map(Signal::number).collect();
        assert_eq!(came, heard);
        assert!(signals.pending().is_empty());
    }

    f5_children_from_before_our_time_are_known_and_let_be,
    ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & exec \"$@\"", "sh"], as_it_is, {
        let inherited = first_steps();
        let [before] = inherited.children[..] else { panic!("{:?}", inherited.children) };
        assert!(!inherited.init);
        assert!(strangers::living(&[], &inherited.children, false).is_empty());
        assert_eq!(strangers::living(&[], &[], false), [before]);
        members::signal_child(before, None, Signal::KILL).unwrap();
        reaped(before);
        assert!(strangers::living(&[], &[], false).is_empty());
    }

    f9_f46_what_a_dead_leader_left_is_found_and_stopped, HERE, as_it_is, {
        first_steps();
        stop_of_a_session();
    }

    f46_the_members_of_a_living_leader_are_found_too, HERE, as_it_is, {
        first_steps();
        let (born, said, _pipe) = start_until_line("sleep 1000 & echo $!; wait");
        let is_leader = |pid| pid == born.pid;
        let found = members::living(&[born.pid], &is_leader);
        assert_eq!(pids(&found), BTreeSet::from([born.pid, numbers(&said)[0]]));
        assert_eq!(members::signal_members(&found, Signal::KILL).unwrap(), 1);
        reap_until(|| members::living(&[born.pid], &is_leader).is_empty());
    }

    a_short_look_answers_as_a_full_one, HERE, as_it_is, {
        first_steps();
        let (resident, _pipe) = start(&["sleep", "1000"], &Want::default()).unwrap();
        assert_eq!(awaited(&resident), Birth::Executed);
        let is_leader = |pid| pid == resident.pid;
        let (left, _, _left_pipe) = start_until_line("sleep 1000 & echo");
        reaped(left.pid);
        for (session, many) in [(left.pid, 1), (resident.pid, 1), (Pid::MAX, 0)] {
            let short = members::living(&[session], &is_leader);
            assert_eq!(short, members::living(&[session], &nobody));
            assert_eq!(short.len(), many);
        }
        let both = members::living(&[left.pid, resident.pid], &nobody);
        assert_eq!(groups(&both), BTreeSet::from([left.pid, resident.pid]));
        members::signal_members(&both, Signal::KILL).unwrap();
        reap_until(|| members::living(&[left.pid, resident.pid], &nobody).is_empty());
        assert_eq!(members::living(&[left.pid], &is_leader), []);
    }

    zombies_do_not_count, HERE, as_it_is, {
        first_steps();
        let (born, mut pipe) = start(&["sh", "-c", "exit 0"], &Want::default()).unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        let mut asked = [nix::poll::PollFd::new(born.pidfd.as_ref().unwrap().as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut asked, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(members::living(&[born.pid], &nobody), []);
        assert!(strangers::living(&[], &[], false).is_empty());
        assert!(reap_one().is_some());
    }

    a_process_whose_first_thread_ended_lives_on, HERE, as_it_is, {
        first_steps();
        let script = "import ctypes, os, threading\n\
            def rest():\n \
             while open('/proc/self/stat').read().split()[2] != 'Z': pass\n \
             print(os.getpid(), flush=True)\n \
             threading.Event().wait()\n\
            threading.Thread(target=rest).start()\n\
            ctypes.CDLL(None).pthread_exit(None)\n";
        let env = vec![c_string(&format!("PATH={}", std::env::var("PATH").unwrap())).into()];
        let (born, mut pipe) = start(&["python3", "-c", script], &Want { env, ..Want::default() }).unwrap();
        assert_eq!(line(&mut pipe), born.pid.to_string());
        assert_eq!(pids(&members::living(&[born.pid], &nobody)), BTreeSet::from([born.pid]));
        assert_eq!(members::signal_members(&members::living(&[born.pid], &nobody), Signal::KILL).unwrap(), 1);
        assert_eq!(reaped(born.pid).status, ExitStatus::Signalled { signal: Signal::KILL, core: false });
    }

    f10_nobody_is_signalled_by_a_number_that_is_no_longer_a_members, HERE, as_it_is, {
        first_steps();
        let (bystander, _pipe) = start(&["sleep", "1000"], &Want::default()).unwrap();
        assert_eq!(awaited(&bystander), Birth::Executed);
        // As if the member had died and its number, its group's number, were given to the bystander.
        let stale = Member { pid: bystander.pid, group: bystander.pid, session: bystander.pid + 1 };
        assert_eq!(members::signal_members(&[stale], Signal::KILL).unwrap(), 0);
        let gone = Member { pid: Pid::MAX, group: bystander.pid, session: bystander.pid };
        assert_eq!(members::signal_members(&[gone], Signal::KILL).unwrap(), 0);
        let crowds = [0, 1, -1].map(|group| Member { pid: bystander.pid, group, session: bystander.pid });
        assert_eq!(members::signal_members(&crowds, Signal::KILL).unwrap(), 0);
        strangers::signal(&[0, 1, -1, -bystander.pid], Signal::KILL);
        for crowd in [0, 1, -1, -bystander.pid] {
            assert!(members::signal_child(crowd, None, Signal::KILL).is_err());
        }
        // Nor a process that is no descendant of ours.
        let parent = std::os::unix::process::parent_id() as Pid;
        strangers::signal(&[parent], Signal::KILL);
        let living = members::living(&[bystander.pid], &nobody);
        assert_eq!(pids(&living), BTreeSet::from([bystander.pid]));
        assert_eq!(members::signal_members(&living, Signal::TERM).unwrap(), 1);
        assert_eq!(reaped(bystander.pid).status, ExitStatus::Signalled { signal: Signal::TERM, core: false });
    }

    f92_members_are_not_taken_for_gone_when_descriptors_run_out, ["prlimit", "--nofile=40"], as_it_is, {
        first_steps();
        let (born, _, _pipe) = start_until_line("sleep 1000 & echo");
        reaped(born.pid);
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let found = members::living(&[born.pid], &nobody);
        assert_eq!(groups(&found), BTreeSet::from([born.pid]));
        assert_eq!(members::signal_members(&found, Signal::KILL).unwrap(), 1);
        let refused = start_without_files();
        assert_eq!(refused, Err(SpawnError { stage: Stage::Prepare, errno: libc::EMFILE }));
        drop(files);
        reap_until(|| members::living(&[born.pid], &nobody).is_empty());
    }

    f98_descriptors_are_flat_over_many_starts, HERE, as_it_is, {
        first_steps();
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let cycle = || {
            output(&["true"], &Want::default());
            failure(&["/nowhere"], &Want::default());
            members::living(&[1 << 20], &nobody);
            strangers::living(&[], &[], false);
        };
        cycle();
        let before = count();
        (0..100).for_each(|_| cycle());
        assert_eq!(count(), before);
    }

    f100_as_init_a_signal_is_kept_until_someone_listens, HERE, as_it_is, {
        support::as_init(true, life_of_an_init);
    }

    f102_where_proc_is_of_another_namespace_its_numbers_are_not_believed, HERE, as_it_is, {
        support::as_init(false, stop_without_proc);
    }

    f105_descriptors_that_were_closed_stand_for_nothing,
    ["sh", "-c", "exec \"$@\" 0<&-", "sh"], as_it_is, {
        let inherited = first_steps();
        assert_eq!(inherited.replaced, [true, false, false]);
        assert_eq!(fds::stdin_kind(), fds::StdinKind::Regular);
        assert_eq!(fds::read_stdin(&mut [0; 8]).unwrap(), 0);
    }

    stdin_from_a_pipe_is_read_without_waiting,
    ["sh", "-c", "d=$(mktemp -d) && mkfifo $d/f && exec 0<>$d/f && rm -r $d && exec \"$@\"", "sh"], as_it_is, {
        let stdin = io::stdin();
        assert_eq!(fds::stdin_kind(), fds::StdinKind::Pollable);
        let mut buffer = [0; 64];
        // The file is not O_NONBLOCK: a plain read would wait for ever.
        assert_eq!(fds::read_stdin(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fds::write(stdin.as_fd(), b"here\n").unwrap();
        assert_eq!(fds::read_stdin(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"here\n");
        assert_eq!(fds::read_stdin(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    stdin_from_a_file_is_read_to_its_end, ["sh", "-c", "exec \"$@\" <Cargo.toml", "sh"], as_it_is, {
        assert_eq!(fds::stdin_kind(), fds::StdinKind::Regular);
        let mut text = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match fds::read_stdin(&mut buffer).unwrap() {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(text, std::fs::read("Cargo.toml").unwrap());
    }
}

fn start_without_files() -> Result<(), SpawnError> {
    let argv = [c_string("/bin/true")];
    spawn(&bare(&argv, &argv, &Identity::default())).map(drop)
}

fn descriptors_are_exact() {
    let strays: Vec<File> = (0..20).map(|_| File::open("/dev/zero").unwrap()).collect();
    for stray in &strays {
        let stay_open = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
        nix::fcntl::fcntl(stray, stay_open).unwrap();
    }
    let given = File::open("/dev/null").unwrap();
    let plain = output(&["sh", "-c", OPEN], &Want::default());
    assert_eq!(numbers(&plain), [0, 1, 2]);
    let more = vec![Some(strays[19].as_fd()), None, Some(given.as_fd())];
    let some = output(&["sh", "-c", OPEN], &Want { more, ..Want::default() });
    assert_eq!(numbers(&some), [0, 1, 2, 3, 5]);
}

/// A leader that leaves three: one in its own group, one in a session of its own, one just so.
fn stop_of_a_session() {
    let script = "timeout 1000 sleep 999 & echo $!; setsid sleep 999 & echo $!; sleep 999 & echo $!; echo .";
    let (born, first, mut pipe) = start_until_line(script);
    let [timeout, own, plain] = [first, line(&mut pipe), line(&mut pipe)].map(|said| numbers(&said)[0]);
    assert_eq!(line(&mut pipe), ".");
    assert_eq!(reaped(born.pid).status, ExitStatus::Exited(0));
    // timeout(1) makes its group, and starts its command, in its own time; so does setsid(1).
    let look = || members::living(&[born.pid], &nobody);
    let settled = |found: &[Member]| {
        groups(found) == BTreeSet::from([born.pid, timeout]) && found.len() == 3 && !pids(found).contains(&own)
    };
    let mut found = look();
    while !settled(&found) {
        std::thread::yield_now();
        found = look();
    }
    assert!(pids(&found).is_superset(&BTreeSet::from([timeout, plain])));
    assert_eq!(strangers::living(&[born.pid], &[], false), [own]);
    assert!(strangers::living(&[born.pid], &[own], false).is_empty());

    assert_eq!(members::signal_members(&found, Signal::TERM).unwrap(), 2);
    reap_until(|| look().is_empty());
    // Zombies still hold their group's number; when they are reaped nobody is there to be signalled.
    reap_until(|| members::signal_members(&found, Signal::TERM).unwrap() == 0);
    assert_eq!(strangers::living(&[], &[], false), [own]);
    strangers::signal(&[own], Signal::KILL);
    assert_eq!(reaped(own).status, ExitStatus::Signalled { signal: Signal::KILL, core: false });
    assert!(strangers::living(&[], &[], false).is_empty());
}

fn life_of_an_init() {
    let inherited = first_steps();
    assert!(inherited.init && inherited.subreaper);
    // From inside the namespace: the kernel drops what an init neither blocks nor handles.
    output(&["sh", "-c", "kill -TERM 1"], &Want::default());
    let (_poll, mut signals) = signals(&inherited);
    assert_eq!(signals.pending(), [Signal::TERM, Signal::CHLD]);

    let (born, said, _pipe) = start_until_line("setsid sleep 1000 & echo $!");
    reaped(born.pid);
    let everybody = strangers::living(&[], &[], true);
    assert_eq!(everybody, numbers(&said));
    strangers::signal(&everybody, Signal::KILL);
    reaped(everybody[0]);
    assert!(strangers::living(&[], &[], true).is_empty());
}

fn stop_without_proc() {
    let inherited = first_steps();
    assert!(inherited.init);
    let (born, _, _pipe) = start_until_line("sleep 1000 & echo");
    reaped(born.pid);
    let found = members::living(&[born.pid], &nobody);
    assert_eq!(found, [Member { pid: born.pid, group: born.pid, session: born.pid }]);
    assert_eq!(strangers::living(&[], &[], true), [-1]);
    assert_eq!(members::signal_members(&found, Signal::TERM).unwrap(), 1);
    reap_until(|| members::living(&[born.pid], &nobody).is_empty());
    assert!(strangers::living(&[], &[], true).is_empty());

    let (born, said, _pipe) = start_until_line("setsid sleep 1000 & echo $!");
    reaped(born.pid);
    while !members::living(&[born.pid], &nobody).is_empty() {
        std::thread::yield_now();
    }
    strangers::signal(&strangers::living(&[], &[], true), Signal::KILL);
    reaped(numbers(&said)[0]);
}
