//! Where a probe knocks: `HOST:PORT` and `http://HOST[:PORT]/PATH`. They are read when their variables are expanded.

use super::text::Text;
use crate::config::problem::{Problem, Problems, Span, quote};
use crate::config::read::{Read, Value};
use crate::model::plan::TcpAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest URL that is asked for, in bytes.
const LONGEST_URL: usize = 2048;

/// `HOST:PORT`; variables are not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpText(pub Text);

/// `http://HOST[:PORT]/PATH`; variables are not expanded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpText(pub Text);

impl Read for TcpText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<TcpText> {
        if value.tree.as_str().is_some() {
            return Text::read(value, problems).map(TcpText);
        }
        let problem = value.unexpected("a string \"HOST:PORT\"");
        problems.push(match value.tree.as_integer().and_then(|port| port.as_str().parse::<u16>().ok()) {
            Some(port) => problem.help(format!("write \"127.0.0.1:{port}\"")),
            None => problem.help(TCP_HELP),
        });
        None
    }
}

impl Read for HttpText {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<HttpText> {
        if value.tree.as_str().is_some() {
            return Text::read(value, problems).map(HttpText);
        }
        problems.push(value.unexpected("a string \"http://HOST:PORT/PATH\"").help(HTTP_HELP));
        None
    }
}

const TCP_HELP: &str = "write an address and a port, as in \"127.0.0.1:8080\", \"[::1]:8080\" or \"localhost:8080\"";
const HTTP_HELP: &str = "write it as \"http://127.0.0.1:8080/health\"";
const NAME_HELP: &str = "write its address, or \"localhost\"; a program that asks by name can be the probe's command";

enum Host {
    Localhost,
    Address(IpAddr),
}

/// The address that a probe connects to.
pub fn tcp_address(text: &str, span: Span) -> Result<TcpAddress, Problem> {
    let shown = quote(text);
    if is_unix_socket(text) {
        let problem =
            Problem::error(span, format!("{shown} is a Unix socket, and tcp connects to an address and a port"));
        let help = "let a program ask it, as in command = [\"curl\", \"-fs\", \"--unix-socket\", \"PATH\", \"http://localhost/\"]";
        return Err(problem.help(help));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let problem = Problem::error(span, format!("{shown} is a URL, and tcp takes an address and a port"));
        let http = scheme.eq_ignore_ascii_case("http");
        let place = rest.split('/').next().unwrap_or_default();
        return Err(problem.help(if http {
            format!("write http = {shown}")
        } else {
            format!("write {}", quote(place))
        }));
    }
    let (host, port) = host_and_port(text, TCP_HELP, span)?;
    let Some(port) = port else {
        return Err(Problem::error(span, format!("{shown} has no port")).help(TCP_HELP));
    };
    Ok(match host {
        Host::Localhost => TcpAddress::Localhost(port),
        Host::Address(address) => TcpAddress::At(SocketAddr::new(address, port)),
    })
}

fn is_unix_socket(text: &str) -> bool {
    let scheme = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("unix:"));
    scheme || text.starts_with(['/', '@', '.', '~']) || text.ends_with(".sock")
}

/// The URL as it is asked for: `http://HOST[:PORT]/PATH`, with scheme and host in small letters and never without a path.
pub fn http_url(text: &str, span: Span) -> Result<String, Problem> {
    let refuse = |message: String, help: &str| Err(Problem::error(span, message).help(help));
    if text.len() > LONGEST_URL {
        return refuse(format!("a URL of {} bytes, at most {LONGEST_URL} are asked for", text.len()), HTTP_HELP);
    }
    let shown = quote(text);
    // A space or a line feed would end the request's first line, and what follows be taken for more of it.
    let is_odd = |c: char| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c);
    if let Some(odd) = text.chars().find(|&c| is_odd(c)) {
        let help = "in a URL it is written as % and two hexadecimal digits, a space as %20";
        return refuse(format!("there is a {} in the URL", quote(&odd.to_string())), help);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse(format!("{shown} is no URL"), HTTP_HELP);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            let help = "let curl ask: command = [\"curl\", \"-fs\", \"-o\", \"/dev/null\", \"https://…\"]";
            return refuse("a probe does not speak https".to_owned(), help);
        }
        _ => return refuse(format!("a probe does not speak {}", quote(scheme)), HTTP_HELP),
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        // It may be a password, so it is not shown.
        let help = "let curl ask: command = [\"curl\", \"-fs\", \"--netrc-file\", \"PATH\", \"http://…\"]";
        return refuse("a probe sends no user and no password".to_owned(), help);
    }
    if path.contains('#') {
        return refuse(
            format!("the URL {shown} has a fragment, and no fragment is ever sent"),
            "leave out what follows #",
        );
    }
    host_and_port(authority, HTTP_HELP, span)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("http://{}{slash}{path}", authority.to_ascii_lowercase()))
}

/// Nothing here asks a resolver: it could take its time, and an init that hangs hangs the machine.
fn host_and_port(text: &str, help: &str, span: Span) -> Result<(Host, Option<u16>), Problem> {
    let shown = quote(text);
    let refuse = |message: String, help: &str| Problem::error(span, message).help(help);
    let (host, port, bracketed) = if let Some(inside) = text.strip_prefix('[') {
        let (host, after) =
            inside.split_once(']').ok_or_else(|| refuse(format!("{shown} has a [ without its ]"), help))?;
        let port = match after.strip_prefix(':') {
            None if !after.is_empty() => return Err(refuse(format!("{shown} goes on behind its ]"), help)),
            port => port,
        };
        (host, port, true)
    } else if text.matches(':').count() > 1 {
        return Err(refuse(
            format!("{shown} has more than one colon"),
            "an IPv6 address stands in brackets, as in \"[::1]:8080\"",
        ));
    } else {
        text.split_once(':').map_or((text, None, false), |(host, port)| (host, Some(port), false))
    };
    let port = port.map(|port| self::port(port).ok_or_else(|| refuse(not_a_port(port), help))).transpose()?;
    Ok((self::host(host, bracketed).map_err(|why| refuse(why.0, why.1.unwrap_or(help)))?, port))
}

