//! Any bytes on a reply pipe: where they are cut changes nothing, and every reply reads back as it was written.

use exeunt::model::{Reply, Verdict};
use exeunt::wire::worker::{Garbled, MAX_REPLY, ReplyReader};

/// The first two bytes say where to cut, the rest is the stream.
pub fn target(data: &[u8]) {
    let [step, salt, stream @ ..] = data else { return };
    let whole = read([stream]);
    let bytes = read(stream.chunks(1));
    assert_eq!(whole, bytes, "cut at every byte");
    let mut pieces = Vec::new();
    let (mut rest, mut length) = (stream, usize::from(*step));
    while !rest.is_empty() {
        length = 1 + (length * 7 + usize::from(*salt)) % 97;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(whole, read(pieces), "cut by {step} and {salt}");
    let (replies, end) = whole;
    if let Err(Garbled(seen)) = end {
        assert!(seen.len() <= 80);
        assert!(seen.is_empty() || stream.windows(seen.len()).any(|window| window == seen), "shown and never sent");
    }
    let lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    for (reply, line) in replies.iter().zip(lines) {
        assert!(line.len() < MAX_REPLY);
        assert!(is_reading_of(reply, line), "{reply:?} for {}", line.escape_ascii());
    }
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Result<(), Garbled>) {
    let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
    for chunk in chunks {
        if let Err(garbled) = reader.feed(chunk, |reply| replies.push(reply)) {
            return (replies, Err(garbled));
        }
    }
    (replies, Ok(()))
}

/// Writes the reply and compares. Reasons are text for people: an empty one is none, and what is no UTF-8 is replaced.
fn is_reading_of(reply: &Reply, line: &[u8]) -> bool {
    let reason = |verb: &str, token: &dyn std::fmt::Display, reason: &Option<String>| {
        let head = format!("{verb} {token}");
        let text = String::from_utf8_lossy(line);
        match reason {
            Some(reason) => text == format!("{head} {reason}"),
            None => text == head || text == format!("{head} "),
        }
    };
    match reply {
        Reply::Settle { token, verdict: Verdict::Ok(None) } => line == format!("ok {token}").as_bytes(),
        Reply::Settle { token, verdict: Verdict::Ok(Some(result)) } => {
            line == [format!("ok {token} ").as_bytes(), result].concat()
        }
        Reply::Settle { token, verdict: Verdict::Retry(words) } => reason("retry", token, words),
        Reply::Settle { token, verdict: Verdict::Fail(words) } => reason("fail", token, words),
        Reply::Settle { token, verdict: Verdict::Release } => line == format!("release {token}").as_bytes(),
        Reply::Touch(token) => line == format!("touch {token}").as_bytes(),
        // Leading zeros are read.
        Reply::Prefetch(window) => {
            let digits = line.strip_prefix(b"prefetch ").unwrap_or_default();
            std::str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(*window))
        }
    }
}
