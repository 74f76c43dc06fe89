use super::start::open_descriptors;
use super::*;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn shell(script: &str) -> Program {
    Program {
        path: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("GREETING".into(), "hello".into())],
        dir: "/".into(),
        merges_errors: true,
    }
}

#[test]
fn errors_that_are_not_merged_are_heard_by_nobody() {
    let mut lines = Vec::new();
    let mut line = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
    let program = Program { merges_errors: false, ..shell("echo secret >&2; echo result; exit 3") };
    assert_eq!(run(&program, Deadline::after(LONG), &mut line).unwrap(), Ended::Exited(3));
    assert_eq!(lines, ["result"]);
}

#[test]
fn another_identity_then_the_program_has_no_other_and_no_way_back() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can change its user
    }
    let mut lines = Vec::new();
    let identity =
        Identity { uid: 1234, gid: 1235, groups: vec![1235, 1236], unset: vec!["HOME".into(), "GREETING".into()] };
    let program =
        shell("grep -E '^(Uid|Gid|Groups|CapEff):' /proc/self/status; echo ${HOME-none} ${PATH:+some} $GREETING");
    let ended = run_as(&program, Some(&identity), Deadline::after(LONG), &mut |output| lines.push(text(&output)));
    assert_eq!(ended.unwrap(), Ended::Exited(0));
    let told: Vec<String> = lines.iter().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "Uid: 1234 1234 1234 1234",
        "Gid: 1235 1235 1235 1235",
        "Groups: 1235 1236",
        "CapEff: 0000000000000000",
        "none some hello",
    ];
    assert_eq!(told, expected);
}

fn run_for(script: &str, time: Duration, grace: Duration) -> (Ended, Vec<String>) {
    let mut lines = Vec::new();
    let all = Lines::new(|output| lines.push(text(&output)));
    let ended = run_with(&shell(script), None, Deadline::after(time), grace, all).unwrap();
    (ended, lines)
}

fn text(output: &Output<'_>) -> String {
    match output {
        Output::Line(line) => String::from_utf8_lossy(line).into_owned(),
        Output::LeftOut(bytes) => format!("({bytes} bytes)"),
    }
}

#[test]
fn a_program_prints_without_end_then_its_beginning_and_its_end_are_told() {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let program = shell("yes 'a line' | head -c 50000000; echo; echo why");
    let ended = run_as(&program, None, Deadline::after(LONG), &mut |output| {
        if let Output::Line(line) = &output {
            bytes += line.len() as u64;
        }
        lines.push(text(&output));
    });
    assert_eq!(ended.unwrap(), Ended::Exited(0));
    assert!(bytes < KEPT / 4, "a line costs more than its bytes: {bytes}");
    assert_eq!(lines.last().unwrap(), "why");
    let left_out: Vec<_> = lines.iter().filter(|line| line.starts_with('(')).collect();
    assert!(left_out.len() == 1 && left_out[0].starts_with("(49"), "{left_out:?}");
}

#[test]
fn a_program_has_a_session_of_its_own() {
    let (_, lines) = run_sh("cut -d' ' -f1,5,6 /proc/$$/stat; echo $$");
    let pid = &lines[1];
    assert_eq!(lines[0], format!("{pid} {pid} {pid}"), "its group and its session");
}

fn run_sh(script: &str) -> (Ended, Vec<String>) {
    run_for(script, LONG, LONG)
}

/// Runs a script until its time is over, and returns its lines after `up`. A slow machine gets another try with more
/// time if that was not printed.
fn run_out_of_time(script: &str, grace: Duration) -> Vec<String> {
    let mut time = SHORT;
    loop {
        let (ended, mut lines) = run_for(script, time, grace);
        assert_eq!(ended, Ended::TimedOut);
        if let Some(up) = lines.iter().position(|line| line == "up") {
            return lines.split_off(up + 1);
        }
        time *= 2;
        assert!(time < LONG, "it never comes up: {lines:?}");
    }
}

/// Whether the process runs: neither gone nor a zombie that waits to be reaped.
fn is_alive(pid: &str) -> bool {
    match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']),
        Err(_) => false,
    }
}

/// A file name of this process.
fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("repo-deploy-{name}-{}", std::process::id()))
}

