//! Signals and stop ladders.

use super::list::elements;
use super::number::duration;
use crate::config::problem::{Problem, Problems, Span, nearest, quote};
use crate::config::read::{Read, Value};
use crate::config::toml_text;
use crate::model::Signal;
use crate::model::plan::{Rung, Step};
use std::time::Duration;

const MOST_RUNGS: usize = 16;

/// Signals that a process can ignore, block or be stopped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalName(pub Signal);

impl Read for SignalName {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(text) = value.tree.as_str() else {
            problems.push(value.unexpected("a signal name such as \"TERM\""));
            return None;
        };
        let refused = |problem: Problem| problems.push(problem);
        signal(text, value.span).map(SignalName).map_err(refused).ok()
    }
}

fn signal(text: &str, span: Span) -> Result<Signal, Problem> {
    let refuse = |message: String| Problem::error(span, message);
    let Some(signal) = Signal::parse(text) else {
        let plain = text.to_ascii_uppercase();
        let plain = plain.strip_prefix("SIG").unwrap_or(&plain);
        let near = nearest(plain, &Signal::names().collect::<Vec<_>>());
        let problem = refuse(format!("unknown signal {}", quote(text)));
        let help = near.map_or("signals are written \"TERM\" or \"SIGTERM\"".to_owned(), |near| {
            format!("did you mean {}?", quote(near))
        });
        return Err(problem.help(help));
    };
    match signal.number() {
        9 => Err(refuse("KILL cannot be caught, ignored or blocked, so it cannot stand here".to_owned())
            .help("KILL ends every ladder by itself")),
        19 => Err(refuse("STOP cannot be caught, ignored or blocked, so it cannot stand here".to_owned())),
        32 | 33 => Err(refuse(format!("signal {signal} belongs to the C library and cannot stand here"))
            .help("real-time signals begin with RTMIN, which is 34")),
        _ => Ok(signal),
    }
}

/// A stop ladder: `["event 5s", "TERM 3s"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(pub Vec<Rung>);

impl Read for Ladder {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let rungs = elements::<RungText>(value, MOST_RUNGS, problems)?;
        if rungs.is_empty() {
            let problem = Problem::error(value.span, "the ladder has no rung");
            problems.push(problem.help("KILL follows by itself; for KILL at once write [\"TERM 0s\"]"));
            return None;
        }
        let is_event = |rung: &(Span, Option<RungText>)| rung.1.as_ref().is_some_and(|rung| rung.0.step == Step::Event);
        let mut good = true;
        for (index, (span, _)) in rungs.iter().enumerate().skip(1).filter(|(_, rung)| is_event(rung)) {
            let twice = rungs.iter().take(index).any(is_event);
            let message = if twice { "a second event rung" } else { "an event rung after a signal" };
            let problem = Problem::error(*span, message);
            problems.push(problem.help("the exit event is sent once and comes before every signal"));
            good = false;
        }
        let rungs = rungs.into_iter().map(|(_, rung)| rung.map(|rung| rung.0)).collect::<Option<Vec<_>>>();
        rungs.filter(|_| good).map(Ladder)
    }
}

/// A ladder on a command line, its rungs parted by commas: `event 5s, TERM 3s`.
///
/// # Errors
///
/// What is wrong, and what to write instead, in one line.
pub fn ladder(text: &str) -> Result<Vec<Rung>, String> {
    let span = Span { start: 0, end: 0 };
    let in_words = |problem: Problem| match problem.help {
        Some(help) => format!("{}: {help}", problem.message),
        None => problem.message,
    };
    let rungs = text.split(',').map(|text| rung(text, span).map_err(in_words)).collect::<Result<Vec<_>, _>>()?;
    if rungs.len() > MOST_RUNGS {
        return Err(format!("{} rungs, at most {MOST_RUNGS} are allowed", rungs.len()));
    }
    if rungs.iter().skip(1).any(|rung| rung.step == Step::Event) {
        return Err("the exit event is sent once and comes before every signal".to_owned());
    }
    Ok(rungs)
}

/// A wait on a command line: `5s`, `1m 30s`, `0s`.
///
/// # Errors
///
/// What is wrong, and what to write instead, in one line.
pub fn wait(text: &str) -> Result<Duration, String> {
    duration(text.trim(), Duration::ZERO).map_err(|wrong| format!("{}: {}", wrong.message, wrong.help))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungText(pub Rung);

const RUNG_HELP: &str = "write what is done and how long to wait then, as in \"event 5s\" or \"TERM 3s\"";

impl Read for RungText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(text) = value.tree.as_str() else {
            problems.push(value.unexpected("a rung").help(RUNG_HELP));
            return None;
        };
        let result = rung(text, value.span);
        result.map(RungText).map_err(|problem| problems.push(problem)).ok()
    }
}

fn rung(text: &str, span: Span) -> Result<Rung, Problem> {
    let text = text.trim();
    let (word, wait) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if word.is_empty() {
        return Err(Problem::error(span, "an empty rung").help(RUNG_HELP));
    }
    let step = match signal(word, span) {
        _ if word.eq_ignore_ascii_case("event") => Step::Event,
        // Its own help names a signal where one is near.
        Err(problem) if nearest(&word.to_ascii_lowercase(), &["event"]).is_some() => {
            return Err(problem.help("did you mean \"event\"?"));
        }
        signal => Step::Signal(signal?),
    };
    if wait.trim().is_empty() {
        let message = format!("the rung {} does not say how long to wait", quote(text));
        return Err(Problem::error(span, message).help(format!("write {}", toml_text::string(&format!("{word} 5s")))));
    }
    let wait = duration(wait.trim(), Duration::ZERO);
    let wait = wait.map_err(|wrong| Problem::error(span, wrong.message).help(RUNG_HELP))?;
    Ok(Rung { step, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { start: 0, end: 0 };

    #[test]
    fn a_rung_is_a_word_and_a_wait() {
        let wait = Duration::from_secs(90);
        for text in ["TERM 1m 30s", " sigterm\t90s ", "15 90s"] {
            assert_eq!(rung(text, SPAN), Ok(Rung { step: Step::Signal(Signal::TERM), wait }), "{text}");
        }
        assert_eq!(rung("Event 0s", SPAN), Ok(Rung { step: Step::Event, wait: Duration::ZERO }));
        for text in
            ["", "TERM", "event", "TERM ", "5s", "5s TERM", "TERM 5", "TERM -5s", "events 5s", "33 5s", "KILL 5s"]
        {
            assert!(rung(text, SPAN).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ladder_of_a_command_line_has_commas() {
        let words = |text: &str| ladder(text).map(|rungs| rungs.iter().map(|rung| rung.step).collect::<Vec<_>>());
        assert_eq!(words("event 5s, TERM 3s"), Ok(vec![Step::Event, Step::Signal(Signal::TERM)]));
        assert_eq!(words("QUIT 1m"), Ok(vec![Step::Signal(Signal::QUIT)]));
        for bad in ["", "TERM", "TERM 3s,", "TERM 3s, event 1s", "KILL 1s"] {
            assert!(ladder(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelled_event_is_not_taken_for_a_signal() {
        let problem = Problem::error(SPAN, "unknown signal \"evnt\"").help("did you mean \"event\"?");
        assert_eq!(rung("evnt 20s", SPAN), Err(problem));
    }

    #[test]
    fn every_signal_but_four_may_stand_in_a_list() {
        let refused = (1..=64).filter(|number| signal(&number.to_string(), SPAN).is_err()).collect::<Vec<_>>();
        assert_eq!(refused, [9, 19, 32, 33]);
    }
}
