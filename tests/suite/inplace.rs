//! A directory that is kept in sync: what is in the way is found before the first change and stays on the way back; a signal and the deadline
//! end an activation in the middle; and what is adopted costs neither more room nor more time than it takes on disk.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, mkfifoat};

use crate::support::needs::needs;
use crate::support::phrases::{
    CUT_OFF, DRIFT, IN_DOUBT, LIVE_AGAIN, MOVE_AWAY, NOT_A_FILE, ONE_MISSING, ROLLING_BACK, STOPPED_BY,
};
use crate::support::sandbox::{Run, Sandbox, tree};

/// A live directory and a directory as its remote.
struct World {
    sandbox: Sandbox,
    remote: PathBuf,
}

impl World {
    fn new(config: &str) -> Self {
        let sandbox = Sandbox::new();
        let remote = sandbox.path("remote");
        fs::create_dir(&remote).unwrap();
        sandbox.write("repo-deploy.cfg", format!("activation = in-place\n{config}"));
        Self { sandbox, remote }
    }

    fn put(&self, files: &[(&str, &str)]) {
        fs::remove_dir_all(&self.remote).unwrap();
        fs::create_dir(&self.remote).unwrap();
        for (name, content) in files {
            self.sandbox.write(self.remote.join(name), content);
        }
    }

    fn run(&self, args: &[&str]) -> Run {
        self.sandbox.deploy(self.remote.to_str().unwrap(), args)
    }

    fn live(&self, name: &str) -> PathBuf {
        self.sandbox.local().join(name)
    }

    fn fifo(&self, name: &str) {
        mkfifoat(rustix::fs::CWD, self.live(name), Mode::RWXU).unwrap();
    }

    fn command(&self) -> Command {
        self.sandbox.command(&["--remote", self.remote.to_str().unwrap()])
    }
}

fn is_fifo(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().file_type().is_fifo()
}

#[test]
fn fifos_stand_where_the_release_has_something_then_all_are_told_and_nothing_has_changed() {
    let w = World::new("");
    w.put(&[("VERSION", "1"), ("old/file", "1")]);
    w.run(&[]).expect(0);
    w.sandbox.hook("pre.d", "10-never", "echo a hook ran");
    fs::create_dir(w.live("dir")).unwrap();
    for name in ["pipe", "dir/pipe", "tree"] {
        w.fifo(name);
    }
    let before = tree(&w.sandbox.local());
    w.put(&[("VERSION", "2"), ("pipe", "a file"), ("dir", "a file"), ("tree/deep/file", "a file")]);
    for _ in 0..2 {
        w.run(&[])
            .expect(1)
            .says(&format!("{NOT_A_FILE} at pipe, where the release has something: {MOVE_AWAY}, or name it in preserve"))
            .says("the release has a file where the directory dir is, and dir/pipe in it must stay: move dir/pipe away, or name dir")
            .says(&format!("{NOT_A_FILE} at tree, "))
            .never_says(ROLLING_BACK)
            .never_says("a hook ran");
        assert_eq!(tree(&w.sandbox.local()), before);
    }
    for name in ["pipe", "dir/pipe", "tree"] {
        fs::remove_file(w.live(name)).unwrap();
    }
    w.run(&[]).expect(0).says("a hook ran");
    assert_eq!(w.sandbox.read("deploy/current/VERSION"), "2");
    assert!(!w.live("old").exists());
}

#[test]
fn fifo_comes_up_while_hooks_run_then_the_way_back_leaves_it_and_ends() {
    let w = World::new("");
    w.put(&[("VERSION", "1"), ("pipe", "a file"), ("gone/file", "1"), ("stays", "1")]);
    w.run(&[]).expect(0);
    // The application puts it there once everything has been examined, where both releases have something.
    let local = w.sandbox.local();
    let hook = format!("[ -p {0}/pipe ] || {{ rm -r {0}/pipe {0}/gone; mkfifo {0}/pipe {0}/gone; }}", local.display());
    w.sandbox.hook("pre.d", "10-pipe", &hook);
    w.put(&[("VERSION", "2"), ("pipe", "another file"), ("gone/file", "2"), ("more", "2"), ("stays", "1")]);
    let run = w.run(&[]).expect(1).says(&format!("{NOT_A_FILE} at pipe")).says(ROLLING_BACK);
    let run = run.says(&format!("{NOT_A_FILE} at gone, where the release has something: it stays as it is"));
    run.says(LIVE_AGAIN).never_says(IN_DOUBT);
    assert!(is_fifo(&w.live("pipe")) && is_fifo(&w.live("gone")));
    assert_eq!(w.sandbox.read("deploy/current/VERSION"), "1");
    assert!(!w.live("more").exists());
    // Once, and no check is in doubt about it.
    w.run(&[]).expect(1).says(MOVE_AWAY).never_says("it stays as it is");
    fs::remove_file(w.live("pipe")).unwrap();
    fs::remove_file(w.live("gone")).unwrap();
    fs::remove_file(w.sandbox.path("pre.d/10-pipe")).unwrap();
    w.run(&[]).expect(0);
    assert_eq!(w.sandbox.read("deploy/current/pipe"), "another file");
}

