//! What to do so that one tree becomes like another: pure, and all of it known before the first change. Both trees are sorted,
//! so what lies below a name is one piece of the list: it costs no more than looking each name up.

use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree};
use crate::error::Result;
use crate::sys::fs::{Kind, Meta};

/// What to do so that the one tree becomes like the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Files and links that make way for a directory.
    pub clear: Vec<&'a Entry>,
    /// Directories to make, parents first.
    pub make: Vec<&'a Entry>,
    /// Files to write and links to make.
    pub put: Vec<Put<'a>>,
    /// Entries that only lack the mode, or directories the owner.
    pub adjust: Vec<Adjust<'a>>,
    /// Entries to remove, children first.
    pub remove: Vec<&'a Entry>,
    /// What cannot be as it should: where it is, and what is in the way. Nothing else is planned for it.
    pub conflicts: Vec<Conflict>,
}

/// A file to write or a link to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// What is to be there.
    pub entry: &'a Entry,
    /// The directory that makes way.
    pub aside: Option<&'a Entry>,
}

/// An entry whose mode or owner changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjust<'a> {
    /// What is to be there.
    pub entry: &'a Entry,
    /// What is there.
    pub present: &'a Entry,
}

/// Something that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In words, with the path.
    pub text: String,
    /// What to do about it.
    pub way_out: String,
}

/// Compares two trees. `same` tells whether two files have the same content.
pub fn diff<'a>(
    want: &'a Tree,
    have: &'a Tree,
    preserve: &[PathBuf],
    mut same: impl FnMut(&Entry, &Entry) -> Result<bool>,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    // What lies in a directory that makes way goes with it.
    let mut is_aside = vec![false; have.0.len()];
    let mut blocked: Option<&Path> = None;
    for wanted in want.0.iter().filter(|entry| is_copied(entry)) {
        if blocked.is_some_and(|top| wanted.path.starts_with(top)) {
            continue;
        }
        let Some(at) = have.position(&wanted.path) else {
            match wanted.meta.kind {
                Kind::Dir => plan.make.push(wanted),
                _ => plan.put.push(Put { entry: wanted, aside: None }),
            }
            continue;
        };
        let present = &have.0[at];
        if let Some(conflict) = in_the_way(wanted, at, have, preserve) {
            plan.conflicts.push(conflict);
            blocked = Some(&wanted.path);
            continue;
        }
        let put = Put { entry: wanted, aside: None };
        match (wanted.meta.kind, present.meta.kind) {
            (Kind::Dir, Kind::Dir) => {}
            (Kind::Dir, _) => {
                plan.clear.push(present);
                plan.make.push(wanted);
                continue;
            }
            (_, Kind::Dir) => {
                is_aside[have.below(at)].fill(true);
                plan.put.push(Put { aside: Some(present), ..put });
                continue;
            }
            (Kind::File, Kind::File) if same(wanted, present)? => {}
            (Kind::Link, Kind::Link) if wanted.target == present.target => continue,
            _ => {
                plan.put.push(put);
                continue;
            }
        }
        let (w, p) = (&wanted.meta, &present.meta);
        if (w.mode, w.uid, w.gid) != (p.mode, p.uid, p.gid) {
            match is_another_files_too(w, p) {
                true => plan.put.push(put),
                false => plan.adjust.push(Adjust { entry: wanted, present }),
            }
        }
    }
    let is_ours_to_remove = |entry: &Entry| {
        entry.meta.kind != Kind::Other
            && !entry.mount
            && leads_to_preserved(entry, preserve).is_none()
            && want.find(&entry.path).is_none_or(|w| !is_copied(w))
    };
    let removable = have.0.iter().zip(is_aside).filter(|(entry, is_aside)| !is_aside && is_ours_to_remove(entry));
    plan.remove = removable.map(|(entry, _)| entry).collect();
    plan.remove.reverse();
    Ok(plan)
}

fn is_copied(entry: &Entry) -> bool {
    entry.meta.kind != Kind::Other && !entry.mount
}

/// Whether a file is not only this name's, so that a new one takes its place and it stays as it is. Another name of it may lie outside,
/// where nothing may change. And whoever could write it may hold it open still: what he writes later must not be in a file
/// that is another's, that he may not write any more, or that runs with another's rights.
fn is_another_files_too(wanted: &Meta, present: &Meta) -> bool {
    let changes_hands = (wanted.uid, wanted.gid) != (present.uid, present.gid);
    let was_open_to_others = present.mode & !wanted.mode & 0o022 != 0;
    let lends_rights = wanted.mode & 0o6000 != 0;
    present.kind == Kind::File && (present.links > 1 || changes_hands || was_open_to_others || lends_rights)
}

