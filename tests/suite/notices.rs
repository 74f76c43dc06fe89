//! `notify-url`: who is told what and when, and that nothing depends on it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use super::http::archive;
use super::install::Host;
use crate::local_users::mode;
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_NOTIFY, DEPLOYED, EXIT_CODE, NAME_THE_CA, NOTHING_AT, TAKES, UNCHANGED};
use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Authority, Nginx, Raw, Seen, Step, closed_port, object, ok, raw, status, wait_for};
use crate::support::site::Site;

const CANARY: &str = "CanaryOfSecrets";

/// A site with `notify-url` and what else stands in `more`; version one is there.
fn notifying(url: &str, more: &str) -> Site {
    let site = Site::new(&format!("notify-url = {url}\n{more}\n"));
    mode(site.sandbox.path("repo-deploy.cfg"), 0o600);
    site.put("one");
    site
}

fn listener() -> Raw {
    Raw::always(ok("", b"thanks"))
}

/// What was sent, read by another hand than ours.
fn told(listener: &Raw) -> Vec<Value> {
    let read = |seen: &Seen| {
        assert!(seen.line.starts_with("POST ") && seen.line.ends_with(" HTTP/1.1"), "{}", seen.line);
        assert_eq!(seen.header("Content-Type"), Some("application/json"));
        serde_json::from_str(&seen.body).unwrap_or_else(|e| panic!("{e}: {}", seen.body))
    };
    listener.seen().iter().map(read).collect()
}

fn outcomes(listener: &Raw) -> Vec<String> {
    told(listener).iter().map(|notice| notice["outcome"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_deployment_is_told_once_with_all_that_is_known_and_unchanged_is_silent() {
    let listener = listener();
    let site = notifying(&listener.url("/hook"), "id = web");
    site.check().expect(0);
    site.check().expect(0);
    assert_eq!(outcomes(&listener), ["deployed"]);
    site.put("number two");
    site.check().expect(0);
    let notices = told(&listener);
    let [first, second] = &notices[..] else { panic!("{notices:?}") };
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(first["host"], name.trim());
    for (key, value) in [("id", "web"), ("remote", &site.remote), ("outcome", "deployed")] {
        assert_eq!(second[key], value, "{key}");
    }
    assert_eq!((&second["exit_code"], &second["error"], &second["candidate"]), (&0.into(), &Value::Null, &Value::Null));
    assert_eq!(first["previous"], Value::Null);
    assert_eq!(second["previous"], first["live"]);
    let link = fs::read_link(site.sandbox.local()).unwrap();
    assert_eq!(second["live"]["release"], link.file_name().unwrap().to_str().unwrap());
    assert!(second["live"]["revision"].as_str().unwrap().starts_with("sha256:"), "{second}");
    assert_eq!(second["bytes"].as_u64().unwrap(), fs::metadata(site.sandbox.path("app.zip")).unwrap().len());
    assert!(second["duration_ms"].is_u64() && second["time"].as_str().unwrap().ends_with('Z'), "{second}");
    let text =
        format!("{}: web: deployed: release {}, revision ", name.trim(), link.file_name().unwrap().to_str().unwrap());
    assert!(second["text"].as_str().unwrap().starts_with(&text), "{second}");
    assert_eq!((&first["reason"], &second["reason"]), (&"update".into(), &"update".into()));

    site.does(&["rollback"]).expect(0);
    let third = &told(&listener)[2];
    let release = first["live"]["release"].as_str().unwrap();
    let text = format!("{}: web: rolled back by hand: release {release}, revision ", name.trim());
    assert!(third["text"].as_str().unwrap().starts_with(&text), "{third}");
    assert_eq!((&third["outcome"], &third["reason"]), (&"deployed".into(), &"rollback".into()));
}

#[test]
fn failure_is_told_when_it_begins_and_when_it_is_over_also_from_cron() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "");
    site.check().expect(0);
    fs::rename(&site.remote, site.sandbox.path("away")).unwrap();
    for _ in 0..3 {
        site.check().expect(1);
    }
    fs::rename(site.sandbox.path("away"), &site.remote).unwrap();
    for _ in 0..2 {
        site.check().expect(0);
    }
    assert_eq!(outcomes(&listener), ["deployed", "failed", "recovered"]);
    let notices = told(&listener);
    assert!(notices[1]["error"].as_str().unwrap().contains(NOTHING_AT), "{}", notices[1]);
    assert_eq!((&notices[1]["exit_code"], &notices[1]["live"]), (&1.into(), &notices[0]["live"]));
    assert_eq!((&notices[2]["exit_code"], &notices[2]["error"]), (&0.into(), &Value::Null));
}

#[test]
fn hooks_object_then_each_revision_is_told_once() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "max-attempts = 3");
    site.check().expect(0);
    let hook = site.sandbox.hook("pre.d", "10-no", "exit 1");
    for version in ["two", "three"] {
        site.put(version);
        site.check().expect(2);
        site.check().expect(2);
    }
    assert_eq!(outcomes(&listener), ["deployed", "blocked", "blocked"]);
    fs::remove_file(hook).unwrap();
    let hook = site.sandbox.hook("post.d", "10-no", "grep -q four $CURRENT_CONFIG/version && exit 7; exit 0");
    site.put("four");
    for code in [1, 1, 1, 0, 0] {
        site.check().expect(code); // after three times it is on hold
    }
    fs::remove_file(hook).unwrap();
    fs::write(&site.remote, "no archive").unwrap();
    for _ in 0..2 {
        site.check().expect(1);
    }
    site.put("five");
    site.check().expect(0);
    let expected = ["deployed", "blocked", "blocked", "rolled-back", "on-hold", "refused", "deployed"];
    assert_eq!(outcomes(&listener), expected);
    let notices = told(&listener);
    let back = &notices[3];
    assert_eq!((&back["exit_code"], &back["error"]), (&1.into(), &format!("post.d/10-no {EXIT_CODE} 7").into()));
    assert_eq!(back["live"], notices[0]["live"]);
    assert_ne!(back["candidate"]["release"], back["live"]["release"]);
}

