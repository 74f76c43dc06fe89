use super::*;
use crate::sys::fs::unique_name;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = fs::canonicalize(std::env::temp_dir()).unwrap().join(unique_name("repo-deploy-resolve-").unwrap());
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn dir(&self, name: &str, mode: u32) {
        fs::create_dir_all(self.at(name)).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(&self, name: &str, mode: u32) {
        fs::write(self.at(name), name).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn why(&self, name: &str) -> Option<String> {
        untrusted_reason(&self.at(name)).unwrap().map(|untrusted| untrusted.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a leftover in /tmp is no failure of the test
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every way to the same file, some of them through a directory that others may write.
#[test]
fn distrust_names_what_others_can_turn() {
    let root = Scratch::new();
    for (name, mode) in [("closed", 0o755), ("closed/inner", 0o755), ("open", 0o777), ("sticky", 0o1777)] {
        root.dir(name, mode);
    }
    root.file("closed/file", 0o755);
    root.file("loose", 0o666);
    let file = root.at("closed/file");
    for (link, target) in [
        ("direct", "closed/file"),
        ("dots", "./closed/inner/../file"),
        ("chain", "sticky/absolute"),
        ("sticky/absolute", file.to_str().unwrap()),
        ("open/turn", "../closed/file"),
        ("by-open", "./open/turn"),
        ("open-dir", "open"),
        ("circle", "circle"),
    ] {
        symlink(target, root.at(link)).unwrap();
    }
    for name in ["closed", "closed/file", "direct", "dots", "chain", "closed/inner/../../direct", "sticky/../direct"] {
        assert_eq!(root.why(name), None, "{name}");
    }
    for (name, culprit) in [
        ("open", "open"),
        ("sticky", "sticky"),
        ("loose", "loose"),
        ("open/turn", "open"),
        ("by-open", "open"),
        ("open-dir/turn", "open"),
    ] {
        let expected = format!("others may write {0}: chmod go-w {0}", root.at(culprit).display());
        assert_eq!(root.why(name), Some(expected), "{name}");
    }
    assert!(untrusted_reason(&root.at("circle")).is_err());
    assert_eq!(untrusted_reason(&root.at("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(matches!(find(&root.at("loose/x"), Way::Any, Last::Follow), Err(Fault::Io(_))));
}

#[test]
fn a_friend_may_change_what_is_his_and_nothing_else() {
    if !is_root() {
        return; // only root can give files away
    }
    let root = Scratch::new();
    root.dir("home", 0o775);
    root.file("home/key", 0o664);
    for name in ["home", "home/key"] {
        std::os::unix::fs::chown(root.at(name), Some(1234), Some(1235)).unwrap();
    }
    let read = |friend| read_file(&root.at("home/key"), Way::Trusted, Us::with(friend), 100);
    assert_eq!(read(Some((1234, 1235))).unwrap().0, b"home/key");
    let words = |friend| read(friend).unwrap_err().to_string();
    assert!(words(None).contains("belongs to user 1234"));
    assert!(words(Some((1, 1235))).contains("belongs to user 1234"));
    assert!(words(Some((1234, 1))).contains("others may write"));
    assert!(read_file(&root.at("home/key"), Way::Trusted, Us::with(Some((1234, 1235))), 7).is_err(), "too large");
}

#[test]
fn links_of_others_are_never_followed_on_any_way() {
    if !is_root() {
        return; // see above
    }
    let root = Scratch::new();
    root.dir("his", 0o755);
    std::os::unix::fs::chown(root.at("his"), Some(1234), None).unwrap();
    root.dir("secret/deep", 0o755);
    root.file("secret/deep/file", 0o600);
    for (link, target, owner) in [
        ("his/planted", "../secret", 1234),
        ("his/ours", "../secret", 0),
        ("his/planted-file", "../secret/deep/file", 1234),
        ("hop", "his/planted", 0),
    ] {
        symlink(target, root.at(link)).unwrap();
        std::os::unix::fs::lchown(root.at(link), Some(owner), None).unwrap();
    }
    for (name, owner) in [
        ("his/planted/deep/file", Some(1234)),
        ("his/planted-file", Some(1234)),
        ("hop/deep/file", Some(1234)),
        ("his/../his/planted/deep", Some(1234)),
        ("his/ours/deep/file", None),
        ("his/ours/../his/ours/deep", None),
    ] {
        for last in [Last::Follow, Last::Stay] {
            // With `Stay`, the caller replaces the link at the end, and it is not followed.
            let owner = owner.filter(|_| last == Last::Follow || name != "his/planted-file");
            match (find(&root.at(name), Way::Any, last), owner) {
                (Err(Fault::Untrusted(untrusted)), Some(owner)) => {
                    assert_eq!(untrusted.writer, trust::Writer::Link(owner), "{name}");
                }
                (Ok(place), None) => assert!(!place.is_ours_alone, "{name}"),
                (found, _) => panic!("{name} {last:?}: {found:?}"),
            }
        }
    }
    let place = find(&root.at("his/ours/deep/file"), Way::Any, Last::Follow).unwrap();
    assert_eq!(place.path, root.at("secret/deep/file"));
    assert_eq!(place.open_file().unwrap().1.mode, 0o600);
}

#[test]
fn an_acl_that_lets_others_write_is_no_trust() {
    let root = Scratch::new();
    root.dir("hooks", 0o755);
    root.file("hooks/10-gate", 0o755);
    let set = |args: &[&str], name: &str| {
        Command::new("setfacl").args(args).arg(root.at(name)).status().is_ok_and(|status| status.success())
    };
    if !set(&["-m", "u:65534:rwx"], "hooks/10-gate") {
        return; // no setfacl, or a file system without ACLs; tests/suite has it with the ordinary parts
    }
    assert_eq!(fs::metadata(root.at("hooks/10-gate")).unwrap().mode() & 0o777, 0o775, "the mode shows the mask");
    assert!(root.why("hooks/10-gate").unwrap().contains("setfacl -x u:65534"));
    assert!(set(&["-m", "m::rx"], "hooks/10-gate"));
    assert_eq!(root.why("hooks/10-gate"), None, "masked");
    assert!(set(&["-d", "-m", "u:65534:rwx"], "hooks"));
    assert!(root.why("hooks").unwrap().contains("setfacl -d -x u:65534"));
    assert_eq!(root.why("hooks/10-gate"), None, "what is there already is not concerned");
}

#[test]
fn what_is_missing_is_made_and_everybody_may_enter_it() {
    let root = Scratch::new();
    for _ in 0..2 {
        let place = make_dirs(&root.at("a/b/../c/d"), Way::Trusted).unwrap();
        assert_eq!(place.path, root.at("a/c/d"));
        assert_eq!(place.open_dir().unwrap().meta().unwrap().mode, 0o755);
    }
    root.file("a/file", 0o644);
    assert!(make_dirs(&root.at("a/file/x"), Way::Trusted).is_err());
    root.dir("a/open", 0o777);
    assert!(matches!(make_dirs(&root.at("a/open/x"), Way::Trusted), Err(Fault::Untrusted(_))));
    assert!(!root.at("a/open/x").exists());
    assert!(matches!(make_dirs(&root.at("a/open/x"), Way::Shared), Err(Fault::Untrusted(_))), "it is no mount");
}

#[test]
fn a_file_with_another_name_is_not_appended_to_where_others_can_give_names() {
    let root = Scratch::new();
    root.dir("open", 0o777);
    root.file("victim", 0o600);
    fs::hard_link(root.at("victim"), root.at("open/log")).unwrap();
    let append = |name: &str| find(&root.at(name), Way::Any, Last::Follow).unwrap().append(0o640);
    assert!(append("open/log").is_err());
    assert!(append("victim").is_ok(), "nobody else can have given it a name");
    assert!(append("open/new").is_ok() && append("open/new").is_ok());
}

#[test]
fn directories_are_passed_once_until_they_are_forgotten_and_never_those_that_others_may_turn() {
    let root = Scratch::new();
    let is_there = |name: &str| find(&root.at(name), Way::Any, Last::Stay).unwrap().meta.is_some();
    for (top, mode, is_kept) in [("closed", 0o755, true), ("open", 0o777, false)] {
        root.dir(&format!("{top}/inner"), 0o755);
        root.dir(top, mode);
        let (before, after) = (format!("{top}/inner/before"), format!("{top}/inner/after"));
        root.file(&before, 0o644);
        remember();
        assert!(is_there(&before) && !is_there(&after));
        fs::rename(root.at(top), root.at("away")).unwrap();
        root.dir(&format!("{top}/inner"), 0o755);
        root.file(&after, 0o644);
        assert_eq!((is_there(&before), is_there(&after)), (is_kept, !is_kept), "{top}");
        remember(); // it goes on
        assert_eq!(is_there(&after), !is_kept, "{top}");
        forget();
        assert!(!is_there(&before) && is_there(&after), "{top}");
        fs::remove_dir_all(root.at("away")).unwrap();
    }
}
