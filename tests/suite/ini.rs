//! deployer.py's `config.ini`: the sections of its page as they stand, against a real S3 server; what is kept in the file,
//! and that nothing else in it changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::moto::{Keys, Moto};
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, DEPLOYED, EXIT_CODE, HELD_AFTER_ROLLBACK, UNCHANGED, WAITING};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::wait_for;

/// The file of the old page, to the byte.
const OLD: &str = "\
[Settings]
s3_bucket = codedeploy-202107
target_file_key = business-services-test.zip
profile_name = 1tiklahost
last_fetch_time = 2023-07-30 19:41:09+0000
installation_in_progress = false

[Production]
s3_bucket = codedeploy-prod-202107
target_file_key = business-services-prod.zip
profile_name = production-profile
last_fetch_time = 1970-01-01 00:00:00+0000
installation_in_progress = false

[Staging]
s3_bucket = codedeploy-staging-202107
target_file_key = business-services-staging.zip
profile_name = staging-profile
last_fetch_time = 1970-01-01 00:00:00+0000
installation_in_progress = false
";

const BUCKETS: [(&str, &str); 3] = [
    ("codedeploy-202107", "business-services-test.zip"),
    ("codedeploy-prod-202107", "business-services-prod.zip"),
    ("codedeploy-staging-202107", "business-services-staging.zip"),
];

/// A machine as the old program found it: a working directory with `config.ini`, profiles in `~/.aws`, a bucket for each
/// section.
struct Machine {
    sandbox: Sandbox,
    moto: Moto,
}

