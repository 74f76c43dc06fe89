//! A machine whose power is cut in the middle of an update, and comes back: etc/image, a kernel and a schedule. Some cuts are real ones
//! (qemu is killed at a moment of the update, and the machine boots again); others replay the log of the disk to any of its writes, and
//! this host checks the disk. A disk with a volatile cache loses writes since its last flush; both kinds of cuts try that.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::crash::Tree;
use crate::support::disk::Disk;
use crate::support::machine::{Drive, Image, Loss, Machine, SOURCE, watch};
use crate::support::needs::needs;
use crate::support::phrases::{DEPLOYED, UNPACKED, UP_TO_DATE};
use crate::support::sandbox::{Run, Sandbox, age, tree};
use crate::support::servers::Nginx;
use crate::support::walk::{Point, sample};
use crate::support::write_log::{self, Entry};

/// Files of a release: with many they are synced together.
const FEW: usize = 30;
const MANY: usize = 150;

/// How many writes of a recorded update are tried: each is three power cuts.
const SAMPLE: usize = 10;

/// A moment of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Half of the archive came over the network.
    Fetching,
    Unpacked,
    /// A pre hook runs.
    PreHook,
    /// A post hook runs: the new release has just become live.
    PostHook,
    Deployed,
    /// So many writes and flushes reached the disk since the release was published.
    Written(usize),
}
use Moment::{Deployed, Fetching, PostHook, PreHook, Unpacked, Written};

/// A machine, its disk, and the server that it deploys from.
struct Site {
    kind: &'static str,
    way: &'static str,
    files: usize,
    image: Image,
    drive: Drive,
    /// The system of the machine, for programs that run on this host.
    root: PathBuf,
    server: Nginx,
    port: u16,
    /// By version.
    releases: BTreeMap<usize, Tree>,
    /// Those of the versions 1, 2, …
    revisions: Vec<String>,
    sandbox: Sandbox,
}

/// A hook that says so when it runs, and waits for the power cut if the kernel was told so.
const HOOK: &str = r#"#!/bin/sh
version=$(cat "$CURRENT_CONFIG/VERSION")
echo "the $REPO_DEPLOY_PHASE hook of version $version runs"
! grep -qsw "hold=$REPO_DEPLOY_PHASE:$version" /proc/cmdline || exec tail -f /dev/null
"#;

/// Prints one number for all of a tree: names, modes, links and content.
const TREE_SUM: &str = r#"#!/bin/sh
cd "$1/" 2>/dev/null || { echo none; exit; }
{ find . -mindepth 1 -exec stat -c '%a %N' {} +; find . -type f -exec sha256sum {} +; } | sort | sha256sum | cut -c1-64
"#;

const REPORT: &str = r#"#!/bin/sh
store=/var/deploy/.current.deploy
[ -d "$store" ] || store=/var/lib/repo-deploy/default
{
    echo "live $(tree-sum /var/deploy/current)"
    sed -n 's/^phase = /phase /p' "$store/state"
} >/dev/ttyS1 2>/dev/null
echo "the report is complete"
"#;

/// Lines of hex digits, which compress to half.
fn noise(seed: usize, length: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}\n"));
    }
    text
}

/// The tree of a version: content that changes, content that stays, links, programs, names that come and go.
fn release(version: usize, files: usize) -> Vec<(String, String)> {
    let mut all = vec![
        ("VERSION".to_owned(), format!("{version}\n")),
        ("link".to_owned(), format!("-> data/{:03}", version % files)),
        ("run".to_owned(), format!("#!/bin/sh\necho {version}\n")),
        (format!("only/in/{version}"), "x".to_owned()),
    ];
    for file in 0..files {
        let seed = if file % 3 == 0 { file } else { file + 1000 * version };
        all.push((format!("data/{file:03}"), noise(seed, 1000 + 700 * (file % 60))));
    }
    all
}

