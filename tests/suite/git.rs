//! Git remotes: what is deployed when, over every transport, and what a cache, a network or a key that fails costs.
//! Hostile ones are in `git_hostile`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::local_users::{HIM, give};
use crate::support::git_servers::{Repo, Server, Smart, deploy, git, key, known, says};
use crate::support::needs::needs;
use crate::support::phrases::{
    CANNOT_POLL, CANNOT_USE, DEPLOYED, NOTHING_AT, OTHERS_MAY_WRITE, SAME_CONTENT, UNCHANGED, UNPACKED,
    deployed_revision,
};
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::servers::{Authority, closed_port};

/// The files that are live, with their contents: `name content`.
fn live(sandbox: &Sandbox) -> Vec<String> {
    let files = tree(&sandbox.local()).into_iter().filter(|(_, what)| !what.starts_with("d "));
    files.map(|(name, what)| format!("{name} {what}")).collect()
}

#[track_caller]
fn is_live(sandbox: &Sandbox, files: &[&str]) {
    assert_eq!(live(sandbox), files);
}

/// The cache of the deployment.
fn cache(sandbox: &Sandbox) -> PathBuf {
    let mut found = fs::read_dir(sandbox.path("cache/app")).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("git-")).unwrap().join("repository")
}

fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| if e.file_type().unwrap().is_dir() { size(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

#[test]
fn branch_moves_forward_backward_and_by_force_then_each_is_deployed() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let remote = repo.remote("#main");
    let first = repo.commit(&[("a", "1"), ("run", "#!/bin/sh\n"), ("d/link", "-> ../a")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&first));
    is_live(&sandbox, &["a f 644 1", "d/link l ../a", "run f 755 #!/bin/sh\n"]);
    deploy(&sandbox, &remote, &[]).expect(0).says(UNCHANGED).never_says(DEPLOYED);
    let second = repo.commit(&[("a", "2")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&second));
    assert_eq!(sandbox.read("deploy/current/a"), "2");
    // Back to the first.
    repo.git(&["reset", "-q", "--hard", &first]);
    repo.git(&["push", "-q", "--force", repo.bare().to_str().unwrap(), "HEAD:main"]);
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&first));
    assert_eq!(sandbox.read("deploy/current/a"), "1");
    // A history that has nothing in common with it.
    repo.git(&["checkout", "-q", "--orphan", "other"]);
    let other = repo.commit(&[("a", "3")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&other));
    assert_eq!(sandbox.read("deploy/current/a"), "3");
}

#[test]
fn branch_is_deleted_then_the_live_tree_stays_and_it_comes_back() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let remote = repo.remote("#live");
    repo.commit(&[("a", "1")]);
    deploy(&sandbox, &remote, &[]).expect(1).says("there is neither a branch nor a tag live");
    assert!(!sandbox.local().exists());
    repo.push_to("refs/heads/live");
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    says(git(&repo.bare()).args(["update-ref", "-d", "refs/heads/live"]));
    deploy(&sandbox, &remote, &[]).expect(1).says("there is neither a branch nor a tag live");
    is_live(&sandbox, &["a f 644 1"]);
    repo.write(&[("a", "2")]);
    repo.push_to("refs/heads/live");
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2"]);
}

#[test]
fn tag_moves_then_what_it_points_to_is_deployed_also_when_it_is_annotated() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let remote = repo.remote("#v1");
    let first = repo.commit(&[("a", "1")]);
    repo.push_to("refs/tags/v1");
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    let second = repo.commit(&[("a", "2")]);
    repo.git(&["tag", "-a", "-m", "t", "v1"]);
    repo.git(&["push", "-q", "--force", repo.bare().to_str().unwrap(), "v1"]);
    assert_ne!(first, second);
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&second));
    is_live(&sandbox, &["a f 644 2"]);
    deploy(&sandbox, &remote, &[]).expect(0).says(UNCHANGED);
}

#[test]
fn commit_is_named_by_its_hash_then_it_is_deployed_and_never_asked_for_again() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let first = repo.commit(&[("a", "1")]);
    repo.commit(&[("a", "2")]);
    let remote = repo.remote(&format!("#{first}"));
    deploy(&sandbox, &remote, &[]).expect(0).says(&deployed_revision(&first));
    is_live(&sandbox, &["a f 644 1"]);
    fs::rename(repo.bare(), sandbox.path("gone")).unwrap();
    deploy(&sandbox, &remote, &[]).expect(0).says(UNCHANGED);
    fs::rename(sandbox.path("gone"), repo.bare()).unwrap();
    deploy(&sandbox, &repo.remote(&format!("#{}", "0123456789".repeat(4))), &[])
        .expect(1)
        .says("the commit is not there");
    is_live(&sandbox, &["a f 644 1"]);
}

#[test]
fn commit_is_named_and_the_server_gives_out_names_only_then_all_names_are_fetched() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let first = repo.commit(&[("a", "1")]);
    repo.commit(&[("a", "2")]);
    let server = Smart::of_old(&sandbox);
    let remote = server.nginx.url("/app.git");
    deploy(&sandbox, &format!("{remote}#{first}"), &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 1"]);
    deploy(&sandbox, &format!("{remote}#{}", "a1".repeat(20)), &[]).expect(1).says("is in no branch and no tag");
    deploy(&sandbox, &format!("{remote}#main"), &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2"]);
}

#[test]
fn no_ref_is_named_then_master_and_without_one_the_default_branch() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    deploy(&sandbox, &repo.remote(""), &[]).expect(1).says("either it is empty, or name a branch with #");
    repo.commit(&[("a", "main")]);
    deploy(&sandbox, &repo.remote(""), &[]).expect(0);
    is_live(&sandbox, &["a f 644 main"]);
    repo.write(&[("a", "master")]);
    repo.push_to("refs/heads/master");
    deploy(&sandbox, &repo.remote(""), &[]).expect(0);
    is_live(&sandbox, &["a f 644 master"]);
}

