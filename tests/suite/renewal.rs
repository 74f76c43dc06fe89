//! Temporary credentials of each kind, in the middle of a download: got anew five minutes before they expire by the clock,
//! and when the server calls them expired. Signatures are checked by moto throughout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::aws::{OFF, World, ini, json, private};
use super::http::{large, live};
use super::imds::role_of_instance;
use super::s3::{broken, error, front};
use crate::support::clock::Clock;
use crate::support::moto::{Keys, Moto};
use crate::support::needs::needs;
use crate::support::phrases::RESUMED;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, Raw, Seen, Step};

/// The five kinds that expire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Process,
    Container,
    Instance,
    WebIdentity,
    Role,
}

const KINDS: [Kind; 5] = [Kind::Process, Kind::Container, Kind::Instance, Kind::WebIdentity, Kind::Role];

/// One of the kinds, set up in a sandbox: two pairs of keys, of which the first is given until `next`.
struct Giver {
    kind: Kind,
    env: Vec<(String, String)>,
    config: String,
    /// What programs and servers hand out.
    printed: PathBuf,
    second: String,
    moto: Arc<Moto>,
    _server: Option<Nginx>,
}

/// `json` for programs and for servers, which call the token otherwise.
fn printed((keys, token): &(Keys, String), expires: &str) -> String {
    let text = json(keys, token, "SessionToken").replace("2036-01-01T00:00:00Z", expires);
    text.replacen('{', &format!("{{\"Token\": \"{token}\", "), 1)
}

/// RFC 3339, as `date` of coreutils says it.
fn in_seconds(seconds: i64) -> String {
    let when = format!("{seconds:+} seconds");
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &when]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

impl Giver {
    /// Keys that are good for `lifetime` seconds, and then others that are good for longer. STS has lifetimes of its own.
    fn new(kind: Kind, sandbox: &Sandbox, there: &There, lifetime: i64) -> Self {
        let There { moto, pairs: [first, second] } = there;
        let place = sandbox.path("www/latest/meta-data/iam/security-credentials/app-role");
        private(sandbox, &place, printed(first, &in_seconds(lifetime)));
        let second = printed(second, &in_seconds(86_400));
        let mut given = Self {
            kind,
            env: vec![("AWS_ENDPOINT_URL_STS".to_owned(), moto.url()), (OFF.0.to_owned(), OFF.1.to_owned())],
            config: String::new(),
            printed: place,
            second,
            moto: moto.clone(),
            _server: None,
        };
        given.set_up(sandbox);
        given
    }

