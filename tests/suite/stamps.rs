//! Archives and directories that are rewritten without a trace in their sizes and times: within the step in which their file
//! system counts time, before, between and while they are looked at.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::clock::Clock;
use crate::support::disk::Disk;
use crate::support::needs::needs;
use crate::support::phrases::{BLOCKED, DEPLOYED, REFUSED_BEFORE, UNCHANGED, UNPACKED, deployed_revision};
use crate::support::sandbox::{Run, Sandbox, traced_calls, tree};
use crate::support::servers::{Nginx, Raw, ok, raw, wait_for};

/// Writes over what is there: the same inode, and as many bytes.
fn overwrite(path: &Path, content: &[u8]) {
    match File::options().write(true).open(path) {
        Ok(file) => file.write_all_at(content, 0).unwrap(),
        Err(_) => fs::write(path, content).unwrap(),
    }
}

/// Version `n` of an archive, always of one size.
fn archive(sandbox: &Sandbox, n: usize) -> Vec<u8> {
    fs::read(sandbox.zip("new.zip", &[("version", &format!("{n:04}"))])).unwrap()
}

fn deploy_rewrites(kind: &str, options: &[&str]) {
    let aside = Sandbox::new();
    let Some(disk) = Disk::new(&aside, kind, options) else { return };
    let sandbox = Sandbox::new();
    let (zip, dir) = (disk.at.join("app.zip"), disk.at.join("site"));
    fs::create_dir_all(dir.join("d")).unwrap();
    let put_zip = |n: usize| overwrite(&zip, &archive(&sandbox, n));
    let put_file = |n: usize| overwrite(&dir.join("d/version"), format!("{n:04}").as_bytes());
    for (remote, file, put) in [(&zip, "version", &put_zip as &dyn Fn(usize)), (&dir, "d/version", &put_file)] {
        let remote = remote.to_str().unwrap();
        for n in 0..20 {
            put(n);
            sandbox.deploy(remote, &[]).expect(0);
            let live = fs::read_to_string(sandbox.local().join(file)).unwrap();
            assert_eq!(live, format!("{n:04}"), "{kind}: {remote}");
        }
        // What is the same is not deployed again, however often it is read.
        for _ in 0..3 {
            sandbox.deploy(remote, &[]).expect(0).never_says(DEPLOYED);
        }
    }
    drop(disk);
}

#[test]
fn rewritten_within_a_second_on_ext4_with_small_inodes_then_each_check_deploys_it() {
    deploy_rewrites("ext4", &["-I", "128"]);
}

#[test]
fn rewritten_within_a_tick_on_xfs_then_each_check_deploys_it() {
    deploy_rewrites("xfs", &[]);
}

/// How often a check reads content: of an archive or of a directory's files.
fn reads(sandbox: &Sandbox, remote: &str) -> (usize, usize) {
    let calls = traced_calls(sandbox, &sandbox.command(&["--remote", remote, "--quiet"]), 0);
    let reads = calls.iter().filter(|call| call.starts_with("read(") && call.contains(", 131072)")).count();
    (reads, calls.len())
}

#[test]
fn grown_old_then_a_check_reads_no_content_any_more() {
    needs!("strace");
    let sandbox = Sandbox::new();
    let (zip, dir) = (|| sandbox.zip("app.zip", &[("version", "1")]), || sandbox.write("site/version", "1"));
    for (put, name) in [(&zip as &dyn Fn() -> PathBuf, "app.zip"), (&dir, "site")] {
        put();
        let remote = sandbox.path(name).to_str().unwrap().to_owned();
        sandbox.deploy(&remote, &[]).expect(0).says(DEPLOYED);
        let state = || sandbox.read("deploy/.current.deploy/state");
        assert!(state().contains("seen-at"), "{}", state());
        wait_for("stamps that prove something", || {
            sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
            (!state().contains("seen-at")).then_some(())
        });
        let before = state();
        let (reads, calls) = reads(&sandbox, &remote);
        eprintln!("a check of {remote}, which is old: {calls} system calls");
        assert_eq!(reads, 0);
        assert_eq!(state(), before, "nothing is written down");
    }
}

