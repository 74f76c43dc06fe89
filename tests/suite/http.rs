//! A ZIP over HTTP: what is asked, what is believed, and what each wrong answer comes to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::needs::{leave_out, needs};
use crate::support::phrases::{
    ANSWERED, ASKED_AS, CANNOT_FETCH, CANNOT_POLL, CANNOT_READ, CANNOT_USE, CANNOT_WRITE, DEPLOYED, NAME_THE_CA,
    NOT_BEFORE, NOTHING_AT, OTHERS_MAY_WRITE, RESUMED, UNPACKED, WITHOUT_CREDENTIALS, deployed_revision,
};
use crate::support::sandbox::{Run, Sandbox, age, tree};
use crate::support::servers::{Authority, Nginx, Raw, Seen, Step, closed_port, cut, object, ok, raw, status, wait_for};

/// A ZIP with one file that says `text`.
pub fn archive(sandbox: &Sandbox, text: &str) -> Vec<u8> {
    std::fs::read(sandbox.zip("made.zip", &[("file", text)])).unwrap()
}

/// A ZIP of half a megabyte that does not compress.
pub fn large(sandbox: &Sandbox, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let noise: String = (0..800_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from(state >> 58).unwrap())
        })
        .collect();
    let bytes = archive(sandbox, &noise);
    assert!(bytes.len() > 400_000);
    bytes
}

#[track_caller]
pub fn live(sandbox: &Sandbox) -> String {
    tree(&sandbox.local()).remove("file").unwrap().trim_start_matches("f 644 ").to_owned()
}

/// The one line that says why a check failed; nothing is staged and nothing is live.
#[track_caller]
pub fn refused(sandbox: &Sandbox, run: Run) -> String {
    let run = run.expect(1);
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 1, "one line: {}", run.log);
    assert!(complaints[0].contains(" ERROR "), "{}", run.log);
    assert!(!sandbox.local().exists(), "something is live");
    for dir in ["releases", "partial"] {
        let entries = std::fs::read_dir(sandbox.store().join(dir)).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "something is left in {dir}");
    }
    complaints[0].to_owned()
}

/// A check of `server` that has to fail with one line that says each of `words`.
#[track_caller]
fn check_refused(server: &Raw, config: &str, words: &[&str]) -> String {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", config);
    let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
    for word in words {
        assert!(line.contains(word), "{word:?} should be in: {line}");
    }
    assert_eq!(downloads(&sandbox), Vec::<String>::new(), "a download is left");
    line
}

/// What lies in the cache.
pub fn downloads(sandbox: &Sandbox) -> Vec<String> {
    let dir = std::fs::read_dir(sandbox.path("cache/default"));
    let mut names: Vec<_> = dir.into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Fails when a secret stands in the log or in any file below the store and the cache.
#[track_caller]
fn no_secret(sandbox: &Sandbox, run: &Run, secret: &str) {
    assert!(!run.log.contains(secret) && !run.out.contains(secret), "{secret} is in the log:\n{}", run.log);
    let found = Command::new("grep")
        .args(["-rlF", "-e", secret])
        .args([sandbox.path("deploy"), sandbox.path("cache")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret} is on disk");
}

// ---- polls ----

#[test]
fn first_check_deploys_and_next_one_is_one_conditional_request_without_a_body() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.zip("www/app.zip", &[("file", "one")]);
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
    let log = nginx.log(1);
    assert_eq!(log.len(), 1, "poll and fetch are one request: {log:?}");
    assert!(log[0].starts_with("GET /app.zip HTTP/1.1|200|"), "{log:?}");

    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    assert_eq!(nginx.log(2)[1..], ["GET /app.zip HTTP/1.1|304|0"]);
    assert_eq!(downloads(&sandbox), Vec::<String>::new());
}

#[test]
fn changed_archive_on_nginx_is_deployed() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.zip("www/app.zip", &[("file", "one")]);
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    sandbox.zip("www/app.zip", &[("file", "number two")]);
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    assert_eq!(live(&sandbox), "number two");
}

#[test]
fn source_goes_back_to_a_release_that_is_kept_then_it_is_not_unpacked_again() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let put = |version: &str| std::fs::rename(sandbox.path(version), sandbox.path("www/app.zip")).unwrap();
    age(&sandbox.zip("one.zip", &[("file", "one")]));
    age(&sandbox.zip("two.zip", &[("file", "number two")]));
    std::fs::hard_link(sandbox.path("one.zip"), sandbox.path("again.zip")).unwrap();
    for version in ["one.zip", "two.zip"] {
        put(version);
        sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).says(UNPACKED).says(DEPLOYED);
    }
    // The same file: the same time and size, so the same ETag.
    put("again.zip");
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).never_says(UNPACKED).says(DEPLOYED);
    assert_eq!(live(&sandbox), "one");
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(nginx.log(4)[3], "GET /app.zip HTTP/1.1|304|0");
}

#[test]
fn request_says_who_asks_and_wants_the_plain_content() {
    let sandbox = Sandbox::new();
    let server = Raw::always(ok("ETag: \"1\"", &archive(&sandbox, "one")));
    sandbox.deploy(&server.url("/app.zip?x=1#part"), &[]).expect(0);
    let seen = server.seen().remove(0);
    assert_eq!(seen.line, "GET /app.zip?x=1 HTTP/1.1");
    assert_eq!(seen.header("Host").unwrap(), server.url("").trim_start_matches("http://"));
    assert_eq!(seen.header("Accept-Encoding"), Some("identity"));
    assert!(seen.header("User-Agent").unwrap().starts_with("repo-deploy/"));
    for absent in ["Authorization", "Range", "If-None-Match", "If-Modified-Since", "If-Match", "Cookie", "Referer"] {
        assert_eq!(seen.header(absent), None);
    }
}

#[test]
fn changed_etag_deploys_and_the_same_one_does_not() {
    for etags in [["\"1\"", "\"2\""], ["W/\"1\"", "W/\"2\""], ["one", "two"]] {
        let sandbox = Sandbox::new();
        let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
        let server = Raw::start(move |seen, n| vec![object(seen, etags[n / 2], if n < 2 { &one } else { &two })]);
        for (n, expected) in ["one", "one", "two", "two"].into_iter().enumerate() {
            sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
            assert_eq!(live(&sandbox), expected, "check {n} with {etags:?}");
        }
        let asked: Vec<_> = server.seen().iter().map(|s| s.header("If-None-Match").map(str::to_owned)).collect();
        assert_eq!(asked, [None, Some(etags[0].into()), Some(etags[0].into()), Some(etags[1].into())]);
    }
}

