//! Walks disturb a run at its system calls, one call after the other. All points of all walks take hours, so a run of the suite
//! tries a sample of each. The sample is drawn from a seed, by default the commit: another commit, other points; the same
//! commit, the same points. `REPO_DEPLOY_SEED=WORD` draws the sample of another seed, `REPO_DEPLOY_EVERY_POINT=1` tries all
//! points.

use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// How many points of a walk are tried.
pub const SAMPLE: usize = 100;

/// One call of a trace: the `n`th of its name, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: String,
    pub n: usize,
}

/// The points of a trace that strace wrote, in its order.
pub fn points(trace: &str) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut counts = std::collections::BTreeMap::new();
    for line in trace.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let n = counts.entry(name).or_insert(0);
            *n += 1;
            // The first execve is strace's own.
            if (name, *n) != ("execve", 1) {
                points.push(Point { name: name.to_owned(), n: *n });
            }
        }
    }
    assert!(points.len() > 20, "a trace that says something: {points:?}");
    points
}

/// At most `size` of the `points` of `walk`, in their order: one of each name first, so that a rare call is always among them.
pub fn sample(walk: &str, size: usize, points: Vec<Point>) -> Vec<Point> {
    drawn(seed(), walk, size, points)
}

fn drawn(seed: Option<&str>, walk: &str, size: usize, points: Vec<Point>) -> Vec<Point> {
    let (Some(seed), all) = (seed, points.len()) else { return points };
    let mut lots: Vec<_> = (0..all)
        .map(|at| (Sha256::digest(format!("{seed}\0{walk}\0{}\0{}", points[at].name, points[at].n)), at))
        .collect();
    lots.sort_unstable();
    let mut names = std::collections::BTreeSet::new();
    let (first, rest): (Vec<usize>, Vec<usize>) =
        lots.into_iter().map(|(_, at)| at).partition(|at| names.insert(points[*at].name.clone()));
    let mut chosen: Vec<usize> = first.into_iter().chain(rest).take(size).collect();
    chosen.sort_unstable();
    eprintln!("{walk}: {} of {all} points, REPO_DEPLOY_SEED={seed}", chosen.len());
    chosen.into_iter().map(|at| points[at].clone()).collect()
}

/// What samples are drawn from; `None`: every point is tried.
fn seed() -> Option<&'static str> {
    static SEED: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        if std::env::var_os("REPO_DEPLOY_EVERY_POINT").is_some() {
            return None;
        }
        let commit = || {
            let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
            let id = git.ok().filter(|git| git.status.success())?.stdout;
            Some(String::from_utf8(id).unwrap().trim().to_owned())
        };
        // Without git there is no commit; the sample is the same one then.
        let seed = std::env::var("REPO_DEPLOY_SEED").ok().or_else(commit).unwrap_or_else(|| "none".to_owned());
        // Past the test harness, which shows what a test prints only when the test fails.
        let said = format!("the walks try a sample; REPO_DEPLOY_SEED={seed} repeats it\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        Some(seed)
    };
    SEED.get_or_init(read).as_deref()
}

#[test]
fn a_sample_is_drawn_twice_then_it_is_the_same_and_each_name_is_in_it() {
    let trace: String = (0..300).map(|n| format!("{}(3) = 0\n", ["read", "write", "openat"][n % 3])).collect();
    let all = points(&format!(
        "execve(\"/x\") = 0\n--- SIGCHLD {{}} ---\n{trace}rename(\"a\", \"b\") = 0\nexit_group(0) = ?\n"
    ));
    assert_eq!(all.len(), 302);
    let draw = |seed, size| drawn(seed, "walk", size, all.clone());
    let some = draw(Some("a"), 40);
    assert_eq!((some.len(), &some), (40, &draw(Some("a"), 40)));
    assert_ne!(some, draw(Some("b"), 40));
    assert!(all.iter().all(|point| some.iter().any(|chosen| chosen.name == point.name)), "{some:?}");
    assert!(all.iter().filter(|point| some.contains(point)).eq(&some), "in the order of the trace: {some:?}");
    assert_eq!(draw(Some("a"), 1000), all);
    assert_eq!(draw(None, 40), all, "every point");
}
