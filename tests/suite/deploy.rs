//! What is live, what is kept, what is put back: the store and both ways of activation, seen from outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::needs::needs;
use crate::support::phrases::{
    AT_WORK, DEPLOYED, DRIFT, LIVE_IS_GONE, MOVE_AWAY, NOTHING_AT, ONE_MISSING, OTHERS_MAY_WRITE, REFUSED_BEFORE,
    UNCHANGED, UNREADABLE, deployed_revision,
};
use crate::support::sandbox::{Run, traced_calls, tree};
use crate::support::site::Site;

fn releases(store: &Path) -> usize {
    fs::read_dir(store.join("releases")).map_or(0, Iterator::count)
}

/// Offers a release with directories.
fn put(site: &Site, version: &str) {
    site.put_files(&[("version", version), ("dir/file", version), ("same", "same")]);
}

fn status(site: &Site) -> String {
    let run = site.does(&["status"]); // its code is the last check's business
    assert_eq!(run.log, "");
    run.out
}

#[test]
fn first_deployment_then_local_is_a_relative_link_into_the_store() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0).says(&deployed_revision("sha256:"));
    let target = fs::read_link(w.sandbox.local()).unwrap();
    assert!(target.starts_with(".current.deploy/releases"), "{target:?}");
    let modes = |p: &str| fs::metadata(w.sandbox.store().join(p)).unwrap().mode() & 0o7777;
    assert_eq!((modes("."), modes("releases"), modes("partial")), (0o755, 0o755, 0o700));
    assert_eq!((modes("state"), modes("lock")), (0o600, 0o600));
    assert_eq!(fs::metadata(w.sandbox.local()).unwrap().mode() & 0o7777, 0o755);
    // The volume may be mounted elsewhere: the link still leads to the release.
    fs::rename(w.sandbox.path("deploy"), w.sandbox.path("elsewhere")).unwrap();
    assert_eq!(w.sandbox.read("elsewhere/current/version"), "1");
}

#[test]
fn nothing_new_then_nothing_is_written_but_the_status() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    needs!("strace");
    let before = fs::metadata(w.sandbox.store().join("state")).unwrap();
    let command = w.sandbox.command(&["--remote", &w.remote]);
    let calls = traced_calls(&w.sandbox, &command, 0);
    let after = fs::metadata(w.sandbox.store().join("state")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    let writes = |name: &str| calls.iter().filter(|c| c.starts_with(&format!("{name}("))).collect::<Vec<_>>();
    let created: Vec<_> = calls.iter().filter(|c| c.contains("O_CREAT") && !c.contains("\"lock\"")).collect();
    assert_eq!(created.len(), 1, "only the status: {created:?}");
    assert_eq!(writes("rename").len() + writes("renameat").len(), 1);
    assert!(writes("mkdir").is_empty() && writes("unlink").is_empty() && writes("fsync").is_empty());
    assert!(status(&w).contains("unchanged"));
}

#[test]
fn update_then_the_previous_release_stays_and_older_ones_go_beyond_keep() {
    let w = Site::new("");
    w.config("keep = 3");
    for version in ["1", "2", "3", "4", "5"] {
        put(&w, version);
        w.check().expect(0);
        assert_eq!(w.live(), version);
        assert!(releases(&w.sandbox.store()) <= 3);
    }
    assert_eq!(releases(&w.sandbox.store()), 3);
    let status = status(&w);
    assert!(status.contains("live        release ") && status.contains("previous    release "), "{status}");
}

#[test]
fn the_same_bytes_again_under_another_time_then_nothing_is_deployed() {
    let w = Site::new("");
    put(&w, "1");
    w.sandbox.hook("post.d", "10-count", "echo run >> \"$HOME/count\"");
    w.check().expect(0);
    let bytes = fs::read(&w.remote).unwrap();
    fs::write(&w.remote, bytes).unwrap();
    let run = w.check_with(&["-v"]).expect(0).never_says(DEPLOYED).says(&format!(" DEBUG {UNCHANGED} release "));
    assert!(run.says(", revision sha256:").log.ends_with(" is live\n"));
    assert_eq!(w.sandbox.read("home/count").lines().count(), 1);
}

