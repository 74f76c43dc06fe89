//! A ZIP in S3: against moto, which checks signatures as Amazon does, against s3s-fs, which is strict in its own way and
//! knows few conditions, and against a server that says what neither of them says.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::http::{downloads, large, live, refused};
use super::memory::peak;
use crate::support::clock::Clock;
use crate::support::moto::{Keys, Moto};
use crate::support::needs::{leave_out, needs};
use crate::support::phrases::{
    ANSWERED, ASKED_AS, CANNOT_POLL, CANNOT_USE, DEPLOYED, RESUMED, TAKES, WITHOUT_CREDENTIALS,
};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Authority, Nginx, Raw, Seen, Step, closed_port, cut, object, ok, raw, status, wait_for};

const CANARY: &str = "canary/Secret+Key0123456789";

pub fn keys() -> Keys {
    Keys { id: "AKIACANARY".to_owned(), secret: CANARY.to_owned() }
}

/// Writes the configuration for `endpoint`, with a mode that nobody complains about.
pub fn configure(sandbox: &Sandbox, endpoint: &str, keys: Option<&Keys>, more: &str) {
    let keys = keys.map_or_else(String::new, |k| format!("aws-access-key = {}\naws-secret-key = {}\n", k.id, k.secret));
    let endpoint = if endpoint.is_empty() { String::new() } else { format!("s3-endpoint = {endpoint}\n") };
    let path = sandbox.write("repo-deploy.cfg", format!("{keys}{endpoint}{more}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Fails when a secret stands in what was said or in any file below the sandbox but the configuration.
#[track_caller]
fn no_secret(sandbox: &Sandbox, run: &Run, secret: &str) {
    assert!(!run.log.contains(secret) && !run.out.contains(secret), "{secret} is said:\n{}", run.log);
    let grep =
        Command::new("grep").args(["-rlF", "--exclude=repo-deploy.cfg", "-e", secret]).arg(sandbox.path("")).output();
    assert_eq!(String::from_utf8_lossy(&grep.unwrap().stdout), "", "{secret} is on disk");
}

/// A hook that writes down what it sees of us.
fn spy(sandbox: &Sandbox) {
    let seen = sandbox.path("seen");
    let body = format!("{{ env; tr '\\0' '\\n' </proc/$PPID/cmdline; }} >>{}", seen.display());
    sandbox.hook("post.d", "spy", &body);
}

/// A server in front of another: what `change` makes of the n-th answer.
pub fn front(port: u16, change: impl Fn(&Seen, usize, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Raw {
    Raw::start(move |seen, n| {
        let headers: String = seen.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // A proxy is asked for a whole URL, a server for a path.
        let line = match seen.target().strip_prefix("http://").and_then(|url| url.split_once('/')) {
            Some((_, path)) => format!("GET /{path} HTTP/1.1"),
            None => seen.line.clone(),
        };
        stream.write_all(format!("{line}\r\n{headers}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        vec![Step::Send(change(seen, n, answer))]
    })
}

/// `answer` with only the first `keep` bytes of its body.
pub fn broken(answer: Vec<u8>, keep: usize) -> Vec<u8> {
    let Step::Send(bytes) = cut(Step::Send(answer), keep) else { panic!() };
    bytes
}

/// `answer` with one bit of its body turned.
fn turned(mut answer: Vec<u8>) -> Vec<u8> {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    answer[head + 1000] ^= 1;
    answer
}

pub fn error(head: &str, code: &str, inside: &str) -> Step {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code>{inside}</Error>");
    raw(&format!("{head}\nContent-Type: application/xml\nContent-Length: {}", body.len()), body.as_bytes())
}

/// s3s-fs: every directory in `<sandbox>/s3s` is a bucket, and every file in it an object.
pub struct Strict {
    child: Child,
    port: u16,
}

impl Strict {
    pub fn start(sandbox: &Sandbox) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts/s3s/bin/s3s-fs");
        if !program.exists() {
            leave_out("s3s-fs is missing: run tests/parts.sh");
            return None;
        }
        std::fs::create_dir_all(sandbox.path("s3s/private")).unwrap();
        loop {
            let port = closed_port();
            let keys = keys();
            let mut child = Command::new(&program)
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", &keys.id, "--secret-key", &keys.secret])
                .arg(sandbox.path("s3s"))
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let up = wait_for("s3s-fs", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
            });
            if up {
                return Some(Self { child, port });
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn put(moto: &Moto, sandbox: &Sandbox, key: &str, text: &str) -> PathBuf {
    let zip = sandbox.zip("made.zip", &[("file", text)]);
    moto.put("private", key, &zip);
    zip
}

// ---- moto ----

#[test]
fn private_object_is_deployed_over_tls_and_nothing_new_is_one_request_without_a_body() {
    needs!("nginx", "openssl");
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    put(&moto, &sandbox, "path/to/app.zip", "one");
    let authority = Authority::new(&sandbox);
    let certificate = authority.certificate("IP:127.0.0.1", &[]);
    let pass = format!("location / {{ proxy_pass {}; proxy_set_header Host $http_host; }}", moto.url());
    let nginx = Nginx::start(&sandbox, "ssl", &format!("{certificate}\n{pass}"));
    let more = format!("ca-file = {}", authority.ca().display());
    configure(&sandbox, &nginx.https("127.0.0.1", ""), Some(&moto.keys), &more);
    spy(&sandbox);

    let run = sandbox.deploy("s3://private/path/to/app.zip", &["-v", "-v"]).expect(0);
    assert_eq!(live(&sandbox), "one");
    assert_eq!(run.complaints(), Vec::<&str>::new());
    assert!(sandbox.read("seen").contains("REPO_DEPLOY_REMOTE=s3://private/path/to/app.zip"));
    no_secret(&sandbox, &run, &moto.keys.secret);
    no_secret(&sandbox, &run, "Signature=");
    assert!(nginx.log(1)[0].starts_with("GET /private/path/to/app.zip HTTP/1.1|200|"));

    sandbox.deploy("s3://private/path/to/app.zip", &[]).expect(0);
    assert_eq!(nginx.log(2)[1..], ["GET /private/path/to/app.zip HTTP/1.1|304|0"]);

    put(&moto, &sandbox, "path/to/app.zip", "number two");
    sandbox.deploy("s3://private/path/to/app.zip", &[]).expect(0).says("revision etag:\"");
    assert_eq!((live(&sandbox), nginx.log(3).len()), ("number two".to_owned(), 3));
}

const KEYS: [&str; 7] = [
    "plain.zip",
    "with blanks and + and %20.zip",
    "\u{fc}ml\u{e4}ut/\u{1f600}.zip",
    "query?x=1&y=2#part.zip",
    "(signs)!$'*,;:@=[]\"<>^`{|}~.zip",
    "a//b.zip",
    "..a/.b/...zip",
];

#[test]
fn keys_of_any_characters_are_signed_and_found() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let zip = sandbox.zip("made.zip", &[("file", "found")]);
    let script = "for key in sys.argv[5:]:\n    client('s3').upload_file(sys.argv[4], 'private', key)";
    moto.boto(script, &[&[zip.to_str().unwrap()][..], &KEYS].concat());
    for key in KEYS {
        let target = Sandbox::new();
        configure(&target, &moto.url(), Some(&moto.keys), "");
        target.deploy(&format!("s3://private/{key}"), &[]).expect(0);
        assert_eq!(live(&target), "found", "{key}");
    }
}

#[test]
fn refusals_say_who_asked_and_what_is_missing() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    put(&moto, &sandbox, "app.zip", "one");
    let wrong = Keys { secret: CANARY.to_owned(), ..moto.keys.clone() };
    let strange = keys();
    let asked = |keys: &Keys| format!("{ASKED_AS} {}", keys.id);
    for (keys, remote, words) in [
        (
            &wrong,
            "s3://private/app.zip",
            vec!["403", "SignatureDoesNotMatch", "secret key is not that of the", &asked(&wrong)],
        ),
        (
            &strange,
            "s3://private/app.zip",
            vec!["403", "InvalidAccessKeyId", "access key is not known", &asked(&strange)],
        ),
        (&moto.poor, "s3://private/app.zip", vec!["403", "AccessDenied", "without s3:ListBucket", &asked(&moto.poor)]),
        (&moto.keys, "s3://private/none.zip", vec!["404", "NoSuchKey", "bucket private has nothing under this key"]),
        (
            &moto.keys,
            "s3://none-such/app.zip",
            vec!["404", "NoSuchBucket", "there is no bucket none-such at http://127"],
        ),
    ] {
        let target = Sandbox::new();
        configure(&target, &moto.url(), Some(keys), "");
        let run = target.deploy(remote, &["-v", "-v"]);
        no_secret(&target, &run, &keys.secret);
        let line = refused(&target, run);
        for word in words.into_iter().chain([remote]) {
            assert!(line.contains(word), "{word:?} should be in: {line}");
        }
        assert_eq!(downloads(&target), Vec::<String>::new());
    }
}

#[test]
fn versioned_bucket_gives_version_ids_and_a_pinned_one_stays() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    let put = |text| moto.put("versioned", "app.zip", &sandbox.zip("made.zip", &[("file", text)]));
    let first = put("one");
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    sandbox.deploy("s3://versioned/app.zip", &[]).expect(0).says(&format!("revision version:{first} "));
    let second = put("number two");
    sandbox.deploy("s3://versioned/app.zip", &[]).expect(0).says(&format!("revision version:{second} "));
    assert_eq!(live(&sandbox), "number two");
    let pinned = format!("s3://versioned/app.zip?versionId={first}");
    for expected in [DEPLOYED, ""] {
        sandbox.deploy(&pinned, &[]).expect(0).says(expected);
        assert_eq!(live(&sandbox), "one");
    }
    moto.boto("client('s3').delete_object(Bucket='versioned', Key='app.zip')", &[]);
    sandbox.deploy("s3://versioned/app.zip", &[]).expect(1).says("NoSuchKey");
    sandbox.deploy(&pinned, &[]).expect(0).never_says(DEPLOYED);
    let gone = Sandbox::new();
    configure(&gone, &moto.url(), Some(&moto.keys), "");
    let line = refused(&gone, gone.deploy("s3://versioned/app.zip?versionId=no.such_one", &[]));
    assert!(line.contains("s3://versioned/app.zip?versionId=no.such_one"), "{line}");
}

/// Writes a ZIP of one stored member of `size` bytes of zero, whose CRC-32 is `crc`: a file of holes.
fn zip_of_zeros(path: &Path, size: u32, crc: u32) {
    let common = |signature: &[u8], made_by: &[u8]| {
        let fields = [[10, 0, 0, 0, 0, 0], [0, 0, 0x21, 0x58, 0, 0]].concat(); // version 1.0, stored, a day in 2024
        let sizes = [crc.to_le_bytes(), size.to_le_bytes(), size.to_le_bytes(), [4, 0, 0, 0]].concat();
        [signature, made_by, &fields[..10], &sizes].concat()
    };
    let mut file = std::fs::File::create(path).unwrap();
    let head = [common(b"PK\x03\x04", &[]), b"file".to_vec()].concat();
    file.write_all(&head).unwrap();
    let end = head.len() as u64 + u64::from(size);
    file.set_len(end).unwrap();
    file.seek(SeekFrom::Start(end)).unwrap();
    let rest = [0, 0, 0, 0, 0, 0, 0, 0, 0xa4, 0x81].to_vec(); // no comment, disk 0, a file of mode 644
    let entry = [common(b"PK\x01\x02", &[20, 3]), rest, vec![0; 4], b"file".to_vec()].concat();
    let (length, at) = (u32::try_from(entry.len()).unwrap(), u32::try_from(end).unwrap());
    let counts = [b"PK\x05\x06".as_slice(), &[0; 4], &[1, 0, 1, 0]].concat();
    file.write_all(&[entry, counts, length.to_le_bytes().to_vec(), at.to_le_bytes().to_vec(), vec![0; 2]].concat())
        .unwrap();
}

#[test]
fn a_gibibyte_is_deployed_at_16_mib_of_memory() {
    needs!(time, "time");
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    zip_of_zeros(&sandbox.path("s3s/private/large.zip"), 1 << 30, 0x5b64_c2b0);
    configure(&sandbox, &strict.url(), Some(&keys()), "");
    let (run, kib) = peak(&sandbox, &sandbox.command(&["--remote", "s3://private/large.zip"]));
    run.expect(0);
    assert_eq!(std::fs::metadata(sandbox.local().join("file")).unwrap().len(), 1 << 30);
    assert!(kib <= 16 * 1024, "{kib} KiB");
    assert!(kib > 500, "{kib} KiB: that was another program");
}

#[test]
fn large_object_in_parts_is_deployed_at_flat_memory() {
    needs!("time");
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    // 64 MiB that do not compress, in one member.
    let make = "import os, zipfile\n\
                with zipfile.ZipFile(sys.argv[4], 'w') as z:\n    z.writestr('file', os.urandom(64 << 20))\n\
                client('s3').upload_file(sys.argv[4], 'private', 'large.zip')";
    moto.boto(make, &[sandbox.path("large.zip").to_str().unwrap()]);
    configure(&sandbox, &moto.url(), Some(&moto.keys), "");
    let deploy = sandbox.command(&["--remote", "s3://private/large.zip"]);
    let (run, kib) = peak(&sandbox, &deploy);
    run.expect(0).says("-9\" as release"); // an ETag of parts of 8 MiB
    assert!(kib <= 16 * 1024, "{kib} KiB");
    assert_eq!(std::fs::metadata(sandbox.local().join("file")).unwrap().len(), 64 << 20);
}

#[test]
fn public_object_needs_no_keys_and_is_asked_for_without_a_signature() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    put(&moto, &sandbox, "public.zip", "public");
    put(&moto, &sandbox, "app.zip", "private");
    moto.boto("client('s3').put_object_acl(Bucket='private', Key='public.zip', ACL='public-read')", &[]);
    // Where it checks signatures moto stumbles over a request without one; who may read what it knows all the same.
    moto.check_signatures_after(1000);
    let server = front(moto.port(), |_, _, answer| answer);
    configure(&sandbox, &server.url(""), None, "");
    sandbox.deploy("s3://private/public.zip", &[]).expect(0);
    sandbox.deploy("s3://private/public.zip", &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(live(&sandbox), "public");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|s| s.header("authorization").is_none() && s.header("x-amz-date").is_none()));
    let run = sandbox.deploy("s3://private/app.zip", &[]).expect(1);
    run.says("403").says(&format!("{WITHOUT_CREDENTIALS}, since none were found"));
}

#[test]
fn object_is_not_public_then_it_is_said_that_no_credentials_were_found() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    sandbox.zip("s3s/private/app.zip", &[("file", "one")]);
    configure(&sandbox, &strict.url(), None, "");
    let line = refused(&sandbox, sandbox.deploy("s3://private/app.zip", &[]));
    assert!(line.contains("403") && line.contains(&format!("{WITHOUT_CREDENTIALS}, since none were found")), "{line}");
}

#[test]
fn virtual_host_is_signed_and_asked_for_through_a_proxy() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    put(&moto, &sandbox, "a b+c.zip", "one");
    moto.boto("client('s3').create_bucket(Bucket='with.dots')", &[]);
    moto.put("with.dots", "app.zip", &sandbox.path("made.zip"));
    // A proxy is asked for names that this machine need not know.
    let proxy = front(moto.port(), |_, _, answer| answer);
    for (more, remote, host, target) in [
        ("", "s3://private/a b+c.zip", "private.s3.eu-west-1.amazonaws.com", "/a%20b%2Bc.zip"),
        ("s3-path-style = yes", "s3://private/a b+c.zip", "s3.eu-west-1.amazonaws.com", "/private/a%20b%2Bc.zip"),
        ("", "s3://with.dots/app.zip", "s3.eu-west-1.amazonaws.com", "/with.dots/app.zip"),
    ] {
        let client = Sandbox::new();
        let more = format!("aws-region = eu-west-1\n{more}");
        configure(&client, "http://s3.eu-west-1.amazonaws.com:80", Some(&moto.keys), &more);
        let mut command = client.command(&["--remote", remote]);
        Run::from(command.env("http_proxy", proxy.url("")).output().unwrap()).expect(0);
        assert_eq!(live(&client), "one");
        let seen = proxy.seen().pop().unwrap();
        assert_eq!(seen.header("host"), Some(host));
        assert_eq!(seen.target(), format!("http://{host}{target}"));
        assert!(seen.header("authorization").unwrap().contains("/eu-west-1/s3/aws4_request"));
    }
}

#[test]
fn amazons_hosts_follow_the_region_and_its_partition() {
    let proxy = Raw::always(status("403 Forbidden", ""));
    for (region, variables, host) in [
        ("", &[][..], "b.s3.us-east-1.amazonaws.com"),
        ("us-gov-west-1", &[], "b.s3.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", &[], "b.s3.cn-north-1.amazonaws.com.cn"),
        ("eu-west-1", &[("AWS_USE_DUALSTACK_ENDPOINT", "true")], "b.s3.dualstack.eu-west-1.amazonaws.com"),
        ("eu-west-1", &[("AWS_ENDPOINT_URL", "https://all.example")], "b.all.example"),
        (
            "eu-west-1",
            &[("AWS_ENDPOINT_URL", "https://all.example"), ("AWS_ENDPOINT_URL_S3", "https://s3.example:443")],
            "b.s3.example",
        ),
    ] {
        let sandbox = Sandbox::new();
        let region = if region.is_empty() { String::new() } else { format!("aws-region = {region}") };
        configure(&sandbox, "", Some(&keys()), &region);
        let mut command = sandbox.command(&["--remote", "s3://b/app.zip"]);
        command.env("https_proxy", proxy.url("")).envs(variables.iter().copied());
        let run = Run::from(command.output().unwrap()).expect(1);
        no_secret(&sandbox, &run, CANARY);
        assert_eq!(proxy.seen().pop().unwrap().line, format!("CONNECT {host}:443 HTTP/1.1"));
    }
}

// ---- broken downloads ----

#[test]
fn connection_breaks_then_the_download_goes_on_and_the_whole_is_checked() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    large(&sandbox, 1);
    moto.put("private", "app.zip", &sandbox.path("made.zip"));
    let server = front(moto.port(), |_, n, answer| if n < 2 { broken(answer, 100_000) } else { answer });
    configure(&sandbox, &server.url(""), Some(&moto.keys), "");
    sandbox.deploy("s3://private/app.zip", &["-v"]).expect(0).says("its CRC-32 is").says("as it should be");
    let seen = server.seen();
    let ranges: Vec<_> = seen.iter().map(|s| s.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-"), Some("bytes=200000-")]);
    assert!(seen[1].header("authorization").unwrap().contains("if-match;range;"), "the conditions are signed");
    assert_eq!(live(&sandbox).len(), 800_000);
}

#[test]
fn object_is_replaced_while_it_is_fetched_then_the_new_one_is_deployed() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    large(&sandbox, 2);
    moto.put("private", "app.zip", &sandbox.path("made.zip"));
    let other = Sandbox::new();
    let new = other.zip("new.zip", &[("file", "new")]);
    let moto = Arc::new(moto);
    let server = front(moto.port(), {
        let moto = moto.clone();
        move |_, n, answer| {
            if n > 0 {
                return answer;
            }
            moto.put("private", "app.zip", &new);
            broken(answer, 100_000)
        }
    });
    configure(&sandbox, &server.url(""), Some(&moto.keys), "");
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    assert_eq!(live(&sandbox), "new");
    let ranges: Vec<_> = server.seen().iter().map(|s| s.header("range").is_some()).collect();
    assert_eq!(ranges, [false, true, false], "offered, replaced (412), polled again");
}

#[test]
fn bytes_that_were_damaged_on_the_way_are_not_deployed_and_fetched_anew() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    large(&sandbox, 3);
    moto.put("private", "app.zip", &sandbox.path("made.zip"));
    let server = front(moto.port(), |_, n, answer| if n == 0 { turned(answer) } else { answer });
    configure(&sandbox, &server.url(""), Some(&moto.keys), "");
    let line = refused(&sandbox, sandbox.deploy("s3://private/app.zip", &[]));
    assert!(line.contains("what came is not what was stored: its CRC-32 is "), "{line}");
    assert_eq!(downloads(&sandbox), Vec::<String>::new(), "it is not gone on with");
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    assert_eq!(live(&sandbox).len(), 800_000);
}

