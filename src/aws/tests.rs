//! Tests of the chain, each with its own environment, home directories and servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::config::Secret;

/// A temporary directory, used as home.
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("repo-deploy-aws-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).unwrap();
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only its owner can read.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// An environment with this home, and without a metadata service unless `variables` name one.
    pub(super) fn env(&self, variables: &[(&str, &str)]) -> Environment {
        let home = ("HOME", self.0.to_str().unwrap());
        Environment::given(&[&[home], variables].concat(), &self.path("passwd"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a directory left over takes space in /tmp, and fails no test
    }
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A request: its first line, its headers in lower case, its body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    head: String,
    body: String,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// A server that sends `answer` (status line, body) to the n-th request (from 0), until the test ends.
fn server(answer: impl Fn(&Seen, usize) -> (&'static str, String) + Send + 'static) -> (SocketAddr, Log) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let log = Log::default();
    let seen = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read(&stream);
            let number = seen.lock().unwrap().len();
            seen.lock().unwrap().push(request.clone());
            let (status, body) = answer(&request, number);
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(text.as_bytes()); // a client that has gone fails in its own test
        }
    });
    (address, log)
}

fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let (mut line, mut head, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        let name = name.to_ascii_lowercase();
        if name == "content-length" {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&format!("{name}: {}\n", value.trim()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Seen { line: line.trim().to_owned(), head, body: String::from_utf8(body).unwrap() }
}

fn chain(aws: &Aws, env: Environment) -> Chain {
    Chain { env, ..Chain::new(aws) }
}

/// Disables the metadata service.
const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");
const CANARY: &str = "hunter2";

fn in_seconds(seconds: u64) -> String {
    clock::rfc3339(clock::now() + seconds)
}

fn json(id: &str, expiration: &str) -> String {
    format!(
        "{{\"Code\": \"Success\", \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"{CANARY}\", \"Token\": \"t\", \
         \"Expiration\": \"{expiration}\", \"RoleArn\": \"arn:aws:iam::1:role/app\"}}"
    )
}

fn xml(id: &str, expiration: &str) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\n<Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{CANARY}</SecretAccessKey><SessionToken>a&amp;b</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
}

/// A metadata service whose instance has the role `app`.
fn metadata(expiration: String) -> (SocketAddr, Log) {
    server(move |seen, _| match seen.line.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["PUT", "/latest/api/token"] if seen.head.contains("token-ttl-seconds: 21600") => ("200 OK", "tok".to_owned()),
        ["GET", _] if !seen.head.contains("x-aws-ec2-metadata-token: tok") => ("401 Unauthorized", String::new()),
        ["GET", "/latest/meta-data/iam/security-credentials/"] => ("200 OK", "app\n".to_owned()),
        ["GET", "/latest/meta-data/iam/security-credentials/app"] => ("200 OK", json("IMDS", &expiration)),
        ["GET", "/latest/meta-data/placement/region"] => ("200 OK", "eu-north-1".to_owned()),
        _ => ("400 Bad Request", String::new()),
    })
}

#[track_caller]
fn refused(chain: &mut Chain, words: &str) -> Error {
    let error = chain.credentials(soon()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(words), "{words:?} should be in: {text}");
    assert!(!text.contains(CANARY) && !text.contains('\n'), "{text}");
    error
}

