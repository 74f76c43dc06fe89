//! How `status` and `history` come to a person: golden files for widths and locales, colours on a terminal and nowhere
//! else, nothing that speaks to it; and that JSON tells the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::history::history;
use crate::support::needs::needs;
use crate::support::phrases::IN_DOUBT;
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, short};
use crate::support::servers::wait_for;
use crate::support::site::Site;

/// What all times become, and the length that all have.
const TIME: &str = "2026-11-22T06:00:00Z";

/// A deployment that has seen something, at a path whose length is always the same.
fn lived_in() -> Site {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let sandbox = Sandbox::at(Path::new(&format!("/tmp/repo-deploy-golden-{:07}-{n:02}", std::process::id())));
    let w = Site::at(sandbox, "max-attempts = 3\nschedule = 0 6 * * *\n");
    w.put("1");
    w.check().expect(0);
    w.put("2");
    let bad = w.sandbox.hook("post.d", "50-größe", "[ \"$(cat \"$CURRENT_CONFIG/version\")\" != 2 ]");
    w.check().expect(1);
    fs::remove_file(bad).unwrap();
    fs::write(&w.remote, "no ZIP").unwrap();
    w.check().expect(1);
    w.put("4");
    w.check().expect(0);
    w.put("5");
    w.sandbox.hook("pre.d", "10-größe", "exit 1");
    (0..4).for_each(|n| drop(w.check().expect(if n < 3 { 2 } else { 0 })));
    settle(&w);
    w
}

/// Puts what differs from machine to machine into the store as one has it: hashes, sizes, durations. What is made of them
/// is the program's.
fn settle(w: &Site) {
    let read = |name: &str| w.sandbox.read(w.sandbox.store().join(name));
    let (mut history, mut state, mut status) = (read("history"), read("state"), read("status"));
    let of = |text: &str, key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
    };
    let releases = of(&history, "release = ");
    let revisions = of(&history, "release-revision = ");
    assert_eq!(releases.len(), 5);
    for (n, (release, revision)) in releases.iter().zip(&revisions).enumerate() {
        let digit = char::from(b'a' + u8::try_from(n).unwrap());
        let revision_is = match n {
            0 => "etag:\"W\\xc3\\xbcrfel-\\x1b[31m\\xe2\\x80\\xae-\\xc2\\x9b\"".to_owned(),
            1 => "0123456789abcdef0123456789abcdef01234567".to_owned(),
            _ => format!("sha256:{}", String::from(digit).repeat(64)),
        };
        for text in [&mut history, &mut state, &mut status] {
            *text = text.replace(release, &String::from(digit).repeat(16));
            *text = text.replace(revision.as_str(), &revision_is).replace(&short(revision), &short(&revision_is));
        }
    }
    let (took, bytes) = (["0", "59900", "200500", "7500000", "14"], ["0", "115", "1536", "12897485", "4294967296"]);
    let history: Vec<String> = history.split_inclusive("\n\n").map(str::to_owned).collect();
    let history = history.iter().enumerate().map(|(n, block)| {
        let lines = block.lines().map(|line| match line.split_once(" = ") {
            Some(("took-ms", _)) => format!("took-ms = {}\n", took[n]),
            Some(("bytes", _)) => format!("bytes = {}\n", bytes[n]),
            _ => format!("{line}\n"),
        });
        lines.collect::<String>()
    });
    let mut sizes = ["1023", "13002342", "4096", "5368709120", "0"].iter();
    let status = status.lines().map(|line| match line.split_once(' ') {
        Some((key, rest)) if key.starts_with("release-") => {
            format!("{key} = {} {}\n", sizes.next().unwrap(), rest.rsplit(' ').next().unwrap())
        }
        _ => format!("{line}\n"),
    });
    let (history, status): (String, String) = (history.collect(), status.collect());
    for (name, text) in [("history", &history), ("state", &state), ("status", &status)] {
        fs::write(w.sandbox.store().join(name), text).unwrap();
    }
}

