//! A start: pipes, descriptors, environment, then fork.

use super::environment::{self, Environment, WATCHDOG_PID};
use super::notify::Mailbox;
use super::pipes::{ItemPipe, ReplyPipe};
use super::ready::ReadyPipe;
use super::reasons::left_processes;
use super::relay::{Instead, Stream};
use super::table::{Life, Proc, What};
use super::turn::Shell;
use super::{InitOptions, RunOptions};
use crate::model::plan::{Consumer, ControlGroups, Log, Place, Plan, Ready, Results, Role, Secret, Words};
use crate::model::{InstanceId, SpawnError, Stage};
use crate::sys::cgroup::{Group, Groups};
use crate::sys::fds::{self, End, Pipe};
use crate::sys::file_head::{self, FileId};
use crate::sys::file_user::FileUser;
use crate::sys::init::Home;
use crate::sys::notify_directory::NotifyDirectory;
use crate::sys::secret::FileVariable;
use crate::sys::spawn::{self, Launch, MAX_DESCRIPTORS, Passage};
use crate::sys::{executable, permit};
use log::warn;
use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Where the numbers are the same on every Linux.
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;

/// What all starts of a run have in common.
pub struct Launcher {
    /// Standard input of every child: /dev/null, or an empty pipe's read end where there is none.
    null_in: OwnedFd,
    /// /dev/null for output; `None` where there is none, then stderr takes its place.
    null_out: Option<OwnedFd>,
    /// Some worker's results go to stdout: nobody else may write there.
    stdout_taken: bool,
    pub(super) environment: Environment,
    /// Where each program gets a control group of its own, if we may make some.
    groups: Option<Groups>,
    /// Where notification sockets are, if some worker has one and there is a place for them.
    inboxes: Option<NotifyDirectory>,
    /// A program that we only stand in front of: its words, and what the kernel sends it when we die.
    init: Option<InitOptions>,
    /// Descriptors from 3 on that we were started with.
    kept: Vec<RawFd>,
    /// Our own program.
    own: Option<FileId>,
    /// Where an init was started, until its program runs there.
    home: Cell<Option<Home>>,
}

/// A child that was forked, and the read end of a source's stdout.
pub struct Started {
    pub proc: Proc,
    pub stdout: Option<OwnedFd>,
    /// What it has in the place of our terminal.
    pub relays: Vec<(Stream, OwnedFd)>,
}

impl Launcher {
    pub fn new(plan: &Plan, options: &RunOptions, kept: Vec<RawFd>) -> io::Result<Launcher> {
        let init = options.init.clone();
        let null = permit().and_then(|()| OpenOptions::new().read(true).write(true).open("/dev/null"));
        let (null_in, null_out) = match null {
            Ok(null) => (OwnedFd::from(null.try_clone()?), Some(OwnedFd::from(null))),
            Err(_) => (fds::pipe()?.read, None),
        };
        let to_stdout = |consumer: &Consumer| consumer.results == Results::Stdout;
        let stdout_taken = plan.workers.iter().any(|worker| worker.consumer.as_ref().is_some_and(to_stdout));
        let environment = if init.is_some() { Environment::ours() } else { Environment::inherited() };
        let groups = (plan.cgroup == ControlGroups::Auto).then(|| Groups::probe(options.file.as_deref())).flatten();
        let (inboxes, home) = (notify_directory(plan), Cell::new(None));
        let own = file_head::own_id();
        Ok(Launcher { null_in, null_out, stdout_taken, environment, groups, inboxes, init, kept, own, home })
    }

    /// Says what killed runs of the same file left in control groups, for it may hold a port or a lock.
    pub fn tell_what_was_left(&mut self) {
        let left = self.groups.as_mut().map(Groups::take_left).unwrap_or_default();
        left.iter().for_each(|left| warn!("{}", left_processes(left)));
    }

