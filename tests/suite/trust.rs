//! What an archive has to prove before it is unpacked: signatures made by minisign itself, lists of sums, a pinned sum; and
//! what becomes of those that are forged, stale, damaged, missing, late or older than what was here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::Digest as _;

use super::http::{archive, downloads, live, refused};
use super::s3::configure;
use crate::support::moto::Moto;
use crate::support::needs::needs;
use crate::support::phrases::{
    CANNOT_FETCH, DEPLOYED, HELD_AFTER_ROLLBACK, IS_A_DIRECTORY, NO_ARCHIVE, NOTHING_AT, OTHER_BYTES, OTHER_SUM,
    OTHERS_MAY_WRITE, REFUSED_BEFORE, TAKES,
};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, Raw, Step, object, ok, status};

/// A key pair of minisign.
struct Signer<'a> {
    sandbox: &'a Sandbox,
    name: &'static str,
}

impl<'a> Signer<'a> {
    fn new(sandbox: &'a Sandbox, name: &'static str) -> Self {
        let signer = Self { sandbox, name };
        let (public, secret) = (signer.public(), signer.secret());
        signer.minisign(&["-G", "-W", "-p", public.to_str().unwrap(), "-s", secret.to_str().unwrap()]);
        signer
    }

    fn public(&self) -> PathBuf {
        self.sandbox.path(format!("{}.pub", self.name))
    }

    fn secret(&self) -> PathBuf {
        self.sandbox.path(format!("{}.key", self.name))
    }

    /// The key as it may stand in a configuration.
    fn key(&self) -> String {
        fs::read_to_string(self.public()).unwrap().lines().nth(1).unwrap().to_owned()
    }

    /// Signs `bytes`; `more` are arguments of minisign, `-t COMMENT` or `-l`.
    fn sign(&self, bytes: &[u8], more: &[&str]) -> Vec<u8> {
        let (file, secret) = (self.sandbox.write("to-sign", bytes), self.secret());
        let mut args = vec!["-S", "-s", secret.to_str().unwrap(), "-m", file.to_str().unwrap()];
        args.extend(more);
        self.minisign(&args);
        let made = self.sandbox.path("to-sign.minisig");
        let signature = fs::read(&made).unwrap();
        fs::remove_file(made).unwrap();
        signature
    }

