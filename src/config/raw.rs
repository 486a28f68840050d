//! The file as written: every key that exists, with its type and the words of its documentation. The reader, the list
//! of known keys and the JSON schema all come from here. What the keys mean together is the compiler's matter.

use super::read::{Named, section};
use super::value::{
    AccountNames, AccountText, BackoffTable, Command, Count, DeathSignal, Environment, ExitCodes, Flag, HealthTable,
    Ladder, Limits, Mode, Names, OneOrMore, OrOff, PathText, ReadyTable, RestartDelayTable, ResultsText, SignalList,
    SignalName, Size, StartLimitTable, Text, Timespan, Umask, UserText, Whole, Word, WorkerFraming,
};
use crate::model::Framing;
use crate::model::plan::{ControlGroups, End, KillMode, Kind, Log, OnFull, OnGiveUp, Restart};

section! {
    /// Programs, the queues that feed them, and how everybody leaves.
    pub struct File {
        /// The run as a whole.
        supervisor: Supervisor,
        /// Keys for all workers that do not say otherwise. `command`, `queue` and `after` have no default.
        defaults: Worker,
        /// Bounded queues of work, each with a name of its own.
        queue: Named<Queue>,
        /// What feeds the queues.
        source: Named<Source>,
        /// Programs: with `queue` they are fed items, without it they are plain services.
        worker: Named<Worker>,
    }
}

section! {
    /// The run as a whole.
    pub struct Supervisor {
        /// Name of the run. Default: the file's name without its ending.
        name: Text,
        /// One deadline for the whole stop; when it is reached, KILL for all. Default: as long as the ladders need.
        stop_budget: Timespan<1>,
        /// When the run ends. idle: when no work and no plain service is left; work: when the work is done, services
        /// are then stopped.
        end: Word<End>,
        /// The worker whose exit code becomes ours.
        exit_code_from: Text,
        /// Whether each program gets a control group of its own. auto: where a cgroup v2 tree is writable; off: never.
        /// Default auto.
        cgroup: Word<ControlGroups>,
    }
}

section! {
    /// A bounded queue.
    pub struct Queue {
        /// Items waiting, delayed or leased, at most. Default 1024.
        size: Count<1, 10_000_000>,
        /// Payload bytes held, at most. Default 64MiB.
        max_bytes: Size<1, { 1 << 40 }>,
        /// Payload bytes of one item, at most. Default 1MiB.
        max_item: Size<1, { 1 << 30 }>,
        /// What happens when the queue is full. block: its source is not read; reject: the item becomes a dead letter.
        /// Default block.
        on_full: Word<OnFull>,
        /// How long a worker may take for its oldest item before it is stopped and the item handed out again; "off" for
        /// no limit. Default 60s.
        item_timeout: OrOff<Timespan<1>>,
        /// Deliveries of one item, counting retries and timeouts; then it becomes a dead letter. Default 5.
        max_attempts: Count<1, 1_000_000>,
        /// Worker deaths blamed on one item; then it becomes a dead letter. Default 3.
        max_crashes: Count<1, 1_000_000>,
        /// How long an item waits before it is tried again.
        backoff: BackoffTable,
        /// At a stop: end the sources, then work the queue off within the budget. Default false.
        drain_on_stop: Flag,
        /// The file for items that a stop leaves unfinished, relative to this file. Default: they go to stderr.
        leftovers: PathText,
        /// true: items in `leftovers` are taken in before the queue's source is read. Default false.
        leftovers_first: Flag,
        /// At a stop the standard input is read into the leftovers until the stop has put so many bytes into them. Default 1GiB.
        leftovers_max: Size<1, { 1 << 40 }>,
    }
}

