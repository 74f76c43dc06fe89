//! No kind of credentials is written anywhere: not into the log at its loudest, not by what fails, not into state, store or
//! cache, not into the arguments or the environment of hooks. Whoever is asked says as much as he can that he should not.

use std::path::Path;
use std::process::Command;

use super::aws::{OFF, private};
use super::http::live;
use super::s3::error;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Raw, Seen, Step, object, ok, raw};

/// Stands in every secret here.
const CANARY: &str = "CanaryOfSecrets";

/// How S3, or who gives credentials, answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Good,
    /// 403, and all that was said is said again.
    Forbids,
    /// `ExpiredToken`, whatever comes.
    Expires,
    /// S3 is good; who gives credentials repeats what he was told, and refuses.
    Denies,
    /// The same with what is no answer at all.
    Babbles,
}

/// All that a request said, what is secret first.
fn echo(seen: &Seen) -> String {
    let is_secret = |name: &str| name.contains("token") || name.contains("authorization");
    let (mut text, mut rest) = (String::new(), seen.line.clone());
    for (name, value) in &seen.headers {
        let text = if is_secret(name) { &mut text } else { &mut rest };
        text.push_str(&format!("{value} "));
    }
    let form: Vec<_> = seen.body.rsplit('&').map(|field| field.replace("%2F", "/")).collect();
    format!("{} {text} {rest}", form.join(" "))
}

fn s3(mood: Mood, body: Vec<u8>) -> Raw {
    Raw::start(move |seen, _| {
        let message =
            format!("<Message>{}</Message><StringToSign>{CANARY}Stored {}</StringToSign>", token_of(seen), echo(seen));
        vec![match mood {
            Mood::Forbids => error("403 Forbidden", "AccessDenied", &message),
            Mood::Expires => error("400 Bad Request", "ExpiredToken", &message),
            _ => object(seen, "\"1\"", &body),
        }]
    })
}

fn token_of(seen: &Seen) -> String {
    seen.header("x-amz-security-token").unwrap_or("nothing").to_owned()
}

fn keys() -> String {
    format!(
        "\"AccessKeyId\": \"AKIDGIVEN\", \"SecretAccessKey\": \"{CANARY}Key\", \"Token\": \"{CANARY}Session\", \
         \"SessionToken\": \"{CANARY}Session\", \"Expiration\": \"2036-01-01T00:00:00Z\""
    )
}

/// STS, a container's agent and an instance in one.
fn machine(mood: Mood) -> Raw {
    Raw::start(move |seen, _| {
        let is_last = !seen.line.starts_with("PUT ") && !seen.line.contains("credentials/ ");
        let text = match seen.line.as_str() {
            _ if mood == Mood::Babbles && is_last => echo(seen),
            line if line.starts_with("POST ") && mood == Mood::Denies => {
                format!(
                    "<ErrorResponse><Error><Code>Denied</Code><Message>{}</Message></Error></ErrorResponse>",
                    echo(seen)
                )
            }
            line if line.starts_with("POST ") => format!(
                "<Credentials><AccessKeyId>AKIDGIVEN</AccessKeyId><SecretAccessKey>{CANARY}Key</SecretAccessKey>\
                 <SessionToken>{CANARY}Session</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>"
            ),
            line if line.starts_with("PUT ") => format!("{CANARY}Metadata"),
            line if line.contains("credentials/ ") => "app".to_owned(),
            line if line.contains("placement") => "eu-west-1".to_owned(),
            _ if mood == Mood::Denies => {
                format!("{{\"code\": \"no\", \"message\": \"{}\"}}", echo(seen).replace('"', ""))
            }
            _ => format!("{{\"Code\": \"Success\", {}}}", keys()),
        };
        let refuses = mood == Mood::Denies && is_last;
        vec![if refuses { refusal(&text) } else { ok("", text.as_bytes()) }]
    })
}

fn refusal(text: &str) -> Step {
    raw(&format!("403 Forbidden\nContent-Length: {}", text.len()), text.as_bytes())
}

/// What tells the binary of one kind: its configuration and its variables. Everything secret has the canary in it.
type Kind = fn(&Sandbox, &Raw) -> (String, Vec<(&'static str, String)>);

const PAIR: [(&str, &str); 2] = [("aws_access_key_id", "AKIDBASE"), ("aws_secret_access_key", "CanaryOfSecretsBase")];

fn pair() -> String {
    PAIR.map(|(name, value)| format!("{name} = {value}\n")).concat()
}

fn variables() -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID", "AKIDENV".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", format!("{CANARY}Env")),
        ("AWS_SESSION_TOKEN", format!("{CANARY}EnvToken")),
    ]
}