impl Machine {
    fn new() -> Option<Self> {
        let sandbox = Sandbox::new();
        let moto = Moto::start(&sandbox)?;
        let profiles = ["1tiklahost", "production-profile", "staging-profile"];
        let Keys { id, secret } = &moto.keys;
        let of = |p: &&str| format!("[{p}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        fs::create_dir_all(sandbox.path("home/.aws")).unwrap();
        let file = sandbox.write("home/.aws/credentials", profiles.iter().map(of).collect::<String>());
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        for (bucket, _) in BUCKETS {
            moto.boto("client('s3').create_bucket(Bucket=sys.argv[4])", &[bucket]);
        }
        let machine = Self { sandbox, moto };
        machine.write(OLD);
        Some(machine)
    }

    fn write(&self, text: &str) {
        let file = self.sandbox.write("config.ini", text);
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// Uploads a bundle with the five scripts of the page, which write down that they ran.
    fn upload(&self, section: usize, content: &str) {
        let (bucket, key) = BUCKETS[section];
        let app = self.sandbox.path(format!("app{section}")).display().to_string();
        let appspec = format!("version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: {app}\n");
        let told = self.sandbox.path("told").display().to_string();
        let script = |event: &str| format!("#!/bin/sh\necho {event} {content} >>{told}\n[ \"$FAILS\" != {event} ]\n");
        let events = ["ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart"];
        let mut files = vec![("appspec.yml".to_owned(), appspec), ("app.txt".to_owned(), content.to_owned())];
        files.extend(events.map(|event| (format!("hooks/{event}.sh"), script(event))));
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let zip = self.sandbox.zip("bundle.zip", &files);
        self.moto.put(bucket, key, &zip);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.bare();
        command.current_dir(self.sandbox.path("")).env("AWS_ENDPOINT_URL_S3", self.moto.url()).args(args);
        command.arg("--cache").arg(self.sandbox.path("cache"));
        command.arg("--pre-hooks").arg(self.sandbox.path("pre.d")).arg("--post-hooks").arg(self.sandbox.path("post.d"));
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::from(self.command(args).output().unwrap())
    }

    fn ini(&self) -> String {
        self.sandbox.read("config.ini")
    }

    fn app(&self, section: usize) -> Option<String> {
        fs::read_to_string(self.sandbox.path(format!("app{section}/app.txt"))).ok()
    }

    /// What the scripts said, and forgets it.
    fn told(&self) -> String {
        let told = fs::read_to_string(self.sandbox.path("told")).unwrap_or_default();
        fs::write(self.sandbox.path("told"), "").unwrap();
        told
    }
}

/// `last_fetch_time` of a section, and the file with it put back to what it was.
fn fetched(ini: &str, section: &str, before: &str) -> (String, String) {
    let at = ini.find(&format!("[{section}]")).unwrap();
    let start = at + ini[at..].find("last_fetch_time = ").unwrap() + "last_fetch_time = ".len();
    let end = start + ini[start..].find('\n').unwrap();
    (ini[start..end].to_owned(), format!("{}{before}{}", &ini[..start], &ini[end..]))
}

const NEVER: &str = "1970-01-01 00:00:00+0000";

#[test]
fn the_old_page_is_followed_then_each_section_is_installed_and_only_its_time_changes() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(1, "p1");
    let ran = machine.run(&["-c", "config.ini", "--config-section", "Production", "-f"]).expect(0);
    assert_eq!((ran.log.as_str(), ran.out.as_str()), ("", ""), "the log goes to codeploy.log");
    let log = machine.sandbox.read_log("codeploy.log");
    assert!(log.contains(&format!(" INFO Production: {DEPLOYED} etag:")), "{log}");
    assert_eq!(machine.app(1).as_deref(), Some("p1"));
    assert_eq!(machine.told(), "ApplicationStop p1\nBeforeInstall p1\nAfterInstall p1\nApplicationStart p1\n");
    let (time, rest) = fetched(&machine.ini(), "Production", NEVER);
    assert_eq!(rest, OLD);
    let modified = machine.moto.boto(
        "print(client('s3').head_object(Bucket=sys.argv[4], Key=sys.argv[5])['LastModified'].strftime('%Y-%m-%d %H:%M:%S%z'))",
        &[BUCKETS[1].0, BUCKETS[1].1],
    );
    assert_eq!(time, modified.trim());
    assert_eq!(fs::metadata(machine.sandbox.path("config.ini")).unwrap().permissions().mode() & 0o777, 0o640);
    // Nothing new: nothing happens, and nothing is written.
    let before = machine.ini();
    machine.run(&["-c", "config.ini", "--config-section", "Production", "-f"]).expect(0);
    assert_eq!((machine.told().as_str(), machine.ini()), ("", before));
    machine.upload(1, "p2");
    machine.run(&["-c", "config.ini", "--config-section", "Production", "-f"]).expect(0);
    assert_eq!(machine.told(), "ApplicationStop p1\nBeforeInstall p2\nAfterInstall p2\nApplicationStart p2\n");
    assert_eq!(machine.app(1).as_deref(), Some("p2"));
    // config.ini and Settings are found by themselves, and its bundle is newer than what the file says.
    machine.upload(0, "s1");
    machine.run(&["-f"]).expect(0);
    assert_eq!((machine.app(0).as_deref(), machine.app(2)), (Some("s1"), None));
}

#[test]
fn the_first_bundle_comes_then_its_own_script_stops_what_runs_and_the_log_says_which_script_and_where() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(0, "s1");
    let planned = machine.run(&["plan"]).out;
    assert!(planned.contains("hooks/ApplicationStop.sh"), "{planned}");
    let mut check = machine.command(&["-f"]);
    Run::from(check.env("FAILS", "ApplicationStop").output().unwrap()).expect(0);
    assert_eq!(machine.told(), "ApplicationStop s1\nBeforeInstall s1\nAfterInstall s1\nApplicationStart s1\n");
    let log = machine.sandbox.read_log("codeploy.log");
    let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words:?} is not in\n{log}"));
    let app = machine.sandbox.path("app0").display().to_string();
    let lines = [
        " INFO Settings: ApplicationStop hooks/ApplicationStop.sh starts\n",
        &*format!(" WARN Settings: ApplicationStop hooks/ApplicationStop.sh {EXIT_CODE} 1; going on"),
        " INFO Settings: BeforeInstall hooks/BeforeInstall.sh starts\n",
        &format!(" INFO Settings: installed to {app}: "),
        " INFO Settings: AfterInstall hooks/AfterInstall.sh starts\n",
        " INFO Settings: ApplicationStart hooks/ApplicationStart.sh starts\n",
        &*format!(" INFO Settings: {DEPLOYED} "),
    ]
    .map(at);
    assert!(lines.is_sorted(), "{log}");
    // From here on it is the live release that stops, and its failure ends the deployment.
    machine.upload(0, "s2");
    let mut check = machine.command(&["-f"]);
    Run::from(check.env("FAILS", "ApplicationStop").output().unwrap()).expect(1);
    assert_eq!(machine.app(0).as_deref(), Some("s1"));
    assert!(machine.told().starts_with("ApplicationStop s1\n"));
}

