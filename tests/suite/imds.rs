//! The instance metadata service, as nginx makes one: version 2 only, tokens that expire, no proxy, and what it costs where
//! nobody is.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use super::aws::{OFF, World, json, private};
use super::http::live;
use super::s3::front;
use crate::support::alone::is_alone;
use crate::support::moto::Keys;
use crate::support::needs::needs;
use crate::support::phrases::{ANSWERED, CREDENTIALS_OF, OF_THE_INSTANCE, WITHOUT_CREDENTIALS};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, Raw, closed_port, ok, raw, status, wait_for};

const ROLE: &str = "www/latest/meta-data/iam/security-credentials/app-role";

/// A metadata service of version 2 whose role is what stands in [`ROLE`]. Every token is another one, and one for which there
/// is a file in `expired` opens the list of roles only. `more` stands in its server block.
pub fn role_of_instance(sandbox: &Sandbox, more: &str) -> Nginx {
    let credentials = "/latest/meta-data/iam/security-credentials";
    sandbox.write(format!("www{credentials}/list"), "app-role\n");
    sandbox.write("www/latest/meta-data/placement/region", "us-east-1");
    let expired = sandbox.path("expired");
    std::fs::create_dir_all(&expired).unwrap();
    let has_token = "if ($http_x_aws_ec2_metadata_token !~ ^metadata-token-) { return 401; }";
    let is_good = format!("{has_token} if (-f {}/$http_x_aws_ec2_metadata_token) {{ return 401; }}", expired.display());
    let config = format!(
        "location = /latest/api/token {{\n\
           if ($request_method != PUT) {{ return 405; }}\n\
           if ($http_x_aws_ec2_metadata_token_ttl_seconds = '') {{ return 400; }}\n\
           if ($http_x_forwarded_for) {{ return 403; }}\n\
           return 200 metadata-token-$connection; }}\n\
         location = {credentials}/ {{ {has_token} rewrite ^ {credentials}/list break; }}\n\
         location /latest/meta-data/ {{ {is_good} }}\n{more}"
    );
    Nginx::start(sandbox, "", &config)
}

/// `METHOD path status` of what a service was asked, without questions for a region.
fn asked(sandbox: &Sandbox, requests: usize) -> Vec<String> {
    wait_for("the service's log", || {
        let log = sandbox.read("nginx/access.log");
        let lines = log.lines().filter(|line| line.contains(" HTTP/1.1|") && !line.contains("placement/region"));
        let lines: Vec<String> = lines
            .map(|line| line.replace("/latest/", "").replace(" HTTP/1.1|", " ").rsplit_once('|').unwrap().0.to_owned())
            .collect();
        (lines.len() >= requests).then_some(lines)
    })
}

const LIST: &str = "GET meta-data/iam/security-credentials/ 200";

fn role(status: u16) -> String {
    format!("GET meta-data/iam/security-credentials/app-role {status}")
}

#[test]
fn the_token_expires_between_two_questions_then_another_one_is_got_and_it_deploys() {
    needs!("nginx");
    let Some(world) = World::new() else { return };
    let (keys, session) = world.moto.assumed();
    for everything_expires in [false, true] {
        let sandbox = Sandbox::new();
        let service = role_of_instance(&sandbox, "location = /connection { return 200 $connection; }");
        private(&sandbox, ROLE, json(&keys, &session, "Token"));
        // Connections are counted, and we make one for each request.
        let now: u32 = get(&service.url("/connection")).parse().unwrap();
        for token in now + 1..=now + if everything_expires { 100 } else { 1 } {
            sandbox.write(format!("expired/metadata-token-{token}"), "");
        }
        let endpoint = service.url("");
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        let config = "aws-region = us-east-1";
        let mut expected = vec!["PUT api/token 200".to_owned(), LIST.to_owned(), role(401)];
        if everything_expires {
            let words = [&*format!("from the instance metadata service: {ANSWERED} 401 for role app-role")];
            let run = world.fails(&sandbox, config, &env, 1, &words);
            run.never_says("metadata-token");
            expected.extend(["PUT api/token 200".to_owned(), role(401)]);
        } else {
            let (whose, secrets) = (&*format!("role app-role {OF_THE_INSTANCE}"), [keys.secret.as_str(), &session]);
            world.deploys(&sandbox, config, &env, whose, &secrets).never_says("metadata-token");
            expected.extend(["PUT api/token 200".to_owned(), role(200)]);
        }
        assert_eq!(asked(&sandbox, 6)[1..], expected);
    }
}

