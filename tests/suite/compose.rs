//! etc/containers/compose.yml: its services, run by runc from the values that it has, as Docker would.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dockerfiles::{PLATFORM, checkout, file, healthy, image_with_git};
use crate::manifests::{answer, application};
use crate::support::alone::is_alone;
use crate::support::container::{Container, Mount, PROFILE, Process};
use crate::support::image::{DEBIAN, Images};
use crate::support::kubelet::{Fields, PYTHON, documents};
use crate::support::needs::needs;
use crate::support::sandbox::Sandbox;
use crate::support::servers::{Authority, Nginx, wait_for};

/// A service, as Docker starts it.
struct Service {
    process: Process,
    health: Vec<String>,
    grace: Duration,
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
}

/// The file, without the services.
fn compose() -> (Fields, Fields) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/containers/compose.yml");
    let mut file = Fields::of("compose.yml", documents(&path).remove(0));
    let mut volumes = file.object("volumes");
    assert!(volumes.take("deploy").is_null());
    volumes.end();
    let mut services = file.object("services");
    file.end();
    let (ours, app) = (services.object("repo-deploy"), services.object("app"));
    services.end();
    (ours, app)
}

/// `deploy:/PATH` or `deploy:/PATH:ro`: a volume that Docker has made, which belongs to root.
fn volume(sandbox: &Sandbox, service: &mut Fields) -> Mount {
    let volumes = service.words("volumes").unwrap();
    let parts: Vec<&str> = volumes[0].split(':').collect();
    assert!(volumes.len() == 1 && parts[0] == "deploy" && [2, 3].contains(&parts.len()), "{volumes:?}");
    let source = sandbox.path("volume");
    fs::create_dir_all(&source).unwrap();
    Mount {
        source,
        target: parts[1].to_owned(),
        is_read_only: parts.get(2).inspect(|&&word| assert_eq!(word, "ro")).is_some(),
    }
}

/// The service `repo-deploy`, its image built as the file has it.
fn sidecar(sandbox: &Sandbox, images: &mut Images, mut service: Fields) -> Service {
    let mut build = service.object("build");
    build.must_be("context", "../..");
    let dockerfile = build.text("dockerfile");
    build.end();
    let text = file(dockerfile.strip_prefix("etc/containers/").unwrap());
    let image = images.build(&text, &checkout(sandbox), &[], PLATFORM).unwrap();
    service.must_be("image", "repo-deploy");
    let mut process = image.process(None);
    let mut environment = service.object("environment");
    for name in ["REMOTE_REPOSITORY", "REPO_DEPLOY_LOG_FORMAT"] {
        process.env.push((name.to_owned(), environment.text(name)));
    }
    environment.end();
    let mount = volume(sandbox, &mut service);
    assert_eq!(image.volumes, [&*mount.target]);
    process.mounts.push(mount);
    service.must_be("read_only", true);
    process.is_root_read_only = true;
    assert_eq!(service.words("cap_drop").unwrap(), ["ALL"]);
    process.capabilities.clear();
    assert_eq!(service.words("security_opt").unwrap(), ["no-new-privileges:true"]);
    process.may_gain_privileges = false;
    process.memory = Some(service.text("mem_limit").strip_suffix('m').unwrap().parse::<u64>().unwrap() << 20);
    service.must_be("restart", "unless-stopped");
    let grace = seconds(&service.text("stop_grace_period"));
    let mut health = service.object("healthcheck");
    let test = health.words("test").unwrap();
    for key in ["interval", "timeout", "start_period"] {
        assert!(seconds(&health.text(key)) > Duration::ZERO);
    }
    health.end();
    service.end();
    assert_eq!(test[0], "CMD");
    Service { process, health: test[1..].to_vec(), grace }
}

/// Ends a container as `docker stop` does.
fn stop(container: Container, grace: Duration) -> i32 {
    let start = Instant::now();
    container.signal("TERM");
    let run = container.end();
    assert!(start.elapsed() < grace, "it took {:?}, and would be killed after {grace:?}", start.elapsed());
    run.code
}

