//! Workers that tell of themselves by sd_notify(3): each incarnation has a socket of its own, and only its own processes are
//! believed.
//!
//! A socket that gets more than its allowance is taken out of the poll set for a moment again and again: its senders wait,
//! and the loop has time for others. The machine hears of it, so that a sign of life that waits unread is not missed.

use super::allowance::Allowance;
use super::pipes::{Hearing, Standing};
use super::table::{Proc, Topic};
use super::turn::Shell;
use crate::machine::Event;
use crate::model::{Identity, Notice, ProcId};
use crate::sys::inbox::{Datagram, Inbox, Sender};
use crate::sys::notify_directory::NotifyDirectory;
use crate::sys::reap::Reaped;
use crate::sys::{Pid, identity, members, permit};
use crate::wire::notify::{self, MAX_DATAGRAM, Told};
use log::{debug, warn};
use mio::Interest;
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// So many datagrams are read without a pause …
const AT_ONCE: u32 = 64;
/// … and one more in this time.
const EVERY: Duration = Duration::from_millis(1);
/// What one of a stranger counts: who it is takes longer to find out.
const STRANGERS_COST: u32 = 5;
/// A socket whose allowance is used up is read again after this long.
const PAUSE: Duration = Duration::from_millis(20);
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
    /// How much more is read.
    allowance: Allowance,
    /// Readings in a row that failed.
    failures: u32,
    /// Something was wrong with a datagram, and it was said.
    warned: bool,
    /// It got more than its allowance, and it was said.
    flooded: bool,
}

impl Mailbox {
    pub fn open(directory: Option<&NotifyDirectory>, identity: &Identity) -> io::Result<Mailbox> {
        let user = identity.uid().unwrap_or_else(identity::own_user);
        let (inbox, allowance) = (Inbox::open(directory, user)?, Allowance::new(AT_ONCE, EVERY));
        Ok(Mailbox { inbox, user, allowance, failures: 0, warned: false, flooded: false })
    }

    pub fn address(&self) -> &str {
        self.inbox.address()
    }

    /// How the sender stands to the worker. One that is gone can be asked for its session no more (`systemd-notify` waits
    /// until it is heard, others do not).
    fn standing(&self, sender: Sender, leader: Pid, is_in_group: impl FnOnce(Pid) -> bool) -> notify::Standing {
        let in_session = match sender.pid {
            // It is in another pid namespace, so it is not known at all.
            ..=0 => Some(false),
            pid if pid == leader => Some(true),
            pid => members::is_in_session(pid, leader),
        };
        match in_session {
            Some(true) => notify::Standing::Member,
            Some(false) if sender.pid > 0 && is_in_group(sender.pid) => notify::Standing::Member,
            None if sender.uid == self.user || sender.uid == 0 => notify::Standing::Gone,
            Some(false) | None => notify::Standing::Stranger,
        }
    }

    /// Says what is wrong, once.
    fn warn(&mut self, name: &str, what: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            warn!("{name}: {what}");
        }
    }
}

impl AsRawFd for Mailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.inbox.as_raw_fd()
    }
}

impl Shell {
    /// Reads notifications within their allowances, those of the dead to the end.
    pub(super) fn hear_notifications(&mut self, dead: &[(Option<ProcId>, Reaped)]) {
        for id in self.notices_due.take() {
            if self.hear_datagrams(id, Hearing::Some) == Standing::More {
                self.pause_mailbox(id);
            }
        }
        dead.iter().filter_map(|&(id, _)| id).for_each(|id| _ = self.hear_datagrams(id, Hearing::All));
    }

    /// Reads what came for one incarnation and takes down what it says. `More`: its allowance is used up, or reading failed.
    pub(super) fn hear_datagrams(&mut self, id: ProcId, hearing: Hearing) -> Standing {
        // Most have none, and the buffer is no small thing to fill with zeros.
        if self.table.get(id).is_none_or(|proc| proc.notify.is_none()) {
            return Standing::Ended;
        }
        let heard = self.read_datagrams(id, hearing);
        if let (Hearing::All, Some(proc)) = (hearing, self.table.get(id)) {
            self.facts.extend(self.statuses.take_last(proc.instance));
        }
        heard
    }

