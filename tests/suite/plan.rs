//! `repo-deploy plan`: what it tells is what a check then does, it costs little, and it leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::{archive, large, live};
use crate::install::Host;
use crate::s3::{configure, keys};
use crate::support::git_servers::Repo;
use crate::support::moto::Moto;
use crate::support::needs::needs;
use crate::support::phrases::{
    AT_WORK, DEPLOYED, HELD_AFTER_ROLLBACK, IN_DOUBT, IS_REFUSED, NOT_BEFORE, OTHER_SUM, REFUSED_BEFORE, RESUMED,
};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox, age, short, tree};
use crate::support::servers::{Nginx, Raw, Seen, Step, ok, raw, status, wait_for};
use crate::support::tree::everything;

/// What a plan said with --json, of the one deployment.
fn told(sandbox: &Sandbox, remote: &str, args: &[&str], code: i32) -> serde_json::Value {
    let run = sandbox.plan(remote, &[&["--json"], args].concat()).expect(code);
    let plan: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}", run.out));
    assert_eq!(plan["plans"].as_array().unwrap().len(), 1);
    assert_eq!(plan["plans"][0]["exit_code"], code);
    plan["plans"][0].clone()
}

/// `A path`, `M path`, `D path`.
fn changes(plan: &serde_json::Value) -> Vec<String> {
    let line = |c: &serde_json::Value| format!("{} {}", c["change"].as_str().unwrap(), c["path"].as_str().unwrap());
    plan["changes"].as_array().unwrap().iter().map(line).collect()
}

fn runs(plan: &serde_json::Value) -> Vec<String> {
    let line = |c: &serde_json::Value| format!("{} {}", c["when"].as_str().unwrap(), c["run"].as_str().unwrap());
    plan["hooks"].as_array().unwrap().iter().map(line).collect()
}

/// How one tree differs from another, in the words of a plan.
fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines: Vec<(Vec<String>, String)> = Vec::new();
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let letter = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(_), Some(_)) => 'M',
            (None, _) => 'A',
            (_, None) => 'D',
        };
        lines.push((name.split('/').map(str::to_owned).collect(), format!("{letter} {name}")));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// What is live; nothing before the first deployment.
fn now(sandbox: &Sandbox) -> BTreeMap<String, String> {
    if sandbox.local().exists() { tree(&sandbox.local()) } else { BTreeMap::new() }
}

/// Plans, deploys, and holds the one against the other. Gives the plan.
#[track_caller]
fn planned_and_done(sandbox: &Sandbox, remote: &str, args: &[&str]) -> serde_json::Value {
    let before = now(sandbox);
    let plan = told(sandbox, remote, args, 10);
    assert_eq!(now(sandbox), before);
    let run = sandbox.deploy(remote, args).expect(0);
    assert_eq!(changes(&plan), difference(&before, &now(sandbox)), "{plan:#}\n{}", run.log);
    if let Some(revision) = plan["revision"].as_str() {
        assert!(run.log.contains(&format!("{DEPLOYED} {} ", short(revision))), "{revision}\n{}", run.log);
    }
    assert_eq!(changes(&told(sandbox, remote, args, 0)), [""; 0]);
    plan
}

/// Everything below, times of directories too.
fn traces(root: &Path) -> BTreeMap<String, String> {
    let mut all = everything(root);
    for (name, line) in &mut all {
        let meta = fs::symlink_metadata(root.join(name)).unwrap();
        line.push_str(&format!(" {:?}", meta.modified().unwrap()));
    }
    all
}

/// A server of ranges as RFC 9110 has them, of one object with `etag`.
pub fn ranged(seen: &Seen, etag: &str, body: &[u8]) -> Step {
    let tag = format!("ETag: {etag}");
    if seen.header("If-None-Match") == Some(etag) {
        return raw(&format!("304 Not Modified\n{tag}"), b"");
    }
    if seen.header("If-Match").is_some_and(|wanted| wanted != etag) {
        return status("412 Precondition Failed", "");
    }
    let Some(range) = seen.header("Range").and_then(|range| range.strip_prefix("bytes=")) else {
        return ok(&tag, body);
    };
    let (first, last) = range.split_once('-').unwrap();
    let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, (last + 1).min(body.len())),
        (Ok(first), Err(_)) => (first, body.len()),
        (Err(_), Ok(last)) => (body.len().saturating_sub(last), body.len()),
        _ => panic!("{range}"),
    };
    let head =
        format!("Content-Length: {}\n{tag}\nContent-Range: bytes {first}-{}/{}", end - first, end - 1, body.len());
    raw(&format!("206 Partial Content\n{head}"), &body[first..end])
}

// ---- what it costs ----

