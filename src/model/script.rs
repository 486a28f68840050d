//! The beginning of an executable file, as execve(2) reads it: which interpreter or loader it needs. Nothing here allocates unless
//! it says so, and nothing can panic, so that a forked child may call it.

use super::printable::printable;

/// So many first bytes the kernel looks at (`BINPRM_BUF_SIZE`, linux/binfmts.h).
pub const FIRST_LINE: usize = 256;

/// The `#!` line of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// As it is written: a carriage return at its end belongs to the name.
    pub interpreter: &'a [u8],
    /// All that follows, which Linux hands over as one word. May be empty.
    pub argument: &'a [u8],
}

impl<'a> Script<'a> {
    /// Reads a line as `binfmt_script` of Linux does. `None` where there is no such line, or the name of the interpreter does not
    /// end within the first 256 bytes.
    pub fn of(head: &'a [u8]) -> Option<Script<'a>> {
        let head = head.get(..FIRST_LINE).unwrap_or(head);
        let rest = head.strip_prefix(b"#!")?;
        let end = rest.iter().position(|&byte| matches!(byte, b'\n' | 0));
        let line = trim(rest.get(..end.unwrap_or(rest.len()))?);
        let name = line.iter().position(|byte| is_blank(*byte));
        if line.is_empty() || (end.is_none() && name.is_none() && head.len() == FIRST_LINE) {
            return None;
        }
        let (interpreter, argument) = line.split_at_checked(name.unwrap_or(line.len()))?;
        Some(Script { interpreter, argument: trim(argument) })
    }

    /// The line ends in a carriage return: the file was written with the line ends of DOS.
    pub fn ends_in_carriage_return(&self) -> bool {
        let line = if self.argument.is_empty() { self.interpreter } else { self.argument };
        line.ends_with(b"\r")
    }

    /// The words of the argument.
    pub fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        self.argument.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty())
    }

    /// What env(1) is asked to run, if the interpreter is env: the first word that is neither an option nor a variable.
    pub fn program_of_env(&self) -> Option<&'a [u8]> {
        let base = self.interpreter.rsplit(|&byte| byte == b'/').next()?;
        if base != b"env" {
            return None;
        }
        let mut words = self.words();
        loop {
            match words.next()? {
                // These two have a value of their own.
                b"-u" | b"-C" => _ = words.next()?,
                // What is to be split may stand in the same word.
                [b'-', b'S', program @ ..] if !program.is_empty() => return Some(program),
                [b'-', ..] => {}
                word if word.contains(&b'=') => {}
                program => return Some(program),
            }
        }
    }
}

/// What stands in the way of executing a file that is there, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// A script: its interpreter.
    Interpreter(Script<'a>),
    /// A dynamically linked program: its loader (`PT_INTERP`, elf(5)).
    Loader(&'a [u8]),
    /// An ELF file that names no loader within these bytes.
    Nothing,
    /// Text without `#!`, which execvp(3) would give to /bin/sh.
    FirstLine,
    /// The same, and `#!` stands behind a byte-order mark, where the kernel does not see it.
    NoByteOrderMark,
    /// It is empty.
    Content,
    /// Neither a script nor an ELF file.
    Unknown,
}

impl<'a> Needs<'a> {
    pub fn of(head: &'a [u8]) -> Needs<'a> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        if head.is_empty() {
            Needs::Content
        } else if let Some(script) = Script::of(head) {
            Needs::Interpreter(script)
        } else if head.starts_with(b"\x7fELF") {
            loader(head).map_or(Needs::Nothing, Needs::Loader)
        } else if head.strip_prefix(BYTE_ORDER_MARK).is_some_and(|rest| rest.starts_with(b"#!")) {
            Needs::NoByteOrderMark
        } else if head.contains(&0) {
            Needs::Unknown
        } else {
            Needs::FirstLine
        }
    }
}

/// Linux errno values, the same on every architecture that exeunt is built for.
mod errno {
    pub const ENOENT: i32 = 2;
    pub const ENOEXEC: i32 = 8;
    pub const EACCES: i32 = 13;
    pub const ENOTDIR: i32 = 20;
    pub const ELOOP: i32 = 40;
    pub const ENAMETOOLONG: i32 = 36;
    pub const ELIBBAD: i32 = 80;
}

impl Needs<'_> {
    /// Why execve(2) failed with this errno though the file itself is there, for people; `reason` is the errno in words. `None`
    /// where the errno has nothing to do with what the file needs.
    pub fn obstacle(&self, errno: i32, reason: &str) -> Option<String> {
        use errno::*;
        let of_another = [ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, ELIBBAD].contains(&errno);
        Some(match self {
            Needs::Interpreter(script) if of_another || errno == ENOEXEC => {
                let mut text = format!("its interpreter {} cannot be executed: {reason}", quoted(script.interpreter));
                if script.ends_in_carriage_return() {
                    text.push_str("; ");
                    text.push_str(CARRIAGE_RETURN);
                }
                text
            }
            Needs::Loader(path) if of_another => {
                format!("its loader {} cannot be used: {reason}; it was built for another system", quoted(path))
            }
            Needs::Loader(_) | Needs::Nothing if errno == ENOEXEC => {
                "it is damaged, or built for another kind of processor".to_owned()
            }
            Needs::FirstLine if errno == ENOEXEC => {
                "it has no first line that names its interpreter: add one, such as #!/bin/sh".to_owned()
            }
            Needs::NoByteOrderMark if errno == ENOEXEC => {
                "its first line is hidden behind a byte-order mark: save the file without one".to_owned()
            }
            Needs::Content if errno == ENOEXEC => "it is empty".to_owned(),
            Needs::Unknown if errno == ENOEXEC => "it is neither a program nor a script".to_owned(),
            Needs::Interpreter(_)
            | Needs::Loader(_)
            | Needs::Nothing
            | Needs::FirstLine
            | Needs::NoByteOrderMark
            | Needs::Content
            | Needs::Unknown => return None,
        })
    }
}

