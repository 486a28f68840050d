//! Workers that tell of themselves by sd_notify(3): the real `systemd-notify`, real daemons, and by hand.

use crate::support::{Need, Sandbox, has, send, until};
use nix::sys::signal::Signal;
use std::fs;

/// A worker `w` that is a Python program with the words of `notify.py`.
fn told_by_hand(program: &str, keys: &str) -> Sandbox {
    let config = format!("[worker.w]\ncommand = [\"@PYTHON@\", \"w.py\"]\nready = {{ notify = true }}\n{keys}\n");
    let sandbox = Sandbox::new(&config);
    sandbox.file("w.py", &format!("from notify import *\n{program}"));
    sandbox
}

#[test]
fn systemd_notify_from_a_shell_is_heard_and_who_waits_starts_then() {
    if !has(Need::SystemdNotify) {
        return;
    }
    let config = "[worker.slow]\ncommand = [\"sh\", \"slow.sh\"]\nready = { notify = true }\n\
        [worker.fast]\ncommand = [\"sh\", \"fast.sh\"]\nafter = [\"slow\"]\n";
    let sandbox = Sandbox::new(config);
    // Each word comes from a child of the worker; with its barrier it waits until we have read it.
    sandbox.file(
        "slow.sh",
        "trap 'systemd-notify --status=leaving STOPPING=1; exit 0' TERM\nread -r _ <gate\necho tells >>order\n\
         systemd-notify --ready --status='going well' && echo heard >&2\nwhile :; do sleep 0.02; done\n",
    );
    sandbox.file("fast.sh", "trap 'exit 0' TERM\necho runs >>order\necho fast up >&2\nwhile :; do sleep 0.02; done\n");
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: slow.0 started");
    gate.open();
    run.wait_for_line("heard");
    run.wait_for_line("exeunt: slow.0 says: going well");
    run.wait_for_line("exeunt: slow.0 is ready after");
    run.wait_for_line("fast up");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("exeunt: slow.0 says: stopping");
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(sandbox.lines("order"), ["tells", "runs"], "{outcome}");
    assert!(outcome.stderr.contains("slow.0 says: leaving") && !outcome.stderr.contains("ignored"), "{outcome}");
}

#[test]
fn redis_tells_when_it_is_ready() {
    if !has(Need::Redis) {
        return;
    }
    let config = "[worker.redis]\ncommand = [\"redis-server\", \"--supervised\", \"systemd\", \"--port\", \"0\", \"--unixsocket\", \
        \"redis.sock\", \"--save\", \"\", \"--logfile\", \"redis.log\"]\nready = { notify = true }\n\
        [worker.client]\ncommand = [\"sh\", \"client.sh\"]\nrequires = [\"redis\"]\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("client.sh", "redis-cli -s redis.sock ping >&2\nexec sleep 1000\n");
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: redis.0 is ready after");
    run.wait_for_line("PONG");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    let status = "exeunt: redis.0 says: Ready to accept connections";
    assert!(outcome.stderr.contains(status), "{outcome}");
    assert!(sandbox.read("redis.log").contains("bye bye"), "{}", sandbox.read("redis.log"));
}

/// Its master tells, and names itself as the main process.
#[test]
fn haproxy_tells_when_it_is_ready() {
    if !has(Need::Haproxy) {
        return;
    }
    let config =
        "[worker.proxy]\ncommand = [\"haproxy\", \"-Ws\", \"-f\", \"haproxy.cfg\"]\nready = { notify = true }\n";
    let sandbox = Sandbox::new(config);
    let socket = sandbox.path("http.sock");
    sandbox.file(
        "haproxy.cfg",
        &format!(
            "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend f\n  bind unix@{}\n  http-request return status 200 content-type text/plain string well\n",
            socket.display()
        ),
    );
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: proxy.0 is ready after");
    assert!(socket.exists());
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("ignored") && !outcome.stderr.contains("main"), "{outcome}");
}

#[test]
fn nonsense_is_ignored_and_what_comes_after_it_is_heard() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "say('READY=0', b'READY=1\\0X=1', 'X' * 5000, b'\\xff\\xfe', '', 'STATUS=\\033[2Jred')\n\
         log('said')\nwait_for('let-it')\nsay('READY=1\\nSTATUS=a', 'STATUS=a', 'STATUS=b')\nstay()\n",
        "",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("said");
    run.wait_for_line("exeunt: w.0 says: \u{fffd}[2Jred");
    sandbox.file("let-it", "");
    run.wait_for_line("exeunt: w.0 is ready after");
    run.wait_for_line("exeunt: w.0 says: b");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("w.0 says: a").count(), 1, "said once: {outcome}");
    assert_eq!(outcome.stderr.matches("too long, or no text").count(), 1, "{outcome}");
}

