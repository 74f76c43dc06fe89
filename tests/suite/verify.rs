//! `verify`: whether the live tree is what its release was made of, in every way of activation; and `verify --repair`, which
//! makes it so again, from the store where that is whole, else from the source.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::crash::traced;
use crate::support::git_servers::Repo;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, DRIFT, MOVE_AWAY, NOTHING_TO_VERIFY, ONE_MISSING, WITHOUT_COMMAND};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::tree::{everything, without_times};
use crate::support::walk::{Point, SAMPLE, points, sample};

const FILES: &[(&str, &str)] = &[
    ("VERSION", "v1\n"),
    ("a.b", "between a and a/"),
    ("a/deep/er/file", "in directories that no member names"),
    ("empty/", ""),
    ("link", "-> a/deep"),
    ("nothing", ""),
    ("run", "#!/bin/sh\n"),
    ("w eird\u{fc}", "x"),
];

fn verify_command(sandbox: &Sandbox, remote: &str, more: &[&str]) -> Command {
    sandbox.daemon(&[&["verify", "--remote", remote], more].concat())
}

fn verify(sandbox: &Sandbox, remote: &str, more: &[&str]) -> Run {
    verify_command(sandbox, remote, more).output().unwrap().into()
}

/// What it says, with `<live>` and `<release>` for the places.
#[track_caller]
fn says(sandbox: &Sandbox, run: &Run, expected: &[&str]) {
    let store = |name: &str| -> Option<String> {
        let releases = sandbox.path(name).join("releases");
        let newest = fs::read_dir(&releases).ok()?.map(|e| e.unwrap().path()).next()?;
        Some(newest.display().to_string())
    };
    let mut out = run.out.replace(sandbox.local().to_str().unwrap(), "<live>");
    for place in ["deploy/.current.deploy", "state/default"] {
        if let Some(release) = store(place) {
            out = out.replace(&release, "<release>");
        }
    }
    let lines: Vec<&str> = out.lines().collect();
    let (summary, lines) = lines.split_last().unwrap_or_else(|| panic!("it says nothing:\n{}", run.log));
    let (_, summary) = summary.rsplit_once(": ").unwrap();
    assert_eq!([lines, &[summary]].concat(), expected, "{}", run.log);
}

