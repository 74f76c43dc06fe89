//! Hooks through the binary: order, environment, what a failure does, and what a hook cannot do to us.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::{
    BLOCKED, CANNOT_START, CARRIAGE_RETURN, DEPLOYED, EXIT_CODE, HOOK_IS_GONE, IS_REFUSED, ITS_INTERPRETER,
    OTHERS_MAY_WRITE, ROLLING_BACK, UNPACKED, WAS_ENDED, WAS_KILLED,
};
use crate::support::running::{Running, is_alive, kill};
use crate::support::sandbox::{Run, Sandbox, binary, tree};

const VARIABLES: &str = "for v in CURRENT_CONFIG PREVIOUS_CONFIG REPO_DEPLOY_PHASE REPO_DEPLOY_REASON REPO_DEPLOY_ATTEMPT \
REPO_DEPLOY_ID REPO_DEPLOY_REMOTE REPO_DEPLOY_RELEASE REPO_DEPLOY_REVISION REPO_DEPLOY_PREVIOUS_REVISION; do \
eval \"echo \\\"$v=<\\$$v>\\\"\"; done";

/// What a hook saw: its variables by name, and the file `version` below CURRENT_CONFIG and PREVIOUS_CONFIG.
struct Told(String);

impl Told {
    #[track_caller]
    fn get(&self, name: &str) -> &str {
        let start =
            self.0.find(&format!("{name}=<")).unwrap_or_else(|| panic!("{name} in {}", self.0)) + name.len() + 2;
        &self.0[start..start + self.0[start..].find('>').unwrap()]
    }
}

fn told(sandbox: &Sandbox, file: &str) -> Told {
    let told = Told(sandbox.read(file));
    fs::remove_file(sandbox.path(file)).unwrap();
    told
}

/// A hook that writes what it is told into `when.told`, each time anew, and lists what PREVIOUS_CONFIG has.
fn telling(sandbox: &Sandbox, when: &str) {
    let body = format!(
        "{{ {VARIABLES}
        echo \"current=<$(cat \"$CURRENT_CONFIG/version\" 2>&1)>\"
        test -n \"$PREVIOUS_CONFIG\" && echo \"previous=<$(cd \"$PREVIOUS_CONFIG\" && ls -A && cat version 2>/dev/null)>\"
        test -L \"$CURRENT_CONFIG\" && echo 'kind=<link>'; :; }} >{}",
        sandbox.path(format!("{when}.told")).display()
    );
    sandbox.hook(when, "10-tell", &body);
}

fn zip_of(sandbox: &Sandbox, version: &str) -> String {
    sandbox.zip("app.zip", &[("version", version)]).display().to_string()
}

fn live(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.local().join("version")).unwrap_or_else(|e| e.kind().to_string())
}

/// A sandbox with v1 live.
fn deployed() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);
    (sandbox, remote)
}

#[test]
fn hook_directory_that_was_given_is_missing_then_each_time_a_warning_says_so() {
    let sandbox = Sandbox::new();
    let remote = zip_of(&sandbox, "v1");
    fs::remove_dir(sandbox.path("pre.d")).unwrap();
    fs::remove_dir(sandbox.path("post.d")).unwrap();
    let missing = |name: &str| {
        let dir = sandbox.path(name);
        format!("WARN the hook directory {}, which was configured, does not exist: no hooks run", dir.display())
    };
    let run = sandbox.deploy(&remote, &[]).expect(0).says(&missing("pre.d")).says(&missing("post.d"));
    assert_eq!(run.complaints().len(), 2, "{}", run.log);
    assert_eq!(sandbox.deploy(&remote, &[]).expect(0).complaints(), [""; 0], "nothing is new: no hooks would run");

    // The directories that nobody gave may be missing.
    zip_of(&sandbox, "v2");
    if ["pre-update.d", "post-update.d"].iter().any(|dir| Path::new("/etc/repo-deploy").join(dir).exists()) {
        return;
    }
    let mut command = sandbox.bare();
    command.args(["-f", "-v", "--remote", &remote, "--local"]).arg(sandbox.local());
    command.arg("--cache").arg(sandbox.path("cache")).arg("-c").arg(sandbox.path("repo-deploy.cfg"));
    let run = Run::from(command.output().unwrap()).expect(0).says("no hooks: /etc/repo-deploy/pre-update.d");
    assert_eq!((run.complaints(), live(&sandbox).as_str()), (vec![], "v2"));
}

