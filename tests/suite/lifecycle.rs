//! Lifecycle events of installed bundles: whose scripts run when, as whom, and what they are told; and a failure at each of
//! them, and of each call that changes a file: then everything is as it was before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::crash::traced;
use crate::install::Host;
use crate::support::git_servers::Repo;
use crate::support::needs::{has, leave_out, needs};
use crate::support::phrases::{EXIT_CODE, LIVE_AGAIN, MOVE_AWAY, NOT_A_FILE, ROLLING_BACK, WAS_ENDED};
use crate::support::running::{is_alive, kill};
use crate::support::sandbox::Run;
use crate::support::servers::{Raw, ok};
use crate::support::tree::put_back;
use crate::support::walk::{Point, SAMPLE, points, sample};

const EVENTS: [&str; 9] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

/// A bundle of `version` whose every event says its name and version into `trace`, and then does what `extra` says.
fn bundle(host: &Host, version: &str, extra: &str) {
    let trace = host.sandbox.path("trace");
    let say = format!("#!/bin/sh\necho {version}:$LIFECYCLE_EVENT >>{}\n{extra}\n", trace.display());
    let mut appspec =
        "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles:\n- {source: tree, destination: DEST/app}\n"
            .to_owned();
    appspec.push_str("- {source: over, destination: DEST/etc}\npermissions:\n");
    let mode = if version == "v1" { "'0640'" } else { "'0604'" };
    appspec.push_str(&format!(
        "- {{object: DEST/app, type: [file], owner: '3', mode: {mode}, acls: ['u:4:rw']}}\nhooks:\n"
    ));
    for event in EVENTS {
        appspec.push_str(&format!("  {event}: [{{location: scripts/say}}]\n"));
    }
    let only = format!("tree/only-{version}");
    host.bundle(
        &appspec,
        &[
            ("version", version),
            ("scripts/say", &say),
            ("over", version),
            ("tree/version", version),
            ("tree/same", "same"),
            ("tree/changed", "v1"),
            (&only, "x"),
            ("tree/deep/file", version),
            (if version == "v1" { "tree/turn" } else { "tree/turn/inside" }, version),
        ],
    );
}

/// What ran, in order; and forgets it.
fn trace(host: &Host) -> Vec<String> {
    let path = host.sandbox.path("trace");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path); // nothing may have run
    text.lines().map(str::to_owned).collect()
}

fn all(version: &str, events: &[&str]) -> Vec<String> {
    events.iter().map(|event| format!("{version}:{event}")).collect()
}

