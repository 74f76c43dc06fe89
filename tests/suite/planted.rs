//! What stands where we would write or read: devices and FIFOs that no file replaces, stores that somebody else has filled,
//! directories with two names, deployments of which this configuration knows nothing.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, makedev, mknodat};

use crate::core::Mount;
use crate::local_users::{HIM, he, mode, source};
use crate::support::needs::{is_root, needs};
use crate::support::phrases::{APART, BELONGS_TO, CANNOT_USE, CANNOT_WRITE, CONTAINS, DEPLOYED};
use crate::support::sandbox::{Run, Sandbox};

fn validate(sandbox: &Sandbox, text: &str) -> Run {
    let config = sandbox.write("validate.cfg", text);
    mode(&config, 0o600);
    Run::from(sandbox.bare().arg("validate").arg(config).output().unwrap())
}

/// A configuration with all its places in the sandbox, and these lines.
pub fn text(sandbox: &Sandbox, remote: &str, more: &str) -> String {
    let at = |name: &str| sandbox.path(name).display().to_string();
    let local = if more.contains("local =") { String::new() } else { format!("local = {}\n", at("deploy/current")) };
    let hooks = [("pre-hooks", "pre.d"), ("post-hooks", "post.d")]
        .iter()
        .filter(|(key, _)| !more.contains(key))
        .map(|(key, dir)| format!("{key} = {}\n", at(dir)));
    let hooks: String = hooks.collect();
    format!("{more}\nremote = {remote}\n{local}cache = {}\n{hooks}", at("cache"))
}

#[test]
fn report_is_no_regular_file_then_it_stays_and_one_warning_says_so() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.path("dir")).unwrap();
    mknodat(CWD, sandbox.path("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    let mut names = vec!["dir", "fifo", "socket"];
    if is_root() && mknodat(CWD, sandbox.path("null"), FileType::CharacterDevice, 0o666.into(), makedev(1, 3)).is_ok() {
        names.push("null");
    }
    symlink(names[names.len() - 1], sandbox.path("link")).unwrap();
    symlink("/proc/self/fd/1", sandbox.path("stdout")).unwrap();
    names.extend(["link", "stdout"]);
    for name in names {
        let before = fs::symlink_metadata(sandbox.path(name)).unwrap();
        for key in ["status-file", "metrics-file"] {
            let path = sandbox.path(name).display().to_string();
            let mut check = sandbox.command(&["--remote", &remote]);
            check.env(format!("REPO_DEPLOY_{}", key.replace('-', "_").to_uppercase()), &path);
            let run = Run::from(check.output().unwrap()).expect(0);
            assert_eq!(run.complaints().len(), 1, "{name}: {}", run.log);
            run.says(&format!("{CANNOT_WRITE} {key} {path}: it is "));
            let run = validate(&sandbox, &text(&sandbox, &remote, &format!("{key} = {path}"))).expect(78);
            let line = format!("validate.cfg:1:{}: error: {CANNOT_USE} {key} = {path}: it is ", key.len() + 4);
            assert!(run.out.contains(&line), "{}", run.out);
        }
        let after = fs::symlink_metadata(sandbox.path(name)).unwrap();
        assert_eq!((after.ino(), after.rdev(), after.mode()), (before.ino(), before.rdev(), before.mode()), "{name}");
        assert!(!after.file_type().is_file() && (name != "fifo" || after.file_type().is_fifo()));
    }
    // Both are bad: each is told once. And a link of ours leads on to where the file is.
    fs::write(sandbox.path("report"), "old").unwrap();
    symlink("report", sandbox.path("to-report")).unwrap();
    let mut check = sandbox.command(&["--remote", &remote]);
    check.env("REPO_DEPLOY_STATUS_FILE", sandbox.path("to-report"));
    Run::from(check.output().unwrap()).expect(0).never_says("WARN");
    assert!(sandbox.read("report").starts_with('{') && sandbox.path("to-report").is_symlink());
    let mut check = sandbox.command(&["--remote", &remote]);
    check.env("REPO_DEPLOY_STATUS_FILE", sandbox.path("dir")).env("REPO_DEPLOY_METRICS_FILE", sandbox.path("fifo"));
    let run = Run::from(check.output().unwrap()).expect(0);
    assert_eq!(run.complaints().len(), 2, "{}", run.log);
}

#[test]
fn he_makes_a_whole_store_then_another_owner_of_its_top_makes_it_no_better() {
    needs!(root);
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.path("shared")).unwrap();
    mode(sandbox.path("shared"), 0o1777);
    let local = sandbox.path("shared/current").display().to_string();
    let store = sandbox.path("shared/.current.deploy");
    let check = |uid: u32, version: &str| {
        source(&sandbox, version);
        let mut check = sandbox.command(&["--remote", &remote, "--local", &local]);
        Run::from(check.uid(uid).gid(uid).output().unwrap())
    };
    let refused = |at: &Path| {
        let run = check(0, "v2").expect(78).says("what it holds is not ours: remove ").never_says("chown root");
        run.says(&format!("{} {BELONGS_TO} {HIM}", at.display()));
        for command in ["status", "verify", "rollback", "plan"] {
            let run = sandbox.saying(&[command], &["--remote", &remote, "--local", &local]).output().unwrap();
            assert_ne!(Run::from(run).code, 0, "{command}");
        }
        assert_eq!(fs::read_to_string(sandbox.path("shared/current/file")).unwrap(), "v1");
    };
    mode(sandbox.path("cache"), 0o777);
    check(HIM, "v1").expect(0);
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    fs::create_dir(sandbox.path("cache")).unwrap();
    refused(&store);
    chown(&store, Some(0), Some(0)).unwrap();
    refused(&store.join("history"));
    // All but what the releases hold.
    let depth = |depth: &str, more: &[&str]| {
        let mut find = Command::new("find");
        find.arg(&store)
            .args(["-mindepth", "1", "-maxdepth", depth])
            .args(more)
            .args(["-exec", "chown", "-h", "0:0", "{}", "+"]);
        assert!(find.status().unwrap().success());
    };
    depth("1", &[]);
    let id = fs::read_dir(store.join("releases")).unwrap().next().unwrap().unwrap().file_name();
    refused(&store.join("manifests").join(&id));
    fs::remove_file(store.join("manifests").join(&id)).unwrap();
    refused(&store.join("releases").join(&id));
    // What the advice says.
    fs::remove_dir_all(&store).unwrap();
    check(0, "v2").expect(0).says(DEPLOYED);
    assert_eq!(fs::read_to_string(sandbox.path("shared/current/file")).unwrap(), "v2");
    // Releases that are given away are still ours, whoever gets the next ones.
    for owner in ["4242:4242", "4243:4243", ""] {
        for version in ["v3", "v4"] {
            source(&sandbox, &format!("{version}{owner}"));
            let mut check = sandbox.command(&["--remote", &remote, "--local", &local]);
            Run::from(check.env("REPO_DEPLOY_OWNER", owner).output().unwrap()).expect(0).says(DEPLOYED);
        }
    }
}