#[test]
fn hook_does_not_end_by_itself_then_the_verbose_log_says_how_in_english() {
    let sandbox = Sandbox::new();
    let remote = zip_of(&sandbox, "v1");
    for (config, body, words) in [
        ("hook-timeout = 1\n", "sleep 1000", &*format!("DEBUG pre.d/10-x {WAS_ENDED}: it was not over after ")),
        ("", "kill -KILL $$", &*format!("DEBUG pre.d/10-x {WAS_KILLED} signal 9 (SIGKILL) after ")),
    ] {
        sandbox.write("repo-deploy.cfg", config);
        sandbox.hook("pre.d", "10-x", body);
        sandbox.deploy(&remote, &["-v"]).expect(2).says(words).never_says("TimedOut").never_says("Killed");
    }
}

#[test]
fn first_deployment_then_hooks_are_told_the_new_tree_and_an_empty_one() {
    let sandbox = Sandbox::new();
    telling(&sandbox, "pre.d");
    telling(&sandbox, "post.d");
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);

    let pre = told(&sandbox, "pre.d.told");
    let id = pre.get("REPO_DEPLOY_RELEASE");
    assert_eq!(Path::new(pre.get("CURRENT_CONFIG")), sandbox.store().join("releases").join(id));
    assert_eq!((pre.get("current"), pre.get("previous")), ("v1", ""), "an empty directory that is there");
    assert_eq!((pre.get("REPO_DEPLOY_PHASE"), pre.get("REPO_DEPLOY_REASON")), ("pre", "update"));
    assert_eq!((pre.get("REPO_DEPLOY_ATTEMPT"), pre.get("REPO_DEPLOY_ID")), ("1", "default"));
    assert!(pre.get("REPO_DEPLOY_REMOTE").ends_with(&remote));
    assert!(pre.get("REPO_DEPLOY_REVISION").starts_with("sha256:"));
    assert_eq!(pre.get("REPO_DEPLOY_PREVIOUS_REVISION"), "");

    let post = told(&sandbox, "post.d.told");
    assert_eq!(Path::new(post.get("CURRENT_CONFIG")), sandbox.local());
    assert_eq!(post.get("PREVIOUS_CONFIG"), pre.get("PREVIOUS_CONFIG"), "the same empty directory");
    assert_eq!((post.get("current"), post.get("previous"), post.get("kind")), ("v1", "", "link"));
    assert_eq!((post.get("REPO_DEPLOY_PHASE"), post.get("REPO_DEPLOY_REASON")), ("post", "update"));
}

#[test]
fn update_then_hooks_are_told_both_trees() {
    let (sandbox, remote) = deployed();
    telling(&sandbox, "pre.d");
    telling(&sandbox, "post.d");
    let first = fs::canonicalize(sandbox.local()).unwrap();
    zip_of(&sandbox, "v2");
    sandbox.deploy(&remote, &[]).expect(0);

    let pre = told(&sandbox, "pre.d.told");
    assert_eq!((pre.get("current"), pre.get("previous")), ("v2", "version\nv1"));
    assert_eq!(Path::new(pre.get("PREVIOUS_CONFIG")), sandbox.local());
    assert_ne!(pre.get("REPO_DEPLOY_REVISION"), pre.get("REPO_DEPLOY_PREVIOUS_REVISION"));

    let post = told(&sandbox, "post.d.told");
    assert_eq!((post.get("current"), post.get("previous")), ("v2", "version\nv1"));
    assert_eq!(Path::new(post.get("CURRENT_CONFIG")), sandbox.local());
    assert_eq!(Path::new(post.get("PREVIOUS_CONFIG")), first);

    // Nothing new: no hook runs.
    sandbox.deploy(&remote, &[]).expect(0);
    assert!(!sandbox.path("pre.d.told").exists() && !sandbox.path("post.d.told").exists());
}

