//! What the process that asks by HTTP tells exeunt on its standard output: one short line.

use crate::model::probe::{ProbeAnswer, Refusal};
use std::time::Duration;

/// The longest line, with its line feed.
pub const MAX_LINE: usize = 64;

/// The answer as a line. What only exeunt itself can find out (`Exited`, `NotStarted`, `NotAsked`) has none.
pub fn encode(answer: &ProbeAnswer) -> Option<String> {
    Some(match answer {
        Ok(()) => "yes\n".to_owned(),
        Err(Refusal::Status(status)) => format!("status {status}\n"),
        Err(Refusal::Failed(errno)) => format!("errno {errno}\n"),
        Err(Refusal::TimedOut(after)) => format!("timeout {}\n", after.as_millis()),
        Err(Refusal::Closed) => "closed\n".to_owned(),
        Err(Refusal::Nonsense) => "nonsense\n".to_owned(),
        Err(Refusal::Exited(_) | Refusal::NotStarted(_) | Refusal::NotAsked) => return None,
    })
}

/// Reads a whole line; `None` for anything else.
pub fn decode(line: &[u8]) -> Option<ProbeAnswer> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (word, number) = line.split_once(' ').unwrap_or((line, ""));
    Some(match (word, number) {
        ("yes", "") => Ok(()),
        ("status", status) => Err(Refusal::Status(status.parse().ok()?)),
        ("errno", errno) => Err(Refusal::Failed(errno.parse().ok()?)),
        ("timeout", millis) => Err(Refusal::TimedOut(Duration::from_millis(millis.parse().ok()?))),
        ("closed", "") => Err(Refusal::Closed),
        ("nonsense", "") => Err(Refusal::Nonsense),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExitStatus;

    #[test]
    fn every_answer_reads_back() {
        let answers = [
            Ok(()),
            Err(Refusal::Status(503)),
            Err(Refusal::Failed(111)),
            Err(Refusal::TimedOut(Duration::from_millis(u64::MAX))),
            Err(Refusal::Closed),
            Err(Refusal::Nonsense),
        ];
        for answer in answers {
            let line = encode(&answer).unwrap();
            assert!(line.len() <= MAX_LINE, "{line:?}");
            assert_eq!(decode(line.as_bytes()), Some(answer));
        }
        assert_eq!(encode(&Err(Refusal::Exited(ExitStatus::Exited(1)))), None);
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for line in ["", "yes", "yes 1\n", "status\n", "status -1\n", "closed now\n", "errno x\n", "\u{e9}\n"] {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
        assert_eq!(decode(b"\xff\n"), None);
    }
}