#[test]
fn daemon_checks_and_only_changes_are_told() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "schedule = 0 0 29 2 *");
    let mut daemon = Running::start(site.sandbox.daemon(&["--remote", &site.remote, "-v"]));
    daemon.until(DEPLOYED);
    wait_for("the first notice", || (listener.seen().len() == 1).then_some(()));
    daemon.signal(Signal::USR1).until(UNCHANGED);
    fs::rename(&site.remote, site.sandbox.path("away")).unwrap();
    daemon.signal(Signal::USR1).until(" ERROR ");
    daemon.signal(Signal::USR1).until("failed, as before");
    fs::rename(site.sandbox.path("away"), &site.remote).unwrap();
    daemon.signal(Signal::USR1).until(UNCHANGED);
    wait_for("the last notice", || (listener.seen().len() >= 3).then_some(()));
    daemon.signal(Signal::USR1).until(UNCHANGED);
    daemon.signal(Signal::TERM);
    daemon.end().expect(0);
    assert_eq!(outcomes(&listener), ["deployed", "failed", "recovered"]);
}

#[test]
fn listener_hangs_then_the_deployment_is_over_and_another_check_gets_through() {
    let listener = Raw::always(Step::Stall);
    let site = notifying(&listener.url(&format!("/{CANARY}")), "");
    let start = Instant::now();
    let mut command = site.command(&["-f"]);
    let mut first = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the notice", || (!listener.seen().is_empty()).then_some(()));
    site.check().expect(0).never_says(DEPLOYED);
    assert!(first.try_wait().unwrap().is_none(), "it should still wait for its answer");
    let run = Run::from(first.wait_with_output().unwrap()).expect(0).says(DEPLOYED);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    let words = format!("{CANNOT_NOTIFY} http://127.0.0.1:{}: there is no answer within 5 s", listener.port());
    run.says(&words).never_says(CANARY);
    assert_eq!((site.live(), listener.seen().len()), ("one".to_owned(), 1));
}

