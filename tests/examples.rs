//! Every example is valid, and does what it says: run with the real binary, on copies, so that no run leaves a trace.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[test]
fn every_file_names_the_schema_and_is_valid_against_it() {
    let schema = fs::canonicalize(root().join("schemas/exeunt.schema.json")).expect("the schema is there");
    let text = fs::read_to_string(&schema).expect("the schema can be read");
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a schema");
    for file in example_files() {
        let text = fs::read_to_string(&file).expect("an example can be read");
        let named = text.lines().next().and_then(|line| line.strip_prefix("#:schema ")).unwrap_or_default();
        let named = fs::canonicalize(file.parent().expect("a directory").join(named)).ok();
        assert_eq!(named.as_ref(), Some(&schema), "{}: the first line names the schema", file.display());

        let value: serde_json::Value = toml::from_str(&text).expect("TOML");
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn every_file_passes_check() {
    for file in example_files() {
        let output = exeunt(["check".as_ref(), file.as_os_str()]).output().expect("the binary runs");
        assert!(output.status.success(), "{}:\n{}", file.display(), told(&output));
    }
}

/// README's first command.
#[test]
fn the_checksums_are_those_of_sha256sum() {
    let example = copy_of("checksums");
    let find = "find src -name '*.rs'";
    let names = shell(find);
    let output = feed(exeunt(["run".as_ref(), example.path().join("exeunt.toml").as_os_str()]), &names);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(sorted(&output.stdout), sorted(&shell(&format!("{find} | xargs sha256sum"))));
    assert!(!example.path().join("left.txt").exists(), "nothing is left");
}

/// What `examples/least/README.md` shows. For root alone.
#[test]
fn the_least_is_what_the_file_says() {
    if shell("id -u") != b"0\n" {
        println!("SKIP: only root can become another user");
        return;
    }
    let example = copy_of("least");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(example.path(), open).expect("it is ours");
    let output =
        exeunt(["run".as_ref(), example.path().join("exeunt.toml").as_os_str()]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", told(&output));
    let readme = fs::read_to_string(root().join("examples/least/README.md")).expect("it is there");
    let shown = readme.split("```").nth(1).and_then(|block| block.strip_prefix("text\n")).expect("it shows the output");
    assert_eq!(sorted(&output.stdout), sorted(shown.as_bytes()), "{}", told(&output));
    assert!(!told(&output).contains("not-so-secret"), "{}", told(&output));
}

/// A name that cannot be read is a dead letter, and harms no other.
#[test]
fn a_missing_file_has_no_checksum() {
    let example = copy_of("checksums");
    let output =
        feed(exeunt(["run".as_ref(), example.path().join("exeunt.toml").as_os_str()]), "no/such/file\nCargo.toml\n");
    assert_eq!(output.status.code(), Some(65), "{}", told(&output));
    assert_eq!(sorted(&output.stdout), sorted(&shell("sha256sum Cargo.toml")));
    let dead = fs::read_to_string(example.path().join("left.txt.dead")).expect("dead letters are kept");
    assert!(dead.lines().count() == 1 && dead.contains("no/such/file"), "{dead}");
}

/// The lazy workers are interrupted after their first number: each finishes the one in hand and cleans up, and what was done and
/// what is left are the hundred numbers.
#[test]
fn the_lazy_workers_leave_and_nothing_is_lost() {
    if lacks("python3") {
        return;
    }
    let example = copy_of("blog");
    let mut run = exeunt(["run".as_ref(), example.path().join("exeunt.toml").as_os_str()]);
    let mut child =
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        if said.is_empty() && line.contains(": did ") {
            shell(&format!("kill -INT {}", child.id()));
        }
        if !said.is_empty() || line.contains(": did ") || line.contains("cleaned up") {
            said.push(line);
        }
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(75), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.ends_with(": cleaned up")).count(), 2, "{said:?}");

    let left = fs::read_to_string(example.path().join("left.txt")).expect("there are leftovers");
    let done = said.iter().filter_map(|line| line.split_once(": did ")).map(|(_, number)| number);
    let mut numbers: Vec<u32> = done.chain(left.lines()).map(|number| number.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
}

#[test]
fn the_shield_is_exactly_what_the_file_says() {
    if lacks("python3") {
        return;
    }
    let example = copy_of("shield");
    let output =
        exeunt(["run".as_ref(), example.path().join("exeunt.toml").as_os_str()]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let said: BTreeSet<&str> = said.lines().collect();
    let expected = [
        "clean.0: ignored none; blocked none",
        "shielded.0: ignored HUP INT USR2; blocked USR1 WINCH",
        "SigBlk:\t0000000008000200",
        "SigIgn:\t0000000000000803",
    ];
    assert_eq!(said, BTreeSet::from(expected));
}

/// What `examples/web/README.md` shows, on another port.
#[test]
fn the_web_stack_starts_in_order_and_answers_what_is_under_way() {
    let Some((example, port)) = web_stack() else { return };
    let ask = |path: &str| visit(port, path);

    let run = UnderWay::start(&example);
    run.until("nginx", |said| said.contains("nginx.0 is ready").then_some(()));
    assert!(ask("/").is_some_and(|answer| answer.starts_with("visit 1,")), "who is ready answers");
    let (slow, said) = thread::scope(|scope| {
        let slow = scope.spawn(|| ask("/slow"));
        run.until("the slow request", |said| said.contains(": this takes a while").then_some(()));
        let (code, said) = run.interrupt();
        assert_eq!(code, Some(0), "{said}");
        (slow.join().expect("the client does not panic"), said)
    });
    assert!(slow.is_some_and(|answer| answer.starts_with("visit 2, served by app.")), "it was answered\n{said}");
    in_order(
        &said,
        &["redis.0 is ready", "app.0 is ready", "nginx.0 is ready", "stopping on INT", "nginx.0 left after"],
    );
    in_order(
        &said,
        &["app.1 is ready", "nginx.0 started", "nginx.0 left after", "app.1 left after", "redis.0 left after"],
    );
    for rung in ["nginx.0 left on the QUIT rung", "app.0 left on the event rung", "redis.0 left on the TERM rung"] {
        assert!(said.contains(rung), "{rung}\n{said}");
    }

    let again = UnderWay::start(&example);
    assert!(again.until("an answer", |_| ask("/")).starts_with("visit 3,"), "Redis has saved");
    assert_eq!(again.interrupt().0, Some(0));
}

/// Those that require Redis fall with it and come back with it; nginx, which is only after them, stays.
#[test]
fn the_programs_of_the_web_stack_fall_with_redis_and_come_back() {
    let Some((example, port)) = web_stack() else { return };
    let run = UnderWay::start(&example);
    run.until("nginx", |said| said.contains("nginx.0 is ready").then_some(()));
    shell(&format!("kill -KILL $(ps -o pid=,comm= --ppid {} | sed -n 's/ redis-server$//p')", run.child.id()));
    for name in ["redis.0 is ready", "app.0 is ready", "app.1 is ready"] {
        run.until(name, |said| (said.matches(name).count() == 2).then_some(()));
    }
    run.until("an answer", |_| visit(port, "/"));
    let (code, said) = run.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("nginx.0 started").count(), 1, "{said}");
    assert_eq!(said.matches("is stopped, for it requires redis").count(), 2, "{said}");
}

/// The example and its port, one that the kernel found to be free; none where something is missing.
fn web_stack() -> Option<(TempDir, u16)> {
    if lacks("python3") || lacks("nginx") || lacks("redis-server") {
        return None;
    }
    let example = copy_of("web");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    for name in ["nginx.conf", "exeunt.toml"] {
        let file = example.path().join(name);
        let text = fs::read_to_string(&file).expect("it is there");
        assert!(text.contains("127.0.0.1:8080"), "{text}");
        fs::write(&file, text.replace("127.0.0.1:8080", &free.to_string())).expect("it is ours");
    }
    Some((example, free.port()))
}

/// The last line of nginx's answer, if it is a good one.
fn visit(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.rsplit('\n').nth(1)?.to_owned()).filter(|_| answer.contains(" 200 OK"))
}

/// What `examples/migrations/README.md` shows.
#[test]
fn the_plays_are_served_after_their_migrations_and_not_without_them() {
    if lacks("python3") {
        return;
    }
    let example = copy_of("migrations");
    let started = |run: &UnderWay| run.until("the service", |said| said.contains("plays.0 is ready").then_some(()));
    for counts in ["2 new, 0 done before", "0 new, 2 done before"] {
        let run = UnderWay::start(&example);
        started(&run);
        let (code, said) = run.interrupt();
        assert_eq!(code, Some(0), "{said}");
        in_order(&said, &[counts, "migrate.0 ended by itself", "plays.0 started"]);
    }
    fs::write(example.path().join("schema/003-wrong.sql"), "create table a (b); alter table play drop column title;")
        .expect("it is ours");
    let mut failed = UnderWay::start(&example);
    assert_eq!(failed.child.wait().expect("it ends").code(), Some(1));
    let said = failed.until("the report", |said| said.contains("; exit code 1").then(|| said.to_owned()));
    assert!(said.contains("migrate: 003-wrong.sql: no such table: play"), "{said}");
    failed.until("who never started", |said| said.contains("plays.0 never started").then_some(()));
    fs::write(example.path().join("schema/003-wrong.sql"), "create table a (b);").expect("it is ours");
    let run = UnderWay::start(&example);
    started(&run);
    let (_, said) = run.interrupt();
    assert!(said.contains("1 new, 2 done before"), "what failed had left nothing behind\n{said}");
}

fn in_order(said: &str, words: &[&str]) {
    let places: Vec<Option<usize>> = words.iter().map(|word| said.find(word)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{words:?} at {places:?}\n{said}");
}

/// Two hundred lines through each of the smallest workers, awkward ones among them.
#[test]
fn the_smallest_workers_do_every_item_once() {
    let awkward = ["", " ", "two  spaces ", r"back\tslash\n", "%s %d", "-n", "ünïcödé", "*", "$HOME `id` \"'"];
    let plain = (0..200).map(|number| format!("item {number}"));
    let items: Vec<String> = awkward.into_iter().map(str::to_owned).chain(plain).collect();
    for worker in smallest_workers() {
        let file = worker.directory.path().join("exeunt.toml");
        let output = feed(exeunt(["run".as_ref(), file.as_os_str()]), &(items.join("\n") + "\n"));
        assert!(output.status.success(), "{}: {}", worker.language, told(&output));
        let expected: Vec<String> = items.iter().map(|item| format!("{} did {item}", worker.language)).collect();
        assert_eq!(sorted(&output.stdout), sorted(expected.join("\n").as_bytes()), "{}", worker.language);
    }
}

/// What a killed exeunt leaves in the pipe: whole items, the first part of one, and the end.
#[test]
fn the_smallest_workers_take_no_torn_item() {
    for worker in smallest_workers() {
        let mut child = by_hand(&worker);
        let exit_event_never_comes = child.stdin.take();
        let mut items = fs::OpenOptions::new().write(true).open(worker.path("items")).expect("the worker reads");
        items.write_all(b"1.1 whole\n2.1 \n3.1 torn").expect("a pipe has room");
        drop(items);
        let status = child.wait().expect("it ends");
        drop(exit_event_never_comes);
        assert!(status.success(), "{}: {status}", worker.language);
        let replies = fs::read_to_string(worker.path("replies")).expect("replies");
        let expected = format!("ok 1.1 {0} did whole\nok 2.1 {0} did \n", worker.language);
        assert_eq!(replies, expected, "{}", worker.language);
    }
}

/// Those that look at both pipes at once leave when the exit event comes, and no item ever did. (sh hears it by the end
/// of its items, which exeunt brings about at the same moment.)
#[test]
fn the_smallest_workers_hear_the_exit_event() {
    for worker in smallest_workers().into_iter().filter(|worker| worker.language != "sh") {
        let mut child = by_hand(&worker);
        let items = fs::OpenOptions::new().write(true).open(worker.path("items")).expect("the worker reads");
        drop(child.stdin.take());
        let status = child.wait().expect("it ends");
        drop(items);
        assert!(status.success(), "{}: {status}", worker.language);
    }
}

/// One of `examples/workers`, in a directory of its own and built.
struct Smallest {
    language: &'static str,
    command: &'static [&'static str],
    directory: TempDir,
}

impl Smallest {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn smallest_workers() -> Vec<Smallest> {
    let all: [(&str, &str, &[&str], &str); 5] = [
        ("sh", "sh", &["sh", "worker.sh"], "true"),
        ("python", "python3", &["python3", "worker.py"], "true"),
        ("node", "node", &["node", "worker.js"], "true"),
        ("c", "cc", &["./worker"], "cc -O2 -Wall -Wextra -Werror -o worker worker.c"),
        ("rust", "rustc", &["./worker"], "rustc -O -D warnings worker.rs"),
    ];
    let workers = all.into_iter().filter(|(_, needs, _, _)| !lacks(needs)).map(|(language, _, command, build)| {
        let directory = copy_of(&format!("workers/{language}"));
        let built = Command::new("sh").args(["-c", build]).current_dir(directory.path()).status().expect("sh runs");
        assert!(built.success(), "{language} is built");
        Smallest { language, command, directory }
    });
    workers.collect()
}

/// A worker as exeunt would start it: items from the FIFO `items`, replies into the file `replies`, and the child's stdin, which is
/// ours, as its exit event. It is given a minute.
fn by_hand(worker: &Smallest) -> Child {
    let made = Command::new("mkfifo").arg(worker.path("items")).status().expect("mkfifo runs");
    assert!(made.success(), "a FIFO");
    let script = r#"exec timeout 60 "$@" 3<items 4>replies 5<&0 </dev/null"#;
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "sh"]).args(worker.command).current_dir(worker.directory.path()).stdin(Stdio::piped());
    sh.spawn().expect("sh runs")
}

