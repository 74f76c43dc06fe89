//! The configuration as an operator meets it: what counts, what is refused, and that no secret is told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::needs::is_root;
use crate::support::phrases::{
    CANNOT_READ, CANNOT_USE, DID_YOU_MEAN, IS_A_DIRECTORY, NO_USER, OTHERS_MAY_WRITE, TAKES,
};
use crate::support::sandbox::{Run, Sandbox};

/// `repo-deploy status -c FILE args`, with nothing else given. It ends with 1, because nothing was ever checked.
fn status(sandbox: &Sandbox, config: &str, args: &[&str]) -> Command {
    let path = sandbox.write("c.cfg", config);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = sandbox.bare();
    command.arg("status").arg("-c").arg(path).args(args);
    command
}

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

/// The row of `status` that begins with `key`.
fn row(run: &Run, key: &str) -> String {
    let line = run.out.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("no {key} in:\n{}", run.out));
    line[key.len()..].trim().to_owned()
}

/// One line on standard error, exit code 78.
#[track_caller]
fn refused(run: Run) -> Run {
    let run = run.expect(78);
    assert_eq!((run.log.lines().count(), run.out.as_str()), (1, ""), "one line:\n{}", run.log);
    run
}

#[test]
fn one_key_is_given_everywhere_then_the_strongest_counts() {
    let sandbox = Sandbox::new();
    const CONFIG: &str = "remote = /in-file\n[Settings]\nlocal = /srv/settings\n[site]\nREMOTE = /in-section\n";
    let environment = [("REPO_DEPLOY_REMOTE", "/in-environment"), ("LOCAL_REPOSITORY", "/srv/environment")];
    for (config, args, remote, local, id) in [
        ("", &[][..], "/in-environment", "/srv/environment", "default"),
        ("remote = /in-file", &[], "/in-file", "/srv/environment", "default"),
        (CONFIG, &[], "/in-file", "/srv/settings", "Settings"),
        (CONFIG, &["--config-section", "site"], "/in-section", "/srv/environment", "site"),
        (
            CONFIG,
            &["--config-section=site", "-r", "/in-argument", "-i", "me"],
            "/in-argument",
            "/srv/environment",
            "me",
        ),
    ] {
        let run = run(status(&sandbox, config, args).envs(environment)).expect(1);
        assert_eq!(row(&run, "remote"), remote, "{config}");
        assert!(row(&run, "local").starts_with(&format!("{local} ")), "{config}: {}", run.out);
        assert_eq!(row(&run, "id"), id, "{config}");
        assert_eq!(run.log, "");
    }
}

#[test]
fn old_variables_are_given_then_they_work_and_the_new_names_are_stronger() {
    let sandbox = Sandbox::new();
    let old = [("REMOTE_REPOSITORY", "/old"), ("LOCAL_REPOSITORY", "/srv/old"), ("UPDATE_SCHEDULE", "0 * * * *")];
    let old_only = run(status(&sandbox, "", &[]).envs(old)).expect(1);
    assert_eq!((row(&old_only, "remote").as_str(), &row(&old_only, "local")[..8]), ("/old", "/srv/old"));
    let both = run(status(&sandbox, "", &[]).envs(old).env("REPO_DEPLOY_REMOTE", "/new").env("REPO_DEPLOY_LOCAL", ""));
    assert_eq!((row(&both, "remote").as_str(), &row(&both, "local")[..8]), ("/new", "/srv/old"));
}

#[test]
fn a_hook_runs_us_then_what_it_was_told_is_no_configuration() {
    let sandbox = Sandbox::new();
    let told = [("REPO_DEPLOY_PHASE", "post"), ("REPO_DEPLOY_ID", "outer"), ("REPO_DEPLOY_REMOTE", "/outer")];
    let run = run(status(&sandbox, "remote = /inner", &[]).envs(told)).expect(1);
    assert_eq!((row(&run, "remote").as_str(), row(&run, "id").as_str()), ("/inner", "default"));
}