#[test]
fn directory_with_what_must_stay_comes_up_where_a_file_was_then_the_way_back_takes_nothing_out_of_it() {
    for (config, must_stay) in [("", "pipe"), ("preserve = data/kept\n", "kept")] {
        let w = World::new(config);
        w.put(&[("VERSION", "1"), ("data", "a file")]);
        w.run(&[]).expect(0);
        // The release has nothing there any more, and the application makes a directory of it while its hooks run.
        let hook = format!(
            "[ \"$REPO_DEPLOY_REASON\" = revert ] && exit; cd {} && mkdir -p data/deep data/kept && mkfifo data/pipe && \
             echo rows >data/deep/rows && ln -s rows data/link; exit 1",
            w.sandbox.local().display()
        );
        w.sandbox.hook("post.d", "10-app", &hook);
        w.put(&[("VERSION", "2")]);
        let run = w.run(&[]).expect(1).says(LIVE_AGAIN).says("in it must stay: it stays as it is");
        run.says(&format!("data/{must_stay}"));
        assert_eq!(w.sandbox.read("deploy/current/VERSION"), "1");
        assert_eq!(w.sandbox.read("deploy/current/data/deep/rows"), "rows\n");
        assert!(w.live("data/link").is_symlink() && is_fifo(&w.live("data/pipe")));
    }
}

#[test]
fn first_deployment_meets_a_socket_in_what_it_adopts_then_nothing_has_changed() {
    let w = World::new("");
    w.sandbox.write(w.live("VERSION"), "found");
    let socket = std::os::unix::net::UnixListener::bind(w.live("app.sock")).unwrap();
    w.put(&[("VERSION", "1"), ("app.sock", "a file")]);
    let before = tree(&w.sandbox.local());
    w.run(&[]).expect(1).says(&format!("{NOT_A_FILE} at app.sock")).never_says(IN_DOUBT);
    assert_eq!(tree(&w.sandbox.local()), before);
    drop(socket);
}

#[test]
fn a_fifo_comes_up_in_a_release_then_no_plan_says_that_it_is_put_back() {
    let w = World::new("");
    w.put(&[("VERSION", "1")]);
    w.run(&[]).expect(0);
    let mut releases = fs::read_dir(w.sandbox.path("state/default/releases")).unwrap();
    let release = releases.next().unwrap().unwrap().path();
    mkfifoat(rustix::fs::CWD, release.join("pipe"), Mode::RWXU).unwrap();
    w.run(&[]).expect(0).never_says(DRIFT);
    let plan = w.sandbox.plan(w.remote.to_str().unwrap(), &["--local", w.sandbox.local().to_str().unwrap()]);
    let plan = plan.expect(0);
    assert!(plan.out.contains("nothing to do"), "{}", plan.out);
    fs::remove_file(w.live("VERSION")).unwrap();
    w.run(&[]).expect(0).says(ONE_MISSING).says("(VERSION)");
    assert!(!w.live("pipe").exists());
}

/// Many small files of this content.
fn many(w: &World, n: usize, content: &str) {
    for i in 0..n {
        w.sandbox.write(w.remote.join(format!("d{}/f{i}", i % 50)), content);
    }
}

/// Starts `plain` under strace, so that it is slow at `call` (from there on), waits until it is at work, and tells it to stop.
pub fn stopped_in_the_middle(plain: &Command, (call, when): (&str, &str), is_begun: &dyn Fn() -> bool) -> Run {
    let mut slow = Command::new("strace");
    // To its end it would take minutes.
    let inject = format!("inject={call}:delay_enter=200000{when}");
    slow.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    slow.arg(plain.get_program()).args(plain.get_args());
    slow.env_clear().envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    slow.current_dir(plain.get_current_dir().unwrap()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = slow.spawn().unwrap();
    while !is_begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::yield_now();
    }
    let pid = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let stop = Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap();
    assert!(stop.success());
    let begun = std::time::Instant::now();
    let run = Run::from(child.wait_with_output().unwrap());
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it went on to its end");
    run
}

pub fn has_temporary(dir: &Path) -> bool {
    let names = || fs::read_dir(dir).into_iter().flatten().flatten();
    names().any(|entry| entry.file_name().to_string_lossy().starts_with(".repo-deploy-"))
}

