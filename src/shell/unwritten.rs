//! Data handed to a writer thread of which nothing is known yet.
//!
//! A disk can hang for ever, and the thread that writes to it with it. The loop therefore keeps a second handle on what it
//! hands over, so that it can take back at the deadline what was not written, and put it elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const PENDING: u8 = 0;
const DONE: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// One piece of data, shared by the loop and the writer thread.
#[derive(Debug)]
pub struct Entry<T> {
    pub value: T,
    state: AtomicU8,
}

impl<T> Entry<T> {
    /// Whether the loop has taken it back. The writer thread asks before it writes.
    pub fn is_taken_back(&self) -> bool {
        self.state.load(Ordering::Acquire) == TAKEN_BACK
    }

    /// Says that the writer thread has dealt with it, well or badly. Answers false when the loop took it back before: then
    /// the loop deals with it, and the thread must not report it as well.
    pub fn finish(&self) -> bool {
        self.change(DONE)
    }

    fn change(&self, to: u8) -> bool {
        self.state.compare_exchange(PENDING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The loop's handles, in the order in which the data was handed over.
#[derive(Debug)]
pub struct Unwritten<T>(VecDeque<Arc<Entry<T>>>);

impl<T> Default for Unwritten<T> {
    fn default() -> Unwritten<T> {
        Unwritten(VecDeque::new())
    }
}

impl<T> Unwritten<T> {
    /// Remembers `value`. The answer is for the writer thread.
    pub fn hand_over(&mut self, value: T) -> Arc<Entry<T>> {
        self.forget_finished();
        let entry = Arc::new(Entry { value, state: AtomicU8::new(PENDING) });
        self.0.push_back(entry.clone());
        entry
    }

    /// Everything that the writer thread has not dealt with, in order. It will not write what it has not begun. What it
    /// is just writing may reach its place later all the same.
    pub fn take_back(&mut self) -> Vec<Arc<Entry<T>>> {
        self.0.drain(..).filter(|entry| entry.change(TAKEN_BACK)).collect()
    }

    fn forget_finished(&mut self) {
        while self.0.front().is_some_and(|entry| entry.state.load(Ordering::Acquire) != PENDING) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_dealt_with_is_taken_back_and_by_one_side() {
        let mut unwritten = Unwritten::default();
        let entries: Vec<_> = (0..4).map(|value| unwritten.hand_over(value)).collect();
        assert!(entries[0].finish() && entries[2].finish());
        let values = |entries: Vec<Arc<Entry<u32>>>| entries.iter().map(|entry| entry.value).collect::<Vec<_>>();
        assert_eq!(values(unwritten.take_back()), [1, 3]);
        assert!(entries[1].is_taken_back() && !entries[0].is_taken_back());
        assert!(!entries[3].finish(), "the loop has it");
        assert_eq!(values(unwritten.take_back()), [0; 0]);
    }
}