/// What a command says in a width and a locale; times and the path are made the same everywhere, in the same length.
fn said(w: &Site, command: &str, environment: &[(&str, &str)]) -> String {
    let run = Run::from(w.command(&[command]).envs(environment.iter().copied()).output().unwrap());
    assert_eq!(run.log, "");
    let path = w.sandbox.path("");
    let path = path.to_str().unwrap().trim_end_matches('/');
    let mut text = run.out.replace(path, &format!("/tmp/repo-deploy-golden-{:07}-{:02}", 0, 0));
    for at in 0..text.len() {
        let is_time = |t: &str| {
            let shape = |(c, like): (u8, u8)| if like.is_ascii_digit() { c.is_ascii_digit() } else { c == like };
            t.bytes().zip(TIME.bytes()).all(shape)
        };
        if text.get(at..at + TIME.len()).is_some_and(is_time) {
            text.replace_range(at..at + TIME.len(), TIME);
        }
    }
    text
}

#[test]
fn status_and_history_look_as_they_should_in_every_width_and_locale() {
    let w = lived_in();
    for command in ["status", "history"] {
        for (columns, locale) in [("80", "C"), ("80", "C.UTF-8"), ("200", "C"), ("200", "C.UTF-8")] {
            let text = said(&w, command, &[("COLUMNS", columns), ("LC_ALL", locale)]);
            let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            let golden = golden.join(format!("{command}-{columns}-{locale}.txt"));
            if std::env::var_os("REPO_DEPLOY_GOLDEN").is_some() {
                fs::write(&golden, &text).unwrap();
            }
            let expected = fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
            assert_eq!(text, expected, "{} (REPO_DEPLOY_GOLDEN=1 writes them anew)\n{text}", golden.display());
            let most: usize = columns.parse().unwrap();
            for line in text.lines() {
                assert!(line.chars().count() <= most && line.trim_end() == line, "{line:?}");
                assert!(line.chars().all(|c| !c.is_control()) && (locale != "C" || line.is_ascii()), "{line:?}");
            }
        }
        // In a pipe nothing is wrapped and nothing is cut.
        let text = said(&w, command, &[("LC_ALL", "C.UTF-8")]);
        assert!(text.contains(" sha256:cccccccccccc  ") || command == "status", "{text}");
        assert!(text.contains(" 0123456789ab") && !text.contains("0123456789abc") && !text.contains('…'), "{text}");
        // A revision in full is what -v is for.
        let whole = Run::from(w.command(&[command, "-v"]).env("LC_ALL", "C.UTF-8").output().unwrap()).out;
        assert!(whole.contains(" 0123456789abcdef0123456789abcdef01234567"), "{whole}");
        assert!(whole.contains(&format!("sha256:{}", "e".repeat(64))), "{whole}");
    }
}

#[test]
fn a_narrow_terminal_then_no_line_is_empty_and_what_tells_least_is_left_out() {
    let w = lived_in();
    let status = said(&w, "status", &[("COLUMNS", "40"), ("LC_ALL", "C.UTF-8")]);
    assert!(status.lines().all(|line| !line.is_empty() && line.chars().count() <= 40), "{status}");
    let text = said(&w, "history", &[("COLUMNS", "60"), ("LC_ALL", "C.UTF-8")]);
    assert_eq!(text.lines().next(), Some("when                  outcome      release           revisi…"));
    assert!(text.contains("bbbbbbbbbbbbbbbb  012345…\n"), "{text}");
}

/// A command in a terminal of 70 columns.
fn on_terminal(w: &Site, command: &str, args: &[&str], environment: &[(&str, &str)]) -> String {
    let command = w.command(&[&[command], args].concat());
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.to_str().unwrap());
    let line = format!("stty cols 70; exec {}", words.collect::<Vec<_>>().join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/");
    script.envs(environment.iter().copied()).current_dir(w.sandbox.path("")).stdin(Stdio::null());
    Run::from(script.output().unwrap()).out.replace("\r\n", "\n")
}