#[test]
fn directory_remote_then_it_is_copied_and_follows_changes() {
    let w = Site::new("");
    w.sandbox.write("source/version", "1");
    w.sandbox.write("source/dir/file", "x");
    symlink("dir/file", w.sandbox.path("source/link")).unwrap();
    let remote = w.sandbox.path("source").to_str().unwrap().to_owned();
    w.sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(tree(&w.sandbox.local()), tree(&w.sandbox.path("source")));
    w.sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    w.sandbox.write("source/version", "2");
    w.sandbox.deploy(&format!("file://{remote}"), &[]).expect(0).says(DEPLOYED);
    assert_eq!(w.live(), "2");
}

#[test]
fn remote_missing_then_exit_1_and_the_live_tree_stays() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    fs::remove_file(&w.remote).unwrap();
    let run = w.check().expect(1).says(NOTHING_AT);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert_eq!(w.live(), "1");
    assert!(status(&w).contains(NOTHING_AT));
}

#[test]
fn corrupt_archive_then_refused_and_not_unpacked_again_until_it_changes() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    let good = fs::read(&w.remote).unwrap();
    fs::write(&w.remote, &good[..good.len() - 7]).unwrap();
    let run = w.check().expect(1);
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    w.check().expect(1).says(REFUSED_BEFORE);
    assert_eq!(releases(&w.sandbox.store()), 1);
    assert_eq!(fs::read_dir(w.sandbox.store().join("partial")).unwrap().count(), 0);
    assert_eq!(w.live(), "1");
    put(&w, "2");
    w.check().expect(0);
    assert_eq!(w.live(), "2");
}

#[test]
fn a_limit_refused_it_and_is_raised_then_it_deploys() {
    let w = Site::new("");
    put(&w, "1");
    w.config("max-files = 2");
    w.check().expect(1).says("max-files");
    w.check().expect(1).says(REFUSED_BEFORE);
    w.config("max-files = 20");
    w.check().expect(0);
    assert_eq!(w.live(), "1");
}

#[test]
fn link_is_gone_or_turned_then_the_next_check_puts_it_back() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    put(&w, "2");
    w.check().expect(0);
    fs::remove_file(w.sandbox.local()).unwrap();
    w.check().expect(0).says(DRIFT).says("was gone");
    assert_eq!(w.live(), "2");
    fs::remove_file(w.sandbox.local()).unwrap();
    symlink("/etc", w.sandbox.local()).unwrap();
    w.check().expect(0).says("pointed to /etc");
    assert_eq!(w.live(), "2");
    w.check().expect(0).never_says(DRIFT);
    // Content that somebody put there is not thrown away.
    fs::remove_file(w.sandbox.local()).unwrap();
    w.sandbox.write("deploy/current/precious", "x");
    w.check().expect(78).says("is no link any more").says("or say activation = in-place");
    assert_eq!(w.sandbox.read("deploy/current/precious"), "x");
}

#[test]
fn live_release_is_gone_from_the_store_then_it_is_fetched_again() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    fs::remove_dir_all(fs::canonicalize(w.sandbox.local()).unwrap()).unwrap();
    w.check().expect(0).says(LIVE_IS_GONE);
    assert_eq!(w.live(), "1");
}

#[test]
fn state_is_lost_then_the_link_is_adopted_and_nothing_is_deployed_anew() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    fs::remove_file(w.sandbox.store().join("state")).unwrap();
    w.check().expect(0).says("adopted release").never_says(DEPLOYED);
    assert_eq!(w.live(), "1");
    w.check().expect(0).never_says("adopted");
}

