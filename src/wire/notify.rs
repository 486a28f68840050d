//! One datagram of sd_notify(3): assignments, one a line.

use crate::model::Notice;
use crate::model::printable::is_printable;
use std::time::Duration;

/// The longest datagram that is looked at, as systemd has it. What is longer says nothing.
pub const MAX_DATAGRAM: usize = 4096;
/// Characters of a status that are kept.
const MAX_STATUS: usize = 400;

/// What a datagram says. Of a name that comes twice the first counts; names that mean nothing here (`FDSTORE`, `ERRNO`, `BARRIER`,
/// `X_…`) and values that make no sense say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// More time first, then what may be told in it.
    pub notices: Vec<Notice>,
    /// `MAINPID`: who shall get the signals. At least 2.
    pub main: Option<i32>,
}

/// How a sender stands to the worker whose socket it wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the leader, or a member of its session or of its control group.
    Member,
    /// It is gone, so that its session and group cannot be found out any more; it was of the worker's own user, or root.
    Gone,
    /// Anything else.
    Stranger,
}

impl Told {
    /// What is believed of it, and whether something was left out. Of a sender that is gone only what any process of that
    /// user may say: `systemd-notify --no-block` lives from that. What changes how the worker is watched, stopped and
    /// signalled (`WATCHDOG=trigger`, `EXTEND_TIMEOUT_USEC`, `MAINPID`) wants a proven member.
    pub fn believed(self, standing: Standing) -> (Told, bool) {
        let harmless = |notice: &Notice| match notice {
            Notice::Ready | Notice::Stopping | Notice::Status(_) | Notice::Watchdog => true,
            Notice::Trigger | Notice::Extend(_) | Notice::Unheard => false,
        };
        let said = self.notices.len() + usize::from(self.main.is_some());
        let believed = match standing {
            Standing::Member => self,
            Standing::Gone => Told { notices: self.notices.into_iter().filter(harmless).collect(), main: None },
            Standing::Stranger => Told::default(),
        };
        let left = believed.notices.len() + usize::from(believed.main.is_some());
        (believed, left < said)
    }
}

/// Reads a whole datagram. `None` for one that is too long, or holds a NUL anywhere but at its end.
pub fn parse(datagram: &[u8]) -> Option<Told> {
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.len() > MAX_DATAGRAM || text.contains(&0) {
        return None;
    }
    let value = |name: &[u8]| {
        let mut lines = text.split(|&byte| byte == b'\n');
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b"="))
    };
    let extend = value(b"EXTEND_TIMEOUT_USEC").and_then(number::<u64>).map(Duration::from_micros);
    let flag = |name: &[u8], notice| (value(name) == Some(b"1")).then_some(notice);
    let watchdog = match value(b"WATCHDOG") {
        Some(b"1") => Some(Notice::Watchdog),
        Some(b"trigger") => Some(Notice::Trigger),
        Some(_) | None => None,
    };
    let notices = [
        extend.filter(|time| !time.is_zero()).map(Notice::Extend),
        flag(b"READY", Notice::Ready),
        value(b"STATUS").and_then(status).map(Notice::Status),
        flag(b"STOPPING", Notice::Stopping),
        watchdog,
    ];
    let main = value(b"MAINPID").and_then(number::<i32>).filter(|&pid| pid > 1);
    Some(Told { notices: notices.into_iter().flatten().collect(), main })
}

