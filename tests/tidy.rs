//! The habits of the house, checked on its own sources: layers, what the pure half must not have, sizes, and whether the
//! documentation names what exists. Each rule is a plain function from text to complaints and is tested below on text that
//! breaks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rooms from the top down, and the rooms each may import.
const LAYERS: [(&str, &[&str]); 7] = [
    ("cli", &["shell", "sys", "config", "wire", "machine", "model"]),
    ("shell", &["sys", "wire", "machine", "model"]),
    ("sys", &["model"]),
    ("config", &["model"]),
    ("wire", &["model"]),
    ("machine", &["model"]),
    ("model", &[]),
];
const PURE: [&str; 4] = ["model", "config", "wire", "machine"];

/// What the pure half must not have outside its tests, and why.
const IMPURE: [(&str, &str); 15] = [
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Rng::new()", "random comes from a seed"),
    (".unwrap()", "it can panic"),
    (".expect(", "it can panic"),
    ("panic!(\"", "it can panic"),
    ("HashMap", "its order differs from run to run"),
    ("HashSet", "its order differs from run to run"),
    ("std::thread", "there is no system here"),
    ("std::fs", "there is no system here"),
    ("std::process", "there is no system here"),
    ("env::var(", "there is no system here"),
    ("println!", "cli prints"),
    ("print!(", "cli prints"),
    ("dbg!", "cli prints"),
];

/// Outside its tests a file has no more lines than this.
const MOST_LINES: usize = 400;
/// So many lines above an unsafe block its reason may stand.
const SAFETY_REACH: usize = 6;
/// Paths that are somebody's machine and nobody else's.
const PRIVATE_PATHS: [&str; 4] = ["/home/", "/Users/", "/work/", "/root/"];

#[test]
fn imports_go_down_only() {
    check(&sources(), layers);
    let known: BTreeSet<String> = LAYERS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let rooms: BTreeSet<String> = sources().iter().filter_map(|source| source.room().map(str::to_owned)).collect();
    assert_eq!(rooms, known, "every room has its place among the layers");
}

#[test]
fn unsafe_stays_in_sys_and_is_explained() {
    check(&sources(), unexplained_unsafe);
}

#[test]
fn the_pure_half_is_pure() {
    let pure = sources().into_iter().filter(|source| source.room().is_some_and(|room| PURE.contains(&room)));
    check(&pure.collect::<Vec<_>>(), impurities);
}

#[test]
fn one_place_reads_the_clock() {
    let others = sources().into_iter().filter(|source| source.path != "src/sys/clock.rs");
    check(&others.collect::<Vec<_>>(), clock_reads);
}

#[test]
fn sources_are_finished_and_of_a_readable_length() {
    check(&sources(), unfinished);
    check(&sources(), too_long);
}

#[test]
fn texts_are_clean() {
    let mut all = documents();
    all.extend(files_under("src").into_iter().chain(files_under("examples")));
    all.extend(files_under("tests").into_iter().filter(|text| text.path.ends_with(".rs")));
    check(&all, unclean);
}

#[test]
fn documents_have_no_private_paths_and_no_dead_links() {
    check(&documents(), private_paths);
    check(&documents(), |text| lines_with(&text.text, "TODO", "not written yet"));
    check(&documents(), |text| dead_links(text, &|path| root().join(path).exists()));
}

#[test]
fn the_manual_names_every_key_and_no_other() {
    let schema: serde_json::Value = serde_json::from_str(&read("schemas/exeunt.schema.json")).expect("JSON");
    let mut keys = BTreeSet::new();
    schema_keys(&schema, &mut keys);
    assert!(keys.contains("stop-budget") && keys.len() > 40, "this is no schema of ours: {keys:?}");

    let manual = read("docs/manual.md");
    let named = backticked(&manual);
    assert_eq!(keys.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "keys the manual does not name");
    let invented = key_tables(&manual).difference(&keys).cloned().collect::<Vec<_>>();
    assert_eq!(invented, Vec::<String>::new(), "keys the manual made up");
}

