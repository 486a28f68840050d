//! The table, and the rounds that its numbers come from.

use std::fmt::Write as _;
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

    pub fn ours(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.0))
    }

    fn floor(&self) -> f64 {
        median(self.0.iter().map(|pair| pair.1))
    }

    /// Of the medians, and the least and the greatest of a single round.
    fn ratio(&self) -> (f64, f64, f64) {
        let each = || self.0.iter().map(|(ours, floor)| ours / floor);
        (self.ours() / self.floor(), each().fold(f64::MAX, f64::min), each().fold(f64::MIN, f64::max))
    }
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 }
}

/// Rows are printed as they come.
pub struct Table;

impl Table {
    pub fn begin() -> Table {
        println!("machine: {}", machine());
        println!("{:<42} {:>12} {:>12} {:>7} {:>13}   goal", "what", "exeunt", "floor", "ratio", "rounds");
        Table
    }

    /// A row that is judged by its ratio to the floor.
    pub fn ratio(&mut self, what: &str, unit: Unit, rounds: &Rounds, goal: Goal) {
        let (ratio, least, most) = rounds.ratio();
        let (ours, floor) = (number(rounds.ours(), unit), number(rounds.floor(), unit));
        let spread = format!("{least:.2}–{most:.2}");
        println!("{what:<42} {ours:>12} {floor:>12} {ratio:>6.2}× {spread:>13}   {}", judged(ratio, goal, "×"));
    }

    /// A row that is judged by its own number.
    pub fn plain(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        let value_text = format!("{value:.0} {unit}");
        println!("{what:<42} {value_text:>12} {:>12} {:>7} {:>13}   {}", "", "", "", judged(value, goal, ""));
    }

    pub fn end(self) {
        println!("machine: {}", machine());
    }
}

fn judged(value: f64, goal: Goal, sign: &str) -> String {
    let (word, limit, met) = match goal {
        Goal::AtLeast(limit) => ("≥", limit, value >= limit),
        Goal::AtMost(limit) => ("≤", limit, value <= limit),
        Goal::None => return String::new(),
    };
    format!("{word} {limit}{sign} {}", if met { "met" } else { "MISSED" })
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
