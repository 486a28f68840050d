//! Bytes from and to messages: incremental, split anywhere, every length limited. Knows neither descriptors nor time.

pub mod frames;
pub mod http;
pub mod notify;
pub mod probe;
pub mod worker;

/// For tests of how little it matters where a stream is cut: its pieces of these lengths, and the rest.
#[cfg(test)]
fn cut_up<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    for length in lengths {
        let (piece, after) = rest.split_at(rest.len().min(*length));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}