/// A host with others' files, v1 live, and things that the application did to it since.
fn lived_in() -> Host {
    let host = Host::new();
    for name in ["etc/foreign", "etc/over"] {
        host.found(name, "theirs");
        std::os::unix::fs::chown(host.dest(name), Some(5), Some(6)).unwrap();
        fs::set_permissions(host.dest(name), fs::Permissions::from_mode(0o4751)).unwrap();
    }
    if has("setfacl") && has("setfattr") {
        let run = |program: &str, args: &[&str], name: &str| {
            assert!(Command::new(program).args(args).arg(host.dest(name)).status().unwrap().success());
        };
        run("setfacl", &["-m", "u:7:rwx"], "etc/over");
        run("setfattr", &["-n", "user.note", "-v", "theirs"], "etc/over");
        run("touch", &["-d", "2001-02-03 04:05:06.789"], "etc/over");
    }
    bundle(&host, "v1", "");
    host.deploy().expect(0);
    host.found("app/changed", "by the application");
    fs::set_permissions(host.dest("app/same"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(host.dest("app/deep/file")).unwrap();
    host.found("app/new", "by the application");
    fs::set_permissions(host.dest("app/deep"), fs::Permissions::from_mode(0o711)).unwrap();
    trace(&host);
    host
}

#[test]
fn events_run_in_order_and_the_live_release_is_the_one_that_stops() {
    let host = Host::new();
    for (when, dir) in [("pre", "pre.d"), ("post", "post.d")] {
        host.sandbox.hook(dir, "10-say", &format!("echo hooks:{when} >>{}", host.sandbox.path("trace").display()));
    }
    bundle(&host, "v1", "");
    host.deploy().expect(0);
    let mut expected = vec!["hooks:pre".to_owned()];
    expected.extend(all("v1", &EVENTS[3..]));
    expected.push("hooks:post".to_owned());
    assert_eq!(trace(&host), expected, "a first deployment stops nobody");

    bundle(&host, "v2", "");
    host.deploy().expect(0);
    let mut expected = vec!["hooks:pre".to_owned()];
    expected.extend(all("v1", &EVENTS[..3]));
    expected.extend(all("v2", &EVENTS[3..]));
    expected.push("hooks:post".to_owned());
    assert_eq!(trace(&host), expected);
    assert_eq!(host.deploy().expect(0).complaints(), [""; 0]);
    assert_eq!(trace(&host), [""; 0], "nothing is new, so nothing runs");
}

#[test]
fn scripts_are_told_about_the_deployment() {
    let host = Host::new();
    let told = host.sandbox.path("told");
    let tell = format!(
        "env >{}.$LIFECYCLE_EVENT; pwd >>{0}.$LIFECYCLE_EVENT; echo args=$# >>{0}.$LIFECYCLE_EVENT; cat >>{0}.$LIFECYCLE_EVENT",
        told.display()
    );
    bundle(&host, "v1", &tell);
    host.deploy().expect(0);
    bundle(&host, "v2", &tell);
    host.deploy().expect(0);
    let seen = |event: &str| host.sandbox.read(format!("told.{event}"));
    let value = |event: &str, name: &str| -> String {
        let text = seen(event);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name} in {event}:\n{text}"))
    };
    let releases = host.store().join("releases");
    for event in EVENTS {
        assert_eq!(value(event, "LIFECYCLE_EVENT"), event);
        for name in ["APPLICATION_NAME", "DEPLOYMENT_GROUP_NAME", "DEPLOYMENT_GROUP_ID", "REPO_DEPLOY_ID"] {
            assert_eq!(value(event, name), "test", "{event}");
        }
        let (current, previous) = (value(event, "CURRENT_CONFIG"), value(event, "PREVIOUS_CONFIG"));
        assert_eq!(fs::read_to_string(format!("{current}/version")).unwrap(), "v2", "{event}");
        assert_eq!(fs::read_to_string(format!("{previous}/version")).unwrap(), "v1", "{event}");
        assert_eq!(releases.join(value(event, "DEPLOYMENT_ID")).to_str(), Some(current.as_str()), "{event}");
        let stops = EVENTS[..3].contains(&event);
        let text = seen(event);
        let cwd = text.lines().find(|line| line.starts_with('/')).unwrap();
        assert_eq!(cwd, if stops { &previous } else { &current }, "{event}: the bundle of the script");
        assert!(text.ends_with("args=0\n"), "{event}: no arguments, and nothing to read");
        assert_eq!(value(event, "REPO_DEPLOY_PHASE"), if stops || event == "BeforeInstall" { "pre" } else { "post" });
    }
}

#[test]
fn bundle_from_s3_then_scripts_are_told_which_object() {
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: s}]\n";
    let say = "#!/bin/sh\necho \"$BUNDLE_BUCKET $BUNDLE_KEY $BUNDLE_VERSION $BUNDLE_ETAG\"\n";
    for (version, told) in [("", "b path/to/app.zip  0123"), ("x-amz-version-id: v7\n", "b path/to/app.zip v7 0123")] {
        host.bundle(appspec, &[("a", "A"), ("s", say)]);
        let zip = fs::read(host.sandbox.path("app.zip")).unwrap();
        let server = Raw::start(move |_, _| vec![ok(&format!("ETag: \"0123\"\n{version}"), &zip)]);
        let config = format!(
            "activation = install\nid = test\ns3-endpoint = {}\naws-access-key = AK\naws-secret-key = hunter2\n",
            server.url("").trim_end_matches('/')
        );
        host.sandbox.write("repo-deploy.cfg", config);
        host.sandbox.deploy("s3://b/path/to/app.zip", &[]).expect(0).says(&format!("INFO s: {told}"));
    }
}

