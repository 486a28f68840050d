//! What was left when it was over.

use serde_json::Value;
use std::fmt;

pub struct Outcome {
    /// The exit code, or 128 + n for signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The lines of `left.txt`.
    pub leftovers: Vec<String>,
    /// The lines of `left.txt.dead`.
    pub dead: Vec<Value>,
}

impl Outcome {
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Outcome {
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }

    pub fn results(&self) -> Vec<String> {
        self.stdout.lines().map(str::to_owned).collect()
    }

    /// The report of `--report json`.
    #[track_caller]
    pub fn report(&self) -> Value {
        let values = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut reports = values.filter(|value| value.get("queues").is_some());
        reports.next_back().unwrap_or_else(|| panic!("no JSON report\n{self}"))
    }

    /// The dead letter that holds this item.
    #[track_caller]
    pub fn dead_letter(&self, item: &str) -> &Value {
        let found = self.dead.iter().find(|letter| letter["item"] == item);
        found.unwrap_or_else(|| panic!("no dead letter for {item:?}\n{self}"))
    }

    /// One queue's count in the report.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let report = self.report();
        let count = report["queues"].get(0).and_then(|queue| queue[name].as_u64());
        count.unwrap_or_else(|| panic!("no count {name:?} in {report:#}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- code {}\n--- stdout\n{}", self.code, tail(&self.stdout))?;
        writeln!(f, "--- stderr\n{}", tail(&self.stderr))?;
        let dead: Vec<String> = self.dead.iter().map(Value::to_string).collect();
        writeln!(f, "--- {} leftovers, {} dead\n{}", self.leftovers.len(), dead.len(), tail(&dead.join("\n")))
    }
}

/// Enough to understand, not enough to drown in.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(60);
    let cut = |line: &&str| line.chars().take(300).collect::<String>();
    lines[from..].iter().map(cut).collect::<Vec<_>>().join("\n")
}
