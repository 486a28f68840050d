use super::*;
use std::env::VarError;

fn compile_text(text: &str) -> Result<Compiled, String> {
    let environment = |name: &str| match name {
        "PORT" => Ok("80".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let context = Context { directory: Path::new("/etc/shop"), stem: "shop", environment: &environment };
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
    println!("{problems}");
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
