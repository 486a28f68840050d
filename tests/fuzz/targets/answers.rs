//! Any bytes as a URL and as the answer of an HTTP server: however the answer is cut, it comes to the same.

use exeunt::wire::http::{Answer, MAX_HEAD, answer, target as ask};

/// Up to the first NUL a URL, behind it the answer; a byte 0xfe stands for a thousand.
pub fn target(data: &[u8]) {
    let (url, rest) = data.split_at(data.iter().position(|&byte| byte == 0).unwrap_or(0));
    if let Some(asked) = std::str::from_utf8(url).ok().and_then(ask) {
        assert!(!asked.addresses.is_empty() && asked.addresses.iter().all(|address| address.port() > 0));
        let request = String::from_utf8(asked.request).expect("the URL was text");
        assert_eq!(request.matches("\r\n\r\n").count(), 1, "one request: {request:?}");
        assert!(request.ends_with("\r\n\r\n") && request.lines().count() == 6, "{request:?}");
    }
    let inflate = |&byte: &u8| std::iter::repeat_n(byte, if byte == 0xfe { 1000 } else { 1 });
    let bytes: Vec<u8> = rest.iter().skip(1).flat_map(inflate).collect();
    let mut settled = None;
    for length in 0..=bytes.len() {
        match (settled, answer(&bytes[..length])) {
            (None, Answer::Partial) => assert!(length < MAX_HEAD),
            (None, told) => settled = Some(told),
            (Some(Answer::Status(before)), told) => assert_eq!(told, Answer::Status(before), "more bytes changed it"),
            (Some(_), _) => break,
        }
    }
}
