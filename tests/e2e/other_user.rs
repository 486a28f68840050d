//! Workers that run as another user than exeunt: what they may open, what they keep, and what exeunt opens for them.

use crate::support::{Need, Outcome, QUICK_RESTART, Sandbox, has, numbered, pool, python, sorted};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

const WORKER: u32 = 1000;
const SHARED: u32 = 4321;

/// `exeunt` as it is in the sandbox: where it was built may be closed to others.
const OWN_COPY: [&str; 4] = ["sh", "-c", "shift; exec ./exeunt \"$@\"", "sh"];

fn mode(sandbox: &Sandbox, name: &str, mode: u32) {
    std::fs::set_permissions(sandbox.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A sandbox that the worker's user can enter, with a directory `mine` that belongs to it and a file that only root may read.
fn sandbox(config: &str) -> Sandbox {
    let sandbox = Sandbox::new(config);
    mode(&sandbox, "", 0o755);
    std::fs::create_dir(sandbox.path("mine")).unwrap();
    chown(sandbox.path("mine"), Some(WORKER), Some(WORKER)).unwrap();
    sandbox.file("secret", "root-only\n");
    mode(&sandbox, "secret", 0o600);
    sandbox
}

fn service(keys: &str) -> String {
    let limit = "start-limit = { burst = 2, interval = \"60s\" }";
    format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\nuser = \"{WORKER}\"\n{keys}\n{limit}\n{QUICK_RESTART}\n")
}

/// At its first start the worker finds a file of its own; then it puts a link in its place.
#[test]
fn a_secret_is_not_read_through_a_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    for attack in ["ln -sf ../secret mine/token", "rm mine/token; ln -s .. mine/up; ln -s up/secret mine/token"] {
        let sandbox = sandbox(&service("restart = \"always\"\nenv-from-file = { TOKEN = \"mine/token\" }"));
        sandbox.file("mine/token", "its own\n");
        chown(sandbox.path("mine/token"), Some(WORKER), Some(WORKER)).unwrap();
        sandbox.file("w.sh", &format!("echo \"$TOKEN\" >>mine/seen; {attack}; exit 1\n"));
        let outcome = sandbox.launch().finish();
        outcome.expect_code(1);
        assert_eq!(sandbox.lines("mine/seen"), ["its own"], "{outcome}");
        let words = "for TOKEN: it is a link in a directory where others may write";
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
}

/// Another directory that is a link leads no further than the worker comes.
#[test]
fn a_secret_is_not_read_in_a_directory_that_the_worker_linked_to() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox(&service("env-from-file = { TOKEN = \"mine/sub/secret\" }"));
    std::fs::create_dir(sandbox.path("closed")).unwrap();
    mode(&sandbox, "closed", 0o700);
    sandbox.file("closed/secret", "root-only\n");
    symlink("../closed", sandbox.path("mine/sub")).unwrap();
    sandbox.file("w.sh", "echo \"$TOKEN\" >>mine/seen\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(1);
    assert!(!sandbox.exists("mine/seen"), "{outcome}");
    let words = "Permission denied (where others may write, it is read with the rights of user 1000)";
    assert!(outcome.stderr.contains(words), "{outcome}");
}

#[test]
fn an_env_file_is_not_read_through_a_link_that_the_worker_made() {
    if !has(Need::Root) {
        return;
    }
    for (file, why) in [
        ("mine/app.env", "it is a link, and others may write in its directory"),
        ("mine/up/secret", "user 1000 may not, and others may write in its directory"),
    ] {
        let sandbox = sandbox(&service(&format!("env-file = \"{file}\"")));
        sandbox.file("secret", "TOKEN=root-only\n");
        sandbox.file("w.sh", "echo $TOKEN\n");
        symlink("../secret", sandbox.path("mine/app.env")).unwrap();
        symlink("..", sandbox.path("mine/up")).unwrap();
        let outcome = sandbox.launch().finish();
        outcome.expect_code(78);
        assert!(outcome.stderr.contains(why) && outcome.stdout.is_empty(), "{outcome}");
        // Its own file is read, and so is one that root linked to where only root can write.
        let own = service("env-file = [\"mine/own.env\", \"linked.env\"]");
        sandbox.config(&own);
        sandbox.file("mine/own.env", "TOKEN=own\n");
        symlink("secret", sandbox.path("linked.env")).unwrap();
        sandbox.file("secret", "OTHER=1\n");
        let outcome = sandbox.launch().finish();
        outcome.expect_code(0);
        assert_eq!(outcome.stdout, "own\n", "{outcome}");
    }
}

/// As the kubelet mounts a secret: a volume of mode 1777, read-only, in which `token` is a link to `..data/token`, and `..data` one to
/// a directory with a date for its name.
#[test]
fn a_secret_of_kubernetes_is_read_for_a_worker_of_another_user() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox(&service("env-from-file = { TOKEN = \"secrets/token\" }"));
    sandbox.file("w.sh", "echo \"$TOKEN\"\n");
    std::fs::create_dir(sandbox.path("secrets")).unwrap();
    let volume = "set -e; mount -t tmpfs -o mode=1777 none secrets; cd secrets; mkdir ..2026_11_28; chmod 755 ..2026_11_28; \
        echo mounted >..2026_11_28/token; chmod 400 ..2026_11_28/token; ln -s ..2026_11_28 ..data; \
        ln -s ..data/token token; cd ..; mount -o remount,ro secrets; exec \"$@\"";
    let outcome = sandbox.launch().under(&["unshare", "--mount", "sh", "-c", volume, "sh"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "mounted\n", "{outcome}");
}

/// In its own user namespace exeunt is root and another user is the worker; the root of the file system belongs to a user outside,
/// whom nobody inside can become.
const NAMESPACE: &str = r#"
import ctypes, os, sys
ready, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        os._exit(98)
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
os.close(ready[1])
if os.read(ready[0], 1):
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write("0 5000 1\n1000 6000 1\n")
    os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn in_a_user_namespace_owners_outside_are_no_strangers() {
    if !has(Need::Root) || !has(Need::Python) {
        return;
    }
    let sandbox = sandbox(&service("env-from-file = { TOKEN = \"token\" }"));
    sandbox.file("w.sh", "id -u; echo \"$TOKEN\"\n");
    sandbox.open_to_all();
    mode(&sandbox, "", 0o755);
    sandbox.file("token", "root of the namespace\n");
    mode(&sandbox, "token", 0o600);
    for name in ["", "token"] {
        chown(sandbox.path(name), Some(5000), Some(5000)).unwrap();
    }
    let launcher = [python().unwrap(), "-c", NAMESPACE, "/bin/sh", "-c", "shift; exec ./exeunt \"$@\"", "sh"];
    let outcome = sandbox.launch().under(&launcher).finish();
    if outcome.code == 98 {
        return crate::support::skip("a user namespace cannot be made here");
    }
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "1000\nroot of the namespace\n", "{outcome}");
}

