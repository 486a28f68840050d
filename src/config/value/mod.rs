//! The values of the file: how each is written, what is refused, and with which words.

mod address;
mod identity;
mod list;
mod number;
pub(super) mod stop;
mod text;
pub(super) mod word;

pub use address::{HttpText, TcpText, http_url, tcp_address};
pub use identity::{AccountText, DeathSignal, Limits, OneOrMore, Umask, UserText, Whole, show_bound};
pub use list::{Command, Environment, List};
pub use number::{Count, Ratio, Size, Timespan, show, show_size};
pub use stop::{Ladder, SignalName, ladder, wait};
pub use text::{Flag, LONGEST_STRING, PathText, ResultsText, Text};
pub use word::{Mode, Word, WorkerFraming};

use super::problem::{Place, Problem, Problems};
use super::read::{Read, Value, section};

pub type SignalList = List<SignalName, 64>;
pub type ExitCodes = List<Count<0, 255>, 256>;
pub type AccountNames = List<AccountText, 1000>;
pub type Names = List<Text, 1000>;

/// `"off"`, or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    Off,
    On(T),
}

impl<T: Read> Read for OrOff<T> {
    fn read(value: &Value<'_>, problems: &mut Problems) -> Option<Self> {
        if value.tree.as_str() == Some("off") {
            return Some(OrOff::Off);
        }
        let mut found = Problems::default();
        let on = T::read(value, &mut found).map(OrOff::On);
        for problem in found.into_sorted() {
            let other = problem.message.strip_prefix("expected ").filter(|_| problem.place == Place::Span(value.span));
            let message = other.map(|other| format!("expected \"off\" or {other}"));
            problems.push(Problem { message: message.unwrap_or(problem.message), ..problem });
        }
        on
    }
}

section! {
    /// Waits that grow: `delay`, then `factor` times as long each time, never over `max`.
    pub struct BackoffTable {
        /// The first wait. Default 1s.
        delay: Timespan<0>,
        /// How much longer each wait is than the one before. Default 2.
        factor: Ratio<1, 1000>,
        /// The longest wait. Default 10m.
        max: Timespan<0>,
        /// Each wait is multiplied by a random number from 1 - jitter to 1 + jitter. Default 0.2.
        jitter: Ratio<0, 1>,
    }
}

section! {
    /// The waits before restarts. The first restart is immediate.
    pub struct RestartDelayTable {
        /// The first wait. Default 100ms.
        delay: Timespan<0>,
        /// How much longer each wait is than the one before. Default 2.
        factor: Ratio<1, 1000>,
        /// The longest wait. Default 30s.
        max: Timespan<0>,
        /// Each wait is multiplied by a random number from 1 - jitter to 1 + jitter. Default 0.2.
        jitter: Ratio<0, 1>,
        /// An instance that ran this long starts its waits anew. Default 10s.
        reset_after: Timespan<0>,
    }
}

section! {
    /// How many failed starts within which time are allowed.
    pub struct StartLimitTable {
        /// At so many failed starts the worker is given up. Default 5.
        burst: Count<1, 1_000_000>,
        /// Default 60s.
        interval: Timespan<1>,
    }
}

section! {
    /// How a worker tells that it is ready: one of these.
    pub struct ReadyTable {
        /// It writes a line feed to this descriptor, 3 or higher; `EXEUNT_READY_FD` tells it the number.
        fd: Count<3, 9>,
        /// true: it says READY=1 to the socket that `NOTIFY_SOCKET` names, as sd_notify(3) does.
        notify: Flag,
        /// This program is run, as the worker is, again and again until it exits with 0.
        command: Command,
        /// HOST:PORT. It is ready when a connection is accepted there. HOST is an address or localhost.
        tcp: TcpText,
        /// http://HOST[:PORT]/PATH. It is ready when a GET is answered with a status from 200 to 399. HOST is an address or
        /// localhost.
        http: HttpText,
        /// It is taken for ready so long after it runs.
        delay: Timespan<0>,
    }
}

section! {
    /// A question that a worker is asked as long as it is ready: one of command, tcp and http.
    pub struct HealthTable {
        /// This program is run, as the worker is; exit 0 is a yes.
        command: Command,
        /// HOST:PORT. A connection that is accepted is a yes. HOST is an address or localhost.
        tcp: TcpText,
        /// http://HOST[:PORT]/PATH. A status from 200 to 399 in answer to a GET is a yes. HOST is an address or localhost.
        http: HttpText,
        /// From being ready to the first question, and from each answer to the next question. Default 10s.
        interval: Timespan<1>,
        /// No answer in this time is a no. Default 5s.
        timeout: Timespan<1>,
        /// At so many noes in a row it is stopped and started again. Default 3.
        failures: Count<1, 1000>,
    }
}