impl Site {
    fn new(kind: &'static str, way: &'static str, files: usize) -> Option<Self> {
        let mkfs = format!("mkfs.{kind}");
        let mkfs = mkfs.as_str();
        needs!(time, root, "nginx", "mount", "bsdtar", "chroot", mkfs);
        let sandbox = Sandbox::in_memory();
        let server = Nginx::start(&sandbox, "", "limit_rate 8m;");
        let port = server.port();
        let config =
            format!("remote = http://source:{port}/app.zip\nschedule = * * * * * *\nactivation = {way}\nkeep = 2\n");
        sandbox.write("files/etc/repo-deploy/repo-deploy.cfg", config);
        sandbox.write("files/etc/hosts", format!("{SOURCE} source\n"));
        let programs = [
            ("etc/repo-deploy/pre-update.d/10-hold", HOOK),
            ("etc/repo-deploy/post-update.d/10-hold", HOOK),
            ("etc/rc.d/50-report", REPORT),
            ("bin/tree-sum", TREE_SUM),
        ];
        for (name, text) in programs {
            let path = sandbox.write(Path::new("files").join(name), text);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let image = Image::build(&sandbox, &sandbox.path("files"))?;
        let root = sandbox.path("root");
        image.unpack(&root);
        fs::write(root.join("etc/hosts"), "127.0.0.1 source\n").unwrap();
        let drive = Drive::new(&sandbox, kind);
        Some(Self {
            kind,
            way,
            files,
            image,
            drive,
            root,
            server,
            port,
            releases: BTreeMap::new(),
            revisions: Vec::new(),
            sandbox,
        })
    }

    /// Offers a version from now on.
    fn publish(&mut self, version: usize) {
        let files = release(version, self.files);
        let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (&**name, &**content)).collect();
        let zip = self.sandbox.zip("next.zip", &files);
        let unpacked = self.root.join(format!("releases/{version}"));
        fs::create_dir_all(&unpacked).unwrap();
        assert!(Command::new("bsdtar").arg("-xpf").arg(&zip).current_dir(&unpacked).status().unwrap().success());
        self.releases.insert(version, tree(&unpacked));
        age(&zip);
        let meta = zip.metadata().unwrap();
        self.revisions.push(format!("etag:\"{:x}-{:x}\"", meta.mtime(), meta.len()));
        fs::rename(zip, self.sandbox.path("www/app.zip")).unwrap();
    }

    /// A program of the machine, run on this host.
    fn run(&self, words: &[&str]) -> Run {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin");
        command.output().unwrap().into()
    }

    /// The number that tree-sum prints for a version.
    fn sum(&self, version: usize) -> String {
        let run = self.run(&["/bin/tree-sum", &format!("/releases/{version}")]).expect(0);
        run.out.trim().to_owned()
    }

    fn boot(&self, options: &str) -> Machine {
        let mut machine = self.image.boot(&self.drive, self.port, options);
        machine.console.until("the report is complete");
        machine
    }

    /// Waits until a check has deployed, or found nothing to do, and another one has begun after it.
    fn settle(&self, machine: &mut Machine) {
        machine.console.until_any(&[DEPLOYED, UP_TO_DATE]);
        let polls = || self.server.all().iter().filter(|line| line.contains("|304|")).count();
        let before = polls();
        watch(&self.sandbox.path("nginx/access.log"), "two checks", || (polls() >= before + 2).then_some(()));
    }

    /// Publishes a version, and cuts the power at the `moment` of its deployment.
    fn cut_at(&mut self, mut machine: Machine, moment: Moment, version: usize) {
        let (bytes, entries) = (machine.transferred(), write_log::length(&self.drive.log()));
        self.publish(version);
        let half = self.sandbox.path("www/app.zip").metadata().unwrap().len() / 2;
        match moment {
            Fetching => machine.until_transferred(bytes + half),
            Unpacked => drop(machine.console.until(UNPACKED)),
            PreHook => drop(machine.console.until(&format!("the pre hook of version {version} runs"))),
            PostHook => drop(machine.console.until(&format!("the post hook of version {version} runs"))),
            Deployed => drop(machine.console.until(DEPLOYED)),
            Written(more) => self.drive.until_written(entries + more),
        }
        drop(machine);
    }

    /// The report of a machine that has booted after a cut at `moment` of the deployment of `version`.
    fn judge(&self, report: &str, moment: Moment, version: usize, at: &str) {
        let value = |key: &str| report.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        let live = value("live ");
        let (is_old, is_new) = (live == self.sum(version - 1), live == self.sum(version));
        let is_right = match moment {
            PreHook => is_old,
            PostHook | Deployed => is_new,
            // The machine runs on until the power goes: it may be further by then.
            Fetching | Unpacked | Written(_) => is_old || is_new || self.way == "in-place" && value("phase ") != "idle",
        };
        assert!(is_right, "{at}: the live tree is neither {} nor {version}, or too early: {report}", version - 1);
    }

