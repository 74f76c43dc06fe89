//! Plans the steps that make one tree like another. Pure: the whole plan is known before the first change. Both trees
//! are sorted, so that the entries below a name are one range of the list, and a lookup is cheap.

use std::path::PathBuf;

use super::entries::{Member, Node, Pairs, Tree};
use crate::error::Result;
use crate::sys::fs::Kind;

/// The steps that make `have` like `want`. Entries are named by their numbers in these trees.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The wanted tree.
    pub want: &'a Tree,
    /// The present tree.
    pub have: &'a Tree,
    /// Files and links of `have` that make way for a directory.
    pub clear: Vec<u32>,
    /// Directories of `want` to make, parents first.
    pub make: Vec<u32>,
    /// Files to write and links to make.
    pub put: Vec<Put>,
    /// Entries that only lack the mode, or directories the owner.
    pub adjust: Vec<Adjust>,
    /// Entries of `have` to remove, children first.
    pub remove: Vec<u32>,
    /// Entries of `want` that something in `have` keeps from being made. No step is planned for them.
    pub conflicts: Vec<Conflict>,
}

/// A file to write or a link to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The wanted entry.
    pub entry: u32,
    /// The directory that it replaces.
    pub aside: Option<u32>,
}

/// An entry whose mode or owner changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjust {
    /// The wanted entry.
    pub entry: u32,
    /// The present entry.
    pub present: u32,
}

/// An entry that keeps a wanted one from being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// A description, with the path.
    pub text: String,
    /// The remedy.
    pub way_out: String,
}

impl<'a> Plan<'a> {
    /// An empty plan.
    pub fn nothing(want: &'a Tree, have: &'a Tree) -> Self {
        let (clear, make, put, adjust, remove, conflicts) = (vec![], vec![], vec![], vec![], vec![], vec![]);
        Self { want, have, clear, make, put, adjust, remove, conflicts }
    }

    /// Plans an entry that is missing.
    pub fn add(&mut self, wanted: Member<'_>) {
        let entry = wanted.number();
        match wanted.kind {
            Kind::Dir => self.make.push(entry),
            Kind::File | Kind::Link | Kind::Other => self.put.push(Put { entry, aside: None }),
        }
    }
}

/// Compares two trees. `same` tells whether two files have the same content, or two links the same text.
pub fn diff<'a>(
    want: &'a Tree,
    have: &'a Tree,
    preserve: &[PathBuf],
    mut same: impl FnMut(Member<'_>, Member<'_>) -> Result<bool>,
) -> Result<Plan<'a>> {
    let (mut plan, pairs) = (Plan::nothing(want, have), Pairs::of(want, have));
    // True for entries of `have` that need no step of their own to be removed: they are wanted, or go with their directory.
    let mut stays = vec![false; have.len()];
    let mut blocked: Option<u32> = None;
    for wanted in want.all().filter(|entry| entry.is_copied()) {
        let pair = pairs.get(wanted.number()).map(|at| have.at(at));
        pair.iter().for_each(|present| stays[present.number() as usize] = true);
        if blocked.is_some_and(|top| wanted.is_within(top)) {
            continue;
        }
        let Some(present) = pair else {
            plan.add(wanted);
            continue;
        };
        let is_link = (wanted.kind, present.kind) == (Kind::Link, Kind::Link);
        let is_same_link = is_link && same(wanted, present)?;
        if let Some(conflict) = in_the_way(wanted, present, is_same_link, preserve) {
            plan.conflicts.push(conflict);
            stays[present.range()].fill(true); // if the rest is applied all the same, its content stays
            blocked = Some(wanted.number());
            continue;
        }
        let put = Put { entry: wanted.number(), aside: None };
        match (wanted.kind, present.kind) {
            (Kind::Dir, Kind::Dir) => {}
            (Kind::Dir, Kind::File | Kind::Link | Kind::Other) => {
                plan.clear.push(present.number());
                plan.make.push(wanted.number());
                continue;
            }
            (Kind::File | Kind::Link | Kind::Other, Kind::Dir) => {
                stays[present.range()].fill(true);
                plan.put.push(Put { aside: Some(present.number()), ..put });
                continue;
            }
            (Kind::File, Kind::File) if same(wanted, present)? => {}
            (Kind::Link, Kind::Link) if is_same_link => continue,
            (Kind::File | Kind::Link | Kind::Other, Kind::File | Kind::Link | Kind::Other) => {
                plan.put.push(put);
                continue;
            }
        }
        if wanted.access() != present.access() {
            match is_another_files_too(&wanted, &present) {
                true => plan.put.push(put),
                false => plan.adjust.push(Adjust { entry: wanted.number(), present: present.number() }),
            }
        }
    }
    let goes = |entry: &Member<'_>| {
        !stays[entry.number() as usize] && entry.is_copied() && leads_to_preserved(*entry, preserve).is_none()
    };
    plan.remove = have.all().rev().filter(goes).map(Member::number).collect();
    Ok(plan)
}

