//! What a worker and a command source have in common: how a process is started and stopped.

use super::identity::WhoKeys;
use super::{Linker, Scope};
use crate::config::problem::{Problem, Span, quote};
use crate::config::raw::{Source, Worker};
use crate::config::read::{At, Field};
use crate::config::shell_text::warn_of_shell_syntax;
use crate::config::value::{
    Command, Environment, ExitCodes, Flag, Ladder, OneOrMore, PathText, SignalList, SignalName, Text, Timespan, Word,
};
use crate::model::SignalSet;
use crate::model::identity::Account;
use crate::model::plan::{KillMode, Log, Place, Program, Rung, Secret, Step};
use crate::model::signal::Signal;
use std::time::Duration;

/// The wait of a ladder of one signal that does not say how long.
const SIGNAL_WAIT: Duration = Duration::from_secs(8);

/// The ladder of a plain service and of a command source.
pub(super) const SERVICE_LADDER: [Rung; 1] = [Rung { step: Step::Signal(Signal::TERM), wait: SIGNAL_WAIT }];
/// The ladder of a queue worker.
pub(super) const CONSUMER_LADDER: [Rung; 2] = [
    Rung { step: Step::Event, wait: Duration::from_secs(5) },
    Rung { step: Step::Signal(Signal::TERM), wait: Duration::from_secs(3) },
];

/// The keys of a program, wherever they were written.
pub(super) struct ProgramKeys<'a> {
    command: &'a Field<Command>,
    working_directory: &'a Field<PathText>,
    env: &'a Field<Environment>,
    env_clear: &'a Field<Flag>,
    env_file: &'a Field<OneOrMore>,
    env_from_file: &'a Field<Environment>,
    pub(super) who: WhoKeys<'a>,
    ignore_signals: &'a Field<SignalList>,
    block_signals: &'a Field<SignalList>,
    stop: &'a Field<Ladder>,
    stop_signal: &'a Field<SignalName>,
    stop_timeout: &'a Field<Timespan<0>>,
    kill_mode: &'a Field<Word<KillMode>>,
    success_exit_status: &'a Field<ExitCodes>,
    log: &'a Field<Word<Log>>,
}

macro_rules! program_keys {
    ($section:ident: $type:ty) => {
        impl<'a> From<&'a $type> for ProgramKeys<'a> {
            fn from($section: &'a $type) -> ProgramKeys<'a> {
                ProgramKeys {
                    command: &$section.command,
                    working_directory: &$section.working_directory,
                    env: &$section.env,
                    env_clear: &$section.env_clear,
                    env_file: &$section.env_file,
                    env_from_file: &$section.env_from_file,
                    who: WhoKeys {
                        user: &$section.user,
                        group: &$section.group,
                        supplementary_groups: &$section.supplementary_groups,
                        umask: &$section.umask,
                        nice: &$section.nice,
                        oom_score_adjust: &$section.oom_score_adjust,
                        limits: &$section.limits,
                        no_new_privileges: &$section.no_new_privileges,
                        parent_death_signal: &$section.parent_death_signal,
                    },
                    ignore_signals: &$section.ignore_signals,
                    block_signals: &$section.block_signals,
                    stop: &$section.stop,
                    stop_signal: &$section.stop_signal,
                    stop_timeout: &$section.stop_timeout,
                    kill_mode: &$section.kill_mode,
                    success_exit_status: &$section.success_exit_status,
                    log: &$section.log,
                }
            }
        }
    };
}
program_keys!(worker: Worker);
program_keys!(source: Source);

/// What the section says, else what the defaults say.
pub(in crate::config) fn pick<'a, T>(own: &'a Field<T>, defaults: &'a Field<T>) -> Option<&'a At<T>> {
    match own {
        Field::Given(at) => Some(at),
        Field::Absent => defaults.given(),
        Field::Bad(_) => None,
    }
}

impl ProgramKeys<'_> {
    /// The keys that are there, but for the command, each with its place.
    pub(super) fn present(&self) -> Vec<(&'static str, Span)> {
        let all = [
            ("working-directory", self.working_directory.span()),
            ("env", self.env.span()),
            ("env-clear", self.env_clear.span()),
            ("env-file", self.env_file.span()),
            ("env-from-file", self.env_from_file.span()),
            ("ignore-signals", self.ignore_signals.span()),
            ("block-signals", self.block_signals.span()),
            ("stop", self.stop.span()),
            ("stop-signal", self.stop_signal.span()),
            ("stop-timeout", self.stop_timeout.span()),
            ("kill-mode", self.kill_mode.span()),
            ("success-exit-status", self.success_exit_status.span()),
            ("log", self.log.span()),
        ];
        all.into_iter().chain(self.who.all()).filter_map(|(key, span)| span.map(|span| (key, span))).collect()
    }

    /// The ladder that these keys give, a missing half of the shorthand taken from `others`.
    fn ladder(&self, others: &ProgramKeys<'_>) -> Option<Vec<Rung>> {
        if let Some(Ladder(rungs)) = self.stop.value() {
            return Some(rungs.clone());
        }
        if self.stop_signal.is_absent() && self.stop_timeout.is_absent() {
            return None;
        }
        let signal = pick(self.stop_signal, others.stop_signal).map_or(Signal::TERM, |at| at.value.0);
        let wait = pick(self.stop_timeout, others.stop_timeout).map_or(SIGNAL_WAIT, |at| at.value.0);
        Some(vec![Rung { step: Step::Signal(signal), wait }])
    }
}

fn signal_set(list: Option<&At<SignalList>>) -> SignalSet {
    list.map(|list| list.value.0.iter().map(|name| name.value.0).collect()).unwrap_or_default()
}

