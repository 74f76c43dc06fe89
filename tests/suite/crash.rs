//! Kills the release binary before every system call of a whole check, and lets every system call fail, in every way of
//! activation: for a first deployment, an update, a blocked and a reverted one. After the kill, and after the plain run
//! that follows, what the store promises must hold.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::git_servers::Repo;
use crate::support::needs::{has, needs};
use crate::support::sandbox::{Run, Sandbox, tree};
use crate::support::tree::{everything, manifest, put_back, without_times};
use crate::support::walk::{Point, SAMPLE, points, sample};

pub type Tree = BTreeMap<String, String>;

/// The versions: between them everything changes that can (content, mode, kinds, links, names).
const V1: &[(&str, &str)] = &[
    ("VERSION", "1"),
    ("conf/a", "one"),
    ("gone", "x"),
    ("link", "-> conf/a"),
    ("run", "#!/bin/sh\n"),
    ("swap", "file"),
    ("turn/x", "in a directory"),
];
const V2: &[(&str, &str)] = &[
    ("VERSION", "2"),
    ("conf/a", "two"),
    ("link", "-> new"),
    ("new", "n"),
    ("run", "now text"),
    ("swap/y", "in a directory"),
    ("turn", "file"),
];

/// The one before, which an update prunes.
const V0: &[(&str, &str)] = &[("VERSION", "0"), ("conf/a", "zero"), ("old/deep/file", "x")];

/// How releases become live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Symlink,
    InPlace,
    /// A bundle: its tree goes to `dest/app`, another file of it into `dest/etc`, which is full of others' files.
    Install,
}
use Way::{InPlace, Install, Symlink};

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Symlink => "symlink",
            InPlace => "in-place",
            Install => "install",
        })
    }
}

/// A sandbox just before the check that is to be disturbed, and what may be seen from then on.
pub struct Case {
    pub sandbox: Sandbox,
    name: String,
    remote: String,
    way: Way,
    /// What is live before; `None`: nothing.
    old: Option<Tree>,
    /// What an undisturbed check makes of it.
    last: Option<Tree>,
    /// What the new version makes of it, whatever becomes of that.
    new: Tree,
    /// Its name.
    version: String,
    /// The exit code of an undisturbed check.
    code: i32,
    /// It is no check that is disturbed, but a rollback.
    is_by_hand: bool,
    /// What releases may hold.
    releases: Vec<Tree>,
}

/// Writes the ZIP of a version with `more` files; as a bundle it says where its tree goes.
fn zip(sandbox: &Sandbox, way: Way, name: &str, files: &[(&str, &str)], more: usize) {
    let more: Vec<String> = (0..more).map(|n| format!("more/{n:02}")).collect();
    let more = more.iter().map(|name| (name.as_str(), files[0].1));
    let files: &[(&str, &str)] = &files.iter().copied().chain(more).collect::<Vec<_>>();
    if way != Install {
        sandbox.zip(name, files);
        return;
    }
    let dest = sandbox.path("dest");
    let dest = dest.display();
    // Between the two everything has another mode, and one has ACLs: all files change.
    let (version, mode) = (files[0].1, if files[0].1 == "2" { "'0604'" } else { "'0640', acls: ['u:1:rw', 'g::r']" });
    let other = if version == "2" { "over" } else { "only1" };
    let mut appspec = format!(
        "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles:\n- {{source: tree, destination: {dest}/app}}\n\
         - {{source: {other}, destination: {dest}/etc}}\npermissions:\n- {{object: {dest}/app, type: [file], owner: 3, mode: {mode}}}\nhooks:\n"
    );
    for event in ["ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart"] {
        appspec.push_str(&format!("  {event}: [{{location: scripts/ok}}]\n"));
    }
    let tree: Vec<(String, &str)> = files.iter().map(|(name, content)| (format!("tree/{name}"), *content)).collect();
    let mut all = vec![("VERSION", version), ("appspec.yml", &appspec), ("scripts/ok", "#!/bin/sh\n"), (other, "ours")];
    all.extend(tree.iter().map(|(name, content)| (name.as_str(), *content)));
    sandbox.zip(name, &all);
}

