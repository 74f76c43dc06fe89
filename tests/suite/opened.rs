//! `validate` opens what a check opens, and says before what that would fail with; and after one bad value it makes up no other.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::local_users::{give, he, mode};
use crate::planted::text;
use crate::support::needs::needs;
use crate::support::phrases::{
    APART, BELONGS_TO, CANNOT_READ, CANNOT_START, CANNOT_USE, CARRIAGE_RETURN, CONTAINS, FOREIGN_LINK, IS_A_DIRECTORY,
    IS_REFUSED, ITS_INTERPRETER, NOBODY_READS, NOTHING_AT, OTHERS_MAY_WRITE, VALID,
};
use crate::support::sandbox::{Run, Sandbox, tree};

/// What validate says, without the sandbox's path, and its code. It changes nothing.
fn validate(sandbox: &Sandbox, text: &str) -> (String, i32) {
    let config = sandbox.write("validate.cfg", text);
    mode(&config, 0o600);
    let before = everything(sandbox);
    let run = Run::from(sandbox.bare().arg("validate").arg(config).output().unwrap());
    assert_eq!(everything(sandbox), before, "validate changed something");
    (run.out.replace(&sandbox.path("").display().to_string(), ""), run.code)
}

fn everything(sandbox: &Sandbox) -> BTreeMap<String, String> {
    tree(&sandbox.path(""))
}

