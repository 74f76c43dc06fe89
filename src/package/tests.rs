//! Unpacks archives that are built byte by byte, in this process: tests the accepted ones, the refused ones and their
//! messages, and that damage never results in another tree.

#![allow(
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "tests may say what they leave out, and clean up as well as they can"
)]

#[path = "../../tests/suite/support/rawzip.rs"]
mod rawzip;

mod damage;
mod delta;
mod directory;
mod hostile;
mod oracle;
mod ordinary;
mod sparse;
mod tar;
mod tar_oracle;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::artifact::{Artifact, HEAD, Sidecars, TAIL};
use crate::error::Kind;
use crate::model::{Links, Revision, Validators};
use crate::store::manifest::What;

/// An artifact without any check.
fn unasked(artifact: Artifact) -> Verified {
    verify(artifact, &Sidecars::default(), &Demands::default(), None, Deadline::after(Duration::ZERO)).unwrap()
}

/// A directory for one test; removed at its end.
struct Scratch(PathBuf, Cell<u32>);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("repo-deploy-unpack-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path, Cell::new(0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Unpacks `content` into a fresh staging directory.
    fn unpack(&self, content: Content, layout: &Layout) -> Result<Unpacked> {
        let staging = self.path("staging");
        let _ = fs::remove_dir_all(&staging); // missing the first time
        fs::create_dir(&staging).unwrap();
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o700)).unwrap();
        let (revision, validators) = (Revision::new("1"), Validators::default());
        let artifact = Artifact { revision, validators, content, crc: None, name: "https://host/app.zip".into() };
        let staging = Dir::open(&staging).unwrap();
        let (verified, deadline) = (unasked(artifact), Deadline::after(Duration::from_secs(600)));
        let done = unpack(&verified, Some(&staging), None, layout, deadline);
        if self.1.get() < 100 {
            match (unpack(&verified, None, None, layout, deadline), &done) {
                (Ok(told), Ok(done)) => assert!(told.manifest.is_same(&done.manifest).unwrap()),
                (Err(told), Err(done)) => assert_eq!(told.to_string(), done.to_string()),
                (told, _) => panic!("told {told:?}, done {done:?}"),
            }
        }
        done
    }

    /// Checks that the survey of an archive's directory agrees with `unpacked`, as far as the directory goes.
    fn glimpse(&self, bytes: &[u8], layout: &Layout, unpacked: &Result<Unpacked>) {
        let whole = self.path("archive");
        let Ok(Some(directory)) = directory_of(&File::open(&whole).unwrap(), "it") else { return };
        let (pieces, path) = (File::create(self.path("pieces")).unwrap(), self.path("pieces"));
        let (head, tail) = (HEAD.min(bytes.len() as u64), (bytes.len() as u64).saturating_sub(TAIL).min(directory));
        pieces.set_len(bytes.len() as u64).unwrap();
        for (at, end) in [(0, head), (tail, bytes.len() as u64)] {
            let piece = &bytes[usize::try_from(at).unwrap()..usize::try_from(end).unwrap()];
            pieces.write_all_at(piece, at).unwrap();
        }
        let pieces = File::open(path).unwrap();
        assert_eq!(directory_of(&pieces, "it").unwrap(), Some(directory));
        let look =
            |live: &Manifest| survey_directory(&pieces, "it", layout, live, Deadline::after(Duration::from_secs(600)));
        match unpacked {
            Ok(unpacked) => {
                let mut changes = 0;
                let told = look(&unpacked.manifest).unwrap();
                assert!(told.manifest.is_same(&unpacked.manifest).unwrap());
                assert_eq!((told.entries, told.bytes, told.space), (unpacked.entries, unpacked.bytes, unpacked.space));
                let items = unpacked.manifest.items().map(Result::unwrap);
                let links = items.filter(|item| matches!(item.what, What::Link { .. })).count();
                let told = look(&Manifest::default()).unwrap();
                let count = &mut |_, _: &Path| {
                    changes += 1;
                    Ok(())
                };
                told.manifest.changes_except(&unpacked.manifest, &[], count).unwrap();
                assert_eq!(changes, links, "a link is not known by its checksum alone");
            }
            Err(e) => {
                let told = look(&Manifest::default()).err().filter(|told| told.to_string() != e.to_string());
                assert!(told.is_none_or(|told| told.kind() == Kind::Refused));
            }
        }
    }

    /// Unpacks an archive of these bytes, and returns the tree.
    fn unzip(&self, bytes: &[u8], layout: &Layout) -> Result<Tree> {
        let path = self.path("archive");
        fs::write(&path, bytes).unwrap();
        let unpacked = self.unpack(Content::Archive(File::open(&path).unwrap()), layout);
        // In tests with thousands of archives, a sample is enough.
        self.1.set(self.1.get() + 1);
        if self.1.get() < 100 || self.1.get().is_multiple_of(61) {
            self.glimpse(bytes, layout, &unpacked);
        }
        let unpacked = unpacked?;
        let tree = tree(&self.path("staging"));
        assert_eq!(unpacked.entries, tree.len() as u64);
        let bytes: usize = tree.values().map(|node| if node.what == 'f' { node.content.len() } else { 0 }).sum();
        assert_eq!(unpacked.bytes, bytes as u64);
        assert_eq!(fs::metadata(self.path("staging")).unwrap().permissions().mode() & 0o7777, 0o755);
        Ok(tree)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a directory that stays costs space in /tmp, not the test
    }
}

