//! What hooks are told about the names that a deployment changes: the file of REPO_DEPLOY_CHANGED_FILES, and the `.paths`
//! beside a hook that decide whether it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::install::Host;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_READ, IS_REFUSED, OTHERS_MAY_WRITE, ROLLING_BACK};
use crate::support::sandbox::{Run, Sandbox};

/// Between the two everything changes that can: content, mode, kinds, links, names.
const V1: &[(&str, &str)] = &[
    ("conf/a", "one"),
    ("empty/", ""),
    ("gone/deep/x", "x"),
    ("link", "-> conf/a"),
    ("run", "#!/bin/sh\n"),
    ("same/kept", "same"),
    ("swap", "file"),
    ("version", "v1"),
    ("w eird\u{fc}", "1"),
];
const V2: &[(&str, &str)] = &[
    ("conf/a", "two"),
    ("link", "-> new"),
    ("new", "n"),
    ("run", "now text"),
    ("same/kept", "same"),
    ("swap/y", "in a directory"),
    ("version", "v2"),
    ("w eird\u{fc}", "2"),
];
const ALL_NEW: &str = "A conf|A conf/a|A empty|A gone|A gone/deep|A gone/deep/x|A link|A run|A same|A same/kept|A swap|A version|A w eirdü";
const THERE: &str =
    "M conf/a|D empty|D gone|D gone/deep|D gone/deep/x|M link|A new|M run|M swap|A swap/y|M version|M w eirdü";
const BACK: &str =
    "M conf/a|A empty|A gone|A gone/deep|A gone/deep/x|M link|D new|M run|M swap|D swap/y|M version|M w eirdü";

/// What a hook does to keep what it was told: phase, reason, and the entries.
fn tell(sandbox: &Sandbox) -> String {
    let told = sandbox.path("told").display().to_string();
    format!(
        "{{ printf '%s %s: ' $REPO_DEPLOY_PHASE $REPO_DEPLOY_REASON; tr '\\0' '|' <$REPO_DEPLOY_CHANGED_FILES; echo; }} >>{told}"
    )
}

/// What hooks were told since the last time, a line each.
fn told(sandbox: &Sandbox) -> Vec<String> {
    let text = fs::read_to_string(sandbox.path("told")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.path("told")); // no hook may have run
    text.lines().map(|line| line.trim_end_matches('|').to_owned()).collect()
}

fn telling() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.hook("pre.d", "10-tell", &tell(&sandbox));
    sandbox.hook("post.d", "10-tell", &tell(&sandbox));
    sandbox
}

#[test]
fn hooks_run_then_the_same_file_lists_what_differs_and_after_a_revert_the_other_way_round() {
    for mode in ["symlink", "in-place"] {
        let sandbox = telling();
        sandbox.write("repo-deploy.cfg", format!("activation = {mode}\n"));
        let zip = sandbox.zip("app.zip", V1);
        let zip = zip.to_str().unwrap();
        sandbox.deploy(zip, &[]).expect(0);
        assert_eq!(told(&sandbox), [format!("pre update: {ALL_NEW}"), format!("post update: {ALL_NEW}")], "{mode}");
        sandbox.zip("app.zip", V2);
        sandbox.hook("post.d", "20-fail", "[ $(cat $CURRENT_CONFIG/version) = v1 ]");
        sandbox.deploy(zip, &[]).expect(1);
        let reverted =
            [format!("pre update: {THERE}"), format!("post update: {THERE}"), format!("post revert: {BACK}")];
        assert_eq!(told(&sandbox), reverted, "{mode}");
        fs::remove_file(sandbox.path("post.d/20-fail")).unwrap();
        sandbox.deploy(zip, &[]).expect(0);
        assert_eq!(told(&sandbox), reverted[..2], "{mode}");
        // A manifest that is not there is made from the tree, once.
        let store = if mode == "symlink" { sandbox.store() } else { sandbox.path("state/default") };
        for manifest in fs::read_dir(store.join("manifests")).unwrap() {
            fs::remove_file(manifest.unwrap().path()).unwrap();
        }
        sandbox.zip("app.zip", V1);
        sandbox.deploy(zip, &["-v"]).expect(0).says(" has no manifest");
        assert_eq!(told(&sandbox), [format!("pre update: {BACK}"), format!("post update: {BACK}")], "{mode}");
        for release in fs::read_dir(store.join("releases")).unwrap() {
            let name = release.unwrap().file_name();
            assert!(store.join("manifests").join(&name).exists(), "{mode}: {name:?}");
        }
    }
}