#[test]
fn what_a_check_opens_is_opened_and_what_is_wrong_with_it_is_told() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "v1")]);
    let zip = zip.to_str().unwrap();
    let at = |name: &str| sandbox.path(name).display().to_string();
    sandbox.write("open", "machine h login u password p\n");
    mode(sandbox.path("open"), 0o666);
    sandbox.write("seen", "machine h login u password p\n");
    mode(sandbox.path("seen"), 0o644);
    sandbox.write("odd", "machine\n");
    mode(sandbox.path("odd"), 0o600);
    sandbox.write("text", "no certificate\n");
    fs::create_dir(sandbox.path("dir")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, sandbox.path("fifo"), fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    for (name, content, bits) in [
        ("crlf/10", "#!/bin/sh\r\nexit 0\r\n", 0o755),
        ("gone/10", "#!/no/such/python -u\n", 0o755),
        ("none/10", "exit 0\n", 0o755),
        ("off/10", "#!/bin/sh\n", 0o644),
        ("other/10", "#!/bin/sh\n", 0o757),
        ("bad-paths/10", "#!/bin/sh\n", 0o755),
        ("bad-paths/10.paths", "!x\n", 0o644),
    ] {
        sandbox.write(name, content);
        mode(sandbox.path(name), bits);
    }
    let https = "https://127.0.0.1:9/a.zip";
    for (remote, line, code, said) in [
        (https, format!("netrc = {}", at("gone")), 78, &*format!("error: {CANNOT_READ} netrc gone: {IS_A_DIRECTORY}")),
        (https, "netrc = /nope".to_owned(), 78, &*format!("error: {CANNOT_READ} netrc /nope: no such file")),
        (
            https,
            format!("netrc = {}", at("open")),
            78,
            &*format!("error: {CANNOT_READ} netrc open: {OTHERS_MAY_WRITE} open"),
        ),
        (https, format!("netrc = {}", at("seen")), 0, "warning: others may read netrc seen: chmod 600 seen"),
        (https, format!("netrc = {}", at("odd")), 78, &*format!("error: {CANNOT_READ} netrc odd: line ")),
        (https, format!("ca-file = {}", at("text")), 78, &*format!("error: {CANNOT_USE} ca-file text: ")),
        (https, "ca-file = /nope".to_owned(), 78, &*format!("error: {CANNOT_READ} ca-file /nope: no such file")),
        (
            "s3://b/k.zip",
            "ca-file = /nope".to_owned(),
            78,
            &*format!("error: {CANNOT_READ} ca-file /nope: no such file"),
        ),
        (
            https,
            "http-user = u\nhttp-password-file = /nope".to_owned(),
            78,
            &*format!("{CANNOT_READ} http-password-file /nope"),
        ),
        (zip, "verify-key = /nope".to_owned(), 78, &*format!("error: {CANNOT_USE} verify-key /nope: no such file")),
        ("/no/such.zip", String::new(), 0, &*format!("warning: {NOTHING_AT} /no/such.zip")),
        (
            zip,
            format!("pre-hooks = {}", at("nohooks")),
            0,
            "warning: the hook directory nohooks, which was configured,",
        ),
        (zip, format!("pre-hooks = {}", at("crlf")), 78, &*format!("crlf/10 {CANNOT_START}: {CARRIAGE_RETURN}")),
        (
            zip,
            format!("post-hooks = {}", at("gone")),
            78,
            &*format!("gone/10 {CANNOT_START}: {ITS_INTERPRETER} /no/such/python does not"),
        ),
        (
            zip,
            format!("post-hooks = {}", at("none")),
            0,
            &*format!("warning: the hook none/10 {CANNOT_START}: it does not begin with"),
        ),
        (zip, format!("pre-hooks = {}", at("off")), 0, "warning: passed over the hook off/10: it is not executable"),
        (
            zip,
            format!("pre-hooks = {}", at("other")),
            78,
            &*format!("error: the hook other/10 {IS_REFUSED}: {OTHERS_MAY_WRITE}"),
        ),
        (zip, format!("pre-hooks = {}", at("bad-paths")), 78, &*format!("error: the hook bad-paths/10 {IS_REFUSED}: ")),
        (
            zip,
            "log-file = /nope/x.log".to_owned(),
            0,
            &*format!("warning: {CANNOT_USE} log-file = /nope/x.log: no such file"),
        ),
        (
            zip,
            format!("log-file = {}", at("dir")),
            0,
            &*format!("warning: {CANNOT_USE} log-file = dir: is a directory"),
        ),
        (
            zip,
            format!("log-file = {}", at("fifo")),
            0,
            &*format!("warning: {CANNOT_USE} log-file = fifo: {NOBODY_READS}"),
        ),
        (
            zip,
            format!("log-file = {}", at("socket")),
            0,
            &*format!("warning: {CANNOT_USE} log-file = socket: {NOBODY_READS}"),
        ),
        (
            zip,
            "status-file = /nope/x.json".to_owned(),
            0,
            &*format!("warning: {CANNOT_USE} status-file = /nope/x.json: no such file"),
        ),
        (
            zip,
            format!("metrics-file = {}", at("dir")),
            78,
            &*format!("error: {CANNOT_USE} metrics-file = dir: {IS_A_DIRECTORY}"),
        ),
        (zip, "schedule = */60 * * * *".to_owned(), 0, "warning: schedule: minute */60 is only 0"),
        (zip, "schedule = CRON_TZ=Europe/Berln 0 4 * * *".to_owned(), 78, "cannot load the time zone Europe/Berln"),
        (zip, "schedule = 0 0 * * L5".to_owned(), 78, "weekday L5: the L stands behind the weekday: 5L"),
        (
            "ssh://u@h/a.git",
            "ssh-key = /nope".to_owned(),
            78,
            &*format!("error: {CANNOT_USE} ssh-key /nope: no such file"),
        ),
        (
            "ssh://u@h/a.git",
            "verify-commit = /nope".to_owned(),
            78,
            &*format!("error: {CANNOT_USE} verify-commit /nope: no such file"),
        ),
    ] {
        let (told, ended) = validate(&sandbox, &text(&sandbox, remote, &line));
        assert!(told.contains(said) && ended == code && told.lines().count() == 1, "{line}: {ended}\n{told}{said}");
        assert!(told.starts_with("validate.cfg:"), "{told}");
    }
    // Who asks S3 is in files, too: they are read, and nobody is asked.
    sandbox.write("home/.amazon/account-key", "accessKey=AK\n");
    mode(sandbox.path("home/.amazon/account-key"), 0o600);
    let (told, code) = validate(&sandbox, &text(&sandbox, "s3://b/k.zip", ""));
    assert!(
        code == 78 && told.contains("account-key: it has no line secretKey=") && told.lines().count() == 1,
        "{told}"
    );
    let (told, code) = validate(&sandbox, &text(&sandbox, zip, "status-file = new.json\nlog-file = new.log"));
    assert!(code == 0 && told.ends_with(&format!("{VALID}\n")), "{told}");
    let run = Run::from(sandbox.bare().args(["validate", "fifo"]).output().unwrap()).expect(78);
    assert_eq!(run.out, "fifo: error: it is no regular file and no directory: validate takes a file or a bundle\n");
}