#[test]
fn directory_of_a_repository_appears_changes_and_disappears() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let remote = repo.remote("/web/site#main");
    sandbox.hook("post.d", "10-count", &format!("echo x >>{}", sandbox.path("ran").display()));
    repo.commit(&[("other", "1")]);
    deploy(&sandbox, &remote, &[]).expect(1).says("there is no directory web/site in commit");
    repo.commit(&[("web/site/a", "1"), ("web/site/d/b", "b"), ("web/c", "not ours")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 1", "d/b f 644 b"]);
    // A commit that does not touch it.
    let other = repo.commit(&[("other", "2"), ("web/c", "x")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(&format!("revision {other} {SAME_CONTENT}")).never_says(DEPLOYED);
    deploy(&sandbox, &remote, &[])
        .expect(0)
        .says(&format!("{UNCHANGED} release"))
        .says(&other)
        .never_says("content that is live");
    assert_eq!(sandbox.read("ran"), "x\n");
    repo.commit(&[("web/site/a", "2")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2", "d/b f 644 b"]);
    fs::remove_dir_all(repo.work().join("web/site")).unwrap();
    repo.commit(&[("web/site", "a file")]);
    deploy(&sandbox, &remote, &[]).expect(1).says("web/site is no directory in commit");
    fs::remove_dir_all(repo.work().join("web")).unwrap();
    repo.commit(&[("other", "3")]);
    deploy(&sandbox, &remote, &[]).expect(1).says("there is no directory web/site");
    is_live(&sandbox, &["a f 644 2", "d/b f 644 b"]);
    assert_eq!(sandbox.read("ran"), "x\nx\n");
}

#[test]
fn path_outside_the_tree_is_refused_before_anything_is_asked() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a/b", "1")]);
    for path in ["/..", "/a/..", "/a/../..", "/./a", "/a//b", "/-a"] {
        deploy(&sandbox, &repo.remote(&format!("{path}#main")), &[]).expect(78).says("in the repository");
    }
    assert!(!sandbox.local().exists() && !sandbox.path("cache/app").exists());
}

#[test]
fn file_becomes_a_directory_and_modes_change_then_the_tree_is_that_of_the_commit() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("x", "file"), ("y/z", "1"), ("run", "#!/bin/sh\n"), ("link", "-> x"), ("empty", "")]);
    deploy(&sandbox, &repo.remote(""), &[]).expect(0);
    is_live(&sandbox, &["empty f 644 ", "link l x", "run f 755 #!/bin/sh\n", "x f 644 file", "y/z f 644 1"]);
    fs::remove_file(repo.work().join("x")).unwrap();
    fs::remove_dir_all(repo.work().join("y")).unwrap();
    repo.commit(&[("x/deep/er", "1"), ("y", "file"), ("run", "plain"), ("link", "now a file")]);
    deploy(&sandbox, &repo.remote(""), &[]).expect(0);
    is_live(
        &sandbox,
        &["empty f 644 ", "link f 644 now a file", "run f 644 plain", "x/deep/er f 644 1", "y f 644 file"],
    );
}

#[test]
fn links_inside_are_made_and_links_outside_are_refused() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1"), ("d/in", "-> ../a"), ("loose", "-> nowhere")]);
    deploy(&sandbox, &repo.remote(""), &[]).expect(0);
    is_live(&sandbox, &["a f 644 1", "d/in l ../a", "loose l nowhere"]);
    for target in ["../x", "/etc/passwd", "d/../../x", "d/in/../../x"] {
        repo.commit(&[("out", &format!("-> {target}"))]);
        deploy(&sandbox, &repo.remote(""), &[]).expect(1).says("member out: a link to");
    }
    deploy(&sandbox, &repo.remote(""), &[("symlinks", "refuse")]).expect(1).says("it is a symbolic link");
    is_live(&sandbox, &["a f 644 1", "d/in l ../a", "loose l nowhere"]);
}

