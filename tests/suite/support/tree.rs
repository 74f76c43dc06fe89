//! All that can be said about a tree: content, mode, owner, times of files and links, ACLs and every other attribute.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything below `root`: path -> `f 644 0:0 content {attributes} @time`. Directories have no time: what is made and
/// removed in them changes it.
pub fn everything(root: &Path) -> BTreeMap<String, String> {
    fn walk(dir: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
            let meta = fs::symlink_metadata(&path).unwrap();
            let (mode, owner) = (meta.mode() & 0o7777, format!("{}:{}", meta.uid(), meta.gid()));
            let time = format!("@{}.{:09}", meta.mtime(), meta.mtime_nsec());
            let line = if meta.is_dir() {
                walk(&path, &format!("{name}/"), into);
                format!("d {mode:o} {owner} {}", attributes(&path))
            } else if meta.is_symlink() {
                format!("l {owner} {} {time}", fs::read_link(&path).unwrap().display())
            } else if meta.is_file() {
                let content = fs::read(&path).unwrap();
                format!("f {mode:o} {owner} {} {} {time}", String::from_utf8_lossy(&content), attributes(&path))
            } else {
                format!("other {mode:o} {owner}")
            };
            into.insert(name, line);
        }
    }
    let mut found = BTreeMap::new();
    walk(root, "", &mut found);
    found
}

/// The same, less the times: those of new files are those of unpacking.
pub fn without_times(tree: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let cut = |line: &String| line.rsplit_once(" @").map_or(line.clone(), |(line, _)| line.to_owned());
    tree.iter().map(|(path, line)| (path.clone(), cut(line))).collect()
}

/// `{name=hex}`, sorted.
fn attributes(path: &Path) -> String {
    let hex = |value: Vec<u8>| value.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let all = read_attributes(path);
    let mut all: Vec<_> =
        all.into_iter().map(|(name, value)| format!("{}={}", String::from_utf8_lossy(&name), hex(value))).collect();
    all.sort();
    format!("{{{}}}", all.join(" "))
}

/// The extended attributes, ACLs among them.
fn read_attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut buffer = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(&path, &mut buffer[..]) else { return Vec::new() };
    let names = buffer[..length].to_vec();
    let mut all = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(&path, name, &mut buffer[..]).unwrap();
        all.push((name.to_vec(), buffer[..length].to_vec()));
    }
    all
}

/// The manifest that a store should have of the tree below `root`. Its names hold nothing that would have to be escaped.
pub fn manifest(root: &Path) -> String {
    fn walk(dir: &Path, prefix: &str, lines: &mut String) {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let (path, name) = (dir.join(&name), format!("{prefix}{}", name.to_str().unwrap()));
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.mode() & 0o7777;
            if meta.is_dir() {
                lines.push_str(&format!("d\t{mode:o}\t{name}\n"));
                walk(&path, &format!("{name}/"), lines);
            } else if meta.is_symlink() {
                lines.push_str(&format!("l\t{}\t{name}\n", fs::read_link(&path).unwrap().display()));
            } else {
                let content = fs::read(&path).unwrap();
                let mut crc = flate2::Crc::new();
                crc.update(&content);
                lines.push_str(&format!("f\t{mode:o}\t{}\t{:08x}\t{name}\n", content.len(), crc.sum()));
            }
        }
    }
    let mut lines = String::new();
    walk(root, "", &mut lines);
    format!("manifest 1\n{lines}end\n")
}

/// Makes each of the directories `names` in `to` what it is in `from`. They, and a live tree in one, stay the directories that
/// they are: another one at the same place would be somebody else's.
pub fn put_back(names: &[&str], from: &Path, to: &Path) {
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let current = to.join("deploy/current");
    // A live tree that is a link, or another kind now, goes too.
    if !is_dir(&current) || !is_dir(&from.join("deploy/current")) {
        let _ = std::fs::remove_file(&current); // there may be none
        let _ = std::fs::remove_dir_all(&current); // see above
    }
    let mut links = BTreeMap::new();
    for (from, to) in names.iter().map(|name| (from.join(name), to.join(name))) {
        let is_there = from.exists();
        if to.exists() {
            empty(&to, is_there.then_some(&current));
        }
        if is_there {
            copy(&from, &to, &mut links);
        }
    }
}

/// Removes all below `dir` but the directory `stays`, which is emptied too.
fn empty(dir: &Path, stays: Option<&PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if stays == Some(&path) && path.symlink_metadata().unwrap().is_dir() {
            empty(&path, None);
        } else if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
    }
}

/// Copies `from` with all that can be said about it, as `cp -a` does; `links` has the copies of files of several names.
fn copy(from: &Path, to: &Path, links: &mut BTreeMap<(u64, u64), PathBuf>) {
    let meta = from.symlink_metadata().unwrap();
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if meta.is_dir() {
        if !to.exists() {
            fs::create_dir(to).unwrap();
        }
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name), links);
        }
    } else {
        assert!(meta.is_file(), "{}", from.display());
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            return fs::hard_link(first, to).unwrap();
        }
        links.insert((meta.dev(), meta.ino()), to.to_owned());
        fs::copy(from, to).unwrap();
    }
    std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid())).unwrap();
    if !meta.is_symlink() {
        // After chown, which takes the bits of set-user-ID.
        fs::set_permissions(to, meta.permissions()).unwrap();
    }
    for (name, value) in read_attributes(from) {
        rustix::fs::lsetxattr(to, &name[..], &value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    let time = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    rustix::fs::utimensat(rustix::fs::CWD, to, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
