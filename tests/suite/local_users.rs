//! Users of the same host: whoever owns a directory on the way to a configured path, shares a volume with us, or was given
//! rights by an ACL must not make us read, write or clear anything that he could not himself. And where our own paths eat
//! each other, nothing is begun.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::core::Mount;
use crate::support::needs::{is_root, needs};
use crate::support::phrases::{
    APART, BELONGS_TO, CANNOT_USE, CONTAINS, DEPLOYED, DRIFT, FOREIGN_LINK, HOOK_IS_GONE, OTHER_DIRECTORY,
    OTHERS_MAY_WRITE,
};
use crate::support::sandbox::{Run, Sandbox, tree};

pub const HIM: u32 = 65_534;

pub fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a tree away.
pub fn give(path: &Path) {
    assert!(Command::new("chown").args(["-R", &format!("{HIM}:{HIM}")]).arg(path).status().unwrap().success());
}

/// What he does.
#[track_caller]
pub fn he(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).uid(HIM).gid(HIM).status().unwrap();
    assert!(done.success(), "he could not: {script}");
}

/// Something he does again and again until the test ends.
struct Racer(Child);

impl Racer {
    fn start(script: &str) -> Self {
        let again = format!("while :; do {script}; done 2>/dev/null");
        let mut shell = Command::new("sh");
        shell.args(["-c", &again]).uid(HIM).gid(HIM).process_group(0).stdout(Stdio::piped());
        Self(shell.spawn().unwrap())
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        // With what the shell runs now: an mv or ln that outlives it would still change what the test goes on with.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL); // it ends with the test
        let _ = self.0.wait();
        // All of them have the pipe: it ends with the last one.
        let _ = self.0.stdout.take().unwrap().read_to_end(&mut Vec::new());
    }
}

/// A victim that only root may change: a tree beside his, and what it holds.
fn victim(sandbox: &Sandbox) -> impl Fn(&str) + use<> {
    sandbox.write("victim/html/keep/data", "precious");
    sandbox.write("victim/html/file", "precious");
    symlink("/etc/hostname", sandbox.path("victim/html/current")).unwrap();
    mode(sandbox.path("victim/html/keep"), 0o700);
    mode(sandbox.path("victim/html/file"), 0o600);
    let path = sandbox.path("victim");
    let before = tree(&path);
    move |at: &str| assert_eq!(tree(&path), before, "{at}: what he led to was touched")
}

pub fn source(sandbox: &Sandbox, version: &str) -> String {
    for n in 0..20 {
        sandbox.write(format!("src/d{n}/f"), format!("{version} of {n}"));
    }
    sandbox.write("src/file", version);
    sandbox.path("src/").display().to_string()
}

#[test]
fn owner_above_a_live_directory_makes_a_link_of_it_then_what_it_leads_to_is_untouched() {
    needs!(root);
    let sandbox = Sandbox::new();
    let is_untouched = victim(&sandbox);
    let remote = source(&sandbox, "v1");
    fs::create_dir_all(sandbox.path("home/app/www/html")).unwrap();
    give(&sandbox.path("home/app"));
    let local = sandbox.path("home/app/www/html").display().to_string();
    let check = |args: &[&str]| sandbox.deploy(&remote, &[&["--local", &local], args].concat());
    check(&[]).expect(0);
    assert_eq!(sandbox.read("home/app/www/html/file"), "v1");
    he(&format!("cd '{}' && mv www old && ln -s ../../victim www", sandbox.path("home/app").display()));
    source(&sandbox, "v2");
    check(&[]).expect(78).says(&format!("{FOREIGN_LINK} 65534: chown -h root"));
    is_untouched("an update in place");
    for command in ["verify", "plan"] {
        let run = Run::from(sandbox.saying(&[command], &["--remote", &remote, "--local", &local]).output().unwrap());
        assert_ne!(run.code, 0, "{command}: {run:?}");
    }
    let rollback = sandbox.saying(&["rollback"], &["--remote", &remote, "--local", &local]).output().unwrap();
    assert_ne!(Run::from(rollback).code, 0);
    is_untouched("commands");
    // A link of root's may be followed: that is how an administrator moves things.
    he(&format!("cd '{}' && rm www && mv old www", sandbox.path("home/app").display()));
    fs::rename(sandbox.path("home/app"), sandbox.path("home/moved")).unwrap();
    symlink("moved", sandbox.path("home/app")).unwrap();
    check(&[]).expect(0).says(DEPLOYED);
    assert_eq!(sandbox.read("home/moved/www/html/file"), "v2");
}