/// The test itself is one: it is of the same user, or root, and can reach the socket.
#[test]
fn f29_who_is_none_of_the_worker_is_not_believed() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "open('name', 'w').write(os.environ['NOTIFY_SOCKET'] + '\\n')\nwait_for('let-it')\nsay('STATUS=mine')\nwait_for('end')\n\
         say('READY=1')\nstay()\n",
        "",
    );
    let run = sandbox.launch().start();
    let foreign = foreign_socket(&sandbox.wait_for_line("name", "exeunt"));
    (0..3).for_each(|_| _ = foreign.send(b"READY=1\nSTATUS=foreign").unwrap());
    let us = format!("exeunt: warning: w.0: process {} of user", std::process::id());
    assert!(run.wait_for_line(&us).ends_with("which is none of its own, notifies in its name; that is ignored"));
    sandbox.file("let-it", "");
    run.wait_for_line("exeunt: w.0 says: mine");
    sandbox.file("end", "");
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("none of its own").count(), 1, "said once: {outcome}");
    assert!(!outcome.stderr.contains("says: foreign"), "{outcome}");
    let ready = outcome.stderr.find("is ready after").unwrap();
    assert!(outcome.stderr.find("says: mine").unwrap() < ready, "{outcome}");
}

fn foreign_socket(name: &str) -> std::os::unix::net::UnixDatagram {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).unwrap(),
        None => SocketAddr::from_pathname(name).unwrap(),
    };
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.connect_addr(&address).unwrap();
    socket
}

/// We are stopped while the sender comes and goes, so that it can be asked no more who it was.
#[test]
fn a_sender_that_is_gone_is_believed() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "log('up')\nwait_for('let-it')\nchild = os.fork()\nif child == 0:\n    say('READY=1')\n    os._exit(0)\n\
         os.waitpid(child, 0)\nlog('gone')\nstay()\n",
        "start-timeout = \"off\"",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    run.signal(Signal::SIGSTOP);
    sandbox.file("let-it", "");
    run.wait_for_line("gone");
    run.signal(Signal::SIGCONT);
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn the_last_words_of_the_dead_are_heard_before_its_death() {
    if !has(Need::Python) {
        return;
    }
    let program = "say('READY=1', 'STATUS=out of luck')\nos._exit(3)\n";
    let sandbox = told_by_hand(program, "restart = \"never\"");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    let words = ["w.0 is ready after", "w.0 says: out of luck", "w.0 ended by itself"];
    let found = words.map(|words| outcome.stderr.find(words).unwrap_or_else(|| panic!("no {words:?}: {outcome}")));
    assert!(found.is_sorted(), "{outcome}");
}

/// `FDSTORE`, `BARRIER` and worse: what comes along is closed at once, so its sender reads the end, and we keep nothing.
#[test]
fn descriptors_that_are_sent_along_are_not_kept() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "say('READY=1')\nwait_for('let-it')\nfor word, count in (('BARRIER=1', 1), ('FDSTORE=1', 3), ('STATUS=x', 250)):\n\
         \x20   ours, theirs = os.pipe()\n    say(word, fds=[theirs] * count)\n    os.close(theirs)\n    os.read(ours, 1)\n    os.close(ours)\n\
         log('all closed')\nstay()\n",
        "",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    let held = || fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    let before = held();
    sandbox.file("let-it", "");
    run.wait_for_line("all closed");
    assert_eq!(held(), before, "descriptors of exeunt");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn a_worker_of_another_user_is_heard() {
    if !has(Need::SystemdNotify) || !has(Need::Root) {
        return;
    }
    let script = "systemd-notify --ready --status=\"as $$(id -u)\"; exec sleep 1000";
    let config =
        format!("[worker.w]\ncommand = [\"sh\", \"-c\", '{script}']\nready = {{ notify = true }}\nuser = \"65534\"\n");
    let sandbox = Sandbox::new(&config);
    sandbox.open_to_all();
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    run.wait_for_line("exeunt: w.0 says: as 65534");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// Nothing is written anywhere: not even root could. The address is an abstract one then.
#[test]
fn no_directory_is_needed() {
    if !has(Need::Python) || !has(Need::Root) {
        return;
    }
    let sandbox = told_by_hand(
        "open('/dev/null', 'w').close()\nlog('told ' + os.environ['NOTIFY_SOCKET'])\nsay('READY=1')\nstay()\n",
        "",
    );
    let read_only = "mount --bind / /mnt && mount -o remount,bind,ro /mnt && for each in dev proc; do mount --rbind /$each /mnt/$each; done && \
        mount -t tmpfs -o ro none /mnt/dev/shm && \
        exec chroot /mnt sh -c 'cd \"$0\" && ! touch x 2>/dev/null && exec \"$@\"' \"$PWD\" \"$@\"";
    let run = sandbox.launch().under(&["unshare", "--mount", "sh", "-c", read_only, "sh"]).start();
    run.wait_for_line("told @exeunt/");
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// What a systemd above us tells us is not for our workers; what we tell a worker is its own.
#[test]
fn nobody_inherits_where_to_notify() {
    let config = "[worker.plain]\ncommand = [\"sh\", \"plain.sh\"]\n\
        [worker.told]\ncommand = [\"sh\", \"told.sh\"]\nready = { notify = true }\nwatchdog = \"20s\"\nstart-timeout = \"off\"\n";
    let sandbox = Sandbox::new(config);
    let show = "echo \"${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} ${WATCHDOG_PID-none} $$\"";
    sandbox.file("plain.sh", &format!("{show} >plain; exec sleep 1000"));
    sandbox.file("told.sh", &format!("{show} >told; exec sleep 1000"));
    let launch = sandbox.launch().env("NOTIFY_SOCKET", "/run/above").env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "1");
    let run = launch.start();
    assert!(sandbox.wait_for_line("plain", " ").starts_with("none none none "));
    let told = sandbox.wait_for_line("told", " ");
    let words: Vec<&str> = told.split(' ').collect();
    assert!(words[0].contains("/exeunt-notify-") && words[1] == "20000000" && words[2] == words[3], "{told}");
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// A wrapper that does not pass signals on names whom they are for.
#[test]
fn the_main_process_that_a_worker_names_gets_its_signals() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nchild = os.fork()\nif child == 0:\n    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n    open('armed', 'w')\n    stay()\n\
         wait_for('armed')\nsay('MAINPID=%d' % os.getppid())\nsay('MAINPID=%d\\nREADY=1' % child)\nos.waitpid(child, 0)\nlog('the child has left')\n",
        "stop = [\"TERM 60s\"]",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    run.signal(Signal::SIGTERM);
    run.wait_for_line("the child has left");
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stderr.matches("cannot be its main one: it is none of its own").count(), 1, "{outcome}");
}

