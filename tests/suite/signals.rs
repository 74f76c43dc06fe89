//! Signals to a check that runs: it ends soon, says with which, and the next check heals what it left.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::support::needs::needs;
use crate::support::phrases::{STOPPED_BY, WAS_ENDED};
use crate::support::running::{Running, is_alive};
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::wait_for;

fn zip_of(sandbox: &Sandbox, version: &str) -> String {
    sandbox.zip("app.zip", &[("version", version), ("more/data", version)]).display().to_string()
}

fn live(sandbox: &Sandbox) -> String {
    let version = fs::read_to_string(sandbox.local().join("version")).unwrap_or_else(|e| e.kind().to_string());
    let more = fs::read_to_string(sandbox.local().join("more/data")).unwrap_or_else(|e| e.kind().to_string());
    assert_eq!(version, more, "a torn tree");
    version
}

/// A sandbox with v1 live and v2 waiting.
fn v2_waits() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);
    zip_of(&sandbox, "v2");
    (sandbox, remote)
}

fn start(sandbox: &Sandbox, remote: &str) -> Running {
    Running::start_in_the_foreground(&sandbox.command(&["--remote", remote]))
}

/// A hook that says `up` and hangs, with a child whose number is in the file `pid`.
fn hang(sandbox: &Sandbox, when: &str) {
    let body = format!("sleep 1000 & echo $! >{}; echo up; wait", sandbox.path("pid").display());
    sandbox.hook(when, "10-hang", &body);
}

#[test]
fn signal_during_a_pre_hook_then_its_group_ends_and_nothing_changed() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let (sandbox, remote) = v2_waits();
        hang(&sandbox, "pre.d");
        let mut running = start(&sandbox, &remote);
        running.until("10-hang: up").signal(signal);
        running.end().expect(code).says(&format!("pre.d/10-hang {WAS_ENDED}: signal "));
        assert!(!is_alive(&sandbox.read("pid")));
        assert_eq!(live(&sandbox), "v1");

        sandbox.hook("pre.d", "10-hang", "true");
        sandbox.deploy(&remote, &[]).expect(0);
        assert_eq!(live(&sandbox), "v2");
    }
}