#[test]
fn he_fills_a_cache_then_another_owner_of_its_top_makes_it_no_better() {
    needs!(root);
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "v1")]);
    fs::create_dir_all(sandbox.path("cache/default")).unwrap();
    mode(sandbox.path("cache"), 0o1777);
    mode(sandbox.path("cache/default"), 0o777);
    he(&format!("mkdir '{}/git-0123'", sandbox.path("cache/default").display()));
    mode(sandbox.path("cache/default"), 0o755);
    mode(sandbox.path("cache"), 0o755);
    let run = validate(&sandbox, &text(&sandbox, zip.to_str().unwrap(), "")).expect(78);
    assert!(
        run.out.contains(&format!("git-0123 {BELONGS_TO} 65534, and what it holds is not ours: remove ")),
        "{}",
        run.out
    );
}

#[test]
fn paths_meet_through_a_mount_or_a_link_to_nothing_then_they_do_not_keep_apart() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let at = |name: &str| sandbox.path(name).display().to_string();
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.write("deploy/current/mine", "precious");
    symlink(at("deploy/current/var/log"), sandbox.path("log")).unwrap();
    symlink("log", sandbox.path("hop")).unwrap();
    let check = |more: &str| {
        let config = sandbox.write("one.cfg", text(&sandbox, &remote, more));
        mode(&config, 0o600);
        Run::from(sandbox.bare().args(["-f", "--config"]).arg(config).output().unwrap())
    };
    for name in ["log", "hop"] {
        check(&format!("log-file = {}", at(name))).expect(78).says(&format!("{CONTAINS} the log-file "));
    }
    check(&format!("log-file = {}\npreserve = var", at("hop"))).says("cannot open log-file").expect(0);
    assert_eq!(fs::read_dir(sandbox.path("state")).unwrap().count(), 1);
    needs!(root, "mount", "umount");
    for name in ["other", "deploy/current/sub", "deploy/current/sub/hooks"] {
        fs::create_dir_all(sandbox.path(name)).unwrap();
    }
    let Some(_mount) = Mount::new(&["--bind", &at("deploy/current")], &sandbox.path("other")) else { return };
    for (key, name, how) in [
        ("post-hooks", "other/sub/hooks", &*format!("{CONTAINS} the post-hooks ")),
        ("post-hooks", "other", "it is the post-hooks "),
        ("log-file", "other/new/log", &*format!("{CONTAINS} the log-file ")),
        ("state-dir", "other", "it is the state-dir "),
    ] {
        check(&format!("{key} = {}", at(name))).expect(78).says(how);
    }
    check(&format!("post-hooks = {}\npreserve = sub", at("other/sub/hooks"))).expect(0);
    // What is mounted elsewhere is a part of it alone.
    fs::create_dir(sandbox.path("part")).unwrap();
    let Some(_part) = Mount::new(&["--bind", &at("deploy/current/sub")], &sandbox.path("part")) else { return };
    check(&format!("post-hooks = {}", at("part/hooks"))).expect(78).says(&format!("{CONTAINS} the post-hooks "));
    check(&format!("post-hooks = {}\npreserve = sub", at("part/hooks"))).expect(0);
    // Two sections, one tree.
    let two = |a: &str, b: &str| {
        format!(
            "[a]\nremote = {remote}\nlocal = {a}\nactivation = in-place\n[b]\nremote = {remote}\nlocal = {b}\nactivation = in-place\n"
        )
    };
    for (a, b) in [("deploy/current", "other"), ("other", "deploy/current/sub"), ("other/sub", "deploy/current")] {
        let config = sandbox.write("two.cfg", two(&at(a), &at(b)));
        let mut check = sandbox.bare();
        check.args(["-f", "--config-section", "all", "--config"]).arg(config);
        Run::from(check.output().unwrap()).expect(78).says(APART);
    }
}

