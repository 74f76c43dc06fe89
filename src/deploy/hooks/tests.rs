use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

/// A hook directory for one test, and a file that its hooks write to.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("repo-deploy-hooks-{}-{next}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.join("post.d")).unwrap();
        fs::set_permissions(root.join("post.d"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(root)
    }

    fn file(&self, name: &str, mode: u32, body: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn hook(&self, name: &str, body: &str) -> PathBuf {
        self.file(&format!("post.d/{name}"), 0o755, &format!("#!/bin/sh\n{body}\n"))
    }

    /// A hook that only records that it ran.
    fn trace(&self, name: &str) -> PathBuf {
        self.hook(name, &format!("echo {name} >>{}", self.0.join("trace").display()))
    }

    fn traced(&self) -> String {
        fs::read_to_string(self.0.join("trace")).unwrap_or_default().replace('\n', " ")
    }

    fn run_with(&self, timeout: Duration, deadline: Duration) -> Result<Verdict> {
        let trace = self.0.join("trace").into_os_string();
        Ok(match find(&self.0.join("post.d"))? {
            Found::Hooks(hooks) => run(&hooks, &[("TRACE", trace)], timeout, Deadline::after(deadline)),
            Found::Refused(why) => Verdict::Failed(why),
        })
    }

    fn run(&self) -> Verdict {
        self.run_with(Duration::from_secs(60), Duration::from_secs(60)).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a directory that stays costs space in /tmp, not the test
    }
}

#[track_caller]
fn fails(verdict: &Verdict, words: &[&str]) {
    let Verdict::Failed(text) = verdict else { panic!("{verdict:?}") };
    for words in words {
        assert!(text.contains(words), "{text:?} should say {words:?}");
    }
}

#[test]
fn directory_is_missing_or_empty_then_there_are_no_hooks() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(), Verdict::Passed);
    fs::remove_dir(sandbox.0.join("post.d")).unwrap();
    assert_eq!(sandbox.run(), Verdict::Passed);
}

#[test]
fn directory_is_a_file_or_a_link_to_nothing_then_it_is_an_error() {
    let sandbox = Sandbox::new();
    fs::remove_dir(sandbox.0.join("post.d")).unwrap();
    symlink("nowhere", sandbox.0.join("post.d")).unwrap();
    let error = sandbox.run_with(Duration::MAX, Duration::MAX).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the hook directory /") && error.contains("post.d: "), "{error}");
    fs::remove_file(sandbox.0.join("post.d")).unwrap();
    sandbox.file("post.d", 0o755, "");
    assert!(sandbox.run_with(Duration::MAX, Duration::MAX).is_err());
}

#[test]
fn hooks_run_in_byte_order_and_the_rest_is_passed_over() {
    let sandbox = Sandbox::new();
    for name in ["b", "10", "9", "B", "a~", ".a", "a.bak", "README", "a.dpkg-new"] {
        sandbox.trace(name);
    }
    let plain = sandbox.trace("plain");
    fs::set_permissions(plain, fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(sandbox.0.join("post.d/dir")).unwrap();
    symlink("nowhere", sandbox.0.join("post.d/link")).unwrap();
    assert_eq!(sandbox.run(), Verdict::Passed);
    assert_eq!(sandbox.traced(), "10 9 B b ");
}

#[test]
fn hook_is_a_link_to_an_executable_then_it_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("elsewhere", 0o755, "#!/bin/sh\necho linked >>\"$TRACE\"\n");
    symlink("../elsewhere", sandbox.0.join("post.d/link")).unwrap();
    assert_eq!(sandbox.run(), Verdict::Passed);
    assert_eq!(sandbox.traced(), "linked ");
}

#[test]
fn hook_fails_then_it_is_named_and_the_list_stops() {
    for (body, words) in [
        ("exit 3", "post.d/20-x ended with exit code 3"),
        ("kill -KILL $$", "post.d/20-x was killed by signal 9 (SIGKILL)"),
        ("kill -TERM $$", "post.d/20-x was killed by signal 15 (SIGTERM)"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.trace("10");
        sandbox.hook("20-x", body);
        sandbox.trace("30");
        assert_eq!(sandbox.run(), Verdict::Failed(words.to_owned()));
        assert_eq!(sandbox.traced(), "10 ");
    }
}

#[test]
fn hook_hangs_then_the_limit_that_ended_it_is_named() {
    let sandbox = Sandbox::new();
    sandbox.hook("x", "sleep 1000");
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(60));
    let by_hook = sandbox.run_with(short, long).unwrap();
    assert_eq!(by_hook, Verdict::Failed("post.d/x was ended after hook-timeout = 1 s".to_owned()));
    fails(&sandbox.run_with(long, short).unwrap(), &["post.d/x was ended", "longer than timeout"]);
    fails(&sandbox.run_with(long, Duration::ZERO).unwrap(), &["post.d/x was not started", "longer than timeout"]);
}

#[test]
fn hook_has_no_interpreter_then_it_failed() {
    let sandbox = Sandbox::new();
    sandbox.file("post.d/x", 0o755, "#!/does/not/exist\n");
    fails(&sandbox.run(), &["post.d/x cannot start: its interpreter /does/not/exist does not exist"]);
}

#[test]
fn others_may_write_a_hook_then_none_runs() {
    let sandbox = Sandbox::new();
    sandbox.trace("10");
    let last = sandbox.trace("20");
    fs::set_permissions(&last, fs::Permissions::from_mode(0o757)).unwrap();
    fails(&sandbox.run(), &["post.d/20 is refused", "chmod go-w"]);
    assert_eq!(sandbox.traced(), "");
}

#[test]
fn others_may_write_the_directory_or_one_above_then_none_runs() {
    for place in ["post.d", ""] {
        let sandbox = Sandbox::new();
        sandbox.trace("10");
        fs::set_permissions(sandbox.0.join(place), fs::Permissions::from_mode(0o777)).unwrap();
        fails(&sandbox.run(), &["the hook directory", "is refused", "chmod go-w"]);
        assert_eq!(sandbox.traced(), "");
    }
}

#[test]
fn others_may_write_what_a_hook_links_to_then_none_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("elsewhere", 0o777, "#!/bin/sh\n");
    symlink("../elsewhere", sandbox.0.join("post.d/link")).unwrap();
    fails(&sandbox.run(), &["post.d/link is refused", "elsewhere: chmod go-w"]);
}

#[test]
fn others_may_turn_a_link_on_the_way_then_none_runs() {
    let sandbox = Sandbox::new();
    sandbox.file("good", 0o755, "#!/bin/sh\n");
    fs::create_dir(sandbox.0.join("open")).unwrap();
    fs::set_permissions(sandbox.0.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    symlink("../good", sandbox.0.join("open/turn")).unwrap();
    symlink("../open/turn", sandbox.0.join("post.d/link")).unwrap();
    fails(&sandbox.run(), &["post.d/link is refused", "open: chmod go-w"]);
}
