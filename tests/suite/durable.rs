//! Many files become durable at once: which call does it, errors of the disk that come late, and a disk that others keep
//! busy.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::disk::Disk;
use crate::support::needs::needs;
use crate::support::sandbox::{Run, Sandbox, age};
use crate::support::servers::Nginx;

/// A ZIP of `count` files of `size` bytes that do not shrink, and its version.
pub fn archive(aside: &Sandbox, name: &str, version: &str, count: usize, size: usize) -> String {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = || {
        let letters = (0..size).map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            char::from(b'a' + u8::try_from((random >> 32) % 26).unwrap())
        });
        letters.collect::<String>()
    };
    let files: Vec<(String, String)> = (0..count).map(|n| (format!("d/{n:03}"), content())).collect();
    let mut all = vec![("VERSION", version)];
    all.extend(files.iter().map(|(name, content)| (name.as_str(), content.as_str())));
    aside.zip(name, &all).display().to_string()
}

/// The calls of a first deployment of `remote` that make things durable, by name.
fn syncs(sandbox: &Sandbox, remote: &str) -> (Vec<String>, Run) {
    let command = sandbox.command(&["-v", "--remote", remote]);
    let trace = sandbox.path("trace");
    let options = ["-e", "trace=fsync,syncfs,ioctl", "-o", trace.to_str().unwrap()];
    let mut run;
    loop {
        assert!(Command::new("sync").status().unwrap().success());
        run = Run::from(crate::crash::traced(&command, &options).output().unwrap()).expect(0);
        if !run.log.contains("other programs have") {
            break;
        }
        // Other tests have written so much since the sync.
        ["deploy", "state"].iter().for_each(|name| drop(fs::remove_dir_all(sandbox.path(name))));
    }
    let calls = sandbox.read("trace");
    let name = |line: &str| line.split('(').next().unwrap().to_owned();
    let is_one = |line: &&str| !line.contains("TIOC");
    (calls.lines().filter(is_one).map(name).collect(), run)
}

fn count(calls: &[String], name: &str) -> usize {
    calls.iter().filter(|call| *call == name).count()
}

#[test]
fn many_files_are_synced_at_once_and_few_one_by_one() {
    needs!("strace");
    let aside = Sandbox::new();
    let (few, many) = (archive(&aside, "few.zip", "1", 20, 10), archive(&aside, "many.zip", "1", 80, 10));
    for kind in ["ext4", "xfs", "btrfs"] {
        let disk_of = Sandbox::in_memory();
        let Some(mut disk) = Disk::new(&disk_of, kind, &[]) else { return };
        let on_disk = Sandbox::at(&disk.at.join("few"));
        let (calls, run) = syncs(&on_disk, &few);
        assert!(count(&calls, "syncfs") == 0 && count(&calls, "fsync") > 20, "{kind}: {calls:?}");
        run.says("synced 22 entries with one fsync each in ");
        let (calls, run) = syncs(&Sandbox::at(&disk.at.join("many")), &many);
        assert!(count(&calls, "syncfs") == 1 && count(&calls, "fsync") < 20, "{kind}: {calls:?}");
        run.says("synced 82 entries with one syncfs in ");
        // In place: the release, its copy, and the names; the one directory is synced by itself.
        let in_place = Sandbox::at(&disk.at.join("in-place"));
        in_place.write("repo-deploy.cfg", "activation = in-place\n");
        let (calls, _) = syncs(&in_place, &many);
        assert!(count(&calls, "syncfs") == 2 && count(&calls, "fsync") < 20, "{kind}: {calls:?}");
        // overlayfs hides the errors of what is below it: each file is asked, and the manifest.
        let above = Sandbox::at(&disk.overlay(&disk_of).join("sandbox"));
        let (calls, run) = syncs(&above, &many);
        let (syncfs, fsync, fiemap) = (count(&calls, "syncfs"), count(&calls, "fsync"), count(&calls, "ioctl"));
        assert!(syncfs == 1 && fsync < 20 && fiemap == 82, "{kind}: {calls:?}");
        run.says("synced 82 entries with one syncfs and a query for each file in ");
    }
}

