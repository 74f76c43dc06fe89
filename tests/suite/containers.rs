//! Containers that hold the binary and hardly anything else, in which it is the first process: it obeys signals, and nobody
//! whom it inherits stays a zombie. And a cron that starts it while it is at work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::clock::QEMU;
use crate::support::needs::needs;
use crate::support::phrases::{AT_WORK, DEPLOYED, EXIT_CODE, NOTHING_AT, READ_AGAIN, ROLLING_BACK};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::wait_for;

/// How a container is started: what is put before the binary and its arguments.
const WAYS: [&str; 3] = ["unshare", "bwrap", "runc"];

/// A root directory that holds the binary, an application and its configuration, and nothing else.
fn empty_root(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.path("root");
    sandbox.write("root/app/version", "v1");
    // No /proc, /dev, /etc, /tmp: neither here nor mounted. (runc itself makes /proc and /dev.)
    let config = "remote = /app\nlocal = /live/current\ncache = /live/cache\nschedule = 0 0 29 2 *\n\
                  pre-hooks = /hooks/pre\npost-hooks = /hooks/post\nstatus-file = /live/status.json\n";
    sandbox.write("root/config", config);
    for dir in ["live", "hooks/pre", "hooks/post"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(binary(), root.join("repo-deploy")).unwrap();
    root
}

/// The container's command, or `None` where its program is missing.
fn contained(sandbox: &Sandbox, way: &str, args: &[&str]) -> Option<Command> {
    needs!(root, way);
    let root = sandbox.path("root");
    let mut command = Command::new(way);
    match way {
        "unshare" => {
            command.args(["--pid", "--fork", "--kill-child", "--mount"]).arg(format!("--root={}", root.display()));
        }
        "bwrap" => {
            command.args(["--unshare-all", "--as-pid-1", "--die-with-parent", "--bind"]).arg(&root).arg("/");
        }
        _ => {
            let json = |list: &[&str]| serde_json::to_string(list).unwrap();
            let args = json(&[&["/repo-deploy"][..], args].concat());
            let spaces = ["pid", "mount", "ipc", "uts"].map(|kind| format!("{{\"type\":\"{kind}\"}}")).join(",");
            let may = json(&["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL"]);
            let spec = format!(
                "{{\"ociVersion\":\"1.0.2\",\"root\":{{\"path\":{:?}}},\"linux\":{{\"namespaces\":[{spaces}]}},\
                 \"mounts\":[{{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}}],\
                 \"process\":{{\"user\":{{\"uid\":0,\"gid\":0}},\"cwd\":\"/\",\"env\":[],\"args\":{args},\
                 \"capabilities\":{{\"bounding\":{may},\"effective\":{may},\"permitted\":{may}}}}}}}",
                root.display()
            );
            sandbox.write("bundle/config.json", spec);
            let name =
                format!("repo-deploy-test-{}-{}", std::process::id(), root.display().to_string().replace('/', "_"));
            command
                .arg("--root")
                .arg(sandbox.path("runc"))
                .args(["run", "--bundle"])
                .arg(sandbox.path("bundle"))
                .arg(name);
            return Some(command);
        }
    }
    command.arg("/repo-deploy").args(args);
    Some(command)
}

/// The first process of the container that runs below `pid`, as this namespace numbers it.
fn first_of(pid: u32) -> Pid {
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let inside = |pid: &str| {
        let status = status(pid);
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default().to_owned();
        let mut numbers = numbers.split_whitespace();
        numbers.clone().count() > 1 && numbers.next_back() == Some("1") && status.starts_with("Name:\trepo-deploy")
    };
    wait_for("the first process", || {
        let mut below = vec![pid.to_string()];
        while let Some(pid) = below.pop() {
            if inside(&pid) {
                return Pid::from_raw(pid.parse().unwrap());
            }
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                below.extend(children.split_whitespace().map(str::to_owned));
            }
        }
        None
    })
}

