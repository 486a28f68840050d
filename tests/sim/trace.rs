//! What was said in a run, told for people and hashed for comparison.

use exeunt::machine::{Action, Event};
use exeunt::model::{Payload, Time};
use std::fmt::Write;

enum Said {
    Heard(Event),
    Ordered(Action),
    Remark(String),
}

/// All that went in and out of the machine, in order. Put into words only when someone asks.
#[derive(Default)]
pub struct Trace(Vec<(Time, Said)>);

impl Trace {
    pub fn heard(&mut self, now: Time, event: &Event) {
        self.0.push((now, Said::Heard(event.clone())));
    }

    pub fn ordered(&mut self, now: Time, action: &Action) {
        self.0.push((now, Said::Ordered(action.clone())));
    }

    /// Something of the world's that explains what follows; not part of the hash.
    pub fn remark(&mut self, now: Time, text: String) {
        self.0.push((now, Said::Remark(text)));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The last `count` lines, without the ticks that led to nothing.
    pub fn tail(&self, count: usize) -> String {
        let told: Vec<String> = self.lines().collect();
        let mut text = String::new();
        for line in told.iter().skip(told.len().saturating_sub(count)) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// FNV-1a over every line.
    pub fn hash(&self) -> u64 {
        let bytes =
            self.0.iter().filter(|(_, said)| !matches!(said, Said::Remark(_))).map(|(time, said)| line(*time, said));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, line| {
            line.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        })
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let silent = |at: usize| !matches!(self.0.get(at + 1), Some((_, Said::Ordered(_))));
        let shown = self.0.iter().enumerate();
        let shown = shown.filter(move |(at, (_, said))| !(matches!(said, Said::Heard(Event::Tick)) && silent(*at)));
        shown.map(|(_, (time, said))| line(*time, said))
    }
}

fn line(time: Time, said: &Said) -> String {
    match said {
        Said::Heard(event) => format!("{time} > {}", words(&format!("{event:?}"), payloads_in(event))),
        Said::Ordered(action) => format!("{time} <   {}", words(&format!("{action:?}"), payloads_of(action))),
        Said::Remark(text) => format!("{time} # {text}"),
    }
}

/// A payload is shown as text where `Debug` would show a list of numbers.
fn words(debug: &str, payloads: Vec<Payload>) -> String {
    payloads.iter().fold(debug.to_owned(), |text, payload| {
        text.replacen(&format!("{payload:?}"), &format!("{:?}", String::from_utf8_lossy(payload)), 1)
    })
}

fn payloads_in(event: &Event) -> Vec<Payload> {
    match event {
        Event::Submitted { items, .. } => items.clone(),
        Event::Oversized { head, .. } => vec![head.clone()],
        _ => Vec::new(),
    }
}

fn payloads_of(action: &Action) -> Vec<Payload> {
    match action {
        Action::Deliver { payload, .. } | Action::HandBack { payload, .. } => vec![payload.clone()],
        Action::WriteResult { result, .. } => vec![result.clone()],
        Action::Bury(letter) => vec![letter.payload.clone()],
        _ => Vec::new(),
    }
}