/// One deployment of `FILES`, in `mode`.
fn deployed(mode: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::in_memory();
    sandbox.write("repo-deploy.cfg", format!("activation = {mode}\n"));
    let zip = sandbox.zip("app.zip", FILES).display().to_string();
    sandbox.deploy(&zip, &[]).expect(0);
    (sandbox, zip)
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The directory of the live release.
fn release(sandbox: &Sandbox) -> PathBuf {
    let stores = [sandbox.store(), sandbox.path("state/default")];
    let store = stores.into_iter().find(|store| store.exists()).unwrap();
    let state = fs::read_to_string(store.join("state")).unwrap();
    let id = state.lines().find_map(|line| line.strip_prefix("current = ")).unwrap().to_owned();
    store.join("releases").join(id)
}

#[test]
fn every_kind_of_source_in_every_way_then_nothing_differs_after_a_deployment() {
    needs!("tar", "git", "bsdtar");
    for mode in ["symlink", "in-place", "install"] {
        for kind in ["zip", "zip below a directory", "tar.gz", "directory", "git"] {
            let sandbox = Sandbox::new();
            let strip = if kind == "zip below a directory" { "strip-components = 1\n" } else { "" };
            sandbox.write("repo-deploy.cfg", format!("activation = {mode}\n{strip}"));
            let appspec = format!(
                "version: 0.0\nos: linux\nfiles:\n- {{source: /, destination: {}}}\npermissions:\n- {{object: {0}/a, owner: 3, mode: '640'}}\nhooks:\n  AfterInstall: [{{location: run}}]\n",
                sandbox.path("dest").display()
            );
            let mut files = FILES.to_vec();
            files.retain(|(name, _)| kind != "git" || *name != "empty/"); // git has no such thing
            if mode == "install" {
                files.push(("appspec.yml", &appspec));
            }
            let below: Vec<(String, &str)> =
                files.iter().map(|(name, content)| (format!("top/{name}").replace("-> ", ""), *content)).collect();
            let below: Vec<(&str, &str)> = below.iter().map(|(name, content)| (name.as_str(), *content)).collect();
            let remote = match kind {
                "zip" => sandbox.zip("app.zip", &files).display().to_string(),
                "zip below a directory" => sandbox.zip("app.zip", &below).display().to_string(),
                "git" => {
                    let repo = Repo::new(&sandbox, "app");
                    repo.commit(&files);
                    repo.remote("#main")
                }
                _ => {
                    sandbox.zip("app.zip", &files);
                    let unpack = format!("mkdir app && bsdtar -xf app.zip -C app && tar -czf {} -C app .", "app.tgz");
                    let mut shell = Command::new("sh");
                    shell.args(["-c", &unpack]).env("LC_ALL", "C.UTF-8").current_dir(sandbox.path(""));
                    assert!(shell.status().unwrap().success());
                    let name = if kind == "directory" { "app" } else { "app.tgz" };
                    sandbox.path(name).display().to_string()
                }
            };
            sandbox.deploy(&remote, &[]).expect(0);
            let run = verify(&sandbox, &remote, &[]).expect(0);
            assert_eq!(
                (run.out.lines().count(), run.complaints().len()),
                (1, 0),
                "{mode} {kind}:\n{}{}",
                run.out,
                run.log
            );
            assert!(run.out.ends_with(" entries as they should be\n"), "{mode} {kind}: {}", run.out);
            verify(&sandbox, &remote, &["--repair"]).expect(0);
        }
    }
}

/// Does to a tree what can be done to one, and says what a release of `FILES` has to say about it.
fn spoil(top: &Path) -> [&'static str; 13] {
    fs::write(top.join("VERSION"), "v2\n").unwrap();
    set_mode(top.join("VERSION"), 0o600);
    fs::remove_file(top.join("a.b")).unwrap();
    fs::write(top.join("a/deep/added"), "").unwrap();
    fs::write(top.join("a/deep/er/file"), "longer or shorter").unwrap();
    set_mode(top.join("a"), 0o700);
    fs::remove_dir(top.join("empty")).unwrap();
    symlink("/etc", top.join("empty")).unwrap();
    fs::remove_file(top.join("link")).unwrap();
    symlink("/etc/\x1b[31mshadow\n", top.join("link")).unwrap();
    fs::create_dir(top.join("more")).unwrap();
    fs::write(top.join("more\nlines\x1b[31m"), "").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"more\xff")), "").unwrap();
    fs::remove_file(top.join("nothing")).unwrap();
    fs::create_dir(top.join("nothing")).unwrap();
    set_mode(top.join("run"), 0o4755);
    [
        "changed <>/VERSION: content; mode 0600, not 0644",
        "changed <>/a: mode 0700, not 0755",
        "added <>/a/deep/added",
        "changed <>/a/deep/er/file: size 17, not 35",
        "missing <>/a.b",
        "changed <>/empty: a link, not a directory",
        "changed <>/link: leads to /etc/\\u{1b}[31mshadow\\n, not a/deep",
        "added <>/more",
        "added <>/more\\nlines\\u{1b}[31m",
        "added <>/more\u{fffd}",
        "changed <>/nothing: a directory, not a file",
        "changed <>/run: mode 4755, not 0755",
        "13 differences",
    ]
}

#[test]
fn everything_that_can_differ_has_its_line_and_is_repaired_from_the_source_or_the_store() {
    for (mode, place) in [("symlink", "<live>"), ("in-place", "<live>"), ("in-place", "<release>")] {
        let (sandbox, zip) = deployed(mode);
        let whole = without_times(&everything(&fs::canonicalize(sandbox.local()).unwrap()));
        let top = if place == "<live>" { fs::canonicalize(sandbox.local()).unwrap() } else { release(&sandbox) };
        let untouched = fs::metadata(top.join("w eird\u{fc}")).unwrap().ino();
        let mut lines: Vec<String> = spoil(&top).iter().map(|line| line.replace("<>", place)).collect();
        lines[12] = "12 differences".to_owned();
        let expected: Vec<&str> = lines.iter().map(String::as_str).collect();
        let before = everything(&top);
        let run = verify(&sandbox, &zip, &[]).expect(1);
        says(&sandbox, &run, &expected);
        assert_eq!(everything(&top), before, "{mode} {place}: it changed something");
        let run = verify(&sandbox, &zip, &["--repair"]).expect(0);
        let mut repaired: Vec<String> = lines[..12].iter().map(|line| format!("repaired: {line}")).collect();
        repaired.push("12 differences, all repaired".to_owned());
        let repaired: Vec<&str> = repaired.iter().map(String::as_str).collect();
        says(&sandbox, &run, &repaired);
        assert_eq!(without_times(&everything(&top)), whole, "{mode} {place}");
        assert_eq!(fs::metadata(top.join("w eird\u{fc}")).unwrap().ino(), untouched, "what was right keeps its inode");
        verify(&sandbox, &zip, &[]).expect(0);
        sandbox.deploy(&zip, &[]).expect(0).never_says(DRIFT);
        assert!(sandbox.path("cache/default").read_dir().map_or(0, Iterator::count) == 0);
    }
}

