//! Packages: what etc/dist/package makes of a binary, installed, upgraded and removed in roots of their own by dpkg and rpm.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::needs;
use crate::support::phrases::DEPLOYED;
use crate::support::sandbox::{Run, Sandbox, binary, tree};

const CONFIG: &str = "etc/repo-deploy/repo-deploy.cfg";
const ROTATION: &str = "etc/logrotate.d/repo-deploy";

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent").args(words);
    command
}

/// A copy of the files of the checkout that packages are made of, with `version` for the next release.
fn checkout(sandbox: &Sandbox, name: &str, version: Option<&str>) -> PathBuf {
    let copy = sandbox.path(name);
    fs::create_dir(&copy).unwrap();
    let mut cp = words("cp -R Makefile Cargo.toml LICENSE README.md CHANGELOG.md etc");
    run(cp.current_dir(env!("CARGO_MANIFEST_DIR")).arg(&copy)).expect(0);
    if let Some(version) = version {
        let manifest = fs::read_to_string(copy.join("Cargo.toml")).unwrap();
        let line = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        fs::write(copy.join("Cargo.toml"), manifest.replacen(&line, &format!("version = \"{version}\""), 1)).unwrap();
        let sample = fs::read_to_string(copy.join("etc/repo-deploy.cfg")).unwrap();
        fs::write(copy.join("etc/repo-deploy.cfg"), format!("# A newer sample.\n{sample}")).unwrap();
    }
    copy
}

/// The tarball, .deb and .rpm of the binary under test, made in a checkout.
struct Packages {
    tarball: PathBuf,
    deb: PathBuf,
    rpm: PathBuf,
}

impl Packages {
    fn of(sandbox: &Sandbox, checkout: &Path, zone: &str) -> Self {
        // A debug binary has 30 times the size.
        let stripped = sandbox.path("stripped");
        if !stripped.exists() {
            run(words("strip -o").arg(&stripped).arg(binary())).expect(0);
        }
        let out = checkout.join("out");
        fs::create_dir(&out).unwrap();
        let mut package = Command::new(checkout.join("etc/dist/package"));
        package.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", zone).env("SOURCE_DATE_EPOCH", "1700000000");
        let licenses = sandbox.write("licenses", "the licenses of the crates\n");
        package.arg(std::env::consts::ARCH).arg(&stripped).arg(binary()).arg(licenses).arg(&out);
        let made = run(&mut package).expect(0);
        assert_eq!(made.out, "");
        let ending = |ending: &str| {
            let mut files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
            files.find(|path| path.to_str().unwrap().ends_with(ending)).unwrap_or_else(|| panic!("no {ending}"))
        };
        Self { tarball: ending(".tar.gz"), deb: ending(".deb"), rpm: ending(".rpm") }
    }

    fn first(sandbox: &Sandbox) -> Self {
        Self::of(sandbox, &checkout(sandbox, "first", None), "UTC")
    }
}

/// A root directory with a shell, and with a systemctl that notes its arguments.
struct Root<'a> {
    sandbox: &'a Sandbox,
    path: PathBuf,
}

impl<'a> Root<'a> {
    fn new(sandbox: &'a Sandbox, name: &str) -> Self {
        let root = Self { sandbox, path: sandbox.path(name) };
        for dir in
            ["bin", "etc", "usr/bin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "srv/app"]
        {
            fs::create_dir_all(root.path.join(dir)).unwrap();
        }
        fs::write(root.path.join("var/lib/dpkg/status"), "").unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.unwrap(), root.path.join("bin/busybox")).unwrap();
        for applet in ["sh", "rm", "cp", "cat"] {
            symlink("busybox", root.path.join("bin").join(applet)).unwrap();
        }
        fs::create_dir(root.path.join("dev")).unwrap();
        fs::write(root.path.join("dev/null"), "").unwrap();
        fs::write(root.path.join("srv/app/index.html"), "hello\n").unwrap();
        root
    }

