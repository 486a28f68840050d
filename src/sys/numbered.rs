//! A variable that tells a program its own process number, which nobody knows before the fork.

use super::raw;
use std::ffi::{CStr, c_char};

/// A positive `i32` has no more digits.
const DIGITS: usize = 10;

/// `NAME=`, and room for the number and a NUL.
pub(super) struct Numbered {
    bytes: Vec<u8>,
    /// Where the number begins.
    begin: usize,
}

impl Numbered {
    pub fn new(name: &CStr) -> Numbered {
        let mut bytes = [name.to_bytes(), b"="].concat();
        let begin = bytes.len();
        bytes.resize(begin + DIGITS + 1, 0);
        Numbered { bytes, begin }
    }

    /// Stays right when it is moved, and when it is filled.
    pub fn pointer(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// In a forked child: neither allocates nor can it panic.
    pub fn fill(&mut self) {
        self.write(raw::own_pid().unsigned_abs());
    }

    fn write(&mut self, number: u32) {
        let length = number.checked_ilog10().map_or(1, |tens| tens as usize + 1);
        let mut rest = number;
        for place in self.bytes.iter_mut().skip(self.begin).take(length).rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_whole() {
        for number in [0, 1, 9, 10, 99, 4_194_304, i32::MAX.unsigned_abs()] {
            let mut variable = Numbered::new(c"WATCHDOG_PID");
            variable.write(number);
            let text = CStr::from_bytes_until_nul(&variable.bytes).unwrap();
            assert_eq!(text.to_str().unwrap(), format!("WATCHDOG_PID={number}"));
        }
    }
}