#[test]
fn last_modified_alone_is_asked_with_if_modified_since() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let date = "Mon, 02 Nov 2026 10:00:00 GMT";
    let server = Raw::start(move |seen, _| match seen.header("If-Modified-Since") {
        Some(since) if since == date => vec![raw("304 Not Modified", b"")],
        _ => vec![ok(&format!("Last-Modified: {date}"), &body)],
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(server.seen()[1].header("If-Modified-Since"), Some(date));
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn server_ignores_conditions_then_the_same_is_not_read_and_another_is_deployed() {
    for [first, second] in [
        ["ETag: \"1\"", "ETag: \"2\""],
        ["Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT", "Last-Modified: Tue, 03 Nov 2026 10:00:00 GMT"],
    ] {
        let sandbox = Sandbox::new();
        let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
        // The second answer stalls in its body: reading it would fail.
        let server = Raw::start(move |_, n| match n {
            0 => vec![ok(first, &one)],
            1 => vec![cut(ok(first, &one), 10), Step::Stall],
            _ => vec![ok(second, &two)],
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert_eq!(live(&sandbox), "one");
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert_eq!(live(&sandbox), "two");
        assert_eq!(server.seen().len(), 3);
    }
}

#[test]
fn without_validators_the_same_bytes_are_not_deployed_again() {
    let sandbox = Sandbox::new();
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    let server = Raw::start(move |_, n| vec![ok("", if n < 2 { &one } else { &two })]);
    for (expected, deployed) in [("one", true), ("one", false), ("two", true)] {
        let run = sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert_eq!((live(&sandbox).as_str(), run.log.contains(&deployed_revision("sha256:"))), (expected, deployed));
    }
}

#[test]
fn another_remote_is_asked_without_the_validators_of_the_first() {
    let sandbox = Sandbox::new();
    let (one, two) = (archive(&sandbox, "one"), archive(&sandbox, "two"));
    let server =
        Raw::start(move |seen, _| vec![object(seen, "\"same\"", if seen.target() == "/a" { &one } else { &two })]);
    sandbox.deploy(&server.url("/a"), &[]).expect(0);
    sandbox.deploy(&server.url("/b"), &[]).expect(0);
    assert_eq!(live(&sandbox), "two");
    assert_eq!(server.seen()[1].header("If-None-Match"), None);
}

// ---- redirects ----

#[test]
fn five_redirects_are_followed_with_conditions_and_a_sixth_is_not() {
    for (hops, works) in [(5, true), (6, false)] {
        let sandbox = Sandbox::new();
        let body = archive(&sandbox, "one");
        let server = Raw::start(move |seen, _| {
            let n: usize = seen.target().trim_start_matches('/').parse().unwrap();
            let codes = ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "302 Found"];
            match codes.get(n).filter(|_| n < hops) {
                Some(code) => vec![status(code, &format!("Location: /{}", n + 1))],
                None => vec![object(seen, "\"1\"", &body)],
            }
        });
        let run = sandbox.deploy(&server.url("/0"), &[]);
        if works {
            run.expect(0);
            assert_eq!(live(&sandbox), "one");
            sandbox.deploy(&server.url("/0"), &[]).expect(0);
            let second = &server.seen()[hops + 1..];
            assert_eq!(second.len(), hops + 1);
            assert!(second.iter().all(|seen| seen.header("If-None-Match") == Some("\"1\"")));
        } else {
            assert!(refused(&sandbox, run).contains("more than 5 redirects"));
        }
    }
}

#[test]
fn bad_redirects_are_refused_by_name() {
    let there = Raw::always(status("200 OK", ""));
    for (location, words) in [
        ("", "without Location"),
        ("Location: http://[bad", "no URL"),
        ("Location: ftp://example.org/x", "ftp:"),
        ("Location: file:///etc/passwd", "file:"),
        ("Location: /app.zip", "circle"),
        ("Location: http://169.254.169.254/latest/meta-data?token=hunter2", "metadata address (169.254.169.254)"),
        ("Location: http://169.254.1.2/", "link-local address"),
        ("Location: http://[fe80::1]/", "link-local address"),
        ("Location: http://[64:ff9b:1::169.254.169.254]/", "metadata address (64:ff9b:1::a9fe:a9fe)"),
        ("Location: http://[::ffff:0:169.254.169.254]/", "metadata address (::ffff:0:a9fe:a9fe)"),
        ("Location: http://[2001:db8::5efe:169.254.1.2]/", "link-local address"),
        ("Location: http://[fd00:c1::a9fe:a9fe]/", "metadata address"),
    ] {
        let line = check_refused(
            &Raw::always(status("302 Found", location)),
            "",
            &[&*format!("{CANNOT_POLL} http://"), words],
        );
        assert!(!line.contains("hunter2"), "{line}");
    }
    assert_eq!(there.seen().len(), 0);
}

#[test]
fn redirect_to_this_host_is_refused_when_remote_is_elsewhere() {
    let sandbox = Sandbox::new();
    let inner = Raw::always(ok("", b"inner"));
    let to = inner.url("/secret");
    let proxy = Raw::start(move |_, _| vec![status("302 Found", &format!("Location: {to}"))]);
    let mut command = sandbox.command(&["--remote", "http://public.example/app.zip"]);
    let run: Run = command.env("http_proxy", proxy.url("")).output().unwrap().into();
    assert!(refused(&sandbox, run).contains("may not lead to a loopback address"));
    assert_eq!((proxy.seen().len(), inner.seen().len()), (1, 0));
}

#[test]
fn redirect_from_https_to_http_is_refused() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let plain = Raw::always(ok("", &archive(&sandbox, "one")));
    let authority = Authority::new(&sandbox);
    let config = authority.certificate("IP:127.0.0.1", &[]) + &format!("return 302 {};", plain.url("/app.zip"));
    let nginx = Nginx::start(&sandbox, "ssl", &config);
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}", authority.ca().display()));
    let line = refused(&sandbox, sandbox.deploy(&nginx.https("127.0.0.1", "/app.zip"), &[]));
    assert!(line.contains("a redirect from https down to http://"), "{line}");
    assert_eq!(plain.seen().len(), 0);
}

#[test]
fn credentials_and_headers_stay_with_the_origin() {
    let sandbox = Sandbox::new();
    let other = Raw::always(ok("ETag: \"1\"", &archive(&sandbox, "one")));
    let to = other.url("/elsewhere");
    let origin = Raw::start(move |seen, _| match seen.target() {
        "/app.zip" => vec![status("302 Found", "Location: /next")],
        _ => vec![status("302 Found", &format!("Location: {to}"))],
    });
    sandbox.write(
        "repo-deploy.cfg",
        "http-user = deploy\nhttp-password = canary-password\nhttp-header = X-Token: canary-token\n",
    );
    std::fs::set_permissions(sandbox.path("repo-deploy.cfg"), std::fs::Permissions::from_mode(0o600)).unwrap();
    sandbox.deploy(&origin.url("/app.zip"), &[]).expect(0);
    for seen in origin.seen() {
        assert_eq!(seen.header("Authorization"), Some("Basic ZGVwbG95OmNhbmFyeS1wYXNzd29yZA=="));
        assert_eq!(seen.header("X-Token"), Some("canary-token"));
    }
    assert_eq!(origin.seen().len(), 2);
    let seen = other.seen().remove(0);
    assert_eq!((seen.header("Authorization"), seen.header("X-Token")), (None, None));
}

// ---- credentials ----

/// nginx behind basic authentication for `deploy` with `canary-pass:word%`.
fn guarded(sandbox: &Sandbox) -> Nginx {
    sandbox.zip("www/app.zip", &[("file", "one")]);
    let hash = Command::new("openssl").args(["passwd", "-apr1", "canary-pass:word%"]).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let users = sandbox.write("htpasswd", format!("deploy:{hash}"));
    Nginx::start(sandbox, "", &format!("auth_basic x; auth_basic_user_file {};", users.display()))
}

#[test]
fn each_kind_of_credentials_opens_the_server_and_leaves_no_trace() {
    needs!("nginx", "openssl");
    let netrc = "machine other login x password y\nmachine 127.0.0.1 login deploy password \"canary-pass:word%\"\n";
    let basic = "http-header = Authorization: Basic ZGVwbG95OmNhbmFyeS1wYXNzOndvcmQl\n";
    for (userinfo, config, file) in [
        ("deploy:canary-pass%3Aword%25@", "", ""),
        ("", "http-user = deploy\nhttp-password = canary-pass:word%\n", ""),
        ("", "http-user = deploy\nhttp-password-file = FILE\n", "canary-pass:word%\n"),
        ("deploy@", "http-password-file = FILE\n", "canary-pass:word%\r\n"),
        ("", "netrc = FILE\n", netrc),
        ("deploy@", "netrc = FILE\n", netrc),
        ("", basic, ""),
    ] {
        let sandbox = Sandbox::new();
        let nginx = guarded(&sandbox);
        let path = sandbox.write("secret", file);
        let config = config.replace("FILE", &path.display().to_string());
        for file in [path, sandbox.write("repo-deploy.cfg", &config)] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let remote = nginx.url("/app.zip").replace("http://", &format!("http://{userinfo}"));
        let run = sandbox.deploy(&remote, &["-v", "-v"]).expect(0);
        assert_eq!(live(&sandbox), "one", "{config}");
        assert_eq!(run.complaints(), Vec::<&str>::new());
        for secret in ["canary-pass", "ZGVwbG95"] {
            no_secret(&sandbox, &run, secret);
        }
    }
}

#[test]
fn wrong_or_missing_credentials_are_named_by_where_they_come_from() {
    needs!("nginx", "openssl");
    for (config, words) in [
        ("", &*format!("{WITHOUT_CREDENTIALS}: set http-user")),
        ("http-user = deploy\nhttp-password = canary-wrong\n", &*format!("{ASKED_AS} user \"deploy\" from http-user")),
        ("http-header = Authorization: Bearer canary-wrong\n", &*format!("{ASKED_AS} http-header Authorization")),
    ] {
        let sandbox = Sandbox::new();
        let nginx = guarded(&sandbox);
        let path = sandbox.write("repo-deploy.cfg", config);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let run = sandbox.deploy(&nginx.url("/app.zip"), &["-v", "-v"]);
        assert!(!run.log.contains("canary"), "{}", run.log);
        let line = refused(&sandbox, run);
        assert!(line.contains(&format!("{ANSWERED} 401 unauthorized")) && line.contains(words), "{line}");
        assert_eq!(nginx.log(1).len(), 1, "a 401 is not tried again");
    }
}

#[test]
fn password_file_that_others_may_read_is_warned_about_and_one_they_may_write_is_refused() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let nginx = guarded(&sandbox);
    let file = sandbox.write("secret", "canary-pass:word%\n");
    sandbox.write("repo-deploy.cfg", format!("http-user = deploy\nhttp-password-file = {}\n", file.display()));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let line = refused(&sandbox, sandbox.deploy(&nginx.url("/app.zip"), &[]));
    assert!(line.contains(&format!("{CANNOT_READ} http-password-file")) && line.contains(OTHERS_MAY_WRITE), "{line}");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    run.says(&format!("chmod 600 {}", file.display()));
}