#[test]
fn a_fifo_in_the_live_tree_is_told_and_not_opened() {
    for mode in ["symlink", "in-place"] {
        let (sandbox, zip) = deployed(mode);
        let top = fs::canonicalize(sandbox.local()).unwrap();
        fs::remove_file(top.join("VERSION")).unwrap();
        fifo(&top.join("VERSION"));
        fifo(&top.join("z"));
        // What no update would touch is no difference in place; a release is nobody else's.
        let is_told = mode == "symlink";
        let mut expected = vec!["changed <live>/VERSION: a FIFO, socket or device, not a file"];
        expected.extend(is_told.then_some("added <live>/z"));
        expected.push(if is_told { "2 differences" } else { "1 difference" });
        says(&sandbox, &verify(&sandbox, &zip, &[]).expect(1), &expected);
        verify(&sandbox, &zip, &["--repair"])
            .expect(1)
            .says(&format!("VERSION, where the release has something: {MOVE_AWAY}"));
        fs::remove_file(top.join("VERSION")).unwrap();
        let run = verify(&sandbox, &zip, &["--repair"]).expect(i32::from(is_told));
        let mut expected = vec!["repaired: missing <live>/VERSION"];
        expected.extend(is_told.then_some("added <live>/z"));
        expected.push(if is_told { "1 difference left of 2" } else { "1 difference, all repaired" });
        says(&sandbox, &run, &expected);
    }
}

#[test]
fn the_link_itself_leads_elsewhere_then_it_is_told_and_put_back() {
    let (sandbox, zip) = deployed("symlink");
    let whole = tree(&sandbox.local());
    let local = sandbox.local();
    for spoil in [&|| symlink("nowhere", &local).unwrap(), &(|| ()) as &dyn Fn(), &|| fs::create_dir(&local).unwrap()] {
        fs::remove_file(&local).unwrap();
        spoil();
        let run = verify(&sandbox, &zip, &[]).expect(1);
        let lines = ["changed <live>: leads to nowhere", "missing <live>", "changed <live>: a directory, not a link"];
        assert!(
            lines.iter().any(|line| run.out.replace(local.to_str().unwrap(), "<live>").starts_with(line)),
            "{}",
            run.out
        );
        verify(&sandbox, &zip, &["--repair"]).expect(0);
        assert_eq!(tree(&local), whole);
    }
}

#[test]
fn preserved_names_are_left_out_and_what_an_application_added_differs() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "activation = in-place\npreserve = uploads a/cache\n");
    let files = [FILES, &[("uploads/sample", "not installed")]].concat();
    let zip = sandbox.zip("app.zip", &files).display().to_string();
    sandbox.deploy(&zip, &[]).expect(0);
    sandbox.write(sandbox.local().join("uploads/x"), "x");
    sandbox.write(sandbox.local().join("a/cache/x"), "x");
    sandbox.write(sandbox.local().join("a/log"), "x");
    let run = verify(&sandbox, &zip, &[]).expect(1);
    says(&sandbox, &run, &["added <live>/a/log", "1 difference"]);
    verify(&sandbox, &zip, &["--repair"]).expect(0);
    assert!(sandbox.local().join("a/cache/x").exists() && sandbox.local().join("uploads/x").exists());
    fs::rename(sandbox.local(), sandbox.path("away")).unwrap();
    let run = verify(&sandbox, &zip, &[]).expect(1);
    says(&sandbox, &run, &["missing <live>", "1 difference"]);
    verify(&sandbox, &zip, &["--repair"]).expect(0);
    assert!(sandbox.local().join("VERSION").exists());
}

/// A release whose `VERSION` has another content, and whose `run` another mode.
fn damaged() -> (Sandbox, String) {
    let (sandbox, zip) = deployed("symlink");
    fs::write(sandbox.local().join("VERSION"), "v2\n").unwrap();
    set_mode(sandbox.local().join("run"), 0o600);
    (sandbox, zip)
}

