//! The manifests of etc/kubernetes: their pods, run by runc from the values that they have, as a kubelet would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dockerfiles::{image_of_the_binary, image_with_git};
use crate::support::alone::is_alone;
use crate::support::container::Container;
use crate::support::container::PROFILE;
use crate::support::git_servers::{Repo, Server, key};
use crate::support::image::{DEBIAN, Image, Images, part};
use crate::support::kubelet::{PYTHON, Pod, Surroundings, documents};
use crate::support::needs::needs;
use crate::support::phrases::{CANNOT_POLL, DEPLOYED, LIVE_AGAIN, NOTHING_AT, READ_AGAIN};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::servers::{Authority, Nginx, wait_for};

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/kubernetes").join(name)
}

/// The surroundings of each manifest: the images, and https://example.com on this machine.
struct World {
    images: Images,
    nginx: Nginx,
    surroundings: Surroundings,
    sandbox: Sandbox,
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let mut images = Images::new();
        let image = image_of_the_binary(&mut images, &sandbox);
        images.add("registry.example.com/repo-deploy", image);
        images.add("registry.example.com/app", application(&sandbox));
        let authority = Authority::new(&sandbox);
        let certificate = authority.certificate("DNS:example.com", &[]);
        let ca = Some(authority.ca());
        let nginx = Nginx::start(&sandbox, "", &format!("listen 127.0.0.1:443 ssl; {certificate}"));
        let surroundings = Surroundings { hosts: vec!["example.com"], ca, ..Surroundings::default() };
        Self { images, nginx, surroundings, sandbox }
    }

    fn put(&self, version: &str) {
        let new = self.sandbox.zip("new/www/app.zip", &[("version", version), ("health", "ok")]);
        fs::rename(new, self.sandbox.path("www/app.zip")).unwrap();
    }

    /// Starts a pod while the source has nothing yet: the probe fails, then there is a release.
    fn start(&self, name: &str) -> Pod<'_> {
        Pod::start(&self.sandbox, &self.images, &manifest(name), &self.surroundings, |container, probe| {
            container.until(NOTHING_AT);
            assert_eq!(container.exec(probe).code, 1, "the probe succeeds before there is a release");
            self.put("v1");
            container.signal("USR1");
        })
    }
}

/// The image of the application, in its place: it serves the files that it sees below /srv.
pub fn application(sandbox: &Sandbox) -> Image {
    let root = sandbox.path("application");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("srv")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), root.join("bin/busybox")).unwrap();
    // In the one case it opens the directory of the release at its start, in the other at each request. It tells each request, and
    // reloads on HUP, by the name of nginx.
    let serve = "trap 'exit 0' TERM; trap 'echo reloaded >&2' HUP; printf nginx >/proc/self/comm; \
                 h=/srv/current; [ -L $h ] && h=/srv; /bin/busybox httpd -f -vv -p 8080 -h $h & while :; do wait; done";
    Image::of(&root, &["/bin/busybox", "sh", "-c", serve])
}

/// The answer of the application.
pub fn answer(path: &str) -> String {
    let url = format!("http://127.0.0.1:8080{path}");
    let mut curl = Command::new("curl");
    Run::from(curl.args(["-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", &url]).output().unwrap())
        .expect(0)
        .out
}

/// Each line of the log is an object.
fn is_json(run: &Run) {
    for line in run.log.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(record["time"].is_string() && record["message"].is_string(), "{line}");
    }
    assert!(run.log.lines().count() > 2, "{}", run.log);
}

/// An update arrives; the container is restarted, in time, and finds everything; another update arrives.
fn lives_on<'a>(mut pod: Pod<'a>, put: &dyn Fn(&str), path: &str) -> Pod<'a> {
    pod.probe("repo-deploy", 0);
    pod.container("repo-deploy").until(DEPLOYED);
    assert_eq!(answer(path), "v1");
    put("v2");
    pod.container("repo-deploy").signal("USR1");
    pod.container("repo-deploy").until(DEPLOYED);
    wait_for("the update", || (answer(path) == "v2").then_some(()));
    let run = pod.restart("repo-deploy").expect(0).says("ending: signal 15 (SIGTERM)");
    is_json(&run);
    pod.probe("repo-deploy", 0);
    assert_eq!(answer(path), "v2");
    put("v3");
    pod.container("repo-deploy").signal("USR1");
    pod.container("repo-deploy").until(DEPLOYED);
    wait_for("the second update", || (answer(path) == "v3").then_some(()));
    pod
}