#[test]
fn password_file_is_read_again_at_every_check() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let nginx = guarded(&sandbox);
    let file = sandbox.write("secret", "old\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    sandbox.write("repo-deploy.cfg", format!("http-user = deploy\nhttp-password-file = {}\n", file.display()));
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(1).says("401");
    std::fs::write(&file, "canary-pass:word%\n").unwrap();
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0);
}

// ---- statuses ----

#[test]
fn lasting_statuses_fail_at_once_and_say_what_to_do() {
    for (code, words) in [
        ("403 Forbidden", &*format!("403 forbidden; {WITHOUT_CREDENTIALS}")),
        ("404 Not Found", &*format!("404 not found; {NOTHING_AT} this URL")),
        ("410 Gone", "410 gone"),
        ("204 No Content", "204 no content"),
        ("304 Not Modified", "304 not modified, and nothing was asked"),
        ("206 Partial Content", "206 partial content, and no range was asked for"),
        ("300 Multiple Choices", "300 multiple choices"),
        ("400 Bad Request", "400 bad request"),
    ] {
        let server = Raw::always(status(code, ""));
        check_refused(
            &server,
            "",
            &[&*format!("{CANNOT_POLL} http://127.0.0.1"), &*format!("/app.zip: {ANSWERED}"), words],
        );
        assert_eq!(server.seen().len(), 1, "{code} is not tried again");
    }
}