    fn with_systemd(self) -> Self {
        fs::create_dir_all(self.path.join("run/systemd/system")).unwrap();
        let systemctl = self.path.join("bin/systemctl");
        fs::write(&systemctl, "#!/bin/sh\necho \"$1 $2\" >>/calls\n").unwrap();
        fs::set_permissions(systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// The first words of each call of systemctl since the last look.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path.join("calls")).unwrap_or_default();
        fs::write(self.path.join("calls"), "").unwrap();
        calls.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn dpkg(&self, line: &str) -> Command {
        let mut dpkg = words(&format!("dpkg --root={} --force-confdef --force-confold", self.path.display()));
        dpkg.args(line.split(' '));
        dpkg
    }

    fn rpm(&self, line: &str) -> Command {
        let mut rpm = words(&format!("rpm --root {} --dbpath /var/lib/rpm", self.path.display()));
        rpm.args(line.split(' '));
        rpm
    }

    /// Runs the installed program.
    fn program(&self, line: &str) -> Run {
        run(words(&format!("chroot {} /usr/bin/repo-deploy", self.path.display())).args(line.split(' ')))
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path.join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        self.sandbox.read(self.path.join(name))
    }

    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// The kinds and modes in the tree, without the databases of the package managers.
    fn tree(&self) -> BTreeMap<String, String> {
        let of_managers = ["var/lib/dpkg", "var/lib/rpm", "var/log", "var/tmp", "dev", "calls", "srv"];
        let is_ours = |path: &String| !of_managers.iter().any(|dir| Path::new(path).starts_with(dir));
        kinds(&self.path).into_iter().filter(|(path, _)| is_ours(path)).collect()
    }

    /// Deploys a release, with a hook of the administrator, to the default places.
    fn deploys(&self) {
        self.write(CONFIG, "remote = /srv/app\n");
        self.write("etc/repo-deploy/post-update.d/50-mine", "#!/bin/sh\ncat $CURRENT_CONFIG/index.html >/greeting\n");
        let hook = self.path.join("etc/repo-deploy/post-update.d/50-mine");
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
        self.program("-f").expect(0).says(DEPLOYED);
        assert_eq!(self.read("greeting"), "hello\n");
        // The unit makes both, whatever the source is.
        for dir in ["var/cache/repo-deploy", "var/lib/repo-deploy"] {
            fs::create_dir_all(self.path.join(dir)).unwrap();
            self.write(&format!("{dir}/file"), "");
        }
    }

    /// What a removal leaves of the deployment is what it was.
    fn is_live(&self) {
        assert_eq!(self.read("var/deploy/current/index.html"), "hello\n");
        assert!(self.has("var/lib/repo-deploy/file"));
        assert!(self.has("etc/repo-deploy/post-update.d/50-mine"));
    }
}

/// The kind and the mode of each entry of a tree.
fn kinds(root: &Path) -> BTreeMap<String, String> {
    let kind = |entry: String| entry.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree(root).into_iter().map(|(path, entry)| (path, kind(entry))).collect()
}

/// Runs make install into `stage`, anew, and puts the licenses there.
fn stages(sandbox: &Sandbox, prefix: &str) {
    let stage = sandbox.path("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).unwrap();
    }
    let mut make = words("make -s --no-print-directory install");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).arg(format!("BINARY={}", sandbox.path("stripped").display()));
    run(make.arg(format!("DESTDIR={}", stage.display())).arg(format!("PREFIX={prefix}"))).expect(0);
    let licenses = stage.join(prefix.trim_start_matches('/')).join("share/doc/repo-deploy/THIRD-PARTY.txt");
    fs::copy(sandbox.path("licenses"), &licenses).unwrap();
    fs::set_permissions(&licenses, fs::Permissions::from_mode(0o644)).unwrap();
    run(words("gzip -9n").arg(licenses)).expect(0);
}

/// Paths as a package has them, for what it compresses, renames or moves.
fn at(path: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(path.to_owned(), |path, (from, to)| path.replace(from, to))
}

const COMPRESSED: [(&str, &str); 2] = [("man8/repo-deploy.8", "man8/repo-deploy.8.gz"), ("cfg.5", "cfg.5.gz")];

/// Every entry of make install is in the root, with its mode, and nothing else.
fn holds_what_make_installs(root: &Root, empty: &BTreeMap<String, String>, changes: &[(&str, &str)]) {
    stages(root.sandbox, "/usr");
    let expected: BTreeMap<String, String> = kinds(&root.sandbox.path("stage"))
        .into_iter()
        .map(|(path, kind)| (at(&path, changes), kind))
        .filter(|(path, _)| !empty.contains_key(path))
        .collect();
    let found = root.tree().into_iter().filter(|(path, _)| !empty.contains_key(path)).collect();
    assert_eq!(expected, found);
    let version = root.program("version").expect(0).out;
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

/// Does what docs/releases.md says about the tarball.
fn the_tarball_keeps_the_configuration(sandbox: &Sandbox, tarball: &Path) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/releases.md")).unwrap();
    let root = sandbox.path("root");
    for dir in ["usr/local", "etc"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    run(words("tar -xzf").arg(tarball).current_dir(sandbox.path(""))).expect(0);
    let top = sandbox.path(tarball.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz"));
    let copy = || {
        for (line, into) in [("cp -Rf usr/local/. ", "/usr/local/"), ("cp -Rn etc/. ", "/etc/")] {
            assert!(page.contains(&format!("sudo {line}{into}")), "docs/releases.md has no {line}{into}");
            let target = root.join(into.trim_start_matches('/'));
            run(words(line.trim_end()).arg(target).current_dir(&top)).expect(0);
        }
    };
    copy();
    stages(sandbox, "/usr/local");
    assert_eq!(kinds(&root), kinds(&sandbox.path("stage")));
    assert!(tree(&root) == tree(&sandbox.path("stage")));
    fs::write(root.join(CONFIG), "remote = /mine\n").unwrap();
    fs::write(root.join("usr/local/bin/repo-deploy"), "old").unwrap();
    copy();
    assert_eq!(fs::read_to_string(root.join(CONFIG)).unwrap(), "remote = /mine\n");
    assert!(tree(&root.join("usr")) == tree(&sandbox.path("stage/usr")));
}

#[test]
fn a_binary_is_packed_in_two_places_then_the_bytes_are_the_same_and_the_tarball_is_whole() {
    needs!(time, "make", "strip", "dpkg-deb", "rpmbuild", "xz");
    let sandbox = Sandbox::new();
    let first = Packages::first(&sandbox);
    let other = checkout(&sandbox, "the-other-directory", None);
    run(words("chmod -R go=").arg(&other)).expect(0);
    let other = Packages::of(&sandbox, &other, "Asia/Kolkata");
    for (one, another) in [(&first.tarball, &other.tarball), (&first.deb, &other.deb), (&first.rpm, &other.rpm)] {
        assert_eq!(one.file_name(), another.file_name());
        assert!(fs::read(one).unwrap() == fs::read(another).unwrap(), "{}", one.display());
    }
    for fields in ["Depends", "Pre-Depends", "Recommends"] {
        assert_eq!(run(words("dpkg-deb -f").arg(&first.deb).arg(fields)).expect(0).out, "\n", "{fields}");
    }
    let needed = run(words("rpm -qp --requires").arg(&first.rpm)).expect(0).out;
    assert!(needed.lines().all(|line| line == "/bin/sh" || line.starts_with("rpmlib(")), "{needed}");
    the_tarball_keeps_the_configuration(&sandbox, &first.tarball);
}

/// The first and the next .deb in a root with systemd.
fn deb_leaves_what_is_promised(sandbox: &Sandbox, first: &Packages, next: &Packages) {
    let root = Root::new(sandbox, "deb").with_systemd();
    let empty = root.tree();
    run(root.dpkg("-i").arg(&first.deb)).expect(0);
    let mut changes = COMPRESSED.to_vec();
    changes.extend([
        ("site-functions", "vendor-completions"),
        ("LICENSE", "copyright"),
        ("CHANGELOG.md", "changelog.gz"),
    ]);
    holds_what_make_installs(&root, &empty, &changes);
    assert_eq!(run(&mut root.dpkg("-V")).expect(0).out, "");
    assert_eq!(root.calls(), ["daemon-reload"]);

    // The newer sample does not take the place of the administrator's configuration.
    root.deploys();
    run(root.dpkg("-i").arg(&next.deb)).expect(0);
    assert_eq!(root.read(CONFIG), "remote = /srv/app\n");
    assert!(root.read(&format!("{CONFIG}.dpkg-dist")).starts_with("# A newer sample.\n"));
    assert!(root.calls().iter().all(|call| call == "daemon-reload"));
    assert!(run(&mut root.dpkg("-s repo-deploy")).expect(0).out.contains("\nVersion: 99.1.0-1\n"));

    run(&mut root.dpkg("-r repo-deploy")).expect(0);
    let calls = root.calls();
    assert_eq!(calls, ["stop repo-deploy.service", "--quiet --no-reload", "daemon-reload"]);
    assert!(!root.has("usr/bin/repo-deploy") && !root.has("usr/share") && !root.has("usr/lib"));
    assert!(root.has(CONFIG) && root.has(ROTATION) && root.has("var/cache/repo-deploy"));
    root.is_live();

    run(&mut root.dpkg("-P repo-deploy")).expect(0);
    assert!(!root.has(CONFIG) && !root.has(ROTATION) && !root.has("var/cache/repo-deploy"));
    root.is_live();
    let mut left: Vec<String> = root.tree().into_keys().filter(|path| !empty.contains_key(path)).collect();
    left.retain(|path| !path.starts_with("var/deploy/") && !path.starts_with("var/lib/repo-deploy/"));
    let of_the_administrator =
        ["etc/repo-deploy", "etc/repo-deploy/post-update.d", "etc/repo-deploy/post-update.d/50-mine"];
    let of_the_deployment = ["greeting", "var/deploy", "var/lib/repo-deploy"];
    let mut expected = [&of_the_administrator[..], &of_the_deployment, &["var/cache"]].concat();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// The first and the next .rpm in a root with systemd.
fn rpm_leaves_what_is_promised(sandbox: &Sandbox, first: &Packages, next: &Packages) {
    let root = Root::new(sandbox, "rpm").with_systemd();
    let empty = root.tree();
    run(&mut root.rpm("--initdb")).expect(0);
    // No package of this root has its /bin/sh.
    run(root.rpm("-i --nodeps").arg(&first.rpm)).expect(0);
    holds_what_make_installs(&root, &empty, &COMPRESSED);
    assert_eq!(run(&mut root.rpm("-V --nodeps repo-deploy")).expect(0).out, "");
    assert_eq!(root.calls(), ["daemon-reload"]);

    root.deploys();
    run(root.rpm("-U --nodeps").arg(&next.rpm)).expect(0);
    assert_eq!(root.read(CONFIG), "remote = /srv/app\n");
    assert!(root.read(&format!("{CONFIG}.rpmnew")).starts_with("# A newer sample.\n"));
    assert!(root.calls().iter().all(|call| call == "daemon-reload"));

    run(&mut root.rpm("-e repo-deploy")).expect(0);
    assert_eq!(root.calls(), ["stop repo-deploy.service", "--quiet --no-reload", "daemon-reload"]);
    assert!(!root.has(CONFIG) && !root.has(ROTATION) && root.has(&format!("{CONFIG}.rpmsave")));
    root.is_live();
    let mut left: Vec<String> = root.tree().into_keys().filter(|path| !empty.contains_key(path)).collect();
    left.retain(|path| !["etc/", "var/deploy", "var/lib/", "var/cache"].iter().any(|dir| path.starts_with(dir)));
    // rpm leaves the directories of the system.
    left.retain(|path| !root.path.join(path).is_dir() || path.contains("repo-deploy"));
    assert_eq!(left, ["greeting"]);
}

/// Both in a root without systemd.
fn nothing_of_systemd_is_called(sandbox: &Sandbox, packages: &Packages) {
    let root = Root::new(sandbox, "plain");
    let empty = root.tree();
    let quiet = |run: Run| assert_eq!(run.expect(0).log, "");
    run(root.dpkg("-i").arg(&packages.deb)).expect(0);
    quiet(run(&mut root.dpkg("-P repo-deploy")));
    let left: Vec<String> = root.tree().into_keys().filter(|path| !empty.contains_key(path)).collect();
    assert_eq!(left, Vec::<String>::new());
    run(&mut root.rpm("--initdb")).expect(0);
    run(root.rpm("-i --nodeps").arg(&packages.rpm)).expect(0);
    run(&mut root.rpm("-e repo-deploy")).expect(0);
    let left: Vec<String> = root.tree().into_keys().filter(|path| !empty.contains_key(path)).collect();
    assert!(left.iter().all(|path| root.path.join(path).is_dir() && !path.contains("repo-deploy")), "{left:?}");
}

#[test]
fn packages_are_installed_upgraded_and_removed_then_they_leave_what_is_promised() {
    needs!(time, root, "make", "strip", "dpkg", "rpm", "dpkg-deb", "rpmbuild", "xz", "busybox", "chroot");
    let sandbox = Sandbox::new();
    let first = Packages::first(&sandbox);
    let next = Packages::of(&sandbox, &checkout(&sandbox, "next", Some("99.1.0")), "UTC");
    deb_leaves_what_is_promised(&sandbox, &first, &next);
    rpm_leaves_what_is_promised(&sandbox, &first, &next);
    nothing_of_systemd_is_called(&sandbox, &first);
}

#[test]
fn a_release_is_signed_then_the_sums_and_the_signature_are_right() {
    needs!("minisign", "sha256sum");
    let sandbox = Sandbox::new();
    let sign = |key: Option<&Path>| {
        let mut sign = words("etc/dist/sign");
        sign.current_dir(env!("CARGO_MANIFEST_DIR")).arg(sandbox.path("dist"));
        run(sign.envs(key.map(|key| ("MINISIGN_KEY", key)))).expect(0)
    };
    sandbox.write("dist/repo-deploy-x86_64", "a binary");
    sandbox.write("dist/repo-deploy-0.1.0.buildinfo", "tools");
    assert!(sign(None).out.starts_with("not signed: "));
    assert!(!sandbox.path("dist/SHA256SUMS.minisig").exists());
    let (secret, public) = (sandbox.path("key.sec"), sandbox.path("key.pub"));
    run(words("minisign -G -W -s").arg(&secret).arg("-p").arg(&public)).expect(0);
    sign(Some(&secret));
    // The commands of the page.
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/releases.md")).unwrap();
    let check = |line: &str, code: i32| {
        assert!(page.contains(line), "docs/releases.md has no {line:?}");
        let line = line.replace("repo-deploy.pub", public.to_str().unwrap());
        run(words(&line).current_dir(sandbox.path("dist"))).expect(code);
    };
    check("minisign -V -p repo-deploy.pub -m SHA256SUMS", 0);
    check("sha256sum -c --ignore-missing SHA256SUMS", 0);
    sandbox.write("dist/repo-deploy-x86_64", "another one");
    check("sha256sum -c --ignore-missing SHA256SUMS", 1);
}

#[test]
fn licenses_are_printed_then_each_crate_has_its_texts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let printed = run(Command::new(root.join("etc/dist/licenses")).arg(std::env::consts::ARCH)).expect(0);
    let crates: Vec<&str> = printed.out.split(&"=".repeat(80)).skip(1).collect();
    assert!(crates.len() > 80, "{}", crates.len());
    for (name, text) in [("ureq", "MIT"), ("ring", "Apache"), ("zip", "MIT"), ("rustls", "Apache"), ("lexopt", "MIT")] {
        let of = |part: &&&str| part.trim_start().starts_with(&format!("{name} v"));
        let part = crates.iter().find(of).unwrap_or_else(|| panic!("no {name}"));
        assert!(part.contains(text) && part.contains("--- LICENSE") && part.len() > 1000, "{name}: {part}");
    }
    assert!(!printed.out.contains("repo-deploy v"), "its own license is a file of its own");
}
