//! What services say of themselves, and how they answer when they are asked.

use crate::fake::{Fake, Happening, Leader, Session, Told};
use exeunt::machine::{Event, Question};
use exeunt::model::{Notice, ProcId, Refusal};
use std::time::Duration;

impl Fake {
    /// Its exec succeeded: what it will say of itself, and when.
    pub fn begins_to_speak(&mut self, proc: ProcId) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&proc) else { return };
        session.since = Some(now);
        let voice = session.manner.voice.clone();
        let mut says = |after, notice| self.after(after, Happening::Says(proc, notice));
        if voice.talkative {
            says(Duration::ZERO, Notice::Status("up".into()));
        }
        if let Some(ready) = voice.ready {
            says(ready, Notice::Ready);
        }
        if let (Some(ready), true) = (voice.ready, voice.twice) {
            says(ready + Duration::from_millis(300), Notice::Ready);
        }
        if let Some((after, time)) = voice.delays {
            says(after, Notice::Extend(time));
        }
        if let Some(after) = voice.triggers {
            says(after, Notice::Trigger);
        }
        if let Some(pause) = voice.pings {
            self.after(pause, Happening::Pings(proc));
        }
    }

    /// It acts on the wish that it leave.
    pub fn says_farewell(&mut self, proc: ProcId) {
        let Some(session) = self.sessions.get(&proc) else { return };
        let voice = session.manner.voice.clone();
        if voice.talkative {
            self.says(proc, Notice::Stopping);
        }
        if let Some(time) = voice.lingers {
            self.says(proc, Notice::Extend(time));
        }
    }

    /// The leader speaks, or when it cannot somebody of its session.
    pub fn says(&mut self, proc: ProcId, notice: Notice) {
        let Some(session) = self.sessions.get(&proc) else { return };
        let heirs = session.told != Told::Over && session.members.iter().any(|member| member.alive);
        if session.runs() || heirs {
            self.facts.words.push(Event::Notified { proc, notice });
        } else if session.leader == Leader::Alive && session.stopped && notice == Notice::Ready {
            self.after(Duration::from_millis(500), Happening::Says(proc, notice));
        }
    }

    pub fn pings(&mut self, proc: ProcId) {
        let now = self.now;
        let Some(session) = self.sessions.get(&proc).filter(|session| session.leader == Leader::Alive) else { return };
        let voice = &session.manner.voice;
        let (Some(pause), Some(since)) = (voice.pings, session.since) else { return };
        let silent = voice.silent_after.filter(|&silence| since + silence < now);
        if silent.is_some_and(|silence| since + silence + voice.flooded < now) {
            return;
        }
        self.says(proc, if silent.is_some() { Notice::Unheard } else { Notice::Watchdog });
        self.after(pause, Happening::Pings(proc));
    }

    /// The shell puts the probe, and tells a no when nothing was heard in its time.
    pub fn ask(&mut self, proc: ProcId, question: Question, timeout: Duration) {
        let fluke = self.dice.below(100);
        let pause = self.dice.below(100);
        let now = self.now;
        let Some(session) = self.sessions.get(&proc) else { return };
        let voice = &session.manner.voice;
        let good = match (question, session.since) {
            (_, None) => false,
            (Question::Ready, Some(since)) => voice.ready.is_some_and(|ready| since + ready <= now),
            (Question::Health, Some(since)) => {
                fluke >= voice.flukes && voice.ill_after.is_none_or(|illness| now < since + illness)
            }
        };
        let pause = voice.slow * u32::try_from(pause).unwrap() / 100;
        let yes = good && session.runs() && pause < timeout;
        self.after(pause.min(timeout), Happening::Answers(proc, question, yes));
    }

    /// Nobody waits for the answer any more.
    pub fn unask(&mut self, proc: ProcId) {
        if let Some(session) = self.sessions.get_mut(&proc) {
            session.unasked = true;
        }
    }

    /// The answer comes, unless it was called off or the incarnation is gone; now and then it was on its way already.
    pub fn answers_probe(&mut self, proc: ProcId, question: Question, yes: bool) {
        let known = self.sessions.get(&proc).is_some_and(|session| session.told != Told::Over && !session.unasked);
        if known || (self.mood.faulty() && self.dice.percent(20)) {
            // Each another, so that the last can be told from those before.
            let status = 400 + u16::try_from(self.dice.below(200)).unwrap();
            let answer = if yes { Ok(()) } else { Err(Refusal::Status(status)) };
            self.facts.words.push(Event::Answered { proc, question, answer });
        }
    }
}

impl Session {
    /// The leader can do something.
    fn runs(&self) -> bool {
        self.leader == Leader::Alive && !self.stopped && !self.hung
    }
}
