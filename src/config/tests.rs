use super::*;
use std::env::VarError;

fn compile_text(text: &str) -> Result<Compiled, String> {
    let environment = |name: &str| match name {
        "PORT" => Ok("80".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let context = Context { directory: Path::new("/etc/shop"), stem: "shop", environment: &environment, files: Files::NONE };
    compile(text.as_bytes(), &context).map_err(|problems| render(&problems, "shop.toml", Some(text), false))
}

#[test]
fn a_whole_file_becomes_a_plan() {
    let compiled = compile_text(
        r#"
        [supervisor]
        stop-budget = "9s"
        [queue.q]
        size = 10
        leftovers = "left.txt"
        [source.s]
        queue = "q"
        stdin = true
        [worker.w]
        command = ["sh", "-c", "echo ${PORT} ${NONE:-x} $$"]
        queue = "q"
        replicas = 2
        env = { A = "${PORT}" }
        results = "file:out/${PORT}"
        [worker.service]
        command = ["sleep", "1"]
        after = ["w"]
        stop-signal = "QUIT"
        stop-timeout = "1m 30s"
        "#,
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let plan = compiled.plan;
    assert_eq!(plan.name, "shop");
    assert_eq!(plan.queues[0].leftovers.as_deref(), Some(Path::new("/etc/shop/left.txt")));
    assert_eq!(plan.workers[0].program.command[2], "echo 80 x $");
    assert_eq!(plan.workers[0].program.env, [("A".to_owned(), "80".to_owned())]);
    assert_eq!(plan.workers[1].level, 1);
    assert_eq!(plan.instances.len(), 3);
    assert_eq!(plan.workers[1].program.ladder_time(), std::time::Duration::from_secs(90));
}

#[test]
fn every_problem_is_told_at_once() {
    let problems =
        compile_text("[worker.w]\ncomand = [\"x\"]\nreplicas = 0\nstop = [\"TERM\"]\n[queue.q]\nsize = -1\n")
            .unwrap_err();
    assert_eq!(problems.matches("error:").count(), 4, "{problems}");
}

#[test]
fn depth_and_dots_are_refused_fast() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        vec!["a"; 100_000].join("."),
        format!("a = {}", "{a=".repeat(100_000)),
    ] {
        let problems = compile_text(&text).unwrap_err();
        assert_eq!(problems.matches("error:").count(), 1, "{}", &problems[..500]);
    }
}

/// A file in which most keys occur, for tests that spoil it.
const GOOD: &str = include_str!("../../tests/config/good/shop.toml");

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_the_compiler_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        try_bytes(&bytes);
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,100}|[\\[\\]{}=.,\"'#\n a-z0-9$:?-]{0,200}") {
        try_bytes(text.as_bytes());
    }

    /// A good file, a part of which is cut out and something else put in.
    #[test]
    fn no_spoiled_file_makes_the_compiler_panic(
        at in 0..GOOD.len(),
        length in 0usize..60,
        text in "\\PC{0,10}|[\\[\\]{}=.,\"'#\n a-z0-9$]{0,10}|-1|nan|\"\"|\\[\\]|\"18446744073709551615s 1000ms\"",
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes.splice(at..(at + length).min(GOOD.len()), text.bytes());
        try_bytes(&bytes);
    }
}

/// Every answer is one of the two promised, and every problem can be told.
fn try_bytes(bytes: &[u8]) {
    let context = Context { directory: Path::new(""), stem: "", environment: &|_| Err(VarError::NotPresent), files: Files::NONE };
    let problems = match compile(bytes, &context) {
        Ok(compiled) => compiled.warnings,
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    let told = render(&problems, "file", decode(bytes).ok(), false);
    assert_eq!(told.is_empty(), problems.is_empty());
}

#[test]
fn defaults_are_for_those_that_they_mean_something_to() {
    let plan = compile_text(
        "[defaults]\nprefetch = 3\nenv = { A = '1', B = '2' }\nstop = ['event 1s']\n\
         [queue.q]\n[source.in]\nqueue = 'q'\ncommand = ['seq']\n\
         [worker.c]\ncommand = ['c']\nqueue = 'q'\nenv = { A = '3' }\n\
         [worker.s]\ncommand = ['s']\nstop-timeout = '4s'\n",
    )
    .unwrap_or_else(|problems| panic!("{problems}"))
    .plan;
    let [consumer, service] = &plan.workers[..] else { panic!("{plan:?}") };
    assert_eq!(consumer.consumer.as_ref().map(|consumer| consumer.prefetch), Some(3));
    assert!(service.consumer.is_none());
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(consumer.program.env, [pair("B", "2"), pair("A", "3")]);
    assert!(consumer.program.has_event_rung() && !service.program.has_event_rung());
    assert_eq!(service.program.ladder_time(), std::time::Duration::from_secs(4));
    let source = plan.program(crate::model::InstanceId(0));
    assert!(source.env.is_empty() && !source.has_event_rung(), "defaults are for workers");
}
