//! Control groups: where we may make some, nobody escapes by a session of its own.

use crate::support::{Controller, Need, Run, Sandbox, children, has, send, state, until};
use nix::sys::signal::Signal;

/// A run that can make control groups. It wants `Need::ControlGroups`.
pub fn start(sandbox: &Sandbox) -> Run<'_> {
    let launcher = launcher(sandbox);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    sandbox.launch().report_json().under(&launcher).start()
}

/// Runs what follows with a cgroup v2 tree mounted at the place that is its first argument.
const MOUNTED: &str = "mount -t cgroup2 none \"$0\" && exec \"$@\"";

fn sandbox(keys: &str, script: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n"));
    sandbox.file("w.sh", script);
    sandbox
}

/// A mount namespace whose only sight of the tree that is surely writable is the sandbox's own.
fn launcher(sandbox: &Sandbox) -> Vec<String> {
    std::fs::create_dir_all(sandbox.path("tree")).unwrap();
    let tree = sandbox.path("tree").to_str().unwrap().to_owned();
    let hide = "umount -a -t cgroup2 2>/dev/null; ";
    ["unshare", "--mount", "sh", "-c", &format!("{hide}{MOUNTED}"), &tree].map(str::to_owned).to_vec()
}

fn pid(text: &str) -> i32 {
    text.trim().parse().unwrap()
}

#[test]
fn f9_f19_who_escaped_into_a_session_of_its_own_is_removed_before_the_restart() {
    if !has(Need::ControlGroups) {
        return;
    }
    let script = r#"
if [ -s escaped ]; then
  if grep -q '^State:.[^ZX]' "/proc/$(cat escaped)/status"; then echo 'escaped lives' >&2; else echo 'escaped gone' >&2; fi
  exec sleep 1000
fi
setsid sh -c 'trap "" TERM HUP; echo $$ >escaped; echo up >&2; exec sleep 1000' &
exec sleep 1000
"#;
    let sandbox = sandbox("stop = [\"TERM 300ms\"]\nrestart = \"always\"\nrestart-delay = { delay = \"1ms\" }", script);
    let run = start(&sandbox);
    run.wait_for_line("up");
    let escaped = pid(&sandbox.read("escaped"));
    let leader = until("the leader", || children(run.pid()).into_iter().find(|&pid| pid != escaped));
    send(leader, Signal::SIGKILL);
    let word = run.wait_for_line("escaped ");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert!(word.contains("escaped gone"), "{outcome}");
    outcome.expect_code(0);
}

#[test]
fn f9_without_control_groups_who_escaped_lives_on_until_the_end() {
    let script = r#"
if [ -s escaped ]; then
  if grep -q '^State:.[^ZX]' "/proc/$(cat escaped)/status"; then echo 'escaped lives' >&2; else echo 'escaped gone' >&2; fi
  exec sleep 1000
fi
setsid sh -c 'echo $$ >escaped; echo up >&2; exec sleep 1000' &
read -r _ <gate
exit 1
"#;
    let text = "[supervisor]\ncgroup = \"off\"\n[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nstop = [\"TERM 5s\"]\n";
    let sandbox = Sandbox::new(text);
    sandbox.file("w.sh", script);
    let gate = sandbox.gate("gate");
    let run = sandbox.launch().start();
    run.wait_for_line("up");
    std::fs::write(sandbox.path("gate"), "go\n").unwrap();
    let word = run.wait_for_line("escaped ");
    drop(gate);
    let escaped = pid(&sandbox.read("escaped"));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    assert!(word.contains("escaped lives"), "{outcome}");
    outcome.expect_code(0);
    assert_eq!(state(escaped), None, "it was a stranger, and went with us");
}

/// A worker that makes groups itself, as a container engine does, and is killed with what is in them. Nothing of ours is left in the tree.
/// A dead leader's number goes to the next program while one of its own, in another session, still lives.
#[test]
fn f9_who_escaped_is_not_forgotten_when_the_number_of_its_leader_is_given_away() {
    if !has(Need::ControlGroups) || !has(Need::PidNamespace) || !has(Need::PidChoice) {
        return;
    }
    // Numbers come back soon here, and the next in line bears that of the escaped: field 22 tells when a process was born.
    let web = r#"
if [ -s escaped ]; then
  set -- $(cat "/proc/$(cat escaped)/stat" 2>/dev/null)
  case "${22} $3" in "$(cat born) "[!ZX]) echo 'escaped lives' >&2 ;; *) echo 'escaped gone' >&2 ;; esac
  exec sleep 1000
fi
echo $$ >leader
setsid sh -c 'trap "" TERM HUP; cut -d " " -f 22 /proc/$$/stat >born; echo $$ >escaped; echo up >&2; exec sleep 1000' &
read -r _ <gate
exit 1
"#;
    let thief = r#"