    fn read_datagrams(&mut self, id: ProcId, hearing: Hearing) -> Standing {
        // One byte more, for the NUL that some put at the end.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        for _ in 0..DRAIN {
            let Some(mailbox) = self.table.get_mut(id).and_then(|proc| proc.notify.as_mut()) else {
                return Standing::Ended;
            };
            if hearing == Hearing::Some && !mailbox.allowance.take(self.now, 1) {
                return Standing::More;
            }
            match mailbox.inbox.receive(&mut buffer) {
                Ok(datagram) => self.take_datagram(id, datagram, buffer.get(..datagram.length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Standing::Waiting,
                Err(error) => return self.cannot_receive(id, &error),
            }
        }
        Standing::More
    }

    /// Its senders wait, and so may what the worker itself has to say.
    fn pause_mailbox(&mut self, id: ProcId) {
        let Some(proc) = self.table.get_mut(id) else { return };
        let Some(mailbox) = &mut proc.notify else { return };
        if !std::mem::replace(&mut mailbox.flooded, true) {
            let most = Duration::from_secs(1).as_millis() / EVERY.as_millis();
            let name = self.plan.instance_name(proc.instance);
            warn!("{name}: its notification socket is flooded; at most {most} notifications are read in a second");
        }
        // Where that fails we come here again with the next datagram.
        let _still_watched = self.poll.registry().deregister(&mut SourceFd(&mailbox.as_raw_fd()));
        self.paused.insert(Topic::Notify(id), self.now + PAUSE);
        self.facts.push(Event::Notified { proc: id, notice: Notice::Unheard });
    }

    /// The pause of a mailbox is over.
    pub(super) fn hear_paused_mailbox(&mut self, id: ProcId) {
        match self.hear_datagrams(id, Hearing::Some) {
            Standing::Ended => {}
            Standing::More => self.pause_mailbox(id),
            Standing::Waiting => {
                let Some(mailbox) = self.table.get(id).and_then(|proc| proc.notify.as_ref()) else { return };
                let (descriptor, token) = (mailbox.as_raw_fd(), Topic::Notify(id).token());
                let watched = permit().and_then(|()| {
                    self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)
                });
                if watched.is_err() {
                    self.paused.insert(Topic::Notify(id), self.now + PAUSE);
                }
            }
        }
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
        let Some(Sender { pid, uid }) = datagram.sender else {
            return mailbox.warn(&name(), "a notification without a sender is ignored");
        };
        let group = proc.group.as_ref();
        let is_in_group = |pid| {
            let members = group.and_then(|group| group.members().ok()).unwrap_or_default();
            members.iter().any(|member| member.pid == pid)
        };
        let standing = mailbox.standing(Sender { pid, uid }, proc.pid, is_in_group);
        if standing == notify::Standing::Stranger {
            let _so_much = mailbox.allowance.take(self.now, STRANGERS_COST - 1);
            let what =
                format!("process {pid} of user {uid}, which is none of its own, notifies in its name; that is ignored");
            return mailbox.warn(&name(), &what);
        }
        let told = Some(bytes).filter(|_| datagram.whole).and_then(notify::parse);
        let Some(told) = told else {
            return mailbox.warn(&name(), "a notification that is too long, or no text, is ignored");
        };
        let (believed, left_out) = told.believed(standing);
        if left_out {
            let what = format!(
                "process {pid} ended before its notification was read; only READY, STATUS, STOPPING and WATCHDOG=1 are \
                 believed of it"
            );
            mailbox.warn(&name(), &what);
        }
        self.take_told(id, believed);
    }

    fn take_told(&mut self, id: ProcId, told: Told) {
        let Some(proc) = self.table.get_mut(id) else { return };
        let instance = proc.instance;
        for notice in told.notices {
            let fact = match notice {
                Notice::Status(status) => self.statuses.hear(self.now, instance, id, status),
                // It is shown as a status, and no oftener.
                Notice::Stopping => self.statuses.hear(self.now, instance, id, "stopping".to_owned()),
                Notice::Ready | Notice::Watchdog | Notice::Trigger | Notice::Extend(_) | Notice::Unheard => {
                    Some(Event::Notified { proc: id, notice })
                }
            };
            self.facts.extend(fact);
        }
        if let Some(pid) = told.main {
            take_main(proc, pid, || self.plan.instance_name(instance));
        }
    }
}

/// The member that gets the signals for the leader from now on. The leader is its main one in any case.
fn take_main(proc: &mut Proc, pid: Pid, name: impl FnOnce() -> String) {
    let pinned = (pid != proc.pid).then(|| members::pin(pid, proc.pid)).transpose();
    if let (Err(why), Some(mailbox)) = (&pinned, &mut proc.notify) {
        mailbox.warn(&name(), &format!("process {pid} cannot be its main one: {why}"));
    }
    proc.main = pinned.ok().flatten();
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Standing::{Gone, Member, Stranger};
    use std::process::Command;

    fn mailbox() -> Mailbox {
        Mailbox::open(None, &Identity::default()).unwrap()
    }

    fn own_pid() -> Pid {
        Pid::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn members_of_the_session_and_of_the_control_group_are_its_own() {
        let (mailbox, us) = (mailbox(), own_pid());
        let standing = |pid, leader, in_group| {
            mailbox.standing(Sender { pid, uid: mailbox.user }, leader, |asked| in_group && asked == pid)
        };
        assert_eq!(standing(us, us, false), Member, "the leader");
        assert_eq!(standing(us, 4, false), Stranger, "a process that is there, and in another session");
        assert_eq!(standing(us, 4, true), Member, "it made a session of its own, and is in the group all the same");
        assert_eq!(standing(1, us, false), Stranger, "not even init");
        assert_eq!(standing(0, us, true), Stranger, "one that is not seen in this namespace");
    }

    #[test]
    fn one_that_is_gone_is_known_by_its_user_alone() {
        let mut child = Command::new("true").spawn().unwrap();
        let gone = Pid::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let mailbox = Mailbox { user: 1000, ..mailbox() };
        let standings =
            [1000, 0, 1001].map(|uid| mailbox.standing(Sender { pid: gone, uid }, own_pid(), |_| unreachable!()));
        assert_eq!(standings, [Gone, Gone, Stranger]);
    }
}
