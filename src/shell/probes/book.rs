//! Which questions are under way, and which of those that asked are not gone yet.

use crate::machine::Question;
use crate::model::{ProcId, Time, WorkerId};
use crate::sys::cgroup::Group;
use crate::sys::{NOBODY, Pid};
use mio::net::TcpStream;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What was killed is waited for so long; then it is left to itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whoever was killed, or could not be looked at, is looked for again after this long, then twice as long, and so on. Nothing else may
/// tell: the news that a control group is empty comes to nobody.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Later than this after a deadline we were stopped or starved, and so perhaps was who is asked.
const LATE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Probes {
    /// At most one for each incarnation.
    asked: BTreeMap<ProcId, Asked>,
    /// Processes that are to be gone: dead or killed.
    ended: Vec<Ended>,
    /// Workers whose probe could not be started, which was said.
    failing: BTreeSet<WorkerId>,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    timeout: Duration,
    until: Time,
    means: Means,
}

#[derive(Debug)]
pub enum Means {
    Connection(Connection),
    Process(Asker),
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    /// To be tried where this one is refused.
    pub next: Option<SocketAddr>,
}

/// A process that asks.
#[derive(Debug)]
pub struct Asker {
    pub pid: Pid,
    pub pidfd: Option<OwnedFd>,
    /// Tells whether exec succeeded.
    pub report: OwnedFd,
    /// Where our own program asks: what it found out, as [`wire::probe`](crate::wire::probe) has it.
    pub answer: Option<OwnedFd>,
    /// Where there are control groups: all that came of it.
    pub group: Option<Group>,
}

#[derive(Debug)]
struct Ended {
    owner: ProcId,
    /// `NOBODY` once the number was given away: only its control group may hold somebody then.
    pid: Pid,
    pidfd: Option<OwnedFd>,
    group: Option<Group>,
    /// The leader is reaped; others of its session may live.
    reaped: bool,
    /// `None`: it was waited for long enough.
    until: Option<Time>,
    /// The wait before the next look at what its leader left, and when that is. `None`: nobody looked yet.
    again: Option<(Duration, Time)>,
}

impl Probes {
    /// There must be none for this incarnation.
    pub fn ask(&mut self, id: ProcId, question: Question, now: Time, timeout: Duration, means: Means) {
        self.asked.insert(id, Asked { question, timeout, until: now + timeout, means });
    }

    /// The question is no longer put. Answers the process that is to be killed for that, if there is one; `reaped`: it is dead already.
    pub fn end(&mut self, id: ProcId, now: Time, reaped: bool) -> Option<Pid> {
        match self.asked.remove(&id)?.means {
            Means::Connection(_) => None,
            Means::Process(Asker { pid, pidfd, group, report: _, answer: _ }) => {
                self.ended.push(Ended {
                    owner: id,
                    pid,
                    pidfd,
                    group,
                    reaped,
                    until: Some(now + PATIENCE),
                    again: None,
                });
                (!reaped).then_some(pid)
            }
        }
    }

    /// A child of this number died. Answers for whom it asked, if it did.
    pub fn died(&mut self, pid: Pid) -> Option<ProcId> {
        if let Some(ended) = self.ended.iter_mut().find(|ended| ended.pid == pid && !ended.reaped) {
            ended.reaped = true;
            return Some(ended.owner);
        }
        self.asked.iter().find(|(_, asked)| asked.means.pid() == Some(pid)).map(|(&id, _)| id)
    }

    pub fn asker(&self, id: ProcId) -> Option<(Question, &Asker)> {
        let asked = self.asked.get(&id)?;
        match &asked.means {
            Means::Process(asker) => Some((asked.question, asker)),
            Means::Connection(_) => None,
        }
    }

    pub fn connection(&mut self, id: ProcId) -> Option<(Question, &mut Connection)> {
        let asked = self.asked.get_mut(&id)?;
        match &mut asked.means {
            Means::Process(_) => None,
            Means::Connection(connection) => Some((asked.question, connection)),
        }
    }

