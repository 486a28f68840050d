//! What a worker does with items, and the pipe they come through.

use crate::fake::{Fake, Happening, Items, Leader, Told};
use crate::manner::{self, Answer, Habits, Reaction};
use exeunt::machine::Event;
use exeunt::model::{ExitStatus, ProcId, Reply, Signal, Token, Verdict};
use std::time::Duration;

impl Items {
    /// A byte of the oldest unanswered item was read.
    pub fn in_hand(&self) -> bool {
        let unread =
            |token: &Token| self.buffer.contains(token) || self.pipe.contains(token) || self.begun == Some(*token);
        self.unsettled.first().is_some_and(|token| !unread(token))
    }
}

impl Fake {
    pub fn deliver(&mut self, proc: ProcId, token: Token) {
        if let Some(items) = self.items(proc) {
            items.unsettled.push(token);
            if !items.closing {
                items.buffer.push_back(token);
            }
        }
        let delay = if self.dice.percent(70) { Duration::ZERO } else { self.dice.millis(0, 50) };
        self.after(delay, Happening::Pump(proc));
    }

    pub fn close_items(&mut self, proc: ProcId) {
        if let Some(items) = self.items(proc) {
            items.closing = true;
            items.buffer.clear();
        }
        self.pump(proc);
    }

    /// Writes as much as the pipe takes, sometimes only the beginning of a frame.
    pub fn pump(&mut self, proc: ProcId) {
        let partly = self.dice.percent(20);
        let short = self.dice.percent(15);
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let room = session.manner.room;
        // Whoever is left of the session holds the pipe open.
        let open = session.leader != Leader::Unborn && session.anybody();
        let Some(items) = session.items.as_mut().filter(|_| open) else { return };
        let mut frames = 0;
        while items.pipe.len() < room && !(short && frames == 1) {
            let Some(token) = items.begun.take().or_else(|| items.buffer.pop_front()) else { break };
            items.pipe.push_back(token);
            frames += 1;
        }
        let more = short && items.pipe.len() < room && !items.buffer.is_empty();
        let mut progress = frames > 0;
        if partly && items.begun.is_none() {
            items.begun = items.buffer.pop_front();
            progress |= items.begun.is_some();
        }
        items.closed = items.closing && items.begun.is_none();
        if progress {
            self.facts.words.push(Event::Wrote { proc, frames, progress });
        }
        if more {
            self.after(Duration::from_millis(10), Happening::Pump(proc));
        }
        self.work(proc);
    }

    /// The worker looks at its pipes: reads if its hands are free, leaves if it is time.
    pub fn work(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader != Leader::Alive || session.stopped || session.hung || session.leaving {
            return;
        }
        let Some(items) = session.items.as_mut() else {
            if session.event_seen {
                self.leave(proc);
            }
            return;
        };
        if items.busy || items.silent {
            return;
        }
        if !items.held.is_empty() && !session.event_seen {
            return self.take_up(proc);
        }
        if session.event_seen {
            self.put_down(proc);
            return self.leave(proc);
        }
        let take = if session.manner.hungry { items.pipe.len() } else { items.pipe.len().min(1) };
        items.held.extend(items.pipe.drain(..take));
        let eof = items.held.is_empty() && items.closed;
        if take > 0 {
            self.after(Duration::ZERO, Happening::Pump(proc));
            self.take_up(proc);
        } else if eof && session.manner.on_eof != Reaction::Ignore {
            self.leave(proc);
        }
    }

    fn take_up(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        let (answer, after) = manner::answer(&mut self.dice, session.manner.habits);
        if let Some(items) = session.items.as_mut() {
            items.busy = true;
            items.next = Some(answer);
        }
        self.after(after, Happening::Answer(proc));
    }

    /// Leaving, it gives back what it had read but not begun, if it is so minded.
    fn put_down(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if !session.manner.releases {
            return;
        }
        let held = session.items.as_mut().map(|items| std::mem::take(&mut items.held)).unwrap_or_default();
        held.into_iter().for_each(|token| self.settle(proc, token, Verdict::Release));
    }

    pub fn answers(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        if session.leader != Leader::Alive || session.hung {
            return;
        }
        if session.stopped {
            // Comes back to it when it is continued, or never.
            return self.after(Duration::from_millis(500), Happening::Answer(proc));
        }
        let Some(items) = session.items.as_mut() else { return };
        items.busy = false;
        let (answer, token) = (items.next.take(), items.held.front().copied());
        if let (Some(answer), Some(token)) = (answer, token) {
            self.perform_answer(proc, token, answer);
        }
        self.work(proc);
    }

    /// The leader is dead, and a child of it that did the work says so, or something else.
    pub fn afterword(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get(&proc).filter(|session| session.told == Told::Exited) else { return };
        let token = session.items.as_ref().and_then(|items| items.unsettled.first().copied());
        if session.anybody() {
            let after = self.last_word(proc, token);
            self.after(after, Happening::Afterword(proc));
        }
    }