if [ -s tried ]; then echo "thief is $$" >&2; exec sleep 1000; fi
read -r _ <second
echo yes >tried
last=$(($(cat leader) - 1))
echo "$last" >/proc/sys/kernel/ns_last_pid
exit 1
"#;
    let text = "[worker.web]\ncommand = [\"sh\", \"web.sh\"]\nstop = [\"TERM 3s\"]\n\
                [worker.thief]\ncommand = [\"sh\", \"thief.sh\"]\n";
    let sandbox = Sandbox::new(text);
    sandbox.file("web.sh", web);
    sandbox.file("thief.sh", thief);
    let (first, second) = (sandbox.gate("gate"), sandbox.gate("second"));
    let launcher = launcher(&sandbox);
    let mut launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    launcher.splice(1..1, ["--pid", "--fork", "--mount-proc"]);
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    std::fs::write(sandbox.path("gate"), "go\n").unwrap();
    run.wait_for_line_with("web.0 left a process behind");
    std::fs::write(sandbox.path("second"), "go\n").unwrap();
    let thief = run.wait_for_line("thief is");
    let word = run.wait_for_line("escaped ");
    drop((first, second));
    send(run.inner_pid(), Signal::SIGTERM);
    let outcome = run.finish();
    assert!(thief.contains(&format!("thief is {}", sandbox.read("leader").trim())), "{outcome}");
    assert!(word.contains("escaped gone"), "{outcome}");
}

/// A process of another worker makes a session of its own with the number of a dead leader, one of whose own still lives.
#[test]
fn f9_who_bears_the_number_of_a_dead_leader_is_not_taken_for_one_of_its_own() {
    if !has(Need::ControlGroups) || !has(Need::PidNamespace) || !has(Need::PidChoice) {
        return;
    }
    let web = r#"
echo $$ >leader
setsid sh -c 'trap "" TERM HUP; echo up >&2; exec sleep 1000' &
read -r _ <gate
exit 1
"#;
    let other = r#"
read -r _ <second
last=$(($(cat leader) - 1))
echo "$last" >/proc/sys/kernel/ns_last_pid
setsid sh -c 'echo "innocent is $$" >&2; exec sleep 1000' &
read -r _ <third
if kill -0 $!; then echo 'it lives' >&2; else echo 'it was killed' >&2; fi
exec sleep 1000
"#;
    let text = "[worker.web]\ncommand = [\"sh\", \"web.sh\"]\nrestart = \"never\"\nstop = [\"TERM 1s\"]\n\
                [worker.other]\ncommand = [\"sh\", \"other.sh\"]\n";
    let sandbox = Sandbox::new(text);
    sandbox.file("web.sh", web);
    sandbox.file("other.sh", other);
    let gates = ["gate", "second", "third"].map(|name| sandbox.gate(name));
    let go = |name: &str| std::fs::write(sandbox.path(name), "go\n").unwrap();
    let launcher = launcher(&sandbox);
    let mut launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    launcher.splice(1..1, ["--pid", "--fork", "--mount-proc"]);
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    go("gate");
    run.wait_for_line_with("web.0 left a process behind");
    go("second");
    let innocent = run.wait_for_line("innocent is");
    run.wait_for_line_with("web.0 ended by itself");
    go("third");
    let word = run.wait_for_line("it ");
    drop(gates);
    send(run.inner_pid(), Signal::SIGTERM);
    let outcome = run.finish();
    assert!(innocent.contains(&format!("innocent is {}", sandbox.read("leader").trim())), "{outcome}");
    assert!(word.contains("it lives"), "{outcome}");
}

#[test]
fn f9_groups_within_a_group_are_emptied_and_removed() {
    if !has(Need::ControlGroups) {
        return;
    }
    let script = r#"
mine=tree$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir "$mine/inner" && setsid sh -c 'trap "" TERM HUP; echo $$ >"$0/cgroup.procs"; echo up >&2; exec sleep 1000' "$mine/inner" &
exec sleep 1000
"#;
    let sandbox = sandbox("stop = [\"TERM 300ms\"]", script);
    sandbox.file("after.sh", "\"$@\"; code=$?; find tree -name 'exeunt-*' >left; exit $code");
    let mut launcher = launcher(&sandbox);
    launcher.extend(["sh", "after.sh"].map(str::to_owned));
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let run = sandbox.launch().under(&launcher).start();
    run.wait_for_line("up");
    let exeunt = run.inner_pid();
    send(exeunt, Signal::SIGTERM);
    run.finish().expect_code(0);
    let left = sandbox.read("left");
    assert!(!left.contains(&format!("/exeunt-{exeunt}.")), "{left}");
}

