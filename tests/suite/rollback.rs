//! `rollback` and `retry`: what they do in each way of activation, what is on hold afterwards and until when, whom they
//! wait for, and what they say to who asks for what cannot be.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::install::Host;
use crate::support::git_servers::Repo;
use crate::support::needs::needs;
use crate::support::phrases::{
    AT_WORK, CANNOT_ROLL_BACK, CUT_OFF, DEPLOYED, DID_YOU_MEAN, EXIT_CODE, HELD_AFTER_ROLLBACK, HELD_UNTIL, IS_REFUSED,
    LIVE_AGAIN, LIVE_ALREADY, LIVE_IS_GONE, NO_SUCH_RELEASE, NOT_BEFORE, REFUSED_BEFORE, RESUMED, RETRY,
    ROLLED_BACK_TO, ROLLING_BACK, STOPPED_BY, UNREADABLE, WAITING,
};
use crate::support::running::Running;
use crate::support::sandbox::{Run, short};
use crate::support::servers::{Raw, object, ok, status, wait_for};
use crate::support::site::Site;

/// A site with hooks that write down that they ran, and what they were told.
struct World(Site);

impl Deref for World {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl World {
    /// Nothing is deployed yet.
    fn new(config: &str) -> Self {
        let site = Site::new(&format!("id = test\n{config}\n"));
        let said = site.sandbox.path("said").display().to_string();
        let tell = |words: &str| format!("echo {words} >>{said}");
        let told = "$REPO_DEPLOY_PHASE $REPO_DEPLOY_REASON $REPO_DEPLOY_ATTEMPT $(cat $CURRENT_CONFIG/version) \
                    $(cat $PREVIOUS_CONFIG/version 2>/dev/null)";
        site.sandbox.hook("pre.d", "10-say", &tell(told));
        site.sandbox.hook("post.d", "10-say", &tell(told));
        Self(site)
    }

    /// v1 and then v2 came to live.
    fn with_two(config: &str) -> Self {
        let world = Self::new(config);
        world.deploys(&["v1", "v2"]);
        world
    }

    fn deploys(&self, versions: &[&str]) {
        for version in versions {
            self.put(version);
            self.check().expect(0);
            assert_eq!(self.live(), *version);
        }
        self.said();
    }

    fn store(&self) -> PathBuf {
        let beside = self.sandbox.store();
        if beside.exists() { beside } else { self.sandbox.path("state/test") }
    }

    fn state(&self) -> String {
        self.sandbox.read(self.store().join("state"))
    }

    /// A value of the state.
    fn of(&self, key: &str) -> Option<String> {
        value(&self.state(), key)
    }

    /// What was rolled back from and is on hold, by the state.
    fn withdrawn(&self) -> Vec<String> {
        (0..).map_while(|n| self.of(&format!("rolled-back-{n}"))).collect()
    }

    /// The release that is live, by the state.
    fn current(&self) -> String {
        self.of("current").unwrap()
    }

    /// What became of each deployment and why it was made, the newest first.
    fn history(&self) -> Vec<String> {
        let out = self.does(&["history", "--json"]).expect(0).out;
        let entries = out.lines().filter(|line| line.contains("\"outcome\":"));
        entries.map(|line| format!("{} {}", json(line, "outcome"), json(line, "reason"))).collect()
    }

    /// What the hooks said since the last time.
    fn said(&self) -> Vec<String> {
        let path = self.sandbox.path("said");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path); // nothing may have run
        text.lines().map(str::to_owned).collect()
    }

    /// A check finds what was withdrawn at the source, says what to do, and does nothing.
    #[track_caller]
    fn is_on_hold(&self, live: &str) {
        self.said();
        for _ in 0..2 {
            let run = self.does(&["-f", "-v"]).expect(0).says(HELD_AFTER_ROLLBACK);
            assert!(run.complaints()[..].iter().all(|line| line.contains(" WARN ")), "{}", run.log);
            run.says(&format!("; {RETRY}")).never_says(DEPLOYED);
            assert_eq!((self.live().as_str(), self.said()), (live, vec![]));
        }
    }
}

fn value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).map(str::to_owned)
}

/// What `status --json` says of `key` in its first object that has it.
fn json(text: &str, key: &str) -> String {
    let rest = text.split(&format!("\"{key}\":")).nth(1).unwrap_or_else(|| panic!("{key} in {text}"));
    rest.trim_start_matches('"').split(['"', ',', '}']).next().unwrap().to_owned()
}

#[test]
fn a_rollback_fails_then_what_was_on_hold_before_still_is() {
    for config in ["", "activation = in-place"] {
        let w = World::new(config);
        w.deploys(&["v1"]);
        let first = w.current();
        w.deploys(&["v2", "v3"]);
        w.does(&["rollback"]).expect(0); // v2; v3 is on hold
        w.is_on_hold("v2");
        w.sandbox.hook("post.d", "20-no", "[ $REPO_DEPLOY_REASON != rollback ]");
        let run = w.does(&["rollback", &first]).expect(1).says(&format!("20-no {EXIT_CODE} 1; {ROLLING_BACK}"));
        run.says(&format!("release {first}"));
        w.is_on_hold("v2");
        fs::remove_file(w.sandbox.path("post.d/20-no")).unwrap();
        w.does(&["retry"]).expect(0).says(DEPLOYED);
        assert_eq!(w.live(), "v3");
    }
}

