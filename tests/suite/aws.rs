//! Who we are to AWS: a full deployment through each link of the chain, and what each broken link comes to.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http::live;
use super::imds::role_of_instance;
use crate::support::moto::{Keys, Moto};
use crate::support::needs::needs;
use crate::support::phrases::{
    ANSWERED, ASKED_AS, CANNOT_USE, CREDENTIALS_OF, DEPLOYED, OF_THE_INSTANCE, OTHERS_MAY_WRITE,
};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, Raw, object, raw};

/// No metadata service: the machine that runs the tests may be an instance.
pub const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

/// moto with `private/app.zip`, whose one file says `through S3`.
pub struct World {
    pub moto: Moto,
    /// Where moto lives.
    _sandbox: Sandbox,
}

impl World {
    pub fn new() -> Option<Self> {
        let sandbox = Sandbox::new();
        let moto = Moto::start(&sandbox)?;
        moto.put("private", "app.zip", &sandbox.zip("made.zip", &[("file", "through S3")]));
        Some(Self { moto, _sandbox: sandbox })
    }

    /// One check as somebody whom `config`, `env` and the sandbox's home tell.
    pub fn check(&self, sandbox: &Sandbox, config: &str, env: &[(&str, &str)]) -> Run {
        let endpoint = self.moto.url();
        private(sandbox, "repo-deploy.cfg", format!("s3-endpoint = {endpoint}\n{config}\n"));
        let mut command = sandbox.command(&["-v", "--remote", "s3://private/app.zip"]);
        command.env("AWS_ENDPOINT_URL_STS", &endpoint).envs(env.iter().copied());
        command.output().unwrap().into()
    }

    /// A deployment that has to work as `whose`, without a word of any secret in `secrets`.
    #[track_caller]
    pub fn deploys(&self, sandbox: &Sandbox, config: &str, env: &[(&str, &str)], whose: &str, secrets: &[&str]) -> Run {
        let run = self.check(sandbox, config, env).expect(0).says(&format!("{CREDENTIALS_OF} {whose}"));
        assert_eq!(live(sandbox), "through S3");
        no_secret(sandbox, &run, secrets);
        run
    }

    /// A check that has to fail with one line that has `words`.
    #[track_caller]
    pub fn fails(&self, sandbox: &Sandbox, config: &str, env: &[(&str, &str)], code: i32, words: &[&str]) -> Run {
        let run = self.check(sandbox, config, env).expect(code);
        let complaints = run.complaints();
        assert!(complaints.len() == 1 && complaints[0].contains(" ERROR "), "one line: {}", run.log);
        for word in words {
            assert!(complaints[0].contains(word), "{word:?} should be in: {}", complaints[0]);
        }
        assert!(!sandbox.local().exists(), "something is live");
        run
    }
}

/// Writes a file that is ours alone.
pub fn private(sandbox: &Sandbox, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
    let path = sandbox.write(name, content);
    mode(&path, 0o600);
    path
}

pub fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub fn ini(name: &str, keys: &Keys) -> String {
    format!("[{name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n", keys.id, keys.secret)
}

/// What containers, instances and programs hand out.
pub fn json(keys: &Keys, token: &str, token_name: &str) -> String {
    format!(
        "{{\"Version\": 1, \"Code\": \"Success\", \"AccessKeyId\": \"{}\", \"SecretAccessKey\": \"{}\", \
         \"{token_name}\": \"{token}\", \"Expiration\": \"2036-01-01T00:00:00Z\"}}",
        keys.id, keys.secret
    )
}

/// Fails when a secret stands in the log or below the store and the cache.
#[track_caller]
fn no_secret(sandbox: &Sandbox, run: &Run, secrets: &[&str]) {
    for secret in secrets {
        assert!(!run.log.contains(secret) && !run.out.contains(secret), "{secret} is said:\n{}", run.log);
        let places = [sandbox.path("deploy"), sandbox.path("cache")];
        let found = Command::new("grep").args(["-rlF", "-e", secret]).args(places).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret} is on disk");
    }
}

#[test]
fn moto_checks_signatures_so_that_these_tests_mean_something() {
    let sandbox = Sandbox::new();
    let Some(mut moto) = Moto::start(&sandbox) else { return };
    let file = sandbox.write("file", "content");
    assert_eq!(moto.put("private", "a b/app+1.zip", &file), "None");
    assert!(moto.put("versioned", "app.zip", &file).len() > 4);
    let look = "import botocore.exceptions\n\
                try:\n    print(client('s3').get_object(Bucket='private', Key='a b/app+1.zip')['Body'].read())\n\
                except botocore.exceptions.ClientError as e:\n    print(e.response['Error']['Code'])";
    assert_eq!(moto.boto(look, &[]).trim(), "b'content'");
    let good = std::mem::replace(&mut moto.keys.secret, "wrong".to_owned());
    assert_eq!(moto.boto(look, &[]).trim(), "SignatureDoesNotMatch");
    moto.keys.secret = good;
    moto.keys = moto.poor.clone();
    assert_eq!(moto.boto(look, &[]).trim(), "AccessDenied");
}