/// Whether a program is missing, with a word on it: a skip, which CI does not allow.
fn lacks(program: &str) -> bool {
    let look = "PATH=$PATH:/usr/sbin; command -v \"$0\" >/dev/null";
    let found = Command::new("sh").args(["-c", look, program]).status().expect("sh runs").success();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI, but {program} is not there");
        println!("SKIP: {program} is not there");
    }
    !found
}

fn exeunt<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeunt"));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command with this on its standard input.
fn feed(mut command: Command, input: &(impl AsRef<[u8]> + ?Sized)) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.as_ref().to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // What is not read is the test's to find out.
    let _ = writer.join().expect("the writer does not panic");
    output
}

/// What a shell command prints, at the project's root.
fn shell(script: &str) -> Vec<u8> {
    let output = Command::new("sh").args(["-c", script]).current_dir(root()).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {}", told(&output));
    output.stdout
}

fn told(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{stdout}{stderr}", output.status)
}

fn sorted(text: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A copy of one directory of `examples`, without the schema's comment meaning anything there, and without what a run left in it.
fn copy_of(example: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    copy_into(copy.path(), &root().join("examples").join(example));
    copy
}

fn copy_into(copy: &Path, directory: &Path) {
    for entry in fs::read_dir(directory).expect("an example is a directory") {
        let file = entry.expect("a directory can be read").path();
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        if file.is_dir() && name != "run" {
            fs::create_dir(copy.join(&name)).expect("there is room");
            copy_into(&copy.join(&name), &file);
        } else if file.is_file() && !name.contains("left.txt") && !name.ends_with(".db") {
            fs::copy(&file, copy.join(&name)).expect("a file can be copied");
        }
    }
}

/// An example that is under way, in a directory of its own.
struct UnderWay {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl UnderWay {
    fn start(example: &TempDir) -> UnderWay {
        let mut run = exeunt(["run".as_ref(), "exeunt.toml".as_ref()]);
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        run.current_dir(example.path()).env("PATH", path).env("PORT", "0");
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let said = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for stream in streams {
            let said = said.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines() {
                    said.lock().expect("nobody panics").push_str(&(line.expect("text") + "\n"));
                }
            });
        }
        UnderWay { child, said }
    }

    /// Looks until it finds something; after a minute it says what was heard.
    fn until<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = self.said.lock().expect("nobody panics").clone();
            if let Some(found) = look(&said) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}\n{said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ctrl+C, and then its exit code and all that it said.
    fn interrupt(mut self) -> (Option<i32>, String) {
        shell(&format!("kill -INT {}", self.child.id()));
        let code = self.child.wait().expect("it ends").code();
        let said = self.until("the report", |said| said.contains("; exit code ").then(|| said.to_owned()));
        (code, said)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // TERM, so that it takes what it started along; when the test went well it has gone already.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// Every `exeunt.toml` under `examples`, in order.
fn example_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root().join("examples")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory can be read") {
            let path = entry.expect("a directory can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name() == Some("exeunt.toml".as_ref()) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 8, "the examples are here: {files:?}");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