#[test]
fn part_of_an_earlier_run_is_gone_on_with_and_checked_from_its_start() {
    for damaged in [false, true] {
        let sandbox = Sandbox::new();
        let body = {
            let body = large(&sandbox, 4);
            std::fs::remove_file(sandbox.path("made.zip")).unwrap();
            body
        };
        let etag = format!("\"{:x}\"", md5::compute(&body));
        // The first run gets a part and then nothing; the runs after it get what they ask for.
        let server = Raw::start(move |seen, n| {
            vec![match n {
                0 => cut(object(seen, &etag, &body), 100_000),
                1..=3 => error("503 Slow Down\nRetry-After: 0", "SlowDown", ""),
                _ => object(seen, &etag, &body),
            }]
        });
        configure(&sandbox, &server.url(""), Some(&keys()), "");
        sandbox.deploy("s3://private/app.zip", &[]).expect(1).says("503");
        let names = downloads(&sandbox);
        assert_eq!(names.len(), 2, "the part and its note stay: {names:?}");
        if damaged {
            let path = sandbox.path("cache/default").join(names.iter().find(|n| !n.ends_with(".meta")).unwrap());
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[1000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        let run = sandbox.deploy("s3://private/app.zip", &[]);
        if damaged {
            run.expect(1).says(RESUMED).says("what came is not what was stored: its MD5 is ");
            assert_eq!(downloads(&sandbox), Vec::<String>::new());
            sandbox.deploy("s3://private/app.zip", &[]).expect(0).never_says(RESUMED);
        } else {
            run.expect(0).says(RESUMED);
        }
        assert_eq!(live(&sandbox).len(), 800_000);
    }
}

#[test]
fn slow_down_is_waited_out() {
    let sandbox = Sandbox::new();
    let Some(moto) = Moto::start(&sandbox) else { return };
    put(&moto, &sandbox, "app.zip", "one");
    let Step::Send(slow) = error("503 Slow Down\nRetry-After: 0", "SlowDown", "") else { panic!() };
    let server = front(moto.port(), move |_, n, answer| if n == 0 { slow.clone() } else { answer });
    configure(&sandbox, &server.url(""), Some(&moto.keys), "");
    sandbox.deploy("s3://private/app.zip", &[]).expect(0).says("503 service unavailable; trying again");
    assert_eq!((live(&sandbox), server.seen().len()), ("one".to_owned(), 2));
}

// ---- s3s-fs ----

#[test]
fn server_without_conditions_is_compared_and_only_news_are_read() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    let server = front(strict.port, |_, _, answer| answer);
    configure(&sandbox, &server.url(""), Some(&keys()), "");
    spy(&sandbox);
    sandbox.zip("s3s/private/app.zip", &[("file", "one")]);
    let run = sandbox.deploy("s3://private/app.zip", &["-v", "-v"]).expect(0);
    assert_eq!(live(&sandbox), "one");
    no_secret(&sandbox, &run, CANARY);
    let run = sandbox.deploy("s3://private/app.zip", &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(run.complaints(), Vec::<&str>::new());
    assert!(server.seen()[1].header("if-none-match").is_some());
    sandbox.zip("s3s/private/app.zip", &[("file", "number two")]);
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    assert_eq!((live(&sandbox), server.seen().len()), ("number two".to_owned(), 3));
}

#[test]
fn strict_server_finds_keys_of_any_characters_and_refuses_a_wrong_secret() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    for key in KEYS.iter().filter(|key| !key.contains("//")) {
        sandbox.zip(format!("s3s/private/{key}").as_str(), &[("file", "found")]);
        let target = Sandbox::new();
        configure(&target, &strict.url(), Some(&keys()), "");
        target.deploy(&format!("s3://private/{key}"), &[]).expect(0);
        assert_eq!(live(&target), "found", "{key}");
    }
    let wrong = Keys { secret: "wrong".to_owned(), ..keys() };
    for (keys, remote, word) in
        [(&wrong, "s3://private/plain.zip", "SignatureDoesNotMatch"), (&keys(), "s3://private/none.zip", "NoSuchKey")]
    {
        let target = Sandbox::new();
        configure(&target, &strict.url(), Some(keys), "");
        let line = refused(&target, target.deploy(remote, &[]));
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn strict_server_ignores_if_match_and_the_object_is_replaced_then_the_new_one_is_deployed() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    std::fs::write(sandbox.path("s3s/private/app.zip"), large(&sandbox, 5)).unwrap();
    let (old, new) = (sandbox.path("s3s/private/app.zip"), sandbox.path("new.zip"));
    std::fs::write(&new, large(&sandbox, 6)).unwrap();
    let server = front(strict.port, move |_, n, answer| {
        if n > 0 {
            return answer;
        }
        std::fs::rename(&new, &old).unwrap();
        broken(answer, 100_000)
    });
    configure(&sandbox, &server.url(""), Some(&keys()), "");
    let expected = sandbox.path("made.zip"); // of the new one
    let run = sandbox.deploy("s3://private/app.zip", &["-v"]).expect(0);
    let etag = format!("{:x}", md5::compute(std::fs::read(expected).unwrap()));
    run.says(&format!("revision etag:\"{etag}\" as release")).says(&format!("its MD5 is {etag}"));
    let ranges: Vec<_> = server.seen().iter().map(|s| s.header("range").is_some()).collect();
    assert_eq!(ranges, [false, true, false], "offered, the rest of another one, polled again");
}

#[test]
fn connection_to_the_strict_server_breaks_then_the_download_goes_on() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    std::fs::write(sandbox.path("s3s/private/app.zip"), large(&sandbox, 7)).unwrap();
    let server = front(strict.port, |_, n, answer| if n == 0 { broken(answer, 100_000) } else { answer });
    configure(&sandbox, &server.url(""), Some(&keys()), "");
    sandbox.deploy("s3://private/app.zip", &["-v"]).expect(0).says("as it should be");
    assert_eq!(server.seen()[1].header("range"), Some("bytes=100000-"));
    assert_eq!((live(&sandbox).len(), server.seen().len()), (800_000, 2));
}

#[test]
fn the_clock_is_wrong_then_both_times_are_named_and_it_is_right_again_then_it_deploys() {
    let sandbox = Sandbox::new();
    let Some(strict) = Strict::start(&sandbox) else { return };
    let Some(clock) = Clock::new(&sandbox) else { return };
    sandbox.zip("s3s/private/app.zip", &[("file", "one")]);
    configure(&sandbox, &strict.url(), Some(&keys()), "");
    let check = || Run::from(clock.around(&sandbox.command(&["--remote", "s3://private/app.zip"])).output().unwrap());
    let year = |seconds: &str| {
        let date = Command::new("date").args(["-u", "+%Y", "-d", seconds]).output().unwrap();
        String::from_utf8(date.stdout).unwrap().trim().to_owned()
    };
    for (days, there) in [(-1000, "-1000 days"), (1000, "1000 days")] {
        clock.moves(days * 86_400);
        let line = refused(&sandbox, check());
        let ours = format!(
            "RequestTimeTooSkewed: request time is too far from server time); this host's clock says {}-",
            year(there)
        );
        assert!(line.contains(&ours), "{line}");
        let (_, theirs) = line.split_once(", and the server's ").unwrap();
        assert!(theirs.contains(&format!(" {} ", year("now"))) && theirs.ends_with(": set it right"), "{line}");
    }
    clock.moves(60);
    check().expect(0);
    assert_eq!(live(&sandbox), "one");
}

// ---- what a server may say ----

/// The region a request is signed for.
pub fn signed_for(seen: &Seen) -> String {
    seen.header("authorization").unwrap().split('/').nth(2).unwrap().to_owned()
}

#[test]
fn bucket_is_in_another_region_then_it_is_asked_there_once_and_from_then_on_at_once() {
    const MALFORMED: &str = "<Region>eu-west-1</Region>";
    let elsewhere = Raw::always(status("200 OK", ""));
    for kind in 0..5 {
        let sandbox = Sandbox::new();
        let body = std::fs::read(sandbox.zip("made.zip", &[("file", "one")])).unwrap();
        let away = elsewhere.url("/app.zip");
        let server = Raw::start(move |seen, _| {
            if signed_for(seen) == "eu-west-1" {
                return vec![object(seen, "\"1\"", &body)];
            }
            vec![match kind {
                0 => error("301 Moved Permanently\nx-amz-bucket-region: eu-west-1", "PermanentRedirect", ""),
                1 => error("400 Bad Request", "AuthorizationHeaderMalformed", MALFORMED),
                2 => status("307 Temporary Redirect", &format!("Location: {away}\nx-amz-bucket-region: eu-west-1")),
                3 => status("403 Forbidden", "x-amz-bucket-region: eu-west-1"),
                _ => status("400 Bad Request", "x-amz-bucket-region: eu-west-1"),
            }]
        });
        configure(&sandbox, &server.url(""), Some(&keys()), "");
        sandbox.deploy("s3://private/app.zip", &[]).expect(0);
        sandbox.deploy("s3://private/app.zip", &[]).expect(0).never_says(DEPLOYED);
        let regions: Vec<_> = server.seen().iter().map(signed_for).collect();
        assert_eq!(regions, ["us-east-1", "eu-west-1", "eu-west-1"], "kind {kind}");
        assert!(server.seen()[2].header("if-none-match").is_some());
        assert_eq!(live(&sandbox), "one");
    }
    assert_eq!(elsewhere.seen().len(), 0, "no other host is asked");
}

#[test]
fn redirect_that_names_no_region_or_never_ends_is_an_error() {
    let elsewhere = Raw::always(status("200 OK", ""));
    let location = format!("Location: {}", elsewhere.url("/"));
    for (headers, requests) in [
        (location.clone(), 1),
        (format!("{location}\nx-amz-bucket-region: evil.example/"), 1),
        (format!("{location}\nx-amz-bucket-region: eu-west-1"), 2),
        (String::new(), 1),
    ] {
        let server = Raw::always(status("301 Moved Permanently", &headers));
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url(""), Some(&keys()), "");
        let line = refused(&sandbox, sandbox.deploy("s3://private/app.zip", &[]));
        assert!(
            line.contains(&format!("{ANSWERED} 301 moved permanently; S3 is not followed to other hosts: set aws-reg")),
            "{line}"
        );
        assert_eq!(server.seen().len(), requests, "{headers}");
    }
    assert_eq!(elsewhere.seen().len(), 0);
}