#[test]
fn the_source_has_another_revision_by_now_then_it_says_so_and_mends_what_it_can() {
    let (sandbox, zip) = damaged();
    sandbox.zip("app.zip", &[("VERSION", "v3\n")]);
    let run = verify(&sandbox, &zip, &["--repair"]).expect(1).says("/VERSION is damaged: ").says(" by now, not ");
    let run = run.says(": repo-deploy -f deploys what it has, rollback goes back to the release before");
    let expected = [
        "repaired: changed <live>/run: mode 0600, not 0755",
        "changed <live>/VERSION: content",
        "1 difference left of 2",
    ];
    says(&sandbox, &run, &expected);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    fs::remove_file(&zip).unwrap();
    let run = verify(&sandbox, &zip, &["--repair"]).expect(1).says("/VERSION is damaged: ");
    says(
        &sandbox,
        &run,
        &["changed <live>/VERSION: content", "1 difference"]
            .map(|l| l.replace("1 difference", "1 difference left of 1"))
            .each_ref()
            .map(String::as_str),
    );
    let zip = sandbox.zip("app.zip", &[("VERSION", "v3\n")]);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    verify(&sandbox, zip.to_str().unwrap(), &[]).expect(0);
}

#[test]
fn the_source_has_what_was_rolled_back_from_then_a_repair_does_not_advise_a_check() {
    let (sandbox, remote) = deployed("symlink");
    sandbox.zip("app.zip", &[("one", "2")]);
    sandbox.deploy(&remote, &[]).expect(0);
    Run::from(sandbox.saying(&["rollback"], &["--remote", &remote]).output().unwrap()).expect(0);
    sandbox.zip("app.zip", &[("one", "2")]);
    let file = fs::read_dir(release(&sandbox)).unwrap().map(|e| e.unwrap().path()).find(|path| path.is_file()).unwrap();
    fs::write(file, "damaged").unwrap();
    let run = verify(&sandbox, &remote, &["--repair"]).expect(1);
    run.says(": it is on hold: repo-deploy retry deploys it, rollback RELEASE goes to another\n");
}

#[test]
fn one_entry_is_one_entry() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("app.zip", &[("one", "1")]).display().to_string();
    sandbox.deploy(&remote, &[]).expect(0);
    for more in [&[][..], &["--repair"]] {
        let run = verify(&sandbox, &remote, more).expect(0);
        assert!(run.out.ends_with(": 1 entry is as it should be\n"), "{}", run.out);
    }
}

#[test]
fn the_configuration_says_another_layout_then_the_release_is_not_made_of_that() {
    let (sandbox, zip) = damaged();
    let cfg = sandbox.read("repo-deploy.cfg");
    sandbox.write("repo-deploy.cfg", format!("{cfg}owner = 3:4\n"));
    verify(&sandbox, &zip, &["--repair"]).expect(1).says("owner, strip-components or proof than when it was deployed");
    sandbox.write("repo-deploy.cfg", cfg);
    verify(&sandbox, &zip, &["--repair"]).expect(0);
    assert_eq!(fs::metadata(sandbox.local().join("VERSION")).unwrap().uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn an_archive_that_has_to_be_proven_is_proven_again_before_it_repairs() {
    let (sandbox, zip) = deployed("symlink");
    let sum = Command::new("sha256sum").arg(&zip).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
    sandbox.write("repo-deploy.cfg", format!("activation = symlink\nsha256 = {sum}\n"));
    sandbox.deploy(&zip, &[]).expect(0);
    fs::write(sandbox.local().join("VERSION"), "v2\n").unwrap();
    verify(&sandbox, &zip, &["--repair"]).expect(0);
    fs::write(sandbox.local().join("VERSION"), "v2\n").unwrap();
    sandbox
        .write("repo-deploy.cfg", format!("activation = symlink\nsha256 = {}\n", sum.replace(&sum[..8], "00000000")));
    verify(&sandbox, &zip, &["--repair"]).expect(1).says("/VERSION is damaged: ");
    assert_eq!(fs::read_to_string(sandbox.local().join("VERSION")).unwrap(), "v2\n");
}

#[test]
fn what_was_adopted_is_compared_and_mended_but_never_fetched() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "activation = in-place\n");
    sandbox.write(sandbox.local().join("mine/file"), "found");
    set_mode(sandbox.local().join("mine/file"), 0o640);
    let zip = sandbox.zip("app.zip", FILES).display().to_string();
    sandbox.hook("pre.d", "10-no", "exit 1");
    sandbox.deploy(&zip, &[]).expect(2);
    verify(&sandbox, &zip, &[]).expect(0);
    set_mode(sandbox.local().join("mine/file"), 0o600);
    set_mode(release(&sandbox).join("mine/file"), 0o600);
    let run = verify(&sandbox, &zip, &["--repair"]).expect(0);
    let expected = ["live", "release"].map(|at| format!("repaired: changed <{at}>/mine/file: mode 0600, not 0640"));
    says(&sandbox, &run, &[expected[0].as_str(), &expected[1], "2 differences, all repaired"]);
    fs::write(release(&sandbox).join("mine/file"), "other").unwrap();
    verify(&sandbox, &zip, &["--repair"])
        .expect(1)
        .says("it is the copy of what was found there, and nobody else has that");
    assert_eq!(fs::read_to_string(sandbox.local().join("mine/file")).unwrap(), "found");
}

