//! Images, as `docker build` makes them from a Dockerfile and the files of its context: without an engine, by overlays, and with runc
//! for RUN. The base `debian:stable-slim` is the Debian of tests/parts.sh. The result of the first RUN of a stage upon it is kept beside
//! it, like a layer; only that command has the network of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::alone::NETWORK_OF_THE_MACHINE;
use crate::support::container::{Container, Mount, OF_DOCKER, Process};
use crate::support::dockerfile::{Dockerfile, Health, Stage, Step, expand};
use crate::support::sandbox::{Run, Sandbox};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// There is a Debian for images that begin with one.
pub const DEBIAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.parts/debian.made");

pub type Result<T> = std::result::Result<T, String>;

/// The root of an image, and how an engine starts it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub root: PathBuf,
    /// The directories that the root is made of, the topmost first.
    layers: Vec<PathBuf>,
    pub env: Vec<(String, String)>,
    pub user: String,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub health: Option<Health>,
    pub volumes: Vec<String>,
}

impl Image {
    /// A root that is there already.
    pub fn of(root: &Path, entrypoint: &[&str]) -> Self {
        let entrypoint = entrypoint.iter().map(|&word| word.to_owned()).collect();
        Self { root: root.to_owned(), layers: vec![root.to_owned()], entrypoint, ..Self::default() }
    }

    /// The process of a container, with Docker's defaults; `args` take the place of CMD.
    pub fn process(&self, args: Option<&[String]>) -> Process {
        let user = match &*self.user {
            "" => (0, 0),
            user => {
                let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
                (uid.parse().unwrap(), gid.parse().unwrap())
            }
        };
        let mut env = vec![("PATH".to_owned(), PATH.to_owned())];
        env.extend(self.env.iter().cloned());
        Process {
            root: self.root.clone(),
            args: [&self.entrypoint[..], args.unwrap_or(&self.command)].concat(),
            env,
            user,
            capabilities: OF_DOCKER.map(str::to_owned).to_vec(),
            may_gain_privileges: true,
            ..Process::default()
        }
    }
}

/// The images of a test, whose roots are gone when it ends.
pub struct Images {
    sandbox: Sandbox,
    by_name: BTreeMap<String, Image>,
    mounted: Vec<PathBuf>,
}

/// A running build: the sources of its stages, and the images that they have become.
struct Build<'a> {
    file: &'a Dockerfile,
    context: &'a Path,
    /// The values of `--build-arg` and those that BuildKit sets.
    given: Vec<(String, String)>,
    done: BTreeMap<usize, Image>,
}

impl Images {
    pub fn new() -> Self {
        Self { sandbox: Sandbox::new(), by_name: BTreeMap::new(), mounted: Vec::new() }
    }

    pub fn add(&mut self, name: &str, image: Image) {
        self.by_name.insert(name.to_owned(), image);
    }

    pub fn named(&self, name: &str) -> &Image {
        self.by_name.get(name).unwrap_or_else(|| panic!("there is no image {name}"))
    }

    /// `docker build` for `platform` (`amd64`, `arm64`).
    pub fn build(&mut self, text: &str, context: &Path, args: &[(&str, &str)], platform: &str) -> Result<Image> {
        let file = Dockerfile::read(text)?;
        let mut given: Vec<_> = args.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        given.push(("TARGETARCH".into(), platform.into()));
        let mut build = Build { file: &file, context, given, done: BTreeMap::new() };
        self.stage(&mut build, file.stages.len() - 1)
    }

    /// A stage, after those that it needs; no other is built.
    fn stage(&mut self, build: &mut Build, number: usize) -> Result<Image> {
        if let Some(image) = build.done.get(&number) {
            return Ok(image.clone());
        }
        let stage = &build.file.stages[number];
        let mut scope = Vec::new();
        for argument in &build.file.arguments {
            declare(&mut scope, argument, &build.given, &[]);
        }
        let base = expand(&stage.base, &scope)?;
        let mut image = self.base(build, &base, number)?;
        let (steps, layer) = self.first_layer(stage, &base)?;
        image.layers.splice(0..0, layer);
        image.root = self.root(&mut image.layers);
        let mut variables = image.env.clone();
        for step in steps {
            self.step(build, &mut image, &mut variables, step, &scope)?;
        }
        build.done.insert(number, image.clone());
        Ok(image)
    }