#[test]
fn owner_above_a_live_link_makes_a_link_of_it_then_no_link_is_replaced_elsewhere() {
    needs!(root);
    let sandbox = Sandbox::new();
    let is_untouched = victim(&sandbox);
    let remote = source(&sandbox, "v1");
    fs::create_dir_all(sandbox.path("home/app/www")).unwrap();
    give(&sandbox.path("home/app"));
    fs::create_dir(sandbox.path("store")).unwrap();
    let local = sandbox.path("home/app/www/current").display().to_string();
    let check = || {
        let mut check = sandbox.command(&["--remote", &remote, "--local", &local]);
        check.env("REPO_DEPLOY_STORE", sandbox.path("store"));
        Run::from(check.output().unwrap())
    };
    check().expect(0);
    he(&format!("cd '{}' && mv www old && ln -s ../../victim/html www", sandbox.path("home/app").display()));
    for version in ["v1", "v2"] {
        source(&sandbox, version);
        check().expect(78).says(&format!("{FOREIGN_LINK} 65534"));
        is_untouched(version);
    }
    // His own link at the place itself is replaced, not followed.
    he(&format!(
        "cd '{}' && rm www && mv old www && rm www/current && ln -s ../../../victim/html www/current",
        sandbox.path("home/app").display()
    ));
    check().expect(0);
    is_untouched("a link in place of ours");
    assert_eq!(sandbox.read("home/app/www/current/file"), "v2");
    // And so is one that says what ours would say.
    let text = fs::read_link(sandbox.path("home/app/www/current")).unwrap();
    he(&format!("cd '{}/www' && rm current && ln -s '{}' current", sandbox.path("home/app").display(), text.display()));
    check().expect(0).says(DRIFT);
    assert_eq!(fs::symlink_metadata(sandbox.path("home/app/www/current")).unwrap().uid(), 0);
}

#[test]
fn another_directory_stands_at_local_then_nothing_in_it_is_touched_until_somebody_says_so() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.deploy(&remote, &[]).expect(0);
    let other = || {
        fs::rename(sandbox.local(), sandbox.path("deploy/old")).unwrap();
        sandbox.write("deploy/current/mine", "precious");
    };
    other();
    for version in ["v1", "v2"] {
        source(&sandbox, version);
        let run = sandbox.deploy(&remote, &[]).expect(78).says(OTHER_DIRECTORY).says("verify --repair");
        assert!(run.log.contains(DRIFT), "{}", run.log);
        assert_eq!(tree(&sandbox.local()).keys().collect::<Vec<_>>(), ["mine"], "{version}");
    }
    Run::from(sandbox.saying(&["verify"], &["--remote", &remote]).output().unwrap()).expect(1);
    // The right one comes back.
    fs::remove_dir_all(sandbox.local()).unwrap();
    fs::rename(sandbox.path("deploy/old"), sandbox.local()).unwrap();
    sandbox.deploy(&remote, &[]).expect(0).says(DEPLOYED);
    // Or the other one is taken, and what is in it is kept.
    other();
    Run::from(sandbox.saying(&["verify", "--repair"], &["--remote", &remote]).output().unwrap()).expect(0);
    assert_eq!(sandbox.read("deploy/current/file"), "v2");
    assert!(!sandbox.local().join("mine").exists());
    let adopted = fs::read_dir(sandbox.path("state/default/releases")).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        fs::read_to_string(path.join("mine")).ok()
    });
    assert_eq!(adopted.as_deref(), Some("precious"));
    sandbox.deploy(&remote, &[]).expect(0).never_says(DRIFT);
    // An empty one holds nothing that could be lost: that is drift, and filled.
    fs::rename(sandbox.local(), sandbox.path("deploy/away")).unwrap();
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.deploy(&remote, &[]).expect(0).says(DRIFT);
    assert_eq!(sandbox.read("deploy/current/file"), "v2");
    sandbox.deploy(&remote, &[]).expect(0).never_says(DRIFT);
}

