//! The env-files of a program.

use super::Linker;
use crate::config::Variables;
use crate::config::env_file::{self, LARGEST_ENV_FILE, LineError, MOST_VARIABLES};
use crate::config::problem::{Excerpt, Problem, Severity, Span, quote};
use crate::config::read::At;
use crate::config::value::OneOrMore;
use crate::model::Identity;
use std::collections::BTreeMap;
use std::env::VarError;
use std::path::Path;
use std::rc::Rc;

impl Linker<'_> {
    /// The variables of the env-files, in order of their names; the later one of equal names is kept. A list that several
    /// workers of one identity share is read once.
    pub(super) fn variables(&mut self, paths: Option<&At<OneOrMore>>, identity: &Identity) -> Rc<Variables> {
        let Some(paths) = paths else { return Rc::default() };
        let same = |other: &Identity| {
            (other.uid(), other.gid(), &other.groups) == (identity.uid(), identity.gid(), &identity.groups)
        };
        let known = self.env_files.get(&paths.span.start).and_then(|known| known.iter().find(|(other, _)| same(other)));
        if let Some((_, known)) = known {
            return known.clone();
        }
        let mut variables = BTreeMap::new();
        for path in &paths.value.0 {
            if self.strings.full {
                break;
            }
            let before = self.problems.iter().count();
            let file = self.path(&path.value.0, path.span);
            if self.problems.iter().count() > before {
                continue;
            }
            match (self.context.files.env_file)(&file, identity) {
                Ok(bytes) => self.read_env_file(&file, &bytes, path.span, &mut variables),
                Err(why) => self.refuse_env_file(&file, &why, path.span),
            }
        }
        if variables.len() > MOST_VARIABLES {
            let message = format!("{} variables, at most {MOST_VARIABLES} are allowed", variables.len());
            self.error(paths.span, message);
            variables.clear();
        }
        let variables = Rc::new(variables.into_iter().collect::<Variables>());
        self.env_files.entry(paths.span.start).or_default().push((identity.clone(), variables.clone()));
        variables
    }

    fn refuse_env_file(&mut self, file: &Path, why: &str, span: Span) {
        let shown = quote(&file.display().to_string());
        self.error(span, format!("the env-file {shown} cannot be read: {why}"));
    }

    /// Adds its variables. Those of the files before it are known to its `${NAME}`.
    fn read_env_file(&mut self, file: &Path, bytes: &[u8], span: Span, variables: &mut BTreeMap<String, String>) {
        let text = match text_of(bytes) {
            Ok(text) => text,
            Err(why) => return self.refuse_env_file(file, &why, span),
        };
        self.count_bytes(text.len(), span);
        let environment = self.context.environment;
        let lookup = |name: &str| -> Result<String, VarError> {
            variables.get(name).map_or_else(|| environment(name), |value| Ok(value.clone()))
        };
        match env_file::parse(text, &lookup) {
            Ok(found) => {
                for line in &found.unexpanded {
                    self.warnings.push(problem(Severity::Warning, file, text, line, span));
                }
                for (name, value) in found.variables {
                    self.count_bytes(name.len() + value.len(), span);
                    variables.insert(name, value);
                }
            }
            Err(errors) => {
                for line in &errors {
                    self.problems.push(problem(Severity::Error, file, text, line, span));
                }
            }
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > LARGEST_ENV_FILE {
        return Err(format!("it has over {LARGEST_ENV_FILE} bytes (1 MiB), the most of an env-file"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        format!("line {} is not UTF-8", memchr::memchr_iter(b'\n', before).count() + 1)
    })
}

fn problem(severity: Severity, file: &Path, text: &str, line: &LineError, span: Span) -> Problem {
    let (number, shown, range) = env_file::excerpt(text, line);
    let problem = Problem::new(severity, crate::config::Place::Span(span), line.message.clone());
    let problem = problem.excerpt(Excerpt { file: file.display().to_string(), line: number, text: shown, range });
    match line.help {
        Some(help) => problem.help(help),
        None => problem,
    }
}
