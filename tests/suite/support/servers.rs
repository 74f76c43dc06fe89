//! Servers to deploy from: nginx with a prefix of its own, and a server that says exactly what a test wants it to say,
//! for faults that nginx cannot make. Both listen on a free port of 127.0.0.1 and end when they are dropped.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sandbox::Sandbox;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /path HTTP/1.1`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    /// As much as Content-Length says.
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Reads a request; `None` when the client has gone.
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = reader.by_ref().lines();
        let line = lines.next()?.ok()?;
        let mut headers = Vec::new();
        for header in lines {
            let header = header.ok()?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut seen = Self { line, headers, body: String::new() };
        let length = seen.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        reader.take(length).read_to_string(&mut seen.body).ok()?;
        Some(seen)
    }
}

/// What a server does with a connection; after the last step it closes it.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// Says nothing more until the client goes.
    Stall,
}

/// A response from its status line, its headers and its body: nothing is added.
pub fn raw(head: &str, body: &[u8]) -> Step {
    let head: String = head.trim().lines().map(|line| format!("{}\r\n", line.trim())).collect();
    Step::Send([format!("HTTP/1.1 {head}\r\n").as_bytes(), body].concat())
}

/// A 200 with its length and `headers`.
pub fn ok(headers: &str, body: &[u8]) -> Step {
    raw(&format!("200 OK\nContent-Length: {}\n{headers}", body.len()), body)
}

/// A status without a body.
pub fn status(status: &str, headers: &str) -> Step {
    raw(&format!("{status}\nContent-Length: 0\n{headers}"), b"")
}

/// What a good server of one object with a strong ETag answers: conditions and ranges as RFC 9110 has them.
pub fn object(seen: &Seen, etag: &str, body: &[u8]) -> Step {
    let tag = format!("ETag: {etag}");
    if seen.header("If-None-Match") == Some(etag) {
        return raw(&format!("304 Not Modified\n{tag}"), b"");
    }
    if seen.header("If-Match").is_some_and(|wanted| wanted != etag) {
        return status("412 Precondition Failed", "");
    }
    let from = seen.header("Range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => ok(&tag, body),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}", body.len() - 1, body.len());
            raw(&format!("206 Partial Content\nContent-Length: {}\n{tag}\n{range}", body.len() - from), &body[from..])
        }
    }
}

/// The first `keep` bytes of a response's body, and then nothing more.
pub fn cut(step: Step, keep: usize) -> Step {
    let Step::Send(mut bytes) = step else { panic!("nothing to cut") };
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    bytes.truncate(head + keep);
    Step::Send(bytes)
}

/// A server that answers the n-th request (from 0) as it is told.
pub struct Raw {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    pub fn start(answer: impl Fn(&Seen, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (requests, stopped, answer) = (seen.clone(), stop.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (requests, answer) = (requests.clone(), answer.clone());
                connections.push(std::thread::spawn(move || serve(&stream, &requests, &*answer)));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    /// One and the same answer to every request.
    pub fn always(step: Step) -> Self {
        Self::start(move |_, _| vec![step.clone()])
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<Seen>>, answer: &dyn Fn(&Seen, usize) -> Vec<Step>) {
    let mut stream = stream;
    let Some(seen) = Seen::read(stream) else { return };
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(seen.clone());
        requests.len() - 1
    };
    for step in answer(&seen, number) {
        match step {
            // The client may have heard enough: that is its business.
            Step::Send(bytes) if stream.write_all(&bytes).is_err() => return,
            Step::Send(_) => {}
            Step::Stall => drop(stream.read(&mut [0])),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address)); // wakes accept
        if let Some(Err(e)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(e);
        }
    }
}

/// A port that nobody listens on.
pub fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Waits until `what` is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "waited for {what} for a minute");
        std::thread::yield_now();
    }
}