#[test]
fn a_key_is_unknown_then_a_warning_names_the_nearest_and_work_goes_on() {
    let sandbox = Sandbox::new();
    let run = run(&mut status(&sandbox, "remote = /x\nkep = 7\nlocal = /srv/a\nlocal = /srv/b\n", &[])).expect(1);
    let config = sandbox.path("c.cfg");
    let run = run.says(&format!("{}:2: unknown key kep; {DID_YOU_MEAN} keep?", config.display()));
    let run = run.says(&format!("{}:4: local stands in line 3 already", config.display()));
    assert_eq!(run.complaints().len(), 2, "{}", run.log);
    assert!(row(&run, "local").starts_with("/srv/b "));
}

#[test]
fn a_mistake_and_a_missing_remote_then_both_are_said() {
    let sandbox = Sandbox::new();
    let run = run(&mut status(&sandbox, "remot = /x\n", &[])).expect(78);
    let run = run.says(&format!("{DID_YOU_MEAN} remote?")).says("--remote URL").says("REMOTE_REPOSITORY");
    assert_eq!(run.log.lines().count(), 2, "{}", run.log);
}

#[test]
fn remote_stands_in_a_section_that_nobody_chose_then_the_sections_are_named() {
    let sandbox = Sandbox::new();
    refused(run(&mut status(&sandbox, "[a]\nremote = /x\n[b]\n", &[]))).says("sections a, b: --config-section chooses");
    refused(run(&mut status(&sandbox, "[sitea]\n", &["--config-section", "site"])))
        .says("cannot find the section site")
        .says(&format!("{DID_YOU_MEAN} sitea?"));
}

#[test]
fn only_sections_that_nobody_chose_then_a_warning_names_them() {
    let sandbox = Sandbox::new();
    let warned = |config: &str, args: &[&str]| {
        let run = run(&mut status(&sandbox, config, &[&["-r", "/x"], args].concat())).expect(1);
        let complaints = run.complaints().into_iter().map(|line| line.split_once(" WARN ").unwrap().1.to_owned());
        complaints.collect::<Vec<_>>()
    };
    let file = sandbox.path("c.cfg").display().to_string();
    assert_eq!(
        warned("# site\n[Settngs]\nkeep = 7\n", &[]),
        [format!("{file}: no section of it is used: it has the section Settngs; {DID_YOU_MEAN} Settings?")]
    );
    assert_eq!(
        warned("[a]\nkeep = 7\n[b]\n", &[]),
        [format!("{file}: no section of it is used: it has the sections a, b, and --config-section chooses one")]
    );
    for (config, args) in [
        ("keep = 7\n[a]\n", &[][..]),
        ("[a]\nkeep = 7\n", &["--config-section", "a"]),
        ("[Settings]\n[a]\nkeep = 7\n", &[]),
        ("# nothing\n", &[]),
    ] {
        assert_eq!(warned(config, args), [""; 0], "{config}");
    }
}

#[test]
fn a_line_cannot_be_read_then_its_number_is_named_and_nothing_of_it_repeated() {
    let sandbox = Sandbox::new();
    for (config, line) in [
        (&b"remote = /x\nhunter2\n"[..], 2),
        (b"\n\nremote:hunter2\n", 3),
        (b"https://u:hunter2@h/a?b=c\n", 1),
        (b"\xef\xbb\xbfremote = /x\r\n\r\nhunter2 \xff\r\n", 3),
        (b"# c\nhttp-password = hunter2\0\n", 2),
        (b"[hunter2\n", 1),
    ] {
        let path = sandbox.write("c.cfg", config);
        let run = run(sandbox.bare().arg("status").arg("-c").arg(&path));
        refused(run).says(&format!("{}:{line}: {CANNOT_READ} the ", path.display())).never_says("hunter2");
    }
}