#[test]
fn keys_that_stand_somewhere_deploy_and_name_where() {
    let Some(world) = World::new() else { return };
    let keys = world.moto.keys.clone();
    let (id, secret) = (keys.id.as_str(), keys.secret.as_str());
    let secrets = &[secret];

    let config = format!("aws-access-key = {id}\naws-secret-key = {secret}");
    world.deploys(&Sandbox::new(), &config, &[OFF], "aws-access-key", secrets);

    let sandbox = Sandbox::new();
    private(&sandbox, "home/.amazon/account-key", format!("accessKey={id}\nsecretKey={secret}\n"));
    let whose = sandbox.path("home/.amazon/account-key");
    world.deploys(&sandbox, "", &[OFF], whose.to_str().unwrap(), secrets).never_says("chmod");

    let sandbox = Sandbox::new();
    let file = private(&sandbox, "home/.aws/credentials", ini("web", &keys) + &ini("default", &world.moto.poor));
    let whose = format!("profile web in {}", file.display());
    world.deploys(&sandbox, "aws-profile = web", &[OFF], &whose, secrets);
    world.check(&sandbox, "profile_name = web", &[OFF]).expect(0).says(&format!("{CREDENTIALS_OF} {whose}"));
    let sandbox = Sandbox::new();
    let other = private(&sandbox, "elsewhere", ini("default", &keys));
    let whose = format!("profile default in {}", other.display());
    let file = ("AWS_SHARED_CREDENTIALS_FILE", other.to_str().unwrap());
    world.deploys(&sandbox, "", &[OFF, file], &whose, secrets);

    let (temporary, token) = world.moto.assumed();
    let env = [
        ("AWS_ACCESS_KEY_ID", temporary.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &temporary.secret),
        ("AWS_SESSION_TOKEN", &token),
        OFF,
    ];
    let whose = "AWS_ACCESS_KEY_ID in the environment";
    world.deploys(&Sandbox::new(), "", &env, whose, &[&temporary.secret, &token]);
}

#[test]
fn keys_that_others_may_read_deploy_with_one_warning() {
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let file = private(&sandbox, "home/.aws/credentials", ini("default", &world.moto.keys));
    mode(&file, 0o644);
    let secret = world.moto.keys.secret.as_str();
    let run = world.deploys(&sandbox, "", &[OFF], "profile default", &[secret]);
    let warning = format!("chmod 600 {}", file.display());
    assert!(run.complaints().len() == 1 && run.complaints()[0].contains(&warning), "{}", run.log);
}

#[test]
fn a_program_that_prints_keys_deploys_and_its_complaints_are_not_logged() {
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let (keys, token) = world.moto.assumed();
    let printed = private(&sandbox, "printed", json(&keys, &token, "SessionToken"));
    let helper = sandbox.hook("home", "helper", &format!("echo {} >&2; cat \"$1\"", keys.secret));
    let command = format!("credential_process = '{}' \"{}\"", helper.display(), printed.display());
    sandbox.write("home/.aws/config", format!("[default]\n{command}\n"));
    let whose = "credential_process of profile default in ";
    world.deploys(&sandbox, "", &[OFF], whose, &[&keys.secret, &token]);
}

