//! A kubelet without a cluster: runs the pod of a manifest from its own values, with volumes, users and probes as a kubelet makes them.
//! A field that is not known here is a failure of the test. A test gives images, Secrets, the names of hosts, and roots to trust.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::support::container::{Container, Mount, Process};
use crate::support::image::Images;
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::wait_for;

/// The members of an object, each of which must be taken.
pub struct Fields {
    at: String,
    left: Map<String, Value>,
}

impl Fields {
    pub fn of(at: &str, value: Value) -> Self {
        let Value::Object(left) = value else { panic!("{at}: no object: {value}") };
        Self { at: at.to_owned(), left }
    }

    pub fn maybe(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    pub fn take(&mut self, key: &str) -> Value {
        self.maybe(key).unwrap_or_else(|| panic!("{}: no {key}", self.at))
    }

    pub fn object(&mut self, key: &str) -> Self {
        Self::of(&format!("{}.{key}", self.at), self.take(key))
    }

    pub fn text(&mut self, key: &str) -> String {
        let value = self.take(key);
        value.as_str().unwrap_or_else(|| panic!("{}.{key}: no text: {value}", self.at)).to_owned()
    }

    pub fn number(&mut self, key: &str) -> u32 {
        let value = self.take(key);
        u32::try_from(value.as_u64().unwrap_or_else(|| panic!("{}.{key}: no number: {value}", self.at))).unwrap()
    }

    /// A list of objects, empty where there is none.
    pub fn objects(&mut self, key: &str) -> Vec<Self> {
        let Some(Value::Array(all)) = self.maybe(key) else { return Vec::new() };
        let name = |number: usize| format!("{}.{key}[{number}]", self.at);
        all.into_iter().enumerate().map(|(number, value)| Self::of(&name(number), value)).collect()
    }

    pub fn words(&mut self, key: &str) -> Option<Vec<String>> {
        let Value::Array(all) = self.maybe(key)? else { panic!("{}.{key}: no list", self.at) };
        Some(all.iter().map(|word| word.as_str().unwrap().to_owned()).collect())
    }

    /// A member that must have this value.
    pub fn must_be(&mut self, key: &str, expected: impl Into<Value>) {
        assert_eq!(self.take(key), expected.into(), "{}.{key}", self.at);
    }

    pub fn end(self) {
        assert!(self.left.is_empty(), "{}: not known: {:?}", self.at, self.left.keys());
    }
}

/// The documents of a YAML file, as PyYAML reads them.
pub fn documents(path: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut python = Command::new(PYTHON);
    let run: Run = python.args(["-c", script]).arg(path).output().unwrap().into();
    serde_json::from_str(&run.expect(0).out).unwrap()
}

/// The Python that has PyYAML and the schemas of Kubernetes.
pub const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/venv/bin/python");

/// The part of a pod that no manifest describes.
#[derive(Default)]
pub struct Surroundings {
    /// Names that lead to this machine, as `hostAliases` and DNS make them.
    pub hosts: Vec<&'static str>,
    /// Secrets: the files of each.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// A certificate that the containers trust, at /ca.pem.
    pub ca: Option<PathBuf>,
}

/// A pod that runs.
pub struct Pod<'a> {
    sandbox: &'a Sandbox,
    grace: Duration,
    /// In the order in which they were started.
    members: Vec<Member>,
    /// The first process of a pod whose containers see each other's processes.
    _pause: Option<Container>,
}

struct Member {
    name: String,
    /// An init container that runs as long as the others.
    is_sidecar: bool,
    process: Process,
    probe: Option<Vec<String>>,
    container: Option<Container>,
}

/// The settings and volumes that the containers of a pod share.
struct PodSpec {
    user: (u32, u32),
    group: u32,
    volumes: BTreeMap<String, (PathBuf, bool)>,
    hosts: PathBuf,
    ca: Option<PathBuf>,
}

