//! Items: one unit of work on its way through a queue.

use std::fmt;
use std::rc::Rc;

/// The bytes of an item, shared between the queue, the lease and the pipe's buffer, never copied on the way.
pub type Payload = Rc<[u8]>;

/// Names one delivery of one item. Opaque to workers, who send it back as they got it: `SEQ.DELIVERY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The item's number in its queue, in order of acceptance.
    pub seq: u64,
    /// 1 for the first time the item is handed out, one more each further time.
    pub delivery: u32,
}

impl Token {
    /// Reads `SEQ.DELIVERY` in plain decimal digits; `None` for everything else (signs, spaces, leading zeros, overflow).
    pub fn parse(text: &[u8]) -> Option<Token> {
        let dot = text.iter().position(|&b| b == b'.')?;
        let seq = decimal(&text[..dot])?;
        let delivery = u32::try_from(decimal(&text[dot + 1..])?).ok()?;
        Some(Token { seq, delivery })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.delivery)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && (digits[0] != b'0' || digits.len() == 1);
    if !plain {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// What a worker says of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, with the result if one was given (`ok TOKEN` and `ok TOKEN RESULT` differ).
    Ok(Option<Payload>),
    /// Back with backoff; counts an attempt.
    Retry(Option<String>),
    /// Dead letter now.
    Fail(Option<String>),
    /// Back, not counted.
    Release,
}

/// One line on a worker's reply pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Settle {
        token: Token,
        verdict: Verdict,
    },
    /// Still alive: the item's clock starts anew.
    Touch(Token),
    /// Change my window; 0 = send nothing.
    Prefetch(u32),
}

/// How items are told apart in a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Ended by a line feed.
    Line,
    /// Ended by a NUL byte (`find -print0`).
    Nul,
}

impl Framing {
    pub const fn delimiter(self) -> u8 {
        match self {
            Framing::Line => b'\n',
            Framing::Nul => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_what_it_wrote_and_nothing_else() {
        let token = Token { seq: u64::MAX, delivery: u32::MAX };
        assert_eq!(Token::parse(token.to_string().as_bytes()), Some(token));
        for bad in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "01.1",
            "1.01",
            "+1.1",
            "1.1 ",
            "1.1.1",
            "18446744073709551616.1",
            "1.4294967296",
        ] {
            assert_eq!(Token::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
