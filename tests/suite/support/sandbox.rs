//! A directory of its own for each test, the release binary, and what tests do again and again: archives made by code,
//! hooks, and what stands in a tree.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The static release binary: what users get is what is tested. `make test` builds it.
pub fn binary() -> PathBuf {
    match std::env::var_os("REPO_DEPLOY_BINARY") {
        Some(path) => PathBuf::from(path),
        None => target_dir().join(format!("{}-unknown-linux-musl/release/repo-deploy", std::env::consts::ARCH)),
    }
}

/// Where cargo builds: that of this test program, `TARGET/debug/deps/suite-…`.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}

/// A fresh directory with a place for everything; removed when the test ends.
pub struct Sandbox {
    root: PathBuf,
}

/// How a run ended, as a user sees it.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub log: String,
}

impl Run {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; its log:\n{}\nits output:\n{}", self.log, self.out);
        self
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.log.contains(words), "the log should say {words:?}:\n{}", self.log);
        self
    }

    #[track_caller]
    pub fn never_says(self, words: &str) -> Self {
        assert!(!self.log.contains(words), "the log should not say {words:?}:\n{}", self.log);
        self
    }

    /// The lines of the log that are warnings or errors.
    pub fn complaints(&self) -> Vec<&str> {
        self.log.lines().filter(|l| l.contains(" WARN ") || l.contains(" ERROR ")).collect()
    }
}

/// A log as tests compare it: whole seconds, and of the frame of a record what tells something:
/// `2026-11-30T11:54:34.738Z INFO  [web] text` becomes `2026-11-30T11:54:34Z INFO web: text`, without `web: ` where it is a deployment without a
/// name, that of most tests (`test`), or none.
pub fn plain(log: &str) -> String {
    log.split_inclusive('\n').map(|line| plain_line(line).unwrap_or_else(|| line.to_owned())).collect()
}

fn plain_line(line: &str) -> Option<String> {
    let (time, rest) = line.split_once("Z ").filter(|(time, _)| time.len() == 23 && time.as_bytes()[19] == b'.')?;
    let (level, rest) = rest.split_once('[').filter(|(level, _)| level.len() == 6)?;
    let (target, text) = rest.split_once("] ")?;
    let name = if ["repo-deploy", "default", "test"].contains(&target) { String::new() } else { format!("{target}: ") };
    Some(format!("{}Z {} {name}{text}", &time[..19], level.trim_end()))
}

impl From<Output> for Run {
    fn from(o: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: o.status.code().unwrap_or_else(|| 128 + o.status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            log: plain(&String::from_utf8_lossy(&o.stderr)),
        }
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let base = std::env::var_os("REPO_DEPLOY_SANDBOX").map_or_else(std::env::temp_dir, PathBuf::from);
        Self::at(&base.join(Self::name()))
    }