/// Who is killed cannot tidy up; the next one does, and leaves alone what lives.
#[test]
fn f60_f64_groups_that_a_killed_exeunt_left_are_removed_by_the_next() {
    if !has(Need::ControlGroups) {
        return;
    }
    let sandbox = sandbox("", "echo up >&2; exec sleep 1000");
    let mut run = start(&sandbox);
    run.wait_for_line("up");
    let (first, worker) = (run.pid(), children(run.pid())[0]);
    run.signal(Signal::SIGKILL);
    run.wait();
    let groups = std::fs::read_to_string(format!("/proc/{worker}/cgroup")).unwrap();
    let group = groups.lines().find(|line| line.starts_with("0::")).unwrap();
    let directory = group.strip_suffix("/w.0").and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned();
    assert!(directory.starts_with(&format!("exeunt-{first}.")), "{groups}");
    send(worker, Signal::SIGKILL);
    drop(run);
    let run = start(&sandbox);
    run.wait_for_line("up");
    let tree = format!("/proc/{}/root{}", run.pid(), sandbox.path("tree").display());
    let own = format!("{tree}/{}", group.trim_start_matches("0::").split("/exeunt-").next().unwrap());
    let there = |name: &str| std::path::Path::new(&format!("{own}/{name}")).exists();
    // The mark at the end stands for the file, which is the same.
    let (left, made) = (there(&directory), there(&directory.replace(&first.to_string(), &run.pid().to_string())));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert!(!outcome.stderr.contains("was killed"), "nothing lives in it: {outcome}");
    assert!(!left, "the killed one's group is still there");
    assert!(made, "there is no group of its own in {own}");
}

/// A plain service does not hear that exeunt is killed: it lives on, and the next run of the same file says so and where. A
/// run of another file does not.
#[test]
fn f60_f64_what_a_killed_exeunt_left_alive_is_told_by_the_next_run_of_its_file() {
    if !has(Need::ControlGroups) {
        return;
    }
    let sandbox = sandbox("", "echo up >&2; exec sleep 1000");
    let other = self::sandbox("", "echo up >&2; exec sleep 1000");
    let mut killed = start(&sandbox);
    killed.wait_for_line("up");
    let worker = children(killed.pid())[0];
    let group = std::fs::read_to_string(format!("/proc/{worker}/cgroup")).unwrap();
    let group =
        group.lines().find_map(|line| line.strip_prefix("0::")).unwrap().strip_suffix("/w.0").unwrap().to_owned();
    killed.signal(Signal::SIGKILL);
    killed.wait();
    let foreign = start(&other);
    foreign.wait_for_line("up");
    foreign.signal(Signal::SIGTERM);
    let foreign = foreign.finish();
    let run = start(&sandbox);
    run.wait_for_line("up");
    let name = group.rsplit('/').next().unwrap();
    let said = run.wait_for_line("exeunt: warning: an exeunt that ran this file was killed");
    run.signal(Signal::SIGTERM);
    run.finish_alone().expect_code(0);
    let path = sandbox.path("tree");
    assert!(said.contains(&format!("in the control group {}", path.display())), "{said}");
    assert!(said.contains(&format!("/{name}: w.0: {worker} (sleep); ")), "{said}");
    assert!(said.ends_with("/cgroup.kill'"), "{said}");
    assert!(!foreign.stderr.contains("was killed"), "{foreign}");
    assert!(!matches!(state(worker), None | Some('Z')), "it was only told of");
    send(worker, Signal::SIGKILL);
    drop(killed);
    sandbox.wait_until_empty();
}

/// A worker that eats all there is, and is the one that the kernel shall take.
#[test]
fn f38_a_worker_that_the_kernel_kills_for_want_of_memory_is_said_to_be_so() {
    if !has(Need::MemoryGroup) {
        return;
    }
    let worker =
        "[worker.w]\ncommand = [\"sh\", \"w.sh\"]\noom-score-adjust = 1000\nrestart-delay = { delay = \"1ms\" }\n";
    let sandbox = Sandbox::new(worker);
    sandbox.file("w.sh", "[ -e eaten ] && exit 0; echo >eaten; exec tail /dev/zero");
    let group = Controller::new(&sandbox, "memory", ["memory.limit_in_bytes=67108864", "memory.max=67108864"]);
    let outcome = sandbox.launch().under(&group.launcher(true)).finish();
    outcome.expect_code(0);
    let said = "w.0 was killed while our control group was out of memory";
    assert!(outcome.stderr.contains(said), "{outcome}");
    assert!(outcome.stderr.contains("w.0 is restarted"), "{outcome}");
    assert!(outcome.stderr.contains("1 restart, 1 kill for want of memory"), "{outcome}");
}

/// A worker that somebody killed has not eaten anything.
#[test]
fn f38_a_worker_that_somebody_kills_is_not_said_to_be_out_of_memory() {
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"sh\", \"-c\", \"kill -KILL $$$$\"]\nrestart = \"never\"\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(!outcome.stderr.contains("out of memory"), "{outcome}");
}

#[test]
fn f9_who_escaped_from_a_probe_is_removed() {
    if !has(Need::ControlGroups) {
        return;
    }
    let probe = "setsid sh -c 'echo $$$$ >escaped; : >there; exec sleep 1239' & until [ -e there ]; do :; done";
    let ready = format!("ready = {{ command = [\"sh\", \"-c\", \"{probe}\"] }}\nstop = [\"TERM 5s\"]");
    let sandbox = sandbox(&ready, "exec sleep 1000\n");
    let run = start(&sandbox);
    run.wait_for_line("exeunt: w.0 is ready after");
    let escaped = pid(&sandbox.read("escaped"));
    until("who escaped to be gone", || state(escaped).is_none().then_some(()));
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
}