/// The body of a GET by another hand.
fn get(url: &str) -> String {
    let output = Command::new("curl").args(["-sSf", "--noproxy", "*", url]).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A proxy through which moto is to be had, as Amazon's S3, and nothing else.
fn proxy(world: &World) -> Raw {
    front(world.moto.port(), |seen, _, answer| {
        if seen.target().starts_with("http://private.s3.us-east-1.amazonaws.com/") { answer } else { Vec::new() }
    })
}

/// A check with that proxy in all variables that there are.
fn check_with_proxy(sandbox: &Sandbox, proxy: &Raw, env: &[(&str, &str)]) -> Run {
    private(sandbox, "repo-deploy.cfg", "s3-endpoint = http://s3.us-east-1.amazonaws.com\n");
    let mut command = sandbox.command(&["-v", "--remote", "s3://private/app.zip"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, proxy.url(""));
    }
    command.envs(env.iter().copied()).output().unwrap().into()
}

/// Gives this machine an address. Only for a network of our own.
fn add(address: &str) {
    let address = format!("{address}/32");
    assert!(Command::new("busybox").args(["ip", "addr", "add", &address, "dev", "lo"]).status().unwrap().success());
}

#[test]
fn the_service_at_its_own_address_is_asked_straight_though_there_is_a_proxy() {
    needs!("nginx");
    if !is_alone("imds::the_service_at_its_own_address_is_asked_straight_though_there_is_a_proxy") {
        return;
    }
    let Some(world) = World::new() else { return };
    let proxy = proxy(&world);
    let run = check_with_proxy(&Sandbox::new(), &proxy, &[]).expect(1); // nobody has that address yet
    run.says("no instance metadata service answers at 169.254.169.254");
    let before = proxy.seen().len();

    add("169.254.169.254");
    let sandbox = Sandbox::new();
    let (keys, session) = world.moto.assumed();
    private(&sandbox, ROLE, json(&keys, &session, "Token"));
    let _service = role_of_instance(&sandbox, "listen 169.254.169.254:80;");
    let run = check_with_proxy(&sandbox, &proxy, &[]).expect(0);
    let run = run.says(&format!("{CREDENTIALS_OF} role app-role {OF_THE_INSTANCE}"));
    run.says("PUT http://169.254.169.254/latest/api/token from 169.254.169.254");
    assert_eq!(live(&sandbox), "through S3");
    let seen = proxy.seen();
    assert_eq!(seen.len(), before + 1, "only the object goes through it: {seen:?}");
    assert!(seen.iter().all(|seen| !seen.line.contains("169.254")), "{seen:?}");
}

#[test]
fn a_containers_agent_at_its_own_address_is_asked_straight_though_there_is_a_proxy() {
    needs!("nginx");
    if !is_alone("imds::a_containers_agent_at_its_own_address_is_asked_straight_though_there_is_a_proxy") {
        return;
    }
    let Some(world) = World::new() else { return };
    let proxy = proxy(&world);
    for (address, name, value) in [
        ("169.254.170.2", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials?id=1"),
        ("169.254.170.23", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v2/credentials"),
    ] {
        add(address);
        let sandbox = Sandbox::new();
        let (keys, session) = world.moto.assumed();
        sandbox.write("www/v2/credentials", json(&keys, &session, "Token"));
        let _agent = Nginx::start(&sandbox, "", &format!("listen {address}:80;"));
        let before = proxy.seen().len();
        check_with_proxy(&sandbox, &proxy, &[(name, value)])
            .expect(0)
            .says(&format!("{CREDENTIALS_OF} the role of the container"));
        assert_eq!(live(&sandbox), "through S3");
        assert_eq!(proxy.seen().len(), before + 1, "only the object goes through it");
    }
}

#[test]
fn version_1_is_never_used_though_it_would_answer() {
    let Some(world) = World::new() else { return };
    let keys = world.moto.keys.clone();
    for refusal in ["403 Forbidden", "404 Not Found", "405 Method Not Allowed"] {
        let body = json(&keys, "t", "Token");
        let service = Raw::start(move |seen, _| match seen.line.as_str() {
            line if line.starts_with("PUT ") => vec![status(refusal, "")],
            line if line.contains("credentials/ ") => vec![ok("", b"app-role")],
            _ => vec![ok("", body.as_bytes())],
        });
        let endpoint = service.url("");
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        let words = [WITHOUT_CREDENTIALS, "metadata service at 127.0.0.1 gives no token: 4"];
        world.fails(&Sandbox::new(), "", &env, 1, &words);
        let seen = service.seen();
        assert!(!seen.is_empty() && seen.iter().all(|s| s.line == "PUT /latest/api/token HTTP/1.1"), "{seen:?}");
        assert!(seen.iter().all(|s| s.header("x-aws-ec2-metadata-token-ttl-seconds") == Some("21600")));
    }
}

#[test]
fn it_is_turned_off_then_it_is_not_asked_and_the_refusal_says_so() {
    let Some(world) = World::new() else { return };
    let service = Raw::always(status("403 Forbidden", ""));
    let endpoint = service.url("");
    for value in ["true", "TRUE"] {
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), (OFF.0, value)];
        let words = ["403", WITHOUT_CREDENTIALS, "AWS_EC2_METADATA_DISABLED keeps the instance from being asked"];
        world.fails(&Sandbox::new(), "", &env, 1, &words);
    }
    assert_eq!(service.seen().len(), 0);
}

#[test]
fn nobody_answers_then_it_costs_two_seconds_and_the_refusal_says_that_nobody_did() {
    let Some(world) = World::new() else { return };
    // It takes connections, and never says a word, as when answers may make no hop into a container.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for (endpoint, least) in [(silent, 2), (format!("http://127.0.0.1:{}", closed_port()), 0)] {
        let start = Instant::now();
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        let words = ["403", WITHOUT_CREDENTIALS, "no instance metadata service answers at 127.0.0.1", "hop limit of 2"];
        world.fails(&Sandbox::new(), "", &env, 1, &words);
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(least) && took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn nobody_answers_then_a_public_object_is_deployed_without_a_word() {
    let sandbox = Sandbox::new();
    let body = std::fs::read(sandbox.zip("made.zip", &[("file", "public")])).unwrap();
    let server = Raw::always(ok("ETag: \"1\"", &body));
    private(&sandbox, "repo-deploy.cfg", format!("s3-endpoint = {}\n", server.url("")));
    let mut command = sandbox.command(&["--remote", "s3://private/app.zip"]);
    let endpoint = format!("http://127.0.0.1:{}", closed_port());
    let run = Run::from(command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint).output().unwrap()).expect(0);
    assert_eq!(run.complaints(), Vec::<&str>::new());
    assert_eq!((live(&sandbox).as_str(), server.seen()[0].header("authorization")), ("public", None));
}

#[test]
fn the_instance_says_no_then_it_is_one_clear_line() {
    let Some(world) = World::new() else { return };
    for (token, list, document, words) in [
        ("200 OK", "", "", "the instance has no role"),
        ("503 Slow", "", "", &*format!("from the instance metadata service: {ANSWERED} 503 instead of a token")),
        ("200 OK", "app", "canary/json", "from the instance metadata service: it is no JSON"),
        (
            "200 OK",
            "app",
            "{\"Code\": \"AssumeRoleUnauthorizedAccess\"}",
            "it has no credentials for role app: AssumeRoleUnauthorizedAccess",
        ),
    ] {
        let service = Raw::start(move |seen, _| match seen.line.as_str() {
            line if line.starts_with("PUT ") => {
                vec![raw(&format!("{token}\nContent-Length: 14"), b"metadata-token")]
            }
            line if line.contains("credentials/ ") => vec![ok("", list.as_bytes())],
            _ => vec![ok("", document.as_bytes())],
        });
        let endpoint = service.url("");
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        world.fails(&Sandbox::new(), "", &env, 1, &[words]).never_says("canary/json");
    }
}

#[test]
fn the_service_has_a_bad_moment_then_each_question_is_asked_once_more() {
    let Some(world) = World::new() else { return };
    let (keys, session) = world.moto.assumed();
    for code in ["500 Broken", "503 Slow"] {
        let (keys, session) = (keys.clone(), session.clone());
        // Every question is answered with trouble first.
        let service = Raw::start(move |seen, n| match seen.line.as_str() {
            _ if n % 2 == 0 => vec![status(code, "")],
            line if line.starts_with("PUT ") => vec![ok("", b"metadata-token")],
            line if line.contains("credentials/ ") => vec![ok("", b"app")],
            _ => vec![ok("", json(&keys, &session, "Token").as_bytes())],
        });
        let endpoint = service.url("");
        let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        let start = Instant::now();
        let whose = &*format!("role app {OF_THE_INSTANCE}");
        world.deploys(&Sandbox::new(), "aws-region = us-east-1", &env, whose, &["metadata-token"]);
        assert_eq!(service.seen().len(), 6);
        eprintln!("three questions, each asked twice: {:?} with the deployment", start.elapsed());
    }
}

#[test]
fn a_role_is_assumed_as_the_instance() {
    needs!("nginx");
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let (keys, session): (Keys, String) = world.moto.assumed();
    private(&sandbox, ROLE, json(&keys, &session, "Token"));
    let service = role_of_instance(&sandbox, "");
    let role = &world.moto.role;
    let text = format!("[profile app]\nrole_arn = {role}\ncredential_source = Ec2InstanceMetadata\n");
    sandbox.write("home/.aws/config", text);
    let endpoint = service.url("");
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
    let whose = format!("role {role} of profile app, assumed as role app-role {OF_THE_INSTANCE}");
    world.deploys(&sandbox, "aws-profile = app", &env, &whose, &[&keys.secret, &session]);
}
