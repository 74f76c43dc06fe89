//! Images: a release is put in place at their build without a hook, and the first check on the machine that starts from
//! them is one conditional request; from then on all goes as ever. In between everything is copied to another place, which
//! has other inodes and other times of change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::core::Mount;
use super::http::{archive, live};
use super::inplace::{has_temporary, stopped_in_the_middle};
use super::s3::configure;
use crate::support::git_servers::{Repo, Smart, git, says};
use crate::support::moto::Moto;
use crate::support::needs::needs;
use crate::support::phrases::{
    CANNOT_FETCH, CANNOT_USE, DEPLOYED, DRIFT, IN_DOUBT, IS_A_DIRECTORY, LIVE_ALREADY, NOTHING_AT, OTHER_SUM,
    REFUSED_BEFORE, SAME_CONTENT, STOPPED_BY, UNCHANGED, UNPACKED, WAITING, WITHOUT_COMMAND, deployed_revision,
};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, short, tree};
use crate::support::servers::{Nginx, Raw, closed_port, object, ok, wait_for};

/// `repo-deploy seed ARGS`.
fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.daemon(args);
    let args: Vec<_> = std::iter::once("seed".into()).chain(command.get_args().map(ToOwned::to_owned)).collect();
    command = sandbox.bare();
    command.args(args);
    command
}

fn seed(sandbox: &Sandbox, remote: &str, args: &[&str]) -> Run {
    command(sandbox, &["--remote", remote]).args(args).output().unwrap().into()
}

/// Hooks that say that they ran.
fn witnesses(sandbox: &Sandbox) {
    for when in ["pre.d", "post.d"] {
        sandbox.hook(
            when,
            "10-witness",
            &format!("echo {when} $REPO_DEPLOY_REASON >>\"{}\"", sandbox.path("ran").display()),
        );
    }
}

fn ran(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("ran")).unwrap_or_default()
}

