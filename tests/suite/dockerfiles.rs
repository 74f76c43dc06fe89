//! The images of etc/containers, built and started as an engine would, from the Dockerfiles as they are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::alone::is_alone;
use crate::support::container::{Container, Mount, PROFILE, Process};
use crate::support::dockerfile::Dockerfile;
use crate::support::image::{DEBIAN, Image, Images};
use crate::support::needs::needs;
use crate::support::phrases::{DEPLOYED, UNCHANGED, VALID};
use crate::support::sandbox::{Run, Sandbox, binary};
use crate::support::servers::{Nginx, wait_for};

/// The platform of this machine, as BuildKit names it.
pub const PLATFORM: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// A file of etc/containers.
pub fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/containers").join(name)).unwrap()
}

/// A context with the binary under test where `./musl-build.sh` leaves the one of this machine.
pub fn checkout(sandbox: &Sandbox) -> PathBuf {
    let built = sandbox.write(format!("checkout/dist/repo-deploy-{}", std::env::consts::ARCH), "");
    fs::copy(binary(), built).unwrap();
    sandbox.path("checkout")
}

/// The image `repo-deploy`.
pub fn image_of_the_binary(images: &mut Images, sandbox: &Sandbox) -> Image {
    let image = images.build(&file("Dockerfile"), &checkout(sandbox), &[], PLATFORM).unwrap();
    images.add("repo-deploy", image.clone());
    image
}

/// The image `repo-deploy-git`.
pub fn image_with_git(images: &mut Images, sandbox: &Sandbox) -> Image {
    image_of_the_binary(images, sandbox);
    let image = images.build(&file("Dockerfile.git"), &sandbox.path("checkout"), &[], PLATFORM).unwrap();
    images.add("repo-deploy-git", image.clone());
    image
}

