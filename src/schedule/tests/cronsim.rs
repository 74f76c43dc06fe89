//! Compares with cronsim, which follows the rules of Debian's cron, in five zones around changes of their clocks.
//!
//! Intended differences, which are not compared:
//! - seconds are the last field here (as in the program before this one) and the first in cronsim, where they turn off
//!   the rules for daylight saving;
//! - `H`, `@every`, `@daily` and the like, `CRON_TZ=`, `?`, `L-n`, `nW` are unknown to cronsim;
//! - ranges that wrap (`22-2`) are refused by cronsim;
//! - `5/2` for weekdays goes on to 7, a Sunday, in cronsim; here it ends with Saturday, the last of 0-6; and `5-5/2` is
//!   `5/2` in cronsim, and 5 here.
//!
//! Errors of cronsim, ignored in expressions with an open minute or hour only: it searches in steps of whole hours.
//! After a change by half an hour (Lord Howe) these never meet a full hour again on that day; and when midnight is
//! skipped (Sao Paulo in spring) it fires at the first minute of the day, for any expression, or misses that hour.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::random::{Dice, Expression};
use super::*;

const SCRIPT: &str = "
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo
from cronsim import CronSim
for line in sys.stdin:
    zone, start, count, text = line.rstrip('\\n').split('\\t')
    found = []
    try:
        times = CronSim(text, datetime.fromtimestamp(int(start), ZoneInfo(zone)))
        found = [str(int(next(times).timestamp())) for _ in range(int(count))]
    except Exception as e:
        found.append(type(e).__name__)
    print(' '.join(found))
";

/// The changes of the clocks in spring and in autumn, or a year without a change.
const CHANGES: [(&str, [i64; 2]); 5] = [
    ("Europe/Berlin", [1_774_746_000, 1_792_890_000]),
    ("America/New_York", [1_772_953_200, 1_793_512_800]),
    ("Australia/Lord_Howe", [1_791_041_400, 1_775_314_800]),
    ("Asia/Kolkata", [1_774_746_000, 1_792_890_000]),
    ("America/Sao_Paulo", [1_508_036_400, 1_518_919_200]), // at midnight, in 2017 and 2018
];

#[test]
fn cronsim_is_asked_then_it_says_the_same() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts/venv/bin/python");
    if !python.exists() && std::env::var("CI").as_deref() != Ok("true") {
        eprintln!("left out, because tests/parts.sh has not put cronsim there");
        return;
    }
    const COUNT: usize = 6;
    let zones = CHANGES.map(|(name, changes)| (name, zone::load::zone(None, Some(name)).unwrap(), changes));
    let mut dice = Dice(5);
    let (mut cases, mut questions) = (Vec::new(), String::new());
    for _ in 0..2000 {
        let text = Expression::any(&mut dice, true).text();
        for (name, zone, changes) in &zones {
            for change in changes {
                let start = change - 2 * DAY + 60 * dice.below(2 * 1440);
                questions += &format!("{name}\t{start}\t{COUNT}\t{text}\n");
                let errs = *name == "Australia/Lord_Howe" || *change == 1_508_036_400;
                cases.push((text.clone(), *name, zone, start, errs));
            }
        }
    }
    let mut cronsim = Command::new(python);
    cronsim.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut cronsim = cronsim.spawn().unwrap();
    let mut stdin = cronsim.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()).unwrap());
    let answers = String::from_utf8(cronsim.wait_with_output().unwrap().stdout).unwrap();
    writer.join().unwrap();
    assert_eq!(answers.lines().count(), cases.len());
    let mut differing = Vec::new();
    let (mut refused, mut passed) = (0, 0);
    for ((text, name, zone, start, errs), answer) in cases.iter().zip(answers.lines()) {
        let Ok(schedule) = Schedule::parse(text, &Seed::new("", ""), |_| Ok((*zone).clone())) else {
            refused += 1;
            let is_refused = ["CronSimError", "StopIteration"].contains(&answer);
            assert!(is_refused, "{text} in {name}: we refuse it, cronsim says {answer}");
            continue;
        };
        let mut at = *start;
        let ours: Vec<i64> = (0..COUNT).map(|_| (at = schedule.next(at).unwrap(), at).1).collect();
        let theirs: Vec<i64> = answer.split(' ').filter_map(|at| at.parse().ok()).collect();
        let is_open = matches!(&schedule.rule, Rule::Cron(cron) if !cron.is_fixed);
        if ours != theirs && *errs && is_open {
            passed += 1;
        } else if ours != theirs {
            let shown = |times: &[i64]| times.iter().map(|at| schedule.local(*at)).collect::<Vec<_>>().join(" ");
            differing.push(format!(
                "{text} in {name} from {}:\n  ours   {}\n  theirs {} {answer}",
                schedule.local(*start),
                shown(&ours),
                shown(&theirs)
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} differ, {refused} refused:\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
    assert!(refused < 400 && passed < 400, "{refused} refused, {passed} let pass");
}
