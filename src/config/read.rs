//! Reading a tree of TOML values into the sections of [`raw`](super::raw), key by key, so that one bad value does not
//! hide the next. A derived deserializer stops at the first error of a table; this one collects them all.

use super::problem::{Problem, Problems, Span, nearest, quote};
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    pub value: T,
    pub span: Span,
}

/// A key of a section.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    #[default]
    Absent,
    /// It is there, but its value was refused, which has been told.
    Bad(Span),
    Given(At<T>),
}

impl<T> Field<T> {
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Field::Given(at) => Some(at),
            Field::Absent | Field::Bad(_) => None,
        }
    }

    pub fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Where the value stands, be it good or bad.
    pub fn span(&self) -> Option<Span> {
        match self {
            Field::Absent => None,
            Field::Bad(span) => Some(*span),
            Field::Given(at) => Some(at.span),
        }
    }
}

impl<T: Read> Field<T> {
    /// Adds what a second key of this meaning says, which was misspelled: nothing of either is lost.
    pub fn add(&mut self, other: Field<T>) {
        match (&mut *self, other) {
            (Field::Given(known), Field::Given(more)) => known.value.add(more.value),
            (Field::Absent | Field::Bad(_), other @ (Field::Given(_) | Field::Bad(_))) => *self = other,
            (Field::Given(_), Field::Bad(_)) | (_, Field::Absent) => {}
        }
    }

    pub fn read(value: &Value<'_>, problems: &mut Problems) -> Field<T> {
        match T::read(value, problems) {
            Some(good) => Field::Given(At { value: good, span: value.span }),
            None => Field::Bad(value.span),
        }
    }
}

/// A value of the file.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub tree: &'a DeValue<'a>,
    pub span: Span,
}

/// A key of a table, with its value.
pub struct Entry<'a> {
    pub key: At<&'a str>,
    pub value: Value<'a>,
}

pub trait Read: Sized {
    /// `None` after at least one problem was pushed.
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self>;

    /// Takes over what a second value adds. Of most values the first is kept.
    fn add(&mut self, _more: Self) {}
}

impl<'a> Value<'a> {
    /// Refuses the value: `expected …, found …`.
    pub fn unexpected(&self, expected: &str) -> Problem {
        Problem::error(self.span, format!("expected {expected}, found {}", self.found()))
    }

    /// The value as it is named in a message.
    pub fn found(&self) -> String {
        match self.tree {
            DeValue::String(text) => format!("the string {}", quote(text)),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(time) => format!("the date {time}"),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    pub fn elements(&self) -> Option<Vec<Value<'a>>> {
        let array = self.tree.as_array()?;
        Some(array.iter().map(|item| Value { tree: item.get_ref(), span: Span::new(item.span()) }).collect())
    }

    /// Whether it is a table, or an array that begins with one.
    pub fn holds_tables(&self) -> bool {
        let first = self.tree.as_array().and_then(|array| array.iter().next());
        self.tree.as_table().is_some() || first.is_some_and(|first| first.get_ref().as_table().is_some())
    }

    /// In the order of the file.
    pub fn entries(&self) -> Option<Vec<Entry<'a>>> {
        self.tree.as_table().map(entries)
    }
}

pub fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let entry = |(key, value): (&'a toml::Spanned<_>, &'a toml::Spanned<DeValue<'a>>)| {
        let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
        let value = Value { tree: value.get_ref(), span: Span::new(value.span()) };
        Entry { key: At { value: name.as_ref(), span: Span::new(key.span()) }, value }
    };
    let mut entries = table.iter().map(entry).collect::<Vec<_>>();
    entries.sort_by_key(|entry| entry.key.span.start);
    entries
}

