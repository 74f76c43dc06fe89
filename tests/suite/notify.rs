//! systemd, played by a socket: what it is told, when, and that nobody else gets to speak.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::agent::{live, source};
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_NOTIFY, DEPLOYED, READ_AGAIN};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};

const NEVER: &str = "0 0 29 2 *";

/// Waits for a message with `words`; gives all that came up to it.
#[track_caller]
pub fn until(socket: &UnixDatagram, words: &str) -> Vec<String> {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut messages = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = match socket.recv(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue, // with a timeout the kernel does not go on by itself
            received => received.unwrap_or_else(|e| panic!("waited for {words:?}: {e}: {messages:?}")),
        };
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        messages.push(message);
        if messages.iter().any(|message| message.contains(words)) {
            return messages;
        }
    }
}

#[test]
fn systemd_asks_then_it_is_told_and_hooks_are_not() {
    let sandbox = Sandbox::new();
    let at = sandbox.path("notify");
    let name = format!("repo-deploy-test-{}", std::process::id());
    let hidden = SocketAddr::from_abstract_name(&name).unwrap();
    for (socket, address) in [
        (UnixDatagram::bind(&at).unwrap(), at.display().to_string()),
        (UnixDatagram::bind_addr(&hidden).unwrap(), format!("@{name}")),
    ] {
        let remote = source(&sandbox, &address);
        sandbox.hook("post.d", "10-x", &format!("env > {}", sandbox.path("env").display()));
        let mut command = sandbox.daemon(&["--remote", &remote, "--schedule", NEVER]);
        command.env("NOTIFY_SOCKET", &address);
        let mut daemon = Running::start(command);
        assert_eq!(until(&socket, "READY=1"), ["READY=1"], "first of all");
        until(&socket, "STATUS=deployed: release ");
        assert_eq!(live(&sandbox), address);
        assert!(!sandbox.read("env").contains("NOTIFY_SOCKET") && sandbox.read("env").contains("REPO_DEPLOY_ID"));
        daemon.signal(Signal::HUP);
        let messages = until(&socket, "READY=1");
        let reloading = messages.iter().find(|m| m.starts_with("RELOADING=1\nMONOTONIC_USEC=")).unwrap();
        assert!(reloading.rsplit('=').next().unwrap().parse::<u64>().unwrap() > 0);
        let status = until(&socket, "STATUS=unchanged").pop().unwrap();
        assert!(status.contains("; next check at 2028-02-29T"), "{status}");
        daemon.signal(Signal::TERM);
        until(&socket, "STOPPING=1");
        daemon.end().expect(0);
    }
}

#[test]
fn systemd_watches_then_it_hears_of_us_between_checks_and_during_a_hook() {
    let sandbox = Sandbox::new();
    let at = sandbox.path("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    let remote = source(&sandbox, "v1");
    let go = sandbox.path("go");
    sandbox.hook("post.d", "10-x", &format!("env >&2; echo up; while ! [ -e {} ]; do sleep 0.01; done", go.display()));
    let mut command = sandbox.daemon(&["--remote", &remote, "--schedule", NEVER]);
    command.env("NOTIFY_SOCKET", &at).env("WATCHDOG_USEC", "200000");
    let mut daemon = Running::start(command);
    daemon.until("10-x: up");
    until(&socket, "WATCHDOG=1");
    for _ in 0..5 {
        until(&socket, "WATCHDOG=1"); // while the hook runs
    }
    assert_ne!(live(&sandbox), "");
    sandbox.write("go", "");
    until(&socket, "STATUS=deployed");
    for _ in 0..5 {
        until(&socket, "WATCHDOG=1"); // and while nothing runs
    }
    daemon.signal(Signal::TERM);
    daemon.end().expect(0).never_says("WATCHDOG_USEC");
}

#[test]
fn the_watchdog_is_another_process_s_then_there_is_no_beat() {
    let sandbox = Sandbox::new();
    let at = sandbox.path("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    let mut command = sandbox.daemon(&["--remote", &source(&sandbox, "v1"), "--schedule", NEVER]);
    command.env("NOTIFY_SOCKET", &at).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut daemon = Running::start(command);
    let messages = until(&socket, "STATUS=deployed");
    daemon.signal(Signal::TERM);
    let messages = [messages, until(&socket, "STOPPING=1")].concat();
    daemon.end().expect(0);
    assert!(!messages.iter().any(|message| message.contains("WATCHDOG")), "{messages:?}");
}

#[test]
fn nobody_hears_then_it_is_said_once_and_everything_goes_on() {
    let sandbox = Sandbox::new();
    for address in [sandbox.path("nobody").display().to_string(), "vsock:2:1234".to_owned()] {
        let mut command = sandbox.daemon(&["--remote", &source(&sandbox, &address), "--schedule", NEVER]);
        command.env("NOTIFY_SOCKET", &address);
        let mut daemon = Running::start(command);
        daemon.until(DEPLOYED).signal(Signal::HUP).until(READ_AGAIN);
        daemon.signal(Signal::TERM);
        let log = daemon.end().expect(0).log;
        assert_eq!(log.matches(&format!(" WARN {CANNOT_NOTIFY} systemd (NOTIFY_SOCKET): ")).count(), 1, "{log}");
    }
}

#[test]
fn nobody_asks_then_no_socket_is_touched() {
    needs!("strace");
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let daemon = sandbox.daemon(&["--remote", &remote, "--schedule", NEVER]);
    // TERM comes as soon as the first check begins.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=network,fork,clone", "-e", "inject=fork,clone:signal=TERM"]);
    let run: Run = strace.arg(daemon.get_program()).args(daemon.get_args()).output().unwrap().into();
    let run = run.expect(0).never_says("socket(");
    assert!(run.log.contains("fork(") || run.log.contains("clone("), "{}", run.log);
}