impl<'a> Pod<'a> {
    /// The pod of the Deployment in a manifest. Init containers come first, each to its end or to its startup probe. `while_waiting` is called
    /// with the first sidecar before its probe is waited for.
    pub fn start(
        sandbox: &'a Sandbox,
        images: &Images,
        manifest: &Path,
        surroundings: &Surroundings,
        while_waiting: impl FnOnce(&mut Container, &[String]),
    ) -> Self {
        let (mut spec, configs) = deployment(documents(manifest));
        spec.must_be("automountServiceAccountToken", false);
        let grace = Duration::from_secs(spec.number("terminationGracePeriodSeconds").into());
        let shared = shared(sandbox, &mut spec, &configs, surroundings);
        let pause = spec.maybe("shareProcessNamespace").map(|value| {
            assert_eq!(value, true);
            Container::start(sandbox, &pause(sandbox, &shared))
        });
        let sees_processes_of = pause.as_ref().map(Container::pid);
        let mut pod = Self { sandbox, grace, members: Vec::new(), _pause: pause };
        let (inits, plain) = (spec.objects("initContainers"), spec.objects("containers"));
        spec.end();
        let mut while_waiting = Some(while_waiting);
        for (is_init, mut fields) in inits.into_iter().map(|f| (true, f)).chain(plain.into_iter().map(|f| (false, f))) {
            let is_sidecar = fields.maybe("restartPolicy").inspect(|policy| assert_eq!(policy, "Always")).is_some();
            assert!(is_init || !is_sidecar, "{}: restartPolicy is for init containers", fields.at);
            let mut member = member(fields, images, &shared, is_sidecar);
            member.process.sees_processes_of = sees_processes_of;
            let mut container = Container::start(sandbox, &member.process);
            if is_init && !is_sidecar {
                container.end().expect(0);
                continue;
            }
            if let Some(probe) = &member.probe {
                if let Some(look) = while_waiting.take() {
                    look(&mut container, probe);
                }
                if is_sidecar {
                    wait_for("the startup probe", || (container.exec(probe).code == 0).then_some(()));
                }
            }
            member.container = Some(container);
            pod.members.push(member);
        }
        pod
    }

    fn member(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).unwrap_or_else(|| panic!("no container {name}"))
    }

    pub fn container(&mut self, name: &str) -> &mut Container {
        self.member(name).container.as_mut().unwrap()
    }

    /// The exit code of the startup probe of a container is, or becomes, `code`.
    pub fn probe(&mut self, name: &str, code: i32) {
        let member = self.member(name);
        let (probe, container) = (member.probe.clone().unwrap(), member.container.as_ref().unwrap());
        wait_for("the probe", || (container.exec(&probe).code == code).then_some(()));
    }

    /// Ends a container within the grace period, and starts it anew as the kubelet does after its end. Gives how it ended.
    pub fn restart(&mut self, name: &str) -> Run {
        let (grace, sandbox) = (self.grace, self.sandbox);
        let member = self.member(name);
        let run = end(member.container.take().unwrap(), grace);
        member.container = Some(Container::start(sandbox, &member.process));
        run
    }

    /// A file of a ConfigMap or Secret has another content: the kubelet makes the volume's directory anew, and exchanges the link to it.
    pub fn renew(&self, volume: &str, path: &str, content: impl AsRef<[u8]>) {
        let dir = self.sandbox.path("volumes").join(volume);
        let old = fs::read_link(dir.join("..data")).unwrap();
        let new = format!("{}1", old.display());
        let run: Run = Command::new("cp").arg("-a").arg(dir.join(&old)).arg(dir.join(&new)).output().unwrap().into();
        run.expect(0);
        fs::write(dir.join(&new).join(path), content).unwrap();
        symlink(&new, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        fs::remove_dir_all(dir.join(old)).unwrap();
    }

    /// Ends the pod: the plain containers, then the sidecars, all within the grace period. Gives the code of each.
    pub fn stop(mut self) -> BTreeMap<String, i32> {
        let mut left = self.grace;
        let mut codes = BTreeMap::new();
        self.members.sort_by_key(|member| member.is_sidecar);
        for member in &mut self.members {
            let start = Instant::now();
            codes.insert(member.name.clone(), end(member.container.take().unwrap(), left).code);
            left = left.saturating_sub(start.elapsed());
        }
        codes
    }
}

/// The process that a container runtime puts into a pod before its containers.
fn pause(sandbox: &Sandbox, pod: &PodSpec) -> Process {
    let root = sandbox.path("pause");
    fs::create_dir(&root).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), root.join("busybox")).unwrap();
    let args =
        ["/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do /busybox sleep 1000 & wait; done"].map(str::to_owned);
    Process { root, args: args.to_vec(), user: pod.user, ..Process::default() }
}

/// TERM, and the end of the container before `grace` is over.
fn end(container: Container, grace: Duration) -> Run {
    let start = Instant::now();
    container.signal("TERM");
    let run = container.end();
    assert!(start.elapsed() < grace, "it took {:?} to end, and would be killed after {grace:?}", start.elapsed());
    run
}