#[test]
fn on_a_terminal_outcomes_have_colours_and_lines_its_width() {
    needs!("script", "stty");
    let w = lived_in();
    let xterm = [("TERM", "xterm"), ("LANG", "C.UTF-8")];
    let history = on_terminal(&w, "history", &[], &xterm);
    for word in [
        "\x1b[33mblocked\x1b[0m ",
        "\x1b[32mdeployed\x1b[0m ",
        "\x1b[31mrefused\x1b[0m ",
        "\x1b[31mrolled-back\x1b[0m ",
    ] {
        assert!(history.contains(word), "{word:?} in {history:?}");
    }
    assert_eq!(history.matches('\x1b').count(), 2 * 5, "nothing else is painted: {history:?}");
    let plain = on_terminal(&w, "history", &[], &[("TERM", "xterm"), ("LANG", "C.UTF-8"), ("NO_COLOR", "1")]);
    assert_eq!(
        plain,
        ["\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"].iter().fold(history, |t, code| t.replace(code, ""))
    );
    assert!(plain.lines().all(|line| line.chars().count() <= 70) && plain.contains('…'), "{plain}");
    let status = on_terminal(&w, "status", &[], &xterm);
    assert!(status.contains(": \x1b[33mon hold\x1b[0m\n") && status.matches('\x1b').count() == 2, "{status:?}");

    for environment in
        [&[("TERM", "dumb")][..], &[("LANG", "C")], &[("TERM", "")], &[("TERM", "xterm"), ("NO_COLOR", "0")]]
    {
        for command in ["status", "history"] {
            let text = on_terminal(&w, command, &[], environment);
            assert!(text.contains(" 2026") || text.contains(" 20"), "{text}");
            assert!(!text.contains('\x1b'), "{environment:?}: {text:?}");
        }
    }
    let text = on_terminal(&w, "history", &[], &[("TERM", "xterm"), ("NO_COLOR", "")]);
    assert!(text.contains('\x1b'), "an empty NO_COLOR is none: {text:?}");
    let wide = on_terminal(&w, "history", &["-v"], &[("COLUMNS", "300")]);
    assert!(wide.contains(&"c".repeat(64)), "COLUMNS is stronger than the terminal: {wide}");
    for command in ["status", "history"] {
        let json = on_terminal(&w, command, &["--json"], &xterm);
        assert!(!json.contains('\x1b') && json.contains("Würfel"), "{json:?}");
        serde_json::from_str::<Value>(&json).unwrap();
    }
    // A pipe is no terminal, whatever TERM says.
    assert!(!said(&w, "history", &xterm).contains('\x1b'));
}

#[test]
fn json_tells_the_same_as_the_text() {
    let w = lived_in();
    let wide = [("LC_ALL", "C.UTF-8")];
    let read = |command: &str| {
        let run = Run::from(w.command(&[command, "--json"]).env("LC_ALL", "C").env("COLUMNS", "20").output().unwrap());
        let all: Value = serde_json::from_str(&run.out).unwrap();
        (all["deployments"][0].clone(), Run::from(w.command(&[command, "-v"]).envs(wide).output().unwrap()).out)
    };
    let (status, text) = read("status");
    let has = |value: &Value| {
        let value = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
        // What speaks to the terminal is written out in the text, and as it is in JSON.
        let value = if value == "on-hold" { "on hold" } else { value };
        let value = value.replace('\u{1b}', "\\u{1b}").replace('\u{9b}', "\\u{9b}").replace('\u{202e}', "\\u{202e}");
        assert!(text.contains(&value), "{value} in\n{text}\n{status}");
    };
    for key in ["id", "remote", "local", "activation", "store", "phase", "last_check", "next_check", "outcome", "error"]
    {
        has(&status[key]);
    }
    for role in ["live", "previous", "candidate"] {
        has(&status[role]["release"]);
        has(&status[role]["revision"]);
    }
    has(&status["live"]["since"]);
    for key in ["kind", "when", "why"] {
        has(&status["failure"][key]);
    }
    assert_eq!((&status["failure"]["count"], &status["failure"]["on_hold"]), (&3.into(), &true.into()));
    assert!(
        status["failure"]["until"].is_null() && text.contains("\non hold     until another revision appears"),
        "{text}"
    );
    assert!(status["state_error"].is_null() && status["signed_version"].is_null(), "{status}");
    let releases = status["releases"].as_array().unwrap();
    let told: Vec<_> = releases.iter().map(|r| (r["role"].as_str(), r["bytes"].as_u64().unwrap())).collect();
    let expected =
        [(Some("candidate"), 1023), (Some("live"), 13_002_342), (None, 4096), (Some("previous"), 5_368_709_120)];
    assert_eq!(told, expected, "{status}");
    releases.iter().for_each(|release| has(&release["release"]));
    for size in ["1023 B  since", "12.4 MiB  since", "4.0 KiB  since", "5.0 GiB  since"] {
        assert!(text.contains(size), "{size} in\n{text}");
    }

    let (history, text) = read("history");
    let entries = history["history"].as_array().unwrap();
    let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.starts_with("    ")).collect();
    assert_eq!((entries.len(), lines.len()), (5, 5), "{text}");
    for (entry, line) in entries.iter().zip(lines) {
        for key in ["when", "outcome", "release", "reason"] {
            assert!(line.contains(entry[key].as_str().unwrap()), "{key} of {entry} in {line:?}");
        }
        assert!(entry["why"].is_null() || text.contains(entry["why"].as_str().unwrap()), "{entry}");
    }
    assert!(text.contains(&format!("\n    3 times since {}: ", entries[0]["first"].as_str().unwrap())), "{text}");
}

