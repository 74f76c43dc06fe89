//! The daemon: when it checks, what signals do to it, what it leaves alone, and what it reports.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::needs::needs;
use crate::support::phrases::{
    CANNOT_USE, CANNOT_WRITE, DEPLOYED, FIRST_CHECK, NAME_THE_CA, NOTHING_AT, READ_AGAIN, RESUMED, UNCHANGED,
    UP_TO_DATE, WAS_ENDED, WAS_KILLED,
};
use crate::support::running::{Running, is_alive};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Authority, Nginx, Raw, ok, wait_for};

/// A schedule that does not come while a test runs.
const NEVER: &str = "0 0 29 2 *";

/// A directory to deploy from, with one version in it.
pub fn source(sandbox: &Sandbox, version: &str) -> String {
    sandbox.write("source/version", version);
    sandbox.path("source").display().to_string()
}

pub fn live(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.local().join("version")).unwrap_or_else(|e| e.kind().to_string())
}

/// A daemon that checks when it is told to, up to date with v1.
fn v1_is_live(sandbox: &Sandbox) -> Running {
    let remote = source(sandbox, "v1");
    let mut daemon = Running::start(sandbox.daemon(&["--remote", &remote, "--schedule", NEVER, "-v"]));
    daemon.until(DEPLOYED);
    wait_for("the report", || (checks(sandbox) == 1).then_some(()));
    daemon
}

/// How often the store of the sandbox was checked.
fn checks(sandbox: &Sandbox) -> u64 {
    number(sandbox, "checks")
}