#[test]
fn passing_statuses_are_tried_again_as_the_server_says() {
    for code in ["429 Too Many Requests", "500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"] {
        let sandbox = Sandbox::new();
        let body = archive(&sandbox, "one");
        let server = Raw::start(move |_, n| match n {
            0..3 => vec![status(code, "Retry-After: 0")],
            _ => vec![ok("ETag: \"1\"", &body)],
        });
        let run = sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert_eq!(run.complaints(), Vec::<&str>::new());
        assert_eq!((live(&sandbox).as_str(), server.seen().len()), ("one", 4), "{code}");
    }
}

#[test]
fn retry_after_that_fits_is_waited_out() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let server = Raw::start(move |_, n| {
        vec![if n == 0 { status("503 Service Unavailable", "Retry-After: 1") } else { ok("ETag: \"1\"", &body) }]
    });
    let start = Instant::now();
    sandbox
        .deploy(&server.url("/app.zip"), &[])
        .expect(0)
        .says(&format!(" {}: {ANSWERED} 503 service unavailable; trying again in ", server.url("/app.zip")));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn trouble_that_stays_ends_after_four_tries() {
    let server = Raw::always(status("500 Internal Server Error", "Retry-After: 0"));
    check_refused(&server, "", &[&*format!("{ANSWERED} 500 internal server error")]);
    assert_eq!(server.seen().len(), 4);
}

/// A fleet must not have tries left over for a source that has just come back.
#[test]
fn source_was_unavailable_then_it_is_asked_once_a_check_until_it_answers() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    // Four tries of the first check, one of the second; then the poll is answered, and its body breaks off.
    let server = Raw::start(move |_, n| match n {
        0..5 => vec![status("503 Service Unavailable", "Retry-After: 0")],
        5 => vec![cut(ok("ETag: \"1\"", &body), 10)],
        6..8 => vec![status("503 Service Unavailable", "Retry-After: 0")],
        _ => vec![ok("ETag: \"1\"", &body)],
    });
    let check = || sandbox.deploy(&server.url("/app.zip"), &[]);
    let first = check().expect(1);
    assert_eq!(server.seen().len(), 4);
    let second = check().expect(1).never_says("trying again");
    assert_eq!(server.seen().len(), 5);
    // It is the same error, which is not logged again.
    assert_eq!((first.complaints().len(), second.complaints().len()), (1, 1), "{}{}", first.log, second.log);
    check().expect(0);
    assert_eq!((live(&sandbox).as_str(), server.seen().len()), ("one", 9));
}