/// Declares a section of the file: a struct with one [`Field`] for each key, the reader that fills it and refuses keys
/// it does not know, and in tests its JSON schema. The doc comments become the schema's descriptions.
macro_rules! section {
    ($(#[$attribute:meta])* pub struct $name:ident { $($(#[$key_attribute:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(rename_all = "kebab-case", deny_unknown_fields, default))]
        pub struct $name {
            $($(#[$key_attribute])* pub $key: $crate::config::read::Field<$type>,)*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                value: &$crate::config::read::Value<'_>,
                problems: &mut $crate::config::problem::Problems,
            ) -> Option<Self> {
                let known = [$($crate::config::read::key_name(stringify!($key))),*];
                let Some(entries) = value.entries() else {
                    problems.push($crate::config::read::no_table(value, &known));
                    return None;
                };
                let mut section = $name::default();
                for entry in entries {
                    $(if entry.key.value == $crate::config::read::key_name(stringify!($key)) {
                        section.$key.add($crate::config::read::Field::read(&entry.value, problems));
                        continue;
                    })*
                    let near = $crate::config::read::unknown_key(&entry, &known, problems);
                    // A key that was only misspelled is not missing too, and what is wrong in its table is told.
                    $(if near.as_deref() == Some(&*$crate::config::read::key_name(stringify!($key))) {
                        section.$key.add(match entry.value.holds_tables() {
                            true => $crate::config::read::Field::read(&entry.value, problems),
                            false => $crate::config::read::Field::Bad(entry.value.span),
                        });
                    })*
                }
                Some(section)
            }
        }
    };
}
pub(crate) use section;

/// Keys of a section that are all told where it is none.
const FEW_KEYS: usize = 8;

pub fn no_table(value: &Value<'_>, known: &[String]) -> Problem {
    let problem = value.unexpected("a table");
    match known.len() {
        0..=FEW_KEYS => problem.help(format!("a table is written {{ KEY = … }}; known here: {}", known.join(", "))),
        _ => problem,
    }
}

/// Tells about a key that does not exist. Answers the one that was probably meant.
pub fn unknown_key(entry: &Entry<'_>, known: &[String], problems: &mut Problems) -> Option<String> {
    if problems.is_full() {
        return None;
    }
    let known = known.iter().map(String::as_str).collect::<Vec<_>>();
    let problem = Problem::error(entry.key.span, format!("unknown key {}", quote(entry.key.value)));
    let worker = known.iter().find(|key| **key == "worker" && is_named_like_a_worker(entry.key.value));
    if let Some(worker) = worker {
        problems.push(problem.help(format!("did you mean {}?", quote(worker))));
        return Some((*worker).to_owned());
    }
    problems.push(problem.suggest(entry.key.value, known.iter().copied()));
    nearest(entry.key.value, &known).map(str::to_owned)
}

/// What other supervisors call a worker, in the singular or the plural.
fn is_named_like_a_worker(name: &str) -> bool {
    const NAMES: [&str; 9] = ["service", "program", "process", "processe", "daemon", "app", "job", "task", "unit"];
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.strip_suffix('s').unwrap_or(&name)) || NAMES.contains(&&*name)
}

/// The key of the file for a field of a section: `stop_budget` is `stop-budget`, `r#type` is `type`.
pub fn key_name(field: &str) -> String {
    field.trim_start_matches("r#").replace('_', "-")
}

/// The tables `[KIND.NAME]` of one kind, in the order of the file.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<NamedSection<T>>);

#[derive(Clone, Debug)]
pub struct NamedSection<T> {
    pub name: At<String>,
    /// `None`: it was no table, which has been told.
    pub section: Option<T>,
}

impl<T: Read + Default> Read for Named<T> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Named<T>> {
        let Some(entries) = value.entries() else {
            let problem = value.unexpected("tables with a name of their own");
            problems.push(problem.help("the name belongs in the header, as in [worker.NAME]"));
            return None;
        };
        let mut sections = Vec::with_capacity(entries.len());
        for Entry { key, value } in entries {
            if value.tree.as_table().is_none() {
                let problem = Problem::error(key.span, format!("expected a table, found {}", value.found()));
                problems.push(problem.help("the name belongs in the header, as in [worker.NAME]"));
            } else {
                check_name(&key, problems);
            }
            let section = value.tree.as_table().and_then(|_| T::read(&value, problems));
            sections.push(NamedSection { name: At { value: key.value.to_owned(), span: key.span }, section });
        }
        Some(Named(sections))
    }

    fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

/// Names are `[A-Za-z0-9_.-]{1,64}` and not only dots: they become parts of file names and of lines for people.
fn check_name(name: &At<&str>, problems: &mut Problems) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let text = name.value;
    let message = match () {
        () if text.is_empty() => "a name cannot be empty".to_owned(),
        () if text.len() > 64 => format!("the name {} has {} bytes, at most 64 are allowed", quote(text), text.len()),
        () if !text.bytes().all(allowed) => format!("the name {} has a character that is not allowed", quote(text)),
        () if text.bytes().all(|byte| byte == b'.') => format!("the name {} is nothing but dots", quote(text)),
        () => return,
    };
    problems.push(Problem::error(name.span, message).help("names are made of A-Z a-z 0-9 _ . -, 1 to 64 of them"));
}
