use super::*;
use std::env::VarError;

fn lookup(name: &str) -> Result<String, VarError> {
    match name {
        "SET" => Ok("set".to_owned()),
        "EMPTY" => Ok(String::new()),
        "BYTES" => Err(VarError::NotUnicode(Default::default())),
        _ => Err(VarError::NotPresent),
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    parse(text, &lookup).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}")).variables
}

#[test]
fn variables_keep_their_order_and_see_the_ones_before_them() {
    let text =
        "\u{feff}# comment\r\n\r\nA=1\r\nexport B = two # more\nC='$x \"y\"'\nF=\"${A}1\"\nA=last\nG=\"${A}${SET}\"";
    let expected = [("A", "1"), ("B", "two"), ("C", "$x \"y\""), ("F", "11"), ("A", "last"), ("G", "lastset")];
    assert_eq!(pairs(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(pairs(""), []);
}

#[test]
fn every_wrong_line_is_told_and_no_value_is_shown() {
    let text = "A=1\nhunter2\nB='x' hunter3\nC=\"${hunter4}\"\nD=2\nE=\"\\0 hunter5\"\nhunt er6=hunter7\nF='hunter8\n";
    let errors = parse(text, &lookup).unwrap_err();
    let excerpts = errors.iter().map(|error| excerpt(text, error)).collect::<Vec<_>>();
    let lines = excerpts.iter().map(|(line, shown, range)| (*line, shown.as_str(), &shown[range.clone()]));
    let expected = [
        (2, "*******", "*******"),
        (3, "B=***********", "*******"),
        (4, "C=*${*******}…", "${*******}"),
        (6, "E=*\\*…", "\\*"),
        (7, "*****…", "*"),
        (8, "F='…", "'"),
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert!(!errors.iter().any(|error| error.message.contains("hunter") && !error.message.contains("hunter4")));
}

/// Each line doubles the one before: 40 of them would be 2^40 bytes.
#[test]
fn nested_names_do_not_grow_without_a_limit() {
    let mut text = "V0=0123456789\n".to_owned();
    (1..40).for_each(|i| text.push_str(&format!("V{i}=\"${{V{}}}${{V{0}}}\"\n", i - 1)));
    let errors = parse(&text, &lookup).unwrap_err();
    let (line, ..) = excerpt(&text, &errors[0]);
    assert_eq!(line, 15, "10 * 2^14 is over 128 KiB");
    assert!(errors[0].message.contains("over 131070 bytes"), "{errors:?}");
    assert_eq!(errors.len(), 1, "what follows from it is not told: {errors:?}");
}

#[test]
fn the_values_of_a_file_together_do_not_grow_without_a_limit() {
    let mut text = format!("A={}\n", "x".repeat(100_000));
    (0..1000).for_each(|i| text.push_str(&format!("B{i}=\"${{A}}\"\n")));
    let errors = parse(&text, &lookup).unwrap_err();
    assert_eq!(excerpt(&text, &errors[0]).0, 63);
    assert!(errors[0].message.contains("over 6291456 bytes"), "{errors:?}");
}

#[test]
fn limits_hold_to_the_byte_and_the_variable() {
    let longest = LONGEST_VARIABLE - "A".len();
    assert_eq!(pairs(&format!("A={}", "x".repeat(longest)))[0].1.len(), longest);
    for text in [format!("A={}", "x".repeat(longest + 1)), format!("A='{}'", "x".repeat(longest + 1))] {
        assert!(parse(&text, &lookup).unwrap_err()[0].message.contains("131070"));
    }
    let many = |count: usize| (0..count).map(|i| format!("V{i}=\n")).collect::<String>();
    assert_eq!(pairs(&many(MOST_VARIABLES)).len(), MOST_VARIABLES);
    let errors = parse(&many(MOST_VARIABLES + 100), &lookup).unwrap_err();
    assert_eq!((errors.len(), excerpt(&many(MOST_VARIABLES + 1), &errors[0]).0), (1, MOST_VARIABLES + 1));
    assert!(errors[0].message.contains("at most 4096"), "{errors:?}");
}

#[test]
fn a_reference_that_stays_as_it_is_is_pointed_out() {
    let text = "A=http://${HOST}/\nB='${HOST}'\nC=\"${SET}\"\nD=pa$word${x\n";
    let file = parse(text, &lookup).unwrap();
    let found = file.unexpanded.iter().map(|found| excerpt(text, found)).collect::<Vec<_>>();
    assert_eq!(found, [(1, "A=*******${****}…".to_owned(), 9..16)]);
    let many = "A=${HOST}\n".repeat(MOST_ERRORS + 1);
    assert_eq!(parse(&many, &lookup).unwrap().unexpanded.len(), MOST_ERRORS, "each is shown with its line");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// No text makes the parser panic, and every error can be shown.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}|([A-C]|[ =\"'\\\\#$\\{\\}:\r\n\t-]|\u{feff}|\u{a0}|é){0,60}") {
        match parse(&text, &lookup) {
            Ok(file) => assert!(file.variables.iter().all(|(name, _)| !name.is_empty() && !name.contains('='))),
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in &errors {
                    let (line, shown, range) = excerpt(&text, error);
                    assert!(line >= 1 && shown.get(range).is_some(), "{error:?}");
                }
            }
        }
    }
}

/// The document that tells what env-files are.
const DOCUMENT: &str = include_str!("../../../docs/env-file.md");

/// The rows of its table: the line, and what python-dotenv, docker compose and exeunt make of it.
fn rows() -> Vec<[&'static str; 4]> {
    let table = DOCUMENT.split_once("| line | python-dotenv |").expect("the table is there").1;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &'static str| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
    rows.map(|row| cells(row).try_into().unwrap_or_else(|cells| panic!("{cells:?}"))).collect()
}

/// Marks of the table for characters that could not be seen in it.
const MARKS: [(char, &str); 5] = [('\n', "⏎"), ('\r', "␍"), ('\t', "⇥"), ('\u{feff}', "␟"), (' ', "␠")];

/// The text that stands in a cell as code.
fn text_of(cell: &str) -> String {
    let code = cell.trim_matches('`');
    let code = if cell.starts_with("``") { code.trim_matches(' ') } else { code };
    MARKS.iter().fold(code.to_owned(), |text, (c, mark)| text.replace(mark, &c.to_string()))
}

/// A value as a cell shows it.
fn cell_of(value: &str) -> String {
    if value.is_empty() {
        return "empty".to_owned();
    }
    let shown = MARKS[..4].iter().fold(value.to_owned(), |text, (c, mark)| text.replace(*c, mark));
    if shown.contains('`') { format!("`` {shown} ``") } else { format!("`{shown}`") }
}

#[test]
fn the_table_of_the_document_says_what_becomes_of_each_line() {
    let rows = rows();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for [line, _, _, expected] in rows {
        let got = match parse(&text_of(line), &lookup) {
            Ok(file) => file.variables.last().map_or("not set".to_owned(), |(_, value)| cell_of(value)),
            Err(errors) => format!("refused: {}", errors[0].message),
        };
        if got != expected {
            wrong.push(format!("{line}\n  the document: {expected}\n  the parser:   {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the two programs agree on a value, exeunt has it too; where they differ it has the value of one, or refuses.
#[test]
fn the_table_differs_from_other_programs_only_where_the_document_says_why() {
    let known = ["`A= # empty?`", "`A=${SET}`", "`A=\"${UNSET}\"`"];
    let is_value = |cell: &str| cell.starts_with('`') || cell == "empty";
    let surprising = |[_, python, compose, ours]: &[&str; 4]| {
        let agree = is_value(python) && python == compose;
        if agree { ours != python } else { is_value(ours) && ours != python && ours != compose }
    };
    let found = rows().into_iter().filter(surprising).map(|[line, ..]| line).collect::<Vec<_>>();
    assert_eq!(found, known);
}