fn kill(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn program_ends_then_its_code_or_signal_is_told() {
    for (script, expected) in [
        ("exit 0", Ended::Exited(0)),
        ("exit 1", Ended::Exited(1)),
        ("exit 255", Ended::Exited(255)),
        ("kill -KILL $$", Ended::Killed(9)),
        ("kill -TERM $$", Ended::Killed(15)),
    ] {
        assert_eq!(run_sh(script).0, expected, "{script}");
    }
}

#[test]
fn output_and_errors_come_as_lines_in_the_order_written() {
    let (ended, lines) = run_sh("echo one; echo two >&2; echo three; printf 'no newline'");
    assert_eq!(ended, Ended::Exited(0));
    assert_eq!(lines, ["one", "two", "three", "no newline"]);
}

#[test]
fn output_larger_than_the_pipe_comes_whole() {
    let mut bytes = 0;
    let mut line = |line: &[u8]| bytes += line.len();
    let program = shell("head -c 3000000 /dev/zero");
    assert_eq!(run(&program, Deadline::after(LONG), &mut line).unwrap(), Ended::Exited(0));
    assert_eq!(bytes, 3_000_000);
}

#[test]
fn lines_come_while_the_program_runs() {
    let mut seen = Vec::new();
    let mark = scratch("live");
    let mut line = |line: &[u8]| {
        std::fs::write(&mark, "").unwrap(); // the program waits for it: the line must arrive before its end
        seen.push(line.to_vec());
    };
    let script = format!("echo first; while ! [ -e {0} ]; do sleep 0.01; done; echo second", mark.display());
    let ended = run(&shell(&script), Deadline::after(LONG), &mut line).unwrap();
    std::fs::remove_file(&mark).unwrap();
    assert_eq!((ended, seen), (Ended::Exited(0), vec![b"first".to_vec(), b"second".to_vec()]));
}

#[test]
fn environment_is_ours_and_what_is_added() {
    let (_, lines) = run_sh("echo $GREETING; test -n \"$PATH\" && echo inherited; pwd");
    assert_eq!(lines, ["hello", "inherited", "/"]);
}

#[test]
fn standard_input_has_nothing() {
    let (ended, lines) = run_sh("cat; readlink /proc/$$/fd/0");
    assert_eq!((ended, lines), (Ended::Exited(0), vec!["/dev/null".to_owned()]));
}

#[test]
fn descriptor_without_close_on_exec_does_not_reach_the_child() {
    let file = File::open("/").unwrap();
    // SAFETY: gives a new number for an open descriptor; it is closed below.
    let inherited = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 77) };
    assert!(open_descriptors().contains(&inherited), "the way of old kernels finds it too");
    let (_, lines) = run_sh("ls /proc/$$/fd; true");
    // SAFETY: the number is ours.
    unsafe { libc::close(inherited) };
    assert_eq!(lines, ["0", "1", "2"]);
}

#[test]
fn signals_are_as_in_a_fresh_process() {
    // SAFETY: dispositions and the mask of this thread only, reset below; no process sends these here.
    unsafe {
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGUSR2);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let (_, lines) = run_sh("grep -E 'SigBlk|SigIgn' /proc/self/status");
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGUSR2, libc::SIG_DFL);
        assert_eq!(lines[0], "SigBlk:\t0000000000000000");
        let ignored = u64::from_str_radix(lines[1].trim_start_matches("SigIgn:\t"), 16).unwrap();
        let of_libc = 0b111 << 31; // 32 to 34: libc reserves these
        assert_eq!(ignored & !of_libc, 0, "{ignored:x}");
    }
}