#[test]
fn state_is_unreadable_then_the_live_tree_stays_and_a_clean_deployment_settles_it() {
    for activation in ["symlink", "in-place"] {
        let w = Site::new("");
        w.config(&format!("activation = {activation}\nid = x"));
        put(&w, "1");
        w.check().expect(0);
        let store = if activation == "symlink" { w.sandbox.store() } else { w.sandbox.path("state/x") };
        fs::write(store.join("state"), "garbage").unwrap();
        fs::rename(&w.remote, w.sandbox.path("away")).unwrap();
        for _ in 0..2 {
            w.check().expect(3).says(UNREADABLE);
            assert_eq!(w.live(), "1");
        }
        fs::rename(w.sandbox.path("away"), &w.remote).unwrap();
        w.check().expect(0).says(DEPLOYED);
        w.check().expect(0).never_says(UNREADABLE);
        assert_eq!(w.live(), "1");
    }
}

#[test]
fn state_of_another_version_then_78_and_it_is_not_touched() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    let state = w.sandbox.store().join("state");
    let newer = fs::read_to_string(&state).unwrap().replace("format = 1", "format = 2");
    fs::write(&state, &newer).unwrap();
    put(&w, "2");
    w.check().expect(78).says("a newer repo-deploy wrote it");
    assert_eq!((fs::read_to_string(&state).unwrap(), w.live()), (newer, "1".to_owned()));
}

#[test]
fn foreign_link_then_it_is_replaced_and_put_back_by_a_revert() {
    let w = Site::new("");
    put(&w, "1");
    w.sandbox.write("old/version", "0");
    symlink("../old", w.sandbox.local()).unwrap();
    let hook = w.sandbox.hook("post.d", "10-no", "exit 1");
    w.check().expect(1).says("as it was found");
    assert_eq!(fs::read_link(w.sandbox.local()).unwrap(), Path::new("../old"));
    fs::remove_file(hook).unwrap();
    w.check().expect(0);
    assert_eq!(w.live(), "1");
    assert_eq!(w.sandbox.read("old/version"), "0");
}

#[test]
fn directory_with_content_and_symlink_said_outright_then_78_and_the_ways_out() {
    let w = Site::new("");
    put(&w, "1");
    w.sandbox.write("deploy/current/mine", "x");
    w.config("activation = symlink");
    w.check().expect(78).says(&format!("{MOVE_AWAY}, or say activation = in-place"));
    assert_eq!(w.sandbox.read("deploy/current/mine"), "x");
    w.config("activation = auto");
    w.check().expect(0).says("kept a copy of what was found");
    assert_eq!(w.live(), "1");
    assert!(!w.sandbox.path("deploy/current/mine").exists());
    assert_eq!(w.sandbox.read("state/default/releases/adopted/mine"), "x");
}

#[test]
fn many_updates_after_an_adoption_then_what_was_found_is_still_kept() {
    let w = Site::new("");
    w.config("keep = 2");
    w.sandbox.write("deploy/current/mine", "precious");
    for version in ["1", "2", "3", "4"] {
        put(&w, version);
        w.check().expect(0);
    }
    let store = w.sandbox.path("state/default");
    assert_eq!(w.sandbox.read(store.join("releases/adopted/mine")), "precious");
    assert_eq!(releases(&store), 3);
    // A state that is lost is no reason to lose that copy.
    fs::remove_file(store.join("state")).unwrap();
    put(&w, "5");
    w.check().expect(0).says("as release adopted-2");
    assert_eq!(w.sandbox.read(store.join("releases/adopted/mine")), "precious");
    assert_eq!(w.sandbox.read(store.join("releases/adopted-2/version")), "4");
}

#[test]
fn empty_directory_and_symlink_said_outright_then_the_link_takes_its_place() {
    let w = Site::new("");
    put(&w, "1");
    fs::create_dir(w.sandbox.local()).unwrap();
    w.config("activation = symlink");
    w.check().expect(0);
    assert_eq!(w.live(), "1");
}

#[test]
fn in_place_update_then_only_what_differs_has_a_new_inode() {
    let w = Site::new("");
    w.config("activation = in-place");
    put(&w, "1");
    w.check().expect(0);
    let inode = |name: &str| fs::metadata(w.sandbox.local().join(name)).unwrap().ino();
    let before = (inode("."), inode("same"), inode("dir"), inode("version"));
    put(&w, "2");
    w.check().expect(0);
    let after = (inode("."), inode("same"), inode("dir"), inode("version"));
    assert_eq!((before.0, before.1, before.2), (after.0, after.1, after.2));
    assert_ne!(before.3, after.3);
    assert_eq!(w.live(), "2");
}