    fn store(&self) -> PathBuf {
        let store = if self.way == "symlink" { "var/deploy/.current.deploy" } else { "var/lib/repo-deploy/default" };
        self.root.join(store)
    }

    fn state(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.store().join("state")).unwrap();
        assert!(text.ends_with("end = yes\n"), "a torn state:\n{text}");
        text.lines().filter_map(|line| line.split_once(" = ")).map(|(key, value)| (key.into(), value.into())).collect()
    }

    /// The disk `image` after a cut in the deployment of `version`, as this host sees it before and after a check.
    fn examine(&self, image: &Path, version: usize, at: &str) {
        let Some(disk) = Disk::open(image, self.kind, &self.root.join("var")) else {
            panic!("{at}: cannot mount the disk")
        };
        let (old, new) = (&self.releases[&(version - 1)], &self.releases[&version]);
        let live = || tree(&self.root.join("var/deploy/current"));
        let (found, state) = (live(), self.state());
        let is_whole = found == *old || found == *new;
        if self.way == "symlink" || state["phase"] == "idle" {
            assert!(is_whole, "{at}: the live tree is neither old nor new, and {}", state["phase"]);
        }
        for (path, entry) in &found {
            let is_temporary = path.split('/').any(|part| part.starts_with(".repo-deploy-"));
            // A directory in the making is still closed to others.
            let is_known = |tree: &Tree| tree.get(path) == Some(entry) || (entry == "d 700" && tree.contains_key(path));
            assert!(is_temporary || is_known(old) || is_known(new), "{at}: {path} is no version of it");
        }
        for entry in fs::read_dir(self.store().join("releases")).unwrap() {
            let kept = entry.unwrap().path();
            let kept_tree = tree(&kept);
            let is_whole = self.releases.values().any(|tree| *tree == kept_tree);
            assert!(is_whole, "{at}: {} is incomplete", kept.display());
        }
        let run = self.run(&["/usr/local/bin/repo-deploy", "-f"]).expect(0);
        assert!(live() == *new, "{at}: the new release is not live after a check:\n{}", run.log);
        self.is_right(version, &format!("{at}:\n{}", run.log));
        drop(disk);
    }

    /// After a check: the state, the history and the store say that `version` is live, and nothing is left over.
    fn is_right(&self, version: usize, at: &str) {
        assert_eq!(self.state()["phase"], "idle", "{at}");
        let left = fs::read_dir(self.store().join("partial")).unwrap().count();
        assert_eq!(left, 0, "{at}: left in partial");
        let run = self.run(&["/usr/local/bin/repo-deploy", "verify"]);
        assert_eq!(run.code, 0, "{at}: verify: {}{}", run.out, run.log);
        let run = self.run(&["/usr/local/bin/repo-deploy", "history", "--json"]).expect(0);
        let history: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        let lines = history["deployments"][0]["history"].as_array().unwrap();
        let told: Vec<&str> = lines.iter().rev().filter_map(|line| line["revision"].as_str()).collect();
        let published: Vec<&String> = self.revisions.iter().take(version).collect();
        assert_eq!(told, published, "{at}: {}", run.out);
        assert!(lines.iter().all(|line| line["outcome"] == "deployed"), "{at}: {}", run.out);
    }
}

