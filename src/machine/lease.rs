//! The items in the hands of one incarnation, in the order they were given.
//!
//! Only the oldest unanswered item's clock runs, and a crash is blamed on it alone. A token that this incarnation had and
//! settled is remembered for a while, so that a late second verdict is told from nonsense.

use super::queue::Item;
use crate::model::{Token, Window};
use std::collections::VecDeque;

/// How many settled tokens are remembered beyond the window. A verdict for an older one is taken as late when its number
/// may have been ours.
pub(super) const MEMORY: usize = 256;

#[derive(Debug)]
pub(super) struct Leases {
    held: Window<Lease>,
    past: VecDeque<Token>,
    forgetful: bool,
    highest_seq: u64,
    /// Frames granted, and frames written to their end.
    granted: u64,
    written: u64,
}

#[derive(Debug)]
struct Lease {
    item: Item,
    /// Its place among all frames of this incarnation, from 0.
    ordinal: u64,
}

/// What a token in a reply turns out to be.
#[derive(Debug)]
pub(super) enum Claim {
    /// `oldest`: it was the one whose clock runs.
    Held { item: Item, oldest: bool },
    /// Answered before: a harmless race.
    Settled,
    /// This incarnation never had it.
    Never,
}

impl Leases {
    pub fn new() -> Leases {
        Leases {
            held: Window::default(),
            past: VecDeque::new(),
            forgetful: false,
            highest_seq: 0,
            granted: 0,
            written: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Settled tokens that are known one by one.
    pub fn remembered(&self) -> usize {
        self.past.len()
    }

    /// Frames granted to this incarnation in its whole life.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    pub fn grant(&mut self, mut item: Item) -> Token {
        item.deliveries = item.deliveries.saturating_add(1);
        let token = Token { seq: item.seq, delivery: item.deliveries };
        self.highest_seq = self.highest_seq.max(item.seq);
        self.held.push(token, Lease { item, ordinal: self.granted });
        self.granted += 1;
        token
    }

    /// So many more frames are written to their end.
    pub fn wrote(&mut self, frames: u32) {
        self.written = self.written.saturating_add(u64::from(frames)).min(self.granted);
    }

    /// The item whose clock runs.
    pub fn oldest(&self) -> Option<Token> {
        self.held.oldest().map(|(token, _)| token)
    }

    /// The item whose clock runs, with its token.
    pub fn oldest_item(&self) -> Option<(Token, &Item)> {
        self.held.oldest().map(|(token, lease)| (token, &lease.item))
    }

    pub fn oldest_is_written(&self) -> bool {
        self.held.oldest().is_some_and(|(_, lease)| lease.ordinal < self.written)
    }

    /// Takes the item that a verdict names.
    pub fn claim(&mut self, token: Token) -> Claim {
        match self.held.take(token) {
            Some((oldest, lease)) => {
                self.remember(token);
                Claim::Held { item: lease.item, oldest }
            }
            None if self.had(token) => Claim::Settled,
            None => Claim::Never,
        }
    }

    /// Whether a `touch` names the item whose clock runs, one that waits behind it, a settled one, or none.
    pub fn touch(&mut self, token: Token) -> Touch {
        match self.held.find(token) {
            Some(true) => Touch::Oldest,
            Some(false) => Touch::Waiting,
            None if self.had(token) => Touch::Settled,
            None => Touch::Never,
        }
    }

    /// All that is unanswered, oldest first.
    pub fn drain(&mut self) -> VecDeque<Item> {
        self.held.drain().map(|lease| lease.item).collect()
    }

    fn remember(&mut self, token: Token) {
        if self.past.len() >= MEMORY {
            self.past.pop_front();
            self.forgetful = true;
        }
        self.past.push_back(token);
    }

    fn had(&self, token: Token) -> bool {
        self.past.contains(&token) || (self.forgetful && token.seq <= self.highest_seq)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Oldest,
    Waiting,
    Settled,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    fn item(seq: u64) -> Item {
        Item { seq, payload: Payload::from(&b""[..]), deliveries: 0, attempts: 0, crashes: 0, last_status: None }
    }

    #[test]
    fn a_token_is_held_then_settled_and_a_stranger_never() {
        let mut leases = Leases::new();
        let token = leases.grant(item(7));
        assert!(matches!(leases.claim(Token { delivery: 2, ..token }), Claim::Never));
        assert!(matches!(leases.claim(token), Claim::Held { oldest: true, .. }));
        assert!(matches!(leases.claim(token), Claim::Settled));
        assert_eq!(leases.touch(token), Touch::Settled);
    }

    #[test]
    fn an_old_token_beyond_memory_is_late_and_a_future_one_is_nonsense() {
        let mut leases = Leases::new();
        for seq in 1..=(MEMORY as u64 + 2) {
            let token = leases.grant(item(seq));
            leases.claim(token);
        }
        assert!(matches!(leases.claim(Token { seq: 1, delivery: 1 }), Claim::Settled));
        assert!(matches!(leases.claim(Token { seq: MEMORY as u64 + 3, delivery: 1 }), Claim::Never));
    }

    #[test]
    fn the_oldest_is_written_when_its_own_frame_is() {
        let mut leases = Leases::new();
        let first = leases.grant(item(1));
        leases.grant(item(2));
        assert!(!leases.oldest_is_written());
        leases.wrote(1);
        assert!(leases.oldest_is_written());
        leases.claim(first);
        assert!(!leases.oldest_is_written());
        leases.wrote(1);
        assert!(leases.oldest_is_written());
    }
}
