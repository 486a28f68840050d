//! Any bytes on a notification socket: what is told stands in the datagram, in bounds, and is harmless to print.

use exeunt::model::Notice;
use exeunt::wire::notify::{MAX_DATAGRAM, parse};
use std::time::Duration;

/// A byte 0xfe stands for a thousand spaces, so that small inputs make long datagrams.
pub fn target(data: &[u8]) {
    let inflate =
        |&byte: &u8| std::iter::repeat_n(if byte == 0xfe { b' ' } else { byte }, if byte == 0xfe { 1000 } else { 1 });
    let datagram: Vec<u8> = data.iter().flat_map(inflate).collect();
    let Some(told) = parse(&datagram) else {
        let body = datagram.strip_suffix(b"\0").unwrap_or(&datagram);
        assert!(body.len() > MAX_DATAGRAM || body.contains(&0), "refused without a reason");
        return;
    };
    assert!(told.notices.len() <= 5);
    assert!(told.main.is_none_or(|pid| pid > 1));
    let says = |line: &str| naive(&datagram, line);
    for notice in &told.notices {
        match notice {
            Notice::Ready => assert!(says("READY=1")),
            Notice::Stopping => assert!(says("STOPPING=1")),
            Notice::Unheard => panic!("no datagram says that"),
            Notice::Watchdog => assert!(says("WATCHDOG=1")),
            Notice::Trigger => assert!(says("WATCHDOG=trigger")),
            Notice::Extend(time) => assert!(*time > Duration::ZERO),
            Notice::Status(status) => {
                assert!(!status.is_empty() && status.len() <= 4 * 401);
                assert!(!status.chars().any(char::is_control), "{status:?}");
            }
        }
    }
    // In front of all else it is the first of its name.
    let more = parse(&[b"READY=1\n".as_slice(), &datagram].concat());
    assert!(more.is_none_or(|told| told.notices.contains(&Notice::Ready)));
}

fn naive(datagram: &[u8], wanted: &str) -> bool {
    datagram.split(|&byte| byte == b'\n').any(|line| line.strip_suffix(b"\0").unwrap_or(line) == wanted.as_bytes())
}