fn number(sandbox: &Sandbox, key: &str) -> u64 {
    let status = fs::read_to_string(sandbox.store().join("status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Sends USR1 and waits for the check that follows.
fn check(sandbox: &Sandbox, daemon: &mut Running) {
    let before = checks(sandbox);
    daemon.signal(Signal::USR1);
    wait_for("a check", || (checks(sandbox) > before).then_some(()));
}

/// The copy of the daemon that checks.
fn copy_of(pid: u32) -> Pid {
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child = wait_for("a check", || children().split_whitespace().next().map(str::to_owned));
    Pid::from_raw(child.parse().unwrap()).unwrap()
}

#[test]
fn it_starts_then_it_checks_at_once_and_then_on_the_schedule() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let mut daemon = Running::start(sandbox.daemon(&["--remote", &remote, "--schedule", "* * * * * *"]));
    daemon.until(DEPLOYED);
    source(&sandbox, "v2");
    daemon.until(DEPLOYED);
    assert_eq!(live(&sandbox), "v2");
    daemon.signal(Signal::TERM);
    daemon.end().expect(0).says("ending: signal 15 (SIGTERM)");
}

#[test]
fn usr1_comes_then_it_checks_now() {
    let sandbox = Sandbox::new();
    let mut daemon = v1_is_live(&sandbox);
    source(&sandbox, "v2");
    daemon.signal(Signal::USR1).until(DEPLOYED);
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn hup_comes_then_configuration_and_log_file_are_new_and_it_checks_now() {
    let sandbox = Sandbox::new();
    let (one, other) = (source(&sandbox, "v1"), sandbox.path("other").display().to_string());
    sandbox.write("other/version", "another");
    let config = |remote: &str| sandbox.write("repo-deploy.cfg", format!("remote = {remote}\nlog-file = log\n"));
    config(&one);
    let mut daemon = Running::start(sandbox.daemon(&["--schedule", NEVER]));
    let in_log = |name: &str, words: &str| {
        let text = || fs::read_to_string(sandbox.path(name)).unwrap_or_default();
        wait_for(words, || text().contains(words).then_some(()));
    };
    in_log("log", DEPLOYED);

    fs::rename(sandbox.path("log"), sandbox.path("log.1")).unwrap();
    config(&other);
    daemon.signal(Signal::HUP);
    in_log("log", READ_AGAIN);
    in_log("log", DEPLOYED);
    assert_eq!(live(&sandbox), "another");
    assert_eq!(sandbox.read("log.1").matches(" deployed ").count(), 1);

    fs::rename(sandbox.path("log"), sandbox.path("log.2")).unwrap();
    sandbox.write("repo-deploy.cfg", "remote = ftp://nowhere/\nlog-file = log\n");
    sandbox.write("other/version", "newer");
    daemon.signal(Signal::HUP);
    in_log("log", " ERROR ");
    in_log("log", "the scheme ftp is unknown");
    in_log("log", &format!("{RESUMED} the configuration from before"));
    in_log("log", DEPLOYED);
    assert_eq!(live(&sandbox), "newer");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().expect(0).log, "");
}

#[test]
fn hup_or_usr1_comes_during_a_check_then_another_one_follows_it() {
    for signal in [Signal::HUP, Signal::USR1] {
        let sandbox = Sandbox::new();
        let mut daemon = v1_is_live(&sandbox);
        let go = sandbox.path("go");
        sandbox.hook("pre.d", "10-x", &format!("echo up; while ! [ -e {} ]; do sleep 0.01; done", go.display()));
        source(&sandbox, "v2");
        daemon.signal(Signal::USR1).until("10-x: up");
        source(&sandbox, "v3"); // the check at work has read v2
        // Several are one, and the check at work hears nothing of them.
        daemon.signal(signal).signal(signal);
        kill_process(copy_of(daemon.pid()), signal).unwrap();
        sandbox.write("go", "");
        daemon.until(DEPLOYED).until(DEPLOYED);
        assert_eq!(live(&sandbox), "v3");
        daemon.signal(Signal::TERM);
        daemon.end().expect(0);
    }
}

#[test]
fn term_or_int_comes_between_checks_then_it_ends_at_once_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::new();
        let mut daemon = v1_is_live(&sandbox);
        check(&sandbox, &mut daemon);
        let asked = Instant::now();
        daemon.signal(signal);
        daemon.end().expect(0);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

#[test]
fn term_comes_during_a_hook_then_its_group_ends_and_the_next_start_heals() {
    for (when, says) in [("pre.d", "v1"), ("post.d", "v2")] {
        let sandbox = Sandbox::new();
        let mut daemon = v1_is_live(&sandbox);
        let body = format!("sleep 1000 & echo $! >{}; echo up; wait", sandbox.path("pid").display());
        sandbox.hook(when, "10-hang", &body);
        let remote = source(&sandbox, "v2");
        daemon.signal(Signal::USR1).until("10-hang: up").signal(Signal::TERM).until(" ending: ");
        daemon.signal(Signal::TERM).signal(Signal::INT).signal(Signal::HUP).signal(Signal::USR1);
        daemon
            .end()
            .expect(0)
            .says(&format!("10-hang {WAS_ENDED}: signal 15 (SIGTERM) asked us to stop"))
            .never_says(" ERROR ");
        assert!(!is_alive(&sandbox.read("pid")));
        assert_eq!(live(&sandbox), says);

        sandbox.hook(when, "10-hang", "echo $REPO_DEPLOY_REASON");
        let mut daemon = Running::start(sandbox.daemon(&["--remote", &remote, "--schedule", NEVER]));
        daemon.until(if when == "pre.d" { "10-hang: update" } else { "10-hang: recover" }).until(DEPLOYED);
        assert_eq!(live(&sandbox), "v2");
    }
}

#[test]
fn term_comes_while_a_server_says_nothing_then_it_ends_at_once_with_0() {
    let sandbox = Sandbox::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("http://{}/app.zip", server.local_addr().unwrap());
    let mut daemon = Running::start(sandbox.daemon(&["--remote", &remote]));
    let (_connection, _) = server.accept().unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().expect(0).log.lines().count(), 1);
}

#[test]
fn the_source_fails_for_a_while_then_it_is_said_once_and_the_loop_goes_on() {
    let sandbox = Sandbox::new();
    let mut daemon = v1_is_live(&sandbox);
    fs::rename(sandbox.path("source"), sandbox.path("away")).unwrap();
    for _ in 0..5 {
        check(&sandbox, &mut daemon);
    }
    fs::rename(sandbox.path("away"), sandbox.path("source")).unwrap();
    for _ in 0..5 {
        check(&sandbox, &mut daemon);
    }
    source(&sandbox, "v2");
    daemon.signal(Signal::USR1).until(DEPLOYED).signal(Signal::TERM);
    let log = daemon.end().expect(0).log;
    let without_debug: Vec<&str> = log.lines().filter(|line| !line.contains(" DEBUG ")).collect();
    assert_eq!(without_debug.iter().filter(|line| line.contains(" ERROR ")).count(), 1, "{log}");
    assert_eq!(
        without_debug.iter().filter(|line| line.contains(&format!(" {UP_TO_DATE} release "))).count(),
        1,
        "{log}"
    );
    assert_eq!(without_debug.len(), 2 + 2 + 2 + 1, "two deployments of two lines each: {log}");
    // With -v each check has its line.
    assert!(log.matches(&format!(" DEBUG {UNCHANGED} release ")).count() >= 5, "{log}");
    assert!(log.matches(&format!(" DEBUG failed, as before: {NOTHING_AT} ")).count() >= 4, "{log}");
}

#[test]
fn a_check_is_killed_then_the_loop_says_so_and_the_next_one_heals() {
    let sandbox = Sandbox::new();
    let mut daemon = v1_is_live(&sandbox);
    sandbox.hook("post.d", "10-x", "echo $REPO_DEPLOY_REASON; [ $REPO_DEPLOY_REASON = recover ] || exec sleep 1000");
    source(&sandbox, "v2");
    daemon.signal(Signal::USR1).until("10-x: update");
    kill_process(copy_of(daemon.pid()), Signal::KILL).unwrap();
    daemon.until(&format!("ERROR the check {WAS_KILLED} signal 9 (SIGKILL); the next check recovers"));
    daemon.signal(Signal::USR1).until("10-x: recover").until(DEPLOYED);
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn the_daemon_is_killed_then_its_check_ends_what_it_does() {
    let sandbox = Sandbox::new();
    let mut daemon = v1_is_live(&sandbox);
    sandbox.hook("pre.d", "10-x", &format!("echo $$ > {}; echo up; exec sleep 1000", sandbox.path("pid").display()));
    source(&sandbox, "v2");
    daemon.signal(Signal::USR1).until("10-x: up").signal(Signal::KILL);
    daemon.end().expect(137);
    wait_for("the end of the hook", || (!is_alive(&sandbox.read("pid"))).then_some(()));
    fs::remove_file(sandbox.path("pre.d/10-x")).unwrap();
    let deploy = || sandbox.deploy(&source(&sandbox, "v2"), &[]);
    let run = wait_for("the lock", || Some(deploy()).filter(|run| run.code != 75)); // the copy may take a moment longer
    run.expect(0);
}

/// Three sections: two that work, and one between them that does not.
fn three(sandbox: &Sandbox, more: &str) -> Vec<String> {
    let mut config = String::from(more);
    for name in ["web", "bad", "batch"] {
        let at = |dir: &str| sandbox.path(dir).join(name).display().to_string();
        if name != "bad" {
            sandbox.write(format!("from/{name}/version"), "1");
        }
        config += &format!("[{name}]\nremote = {}\nlocal = {}\n", at("from"), at("to"));
    }
    let config = sandbox.write("three.cfg", config).display().to_string();
    let [cache, pre, post] = ["cache", "pre.d", "post.d"].map(|dir| sandbox.path(dir).display().to_string());
    ["-c", &config, "--cache", &cache, "--pre-hooks", &pre, "--post-hooks", &post].map(str::to_owned).to_vec()
}

#[test]
fn several_sections_run_then_each_is_deployed_and_one_that_fails_stops_none() {
    let sandbox = Sandbox::new();
    let args = three(&sandbox, "schedule = 0 0 29 2 *\n");
    let mut command = sandbox.bare();
    command.args(&args).args(["--config-section", "all"]);
    sandbox.hook("post.d", "10-x", "echo for $REPO_DEPLOY_ID");
    let mut daemon = Running::start(command);
    let version = |name: &str| fs::read_to_string(sandbox.path("to").join(name).join("version")).unwrap_or_default();
    wait_for("both", || (version("web") == "1" && version("batch") == "1").then_some(()));
    for name in ["web", "batch"] {
        sandbox.write(format!("from/{name}/version"), "2");
    }
    daemon.signal(Signal::USR1);
    wait_for("both again", || (version("web") == "2" && version("batch") == "2").then_some(()));
    daemon.signal(Signal::TERM);
    let log = daemon.end().expect(0).log;
    for words in [
        &*format!(" INFO web: {DEPLOYED} "),
        " INFO batch: deployed ",
        &*format!(" ERROR bad: {NOTHING_AT} "),
        " INFO web: 10-x: for web",
    ] {
        assert!(log.contains(words), "{words}\n{log}");
    }
}

#[test]
fn sections_begin_at_once_below_a_missing_directory_then_each_is_deployed() {
    for round in 0..4 {
        let sandbox = Sandbox::new();
        let mut config = String::from("schedule = 0 0 29 2 *\n");
        let names: Vec<String> = (0..48).map(|at| format!("pair{}/{}", at / 2, at % 2)).collect();
        for name in &names {
            let from = sandbox.write(format!("from/{name}/version"), name);
            let to = sandbox.path("to/apps").join(name);
            let mode = if round % 2 == 0 { "symlink" } else { "in-place" };
            let (from, to) = (from.parent().unwrap().display(), to.display());
            let id = name.replace('/', "-");
            config += &format!("[{id}]\nremote = {from}\nlocal = {to}\nactivation = {mode}\n");
        }
        let config = sandbox.write("many.cfg", config);
        let mut command = sandbox.bare();
        command.arg("-c").arg(config).args(["--config-section", "all"]).arg("--cache").arg(sandbox.path("cache/deep"));
        command.arg("--pre-hooks").arg(sandbox.path("pre.d")).arg("--post-hooks").arg(sandbox.path("post.d"));
        let mut daemon = Running::start(command);
        let is_there = |name: &String| sandbox.path("to/apps").join(name).join("version").exists();
        wait_for("every section", || names.iter().all(is_there).then_some(()));
        daemon.signal(Signal::TERM);
        daemon.end().expect(0).never_says("ERROR");
        for dir in ["to/apps", "to/apps/pair0"] {
            assert_eq!(fs::metadata(sandbox.path(dir)).unwrap().permissions().mode() & 0o7777, 0o755, "{dir}");
        }
    }
}

#[test]
fn a_section_is_slow_then_the_others_do_not_wait_for_it() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare();
    command.args(three(&sandbox, "")).args(["--config-section", "batch", "--config-section", "web"]);
    let go = sandbox.path("go");
    let slow =
        format!("[ $REPO_DEPLOY_ID = batch ] || {{ echo up; while ! [ -e {} ]; do sleep 0.01; done; }}", go.display());
    sandbox.hook("post.d", "10-x", &slow);
    let mut daemon = Running::start(command);
    daemon.until(&format!("batch: {DEPLOYED} "));
    sandbox.write("go", "");
    daemon.until(&format!("web: {DEPLOYED} ")).signal(Signal::TERM);
    daemon.end().expect(0).never_says("bad");
}

#[test]
fn sections_run_once_then_the_worst_exit_code_counts() {
    let sandbox = Sandbox::new();
    let args = three(&sandbox, "");
    let once = |more: &[&str]| Run::from(sandbox.bare().arg("-f").args(&args).args(more).output().unwrap());
    once(&["--config-section", "all"]).expect(1).says("web: deployed ").says("batch: deployed ").says("ERROR bad: ");
    once(&["--config-section", "web", "--config-section", "batch"]).expect(0);
    sandbox.hook("pre.d", "10-no", "[ $REPO_DEPLOY_ID != batch ]");
    sandbox.write("from/batch/version", "2");
    once(&["--config-section", "web", "--config-section", "batch"]).expect(2);
    once(&["--config-section", "all"]).expect(1);
    // What is live twice would be deployed in turns.
    let twice = sandbox.write("twice.cfg", "remote = /x\n[a]\nlocal = /srv/a\n[b]\nlocal = /srv/a\n");
    let run: Run = sandbox.bare().args(["-f", "--config-section", "all", "-c"]).arg(twice).output().unwrap().into();
    run.expect(78).says("two of the sections that run together have local = /srv/a: give each its own");
}

#[test]
fn hup_takes_a_section_away_then_its_check_ends_in_peace_and_a_new_one_begins() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.bare();
    command.args(three(&sandbox, "")).args(["--config-section", "all", "--schedule", NEVER]);
    let go = sandbox.path("go");
    let slow = format!("echo up; while ! [ -e {} ]; do sleep 0.01; done", go.display());
    sandbox.hook("post.d", "10-x", &format!("[ $REPO_DEPLOY_ID = batch ] || {{ {slow}; }}"));
    let mut daemon = Running::start(command);
    daemon.until("web: 10-x: up");
    let config = sandbox.read("three.cfg").replace("[web]", "[new]").replace("/to/web", "/to/new");
    sandbox.write("three.cfg", config);
    daemon.signal(Signal::HUP).until(READ_AGAIN);
    sandbox.write("go", "");
    let deployed = ["web", "new"].map(|name| format!("{name}: {DEPLOYED} "));
    daemon.until_all(&mut deployed.iter().map(String::as_str).collect());
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
}

