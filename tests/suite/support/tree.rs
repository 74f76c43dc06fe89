//! All that can be said about a tree: content, mode, owner, times of files and links, ACLs and every other attribute.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut buffer = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(&path, &mut buffer[..]) else { return "{}".into() };
    let names = buffer[..length].to_vec();
    let mut all = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(&path, name, &mut buffer[..]).unwrap();
        let value: String = buffer[..length].iter().map(|b| format!("{b:02x}")).collect();
        all.push(format!("{}={value}", String::from_utf8_lossy(name)));
    }
    all.sort();
    format!("{{{}}}", all.join(" "))
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
    let script = "find \"$@\" -depth -mindepth 1 ! -path '*/deploy/current' -delete; cd \"$FROM\" && cp -a . \"$TO\"";
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let current = to.join("deploy/current");
    // A live tree that is a link, or another kind now, goes too.
    if !is_dir(&current) || !is_dir(&from.join("deploy/current")) {
        let _ = std::fs::remove_file(&current); // there may be none
        let _ = std::fs::remove_dir_all(&current); // see above
    }
    let places = names.iter().map(|name| to.join(name)).filter(|place| place.exists());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh"]).args(places).env("FROM", from).env("TO", to);
    assert!(shell.status().unwrap().success());
}
