//! `${VAR}` and its kin, expanded in single strings after the file was parsed, so that no variable can change its
//! shape.

use super::problem::quote;
use std::env::VarError;
use std::ops::Range;

/// Looks a variable up, as [`std::env::var`] does.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// What is wrong, and which bytes of the string it is about.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpandError {
    pub range: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

/// Expands `${VAR}` (unset is an error), `${VAR:-default}` and `${VAR:?message}` (for unset or empty), and `$$` to `$`.
/// Any other `${` is an error; a `$` before anything else stands for itself.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        out.push_str(before);
        let at = text.len() - from.len();
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(body) = from.strip_prefix("${") {
            let end = body.find('}').ok_or_else(|| error(at..text.len(), "${ without its }".to_owned()))?;
            let (body, after) = body.split_at(end);
            let after = after.strip_prefix('}').unwrap_or(after);
            out.push_str(&variable(body, at..text.len() - after.len(), lookup)?);
            rest = after;
        } else {
            out.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(body: &str, range: Range<usize>, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    let unknown = || error(range.clone(), format!("{} is not a form that is known", quote(&format!("${{{body}}}"))));
    let starts_well = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !starts_well || rest.contains('$') {
        return Err(unknown());
    }
    let value = match lookup(name) {
        Ok(value) => Some(value),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            let message = format!("the variable {name} is not UTF-8");
            return Err(ExpandError { range, message, help: None });
        }
    };
    let full = value.as_ref().filter(|value| !value.is_empty()).cloned();
    if rest.is_empty() {
        let help = format!("set it, or give it a default: ${{{name}:-…}}");
        let unset = || ExpandError { message: format!("the variable {name} is not set"), help: Some(help), range };
        value.ok_or_else(unset)
    } else if let Some(default) = rest.strip_prefix(":-") {
        Ok(full.unwrap_or_else(|| default.to_owned()))
    } else if let Some(message) = rest.strip_prefix(":?") {
        let state = if value.is_some() { "empty" } else { "not set" };
        let colon = if message.is_empty() { "" } else { ": " };
        let message = format!("the variable {name} is {state}{colon}{message}");
        full.ok_or(ExpandError { message, help: None, range })
    } else {
        Err(unknown())
    }
}

fn error(range: Range<usize>, message: String) -> ExpandError {
    let help = "known are ${VAR}, ${VAR:-default} and ${VAR:?message}; for a ${ of your own write $${";
    ExpandError { range, message, help: Some(help.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, ExpandError> {
        expand(text, &|name| match name {
            "HOME" => Ok("/root".to_owned()),
            "EMPTY" => Ok(String::new()),
            "BYTES" => Err(VarError::NotUnicode(Default::default())),
            _ => Err(VarError::NotPresent),
        })
    }

    #[test]
    fn known_forms_are_expanded() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${HOME}/x", "/root/x"),
            ("${EMPTY}", ""),
            ("${EMPTY:-d}${NONE:-e}${NONE:-}", "de"),
            ("${HOME:?must be set}", "/root"),
            ("$$${HOME}$$", "$/root$"),
            ("$${x%%y}", "${x%%y}"),
            ("$x $1 $(date) $", "$x $1 $(date) $"),
            ("ä${HOME}ö", "ä/rootö"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_other_form_is_an_error_with_its_place() {
        for (text, range, message) in [
            ("a${NONE}", 1..8, "NONE is not set"),
            ("${NONE:?say it}", 0..15, "NONE is not set: say it"),
            ("${EMPTY:?}", 0..10, "EMPTY is empty"),
            ("${x%%y}", 0..7, "not a form"),
            ("${HOME-x}", 0..9, "not a form"),
            ("${1}", 0..4, "not a form"),
            ("${}", 0..3, "not a form"),
            ("${HOME:-${NONE}}", 0..15, "not a form"),
            ("ä${HOME", 2..8, "without its }"),
            ("${BYTES}", 0..8, "not UTF-8"),
        ] {
            let error = expanded(text).expect_err(text);
            assert_eq!(error.range, range, "{text}");
            assert!(error.message.contains(message), "{text}: {}", error.message);
        }
    }
}