/// Digits and nothing else.
fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// As one harmless line for people: whoever reads our messages on a terminal must not be played tricks on.
fn status(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let harmless = |c: char| if is_printable(c) { c } else { char::REPLACEMENT_CHARACTER };
    let mut status: String = text.trim().chars().take(MAX_STATUS).map(harmless).collect();
    if text.trim().chars().nth(MAX_STATUS).is_some() {
        status.push('…');
    }
    (!status.is_empty()).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices(datagram: &str) -> Vec<Notice> {
        parse(datagram.as_bytes()).unwrap().notices
    }

    #[test]
    fn the_words_of_sd_notify_are_read() {
        let status = |text: &str| Notice::Status(text.to_owned());
        assert_eq!(notices("READY=1"), [Notice::Ready]);
        assert_eq!(notices("STATUS=going up\nREADY=1\n"), [Notice::Ready, status("going up")]);
        assert_eq!(notices("STOPPING=1\nSTATUS=bye"), [status("bye"), Notice::Stopping]);
        assert_eq!(notices("WATCHDOG=1"), [Notice::Watchdog]);
        assert_eq!(notices("WATCHDOG=trigger"), [Notice::Trigger]);
        let extend = Notice::Extend(Duration::from_millis(1500));
        assert_eq!(notices("READY=1\nEXTEND_TIMEOUT_USEC=1500000"), [extend, Notice::Ready]);
        assert_eq!(parse(b"MAINPID=4711\0").unwrap(), Told { notices: vec![], main: Some(4711) });
    }

    /// Each word of sd_notify(3) from each kind of sender: whether it is believed.
    #[test]
    fn who_is_believed_in_what() {
        let table = [
            ("READY=1", true, true),
            ("STATUS=x", true, true),
            ("STOPPING=1", true, true),
            ("WATCHDOG=1", true, true),
            ("WATCHDOG=trigger", true, false),
            ("EXTEND_TIMEOUT_USEC=1", true, false),
            ("MAINPID=4711", true, false),
        ];
        for (word, member, gone) in table {
            let told = || parse(word.as_bytes()).unwrap();
            for (standing, is_believed) in
                [(Standing::Member, member), (Standing::Gone, gone), (Standing::Stranger, false)]
            {
                let expected = if is_believed { told() } else { Told::default() };
                assert_eq!(told().believed(standing), (expected, !is_believed), "{word} of {standing:?}");
            }
        }
        let mixed = parse(b"READY=1\nMAINPID=4711\nSTATUS=up\nWATCHDOG=trigger").unwrap();
        let (believed, left_out) = mixed.believed(Standing::Gone);
        let notices = vec![Notice::Ready, Notice::Status("up".to_owned())];
        assert_eq!((believed, left_out), (Told { notices, main: None }, true));
        assert_eq!(Told::default().believed(Standing::Stranger), (Told::default(), false), "nothing was said");
    }

    #[test]
    fn what_means_nothing_here_or_makes_no_sense_says_nothing() {
        let nothing = [
            "",
            "\n\n",
            "READY",
            "READY=0",
            "READY=11",
            " READY=1",
            "ready=1",
            "RELOADING=1\nMONOTONIC_USEC=12",
            "BARRIER=1",
            "FDSTORE=1\nFDNAME=x",
            "ERRNO=2",
            "BUSERROR=a.b.C",
            "STATUS=",
            "STATUS= \t",
            "WATCHDOG=2",
            "WATCHDOG_USEC=5",
            "EXTEND_TIMEOUT_USEC=-1",
            "EXTEND_TIMEOUT_USEC=0",
            "EXTEND_TIMEOUT_USEC=99999999999999999999999",
            "MAINPID=0",
            "MAINPID=1",
            "MAINPID=-4",
            "MAINPID=+4",
            "MAINPID=4294967296",
        ];
        for text in nothing {
            assert_eq!(parse(text.as_bytes()), Some(Told::default()), "{text:?}");
        }
        assert_eq!(notices("READY=0\nREADY=1"), [], "the first counts");
    }

    #[test]
    fn a_datagram_that_is_too_long_or_holds_a_nul_says_nothing() {
        let long = |length: usize| [b"READY=1\nX=".as_slice(), &vec![b'x'; length - 10]].concat();
        assert_eq!(parse(&long(MAX_DATAGRAM)).unwrap().notices, [Notice::Ready]);
        assert_eq!(parse(&long(MAX_DATAGRAM + 1)), None);
        assert_eq!(parse(b"READY=1\0STATUS=x"), None);
        assert_eq!(parse(b"READY=1\0\0"), None);
    }

    #[test]
    fn a_status_is_one_short_harmless_line() {
        assert_eq!(notices("STATUS=\x1b[31mred\u{7}"), [Notice::Status("\u{fffd}[31mred\u{fffd}".to_owned())]);
        let Some(Notice::Status(long)) = notices(&format!("STATUS={}", "ä".repeat(1000))).pop() else { panic!() };
        assert_eq!(long.chars().count(), MAX_STATUS + 1);
        let told = parse(b"STATUS=\xff\xfe ok").unwrap();
        assert_eq!(told.notices, [Notice::Status("\u{fffd}\u{fffd} ok".to_owned())]);
    }
}
