//! Hostile repositories, URLs and refs: nothing runs, nothing is written outside of the store and the cache, what is live
//! stays. What would show it is a tell-tale file that every one of them tries to make.
//!
//! To add one: a URL or ref goes into the table of the test that fits; a repository is made by code, by hand where git
//! refuses to make it (`raw`), and goes through `refused` or `harmless`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::memory::{BUDGET, peak, stays_within};
use crate::support::git_servers::{Repo, Server, deploy, git, says};
use crate::support::needs::needs;
use crate::support::phrases::{BELONGS_TO, CANNOT_FETCH};
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::servers::Raw;
use crate::support::servers::Step;

/// A sandbox with a live release, and a place that nobody may write to.
struct Target {
    sandbox: Sandbox,
}

impl Target {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let zip = sandbox.zip("live.zip", &[("live", "before")]);
        deploy(&sandbox, zip.to_str().unwrap(), &[]).expect(0);
        Self { sandbox }
    }

    /// What must never be made.
    fn tell_tale(&self) -> PathBuf {
        self.sandbox.path("tell-tale")
    }

    /// A command that makes it.
    fn touch(&self) -> String {
        format!("touch {}", self.tell_tale().display())
    }

    #[track_caller]
    fn unharmed(&self, what: &str, run: &Run) {
        assert!(!self.tell_tale().exists(), "{what}: something ran:\n{}", run.log);
        assert!(!run.log.contains("panicked"), "{what}: {}", run.log);
        for place in ["tell-tale", "deploy/tell-tale", "deploy/escaped", "escaped", "cache/escaped"] {
            assert!(!self.sandbox.path(place).exists(), "{what}: {place} was written:\n{}", run.log);
        }
        let partial = self.sandbox.store().join("partial");
        assert_eq!(fs::read_dir(partial).unwrap().count(), 0, "{what}: something is left in partial");
    }

    /// It is not deployed, with one line that says why.
    #[track_caller]
    fn refused(&self, what: &str, remote: &str, words: &str) {
        let run = deploy(&self.sandbox, remote, &[("timeout", "20")]);
        assert!(run.code == 1 || run.code == 78, "{what}: exit code {}:\n{}", run.code, run.log);
        assert!(run.log.contains(words), "{what}: the log should say {words:?}:\n{}", run.log);
        let errors = run.log.lines().filter(|line| line.contains(" ERROR ")).count();
        assert_eq!(errors, 1, "{what}: {}", run.log);
        self.unharmed(what, &run);
        assert_eq!(self.sandbox.read("deploy/current/live"), "before", "{what}");
    }

    /// It is deployed, and does nothing else.
    #[track_caller]
    fn harmless(&self, what: &str, remote: &str) {
        let run = deploy(&self.sandbox, remote, &[("timeout", "20")]);
        assert_eq!(run.code, 0, "{what}: {}", run.log);
        self.unharmed(what, &run);
    }
}