#[test]
fn rolled_back_twice_then_neither_comes_back_whatever_else_the_source_had() {
    let w = World::new("");
    w.deploys(&["v1"]);
    let first = w.current();
    w.deploys(&["v2", "v3"]);
    w.does(&["rollback"]).expect(0);
    w.does(&["rollback", &first]).expect(0);
    w.is_on_hold("v1");
    let told = w.does(&["status"]).expect(0).out;
    let roles = ["previous", "rolled back", "live"];
    assert!(roles.iter().all(|role| told.contains(&format!("Z  {role}\n"))), "{told}");
    w.put("v2");
    w.is_on_hold("v1");
    // What did not become live makes nothing of that another thing.
    w.sandbox.hook("pre.d", "20-no", "[ \"$(cat $CURRENT_CONFIG/version)\" != v4 ]");
    w.put("v4");
    w.check().expect(2);
    w.put("v3");
    w.is_on_hold("v1");
    w.sandbox.zip("app.zip", &[("/absolute", "x")]);
    w.check().expect(1);
    w.put("v2");
    w.is_on_hold("v1");
    // Nor does a configuration that makes another release of it.
    let config = w.sandbox.read("repo-deploy.cfg");
    w.sandbox.write("repo-deploy.cfg", format!("{config}owner = 0:0\n"));
    w.is_on_hold("v1");
    w.put("v5");
    w.check().expect(0).says(DEPLOYED);
    assert_eq!((w.live().as_str(), w.withdrawn()), ("v5", vec![]));
}

#[test]
fn a_revision_was_given_up_then_a_rollback_does_not_try_it_again() {
    let w = World::with_two("max-attempts = 1");
    w.sandbox.hook("post.d", "50-judge", "[ \"$(cat $CURRENT_CONFIG/version)\" != v3 ]");
    w.put("v3");
    w.check().expect(1);
    w.does(&["rollback"]).expect(0);
    assert_eq!(w.live(), "v1");
    w.does(&["-f", "-v"]).expect(0).says("on hold after 1 attempt:");
    w.put("v2");
    w.is_on_hold("v1");
}

#[test]
fn retry_finds_nobody_then_what_is_on_hold_still_is() {
    let w = World::with_two("");
    w.does(&["rollback"]).expect(0);
    let zip = w.sandbox.path("app.zip");
    fs::rename(&zip, w.sandbox.path("away")).unwrap();
    w.does(&["retry"]).expect(1);
    fs::rename(w.sandbox.path("away"), &zip).unwrap();
    w.is_on_hold("v1");
}

#[test]
fn post_hooks_may_not_run_then_no_rollback_begins() {
    let w = World::with_two("");
    let hook = w.sandbox.hook("post.d", "20-open", "true");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    w.does(&["rollback"])
        .expect(1)
        .says(&format!("{CANNOT_ROLL_BACK}: the hook "))
        .says(&format!("20-open {IS_REFUSED}"));
    assert_eq!((w.live().as_str(), w.said()), ("v2", vec![]));
}

#[test]
fn rolled_back_then_the_release_before_is_live_and_the_other_is_on_hold_until_there_is_a_newer_one() {
    for config in ["activation = symlink", "activation = in-place"] {
        let world = World::with_two(config);
        let (two, one) = (world.current(), world.of("previous").unwrap());
        let run = world.does(&["rollback"]).expect(0);
        assert_eq!(run.complaints(), [""; 0]);
        let line = run.log.lines().next().unwrap();
        let (before, after) = line.split_once("; ").unwrap();
        assert!(before.contains(&format!(" INFO {ROLLED_BACK_TO} release {one}, revision sha256:")), "{line}");
        assert!(before.ends_with(&format!(" at {}, by hand", world.sandbox.local().display())), "{line}");
        assert!(after.starts_with("revision sha256:"), "{line}");
        assert!(after.ends_with(&format!(" {HELD_UNTIL}, or `repo-deploy retry`")), "{line}");
        // Nobody was asked beforehand, and who judges knows what this is.
        assert_eq!(world.said(), ["post rollback 1 v1 v2"]);
        assert_eq!((world.live().as_str(), world.current()), ("v1", one));
        assert_eq!((world.of("phase").as_deref(), world.of("failure")), (Some("idle"), None));
        assert_eq!(
            (world.of("previous"), world.of("target"), world.withdrawn()),
            (Some(two.clone()), Some(two.clone()), vec![two])
        );
        let told = world.does(&["status", "--json"]).expect(0).out;
        assert_eq!(json(&told, "outcome"), "deployed");
        assert!(told.contains("\"deployments\":3,"), "{told}");
        let text = world.does(&["status"]).expect(0).out;
        assert_eq!(json(&told, "reason"), "rollback");
        assert!(told.contains("\"rolled_back\":[{\"release\":"), "{told}");
        assert!(text.contains("Z: rolled back by hand\n"), "{text}");
        assert!(text.contains("\nrolled back  release ") && text.contains(", at 20"), "{text}");
        assert!(text.contains("\non hold      until another revision appears, or repo-deploy retry\n"), "{text}");
        assert!(
            text.contains("\nprevious     release ") && !text.contains("\ncandidate "),
            "one row is enough: {text}"
        );
        assert!(world.does(&["history", "--json"]).expect(0).out.contains("\"reason\":\"rollback\""));

        world.is_on_hold("v1");
        let text = world.does(&["status"]).expect(0).out;
        assert!(text.contains("Z: on hold\n"), "{text}");
        // The same bytes under another time: only the content tells.
        world.put("v2");
        world.is_on_hold("v1");
        world.put("v3");
        world.check().expect(0).says(DEPLOYED);
        assert_eq!((world.live().as_str(), world.withdrawn()), ("v3", vec![]));
        // The source goes back to what was withdrawn: that is another one than v3.
        world.put("v2");
        world.check().expect(0);
        assert_eq!(world.live(), "v2");
    }
}

