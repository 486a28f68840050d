//! The values of the file: how each is written, what is refused, and with which words.

use super::problem::{Problem, Problems, Span, quote};
use super::read::{At, Entry, Read, Value, section};
use crate::model::plan::{End, KillMode, Log, OnFull, OnGiveUp, Restart, Results, Rung, Step};
use crate::model::{Framing, Signal};
use std::time::Duration;

/// The longest duration the file may ask for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// `MAX_ARG_STRLEN` of the kernel, less the closing NUL: no longer string passes execve(2).
const LONGEST_STRING: usize = 128 * 1024 - 1;
const MOST_ARGUMENTS: usize = 4096;
const MOST_VARIABLES: usize = 1024;
const MOST_RUNGS: usize = 16;

/// A string that may go to the kernel: no NUL in it and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Read for Text {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Text> {
        let text = string(value, "a string", problems)?;
        Some(Text(text.to_owned()))
    }
}

fn string<'a>(value: &Value<'a>, expected: &str, problems: &mut Problems) -> Option<&'a str> {
    let Some(text) = value.tree.as_str() else {
        problems.push(value.unexpected(expected));
        return None;
    };
    checked(text, value.span, problems)
}

fn checked<'a>(text: &'a str, span: Span, problems: &mut Problems) -> Option<&'a str> {
    let message = match () {
        () if text.contains('\0') => {
            format!("{} holds a NUL, which no argument, path or variable can", quote(text))
        }
        () if text.len() > LONGEST_STRING => {
            format!("a string of {} bytes, at most {LONGEST_STRING} pass to a program", text.len())
        }
        () => return Some(text),
    };
    problems.push(Problem::error(span, message));
    None
}

/// A path, and never an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText(pub String);

impl Read for PathText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<PathText> {
        let text = string(value, "a path", problems)?;
        if text.is_empty() {
            problems.push(Problem::error(value.span, "a path cannot be empty"));
            return None;
        }
        Some(PathText(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Read for Flag {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Flag> {
        let flag = value.tree.as_bool();
        if flag.is_none() {
            problems.push(value.unexpected("true or false"));
        }
        flag.map(Flag)
    }
}

/// A whole number within limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Read for Count<MIN, MAX> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(integer) = value.tree.as_integer() else {
            problems.push(value.unexpected("a whole number"));
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

struct Wrong {
    message: String,
    help: String,
}

fn wrong(message: String, help: &str) -> Wrong {
    Wrong { message, help: help.to_owned() }
}

fn duration(text: &str, least: Duration) -> Result<Duration, Wrong> {
    if text.trim_start().starts_with('-') {
        return Err(wrong(format!("the duration {} is negative", quote(text)), DURATION_HELP));
    }
    let bare_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if bare_number {
        let help = format!("write {} or {}", quote(&format!("{text}s")), quote(&format!("{text}ms")));
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

/// `"off"`, or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    Off,
    On(T),
}

impl<T: Read> Read for OrOff<T> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        match value.tree.as_str() {
            Some("off") => Some(OrOff::Off),
            Some(_) | None => T::read(value, problems).map(OrOff::On),
        }
    }
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

fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
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
        let near = super::problem::nearest(plain, &Signal::names().collect::<Vec<_>>());
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

/// A list of values, each told about by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T, const MOST: usize>(pub Vec<At<T>>);

impl<T: Read, const MOST: usize> Read for List<T, MOST> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let elements = elements::<T>(value, MOST, problems)?;
        let good = elements.into_iter().map(|(span, value)| value.map(|value| At { value, span }));
        good.collect::<Option<Vec<_>>>().map(List)
    }
}

/// All elements of an array, the bad ones too, so that each is told about.
fn elements<T: Read>(value: &Value<'_>, most: usize, problems: &mut Problems) -> Option<Vec<(Span, Option<T>)>> {
    let Some(elements) = value.elements() else {
        let problem = value.unexpected("an array");
        problems.push(match value.tree.as_str() {
            Some(text) => problem.help(format!("write [{}]", quote(text))),
            None => problem,
        });
        return None;
    };
    if elements.len() > most {
        let message = format!("an array of {} values, at most {most} are allowed", elements.len());
        problems.push(Problem::error(value.span, message));
        return None;
    }
    Some(elements.iter().map(|element| (element.span, T::read(element, problems))).collect())
}

pub type SignalList = List<SignalName, 64>;
pub type ExitCodes = List<Count<0, 255>, 256>;
pub type Names = List<Text, 1000>;

/// A program and its arguments; variables are not expanded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Command(pub Vec<At<Text>>);

impl Read for Command {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        if let Some(text) = value.tree.as_str() {
            let words = text.split_whitespace().map(quote).collect::<Vec<_>>().join(", ");
            let problem = Problem::error(value.span, "a command is an array, not a string: no shell takes it apart");
            problems.push(problem.help(format!("write [{words}]")));
            return None;
        }
        let List(words) = List::<Text, MOST_ARGUMENTS>::read(value, problems)?;
        let message = match words.first() {
            None => "the command is empty",
            Some(program) if program.value.0.is_empty() => "the command's program has an empty name",
            Some(_) => return Some(Command(words)),
        };
        let span = words.first().map_or(value.span, |program| program.span);
        problems.push(Problem::error(span, message).help("the first string is the program, as in [\"sleep\", \"10\"]"));
        None
    }
}