#[test]
fn listener_is_bad_then_one_warning_and_the_exit_code_is_the_deployments() {
    let other = listener();
    let elsewhere = other.url("/");
    let big = vec![b'x'; 32 << 20];
    for (answer, words) in [
        (status("500 Internal Server Error", ""), "it answers 500 Internal Server Error"),
        (status("404 Not Found", ""), "it answers 404 Not Found"),
        (status("302 Found", &format!("Location: {elsewhere}")), "it answers 302, and redirects are not followed"),
        (status("307 Temporary Redirect", &format!("Location: {elsewhere}")), "it answers 307"),
        (status("503 Service Unavailable", "Retry-After: 1"), "it answers 503"),
        (raw("200 OK\nX: y", b"").clone_with(&[b'h'; 40_000]), "the head of its answer is larger"),
        (Step::Send(b"what?\r\n\r\n".to_vec()), "its answer is no HTTP"),
        (Step::Send(Vec::new()), "closed the connection"),
        (ok("", &big), ""),
    ] {
        let listener = Raw::always(answer);
        let site = notifying(&listener.url(&format!("/{CANARY}")), "");
        let run = site.check().expect(0).says(words).says(DEPLOYED).never_says(CANARY);
        assert_eq!(run.complaints().len(), usize::from(!words.is_empty()), "{}", run.log);
        assert_eq!(listener.seen().len(), 1, "{words}: nothing is tried twice");
        site.check().expect(0).never_says(CANNOT_NOTIFY);
        assert_eq!(listener.seen().len(), 1, "{words}");
    }
    assert_eq!(other.seen().len(), 0);
    let site = notifying(&format!("http://127.0.0.1:{}/{CANARY}", closed_port()), "");
    site.check()
        .expect(0)
        .says(&format!("{CANNOT_NOTIFY} http://127.0.0.1:"))
        .says("refuses the connection")
        .never_says(CANARY);
    fs::remove_file(&site.remote).unwrap();
    site.check().expect(1).says(CANNOT_NOTIFY);
    site.check().expect(1).never_says(CANNOT_NOTIFY);
}

trait Longer {
    fn clone_with(self, more: &[u8]) -> Self;
}

impl Longer for Step {
    /// The same with a header more, before the end of the head.
    fn clone_with(self, more: &[u8]) -> Self {
        let Self::Send(mut bytes) = self else { panic!() };
        bytes.truncate(bytes.len() - 2);
        Self::Send([&bytes, &b"Long: "[..], more, b"\r\n\r\n"].concat())
    }
}

#[test]
fn secrets_of_the_url_are_said_to_nobody_and_those_of_the_remote_not_to_the_listener() {
    let listener = listener();
    let bytes = {
        let made = Sandbox::new();
        archive(&made, "one")
    };
    let server = Raw::start(move |seen, _| vec![object(seen, "\"1\"", &bytes)]);
    let url =
        listener.url(&format!("/services/{CANARY}?token={CANARY}")).replace("//", &format!("//us%40er:{CANARY}@"));
    let site = notifying(&url, "http-header = X-Remote: of-the-remote\nhttp-user = u\nhttp-password = of-the-remote");
    let body = format!("env; tr '\\0' '\\n' </proc/$PPID/cmdline >>{}", site.sandbox.path("seen").display());
    site.sandbox.hook("post.d", "spy", &body);
    let run = site.sandbox.deploy(&server.url("/app.zip"), &["-v", "-v"]).expect(0).says("POST http://127.0.0.1:");
    run.never_says(CANARY);
    let status = site.sandbox.status(&["--remote", &server.url("/app.zip"), "--json"]);
    assert!(!status.out.contains(CANARY));
    let grep =
        Command::new("grep").args(["-rlF", "--exclude=repo-deploy.cfg", CANARY]).arg(site.sandbox.path("")).output();
    assert_eq!(String::from_utf8_lossy(&grep.unwrap().stdout), "");
    let seen = &listener.seen()[0];
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("us@er:{CANARY}")));
    assert_eq!(seen.header("Authorization"), Some(&*basic));
    assert_eq!(seen.target(), format!("/services/{CANARY}?token={CANARY}"));
    assert!(seen.header("X-Remote").is_none() && !seen.body.contains(CANARY) && !seen.body.contains("of-the-remote"));
}

#[test]
fn listener_has_a_certificate_of_its_own_ca_then_ca_file_counts() {
    needs!("nginx", "openssl");
    let listener = listener();
    let keys = Sandbox::new();
    let authority = Authority::new(&keys);
    let pass = format!("location / {{ proxy_pass {}; }}", listener.url("").trim_end_matches('/'));
    let certificate = authority.certificate("DNS:localhost", &[]);
    let nginx = Nginx::start(&keys, "ssl", &format!("{certificate}\n{pass}"));
    let url = nginx.https("localhost", &format!("/{CANARY}"));
    let site = notifying(&url, "");
    site.check().expect(0).says(NAME_THE_CA).never_says(CANARY);
    assert_eq!(listener.seen().len(), 0);
    let site = notifying(&url, &format!("ca-file = {}", authority.ca().display()));
    let run = site.check().expect(0);
    assert_eq!(run.complaints(), Vec::<&str>::new());
    let seen = listener.seen();
    assert_eq!((seen.len(), seen[0].target()), (1, &*format!("/{CANARY}")));
    serde_json::from_str::<Value>(&seen[0].body).unwrap();
}