#[test]
fn rolled_back_and_the_source_follows_then_nothing_is_on_hold_any_more() {
    let world = World::with_two("");
    world.does(&["rollback"]).expect(0);
    world.put("v1");
    let run = world.check().expect(0);
    assert_eq!((run.complaints(), world.live().as_str(), world.withdrawn()), (vec![], "v1", vec![]));
    world.put("v2");
    world.check().expect(0).says(DEPLOYED);
    assert_eq!(world.live(), "v2");
}

#[test]
fn release_is_named_then_that_one_is_live_and_only_the_one_just_left_is_on_hold() {
    let world = World::new("");
    world.deploys(&["v1"]);
    let one = world.current();
    world.deploys(&["v2", "v3"]);
    let three = world.current();
    world.does(&["rollback", &one]).expect(0);
    assert_eq!((world.live().as_str(), world.withdrawn()), ("v1", vec![three.clone()]));
    assert!(world.of("current-revision").unwrap().starts_with("sha256:"), "the history knows what v1 is");
    world.is_on_hold("v1");
    // Back to the newer one by the beginning of its name.
    world.does(&["rollback", &three[..4]]).expect(0);
    assert_eq!((world.live().as_str(), world.withdrawn()), ("v3", vec![one]));
    let run = world.check().expect(0);
    assert_eq!((run.complaints(), world.live().as_str(), world.withdrawn()), (vec![], "v3", vec![]));
    // Without a name it is always the one that was live before.
    for live in ["v1", "v3", "v1"] {
        world.does(&["rollback"]).expect(0);
        assert_eq!(world.live(), live);
    }
}

#[test]
fn nothing_is_known_of_a_release_but_that_it_is_there_then_it_can_be_gone_back_to() {
    let world = World::new("");
    world.deploys(&["v1"]);
    let one = world.current();
    world.deploys(&["v2", "v3"]);
    fs::remove_file(world.store().join("history")).unwrap();
    world.does(&["rollback", &one]).expect(0).says(&format!(" INFO {ROLLED_BACK_TO} release {one} at "));
    world.is_on_hold("v1");
    // It is known by its name when the source has it again.
    world.put("v1");
    world.check().expect(0).never_says(" deployed ");
    assert!(world.of("current-revision").unwrap().starts_with("sha256:"));
    assert_eq!((world.live().as_str(), world.withdrawn()), ("v1", vec![]));
}

#[test]
fn directory_was_adopted_then_it_can_be_gone_back_to_and_forth() {
    let world = World::new("activation = in-place");
    world.sandbox.write(world.sandbox.local().join("version"), "found");
    world.deploys(&["v1"]);
    let one = world.current();
    world.does(&["rollback", "adopted"]).expect(0).says(&format!("{ROLLED_BACK_TO} release adopted"));
    assert_eq!((world.live().as_str(), world.withdrawn()), ("found", vec![one.clone()]));
    world.is_on_hold("found");
    let run = world.does(&["rollback", &one[..8]]).expect(0).never_says("on hold");
    assert_eq!(
        (run.complaints(), world.live().as_str(), world.of("failure"), world.of("target")),
        (vec![], "v1", None, None)
    );
    assert_eq!(world.check().expect(0).complaints(), [""; 0]);
    assert_eq!(world.live(), "v1");
}

