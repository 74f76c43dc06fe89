//! `validate`: bundles, appspecs and configurations are looked at, all problems told at once, and nothing is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, DID_YOU_MEAN, NO_ARCHIVE, NO_USER, VALID};
use crate::support::sandbox::{Run, Sandbox};

const GOOD: &str = r#"version: 0.0
os: linux
files:
  - source: /
    destination: /srv/app
permissions:
  - object: /srv/app
    owner: root
    mode: "0640"
    acls: ["u:0:r", "d:g:root:r"]
hooks:
  AfterInstall:
    - location: scripts/after.sh
      runas: root
"#;

/// Runs it in the sandbox, with an empty directory for temporary files, which must be empty again.
fn validate(sandbox: &Sandbox, args: &[&str]) -> Run {
    let temporary = sandbox.path("temporary");
    fs::create_dir_all(&temporary).unwrap();
    let run = sandbox.bare().arg("validate").args(args).env("TMPDIR", &temporary).output().unwrap();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    run.into()
}

/// Its lines are these beginnings, and the code is `code`.
#[track_caller]
fn says(run: Run, code: i32, lines: &[&str]) {
    let run = run.expect(code);
    let told: Vec<_> = run.out.lines().collect();
    assert_eq!(told.len(), lines.len(), "{}", run.out);
    for (told, line) in told.iter().zip(lines) {
        assert!(told.starts_with(line), "{told}\nshould begin with\n{line}");
    }
    assert_eq!(run.log, "");
}

#[test]
fn a_good_bundle_is_good_in_every_form() {
    needs!("tar", "zip");
    let sandbox = Sandbox::new();
    sandbox.write("bundle/appspec.yml", GOOD);
    sandbox.write("bundle/scripts/after.sh", "#!/bin/sh\n");
    let script =
        "tar -czf a.tar.gz -C bundle .; tar -cf plain bundle; cd bundle; zip -qr ../a.zip .; cp appspec.yml ../x.yaml";
    assert!(Command::new("sh").args(["-euc", script]).current_dir(sandbox.path("")).status().unwrap().success());
    for form in ["bundle", "bundle/", "a.tar.gz", "plain", "a.zip", "bundle/appspec.yml", "x.yaml"] {
        says(validate(&sandbox, &[form]), 0, &[&format!("{form}: {VALID}")]);
    }
    fs::rename(sandbox.path("bundle/appspec.yml"), sandbox.path("bundle/appspec.yaml")).unwrap();
    says(validate(&sandbox, &["bundle"]), 0, &["bundle: nothing"]);
}

#[test]
fn all_problems_of_a_bundle_are_told_at_once_with_their_places() {
    let sandbox = Sandbox::new();
    let bad = r"version: 0.0
os: linux
files:
  - source: gone
    destination: /srv/app
  - source: out/passwd
    destination: /srv/app
  - source: link
    destination: /srv/app
permissions:
  - object: /srv/app
    owner: nobody-of-this-name
    mode: 644
hooks:
  AfterInstall:
    - location: scripts
    - location: scripts/gone.sh
    - location: script-link
      runas: 4294967295
nothing: here
";
    sandbox.write("top/bundle/appspec.yml", bad);
    sandbox.write("top/bundle/scripts/after.sh", "#!/bin/sh\n");
    symlink("/etc", sandbox.path("top/bundle/out")).unwrap();
    symlink("/etc/passwd", sandbox.path("top/bundle/link")).unwrap();
    symlink("scripts/after.sh", sandbox.path("top/bundle/script-link")).unwrap();
    let lines = [
        "top/bundle/appspec.yml:4:13: error: source: gone is not in the bundle",
        "top/bundle/appspec.yml:6:13: error: source: out/passwd is a link that leads out of the bundle",
        &*format!("top/bundle/appspec.yml:12:12: warning: {NO_USER} nobody-of-this-name"),
        "top/bundle/appspec.yml:13:11: warning: mode without quotes is another number to other readers: write \"644\"",
        "top/bundle/appspec.yml:16:17: error: location: scripts is no file",
        "top/bundle/appspec.yml:17:17: error: location: scripts/gone.sh is not in the bundle",
        &*format!("top/bundle/appspec.yml:19:14: warning: {NO_USER} 4294967295"),
        "top/bundle/appspec.yml:20:1: warning: an appspec has no key nothing",
    ];
    says(validate(&sandbox, &["top"]), 78, &lines);
    sandbox
        .write("top/bundle/appspec.yml", GOOD.replace(": /srv/app\np", ": srv/app\np").replace("after.sh", "gone.sh"));
    let lines = [
        "top/bundle/appspec.yml:5:18: error: destination: srv/app is relative",
        "top/bundle/appspec.yml:13:17: error: loc",
    ];
    says(validate(&sandbox, &["top"]), 78, &lines);
    let twice = GOOD.replace("permissions:", "  - source: scripts\n    destination: /srv/app/scripts\npermissions:");
    sandbox.write("top/bundle/appspec.yml", twice);
    let line = "top/bundle/appspec.yml:6:13: error: /srv/app/scripts/after.sh would be copied twice, from the source of line 4";
    says(validate(&sandbox, &["top"]), 78, &[line]);
    // A FIFO is not waited for.
    fs::remove_file(sandbox.path("top/bundle/scripts/after.sh")).unwrap();
    assert!(Command::new("mkfifo").arg(sandbox.path("top/bundle/scripts/after.sh")).status().unwrap().success());
    sandbox.write("top/bundle/appspec.yml", GOOD.replace("source: /", "source: script-link"));
    let line = "top/bundle/appspec.yml:13:17: error: location: scripts/after.sh is no file";
    says(validate(&sandbox, &["top"]), 78, &[line]);
    fs::remove_file(sandbox.path("top/bundle/scripts/after.sh")).unwrap();
    sandbox.write("top/bundle/scripts/after.sh", "#!/bin/sh\n");
    sandbox.write("top/bundle/appspec.yml", GOOD.replace("\"0640\"", "0640"));
    says(validate(&sandbox, &["top"]), 0, &["top/bundle/appspec.yml:9:11: warning: mode without quotes"]);
}

