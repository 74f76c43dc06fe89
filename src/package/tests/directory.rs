//! Directories of this host, under the same policy.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;
use crate::artifact::{Access, EntrySum, Folder};

fn copy(scratch: &Scratch, layout: &Layout) -> Result<Tree> {
    let dir = Dir::open(&scratch.path("source")).unwrap();
    scratch.unpack(Content::Directory(Folder { dir, sums: None }), layout).map(|_| tree(&scratch.path("staging")))
}

/// A scratch directory with a `source` made by `fill`.
fn source(fill: impl FnOnce(&Path)) -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("source")).unwrap();
    fill(&scratch.path("source"));
    scratch
}

fn write(path: PathBuf, content: &str, mode: u32) {
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_is_copied_as_a_zip_would_be() {
    let scratch = source(|top| {
        fs::create_dir_all(top.join("d/e")).unwrap();
        write(top.join("d/run"), "x", 0o4755);
        write(top.join("d/e/file"), "y", 0o4606);
        write(top.join("wide"), "z", 0o666);
        fs::set_permissions(top.join("d/e"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::hard_link(top.join("wide"), top.join("twin")).unwrap();
        symlink("d/run", top.join("link")).unwrap();
        symlink("../wide", top.join("d/up")).unwrap();
    });
    let expected = [
        "d 755 d",
        "d 755 d/e",
        "f 644 d/e/file y",
        "f 755 d/run x",
        "l d/up -> ../wide",
        "l link -> d/run",
        "f 644 twin z",
        "f 644 wide z",
    ];
    assert_eq!(lines(&copy(&scratch, &layout()).unwrap()), expected);
    let twin = fs::metadata(scratch.path("staging/twin")).unwrap();
    assert_eq!(twin.nlink(), 1);
    let stripped = copy(&scratch, &Layout { strip_components: 1, ..layout() });
    refused(stripped, "member d/up: a link to ../wide, which leads outside");
}

#[test]
fn components_of_a_directory_are_stripped() {
    let scratch = source(|top| {
        fs::create_dir_all(top.join("a/b")).unwrap();
        write(top.join("a/b/c"), "x", 0o644);
        write(top.join("gone"), "y", 0o644);
    });
    let strip = |n| Layout { strip_components: n, ..layout() };
    assert_eq!(lines(&copy(&scratch, &strip(1)).unwrap()), ["d 755 b", "f 644 b/c x"]);
    assert_eq!(lines(&copy(&scratch, &strip(2)).unwrap()), ["f 644 c x"]);
    refused(copy(&scratch, &strip(3)), "strip-components = 3 leaves nothing of it");
}

#[test]
fn what_cannot_be_copied_is_refused_by_name_and_never_opened() {
    let fifo = source(|top| {
        let made = std::process::Command::new("mkfifo").arg(top.join("fifo")).status().unwrap();
        assert!(made.success());
    });
    // Opening it would wait for a writer forever.
    refused(copy(&fifo, &layout()), "member fifo: it is a FIFO, a socket or a device");
    let socket = source(|top| {
        fs::create_dir(top.join("d")).unwrap();
        UnixListener::bind(top.join("d/socket")).unwrap();
    });
    refused(copy(&socket, &layout()), "member d/socket: it is a FIFO, a socket or a device");
}

#[test]
fn the_policy_holds_for_directories_too() {
    let out = source(|top| symlink("/etc/passwd", top.join("l")).unwrap());
    refused(copy(&out, &layout()), "member l: a link to /etc/passwd, which is absolute");
    refused(copy(&out, &Layout { symlinks: Links::Refuse, ..layout() }), "member l: it is a symbolic link (symlinks");
    let name = source(|top| write(top.join("srv-my\\x2dapp.mount"), "x", 0o644));
    assert_eq!(lines(&copy(&name, &layout()).unwrap()), ["f 644 srv-my\\x2dapp.mount x"]);
    let bytes = source(|top| write(top.join(std::ffi::OsStr::from_bytes(b"a\xff")), "", 0o644));
    refused(copy(&bytes, &layout()), "not UTF-8");
    let deep = source(|top| fs::create_dir_all(top.join(vec!["d"; 65].join("/"))).unwrap());
    refused(copy(&deep, &layout()), "more than 64 directories deep");
    let many = source(|top| (0..4).for_each(|n| write(top.join(n.to_string()), "xx", 0o644)));
    refused(copy(&many, &Layout { max_files: 3, ..layout() }), "max-files = 3");
    refused(copy(&many, &Layout { max_unpacked: 7, ..layout() }), "max-unpacked = 7 B");
    assert_eq!(copy(&many, &Layout { max_files: 4, max_unpacked: 8, ..layout() }).unwrap().len(), 4);
    refused(copy(&source(|_| {}), &layout()), "there is nothing in it");
}

#[test]
fn a_link_in_the_source_is_never_followed() {
    let scratch = source(|top| {
        fs::create_dir(top.join("real")).unwrap();
        write(top.join("real/file"), "x", 0o644);
        symlink("real", top.join("dir")).unwrap();
    });
    assert_eq!(lines(&copy(&scratch, &layout()).unwrap()), ["l dir -> real", "d 755 real", "f 644 real/file x"]);
}

#[test]
fn a_large_file_is_copied_whole() {
    let content = "0123456789abcdef".repeat(40_000);
    let scratch = source(|top| write(top.join("large"), &content, 0o755));
    assert!(copy(&scratch, &layout()).unwrap()[&b"large"[..]].content == content.as_bytes());
}

#[test]
fn what_others_may_not_read_they_may_not_read_in_the_copy() {
    let modes = |top: &Path, list: &[(&str, u32)]| {
        for (name, mode) in list {
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(*mode)).unwrap();
        }
    };
    let scratch = source(|top| {
        for (name, mode) in [("all", 0o664), ("group", 0o4640), ("own", 0o600), ("run", 0o750), ("tool", 0o711)] {
            write(top.join(name), "", mode);
        }
        for dir in ["listed", "members", "mine", "passed"] {
            fs::create_dir(top.join(dir)).unwrap();
            write(top.join(dir).join("all"), "", 0o644);
            write(top.join(dir).join("own"), "", 0o600);
        }
        modes(top, &[("listed", 0o744), ("members", 0o2770), ("mine", 0o700), ("passed", 0o711)]);
    });
    let expected = [
        "f 644 all ",
        "f 640 group ",
        "d 700 listed",
        "f 600 listed/all ",
        "f 600 listed/own ",
        "d 750 members",
        "f 640 members/all ",
        "f 600 members/own ",
        "d 700 mine",
        "f 600 mine/all ",
        "f 600 mine/own ",
        "f 600 own ",
        "d 700 passed", // its names are not public, but its entries can be reached
        "f 644 passed/all ",
        "f 600 passed/own ",
        "f 750 run ",
        "f 700 tool ",
    ];
    assert_eq!(lines(&copy(&scratch, &layout()).unwrap()), expected);
    // A directory that other users cannot pass protects its content: the top, and those that strip-components removes.
    let stripped = source(|top| {
        for dir in ["mine", "passed"] {
            fs::create_dir(top.join(dir)).unwrap();
            write(top.join(dir).join(dir), "", 0o644);
        }
        modes(top, &[("mine", 0o700), ("passed", 0o711)]);
    });
    let strip = Layout { strip_components: 1, ..layout() };
    assert_eq!(lines(&copy(&stripped, &strip).unwrap()), ["f 600 mine ", "f 644 passed "]);
    let private = source(|top| {
        write(top.join("all"), "", 0o644);
        fs::create_dir(top.join("d")).unwrap();
        modes(top, &[("", 0o750)]);
    });
    assert_eq!(lines(&copy(&private, &layout()).unwrap()), ["f 640 all ", "d 750 d"]);
}

/// The checksum of an entry.
fn sum(path: &str, content: &str) -> u32 {
    let mut sum = EntrySum::new(path.as_bytes(), false, Access::All);
    sum.update(content.as_bytes());
    sum.finish()
}

#[test]
fn what_is_copied_is_what_was_read_before() {
    let fill = |top: &Path| {
        write(top.join("a"), "one", 0o644);
        fs::create_dir(top.join("d")).unwrap();
        symlink("../a", top.join("d/link")).unwrap();
    };
    let copied = |sums: &[u32], strip_components| {
        let scratch = source(fill);
        let folder = Folder { dir: Dir::open(&scratch.path("source")).unwrap(), sums: Some(sums.to_vec()) };
        scratch.unpack(Content::Directory(folder), &Layout { strip_components, ..layout() }).map(|_| ())
    };
    let (a, link) = (sum("a", "one"), sum("d/link", "../a"));
    copied(&[a, link], 0).unwrap();
    for other in [
        &[sum("a", "two"), link][..], // another content of this size
        &[a, sum("d/link", "../b")],  // another target
        &[sum("b", "one"), link],     // another name
        &[a],                         // one more
        &[a, link, link],             // one less
        &[],
    ] {
        let error = copied(other, 0).unwrap_err();
        assert_eq!(error.kind(), Kind::Superseded, "{error}");
        assert!(error.to_string().ends_with("it changed while it was copied"), "{error}");
    }
    // Entries that are not copied affect the order too.
    assert_eq!(copied(&[link, a], 1).unwrap_err().kind(), Kind::Superseded);
}
