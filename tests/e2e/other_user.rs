//! Workers that run as another user than exeunt: what they may open, what they keep, and what exeunt opens for them.

use crate::support::{Need, Outcome, Sandbox, has};

/// `exeunt` as it is in the sandbox: where it was built may be closed to others.
const OWN_COPY: [&str; 4] = ["sh", "-c", "shift; exec ./exeunt \"$@\"", "sh"];

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