    /// The image that a line FROM or an option `--from` names: an earlier stage, or an image.
    fn base(&mut self, build: &mut Build, name: &str, before: usize) -> Result<Image> {
        let is_it = |stage: &Stage| stage.name.as_deref() == Some(name);
        if let Some(number) = build.file.stages[..before].iter().position(is_it) {
            return self.stage(build, number);
        }
        match name {
            "scratch" => Ok(Image::default()),
            "debian:stable-slim" => Ok(Image { command: vec!["bash".into()], ..Image::of(&part("debian"), &[]) }),
            _ => self.by_name.get(name).cloned().ok_or_else(|| format!("there is no image {name}")),
        }
    }

    /// A root of these layers and a new one, which is put on top of them.
    fn root(&mut self, layers: &mut Vec<PathBuf>) -> PathBuf {
        let at = |name: &str, number: usize| {
            let dir = self.sandbox.path(format!("images/{number}/{name}"));
            fs::create_dir_all(&dir).unwrap();
            dir
        };
        let number = (0..).find(|number| !self.sandbox.path(format!("images/{number}")).exists()).unwrap();
        let upper = at("upper", number);
        let root = if layers.is_empty() { upper.clone() } else { at("root", number) };
        if !layers.is_empty() {
            overlay(&root, layers, &upper, &at("work", number));
            self.mounted.push(root.clone());
        }
        layers.insert(0, upper);
        root
    }

    /// The first command of a stage upon Debian, as a layer that is kept; and the steps that are left.
    fn first_layer<'s>(&self, stage: &'s Stage, base: &str) -> Result<(&'s [Step], Option<PathBuf>)> {
        let [first @ Step::Run { binds, command }, rest @ ..] = &stage.steps[..] else {
            return Ok((&stage.steps, None));
        };
        if base != "debian:stable-slim" || !binds.is_empty() {
            return Ok((&stage.steps, None));
        }
        let mut hash = DefaultHasher::new();
        (format!("{first:?}"), fs::read_to_string(DEBIAN).unwrap()).hash(&mut hash);
        let layer = part(&format!("debian-{:x}", hash.finish()));
        let lock = fs::File::create(part("debian.lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        if !layer.exists() {
            let new = part("debian.new");
            let _ = fs::remove_dir_all(&new); // of a run that was cut off
            let [root, upper, work] = ["root", "upper", "work"].map(|name| new.join(name));
            for dir in [&root, &upper, &work] {
                fs::create_dir_all(dir).unwrap();
            }
            overlay(&root, &[part("debian")], &upper, &work);
            let image = Image { root: root.clone(), ..Image::default() };
            let mut command = run(&image, command, &[], &[]);
            command.capabilities = OF_DOCKER.map(str::to_owned).to_vec();
            let ended = in_the_network_of_the_machine(&self.sandbox, &command);
            unmount(&root);
            if ended.code != 0 {
                return Err(format!("RUN ended with {}: {}{}", ended.code, ended.out, ended.log));
            }
            fs::rename(&upper, &layer).unwrap();
            fs::remove_dir_all(&new).unwrap();
        }
        Ok((rest, Some(layer)))
    }

    fn step(
        &mut self,
        build: &mut Build,
        image: &mut Image,
        variables: &mut Vec<(String, String)>,
        step: &Step,
        scope: &[(String, String)],
    ) -> Result<()> {
        match step {
            Step::Argument(name, default) => declare(variables, &(name.clone(), default.clone()), &build.given, scope),
            Step::Environment(pairs) => {
                for (name, value) in pairs {
                    let pair = (name.clone(), expand(value, variables)?);
                    variables.push(pair.clone());
                    image.env.push(pair);
                }
            }
            Step::Copy { from, mode, sources, target } => {
                let from = match from {
                    Some(name) => self.base(build, &expand(name, scope)?, build.file.stages.len())?.root,
                    None => build.context.to_owned(),
                };
                let target = expand(target, variables)?;
                for source in sources {
                    copy(&from, &expand(source, variables)?, &image.root, &target, *mode, sources.len() > 1)?;
                }
            }
            Step::Run { binds, command } => {
                let binds: Vec<Mount> = binds
                    .iter()
                    .map(|(source, target)| bind(inside(build.context, source)?, target))
                    .collect::<Result<_>>()?;
                let process = run(image, command, variables, &binds);
                let ended = Container::start(&self.sandbox, &process).end();
                if ended.code != 0 {
                    return Err(format!("RUN ended with {}: {}", ended.code, ended.log));
                }
            }
            Step::User(user) => image.user = expand(user, variables)?,
            Step::Volume(path) => image.volumes.push(expand(path, variables)?),
            Step::Health(health) => image.health = Some(health.clone()),
            Step::Entrypoint(words) => {
                image.entrypoint.clone_from(words);
                image.command.clear();
            }
            Step::Command(words) => image.command.clone_from(words),
        }
        Ok(())
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for root in self.mounted.iter().rev() {
            unmount(root);
        }
    }
}