#[test]
fn places_are_others_then_validate_and_check_say_the_same() {
    needs!(root, "setfacl");
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "v1")]);
    let zip = zip.to_str().unwrap();
    let at = |name: &str| sandbox.path(name).display().to_string();
    for name in ["his", "open", "his-hooks", "acl"] {
        fs::create_dir(sandbox.path(name)).unwrap();
    }
    mode(sandbox.path("open"), 0o777);
    give(&sandbox.path("his"));
    give(&sandbox.path("his-hooks"));
    he(&format!("mkdir -p '{0}/state/default' '{0}/cache/default' '{0}/live.d'; ln -s live.d '{0}/live'", at("his")));
    sandbox.hook("acl", "10", "");
    let set = Command::new("setfacl").args(["-m", "u:65534:rwx"]).arg(sandbox.path("acl/10")).status().unwrap();
    let in_place = "activation = in-place";
    let mut cases = vec![
        (format!("local = {}", at("open/current")), format!("{OTHERS_MAY_WRITE} open")),
        (format!("store = {}", at("his/store")), format!("his {BELONGS_TO} 65534: chown root")),
        (format!("state-dir = {}\n{in_place}", at("his/state")), format!("his {BELONGS_TO} 65534: chown root")),
        (format!("local = {}/x\n{in_place}", at("his/live")), format!("his/live {FOREIGN_LINK} 65534")),
        (format!("pre-hooks = {}", at("his-hooks")), format!("his-hooks {BELONGS_TO} 65534")),
    ];
    if set.success() {
        cases.push((format!("post-hooks = {}", at("acl")), "user 65534 may write acl/10 by its ACL".to_owned()));
    }
    for (line, said) in cases {
        let line = format!("state-dir = {}\n{line}", at("state")).replacen(
            &format!("state-dir = {}\nstate-dir", at("state")),
            "state-dir",
            1,
        );
        let configured = text(&sandbox, zip, &line);
        let (told, code) = validate(&sandbox, &configured);
        assert!(told.contains(&said) && told.contains(": error: ") && code == 78, "{line}: {told}");
        let check = sandbox.bare().args(["-f", "--config"]).arg(sandbox.path("validate.cfg")).output().unwrap();
        let run = Run::from(check);
        let log = run.log.replace(&sandbox.path("").display().to_string(), "");
        assert!([2, 78].contains(&run.code) && log.contains(&said), "{line}: {log}");
    }
    // The cache is not needed for a directory on this host.
    sandbox.write("src/file", "v1");
    for (remote, code) in [(zip.to_owned(), 78), (at("src/"), 0)] {
        let configured = text(&sandbox, &remote, "").replace(&at("cache"), &at("open/cache"));
        let (told, ended) = validate(&sandbox, &configured);
        assert!(
            told.contains(&format!("the cache open/cache/default cannot be trusted: {OTHERS_MAY_WRITE} open")),
            "{told}"
        );
        assert_eq!(ended, code, "{told}");
        if code == 0 {
            let check = sandbox.bare().args(["-f", "--config"]).arg(sandbox.path("validate.cfg")).output().unwrap();
            Run::from(check).expect(0).never_says("cannot remove").never_says("WARN");
        }
    }
}