/// `docker run` with a volume at each VOLUME and more of the environment.
fn docker_run(sandbox: &Sandbox, image: &Image, args: &[&str], env: &[(&str, &str)]) -> Process {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let mut process = image.process(Some(&args).filter(|args| !args.is_empty()).map(|args| &args[..]));
    process.env.extend(env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    for target in &image.volumes {
        let source = sandbox.path(format!("volumes{target}"));
        fs::create_dir_all(&source).unwrap();
        process.mounts.push(Mount { source, target: target.clone(), is_read_only: false });
    }
    process
}

#[test]
fn a_line_is_not_known_then_the_reader_of_dockerfiles_refuses_it() {
    let bad = [
        "RUN true",
        "FROM scratch\nADD x /",
        "FROM scratch\nONBUILD RUN true",
        "FROM --platform=linux/arm64 scratch",
        "FROM scratch\nCOPY --link x /",
        "FROM scratch\nCOPY *.x /",
        "FROM scratch\nCOPY x",
        "FROM scratch\nRUN --mount=type=secret,id=x true",
        "FROM scratch\nRUN --network=none true",
        "FROM scratch\nHEALTHCHECK --start-interval=1s CMD [\"x\"]",
        "FROM scratch\nHEALTHCHECK NONE",
        "FROM scratch\nENTRYPOINT x",
        "FROM scratch\nCMD x",
        "FROM scratch\nENV A B",
        "FROM scratch\nVOLUME [\"/x\"]",
        "FROM scratch\nUSER",
        "# syntax=docker/dockerfile:1\nFROM scratch",
        "FROM scratch\nRUN true \\",
        "",
    ];
    for text in bad {
        assert!(Dockerfile::read(text).is_err(), "{text}");
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    sandbox.write("x", "x");
    let worse = [
        ("FROM nothing", "there is no image nothing"),
        ("FROM ${A}", "A has no value"),
        ("ARG A=scratch\nFROM $A\nCOPY x /$A", "A has no value"),
        ("FROM scratch\nCOPY y /", "no file in"),
        ("FROM scratch\nCOPY ../x /", "no file in"),
        ("FROM scratch\nCOPY x x", "it is relative"),
        ("FROM scratch\nUSER ${A:-x}", "another form of a variable"),
    ];
    for (text, reason) in worse {
        let error = images.build(text, &sandbox.path(""), &[], PLATFORM).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn image_from_scratch_is_built_for_a_platform_then_it_has_the_binary_of_that_platform_alone() {
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    for (platform, arch) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        let dist = sandbox.path(format!("{platform}/dist"));
        // The other one is not there, as after ./musl-build.sh for this machine alone.
        let built = sandbox.write(dist.join(format!("repo-deploy-{arch}")), arch);
        fs::set_permissions(&built, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let image = images.build(&file("Dockerfile"), &sandbox.path(platform), &[], platform).unwrap();
        let found = crate::support::sandbox::tree(&image.root);
        assert_eq!(found, [("repo-deploy".to_owned(), format!("f 755 {arch}"))].into());
        assert_eq!((&image.entrypoint[..], &image.command[..]), (&["/repo-deploy".to_owned()][..], &[][..]));
        assert_eq!(image.volumes, ["/var/deploy"]);
    }
    let error = images.build(&file("Dockerfile"), &sandbox.path("amd64"), &[], "riscv64").unwrap_err();
    assert_eq!(error, "there is no image binary-riscv64");
    // The names are those of the program that builds them.
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("musl-build.sh")).unwrap();
    assert!(script.contains("\"dist/repo-deploy-$arch\"") && script.contains("x86_64 | aarch64)"));
}

#[test]
fn image_from_scratch_is_run_then_it_deploys_and_its_health_is_that_of_the_last_check() {
    needs!(PROFILE, "runc", "nginx");
    if !is_alone("dockerfiles::image_from_scratch_is_run_then_it_deploys_and_its_health_is_that_of_the_last_check") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    let image = image_of_the_binary(&mut images, &sandbox);
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.zip("www/app.zip", &[("version", "v1")]);
    let process = docker_run(&sandbox, &image, &[], &[("REMOTE_REPOSITORY", &nginx.url("/app.zip")), ("HOME", "/")]);
    let mut container = Container::start(&sandbox, &process);
    container.until(DEPLOYED);
    let health = image.health.unwrap().command;
    healthy(&container, &health, 0);
    let validated = container.exec(&["/repo-deploy", "validate"]).expect(0);
    assert_eq!(validated.out, format!("the configuration: {VALID}\n"));
    // The application's view: the same volume, at another place.
    assert_eq!(sandbox.read("volumes/var/deploy/current/version"), "v1");
    fs::remove_file(sandbox.path("www/app.zip")).unwrap();
    container.signal("USR1");
    container.until(" ERROR ");
    healthy(&container, &health, 1);
    sandbox.zip("www/app.zip", &[("version", "v2")]);
    container.signal("USR1");
    container.until(DEPLOYED);
    healthy(&container, &health, 0);
    assert_eq!(sandbox.read("volumes/var/deploy/current/version"), "v2");
    container.signal("TERM");
    container.end().expect(0);
}

/// Waits until the health check ends with `code`: the log comes a moment before the status.
pub fn healthy(container: &Container, command: &[String], code: i32) -> Run {
    wait_for("its health", || Some(container.exec(command)).filter(|run| run.code == code))
}

#[test]
fn image_with_git_is_run_then_it_has_what_a_git_remote_needs() {
    needs!(PROFILE, DEBIAN, "runc", "nsenter");
    if !is_alone("dockerfiles::image_with_git_is_run_then_it_has_what_a_git_remote_needs") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    let image = image_with_git(&mut images, &sandbox);
    let repo = crate::support::git_servers::Repo::new(&sandbox, "app");
    repo.commit(&[("version", "v1")]);
    let server = crate::support::git_servers::Server::daemon(&sandbox);
    let remote = format!("git://127.0.0.1:{}/app.git#main", server.port);
    let mut process = docker_run(&sandbox, &image, &[], &[("REMOTE_REPOSITORY", &remote), ("HOME", "/root")]);
    for program in ["ssh", "ssh-keygen"] {
        assert!(image.root.join("usr/bin").join(program).exists(), "{program}");
    }
    assert!(image.root.join("etc/ssl/certs/ca-certificates.crt").exists());
    let mut container = Container::start(&sandbox, &process);
    container.until(DEPLOYED);
    healthy(&container, &image.health.as_ref().unwrap().command, 0);
    assert_eq!(sandbox.read("volumes/var/deploy/current/version"), "v1");
    container.signal("TERM");
    container.end().expect(0);
    // Another command, and arguments as docker run takes them.
    process.args = [&image.entrypoint[..], &["-f".to_owned(), "-v".to_owned()]].concat();
    Container::start(&sandbox, &process).end().expect(0).says(UNCHANGED);
}

#[test]
fn image_with_a_release_is_run_then_the_release_is_live_and_the_first_check_fetches_nothing() {
    needs!(PROFILE, "runc", "nginx");
    if !is_alone(
        "dockerfiles::image_with_a_release_is_run_then_the_release_is_live_and_the_first_check_fetches_nothing",
    ) {
        return;
    }
    let sandbox = Sandbox::new();
    let mut images = Images::new();
    image_of_the_binary(&mut images, &sandbox);
    let nginx = Nginx::start(&sandbox, "", "");
    let zip = sandbox.zip("www/app.zip", &[("version", "v1")]);
    sandbox.write("context/repo-deploy.cfg", format!("remote = {}\n", nginx.url("/app.zip")));
    fs::copy(zip, sandbox.path("context/app.zip")).unwrap();
    let head = std::process::Command::new("curl").args(["-sI", &nginx.url("/app.zip")]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().trim();
    let build = |images: &mut Images, etag: &str| {
        images.build(&file("Dockerfile.seed"), &sandbox.path("context"), &[("ETAG", etag)], PLATFORM)
    };
    let image = build(&mut images, etag).unwrap();
    assert_eq!(fs::read_to_string(image.root.join("var/deploy/current/version")).unwrap(), "v1");
    assert!(build(&mut images, "sha1:x").unwrap_err().starts_with("RUN ended with 64: "));

    let before = nginx.all().len();
    let mut container = Container::start(&sandbox, &docker_run(&sandbox, &image, &[], &[]));
    let status = ["repo-deploy", "status"].map(str::to_owned);
    healthy(&container, &status, 0);
    let requests = wait_for("the first request", || Some(nginx.all().split_off(before)).filter(|all| !all.is_empty()));
    assert!(requests.iter().all(|line| line == "GET /app.zip HTTP/1.1|304|0"), "{requests:?}");
    sandbox.zip("www/app.zip", &[("version", "v2")]);
    container.signal("USR1");
    container.until(DEPLOYED);
    assert_eq!(fs::read_to_string(image.root.join("var/deploy/current/version")).unwrap(), "v2");
    container.signal("TERM");
    container.end().expect(0);
}
