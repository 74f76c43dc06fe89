//! Repositories made by git, and the servers that give them out: git's daemon, git-http-backend behind nginx, sshd. Each
//! serves `<sandbox>/git` and ends when it is dropped.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Nginx, closed_port, wait_for};

/// A bare repository in `<sandbox>/git` and the working tree it is filled from.
pub struct Repo<'a> {
    sandbox: &'a Sandbox,
    name: String,
}

/// `git` with nothing of this machine's configuration.
pub fn git(at: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent").current_dir(at);
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@example.com"),
        ("GIT_COMMITTER_NAME", "c"),
        ("GIT_COMMITTER_EMAIL", "c@example.com"),
    ] {
        git.env(name, value);
    }
    git.args([
        "-c",
        "protocol.allow=always",
        "-c",
        "advice.defaultBranchName=false",
        "-c",
        "uploadpack.allowFilter=true",
        "-c",
        "core.hooksPath=/dev/null",
    ]);
    git
}

#[track_caller]
pub fn says(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl<'a> Repo<'a> {
    /// An empty repository with the branch `main`.
    pub fn new(sandbox: &'a Sandbox, name: &str) -> Self {
        Self::with_branch(sandbox, name, "main")
    }

    pub fn with_branch(sandbox: &'a Sandbox, name: &str, branch: &str) -> Self {
        let repo = Self { sandbox, name: name.to_owned() };
        fs::create_dir_all(repo.bare()).unwrap();
        fs::create_dir_all(repo.work()).unwrap();
        says(git(&repo.bare()).args(["init", "-q", "--bare", "-b", branch]));
        says(git(&repo.bare()).args(["config", "uploadpack.allowFilter", "true"]));
        says(git(&repo.work()).args(["init", "-q", "-b", branch]));
        repo
    }

    pub fn bare(&self) -> PathBuf {
        self.sandbox.path(format!("git/{}.git", self.name))
    }

    pub fn work(&self) -> PathBuf {
        self.sandbox.path(format!("work/{}", self.name))
    }

    /// The remote on this host, with `rest` (`/path#ref`) behind it.
    pub fn remote(&self, rest: &str) -> String {
        format!("{}{rest}", self.bare().display())
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        says(git(&self.work()).args(args))
    }

    /// Writes files as [`Sandbox::zip`] reads them: `-> ` a link, `#!` a program; an empty name's content is removed.
    pub fn write(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = self.work().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path); // there may be none
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, &path).unwrap(),
                None => {
                    fs::write(&path, content).unwrap();
                    let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
    }

    /// Commits what is there, and pushes it to `branch`. Gives the commit.
    #[track_caller]
    pub fn push_to(&self, branch: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "m"]);
        self.git(&["push", "-q", "--force", self.bare().to_str().unwrap(), &format!("HEAD:{branch}")]);
        self.head()
    }

    /// Writes, commits and pushes to `refs/heads/main`.
    #[track_caller]
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        self.write(files);
        self.push_to("refs/heads/main")
    }

    /// Leaves nothing in the working tree.
    pub fn clear(&self) {
        for entry in fs::read_dir(self.work()).unwrap().map(|entry| entry.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() == ".git" => {}
                true => fs::remove_dir_all(entry.path()).unwrap(),
                false => fs::remove_file(entry.path()).unwrap(),
            }
        }
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Adds what git would not: a submodule as an entry without a clone.
    pub fn module(&self, path: &str, url: &str, commit: &str) {
        self.git(&["config", "-f", ".gitmodules", &format!("submodule.{path}.path"), path]);
        self.git(&["config", "-f", ".gitmodules", &format!("submodule.{path}.url"), url]);
        self.git(&["add", ".gitmodules"]);
        self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        self.git(&["commit", "-q", "-m", "submodule"]);
        self.git(&["push", "-q", "--force", self.bare().to_str().unwrap(), "HEAD:refs/heads/main"]);
    }
}

/// `repo-deploy -f` of `remote` with `keys` in the configuration.
pub fn deploy(sandbox: &Sandbox, remote: &str, keys: &[(&str, &str)]) -> Run {
    let lines: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    sandbox.write("repo-deploy.cfg", format!("id = app\n{lines}"));
    fs::set_permissions(sandbox.path("repo-deploy.cfg"), fs::Permissions::from_mode(0o600)).unwrap();
    sandbox.deploy(remote, &["-v"])
}

