//! F62, F63, F104, F112: who a program is, what it may use, and what nobody but it may see.

use crate::support::{Need, QUICK_RESTART, Sandbox, has, marked, numbered, pool, send, sorted, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;

const ECHO: &str = "while IFS= read -r line <&3; do echo \"ok ${line%% *} $(id -u):$(id -g):$(id -G)\" >&4; done\n";

/// The tests that change their user are for root, as those that make namespaces are.
fn as_root() -> bool {
    has(Need::PidNamespace) && nix_is_root()
}

fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// Lets everybody in.
fn open(sandbox: &Sandbox) {
    std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn f104_a_worker_runs_as_a_user_that_nobody_knows() {
    if !as_root() {
        return;
    }
    let worker = "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nreplicas = 2\n\
        user = \"12345:23456\"\nsupplementary-groups = [\"5\", \"6\"]";
    let sandbox = Sandbox::new(&pool("", worker));
    sandbox.file("w.sh", ECHO);
    open(&sandbox);
    let outcome = sandbox.launch().stdin_items(&numbered(4)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["12345:23456:23456 5 6"; 4], "{outcome}");
}

/// Both files are empty, for it alone.
#[test]
fn f104_without_passwd_numbers_work_and_names_are_refused_with_the_reason() {
    if !as_root() {
        return;
    }
    let hide = "mount --bind /dev/null /etc/group && umount -l /etc/group; touch empty && \
        mount --bind empty /etc/passwd && mount --bind empty /etc/group && exec \"$@\"";
    let launcher = ["unshare", "--mount", "sh", "-c", hide, "sh"];
    let config = |user: &str| format!("[worker.w]\ncommand = [\"sh\", \"-c\", \"id -u; id -g\"]\nuser = \"{user}\"\n");
    let sandbox = Sandbox::new(&config("12345"));
    open(&sandbox);
    let outcome = sandbox.launch().under(&launcher).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "12345\n12345\n", "{outcome}");
    sandbox.config(&config("root"));
    let outcome = sandbox.launch().under(&launcher).finish();
    outcome.expect_code(78);
    assert!(outcome.stderr.contains("unknown user \"root\""), "{outcome}");
}

#[test]
fn f104_what_is_not_allowed_is_a_failed_start_that_names_the_step() {
    if !as_root() {
        return;
    }
    let plain = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", "--nofile=500:600"];
    for (keys, words) in [
        ("user = \"12345:54321\"", "changing to user 12345: Operation not permitted"),
        ("group = \"6\"", "changing to group 6: Operation not permitted"),
        ("supplementary-groups = [\"6\"]", "setting the supplementary groups: Operation not permitted"),
        ("nice = -5", "setting nice to -5: Permission denied"),
        ("oom-score-adjust = -7", "setting oom-score-adjust to -7: Permission denied"),
        ("limits = { nofile = 700 }", "setting the limit nofile to 700: Operation not permitted"),
    ] {
        let limit = "start-limit = { burst = 2, interval = \"60s\" }";
        let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"true\"]\n{keys}\n{limit}\n{QUICK_RESTART}\n"));
        open(&sandbox);
        // Where it was built may be closed to others.
        std::fs::copy(env!("CARGO_BIN_EXE_exeunt"), sandbox.path("exeunt")).unwrap();
        let script = "shift; exec ./exeunt \"$@\"";
        let launcher = plain.iter().copied().chain(["sh", "-c", script, "sh"]).collect::<Vec<_>>();
        let outcome = sandbox.launch().under(&launcher).finish();
        outcome.expect_code(1);
        assert!(outcome.stderr.contains(&format!("w.0 cannot be started: {words}")), "{outcome}");
    }
}

/// The value is in the program's environment and nowhere else.
#[test]
fn secrets_are_in_no_output() {
    let keys = "env-file = \"vars.env\"\nenv = { PLAIN = \"hunter3 of the file\" }\n\
        env-from-file = { TOKEN = \"${EXEUNT_INSTANCE}.secret\", LATE = \"late.secret\" }\nreplicas = 2";
    let script = "printf '%s|%s|%s\\n' \"$TOKEN\" \"$FROM_FILE\" \"$LATE\" >>seen; exit 3";
    let worker = format!(
        "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n{QUICK_RESTART}\nstart-limit = {{ burst = 4, interval = \"60s\" }}\n"
    );
    let sandbox = Sandbox::new(&worker);
    sandbox.file("w.sh", script);
    sandbox.file("w.0.secret", "hunter2 zero\n");
    sandbox.file("w.1.secret", "hunter2 one\n\n");
    sandbox.file("late.secret", "hunter2 late");
    sandbox.file("vars.env", "FROM_FILE='hunter2 of the env-file'\n");
    let mut outputs = Vec::new();
    for arguments in [
        &["check"][..],
        &["--log-level", "trace", "run", "--report", "text"],
        &["--log-level", "trace", "run", "--report", "json"],
    ] {
        let outcome = sandbox.launch().arguments(arguments).finish();
        outputs.push(format!("{}{}", outcome.stdout, outcome.stderr));
    }
    for output in outputs {
        assert!(output.contains("w.0") && !output.contains("hunter"), "{output}");
    }
    let seen = sandbox.lines("seen");
    assert!(seen.contains(&"hunter2 zero|hunter2 of the env-file|hunter2 late".to_owned()), "{seen:?}");
    // Its second line feed is its own, and printf's follows.
    assert!(seen.windows(2).any(|two| two == ["hunter2 one", "|hunter2 of the env-file|hunter2 late"]), "{seen:?}");
}