#[test]
fn a_zone_or_schedule_is_wrong_then_it_does_not_start_and_once_does_not_care() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let run: Run = sandbox.daemon(&["--remote", &remote, "--schedule", "61 * * * *"]).output().unwrap().into();
    assert_eq!(
        run.expect(78).says(&format!("--schedule: {CANNOT_USE} schedule = 61 * * * *: ")).log.lines().count(),
        1
    );
    sandbox.deploy(&remote, &["--schedule", "61 * * * *"]).expect(0);
}

#[test]
fn it_sleeps_then_that_is_one_call_a_period_and_nothing_between() {
    needs!("strace");
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let daemon = sandbox.daemon(&["--remote", &remote, "--schedule", "* * * * * */2", "-v"]);
    let mut running = Running::start(under_strace(&sandbox, &daemon, &[]));
    for _ in 0..4 {
        running.until(&format!(" DEBUG {UNCHANGED} "));
    }
    let daemon = copy_of(running.pid()); // strace's child is the daemon
    kill_process(daemon, Signal::TERM).unwrap();
    running.end().expect(0);
    let trace = sandbox.read("trace");
    let flags = "TFD_TIMER_ABSTIME|TFD_TIMER_CANCEL_ON_SET";
    assert!(trace.contains(&format!("{flags}, {{it_interval={{tv_sec=0, tv_nsec=0}}")), "{trace}");
    // Between the end of one check and the beginning of the next: one call that sleeps.
    let mut sleeps = Vec::new();
    let mut asleep = 0;
    for line in trace.lines() {
        let name = line.split('(').next().unwrap();
        match name {
            "poll" | "ppoll" | "nanosleep" | "clock_nanosleep" | "select" | "epoll_wait" => asleep += 1,
            "fork" | "clone" => sleeps.push(std::mem::take(&mut asleep)),
            _ => {}
        }
    }
    // The first is before the first check: none; from then on one for the check's end and one until the next time.
    assert!(sleeps.len() >= 4 && sleeps[1..].iter().all(|n| *n <= 2), "{sleeps:?}\n{trace}");
}