#[test]
fn a_configuration_cannot_be_read_then_it_is_refused() {
    let sandbox = Sandbox::new();
    let config = |path: &str| refused(run(sandbox.bare().args(["status", "-r", "/x", "-c", path])));
    config("missing.cfg").says("missing.cfg: no such file");
    config("cache").says(&format!("cache: {IS_A_DIRECTORY}"));
    config("missing.cfg/x").says(&format!("{CANNOT_READ} the configuration"));
    let large = sandbox.write("large.cfg", "# x\n".repeat(300_000));
    config(large.to_str().unwrap()).says("more than 1048576 bytes");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        sandbox.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    config("fifo").says("not a regular file");
}

#[test]
fn a_configuration_may_be_written_by_others_then_it_is_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("d/c.cfg", "remote = /x\n");
    let status = || run(sandbox.bare().arg("status").arg("-c").arg(&path));
    for (name, mode) in [("d/c.cfg", 0o646), ("d", 0o777)] {
        fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode)).unwrap();
        refused(status()).says(OTHERS_MAY_WRITE).says("chmod go-w");
        fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode & !0o022)).unwrap();
    }
    status().expect(1);
}

#[test]
fn a_configuration_is_not_for_us_to_read_then_it_is_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("c.cfg", "remote = /x\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = sandbox.bare();
    command.arg("status").arg("-c").arg(path);
    if is_root() {
        command.uid(65_534).gid(65_534);
    }
    refused(run(&mut command)).says("permission denied");
}

