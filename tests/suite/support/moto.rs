//! S3, IAM and STS as moto has them, with signatures checked: from [`Moto::start`] on, only what was set up here may do
//! anything. It is set up by boto3, another hand than ours. Both come from tests/.parts/venv, which tests/parts.sh makes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sandbox::Sandbox;
use super::servers::{closed_port, wait_for};

/// An access key that moto knows.
#[derive(Clone, Debug)]
pub struct Keys {
    pub id: String,
    pub secret: String,
}

/// moto on a free port, with the user `deploy` and his key, the role `app-role`, and the buckets `private` (without
/// versions) and `versioned` (with). User and role may do anything with S3 and STS; the user `poor` may do nothing.
pub struct Moto {
    child: Child,
    port: u16,
    /// Of the user `deploy`.
    pub keys: Keys,
    /// Of the user `poor`, who has no policy.
    pub poor: Keys,
    /// The ARN of `app-role`.
    pub role: String,
}

/// What boto3 makes before signatures are checked; it prints what the tests need to know.
const WORLD: &str = r#"
import json
s3, iam = client('s3'), client('iam')
for bucket in ('private', 'versioned'):
    s3.create_bucket(Bucket=bucket)
s3.put_bucket_versioning(Bucket='versioned', VersioningConfiguration={'Status': 'Enabled'})
policy = json.dumps({'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Action': ['s3:*', 'sts:*'], 'Resource': '*'}]})
trust = json.dumps({'Version': '2012-10-17', 'Statement': [
    {'Effect': 'Allow', 'Principal': {'AWS': '*'}, 'Action': 'sts:AssumeRole'}]})
for user in ('deploy', 'poor'):
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)['AccessKey']
    print(key['AccessKeyId'])
    print(key['SecretAccessKey'])
iam.put_user_policy(UserName='deploy', PolicyName='all', PolicyDocument=policy)
role = iam.create_role(RoleName='app-role', AssumeRolePolicyDocument=trust)['Role']
iam.put_role_policy(RoleName='app-role', PolicyName='all', PolicyDocument=policy)
print(role['Arn'])
"#;

/// `client(service)` of boto3, against `endpoint` and as `keys`.
const PRELUDE: &str = r"
import sys, boto3
from botocore.config import Config
def client(service, region='us-east-1'):
    style = Config(s3={'addressing_style': 'path'}, retries={'max_attempts': 1})
    return boto3.client(service, endpoint_url=sys.argv[1], aws_access_key_id=sys.argv[2],
                        aws_secret_access_key=sys.argv[3], region_name=region, config=style)
";

fn venv(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts/venv/bin").join(program)
}

/// Python with boto3 and botocore. `None`: it is not installed and the test is left out.
pub fn python() -> Option<Command> {
    is_installed().then(|| Command::new(venv("python3")))
}

fn is_installed() -> bool {
    let is_here = venv("moto_server").exists();
    if !is_here {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: moto; run tests/parts.sh");
        eprintln!("left out, because moto is missing: run tests/parts.sh");
    }
    is_here
}

impl Moto {
    /// Starts it and sets it up. `None`: it is not installed and the test is left out; with CI=true that is a failure.
    pub fn start(sandbox: &Sandbox) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let log = sandbox.path("moto.log");
        let (child, port) = loop {
            let port = closed_port();
            let mut child = Command::new(venv("moto_server"))
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .env_clear()
                .env("HOME", sandbox.path("home"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(&log).unwrap())
                .spawn()
                .unwrap();
            let up = wait_for("moto", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
            });
            if up {
                break (child, port);
            }
            let why = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(why.contains("in use"), "moto does not start: {why}");
        };
        let nobody = Keys { id: "setup".to_owned(), secret: "setup".to_owned() };
        let mut moto = Self { child, port, keys: nobody.clone(), poor: nobody, role: String::new() };
        let made = moto.boto(WORLD, &[]);
        let [id, secret, poor_id, poor_secret, role] = made.lines().collect::<Vec<_>>()[..] else { panic!("{made}") };
        moto.keys = Keys { id: id.to_owned(), secret: secret.to_owned() };
        moto.poor = Keys { id: poor_id.to_owned(), secret: poor_secret.to_owned() };
        moto.role = role.to_owned();
        moto.check_signatures_after(0);
        Some(moto)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets `calls` more calls pass that nobody has signed (AssumeRoleWithWebIdentity is one), and checks all after them.
    pub fn check_signatures_after(&self, calls: u32) {
        let answer = self.ask("POST", "/moto-api/reset-auth", calls.to_string().as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Runs Python with `client(service)` as the user `deploy`; `args` are sys.argv[4:]. Gives what it prints.
    pub fn boto(&self, script: &str, args: &[&str]) -> String {
        let output = Command::new(venv("python3"))
            .args(["-c", &format!("{PRELUDE}\n{script}"), &self.url(), &self.keys.id, &self.keys.secret])
            .args(args)
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success(), "boto3: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts a file into a bucket; gives its version (`None` where there are none).
    pub fn put(&self, bucket: &str, key: &str, file: &Path) -> String {
        let script = "print(client('s3').put_object(Bucket=sys.argv[4], Key=sys.argv[5], \
                      Body=open(sys.argv[6], 'rb')).get('VersionId'))";
        self.boto(script, &[bucket, key, file.to_str().unwrap()]).trim().to_owned()
    }

    /// Temporary keys of `app-role` as boto3 gets them: id, secret, token.
    pub fn assumed(&self) -> (Keys, String) {
        let script = "c = client('sts').assume_role(RoleArn=sys.argv[4], RoleSessionName='made')['Credentials']\n\
                      print(c['AccessKeyId'], c['SecretAccessKey'], c['SessionToken'])";
        let made = self.boto(script, &[&self.role]);
        let [id, secret, token] = made.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{made}") };
        (Keys { id: id.to_owned(), secret: secret.to_owned() }, token.to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