/// What others have where bundles are installed: one file that nobody touches, and two that versions replace.
fn found(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt;
    for name in ["foreign", "foreign-too", "over", "only1"] {
        let path = sandbox.write(Path::new("dest/etc").join(name), format!("the original of {name}"));
        std::os::unix::fs::chown(&path, Some(5), Some(6)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
        if has("setfacl") && has("setfattr") {
            let run = |program: &str, args: &[&str]| {
                assert!(Command::new(program).args(args).arg(&path).status().unwrap().success());
            };
            run("setfacl", &["-m", "u:7:rwx,m::rx"]);
            run("setfattr", &["-n", "user.note", "-v", name]);
            // Long ago.
            run("touch", &["-d", "2001-02-03 04:05:06.789"]);
        }
    }
}

/// What the check that is disturbed would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    First,
    Update,
    Blocked,
    Reverted,
    /// A first deployment whose post hook fails.
    FirstReverted,
    /// In-place onto a directory with content.
    Adopting,
    /// The same, with a post hook that fails.
    AdoptingReverted,
    /// An update from a git repository. Only we are killed: git goes on for as long as it likes.
    GitUpdate,
    /// Back by hand, from 2 to 1.
    Rollback,
    /// The same, and a post hook fails.
    RollbackReverted,
}

impl Case {
    pub fn new(way: Way, doing: Doing) -> Self {
        // A kill leaves the page cache as it is: what a disk makes of a power cut has cases of its own.
        Self::at(Sandbox::in_memory(), way, doing, 0)
    }

    /// With `more` files in each version: from 64 on they are synced together.
    pub fn at(sandbox: Sandbox, way: Way, doing: Doing, more: usize) -> Self {
        use Doing::{Adopting, AdoptingReverted, Blocked, First, FirstReverted, GitUpdate, Reverted, Update};
        use Doing::{Rollback, RollbackReverted};
        let name = format!("{way} {doing:?} {more}");
        zip(&sandbox, way, "v1.zip", V1, more);
        zip(&sandbox, way, "v2.zip", V2, more);
        sandbox.write("repo-deploy.cfg", format!("activation = {way}\nid = crash\nkeep = 2\n"));
        let (v1, v2) = (Self::unpacked(&sandbox, "v1.zip"), Self::unpacked(&sandbox, "v2.zip"));
        let is_git = doing == GitUpdate;
        let repo = is_git.then(|| Repo::new(&sandbox, "app"));
        let put = |version: &str| match &repo {
            None => drop(fs::copy(sandbox.path(version), sandbox.path("app.zip")).unwrap()),
            Some(repo) => {
                let versions = [("v0.zip", V0), ("v1.zip", V1), ("v2.zip", V2)];
                repo.clear();
                repo.commit(versions.iter().find(|(name, _)| *name == version).unwrap().1);
            }
        };
        let remote = match &repo {
            None => sandbox.path("app.zip").display().to_string(),
            Some(repo) => repo.remote("#main"),
        };
        put("v1.zip");
        let mut releases = vec![v1.clone(), v2.clone()];
        let mut old = None;
        if way == Install {
            found(&sandbox);
            old = Some(everything(&sandbox.path("dest")));
        }
        match doing {
            First | FirstReverted => {}
            Adopting | AdoptingReverted => {
                for (name, content) in [("VERSION", "0"), ("mine/deep", "found"), ("turn", "found")] {
                    sandbox.write(sandbox.local().join(name), content);
                }
                old = Some(tree(&sandbox.local()));
                releases.push(tree(&sandbox.local()));
            }
            Update | Blocked | Reverted | GitUpdate => {
                zip(&sandbox, way, "v0.zip", V0, more);
                releases.push(Self::unpacked(&sandbox, "v0.zip"));
                for version in ["v0.zip", "v1.zip"] {
                    put(version);
                    let mut plain = sandbox.command(&["--remote", &remote]);
                    Run::from(plain.output().unwrap()).expect(0);
                }
                old = Some(if way == Install { everything(&sandbox.path("dest")) } else { v1.clone() });
                put("v2.zip");
            }
            Rollback | RollbackReverted => {
                for version in ["v1.zip", "v2.zip"] {
                    put(version);
                    let mut plain = sandbox.command(&["--remote", &remote]);
                    Run::from(plain.output().unwrap()).expect(0);
                }
                old = Some(if way == Install { everything(&sandbox.path("dest")) } else { v2.clone() });
            }
        }
        let new = if matches!(doing, Update | Blocked | Reverted | GitUpdate) { v2 } else { v1 };
        let version = new["VERSION"].rsplit(' ').next().unwrap().to_owned();
        drop(repo);
        let is_by_hand = matches!(doing, Rollback | RollbackReverted);
        let last = old.clone();
        let mut case = Self { sandbox, name, remote, way, last, old, new, version, code: 0, is_by_hand, releases };
        case.save();
        // Which version fails is the release's business: a hook that runs for the old one after a revert must pass.
        let version = &case.version;
        let fails = format!("[ \"$(cat \"$CURRENT_CONFIG/VERSION\")\" != {version} ]");
        if way == Install {
            Run::from(case.disturbed().output().unwrap()).expect(0);
            case.new = without_times(&everything(&case.sandbox.path("dest")));
            case.restore();
        }
        match doing {
            First | Update | Adopting | GitUpdate | Rollback => case.last = Some(case.new.clone()),
            Blocked => {
                case.sandbox.hook("pre.d", "10-no", &fails);
                case.code = 2;
            }
            Reverted | FirstReverted | AdoptingReverted | RollbackReverted => {
                case.sandbox.hook("post.d", "10-no", &fails);
                case.code = 1;
            }
        }
        case
    }

