//! For tests: lets one system call of this process fail, named by the place of the code and which call from there it is:
//! a number among all calls would be another one on every machine. Compiled with the feature `faults` only, and asleep even then
//! unless `EXEUNT_FAULT` says what to do. The forked child never fails: its errors have tests of their own.

use super::raw;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// EINTR comes with a signal. A storm of so many ends.
const STORM: u64 = 1000;

/// `FILE:LINE NTH ERRNO HOW` in `EXEUNT_FAULT`; with `EXEUNT_FAULT_TRACE` each call's place is appended to that file.
struct Orders {
    process: super::Pid,
    place: String,
    /// Of the calls from there, counted from 1.
    nth: u64,
    errno: i32,
    how: How,
    trace: Option<File>,
    /// From that place.
    calls: AtomicU64,
    struck: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// That call.
    Once,
    /// That call and all later ones from there.
    Place,
    /// That call and all later ones from anywhere.
    Ever,
}

/// To be asked before each system call: its error, if it is to fail.
#[track_caller]
pub fn strike() -> io::Result<()> {
    static ORDERS: OnceLock<Option<Orders>> = OnceLock::new();
    match ORDERS.get_or_init(Orders::from_environment) {
        Some(orders) if orders.process == raw::own_pid() => orders.judge(Location::caller()),
        Some(_) | None => Ok(()),
    }
}

impl Orders {
    fn from_environment() -> Option<Orders> {
        let text = std::env::var("EXEUNT_FAULT").ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let [place, nth, errno, how] = words.as_slice() else { return None };
        let how = match *how {
            "once" => How::Once,
            "place" => How::Place,
            "ever" => How::Ever,
            _ => return None,
        };
        let trace = std::env::var_os("EXEUNT_FAULT_TRACE");
        Some(Orders {
            process: raw::own_pid(),
            place: (*place).to_owned(),
            nth: nth.parse().ok()?,
            errno: errno.parse().ok()?,
            how,
            trace: trace.and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok()),
            calls: AtomicU64::new(0),
            struck: AtomicU64::new(0),
        })
    }

    fn judge(&self, caller: &Location) -> io::Result<()> {
        let place = format!("{}:{}", caller.file(), caller.line());
        let strikes = self.strikes(place == self.place);
        if let Some(mut trace) = self.trace.as_ref() {
            let word = if strikes { "struck" } else { "made" };
            let _for_the_test = trace.write_all(format!("{word} {place}\n").as_bytes());
        }
        if strikes { Err(io::Error::from_raw_os_error(self.errno)) } else { Ok(()) }
    }

    fn strikes(&self, here: bool) -> bool {
        let number = if here { self.calls.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        let met = match self.how {
            How::Once => number == self.nth,
            How::Place => number >= self.nth,
            How::Ever => self.calls.load(Ordering::Relaxed) >= self.nth,
        };
        met && (self.errno != libc::EINTR || self.struck.fetch_add(1, Ordering::Relaxed) < STORM)
    }
}