#[test]
fn wrong_clock_is_named_with_both_times() {
    let times = "<Message>The difference is too large.</Message><RequestTime>20261122T080000Z</RequestTime>\
                 <ServerTime>2026-11-22T09:00:00Z</ServerTime>";
    let server = Raw::always(error("403 Forbidden", "RequestTimeTooSkewed", times));
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url(""), Some(&keys()), "");
    let line = refused(&sandbox, sandbox.deploy("s3://private/app.zip", &[]));
    let words = "this host's clock says 20261122T080000Z, and the server's 2026-11-22T09:00:00Z: set it right";
    assert!(line.contains(words), "{line}");
}

#[test]
fn credentials_have_expired_then_they_are_asked_for_once_more_and_an_echo_of_the_token_is_not_repeated() {
    let body = std::fs::read(Sandbox::new().zip("made.zip", &[("file", "one")])).unwrap();
    for (lasts, code) in [(1, 0), (9, 1)] {
        let body = body.clone();
        let server = Raw::start(move |seen, n| {
            let token = seen.header("x-amz-security-token").unwrap();
            let echo = format!("<Message>The token {token} has expired</Message>");
            vec![if n < lasts { error("400 Bad Request", "ExpiredToken", &echo) } else { object(seen, "\"1\"", &body) }]
        });
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url(""), Some(&keys()), "aws-session-token = canary-token");
        let run = sandbox.deploy("s3://private/app.zip", &["-v", "-v"]).expect(code);
        no_secret(&sandbox, &run, "canary-token");
        no_secret(&sandbox, &run, CANARY);
        assert_eq!(server.seen().len(), 2);
        if code == 1 {
            run.says(&format!("(ExpiredToken); {ASKED_AS} AKIACANARY"));
        }
    }
}

