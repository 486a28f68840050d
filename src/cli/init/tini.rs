//! The command line of tini (0.19): `tini [OPTIONS] PROGRAM -- [ARGS]`, also under the names docker-init and podman-init, by which Docker and Podman
//! put it in front of a container's program (`podman-init -- PROGRAM`).

use super::getopt::Options;
use super::{Farewell, Request};
use crate::model::Signal;
use crate::shell::Voice;
use std::ffi::{OsStr, OsString};

const OPTIONS: Options = Options { letters: "hvwgle:p:s", names: &[] };

/// `docker info` reads the first words.
const VERSION: &str = concat!("tini version 0.19.0 - exeunt.", env!("CARGO_PKG_VERSION"), "\n");

const USAGE: &str = "\
usage: tini [OPTIONS] PROGRAM [ARGUMENT]...
       tini --version

options (exeunt stands in for tini; `exeunt init --help` has more):
  -h         this help
  -l         the licence
  -s         become the reaper of orphans (always so here)
  -g         pass signals on to all that belongs to the program
  -p SIGNAL  have the kernel send this signal when the parent dies
  -e CODE    take this exit code of the program as 0; may be repeated
  -w         warn of each orphan that is reaped
  -v         say more; may be repeated

environment: TINI_SUBREAPER, TINI_KILL_PROCESS_GROUP, TINI_VERBOSITY=N
";

pub fn read(words: &[OsString], environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Request, Farewell> {
    if words == ["--version"] {
        return Err(Farewell { out: VERSION.to_owned(), err: String::new(), code: 0 });
    }
    let (given, rest) = OPTIONS.read(words).map_err(|wrong| usage(&format!("tini: {wrong}")))?;
    let mut request = Request {
        verbosity: environment("TINI_VERBOSITY").map_or(1, |text| verbosity(&text)),
        group: environment("TINI_KILL_PROCESS_GROUP").is_some(),
        keeps_signals: true,
        voice: Voice::Tini,
        ..Request::default()
    };
    for (letter, value) in given {
        let value = value.unwrap_or_default();
        match letter {
            'h' => return Err(Farewell { out: USAGE.to_owned(), err: String::new(), code: 0 }),
            'l' => return Err(Farewell { out: licence(), err: String::new(), code: 0 }),
            'g' => request.group = true,
            'w' => request.warn_reaping = true,
            'v' => request.verbosity = request.verbosity.saturating_add(1),
            'p' => {
                let signal = parent_death(&value)?;
                // With KILL we would be gone before we could pass anything on.
                (request.own_parent_death, request.parent_death) = (Some(signal), Some(signal));
            }
            'e' => request.as_zero.push(exit_code(&value)?),
            // `s`: so it is in any case.
            _ => {}
        }
    }
    if rest.is_empty() {
        return Err(usage("tini: no program was given"));
    }
    request.argv = rest.to_vec();
    Ok(request)
}

fn usage(what: &str) -> Farewell {
    Farewell { out: String::new(), err: format!("{what}\n{USAGE}"), code: 1 }
}

fn parent_death(value: &OsStr) -> Result<Signal, Farewell> {
    let signal = value.to_str().filter(|text| !text.starts_with(|first: char| first.is_ascii_digit()));
    let unknown = || usage(&format!("tini: not a valid signal for -p: {}", value.to_string_lossy()));
    signal.and_then(Signal::parse).ok_or_else(unknown)
}

fn exit_code(value: &OsStr) -> Result<u8, Farewell> {
    let unknown = || usage(&format!("tini: not a valid exit code for -e: {}", value.to_string_lossy()));
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(unknown)
}

/// What is no number counts as 0, as atoi(3) has it.
fn verbosity(value: &OsStr) -> u8 {
    value.to_str().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn licence() -> String {
    format!("This is exeunt in the place of tini, under the MIT licence or Apache-2.0, as you like.\n\n{}", MIT)
}

const MIT: &str = include_str!("../../../LICENSE-MIT");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::asked;

    fn ask(words: &str, variables: &[(&str, &str)]) -> Result<Request, Farewell> {
        asked(read, words, variables)
    }

    fn argv(request: &Request) -> Vec<&str> {
        request.argv.iter().filter_map(|word| word.to_str()).collect()
    }

    #[test]
    fn options_end_at_the_program_or_at_two_dashes() {
        assert_eq!(argv(&ask("-- sleep -v 1", &[]).unwrap()), ["sleep", "-v", "1"]);
        assert_eq!(argv(&ask("-s sleep -- 1", &[]).unwrap()), ["sleep", "--", "1"]);
        let all = ask("-gwvv -e 143 -e1 -p SIGTERM -s prog", &[]).unwrap();
        assert!(all.group && all.warn_reaping);
        assert_eq!((all.verbosity, all.as_zero.as_slice()), (3, &[143, 1][..]));
        assert_eq!((all.own_parent_death, all.parent_death), (Some(Signal::TERM), Some(Signal::TERM)));
    }

    #[test]
    fn variables_count_as_options() {
        let variables = [("TINI_VERBOSITY", "3"), ("TINI_KILL_PROCESS_GROUP", ""), ("TINI_SUBREAPER", "")];
        let request = ask("prog", &variables).unwrap();
        assert!(request.group);
        assert_eq!(request.verbosity, 3);
        assert_eq!(ask("prog", &[]).unwrap().verbosity, 1);
    }

    #[test]
    fn what_is_wrong_leaves_with_1_and_help_with_0() {
        for wrong in ["", "-x prog", "-e 256 prog", "-e x prog", "-p NOPE prog", "-e", "-v"] {
            let farewell = ask(wrong, &[]).unwrap_err();
            assert!(farewell.code == 1 && farewell.out.is_empty() && !farewell.err.is_empty(), "{wrong}");
        }
        for (good, word) in [("-h", "usage"), ("-l", "MIT"), ("--version", "tini version ")] {
            let farewell = ask(good, &[]).unwrap_err();
            assert!(farewell.code == 0 && farewell.out.contains(word), "{good}");
        }
    }
}
