//! Another user works in the live tree while it changes, as fast as he can: he puts files, links and directories under names that were
//! just looked at, or are about to get an owner. Whatever he does, what lies outside stays as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::needs::{has, has_root};
use crate::support::sandbox::{Run, Sandbox};

/// Who owns the live tree.
const HIM: u32 = 1000;
/// How often a race is run.
const ROUNDS: usize = 6;

/// A process of his that runs a program of Python until it is dropped. It begins when the program has printed something.
struct Racer(Child);

impl Racer {
    fn start(dir: &Path, program: &str) -> Self {
        let program = format!(
            "import os, sys\nos.setgroups([]); os.setgid({HIM}); os.setuid({HIM})\nos.chdir(sys.argv[1])\n\
             def quietly(call, *args, **named):\n    try: return call(*args, **named)\n    except OSError: return None\n\
             def own(new, name):\n    fd = quietly(os.open, new, os.O_CREAT | os.O_WRONLY, 0o600)\n    if fd is not None:\n        \
             os.write(fd, b'same'); os.close(fd); quietly(os.rename, new, name)\n\
             print('ready', flush=True)\nwhile os.getppid() == int(sys.argv[2]):\n{program}"
        );
        let mut command = Command::new("python3");
        command.args(["-c", &program]).arg(dir).arg(std::process::id().to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What lies outside: files, a link and a directory of root that he may link to or move, or that his links lead to.
struct Outside(PathBuf);

impl Outside {
    fn new(sandbox: &Sandbox) -> Self {
        let outside = sandbox.path("outside");
        fs::create_dir_all(outside.join("dir/inner")).unwrap();
        for name in ["file", "dir/file", "dir/inner/file"] {
            fs::write(outside.join(name), "same").unwrap();
            // One that he may write, or the kernel does not let him make a second name.
            chown(outside.join(name), Some(0), Some(HIM)).unwrap();
            fs::set_permissions(outside.join(name), fs::Permissions::from_mode(0o660)).unwrap();
        }
        symlink("same", outside.join("link")).unwrap();
        Self(outside)
    }

    /// Everything about it but the number of names, which is his to change.
    fn state(&self) -> Vec<String> {
        let mut all = Vec::new();
        for name in ["", "file", "link", "dir", "dir/file", "dir/inner", "dir/inner/file"] {
            let path = self.0.join(name);
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let names = if meta.is_dir() { fs::read_dir(&path).unwrap().count() } else { 0 };
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            all.push(format!("{name} {mode:o} {uid}:{gid} {} {content:?} {names}", meta.mtime_nsec()));
        }
        all
    }
}

/// Owned by him, with everything that is in it; second names of what lies outside go.
fn give(path: &Path) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    } else if meta.nlink() > 1 {
        return fs::remove_file(path).unwrap();
    }
    std::os::unix::fs::lchown(path, Some(HIM), Some(HIM)).unwrap();
}

/// A directory remote whose releases differ in every way that in-place knows, `n` times over.
fn put(remote: &Path, release: usize, n: usize) {
    let _ = fs::remove_dir_all(remote); // there is none at first
    fs::create_dir_all(remote).unwrap();
    fs::write(remote.join("release"), format!("{release}")).unwrap();
    for i in 0..n {
        fs::create_dir_all(remote.join(format!("d{i}"))).unwrap();
        let mode = fs::Permissions::from_mode(if release.is_multiple_of(2) { 0o644 } else { 0o755 });
        for (name, content) in [("mode", "same".to_owned()), ("new", release.to_string())] {
            let path = remote.join(format!("d{i}/{name}"));
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, mode.clone()).unwrap();
        }
        symlink(format!("to-{release}"), remote.join(format!("d{i}/link"))).unwrap();
        fs::create_dir_all(remote.join(format!("made{release}-{i}"))).unwrap();
        fs::write(remote.join(format!("made{release}-{i}/file")), "x").unwrap();
        match (release + i) % 2 {
            0 => fs::write(remote.join(format!("turn{i}")), "a file").unwrap(),
            _ => {
                fs::create_dir(remote.join(format!("turn{i}"))).unwrap();
                fs::write(remote.join(format!("turn{i}/file")), "x").unwrap();
            }
        }
    }
}

fn can_race() -> bool {
    has("python3") && has_root()
}

/// Deploys round after round while `program` races, and then once in peace.
fn race(config: &str, program: &str) {
    if !can_race() {
        return;
    }
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let (remote, live) = (sandbox.path("remote"), sandbox.path("deploy/current"));
    sandbox.write("repo-deploy.cfg", format!("activation = in-place\n{config}"));
    fs::create_dir(&live).unwrap();
    chown(&live, Some(HIM), Some(HIM)).unwrap();
    let deploy = |release: usize| -> Run {
        put(&remote, release, 8);
        sandbox.deploy(remote.to_str().unwrap(), &[])
    };
    deploy(0).expect(0);
    let outside = Outside::new(&sandbox);
    let before = outside.state();
    for round in 1..=ROUNDS {
        give(&live);
        let racer = Racer::start(&live, program);
        let run = deploy(round);
        drop(racer);
        assert!([0, 1, 3].contains(&run.code), "{}: {}", run.code, run.log);
        assert_eq!(outside.state(), before, "round {round}: {}", run.log);
    }
    // Nobody is in the way any more, and what he left is healed.
    sandbox.deploy(remote.to_str().unwrap(), &[]);
    deploy(ROUNDS + 1).expect(0);
    assert_eq!(sandbox.read("deploy/current/release"), (ROUNDS + 1).to_string());
    assert_eq!(outside.state(), before);
}

