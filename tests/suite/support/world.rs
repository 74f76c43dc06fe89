//! A machine that a page is followed on: a root directory of its own with networks, processes and mounts of its own, so
//! that commands run as they are printed, on the paths and ports of the page. It ends with the test, whatever is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::needs::needs;
use super::sandbox::{Run, Sandbox, binary};

/// Makes the root directory ROOT in new namespaces, and stays as its first process until standard input ends.
const SETUP: &str = r#"
set -eu
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir root upper work
case $2 in
busybox) mkdir -p root/bin root/dev root/proc root/tmp root/root root/etc
    cp "$(command -v busybox)" root/bin/
    for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox root/bin/"$name"; done ;;
debian) mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
    rm -rf root/etc/repo-deploy root/var/deploy root/var/cache/repo-deploy root/var/lib/repo-deploy root/root/.aws
    mount -t tmpfs tmpfs root/tmp
    mount -t tmpfs tmpfs root/run ;;
esac
mount -t proc proc root/proc
mount --rbind /dev root/dev
busybox ip link set lo up
exec chroot root /bin/sh -c 'echo ready; exec cat'
"#;

/// A user who is not root, and the home directory of that user.
const READER: &str = "65534";
pub const HOME: &str = "/home/reader";

/// One machine.
pub struct World {
    /// Where it is made, and a place for the files of the test.
    pub sandbox: Sandbox,
    first: Child,
    /// The number of its first process.
    pid: String,
    /// Servers that run outside its root directory, in its network.
    servers: Vec<Child>,
    /// The run that was the last.
    pub last: Run,
    /// Whether commands are those of a user who is not root.
    pub is_reader: bool,
}

impl World {
    /// A root directory with busybox and repo-deploy, and nothing else. `None`: something for it is missing here.
    pub fn busybox() -> Option<Self> {
        Self::start("busybox")
    }

    /// This machine's own system, whose files may be changed: no change gets out.
    pub fn debian() -> Option<Self> {
        Self::start("debian")
    }

    fn start(kind: &str) -> Option<Self> {
        needs!(root, "unshare", "nsenter", "busybox");
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("world")).unwrap();
        let mut first = Command::new("unshare");
        first.args(["--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "sh", "-c", SETUP, "sh"]);
        first.arg(sandbox.path("world")).arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut first = first.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "no world of {kind}");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.id())).unwrap();
        let pid = children.trim().to_owned();
        let last = Run { code: 0, out: String::new(), log: String::new() };
        let world = Self { sandbox, first, pid, servers: Vec::new(), last, is_reader: false };
        world.write("/usr/local/bin/repo-deploy", fs::read(binary()).unwrap(), 0o755);
        fs::hard_link(world.path("/usr/local/bin/repo-deploy"), world.path("/repo-deploy")).unwrap();
        fs::create_dir_all(world.path(HOME)).unwrap();
        chown(world.path(HOME), READER.parse().ok(), READER.parse().ok()).unwrap();
        Some(world)
    }

    /// A path of this machine as the test reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Runs shell commands where the last ones of the same user ended, and keeps their outcome.
    pub fn sh(&mut self, script: &str) -> &Run {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--net", "--pid", "--uts", "--root", "--wd"]);
        if self.is_reader {
            command.args(["--setuid", READER, "--setgid", READER]);
        }
        command.args(["--", "/bin/sh", "-eu", "-c"]);
        command.arg(format!("trap 'pwd >~/.cwd' EXIT\ncd \"$(cat ~/.cwd 2>/dev/null || echo ~)\"\n{script}"));
        command.env_clear().env("HOME", if self.is_reader { HOME } else { "/root" });
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        // In a file: a server that stays must not keep a pipe open.
        let [out, log] = ["out", "log"].map(|name| self.sandbox.path(name));
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&log).unwrap());
        let status = command.status().unwrap();
        let [stdout, stderr] = [out, log].map(|path| fs::read(path).unwrap());
        self.last = Run::from(std::process::Output { status, stdout, stderr });
        &self.last
    }

    /// [`World::sh`], which must end with `code`.
    #[track_caller]
    pub fn ends_with(&mut self, code: i32, script: &str) -> &Run {
        let Run { code: found, out, log } = self.sh(script);
        assert_eq!(*found, code, "{script}\n{out}{log}");
        &self.last
    }

    /// Runs shell commands of the test's own system in this machine's network; whether they succeed.
    pub fn outside(&self, script: &str) -> bool {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--net", "--", "sh", "-c", script]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Starts a program of the test's own system that serves in this machine's network.
    pub fn serve(&mut self, program: &Path, args: &[&str]) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--net", "--pid", "--"]).arg(program).args(args);
        let log = || fs::File::options().create(true).append(true).open(self.sandbox.path("servers.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        self.servers.push(command.spawn().unwrap());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.first.stdin.take()); // its first process ends, and the kernel kills all others
        let _ = self.first.wait(); // its exit code does not matter
        for server in &mut self.servers {
            let _ = server.wait(); // it was killed
        }
    }
}
