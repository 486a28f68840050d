//! Who a program is: names to numbers, and the defaults' keys under its own.

use super::Linker;
use super::program::pick;
use crate::config::accounts::{Group, User, number};
use crate::config::problem::{Problem, Span, quote};
use crate::config::read::Field;
use crate::config::value::{AccountNames, AccountText, DeathSignal, Flag, Limits, Umask, UserText, Whole};
use crate::model::identity::{Account, Identity, Limit};

/// The keys of one section that say who its program is.
pub(super) struct WhoKeys<'a> {
    pub user: &'a Field<UserText>,
    pub group: &'a Field<AccountText>,
    pub supplementary_groups: &'a Field<AccountNames>,
    pub umask: &'a Field<Umask>,
    pub nice: &'a Field<Whole<-20, 19>>,
    pub oom_score_adjust: &'a Field<Whole<-1000, 1000>>,
    pub limits: &'a Field<Limits>,
    pub no_new_privileges: &'a Field<Flag>,
    pub parent_death_signal: &'a Field<DeathSignal>,
}

impl WhoKeys<'_> {
    /// Each key, and where it stands.
    pub(super) fn all(&self) -> [(&'static str, Option<Span>); 9] {
        [
            ("user", self.user.span()),
            ("group", self.group.span()),
            ("supplementary-groups", self.supplementary_groups.span()),
            ("umask", self.umask.span()),
            ("nice", self.nice.span()),
            ("oom-score-adjust", self.oom_score_adjust.span()),
            ("limits", self.limits.span()),
            ("no-new-privileges", self.no_new_privileges.span()),
            ("parent-death-signal", self.parent_death_signal.span()),
        ]
    }
}

/// A user, and the group that it brings along.
struct Found {
    user: Account,
    group: Account,
    /// It was named, so that the groups that list it are its own too.
    named: bool,
}