    fn minisign(&self, args: &[&str]) {
        let output = Command::new("minisign").args(args).output().unwrap();
        assert!(output.status.success(), "minisign {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Number and bytes by path.
type Objects = Arc<Mutex<BTreeMap<String, (u32, Vec<u8>)>>>;

/// A server of a few objects with strong ETags, which can be replaced.
struct Shelf {
    server: Raw,
    objects: Objects,
}

impl Shelf {
    fn new() -> Self {
        let objects = Objects::default();
        let shown = objects.clone();
        let server = Raw::start(move |seen, _| {
            vec![match shown.lock().unwrap().get(seen.target()) {
                Some((etag, bytes)) => object(seen, &format!("\"{etag}\""), bytes),
                None => status("404 Not Found", ""),
            }]
        });
        Self { server, objects }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let mut objects = self.objects.lock().unwrap();
        let etag = objects.get(path).map_or(1, |(etag, _)| etag + 1);
        objects.insert(path.to_owned(), (etag, bytes.to_vec()));
    }

    fn remote(&self) -> String {
        self.server.url("/app.zip")
    }

    /// What was asked for from the n-th request on: the path, and a `?` behind it when that was on a condition.
    fn asked(&self, from: usize) -> Vec<String> {
        let mark = |seen: &crate::support::servers::Seen| if seen.header("If-None-Match").is_some() { "?" } else { "" };
        self.server.seen()[from..].iter().map(|seen| format!("{}{}", seen.target(), mark(seen))).collect()
    }
}

fn configured(sandbox: &Sandbox, config: &str) {
    sandbox.write("repo-deploy.cfg", config);
}

/// The configuration that trusts `signers`.
fn trusting(sandbox: &Sandbox, signers: &[&Signer<'_>], more: &str) {
    let keys: Vec<String> = signers.iter().map(|s| s.key()).collect();
    configured(sandbox, &format!("verify-key = {}\n{more}\n", keys.join("  ")));
}

/// The line of a check that failed, while `text` stays live and nothing is left of what was refused.
#[track_caller]
fn on_hold(sandbox: &Sandbox, run: Run, text: &str) -> String {
    let releases = || fs::read_dir(sandbox.store().join("releases")).unwrap().count();
    let (run, before) = (run.expect(1), releases());
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 1, "one line: {}", run.log);
    assert_eq!(live(sandbox), text);
    assert_eq!((releases(), downloads(sandbox)), (before, Vec::<String>::new()));
    assert_eq!(fs::read_dir(sandbox.store().join("partial")).unwrap().count(), 0);
    complaints[0].to_owned()
}

fn state(sandbox: &Sandbox) -> String {
    sandbox.read(sandbox.store().join("state"))
}

// ---- signatures that are good ----

#[test]
fn archive_is_signed_then_it_is_deployed_and_the_next_check_is_one_request() {
    needs!("minisign", "nginx");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let nginx = Nginx::start(&sandbox, "", "");
    let zip = archive(&sandbox, "one");
    sandbox.write("www/app.zip", &zip);
    sandbox.write("www/app.zip.minisig", signer.sign(&zip, &["-t", "made by hand version:7"]));
    trusting(&sandbox, &[&signer], "");
    let run = sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).says("is signed by the key ");
    run.says(": made by hand version:7");
    assert_eq!(live(&sandbox), "one");
    assert!(state(&sandbox).contains("\nversion = 7\n"), "{}", state(&sandbox));
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    let log: Vec<String> = nginx.log(3).iter().map(|l| l.rsplit_once('|').unwrap().0.to_owned()).collect();
    let expected = ["GET /app.zip HTTP/1.1|200", "GET /app.zip.minisig HTTP/1.1|200", "GET /app.zip HTTP/1.1|304"];
    assert_eq!(log, expected);
    assert_eq!(downloads(&sandbox), Vec::<String>::new());
}

#[test]
fn any_of_several_keys_may_sign_in_either_form_and_keys_may_stand_in_files() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let (first, second) = (Signer::new(&sandbox, "first"), Signer::new(&sandbox, "second"));
    let bare = sandbox.write("bare", format!("{}\r\n", second.key()));
    let zip_at = sandbox.path("app.zip");
    let mut text = 0;
    for keys in [
        format!("{} {}", first.key(), second.key()),
        format!("{} {}", first.public().display(), second.public().display()),
        format!("{}\t./bare", first.key()),
        bare.display().to_string(),
    ] {
        for more in [&[][..], &["-l"]] {
            text += 1;
            let zip = archive(&sandbox, &text.to_string());
            fs::write(&zip_at, &zip).unwrap();
            sandbox.write("app.zip.minisig", second.sign(&zip, more));
            configured(&sandbox, &format!("verify-key = {keys}\n"));
            sandbox.deploy(zip_at.to_str().unwrap(), &[]).expect(0).says("is signed by the key ");
            assert_eq!(live(&sandbox), text.to_string());
            assert_eq!(downloads(&sandbox), Vec::<String>::new());
        }
    }
}

#[test]
fn signature_of_the_older_kind_and_an_archive_beyond_64_mib_then_it_is_refused() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let large = vec![b'x'; (64 << 20) + 1];
    sandbox.write("app.zip", &large);
    sandbox.write("app.zip.minisig", signer.sign(&large, &["-l"]));
    trusting(&sandbox, &[&signer], "");
    let line = refused(&sandbox, sandbox.deploy(sandbox.path("app.zip").to_str().unwrap(), &[]));
    assert!(line.contains("for archives up to 64M: sign with minisign -S -H"), "{line}");
}

#[test]
fn what_the_environment_demands_holds() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("VERSION", "1")]);
    let pinned = |hash: &str| -> Run {
        let mut command = sandbox.command(&["--remote", zip.to_str().unwrap()]);
        command.env("REPO_DEPLOY_SHA256", hash).output().unwrap().into()
    };
    pinned(&"0".repeat(64)).expect(1).says("sha256").never_says("unknown variable");
    assert!(!sandbox.local().exists());
    let hash = format!("{:x}", sha2::Sha256::digest(fs::read(&zip).unwrap()));
    pinned(&hash).expect(0).says(DEPLOYED);
}

// ---- signatures that are not ----

