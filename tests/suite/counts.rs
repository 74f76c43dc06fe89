//! What the work costs in instructions and system calls, against the figures of the last change that was meant to change
//! them. Unlike time they are the same on a busy machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::durable::{archive, calls};
use crate::support::needs::needs;
use crate::support::sandbox::{Run, Sandbox, age, binary};
use crate::support::servers::Nginx;

/// The number of files of the deployment that is counted.
const FILES: usize = 600;

/// Instructions of `command`, by callgrind.
fn instructions(command: &Command) -> usize {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(command.get_program());
    valgrind.args(command.get_args()).env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    valgrind.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    let run = Run::from(valgrind.output().unwrap()).expect(0);
    let count = run.log.lines().find_map(|line| line.split_once("Collected : "));
    count.unwrap_or_else(|| panic!("callgrind counted nothing: {}", run.log)).1.trim().parse().unwrap()
}

#[test]
fn instructions_and_system_calls_are_counted_then_they_are_those_of_the_page() {
    needs!(time, "valgrind", "strace", "nginx");
    if std::env::consts::ARCH != "x86_64" || binary().parent().is_some_and(|dir| dir.ends_with("debug")) {
        return eprintln!("left out: the figures are of a release build for x86_64");
    }
    let (aside, sandbox) = (Sandbox::new(), Sandbox::new());
    let nginx = Nginx::start(&sandbox, "", "");
    let put = |version: &str| {
        let zip = archive(&aside, &format!("{version}.zip"), version, FILES, 1000);
        age(&sandbox.write("www/app.zip", fs::read(zip).unwrap()));
    };
    let remote = nginx.url("/app.zip");
    put("1");
    let deployed = instructions(&sandbox.command(&["--remote", &remote]));
    let polled = instructions(&sandbox.command(&["--remote", &remote]));
    let mut schedule = Command::new(binary());
    schedule.args(["schedule", "500", "--schedule", "*/7 3-5 L * *", "--from", "2026-01-01T00:00:00Z"]).env_clear();
    let scheduled = instructions(schedule.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3"));
    let other = Sandbox::new();
    let (deployment, check) = (calls(&other, &remote), calls(&other, &remote));
    let counts = [
        ("check without news over http", "instructions", polled),
        ("check without news over http", "system calls", check),
        ("first deployment of 600 files", "instructions", deployed),
        ("first deployment of 600 files", "system calls", deployment),
        ("500 times of a schedule", "instructions", scheduled),
    ];
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/counts.txt");
    if std::env::var_os("REPO_DEPLOY_GOLDEN").is_some() {
        let lines: Vec<_> = counts.iter().map(|(work, what, count)| format!("{work}: {count} {what}\n")).collect();
        fs::write(&golden, lines.concat()).unwrap();
    }
    let known = fs::read_to_string(&golden).unwrap();
    for (line, (work, what, count)) in known.lines().zip(counts) {
        let expected = line.strip_prefix(&format!("{work}: ")).and_then(|rest| rest.strip_suffix(&format!(" {what}")));
        let expected: usize = expected.unwrap_or_else(|| panic!("{line}: not of {work}")).parse().unwrap();
        assert!(
            count.abs_diff(expected) * 20 <= expected,
            "{work}: {count} {what}, more than 5 % away from {line} (REPO_DEPLOY_GOLDEN=1 writes them anew)"
        );
    }
    assert_eq!(known.lines().count(), counts.len());
}
