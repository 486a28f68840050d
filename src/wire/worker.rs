//! The worker protocol `lines`: items out, replies in, the exit event's line.

use crate::model::{Payload, Reply, StopReason, Token, Verdict};
use memchr::memchr;
use std::time::Duration;

/// A reply with its LF, at most: PIPE_BUF, so that threads of a worker may share the reply pipe (pipe(7)).
pub const MAX_REPLY: usize = 4096;
/// The highest window a worker may ask for.
pub const MAX_PREFETCH: u32 = 65_535;
/// The longest token with its space: 20 digits, a dot, 10 digits.
const HEAD: usize = 32;
/// How much of a line that is no reply is shown.
const SHOWN: usize = 80;

/// The pipe carried something that is no reply: its first bytes, 80 at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbled(pub Vec<u8>);

/// Cuts the bytes of a reply pipe into replies. Holds less than [`MAX_REPLY`] bytes. What has no LF at the pipe's end is
/// no reply.
#[derive(Debug, Default)]
pub struct ReplyReader {
    partial: Vec<u8>,
}

impl ReplyReader {
    pub fn new() -> ReplyReader {
        ReplyReader::default()
    }

    /// Takes the next bytes and tells the replies that end in them, in order. After an error the stream has no meaning
    /// any more: feed nothing further.
    pub fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Reply)) -> Result<(), Garbled> {
        while let Some(at) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            tell(self.complete(line)?);
        }
        self.keep(bytes)
    }

    fn complete(&mut self, line: &[u8]) -> Result<Reply, Garbled> {
        if self.partial.is_empty() {
            return parse(line);
        }
        self.keep(line)?;
        let reply = parse(&self.partial);
        self.partial.clear();
        reply
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Garbled> {
        let room = MAX_REPLY - 1 - self.partial.len();
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room { Err(garbled(&self.partial)) } else { Ok(()) }
    }
}

/// `TOKEN SP PAYLOAD LF`. The payload must not hold a LF.
pub fn encode_item(token: Token, payload: &[u8], out: &mut Vec<u8>) {
    let mut head = [b' '; HEAD];
    // From the end: the space, the delivery, the dot, the number.
    let mut at = decimal_before(HEAD - 1, u64::from(token.delivery), &mut head);
    at -= 1;
    head[at] = b'.';
    let at = decimal_before(at, token.seq, &mut head);
    out.reserve(HEAD + payload.len() + 1);
    out.extend_from_slice(head.get(at..).unwrap_or_default());
    out.extend_from_slice(payload);
    out.push(b'\n');
}

/// The exit event's line: `stop REASON MILLISECONDS\n`, the time to the instance's next rung.
pub fn encode_stop(reason: StopReason, next: Duration) -> Vec<u8> {
    format!("stop {reason} {}\n", next.as_millis()).into_bytes()
}

/// Puts a number before this place; answers where it begins.
fn decimal_before(mut at: usize, mut value: u64, text: &mut [u8; HEAD]) -> usize {
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

fn parse(line: &[u8]) -> Result<Reply, Garbled> {
    (line.len() < MAX_REPLY).then(|| reply(line)).flatten().ok_or_else(|| garbled(line))
}

fn reply(line: &[u8]) -> Option<Reply> {
    // What nearly every line begins with, without a search.
    if let Some(rest) = line.strip_prefix(b"ok ") {
        let (token, result) = Token::parse_word(rest)?;
        return Some(Reply::Settle { token, verdict: Verdict::Ok(result.map(Payload::from)) });
    }
    let (verb, rest) = cut(line);
    let (word, tail) = cut(rest?);
    let settle = |verdict| Token::parse(word).map(|token| Reply::Settle { token, verdict });
    match verb {
        b"retry" => settle(Verdict::Retry(reason(tail))),
        b"fail" => settle(Verdict::Fail(reason(tail))),
        b"release" if tail.is_none() => settle(Verdict::Release),
        b"touch" if tail.is_none() => Token::parse(word).map(Reply::Touch),
        b"prefetch" if tail.is_none() => window(word).map(Reply::Prefetch),
        _ => None,
    }
}

/// The bytes before the first space, and those after it if there is one.
fn cut(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b' ', bytes) {
        Some(at) => (&bytes[..at], bytes.get(at + 1..)),
        None => (bytes, None),
    }
}

fn reason(tail: Option<&[u8]>) -> Option<String> {
    tail.filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned())
}

fn window(digits: &[u8]) -> Option<u32> {
    let plain = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    (value <= MAX_PREFETCH).then_some(value)
}