#[test]
fn signature_is_not_the_archives_then_it_is_refused_before_unpacking_and_once() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let (signer, stranger) = (Signer::new(&sandbox, "signer"), Signer::new(&sandbox, "stranger"));
    let (old, zip) = (archive(&sandbox, "old"), archive(&sandbox, "new"));
    let good = String::from_utf8(signer.sign(&zip, &["-t", "version:3"])).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let instead = |n: usize, line: &str| {
        let mut changed = lines.clone();
        changed[n] = line;
        changed.join("\n").into_bytes()
    };
    let other = String::from_utf8(signer.sign(&old, &["-t", "version:3"])).unwrap();
    let mut turned = lines[1].to_owned();
    turned.replace_range(40..41, if &turned[40..41] == "A" { "B" } else { "A" });
    // By a stranger, who writes the trusted key's id into it.
    let forged = String::from_utf8(stranger.sign(&zip, &["-t", "version:3"])).unwrap();
    let theirs = forged.lines().nth(1).unwrap();
    let [mut bytes, ours] = [theirs, lines[1]].map(|line| BASE64_STANDARD.decode(line).unwrap());
    bytes[..10].copy_from_slice(&ours[..10]);
    let forged = forged.replace(theirs, &BASE64_STANDARD.encode(bytes));
    let missing = format!("it has no signature, {NOTHING_AT} http://");
    let cases: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("missing", None, &missing),
        ("empty", Some(Vec::new()), "it is empty"),
        ("truncated", Some(lines[..1].join("\n").into_bytes()), "it is cut off"),
        ("truncated", Some(good.as_bytes()[..good.find("trusted comment: ve").unwrap()].to_vec()), "it is cut off"),
        ("truncated", Some(lines[..3].join("\n").into_bytes()), "it is cut off"),
        ("truncated", Some(good.trim_end().as_bytes()[..good.len() - 5].to_vec()), "its fourth line is damaged"),
        ("damaged", Some(instead(1, &lines[1][..90])), "its second line is damaged"),
        ("a page", Some(b"<html>not found</html>".to_vec()), "it is no signature of minisign"),
        ("more", Some(format!("{good}RW").into_bytes()), "something stands behind its fourth line"),
        ("too long", Some(vec![b' '; 20_000]), "it has more than 16384 bytes"),
        ("stale", Some(signer.sign(&old, &[])), OTHER_BYTES),
        ("stale, older kind", Some(signer.sign(&old, &["-l"])), OTHER_BYTES),
        ("forged", Some(forged.into_bytes()), OTHER_BYTES),
        ("turned", Some(instead(1, &turned)), OTHER_BYTES),
        ("wrong key", Some(stranger.sign(&zip, &[])), "signed it, and verify-key has "),
        (
            "comment altered",
            Some(instead(2, "trusted comment: version:4")),
            "its trusted comment is not what was signed",
        ),
        ("comment of another", Some(instead(3, other.lines().nth(3).unwrap())), "its trusted comment is not what was"),
        ("no version", Some(signer.sign(&zip, &["-t", "version:3-rc1"])), "version: takes whole numbers"),
    ];
    for (what, signature, why) in cases {
        let sandbox = Sandbox::new();
        trusting(&sandbox, &[&signer], "");
        let shelf = Shelf::new();
        shelf.put("/app.zip", &zip);
        if let Some(signature) = signature {
            shelf.put("/app.zip.minisig", &signature);
        }
        let line = refused(&sandbox, sandbox.deploy(&shelf.remote(), &[]));
        assert!(line.contains(why), "{what}: {line}");
        assert_eq!(downloads(&sandbox), Vec::<String>::new(), "{what}");
        let before = shelf.asked(0).len();
        let line = refused(&sandbox, sandbox.deploy(&shelf.remote(), &[]));
        assert!(line.contains(why), "{what}: {line}");
        assert_eq!(shelf.asked(before), ["/app.zip?", "/app.zip.minisig"], "{what}: the archive is not fetched again");
        // What was wrong is put right.
        shelf.put("/app.zip.minisig", good.as_bytes());
        sandbox.deploy(&shelf.remote(), &[]).expect(0);
        assert_eq!(live(&sandbox), "new", "{what}");
    }
}

#[test]
fn hostile_archive_with_a_bad_signature_is_never_read() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let zip_at = sandbox.zip("app.zip", &[("../../escaped", "x")]);
    let remote = zip_at.to_str().unwrap();
    trusting(&sandbox, &[&signer], "");
    let other = signer.sign(b"another", &[]);
    for hostile in [fs::read(&zip_at).unwrap(), b"no archive at all".to_vec(), Vec::new()] {
        fs::write(&zip_at, &hostile).unwrap();
        sandbox.write("app.zip.minisig", &other);
        let line = refused(&sandbox, sandbox.deploy(remote, &[]));
        assert!(line.contains(OTHER_BYTES) && !line.contains("unpack"), "{line}");
        // The same with a good one is read, and refused for what it is.
        sandbox.write("app.zip.minisig", signer.sign(&hostile, &[]));
        let line = refused(&sandbox, sandbox.deploy(remote, &[]));
        assert!(line.contains("cannot unpack") || line.contains(NO_ARCHIVE), "{line}");
        fs::remove_dir_all(sandbox.store()).unwrap();
    }
}

// ---- when archive and signature do not come at once ----