    /// In memory where that runs programs and has room: for what comes to thousands of trials and asks nothing of a disk.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let fits = rustix::fs::statvfs(memory).is_ok_and(|fs| {
            !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) && fs.f_bavail * fs.f_frsize >= 256 << 20
        });
        let is_named = std::env::var_os("REPO_DEPLOY_SANDBOX").is_some();
        if fits && !is_named { Self::at(&memory.join(Self::name())) } else { Self::new() }
    }

    fn name() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("repo-deploy-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A sandbox at a path of the caller's choice.
    pub fn at(root: &Path) -> Self {
        let root = root.to_owned();
        fs::create_dir_all(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        for dir in ["pre.d", "post.d", "cache", "state", "deploy", "home"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        Self { root }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// `<local>`.
    pub fn local(&self) -> PathBuf {
        self.path("deploy/current")
    }

    /// The store of symlink mode.
    pub fn store(&self) -> PathBuf {
        self.path("deploy/.current.deploy")
    }

    /// The binary with a cleaned environment, and every place inside the sandbox.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", self.path("home"));
        command.env("REPO_DEPLOY_STATE_DIR", self.path("state"));
        command.current_dir(&self.root);
        command
    }

    /// `repo-deploy -f` with the sandbox's places and `args`, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare();
        command.arg("-f");
        self.places(&mut command, args);
        command
    }

    /// The daemon with the sandbox's places and `args`, not started yet.
    pub fn daemon(&self, args: &[&str]) -> Command {
        let mut command = self.bare();
        self.places(&mut command, args);
        command
    }

    /// The command `words` for the same, not started yet.
    pub fn saying(&self, words: &[&str], args: &[&str]) -> Command {
        let mut command = self.bare();
        command.args(words);
        self.places(&mut command, args);
        command
    }

    /// `repo-deploy status` for the same.
    pub fn status(&self, args: &[&str]) -> Run {
        let mut command = self.bare();
        command.arg("status");
        self.places(&mut command, args);
        command.output().unwrap().into()
    }

    /// `repo-deploy plan` of `remote`, not started yet.
    pub fn planned(&self, remote: &str, args: &[&str]) -> Command {
        let mut command = self.bare();
        command.arg("plan");
        self.places(&mut command, &["--remote", remote]);
        command.args(args);
        command
    }

    /// `repo-deploy plan` of `remote`.
    pub fn plan(&self, remote: &str, args: &[&str]) -> Run {
        self.planned(remote, args).output().unwrap().into()
    }

    fn places(&self, command: &mut Command, args: &[&str]) {
        let config = self.path("repo-deploy.cfg");
        if !config.exists() {
            self.write("repo-deploy.cfg", "");
        }
        command.arg("--config").arg(config);
        command.arg("--cache").arg(self.path("cache")).arg("--state-dir").arg(self.path("state"));
        command.arg("--local").arg(self.local());
        command.arg("--pre-hooks").arg(self.path("pre.d")).arg("--post-hooks").arg(self.path("post.d"));
        command.args(args);
    }

    /// One check of `remote`.
    pub fn deploy(&self, remote: &str, args: &[&str]) -> Run {
        self.command(&["--remote", remote]).args(args).output().unwrap().into()
    }

    /// Writes a file below the sandbox; one that is served (in `www`) is an old one.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        if path.iter().any(|part| part == "www") {
            age(&path);
        }
        path
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        String::from_utf8_lossy(&fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).into_owned()
    }

    /// A log file, [`plain`].
    pub fn read_log(&self, name: impl AsRef<Path>) -> String {
        plain(&self.read(name))
    }

    /// Writes a shell hook: `when` is `pre.d` or `post.d`.
    pub fn hook(&self, when: &str, name: &str, body: &str) -> PathBuf {
        let path = self.write(Path::new(when).join(name), format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Writes a ZIP of `files` (name, content; a name that ends in `/` is a directory, a content that begins with `-> ` a
    /// link, one that begins with `#!` a program).
    pub fn zip(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
            let options = zip::write::SimpleFileOptions::default().unix_permissions(mode);
            if let Some(target) = content.strip_prefix("-> ") {
                out.add_symlink(*name, target, options).unwrap();
            } else if let Some(dir) = name.strip_suffix('/') {
                out.add_directory(dir, options).unwrap();
            } else {
                out.start_file(*name, options).unwrap();
                out.write_all(content.as_bytes()).unwrap();
            }
        }
        self.write(name, out.finish().unwrap().into_inner())
    }
}

/// Makes a file an old one, each time of another second: a server that makes its ETags of time and size has one for it that
/// is to be relied upon.
pub fn age(path: &Path) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seconds = 1_750_000_000 + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("REPO_DEPLOY_KEEP").is_some() {
            eprintln!("kept: {}", self.root.display());
            return;
        }
        let _ = fs::remove_dir_all(&self.root); // a sandbox that stays costs space in /tmp, not the test
    }
}

/// The system calls of a command, one a line as strace prints them; it must end with `code`.
pub fn traced_calls(sandbox: &Sandbox, command: &Command, code: i32) -> Vec<String> {
    let trace = sandbox.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-s", "256", "-o"]).arg(&trace).arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    strace.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    Run::from(strace.output().unwrap()).expect(code);
    sandbox.read("trace").lines().map(str::to_owned).collect()
}

/// A revision as logs and answers show it without `-v`: of a hash the first 12 digits.
pub fn short(revision: &str) -> String {
    let (kind, digits) = revision.split_at(revision.find(':').map_or(0, |at| at + 1));
    let is_hash = digits.len() >= 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { format!("{kind}{}", &digits[..12]) } else { revision.to_owned() }
}

/// What stands in a tree: path -> `d 755`, `f 644 content` or `l target`. Follows `root` itself when it is a link.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(dir: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                into.insert(name.clone(), format!("d {mode:o}"));
                walk(&entry.path(), &format!("{name}/"), into);
            } else if meta.is_symlink() {
                into.insert(name, format!("l {}", fs::read_link(entry.path()).unwrap().display()));
            } else if meta.is_file() {
                let content = fs::read(entry.path()).unwrap();
                into.insert(name, format!("f {mode:o} {}", String::from_utf8_lossy(&content)));
            } else {
                into.insert(name, "other".into());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&fs::canonicalize(root).unwrap_or_else(|e| panic!("{}: {e}", root.display())), "", &mut found);
    found
}
