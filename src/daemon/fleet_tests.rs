//! A fleet against one source, simulated: timetables, retries and the memory of failures are those of the daemon; the
//! source answers at once, or is down. `make fleet` prints the table of docs/operations.md. The test holds its limits
//! and its rows of 10,000 hosts.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "numbers are small here, and the table is printed"
)]

use std::fmt::Write as _;
use std::time::Duration;

use super::timetable::Timetable;
use crate::error::Kind;
use crate::http::retry::{self, Next};
use crate::outcome::Outcome;
use crate::report::check_report::CheckReport;
use crate::report::status_file::Status;
use crate::schedule::zone::load;
use crate::schedule::{Schedule, Seed};

/// Checks each minute: the cell of the table, the schedule, and the splay.
const FORMS: [(&str, &str, u64); 4] = [
    ("`* * * * *`", "* * * * *", 0),
    ("`* * * * *`, `splay = 60`", "* * * * *", 60),
    ("`* * * * * H`", "* * * * * H", 0),
    ("`@every 1m`", "@every 1m", 0),
];

/// All hosts boot at 2026-11-22T06:00:05Z.
const BOOT: u64 = 1_795_327_205;
/// The time of the outage, in seconds since the boot.
const OUTAGE: std::ops::Range<u64> = 187..787;
/// The end of the simulation, in seconds since the boot.
const END: u64 = OUTAGE.end + 120;
/// The default of `timeout`.
const TIMEOUT: Duration = Duration::from_secs(600);
const REMOTE: &str = "https://example.com/app.zip";

/// The answer of a source that is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Down {
    /// No connection.
    Refused,
    /// 503, with the end of the outage as the date of `Retry-After`.
    Dated,
}

/// One host.
struct Host {
    times: Timetable,
    status: Status,
    /// The outcome of its last check.
    last: Option<&'static str>,
    dice: u64,
}

impl Host {
    fn new(name: &str, schedule: &str, splay: u64) -> Self {
        let seed = Seed::new(name, "default");
        let parsed = Schedule::parse(schedule, &seed, |named| load::zone(named, Some("UTC0"))).unwrap();
        let parsed = parsed.with_splay(Duration::from_secs(splay), &seed);
        let times = Timetable::new(Some(parsed), BOOT);
        Self { times, status: Status::default(), last: None, dice: seed.choose("dice", u64::MAX) }
    }

    /// Random numbers that are the same in each run.
    fn random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 20
    }

    /// All requests of this host, in milliseconds since the boot.
    fn requests(&mut self, down: Down) -> Vec<u64> {
        let (mut requests, mut at) = (Vec::new(), 0);
        loop {
            at = at.max(self.times.due().saturating_sub(BOOT) * 1000);
            if at >= END * 1000 {
                return requests;
            }
            self.times.begin(BOOT + at / 1000);
            at = self.check(at, down, &mut requests);
            self.times.look_at_the_clock(BOOT + at / 1000);
        }
    }

    /// One check that begins at `began`; returns its end.
    fn check(&mut self, began: u64, down: Down, requests: &mut Vec<u64>) -> u64 {
        let (mut at, mut failures) = (began, 0);
        let tries = retry::tries(self.status.has_lost_source(BOOT + at / 1000));
        let outcome = loop {
            let now = BOOT + at / 1000;
            if let Some(until) = self.status.held_until(REMOTE, now) {
                break Outcome::Failed(Kind::Unavailable { retry_after: Some(Duration::from_secs(until - now)) });
            }
            requests.push(at);
            if !OUTAGE.contains(&(at / 1000)) {
                break Outcome::Unchanged;
            }
            failures += 1;
            let retry_after = (down == Down::Dated).then(|| Duration::from_secs(OUTAGE.end - at / 1000));
            let left = TIMEOUT.saturating_sub(Duration::from_millis(at - began));
            let next_check = Some(Duration::from_secs(self.times.due().saturating_sub(now)));
            match retry::next(tries - failures, failures, retry_after, left, next_check, self.random()) {
                Next::Wait(wait) => at += u64::try_from(wait.as_millis()).unwrap(),
                Next::OutOfTries | Next::OutOfTime | Next::OnSchedule => {
                    break Outcome::Failed(Kind::Unavailable { retry_after });
                }
            }
        };
        if self.last.replace(outcome.word()) == Some(outcome.word()) {
            return at; // a report of the same changes nothing that a check reads
        }
        let report = CheckReport::new(outcome, format!("cannot poll {REMOTE}"));
        let now = BOOT + at / 1000;
        self.status.note(&report, now, Duration::ZERO);
        self.status.tells_again(&report, now);
        if let Outcome::Failed(kind) = outcome {
            self.status.note_hold(kind, REMOTE, now);
        }
        at
    }
}

/// The load of a fleet.
struct Load {
    hosts: u64,
    /// The requests of each second since the boot.
    seconds: Vec<u64>,
    /// The seconds until 99 % of the hosts have polled, from the worst moment on.
    spread: usize,
}