/// `command` under strace with `options`, which writes the file `trace` of the sandbox. The program is strace's child.
fn under_strace(sandbox: &Sandbox, command: &Command, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(options).arg("-o").arg(sandbox.path("trace")).arg("--").arg(command.get_program());
    strace.args(command.get_args()).env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    strace
}

/// strace's options for the reads of a program and its children, with the names of the files.
const READS: [&str; 4] = ["-f", "-y", "-e", "trace=read"];

/// For each process of a trace by `strace -f -y`, how many times it read the file to its end, in the order of the first.
fn readers(trace: &str, file: &Path) -> Vec<(String, usize)> {
    let (called, mut readers) = (format!("<{}>,", file.display()), Vec::<(String, usize)>::new());
    for line in trace.lines().filter(|line| line.contains("read(") && line.contains(&called)) {
        let pid = line.split_whitespace().next().unwrap();
        if !readers.iter().any(|(known, _)| known == pid) {
            readers.push((pid.to_owned(), 0));
        }
        let reader = readers.iter_mut().find(|(known, _)| known == pid).unwrap();
        reader.1 += usize::from(line.ends_with("= 0"));
    }
    readers
}

#[test]
fn bundle_of_roots_is_the_same_then_the_daemon_parses_it_once() {
    needs!("strace", "nginx", "openssl");
    let sandbox = Sandbox::new();
    sandbox.zip("www/app.zip", &[("version", "v1")]);
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    let bundle = sandbox.write("bundle.pem", fs::read(authority.ca()).unwrap());
    let mut daemon = sandbox.daemon(&["--remote", &nginx.https("127.0.0.1", "/app.zip"), "--schedule", NEVER, "-v"]);
    daemon.env("SSL_CERT_FILE", &bundle);
    let mut running = Running::start(under_strace(&sandbox, &daemon, &READS));
    running.until(DEPLOYED);
    let daemon = copy_of(running.pid()); // strace's child is the daemon
    let check = |running: &mut Running, words: &str| {
        kill_process(daemon, Signal::USR1).unwrap();
        running.until(words);
    };
    (0..3).for_each(|_| check(&mut running, &format!(" DEBUG {UNCHANGED} ")));
    // Another file at the same path: the old roots are not trusted any more, and the new ones are.
    let other = Sandbox::new();
    let stranger = fs::read(Authority::new(&other).ca()).unwrap();
    let replaced = |content: &[u8]| fs::rename(sandbox.write("next.pem", content), &bundle).unwrap();
    replaced(&stranger);
    check(&mut running, NAME_THE_CA);
    replaced(&fs::read(authority.ca()).unwrap());
    check(&mut running, &format!(" DEBUG {UNCHANGED} "));
    kill_process(daemon, Signal::TERM).unwrap();
    running.end().expect(0);
    let trace = sandbox.read("trace");
    let (daemon, readers) = (daemon.as_raw_pid().to_string(), readers(&trace, &bundle));
    // The first check did not know it; then the daemon did it for all, and again for each new file.
    assert_eq!((readers.len(), readers[0].1), (2, 1), "{readers:?}\n{trace}");
    assert_eq!(readers[1], (daemon, 3), "{trace}");
}