#[test]
fn one_bit_of_a_file_flips_then_it_is_found() {
    let (sandbox, zip) = deployed("symlink");
    let path = sandbox.local().join("VERSION");
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        says(&sandbox, &verify(&sandbox, &zip, &[]).expect(1), &["changed <live>/VERSION: content", "1 difference"]);
    }
    fs::write(&path, whole).unwrap();
    verify(&sandbox, &zip, &[]).expect(0);
}

/// A bundle, installed.
fn installed(files: &[(&str, &str)]) -> (Sandbox, String) {
    let sandbox = Sandbox::in_memory();
    sandbox.write("repo-deploy.cfg", "activation = install\n");
    let dest = sandbox.path("dest").display().to_string();
    let appspec = format!(
        "version: 0.0\nos: linux\nfiles:\n- {{source: tree, destination: {dest}}}\npermissions:\n- {{object: {dest}, owner: 3, mode: '0640', type: [file], acls: ['u:4:rw']}}\n"
    );
    let mut all = vec![("appspec.yml".to_owned(), appspec.as_str())];
    all.extend(files.iter().map(|(name, content)| (format!("tree/{name}"), *content)));
    let all: Vec<(&str, &str)> = all.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let zip = sandbox.zip("app.zip", &all).display().to_string();
    sandbox.deploy(&zip, &[]).expect(0);
    (sandbox, zip)
}

#[test]
fn an_installation_is_compared_path_by_path_and_put_back() {
    needs!(root, "setfacl");
    let (sandbox, zip) = installed(FILES);
    let dest = sandbox.path("dest");
    sandbox.write("dest/foreign", "theirs");
    let whole = without_times(&everything(&dest));
    verify(&sandbox, &zip, &[]).expect(0);
    fs::write(dest.join("VERSION"), "v2\n").unwrap();
    std::os::unix::fs::chown(dest.join("VERSION"), Some(5), Some(6)).unwrap();
    let acl = |args: &[&str], name: &str| {
        assert!(Command::new("setfacl").args(args).arg(dest.join(name)).status().unwrap().success());
    };
    acl(&["-m", "u:7:r"], "run");
    acl(&["-d", "-m", "u:7:r"], "a/deep");
    set_mode(dest.join("a"), 0o700);
    fs::write(dest.join("a/deep/er/file"), "shorter").unwrap();
    fs::remove_dir(dest.join("empty")).unwrap();
    fs::remove_file(dest.join("link")).unwrap();
    symlink("other", dest.join("link")).unwrap();
    fs::remove_file(dest.join("nothing")).unwrap();
    fs::create_dir(dest.join("nothing")).unwrap();
    fs::write(release(&sandbox).join("tree/a.b"), "a bundle that rots").unwrap();
    let run = verify(&sandbox, &zip, &[]).expect(1);
    let there = run.out.replace(dest.to_str().unwrap(), "<dest>");
    let expected = [
        "changed <dest>/VERSION: content; owner 5:6, not 3:0",
        "changed <dest>/a: mode 0700, not 0755",
        "changed <dest>/a/deep: default ACL",
        "changed <dest>/a/deep/er/file: size 7, not 35",
        "changed <dest>/a.b: size 16, not 18",
        "missing <dest>/empty",
        "changed <dest>/link: leads to other, not a/deep; owner 0:0, not 3:0",
        "changed <dest>/nothing: a directory, not a file",
        "changed <dest>/run: mode 0660, not 0640; ACL",
        "changed <release>/tree/a.b: size 18, not 16",
    ];
    let there = there.replace(release(&sandbox).to_str().unwrap(), "<release>");
    assert_eq!(there.lines().collect::<Vec<_>>()[..expected.len()], expected, "{there}");
    let run = verify(&sandbox, &zip, &["--repair"]).expect(0);
    assert!(run.out.ends_with(": 10 differences, all repaired\n"), "{}", run.out);
    assert_eq!(without_times(&everything(&dest)), whole);
    verify(&sandbox, &zip, &[]).expect(0);
}