#[test]
fn bundle_from_git_then_scripts_are_told_which_commit() {
    needs!("git");
    let host = Host::new();
    let appspec = format!(
        "version: 0.0\nos: linux\nfiles: [{{source: a, destination: {}}}]\nhooks:\n  AfterInstall: [{{location: s}}]\n",
        host.dest("app").display()
    );
    let repo = Repo::new(&host.sandbox, "app");
    let say = "#!/bin/sh\necho \"of $BUNDLE_COMMIT\"\n";
    let commit = repo.commit(&[("bundle/appspec.yml", &appspec), ("bundle/a", "A"), ("bundle/s", say)]);
    host.sandbox.write("repo-deploy.cfg", "activation = install\nid = test\n");
    let run = host.sandbox.deploy(&repo.remote("/bundle#main"), &[]).expect(0);
    run.says(&format!("INFO s: of {commit}"));
    assert_eq!(host.sandbox.read(host.dest("app/a")), "A");
}

#[test]
fn permissions_are_for_nothing_then_a_warning_says_so_once() {
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\n\
        permissions: [{object: DEST/ap, mode: '600'}]\n";
    host.bundle(appspec, &[("a", "A")]);
    let log = host.deploy().expect(0).log;
    assert_eq!(log.matches("nothing that is installed is in ").count(), 1, "{log}");
}

#[test]
fn runas_then_the_script_is_that_user_with_his_groups_and_home() {
    needs!(root);
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: s, runas: nobody}, {location: t, runas: '65534'}]\n";
    let say = "#!/bin/sh\necho \"$(id -u):$(id -g):$(id -G) $HOME $USER $LOGNAME\"\n";
    host.bundle(appspec, &[("a", "A"), ("s", say), ("t", say)]);
    let run = host.deploy().expect(0);
    let told = "65534:65534:65534 /nonexistent nobody nobody";
    run.says(&format!("INFO s: {told}")).says(&format!("INFO t: {told}"));
}

#[test]
fn runas_then_the_secrets_of_our_environment_are_not_that_user_s() {
    needs!(root);
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  AfterInstall: [{location: s, runas: nobody}, {location: t}]\n";
    let say = "#!/bin/sh\nenv\n";
    host.bundle(appspec, &[("a", "A"), ("s", say), ("t", say)]);
    let remote = host.sandbox.path("app.zip").display().to_string();
    let secrets = [
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "hunter2"),
        ("REPO_DEPLOY_HTTP_USER", "hunter2"),
        ("REPO_DEPLOY_HTTP_PASSWORD", "hunter2"),
        ("REPO_DEPLOY_NOTIFY_URL", "http://127.0.0.1:9/hunter2"),
        ("REMOTE_REPOSITORY", "http://user:hunter2@127.0.0.1/a.zip"),
        ("https_proxy", "http://user:hunter2@127.0.0.1:3128"),
    ];
    let mut check = host.sandbox.command(&["--remote", &remote]);
    let log = Run::from(check.envs(secrets).env("APP_SETTING", "theirs").output().unwrap()).expect(0).log;
    let of =
        |script: &str| log.lines().filter(|line| line.contains(&format!(" {script}: "))).collect::<Vec<_>>().join("\n");
    let (theirs, ours) = (of("s"), of("t"));
    assert!(!theirs.contains("hunter2") && theirs.contains("APP_SETTING=theirs"), "{theirs}");
    assert!(theirs.contains("REPO_DEPLOY_REMOTE=") && theirs.contains("LIFECYCLE_EVENT=AfterInstall"), "{theirs}");
    assert!(ours.matches("hunter2").count() == secrets.len(), "{ours}");
}

#[test]
fn event_without_entry_then_the_script_of_its_name_runs_and_is_made_executable() {
    let host = Host::new();
    let trace_file = host.sandbox.path("trace");
    let say = format!("\n#!/bin/sh\necho $LIFECYCLE_EVENT by name >>{}\n", trace_file.display());
    let (say, listed) =
        (say.trim_start(), format!("#!/bin/sh\necho $LIFECYCLE_EVENT listed >>{}\n", trace_file.display()));
    let appspec = host.dest("app");
    let appspec = format!(
        "version: 0.0\nos: linux\nfiles: [{{source: /, destination: {}}}]\nhooks:\n  AfterInstall: [{{location: listed}}]\n",
        appspec.display()
    );
    // As Windows writes them: nobody may execute anything.
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [
        ("appspec.yml", appspec.as_str()),
        ("listed", &listed),
        ("hooks/AfterInstall.sh", say),
        ("hooks/BeforeInstall.sh", say),
        ("hooks/other.sh", say),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default().unix_permissions(0o644)).unwrap();
        std::io::Write::write_all(&mut zip, content.as_bytes()).unwrap();
    }
    host.sandbox.write("app.zip", zip.finish().unwrap().into_inner());
    host.deploy().expect(0);
    assert_eq!(trace(&host), ["BeforeInstall by name", "AfterInstall listed"]);
    let mode = |name: &str| fs::metadata(host.dest(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("app/hooks/BeforeInstall.sh"), mode("app/listed"), mode("app/hooks/other.sh")),
        (0o755, 0o755, 0o644)
    );
}