#[test]
fn post_hook_fails_then_previous_release_is_live_and_its_hooks_know_why() {
    let (sandbox, remote) = deployed();
    telling(&sandbox, "post.d");
    let trace = sandbox.path("trace");
    let body = format!(
        "echo \"$PREVIOUS_CONFIG $REPO_DEPLOY_REASON\" >>{}; grep -q v1 \"$CURRENT_CONFIG/version\"",
        trace.display()
    );
    sandbox.hook("post.d", "20-check", &body);
    let first = fs::canonicalize(sandbox.local()).unwrap();
    zip_of(&sandbox, "v2");
    sandbox.deploy(&remote, &[]).expect(1).says(&format!("post.d/20-check {EXIT_CODE} 1"));
    assert_eq!(live(&sandbox), "v1");
    assert_eq!(fs::canonicalize(sandbox.local()).unwrap(), first);

    let told = told(&sandbox, "post.d.told");
    assert_eq!((told.get("current"), told.get("PREVIOUS_CONFIG")), ("v1", ""));
    assert_eq!(told.get("REPO_DEPLOY_REASON"), "revert");
    assert_eq!(sandbox.read("trace"), format!("{} update\n revert\n", first.display()), "each list ran once, in order");

    // The hook has changed its mind: the next check deploys what is staged.
    sandbox.hook("post.d", "20-check", "true");
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn first_deployment_is_reverted_then_local_is_absent_again() {
    let sandbox = Sandbox::new();
    sandbox.hook("post.d", "10-no", "exit 9");
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(1).says(&format!("post.d/10-no {EXIT_CODE} 9"));
    assert!(fs::symlink_metadata(sandbox.local()).is_err());
}

#[test]
fn pre_hook_fails_then_nothing_is_live_and_nothing_is_fetched_again() {
    let (sandbox, remote) = deployed();
    let before = tree(&sandbox.local());
    sandbox.hook("pre.d", "10-no", "exit 5");
    telling(&sandbox, "post.d");
    zip_of(&sandbox, "v2");
    sandbox.deploy(&remote, &[]).expect(2).says(&format!("pre.d/10-no {EXIT_CODE} 5"));
    assert_eq!(tree(&sandbox.local()), before);

    let staged = || {
        let mut found: Vec<_> =
            fs::read_dir(sandbox.store().join("releases")).unwrap().map(|e| e.unwrap().path()).collect();
        found.sort();
        found.into_iter().map(|path| (fs::metadata(&path).unwrap().ino(), path)).collect::<Vec<_>>()
    };
    let inodes = staged();
    sandbox.deploy(&remote, &["-v"]).expect(2).never_says(UNPACKED);
    assert_eq!(staged(), inodes);
    assert!(!sandbox.path("post.d.told").exists(), "post hooks of what is not live");

    sandbox.hook("pre.d", "10-no", "exit 0");
    sandbox.deploy(&remote, &[]).expect(0).never_says(UNPACKED);
    assert_eq!(live(&sandbox), "v2");
    assert_eq!(staged().len(), 2);
}

#[test]
fn hooks_run_in_byte_order_and_what_is_passed_over_is_named_when_verbose() {
    let sandbox = Sandbox::new();
    for name in ["b", "10", "9", "B", "a~", ".a", "a.bak", "a.dpkg-old", "a.rpmnew", "a.disabled", "README"] {
        sandbox.hook("pre.d", name, "echo ran");
    }
    sandbox.write("pre.d/notes.txt", "not executable");
    let remote = zip_of(&sandbox, "v1");
    let run = sandbox
        .deploy(&remote, &["-v"])
        .expect(0)
        .says(": .a, README, a.bak, a.disabled, a.dpkg-old, a.rpmnew, a~, notes.txt");
    let ran: Vec<_> = run.log.lines().filter_map(|l| l.strip_suffix(": ran")?.rsplit(' ').next()).collect();
    assert_eq!(ran, ["10", "9", "B", "b"]);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    run.says(&format!("pre.d/10 {EXIT_CODE} 0 after"));

    let sandbox = Sandbox::new();
    sandbox.write("pre.d/notes.txt", "not executable");
    for version in ["v1", "v2"] {
        let remote = zip_of(&sandbox, version);
        let run = sandbox.deploy(&remote, &[]).expect(0);
        assert_eq!(run.complaints().len(), 1, "at every deployment: {}", run.log);
        run.says("WARN passed over the hook ").says("pre.d/notes.txt: it is not executable: ");
        sandbox.deploy(&remote, &[]).expect(0).never_says("notes.txt");
    }
}

#[test]
fn a_gate_does_not_run_then_every_deployment_plan_and_validate_say_so() {
    let sandbox = Sandbox::new();
    let text = sandbox.hook("pre.d", "10-gate.sh", "exit 1");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("/no/such/gate", sandbox.path("post.d/20-gate")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("post.d/30-fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    sandbox.write("post.d/40-gone.paths", "**\n");
    sandbox.write("post.d/50-off.disabled", "");
    sandbox.write("post.d/50-off.paths", "**\n");
    fs::create_dir(sandbox.path("post.d/lib")).unwrap();
    let said = [
        "pre.d/10-gate.sh: it is not executable: ",
        "post.d/20-gate: it is a link to nothing",
        "post.d/30-fifo: it is no regular file",
        "post.d/40-gone.paths has no effect: there is no hook 40-gone beside it",
    ];
    for version in ["v1", "v2"] {
        let remote = zip_of(&sandbox, version);
        let (log, out) = (sandbox.deploy(&remote, &[]).expect(0), validated(&sandbox, &remote));
        assert_eq!((log.complaints().len(), out.lines().count()), (said.len(), said.len()), "{}{out}", log.log);
        for words in said {
            assert!(log.log.contains(words) && out.contains(words), "{words}:\n{}{out}", log.log);
        }
    }
    let plan = sandbox.plan(&zip_of(&sandbox, "v3"), &["--json"]).expect(10);
    assert!(said.iter().all(|words| plan.out.contains(words)), "{}", plan.out);
}

/// What validate says of the sandbox's hooks.
fn validated(sandbox: &Sandbox, remote: &str) -> String {
    let config = sandbox.write("validate.cfg", crate::planted::text(sandbox, remote, ""));
    Run::from(sandbox.bare().arg("validate").arg(config).output().unwrap()).expect(0).out
}

#[test]
fn hook_hangs_then_hook_timeout_ends_it_and_its_children() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "hook-timeout = 1\n");
    let pid = sandbox.path("pid");
    sandbox.hook("pre.d", "10-hang", &format!("sleep 1000 & echo $! >{}; wait", pid.display()));
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(2).says(&format!("pre.d/10-hang {WAS_ENDED} after hook-timeout = 1 s"));
    assert!(!is_alive(&sandbox.read("pid")));
}

#[test]
fn check_takes_too_long_then_timeout_ends_the_hook_and_reverts() {
    let (sandbox, remote) = deployed();
    sandbox.write("repo-deploy.cfg", "timeout = 2\n");
    sandbox.hook("post.d", "10-hang", "test \"$REPO_DEPLOY_REASON\" = revert || sleep 1000");
    zip_of(&sandbox, "v2");
    sandbox
        .deploy(&remote, &[])
        .expect(1)
        .says(&format!("post.d/10-hang {WAS_ENDED} because the whole check took longer than timeout"));
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn hook_leaves_a_daemon_then_the_lock_is_free_and_the_daemon_has_nothing_of_ours() {
    let (sandbox, remote) = deployed();
    let pid = sandbox.path("pid");
    sandbox.hook("post.d", "10-daemon", &format!("setsid sleep 1000 & echo $! >{}", pid.display()));
    zip_of(&sandbox, "v2");
    sandbox.deploy(&remote, &[]).expect(0);
    let pid = sandbox.read("pid");
    assert!(is_alive(&pid), "a daemon is on hold");
    let mut open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", pid.trim()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    sandbox.hook("post.d", "10-daemon", "true");
    zip_of(&sandbox, "v3");
    let next = sandbox.deploy(&remote, &[]);
    kill(&pid);
    next.expect(0);
    assert_eq!(open, ["0", "1", "2"]);
}

#[test]
fn hook_prints_without_end_then_the_log_has_its_beginning_and_its_end() {
    let sandbox = Sandbox::new();
    sandbox.hook("pre.d", "10-x", "yes 'one more line' | head -c 300000000; echo; echo 'the reason'; exit 1");
    let remote = zip_of(&sandbox, "v1");
    let log = sandbox.deploy(&remote, &[]).expect(2).log;
    assert!(log.len() < 2 << 20, "{} bytes of log", log.len());
    let (before, after) = log.split_once(" WARN pre.d/10-x printed 285.9 MiB more that are not in the log").unwrap();
    assert!(before.lines().count() > 13_000, "the beginning is all there");
    assert!(after.lines().count() < 300 && after.contains(" INFO 10-x: the reason\n"), "{after}");
    assert!(after.contains(BLOCKED), "{after}");
}

#[test]
fn hook_prints_short_lines_or_long_ones_then_they_fill_a_mebibyte_of_the_log() {
    for line in ["y".to_owned(), "one more line".to_owned(), "long ".repeat(300)] {
        let sandbox = Sandbox::new();
        sandbox.hook("pre.d", "10-x", &format!("yes '{line}' | head -n 40000; exit 1"));
        let remote = zip_of(&sandbox, "v1");
        let ended = sandbox.command(&["--remote", &remote]).output().unwrap();
        let log = ended.stderr.len();
        assert!((700 << 10..1300 << 10).contains(&log), "{log} bytes of log of lines of {}", line.len());
    }
}

#[test]
fn hook_is_a_link_into_the_live_tree_and_the_new_one_has_nothing_there_then_it_has_not_agreed() {
    for activation in ["symlink", "in-place"] {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", format!("activation = {activation}\n"));
        let tool = ("bin/reload", "#!/bin/sh\necho reloaded");
        let remote = sandbox.zip("app.zip", &[("version", "v1"), tool]).display().to_string();
        symlink(sandbox.local().join("bin/reload"), sandbox.path("post.d/20-reload")).unwrap();
        sandbox.hook("post.d", "10-x", "echo $REPO_DEPLOY_REASON");
        // Before the first deployment it leads to nothing.
        sandbox.deploy(&remote, &[]).expect(0).says("20-reload: reloaded");
        sandbox.zip("app.zip", &[("version", "v2")]);
        let run = sandbox.deploy(&remote, &[]).expect(1).says("10-x: revert").says("20-reload: reloaded");
        run.says(&format!("the hook post.d/20-reload {HOOK_IS_GONE}")).never_says("10-x: update");
        assert_eq!(sandbox.read("deploy/current/version"), "v1", "{activation}");
        // Whoever takes it away means that.
        fs::remove_file(sandbox.path("post.d/20-reload")).unwrap();
        let again = sandbox.saying(&["retry"], &["--remote", &remote]).output().unwrap();
        Run::from(again).expect(0).says("10-x: update");
    }
}

#[test]
fn hooks_come_with_the_release_then_a_new_one_may_leave_one_out_and_may_not_break_its_link() {
    let sandbox = Sandbox::new();
    let (one, two) = ("#!/bin/sh\necho one", "#!/bin/sh\necho two");
    let first = [("version", "v1"), ("hooks/10", one), ("hooks/20", "-> ../tool"), ("tool", two)];
    let remote = sandbox.zip("app.zip", &first).display().to_string();
    let hooks = sandbox.local().join("hooks").display().to_string();
    let run = || sandbox.deploy(&remote, &["--post-hooks", &hooks]);
    run().expect(0).says("10: one").says("20: two");
    sandbox.zip("app.zip", &[("version", "v2"), ("hooks/20", "-> ../tool"), ("tool", two)]);
    run().expect(0).says("20: two").never_says("10: ");
    sandbox.zip("app.zip", &[("version", "v3"), ("hooks/20", "-> ../tool")]);
    run().expect(1).says(&format!("the hook hooks/20 {HOOK_IS_GONE}"));
    assert_eq!(sandbox.read("deploy/current/version"), "v2");
}

/// What a program finds out about the terminal that we were started in.
const TRY_TERMINAL: &str = r#"
import fcntl, os, sys, termios
try:
    os.close(os.open("/dev/tty", os.O_RDWR)); print("it has a terminal")
except OSError as e:
    print("no terminal:", os.strerror(e.errno))
for fd in range(3):
    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b"x"); print("pushed")
    except OSError:
        pass
print("session", os.getsid(0) == os.getpid() or os.getsid(0) == os.getppid())
"#;

#[test]
fn we_have_a_terminal_then_no_child_has_it() {
    needs!("script", "python3");
    let sandbox = Sandbox::new();
    let program = sandbox.write("try.py", TRY_TERMINAL);
    sandbox.hook("post.d", "10-x", &format!("exec python3 {}", program.display()));
    let remote = zip_of(&sandbox, "v1");
    let check = sandbox.command(&["--remote", &remote]);
    let words = std::iter::once(check.get_program()).chain(check.get_args()).map(|w| w.to_str().unwrap());
    let mut script = Command::new("script");
    script.args(["-qec", &words.collect::<Vec<_>>().join(" "), "/dev/null"]).stdin(std::process::Stdio::null());
    let out = Run::from(script.current_dir(sandbox.path("")).output().unwrap()).expect(0).out;
    assert!(
        out.contains("10-x: no terminal: No such device or address") && out.contains("10-x: session True"),
        "{out}"
    );
    assert!(!out.contains("pushed") && !out.contains("it has a terminal"), "{out}");
}

#[test]
fn hook_cannot_start_then_it_says_why_and_blocks() {
    for (content, words) in [
        ("#!/does/not/exist -u\n", &*format!("{CANNOT_START}: {ITS_INTERPRETER} /does/not/exist does not exist")),
        ("#!/bin/sh\r\nexit 0\r\n", &*format!("{CANNOT_START}: {CARRIAGE_RETURN}")),
        ("exit 0\n", &*format!("{CANNOT_START}: it does not begin with #!")),
        ("", &*format!("{CANNOT_START}: it does not begin with #!")),
    ] {
        let sandbox = Sandbox::new();
        let path = sandbox.hook("pre.d", "10-x", "");
        fs::write(path, content).unwrap();
        let remote = zip_of(&sandbox, "v1");
        sandbox.deploy(&remote, &[]).expect(2).says(words).says("pre.d/10-x ");
        assert!(fs::symlink_metadata(sandbox.local()).is_err());
    }
}

#[test]
fn others_may_write_a_pre_hook_then_it_is_refused_and_blocks() {
    for place in ["pre.d", "pre.d/20-x"] {
        let (sandbox, remote) = deployed();
        let ran = sandbox.path("ran");
        sandbox.hook("pre.d", "10-x", &format!("touch {}", ran.display()));
        sandbox.hook("pre.d", "20-x", "true");
        fs::set_permissions(sandbox.path(place), fs::Permissions::from_mode(0o777)).unwrap();
        zip_of(&sandbox, "v2");
        let path = sandbox.path(place).display().to_string();
        sandbox.deploy(&remote, &[]).expect(2).says(&format!("{OTHERS_MAY_WRITE} {path}: chmod go-w {path}"));
        assert!(!ran.exists(), "no hook of the list may run");
        assert_eq!(live(&sandbox), "v1");
    }
}

#[test]
fn others_may_write_a_post_hook_then_nothing_becomes_live() {
    let sandbox = Sandbox::new();
    let hook = sandbox.hook("post.d", "10-x", "true");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o757)).unwrap();
    let remote = zip_of(&sandbox, "v1");
    let run = sandbox.deploy(&remote, &[]).expect(2).says(&format!("10-x {IS_REFUSED}")).says("chmod go-w");
    run.never_says(DEPLOYED).never_says(ROLLING_BACK);
    assert!(fs::symlink_metadata(sandbox.local()).is_err());
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn hook_dies_of_a_signal_then_it_failed() {
    let sandbox = Sandbox::new();
    sandbox.hook("pre.d", "10-x", "kill -SEGV $$");
    let remote = zip_of(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(2).says(&format!("pre.d/10-x {WAS_KILLED} signal 11 (SIGSEGV)"));
}

#[test]
fn hook_prints_garbage_then_the_log_has_it_escaped_and_whole() {
    let sandbox = Sandbox::new();
    let body = r#"printf '\033[31mred\r\n'
printf '\377\376 bytes\n' >&2
head -c 10000 /dev/zero | tr '\0' x
echo
echo '2026-01-01T00:00:00Z ERROR forged'
printf 'no newline'"#;
    sandbox.hook("pre.d", "10-x", body);
    let remote = zip_of(&sandbox, "v1");
    let run = sandbox.deploy(&remote, &[]).expect(0);
    assert!(run.log.bytes().all(|b| b == b'\n' || b >= b' '), "a control character got through");
    let said: Vec<_> = run.log.lines().filter_map(|l| l.split_once(" INFO 10-x: ").map(|(_, said)| said)).collect();
    let (long, rest): (Vec<&str>, Vec<&str>) = said.iter().partition(|line| line.starts_with("xxx"));
    assert_eq!(rest, [r"\x1b[31mred\r", "\u{fffd}\u{fffd} bytes", "2026-01-01T00:00:00Z ERROR forged", "no newline"]);
    assert_eq!(long.concat().len(), 10_000);
    assert!(long.iter().all(|piece| piece.len() <= 4096));
}

/// Runs the binary through a shell that prepares `how` it is started; the hook's output is in the log.
fn started_by_a_shell(sandbox: &Sandbox, how: &str, remote: &str) -> Run {
    let direct = sandbox.command(&["--remote", remote]);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{how}; exec \"$0\" \"$@\"")).arg(binary()).args(direct.get_args());
    shell
        .env_clear()
        .envs(direct.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .current_dir(sandbox.path(""));
    shell.output().unwrap().into()
}