#[test]
fn retry_after_that_does_not_fit_fails_at_once() {
    for (header, config, words) in [
        ("Retry-After: 1800", "", ["the server asks to wait 1800 s, longer than the 59", " s that timeout leaves"]),
        (
            "Retry-After: 3",
            "timeout = 3\n",
            ["the server asks to wait 3 s, longer than the 2 s that", "timeout leaves"],
        ),
    ] {
        let server = Raw::always(status("503 Service Unavailable", header));
        let line = check_refused(&server, config, &words);
        assert!(line.contains(&format!("{ANSWERED} 503 service unavailable; the server asks")), "{line}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn retry_after_holds_across_runs_and_the_source_is_named() {
    let server = Raw::always(status("503 Service Unavailable", "Retry-After: 1800"));
    let sandbox = Sandbox::new();
    let remote = server.url("/app.zip?token=canary");
    sandbox.deploy(&remote, &[]).expect(1).never_says("canary");
    let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
    let words = format!(" {CANNOT_POLL} {}?…: the server {NOT_BEFORE} 20", server.url("/app.zip"));
    assert!(line.contains(&words) && line.ends_with('Z'), "{line}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn page_instead_of_an_archive_is_refused() {
    let server = Raw::always(ok("Content-Type: text/html", b"<html><body>Please log in</body></html>"));
    check_refused(&server, "", &[]);
}

// ---- bodies ----

#[test]
fn chunked_and_close_delimited_bodies_are_deployed() {
    for chunked in [true, false] {
        let sandbox = Sandbox::new();
        let body = archive(&sandbox, "one");
        let answer = if chunked {
            let (a, b) = body.split_at(20);
            let mut chunks = Vec::new();
            for chunk in [a, b, b""] {
                chunks.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            raw("200 OK\nTransfer-Encoding: chunked\nETag: \"1\"", &chunks)
        } else {
            raw("200 OK\nConnection: close\nETag: \"1\"", &body)
        };
        sandbox.deploy(&Raw::always(answer).url("/app.zip"), &[]).expect(0);
        assert_eq!(live(&sandbox), "one", "chunked: {chunked}");
    }
}

#[test]
fn encoded_bodies_are_refused() {
    for (header, words) in [
        ("Content-Encoding: gzip", "Content-Encoding gzip, and is no tar.gz, though only the plain content"),
        ("Content-Encoding: identity\nContent-Encoding: br", "Content-Encoding br"),
        ("Transfer-Encoding: gzip, chunked", "Transfer-Encoding other than chunked"),
    ] {
        check_refused(&Raw::always(ok(header, b"x")), "", &[words]);
    }
}

#[test]
fn lengths_that_contradict_each_other_and_answers_that_are_no_http_are_refused() {
    for answer in [
        raw("200 OK\nContent-Length: 4\nContent-Length: 5", b"12345"),
        raw("200 OK\nContent-Length: -1", b"12345"),
        Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        raw(&format!("200 OK\nX: {}", "x".repeat(40_000)), b""),
    ] {
        check_refused(&Raw::always(answer), "", &[&*format!("{CANNOT_POLL} http://127.0.0.1")]);
    }
}

#[test]
fn body_that_is_always_short_is_an_error_and_never_a_release() {
    for etag in ["ETag: \"1\"", "ETag: W/\"1\"", ""] {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", "timeout = 3\n");
        let body = archive(&sandbox, "one");
        let server = Raw::always(cut(ok(etag, &body), 40));
        let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
        assert!(line.contains(&format!("{CANNOT_FETCH} http://127.0.0.1")), "{line}");
        assert!(line.contains(&format!("after 40 of {} bytes", body.len())), "{line}");
    }
}

#[test]
fn bytes_beyond_the_length_never_reach_the_archive() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let head = format!("200 OK\nContent-Length: {}\nETag: \"1\"", body.len());
    let server = Raw::always(raw(&head, &[&body[..], b"and more"].concat()));
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
}

#[test]
fn body_without_a_length_that_tls_cuts_off_is_not_taken_for_whole() {
    needs!("openssl");
    // Killing openssl cuts TLS without its close.
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let certificate = authority.files("IP:127.0.0.1", &[]);
    let body = archive(&sandbox, "one");
    sandbox.write("tls/answer", [&b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\n\r\n"[..], &body].concat());
    let port = closed_port();
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-naccept", "1", "-cert"])
        .arg(&certificate.0)
        .arg("-key")
        .arg(&certificate.1)
        .arg("-accept")
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(sandbox.path("tls"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    let mut output = server.stdout.take().unwrap();
    wait_for("s_server", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.contains(&format!(":{port:04X} 00000000:0000 0A")).then_some(())
    });
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}\ntimeout = 3\n", authority.ca().display()));
    let client = sandbox
        .command(&["--remote", &format!("https://127.0.0.1:{port}/app.zip")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has asked: answer, and be gone as soon as all of it lies in the download.
    std::io::Read::read_exact(&mut output, &mut [0; 4]).unwrap();
    std::io::Write::write_all(&mut input, &std::fs::read(sandbox.path("tls/answer")).unwrap()).unwrap();
    let cache = sandbox.path("cache/default");
    wait_for("the download", || size_of_download(&cache).filter(|size| *size == body.len() as u64));
    server.kill().unwrap();
    server.wait().unwrap();
    drop(input);
    // Nobody is there to be asked again.
    let run: Run = client.wait_with_output().unwrap().into();
    let run = run.says(&format!("after {} bytes: the connection was cut off; trying again", body.len()));
    assert!(refused(&sandbox, run).contains("refuses the connection"));
}

fn size_of_download(cache: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(cache).ok()?;
    let part = entries.flatten().find(|e| !e.file_name().to_string_lossy().ends_with(".meta"))?;
    Some(part.metadata().ok()?.len())
}

#[test]
fn archive_beyond_max_download_is_refused_as_declared_and_as_it_comes() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, &"one ".repeat(300));
    let declared = ok("ETag: \"1\"", &body);
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body[..], b"\r\n0\r\n\r\n"].concat();
    let produced = raw("200 OK\nTransfer-Encoding: chunked\nETag: \"1\"", &chunk);
    for (answer, words) in [(declared, "bytes long: max-download allows 100"), (produced, "it is more than 100 bytes")]
    {
        let server = Raw::always(answer);
        check_refused(&server, "max-download = 100\n", &[CANNOT_FETCH, words, "max-download allows 100"]);
        assert_eq!(server.seen().len(), 1, "the same bytes are not asked for again");
    }
}

#[test]
fn declared_length_without_room_is_refused_before_the_first_byte() {
    let server = Raw::always(raw("200 OK\nContent-Length: 4000000000000000\nETag: \"1\"", b"x"));
    check_refused(&server, "max-download = 8000000G\n", &["it needs 3.6 PiB, and", "iB are free"]);
}

#[test]
fn disk_fills_up_in_a_download_then_it_is_said_and_the_part_is_gone() {
    let sandbox = Sandbox::new();
    let body = large(&sandbox, 9);
    let disk = sandbox.path("cache/default");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return leave_out("cannot mount a tmpfs");
    }
    let unmount = Unmount(&disk);
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body[..], b"\r\n0\r\n\r\n"].concat();
    for (answer, words) in [
        (raw("200 OK\nTransfer-Encoding: chunked\nETag: \"1\"", &chunked), "no space left on device"),
        (ok("ETag: \"1\"", &body), " are free"),
    ] {
        let line = refused(&sandbox, sandbox.deploy(&Raw::always(answer).url("/app.zip"), &[]));
        assert!(line.contains(CANNOT_WRITE) && line.contains(words), "{line}");
        assert_eq!(downloads(&sandbox), Vec::<String>::new());
    }
    drop(unmount);
}

pub struct Unmount<'a>(pub &'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "{} stays", self.0.display());
    }
}

// ---- broken downloads ----