#[test]
fn nothing_is_live_or_a_deployment_is_at_work_or_was_cut_off_then_it_says_so() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", FILES).display().to_string();
    for more in [&[][..], &["--repair"]] {
        verify(&sandbox, &zip, more).expect(1).says(&format!("{NOTHING_TO_VERIFY}: nothing has been deployed"));
        assert!(!sandbox.store().exists());
    }
    sandbox.deploy(&zip, &[]).expect(0);
    set_mode(release(&sandbox), 0o711);
    let run = verify(&sandbox, &zip, &["--repair"]).expect(0);
    says(&sandbox, &run, &["repaired: changed <release>: mode 0711, not 0755", "1 difference, all repaired"]);
    sandbox.zip("app.zip", &[("VERSION", "v2\n")]);
    let go = sandbox.path("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    sandbox.hook("post.d", "10-wait", &format!("echo waiting; read x <{}", go.display()));
    let mut running = Running::start(sandbox.command(&["--remote", &zip]));
    running.until("waiting");
    verify(&sandbox, &zip, &[]).expect(75).says("a deployment is at work, activating: verify when it is over");
    fs::write(&go, "x\n").unwrap();
    running.end().expect(0);
    verify(&sandbox, &zip, &[]).expect(0);
    sandbox.zip("app.zip", &[("VERSION", "v3\n")]);
    sandbox.hook("post.d", "10-wait", "kill -9 $PPID");
    sandbox.deploy(&zip, &[]).expect(137);
    for more in [&[][..], &["--repair"]] {
        let run = verify(&sandbox, &zip, more).expect(3);
        run.says("the last deployment was cut off, activating: the next check (repo-deploy -f) finishes it");
    }
}

#[test]
fn a_release_that_is_gone_or_has_no_manifest_then_it_says_what_to_do() {
    let (sandbox, zip) = deployed("symlink");
    let manifests = sandbox.store().join("manifests");
    let manifest = fs::read_dir(&manifests).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read_to_string(&manifest).unwrap();
    // One that was damaged is not made of what lies there now.
    fs::write(&manifest, &whole[..whole.len() - 1]).unwrap();
    fs::write(sandbox.local().join("version"), "evil").unwrap();
    verify(&sandbox, &zip, &[]).expect(1).says("its manifest is damaged");
    let run = verify(&sandbox, &zip, &["--repair"]).expect(0).says("made the manifest of release ");
    assert!(run.out.contains("repaired: "), "{}", run.out);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), whole);
    fs::remove_file(&manifest).unwrap();
    verify(&sandbox, &zip, &[]).expect(1).says("with --repair it gets one of what is there now");
    verify(&sandbox, &zip, &["--repair"]).expect(0).says(" has no manifest: it is taken as it is, and gets one");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), whole);
    verify(&sandbox, &zip, &[]).expect(0);
    let release = release(&sandbox);
    fs::remove_dir_all(&release).unwrap();
    let run = verify(&sandbox, &zip, &[]).expect(1);
    assert!(run.out.starts_with(&format!("missing {}\n", release.display())), "{}", run.out);
    let run = verify(&sandbox, &zip, &["--repair"]).expect(1);
    let run = run.says("cannot repair: release ").says(": repo-deploy -f fetches it again");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    sandbox.deploy(&zip, &[]).expect(0);
    verify(&sandbox, &zip, &[]).expect(0);
}

#[test]
fn somebody_who_is_not_root_verifies_and_repairs_what_is_his() {
    needs!(root, "setpriv", "chown");
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", FILES).display().to_string();
    sandbox.write("repo-deploy.cfg", "");
    let own = Command::new("chown").args(["-R", "65534:65534"]).arg(sandbox.path("")).status();
    assert!(own.unwrap().success());
    let by_nobody = |plain: Command| -> Run {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(plain.get_program()).args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir("/");
        command.output().unwrap().into()
    };
    by_nobody(sandbox.command(&["--remote", &zip])).expect(0);
    by_nobody(verify_command(&sandbox, &zip, &[])).expect(0);
    // What he cannot read is told, and the rest is looked at.
    fs::write(sandbox.local().join("a.b"), "v2\n").unwrap();
    std::os::unix::fs::chown(sandbox.local().join("VERSION"), Some(0), Some(0)).unwrap();
    set_mode(sandbox.local().join("VERSION"), 0o600);
    let run = by_nobody(verify_command(&sandbox, &zip, &[])).expect(1);
    let expected =
        ["unreadable <live>/VERSION: permission denied", "changed <live>/a.b: size 3, not 16", "2 differences"];
    says(&sandbox, &run, &expected);
    by_nobody(verify_command(&sandbox, &zip, &["--repair"])).expect(0);
    by_nobody(verify_command(&sandbox, &zip, &[])).expect(0);
    // Root's store is not his to read.
    let root = deployed("symlink");
    by_nobody(verify_command(&root.0, &root.1, &[])).expect(1).says("/state: permission denied");
}