/// Read at each start: what was renewed meanwhile is seen, and what is gone is told by name.
#[test]
fn a_secret_is_read_at_each_start_and_a_missing_one_is_named() {
    let keys = "restart = \"always\"\nenv-from-file = { TOKEN = \"token\" }\n\
        start-limit = { burst = 4, interval = \"60s\" }";
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n{QUICK_RESTART}\n"));
    sandbox.file("w.sh", "echo $TOKEN >>seen; [ $TOKEN = old ] && echo new >token || rm token; exit 1\n");
    sandbox.file("token", "old\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert_eq!(sandbox.lines("seen"), ["old", "new"]);
    let path = sandbox.path("token");
    let file = path.file_name().unwrap().to_str().unwrap();
    let words = format!("w.0 cannot be started: reading {file} for TOKEN: No such file or directory");
    assert!(outcome.stderr.contains(&words), "{outcome}");
}

#[test]
fn each_instance_is_told_its_own_name() {
    let worker = "command = [\"sh\", \"-c\", \"echo ${EXEUNT_INSTANCE} of ${EXEUNT_WORKER} in $(basename $PWD) $$A >>../seen\"]\n\
        replicas = 3\nworking-directory = \"at-${EXEUNT_INSTANCE}\"\nenv = { A = \"<${EXEUNT_INSTANCE}>\" }";
    let sandbox = Sandbox::new(&format!("[worker.w]\n{worker}\n"));
    for index in 0..3 {
        std::fs::create_dir(sandbox.path(&format!("at-w.{index}"))).unwrap();
    }
    sandbox.launch().finish().expect_code(0);
    let line = |index| format!("w.{index} of w in at-w.{index} <w.{index}>");
    assert_eq!(sorted(sandbox.lines("seen")), [line(0), line(1), line(2)]);
}

/// F62, F63: after a change of user, which resets it.
#[test]
fn f62_f63_the_kernel_ends_a_worker_when_exeunt_is_killed() {
    let user = if as_root() { "user = \"12345\"\n" } else { "" };
    let deaf = "trap '' TERM INT HUP; echo up >&2; while :; do read -r _ <gate; done";
    let worker = |name: &str, keys: &str| format!("[worker.{name}]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n");
    let dies = worker("dies", &format!("{user}parent-death-signal = \"KILL\""));
    let sandbox = Sandbox::new(&format!("{dies}{}", worker("stays", "")));
    sandbox.file("w.sh", deaf);
    let gate = sandbox.gate("gate");
    open(&sandbox);
    std::fs::set_permissions(sandbox.path("gate"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut run = sandbox.launch().start();
    run.wait_for_lines("up", 2);
    let (dies, stays) = (named(&sandbox, "dies.0"), named(&sandbox, "stays.0"));
    run.signal(Signal::SIGKILL);
    run.wait();
    until("the worker's death", || marked(&sandbox.mark()).iter().all(|it| it.pid != dies).then_some(()));
    assert!(marked(&sandbox.mark()).iter().any(|it| it.pid == stays), "the one that did not ask for it");
    send(stays, Signal::SIGKILL);
    sandbox.wait_until_empty();
    drop(gate);
}

/// The process whose environment names this instance.
fn named(sandbox: &Sandbox, instance: &str) -> i32 {
    let mark = format!("EXEUNT_INSTANCE={instance}");
    let has_it = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
    };
    until(instance, || marked(&sandbox.mark()).into_iter().map(|it| it.pid).find(has_it))
}

/// F112: what we were started with, and nothing that is only ours, reaches a program that says nothing.
#[test]
fn f112_what_exeunt_was_started_with_reaches_the_program() {
    let script = "ulimit -Sn; ulimit -Hn; nice; umask; cat /proc/self/oom_score_adj";
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"));
    let launcher = ["sh", "-c", "umask 0037; exec prlimit --nofile=777:888 nice -n 3 choom -n 300 -- \"$@\"", "sh"];
    let outcome = sandbox.launch().under(&launcher).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "777\n888\n3\n0037\n300\n", "{outcome}");
}

/// F84: a limit of file sizes is the program's alone, and so is the signal that tells of it.
#[test]
fn f84_a_limit_of_file_sizes_strikes_the_program() {
    let keys = "limits = { fsize = \"4KiB\", core = 0 }\nrestart = \"never\"\nsuccess-exit-status = [0]";
    let command = "command = [\"dd\", \"if=/dev/zero\", \"of=big\", \"bs=64K\", \"count=1\", \"status=none\"]";
    let sandbox = Sandbox::new(&format!("[worker.w]\n{command}\n{keys}\n"));
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(outcome.stderr.contains("signal XFSZ"), "{outcome}");
    assert_eq!(sandbox.read("big").len(), 4096);
}