const KINDS: [(&str, Kind); 11] = [
    ("configuration", |_, _| {
        let keys = format!("aws-secret-key = {CANARY}Key\naws-session-token = {CANARY}Session");
        (format!("aws-access-key = AKIDCONFIG\n{keys}\n"), Vec::new())
    }),
    ("account-key", |sandbox, _| {
        private(sandbox, "home/.amazon/account-key", format!("accessKey=AKIDFILE\nsecretKey={CANARY}Key\n"));
        (String::new(), Vec::new())
    }),
    ("environment", |_, _| (String::new(), variables())),
    ("profile", |sandbox, _| {
        let token = format!("aws_session_token = {CANARY}Session\n");
        private(sandbox, "home/.aws/credentials", format!("[p]\n{}{token}", pair()));
        ("aws-profile = p\n".to_owned(), Vec::new())
    }),
    ("credential_process", |sandbox, _| {
        let printed = private(sandbox, "home/printed", format!("{{\"Version\": 1, {}}}", keys()));
        let helper = sandbox.hook("home", "helper", &format!("echo {CANARY}Noise >&2; cat {}", printed.display()));
        sandbox.write("home/.aws/config", format!("[default]\ncredential_process = {}\n", helper.display()));
        (String::new(), Vec::new())
    }),
    ("credential_process that fails", |sandbox, _| {
        let helper = sandbox.hook("home", "helper", &format!("echo {CANARY}Out; echo {CANARY}Noise >&2; exit 3"));
        sandbox.write("home/.aws/config", format!("[default]\ncredential_process = {}\n", helper.display()));
        (String::new(), Vec::new())
    }),
    ("web identity", |sandbox, machine| {
        let file = private(sandbox, "home/token", format!("{CANARY}/Web\n"));
        let file = file.to_str().unwrap().to_owned();
        let variables = vec![("AWS_WEB_IDENTITY_TOKEN_FILE", file), ("AWS_ROLE_ARN", "arn:web".to_owned())];
        (String::new(), [variables, sts(machine)].concat())
    }),
    ("role", |sandbox, machine| {
        let text = format!(
            "[profile top]\nrole_arn = T\nsource_profile = mid\n[profile mid]\nrole_arn = M\n\
                            source_profile = base\n[profile base]\n{}",
            pair()
        );
        private(sandbox, "home/.aws/config", text);
        ("aws-profile = top\n".to_owned(), sts(machine))
    }),
    ("container", |_, machine| {
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", format!("{CANARY}Agent"));
        (String::new(), vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", machine.url("/x")), token])
    }),
    ("container with a file", |sandbox, machine| {
        let file = private(sandbox, "home/agent", format!("{CANARY}Agent\n"));
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap().to_owned());
        (String::new(), vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", machine.url("/x")), token])
    }),
    ("instance", |_, machine| {
        let off = (OFF.0, "false".to_owned());
        (String::new(), vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.url("")), off])
    }),
];

fn sts(machine: &Raw) -> Vec<(&'static str, String)> {
    vec![("AWS_ENDPOINT_URL_STS", machine.url(""))]
}

/// Files below the sandbox with a canary in them, but for what the test wrote itself.
fn written(sandbox: &Sandbox) -> String {
    let mut grep = Command::new("grep");
    grep.args(["-rl", "--exclude=repo-deploy.cfg", "--exclude-dir=home", "-e", CANARY]).arg(sandbox.path(""));
    String::from_utf8(grep.output().unwrap().stdout).unwrap()
}

#[test]
fn no_kind_of_credentials_is_written_anywhere() {
    let body = std::fs::read(Sandbox::new().zip("made.zip", &[("file", "one")])).unwrap();
    for (name, kind) in KINDS {
        for mood in [Mood::Good, Mood::Forbids, Mood::Expires, Mood::Denies, Mood::Babbles] {
            let (sandbox, machine, s3) = (Sandbox::new(), machine(mood), s3(mood, body.clone()));
            let (config, env) = kind(&sandbox, &machine);
            private(&sandbox, "repo-deploy.cfg", format!("s3-endpoint = {}\n{config}", s3.url("")));
            for when in ["pre.d", "post.d"] {
                let spied = sandbox.path("spied");
                let body = format!("{{ env; tr '\\0' '\\n' </proc/$PPID/cmdline; }} >>{}", spied.display());
                sandbox.hook(when, "spy", &body);
            }
            let mut command = sandbox.command(&["-vv", "--remote", "s3://private/app.zip"]);
            command.env(OFF.0, OFF.1).envs(env.iter().map(|(name, value)| (name, value)));
            let run = Run::from(command.output().unwrap());
            let what = format!("{name}, {mood:?}:\n{}", run.log);
            assert!(!run.log.contains(CANARY) && !run.out.contains(CANARY), "{what}");

            // A hook has the environment that we have, and nothing besides.
            if let Ok(spied) = std::fs::read_to_string(sandbox.path("spied")) {
                let is_given = |line: &str| env.iter().any(|(name, value)| line == format!("{name}={value}"));
                let leaks: Vec<_> = spied.lines().filter(|line| line.contains(CANARY) && !is_given(line)).collect();
                assert_eq!(leaks, [""; 0], "{what}");
                std::fs::remove_file(sandbox.path("spied")).unwrap();
            }
            assert_eq!(written(&sandbox), "", "{what}");

            let is_asked = !machine.seen().is_empty();
            let deploys = match mood {
                Mood::Good => name != "credential_process that fails",
                Mood::Forbids | Mood::Expires => false,
                Mood::Denies | Mood::Babbles => !is_asked && name != "credential_process that fails",
            };
            assert_eq!(run.code, i32::from(!deploys), "{what}");
            if deploys {
                assert_eq!(live(&sandbox), "one");
            } else {
                assert!(run.complaints().len() == 1 && !Path::new(&sandbox.local()).exists(), "{what}");
            }
        }
    }
}