#[test]
fn young_and_refused_or_blocked_then_it_is_not_unpacked_again_and_read_no_more_when_old() {
    let sandbox = Sandbox::new();
    let state = || sandbox.read("deploy/.current.deploy/state");
    let broken = sandbox.write("app.zip", "PK no archive").to_str().unwrap().to_owned();
    sandbox.deploy(&broken, &[]).expect(1).never_says(REFUSED_BEFORE);
    wait_for("stamps that prove something", || {
        sandbox.deploy(&broken, &[]).expect(1).says(&format!("{REFUSED_BEFORE}; the source still has the same"));
        (!state().contains("seen-at")).then_some(())
    });
    let zip = sandbox.zip("good.zip", &[("version", "1")]).to_str().unwrap().to_owned();
    sandbox.hook("pre.d", "10-no", "exit 1");
    sandbox.deploy(&zip, &[]).expect(2).says(UNPACKED);
    wait_for("stamps that prove something", || {
        sandbox.deploy(&zip, &[]).expect(2).says(BLOCKED).never_says(UNPACKED);
        (!state().contains("seen-at")).then_some(())
    });
}

/// Writes files of one size over and over, each always full of one letter, until it is dropped.
struct Writer {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(files: Vec<PathBuf>, contents: Vec<Vec<u8>>) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let open: Vec<File> = files.iter().map(|f| File::options().write(true).open(f).unwrap()).collect();
            for content in contents.iter().cycle() {
                open.iter().for_each(|file| file.write_all_at(content, 0).unwrap());
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

#[test]
fn written_all_the_time_then_what_is_deployed_is_whole_and_in_the_end_what_lies_there() {
    let aside = Sandbox::new();
    let Some(disk) = Disk::new(&aside, "ext4", &["-I", "128"]) else { return };
    let sandbox = Sandbox::new();
    let (dir, zip) = (disk.at.join("site"), disk.at.join("app.zip"));
    fs::create_dir(&dir).unwrap();
    let files: Vec<PathBuf> = (0..20).map(|n| dir.join(n.to_string())).collect();
    let letters: Vec<Vec<u8>> = (b'a'..=b'f').map(|letter| vec![letter; 4000]).collect();
    files.iter().for_each(|file| overwrite(file, &letters[0]));
    let archives: Vec<Vec<u8>> = (0..4).map(|n| archive(&sandbox, n)).collect();
    overwrite(&zip, &archives[0]);
    let cases = [(&dir, files, letters), (&zip, vec![zip.clone()], archives)];
    for (remote, files, contents) in cases {
        let remote = remote.to_str().unwrap();
        let writer = Writer::start(files, contents);
        let mut deployed = 0;
        for _ in 0..30 {
            let run = sandbox.deploy(remote, &[]);
            assert!(matches!(run.code, 0 | 1), "{}", run.log);
            deployed += usize::from(run.log.contains(DEPLOYED));
            if !sandbox.local().exists() {
                continue;
            }
            for (name, what) in tree(&sandbox.local()) {
                let content = what.strip_prefix("f 644 ").unwrap().as_bytes();
                assert!(name == "version" || content.iter().all(|byte| *byte == content[0]), "{name} is torn");
            }
        }
        eprintln!("{remote}: {deployed} of 30 checks deployed something");
        drop(writer);
        sandbox.deploy(remote, &[]).expect(0);
        let live = tree(&sandbox.local());
        match fs::metadata(remote).unwrap().is_dir() {
            true => assert!(live == tree(Path::new(remote)), "it is not what lies there"),
            false => {
                let last = fs::read(remote).unwrap();
                let n = (0..4).find(|n| archive(&sandbox, *n) == last).unwrap();
                assert_eq!(live["version"], format!("f 644 {n:04}"));
            }
        }
    }
    drop(disk);
}

#[test]
fn rewritten_within_a_second_behind_nginx_then_the_next_check_deploys_it() {
    needs!("nginx");
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let archives: Vec<Vec<u8>> = (0..4).map(|n| archive(&sandbox, n)).collect();
    let path = sandbox.write("www/app.zip", &archives[0]);
    let put = |n: usize, time: std::time::SystemTime| {
        overwrite(&path, &archives[n]);
        File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    let version = || sandbox.read("deploy/current/version");
    for n in [0, 2] {
        // Ahead of the clock, which gives two checks the longest time that there is.
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        put(n, time);
        sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).says(&deployed_revision("sha256:"));
        put(n + 1, time);
        sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).says(&deployed_revision("sha256:"));
        assert_eq!(version(), format!("{:04}", n + 1));
    }
    // Once it is old, a check is one request without a body.
    wait_for("a check without a body", || {
        let before = nginx.log(1).len();
        sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).never_says(DEPLOYED);
        (nginx.log(before + 1)[before] == "GET /app.zip HTTP/1.1|304|0").then_some(())
    });
    sandbox.deploy(&nginx.url("/app.zip"), &[]).expect(0).never_says(DEPLOYED);
    assert_eq!(nginx.log(1).last().unwrap(), "GET /app.zip HTTP/1.1|304|0");
}