#[test]
fn all_sections_run_together_then_one_that_fails_stops_no_other() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(0, "s1");
    machine.upload(2, "g1");
    machine.run(&["--config-section", "all", "-f"]).expect(1);
    assert_eq!((machine.app(0).as_deref(), machine.app(1), machine.app(2).as_deref()), (Some("s1"), None, Some("g1")));
    let log = machine.sandbox.read_log("codeploy.log");
    assert!(log.contains("Production: ") && log.contains("business-services-prod.zip"), "{log}");
}

#[test]
fn last_fetch_time_is_not_older_than_the_bundle_then_nothing_is_installed_until_there_is_a_newer_one() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(0, "s1");
    machine.write(&OLD.replace("2023-07-30 19:41:09+0000", "2099-01-01 00:00:00+0000"));
    let before = machine.ini();
    machine.run(&["-f", "-v"]).expect(0);
    assert_eq!((machine.app(0), machine.ini(), machine.told().as_str()), (None, before, ""));
    let log = machine.sandbox.read_log("codeploy.log");
    assert!(log.contains(&format!("{UNCHANGED} nothing newer than last_fetch_time says")), "{log}");
    machine.write(OLD);
    machine.run(&["-f"]).expect(0);
    assert_eq!(machine.app(0).as_deref(), Some("s1"));
    // From here on the store knows; the file's word does not count.
    machine.write(&OLD.replace("2023-07-30 19:41:09+0000", "2099-01-01 00:00:00+0000"));
    machine.upload(0, "s2");
    machine.run(&["-f"]).expect(0);
    assert_eq!(machine.app(0).as_deref(), Some("s2"));
}

#[test]
fn installation_in_progress_is_true_while_one_runs_and_left_over_it_is_one_warning() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(1, "p1");
    machine.write(&OLD.replace("installation_in_progress = false", "installation_in_progress = true"));
    machine.sandbox.hook("post.d", "look", &format!("cp {0} {0}.seen", machine.sandbox.path("config.ini").display()));
    machine.run(&["--config-section", "Production", "-f", "--log-file", "log"]).expect(0);
    let log = machine.sandbox.read_log("log");
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    assert!(log.contains("installation_in_progress = true is left over"), "{log}");
    let (_, rest) = fetched(&machine.ini(), "Production", NEVER);
    let at = rest.find("[Staging]").unwrap();
    assert_eq!(rest[..at].matches("installation_in_progress = true").count(), 1, "that of Settings: {rest}");
    let seen = machine.sandbox.read("config.ini.seen");
    assert_eq!(seen.matches("installation_in_progress = true").count(), 3, "{seen}");
    machine.write(OLD);
    machine.upload(1, "p2");
    machine.run(&["--config-section", "Production", "-f", "--log-file", "log"]).expect(0);
    let (_, rest) = fetched(&machine.ini(), "Production", NEVER);
    assert_eq!(rest, OLD);
    let seen = machine.sandbox.read("config.ini.seen");
    assert_eq!(seen.matches("installation_in_progress = true").count(), 1, "{seen}");
}

#[test]
fn options_override_a_section_then_they_stand_in_it_and_all_three_make_one() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(1, "p1");
    let [bucket, key] = [BUCKETS[1].0, BUCKETS[1].1];
    // The page's own line, with a bucket that is there.
    let args = ["--config-section", "Staging", "--s3-bucket", bucket, "--profile_name", "1tiklahost", "-f"];
    machine.run(&args).expect(1); // the key is Staging's still
    let text = machine.ini();
    let staging = &text[text.find("[Staging]").unwrap()..];
    assert!(staging.contains(&format!("s3_bucket = {bucket}\n")) && staging.contains("profile_name = 1tiklahost\n"));
    assert_eq!(text[..text.find("[Staging]").unwrap()], OLD[..OLD.find("[Staging]").unwrap()]);
    machine.run(&["--config-section", "Staging", "--target-file-key", key, "-f"]).expect(0);
    assert_eq!(machine.app(1).as_deref(), Some("p1"));
    // A file that is not there.
    let args = ["--s3-bucket", bucket, "--target-key-file", key, "--profile-name", "1tiklahost", "-f"];
    let all = [&["-c", "new.ini", "--id", "new", "--log-file", "log"][..], &args].concat();
    machine.run(&["-c", "new.ini", "-f"]).expect(78);
    machine.run(&all).expect(0);
    let expected = format!("[Settings]\ns3_bucket = {bucket}\ntarget_file_key = {key}\nprofile_name = 1tiklahost\n");
    let made = machine.sandbox.read("new.ini");
    assert!(made.starts_with(&expected) && made.contains("\ninstallation_in_progress = false\n"), "{made}");
    assert!(made.contains("\nlast_fetch_time = 20"), "{made}");
}