    fn set_up(&mut self, sandbox: &Sandbox) {
        let mut env = |name: &str, value: &str| self.env.push((name.to_owned(), value.to_owned()));
        match self.kind {
            Kind::Process => {
                let body = format!("echo run >>{}; cat {}", sandbox.path("runs").display(), self.printed.display());
                let helper = sandbox.hook("home", "helper", &body);
                let text = format!("[default]\ncredential_process = {}\n", helper.display());
                sandbox.write("home/.aws/config", text);
            }
            Kind::Container => {
                let (from, to) = ("/creds", "/latest/meta-data/iam/security-credentials/app-role");
                let agent = Nginx::start(sandbox, "", &format!("location = {from} {{ try_files {to} =404; }}"));
                env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.url(from));
                env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token");
                self._server = Some(agent);
            }
            Kind::Instance => {
                let service = role_of_instance(sandbox, "");
                env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &service.url(""));
                env(OFF.0, "false");
                self._server = Some(service);
            }
            Kind::WebIdentity => {
                let token = sandbox.write("token", "web-token\n");
                env("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap());
                env("AWS_ROLE_ARN", &self.moto.role);
                self.moto.check_signatures_after(1); // nobody signs that call
            }
            Kind::Role => {
                env("AWS_ACCESS_KEY_ID", &self.moto.keys.id);
                env("AWS_SECRET_ACCESS_KEY", &self.moto.keys.secret);
                let role = &self.moto.role;
                let text = format!("[profile app]\nrole_arn = {role}\ncredential_source = Environment\n");
                sandbox.write("home/.aws/config", text);
                self.config = "aws-profile = app\n".to_owned();
            }
        }
    }

    /// From now on the second pair is given.
    fn next(&self) -> impl Fn() + Send + Sync + use<> {
        let (kind, moto, place, second) = (self.kind, self.moto.clone(), self.printed.clone(), self.second.clone());
        move || {
            std::fs::write(&place, &second).unwrap();
            if kind == Kind::WebIdentity {
                moto.check_signatures_after(1);
            }
        }
    }

    fn command(&self, sandbox: &Sandbox, server: &Raw) -> Command {
        private(sandbox, "repo-deploy.cfg", format!("s3-endpoint = {}\n{}", server.url(""), self.config));
        let mut command = sandbox.command(&["-v", "--remote", "s3://private/app.zip"]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The access key that signed a request.
fn signer(seen: &Seen) -> String {
    let (_, rest) = seen.header("authorization").unwrap().split_once("Credential=").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// moto with a large `private/app.zip`, and two pairs of temporary keys that it knows.
struct There {
    moto: Arc<Moto>,
    pairs: [(Keys, String); 2],
}

fn world() -> Option<There> {
    needs!("nginx");
    let world = World::new()?;
    let sandbox = Sandbox::new();
    large(&sandbox, 11);
    world.moto.put("private", "app.zip", &sandbox.path("made.zip"));
    let pairs = [world.moto.assumed(), world.moto.assumed()];
    Some(There { moto: Arc::new(world.moto), pairs })
}

#[test]
fn five_minutes_before_they_expire_credentials_of_each_kind_are_got_anew_and_not_before() {
    let Some(there) = world() else { return };
    for kind in KINDS {
        for (minutes, is_renewed) in [(54, false), (56, true)] {
            let sandbox = Sandbox::new();
            let Some(clock) = Clock::new(&sandbox) else { return };
            let given = Giver::new(kind, &sandbox, &there, 3600);
            let (next, clock) = (given.next(), Arc::new(clock));
            let server = front(there.moto.port(), {
                let clock = clock.clone();
                move |_, n, answer| {
                    if n > 0 {
                        return answer;
                    }
                    next();
                    clock.moves(minutes * 60);
                    broken(answer, 100_000)
                }
            });
            let run = Run::from(clock.around(&given.command(&sandbox, &server)).output().unwrap()).expect(0);
            assert_eq!(live(&sandbox).len(), 800_000);
            let seen = server.seen();
            assert_eq!(seen[1].header("range"), Some("bytes=100000-"), "{kind:?}: in the middle of the download");
            assert_eq!(signer(&seen[0]) != signer(&seen[1]), is_renewed, "{kind:?}, {minutes} minutes:\n{}", run.log);
        }
    }
}

#[test]
fn the_server_calls_them_expired_then_credentials_of_each_kind_are_got_anew_once() {
    let Some(there) = world() else { return };
    for (kind, status) in KINDS.into_iter().zip(["400 Bad Request", "403 Forbidden"].into_iter().cycle()) {
        let sandbox = Sandbox::new();
        let given = Giver::new(kind, &sandbox, &there, 3600);
        let next = given.next();
        let Step::Send(expired) = error(status, "ExpiredToken", "<Message>The token has expired.</Message>") else {
            panic!()
        };
        let server = front(there.moto.port(), move |_, n, answer| {
            if n > 0 {
                return answer;
            }
            next();
            expired.clone()
        });
        let run = Run::from(given.command(&sandbox, &server).output().unwrap()).expect(0);
        run.says("the credentials have expired: asking for new ones");
        assert_eq!(live(&sandbox).len(), 800_000);
        let signers: Vec<_> = server.seen().iter().map(signer).collect();
        assert!(signers.len() == 2 && signers[0] != signers[1], "{kind:?}: {signers:?}");
    }
}

#[test]
fn credentials_that_come_with_less_than_five_minutes_are_asked_for_again_at_every_request() {
    let Some(there) = world() else { return };
    for (lifetime, runs) in [(200, 3), (3600, 1)] {
        let sandbox = Sandbox::new();
        let given = Giver::new(Kind::Process, &sandbox, &there, lifetime);
        let server = front(there.moto.port(), |_, n, answer| if n == 0 { broken(answer, 100_000) } else { answer });
        Run::from(given.command(&sandbox, &server).output().unwrap()).expect(0);
        assert_eq!(server.seen().len(), 2);
        // Once to tell who asks, and once for each signature.
        assert_eq!(sandbox.read("runs").lines().count(), runs, "{lifetime} s");
    }
}

#[test]
fn new_ones_cannot_be_had_then_the_old_ones_serve_while_they_last() {
    let Some(there) = world() else { return };
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let given = Giver::new(Kind::Process, &sandbox, &there, 3600);
    let clock = Arc::new(clock);
    let server = front(there.moto.port(), {
        let (clock, place) = (clock.clone(), given.printed.clone());
        move |_, n, answer| {
            match n {
                0 => clock.moves(56 * 60),
                1 => clock.moves(61 * 60),
                _ => return answer,
            }
            let _ = std::fs::remove_file(&place); // at the second time it has gone already
            broken(answer, 100_000)
        }
    });
    let run = Run::from(clock.around(&given.command(&sandbox, &server)).output().unwrap()).expect(1);
    let lines = run.complaints();
    assert!(lines[0].contains(" WARN ") && lines[0].contains("it exited with 1"), "{}", run.log);
    assert!(lines[0].ends_with(&format!("; {RESUMED} what is left of those it gave before")), "{}", run.log);
    assert!(lines[1].contains(" ERROR ") && lines[1].contains("it exited with 1") && lines.len() == 2, "{}", run.log);
    assert_eq!(server.seen().len(), 2);
    assert!(!Path::new(&sandbox.local()).exists());
}

#[test]
fn a_file_of_keys_changes_in_the_middle_of_a_download_then_the_new_ones_sign_the_rest() {
    let Some(there) = world() else { return };
    let [(old, old_token), (new, new_token)] = &there.pairs;
    for name in ["home/.aws/credentials", "home/.amazon/account-key"] {
        let text = |keys: &Keys, token: &str| match name {
            "home/.aws/credentials" => format!("{}aws_session_token = {token}\n", ini("default", keys)),
            _ => format!("accessKey={}\nsecretKey={}\n", keys.id, keys.secret),
        };
        let is_whole = name == "home/.aws/credentials";
        // An account-key has no token: its second pair has to be one of the user's own.
        let (first, second) = if is_whole { (old, new) } else { (&there.moto.keys, &there.moto.poor) };
        let sandbox = Sandbox::new();
        let path = private(&sandbox, name, text(first, old_token));
        let second_text = text(second, new_token);
        let server = front(there.moto.port(), move |_, n, answer| {
            if n > 0 {
                return answer;
            }
            std::fs::write(&path, &second_text).unwrap();
            broken(answer, 100_000)
        });
        private(&sandbox, "repo-deploy.cfg", format!("s3-endpoint = {}\n", server.url("")));
        let mut command = sandbox.command(&["--remote", "s3://private/app.zip"]);
        let run = Run::from(command.env(OFF.0, OFF.1).output().unwrap());
        // `poor` may do nothing: that it is he who is refused shows that he was asked for.
        assert_eq!(run.code, i32::from(!is_whole), "{}", run.log);
        assert_eq!(signer(&server.seen()[1]), second.id);
    }
}

#[test]
fn what_was_just_given_has_expired_then_it_is_said_with_the_time() {
    let Some(there) = world() else { return };
    let sandbox = Sandbox::new();
    let given = Giver::new(Kind::Process, &sandbox, &there, -60);
    let server = front(there.moto.port(), |_, _, answer| answer);
    let run = Run::from(given.command(&sandbox, &server).output().unwrap()).expect(1);
    run.says("credential_process of profile default in ").says("have expired at 20").says("is the clock right?");
    assert_eq!((run_lines(&sandbox), server.seen().len()), (1, 0));
}

fn run_lines(sandbox: &Sandbox) -> usize {
    sandbox.read("runs").lines().count()
}
