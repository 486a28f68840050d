//! The five workers of `examples/workers`, made ready for tests.

use crate::support::{Need, has, python};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of the examples. Its work gets one addition, so that tests can find it with an item in hand: of an item that begins
/// with `hold` it says `holding ITEM` on stderr, and waits there as long as the FIFO `gate` is held shut.
pub struct Language {
    pub name: &'static str,
    needs: Option<Need>,
    source: &'static str,
    file: &'static str,
    /// How its work begins, and the addition that goes behind that.
    work: &'static str,
    hold: &'static str,
    how: How,
    program: OnceLock<PathBuf>,
}

enum How {
    Interpreted(fn() -> &'static str),
    /// The compiler and its arguments before the output's name.
    Compiled(&'static [&'static str]),
}

static LANGUAGES: [Language; 5] = [
    Language {
        name: "sh",
        needs: None,
        source: include_str!("../../../examples/workers/sh/worker.sh"),
        file: "worker.sh",
        work: "work() { ",
        hold: r#"case $1 in hold*) echo "holding $1" >&2; { read -r _ <gate; } 2>/dev/null ;; esac; "#,
        how: How::Interpreted(|| "sh"),
        program: OnceLock::new(),
    },
    Language {
        name: "python",
        needs: Some(Need::Python),
        source: include_str!("../../../examples/workers/python/worker.py"),
        file: "worker.py",
        work: "def work(item):\n",
        hold: r#"
    if item.startswith(b"hold"):
        os.write(2, b"holding %b\n" % item)
        if os.path.exists("gate"):
            open("gate").read()
"#,
        how: How::Interpreted(|| python().unwrap_or("python3")),
        program: OnceLock::new(),
    },
    Language {
        name: "node",
        needs: Some(Need::Node),
        source: include_str!("../../../examples/workers/node/worker.js"),
        file: "worker.js",
        work: "async function work(item) {\n",
        hold: r#"
  if (item.toString().startsWith("hold")) {
    fs.writeSync(2, `holding ${item}\n`);
    await fs.promises.stat("."); // goes on in the middle of a turn of the event loop,
    if (fs.existsSync("gate")) try { fs.readFileSync("gate"); } catch {} // and is deaf meanwhile
  }
"#,
        how: How::Interpreted(|| "node"),
        program: OnceLock::new(),
    },
    Language {
        name: "c",
        needs: Some(Need::CCompiler),
        source: include_str!("../../../examples/workers/c/worker.c"),
        file: "worker.c",
        work: "static size_t work(const char *item, size_t length, char *result, size_t room) {\n",
        hold: r#"
    if (length >= 4 && !memcmp(item, "hold", 4)) {
        extern int open(const char *, int, ...);
        char byte;
        dprintf(2, "holding %.*s\n", (int)length, item);
        int gate = open("gate", 0);
        if (gate >= 0 && read(gate, &byte, 1) >= 0) close(gate);
    }
"#,
        how: How::Compiled(&["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]),
        program: OnceLock::new(),
    },
    Language {
        name: "rust",
        needs: Some(Need::RustCompiler),
        source: include_str!("../../../examples/workers/rust/worker.rs"),
        file: "worker.rs",
        work: "fn work(item: &[u8]) -> Vec<u8> {\n",
        hold: r#"
    if item.starts_with(b"hold") {
        let word = [b"holding ", item, b"\n"].concat();
        std::io::stderr().write_all(&word).unwrap();
        drop(std::fs::read("gate"));
    }
"#,
        how: How::Compiled(&["rustc", "-O", "-D", "warnings", "-o"]),
        program: OnceLock::new(),
    },
];

/// `None`, with a word on why, when something that it needs is missing.
pub fn language(name: &str) -> Option<&'static Language> {
    let language = LANGUAGES.iter().find(|language| language.name == name).expect("it is in the table");
    language.needs.is_none_or(has).then_some(language)
}

impl Language {
    /// The words that start it, from any directory.
    pub fn command(&self) -> Vec<String> {
        let program = self.program.get_or_init(|| self.make()).to_str().expect("a path of text").to_owned();
        match self.how {
            How::Interpreted(interpreter) => vec![interpreter().to_owned(), program],
            How::Compiled(_) => vec![program],
        }
    }

    /// Whether it looks at descriptor 5. The others hear the exit event by the end of their items.
    pub fn looks_at_the_event(&self) -> bool {
        self.name != "sh"
    }

    /// Once a test run. A program that another run made is replaced by renaming, so that nobody executes half of one.
    fn make(&self) -> PathBuf {
        assert_eq!(self.source.matches(self.work).count(), 1, "{}: its work is found", self.name);
        let source = self.source.replace(self.work, &format!("{}{}", self.work, self.hold));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages").join(self.name);
        let new = directory.join(std::process::id().to_string());
        fs::create_dir_all(&new).expect("the target directory can be written");
        fs::write(new.join(self.file), source).expect("the target directory can be written");
        let made = match self.how {
            How::Interpreted(_) => self.file,
            How::Compiled(words) => {
                let mut compiler = Command::new(words[0]);
                compiler.args(&words[1..]).args(["worker", self.file]).current_dir(&new);
                assert!(compiler.status().expect("the compiler runs").success(), "{} is built", self.name);
                "worker"
            }
        };
        fs::rename(new.join(made), directory.join(made)).expect("one directory of ours");
        fs::remove_dir_all(new).expect("it is ours");
        directory.join(made)
    }
}