    /// What a ZIP gives, by another deployment.
    fn unpacked(sandbox: &Sandbox, zip: &str) -> Tree {
        let (local, cache) = (sandbox.path("aside/live"), sandbox.path("aside/cache"));
        let mut plain = sandbox.bare();
        plain.args(["-f", "-i", "aside", "--config"]).arg(sandbox.write("aside.cfg", "activation = symlink\n"));
        plain.arg("--cache").arg(cache).arg("--local").arg(&local).arg("--remote").arg(sandbox.path(zip));
        plain.env("REPO_DEPLOY_PRE_HOOKS", sandbox.path("none")).env("REPO_DEPLOY_POST_HOOKS", sandbox.path("none"));
        Run::from(plain.output().unwrap()).expect(0);
        let found = tree(&local);
        fs::remove_dir_all(sandbox.path("aside")).unwrap();
        found
    }

    /// The check, not started yet.
    pub fn check(&self) -> Command {
        self.sandbox.command(&["--remote", &self.remote])
    }

    /// What is disturbed, not started yet.
    pub fn disturbed(&self) -> Command {
        if self.is_by_hand { self.sandbox.saying(&["rollback"], &["--remote", &self.remote]) } else { self.check() }
    }

    /// What a check changes.
    fn places(&self) -> &[&'static str] {
        if self.way == Install { &["deploy", "cache", "state", "dest"] } else { &["deploy", "cache", "state"] }
    }

    fn copy(&self, from: &str, to: &str) {
        let to = self.sandbox.path(to);
        let _ = fs::remove_dir_all(&to); // the first time there is none
        fs::create_dir_all(&to).unwrap();
        for name in self.places() {
            let from = self.sandbox.path(from).join(name);
            let _ = fs::remove_dir_all(to.join(name)); // see above
            let copied = Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap();
            assert!(copied.success());
        }
    }

    fn save(&self) {
        self.copy("", "saved");
    }

    pub fn restore(&self) {
        put_back(self.places(), &self.sandbox.path("saved"), &self.sandbox.path(""));
    }

    /// The check under strace with `options`.
    fn traced(&self, options: &[&str]) -> Run {
        traced(&self.disturbed(), options).output().unwrap().into()
    }

    /// The points that are tried of a walk by `disturbance` over the calls of the check, less those that `is_left_out` names.
    pub fn sample(&self, disturbance: &str, size: usize, is_left_out: impl Fn(&str) -> bool) -> Vec<Point> {
        self.restore();
        let trace = self.sandbox.path("trace");
        self.traced(&["-o", trace.to_str().unwrap()]).expect(self.code);
        let mut all = points(&self.sandbox.read("trace"));
        all.retain(|point| !is_left_out(&point.name));
        sample(&format!("{disturbance}: {}", self.name), size, all)
    }