#[test]
fn installation_is_rolled_back_then_files_and_scripts_are_those_of_the_release_before() {
    let host = Host::new();
    let trace = host.sandbox.path("trace");
    let bundle = |version: &str| {
        let mut appspec =
            "version: 0.0\nos: linux\nfiles:\n- {source: tree, destination: DEST/app}\nhooks:\n".to_owned();
        for event in ["ApplicationStop", "BeforeInstall", "AfterInstall", "ValidateService"] {
            appspec.push_str(&format!("  {event}: [{{location: say}}]\n"));
        }
        let say = format!("#!/bin/sh\necho {version} $LIFECYCLE_EVENT $REPO_DEPLOY_REASON >>{}\n", trace.display());
        let only = format!("tree/only-{version}");
        host.bundle(&appspec, &[("say", &say), ("tree/version", version), (&only, "x")]);
    };
    for version in ["v1", "v2"] {
        bundle(version);
        host.deploy().expect(0);
    }
    host.sandbox.hook("pre.d", "no", "exit 1");
    fs::remove_file(&trace).unwrap();
    let remote = host.sandbox.path("app.zip").display().to_string();
    let rollback = || Run::from(host.sandbox.saying(&["rollback"], &["--remote", &remote]).output().unwrap());
    rollback().expect(0).says(&format!("{ROLLED_BACK_TO} release "));
    assert_eq!(
        host.sandbox.read("trace"),
        "v2 ApplicationStop rollback\nv1 BeforeInstall rollback\nv1 AfterInstall rollback\nv1 ValidateService rollback\n"
    );
    let is_v1 = || (host.dest("app/only-v1").exists(), host.dest("app/only-v2").exists());
    assert_eq!((host.sandbox.read(host.dest("app/version")).as_str(), is_v1()), ("v1", (true, false)));
    host.deploy().expect(0).says(HELD_AFTER_ROLLBACK);
    // What stands in the way is told before anything is touched.
    host.found("app/only-v2", "somebody's file");
    rollback().expect(1).says("only-v2");
    assert_eq!(host.sandbox.read("trace").lines().count(), 4);
    assert!(host.sandbox.read(host.store().join("state")).contains("phase = idle\n"));
    host.deploy().expect(0).says(HELD_AFTER_ROLLBACK);
}

#[test]
fn post_hook_fails_after_a_rollback_then_what_was_live_is_live_and_nothing_is_on_hold() {
    for config in ["activation = symlink", "activation = in-place"] {
        let world = World::with_two(config);
        world.sandbox.hook("post.d", "50-judge", "[ \"$(cat $CURRENT_CONFIG/version)\" != v1 ]");
        let run = world.does(&["rollback"]).expect(1).says(&format!(": post.d/50-judge {EXIT_CODE} 1; {ROLLING_BACK}"));
        assert!(run.log.contains(LIVE_AGAIN), "{}", run.log);
        assert_eq!(world.said(), ["post rollback 1 v1 v2", "post revert 1 v2"]);
        assert_eq!(world.live(), "v2");
        assert_eq!(json(&world.does(&["status", "--json"]).out, "outcome"), "rolled-back");
        let text = world.does(&["status"]).expect(1).out;
        assert!(text.contains("Z: rolled back\n"), "{text}");
        for _ in 0..2 {
            let run = world.check().expect(0);
            assert_eq!((run.complaints(), world.live().as_str(), world.said()), (vec![], "v2", vec![]));
        }
        assert_eq!((world.of("target"), world.of("failure")), (None, None));
    }
}

#[test]
fn server_says_nothing_but_the_content_then_what_was_withdrawn_is_fetched_and_on_hold() {
    let world = World::new("");
    let zip = Arc::new(Mutex::new(Vec::new()));
    let served = zip.clone();
    let server = Raw::start(move |_, _| vec![ok("", &served.lock().unwrap())]);
    let world = World(Site { remote: server.url("/app.zip"), ..world.0 });
    for version in ["v1", "v2"] {
        world.put(version);
        *zip.lock().unwrap() = fs::read(world.sandbox.path("app.zip")).unwrap();
        world.check().expect(0);
    }
    world.said();
    world.does(&["rollback"]).expect(0);
    world.said();
    let state = world.state();
    world.is_on_hold("v1");
    assert_eq!(world.state(), state, "there is nothing to note");
    assert!(
        !world.sandbox.path("cache/test").read_dir().unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("download-"))
    );
    world.does(&["retry"]).expect(0);
    assert_eq!(world.live(), "v2");
}

#[test]
fn server_has_an_etag_then_a_check_after_a_rollback_is_one_conditional_request() {
    let world = World::new("");
    let shelf = Arc::new(Mutex::new((0, Vec::new())));
    let shown = shelf.clone();
    let server = Raw::start(move |seen, _| {
        let (etag, bytes) = &*shown.lock().unwrap();
        vec![object(seen, &format!("\"{etag}\""), bytes)]
    });
    let world = World(Site { remote: server.url("/app.zip"), ..world.0 });
    for (etag, version) in [(1, "v1"), (2, "v2")] {
        world.put(version);
        *shelf.lock().unwrap() = (etag, fs::read(world.sandbox.path("app.zip")).unwrap());
        world.check().expect(0);
    }
    world.said();
    world.does(&["rollback"]).expect(0);
    world.said();
    let before = server.seen().len();
    world.is_on_hold("v1");
    let asked: Vec<_> =
        server.seen()[before..].iter().map(|seen| seen.header("If-None-Match").map(str::to_owned)).collect();
    assert_eq!(asked, [Some("\"2\"".to_owned()), Some("\"2\"".to_owned())]);
}

#[test]
fn repository_is_rolled_back_then_its_commit_is_on_hold_until_the_next() {
    needs!("git");
    let world = World::new("");
    let repo = Repo::new(&world.sandbox, "app");
    let remote = repo.remote("#main");
    let commit = |version: &str| repo.commit(&[("version", version)]);
    let run = |words: &[&str]| Run::from(world.sandbox.saying(words, &["--remote", &remote]).output().unwrap());
    commit("v1");
    run(&["-f"]).expect(0);
    let two = commit("v2");
    run(&["-f"]).expect(0);
    run(&["rollback"]).expect(0).says(&format!("; revision {} is on hold", short(&two)));
    run(&["-f"]).expect(0).says(&format!("revision {} {HELD_AFTER_ROLLBACK} ", short(&two)));
    assert_eq!(world.live(), "v1");
    commit("v3");
    run(&["-f"]).expect(0);
    assert_eq!(world.live(), "v3");
}