#[test]
fn several_deployments_are_verified_and_the_worst_counts() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", FILES).display().to_string();
    let section = |name: &str| format!("[{name}]\nremote = {zip}\nlocal = {}\n", sandbox.path(name).display());
    sandbox.write(
        "several.cfg",
        format!("cache = {}\n{}{}", sandbox.path("cache").display(), section("one"), section("two")),
    );
    let run = |word: &str| -> Run {
        let mut command = sandbox.bare();
        command.args([word, "--config"]).arg(sandbox.path("several.cfg")).args(["--config-section", "all"]);
        command.output().unwrap().into()
    };
    run("-f").expect(0);
    fs::write(sandbox.path("one/VERSION"), "v2\n").unwrap();
    let out = run("verify").expect(1).out;
    assert!(out.contains("\none: release ") && out.contains("\ntwo: release "), "{out}");
    fs::remove_file(sandbox.path(".two.deploy/state")).unwrap();
    run("verify").expect(1).says(&format!("ERROR two: {NOTHING_TO_VERIFY}"));
}

#[test]
fn repair_stands_without_verify_then_it_is_a_mistake() {
    let sandbox = Sandbox::new();
    sandbox.deploy("/r", &["--repair"]).expect(64).says(&format!("{CANNOT_USE} --repair {WITHOUT_COMMAND} verify"));
}

#[test]
fn the_same_drift_at_each_check_is_one_warning_until_a_check_finds_another_or_none() {
    let (sandbox, zip) = deployed("in-place");
    let drifts = |name: &str| {
        fs::remove_file(sandbox.local().join(name)).unwrap();
        let run = sandbox.deploy(&zip, &["-v"]).expect(0).says(&format!("{DRIFT} {ONE_MISSING} "));
        assert!(sandbox.local().join(name).exists());
        run.complaints().len()
    };
    assert_eq!(
        [drifts("VERSION"), drifts("VERSION"), drifts("run"), drifts("run"), drifts("VERSION")],
        [1, 0, 1, 0, 1]
    );
    sandbox.deploy(&zip, &[]).expect(0);
    assert_eq!(drifts("VERSION"), 1, "it came again");
    sandbox.zip("app.zip", &[FILES, &[("more", "")]].concat());
    sandbox.deploy(&zip, &[]).expect(0);
    assert_eq!(drifts("VERSION"), 1);
}

#[test]
fn a_repair_of_a_release_is_killed_anywhere_then_the_next_one_heals() {
    kill_everywhere("symlink");
}

#[test]
fn a_repair_in_place_is_killed_anywhere_then_the_next_one_heals() {
    kill_everywhere("in-place");
}

#[test]
fn a_repair_of_an_installation_is_killed_anywhere_then_the_next_one_heals() {
    kill_everywhere("install");
}

