//! What was given out and is not answered, in the order in which it was given.
//!
//! Answers come in that order nearly always, and then an answer costs a look at the first. A worker may hold 65,535 items and
//! answer them backwards, though: whoever searched for each would do two thousand million steps for one window. So the first
//! answer out of turn in a large window makes an index, which is kept until the window is empty.

use super::Token;
use std::collections::{BTreeMap, VecDeque};

/// In so few a search is cheaper than an index.
const SEARCHED: usize = 256;

#[derive(Debug)]
pub struct Window<T> {
    /// The first is never `None`; others are once they were taken out of their turn.
    slots: VecDeque<Option<(Token, T)>>,
    /// Those that are not `None`.
    held: usize,
    /// The number of the first slot.
    base: u64,
    /// Token to the number of its slot.
    index: Option<BTreeMap<Token, u64>>,
}

impl<T> Default for Window<T> {
    fn default() -> Window<T> {
        Window { slots: VecDeque::new(), held: 0, base: 0, index: None }
    }
}

impl<T> Window<T> {
    pub fn len(&self) -> usize {
        self.held
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// A token is held once at most.
    pub fn push(&mut self, token: Token, value: T) {
        if let Some(index) = &mut self.index {
            index.insert(token, self.base + self.slots.len() as u64);
        }
        self.slots.push_back(Some((token, value)));
        self.held += 1;
    }

    pub fn oldest(&self) -> Option<(Token, &T)> {
        self.slots.front()?.as_ref().map(|(token, value)| (*token, value))
    }

    /// Whether it is held: `Some(true)` for the oldest.
    pub fn find(&mut self, token: Token) -> Option<bool> {
        self.slot(token).map(|at| at == 0)
    }

    /// Takes it out, if it is held, and tells whether it was the oldest.
    #[inline]
    pub fn take(&mut self, token: Token) -> Option<(bool, T)> {
        if self.oldest().is_some_and(|(oldest, _)| oldest == token) {
            let (_, value) = self.slots.pop_front()??;
            self.base += 1;
            self.forget(token);
            self.close_up();
            return Some((true, value));
        }
        self.take_from_the_middle(token).map(|value| (false, value))
    }

    /// Takes out the youngest as long as they are not to be kept.
    pub fn cut(&mut self, keep: impl Fn(&T) -> bool) {
        while let Some(last) = self.slots.back() {
            match last {
                Some((_, value)) if keep(value) => return,
                Some((token, _)) => {
                    let token = *token;
                    self.forget(token);
                }
                None => {}
            }
            self.slots.pop_back();
        }
    }

    /// Takes out all, the oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(self).slots.into_iter().flatten().map(|(_, value)| value)
    }

    #[cold]
    fn take_from_the_middle(&mut self, token: Token) -> Option<T> {
        let at = self.slot(token)?;
        let (_, value) = self.slots.get_mut(at)?.take()?;
        self.forget(token);
        if self.slots.len() > 2 * self.held + SEARCHED {
            self.compact();
        }
        Some(value)
    }

    fn slot(&mut self, token: Token) -> Option<usize> {
        if self.oldest().is_some_and(|(oldest, _)| oldest == token) {
            return Some(0);
        }
        if self.index.is_none() && self.slots.len() > SEARCHED {
            self.make_index();
        }
        match &self.index {
            Some(index) => index.get(&token).and_then(|number| usize::try_from(number - self.base).ok()),
            None => self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(held, _)| *held == token)),
        }
    }

    fn make_index(&mut self) {
        let slots = (self.base..).zip(&self.slots);
        self.index =
            Some(slots.filter_map(|(number, slot)| slot.as_ref().map(|(token, _)| (*token, number))).collect());
    }

    fn forget(&mut self, token: Token) {
        self.held -= 1;
        if self.held == 0 {
            self.index = None;
        } else if let Some(index) = &mut self.index {
            index.remove(&token);
        }
    }

    /// The first slot is one that is held again.
    fn close_up(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// While the oldest is not answered all others may be, without end: their slots are not kept for ever.
    fn compact(&mut self) {
        self.slots.retain(Option::is_some);
        self.base = 0;
        if self.index.is_some() {
            self.make_index();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(seq: u64) -> Token {
        Token { seq, delivery: 1 }
    }

    fn window(tokens: std::ops::Range<u64>) -> Window<u64> {
        let mut window = Window::default();
        tokens.for_each(|seq| window.push(token(seq), seq));
        window
    }

    #[test]
    fn a_large_window_is_answered_backwards_and_in_any_order() {
        let mut window = window(0..65_535);
        for seq in (1..65_535).rev() {
            assert_eq!(window.take(token(seq)), Some((false, seq)));
            assert_eq!(window.take(token(seq)), None);
        }
        assert!(window.slots.len() <= SEARCHED + 2, "{} slots for one", window.slots.len());
        assert_eq!(window.take(token(0)), Some((true, 0)));
        assert!(window.is_empty() && window.index.is_none());
    }

    #[test]
    fn one_that_is_never_answered_keeps_no_slots_of_others() {
        let mut window = window(0..300);
        for seq in 300..100_000 {
            window.push(token(seq), seq);
            assert_eq!(window.take(token(seq - 299)), Some((false, seq - 299)));
            assert!(window.slots.len() <= 2 * 301 + SEARCHED);
        }
        assert_eq!(window.oldest(), Some((token(0), &0)));
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn it_holds_what_a_list_would(steps in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 0..2000)) {
            let (mut window, mut list, mut next) = (Window::default(), Vec::new(), 0);
            for (what, which) in steps {
                match what {
                    0..=5 => {
                        window.push(token(next), next);
                        list.push(next);
                        next += 1;
                    }
                    6..=8 if !list.is_empty() => {
                        let at = which.index(list.len());
                        let seq = list.remove(at);
                        prop_assert_eq!(window.find(token(seq)), Some(at == 0));
                        prop_assert_eq!(window.take(token(seq)), Some((at == 0, seq)));
                    }
                    _ => {
                        let end = next.saturating_sub(which.index(3) as u64);
                        list.retain(|&seq| seq < end);
                        window.cut(|&seq| seq < end);
                    }
                }
                prop_assert_eq!(window.find(token(next)), None);
                prop_assert_eq!(window.len(), list.len());
                prop_assert_eq!(window.oldest().map(|(_, &seq)| seq), list.first().copied());
            }
            prop_assert_eq!(window.drain().collect::<Vec<_>>(), list);
        }
    }
}
