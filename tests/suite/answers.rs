//! What servers really send: labels that change no byte, interim answers, 203, more header lines than most parsers have room
//! for, and folded ones. All ordinary clients read these alike, and so does this one; what they read differently is refused.

use std::path::Path;
use std::process::Command;

use super::aws::{OFF, json, private};
use super::http::{archive, downloads, large, live, refused};
use super::s3::{configure, keys};
use crate::support::moto::{Keys, Moto};
use crate::support::needs::needs;
use crate::support::phrases::{DEPLOYED, UNCHANGED, deployed_revision};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, Raw, Seen, Step, cut, object, ok, raw, status};

/// A tar.gz with one file that says `text`, as tar makes it.
fn tar_gz(sandbox: &Sandbox, text: &str) -> Vec<u8> {
    sandbox.write("packed/file", text);
    let packed = sandbox.path("packed.tar.gz");
    let made = Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(sandbox.path("packed")).arg("file").status();
    assert!(made.unwrap().success());
    std::fs::read(packed).unwrap()
}

/// What gzip makes of a file.
fn gzip(path: &Path) -> Vec<u8> {
    Command::new("gzip").arg("-c").arg(path).output().unwrap().stdout
}

/// One check of the object at `server`, by HTTP or as S3's.
fn check(sandbox: &Sandbox, server: &Raw, kind: &str, name: &str) -> Run {
    match kind {
        "s3" => {
            configure(sandbox, &server.url(""), Some(&keys()), "");
            sandbox.command(&["--remote", &format!("s3://bucket/{name}")]).env(OFF.0, OFF.1).output().unwrap().into()
        }
        _ => sandbox.deploy(&server.url(&format!("/{name}")), &[]),
    }
}

// ---- Content-Encoding ----

#[test]
fn a_label_changes_no_byte_then_the_bytes_are_deployed_as_they_come() {
    let aside = Sandbox::new();
    let zip = archive(&aside, "one");
    let tar = tar_gz(&aside, "one");
    for kind in ["http", "s3"] {
        for (labels, name, body) in [
            ("Content-Encoding:", "app.zip", &zip),
            ("Content-Encoding: aws-chunked", "app.zip", &zip),
            ("Content-Encoding: aws-chunked,identity", "app.zip", &zip),
            ("Content-Encoding: identity\nContent-Encoding:", "app.zip", &zip),
            ("Content-Encoding: gzip", "app.tar.gz", &tar),
            ("Content-Encoding: x-gzip", "app.tgz", &tar),
            ("Content-Encoding: aws-chunked, gzip", "app.tar.gz", &tar),
        ] {
            let (sandbox, body) = (Sandbox::new(), body.clone());
            // The first answer breaks off: what continues it is labelled too.
            let server = Raw::start(move |seen, n| {
                let Step::Send(bytes) = object(seen, "\"1\"", &body) else { panic!() };
                let (line, rest) = bytes.split_at(bytes.windows(2).position(|w| w == b"\r\n").unwrap() + 2);
                let labels: String = labels.lines().map(|line| format!("{line}\r\n")).collect();
                let answer = Step::Send([line, labels.as_bytes(), rest].concat());
                vec![if n == 0 { cut(answer, 20) } else { answer }]
            });
            check(&sandbox, &server, kind, name).expect(0).says(&deployed_revision("etag:\"1\""));
            assert_eq!(live(&sandbox), "one", "{kind} {labels}");
            check(&sandbox, &server, kind, name).expect(0).never_says(DEPLOYED);
            assert_eq!(server.seen().last().unwrap().header("If-None-Match"), Some("\"1\""));
        }
    }
}

