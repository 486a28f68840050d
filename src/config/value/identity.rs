//! Who a program is and what it may use: users, masks, limits.

use super::number::size;
use super::stop::SignalName;
use super::text::Text;
use super::{PathText, show_size};
use crate::config::problem::{Problem, Problems, Span, nearest, quote};
use crate::config::read::{At, Entry, Read, Value};
use crate::model::identity::{Bound, Limit, Resource};
use crate::model::signal::Signal;

/// `"www-data"`, `"1000"`, `"user:group"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserText {
    pub user: String,
    pub group: Option<String>,
}

impl Read for UserText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<UserText> {
        let AccountText(text) = AccountText::read(value, problems)?;
        let (user, group) = text.split_once(':').map_or((text.as_str(), None), |(user, group)| (user, Some(group)));
        if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
            let problem = Problem::error(value.span, format!("{} is no user", quote(&text)));
            problems.push(problem.help("write a name or a number, alone or with a group: \"www-data\", \"1000:1000\""));
            return None;
        }
        Some(UserText { user: user.to_owned(), group: group.map(str::to_owned) })
    }
}

/// The name or number of a user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountText(pub String);

impl Read for AccountText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<AccountText> {
        if let Some(number) = value.tree.as_integer() {
            problems.push(value.unexpected("a string").help(format!("write \"{number}\"")));
            return None;
        }
        let Text(text) = Text::read(value, problems)?;
        if text.is_empty() {
            problems.push(Problem::error(value.span, "a name cannot be empty"));
            return None;
        }
        Some(AccountText(text))
    }
}

/// Octal digits in a string, as umask(1) takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

impl Read for Umask {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Umask> {
        let digits = value.tree.as_str().filter(|text| (1..=4).contains(&text.len()));
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let mask = digits.and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|&mask| mask <= 0o777);
        if mask.is_none() {
            problems
                .push(value.unexpected("a umask").help("write octal digits in quotes, \"000\" to \"777\", as \"027\""));
        }
        mask.map(Umask)
    }
}

/// A whole number within limits, which may be negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: i32, const MAX: i32>(pub i32);

impl<const MIN: i32, const MAX: i32> Read for Whole<MIN, MAX> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        let Some(integer) = value.tree.as_integer() else {
            problems.push(value.unexpected("a whole number"));
            return None;
        };
        let number = i32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let within = number.filter(|number| (MIN..=MAX).contains(number));
        if within.is_none() {
            let message = format!("{integer} is out of range, allowed is {MIN} to {MAX}");
            problems.push(Problem::error(value.span, message));
        }
        within.map(Whole)
    }
}

/// `"off"`, or a signal; KILL too, which is the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathSignal(pub Option<Signal>);

impl Read for DeathSignal {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<DeathSignal> {
        match value.tree.as_str() {
            Some("off") => Some(DeathSignal(None)),
            Some(text) if Signal::parse(text) == Some(Signal::KILL) => Some(DeathSignal(Some(Signal::KILL))),
            Some(_) | None => SignalName::read(value, problems).map(|name| DeathSignal(Some(name.0))),
        }
    }
}

/// One, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMore(pub Vec<At<PathText>>);

const MOST_FILES: usize = 100;

impl Read for OneOrMore {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<OneOrMore> {
        if value.elements().is_some() {
            return super::List::<PathText, MOST_FILES>::read(value, problems).map(|list| OneOrMore(list.0));
        }
        PathText::read(value, problems).map(|path| OneOrMore(vec![At { value: path, span: value.span }]))
    }
}

/// `{ nofile = 4096, core = 0, as = "1GiB", … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits(pub Vec<At<Limit>>);

impl Read for Limits {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Limits> {
        let Some(entries) = value.entries() else {
            problems.push(value.unexpected("a table of limits").help("write { nofile = 4096 }"));
            return None;
        };
        Some(Limits(entries.iter().filter_map(|entry| limit(entry, problems)).collect()))
    }
}