#[test]
fn bundle_of_roots_is_not_needed_then_it_is_not_read() {
    needs!("strace", "nginx", "openssl");
    let sandbox = Sandbox::new();
    sandbox.zip("www/app.zip", &[("version", "v1")]);
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    let other = Sandbox::new();
    let bundle = sandbox.write("bundle.pem", fs::read(Authority::new(&other).ca()).unwrap());
    let remote = nginx.https("127.0.0.1", "/app.zip");
    let check = |config: &str, code: i32| {
        sandbox.write("repo-deploy.cfg", config);
        let mut command = sandbox.command(&["--remote", &remote]);
        command.env("SSL_CERT_FILE", &bundle);
        Run::from(under_strace(&sandbox, &command, &READS).output().unwrap()).expect(code);
        readers(&sandbox.read("trace"), &bundle).len()
    };
    assert_eq!(check(&format!("ca-file = {}\n", authority.ca().display()), 0), 0);
    assert_eq!(check("", 1), 1, "the control: the server's CA is not known without it");
}

#[test]
fn splay_is_given_then_each_host_and_id_has_its_own_share() {
    let sandbox = Sandbox::new();
    let next = |id: &str| {
        sandbox.write("repo-deploy.cfg", "splay = 20h\nschedule = @yearly\n");
        let args = ["-i", id, "--remote", "/nothing"];
        let json = sandbox.status(&[&["--json"], &args[..]].concat()).expect(1).out;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let next = json["deployments"][0]["next_check"].as_str().unwrap().to_owned();
        // The command that prints the schedule counts the share too.
        let times: Run = sandbox.saying(&["schedule", "1"], &args).env("TZ", "UTC0").output().unwrap().into();
        assert_eq!(times.expect(0).out.trim(), next);
        next
    };
    let (one, other) = (next("one"), next("other"));
    assert_ne!(one, other);
    assert_eq!(one, next("one"));
}