    /// An unreaped child that asks, or did.
    pub fn is_leader(&self, pid: Pid) -> bool {
        self.ended.iter().any(|ended| ended.pid == pid && !ended.reaped)
            || self.asked.values().any(|asked| asked.means.pid() == Some(pid))
    }

    pub fn pidfd(&self, pid: Pid) -> Option<BorrowedFd<'_>> {
        self.ended.iter().find(|ended| ended.pid == pid)?.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// How many that asked for this incarnation are not gone.
    pub fn ended(&self, id: ProcId) -> usize {
        self.ended.iter().filter(|ended| ended.owner == id).count()
    }

    /// How many of them are still waited for.
    pub fn held(&self, id: ProcId) -> usize {
        self.ended.iter().filter(|ended| ended.owner == id && ended.until.is_some()).count()
    }

    /// Sessions whose leaders are dead.
    pub fn orphaned(&self) -> Vec<Pid> {
        self.left().map(|ended| ended.pid).filter(|&pid| pid != NOBODY).collect()
    }

    /// Whether there is any of which the leader is dead, and the rest perhaps not.
    pub fn some_are_left(&self) -> bool {
        self.left().next().is_some()
    }

    fn left(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().filter(|ended| ended.reaped)
    }

    /// Forgets the orphaned sessions that nobody `lives` in, if their control groups are empty too. Who is left there is killed, and
    /// looked for again.
    pub fn keep(&mut self, now: Time, lives: impl Fn(Pid) -> bool) {
        self.ended.retain_mut(|ended| {
            let kept = !ended.reaped || lives(ended.pid) | ended.clear();
            if kept && ended.reaped {
                let wait = ended.again.map_or(FIRST_LOOK, |(wait, _)| wait.saturating_mul(2));
                ended.again = Some((wait, now + wait));
            }
            kept
        });
    }

    /// The kernel gave this number away again, so it is no session any more, and means somebody else. Whoever made a session of its own
    /// may be in the control group all the same.
    pub fn bury(&mut self, pid: Pid) {
        self.ended.retain_mut(|ended| {
            if !(ended.reaped && ended.pid == pid) {
                return true;
            }
            ended.pid = NOBODY;
            ended.clear()
        });
    }

    /// Kills those of its control group, if it has one. Their own sessions do not save them.
    pub fn clear(&self, pid: Pid) {
        self.ended.iter().filter(|ended| ended.pid == pid).for_each(|ended| _ = ended.clear());
    }

    /// When there is something to do, if nobody says anything before.
    pub fn deadline(&self) -> Option<Time> {
        let waited_for = self.ended.iter().filter(|ended| ended.until.is_some());
        let looks = waited_for.filter_map(|ended| ended.again).map(|(_, at)| at);
        looks.chain(self.patience()).min()
    }

    fn patience(&self) -> Option<Time> {
        let asked = self.asked.values().map(|asked| asked.until);
        asked.chain(self.ended.iter().filter_map(|ended| ended.until)).min()
    }

    /// Questions whose time is over, and how long that was. When we are late ourselves, all get their time anew and a second, as the machine has it.
    pub fn overdue(&mut self, now: Time) -> Vec<(ProcId, Question, Duration)> {
        if let Some(deadline) = self.patience().filter(|&deadline| deadline + LATE < now) {
            let late = now.since(deadline) + LATE;
            self.asked.values_mut().for_each(|asked| asked.until = asked.until + late);
            self.ended.iter_mut().filter_map(|ended| ended.until.as_mut()).for_each(|until| *until = *until + late);
        }
        let over = self.asked.iter().filter(|(_, asked)| asked.until <= now);
        over.map(|(&id, asked)| (id, asked.question, asked.timeout)).collect()
    }

    /// Stops waiting for those that KILL does not end. Answers for whom they asked.
    pub fn give_up(&mut self, now: Time) -> Vec<ProcId> {
        let over = self.ended.iter_mut().filter(|ended| ended.until.is_some_and(|until| until <= now));
        over.map(|ended| {
            ended.until = None;
            ended.owner
        })
        .collect()
    }