#[test]
fn in_place_then_preserved_names_and_a_mode_of_the_top_stay() {
    let w = Site::new("");
    w.config("preserve = uploads/ .env");
    for (name, content) in [("uploads/a", "a"), (".env", "e"), ("version", "0"), ("junk", "j")] {
        w.sandbox.write(w.sandbox.local().join(name), content);
    }
    fs::set_permissions(w.sandbox.local(), fs::Permissions::from_mode(0o750)).unwrap();
    put(&w, "1");
    w.check().expect(0);
    assert_eq!(w.live(), "1");
    assert_eq!(w.sandbox.read("deploy/current/uploads/a"), "a");
    assert_eq!(w.sandbox.read("deploy/current/.env"), "e");
    assert!(!w.sandbox.path("deploy/current/junk").exists());
    assert_eq!(fs::metadata(w.sandbox.local()).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn in_place_adoption_is_reverted_then_it_is_as_it_was_found() {
    let w = Site::new("");
    for (name, mode, owner) in [("version", 0o640, 7), ("bin/tool", 0o4755, 8), ("dir", 0o600, 0)] {
        let path = w.sandbox.write(w.sandbox.local().join(name), name);
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000));
        fs::File::options().write(true).open(&path).unwrap().set_times(time).unwrap();
    }
    symlink("nowhere", w.sandbox.path("deploy/current/dangling")).unwrap();
    let seen = || {
        let stat = |name: &str| {
            let meta = fs::metadata(w.sandbox.local().join(name)).unwrap();
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime())
        };
        (tree(&w.sandbox.local()), stat("version"), stat("bin/tool"), stat("dir"))
    };
    let before = seen();
    w.sandbox.hook("post.d", "10-no", "[ \"$REPO_DEPLOY_REASON\" = revert ]");
    put(&w, "1");
    w.check().expect(1).says("rolled back: ");
    assert_eq!(seen(), before);
}

#[test]
fn in_place_entry_is_missing_then_put_back_and_other_changes_are_on_hold() {
    let w = Site::new("");
    w.config("activation = in-place");
    put(&w, "1");
    w.check().expect(0);
    fs::remove_dir_all(w.sandbox.path("deploy/current/dir")).unwrap();
    w.sandbox.write("deploy/current/version", "edited by the application");
    w.check()
        .expect(0)
        .says(&format!("{DRIFT} 2 entries of {} were missing, the first dir; release ", w.sandbox.local().display()));
    assert_eq!(w.sandbox.read("deploy/current/dir/file"), "1");
    fs::remove_file(w.sandbox.path("deploy/current/dir/file")).unwrap();
    let one = format!("{DRIFT} {ONE_MISSING} {} was missing (dir/file); release ", w.sandbox.local().display());
    w.check().expect(0).says(&one);
    assert_eq!(w.live(), "edited by the application");
    fs::remove_dir_all(w.sandbox.local()).unwrap();
    w.check().expect(0).says("was gone");
    assert_eq!(w.live(), "1");
    w.check().expect(0).never_says(DRIFT);
}

#[test]
fn another_one_holds_the_lock_then_75_within_a_second() {
    let w = Site::new("");
    put(&w, "1");
    // The first one waits in its hook until the second one has ended.
    let fifo = w.sandbox.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    w.sandbox.hook("pre.d", "10-wait", &format!("echo waiting; cat {}", fifo.display()));
    let mut first = w.sandbox.command(&["--remote", &w.remote]);
    let mut first = first.stderr(Stdio::null()).spawn().unwrap();
    while fs::read_dir(w.sandbox.store().join("releases")).map_or(0, Iterator::count) == 0 {
        std::thread::yield_now();
    }
    let begun = std::time::Instant::now();
    w.check().expect(75).says(&format!("{AT_WORK}: it holds ")).says("; the next check comes by itself");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "it waited");
    fs::write(&fifo, "go").unwrap();
    assert!(first.wait().unwrap().success());
    w.check().expect(0);
}

