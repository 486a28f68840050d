//! The command line of dumb-init (1.2): `dumb-init [OPTION] PROGRAM [ARGS]`.

use super::getopt::Options;
use super::{Farewell, Request};
use crate::model::Signal;
use crate::shell::{Suspend, Voice};
use std::ffi::{OsStr, OsString};

const OPTIONS: Options = Options {
    letters: "hvVcr:",
    names: &[("help", 'h'), ("single-child", 'c'), ("rewrite", 'r'), ("verbose", 'v'), ("version", 'V')],
};

/// Whose command line this is, and nothing else: images compare the whole line. The help says who speaks.
const VERSION: &str = "dumb-init v1.2.5\n";
/// Its signals are the first 31.
const LAST_SIGNAL: i32 = 31;

const USAGE: &str = concat!(
    "dumb-init v1.2.5 (exeunt ",
    env!("CARGO_PKG_VERSION"),
    ")
Usage: dumb-init [option] program [args]

exeunt stands in for dumb-init; `exeunt init --help` has more.

  -c, --single-child  signals are for the program alone, which gets no session of its own
  -r, --rewrite S:R   pass signal number S on as number R; 0 drops it; may be repeated
  -v, --verbose       say what happens
  -h, --help          this help
  -V, --version       the version

environment: DUMB_INIT_SETSID=0 is as --single-child, DUMB_INIT_DEBUG=1 as --verbose
"
);
const REWRITE_USAGE: &str = "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n\
                             This option can be specified multiple times.\nUse --help for full usage.\n";
const SHORT_USAGE: &str = "Usage: dumb-init [option] program [args]\nTry dumb-init --help for full usage.\n";

pub fn read(words: &[OsString], environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Request, Farewell> {
    let (given, rest) = OPTIONS.read(words).map_err(|wrong| wrong_usage(format!("dumb-init: {wrong}\n")))?;
    let says = |name: &str, word: &str| environment(name).is_some_and(|value| value == word);
    let mut single_child = says("DUMB_INIT_SETSID", "0");
    let mut request = Request { verbosity: if says("DUMB_INIT_DEBUG", "1") { 3 } else { 1 }, ..Request::default() };
    for (letter, value) in given {
        match letter {
            // It says these on stderr.
            'h' => return Err(Farewell { out: String::new(), err: USAGE.to_owned(), code: 0 }),
            'V' => return Err(Farewell { out: String::new(), err: VERSION.to_owned(), code: 0 }),
            'v' => request.verbosity = 3,
            'c' => single_child = true,
            'r' => request.rewrites.push(rewrite(&value.unwrap_or_default())?),
            _ => {}
        }
    }
    if rest.is_empty() {
        return Err(wrong_usage(SHORT_USAGE.to_owned()));
    }
    // The last word for a signal counts.
    request.rewrites.reverse();
    request.argv = rest.to_vec();
    request.single_child = single_child;
    request.group = !single_child;
    request.suspend = Suspend::Always;
    request.voice = Voice::DumbInit;
    Ok(request)
}

fn wrong_usage(err: String) -> Farewell {
    Farewell { out: String::new(), err, code: 1 }
}

fn rewrite(value: &OsStr) -> Result<(Signal, Option<Signal>), Farewell> {
    let read = || {
        let (from, to) = value.to_str()?.split_once(':')?;
        let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number <= LAST_SIGNAL);
        let to = number(to)?;
        Some((number(from).and_then(Signal::new)?, if to == 0 { None } else { Some(Signal::new(to)?) }))
    };
    read().ok_or_else(|| wrong_usage(REWRITE_USAGE.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::asked;

    fn ask(words: &str, variables: &[(&str, &str)]) -> Result<Request, Farewell> {
        asked(read, words, variables)
    }

    #[test]
    fn the_whole_session_is_meant_unless_a_single_child_is_asked_for() {
        let plain = ask("sh -c x", &[]).unwrap();
        assert!(plain.group && !plain.single_child && plain.argv.len() == 3);
        for single in [ask("-c sh", &[]), ask("--single-child sh", &[]), ask("sh", &[("DUMB_INIT_SETSID", "0")])] {
            let single = single.unwrap();
            assert!(!single.group && single.single_child);
        }
        assert!(ask("sh", &[("DUMB_INIT_SETSID", "1")]).unwrap().group);
        assert!(ask("sh", &[("DUMB_INIT_DEBUG", "1")]).unwrap().verbosity > 1);
    }

    #[test]
    fn signals_are_rewritten_by_number_and_the_last_word_counts() {
        let request = ask("-r 15:3 --rewrite=1:0 -r 15:2 sh", &[]).unwrap();
        assert_eq!(
            request.rewrites,
            [(Signal::TERM, Some(Signal::INT)), (Signal::HUP, None), (Signal::TERM, Some(Signal::QUIT))]
        );
        for wrong in
            ["-r 15 sh", "-r TERM:QUIT sh", "-r 0:1 sh", "-r 1:32 sh", "-r 1:-1 sh", "-r", "", "--yolo sh", "-c"]
        {
            let farewell = ask(wrong, &[]).unwrap_err();
            assert!(farewell.code == 1 && !farewell.err.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn help_and_version_leave_with_0() {
        assert!(ask("--help", &[]).unwrap_err().err.contains("Usage: dumb-init"));
        assert_eq!(ask("-V", &[]).unwrap_err().err, "dumb-init v1.2.5\n");
    }
}