/// A fleet that boots at once must not check at once; a live tree that may be mixed must not wait.
#[test]
fn a_spread_schedule_starts_then_the_first_check_waits_unless_a_deployment_was_cut_off() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    sandbox.hook("post.d", "10-x", "if [ -e go ]; then exit 0; fi; echo up; exec sleep 1000");
    sandbox.write("repo-deploy.cfg", "splay = 20h\nschedule = 0 0 29 2 *\n");
    let start = || Running::start(sandbox.daemon(&["--remote", &remote]));
    let mut daemon = start();
    daemon.until(FIRST_CHECK).signal(Signal::USR1).until("up");
    kill_process(copy_of(daemon.pid()), Signal::KILL).unwrap();
    daemon.until(WAS_KILLED);
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
    sandbox.hook("post.d", "10-x", "");
    let mut daemon = start();
    daemon.until(DEPLOYED).signal(Signal::TERM);
    daemon.end().expect(0).never_says(FIRST_CHECK);
    assert_eq!(live(&sandbox), "v1");
}

/// A line of Prometheus' text: name, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// Reads Prometheus' text strictly: every sample under the HELP and TYPE of its name, each once.
fn metrics(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let (mut current, mut samples, mut seen) = (String::new(), Vec::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && !seen.contains(&name.to_owned()), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["gauge", "counter"].contains(&kind) && (kind == "counter") == name.ends_with("_total"), "{line}");
            current = name.to_owned();
            seen.push(current.clone());
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        assert_eq!(name, current, "{line}");
        let (mut labels, mut rest) = (Vec::new(), rest);
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap();
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = after[end + 1..].trim_start_matches(',');
        }
        samples.push((name.to_owned(), labels, rest[1..].trim().parse().unwrap()));
    }
    samples
}