#[test]
fn what_cannot_be_gone_back_to_is_one_line_and_no_news_of_the_deployment() {
    let world = World::new("");
    // A typing error makes no store.
    world.put("v1");
    world.does(&["rollback"]).expect(1).says(&format!("ERROR {CANNOT_ROLL_BACK}: nothing was deployed yet, "));
    assert!(!world.sandbox.store().exists());
    world.deploys(&["v1"]);
    let one = world.current();
    let none = format!(
        "ERROR {CANNOT_ROLL_BACK}: nothing was live before release {one}; the store has only the live one, {one}"
    );
    world.does(&["rollback"]).expect(1).says(&none);
    world.does(&["rollback", &one]).expect(0).says(&format!("INFO release {one}, revision "));
    world.deploys(&["v2"]);
    let two = world.current();
    let before = (world.state(), world.sandbox.read(world.store().join("status")));
    for (wanted, why) in [
        ("0000000000000000", NO_SUCH_RELEASE),
        ("../x", NO_SUCH_RELEASE),
        ("../releases/", NO_SUCH_RELEASE),
        ("/etc/passwd", NO_SUCH_RELEASE),
        ("a\nb", NO_SUCH_RELEASE),
        ("adopted", NO_SUCH_RELEASE),
        ("*", NO_SUCH_RELEASE),
        (&one[..3], "give at least four characters of its id"),
        ("", "give at least four characters of its id"),
    ] {
        let run = world.does(&["rollback", wanted]).expect(1);
        let line = format!("ERROR {CANNOT_ROLL_BACK} to {wanted:?}: {why}; besides the live one the store has {one}\n");
        assert!(run.log.ends_with(&line) && run.log.lines().count() == 1, "{}", run.log);
    }
    for same in [&two[..], &two[..4]] {
        let run = world.does(&["rollback", same]).expect(0).says(&format!(" {LIVE_ALREADY}: nothing to roll back"));
        assert!(run.log.contains(&two) && run.complaints().is_empty(), "{}", run.log);
    }
    // A release whose name begins as another's.
    let twin = format!("{}{}", &one[..12], if one.ends_with("0000") { "1111" } else { "0000" });
    fs::create_dir(world.store().join("releases").join(&twin)).unwrap();
    world.does(&["rollback", &one[..12]]).expect(1).says("more than one release begins so");
    world.does(&["rollback", "a", "b"]).expect(64);
    world.does(&["rolback"]).expect(64).says(&format!("{DID_YOU_MEAN} rollback?"));
    assert_eq!((world.state(), world.sandbox.read(world.store().join("status"))), before);
    assert_eq!((world.said(), world.live().as_str()), (vec![], "v2"));
}

#[test]
fn several_deployments_then_rollback_wants_one_and_retry_does_each() {
    let world = World::new("");
    let section = |name: &str| {
        let local = world.sandbox.path(format!("deploy/{name}")).display().to_string();
        format!("[{name}]\nremote = {}\nlocal = {local}\n", world.remote)
    };
    let config = world.sandbox.write("several.cfg", section("web") + &section("batch"));
    let run = |words: &[&str]| {
        let mut command = world.sandbox.bare();
        command.args(words).arg("-c").arg(&config).arg("--cache").arg(world.sandbox.path("cache"));
        command.arg("--pre-hooks").arg(world.sandbox.path("none")).arg("--post-hooks").arg(world.sandbox.path("none"));
        Run::from(command.output().unwrap())
    };
    let live = |name: &str| world.sandbox.read(format!("deploy/{name}/version"));
    for version in ["v1", "v2"] {
        world.put(version);
        run(&["-f", "--config-section", "all"]).expect(0);
    }
    run(&["rollback", "--config-section", "all"])
        .expect(64)
        .says("cannot do rollback for several deployments at once: choose one with --config-section NAME");
    run(&["rollback", "--config-section", "web"]).expect(0);
    assert_eq!((live("web").as_str(), live("batch").as_str()), ("v1", "v2"));
    let retried = run(&["retry", "--config-section", "all"]).expect(0);
    assert_eq!((live("web").as_str(), live("batch").as_str()), ("v2", "v2"));
    assert!(retried.log.contains("web: ") && !retried.log.contains("batch: "), "{}", retried.log);
}