#[test]
fn services_are_started_then_the_application_follows_the_first_release_and_gets_the_updates() {
    needs!(PROFILE, PYTHON, "runc", "nginx", "curl", "openssl");
    if !is_alone("compose::services_are_started_then_the_application_follows_the_first_release_and_gets_the_updates") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    let (ours, mut app) = compose();
    let mut service = sidecar(&sandbox, &mut images, ours);
    let authority = Authority::new(&sandbox);
    let certificate = authority.certificate("DNS:example.com", &[]);
    let _nginx = Nginx::start(&sandbox, "", &format!("listen 127.0.0.1:443 ssl; {certificate}"));
    let hosts = sandbox.write("hosts", "127.0.0.1\tlocalhost example.com\n");
    for (source, target) in [(hosts, "/etc/hosts"), (authority.ca(), "/ca.pem")] {
        service.process.mounts.push(Mount { source, target: target.into(), is_read_only: true });
    }
    service
        .process
        .env
        .extend([("SSL_CERT_FILE", "/ca.pem"), ("HOME", "/")].map(|(n, v)| (n.to_owned(), v.to_owned())));

    let mut container = Container::start(&sandbox, &service.process);
    container.until("\"level\":\"error\"");
    assert_eq!(container.exec(&service.health).code, 1);
    sandbox.zip("www/app.zip", &[("version", "v1")]);
    container.signal("USR1");
    healthy(&container, &service.health, 0);

    app.must_be("image", "registry.example.com/app");
    let mut after = app.object("depends_on");
    let mut condition = after.object("repo-deploy");
    condition.must_be("condition", "service_healthy");
    condition.end();
    after.end();
    let mut process = application(&sandbox).process(None);
    process.mounts.push(volume(&sandbox, &mut app));
    app.end();
    let application = Container::start(&sandbox, &process);
    assert_eq!(answer("/current/version"), "v1");
    assert!(sandbox.path("volume/.current.deploy/cache").exists(), "nothing but the volume can be written");

    sandbox.zip("www/app.zip", &[("version", "v2")]);
    container.signal("USR1");
    wait_for("the update", || (answer("/current/version") == "v2").then_some(()));
    // restart: unless-stopped
    assert_eq!(stop(container, service.grace), 0);
    let container = Container::start(&sandbox, &service.process);
    healthy(&container, &service.health, 0);
    assert_eq!(answer("/current/version"), "v2");
    assert_eq!((stop(container, service.grace), stop(application, service.grace)), (0, 0));
}

#[test]
fn hook_ignores_term_then_the_container_still_ends_within_the_time_that_the_files_give_it() {
    needs!(time, PROFILE, PYTHON, DEBIAN, "runc", "nsenter");
    if !is_alone("compose::hook_ignores_term_then_the_container_still_ends_within_the_time_that_the_files_give_it") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    let image = image_with_git(&mut images, &sandbox);
    let (mut ours, _) = compose();
    let grace = seconds(&ours.text("stop_grace_period"));
    sandbox.write("app/version", "v1");
    sandbox.hook("hooks", "50-stubborn", "trap '' TERM; echo up; while :; do sleep 1; done");
    let mut process = image.process(None);
    for (source, target) in [("app", "/app"), ("hooks", "/etc/repo-deploy/post-update.d")] {
        process.mounts.push(Mount { source: sandbox.path(source), target: target.into(), is_read_only: true });
    }
    process.env.push(("REMOTE_REPOSITORY".into(), "/app".into()));
    let mut container = Container::start(&sandbox, &process);
    container.until("50-stubborn: up");
    assert_eq!(stop(container, grace), 0);
    // The next start finishes the deployment.
    sandbox.hook("hooks", "50-stubborn", "echo $REPO_DEPLOY_ATTEMPT, $REPO_DEPLOY_REASON");
    let mut container = Container::start(&sandbox, &process);
    container.until("50-stubborn: 2, recover");
    healthy(&container, &image.health.unwrap().command, 0);
    assert_eq!(stop(container, grace), 0);
}