#[test]
fn reports_are_asked_for_then_they_say_after_every_check_how_it_is() {
    let sandbox = Sandbox::new();
    let zip = fs::read(sandbox.zip("a.zip", &[("version", "v1")])).unwrap();
    let length = zip.len();
    const TAG: &str = "ETag: \"a\\b\"";
    let server = Raw::start(move |seen, _| {
        vec![match seen.header("If-None-Match") {
            Some(_) => crate::support::servers::raw(&format!("304 Not Modified\n{TAG}"), b""),
            None => ok(TAG, &zip),
        }]
    });
    let config =
        format!("remote = {}\nstatus-file = out/status.json\nmetrics-file = out/m.prom\n", server.url("/a.zip"));
    sandbox.write("repo-deploy.cfg", config);
    sandbox.write("out/m.prom", "old\n");
    let before = sandbox.status(&["--json"]).expect(1).out;
    assert!(before.contains("\"last_check\":null") && before.contains("\"healthy\":false"), "{before}");
    let mut daemon = Running::start(sandbox.daemon(&["-v"]));
    daemon.until(DEPLOYED);
    let read = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap_or_default();
    let status = |checks: u64| {
        wait_for("a report", || {
            let status: serde_json::Value = serde_json::from_str(&read("out/status.json")).ok()?;
            let one = status["deployments"][0].clone();
            let prom = read("out/m.prom");
            let is_here = prom != "old\n" && metrics(&prom).iter().any(|m| m.2 == checks as f64);
            (one["checks"] == checks && is_here).then_some(one)
        })
    };
    let get = |name: &str, label: &str| {
        let found = |m: &&Sample| m.0 == format!("repo_deploy_{name}") && m.1.iter().any(|(_, v)| v == label);
        metrics(&read("out/m.prom")).iter().find(found).map(|m| m.2)
    };
    let one = status(1);
    assert_eq!((&one["outcome"], &one["live"]["revision"]), (&"deployed".into(), &"etag:\"a\\b\"".into()), "{one}");
    assert_eq!((&one["healthy"], &one["bytes"]), (&true.into(), &length.into()), "{one}");
    assert_eq!((get("info", "etag:\"a\\b\""), get("fetched_bytes_total", "default")), (Some(1.0), Some(length as f64)));
    assert_eq!((get("last_check_success", "default"), get("deployments_total", "default")), (Some(1.0), Some(1.0)));
    let deployed = get("last_deployment_timestamp_seconds", "default").unwrap();
    assert_eq!(get("last_success_timestamp_seconds", "default"), Some(deployed));
    check(&sandbox, &mut daemon);
    status(2);
    let both = |name: &str| (sandbox.status(&["--json"]).out, read(name));
    let (asked, written) = both("out/status.json");
    assert_eq!(asked, written, "the command and the file say the same");
    assert_eq!(sandbox.status(&[]).expect(0).out.lines().filter(|l| l.starts_with("last check")).count(), 1);

    drop(server); // nobody answers any more
    sandbox.write("repo-deploy.cfg", sandbox.read("repo-deploy.cfg") + "timeout = 1\n");
    daemon.signal(Signal::HUP).until(" ERROR ");
    let one = status(3);
    assert_eq!(
        (&one["outcome"], &one["failures"]),
        (&"unavailable".into(), &serde_json::json!({"unavailable": 1})),
        "{one}"
    );
    assert_eq!((get("last_check_success", "default"), get("failures_total", "unavailable")), (Some(0.0), Some(1.0)));
    sandbox.status(&[]).expect(1);
    let names: Vec<_> = fs::read_dir(sandbox.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left lying about: {names:?}");
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
}

#[test]
fn sections_share_a_report_then_all_stand_in_it_and_once_writes_it_too() {
    let sandbox = Sandbox::new();
    let args = three(&sandbox, "status-file = s.json\nmetrics-file = m.prom\n");
    let run: Run = sandbox.bare().args(["-f", "--config-section", "all"]).args(args).output().unwrap().into();
    run.expect(1);
    let status: serde_json::Value = serde_json::from_str(&sandbox.read("s.json")).unwrap();
    let ids: Vec<_> = status["deployments"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, ["web", "bad", "batch"]);
    let samples = metrics(&sandbox.read("m.prom"));
    let checks = samples.iter().filter(|(name, ..)| name == "repo_deploy_checks_total");
    assert_eq!(checks.map(|(_, _, n)| *n).collect::<Vec<_>>(), [1.0, 1.0, 1.0]);
}

#[test]
fn a_report_cannot_be_written_then_it_is_said_once_and_deployments_go_on() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "metrics-file = no/such/m.prom\n");
    let mut daemon = v1_is_live(&sandbox);
    for _ in 0..3 {
        check(&sandbox, &mut daemon);
    }
    source(&sandbox, "v2");
    daemon.signal(Signal::USR1).until(DEPLOYED).signal(Signal::TERM);
    let log = daemon.end().expect(0).log;
    assert_eq!(log.matches(&format!(" WARN {CANNOT_WRITE} ")).count(), 1, "{log}");
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn status_is_asked_then_its_code_says_whether_the_last_check_was_good() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let status = || sandbox.status(&["--remote", &remote]);
    status().expect(1);
    sandbox.deploy(&remote, &[]).expect(0);
    let run = status().expect(0);
    assert!(run.out.contains("\nnext check  20"), "{}", run.out);
    fs::rename(sandbox.path("source"), sandbox.path("away")).unwrap();
    sandbox.deploy(&remote, &[]).expect(1);
    let run = status().expect(1);
    assert!(run.out.contains("\nlast good   20"), "{}", run.out);
    fs::rename(sandbox.path("away"), sandbox.path("source")).unwrap();
    sandbox.deploy(&remote, &[]).expect(0);
    status().expect(0);
}

