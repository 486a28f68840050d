//! Values that are one word out of a few.

use crate::config::problem::{Problems, nearest, quote};
use crate::config::read::{Read, Value};
use crate::model::Framing;
use crate::model::plan::{ControlGroups, End, KillMode, Kind, Log, OnFull, OnGiveUp, Restart};

/// A word out of a few, each for a value of the model.
pub trait Choice: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// A [`Choice`] as a value of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: Choice> Read for Word<T> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let words = T::WORDS.iter().map(|&(word, _)| word).collect::<Vec<_>>();
        let mut quoted = words.iter().map(|word| quote(word)).collect::<Vec<_>>();
        let last = quoted.pop().unwrap_or_default();
        let listed = if quoted.is_empty() { last } else { format!("{} or {last}", quoted.join(", ")) };
        let Some(text) = value.tree.as_str() else {
            problems.push(value.unexpected(&listed));
            return None;
        };
        let known = T::WORDS.iter().find(|&&(word, _)| word == text).map(|&(_, meaning)| Word(meaning));
        if known.is_none() {
            let problem = value.unexpected(&listed);
            problems.push(match nearest(text, &words) {
                Some(near) => problem.help(format!("did you mean {}?", quote(near))),
                None => problem,
            });
        }
        known
    }
}

/// How a queue worker is spoken to. One way so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Lines,
}

/// How a worker's items are told apart. One way so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFraming {
    Line,
}

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Mode)] = &[("lines", Mode::Lines)];
}

impl Choice for WorkerFraming {
    const WORDS: &'static [(&'static str, WorkerFraming)] = &[("line", WorkerFraming::Line)];
}

impl Choice for Framing {
    const WORDS: &'static [(&'static str, Framing)] = &[("line", Framing::Line), ("nul", Framing::Nul)];
}

impl Choice for End {
    const WORDS: &'static [(&'static str, End)] = &[("idle", End::Idle), ("work", End::Work)];
}

impl Choice for ControlGroups {
    const WORDS: &'static [(&'static str, ControlGroups)] =
        &[("auto", ControlGroups::Auto), ("off", ControlGroups::Off)];
}

impl Choice for OnFull {
    const WORDS: &'static [(&'static str, OnFull)] = &[("block", OnFull::Block), ("reject", OnFull::Reject)];
}

impl Choice for KillMode {
    const WORDS: &'static [(&'static str, KillMode)] =
        &[("mixed", KillMode::Mixed), ("group", KillMode::Group), ("process", KillMode::Process)];
}

impl Choice for Kind {
    const WORDS: &'static [(&'static str, Kind)] = &[("service", Kind::Service), ("oneshot", Kind::Oneshot)];
}

impl Choice for Log {
    const WORDS: &'static [(&'static str, Log)] = &[("inherit", Log::Inherit), ("null", Log::Null)];
}

impl Choice for Restart {
    const WORDS: &'static [(&'static str, Restart)] =
        &[("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)];
}

impl Choice for OnGiveUp {
    const WORDS: &'static [(&'static str, OnGiveUp)] =
        &[("shutdown", OnGiveUp::Shutdown), ("ignore", OnGiveUp::Ignore)];
}