#[test]
fn retry_forgets_what_is_on_hold_and_checks_at_once() {
    // Withdrawn.
    let world = World::with_two("");
    world.does(&["rollback"]).expect(0);
    world.said();
    world.does(&["retry"]).expect(0).says("INFO forgetting that release ").says(" was rolled back from");
    assert_eq!(
        (world.live().as_str(), world.said()),
        ("v2", vec!["pre update 1 v2 v1".into(), "post update 1 v2 v1".into()])
    );
    // Nothing to forget: it is a check like any other.
    assert_eq!(world.does(&["retry"]).expect(0).log, "");
    world.put("v3");
    world.does(&["retry"]).expect(0);
    assert_eq!(world.live(), "v3");

    // Too many attempts.
    let world = World::with_two("max-attempts = 1");
    world.sandbox.hook("post.d", "50-judge", "[ \"$(cat $CURRENT_CONFIG/version)\" != v3 ]");
    world.put("v3");
    world.check().expect(1);
    world.check().expect(0).says("on hold after 1 attempt:").says(RETRY);
    // Only the content tells that it is the same.
    world.put("v3");
    world.does(&["-f", "-v"]).expect(0).says("on hold after 1 attempt:");
    world.does(&["retry"]).expect(1).says(&format!(" was rolled-back: post.d/50-judge {EXIT_CODE} 1"));
    fs::remove_file(world.sandbox.path("post.d/50-judge")).unwrap();
    world.does(&["retry"]).expect(0);
    assert_eq!(world.live(), "v3");

    // Refused: its hour is over.
    world.sandbox.zip("app.zip", &[("/absolute", "x")]);
    world.check().expect(1).never_says(REFUSED_BEFORE);
    world.check().expect(1).says(REFUSED_BEFORE);
    world.does(&["retry"]).expect(1).says(" was refused: ").never_says(REFUSED_BEFORE);
}

#[test]
fn source_asked_to_be_on_hold_then_retry_asks_all_the_same() {
    let world = World::with_two("");
    world.put("v3");
    let zip = fs::read(world.sandbox.path("app.zip")).unwrap();
    let server = Raw::start(move |_, n| {
        vec![if n == 0 { status("503 Busy", "Retry-After: 3000") } else { ok("ETag: \"3\"", &zip) }]
    });
    let world = World(Site { remote: server.url("/app.zip"), ..world.0 });
    world.check().expect(1);
    world.check().expect(1).says(&format!("the server {NOT_BEFORE} "));
    assert_eq!(server.seen().len(), 1);
    world.does(&["retry"]).expect(0);
    assert_eq!(world.live(), "v3");
}

/// A check that has v3 in a hook until `go` is there.
fn at_work(world: &World) -> Running {
    let go = world.sandbox.path("go").display().to_string();
    world.sandbox.hook("pre.d", "20-long", &format!("echo up; while ! [ -e {go} ]; do sleep 0.01; done"));
    world.put("v3");
    let mut check = Running::start(world.command(&["-f"]));
    check.until("20-long: up");
    check
}

#[test]
fn check_is_at_work_then_both_commands_wait_their_turn_and_say_for_whom() {
    // Who asked to go back from v2 does not get it back.
    for (word, code) in [("rollback", 1), ("retry", 0)] {
        let world = World::with_two("");
        let check = at_work(&world);
        let mut waiting = Running::start(world.command(&[word]));
        let line = waiting.next_with(&format!("INFO {WAITING}"));
        assert!(line.contains(&format!(", process {}, that is at work: it holds ", check.pid())), "{line}");
        assert!(line.ends_with("; for 1200 s at most"), "{line}");
        world.sandbox.write("go", "");
        check.end().expect(0).says(DEPLOYED);
        let run = waiting.end().expect(code);
        assert_eq!(
            run.log.contains(&format!(" ERROR {CANNOT_ROLL_BACK}: meanwhile release ")),
            code == 1,
            "{}",
            run.log
        );
        assert_eq!(world.live(), "v3");
    }
}

#[test]
fn term_or_int_comes_while_it_waits_then_it_ends_at_once() {
    let world = World::with_two("");
    let check = at_work(&world);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut waiting = Running::start_in_the_foreground(&world.command(&["rollback"]));
        waiting.until(&format!("INFO {WAITING}"));
        waiting.signal(signal);
        waiting.end().expect(code).says(STOPPED_BY);
    }
    world.sandbox.write("go", "");
    check.end().expect(0);
    assert_eq!(world.live(), "v3");
}

#[test]
fn it_has_waited_long_enough_then_it_ends_with_75() {
    let world = World::with_two("");
    let check = at_work(&world);
    let run = Run::from(world.command(&["rollback"]).env("REPO_DEPLOY_TIMEOUT", "1").output().unwrap()).expect(75);
    assert_eq!(run.complaints().len(), 1);
    run.says(&format!("ERROR {AT_WORK}: it holds ")).says("; waited for 2 s, try again when it is done");
    world.sandbox.write("go", "");
    check.end().expect(0);
}

#[test]
fn hook_calls_it_then_nobody_waits_for_ever() {
    let world = World::with_two("");
    let rollback = world.command(&["rollback"]);
    let args: Vec<_> = rollback.get_args().map(|arg| format!("'{}'", arg.to_str().unwrap())).collect();
    let line = format!("'{}' {} 2>&1; echo code $?", rollback.get_program().to_str().unwrap(), args.join(" "));
    world.sandbox.hook("post.d", "50-back", &line);
    world.put("v3");
    world.check().expect(0).says("this is one of its hooks, which it waits for").says("50-back: code 75");
    assert_eq!(world.live(), "v3");
}

