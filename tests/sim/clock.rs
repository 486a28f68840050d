//! How time passes: mostly it jumps to what is due next, but now and then we are called late, or early, or one of the two
//! clocks, ours and the world's, stands still while the other goes on.

use crate::laws::Broken;
use crate::world::World;
use exeunt::model::Time;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// We were stopped or starved: the world went on.
    Starved,
    /// Everybody was stopped, the clock was not.
    Frozen,
    /// The clock stood still (`CLOCK_MONOTONIC` in a suspended machine whose host goes on), the world did not.
    Suspended,
    /// Called before anything was due.
    Early,
}

impl World {
    /// Goes to the next moment. False when time is at its end, which is far from everything that is promised.
    pub fn pass_time(&mut self) -> Result<bool, Broken> {
        let Some(next) = self.next() else {
            return Err(Broken::new("L9", "nothing is due any more, and the run has not ended"));
        };
        let odd = self.fake.mood.faulty() && self.fake.dice.percent(6);
        let now = if odd { self.odd(next) } else { next };
        self.fake.now = now;
        Ok(now < Time::NEVER)
    }

    fn odd(&mut self, next: Time) -> Time {
        let before = self.fake.now;
        let kind = self.fake.dice.pick(&[Odd::Starved, Odd::Frozen, Odd::Suspended, Odd::Early]);
        let longest = self.fake.dice.pick(&[900, 5000, 40_000]);
        let span = self.fake.dice.millis(0, longest);
        let now = match kind {
            Odd::Starved => self.late(next, span),
            Odd::Frozen => {
                self.fake.shift_agenda(span, false);
                self.late(next, span)
            }
            Odd::Suspended => {
                self.fake.shift_agenda(span, true);
                self.next().unwrap_or(next)
            }
            Odd::Early => before + next.since(before) / 2,
        };
        self.trace.remark(now, format!("{kind:?}, {span:?}"));
        now
    }

    fn late(&mut self, next: Time, span: Duration) -> Time {
        self.laws.late(span);
        next + span
    }

    fn next(&self) -> Option<Time> {
        let next = [self.fake.next_happening(), self.deadline()].into_iter().flatten().min();
        next.map(|next| next.max(self.fake.now))
    }
}
