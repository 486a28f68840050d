//! Our own environment. It may hold a name more than once, for execve(2) takes any strings; then the last value is
//! the one that counts, for the file and for our children alike, as it is in a shell.

use std::collections::HashMap;
use std::env::{self, VarError};
use std::ffi::{OsStr, OsString};

/// All of it, in order, each name once.
pub fn all() -> Vec<(OsString, OsString)> {
    each_once(env::vars_os().collect())
}

/// One of it, as [`std::env::var_os`] does it for the first of equal names.
pub fn get(name: impl AsRef<OsStr>) -> Option<OsString> {
    env::vars_os().filter(|(known, _)| *known == *name.as_ref()).map(|(_, value)| value).last()
}

/// The same as text.
///
/// # Errors
///
/// Of [`std::env::var`].
pub fn text(name: &str) -> Result<String, VarError> {
    get(name).ok_or(VarError::NotPresent)?.into_string().map_err(VarError::NotUnicode)
}

fn each_once(all: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let last: HashMap<OsString, usize> = all.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
    let counts = |(at, (name, _)): &(usize, (OsString, OsString))| last.get(name) == Some(at);
    all.into_iter().enumerate().filter(counts).map(|(_, pair)| pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f113_the_last_of_equal_names_counts() {
        let pair = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let all = [("A", "1"), ("B", "2"), ("A", "3"), ("C", ""), ("A", "4")].map(pair);
        assert_eq!(each_once(all.to_vec()), [("B", "2"), ("C", ""), ("A", "4")].map(pair));
    }
}