#[test]
fn store_is_of_another_version_then_one_line_says_so_and_nobody_waits() {
    let world = World::with_two("");
    let ours = world.state();
    let theirs = ours.replace("format = 1\n", "format = 2\n");
    fs::write(world.store().join("state"), &theirs).unwrap();
    for word in ["rollback", "retry"] {
        let run = world.does(&[word]).expect(78);
        assert_eq!(run.log.lines().count(), 1, "{}", run.log);
        run.says("has the format 2, which this version does not know");
    }
    // Its daemon is at work.
    let lock = fs::File::open(world.store().join("lock")).unwrap();
    lock.lock().unwrap();
    for word in ["rollback", "retry"] {
        let run = world.does(&[word]).expect(75);
        assert_eq!(run.log.lines().count(), 1, "{}", run.log);
        run.says("it is of another version, whose state has the format 2");
    }
    assert_eq!(world.state(), theirs);
}

#[test]
fn state_cannot_be_read_then_a_rollback_is_in_doubt_until_a_check_has_settled_it() {
    let world = World::with_two("");
    fs::write(world.store().join("state"), "garbage").unwrap();
    world
        .does(&["rollback"])
        .expect(3)
        .says(UNREADABLE)
        .says(&format!("{CANNOT_ROLL_BACK}: `repo-deploy -f` settles it"));
    assert_eq!((world.live().as_str(), world.said()), ("v2", vec![]));
    world.check().expect(0);
    assert_eq!(world.live(), "v2");
}

#[test]
fn somebody_else_asks_then_one_line_says_whose_it_is() {
    needs!(root, "setpriv");
    let world = World::with_two("");
    let rollback = world.command(&["rollback"]);
    // The binary may lie where nobody else gets to.
    let program = world.sandbox.path("repo-deploy");
    fs::copy(rollback.get_program(), &program).unwrap();
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program).args(rollback.get_args());
    let run = Run::from(other.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap()).expect(1);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    run.says("permission denied");
    assert_eq!(world.live(), "v2");
}

/// A post hook that ends us the first `times` that `version` is live.
fn kills(world: &World, version: &str, times: usize) {
    let count = world.sandbox.path("count").display().to_string();
    let body = format!(
        "[ \"$(cat $CURRENT_CONFIG/version)\" = {version} ] || exit 0\n\
         echo x >>{count}; [ $(wc -l <{count}) -gt {times} ] || kill -KILL $PPID"
    );
    world.sandbox.hook("post.d", "90-kill", &body);
}

#[test]
fn rollback_is_cut_off_then_the_next_one_who_comes_finishes_it_and_goes_no_further() {
    for word in ["-f", "rollback", "retry"] {
        let world = World::with_two("");
        kills(&world, "v1", 1);
        world.does(&["rollback"]).expect(137);
        assert_eq!(world.live(), "v1");
        let run = world.does(&[word]).expect(0);
        assert!(run.log.contains(&format!("the last rollback {CUT_OFF} 2")), "{}", run.log);
        assert!(run.log.contains(&format!("INFO {ROLLED_BACK_TO} release ")), "{}", run.log);
        assert_eq!(world.said()[..2], ["post rollback 1 v1 v2", "post recover 2 v1 v2"]);
        if word == "retry" {
            assert_eq!(world.live(), "v2", "whoever says retry wants it");
        } else {
            world.is_on_hold("v1");
        }
    }
}

#[test]
fn deployment_is_cut_off_then_a_rollback_finishes_it_first() {
    let world = World::with_two("");
    kills(&world, "v3", 1);
    world.put("v3");
    world.check().expect(137);
    let run = world.does(&["rollback"]).expect(0).says(DEPLOYED).says(&format!("{RESUMED} the rollback"));
    assert!(run.log.contains(&format!("{ROLLED_BACK_TO} release ")), "{}", run.log);
    assert_eq!(world.live(), "v2");
    world.said();
    world.is_on_hold("v2");
    assert_eq!(world.history(), ["deployed rollback", "deployed recover", "deployed update", "deployed update"]);
}

#[test]
fn deployment_is_cut_off_and_what_comes_after_its_end_fails_or_is_nothing_then_the_history_has_it_all_the_same() {
    for (words, code) in [(&["rollback", "nonsense"][..], 1), (&["retry", "--remote", "/no"], 1), (&["retry"], 0)] {
        let world = World::with_two("");
        kills(&world, "v3", 1);
        world.put("v3");
        world.check().expect(137);
        let mut command = world.command(&words[..1]);
        command.args(&words[1..]).output().map(Run::from).unwrap().expect(code);
        assert_eq!(world.history(), ["deployed recover", "deployed update", "deployed update"], "{words:?}");
    }
}

#[test]
fn rollback_is_cut_off_and_sent_back_before_another_then_the_history_tells_why() {
    let world = World::new("");
    world.deploys(&["v1"]);
    let one = world.current();
    world.deploys(&["v2", "v3"]);
    kills(&world, "v2", 1);
    world.does(&["rollback"]).expect(137);
    world.sandbox.hook("post.d", "50-judge", "[ \"$(cat $CURRENT_CONFIG/version)\" != v2 ]");
    world.does(&["rollback", &one]).expect(0);
    assert_eq!(world.live(), "v1");
    assert_eq!(world.history()[..2], ["deployed rollback", "rolled-back recover"]);
    let out = world.does(&["history", "--json"]).expect(0).out;
    assert!(out.contains(&format!("\"why\":\"post.d/50-judge {EXIT_CODE} 1\"")), "{out}");
}

