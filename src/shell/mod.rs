//! The mio loop: builds events from facts, performs the machine's actions. Decides only the order of a turn.
//!
//! Nothing here blocks but `poll`. What may block (our own 1 and 2, files) is written by threads ([`lane`]) that start
//! when there is something to write.

mod adopt;
mod aftermath;
mod allowance;
mod claim;
mod dead_letters;
mod disk;
mod environment;
mod farewell;
mod fates;
mod file_lock;
mod file_mode;
pub mod file_users;
mod first_input;
mod json;
mod lane;
mod launch;
mod leftovers;
mod leftovers_path;
mod letters;
mod line_file;
mod meaning;
mod messages;
mod notes;
mod notify;
mod order;
mod owned_file;
mod paused;
mod perform;
mod phrases;
mod pipes;
pub mod probes;
mod ready;
mod reasons;
mod relay;
mod reorder;
mod replies;
mod report;
mod results;
mod sources;
mod start_error;
mod status;
mod stream;
mod table;
mod terminal;
mod turn;
mod unwritten;
mod voice;
mod waits;

use crate::machine::Report;
use crate::model::plan::Plan;
use crate::model::{QueueId, Signal};
use crate::sys::init::Inherited;
use crate::sys::{clock, members, memory};
use adopt::{Heir, adopt_for_user};
use claim::Taken;
pub use dead_letters::path_beside as dead_letters_file;
use disk::Rest;
pub use file_lock::side_file as lock_file;
use log::{LevelFilter, error, warn};
use messages::messages;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use turn::Shell;
pub use voice::Voice;

/// The exit code of a fault of our own (sysexits.h: EX_SOFTWARE).
const FAULT: u8 = 70;
/// Unfinished items are in the leftovers (sysexits.h: EX_TEMPFAIL).
const UNFINISHED: u8 = 75;
/// How long a stderr that nobody reads may hold up our leaving. Results were waited for by the machine.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a run presents itself.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `None`: there is none.
    pub report: Option<ReportFormat>,
    /// Of our own messages.
    pub log_level: LevelFilter,
    /// Warnings about the file, which are logged before anything else. A stderr that nobody reads does not hold up the start.
    pub warnings: Vec<String>,
    /// The file that the plan comes from.
    pub file: Option<PathBuf>,
    /// For a plan with an `init`.
    pub init: Option<InitOptions>,
}

/// What `exeunt init` asks for beside its plan.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// The program and its arguments as they were given: they need not be text.
    pub argv: Vec<OsString>,
    /// Received signals that are taken for another, or for nothing.
    pub rewrites: Vec<(Signal, Option<Signal>)>,
    /// A stop signal begins the ladder instead of being passed on.
    pub stops: bool,
    /// Each orphan that is reaped is worth a warning.
    pub warn_reaping: bool,
    pub suspend: Suspend,
    pub voice: Voice,
}

/// What TSTP means to an init that cannot see its program stop, since that is no group of its own on our terminal. In a session of
/// its own the program gets STOP: the terminal's Ctrl+Z does not reach it there, and a group without a parent in its session is
/// deaf to TSTP. In our own session it gets TSTP like any other signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suspend {
    /// Passed on like any other.
    #[default]
    Never,
    /// We stop too, if somebody is there who could continue us.
    Ourselves,
    /// We stop too, whoever is there. TTIN and TTOU mean the same, when somebody sends them.
    Always,
}

/// The form of the report at the end, which goes to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object on one line.
    Json,
}

