//! Which directory is kept in sync in place: the one that was looked at first, whatever somebody puts at its path in the middle
//! of a check. Another one that holds something is on hold until somebody says so, and what was begun goes on afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::agent::{live, source};
use crate::crash::traced;
use crate::support::needs::needs;
use crate::support::phrases::{DEPLOYED, DRIFT, OTHER_DIRECTORY};
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::walk::{Point, SAMPLE, points, sample};

/// A sandbox in which v1 is live in place, and v2 is to be.
fn between_two() -> (Sandbox, String) {
    let sandbox = Sandbox::in_memory();
    sandbox.write("repo-deploy.cfg", "activation = in-place\n");
    let remote = source(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);
    source(&sandbox, "v2");
    (sandbox, remote)
}

/// The words of a hook that puts another directory in the place of the live one, once.
fn swap(sandbox: &Sandbox) -> String {
    let local = sandbox.local();
    let (local, away) = (local.display(), sandbox.path("right-one").display().to_string());
    format!("[ -e '{away}' ] || {{ mv '{local}' '{away}' && mkdir '{local}' && echo precious >'{local}/mine'; }}")
}

#[track_caller]
fn is_untouched(sandbox: &Sandbox) {
    assert_eq!(tree(&sandbox.local()).into_keys().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(sandbox.read("deploy/current/mine"), "precious\n");
}

/// The right one is back.
fn put_back(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.local()).unwrap();
    fs::rename(sandbox.path("right-one"), sandbox.local()).unwrap();
    for name in ["pre.d/10-swap", "post.d/10-swap"] {
        let _ = fs::remove_file(sandbox.path(name)); // one of the two
    }
}

fn state(sandbox: &Sandbox) -> String {
    sandbox.read("state/default/state")
}

#[test]
fn another_one_comes_while_pre_hooks_run_then_nothing_is_begun() {
    let (sandbox, remote) = between_two();
    let before = state(&sandbox);
    sandbox.hook("pre.d", "10-swap", &swap(&sandbox));
    let found = |text: &str| text.lines().find(|line| line.starts_with("live-dir")).map(str::to_owned);
    for _ in 0..2 {
        sandbox.deploy(&remote, &[]).expect(78).says(DRIFT).says(OTHER_DIRECTORY);
        is_untouched(&sandbox);
        assert!(state(&sandbox).contains("phase = idle\n"), "{}", state(&sandbox));
        assert!(found(&before).is_some() && found(&state(&sandbox)) == found(&before), "{}", state(&sandbox));
    }
    put_back(&sandbox);
    sandbox.deploy(&remote, &[]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox), "v2");
}

#[test]
fn one_comes_where_there_was_none_then_it_is_not_taken_for_an_empty_one() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "activation = in-place\n");
    let remote = source(&sandbox, "v1");
    let words = format!("mkdir '{0}' && echo precious >'{0}/mine'", sandbox.local().display());
    let hook = sandbox.hook("pre.d", "10", &words);
    sandbox.deploy(&remote, &[]).expect(78).says("in the middle of this check");
    is_untouched(&sandbox);
    fs::remove_file(hook).unwrap();
    // What is found there by the next check is kept, as always.
    sandbox.deploy(&remote, &[]).expect(0).says("kept a copy of what was found");
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn another_one_comes_while_post_hooks_run_then_the_deployment_goes_on_when_the_right_one_is_back() {
    for (verdict, code, version) in [("true", 0, "v2"), ("false", 1, "v1")] {
        let (sandbox, remote) = between_two();
        sandbox.hook("post.d", "10-swap", &swap(&sandbox));
        sandbox.hook("post.d", "20-verdict", &format!("[ \"$(cat \"$CURRENT_CONFIG/version\")\" = v1 ] || {verdict}"));
        let plan = || Run::from(sandbox.saying(&["plan"], &["--remote", &remote]).output().unwrap());
        sandbox.deploy(&remote, &[]).expect(78).says(DRIFT);
        for _ in 0..4 {
            is_untouched(&sandbox);
            plan().expect(78).says(OTHER_DIRECTORY);
            sandbox.deploy(&remote, &[]).expect(78).says(OTHER_DIRECTORY);
        }
        put_back(&sandbox);
        sandbox.deploy(&remote, &[]).expect(code);
        assert_eq!(live(&sandbox), version, "{verdict}");
    }
}