#[test]
fn the_manual_names_every_flag_and_no_other() {
    let mut flags = BTreeSet::new();
    for arguments in
        [&["--help"][..], &["run", "--help"], &["check", "--help"], &["schema", "--help"], &["init", "--help"]]
    {
        flags.extend(long_flags(&exeunt(arguments)));
    }
    assert!(flags.contains("--log-level"), "the help names its flags: {flags:?}");
    let told =
        read("docs/manual.md").split_once("\n## The file").expect("the manual begins with the commands").0.to_owned();
    assert_eq!(long_flags(&told), flags, "flags in the manual (left) and in the help (right)");
}

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let known: BTreeSet<String> =
        files_under("tests").iter().chain(&files_under("src")).flat_map(|text| test_names(&text.text)).collect();
    let rows = fault_rows(&read("docs/testing.md"));
    assert!(rows.len() > 90, "only {} rows: the table is not where it was", rows.len());
    let named: BTreeSet<String> = rows.iter().flat_map(|(_, tests)| tests.clone()).collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "tests that are not there");
    let strangers = rows.iter().filter(|(fault, tests)| tests.iter().any(|test| !bears(test, *fault)));
    assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&(u32, Vec<String>)>::new(), "tests that do not bear the number");
}

// The rules.

/// A line, counted from 1, and what is wrong with it.
type Complaint = (usize, String);

fn layers(source: &Text) -> Vec<Complaint> {
    let Some(room) = source.room() else { return Vec::new() };
    let allowed = LAYERS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, below)| below);
    let code = source.code();
    let mut complaints = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        for used in imported(&code[at + "crate::".len()..]) {
            if used != room && LAYERS.iter().any(|(name, _)| *name == used) && !allowed.contains(&used) {
                complaints.push((line_of(&code, at), format!("{room} must not use {used}")));
            }
        }
    }
    for (other, _) in LAYERS.iter().filter(|(other, _)| *other != room) {
        let climbing = format!("super::{other}::");
        let hits = code.match_indices(&climbing).map(|(at, _)| line_of(&code, at));
        complaints.extend(hits.map(|line| (line, format!("{other} is a room: say crate::{other}"))));
    }
    complaints
}

/// The first names after `crate::`: one, or those of a `{…}` list.
fn imported(path: &str) -> Vec<&str> {
    let Some(list) = path.strip_prefix('{') else { return Vec::from([identifier(path)]) };
    let (mut depth, mut names, mut fresh) = (1, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(identifier(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

fn unexplained_unsafe(source: &Text) -> Vec<Complaint> {
    let code = source.code();
    let original: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let uses = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|form| line.contains(form));
        if uses && source.room() != Some("sys") {
            complaints.push((index + 1, "unsafe outside sys".to_owned()));
        }
        let above = &original[index.saturating_sub(SAFETY_REACH)..=index];
        if line.contains("unsafe {") && !above.iter().any(|line| line.contains("SAFETY:")) {
            complaints.push((index + 1, "an unsafe block without a SAFETY comment".to_owned()));
        }
    }
    complaints
}

fn impurities(source: &Text) -> Vec<Complaint> {
    IMPURE
        .iter()
        .flat_map(|(word, why)| lines_with(&source.code(), word, &format!("{word} in the pure half: {why}")))
        .collect()
}

fn clock_reads(source: &Text) -> Vec<Complaint> {
    let readers = ["Instant::now", "SystemTime::now", "clock_gettime", "thread::sleep"];
    readers.iter().flat_map(|word| lines_with(&source.code(), word, &format!("{word} outside the clock"))).collect()
}

fn unfinished(source: &Text) -> Vec<Complaint> {
    let mut complaints = private_paths(&Text { text: source.code(), path: source.path.clone() });
    for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX"] {
        complaints.extend(lines_with(&source.text, word, &format!("{word} is left")));
    }
    complaints
}

fn too_long(source: &Text) -> Vec<Complaint> {
    let lines = source.code().lines().filter(|line| !line.trim().is_empty()).count();
    if lines > MOST_LINES {
        vec![(1, format!("{lines} lines of code, more than {MOST_LINES}: split it by idea"))]
    } else {
        vec![]
    }
}

fn unclean(text: &Text) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in text.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push((index + 1, "space at the end of the line".to_owned()));
        }
    }
    if !text.text.is_empty() && !text.text.ends_with('\n') {
        complaints.push((text.text.lines().count(), "no line feed at the end of the file".to_owned()));
    }
    complaints
}

fn private_paths(text: &Text) -> Vec<Complaint> {
    let hits = PRIVATE_PATHS.iter().flat_map(|path| lines_with(&text.text, path, "a path of somebody's own machine"));
    hits.collect()
}

