//! A log that nobody reads, or not fast enough: it holds nothing up, ends nothing, and says what it lacks.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{live, source};
use crate::notify;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_WRITE, DEPLOYED, NOBODY_READS};
use crate::support::sandbox::{Run, Sandbox, plain, traced_calls};
use crate::support::servers::wait_for;

/// A pipe of the smallest size.
fn narrow() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    (reader, writer)
}

/// The same, already full.
fn stuck() -> (PipeReader, PipeWriter) {
    let (reader, writer) = narrow();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap(); // from here on a write would wait
    (reader, writer)
}

/// Starts a command whose log nobody reads; gives the reader.
fn start(sandbox: &Sandbox, mut command: Command, is_fifo: bool) -> (Child, OwnedFd) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    if is_fifo {
        let path = sandbox.path("fifo");
        let _ = fs::remove_file(&path); // that of the case before
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let reader = rustix::fs::open(&path, flags, 0.into()).unwrap();
        command.arg("--log-file").arg(path).stderr(Stdio::null());
        (command.spawn().unwrap(), reader)
    } else {
        let (reader, writer) = narrow();
        (command.stderr(writer).spawn().unwrap(), reader.into())
    }
}

fn end(child: &mut Child) -> ExitStatus {
    wait_for("the end", || child.try_wait().unwrap())
}

const TALK: &str = "yes 'a line of some length' | head -n 9999";

#[test]
fn nobody_reads_and_a_hook_talks_then_the_deployment_is_done() {
    let sandbox = Sandbox::new();
    sandbox.hook("post.d", "10-talk", TALK);
    for (version, is_fifo) in [("v1", false), ("v2", true)] {
        let remote = source(&sandbox, version);
        let (mut child, _unread) = start(&sandbox, sandbox.command(&["--remote", &remote]), is_fifo);
        assert_eq!(end(&mut child).code(), Some(0));
        assert_eq!(live(&sandbox), version);
    }
}

#[test]
fn nobody_reads_then_limits_hold_and_term_ends_it() {
    let sandbox = Sandbox::new();
    sandbox.hook(
        "pre.d",
        "10-talk",
        &format!("{TALK}; touch up; exec sleep 1000").replace("up", &sandbox.path("up").display().to_string()),
    );
    let remote = source(&sandbox, "v1");
    for is_fifo in [false, true] {
        for limit in ["hook-timeout = 1\n", "timeout = 2\n"] {
            sandbox.write("repo-deploy.cfg", limit);
            let (mut child, _unread) = start(&sandbox, sandbox.command(&["--remote", &remote]), is_fifo);
            assert_eq!(end(&mut child).code(), Some(2), "{limit}: the hook was stopped");
        }
        sandbox.write("repo-deploy.cfg", "");
        let _ = fs::remove_file(sandbox.path("up")); // that of the case before
        let (mut child, _unread) = start(&sandbox, sandbox.command(&["--remote", &remote]), is_fifo);
        wait_for("the hook", || sandbox.path("up").exists().then_some(()));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(end(&mut child).code(), Some(143));
        sandbox.deploy(&remote, &["--pre-hooks", "/no"]).expect(0).never_says("holds");
        fs::remove_file(sandbox.local()).unwrap();
        fs::remove_dir_all(sandbox.store()).unwrap();
    }
}

#[test]
fn term_comes_while_a_line_waits_for_its_reader_then_it_ends() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    for is_in_hook in [false, true] {
        if is_in_hook {
            sandbox.hook("pre.d", "10-x", "echo line; exec sleep 1000");
        }
        let (_reader, writer) = stuck();
        let mut child = sandbox.command(&["-vv", "--remote", &remote]).stderr(writer).spawn().unwrap();
        // It waits in poll(2), and nobody else wakes it.
        let pid = Pid::from_child(&child);
        wait_for("a wait", || {
            let call = fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap();
            call.contains("poll").then_some(())
        });
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(end(&mut child).code(), Some(143));
    }
}