#[test]
fn limits_and_layout_hold_for_git_as_for_archives() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("top/a", &"x".repeat(5000)), ("top/b", "1"), ("c", "gone with strip-components")]);
    deploy(&sandbox, &repo.remote(""), &[("max-unpacked", "4K")]).expect(1).says("over max-unpacked");
    deploy(&sandbox, &repo.remote(""), &[("max-files", "2")]).expect(1).says("max-files = 2");
    deploy(&sandbox, &repo.remote(""), &[("strip-components", "1"), ("owner", "12:34")]).expect(0);
    let meta = fs::metadata(sandbox.local().join("b")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((meta.uid(), meta.gid(), live(&sandbox).len()), (12, 34, 2));
    // Incompressible, so that a pack of it is as large.
    let noise: String = (0_u64..40_000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repo.commit(&[("noise", &noise)]);
    deploy(&sandbox, &repo.remote(""), &[("max-download", "64K")]).expect(1).says("max-download");
}

#[test]
fn later_fetches_bring_only_what_is_new() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let noise = |seed: u64| -> String {
        (0_u64..20_000).map(|n| format!("{:x}", (n ^ (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    };
    for n in 0..8 {
        repo.write(&[(&format!("d/noise{n}"), &noise(n))]);
    }
    repo.commit(&[("a", "1")]);
    let server = Smart::start(&sandbox, "", "", "");
    let remote = server.nginx.url("/app.git#main");
    let sent =
        || -> u64 { server.log().iter().map(|line| line.rsplit('|').next().unwrap().parse::<u64>().unwrap()).sum() };
    deploy(&sandbox, &remote, &[]).expect(0);
    let first = sent();
    assert!(first > 500_000, "{first}");
    repo.commit(&[("a", "2")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    let second = sent() - first;
    assert!(second < 10_000, "{second} bytes for one small file");
    assert_eq!(sandbox.read("deploy/current/a"), "2");
    // And the other way round.
    repo.git(&["reset", "-q", "--hard", "HEAD^"]);
    repo.git(&["push", "-q", "--force", repo.bare().to_str().unwrap(), "HEAD:main"]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    assert!(sent() - first - second < 10_000);
}

#[test]
fn directory_of_a_large_repository_then_only_its_contents_are_fetched_and_all_in_one_batch() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let noise = |seed: u64, many: u64| -> String {
        (0..many).map(|n| format!("{:x}", (n ^ (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    };
    for n in 0..20 {
        repo.write(&[(&format!("big/{n}"), &noise(n, 10_000)), (&format!("web/{n}"), &noise(100 + n, 20))]);
    }
    repo.commit(&[("web/a", "1")]);
    let server = Smart::start(&sandbox, "", "", "");
    let remote = server.nginx.url("/app.git/web#main");
    deploy(&sandbox, &remote, &[]).expect(0);
    assert_eq!(live(&sandbox).len(), 21);
    let log = server.log();
    let bytes: u64 = log.iter().map(|line| line.rsplit('|').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(bytes < 60_000, "{bytes} bytes: {log:?}");
    assert!(log.iter().filter(|line| line.starts_with("POST")).count() < 10, "{log:?}");
    // A server that knows no such thing sends everything.
    says(git(&repo.bare()).args(["config", "uploadpack.allowFilter", "false"]));
    fs::remove_dir_all(sandbox.path("cache/app")).unwrap();
    repo.commit(&[("web/a", "2")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    assert_eq!((live(&sandbox).len(), sandbox.read("deploy/current/a").as_str()), (21, "2"));
}

#[test]
fn submodule_is_added_changed_and_removed_then_its_files_follow() {
    let sandbox = Sandbox::new();
    let (lib, repo) = (Repo::new(&sandbox, "lib"), Repo::new(&sandbox, "app"));
    let one = lib.commit(&[("l", "1")]);
    let two = lib.commit(&[("l", "2"), ("m/n", "2")]);
    repo.commit(&[("a", "1")]);
    let remote = repo.remote("#main");
    deploy(&sandbox, &remote, &[]).expect(0);
    repo.module("vendor/lib", lib.bare().to_str().unwrap(), &one);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox)[1..], ["a f 644 1", "vendor/lib/l f 644 1"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{two},vendor/lib")]);
    repo.git(&["commit", "-q", "-m", "moved"]);
    repo.git(&["push", "-q", repo.bare().to_str().unwrap(), "HEAD:main"]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox)[1..], ["a f 644 1", "vendor/lib/l f 644 2", "vendor/lib/m/n f 644 2"]);
    // Without them the place stays, empty.
    deploy(&sandbox, &remote, &[("submodules", "no")]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox)[1..], ["a f 644 1"]);
    assert_eq!(tree(&sandbox.local())["vendor/lib"], "d 755");
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    repo.git(&["rm", "-q", "--cached", "vendor/lib", ".gitmodules"]);
    fs::remove_file(repo.work().join(".gitmodules")).unwrap();
    repo.commit(&[("a", "2")]);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2"]);
}

#[test]
fn submodules_are_small_each_and_large_together_then_max_download_ends_it() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    for name in ["one", "two", "three"] {
        let lib = Repo::new(&sandbox, name);
        // Incompressible: 40 KB of pack each.
        let noise: String = (0_u64..5_000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let commit = lib.commit(&[("noise", &format!("{name} {noise}"))]);
        repo.module(name, lib.bare().to_str().unwrap(), &commit);
    }
    deploy(&sandbox, &repo.remote("#main"), &[("max-download", "96K")]).expect(1).says("max-download");
    assert!(!sandbox.local().exists());
    deploy(&sandbox, &repo.remote("#main"), &[("max-download", "256K")]).expect(0).says(DEPLOYED);
    assert_eq!(live(&sandbox).len(), 5);
}

#[test]
fn submodules_are_relative_and_nested_then_each_is_found_from_its_parent() {
    let sandbox = Sandbox::new();
    let server = Server::daemon(&sandbox);
    let repos = ["deep/three", "deep/two", "one", "app"].map(|name| Repo::new(&sandbox, name));
    let [three, two, one, app] = &repos;
    let commit = three.commit(&[("3", "three")]);
    two.write(&[("2", "two")]);
    two.push_to("refs/heads/main");
    two.module("below", "./../three.git", &commit);
    one.commit(&[("1", "one")]);
    one.module("below", "../deep/two.git", &two.head());
    app.commit(&[("sub/0", "zero")]);
    app.module("sub/one", "../one.git", &one.head());
    let remote = format!("git://127.0.0.1:{}/app.git", server.port);
    deploy(&sandbox, &format!("{remote}#main"), &[]).expect(0);
    let files: Vec<_> = live(&sandbox).into_iter().filter(|line| !line.contains(".gitmodules")).collect();
    let expected =
        ["sub/0 f 644 zero", "sub/one/1 f 644 one", "sub/one/below/2 f 644 two", "sub/one/below/below/3 f 644 three"];
    assert_eq!(files, expected);
    // From a directory, whose .gitmodules lies above it.
    deploy(&sandbox, &format!("{remote}/sub#main"), &[]).expect(0);
    let files: Vec<_> = live(&sandbox).into_iter().filter(|line| !line.contains(".gitmodules")).collect();
    assert_eq!(files, ["0 f 644 zero", "one/1 f 644 one", "one/below/2 f 644 two", "one/below/below/3 f 644 three"]);
    // A fourth level is too deep.
    let top = Repo::new(&sandbox, "top");
    top.commit(&[("t", "t")]);
    top.module("app", "../app.git", &app.head());
    deploy(&sandbox, &format!("git://127.0.0.1:{}/top.git#main", server.port), &[])
        .expect(1)
        .says("may lie 3 deep")
        .says("submodules = no");
}

#[test]
fn submodule_of_a_directory_is_the_same_repository_then_what_both_have_is_fetched() {
    let sandbox = Sandbox::new();
    let server = Server::daemon(&sandbox);
    let repo = Repo::new(&sandbox, "self");
    let before = repo.commit(&[("shared", "both"), ("web/a", "1")]);
    repo.commit(&[("web/a", "2"), ("web/b", "2")]);
    repo.module("web/lib", "../self.git", &before);
    let remote = format!("git://127.0.0.1:{}/self.git/web#main", server.port);
    deploy(&sandbox, &remote, &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2", "b f 644 2", "lib/shared f 644 both", "lib/web/a f 644 1"]);
    deploy(&sandbox, &remote, &[]).expect(0).never_says("anew");
}

#[test]
fn server_is_down_for_three_polls_then_the_live_tree_stays_and_the_fourth_deploys() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let port = {
        let server = Server::daemon(&sandbox);
        deploy(&sandbox, &format!("git://127.0.0.1:{}/app.git#main", server.port), &[]).expect(0);
        server.port
    };
    repo.commit(&[("a", "2")]);
    let remote = format!("git://127.0.0.1:{port}/app.git#main");
    for _ in 0..3 {
        // A short timeout: patience has its own tests.
        deploy(&sandbox, &remote, &[("timeout", "1")]).expect(1).says("the host cannot be reached");
        is_live(&sandbox, &["a f 644 1"]);
    }
    let server = Server::daemon(&sandbox);
    deploy(&sandbox, &format!("git://127.0.0.1:{}/app.git#main", server.port), &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 2"]);
}

#[test]
fn server_hangs_in_the_middle_of_a_pack_then_the_deadline_ends_everything() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    // A pack whose making never ends.
    let hang = sandbox.write("hang", "#!/bin/sh\nprintf PACK; exec sleep 600\n");
    fs::set_permissions(&hang, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::daemon_with(&sandbox, &["-c", &format!("uploadpack.packObjectsHook={}", hang.display())]);
    let remote = format!("git://127.0.0.1:{}/app.git#main", server.port);
    let run = deploy(&sandbox, &remote, &[("timeout", "2")]).expect(1).says("git fetch had not ended when the time");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert!(!sandbox.local().exists());
    // Nobody of ours is left, and the next check finds nothing in its way.
    let left = Command::new("pgrep").args(["-f", &format!("{}", sandbox.path("cache").display())]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    drop(server);
    let server = Server::daemon(&sandbox);
    deploy(&sandbox, &format!("git://127.0.0.1:{}/app.git#main", server.port), &[]).expect(0);
    is_live(&sandbox, &["a f 644 1"]);
}

#[test]
fn cache_is_deleted_locked_foreign_or_corrupt_then_it_is_made_anew_and_the_update_is_deployed() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let remote = repo.remote("#main");
    repo.commit(&[("a", "0"), ("b", &"line\n".repeat(3000))]);
    deploy(&sandbox, &remote, &[]).expect(0);
    let packs = |cache: &Path| -> Vec<PathBuf> {
        fs::read_dir(cache.join("objects/pack"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "pack"))
            .collect()
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: &[Damage<'_>] = &[
        ("deleted", &|cache| fs::remove_dir_all(cache).unwrap()),
        ("a file", &|cache| {
            fs::remove_dir_all(cache).unwrap();
            fs::write(cache, "x").unwrap();
        }),
        ("a link to elsewhere", &|cache| {
            fs::remove_dir_all(cache).unwrap();
            std::os::unix::fs::symlink("/etc", cache).unwrap();
        }),
        ("locked", &|cache| fs::write(cache.join("shallow.lock"), "").unwrap()),
        ("another's configuration", &|cache| {
            let mut config = fs::File::options().append(true).open(cache.join("config")).unwrap();
            config.write_all(b"[core]\n\tsshCommand = false\n").unwrap();
        }),
        ("hooks in it", &|cache| fs::create_dir(cache.join("hooks")).unwrap()),
        ("no objects", &|cache| fs::remove_dir_all(cache.join("objects")).unwrap()),
        ("no pack", &|cache| packs(cache).iter().for_each(|p| fs::remove_file(p).unwrap())),
        ("no HEAD", &|cache| fs::remove_file(cache.join("HEAD")).unwrap()),
        ("empty packs", &|cache| {
            packs(cache).iter().for_each(|p| {
                fs::remove_file(p).unwrap();
                fs::write(p, "").unwrap();
            });
        }),
        ("packs of noise", &|cache| {
            packs(cache).iter().for_each(|p| {
                let mut bytes = fs::read(p).unwrap();
                let (middle, end) = (12.min(bytes.len()), bytes.len().saturating_sub(20).max(12).min(bytes.len()));
                bytes[middle..end].iter_mut().for_each(|b| *b ^= 0x55);
                fs::remove_file(p).unwrap();
                fs::write(p, bytes).unwrap();
            });
        }),
        ("a torn ref", &|cache| {
            for entry in fs::read_dir(cache.join("refs/deploy")).unwrap() {
                fs::write(entry.unwrap().path(), "").unwrap();
            }
        }),
        ("a torn shallow", &|cache| fs::write(cache.join("shallow"), "nonsense").unwrap()),
    ];
    for (n, (what, damage)) in (1..).zip(damages) {
        damage(&cache(&sandbox));
        repo.commit(&[("a", &n.to_string())]);
        let run = deploy(&sandbox, &remote, &[]);
        assert_eq!((run.code, sandbox.read("deploy/current/a")), (0, n.to_string()), "{what}: {}", run.log);
        assert_eq!(sandbox.read("deploy/current/b").len(), 15_000, "{what}");
    }
}

#[test]
fn contents_in_the_cache_are_corrupt_when_a_release_is_made_from_it_again_then_they_are_fetched_again() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let noise: String = (0_u64..20_000).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repo.commit(&[("a", &noise)]);
    deploy(&sandbox, &repo.remote("#main"), &[]).expect(0);
    // The commit is there, its tree too; a byte in the middle of the content is not what it was.
    let pack = fs::read_dir(cache(&sandbox).join("objects/pack")).unwrap().map(|e| e.unwrap().path());
    for pack in pack.filter(|p| p.extension().is_some_and(|e| e == "pack")) {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].iter_mut().for_each(|b| *b ^= 0xff);
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    fs::remove_dir_all(sandbox.store()).unwrap();
    fs::remove_file(sandbox.local()).unwrap();
    deploy(&sandbox, &repo.remote("#main"), &[]).expect(0).says("the cache is broken and made anew").says(DEPLOYED);
    assert!(sandbox.read("deploy/current/a") == noise);
}

#[test]
fn repository_is_replaced_by_another_of_the_same_name_then_that_is_deployed() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    deploy(&sandbox, &repo.remote("#main"), &[]).expect(0);
    fs::remove_dir_all(repo.bare()).unwrap();
    fs::remove_dir_all(repo.work()).unwrap();
    deploy(&sandbox, &repo.remote("#main"), &[]).expect(1).says(NOTHING_AT);
    let other = Repo::new(&sandbox, "app");
    other.commit(&[("b", "another")]);
    deploy(&sandbox, &other.remote("#main"), &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["b f 644 another"]);
}

#[test]
fn checkout_of_a_person_is_a_repository_and_what_is_not_committed_is_not_deployed() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    repo.write(&[("a", "not committed")]);
    let work = repo.work();
    for remote in
        [work.display().to_string(), format!("file://{}#main", work.display()), format!("{}/.git", work.display())]
    {
        deploy(&sandbox, &remote, &[]).expect(0);
        is_live(&sandbox, &["a f 644 1"]);
    }
    // A directory without a repository is copied as it is.
    fs::remove_dir_all(work.join(".git")).unwrap();
    deploy(&sandbox, &work.display().to_string(), &[]).expect(0);
    is_live(&sandbox, &["a f 644 not committed"]);
}

#[test]
fn repository_with_sha256_is_deployed() {
    let sandbox = Sandbox::new();
    for at in ["git/new.git", "work/new"] {
        fs::create_dir_all(sandbox.path(at)).unwrap();
    }
    let (bare, work) = (sandbox.path("git/new.git"), sandbox.path("work/new"));
    says(git(&bare).args(["init", "-q", "--bare", "-b", "main", "--object-format=sha256"]));
    says(git(&work).args(["init", "-q", "-b", "main", "--object-format=sha256"]));
    sandbox.write("work/new/d/a", "1");
    says(git(&work).args(["add", "-A"]));
    says(git(&work).args(["commit", "-q", "-m", "m"]));
    says(git(&work).args(["push", "-q", bare.to_str().unwrap(), "main"]));
    let commit = says(git(&work).args(["rev-parse", "HEAD"]));
    for remote in [format!("{}#main", bare.display()), format!("{}/d#{commit}", bare.display())] {
        deploy(&sandbox, &remote, &[]).expect(0).says(&commit);
    }
    is_live(&sandbox, &["a f 644 1"]);
}

#[test]
fn pointers_of_lfs_are_deployed_as_they_are_with_one_warning() {
    needs!("git-lfs");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.write(&[
        ("big/one.bin", "content one"),
        ("big/two.bin", "content two"),
        ("a", "1"),
        (".gitattributes", "*.bin filter=lfs\n"),
    ]);
    let clean = ["-c", "filter.lfs.clean=git-lfs clean -- %f", "-c", "filter.lfs.required=true", "add", "-A"];
    repo.git(&clean);
    repo.git(&["commit", "-q", "-m", "m"]);
    repo.git(&["push", "-q", repo.bare().to_str().unwrap(), "HEAD:main"]);
    let run = deploy(&sandbox, &repo.remote("#main"), &[])
        .expect(0)
        .says("big/one.bin is a pointer of Git LFS")
        .says("2 in all");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert!(sandbox.read("deploy/current/big/one.bin").starts_with("version https://git-lfs.github.com/spec/v1\n"));
}

#[test]
fn commits_must_be_signed_then_unsigned_and_strangers_are_refused_before_anything_is_unpacked() {
    needs!("ssh-keygen");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let (friend, stranger) = (key(&sandbox, "friend"), key(&sandbox, "stranger"));
    let public = fs::read_to_string(friend.with_extension("pub")).unwrap();
    let signers = sandbox.write("signers", format!("friend@example.com {public}"));
    let keys = [("verify-commit", signers.to_str().unwrap())];
    let remote = repo.remote("#main");
    let sign = |key: &Path, content: &str| {
        repo.write(&[("a", content)]);
        repo.git(&["add", "-A"]);
        let key = format!("user.signingKey={}", key.display());
        repo.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "-m", "m"]);
        repo.git(&["push", "-q", repo.bare().to_str().unwrap(), "HEAD:main"]);
    };
    repo.commit(&[("a", "unsigned")]);
    deploy(&sandbox, &remote, &keys).expect(1).says("has no good signature of anybody in").never_says(UNPACKED);
    sign(&stranger, "by a stranger");
    deploy(&sandbox, &remote, &keys).expect(1).says("has no good signature").never_says(UNPACKED);
    assert!(!sandbox.local().exists());
    sign(&friend, "by a friend");
    deploy(&sandbox, &remote, &keys).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 by a friend"]);
    // A signature that was cut from another commit.
    let signed = repo.git(&["cat-file", "commit", "HEAD"]);
    let forged = sandbox.write("forged", signed.replace("\nm", "\nforged") + "\n");
    let forged = repo.git(&["hash-object", "-t", "commit", "-w", forged.to_str().unwrap()]);
    repo.git(&["push", "-q", "--force", repo.bare().to_str().unwrap(), &format!("{forged}:refs/heads/main")]);
    deploy(&sandbox, &remote, &keys).expect(1).says("has no good signature");
    fs::set_permissions(&signers, fs::Permissions::from_mode(0o666)).unwrap();
    deploy(&sandbox, &remote, &keys).expect(1).says(OTHERS_MAY_WRITE).says("verify-commit");
    is_live(&sandbox, &["a f 644 by a friend"]);
}

#[test]
fn git_is_not_there_then_one_line_says_which_remote_needs_it_and_archives_go_on() {
    let sandbox = Sandbox::new();
    let run = |remote: &str| -> Run {
        let mut command = sandbox.command(&["--remote", remote]);
        command.env("PATH", sandbox.path("empty")).output().unwrap().into()
    };
    let failed = run("git@example.com:org/app.git#main").expect(78);
    assert_eq!(failed.log.lines().count(), 1, "{}", failed.log);
    failed.says(&format!("{CANNOT_USE} remote git@example.com:org/app.git#main: there is no git in PATH"));
    let zip = sandbox.zip("app.zip", &[("a", "1")]);
    run(zip.to_str().unwrap()).expect(0);
    is_live(&sandbox, &["a f 644 1"]);
}

#[test]
fn git_is_too_old_or_tells_no_version_then_one_line_names_it_and_nothing_is_asked() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let asked = sandbox.path("asked");
    for (answer, found) in [
        ("echo git version 2.30.2", "is 2.30.2: install git 2.32 or later"),
        ("echo git version 2.31.8", "is 2.31.8: install git 2.32 or later"),
        ("echo hello", "is unknown: install git 2.32 or later"),
        ("exit 1", "is unknown: install git 2.32 or later"),
    ] {
        let body = format!("#!/bin/sh\n[ \"$*\" = --version ] || echo \"$*\" > {}\n{answer}\n", asked.display());
        let fake = sandbox.write("bin/git", body);
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = sandbox.command(&["--remote", &repo.remote("#main")]);
        let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
        let run = Run::from(command.env("PATH", path).output().unwrap()).expect(78);
        assert_eq!(run.log.lines().count(), 1, "{}", run.log);
        run.says(&format!("{CANNOT_USE} remote {}", repo.remote("#main"))).says(found);
        assert!(!asked.exists(), "{answer}: {}", sandbox.read("asked"));
    }
}

#[test]
fn git_may_have_two_gibibytes_of_memory() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let fake = sandbox.write(
        "bin/git",
        "#!/bin/sh\n[ \"$*\" = --version ] && echo git version 2.47.3 || { ulimit -d >&2; exit 1; }\n",
    );
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command(&["--remote", "git://127.0.0.1:1/app.git#main"]);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    Run::from(command.env("PATH", path).output().unwrap()).expect(1).says("2097152");
}

#[test]
fn git_is_told_nothing_by_our_environment_or_by_files_of_the_host() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let told = sandbox.path("told");
    let touch = format!("touch {}", told.display());
    let config = format!(
        "[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\thooksPath = {}\n[credential]\n\thelper = !{touch}\n\
         [url \"/nowhere/\"]\n\tinsteadOf = /\n[uploadpack]\n\tpackObjectsHook = {touch}\n[alias]\n\tls-remote = !{touch}\n",
        sandbox.path("home/hooks").display()
    );
    for name in ["home/.gitconfig", "home/.config/git/config"] {
        sandbox.write(name, &config);
    }
    let mut command = sandbox.command(&["--remote", &repo.remote("#main")]);
    let file = sandbox.path("home/.gitconfig");
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", file.to_str().unwrap()),
        ("GIT_CONFIG_SYSTEM", file.to_str().unwrap()),
        ("GIT_CONFIG_PARAMETERS", "'core.fsmonitor=x'"),
        ("GIT_DIR", "/nowhere"),
        ("GIT_OBJECT_DIRECTORY", "/nowhere"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/nowhere"),
        ("GIT_NAMESPACE", "other"),
        ("GIT_SSH", &touch),
        ("GIT_SSH_COMMAND", &touch),
        ("GIT_PROXY_COMMAND", &touch),
        ("GIT_ASKPASS", &touch),
        ("SSH_ASKPASS", &touch),
        ("GIT_EXEC_PATH", "/nowhere"),
        ("GIT_TRACE", told.to_str().unwrap()),
        ("GIT_PROTOCOL", "version=0"),
        ("GIT_CONFIG_COUNT", "junk"),
        ("SUDO_UID", "1"),
        ("LC_ALL", "de_DE.UTF-8"),
        ("LANGUAGE", "de"),
        ("XDG_CONFIG_HOME", sandbox.path("home/.config").to_str().unwrap()),
    ] {
        command.env(name, value);
    }
    Run::from(command.output().unwrap()).expect(0);
    is_live(&sandbox, &["a f 644 1"]);
    assert!(!told.exists(), "{}", sandbox.read("told"));
}

#[test]
fn over_http_basic_credentials_come_from_url_file_and_netrc_and_never_stand_in_arguments() {
    needs!("nginx", "fcgiwrap", "openssl");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let hash = says(Command::new("openssl").args(["passwd", "-apr1", "hunter2"]));
    let users = sandbox.write("users", format!("deploy:{hash}\n"));
    let auth = format!("auth_basic x; auth_basic_user_file {};", users.display());
    let server = Smart::start(&sandbox, "", "", &auth);
    let url = server.nginx.url("/app.git#main");
    let with = |user: &str| url.replace("http://", &format!("http://{user}@"));
    let first = deploy(&sandbox, &url, &[]).expect(1).says("it asks who we are, and nothing is configured");
    assert_eq!(first.complaints().len(), 1, "{}", first.log);
    deploy(&sandbox, &with("deploy:wrong"), &[])
        .expect(1)
        .says("it does not let in user \"deploy\" from the remote's URL");
    deploy(&sandbox, &with("deploy:hunter2"), &[]).expect(0).never_says("hunter2");
    is_live(&sandbox, &["a f 644 1"]);
    let file = |name: &str, text: &str| {
        let path = sandbox.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let password = file("password", "wrong\n");
    let keys = [("http-user", "deploy"), ("http-password-file", password.as_str())];
    repo.commit(&[("a", "2")]);
    deploy(&sandbox, &url, &keys).expect(1).says("does not let in");
    file("password", "hunter2\n"); // read again at every check
    deploy(&sandbox, &url, &keys).expect(0).says(DEPLOYED);
    let netrc = file("netrc", "machine 127.0.0.1 login deploy password hunter2\n");
    repo.commit(&[("a", "3")]);
    deploy(&sandbox, &url, &[("netrc", &netrc)]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 3"]);
    // What git is started with, and what the cache keeps.
    repo.commit(&[("a", "4")]);
    let trace = sandbox.path("trace");
    let command = sandbox.command(&["--remote", &with("deploy:hunter2")]);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-s", "1000", "-e", "trace=execve", "-o"])
        .arg(&trace)
        .arg(command.get_program())
        .args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    Run::from(strace.output().unwrap()).expect(0);
    let execs: Vec<String> = sandbox
        .read("trace")
        .lines()
        .filter(|l| l.contains("\"git\"") || l.contains("git-"))
        .map(str::to_owned)
        .collect();
    assert!(execs.len() > 4 && execs.iter().all(|l| !l.contains("hunter2") && !l.contains("ZGVwbG95")), "{execs:?}");
    let kept = Command::new("grep")
        .args(["-rlE", "hunter2|ZGVwbG95"])
        .args([sandbox.path("cache"), sandbox.path("deploy")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "");
}

#[test]
fn over_https_an_authority_of_our_own_is_believed_when_it_is_named() {
    needs!("nginx", "fcgiwrap", "openssl");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let authority = Authority::new(&sandbox);
    let certificate = authority.certificate("IP:127.0.0.1", &[]);
    let server = Smart::start(&sandbox, "ssl", &certificate, "");
    let url = server.nginx.https("127.0.0.1", "/app.git#main");
    deploy(&sandbox, &url, &[]).expect(1).says("certificate").says("ca-file");
    let ca = authority.ca().display().to_string();
    deploy(&sandbox, &url, &[("ca-file", &ca)]).expect(0);
    is_live(&sandbox, &["a f 644 1"]);
    repo.commit(&[("a", "2")]);
    let mut command = sandbox.command(&["--remote", &url]);
    sandbox.write("repo-deploy.cfg", "id = app\n");
    Run::from(command.env("SSL_CERT_FILE", &ca).output().unwrap()).expect(0);
    is_live(&sandbox, &["a f 644 2"]);
    deploy(&sandbox, &server.nginx.https("localhost", "/app.git#main"), &[("ca-file", &ca)])
        .expect(1)
        .says("certificate");
}

#[test]
fn server_sends_us_elsewhere_then_the_line_says_so_and_nobody_goes_there() {
    needs!("nginx", "fcgiwrap");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let server = Smart::start(&sandbox, "", "rewrite ^/old.git/(.*)$ /app.git/$1 redirect;", "");
    deploy(&sandbox, &server.nginx.url("/old.git#main"), &[]).expect(1).says("redirects are not followed");
    assert!(!server.log().iter().any(|line| line.contains("/app.git")), "{:?}", server.log());
    deploy(&sandbox, &server.nginx.url("/none.git#main"), &[]).expect(1).says("no such repository");
}

#[test]
fn the_default_branch_is_meant_then_no_master_is_in_its_way() {
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "of main")]);
    says(git(&repo.bare()).args(["symbolic-ref", "HEAD", "refs/heads/main"]));
    repo.write(&[("a", "of master")]);
    repo.push_to("refs/heads/master");
    deploy(&sandbox, &repo.remote("#HEAD"), &[]).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 of main"]);
    says(git(&repo.bare()).args(["symbolic-ref", "HEAD", "refs/heads/gone"]));
    deploy(&sandbox, &repo.remote("#HEAD"), &[]).expect(1).says("its HEAD names no branch that is there");
    is_live(&sandbox, &["a f 644 of main"]);
}

#[test]
fn ssh_gives_a_reason_then_it_stands_in_the_line() {
    let sandbox = Sandbox::new();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    for (reason, advice) in [
        ("No user exists for uid 12345", "ssh wants a line in /etc/passwd"),
        ("Bad owner or permissions on /root/.ssh/config", ""),
        ("Load key \"/k\": error in libcrypto", ""),
    ] {
        // A warning comes first, and what ssh has to say is not the last line.
        let ssh = format!("#!/bin/sh\necho 'Warning: a matter of taste' >&2\necho '{reason}' >&2\nexit 255\n");
        fs::set_permissions(sandbox.write("bin/ssh", ssh), fs::Permissions::from_mode(0o755)).unwrap();
        let mut check = sandbox.command(&["--remote", "git@git.example.com:org/app.git"]);
        Run::from(check.env("PATH", &path).output().unwrap()).expect(1).says(reason).says(advice);
    }
}

#[test]
fn over_ssh_the_key_and_the_hosts_key_decide() {
    needs!("sshd", "ssh-keygen", "ssh");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1"), ("web/b", "1")]);
    let [host, other, user, wrong] = ["host key", "other", "user key", "wrong"].map(|name| key(&sandbox, name));
    let server = Server::sshd(&sandbox, &host, &user);
    let hosts = sandbox.write("ssh/known hosts", known(server.port, &host));
    let [user, wrong, hosts] = [&user, &wrong, &hosts].map(|path| path.to_str().unwrap());
    let remote = format!("ssh://root@127.0.0.1:{}{}", server.port, repo.bare().display());
    let good = [("ssh-key", user), ("ssh-known-hosts", hosts)];
    deploy(&sandbox, &format!("{remote}#main"), &good).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["a f 644 1", "web/b f 644 1"]);
    deploy(&sandbox, &format!("{remote}/web#main"), &good).expect(0).says(DEPLOYED);
    is_live(&sandbox, &["b f 644 1"]);
    repo.commit(&[("web/b", "2")]);
    deploy(&sandbox, &format!("{remote}/web#main"), &[("ssh-key", wrong), ("ssh-known-hosts", hosts)])
        .expect(1)
        .says("it does not let in the key")
        .says("wrong");
    deploy(&sandbox, &remote.replace("app.git", "none.git"), &good).expect(1).says("no such repository");
    // A host that is not known, and one whose key is another.
    let empty = sandbox.write("ssh/empty", "").display().to_string();
    deploy(&sandbox, &remote, &[("ssh-key", user), ("ssh-known-hosts", &empty)])
        .expect(1)
        .says("the host's key is not known")
        .says("ssh-strict");
    let changed = sandbox.write("ssh/changed", known(server.port, &other)).display().to_string();
    for strict in ["yes", "no"] {
        let keys = [("ssh-key", user), ("ssh-known-hosts", changed.as_str()), ("ssh-strict", strict)];
        deploy(&sandbox, &remote, &keys).expect(1).says("the host's key is not the one that is known");
    }
    is_live(&sandbox, &["b f 644 1"]);
    // Believed once, and then held to it.
    let keys = [("ssh-key", user), ("ssh-known-hosts", empty.as_str()), ("ssh-strict", "no")];
    deploy(&sandbox, &format!("{remote}/web#main"), &keys).expect(0).says(DEPLOYED);
    assert!(sandbox.read("ssh/empty").contains("ssh-ed25519"));
    is_live(&sandbox, &["b f 644 2"]);
    // A key that others may write decides nothing.
    let loose = sandbox.write("ssh/loose", known(server.port, &host));
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o666)).unwrap();
    deploy(&sandbox, &remote, &[("ssh-key", user), ("ssh-known-hosts", loose.to_str().unwrap())])
        .expect(1)
        .says(OTHERS_MAY_WRITE)
        .says("ssh-known-hosts");
    for bad in ["/x/$(id)", "/x/a\"b", "/x/%d", "/x/a'b"] {
        deploy(&sandbox, &remote, &[("ssh-key", bad)]).expect(78).says("ssh cannot take a path");
    }
}

#[test]
fn the_user_that_runs_it_may_not_read_the_key_then_one_line_says_so() {
    needs!(root, "git", "ssh-keygen");
    let sandbox = Sandbox::new();
    let user = key(&sandbox, "user").display().to_string();
    sandbox.write("repo-deploy.cfg", format!("ssh-key = {user}\n"));
    give(&sandbox.path("deploy"));
    let remote = "ssh://root@127.0.0.1/app.git";
    for (words, code) in [(&["-f"][..], 1), (&["validate"], 78)] {
        let mut command = sandbox.saying(words, &["--remote", remote]);
        let run = Run::from(command.uid(HIM).gid(HIM).output().unwrap()).expect(code);
        let said = format!("{}{}", run.out, run.log);
        assert!(said.contains(&format!("{CANNOT_USE} ssh-key {user}: permission denied")), "{said}");
    }
}

#[test]
fn credentials_stay_with_the_host_of_the_parent() {
    needs!("nginx", "fcgiwrap", "openssl");
    let sandbox = Sandbox::new();
    let (lib, repo) = (Repo::new(&sandbox, "lib"), Repo::new(&sandbox, "app"));
    let commit = lib.commit(&[("l", "1")]);
    repo.commit(&[("a", "1")]);
    // This one answers 418 to whoever brings credentials.
    let other =
        Smart::start(&sandbox, "", "if ($http_authorization) { return 418; } if ($http_x_token) { return 418; }", "");
    let url = other.nginx.url("/lib.git");
    repo.module("lib", &url, &commit);
    let home = Sandbox::at(&sandbox.path("second"));
    let _ = fs::remove_dir_all(home.path("git")); // there is none
    std::os::unix::fs::symlink(sandbox.path("git"), home.path("git")).unwrap();
    let server = Smart::start(&home, "", "if ($http_x_token != t) { return 403; }", "");
    let keys = [("http-user", "u"), ("http-password", "p"), ("http-header", "X-Token: t")];
    deploy(&sandbox, &server.nginx.url("/app.git#main"), &keys).expect(0).says(DEPLOYED);
    assert!(live(&sandbox).contains(&"lib/l f 644 1".to_owned()));
}

#[test]
fn a_hundred_and_fifty_updates_then_the_cache_is_bounded() {
    needs!(time);
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    let mut sizes = BTreeMap::new();
    for n in 0..150 {
        repo.commit(&[("a", &n.to_string())]);
        deploy(&sandbox, &repo.remote("#main"), &[]).expect(0);
        let packs = fs::read_dir(cache(&sandbox).join("objects/pack")).unwrap().count();
        sizes.insert(n, (packs, size(&cache(&sandbox))));
    }
    let most = sizes.values().map(|(packs, _)| *packs).max().unwrap();
    let largest = sizes.values().map(|(_, size)| *size).max().unwrap();
    // A pack has two files beside it.
    assert!(most <= 3 * 102 && largest < 1_000_000, "{most} files, {largest} bytes");
    assert!(sizes[&149].0 < most, "it was never made anew: {sizes:?}");
}

#[test]
fn host_that_nobody_listens_on_then_one_line_within_the_time() {
    let sandbox = Sandbox::new();
    let port = closed_port();
    for url in [
        format!("http://127.0.0.1:{port}/x.git"),
        format!("git://127.0.0.1:{port}/x.git"),
        format!("ssh://127.0.0.1:{port}/x.git"),
    ] {
        let run =
            deploy(&sandbox, &url, &[("timeout", "1")]).expect(1).says(CANNOT_POLL).says("the host cannot be reached");
        assert_eq!(run.complaints().len(), 1, "{}", run.log);
    }
}
