//! Items in a byte stream, told apart by a delimiter.

use crate::model::{Framing, Payload};
use memchr::memchr;

/// How many bytes of an item that is too long are kept to show.
pub const HEAD: usize = 4096;

/// What a stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole item, without its delimiter.
    Item(Payload),
    /// An item over the limit went by: its length, and its first [`HEAD`] bytes at most.
    Oversized { length: u64, head: Payload },
}

/// Cuts a stream into items. Holds at most one item's limit of bytes, however long the item is.
#[derive(Debug)]
pub struct Splitter {
    delimiter: u8,
    max_item: usize,
    /// The item that is not at its end yet: whole while it is within the limit, else its head.
    partial: Vec<u8>,
    /// Bytes of the partial item seen so far.
    length: u64,
    oversized: bool,
}

impl Splitter {
    /// `max_item`: payload bytes of one item, at most.
    pub fn new(framing: Framing, max_item: usize) -> Splitter {
        Splitter { delimiter: framing.delimiter(), max_item, partial: Vec::new(), length: 0, oversized: false }
    }

    /// Takes the next bytes of the stream and tells the items that end in them, in order.
    pub fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while let Some(at) = memchr(self.delimiter, bytes) {
            let (tail, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            tell(self.complete(tail));
        }
        self.keep(bytes);
    }

    /// Takes what came after the last delimiter, as it would count if the stream ended here; `None` when that is nothing.
    pub fn take_tail(&mut self) -> Option<Frame> {
        (self.length > 0).then(|| self.complete(&[]))
    }

    /// Bytes since the last delimiter.
    pub fn tail_length(&self) -> u64 {
        self.length
    }

    /// The bytes since the last delimiter are told by nobody: they were not read after all.
    pub fn forget_tail(&mut self) {
        self.partial.clear();
        self.length = 0;
        self.oversized = false;
    }

    /// The first bytes since the last delimiter, [`HEAD`] at most.
    pub fn tail_head(&self) -> Payload {
        self.partial.get(..HEAD).unwrap_or(&self.partial).into()
    }

    fn complete(&mut self, tail: &[u8]) -> Frame {
        if self.length == 0 && tail.len() <= self.max_item {
            return Frame::Item(tail.into());
        }
        self.keep(tail);
        let frame = if self.oversized {
            Frame::Oversized { length: self.length, head: self.tail_head() }
        } else {
            Frame::Item(self.partial.as_slice().into())
        };
        // A large item must not pin its memory for the rest of the run.
        if self.partial.capacity() > 4 * HEAD {
            self.partial = Vec::new();
        }
        self.partial.clear();
        self.length = 0;
        self.oversized = false;
        frame
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.oversized && self.length <= self.max_item as u64 {
            self.partial.extend_from_slice(bytes);
            return;
        }
        self.oversized = true;
        let room = HEAD.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.partial.truncate(HEAD);
        self.partial.shrink_to(HEAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cut_up;
    use proptest::prelude::*;

    fn all(splitter: &mut Splitter, chunks: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Vec::new();
        chunks.iter().for_each(|chunk| splitter.feed(chunk, |frame| frames.push(frame)));
        frames
    }

    fn item(bytes: &[u8]) -> Frame {
        Frame::Item(bytes.into())
    }

    #[test]
    fn an_empty_line_is_an_item_and_an_unterminated_one_waits() {
        let mut lines = Splitter::new(Framing::Line, 10);
        assert_eq!(all(&mut lines, &[b"a\n\nb", b"c"]), [item(b"a"), item(b"")]);
        assert_eq!(lines.tail_length(), 2);
        assert_eq!(lines.take_tail(), Some(item(b"bc")));
        assert_eq!(lines.take_tail(), None);
    }

    #[test]
    fn nul_framing_keeps_line_feeds() {
        let mut nuls = Splitter::new(Framing::Nul, 10);
        assert_eq!(all(&mut nuls, &[b"a\nb\0c\0"]), [item(b"a\nb"), item(b"c")]);
    }

    #[test]
    fn f70_an_endless_item_is_counted_in_bounded_memory() {
        let mut lines = Splitter::new(Framing::Line, 100_000);
        let chunk = vec![b'x'; 65_536];
        for _ in 0..1000 {
            lines.feed(&chunk, |frame| panic!("{frame:?}"));
            assert!(lines.partial.capacity() <= 200_000);
        }
        let frames = all(&mut lines, &[b"\nnext\n"]);
        let head: Payload = vec![b'x'; HEAD].into();
        assert_eq!(frames, [Frame::Oversized { length: 65_536_000, head }, item(b"next")]);
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut lines = Splitter::new(Framing::Line, 3);
        let over = Frame::Oversized { length: 4, head: (*b"abcd").into() };
        assert_eq!(all(&mut lines, &[b"abc\nabcd\n"]), [item(b"abc"), over]);
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_changes_nothing(
            lines in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'a'), Just(0), Just(0xff)], 0..12), 0..8),
            tail in prop::collection::vec(Just(b'z'), 0..12),
            cuts in prop::collection::vec(1usize..9, 0..40),
        ) {
            let mut stream = lines.join(&b'\n');
            if !lines.is_empty() { stream.push(b'\n'); }
            stream.extend_from_slice(&tail);
            let mut whole = Splitter::new(Framing::Line, 8);
            let expected = all(&mut whole, &[&stream]);
            let pieces = cut_up(&stream, &cuts);
            let mut split = Splitter::new(Framing::Line, 8);
            let frames = all(&mut split, &pieces);
            prop_assert_eq!(&frames, &expected);
            let lengths: Vec<u64> = frames.iter().map(|frame| match frame {
                Frame::Item(payload) => payload.len() as u64,
                Frame::Oversized { length, .. } => *length,
            }).collect();
            prop_assert_eq!(&lengths, &lines.iter().map(|line| line.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(split.tail_length(), tail.len() as u64);
            prop_assert_eq!(whole.take_tail(), split.take_tail());
        }
    }
}