#[test]
fn the_first_link_that_has_one_is_used() {
    let place = Place::new();
    let (imds, _) = metadata(in_seconds(3600));
    let (sts, _) = server(|seen, _| match seen.body.contains("AssumeRoleWithWebIdentity") {
        true => ("200 OK", xml("WEB", &in_seconds(3600))),
        false => ("200 OK", xml("ROLE", &in_seconds(3600))),
    });
    let (agent, _) = server(|_, _| ("200 OK", json("CONTAINER", &in_seconds(3600))));
    let passwd = format!("deploy:x:1:1::{}:/bin/sh\n", place.path("deploy").display());
    place.write("passwd", &passwd);
    place.write("deploy/.amazon/account-key", "accessKey=DEPLOY\nsecretKey=s\n");
    place.write(".amazon/account-key", "accessKey=OWN\nsecretKey=s\n");
    place.write("token", "web-token\n");
    place.write(
        ".aws/credentials",
        "[asked]\naws_access_key_id=ASKED\naws_secret_access_key=s\n[default]\naws_access_key_id=DEFAULT\n\
         aws_secret_access_key=s\n[named]\naws_access_key_id=NAMED\naws_secret_access_key=s\n",
    );
    let own = |text: &str| Some(text.to_owned());
    let mut aws = Aws { access_key: own("KEY"), secret_key: Some(Secret::new("s")), ..Aws::default() };
    let (imds, sts, agent) = (format!("http://{imds}"), format!("http://{sts}"), format!("http://{agent}"));
    let token = place.path("token");
    let mut variables = vec![
        ("AWS_ACCESS_KEY_ID", "ENV"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:web"),
        ("AWS_ENDPOINT_URL_STS", &sts),
        ("AWS_PROFILE", "named"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds),
    ];
    let whose = |aws: &Aws, variables: &[(&str, &str)]| {
        let found = chain(aws, place.env(variables)).credentials(soon()).unwrap();
        found.map_or_else(|_| String::new(), |keys| format!("{} {}", keys.access_key, keys.whose))
    };
    assert_eq!(whose(&aws, &variables), "KEY aws-access-key");
    aws = Aws { profile: own("asked"), ..Aws::default() };
    assert!(whose(&aws, &variables).starts_with("ASKED profile asked in "));
    aws.profile = None;
    assert!(whose(&aws, &variables).ends_with("deploy/.amazon/account-key"));
    std::fs::remove_dir_all(place.path("deploy")).unwrap();
    assert!(whose(&aws, &variables).starts_with("OWN "));
    std::fs::remove_dir_all(place.path(".amazon")).unwrap();
    assert_eq!(whose(&aws, &variables), "ENV AWS_ACCESS_KEY_ID in the environment");
    variables.drain(..2);
    assert!(whose(&aws, &variables).starts_with("WEB role arn:web by the web identity token "));
    variables.drain(..1);
    assert!(whose(&aws, &variables).starts_with("NAMED profile named in "));
    variables.retain(|(name, _)| *name != "AWS_PROFILE");
    assert!(whose(&aws, &variables).starts_with("DEFAULT profile default in "));
    std::fs::remove_dir_all(place.path(".aws")).unwrap();
    assert_eq!(whose(&aws, &variables), "CONTAINER role arn:aws:iam::1:role/app of the container");
    variables.retain(|(name, _)| !name.contains("CONTAINER"));
    assert_eq!(whose(&aws, &variables), "IMDS role app of the instance (IMDSv2)");
    variables.push(OFF);
    assert_eq!(whose(&aws, &variables), "");
}

#[test]
fn half_a_pair_is_an_error_and_not_another_link() {
    let place = Place::new();
    let (id, secret) = (Some("AK".to_owned()), Some(Secret::new(CANARY)));
    for (aws, words) in [
        (Aws { access_key: id.clone(), ..Aws::default() }, "aws-access-key stands without aws-secret-key"),
        (Aws { secret_key: secret.clone(), ..Aws::default() }, "aws-secret-key stands without aws-access-key"),
        (Aws { session_token: secret, ..Aws::default() }, "aws-session-token stands without"),
        (Aws { access_key: id, secret_key: Some(Secret::new("a b")), ..Aws::default() }, "characters that no key has"),
    ] {
        assert_eq!(refused(&mut chain(&aws, place.env(&[OFF])), words).kind(), Kind::Config);
    }
    for (variables, words) in [
        (&[("AWS_ACCESS_KEY_ID", "AK")][..], "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"),
        (&[("AWS_SECRET_ACCESS_KEY", CANARY)], "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"),
        (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], "set without AWS_ROLE_ARN"),
        (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/missing"), ("AWS_ROLE_ARN", "r")], "/missing: no such file"),
        (&[("AWS_PROFILE", "wep")], "no profile \"wep\""),
    ] {
        refused(&mut chain(&Aws::default(), place.env(&[variables, &[OFF]].concat())), words);
    }
}

#[test]
fn a_profile_without_credentials_leaves_it_to_the_machine_and_never_to_the_environment() {
    let place = Place::new();
    let (imds, _) = metadata(in_seconds(3600));
    place.write(".aws/config", "[profile here]\nregion = eu-west-3\n");
    let imds = format!("http://{imds}");
    let variables = [
        ("AWS_ACCESS_KEY_ID", "ENV"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str()),
    ];
    let aws = Aws { profile: Some("here".to_owned()), ..Aws::default() };
    let mut chain = chain(&aws, place.env(&variables));
    assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "IMDS");
    assert_eq!(chain.region(soon()).unwrap().as_deref(), Some("eu-west-3"));
}