/// Links of a Markdown text to files that are not there. Anchors and the web are not looked at.
fn dead_links(text: &Text, exists: &dyn Fn(&Path) -> bool) -> Vec<Complaint> {
    let here = Path::new(&text.path).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    for (at, _) in text.text.match_indices("](") {
        let target = text.text[at + 2..].split(')').next().unwrap_or_default();
        let file = target.split('#').next().unwrap_or_default();
        if !file.is_empty() && !file.contains("://") && !exists(&here.join(file)) {
            complaints.push((line_of(&text.text, at), format!("a link to {file}, which is not there")));
        }
    }
    complaints
}

// What the documents are compared with.

/// The names of all properties, however deep.
fn schema_keys(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| schema_keys(value, keys));
        }
        serde_json::Value::Array(array) => array.iter().for_each(|value| schema_keys(value, keys)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// All that stands between backticks, and the tables `[name]`, `[name.NAME]` in them by their first name.
fn backticked(markdown: &str) -> BTreeSet<String> {
    let spans =
        markdown.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.map(|span| span.trim_start_matches('[').split(['.', ']']).next().unwrap_or_default().to_owned()).collect()
}

/// The first column of the tables under headings that name a table of the file.
fn key_tables(manual: &str) -> BTreeSet<String> {
    let sections = manual.split("\n### ").skip(1).filter(|section| section.starts_with("`["));
    let section_rows = sections.flat_map(|section| section.split("\n## ").next().unwrap_or_default().lines());
    section_rows.filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

/// What may be the name of a test: functions, and the first words of an `alone!` list.
fn test_names(source: &str) -> BTreeSet<String> {
    let lines = source.lines().map(str::trim_start);
    let names = lines.map(|line| identifier(line.strip_prefix("fn ").unwrap_or(line)));
    names.filter(|name| name.contains('_')).map(str::to_owned).collect()
}

/// The rows of the table of faults: the number, and the tests that are named by it.
fn fault_rows(markdown: &str) -> Vec<(u32, Vec<String>)> {
    let section = markdown.split("\n## Faults\n").nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
    let row = |line: &str| {
        let (number, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        let spans = rest.split('`').skip(1).step_by(2);
        let is_test = |span: &&str| span.starts_with('f') && bears_any(span);
        Some((number.parse().ok()?, spans.filter(is_test).map(str::to_owned).collect()))
    };
    section.lines().filter_map(row).collect()
}

/// `f16_f24_name` bears 16 and 24.
fn bears(test: &str, fault: u32) -> bool {
    let numbers = test.split('_').map_while(|word| word.strip_prefix('f')?.parse::<u32>().ok());
    numbers.into_iter().any(|number| number == fault)
}

fn bears_any(test: &str) -> bool {
    test.split('_').next().is_some_and(|word| word.len() > 1 && word[1..].bytes().all(|byte| byte.is_ascii_digit()))
}

/// Words that begin with `--`.
fn long_flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words
        .filter(|word| word.len() > 2 && word.starts_with("--") && word.as_bytes()[2] != b'-')
        .map(str::to_owned)
        .collect()
}

fn exeunt(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_exeunt")).args(arguments).output().expect("the binary runs");
    String::from_utf8(output.stdout).expect("the help is UTF-8")
}

// The texts.

struct Text {
    /// From the project's root.
    path: String,
    text: String,
}

impl Text {
    /// The directory under `src` that it is in, if it is in one.
    fn room(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(room, _)| room)
    }

    /// The program without comments and tests, line for line: what is left out leaves its empty lines.
    fn code(&self) -> String {
        let mut code = String::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                code.push_str(without_comment(line));
                code.push('\n');
                continue;
            }
            code.push('\n');
            // The item ends with a closing brace as far to the left as it began, or with its first line.
            let indent = &line[..line.len() - line.trim_start().len()];
            for skipped in lines.by_ref() {
                code.push('\n');
                if skipped == format!("{indent}}}")
                    || skipped.ends_with(';')
                        && skipped.starts_with(indent)
                        && !skipped[indent.len()..].starts_with(' ')
                {
                    break;
                }
            }
        }
        code
    }
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn lines_with(text: &str, word: &str, what: &str) -> Vec<Complaint> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(word));
    lines.map(|(index, _)| (index + 1, what.to_owned())).collect()
}