#[test]
fn nobody_is_to_read_it_then_the_file_is_not_written() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", V1);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    assert!(!sandbox.store().join("changed-files").exists());
}

#[test]
fn preserved_names_and_what_was_adopted_then_only_what_becomes_live_is_told() {
    let sandbox = telling();
    sandbox.write("repo-deploy.cfg", "activation = in-place\npreserve = uploads same\n");
    for (name, content) in [("conf/a", "one"), ("mine", "found"), ("uploads/u", "u")] {
        sandbox.write(sandbox.local().join(name), content);
    }
    let files = [("conf/a", "one"), ("same/kept", "same"), ("version", "v1")];
    sandbox.deploy(sandbox.zip("app.zip", &files).to_str().unwrap(), &[]).expect(0);
    let told = told(&sandbox);
    assert_eq!(told, ["pre update: D mine|A version", "post update: D mine|A version"]);
}

#[test]
fn deployment_is_killed_then_the_next_run_finds_the_file_whole_whatever_was_left() {
    let sandbox = telling();
    let zip = sandbox.zip("app.zip", V1);
    let zip = zip.to_str().unwrap();
    sandbox.deploy(zip, &[]).expect(0);
    sandbox.zip("app.zip", V2);
    sandbox.hook("post.d", "00-kill", "kill -9 $PPID");
    sandbox.deploy(zip, &[]).expect(137);
    fs::remove_file(sandbox.path("post.d/00-kill")).unwrap();
    fs::write(sandbox.store().join("changed-files"), "half of").unwrap();
    told(&sandbox);
    sandbox.deploy(zip, &[]).expect(0);
    assert_eq!(told(&sandbox), [format!("post recover: {THERE}")]);
}