#[test]
fn every_manifest_is_one_of_kubernetes() {
    needs!(PYTHON);
    let manifests: Vec<PathBuf> = fs::read_dir(manifest("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(manifests.len(), 4);
    for version in ["1.29", "1.37"] {
        let mut validate = Command::new(part("venv/bin/kubernetes-validate"));
        Run::from(validate.args(["--strict", "-k", version]).args(&manifests).output().unwrap()).expect(0);
    }
    // All of them name the same things, so that one takes the place of another.
    for path in manifests {
        let names: Vec<_> = documents(&path).iter().map(|document| document["metadata"]["name"].clone()).collect();
        assert!(names.iter().all(|name| name == "app" || name == "app-deploy"), "{}: {names:?}", path.display());
    }
}

#[test]
fn sidecar_starts_then_the_application_starts_with_a_release_and_gets_the_updates() {
    needs!(PROFILE, PYTHON, "runc", "nginx", "curl", "openssl");
    if !is_alone("manifests::sidecar_starts_then_the_application_starts_with_a_release_and_gets_the_updates") {
        return;
    }
    let world = World::new();
    let of = |status: &str| {
        let requests = world.nginx.all();
        requests.iter().filter(|line| line.contains(&format!("|{status}|"))).count()
    };
    let put = |version: &str| {
        if version == "v3" {
            // The first check after the restart knows the live release.
            wait_for("a request that is answered by 304", || (of("304") > 0).then_some(()));
        }
        world.put(version);
    };
    let pod = lives_on(world.start("sidecar.yaml"), &put, "/current/version");
    assert_eq!(pod.stop(), [("app".into(), 0), ("repo-deploy".into(), 0)].into());
    assert_eq!(of("200"), 3, "each release is fetched once");
}

#[test]
fn volume_is_the_live_directory_then_hooks_ask_the_application_and_it_gets_the_updates() {
    needs!(PROFILE, PYTHON, "runc", "nginx", "curl", "openssl");
    if !is_alone("manifests::volume_is_the_live_directory_then_hooks_ask_the_application_and_it_gets_the_updates") {
        return;
    }
    let world = World::new();
    let mut pod = world.start("mount.yaml");
    pod.container("app").until("reloaded").until("url:/health");
    let mut pod = lives_on(pod, &|version| world.put(version), "/version");
    // Another hook in the ConfigMap counts from the next check on, another configuration from HUP on.
    let name = "post-update.d/60-health";
    pod.renew("config", name, "#!/repo-deploy probe http://127.0.0.1:8080/none --timeout 1s\n");
    world.put("v4");
    pod.container("repo-deploy").signal("USR1");
    pod.container("repo-deploy").until(LIVE_AGAIN);
    wait_for("the release before", || (answer("/version") == "v3").then_some(()));
    pod.renew("config", name, "#!/repo-deploy probe http://127.0.0.1:8080/health --contains ok\n");
    world.sandbox.zip("www/other.zip", &[("version", "v5"), ("health", "ok")]);
    pod.renew("config", "repo-deploy.cfg", "remote = https://example.com/other.zip\n");
    pod.container("repo-deploy").signal("HUP");
    pod.container("repo-deploy").until(READ_AGAIN).until(DEPLOYED);
    wait_for("the other remote", || (answer("/version") == "v5").then_some(()));
    assert_eq!(pod.stop(), [("app".into(), 0), ("repo-deploy".into(), 0)].into());
    let volume = world.sandbox.path("volumes/deploy");
    assert_eq!(fs::read_to_string(volume.join("version")).unwrap(), "v5");
    assert!(volume.join(".repo-deploy/state").exists());
}

#[test]
fn init_container_has_deployed_then_the_application_starts_with_the_release() {
    needs!(PROFILE, PYTHON, "runc", "nginx", "curl", "openssl");
    if !is_alone("manifests::init_container_has_deployed_then_the_application_starts_with_the_release") {
        return;
    }
    let world = World::new();
    world.put("v1");
    let no_probe = |_: &mut Container, _: &[String]| panic!("there is a probe");
    let pod = Pod::start(&world.sandbox, &world.images, &manifest("init.yaml"), &world.surroundings, no_probe);
    assert_eq!(answer("/current/version"), "v1");
    assert_eq!(pod.stop(), [("app".into(), 0)].into());
}

/// git@git.example.com:org/app.git on this machine, and the Secret for it.
fn git_by_ssh<'a>(sandbox: &'a Sandbox, surroundings: &mut Surroundings) -> (Repo<'a>, Server) {
    let repo = Repo::new(sandbox, "org/app");
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let home = sandbox.path("git").display().to_string();
    let passwd = sandbox.write("passwd", format!("{passwd}git:x:0:0::{home}:/bin/sh\n"));
    let mount = Command::new("mount").arg("--bind").arg(passwd).arg("/etc/passwd").output().unwrap();
    Run::from(mount).expect(0);
    let (host, user) = (key(sandbox, "host"), key(sandbox, "user"));
    let server = Server::sshd_with(sandbox, &host, &user, "Port 22\n");
    let public = fs::read_to_string(host.with_extension("pub")).unwrap();
    let known = format!("git.example.com {public}");
    let files = [("id_ed25519", fs::read(user).unwrap()), ("known_hosts", known.into_bytes())];
    let files: BTreeMap<String, Vec<u8>> = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    surroundings.secrets.insert("app-deploy-ssh".into(), files);
    surroundings.hosts.push("git.example.com");
    (repo, server)
}

#[test]
fn git_by_ssh_with_a_secret_and_a_user_of_no_image_then_it_deploys_and_gets_the_updates() {
    needs!(PROFILE, PYTHON, DEBIAN, "runc", "git", "sshd", "ssh-keygen", "nsenter", "curl");
    if !is_alone("manifests::git_by_ssh_with_a_secret_and_a_user_of_no_image_then_it_deploys_and_gets_the_updates") {
        return;
    }
    let world = World::new();
    let World { mut images, mut surroundings, sandbox, nginx } = world;
    drop(nginx);
    let image = image_with_git(&mut images, &sandbox);
    images.add("registry.example.com/repo-deploy-git", image);
    let (repo, _server) = git_by_ssh(&sandbox, &mut surroundings);
    let path = manifest("git.yaml");
    let pod = Pod::start(&sandbox, &images, &path, &surroundings, |container, probe| {
        container.until(CANNOT_POLL);
        assert_eq!(container.exec(probe).code, 1, "the probe succeeds before there is a release");
        let user = container.exec(&["sh", "-c", "id -u; stat -Lc '%a %u:%g' /etc/repo-deploy-ssh/id_ed25519"]);
        assert_eq!(user.out, "10001\n440 0:10001\n");
        // It is as confined as the manifest says.
        let confined = container.exec(&["sh", "-c", "cat /proc/self/status; touch /x; unshare -U true"]);
        for line in ["CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(confined.out.lines().any(|have| have == line), "{line}: {}", confined.out);
        }
        confined.says("Read-only file system").says("unshare failed: Operation not permitted");
        repo.commit(&[("version", "v1")]);
        container.signal("USR1");
    });
    let put = |version: &str| drop(repo.commit(&[("version", version)]));
    let mut pod = lives_on(pod, &put, "/current/version");
    // Another key in the Secret, which the next check reads.
    let renewed = key(&sandbox, "renewed");
    fs::copy(renewed.with_extension("pub"), sandbox.path("ssh/authorized")).unwrap();
    put("v4");
    pod.container("repo-deploy").signal("USR1");
    pod.container("repo-deploy").until("it does not let in the key");
    pod.renew("ssh", "id_ed25519", fs::read(renewed).unwrap());
    pod.container("repo-deploy").signal("USR1");
    pod.container("repo-deploy").until(DEPLOYED);
    assert_eq!(answer("/current/version"), "v4");
    assert_eq!(pod.stop(), [("app".into(), 0), ("repo-deploy".into(), 0)].into());
}
