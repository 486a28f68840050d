//! Why a process could not be started, in words: the step that failed, what it was to do, and the kernel's reason.

use super::messages::voice;
use super::phrases::errno;
use super::voice::program_name;
use crate::model::identity::{Account, Bound, Limit};
use crate::model::plan::{Plan, Probe, Program, Words};
use crate::model::script::{self, Needs};
use crate::model::{InstanceId, Seen, SpawnError, Stage};
use crate::sys::secret;

/// Where the numbers are the same on every Linux.
const EACCES: i32 = 13;

/// Why a file that is there could not be executed, by what was seen of it: more than the errno tells, which is that of its
/// interpreter or loader.
pub fn detail(seen: &Seen, error: SpawnError) -> Option<String> {
    match seen {
        _ if error.stage != Stage::Exec => None,
        Seen::Nothing => None,
        Seen::StartsItself => Some(script::STARTS_ITSELF.to_owned()),
        Seen::Head(head) => Needs::of(head).obstacle(error.errno, &errno(error.errno)),
    }
}

/// `changing directory to /srv: No such file or directory`. `detail` stands in the place of the errno, if there is one.
pub fn spawn_error(plan: &Plan, instance: Option<InstanceId>, error: SpawnError, detail: Option<&str>) -> String {
    let instance = instance.filter(|id| id.index() < plan.instances.len());
    let step = match instance {
        Some(id) => step(error.stage, plan.program(id), &plan.words(id)),
        None => step(error.stage, &Program::plain(vec![]), &Program::plain(vec![]).words("")),
    };
    let why = match (error, instance.and_then(|id| plan.program(id).identity.user.as_ref())) {
        // It may be that we could read it ourselves.
        (SpawnError { stage: Stage::Secret(_), errno: EACCES }, Some(user)) => {
            let why = reason(error);
            format!("{why} (where others may write, it is read with the rights of user {})", user.name)
        }
        _ => detail.map_or_else(|| reason(error), str::to_owned),
    };
    match (error.stage, instance.and_then(|id| plan.words(id).command.first().cloned())) {
        (Stage::Exec, Some(program)) => voice().cannot_execute(&program, &why),
        _ => format!("{step}: {why}"),
    }
}

/// The same of the process that asks for an instance.
pub fn probe_error(plan: &Plan, instance: InstanceId, probe: &Probe, error: SpawnError, seen: &Seen) -> String {
    let ourselves = ["exeunt".to_owned()];
    let (program, command) = match probe {
        Probe::Command(command) => (plan.program(instance), command.as_slice()),
        Probe::Http(_) | Probe::Tcp(_) => (&Program::plain(vec![]), ourselves.as_slice()),
    };
    let words = program.words_with(command, &plan.instance_name(instance));
    format!("{}: {}", step(error.stage, program, &words), detail(seen, error).unwrap_or_else(|| reason(error)))
}

fn reason(error: SpawnError) -> String {
    let of_secret = matches!(error.stage, Stage::Secret(_)).then(|| secret::reason(error.errno)).flatten();
    of_secret.map_or_else(|| errno(error.errno), str::to_owned)
}

fn step(stage: Stage, program: &Program, words: &Words) -> String {
    let who = &program.identity;
    let account = |account: &Option<Account>| account.as_ref().map_or(String::new(), |it| format!(" {}", it.name));
    let number = |number: Option<i32>| number.map_or(String::new(), |number| format!(" to {number}"));
    match stage {
        Stage::Secret(index) => match words.secrets.get(usize::from(index)) {
            Some(secret) => format!("reading {} for {}", secret.path.display(), secret.name),
            None => "reading a secret".into(),
        },
        Stage::Prepare => "preparing the start".into(),
        Stage::Fork => "forking".into(),
        Stage::Session => "making a session".into(),
        Stage::Descriptors => "setting up descriptors".into(),
        Stage::Signals => "setting up signals".into(),
        Stage::OomScore => format!("setting oom-score-adjust{}", number(who.oom_score_adjust)),
        Stage::Nice => format!("setting nice{}", number(who.nice)),
        Stage::Limit(resource) => format!("setting the limit {}{}", resource.name(), limit(who.limit(resource))),
        Stage::Groups => "setting the supplementary groups".into(),
        Stage::Group => format!("changing to group{}", account(&who.group)),
        Stage::User => format!("changing to user{}", account(&who.user)),
        Stage::Privileges => "forbidding new privileges".into(),
        Stage::Directory => match &words.working_directory {
            Some(directory) => format!("changing directory to {}", directory.display()),
            None => "changing directory".into(),
        },
        Stage::ParentDeath => "setting the parent-death signal".into(),
        Stage::Exec => match words.command.first() {
            Some(command) => format!("executing {}", program_name(command)),
            None => "executing the program".into(),
        },
    }
}

fn limit(limit: Option<Limit>) -> String {
    let number = |bound: Bound| match bound {
        Bound::Inherited => "as it is".to_owned(),
        Bound::At(number) => number.to_string(),
        Bound::Unlimited => "unlimited".to_owned(),
    };
    match limit {
        Some(limit) if limit.soft == limit.hard => format!(" to {}", number(limit.hard)),
        Some(limit) => format!(" to {} (hard: {})", number(limit.soft), number(limit.hard)),
        None => String::new(),
    }
}