#[test]
fn scripts_of_another_user_can_read_it_and_it_is_relative_to_the_bundle() {
    needs!(root);
    let host = Host::new();
    let told = host.sandbox.path("told");
    fs::write(&told, "").unwrap();
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
    let script = format!(
        "#!/bin/sh\n{{ printf '%s %s %s: ' $LIFECYCLE_EVENT $REPO_DEPLOY_REASON $(id -u)\ntr '\\0' '|' <$REPO_DEPLOY_CHANGED_FILES; echo; }} >>{}\n[ ! -e $CURRENT_CONFIG/fails ] || [ $LIFECYCLE_EVENT != ApplicationStart ]\n",
        told.display()
    );
    let appspec = "version: 0.0\nos: linux\nfiles:\n- {source: tree, destination: DEST/app}\nhooks:\n\
         \x20 BeforeInstall: [{location: say, runas: nobody}]\n  ApplicationStart: [{location: say, runas: nobody}]\n";
    let appspec = appspec.replace("DEST", host.dest("").display().to_string().trim_end_matches('/'));
    let entries = |version: &str, more: &[&str]| {
        let top = format!("app-{version}");
        let mut files = vec![
            (format!("{top}/appspec.yml"), appspec.clone()),
            (format!("{top}/say"), script.clone()),
            (format!("{top}/tree/version"), version.to_owned()),
        ];
        files.extend(more.iter().map(|name| (format!("{top}/{name}"), "x".to_owned())));
        files
    };
    let zip = |files: Vec<(String, String)>| {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
        host.sandbox.zip("app.zip", &files)
    };
    host.sandbox.write("repo-deploy.cfg", "activation = install\n");
    let remote = zip(entries("v1", &[]));
    let umask = |remote: &Path| -> Run {
        let plain = host.sandbox.command(&["--remote", remote.to_str().unwrap()]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
        shell.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        shell.output().unwrap().into()
    };
    umask(&remote).expect(0);
    zip(entries("v2", &["fails", "tree/new"]));
    umask(&remote).expect(1);
    let nobody = 65534;
    let first = "A appspec.yml|A say|A tree|A tree/version|";
    let lines: Vec<String> = fs::read_to_string(&told).unwrap().lines().map(str::to_owned).collect();
    let expected = [
        format!("BeforeInstall update {nobody}: {first}"),
        format!("ApplicationStart update {nobody}: {first}"),
        format!("BeforeInstall update {nobody}: A fails|A tree/new|M tree/version|"),
        format!("ApplicationStart update {nobody}: A fails|A tree/new|M tree/version|"),
        format!("ApplicationStart revert {nobody}: D fails|D tree/new|M tree/version|"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_manifest_without_its_release_goes_when_the_store_prunes() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", V1);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let manifests = sandbox.store().join("manifests");
    let live = fs::read_dir(&manifests).unwrap().next().unwrap().unwrap().file_name();
    for name in ["0123456789abcdef", "adopted"] {
        fs::copy(manifests.join(&live), manifests.join(name)).unwrap();
    }
    sandbox.zip("app.zip", V2);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let releases = fs::read_dir(sandbox.store().join("releases")).unwrap().map(|e| e.unwrap().file_name());
    let mut releases: Vec<_> = releases.collect();
    let mut left: Vec<_> = fs::read_dir(&manifests).unwrap().map(|e| e.unwrap().file_name()).collect();
    releases.sort();
    left.sort();
    assert_eq!((left.len(), left), (2, releases));
}

/// Writes a hook that says that it ran, and the patterns beside it.
fn hook_for(sandbox: &Sandbox, name: &str, patterns: &str) {
    let (when, _) = name.split_once('/').unwrap();
    let ran = sandbox.path("told");
    sandbox.hook(
        when,
        name.split_once('/').unwrap().1,
        &format!("echo {name} $REPO_DEPLOY_REASON >>{}", ran.display()),
    );
    sandbox.write(format!("{name}.paths"), patterns);
}

#[test]
fn nothing_matches_then_the_hook_is_passed_over_and_the_log_says_so_once() {
    let sandbox = Sandbox::new();
    for when in ["pre.d", "post.d"] {
        hook_for(&sandbox, &format!("{when}/10-conf"), "# configuration\n\nconf/\n");
        hook_for(&sandbox, &format!("{when}/20-all"), "**\n");
        hook_for(&sandbox, &format!("{when}/30-css"), "*.txt\nassets/**/*.css\n");
    }
    let all = |reason: &str| {
        let names =
            ["pre.d/10-conf", "pre.d/20-all", "pre.d/30-css", "post.d/10-conf", "post.d/20-all", "post.d/30-css"];
        names.map(|name| format!("{name} {reason}"))
    };
    let without_css = |reason: &str| {
        ["pre.d/10-conf", "pre.d/20-all", "post.d/10-conf", "post.d/20-all"].map(|name| format!("{name} {reason}"))
    };
    let zip = sandbox.zip("app.zip", &[("conf/a", "1"), ("assets/x/y/z.css", "1"), ("version", "v1")]);
    let zip = zip.to_str().unwrap();
    sandbox.deploy(zip, &[]).expect(0).never_says("was not run");
    assert_eq!(told(&sandbox), all("update"));
    sandbox.zip("app.zip", &[("conf/a", "2"), ("assets/x/y/z.css", "1"), ("version", "v2")]);
    let run = sandbox.deploy(zip, &[]).expect(0);
    assert_eq!(told(&sandbox), without_css("update"));
    let passed =
        run.log.lines().filter(|line| line.contains("was not run")).map(|line| line.split_once(" INFO ").unwrap().1);
    let expected =
        ["pre.d", "post.d"].map(|when| format!("{when}/30-css was not run: nothing that changed matches its .paths"));
    assert_eq!(passed.collect::<Vec<_>>(), expected);
    // What ran for the update runs for the revert, and nothing else does; told once.
    sandbox.zip("app.zip", &[("conf/b", "3"), ("assets/x/y/z.css", "1"), ("version", "v3")]);
    sandbox.hook("post.d", "40-fail", "[ $(cat $CURRENT_CONFIG/version) = v2 ]");
    let run = sandbox.deploy(zip, &[]).expect(1);
    let mut expected = without_css("update").to_vec();
    expected.extend(["post.d/10-conf revert".to_owned(), "post.d/20-all revert".to_owned()]);
    assert_eq!(told(&sandbox), expected);
    assert_eq!(run.log.matches("was not run").count(), 2, "{}", run.log);
    // A kill in the middle: the next run decides the same.
    sandbox.hook("post.d", "40-fail", "kill -9 $PPID");
    sandbox.deploy(zip, &[]).expect(137);
    sandbox.hook("post.d", "40-fail", "");
    told(&sandbox);
    sandbox.deploy(zip, &[]).expect(0).says("post.d/30-css was not run");
    assert_eq!(told(&sandbox), ["post.d/10-conf recover", "post.d/20-all recover"]);
    // A name that goes is a change too.
    sandbox.zip("app.zip", &[("conf/b", "3"), ("version", "v3")]);
    sandbox.deploy(zip, &[]).expect(0).says("pre.d/10-conf was not run");
    let expected =
        ["pre.d/20-all", "pre.d/30-css", "post.d/20-all", "post.d/30-css"].map(|name| format!("{name} update"));
    assert_eq!(told(&sandbox), expected);
}

#[test]
fn patterns_that_cannot_be_trusted_or_mean_two_things_then_the_hook_is_refused() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", V1);
    let path = sandbox.path("pre.d/10-x.paths");
    let refused = |words: &str| {
        let words = format!("the hook {} {IS_REFUSED}: {words}", sandbox.path("pre.d/10-x").display());
        sandbox.deploy(zip.to_str().unwrap(), &[]).expect(2).says(&words);
        assert!(told(&sandbox).is_empty() && !sandbox.local().exists(), "{words}");
    };
    for (text, words) in [
        ("# nothing\n", format!("{} has no pattern: write ** for every change, or take the file away", path.display())),
        ("conf\n!conf/a\n", format!("{}:2: there is no ! for what is not wanted", path.display())),
        (&"x".repeat(70_000), format!("{CANNOT_READ} {}: it has more than 65536 bytes", path.display())),
    ] {
        hook_for(&sandbox, "pre.d/10-x", text);
        refused(&words);
    }
    fs::write(&path, "**").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&format!("{OTHERS_MAY_WRITE} {}", path.display()));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    refused(&format!("{CANNOT_READ} {}: no such file or directory", path.display()));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused(&format!("{CANNOT_READ} {}: it is ", path.display()));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(&format!("{CANNOT_READ} {}: it is ", path.display()));
}

#[test]
fn a_paths_file_is_never_a_hook_and_one_beside_none_is_told_of() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", V1);
    sandbox.hook("pre.d", "10-x.paths", "exit 1");
    sandbox.write("pre.d/20-y.disabled", "");
    sandbox.write("pre.d/20-y.paths", "conf");
    let run = sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let path = sandbox.path("pre.d/10-x.paths");
    let warnings = run.complaints();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let words = format!("{} has no effect: there is no hook 10-x beside it", path.display());
    assert!(warnings[0].ends_with(&words), "{warnings:?}");
}