#[test]
fn zip_of_64_mb_is_planned_by_a_hundredth_of_it_and_the_plan_is_what_happens() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let noise = "x0123456789abcdef".repeat(4_000_000);
    let stored = |files: &[(&str, &str)]| {
        let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, content) in files {
            out.start_file(*name, options).unwrap();
            std::io::Write::write_all(&mut out, content.as_bytes()).unwrap();
        }
        sandbox.write("www/app.zip", out.finish().unwrap().into_inner());
    };
    let sent = || {
        let lines = nginx.log(1);
        let bytes: u64 = lines.iter().map(|line| line.rsplit('|').next().unwrap().parse::<u64>().unwrap()).sum();
        (lines.len(), bytes)
    };
    stored(&[("big", &noise), ("a", "1"), ("b", "2")]);
    let plan = told(&sandbox, &nginx.url("/app.zip"), &[], 10);
    assert_eq!(changes(&plan), ["A a", "A b", "A big"]);
    let total = fs::metadata(sandbox.path("www/app.zip")).unwrap().len();
    assert!(total > 64_000_000 && plan["fetch"].as_u64() == Some(total), "{plan:#}");
    nginx.log(2);
    let (_, bytes) = sent();
    assert!(bytes * 100 < total, "{bytes} of {total}");
    assert_eq!(plan["read"].as_u64(), Some(bytes));
    assert_eq!(plan["unpacked"].as_u64(), Some(noise.len() as u64 + 2));
    assert!(plan["needs"].as_u64() >= Some(2 * total) && plan["free"].as_u64() > plan["needs"].as_u64());
    assert_eq!(plan["live"], serde_json::Value::Null);

    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    stored(&[("big", &noise), ("a", "one"), ("c", "3")]);
    let plan = planned_and_done(&sandbox, &nginx.url("/app.zip"), &[]);
    assert_eq!(changes(&plan), ["M a", "D b", "A c"]);
    assert!(plan["live"]["revision"].as_str().unwrap().starts_with("etag:"), "{plan:#}");
}

#[test]
fn zip64_with_a_directory_of_megabytes_is_read_by_its_ranges() {
    needs!("nginx", "python3");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let make = |first: u32| {
        let script = "import sys, zipfile\n\
             with zipfile.ZipFile(sys.argv[1], 'w') as z:\n\
             \x20   for n in range(int(sys.argv[2]), 66000): z.writestr('%05d' % n, 'x')\n";
        let path = sandbox.path("www/app.zip");
        let made = Command::new("python3").args(["-c", script]).arg(&path).arg(first.to_string()).status().unwrap();
        assert!(made.success());
        age(&path);
    };
    make(0);
    let plan = told(&sandbox, &nginx.url("/app.zip"), &[], 10);
    let changes = changes(&plan);
    assert_eq!((changes.len(), &*changes[0], &*changes[65_999]), (66_000, "A 00000", "A 65999"));
    assert!(
        plan["read"].as_u64().unwrap() > 3_000_000 && plan["read"].as_u64() < plan["fetch"].as_u64(),
        "{}",
        plan["read"]
    );
    assert_eq!(nginx.log(3).len(), 3);
    let page = sandbox.plan(&nginx.url("/app.zip"), &[]).expect(10).out;
    assert!(page.contains("\nA 00039\nand 65960 more: -v shows them\n66000 added, 0 changed, 0 removed\n"), "{page}");
    let page = sandbox.plan(&nginx.url("/app.zip"), &["-v"]).expect(10).out;
    assert!(page.contains("\nA 65999\n66000 added"));
}

#[test]
fn server_without_ranges_sends_all_of_it_once_and_the_check_does_not_ask_again() {
    let sandbox = Sandbox::new();
    let body = large(&sandbox, 1);
    let whole = Arc::new(AtomicUsize::new(0));
    let (served, asked) = (body.clone(), whole.clone());
    let server = Raw::start(move |seen, _| {
        assert_eq!(seen.header("If-None-Match"), None);
        asked.fetch_add(1, Ordering::SeqCst);
        vec![ok("ETag: \"one\"", &served)]
    });
    let plan = told(&sandbox, &server.url("/app.zip"), &[], 10);
    assert_eq!((plan["fetch"].as_u64(), plan["read"].as_u64()), (Some(0), Some(body.len() as u64)));
    assert!(plan["notes"][0].as_str().unwrap().contains("the next check does not fetch it again"), "{plan:#}");
    assert_eq!(whole.load(Ordering::SeqCst), 1);
    assert!(!sandbox.store().exists());
    // Again, and it is there already.
    assert_eq!(changes(&told(&sandbox, &server.url("/app.zip"), &[], 10)), changes(&plan));
    let going_on = format!("after {} bytes", body.len());
    let run = sandbox.deploy(&server.url("/app.zip"), &[]).expect(0).says(RESUMED).says(&going_on);
    assert_eq!(changes(&plan), difference(&BTreeMap::new(), &now(&sandbox)), "{}", run.log);
    assert_eq!(crate::http::downloads(&sandbox), [""; 0]);
}