#[test]
fn archive_comes_before_its_signature_then_the_next_check_heals_it() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let shelf = Shelf::new();
    let publish = |path: &str, bytes: &[u8]| shelf.put(path, bytes);
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    publish("/app.zip", &one);
    publish("/app.zip.minisig", &signer.sign(&one, &[]));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);

    publish("/app.zip", &two);
    let line = on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "one");
    assert!(line.contains(OTHER_BYTES), "{line}");
    let before = shelf.asked(0).len();
    let line = on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "one");
    assert!(line.contains(REFUSED_BEFORE), "{line}");
    assert_eq!(shelf.asked(before), ["/app.zip?", "/app.zip.minisig"]);

    publish("/app.zip.minisig", &signer.sign(&two, &[]));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(live(&sandbox), "two");
    let before = shelf.asked(0).len();
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(shelf.asked(before), ["/app.zip?"]);
}

#[test]
fn signature_comes_before_its_archive_then_what_is_live_stays_until_both_are_there() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let shelf = Shelf::new();
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    shelf.put("/app.zip", &one);
    shelf.put("/app.zip.minisig", &signer.sign(&one, &[]));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    shelf.put("/app.zip.minisig", &signer.sign(&two, &[]));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
    shelf.put("/app.zip", &two);
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(live(&sandbox), "two");
}

#[test]
fn both_are_replaced_between_archive_and_signature_then_it_is_polled_again() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    let (first, second) = (signer.sign(&one, &[]), signer.sign(&two, &[]));
    for validators in [true, false] {
        let (one, two, first, second) = (one.clone(), two.clone(), first.clone(), second.clone());
        let server = Raw::start(move |seen, n| {
            let is_signature = seen.target().ends_with(".minisig");
            // The first request is for the archive, and after it both are others.
            let (etag, bytes) = match (is_signature, n) {
                (false, 0) => ("\"1\"", &one),
                (false, _) => ("\"2\"", &two),
                (true, 0) => ("\"s1\"", &first),
                (true, _) => ("\"s2\"", &second),
            };
            vec![if validators { object(seen, etag, bytes) } else { ok("", bytes) }]
        });
        let sandbox = Sandbox::new();
        trusting(&sandbox, &[&signer], "");
        let run = sandbox.deploy(&server.url("/app.zip"), &[]);
        if validators {
            run.expect(0).says("was replaced meanwhile").says("polling again");
            assert_eq!(live(&sandbox), "two");
        } else {
            // Nothing tells that it is another one: the next check does.
            let line = refused(&sandbox, run);
            assert!(line.contains(OTHER_BYTES), "{line}");
            sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
            assert_eq!(live(&sandbox), "two");
            sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        }
    }
}

#[test]
fn signature_cannot_be_had_for_a_while_then_the_archive_is_fetched_once_more_when_it_can() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let zip = archive(&sandbox, "one");
    let signature = signer.sign(&zip, &[]);
    let is_up = Arc::new(Mutex::new(false));
    let up = is_up.clone();
    let server = Raw::start(move |seen, _| {
        vec![match (seen.target().ends_with(".minisig"), *up.lock().unwrap()) {
            (false, _) => object(seen, "\"1\"", &zip),
            (true, true) => object(seen, "\"s\"", &signature),
            (true, false) => status("403 Forbidden", ""),
        }]
    });
    let remote = server.url("/app.zip");
    for _ in 0..2 {
        let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
        assert!(line.contains(&format!("{CANNOT_FETCH} the signature http://")) && line.contains("403"), "{line}");
    }
    let asked = |from: usize| -> Vec<String> {
        let mark = |seen: &crate::support::servers::Seen| seen.header("If-None-Match").is_some();
        server.seen()[from..].iter().map(|seen| format!("{} {}", seen.target(), mark(seen))).collect()
    };
    assert_eq!(asked(2), ["/app.zip true", "/app.zip.minisig false"]);
    *is_up.lock().unwrap() = true;
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
}

// ---- versions ----

