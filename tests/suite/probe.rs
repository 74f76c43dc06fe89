//! `repo-deploy probe`, against real listeners: it waits, fails with the last reason, and is the interpreter of hooks
//! where nothing else exists.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, DEPLOYED};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::{Authority, Nginx, Raw, Step, closed_port, ok, status};

fn probe(sandbox: &Sandbox, args: &[&str]) -> Run {
    sandbox.bare().arg("probe").args(args).output().unwrap().into()
}

/// A try, and no second one.
fn once(sandbox: &Sandbox, args: &[&str]) -> Run {
    probe(sandbox, &[args, &["--timeout", "1s"]].concat())
}

#[test]
fn a_service_is_up_later_then_the_probe_ends_with_success() {
    let sandbox = Sandbox::new();
    // The third answer is the first good one, and two in a row are asked for: the fourth is bad.
    let answers = ["503 Service Unavailable", "500 Internal Server Error", "200 OK", "404 Not Found", "204 No Content"];
    let server = Raw::start(move |_, n| vec![status(answers.get(n).unwrap_or(&"200 OK"), "")]);
    let run = probe(&sandbox, &[&server.url("/health"), "--successes", "2"]).expect(0);
    run.says("/health is healthy after ");
    assert_eq!(server.seen().len(), 6);

    let port = closed_port();
    let target = format!("tcp://127.0.0.1:{port}");
    let mut waiting = Running::start({
        let mut command = sandbox.bare();
        command.args(["probe", &target, "-v"]);
        command
    });
    waiting.until("connection refused");
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    waiting.until(" is healthy after ").signal(Signal::URG);
    assert_eq!(waiting.end().code, 0);
}

#[test]
fn a_service_is_not_healthy_then_the_last_reason_is_one_line() {
    let sandbox = Sandbox::new();
    let not_found = Raw::always(status("404 Not Found", ""));
    let moved = Raw::always(status("302 Found", "Location: http://127.0.0.1:1/"));
    let short = Raw::always(ok("", b"warming up"));
    let hanging = Raw::always(Step::Stall);
    let in_body = Raw::start(|_, _| vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\nok".to_vec()), Step::Stall]);
    let closed = closed_port();
    for (args, words) in [
        (&[&*not_found.url("/")][..], "it answers 404 Not Found; tried once"),
        (&[&moved.url("/"), "--status", "200"], "it answers 302 Found; tried once"),
        (&[&short.url("/"), "--contains", "ready"], "its answer does not contain \"ready\"; tried once"),
        (&[&hanging.url("/")], "there is no answer within "),
        (&[&in_body.url("/"), "--contains", "ready"], "there is no answer within "),
        (&[&format!("http://127.0.0.1:{closed}/")], "127.0.0.1 refuses the connection; tried once"),
        (&[&format!("tcp://127.0.0.1:{closed}")], "connection refused; tried once"),
        (&["unix:/nonexistent/socket"], "cannot connect: no such file or directory; tried once"),
    ] {
        let begin = Instant::now();
        let run = once(&sandbox, args).expect(1).says(words).says(" is not healthy within 1 s: ");
        assert_eq!(run.log.lines().count(), 1, "{}", run.log);
        assert!(begin.elapsed() < Duration::from_secs(30), "{args:?}");
    }
    assert_eq!(moved.seen().len(), 1, "a redirect is not followed");
    // A status that is good by the default, a text of an unfinished body.
    once(&sandbox, &[&moved.url("/")]).expect(0);
    once(&sandbox, &[&in_body.url("/"), "--contains", "ok"]).expect(0);
    once(&sandbox, &[&short.url("/"), "--contains", "up"]).expect(0);
}

#[test]
fn a_unix_socket_and_its_full_queue_are_told_apart() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("socket");
    let target = format!("unix:{}", path.display());
    let listener = UnixListener::bind(&path).unwrap();
    once(&sandbox, &[&target]).expect(0);
    drop(listener);
    once(&sandbox, &[&target]).expect(1).says("connection refused");
}