#[test]
fn a_body_is_coded_on_the_way_then_it_is_refused() {
    let aside = Sandbox::new();
    let zip = archive(&aside, "one");
    let packed = gzip(&aside.path("made.zip"));
    tar_gz(&aside, "one");
    let twice = gzip(&aside.path("packed.tar.gz"));
    for kind in ["http", "s3"] {
        for (label, body, words) in [
            ("gzip", &packed, "Content-Encoding gzip, and is no tar.gz, though only the plain content was asked for"),
            ("gzip", &twice, "Content-Encoding gzip, and is no tar.gz"),
            ("x-gzip", &zip, "Content-Encoding gzip, and is no tar.gz"),
            ("gzip, gzip", &twice, "Content-Encoding gzip, more than once"),
            ("aws-chunked, br", &zip, "Content-Encoding br, though"),
            ("compress", &zip, "Content-Encoding compress, though"),
        ] {
            let sandbox = Sandbox::new();
            let server = Raw::always(ok(&format!("ETag: \"1\"\nContent-Encoding: {label}"), body));
            let line = refused(&sandbox, check(&sandbox, &server, kind, "app.zip"));
            assert!(line.contains(words) && line.contains(": turn that off at the server"), "{line}");
            assert_eq!(downloads(&sandbox), Vec::<String>::new());
        }
    }
    // A list of sums is no tar.gz.
    let sandbox = Sandbox::new();
    let server = Raw::always(ok("Content-Encoding: gzip", &packed));
    sandbox.write("repo-deploy.cfg", format!("sha256-url = {}\n", server.url("/sums")));
    let nowhere = Raw::always(ok("ETag: \"1\"", &zip));
    assert!(refused(&sandbox, sandbox.deploy(&nowhere.url("/app.zip"), &[])).contains("Content-Encoding gzip, though"));
}

#[test]
fn nginx_labels_a_tar_gz_that_lies_on_its_disk_then_it_is_deployed() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "location ~ [.]tgz$ { add_header Content-Encoding x-gzip; }");
    sandbox.write("www/app.tgz", tar_gz(&sandbox, "one"));
    sandbox.deploy(&nginx.url("/app.tgz"), &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
    // A plan that looks at its end alone takes it as a check does.
    sandbox.write("www/app.tgz", tar_gz(&sandbox, "number two"));
    sandbox.plan(&nginx.url("/app.tgz"), &[]).expect(10);
}

#[test]
fn an_object_of_moto_is_labelled_gzip_then_its_tar_gz_is_deployed_and_a_zip_is_not() {
    let aside = Sandbox::new();
    let Some(moto) = Moto::start(&aside) else { return };
    tar_gz(&aside, "one");
    aside.zip("made.zip", &[("file", "one")]);
    // What uploads in chunks says so, and S3 takes that away again.
    let put = "s3 = client('s3')\n\
               for key, name in zip('ab', sys.argv[4:]):\n    \
               s3.put_object(Bucket='private', Key=key, Body=open(name, 'rb'), ContentEncoding='aws-chunked,gzip')\n    \
               print(s3.head_object(Bucket='private', Key=key)['ContentEncoding'])";
    let [tar, zip] = ["packed.tar.gz", "made.zip"].map(|name| aside.path(name));
    assert_eq!(moto.boto(put, &[tar.to_str().unwrap(), zip.to_str().unwrap()]), "gzip\ngzip\n");
    let sandbox = Sandbox::new();
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    sandbox.deploy("s3://private/a", &[]).expect(0);
    assert_eq!(live(&sandbox), "one");
    sandbox.deploy("s3://private/b", &[]).expect(1).says("Content-Encoding gzip, and is no tar.gz");
    assert_eq!(live(&sandbox), "one");
}

// ---- heads ----

/// Interim answers as servers and what stands before them send them: some with headers, which are hints for browsers.
const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nServer: x\r\n\r\n\
                       HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nETag: \"hint\"\r\nContent-Length: 5\r\n\r\n\
                       HTTP/1.1 100 Continue\r\nX: y\r\n\r\n";

/// An answer after interim ones: in one piece with it, or in its own.
fn after_interim(answer: Step, n: usize) -> Vec<Step> {
    let Step::Send(bytes) = answer else { panic!() };
    match n % 2 {
        0 => vec![Step::Send([INTERIM.as_bytes(), &bytes].concat())],
        _ => vec![Step::Send(INTERIM.into()), Step::Send(bytes)],
    }
}

