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

/// Rows are printed as they come.
pub struct Table;

impl Table {
    pub fn begin() -> Table {
        println!("machine: {}", machine());
        println!("{:<42} {:>10} {:>10} {:>7} {:>10} {:>10} {:>7}  goal", "", "median", "", "", "best", "", "");
        let (ours, floor, ratio) = ("exeunt", "floor", "ratio");
        println!("{:<42} {ours:>10} {floor:>10} {ratio:>7} {ours:>10} {floor:>10} {ratio:>7}", "");
        Table
    }

    /// A row that is judged by its ratio to the floor: that of the medians. Whatever else the machine does makes a round worse
    /// and never better, so on a busy one the best rounds tell more.
    pub fn ratio(&mut self, what: &str, unit: Unit, rounds: &Rounds, goal: Goal) {
        let (ours, floor) = (median(rounds.ours()), median(rounds.floor()));
        let (our_best, best_floor) = (unit.best(rounds.ours()), unit.best(rounds.floor()));
        println!(
            "{what:<42} {:>10} {:>10} {:>6.2}× {:>10} {:>10} {:>6.2}×  {}",
            number(ours, unit),
            number(floor, unit),
            ours / floor,
            number(our_best, unit),
            number(best_floor, unit),
            our_best / best_floor,
            judged(ours / floor, goal, |limit| format!("{limit}×"))
        );
    }

    /// The same numbers, judged by themselves.
    pub fn absolute(&mut self, what: &str, unit: Unit, rounds: &Rounds, goal: Goal) {
        let (ours, our_best) = (median(rounds.ours()), unit.best(rounds.ours()));
        let (text, best) = (number(ours, unit), number(our_best, unit));
        println!(
            "{what:<42} {text:>10} {:>10} {:>7} {best:>10} {:>10} {:>7}  {}",
            "",
            "",
            "",
            "",
            judged(ours, goal, |limit| number(limit, unit))
        );
    }

    /// A number of one look.
    pub fn plain(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        let text = format!("{value:.0} {unit}");
        println!(
            "{what:<42} {text:>10} {:>10} {:>7} {:>10} {:>10} {:>7}  {}",
            "",
            "",
            "",
            "",
            "",
            judged(value, goal, |limit| format!("{limit:.0} {unit}"))
        );
    }

    pub fn end(self) {
        println!("machine: {}", machine());
    }
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