#[test]
fn timeout_of_a_script_then_it_is_ended_and_the_deployment_goes_back() {
    let host = Host::new();
    let pid = host.sandbox.path("pid");
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  ApplicationStart: [{location: s, timeout: 1}]\n";
    host.bundle(appspec, &[("a", "A"), ("s", &format!("#!/bin/sh\necho $$ >{}\nexec sleep 600\n", pid.display()))]);
    host.deploy()
        .expect(1)
        .says(&format!("ApplicationStart s {WAS_ENDED} after its timeout = 1 s"))
        .says("everything is as it was found");
    assert!(!is_alive(&host.sandbox.read("pid")));
    assert!(host.tree().is_empty());
}

#[test]
fn script_that_leaves_a_daemon_behind_then_it_lives_on() {
    let host = Host::new();
    let pid = host.sandbox.path("pid");
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  ApplicationStart: [{location: s}]\n";
    host.bundle(
        appspec,
        &[("a", "A"), ("s", &format!("#!/bin/sh\nsleep 600 >/dev/null 2>&1 &\necho $! >{}\n", pid.display()))],
    );
    host.deploy().expect(0);
    let pid = host.sandbox.read("pid");
    assert!(is_alive(&pid));
    kill(&pid);
}

/// The end of `run` is the way back: the tree is as before, the old release's scripts ran, and the next check tries again.
#[track_caller]
fn went_back(host: &Host, run: Run, before: &BTreeMap<String, String>, at: &str) -> Run {
    let run = run.expect(1);
    assert_eq!(&host.tree(), before, "{at}:\n{}", run.log);
    let ledger = host.sandbox.read("state/test/ledger");
    assert!(ledger.lines().nth(1).unwrap().contains(" idle - 1"), "{at}: closed, with one copy: {ledger}");
    run
}