#[test]
fn an_archive_is_refused_then_status_says_until_when_it_is_on_hold() {
    let w = Site::new("");
    fs::write(&w.remote, "no ZIP").unwrap();
    w.check().expect(1);
    let status = || {
        let run = w.does(&["status", "--json"]);
        let all: Value = serde_json::from_str(&run.out).unwrap();
        (all["deployments"][0]["failure"].clone(), w.does(&["status"]).out)
    };
    let (failure, text) = status();
    assert_eq!((&failure["kind"], &failure["on_hold"]), (&"refused".into(), &true.into()));
    let until = failure["until"].as_str().unwrap();
    let seconds = |time: &str| -> u32 {
        let part = |at: usize| time[at..at + 2].parse::<u32>().unwrap();
        part(11) * 3600 + part(14) * 60 + part(17)
    };
    let when = failure["when"].as_str().unwrap();
    assert_eq!(seconds(until), (seconds(when) + 3600) % 86400, "an hour later");
    assert!(text.contains(&format!("\non hold     until {until}\n")), "{text}");
    // Another limit may accept it: the next check looks.
    w.sandbox.write("repo-deploy.cfg", "max-files = 7\n");
    let (failure, text) = status();
    assert!(failure["on_hold"] == false && !text.contains("on hold"), "{failure}\n{text}");
}

#[test]
fn a_release_is_sent_back_and_there_is_no_limit_then_nothing_is_on_hold() {
    let w = Site::new("");
    w.put("1");
    w.sandbox.hook("post.d", "10-no", "exit 1");
    w.check().expect(1);
    let text = w.does(&["status"]).expect(1).out;
    assert!(text.contains("\nfailure     rolled-back 20") && !text.contains("on hold"), "{text}");
    // Whatever stood in the way counts, and is not said to be what it was the last time.
    w.sandbox.hook("pre.d", "10-no", "exit 1");
    w.check().expect(2);
    let text = w.does(&["status"]).expect(1).out;
    assert!(text.contains("\nfailure     failed 2 times, last blocked 20"), "{text}");
}

#[test]
fn going_back_fails_then_status_says_that_the_live_tree_is_in_doubt() {
    let w = Site::new("");
    w.put("1");
    w.check().expect(0);
    w.put("2");
    w.sandbox.hook("post.d", "10-no", "exit 1");
    w.check().expect(3);
    let text = w.does(&["status"]).expect(1).out;
    assert!(
        text.contains(&format!("Z: {IN_DOUBT}\n")) && text.contains("\nphase       rolling-back, attempt 1\n"),
        "{text}"
    );
    let outcome = || {
        let run = w.does(&["status", "--json"]).expect(1);
        serde_json::from_str::<Value>(&run.out).unwrap()["deployments"][0]["outcome"].clone()
    };
    assert_eq!((outcome(), &history(&w)[0]["outcome"]), ("in-doubt".into(), &"in-doubt".into()), "one word for it");
}