    /// Sometimes the last survivor said something and died before anybody looked.
    pub fn last_words(&mut self, proc: ProcId) {
        let items = self.sessions.get(&proc).and_then(|session| session.items.as_ref());
        let Some(token) = items.map(|items| items.unsettled.first().copied()) else { return };
        if self.mood.faulty() && self.dice.percent(20) {
            self.last_word(proc, token);
        }
    }

    fn last_word(&mut self, proc: ProcId, token: Option<Token>) -> Duration {
        let (answer, after) = manner::answer(&mut self.dice, Habits::Broken);
        match (answer, token) {
            (Answer::Never | Answer::Dies | Answer::OkAndDies | Answer::ClosesReplies, _) | (_, None) => {
                self.say(proc, Reply::Prefetch(1));
            }
            (answer, Some(token)) => self.perform_answer(proc, token, answer),
        }
        after
    }

    fn perform_answer(&mut self, proc: ProcId, token: Token, answer: Answer) {
        let verdict = match answer {
            Answer::Ok => Verdict::Ok(None),
            Answer::OkWithResult | Answer::OkAndDies => Verdict::Ok(Some(format!("r{token}").into_bytes().into())),
            Answer::Retry => Verdict::Retry(Some("later".into())),
            Answer::Fail => Verdict::Fail(None),
            Answer::Release => Verdict::Release,
            Answer::Twice => {
                self.settle(proc, token, Verdict::Ok(None));
                Verdict::Retry(None)
            }
            Answer::TouchFirst => return self.say(proc, Reply::Touch(token)),
            Answer::Prefetch(n) => {
                self.say(proc, Reply::Prefetch(n));
                Verdict::Ok(None)
            }
            Answer::UnknownToken => {
                let token = Token { seq: token.seq + 100_000, delivery: 1 };
                return self.settle(proc, token, Verdict::Ok(None));
            }
            Answer::Garbage => return self.garbles(proc),
            Answer::Never => return self.falls_silent(proc),
            Answer::ClosesReplies => return self.closes_replies(proc),
            Answer::Dies => return self.dies(proc, ExitStatus::Signalled { signal: Signal::KILL, core: true }),
            Answer::Reversed => return self.answers_all(proc),
        };
        self.settle(proc, token, verdict);
        if answer == Answer::OkAndDies {
            self.dies(proc, ExitStatus::Exited(1));
        }
    }

    fn settle(&mut self, proc: ProcId, token: Token, verdict: Verdict) {
        let Some(items) = self.items(proc) else { return };
        if items.garbled {
            return;
        }
        items.held.retain(|&held| held != token);
        items.unsettled.retain(|&held| held != token);
        self.say(proc, Reply::Settle { token, verdict });
    }

    fn say(&mut self, proc: ProcId, reply: Reply) {
        if self.items(proc).is_some_and(|items| !items.garbled) {
            self.facts.words.push(Event::Replied { proc, reply });
        }
    }

    /// Its first words, before it can have been given anything.
    pub fn babbles(&mut self, proc: ProcId) {
        let token = Token { seq: 100_000, delivery: 1 };
        let settle = |verdict| Reply::Settle { token, verdict };
        let words = [
            settle(Verdict::Ok(None)),
            settle(Verdict::Retry(None)),
            settle(Verdict::Fail(None)),
            settle(Verdict::Release),
            Reply::Touch(token),
            Reply::Prefetch(2),
        ];
        let which = usize::try_from(self.dice.below(2 * words.len() as u64)).unwrap();
        match words.into_iter().nth(which) {
            Some(reply) => self.say(proc, reply),
            None if which.is_multiple_of(3) => self.closes_replies(proc),
            None => self.garbles(proc),
        }
    }

    /// It goes on reading items.
    fn closes_replies(&mut self, proc: ProcId) {
        if let Some(items) = self.items(proc)
            && !std::mem::replace(&mut items.garbled, true)
        {
            self.facts.words.push(Event::RepliesClosed { proc });
        }
    }

    pub fn garbles(&mut self, proc: ProcId) {
        if let Some(items) = self.items(proc)
            && !std::mem::replace(&mut items.garbled, true)
        {
            self.facts.words.push(Event::Garbled { proc, seen: b"Traceback".to_vec() });
        }
    }

    fn falls_silent(&mut self, proc: ProcId) {
        if let Some(items) = self.items(proc) {
            items.silent = true;
        }
    }

    fn answers_all(&mut self, proc: ProcId) {
        let held: Vec<Token> = self.items(proc).map(|items| items.held.iter().copied().collect()).unwrap_or_default();
        held.into_iter().rev().for_each(|token| self.settle(proc, token, Verdict::Ok(None)));
    }

    fn items(&mut self, proc: ProcId) -> Option<&mut Items> {
        self.sessions.get_mut(&proc)?.items.as_mut()
    }
}