#[test]
fn failure_at_every_event_then_everything_is_as_before_and_the_old_release_starts_again() {
    let again = all("v1", &EVENTS[4..7]);
    for (n, event) in EVENTS.iter().enumerate() {
        let host = lived_in();
        if n < 3 {
            // The live release's script fails: it has that in its bundle.
            let script = fs::read_dir(host.store().join("releases"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path()
                .join("scripts/say");
            let text = fs::read_to_string(&script).unwrap();
            fs::write(&script, format!("{text}\n[ $LIFECYCLE_EVENT != {event} ]\n")).unwrap();
        }
        let before = host.tree();
        // A script may do as it likes with what is ours, and with a directory on the way to it.
        let vandal =
            format!("[ $LIFECYCLE_EVENT != BeforeInstall ] || rm -rf {0}/version {0}/turn", host.dest("app").display());
        bundle(&host, "v2", &format!("{vandal}\n[ $LIFECYCLE_EVENT != {event} ]"));
        let run = went_back(&host, host.deploy(), &before, event);
        run.says(&format!("{event} scripts/say {EXIT_CODE} 1; {ROLLING_BACK}"));
        let mut expected = all("v1", &EVENTS[..3.min(n + 1)]);
        expected.extend(all("v2", EVENTS.get(3..=n).unwrap_or_default()));
        expected.extend(again.clone());
        assert_eq!(trace(&host), expected, "{event}");
        if n < 3 {
            host.sandbox.write("repo-deploy.cfg", "activation = install\nid = test\nignore-stop-failure = yes\n");
            bundle(&host, "v2", "");
            host.deploy().expect(0).says("going on, as ignore-stop-failure says");
            assert_eq!(trace(&host), [all("v1", &EVENTS[..3]), all("v2", &EVENTS[3..])].concat(), "{event}");
        }
    }
}

#[test]
fn script_removes_everything_and_fails_then_it_is_all_back() {
    let host = lived_in();
    let before = host.tree();
    let app = host.dest("app");
    // What the application made itself is nobody's to bring back.
    let kept: BTreeMap<_, _> =
        before.iter().filter(|(path, _)| *path != "app/new").map(|(a, b)| (a.clone(), b.clone())).collect();
    bundle(
        &host,
        "v2",
        &format!("case $LIFECYCLE_EVENT in BeforeInstall) rm -rf {};; ValidateService) exit 1;; esac", app.display()),
    );
    went_back(&host, host.deploy(), &kept, "rm -rf");
    // A directory of somebody else's comes back too.
    let host = lived_in();
    let before = host.tree();
    let kept: BTreeMap<_, _> =
        before.iter().filter(|(path, _)| *path != "etc/foreign").map(|(a, b)| (a.clone(), b.clone())).collect();
    bundle(
        &host,
        "v2",
        &format!(
            "case $LIFECYCLE_EVENT in BeforeInstall) rm -rf {};; ValidateService) exit 1;; esac",
            host.dest("etc").display()
        ),
    );
    went_back(&host, host.deploy(), &kept, "rm -rf etc");
}

#[test]
fn first_deployment_fails_at_every_event_then_what_was_there_is_there() {
    for event in &EVENTS[3..] {
        let host = Host::new();
        host.found("etc/over", "theirs");
        let before = host.tree();
        bundle(&host, "v1", &format!("[ $LIFECYCLE_EVENT != {event} ]"));
        host.deploy().expect(1).says("everything is as it was found");
        assert_eq!(host.tree(), before, "{event}");
        // And it can be had after all.
        bundle(&host, "v2", "");
        host.deploy().expect(0);
    }
}

#[test]
fn post_hook_fails_then_everything_is_as_before() {
    let host = lived_in();
    let before = host.tree();
    host.sandbox.hook("post.d", "10-no", "[ $(cat $CURRENT_CONFIG/version) = v1 ]");
    bundle(&host, "v2", "");
    went_back(&host, host.deploy(), &before, "post hook").says(&format!("post.d/10-no {EXIT_CODE} 1; {ROLLING_BACK}"));
}

#[test]
fn pre_hook_blocks_then_nothing_is_touched() {
    let host = lived_in();
    let before = host.tree();
    host.sandbox.hook("pre.d", "10-no", "exit 1");
    bundle(&host, "v2", "");
    host.deploy().expect(2);
    assert_eq!((host.tree(), trace(&host)), (before, vec![]));
}

#[test]
fn later_release_lacks_a_file_then_it_goes_and_what_it_replaced_comes_back() {
    let host = lived_in();
    bundle(&host, "v2", "");
    host.deploy().expect(0);
    let tree = host.tree();
    assert!(!tree.contains_key("app/only-v1") && tree.contains_key("app/only-v2"), "{tree:#?}");
    assert!(tree["app/new"].contains("by the application"));
    assert!(tree["app/turn/inside"].contains(" v2 ") && tree["etc/over"].contains(" v2 "));
    host.bundle("version: 0.0\nos: linux\nfiles: [{source: x, destination: DEST/other}]\n", &[("x", "x")]);
    host.deploy().expect(0);
    let tree = host.tree();
    assert!(
        tree["etc/over"].starts_with("f 4771 5:6 theirs ") && tree["etc/over"].contains("@981173106.789"),
        "{tree:#?}"
    );
    // A directory that the application uses stays; the empty ones go.
    let left: Vec<&String> = tree.keys().collect();
    assert_eq!(left, ["app", "app/new", "etc", "etc/foreign", "etc/over", "other", "other/x"]);
}

#[test]
fn fifo_stands_at_a_path_of_ours_then_it_is_never_touched() {
    let host = lived_in();
    fs::remove_file(host.dest("app/same")).unwrap();
    rustix::fs::mkfifoat(fs::File::open(host.dest("app")).unwrap(), "same", rustix::fs::Mode::RWXU).unwrap();
    let before = host.tree();
    bundle(&host, "v2", "");
    host.deploy().expect(1).says(&format!("{NOT_A_FILE} at /")).says(&format!("/dest/app/same: {MOVE_AWAY}"));
    assert_eq!((host.tree(), trace(&host)), (before.clone(), vec![]));
    let appspec =
        "version: 0.0\nos: linux\nfiles: [{source: x, destination: DEST/x}]\nhooks:\n  AfterInstall: [{location: x}]\n";
    host.bundle(appspec, &[("x", "#!/bin/sh\nexit 1\n")]);
    went_back(&host, host.deploy(), &before, "fifo").says("a FIFO, a socket or a device: it stays");
    host.bundle(appspec, &[("x", "#!/bin/sh\n")]);
    host.deploy().expect(0).says("/dest/app/same is not what was installed there any more: it stays");
}

#[test]
fn something_is_mounted_on_a_file_of_ours_then_it_is_told_before_anything_runs() {
    needs!("unshare", "mount");
    let host = lived_in();
    let before = host.tree();
    bundle(&host, "v2", "");
    let (remote, other) = (host.sandbox.path("app.zip"), host.sandbox.write("other", "theirs"));
    let check = host.sandbox.command(&["--remote", remote.to_str().unwrap()]);
    let mut alone = Command::new("unshare");
    let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    alone.args(["--mount", "sh", "-c", mount]).arg(other).arg(host.dest("app/version"));
    alone.arg(check.get_program()).args(check.get_args());
    let run = Run::from(alone.output().unwrap()).expect(1);
    run.says("something is mounted at /").says("/dest/app/version, and a file is to be there").never_says(ROLLING_BACK);
    assert_eq!((host.tree(), trace(&host)), (before, vec![]));
}

#[test]
fn read_only_destination_then_nothing_is_in_doubt() {
    needs!("unshare", "mount");
    let host = lived_in();
    let before = host.tree();
    bundle(&host, "v2", "");
    let remote = host.sandbox.path("app.zip");
    let check = host.sandbox.command(&["--remote", remote.to_str().unwrap()]);
    let mut alone = Command::new("unshare");
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    alone.args(["--mount", "sh", "-c", mount]).arg(host.dest("")).arg(check.get_program()).args(check.get_args());
    let run = Run::from(alone.output().unwrap());
    if run.code == 1 && run.log.contains("unshare") {
        return leave_out(&format!("cannot mount: {}", run.log));
    }
    run.expect(1).says(&format!("read-only file system; {ROLLING_BACK}")).says(LIVE_AGAIN);
    assert_eq!(host.tree(), before);
}

#[test]
fn something_comes_up_between_the_look_and_the_installation_then_it_is_a_conflict_and_stays() {
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\nhooks:\n  BeforeInstall: [{location: s}]\n";
    let make = format!("#!/bin/sh\nmkdir -p -m 700 {0}\necho theirs >{0}/a\n", host.dest("app").display());
    host.bundle(appspec, &[("a", "A"), ("s", &make)]);
    host.deploy().expect(1).says("/dest/app/a exists, and no deployment of ours put it there");
    assert_eq!(fs::read_to_string(host.dest("app/a")).unwrap(), "theirs\n");
    // A directory that a script makes is the script's: its mode stays, and so does it.
    let host = Host::new();
    let make = format!("#!/bin/sh\nmkdir -p -m 711 {}\n", host.dest("app").display());
    host.bundle(appspec, &[("a", "A"), ("s", &make)]);
    host.deploy().expect(0);
    assert_eq!(fs::metadata(host.dest("app")).unwrap().permissions().mode() & 0o777, 0o711);
    host.bundle("version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/else}]\n", &[("a", "A")]);
    host.deploy().expect(0);
    assert!(host.dest("app").is_dir() && !host.dest("app/a").exists());
}

#[test]
fn every_call_that_changes_a_file_fails_then_everything_is_as_before_or_the_next_check_makes_it_so() {
    needs!(time, "strace");
    const CHANGING: [&str; 13] = [
        "renameat",
        "unlinkat",
        "mkdirat",
        "symlinkat",
        "fchown",
        "fchownat",
        "fchmod",
        "fsetxattr",
        "fremovexattr",
        "utimensat",
        "fsync",
        "write",
        "copy_file_range",
    ];
    let host = lived_in();
    let (before, saved) = (host.tree(), host.sandbox.path("saved"));
    bundle(&host, "v2", "");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    fs::create_dir(&saved).unwrap();
    for name in ["cache", "state", "dest"] {
        copy(&host.sandbox.path(name), &saved);
    }
    let remote = host.sandbox.path("app.zip");
    let log = host.sandbox.path("strace");
    let disturbed = |options: &[&str]| {
        put_back(&["cache", "state", "dest"], &saved, &host.sandbox.path(""));
        trace(&host);
        let check = host.sandbox.command(&["--remote", remote.to_str().unwrap()]);
        let options = [&["-o", log.to_str().unwrap()], options].concat();
        Run::from(traced(&check, &options).output().unwrap())
    };
    disturbed(&["-e", &format!("trace={}", CHANGING.join(","))]).expect(0);
    let mut tried = 0;
    for Point { name: call, n } in sample("EPERM: an installed update", SAMPLE, points(&host.sandbox.read("strace"))) {
        let inject = format!("inject={call}:error=EPERM:when={n}");
        let run = disturbed(&["-e", &format!("trace={call}"), "-e", &inject]);
        let trace = host.sandbox.read("strace");
        let Some(failed) = trace.lines().find(|line| line.contains("(INJECTED)")) else { continue };
        if failed.starts_with("write(2, ") {
            continue; // memory that we have had since the start: no kernel does that
        }
        tried += 1;
        let at = format!("EPERM from {call} #{n}: exit code {}\n{}", run.code, run.log);
        let went_back = host.tree() == before;
        match run.code {
            // Before anything changed, or back.
            1 => assert!(went_back, "{at}"),
            // Something that costs nothing, as a status that could not be written.
            0 => assert!(host.tree()["app/version"].contains(" v2 "), "{at}"),
            3 => {} // the state could not be written: the next check knows what to do
            _ => panic!("{at}"),
        }
        host.deploy().expect(0);
        let tree = host.tree();
        assert!(tree["app/version"].contains(" v2 ") && !tree.contains_key("app/only-v1"), "{at}");
        assert!(!tree.keys().any(|path| path.contains(".repo-deploy-")), "{at}: {tree:#?}");
    }
    assert!(tried > 60, "{tried} points: the injection proves nothing");
    eprintln!("EPERM: an installed update: {tried} points, 0 failures");
}

#[test]
fn sections_that_install_then_both_run_together_and_status_says_so() {
    let host = Host::new();
    let text = "version: 0.0\nos: linux\nfiles: [{source: a, destination: DEST/app}]\n"
        .replace("DEST", host.dest("").to_str().unwrap());
    let (one, two) =
        (host.sandbox.zip("one.zip", &[("appspec.yml", text.as_str()), ("a", "A")]), host.sandbox.path("two"));
    host.sandbox.write("two/appspec.yml", text.replace("/app", "/two"));
    host.sandbox.write("two/a", "A");
    let config =
        format!("activation = install\n[one]\nremote = {}\n[two]\nremote = {}\n", one.display(), two.display());
    host.sandbox.write("repo-deploy.cfg", config);
    let mut both = host.sandbox.bare();
    both.args(["-f", "--config-section", "all", "-c"]).arg(host.sandbox.path("repo-deploy.cfg"));
    both.arg("--cache").arg(host.sandbox.path("cache")).env("REPO_DEPLOY_PRE_HOOKS", host.sandbox.path("pre.d"));
    Run::from(both.env("REPO_DEPLOY_POST_HOOKS", host.sandbox.path("post.d")).output().unwrap()).expect(0);
    let tree = host.tree();
    assert!(tree.contains_key("app/a") && tree.contains_key("two/a"), "{tree:#?}");
    let mut status = host.sandbox.bare();
    status.args(["status", "--config-section", "one", "-c"]).arg(host.sandbox.path("repo-deploy.cfg"));
    let run = Run::from(status.arg("--cache").arg(host.sandbox.path("cache")).output().unwrap()).expect(0);
    assert!(run.out.contains("the appspec says where (install)"), "{}", run.out);
}

#[test]
fn another_way_of_activation_on_the_same_store_is_refused() {
    let host = lived_in();
    let before = host.tree();
    host.sandbox.write("repo-deploy.cfg", "activation = in-place\nid = test\n");
    host.deploy().expect(78).says("was made with activation = install, and cannot go on with in-place");
    for (config, code, words) in [
        ("appspec = yes\nid = test\n", 0, ""),
        ("appspec = no\nactivation = install\nid = test\n", 78, "activation = install needs one"),
        ("appspec = yes\nactivation = symlink\nid = test\n", 78, "activation = symlink uses none"),
    ] {
        host.sandbox.write("repo-deploy.cfg", config);
        host.deploy().expect(code).says(words);
    }
    assert_eq!(host.tree(), before);
}
