//! `repo-deploy schedule` as an operator meets it: where the expression and the zone come from, what is printed, and what
//! a wrong one costs.

use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_USE, DID_YOU_MEAN, TAKES, WITHOUT_COMMAND};
use crate::support::sandbox::{Run, Sandbox, binary};

/// `repo-deploy schedule args` with a configuration.
fn schedule(sandbox: &Sandbox, config: &str, args: &[&str]) -> Command {
    let path = sandbox.write("c.cfg", config);
    let mut command = sandbox.bare();
    command.arg("schedule").arg("-c").arg(path).args(args);
    command
}

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

const FROM: &str = "2026-03-28T12:00:00+01:00";
const RULE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

#[test]
fn an_expression_is_given_then_its_next_times_are_printed_without_a_remote() {
    let sandbox = Sandbox::new();
    let run = run(sandbox.bare().args(["schedule", "3", "--schedule", "30 2 * * *", "--from", FROM]).env("TZ", RULE));
    let run = run.expect(0);
    assert_eq!(run.out, "2026-03-29T03:00:00+02:00\n2026-03-30T02:30:00+02:00\n2026-03-31T02:30:00+02:00\n");
    assert_eq!(run.log, "");
}

#[test]
fn nobody_says_how_many_then_five_come_and_they_come_after_now() {
    let sandbox = Sandbox::new();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let run = run(sandbox.bare().args(["schedule", "--schedule", "* * * * *"]).env("TZ", "UTC0")).expect(0);
    let times: Vec<i64> = run
        .out
        .lines()
        .map(|line| {
            time::OffsetDateTime::parse(line, &time::format_description::well_known::Rfc3339).unwrap().unix_timestamp()
        })
        .collect();
    assert_eq!(times.len(), 5);
    assert!(times[0] > i64::try_from(before).unwrap() && times[0] % 60 == 0, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 60), "{times:?}");
}

#[test]
fn the_expression_stands_in_several_places_then_the_strongest_counts() {
    let sandbox = Sandbox::new();
    const CONFIG: &str = "schedule = 0 2 * * *\n[site]\nschedule = 0 3 * * *\n";
    for (config, args, hour) in [
        ("", &[][..], "01"),
        (CONFIG, &[], "02"),
        (CONFIG, &["--config-section", "site"], "03"),
        (CONFIG, &["--config-section", "site", "--schedule", "0 4 * * *"], "04"),
    ] {
        let mut command = schedule(&sandbox, config, &[args, &["1", "--from", "2026-01-01T00:00:00Z"]].concat());
        let run = run(command.env("UPDATE_SCHEDULE", "0 1 * * *").env("TZ", "UTC0")).expect(0);
        assert_eq!(run.out, format!("2026-01-01T{hour}:00:00Z\n"), "{args:?}");
    }
    let run = run(schedule(&sandbox, "", &["1", "--from", "2026-01-01T00:00:30Z"]).env("TZ", "UTC0")).expect(0);
    assert_eq!(run.out, "2026-01-01T00:01:00Z\n", "the default is every minute");
}

#[test]
fn zones_come_from_the_expression_then_the_environment_then_this_machine() {
    let sandbox = Sandbox::new();
    let times = |expression: &str, zone: Option<&str>| {
        let mut command = sandbox.bare();
        command.args(["schedule", "1", "--from", "2026-07-01T00:00:00Z", "--schedule", expression]);
        run(command.envs(zone.map(|zone| ("TZ", zone)))).expect(0).out
    };
    assert_eq!(times("0 12 * * *", Some("Asia/Kolkata")), "2026-07-01T12:00:00+05:30\n");
    assert_eq!(times("0 12 * * *", Some(":America/Sao_Paulo")), "2026-07-01T12:00:00-03:00\n");
    assert_eq!(times("0 12 * * *", Some("/usr/share/zoneinfo/Europe/Berlin")), "2026-07-01T12:00:00+02:00\n");
    assert_eq!(times("CRON_TZ=Europe/Berlin 0 12 * * *", Some("Asia/Kolkata")), "2026-07-01T12:00:00+02:00\n");
    assert_eq!(times("CRON_TZ=EST5EDT,M3.2.0,M11.1.0 0 12 * * *", None), "2026-07-01T12:00:00-04:00\n");
    assert_eq!(times("0 12 * * *", Some("")), "2026-07-01T12:00:00Z\n");
    // Whatever this machine's zone is, `date` knows it too.
    let date = Command::new("date").args(["-d", "2026-07-01T00:00:00Z", "+%:z"]).env_remove("TZ").output().unwrap();
    let offset = String::from_utf8(date.stdout).unwrap().replace("+00:00", "Z");
    assert!(times("0 12 * * *", None).ends_with(&offset), "{offset}");
}

