//! Where an item stands in the reference model, and how it ends.

use exeunt::model::{ProcId, Token, WorkerId};
use std::collections::{BTreeSet, VecDeque};

/// What becomes of the oldest item of an incarnation that is over; the others go back uncounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Nothing,
    Attempt,
    Crash,
}

/// Why an item must be given up now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    Failed,
    Attempts,
    Crashes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting, delayed, or not accepted yet.
    Waiting,
    Leased(ProcId, Token),
    /// To be buried before anything else.
    Doomed(Doom),
    /// `ok` with a result that is to be written.
    Answered(WorkerId, Token),
    /// Its result cannot be written any more, or its holder cannot be killed: nobody gets it any more.
    Stuck,
}

/// How an item ends; the number is its place among the counts.
#[derive(Clone, Copy)]
pub enum End {
    Done = 0,
    Dead = 1,
    HandedBack = 2,
}

/// Which items an incarnation has, the oldest first, and had.
#[derive(Default)]
pub struct Hands {
    pub held: VecDeque<Token>,
    pub had: BTreeSet<Token>,
}