#[test]
fn a_configuration_tells_others_a_secret_then_a_warning_says_how_to_stop() {
    let sandbox = Sandbox::new();
    for secret in
        ["http-user = u\nhttp-password = hunter2", "http-header = X-Token: hunter2", "remote = https://u:hunter2@h/"]
    {
        let path = sandbox.write("c.cfg", format!("{secret}\n"));
        let status =
            || run(sandbox.bare().args(["status", "-vv", "-i", "x", "-r", "https://h/", "-c"]).arg(&path)).expect(1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let told = status().says(&format!("chmod 600 {}", path.display())).never_says("hunter2");
        assert_eq!(told.complaints().len(), 1, "{}", told.log);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(status().complaints(), [""; 0]);
    }
}

#[test]
fn a_value_cannot_be_used_then_the_line_says_where_and_what_would_be_right() {
    let sandbox = Sandbox::new();
    for (config, words) in [
        ("keep = 1", &*format!("keep = 1: {TAKES} a whole number from 2")),
        ("max-download = lots", &*format!("max-download = lots: {TAKES} bytes")),
        ("timeout = 1d", &*format!("timeout = 1d: {TAKES} seconds")),
        ("activation = symlnk", &*format!("{DID_YOU_MEAN} symlink?")),
        ("owner = no-such-user", &*format!("{NO_USER} no-such-user")),
        ("preserve = ../x", "../x is not below the live tree"),
        ("id = a/b", &*format!("id = a/b: {TAKES}")),
        ("local =", "local = (empty)"),
        ("schedule =", "schedule = (empty)"),
        ("http-header = hunter2", &*format!("{TAKES} Name: value")),
        ("http-password = hunter2", "there is no http-user"),
    ] {
        let run = refused(run(status(&sandbox, &format!("\n{config}\n"), &[]).env("REMOTE_REPOSITORY", "/x")));
        let key = config.split_once(" =").unwrap().0;
        let config = sandbox.path("c.cfg");
        run.says(&format!("{}:2: {CANNOT_USE} {key}", config.display())).says(words).never_says("hunter2");
    }
    for (remote, words) in [
        ("u:hunter2@h", "remote …@h is neither a URL nor a path"),
        ("htp://u:hunter2@h/", "the scheme htp is unknown: use https, http, s3, ssh, git or file"),
        ("file://x", "remote file://x: a file URL needs"),
    ] {
        let run = refused(run(&mut status(&sandbox, &format!("\nremote = {remote}\n"), &[]))).never_says("hunter2");
        run.says(&format!(" ERROR {}:2: {words}", sandbox.path("c.cfg").display()));
    }
    let variable = run(status(&sandbox, "remote = /x", &[]).env("REPO_DEPLOY_KEEP", "x"));
    refused(variable).says(&format!("REPO_DEPLOY_KEEP: {CANNOT_USE} keep = x"));
    refused(run(&mut status(&sandbox, "remote = /x", &["-i", "a b"]))).says(&format!("--id: {CANNOT_USE} id = a b"));
}

#[test]
fn local_would_destroy_something_then_it_is_refused_and_untouched() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    symlink("/", sandbox.path("root")).unwrap();
    symlink("cache", sandbox.path("alias")).unwrap();
    let remote = remote.to_str().unwrap();
    for local in [
        "/",
        "/etc",
        "/usr/bin/x",
        "/proc/x",
        "root/etc",
        "deploy/../root/var",
        "alias/x",
        "cache",
        ".",
        "a.zip",
        "a.zip/x",
    ] {
        refused(sandbox.deploy(remote, &["--local", local])).says(&format!("{CANNOT_USE} local = "));
    }
    refused(sandbox.deploy(remote, &["--cache", "deploy/current/cache"]))
        .says(&format!("{CANNOT_USE} local = "))
        .says("the cache");
    assert_eq!(fs::read_dir(sandbox.path("cache")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(sandbox.path("deploy")).unwrap().count(), 0);
    sandbox.deploy(remote, &["--local", "./deploy/../deploy/current/"]).expect(0);
    assert_eq!(fs::read_to_string(sandbox.local().join("index")).unwrap(), "one");
}

/// The sample says what the program does: each key stands there once, as a comment with its default or an example that
/// can be used.
#[test]
fn the_sample_is_used_with_every_key_then_nothing_is_complained_of() {
    let sample = include_str!("../../etc/repo-deploy.cfg");
    let sandbox = Sandbox::new();
    let plain = run(&mut status(&sandbox, sample, &["-r", "/x"])).expect(1);
    assert_eq!(plain.log, "");
    let is_key = |line: &&str| line.contains(" = ") && line.starts_with('#') && !line.starts_with("# ");
    let keys: Vec<&str> = sample.lines().filter(is_key).map(|line| &line[1..]).collect();
    let file = sandbox.write("all.cfg", keys.join("\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let all =
        run(sandbox.bare().arg("status").arg("-c").arg(&file).arg("--log-file").arg(sandbox.path("log"))).expect(1);
    assert_eq!((all.log.as_str(), sandbox.read("log").as_str()), ("", ""));

    let help = run(sandbox.bare().args(["help", "keys"])).out;
    let known = help.lines().filter_map(|l| l.strip_prefix("  ")?.split_once(" = ")).map(|(key, _)| key);
    let mut known: Vec<&str> = known.filter(|key| !key.starts_with(' ')).collect();
    let mut shown: Vec<&str> = keys.iter().map(|line| line.split_once(" = ").unwrap().0).collect();
    shown.extend(["s3-bucket", "target-file-key", "last-fetch-time", "installation-in-progress"]); // instead of a remote
    shown.push("http-password"); // beside http-password-file, of which only one can be used
    known.sort_unstable();
    shown.sort_unstable();
    assert_eq!(known, shown);
}

#[test]
fn configuration_comes_as_a_descriptor_of_a_file_then_it_is_read_and_judged() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    let config = sandbox.write("in.cfg", format!("remote = {}\n", zip.display()));
    for path in ["/dev/stdin", "/proc/self/fd/0"] {
        let mut validate = sandbox.bare();
        validate.args(["validate", path]).stdin(fs::File::open(&config).unwrap());
        Run::from(validate.output().unwrap()).expect(0);
    }
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let mut check = sandbox.bare();
    check.args(["-f", "-c", "/dev/stdin"]).stdin(fs::File::open(&config).unwrap());
    Run::from(check.output().unwrap()).expect(78).says(OTHERS_MAY_WRITE).says("in.cfg");
}