    /// The incarnation is gone, and with it what holds it up no longer.
    pub fn forget(&mut self, id: ProcId) {
        self.ended.retain(|ended| ended.owner != id || ended.until.is_some());
    }

    pub fn is_first_failure(&mut self, worker: WorkerId) -> bool {
        self.failing.insert(worker)
    }
}

impl Ended {
    /// Whether somebody was there, or there is no telling.
    fn clear(&self) -> bool {
        let Some(group) = &self.group else { return false };
        let lives = group.members().map_or(true, |members| !members.is_empty());
        if lives {
            // A failure shows in the next look.
            let _told = group.kill();
        }
        lives
    }
}

impl Means {
    fn pid(&self) -> Option<Pid> {
        match self {
            Means::Process(asker) => Some(asker.pid),
            Means::Connection(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fds;

    const ID: ProcId = ProcId(7);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn asking(pid: Pid) -> Probes {
        let mut probes = Probes::default();
        let means =
            Means::Process(Asker { pid, pidfd: None, report: fds::pipe().unwrap().read, answer: None, group: None });
        probes.ask(ID, Question::Ready, at(0), Duration::from_secs(5), means);
        probes
    }

    #[test]
    fn who_is_killed_is_held_until_its_session_is_empty() {
        let mut probes = asking(42);
        assert_eq!(probes.overdue(at(4)), []);
        assert_eq!(probes.overdue(at(5)), [(ID, Question::Ready, Duration::from_secs(5))]);
        assert_eq!(probes.end(ID, at(5), false), Some(42));
        assert_eq!((probes.held(ID), probes.orphaned()), (1, vec![]));
        assert!(probes.is_leader(42));
        assert_eq!(probes.died(42), Some(ID));
        assert_eq!(probes.died(42), None, "the number is somebody else's");
        assert!(!probes.is_leader(42));
        probes.keep(at(5), |session| session == 42);
        assert_eq!(probes.held(ID), 1);
        probes.keep(at(5), |_| false);
        assert_eq!((probes.held(ID), probes.deadline()), (0, None));
    }

    #[test]
    fn who_is_still_there_is_looked_for_again_though_nobody_tells() {
        let mut probes = asking(42);
        probes.end(ID, at(1), true);
        assert_eq!(probes.deadline(), Some(at(6)), "the look at once is the shell's");
        for wait in [50, 100, 200] {
            probes.keep(at(1), |_| true);
            assert_eq!(probes.deadline(), Some(at(1) + Duration::from_millis(wait)));
        }
        assert_eq!(probes.give_up(at(6)), [ID]);
        probes.keep(at(6), |_| true);
        assert_eq!(probes.deadline(), None, "not for ever");
    }

    #[test]
    fn a_number_that_was_given_away_is_no_session_to_look_for() {
        let mut probes = asking(42);
        probes.end(ID, at(1), true);
        assert!(probes.some_are_left());
        probes.bury(42);
        assert_eq!((probes.orphaned(), probes.some_are_left()), (vec![], false));
    }

    #[test]
    fn who_cannot_be_killed_is_not_waited_for_without_end_and_not_joined_by_another() {
        let mut probes = asking(42);
        probes.end(ID, at(5), false);
        assert_eq!(probes.give_up(at(9)), []);
        assert_eq!(probes.deadline(), Some(at(10)));
        assert_eq!(probes.give_up(at(10)), [ID]);
        assert_eq!(probes.give_up(at(11)), []);
        assert_eq!((probes.held(ID), probes.ended(ID), probes.deadline()), (0, 1, None));
        probes.forget(ID);
        assert_eq!(probes.ended(ID), 0);
    }

    #[test]
    fn an_answer_is_not_late_because_we_are() {
        let mut probes = asking(42);
        assert_eq!(probes.overdue(at(60)), []);
        assert_eq!(probes.deadline(), Some(at(61)));
        assert_eq!(probes.overdue(at(61)), [(ID, Question::Ready, Duration::from_secs(5))]);
    }
}