fn limit(entry: &Entry<'_>, problems: &mut Problems) -> Option<At<Limit>> {
    let name = entry.key.value;
    let Some(resource) = Resource::named(name) else {
        let names = Resource::ALL.map(Resource::name);
        // Those of setrlimit(2) are known by heart to many.
        let plain = name.to_ascii_lowercase();
        let plain = plain.strip_prefix("rlimit_").unwrap_or(&plain);
        let problem = Problem::error(entry.key.span, format!("unknown limit {}", quote(name)));
        problems.push(match nearest(plain, &names) {
            Some(near) => problem.help(format!("did you mean {}?", quote(near))),
            None => problem.help(format!("known here: {}", names.join(", "))),
        });
        return None;
    };
    let (soft, hard) = match entry.value.entries() {
        Some(parts) => two_bounds(resource, &parts, entry.value.span, problems)?,
        None => {
            let both = bound(resource, &entry.value, problems)?;
            (both, both)
        }
    };
    Some(At { value: Limit { resource, soft, hard }, span: entry.key.span })
}

fn two_bounds(resource: Resource, parts: &[Entry<'_>], span: Span, problems: &mut Problems) -> Option<(Bound, Bound)> {
    let (mut soft, mut hard, mut good) = (Bound::Inherited, Bound::Inherited, true);
    for part in parts {
        let place = match part.key.value {
            "soft" => &mut soft,
            "hard" => &mut hard,
            other => {
                let problem = Problem::error(part.key.span, format!("unknown key {}", quote(other)));
                problems.push(problem.suggest(other, ["soft", "hard"]));
                good = false;
                continue;
            }
        };
        match bound(resource, &part.value, problems) {
            Some(read) => *place = read,
            None => good = false,
        }
    }
    if parts.is_empty() {
        problems.push(Problem::error(span, "a limit that says neither soft nor hard"));
        return None;
    }
    if height(soft).zip(height(hard)).is_some_and(|(soft, hard)| soft > hard) {
        let (soft, hard) = (show_bound(resource, soft), show_bound(resource, hard));
        problems.push(Problem::error(span, format!("the soft limit {soft} is over the hard limit {hard}")));
        return None;
    }
    good.then_some((soft, hard))
}

/// What is inherited is known when a program is started, and clashes with nothing here.
fn height(bound: Bound) -> Option<u64> {
    match bound {
        Bound::Inherited => None,
        Bound::At(number) => Some(number),
        Bound::Unlimited => Some(u64::MAX),
    }
}

fn bound(resource: Resource, value: &Value<'_>, problems: &mut Problems) -> Option<Bound> {
    let expected = match resource.is_bytes() {
        true => "a number, a size such as \"64MiB\", or \"unlimited\"",
        false => "a number or \"unlimited\"",
    };
    if let Some(integer) = value.tree.as_integer() {
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|&number| number != u64::MAX);
        if number.is_none() {
            problems.push(Problem::error(value.span, format!("{integer} is out of range for a limit")));
        }
        return number.map(Bound::At);
    }
    match value.tree.as_str() {
        Some("unlimited") => return Some(Bound::Unlimited),
        Some(text) if resource.is_bytes() => match size(text, 0, 1 << 60) {
            Ok(bytes) => return Some(Bound::At(bytes)),
            Err(message) => problems.push(Problem::error(value.span, message).help(format!("write {expected}"))),
        },
        Some(_) | None => problems.push(value.unexpected(expected)),
    }
    None
}

/// A number of a limit in words.
pub fn show_bound(resource: Resource, bound: Bound) -> String {
    match bound {
        Bound::Inherited => "as it is".to_owned(),
        Bound::Unlimited => "unlimited".to_owned(),
        Bound::At(bytes) if resource.is_bytes() && bytes > 0 => show_size(bytes),
        Bound::At(number) => number.to_string(),
    }
}
