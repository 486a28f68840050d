//! How we say things: in our own words, or as an init that we stand in for begins its lines, for those who look for them in logs.

use log::Level;

/// Whose lines ours look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    #[default]
    Exeunt,
    Tini,
    DumbInit,
}

impl Voice {
    /// What stands in front of a message. `pid` is our own.
    pub fn prefix(self, level: Level, pid: i32) -> String {
        match self {
            Voice::Exeunt => match level {
                Level::Error => "exeunt: error: ".into(),
                Level::Warn => "exeunt: warning: ".into(),
                Level::Info => "exeunt: ".into(),
                Level::Debug => "exeunt: debug: ".into(),
                Level::Trace => "exeunt: trace: ".into(),
            },
            Voice::Tini => {
                let word = match level {
                    Level::Error => "FATAL",
                    Level::Warn => "WARN ",
                    Level::Info => "INFO ",
                    Level::Debug => "DEBUG",
                    Level::Trace => "TRACE",
                };
                format!("[{word} tini ({pid})] ")
            }
            Voice::DumbInit => "[dumb-init] ".into(),
        }
    }

    /// A program whose exec failed, and why.
    pub fn cannot_execute(self, program: &str, why: &str) -> String {
        match self {
            Voice::Exeunt => format!("executing {}: {why}", program_name(program)),
            Voice::Tini => format!("exec {program} failed: {why}"),
            Voice::DumbInit => format!("{program}: {why}"),
        }
    }

    pub fn reaped(self, pid: i32, status: &str) -> String {
        match self {
            Voice::Exeunt | Voice::DumbInit => format!("reaped process {pid}, an orphan ({status})"),
            Voice::Tini => format!("Reaped zombie process with pid={pid} ({status})"),
        }
    }
}

/// The name of a program within a sentence: in quotes where it could not be told from the words around it.
pub fn program_name(name: &str) -> String {
    let is_plain = !name.is_empty() && !name.contains(char::is_whitespace);
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_init_begins_its_lines_in_its_own_way() {
        assert_eq!(Voice::Exeunt.prefix(Level::Error, 7), "exeunt: error: ");
        assert_eq!(Voice::Tini.prefix(Level::Error, 7), "[FATAL tini (7)] ");
        assert_eq!(Voice::Tini.prefix(Level::Warn, 7), "[WARN  tini (7)] ");
        assert_eq!(Voice::DumbInit.prefix(Level::Error, 7), "[dumb-init] ");
    }
}