/// The machine that starts from the image: live tree, store and cache at another place.
fn machine(image: &Sandbox) -> Sandbox {
    let machine = Sandbox::new();
    for part in ["deploy", "cache", "state"] {
        copy(&image.path(part).join("."), &machine.path(part));
    }
    if image.path("repo-deploy.cfg").exists() {
        copy(&image.path("repo-deploy.cfg"), &machine.path("repo-deploy.cfg"));
    }
    witnesses(&machine);
    machine
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[track_caller]
fn nothing_is_left(sandbox: &Sandbox) {
    assert!(!sandbox.local().exists() && !sandbox.store().join("state").exists());
    for dir in ["releases", "partial"] {
        assert_eq!(fs::read_dir(sandbox.store().join(dir)).map_or(0, Iterator::count), 0, "{dir}");
    }
    let downloads = fs::read_dir(sandbox.path("cache/default")).map_or(0, Iterator::count);
    assert_eq!(downloads, 0, "something is left in the cache");
}

fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn archive_is_seeded_then_the_first_check_elsewhere_is_one_304_and_an_update_runs_hooks() {
    needs!("nginx");
    let image = Sandbox::new();
    witnesses(&image);
    let server = Nginx::start(&image, "", "");
    let zip = image.zip("www/app.zip", &[("file", "one"), ("run", "#!/bin/sh\n")]);
    let head = Command::new("curl").args(["-sI", &server.url("/app.zip")]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap(); // with its \r
    // nginx logs a request after the client has the answer.
    wait_for("the request of curl in the log", || (server.all().len() == 1).then_some(()));
    let run = seed(&image, &server.url("/app.zip"), &[arg(&zip), "--revision", etag]).expect(0);
    run.says(&format!("{DEPLOYED} etag:{} as release ", etag.trim()));
    assert_eq!((live(&image), ran(&image)), ("one".to_owned(), String::new()));
    assert_eq!(server.all().len(), 1, "a seed from an archive asks nobody");
    let link = fs::read_link(image.local()).unwrap();
    assert!(link.is_relative() && link.starts_with(".current.deploy/releases"), "{}", link.display());
    let status = image.status(&["--remote", &server.url("/app.zip")]).out;
    assert!(status.contains("phase       idle") && !status.contains("candidate"), "{status}");

    let machine = machine(&image);
    machine.deploy(&server.url("/app.zip"), &["-v"]).expect(0).never_says(DEPLOYED).says(UNCHANGED);
    wait_for("the access log", || (server.all().len() > 1).then_some(()));
    assert_eq!(server.all()[1..], ["GET /app.zip HTTP/1.1|304|0"]);
    assert_eq!((live(&machine), ran(&machine)), ("one".to_owned(), String::new()));

    image.zip("www/app.zip", &[("file", "number two")]);
    machine.deploy(&server.url("/app.zip"), &[]).expect(0).says(DEPLOYED);
    assert_eq!((live(&machine), &*ran(&machine)), ("number two".to_owned(), "pre.d update\npost.d update\n"));
}

#[test]
fn remote_is_seeded_then_the_first_check_elsewhere_is_one_304() {
    needs!("nginx");
    let image = Sandbox::new();
    witnesses(&image);
    let server = Nginx::start(&image, "", "");
    image.zip("www/app.zip", &[("file", "one")]);
    let remote = server.url("/app.zip");
    seed(&image, &remote, &[]).expect(0).says(&deployed_revision("etag:"));
    seed(&image, &remote, &[]).expect(0).says(LIVE_ALREADY).never_says(DEPLOYED);
    let machine = machine(&image);
    machine.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    let requests: Vec<String> = server.log(3);
    assert_eq!(requests[1..], ["GET /app.zip HTTP/1.1|304|0", "GET /app.zip HTTP/1.1|304|0"]);
    assert_eq!(ran(&image) + &ran(&machine), "");
}

#[test]
fn wrong_revision_then_the_first_check_deploys_and_no_more() {
    let image = Sandbox::new();
    let bytes = archive(&image, "one");
    let served = bytes.clone();
    let server = Raw::start(move |seen, _| vec![object(seen, "\"right\"", &served)]);
    let zip = image.write("app.zip", bytes);
    let remote = server.url("/app.zip");
    seed(&image, &remote, &[arg(&zip), "--revision", "etag:\"wrong\""]).expect(0);
    let machine = machine(&image);
    machine.deploy(&remote, &[]).expect(0).says(&deployed_revision("etag:\"right\""));
    machine.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(&*ran(&machine), "pre.d update\npost.d update\n");
    let conditions: Vec<_> = server.seen().iter().map(|seen| seen.header("If-None-Match").map(str::to_owned)).collect();
    assert_eq!(conditions, [Some("\"wrong\"".to_owned()), Some("\"right\"".to_owned())]);
}

#[test]
fn server_without_validators_then_the_hash_is_the_revision_and_nothing_is_deployed() {
    let image = Sandbox::new();
    let bytes = archive(&image, "one");
    let zip = image.write("app.zip", &bytes);
    let sum = says(Command::new("sha256sum").arg(&zip));
    let revision = format!("sha256:{}", &sum[..64]);
    let server = Raw::always(ok("", &bytes));
    seed(&image, &server.url("/app.zip"), &[arg(&zip), "--revision", &revision]).expect(0);
    let machine = machine(&image);
    machine.deploy(&server.url("/app.zip"), &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_is_asked_wrongly_then_one_line_and_64_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    let http = format!("http://127.0.0.1:{}/app.zip", closed_port());
    let zip = arg(&zip);
    let commit = "0123456789012345678901234567890123456789";
    for (remote, args, words) in [
        (&*http, &[zip][..], "cannot seed an ARCHIVE without --revision: what the remote calls it"),
        (&http, &["--revision", "\"a\""], "cannot seed with --revision alone"),
        (
            &http,
            &[zip, "--revision", "a"],
            &*format!("{CANNOT_USE} --revision a: of this remote it is what status -v prints: etag:"),
        ),
        (&http, &[zip, "--revision", commit], "or an ETag with its quotes"),
        (&http, &[zip, "--revision", "version:1"], "modified:DATE+LENGTH"),
        (&http, &[zip, "--revision", ""], &*format!("{CANNOT_USE} an empty --revision")),
        (&http, &[zip, "--revision", "\"a\nb\""], &*format!("{CANNOT_USE} a --revision with such signs")),
        ("s3://b/k", &[zip, "--revision", "3sL4"], "version:ID or etag:"),
        ("git://127.0.0.1/a.git", &[zip, "--revision", "main"], "a full commit"),
        ("git://127.0.0.1/a.git", &[zip, "--revision", "\"a\""], "a full commit"),
        (zip, &[zip, "--revision", commit], "sha256:HEX (an archive)"),
    ] {
        let run = seed(&sandbox, remote, args).expect(64).says(words);
        assert!(run.log.starts_with("repo-deploy: cannot ") && run.log.lines().count() <= 2, "{}", run.log);
        assert!(!sandbox.store().exists());
    }
    let mut check = sandbox.command(&["--remote", &http, "--revision", "\"a\""]);
    Run::from(check.output().unwrap()).expect(64).says(&format!("{CANNOT_USE} --revision {WITHOUT_COMMAND} seed"));
}

#[test]
fn etag_without_quotes_then_a_warning_says_what_the_shell_took() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    let run = seed(&sandbox, "http://127.0.0.1:1/a", &[arg(&zip), "--revision", "etag:abc"]).expect(0);
    assert_eq!(run.says("'etag:\"...\"'").complaints().len(), 1);
}

#[test]
fn bad_archive_then_exit_1_and_nothing_is_left_and_a_good_one_is_taken() {
    let sandbox = Sandbox::new();
    let good = archive(&sandbox, "one");
    let zip = sandbox.write("app.zip", &good[..good.len() - 7]);
    let remote = "http://127.0.0.1:1/app.zip";
    let args = [arg(&zip), "--revision", "\"a\""];
    let run = seed(&sandbox, remote, &args).expect(1).says("but has no end: cut off on the way");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    nothing_is_left(&sandbox);
    seed(&sandbox, remote, &["missing.zip", "--revision", "\"a\""])
        .expect(1)
        .says(&format!("{NOTHING_AT} missing.zip"));
    nothing_is_left(&sandbox);
    sandbox.write("app.zip", good);
    seed(&sandbox, remote, &args).expect(0);
    assert_eq!(live(&sandbox), "one");
}

#[test]
fn something_is_live_then_the_same_is_0_and_another_is_1() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    let other = sandbox.zip("other.zip", &[("file", "two")]);
    let remote = "http://127.0.0.1:1/app.zip";
    seed(&sandbox, remote, &[arg(&zip), "--revision", "\"a\""]).expect(0);
    let before = sandbox.read("deploy/.current.deploy/state");
    seed(&sandbox, remote, &[arg(&zip), "--revision", "\"a\""]).expect(0).says(LIVE_ALREADY).never_says(DEPLOYED);
    let run = seed(&sandbox, remote, &[arg(&other), "--revision", "\"b\""]).expect(1);
    assert_eq!(
        run.says(&format!("revision etag:\"a\" {LIVE_ALREADY}, and this is another one: repo-deploy -f"))
            .complaints()
            .len(),
        1
    );
    assert_eq!((live(&sandbox), sandbox.read("deploy/.current.deploy/state")), ("one".to_owned(), before));
}

#[test]
fn file_remote_then_the_revision_is_told_by_the_archive_and_a_copy_of_it_elsewhere_is_the_same() {
    let image = Sandbox::new();
    let zip = image.zip("made/app.zip", &[("file", "one")]);
    let srv = Sandbox::new();
    let remote = srv.path("app.zip");
    copy(&zip, &remote);
    seed(&image, arg(&remote), &[arg(&zip)]).expect(0).says(&deployed_revision("sha256:"));
    seed(&image, arg(&remote), &[]).expect(0).says(LIVE_ALREADY);
    let machine = machine(&image);
    fs::remove_file(&remote).unwrap();
    fs::write(&remote, fs::read(&zip).unwrap()).unwrap();
    machine.deploy(arg(&remote), &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(ran(&machine), "");
}

#[test]
fn directory_remote_then_a_copy_of_it_with_other_inodes_is_the_same_and_what_differs_is_not() {
    let image = Sandbox::new();
    let srv = Sandbox::new();
    srv.write("app/file", "one");
    srv.write("app/d/run", "#!/bin/sh\n");
    fs::set_permissions(srv.path("app/d/run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("d/run", srv.path("app/link")).unwrap();
    let remote = srv.path("app").to_str().unwrap().to_owned();
    let renew = || {
        copy(&srv.path("app"), &srv.path("copy"));
        fs::remove_dir_all(srv.path("app")).unwrap();
        fs::rename(srv.path("copy"), srv.path("app")).unwrap();
    };
    seed(&image, &remote, &[]).expect(0).says(&deployed_revision("tree:"));
    let machine = machine(&image);
    renew();
    machine.deploy(&remote, &["-v"]).expect(0).never_says(DEPLOYED).says(SAME_CONTENT);
    // Once it is no longer young, it is not read again.
    wait_for("a check that reads nothing", || {
        let run = machine.deploy(&remote, &["-v"]).expect(0).never_says(DEPLOYED);
        (!run.log.contains(SAME_CONTENT)).then_some(())
    });
    assert_eq!(ran(&machine), "");
    // Every kind of difference is one.
    let changes: [(&str, &dyn Fn()); 4] = [
        ("content", &|| drop(srv.write("app/file", "two"))),
        ("mode", &|| fs::set_permissions(srv.path("app/file"), fs::Permissions::from_mode(0o755)).unwrap()),
        ("name", &|| fs::rename(srv.path("app/file"), srv.path("app/other")).unwrap()),
        ("directory", &|| fs::create_dir(srv.path("app/empty")).unwrap()),
    ];
    for (what, change) in changes {
        change();
        let run = machine.deploy(&remote, &[]).expect(0);
        assert!(run.log.contains(&deployed_revision("tree:")), "{what}: {}", run.log);
        assert_eq!(tree(&machine.local()), tree(&srv.path("app")), "{what}");
        renew();
        machine.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    }
}

#[test]
fn directory_remote_of_more_than_may_be_unpacked_then_it_is_refused_as_ever() {
    let sandbox = Sandbox::new();
    sandbox.write("app/file", "0123456789");
    let remote = sandbox.path("app").to_str().unwrap().to_owned();
    sandbox.write("repo-deploy.cfg", "max-unpacked = 9\n");
    sandbox.deploy(&remote, &[]).expect(1).says("max-unpacked = 9");
    sandbox.deploy(&remote, &[]).expect(1).says(REFUSED_BEFORE);
}

#[test]
fn git_archive_is_seeded_then_the_first_check_is_one_ls_remote() {
    needs!("git", "nginx", "fcgiwrap");
    let image = Sandbox::new();
    witnesses(&image);
    let repo = Repo::new(&image, "app");
    let commit = repo.commit(&[("file", "one"), ("run", "#!/bin/sh\n"), ("d/link", "-> ../file")]);
    let server = Smart::start(&image, "", "", "");
    let remote = format!("{}#main", server.nginx.url("/app.git"));
    let tar = image.path("app.tar");
    says(git(&repo.bare()).args(["archive", "-o", arg(&tar), &commit]));
    seed(&image, &remote, &[arg(&tar), "--revision", &commit.to_uppercase()])
        .expect(0)
        .says(&format!("{DEPLOYED} {} ", short(&commit)));
    assert_eq!(tree(&image.local())["run"], "f 755 #!/bin/sh\n");
    assert_eq!(server.log().len(), 0, "a seed from an archive asks nobody");
    let machine = machine(&image);
    machine.deploy(&remote, &["-v"]).expect(0).never_says(DEPLOYED).says(UNCHANGED);
    let asked = wait_for("the access log", || Some(server.log()).filter(|log| log.len() > 1));
    assert!(
        asked
            .iter()
            .all(|line| line.contains("/info/refs?service=git-upload-pack") || line.contains("git-upload-pack")),
        "{asked:?}"
    );
    assert!(
        fs::read_dir(machine.path("cache/default")).into_iter().flatten().all(|e| !e
            .unwrap()
            .path()
            .join("repository")
            .exists())
    );
    // The directory that `git archive` would make is as good.
    let other = Sandbox::new();
    says(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(other.path("home")));
    seed(&other, &remote, &[arg(&other.path("home")), "--revision", &commit]).expect(0);
    assert_eq!(tree(&other.local()), tree(&image.local()));
    let next = repo.commit(&[("file", "two")]);
    machine.deploy(&remote, &[]).expect(0).says(&format!("{DEPLOYED} {} ", short(&next)));
    assert_eq!(&*ran(&machine), "pre.d update\npost.d update\n");
}

#[test]
fn object_with_versions_then_the_first_check_is_a_304_and_another_etag_is_learnt() {
    let image = Sandbox::new();
    let Some(moto) = Moto::start(&image) else { return };
    needs!("nginx");
    let nginx = Nginx::start(
        &image,
        "",
        &format!("location / {{ proxy_pass {}; proxy_set_header Host $http_host; }}", moto.url()),
    );
    configure(&image, &nginx.url(""), Some(&moto.keys), "");
    let zip = image.zip("app.zip", &[("file", "one")]);
    let version = format!("version:{}", moto.put("versioned", "app.zip", &zip));
    seed(&image, "s3://versioned/app.zip", &[arg(&zip), "--revision", &version]).expect(0);
    let machine = machine(&image);
    machine.deploy("s3://versioned/app.zip", &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(nginx.log(1), ["GET /versioned/app.zip HTTP/1.1|304|0"]);
    // From a directory nobody can tell the ETag.
    let other = Sandbox::new();
    configure(&other, &nginx.url(""), Some(&moto.keys), "");
    other.write("tree/file", "one");
    seed(&other, "s3://versioned/app.zip", &[arg(&other.path("tree")), "--revision", &version]).expect(0);
    for _ in 0..2 {
        other.deploy("s3://versioned/app.zip", &[]).expect(0).never_says(DEPLOYED);
    }
    let log = nginx.log(3);
    assert!(log[1].starts_with("GET /versioned/app.zip HTTP/1.1|200|"), "{log:?}");
    assert_eq!(log[2..], ["GET /versioned/app.zip HTTP/1.1|304|0"]);
    // By its ETag, where there are no versions.
    moto.put("private", "app.zip", &zip);
    let etag = moto.boto("print(client('s3').head_object(Bucket='private', Key='app.zip')['ETag'])", &[]);
    let third = Sandbox::new();
    configure(&third, &nginx.url(""), Some(&moto.keys), "");
    seed(&third, "s3://private/app.zip", &[arg(&zip), "--revision", &etag]).expect(0);
    third.deploy("s3://private/app.zip", &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(nginx.log(4)[3..], ["GET /private/app.zip HTTP/1.1|304|0"]);
}

/// A key pair of minisign, and a signature beside `file`.
fn sign(sandbox: &Sandbox, file: &Path, comment: &str) -> String {
    let (public, secret) = (sandbox.path("app.pub"), sandbox.path("app.key"));
    let minisign = |args: &[&str]| assert!(Command::new("minisign").args(args).output().unwrap().status.success());
    if !public.exists() {
        minisign(&["-G", "-W", "-p", arg(&public), "-s", arg(&secret)]);
    }
    minisign(&["-S", "-s", arg(&secret), "-m", arg(file), "-t", comment]);
    fs::read_to_string(public).unwrap().lines().nth(1).unwrap().to_owned()
}

#[test]
fn signature_beside_the_archive_then_it_is_proven_offline_and_a_wrong_one_is_refused() {
    needs!("minisign");
    let image = Sandbox::new();
    let served = archive(&image, "one");
    let zip = image.write("app.zip", &served);
    let key = sign(&image, &zip, "version:7");
    let sum = &says(Command::new("sha256sum").arg(&zip))[..64];
    let etag = "\"1\"";
    let signature = fs::read(image.path("app.zip.minisig")).unwrap();
    let server = Raw::start(move |seen, _| {
        vec![object(seen, etag, if seen.target() == "/app.zip" { &served } else { &signature })]
    });
    let remote = server.url("/app.zip");
    let gone = format!("http://127.0.0.1:{}/app.zip", closed_port());
    let config = |more: &str| drop(image.write("repo-deploy.cfg", format!("verify-key = {key}\n{more}")));

    config("");
    let args = [arg(&zip), "--revision", etag];
    fs::rename(image.path("app.zip.minisig"), image.path("kept")).unwrap();
    seed(&image, &gone, &args).expect(1).says(&format!("{CANNOT_FETCH} the signature"));
    nothing_is_left(&image);
    // That of another archive.
    let other = image.write("other.zip", archive(&image, "other"));
    sign(&image, &other, "version:7");
    fs::rename(image.path("other.zip.minisig"), image.path("app.zip.minisig")).unwrap();
    seed(&image, &gone, &args).expect(1).says("cannot trust the signature");
    nothing_is_left(&image);
    fs::rename(image.path("kept"), image.path("app.zip.minisig")).unwrap();
    config(&format!("sha256 = {}\n", "0".repeat(64)));
    seed(&image, &gone, &args).expect(1).says(OTHER_SUM);
    nothing_is_left(&image);
    // A tree proves nothing.
    image.write("tree/file", "one");
    seed(&image, &gone, &[arg(&image.path("tree")), "--revision", etag]).expect(78).says(IS_A_DIRECTORY);
    nothing_is_left(&image);

    config(&format!("sha256 = {sum}\n"));
    seed(&image, &remote, &args).expect(0).says("is signed by the key");
    assert_eq!(server.seen().len(), 0, "a signature at hand is not fetched");
    let machine = machine(&image);
    machine.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(server.seen().len(), 1);
    // The version that was seeded is the mark.
    assert!(machine.read("deploy/.current.deploy/state").contains("version = 7\n"));

    // Without one at hand that of the remote counts.
    let other = Sandbox::new();
    other.write("repo-deploy.cfg", image.read("repo-deploy.cfg"));
    copy(&zip, &other.path("app.zip"));
    seed(&other, &remote, &[arg(&other.path("app.zip")), "--revision", etag]).expect(0);
    assert_eq!(server.seen()[1].target(), "/app.zip.minisig");
}

#[test]
fn live_directory_then_it_is_seeded_in_place_and_what_was_there_is_kept() {
    let sandbox = Sandbox::new();
    witnesses(&sandbox);
    sandbox.write("deploy/current/index.html", "from the distribution");
    let bytes = archive(&sandbox, "one");
    let zip = sandbox.write("app.zip", &bytes);
    let server = Raw::start(move |seen, _| vec![object(seen, "\"1\"", &bytes)]);
    let remote = server.url("/app.zip");
    seed(&sandbox, &remote, &[arg(&zip), "--revision", "\"1\""]).expect(0).says("as release adopted");
    assert_eq!(tree(&sandbox.local()).into_keys().collect::<Vec<_>>(), ["file"]);
    for part in ["deploy", "cache", "state"] {
        copy(&sandbox.path(part), &sandbox.path("copy"));
        fs::remove_dir_all(sandbox.path(part)).unwrap();
        fs::rename(sandbox.path("copy"), sandbox.path(part)).unwrap();
    }
    sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED).never_says(DRIFT);
    assert_eq!((server.seen().len(), ran(&sandbox)), (1, String::new()));
    seed(&sandbox, &remote, &[arg(&zip), "--revision", "\"1\""]).expect(0).says(LIVE_ALREADY);
}

/// `part` of an instance of an image of layers.
fn layered(machine: &Sandbox, image: &Sandbox, part: &str) -> Option<[Mount; 2]> {
    fs::create_dir(machine.path("layers")).unwrap();
    let tmpfs = Mount::new(&["-t", "tmpfs", "none"], &machine.path("layers"))?;
    for dir in ["layers/upper", "layers/work"] {
        fs::create_dir(machine.path(dir)).unwrap();
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off",
        image.path(part).display(),
        machine.path("layers/upper").display(),
        machine.path("layers/work").display()
    );
    let overlay = Mount::new(&["-t", "overlay", "-o", &layers, "none"], &machine.path(part))?;
    Some([overlay, tmpfs])
}

#[test]
fn cache_of_git_lies_in_a_lower_layer_and_is_broken_then_it_is_made_anew() {
    needs!("mount", "umount", "git");
    let image = Sandbox::new();
    let repo = Repo::new(&image, "app");
    let remote = repo.remote("#main");
    repo.commit(&[("file", "one")]);
    seed(&image, &remote, &[]).expect(0);
    let machine = Sandbox::new();
    copy(&image.path("deploy/."), &machine.path("deploy"));
    let Some(_layers) = layered(&machine, &image, "cache") else { return };
    machine.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    // git's own directory depends on where <local> is: the image's stands for one that has it at the same place.
    let git = |of: &Sandbox| {
        let mut found = fs::read_dir(of.path("cache/default")).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.join("repository").exists())
    };
    let baked = git(&machine).unwrap();
    repo.commit(&[("file", "number two")]);
    let (local, cache) = (image.local(), machine.path("cache"));
    let args = ["--local", arg(&local), "--cache", arg(&cache)];
    fs::write(baked.join("repository/HEAD"), "broken").unwrap();
    fs::write(baked.join("repository/config"), "broken").unwrap();
    machine.deploy(&remote, &args).expect(0).says(DEPLOYED);
    assert_eq!(live(&image), "number two");
}

#[test]
fn image_of_layers_then_updates_go_as_ever_and_the_seeded_release_is_pruned_in_its_time() {
    needs!("mount", "umount", "strace");
    let image = Sandbox::new();
    let zip = image.zip("app.zip", &[("file", "one"), ("d/file", "x")]);
    seed(&image, arg(&zip), &[]).expect(0);
    let seeded = fs::read_link(image.local()).unwrap().file_name().unwrap().to_owned();
    let machine = Sandbox::new();
    let Some(_layers) = layered(&machine, &image, "deploy") else { return };
    machine.write("repo-deploy.cfg", "keep = 2\n");
    let kept = || {
        let entries = fs::read_dir(machine.store().join("releases")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for version in ["one", "number two", "number three", "the fourth"] {
        image.zip("app.zip", &[("file", version), ("d/file", "x")]);
        let run = machine.deploy(arg(&zip), &[]).expect(0);
        assert_eq!((run.complaints(), live(&machine)), (Vec::<&str>::new(), version.to_owned()));
    }
    assert!(kept().len() == 2 && !kept().contains(&seeded), "{:?}", kept());
    // The source goes back to what was pruned, and it is whole.
    image.zip("app.zip", &[("file", "one"), ("d/file", "x")]);
    machine.deploy(arg(&zip), &[]).expect(0).says(seeded.to_str().unwrap());
    assert_eq!(tree(&machine.local()), tree(&image.local()));
}

#[test]
fn killed_while_it_prunes_what_was_seeded_in_layers_then_it_is_no_release_any_more() {
    needs!("mount", "umount", "strace");
    let image = Sandbox::new();
    let first = [("file", "one"), ("a/file", "x"), ("b/file", "x")];
    let zip = image.zip("app.zip", &first);
    seed(&image, arg(&zip), &[]).expect(0);
    let seeded = image.store().join("releases").join(fs::read_link(image.local()).unwrap().file_name().unwrap());
    for goes_back in [true, false] {
        let machine = Sandbox::new();
        let Some(_layers) = layered(&machine, &image, "deploy") else { return };
        machine.write("repo-deploy.cfg", "keep = 2\n");
        image.zip("app.zip", &[("file", "number two")]);
        machine.deploy(arg(&zip), &[]).expect(0);
        image.zip("app.zip", &[("file", "number three")]);
        let check = machine.command(&["--remote", arg(&zip)]);
        let there = machine.store().join("releases").join(seeded.file_name().unwrap());
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-P", arg(&there), "-e", "trace=unlinkat"]);
        strace.args(["-e", "inject=unlinkat:signal=KILL:when=2"]);
        Run::from(strace.arg(check.get_program()).args(check.get_args()).output().unwrap()).expect(137);
        let left = fs::symlink_metadata(&there).unwrap().permissions().mode() & 0o7777;
        assert_eq!(left, 0o1700, "it should have been in the middle of it");
        if goes_back {
            // To what is there no more.
            image.zip("app.zip", &first);
            machine.deploy(arg(&zip), &[]).expect(0).says(UNPACKED);
            assert_eq!(tree(&machine.local()), tree(&seeded));
        } else {
            image.zip("app.zip", &[("file", "the fourth")]);
            assert_eq!(machine.deploy(arg(&zip), &[]).expect(0).complaints(), Vec::<&str>::new());
            assert!(!there.exists());
            assert_eq!(fs::read_dir(there.parent().unwrap()).unwrap().count(), 2);
        }
    }
}

#[test]
fn store_is_copied_in_another_order_then_the_oldest_releases_go_first_all_the_same() {
    let image = Sandbox::new();
    let zip = image.path("app.zip");
    let version = |release: &Path| fs::read_to_string(release.join("file")).unwrap();
    let versions = |store: &Path| {
        let entries = fs::read_dir(store.join("releases")).unwrap();
        let mut found: Vec<_> = entries.map(|entry| version(&entry.unwrap().path())).collect();
        found.sort();
        found
    };
    for n in ["1", "2", "3", "4"] {
        image.zip("app.zip", &[("file", n)]);
        image.deploy(arg(&zip), &[]).expect(0);
        let live = fs::canonicalize(image.local()).unwrap();
        says(Command::new("touch").args(["-d", &format!("2026-01-0{n}")]).arg(live));
    }
    let machine = Sandbox::new();
    copy(&image.path("deploy/."), &machine.path("deploy"));
    let releases = machine.store().join("releases");
    fs::rename(&releases, machine.path("moved")).unwrap();
    fs::create_dir(&releases).unwrap();
    let mut moved: Vec<_> = fs::read_dir(machine.path("moved")).unwrap().map(|e| e.unwrap().path()).collect();
    moved.sort_by_key(|release| std::cmp::Reverse(version(release)));
    for release in moved {
        copy(&release, &releases);
    }
    machine.write("repo-deploy.cfg", "keep = 3\n");
    image.zip("app.zip", &[("file", "5")]);
    machine.deploy(arg(&zip), &[]).expect(0);
    assert_eq!(versions(&machine.store()), ["3", "4", "5"]);
}

#[test]
fn installation_then_78_and_why() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("appspec.yml", "version: 0.0\nos: linux\n")]);
    sandbox.write("repo-deploy.cfg", "activation = install\n");
    let run = seed(&sandbox, arg(&zip), &[]).expect(78).says("cannot seed with activation = install");
    assert_eq!(run.complaints().len(), 1);
    assert!(!sandbox.path("cache/default").exists());
}

#[test]
fn several_sections_then_one_archive_is_refused_and_remotes_are_seeded_each() {
    let sandbox = Sandbox::new();
    let zips = ["a", "b"].map(|name| sandbox.zip(format!("{name}.zip").as_str(), &[("file", name)]));
    let section = |name: &str, zip: &PathBuf| {
        format!("[{name}]\nremote = {}\nlocal = {}\n", zip.display(), sandbox.path(format!("srv/{name}")).display())
    };
    sandbox.write("repo-deploy.cfg", section("a", &zips[0]) + &section("b", &zips[1]));
    let run = |args: &[&str]| {
        let mut command = sandbox.bare();
        command.args(["seed", "--config", "repo-deploy.cfg", "--cache", "cache", "--config-section", "all"]).args(args);
        Run::from(command.output().unwrap())
    };
    run(&["a.zip"]).expect(64).says("several sections with one ARCHIVE");
    run(&[]).expect(0);
    assert_eq!((sandbox.read("srv/a/file"), sandbox.read("srv/b/file")), ("a".to_owned(), "b".to_owned()));
}

#[test]
fn cut_off_at_any_call_then_the_next_seed_makes_it_whole() {
    needs!(time, "strace");
    let pattern = Sandbox::new();
    let zip = pattern.zip("app.zip", &[("file", "one"), ("d/file", "x")]);
    let remote = "http://127.0.0.1:1/app.zip";
    let args = ["--remote", remote, arg(&zip), "--revision", "\"a\""];
    for (mode, activation) in [("symlink", "symlink"), ("in-place", "in-place")] {
        let mut killed = 0;
        for call in ["renameat", "rename", "fsync", "symlink", "symlinkat", "mkdir", "mkdirat"] {
            for n in 1.. {
                let sandbox = Sandbox::new();
                witnesses(&sandbox);
                sandbox.write("repo-deploy.cfg", format!("activation = {activation}\n"));
                let seed = command(&sandbox, &args);
                let mut strace = Command::new("strace");
                strace.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                strace.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
                strace.arg(seed.get_program()).args(seed.get_args()).env_clear();
                strace.envs(seed.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(sandbox.path(""));
                let run = Run::from(strace.output().unwrap());
                if run.code == 0 {
                    break;
                }
                assert_eq!(run.code, 137, "{mode} {call} {n}: {}", run.log);
                killed += 1;
                let again = command(&sandbox, &args).output().map(Run::from).unwrap();
                assert_eq!(again.code, 0, "{mode} {call} {n}: {}", again.log);
                assert_eq!(tree(&sandbox.local())["d/file"], "f 644 x", "{mode} {call} {n}");
                assert_eq!(ran(&sandbox), "", "{mode} {call} {n}");
                let status = sandbox.status(&["--remote", remote]).out;
                assert!(
                    status.contains("phase       idle") && !status.contains("candidate"),
                    "{mode} {call} {n}: {status}"
                );
            }
        }
        assert!(killed > 10, "{mode}: only {killed} points");
    }
}

#[test]
fn term_comes_while_the_live_directory_is_written_then_143_and_the_next_seed_makes_it_whole() {
    needs!("strace");
    let sandbox = Sandbox::new();
    witnesses(&sandbox);
    sandbox.write("repo-deploy.cfg", "activation = in-place\n");
    let names: Vec<String> = (0..600).map(|n| format!("d/f{n}")).collect();
    let zip = sandbox.zip("app.zip", &names.iter().map(|name| (name.as_str(), "one")).collect::<Vec<_>>());
    let args = ["--remote", arg(&zip)];
    let live = sandbox.local(); // the directory d is new
    let slow = ("utimensat", "");
    let run = stopped_in_the_middle(&command(&sandbox, &args), slow, &|| has_temporary(&live)).expect(143);
    run.says(&format!("{STOPPED_BY} 15")).never_says(IN_DOUBT);
    let status = sandbox.status(&["--remote", arg(&zip)]).out;
    assert!(status.contains("stopped") && !status.contains(IN_DOUBT), "{status}");
    assert!(!has_temporary(&live));
    seed(&sandbox, arg(&zip), &[]).expect(0).says("beginning anew");
    assert_eq!((tree(&sandbox.local()).len(), &*ran(&sandbox)), (601, ""));
}

#[test]
fn cut_off_and_a_check_comes_first_then_it_goes_on_with_it_and_hooks_are_asked() {
    needs!("strace");
    for n in 1.. {
        let sandbox = Sandbox::new();
        witnesses(&sandbox);
        let bytes = archive(&sandbox, "one");
        let zip = sandbox.write("app.zip", &bytes);
        let server = Raw::start(move |seen, _| vec![object(seen, "\"1\"", &bytes)]);
        let remote = server.url("/app.zip");
        let seed = command(&sandbox, &["--remote", &remote, arg(&zip), "--revision", "\"1\""]);
        let mut strace = Command::new("strace");
        strace.args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "-e",
            &format!("inject=fsync:signal=KILL:when={n}"),
        ]);
        strace.arg(seed.get_program()).args(seed.get_args());
        Run::from(strace.output().unwrap()).expect(137);
        let state = fs::read_to_string(sandbox.store().join("state")).unwrap_or_default();
        if state.contains("phase = activating") && sandbox.local().exists() {
            sandbox.deploy(&remote, &[]).expect(0).says("the last deployment was cut off").says(DEPLOYED);
            assert_eq!((live(&sandbox), &*ran(&sandbox)), ("one".to_owned(), "post.d recover\n"));
            break;
        }
    }
}

#[test]
fn deployment_was_cut_off_then_it_is_not_seeded_over() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    sandbox.deploy(arg(&zip), &[]).expect(0);
    sandbox.zip("app.zip", &[("file", "two")]);
    sandbox.hook("post.d", "10-kill", "kill -9 $PPID; sleep 60");
    sandbox.deploy(arg(&zip), &[]).expect(137);
    seed(&sandbox, arg(&zip), &[]).expect(1).says("cannot seed: a deployment was cut off here; repo-deploy -f");
    fs::write(sandbox.store().join("state"), "what").unwrap();
    seed(&sandbox, arg(&zip), &[]).expect(3).says("only a deployment settles that");
}

#[test]
fn somebody_is_at_work_then_it_comes_in_its_turn() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    sandbox.hook("pre.d", "10-wait", "echo at work; read x <\"$HOME/go\"");
    says(Command::new("mkfifo").arg(sandbox.path("home/go")));
    let mut check = Running::start(sandbox.command(&["--remote", arg(&zip)]));
    check.until("at work");
    let mut second = Running::start(command(&sandbox, &["--remote", arg(&zip)]));
    second.until(WAITING);
    fs::write(sandbox.path("home/go"), "go\n").unwrap();
    check.until(DEPLOYED);
    second.until(LIVE_ALREADY);
    second.end().expect(0);
}

#[test]
fn history_is_asked_then_it_says_what_was_seeded() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    seed(&sandbox, "http://127.0.0.1:1/a.zip", &[arg(&zip), "--revision", "\"1\""]).expect(0);
    let daemon = sandbox.daemon(&["--remote", "http://127.0.0.1:1/a.zip", "--json"]);
    let mut history = sandbox.bare();
    let answer: Run = history.arg("history").args(daemon.get_args()).output().unwrap().into();
    assert!(answer.out.contains("\"reason\":\"seed\"") && answer.out.contains("etag:\\\"1\\\""), "{}", answer.out);
}
