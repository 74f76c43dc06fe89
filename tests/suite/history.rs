//! The history: every deployment and what became of it, whatever happened on the way; and never in the way of one.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::crash::traced;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_READ, DEPLOYED, EXIT_CODE};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Raw, cut, ok};
use crate::support::site::Site;

/// What `history --json` says, the newest first.
pub fn history(site: &Site) -> Vec<Value> {
    let run = site.does(&["history", "--json"]).expect(0);
    assert_eq!(run.log, "");
    let all: Value = serde_json::from_str(&run.out).unwrap();
    all["deployments"][0]["history"].as_array().unwrap().clone()
}

/// Of each entry its outcome, its reason and how often.
fn told(site: &Site) -> Vec<String> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("-").to_owned();
    let tell = |e: &Value| format!("{} {} {}", text(e, "outcome"), text(e, "reason"), e["count"]);
    history(site).iter().map(tell).collect()
}

fn file(site: &Site) -> PathBuf {
    site.sandbox.store().join("history")
}

/// What the state says.
fn current(sandbox: &Sandbox) -> (String, String) {
    let state = fs::read_to_string(sandbox.store().join("state")).unwrap_or_default();
    let get = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    (get("current = "), get("current-since = "))
}

#[test]
fn nothing_was_deployed_then_it_says_so() {
    let w = Site::new("");
    let run = w.does(&["history"]).expect(0);
    assert_eq!((run.out.as_str(), run.log.as_str()), ("nothing is noted yet; status tells what is live\n", ""));
    assert_eq!(history(&w), [] as [Value; 0]);
    // A check that finds nothing at its remote is no deployment.
    w.check().expect(1);
    assert_eq!(history(&w), [] as [Value; 0]);
    assert!(!file(&w).exists());
}

#[test]
fn each_outcome_then_an_entry_tells_what_when_why_and_how_long() {
    let w = Site::new("max-attempts = 2");
    w.put("1");
    w.check().expect(0);
    w.check().expect(0).never_says(DEPLOYED);
    assert_eq!(told(&w), ["deployed update 1"], "a check that found nothing new is no entry");

    w.put("2");
    let no = w.sandbox.hook("pre.d", "10-no", "exit 1");
    (0..4).for_each(|n| drop(w.check().expect(if n < 2 { 2 } else { 0 })));
    assert_eq!(told(&w)[0], "blocked update 2", "on hold is no entry");
    fs::remove_file(no).unwrap();

    fs::write(&w.remote, "PK\x03\x04 but no ZIP").unwrap();
    (0..3).for_each(|_| drop(w.check().expect(1)));
    assert_eq!(told(&w)[0], "refused update 1", "refusing it again is no entry");

    w.put("3");
    let bad = w.sandbox.hook("post.d", "20-bad", "[ \"$(cat \"$CURRENT_CONFIG/version\")\" != 3 ]");
    w.check().expect(1);
    w.check().expect(1);
    assert_eq!(told(&w)[0], "rolled-back update 2");
    fs::remove_file(bad).unwrap();

    w.put("4");
    let bad = w.sandbox.hook("post.d", "20-bad", "exit 1");
    w.check().expect(3);
    assert_eq!(told(&w)[0], "in-doubt update 1");
    w.check().expect(3);
    assert_eq!(told(&w)[0], "in-doubt recover 1");
    w.check().expect(1);
    assert_eq!(told(&w)[0], "rolled-back recover 1");
    fs::remove_file(bad).unwrap();

    w.put("5");
    let kill = w.sandbox.hook("post.d", "30-kill", "[ $REPO_DEPLOY_ATTEMPT = 2 ] || kill -9 $PPID");
    w.check().expect(137);
    w.check().expect(0);
    fs::remove_file(kill).unwrap();
    w.put("6");
    w.check().expect(0);
    fs::rename(&w.remote, w.sandbox.path("away")).unwrap();
    w.check().expect(1);
    let expected = [
        "deployed update 1",
        "deployed recover 1",
        "rolled-back recover 1",
        "in-doubt recover 1",
        "in-doubt update 1",
        "rolled-back update 2",
        "refused update 1",
        "blocked update 2",
        "deployed update 1",
    ];
    assert_eq!(told(&w), expected, "a poll that fails is no entry");

    let all = history(&w);
    for (n, entry) in all.iter().enumerate() {
        let (outcome, why) = (entry["outcome"].as_str().unwrap(), &entry["why"]);
        assert_eq!(why.is_null(), outcome == "deployed", "{entry}");
        let whole = |key: &str| entry[key].as_str().is_some_and(|id| id.len() == 16);
        assert!(whole("release") && (n == 8 || whole("from")), "{entry}");
        assert!(entry["revision"].as_str().unwrap().starts_with("sha256:"), "{entry}");
        assert!(entry["took_ms"].as_u64().unwrap() > 0, "{entry}");
        assert!(entry["first"].as_str() <= entry["when"].as_str(), "{entry}");
        assert!(n == 0 || all[n - 1]["when"].as_str() >= entry["when"].as_str(), "the newest first: {all:?}");
    }
    assert_eq!(all[8]["from"], Value::Null);
    assert_eq!((&all[0]["from"], &all[1]["from"]), (&all[1]["release"], &all[8]["release"]));
    assert!(all[7]["why"].as_str().unwrap().contains(&format!("pre.d/10-no {EXIT_CODE} 1")));
}

