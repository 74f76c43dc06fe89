//! A check every minute from cron, and commands by hand: what is said again, what is said once, and what needs no remote.

use std::fs;
use std::process::{Command, Stdio};

use crate::local_users::source;
use crate::support::needs::{is_root, needs};
use crate::support::phrases::{AT_WORK, UP_TO_DATE};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::wait_for;

#[test]
fn remote_is_not_given_then_commands_that_ask_the_store_take_the_one_it_knows() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let say = |words: &[&str]| Run::from(sandbox.saying(words, &[]).output().unwrap());
    for words in [&["status"][..], &["history"], &["rollback"], &["verify"], &["retry"], &["-f"], &["plan"]] {
        say(words).expect(78).says("cannot find a remote: give --remote URL");
    }
    for version in ["v1", "v2"] {
        source(&sandbox, version);
        sandbox.deploy(&remote, &[]).expect(0);
    }
    let status = say(&["status"]).expect(0);
    assert!(status.out.lines().any(|line| line == format!("remote      {remote}")), "{}", status.out);
    say(&["history"]).expect(0);
    say(&["verify"]).expect(0);
    say(&["rollback"]).expect(0);
    assert_eq!(sandbox.read("deploy/current/file"), "v1");
    say(&["retry"]).expect(0);
    assert_eq!(sandbox.read("deploy/current/file"), "v2");
    // What looks for something new has to be told where.
    for words in [&["-f"][..], &["plan"]] {
        say(words).expect(78).says("cannot find a remote");
    }
    // One that is given counts.
    let run = Run::from(sandbox.saying(&["retry"], &["--remote", "/no/such.zip"]).output().unwrap());
    run.expect(1).says("/no/such.zip");
}

#[test]
fn remote_has_a_secret_then_the_store_knows_it_without_and_retry_says_what_it_lacks() {
    let sandbox = Sandbox::new();
    let secret = "http://me:hunter2@127.0.0.1:9/app.zip?token=hunter2";
    sandbox.deploy(secret, &["--local", &sandbox.local().display().to_string()]).expect(1);
    let say = |words: &[&str]| Run::from(sandbox.saying(words, &[]).output().unwrap());
    let kept = sandbox.read(sandbox.store().join("status"));
    assert!(kept.contains("remote = http://") && !kept.contains("hunter2"), "{kept}");
    let status = say(&["status"]).expect(1);
    assert!(status.out.contains("remote      http://") && !status.out.contains("hunter2"), "{}", status.out);
    let run = say(&["retry"]).expect(78).says("it lacks what is secret in it: give --remote URL");
    run.never_says("hunter2");
}

#[test]
fn cron_finds_the_same_error_every_minute_then_it_is_told_once_an_hour() {
    let sandbox = Sandbox::new();
    let check = |args: &[&str]| {
        let run = sandbox.command(&["--remote", "/no/such.zip"]).args(args).output().unwrap();
        Run::from(run).expect(1)
    };
    let lines = |run: Run| run.log.lines().count();
    assert_eq!(lines(check(&["--quiet"])), 1);
    assert_eq!(lines(check(&["--quiet"])), 0);
    assert_eq!(lines(check(&[])), 1, "somebody looks");
    let retry = sandbox.saying(&["retry"], &["--remote", "/no/such.zip", "--quiet"]).output().unwrap();
    assert_eq!(lines(Run::from(retry).expect(1)), 1, "somebody asks");
    // An hour later.
    let status = sandbox.store().join("status");
    let text = sandbox.read(&status);
    let old = text.lines().find(|line| line.starts_with("told-at = ")).unwrap();
    let told: u64 = old.trim_start_matches("told-at = ").parse().unwrap();
    fs::write(&status, text.replace(old, &format!("told-at = {}", told - 3600))).unwrap();
    assert_eq!(lines(check(&["--quiet"])), 1);
    assert_eq!(lines(check(&["--quiet"])), 0);
    // Another error is another one; and when it is over and comes again, too.
    let good = source(&sandbox, "v1");
    sandbox.deploy(&good, &["--quiet"]).expect(0);
    assert_eq!(lines(check(&["--quiet"])), 1);
}

#[test]
fn source_stays_away_then_only_the_first_check_tries_it_again() {
    let sandbox = Sandbox::new();
    let check = || sandbox.deploy("http://127.0.0.1:9/app.zip", &[]).expect(1);
    assert_eq!(check().log.matches(" INFO ").count(), 3, "three tries more");
    assert_eq!(check().log.matches(" INFO ").count(), 0);
    let run = sandbox.deploy("http://127.0.0.1:9/app.zip", &["-v"]).expect(1);
    assert_eq!(run.log.matches(" GET http").count(), 1, "{}", run.log);
}

#[test]
fn a_check_is_still_at_work_then_the_next_one_says_so_at_info_and_what_is_asked_by_hand_is_an_error() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let go = sandbox.path("go");
    let wait = format!("touch '{0}.up'; while ! [ -e '{0}' ]; do sleep 0.05; done", go.display());
    sandbox.hook("post.d", "10-slow", &wait);
    let slow = Running::start(sandbox.command(&["--remote", &remote]));
    wait_for("the hook", || sandbox.path("go.up").exists().then_some(()));
    let run = sandbox.deploy(&remote, &[]).expect(75).says(&format!(" INFO {AT_WORK}"));
    assert!(run.complaints().is_empty());
    assert_eq!(sandbox.deploy(&remote, &["--quiet"]).expect(75).log, "");
    fs::write(&go, "").unwrap();
    slow.end().expect(0);
}

#[test]
fn nothing_is_new_then_a_terminal_is_told_and_cron_is_not() {
    needs!("script");
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let on_terminal = || {
        let command = sandbox.command(&["--remote", &remote]);
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.to_str().unwrap());
        let line = format!("exec {}", words.collect::<Vec<_>>().join(" "));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/");
        Run::from(script.current_dir(sandbox.path("")).stdin(Stdio::null()).output().unwrap()).expect(0).out
    };
    assert!(!on_terminal().contains("up to date"), "it was deployed");
    assert!(on_terminal().contains(&format!("{UP_TO_DATE} release ")));
    assert_eq!(sandbox.deploy(&remote, &[]).expect(0).log, "");
}

#[test]
fn home_is_no_place_then_the_message_says_why() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.local()).unwrap();
    let check = |home: Option<&str>| {
        let mut check = sandbox.bare();
        check.env_remove("REPO_DEPLOY_STATE_DIR").env_remove("HOME").args(["-f", "--remote", &remote, "--local"]);
        check.arg(sandbox.local()).envs(home.map(|home| ("HOME", home)));
        use std::os::unix::process::CommandExt;
        if is_root() {
            check.uid(4242).gid(4242);
        }
        Run::from(check.output().unwrap()).expect(78).says(": state-dir names one")
    };
    check(Some("/")).says("HOME is /, which is no directory of this user's");
    check(Some("home")).says("HOME is no absolute path");
    check(None).says("there is no STATE_DIRECTORY, XDG_STATE_HOME or HOME");
}