#[test]
fn child_leads_a_group_of_its_own() {
    let (_, lines) = run_sh("echo $$; cut -d' ' -f5 /proc/$$/stat");
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn time_is_over_then_the_whole_group_ends() {
    let mark = scratch("group");
    let script = format!("sleep 1000 & echo $! >{0}; echo up; sleep 1000", mark.display());
    assert_eq!(run_out_of_time(&script, LONG), [""; 0]);
    let pid = std::fs::read_to_string(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    assert!(!is_alive(pid.trim()));
}

#[test]
fn time_is_over_then_a_program_may_clean_up() {
    assert_eq!(run_out_of_time("trap 'echo bye; exit 0' TERM; echo up; sleep 1000 & wait", LONG), ["bye"]);
}

#[test]
fn leader_ends_first_then_the_rest_of_the_group_has_the_grace() {
    let script = "(trap '' TERM; echo up; sleep 1; echo finished) & sleep 1000";
    let mut lines = run_out_of_time(script, LONG);
    lines.dedup();
    assert_eq!(lines, ["finished"]);
}

#[test]
fn term_is_ignored_then_kill_ends_the_group() {
    let mark = scratch("kill");
    let script = format!("trap '' TERM; sleep 1000 & echo $! $$ >{}; echo up; wait", mark.display());
    assert_eq!(run_out_of_time(&script, SHORT), [""; 0]);
    let pids = std::fs::read_to_string(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    for pid in pids.split_whitespace() {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[test]
fn only_zombies_of_the_group_are_left_then_it_is_over() {
    let mark = scratch("zombie");
    // As in a container whose first process does not reap: the orphan becomes a child of this one and stays a zombie.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let before = Instant::now();
    run_out_of_time(&format!("sleep 1000 & echo $! >{}; echo up; wait", mark.display()), LONG);
    let took = before.elapsed();
    rustix::process::set_child_subreaper(None).unwrap();
    let orphan = std::fs::read_to_string(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", orphan.trim())).unwrap();
    assert!(stat.contains(") Z "), "a zombie waits for us: {stat}");
    let orphan = Pid::from_raw(orphan.trim().parse().unwrap());
    assert!(rustix::process::waitpid(orphan, rustix::process::WaitOptions::NOHANG).unwrap().is_some());
    assert!(took < LONG / 2, "it waited for a zombie: {took:?}");
}

#[test]
fn stopped_program_still_gets_term() {
    // It prints `up` and stops; should the time be over in between, TERM finds it running, with the same end.
    let script = "trap 'echo bye; exit 0' TERM; echo up; kill -STOP $$; while :; do sleep 0.01; done";
    assert_eq!(run_out_of_time(script, LONG), ["bye"]);
}

#[test]
fn time_is_over_before_the_start_then_it_ends_all_the_same() {
    assert_eq!(run_for("sleep 1000", Duration::ZERO, LONG).0, Ended::TimedOut);
}

#[test]
fn daemon_keeps_the_pipe_then_the_program_still_ends_and_the_daemon_lives() {
    let before = Instant::now();
    let (ended, lines) = run_sh("setsid sleep 1000 & echo $!; echo done");
    assert!(before.elapsed() < LONG / 2);
    assert_eq!(ended, Ended::Exited(0));
    assert_eq!(lines[1], "done");
    assert!(is_alive(&lines[0]), "a daemon is on hold");
    kill(&lines[0]);
}

#[test]
fn daemon_keeps_writing_then_the_program_still_ends() {
    let mut pid = String::new();
    let mut line = |line: &[u8]| {
        if line != b"y" {
            pid.push_str(std::str::from_utf8(line).unwrap());
        }
    };
    let ended = run(&shell("setsid yes & echo $!"), Deadline::after(LONG), &mut line).unwrap();
    assert_eq!(ended, Ended::Exited(0));
    // It dies of SIGPIPE at its next line: the pipe is no longer read.
    while is_alive(&pid) {
        std::thread::yield_now();
    }
}

#[test]
fn background_process_of_a_program_that_ended_by_itself_lives() {
    let (ended, lines) = run_sh("sleep 1000 >/dev/null 2>&1 & echo $!");
    assert_eq!(ended, Ended::Exited(0));
    assert!(is_alive(&lines[0]));
    kill(&lines[0]);
}

#[test]
fn daemon_outlives_the_kill_and_we_do_not_wait_for_it() {
    let mark = scratch("daemon");
    let has_left = "while [ \"$(cut -d' ' -f5 /proc/$!/stat)\" = $$ ]; do sleep 0.01; done";
    let script = format!(
        "trap '' TERM; setsid sleep 1000 & echo $! >>{}; {has_left}; echo up; while :; do sleep 0.1; done",
        mark.display()
    );
    let before = Instant::now();
    assert_eq!(run_out_of_time(&script, SHORT), [""; 0]);
    assert!(before.elapsed() < LONG);
    let pids = std::fs::read_to_string(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    let pid = pids.lines().last().unwrap();
    assert!(is_alive(pid));
    pids.lines().for_each(kill);
}

#[test]
fn program_is_missing_then_the_error_says_so() {
    let program = Program { path: "/does/not/exist".into(), ..shell("") };
    let error = run(&program, Deadline::after(LONG), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn program_is_being_written_then_it_waits_until_it_is_done() {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let path = scratch("busy");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"#!/bin/sh\nexit 5\n").unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program { path: path.clone(), args: Vec::new(), ..shell("") };
    let error = run(&program, Deadline::after(LONG), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ExecutableFileBusy);
    drop(file);
    assert_eq!(run(&program, Deadline::after(LONG), &mut |_| ()).unwrap(), Ended::Exited(5));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn many_runs_then_no_descriptor_is_left() {
    let count = || open_descriptors().len();
    run_sh("true"); // makes everything that is made once
    let before = count();
    for _ in 0..50 {
        run_sh("echo x");
    }
    // Other tests of this process open files too; a leak in fifty runs would show as fifty at least.
    assert!(count() < before + 40, "{before} before, {} after", count());
}

mod stream {
    use super::*;
    use std::io::{Read, Seek, Write};

    /// Its data, how it ended, and its standard error.
    fn read(script: &str, pipes: Pipes, time: Duration) -> (Vec<u8>, Ended, Vec<String>) {
        let mut lines = Vec::new();
        let mut line = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        let mut stream = Stream::start(&shell(script), pipes, Deadline::after(time), &mut line).unwrap();
        let mut data = Vec::new();
        let _ = stream.read_to_end(&mut data); // how it ended tells
        let ended = stream.finish().unwrap();
        (data, ended, lines)
    }

    #[test]
    fn data_and_complaints_come_apart_and_input_is_read() {
        let mut input = File::options().read(true).write(true).create_new(true).open(scratch("input")).unwrap();
        std::fs::remove_file(scratch("input")).unwrap();
        input.write_all(&vec![b'x'; 3 << 20]).unwrap();
        input.rewind().unwrap();
        let pipes = Pipes { input: Some(input), unset: vec!["GREETING".into(), "HOME".into()], ..Pipes::default() };
        let (data, ended, lines) = read("echo a >&2; cat; printf b$GREETING$HOME >&2; exit 3", pipes, LONG);
        assert_eq!((data.len(), ended, lines), (3 << 20, Ended::Exited(3), vec!["a".to_owned(), "bhello".to_owned()]));
    }

    #[test]
    fn a_program_that_says_nothing_and_stays_is_ended_with_its_group() {
        let (_, ended, lines) = read("sleep 600 & echo $! >&2; wait", Pipes::default(), SHORT * 5);
        assert_eq!(ended, Ended::TimedOut);
        assert!(lines.first().is_none_or(|pid| !is_alive(pid)), "{lines:?}");
    }

    #[test]
    fn data_without_end_is_ended_by_the_deadline() {
        let mut line = |_: &[u8]| {};
        let deadline = Deadline::after(SHORT);
        let mut stream = Stream::start(&shell("exec yes"), Pipes::default(), deadline, &mut line).unwrap();
        let mut buffer = [0; 65536];
        while stream.read(&mut buffer).is_ok() {}
        assert_eq!(stream.finish().unwrap(), Ended::TimedOut);
    }

    #[test]
    fn a_stream_that_is_dropped_leaves_nobody() {
        let mut pid = Vec::new();
        let mut line = |_: &[u8]| {};
        let script = "echo $$; exec sleep 600";
        let mut stream = Stream::start(&shell(script), Pipes::default(), Deadline::after(LONG), &mut line).unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            pid.push(byte[0]);
        }
        drop(stream);
        assert!(!is_alive(std::str::from_utf8(&pid).unwrap()));
    }

    #[test]
    fn a_file_that_grows_over_the_limit_ends_the_program_that_writes_it() {
        let path = scratch("largest");
        let script = format!("head -c 100000 /dev/zero > {}; [ $? = 0 ] && exit 0; exit 7", path.display());
        let pipes = Pipes { largest_file: Some(10_000), ..Pipes::default() };
        assert_eq!(read(&script, pipes, LONG).1, Ended::Exited(7));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 10_000);
        std::fs::remove_file(path).unwrap();
    }
}