impl Linker<'_> {
    /// `worker` is its name, if it is one. What the program's words may hold can be expanded until
    /// [`leave_program`](Self::leave_program).
    pub(super) fn program(
        &mut self,
        own: &ProgramKeys<'_>,
        defaults: &ProgramKeys<'_>,
        ladder: &[Rung],
        worker: Option<&str>,
    ) -> Program {
        self.begin_program();
        self.check_one_way_to_stop(own);
        let identity = self.identity(&own.who, &defaults.who);
        let env_files = pick(own.env_file, defaults.env_file);
        let file = self.variables(env_files, &identity);
        let env_files = env_files.map_or(Span { start: 0, end: 0 }, |paths| paths.span);
        self.scope = Scope { instance: true, worker: worker.map(str::to_owned), file };
        let groups = identity.groups.as_ref().map_or(0, Vec::len);
        self.count_bytes(groups * size_of::<Account>(), env_files);
        let ladder = own.ladder(defaults).or_else(|| defaults.ladder(own)).unwrap_or_else(|| ladder.to_vec());
        let codes = pick(own.success_exit_status, defaults.success_exit_status);
        let code = |code: &At<crate::config::value::Count<0, 255>>| u8::try_from(code.value.0).ok();
        Program {
            command: own.command.value().map(|command| self.command(command)).unwrap_or_default(),
            working_directory: self.path_of(pick(own.working_directory, defaults.working_directory)),
            env: self.environment(defaults.env, own.env, env_files),
            env_clear: pick(own.env_clear, defaults.env_clear).is_some_and(|flag| flag.value.0),
            secrets: self.secrets(own, defaults),
            identity,
            ignore_signals: signal_set(pick(own.ignore_signals, defaults.ignore_signals)),
            block_signals: signal_set(pick(own.block_signals, defaults.block_signals)),
            place: Place::Session,
            log: pick(own.log, defaults.log).map_or(Log::Inherit, |word| word.value.0),
            ladder,
            kill_mode: pick(own.kill_mode, defaults.kill_mode).map_or(KillMode::Mixed, |word| word.value.0),
            success_exit_status: codes
                .map_or_else(|| vec![0], |list| list.value.0.iter().filter_map(code).collect::<Vec<_>>()),
        }
    }

    pub(super) fn leave_program(&mut self) {
        self.scope = Scope::default();
    }

    pub(super) fn check_one_way_to_stop(&mut self, keys: &ProgramKeys<'_>) {
        let Some(stop) = keys.stop.span() else { return };
        for (key, span) in [("stop-signal", keys.stop_signal.span()), ("stop-timeout", keys.stop_timeout.span())] {
            let Some(span) = span else { continue };
            let problem = Problem::error(span, format!("{key} and stop are two ways to say the same"));
            let problem = problem.help("stop-signal and stop-timeout are the shorthand for a ladder of one signal");
            self.problems.push(problem.related(stop, "the ladder is written here"));
        }
    }

    pub(super) fn command(&mut self, Command(words): &Command) -> Vec<String> {
        let written = words.iter().map(|word| (word.value.0.as_str(), word.span)).collect::<Vec<_>>();
        warn_of_shell_syntax(&written, self.warnings);
        let expanded = words.iter().map(|word| self.expand(&word.value.0, word.span)).collect::<Vec<_>>();
        let empty = expanded.first().is_some_and(String::is_empty) && !self.strings.full;
        if let Some(word) = words.first().filter(|_| empty) {
            self.error(word.span, "the command's program is empty once its variables are expanded");
        }
        expanded
    }

    /// Those of the env-files first, then the defaults', then the section's own. The later one of equal names is kept.
    /// `span`: where the env-files are named.
    fn environment(
        &mut self,
        defaults: &Field<Environment>,
        own: &Field<Environment>,
        span: Span,
    ) -> Vec<(String, String)> {
        let own = own.value().map_or(&[][..], |env| &env.0);
        let defaults = defaults.value().map_or(&[][..], |env| &env.0);
        let kept = defaults.iter().filter(|(name, _)| own.iter().all(|(other, _)| other != name));
        let chosen = kept.chain(own).collect::<Vec<_>>();
        let file = self.scope.file.clone();
        let mut all = Vec::new();
        for (name, value) in file.iter().filter(|(name, _)| chosen.iter().all(|(other, _)| other != name)) {
            self.count_string(name.len() + value.len(), span);
            if self.strings.full {
                break;
            }
            all.push((name.clone(), value.clone()));
        }
        for (name, value) in chosen {
            self.count_string(name.len(), value.span);
            if self.strings.full {
                break;
            }
            all.push((name.clone(), self.expand(&value.value.0, value.span)));
        }
        all
    }

    /// A variable is a secret or is not: what the section itself says goes over the defaults.
    fn secrets(&mut self, own: &ProgramKeys<'_>, defaults: &ProgramKeys<'_>) -> Vec<Secret> {
        let list = |field: &Field<Environment>| field.value().map_or(Vec::new(), |env| env.0.clone());
        let (plain, secrets) = (list(own.env), list(own.env_from_file));
        for (name, path) in &secrets {
            let Some((_, value)) = plain.iter().find(|(other, _)| other == name) else { continue };
            let problem = Problem::error(path.span, format!("{} has a value and a file", quote(name)));
            self.problems.push(problem.related(value.span, "the value is here"));
        }
        let said = |name: &String| plain.iter().chain(&secrets).any(|(other, _)| other == name);
        let mut all = list(defaults.env_from_file);
        all.retain(|(name, _)| !said(name));
        all.extend(secrets);
        let secret = |(name, path): (String, At<Text>)| Secret { name, path: self.path(&path.value.0, path.span) };
        all.into_iter().map(secret).collect()
    }
}
