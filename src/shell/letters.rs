//! Items as JSON lines: dead letters, and unfinished items that have no file to go to.
//!
//! An item that is UTF-8 stands in `item`; any other in `item_base64` (RFC 4648), so that nothing is lost.

use crate::machine::{DeadLetter, DeathReason};
use crate::model::plan::Plan;
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// `{"queue":…,"item":…}` and a line feed.
pub fn handed_back(queue: &str, payload: &[u8]) -> Vec<u8> {
    let mut fields = Map::new();
    fields.insert("queue".into(), queue.into());
    insert_item(&mut fields, payload);
    to_line(fields)
}

/// A dead letter with all that is known of it, and a line feed.
pub fn dead(plan: &Plan, letter: &DeadLetter, at: SystemTime) -> Vec<u8> {
    to_line(fields(plan, letter, &letter.payload, at))
}

/// The same with so little of the item that a thousand of them can be kept.
pub fn dead_in_brief(plan: &Plan, letter: &DeadLetter, at: SystemTime) -> Value {
    const SHOWN: usize = 256;
    let whole: &[u8] = &letter.payload;
    // Text stays text.
    let boundary = |text: &str| (0..=SHOWN).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let end = std::str::from_utf8(whole).map_or(SHOWN, boundary);
    Value::from(fields(plan, letter, whole.get(..end).unwrap_or(whole), at))
}

fn fields(plan: &Plan, letter: &DeadLetter, shown: &[u8], at: SystemTime) -> Map<String, Value> {
    let mut fields = Map::new();
    let queue = plan.queues.get(letter.queue.index()).map_or("?", |queue| queue.name.as_str());
    fields.insert("queue".into(), queue.into());
    insert_item(&mut fields, shown);
    if letter.length != shown.len() as u64 {
        fields.insert("cut".into(), true.into());
        fields.insert("length".into(), letter.length.into());
    }
    let (kind, text) = reason(&letter.reason);
    fields.insert("reason".into(), kind.into());
    fields.extend(text.map(|text| ("message".to_owned(), Value::from(text))));
    fields.insert("deliveries".into(), letter.deliveries.into());
    fields.insert("attempts".into(), letter.attempts.into());
    fields.insert("crashes".into(), letter.crashes.into());
    fields.extend(letter.last_status.map(|status| ("last_status".to_owned(), json!(status.to_string()))));
    fields.insert("time".into(), humantime::format_rfc3339_millis(at).to_string().into());
    fields
}

/// The reason as a stable word, and what the worker said.
pub fn reason(reason: &DeathReason) -> (&'static str, Option<&str>) {
    match reason {
        DeathReason::Failed(text) => ("failed", text.as_deref()),
        DeathReason::Attempts { last } => ("max-attempts", last.as_deref()),
        DeathReason::Crashes => ("max-crashes", None),
        DeathReason::LineFeed => ("line-feed", None),
        DeathReason::TooLong => ("too-long", None),
        DeathReason::Full => ("queue-full", None),
    }
}

fn insert_item(fields: &mut Map<String, Value>, payload: &[u8]) {
    let (key, text) = match std::str::from_utf8(payload) {
        Ok(text) => ("item", text.to_owned()),
        Err(_) => ("item_base64", base64(payload)),
    };
    fields.insert(key.into(), text.into());
}

fn to_line(fields: Map<String, Value>) -> Vec<u8> {
    super::json::to_line(&Value::from(fields))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::nameless;
    use super::*;
    use crate::model::QueueId;

    #[test]
    fn in_brief_a_letter_shows_the_beginning_of_its_item() {
        let letter = |payload: &[u8]| DeadLetter {
            queue: QueueId(0),
            seq: 1,
            payload: payload.into(),
            length: payload.len() as u64,
            reason: DeathReason::Crashes,
            deliveries: 1,
            attempts: 0,
            crashes: 1,
            last_status: None,
        };
        let brief = |payload: &[u8]| dead_in_brief(&nameless(), &letter(payload), SystemTime::UNIX_EPOCH);
        let short = brief(b"short");
        assert_eq!((short["item"].as_str(), short.get("cut")), (Some("short"), None));
        let long = brief("x\u{e9}".repeat(200).as_bytes());
        assert_eq!(
            (long["item"].as_str().map(str::len), &long["cut"], &long["length"]),
            (Some(256), &json!(true), &json!(600))
        );
        assert!(brief(&[0xff; 300])["item_base64"].is_string());
    }

    #[test]
    fn f72_bytes_that_are_no_text_are_kept_as_base64() {
        assert_eq!(handed_back("q", b"a \"b\"\n"), b"{\"item\":\"a \\\"b\\\"\\n\",\"queue\":\"q\"}\n");
        assert_eq!(handed_back("q", b"\xff"), b"{\"item_base64\":\"/w==\",\"queue\":\"q\"}\n");
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