#[test]
fn term_comes_while_the_live_tree_is_written_then_143_and_the_next_check_finishes() {
    needs!("strace");
    let w = World::new("");
    w.put(&[]);
    many(&w, 600, "1");
    w.run(&[]).expect(0);
    many(&w, 600, "2");
    let (live, remote) = (w.live("d1"), w.remote.clone());
    let run = stopped_in_the_middle(&w.command(), ("utimensat", ""), &|| has_temporary(&live)).expect(143);
    run.says(STOPPED_BY).never_says(ROLLING_BACK);
    w.run(&[]).expect(0).says(&format!("{CUT_OFF} 2"));
    assert_eq!(tree(&w.sandbox.local()).len(), tree(&remote).len());
    assert_eq!(w.sandbox.read("deploy/current/d1/f1"), "2");
    assert!(!has_temporary(&live));
}

#[test]
fn term_comes_on_the_way_back_then_143_and_the_next_check_finishes_that() {
    needs!("strace");
    let w = World::new("");
    w.put(&[]);
    many(&w, 600, "1");
    w.run(&[]).expect(0);
    w.sandbox.hook(
        "post.d",
        "10-no",
        &format!("[ \"$REPO_DEPLOY_REASON\" = revert ] || {{ touch {}; exit 1; }}", w.sandbox.path("back").display()),
    );
    many(&w, 600, "2");
    let (live, back) = (w.live("d1"), w.sandbox.path("back"));
    // The way there has 600 of these, the way back is slow.
    let slow = ("utimensat", ":when=601+");
    let run = stopped_in_the_middle(&w.command(), slow, &|| back.exists() && has_temporary(&live)).expect(143);
    run.says(ROLLING_BACK).says(STOPPED_BY).never_says(LIVE_AGAIN);
    w.run(&[]).expect(1).says(LIVE_AGAIN);
    assert_eq!(w.sandbox.read("deploy/current/d1/f1"), "1");
    assert!(!has_temporary(&live));
}

#[test]
fn term_comes_while_the_live_tree_is_repaired_then_it_ends_between_two_files_and_again_goes_on() {
    needs!("strace");
    let w = World::new("");
    w.put(&[]);
    many(&w, 600, "1");
    w.run(&[]).expect(0);
    let (live, remote) = (w.live("d1"), w.remote.to_str().unwrap().to_owned());
    let repair = w.sandbox.saying(&["verify", "--repair"], &["--remote", &remote]);
    // While it writes, and between the first rename and the last.
    for (slow, is_renaming) in [(("utimensat", ""), false), (("renameat", ":when=40+"), true)] {
        (0..600).for_each(|n| fs::write(w.live(&format!("d{}/f{n}", n % 50)), "spoilt").unwrap());
        let is_back = || fs::read(w.live("d0/f0")).unwrap() == b"1";
        let is_begun = || if is_renaming { is_back() } else { has_temporary(&live) };
        let run = stopped_in_the_middle(&repair, slow, &is_begun).expect(143);
        run.says(&format!("{STOPPED_BY} 15")).says("again goes on with it");
        let spoilt = || (0..600).filter(|n| w.sandbox.read(w.live(&format!("d{}/f{n}", n % 50))) == "spoilt").count();
        let is_some = if is_renaming { (1..600).contains(&spoilt()) } else { spoilt() == 600 };
        assert!(is_some && (0..50).all(|n| !has_temporary(&w.live(&format!("d{n}")))), "{slow:?}: {}", spoilt());
    }
    let mut again = w.sandbox.saying(&["verify", "--repair"], &["--remote", &remote]);
    Run::from(again.output().unwrap()).expect(0);
    assert_eq!(tree(&w.sandbox.local()), tree(&w.remote));
}

#[test]
fn release_has_a_new_directory_then_it_is_seen_whole_or_not_at_all() {
    needs!("strace");
    let w = World::new("");
    w.put(&[("VERSION", "1"), ("was/a/file", "1")]);
    w.run(&[]).expect(0);
    w.put(&[("VERSION", "2"), ("was/a/file/now", "in a directory")]);
    (0..300).for_each(|n| drop(w.sandbox.write(w.remote.join(format!("new/d{}/f{n}", n % 3)), "2")));
    let live = w.sandbox.local();
    let slow = ("utimensat", ":when=100+");
    stopped_in_the_middle(&w.command(), slow, &|| has_temporary(&live)).expect(143).says(STOPPED_BY);
    assert!(!has_temporary(&live) && !has_temporary(&live.join("was/a")) && !live.join("new").exists());
    assert!(w.live("was/a/file").is_file());
    let mut run = w.command().stderr(Stdio::null()).spawn().unwrap();
    let mut seen = std::iter::from_fn(|| {
        let goes_on = run.try_wait().unwrap().is_none();
        let count = |dir: usize| fs::read_dir(live.join(format!("new/d{dir}"))).map_or(0, |files| files.count());
        goes_on.then(|| [count(2), count(1), count(0)])
    });
    // From the last directory to the first: what was seen of one is there in the next.
    let torn = seen.find(|seen| *seen != [0; 3] && seen[2] != 100 || seen.iter().any(|n| n % 100 != 0));
    assert_eq!(torn, None);
    assert!(run.wait().unwrap().success());
    assert_eq!(tree(&w.sandbox.local()), tree(&w.remote));
}