#[test]
fn hook_starts_as_a_fresh_process_whatever_we_were_started_with() {
    let sandbox = Sandbox::new();
    sandbox.hook(
        "pre.d",
        "10-x",
        "umask; pwd; sh -c 'ls /proc/$$/fd; :' | tr '\\n' ' '; echo; readlink /proc/$$/fd/0; echo \"args $#\"; echo \"path $PATH\"
        cut -d' ' -f5 /proc/$$/stat | grep -qx $$ && echo leader
        grep SigBlk /proc/self/status; grep SigIgn /proc/self/status",
    );
    let remote = zip_of(&sandbox, "v1");
    let how = "umask 077; exec 8</dev/null 9>&2; trap '' HUP PIPE USR1 CHLD; export PATH=/usr/bin:/bin";
    let run = started_by_a_shell(&sandbox, how, &remote).expect(0);
    for words in
        ["0022", "/", "0 1 2 ", "/dev/null", "args 0", "path /usr/bin:/bin", "leader", "SigBlk:\\t0000000000000000"]
    {
        assert!(run.log.lines().any(|l| l.ends_with(&format!(" INFO 10-x: {words}"))), "{words}:\n{}", run.log);
    }
    let ignored = run.log.lines().find_map(|l| l.split_once("SigIgn:\\t")).unwrap().1;
    let of_libc = 0b111 << 31; // 32 to 34: no libc lets anybody touch these
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !of_libc, 0, "{ignored}");
}