#[test]
fn each_checksum_is_checked_and_what_says_nothing_about_the_bytes_is_not() {
    let body = std::fs::read(Sandbox::new().zip("made.zip", &[("file", "one")])).unwrap();
    let wrong = "AAAAAAAAAAA=";
    for (headers, code) in [
        (format!("x-amz-checksum-crc64nvme: {wrong}"), 1),
        ("x-amz-checksum-crc32c: AAAAAA==".to_owned(), 1),
        ("x-amz-checksum-sha256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(), 1),
        (format!("ETag: \"{:032x}\"", 0), 1),
        (format!("ETag: \"{:032x}-2\"", 0), 0),
        (format!("ETag: \"{:032x}\"\nx-amz-server-side-encryption: aws:kms", 0), 0),
        ("x-amz-checksum-crc32c: AAAAAA==-2\nx-amz-checksum-type: COMPOSITE".to_owned(), 0),
        ("x-amz-checksum-sha256: AAAAAA==".to_owned(), 1),
        ("x-amz-checksum-sha1: AAAAAA==\nx-amz-checksum-type: FULL_OBJECT".to_owned(), 1),
        ("x-amz-checksum-crc32: ????".to_owned(), 1),
        (format!("ETag: \"{:x}\"", md5::compute(&body)), 0),
    ] {
        let answer = ok(&headers, &body);
        let server = Raw::always(answer);
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url(""), Some(&keys()), "");
        let run = sandbox.deploy("s3://private/app.zip", &[]).expect(code);
        if code == 1 {
            let broken = &format!("{CANNOT_POLL} s3://private/app.zip: its answer is broken: x-amz-checksum-");
            assert!(run.log.contains("what came is not what was stored") || run.log.contains(broken), "{}", run.log);
            assert_eq!(run.log.lines().count(), 1, "{}", run.log);
        }
        let asked = &server.seen()[0];
        assert_eq!(asked.header("x-amz-checksum-mode"), Some("ENABLED"));
        assert!(asked.header("authorization").unwrap().contains(";x-amz-checksum-mode;"), "it is signed");
    }
}

