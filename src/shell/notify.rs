//! Workers that tell of themselves by sd_notify(3): each incarnation has a socket of its own, and only its own processes are believed.

use super::pipes::{Hearing, Standing};
use super::turn::Shell;
use crate::machine::Event;
use crate::model::{Identity, Notice, ProcId};
use crate::sys::inbox::{Datagram, Inbox, Sender};
use crate::sys::reap::Reaped;
use crate::sys::{Pid, identity, members};
use crate::wire::notify::{self, MAX_DATAGRAM, Told};
use log::{debug, warn};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams of one socket that are read in a turn, so that who writes without end holds up nobody.
const BUDGET: usize = 64;
/// Datagrams that are read at most from a socket whose leader is dead. The kernel keeps far fewer (`net.unix.max_dgram_qlen`).
const DRAIN: usize = 4096;
/// Readings in a row that fail before it is waited for the next datagram.
const FAILURES: u32 = 8;

/// Where one incarnation tells of itself.
#[derive(Debug)]
pub struct Mailbox {
    inbox: Inbox,
    /// Whom its processes belong to.
    user: u32,
    /// The last status, which is worth no second word.
    status: Option<String>,
    /// Readings in a row that failed.
    failures: u32,
    /// Somebody else wrote here, or nonsense came, and it was said.
    warned: bool,
}

impl Mailbox {
    pub fn open(identity: &Identity) -> io::Result<Mailbox> {
        let user = identity.uid().unwrap_or_else(identity::own_user);
        Ok(Mailbox { inbox: Inbox::open()?, user, status: None, failures: 0, warned: false })
    }

    pub fn address(&self) -> String {
        self.inbox.address()
    }

    /// Whether the sender is the leader of this session or another member of it. Who is gone already can be asked no more (`systemd-notify`
    /// waits until it is heard, others do not): it is believed if it was of the worker's own user, or root, who could do worse.
    fn believes(&self, sender: Sender, leader: Pid) -> bool {
        match sender.pid {
            // It is in another namespace, and so is none of ours.
            ..=0 => false,
            pid if pid == leader => true,
            pid => members::is_in_session(pid, leader).unwrap_or(sender.uid == self.user || sender.uid == 0),
        }
    }

    /// Says what is wrong, once.
    fn warn(&mut self, name: &str, what: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            warn!("{name}: {what}");
        }
    }

    /// A status that says something new.
    fn is_news(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Status(status) if self.status.as_ref() == Some(status) => false,
            Notice::Status(status) => {
                self.status = Some(status.clone());
                true
            }
            Notice::Ready | Notice::Stopping | Notice::Watchdog | Notice::Trigger | Notice::Extend(_) => true,
        }
    }
}

impl AsRawFd for Mailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.inbox.as_raw_fd()
    }
}

impl Shell {
    /// Reads notifications within the budget, those of the dead to the end.
    pub(super) fn hear_notifications(&mut self, dead: &[(Option<ProcId>, Reaped)]) {
        for id in self.notices_due.take() {
            if self.hear_datagrams(id, Hearing::Some) == Standing::More {
                self.notices_due.insert(id);
            }
        }
        dead.iter().filter_map(|&(id, _)| id).for_each(|id| _ = self.hear_datagrams(id, Hearing::All));
    }

    /// Reads what came for one incarnation and takes down what it says.
    pub(super) fn hear_datagrams(&mut self, id: ProcId, hearing: Hearing) -> Standing {
        let budget = match hearing {
            Hearing::Some => BUDGET,
            Hearing::All => DRAIN,
        };
        // Most have none, and the buffer is no small thing to fill with zeros.
        if self.table.get(id).is_none_or(|proc| proc.notify.is_none()) {
            return Standing::Ended;
        }
        // One byte more, for the NUL that some put at the end.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        for _ in 0..budget {
            let Some(mailbox) = self.table.get(id).and_then(|proc| proc.notify.as_ref()) else {
                return Standing::Ended;
            };
            match mailbox.inbox.receive(&mut buffer) {
                Ok(datagram) => self.take_datagram(id, datagram, buffer.get(..datagram.length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Standing::Waiting,
                Err(error) => return self.cannot_receive(id, &error),
            }
        }
        Standing::More
    }

    /// `poll` tells only of what is new, so a failure is tried again, but not for ever.
    fn cannot_receive(&mut self, id: ProcId, error: &io::Error) -> Standing {
        let Some(mailbox) = self.table.get_mut(id).and_then(|proc| proc.notify.as_mut()) else {
            return Standing::Ended;
        };
        mailbox.failures += 1;
        if mailbox.failures <= FAILURES {
            return Standing::More;
        }
        debug!("a notification to {id} cannot be read: {error}");
        Standing::Waiting
    }

    fn take_datagram(&mut self, id: ProcId, datagram: Datagram, bytes: &[u8]) {
        let Some(proc) = self.table.get_mut(id) else { return };
        let Some(mailbox) = &mut proc.notify else { return };
        mailbox.failures = 0;
        let name = || self.plan.instance_name(proc.instance);
        match datagram.sender {
            Some(sender) if mailbox.believes(sender, proc.pid) => {}
            Some(Sender { pid, uid }) => {
                let what = format!(
                    "process {pid} of user {uid}, which is none of its own, notifies in its name; that is ignored"
                );
                return mailbox.warn(&name(), &what);
            }
            None => return mailbox.warn(&name(), "a notification without a sender is ignored"),
        }
        let told = Some(bytes).filter(|_| datagram.whole).and_then(notify::parse);
        let Some(Told { notices, main }) = told else {
            return mailbox.warn(&name(), "a notification that is too long, or no text, is ignored");
        };
        let news = notices.into_iter().filter(|notice| mailbox.is_news(notice));
        self.facts.extend(news.map(|notice| Event::Notified { proc: id, notice }));
        if let Some(pid) = main {
            // The leader is its main one in any case.
            let pinned = (pid != proc.pid).then(|| members::pin(pid, proc.pid)).transpose();
            if let Err(why) = &pinned {
                mailbox.warn(&name(), &format!("process {pid} cannot be its main one: {why}"));
            }
            proc.main = pinned.ok().flatten();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn mailbox() -> Mailbox {
        Mailbox::open(&Identity::default()).unwrap()
    }

    fn own_pid() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn only_members_are_believed() {
        let (mailbox, us) = (mailbox(), own_pid());
        let ours = |pid| Sender { pid, uid: mailbox.user };
        assert!(mailbox.believes(ours(us), us), "the leader");
        assert!(!mailbox.believes(ours(us), 4), "a process that is there, and in another session");
        assert!(!mailbox.believes(ours(1), us), "not even init");
        assert!(!mailbox.believes(ours(0), us), "who is not seen in this namespace");
    }

    #[test]
    fn who_is_gone_is_believed_by_its_user() {
        let mut child = Command::new("true").spawn().unwrap();
        let gone = Pid::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let mailbox = Mailbox { user: 1000, ..mailbox() };
        let believed = [1000, 0, 1001].map(|uid| mailbox.believes(Sender { pid: gone, uid }, own_pid()));
        assert_eq!(believed, [true, true, false]);
    }

    #[test]
    fn a_status_is_news_once() {
        let mut mailbox = mailbox();
        let status = |text: &str| Notice::Status(text.to_owned());
        let told = [status("a"), status("a"), status("b"), status("a"), Notice::Watchdog, Notice::Watchdog];
        assert_eq!(told.map(|notice| mailbox.is_news(&notice)), [true, false, true, true, true, true]);
    }
}
