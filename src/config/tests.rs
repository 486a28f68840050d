use super::*;
use crate::model::identity::{Account, Bound, Identity, Limit, Resource};
use crate::model::plan::{Kind, Probe, Ready, TcpAddress, WorkerPlan};
use std::env::VarError;

fn compile_text(text: &str) -> Result<Compiled, String> {
    let environment = |name: &str| match name {
        "PORT" => Ok("80".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let files = Files { text: &system_file, env_file: &env_file };
    let context = Context { directory: Path::new("/etc/shop"), stem: "shop", environment: &environment, files };
    compile(text.as_bytes(), &context).map_err(|problems| render(&problems, "shop.toml", Some(text), false))
}

fn system_file(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("/etc/passwd") => Ok("root:x:0:0::/:\nwww-data:x:33:33::/:\nanna:x:1000:100::/:\nanna:x:0:0::/:\n".into()),
        Some("/etc/group") => Ok("www-data:x:33:\nvideo:x:44:bob,anna\naudio:x:29:anna\nusers:x:100:anna\n".into()),
        _ => Err("there is no such file".into()),
    }
}

fn env_file(path: &Path, _identity: &Identity) -> Result<Vec<u8>, String> {
    let text = match path.to_str() {
        Some("/etc/shop/one.env") => "PORT=1\nA=first\nA=one\n",
        Some("/etc/shop/two.env") => "B=two\nA=\"${A:-two}\"\n",
        Some("/etc/shop/nul.env") => "A=a\0b\n",
        Some("/etc/shop/large.env") => &format!("A={}\n", "x".repeat(100_000)),
        Some("/etc/shop/huge.env") => return Ok(vec![b'#'; LARGEST_ENV_FILE + 1]),
        _ => return Err("there is no such file".into()),
    };
    Ok(text.into())
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
    let context =
        Context { directory: Path::new(""), stem: "", environment: &|_| Err(VarError::NotPresent), files: Files::NONE };
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

/// The identities of the workers `w0`, `w1`, …, each with these keys.
fn identities(workers: &[&str]) -> Vec<Identity> {
    let sections = workers.iter().enumerate().map(|(i, keys)| format!("[worker.w{i}]\ncommand = ['x']\n{keys}\n"));
    let compiled = compile_text(&sections.collect::<String>()).unwrap_or_else(|problems| panic!("{problems}"));
    compiled.plan.workers.into_iter().map(|worker| worker.program.identity).collect()
}

fn account(id: u32, name: &str) -> Account {
    Account { id, name: name.to_owned() }
}

#[test]
fn names_and_numbers_become_accounts() {
    let (anna, users) = (account(1000, "anna"), account(100, "users"));
    let (video, audio) = (account(44, "video"), account(29, "audio"));
    let who = |user: &Account, group: &Account, groups: &[&Account]| Identity {
        user: Some(user.clone()),
        group: Some(group.clone()),
        groups: Some(groups.iter().map(|&group| group.clone()).collect()),
        ..Identity::default()
    };
    let (number, other) = (account(1000, "1000"), account(5, "5"));
    let got = identities(&[
        "user = 'anna'",
        "user = 'anna:video'",
        "user = 'anna'\ngroup = '5'",
        "user = '1000'",
        "user = '1000:audio'",
        "user = 'anna'\nsupplementary-groups = ['5', 'audio']",
        "user = 'anna'\nsupplementary-groups = []",
    ]);
    let expected = [
        who(&anna, &users, &[&users, &video, &audio]),
        who(&anna, &video, &[&video, &audio, &users]),
        who(&anna, &other, &[&other, &video, &audio, &users]),
        who(&number, &number, &[]),
        who(&number, &audio, &[]),
        who(&anna, &users, &[&other, &audio]),
        who(&anna, &users, &[]),
    ];
    assert_eq!(got, expected);
    let got = identities(&["group = 'video'", "supplementary-groups = ['video']", ""]);
    assert_eq!(got[0], Identity { group: Some(video.clone()), ..Identity::default() });
    assert_eq!(got[1], Identity { groups: Some(vec![video]), ..Identity::default() });
    assert_eq!(got[2], Identity::default());
}

#[test]
fn what_a_worker_says_of_its_group_goes_over_the_defaults() {
    let file = "[defaults]\nuser = 'anna:video'\nlimits = { nofile = 5, core = 0 }\n\
        [worker.a]\ncommand = ['x']\n[worker.b]\ncommand = ['x']\nuser = '7'\n\
        [worker.c]\ncommand = ['x']\ngroup = '8'\nlimits = { nofile = 'unlimited' }\n";
    let plan = compile_text(file).unwrap_or_else(|problems| panic!("{problems}")).plan;
    let ids = |worker: &WorkerPlan| (worker.program.identity.uid(), worker.program.identity.gid());
    let ids = plan.workers.iter().map(ids).collect::<Vec<_>>();
    assert_eq!(ids, [(Some(1000), Some(44)), (Some(7), Some(7)), (Some(1000), Some(8))]);
    let limits = &plan.workers[2].program.identity.limits;
    let limit = |resource, bound| Limit { resource, soft: bound, hard: bound };
    assert_eq!(limits[..], [limit(Resource::Core, Bound::At(0)), limit(Resource::Nofile, Bound::Unlimited)]);
}

#[test]
fn unknown_accounts_are_told_with_the_nearest() {
    for (keys, message, help) in [
        ("user = 'www-dat'", "unknown user \"www-dat\"", "did you mean \"www-data\"?"),
        ("user = '5:viedo'", "unknown group \"viedo\"", "did you mean \"video\"?"),
        ("group = 'x'", "unknown group \"x\"", "numbers work without being known"),
        ("supplementary-groups = ['auido']", "unknown group \"auido\"", "did you mean \"audio\"?"),
    ] {
        let problems = compile_text(&format!("[worker.w]\ncommand = ['x']\n{keys}\n")).unwrap_err();
        assert!(problems.contains(message) && problems.contains(help), "{problems}");
        assert_eq!(problems.matches("error:").count(), 1, "{problems}");
    }
}

/// F104: names need the two files, numbers do not.
#[test]
fn f104_without_passwd_numbers_work_and_names_say_why_they_do_not() {
    let environment = |_: &str| Err(VarError::NotPresent);
    let context = Context { directory: Path::new(""), stem: "", environment: &environment, files: Files::NONE };
    let compiled = |keys: &str| compile(format!("[worker.w]\ncommand = ['x']\n{keys}\n").as_bytes(), &context);
    assert!(compiled("user = '12345:23456'\nsupplementary-groups = ['1']").is_ok());
    for (keys, path) in [("user = 'anna'", "/etc/passwd"), ("group = 'anna'", "/etc/group")] {
        let problems = compiled(keys).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains(&format!("{path}: there is no such file")), "{problems:?}");
    }
}

#[test]
fn env_files_are_under_env_and_serve_expansion() {
    let file = "[defaults]\nenv = { D = '${B:-none}' }\nenv-file = 'one.env'\n\
        [worker.a]\ncommand = ['${A}', '${PORT}']\nenv = { A = 'own' }\n\
        [worker.b]\ncommand = ['${A}', '${PORT}']\nenv-file = ['one.env', 'two.env']\n";
    let plan = compile_text(file).unwrap_or_else(|problems| panic!("{problems}")).plan;
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    let (a, b) = (&plan.workers[0].program, &plan.workers[1].program);
    assert_eq!(a.command, ["one", "1"], "over our own environment, and the last of equal names");
    assert_eq!(a.env, pairs(&[("PORT", "1"), ("D", "none"), ("A", "own")]));
    assert_eq!(b.command, ["one", "1"], "the second file sees the first");
    assert_eq!(b.env, pairs(&[("A", "one"), ("B", "two"), ("PORT", "1"), ("D", "two")]));
    let problems = compile_text("[worker.w]\ncommand = ['x']\nenv-file = 'nul.env'\n").unwrap_err();
    assert!(problems.contains("NUL"), "{problems}");
}

/// What is shown for a bad file can be pasted into it.
#[test]
fn what_is_suggested_for_a_string_command_compiles() {
    for command in
        ["cat x | grep y > z", "it's \"so\" \\ ", "a\nb\tc", "x\u{1b}[31m\u{202e}\u{7f}", "$HOME $$ ${x%%y}", "'"]
    {
        let written = toml_text::string(command);
        let shown = compile_text(&format!("[worker.w]\ncommand = {written}\n")).unwrap_err();
        let (_, array) = shown.split_once("write ").unwrap_or_else(|| panic!("{shown}"));
        let file = format!("[worker.w]\ncommand = {}\n", array.trim());
        compile_text(&file).unwrap_or_else(|problems| panic!("{command:?}: {file}\n{problems}"));
    }
    let shown = compile_text("[worker.w]\ncommand = ['w']\nafter = \"a\\\"\\u202e\"\n").unwrap_err();
    assert!(shown.contains(r#"write ["a\"\u202e"]"#), "{shown}");
}

#[test]
fn an_env_file_that_is_too_large_is_refused() {
    let problems = compile_text("[worker.w]\ncommand = ['x']\nenv-file = 'huge.env'\n").unwrap_err();
    assert!(problems.contains("it has over 1048576 bytes (1 MiB)"), "{problems}");
}

/// 4 MiB of file, every 14 bytes of which stand for 100,000.
#[test]
fn a_variable_that_is_named_often_does_not_grow_without_a_limit() {
    let words = "'${A}', ".repeat(3000);
    let problems =
        compile_text(&format!("[worker.w]\ncommand = ['x', {words}]\nenv-file = 'large.env'\n")).unwrap_err();
    assert!(problems.contains("the arguments and variables of this program grow to over 6291456 bytes"), "{problems}");
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
    let problems = compile_text("[worker.w]\ncommand = ['x', '${A}${A}']\nenv-file = 'large.env'\n").unwrap_err();
    assert!(problems.contains("the string grows to over 131071 bytes"), "{problems}");
}

/// What the defaults and the env-files of many workers come to.
#[test]
fn what_many_workers_share_does_not_grow_without_a_limit() {
    let workers = (0..10_000).map(|i| format!("[worker.w{i}]\ncommand=['x']\n")).collect::<String>();
    for defaults in ["env-file = 'large.env'", &format!("env = {{ A = '{}' }}", "x".repeat(100_000))] {
        let problems = compile_text(&format!("[defaults]\n{defaults}\n{workers}")).unwrap_err();
        assert!(problems.contains("the strings of all programs grow to over 67108864 bytes (64 MiB)"), "{problems}");
        assert_eq!(problems.matches("error:").count(), 1, "{problems}");
    }
    let wrong = format!("[defaults]\nenv = {{ A = '${{NONE}}{}' }}\n{workers}", "x".repeat(100_000));
    let problems = compile_text(&wrong).unwrap_err();
    assert!(problems.contains("NONE is not set") && problems.contains("67108864 bytes"), "{problems}");
}

#[test]
fn each_instance_is_told_its_own_name() {
    let file = "[worker.w]\nreplicas = 2\ncommand = ['${EXEUNT_WORKER}', '$${EXEUNT_INSTANCE}', '${EXEUNT_INSTANCE:-x}']\n\
        working-directory = 'at/${EXEUNT_INSTANCE}'\nenv = { A = '<${EXEUNT_INSTANCE}>' }\n\
        env-from-file = { S = '/run/${EXEUNT_INSTANCE}' }\n[worker.v]\ncommand = ['x']\n";
    let plan = compile_text(file).unwrap_or_else(|problems| panic!("{problems}")).plan;
    let words = plan.words(crate::model::InstanceId(1));
    assert_eq!(words.command, ["w", "${EXEUNT_INSTANCE}", "w.1"]);
    assert_eq!(words.working_directory.as_deref(), Some(Path::new("/etc/shop/at/w.1")));
    assert_eq!(words.env, [("A".to_owned(), "<w.1>".to_owned())]);
    assert_eq!(words.secrets[0].path, Path::new("/run/w.1"));
    assert!(plan.workers[0].program.differs_by_instance() && !plan.workers[1].program.differs_by_instance());
}

fn worker_of(text: &str) -> WorkerPlan {
    let compiled = compile_text(text).unwrap_or_else(|problems| panic!("{problems}"));
    compiled.plan.workers.into_iter().next().expect("a worker")
}

#[test]
fn probes_know_the_variables_of_their_worker() {
    let worker = worker_of(
        "[worker.web]\ncommand = ['web']\nenv-file = 'one.env'\n\
         ready = { tcp = 'localhost:${PORT}' }\n\
         health = { command = ['ask', '${A}', '${EXEUNT_INSTANCE}', '${EXEUNT_WORKER}'] }\n",
    );
    assert_eq!(worker.ready, Some(Ready::Probe(Probe::Tcp(TcpAddress::Localhost(1)))));
    let health = worker.health.expect("it was asked for");
    let Probe::Command(command) = &health.probe else { panic!("{health:?}") };
    assert_eq!(worker.program.words_with(command, "web.3").command, ["ask", "one", "web.3", "web"]);
    assert_eq!((health.interval.as_secs(), health.timeout.as_secs(), health.failures), (10, 5, 3));
}

#[test]
fn what_the_defaults_say_of_readiness_is_for_those_that_it_means_something_to() {
    let defaults = "[defaults]\nready = { notify = true }\nhealth = { tcp = '[::1]:80' }\nwatchdog = '3s'\n";
    let with = |keys: &str| worker_of(&format!("{defaults}[worker.w]\ncommand = ['w']\n{keys}"));
    let told = with("");
    assert_eq!((told.ready, told.watchdog.map(|time| time.as_secs())), (Some(Ready::Notify), Some(3)));
    assert!(told.health.is_some());
    let once = with("type = 'oneshot'\n");
    assert_eq!((once.ready, once.health, once.watchdog, once.start_timeout), (None, None, None, None));
    let otherwise = with("ready = { fd = 3 }\nhealth = 'off'\n");
    assert_eq!((otherwise.ready, otherwise.health, otherwise.watchdog), (Some(Ready::Fd(3)), None, None));
    let owner = with("terminal = true\n");
    assert_eq!((owner.ready, owner.watchdog), (None, None));
    let quiet = with("watchdog = 'off'\n");
    assert_eq!((quiet.ready, quiet.watchdog), (Some(Ready::Notify), None));
    let fed = worker_of("[defaults]\ntype = 'oneshot'\n[queue.q]\n[worker.w]\ncommand = ['w']\nqueue = 'q'\n");
    assert_eq!(fed.kind, Kind::Service);
}

#[test]
fn who_says_how_it_gets_ready_has_a_time_for_it() {
    let limit = |keys: &str| {
        worker_of(&format!("[worker.w]\ncommand = ['w']\n{keys}")).start_timeout.map(|time| time.as_secs())
    };
    assert_eq!(limit(""), None);
    assert_eq!(limit("ready = { notify = true }\n"), Some(30));
    assert_eq!(limit("ready = { http = 'http://[::1]' }\n"), Some(30));
    assert_eq!(limit("ready = { delay = '1m' }\n"), Some(90));
    assert_eq!(limit("ready = { notify = true }\nstart-timeout = 'off'\n"), None);
    assert_eq!(limit("type = 'oneshot'\nstart-timeout = '5s'\n"), Some(5));
}