#[test]
fn copy_of_the_live_directory_with_other_owners_and_modes_stands_at_local_then_it_is_taken_for_it() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.local()).unwrap();
    sandbox.deploy(&remote, &[]).expect(0);
    let copied = |change: &str| {
        let script = format!("mv current away && cp -R away current && rm -r away; {change}");
        let mut copy = Command::new("sh");
        copy.args(["-ec", &script]).current_dir(sandbox.path("deploy"));
        assert!(copy.status().unwrap().success(), "{change}");
    };
    // As a backup that was made by another user, or under another umask, gives it back.
    copied("chmod -R a+rwX current; chmod 4755 current/file");
    sandbox.deploy(&remote, &[]).expect(0).never_says("another directory");
    if is_root() {
        copied(&format!("chown -R {HIM}:{HIM} current"));
        sandbox.deploy(&remote, &[]).expect(0).never_says("another directory");
    }
    // One whose content is another's is not.
    copied("echo other >current/file");
    sandbox.deploy(&remote, &[]).expect(78).says(OTHER_DIRECTORY);
}

#[test]
fn he_swaps_what_is_on_the_way_as_fast_as_he_can_then_nothing_outside_is_touched() {
    needs!(root);
    let sandbox = Sandbox::new();
    let is_untouched = victim(&sandbox);
    let remote = source(&sandbox, "v0");
    fs::create_dir_all(sandbox.path("home/app/www/html")).unwrap();
    fs::create_dir(sandbox.path("store")).unwrap();
    give(&sandbox.path("home/app"));
    let home = sandbox.path("home/app");
    let swap = format!("cd '{}'; mv -T www old; ln -sT ../../victim www; rm www; mv -T old www", home.display());
    let (html, current) = (home.join("www/html").display().to_string(), home.join("www/current").display().to_string());
    let logs = ["--log-file".to_owned(), home.join("www/file").display().to_string()];
    let reports = home.join("www/html2").display().to_string();
    sandbox.deploy(&remote, &["--local", &html]).expect(0);
    let _racer = Racer::start(&swap);
    for n in 1..40 {
        source(&sandbox, &format!("v{n}"));
        let mut in_place = sandbox.command(&["--remote", &remote, "--local", &html]);
        in_place.args(&logs).env("REPO_DEPLOY_STATUS_FILE", &reports).output().unwrap();
        is_untouched("in place");
        let mut link = sandbox.command(&["--remote", &remote, "--local", &current, "-i", "link"]);
        link.env("REPO_DEPLOY_STORE", sandbox.path("store")).env("REPO_DEPLOY_METRICS_FILE", &reports);
        link.output().unwrap();
        is_untouched("by link");
    }
}

/// A volume as a platform makes it: the top of a mount, which others may write.
fn volume(sandbox: &Sandbox, bits: u32) -> Option<Mount> {
    let at = sandbox.path("volume");
    fs::create_dir(&at).unwrap();
    let mount = Mount::new(&["-t", "tmpfs", "-o", &format!("mode={bits:o}"), "none"], &at)?;
    Some(mount)
}