#[test]
fn what_the_old_program_installed_is_there_then_it_is_replaced_and_comes_back_when_the_first_bundle_fails() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.write("app0/app.txt", "by deployer.py");
    machine.upload(0, "s1");
    let fails = machine.sandbox.hook("post.d", "no", "exit 1");
    machine.run(&["-f"]).expect(1);
    assert_eq!(machine.app(0).as_deref(), Some("by deployer.py"));
    fs::remove_file(fails).unwrap();
    let ran = machine.run(&["-f"]);
    assert_eq!(ran.code, 0, "{}", machine.sandbox.read_log("codeploy.log"));
    assert_eq!(machine.app(0).as_deref(), Some("s1"));
}

#[test]
fn several_sections_are_overridden_at_once_then_it_is_refused_and_nothing_is_written() {
    let Some(machine) = Machine::new() else { return };
    for sections in [&["--config-section", "all"][..], &["--config-section", "Staging", "--config-section", "Settings"]]
    {
        let ran = machine.run(&[sections, &["--s3-bucket", "x", "-f"]].concat()).expect(78);
        assert!(ran.log.contains(&format!("{CANNOT_USE} --s3-bucket with several sections")), "{}", ran.log);
        assert_eq!(machine.ini(), OLD);
    }
}

#[test]
fn all_comes_from_options_then_no_file_is_made_for_notes() {
    let Some(machine) = Machine::new() else { return };
    machine.upload(1, "p1");
    fs::remove_file(machine.sandbox.path("config.ini")).unwrap();
    let [bucket, key] = [BUCKETS[1].0, BUCKETS[1].1];
    let mut command = machine.command(&["--s3-bucket", bucket, "--target-key-file", key, "-f"]);
    command.env("AWS_ACCESS_KEY_ID", &machine.moto.keys.id).env("AWS_SECRET_ACCESS_KEY", &machine.moto.keys.secret);
    Run::from(command.output().unwrap()).expect(0);
    assert_eq!(machine.app(1).as_deref(), Some("p1"));
    assert!(!machine.sandbox.path("config.ini").exists());
}

#[test]
fn list_configs_tells_of_every_section_whether_or_not_it_can_be_used() {
    let sandbox = Sandbox::new();
    let list = |args: &[&str]| {
        Run::from(sandbox.bare().current_dir(sandbox.path("")).arg("--list-configs").args(args).output().unwrap())
    };
    list(&[]).expect(78);
    sandbox.write(
        "config.ini",
        format!("{OLD}[web]\nremote = https://u:hunter2@h/a.zip\nlocal = /srv/web/now\n[bad]\nkeep = 1\n"),
    );
    let out = list(&[]).expect(0).out;
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..2], ["Settings", "s3://codedeploy-202107/business-services-test.zip"]);
    assert_eq!(lines[3], ["web", "https://h/a.zip", "/srv/web/now"]);
    assert!(out.lines().nth(4).unwrap().starts_with("bad         error: "), "{out}");
    assert_eq!((lines.len(), out.contains("hunter2")), (5, false), "{out}");
}