#[test]
fn a_reader_is_slow_then_nothing_is_lost() {
    let sandbox = Sandbox::new();
    // It ends long before its output is read: what is in its pipe then is not lost either.
    sandbox.hook("post.d", "10-x", "seq 1 12000");
    let remote = source(&sandbox, "v1");
    let (mut reader, writer) = narrow();
    let mut child = sandbox.command(&["--remote", &remote]).stderr(writer).spawn().unwrap();
    let (mut log, mut piece) = (Vec::new(), [0; 64]);
    // It takes a little at a time: whoever writes finds the pipe full again and again.
    while let Ok(length @ 1..) = reader.read(&mut piece) {
        log.extend_from_slice(&piece[..length]);
        std::thread::yield_now();
    }
    assert_eq!(end(&mut child).code(), Some(0));
    let log = plain(&String::from_utf8(log).unwrap());
    let said: Vec<_> =
        log.lines().filter_map(|line| line.split_once("10-x: ")).map(|(_, said)| said.to_owned()).collect();
    assert_eq!(said, (1..=12_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(!log.contains("dropped"), "{log}");
}

#[test]
fn a_reader_comes_back_then_it_is_told_how_many_lines_were_dropped() {
    let sandbox = Sandbox::new();
    let (up, go) = (sandbox.path("up"), sandbox.path("go"));
    // More than the hook's pipe and ours hold: it is up when lines were dropped.
    let (up_name, go_name) = (up.display(), go.display());
    let body = format!(
        "seq -f {}%g 1 2000; touch {up_name}; while ! [ -e {go_name} ]; do sleep 0.01; done; echo back",
        "x".repeat(100)
    );
    sandbox.hook("post.d", "10-x", &body);
    let remote = source(&sandbox, "v1");
    let (mut reader, writer) = narrow();
    let mut child = sandbox.command(&["--remote", &remote]).stderr(writer).spawn().unwrap();
    wait_for("the hook", || up.exists().then_some(()));
    fs::write(go, "").unwrap();
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    let log = plain(&log);
    let seen = log.lines().filter(|line| line.contains("10-x: ") && !line.contains("back")).count();
    let notices = log.lines().filter_map(|line| line.strip_suffix(" lines were dropped: nobody read them"));
    let dropped: Vec<usize> = notices.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(seen + dropped.iter().sum::<usize>(), 2000, "{dropped:?}");
    assert!(dropped.len() == 1 && dropped[0] > 500, "{dropped:?}");
    assert!(log.contains("10-x: back\n") && log.contains(&format!(" INFO {DEPLOYED} ")), "{log}");
    assert!(log.find("were dropped") < log.find("10-x: back"), "{log}");
}

#[test]
fn a_fifo_s_reader_stops_then_the_log_is_on_standard_error_and_the_fifo_says_what_it_lacks() {
    let sandbox = Sandbox::new();
    sandbox.hook("post.d", "10-x", "seq 1 2000");
    let path = sandbox.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let reader = File::from(rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, 0.into()).unwrap());
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
    let remote = source(&sandbox, "v1");
    let run = sandbox.deploy(&remote, &["--log-file", path.to_str().unwrap()]).expect(0);
    let why = format!(" WARN {CANNOT_WRITE} to log-file {}: {NOBODY_READS}: logging to standard error", path.display());
    assert!(run.log.lines().next().unwrap().ends_with(&why), "{}", run.log);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    run.says("10-x: 2000\n").says(&format!(" INFO {DEPLOYED} "));
}

#[test]
fn standard_error_is_a_socket_or_a_terminal_that_nobody_reads_then_it_deploys() {
    let sandbox = Sandbox::new();
    sandbox.hook("post.d", "10-talk", TALK);
    let remote = source(&sandbox, "v1");
    let (socket, ours) = UnixStream::pair().unwrap();
    let mut child = sandbox.command(&["--remote", &remote]).stderr(OwnedFd::from(socket)).spawn().unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    assert!(!fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
    needs!("python3");
    source(&sandbox, "v2");
    // A pseudo terminal whose other end is open, and not read.
    let script = "import os, pty, subprocess, sys\nmaster, slave = pty.openpty()\n\
                  sys.exit(subprocess.run(sys.argv[1:], stderr=slave).returncode)";
    let check = sandbox.command(&["--remote", &remote]);
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(check.get_program()).args(check.get_args()).env("PATH", "/usr/bin:/bin");
    let mut child = python.spawn().unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn standard_error_is_shared_then_it_still_blocks_for_the_others() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let other = writer.try_clone().unwrap();
    sandbox.hook("post.d", "10-x", "echo line");
    let mut child = sandbox.command(&["--remote", &remote]).stderr(writer).spawn().unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    assert!(!fcntl_getfl(other.as_fd()).unwrap().contains(OFlags::NONBLOCK), "the flag is theirs");
    drop(other);
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("10-x: line\n"), "{log}");
}

#[test]
fn the_daemon_s_log_is_not_read_then_it_goes_on_checking_and_beating() {
    let sandbox = Sandbox::new();
    let at = sandbox.path("notify");
    let socket = UnixDatagram::bind(&at).unwrap();
    let remote = source(&sandbox, "v1");
    let mut daemon = sandbox.daemon(&["-vv", "--remote", &remote, "--schedule", "0 0 29 2 *"]);
    daemon.env("NOTIFY_SOCKET", &at).env("WATCHDOG_USEC", "2000000");
    let (_reader, writer) = stuck();
    let mut daemon = daemon.stderr(writer).spawn().unwrap();
    let mut beats = 0;
    let mut until = |words: &str| {
        let messages = notify::until(&socket, words);
        beats += messages.iter().filter(|message| *message == "WATCHDOG=1").count();
    };
    until("STATUS=deployed");
    for version in ["v2", "v3"] {
        source(&sandbox, version);
        kill_process(Pid::from_child(&daemon), Signal::USR1).unwrap();
        wait_for(version, || (live(&sandbox) == version).then_some(()));
        until("WATCHDOG=1");
    }
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    until("STOPPING=1");
    assert_eq!(end(&mut daemon).code(), Some(0));
    assert!(beats >= 3);
}

#[test]
fn memory_runs_out_then_the_last_words_of_the_runtime_are_heard() {
    needs!("strace");
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let mut strace = Command::new("strace");
    // The allocator's own calls, from the moment at which our memory for standard error is there.
    strace.args(["-qq", "-o", "/dev/null", "-e", "trace=mmap,brk"]);
    let calls = traced_calls(&sandbox, &sandbox.command(&["--remote", &remote]), 0);
    let ours = calls.iter().position(|call| call.starts_with("memfd_create")).unwrap();
    let before = |name: &str| calls[..ours].iter().filter(|call| call.starts_with(name)).count() + 1;
    for name in ["mmap", "brk"] {
        strace.args(["-e", &format!("inject={name}:error=ENOMEM:when={}+", before(name))]);
    }
    // Enough for any arena that is there from the start.
    let large: String = (0..20_000).map(|n| format!("{n}:")).collect();
    let check = sandbox.command(&["--remote", &remote]);
    let run = Run::from(
        strace
            .arg(check.get_program())
            .args(check.get_args())
            .envs([("A", &large), ("B", &large), ("C", &large)])
            .output()
            .unwrap(),
    );
    assert!(run.log.contains("memory allocation of ") && run.code == 128 + 6, "{}: {}", run.code, run.log);
}

#[test]
fn there_is_no_memory_of_that_kind_then_a_pipe_does() {
    needs!("strace");
    let sandbox = Sandbox::new();
    sandbox.hook("post.d", "10-x", "seq 1 100");
    let remote = source(&sandbox, "v1");
    let check = sandbox.command(&["--remote", &remote, "--log-file", "log"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=memfd_create", "-e", "inject=memfd_create:error=ENOSYS"]);
    strace.arg(check.get_program()).args(check.get_args()).current_dir(sandbox.path(Path::new("")));
    assert_eq!(Run::from(strace.output().unwrap()).expect(0).log, "");
    assert!(
        sandbox.read_log("log").contains("10-x: 100\n")
            && sandbox.read_log("log").contains(&format!(" INFO {DEPLOYED} "))
    );
    // A limit on file sizes that is too low for a line.
    source(&sandbox, "v2");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\""]).arg(check.get_program()).args(check.get_args());
    let (_, writer) = std::io::pipe().unwrap();
    let code = limited.current_dir(sandbox.path("")).stderr(writer).status().unwrap().code();
    assert_eq!(code, Some(1), "no file can be written: an error, and no end in the middle");
}
