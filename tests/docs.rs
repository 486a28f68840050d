//! What the documents show works: their TOML is taken by `exeunt check`, and the commands of the runbooks, typed as they stand, say what stands below
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// How long the commands of one block may take.
const PATIENCE: &str = "60";

/// README, guides and runbooks show whole files.
#[test]
fn every_file_that_a_document_shows_is_good() {
    let mut documents = vec![root().join("README.md"), root().join("docs/workers.md")];
    documents.extend(markdown("docs").into_iter().filter(|path| name(path).starts_with("from-")));
    documents.extend(markdown("docs/runbooks"));
    let blocks = documents.iter().flat_map(|path| blocks_of(path).into_iter().map(move |block| (path, block)));
    let files: Vec<(&PathBuf, Block)> = blocks.filter(|(_, block)| block.language == "toml").collect();
    assert!(files.len() > 4, "only {} files were found", files.len());
    for (path, block) in files {
        is_good(&block.text, &format!("{}:{}", path.display(), block.line));
    }
}

/// The manual shows one table at a time; together they are one file.
#[test]
fn the_tables_of_the_manual_are_good_together() {
    let blocks = blocks_of(&root().join("docs/manual.md"));
    let tables: Vec<Block> = blocks.into_iter().filter(|block| block.language == "toml").collect();
    assert!(tables.len() > 4, "only {} tables were found", tables.len());
    is_good(&tables.iter().map(|block| block.text.as_str()).collect::<String>(), "docs/manual.md");
}

#[test]
fn the_commands_of_the_runbooks_say_what_stands_below_them() {
    let paths = markdown("docs/runbooks");
    let typed: usize = thread::scope(|scope| {
        let documents: Vec<_> = paths.iter().map(|path| scope.spawn(|| type_all(path))).collect();
        documents.into_iter().map(|document| document.join().expect("what stands there is said")).sum()
    });
    assert!(typed > 5, "only {typed} blocks of commands were found");
}

#[test]
fn every_runbook_has_a_command_that_shows_it_and_is_in_the_list() {
    let list = fs::read_to_string(root().join("docs/runbooks/README.md")).expect("the list is there");
    for path in markdown("docs/runbooks").into_iter().filter(|path| name(path) != "README.md") {
        assert!(list.contains(&format!("({})", name(&path))), "{} is not in the list", path.display());
        let shows = |pair: &[Block]| pair[0].language == "sh" && pair[1].language == "text";
        assert!(blocks_of(&path).windows(2).any(shows), "{} has no command that shows it", path.display());
    }
}

#[test]
fn what_differs_from_run_to_run_is_no_difference() {
    assert_eq!(plain("web.0 left after 2s (exit 0)"), plain("web.0 left  after 1.9ms (exit 0)"));
    assert_eq!(plain("28559 28517 Z"), plain(" 1234  777 Z"));
    assert_ne!(plain("web.0 left after 2s (exit 0)"), plain("web.0 left after 2s (exit 1)"));
}

/// One fenced block of a Markdown text.
struct Block {
    line: usize,
    language: String,
    text: String,
}

fn blocks_of(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(indent);
                blocks.push(Block { line: index + 1, language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) => {
                let block = blocks.last_mut().expect("it was opened");
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Types the commands of a document, one block after the other in the same directory. How many there are.
fn type_all(path: &Path) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let blocks = blocks_of(path);
    let mut typed = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        if block.text.contains("unshare") && !may("unshare", &["--pid", "--fork", "--mount-proc", "true"])
            || block.text.contains("python3") && !may("python3", &["--version"])
        {
            continue;
        }
        let shown = blocks.get(index + 1).filter(|next| next.language == "text").map_or("", |next| &next.text);
        // They wait a second for what takes milliseconds: a machine that is very busy may need another try.
        let wrong = (0..3).map_while(|_| not_said(directory.path(), &block.text, shown)).nth(2);
        assert_eq!(wrong, None, "{}:{}", path.display(), block.line);
        typed += 1;
    }
    typed
}

/// Runs the commands; the lines that they should say and did not, and what they said.
fn not_said(directory: &Path, commands: &str, shown: &str) -> Option<String> {
    let said = run(directory, commands);
    let heard: Vec<String> = said.lines().map(plain).collect();
    let missing: Vec<&str> = shown.lines().filter(|line| !heard.contains(&plain(line))).collect();
    (!missing.is_empty()).then(|| format!("it did not say\n{}\nbut\n{said}", missing.join("\n")))
}

/// A line without what differs from run to run: spaces, times, process numbers.
fn plain(line: &str) -> String {
    let word = |word: &str| {
        let number = word.trim_matches(['(', ')', ',', ';']);
        let digits = number.trim_end_matches(['m', 's']);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let differs = is_number && (digits.len() < number.len() || digits.len() > 2);
        if differs { word.replace(number, "N") } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// `exeunt check` takes it, beside the files that it may name.
#[track_caller]
fn is_good(file: &str, place: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("exeunt.toml"), file).expect("there is room");
    for named in ["thumb.env", "web.env"] {
        fs::write(directory.path().join(named), "A=b\n").expect("there is room");
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_exeunt"));
    let output = check.args(["check", "exeunt.toml"]).current_dir(directory.path()).output().expect("it runs");
    assert!(output.status.success(), "{place}:\n{}\n{file}", told(&output));
}

/// What the commands say, on both streams.
fn run(directory: &Path, commands: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_exeunt")).parent().expect("a directory");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut sh = Command::new("timeout");
    sh.args([PATIENCE, "sh", "-c", commands]).current_dir(directory).env("PATH", path).stdin(Stdio::null());
    let output = sh.output().expect("sh runs");
    assert_ne!(output.status.code(), Some(124), "it does not end: {commands}\n{}", told(&output));
    told(&output)
}

/// Whether something the commands want is there and allowed; a word on it if not, which CI does not allow.
fn may(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "nothing is skipped in CI, but {program} is not there, or not allowed"
        );
        println!("SKIP: {program} is not there, or not allowed");
    }
    found
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The Markdown files of a directory, in order.
fn markdown(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).expect("the documents are here");
    let paths = entries.map(|entry| entry.expect("a directory can be read").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension() == Some("md".as_ref())).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