/// Nothing else would stand for it once its number is another's.
#[test]
fn where_there_are_no_pidfds_nobody_but_the_leader_is_the_main_process() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "child = os.fork()\nif child == 0:\n    stay()\nsay('MAINPID=%d\\nREADY=1' % child)\nstay()\n",
        "stop = [\"TERM 60s\"]",
    );
    for errno in [libc::ENOSYS, libc::EPERM] {
        let run = sandbox.launch().refusing_new_calls(errno).start();
        run.wait_for_line("exeunt: w.0 is ready after");
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(0);
        let said = "cannot be its main one: this kernel, or the sandbox that exeunt is in, has no descriptors for processes (pidfd_open)\n";
        assert_eq!(outcome.stderr.matches(said).count(), 1, "{outcome}");
    }
}

#[test]
fn who_asks_for_more_time_to_start_gets_it_and_no_more() {
    if !has(Need::Python) {
        return;
    }
    let keys = "start-timeout = \"2s\"\nstart-limit = { burst = 1, interval = \"60s\" }";
    let sandbox = told_by_hand("say('EXTEND_TIMEOUT_USEC=3000000')\nlog('asked')\nstay()\n", keys);
    let began = std::time::Instant::now();
    let run = sandbox.launch().start();
    run.wait_for_line("asked");
    run.wait_for_line("exeunt: warning: w.0 was not ready within 2s and is stopped");
    assert!(began.elapsed().as_secs() >= 3, "it had {:?}", began.elapsed());
    run.finish().expect_code(1);
}

/// What a process outside of the session says when it was started by the worker: without a control group nothing shows
/// that it belongs to the instance.
#[test]
fn who_left_the_session_does_not_speak_for_it() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "child = os.fork()\nif child == 0:\n    os.setsid()\n    say('READY=1')\n    log(str(os.getpid()))\n    stay()\nstay()\n",
        "start-timeout = \"off\"\n[supervisor]\ncgroup = \"off\"",
    );
    let run = sandbox.launch().start();
    run.wait_for_line_with("which is none of its own, notifies in its name");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("is ready"), "{outcome}");
}

#[test]
fn a_flood_of_notifications_holds_up_nobody() {
    if !has(Need::Python) {
        return;
    }
    let sandbox = told_by_hand(
        "say('READY=1')\nchan = channel()\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('pid', 'w').write('%d\\n' % os.getpid())\n\
         while True:\n    try:\n        chan.send(b'WATCHDOG=1')\n    except OSError:\n        pass\n",
        "watchdog = \"60s\"\nstop = [\"TERM 100ms\"]",
    );
    let run = sandbox.launch().start();
    run.wait_for_line("exeunt: w.0 is ready after");
    let pid = until("its pid", || sandbox.read("pid").trim().parse().ok());
    send(pid, Signal::SIGKILL);
    run.wait_for_words("w.0 is ready after", 2);
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}
