//! Programs that are there and cannot be executed for want of something else: an interpreter, a loader, a first line; and scripts
//! whose interpreter is exeunt itself.

use crate::support::{Launch, Outcome, Sandbox};
use std::fs;

const WORKER: &str = "[worker.w]\ncommand = [\"./prog\"]\n";

/// What `run`, `check` and `init` say of it.
fn said_by_all(sandbox: &Sandbox, init_code: i32, what: &str) {
    let run = sandbox.launch().finish();
    run.expect_code(1);
    let words = format!("worker w is given up, it cannot be started: executing ./prog: {what}\n");
    assert!(run.stderr.contains(&words), "{words}{run}");
    says_check(sandbox, what);
    says_init(sandbox, init_code, what);
}

fn says_check(sandbox: &Sandbox, what: &str) {
    let check = sandbox.launch().arguments(&["check"]).finish();
    check.expect_code(0);
    let words = format!("cannot be executed: {what}");
    assert!(check.stderr.to_lowercase().contains(&words.to_lowercase()), "{words}\n{check}");
}

fn says_init(sandbox: &Sandbox, code: i32, what: &str) {
    let init = init(sandbox, &["--", "./prog"]).finish();
    init.expect_code(code);
    assert_eq!(init.stderr, format!("exeunt: error: executing ./prog: {what}\n"));
}

fn init<'a>(sandbox: &'a Sandbox, words: &[&str]) -> Launch<'a> {
    sandbox.launch().under(&["setsid"]).init(words)
}

#[test]
fn f23_a_missing_interpreter_is_named_and_not_taken_for_a_missing_script() {
    let sandbox = Sandbox::new(WORKER);
    let missing = "cannot be executed: No such file or directory";
    let carriage_return = "its first line ends in a carriage return: write the file with line feeds only";
    sandbox.program("prog", "#!/nowhere/interpreter -x\necho\n");
    said_by_all(&sandbox, 127, &format!("its interpreter \"/nowhere/interpreter\" {missing}"));
    sandbox.program("prog", "#!/bin/sh\r\necho\r\n");
    said_by_all(&sandbox, 127, &format!("its interpreter \"/bin/sh\\r\" {missing}; {carriage_return}"));
    // The script itself is there, and so is the interpreter that is a script.
    sandbox.program("inner", "#!/nowhere/interpreter\n");
    sandbox.program("prog", "#!./inner\n");
    says_init(&sandbox, 127, &format!("its interpreter \"/nowhere/interpreter\" {missing}"));
    sandbox.file("plain", "");
    sandbox.program("prog", "#!./plain\n");
    said_by_all(&sandbox, 126, "its interpreter \"./plain\" cannot be executed: Permission denied");
    // A start cannot tell that env(1) will find no such program, but a look beforehand can.
    sandbox.program("prog", "#!/usr/bin/env sh\r\necho\r\n");
    says_check(&sandbox, carriage_return);
    // In PATH, where the search goes on behind it.
    fs::create_dir(sandbox.path("bin")).unwrap();
    sandbox.program("bin/prog", "#!/nowhere/interpreter\n");
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let outcome = init(&sandbox, &["--", "prog"]).env("PATH", &path).finish();
    outcome.expect_code(127);
    assert!(outcome.stderr.contains("executing prog: its interpreter \"/nowhere/interpreter\""), "{outcome}");
}

#[test]
fn f23_a_missing_loader_is_named() {
    let sandbox = Sandbox::new(WORKER);
    let mut elf = fs::read("/bin/true").unwrap();
    let at = elf.windows(4).position(|bytes| bytes == b"/ld-").expect("/bin/true names its loader");
    let begin = elf[..at].iter().rposition(|&byte| byte == 0).unwrap() + 1;
    elf[begin..begin + 5].copy_from_slice(b"/gone");
    let end = begin + elf[begin..].iter().position(|&byte| byte == 0).unwrap();
    let loader = String::from_utf8(elf[begin..end].to_vec()).unwrap();
    fs::write(sandbox.path("prog"), elf).unwrap();
    sandbox.executable("prog");
    let what =
        format!("its loader \"{loader}\" cannot be used: No such file or directory; it was built for another system");
    said_by_all(&sandbox, 127, &what);
}

/// execvp(3) gives it to /bin/sh, and so does init; what a file declares has no hidden shell.
#[test]
fn a_script_without_a_first_line_is_run_by_init_and_refused_by_run_with_what_is_missing() {
    let sandbox = Sandbox::new(WORKER);
    sandbox.program("prog", "echo ran >>ran\nexit 9\n");
    let what = "it has no first line that names its interpreter: add one, such as #!/bin/sh";
    let run = sandbox.launch().finish();
    run.expect_code(1);
    assert!(run.stderr.contains(&format!("executing ./prog: {what}\n")) && !sandbox.exists("ran"), "{run}");
    says_check(&sandbox, what);
    init(&sandbox, &["--", "./prog"]).finish().expect_code(9);
    assert_eq!(sandbox.lines("ran"), ["ran"]);
    // A shell would take these bytes for commands.
    sandbox.program("prog", "\u{7f}ELF\u{2}\u{1}\u{1}");
    says_init(&sandbox, 126, "it is damaged, or built for another kind of processor");
}

fn refused(outcome: &Outcome, program: &str) {
    outcome.expect_code(126);
    let what = "its interpreter is exeunt itself, which would execute it again without end";
    assert_eq!(outcome.stderr, format!("exeunt: error: executing {program}: {what}\n"), "{outcome}");
}

#[test]
fn a_script_whose_interpreter_is_exeunt_itself_is_refused() {
    let sandbox = Sandbox::new(WORKER);
    let exeunt = env!("CARGO_BIN_EXE_exeunt");
    let path = format!("{}:/usr/bin:/bin", sandbox.directory().display());
    std::os::unix::fs::symlink(exeunt, sandbox.path("tini")).unwrap();
    sandbox.program("wrapper", "#!./tini\n");
    for line in
        [&format!("#!{exeunt} init"), "#!./tini", "#!/usr/bin/env tini", "#!/usr/bin/env -S tini -g --", "#!./wrapper"]
    {
        sandbox.program("prog", &format!("{line}\necho ran\n"));
        refused(&init(&sandbox, &["--", "./prog"]).env("PATH", &path).finish(), "./prog");
        let run = sandbox.launch().env("PATH", &path).finish();
        run.expect_code(1);
        assert!(run.stderr.contains("executing ./prog: its interpreter is exeunt itself"), "{line}: {run}");
        let check = sandbox.launch().arguments(&["check"]).env("PATH", &path).finish();
        assert!(check.stderr.contains("its interpreter is exeunt itself"), "{line}: {check}");
    }
    // A file of `exeunt run` may be a program: what it names is not the file itself.
    sandbox.program("prog", &format!("#!{exeunt} run\n[worker.w]\ncommand = [\"sh\", \"-c\", \"echo ran\"]\n"));
    let outcome = init(&sandbox, &["--", "./prog"]).finish();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, "ran\n");
}