/// Why the entry `at` of `have` cannot become `wanted`.
fn in_the_way(wanted: &Entry, at: usize, have: &Tree, preserve: &[PathBuf]) -> Option<Conflict> {
    let present = &have.0[at];
    let path = present.path.display();
    if present.meta.kind == Kind::Other || present.mount {
        let what = if present.mount { "another file system is mounted" } else { "a FIFO, socket or device is" };
        return Some(Conflict {
            text: format!("{what} at {path}, where the release has something"),
            way_out: "move it away, or name it in preserve".to_owned(),
        });
    }
    if let Some(kept) = leads_to_preserved(present, preserve).filter(|_| wanted.target != present.target) {
        let kept = kept.display();
        return Some(Conflict {
            text: format!("{path} is a link, {kept} behind it must stay, and the release has something else there"),
            way_out: format!("name {path} in preserve"),
        });
    }
    if present.meta.kind != Kind::Dir || wanted.meta.kind == Kind::Dir {
        return None;
    }
    // A directory can make way for a file only when all that is in it may go.
    let is_inside = |path: &&PathBuf| path.starts_with(&present.path);
    let is_never_touched = |entry: &&Entry| entry.mount || entry.meta.kind == Kind::Other;
    let inside = || have.0[have.below(at)].iter().find(is_never_touched).map(|entry| &entry.path);
    let blocker = preserve.iter().find(is_inside).or_else(inside)?.display();
    Some(Conflict {
        text: format!("the release has a file where the directory {path} is, and {blocker} in it must stay"),
        way_out: format!("move {blocker} away, or name {path} in preserve"),
    })
}

/// What is preserved behind `entry`, when that is a link: without the link nobody finds it any more.
fn leads_to_preserved<'p>(entry: &Entry, preserve: &'p [PathBuf]) -> Option<&'p PathBuf> {
    preserve.iter().find(|path| entry.meta.kind == Kind::Link && path.starts_with(&entry.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: String, kind: Kind) -> Entry {
        let meta = Meta {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 1,
            allocated: 512,
            mtime: (0, 0),
            ctime: (0, 0),
            dev: 1,
            ino: 1,
            links: 1,
        };
        Entry { path: path.into(), meta, target: None, mount: false }
    }

    /// `directories` of two files each, and as many files of the same names.
    fn trees(directories: usize) -> (Tree, Tree) {
        let name = |n: usize| format!("some/directory/d{n:07}");
        let top = || ["some", "some/directory"].map(|path| entry(path.to_owned(), Kind::Dir)).into_iter();
        let want = top().chain((0..directories).map(|n| entry(name(n), Kind::File))).collect();
        let with = |n: usize| {
            let files = ["a", "b"].map(|file| entry(format!("{}/{file}", name(n)), Kind::File));
            std::iter::once(entry(name(n), Kind::Dir)).chain(files)
        };
        (Tree(want), Tree(top().chain((0..directories).flat_map(with)).collect()))
    }

    /// Nanoseconds of this thread at work.
    fn work() -> i128 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    }

    #[test]
    fn directories_that_become_files_cost_the_same_each_however_many_they_are() {
        let cost = |directories: usize| {
            let (want, have) = trees(directories);
            let measured = (0..3).map(|_| {
                let before = work();
                let plan = diff(&want, &have, &[], |_, _| Ok(true)).unwrap();
                assert_eq!((plan.put.len(), plan.remove.len(), plan.conflicts.len()), (directories, 0, 0));
                work() - before
            });
            measured.min().unwrap()
        };
        let (few, many) = (cost(2_100), cost(33_600)); // 100,800 entries
        // 16 times as many; were each held against all others it would be 256 times as much.
        assert!(many < few * 64, "{few} ns, {many} ns");
    }

    #[test]
    fn what_is_in_the_way_is_told_all_at_once_and_nothing_is_planned_for_it() {
        let want = ["dir", "dir/below", "fifo", "file", "z"]
            .map(|path| entry(path.to_owned(), if path == "dir" { Kind::Dir } else { Kind::File }));
        let have = [("dir", Kind::Other), ("fifo", Kind::Other), ("file", Kind::Dir), ("file/socket", Kind::Other)];
        let have = Tree(have.map(|(path, kind)| entry(path.to_owned(), kind)).to_vec());
        let want = Tree(want.to_vec());
        let plan = diff(&want, &have, &[], |_, _| Ok(true)).unwrap();
        assert_eq!(plan.conflicts.len(), 3, "{:?}", plan.conflicts);
        assert_eq!(plan.put.iter().map(|put| put.entry.path.to_str().unwrap()).collect::<Vec<_>>(), ["z"]);
        assert_eq!((plan.make, plan.clear, plan.adjust, plan.remove), (vec![], vec![], vec![], vec![]));
    }

    #[test]
    fn a_file_that_others_may_hold_open_is_written_anew() {
        let meta = entry(String::new(), Kind::File).meta;
        for (wanted, present, expected) in [
            (Meta { mode: 0o644, ..meta }, Meta { mode: 0o600, ..meta }, false),
            (Meta { mode: 0o600, ..meta }, Meta { mode: 0o644, ..meta }, false),
            (Meta { mode: 0o644, ..meta }, Meta { mode: 0o666, ..meta }, true),
            (Meta { mode: 0o4755, ..meta }, Meta { mode: 0o755, ..meta }, true),
            (Meta { uid: 0, ..meta }, Meta { uid: 1000, ..meta }, true),
            (Meta { gid: 0, ..meta }, Meta { gid: 1000, ..meta }, true),
            (Meta { mode: 0o600, ..meta }, Meta { links: 2, ..meta }, true),
            (Meta { uid: 0, kind: Kind::Dir, ..meta }, Meta { uid: 1000, kind: Kind::Dir, ..meta }, false),
        ] {
            assert_eq!(is_another_files_too(&wanted, &present), expected, "{wanted:?} {present:?}");
        }
    }
}