#[test]
fn the_way_back_was_not_taken_by_hooks_then_all_of_the_next_release_is_news() {
    let sandbox = telling();
    let remote = sandbox.zip("app.zip", &[("conf/a", "1"), ("version", "v1")]).display().to_string();
    sandbox.deploy(&remote, &[]).expect(0);
    // A hook that is there for conf/ has seen v2, and never v1 again.
    sandbox.hook("post.d", "20-conf", "[ \"$(cat $CURRENT_CONFIG/version)\" = v3 ]");
    sandbox.write("post.d/20-conf.paths", "conf/\n");
    sandbox.zip("app.zip", &[("conf/a", "2"), ("version", "v2")]);
    sandbox.deploy(&remote, &[]).expect(3);
    sandbox.deploy(&remote, &[]).expect(3);
    sandbox.deploy(&remote, &[]).expect(1).says(&format!("times after {ROLLING_BACK}: giving up"));
    told(&sandbox);
    sandbox.zip("app.zip", &[("conf/a", "1"), ("version", "v3")]);
    sandbox.deploy(&remote, &[]).expect(0).never_says("20-conf was not run");
    assert_eq!(told(&sandbox)[0], "pre update: A conf|A conf/a|A version");
    sandbox.zip("app.zip", &[("conf/a", "1"), ("version", "v4")]);
    sandbox.deploy(&remote, &[]).expect(0).says("20-conf was not run");
    assert_eq!(told(&sandbox)[0], "pre update: M version");
}