/// Boots a machine, and cuts its power at each of `moments`, one update for each; it boots again each time.
fn cut_at_moments(kind: &'static str, way: &'static str, files: usize, moments: &[(Moment, Loss)]) {
    let Some(mut site) = Site::new(kind, way, files) else { return };
    site.publish(1);
    let mut before: Option<(Moment, Loss)> = None;
    for (number, next) in moments.iter().map(Some).chain([None]).enumerate() {
        let version = number + 1;
        let options = match next {
            Some((PreHook, _)) => format!("hold=pre:{}", version + 1),
            Some((PostHook, _)) => format!("hold=post:{}", version + 1),
            _ => String::new(),
        };
        let mut machine = site.boot(&options);
        let at = format!("{kind}, {way}, {files} files: power cut in the update to {version}: {before:?}");
        match before {
            Some((moment, _)) => site.judge(&machine.report(), moment, version, &at),
            None => assert_eq!(machine.report(), "live none\n"),
        }
        site.settle(&mut machine);
        if let Some((moment, loss)) = next {
            site.cut_at(machine, *moment, version + 1);
            site.drive.lose(*loss);
            before = Some((*moment, *loss));
        } else {
            drop(machine);
            let disk = Disk::open(site.drive.image(), kind, &site.root.join("var")).unwrap();
            assert!(tree(&site.root.join("var/deploy/current")) == site.releases[&version], "{at}");
            // The power was cut once more, and during a check perhaps: the next one is on this host.
            let run = site.run(&["/usr/local/bin/repo-deploy", "-f"]).expect(0);
            site.is_right(version, &format!("{at}:\n{}", run.log));
            drop(disk);
        }
    }
    eprintln!("machine: {kind}, {way}, {files} files: {} cuts, 0 failures", moments.len());
}

#[test]
fn power_of_a_machine_is_cut_in_symlink_updates_then_it_boots_and_is_right() {
    let moments =
        [(Fetching, Loss::Nothing), (Unpacked, Loss::Half(1)), (PreHook, Loss::Unflushed), (PostHook, Loss::Unflushed)];
    cut_at_moments("ext4", "symlink", MANY, &moments);
}

#[test]
fn power_of_a_machine_is_cut_in_in_place_updates_then_it_boots_and_is_right() {
    let moments = [(Unpacked, Loss::Nothing), (PostHook, Loss::Unflushed), (Deployed, Loss::Half(2))];
    cut_at_moments("xfs", "in-place", FEW, &moments);
}

/// Boots a machine, which deploys twice, and replays the writes of the second deployment: the machine and its log.
struct Recorded {
    site: Site,
    entries: Vec<Entry>,
    /// How many entries there were before the second deployment.
    begun: usize,
    trial: PathBuf,
    name: String,
}

impl Recorded {
    fn new(kind: &'static str, way: &'static str, files: usize) -> Option<Self> {
        for _ in 0..3 {
            let recorded = Self::record(kind, way, files)?;
            if recorded.is_whole() {
                return Some(recorded);
            }
        }
        panic!("all of the log does not give the disk itself, three times");
    }

    /// Whether the log gives the disk: the kill of qemu may come between a write and its entry.
    fn is_whole(&self) -> bool {
        self.site.drive.after(&self.entries, Loss::Nothing, &self.trial);
        Command::new("cmp").arg(self.site.drive.image()).arg(&self.trial).status().unwrap().success()
    }

    fn record(kind: &'static str, way: &'static str, files: usize) -> Option<Self> {
        let mut site = Site::new(kind, way, files)?;
        site.publish(1);
        let mut machine = site.boot("");
        site.settle(&mut machine);
        let begun = write_log::length(&site.drive.log());
        site.publish(2);
        site.settle(&mut machine);
        drop(machine);
        let entries = write_log::read(&site.drive.log());
        let trial = site.sandbox.path("trial.img");
        let flushes = entries[begun..].iter().filter(|entry| matches!(entry, Entry::Flush)).count();
        assert!(flushes > 5, "{flushes} flushes in an update");
        Some(Self { site, entries, begun, trial, name: format!("{kind}, {way}, {files} files") })
    }

    /// The power goes after the first `n` entries; the disk is as it should be, or this panics.
    fn cut_after(&self, n: usize, loss: Loss) {
        self.site.drive.after(&self.entries[..n], loss, &self.trial);
        let (at, all) = (n - self.begun, self.entries.len() - self.begun);
        self.site.examine(&self.trial, 2, &format!("{}: power cut after {at} of {all} writes ({loss:?})", self.name));
    }

    /// Cuts the power after `size` of the writes, or each of them.
    fn cut_everywhere(&self, size: usize) {
        let points = (self.begun..=self.entries.len()).map(|n| Point { name: "write".to_owned(), n }).collect();
        let points = sample(&format!("writes of a machine: {}", self.name), size, points);
        for Point { n, .. } in &points {
            for loss in [Loss::Unflushed, Loss::Half(*n), Loss::Nothing] {
                self.cut_after(*n, loss);
            }
        }
        eprintln!("machine: {}: {} replays, 0 failures", self.name, points.len() * 3);
    }
}