/// Sleeps until a file is renamed into a directory: ten thousand waits that look again and again cost a processor.
struct Renames(OwnedFd);

impl Renames {
    fn into(dir: &Path) -> Self {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&events, dir, inotify::WatchFlags::MOVED_TO).unwrap();
        Self(events)
    }

    fn next(&mut self) {
        let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
        let has_more = poll(&mut asked, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap() > 0;
        assert!(has_more, "waited for a check for a minute");
        let mut events = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.0, &mut events).next().unwrap();
    }
}

#[test]
fn ten_thousand_checks_with_a_thousand_deployments_then_nothing_has_grown() {
    needs!(time);
    let root = format!("/dev/shm/repo-deploy-test-{}-many", std::process::id());
    let sandbox = Sandbox::at(std::path::Path::new(&root));
    sandbox.write("repo-deploy.cfg", "keep = 2\nstatus-file = status.json\nmetrics-file = m.prom\nlog-file = log\n");
    let remote = source(&sandbox, "0");
    let mut daemon = Running::start(sandbox.daemon(&["--remote", &remote, "--schedule", NEVER]));
    wait_for("the first check", || (checks(&sandbox) == 1).then_some(()));
    let pid = daemon.pid();
    let measure = || {
        // No child, and in its only wait: what it does after a child's end is done.
        let status = wait_for("rest", || {
            let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
            let is_at_rest = read(&format!("task/{pid}/children")).is_empty() && read("wchan").contains("poll");
            is_at_rest.then(|| read("status"))
        });
        let resident = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap(); // code pages come and go
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let count = |dir: &str| {
            let find = Command::new("find").arg(sandbox.path(dir)).output().unwrap();
            String::from_utf8_lossy(&find.stdout).lines().count()
        };
        (resident, open, count("deploy") + count("cache") + count("state"))
    };
    let mut renamed = Renames::into(&sandbox.store());
    let mut before = (0, 0, 0);
    for n in 1..10_000 {
        if n % 10 == 0 {
            source(&sandbox, &n.to_string());
        }
        daemon.signal(Signal::USR1);
        while checks(&sandbox) < n + 1 {
            renamed.next();
        }
        if n == 1000 {
            before = measure();
        }
    }
    let after = measure();
    assert_eq!((after.1, after.2), (before.1, before.2), "descriptors and files");
    assert!(after.0 <= before.0 + 64, "{} KiB, then {} KiB", before.0, after.0);
    assert_eq!(number(&sandbox, "deployments"), 1000);
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
    let log = sandbox.read_log("log");
    assert!(log.lines().count() < 2 * 1000 + 10, "what does not change does not fill the log: {}", log.lines().count());
}