#[test]
fn kernel_has_no_close_range_then_nothing_more_reaches_a_hook() {
    needs!("strace");
    for error in ["ENOSYS", "EINVAL", "EPERM"] {
        let sandbox = Sandbox::new();
        sandbox.hook("pre.d", "10-x", "sh -c 'ls /proc/$$/fd; :' | tr '\\n' ' '");
        let remote = zip_of(&sandbox, "v1");
        let how = format!(
            "exec 8</dev/null 9>&2; exec strace -qq -o /dev/null -e trace=close_range -e inject=close_range:error={error} \"$0\" \"$@\""
        );
        let run = started_by_a_shell(&sandbox, &how, &remote).expect(0);
        assert!(run.log.lines().any(|l| l.ends_with(" INFO 10-x: 0 1 2 ")), "{}", run.log);
    }
}

#[test]
fn deployment_runs_then_it_has_one_thread() {
    let sandbox = Sandbox::new();
    for when in ["pre.d", "post.d"] {
        sandbox.hook(when, "10-x", "echo threads: $(ls /proc/$PPID/task | wc -l), mine: $PPID");
    }
    let remote = zip_of(&sandbox, "v1");
    let mut running = Running::start(sandbox.command(&["--remote", &remote]));
    let expected = format!("10-x: threads: 1, mine: {}", running.pid());
    running.until(&expected).until(&expected);
    running.end().expect(0);
}

