//! What an operator, an application or a neighbour does to the places of a deployment: mounts and links in the live tree,
//! a store that lost something, a way of activation that changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::needs::{leave_out, needs};
use crate::support::phrases::{CANNOT_POLL, DRIFT, EXIT_CODE, NO_ARCHIVE, NOT_BEFORE, UNREADABLE};
use crate::support::sandbox::Run;
use crate::support::site::Site;

/// A site with version 1 in a directory.
fn site() -> Site {
    let site = Site::with_directory("");
    site.put("1");
    site
}

/// Kills the deployer in the post hook of the next check.
fn cut_off(site: &Site) {
    let hook = site.sandbox.hook("post.d", "kill", "kill -KILL $PPID");
    site.check().expect(137);
    fs::remove_file(hook).unwrap();
}

fn lose(site: &Site, release: &str) {
    fs::remove_dir_all(site.sandbox.store().join("releases").join(release)).unwrap();
}

fn current(site: &Site) -> String {
    fs::read_link(site.sandbox.local()).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

/// A mount that goes when the test ends.
pub struct Mount(std::path::PathBuf);

impl Mount {
    fn bind(what: &Path, at: &Path) -> Option<Self> {
        Self::new(&["--bind", what.to_str().unwrap()], at)
    }

    pub fn new(args: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(args).arg(at).output().unwrap();
        if !done.status.success() {
            leave_out(&format!("cannot mount: {done:?}"));
        }
        done.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status(); // what stays mounted fails the removal of the sandbox
    }
}

/// Deploys twice over a live tree with a directory and a file bound into it. `by`: what runs the program.
fn deploy_around_bind_mounts(by: &[&str]) {
    needs!("mount", "umount");
    let site = site();
    site.sandbox.write("data/photo", "precious");
    site.sandbox.write("conf", "ours");
    site.sandbox.write("deploy/current/conf", "");
    fs::create_dir(site.sandbox.local().join("uploads")).unwrap();
    let bound = [("data", "uploads"), ("conf", "conf")];
    let mounts: Vec<_> =
        bound.iter().map(|(a, b)| Mount::bind(&site.sandbox.path(a), &site.sandbox.local().join(b))).collect();
    if mounts.iter().any(Option::is_none) {
        return;
    }
    let check = || -> Run {
        let remote = site.sandbox.path("src").into_os_string().into_string().unwrap();
        let plain = site.sandbox.command(&["--remote", &remote]);
        let Some((program, args)) = by.split_first() else { return site.check() };
        let mut command = Command::new(program);
        command.args(args).arg(plain.get_program()).args(plain.get_args());
        command.output().unwrap().into()
    };
    check().expect(0);
    site.sandbox.write("data/later", "precious too");
    site.put("2");
    check().expect(0);
    assert_eq!(site.live(), "2");
    assert_eq!(site.sandbox.read("data/photo"), "precious");
    assert_eq!(site.sandbox.read("data/later"), "precious too");
    assert_eq!(site.sandbox.read("conf"), "ours");
    // What the release ships there is refused, and says why.
    site.sandbox.write("src/uploads/keep", "");
    check().expect(1).says("another file system is mounted at uploads");
    assert_eq!(site.sandbox.read("data/later"), "precious too");
}

#[test]
fn bind_mounts_of_the_same_file_system_in_the_live_tree_then_they_are_not_entered() {
    deploy_around_bind_mounts(&[]);
}

#[test]
fn kernel_cannot_tell_mounts_by_statx_then_bind_mounts_are_not_entered_either() {
    needs!("strace");
    deploy_around_bind_mounts(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=statx:error=ENOSYS"]);
}

#[test]
fn live_directory_becomes_a_link_during_the_check_then_what_it_points_to_is_not_touched() {
    let site = site();
    site.sandbox.write("deploy/current/old", "");
    site.sandbox.write("victim/passwd", "not ours");
    let (local, victim) = (site.sandbox.local(), site.sandbox.path("victim"));
    site.sandbox.hook("pre.d", "swap", &format!("rm -rf {0}; ln -s {1} {0}", local.display(), victim.display()));
    site.check().expect(78).says(DRIFT).says("is no directory any more");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    assert_eq!(site.sandbox.read("victim/passwd"), "not ours");
}

#[test]
fn preserved_path_leads_through_a_link_then_the_link_stays() {
    let site = site();
    site.config("preserve = data/uploads\n");
    site.sandbox.write("big/uploads/photo", "precious");
    fs::create_dir(site.sandbox.local()).unwrap();
    symlink("../../big", site.sandbox.local().join("data")).unwrap();
    site.check().expect(0);
    assert_eq!(site.sandbox.read(site.sandbox.local().join("data/uploads/photo")), "precious");
    site.sandbox.write("src/data/new", "");
    site.check().expect(1).says("data is a link").says("data/uploads").says("preserve");
    assert_eq!(site.sandbox.read(site.sandbox.local().join("data/uploads/photo")), "precious");
}

#[test]
fn activation_changes_in_a_fixed_store_then_it_says_what_to_move_and_goes_on() {
    let site = site();
    let configured =
        |mode: &str| site.config(&format!("store = {}\nactivation = {mode}\n", site.sandbox.path("st").display()));
    configured("symlink");
    site.check().expect(0);
    let release = fs::canonicalize(site.sandbox.local()).unwrap();
    configured("in-place");
    site.put("22");
    site.check().expect(78).says("activation = in-place needs a directory");
    assert_eq!(site.sandbox.read(release.join("version")), "1", "a release never changes");
    fs::remove_file(site.sandbox.local()).unwrap();
    site.check().expect(0);
    assert!(!site.sandbox.local().is_symlink());
    configured("symlink");
    site.check().expect(78).says("is no link any more");
    fs::remove_dir_all(site.sandbox.local()).unwrap();
    site.check().expect(0);
    site.put("333");
    site.check().expect(0);
    assert!(site.sandbox.local().is_symlink());
    assert_eq!(site.live(), "333");
}

#[test]
fn cut_off_and_the_new_release_is_lost_then_the_next_check_goes_back() {
    let site = site();
    site.check().expect(0);
    site.put("22");
    cut_off(&site);
    lose(&site, &current(&site));
    site.check().expect(1).says("is gone from");
    assert_eq!(site.live(), "1");
    site.check().expect(0);
    assert_eq!(site.live(), "22");
}

#[test]
fn cut_off_and_the_way_back_is_lost_then_a_clean_deployment_settles_it() {
    for lose_both in [false, true] {
        let site = site();
        site.check().expect(0);
        let before = current(&site);
        site.put("22");
        cut_off(&site);
        lose(&site, &before);
        if lose_both {
            lose(&site, &current(&site));
        }
        fs::rename(site.sandbox.path("src"), site.sandbox.path("away")).unwrap();
        site.check().expect(3).says(&before);
        site.check().expect(3).says(&before);
        fs::rename(site.sandbox.path("away"), site.sandbox.path("src")).unwrap();
        site.check().expect(0);
        assert_eq!(site.live(), "22");
        site.check().expect(0);
    }
}

#[test]
fn state_is_unreadable_and_the_deployment_is_blocked_or_refused_then_the_doubt_stays() {
    let site = site();
    site.check().expect(0);
    site.sandbox.write("deploy/.current.deploy/state", "nonsense");
    site.put("22");
    let hook = site.sandbox.hook("pre.d", "no", "exit 1");
    for _ in 0..2 {
        site.check().expect(3).says(UNREADABLE).says(&format!("pre.d/no {EXIT_CODE} 1"));
    }
    fs::remove_file(hook).unwrap();
    let zip = site.sandbox.write("bad.zip", "no archive");
    for _ in 0..2 {
        site.sandbox.deploy(zip.to_str().unwrap(), &[]).expect(3).says(UNREADABLE).says(NO_ARCHIVE);
    }
    assert_eq!(site.live(), "1");
    site.check().expect(0);
    assert_eq!(site.live(), "22");
    assert_eq!(site.check().expect(0).complaints(), [""; 0]);
}

#[test]
fn another_remote_is_configured_then_what_the_old_one_asked_for_holds_nothing_up() {
    let site = site();
    site.check().expect(0);
    let status = site.sandbox.read("deploy/.current.deploy/status");
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let asked = |by: &str| {
        let text = format!("{status}not-before = {soon}\nnot-before-of = {by}\n");
        site.sandbox.write("deploy/.current.deploy/status", text);
    };
    site.put("22");
    asked("https://old.example.org/app.zip");
    site.check().expect(0);
    assert_eq!(site.live(), "22");
    site.put("333");
    let remote = site.sandbox.path("src").display().to_string();
    asked(&remote);
    site.check().expect(1).says(&format!("{CANNOT_POLL} {remote}: the server {NOT_BEFORE} 20"));
    // And it is remembered as long as it lasts.
    site.check().expect(1).says(NOT_BEFORE);
}

#[test]
fn live_tree_or_remote_is_deeper_than_anybody_means_then_one_clear_line() {
    let deep = |top: &Path| fs::create_dir_all(top.join("d/".repeat(300))).unwrap();
    let site = site();
    deep(&site.sandbox.local());
    let run = site.check().expect(1).says("directories deep");
    assert!(run.log.len() < 2000, "{}", run.log.len());
    fs::remove_dir_all(site.sandbox.local()).unwrap();
    deep(&site.sandbox.path("src"));
    let run = site.check().expect(1).says("directories deep");
    assert!(run.log.len() < 2000, "{}", run.log.len());
}

#[test]
fn source_goes_back_to_the_previous_release_and_is_reverted_then_keep_still_counts_each_once() {
    let site = site();
    site.config("keep = 3\n");
    for version in ["1", "22", "333"] {
        let zip = site.sandbox.zip("site.zip", &[("version", version)]);
        site.sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    }
    let zip = site.sandbox.zip("site.zip", &[("version", "22")]);
    site.sandbox.hook("post.d", "no", "test $REPO_DEPLOY_REASON = revert");
    site.sandbox.deploy(zip.to_str().unwrap(), &[]).expect(1);
    assert_eq!(fs::read_dir(site.sandbox.store().join("releases")).unwrap().count(), 3);
}

#[test]
fn activation_fails_then_one_line_says_why_and_where() {
    let site = site();
    fs::create_dir(site.sandbox.local()).unwrap();
    site.check().expect(0);
    let pipe = site.sandbox.local().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    site.sandbox.write("src/pipe", "a file");
    let run = site.check().expect(1);
    let errors: Vec<_> = run.complaints().into_iter().filter(|line| line.contains("FIFO")).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(site.sandbox.local().to_str().unwrap()), "{errors:?}");
}

#[test]
fn state_counts_as_far_as_numbers_go_then_it_ends_all_the_same() {
    let site = site();
    site.check().expect(0);
    site.put("22");
    cut_off(&site);
    let state = site.sandbox.read("deploy/.current.deploy/state").replace("phase = activating", "phase = rolling-back");
    site.sandbox.write("deploy/.current.deploy/state", state.replace("attempt = 1", "attempt = 4294967295"));
    site.check().expect(1);
    assert_eq!(site.live(), "1");
}

/// An application that makes and removes directories, files and links in the live tree until the test ends.
struct Busy(Vec<std::process::Child>);

impl Busy {
    fn new(dir: &Path) -> Self {
        let script = "while :; do mkdir -p $1/x/y; ln -s q $1/l; : >$1/x/f; rm -rf $1; done";
        let start = |n: usize| {
            let at = dir.join(format!("t{n}"));
            Command::new("sh").args(["-c", script, "busy"]).arg(at).stderr(std::process::Stdio::null()).spawn().unwrap()
        };
        Self((0..3).map(start).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill(); // it ends with the test
            let _ = child.wait();
        }
    }
}

#[test]
fn application_is_busy_in_the_live_tree_then_updates_and_checks_go_through() {
    let site = site();
    site.sandbox.write("src/cache/keep", "");
    fs::create_dir(site.sandbox.local()).unwrap();
    site.check().expect(0);
    let _busy = Busy::new(&site.sandbox.local().join("cache"));
    for n in 0..60 {
        if n % 3 == 0 {
            site.put(&n.to_string());
        }
        site.check().expect(0);
    }
}

#[test]
fn directory_of_a_lower_layer_becomes_a_file_then_it_is_replaced_all_the_same() {
    needs!("mount", "umount");
    let site = site();
    site.sandbox.write("lower/data/deep/file", "baked into the image");
    for dir in ["layers", "deploy/current"] {
        fs::create_dir(site.sandbox.path(dir)).unwrap();
    }
    let Some(_layers) = Mount::new(&["-t", "tmpfs", "none"], &site.sandbox.path("layers")) else { return };
    for dir in ["layers/upper", "layers/work"] {
        fs::create_dir(site.sandbox.path(dir)).unwrap();
    }
    let at = |name: &str| site.sandbox.path(name).into_os_string().into_string().unwrap();
    let layers = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off",
        at("lower"),
        at("layers/upper"),
        at("layers/work")
    );
    let Some(_overlay) = Mount::new(&["-t", "overlay", "-o", &layers, "none"], &site.sandbox.local()) else { return };
    site.sandbox.write("src/data", "a file");
    site.check().expect(0);
    assert_eq!(site.sandbox.read(site.sandbox.local().join("data")), "a file");
    assert_eq!(fs::read_dir(site.sandbox.local()).unwrap().count(), 3, "two files, and the store: it is a mount");
}

