//! What was meant for a shell, in a file that has none: commands written as one string, and words of a command that only a
//! shell gives a meaning to.

use super::expand;
use super::problem::{Problem, Problems, Span, quote};
use super::toml_text;

/// A suggestion that is longer is not made.
const LONGEST: usize = 500;
const SHELLS: [&str; 10] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox", "toybox"];
/// Programs that have these operators among their own arguments.
const TAKE_OPERATORS: [(&str, &[&str]); 8] = [
    ("find", &[";"]),
    ("fd", &[";"]),
    ("fdfind", &[";"]),
    ("tmux", &[";"]),
    ("screen", &[";"]),
    ("test", &["<", ">"]),
    ("[", &["<", ">"]),
    ("expr", &["|", "&", "<", ">"]),
];
const OPERATORS: [&str; 14] = ["|", "||", "|&", "&", "&&", ";", "<", "<<", "<<<", ">", ">>", "&>", "2>", "2>>"];
/// What a shell does itself, and what there is for it.
const BUILTINS: [(&str, &str); 24] = [
    ("cd", "set working-directory"),
    ("pushd", "set working-directory"),
    ("export", "set env"),
    ("set", SHELL_HELP),
    ("unset", SHELL_HELP),
    ("declare", SHELL_HELP),
    ("local", SHELL_HELP),
    ("source", "set env-file for a file of variables"),
    (".", "set env-file for a file of variables"),
    ("ulimit", "set limits"),
    ("umask", "set umask"),
    ("exec", "leave it out: a program is started without a shell in between"),
    ("eval", SHELL_HELP),
    ("trap", SHELL_HELP),
    ("exit", SHELL_HELP),
    ("return", SHELL_HELP),
    ("shift", SHELL_HELP),
    ("read", SHELL_HELP),
    ("wait", SHELL_HELP),
    ("alias", SHELL_HELP),
    ("if", SHELL_HELP),
    ("for", SHELL_HELP),
    ("while", SHELL_HELP),
    ("until", SHELL_HELP),
];
const SHELL_HELP: &str = "a shell runs it: write [\"sh\", \"-c\", \"…\"]";

/// What to write instead of a command that is a string: an array that means the same.
pub fn as_array(text: &str) -> String {
    let text = text.trim();
    let (why, array) = match split(text) {
        Some(words) => ("", toml_text::array(words.iter().map(String::as_str))),
        None => ("it has the syntax of a shell: ", toml_text::array(["sh", "-c", &for_expansion(text)])),
    };
    match text.is_empty() || array.len() > LONGEST {
        true => "write [\"PROGRAM\", \"ARGUMENT\"]".to_owned(),
        false => format!("{why}write {array}"),
    }
}

/// The words that a shell would make of a line, as strings of a file; `None` for what takes a shell.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let begins = word.is_none();
        rest = match c {
            ' ' | '\t' => {
                words.extend(word.take());
                after
            }
            '\'' => {
                let (inside, after) = after.split_once('\'')?;
                word.get_or_insert_default().push_str(&literal(inside));
                after
            }
            '"' => double_quoted(after, word.get_or_insert_default())?,
            '\\' => {
                let next = after.chars().next().filter(|&c| c != '\n')?;
                let (escaped, after) = after.split_at(next.len_utf8());
                word.get_or_insert_default().push_str(&literal(escaped));
                after
            }
            '$' => variable(rest, word.get_or_insert_default())?,
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '*' | '?' | '[' | '\n' => return None,
            '#' | '~' if begins => return None,
            '=' if words.is_empty() => return None,
            _ => {
                word.get_or_insert_default().push(c);
                after
            }
        };
    }
    words.extend(word);
    let program = words.first().filter(|program| !program.is_empty())?;
    (!matches!(program.as_str(), "!" | "{") && BUILTINS.iter().all(|(builtin, _)| builtin != program)).then_some(words)
}

/// Adds what stands in double quotes; answers what is behind them.
fn double_quoted<'a>(text: &'a str, word: &mut String) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let c = rest.chars().next()?;
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '"' => return Some(after),
            '`' => return None,
            '$' => variable(rest, word)?,
            '\\' => match after.chars().next()? {
                '\n' => return None,
                '$' | '`' | '"' | '\\' => {
                    let (escaped, after) = after.split_at(1);
                    word.push_str(&literal(escaped));
                    after
                }
                _ => {
                    word.push('\\');
                    after
                }
            },
            _ => {
                word.push(c);
                after
            }
        };
    }
}

/// Adds a `$` and what belongs to it; answers what is behind it. `None` where only a shell knows what it means.
fn variable<'a>(text: &'a str, word: &mut String) -> Option<&'a str> {
    let after = text.strip_prefix('$')?;
    if let Some((body, behind)) = after.strip_prefix('{').and_then(|body| body.split_once('}')) {
        expand::is_known_form(body).then_some(())?;
        word.push_str(text.get(..text.len() - behind.len())?);
        return Some(behind);
    }
    let means_something = |c: char| c.is_ascii_alphanumeric() || "_({@*#?$!-'\"".contains(c);
    let literal = !after.starts_with(means_something) || after.starts_with(['"', '\'']);
    literal.then(|| word.push('$'))?;
    Some(after)
}