#[test]
fn files_that_others_may_write_are_refused_and_what_others_may_read_is_used() {
    let place = Place::new();
    let path = place.write(".aws/credentials", "[default]\naws_access_key_id=AK\naws_secret_access_key=hunter2\n");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let mut chain = chain(&Aws::default(), place.env(&[OFF]));
    mode(0o644);
    assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "AK");
    mode(0o666);
    refused(&mut chain, "others may write");
    mode(0o600);
    std::fs::write(&path, b"[default]\n\xff").unwrap();
    refused(&mut chain, "not UTF-8");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused(&mut chain, "it is a directory");
}

#[test]
fn a_changed_file_is_noticed_at_the_next_question() {
    let place = Place::new();
    let keys = |id: &str| format!("[default]\naws_access_key_id={id}\naws_secret_access_key=s\n");
    place.write(".aws/credentials", &keys("ONE"));
    let mut chain = chain(&Aws::default(), place.env(&[OFF]));
    assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "ONE");
    place.write(".aws/credentials", &keys("TWO"));
    assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "TWO");
    std::fs::remove_file(place.path(".aws/credentials")).unwrap();
    assert_eq!(chain.credentials(soon()).unwrap().ok(), None);
}

#[test]
fn temporary_credentials_are_kept_until_five_minutes_before_they_expire() {
    for (lifetime, kept) in [(3600, true), (310, true), (290, false)] {
        let place = Place::new();
        let (agent, log) = server(move |_, n| ("200 OK", json(&format!("C{n}"), &in_seconds(lifetime))));
        let uri = format!("http://{agent}/");
        let mut chain = chain(&Aws::default(), place.env(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]));
        let mut id = || chain.credentials(soon()).unwrap().unwrap().access_key;
        assert_eq!(id(), "C0");
        assert_eq!(id(), if kept { "C0" } else { "C1" }, "{lifetime}");
        assert_eq!(log.lock().unwrap().len(), if kept { 1 } else { 2 });
        chain.refused();
        let id = chain.credentials(soon()).unwrap().unwrap().access_key;
        assert_eq!(id, if kept { "C1" } else { "C2" });
    }
}

#[test]
fn a_refresh_that_fails_leaves_what_is_still_good() {
    let place = Place::new();
    let (agent, _) = server(|_, n| match n {
        0 => ("200 OK", json("OLD", &in_seconds(200))),
        _ => ("403 Forbidden", format!("{{\"code\": \"x\", \"message\": \"no more\\n{CANARY}\"}}")),
    });
    let uri = format!("http://{agent}/");
    let mut chain = chain(&Aws::default(), place.env(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]));
    for _ in 0..2 {
        assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "OLD");
    }
    chain.refused();
    refused(&mut chain, "from the container endpoint 127.0.0.1: it answered 403: no more; asked without a token");
}