#[test]
fn signal_during_a_post_hook_then_the_next_check_goes_on() {
    let (sandbox, remote) = v2_waits();
    hang(&sandbox, "post.d");
    let mut running = start(&sandbox, &remote);
    running.until("10-hang: up").signal(Signal::TERM);
    running.end().expect(143).says(&format!("post.d/10-hang {WAS_ENDED}: signal 15 (SIGTERM)"));
    assert!(!is_alive(&sandbox.read("pid")));

    sandbox.hook("post.d", "10-hang", "echo $REPO_DEPLOY_REASON $REPO_DEPLOY_ATTEMPT");
    sandbox.deploy(&remote, &[]).expect(0).says("10-hang: recover 2");
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn first_deployment_is_cut_off_in_its_post_hook_then_the_next_check_goes_on() {
    let sandbox = Sandbox::new();
    let remote = zip_of(&sandbox, "v1");
    hang(&sandbox, "post.d");
    let mut running = start(&sandbox, &remote);
    running.until("10-hang: up").signal(Signal::TERM);
    running.end().expect(143);
    sandbox.hook("post.d", "10-hang", "true");
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn second_signal_then_the_hook_still_has_its_time_to_clean_up() {
    let (sandbox, remote) = v2_waits();
    let go = sandbox.path("go");
    let body = format!(
        "trap 'echo cleaning; while ! [ -e {} ]; do sleep 0.01; done; echo cleaned; exit 0' TERM
        echo up; while :; do sleep 0.01; done",
        go.display()
    );
    sandbox.hook("pre.d", "10-x", &body);
    let mut running = start(&sandbox, &remote);
    running.until("10-x: up").signal(Signal::TERM).until("10-x: cleaning").signal(Signal::TERM).signal(Signal::INT);
    fs::write(go, "").unwrap();
    running.end().expect(143).says("10-x: cleaned");
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn signal_is_ignored_at_the_start_then_the_deployment_goes_through() {
    let (sandbox, remote) = v2_waits();
    let go = sandbox.path("go");
    let body = format!("echo up; while ! [ -e {} ]; do sleep 0.01; done", go.display());
    sandbox.hook("pre.d", "10-x", &body);
    let direct = sandbox.command(&["--remote", &remote]);
    let mut nohup = Command::new("/bin/sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(binary()).args(direct.get_args());
    let mut running = Running::start(nohup);
    running.until("10-x: up").signal(Signal::HUP);
    fs::write(go, "").unwrap();
    running.end().expect(0);
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn signal_while_a_server_keeps_us_waiting_then_it_ends_at_once() {
    let (sandbox, _) = v2_waits();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/app.zip", server.local_addr().unwrap());
    let settings = sandbox.write("slow.cfg", "stall-timeout = 500\n");
    let mut command = sandbox.command(&["--remote", &remote]);
    command.arg("--config").arg(settings);
    let mut running = Running::start(command);
    let mut asked = [PollFd::new(&server, PollFlags::IN)];
    assert_eq!(poll(&mut asked, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap(), 1, "nobody asks");
    let (mut connection, _) = server.accept().unwrap();
    let mut byte = [0];
    connection.read_exact(&mut byte).unwrap(); // it has asked, and gets no answer
    running.signal(Signal::TERM);
    assert_eq!(running.end().expect(143).log, format!("repo-deploy: {STOPPED_BY} 15\n"));
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn signal_while_nobody_reads_the_full_pipe_at_standard_error_then_it_ends_at_once() {
    let (sandbox, _) = v2_waits();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/app.zip", server.local_addr().unwrap());
    let (_reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap(); // from here on a write would wait
    let mut child = sandbox.command(&["--remote", &remote]).stderr(writer).spawn().unwrap();
    let connection = server.accept().unwrap(); // it asks, and gets no answer
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    let status = wait_for("the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    drop(connection);
}

#[test]
fn we_are_pid_1_then_term_ends_us_all_the_same() {
    needs!(root, "unshare");
    let (sandbox, remote) = v2_waits();
    sandbox.hook(
        "pre.d",
        "10-x",
        "trap 'echo bye; exit 1' TERM; echo up as child of $PPID; while :; do sleep 0.01; done",
    );
    let direct = sandbox.command(&["--remote", &remote]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child"]).arg(binary()).args(direct.get_args());
    let mut running = Running::start(unshare);
    running.until("10-x: up as child of 1");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
    let pid = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    running.end().expect(143).says("10-x: bye");
    assert_eq!(live(&sandbox), "v1");
}

/// The binary under strace, which sends TERM at the `nth` call of `name`.
fn term_at(sandbox: &Sandbox, remote: &str, name: &str, nth: usize) -> Run {
    let direct = sandbox.command(&["--remote", remote]);
    let mut strace = Command::new("strace");
    strace.args([
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={name}"),
        "-e",
        &format!("inject={name}:signal=TERM:when={nth}"),
    ]);
    strace.arg(binary()).args(direct.get_args()).output().unwrap().into()
}

/// How often a deployment of v2 makes which system call.
fn calls(sandbox: &Sandbox, remote: &str) -> BTreeMap<String, usize> {
    let trace = sandbox.path("calls");
    let direct = sandbox.command(&["--remote", remote]);
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&trace).arg(binary()).args(direct.get_args());
    Run::from(strace.output().unwrap()).expect(0);
    let mut calls = BTreeMap::new();
    for line in sandbox.read("calls").lines() {
        if let Some((name, _)) =
            line.split_once('(').filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn signal_at_any_system_call_then_the_next_check_heals() {
    needs!(time, "strace");
    let (sandbox, remote) = v2_waits();
    for when in ["pre.d", "post.d"] {
        sandbox.hook(when, "10-x", "true");
    }
    let calls = calls(&sandbox, &remote);
    assert_eq!(live(&sandbox), "v2");
    let mut versions = 2;
    let mut stopped = 0;
    for (name, count) in calls.iter().filter(|(name, _)| !["execve", "exit_group"].contains(&name.as_str())) {
        // Every call of those that are few, three of those that are many: begin, middle, end.
        let points = if *count <= 8 { (1..=*count).collect() } else { vec![1, count / 2, *count] };
        for nth in points {
            let before = live(&sandbox);
            versions += 1;
            let new = format!("v{versions}");
            zip_of(&sandbox, &new);
            let run = term_at(&sandbox, &remote, name, nth);
            let now = live(&sandbox);
            assert!([143, 0].contains(&run.code), "{name} {nth}: {}\n{}", run.code, run.log);
            assert!(run.code == 143 || now == new, "{name} {nth}: it says that it deployed\n{}", run.log);
            assert!(now == before || now == new, "{name} {nth}: {now} is live");
            stopped += usize::from(run.code == 143);
            sandbox.deploy(&remote, &[]).expect(0);
            assert_eq!(live(&sandbox), new, "{name} {nth}");
        }
    }
    assert!(stopped > 50, "only {stopped} of the signals met a running check");
}
