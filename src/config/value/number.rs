//! Numbers, durations and sizes.

use crate::config::problem::{Problem, Problems, quote};
use crate::config::read::{Read, Value};
use crate::config::toml_text;
use std::time::Duration;

/// The longest duration the file may ask for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A whole number within limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Read for Count<MIN, MAX> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(integer) = value.tree.as_integer() else {
            let problem = value.unexpected("a whole number");
            let digits = value.tree.as_str().filter(|text| text.parse::<u64>().is_ok());
            problems.push(match digits {
                Some(digits) => problem.help(format!("write {digits}, without quotes")),
                None => problem,
            });
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let within = number.filter(|number| (MIN..=MAX).contains(number));
        if within.is_none() {
            let message = format!("{integer} is out of range, allowed is {MIN} to {MAX}");
            problems.push(Problem::error(value.span, message));
        }
        within.map(Count)
    }
}

/// A number from `MIN` to `MAX`, which may have a fraction.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio<const MIN: u64, const MAX: u64>(pub f64);

impl<const MIN: u64, const MAX: u64> Read for Ratio<MIN, MAX> {
    #[expect(clippy::cast_precision_loss, reason = "the bounds are small numbers of this file")]
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let number = match (value.tree.as_float(), value.tree.as_integer()) {
            (Some(float), _) => float.as_str().parse::<f64>().ok(),
            (_, Some(integer)) => integer.as_str().parse::<f64>().ok().filter(|_| integer.radix() == 10),
            (None, None) => {
                problems.push(value.unexpected("a number"));
                return None;
            }
        };
        // NaN is in no range.
        let within = number.filter(|number| (MIN as f64..=MAX as f64).contains(number));
        if within.is_none() {
            let message = format!("{} is out of range, allowed is {MIN} to {MAX}", value.found());
            problems.push(Problem::error(value.span, message));
        }
        within.map(Ratio)
    }
}

/// A duration such as `"1m 30s"`, at least `MIN_MS` milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timespan<const MIN_MS: u64>(pub Duration);

impl<const MIN_MS: u64> Read for Timespan<MIN_MS> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(text) = value.tree.as_str() else {
            problems.push(not_a_duration(value));
            return None;
        };
        match duration(text, Duration::from_millis(MIN_MS)) {
            Ok(duration) => Some(Timespan(duration)),
            Err(wrong) => {
                problems.push(Problem::error(value.span, wrong.message).help(wrong.help));
                None
            }
        }
    }
}

const DURATION_HELP: &str = "write a number and a unit, as in \"250ms\", \"10s\" or \"1m 30s\"";

fn not_a_duration(value: &Value<'_>) -> Problem {
    let problem = value.unexpected("a duration");
    match value.tree.as_integer() {
        Some(number) if !number.as_str().starts_with('-') => {
            problem.help(format!("write \"{0}s\" or \"{0}ms\"", number.as_str()))
        }
        Some(_) | None => problem.help(DURATION_HELP),
    }
}

pub(super) struct Wrong {
    pub message: String,
    pub help: String,
}

fn wrong(message: String, help: &str) -> Wrong {
    Wrong { message, help: help.to_owned() }
}

/// A duration of at least `least`.
pub(super) fn duration(text: &str, least: Duration) -> Result<Duration, Wrong> {
    if text.trim_start().starts_with('-') {
        return Err(wrong(format!("the duration {} is negative", quote(text)), DURATION_HELP));
    }
    let bare_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if bare_number {
        let help =
            format!("write {} or {}", toml_text::string(&format!("{text}s")), toml_text::string(&format!("{text}ms")));
        return Err(wrong(format!("the duration {} has no unit", quote(text)), &help));
    }
    let too_long = || wrong(format!("the duration {} is over the limit of 366 days", quote(text)), DURATION_HELP);
    // Sums of huge numbers could run over inside the parser.
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    if digits > 10 || text.len() > 64 {
        return Err(too_long());
    }
    let parsed = humantime::parse_duration(text);
    let duration = parsed.map_err(|_| wrong(format!("{} is not a duration", quote(text)), DURATION_HELP))?;
    match duration {
        _ if duration > LONGEST => Err(too_long()),
        _ if duration < least => {
            let message = format!("the duration {} is too short, at least {} is needed", quote(text), show(least));
            Err(wrong(message, DURATION_HELP))
        }
        _ => Ok(duration),
    }
}

