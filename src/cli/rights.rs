//! Whether exeunt, as whom it runs now, may give a program what the file says: a look beforehand, for warnings. The truth is
//! what the kernel says at the start.

use crate::config::quote;
use crate::model::Resource;
use crate::model::identity::{Account, Bound, Identity, Limit};
use crate::model::plan::{Secret, Words};
use crate::sys::file_user::FileUser;
use crate::sys::identity::{self, Own};
use crate::sys::secret::{self, FileVariable};
use std::ffi::CString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Everything of an identity that would be refused, in words.
pub fn refusals(who: &Identity, own: &Own) -> Vec<String> {
    let mut found = Vec::new();
    let us = format!("exeunt runs as user {} without that right", own.uid);
    let mut refuse = |what: String| found.push(format!("{what}, but {us}"));
    if let Some(user) = who.user.as_ref().filter(|user| user.id != own.uid && !own.may(Own::SETUID)) {
        refuse(format!("it is to run as user {}", user.name));
    }
    if let Some(group) = who.group.as_ref().filter(|group| group.id != own.gid && !own.may(Own::SETGID)) {
        refuse(format!("it is to run as group {}", group.name));
    } else if who.groups.as_ref().is_some_and(|groups| others(groups, who, own)) && !own.may(Own::SETGID) {
        refuse("it is to have other supplementary groups".to_owned());
    }
    let lowered = |score: &i32| *score < own.oom_score_adjust && !own.may(Own::SYS_RESOURCE);
    if let Some(score) = who.oom_score_adjust.filter(lowered) {
        refuse(format!("oom-score-adjust is to be lowered to {score}"));
    }
    if let Some(nice) = who.nice.filter(|&nice| nice < own.nice && !own.may(Own::SYS_NICE)) {
        // setrlimit(2): the limit of nice counts from 20 down.
        let lowest = identity::limits_of(Resource::Nice).map_or(20, |(soft, _)| 20 - i64::try_from(soft).unwrap_or(40));
        if i64::from(nice) < lowest {
            refuse(format!("nice is to be lowered to {nice}"));
        }
    }
    for limit in who.limits.iter().filter(|limit| is_raised(limit) && !own.may(Own::SYS_RESOURCE)) {
        refuse(format!("the hard limit of {} is to be raised", limit.resource.name()));
    }
    found
}

/// Which of the files of its secrets a start could not read.
pub fn missing_secrets(words: &Words, who: &Identity) -> Vec<String> {
    let user = FileUser::of(who);
    let missing = words.secrets.iter().filter_map(|secret| {
        let error = try_out(secret, user.as_ref()).err()?;
        let why = error.raw_os_error().and_then(secret::reason).map(str::to_owned);
        let why = why.unwrap_or_else(|| super::file::reason(&error));
        let path = quote(&secret.path.display().to_string());
        Some(format!("{path}, which holds {}, cannot be read: {why}", secret.name))
    });
    missing.collect()
}

fn try_out(secret: &Secret, user: Option<&FileUser>) -> io::Result<()> {
    let path = CString::new(secret.path.as_os_str().as_bytes())?;
    secret::try_out(&FileVariable { name: CString::new(secret.name.as_str())?, path }, user)
}

/// The part of a path that whom the program runs as may not enter, or execute, though we may.
pub fn closed<'a>(path: &'a Path, who: &Identity) -> Option<&'a Path> {
    let user = who.user.as_ref().filter(|user| user.id != 0)?;
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect::<Vec<_>>();
    let shut = |part: &&Path| std::fs::metadata(part).is_ok_and(|metadata| !may_enter(&metadata, user, who));
    parts.into_iter().rev().find(shut)
}

/// Whether the mode has an x for it, as path_resolution(7) has it.
fn may_enter(metadata: &Metadata, user: &Account, who: &Identity) -> bool {
    let groups = who.group.iter().chain(who.groups.iter().flatten());
    let shift = match () {
        () if metadata.uid() == user.id => 6,
        () if groups.into_iter().any(|group| group.id == metadata.gid()) => 3,
        () => 0,
    };
    metadata.permissions().mode() >> shift & 1 == 1
}

fn others(groups: &[Account], who: &Identity, own: &Own) -> bool {
    let main = who.gid().unwrap_or(own.gid);
    let plain = |ids: &mut dyn Iterator<Item = u32>| {
        let mut ids = ids.filter(|&id| id != main).collect::<Vec<_>>();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    plain(&mut groups.iter().map(|group| group.id)) != plain(&mut own.groups.iter().copied())
}

fn is_raised(limit: &Limit) -> bool {
    let hard = identity::limits_of(limit.resource).map_or(u64::MAX, |(_, hard)| hard);
    match limit.hard {
        Bound::Inherited => false,
        Bound::Unlimited => hard != u64::MAX,
        Bound::At(number) => number > hard,
    }
}