#[test]
fn two_deployments_share_an_id_then_the_second_is_told_to_take_its_own() {
    let w = Site::new("");
    w.config("activation = in-place");
    put(&w, "1");
    w.check_with(&["-i", "x"]).expect(0);
    let other = w.sandbox.path("other");
    w.check_with(&["--local", other.to_str().unwrap(), "-i", "x"])
        .expect(78)
        .says("give this deployment an id of its own");
    w.check_with(&["--local", other.to_str().unwrap(), "-i", "other"]).expect(0);
    assert_eq!(w.sandbox.read("other/version"), "1");
}

#[test]
fn two_live_directories_have_no_id_then_each_has_a_store_of_its_own() {
    let w = Site::new("");
    w.config("activation = in-place");
    let (one, other) = (w.sandbox.path("one"), w.sandbox.path("other"));
    for version in ["1", "2"] {
        put(&w, version);
        for local in [&one, &other] {
            w.check_with(&["--local", local.to_str().unwrap()]).expect(0).says(DEPLOYED);
            w.check_with(&["--local", local.to_str().unwrap()]).expect(0).never_says(DEPLOYED);
        }
    }
    assert_eq!((w.sandbox.read("one/version"), w.sandbox.read("other/version")), ("2".into(), "2".into()));
    assert_eq!(fs::read_dir(w.sandbox.path("state")).unwrap().count(), 2);
    // What the first one leaves is not taken by the second.
    fs::remove_dir_all(w.sandbox.path("state/default")).unwrap();
    w.check_with(&["--local", other.to_str().unwrap()]).expect(0).never_says(DEPLOYED);
}

#[test]
fn store_that_others_may_write_then_78() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    fs::set_permissions(w.sandbox.path("deploy"), fs::Permissions::from_mode(0o777)).unwrap();
    put(&w, "2");
    w.check().expect(78).says("chmod go-w");
    assert_eq!(w.live(), "1");
}

#[test]
fn remote_changes_then_the_other_one_is_deployed_although_its_bytes_look_known() {
    let w = Site::new("");
    put(&w, "1");
    w.check().expect(0);
    let other = w.sandbox.path("other.zip");
    fs::copy(&w.remote, &other).unwrap();
    w.sandbox.deploy(other.to_str().unwrap(), &[]).expect(0).says(DEPLOYED);
    assert_eq!(w.live(), "1");
}

#[test]
fn layout_changes_then_the_same_archive_is_laid_out_anew() {
    let w = Site::new("");
    w.sandbox.zip("app.zip", &[("app/version", "1")]);
    w.check().expect(0);
    assert_eq!(w.sandbox.read("deploy/current/app/version"), "1");
    w.config("strip-components = 1");
    w.check().expect(0).says(DEPLOYED);
    assert_eq!(w.live(), "1");
}

#[test]
fn full_disk_then_exit_1_and_nothing_is_left_lying_about() {
    let w = Site::new("");
    needs!("mount");
    let disk = w.sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&disk).status().unwrap();
    assert!(mounted.success());
    put(&w, "1");
    let local = disk.join("current");
    let on_disk = |args: &[&str]| {
        let mut all = vec!["--local", local.to_str().unwrap()];
        all.extend(args);
        w.check_with(&all)
    };
    let first = on_disk(&[]);
    w.sandbox.zip("app.zip", &[("version", "2"), ("large", &"x".repeat(600_000))]);
    let second = on_disk(&[]);
    let live = fs::read_to_string(local.join("version"));
    let left = fs::read_dir(disk.join(".current.deploy/partial")).map(Iterator::count);
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    first.expect(0);
    let second = second.expect(1);
    assert_eq!(second.complaints().len(), 1, "{}", second.log);
    assert_eq!((live.unwrap(), left.unwrap()), ("1".to_owned(), 0));
}