    pub fn start(&self, plan: &Plan, instance: InstanceId) -> Result<Started, SpawnError> {
        let ends = Ends::for_role(plan, instance, self.inboxes.as_ref()).map_err(prepare)?;
        let program = plan.program(instance);
        let words = plan.words(instance);
        let exit_number = self.exit_number();
        let mut numbered = Vec::new();
        let environment = match self.init {
            Some(_) => {
                let mut environment = self.environment.for_program(program, exit_number)?;
                numbered = environment.take_numbered(std::process::id());
                environment
            }
            None => {
                let address = ends.notify.as_ref().map(Mailbox::address);
                self.environment.for_child(plan, instance, &words, address)?
            }
        };
        if environment::watchdog(plan, instance).is_some() && environment.get(WATCHDOG_PID).is_none() {
            numbered.push(WATCHDOG_PID);
        }
        let numbered = numbered.iter().map(|name| c_string(name.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let strings = Strings::new(&words, self.init.as_ref().map(|init| init.argv.as_slice()), environment)?;
        let (place, foreground) = Shell::place_now(program.place);
        let (standard_out, standard_err) = self.log(program.log);
        let stdout = ends.stdout.as_ref().map_or(standard_out.as_fd(), |pipe| pipe.write.as_fd());
        let instead = match &ends.user {
            Some(user) if program.place != Place::Terminal => {
                let output = standard_out.stream().filter(|_| ends.stdout.is_none());
                Instead::of(user, output, standard_err.stream()).map_err(prepare)?
            }
            Some(_) | None => Instead::default(),
        };
        let (out, err) = (instead.output().unwrap_or(stdout), instead.errors().unwrap_or(standard_err.as_fd()));
        let items = ends.items.as_ref().map(|pipe| pipe.read.as_fd());
        let replies = ends.replies.as_ref().map(|pipe| pipe.write.as_fd());
        let exit = ends.exit.as_ref().map(|pipe| pipe.read.as_fd());
        let stdin = io::stdin();
        let inherits = self.init.is_some() || program.place == Place::Terminal;
        let input = if inherits { stdin.as_fd() } else { self.null_in.as_fd() };
        let mut descriptors = vec![Some(input), Some(out), Some(err), items, replies];
        if let Some(exit) = exit {
            let number = exit_number.ok_or(SpawnError { stage: Stage::Prepare, errno: EMFILE })?;
            descriptors.resize(number, None);
            descriptors.push(Some(exit));
        }
        if let Some((number, pipe)) = &ends.ready {
            descriptors.resize(descriptors.len().max(number + 1), None);
            descriptors[*number] = Some(pipe.write.as_fd());
        }
        let home = self.home.take().or_else(|| self.init.as_ref().and_then(|_| Home::leave()));
        let group = (place == Place::Session).then(|| self.group(&plan.instance_name(instance))).flatten();
        let door = group.as_ref().and_then(|group| group.open().ok());
        let born = spawn::spawn(&Launch {
            argv: &strings.argv,
            env: &strings.env,
            secrets: &strings.secrets,
            numbered: &numbered,
            candidates: &strings.candidates,
            own: self.own,
            directory: strings.directory.as_deref(),
            ignore: program.ignore_signals,
            block: program.block_signals,
            identity: &program.identity,
            descriptors: &descriptors,
            place,
            foreground,
            group: door.as_ref().map(AsFd::as_fd),
            passage: self.init.as_ref().map(|_| Passage { home: home.as_ref().map(AsFd::as_fd) }),
        });
        // It may have to be tried again.
        self.home.set(home);
        let born = born?;
        let what = match plan.role(instance) {
            Role::Worker { worker, .. } => What::Worker(worker),
            Role::Source(source) => What::Source(source),
        };
        let proc = Proc {
            instance,
            what,
            pid: born.pid,
            place,
            pidfd: born.pidfd,
            life: Life::Unborn { report: born.report },
            items: ends.items.map(|pipe| ItemPipe::new(pipe.read, pipe.write)),
            replies: ends.replies.map(|pipe| ReplyPipe::new(pipe.read)),
            exit: ends.exit.map(|pipe| pipe.write),
            ready: ends.ready.map(|(_, pipe)| ReadyPipe::new(pipe.read)),
            notify: ends.notify,
            main: None,
            items_registered: false,
            group: group.filter(|_| born.grouped),
        };
        Ok(Started { proc, stdout: ends.stdout.map(|pipe| pipe.read), relays: instead.into_read_ends() })
    }

    /// The number under which a program finds the pipe of the exit event: 5, but an init leaves the descriptors alone that it was
    /// started with for its program, such as the sockets of `LISTEN_FDS`. `None` where none below 10 is free.
    fn exit_number(&self) -> Option<usize> {
        const FIRST: RawFd = 5;
        let kept = |number: &RawFd| self.init.is_some() && self.kept.contains(number);
        (FIRST..).take(MAX_DESCRIPTORS - 5).find(|number| !kept(number)).and_then(|number| usize::try_from(number).ok())
    }

    /// A program runs: an init starts no other.
    pub fn arrived(&self) {
        drop(self.home.take());
    }

    /// Descriptors 0 to 2 of a child that nobody listens to.
    pub(super) fn silence(&self) -> [BorrowedFd<'_>; 3] {
        let out = self.null_out.as_ref().unwrap_or(&self.null_in).as_fd();
        [self.null_in.as_fd(), out, out]
    }

    /// For whom has a session of its own: others share more with us than a group could tell apart.
    pub(super) fn group(&self, name: &str) -> Option<Group> {
        self.groups.as_ref()?.make(name).ok()
    }

    /// Descriptors 1 and 2 of a child.
    fn log(&self, log: Log) -> (Descriptor<'_>, Descriptor<'_>) {
        let null = self.null_out.as_ref().filter(|_| log == Log::Null);
        match null {
            Some(null) => (Descriptor::Null(null), Descriptor::Null(null)),
            None if self.stdout_taken || log == Log::Null => (Descriptor::Stderr, Descriptor::Stderr),
            None => (Descriptor::Stdout, Descriptor::Stderr),
        }
    }
}

enum Descriptor<'a> {
    Null(&'a OwnedFd),
    Stdout,
    Stderr,
}

impl Descriptor<'_> {
    /// Which of our own it is.
    fn stream(&self) -> Option<Stream> {
        match self {
            Descriptor::Null(_) => None,
            Descriptor::Stdout => Some(Stream::Output),
            Descriptor::Stderr => Some(Stream::Errors),
        }
    }
}

impl AsFd for Descriptor<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        /// Borrowed for the whole run: nothing closes our 1 and 2.
        fn standard(fd: &'static impl AsFd) -> BorrowedFd<'static> {
            fd.as_fd()
        }
        static STDOUT: std::sync::LazyLock<io::Stdout> = std::sync::LazyLock::new(io::stdout);
        static STDERR: std::sync::LazyLock<io::Stderr> = std::sync::LazyLock::new(io::stderr);
        match self {
            Descriptor::Null(null) => null.as_fd(),
            Descriptor::Stdout => standard(&*STDOUT),
            Descriptor::Stderr => standard(&*STDERR),
        }
    }
}