/// Whether a file must be written anew instead of changed in place. Another name of it may be outside the tree, where
/// nothing may change. And a process that could write the file may still hold it open: its later writes must not reach
/// a file that now belongs to another user, that it may not write any more, or that is set-user-ID or set-group-ID.
fn is_another_files_too(wanted: &Node, present: &Node) -> bool {
    let changes_hands = (wanted.uid, wanted.gid) != (present.uid, present.gid);
    let was_open_to_others = present.mode() & !wanted.mode() & 0o022 != 0;
    let lends_rights = wanted.mode() & 0o6000 != 0;
    present.kind == Kind::File && (present.links > 1 || changes_hands || was_open_to_others || lends_rights)
}

/// The conflict, if the present entry cannot become `wanted`.
fn in_the_way(wanted: Member<'_>, present: Member<'_>, is_same_link: bool, preserve: &[PathBuf]) -> Option<Conflict> {
    if !present.is_copied() {
        let what = if present.mount { "another file system is mounted" } else { "a FIFO, socket or device is" };
        return Some(Conflict {
            text: format!("{what} at {}, where the release has something", present.path().display()),
            way_out: "move it away, or name it in preserve".to_owned(),
        });
    }
    if let Some(kept) = leads_to_preserved(present, preserve).filter(|_| !is_same_link) {
        let (path, kept) = (present.path(), kept.display());
        let path = path.display();
        return Some(Conflict {
            text: format!("{path} is a link, {kept} behind it must stay, and the release has something else there"),
            way_out: format!("name {path} in preserve"),
        });
    }
    if present.kind != Kind::Dir || wanted.kind == Kind::Dir {
        return None;
    }
    // A file can replace a directory only if all content of the directory may go.
    let path = present.path();
    let is_inside = |kept: &&PathBuf| kept.starts_with(&path);
    let inside = || present.below().find(|entry| !entry.is_copied()).map(Member::path);
    let blocker = preserve.iter().find(is_inside).cloned().or_else(inside)?;
    let (path, blocker) = (path.display(), blocker.display());
    Some(Conflict {
        text: format!("the release has a file where the directory {path} is, and {blocker} in it must stay"),
        way_out: format!("move {blocker} away, or name {path} in preserve"),
    })
}

/// The preserved path behind the link `entry`: without the link it could not be reached.
fn leads_to_preserved<'p>(entry: Member<'_>, preserve: &'p [PathBuf]) -> Option<&'p PathBuf> {
    if entry.kind != Kind::Link || preserve.is_empty() {
        return None;
    }
    let at = entry.path();
    preserve.iter().find(|path| path.starts_with(&at))
}

#[cfg(test)]
mod tests {
    use super::super::entries::List;
    use super::*;
    use crate::sys::fs::Meta;

    const META: Meta = Meta {
        kind: Kind::File,
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

    fn tree(entries: impl IntoIterator<Item = (String, Kind)>) -> Tree {
        let mut list = List::default();
        entries.into_iter().for_each(|(path, kind)| list.push_named(path.into(), &Meta { kind, ..META }).unwrap());
        list.finish()
    }

    /// `directories` directories with two files each, and the same number of files of the same names.
    fn trees(directories: usize) -> (Tree, Tree) {
        let name = |n: usize| format!("some/directory/d{n:07}");
        let top = || ["some", "some/directory"].map(|path| (path.to_owned(), Kind::Dir)).into_iter();
        let with = |n: usize| {
            let files = ["a", "b"].map(|file| (format!("{}/{file}", name(n)), Kind::File));
            std::iter::once((name(n), Kind::Dir)).chain(files)
        };
        let want = tree(top().chain((0..directories).map(|n| (name(n), Kind::File))));
        (want, tree(top().chain((0..directories).flat_map(with))))
    }

    /// CPU time of this thread, in nanoseconds.
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
        // 16 times as many; comparing each with all others would take 256 times as long.
        assert!(many < few * 64, "{few} ns, {many} ns");
    }

    #[test]
    fn what_is_in_the_way_is_told_all_at_once_and_nothing_is_planned_for_it() {
        let want = ["dir", "dir/below", "fifo", "file", "z"]
            .map(|path| (path.to_owned(), if path == "dir" { Kind::Dir } else { Kind::File }));
        let have = [("dir", Kind::Other), ("fifo", Kind::Other), ("file", Kind::Dir), ("file/socket", Kind::Other)];
        let (want, have) = (tree(want), tree(have.map(|(path, kind)| (path.to_owned(), kind))));
        let plan = diff(&want, &have, &[], |_, _| Ok(true)).unwrap();
        assert_eq!(plan.conflicts.len(), 3, "{:?}", plan.conflicts);
        assert_eq!(plan.put.iter().map(|put| want.at(put.entry).name()).collect::<Vec<_>>(), ["z"]);
        assert_eq!((plan.make, plan.clear, plan.adjust, plan.remove), (vec![], vec![], vec![], vec![]));
    }

    #[test]
    fn a_file_that_others_may_hold_open_is_written_anew() {
        let meta = META;
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
            assert_eq!(
                is_another_files_too(&Node::from(&wanted), &Node::from(&present)),
                expected,
                "{wanted:?} {present:?}"
            );
        }
    }
}