#[test]
fn volume_of_a_platform_is_0777_then_root_and_others_deploy_into_it() {
    needs!(root, "mount", "umount");
    for (bits, uid) in [(0o777, 0), (0o2777, 1_000_540_000), (0o777, 1000), (0o2775, 0)] {
        let sandbox = Sandbox::new();
        let Some(_volume) = volume(&sandbox, bits) else { return };
        chown(sandbox.path("volume"), None, Some(if bits == 0o2775 { 1234 } else { 0 })).unwrap();
        let zip = sandbox.zip("app.zip", &[("file", "one"), ("run", "#!/bin/sh\n")]);
        for name in ["cache", "home"] {
            chown(sandbox.path(name), Some(uid), Some(0)).unwrap();
        }
        let check = |args: &[&str]| {
            let local = sandbox.path("volume/current").display().to_string();
            let mut check = sandbox.command(&["--remote", zip.to_str().unwrap(), "--local", &local]);
            Run::from(check.args(args).uid(uid).gid(0).output().unwrap())
        };
        check(&[]).expect(0).says(&format!("{OTHERS_MAY_WRITE} the volume"));
        assert_eq!(sandbox.read("volume/current/file"), "one", "{bits:o} {uid}");
        check(&[]).expect(0).never_says(&format!("{OTHERS_MAY_WRITE} the volume"));
        sandbox.zip("app.zip", &[("file", "two"), ("run", "#!/bin/sh\n")]);
        check(&[]).expect(0);
        assert_eq!(sandbox.read("volume/current/file"), "two");
        // In the same volume, with nothing else that can be written: the cache lies in the store.
        fs::remove_dir_all(sandbox.path("volume/.current.deploy")).unwrap();
        fs::remove_file(sandbox.path("volume/current")).unwrap();
        let local = sandbox.path("volume/current").display().to_string();
        let mut bare = sandbox.bare();
        bare.env_remove("HOME").arg("-f").args(["--remote", zip.to_str().unwrap(), "--local", &local]);
        if uid != 0 {
            Run::from(bare.uid(uid).gid(0).output().unwrap()).expect(0);
            assert_eq!(sandbox.read("volume/current/file"), "two");
        }
        // On a host's own directory the rule is as strict as ever.
        fs::create_dir(sandbox.path("open")).unwrap();
        mode(sandbox.path("open"), 0o777);
        let local = sandbox.path("open/current").display().to_string();
        sandbox
            .deploy(zip.to_str().unwrap(), &["--local", &local])
            .expect(78)
            .says(OTHERS_MAY_WRITE)
            .says("store names another place");
    }
}

#[test]
fn co_tenant_of_a_volume_plants_and_swaps_then_he_gets_nothing_written_and_deletions_are_drift() {
    needs!(root, "mount", "umount");
    let sandbox = Sandbox::new();
    let is_untouched = victim(&sandbox);
    let Some(_volume) = volume(&sandbox, 0o777) else { return };
    let remote = source(&sandbox, "v0");
    let local = sandbox.path("volume/current").display().to_string();
    let check = || sandbox.deploy(&remote, &["--local", &local]);
    let at = sandbox.path("volume").display().to_string();
    // The top of it is no store: what is in that would be his.
    he(&format!("mkdir '{at}/releases' '{at}/partial' '{at}/manifests'"));
    sandbox.write("repo-deploy.cfg", format!("store = {at}\n"));
    let run = sandbox.deploy(&remote, &[]).expect(78);
    run.says(OTHERS_MAY_WRITE).says("store names another place (in a shared volume a directory of it)");
    assert!(!sandbox.local().exists() && fs::read_dir(sandbox.path("volume/releases")).unwrap().count() == 0);
    he(&format!("rmdir '{at}'/*"));
    fs::remove_file(sandbox.path("repo-deploy.cfg")).unwrap();
    // Before the first start.
    he(&format!("ln -s ../victim/html '{at}/.current.deploy'"));
    check().expect(78).says(&format!("{FOREIGN_LINK} 65534"));
    he(&format!("rm '{at}/.current.deploy'; mkdir -p '{at}/.current.deploy/releases'"));
    check().expect(78).says(&format!("{BELONGS_TO} 65534"));
    is_untouched("planted");
    he(&format!("rm -r '{at}/.current.deploy'; ln -s ../victim/html '{at}/current'"));
    check().expect(0).says(DEPLOYED);
    is_untouched("a link in our place");
    // What he removes is put back.
    he(&format!("rm '{at}/current'"));
    check().expect(0).says(DRIFT);
    he(&format!("rm -f '{at}/current'; mv '{at}/.current.deploy' '{at}/gone'"));
    check().expect(0);
    assert_eq!(sandbox.read("volume/current/file"), "v0");
    // And while we are at work.
    let swap = format!(
        "cd '{at}'; mv -T .current.deploy old; ln -sT ../victim/html .current.deploy; rm -f .current.deploy; mv -T old .current.deploy"
    );
    let racer = Racer::start(&swap);
    for n in 1..60 {
        source(&sandbox, &format!("v{n}"));
        check();
        is_untouched("raced");
    }
    drop(racer);
    for left in ["old", ".current.deploy"] {
        let _ = fs::remove_file(sandbox.path("volume").join(left)); // whatever he left
        let _ = fs::remove_dir_all(sandbox.path("volume").join(left)); // see above
    }
    check().expect(0);
    assert_eq!(sandbox.read("volume/current/file"), "v59");
}