#[test]
fn signed_version_goes_down_then_it_is_refused_unless_that_is_allowed() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let shelf = Shelf::new();
    let publish = |text: &str, comment: &str| {
        let zip = archive(&sandbox, text);
        shelf.put("/app.zip", &zip);
        shelf.put("/app.zip.minisig", &signer.sign(&zip, &["-t", comment]));
    };
    let check = || sandbox.deploy(&shelf.remote(), &[]);
    trusting(&sandbox, &[&signer], "");
    publish("none", "of before versions");
    check().expect(0);
    for (text, version) in [("a", "1.9"), ("b", "1.10"), ("same", "1.10.0")] {
        publish(text, &format!("version:{version}"));
        check().expect(0);
        assert_eq!(live(&sandbox), text);
        assert!(state(&sandbox).contains(&format!("\nversion = {version}\n")), "{}", state(&sandbox));
    }
    for (text, comment, why) in [
        ("a", "version:1.9", "its version 1.9 is lower than 1.10.0, which was here before: allow-downgrade = yes"),
        (
            "none",
            "of before versions",
            "it names no version, and version 1.10.0 was here before: allow-downgrade = yes",
        ),
    ] {
        publish(text, comment);
        let line = on_hold(&sandbox, check(), "same");
        assert!(line.contains(why), "{line}");
        let before = shelf.asked(0).len();
        let line = on_hold(&sandbox, check(), "same");
        assert!(line.contains(why) && line.contains(REFUSED_BEFORE), "{line}");
        assert_eq!(shelf.asked(before), ["/app.zip?", "/app.zip.minisig"]);
    }
    publish("a", "version:1.9");
    on_hold(&sandbox, check(), "same");
    trusting(&sandbox, &[&signer], "allow-downgrade = yes");
    check().expect(0);
    assert_eq!(live(&sandbox), "a");
    // From there on it does not go down again.
    trusting(&sandbox, &[&signer], "");
    publish("c", "version:1.9.5");
    check().expect(0);
    publish("a", "version:1.9");
    on_hold(&sandbox, check(), "c");
}

#[test]
fn old_release_is_replayed_under_its_old_etag_while_it_is_still_in_the_store_then_it_is_refused() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let now = Arc::new(Mutex::new((String::new(), Vec::new(), Vec::new())));
    let shown = now.clone();
    let server = Raw::start(move |seen, _| {
        let (etag, zip, signature) = shown.lock().unwrap().clone();
        vec![if seen.target().ends_with(".minisig") { ok("", &signature) } else { object(seen, &etag, &zip) }]
    });
    let made: Vec<_> = [("one", "version:1"), ("two", "version:2")]
        .map(|(text, comment)| {
            let zip = archive(&sandbox, text);
            let signature = signer.sign(&zip, &["-t", comment]);
            (format!("\"{text}\""), zip, signature)
        })
        .into();
    for release in &made {
        *now.lock().unwrap() = release.clone();
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    }
    *now.lock().unwrap() = made[0].clone();
    let line = on_hold(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]), "two");
    assert!(line.contains("its version 1 is lower than 2"), "{line}");
    // The old name with the new bytes is the new bytes.
    *now.lock().unwrap() = (made[0].0.clone(), made[1].1.clone(), made[1].2.clone());
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    assert_eq!(live(&sandbox), "two");
    // Without versions an old release is as good as a new one: that is what versions are for.
    assert!(state(&sandbox).contains("\nversion = 2\n"));
}

// ---- what was unpacked before anything was asked ----

#[test]
fn key_is_configured_later_then_what_is_live_is_proven_once_or_stays_with_an_error() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let shelf = Shelf::new();
    let zip = archive(&sandbox, "one");
    shelf.put("/app.zip", &zip);
    // Unpacked, and held by a hook: staged without a signature.
    let hook = sandbox.hook("pre.d", "no", "exit 1");
    sandbox.deploy(&shelf.remote(), &[]).expect(2);
    fs::remove_file(hook).unwrap();
    trusting(&sandbox, &[&signer], "");
    let run = sandbox.deploy(&shelf.remote(), &[]).expect(1).says("it has no signature");
    assert!(!sandbox.local().exists(), "{}", run.log);
    configured(&sandbox, "");
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    trusting(&sandbox, &[&signer], "");
    on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "one");
    shelf.put("/app.zip.minisig", &signer.sign(&zip, &[]));
    sandbox.deploy(&shelf.remote(), &[]).expect(0).says(DEPLOYED);
    let before = shelf.asked(0).len();
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(shelf.asked(before), ["/app.zip?"]);
    // And without it again: what was proven stays.
    configured(&sandbox, "");
    sandbox.deploy(&shelf.remote(), &[]).expect(0).never_says(DEPLOYED);
}

#[test]
fn signed_release_is_blocked_then_it_is_neither_fetched_nor_proven_again() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let shelf = Shelf::new();
    let zip = archive(&sandbox, "one");
    shelf.put("/app.zip", &zip);
    shelf.put("/app.zip.minisig", &signer.sign(&zip, &["-t", "version:1"]));
    let hook = sandbox.hook("pre.d", "no", "exit 1");
    sandbox.deploy(&shelf.remote(), &[]).expect(2);
    let before = shelf.asked(0).len();
    sandbox.deploy(&shelf.remote(), &[]).expect(2);
    fs::remove_file(hook).unwrap();
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(shelf.asked(before), ["/app.zip?", "/app.zip?"]);
    assert_eq!(live(&sandbox), "one");
}

