//! The little of HTTP/1.1 that a probe needs: one request, and the status of its answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The head of an answer, at most: status line and headers.
pub const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
const PORT: u16 = 80;

/// Where a probe asks, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// To be tried in this order.
    pub addresses: Vec<SocketAddr>,
    pub request: Vec<u8>,
}

/// What the bytes of an answer say so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head is not whole yet.
    Partial,
    Status(u16),
    /// This is no HTTP, or its head is too long.
    Nonsense,
}

/// Reads `http://HOST[:PORT][/PATH]`, where HOST is an address (one of IPv6 in brackets) or `localhost`: nobody is asked for names.
pub fn target(url: &str) -> Option<Target> {
    let rest = url.strip_prefix("http://")?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return None;
    }
    let addresses = addresses(authority)?;
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: exeunt\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    Some(Target { addresses, request: request.into_bytes() })
}

fn addresses(authority: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    let port: u16 = port.map_or(Some(PORT), digits)?;
    let hosts: Vec<IpAddr> = match (host, authority.starts_with('[')) {
        ("localhost", false) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        (host, false) => vec![host.parse::<Ipv4Addr>().ok()?.into()],
        (host, true) => vec![host.parse::<Ipv6Addr>().ok()?.into()],
    };
    (port > 0).then(|| hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect())
}

/// Reads the beginning of an answer, all that has come of it.
pub fn answer(bytes: &[u8]) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => response.code.map_or(Answer::Nonsense, Answer::Status),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Answer::Partial,
        Ok(httparse::Status::Partial) | Err(_) => Answer::Nonsense,
    }
}

/// Whether a service that answers with this status is well.
pub fn is_well(status: u16) -> bool {
    (200..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whom_and_what_to_ask() {
        let asked = |url: &str| {
            let target = target(url)?;
            let line = String::from_utf8(target.request).unwrap().lines().next().unwrap().to_owned();
            Some((target.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "), line))
        };
        let some = |addresses: &str, line: &str| Some((addresses.to_owned(), line.to_owned()));
        assert_eq!(asked("http://127.0.0.1:8080/health?x=1#y"), some("127.0.0.1:8080", "GET /health?x=1 HTTP/1.1"));
        assert_eq!(asked("http://localhost"), some("127.0.0.1:80 [::1]:80", "GET / HTTP/1.1"));
        assert_eq!(asked("http://[::1]:81?q"), some("[::1]:81", "GET /?q HTTP/1.1"));
        let wrong = [
            "https://127.0.0.1/",
            "http://example.org/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:+1/",
            "http://127.0.0.1:/",
            "http://::1/",
            "http://[::1/",
            "http://[::1]81/",
            "http://[localhost]/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\r\nX: y",
            "http://u@127.0.0.1/",
            "127.0.0.1",
        ];
        wrong.into_iter().for_each(|url| assert_eq!(asked(url), None, "{url:?}"));
    }

    #[test]
    fn an_answer_is_its_status_once_its_head_is_whole() {
        let whole = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\nrest";
        let head = whole.len() - 4;
        for length in 0..head {
            assert_eq!(answer(&whole[..length]), Answer::Partial, "{length}");
        }
        assert_eq!(answer(whole), Answer::Status(204));
        assert_eq!(answer(b"HTTP/1.0 503 \r\n\r\n"), Answer::Status(503));
        assert_eq!(answer(b"+OK redis\r\n"), Answer::Nonsense);
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &vec![b'x'; MAX_HEAD]].concat();
        assert_eq!(answer(&endless), Answer::Nonsense);
    }

    #[test]
    fn two_hundred_to_three_hundred_ninety_nine_is_well() {
        assert_eq!([100, 199, 200, 302, 399, 400, 500].map(is_well), [false, false, true, true, true, false, false]);
    }
}