#[test]
fn connection_breaks_then_the_download_goes_on_from_there() {
    let sandbox = Sandbox::new();
    let body = large(&sandbox, 1);
    // Broken twice, each time with some progress.
    let server = Raw::start(move |seen, n| {
        let answer = object(seen, "\"1\"", &body);
        vec![if n < 2 { cut(answer, 100_000) } else { answer }]
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    let seen = server.seen();
    let ranges: Vec<_> = seen.iter().map(|s| (s.header("Range"), s.header("If-Match"))).collect();
    assert_eq!(ranges, [(None, None), (Some("bytes=100000-"), Some("\"1\"")), (Some("bytes=200000-"), Some("\"1\"")),]);
    assert_eq!(live(&sandbox).len(), 800_000);
    assert_eq!(downloads(&sandbox), Vec::<String>::new());
}

#[test]
fn connection_breaks_without_a_strong_etag_then_all_of_it_is_asked_for_again() {
    for etag in ["ETag: W/\"1\"", "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT", ""] {
        let sandbox = Sandbox::new();
        let body = large(&sandbox, 2);
        let server = Raw::start(move |_, n| {
            let answer = ok(etag, &body);
            vec![if n == 0 { cut(answer, 100_000) } else { answer }]
        });
        sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        assert!(server.seen().iter().all(|s| s.header("Range").is_none() && s.header("If-Match").is_none()));
        assert_eq!((live(&sandbox).len(), server.seen().len()), (800_000, 2), "{etag:?}");
    }
}

#[test]
fn object_is_replaced_while_it_is_fetched_then_the_new_one_is_deployed() {
    // With 412; by a server that ignores If-Match and answers 200, or 206 of the other object; and with a weak ETag.
    for kind in 0..4 {
        let sandbox = Sandbox::new();
        let (one, two) = (large(&sandbox, 3), large(&sandbox, 4));
        let server = Raw::start(move |seen, n| {
            let weak = if kind == 3 { "W/" } else { "" };
            let (old, new) = (format!("{weak}\"1\""), format!("{weak}\"2\""));
            let mut bare = seen.clone();
            if kind != 0 {
                bare.headers.retain(|(name, _)| name != "if-match" && (kind == 2 || name != "range"));
            }
            vec![if n == 0 { cut(object(seen, &old, &one), 100_000) } else { object(&bare, &new, &two) }]
        });
        let run = sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
        let seen = server.seen();
        assert_eq!(seen.len(), 3, "kind {kind}: offered, replaced, polled again: {seen:?}");
        assert_eq!(seen[1].header("If-Match").is_some(), kind != 3);
        assert_eq!(seen[2].header("Range"), None);
        run.says("etag:").says("\"2\"");
        assert_eq!(live(&sandbox).len(), 800_000);
    }
}

#[test]
fn range_other_than_the_one_asked_for_is_refused() {
    for range in ["bytes 0-99/100", "bytes 100001-LAST/TOTAL", "bytes 100000-LAST/*", "", "bytes 100000-100001/TOTAL"] {
        let sandbox = Sandbox::new();
        let body = large(&sandbox, 5);
        let range = range.replace("LAST", &(body.len() - 1).to_string()).replace("TOTAL", &body.len().to_string());
        let server = Raw::start(move |_, n| {
            let header = if range.is_empty() { String::new() } else { format!("\nContent-Range: {range}") };
            vec![match n {
                0 => cut(ok("ETag: \"1\"", &body), 100_000),
                _ => raw(&format!("206 Partial Content\nContent-Length: 2\nETag: \"1\"{header}"), b"xx"),
            }]
        });
        let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
        assert!(line.contains(&format!("{ANSWERED} bytes 100000- of")), "{line}");
        assert_eq!(downloads(&sandbox), Vec::<String>::new());
    }
}

#[test]
fn body_that_stalls_is_given_up_and_the_next_check_goes_on_with_it() {
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "stall-timeout = 1\ntimeout = 2\n");
    let body = large(&sandbox, 6);
    let server = Raw::start(move |seen, n| match n {
        0 => vec![cut(object(seen, "\"1\"", &body), 100_000), Step::Stall],
        // Whatever of this check is left: still nothing.
        1.. if seen.header("Range").is_some() && n < 3 => vec![Step::Stall],
        _ => vec![object(seen, "\"1\"", &body)],
    });
    let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
    assert!(line.contains("stall-timeout") || line.contains("the time for one check is over"), "{line}");
    assert_eq!(downloads(&sandbox).len(), 2, "the part and its note stay");
    assert_no_temporary_secret(&sandbox);

    sandbox.write("repo-deploy.cfg", "");
    let before = server.seen().len();
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0).says(RESUMED);
    let seen = server.seen();
    let ranged = seen[before..].iter().filter(|s| s.header("Range") == Some("bytes=100000-")).count();
    assert!(ranged >= 1, "{seen:?}");
    assert_eq!(live(&sandbox).len(), 800_000);
}