#[test]
fn a_value_is_bad_then_nothing_is_made_up_about_the_others() {
    let sandbox = Sandbox::new();
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let hooks = format!(
        "pre-hooks = {}\npost-hooks = {}\nlocal = {}\n",
        sandbox.path("pre.d").display(),
        sandbox.path("post.d").display(),
        sandbox.local().display()
    );
    for (bad, errors) in [
        (format!("remote = s3://bucket/\nverify-key = {key}\nsignature-url = s3://bucket/a.minisig\n"), 1),
        ("remote = https://u@ho st/a.zip\nhttp-password = secret\n".to_owned(), 1),
        ("remote = https://h/a.zip\nhttp-user = a:b\nhttp-password = secret\n".to_owned(), 1),
        ("s3_bucket = B/\ntarget_file_key = k\n".to_owned(), 1),
        ("remote = https://h/a.zip\naws-access-key = a b\naws-secret-key = c\n".to_owned(), 1),
        ("remote = https://h/a.zip\nverify-key = RWx\nsignature-url = https://h/s\n".to_owned(), 1),
        ("remote = https://h/a.zip\nactivation = instal\nappspec = no\n".to_owned(), 1),
        ("keep = 1\ntimeout = 0\n".to_owned(), 3),
        ("remote = https://h/a.zip\nlocal = ~/x\ncache = /var/deploy/current/c\n".to_owned(), 1),
        ("s3_bucket = b\ntarget_file_key = k\nlast_fetch_time = once\ninstallation_in_progress = 1\n".to_owned(), 2),
    ] {
        let hooks = if bad.contains("local =") { String::new() } else { hooks.clone() };
        let (told, code) = validate(&sandbox, &format!("{bad}{hooks}"));
        assert_eq!((told.matches(": error: ").count(), code), (errors, 78), "{bad}{told}");
    }
}

#[test]
fn sections_lie_in_one_another_then_validate_says_what_a_check_of_one_would() {
    let sandbox = Sandbox::new();
    let at = |name: &str| sandbox.path(name).display().to_string();
    let in_place = |local: &str| format!("remote = {}\nlocal = {}\nactivation = in-place\n", at("app.zip"), at(local));
    sandbox.zip("app.zip", &[("file", "v1")]);
    let both = format!(
        "state-dir = {}\ncache = {}\npre-hooks = {}\npost-hooks = {}\n[a]\n{}[b]\n{}",
        at("state"),
        at("cache"),
        at("pre.d"),
        at("post.d"),
        in_place("w"),
        in_place("w/b")
    );
    // Neither is here: as long as they do not run together there is nothing to lose.
    let (told, code) = validate(&sandbox, &both);
    assert!(
        code == 0 && told.contains(&format!("warning: {CANNOT_USE} local of [")) && told.lines().count() == 1,
        "{told}"
    );
    sandbox.write("w/b/mine", "precious");
    let (told, code) = validate(&sandbox, &both);
    assert!(
        code == 78 && told.contains(&format!("error: {CANNOT_USE} local of [a]: {CONTAINS} the local of [b] w/b")),
        "{told}"
    );
    let check = |section: &str| {
        let mut check = sandbox.bare();
        check.args(["-f", "--config-section", section, "--config"]).arg(sandbox.path("validate.cfg"));
        Run::from(check.output().unwrap()).expect(78)
    };
    check("a").says(&format!("{CANNOT_USE} local of [a]: {CONTAINS} the local of [b] ")).says(APART);
    check("b").says(&format!("{CANNOT_USE} local of [b]: it is inside the local of [a] ")).says(APART);
    assert_eq!(sandbox.read("w/b/mine"), "precious");
}