/// Text that the expansion of variables leaves as it is.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// A line for a shell: what exeunt itself would expand or refuse is left to the shell, but for the forms that both know.
fn for_expansion(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('$') {
        out.push_str(before);
        let form = from.strip_prefix('{').and_then(|body| body.split_once('}')).map(|(body, _)| body);
        let known = form.is_some_and(expand::is_known_form);
        let doubled = from.starts_with('$') || (from.starts_with('{') && !known);
        out.push_str(if doubled { "$$" } else { "$" });
        rest = from;
    }
    out.push_str(rest);
    out
}

/// A word of a command, and where it stands.
pub type Word<'a> = (&'a str, Span);

/// Warns of what only a shell would give a meaning to.
pub fn warn_of_shell_syntax(words: &[Word<'_>], problems: &mut Problems) {
    let Some(&(program, span)) = words.first() else { return };
    if let Some((name, value)) = program.split_once('=').filter(|(name, _)| is_variable(name)) {
        let message = format!("the program's name is {}: no variable is set in front of a command", quote(program));
        let env = format!("{} = {}", toml_text::key(name), toml_text::string(value));
        push(problems, Problem::warning(span, message).help(format!("write env = {{ {env} }}")));
    } else if let Some((_, instead)) = BUILTINS.iter().find(|(builtin, _)| *builtin == program) {
        let message = format!("{program} belongs to the language of the shell and is not a program");
        push(problems, Problem::warning(span, message).help(*instead));
    } else if program
        .split(char::is_whitespace)
        .next()
        .is_some_and(|first| first.len() < program.len() && !first.contains('/'))
    {
        let message = format!("the program's name is {}, blanks included", quote(program));
        let help = format!("each argument is a string of its own: {}", as_array(program));
        push(problems, Problem::warning(span, message).help(help));
    }
    if has_script(words) {
        return;
    }
    operators(words, problems);
    for (word, span) in words.iter().filter(|(word, _)| begins_with_home(word)) {
        push(problems, home(*span, &format!("the ~ of {} is literal: no shell expands it", quote(word))));
    }
}

/// Warns of a path that a shell would have expanded.
pub fn warn_of_home(path: &str, span: Span, problems: &mut Problems) {
    if begins_with_home(path) {
        push(problems, home(span, "a ~ is literal in a path: no shell expands it"));
    }
}

fn home(span: Span, message: &str) -> Problem {
    Problem::warning(span, message).help("write ${HOME} for your home directory")
}

/// `~` alone, `~/path` and `~user`.
fn begins_with_home(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('~') else { return false };
    let user = rest.split('/').next().unwrap_or_default();
    user.is_empty() || user.starts_with(|c: char| c.is_ascii_lowercase())
}

/// The first operator among the arguments is told.
fn operators(words: &[Word<'_>], problems: &mut Problems) {
    let taken = words.iter().flat_map(|(word, _)| TAKE_OPERATORS.iter().filter(|(name, _)| *name == base_name(word)));
    let taken = taken.flat_map(|(_, operators)| operators.iter().copied()).collect::<Vec<_>>();
    let is_lost = |(word, _): &&Word<'_>| is_operator(word) && !taken.contains(word);
    let Some((operator, span)) = words.iter().skip(1).find(is_lost) else { return };
    let message = format!("{} is an argument like any other: there is no shell that acts on it", quote(operator));
    let line = words.iter().map(|(word, _)| shell_word(word)).collect::<Vec<_>>().join(" ");
    let array = toml_text::array(["sh", "-c", line.as_str()]);
    let help = if array.len() > LONGEST { SHELL_HELP.to_owned() } else { format!("for a shell write {array}") };
    push(problems, Problem::warning(*span, message).help(help));
}

/// `|`, `2>&1`, `>/dev/null` and their like.
fn is_operator(word: &str) -> bool {
    if OPERATORS.contains(&word) {
        return true;
    }
    let unnumbered = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(target) = unnumbered.strip_prefix(">>").or_else(|| unnumbered.strip_prefix('>')) else { return false };
    let descriptor = target
        .strip_prefix('&')
        .is_some_and(|number| number == "-" || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    descriptor || target.starts_with(['/', '.'])
}

/// Whether one of the words is a shell that is given a script: what stands behind it is the script's business.
fn has_script(words: &[Word<'_>]) -> bool {
    let is_script = |option: &str| option.starts_with('-') && !option.starts_with("--") && option.contains('c');
    let mut behind_shell = false;
    for (word, _) in words {
        if behind_shell && is_script(word) {
            return true;
        }
        behind_shell |= SHELLS.contains(&base_name(word));
    }
    false
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or_default()
}

fn is_variable(name: &str) -> bool {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(named) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// A word of a line for a shell. Variables stay as they are: exeunt has expanded them before.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_~${}".contains(c);
    if is_operator(word) || (!word.is_empty() && word.chars().all(plain)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Each once: a default is looked at for each worker that has it.
fn push(problems: &mut Problems, problem: Problem) {
    if problems.iter().all(|known| *known != problem) {
        problems.push(problem);
    }
}

#[cfg(test)]
mod tests;