section! {
    /// What feeds a queue: the standard input, or a command's standard output.
    pub struct Source {
        /// The queue that is fed.
        queue: Text,
        /// true: the items come from the standard input.
        stdin: Flag,
        /// At a stop the standard input is read into the leftovers for so long once the last worker has left, and no longer
        /// than 200ms after its last byte. Default 1s.
        stop_read_timeout: Timespan<0>,
        /// The items come from this program's standard output.
        command: Command,
        /// How the items are told apart. line: by line feeds; nul: by NUL bytes, as `find -print0` writes them. Default
        /// line.
        framing: Word<Framing>,
        /// The program's working directory, relative to this file. Default: our own.
        working_directory: PathText,
        /// Variables that are set for the program.
        env: Environment,
        /// Start from an empty environment instead of our own. Default false.
        env_clear: Flag,
        /// Files of variables in dotenv format, set for the program before `env` and known to ${VAR} here. Read when this
        /// file is.
        env_file: OneOrMore,
        /// Variables whose values are the contents of files, for secrets: read at each start and never shown.
        env_from_file: Environment,
        /// The user it runs as, by name or number; "user:group" says its group too. Default: our own.
        user: UserText,
        /// The group it runs as, by name or number. Default: that of the user; a bare number has the group of its number.
        group: AccountText,
        /// All its supplementary groups. Default: those of the named user, none for a bare number.
        supplementary_groups: AccountNames,
        /// Permissions that its new files do not get, in octal digits.
        umask: Umask,
        /// Its scheduling priority: -20 for the most of the processor, 19 for the least.
        nice: Whole<-20, 19>,
        /// How gladly the kernel kills it when memory is short: -1000 for never, 1000 for first.
        oom_score_adjust: Whole<-1000, 1000>,
        /// What it may use of each resource: a number or "unlimited" for both limits, or { soft = …, hard = … }.
        limits: Limits,
        /// Nothing it executes may give it more rights, such as set-user-ID programs. Default false.
        no_new_privileges: Flag,
        /// The signal that the kernel sends it if exeunt is killed. Default off.
        parent_death_signal: DeathSignal,
        /// Signals that the program starts with ignored.
        ignore_signals: SignalList,
        /// Signals that the program starts with blocked.
        block_signals: SignalList,
        /// The stop ladder: `event WAIT` and `SIGNAL WAIT` in turn; KILL always follows. Default ["TERM 8s"].
        stop: Ladder,
        /// Shorthand for a ladder of this one signal. Default TERM.
        stop_signal: SignalName,
        /// How long the one signal of the shorthand waits for its effect. Default 8s.
        stop_timeout: Timespan<0>,
        /// Whom the signals of a stop are for. mixed: the leader, survivors and KILL all members; group: always all
        /// members; process: only ever the leader. Default mixed.
        kill_mode: Word<KillMode>,
        /// Exit codes that count as success. Default [0].
        success_exit_status: ExitCodes,
        /// Where the program's stderr goes. Default inherit.
        log: Word<Log>,
    }
}

