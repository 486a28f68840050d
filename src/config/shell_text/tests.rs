use super::*;
use crate::config::expand::expand;

/// The array that is suggested for a string, as the program gets it: variables expanded to their names between `<` and `>`.
fn suggested(text: &str) -> Vec<String> {
    let help = as_array(text);
    let (_, array) = help.split_once("write ").unwrap_or_else(|| panic!("{text:?}: {help}"));
    let table = format!("a = {array}").parse::<toml::Table>();
    let table = table.unwrap_or_else(|error| panic!("{text:?}: {help}: {error}"));
    let words = table["a"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let lookup = |name: &str| Ok(format!("<{name}>"));
    words
        .map(|word| expand(word, usize::MAX, &lookup).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}")))
        .collect()
}

#[test]
fn a_line_without_shell_syntax_becomes_its_words() {
    for (text, words) in [
        ("python3 thumb.py --fast", &["python3", "thumb.py", "--fast"][..]),
        ("  a\tb  c ", &["a", "b", "c"]),
        ("echo \"it's\" 'a \"b\"'", &["echo", "it's", "a \"b\""]),
        ("echo 'a'\"b\"c \"\"", &["echo", "abc", ""]),
        ("echo a\\ b \\\"", &["echo", "a b", "\""]),
        ("echo \"a\\\"b\\n\" 'a\\'", &["echo", "a\"b\\n", "a\\"]),
        ("web --port ${PORT} \"${HOST:-x}\"", &["web", "--port", "<PORT>", "<HOST>"]),
        ("echo '$x ${y%z} $$' \\$y 5$", &["echo", "$x ${y%z} $$", "$y", "5$"]),
        ("sh -c 'a | b > c'", &["sh", "-c", "a | b > c"]),
        ("dd if=a of=b", &["dd", "if=a", "of=b"]),
        ("grep é\u{202e}\u{7f}", &["grep", "é\u{202e}\u{7f}"]),
    ] {
        assert_eq!(suggested(text), words, "{text}");
    }
}

#[test]
fn a_line_with_shell_syntax_is_left_to_a_shell() {
    for text in [
        "cat x | grep y > z",
        "a && b",
        "a & b",
        "a; b",
        "a 2>&1",
        "echo $HOME",
        "echo \"$HOME\" $(date) `date`",
        "echo $$ ${x%%y} ${1}",
        "ls *.txt",
        "ls ~/x",
        "A=1 web",
        "cd /srv",
        "export A",
        "if true",
        "a\nb",
        "echo \"unclosed",
        "echo 'unclosed",
        "a # b",
        "a \\",
        "! a",
    ] {
        assert_eq!(suggested(text), ["sh", "-c", text], "{text}");
        assert!(as_array(text).starts_with("it has the syntax of a shell"), "{text}");
    }
    assert_eq!(
        suggested("echo ${A} | b"),
        ["sh", "-c", "echo <A> | b"],
        "exeunt expands this, as it would in an array"
    );
}

#[test]
fn of_an_empty_or_a_long_string_the_form_is_shown() {
    for text in ["", " \n ", &"x ".repeat(1000), &"'".repeat(1001)] {
        assert_eq!(suggested(text), ["PROGRAM", "ARGUMENT"]);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// What is suggested parses, is taken by the compiler, and passes without a change through a shell or not at all.
    #[test]
    fn every_suggestion_is_toml(text in "\\PC{0,40}|([ab]|[ '\"\\\\$\\{\\}|&;<>()*?~#=\n\t:!-]|\u{7f}|\u{9b}|\u{202e}){0,40}") {
        let words = suggested(&text);
        assert!(!words.is_empty() && !words[0].is_empty(), "{text:?}: {words:?}");
    }
}

fn warnings(words: &[&str]) -> Vec<String> {
    let mut problems = Problems::default();
    let span = Span { start: 0, end: 1 };
    warn_of_shell_syntax(&words.iter().map(|word| (*word, span)).collect::<Vec<_>>(), &mut problems);
    let told = |problem: &Problem| format!("{}; {}", problem.message, problem.help.as_deref().unwrap_or_default());
    problems.iter().map(told).collect()
}

#[test]
fn what_only_a_shell_understands_is_warned_of() {
    for (words, message) in [
        (
            &["cat", "x", "|", "grep", "a b", ">", "z"][..],
            "for a shell write [\"sh\", \"-c\", \"cat x | grep 'a b' > z\"]",
        ),
        (&["a", "&&", "b"], "\"&&\" is an argument"),
        (&["a", "||", "b"], "\"||\" is an argument"),
        (&["a", "&"], "\"&\" is an argument"),
        (&["a", ";"], "\";\" is an argument"),
        (&["a", "<", "b"], "\"<\" is an argument"),
        (&["a", "2>&1"], "\"2>&1\" is an argument"),
        (&["a", ">/dev/null"], "\">/dev/null\" is an argument"),
        (&["a", "2>>./log"], "is an argument"),
        (&["sh", "script", "|"], "is an argument"),
        (&["test", "-e", "x", "&&", "b"], "\"&&\" is an argument"),
        (&["echo hi"], "blanks included; each argument is a string of its own: write [\"echo\", \"hi\"]"),
        (&["cd", "/srv"], "cd belongs to the language of the shell and is not a program; set working-directory"),
        (&["ulimit", "-n", "5"], "set limits"),
        (&["export", "A=1"], "set env"),
        (&["source", "x"], "env-file"),
        (&["A=a b", "web"], "write env = { A = \"a b\" }"),
        (&["ls", "~/x"], "${HOME}"),
        (&["~/bin/web"], "${HOME}"),
        (&["ls", "~"], "${HOME}"),
        (&["ls", "~anna/x"], "${HOME}"),
    ] {
        let found = warnings(words);
        assert_eq!(found.len(), 1, "{words:?}: {found:?}");
        assert!(found[0].contains(message), "{words:?}: {found:?}");
    }
}

#[test]
fn what_is_meant_without_a_shell_is_not_warned_of() {
    for words in [
        &["sh", "-c", "a | b", ">", "&&"][..],
        &["/bin/bash", "-euc", "cd x; a", "~"][..4],
        &["env", "-i", "bash", "-lc", "a", "|"],
        &["find", ".", "-exec", "rm", "{}", ";"],
        &["timeout", "5", "find", ".", "-exec", "rm", "{}", ";"],
        &["test", "a", "<", "b"],
        &["/opt/My App/run", "a b"],
        &["grep", "a|b", "<none>", ">=1", "a;b", "x>y"],
        &["echo", "A=1", "cd", "HEAD~1", "~1"],
        &["./cd", "x"],
        &["dd", "if=a"],
        &[],
    ] {
        assert_eq!(warnings(words), [""; 0], "{words:?}");
    }
}