#[test]
fn interim_answers_come_before_each_answer_of_a_download_then_they_are_passed_over() {
    for kind in ["http", "s3"] {
        let (sandbox, aside) = (Sandbox::new(), Sandbox::new());
        let body = large(&aside, 7);
        let server = Raw::start(move |seen, n| {
            let answer = match n {
                0 if kind == "http" => status("302 Found", "Location: /there.zip"),
                0 => object(seen, "\"1\"", &body),
                1 => cut(object(seen, "\"1\"", &body), 300_000),
                _ => object(seen, "\"1\"", &body),
            };
            after_interim(answer, n)
        });
        check(&sandbox, &server, kind, "app.zip").expect(0).says(&deployed_revision("etag:\"1\""));
        if kind == "http" {
            assert!(server.seen()[2].header("Range").is_some(), "it goes on where it broke");
        }
        let before = server.seen().len();
        check(&sandbox, &server, kind, "app.zip").expect(0).never_says(DEPLOYED);
        assert!(server.seen()[before..].iter().any(|seen| seen.header("If-None-Match") == Some("\"1\"")));
    }
}

/// S3, STS, the metadata service of an instance and a place for notices, in one.
fn amazon(seen: &Seen, body: &[u8]) -> Step {
    let id = Keys { id: "ASIAROLE".to_owned(), secret: "s".to_owned() };
    match (seen.line.split(' ').next().unwrap(), seen.target()) {
        ("PUT", "/latest/api/token") => ok("", b"metadata-token"),
        (_, "/latest/meta-data/iam/security-credentials/") => ok("", b"app"),
        (_, "/latest/meta-data/iam/security-credentials/app") => ok("", json(&id, "t", "Token").as_bytes()),
        ("POST", "/notice") => status("204 No Content", ""),
        ("POST", "/gateway/sts") => ok(
            "",
            b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
              <SessionToken>t</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
              </AssumeRoleResponse>",
        ),
        _ => object(seen, "\"1\"", body),
    }
}

/// One check as a role that an instance's role assumes, with everything that is asked on the way at `server`.
fn check_as_instance(sandbox: &Sandbox, server: &Raw) -> Run {
    let (url, text) = (server.url(""), "[profile r]\nrole_arn = R\ncredential_source = Ec2InstanceMetadata\n");
    private(sandbox, "home/.aws/config", text);
    let config = format!("s3-endpoint = {url}\naws-profile = r\naws-region = us-east-1\nnotify-url = {url}/notice\n");
    private(sandbox, "repo-deploy.cfg", config);
    let mut command = sandbox.command(&["--remote", "s3://bucket/app.zip"]);
    command
        .env("AWS_ENDPOINT_URL_STS", format!("{url}/gateway/sts"))
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)
        .output()
        .unwrap()
        .into()
}

#[test]
fn interim_answers_come_before_those_of_each_service_then_they_are_passed_over() {
    for turn in 0..2 {
        let sandbox = Sandbox::new();
        let body = archive(&sandbox, "one");
        let server = Raw::start(move |seen, _| after_interim(amazon(seen, &body), turn));
        let run = check_as_instance(&sandbox, &server).expect(0);
        assert_eq!(run.complaints(), Vec::<&str>::new(), "{}", run.log);
        assert_eq!(live(&sandbox), "one");
        let mut methods: Vec<_> =
            server.seen().iter().map(|seen| seen.line.split(' ').next().unwrap().to_owned()).collect();
        methods.sort_unstable();
        methods.dedup();
        assert_eq!(methods, ["GET", "POST", "PUT"]);
    }
}

