//! The command line of `exeunt init` where it is plain: options without a value, then the program. In front of every program in a
//! container the reader of all command lines is the larger part of the start, and it is asked where anything else is meant, or wrong.

use crate::cli::args::Init;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The words after exeunt's own name. `None`: the reader of all command lines has to see them.
pub fn read(words: &[OsString]) -> Option<Init> {
    let (command, words) = words.split_first()?;
    if command != "init" {
        return None;
    }
    let mut init = Init::default();
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        match word.as_bytes() {
            b"--" => {
                rest = behind;
                break;
            }
            [b'-', b'-', name @ ..] => set(&mut init, letter(name)?)?,
            [b'-', letters @ ..] if !letters.is_empty() => {
                letters.iter().try_for_each(|&letter| set(&mut init, letter))?
            }
            b"-" => return None,
            _ => break,
        }
        rest = behind;
    }
    let wrong = rest.is_empty() || (init.group && init.single_child);
    (!wrong).then(|| Init { program: rest.to_vec(), ..init })
}

fn letter(name: &[u8]) -> Option<u8> {
    match name {
        b"subreaper" => Some(b's'),
        b"group" => Some(b'g'),
        b"warn-reaping" => Some(b'w'),
        b"verbose" => Some(b'v'),
        b"single-child" => Some(b'c'),
        _ => None,
    }
}

/// Only `v` may be said twice.
fn set(init: &mut Init, letter: u8) -> Option<()> {
    let flag = match letter {
        b's' => &mut init.subreaper,
        b'g' => &mut init.group,
        b'w' => &mut init.warn_reaping,
        b'c' => &mut init.single_child,
        b'v' => {
            init.verbose = init.verbose.saturating_add(1);
            return Some(());
        }
        _ => return None,
    };
    let twice = std::mem::replace(flag, true);
    (!twice).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Arguments, Command};
    use clap::Parser;
    use std::os::unix::ffi::OsStringExt;

    fn by_the_other_reader(words: &[OsString]) -> Option<Init> {
        let all = [OsString::from("exeunt")].into_iter().chain(words.iter().cloned());
        match Arguments::try_parse_from(all).ok()? {
            Arguments { log_level: None, command: Command::Init(init) } => Some(init),
            _ => None,
        }
    }

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    /// Every command line of up to four of these words behind `init`.
    #[test]
    fn what_is_plain_is_read_as_by_the_reader_of_all_command_lines() {
        let odd = [OsString::new(), OsString::from_vec(b"-s\xff".to_vec())];
        let all = words(
            "-s -g -w -v -c -vvs -gc -h -e 3 - -- --group --verbose --single-child --wait-all --help --gr prog -x init",
        );
        let all = [all.as_slice(), &odd].concat();
        let mut lines = vec![words("init")];
        let mut plain = 0;
        for _ in 0..3 {
            lines = lines
                .iter()
                .flat_map(|line| all.iter().map(|word| [line.as_slice(), std::slice::from_ref(word)].concat()))
                .collect();
            for line in &lines {
                if let Some(read) = read(line) {
                    plain += 1;
                    assert_eq!(Some(read), by_the_other_reader(line), "{line:?}");
                }
            }
        }
        assert!(plain > 1000, "{plain} were plain");
    }

    #[test]
    fn what_is_usual_is_plain() {
        for usual in
            ["init true", "init -- true", "init -s -- true -x", "init -g --warn-reaping -vv true", "init -- -x"]
        {
            assert!(read(&words(usual)).is_some(), "{usual}");
        }
        for other in
            ["", "init", "run", "init -h", "init -p TERM true", "init --stop TERM true", "init -gc true", "init -s"]
        {
            assert_eq!(read(&words(other)), None, "{other}");
        }
    }
}
