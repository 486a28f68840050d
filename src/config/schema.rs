//! The JSON schema of the file, made in tests from the sections of [`raw`](super::raw) and kept in `schemas/`, from
//! where the program prints it. `EXEUNT_BLESS=1 cargo test schema` writes it anew.

use super::raw::File;
use super::read::{Field, Named};
use super::value::stop::RungText;
use super::value::word::Choice;
use super::value::{
    AccountText, Command, Count, DeathSignal, Environment, Flag, HttpText, Ladder, Limits, List, OneOrMore, OrOff,
    PathText, Ratio, ResultsText, SignalName, Size, TcpText, Text, Timespan, Umask, UserText, Whole, Word,
};
use crate::model::Resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/exeunt.schema.json");
const NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*[a-zµ]+\s*)+$";

/// Written where it is used, under no name of its own.
macro_rules! inline_schema {
    ($(for [$($generics:tt)*])? impl $type:ty, |$generator:ident| $schema:expr) => {
        impl$(<$($generics)*>)? JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

inline_schema!(for [T: JsonSchema] impl Field<T>, |generator| generator.subschema_for::<T>());
inline_schema!(for [T: JsonSchema] impl Named<T>, |generator| json_schema!({
    "type": "object",
    "patternProperties": { NAME: generator.subschema_for::<T>() },
    "additionalProperties": false,
}));
inline_schema!(impl Text, |_generator| json_schema!({ "type": "string" }));
inline_schema!(impl PathText, |_generator| json_schema!({ "type": "string", "minLength": 1 }));
inline_schema!(impl Flag, |_generator| json_schema!({ "type": "boolean" }));
inline_schema!(for [const MIN: u64, const MAX: u64] impl Count<MIN, MAX>, |_generator| json_schema!({
    "type": "integer", "minimum": MIN, "maximum": MAX,
}));
inline_schema!(for [const MIN: u64, const MAX: u64] impl Ratio<MIN, MAX>, |_generator| json_schema!({
    "type": "number", "minimum": MIN, "maximum": MAX,
}));
inline_schema!(for [const MIN: u64] impl Timespan<MIN>, |_generator| json_schema!({
    "type": "string", "pattern": DURATION, "examples": ["250ms", "10s", "1m 30s"],
}));
inline_schema!(for [const MIN: u64, const MAX: u64] impl Size<MIN, MAX>, |_generator| json_schema!({
    "type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[A-Za-z]+\s*$", "examples": ["64KiB", "1MiB"],
}));
inline_schema!(for [T: JsonSchema] impl OrOff<T>, |generator| json_schema!({
    "anyOf": [{ "const": "off" }, generator.subschema_for::<T>()],
}));
inline_schema!(
    impl SignalName,
    |_generator| json_schema!({ "type": "string", "examples": ["TERM", "INT", "RTMIN+3"] })
);
inline_schema!(impl RungText, |_generator| json_schema!({
    "type": "string", "pattern": r"^\s*\S+\s+\S.*$", "examples": ["event 5s", "TERM 3s"],
}));
inline_schema!(for [T: JsonSchema, const MOST: usize] impl List<T, MOST>, |generator| json_schema!({
    "type": "array", "items": generator.subschema_for::<T>(), "maxItems": MOST,
}));
inline_schema!(impl Ladder, |generator| json_schema!({
    "type": "array", "items": generator.subschema_for::<RungText>(), "minItems": 1, "maxItems": 16,
}));
inline_schema!(impl Command, |_generator| json_schema!({
    "type": "array", "items": { "type": "string" }, "minItems": 1, "examples": [["python3", "work.py"]],
}));
inline_schema!(impl Environment, |_generator| json_schema!({
    "type": "object", "additionalProperties": { "type": "string" },
}));
inline_schema!(impl UserText, |_generator| json_schema!({
    "type": "string", "pattern": "^[^:]+(:[^:]+)?$", "examples": ["www-data", "1000:1000"],
}));
inline_schema!(impl AccountText, |_generator| json_schema!({ "type": "string", "minLength": 1 }));
inline_schema!(impl Umask, |_generator| json_schema!({
    "type": "string", "pattern": "^0?[0-7]{1,3}$", "examples": ["027"],
}));
inline_schema!(for [const MIN: i32, const MAX: i32] impl Whole<MIN, MAX>, |_generator| json_schema!({
    "type": "integer", "minimum": MIN, "maximum": MAX,
}));
inline_schema!(impl DeathSignal, |_generator| json_schema!({ "type": "string", "examples": ["off", "KILL", "TERM"] }));
inline_schema!(impl OneOrMore, |_generator| json_schema!({
    "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "array", "items": { "type": "string", "minLength": 1 } }],
}));
inline_schema!(impl Limits, |_generator| {
    let one = |resource: Resource| match resource.is_bytes() {
        true => json!([{ "type": "integer", "minimum": 0 }, { "type": "string" }]),
        false => json!([{ "type": "integer", "minimum": 0 }, { "const": "unlimited" }]),
    };
    let limit = |resource: Resource| {
        let bound = json!({ "anyOf": one(resource) });
        let both =
            json!({ "type": "object", "properties": { "soft": bound, "hard": bound }, "additionalProperties": false });
        (resource.name().to_owned(), json!({ "anyOf": [bound, both] }))
    };
    let limits = Resource::ALL.into_iter().map(limit).collect::<serde_json::Map<_, _>>();
    json_schema!({ "type": "object", "properties": limits, "additionalProperties": false })
});
inline_schema!(for [T: Choice] impl Word<T>, |_generator| {
    let words = T::WORDS.iter().map(|&(word, _)| word).collect::<Vec<_>>();
    json_schema!({ "type": "string", "enum": words })
});
// A variable may stand for any part.
inline_schema!(impl TcpText, |_generator| json_schema!({
    "type": "string", "pattern": r":|\$\{", "examples": ["127.0.0.1:8080", "[::1]:8080", "localhost:${PORT}"],
}));
inline_schema!(impl HttpText, |_generator| json_schema!({
    "type": "string", "pattern": r"^[Hh][Tt][Tt][Pp]://|^\$\{", "examples": ["http://127.0.0.1:8080/health"],
}));
inline_schema!(impl ResultsText, |_generator| json_schema!({ "type": "string", "pattern": "^(null|stdout|file:.+)$" }));

fn generated() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = serde_json::to_value(generator.into_root_schema_for::<File>()).expect("a schema is JSON");
    schema["title"] = json!("exeunt");
    let mut defaults = schema["definitions"]["Worker"].clone();
    for own in ["command", "queue", "after", "requires", "terminal"] {
        defaults["properties"].as_object_mut().expect("a worker has keys").remove(own);
    }
    defaults["description"] = json!("Keys for all workers that do not say otherwise.");
    schema["definitions"]["Defaults"] = defaults;
    let reference = schema["properties"]["defaults"].to_string().replace("/Worker\"", "/Defaults\"");
    schema["properties"]["defaults"] = serde_json::from_str(&reference).expect("it was JSON before");
    schema["definitions"]["Worker"]["required"] = json!(["command"]);
    schema["definitions"]["Source"]["required"] = json!(["queue"]);
    schema["definitions"]["Source"]["oneOf"] =
        json!([{ "required": ["command"] }, { "required": ["stdin"], "properties": { "stdin": { "const": true } } }]);
    schema["definitions"]["ReadyTable"]["minProperties"] = json!(1);
    schema["definitions"]["ReadyTable"]["maxProperties"] = json!(1);
    schema["definitions"]["ReadyTable"]["properties"]["notify"]["const"] = json!(true);
    let probe = ["command", "tcp", "http"].map(|key| json!({ "required": [key] }));
    schema["definitions"]["HealthTable"]["oneOf"] = json!(probe);
    schema["required"] = json!(["worker"]);
    join_lines(&mut schema);
    schema
}

/// The doc comments' line ends mean nothing.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::String(text) => *text = text.replace('\n', " "),
        Value::Array(values) => values.iter_mut().for_each(join_lines),
        Value::Object(values) => values.values_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn the_schema_in_the_repository_is_fresh() {
    let text = format!("{}\n", serde_json::to_string_pretty(&generated()).expect("JSON can be written"));
    if std::env::var_os("EXEUNT_BLESS").is_some() {
        std::fs::write(PATH, &text).expect("the schema can be written");
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(committed == text, "schemas/exeunt.schema.json is stale; EXEUNT_BLESS=1 cargo test schema writes it anew");
}