/// The pod of the one Deployment of a manifest, and its ConfigMaps.
fn deployment(documents: Vec<Value>) -> (Fields, BTreeMap<String, BTreeMap<String, Vec<u8>>>) {
    let (mut pods, mut configs) = (Vec::new(), BTreeMap::new());
    for document in documents {
        let kind = document["kind"].as_str().unwrap().to_owned();
        let mut fields = Fields::of(&kind, document);
        fields.must_be("kind", &*kind);
        let mut metadata = fields.object("metadata");
        let name = metadata.text("name");
        metadata.end();
        if kind == "ConfigMap" {
            fields.must_be("apiVersion", "v1");
            let Value::Object(data) = fields.take("data") else { panic!("{name}: no data") };
            let bytes = |value: Value| value.as_str().unwrap().as_bytes().to_vec();
            configs.insert(name, data.into_iter().map(|(key, value)| (key, bytes(value))).collect());
        } else {
            fields.must_be("apiVersion", "apps/v1");
            let mut spec = fields.object("spec");
            let mut template = spec.object("template");
            let labels = template.object("metadata").take("labels");
            assert_eq!(spec.object("selector").take("matchLabels"), labels);
            pods.push(template.object("spec"));
            template.end();
            spec.end();
        }
        fields.end();
    }
    assert_eq!(pods.len(), 1);
    (pods.remove(0), configs)
}

/// User, group, volumes and hosts of the pod.
fn shared(
    sandbox: &Sandbox,
    spec: &mut Fields,
    configs: &BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    surroundings: &Surroundings,
) -> PodSpec {
    let mut security = spec.object("securityContext");
    security.must_be("runAsNonRoot", true);
    let user = (security.number("runAsUser"), security.number("runAsGroup"));
    assert_ne!(user.0, 0, "runAsNonRoot");
    let group = security.number("fsGroup");
    let mut seccomp = security.object("seccompProfile");
    seccomp.must_be("type", "RuntimeDefault");
    seccomp.end();
    security.end();
    let mut volumes = BTreeMap::new();
    for mut fields in spec.objects("volumes") {
        let name = fields.text("name");
        let dir = sandbox.path(format!("volumes/{name}"));
        volumes.insert(name, (dir.clone(), volume(fields, &dir, configs, &surroundings.secrets, group)));
    }
    let names = surroundings.hosts.iter().map(|name| format!("127.0.0.1\t{name}\n")).collect::<String>();
    let hosts = sandbox.write("hosts", format!("127.0.0.1\tlocalhost\n{names}"));
    PodSpec { user, group, volumes, hosts, ca: surroundings.ca.clone() }
}

/// Makes a volume; whether it is always mounted read-only.
fn volume(
    mut fields: Fields,
    dir: &Path,
    configs: &BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    secrets: &BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    group: u32,
) -> bool {
    fs::create_dir_all(dir).unwrap();
    let mut is_read_only = true;
    if fields.maybe("emptyDir").inspect(|options| assert_eq!(*options, Value::Object(Map::new()))).is_some() {
        is_read_only = false;
        mode(dir, 0o777);
    } else if let Some(config) = fields.maybe("configMap") {
        let mut config = Fields::of("configMap", config);
        let files = &configs[&config.text("name")];
        mode(dir, 0o777);
        atomic_writer(config, dir, files);
    } else {
        let mut secret = fields.object("secret");
        let files = &secrets[&secret.text("secretName")];
        let run: Run = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir).output().unwrap().into();
        run.expect(0);
        mode(dir, 0o777);
        atomic_writer(secret, dir, files);
    }
    fields.end();
    give_to_group(dir, group, is_read_only);
    is_read_only
}

/// The files of a ConfigMap or Secret: in a directory with a time in its name, to which `..data` leads, and a link for each name.
fn atomic_writer(mut fields: Fields, dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let default = fields.maybe("defaultMode").map_or(0o644, |mode| mode.as_u64().unwrap().try_into().unwrap());
    let mut items = Vec::new();
    for mut item in fields.objects("items") {
        let mode = item.maybe("mode").map_or(default, |mode| mode.as_u64().unwrap().try_into().unwrap());
        items.push((item.text("key"), item.text("path"), mode));
        item.end();
    }
    fields.end();
    if items.is_empty() {
        items = files.keys().map(|key| (key.clone(), key.clone(), default)).collect();
    }
    let real = dir.join("..2026_11_22_06_40_10.126000000");
    fs::create_dir(&real).unwrap();
    mode(&real, 0o755);
    for (key, path, bits) in items {
        let file = real.join(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, files.get(&key).unwrap_or_else(|| panic!("no key {key}"))).unwrap();
        mode(&file, bits);
        let top = path.split('/').next().unwrap();
        if fs::symlink_metadata(dir.join(top)).is_err() {
            symlink(Path::new("..data").join(top), dir.join(top)).unwrap();
        }
    }
    symlink(real.file_name().unwrap(), dir.join("..data")).unwrap();
}