#[test]
fn keys_that_the_server_calls_expired_are_got_anew() {
    let sandbox = Sandbox::new();
    let zip = std::fs::read(sandbox.zip("made.zip", &[("file", "with new keys")])).unwrap();
    let server = Raw::start(move |seen, _| {
        if seen.header("authorization").is_some_and(|text| text.contains("Credential=NEW/")) {
            return vec![object(seen, "\"1\"", &zip)];
        }
        let body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
        vec![raw(&format!("400 Bad Request\nContent-Length: {}", body.len()), body)]
    });
    // It has new ones from its second run on.
    let keys = |id: &str| json(&Keys { id: id.to_owned(), secret: "s".to_owned() }, "t", "SessionToken");
    let (old, new) = (private(&sandbox, "old", keys("OLD")), private(&sandbox, "new", keys("NEW")));
    let body = format!("cat {0}; cp {1} {0}", old.display(), new.display());
    let helper = sandbox.hook("home", "helper", &body);
    sandbox.write("home/.aws/config", format!("[default]\ncredential_process = {}\n", helper.display()));
    sandbox.write("repo-deploy.cfg", format!("s3-endpoint = {}\n", server.url("")));
    sandbox.deploy("s3://bucket/app.zip", &[]).expect(0);
    assert_eq!(live(&sandbox), "with new keys");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn an_assumed_role_deploys_whatever_assumes_it() {
    let Some(world) = World::new() else { return };
    let (keys, role) = (&world.moto.keys, &world.moto.role);
    let named = format!("role {role} of profile app");

    let sandbox = Sandbox::new();
    private(&sandbox, "home/.aws/credentials", ini("base", keys));
    let more = "external_id = a b+c\nduration_seconds = 900\nrole_session_name = from-test\nregion = eu-west-1";
    sandbox.write("home/.aws/config", format!("[profile app]\nrole_arn = {role}\nsource_profile = base\n{more}\n"));
    let whose = format!("{named}, assumed as profile base in ");
    world.deploys(&sandbox, "aws-profile = app", &[OFF], &whose, &[&keys.secret]);

    let sandbox = Sandbox::new();
    sandbox.write("home/.aws/config", format!("[profile app]\nrole_arn = {role}\ncredential_source = Environment\n"));
    let env = [("AWS_ACCESS_KEY_ID", keys.id.as_str()), ("AWS_SECRET_ACCESS_KEY", &keys.secret), OFF];
    let whose = format!("{named}, assumed as AWS_ACCESS_KEY_ID in the environment");
    world.deploys(&sandbox, "aws-profile = app", &env, &whose, &[&keys.secret]);

    // Whose secret is wrong is told so by STS, and told here.
    let wrong = [("AWS_ACCESS_KEY_ID", keys.id.as_str()), ("AWS_SECRET_ACCESS_KEY", "wrong+secret"), OFF];
    let words = [named.as_str(), "asked 127.0.0.1: it refused: 403 SignatureDoesNotMatch"];
    let (sandbox, config) =
        (Sandbox::new(), format!("[profile app]\nrole_arn = {role}\ncredential_source = Environment\n"));
    sandbox.write("home/.aws/config", config);
    let run = world.fails(&sandbox, "aws-profile = app", &wrong, 1, &words);
    no_secret(&sandbox, &run, &["wrong+secret"]);
}

#[test]
fn a_source_profile_has_keys_of_its_own_then_it_lends_those_whatever_else_it_has() {
    let Some(world) = World::new() else { return };
    let (keys, role) = (&world.moto.keys, &world.moto.role);
    for more in [
        "role_arn = arn:aws:iam::123456789012:role/none\nsource_profile = other",
        "role_arn = arn:aws:iam::123456789012:role/none\nmfa_serial = m\nsource_profile = lost",
        "credential_process = /bin/false",
        "sso_session = none",
    ] {
        let sandbox = Sandbox::new();
        private(&sandbox, "home/.aws/credentials", ini("base", keys) + &ini("other", &world.moto.poor));
        let text = format!("[profile app]\nrole_arn = {role}\nsource_profile = base\n[profile base]\n{more}\n");
        sandbox.write("home/.aws/config", text);
        let whose = format!("role {role} of profile app, assumed as profile base in ");
        world.deploys(&sandbox, "aws-profile = app", &[OFF], &whose, &[&keys.secret]);
    }
}

#[test]
fn a_profile_is_asked_for_then_it_comes_before_an_account_key_and_one_that_says_nothing_does_not() {
    let Some(world) = World::new() else { return };
    let (good, poor) = (&world.moto.keys, &world.moto.poor);
    for key in ["aws-profile", "profile_name"] {
        let sandbox = Sandbox::new();
        let text = format!("accessKey={}\nsecretKey={}\n", poor.id, poor.secret);
        let file = private(&sandbox, "home/.amazon/account-key", text);
        private(&sandbox, "home/.aws/credentials", ini("app", good));
        world.deploys(&sandbox, &format!("{key} = app"), &[OFF], "profile app in ", &[&good.secret]);
        // Nobody asked for it: the variable is one of the environment.
        let run = world.check(&sandbox, "", &[OFF, ("AWS_PROFILE", "app")]).expect(1);
        run.says(&format!("{ASKED_AS} {}, which comes from {}", poor.id, file.display()));
    }
    let sandbox = Sandbox::new();
    let text = format!("accessKey={}\nsecretKey={}\n", good.id, good.secret);
    let file = private(&sandbox, "home/.amazon/account-key", text);
    sandbox.write("home/.aws/config", "[profile app]\nregion = us-east-1\n");
    world.deploys(&sandbox, "aws-profile = app", &[OFF], file.to_str().unwrap(), &[&good.secret]);
}

#[test]
fn a_value_goes_on_in_indented_lines_then_all_of_it_is_the_value() {
    let Some(world) = World::new() else { return };
    let (keys, token) = world.moto.assumed();
    let sandbox = Sandbox::new();
    let json = private(&sandbox, "keys.json", json(&keys, &token, "SessionToken"));
    let text = format!(
        "[profile app]\ncredential_process = /bin/cat\n  # no comment of the value\n\n\t--\n    {}\nregion = us-east-1\n",
        json.display()
    );
    sandbox.write("home/.aws/config", text);
    world.deploys(&sandbox, "aws-profile = app", &[OFF], "credential_process of profile app in ", &[&keys.secret]);
    for (text, words) in [
        ("region = eu-west-1\n  output = json", "region of profile app \"eu-west-1\\noutput = json\" is no region"),
        ("s3 =\n  canary", "line 3: not key = value, below a key without a value"),
        ("= canary", "line 2: a value without a key"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("home/.aws/config", format!("[profile app]\n{text}\n"));
        let run = world.check(&sandbox, "aws-profile = app", &[OFF]);
        assert!(run.code != 0 && run.log.contains(words) && !run.log.contains("canary"), "{}", run.log);
    }
}

#[test]
fn a_web_identity_deploys() {
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", "a.web+identity/token=\n");
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", &world.moto.role),
        ("AWS_ROLE_SESSION_NAME", "pod"),
        OFF,
    ];
    world.moto.check_signatures_after(1); // nobody signs that one call
    let whose = format!("role {} by the web identity token {}", world.moto.role, token.display());
    world.deploys(&sandbox, "", &env, &whose, &["a.web+identity/token="]);

    let sandbox = Sandbox::new();
    let config =
        format!("[profile pod]\nrole_arn = {}\nweb_identity_token_file = {}\n", world.moto.role, token.display());
    sandbox.write("home/.aws/config", config);
    world.moto.check_signatures_after(1);
    let whose = format!("role {} of profile pod in ", world.moto.role);
    world.deploys(&sandbox, "aws-profile = pod", &[OFF], &whose, &["a.web+identity/token="]);
}

/// A proxy that does not exist: whoever asks it gets nothing.
const PROXY: [(&str, &str); 3] =
    [("http_proxy", "http://127.0.0.1:1"), ("all_proxy", "http://127.0.0.1:1"), ("no_proxy", "")];

#[test]
fn a_container_gives_what_deploys_for_the_token_in_its_file() {
    needs!("nginx");
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let (keys, session) = world.moto.assumed();
    sandbox.write("www/creds", json(&keys, &session, "Token"));
    let agent = Nginx::start(
        &sandbox,
        "",
        "location = /creds { if ($http_authorization != 'container token') { return 403 '{\"message\": \"no\"}'; } }",
    );
    let (uri, token) = (agent.url("/creds"), sandbox.write("token", "container token\n"));
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap());
    let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str());
    let env = [&[uri, token][..], &PROXY].concat();
    let secrets = [keys.secret.as_str(), &session, "container token"];
    world.deploys(&sandbox, "", &env, "the role of the container", &secrets);

    let sandbox = Sandbox::new();
    let wrong = [uri, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another token")];
    let words = [&*format!("cannot get credentials from the container endpoint 127.0.0.1: {ANSWERED} 403: no")];
    let run = world.fails(&sandbox, "", &wrong, 1, &words);
    no_secret(&sandbox, &run, &["another token"]);
}