#[test]
fn the_token_of_a_container_is_read_each_time() {
    let place = Place::new();
    let (agent, log) = server(|_, _| ("200 OK", json("C", &in_seconds(10))));
    let (uri, file) = (format!("http://{agent}/creds?id=1"), place.write("token", "one\n"));
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    let mut chain = chain(&Aws::default(), place.env(&variables));
    for token in ["one", "two"] {
        place.write("token", token);
        chain.credentials(soon()).unwrap().unwrap();
        let seen = log.lock().unwrap().last().cloned().unwrap();
        assert!(seen.line == "GET /creds?id=1 HTTP/1.1" && seen.head.contains(&format!("authorization: {token}\n")));
    }
    chain.refused();
    place.write("token", "evil\r\nx: y");
    refused(&mut chain, "characters that no header has");
    place.write("token", " \n");
    refused(&mut chain, "token: it is empty");
}

#[test]
fn a_container_that_redirects_does_not_get_our_token_elsewhere() {
    let place = Place::new();
    let (thief, stolen) = server(|_, _| ("200 OK", json("EVIL", &in_seconds(3600))));
    let location: &'static str = format!("302 Found\r\nLocation: http://{thief}/").leak();
    let (agent, _) = server(move |_, _| (location, String::new()));
    let uri = format!("http://{agent}/");
    let variables =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY)];
    refused(&mut chain(&Aws::default(), place.env(&variables)), "it answered 302");
    assert!(stolen.lock().unwrap().is_empty());
}

#[test]
fn an_expired_metadata_token_is_got_anew_once() {
    let place = Place::new();
    let (imds, log) = server(|seen, n| match (n, seen.line.as_str()) {
        (0 | 2, line) if line.starts_with("PUT ") => ("200 OK", format!("tok{n}")),
        (1, _) => ("401 Unauthorized", String::new()),
        (3, _) if seen.head.contains("metadata-token: tok2\n") => ("200 OK", "app".to_owned()),
        (4, _) if seen.head.contains("metadata-token: tok2\n") => ("200 OK", json("IMDS", &in_seconds(3600))),
        _ => ("401 Unauthorized", String::new()),
    });
    let endpoint = format!("http://{imds}");
    let env = place.env(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    let mut chain = chain(&Aws::default(), env);
    assert_eq!(chain.credentials(soon()).unwrap().unwrap().access_key, "IMDS");
    assert_eq!(log.lock().unwrap().len(), 5);
    chain.refused();
    refused(&mut chain, "from the instance metadata service: it answered 401 instead of a token");
}

#[test]
fn what_a_metadata_service_says_is_no_link_or_an_error() {
    let put = |seen: &Seen| seen.line.starts_with("PUT ");
    for (status, body, at, expected) in [
        ("403 Forbidden", "", "token", Ok(())),
        ("404 Not Found", "", "token", Ok(())),
        ("404 Not Found", "", "list", Ok(())),
        ("200 OK", "\n", "list", Ok(())),
        ("503 Slow", "", "token", Err("503 instead of a token")),
        ("500 Broken", "", "list", Err("500 instead of the name of a role")),
        ("404 Not Found", "", "role", Err("404 for role app")),
        ("200 OK", "{\"Code\": \"AssumeRoleUnauthorizedAccess\"}", "role", Err("for role app: AssumeRoleUnauth")),
        ("200 OK", "hunter2", "role", Err("no JSON")),
    ] {
        let place = Place::new();
        let (imds, _) = server(move |seen, _| {
            let here = if put(seen) {
                "token"
            } else if seen.line.contains("credentials/ ") {
                "list"
            } else {
                "role"
            };
            let good = if here == "token" { "secret" } else { "app" };
            if here == at { (status, body.to_owned()) } else { ("200 OK", good.to_owned()) }
        });
        let endpoint = format!("http://{imds}");
        let mut chain = chain(&Aws::default(), place.env(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]));
        match expected {
            Ok(()) => assert_eq!(chain.credentials(soon()).unwrap().ok(), None, "{status} {at}"),
            Err(words) => drop(refused(&mut chain, words)),
        }
    }
}