#[test]
fn operators_headers_are_signed_too() {
    let body = std::fs::read(Sandbox::new().zip("made.zip", &[("file", "one")])).unwrap();
    let server = Raw::start(move |seen, _| vec![object(seen, "\"1\"", &body)]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url(""), Some(&keys()), "http-header = x-amz-request-payer: requester");
    sandbox.deploy("s3://private/app.zip", &[]).expect(0);
    let seen = server.seen();
    let payer: Vec<_> = seen[0].headers.iter().filter(|(name, _)| name == "x-amz-request-payer").collect();
    assert_eq!(payer.len(), 1);
    assert!(seen[0].header("authorization").unwrap().contains(";x-amz-request-payer,"));
}

#[test]
fn what_cannot_be_is_a_configuration_error() {
    for (more, env, words) in [
        ("s3-path-style = no", None, &*format!("{CANNOT_USE} s3-path-style = no for the bucket private: ")),
        ("http-header = Authorization: x", None, &*format!("{CANNOT_USE} http-header Authorization with s3://")),
        (
            "",
            Some(("AWS_ENDPOINT_URL_S3", "https://u:hunter2@h")),
            &*format!("{CANNOT_USE} AWS_ENDPOINT_URL_S3: {TAKES} http"),
        ),
    ] {
        let sandbox = Sandbox::new();
        let endpoint = if env.is_some() { "" } else { "http://127.0.0.1:9" };
        configure(&sandbox, endpoint, Some(&keys()), more);
        let mut command = sandbox.command(&["--remote", "s3://private/app.zip"]);
        let run = Run::from(command.envs(env).output().unwrap()).expect(78);
        run.says(words).never_says("hunter2");
    }
}