#[test]
fn read_only_directory_then_exit_1_and_one_line() {
    let w = Site::new("");
    needs!("mount");
    put(&w, "1");
    w.check().expect(0);
    let deploy = w.sandbox.path("deploy");
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", options]).arg(&deploy).arg(&deploy);
        assert!(command.status().unwrap().success());
    };
    mount("bind");
    mount("remount,ro,bind");
    put(&w, "2");
    let run = w.check();
    assert!(Command::new("umount").arg(&deploy).status().unwrap().success());
    let run = run.expect(1).says("ead-only");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
    assert_eq!(w.live(), "1");
}

#[test]
fn max_attempts_then_a_failed_revision_is_on_hold() {
    let w = Site::new("");
    w.config("max-attempts = 2");
    put(&w, "1");
    w.check().expect(0);
    w.sandbox.hook("post.d", "10-no", "[ \"$(cat \"$CURRENT_CONFIG/version\")\" != 2 ]");
    put(&w, "2");
    w.check().expect(1);
    w.check().expect(1);
    let first = w.check().expect(0).says("on hold after 2 attempts");
    assert_eq!(first.complaints().len(), 1, "{}", first.log);
    let again = w.check().expect(0);
    assert_eq!(again.complaints(), Vec::<&str>::new(), "cron would mail it every minute");
    assert_eq!(w.live(), "1");
    put(&w, "3");
    w.check().expect(0);
    assert_eq!(w.live(), "3");
}

#[test]
fn configuration_volume_that_is_read_only_and_0777_then_it_is_trusted() {
    let w = Site::new("");
    needs!("mount");
    put(&w, "1");
    let volume = w.sandbox.path("volume");
    w.sandbox.write("volume/repo-deploy.cfg", "keep = 3");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let config = volume.join("repo-deploy.cfg");
    let run = || w.check_with(&["-c", config.to_str().unwrap()]);
    run().expect(78).says(OTHERS_MAY_WRITE);
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", options]).arg(&volume).arg(&volume);
        assert!(command.status().unwrap().success());
    };
    mount("bind");
    mount("remount,ro,bind");
    let trusted = run();
    assert!(Command::new("umount").arg(&volume).status().unwrap().success());
    trusted.expect(0);
}

#[test]
fn limit_on_file_sizes_then_exit_1_and_one_line() {
    let w = Site::new("");
    w.sandbox.zip("app.zip", &[("large", &"x".repeat(3_000_000))]);
    let plain = w.sandbox.command(&["--remote", &w.remote]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    let run = Run::from(limited.output().unwrap()).expect(1).says("large");
    assert_eq!(run.complaints().len(), 1, "{}", run.log);
}

#[test]
fn empty_root_directory_then_it_deploys_and_runs_hooks() {
    let w = Site::new("");
    needs!("chroot", "busybox", "unshare");
    put(&w, "1");
    let root = w.sandbox.path("root");
    for (from, to) in [(crate::support::sandbox::binary(), "repo-deploy"), (w.remote.clone().into(), "app.zip")] {
        fs::create_dir_all(&root).unwrap();
        fs::copy(from, root.join(to)).unwrap();
    }
    // A static program is a hook: there is no shell, no /dev, no /proc, no /etc and no /tmp.
    w.sandbox.write("root/post/.keep", "");
    fs::copy("/bin/busybox", root.join("post/ls")).unwrap();
    for pid_1 in [false, true] {
        let mut run = Command::new(if pid_1 { "unshare" } else { "chroot" });
        if pid_1 {
            run.args(["--pid", "--fork", "--root"]);
        }
        run.arg(&root).args(["/repo-deploy", "-f", "-r", "/app.zip", "-l", "/live/current", "--cache", "/cache"]);
        run.args(["--pre-hooks", "/none", "--post-hooks", "/post"]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin");
        let run = Run::from(run.output().unwrap()).expect(0).says(DEPLOYED).says("ls: repo-deploy");
        assert!(run.complaints().iter().all(|line| line.contains("/none")), "{}", run.log);
        assert_eq!(w.sandbox.read("root/live/current/version"), "1");
        fs::remove_dir_all(root.join("live")).unwrap();
    }
}