#[test]
fn what_no_strong_etag_pins_is_fetched_to_tell() {
    for tag in ["ETag: W/\"one\"", "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT", ""] {
        let sandbox = Sandbox::new();
        let body = archive(&sandbox, "one");
        let served = body.clone();
        let server = Raw::start(move |seen, _| {
            let Step::Send(answer) = ranged(seen, "\"x\"", &served) else { panic!() };
            let answer = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
            // With a range where it was asked for one, and its own word for what it is.
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            let head = head
                .strip_prefix("HTTP/1.1 ")
                .unwrap()
                .replace("ETag: \"x\"", if tag.is_empty() { "X: y" } else { tag });
            vec![raw(&head, &served)]
        });
        let plan = told(&sandbox, &server.url("/app.zip"), &[], 10);
        let size = body.len() as u64;
        assert_eq!((plan["fetch"].as_u64(), plan["read"].as_u64()), (Some(size), Some(size)), "{tag}: {plan:#}");
        assert_eq!(crate::http::downloads(&sandbox), [""; 0], "{tag}");
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert_eq!(changes(&plan), difference(&BTreeMap::new(), &now(&sandbox)));
    }
}

#[test]
fn object_that_changes_between_two_requests_is_polled_again() {
    let sandbox = Sandbox::new();
    let (one, two) = (large(&sandbox, 1), large(&sandbox, 2));
    let server =
        Raw::start(move |seen, n| vec![if n == 0 { ranged(seen, "\"1\"", &one) } else { ranged(seen, "\"2\"", &two) }]);
    let run = sandbox.plan(&server.url("/app.zip"), &["--json"]).expect(10).says("polling again");
    assert!(run.out.contains("\"revision\":\"etag:\\\"2\\\"\""), "{}", run.out);
    assert_eq!(run.out.matches("\"revision\"").count(), 1);
    let (moving, count) = (large(&sandbox, 3), AtomicUsize::new(0));
    let server = Raw::start(move |seen, _| {
        let tag = format!("\"{}\"", count.fetch_add(1, Ordering::SeqCst));
        vec![ranged(seen, &tag, &moving)]
    });
    sandbox.plan(&server.url("/app.zip"), &[]).expect(1).says("changed during each of 3 attempts");
}

// ---- what it tells is what happens ----

/// Contents of a release by dice: files, programs, links and directories, some of which change their kind.
fn dice(seed: u64) -> Vec<(&'static str, &'static str)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    let slots: [&[(&str, &str)]; 9] = [
        &[("a", "1"), ("a", "2"), ("a", "#!1"), ("a", "-> b")],
        &[("b", "same"), ("b", "same"), ("b", "#!same")],
        &[("d/e/f", "x"), ("d/e/f", "y"), ("d/", ""), ("d/e/", "")],
        &[("d.x", "1"), ("d.x", "")],
        &[("kind", "file"), ("kind/in", "it"), ("kind/", ""), ("kind", "-> a")],
        &[("l", "-> a"), ("l", "-> d"), ("l", "a"), ("l", "-> nowhere")],
        &[("z/\u{fc} \u{65e5}", "1"), ("z/\u{fc} \u{65e5}", "2"), ("z/q'\"", "")],
        &[("deep/er/and/er", "1"), ("deep/er/and/ra", "1")],
        &[("z/l", "-> ../a"), ("z/l", "-> ../b"), ("z/m", "-> l")],
    ];
    let mut files = vec![("always", if seed.is_multiple_of(2) { "even" } else { "odd" })];
    for slot in slots {
        if roll(4) > 0 {
            files.push(slot[usize::try_from(roll(slot.len() as u64)).unwrap()]);
        }
    }
    files
}

#[test]
fn plans_of_generated_pairs_are_what_the_checks_then_do() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let url = nginx.url("/app.zip");
    let mut seen = 0;
    for seed in 1..40 {
        sandbox.zip("www/app.zip", &dice(seed));
        seen += changes(&planned_and_done(&sandbox, &url, &[])).len();
    }
    assert!(seen > 200, "{seen}");
    let whole = nginx.log(1).iter().filter(|line| line.contains("|200|")).count();
    assert_eq!(whole, 39, "only checks fetch");
}