#[test]
fn urls_that_are_commands_options_or_helpers_are_refused_and_run_nothing() {
    let target = Target::new();
    let touch = target.touch();
    let program = target.sandbox.write("helper", format!("#!/bin/sh\n{touch}\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display();
    for url in [
        format!("ext::sh -c {}", touch.replace(' ', "% ")),
        format!("ext::{program}"),
        format!("ext::{program} x.git"),
        "fd::17".to_owned(),
        format!("testgit::{program}/x.git"),
        "http::http://127.0.0.1:1/x.git".to_owned(),
        format!("--upload-pack={program}"),
        format!("--upload-pack={program}/x.git"),
        format!("-u{program}:x.git"),
        format!("-oProxyCommand={program}:x.git"),
        format!("-oProxyCommand={program}@host:x.git"),
        format!("ssh://-oProxyCommand={program}/x.git"),
        format!("ssh://-oProxyCommand={program}@host/x.git"),
        format!("ssh://user@-oProxyCommand={program}/x.git"),
        format!("user@-oProxyCommand={program}:x.git"),
        format!("git+ssh://-oProxyCommand={program}/x.git"),
        format!("ssh://$({program})/x.git"),
        format!("ssh://host;{program}/x.git"),
        format!("ssh://`{program}`@host/x.git"),
        format!("user@host`{program}`:x.git"),
        "ssh://127.0.0.1:1/-x.git".to_owned(),
        format!("user@127.0.0.1:--upload-pack={program}"),
        "git://-h/x.git".to_owned(),
        "git://127.0.0.1:1/../../x.git".to_owned(),
        format!("git+ext://{program}/x.git"),
        format!("file://host{program}/x.git"),
        "https://-host/x.git".to_owned(),
        "https://host/x.git?--upload-pack".to_owned(),
        "git+https://host/%2e%2e/x".to_owned(),
    ] {
        // A value that begins with - is attached, or it would be an option of ours.
        let run: Run = target.sandbox.command(&[&format!("--remote={url}")]).output().unwrap().into();
        assert_eq!(run.code, 78, "{url}: {}", run.log);
        assert_eq!(run.log.lines().count(), 1, "{url}: {}", run.log);
        target.unharmed(&url, &run);
    }
}

#[test]
fn refs_and_paths_that_are_options_or_patterns_are_refused_and_run_nothing() {
    let target = Target::new();
    let repo = Repo::new(&target.sandbox, "app");
    repo.commit(&[("a", "1")]);
    let touch = target.touch();
    for rest in [
        format!("#--upload-pack={touch}"),
        format!("#--exec={touch}"),
        "#-c".to_owned(),
        "#".to_owned(),
        "#a..b".to_owned(),
        "#main:refs/heads/x".to_owned(),
        "#+main".to_owned() + ":x",
        "#main^{/x}".to_owned(),
        "#main~1".to_owned(),
        "#@{u}".to_owned(),
        "#refs/heads/*".to_owned(),
        "#ma[i]n".to_owned(),
        "#a\\b".to_owned(),
        "#.hidden".to_owned(),
        "#x.lock".to_owned(),
        "/..#main".to_owned(),
        "/a/../../etc#main".to_owned(),
        "/-x#main".to_owned(),
        "/:(top)/..#main".to_owned(),
    ] {
        target.refused(&rest, &repo.remote(&rest), "remote ");
    }
    // Taken as they stand, and not there.
    for rest in ["#$(id)", "#`id`", "#;id", "#|id", "#main%00", "/:(glob)x#main", "/:!x#main", "/$(id)#main", "/*#main"]
    {
        target.refused(rest, &repo.remote(rest), "there is ");
    }
}

/// Stores an object as it is, however wrong it is.
fn raw(repo: &Repo<'_>, kind: &str, content: &[u8]) -> String {
    let mut child = git(&repo.bare())
        .args(["hash-object", "-t", kind, "--stdin", "--literally", "-w"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A tree of `mode name` with an object each, in that order.
fn raw_tree(repo: &Repo<'_>, entries: &[(&str, &[u8], &str)]) -> String {
    let mut content = Vec::new();
    for (mode, name, object) in entries {
        content.extend_from_slice(mode.as_bytes());
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(0);
        content.extend((0..object.len()).step_by(2).map(|at| u8::from_str_radix(&object[at..at + 2], 16).unwrap()));
    }
    raw(repo, "tree", &content)
}

/// Makes `main` a commit of a tree.
fn raw_commit(repo: &Repo<'_>, tree: &str) {
    let text = format!("tree {tree}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nm\n");
    let commit = raw(repo, "commit", text.as_bytes());
    fs::write(repo.bare().join("refs/heads/main"), format!("{commit}\n")).unwrap();
}

fn tree_of(target: &Target) -> std::collections::BTreeMap<String, String> {
    tree(&target.sandbox.local())
}

#[test]
fn trees_with_names_modes_and_links_that_git_would_not_make_are_refused() {
    let target = Target::new();
    let repo = Repo::new(&target.sandbox, "app");
    repo.commit(&[("a", "1")]);
    let blob = raw(&repo, "blob", b"escaped");
    let outside = raw(&repo, "blob", b"../../../..");
    let absolute = raw(&repo, "blob", b"/etc");
    let nul = raw(&repo, "blob", b"a\0b");
    let long_link = raw(&repo, "blob", &vec![b'x'; 5000]);
    let inner = raw_tree(&repo, &[("100644", b"escaped", &blob)]);
    let long = vec![b'n'; 5000];
    let component = vec![b'c'; 300];
    type Entries<'a> = Vec<(&'a str, &'a [u8], &'a str)>;
    let trees: Vec<(&str, Entries<'_>)> = vec![
        ("..", vec![("40000", b"..", &inner)]),
        (".", vec![("40000", b".", &inner)]),
        ("../escaped", vec![("100644", b"../escaped", &blob)]),
        ("a slash", vec![("100644", b"d/escaped", &blob)]),
        ("absolute", vec![("100644", b"/tmp/escaped", &blob)]),
        ("an empty name", vec![("100644", b"", &blob)]),
        (".git", vec![("40000", b".git", &inner)]),
        (".GIT", vec![("40000", b".GiT", &inner)]),
        ("git~1", vec![("40000", b"git~1", &inner)]),
        ("twice", vec![("100644", b"a", &blob), ("100644", b"a", &blob)]),
        ("a file and a directory", vec![("100644", b"a", &blob), ("40000", b"a", &inner)]),
        ("a link and a directory of its name", vec![("120000", b"a", &outside), ("40000", b"a", &inner)]),
        ("a newline", vec![("100644", b"a\nb", &blob)]),
        ("an escape", vec![("100644", b"a\x1b[2Jb", &blob)]),
        ("no UTF-8", vec![("100644", b"a\xff", &blob)]),
        ("a long name", vec![("100644", &long, &blob)]),
        ("a long component", vec![("100644", &component, &blob)]),
        ("our own name", vec![("100644", b".repo-deploy-0123456789abcdef", &blob)]),
        ("a link outside", vec![("120000", b"out", &outside)]),
        ("an absolute link", vec![("120000", b"out", &absolute)]),
        ("a link with a NUL", vec![("120000", b"out", &nul)]),
        ("a link without an end", vec![("120000", b"out", &long_link)]),
        ("a device", vec![("20666", b"a", &blob)]),
        ("a FIFO", vec![("10644", b"a", &blob)]),
        ("a blob as a tree", vec![("40000", b"a", &blob)]),
        ("a tree as a blob", vec![("100644", b"a", &inner)]),
        ("a missing blob", vec![("100644", b"a", "0123456789012345678901234567890123456789")]),
        ("a missing tree", vec![("40000", b"a", "0123456789012345678901234567890123456789")]),
        ("nothing", vec![]),
    ];
    for (what, entries) in &trees {
        let tree = raw_tree(&repo, entries);
        raw_commit(&repo, &tree);
        target.refused(what, &repo.remote("#main"), "cannot ");
    }
    assert!(trees.len() >= 29);
    for mode in ["104755", "100777"] {
        let tree = raw_tree(&repo, &[(mode, b"a", &blob)]);
        raw_commit(&repo, &tree);
        target.harmless(mode, &repo.remote("#main"));
        assert_eq!(tree_of(&target)["a"], "f 755 escaped");
    }
    raw_commit(&repo, &raw_tree(&repo, &[("100644", b"..\\escaped", &blob)]));
    target.harmless("a backslash", &repo.remote("#main"));
    assert_eq!(tree_of(&target)["..\\escaped"], "f 644 escaped");
}

#[test]
fn trees_within_trees_without_number_or_end_are_refused_in_time() {
    let target = Target::new();
    let repo = Repo::new(&target.sandbox, "app");
    repo.commit(&[("a", "1")]);
    let blob = raw(&repo, "blob", b"x");
    // Ten to the power of ten files in eleven objects.
    let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
    let mut tree = raw_tree(&repo, &[("100644", b"f", &blob)]);
    for _ in 0..10 {
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("40000", name.as_bytes(), tree.as_str())).collect();
        tree = raw_tree(&repo, &entries);
    }
    raw_commit(&repo, &tree);
    target.refused("a bomb of trees", &repo.remote("#main"), "max-files");
    let mut tree = raw_tree(&repo, &[("100644", b"f", &blob)]);
    for _ in 0..200 {
        tree = raw_tree(&repo, &[("40000", b"d", &tree)]);
    }
    raw_commit(&repo, &tree);
    target.refused("a very deep tree", &repo.remote("#main"), "deep");
    // Short objects, long names: sixty megabytes of them here, and as many more as somebody likes.
    let empty = raw(&repo, "blob", b"");
    let names: Vec<String> = (0..1000).map(|n| format!("f{n:03}")).collect();
    let entries: Vec<(&str, &[u8], &str)> =
        names.iter().map(|name| ("100644", name.as_bytes(), empty.as_str())).collect();
    let mut tree = raw_tree(&repo, &entries);
    let long = vec![b'd'; 4000];
    for _ in 0..16 {
        tree = raw_tree(&repo, &[("40000", &long, &tree)]);
    }
    raw_commit(&repo, &tree);
    target.refused("long names", &repo.remote("#main"), "a name in it is longer than 1024 bytes");
    // Names that are just short enough, and 64 MiB of them and more.
    let mut tree = raw_tree(&repo, &entries);
    let names: Vec<String> = (0..9).map(|n| format!("{n}{}", "d".repeat(240))).collect();
    for _ in 0..3 {
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("40000", name.as_bytes(), tree.as_str())).collect();
        tree = raw_tree(&repo, &entries);
    }
    raw_commit(&repo, &tree);
    target.refused(
        "many long names",
        &repo.remote("#main"),
        "with it names and link texts are over max-names = 64.0 MiB",
    );
    // One blob, many names: the limit counts what is written.
    let large = raw(&repo, "blob", &vec![b'0'; 1 << 20]);
    let names: Vec<String> = (0..200).map(|n| format!("f{n:03}")).collect();
    let entries: Vec<(&str, &[u8], &str)> =
        names.iter().map(|name| ("100644", name.as_bytes(), large.as_str())).collect();
    let tree = raw_tree(&repo, &entries);
    raw_commit(&repo, &tree);
    let run =
        deploy(&target.sandbox, &repo.remote("#main"), &[("max-unpacked", "100M")]).expect(1).says("over max-unpacked");
    target.unharmed("a bomb of contents", &run);
}

#[test]
fn a_tree_that_is_in_it_many_times_then_memory_stays_within_the_budget() {
    needs!("time");
    let sandbox = Sandbox::new();
    let repo = Repo::new(&sandbox, "app");
    repo.commit(&[("a", "1")]);
    let (empty, link) = (raw(&repo, "blob", b""), raw(&repo, "blob", &[b'l'; 255]));
    let mut tree = raw_tree(&repo, &[("100644", b"f", &empty), ("120000", b"l", &link)]);
    // Two members three deep, with directories that no member names: 8 * 8 * 8 * (2 * 736 + 255 + 734) bytes and a little.
    let names: Vec<String> = (0..8).map(|n| format!("{n}{}", "d".repeat(243))).collect();
    for _ in 0..3 {
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("40000", name.as_bytes(), tree.as_str())).collect();
        tree = raw_tree(&repo, &entries);
    }
    raw_commit(&repo, &tree);
    sandbox.write("repo-deploy.cfg", format!("max-names = {BUDGET}\n"));
    let floor = {
        let small = Repo::new(&sandbox, "small");
        small.commit(&[("a", "1")]);
        let (run, kib) = peak(&sandbox, &sandbox.command(&["--remote", &small.remote("#main")]));
        run.expect(0);
        kib
    };
    let remote = repo.remote("#main");
    let args = ["--remote", remote.as_str()];
    stays_within(&sandbox, &sandbox.saying(&["plan", "-v"], &args), 10, floor);
    stays_within(&sandbox, &sandbox.command(&args), 0, floor);
    stays_within(&sandbox, &sandbox.saying(&["verify"], &args), 0, floor);
    let other = Sandbox::new();
    other.write("repo-deploy.cfg", format!("max-names = {}\n", BUDGET / 8));
    let run = stays_within(&other, &other.command(&args), 1, floor);
    run.says("member ").says("with it names and link texts are over max-names = 256.0 KiB");
}

#[test]
fn submodules_with_urls_that_are_commands_or_leave_their_transport_are_refused() {
    let target = Target::new();
    let (sandbox, touch) = (&target.sandbox, target.touch());
    let lib = Repo::new(sandbox, "lib");
    let commit = lib.commit(&[("l", "1")]);
    let server = Server::daemon(sandbox);
    for (n, url) in (0..).zip([
        format!("ext::sh -c {}", touch.replace(' ', "% ")),
        format!("--upload-pack={touch}"),
        format!("-u{touch}"),
        format!("ssh://-oProxyCommand={touch}/x"),
        format!("-oProxyCommand={touch}:x"),
        format!("user@-oProxyCommand={touch}:x"),
        format!("ssh://$({touch})/x"),
        lib.bare().display().to_string(),
        format!("file://{}", lib.bare().display()),
        "http://127.0.0.1:1/x.git".to_owned(),
        "ftp://127.0.0.1/x.git".to_owned(),
        "../../../../../etc".to_owned(),
        "./../..".to_owned(),
        "..".to_owned(),
        String::new(),
        "x\u{7f}y://".to_owned(),
    ]) {
        let name = format!("app{n}");
        let repo = Repo::new(sandbox, &name);
        repo.commit(&[("a", "1")]);
        repo.module("lib", &url, &commit);
        let remote = format!("git://127.0.0.1:{}/{name}.git#main", server.port);
        target.refused(&url, &remote, CANNOT_FETCH);
    }
}

#[test]
fn gitmodules_that_is_a_link_lies_or_includes_is_refused_or_harmless() {
    let target = Target::new();
    let sandbox = &target.sandbox;
    let lib = Repo::new(sandbox, "lib");
    let commit = lib.commit(&[("l", "1")]);
    let repo = Repo::new(sandbox, "app");
    let secret =
        sandbox.write("secret", format!("[submodule \"x\"]\n\tpath = lib\n\turl = {}\n", lib.bare().display()));
    let with = |gitmodules: &str| {
        let (mode, text) = gitmodules.strip_prefix("-> ").map_or(("100644", gitmodules), |target| ("120000", target));
        let blob = raw(&repo, "blob", text.as_bytes());
        let tree = raw_tree(&repo, &[(mode, b".gitmodules", &blob), ("160000", b"lib", &commit)]);
        raw_commit(&repo, &tree);
    };
    repo.commit(&[("a", "1")]);
    for (what, text) in [
        ("a link", format!("-> {}", secret.display())),
        ("an include", format!("[include]\n\tpath = {}\n", secret.display())),
        ("broken", "[submodule \"x\n".to_owned()),
        ("no URL", "[submodule \"x\"]\n\tpath = lib\n".to_owned()),
        ("another path", format!("[submodule \"x\"]\n\tpath = other\n\turl = {}\n", lib.bare().display())),
        ("a path outside", format!("[submodule \"x\"]\n\tpath = ../lib\n\turl = {}\n", lib.bare().display())),
        ("nothing", String::new()),
    ] {
        with(&text);
        target.refused(what, &repo.remote("#main"), CANNOT_FETCH);
    }
    let long = "# a line\n".repeat(250_000);
    with(&format!("[submodule \"x\"]\n\tpath = lib\n\turl = {}\n{long}", lib.bare().display()));
    target.refused("two megabytes", &repo.remote("#main"), ".gitmodules is larger than 1048576 bytes");
    let touch = target.touch();
    with(&format!(
        "[submodule \"../../x\"]\n\tpath = lib\n\turl = {}\n\tupdate = !{touch}\n\tfetchRecurseSubmodules = true\n\
         [core]\n\tsshCommand = {touch}\n\tfsmonitor = {touch}\n\thooksPath = .\n[alias]\n\tfetch = !{touch}\n",
        lib.bare().display()
    ));
    // fsck knows the name that leads outside, and the command.
    target.refused("an update command", &repo.remote("#main"), CANNOT_FETCH);
    with(&format!(
        "[submodule \"x\"]\n\tpath = lib\n\turl = {}\n[core]\n\tsshCommand = {touch}\n\tfsmonitor = {touch}\n",
        lib.bare().display()
    ));
    target.harmless("keys that are not ours to read", &repo.remote("#main"));
    assert_eq!(sandbox.read("deploy/current/lib/l"), "1");
}

#[test]
fn hooks_attributes_filters_and_configuration_of_a_repository_do_nothing() {
    let target = Target::new();
    let (sandbox, touch) = (&target.sandbox, target.touch());
    let repo = Repo::new(sandbox, "app");
    let program = format!("#!/bin/sh\n{touch}\n");
    repo.commit(&[
        ("a.txt", "text\nas it is\n"),
        (".gitattributes", "* text eol=crlf filter=evil ident export-ignore\n"),
        ("$Id", "$Id$"),
        (".gitconfig", &format!("[core]\n\tfsmonitor = {touch}\n[filter \"evil\"]\n\tsmudge = {touch}\n")),
        ("hooks/post-checkout", &program),
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", &format!("[core]\n\tbare = true\n\tfsmonitor = {touch}\n")),
        ("objects/x", "x"),
        ("refs/x", "x"),
    ]);
    // The remote's own hooks and configuration, which its owner (us) could have left there.
    for hook in ["post-upload-pack", "pre-receive", "post-update", "reference-transaction", "fsmonitor-watchman"] {
        let path = repo.bare().join("hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &program).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (key, value) in [
        ("core.fsmonitor", touch.as_str()),
        ("core.sshCommand", &touch),
        ("core.gitProxy", &touch),
        ("core.alternateRefsCommand", &touch),
        ("core.hooksPath", repo.bare().join("hooks").to_str().unwrap()),
        ("uploadpack.packObjectsHook", &touch),
        ("credential.helper", &format!("!{touch}")),
        ("filter.evil.smudge", &touch),
        ("alias.upload-pack", &format!("!{touch}")),
    ] {
        says(git(&repo.bare()).args(["config", key, value]));
    }
    target.harmless("hooks and filters", &repo.remote("#main"));
    let live = tree(&sandbox.local());
    assert_eq!(live["a.txt"], "f 644 text\nas it is\n");
    assert_eq!(live["$Id"], "f 644 $Id$");
    assert_eq!(live["hooks/post-checkout"], format!("f 644 {program}").replace("644", "755"));
}

#[test]
fn objects_that_are_replaced_or_grafted_are_read_as_they_are() {
    let target = Target::new();
    let repo = Repo::new(&target.sandbox, "app");
    let good = repo.commit(&[("a", "good")]);
    let evil = repo.commit(&[("a", "evil")]);
    repo.git(&["push", "-q", "--force", repo.bare().to_str().unwrap(), &format!("{good}:refs/heads/main")]);
    says(git(&repo.bare()).args(["update-ref", &format!("refs/replace/{good}"), &evil]));
    target.harmless("a replaced commit", &repo.remote("#main"));
    assert_eq!(target.sandbox.read("deploy/current/a"), "good");
}

#[test]
fn servers_that_lie_about_refs_or_never_stop_talking_cost_a_line_and_no_more() {
    let target = Target::new();
    let pkt = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let refs = |rows: &str| {
        let body = format!("{}0000{rows}0000", pkt("# service=git-upload-pack\n"));
        crate::support::servers::ok("Content-Type: application/x-git-upload-pack-advertisement", body.as_bytes())
    };
    let object = "0123456789012345678901234567890123456789";
    let caps = "\0side-band-64k ofs-delta shallow agent=x";
    let answers: Vec<(&str, Step)> = vec![
        ("no commit", refs(&pkt(&format!("--upload-pack=x HEAD{caps}\n")))),
        ("a ref with a newline", refs(&pkt(&format!("{object} refs/heads/main\n{object}\trefs/heads/master{caps}\n")))),
        ("a commit that is not there", refs(&pkt(&format!("{object} refs/heads/main{caps}\n")))),
        ("an error with escapes", refs(&pkt("ERR \u{1b}]0;x\u{7}\u{1b}[2J\u{8}x"))),
        ("no protocol", crate::support::servers::ok("", b"<html>welcome</html>")),
        (
            "a dumb server",
            crate::support::servers::ok("Content-Type: text/plain", format!("{object}\trefs/heads/main\n").as_bytes()),
        ),
        ("a bundle", crate::support::servers::ok("", b"# v2 git bundle\n")),
        ("half a line", refs("00ff0123")),
        ("a length that is none", refs("zzzz")),
        ("a protocol of the future", refs(&pkt("version 99\n"))),
    ];
    for (what, answer) in answers {
        let server = Raw::always(answer);
        target.refused(what, &format!("{}#main", server.url("/x.git")), "cannot ");
    }
    // A hundred megabytes of refs.
    let mut rows = String::new();
    for n in 0..20_000 {
        rows += &pkt(&format!("{object} refs/heads/main{n:05}{}\n", if n == 0 { caps } else { "" }));
    }
    let server = Raw::always(refs(&rows));
    target.refused("many refs", &format!("{}#main", server.url("/x.git")), "neither a branch nor a tag");
}

#[test]
fn local_things_that_are_no_repository_are_not_asked() {
    let target = Target::new();
    let sandbox = &target.sandbox;
    let bundle = sandbox.write("bundle.git", "# v2 git bundle\n");
    target.refused("a bundle", bundle.to_str().unwrap(), "it is no directory");
    fs::create_dir(sandbox.path("empty.git")).unwrap();
    target.refused("an empty directory", sandbox.path("empty.git").to_str().unwrap(), "no such repository");
    let status = Command::new("mkfifo").arg(sandbox.path("fifo.git")).status().unwrap();
    assert!(status.success());
    target.refused("a FIFO", sandbox.path("fifo.git").to_str().unwrap(), "it is no directory");
    needs!("chown");
    let repo = Repo::new(sandbox, "theirs");
    repo.commit(&[("a", "1")]);
    says(Command::new("chown").args(["-R", "12345"]).arg(repo.bare()));
    target.refused("another user's repository", &repo.remote("#main"), &format!("{BELONGS_TO} 12345"));
}