#[test]
fn deployment_is_cut_off_again_and_again_then_a_rollback_goes_back_from_it_and_no_further() {
    let world = World::with_two("");
    kills(&world, "v3", 9);
    world.put("v3");
    for _ in 0..3 {
        world.check().expect(137);
    }
    world.does(&["rollback"]).expect(0).says(LIVE_AGAIN).says(HELD_UNTIL);
    assert_eq!(world.live(), "v2");
    world.said();
    world.check().expect(0).says("is on hold").never_says(DEPLOYED);
    assert_eq!((world.live().as_str(), world.said()), ("v2", vec![]));
}

#[test]
fn live_release_is_lost_then_what_was_withdrawn_is_better_than_nothing() {
    let world = World::with_two("");
    world.does(&["rollback"]).expect(0);
    fs::remove_dir_all(world.store().join("releases").join(world.current())).unwrap();
    world.check().expect(0).says(LIVE_IS_GONE).says(DEPLOYED);
    assert_eq!(world.live(), "v2");
}

#[test]
fn two_releases_are_kept_then_a_rollback_loses_none_of_the_two() {
    let world = World::with_two("keep = 2");
    for live in ["v1", "v2", "v1"] {
        world.does(&["rollback"]).expect(0);
        assert_eq!(world.live(), live);
        world.check().expect(0);
    }
    world.put("v3");
    world.check().expect(0);
    world.does(&["rollback"]).expect(0);
    assert_eq!(world.live(), "v1", "the one that was live before v3");
}

#[test]
fn daemon_is_at_work_then_a_hundred_rollbacks_and_not_one_disagreement() {
    let world = World::with_two("schedule = * * * * * *");
    let log = world.sandbox.path("daemon.log");
    let file = fs::File::create(&log).unwrap();
    let mut command = world.command(&[]);
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&daemon);
    let number = |key: &str| {
        value(&world.sandbox.read(world.store().join("status")), key).map_or(0, |n| n.parse::<u64>().unwrap())
    };
    let before = number("checks");
    wait_for("the daemon", || (number("checks") > before).then_some(()));
    let names = [("v1", world.of("previous").unwrap()), ("v2", world.current())];
    let agree = |version: &str, at: &str| {
        let id = &names.iter().find(|(name, _)| *name == version).unwrap().1;
        let link = fs::read_link(world.sandbox.local()).unwrap();
        let state = world.state();
        let told = world.does(&["status", "--json"]).out;
        assert_eq!(world.live(), version, "{at}");
        assert!(link.ends_with(Path::new("releases").join(id)), "{at}: {link:?}");
        assert_eq!(
            (value(&state, "current").as_ref(), value(&state, "phase").unwrap().as_str()),
            (Some(id), "idle"),
            "{at}"
        );
        let live = told.split("\"live\":").nth(1).unwrap();
        assert_eq!((json(live, "release"), json(&told, "phase")), (id.clone(), "idle".to_owned()), "{at}");
        assert_eq!(json(&told, "healthy"), "true", "{at}");
    };
    for round in 0..100 {
        let (version, other) = if round % 2 == 0 { ("v1", "v2") } else { ("v2", "v1") };
        let wanted = &names.iter().find(|(name, _)| *name == version).unwrap().1;
        // By name or not, and with the daemon woken just before.
        let kick = if round % 3 == 0 { Signal::HUP } else { Signal::USR1 };
        if round % 5 == 0 {
            rustix::process::kill_process(pid, kick).unwrap();
        }
        let words = ["rollback", &wanted[..if round % 4 == 0 { 5 } else { 16 }]];
        let run = world.does(if round % 7 == 0 { &words[..1] } else { &words }).expect(0);
        let at = format!("round {round}: {}", run.log);
        assert_eq!(run.complaints(), [""; 0], "{at}");
        assert_eq!(run.log.matches(&format!(" INFO {ROLLED_BACK_TO} release ")).count(), 1, "{at}");
        agree(version, &at);
        let checked = number("checks");
        rustix::process::kill_process(pid, kick).unwrap();
        wait_for("a check of the daemon", || (number("checks") > checked).then_some(()));
        agree(version, &format!("{at}: after a check, {other} was left"));
    }
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    let log = crate::support::sandbox::plain(&fs::read_to_string(log).unwrap());
    assert!(!log.contains(DEPLOYED) && !log.contains(" ERROR "), "{log}");
    assert!(log.contains("WARN revision sha256:") && log.contains(HELD_AFTER_ROLLBACK), "{log}");
    let is_known = |line: &str| [HELD_AFTER_ROLLBACK, AT_WORK].iter().any(|words| line.contains(words));
    for line in log.lines().filter(|line| !line.contains(" INFO ")) {
        assert!(line.contains(" WARN ") && is_known(line), "{line}");
    }
    // Once for each time that v2 was left, and no more.
    assert!(log.matches(" WARN revision ").count() <= 50, "{log}");
    assert_eq!(world.said().iter().filter(|line| !line.starts_with("post rollback 1 ")).count(), 0);
}