/// The pipes of one child, both ends of each.
#[derive(Default)]
struct Ends {
    items: Option<Pipe>,
    replies: Option<Pipe>,
    exit: Option<Pipe>,
    stdout: Option<Pipe>,
    /// And the number that the child knows it by.
    ready: Option<(usize, Pipe)>,
    notify: Option<Mailbox>,
    /// Whom the child runs as, if that is not our own user.
    user: Option<FileUser>,
}

impl Ends {
    fn for_role(plan: &Plan, instance: InstanceId, inboxes: Option<&NotifyDirectory>) -> io::Result<Ends> {
        let mut ends = Ends::default();
        if matches!(plan.role(instance), Role::Source(_)) {
            let pipe = ends.stdout.insert(fds::pipe()?);
            fds::set_nonblocking(pipe.read.as_fd())?;
        }
        let consumes = plan.consumer(instance).is_some();
        if consumes {
            let items = ends.items.insert(fds::pipe()?);
            fds::set_nonblocking(items.write.as_fd())?;
            let replies = ends.replies.insert(fds::pipe()?);
            fds::set_nonblocking(replies.read.as_fd())?;
        }
        if consumes || plan.program(instance).has_event_rung() {
            let exit = ends.exit.insert(fds::pipe()?);
            fds::set_nonblocking(exit.write.as_fd())?;
        }
        match environment::ready(plan, instance) {
            Some(Ready::Fd(number)) => {
                let (_, pipe) = ends.ready.insert((usize::from(*number), fds::pipe()?));
                fds::set_nonblocking(pipe.read.as_fd())?;
            }
            Some(Ready::Notify) => ends.notify = Some(Mailbox::open(inboxes, &plan.program(instance).identity)?),
            Some(Ready::Probe(_) | Ready::Delay(_)) | None => {}
        }
        ends.user = FileUser::of(&plan.program(instance).identity);
        if let Some(user) = &ends.user {
            ends.give_to(user);
        }
        Ok(ends)
    }