/// Capabilities in the four sets, and whether it can become root.
const RIGHTS: &str = "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -s '\\t\\n' ' '; \
    setpriv --reuid=0 --clear-groups true 2>/dev/null && echo root || echo not root\n";
const NONE: &str =
    "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapAmb: 0000000000000000 not root\n";

fn rights(keys: &str, launcher: &[&str]) -> Outcome {
    let sandbox = Sandbox::new(&format!("[worker.w]\ncommand = [\"sh\", \"w.sh\"]\n{keys}\n"));
    sandbox.file("w.sh", RIGHTS);
    sandbox.open_to_all();
    let launcher = launcher.iter().copied().chain(OWN_COPY).collect::<Vec<_>>();
    let outcome = sandbox.launch().under(&launcher).finish();
    outcome.expect_code(0);
    outcome
}

const USER: [&str; 4] = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
const AMBIENT: [&str; 2] = ["--inh-caps=+setuid,+setgid", "--ambient-caps=+setuid,+setgid"];

#[test]
fn no_capability_goes_with_a_change_of_user() {
    if !has(Need::Root) {
        return;
    }
    let ambient = [&USER[..], &AMBIENT].concat();
    let outcome = rights("user = \"2000\"", &ambient);
    assert_eq!(outcome.stdout, NONE, "{outcome}");
    // Where the kernel is told to leave them as they are, whoever the user becomes.
    let bits = "--securebits=+no_setuid_fixup,+no_setuid_fixup_locked";
    let outcome = rights("user = \"2000\"", &[&["setpriv", bits], &AMBIENT[..]].concat());
    assert_eq!(outcome.stdout, NONE, "{outcome}");
    // Those that exec keeps for files which want them.
    let outcome = rights("user = \"2000\"", &["setpriv", "--inh-caps=+net_raw"]);
    assert_eq!(outcome.stdout, NONE, "{outcome}");
}

#[test]
fn without_a_change_of_user_capabilities_stay() {
    if !has(Need::Root) {
        return;
    }
    let ambient = [&USER[..], &AMBIENT].concat();
    for keys in ["", "user = \"1000\"", "group = \"2000\""] {
        let outcome = rights(keys, &ambient);
        let set = "00000000000000c0";
        let expected = format!("CapInh: {set} CapPrm: {set} CapEff: {set} CapAmb: {set} root\n");
        assert_eq!(outcome.stdout, expected, "{keys:?}: {outcome}");
    }
    let outcome = rights("user = \"0\"", &[]);
    assert!(!outcome.stdout.contains("CapEff: 0000000000000000") && outcome.stdout.ends_with(" root\n"), "{outcome}");
}