section! {
    /// A program.
    pub struct Worker {
        /// The program and its arguments. There is no shell in between.
        command: Command,
        /// The queue whose items it works on. Without it the worker is a plain service.
        queue: Text,
        /// How items and replies travel. Default lines: over pipes, as lines of text.
        mode: Word<Mode>,
        /// How items are told apart on the way to the worker. Default line.
        framing: Word<WorkerFraming>,
        /// Unanswered items that one instance may hold. Default 1.
        prefetch: Count<1, 65_535>,
        /// How many instances run. Default 1.
        replicas: Count<1, 10_000>,
        /// Signals that the program starts with ignored.
        ignore_signals: SignalList,
        /// Signals that the program starts with blocked.
        block_signals: SignalList,
        /// The stop ladder: `event WAIT` and `SIGNAL WAIT` in turn; KILL always follows. Default ["event 5s", "TERM
        /// 3s"] with a queue, ["TERM 8s"] without.
        stop: Ladder,
        /// Shorthand for a ladder of this one signal. Default TERM.
        stop_signal: SignalName,
        /// How long the one signal of the shorthand waits for its effect. Default 8s.
        stop_timeout: Timespan<0>,
        /// Whom the signals of a stop are for. mixed: the leader, survivors and KILL all members; group: always all
        /// members; process: only ever the leader. Default mixed.
        kill_mode: Word<KillMode>,
        /// Where results go: "null", "stdout" or "file:PATH", which is appended to. Default null.
        results: ResultsText,
        /// When an instance that ended is started again. Default always with a queue, on-failure without.
        restart: Word<Restart>,
        /// The waits before restarts. The first restart is immediate.
        restart_delay: RestartDelayTable,
        /// At how many failed starts the worker is given up; "off" for never.
        start_limit: OrOff<StartLimitTable>,
        /// What a given-up worker does to the run. Default shutdown.
        on_give_up: Word<OnGiveUp>,
        /// Exit codes that count as success. Default [0].
        success_exit_status: ExitCodes,
        /// Signals sent to exeunt that are passed on to this program.
        forward_signals: SignalList,
        /// true: the program owns the terminal that exeunt runs on: standard input, and the foreground. One worker may say
        /// so. Default false.
        terminal: Flag,
        /// Workers that are ready before this one is started, and stopped after it.
        after: Names,
        /// Workers that it cannot be without: as `after`, and it is stopped when one of them is not ready any more, and
        /// started again when that is ready again.
        requires: Names,
        /// service: ready as `ready` says; oneshot: ready when it has ended well, and then not started again. Default
        /// service.
        r#type: Word<Kind>,
        /// How it tells that it is ready. Default: at once when it runs.
        ready: ReadyTable,
        /// How long it may take from its start to being ready (a oneshot: to its end) before it is stopped and tried again;
        /// "off" for no limit. Default 30s with `ready` (and the delay, if it is one), else off.
        start_timeout: OrOff<Timespan<1>>,
        /// A question it is asked again and again once it is ready; when the answer is no too often, it is stopped and started
        /// again. "off" for none. Default off.
        health: OrOff<HealthTable>,
        /// The longest silence between two WATCHDOG=1 of a worker that is ready, before it is stopped and started again; "off"
        /// for no limit. Needs ready = { notify = true }. Default off.
        watchdog: OrOff<Timespan<1>>,
        /// The program's working directory, relative to this file. Default: our own.
        working_directory: PathText,
        /// Variables that are set for the program.
        env: Environment,
        /// Start from an empty environment instead of our own. Default false.
        env_clear: Flag,
        /// Files of variables in dotenv format, set for the program before `env` and known to ${VAR} here. Read when this
        /// file is.
        env_file: OneOrMore,
        /// Variables whose values are the contents of files, for secrets: read at each start and never shown.
        env_from_file: Environment,
        /// The user it runs as, by name or number; "user:group" says its group too. Default: our own.
        user: UserText,
        /// The group it runs as, by name or number. Default: that of the user; a bare number has the group of its number.
        group: AccountText,
        /// All its supplementary groups. Default: those of the named user, none for a bare number.
        supplementary_groups: AccountNames,
        /// Permissions that its new files do not get, in octal digits.
        umask: Umask,
        /// Its scheduling priority: -20 for the most of the processor, 19 for the least.
        nice: Whole<-20, 19>,
        /// How gladly the kernel kills it when memory is short: -1000 for never, 1000 for first.
        oom_score_adjust: Whole<-1000, 1000>,
        /// What it may use of each resource: a number or "unlimited" for both limits, or { soft = …, hard = … }.
        limits: Limits,
        /// Nothing it executes may give it more rights, such as set-user-ID programs. Default false.
        no_new_privileges: Flag,
        /// The signal that the kernel sends it if exeunt is killed. Default off.
        parent_death_signal: DeathSignal,
        /// An instance that has worked on this many items is asked to leave and replaced. Default: never.
        max_items: Count<1, { 1 << 53 }>,
        /// Where the program's stdout and stderr go. Default inherit.
        log: Word<Log>,
    }
}
