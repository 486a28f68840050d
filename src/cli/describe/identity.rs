//! Who a program is, as a person reads it.

use crate::config::show_bound;
use crate::model::identity::{Account, Bound, Identity, Limit};

/// What is said of it, each as a line: what, and the words about it.
pub fn lines(who: &Identity) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let accounts = accounts(who);
    if !accounts.is_empty() {
        lines.push(("as", accounts));
    }
    lines.extend(who.umask.map(|mask| ("umask", format!("{mask:03o}"))));
    lines.extend(who.nice.map(|nice| ("nice", nice.to_string())));
    lines.extend(who.oom_score_adjust.map(|score| ("oom score", score.to_string())));
    if !who.limits.is_empty() {
        lines.push(("limits", who.limits.iter().map(limit).collect::<Vec<_>>().join(", ")));
    }
    if who.no_new_privileges {
        lines.push(("rights", "never more than it starts with".to_owned()));
    }
    lines.extend(who.parent_death.map(|signal| ("orphaned", format!("the kernel sends it {signal}"))));
    lines
}

fn accounts(who: &Identity) -> String {
    let of = |kind: &str, account: &Option<Account>| account.as_ref().map(|it| format!("{kind} {}", named(it)));
    let main = who.group.as_ref().map(|group| group.id);
    let groups = who.groups.as_ref().map(|groups| {
        let others = groups.iter().filter(|group| Some(group.id) != main).map(named).collect::<Vec<_>>();
        if others.is_empty() { "no other group".to_owned() } else { format!("also in {}", others.join(", ")) }
    });
    let parts = [of("user", &who.user), of("group", &who.group), groups];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn named(account: &Account) -> String {
    let number = account.id.to_string();
    if account.name == number { number } else { format!("{} ({number})", account.name) }
}

fn limit(limit: &Limit) -> String {
    let (name, show) = (limit.resource.name(), |bound: Bound| show_bound(limit.resource, bound));
    match limit.soft == limit.hard {
        true => format!("{name} {}", show(limit.hard)),
        false => format!("{name} {} (hard {})", show(limit.soft), show(limit.hard)),
    }
}