/// What is wrong with a first line that has one at its end, and what to do.
pub const CARRIAGE_RETURN: &str = "its first line ends in a carriage return: write the file with line feeds only";

/// Why a script whose interpreter is exeunt itself is not executed.
pub const STARTS_ITSELF: &str = "its interpreter is exeunt itself, which would execute it again without end";

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", printable(&String::from_utf8_lossy(bytes)))
}

/// The path of the program header `PT_INTERP`, if it and the header lie within these bytes. Of this machine's byte order only.
fn loader(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u64 = 3;
    // Offsets of elf(5) for 32 and 64 bits: program headers, their size and number; in one: offset and size in the file.
    let (wide, phoff, phentsize, phnum, p_offset, p_filesz) = match head.get(4)? {
        1 => (false, 28, 42, 44, 4, 16),
        2 => (true, 32, 54, 56, 8, 32),
        _ => return None,
    };
    let half = |at: usize| Some(u64::from(u16::from_ne_bytes(head.get(at..at.checked_add(2)?)?.try_into().ok()?)));
    let word = |at: usize| Some(u64::from(u32::from_ne_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?)));
    let long = |at: usize| match wide {
        true => Some(u64::from_ne_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?)),
        false => word(at),
    };
    let (first, size, count) = (long(phoff)?, half(phentsize)?, half(phnum)?);
    for index in 0..count.min(64) {
        let at = usize::try_from(first.checked_add(index.checked_mul(size)?)?).ok()?;
        if word(at)? == PT_INTERP {
            let begin = usize::try_from(long(at.checked_add(p_offset)?)?).ok()?;
            let length = usize::try_from(long(at.checked_add(p_filesz)?)?).ok()?;
            let path = head.get(begin..begin.checked_add(length)?)?;
            return path.split(|&byte| byte == 0).next().filter(|path| !path.is_empty());
        }
    }
    None
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(head: &str) -> Option<(&str, &str)> {
        let script = Script::of(head.as_bytes())?;
        Some((std::str::from_utf8(script.interpreter).unwrap(), std::str::from_utf8(script.argument).unwrap()))
    }

    #[test]
    fn a_first_line_is_read_as_the_kernel_does() {
        assert_eq!(script("#!/bin/sh\necho"), Some(("/bin/sh", "")));
        assert_eq!(script("#! /usr/bin/env  python3 -u \n"), Some(("/usr/bin/env", "python3 -u")));
        assert_eq!(script("#!/bin/sh\r\n"), Some(("/bin/sh\r", "")));
        assert_eq!(script("#!/bin/sh"), Some(("/bin/sh", "")), "the file ends there");
        assert_eq!(script("#!\n/bin/sh"), None);
        assert_eq!(script("#/bin/sh\n"), None);
        assert_eq!(script(""), None);
        let long = format!("#!/{}", "x".repeat(400));
        assert_eq!(script(&long), None, "where the name ends cannot be seen");
        let argument = format!("#!/bin/sh {}", "x".repeat(400));
        assert_eq!(script(&argument).unwrap().0, "/bin/sh");
    }

    #[test]
    fn carriage_returns_are_seen_at_the_end_of_the_line() {
        let ends = |head: &str| Script::of(head.as_bytes()).unwrap().ends_in_carriage_return();
        assert!(ends("#!/bin/sh\r\n") && ends("#!/usr/bin/env python3\r\n"));
        assert!(!ends("#!/bin/sh\n") && !ends("#!/usr/bin/env python3\n"));
    }

    #[test]
    fn what_env_runs_is_found_behind_its_options() {
        let program = |line: &str| {
            let head = format!("#!{line}\n");
            Script::of(head.as_bytes()).unwrap().program_of_env().map(|it| String::from_utf8(it.to_vec()).unwrap())
        };
        let tini = Some("tini".to_owned());
        for line in
            ["/usr/bin/env tini", "/usr/bin/env -S tini -g --", "/bin/env -S -i A=b -u C tini", "/bin/env -Stini -g"]
        {
            assert_eq!(program(line), tini, "{line}");
        }
        for line in ["/bin/sh tini", "/usr/bin/env", "/usr/bin/env -i", "/usr/bin/environment tini"] {
            assert_eq!(program(line), None, "{line}");
        }
    }

    #[test]
    fn each_kind_of_file_is_told_from_the_others() {
        assert_eq!(Needs::of(b""), Needs::Content);
        assert_eq!(Needs::of(b"echo hello\n"), Needs::FirstLine);
        assert_eq!(Needs::of(b"\xef\xbb\xbf#!/bin/sh\n"), Needs::NoByteOrderMark);
        assert_eq!(Needs::of(b"\x00\x01\x02"), Needs::Unknown);
        assert_eq!(Needs::of(b"\x7fELF\x02\x01\x01"), Needs::Nothing);
        assert!(matches!(Needs::of(b"#!/bin/sh\n"), Needs::Interpreter(_)));
    }

    #[test]
    fn the_loader_of_a_real_program_is_found_and_a_torn_header_is_no_panic() {
        let Ok(shell) = std::fs::read("/bin/sh") else { return };
        let head = &shell[..shell.len().min(2048)];
        if let Needs::Loader(path) = Needs::of(head) {
            assert!(std::path::Path::new(std::str::from_utf8(path).unwrap()).exists());
        }
        for length in 0..head.len() {
            let _ = Needs::of(&head[..length]);
        }
        for at in 0..200 {
            let mut broken = head.to_vec();
            broken[at] = 0xff;
            let _ = Needs::of(&broken);
        }
    }
}