#[test]
fn every_kind_of_source_is_planned_as_it_is_done() {
    let sandbox = Sandbox::new();
    let source = sandbox.path("source");
    let tar = sandbox.path("app.tar.gz");
    let place = |files: &[(&str, &str)]| {
        let _ = fs::remove_dir_all(&source); // there is none the first time
        for (name, content) in files {
            let path = source.join(name.trim_end_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                _ if name.ends_with('/') => fs::create_dir_all(&path).unwrap(),
                Some(target) => symlink(target, &path).unwrap(),
                None => {
                    fs::write(&path, content).unwrap();
                    let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
        let made = Command::new("tar").arg("-czf").arg(&tar).arg("-C").arg(&source).arg(".").status().unwrap();
        assert!(made.success());
    };
    let repo = Repo::new(&sandbox, "app");
    let git = repo.remote("#main");
    for seed in [3, 4, 9] {
        let files = dice(seed);
        place(&files);
        repo.clear();
        let tracked: Vec<_> = files.iter().filter(|(name, _)| !name.ends_with('/')).copied().collect();
        repo.commit(&tracked);
        let zip = sandbox.zip("app.zip", &files);
        for (remote, id) in
            [(zip.to_str().unwrap(), "z"), (tar.to_str().unwrap(), "t"), (source.to_str().unwrap(), "d"), (&git, "g")]
        {
            let local = sandbox.path(format!("live/{id}"));
            fs::create_dir_all(local.parent().unwrap()).unwrap();
            let before = if local.exists() { tree(&local) } else { BTreeMap::new() };
            let args = ["--local", local.to_str().unwrap(), "--id", id];
            let plan = told(&sandbox, remote, &args, 10);
            assert!(seed > 3 || !sandbox.path(format!("live/.{id}.deploy")).exists(), "{remote} made a store");
            sandbox.deploy(remote, &args).expect(0);
            assert_eq!(changes(&plan), difference(&before, &tree(&local)), "{remote}");
            assert_eq!(plan["outcome"], "deploy");
            told(&sandbox, remote, &args, 0);
        }
    }
}

#[test]
fn tar_over_http_is_fetched_once() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.write("src/f", "1");
    let made =
        Command::new("tar").args(["-czf", "www/app.tar.gz", "src"]).current_dir(sandbox.path("")).status().unwrap();
    assert!(made.success());
    age(&sandbox.path("www/app.tar.gz"));
    let plan = told(&sandbox, &nginx.url("/app.tar.gz"), &[], 10);
    assert_eq!((plan["fetch"].as_u64(), &*changes(&plan)), (Some(0), &["A src".to_owned(), "A src/f".to_owned()][..]));
    sandbox.deploy(&nginx.url("/app.tar.gz"), &[]).expect(0).says(RESUMED);
}

#[test]
fn s3_objects_are_planned_by_their_directory() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let body = large(&sandbox, 1);
    moto.put("versioned", "app.zip", &sandbox.write("made.zip", &body));
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    let plan = planned_and_done(&sandbox, "s3://versioned/app.zip", &[]);
    assert!(plan["read"].as_u64() < Some(body.len() as u64 / 2), "{plan:#}");
    assert!(plan["revision"].as_str().unwrap().starts_with("version:"), "{plan:#}");
    moto.put("versioned", "app.zip", &sandbox.zip("made.zip", &[("file", "new")]));
    planned_and_done(&sandbox, "s3://versioned/app.zip", &[]);
    told(&sandbox, "s3://versioned/none.zip", &[], 1);
}

#[test]
fn strict_s3_gives_ranges_too() {
    let sandbox = Sandbox::new();
    let Some(server) = crate::s3::Strict::start(&sandbox) else { return };
    configure(&sandbox, &server.url(), Some(&keys()), "");
    let body = large(&sandbox, 1);
    sandbox.write("s3s/private/app.zip", &body);
    let plan = told(&sandbox, "s3://private/app.zip", &[], 10);
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    assert_eq!(changes(&plan), difference(&BTreeMap::new(), &now(&sandbox)));
}

#[test]
fn live_directory_is_planned_from_what_is_found_and_what_is_preserved_stays_out() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.write("deploy/current/old", "1");
    sandbox.write("deploy/current/keep/data", "1");
    sandbox.write("deploy/current/same", "s");
    fs::set_permissions(sandbox.path("deploy/current/same"), fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.write("repo-deploy.cfg", "preserve = keep\n");
    let zip = sandbox.zip("app.zip", &[("same", "s"), ("new", "n"), ("keep/data", "theirs")]);
    let before = traces(&sandbox.path("deploy"));
    let plan = told(&sandbox, zip.to_str().unwrap(), &[], 10);
    assert_eq!(traces(&sandbox.path("deploy")), before);
    assert!(plan["notes"][0].as_str().unwrap().contains("a copy of what is found at"), "{plan:#}");
    assert_eq!(changes(&plan), ["A new", "D old"]);
    let found = now(&sandbox);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    assert_eq!(changes(&plan), difference(&found, &now(&sandbox)));
    told(&sandbox, zip.to_str().unwrap(), &[], 0);
    // What is missing is put back first.
    fs::remove_file(sandbox.path("deploy/current/new")).unwrap();
    let plan = told(&sandbox, zip.to_str().unwrap(), &[], 10);
    assert_eq!((&plan["outcome"], &*changes(&plan)), (&"unchanged".into(), &[][..]));
    assert!(plan["notes"][0].as_str().unwrap().ends_with("it lacks new"), "{plan:#}");
}

// ---- nothing stays ----

#[test]
fn plans_leave_no_trace_whatever_they_find() {
    let sandbox = Sandbox::new();
    let zip = |text: &str| sandbox.zip("app.zip", &[("file", text)]);
    let path = zip("one");
    let remote = path.to_str().unwrap();
    let untouched = |code: i32, words: &str| {
        let (store, cache) = (traces(&sandbox.path("deploy")), traces(&sandbox.path("cache")));
        let run = sandbox.plan(remote, &["--json"]).expect(code);
        assert!(run.out.contains(words), "{words}: {}", run.out);
        assert_eq!(traces(&sandbox.path("deploy")), store);
        assert_eq!(traces(&sandbox.path("cache")), cache);
    };
    untouched(10, "\"live\":null");
    sandbox.deploy(remote, &[]).expect(0);
    untouched(0, "\"outcome\":\"unchanged\"");
    // A candidate that is blocked, and then on hold.
    zip("two");
    untouched(10, "\"change\":\"M\"");
    sandbox.write("repo-deploy.cfg", "max-attempts = 2\n");
    sandbox.hook("pre.d", "no", "exit 1");
    sandbox.deploy(remote, &[]).expect(2);
    untouched(10, "\"fetch\":0");
    untouched(10, "\"notes\":[\"blocked 20");
    assert!(!sandbox.plan(remote, &[]).expect(10).log.contains("pre.d/no"), "the hook ran");
    sandbox.deploy(remote, &[]).expect(2);
    untouched(0, "\"outcome\":\"on-hold\"");
    // One that is refused: told, not counted; and after a check, still refused.
    sandbox.zip("app.zip", &[("l", "-> /etc/passwd")]);
    untouched(1, "a link to /etc/passwd, which is absolute");
    sandbox.deploy(remote, &[]).expect(1);
    untouched(1, &format!("({REFUSED_BEFORE}; the source still has the same)"));
    // A state that nobody can read.
    zip("three");
    sandbox.write("deploy/.current.deploy/state", "nonsense");
    untouched(10, &format!("is {IN_DOUBT}"));
}

#[test]
fn what_was_rolled_back_from_is_on_hold_and_the_plan_says_so() {
    let sandbox = Sandbox::new();
    let zip = |text: &str| sandbox.zip("app.zip", &[("file", text)]);
    let path = zip("one");
    let remote = path.to_str().unwrap();
    sandbox.deploy(remote, &[]).expect(0);
    zip("two");
    sandbox.deploy(remote, &[]).expect(0);
    let rollback = sandbox.planned(remote, &[]);
    let args: Vec<_> = rollback.get_args().skip(1).map(std::ffi::OsStr::to_owned).collect();
    Run::from(sandbox.bare().arg("rollback").args(args).output().unwrap()).expect(0);
    let before = traces(&sandbox.path("deploy"));
    let plan = told(&sandbox, remote, &[], 0);
    assert_eq!(traces(&sandbox.path("deploy")), before);
    assert_eq!(plan["outcome"], "on-hold");
    assert!(plan["notes"][0].as_str().unwrap().contains(HELD_AFTER_ROLLBACK), "{plan:#}");
    zip("three");
    assert_eq!(changes(&told(&sandbox, remote, &[], 10)), ["M file"]);
}

#[test]
fn source_that_wants_to_be_on_hold_is_on_hold_and_its_wish_stays() {
    let sandbox = Sandbox::new();
    let server = Raw::always(status("503 Service Unavailable", "Retry-After: 3000"));
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(1);
    let (asked, store) = (server.seen().len(), traces(&sandbox.path("deploy")));
    sandbox.plan(&server.url("/app.zip"), &[]).expect(1).says(&format!("the server {NOT_BEFORE}"));
    assert_eq!((server.seen().len(), traces(&sandbox.path("deploy"))), (asked, store));
}

#[test]
fn nobody_in_particular_plans_a_first_deployment_where_nothing_can_be_written() {
    needs!(root, "nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.zip("www/app.zip", &[("file", "1")]);
    let mut command = sandbox.planned(&nginx.url("/app.zip"), &[]);
    let before = traces(&sandbox.path("deploy"));
    let run: Run = command.uid(65_534).gid(65_534).output().unwrap().into();
    assert!(run.expect(10).out.contains("\nA file\n"));
    assert_eq!(traces(&sandbox.path("deploy")), before);
}

#[test]
fn check_at_work_then_what_has_to_be_fetched_waits_with_75() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "1")]);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let lock = fs::File::open(sandbox.store().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let body = archive(&sandbox, "two");
    let server = Raw::always(ok("ETag: \"one\"", &body));
    sandbox.plan(&server.url("/app.zip"), &[]).expect(75).says(AT_WORK);
    let server = Raw::start(move |seen, _| vec![ranged(seen, "\"one\"", &body)]);
    sandbox.plan(&server.url("/app.zip"), &[]).expect(10);
}