/// A server that is ended with its group of children.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts what `command` makes for a port until it listens there.
    fn start(name: &str, command: impl Fn(u16) -> Command) -> Self {
        use std::os::unix::process::CommandExt;
        for _ in 0..20 {
            let port = closed_port();
            let mut command = command(port);
            let mut child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            let up = wait_for(name, || match child.try_wait().unwrap() {
                Some(_) => Some(false), // somebody else took the port
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
            });
            if up {
                return Self { child, port };
            }
        }
        panic!("{name} does not start");
    }

    /// git's own daemon.
    pub fn daemon(sandbox: &Sandbox) -> Self {
        Self::daemon_with(sandbox, &[])
    }

    /// One with options of git's own.
    pub fn daemon_with(sandbox: &Sandbox, options: &[&str]) -> Self {
        let base = sandbox.path("git");
        fs::create_dir_all(&base).unwrap();
        Self::start("git daemon", |port| {
            let mut daemon = git(&base);
            daemon.args(options);
            daemon.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
            daemon.arg(format!("--base-path={}", base.display())).stderr(Stdio::null());
            daemon
        })
    }

    /// sshd with `host_key`, letting in who has `user_key`.
    pub fn sshd(sandbox: &Sandbox, host_key: &Path, user_key: &Path) -> Self {
        Self::sshd_with(sandbox, host_key, user_key, "")
    }

    /// The same with more lines in its configuration.
    pub fn sshd_with(sandbox: &Sandbox, host_key: &Path, user_key: &Path, more: &str) -> Self {
        fs::create_dir_all("/run/sshd").unwrap();
        let public = fs::read_to_string(user_key.with_extension("pub")).unwrap();
        let keys = sandbox.write("ssh/authorized", public);
        Self::start("sshd", |port| {
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{}\"\nAuthorizedKeysFile \"{}\"\nPidFile none\nUsePAM no\nStrictModes no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nLogLevel QUIET\n\
                 SetEnv PATH=/usr/local/bin:/usr/bin:/bin\n{more}",
                host_key.display(),
                keys.display()
            );
            let file = sandbox.write(format!("ssh/config-{port}"), config);
            let mut sshd = Command::new("/usr/sbin/sshd");
            sshd.args(["-D", "-f"]).arg(file).stderr(Stdio::null());
            sshd
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The group: a daemon has children that still serve.
        let group = format!("-{}", self.child.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.child.wait());
    }
}

/// A key pair in the sandbox; the path of the private one.
pub fn key(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.write(format!("ssh/{name}"), "");
    fs::remove_file(&path).unwrap();
    says(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path));
    path
}

/// A line of known_hosts for a server with `host_key`.
pub fn known(port: u16, host_key: &Path) -> String {
    let public = fs::read_to_string(host_key.with_extension("pub")).unwrap();
    let key: Vec<&str> = public.split(' ').take(2).collect();
    format!("[127.0.0.1]:{port} {}\n", key.join(" "))
}

/// nginx with git-http-backend behind it; `extra` stands in the server block, `more` in the location.
pub struct Smart {
    pub nginx: Nginx,
    _cgi: Ended,
}

/// A process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status());
        drop(self.0.wait());
    }
}

impl Smart {
    pub fn start(sandbox: &Sandbox, listen: &str, extra: &str, more: &str) -> Self {
        Self::speaking(sandbox, "$http_git_protocol", listen, extra, more)
    }

    /// One that speaks protocol 0, as servers of long ago do, and so gives out only what has a name.
    pub fn of_old(sandbox: &Sandbox) -> Self {
        Self::speaking(sandbox, "version=0", "", "", "")
    }

    fn speaking(sandbox: &Sandbox, protocol: &str, listen: &str, extra: &str, more: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let socket = sandbox.write("cgi/s", "");
        fs::remove_file(&socket).unwrap();
        let mut cgi = Command::new("/usr/sbin/fcgiwrap");
        cgi.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent").process_group(0);
        cgi.args(["-c", "3", "-s"]).arg(format!("unix:{}", socket.display())).stdin(Stdio::null());
        let cgi = Ended(cgi.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for("fcgiwrap", || std::os::unix::net::UnixStream::connect(&socket).ok());
        let backend = says(Command::new("git").arg("--exec-path")) + "/git-http-backend";
        let config = format!(
            "{extra}\nclient_max_body_size 0;\nlocation / {{ {more}\nfastcgi_pass unix:{};\nfastcgi_param SCRIPT_FILENAME {backend};\n\
             fastcgi_param GIT_PROJECT_ROOT {};\nfastcgi_param GIT_HTTP_EXPORT_ALL 1;\nfastcgi_param PATH_INFO $uri;\n\
             fastcgi_param QUERY_STRING $query_string;\nfastcgi_param REQUEST_METHOD $request_method;\n\
             fastcgi_param CONTENT_TYPE $content_type;\nfastcgi_param CONTENT_LENGTH $content_length;\n\
             fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;\nfastcgi_param REMOTE_USER $remote_user;\n\
             fastcgi_param GIT_PROTOCOL {protocol}; }}",
            socket.display(),
            sandbox.path("git").display()
        );
        Self { nginx: Nginx::start(sandbox, listen, &config), _cgi: cgi }
    }

    /// Bytes that were sent, and the lines of the log.
    pub fn log(&self) -> Vec<String> {
        self.nginx.all()
    }
}