impl Load {
    fn of(hosts: u64, form: (&str, &str, u64), down: Down) -> Self {
        let mut seconds = vec![0; usize::try_from(END).unwrap()];
        let mut polls = Vec::new();
        for number in 0..hosts {
            let requests = Host::new(&format!("web-{number}.example.com"), form.1, form.2).requests(down);
            for at in requests.iter().filter(|at| **at < END * 1000) {
                seconds[usize::try_from(at / 1000).unwrap()] += 1;
            }
            polls.push(requests);
        }
        Self { hosts, seconds, spread: if down == Down::Refused { spread(&polls) } else { 0 } }
    }

    /// The requests of a second if they were spread evenly.
    fn mean(&self) -> f64 {
        self.hosts as f64 / 60.0
    }

    /// The worst second of `from..to`, in means.
    fn worst(&self, from: u64, to: u64) -> f64 {
        let [from, to] = [from, to].map(|at| usize::try_from(at).unwrap());
        *self.seconds[from..to].iter().max().unwrap() as f64 / self.mean()
    }

    fn boot(&self) -> f64 {
        self.worst(0, 61)
    }

    fn steady(&self) -> f64 {
        self.worst(61, OUTAGE.start)
    }

    fn after_outage(&self) -> f64 {
        self.worst(OUTAGE.end, END)
    }
}

/// The longest time until 99 % of the hosts have a release, over ten moments of a minute at which it may appear.
fn spread(polls: &[Vec<u64>]) -> usize {
    let appears = (61..121).step_by(6);
    let until = |at: u64| {
        let mut waits = [0; 200];
        for polls in polls {
            let poll = polls.iter().find(|poll| **poll > at * 1000).unwrap();
            waits[usize::try_from(poll / 1000 - at).unwrap()] += 1;
        }
        let most = polls.len() * 99 / 100;
        (0..waits.len()).find(|at| waits[..=*at].iter().sum::<usize>() >= most).unwrap()
    };
    appears.map(until).max().unwrap()
}

/// The page with the table.
const PAGE: &str = include_str!("../../docs/operations.md");

/// The head of the table.
const HEAD: &str = "\
| hosts | schedule | mean | worst second | of the boot | after an outage | after a dated one | 99 % |
|---|---|---|---|---|---|---|---|";

/// The row of the table in docs/operations.md.
fn row(hosts: u64, form: (&str, &str, u64)) -> (String, [Load; 2]) {
    let loads = [Down::Refused, Down::Dated].map(|down| Load::of(hosts, form, down));
    let [refused, dated] = &loads;
    let count = if hosts >= 1000 { format!("{},{:03}", hosts / 1000, hosts % 1000) } else { hosts.to_string() };
    let mut row = format!("| {count} | {} | {:.0} |", form.0, refused.mean());
    for worst in [refused.steady(), refused.boot(), refused.after_outage(), dated.after_outage()] {
        write!(row, " {worst:.2} |").unwrap();
    }
    write!(row, " {} s |", refused.spread).unwrap();
    (row, loads)
}

/// With REPO_DEPLOY_FLEET in the environment (`make fleet`) also for 100,000 hosts, which takes a minute.
#[test]
fn hosts_are_spread_then_no_second_is_much_worse_than_the_mean() {
    let sizes: &[u64] = if std::env::var_os("REPO_DEPLOY_FLEET").is_some() { &[10_000, 100_000] } else { &[10_000] };
    assert!(PAGE.contains(HEAD), "docs/operations.md lacks the head\n{HEAD}");
    println!("{HEAD}");
    for (hosts, form) in sizes.iter().flat_map(|hosts| FORMS.map(|form| (*hosts, form))) {
        let (row, loads) = row(hosts, form);
        println!("{row}");
        assert!(PAGE.lines().any(|line| line == row), "docs/operations.md lacks the row\n{row}");
        if form == FORMS[0] {
            assert!(loads[0].steady() > 59.0, "a plain schedule is one second of each minute");
            continue;
        }
        for load in &loads {
            let [steady, boot, after] = [load.steady(), load.boot(), load.after_outage()];
            assert!(steady <= 1.3 && boot <= 1.3 && after <= 2.0, "{row}");
            assert!(load.spread <= 60, "{row}");
        }
    }
}

/// The same for other names: the fleet of the table must not be a lucky one. Places are drawn: one fleet of 10,000 in
/// three hundred has a second above 1.3.
#[test]
fn fleets_of_other_names_are_spread_as_well() {
    let names: [fn(u64) -> String; 4] = [
        |n| format!("ip-10-{}-{}-{}", n / 65_536, n / 256 % 256, n % 256),
        |n| format!("localhost {:032x}", u128::from(n) * 0x9e37_79b9_7f4a_7c15_f39c_c060), // the machine ids differ
        |n| format!("app-{:010x}", n * 2_654_435_761),
        |n| n.to_string(),
    ];
    for (name, form) in names.into_iter().zip(FORMS[1..].iter().cycle()) {
        let mut seconds = [0_u32; 60];
        for number in 0..10_000 {
            let host = Host::new(&name(number), form.1, form.2);
            seconds[usize::try_from(host.times.due() % 60).unwrap()] += 1;
        }
        let worst = f64::from(*seconds.iter().max().unwrap()) / (10_000.0 / 60.0);
        assert!(worst <= 1.3, "{}: {worst:.2}", form.0);
    }
}