#[test]
fn a_root_without_files_then_a_rule_is_enough_and_a_name_is_not() {
    needs!(root, "chroot");
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("root")).unwrap();
    std::fs::copy(binary(), sandbox.path("root/repo-deploy")).unwrap();
    let there = |zone: Option<&str>| {
        let mut command = Command::new("chroot");
        command.arg(sandbox.path("root")).args(["/repo-deploy", "schedule", "1", "--from", "2026-07-01T00:00:00Z"]);
        run(command.env_remove("TZ").envs(zone.map(|zone| ("TZ", zone))).env("UPDATE_SCHEDULE", "0 12 * * *"))
    };
    assert_eq!(there(None).expect(0).out, "2026-07-01T12:00:00Z\n");
    assert_eq!(there(Some("UTC")).expect(0).out, "2026-07-01T12:00:00Z\n");
    assert_eq!(there(Some(RULE)).expect(0).out, "2026-07-01T12:00:00+02:00\n");
    there(Some("Europe/Berlin"))
        .expect(78)
        .says("cannot load the time zone Europe/Berlin of TZ")
        .says(&format!("TZ={RULE}"));
    std::fs::create_dir(sandbox.path("root/etc")).unwrap();
    std::os::unix::fs::symlink("../usr/share/zoneinfo/Etc/UTC", sandbox.path("root/etc/localtime")).unwrap();
    assert_eq!(there(None).expect(0).out, "2026-07-01T12:00:00Z\n");
    std::fs::remove_file(sandbox.path("root/etc/localtime")).unwrap();
    std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Berlin", sandbox.path("root/etc/localtime")).unwrap();
    there(None).expect(78).says("/etc/localtime leads to /usr/share/zoneinfo/Europe/Berlin, which is not there");
    std::fs::remove_file(sandbox.path("root/etc/localtime")).unwrap();
    std::fs::copy("/usr/share/zoneinfo/Asia/Kolkata", sandbox.path("root/etc/localtime")).unwrap();
    assert_eq!(there(None).expect(0).out, "2026-07-01T12:00:00+05:30\n");
}

#[test]
fn an_expression_is_wrong_then_one_line_says_where_it_stands_and_what_would_be_right() {
    let sandbox = Sandbox::new();
    let refused = |config: &str, args: &[&str]| {
        let run = run(&mut schedule(&sandbox, config, args)).expect(78);
        assert_eq!((run.log.lines().count(), run.out.as_str()), (1, ""), "{}", run.log);
        run
    };
    refused("\nschedule = 0 25 * * *\n", &[]).says(&format!(
        "{}:2: {CANNOT_USE} schedule = 0 25 * * *: hour 25: {TAKES} 0-23",
        sandbox.path("c.cfg").display()
    ));
    refused("", &["--schedule", "0 0 30 2 *"])
        .says(&format!("--schedule: {CANNOT_USE} schedule = 0 0 30 2 *: it never fires: "));
    refused("", &["--schedule", "CRON_TZ=Moon/Tycho @daily"]).says("cannot load the time zone Moon/Tycho of CRON_TZ");
    refused("schedule =\n", &[]).says("schedule = (empty)");
}

#[test]
fn a_schedule_is_wrong_then_f_and_status_do_not_mind() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("a.zip", &[("index", "one")]);
    let mut command = sandbox.command(&["--remote", remote.to_str().unwrap(), "--schedule", "nonsense"]);
    assert_eq!(run(command.env("TZ", "Moon/Tycho")).expect(0).complaints(), [""; 0]);
    let status = run(sandbox.bare().args(["status", "-r", "/x", "--schedule", "nonsense"]).env("TZ", "Moon/Tycho"));
    assert_eq!(status.expect(1).log, ""); // nothing was ever checked
}

#[test]
fn the_command_is_misused_then_the_word_is_named() {
    let sandbox = Sandbox::new();
    for (args, words) in [
        (&["schedule", "0"][..], &*format!("cannot do schedule 0: {TAKES} a whole number from 1 to 100000")),
        (&["schedule", "five"], &*format!("cannot do schedule five: {TAKES} a whole number")),
        (&["schedule", "5", "6"], &*format!("unknown word 6 after schedule: {TAKES} [N]")),
        (&["status", "5"], &*format!("unknown word 5 after status: {TAKES} nothing")),
        (&["schedul"], &*format!("unknown command schedul; {DID_YOU_MEAN} schedule?")),
        (&["schedule", "status"], "cannot do status after schedule: one command at a time"),
        (&["schedule", "-f"], "cannot do schedule with --fetch: one command at a time"),
        (
            &["schedule", "--from", "tomorrow"],
            &*format!("{CANNOT_USE} --from tomorrow: {TAKES} a time as 2026-03-29T00:00:00Z"),
        ),
        (&["status", "--from", "2026-03-29T00:00:00Z"], &*format!("{CANNOT_USE} --from {WITHOUT_COMMAND} schedule")),
        (&["-f", "--from", "2026-03-29T00:00:00Z"], &*format!("{CANNOT_USE} --from {WITHOUT_COMMAND} schedule")),
    ] {
        let run = run(sandbox.bare().args(args)).expect(64).says(words);
        assert!(run.log.lines().count() <= 2 && run.out.is_empty(), "{args:?}: {}", run.log);
    }
}

#[test]
fn a_hundred_thousand_times_are_asked_for_then_they_come() {
    let sandbox = Sandbox::new();
    let args = ["schedule", "100000", "--schedule", "* * 29 2 *", "--from", FROM];
    let run = run(sandbox.bare().args(args).env("TZ", RULE)).expect(0);
    assert_eq!(run.out.lines().count(), 100_000);
    // 1440 minutes every four years, but not in 2100, 2200 and 2300: the 640th of the 70th such day.
    assert_eq!(run.out.lines().last(), Some("2316-02-29T10:39:00+01:00"));
}