#[test]
fn another_one_comes_in_a_rollback_or_on_the_way_back_then_it_is_not_touched_either() {
    let (sandbox, remote) = between_two();
    sandbox.deploy(&remote, &[]).expect(0);
    sandbox.hook("post.d", "10-swap", &swap(&sandbox));
    Run::from(sandbox.saying(&["rollback"], &["--remote", &remote]).output().unwrap()).expect(78).says(DRIFT);
    is_untouched(&sandbox);
    put_back(&sandbox);
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(live(&sandbox), "v1");
    // After the way back, when post hooks run for what was live before.
    source(&sandbox, "v3");
    let on_the_way =
        format!("if [ \"$(cat \"$CURRENT_CONFIG/version\")\" = v1 ]; then {}; else false; fi", swap(&sandbox));
    sandbox.hook("post.d", "10-swap", &on_the_way);
    for _ in 0..2 {
        sandbox.deploy(&remote, &[]).expect(78).says(DRIFT);
        is_untouched(&sandbox);
    }
    put_back(&sandbox);
    sandbox.deploy(&remote, &[]).expect(1);
    assert_eq!(live(&sandbox), "v1");
}

#[test]
fn another_one_stands_there_in_the_middle_of_a_deployment_then_repair_takes_it_and_the_next_check_goes_on() {
    let (sandbox, remote) = between_two();
    sandbox.hook("post.d", "10-swap", &swap(&sandbox));
    sandbox.deploy(&remote, &[]).expect(78).says(DRIFT);
    let repair = sandbox.saying(&["verify", "--repair"], &["--remote", &remote]).output().unwrap();
    Run::from(repair).expect(3).says("taking it, as --repair says").says("the next check (repo-deploy -f) finishes it");
    is_untouched(&sandbox);
    sandbox.deploy(&remote, &[]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox), "v2");
    let kept = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("mine")).ok();
    let kept = fs::read_dir(sandbox.path("state/default/releases")).unwrap().find_map(|entry| kept(entry.unwrap()));
    assert_eq!(kept.as_deref(), Some("precious\n"));
}

#[test]
fn putting_back_a_lost_one_is_cut_off_anywhere_then_the_next_check_goes_on() {
    needs!(time, "strace");
    let (sandbox, remote) = between_two();
    source(&sandbox, "v1");
    let whole = tree(&sandbox.local());
    let kept = sandbox.read("state/default/state");
    let lose = |way: &str| {
        fs::remove_dir_all(sandbox.local()).unwrap();
        if way == "another, empty" {
            fs::create_dir(sandbox.local()).unwrap();
        }
        sandbox.write("state/default/state", &kept);
    };
    for way in ["none", "another, empty"] {
        lose(way);
        let trace = sandbox.path("trace");
        let check = || -> Command { sandbox.command(&["--remote", &remote]) };
        Run::from(traced(&check(), &["-o", trace.to_str().unwrap()]).output().unwrap()).expect(0).says(DRIFT);
        let mut trials = 0;
        let all = points(&sandbox.read("trace"));
        for Point { name, n } in sample(&format!("kill -9: a lost live directory ({way})"), SAMPLE, all) {
            lose(way);
            let inject = format!("inject={name}:signal=KILL:when={n}");
            let options = ["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject];
            if Run::from(traced(&check(), &options).output().unwrap()).code != 137 {
                continue;
            }
            trials += 1;
            let run = Run::from(check().output().unwrap());
            assert_eq!(run.code, 0, "{way}: killed before {name} #{n}:\n{}", run.log);
            assert_eq!(tree(&sandbox.local()), whole, "{way}: killed before {name} #{n}");
        }
        assert!(trials > 20, "{way}: {trials} trials prove nothing");
        eprintln!("kill -9: a lost live directory ({way}): {trials} trials, 0 failures");
    }
}

#[test]
fn the_store_lies_in_it_then_another_one_with_another_store_is_not_it() {
    needs!("mount", "umount");
    let sandbox = Sandbox::new();
    let at: PathBuf = sandbox.path("volume");
    fs::create_dir(&at).unwrap();
    let Some(_volume) = crate::core::Mount::new(&["-t", "tmpfs", "-o", "mode=0755", "none"], &at) else { return };
    let remote = source(&sandbox, "v1");
    let check = || sandbox.deploy(&remote, &["--local", at.to_str().unwrap()]);
    check().expect(0);
    source(&sandbox, "v2");
    // Another volume comes over the first while a hook runs.
    let words = format!(
        "[ -e '{0}/mine' ] || {{ mount -t tmpfs none '{0}' && mkdir '{0}/.repo-deploy' && echo precious >'{0}/mine'; }}",
        at.display()
    );
    sandbox.hook("pre.d", "10-mount", &words);
    check().expect(78).says("the one that the store lies in");
    let found = sandbox.read("volume/mine");
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    assert_eq!(found, "precious\n");
    fs::remove_file(sandbox.path("pre.d/10-mount")).unwrap();
    check().expect(0).says(DEPLOYED);
    assert_eq!(sandbox.read("volume/version"), "v2");
}
