//! `repo-deploy signal`, with real processes: the right one receives the signal, and no other.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::needs::needs;
use crate::support::phrases::{BELONGS_TO, CANNOT_READ, CANNOT_USE, OTHERS_MAY_WRITE};
use crate::support::sandbox::{Run, Sandbox, age, binary};
use crate::support::servers::wait_for;

fn signal(sandbox: &Sandbox, args: &[&str]) -> Run {
    sandbox.bare().arg("signal").args(args).output().unwrap().into()
}

/// A service with a name of its own, in a group of its own; it ends with the test.
struct Service(Child);

impl Service {
    /// A shell script as the program `name`.
    fn start(sandbox: &Sandbox, name: &str, body: &str) -> Self {
        let path = sandbox.write(name, format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(&path);
        command
            .current_dir(sandbox.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let service = Self(command.spawn().unwrap());
        let comm = format!("/proc/{}/comm", service.0.id());
        wait_for("the service", || fs::read_to_string(&comm).ok().filter(|comm| comm.trim_end() == name));
        service
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn ended_by(&mut self) -> Option<i32> {
        self.0.wait().unwrap().signal()
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Its group: workers too. Until it is reaped the number is no other's.
        if self.is_running()
            && let Some(group) = Pid::from_raw(i32::try_from(self.0.id()).unwrap())
        {
            let _ = kill_process_group(group, Signal::KILL); // it may just have ended
        }
        drop(self.0.wait());
    }
}

/// A name that no other test's process has, of at most 15 bytes.
fn unique(sandbox: &Sandbox) -> String {
    let path = sandbox.path("");
    let name = path.file_name().unwrap().to_str().unwrap().replace("repo-deploy-test", "t");
    name[..name.len().min(15)].to_owned()
}

const LOOP: &str = "while :; do sleep 0.05; done";

#[test]
fn a_service_has_a_pid_file_then_it_is_signalled() {
    let sandbox = Sandbox::new();
    let name = unique(&sandbox);
    let body = format!("trap 'echo hup >>got' HUP\ntrap 'echo usr >>got' USR1\n: >ready\n{LOOP}");
    let mut service = Service::start(&sandbox, &name, &body);
    wait_for("the traps", || sandbox.path("ready").exists().then_some(()));
    let file = sandbox.write("pid", format!("{}\nmore\n", service.pid())).display().to_string();
    for word in ["HUP", "sighup", "SIGUSR1"] {
        signal(&sandbox, &[word, "--pid-file", &file])
            .expect(0)
            .says(&format!("to process {} ({name})", service.pid()));
        let lines = ["HUP", "sighup", "SIGUSR1"].iter().position(|w| *w == word).unwrap() + 1;
        wait_for("the signal", || {
            let got = fs::read_to_string(sandbox.path("got")).unwrap_or_default();
            (got.lines().count() == lines).then_some(())
        });
    }
    assert_eq!(sandbox.read("got"), "hup\nhup\nusr\n");
    signal(&sandbox, &["HUP", "--pid-file", &file, "--name", &name, "--wait", "1s"]).expect(0);
    signal(&sandbox, &["TERM", "--pid-file", &file, "--name", "other"]).expect(1).says("its name is not other");
    assert!(service.is_running());
    let reaped = std::thread::spawn(move || service.ended_by());
    signal(&sandbox, &["TERM", "--pid-file", &file, "--wait", "20s"]).expect(0);
    assert_eq!(reaped.join().unwrap(), Some(15));
    signal(&sandbox, &["TERM", "--pid-file", &file]).expect(1).says("it does not run");
}

#[test]
fn a_process_stays_or_ends_against_the_wait_then_it_is_a_failure() {
    let sandbox = Sandbox::new();
    let name = unique(&sandbox);
    let mut service = Service::start(&sandbox, &name, &format!("trap '' TERM\n: >ready\n{LOOP}"));
    wait_for("the traps", || sandbox.path("ready").exists().then_some(()));
    signal(&sandbox, &["TERM", "--name", &name, "--wait", "1s"]).expect(1).says("still runs 1 s after TERM");
    let begin = Instant::now();
    // A zombie has ended: nobody waits for it here.
    signal(&sandbox, &["USR1", "--name", &name, "--wait", "1m"]).expect(1).says("ended after USR1");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(service.ended_by(), Some(10));
    signal(&sandbox, &["KILL", "--name", &name]).expect(1).says("no process has this name");
}

#[test]
fn a_name_is_that_of_a_service_and_its_workers_then_only_the_service_is_signalled() {
    let sandbox = Sandbox::new();
    let name = unique(&sandbox);
    let body = format!("if [ -z \"$W\" ]; then W=1 \"$0\" & fi\ntrap \"echo $$ >>got\" HUP\n: >ready$W\n{LOOP}");
    let service = Service::start(&sandbox, &name, &body);
    wait_for("both", || (sandbox.path("ready").exists() && sandbox.path("ready1").exists()).then_some(()));
    signal(&sandbox, &["HUP", "--name", &name]).expect(0);
    wait_for("the signal", || sandbox.path("got").exists().then_some(()));
    signal(&sandbox, &["HUP", "--name", &name, "--wait", "1s"]).expect(0);
    assert!(sandbox.read("got").lines().all(|pid| pid == service.pid()), "{}", sandbox.read("got"));
    // A name is compared whole.
    signal(&sandbox, &["HUP", "--name", &name[..name.len() - 1]]).expect(1);
}

#[test]
fn a_number_is_another_process_by_now_then_that_one_is_spared() {
    let sandbox = Sandbox::new();
    let name = unique(&sandbox);
    let mut service = Service::start(&sandbox, &name, LOOP);
    // As the file of a service that ended long ago, whose number this one got.
    let file = sandbox.write("pid", service.pid());
    age(&file);
    let words = "it started after the pid file ";
    signal(&sandbox, &["KILL", "--pid-file", file.to_str().unwrap()]).expect(1).says(words);
    assert!(service.is_running());
}

#[test]
fn other_users_may_write_the_pid_file_then_it_is_refused() {
    needs!(root);
    let sandbox = Sandbox::new();
    let name = unique(&sandbox);
    let mut service = Service::start(&sandbox, &name, LOOP);
    let refused = |file: &Path| {
        let run = signal(&sandbox, &["KILL", "--pid-file", file.to_str().unwrap()]).expect(1);
        run.says(&format!("{CANNOT_READ} the pid file"))
    };
    let file = sandbox.write("run/pid", service.pid());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&file).says(OTHERS_MAY_WRITE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    chown(&file, Some(1234), None).unwrap();
    refused(&file).says(&format!("{BELONGS_TO} 1234"));
    chown(&file, Some(0), None).unwrap();
    fs::set_permissions(sandbox.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&file).says(OTHERS_MAY_WRITE);
    for text in ["", "x", "-1", "0", "1 2", "99999999999"] {
        let file = sandbox.write("other", text);
        refused(&file).says("its first line is no number of a process");
    }
    refused(&sandbox.path("missing")).says("no such file or directory");
    assert!(service.is_running());
}

#[test]
fn a_hook_names_itself_its_parents_or_its_group_then_they_are_spared() {
    let sandbox = Sandbox::new();
    let binary = binary();
    let binary = binary.display();
    // The shell is a parent, the sleep beside it of its group.
    let script = format!(
        "sleep 60 & echo $! >group; echo $$ >parent; echo 1 >first\n\
         for file in group parent first; do\n{binary} signal KILL --pid-file $PWD/$file; echo $?\ndone\nkill $!\n"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(sandbox.path("")).process_group(0);
    let run = Run::from(shell.output().unwrap()).expect(0);
    assert_eq!(run.out, "1\n1\n1\n", "{}", run.log);
    assert_eq!(run.log.matches("it is this process, a parent of it, or of its group").count(), 3, "{}", run.log);
    signal(&sandbox, &["KILL", "--name", "repo-deploy-non"]).expect(1).says("no process has this name");
}

#[test]
fn the_command_line_of_a_signal_is_wrong_then_the_right_one_is_named() {
    let sandbox = Sandbox::new();
    for (args, words) in [
        (&[][..], "signal without a name: repo-deploy signal NAME"),
        (&["FROB", "--name", "x"], "signal FROB: "),
        (&["9", "--name", "x"], "HUP, INT, QUIT"),
        (&["HUP"], "signal without a process: --pid-file FILE or --name COMM"),
        (&["HUP", "--name", "a-name-of-16-byte"], &format!("{CANNOT_USE} --name a-name-of-16-byte: ")),
        (&["HUP", "--name", "x", "--wait", "0"], &format!("{CANNOT_USE} --wait 0: ")),
    ] {
        signal(&sandbox, args).expect(64).says(words);
    }
}
