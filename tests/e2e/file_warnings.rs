//! What `run` says about its file before it starts anything.

use crate::support::{Outcome, Sandbox};

/// Warnings of three kinds: of the whole file, of a place in it, of an env-file.
fn warned(level: Option<&str>) -> Outcome {
    let config =
        "[worker.w]\ncommand = [\"true\", \"|\"]\nrestart = \"never\"\nstop = [\"TERM 1m\"]\nenv-file = \"w.env\"\n";
    let sandbox = Sandbox::new(config);
    sandbox.file("w.env", "A=1\nURL=http://${HOST}/\n");
    let arguments = level.map_or(vec!["run"], |level| vec!["run", "--log-level", level]);
    sandbox.launch().arguments(&arguments).finish()
}

#[test]
fn warnings_about_the_file_are_log_lines() {
    let outcome = warned(None);
    outcome.expect_code(0);
    for beginning in
        ["exeunt.toml: a stop may take ", "exeunt.toml:2:20: \"|\" is an argument", "w.env:2:12: a $ is literal"]
    {
        let line = format!("exeunt: warning: {beginning}");
        assert_eq!(outcome.stderr.lines().filter(|told| told.starts_with(&line)).count(), 1, "{line}: {outcome}");
    }
    assert!(outcome.stderr.lines().all(|line| line.starts_with("exeunt: ")), "{outcome}");
}

#[test]
fn warnings_about_the_file_honour_the_log_level() {
    for level in ["error", "off"] {
        let outcome = warned(Some(level));
        outcome.expect_code(0);
        assert!(!outcome.stderr.contains("warning") && !outcome.stderr.contains("argument"), "{level}: {outcome}");
    }
    assert!(warned(Some("warn")).stderr.contains("exeunt: warning: exeunt.toml:2:20: "));
}