#[test]
fn proxy_is_set_then_it_is_asked_as_for_a_remote() {
    let proxy = listener();
    let site = notifying("http://hooks.example/x?y", "");
    let mut command = site.command(&["-f"]);
    let run = Run::from(command.env("http_proxy", proxy.url("")).output().unwrap()).expect(0);
    assert_eq!(run.complaints(), Vec::<&str>::new());
    assert_eq!(proxy.seen()[0].line, "POST http://hooks.example/x?y HTTP/1.1");
    assert_eq!(outcomes(&proxy), ["deployed"]);
}

#[test]
fn url_is_none_of_the_web_then_78_and_it_is_not_repeated() {
    for url in
        ["ftp://h/CanaryOfSecrets", "CanaryOfSecrets", "file:///CanaryOfSecrets", "https://", "//h/CanaryOfSecrets"]
    {
        let site = notifying(url, "");
        site.check().expect(78).says("notify-url").says(&format!("{TAKES} https://host/path")).never_says(CANARY);
    }
}

#[test]
fn configuration_with_it_may_be_read_by_others_then_a_warning_says_chmod() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "");
    mode(site.sandbox.path("repo-deploy.cfg"), 0o644);
    site.check().expect(0).says("notify-url in line 1 is a secret: chmod 600");
}

#[test]
fn stopped_by_a_signal_then_it_is_told_and_what_goes_on_with_it_too() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "");
    let hook = site.sandbox.hook("post.d", "10-stop", "kill -TERM $PPID; sleep 60");
    site.check().expect(143);
    assert_eq!(outcomes(&listener), ["stopped"]);
    fs::remove_file(hook).unwrap();
    site.check().expect(0);
    assert_eq!(outcomes(&listener), ["stopped", "deployed"]);
    assert_eq!(told(&listener)[0]["exit_code"], 143);
}

#[test]
fn bundle_is_installed_and_rolled_back_then_both_are_told() {
    let listener = listener();
    let host = Host::new();
    let config = host.sandbox.read("repo-deploy.cfg");
    host.sandbox.write("repo-deploy.cfg", format!("{config}\nnotify-url = {}\n", listener.url("/")));
    let appspec = "version: 0.0\nos: linux\nfiles:\n- {source: file, destination: DEST/app}\n\
                   hooks:\n  AfterInstall: [{location: run}]\n";
    host.bundle(appspec, &[("file", "one"), ("run", "#!/bin/sh\n")]);
    host.deploy().expect(0);
    host.bundle(appspec, &[("file", "number two"), ("run", "#!/bin/sh\nexit 9\n")]);
    host.deploy().expect(1);
    assert_eq!(outcomes(&listener), ["deployed", "rolled-back"]);
}

#[test]
fn two_sections_then_each_has_its_own() {
    let (one, other) = (listener(), listener());
    let sandbox = Sandbox::new();
    let section = |name: &str, listener: &Raw| {
        let zip = sandbox.zip(format!("{name}.zip").as_str(), &[("file", name)]);
        let local = sandbox.path(format!("srv/{name}"));
        format!(
            "[{name}]\nremote = {}\nlocal = {}\nnotify-url = {}\n",
            zip.display(),
            local.display(),
            listener.url("/")
        )
    };
    let config = sandbox.write("repo-deploy.cfg", section("a", &one) + &section("b", &other));
    let mut command = sandbox.bare();
    command.args(["-f", "--cache", "cache", "--config-section", "all", "--config"]).arg(&config);
    command.arg("--pre-hooks").arg(sandbox.path("pre.d")).arg("--post-hooks").arg(sandbox.path("post.d"));
    Run::from(command.output().unwrap()).expect(0);
    for (listener, id) in [(one, "a"), (other, "b")] {
        assert_eq!(told(&listener)[0]["id"], id);
    }
}

#[test]
fn a_seed_is_not_told_and_the_first_failure_after_it_is() {
    let listener = listener();
    let site = notifying(&listener.url("/"), "");
    let mut command = site.sandbox.bare();
    let daemon = site.sandbox.daemon(&["--remote", &site.remote]);
    command.arg("seed").args(daemon.get_args());
    Run::from(command.output().unwrap()).expect(0);
    site.check().expect(0);
    fs::remove_file(&site.remote).unwrap();
    site.check().expect(1);
    assert_eq!(outcomes(&listener), ["failed"]);
    assert!(Path::new(&site.sandbox.local()).exists());
}
