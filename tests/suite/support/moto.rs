//! S3, IAM and STS as moto has them, with signatures checked: from [`Moto::start`] on, only what was set up here may do
//! anything. It is set up by boto3, another hand than ours. Both come from tests/.parts/venv, which tests/parts.sh makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::needs::leave_out;
use super::running::{is_alive, kill};
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
    pid: String,
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

/// One process that has imported moto and boto3, which takes Python a second, and forks for each server and each script:
/// every one starts afresh, and at once. A request is a connection; it ends with this program, and its children with it.
const ORIGIN: &str = r"
import contextlib, ctypes, importlib, io, json, os, random, select, signal, socket, sys, traceback
import boto3, moto.server
from botocore.config import Config
from moto.moto_api._internal import mock_random

def client(service, region='us-east-1'):
    style = Config(s3={'addressing_style': 'path'}, retries={'max_attempts': 1})
    return boto3.client(service, endpoint_url=sys.argv[1], aws_access_key_id=sys.argv[2],
                        aws_secret_access_key=sys.argv[3], region_name=region, config=style)

def serve(connection, asked):
    os.environ['HOME'] = asked['home']
    log = os.open(asked['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    connection.sendall(json.dumps({'pid': os.getpid()}).encode())
    connection.close()
    run_simple = moto.server.run_simple
    moto.server.run_simple = lambda *args, **more: run_simple(*args, **{**more, 'threaded': asked['is_threaded']})
    moto.server.main(['-H', '127.0.0.1', '-p', asked['port']])

def script(connection, asked):
    sys.argv = ['', *asked['argv']]
    out, problem = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(out):
            exec(asked['script'], {'client': client, 'sys': sys, 'boto3': boto3})
    except BaseException:
        problem = traceback.format_exc()
    connection.sendall(json.dumps({'out': out.getvalue(), 'problem': problem}).encode())

def child(connection):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with its parent (PR_SET_PDEATHSIG)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    random.seed()
    mock_random.seed()
    asked = json.loads(b''.join(iter(lambda: connection.recv(65536), b'')))
    (script if 'script' in asked else serve)(connection, asked)

name = sys.argv[1]
sys.argv = ['', 'http://127.0.0.1:1', 'id', 'secret']
for service in ('s3', 'iam', 'sts'):
    importlib.import_module(f'moto.{service}.urls')
    client(service)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind('\0' + name)
listener.listen(64)
print('up', flush=True)
while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        try:
            child(connection)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    connection.close()
";

/// Asks [`ORIGIN`], which the first who asks starts.
fn ask_origin(request: &Value) -> Value {
    static ORIGIN_PROCESS: OnceLock<(Child, SocketAddr)> = OnceLock::new();
    let (_, address) = ORIGIN_PROCESS.get_or_init(|| {
        let name = format!("repo-deploy-test-{}-moto", std::process::id());
        let mut origin = Command::new(venv("python3"))
            .args(["-c", ORIGIN, &name])
            .env_clear()
            .stdin(Stdio::piped()) // closed by the end of this program
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(origin.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "moto and boto3 cannot be imported");
        (origin, SocketAddr::from_abstract_name(name).unwrap())
    });
    let mut stream = UnixStream::connect_addr(address).unwrap();
    stream.write_all(request.to_string().as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

/// A program of the environment that `tests/parts.sh` makes.
pub fn venv(program: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts/venv/bin").join(program)
}

/// Python with boto3 and botocore. `None`: it is not installed and the test is left out.
pub fn python() -> Option<Command> {
    is_installed().then(|| Command::new(venv("python3")))
}

/// Whether `tests/parts.sh` has made its environment; if not, the test is left out.
pub fn is_installed() -> bool {
    let is_here = venv("moto_server").exists();
    if !is_here {
        leave_out("moto is missing: run tests/parts.sh");
    }
    is_here
}

impl Moto {
    /// Starts it and sets it up. `None`: it is not installed and the test is left out; with CI=true that is a failure.
    pub fn start(sandbox: &Sandbox) -> Option<Self> {
        Self::start_as(sandbox, true)
    }

    /// The same, one request after the other: a condition and the write under it are one step, as in Amazon's S3.
    pub fn one_at_a_time(sandbox: &Sandbox) -> Option<Self> {
        Self::start_as(sandbox, false)
    }

    fn start_as(sandbox: &Sandbox, is_threaded: bool) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let log = sandbox.path("moto.log");
        let (pid, port) = loop {
            let port = closed_port();
            let home = sandbox.path("home");
            let asked = json!({"port": port.to_string(), "home": home, "log": log, "is_threaded": is_threaded});
            let pid = ask_origin(&asked)["pid"].to_string();
            let up = wait_for("moto", || {
                if !is_alive(&pid) {
                    return Some(false);
                }
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true)
            });
            if up {
                break (pid, port);
            }
            let why = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(why.contains("in use"), "moto does not start: {why}");
        };
        let nobody = Keys { id: "setup".to_owned(), secret: "setup".to_owned() };
        let mut moto = Self { pid, port, keys: nobody.clone(), poor: nobody, role: String::new() };
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
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{answer}");
    }

    /// Runs Python with `client(service)` as the user `deploy`; `args` are sys.argv[4:]. Gives what it prints.
    pub fn boto(&self, script: &str, args: &[&str]) -> String {
        let url = self.url();
        let argv = [&[url.as_str(), &self.keys.id, &self.keys.secret], args].concat();
        let answer = ask_origin(&json!({"script": script, "argv": argv}));
        assert!(answer["problem"].is_null(), "boto3: {}", answer["problem"].as_str().unwrap_or_default());
        answer["out"].as_str().unwrap().to_owned()
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
        kill(&self.pid);
    }
}