#[test]
fn deadline_passes_while_the_live_tree_is_written_then_it_is_reverted() {
    needs!("strace");
    let w = World::new("timeout = 8\n");
    w.put(&[]);
    many(&w, 300, "1");
    w.run(&[]).expect(0);
    many(&w, 300, "2");
    let plain = w.command();
    let mut slow = Command::new("strace");
    slow.args(["-f", "-o", "/dev/null", "-e", "trace=utimensat", "-e", "inject=utimensat:delay_enter=200000"]);
    slow.arg(plain.get_program()).args(plain.get_args()).env_clear();
    slow.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?)))).current_dir(w.sandbox.path("."));
    let run = Run::from(slow.output().unwrap()).expect(1);
    run.says("the whole check took longer than timeout").says(LIVE_AGAIN).never_says(IN_DOUBT);
    assert_eq!(w.sandbox.read("deploy/current/d1/f1"), "1");
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_adopted_then_it_takes_what_it_took() {
    let w = World::new("timeout = 60\n");
    let sparse = w.sandbox.write(w.live("disk.img"), "its beginning");
    fs::File::options().write(true).open(&sparse).unwrap().set_len(1 << 40).unwrap();
    w.put(&[("VERSION", "1")]);
    w.run(&[]).expect(0);
    let kept = find(&w.sandbox.path("."), "disk.img").unwrap();
    let meta = fs::metadata(kept).unwrap();
    assert_eq!(meta.size(), 1 << 40);
    assert!(meta.blocks() * 512 < 1 << 20, "{} bytes", meta.blocks() * 512);
}

/// The first file of this name below `top`.
fn find(top: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        match path.is_dir() && !path.is_symlink() {
            true => find(&path, name),
            false => (path.file_name() == Some(name.as_ref())).then_some(path),
        }
    })
}

#[test]
fn what_is_adopted_does_not_fit_then_it_is_refused_before_the_first_byte() {
    needs!("unshare", "mount");
    let w = World::new("");
    let store = w.sandbox.path("small");
    w.sandbox.write("repo-deploy.cfg", format!("activation = in-place\nstore = {}\n", store.display()));
    w.sandbox.write(w.live("large"), vec![7; 3 << 20]);
    w.put(&[("VERSION", "1")]);
    fs::create_dir(&store).unwrap();
    let plain = w.command();
    let script = format!("mount -t tmpfs -o size=2m,mode=0755 none {0} && exec \"$@\"", store.display());
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", &script, "sh"]).arg(plain.get_program()).args(plain.get_args());
    let run = Run::from(run.output().unwrap());
    run.expect(1).says("cannot keep a copy of").says("are free");
    assert_eq!(fs::metadata(w.live("large")).unwrap().size(), 3 << 20);
}

#[test]
fn a_deep_tree_is_adopted_then_the_history_has_it() {
    let w = World::new("");
    w.sandbox.write(w.live("VERSION"), "found");
    // Its paths are longer than any call takes.
    let name = "n".repeat(200);
    let mut dir = fs::File::open(w.sandbox.local()).unwrap();
    for _ in 0..60 {
        rustix::fs::mkdirat(&dir, name.as_str(), Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, name.as_str(), flags, Mode::empty()).unwrap().into();
    }
    w.put(&[("VERSION", "1")]);
    let mut first = w.command().stderr(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(first.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(first.wait().unwrap().success(), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("WARN")), "{lines:#?}");
    let mut history = w.sandbox.bare();
    history.args(["history", "--remote"]).arg(&w.remote).arg("--config").arg(w.sandbox.path("repo-deploy.cfg"));
    history.arg("--local").arg(w.sandbox.local()).arg("--cache").arg(w.sandbox.path("cache"));
    let run = Run::from(history.output().unwrap()).expect(0);
    assert!(run.out.contains("adopted"), "{}", run.out);
    assert!(w.live("VERSION").exists() && fs::read_dir(w.sandbox.local()).unwrap().count() == 1);
}