fn check(texts: &[Text], rule: impl Fn(&Text) -> Vec<Complaint>) {
    assert!(!texts.is_empty(), "nothing to look at");
    let complaints = texts
        .iter()
        .flat_map(|text| rule(text).into_iter().map(|(line, what)| format!("{}:{line}: {what}", text.path)));
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is compiled into the program: files that a `#[cfg(test)] mod …;` names are left out.
fn sources() -> Vec<Text> {
    let mut sources: Vec<Text> = files_under("src").into_iter().filter(|text| text.path.ends_with(".rs")).collect();
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    sources.retain(|source| !tests.iter().any(|test| source.path.starts_with(test.as_str())));
    sources
}

/// `src/room/tests.rs` and `src/room/tests/` for each module of its own file that only tests have.
fn test_modules(source: &Text) -> Vec<String> {
    let directory = match source.path.strip_suffix("/mod.rs") {
        Some(directory) => directory,
        None => source.path.trim_end_matches(".rs"),
    };
    let mut lines = source.text.lines().map(str::trim).peekable();
    let mut modules = Vec::new();
    while let Some(line) = lines.next() {
        let declared = lines.peek().and_then(|next| next.strip_suffix(';')?.split_once("mod ")).map(|(_, name)| name);
        if let Some(name) = declared.filter(|_| line == "#[cfg(test)]") {
            modules.extend([format!("{directory}/{name}.rs"), format!("{directory}/{name}/")]);
        }
    }
    modules
}

/// Every Markdown file, and the scripts and tables at the root.
fn documents() -> Vec<Text> {
    let mut documents: Vec<Text> = ["README.md", "CHANGELOG.md", ".ci/run", "Cargo.toml"]
        .iter()
        .map(|path| Text { path: (*path).to_owned(), text: read(path) })
        .collect();
    documents.extend(
        files_under("docs").into_iter().chain(files_under("examples")).filter(|text| text.path.ends_with(".md")),
    );
    documents
}

/// All files that are text, in a stable order.
fn files_under(directory: &str) -> Vec<Text> {
    let mut files = Vec::new();
    let entries = fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a directory can be read").file_name()).collect();
    names.sort();
    for name in names {
        let path = format!("{directory}/{}", name.to_string_lossy());
        if root().join(&path).is_dir() {
            files.extend(files_under(&path));
        } else if let Ok(text) = fs::read_to_string(root().join(&path)) {
            files.push(Text { path, text });
        }
    }
    files
}

/// Every rule on a text that breaks it, and on one that does not.
mod the_rules_can_fail {
    use super::*;

    const NONE: [usize; 0] = [];

    fn text(path: &str, text: &str) -> Text {
        Text { path: path.to_owned(), text: text.to_owned() }
    }

    fn lines(complaints: Vec<Complaint>) -> Vec<usize> {
        complaints.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn layers_see_every_way_of_importing_upwards() {
        for bad in [
            "use crate::shell::Loop;",
            "use crate::{model::Time, shell};",
            "use crate::{\n    model::{Time, id},\n    cli::args,\n};",
            "fn f() { crate::sys::clock::now() }",
            "use super::super::wire::record;",
        ] {
            assert_eq!(lines(layers(&text("src/machine/a.rs", bad))).len(), 1, "{bad}");
        }
        for good in [
            "use crate::model::Time;",
            "use crate::machine::queue;",
            "// crate::sys is below",
            "use crate::{model::{Time, id}, machine};",
        ] {
            assert_eq!(lines(layers(&text("src/machine/a.rs", good))), NONE, "{good}");
        }
        assert_eq!(lines(layers(&text("src/shell/a.rs", "\nuse crate::config::raw;"))), [2]);
        assert_eq!(lines(layers(&text("src/lib.rs", "pub use crate::cli;"))), NONE);
    }

    #[test]
    fn unsafe_needs_its_room_and_its_reason() {
        let explained = "// SAFETY: it is so.\nlet a = unsafe { f() };";
        assert_eq!(lines(unexplained_unsafe(&text("src/sys/a.rs", explained))), NONE);
        assert_eq!(lines(unexplained_unsafe(&text("src/shell/a.rs", explained))), [2]);
        assert_eq!(lines(unexplained_unsafe(&text("src/sys/a.rs", "\nunsafe { f() }"))), [2]);
        let too_far = format!("// SAFETY: it is so.\n{}unsafe {{ f() }}", "\n".repeat(SAFETY_REACH + 1));
        assert_eq!(lines(unexplained_unsafe(&text("src/sys/a.rs", &too_far))), [SAFETY_REACH + 3]);
    }

    #[test]
    fn impurities_count_in_the_program_and_not_in_its_tests() {
        let code = "fn f() {\n    x.unwrap();\n}\n\n#[cfg(test)]\nmod tests {\n    fn g() { x.unwrap(); }\n}\nuse std::collections::HashMap;\n";
        assert_eq!(lines(impurities(&text("src/wire/a.rs", code))), [2, 9]);
        assert_eq!(lines(impurities(&text("src/wire/a.rs", "#[cfg(test)]\nmod tests;\nx.expect(\"y\")"))), [3]);
        assert_eq!(lines(clock_reads(&text("src/cli/a.rs", "let t = Instant::now();"))), [1]);
        for (word, _) in IMPURE {
            assert_eq!(lines(impurities(&text("src/wire/a.rs", word))).first(), Some(&1), "{word}");
        }
    }

    #[test]
    fn modules_of_tests_alone_are_found() {
        let room = text("src/a/mod.rs", "mod b;\n#[cfg(test)]\nmod c;\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(test_modules(&room), ["src/a/c.rs", "src/a/c/"]);
        assert_eq!(test_modules(&text("src/a/b.rs", "#[cfg(test)]\npub mod c;")), ["src/a/b/c.rs", "src/a/b/c/"]);
    }

    #[test]
    fn unfinished_endless_and_unclean_texts_are_seen() {
        assert_eq!(lines(unfinished(&text("src/a.rs", "\nfn f() { todo!() }"))), [2]);
        assert_eq!(lines(unfinished(&text("src/a.rs", "let p = \"/home/me/x\";"))), [1]);
        assert_eq!(lines(too_long(&text("src/a.rs", &"f();\n".repeat(MOST_LINES + 1)))), [1]);
        assert_eq!(lines(too_long(&text("src/a.rs", &"f();\n".repeat(MOST_LINES)))), NONE);
        assert_eq!(lines(unclean(&text("a", "good\nbad \nbad\t\nbad\r\ngood\n"))), [2, 3, 4]);
        assert_eq!(lines(unclean(&text("a", "good\nbad"))), [2]);
        assert_eq!(lines(private_paths(&text("a.md", "see\n/home/me"))), [2]);
    }

    #[test]
    fn dead_links_are_found_from_where_they_stand() {
        let there = |path: &Path| path == Path::new("docs/a.md");
        let markdown = "[a](a.md#x) [b](b.md)\n[c](https://c) [d](#d) [e](../a.md)\n";
        assert_eq!(lines(dead_links(&text("docs/x.md", markdown), &there)), [1, 2]);
    }

    #[test]
    fn rows_of_faults_and_names_of_tests_are_found() {
        let table = "# a\n## Faults\n| F | x |\n|---|---|\n| 3 | x | `f3_a`, `src/b.rs`, `f3_f4_c` |\n| 5 | `y` | z |\n## B\n| 6 | x | `f6_d` |";
        let rows = vec![(3, vec!["f3_a".to_owned(), "f3_f4_c".to_owned()]), (5, vec![])];
        assert_eq!(fault_rows(table), rows);
        assert!(bears("f3_f4_c", 4) && !bears("f3_f4_c", 5) && !bears("f3_f40_c", 4));
        assert_eq!(test_names("fn f3_a() {\n    f5_b, HERE, {\n// f6_c\n}"), set(&["f3_a", "f5_b"]));
    }

    #[test]
    fn keys_and_flags_are_found() {
        let schema = serde_json::json!({ "properties": { "a": { "anyOf": [{ "properties": { "b-c": true } }] } } });
        let mut keys = BTreeSet::new();
        schema_keys(&schema, &mut keys);
        assert_eq!(keys, set(&["a", "b-c"]));
        assert_eq!(backticked("`a` and `[b.NAME]`, not c\n```toml\n`d`"), set(&["a", "b", "d"]));
        let manual = "\n### `[b.NAME]`\n| `k` | x |\n| `l` |\n## Other\n| `m` |\n### More\n| `n` |";
        assert_eq!(key_tables(manual), set(&["k", "l"]));
        assert_eq!(long_flags("  -h, --help  \n`--log-level LEVEL` --- -- x--y"), set(&["--help", "--log-level"]));
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }
}