#[test]
fn a_download_breaks_off_then_that_is_an_entry_with_its_revision_and_bytes_come_with_the_whole_one() {
    let w = Site::new("timeout = 1");
    let zip = fs::read(w.sandbox.zip("app.zip", &[("version", "1")])).unwrap();
    let (length, whole) = (zip.len(), w.sandbox.path("whole"));
    let is_whole = whole.clone();
    let server = Raw::start(move |_, _| {
        let answer = ok("ETag: \"one\"\n", &zip);
        vec![if is_whole.exists() { answer } else { cut(answer, 30) }]
    });
    let w = Site { remote: server.url("/app.zip"), ..w };
    w.check().expect(1);
    let entry = history(&w).remove(0);
    assert_eq!(entry["revision"], "etag:\"one\"", "{entry}");
    assert!(["failed", "unavailable"].contains(&entry["outcome"].as_str().unwrap()), "{entry}");
    assert_eq!((&entry["from"], &entry["bytes"]), (&Value::Null, &0.into()), "{entry}");
    fs::write(whole, "").unwrap();
    w.check().expect(0);
    let all = history(&w);
    assert_eq!((&all[0]["outcome"], &all[0]["bytes"]), (&"deployed".into(), &length.into()), "{all:?}");
    assert_eq!(all[0]["release"], all[1]["release"], "what failed is what came: {all:?}");
}

#[test]
fn a_directory_is_adopted_then_the_history_tells_of_that_too() {
    let w = Site::new("activation = in-place\nid = x");
    w.sandbox.write("deploy/current/mine", "x");
    w.put("1");
    w.check().expect(0);
    let all = history(&w);
    assert_eq!((&all[0]["outcome"], &all[1]["outcome"]), (&"deployed".into(), &"adopted".into()), "{all:?}");
    assert_eq!((&all[1]["release"], &all[0]["from"]), (&"adopted".into(), &"adopted".into()), "{all:?}");
}

#[test]
fn more_than_a_hundred_deployments_then_the_oldest_go() {
    let w = Site::new("");
    w.put("1");
    w.check().expect(0);
    let block = fs::read_to_string(file(&w)).unwrap();
    let when = block.lines().find_map(|line| line.strip_prefix("when = ")).unwrap().to_owned();
    let old = |n: u32| block.replace(&when, &n.to_string());
    fs::write(file(&w), block.clone() + &(1..100).rev().map(old).collect::<String>()).unwrap();
    assert_eq!(history(&w).len(), 100);
    w.put("2");
    w.check().expect(0);
    let all = history(&w);
    assert_eq!((all.len(), &all[99]["when"]), (100, &"1970-01-01T00:00:02Z".into()));
}

#[test]
fn the_same_release_fails_at_each_check_then_it_is_one_entry_and_pushes_nothing_out() {
    let w = Site::new("");
    w.put("1");
    w.check().expect(0);
    w.put("2");
    w.sandbox.hook("pre.d", "10-no", "exit 1");
    (0..120).for_each(|_| drop(w.check().expect(2)));
    assert_eq!(told(&w), ["blocked update 120", "deployed update 1"]);
}