#[test]
fn young_by_the_date_of_a_server_then_the_content_is_read_once_more_and_then_relied_upon() {
    const MODIFIED: &str = "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT";
    let sandbox = Sandbox::new();
    let archives: Vec<Vec<u8>> = (0..2).map(|n| archive(&sandbox, n)).collect();
    // The first answer a second after the change, which is followed by another one.
    let server = Raw::start(move |seen, n| {
        let headers = format!("{MODIFIED}\nDate: Mon, 02 Nov 2026 10:00:0{} GMT", if n == 0 { 1 } else { 9 });
        match seen.header("If-Modified-Since") {
            Some(_) => vec![raw(&format!("304 Not Modified\n{headers}"), b"")],
            None => vec![ok(&headers, &archives[n.min(1)])],
        }
    });
    let conditions = || server.seen().iter().map(|seen| seen.header("If-Modified-Since").is_some()).collect::<Vec<_>>();
    for (words, sent) in [(DEPLOYED, false), (DEPLOYED, false), (UNCHANGED, true), (UNCHANGED, true)] {
        sandbox.deploy(&server.url("/app.zip"), &["-v"]).expect(0).says(words);
        assert_eq!(conditions().last(), Some(&sent), "{:?}", conditions());
    }
    assert_eq!(sandbox.read("deploy/current/version"), "0001");
}

#[test]
fn deployed_while_young_then_a_repair_tells_the_same_by_its_content_and_another_as_another() {
    const MODIFIED: &str = "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT";
    let sandbox = Sandbox::new();
    let archives: Vec<Vec<u8>> = (0..2).map(|n| archive(&sandbox, n)).collect();
    // The first answer a second after the change; the last one is another archive of the same name.
    let server = Raw::start(move |_, n| {
        let date = format!("Date: Mon, 02 Nov 2026 10:00:0{} GMT", if n == 0 { 1 } else { 9 });
        vec![ok(&format!("{MODIFIED}\nETag: W/\"a\"\n{date}"), &archives[usize::from(n > 1)])]
    });
    let remote = server.url("/app.zip");
    sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("sha256:"));
    let live = sandbox.local().join("version");
    let repair = || -> Run {
        overwrite(&live, b"gone");
        sandbox.saying(&["verify", "--repair"], &["--remote", &remote]).output().unwrap().into()
    };
    repair().expect(0);
    assert_eq!(fs::read(&live).unwrap(), b"0000");
    repair().expect(1).says(" has revision sha256:").says(" by now, not sha256:");
    assert_eq!(fs::read(&live).unwrap(), b"gone");
}