    fn store(&self) -> PathBuf {
        if self.way == Symlink { self.sandbox.store() } else { self.sandbox.path("state/crash") }
    }

    fn live(&self) -> Option<Tree> {
        if self.way == Install {
            return Some(everything(&self.sandbox.path("dest")));
        }
        fs::symlink_metadata(self.sandbox.local()).is_ok().then(|| tree(&self.sandbox.local()))
    }

    fn state(&self) -> Option<BTreeMap<String, String>> {
        let text = fs::read_to_string(self.store().join("state")).ok()?;
        assert!(text.ends_with("end = yes\n"), "I2: a torn state:\n{text}");
        Some(text.lines().filter_map(|l| l.split_once(" = ")).map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// What must hold at every instant, also right after a kill.
    pub fn invariants(&self, at: &str) {
        let (live, state) = (self.live(), self.state());
        let releases = self.store().join("releases");
        let mut found = Vec::new();
        for entry in fs::read_dir(&releases).into_iter().flatten() {
            let entry = entry.unwrap();
            assert!(self.releases.contains(&tree(&entry.path())), "I1: {at}: incomplete {:?}", entry.path());
            let name = entry.file_name().into_string().unwrap();
            let said = fs::read_to_string(self.store().join("manifests").join(&name)).unwrap_or_default();
            assert_eq!(said, manifest(&entry.path()), "{at}: the manifest of {name} does not say what it is made of");
            found.push(name);
        }
        let is_old = live == self.old;
        if self.way == InPlace {
            self.whole_files(live.as_ref().unwrap_or(&Tree::new()), at);
        } else if self.way == Install {
            self.whole_installed(live.as_ref().unwrap(), at);
        } else {
            let is_whole = is_old || live.as_ref().is_some_and(|live| self.releases.contains(live));
            assert!(is_whole, "I3: {at}: the live tree is neither old nor new: {live:?}");
        }
        let Some(state) = state else {
            assert!(is_old, "I4: {at}: the live tree has changed, and there is no state");
            return;
        };
        let of = |role: &str| state.get(role).map(|id| tree(&releases.join(id)));
        for role in ["current", "previous", "target"] {
            let id = state.get(role);
            assert!(id.is_none_or(|id| found.contains(id)), "I7: {at}: {role} {id:?} is gone from {found:?}");
        }
        if state["phase"] == "idle" {
            let current = of("current");
            let is_new = current.as_ref().is_some_and(|current| current["VERSION"].ends_with(&self.version));
            let (live, expected) = match (self.way, current) {
                (Install, _) if is_new => (live.as_ref().map(without_times), Some(self.new.clone())),
                (Symlink | InPlace, Some(current)) => (live, Some(current)),
                _ => (live, self.old.clone()),
            };
            assert_eq!(live, expected, "I4, I5: {at}: idle, and the live tree is not what it says\n{state:?}");
        }
    }

    /// Installed, each file is one whole version of it, and what is not ours is as it always was.
    fn whole_installed(&self, live: &Tree, at: &str) {
        let old = self.old.as_ref().unwrap();
        for (path, what) in old.iter().filter(|(path, _)| path.starts_with("etc/foreign")) {
            assert_eq!(live.get(path), Some(what), "{at}: {path} is not ours");
        }
        let (live, old) = (without_times(live), without_times(old));
        for (path, what) in &live {
            let is_temporary = path.split('/').any(|part| part.starts_with(".repo-deploy-"));
            let known = |tree: &Tree| tree.get(path) == Some(what) || what.starts_with("d 700 ");
            let is_original = path == "etc/only1" && what.contains("the original of only1");
            assert!(
                is_temporary || is_original || known(&old) || known(&self.new),
                "{at}: {path} is {what}, which is no version"
            );
        }
    }

    /// In place, each file is one whole version, or one of our temporary names.
    fn whole_files(&self, live: &Tree, at: &str) {
        for (path, what) in live {
            let is_temporary = path.split('/').any(|part| part.starts_with(".repo-deploy-"));
            // A directory in the making is still closed to others.
            let known = |tree: &Tree| tree.get(path) == Some(what) || (what == "d 700" && tree.contains_key(path));
            let is_known = self.releases.iter().any(known);
            assert!(is_temporary || is_known, "{at}: {path} is {what}, which is no version of it");
        }
    }

    /// The live tree is what an undisturbed check makes of it; times too, where the old one is back.
    #[track_caller]
    fn is_last(&self, at: &str) {
        let is_new = self.way == Install && self.code == 0;
        let live = if is_new { self.live().as_ref().map(without_times) } else { self.live() };
        assert_eq!(live, self.last, "{at}");
    }

    /// Nothing is kept for a way back that nobody goes any more. What is in the way of that is a warning, and left to the
    /// next check.
    #[track_caller]
    fn is_closed(&self, at: &str) {
        if self.way == Install {
            let ledger = fs::read_to_string(self.store().join("ledger")).unwrap_or_default();
            assert!(
                ledger.is_empty() || ledger.lines().nth(1).unwrap().contains(" idle - "),
                "{at}: the ledger is open"
            );
            for kept in fs::read_dir(self.store().join("kept")).into_iter().flatten() {
                let name = kept.unwrap().file_name().into_string().unwrap();
                assert!(ledger.contains(&format!(" kept/{name}")), "{at}: nobody needs kept/{name}");
            }
        }
    }

    /// A plain check after the disturbance: the end is as if nothing had happened, and nothing is left lying about.
    pub fn heals(&self, at: &str) {
        // Where a rollback had not begun yet, or failed, nobody goes on with it; where it had, everybody does.
        let before = self.state().unwrap_or_default();
        let is_withdrawn = before.contains_key("rolled-back-0");
        let is_undone = self.is_by_hand && !is_withdrawn;
        let is_cut_off = before.get("phase").is_some_and(|phase| phase != "idle");
        for round in 1..=2 {
            // A child that was just forked when its parent was killed has the lock until its exec.
            let mut run = Run::from(self.check().output().unwrap());
            while run.code == 75 {
                run = self.check().output().unwrap().into();
            }
            // A deployment that was cut off after its commit has nothing left to do; one that reverted tries again.
            // After a rollback there is nothing new; one that failed is told of by whoever finishes it.
            let is_told = self.is_by_hand && (round > 1 || !is_cut_off || run.code != 1);
            let expected = if is_told {
                0
            } else if self.is_by_hand {
                1
            } else {
                self.code
            };
            assert_eq!(run.code, expected, "{at}: check {round} after it:\n{}", run.log);
            self.invariants(at);
            let at = format!("{at}: check {round} after it:\n{}", run.log);
            if is_undone {
                assert_eq!(self.live(), self.old, "{at}");
            } else {
                self.is_last(&at);
            }
            let state = self.state().unwrap();
            if self.is_by_hand && self.code == 0 && !is_undone {
                assert!(state.contains_key("rolled-back-0"), "{at}: what was rolled back from is not on hold");
            }
            self.is_closed(&at);
            let left: Vec<_> = fs::read_dir(self.store().join("partial")).unwrap().map(|e| e.unwrap().path()).collect();
            assert!(left.is_empty(), "{at}: left in partial: {left:?}");
            // The cache keeps the archive of the live release for HTTP and S3 alone (delta.rs walks such an update): here it
            // has nothing but the repository of git; and a download that could not be removed, which the log says, until
            // the next one takes its name.
            let cached = fs::read_dir(self.sandbox.path("cache/crash")).into_iter().flatten();
            let cached: Vec<OsString> = cached.map(|entry| entry.unwrap().file_name()).collect();
            let kept = if at.contains("cannot remove") { "download-" } else { "git" };
            let is_archive =
                |name: &OsString| !name.to_str().is_some_and(|name| name.starts_with("git") || name.starts_with(kept));
            assert!(!cached.iter().any(is_archive), "{at}: left in the cache: {cached:?}");
            let beside: Vec<OsString> =
                fs::read_dir(self.sandbox.path("deploy")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(
                beside.iter().all(|n| n == "current" || n == ".current.deploy"),
                "{at}: left beside the live tree: {beside:?}"
            );
        }
    }
}

/// `command` under strace with `options`; only the program itself is traced, not its hooks.
pub fn traced(command: &Command, options: &[&str]) -> Command {
    let mut strace = Command::new("timeout");
    strace.args(["-s", "KILL", "120", "strace", "-qq"]).args(options);
    strace.arg(command.get_program()).args(command.get_args());
    strace.env_clear().envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    strace.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    strace
}

/// Walks every system call of the check, killing before each.
fn kill_everywhere(way: Way, doing: Doing) {
    needs!(time, "strace");
    let case = Case::new(way, doing);
    let mut trials = 0;
    for Point { name, n } in case.sample("kill -9", SAMPLE, |_| false) {
        case.restore();
        let inject = format!("inject={name}:signal=KILL:when={n}");
        let run = case.traced(&["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject]);
        if run.code != 137 {
            assert_eq!(run.code, case.code, "{}: undisturbed by {name} #{n}:\n{}", case.name, run.log);
            continue;
        }
        trials += 1;
        let at = format!("{}: killed before {name} #{n}", case.name);
        case.invariants(&at);
        // partial/ may vanish whenever nobody runs.
        if n % 2 == 0 {
            let _ = fs::remove_dir_all(case.store().join("partial")); // it may not be there yet
        }
        case.heals(&at);
    }
    assert!(trials > 20, "{}: {trials} trials prove nothing", case.name);
    eprintln!("kill -9: {}: {trials} trials, 0 failures", case.name);
}

/// Lets every system call fail, one after the other. Never exit code 0 with a wrong tree, and the next check heals.
fn fail_everywhere(way: Way, doing: Doing, error: &str) {
    needs!(time, "strace");
    let case = Case::new(way, doing);
    let (mut points, mut noticed) = (0, 0);
    // strace's own, calls that do not return or never fail, and close: strace answers instead of the kernel, so the
    // descriptor would stay open, which no kernel does; what close could report, fsync reports.
    const NEVER: [&str; 10] =
        ["execve", "exit_group", "rt_sigreturn", "close", "getuid", "geteuid", "getgid", "getegid", "getpid", "umask"];
    for Point { name, n } in case.sample(error, SAMPLE, |name| NEVER.contains(&name)) {
        case.restore();
        let trace = case.sandbox.path("trace");
        let inject = format!("inject={name}:error={error}:when={n}");
        let run = case.traced(&["-o", trace.to_str().unwrap(), "-e", &format!("trace={name}"), "-e", &inject]);
        if !case.sandbox.read("trace").contains("(INJECTED)") {
            continue;
        }
        points += 1;
        let at = format!("{}: {error} from {name} #{n}: exit code {}\n{}", case.name, run.code, run.log);
        assert_ne!(run.code, 137, "{at}: it hung");
        if run.code == 0 {
            case.is_last(&format!("exit code 0 with a wrong tree: {at}"));
            assert_eq!(case.code, 0, "exit code 0 where nothing could be deployed: {at}");
        } else {
            noticed += 1;
        }
        case.invariants(&at);
        case.heals(&at);
    }
    assert!(noticed > points / 4, "{}: {noticed} of {points} errors noticed: the injection proves nothing", case.name);
    eprintln!(
        "{error}: {}: {points} trials, 0 failures ({noticed} ended the check with a code other than 0)",
        case.name
    );
}

macro_rules! walks {
    ($($name:ident: $walk:ident($($argument:expr),*);)*) => { $(#[test] fn $name() { $walk($($argument),*); })* };
}

walks! {
    killed_anywhere_in_a_first_symlink_deployment_then_healed: kill_everywhere(Symlink, Doing::First);
    killed_anywhere_in_a_symlink_update_then_healed: kill_everywhere(Symlink, Doing::Update);
    killed_anywhere_in_a_blocked_symlink_update_then_healed: kill_everywhere(Symlink, Doing::Blocked);
    killed_anywhere_in_a_reverted_symlink_update_then_healed: kill_everywhere(Symlink, Doing::Reverted);
    killed_anywhere_in_a_reverted_first_symlink_deployment_then_healed: kill_everywhere(Symlink, Doing::FirstReverted);
    killed_anywhere_in_a_symlink_rollback_then_it_is_finished_or_never_was: kill_everywhere(Symlink, Doing::Rollback);
    killed_anywhere_in_a_reverted_symlink_rollback_then_healed: kill_everywhere(Symlink, Doing::RollbackReverted);
    killed_anywhere_in_an_in_place_rollback_then_it_is_finished_or_never_was: kill_everywhere(InPlace, Doing::Rollback);
    killed_anywhere_in_an_installed_rollback_then_it_is_finished_or_never_was: kill_everywhere(Install, Doing::Rollback);
    no_space_anywhere_in_a_symlink_rollback_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Rollback, "ENOSPC");
    killed_anywhere_in_an_update_from_git_then_healed: kill_everywhere(Symlink, Doing::GitUpdate);
    killed_anywhere_in_a_first_in_place_deployment_then_healed: kill_everywhere(InPlace, Doing::First);
    killed_anywhere_in_an_in_place_update_then_healed: kill_everywhere(InPlace, Doing::Update);
    killed_anywhere_in_a_blocked_in_place_update_then_healed: kill_everywhere(InPlace, Doing::Blocked);
    killed_anywhere_in_a_reverted_in_place_update_then_healed: kill_everywhere(InPlace, Doing::Reverted);
    killed_anywhere_in_a_reverted_first_in_place_deployment_then_healed: kill_everywhere(InPlace, Doing::FirstReverted);
    killed_anywhere_while_adopting_a_directory_then_healed: kill_everywhere(InPlace, Doing::Adopting);
    killed_anywhere_while_reverting_to_an_adopted_directory_then_healed: kill_everywhere(InPlace, Doing::AdoptingReverted);
    killed_anywhere_in_a_first_installation_then_healed: kill_everywhere(Install, Doing::First);
    killed_anywhere_in_an_installed_update_then_healed: kill_everywhere(Install, Doing::Update);
    killed_anywhere_in_a_blocked_installed_update_then_healed: kill_everywhere(Install, Doing::Blocked);
    killed_anywhere_in_a_reverted_installed_update_then_healed: kill_everywhere(Install, Doing::Reverted);
    killed_anywhere_in_a_reverted_first_installation_then_healed: kill_everywhere(Install, Doing::FirstReverted);
    no_space_anywhere_in_a_first_symlink_deployment_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::First, "ENOSPC");
    no_space_anywhere_in_a_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Update, "ENOSPC");
    no_space_anywhere_in_a_blocked_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Blocked, "ENOSPC");
    no_space_anywhere_in_a_reverted_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Reverted, "ENOSPC");
    no_space_anywhere_in_a_first_in_place_deployment_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::First, "ENOSPC");
    no_space_anywhere_in_an_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Update, "ENOSPC");
    no_space_anywhere_in_a_blocked_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Blocked, "ENOSPC");
    no_space_anywhere_in_a_reverted_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Reverted, "ENOSPC");
    broken_disk_anywhere_in_a_first_symlink_deployment_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::First, "EIO");
    broken_disk_anywhere_in_a_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Update, "EIO");
    broken_disk_anywhere_in_a_blocked_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Blocked, "EIO");
    broken_disk_anywhere_in_a_reverted_symlink_update_then_never_a_wrong_tree: fail_everywhere(Symlink, Doing::Reverted, "EIO");
    broken_disk_anywhere_in_a_first_in_place_deployment_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::First, "EIO");
    broken_disk_anywhere_in_an_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Update, "EIO");
    broken_disk_anywhere_in_a_blocked_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Blocked, "EIO");
    broken_disk_anywhere_in_a_reverted_in_place_update_then_never_a_wrong_tree: fail_everywhere(InPlace, Doing::Reverted, "EIO");
    no_space_anywhere_in_a_first_installation_then_never_a_wrong_tree: fail_everywhere(Install, Doing::First, "ENOSPC");
    no_space_anywhere_in_an_installed_update_then_never_a_wrong_tree: fail_everywhere(Install, Doing::Update, "ENOSPC");
    no_space_anywhere_in_a_reverted_installed_update_then_never_a_wrong_tree: fail_everywhere(Install, Doing::Reverted, "ENOSPC");
    broken_disk_anywhere_in_a_first_installation_then_never_a_wrong_tree: fail_everywhere(Install, Doing::First, "EIO");
    broken_disk_anywhere_in_an_installed_update_then_never_a_wrong_tree: fail_everywhere(Install, Doing::Update, "EIO");
    broken_disk_anywhere_in_a_reverted_installed_update_then_never_a_wrong_tree: fail_everywhere(Install, Doing::Reverted, "EIO");
}