#[test]
fn yaml_is_read_as_every_reader_reads_it_and_what_has_nothing_behind_it_is_not_there() {
    let sandbox = Sandbox::new();
    sandbox.write("b/x", "");
    sandbox.write("b/s.sh", "#!/bin/sh\n");
    let head = "version: 0.0\nos: linux\n";
    let files = "files:\n- source: x\n  destination: /srv/app\n";
    let good = [
        format!("---\n{head}{files}...\n"),
        format!("%YAML 1.1\n---\n{head}{files}"),
        format!("{head}{files}hooks:\n  BeforeInstall: &s\n  - location: s.sh\n  AfterInstall: *s\n"),
        format!("{head}files:\n- source: >-\n    x\n  destination: |-\n    /srv/app\n"),
        format!("{head}files:\n- source: 'x'\n  destination:\t\"/srv/\\\n    app\"\t# here\n"),
        format!(
            "{head}hooks:\n  AfterInstall:\n  - &s {{location: s.sh, timeout: 5}}\n  ApplicationStart:\n  - <<: *s\n    timeout: 7\n"
        ),
        format!("{head}hooks:\n  AfterInstall:\n  - location: s.sh\n"),
        format!("{head}files:\npermissions: ~\nhooks: null\nfile_exists_behavior:\n"),
        format!(
            "{head}{files}permissions:\n- object: /srv/app\n  owner: root\n  mode:\n  type:\n  acls: ~\n  pattern:\n  except:\n"
        ),
        format!(
            "{head}{files}hooks:\n  AfterInstall:\n  - location: s.sh\n    runas: null\n    timeout:\n  ApplicationStop:\n"
        ),
    ];
    for appspec in good {
        sandbox.write("b/appspec.yml", &appspec);
        let run = validate(&sandbox, &["b"]);
        assert_eq!((run.code, run.out.as_str()), (0, &*format!("b: {VALID}\n")), "{appspec}");
    }
    for (appspec, line) in [
        (format!("{head}{files}---\n"), "6:1: error: a second document begins here"),
        (format!("{head}{head}{files}"), "3:1: error: the key version is here twice: line 1 has it"),
        (format!("{head}files:\n- source: x\n  destination:\n"), "5:3: error: destination is missing"),
        (
            format!("{head}files:\n- source: !ruby/object:X {{}}\n"),
            "4:11: error: the tag !ruby/object:X does not fit here",
        ),
        (format!("{head}files:\n\t- source: x\n"), "4:2: error: this is no YAML: "),
    ] {
        sandbox.write("b/appspec.yml", &appspec);
        says(validate(&sandbox, &["b"]), 78, &[&format!("b/appspec.yml:{line}")]);
    }
}

#[test]
fn permissions_for_nothing_or_twice_for_one_path_are_told() {
    let sandbox = Sandbox::new();
    let appspec = "version: 0.0\nos: linux\nfiles:\n  - source: app\n    destination: /srv/app\npermissions:\n\
        \x20 - object: /srv/ap\n    mode: \"0640\"\n  - object: /srv/app\n    mode: \"0640\"\n    type: [file]\n\
        \x20 - object: /srv/app/a\n    mode: \"0600\"\n";
    sandbox.write("bundle/appspec.yml", appspec);
    sandbox.write("bundle/app/a", "");
    let expected = [
        "bundle/appspec.yml:7:13: warning: object: nothing that is installed is in /srv/ap with the pattern **",
        "bundle/appspec.yml:12:13: error: /srv/app/a is meant by this entry and by the one of line 9",
    ];
    says(validate(&sandbox, &["bundle"]), 78, &expected);
    sandbox.write("bundle/appspec.yml", appspec.replace("/srv/app/a", "/srv/app/b"));
    let expected =
        [expected[0], "bundle/appspec.yml:12:13: warning: object: nothing that is installed is in /srv/app/b"];
    says(validate(&sandbox, &["bundle"]), 0, &expected);
}