/// A file that tests/parts.sh has brought.
pub fn part(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.parts").join(name)
}

/// ARG: given on the command line or by BuildKit, declared before the first stage, or its default.
fn declare(
    variables: &mut Vec<(String, String)>,
    (name, default): &(String, Option<String>),
    given: &[(String, String)],
    scope: &[(String, String)],
) {
    let of = |all: &[(String, String)]| all.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    if let Some(value) = of(given).or_else(|| default.clone()).or_else(|| of(scope)) {
        variables.push((name.clone(), value));
    }
}

/// A file below a directory that a Dockerfile names.
fn inside(dir: &Path, name: &str) -> Result<PathBuf> {
    let relative = name.trim_start_matches('/');
    let path = dir.join(relative);
    let is_below = !relative.split('/').any(|part| part == "..");
    if is_below && path.is_file() { Ok(path) } else { Err(format!("{name}: no file in {}", dir.display())) }
}

fn bind(source: PathBuf, target: &str) -> Result<Mount> {
    Ok(Mount { source, target: target.to_owned(), is_read_only: true })
}

fn copy(from: &Path, source: &str, root: &Path, target: &str, mode: Option<u32>, are_many: bool) -> Result<()> {
    let source = inside(from, source)?;
    let target = target.strip_prefix('/').ok_or_else(|| format!("COPY to {target}: it is relative"))?;
    let is_dir = target.ends_with('/') || are_many || root.join(target).is_dir();
    let path = if is_dir { root.join(target).join(source.file_name().unwrap()) } else { root.join(target) };
    let parent = path.parent().unwrap();
    fs::create_dir_all(parent).unwrap();
    if !fs::canonicalize(parent).unwrap().starts_with(fs::canonicalize(root).unwrap()) {
        return Err(format!("COPY to /{target}: a link leads out of the image"));
    }
    fs::copy(&source, &path).unwrap();
    if let Some(mode) = mode {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    Ok(())
}

/// The process of RUN.
fn run(image: &Image, command: &[String], variables: &[(String, String)], binds: &[Mount]) -> Process {
    let mut process = image.process(None);
    process.args = command.to_vec();
    process.env.extend(variables.iter().cloned());
    process.env.push(("HOME".into(), "/root".into()));
    process.mounts = binds.to_vec();
    process.mounts.push(bind("/etc/resolv.conf".into(), "/etc/resolv.conf").unwrap());
    process
}

fn in_the_network_of_the_machine(sandbox: &Sandbox, process: &Process) -> Run {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NETWORK_OF_THE_MACHINE}")).arg("runc");
    Container::start_by(sandbox, process, command).end()
}

fn overlay(root: &Path, layers: &[PathBuf], upper: &Path, work: &Path) {
    let lower: Vec<_> = layers.iter().map(|layer| layer.display().to_string()).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let mut mount = Command::new("mount");
    let run: Run = mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(root).output().unwrap().into();
    run.expect(0);
}

fn unmount(root: &Path) {
    let run: Run = Command::new("umount").arg("--lazy").arg(root).output().unwrap().into();
    assert!(run.code == 0 || std::thread::panicking(), "{run:?}");
}