    /// What the child reads from and writes to is made by us, and it may want to open that by name.
    fn give_to(&self, user: &FileUser) {
        let read = [&self.items, &self.exit].into_iter().flatten();
        read.for_each(|pipe| fds::give(pipe, user, End::Read));
        let ready = self.ready.as_ref().map(|(_, pipe)| pipe);
        let written = [&self.replies, &self.stdout].into_iter().flatten().chain(ready);
        written.for_each(|pipe| fds::give(pipe, user, End::Write));
    }
}

/// For the sockets of all workers that are heard by sd_notify(3).
fn notify_directory(plan: &Plan) -> Option<NotifyDirectory> {
    let told = plan.workers.iter().filter(|worker| worker.ready == Some(Ready::Notify));
    let users: Vec<_> = told.map(|worker| worker.program.identity.uid()).collect();
    if users.is_empty() {
        return None;
    }
    let ours = Some(crate::sys::identity::own_user());
    NotifyDirectory::make(users.iter().any(|user| user.is_some() && *user != ours))
}

/// All that exec takes, as the kernel wants it.
pub(super) struct Strings {
    pub argv: Vec<CString>,
    pub env: Vec<Rc<CStr>>,
    pub secrets: Vec<FileVariable>,
    pub candidates: Vec<CString>,
    pub directory: Option<CString>,
}

impl Strings {
    /// `argv` in the place of the command.
    pub fn new(words: &Words, argv: Option<&[OsString]>, environment: Environment) -> Result<Strings, SpawnError> {
        let argv = match argv {
            Some(argv) => argv.iter().map(|word| c_string(word.as_bytes())).collect::<Result<Vec<_>, _>>()?,
            None => words.command.iter().map(|word| c_string(word.as_bytes())).collect::<Result<Vec<_>, _>>()?,
        };
        let name = argv.first().ok_or(SpawnError { stage: Stage::Prepare, errno: EINVAL })?;
        let candidates = spawn::candidates(name, environment.get("PATH").map(OsStr::as_bytes));
        let directory = words.working_directory.as_ref().map(|path| c_string(path.as_os_str().as_bytes()));
        let secret = |secret: &Secret| {
            let (name, path) = (c_string(secret.name.as_bytes())?, c_string(secret.path.as_os_str().as_bytes())?);
            Ok(FileVariable { name, path })
        };
        let secrets = words.secrets.iter().map(secret).collect::<Result<Vec<_>, SpawnError>>()?;
        Ok(Strings { env: environment.into_strings(), secrets, candidates, directory: directory.transpose()?, argv })
    }

    /// Of our own program, with an empty environment.
    pub fn of_ourselves(arguments: &[&str]) -> Result<Strings, SpawnError> {
        let argv =
            ["exeunt"].iter().chain(arguments).map(|word| c_string(word.as_bytes())).collect::<Result<_, _>>()?;
        let candidates = executable::own();
        Ok(Strings { argv, env: Vec::new(), secrets: Vec::new(), candidates, directory: None })
    }
}

/// A NUL in a string was refused with the file; should one come through, the start fails like any other.
fn c_string(bytes: &[u8]) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|_| SpawnError { stage: Stage::Prepare, errno: EINVAL })
}

pub(super) fn prepare(error: io::Error) -> SpawnError {
    SpawnError { stage: Stage::Prepare, errno: error.raw_os_error().unwrap_or(EINVAL) }
}