#[test]
fn what_is_no_bundle_is_told_in_one_line() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.write("two/appspec.yml", GOOD);
    sandbox.write("two/appspec.yaml", GOOD);
    sandbox.write("deep/a/b/appspec.yml", GOOD);
    sandbox.write("beside/a/appspec.yml", GOOD);
    sandbox.write("beside/README", "");
    sandbox.zip("none.zip", &[("index.html", "x")]);
    sandbox.zip("hostile.zip", &[("../appspec.yml", GOOD)]);
    sandbox.write("page.zip", "<html><title>Sign in</title>");
    sandbox.write("broken.yml", "a: [b\n");
    sandbox.write("brackets.yml", "[".repeat(1_000_000));
    sandbox.write("deep.yml", "[".repeat(100));
    let laughs: String = (1..10).map(|n| format!("- &{n} [{}]\n", vec![format!("*{}", n - 1); 9].join(","))).collect();
    sandbox.write("laughs.yml", format!("- &0 ha\n{laughs}"));
    fs::create_dir(sandbox.path("dir.yml")).unwrap();
    let none = "error: there is no appspec.yml or appspec.yaml at its top or in its single directory";
    for (path, line) in [
        ("empty", format!("empty: {none}")),
        ("deep", format!("deep: {none}")),
        ("beside", format!("beside: {none}")),
        ("dir.yml", format!("dir.yml: {none}")),
        ("none.zip", format!("none.zip: {none}")),
        ("two", "two: error: appspec.yml and appspec.yaml are both in two".into()),
        ("hostile.zip", "hostile.zip: error: member ../appspec.yml: its name has . or ..".into()),
        ("page.zip", format!("page.zip: error: page.zip {NO_ARCHIVE} and no tar.gz: it begins like an HTML page")),
        ("broken.yml", "broken.yml:1:6: error: this is no YAML: while parsing a flow sequence".into()),
        ("brackets.yml", "brackets.yml:1:256: error: this is no YAML: recursion limit exceeded".into()),
        ("deep.yml", "deep.yml:1:17: error: this is more than 16 levels deep".into()),
        ("laughs.yml", "laughs.yml:6:7: error: anchors and aliases come to more than 65536 values and bytes".into()),
        ("gone", "gone: error: cannot look at it: no such file or directory".into()),
    ] {
        says(validate(&sandbox, &[path]), 78, &[&line]);
    }
}

#[test]
fn the_environment_is_the_whole_configuration_then_it_is_validated() {
    let sandbox = Sandbox::new();
    let validated = |variables: &[(&str, &str)]| {
        let mut command = sandbox.bare();
        let run = Run::from(command.arg("validate").envs(variables.iter().copied()).output().unwrap());
        (run.code, run.out)
    };
    if Path::new("/etc/repo-deploy/repo-deploy.cfg").exists() {
        return; // this machine has one
    }
    let local = sandbox.local().display().to_string();
    let cache = sandbox.path("cache").display().to_string();
    let places = [("REPO_DEPLOY_LOCAL", &*local), ("REPO_DEPLOY_CACHE", &*cache)];
    let remote = [("REMOTE_REPOSITORY", "https://host/a.zip")];
    assert_eq!(validated(&[&places[..], &remote].concat()), (0, format!("the configuration: {VALID}\n")));
    let (code, out) = validated(&[&places[..], &remote, &[("REPO_DEPLOY_KEEP", "1")]].concat());
    assert!(code == 78 && out.starts_with(&format!("REPO_DEPLOY_KEEP: error: {CANNOT_USE} keep = 1")), "{out}");
    let (code, out) = validated(&places);
    assert!(code == 78 && out.contains("there is no such file"), "{out}");
}

#[test]
fn a_configuration_is_looked_at_section_by_section() {
    let sandbox = Sandbox::new();
    let text = "keep = 1\n[web]\nremote = https://host/a.zip\nkeeep = 3\n[batch]\nlocal = /srv/batch\nremote = https://host/b.zip\ntimeout = never\n";
    let file: PathBuf = sandbox.write("x.cfg", text);
    let name = file.to_str().unwrap();
    let lines = [
        format!("{name}:4:9: error: unknown key keeep; {DID_YOU_MEAN} keep?"),
        format!("{name}:1:8: error: {CANNOT_USE} keep = 1"),
        format!("{name}:8:11: error: {CANNOT_USE} timeout = never"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    says(validate(&sandbox, &[name]), 78, &lines);
    says(validate(&sandbox, &["--config", name]), 78, &lines);
    says(validate(&sandbox, &["--config", name, "--config-section", "web"]), 78, &lines[..2]);
    sandbox.write("x.cfg", "[web]\nremote = https://host/a.zip\n[batch]\nremote = https://host/b.zip\n");
    let same = "warning: two of the sections that run together have local = /var/deploy/current";
    says(validate(&sandbox, &["--config", name]), 0, &[&format!("{name}: {same}")]);
    sandbox.write("x.cfg", "remote = https://host/a.zip\n");
    says(validate(&sandbox, &["--config", name]), 0, &[&format!("{name}: {VALID}")]);
}