#[test]
fn an_instance_gives_what_deploys_through_imdsv2_and_never_through_a_proxy() {
    needs!("nginx");
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let (keys, session) = world.moto.assumed();
    sandbox.write("www/latest/meta-data/iam/security-credentials/app-role", json(&keys, &session, "Token"));
    let service = role_of_instance(&sandbox, "");
    let (endpoint, whose) = (service.url("/"), &*format!("role app-role {OF_THE_INSTANCE}"));
    let env = [&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())][..], &PROXY].concat();
    let secrets = [keys.secret.as_str(), &session, "metadata-token"];
    world.deploys(&sandbox, "", &env, whose, &secrets).says("PUT ");
    assert!(service.log(3).iter().any(|line| line.contains("placement/region HTTP/1.1|200|")));
}

#[test]
fn a_refusal_names_who_asked() {
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let file = private(&sandbox, "home/.aws/credentials", ini("poor", &world.moto.poor));
    let whose = format!("profile poor in {}", file.display());
    let run = world.fails(&sandbox, "aws-profile = poor", &[OFF], 1, &["403", &whose]);
    no_secret(&sandbox, &run, &[&world.moto.poor.secret]);
}

#[test]
fn get_object_on_the_one_key_is_all_it_needs() {
    let Some(world) = World::new() else { return };
    let script = "import json\n\
                  iam = client('iam')\n\
                  iam.create_user(UserName='narrow')\n\
                  allowed = {'Effect': 'Allow', 'Action': 's3:GetObject', 'Resource': 'arn:aws:s3:::private/app.zip'}\n\
                  policy = json.dumps({'Version': '2012-10-17', 'Statement': [allowed]})\n\
                  iam.put_user_policy(UserName='narrow', PolicyName='one', PolicyDocument=policy)\n\
                  key = iam.create_access_key(UserName='narrow')['AccessKey']\n\
                  print(key['AccessKeyId'], key['SecretAccessKey'])";
    world.moto.check_signatures_after(100);
    let made = world.moto.boto(script, &[]);
    world.moto.check_signatures_after(0);
    let (id, secret) = made.trim().split_once(' ').unwrap();
    let narrow = Keys { id: id.to_owned(), secret: secret.to_owned() };
    let sandbox = Sandbox::new();
    private(&sandbox, "home/.aws/credentials", ini("default", &narrow));
    world.deploys(&sandbox, "", &[OFF], "profile default", &[&narrow.secret]);
    world.check(&sandbox, "", &[OFF]).expect(0).never_says(DEPLOYED);
    // Of a key that is not there it cannot tell whether it is there.
    let mut command = sandbox.command(&["--remote", "s3://private/none.zip"]);
    let run = Run::from(command.env(OFF.0, OFF.1).output().unwrap()).expect(1);
    run.says("403 forbidden (AccessDenied")
        .says("(without s3:ListBucket a missing key looks the same)")
        .says(&narrow.id);
}