#[test]
fn hard_links_to_files_outside_are_put_in_place_then_those_stay_as_they_are() {
    let program = r"
    for d in os.listdir('.'):
        for name in ('mode', 'new', 'file'):
            own(f'{d}/.o', f'{d}/{name}')
            quietly(os.link, '../../outside/file', f'{d}/.x'); quietly(os.rename, f'{d}/.x', f'{d}/{name}')
";
    race("", program);
    race(&format!("owner = {HIM}:{HIM}\n"), program);
}

#[test]
fn temporary_names_are_taken_by_hard_links_then_what_is_outside_stays_as_it_is() {
    let program = r"
    for d in os.listdir('.'):
        for name in quietly(os.listdir, d) or ():
            if name.startswith('.repo-deploy-'):
                quietly(os.unlink, f'{d}/{name}'); quietly(os.link, '../../outside/file', f'{d}/{name}')
";
    race(&format!("owner = {HIM}:{HIM}\n"), program);
}

#[test]
fn links_to_what_is_outside_are_put_in_place_then_that_stays_as_it_is() {
    let program = r"
    for d in os.listdir('.'):
        for name in ('mode', 'new', 'link', 'file'):
            quietly(os.symlink, '../../../outside/file', f'{d}/.y'); quietly(os.rename, f'{d}/.y', f'{d}/{name}')
";
    race(&format!("owner = {HIM}:{HIM}\n"), program);
}

/// Exchanges directories for links to what is `outside`, and for directories of his.
fn exchange(outside: &str) -> String {
    r"
    for d in os.listdir('.'):
        if d.startswith('.'): continue
        quietly(os.rename, d, f'.away-{d}')
        quietly(os.symlink, 'OUTSIDE/dir', d)
        quietly(os.unlink, d)
        quietly(os.mkdir, d)
        quietly(os.link, 'OUTSIDE/file', f'{d}/mode')
        quietly(os.rename, d, f'.other-{d}')
        quietly(os.rename, f'.away-{d}', d)
"
    .replace("OUTSIDE", outside)
}

#[test]
fn directories_are_exchanged_for_links_and_others_then_what_is_outside_stays_as_it_is() {
    let program = &exchange("../../outside");
    race("", program);
    race(&format!("owner = {HIM}:{HIM}\n"), program);
}

/// A host with a bundle that is installed into a directory of his.
fn race_installation(program: &str) {
    if !can_race() {
        return;
    }
    let sandbox = Sandbox::new();
    let (remote, dest) = (sandbox.path("bundle"), sandbox.path("dest"));
    sandbox.write("repo-deploy.cfg", "activation = install\nid = racing\n");
    fs::create_dir(&dest).unwrap();
    give(&dest);
    let appspec = format!(
        "version: 0.0\nos: linux\nfile_exists_behavior: OVERWRITE\nfiles: [{{source: tree, destination: {0}}}]\npermissions:\n\
         - {{object: {0}, pattern: \"**\", owner: \"{HIM}\", group: \"{HIM}\", mode: \"640\", type: [file]}}\n\
         - {{object: {0}, pattern: \"**\", owner: \"{HIM}\", group: \"{HIM}\", mode: \"750\", type: [directory]}}\n",
        dest.display()
    );
    let deploy = |release: usize| -> Run {
        put(&remote.join("tree"), release, 8);
        fs::write(remote.join("appspec.yml"), &appspec).unwrap();
        sandbox.deploy(remote.to_str().unwrap(), &[])
    };
    deploy(0).expect(0);
    let outside = Outside::new(&sandbox);
    let before = outside.state();
    for round in 1..=ROUNDS {
        let racer = Racer::start(&dest, program);
        let run = deploy(round);
        drop(racer);
        assert!([0, 1, 3].contains(&run.code), "{}: {}", run.code, run.log);
        assert_eq!(outside.state(), before, "round {round}: {}", run.log);
    }
}

#[test]
fn files_and_links_of_an_installation_are_exchanged_then_what_is_outside_stays_as_it_is() {
    race_installation(
        r"
    for d in os.listdir('.'):
        for name in ('mode', 'new', 'link', 'file'):
            own(f'{d}/.o', f'{d}/{name}')
            quietly(os.link, '../outside/file', f'{d}/.x'); quietly(os.rename, f'{d}/.x', f'{d}/{name}')
",
    );
}

#[test]
fn temporary_names_of_an_installation_are_taken_then_what_is_outside_stays_as_it_is() {
    race_installation(
        r"
    for d in os.listdir('.'):
        for name in quietly(os.listdir, d) or ():
            if name.startswith('.repo-deploy-'):
                quietly(os.unlink, f'{d}/{name}'); quietly(os.link, '../outside/file', f'{d}/{name}')
",
    );
}

#[test]
fn directories_of_an_installation_are_exchanged_then_what_is_outside_stays_as_it_is() {
    race_installation(&exchange("../outside"));
}