// ---- what is in the way ----

#[test]
fn hooks_are_listed_in_the_order_in_which_they_run() {
    let sandbox = Sandbox::new();
    let seen = sandbox.path("seen");
    for (when, name) in [("post.d", "10-b"), ("pre.d", "9"), ("pre.d", "10"), ("post.d", "B"), ("post.d", "a")] {
        sandbox.hook(when, name, &format!("echo {when}/{name} >>{}", seen.display()));
    }
    sandbox.write("pre.d/README", "no hook");
    // One that is for what changes, one that is not.
    for (name, glob) in [("20-for-it", "fi*"), ("30-not", "other/*")] {
        sandbox.hook("post.d", name, &format!("echo post.d/{name} >>{}", seen.display()));
        sandbox.write(format!("post.d/{name}.paths"), glob);
    }
    let zip = sandbox.zip("app.zip", &[("file", "1")]);
    let plan = told(&sandbox, zip.to_str().unwrap(), &[], 10);
    assert!(!seen.exists(), "a hook ran");
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let ran: Vec<String> = sandbox.read("seen").lines().map(|l| sandbox.path(l).display().to_string()).collect();
    let listed: Vec<String> = runs(&plan).iter().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(listed, ran);
    assert!(runs(&plan)[0].starts_with("pre ") && runs(&plan)[5].starts_with("post "));
}

