//! The writer of results: late, in batches, and sometimes its reader has gone.

use crate::fake::{Fake, Happening};
use crate::generate::Mood;
use exeunt::machine::Event;
use exeunt::model::WorkerId;

#[derive(Default)]
pub struct FakeWriter {
    pub waiting: u32,
    pub closed: bool,
}

impl Fake {
    pub fn write_result(&mut self, worker: WorkerId) {
        let longest = self.dice.pick(&[0, 0, 0, 0, 800, 800, 800, 6000]);
        let delay = self.dice.millis(0, longest);
        self.writers[worker.index()].waiting += 1;
        self.after(delay, Happening::Writes(worker));
    }

    /// One may be on its way already.
    pub fn cancel_results(&mut self, worker: WorkerId) {
        let writer = &mut self.writers[worker.index()];
        writer.waiting = writer.waiting.min(1);
    }

    pub fn writes(&mut self, worker: WorkerId) {
        let breaks = match self.mood {
            Mood::Calm | Mood::Stopped => false,
            Mood::Mixed => self.dice.below(500) == 0,
            Mood::Wild | Mood::Healing | Mood::Recovering => self.dice.below(100) == 0,
        };
        let writer = &mut self.writers[worker.index()];
        let count = std::mem::take(&mut writer.waiting);
        if writer.closed || count == 0 {
            return;
        }
        if breaks {
            writer.closed = true;
            self.facts.others.push(Event::ResultsClosed { worker, errno: 32 });
        } else {
            self.facts.others.push(Event::ResultsWritten { worker, count });
        }
    }
}