#[test]
fn signed_release_is_rolled_back_from_then_it_is_on_hold_by_one_request() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    trusting(&sandbox, &[&signer], "");
    let shelf = Shelf::new();
    let put = |text: &str, version: &str| {
        let zip = archive(&sandbox, text);
        shelf.put("/app.zip", &zip);
        shelf.put("/app.zip.minisig", &signer.sign(&zip, &["-t", version]));
        sandbox.deploy(&shelf.remote(), &[]).expect(0);
    };
    let run = |words: &[&str]| Run::from(sandbox.saying(words, &["--remote", &shelf.remote()]).output().unwrap());
    let is_on_hold = || {
        let before = shelf.asked(0).len();
        run(&["-f", "-v"]).expect(0).says(HELD_AFTER_ROLLBACK);
        assert_eq!((live(&sandbox).as_str(), shelf.asked(before)), ("one", vec!["/app.zip?".to_owned()]));
    };
    put("one", "version:1");
    let first = shelf.objects.lock().unwrap().clone();
    let one = state(&sandbox).lines().find_map(|line| line.strip_prefix("current = ")).unwrap().to_owned();
    put("two", "version:2");
    run(&["rollback"]).expect(0);
    is_on_hold();
    // Without the key it is still the same.
    configured(&sandbox, "");
    is_on_hold();
    trusting(&sandbox, &[&signer], "allow-downgrade = yes");
    is_on_hold();
    run(&["retry"]).expect(0);
    assert_eq!(live(&sandbox), "two");

    // What nobody knows how it was proven is proven when the source has it again, and stays.
    put("three", "version:3");
    fs::remove_file(sandbox.store().join("history")).unwrap();
    run(&["rollback", &one]).expect(0);
    assert!(!state(&sandbox).contains("current-proof = "));
    *shelf.objects.lock().unwrap() = first;
    run(&["-f"]).expect(0).never_says(" deployed ").never_says("on hold");
    assert!(state(&sandbox).contains("current-proof = "), "{}", state(&sandbox));
    assert_eq!(live(&sandbox), "one");
}

// ---- sums ----

fn sum(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn list_of_sums_names_the_archive_then_it_is_deployed_in_either_form() {
    needs!("nginx", "sha256sum");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.write("www/d/other.tar", "other");
    configured(&sandbox, "sha256-url = SHA256SUMS\n");
    for (n, args) in [&["-t"][..], &["-b"], &["--tag"]].iter().enumerate() {
        // Another length each time: nginx makes ETags of time and size.
        let text = "x".repeat(n + 1);
        sandbox.write("www/d/app 1.zip", archive(&sandbox, &text));
        let files = ["other.tar", "app 1.zip"];
        let made =
            Command::new("sha256sum").args(*args).args(files).current_dir(sandbox.path("www/d")).output().unwrap();
        let mut list = String::from_utf8(made.stdout).unwrap();
        if n == 0 {
            list = list.replace('\n', "\r\n");
        }
        sandbox.write("www/d/SHA256SUMS", list);
        sandbox.deploy(&nginx.url("/d/app%201.zip"), &[]).expect(0);
        assert_eq!(live(&sandbox), text);
    }
}

#[test]
fn list_of_sums_does_not_fit_then_the_archive_is_refused_until_it_does() {
    let zip = archive(&Sandbox::new(), "one");
    let other = sum(b"other");
    for (what, list, why) in [
        ("missing", None, &*format!("it has no list of sums, {NOTHING_AT} http://")),
        ("no line", Some(String::new()), "it has no line `HEX  NAME`"),
        ("another's", Some(format!("{other}  other.zip\n")), "it has sums of 1 file, and none of app.zip"),
        ("wrong", Some(format!("{other}  app.zip\n")), "SHA256SUMS says "),
        (
            "both",
            Some(format!("{other}  app.zip\nSHA256 (app.zip) = {}\n", sum(&zip))),
            "more than one sum for app.zip",
        ),
    ] {
        let sandbox = Sandbox::new();
        configured(&sandbox, "sha256-url = /sums/SHA256SUMS\n");
        let shelf = Shelf::new();
        shelf.put("/app.zip", &zip);
        if let Some(list) = list {
            shelf.put("/sums/SHA256SUMS", list.as_bytes());
        }
        for _ in 0..2 {
            let line = refused(&sandbox, sandbox.deploy(&shelf.remote(), &[]));
            assert!(line.contains(why), "{what}: {line}");
        }
        assert_eq!(shelf.asked(0).iter().filter(|path| *path == "/app.zip").count(), 1, "{what}");
        shelf.put("/sums/SHA256SUMS", format!("{}  app.zip", sum(&zip)).as_bytes());
        sandbox.deploy(&shelf.remote(), &[]).expect(0);
        assert_eq!(live(&sandbox), "one", "{what}");
    }
}

#[test]
fn sum_is_pinned_then_only_that_archive_is_deployed() {
    let sandbox = Sandbox::new();
    let shelf = Shelf::new();
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    shelf.put("/app.zip", &one);
    configured(&sandbox, &format!("sha256 = {}\n", sum(&one).to_uppercase()));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    shelf.put("/app.zip", &two);
    let line = on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "one");
    assert!(line.contains(&format!("its SHA-256 is {}, {OTHER_SUM} {}", sum(&two), sum(&one))), "{line}");
    let before = shelf.asked(0).len();
    on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "one");
    assert_eq!(shelf.asked(before), ["/app.zip?"]);
    // Another pin is another question, of what is refused and of what is live.
    configured(&sandbox, &format!("sha256 = {}\n", sum(&two)));
    sandbox.deploy(&shelf.remote(), &[]).expect(0);
    assert_eq!(live(&sandbox), "two");
    configured(&sandbox, &format!("sha256 = {}\n", sum(&one)));
    on_hold(&sandbox, sandbox.deploy(&shelf.remote(), &[]), "two");
}