fn not_a_port(port: &str) -> String {
    match port.is_empty() {
        true => "there is no port behind the colon".to_owned(),
        false => format!("{} is not a port, a port is a number from 1 to 65535", quote(port)),
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u16>().ok().filter(|&port| digits && port != 0)
}

fn host(text: &str, bracketed: bool) -> Result<Host, (String, Option<&'static str>)> {
    let shown = quote(text);
    if bracketed {
        let address = text.parse::<Ipv6Addr>().map_err(|_| (format!("{shown} is not an IPv6 address"), None))?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Host::Localhost);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    match () {
        () if text.is_empty() => Err(("there is no host".to_owned(), None)),
        () if port(text).is_some() => Err((format!("{shown} is a port without a host"), None)),
        () if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            Err((format!("{shown} is not an IPv4 address"), None))
        }
        () => Err((format!("{shown} is a name, and nothing in an init looks names up"), Some(NAME_HELP))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { start: 0, end: 0 };

    fn tcp(text: &str) -> Result<String, String> {
        tcp_address(text, SPAN).map(|address| address.to_string()).map_err(|problem| problem.message)
    }

    fn http(text: &str) -> Result<String, String> {
        http_url(text, SPAN).map_err(|problem| problem.message)
    }

    #[test]
    fn an_address_and_a_port_are_what_tcp_takes() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
            ("[::1]:8080", "[::1]:8080"),
            ("[fe80:0:0::1]:1", "[fe80::1]:1"),
            ("localhost:5432", "localhost:5432"),
            ("LocalHost:5432", "localhost:5432"),
        ] {
            assert_eq!(tcp(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_connected_to() {
        for (text, message) in [
            ("", "there is no host"),
            (":80", "there is no host"),
            ("80", "is a port without a host"),
            ("127.0.0.1", "has no port"),
            ("[::1]", "has no port"),
            ("localhost", "has no port"),
            ("127.0.0.1:", "there is no port behind the colon"),
            ("127.0.0.1:0", "is not a port"),
            ("127.0.0.1:+80", "is not a port"),
            ("127.0.0.1:65536", "is not a port"),
            ("127.0.0.1:http", "is not a port"),
            ("127.0.0.256:80", "is not an IPv4 address"),
            ("127.1:80", "is not an IPv4 address"),
            ("::1:80", "more than one colon"),
            ("[::1", "[ without its ]"),
            ("[::1]80", "goes on behind its ]"),
            ("[127.0.0.1]:80", "is not an IPv6 address"),
            ("[fe80::1%eth0]:80", "is not an IPv6 address"),
            ("db:5432", "\"db\" is a name"),
            ("db.example.org:5432", "is a name"),
            (" 127.0.0.1:80", "is a name"),
            ("/run/db.sock", "is a Unix socket"),
            ("unix:/run/db.sock", "is a Unix socket"),
            ("run/db.sock", "is a Unix socket"),
            ("tcp://127.0.0.1:80", "is a URL"),
            ("http://127.0.0.1/", "is a URL"),
        ] {
            assert!(tcp(text).as_ref().is_err_and(|got| got.contains(message)), "{text}: {:?}", tcp(text));
        }
    }

    #[test]
    fn a_url_is_brought_into_one_form() {
        for (text, expected) in [
            ("http://127.0.0.1", "http://127.0.0.1/"),
            ("HTTP://LOCALHOST:8080", "http://localhost:8080/"),
            ("http://[::1]:8080/Health?deep=1", "http://[::1]:8080/Health?deep=1"),
            ("http://10.0.0.1?x=%20", "http://10.0.0.1/?x=%20"),
        ] {
            assert_eq!(http(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn no_other_url_is_asked_for() {
        let long = format!("http://127.0.0.1/{}", "x".repeat(LONGEST_URL));
        for (text, message) in [
            ("", "is no URL"),
            ("127.0.0.1:80/health", "is no URL"),
            ("https://127.0.0.1/", "does not speak https"),
            ("HTTPS://127.0.0.1/", "does not speak https"),
            ("ftp://127.0.0.1/", "does not speak \"ftp\""),
            ("http://", "there is no host"),
            ("http:///health", "there is no host"),
            ("http://:80/", "there is no host"),
            ("http://web/", "\"web\" is a name"),
            ("http://web:80/", "\"web\" is a name"),
            ("http://127.0.0.1:/", "no port behind the colon"),
            ("http://127.0.0.1:x/", "is not a port"),
            ("http://me:secret@127.0.0.1/", "no user and no password"),
            ("http://127.0.0.1/#top", "has a fragment"),
            ("http://127.0.0.1/a b", "there is a \" \""),
            ("http://127.0.0.1/ HTTP/1.1\r\nX: y", "there is a \" \""),
            ("http://127.0.0.1/${PORT}", "there is a \"{\""),
            ("http://127.0.0.1/ä", "there is a \"ä\""),
            (&long, "at most 2048 are asked for"),
        ] {
            assert!(http(text).as_ref().is_err_and(|got| got.contains(message)), "{text}: {:?}", http(text));
        }
        assert!(!http("http://me:secret@127.0.0.1/").unwrap_err().contains("secret"));
    }
}