#[test]
fn a_certificate_needs_its_root() {
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    sandbox.write("www/health", "ok");
    let (url, ca) = (nginx.https("127.0.0.1", "/health"), authority.ca().display().to_string());
    once(&sandbox, &[&url, "--ca-file", &ca, "--contains", "ok"]).expect(0);
    once(&sandbox, &[&url]).expect(1).says("certificate");
}

#[test]
fn a_password_in_the_url_is_sent_and_never_shown() {
    let sandbox = Sandbox::new();
    let server = Raw::always(status("503 Service Unavailable", ""));
    let url = server.url("/").replace("http://", "http://u:hunter2@");
    let run = probe(&sandbox, &[&url, "--timeout", "1s", "-v", "-v"]).expect(1).never_says("hunter2");
    drop(run);
    assert_eq!(server.seen()[0].header("Authorization"), Some("Basic dTpodW50ZXIy"));
    probe(&sandbox, &["u:hunter2@h"]).expect(64).never_says("hunter2");
}

#[test]
fn the_command_line_is_wrong_then_the_right_one_is_named() {
    let sandbox = Sandbox::new();
    probe(&sandbox, &[]).expect(64).says("probe without a target: repo-deploy probe TARGET");
    for (args, words, right) in [
        (&["localhost:80"][..], "this target: ", "http://"),
        (&["http://h/", "--timeout", "soon"], "--timeout soon: ", "seconds"),
        (&["http://h/", "--timeout", "0"], "--timeout 0: ", "seconds"),
        (&["http://h/", "--status", "2xx"], "--status 2xx: ", "statuses"),
        (&["http://h/", "--successes", "0"], "--successes 0: ", "a whole number"),
        (&["tcp://h:1", "--status", "200"], "--status and --contains with this target", ""),
    ] {
        probe(&sandbox, args).expect(64).says(&format!("{CANNOT_USE} {words}")).says(right);
    }
}

#[test]
fn a_signal_comes_then_the_probe_ends_at_once() {
    let sandbox = Sandbox::new();
    let hanging = Raw::always(Step::Stall);
    let closed = format!("tcp://127.0.0.1:{}", closed_port());
    for (target, words) in [(hanging.url("/"), "GET http://"), (closed, "connection refused")] {
        let mut command = sandbox.bare();
        command.args(["probe", &target, "-v", "--timeout", "1h", "--interval", "1h"]);
        if words == "connection refused" {
            command.args(["--interval", "30m"]);
        }
        let mut waiting = Running::start(command);
        waiting.until(words).signal(Signal::TERM);
        assert_eq!(waiting.end().code, 128 + 15);
    }
}

#[test]
fn nothing_but_the_binary_exists_then_a_probe_is_a_hook() {
    needs!(root, "unshare");
    let sandbox = Sandbox::new();
    let root = sandbox.path("root");
    let answers = ["503 Service Unavailable", "200 OK", "500 Internal Server Error"];
    let server = Raw::start(move |_, n| vec![status(answers[n.min(2)], "")]);
    sandbox.write("root/app/version", "v1");
    sandbox.write(
        "root/config",
        "remote = /app\nlocal = /live/current\ncache = /live/cache\npre-hooks = /hooks/pre\npost-hooks = /hooks/post\n",
    );
    for dir in ["live", "hooks/pre", "hooks/post"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(binary(), root.join("repo-deploy")).unwrap();
    let hook = root.join("hooks/post/50-health");
    fs::write(&hook, format!("#!/repo-deploy probe {} --timeout 3s\n# not read\n", server.url("/health"))).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();

    let check = || {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(format!("--root={}", root.display()));
        Run::from(command.args(["/repo-deploy", "-f", "--config", "/config"]).env_clear().output().unwrap())
    };
    check().expect(0).says("50-health: ").says("/health is healthy after ").says(DEPLOYED);
    fs::write(root.join("app/version"), "v2").unwrap();
    check().expect(3).says("50-health").says("it answers 500 Internal Server Error; tried ");
    assert_eq!(fs::read_to_string(root.join("live/current/version")).unwrap(), "v1");
}