impl Linker<'_> {
    pub(super) fn identity(&mut self, own: &WhoKeys<'_>, defaults: &WhoKeys<'_>) -> Identity {
        let user = pick(own.user, defaults.user);
        let found = user.and_then(|user| self.user(&user.value.user, user.span));
        let group = match self.group_text(own, defaults) {
            Some((text, span)) => self.group(text, span),
            None => found.as_ref().map(|found| found.group.clone()),
        };
        let groups = match pick(own.supplementary_groups, defaults.supplementary_groups) {
            Some(names) => {
                let known = names.value.0.iter().map(|name| self.group(&name.value.0, name.span)).collect::<Vec<_>>();
                Some(known.into_iter().flatten().collect())
            }
            None => found.as_ref().map(|found| self.groups_of(found, group.as_ref())),
        };
        Identity {
            user: found.map(|found| found.user),
            group,
            groups,
            umask: pick(own.umask, defaults.umask).map(|umask| umask.value.0),
            nice: pick(own.nice, defaults.nice).map(|nice| nice.value.0),
            oom_score_adjust: pick(own.oom_score_adjust, defaults.oom_score_adjust).map(|score| score.value.0),
            limits: limits(own.limits, defaults.limits),
            no_new_privileges: pick(own.no_new_privileges, defaults.no_new_privileges).is_some_and(|flag| flag.value.0),
            parent_death: pick(own.parent_death_signal, defaults.parent_death_signal).and_then(|signal| signal.value.0),
        }
    }

    /// What the section itself says goes over the defaults, whichever of the two ways it is said.
    fn group_text<'k>(&mut self, own: &WhoKeys<'k>, defaults: &WhoKeys<'k>) -> Option<(&'k str, Span)> {
        let with_user = |keys: &WhoKeys<'k>| {
            let user = keys.user.given()?;
            user.value.group.as_deref().map(|group| (group, user.span))
        };
        let by_itself = |keys: &WhoKeys<'k>| keys.group.given().map(|group| (group.value.0.as_str(), group.span));
        if let (Some((_, user)), Some((_, group))) = (with_user(own), by_itself(own)) {
            let problem = Problem::error(group, "the group is said twice");
            self.problems.push(problem.related(user, "it is said here too"));
        }
        let theirs = with_user(defaults).filter(|_| own.user.is_absent());
        by_itself(own).or_else(|| with_user(own)).or_else(|| by_itself(defaults)).or(theirs)
    }

    fn user(&mut self, text: &str, span: Span) -> Option<Found> {
        if let Some(uid) = self.number(text, span) {
            let account = Account { id: uid?, name: text.to_owned() };
            return Some(Found { group: account.clone(), user: account, named: false });
        }
        let users = match self.accounts.users() {
            Ok(users) => users,
            Err(why) => {
                let problem = unreadable("user", text, span, "/etc/passwd", why);
                self.problems.push(problem);
                return None;
            }
        };
        let Some(User { name, uid, gid }) = users.iter().find(|user| user.name == text).cloned() else {
            let problem = Problem::error(span, format!("unknown user {}", quote(text)));
            let names = users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>();
            self.problems.push(suggest_account(problem, text, &names));
            return None;
        };
        let group = Account { id: gid, name: self.accounts.group_name(gid) };
        Some(Found { user: Account { id: uid, name }, group, named: true })
    }

    fn group(&mut self, text: &str, span: Span) -> Option<Account> {
        if let Some(gid) = self.number(text, span) {
            return Some(Account { id: gid?, name: text.to_owned() });
        }
        let groups = match self.accounts.groups() {
            Ok(groups) => groups,
            Err(why) => {
                let problem = unreadable("group", text, span, "/etc/group", why);
                self.problems.push(problem);
                return None;
            }
        };
        let found = groups.iter().find(|group| group.name == text);
        let found = found.map(|group| Account { id: group.gid, name: group.name.clone() });
        if found.is_none() {
            let problem = Problem::error(span, format!("unknown group {}", quote(text)));
            let names = groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>();
            self.problems.push(suggest_account(problem, text, &names));
        }
        found
    }

    /// A number, good or refused; `None` for a name.
    fn number(&mut self, text: &str, span: Span) -> Option<Option<u32>> {
        let number = number(text)?.ok();
        if number.is_none() {
            self.error(span, format!("{} is out of range, allowed is 0 to 4294967294", quote(text)));
        }
        Some(number)
    }

    /// As initgroups(3) has it: the group itself first, then those that list the user.
    fn groups_of(&self, found: &Found, group: Option<&Account>) -> Vec<Account> {
        if !found.named {
            return Vec::new();
        }
        let lists_it = |group: &&Group| group.members.contains(&found.user.name);
        let account = |group: &Group| Account { id: group.gid, name: group.name.clone() };
        let mut all = group.cloned().into_iter().collect::<Vec<_>>();
        for other in self.accounts.groups().unwrap_or_default().iter().filter(lists_it).map(account) {
            if all.iter().all(|known| known.id != other.id) {
                all.push(other);
            }
        }
        all
    }
}

/// Each resource once; what the section itself says goes over the defaults.
fn limits(own: &Field<Limits>, defaults: &Field<Limits>) -> Vec<Limit> {
    let list = |field: &Field<Limits>| -> Vec<Limit> {
        field.value().map_or(Vec::new(), |limits| limits.0.iter().map(|limit| limit.value).collect())
    };
    let mut all = list(own);
    let rest = list(defaults).into_iter().filter(|limit| all.iter().all(|own| own.resource != limit.resource));
    let rest = rest.collect::<Vec<_>>();
    all.extend(rest);
    all.sort_by_key(|limit| limit.resource);
    all
}

/// The nearest name only: nobody wants to read all of a system's accounts.
fn suggest_account(problem: Problem, wrong: &str, names: &[&str]) -> Problem {
    match crate::config::problem::nearest(wrong, names) {
        Some(near) => problem.help(format!("did you mean {}?", quote(near))),
        None => problem.help("numbers work without being known"),
    }
}

fn unreadable(what: &str, text: &str, span: Span, path: &str, why: &str) -> Problem {
    let message = format!("the {what} {} cannot be looked up: {path}: {why}", quote(text));
    Problem::error(span, message).help("numbers work without it")
}