// ---- whose server, whose credentials ----

#[test]
fn signature_is_at_another_origin_then_it_gets_no_credentials() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let zip = archive(&sandbox, "one");
    let (here, there) = (Shelf::new(), Shelf::new());
    here.put("/app.zip", &zip);
    for shelf in [&here, &there] {
        shelf.put("/sigs/app.sig?token=x", &signer.sign(&zip, &[]));
    }
    let secrets = "http-user = me\nhttp-password = hunter2\nhttp-header = X-Key: hunter2";
    for (url, whose) in
        [(there.server.url("/sigs/app.sig?token=x"), &there), ("sigs/app.sig?token=x".to_owned(), &here)]
    {
        let sandbox = Sandbox::new();
        trusting(&sandbox, &[&signer], &format!("{secrets}\nsignature-url = {url}"));
        fs::set_permissions(sandbox.path("repo-deploy.cfg"), fs::Permissions::from_mode(0o600)).unwrap();
        sandbox.deploy(&here.remote(), &["-v"]).expect(0).never_says("token").never_says("hunter2");
        let seen = whose.server.seen();
        let asked = seen.iter().find(|seen| seen.target().starts_with("/sigs/")).unwrap();
        let is_ours = std::ptr::eq(whose, &here);
        assert_eq!(asked.header("Authorization").is_some(), is_ours, "{asked:?}");
        assert_eq!(asked.header("X-Key").is_some(), is_ours, "{asked:?}");
    }
}

#[test]
fn archive_in_s3_is_signed_then_the_signature_is_asked_for_as_the_archive_is() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let signer = Signer::new(&sandbox, "signer");
    let config = |key: &str| configure(&sandbox, &moto.url(), Some(&moto.keys), key);
    let put = |bucket: &str, key: &str, bytes: &[u8]| moto.put(bucket, key, &sandbox.write("to-put", bytes));
    config(&format!("verify-key = {}\nsha256-url = /sums/all", signer.key()));
    for bucket in ["private", "versioned"] {
        let zip = archive(&sandbox, bucket);
        put(bucket, "d/app.zip", &zip);
        let remote = format!("s3://{bucket}/d/app.zip");
        let run = sandbox.deploy(&remote, &[]).expect(1);
        run.says(&format!("it has no signature, {NOTHING_AT} s3://{bucket}/d/app.zip.minisig"));
        put(bucket, "d/app.zip.minisig", &signer.sign(&zip, &[]));
        put(bucket, "sums/all", format!("{} *app.zip\n", sum(&zip)).as_bytes());
        sandbox.deploy(&remote, &[]).expect(0);
        assert_eq!(live(&sandbox), bucket);
        let forged = archive(&sandbox, "forged");
        put(bucket, "d/app.zip", &forged);
        sandbox.deploy(&remote, &[]).expect(1).says(&format!("its SHA-256 is {}, and s3://", sum(&forged)));
        put(bucket, "sums/all", format!("{}  app.zip\n", sum(&forged)).as_bytes());
        sandbox.deploy(&remote, &[]).expect(1).says(OTHER_BYTES);
        assert_eq!(live(&sandbox), bucket);
    }
}

