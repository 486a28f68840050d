//! Any bytes from a source: what a splitter tells is what a naive one would, wherever the stream is cut.

use exeunt::model::Framing;
use exeunt::wire::frames::{Frame, HEAD, Splitter};

/// Framing, limit, where to cut; the rest is the stream. A byte 0xfe stands for a thousand, so that small inputs make long items.
pub fn target(data: &[u8]) {
    let [framing, limit, step, stream @ ..] = data else { return };
    let framing = if framing % 2 == 0 { Framing::Line } else { Framing::Nul };
    let limit = match limit % 4 {
        0 => usize::from(limit / 4),
        1 => HEAD + usize::from(limit / 4) - 32,
        2 => 20_000,
        _ => 1,
    };
    let inflate = |&byte: &u8| std::iter::repeat_n(byte, if byte == 0xfe { 1000 } else { 1 });
    let stream: Vec<u8> = stream.iter().flat_map(inflate).collect();
    let expected = naive(framing, limit, &stream);
    for length in [stream.len().max(1), 1, usize::from(*step).max(1), 4096] {
        let mut splitter = Splitter::new(framing, limit);
        let mut frames = Vec::new();
        stream.chunks(length).for_each(|chunk| splitter.feed(chunk, |frame| frames.push(frame)));
        let tail = stream.rsplit(|&byte| byte == framing.delimiter()).next().unwrap_or_default();
        assert_eq!(splitter.tail_length(), tail.len() as u64);
        assert_eq!(&*splitter.tail_head(), &tail[..tail.len().min(HEAD)]);
        frames.extend(splitter.take_tail());
        assert_eq!(frames, expected, "in chunks of {length}");
        assert_eq!(splitter.take_tail(), None);
    }
}

/// The same by std alone; a last item without its delimiter counts.
fn naive(framing: Framing, limit: usize, stream: &[u8]) -> Vec<Frame> {
    let mut items: Vec<&[u8]> = stream.split(|&byte| byte == framing.delimiter()).collect();
    if items.last().is_some_and(|last| last.is_empty()) {
        items.pop();
    }
    let frame = |item: &[u8]| match item.len() <= limit {
        true => Frame::Item(item.into()),
        false => Frame::Oversized { length: item.len() as u64, head: item[..item.len().min(HEAD)].into() },
    };
    items.into_iter().map(frame).collect()
}