/// Part and note are ours alone.
fn assert_no_temporary_secret(sandbox: &Sandbox) {
    for name in downloads(sandbox) {
        let meta = std::fs::metadata(sandbox.path("cache/default").join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn killed_in_a_download_then_the_next_run_goes_on_with_it() {
    let sandbox = Sandbox::new();
    let body = large(&sandbox, 7);
    let server = Raw::start(move |seen, n| {
        let answer = object(seen, "\"1\"", &body);
        if n == 0 { vec![cut(answer, 100_000), Step::Stall] } else { vec![answer] }
    });
    let mut child = sandbox.command(&["--remote", &server.url("/app.zip?token=canary-query")]).spawn().unwrap();
    let cache = sandbox.path("cache/default");
    wait_for("the download", || size_of_download(&cache).filter(|size| *size == 100_000));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = sandbox.deploy(&server.url("/app.zip?token=canary-query"), &[]).expect(0);
    no_secret(&sandbox, &run, "canary-query");
    let ranges: Vec<_> = server.seen().iter().map(|s| s.header("Range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, None, Some("bytes=100000-".to_owned())]);
    assert_eq!(live(&sandbox).len(), 800_000);
    assert_eq!(downloads(&sandbox), Vec::<String>::new());
}

#[test]
fn killed_in_a_download_and_replaced_meanwhile_then_the_new_one_is_fetched_from_its_start() {
    let sandbox = Sandbox::new();
    let (one, two) = (large(&sandbox, 8), archive(&sandbox, "two"));
    let server = Raw::start(move |seen, n| match n {
        0 => vec![cut(object(seen, "\"1\"", &one), 100_000), Step::Stall],
        _ => vec![object(seen, "\"2\"", &two)],
    });
    let mut child = sandbox.command(&["--remote", &server.url("/app.zip")]).spawn().unwrap();
    let cache = sandbox.path("cache/default");
    wait_for("the download", || size_of_download(&cache).filter(|size| *size == 100_000));
    child.kill().unwrap();
    child.wait().unwrap();
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    assert_eq!((live(&sandbox).as_str(), server.seen().len()), ("two", 2));
}

// ---- connections ----

#[test]
fn server_that_is_not_there_is_an_error_that_says_so() {
    for (remote, words) in [
        (format!("http://127.0.0.1:{}/app.zip", closed_port()), "127.0.0.1 refuses the connection"),
        ("http://no-such-host.invalid/app.zip".to_owned(), "cannot find the address of no-such-host.invalid"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", "timeout = 1\n");
        let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn server_that_accepts_and_says_nothing_is_given_up() {
    let server = Raw::always(Step::Stall);
    check_refused(&server, "stall-timeout = 1\ntimeout = 1\n", &[&*format!("{CANNOT_POLL} http://127.0.0.1")]);
    check_refused(&server, "stall-timeout = 1\ntimeout = 2\n", &[&*format!("{CANNOT_POLL} http://127.0.0.1")]);
}

#[test]
fn failing_poll_leaves_what_is_live() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let server = Raw::start(move |_, n| vec![if n == 0 { ok("ETag: \"1\"", &body) } else { status("404 Gone", "") }]);
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0);
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(1);
    assert_eq!(live(&sandbox), "one");
}

// ---- proxies ----

/// A proxy that forwards: answers absolute-form requests itself.
fn proxy(body: Vec<u8>) -> Raw {
    Raw::start(move |seen, _| vec![object(seen, "\"1\"", &body)])
}

fn deploy_through(sandbox: &Sandbox, remote: &str, env: &[(&str, String)]) -> Run {
    sandbox.command(&["--remote", remote]).envs(env.iter().map(|(k, v)| (k, v))).output().unwrap().into()
}

#[test]
fn plain_request_through_a_proxy_is_forwarded_in_absolute_form() {
    let sandbox = Sandbox::new();
    let proxy = proxy(archive(&sandbox, "one"));
    let url = format!("http://pro%40xy:canary%3Apass@127.0.0.1:{}", proxy.port());
    let run =
        deploy_through(&sandbox, "http://user:pw@public.example:8000/a.zip?x=1", &[("http_proxy", url)]).expect(0);
    assert_eq!(live(&sandbox), "one");
    let seen = proxy.seen().remove(0);
    assert_eq!(seen.line, "GET http://public.example:8000/a.zip?x=1 HTTP/1.1");
    assert_eq!(seen.header("Host"), Some("public.example:8000"));
    assert_eq!(seen.header("Proxy-Authorization"), Some("Basic cHJvQHh5OmNhbmFyeTpwYXNz"));
    assert_eq!(seen.header("Authorization"), Some("Basic dXNlcjpwdw=="));
    no_secret(&sandbox, &run, "canary");
}

#[test]
fn proxy_is_not_used_for_this_host_nor_against_no_proxy() {
    let sandbox = Sandbox::new();
    let server = Raw::always(ok("ETag: \"1\"", &archive(&sandbox, "one")));
    let proxy = Raw::always(status("418 Teapot", ""));
    let url = proxy.url("");
    deploy_through(&sandbox, &server.url("/app.zip"), &[("http_proxy", url.clone())]).expect(0);
    let (bypass, timeout) = (("no_proxy", ".invalid".to_owned()), ("REPO_DEPLOY_TIMEOUT", "1".to_owned()));
    deploy_through(&sandbox, "http://a.invalid/x", &[("HTTP_PROXY", url.clone()), bypass, timeout])
        .expect(1)
        .says("cannot find the address of a.invalid");
    assert_eq!(proxy.seen().len(), 0);
    let cgi = ("REQUEST_METHOD", "GET".to_owned());
    let timeout = ("REPO_DEPLOY_TIMEOUT", "1".to_owned());
    deploy_through(&sandbox, "http://a.invalid/x", &[("HTTP_PROXY", url.clone()), cgi, timeout]).expect(1);
    assert_eq!(proxy.seen().len(), 0, "HTTP_PROXY of a CGI's client");
    // The proxy's own metadata service is not ours to ask.
    let home = Raw::always(status("302 Found", "Location: http://metadata.google.internal/computeMetadata/v1/"));
    let timeout = ("REPO_DEPLOY_TIMEOUT", "1".to_owned());
    deploy_through(&sandbox, &home.url("/x"), &[("HTTP_PROXY", url.clone()), timeout]).expect(1);
    assert!(proxy.seen().is_empty() && !home.seen().is_empty());
    deploy_through(&sandbox, "http://a.invalid/x", &[("HTTP_PROXY", url)]).expect(1).says("418");
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn https_through_a_proxy_is_tunnelled_and_the_proxys_refusal_is_told() {
    for (code, words) in [("407 Proxy Authentication Required", "407"), ("403 Forbidden", "refuses the tunnel (403)")] {
        let sandbox = Sandbox::new();
        let proxy = Raw::always(status(code, ""));
        let url = format!("http://u:canary@127.0.0.1:{}", proxy.port());
        let run = deploy_through(&sandbox, "https://public.example/app.zip", &[("https_proxy", url)]);
        no_secret(&sandbox, &run, "canary");
        assert!(refused(&sandbox, run).contains(words));
        let seen = proxy.seen().remove(0);
        assert_eq!(seen.line, "CONNECT public.example:443 HTTP/1.1");
        assert_eq!(seen.header("Proxy-Authorization"), Some("Basic dTpjYW5hcnk="));
    }
}

#[test]
fn https_through_a_tunnel_is_verified_and_deployed() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("DNS:public.example", &[]));
    sandbox.zip("www/app.zip", &[("file", "one")]);
    let tunnel = Tunnel::start(nginx.https("x", "").rsplit(':').next().unwrap().parse().unwrap());
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}", authority.ca().display()));
    let env = [("all_proxy", format!("http://127.0.0.1:{}", tunnel.0))];
    deploy_through(&sandbox, "https://public.example/app.zip", &env).expect(0);
    assert_eq!(live(&sandbox), "one");
}

/// A proxy that connects each CONNECT to one port of this host.
struct Tunnel(u16);

impl Tunnel {
    fn start(to: u16) -> Self {
        use std::io::{Read, Write};
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Ends with its one connection.
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            assert!(head.starts_with(b"CONNECT public.example:443 "), "{}", String::from_utf8_lossy(&head));
            // As chatty as they come.
            let lines: String = (0..40).map(|n| format!("X-Line-{n}: {n}\r\n")).collect();
            let answer = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{lines}Via: a,\r\n b\r\n\r\n");
            client.write_all(answer.as_bytes()).unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let up = std::thread::spawn(move || drop(std::io::copy(&mut from, &mut back)));
            drop(std::io::copy(&mut server, &mut client));
            drop(client.shutdown(std::net::Shutdown::Both));
            up.join().unwrap();
        });
        Self(port)
    }
}

#[test]
fn proxy_that_speaks_tls_is_verified_and_asked_for_a_tunnel() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    let proxy = [("http_proxy", nginx.https("127.0.0.1", ""))];
    let run = deploy_through(&sandbox, "http://public.example/app.zip", &proxy);
    assert!(refused(&sandbox, run).contains(NAME_THE_CA));
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}", authority.ca().display()));
    // nginx knows no CONNECT.
    let run = deploy_through(&sandbox, "http://public.example/app.zip", &proxy);
    assert!(refused(&sandbox, run).contains("the proxy refuses the tunnel (40"));
}