#[test]
fn a_broken_link_is_one_clear_line_and_no_other_link_is_tried() {
    let Some(world) = World::new() else { return };
    // What would work, were it tried.
    let (id, secret) = (world.moto.keys.id.clone(), world.moto.keys.secret.clone());
    let good = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", &secret), OFF];
    let half = "aws-secret-key = canary/half";
    world.fails(&Sandbox::new(), half, &good, 78, &["aws-secret-key", "aws-access-key"]).never_says("canary/half");

    let sandbox = Sandbox::new();
    private(&sandbox, "home/.aws/credentials", ini("web", &world.moto.keys));
    let words = ["no profile \"wep\" in ", "home/.aws/credentials and ", "home/.aws/config, which have web"];
    world.fails(&sandbox, "aws-profile = wep", &good, 1, &words);

    let sandbox = Sandbox::new();
    let file = private(&sandbox, "home/.amazon/account-key", format!("accessKey={id}\nsecretKey={secret}\n"));
    mode(&file, 0o622);
    world.fails(&sandbox, "", &good, 1, &["account-key", OTHERS_MAY_WRITE, "chmod go-w"]);
    mode(&file, 0o600);
    std::fs::write(&file, "canary/malformed\n").unwrap();
    world
        .fails(&sandbox, "", &good, 1, &[&*format!("{CANNOT_USE} account-key"), "accessKey="])
        .never_says("canary/malformed");

    let sandbox = Sandbox::new();
    let helper = sandbox.hook("home", "helper", "echo '{\"Version\": 1, \"SecretAccessKey\": \"canary/json\"'");
    sandbox.write("home/.aws/config", format!("[profile p]\ncredential_process = {}\n", helper.display()));
    let words = ["credential_process of profile p in ", "no JSON"];
    world.fails(&sandbox, "aws-profile = p", &good, 1, &words).never_says("canary/json");

    let sandbox = Sandbox::new();
    sandbox.write(
        "home/.aws/config",
        "[profile p]\nrole_arn = r\nsource_profile = q\n[profile q]\nrole_arn = r\nsource_profile = p\n",
    );
    world.fails(&sandbox, "aws-profile = p", &good, 1, &["goes in a circle: p -> q -> p"]);

    let env = [("AWS_ACCESS_KEY_ID", id.as_str()), OFF];
    world.fails(&Sandbox::new(), "", &env, 1, &["AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"]);
    let env = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/creds"), OFF];
    world.fails(&Sandbox::new(), "", &env, 1, &["leads to 10.0.0.1 over http"]);
}