/// Runs the plan to its end. Answers the exit code. Takes over signals, children and, where the plan has a source on it,
/// standard input of the process; to be called once, after [`first_steps`](crate::sys::init::first_steps).
pub fn run(plan: Rc<Plan>, options: RunOptions, inherited: Inherited) -> u8 {
    let voice = options.init.as_ref().map_or(Voice::Exeunt, |init| init.voice);
    messages::install_log(options.log_level, voice, inherited.pid);
    options.warnings.iter().for_each(|warning| warn!("{warning}"));
    tell_panics();
    if !inherited.subreaper {
        warn!("cannot become the reaper of orphans: processes that leave their session will be left behind");
    }
    if plan.init.is_none() && !members::sees_all() {
        warn!("/proc cannot be read: processes that leave their session will be left behind");
    }
    for (id, queue) in (0u32..).map(QueueId).zip(&plan.queues) {
        if let Some(leftovers) = &queue.leftovers {
            let heir = Heir { queue: &queue.name, framing: queue.framing, leftovers };
            adopt_for_user(heir, file_users::of_queue(&plan, id).as_ref());
        }
    }
    // Held until all is in place.
    let _claim = match claim::of_stdin(&plan) {
        Ok(claim) => claim,
        Err(Taken { queue, leftovers }) => {
            let path = leftovers.display();
            error!(
                "another run takes in {path}, the leftovers of queue {queue}, which are our standard input: start again when it has ended"
            );
            messages().flush(Some(LAST_WORDS));
            return UNFINISHED;
        }
    };
    let mut shell = match Shell::new(plan.clone(), inherited, &options) {
        Ok(shell) => shell,
        Err(fault) => {
            error!("cannot begin: {fault}");
            messages().flush(Some(LAST_WORDS));
            return FAULT;
        }
    };
    // An init has read no file.
    if plan.init.is_none() {
        memory::give_back();
    }
    // The shell is not used as if whole after a panic: only its list of children is, to let nobody be left behind.
    match catch_unwind(AssertUnwindSafe(|| shell.turns())) {
        Ok(report) => close(&mut shell, &plan, &options, report),
        Err(_told_by_the_hook) => {
            shell.clear_the_house();
            shell.leave_the_terminal();
            messages().flush(Some(LAST_WORDS));
            FAULT
        }
    }
}

/// Everybody has left: what is still to be written is written, then the report.
fn close(shell: &mut Shell, plan: &Plan, options: &RunOptions, mut report: Report) -> u8 {
    let left_the_loop = shell.now;
    let deadline = plan.stop_budget.map(|budget| clock::now() + budget.saturating_sub(report.stop_took));
    shell.disk.begin_finish();
    shell.pass_on_the_last_output(deadline);
    shell.wait_for_the_disk(deadline);
    let left = shell.disk.end();
    let (letters_on_stderr, letters) = shell.letters.end();
    let rest = Rest { left, letters_on_stderr, letters };
    if needs_a_reader(plan, &report, &rest) {
        // These items are nowhere else. Only a budget, or a person, says that they may wait no longer for a reader.
        shell.wait_for_a_reader(deadline);
    }
    // What was waited for here is a part of the stop, too.
    let waited = clock::now().since(left_the_loop);
    (report.stop_took, report.ran) = (report.stop_took + waited, report.ran + waited);
    let report = &report;
    match options.report {
        Some(ReportFormat::Text) => messages().must(report::text(plan, report, &rest)),
        Some(ReportFormat::Json) => messages().must(report::json(plan, report, &rest)),
        None => {}
    }
    shell.wait_for_a_reader(Some(clock::now() + LAST_WORDS));
    report.exit_code
}

/// Whether items are on stderr and nowhere else, or stderr alone says where they are.
fn needs_a_reader(plan: &Plan, report: &Report, rest: &Rest) -> bool {
    let on_stderr = |queue| plan.queue(queue).leftovers.is_none();
    let dead = report.queues.iter().any(|queue| queue.dead > 0 && on_stderr(queue.queue));
    let left = rest.left.iter().any(|left| left.needs_a_reader(plan.queue(left.queue).leftovers.as_ref()));
    dead || left || rest.letters_on_stderr.iter().any(|&count| count > 0)
}

/// A panic's words go the way of all messages, for a blocked stderr must not hold up what follows it.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| error!("internal fault: {}", panic.to_string().replace('\n', " "))));
}