#[test]
fn deployment_of_another_file_lies_in_the_live_directory_then_it_is_not_cleared_away() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir_all(sandbox.path("w/batch")).unwrap();
    let check = |local: &str, id: &str, more: &[&str]| {
        let local = sandbox.path(local).display().to_string();
        sandbox.deploy(&remote, &[&["--local", &local, "-i", id], more].concat())
    };
    check("w/batch", "batch", &[]).expect(0);
    let run =
        check("w", "web", &[]).expect(78).says(&format!("{CONTAINS} the local ")).says("w/batch of another deployment");
    run.says("state/batch: what no release has is removed there");
    assert_eq!(sandbox.read("w/batch/file"), "v1");
    let plan = sandbox.planned(&remote, &["--local", &sandbox.path("w").display().to_string(), "-i", "web"]).output();
    Run::from(plan.unwrap()).expect(78).says("of another deployment");
    let places =
        format!("id = web\nstate-dir = {}\nlocal = {}", sandbox.path("state").display(), sandbox.path("w").display());
    let run = validate(&sandbox, &text(&sandbox, &remote, &places)).expect(78);
    assert!(run.out.contains("of another deployment"), "{}", run.out);
    sandbox.write("repo-deploy.cfg", "preserve = batch\n");
    check("w", "web", &[]).expect(0).says(DEPLOYED);
    assert_eq!(sandbox.read("w/batch/file"), "v1");
    // The other one is no more.
    sandbox.write("repo-deploy.cfg", "");
    check("w", "web", &[]).expect(78);
    fs::remove_dir_all(sandbox.path("state/batch")).unwrap();
    check("w", "web", &[]).expect(0);
}

#[test]
fn everybody_may_write_the_live_directory_then_each_deployment_says_so() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.local()).unwrap();
    for (bits, version, is_told) in
        [(0o777, "v1", true), (0o777, "v2", true), (0o775, "v3", false), (0o1777, "v4", false)]
    {
        let remote = source(&sandbox, version);
        mode(sandbox.local(), bits);
        let words = "everybody may write the live directory ";
        let run = validate(&sandbox, &text(&sandbox, &remote, "")).expect(0);
        assert_eq!(run.out.contains(&format!(": warning: {words}")), is_told, "{}", run.out);
        let run = sandbox.plan(&remote, &[]).expect(10);
        assert_eq!(run.out.contains(words), is_told, "{}", run.out);
        let run = sandbox.deploy(&remote, &[]).expect(0);
        assert_eq!(run.log.matches(&format!(" WARN {words}")).count(), usize::from(is_told), "{}", run.log);
        sandbox.deploy(&remote, &[]).expect(0).never_says(words);
    }
}