#[test]
fn hook_that_others_may_change_is_told_with_the_end_it_leads_to() {
    for when in ["pre.d", "post.d"] {
        let sandbox = Sandbox::new();
        let hook = sandbox.hook(when, "10-x", "true");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).unwrap();
        let zip = sandbox.zip("app.zip", &[("file", "1")]);
        let run = sandbox.plan(zip.to_str().unwrap(), &[]).expect(2);
        assert!(run.out.contains(&format!("10-x {IS_REFUSED}: ")) && run.out.contains("\nA file\n"), "{}", run.out);
        sandbox.deploy(zip.to_str().unwrap(), &[]).expect(2);
    }
}

#[test]
fn what_a_check_fails_with_is_what_a_plan_fails_with() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let url = nginx.url("/app.zip");
    let error = |run: &Run| {
        let line = run.log.lines().find(|line| line.contains(" ERROR ")).unwrap_or_else(|| panic!("{}", run.log));
        line.split_once(" ERROR ").unwrap().1.to_owned()
    };
    let same = |url: &str, args: &[&str], code: i32| {
        let fresh = Sandbox::new();
        let (planned, done) = (fresh.plan(url, args).expect(code), fresh.deploy(url, args).expect(code));
        assert_eq!(error(&planned), error(&done));
        error(&done)
    };
    assert!(same(&url, &[], 1).contains("404"));
    for (files, words) in [
        (&[("a", "1"), ("a/b", "2")][..], "it lies in a, which is no directory"),
        (&[("../a", "1")], ".. as a component"),
    ] {
        sandbox.zip("www/app.zip", files);
        assert!(same(&url, &[], 1).contains(words));
    }
    sandbox.write("www/app.zip", "<html>moved</html>");
    assert!(same(&url, &[], 1).contains("HTML"));
    let zip = large(&sandbox, 1);
    sandbox.write("www/app.zip", &zip[..zip.len() - 1]);
    assert!(same(&url, &[], 1).contains("has no end: cut off"));
    for (key, words) in
        [("max_download", "max-download allows 1000"), ("max_files", "max-files"), ("max_unpacked", "max-unpacked")]
    {
        let fresh = Sandbox::new();
        let variable = format!("REPO_DEPLOY_{}", key.to_uppercase());
        let limit = if key == "max_files" { "1" } else { "1000" };
        if key == "max_files" {
            sandbox.zip("www/app.zip", &[("a", "1"), ("b", "2")]);
        } else {
            sandbox.write("www/app.zip", &zip);
        }
        let run = |mut command: Command| -> Run { command.env(&variable, limit).output().unwrap().into() };
        let (planned, done) = (run(fresh.planned(&url, &[])), run(fresh.command(&["--remote", &url])));
        assert_eq!(error(&planned), error(&done));
        assert!(error(&done).contains(words), "{}", error(&done));
        assert_eq!((planned.code, done.code), (1, 1));
    }
    let fresh = Sandbox::new();
    fs::create_dir(fresh.local()).unwrap();
    fresh.write("deploy/current/file", "1");
    fresh.write("repo-deploy.cfg", "activation = symlink\n");
    assert_eq!(error(&fresh.plan(&url, &[]).expect(78)), error(&fresh.deploy(&url, &[]).expect(78)));
    sandbox.plan("s3://", &[]).expect(78);
    let run: Run = sandbox.planned(&url, &["word"]).output().unwrap().into();
    run.expect(64);
}

#[test]
fn deployment_that_was_cut_off_is_finished_first_and_the_plan_says_so() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("app.zip", &[("file", "1"), ("gone", "x")]);
    let remote = remote.to_str().unwrap();
    sandbox.deploy(remote, &[]).expect(0);
    sandbox.zip("app.zip", &[("file", "2")]);
    let hook = sandbox.hook("post.d", "kill", "kill -KILL $PPID");
    sandbox.deploy(remote, &[]).expect(137);
    let before = traces(&sandbox.path("deploy"));
    let plan = told(&sandbox, remote, &[], 10);
    assert_eq!(traces(&sandbox.path("deploy")), before);
    assert_eq!(plan["outcome"], "recover");
    assert!(
        plan["notes"][0].as_str().unwrap().contains("finishes a deployment that was cut off: it goes on to release")
    );
    assert_eq!(changes(&plan), ["M file", "D gone"]);
    assert_eq!(runs(&plan), [format!("post {}", hook.display())]);
    fs::remove_file(hook).unwrap();
    sandbox.deploy(remote, &[]).expect(0);
    told(&sandbox, remote, &[], 0);
    // A link that somebody removed.
    fs::remove_file(sandbox.local()).unwrap();
    let plan = told(&sandbox, remote, &[], 10);
    assert!(plan["notes"][0].as_str().unwrap().contains("puts release "), "{plan:#}");
    assert!(!sandbox.local().exists());
}