/// Environment variables, in the order of the file; values are not expanded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment(pub Vec<(String, At<Text>)>);

impl Read for Environment {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(entries) = value.entries() else {
            let problem = value.unexpected("a table of variables");
            problems.push(problem.help("write { NAME = \"value\" }"));
            return None;
        };
        if entries.len() > MOST_VARIABLES {
            let message = format!("{} variables, at most {MOST_VARIABLES} are allowed", entries.len());
            problems.push(Problem::error(value.span, message));
            return None;
        }
        let variables = entries.iter().map(|entry| variable(entry, problems)).collect::<Vec<_>>();
        variables.into_iter().collect::<Option<Vec<_>>>().map(Environment)
    }
}

fn variable(entry: &Entry<'_>, problems: &mut Problems) -> Option<(String, At<Text>)> {
    let name = entry.key.value;
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!("{} is no name of a variable: it is empty or has a = or NUL in it", quote(name));
        problems.push(Problem::error(entry.key.span, message));
        return None;
    }
    if let Some(number) = entry.value.tree.as_integer() {
        let problem = entry.value.unexpected("a string");
        problems.push(problem.help(format!("write \"{number}\"")));
        return None;
    }
    let text = Text::read(&entry.value, problems)?;
    Some((name.to_owned(), At { value: text, span: entry.value.span }))
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
    let step = if word.eq_ignore_ascii_case("event") { Step::Event } else { Step::Signal(signal(word, span)?) };
    if wait.trim().is_empty() {
        let message = format!("the rung {} does not say how long to wait", quote(text));
        return Err(Problem::error(span, message).help(format!("write {}", quote(&format!("{word} 5s")))));
    }
    let wait = duration(wait.trim(), Duration::ZERO);
    let wait = wait.map_err(|wrong| Problem::error(span, wrong.message).help(RUNG_HELP))?;
    Ok(Rung { step, wait })
}

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
            problems.push(match super::problem::nearest(text, &words) {
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

impl Choice for OnFull {
    const WORDS: &'static [(&'static str, OnFull)] = &[("block", OnFull::Block), ("reject", OnFull::Reject)];
}

impl Choice for KillMode {
    const WORDS: &'static [(&'static str, KillMode)] =
        &[("mixed", KillMode::Mixed), ("group", KillMode::Group), ("process", KillMode::Process)];
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

/// `"null"`, `"stdout"` or `"file:PATH"`; the path is as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsText(pub Results);

impl Read for ResultsText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let expected = "\"null\", \"stdout\" or \"file:PATH\"";
        let text = string(value, expected, problems)?;
        let results = match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Results::File(path.into()),
            None if text == "null" => Results::Null,
            None if text == "stdout" => Results::Stdout,
            Some(_) | None => {
                problems.push(value.unexpected(expected));
                return None;
            }
        };
        Some(ResultsText(results))
    }
}

section! {
    /// Waits that grow: `delay`, then `factor` times as long each time, never over `max`.
    pub struct BackoffTable {
        /// The first wait. Default 1s.
        delay: Timespan<0>,
        /// How much longer each wait is than the one before. Default 2.
        factor: Ratio<1, 1000>,
        /// The longest wait. Default 10m.
        max: Timespan<0>,
        /// Each wait is multiplied by a random number from 1 - jitter to 1 + jitter. Default 0.2.
        jitter: Ratio<0, 1>,
    }
}

section! {
    /// The waits before restarts. The first restart is immediate.
    pub struct RestartDelayTable {
        /// The first wait. Default 100ms.
        delay: Timespan<0>,
        /// How much longer each wait is than the one before. Default 2.
        factor: Ratio<1, 1000>,
        /// The longest wait. Default 30s.
        max: Timespan<0>,
        /// Each wait is multiplied by a random number from 1 - jitter to 1 + jitter. Default 0.2.
        jitter: Ratio<0, 1>,
        /// An instance that ran this long starts its waits anew. Default 10s.
        reset_after: Timespan<0>,
    }
}

section! {
    /// How many failed starts within which time are allowed.
    pub struct StartLimitTable {
        /// Failed starts that are allowed; one more and the worker is given up. Default 5.
        burst: Count<1, 1_000_000>,
        /// Default 60s.
        interval: Timespan<1>,
    }
}
