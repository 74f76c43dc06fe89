//! The steps of blocks.rs: how each block of a page is run, and what the page says that it does.

use std::path::Path;

use crate::support::moto;
use crate::support::phrases::{BLOCKED, DEPLOYED, EXIT_CODE, LIVE_AGAIN, RETRY, ROLLED_BACK_TO};
use crate::support::servers::wait_for;
use crate::support::world::{HOME, World};

// ---- README.md ----

/// "These commands need no root."
pub fn first_deployment(world: &mut World, text: &str) {
    world.is_reader = true;
    let run = world.ends_with(0, text);
    assert!(run.out.contains("\nlive        release "), "{}", run.out);
    assert_eq!(world.read(&format!("{HOME}/try/live/current/index.html")), "hello\n");
}

pub fn release_that_fails(world: &mut World, text: &str) {
    let run = world.ends_with(0, text);
    assert_eq!(run.out, "exit code 1\nhello\n");
    assert!(run.log.contains(&format!("hooks/10-greets {EXIT_CODE} 1")), "{}", run.log);
}

pub fn rollback(world: &mut World, text: &str) {
    let run = world.ends_with(0, text);
    let log = format!("{}{}", run.out, run.log);
    assert!(log.contains(&format!(" {ROLLED_BACK_TO} release ")) && log.contains(RETRY), "{log}");
    assert!(run.out.contains("  deployed  ") && run.out.contains("  rolled-back  "), "{}", run.out);
    assert_eq!(world.read(&format!("{HOME}/try/live/current/index.html")), "hello again\n");
}