/// A busybox, and hooks that are its scripts.
fn with_busybox(root: &Path, name: &str, body: &str) {
    fs::create_dir_all(root.join("bin")).unwrap();
    if !root.join("bin/sh").exists() {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.unwrap(), root.join("bin/sh")).unwrap();
    }
    let hook = root.join("hooks").join(name);
    fs::write(&hook, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_root_is_empty_and_we_are_the_first_process_then_everything_works() {
    for way in WAYS {
        let sandbox = Sandbox::new();
        let root = empty_root(&sandbox);
        let Some(command) = contained(&sandbox, way, &["--config", "/config"]) else { continue };
        let mut daemon = Running::start(command);
        daemon.until(DEPLOYED);
        let first = first_of(daemon.pid());
        assert!(root.join("live/current/version").exists(), "{way}");

        fs::write(root.join("app/version"), "v2").unwrap();
        kill_process(first, Signal::HUP).unwrap();
        daemon.until(READ_AGAIN).until(DEPLOYED);
        assert_eq!(fs::read_to_string(root.join("live/current/version")).unwrap(), "v2");

        // HEALTHCHECK: the same binary, no shell.
        let status = |code: i32| {
            wait_for("its health", || {
                let mut check = Command::new("chroot");
                check.arg(&root).args(["/repo-deploy", "status", "--config", "/config"]);
                Some(Run::from(check.output().unwrap())).filter(|run| run.code == code)
            })
        };
        status(0);
        fs::rename(root.join("app"), root.join("away")).unwrap();
        kill_process(first, Signal::USR1).unwrap();
        daemon.until(&format!(" ERROR {NOTHING_AT} /app"));
        status(1);
        kill_process(first, Signal::TERM).unwrap();
        daemon.end().expect(0).says(" ending: signal 15 (SIGTERM)");
        let made = fs::read_dir(&root).unwrap().count();
        assert_eq!(made, if way == "runc" { 7 } else { 5 }, "nothing was made in {way}");
    }
}

#[test]
fn ten_thousand_orphans_end_then_there_is_no_zombie_and_our_own_hooks_are_not_lost() {
    for (way, orphans) in [("unshare", 10_000), ("bwrap", 100), ("runc", 100)] {
        let sandbox = Sandbox::new();
        let root = empty_root(&sandbox);
        let Some(command) = contained(&sandbox, way, &["--config", "/config"]) else { continue };
        // Each orphan's parent has ended before it; the hook's own end must still be seen, with its code.
        if way != "runc" {
            sandbox.write("root/dev/null", "");
        } // the shell wants to read it, a file will do
        let body = format!("i=0; while [ $i -lt {orphans} ]; do (: & ); i=$((i+1)); done; echo $i orphans");
        with_busybox(&root, "pre/10-orphans", &body);
        with_busybox(&root, "post/10-no", "exit 7");
        let mut daemon = Running::start(command);
        daemon.until(&format!("10-orphans: {orphans} orphans")).until(&format!("10-no {EXIT_CODE} 7; {ROLLING_BACK}"));
        let first = first_of(daemon.pid()).as_raw_nonzero();
        wait_for("the end of every orphan", || {
            let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
            children.is_empty().then_some(())
        });
        kill_process(first_of(daemon.pid()), Signal::TERM).unwrap();
        daemon.end().expect(0);
    }
}

#[test]
fn we_end_as_the_first_process_then_those_that_hooks_left_are_asked_first() {
    let sandbox = Sandbox::new();
    let root = empty_root(&sandbox);
    let Some(command) = contained(&sandbox, "unshare", &["--config", "/config"]) else { return };
    // A daemon of a session of its own.
    sandbox.write("root/dev/null", "");
    let service = "trap 'echo bye > /live/bye; exit 0' TERM; echo up > /live/up; while :; do sleep 0.05; done";
    with_busybox(
        &root,
        "post/10-start",
        &format!("setsid sh -c \"{}\" >/live/out 2>&1 &", service.replace('"', "\\\"")),
    );
    with_busybox(&root, "post/05-applets", "for a in sleep setsid; do [ -e /bin/$a ] || ln /bin/sh /bin/$a; done");
    fs::hard_link(root.join("bin/sh"), root.join("bin/ln")).unwrap();
    let mut command = command;
    command.env("PATH", "/bin");
    let mut daemon = Running::start(command);
    daemon.until(DEPLOYED);
    wait_for("the service", || root.join("live/up").exists().then_some(()));
    kill_process(first_of(daemon.pid()), Signal::TERM).unwrap();
    daemon.end().expect(0);
    assert_eq!(fs::read_to_string(root.join("live/bye")).unwrap(), "bye\n");
}

#[test]
fn term_comes_to_the_first_process_during_a_hook_then_the_hook_is_told() {
    for way in WAYS {
        let sandbox = Sandbox::new();
        let root = empty_root(&sandbox);
        let Some(command) = contained(&sandbox, way, &["--config", "/config"]) else { continue };
        with_busybox(&root, "pre/10-x", "trap 'echo bye; exit 1' TERM; echo up; while :; do :; done");
        let mut daemon = Running::start(command);
        daemon.until("10-x: up");
        kill_process(first_of(daemon.pid()), Signal::TERM).unwrap();
        daemon.end().expect(0).says("10-x: bye");
        assert!(!root.join("live/current").exists());
    }
}

#[test]
fn cron_starts_it_while_it_is_at_work_then_75_and_no_harm() {
    needs!(root, "busybox", "faketime", QEMU);
    let sandbox = Sandbox::new();
    let remote = crate::agent::source(&sandbox, "v1");
    let go = sandbox.path("go");
    sandbox.hook("post.d", "10-slow", &format!("while ! [ -e {} ]; do sleep 0.05; done", go.display()));
    let command = sandbox.command(&["--remote", &remote]);
    let words: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let codes = sandbox.write("codes", "");
    let once = format!("{} {} 2>>{}", binary().display(), words.join(" "), sandbox.path("log").display());
    let line = format!("* * * * * {once}; echo $? >> {}\n", codes.display());
    // Three at the same minute: one works, and it is slow.
    sandbox.write("tabs/root", line.repeat(3));
    let mut crond = Command::new(QEMU);
    crond.arg("/bin/busybox").args(["crond", "-f", "-c"]).arg(sandbox.path("tabs"));
    crond.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1").env("FAKETIME", "@2026-11-22 06:00:57");
    let mut crond = Running::start(crond);
    let ended = || sandbox.read("codes").lines().map(str::to_owned).collect::<Vec<_>>();
    wait_for("two that are sent away", || (ended().len() == 2).then_some(()));
    assert_eq!(ended(), ["75", "75"]);
    sandbox.write("go", "");
    wait_for("the one that works", || (ended().len() == 3).then_some(()));
    crond.signal(Signal::TERM);
    assert_eq!(ended(), ["75", "75", "0"]);
    assert_eq!(crate::agent::live(&sandbox), "v1");
    assert_eq!(sandbox.read("log").matches(AT_WORK).count(), 2);
    drop(crond);
}
