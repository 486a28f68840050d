//! What workers say on their reply pipes, and that all of it is heard.

use super::pipes::{DRAIN, Hearing, ReplyPipe, Standing};
use super::table::{Life, What};
use super::turn::Shell;
use crate::machine::Event;
use crate::model::{ProcId, Reply};
use crate::sys::reap::Reaped;
use crate::wire::worker::Garbled;

impl Shell {
    /// Reads reply pipes within the budget, those of the dead within a larger one.
    pub(super) fn hear_words(&mut self, dead: &[(Option<ProcId>, Reaped)]) {
        let due = self.words_due.take();
        for &id in &due {
            if let Some(What::Worker(worker)) = self.table.get(id).map(|proc| proc.what) {
                let more = self.sinks.choked(worker) || self.hear(id, Hearing::Some) == Standing::More;
                if more {
                    self.words_due.insert(id);
                }
            }
        }
        self.words_due.keep(due);
        for id in dead.iter().filter_map(|&(id, _)| id) {
            if self.hear(id, Hearing::All) == Standing::More {
                self.words_due.insert(id);
            }
        }
    }

    /// Reads one reply pipe and takes down what it says.
    pub(super) fn hear(&mut self, id: ProcId, hearing: Hearing) -> Standing {
        self.hear_by(id, |replies, scratch, tell| match hearing {
            Hearing::Some => replies.hear(scratch, tell),
            Hearing::All => replies.hear_many(scratch, DRAIN, tell).map(|(_, standing)| standing),
        })
    }

    /// Whether all is heard that the dead leader of this session wrote (`empty`: that anybody of it wrote) on its reply pipe.
    /// Each call reads within a turn's budget: where the answer is no, ask again in the next turn. What is in the pipe may be
    /// more than any budget (`F_SETPIPE_SZ`).
    pub(super) fn heard_all(&mut self, id: ProcId, empty: bool) -> bool {
        self.hear_by(id, |replies, scratch, tell| replies.hear_last(empty, scratch, tell)) != Standing::More
    }

    fn hear_by(
        &mut self,
        id: ProcId,
        read: impl FnOnce(&mut ReplyPipe, &mut [u8], &mut dyn FnMut(Reply)) -> Result<Standing, Garbled>,
    ) -> Standing {
        let Some(proc) = self.table.get_mut(id) else { return Standing::Ended };
        let Some(replies) = &mut proc.replies else { return Standing::Ended };
        let (facts, items) = (&mut self.facts, &mut proc.items);
        let mut tell = |reply| {
            if let (Reply::Settle { token, .. }, Some(items)) = (&reply, items.as_mut()) {
                items.frames.settle(*token);
            }
            facts.push(Event::Replied { proc: id, reply });
        };
        let heard = read(replies, &mut self.scratch, &mut tell);
        let closed = heard == Ok(Standing::Ended);
        let standing = heard.unwrap_or_else(|garbled| {
            facts.push(Event::Garbled { proc: id, seen: garbled.0 });
            Standing::Ended
        });
        if standing == Standing::Ended {
            proc.replies = None;
            if let (true, Life::Running) = (closed, &proc.life) {
                facts.push(Event::RepliesClosed { proc: id });
            }
        }
        standing
    }
}