/// An image that has a shell and nothing else: no /dev, no /proc.
#[test]
fn image_has_no_dev_then_hooks_run_all_the_same() {
    needs!(root, "busybox", "chroot");
    let sandbox = Sandbox::new();
    for dir in ["root/bin", "root/etc/pre.d", "root/var"] {
        fs::create_dir_all(sandbox.path(dir)).unwrap();
    }
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap().stdout;
    fs::copy(String::from_utf8(busybox).unwrap().trim(), sandbox.path("root/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", sandbox.path("root/bin/sh")).unwrap();
    fs::copy(binary(), sandbox.path("root/bin/repo-deploy")).unwrap();
    sandbox.hook(
        "root/etc/pre.d",
        "10-x",
        "busybox cat && echo \"input has nothing, $(busybox ls / | busybox tr '\\n' ' ')\"",
    );
    sandbox.zip("root/app.zip", &[("version", "v1")]);
    let run: Run = Command::new("chroot")
        .arg(sandbox.path("root"))
        .args(["/bin/repo-deploy", "-f", "-r", "/app.zip", "-l", "/var/app", "--pre-hooks", "/etc/pre.d"])
        .env_clear()
        .env("PATH", "/bin:/usr/bin:/usr/sbin:/sbin")
        .output()
        .unwrap()
        .into();
    run.expect(0).says("10-x: input has nothing, app.zip bin etc var");
    assert_eq!(sandbox.read("root/var/app/version"), "v1");
}
