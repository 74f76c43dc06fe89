//! Containers as an engine runs them, by runc: a root that may be read-only, a user, mounts, the default profile of system calls, and
//! a limit on memory. Each shares the network of the test.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::wait_for;

/// The system calls that an engine lets containers use.
pub const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/seccomp.json");

/// The capabilities that Docker gives to a container unless it drops them.
pub const OF_DOCKER: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A program and the container around it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub root: PathBuf,
    pub is_root_read_only: bool,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub user: (u32, u32),
    pub groups: Vec<u32>,
    pub capabilities: Vec<String>,
    /// A program with a set-user-ID bit may become root.
    pub may_gain_privileges: bool,
    pub mounts: Vec<Mount>,
    /// Bytes.
    pub memory: Option<u64>,
    /// The processes that it sees: those of a process, or only its own.
    pub sees_processes_of: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Mount {
    pub source: PathBuf,
    pub target: String,
    pub is_read_only: bool,
}

/// A container that runs, or whose process has ended.
pub struct Container {
    bundle: PathBuf,
    name: String,
    running: Option<Running>,
}

impl Container {
    pub fn start(sandbox: &Sandbox, process: &Process) -> Self {
        Self::start_by(sandbox, process, Command::new("runc"))
    }

    /// `command` is runc, perhaps behind another program.
    pub fn start_by(sandbox: &Sandbox, process: &Process, mut command: Command) -> Self {
        thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
        let number = NEXT.replace(NEXT.get() + 1);
        // Its control group has this name too, among those of all tests.
        let name = format!("{}-{number}", sandbox.path("").display().to_string().trim_matches('/').replace('/', "_"));
        let bundle = sandbox.path(format!("bundles/{number}"));
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), specification(process).to_string()).unwrap();
        command.arg("--root").arg(bundle.join("state")).args(["run", "--bundle"]).arg(&bundle).arg(&name);
        Self { running: Some(Running::start(command)), bundle, name }
    }

    fn runc(&self, words: &[&str]) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.bundle.join("state")).args(words);
        runc
    }

    /// Another program in the container, as the engine runs a probe: with the same user, environment and limits.
    pub fn exec(&self, args: &[impl AsRef<str>]) -> Run {
        let mut exec = self.runc(&["exec", &self.name]);
        exec.args(args.iter().map(AsRef::as_ref)).output().unwrap().into()
    }

    /// The number of its first process.
    pub fn pid(&self) -> u32 {
        let state = wait_for("the container", || {
            Some(Run::from(self.runc(&["state", &self.name]).output().unwrap())).filter(|run| run.code == 0)
        });
        let state: Value = serde_json::from_str(&state.out).unwrap();
        state["pid"].as_u64().unwrap().try_into().unwrap()
    }

    pub fn signal(&self, name: &str) {
        let run: Run = self.runc(&["kill", &self.name, name]).output().unwrap().into();
        run.expect(0);
    }

    /// Waits for a line of its log with `words`.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> &mut Self {
        self.running.as_mut().unwrap().until(words);
        self
    }

    /// Waits for the end of its process.
    pub fn end(mut self) -> Run {
        self.running.take().unwrap().end()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.running.is_some() {
            drop(self.runc(&["delete", "--force", &self.name]).output());
        }
    }
}

/// The `config.json` of runc.
fn specification(process: &Process) -> Value {
    let bind = |mount: &Mount| {
        let access = if mount.is_read_only { "ro" } else { "rw" };
        json!({"destination": mount.target, "type": "bind", "source": mount.source, "options": ["rbind", "rprivate", access]})
    };
    let own = [
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "size=65536k"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}),
    ];
    let may = &process.capabilities;
    // A user other than root has none of them at hand.
    let at_hand = if process.user.0 == 0 { &may[..] } else { &[] };
    let env: Vec<String> = process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut spaces = vec![json!({"type": "mount"}), json!({"type": "ipc"}), json!({"type": "uts"})];
    spaces.push(match process.sees_processes_of {
        Some(pid) => json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")}),
        None => json!({"type": "pid"}),
    });
    json!({
        "ociVersion": "1.0.2",
        "hostname": "pod",
        "root": {"path": process.root, "readonly": process.is_root_read_only},
        "mounts": own.into_iter().chain(process.mounts.iter().map(bind)).collect::<Vec<_>>(),
        "process": {
            "user": {"uid": process.user.0, "gid": process.user.1, "additionalGids": process.groups},
            "cwd": "/",
            "env": env,
            "args": process.args,
            "noNewPrivileges": !process.may_gain_privileges,
            "capabilities": {"bounding": may, "effective": at_hand, "permitted": at_hand},
        },
        "linux": {
            "namespaces": spaces,
            "resources": process.memory.map_or_else(|| json!({}), |limit| json!({"memory": {"limit": limit}})),
            "seccomp": seccomp(may),
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                            "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Calls that Docker and containerd allow with CAP_SYS_ADMIN only, and those that they never allow. The profile of Debian's
/// containers-common leaves most of them to the kernel.
const NOT_FOR_CONTAINERS: [&str; 24] = [
    "add_key",
    "bpf",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "syslog",
    "umount",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

/// The profile of Debian's containers-common for a container with these capabilities, made as narrow as that of Docker and containerd:
/// EPERM to all other calls, and ENOSYS to clone3, whose flags no profile can see.
fn seccomp(capabilities: &[String]) -> Value {
    let text = fs::read_to_string(PROFILE).unwrap();
    let profile: Value = serde_json::from_str(&text).unwrap();
    let names = |rule: &Value, key: &str| -> Option<Vec<String>> {
        Some(rule.get(key)?.as_array()?.iter().map(|name| name.as_str().unwrap().to_owned()).collect())
    };
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let has = |name: &String| capabilities.contains(name);
    let mut rules = vec![json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})];
    for rule in profile["syscalls"].as_array().unwrap() {
        let (with, without) = (&rule["includes"], &rule["excludes"]);
        let applies = names(with, "arches").is_none_or(|all| all.iter().any(|name| name == architecture))
            && names(with, "caps").is_none_or(|all| all.iter().all(has))
            && names(without, "caps").is_none_or(|all| !all.iter().any(has));
        let calls: Vec<String> = names(rule, "names")
            .unwrap()
            .into_iter()
            .filter(|name| name != "clone3" && !NOT_FOR_CONTAINERS.contains(&&**name))
            .collect();
        if applies && !calls.is_empty() {
            let mut made = json!({"names": calls, "action": rule["action"]});
            for key in ["args", "errnoRet"].into_iter().filter(|key| !rule[*key].is_null()) {
                made[key] = rule[key].clone();
            }
            rules.push(made);
        }
    }
    assert!(rules.len() > 10, "only {} rules", rules.len());
    let own = if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": [own], "syscalls": rules})
}
