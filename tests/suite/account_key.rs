//! `.amazon/account-key` of the user deploy and our own. The user deploy is one of a /etc/passwd that only the binary sees.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::aws::{OFF, World, mode, private};
use super::http::live;
use crate::support::moto::Keys;
use crate::support::needs::needs;
use crate::support::phrases::{
    ASKED_AS, BELONGS_TO, CANNOT_READ, CANNOT_USE, CREDENTIALS_OF, IS_A_DIRECTORY, OTHERS_MAY_WRITE,
};
use crate::support::sandbox::{Run, Sandbox};

const DEPLOY: u32 = 4321;
const NOBODY: u32 = 65_534;

fn text(keys: &Keys) -> String {
    format!("# made by hand\naccessKey={}\nsecretKey = {}\n", keys.id, keys.secret)
}

/// `<sandbox>/srv/deploy`, the home of the user deploy.
fn home_of_deploy(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("srv/deploy")
}

fn key_of_deploy(sandbox: &Sandbox, text: impl AsRef<[u8]>) -> PathBuf {
    private(sandbox, home_of_deploy(sandbox).join(".amazon/account-key"), text)
}

/// One check of `private/app.zip` where the user deploy is known. `None`: that takes root.
fn check(world: &World, sandbox: &Sandbox, uid: u32) -> Option<Run> {
    needs!(root, "unshare", "mount");
    let home = home_of_deploy(sandbox);
    let line = format!("root:x:0:0::/root:/bin/sh\ndeploy:x:{DEPLOY}:{DEPLOY}::{}:/bin/sh\n", home.display());
    let passwd = sandbox.write("passwd", line);
    sandbox.write("repo-deploy.cfg", format!("s3-endpoint = {}\n", world.moto.url()));
    let script =
        "mount --bind \"$0\" /etc/passwd && exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups \"${@:2}\"";
    let inner = sandbox.command(&["-v", "--remote", "s3://private/app.zip"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script]).arg(passwd).arg(uid.to_string());
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env(OFF.0, OFF.1);
    Some(command.current_dir("/").process_group(0).output().unwrap().into())
}

/// The one line that says why nothing was deployed.
#[track_caller]
fn refusal(run: Run) -> String {
    let run = run.expect(1);
    let lines = run.complaints();
    assert!(lines.len() == 1 && lines[0].contains(" ERROR "), "{}", run.log);
    lines[0].to_owned()
}

#[test]
fn deploys_own_file_comes_before_ours_and_a_broken_one_is_not_passed_over() {
    let Some(world) = World::new() else { return };
    let (good, poor) = (world.moto.keys.clone(), world.moto.poor.clone());
    let sandbox = Sandbox::new();
    let ours = private(&sandbox, "home/.amazon/account-key", text(&good));
    let Some(run) = check(&world, &sandbox, 0) else { return };
    run.expect(0).says(&format!("{CREDENTIALS_OF} {}", ours.display()));
    assert_eq!(live(&sandbox), "through S3");

    // Ours would do. His is asked first, and what it has is of no use.
    let sandbox = Sandbox::new();
    private(&sandbox, "home/.amazon/account-key", text(&good));
    let his = key_of_deploy(&sandbox, text(&poor));
    let line = refusal(check(&world, &sandbox, 0).unwrap());
    assert!(line.contains(&format!("{ASKED_AS} {}, which comes from {}", poor.id, his.display())), "{line}");

    for (broken, words) in [
        ("secretKey=canary/half\n", "it has no line accessKey=…"),
        ("accessKey=AKIA\nsecretKey=\n", "it has no line secretKey=…"),
        ("accessKey=AKIA\nsecretKey=canary two\n", "its secret key has characters that no key has, or none"),
    ] {
        std::fs::write(&his, broken).unwrap();
        let line = refusal(check(&world, &sandbox, 0).unwrap());
        let what = format!("{CANNOT_USE} account-key {}: {words}", his.display());
        assert!(line.contains(&what) && !line.contains("canary"), "{line}");
    }

    // And the other way round.
    let sandbox = Sandbox::new();
    private(&sandbox, "home/.amazon/account-key", text(&poor));
    let his = key_of_deploy(&sandbox, text(&good));
    check(&world, &sandbox, 0).unwrap().expect(0).says(&format!("{CREDENTIALS_OF} {}", his.display()));
    assert_eq!(live(&sandbox), "through S3");
}

