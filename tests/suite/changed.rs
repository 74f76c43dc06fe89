//! What hooks are told about the names that a deployment changes: the file of REPO_DEPLOY_CHANGED_FILES, and the `.paths`
//! beside a hook that decide whether it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::install::Host;
use crate::sandbox::{Run, Sandbox};

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
        let store = if mode == "symlink" { sandbox.store() } else { sandbox.path("cache/default/store") };
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
    if !rustix::process::geteuid().is_root() {
        return;
    }
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