#[test]
fn many_releases_then_status_tells_of_the_newest_and_sums_up_the_rest() {
    let w = Site::new("keep = 9\n");
    for n in 0..9 {
        w.put(&n.to_string());
        w.check().expect(0);
    }
    let text = w.does(&["status"]).expect(0).out;
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("releases  ")).collect();
    assert_eq!(rows.len(), 7, "{text}");
    assert!(rows[0].ends_with("Z  live") && rows[1].ends_with("Z  previous"), "{text}");
    assert!(rows[6].starts_with("            and 3 more "), "{text}");
    // The sum of the rest is what du says: whole blocks.
    let all: Value = serde_json::from_str(&w.does(&["status", "--json"]).out).unwrap();
    for kept in all["deployments"][0]["releases"].as_array().unwrap() {
        let release = w.sandbox.store().join("releases").join(kept["release"].as_str().unwrap());
        let du = Run::from(Command::new("du").args(["-s", "-B1"]).arg(release).output().unwrap()).expect(0).out;
        assert_eq!(du.split('\t').next().unwrap(), kept["bytes"].to_string());
    }
    // A release that is pruned is told of no more.
    w.sandbox.write("repo-deploy.cfg", "keep = 2\n");
    w.put("9");
    w.check().expect(0);
    let text = w.does(&["status"]).expect(0).out;
    assert_eq!(text.lines().skip_while(|line| !line.starts_with("releases  ")).count(), 2, "{text}");
}

#[test]
fn a_revision_that_speaks_to_the_terminal_then_it_is_written_out() {
    let w = lived_in();
    for command in ["status", "history"] {
        let text = said(&w, command, &[("LC_ALL", "C.UTF-8")]);
        assert!(text.contains("etag:\"Würfel-\\u{1b}[31m\\u{202e}-\\u{9b}\""), "{text}");
        let text = said(&w, command, &[("LC_ALL", "C")]);
        assert!(text.contains("etag:\"W\\u{fc}rfel-\\u{1b}[31m\\u{202e}-\\u{9b}\""), "{text}");
    }
}

#[test]
fn a_check_is_at_work_or_was_cut_off_then_status_tells_which_and_claims_no_release_as_plainly_live() {
    let w = Site::new("");
    w.put("1");
    w.check().expect(0);
    w.put("2");
    let (up, go) = (w.sandbox.path("up"), w.sandbox.path("go"));
    let wait = format!("touch {}; while ! [ -e {} ]; do sleep 0.01; done", up.display(), go.display());
    let hook = w.sandbox.hook("post.d", "10-wait", &wait);
    let mut check = Running::start(w.sandbox.command(&["--remote", &w.remote]));
    wait_for("the post hook", || up.exists().then_some(()));
    let status = |code: i32| {
        let run = w.does(&["status", "--json"]).expect(code);
        let all: Value = serde_json::from_str(&run.out).unwrap();
        (all["deployments"][0].clone(), w.does(&["status"]).expect(code).out)
    };
    let (told, text) = status(0);
    let (old, new) = (told["live"]["release"].as_str().unwrap(), told["candidate"]["release"].as_str().unwrap());
    assert!(text.contains(&format!("\nlive        release {old}, revision ")), "{text}");
    assert!(
        text.contains(&format!(", giving way to release {new}\n")) && text.contains("\nat work     since "),
        "{text}"
    );
    assert!(text.contains(&format!("\nreleases    {new}           -  since ")), "{text}");
    assert!(told["working_since"].is_string() && told["cut_off"].is_null() && told["phase"] == "activating", "{told}");
    assert!(told["releases"][0]["bytes"].is_null() && told["releases"][0]["role"] == "candidate", "{told}");

    let since = told["working_since"].as_str().unwrap();
    check.signal(Signal::KILL);
    check.end();
    fs::write(go, "").unwrap();
    let (told, text) = status(1);
    assert_eq!((&told["working_since"], told["cut_off"].as_str()), (&Value::Null, Some(since)), "{text}");
    assert!(text.contains(&format!("\ncut off     since {since}; the next check finishes it\n")), "{text}");
    assert!(!text.contains("\nat work ") && text.contains(", giving way to release "), "{text}");
    fs::remove_file(hook).unwrap();
    w.check().expect(0);
    let (told, text) = status(0);
    assert!(told["cut_off"].is_null() && !text.contains("cut off") && !text.contains("giving way"), "{text}");
}