/// The line of the file that it stands in; its command prints nothing if there is nothing new, and nothing if another
/// check is running.
pub fn cron(world: &mut World, text: &str) {
    let file = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/repo-deploy.cron")).unwrap();
    assert!(file.lines().any(|line| line == text.trim_end()), "etc/repo-deploy.cron has no such line");
    let command = text.split(" root ").nth(1).unwrap();
    world.is_reader = false;
    world.write("/srv/index", "one", 0o644);
    world.write("/etc/repo-deploy/repo-deploy.cfg", "remote = /srv/\nlocal = /var/deploy/current\n", 0o644);
    for _ in 0..2 {
        let run = world.ends_with(0, command);
        assert_eq!((&*run.out, &*run.log), ("", ""));
        assert_eq!(world.read("/var/deploy/current/index"), "one");
    }
    // While another check runs: it holds this lock.
    let lock = std::fs::File::open(world.path("/var/deploy/.current.deploy/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run = world.ends_with(0, command);
    assert_eq!((&*run.out, &*run.log), ("", ""));
    drop(lock);
    world.ends_with(0, "rm -r /etc/repo-deploy /var/deploy /srv");
}

/// Starts an S3 at 127.0.0.1:5000 that anyone may use, and makes `buckets`.
fn s3(world: &mut World, buckets: &[&str]) {
    world.serve(&moto::venv("python3"), &["-m", "moto.server", "-H", "127.0.0.1", "-p", "5000"]);
    for bucket in buckets {
        let made = format!("curl -sf -X PUT http://127.0.0.1:5000/{bucket}");
        wait_for("S3", || world.outside(&made).then_some(()));
    }
}

/// The variables with which repo-deploy uses it.
const S3: &str = "export AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_REGION=us-east-1\n";
const KEYS: &str = "export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret\n";

pub fn bundle(world: &mut World, text: &str) {
    s3(world, &["bucket", "production"]);
    let appspec = |to: &str| format!("version: 0.0\nos: linux\nfiles:\n  - source: /app\n    destination: {to}\n");
    let zip = |to: &str| {
        let path = world.sandbox.zip("bundle.zip", &[("appspec.yml", &appspec(to)), ("app/index", to)]);
        std::fs::read(path).unwrap()
    };
    let [one, other] = ["/srv/one", "/srv/other"].map(zip);
    world.write("/root/bundles/bundle.zip", one, 0o644);
    for (bucket, content) in
        [("bucket", std::fs::read(world.path("/root/bundles/bundle.zip")).unwrap()), ("production", other)]
    {
        let file = world.sandbox.write("upload.zip", content);
        let upload = format!("curl -sf -T {} http://127.0.0.1:5000/{bucket}/bundle.zip", file.display());
        assert!(world.outside(&upload), "{upload}");
    }
    let ini = "[Production]\ns3_bucket = production\ntarget_file_key = bundle.zip\nprofile_name = web\n";
    world.write("/root/bundles/config.ini", ini, 0o600);
    world.write("/root/.aws/credentials", "[web]\naws_access_key_id = id\naws_secret_access_key = secret\n", 0o600);
    let [validate, install, section] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    world.ends_with(0, &format!("cd /root/bundles; {validate}"));
    world.write("/root/bundles/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - destination: srv/app\n", 0o644);
    let wrong = validate.replace("bundle.zip", "appspec.yml");
    let run = world.ends_with(78, &wrong);
    assert!(run.out.contains("appspec.yml:4:5: error: "), "line and column: {}", run.out);
    world.ends_with(0, &format!("{S3}{KEYS}{install}"));
    assert_eq!(world.read("/srv/one/index"), "/srv/one");
    world.ends_with(0, &format!("{S3}{section}"));
    assert_eq!(world.read("/srv/other/index"), "/srv/other");
}

// ---- docs/hooks.md ----

/// The configuration of the page's machine, with a server of its application on the ports 80 and 8080.
fn application(world: &mut World, more: &str) {
    let config = format!("remote = /srv/app/\nlocal = /var/deploy/current\n{more}");
    world.write("/etc/repo-deploy/repo-deploy.cfg", config, 0o644);
    world.ends_with(0, "rm -rf /etc/repo-deploy/*.d /srv/app /var/deploy; mkdir -p /srv/app");
    release(world, &[("health", "{\"status\": \"ok\"}"), ("conf/nginx.conf", "events {}\nhttp {}\n")]);
    deploy(world, 0);
    if !world.path("/srv/nginx.conf").exists() {
        let server = |port: u16| format!("server {{ listen 127.0.0.1:{port}; root /var/deploy/current; }}\n");
        let text = format!("user root;\npid /run/nginx.pid;\nevents {{}}\nhttp {{\n{}{}}}\n", server(80), server(8080));
        world.write("/srv/nginx.conf", text, 0o644);
        world.ends_with(0, "nginx -c /srv/nginx.conf");
    }
}

fn release(world: &World, files: &[(&str, &str)]) {
    for (name, content) in files {
        world.write(&format!("/srv/app/{name}"), content, 0o644);
    }
}

/// A check that ends with `code`; returns its log.
#[track_caller]
fn deploy(world: &mut World, code: i32) -> String {
    world.ends_with(code, "repo-deploy -f").log.clone()
}

/// Writes a hook where its comment says that it is; without one as a post hook.
fn install(world: &World, text: &str) -> String {
    let named =
        text.lines().find_map(|line| line.strip_prefix("# /")).map(|path| path.split([':', ' ']).next().unwrap());
    let path = format!("/{}", named.unwrap_or("etc/repo-deploy/post-update.d/50-probe"));
    assert!(path.starts_with("/etc/repo-deploy/p"), "{path} is in no directory of hooks");
    world.write(&path, text, 0o755);
    path
}

pub fn config_test(world: &mut World, text: &str) {
    application(world, "");
    install(world, text);
    release(world, &[("index", "two")]);
    deploy(world, 0);
    release(world, &[("conf/nginx.conf", "nonsense;\n")]);
    assert!(deploy(world, 2).contains(BLOCKED));
    assert_eq!(world.read("/var/deploy/current/conf/nginx.conf"), "events {}\nhttp {}\n");
}

pub fn healthy(world: &mut World, text: &str) {
    is_rolled_back_unless_healthy(world, text, "");
}

pub fn probe(world: &mut World, text: &str) {
    // It would wait for a minute.
    is_rolled_back_unless_healthy(world, text, "hook-timeout = 3\n");
}

fn is_rolled_back_unless_healthy(world: &mut World, text: &str, more: &str) {
    application(world, more);
    install(world, text);
    release(world, &[("index", "two")]);
    deploy(world, 0);
    world.ends_with(0, "rm /srv/app/health");
    if text.contains("--contains") {
        release(world, &[("health", "{\"status\": \"down\"}")]);
    }
    let log = deploy(world, 1);
    assert!(log.contains(LIVE_AGAIN), "{log}");
    assert_eq!(world.read("/var/deploy/current/health"), "{\"status\": \"ok\"}");
}

pub fn reload(world: &mut World, text: &str) {
    application(world, "");
    install(world, text);
    let workers = "master=$(cat /run/nginx.pid); cat /proc/$master/task/$master/children";
    let before = world.ends_with(0, workers).out.clone();
    release(world, &[("index", "two")]);
    deploy(world, 0);
    let after = world.ends_with(0, workers).out.clone();
    assert!(!after.is_empty() && before != after, "nginx has the workers {after}, as before");
    world.ends_with(0, "nginx -c /srv/nginx.conf -s quit");
    wait_for("the end of nginx", || (!world.path("/run/nginx.pid").exists()).then_some(()));
    release(world, &[("index", "three")]);
    deploy(world, 3); // nor can the release before be reloaded
}

pub fn restart(world: &mut World, text: &str) {
    world.ends_with(0, "rm -f /srv/nginx.conf");
    application(world, "");
    install(world, text);
    world.ends_with(0, "sleep 1000 >/dev/null 2>&1 & echo $! >/run/app.pid");
    let pid = world.read("/run/app.pid").trim().to_owned();
    release(world, &[("index", "two")]);
    deploy(world, 0);
    let state = std::fs::read_to_string(world.path(&format!("/proc/{pid}/stat"))).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{pid} runs: {state}");
}

/// The holders of the lock of the page, as `lock status` prints them.
fn holders(world: &mut World) -> String {
    world.ends_with(0, &format!("{S3}{KEYS}repo-deploy lock status s3://fleet/web.lock")).out.clone()
}

/// A check on a machine that may use the lock.
fn deploy_with_lock(world: &mut World) {
    world.ends_with(0, &format!("{S3}{KEYS}repo-deploy -f"));
}

pub fn lock(world: &mut World, text: &str) {
    let is_first = !text.starts_with("#!/bin/sh");
    application(world, "");
    if is_first {
        s3(world, &["fleet"]);
    }
    install(world, text);
    release(world, &[("index", "two")]);
    deploy_with_lock(world);
    let name = world.ends_with(0, "hostname").out.trim().to_owned();
    let owner = if is_first { name } else { format!("{name}-default") };
    let held = holders(world);
    assert!(held.contains(&owner), "{owner} does not hold the lock: {held}");
}

pub fn unlock(world: &mut World, text: &str) {
    install(world, text);
    assert!(world.path("/etc/repo-deploy/pre-update.d/90-lock").exists(), "the lock is acquired first");
    release(world, &[("index", "three")]);
    deploy_with_lock(world);
    let name = world.ends_with(0, "hostname").out.trim().to_owned();
    let held = holders(world);
    assert!(!held.contains(&name), "{held}");
}

pub fn changed_files(world: &mut World, text: &str) {
    application(world, "");
    install(world, &format!("#!/bin/bash\n# /etc/repo-deploy/post-update.d/60-changed\n{text}"));
    release(world, &[("health", "fine"), ("new", "1")]);
    world.ends_with(0, "rm /srv/app/conf/nginx.conf");
    let log = deploy(world, 0);
    for line in ["M: health", "A: new", "D: conf/nginx.conf"] {
        assert!(log.contains(&format!("60-changed: {line}\n")), "{line} is not in\n{log}");
    }
}

pub fn paths(world: &mut World, text: &str) {
    application(world, "");
    install(world, "#!/bin/sh\n# /etc/repo-deploy/post-update.d/50-nginx\necho ran\n");
    world.write("/etc/repo-deploy/post-update.d/50-nginx.paths", text, 0o644);
    for (name, runs) in [("index", false), ("conf/nginx/site", true), ("a/b/c.vhost", true), ("c.vhosts", false)] {
        release(world, &[(name, "changed")]);
        let log = deploy(world, 0);
        assert_eq!(log.contains("50-nginx: ran\n"), runs, "{name}: {log}");
        assert!(runs || log.contains("50-nginx"), "the log names a hook that is passed over: {log}");
    }
}

// ---- docs/images.md ----

/// The page's command is given to a `docker` that notes its arguments; dockerfiles:: builds and runs the file that they
/// name. The revision that they hold is the one that the remote gives.
pub fn docker_build(world: &mut World, text: &str) {
    let authority = crate::support::servers::Authority::new(&world.sandbox);
    let config = authority.certificate("DNS:example.com", &[]);
    for file in std::fs::read_dir(world.sandbox.path("tls")).unwrap() {
        let path = file.unwrap().path();
        world.write(path.to_str().unwrap(), std::fs::read(&path).unwrap(), 0o600);
    }
    world.write("/srv/ca.pem", std::fs::read(world.sandbox.path("tls/ca.pem")).unwrap(), 0o644);
    let zip = std::fs::read(world.sandbox.zip("app.zip", &[("index", "one")])).unwrap();
    world.write("/srv/www/app.zip", &zip, 0o644);
    world.write("/root/app.zip", &zip, 0o644);
    let cfg = "remote = https://example.com/app.zip\nca-file = /srv/ca.pem\nlocal = /var/deploy/current\n";
    world.write("/etc/repo-deploy/repo-deploy.cfg", cfg, 0o644);
    world.write("/usr/local/bin/docker", "#!/bin/sh\nprintf '%s\\n' \"$@\" >/root/asked\n", 0o755);
    let server = format!(
        "user root;\npid /run/nginx.pid;\nevents {{}}\nhttp {{\nlog_format s '$status'; access_log /srv/access s;\n\
         server {{ listen 443 ssl; root /srv/www; {config} }}\n}}\n"
    );
    world.write("/srv/nginx.conf", server, 0o644);
    world.ends_with(0, "echo 127.0.0.1 example.com >>/etc/hosts; nginx -c /srv/nginx.conf");
    world.ends_with(0, &format!("export CURL_CA_BUNDLE=/srv/ca.pem\n{text}"));
    let asked = world.read("/root/asked");
    let [verb, "-f", file, "--build-arg", argument, "-t", _, _] = asked.lines().collect::<Vec<_>>()[..] else {
        panic!("{asked}")
    };
    let dockerfile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    assert!(verb == "build" && dockerfile.contains("\nARG ETAG\n"), "{asked}");
    let revision = argument.strip_prefix("ETAG=").unwrap();
    world.ends_with(0, &format!("repo-deploy seed /root/app.zip --revision '{revision}'"));
    assert_eq!(world.read("/var/deploy/current/index"), "one");
    // "Its first check is one conditional request whose answer is 304."
    world.ends_with(0, ": >/srv/access; repo-deploy -f");
    assert_eq!(world.read("/srv/access"), "304\n");
    assert!(!world.last.log.contains(DEPLOYED), "{}", world.last.log);
}