#[test]
fn trust_is_told_and_not_claimed() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let zip = sandbox.zip("www/app.zip", &[("file", "1")]);
    let sums = |program: &str| {
        let output = Command::new(program).arg(&zip).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    sandbox.write("repo-deploy.cfg", format!("sha256 = {}\n", sums("sha256sum")));
    let plan = planned_and_done(&sandbox, &nginx.url("/app.zip"), &[]);
    assert!(plan["proof"].as_str().unwrap().contains("to be given"), "{plan:#}");
    let other = Sandbox::new();
    other.write("repo-deploy.cfg", format!("sha256 = {}\n", "0".repeat(64)));
    other.plan(zip.to_str().unwrap(), &[]).expect(1).says(&format!("{OTHER_SUM} 000"));
    assert_eq!(crate::http::downloads(&other), [""; 0]);
}

#[test]
fn several_sections_are_told_one_after_the_other_and_the_worst_counts() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "1")]);
    let section = |name: &str, remote: &str| {
        format!("[{name}]\nremote = {remote}\nlocal = {}\n", sandbox.path(format!("deploy/{name}")).display())
    };
    let remote = zip.to_str().unwrap();
    let plan = |args: &[&str]| -> Run {
        let config = sandbox.path("repo-deploy.cfg");
        let mut command = sandbox.bare();
        command.arg("plan").arg("-c").arg(config).arg("--cache").arg(sandbox.path("cache")).args(args);
        command.output().unwrap().into()
    };
    sandbox.write("repo-deploy.cfg", [section("one", remote), section("two", remote)].concat());
    let run = plan(&["--config-section", "all"]).expect(10);
    assert_eq!(run.out.matches("\nA file\n").count(), 2, "{}", run.out);
    sandbox.write("repo-deploy.cfg", [section("one", remote), section("two", "/nonexistent.zip")].concat());
    let run = plan(&["--config-section", "all", "--json"]).expect(1).says("two: ");
    let read: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&read["plans"][0]["exit_code"], &read["plans"][1]["exit_code"]), (&10.into(), &1.into()));
    assert!(read["plans"][1]["errors"][0].as_str().unwrap().contains("/nonexistent.zip"));
}

#[test]
fn names_of_strangers_do_not_speak_to_the_terminal() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.write("deploy/current/\u{1b}[31m\n", "1");
    let zip = sandbox.zip("app.zip", &[("file", "1")]);
    let run = sandbox.plan(zip.to_str().unwrap(), &[]).expect(10);
    assert!(run.out.contains("\nD \\u{1b}[31m\\u{a}\n"), "{}", run.out);
}

// ---- bundles ----

const BUNDLE: &[(&str, &str)] =
    &[("a", "A"), ("conf/x", "X"), ("stop.sh", "#!/bin/sh\n"), ("hooks/AfterInstall.sh", "#!/bin/sh\n")];

#[test]
fn bundle_is_planned_with_its_paths_and_scripts() {
    let host = Host::new();
    let appspec =
        "version: 0.0\nos: linux\nfiles:\n- source: a\n  destination: DEST\n- source: conf\n  destination: DEST/conf\n";
    let hooks = "hooks:\n  ApplicationStop:\n  - location: stop.sh\n    timeout: 9\n  BeforeInstall:\n  - location: stop.sh\n    runas: root\n";
    host.bundle(&format!("{appspec}{hooks}"), BUNDLE);
    host.sandbox.hook("pre.d", "10-pre", "true");
    host.sandbox.hook("post.d", "10-post", "true");
    let zip = host.sandbox.path("app.zip");
    let at = |name: &str| host.dest(name).display().to_string();
    let plan = told(&host.sandbox, zip.to_str().unwrap(), &[], 10);
    assert!(!host.store().exists(), "it made a store");
    assert_eq!(changes(&plan), [format!("A {}", at("a")), format!("A {}", at("conf")), format!("A {}", at("conf/x"))]);
    let pre = format!("pre {}", host.sandbox.path("pre.d/10-pre").display());
    let post = format!("post {}", host.sandbox.path("post.d/10-post").display());
    let before = "BeforeInstall stop.sh as root, at most 3600 s";
    let after = "AfterInstall hooks/AfterInstall.sh, at most 3600 s";
    assert_eq!(runs(&plan), [&pre, before, after, &post]);
    host.deploy().expect(0);
    told(&host.sandbox, zip.to_str().unwrap(), &[], 0);

    // The next one: another a, no conf.
    let appspec =
        "version: 0.0\nos: linux\nfiles:\n- source: a\n  destination: DEST\n- source: stop.sh\n  destination: DEST\n";
    host.bundle(appspec, &[("a", "B"), ("stop.sh", "#!/bin/sh\n")]);
    let (dest, store) = (host.tree(), traces(&host.store()));
    let plan = told(&host.sandbox, zip.to_str().unwrap(), &[], 10);
    assert_eq!((host.tree(), traces(&host.store())), (dest, store));
    let expected =
        [("M", "a"), ("D", "conf"), ("D", "conf/x"), ("A", "stop.sh")].map(|(c, n)| format!("{c} {}", at(n)));
    assert_eq!(changes(&plan), expected);
    assert_eq!(runs(&plan), [&pre, "ApplicationStop stop.sh, at most 9 s", &post]);
    host.deploy().expect(0);
    let left: Vec<String> = host.tree().into_keys().collect();
    assert_eq!(left, ["a", "stop.sh"]);
}

