//! nginx: on QUIT it closes its listeners and serves what is under way to its end; on TERM it drops it.

use super::{daemon, family, kill_main_process};
use crate::support::{Outcome, PATIENCE, Run, Sandbox};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

const WORKERS: usize = 2;
/// Longer than all buffers on its way.
const BODY: usize = 3 << 20;

const NGINX_CONF: &str = "
daemon off;
pid nginx.pid;
error_log stderr notice;
worker_processes 2;
user root;
events {}
http {
    access_log off;
    client_body_temp_path client; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {
        listen unix:web.sock;
        location /hello { return 200 \"hello from nginx\\n\"; }
        location /slow { proxy_pass http://unix:@HERE@/upstream.sock:; proxy_buffering off; }
    }
}
";

/// nginx does not remove the socket of one that was killed, and does not start while it is there.
fn sandbox(nginx: &str, keys: &str) -> Sandbox {
    let script = format!("rm -f web.sock; exec {nginx} -e stderr -p . -c nginx.conf");
    let sandbox = Sandbox::new(&format!("[worker.web]\ncommand = [\"sh\", \"-c\", \"{script}\"]\n{keys}\n"));
    sandbox.file("nginx.conf", &NGINX_CONF.replace("@HERE@", sandbox.directory().to_str().expect("UTF-8")));
    sandbox
}

#[test]
fn quit_is_graceful_requests_under_way_are_served_to_their_end() {
    let Some(nginx) = daemon("nginx") else { return };
    let sandbox = sandbox(&nginx, "stop-signal = \"QUIT\"\nstop-timeout = \"20s\"");
    let requested = slow_upstream(&sandbox);
    let run = start(&sandbox);
    let answer = ask(&sandbox, "GET /slow HTTP/1.0\r\n\r\n");
    let word = requested.recv_timeout(PATIENCE).expect("the upstream has the request");
    let mut slow = UnixStream::connect(sandbox.path("web.sock")).expect("nginx listens");
    slow.write_all(b"POST /slow HTTP/1.0\r\nContent-Length: 10\r\n\r\nhalf-").unwrap();
    // nginx has accepted that one too once it has served one that came after it.
    assert!(hello(&sandbox).ends_with("hello from nginx\n"));

    run.signal(Signal::SIGTERM);
    run.wait_for_words("gracefully shutting down", WORKERS);
    slow.write_all(b"whole").expect("nginx still reads from its clients");
    let slow = std::thread::spawn(move || read_all(slow));
    let second_word = requested.recv_timeout(PATIENCE).expect("the upstream has the second request");
    drop((word, second_word));
    let answers = [answer, slow].map(|answer| answer.join().expect("the client does not panic"));
    let outcome = run.finish();
    outcome.expect_code(0);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200"), "{}\n{outcome}", &answer[..answer.len().min(300)]);
        assert_eq!(answer.split_once("\r\n\r\n").expect("an answer").1.len(), BODY, "it came whole\n{outcome}");
    }
    assert_eq!(rung(&outcome), "QUIT", "{outcome}");
}

/// What the test above would see if it were not so: the same request, and TERM.
#[test]
fn term_is_not_graceful_in_nginx() {
    let Some(nginx) = daemon("nginx") else { return };
    let sandbox = sandbox(&nginx, "");
    let requested = slow_upstream(&sandbox);
    let run = start(&sandbox);
    let answer = ask(&sandbox, "GET /slow HTTP/1.0\r\n\r\n");
    let word = requested.recv_timeout(PATIENCE).expect("the upstream has the request");
    run.signal(Signal::SIGTERM);
    let outcome = run.finish();
    outcome.expect_code(0);
    assert_eq!(rung(&outcome), "TERM", "{outcome}");
    drop(word);
    let answer = answer.join().expect("the client does not panic");
    assert!(answer.len() < BODY, "{} bytes came", answer.len());
}

/// Workers of a killed master go on serving for ever, and hold its port.
#[test]
fn a_killed_master_leaves_no_worker_and_the_next_one_serves() {
    let Some(nginx) = daemon("nginx") else { return };
    let sandbox = sandbox(&nginx, "stop-signal = \"QUIT\"");
    let run = start(&sandbox);
    assert_eq!(family(&run).len(), 1 + WORKERS, "a master and its workers");
    kill_main_process(&run);
    run.wait_for_words("start worker process ", 2 * WORKERS);
    assert!(hello(&sandbox).ends_with("hello from nginx\n"));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

/// Runs it until its workers are there.
fn start(sandbox: &Sandbox) -> Run<'_> {
    let run = sandbox.launch().report_json().start();
    run.wait_for_words("start worker process ", WORKERS);
    run
}

fn hello(sandbox: &Sandbox) -> String {
    ask(sandbox, "GET /hello HTTP/1.0\r\n\r\n").join().expect("the client does not panic")
}

/// A client that sends this and reads the answer to its end.
fn ask(sandbox: &Sandbox, request: &'static str) -> JoinHandle<String> {
    let mut stream = UnixStream::connect(sandbox.path("web.sock")).expect("nginx listens");
    std::thread::spawn(move || {
        stream.write_all(request.as_bytes()).expect("nginx reads");
        read_all(stream)
    })
}

/// Until nginx closes, in whatever way.
fn read_all(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn rung(outcome: &Outcome) -> String {
    outcome.report()["instances"][0]["rung"].as_str().unwrap_or_default().to_owned()
}

/// The slow program behind nginx. For each request it sends half of its answer, hands over a word, and sends the other half when that
/// is given back, by dropping it.
fn slow_upstream(sandbox: &Sandbox) -> Receiver<Sender<()>> {
    let listener = UnixListener::bind(sandbox.path("upstream.sock")).expect("a socket can be bound");
    let (tell, requested) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell) = (stream.expect("nginx connects"), tell.clone());
            std::thread::spawn(move || {
                let (word, given_back) = channel();
                assert!(stream.read(&mut [0; 4096]).expect("nginx asks") > 0);
                // nginx may be gone at any time: then there is nobody to answer.
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes());
                let _ = stream.write_all(&[b'a'; BODY / 2]);
                let _ = tell.send(word);
                let _ = given_back.recv();
                let _ = stream.write_all(&[b'z'; BODY - BODY / 2]);
            });
        }
    });
    requested
}
