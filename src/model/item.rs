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
        match Token::parse_word(text)? {
            (token, None) => Some(token),
            (_, Some(_)) => None,
        }
    }

    /// Reads a token up to its end or the first space, and answers what follows that space. One pass, for every reply begins
    /// like this.
    pub fn parse_word(text: &[u8]) -> Option<(Token, Option<&[u8]>)> {
        let (seq, rest) = decimal(text)?;
        let (delivery, rest) = decimal(rest.strip_prefix(b".")?)?;
        let token = Token { seq, delivery: u32::try_from(delivery).ok()? };
        match rest {
            [] => Some((token, None)),
            [b' ', tail @ ..] => Some((token, Some(tail))),
            _ => None,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.delivery)
    }
}

/// The number that the text begins with, and the rest.
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut rest) = (0u64, text);
    while let [byte @ b'0'..=b'9', after @ ..] = rest {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        rest = after;
    }
    let length = text.len() - rest.len();
    let plain = length == 1 || (length > 1 && text.first() != Some(&b'0'));
    plain.then_some((value, rest))
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

    #[test]
    fn what_follows_the_space_is_the_rest() {
        let token = Token { seq: 7, delivery: 2 };
        assert_eq!(Token::parse_word(b"7.2"), Some((token, None)));
        assert_eq!(Token::parse_word(b"7.2 "), Some((token, Some(&b""[..]))));
        assert_eq!(Token::parse_word(b"7.2  a b"), Some((token, Some(&b" a b"[..]))));
        assert_eq!(Token::parse_word(b"7.2x"), None);
    }
}