#[test]
fn many_bytes_are_unpacked_then_the_disk_begins_in_a_process_that_holds_no_lock() {
    needs!("strace");
    let aside = Sandbox::new();
    let zip = archive(&aside, "large.zip", "1", 80, 1 << 20);
    let disk_of = Sandbox::new();
    let Some(disk) = Disk::new(&disk_of, "xfs", &[]) else { return };
    let sandbox = Sandbox::at(&disk.at.join("sandbox"));
    let (command, trace) = (sandbox.command(&["--remote", &zip]), sandbox.path("trace"));
    let options = ["-f", "-e", "trace=syncfs,flock,close_range,wait4", "-o", trace.to_str().unwrap()];
    let run = Run::from(crate::crash::traced(&command, &options).output().unwrap());
    run.expect(0);
    let text = sandbox.read("trace");
    let of = |call: &str| -> Vec<String> {
        let calls = text.lines().filter(|line| line.contains(&format!(" {call}(")));
        calls.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let (syncs, closed, locks) = (of("syncfs"), of("close_range"), of("flock"));
    assert_eq!(syncs.len(), 2, "{text}");
    assert_ne!(syncs[0], locks[0], "the first is of another process: {text}");
    assert_eq!((&syncs[1], &closed[0]), (&locks[0], &syncs[0]), "{text}");
    // Killed while the other one is at work: the lock is free at once.
    let killed = Sandbox::at(&disk.at.join("killed"));
    let command = killed.command(&["--remote", &zip]);
    let options = ["-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:signal=KILL"];
    let run = Run::from(crate::crash::traced(&command, &options).output().unwrap());
    assert_eq!(run.code, 137, "{}", run.log);
    killed.deploy(&zip, &[]).expect(0);
    assert_eq!(fs::read_to_string(killed.local().join("VERSION")).unwrap(), "1");
}

#[test]
fn data_that_cannot_be_written_later_then_the_old_release_stays_live() {
    let aside = Sandbox::new();
    let old = archive(&aside, "old.zip", "1", 80, 1000);
    // As much as the disk promises, and more than is behind it.
    let new = archive(&aside, "new.zip", "2", 100, 1 << 20);
    for (kind, room) in [("ext4", 50 << 20), ("xfs", 120 << 20), ("btrfs", 70 << 20)] {
        for is_overlay in [false, true] {
            for mode in ["symlink", "in-place"] {
                let at = format!("{kind}, overlay: {is_overlay}, {mode}");
                let disk_of = Sandbox::in_memory();
                let Some(mut disk) = Disk::thin(&disk_of, kind, room) else { return };
                let top = if is_overlay { disk.overlay(&disk_of) } else { disk.at.clone() };
                let sandbox = Sandbox::at(&top.join("sandbox"));
                sandbox.write("repo-deploy.cfg", format!("activation = {mode}\n"));
                sandbox.deploy(&old, &[]).expect(0);
                let live = || fs::read_to_string(sandbox.local().join("VERSION")).unwrap();
                assert_eq!(live(), "1", "{at}");
                let run = sandbox.deploy(&new, &[]);
                assert_eq!(run.code, 1, "{at}: {}", run.log);
                assert_eq!(live(), "1", "{at}: {}", run.log);
                let is_told = ["no space left on device", "input/output error", "read-only file system"]
                    .iter()
                    .any(|words| run.log.contains(words));
                assert!(is_told, "{at}: {}", run.log);
                drop(sandbox);
            }
        }
    }
}

/// Writes to a file without end until this is dropped.
struct Writer(std::process::Child);

impl Writer {
    fn new(to: &Path) -> Self {
        let script = format!("while :; do dd if=/dev/zero of={}/noise bs=1M count=8 conv=notrunc; done", to.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let child = shell.spawn().unwrap();
        while fs::metadata(to.join("noise")).map_or(0, |noise| noise.len()) < 1 << 20 {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn another_program_that_never_stops_writing_then_the_check_ends_all_the_same() {
    let aside = Sandbox::new();
    let (one, two) = (archive(&aside, "one.zip", "1", 200, 1000), archive(&aside, "two.zip", "2", 200, 1000));
    for kind in ["ext4", "xfs", "btrfs"] {
        let disk_of = Sandbox::new();
        let Some(disk) = Disk::new(&disk_of, kind, &[]) else { return };
        let (sandbox, writer) = (Sandbox::at(&disk.at.join("sandbox")), Writer::new(&disk.at));
        sandbox.write("repo-deploy.cfg", "timeout = 2m\n");
        for (remote, version) in [(&one, "1"), (&two, "2")] {
            sandbox.deploy(remote, &[]).expect(0);
            assert_eq!(fs::read_to_string(sandbox.local().join("VERSION")).unwrap(), version);
        }
        drop(writer);
        drop(sandbox);
    }
}

/// The numbers of the blocks of a file, as filefrag prints them.
fn blocks(path: &Path) -> String {
    let run = Run::from(Command::new("filefrag").arg("-v").arg(path).output().unwrap()).expect(0);
    let is_extent = |line: &&str| line.trim_start().starts_with("0:");
    let extent = run.out.lines().find(is_extent).unwrap_or_else(|| panic!("no blocks: {}", run.out));
    extent.split("..").nth(1).unwrap().split(':').nth(1).unwrap().trim().to_owned()
}

#[test]
fn unchanged_files_share_their_blocks_with_the_live_release_unless_they_were_touched() {
    for (kind, options) in [("xfs", &["-m", "reflink=1"][..]), ("btrfs", &[])] {
        share_blocks(kind, options);
    }
}

fn share_blocks(kind: &str, options: &[&str]) {
    needs!("filefrag");
    let disk_of = Sandbox::in_memory();
    let Some(disk) = Disk::new(&disk_of, kind, options) else { return };
    let sandbox = Sandbox::at(&disk.at.join("sandbox"));
    let content = |letter: &str| letter.repeat(20_000);
    let names = ["same", "changed", "touched", "forged", "damaged", "last"];
    let zip = |version: &str, differs: &[&str]| {
        let files: Vec<(&str, String)> = names
            .iter()
            .map(|name| (*name, content(if differs.contains(name) { version } else { name })))
            // The last is large: until it is unpacked, the clock of the file system has gone on.
            .chain([("VERSION", version.to_owned()), ("z", version.repeat(80_000_000))])
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (*name, content.as_str())).collect();
        sandbox.zip("app.zip", &files).display().to_string()
    };
    sandbox.deploy(&zip("1", &[]), &[]).expect(0);
    let first = fs::canonicalize(sandbox.local()).unwrap();
    assert!(Command::new("sync").arg("-f").arg(&first).status().unwrap().success());
    // An application writes the same again; and something else, with the old time.
    fs::write(first.join("touched"), content("touched")).unwrap();
    let forged = first.join("forged");
    let before = fs::metadata(&forged).unwrap().modified().unwrap();
    fs::write(&forged, content("FORGED")).unwrap();
    fs::File::options().write(true).open(&forged).unwrap().set_modified(before).unwrap();
    let run = sandbox.deploy(&zip("2", &["changed"]), &["-v"]).expect(0);
    let second = fs::canonicalize(sandbox.local()).unwrap();
    assert_ne!(first, second);
    run.says("cloned 3 unchanged files of the live release"); // same, damaged, last
    for name in names {
        let expected = if name == "changed" { content("2") } else { content(name) };
        assert_eq!(fs::read_to_string(second.join(name)).unwrap(), expected, "{name}");
        let is_shared = blocks(&first.join(name)) == blocks(&second.join(name));
        assert_eq!(is_shared, ["same", "damaged", "last"].contains(&name), "{name}");
    }
    // A clone is a file of its own.
    fs::write(second.join("same"), "changed").unwrap();
    assert_eq!(fs::read_to_string(first.join("same")).unwrap(), content("same"));
}

#[test]
fn nothing_is_cloned_where_trust_demands_a_proof() {
    let disk_of = Sandbox::in_memory();
    let Some(disk) = Disk::new(&disk_of, "xfs", &["-m", "reflink=1"]) else { return };
    let sandbox = Sandbox::at(&disk.at.join("sandbox"));
    for version in ["1", "2"] {
        let zip = sandbox.zip("app.zip", &[("same", &"same".repeat(5_000)), ("VERSION", version)]);
        let sum = Run::from(Command::new("sha256sum").arg(&zip).output().unwrap()).expect(0);
        let sum = sum.out.split(' ').next().unwrap().to_owned();
        sandbox.write("repo-deploy.cfg", format!("sha256 = {sum}\n"));
        sandbox.deploy(zip.to_str().unwrap(), &["-v"]).expect(0).never_says("cloned");
        assert_eq!(fs::read_to_string(sandbox.local().join("VERSION")).unwrap(), version);
    }
}

/// The names of pruned releases that are still to be removed.
fn pruned(sandbox: &Sandbox) -> Vec<String> {
    let names = fs::read_dir(sandbox.store().join("partial")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|n| n.starts_with("pruned-")).collect()
}

#[test]
fn a_pruned_release_is_removed_after_the_report_and_after_a_kill_by_the_next_check() {
    needs!("strace");
    let mut calls = Vec::new();
    for is_killed in [false, true] {
        let sandbox = Sandbox::new();
        sandbox.write("repo-deploy.cfg", "keep = 2\n");
        let [one, two, three] = ["1", "2", "3"].map(|version| archive(&sandbox, version, version, 30, 10));
        sandbox.deploy(&one, &[]).expect(0);
        sandbox.deploy(&two, &[]).expect(0);
        let (trace, command) = (sandbox.path("trace"), sandbox.command(&["--remote", &three]));
        let mut options =
            vec!["-e", "trace=unlinkat,flock,rename,renameat,write", "-s", "200", "-o", trace.to_str().unwrap()];
        let kill = format!("inject=unlinkat:signal=KILL:when={}", calls.iter().filter(|c| **c == "unlinkat").count());
        if is_killed {
            options.extend(["-e", &kill]);
        }
        crate::crash::traced(&command, &options).output().unwrap();
        let text = sandbox.read("trace");
        let first = text.lines().position(|line| line.starts_with("unlinkat") && line.contains("\"000\"")).unwrap();
        let before: Vec<&str> = text.lines().take(first).collect();
        let is_reported = before.iter().any(|line| line.contains("\"status\""));
        assert!(is_reported, "removed before the report:\n{text}");
        assert_eq!(fs::read_to_string(sandbox.local().join("VERSION")).unwrap(), "3");
        assert_eq!(pruned(&sandbox).len(), usize::from(is_killed), "{text}");
        let run = sandbox.status(&["--remote", &three]).expect(0);
        assert!(run.out.contains("deployed"), "{}", run.out);
        sandbox.deploy(&three, &[]).expect(0);
        assert!(pruned(&sandbox).is_empty());
        calls = text.lines().take(first + 3).map(|line| line.split('(').next().unwrap().to_owned()).collect();
    }
}

/// The number of system calls of a check of `remote`, its start left out.
pub fn calls(sandbox: &Sandbox, remote: &str) -> usize {
    let (command, trace) = (sandbox.command(&["--remote", remote]), sandbox.path("trace"));
    let run = Run::from(crate::crash::traced(&command, &["-o", trace.to_str().unwrap()]).output().unwrap());
    run.expect(0);
    sandbox.read("trace").lines().count()
}

#[test]
fn files_are_added_then_a_deployment_makes_four_more_calls_for_each() {
    needs!("strace", "nginx");
    let aside = Sandbox::new();
    let of = |count: usize| {
        let sandbox = Sandbox::new();
        let nginx = Nginx::start(&sandbox, "", "");
        let zip = archive(&aside, &format!("{count}.zip"), "1", count, 1000);
        age(&sandbox.write("www/app.zip", fs::read(zip).unwrap()));
        let remote = nginx.url("/app.zip");
        (calls(&sandbox, &remote), calls(&sandbox, &remote))
    };
    let ((few, idle), (many, idle_of_many)) = (of(100), of(600));
    // openat, write, close, and less than one read of a header.
    let each = (many - few) as f64 / 500.0;
    assert!(each <= 4.2, "{few} calls for 100 files, {many} for 600: {each} for each");
    // A check without news looks at no file of the release.
    assert!(idle_of_many <= idle + 2, "{idle} calls without news with 100 files, {idle_of_many} with 600");
}