/// An entry in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// `f`, `d` or `l`; `?` for other kinds.
    what: char,
    mode: u32,
    /// The content of a file, or the text of a link.
    content: Vec<u8>,
    owner: (u32, u32),
}

/// Paths and their entries.
type Tree = BTreeMap<Vec<u8>, Node>;

fn tree(root: &Path) -> Tree {
    fn walk(dir: &Path, prefix: &[u8], into: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = [prefix, entry.file_name().as_bytes()].concat();
            let meta = fs::symlink_metadata(&path).unwrap();
            let (what, content) = if meta.is_dir() {
                walk(&path, &[&name[..], b"/"].concat(), into);
                ('d', Vec::new())
            } else if meta.is_symlink() {
                ('l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if meta.is_file() {
                ('f', fs::read(&path).unwrap())
            } else {
                ('?', Vec::new())
            };
            let mode = if what == 'l' { 0 } else { meta.mode() & 0o7777 };
            into.insert(name, Node { what, mode, content, owner: (meta.uid(), meta.gid()) });
        }
    }
    let mut found = Tree::new();
    walk(root, b"", &mut found);
    found
}

/// A tree as lines: `d 755 a`, `f 644 a/b hello`, `l c -> a/b`.
fn lines(tree: &Tree) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    tree.iter()
        .map(|(path, node)| match node.what {
            'l' => format!("l {} -> {}", text(path), text(&node.content)),
            'f' => format!("f {:o} {} {}", node.mode, text(path), text(&node.content)),
            what => format!("{what} {:o} {}", node.mode, text(path)),
        })
        .collect()
}

fn layout() -> Layout {
    Layout::default()
}

#[test]
fn what_was_laid_out_is_counted_in_english() {
    for (entries, bytes, text) in
        [(0, 0, "0 entries, 0 bytes"), (1, 1, "1 entry, 1 byte"), (2, 30, "2 entries, 30 bytes")]
    {
        assert_eq!(Unpacked { entries, bytes, ..Unpacked::default() }.to_string(), text);
    }
}

/// Asserts that the result is a refusal on one line that contains `words`.
#[track_caller]
fn refused(result: Result<Tree>, words: &str) {
    let e = match result {
        Err(e) => e,
        Ok(tree) => panic!("it should be refused ({words}), but gave {:?}", lines(&tree)),
    };
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    let text = e.to_string();
    assert!(text.contains(words), "{text:?} should say {words:?}");
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    assert!(text.contains("https://host/app.zip"), "{text:?}");
}

/// Whether all these programs exist. With CI=true a missing one fails the test; elsewhere the test prints a note.
fn needs(programs: &[&str]) -> bool {
    let is_here = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).exists())
    };
    let missing: Vec<_> = programs.iter().filter(|p| !is_here(p)).collect();
    assert!(missing.is_empty() || std::env::var("CI").as_deref() != Ok("true"), "missing: {missing:?}");
    if !missing.is_empty() {
        eprintln!("left out, because these are missing: {missing:?}");
    }
    missing.is_empty()
}

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }
}