// ---- configuration ----

#[test]
fn trust_is_misconfigured_then_one_line_says_so() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let zip = sandbox.zip("app.zip", &[("file", "x")]);
    let key = signer.key();
    let secret = fs::read_to_string(signer.secret()).unwrap().lines().nth(1).unwrap().to_owned();
    let loose = sandbox.write("loose.pub", fs::read(signer.public()).unwrap());
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o666)).unwrap();
    sandbox.write("two.pub", format!("{key}\n{key}\n"));
    sandbox.write("none.pub", "untrusted comment: nothing\n");
    fs::create_dir(sandbox.path("keys")).unwrap();
    let secret_file = signer.secret();
    for (config, why) in [
        ("sha256 = abc".to_owned(), &*format!("{TAKES} 64 hexadecimal digits, and this has 3 characters")),
        (format!("sha256 = {}", "g".repeat(64)), &*format!("{TAKES} 64 hexadecimal digits")),
        (format!("verify-key = {}", &key[..50]), "is no public key of minisign"),
        (format!("verify-key = {key} {secret}"), "is a secret key: keep that away from this machine"),
        (format!("verify-key = {}", secret_file.display()), "is a secret key: keep that away from this machine"),
        ("verify-key = ./missing.pub".to_owned(), "missing.pub: no such file or directory"),
        ("verify-key = ./keys".to_owned(), IS_A_DIRECTORY),
        ("verify-key = ./none.pub".to_owned(), "there is no key in it"),
        ("verify-key = ./two.pub".to_owned(), "give each key a file of its own"),
        (format!("verify-key = {}", loose.display()), OTHERS_MAY_WRITE),
        ("signature-url = x.minisig".to_owned(), "there is no verify-key that it belongs to"),
        (
            format!("verify-key = {key}\nsignature-url = https://u:hunter2@h/x"),
            &*format!("the remote is a path: {TAKES} one too"),
        ),
        ("sha256-url = s3://b/k".to_owned(), &*format!("the remote is a path: {TAKES} one too")),
        ("allow-downgrade = maybe".to_owned(), &*format!("{TAKES} yes, no")),
    ] {
        configured(&sandbox, &config);
        let run = sandbox.deploy(zip.to_str().unwrap(), &[]).expect(78).says(why);
        assert_eq!(run.complaints().len(), 1, "{config}: {}", run.log);
        run.never_says(&secret[..20]).never_says("hunter2");
        assert!(!sandbox.local().exists());
    }
}

#[test]
fn remote_is_a_directory_and_something_is_asked_of_archives_then_it_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("src/file", "x");
    let pinned = format!("sha256 = {}", "a".repeat(64));
    for config in
        [pinned.as_str(), "sha256-url = sums", "verify-key = RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
    {
        configured(&sandbox, config);
        let run = sandbox.deploy(sandbox.path("src").to_str().unwrap(), &[]).expect(78);
        run.says(&format!("sha256, sha256-url and verify-key are for archives, and {IS_A_DIRECTORY}"));
        assert!(!sandbox.local().exists());
    }
}

#[test]
fn remote_is_a_git_repository_and_something_is_asked_of_archives_then_it_names_verify_commit() {
    let sandbox = Sandbox::new();
    for (key, value) in
        [("sha256", "a".repeat(64)), ("sha256-url", "sums".to_owned()), ("verify-key", "./app.pub".to_owned())]
    {
        configured(&sandbox, &format!("{key} = {value}"));
        let run = sandbox.deploy("https://127.0.0.1:1/app.git", &[]).expect(78).says(key);
        run.says("it is for archives, and the remote is a git repository: verify-commit says who may sign commits");
    }
}

#[test]
fn signature_of_a_file_is_no_file_then_it_does_not_hang() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "x")]);
    configured(&sandbox, "verify-key = RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3");
    let fifo: &Path = &sandbox.path("app.zip.minisig");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    refused(&sandbox, sandbox.deploy(zip.to_str().unwrap(), &[]));
}

#[test]
fn signature_is_shown_then_control_characters_in_its_comment_do_nothing() {
    needs!("minisign");
    let sandbox = Sandbox::new();
    let signer = Signer::new(&sandbox, "signer");
    let server_zip = archive(&sandbox, "one");
    let signature = signer.sign(&server_zip, &["-t", "a\x1b[2Jb"]);
    let server = Raw::start(move |seen, _| -> Vec<Step> {
        vec![ok("", if seen.target().ends_with(".minisig") { &signature } else { &server_zip })]
    });
    trusting(&sandbox, &[&signer], "");
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0).says("b").never_says("\x1b");
}