#[test]
fn writes_of_a_machine_are_replayed_to_any_of_them_then_the_disk_is_right() {
    let Some(recorded) = Recorded::new("ext4", "symlink", MANY) else { return };
    recorded.cut_everywhere(SAMPLE);
    // The proof that the replays see the need for flushes: a disk that ignores them, and loses one of the large writes.
    let size = |n: &usize| match &recorded.entries[*n] {
        Entry::Write { data, .. } => data.len(),
        Entry::Flush => 0,
    };
    let mut writes: Vec<usize> = (recorded.begun..recorded.entries.len()).collect();
    writes.sort_by_key(|n| std::cmp::Reverse(size(n)));
    let fails = |n: &usize| {
        let cut = AssertUnwindSafe(|| recorded.cut_after(recorded.entries.len(), Loss::One(*n)));
        catch_unwind(cut).is_err()
    };
    assert!(writes.iter().take(10).any(fails), "a disk that ignores flushes is not found out");
}

/// Every write of two updates replayed, and 40 cuts of a running machine at any of them, if REPO_DEPLOY_EVERY_POINT is set.
fn cut_everywhere(kind: &'static str, way: &'static str) {
    if std::env::var_os("REPO_DEPLOY_EVERY_POINT").is_none() {
        return;
    }
    for files in [FEW, MANY] {
        let Some(recorded) = Recorded::new(kind, way, files) else { return };
        recorded.cut_everywhere(usize::MAX);
        let writes = recorded.entries.len() - recorded.begun;
        drop(recorded);
        let named = [Fetching, Unpacked, PreHook, PostHook, Deployed];
        let written = (0..10).map(|n| Written(writes * n / 10));
        let losses = [Loss::Nothing, Loss::Unflushed, Loss::Half(files)].into_iter().cycle();
        let cuts: Vec<_> = named.into_iter().chain(named).chain(written).zip(losses).collect();
        cut_at_moments(kind, way, files, &cuts);
    }
}

#[test]
fn power_of_a_machine_is_cut_everywhere_in_symlink_updates_on_ext4() {
    cut_everywhere("ext4", "symlink");
}

#[test]
fn power_of_a_machine_is_cut_everywhere_in_symlink_updates_on_xfs() {
    cut_everywhere("xfs", "symlink");
}

#[test]
fn power_of_a_machine_is_cut_everywhere_in_in_place_updates_on_ext4() {
    cut_everywhere("ext4", "in-place");
}

#[test]
fn power_of_a_machine_is_cut_everywhere_in_in_place_updates_on_xfs() {
    cut_everywhere("xfs", "in-place");
}

#[test]
fn what_an_image_is_built_from_is_missing_then_one_line_says_so_and_nothing_is_made() {
    needs!(root, "busybox");
    let sandbox = Sandbox::new();
    let (binary, files) = (sandbox.write("repo-deploy", ""), sandbox.write("files/etc/hosts", ""));
    let (binary, files) = (binary.to_str().unwrap(), files.parent().unwrap().to_str().unwrap());
    sandbox.write("module/lib/modules/6.1/modules.builtin", "");
    sandbox.write("several/lib/modules/6.1/modules.builtin", "");
    sandbox.write("several/lib/modules/6.2/modules.builtin", "");
    for version in ["6.1", "6.2"] {
        sandbox.write(format!("several/boot/vmlinuz-{version}"), "");
    }
    for (kernel, binary, files, words) in [
        ("absent", binary, files, "absent has not one kernel"),
        ("module", binary, files, "module has not one kernel"),
        ("several", binary, files, "several has not one kernel"),
        ("several", "/absent", files, "/absent is no file"),
        ("several", binary, "/absent", "/absent is no directory"),
    ] {
        let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/image/build"));
        build.arg(sandbox.path(kernel)).args([binary, files]).arg(sandbox.path("out"));
        let run = Run::from(build.output().unwrap());
        assert!(run.code == 1 && run.log.lines().count() == 1 && run.log.contains(words), "{run:?}");
        assert!(!sandbox.path("out").exists(), "{words}");
    }
}