#[test]
fn killed_before_any_rename_of_a_check_then_what_is_live_has_its_entry() {
    needs!(time, "strace");
    let (mut trials, mut late) = (0, 0);
    for call in ["rename", "renameat", "renameat2"] {
        for n in 1.. {
            let w = Site::new("");
            w.put("1");
            w.check().expect(0);
            w.put("2");
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let options = ["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            let command = w.sandbox.command(&["--remote", &w.remote]);
            let run = Run::from(traced(&command, &options).output().unwrap());
            if run.code != 137 {
                break;
            }
            trials += 1;
            let entries = history(&w).len();
            w.check().expect(0);
            let all = history(&w);
            let of = |entry: &Value| entry["release"].as_str().unwrap().to_owned();
            let (release, _) = current(&w.sandbox);
            assert_eq!((all.len(), of(&all[0])), (2, release), "{call} #{n}: {all:?}");
            assert!(all.iter().all(|entry| entry["outcome"] == "deployed"), "{call} #{n}: {all:?}");
            if all[0]["reason"].is_null() {
                // The state was committed, and the entry was not written.
                late += 1;
                assert_eq!(entries, 1, "{call} #{n}");
                assert!(
                    all[0]["took_ms"].is_null() && all[0]["why"].as_str().unwrap().contains("later check"),
                    "{all:?}"
                );
            }
            w.check().expect(0);
            assert_eq!(history(&w), all, "{call} #{n}: it is noted once");
        }
    }
    assert!(trials >= 4 && late == 1, "{trials} trials, {late} of them between the commit and the entry");
}

#[test]
fn a_store_of_before_there_was_a_history_then_the_next_check_notes_what_is_live_and_the_one_before() {
    let w = Site::new("");
    for version in ["1", "2"] {
        w.put(version);
        w.check().expect(0);
    }
    let before = history(&w);
    fs::remove_file(file(&w)).unwrap();
    fs::remove_file(w.sandbox.store().join("status")).unwrap();
    assert_eq!(history(&w), [] as [Value; 0]);
    w.check().expect(0).never_says("WARN");
    let all = history(&w);
    for (entry, before) in all.iter().zip(&before) {
        for key in ["outcome", "release", "revision", "when"] {
            assert_eq!(entry[key], before[key], "{key}: {all:?}");
        }
        assert!(entry["reason"].is_null() && entry["took_ms"].is_null(), "{entry}");
    }
    assert_eq!(all.len(), 2);
}

#[test]
fn garbage_and_entries_of_a_newer_version_then_deployments_go_on_and_the_newer_ones_stay() {
    let w = Site::new("");
    w.put("1");
    w.check().expect(0);
    let block = fs::read(file(&w)).unwrap();
    let newer = b"entry = 2\nmoment = soon\n\n".to_vec();
    let garbage: Vec<u8> = (0..=255).cycle().take(5000).collect();
    fs::write(file(&w), [garbage.clone(), b"\n\n".to_vec(), newer.clone(), block.clone(), garbage].concat()).unwrap();
    assert_eq!(told(&w), ["deployed update 1"]);
    w.put("2");
    let run = w.check().expect(0);
    assert_eq!(run.complaints(), [""; 0]);
    assert_eq!(told(&w), ["deployed update 1", "deployed update 1"]);
    let text = fs::read(file(&w)).unwrap();
    assert!(text.ends_with(&[newer, block].concat()), "{}", String::from_utf8_lossy(&text));
    // Nothing but garbage: the history begins anew.
    fs::write(file(&w), "x").unwrap();
    assert_eq!(history(&w), [] as [Value; 0]);
    w.put("3");
    w.check().expect(0);
    assert_eq!(history(&w).len(), 2, "this one and the one before");
}

#[test]
fn the_history_cannot_be_read_or_written_then_deployments_go_on_and_whoever_asks_is_told() {
    let w = Site::new("");
    w.put("1");
    fs::create_dir_all(file(&w)).unwrap();
    w.check().expect(0).says(&format!(" WARN {CANNOT_READ} ")).says(DEPLOYED);
    let run = w.does(&["history"]).expect(1);
    assert_eq!(run.out, "");
    run.says(&format!("cannot tell the history: {CANNOT_READ} ")).says("/history: is a directory");
    fs::remove_dir(file(&w)).unwrap();
    w.check().expect(0);
    assert_eq!(told(&w), ["deployed - 1"], "noted by the next check");
}

#[test]
fn several_sections_then_each_has_its_heading() {
    let sandbox = Sandbox::new();
    sandbox.zip("a.zip", &[("a", "a")]);
    let section = |name: &str| format!("[{name}]\nremote = ./a.zip\nlocal = live/{name}\n");
    let config = format!("pre-hooks = none\npost-hooks = none\ncache = cache\n{}{}", section("web"), section("batch"));
    sandbox.write("c.cfg", config);
    let run = |args: &[&str]| {
        let mut command = sandbox.bare();
        command.args(args).args(["-c", "c.cfg"]);
        Run::from(command.output().unwrap())
    };
    run(&["-f", "--config-section", "web"]).expect(0);
    let out = run(&["history", "--config-section", "all"]).expect(0).out;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[3], lines.len()), ("id  web", "", 6), "{out}");
    assert!(lines[1].starts_with("when  ") && lines[2].contains("  deployed  "), "{out}");
    assert_eq!(lines[4..], ["id  batch", "nothing is noted yet; status tells what is live"], "{out}");
    let all: Value =
        serde_json::from_str(&run(&["history", "--json", "--config-section", "all"]).expect(0).out).unwrap();
    let count =
        |n: usize| (all["deployments"][n]["id"].clone(), all["deployments"][n]["history"].as_array().unwrap().len());
    assert_eq!((count(0), count(1)), (("web".into(), 1), ("batch".into(), 0)));
}
