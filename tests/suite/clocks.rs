//! The daemon under another time: the static binary in an emulator whose clock is faked. The time of each check is that of
//! its line in the log.

use std::fs;

use rustix::process::Signal;

use crate::agent::source;
use crate::support::clock::Clock;
use crate::support::phrases::{DEPLOYED, UNCHANGED};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::wait_for;

/// Central European time without a file.
const CET: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// The daemon with a clock that starts at a time in UTC.
fn started_at(sandbox: &Sandbox, clock: &Clock, time: time::OffsetDateTime, schedule: &str) -> Running {
    clock.moves((time - time::OffsetDateTime::now_utc()).whole_seconds());
    let remote = source(sandbox, "v1");
    let daemon = sandbox.daemon(&["--remote", &remote, "--schedule", schedule, "-v"]);
    let mut command = clock.around(&daemon);
    command.env("TZ", CET);
    Running::start(command)
}

fn end(mut daemon: Running) -> Run {
    daemon.signal(Signal::TERM);
    daemon.end().expect(0)
}

#[test]
fn clocks_go_forward_then_a_skipped_time_runs_at_once_after_the_gap() {
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let mut daemon = started_at(&sandbox, &clock, time::macros::datetime!(2026-03-29 00:59:56 UTC), "30 2 * * *");
    daemon.until("2026-03-29T00:59:5").until(DEPLOYED);
    // The check is over then: in the emulator a signal to one that is just ending can be its death.
    let unchanged = daemon.next_with(&format!("Z DEBUG {UNCHANGED} "));
    assert!(unchanged.starts_with("2026-03-29T01:00:0"), "{unchanged}");
    end(daemon);
}

#[test]
fn clocks_go_back_then_a_fixed_time_runs_once_and_an_open_one_twice() {
    // The first 02:00 is 00:00 UTC, the second one 01:00 UTC.
    for (schedule, next) in [
        ("0 2 * * *", "\"next_check\":\"2026-10-26T01:00:00Z\""),
        ("0 * * * *", "\"next_check\":\"2026-10-25T01:00:00Z\""),
        ("*/30 * * * *", "\"next_check\":\"2026-10-25T00:30:00Z\""),
    ] {
        let sandbox = Sandbox::new();
        let Some(clock) = Clock::new(&sandbox) else { return };
        sandbox.write("repo-deploy.cfg", "status-file = status.json\n");
        let mut daemon = started_at(&sandbox, &clock, time::macros::datetime!(2026-10-24 23:59:56 UTC), schedule);
        daemon.until(DEPLOYED).until("2026-10-25T00:00:0");
        let file = || fs::read_to_string(sandbox.path("status.json")).unwrap_or_default();
        wait_for(next, || file().contains(next).then_some(()));
        end(daemon);
    }
}

#[test]
fn the_clock_jumps_then_checks_go_on_without_a_burst_or_a_stall() {
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let remote = source(&sandbox, "v1");
    let daemon = sandbox.daemon(&["--remote", &remote, "--schedule", "* * * * * *", "-v"]);
    let mut daemon = Running::start(clock.around(&daemon));
    daemon.until(DEPLOYED);
    // How far the log's time lies from ours.
    let ahead = |line: &str| {
        let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let said = time::PrimitiveDateTime::parse(line.split(' ').next().unwrap(), format).unwrap();
        (said.assume_utc() - time::OffsetDateTime::now_utc()).whole_seconds()
    };
    let mut checks = Vec::new();
    for seconds in [3600, 0, -3600, 3652 * 86_400, 0] {
        clock.moves(seconds);
        // Soon the log is there, and stays there.
        let mut there = 0;
        while there < 3 {
            let line = daemon.next_with(&format!(" DEBUG {UNCHANGED} "));
            there += usize::from((ahead(&line) - seconds).abs() < 60);
            checks.push(line.split(' ').next().unwrap().to_owned());
        }
    }
    checks.dedup();
    // Lines are written at the end of a check: on a busy machine two ends may fall into one second, but no burst does.
    assert!(checks.len() >= 12, "each second at most one check: {checks:?}");
    let lines = end(daemon).log.matches(&format!(" DEBUG {UNCHANGED} ")).count();
    assert!(lines <= checks.len() + 3, "no burst: {lines} checks at {checks:?}");
}

#[test]
fn the_last_check_is_old_then_status_says_so_after_three_periods() {
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let remote = source(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);
    let mut status = sandbox.bare();
    status.arg("status").args(["--remote", &remote, "--config"]).arg(sandbox.path("repo-deploy.cfg"));
    status.arg("--local").arg(sandbox.local()).arg("--cache").arg(sandbox.path("cache"));
    for (schedule, later, code) in
        [("* * * * *", 90, 0), ("* * * * *", 240, 1), ("@hourly", 6000, 0), ("@hourly", 4 * 3600, 1)]
    {
        clock.moves(later);
        let mut command = clock.around(&status);
        let run: Run = command.args(["--schedule", schedule]).output().unwrap().into();
        assert_eq!(run.code, code, "{schedule} {later}:\n{}{}", run.out, run.log);
    }
}