/// nginx, serving `<sandbox>/www`.
pub struct Nginx {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Nginx {
    /// `listen` follows the port in the listen line (`ssl` or nothing); `config` stands in the server block.
    pub fn start(sandbox: &Sandbox, listen: &str, config: &str) -> Self {
        std::fs::create_dir_all(sandbox.path("www")).unwrap();
        std::fs::create_dir_all(sandbox.path("nginx")).unwrap();
        let prefix = sandbox.path("nginx");
        let root = sandbox.path("www");
        let (root, at) = (root.display(), prefix.display());
        loop {
            let port = closed_port();
            let text = format!(
                "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/error.log warn;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{\n\
                 types {{ application/zip zip; }} default_type application/octet-stream;\n\
                 log_format short '$request|$status|$body_bytes_sent'; access_log {at}/access.log short;\n\
                 log_format connection '$connection'; access_log {at}/connections connection;\n\
                 client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
                 uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;\n\
                 server {{ listen 127.0.0.1:{port} {listen}; root {root};\n{config}\n}}\n}}\n"
            );
            let file = sandbox.write("nginx/nginx.conf", text);
            let mut child = Command::new("nginx")
                .args(["-e", "stderr", "-p"])
                .arg(&prefix)
                .arg("-c")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let up = wait_for("nginx", || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
            });
            if up {
                return Self { child, port, log: prefix.join("access.log") };
            }
            let why = std::fs::read_to_string(prefix.join("error.log")).unwrap_or_default();
            assert!(why.contains("Address already in use"), "nginx does not start: {why}");
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `request|status|bytes` of every request that is over, whatever its method.
    pub fn all(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The number of connections with a request that is over.
    pub fn connections(&self) -> usize {
        let log = std::fs::read_to_string(self.log.with_file_name("connections")).unwrap();
        log.lines().collect::<std::collections::BTreeSet<_>>().len()
    }

    pub fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port)
    }

    /// `request|status|bytes` of each request so far, without the probe that waited for the start.
    pub fn log(&self, requests: usize) -> Vec<String> {
        // The line is written after the answer was sent.
        wait_for("nginx's access log", || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<String> = log.lines().filter(|l| l.starts_with("GET ")).map(str::to_owned).collect();
            (lines.len() >= requests).then_some(lines)
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, so that the master ends its workers.
        let ended = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking(), "cannot end nginx");
        drop(self.child.wait());
    }
}

/// A certificate authority of the sandbox's own, made by openssl.
pub struct Authority<'a>(&'a Sandbox, Cell<u32>);

impl<'a> Authority<'a> {
    pub fn new(sandbox: &'a Sandbox) -> Self {
        let authority = Self(sandbox, Cell::new(0));
        sandbox.write("tls/none", "");
        authority.openssl(&[
            "req",
            "-x509",
            "-out",
            "ca.pem",
            "-keyout",
            "ca.key",
            "-subj",
            "/CN=sandbox CA",
            "-days",
            "2",
        ]);
        authority
    }

    fn openssl(&self, args: &[&str]) {
        let key: &[&str] = match args[0] {
            "req" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            _ => &[],
        };
        let output = Command::new("openssl").args(args).args(key).current_dir(self.0.path("tls")).output().unwrap();
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn ca(&self) -> PathBuf {
        self.0.path("tls/ca.pem")
    }

    /// A certificate for `names` (`IP:127.0.0.1,DNS:localhost`), signed by this authority, and its key.
    pub fn files(&self, names: &str, extra: &[&str]) -> (PathBuf, PathBuf) {
        self.1.set(self.1.get() + 1);
        let path = |kind: &str| self.0.path(format!("tls/server{}.{kind}", self.1.get()));
        let (request, key, made) = (path("csr"), path("key"), path("pem"));
        let [request, key_name, made_name] = [&request, &key, &made].map(|p| p.to_str().unwrap());
        let names = format!("subjectAltName={names}");
        self.openssl(&["req", "-out", request, "-keyout", key_name, "-subj", "/CN=sandbox server", "-addext", &names]);
        let mut sign = vec!["x509", "-req", "-in", request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        sign.extend(["-copy_extensions", "copy", "-out", made_name]);
        sign.extend(if extra.is_empty() { &["-days", "2"][..] } else { extra });
        self.openssl(&sign);
        (made, key)
    }

    /// nginx's lines for such a certificate.
    pub fn certificate(&self, names: &str, extra: &[&str]) -> String {
        lines(&self.files(names, extra))
    }

    /// The same for a certificate that signed itself and is a CA's, as `openssl req -x509` makes them.
    pub fn self_signed(&self, names: &str) -> String {
        let names = format!("subjectAltName={names}");
        let args = ["req", "-x509", "-out", "self.pem", "-keyout", "self.key", "-subj", "/CN=self", "-addext", &names];
        self.openssl(&args);
        lines(&(self.0.path("tls/self.pem"), self.0.path("tls/self.key")))
    }
}

fn lines((certificate, key): &(PathBuf, PathBuf)) -> String {
    format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display())
}