#[test]
fn interim_answers_without_an_end_or_an_answer_are_an_error() {
    let sandbox = Sandbox::new();
    for (answer, words) in [
        (vec![Step::Send(INTERIM.into())], "closed the connection too early"),
        (vec![Step::Send(INTERIM.repeat(1000).into()), Step::Stall], "the time for one check is over"),
        (vec![Step::Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into())], "101 switching protocols"),
        (
            vec![Step::Send(format!("HTTP/1.1 103 Hints\r\nLink: {}\r\n\r\n", "x".repeat(40_000)).into())],
            "larger than 32768 bytes",
        ),
    ] {
        // Only the one that stalls is to run out of time: a loaded machine takes a second for any of them.
        let stalls = answer.iter().any(|step| matches!(step, Step::Stall));
        sandbox.write("repo-deploy.cfg", if stalls { "timeout = 1\n" } else { "" });
        let server = Raw::start(move |_, _| answer.clone());
        let line = refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
        assert!(line.contains(words), "{words}: {line}");
    }
}

/// A head with more lines than most parsers take, the ones that matter last.
fn of_many_lines(answer: &Step) -> Step {
    let Step::Send(bytes) = answer else { panic!() };
    let (line, rest) = bytes.split_at(bytes.windows(2).position(|w| w == b"\r\n").unwrap() + 2);
    let lines: String = (0..300).map(|n| format!("X-Line-{n}: {n}\r\nSet-Cookie: a={n}\r\n")).collect();
    Step::Send([line, lines.as_bytes(), rest].concat())
}

#[test]
fn heads_of_many_lines_are_read_by_every_kind_of_request() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let server = Raw::start(move |seen, _| vec![of_many_lines(&amazon(seen, &body))]);
    for words in [&*deployed_revision("etag:\"1\""), ""] {
        let run = check_as_instance(&sandbox, &server).expect(0).says(words);
        assert_eq!(run.complaints(), Vec::<&str>::new(), "{}", run.log);
    }
    assert_eq!(live(&sandbox), "one");
    assert_eq!(server.seen().iter().filter(|seen| seen.header("If-None-Match").is_some()).count(), 1);
}

#[test]
fn folded_lines_are_one_line_each() {
    let sandbox = Sandbox::new();
    let body = archive(&sandbox, "one");
    let server = Raw::start(move |seen, _| {
        let folded = "ETag:\r\n \"a\r\n\tb\"\r\nX: y\r\n  \r\nContent-Length:\r\n\t \t";
        let answer = match seen.header("If-None-Match") {
            Some("\"a b\"") => b"HTTP/1.1 304 Not Modified\r\nETag:\r\n \"a b\"\r\n\r\n".to_vec(),
            _ => [format!("HTTP/1.1 200 OK\r\n{folded}{}\r\n\r\n", body.len()).as_bytes(), &body].concat(),
        };
        vec![Step::Send(answer)]
    });
    sandbox.deploy(&server.url("/app.zip"), &[]).expect(0).says(&deployed_revision("etag:\"a b\""));
    assert_eq!(live(&sandbox), "one");
    sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(0).says(UNCHANGED);
    // There is nothing above it, or what it makes is no header.
    for head in ["200 OK\r\n ETag: \"a\"", "200 OK\r\nContent-Length: 1\r\n 0", "200 OK\r\nETag\r\n : \"a\""] {
        let sandbox = Sandbox::new();
        let server = Raw::always(Step::Send(format!("HTTP/1.1 {head}\r\n\r\n").into()));
        refused(&sandbox, sandbox.deploy(&server.url("/app.zip"), &[]));
    }
}

#[test]
fn an_answer_of_203_is_one_of_200_and_no_other_success_is() {
    for kind in ["http", "s3"] {
        let sandbox = Sandbox::new();
        let answer = raw(
            &format!(
                "203 Non-Authoritative Information\nETag: \"1\"\nContent-Length: {}",
                archive(&sandbox, "one").len()
            ),
            &archive(&sandbox, "one"),
        );
        check(&sandbox, &Raw::always(answer), kind, "app.zip").expect(0).says(&deployed_revision("etag:\"1\""));
        assert_eq!(live(&sandbox), "one");
        for code in ["201 Created", "202 Accepted", "204 No Content"] {
            let sandbox = Sandbox::new();
            let line = refused(&sandbox, check(&sandbox, &Raw::always(status(code, "")), kind, "app.zip"));
            assert!(line.contains(&code[..3]), "{line}");
        }
    }
}