#[test]
fn bundle_with_conflicts_then_each_is_told_and_the_check_ends_the_same_way() {
    let host = Host::new();
    host.found("a", "somebody's");
    host.found("conf", "a file");
    let appspec =
        "version: 0.0\nos: linux\nfiles:\n- source: a\n  destination: DEST\n- source: conf\n  destination: DEST/conf\n";
    let permissions =
        "permissions:\n- object: DEST/none\n  owner: root\n- object: DEST/conf\n  pattern: x\n  owner: nobody-at-all\n";
    host.bundle(&format!("{appspec}{permissions}"), BUNDLE);
    let zip = host.sandbox.path("app.zip");
    let run = host.sandbox.plan(zip.to_str().unwrap(), &[]).expect(1);
    for words in
        ["/a exists, and no deployment of ours put it there", "is to be a directory, and it is a file", "nobody-at-all"]
    {
        assert_eq!(
            run.out.lines().filter(|l| l.starts_with("error ") && l.contains(words)).count(),
            1,
            "{words}: {}",
            run.out
        );
    }
    assert!(run.out.lines().any(|l| l.starts_with("note ") && l.contains("appspec.yml:")), "{}", run.out);
    host.deploy().expect(1);
    assert!(!live_exists(&host.sandbox));
}

fn live_exists(sandbox: &Sandbox) -> bool {
    sandbox.local().exists() && !live(sandbox).is_empty()
}

#[test]
fn a_candidate_failed_before_or_changes_no_file_then_the_page_says_so() {
    let sandbox = Sandbox::new();
    let remote = sandbox.zip("app.zip", &[("file", "one")]).display().to_string();
    sandbox.deploy(&remote, &[]).expect(0);
    sandbox.zip("app.zip", &[("file", "two")]);
    sandbox.hook("pre.d", "10-no", "exit 1");
    (0..2).for_each(|_| drop(sandbox.deploy(&remote, &[]).expect(2)));
    let page = sandbox.plan(&remote, &[]).expect(10).out;
    assert!(page.contains("\nnote      failed 2 times, last blocked 20"), "{page}");
    assert!(page.contains("\n0 added, 1 changed, 0 removed\n"), "{page}");
    fs::remove_file(sandbox.path("pre.d/10-no")).unwrap();
    // The same files from another place are another release.
    let copy = sandbox.zip("copy.zip", &[("file", "one")]).display().to_string();
    let page = sandbox.plan(&copy, &[]).expect(10).out;
    assert!(page.contains("\n\n0 added, 0 changed, 0 removed\n"), "{page}");
}

#[test]
fn a_deployment_is_at_work_then_a_plan_waits_for_nobody_and_says_so() {
    let sandbox = Sandbox::new();
    let path = sandbox.zip("app.zip", &[("file", "one")]);
    let remote = path.to_str().unwrap();
    let (up, go) = (sandbox.path("up"), sandbox.path("go"));
    sandbox.hook(
        "post.d",
        "10",
        &format!("touch {}; while ! [ -e {} ]; do sleep 0.01; done", up.display(), go.display()),
    );
    let check = Running::start(sandbox.command(&["--remote", remote]));
    wait_for("the post hook", || up.exists().then_some(()));
    let run = sandbox.plan(remote, &[]).expect(75);
    assert_eq!(run.log.lines().count(), 1, "{}", run.log);
    assert!(run.log.ends_with(" ERROR a deployment is at work (activating): plan when it is over\n"), "{}", run.log);
    fs::write(go, "").unwrap();
    check.end().expect(0);
    sandbox.plan(remote, &[]).expect(0);
}

#[test]
fn post_hooks_fail_after_going_back_then_a_plan_tells_that_they_run_again_and_nothing_changes() {
    for way in ["symlink", "in-place"] {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", format!("activation = {way}\nid = x\n"));
        let zip = |text: &str| sandbox.zip("app.zip", &[("file", text)]);
        let path = zip("one");
        let remote = path.to_str().unwrap();
        sandbox.deploy(remote, &[]).expect(0);
        let live = now(&sandbox);
        zip("two");
        sandbox.hook("post.d", "10-no", "exit 1");
        sandbox.deploy(remote, &[]).expect(3);
        assert_eq!(now(&sandbox), live);
        for attempt in 2..=3 {
            let plan = told(&sandbox, remote, &[], 10);
            let note = format!("post hooks run again for release {}, ", plan["live"]["release"].as_str().unwrap());
            let told = plan["notes"][0].as_str().unwrap();
            assert!(told.starts_with(&note) && told.ends_with(&format!(" (attempt {attempt} of 3)")), "{plan:#}");
            assert_eq!((&plan["outcome"], changes(&plan)), (&"recover".into(), vec![]), "{way}");
            assert!(runs(&plan)[0].ends_with("/10-no"), "{plan:#}");
            sandbox.deploy(remote, &[]).expect(if attempt == 3 { 1 } else { 3 });
        }
    }
}