#[test]
fn young_by_every_answer_then_the_name_is_relied_upon_once_it_was_seen_long_enough() {
    // A cache that repeats Date, and a server that makes its Last-Modified of the clock.
    for headers in [
        "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\nDate: Mon, 02 Nov 2026 10:00:00 GMT",
        "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\nDate: Mon, 02 Nov 2026 10:00:01 GMT\nETag: W/\"a\"",
    ] {
        let sandbox = Sandbox::new();
        let zip = archive(&sandbox, 0);
        let server = Raw::start(move |seen, _| {
            let known = seen.header("If-None-Match").or(seen.header("If-Modified-Since"));
            vec![if known.is_some() { raw(&format!("304 Not Modified\n{headers}"), b"") } else { ok(headers, &zip) }]
        });
        let remote = server.url("/app.zip");
        let state = || sandbox.read("deploy/.current.deploy/state");
        let last_is_conditional = || {
            let last = server.seen().pop().unwrap();
            last.header("If-None-Match").or(last.header("If-Modified-Since")).is_some()
        };
        sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("sha256:"));
        let first = state();
        // Soon after it is still read, and nothing new is written down.
        sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
        assert!(!last_is_conditional() && (state() == first || !state().contains("young")), "{first}{}", state());
        wait_for("a check without a body", || {
            sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
            last_is_conditional().then_some(())
        });
        assert!(!state().contains("young"), "{}", state());
    }
}

/// One check by `clock`.
fn deploy_by(sandbox: &Sandbox, clock: &Clock, remote: &str) -> Run {
    clock.around(&sandbox.command(&["--remote", remote])).output().unwrap().into()
}

#[test]
fn changed_in_the_future_then_it_is_read_until_it_was_seen_long_enough() {
    let sandbox = Sandbox::new();
    let Some(clock) = Clock::new(&sandbox) else { return };
    let state = || sandbox.read("deploy/.current.deploy/state");
    sandbox.write("site/version", "1");
    for remote in [sandbox.zip("app.zip", &[("version", "1")]), sandbox.path("site")] {
        let remote = remote.to_str().unwrap();
        clock.moves(-86_400);
        deploy_by(&sandbox, &clock, remote).expect(0).says(DEPLOYED);
        assert!(state().contains("seen-at"), "{}", state());
        clock.moves(-86_390);
        deploy_by(&sandbox, &clock, remote).expect(0).never_says(DEPLOYED);
        assert!(!state().contains("seen-at"), "{}", state());
    }
}

#[test]
fn another_file_system_in_the_directory_then_its_stamps_prove_nothing_when_they_are_seen_first() {
    let (sandbox, aside) = (Sandbox::new(), Sandbox::new());
    let Some(clock) = Clock::new(&sandbox) else { return };
    let Some(disk) = Disk::new(&aside, "ext4", &[]) else { return };
    fs::write(disk.at.join("version"), "1").unwrap();
    sandbox.write("site/index", "1");
    let state = || sandbox.read("deploy/.current.deploy/state");
    let remote = sandbox.path("site");
    clock.moves(86_400);
    deploy_by(&sandbox, &clock, remote.to_str().unwrap()).expect(0).says(DEPLOYED);
    assert!(!state().contains("seen-at"), "all of it is old: {}", state());
    fs::create_dir(remote.join("mount")).unwrap();
    let bind = |verb: &str, paths: &[&Path]| {
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &format!("{verb} \"$@\""), "-"])
                .args(paths)
                .status()
                .unwrap()
                .success()
        );
    };
    bind("mount --bind", &[&disk.at, &remote.join("mount")]);
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        deploy_by(&sandbox, &clock, remote.to_str().unwrap()).expect(0).says(DEPLOYED);
        assert!(state().contains("seen-at"), "{}", state());
        clock.moves(86_410);
        deploy_by(&sandbox, &clock, remote.to_str().unwrap()).expect(0).never_says(DEPLOYED);
        assert!(!state().contains("seen-at"), "{}", state());
    }));
    bind("umount", &[&remote.join("mount")]);
    first.unwrap();
}