/// The manifest of the live release, and its file.
fn manifest(sandbox: &Sandbox) -> (PathBuf, String) {
    let path = fs::read_dir(sandbox.store().join("manifests")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn two_hundred_thousand_names_differ_then_at_most_64_mib_of_memory() {
    needs!("time");
    let (sandbox, zip) = deployed("symlink");
    let (path, text) = manifest(&sandbox);
    let mut lines = String::new();
    for n in 0..200_000 {
        lines.push_str(&format!("f\t644\t7\t0000000a\tx/{:04}/a-name-that-is-as-long-as-most-{n:06}\n", n / 100));
    }
    fs::write(path, text.replace("end\n", &lines) + "end\n").unwrap();
    let plain = verify_command(&sandbox, &zip, &[]);
    let peak = sandbox.path("peak");
    let mut timed = Command::new("time");
    timed.args(["-q", "-f", "%M", "-o"]).arg(&peak).arg(plain.get_program()).args(plain.get_args());
    let run = Run::from(timed.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap()).expect(1);
    assert!(run.out.ends_with(": 200000 differences\n"), "{}", &run.out[run.out.len() - 200..]);
    let kib: u64 = sandbox.read("peak").trim().parse().unwrap();
    eprintln!("verify, 200,000 differences: {kib} KiB");
    assert!(kib < 64 * 1024, "{kib} KiB");
}

#[test]
fn a_terminal_looks_on_then_verify_shows_how_far_it_is() {
    needs!("script", "stty", "strace");
    let (sandbox, zip) = deployed("symlink");
    // So much that it takes a while from a slow disk.
    let (path, text) = manifest(&sandbox);
    let line = text.lines().find(|line| line.ends_with("\tVERSION")).unwrap();
    fs::write(&path, text.replace(line, "f\t644\t33554432\t00000000\tVERSION")).unwrap();
    fs::write(sandbox.local().join("VERSION"), vec![b'x'; 32 << 20]).unwrap();
    let command = verify_command(&sandbox, &zip, &[]);
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.to_str().unwrap());
    let slow = "strace -qq -o /dev/null -e trace=read -e inject=read:delay_enter=10000";
    let line = format!("stty cols 60; exec {slow} {}", words.collect::<Vec<_>>().join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    let out = Run::from(script.stdin(Stdio::null()).output().unwrap()).expect(1).out;
    let (before, last) = out.rsplit_once("\r\x1b[K").unwrap_or_else(|| panic!("no progress: {out:?}"));
    assert!(before.contains("verifying ") && before.contains(" of 32.0 MiB, "), "{out:?}");
    assert!(last.starts_with("\x1b[33mchanged\x1b[0m "), "erased before the answer: {last:?}");
}

/// Kills a repair before its system calls; nobody ever sees half a file.
fn kill_everywhere(mode: &str) {
    needs!(time, "strace");
    let (sandbox, zip) = if mode == "install" { installed(FILES) } else { deployed(mode) };
    let top = if mode == "install" { sandbox.path("dest") } else { sandbox.local() };
    let whole = tree(&top);
    let places = ["deploy", "cache", "state", "dest"];
    let copy = |from: PathBuf, to: PathBuf| {
        crate::support::tree::put_back(&places, &from, &to);
    };
    fs::write(top.join("VERSION"), "v2\n").unwrap();
    fs::write(release(&sandbox).join(if mode == "install" { "tree/VERSION" } else { "VERSION" }), "v3\n").unwrap();
    fs::remove_file(top.join("a.b")).unwrap();
    set_mode(top.join("a/deep/er/file"), 0o600);
    if mode != "install" {
        fs::write(top.join("added"), "").unwrap();
    }
    let spoilt = tree(&top);
    fs::create_dir(sandbox.path("saved")).unwrap();
    for name in places.iter().filter(|name| sandbox.path(name).exists()) {
        let copied = Command::new("cp").arg("-a").args([sandbox.path(name), sandbox.path("saved")]).status();
        assert!(copied.unwrap().success());
    }
    let trace = sandbox.path("trace");
    let command = || verify_command(&sandbox, &zip, &["--repair"]);
    Run::from(traced(&command(), &["-o", trace.to_str().unwrap()]).output().unwrap()).expect(0);
    let mut trials = 0;
    for Point { name, n } in sample(&format!("kill -9: {mode} repair"), SAMPLE, points(&sandbox.read("trace"))) {
        copy(sandbox.path("saved"), sandbox.path(""));
        let inject = format!("inject={name}:signal=KILL:when={n}");
        let options = ["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject];
        let run = Run::from(traced(&command(), &options).output().unwrap());
        if run.code != 137 {
            continue;
        }
        trials += 1;
        let at = format!("{mode}: killed before {name} #{n}");
        for (path, what) in tree(&top) {
            let is_temporary = path.split('/').any(|part| part.starts_with(".repo-deploy-"));
            let is_known = [&whole, &spoilt].iter().any(|tree| tree.get(&path) == Some(&what));
            let is_damage = path == "VERSION" && what == "f 644 v3\n"; // as it is in the store
            assert!(is_temporary || is_known || is_damage, "{at}: {path} is {what}");
        }
        if n % 2 == 0 {
            sandbox.deploy(&zip, &[]).expect(0);
        }
        let run = Run::from(command().output().unwrap());
        assert_eq!(run.code, 0, "{at}:\n{}{}", run.out, run.log);
        assert_eq!(tree(&top), whole, "{at}");
        verify(&sandbox, &zip, &[]).expect(0);
    }
    assert!(trials > 20, "{mode}: {trials} trials prove nothing");
    eprintln!("kill -9: {mode} repair: {trials} trials, 0 failures");
}