/// fsGroup: the group may read everything, and write where the volume is not read-only.
fn give_to_group(path: &Path, group: u32, is_read_only: bool) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_symlink() {
        return;
    }
    chown(path, None, Some(group)).unwrap();
    let bits = if is_read_only { 0o440 } else { 0o660 } | if meta.is_dir() { 0o2110 } else { 0 };
    mode(path, meta.permissions().mode() & 0o7777 | bits);
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_group(&entry.unwrap().path(), group, is_read_only);
        }
    }
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// A container of the pod.
fn member(mut fields: Fields, images: &Images, pod: &PodSpec, is_sidecar: bool) -> Member {
    let (name, image) = (fields.text("name"), fields.text("image"));
    let args = fields.words("args");
    let mut process = images.named(&image).process(args.as_deref());
    process.user = pod.user;
    process.groups = vec![pod.group];
    security(&mut fields, &mut process);
    for mut variable in fields.objects("env") {
        process.env.push((variable.text("name"), variable.text("value")));
        variable.end();
    }
    // The user has no line in /etc/passwd of the image.
    process.env.push(("HOME".into(), "/".into()));
    let file = |source: &Path, target: &str| Mount { source: source.into(), target: target.into(), is_read_only: true };
    process.mounts.push(file(&pod.hosts, "/etc/hosts"));
    if let Some(ca) = &pod.ca {
        process.mounts.push(file(ca, "/ca.pem"));
        process.env.push(("SSL_CERT_FILE".into(), "/ca.pem".into()));
    }
    let mounts: Vec<Mount> = fields.objects("volumeMounts").into_iter().map(|mount| mounted(mount, pod)).collect();
    // containerd gives a VOLUME of the image a directory of its own, unless the pod has a volume there.
    for target in images.named(&image).volumes.iter().filter(|target| mounts.iter().all(|m| m.target != **target)) {
        let source = pod.hosts.with_file_name(format!("image-volumes/{name}{target}"));
        fs::create_dir_all(&source).unwrap();
        process.mounts.push(Mount { source, target: target.clone(), is_read_only: false });
    }
    process.mounts.extend(mounts);
    if let Some(resources) = fields.maybe("resources") {
        let mut resources = Fields::of("resources", resources);
        let mut requests = resources.object("requests");
        assert!(requests.text("cpu").ends_with('m') && requests.text("memory").ends_with("Mi"));
        requests.end();
        let mut limits = resources.object("limits");
        let memory = limits.text("memory");
        process.memory = Some(memory.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20);
        limits.end();
        resources.end();
    }
    let probe = fields.maybe("startupProbe").map(|probe| {
        let mut probe = Fields::of("startupProbe", probe);
        let command = probe.object("exec").words("command").unwrap();
        assert!(probe.number("periodSeconds") > 0 && probe.number("timeoutSeconds") > 0);
        assert!(probe.number("failureThreshold") > 0);
        probe.end();
        command
    });
    fields.end();
    Member { name, is_sidecar, process, probe, container: None }
}

/// The restricted profile of Kubernetes' pod security standards, and a root that is read-only.
fn security(fields: &mut Fields, process: &mut Process) {
    let mut security = fields.object("securityContext");
    security.must_be("allowPrivilegeEscalation", false);
    security.must_be("readOnlyRootFilesystem", true);
    let mut capabilities = security.object("capabilities");
    assert_eq!(capabilities.words("drop").unwrap(), ["ALL"]);
    capabilities.end();
    security.end();
    process.may_gain_privileges = false;
    process.is_root_read_only = true;
    process.capabilities.clear();
}

fn mounted(mut fields: Fields, pod: &PodSpec) -> Mount {
    let (dir, is_read_only) = &pod.volumes[&fields.text("name")];
    let target = fields.text("mountPath");
    let is_asked = fields.maybe("readOnly").is_some_and(|value| value == true);
    // The kubelet mounts the file itself, not a link to it.
    let source = match fields.maybe("subPath") {
        Some(path) => fs::canonicalize(dir.join(path.as_str().unwrap())).unwrap(),
        None => dir.clone(),
    };
    fields.end();
    Mount { source, target, is_read_only: *is_read_only || is_asked }
}
