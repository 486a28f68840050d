//! What our own program does when it is started to ask by HTTP. A server's answer is nothing that the loop should read.

use crate::model::probe::{ProbeAnswer, Refusal};
use crate::wire::http::{self, Answer, MAX_HEAD, Target};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Asks, and answers whether the status says that all is well. The process that started this one ends it when `timeout` is over
/// for the whole; here it is the most that each step may take. A URL that is none is [`Refusal::Nonsense`].
pub fn ask(url: &str, timeout: Duration) -> ProbeAnswer {
    let target = http::target(url).ok_or(Refusal::Nonsense)?;
    // Zero would mean for ever.
    let timeout = timeout.max(Duration::from_millis(1));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Refusal::TimedOut(timeout),
        io::ErrorKind::ConnectionRefused => Refusal::Failed(super::ECONNREFUSED),
        _ => Refusal::Failed(super::errno_of(&error)),
    };
    let mut connected = Err(Refusal::Nonsense);
    for address in &target.addresses {
        connected = connect(address, timeout).map_err(failed);
        if connected.is_ok() {
            break;
        }
    }
    match status(connected?, &target, timeout).map_err(failed)?? {
        status if http::is_well(status) => Ok(()),
        status => Err(Refusal::Status(status)),
    }
}

fn connect(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, timeout)?;
    // Without anybody at a port of the kernel's own choice, a connection to it may meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn status(mut stream: TcpStream, target: &Target, timeout: Duration) -> io::Result<Result<u16, Refusal>> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(&target.request)?;
    let (mut head, mut piece) = (Vec::new(), [0; 2048]);
    loop {
        let length = match stream.read(&mut piece) {
            Ok(0) => return Ok(Err(Refusal::Closed)),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        head.extend_from_slice(piece.get(..length).unwrap_or_default());
        match http::answer(&head) {
            Answer::Status(status) => return Ok(Ok(status)),
            Answer::Partial if head.len() < MAX_HEAD => {}
            Answer::Partial | Answer::Nonsense => return Ok(Err(Refusal::Nonsense)),
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
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(())),
            ("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", Ok(())),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Err(Refusal::Status(404))),
            ("HTTP/1.1 503 \r\n\r\n", Err(Refusal::Status(503))),
            ("220 mail.example.org ESMTP\r\n\r\n", Err(Refusal::Nonsense)),
            ("HTTP/1.1 200 OK\r\nX: ", Err(Refusal::Closed)),
            ("", Err(Refusal::Closed)),
        ];
        for (head, answer) in answers {
            let (url, asked) = server(head);
            assert_eq!(ask(&url, Duration::from_secs(30)), answer, "{head:?}");
            assert!(asked.join().unwrap().starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
        }
    }

    #[test]
    fn nobody_there_is_no() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(ask(&url, Duration::from_secs(30)), Err(Refusal::Failed(libc::ECONNREFUSED)));
        assert_eq!(ask("ftp://127.0.0.1/", Duration::from_secs(30)), Err(Refusal::Nonsense));
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(ask(&url, Duration::from_millis(20)), Err(Refusal::TimedOut(Duration::from_millis(20))));
    }
}
