//! A Python program with `multiprocessing`: a pool, a queue with its feeder thread, a manager's process and the resource tracker, all of which die
//! of a signal that hits them before the program is done with them.

use super::kill_main_process;
use crate::support::{Launch, Need, Outcome, Run, Sandbox, children, has, send, text};
use nix::sys::signal::Signal;

/// Hears the exit event, lets the pool finish, and looks whether its helpers still serve.
const PROGRAM: &str = r#"
import multiprocessing, os, sys, time
from multiprocessing import shared_memory

def square(number):
    if number == 5:
        open("under-way", "w").close()
        while os.path.exists("hold"):
            time.sleep(0.01)
    return number * number

def feed(queue):
    for number in range(10):
        queue.put(number)

def say(*words):
    print(*words, file=sys.stderr, flush=True)

def wait_for_the_end():
    if "EXEUNT_EXIT_FD" in os.environ:
        os.read(int(os.environ["EXEUNT_EXIT_FD"]), 1)
        os.unlink("hold")
        return
    while True:
        time.sleep(1)

def main():
    context = multiprocessing.get_context(sys.argv[1])
    shared = shared_memory.SharedMemory(create=True, size=4096)
    with context.Manager() as manager, context.Pool(3) as pool:
        queue, seen = context.Queue(), manager.dict()
        feeder = context.Process(target=feed, args=(queue,))
        feeder.start()
        numbers = [queue.get() for _ in range(10)]
        results = pool.map_async(square, numbers)
        while not os.path.exists("under-way"):
            time.sleep(0.01)
        say("up")
        try:
            wait_for_the_end()
        finally:
            seen["sum"] = sum(results.get())
            say("sum", seen["sum"])
            pool.close()
            pool.join()
            feeder.join()
            queue.close()
            queue.join_thread()
            shared.close()
            shared.unlink()
    say("all helpers served to the end")

if __name__ == "__main__":
    main()
"#;

fn sandbox(context: &str, keys: &str) -> Sandbox {
    let sandbox = Sandbox::new(&format!("[worker.p]\ncommand = [\"@PYTHON@\", \"p.py\", \"{context}\"]\n{keys}\n"));
    sandbox.file("p.py", PROGRAM);
    sandbox.file("hold", &text(&["until the end is near"]));
    sandbox
}

#[test]
fn f53_ctrl_c_on_a_terminal_hits_no_helper() {
    for context in contexts() {
        let sandbox = sandbox(context, "stop = [\"event 50s\", \"TERM 5s\"]");
        let mut run = start(sandbox.launch().on_terminal());
        run.type_keys(b"\x03");
        check(context, &run.finish());
    }
}

#[test]
fn term_hits_no_helper() {
    for context in contexts() {
        let sandbox = sandbox(context, "stop = [\"event 50s\", \"TERM 5s\"]");
        let run = start(sandbox.launch());
        run.signal(Signal::SIGTERM);
        check(context, &run.finish());
    }
}

/// Somebody who means well sends INT and TERM to the whole group, as many an init does: those that the file has ignored hurt nobody, and the exit
/// event is heard all the same.
#[test]
fn a_signal_to_the_whole_group_hits_no_helper_where_it_is_ignored() {
    for context in contexts() {
        let sandbox = sandbox(context, "stop = [\"event 50s\"]\nignore-signals = [\"INT\", \"TERM\"]");
        let run = start(sandbox.launch());
        let group = children(run.pid())[0];
        send(-group, Signal::SIGINT);
        send(-group, Signal::SIGTERM);
        run.signal(Signal::SIGTERM);
        check(context, &run.finish());
    }
}

/// What the tests above would see without exeunt: the program by itself on a terminal, and Ctrl+C.
#[test]
fn f53_by_itself_on_a_terminal_the_helpers_die_of_ctrl_c() {
    for context in contexts() {
        let sandbox = sandbox(context, "");
        let python = crate::support::python().expect("python3 is there");
        let mut run = start(sandbox.launch().program(python).arguments(&["p.py", context]).on_terminal());
        run.type_keys(b"\x03");
        // Its parent then waits for what the dead cannot give: no end is waited for here.
        run.wait_for_line("KeyboardInterrupt");
    }
}

/// The pool of a killed parent waits for ever, and so does the manager.
#[test]
fn a_killed_parent_leaves_no_helper() {
    for context in contexts() {
        let sandbox = sandbox(context, "stop = [\"event 50s\", \"TERM 1s\"]");
        let run = start(sandbox.launch().report_json());
        sandbox.remove("under-way");
        kill_main_process(&run);
        run.wait_for_lines("up", 2);
        run.signal(Signal::SIGTERM);
        let outcome = run.finish();
        outcome.expect_code(0);
        assert!(outcome.stderr.contains("all helpers served to the end\n"), "{context}: {outcome}");
    }
}

/// The two ways in which it starts its helpers; none without Python.
fn contexts() -> &'static [&'static str] {
    if has(Need::Python) { &["fork", "spawn"] } else { &[] }
}

fn start(launch: Launch<'_>) -> Run<'_> {
    let run = launch.start();
    run.wait_for_line("up");
    run
}

/// The item in hand was finished, every helper was there when it was wanted, and nobody died of a signal.
fn check(context: &str, outcome: &Outcome) {
    outcome.expect_code(0);
    assert!(outcome.stderr.contains("sum 285\n"), "{context}: {outcome}");
    assert!(outcome.stderr.contains("all helpers served to the end\n"), "{context}: {outcome}");
    for bad in ["Traceback", "KeyboardInterrupt", "leaked", "left behind"] {
        assert!(!outcome.stderr.contains(bad), "{context}, {bad}: {outcome}");
    }
}