#[test]
fn the_user_deploy_may_write_his_file_and_nobody_else_may() {
    let Some(world) = World::new() else { return };
    let sandbox = Sandbox::new();
    let his = key_of_deploy(&sandbox, text(&world.moto.keys));
    for path in his.ancestors().take(3) {
        chown(path, Some(DEPLOY), Some(DEPLOY)).unwrap();
    }
    let Some(run) = check(&world, &sandbox, 0) else { return };
    assert_eq!(run.expect(0).complaints(), Vec::<&str>::new());

    let sandbox = Sandbox::new();
    let his = key_of_deploy(&sandbox, text(&world.moto.keys));
    chown(&his, Some(NOBODY), None).unwrap();
    let line = refusal(check(&world, &sandbox, 0).unwrap());
    assert!(line.contains(&format!("{CANNOT_READ} account-key {}", his.display())), "{line}");
    assert!(line.contains(&format!("{BELONGS_TO} 65534")), "{line}");
    chown(&his, Some(0), None).unwrap();
    mode(&his, 0o620);
    chown(&his, None, Some(NOBODY)).unwrap();
    let line = refusal(check(&world, &sandbox, 0).unwrap());
    assert!(line.contains(OTHERS_MAY_WRITE) && line.contains("chmod go-w"), "{line}");
}

#[test]
fn others_may_read_it_then_it_deploys_with_one_warning() {
    let Some(world) = World::new() else { return };
    for is_his in [true, false] {
        let sandbox = Sandbox::new();
        let text = text(&world.moto.keys);
        let path =
            if is_his { key_of_deploy(&sandbox, text) } else { private(&sandbox, "home/.amazon/account-key", text) };
        mode(&path, 0o644);
        let Some(run) = check(&world, &sandbox, 0) else { return };
        let run = run.expect(0);
        let lines = run.complaints();
        assert!(lines.len() == 1 && lines[0].contains(" WARN "), "{}", run.log);
        assert!(lines[0].contains(&format!("chmod 600 {}", path.display())), "{}", lines[0]);
        assert!(!run.log.contains(&world.moto.keys.secret));
    }
}

#[test]
fn it_cannot_be_read_then_one_line_says_which_and_why() {
    let Some(world) = World::new() else { return };
    // By a user who is not root: what is not his is not readable, and who has no way to a home does not look there.
    let sandbox = Sandbox::new();
    for dir in ["", "cache", "deploy", "home"] {
        chown(sandbox.path(dir), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let his = key_of_deploy(&sandbox, text(&world.moto.poor));
    let Some(run) = check(&world, &sandbox, NOBODY) else { return };
    let line = refusal(run);
    assert!(line.contains(&format!("{CANNOT_READ} account-key {}: permission denied", his.display())), "{line}");
    std::fs::set_permissions(his.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let ours = private(&sandbox, "home/.amazon/account-key", text(&world.moto.keys));
    chown(&ours, Some(NOBODY), None).unwrap();
    check(&world, &sandbox, NOBODY).unwrap().expect(0).says(&format!("{CREDENTIALS_OF} {}", ours.display()));

    let make_directory = |path: &Path| std::fs::create_dir_all(path).unwrap();
    let write_bytes = |path: &Path| {
        make_directory(path.parent().unwrap());
        std::fs::write(path, b"accessKey=\xff\n").unwrap();
        mode(path, 0o600);
    };
    for (make, words) in [(&make_directory as &dyn Fn(&Path), IS_A_DIRECTORY), (&write_bytes, "it is not UTF-8")] {
        let sandbox = Sandbox::new();
        let path = home_of_deploy(&sandbox).join(".amazon/account-key");
        make(&path);
        let line = refusal(check(&world, &sandbox, 0).unwrap());
        assert!(line.contains(&format!("{CANNOT_READ} account-key {}: {words}", path.display())), "{line}");
    }
}