#[test]
fn a_dead_metadata_service_costs_two_seconds_once() {
    let place = Place::new();
    // Accepts connections, and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut chain = chain(&Aws::default(), place.env(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]));
    let start = Instant::now();
    assert_eq!(chain.credentials(soon()).unwrap().ok(), None);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(chain.region(soon()).unwrap(), None);
    assert_eq!(chain.credentials(soon()).unwrap().ok(), None);
    assert!(start.elapsed() - took < Duration::from_secs(1), "it is asked again");
}

#[test]
fn a_web_identity_is_sent_unsigned_and_read_each_time() {
    let place = Place::new();
    let (sts, log) = server(|_, n| ("200 OK", xml(&format!("W{n}"), &in_seconds(200))));
    let (endpoint, file) = (format!("http://{sts}"), place.path("token"));
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_ROLE_SESSION_NAME", "me"),
    ];
    let mut chain = chain(&Aws::default(), place.env(&variables));
    for (n, token) in ["a+b/c=", "second"].into_iter().enumerate() {
        place.write("token", &format!("{token}\n"));
        let found = chain.credentials(soon()).unwrap().unwrap();
        assert_eq!((found.access_key, found.token.unwrap().reveal()), (format!("W{n}"), "a&b"));
        let seen = log.lock().unwrap().last().cloned().unwrap();
        assert!(seen.line == "POST / HTTP/1.1" && !seen.head.contains("authorization"), "{seen:?}");
        let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let expected = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweb\
             &RoleSessionName=me&WebIdentityToken={token}"
        );
        assert_eq!(seen.body, expected);
    }
}

#[test]
fn a_role_is_assumed_as_its_source_and_signed() {
    let place = Place::new();
    let (sts, log) = server(|_, n| ("200 OK", xml(&format!("R{n}"), &in_seconds(3600))));
    let endpoint = format!("http://{sts}");
    place.write(
        ".aws/config",
        "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = hunter2\n[profile mid]\nrole_arn = MID\n\
         source_profile = base\nregion = eu-west-2\n[profile top]\nrole_arn = TOP\nsource_profile = mid\n\
         external_id = x y\nduration_seconds = 900\nrole_session_name = s\nregion = eu-south-1\n",
    );
    let aws = Aws { profile: Some("top".to_owned()), ..Aws::default() };
    let mut chain = chain(&aws, place.env(&[("AWS_ENDPOINT_URL_STS", &endpoint)]));
    let found = chain.credentials(soon()).unwrap().unwrap();
    assert_eq!(found.access_key, "R1");
    let place = place.path(".aws/config");
    let expected = format!(
        "role TOP of profile top, assumed as role MID of profile mid, assumed as profile base in {}",
        place.display()
    );
    assert_eq!(found.whose, expected);
    let seen = log.lock().unwrap().clone();
    assert_eq!(seen[0].body, "Action=AssumeRole&Version=2011-06-15&RoleArn=MID&RoleSessionName=repo-deploy");
    assert_eq!(
        seen[1].body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=TOP&RoleSessionName=s&ExternalId=x+y&DurationSeconds=900"
    );
    let day = in_seconds(0)[..10].replace('-', "");
    assert!(seen[0].head.contains(&format!("Credential=BASE/{day}/eu-south-1/sts/aws4_request")), "{}", seen[0].head);
    assert!(seen[1].head.contains("Credential=R0/") && seen[1].head.contains("x-amz-security-token: a&b\n"));
}