#[test]
fn the_file_cannot_be_written_then_it_is_one_warning_and_the_bundle_is_installed() {
    needs!("unshare", "mount");
    let Some(machine) = Machine::new() else { return };
    machine.upload(1, "p1");
    // As a container has it: the one file is mounted, and nothing can take its place.
    let command = machine.command(&["--config-section", "Production", "-f", "--log-file", "log"]);
    let args: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|arg| format!("'{}'", arg.to_str().unwrap()))
        .collect();
    let ini = machine.sandbox.path("config.ini").display().to_string();
    let script = format!("mount --bind {ini} {ini} && mount -o remount,ro,bind {ini} && exec {}", args.join(" "));
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "sh", "-c", &script]).current_dir(machine.sandbox.path("")).env_clear();
    for (name, value) in command.get_envs() {
        inside.env(name, value.unwrap());
    }
    inside.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Run::from(inside.output().unwrap()).expect(0);
    let log = machine.sandbox.read_log("log");
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    assert!(log.contains("config.ini: "), "{log}");
    assert_eq!((machine.app(1).as_deref(), machine.ini().as_str()), (Some("p1"), OLD));
}

#[test]
fn a_link_to_the_file_stays_one_and_the_service_goes_on_by_itself() {
    let Some(machine) = Machine::new() else { return };
    fs::rename(machine.sandbox.path("config.ini"), machine.sandbox.path("real.ini")).unwrap();
    symlink(Path::new("real.ini"), machine.sandbox.path("config.ini")).unwrap();
    machine.upload(1, "p1");
    let mut daemon = Running::start(machine.command(&["--config-section", "Production", "--log-file", ""]));
    daemon.until(DEPLOYED);
    machine.upload(1, "p2");
    daemon.signal(rustix::process::Signal::USR1).until(DEPLOYED);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.end().expect(0);
    assert_eq!(machine.app(1).as_deref(), Some("p2"));
    assert!(machine.sandbox.path("config.ini").is_symlink());
    assert_ne!(machine.ini(), OLD);
}

#[test]
fn a_bundle_is_rolled_back_from_then_its_time_stays_and_keeps_it_away_even_without_a_store() {
    let Some(machine) = Machine::new() else { return };
    let section = ["--config-section", "Production"];
    let run = |word: &str| machine.run(&[&[word][..], &section].concat());
    for content in ["p1", "p2"] {
        machine.upload(1, content);
        run("-f").expect(0);
    }
    // As if p2 had come much later than p1.
    let (time, _) = fetched(&machine.ini(), "Production", NEVER);
    machine.write(&machine.ini().replace(&time, "2031-02-03 04:05:06+0000"));
    let before = machine.ini();
    machine.told();
    run("rollback").expect(0);
    assert_eq!(machine.told(), "ApplicationStop p2\nBeforeInstall p1\nAfterInstall p1\nApplicationStart p1\n");
    run("-f").expect(0);
    assert_eq!((machine.app(1).as_deref(), machine.ini()), (Some("p1"), before.clone()));
    assert!(machine.sandbox.read_log("codeploy.log").contains(HELD_AFTER_ROLLBACK));
    for lost in ["cache", "state"] {
        fs::remove_dir_all(machine.sandbox.path(lost)).unwrap();
    }
    run("-f").expect(0);
    assert_eq!((machine.app(1).as_deref(), machine.told().as_str(), machine.ini()), (Some("p1"), "", before));
}

#[test]
fn a_rollback_waits_for_an_installation_then_nothing_is_called_left_over() {
    let Some(machine) = Machine::new() else { return };
    let section = ["--config-section", "Production"];
    let command = |word: &str| machine.command(&[&[word][..], &section].concat());
    machine.upload(1, "p1");
    Run::from(command("-f").output().unwrap()).expect(0);
    machine.upload(1, "p2");
    let go = machine.sandbox.path("go").display().to_string();
    machine.sandbox.hook("post.d", "10-long", &format!("while ! [ -e {go} ]; do sleep 0.01; done"));
    let log = || fs::read_to_string(machine.sandbox.path("codeploy.log")).unwrap_or_default();
    let check = Running::start(command("-f"));
    wait_for("the installation", || machine.ini().contains("installation_in_progress = true").then_some(()));
    let back = Running::start(command("rollback"));
    wait_for("somebody who waits", || log().contains(&format!(" {WAITING}, process ")).then_some(()));
    fs::write(&go, "").unwrap();
    check.end().expect(0);
    back.end().expect(0);
    assert_eq!((machine.app(1).as_deref(), log().contains("left over")), (Some("p1"), false), "{}", log());
    assert!(!machine.ini().contains("installation_in_progress = true"));
}
