//! What others may not read in a directory that is the remote, they cannot read where it is deployed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::needs::{leave_out, needs};
use crate::support::phrases::{DEPLOYED, deployed_revision};
use crate::support::sandbox::{Sandbox, tree};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with something for all, for the group and for its owner.
fn site(sandbox: &Sandbox) -> String {
    sandbox.write("site/index", "all");
    chmod(&sandbox.write("site/group", "members"), 0o640);
    chmod(&sandbox.write("site/key", "secret"), 0o4600);
    chmod(&sandbox.write("site/lib/part", "inner"), 0o644);
    chmod(&sandbox.path("site/lib"), 0o2750);
    sandbox.path("site").to_str().unwrap().to_owned()
}

/// As it is deployed.
const LIVE: [(&str, &str); 5] = [
    ("group", "f 640 members"),
    ("index", "f 644 all"),
    ("key", "f 600 secret"),
    ("lib", "d 750"),
    ("lib/part", "f 640 inner"),
];

fn is_deployed(sandbox: &Sandbox, way: &str) {
    let live: Vec<_> = tree(&sandbox.local()).into_iter().filter(|(name, _)| !name.starts_with(".repo")).collect();
    assert_eq!(live, LIVE.map(|(name, what)| (name.to_owned(), what.to_owned())), "{way}");
}

#[test]
fn private_files_stay_private_in_each_way_and_are_verified_and_repaired_as_that() {
    for way in ["symlink", "in-place"] {
        let sandbox = Sandbox::new();
        let remote = site(&sandbox);
        if way == "in-place" {
            fs::create_dir(sandbox.local()).unwrap();
        }
        let arguments = ["--remote", remote.as_str()];
        let says = |words: &[&str], code: i32| {
            let run: crate::support::sandbox::Run = sandbox.saying(words, &arguments).output().unwrap().into();
            run.expect(code)
        };
        let run: crate::support::sandbox::Run = sandbox.command(&arguments).output().unwrap().into();
        run.expect(0).says("others may not read 4 of its entries there");
        is_deployed(&sandbox, way);
        says(&["verify"], 0);
        chmod(&sandbox.local().join("key"), 0o644);
        assert!(says(&["verify"], 1).out.contains("key"), "{way}");
        says(&["verify", "--repair"], 0);
        is_deployed(&sandbox, way);
        // Nobody else reads it, wherever it lies.
        let found = Command::new("find").arg(sandbox.path("deploy")).args(["-name", "key", "-perm", "/077"]).output();
        assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "", "{way}");
    }
}

#[test]
fn a_file_becomes_private_or_public_then_that_is_news() {
    let sandbox = Sandbox::new();
    let remote = site(&sandbox);
    sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("tree:"));
    for (mode, live) in [(0o600, "f 600 all"), (0o640, "f 640 all"), (0o644, "f 644 all")] {
        chmod(&sandbox.path("site/index"), mode);
        sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("tree:"));
        assert_eq!(tree(&sandbox.local())["index"], live);
    }
    // Bits that are not published are none.
    chmod(&sandbox.path("site/index"), 0o4666);
    sandbox.deploy(&remote, &[]).expect(0).never_says(DEPLOYED);
    // Whoever may not enter the directory may not read what is in it.
    chmod(&sandbox.path("site"), 0o700);
    sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("tree:"));
    assert_eq!(tree(&sandbox.local())["index"], "f 600 all");
}

#[test]
fn an_archive_has_the_modes_it_always_had() {
    let sandbox = Sandbox::new();
    let zip = sandbox.zip("app.zip", &[("file", "one"), ("run", "#!/bin/sh")]);
    chmod(&zip, 0o600);
    sandbox.deploy(zip.to_str().unwrap(), &[]).expect(0);
    let live = tree(&sandbox.local());
    assert_eq!([live["file"].as_str(), live["run"].as_str()], ["f 644 one", "f 755 #!/bin/sh"]);
}

/// Sets an ACL; false where this file system has none.
fn setfacl(path: &Path, entries: &str) -> bool {
    Command::new("setfacl").args(["-m", entries]).arg(path).output().unwrap().status.success()
}

#[test]
fn an_acl_lets_another_user_read_then_the_group_may_still_not() {
    needs!("setfacl");
    let sandbox = Sandbox::new();
    let remote = site(&sandbox);
    // The mask of an ACL stands where the group's bits are: 0640, and the group may nothing.
    if !setfacl(&sandbox.path("site/key"), "u:daemon:r") {
        return leave_out("no ACLs here");
    }
    for (name, entries) in [("inner/part", "g::-,u:daemon:r"), ("group", "g::r,u:daemon:r"), ("inner", "u:daemon:rx")] {
        let path =
            if name == "inner/part" { sandbox.write("site/inner/part", "x") } else { sandbox.path("site").join(name) };
        if name != "group" {
            chmod(&path, if path.is_dir() { 0o700 } else { 0o640 });
        }
        assert!(setfacl(&path, entries));
    }
    let mode = |name: &str| fs::metadata(sandbox.path("site").join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("key"), mode("group"), mode("inner")], [0o4640, 0o640, 0o750], "they look like the group's");
    sandbox.deploy(&remote, &[]).expect(0).says("others may not read 6 of its entries there");
    let live = tree(&sandbox.local());
    let got = ["key", "group", "inner", "inner/part", "lib"].map(|name| live[name].as_str());
    assert_eq!(got, ["f 600 secret", "f 640 members", "d 700", "f 600 x", "d 750"]);
    // The group's own entry is none of the mode: it changes, and that is news.
    assert!(setfacl(&sandbox.path("site/key"), "g::r"));
    assert!(setfacl(&sandbox.path("site/inner"), "g::rx"));
    sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("tree:"));
    let live = tree(&sandbox.local());
    assert_eq!([live["key"].as_str(), live["inner"].as_str()], ["f 640 secret", "d 750"]);
    // Where only the mask is less, that is what the group may.
    assert!(setfacl(&sandbox.path("site/key"), "m::-"));
    sandbox.deploy(&remote, &[]).expect(0).says(&deployed_revision("tree:"));
    assert_eq!(tree(&sandbox.local())["key"], "f 600 secret");
}