/// Each opened anew by its name, and the wrong way round.
#[test]
fn a_worker_of_another_user_opens_its_pipes_by_name() {
    if !has(Need::Root) {
        return;
    }
    let script = "for wrong in '</dev/fd/4' '>/dev/fd/3' '>/dev/fd/5' '</dev/fd/6'; do\n\
        (eval \"exec 9$wrong\") 2>/dev/null && echo \"opened $wrong\" >&2; done\n\
        echo READY >/dev/fd/6\n\
        while IFS= read -r line; do echo \"ok ${line%% *} ${line#* } $(id -u)\" >/proc/self/fd/4; done </dev/fd/3\n\
        read -r word _ </dev/fd/5; echo \"told $word\" >&2\n";
    let worker = format!(
        "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nuser = \"{WORKER}\"\nready = {{ fd = 6 }}\nstart-timeout = \"50s\""
    );
    let source = "user = \"1000\"\ncommand = [\"sh\", \"s.sh\"]";
    let sandbox = sandbox(&pool("", &worker).replace("stdin = true", source));
    sandbox.file("w.sh", script);
    sandbox.file("s.sh", "for item in item-1 item-2; do echo $item >/dev/stdout; done\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    assert_eq!(sorted(outcome.results()), ["item-1 1000", "item-2 1000"], "{outcome}");
    assert!(outcome.stderr.contains("told stop") && !outcome.stderr.contains("opened"), "{outcome}");
}

/// As a user that may change users and may not give files away, as in a container whose other capabilities were dropped.
#[test]
fn pipes_are_opened_by_name_where_they_cannot_be_given_away() {
    if !has(Need::Root) {
        return;
    }
    let script = "while IFS= read -r line; do echo \"ok ${line%% *} $(id -u)\" >/dev/fd/4; done </dev/fd/3\n";
    let sandbox = Sandbox::new(&pool("", "command = [\"sh\", \"w.sh\"]\nresults = \"stdout\"\nuser = \"2000\""));
    sandbox.file("w.sh", script);
    sandbox.open_to_all();
    let launcher = [&USER[..], &AMBIENT, &OWN_COPY].concat();
    let outcome = sandbox.launch().under(&launcher).stdin_items(&numbered(2)).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.results(), ["2000", "2000"], "{outcome}");
}

#[test]
fn what_exeunt_inherited_keeps_its_owner() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox(&service(""));
    sandbox.file("w.sh", "for fd in 1 2; do stat -L -c '%u %g %a' /proc/self/fd/$fd; done\n");
    let outcome = sandbox.launch().finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "0 0 600\n0 0 600\n", "{outcome}");
}

/// What stands in the file would be an error of its own: it was not read.
#[test]
fn a_set_user_id_exeunt_refuses_before_it_reads_anything() {
    if !has(Need::Root) {
        return;
    }
    for (owner, group, bits) in [(0, 0, 0o4755), (WORKER, SHARED, 0o2755), (2000, 2000, 0o6755)] {
        let sandbox = Sandbox::new("this is no file");
        sandbox.open_to_all();
        chown(sandbox.path("exeunt"), Some(owner), Some(group)).unwrap();
        mode(&sandbox, "exeunt", bits);
        let launcher = USER.iter().copied().chain(OWN_COPY).collect::<Vec<_>>();
        for arguments in [&["run"][..], &["check"], &["init", "--", "true"], &["--help"]] {
            let outcome = sandbox.launch().under(&launcher).arguments(arguments).finish();
            outcome.expect_code(77);
            assert!(outcome.stderr.starts_with("exeunt: error: exeunt has the rights of "), "{outcome}");
            assert!(outcome.stderr.contains("was started by 1000:1000") && outcome.stdout.is_empty(), "{outcome}");
        }
    }
}

#[test]
fn an_exeunt_with_file_capabilities_warns() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = Sandbox::new("[worker.w]\ncommand = [\"true\"]\n");
    sandbox.open_to_all();
    // VFS_CAP_REVISION_2, permitted and effective: setuid and setgid (capabilities(7)).
    let value = [0x0200_0001_u32, 0xc0, 0, 0, 0].map(u32::to_le_bytes).concat();
    let path = std::ffi::CString::new(sandbox.path("exeunt").to_str().unwrap()).unwrap();
    let name = c"security.capability";
    // SAFETY: two C strings and a live buffer of that length.
    let told = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if told != 0 {
        return crate::support::skip("files have no capabilities here");
    }
    let launcher = USER.iter().copied().chain(OWN_COPY).collect::<Vec<_>>();
    let outcome = sandbox.launch().under(&launcher).finish();
    outcome.expect_code(0);
    assert!(outcome.stderr.starts_with("exeunt: warning: exeunt has file capabilities"), "{outcome}");
    // The same program without them, and root, which executes it without being given any.
    for launcher in [&launcher[4..], &[]] {
        let outcome = sandbox.launch().under(launcher).finish();
        assert!(!outcome.stderr.contains("file capabilities"), "{outcome}");
    }
}
