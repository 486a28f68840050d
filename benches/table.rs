//! The table, and the rounds that its numbers come from.

use std::fmt::{Display, Write as _};
use std::fs;

/// What a ratio, or a number, should be.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Told for comparison.
    None,
}

/// What the numbers of a row count.
#[derive(Clone, Copy)]
pub enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Seconds,
}

impl Unit {
    fn best(self, numbers: impl Iterator<Item = f64>) -> f64 {
        match self {
            Unit::PerSecond => numbers.fold(0.0, f64::max),
            Unit::Seconds => numbers.fold(f64::MAX, f64::min),
        }
    }
}

/// Numbers of one row, one pair for each round: ours, and the floor's of the same round.
pub struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// Measures by turns, so that a busy moment of the machine hits both.
    pub fn of(rounds: usize, mut ours: impl FnMut() -> f64, mut floor: impl FnMut() -> f64) -> Rounds {
        Rounds((0..rounds).map(|_| (ours(), floor())).collect())
    }

    pub fn from(pairs: Vec<(f64, f64)>) -> Rounds {
        Rounds(pairs)
    }

    fn ours(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|pair| pair.0)
    }

    fn floor(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|pair| pair.1)
    }
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 }
}

/// Rows of a Markdown table, printed as they come.
pub struct Table;

impl Table {
    pub fn begin() -> Table {
        println!("Machine: {}\n", machine());
        let (ours, floor, ratio) = ("exeunt", "floor", "ratio");
        row("", [ours, floor, ratio, "best exeunt", "best floor", "best ratio"], "goal");
        println!("|:{:-<WIDE$}|{}:{:-<NARROW$}|", "", format!("{:-<NARROW$}:|", "").repeat(6), "");
        Table
    }

    /// A row that is judged by its ratio to the floor: that of the medians. Whatever else the machine does makes a round worse
    /// and never better, so on a busy one the best rounds tell more.
    pub fn ratio(&mut self, what: &str, unit: Unit, rounds: &Rounds, goal: Goal) {
        let (ours, floor) = (median(rounds.ours()), median(rounds.floor()));
        let (our_best, best_floor) = (unit.best(rounds.ours()), unit.best(rounds.floor()));
        let times = |ratio: f64| format!("{ratio:.2}×");
        let cells = [
            number(ours, unit),
            number(floor, unit),
            times(ours / floor),
            number(our_best, unit),
            number(best_floor, unit),
            times(our_best / best_floor),
        ];
        row(what, cells, judged(ours / floor, goal, |limit| format!("{limit}×")));
    }

    /// The same numbers, judged by themselves.
    pub fn absolute(&mut self, what: &str, unit: Unit, rounds: &Rounds, goal: Goal) {
        let (ours, our_best) = (median(rounds.ours()), unit.best(rounds.ours()));
        let none = String::new;
        let cells = [number(ours, unit), none(), none(), number(our_best, unit), none(), none()];
        row(what, cells, judged(ours, goal, |limit| number(limit, unit)));
    }

    /// A number of one look.
    pub fn plain(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        let text = format!("{value:.0} {unit}");
        let judged = judged(value, goal, |limit| format!("{limit:.0} {unit}"));
        row(what, [text.as_str().trim_end(), "", "", "", "", ""], judged);
    }

    pub fn end(self) {
        println!("\nMachine: {}", machine());
    }
}

const WIDE: usize = 42;
const NARROW: usize = 11;

fn row<T: Display>(what: &str, cells: [T; 6], goal: impl Display) {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>NARROW$} ")).collect();
    println!("| {what:<WIDE$}|{}| {goal:<NARROW$}|", cells.join("|"));
}

fn judged(value: f64, goal: Goal, text: impl Fn(f64) -> String) -> String {
    let (word, limit, met) = match goal {
        Goal::AtLeast(limit) => ("≥", limit, value >= limit),
        Goal::AtMost(limit) => ("≤", limit, value <= limit),
        Goal::None => return String::new(),
    };
    format!("{word} {} {}", text(limit), if met { "met" } else { "MISSED" })
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Unit::PerSecond => format!("{:.1} k/s", value / 1e3),
        Unit::Seconds if value >= 0.1 => format!("{value:.3} s"),
        Unit::Seconds => format!("{:.3} ms", value * 1e3),
    }
}

/// What numbers mean little without: processors, kernel and how busy the machine is.
fn machine() -> String {
    let mut text = String::new();
    let processors = std::thread::available_parallelism().map_or(0, |count| count.get());
    let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let kernel = read("/proc/sys/kernel/osrelease");
    let _ = write!(text, "{processors} processors, Linux {kernel}, load {load}");
    text
}
