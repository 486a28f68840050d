//! Sources.

use super::program::{ProgramKeys, SERVICE_LADDER};
use super::{Linker, named};
use crate::config::problem::{Problem, Span, quote};
use crate::config::raw::{Source, Worker};
use crate::config::read::At;
use crate::config::toml_text;
use crate::config::value::Text;
use crate::model::plan::{Feed, STOP_READ_TIMEOUT, SourcePlan};
use crate::model::{Framing, QueueId};

impl Linker<'_> {
    /// One for each section; in place of one that was refused stands something harmless.
    pub(super) fn sources(&mut self) -> Vec<SourcePlan> {
        let file = self.file;
        let mut on_stdin = None;
        let mut sources = Vec::new();
        for section in named(&file.source) {
            let Some(keys) = &section.section else { continue };
            let queue = self.queue_of(keys, &section.name);
            if let Some(stdin) = keys.stdin.given().filter(|flag| flag.value.0) {
                self.check_stdin_is_free(stdin.span, &mut on_stdin);
            }
            sources.push(SourcePlan {
                name: section.name.value.clone(),
                queue: queue.unwrap_or(QueueId(0)),
                framing: keys.framing.value().map_or(Framing::Line, |word| word.0),
                feed: self.feed(keys, &section.name),
                stop_read_timeout: keys.stop_read_timeout.value().map_or(STOP_READ_TIMEOUT, |span| span.0),
            });
        }
        sources
    }

    fn queue_of(&mut self, keys: &Source, name: &At<String>) -> Option<QueueId> {
        if keys.queue.is_absent() {
            let problem = Problem::error(
                name.span,
                format!("the source {} does not say which queue it feeds", quote(&name.value)),
            );
            let only = self.queue_ids.keys().next().filter(|_| self.queue_ids.len() == 1);
            let queue = only.copied().unwrap_or("NAME");
            self.problems.push(problem.help(format!("add queue = {}", toml_text::string(queue))));
        }
        let queue = keys.queue.given()?;
        let id = self.queue_named(queue)?;
        if !self.has_worker(&queue.value) {
            let message = format!("the queue {} has no worker, so nothing would ever be done", quote(&queue.value.0));
            let help = format!("give a worker queue = {}", toml_text::string(&queue.value.0));
            self.problems.push(Problem::error(queue.span, message).help(help));
        }
        Some(id)
    }

    /// Also true when a worker's reference is wrong, which is told: it may have meant this queue.
    fn has_worker(&self, queue: &Text) -> bool {
        let workers = named(&self.file.worker);
        workers.iter().any(|worker| {
            let Some(keys) = &worker.section else { return true };
            let known = keys.queue.value().is_none_or(|name| self.queue_ids.contains_key(name.0.as_str()));
            keys.queue.value() == Some(queue) || !known || (keys.queue.value().is_none() && !keys.queue.is_absent())
        })
    }

    fn check_stdin_is_free(&mut self, span: Span, on_stdin: &mut Option<Span>) {
        match on_stdin {
            Some(first) => {
                let problem = Problem::error(span, "two sources cannot share the one standard input");
                self.problems.push(problem.related(*first, "it is taken here"));
            }
            None => *on_stdin = Some(span),
        }
    }

    fn feed(&mut self, keys: &Source, name: &At<String>) -> Feed {
        let stdin = keys.stdin.value().is_some_and(|flag| flag.0);
        match (stdin, keys.command.span()) {
            (false, Some(_)) => {
                if let Some(span) = keys.stop_read_timeout.span() {
                    self.error(span, "stop-read-timeout is for sources on stdin, this one reads a command".to_owned());
                }
                let defaults = Worker::default();
                let program = self.program(&keys.into(), &(&defaults).into(), &SERVICE_LADDER, None);
                self.leave_program();
                Feed::Command(Box::new(program))
            }
            (true, None) => {
                self.refuse_program_keys(&keys.into());
                Feed::Stdin
            }
            (true, Some(command)) => {
                let problem = Problem::error(command, "a source has either stdin or a command");
                let stdin = keys.stdin.span().unwrap_or(command);
                self.problems.push(problem.related(stdin, "stdin is chosen here"));
                Feed::Stdin
            }
            (false, None) => {
                if keys.stdin.value().is_some() || keys.stdin.is_absent() {
                    let message = format!("the source {} has nothing to read", quote(&name.value));
                    let problem = Problem::error(name.span, message);
                    self.problems.push(problem.help("add stdin = true, or command = [\"…\"]"));
                }
                Feed::Stdin
            }
        }
    }

    fn refuse_program_keys(&mut self, keys: &ProgramKeys<'_>) {
        for (key, span) in keys.present() {
            self.error(span, format!("{key} is for sources with a command, this one reads stdin"));
        }
    }
}
