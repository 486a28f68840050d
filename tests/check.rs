//! `exeunt check` and `exeunt schema`, by the real binary: each bad file beside its messages, each good one beside its
//! plan. `EXEUNT_BLESS=1 cargo test --test check` writes the expected texts anew; read what changed before you commit
//! it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `exeunt` in `directory` with an environment that is the same everywhere.
fn exeunt(directory: &Path, arguments: &[&OsStr]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeunt"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("PORT", "8080").current_dir(directory);
    command.args(arguments).stdin(Stdio::null()).output().expect("exeunt starts")
}

fn check(directory: &Path, file: &str) -> Output {
    exeunt(directory, &["check".as_ref(), file.as_ref()])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("exeunt prints UTF-8")
}

/// The TOML files of a folder of `tests/config`, in order.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("UTF-8"));
    let mut names = names.filter(|name| name.ends_with(".toml")).collect::<Vec<_>>();
    names.sort();
    names
}

/// Compares with the text in a file, or writes it. Answers what differs.
fn compare(path: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("EXEUNT_BLESS").is_some() {
        std::fs::write(path, actual).expect("the expected text can be written");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    (expected != actual).then(|| format!("== {}\n-- expected\n{expected}\n-- got\n{actual}", path.display()))
}

fn no_difference(differences: Vec<String>) {
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn f28_f109_f118_every_bad_file_is_refused_with_its_messages() {
    let folder = Path::new(ROOT).join("tests/config/bad");
    let names = files(&folder);
    assert!(names.len() > 40, "only {} bad files were found", names.len());
    let mut differences = Vec::new();
    for name in names {
        let output = check(&folder, &name);
        assert_eq!(output.status.code(), Some(78), "{name}: {output:?}");
        assert!(output.stdout.is_empty(), "{name}");
        differences.extend(compare(&folder.join(&name).with_extension("stderr"), &text(&output.stderr)));
    }
    no_difference(differences);
}

#[test]
fn every_good_file_is_told_as_a_plan_with_its_warnings() {
    let folder = Path::new(ROOT).join("tests/config/good");
    let names = files(&folder);
    assert!(names.len() > 3, "only {} good files were found", names.len());
    // Whoever owns the repository: a directory of root's, or of our own.
    let made = tempfile::tempdir().expect("there is room");
    let copied = Command::new("cp").args(["-R", "."]).arg(made.path()).current_dir(&folder).status();
    assert!(copied.expect("cp is there").success());
    let mut differences = Vec::new();
    for name in names {
        let output = check(made.path(), &name);
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        differences.extend(compare(&folder.join(&name).with_extension("stdout"), &text(&output.stdout)));
        differences.extend(compare(&folder.join(&name).with_extension("stderr"), &text(&output.stderr)));
    }
    no_difference(differences);
}

/// Files that are made here, since a repository would not keep them well.
#[test]
fn f117_f118_f119_what_is_no_text_file_is_refused_with_a_message_of_its_own() {
    let expected = Path::new(ROOT).join("tests/config/bad/made");
    let made = tempfile::tempdir().expect("there is room");
    let utf16 = "[worker.w]\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let many = |text: &str| text.repeat(100_000).into_bytes();
    let contents = [
        ("empty", Vec::new()),
        ("blank", b" \n\t\n".to_vec()),
        ("only-a-comment", b"# soon\n".to_vec()),
        ("five-mebibytes", vec![b'#'; 5 << 20]),
        ("utf-16-with-mark", [b"\xff\xfe".to_vec(), utf16.clone()].concat()),
        ("utf-16", utf16),
        ("nul", b"[worker.w]\ncommand = [\"a\0b\"]\n".to_vec()),
        ("elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0".to_vec()),
        ("latin-1", b"[worker.w]\ncommand = [\"echo\", \"\xe4\"]\n".to_vec()),
        ("brackets", many("[")),
        ("brackets-of-a-value", [b"a = ".to_vec(), many("[")].concat()),
        ("braces", [b"a = ".to_vec(), many("{a=")].concat()),
        ("dots", many("a.")),
        ("escape", b"[worker.w]\ncommand = [\"\x1b[31mred\"]\nreplicas = \"\\u001b[31m\"\n".to_vec()),
        ("one-long-line", [b"worker.w.command = ['".to_vec(), vec![b'x'; 3 << 20], b"', 5]\n".to_vec()].concat()),
        ("unclosed", b"[worker.w]\ncommand = [\"true\"\n".to_vec()),
        ("many-problems", "x = 1\n".repeat(10_000).into_bytes()),
        ("large-nonsense", many("= =\n")),
        ("many-workers", (0..20_000).flat_map(|i| format!("[worker.w{i}]\ncommand=['x']\n").into_bytes()).collect()),
    ];
    let mut differences = Vec::new();
    for (name, bytes) in contents {
        std::fs::write(made.path().join(name), bytes).expect("it can be written");
        differences.extend(refused(made.path(), name, &expected));
    }
    std::fs::create_dir(made.path().join("directory")).expect("it can be made");
    let fifo = Command::new("mkfifo").arg(made.path().join("fifo")).status().expect("mkfifo is there");
    assert!(fifo.success());
    std::os::unix::net::UnixListener::bind(made.path().join("socket")).expect("it can be bound");
    std::os::unix::fs::symlink("loop", made.path().join("loop")).expect("it can be linked");
    for name in ["directory", "fifo", "socket", "loop", "missing", "/dev/null", "/dev/zero"] {
        differences.extend(refused(made.path(), name, &expected));
    }
    no_difference(differences);
}

fn refused(folder: &Path, name: &str, expected: &Path) -> Option<String> {
    let output = check(folder, name);
    assert_eq!(output.status.code(), Some(78), "{name}: {output:?}");
    assert!(output.stdout.is_empty(), "{name}");
    let file = format!("{}.stderr", name.trim_start_matches('/').replace('/', "-"));
    compare(&expected.join(file), &text(&output.stderr))
}

/// 0 as permissions says nothing to root.
#[test]
fn f119_an_unreadable_file_is_refused() {
    let made = tempfile::tempdir().expect("there is room");
    let path = made.path().join("exeunt.toml");
    std::fs::write(&path, "[worker.w]\ncommand = ['true']\n").expect("it can be written");
    let set = |mode| std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    set(0o000).expect("it is ours");
    if std::fs::read(&path).is_err() {
        let output = check(made.path(), "exeunt.toml");
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(text(&output.stderr), "error: \"exeunt.toml\": it cannot be opened: permission denied\n");
    }
}

#[test]
fn the_default_file_is_the_one_here() {
    let made = tempfile::tempdir().expect("there is room");
    std::fs::write(made.path().join("exeunt.toml"), "[worker.w]\ncommand = ['true']\n").expect("it can be written");
    let output = exeunt(made.path(), &["check".as_ref()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with("\"exeunt.toml\" is good"));
}

#[test]
fn wrong_usage_leaves_with_2_and_a_hint() {
    for arguments in
        [&["chekc"][..], &["check", "--nope"], &["check", "a", "b"], &["--log-level", "loud", "check"], &[]]
    {
        let arguments = arguments.iter().map(OsStr::new).collect::<Vec<_>>();
        let output = exeunt(Path::new(ROOT), &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

/// The option is not to blame for a word that the variable says.
#[test]
fn a_bad_log_level_is_blamed_on_where_it_stands() {
    let told = |variable: &str, arguments: &[&str]| {
        let mut exeunt = Command::new(env!("CARGO_BIN_EXE_exeunt"));
        let output = exeunt.env("EXEUNT_LOG", variable).args(arguments).current_dir(ROOT).output().expect("it runs");
        (output.status.code(), text(&output.stderr))
    };
    for variable in ["loud", "", "lo\u{1b}[31mud"] {
        let (code, said) = told(variable, &["check", "tests/config/good/minimal.toml"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.starts_with("error: the variable EXEUNT_LOG is \""), "{said}");
        assert!(said.ends_with("must be one of off, error, warn, info, debug, trace\n"), "{said}");
        assert!(!said.contains('\u{1b}') && !said.contains("--log-level"), "{said}");
    }
    let (code, said) = told("loud", &["--log-level", "louder", "check"]);
    assert!(code == Some(2) && said.contains("'louder' for '--log-level"), "{said}");
    let (code, _) = told("loud", &["--log-level", "info", "check", "tests/config/good/minimal.toml"]);
    assert_eq!(code, Some(0), "the option counts");
    assert_eq!(told("loud", &["--help"]).0, Some(0));
}

#[test]
fn where_there_is_no_file_both_places_are_named() {
    let empty = tempfile::tempdir().expect("there is room");
    if Path::new("/etc/exeunt/exeunt.toml").exists() {
        return println!("SKIP: there is a file for the whole system");
    }
    let output = exeunt(empty.path(), &["run".as_ref()]);
    assert_eq!(output.status.code(), Some(78));
    let expected = "error: there is neither \"exeunt.toml\" in this directory nor \"/etc/exeunt/exeunt.toml\"\n  \
        = help: name a file, as in exeunt run shop.toml, or make an exeunt.toml here\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn a_closed_or_full_stdout_is_no_reason_to_panic() {
    for command in ["check tests/config/good/minimal.toml", "schema", "--help"] {
        for target in [">&-", ">/dev/full", "| true"] {
            let script = format!("exec 2>&1 >/dev/full; {{ \"$0\" {command} {target}; }} 2>&1 1>&2");
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &script, env!("CARGO_BIN_EXE_exeunt")]).current_dir(ROOT).output();
            let output = output.expect("sh starts");
            assert!(!text(&output.stdout).contains("panicked"), "{command} {target}: {output:?}");
        }
    }
}

/// Whether the schema that exeunt prints takes a file.
fn fits_the_schema() -> impl Fn(&Path) -> bool {
    let output = exeunt(Path::new(ROOT), &["schema".as_ref()]);
    assert_eq!(output.status.code(), Some(0));
    let schema = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    move |path| {
        let text = std::fs::read_to_string(path).expect("it is there");
        let value = text.parse::<toml::Table>().expect("it is TOML");
        validator.is_valid(&serde_json::to_value(value).expect("it fits into JSON"))
    }
}

#[test]
fn the_schema_takes_good_files_and_refuses_bad_ones() {
    let fits = fits_the_schema();
    let good = Path::new(ROOT).join("tests/config/good");
    for name in files(&good) {
        assert!(fits(&good.join(&name)), "{name}");
    }
    let bad = Path::new(ROOT).join("tests/config/bad");
    for name in [
        "unknown-key",
        "command-string",
        "no-command",
        "not-built-yet",
        "ready",
        "health",
        "watchdog",
        "limits",
        "defaults-own-keys",
        "value-words",
        "source-with-both",
        "source-without-feed",
        "who-limits",
        "who-names",
        "who-numbers",
    ] {
        assert!(!fits(&bad.join(name).with_extension("toml")), "{name}");
    }
}

/// Every TOML file of every example.
#[test]
fn every_example_is_good_and_names_its_schema() {
    let fits = fits_the_schema();
    let mut folders = vec![Path::new(ROOT).join("examples")];
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        let entries = std::fs::read_dir(&folder).expect("it can be listed");
        folders.extend(entries.map(|entry| entry.expect("it can be listed").path()).filter(|path| path.is_dir()));
        for name in files(&folder) {
            let path = folder.join(&name);
            let output = check(&folder, &name);
            assert_eq!(output.status.code(), Some(0), "{}: {}", path.display(), text(&output.stderr));
            assert!(fits(&path), "{}", path.display());
            let content = std::fs::read_to_string(&path).expect("it is there");
            assert!(content.starts_with("#:schema "), "{} does not name its schema", path.display());
        }
    }
}

/// The accounts of a plan are shown; whether we may change to them depends on who runs the tests.
#[test]
fn accounts_are_shown_by_name_and_number() {
    let made = tempfile::tempdir().expect("there is room");
    let file = "[worker.w]\ncommand = ['true']\nuser = 'root:12345'\nsupplementary-groups = ['23456', '12345']\n\
        [worker.v]\ncommand = ['true']\nuser = '12345'\n";
    std::fs::write(made.path().join("exeunt.toml"), file).expect("it can be written");
    let output = check(made.path(), "exeunt.toml");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.contains("  as        user root (0), group 12345, also in 23456\n"), "{told}");
    assert!(told.contains("  as        user 12345, group 12345, no other group\n"), "{told}");
}

/// The check reads as the start does, without ever waiting: at this FIFO for ever. Who waits to write to it goes on waiting.
#[test]
fn a_secret_that_no_start_could_read_is_warned_of() {
    let made = tempfile::tempdir().expect("there is room");
    let fifo = Command::new("mkfifo").arg(made.path().join("fifo")).status().expect("mkfifo is there");
    assert!(fifo.success());
    let write = |name: &str, bytes: &[u8]| std::fs::write(made.path().join(name), bytes).expect("it can be written");
    write("nul", b"a\0b");
    write("large", &vec![b'x'; 128 * 1024]);
    write("good", b"secret\n");
    let file = "[worker.w]\ncommand = ['true']\nenv-from-file = { A = 'fifo', B = 'nul', C = 'large', D = '.', E = '/dev/zero', \
        F = 'good' }\n";
    write("exeunt.toml", file.as_bytes());
    // A failed test leaves nobody behind for longer.
    let mut writer = Command::new("timeout");
    let script = "echo opening >&2; echo word >fifo; echo written >written";
    let mut writer = writer
        .args(["20", "sh", "-c", script])
        .current_dir(made.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let opening = std::io::Read::read_exact(writer.stderr.as_mut().expect("piped"), &mut [0; 8]);
    opening.expect("it says so");
    let output = check(made.path(), "exeunt.toml");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stderr);
    for (name, what) in [
        ("\"fifo\", which holds A", "it is no regular file"),
        ("\"nul\", which holds B", "there is a NUL in it, which no variable can hold"),
        ("\"large\", which holds C", "it is longer than a variable can be (128 KiB with its name)"),
        ("\".\", which holds D", "is a directory"),
        ("\"/dev/zero\", which holds E", "it is no regular file"),
    ] {
        assert!(told.contains(&format!("{name}, cannot be read: {what}\n")), "{name}: {told}");
    }
    assert!(!told.contains("good") && !told.contains("secret"), "{told}");
    let word =
        Command::new("timeout").args(["20", "cat", "fifo"]).current_dir(made.path()).output().expect("it starts");
    assert_eq!(text(&word.stdout), "word\n", "the check was taken for its reader");
    assert!(writer.wait().expect("it is ours").success());
}

/// What would fail at the start is told beforehand: F104.
#[test]
fn what_exeunt_may_not_give_is_warned_of() {
    let made = tempfile::tempdir().expect("there is room");
    let shut = made.path().join("shut");
    std::fs::create_dir(&shut).expect("it can be made");
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    set(made.path(), 0o755).expect("it is ours");
    set(&shut, 0o700).expect("it is ours");
    let file = "[worker.a]\ncommand = ['true']\nuser = '12345'\nworking-directory = 'shut'\n\
        [worker.b]\ncommand = ['true']\nenv-from-file = { TOKEN = 'missing' }\n\
        [worker.c]\ncommand = ['true']\noom-score-adjust = -999\nnice = -20\nlimits = { nofile = 1073741825 }\n";
    std::fs::write(made.path().join("exeunt.toml"), file).expect("it can be written");
    let warned = |launcher: &[&str]| {
        let mut command = Command::new(launcher[0]);
        command.args(&launcher[1..]).arg(env!("CARGO_BIN_EXE_exeunt")).args(["check", "exeunt.toml"]);
        let output = command.current_dir(made.path()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stderr)
    };
    let told = warned(&["env"]);
    assert!(told.contains("\"missing\", which holds TOKEN, cannot be read: no such file or directory"), "{told}");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if is_root {
        assert!(told.contains("user 12345 may not enter \"shut\""), "{told}");
        // The program itself must be within reach of the user that checks.
        let copy = made.path().join("exeunt");
        std::fs::copy(env!("CARGO_BIN_EXE_exeunt"), &copy).expect("it can be copied");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]).arg(copy).args(["check", "exeunt.toml"]);
        let told = text(&command.current_dir(made.path()).output().expect("it starts").stderr);
        let us = "but exeunt runs as user 54321 without that right";
        for what in [
            "it is to run as user 12345",
            "it is to run as group 12345",
            "oom-score-adjust is to be lowered to -999",
            "nice is to be lowered to -20",
            "the hard limit of nofile is to be raised",
        ] {
            assert!(told.contains(&format!("{what}, {us}")), "{what}: {told}");
        }
    }
}