/// A duration as people write it; short ones as seconds, which are easier to compare.
pub fn show(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 && duration <= Duration::from_secs(120) {
        return format!("{}s", duration.as_secs());
    }
    humantime::format_duration(duration).to_string()
}

/// Bytes, such as `"64MiB"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

const SIZE_HELP: &str = "write a number and a unit, as in \"512B\", \"64KiB\" or \"1MiB\" (1MB is 1000000 bytes)";

impl<const MIN: u64, const MAX: u64> Read for Size<MIN, MAX> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(text) = value.tree.as_str() else {
            let problem = value.unexpected("a size");
            problems.push(match value.tree.as_integer() {
                Some(number) if !number.as_str().starts_with('-') => {
                    problem.help(format!("write \"{0}B\", \"{0}KiB\" or \"{0}MiB\"", number.as_str()))
                }
                Some(_) | None => problem.help(SIZE_HELP),
            });
            return None;
        };
        match size(text, MIN, MAX) {
            Ok(bytes) => Some(Size(bytes)),
            Err(message) => {
                problems.push(Problem::error(value.span, message).help(SIZE_HELP));
                None
            }
        }
    }
}

pub(super) fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!("the size {} is negative", quote(text)));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("the size {} has no unit", quote(text)));
    }
    let parsed = text.parse::<bytesize::ByteSize>().map_err(|_| format!("{} is not a size", quote(text)))?;
    let bytes = parsed.as_u64();
    match (min..=max).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!(
            "the size {} is out of range, allowed is {} to {}",
            quote(text),
            show_size(min),
            show_size(max)
        )),
    }
}

/// Bytes as people write them: `1MiB`, `1.5KiB`, `512B`.
pub fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|&(_, unit)| bytes >= unit && bytes.is_multiple_of(unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None if bytes < 1 << 10 => format!("{bytes}B"),
        None => bytesize::ByteSize(bytes).display().iec().to_string().replace(' ', ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Duration, String> {
        duration(text, Duration::ZERO).map_err(|wrong| wrong.message)
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("1m 30s", 90_000), ("1.5s", 1500), (" 0s ", 0), ("366d", 31_622_400_000)]
        {
            assert_eq!(parsed(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn no_text_is_a_duration_that_is_not_one() {
        let huge = "18446744073709551615s 1000ms";
        let sum = "9999999999y ".repeat(5);
        for (text, message) in [
            ("", "not a duration"),
            ("s", "not a duration"),
            ("10", "no unit"),
            ("-10s", "negative"),
            (" -10s", "negative"),
            ("NaN", "not a duration"),
            ("infs", "not a duration"),
            ("10 s x", "not a duration"),
            ("366d 1ms", "limit of 366 days"),
            (huge, "limit of 366 days"),
            (&sum, "limit of 366 days"),
        ] {
            assert!(parsed(text).is_err_and(|got| got.contains(message)), "{text}: {:?}", parsed(text));
        }
        assert!(duration("0s", Duration::from_millis(1)).is_err());
    }

    #[test]
    fn durations_and_sizes_are_shown_as_they_could_be_written() {
        for (millis, shown) in
            [(0, "0s"), (10_000, "10s"), (90_000, "90s"), (120_001, "2m 1ms"), (180_000, "3m"), (250, "250ms")]
        {
            assert_eq!(show(Duration::from_millis(millis)), shown);
        }
        for (bytes, shown) in [(0, "0B"), (1023, "1023B"), (1 << 20, "1MiB"), (1536, "1.5KiB"), (3 << 30, "3GiB")] {
            assert_eq!(show_size(bytes), shown);
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        let any = |text: &str| size(text, 0, u64::MAX);
        for (text, bytes) in
            [("1MB", 1_000_000), ("1MiB", 1 << 20), ("512B", 512), ("1.5KiB", 1536), (" 64 KiB ", 65536)]
        {
            assert_eq!(any(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "1.5", "MiB", "-1MiB", "nanMiB", "infMiB", "1 parsec", "1MiB 1KiB", "0x10MiB"] {
            assert!(any(text).is_err(), "{text}");
        }
        assert!(size("2KiB", 1, 1024).is_err());
    }
}
