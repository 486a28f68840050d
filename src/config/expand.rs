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
///
/// # Errors
///
/// Everything that is wrong with the string, in order; and a result of more than `most` bytes, which is not made.
pub fn expand(text: &str, most: usize, lookup: Lookup<'_>) -> Result<String, Vec<ExpandError>> {
    let mut out = String::with_capacity(text.len().min(most));
    let mut errors = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        out.push_str(before);
        let at = text.len() - from.len();
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(body) = from.strip_prefix("${") {
            let Some((body, after)) = body.split_once('}') else {
                errors.push(error(at..text.len(), "${ without its }".to_owned()));
                return Err(errors);
            };
            let range = at..text.len() - after.len();
            match variable(body, range.clone(), lookup) {
                Ok(value) if out.len() + value.len() > most => {
                    errors.push(too_long(range, most));
                    return Err(errors);
                }
                Ok(value) => out.push_str(&value),
                Err(error) => errors.push(error),
            }
            rest = after;
        } else {
            out.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    if out.len() > most {
        errors.push(too_long(0..text.len(), most));
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

fn too_long(range: Range<usize>, most: usize) -> ExpandError {
    let message = format!("the string grows to over {most} bytes once its variables are expanded");
    ExpandError { range, message, help: None }
}

/// Whether this, between `${` and `}`, is one of the forms that are known.
pub fn is_known_form(body: &str) -> bool {
    variable(body, 0..0, &|_| Ok("x".to_owned())).is_ok()
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

    const MOST: usize = 1000;

    fn expanded(text: &str) -> Result<String, Vec<ExpandError>> {
        expand(text, MOST, &|name| match name {
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
            let errors = expanded(text).expect_err(text);
            assert_eq!(errors.len(), 1, "{text}: {errors:?}");
            assert_eq!(errors[0].range, range, "{text}");
            assert!(errors[0].message.contains(message), "{text}: {}", errors[0].message);
        }
    }

    #[test]
    fn every_error_of_a_string_is_found() {
        let errors = expanded("${NONE} ${x%%y} ${HOME} ${OTHER} ${").expect_err("it is wrong");
        let ranges = errors.iter().map(|error| error.range.clone()).collect::<Vec<_>>();
        assert_eq!(ranges, [0..7, 8..15, 24..32, 33..35]);
    }

    #[test]
    fn a_result_that_is_too_long_is_not_made() {
        let value = |_: &str| Ok("x".repeat(10));
        assert_eq!(expand("${A}${A}", 20, &value).map(|text| text.len()), Ok(20));
        for (text, range) in [("${A}${A}${A}", 8..12), ("${A}${A}y", 0..9), ("${A}${A}${A}${NONE", 8..12)] {
            let errors = expand(text, 20, &value).expect_err(text);
            assert_eq!((errors.len(), errors[0].range.clone()), (1, range), "{text}");
            assert!(errors[0].message.contains("over 20 bytes"), "{errors:?}");
        }
    }
}