#[test]
fn volume_is_mounted_at_local_then_a_restart_without_news_does_nothing() {
    needs!("mount", "umount");
    let sandbox = Sandbox::new();
    let Some(_volume) = volume(&sandbox, 0o777) else { return };
    fs::create_dir(sandbox.path("volume/lost+found")).unwrap();
    let zip = sandbox.zip("app.zip", &[("file", "one"), ("d/file", "x")]);
    sandbox.hook("post.d", "10", &format!("echo ran >>'{}'", sandbox.path("ran").display()));
    let local = sandbox.path("volume").display().to_string();
    let check = || {
        // A new container: what is not in the volume is gone.
        for lost in ["cache", "state"] {
            fs::remove_dir_all(sandbox.path(lost)).unwrap();
            fs::create_dir(sandbox.path(lost)).unwrap();
        }
        sandbox.deploy(zip.to_str().unwrap(), &["--local", &local])
    };
    check().expect(0).says(DEPLOYED);
    sandbox.write("volume/app.db", "written by the application");
    check().expect(0).never_says(DEPLOYED);
    assert_eq!(sandbox.read("ran"), "ran\n");
    assert_eq!(sandbox.read("volume/app.db"), "written by the application");
    Run::from(sandbox.saying(&["verify"], &["--remote", zip.to_str().unwrap(), "--local", &local]).output().unwrap())
        .expect(1);
    fs::remove_file(sandbox.path("volume/app.db")).unwrap();
    let verify = sandbox.saying(&["verify"], &["--remote", zip.to_str().unwrap(), "--local", &local]).output().unwrap();
    Run::from(verify).expect(0); // ours and lost+found are no part of it
    sandbox.zip("app.zip", &[("file", "two")]);
    check().expect(0).says(DEPLOYED);
    let names: Vec<_> = fs::read_dir(sandbox.path("volume")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let run = Run::from(
        sandbox.saying(&["rollback"], &["--remote", zip.to_str().unwrap(), "--local", &local]).output().unwrap(),
    );
    run.expect(0);
    assert_eq!(sandbox.read("volume/d/file"), "x");
    // No release may bring what is ours.
    sandbox.zip("app.zip", &[(".repo-deploy/state", "evil")]);
    check().expect(1).says("are ours");
}

#[test]
fn nobody_says_where_then_users_have_places_of_their_own() {
    needs!(root);
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one")]);
    chown(sandbox.path("home"), Some(4242), Some(4242)).unwrap();
    let run = |args: &[&str], env: &[(&str, &Path)]| {
        let mut run = sandbox.bare();
        run.env_remove("REPO_DEPLOY_STATE_DIR").args(["-f", "--remote", zip.to_str().unwrap()]).args(args);
        run.envs(env.iter().copied()).current_dir(sandbox.path("home"));
        Run::from(run.uid(4242).gid(4242).output().unwrap())
    };
    run(&["--local", "current"], &[]).expect(0);
    assert_eq!(sandbox.read("home/current/file"), "one");
    fs::create_dir(sandbox.path("home/live")).unwrap();
    chown(sandbox.path("home/live"), Some(4242), Some(4242)).unwrap();
    run(&["--local", "live", "-i", "live"], &[]).expect(0);
    assert!(sandbox.path("home/.local/state/repo-deploy/live/state").exists());
    let (state, cache) = (sandbox.path("home/service"), sandbox.path("home/service-cache"));
    let systemd = [("STATE_DIRECTORY", &*state), ("CACHE_DIRECTORY", &*cache)];
    run(&["--local", "live", "-i", "other"], &systemd).expect(0);
    assert!(state.join("other/state").exists());
    // Nobody at all: a container's user without a home.
    let nowhere = Path::new("/");
    run(&["--local", "live", "-i", "third"], &[("HOME", nowhere)]).expect(78).says("state-dir names one");
}

#[test]
fn directories_hand_down_an_acl_then_what_is_made_as_ours_has_none_and_the_live_directory_has() {
    needs!(root, "setfacl");
    for activation in ["symlink", "in-place"] {
        let sandbox = Sandbox::new();
        let remote = source(&sandbox, "v1");
        sandbox.write("repo-deploy.cfg", format!("activation = {activation}\n"));
        let mut hands_down = Command::new("setfacl");
        hands_down.args(["-d", "-m", &format!("u:{HIM}:rwx")]);
        hands_down.args(["deploy", "cache", "state"]).current_dir(sandbox.path(""));
        if !hands_down.status().unwrap().success() {
            return; // a file system without ACLs
        }
        let deep = |place: &str| sandbox.path(place).join("on/the/way").display().to_string();
        let local = sandbox.path("deploy/site/current");
        let args = ["--state-dir", &deep("state"), "--cache", &deep("cache"), "--local", local.to_str().unwrap()];
        sandbox.deploy(&remote, &args).expect(0);
        let acls = |top: PathBuf| {
            let names: Vec<PathBuf> = tree(&top).keys().map(|name| top.join(name)).collect();
            let has_acl = |path: &PathBuf| {
                ["access", "default"].iter().any(|which| {
                    let name = format!("system.posix_acl_{which}");
                    rustix::fs::lgetxattr(path, name.as_str(), &mut [0; 1024][..]).is_ok()
                })
            };
            names.into_iter().filter(has_acl).count()
        };
        assert_eq!((acls(sandbox.path("cache")), acls(sandbox.path("state"))), (0, 0), "{activation}");
        // Whoever says so of a tree of his means what is deployed there, too; what leads to a link is not that.
        let (all, inherited) = (tree(&local).len(), acls(sandbox.path("deploy")));
        let expected = if activation == "symlink" { 0 } else { all + 2 };
        assert_eq!(inherited, expected, "{activation}");
        source(&sandbox, "v2");
        sandbox.deploy(&remote, &args).expect(0);
    }
}

#[test]
fn an_acl_lets_somebody_write_a_hook_or_the_configuration_then_it_is_refused() {
    needs!(root, "setfacl");
    let acl = |args: &[&str], path: &Path| {
        Command::new("setfacl").args(args).arg(path).status().is_ok_and(|status| status.success())
    };
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    let hook = sandbox.hook("pre.d", "10-gate", &format!("echo \"$(id -u)\" >>'{}'", sandbox.path("ran").display()));
    if !acl(&["-m", "u:65534:rwx"], &hook) {
        return; // a file system without ACLs
    }
    sandbox.deploy(&remote, &[]).expect(2).says("user 65534 may write").says("setfacl -x u:65534");
    assert!(acl(&["-b"], &hook));
    for (args, path, code) in [
        (&["-m", "g:65534:rwx"][..], sandbox.path("post.d"), 2),
        (&["-d", "-m", "u:65534:rwx"], sandbox.path("pre.d"), 2),
        (&["-m", "u:65534:rw"], sandbox.path("repo-deploy.cfg"), 78),
        (&["-m", "u:65534:rwx"], sandbox.path(""), 78),
    ] {
        assert!(acl(args, &path));
        let run = sandbox.deploy(&remote, &[]).expect(code);
        assert!(run.log.contains("may write"), "{}", run.log);
        assert!(acl(&["-b"], &path));
    }
    assert!(!sandbox.path("ran").exists() && !sandbox.local().exists());
    // One that is masked, or only reads, is no writer.
    assert!(acl(&["-m", "u:65534:rwx,m::rx"], &hook) && acl(&["-m", "u:65534:r"], &sandbox.path("repo-deploy.cfg")));
    sandbox.deploy(&remote, &[]).expect(0);
    assert_eq!(sandbox.read("ran"), "0\n");
}

#[test]
fn paths_eat_each_other_then_nothing_is_begun() {
    let sandbox = Sandbox::new();
    source(&sandbox, "v1");
    sandbox.write("batch/file", "batch");
    let at = |name: &str| sandbox.path(name).display().to_string();
    let check = |text: &str, section: &str| {
        let config = sandbox.write("two.cfg", text);
        mode(&config, 0o600);
        let mut check = sandbox.bare();
        check.args(["-f", "--config"]).arg(config).args(["--cache", &at("cache"), "--config-section", section]);
        check.args(["--pre-hooks", &at("pre.d"), "--post-hooks", &at("post.d")]);
        Run::from(check.output().unwrap())
    };
    fs::create_dir(sandbox.path("w")).unwrap();
    let two = format!(
        "[batch]\nremote={}/\nlocal={}/batch/current\n[web]\nremote={}/\nlocal={}\nactivation=in-place\n",
        at("batch"),
        at("w"),
        at("src"),
        at("w")
    );
    check(&two, "all").expect(78).says("of [batch]").says(APART);
    check(two.split("[web]").next().unwrap(), "batch").expect(0);
    // [web] alone would clear what [batch] has there.
    check(&two, "web").expect(78).says("of [batch]");
    assert_eq!(sandbox.read("w/batch/current/file"), "batch");
    fs::create_dir(sandbox.local()).unwrap();
    for (key, name) in [("log-file", "log"), ("post-hooks", "hooks"), ("status-file", "s"), ("ca-file", "ca.pem")] {
        let text =
            format!("remote={}/\nlocal={}\n{key}={}/{name}\n", at("src"), at("deploy/current"), at("deploy/current"));
        let config = sandbox.write("one.cfg", text);
        let mut validate = sandbox.bare();
        let run = Run::from(validate.arg("validate").arg(&config).output().unwrap()).expect(78);
        assert!(run.out.contains(&format!("{CONTAINS} the {key}")), "{}", run.out);
    }
    assert_eq!(fs::read_dir(sandbox.local()).unwrap().count(), 0);
    // What a release brings along may be read through the link, before it is there and after.
    fs::remove_dir(sandbox.local()).unwrap();
    sandbox.write("src/hooks/10", "#!/bin/sh\necho came along\n");
    mode(sandbox.path("src/hooks/10"), 0o755);
    let hooks = at("deploy/current/hooks");
    for version in ["v1", "v2"] {
        source(&sandbox, version);
        let run = sandbox.deploy(&format!("{}/", at("src")), &["--post-hooks", &hooks]);
        run.expect(0).says("came along");
    }
}

#[test]
fn hook_directory_goes_while_the_check_is_at_work_then_nothing_is_approved() {
    let sandbox = Sandbox::new();
    let remote = source(&sandbox, "v1");
    sandbox.deploy(&remote, &[]).expect(0);
    sandbox.hook("pre.d", "10", &format!("mv '{0}' '{0}.away'", sandbox.path("post.d").display()));
    sandbox.hook("post.d", "10-gate", "exit 1");
    source(&sandbox, "v2");
    sandbox.deploy(&remote, &[]).expect(3).says(HOOK_IS_GONE);
    assert_eq!(sandbox.read("deploy/current/file"), "v1");
    fs::rename(sandbox.path("post.d.away"), sandbox.path("post.d")).unwrap();
}

#[test]
fn log_and_reports_lie_behind_his_links_then_they_are_not_written_and_one_warning_says_so() {
    needs!(root);
    let sandbox = Sandbox::new();
    let is_untouched = victim(&sandbox);
    let remote = source(&sandbox, "v1");
    fs::create_dir(sandbox.path("his")).unwrap();
    give(&sandbox.path("his"));
    let at = |name: &str| sandbox.path("his").join(name).display().to_string();
    he(&format!("cd '{}'; ln -s ../victim/html dir; ln -s ../victim/html/file planted; echo mine >own", at("")));
    for (key, name, is_refused) in [
        ("LOG_FILE", "planted", true),
        ("LOG_FILE", "dir/log", true),
        ("LOG_FILE", "new", false),
        ("LOG_FILE", "own", false),
        ("STATUS_FILE", "dir/status", true),
        ("METRICS_FILE", "dir/metrics", true),
        ("STATUS_FILE", "planted", true),
    ] {
        let mut check = sandbox.command(&["--remote", &remote]);
        let run = Run::from(check.env(format!("REPO_DEPLOY_{key}"), at(name)).output().unwrap()).expect(0);
        assert_eq!(run.log.contains(&format!("{FOREIGN_LINK} 65534")), is_refused, "{key} {name}: {}", run.log);
        assert!(!is_refused || run.complaints().len() == 1, "{key} {name}: {}", run.log);
        is_untouched(name);
    }
    // Standard error by any name is where the log goes anyway.
    for (name, leads_to) in [("err", "/dev/stderr"), ("two", "/proc/self/fd/2")] {
        symlink(leads_to, sandbox.path(name)).unwrap();
        let log_file = sandbox.path(name).display().to_string();
        for path in [leads_to, &log_file] {
            let mut check = sandbox.command(&["--remote", &remote, "-v", "--log-file", path]);
            let run = Run::from(check.output().unwrap()).expect(0);
            assert!(!run.log.is_empty() && run.complaints().is_empty(), "{path}: {}", run.log);
        }
    }
    // What root has under another name there is not appended to either.
    sandbox.write("victim-log", "root's");
    fs::hard_link(sandbox.path("victim-log"), sandbox.path("his/hard")).unwrap();
    let mut check = sandbox.command(&["--remote", &remote, "-v", "--log-file", &at("hard")]);
    Run::from(check.output().unwrap()).expect(0).says("it has another name");
    assert_eq!(sandbox.read("victim-log"), "root's");
}

#[test]
fn directory_that_is_the_remote_becomes_a_link_of_its_owner_then_nothing_is_published() {
    needs!(root);
    let sandbox = Sandbox::new();
    drop(victim(&sandbox)); // only what it made is needed
    fs::create_dir(sandbox.path("his")).unwrap();
    sandbox.write("his/src/file", "v1");
    give(&sandbox.path("his"));
    let remote = format!("{}/", sandbox.path("his/src").display());
    sandbox.deploy(&remote, &[]).expect(0);
    he(&format!("cd '{}'; mv src old; ln -s ../victim/html src; ln -s ../victim logs", sandbox.path("his").display()));
    sandbox.deploy(&remote, &[]).expect(1).says(&format!("{FOREIGN_LINK} 65534")).says(&format!("{CANNOT_USE} remote"));
    let archive = sandbox.zip("victim/app.zip", &[("file", "secret")]);
    mode(&archive, 0o600);
    he(&format!("cd '{}'; ln -s ../victim/app.zip app.zip", sandbox.path("his").display()));
    let text = format!("remote = {remote}\nlog-file = {}/logs/log\n", sandbox.path("his").display());
    let config = sandbox.write("validate.cfg", text);
    let run = Run::from(sandbox.bare().arg("validate").arg(config).output().unwrap()).expect(78);
    assert!(run.out.contains(&format!(":1:10: error: {CANNOT_USE} remote = ")), "{}", run.out);
    assert!(run.out.contains(&format!(":2:12: warning: {CANNOT_USE} log-file = ")), "{}", run.out);
    let archive = sandbox.path("his/app.zip").display().to_string();
    sandbox.deploy(&archive, &[]).expect(1).says(&format!("{FOREIGN_LINK} 65534"));
    assert_eq!(sandbox.read("deploy/current/file"), "v1");
}