#[test]
fn socks_proxy_is_refused_and_not_passed_by() {
    let sandbox = Sandbox::new();
    let env = [("all_proxy", "socks5://u:canary@127.0.0.1:1080".to_owned())];
    let run = deploy_through(&sandbox, "http://public.example/app.zip", &env);
    no_secret(&sandbox, &run, "canary");
    assert!(refused(&sandbox, run).contains("is a socks5 proxy: use http:// or https://"));
}

// ---- TLS ----

#[test]
fn own_authority_is_trusted_by_ca_file_and_by_ssl_cert_file_and_by_nothing_else() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    sandbox.zip("www/app.zip", &[("file", "one")]);
    let remote = nginx.https("127.0.0.1", "/app.zip");
    let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
    assert!(line.contains(&format!("a CA that is not known here: {NAME_THE_CA}")), "{line}");
    assert_eq!(nginx.log(0).len(), 0, "nothing is asked of a server that is not believed");

    let env = [("SSL_CERT_FILE", authority.ca().display().to_string())];
    deploy_through(&sandbox, &remote, &env).expect(0);
    assert_eq!(live(&sandbox), "one");

    // A bundle of several, ours last.
    let other = Sandbox::new();
    let bundle = [std::fs::read(Authority::new(&other).ca()).unwrap(), std::fs::read(authority.ca()).unwrap()].concat();
    let bundle = sandbox.write("bundle.pem", bundle);
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}", bundle.display()));
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(nginx.log(2)[1], "GET /app.zip HTTP/1.1|304|0");
}

#[test]
fn certificates_that_do_not_fit_are_told_apart() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let authority = Authority::new(&sandbox);
    for (config, words) in [
        (authority.certificate("DNS:other.example", &[]), "not for 127.0.0.1"),
        (authority.certificate("IP:127.0.0.1", &["-days", "-1"]), "has expired"),
        (authority.self_signed("IP:127.0.0.1"), "a CA's own (CA:TRUE)"),
    ] {
        let run = Sandbox::new();
        let nginx = Nginx::start(&sandbox, "ssl", &config);
        let roots = ["tls/ca.pem", "tls/self.pem"].map(|f| std::fs::read(sandbox.path(f)).unwrap()).concat();
        let roots = sandbox.write("roots.pem", roots);
        run.write("repo-deploy.cfg", format!("ca-file = {}", roots.display()));
        let line = refused(&run, run.deploy(&nginx.https("127.0.0.1", "/app.zip"), &[]));
        assert!(line.contains(words), "{words:?} should be in: {line}");
    }
}

#[test]
fn ca_file_that_is_none_or_that_others_may_write_is_refused() {
    let sandbox = Sandbox::new();
    let port = closed_port();
    let remote = format!("https://127.0.0.1:{port}/app.zip");
    let file = sandbox.write("ca.pem", "no certificate\n");
    sandbox.write("repo-deploy.cfg", format!("ca-file = {}\n", file.display()));
    let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
    assert!(line.contains(&format!("{CANNOT_USE} ca-file")) && line.contains("no usable certificate"), "{line}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let line = refused(&sandbox, sandbox.deploy(&remote, &[]));
    assert!(line.contains(&format!("{CANNOT_READ} ca-file")) && line.contains(OTHERS_MAY_WRITE), "{line}");
}

#[test]
fn plain_http_on_a_tls_port_and_tls_on_a_plain_port_are_errors() {
    needs!("nginx", "openssl");
    let server = Raw::always(ok("ETag: \"1\"", b"x"));
    let sandbox = Sandbox::new();
    sandbox.write("repo-deploy.cfg", "timeout = 2\nstall-timeout = 1\n");
    refused(&sandbox, sandbox.deploy(&server.url("/app.zip").replace("http:", "https:"), &[]));
    let plain = Nginx::start(&sandbox, "", "");
    let line = refused(&sandbox, sandbox.deploy(&plain.https("127.0.0.1", "/app.zip"), &[]));
    assert!(line.contains("the server does not speak TLS there (http:// instead of https://?)"), "{line}");
    drop(plain);
    let authority = Authority::new(&sandbox);
    let nginx = Nginx::start(&sandbox, "ssl", &authority.certificate("IP:127.0.0.1", &[]));
    let line = refused(&sandbox, sandbox.deploy(&nginx.url("/app.zip"), &[]));
    assert!(line.contains(&format!("{ANSWERED} 400 bad request (https:// instead of http://?)")), "{line}");
    // A TLS alert is no answer of HTTP.
    let server = Raw::always(Step::Send(b"\x15\x03\x01\x00\x02\x02\x46".to_vec()));
    let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
    assert!(line.contains("no HTTP") && line.ends_with("(https:// instead of http://?)"), "{line}");
}

// ---- economy ----

#[test]
fn plain_poll_starts_no_thread_and_reads_no_roots() {
    needs!("strace");
    let sandbox = Sandbox::new();
    let server = Raw::start(|seen: &Seen, _| vec![object(seen, "\"1\"", b"x")]);
    let mut command = sandbox.command(&["--remote", &server.url("/app.zip")]);
    let trace = sandbox.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&trace).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let ca = sandbox.write("unread.pem", "");
    strace.env("SSL_CERT_FILE", &ca).current_dir(sandbox.path(""));
    assert!(strace.output().unwrap().status.code().is_some());
    let calls = std::fs::read_to_string(trace).unwrap();
    assert!(calls.contains("connect("), "{calls}");
    assert!(!calls.contains("clone(") && !calls.contains("clone3("), "a thread was started: {calls}");
    assert!(!calls.contains("unread.pem"), "the roots were read for a plain URL");
    drop(command.output());
}