fn garbled(line: &[u8]) -> Garbled {
    Garbled(line.get(..SHOWN).unwrap_or(line).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cut_up;
    use proptest::prelude::*;

    fn read(chunks: &[&[u8]]) -> (Vec<Reply>, Result<(), Garbled>) {
        let (mut reader, mut replies) = (ReplyReader::new(), Vec::new());
        let end = chunks.iter().try_for_each(|chunk| reader.feed(chunk, |reply| replies.push(reply)));
        (replies, end)
    }

    fn settled(line: &str) -> Verdict {
        match read(&[line.as_bytes(), b"\n"]) {
            (replies, Ok(())) => match replies.as_slice() {
                [Reply::Settle { token: Token { seq: 7, delivery: 2 }, verdict }] => verdict.clone(),
                other => panic!("{line:?}: {other:?}"),
            },
            (_, Err(error)) => panic!("{line:?}: {error:?}"),
        }
    }

    #[test]
    fn verdicts_with_and_without_their_words() {
        assert_eq!(settled("ok 7.2"), Verdict::Ok(None));
        assert_eq!(settled("ok 7.2 "), Verdict::Ok(Some([].into())));
        assert_eq!(settled("ok 7.2  a \0 b"), Verdict::Ok(Some((*b" a \0 b").into())));
        assert_eq!(settled("retry 7.2"), Verdict::Retry(None));
        assert_eq!(settled("retry 7.2 busy now"), Verdict::Retry(Some("busy now".into())));
        assert_eq!(settled("fail 7.2 no such file"), Verdict::Fail(Some("no such file".into())));
        assert_eq!(settled("release 7.2"), Verdict::Release);
    }

    #[test]
    fn touch_and_prefetch() {
        let (replies, end) = read(&[b"touch 7.2\nprefetch 0\nprefetch 65535\n"]);
        let token = Token { seq: 7, delivery: 2 };
        assert_eq!(replies, [Reply::Touch(token), Reply::Prefetch(0), Reply::Prefetch(65_535)]);
        assert_eq!(end, Ok(()));
    }

    #[test]
    fn f144_what_is_no_reply_is_shown() {
        for bad in [
            "",
            "ok",
            "ok ",
            " ok 1.1",
            "OK 1.1",
            "ok 1",
            "ok 01.1",
            "ok  1.1",
            "okay 1.1",
            "touch 1.1 x",
            "release 1.1 x",
            "prefetch",
            "prefetch 65536",
            "prefetch -1",
            "prefetch +1",
            "prefetch 1 2",
            "hello world",
            "ok 1.1\r",
        ] {
            let (replies, end) = read(&[bad.as_bytes(), b"\n"]);
            assert_eq!((replies, end), (vec![], Err(Garbled(bad.as_bytes().to_vec()))), "{bad:?}");
        }
        let long = "x".repeat(200);
        assert_eq!(read(&[long.as_bytes(), b"\n"]).1, Err(Garbled(vec![b'x'; 80])));
    }

    #[test]
    fn a_line_may_have_4096_bytes_with_its_lf_and_not_one_more() {
        let fits = format!("ok 1.1 {}\n", "r".repeat(4096 - 8));
        assert_eq!(fits.len(), 4096);
        assert_eq!(read(&[fits.as_bytes()]).0.len(), 1);
        assert_eq!(read(&[&fits.as_bytes()[..4000], &fits.as_bytes()[4000..]]).0.len(), 1);
        let over = format!("ok 1.1 {}\n", "r".repeat(4096 - 7));
        for cut in [0, 1, 4000, 4095, 4096] {
            let (replies, end) = read(&[&over.as_bytes()[..cut], &over.as_bytes()[cut..]]);
            assert_eq!((replies.len(), end.is_err()), (0, true), "cut at {cut}");
        }
    }

    #[test]
    fn f144_half_a_reply_is_none() {
        let (replies, end) = read(&[b"ok 1.1\nok 2.1"]);
        assert_eq!((replies.len(), end), (1, Ok(())));
    }

    #[test]
    fn an_endless_line_is_refused_before_its_end() {
        assert_eq!(read(&[&[b'y'; 4096]]).1, Err(Garbled(vec![b'y'; 80])));
    }

    #[test]
    fn items_and_the_exit_event_on_the_wire() {
        let mut out = Vec::new();
        encode_item(Token { seq: 120, delivery: 1 }, b"a b", &mut out);
        encode_item(Token { seq: u64::MAX, delivery: u32::MAX }, b"", &mut out);
        assert_eq!(out, b"120.1 a b\n18446744073709551615.4294967295 \n");
        assert_eq!(encode_stop(StopReason::MaxItems, Duration::from_micros(5_000_900)), b"stop max-items 5000\n");
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_changes_nothing(
            results in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("LF ends", |b| *b != b'\n'), 0..30), 0..8),
            cuts in prop::collection::vec(1usize..20, 0..30),
        ) {
            let mut stream = Vec::new();
            for (result, seq) in results.iter().zip(1u64..) {
                stream.extend_from_slice(format!("ok {seq}.1 ").as_bytes());
                stream.extend_from_slice(result);
                stream.push(b'\n');
            }
            let pieces = cut_up(&stream, &cuts);
            let (replies, end) = read(&pieces);
            prop_assert_eq!(end, Ok(()));
            let expected: Vec<Reply> = results.iter().zip(1u64..).map(|(result, seq)| Reply::Settle {
                token: Token { seq, delivery: 1 },
                verdict: Verdict::Ok(Some(result.as_slice().into())),
            }).collect();
            prop_assert_eq!(replies, expected);
        }
    }
}
