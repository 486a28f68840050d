//! Programs of another user and the terminal of the person who started exeunt: they write to it through us, and have no part in it.

use crate::support::{Lines, Need, PATIENCE, QUICK_RESTART, Run, Sandbox, has, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Instant;

/// As a shell starts a program: one open file for all three, to read and to write.
const ON_TERMINAL: [&str; 4] = ["sh", "-c", "exec \"$@\" <>/dev/tty >&0 2>&0", "sh"];

fn sandbox(config: &str) -> Sandbox {
    let sandbox = Sandbox::new(config);
    std::fs::set_permissions(sandbox.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(sandbox.path("mine")).unwrap();
    chown(sandbox.path("mine"), Some(1000), Some(1000)).unwrap();
    sandbox
}

fn service(name: &str, keys: &str) -> String {
    format!("[worker.{name}]\ncommand = [\"sh\", \"{name}.sh\"]\n{keys}\n{QUICK_RESTART}\n")
}

fn start(sandbox: &Sandbox) -> (Run<'_>, Lines) {
    let run = sandbox.launch().under(&ON_TERMINAL).on_terminal().start();
    let screen = run.screen();
    (run, screen)
}

#[track_caller]
fn wait_for(screen: &Lines, words: &str) {
    let told = screen.wait_for_words(words, 1, Instant::now() + PATIENCE);
    told.unwrap_or_else(|silence| panic!("no {words:?} ({silence:?}) on\n{}", screen.text()));
}

#[test]
fn a_program_of_another_user_cannot_read_or_change_the_terminal() {
    if !has(Need::Root) {
        return;
    }
    let attack = "for fd in 0 1 2; do\n\
        [ -t $fd ] && echo attack: $fd is a terminal\n\
        stty -isig -echo <&$fd 2>/dev/null && echo attack: stty $fd\n\
        done\n\
        (exec 9</dev/fd/1) && echo attack: open 1\n\
        (exec 9</dev/fd/2) && echo attack: open 2\n\
        (exec 9<>/dev/tty) 2>/dev/null && echo attack: tty\n\
        echo to stdout; echo to stderr >&2; printf '\\033[1mbold\\033[m\\n'; sleep 1000 & wait\n";
    let sandbox = sandbox(&service("w", "user = \"1000\""));
    sandbox.file("w.sh", attack);
    let (mut run, screen) = start(&sandbox);
    wait_for(&screen, "\u{1b}[1mbold\u{1b}[m");
    let shown = screen.text();
    assert!(shown.contains("to stdout\r\nto stderr\r\n") && !shown.contains("attack"), "{shown}");
    run.type_keys(b"\x03");
    assert_eq!(run.wait().code(), Some(0), "{}", screen.text());
    sandbox.wait_until_empty();
}

/// Our own user could do all that without us, and the one that owns the terminal shall.
#[test]
fn other_programs_have_the_terminal_as_before() {
    if !has(Need::Root) {
        return;
    }
    let script = "[ -t 1 ] && [ -t 2 ] && echo \"$(id -u) has a terminal\"; sleep 1000 & wait\n";
    let services =
        [service("own", ""), service("group", "group = \"1000\""), service("t", "user = \"1000\"\nterminal = true")];
    let sandbox = sandbox(&services.concat().replace("sh\", \"own.sh", "sh\", \"group.sh"));
    sandbox.file("group.sh", script);
    sandbox.file("t.sh", script);
    let (run, screen) = start(&sandbox);
    wait_for(&screen, "1000 has a terminal");
    let told = screen.wait_for_words("0 has a terminal", 3, Instant::now() + PATIENCE);
    told.unwrap_or_else(|silence| panic!("{silence:?}: {}", screen.text()));
    run.signal(Signal::SIGTERM);
    run.finish_alone().expect_code(0);
}

/// A question has no line feed after it, and the last words of a program need none.
#[test]
fn half_a_line_is_shown_at_once_and_last_words_are_shown_whole() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox(&service("w", "user = \"1000\"\nrestart = \"never\""));
    let lines =
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i of many that fill the pipe more than once\"; done";
    sandbox.file("w.sh", &format!("printf 'name? '; read -r _ <mine/answer; echo; {lines}; printf 'last words'\n"));
    let answer = sandbox.gate("mine/answer");
    chown(sandbox.path("mine/answer"), Some(1000), None).unwrap();
    let (mut run, screen) = start(&sandbox);
    until("the question", || screen.text().contains("name? ").then_some(()));
    answer.open();
    assert_eq!(run.wait().code(), Some(0));
    until("the last words", || screen.text().contains("last words").then_some(()));
    let shown = screen.text();
    let lines = shown.lines().filter(|line| line.starts_with("line ")).collect::<Vec<_>>();
    let expected = |n: usize| format!("line {n} of many that fill the pipe more than once");
    assert_eq!(lines.len(), 3000, "{shown}");
    assert!(lines.iter().zip(1..).all(|(line, n)| *line == expected(n)), "{shown}");
}

/// The terminal is stopped with Ctrl+S: who writes there waits, nobody else does, and nothing is lost.
#[test]
fn a_stopped_terminal_holds_up_only_who_writes_there() {
    if !has(Need::Root) {
        return;
    }
    let flood = service("flood", "user = \"1000\"\nrestart = \"never\"");
    let quiet = service("quiet", "restart = \"always\"\nstart-limit = \"off\"\nlog = \"null\"");
    let sandbox = sandbox(&format!("{flood}{quiet}"));
    let lines = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); echo \"line $i of a flood that is larger than every buffer on its way\"; done";
    sandbox.file("flood.sh", &format!("read -r _ <mine/go; {lines}; echo the end\n"));
    sandbox.file("quiet.sh", "echo $$ >>lives; exit 1\n");
    let go = sandbox.gate("mine/go");
    chown(sandbox.path("mine/go"), Some(1000), None).unwrap();
    let (mut run, screen) = start(&sandbox);
    sandbox.wait_for_line("lives", "");
    run.type_keys(b"\x13");
    go.open();
    // As long as it takes to see that the other one is started again and again meanwhile.
    let before = sandbox.lines("lives").len();
    until("more lives", || (sandbox.lines("lives").len() > before + 20).then_some(()));
    assert!(!screen.text().contains("the end"));
    run.type_keys(b"\x11");
    wait_for(&screen, "the end");
    let shown = screen.text();
    let numbers = shown.lines().filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=40000).collect::<Vec<_>>());
    run.type_keys(b"\x03");
    run.wait();
    sandbox.wait_until_empty();
}

/// It writes for ever; the stop comes through, and so does all that others say.
#[test]
fn a_flood_of_output_holds_up_no_stop() {
    if !has(Need::Root) {
        return;
    }
    let sandbox = sandbox(&format!("{}{}", service("flood", "user = \"1000\""), service("other", "user = \"1000\"")));
    sandbox.file("flood.sh", "exec yes\n");
    sandbox.file("other.sh", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done\n");
    let (mut run, screen) = start(&sandbox);
    until("both", || (screen.text().contains("y\r\ny\r\n") && screen.text().contains("up\r\n")).then_some(()));
    run.type_keys(b"\x03");
    assert_eq!(run.wait().code(), Some(0));
    until("the last words", || screen.text().contains("bye\r\n").then_some(()));
    sandbox.wait_until_empty();
}