#[test]
fn link_is_wanted_where_something_is_mounted_then_it_names_the_way_out() {
    needs!("mount", "umount");
    let site = site();
    site.config("activation = symlink\n");
    fs::create_dir(site.sandbox.local()).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "none"], &site.sandbox.local()) else { return };
    site.check().expect(1).says("is a mount point").says("activation = in-place");
}

#[test]
fn volume_with_link_and_store_is_mounted_elsewhere_then_it_goes_on() {
    let site = site();
    site.check().expect(0);
    fs::rename(site.sandbox.path("deploy"), site.sandbox.path("volume")).unwrap();
    let local = site.sandbox.path("volume/current");
    let check =
        || site.sandbox.deploy(site.sandbox.path("src").to_str().unwrap(), &["--local", local.to_str().unwrap()]);
    check().expect(0);
    site.put("22");
    check().expect(0);
    assert_eq!(site.sandbox.read(local.join("version")), "22");
    assert_eq!(fs::read_dir(site.sandbox.path("volume/.current.deploy/releases")).unwrap().count(), 2);
}

#[test]
fn killed_while_it_puts_entries_back_then_nothing_of_ours_stays_in_the_live_tree() {
    needs!("strace");
    let site = site();
    fs::create_dir(site.sandbox.local()).unwrap();
    site.check().expect(0);
    fs::remove_file(site.sandbox.local().join("version")).unwrap();
    let remote = site.sandbox.path("src").into_os_string().into_string().unwrap();
    let plain = site.sandbox.command(&["--remote", &remote]);
    let mut killed = Command::new("strace");
    killed.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1"]);
    Run::from(killed.arg(plain.get_program()).args(plain.get_args()).output().unwrap()).expect(137);
    assert_eq!(fs::read_dir(site.sandbox.local()).unwrap().count(), 1, "it was killed before the rename");
    site.check().expect(0);
    let names: Vec<_> = fs::read_dir(site.sandbox.local()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["version"]);
}