#[test]
fn a_refusal_of_sts_is_named_by_code_and_without_what_was_signed() {
    let place = Place::new();
    let refusal = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>It isn&apos;t the \
         &#x22;one&#34;.\n\nThe Canonical String was\nx-amz-security-token:{CANARY}</Message></Error></ErrorResponse>"
    );
    let (id, secret) = (("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", CANARY));
    place.write(".aws/config", "[profile r]\nrole_arn = R\ncredential_source = Environment\n");
    for (status, body, words) in [
        ("403 Forbidden", refusal, "127.0.0.1: it refused: 403 SignatureDoesNotMatch: It isn't the \"one\"."),
        ("400 Bad Request", CANARY.to_owned(), "it refused: 400"),
        ("302 Found", String::new(), "it refused: 302"),
        ("200 OK", CANARY.to_owned(), "has no Credentials"),
        ("200 OK", xml("", &in_seconds(3600)), "has no AccessKeyId"),
        ("200 OK", xml("<b>x</b>", &in_seconds(3600)), "has no AccessKeyId"),
        ("200 OK", xml("&bad;", &in_seconds(3600)), "has no AccessKeyId"),
        ("200 OK", xml("OK", "tomorrow"), "Expiration is no time"),
        ("200 OK", xml("OK", "2020-01-01T00:00:00Z"), "have expired at 2020-01-01T00:00:00Z; is the clock right?"),
        ("200 OK", "x".repeat((1 << 20) + 1), "larger than 1048576 bytes"),
    ] {
        let (sts, _) = server(move |_, _| (status, body.clone()));
        let endpoint = format!("http://{sts}");
        let aws = Aws { profile: Some("r".to_owned()), ..Aws::default() };
        refused(&mut chain(&aws, place.env(&[id, secret, ("AWS_ENDPOINT_URL_STS", &endpoint)])), words);
    }
}

#[test]
fn the_region_is_the_first_that_is_named() {
    let place = Place::new();
    place.write(
        ".aws/config",
        "[default]\nregion = r-default\n[profile p]\nregion = r-profile\n[profile bad]\nregion = A B\n",
    );
    let (imds, log) = metadata(in_seconds(3600));
    let imds = format!("http://{imds}");
    let imds = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str());
    let (region, default) = (("AWS_REGION", "r-env"), ("AWS_DEFAULT_REGION", "r-env-default"));
    let with = |region: Option<&str>, profile: Option<&str>| Aws {
        region: region.map(str::to_owned),
        profile: profile.map(str::to_owned),
        ..Aws::default()
    };
    for (aws, variables, expected) in [
        (with(Some("r-key"), None), &[region, default][..], "r-key"),
        (with(None, Some("p")), &[region, default], "r-env"),
        (with(None, Some("p")), &[default], "r-env-default"),
        (with(None, Some("p")), &[], "r-profile"),
        (with(None, None), &[("AWS_PROFILE", "p")], "r-profile"),
        (with(None, None), &[imds], "r-default"),
        (with(None, None), &[imds, ("AWS_CONFIG_FILE", "/missing")], "eu-north-1"),
    ] {
        let got = chain(&aws, place.env(variables)).region(soon()).unwrap();
        assert_eq!(got.as_deref(), Some(expected), "{aws:?} {variables:?}");
    }
    // With other credentials, the metadata service is not asked for a region.
    let before = log.lock().unwrap().len();
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s"), imds, ("AWS_CONFIG_FILE", "/missing")];
    assert_eq!(chain(&Aws::default(), place.env(&keys)).region(soon()).unwrap(), None);
    assert_eq!(log.lock().unwrap().len(), before);
    for aws in [with(Some("../x"), None), with(Some("evil.example/"), None), with(None, Some("bad"))] {
        let error = chain(&aws, place.env(&[])).region(soon()).unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("is no region"), "{error}");
    }
}

#[test]
fn no_secret_is_shown_by_debug() {
    let place = Place::new();
    place.write(
        ".aws/credentials",
        "[default]\naws_access_key_id=AK\naws_secret_access_key=hunter2\naws_session_token=hunter2\n",
    );
    let aws = Aws { session_token: Some(Secret::new(CANARY)), ..Aws::default() };
    let mut chain = chain(&Aws::default(), place.env(&[OFF, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY)]));
    let found = chain.credentials(soon()).unwrap();
    let shown = format!("{aws:?} {found:?} {chain:?} {:?}", SharedFiles::read(&chain.env).unwrap());
    assert!(shown.contains("AK") && !shown.contains(CANARY), "{shown}");
}
