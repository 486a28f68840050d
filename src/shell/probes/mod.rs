//! The questions that are under way: whether a worker is ready, whether it is well.
//!
//! A connection is made by the loop itself and never waited for. Everything else is asked by a process of its own, in a session of its own, which
//! is killed with all its members when it has answered, when its time is over or when nobody wants to know any more. An incarnation is not
//! told to be gone before its probes are (L3).

mod book;
pub mod http;
mod launch;

pub use book::Probes;

use super::start_error::probe_error;
use super::table::Topic;
use super::turn::Shell;
use crate::machine::{Event, Question};
use crate::model::plan::{Probe, Ready, Role};
use crate::model::{InstanceId, ProcId, Refusal, Seen, Signal, SpawnError};
use crate::sys::reap::Reaped;
use crate::sys::spawn::{Birth, birth_and_file};
use crate::sys::{Pid, fds, members, permit};
use crate::wire::probe;
use book::{Asker, Connection, Means};
use log::{debug, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

/// So many processes that asked for one incarnation may be on their way out before another is started.
const MOST_ENDED: usize = 3;

/// Where the numbers are the same on every Linux: of an error that is none of the kernel's, and of a port without a listener.
const EIO: i32 = 5;
const ECONNREFUSED: i32 = 111;

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knock {
    Pending,
    Open,
    /// With this errno.
    Failed(i32),
}

impl Shell {
    /// Puts the question. What cannot be asked is answered by no.
    pub(super) fn ask(&mut self, id: ProcId, question: Question, timeout: Duration) {
        self.unask(id);
        let Some(instance) = self.table.get(id).map(|proc| proc.instance) else { return };
        let means = match self.probe_of(instance, question) {
            // Those that KILL does not end must not become ever more.
            Some(_) if self.probes.ended(id) >= MOST_ENDED => Err(Refusal::NotAsked),
            Some(Probe::Tcp(address)) => connect(self.poll.registry(), id, address.first(), address.second())
                .map(Means::Connection)
                .map_err(|error| Refusal::Failed(errno_of(&error))),
            Some(Probe::Command(command)) => {
                self.started(instance, question, self.launcher.asker(&self.plan, instance, &command))
            }
            Some(Probe::Http(url)) => {
                self.started(instance, question, self.launcher.http_asker(&self.plan, instance, &url, timeout))
            }
            None => Err(Refusal::NotAsked),
        };
        match means {
            Ok(means) => self.probes.ask(id, question, self.now, timeout, means),
            Err(refusal) => self.facts.push(Event::Answered { proc: id, question, answer: Err(refusal) }),
        }
    }

    /// Ends the question that is under way for this incarnation, if there is one. It is not answered.
    pub(super) fn unask(&mut self, id: ProcId) {
        if let Some(pid) = self.probes.end(id, self.now, false) {
            self.kill_asker(pid);
        }
    }

    /// Tells the answers that have come, then those that are overdue.
    pub(super) fn hear_answers(&mut self) {
        for id in self.answers_due.take() {
            let Some((question, connection)) = self.probes.connection(id) else { continue };
            let answer = match (knock(&connection.stream), connection.next) {
                (Knock::Pending, _) => continue,
                (Knock::Failed(_), Some(next)) => match connect(self.poll.registry(), id, next, None) {
                    Ok(second) => {
                        *connection = second;
                        continue;
                    }
                    Err(error) => Err(Refusal::Failed(errno_of(&error))),
                },
                (Knock::Failed(errno), None) => Err(Refusal::Failed(errno)),
                (Knock::Open, _) => Ok(()),
            };
            self.probes.end(id, self.now, false);
            self.facts.push(Event::Answered { proc: id, question, answer });
        }
        if self.probes.deadline().is_some_and(|deadline| deadline <= self.now) {
            // Who is no child of ours dies without a word to us.
            self.look_for_askers();
        }
        for (id, question, timeout) in self.probes.overdue(self.now) {
            debug!("{id} did not answer its probe in time");
            self.unask(id);
            self.facts.push(Event::Answered { proc: id, question, answer: Err(Refusal::TimedOut(timeout)) });
        }
        for id in self.probes.give_up(self.now) {
            let name = self.table.get(id).map(|proc| self.plan.instance_name(proc.instance));
            warn!("the probe of {} cannot be killed", name.as_deref().unwrap_or("a worker that is gone"));
            self.look_due = true;
            if self.table.get(id).is_none() {
                self.probes.forget(id);
            }
        }
    }

    /// Takes the death of a process that asked. False if it is none.
    pub(super) fn asker_died(&mut self, dead: &Reaped) -> bool {
        let Some(id) = self.probes.died(dead.pid) else { return false };
        self.look_due = true;
        if let Some((question, asker)) = self.probes.asker(id).filter(|(_, asker)| asker.pid == dead.pid) {
            let error = match birth_and_file(asker.report.as_fd()) {
                (Birth::Failed(error), seen) => Some((error, seen)),
                (Birth::Executed | Birth::Pending, _) => None,
            };
            let answer = match (&error, dead.status.shell_code()) {
                (&Some((error, _)), _) => Err(Refusal::NotStarted(error)),
                (None, 0) => Ok(()),
                (None, _) => Err(asker.told().unwrap_or(Refusal::Exited(dead.status))),
            };
            self.facts.push(Event::Answered { proc: id, question, answer });
            if let (Some((error, seen)), Some(instance)) = (error, self.table.get(id).map(|proc| proc.instance)) {
                self.warn_of_asker(instance, question, error, &seen);
            }
            // It may have left somebody behind.
            self.probes.end(id, self.now, true);
        }
        true
    }

    /// Finds out which sessions of those that have asked are empty; kills who is still there.
    pub(super) fn look_for_askers(&mut self) {
        if !self.probes.some_are_left() {
            return;
        }
        let sessions = self.probes.orphaned();
        let living = members::living(&sessions, &|pid| self.is_known(pid));
        let _told = members::signal_members(&living, Signal::KILL);
        self.probes.keep(self.now, |session| living.iter().any(|member| member.session == session));
    }

    fn probe_of(&self, instance: InstanceId, question: Question) -> Option<Probe> {
        let Role::Worker { worker, .. } = self.plan.role(instance) else { return None };
        let worker = self.plan.worker(worker);
        match (question, &worker.ready) {
            (Question::Ready, Some(Ready::Probe(probe))) => Some(probe.clone()),
            (Question::Ready, Some(Ready::Fd(_) | Ready::Notify | Ready::Delay(_)) | None) => None,
            (Question::Health, _) => worker.health.as_ref().map(|health| health.probe.clone()),
        }
    }

    fn started(
        &mut self,
        instance: InstanceId,
        question: Question,
        asker: Result<Asker, SpawnError>,
    ) -> Result<Means, Refusal> {
        match asker {
            Ok(asker) => {
                self.bury_namesake(asker.pid);
                Ok(Means::Process(asker))
            }
            Err(error) => {
                self.warn_of_asker(instance, question, error, &Seen::Nothing);
                Err(Refusal::NotStarted(error))
            }
        }
    }

    /// With all that is in its session by now; who is born meanwhile is found when it is dead.
    fn kill_asker(&mut self, pid: Pid) {
        let living = members::living(&[pid], &|_| false);
        let _told = members::signal_members(&living, Signal::KILL);
        // It may not have made its session yet.
        let _told = members::signal_child(pid, self.probes.pidfd(pid), Signal::KILL);
        self.probes.clear(pid);
    }

    /// Said once for each worker: it is asked again and again.
    fn warn_of_asker(&mut self, instance: InstanceId, question: Question, error: SpawnError, seen: &Seen) {
        let (Role::Worker { worker, .. }, Some(probe)) = (self.plan.role(instance), self.probe_of(instance, question))
        else {
            return;
        };
        if self.probes.is_first_failure(worker) {
            let words = probe_error(&self.plan, instance, &probe, error, seen);
            warn!("the probe of {} cannot be started: {words}", self.plan.instance_name(instance));
        }
    }
}

impl Asker {
    /// What our own program found out, if it is the one that asked.
    fn told(&self) -> Option<Refusal> {
        let mut line = [0; probe::MAX_LINE];
        let length = fds::read(self.answer.as_ref()?.as_fd(), &mut line).ok()?;
        probe::decode(line.get(..length)?)?.err()
    }
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}

/// Never waits: what becomes of it is told by `poll`. A refusal that is known at once leads to the next address, if there is one.
fn connect(registry: &Registry, id: ProcId, first: SocketAddr, next: Option<SocketAddr>) -> io::Result<Connection> {
    match (connect_to(registry, id, first), next) {
        (Ok(stream), next) => Ok(Connection { stream, next }),
        (Err(_), Some(next)) => connect(registry, id, next, None),
        (Err(error), None) => Err(error),
    }
}

fn connect_to(registry: &Registry, id: ProcId, address: SocketAddr) -> io::Result<TcpStream> {
    permit()?;
    let mut stream = TcpStream::connect(address)?;
    permit()?;
    registry.register(&mut stream, Topic::Answer(id).token(), Interest::WRITABLE)?;
    Ok(stream)
}

fn knock(stream: &TcpStream) -> Knock {
    match (stream.take_error(), stream.peer_addr()) {
        (Ok(Some(error)) | Err(error), _) => Knock::Failed(errno_of(&error)),
        // Without anybody at a port of the kernel's own choice, a connection to it may meet itself.
        (Ok(None), Ok(peer)) if stream.local_addr().is_ok_and(|own| own != peer) => Knock::Open,
        (Ok(None), Ok(_)) => Knock::Failed(ECONNREFUSED),
        (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => Knock::Pending,
        (Ok(None), Err(error)) => Knock::Failed(errno_of(&error)),
    }
}
