//! What our own program does when it is started to ask by HTTP. A server's answer is nothing that the loop should read.

use crate::wire::http::{self, Answer, MAX_HEAD, Target};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Asks, and answers whether the status says that all is well. Whoever started us ends us when `timeout` is over for the whole; here it is
/// the most that each step may take.
pub fn is_well(url: &str, timeout: Duration) -> bool {
    let Some(target) = http::target(url) else { return false };
    // Zero would mean for ever.
    let timeout = timeout.max(Duration::from_millis(1));
    let connected = target.addresses.iter().find_map(|address| connect(address, timeout).ok());
    connected
        .is_some_and(|stream| status(stream, &target, timeout).is_ok_and(|status| status.is_some_and(http::is_well)))
}

fn connect(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, timeout)?;
    // Without anybody at a port of the kernel's own choice, a connection to it may meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn status(mut stream: TcpStream, target: &Target, timeout: Duration) -> io::Result<Option<u16>> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(&target.request)?;
    let (mut head, mut piece) = (Vec::new(), [0; 2048]);
    loop {
        let length = match stream.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        head.extend_from_slice(piece.get(..length).unwrap_or_default());
        match http::answer(&head) {
            Answer::Status(status) => return Ok(Some(status)),
            Answer::Partial if head.len() < MAX_HEAD => {}
            Answer::Partial | Answer::Nonsense => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers the first who asks, in two pieces.
    fn server(head: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            let (one, other) = head.split_at(head.len() / 2);
            stream.write_all(one.as_bytes()).unwrap();
            stream.write_all(other.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        };
        (url, std::thread::spawn(serve))
    }

    #[test]
    fn a_status_of_two_or_three_hundred_is_yes() {
        let answers = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 503 \r\n\r\n", false),
            ("220 mail.example.org ESMTP\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nX: ", false),
            ("", false),
        ];
        for (head, well) in answers {
            let (url, asked) = server(head);
            assert_eq!(is_well(&url, Duration::from_secs(30)), well, "{head:?}");
            assert!(asked.join().unwrap().starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
        }
    }

    #[test]
    fn nobody_there_is_no() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert!(!is_well(&url, Duration::from_secs(30)));
        assert!(!is_well("ftp://127.0.0.1/", Duration::from_secs(30)));
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert!(!is_well(&url, Duration::from_millis(20)));
    }
}
