//! Makes one directory tree like another, in place: `diff` is pure and plans the steps, `apply` makes all changes. An
//! equal entry keeps its inode. The tree as a whole is not atomic: after a crash, a second run completes it.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use super::apply::{Changes, Mirror, TEMPORARY};
use super::copy::same_bytes;
use super::diff::{Conflict, Plan, Put, diff};
use super::entries::{List, Member, Pairs, Tree};
use super::limit::Limit;
use super::parents::{Parents, is_judged, open_judged};
use super::problems::refusal;
use super::tree::Sums;
use crate::error::{Context, Result};
use crate::store::check_room;
use crate::store::manifest::{Item, Manifest, What};
use crate::sys::fs::{Dir, Kind, Meta};

/// Options of a sync.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Relative paths that are never touched, nor anything below them.
    pub preserve: Vec<PathBuf>,
}

/// Makes `to` like `from`; a second run changes nothing. Conflicts are an error before the first change.
pub fn mirror(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<Changes> {
    make_like(from, to, options, limit, &mut refuse)
}

/// Makes `to` like `from` again, which was live before: an entry that has come in the way since stays, with a warning.
pub fn put_back(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<Changes> {
    make_like(from, to, options, limit, &mut |conflicts| {
        conflicts.iter().for_each(|Conflict { text, .. }| log::warn!("{text}: it stays as it is"));
        Ok(())
    })
}

/// Whether `to` could be made like `from`, without reading file content. The error lists all conflicts.
pub fn examine(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<()> {
    let (want, have) = (wanted(from, options, limit)?, Tree::read(to, &options.preserve, limit)?);
    let mut live = Parents::new(to, limit);
    let same = |want: Member<'_>, have: Member<'_>| match want.kind {
        Kind::Link => is_same_link(&mut live, want, have, limit),
        Kind::File | Kind::Dir | Kind::Other => Ok(true),
    };
    refuse(&diff(&want, &have, &options.preserve, same)?.conflicts)
}

/// Decides about conflicts: returns an error, or `Ok` to apply the rest of the plan.
type Judge<'a> = dyn FnMut(&[Conflict]) -> Result<()> + 'a;

fn refuse(conflicts: &[Conflict]) -> Result<()> {
    let lines: Vec<String> = conflicts.iter().map(|c| format!("{}: {}", c.text, c.way_out)).collect();
    if lines.is_empty() { Ok(()) } else { Err(refusal(&lines)) }
}

fn make_like(from: &Dir, to: &Dir, options: &Options, limit: Limit, judge: &mut Judge<'_>) -> Result<Changes> {
    let (want, have) = (wanted(from, options, limit)?, Tree::read(to, &options.preserve, limit)?);
    let plan = compare(from, to, &want, &have, options, limit)?;
    judge(&plan.conflicts)?;
    Mirror::new(from, to, &plan, limit).apply(&plan)
}

/// Plans the differences between two trees, their content included.
fn compare<'a>(
    from: &Dir,
    to: &Dir,
    want: &'a Tree,
    have: &'a Tree,
    options: &Options,
    limit: Limit,
) -> Result<Plan<'a>> {
    let (mut source, mut live) = (Parents::new(from, limit), Parents::new(to, limit));
    diff(want, have, &options.preserve, |want, have| match want.kind {
        Kind::Link => is_same_link(&mut live, want, have, limit),
        Kind::File | Kind::Dir | Kind::Other => is_same_file(&mut source, &mut live, want, have, limit),
    })
}

/// Copies `from` into the empty directory `to`, with modes, owners and times. Fails first if there is no room for it.
pub fn copy_tree(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<Changes> {
    let (want, have) = (wanted(from, options, limit)?, Tree::default());
    let plan = diff(&want, &have, &options.preserve, |_, _| Ok(true))?;
    // Holes are copied as holes, and need no room.
    check_room(want.allocated, (plan.put.len() + plan.make.len()) as u64, to)?;
    Mirror::new(from, to, &plan, limit).apply(&plan)
}

/// Restores the entries that `to` lacks, and removes leftovers of a killed run; every other entry stays as it is.
pub fn restore(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<Changes> {
    let want = wanted(from, options, limit)?;
    let have = Tree::read(to, &options.preserve, limit)?;
    let mut plan = Plan::nothing(&want, &have);
    missing(&want, &have).for_each(|entry| plan.add(entry));
    let mut is_left = vec![false; have.len()];
    for entry in have.all() {
        let is_in_one = entry.parent().is_some_and(|parent| is_left[parent.number() as usize]);
        is_left[entry.number() as usize] = is_in_one || is_left_over(entry.name());
    }
    let goes = |entry: &Member<'_>| is_left[entry.number() as usize] && entry.is_copied();
    plan.remove = have.all().rev().filter(goes).map(Member::number).collect();
    Mirror::new(from, to, &plan, limit).apply(&plan)
}

/// Lists `from` without leftovers of a killed run: a release whose repair was interrupted may hold some.
fn wanted(from: &Dir, options: &Options, limit: Limit) -> Result<Tree> {
    Tree::of_release(from, &options.preserve, limit, is_left_over)
}

fn is_left_over(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Gives the tree below `top` the names, link targets and modes of `manifest`, as far as no file content is needed.
/// Returns the first file with wrong or missing content.
pub fn fix_metadata(top: &Dir, manifest: &Manifest, limit: Limit) -> Result<Option<PathBuf>> {
    let have = Tree::read(top, &[], limit)?;
    let ours = top.meta().with_context(|| "cannot examine a release")?;
    let (mut want, sums) = listed(manifest, ours)?;
    // A manifest has no owners: an entry that is not there gets the owner of the top.
    want.take_owners(&have, (ours.uid, ours.gid));
    let mut reader = Sums::new("verifying", None, limit);
    let (mut parents, mut links) = (Parents::new(top, limit), Parents::new(top, limit));
    let mut plan = diff(&want, &have, &[], |wanted, present| {
        limit.ask()?;
        if wanted.kind == Kind::Link {
            return is_same_link(&mut links, wanted, present, limit);
        }
        if present.size != wanted.size {
            return Ok(false);
        }
        // A file that cannot be read counts as different.
        let sum = parents.of(&wanted.path()).and_then(|dir| reader.of(dir, wanted.name(), wanted.size));
        Ok(sum.ok() == sums.get(wanted.number() as usize).copied())
    })?;
    limit.ask()?; // a read that was interrupted is not damage
    refuse(&plan.conflicts)?;
    let is_file = |put: &Put| want.at(put.entry).kind == Kind::File;
    let lacking = plan.put.iter().find(|put| is_file(put)).map(|put| want.at(put.entry).path());
    plan.put.retain(|put| !is_file(put));
    Mirror::new(top, top, &plan, limit).apply(&plan)?;
    Ok(lacking)
}

/// Makes a tree of a manifest, every entry with the owner of `ours`, and lists the checksum of each entry.
fn listed(manifest: &Manifest, ours: Meta) -> Result<(Tree, Vec<u32>)> {
    let (mut list, mut sums) = (List::default(), Vec::new());
    for item in manifest.items() {
        let Item { path, what } = item?;
        let (kind, mode, size, sum) = match what {
            What::File { mode, size, crc } => (Kind::File, mode, size, crc),
            What::Dir { mode } => (Kind::Dir, mode, 0, 0),
            What::Link { .. } => (Kind::Link, 0o777, 0, 0),
        };
        list.push_named(path, &Meta { kind, mode, size, ..ours })?;
        if let What::Link { target } = &what {
            list.push_target(target.as_encoded_bytes())?;
        }
        sums.push(sum);
    }
    Ok((list.finish(), sums))
}

/// The first entry that [`restore`] would restore, if any.
pub fn lacks(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<Option<PathBuf>> {
    let (want, have) = (wanted(from, options, limit)?, Tree::read(to, &options.preserve, limit)?);
    Ok(missing(&want, &have).next().map(Member::path))
}

/// Whether both trees have the same names and content; modes and owners may differ.
pub fn is_like(from: &Dir, to: &Dir, options: &Options, limit: Limit) -> Result<bool> {
    let (mut want, have) = (wanted(from, options, limit)?, Tree::read(to, &options.preserve, limit)?);
    want.take_access(&have); // else a file with another owner would be one to write
    let plan = compare(from, to, &want, &have, options, limit)?;
    let Plan { want: _, have: _, clear, make, put, adjust, remove, conflicts } = &plan;
    Ok([clear, make, remove].into_iter().all(Vec::is_empty)
        && (put.is_empty() && adjust.is_empty() && conflicts.is_empty()))
}

/// The entries of `want` that `have` lacks and that can be restored. Entries below a directory that was replaced by
/// another kind of file, or mounted over, do not count: another process put that there.
fn missing<'a>(want: &'a Tree, have: &Tree) -> impl Iterator<Item = Member<'a>> {
    let pairs = Pairs::of(want, have);
    let is_other = |number| have.at(number).kind != Kind::Dir || have.at(number).mount;
    let mut is_below_other = vec![false; want.len()];
    for entry in want.all() {
        let Some(parent) = entry.parent() else { continue };
        is_below_other[entry.number() as usize] =
            is_below_other[parent.number() as usize] || pairs.get(parent.number()).is_some_and(is_other);
    }
    want.all().filter(move |entry| {
        let number = entry.number();
        entry.is_copied() && pairs.get(number).is_none() && !is_below_other[number as usize]
    })
}

/// Removes everything below `to` except preserved entries, mounts, FIFOs, sockets and devices.
pub fn clear(to: &Dir, options: &Options, limit: Limit) -> Result<Changes> {
    let have = Tree::read(to, &options.preserve, limit)?;
    let nothing = Tree::default();
    let plan = diff(&nothing, &have, &options.preserve, |_, _| Ok(true))?;
    Mirror::new(to, to, &plan, limit).apply(&plan)
}

/// Whether the present link has the wanted target. A link that has just gone or cannot be read counts as different.
fn is_same_link(live: &mut Parents<'_>, want: Member<'_>, have: Member<'_>, limit: Limit) -> Result<bool> {
    let mut is_same = || -> io::Result<bool> {
        let dir = live.of(&have.path())?;
        let text = dir.read_link(have.name())?;
        Ok(want.target() == Some(&text) && is_judged(dir, have.name(), have.kind, have.inode())?)
    };
    is_same().or_else(|_| limit.ask().map(|()| false))
}

/// Whether two files have the same content. Times are not compared: they are coarse, and an application can set them.
fn is_same_file(
    wanted_in: &mut Parents<'_>,
    present_in: &mut Parents<'_>,
    want: Member<'_>,
    have: Member<'_>,
    limit: Limit,
) -> Result<bool> {
    limit.ask()?;
    if want.size != have.size {
        return Ok(false);
    }
    let path = want.path();
    let mut compare = || -> io::Result<bool> {
        let wanted = wanted_in.of(&path)?.open_file(want.name())?;
        // An application has just removed or replaced it, or it cannot be read: it is written anew.
        let present = present_in.of(&path).and_then(|dir| open_judged(dir, have.name(), have.inode()));
        let Ok((present, _)) = present else { return Ok(false) };
        same_bytes(&wanted, &present, limit)
    };
    compare().with_context(|| format!("cannot compare {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::super::tree::walk;
    use super::*;
    use crate::sys::fs::unique_name;

    fn mirror(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
        super::mirror(from, to, options, Limit::SIGNALS)
    }

    fn restore(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
        super::restore(from, to, options, Limit::SIGNALS)
    }

    /// A temporary directory, removed on drop.
    struct Temp(PathBuf);

    impl Temp {
        fn new() -> Self {
            let path = std::env::temp_dir().join(unique_name("repo-deploy-sync-").unwrap());
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn dir(&self) -> Dir {
            Dir::open(&self.0).unwrap()
        }

        fn tree(&self) -> Vec<String> {
            let mut lines = Vec::new();
            walk(&self.dir(), &[], Limit::SIGNALS, &mut |_, e| {
                let content = match e.meta.kind {
                    Kind::File => fs::read_to_string(self.0.join(&e.path)).unwrap(),
                    _ => String::new(),
                };
                lines.push(format!(
                    "{:?} {} {:o} {:?} {content}",
                    e.meta.kind,
                    e.path.display(),
                    e.meta.mode,
                    e.target
                ));
                Ok(())
            })
            .unwrap();
            lines
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Fills a directory with a small random tree. The few names repeat, so that kinds collide.
    fn grow(at: &Path, depth: u32, random: &mut impl FnMut(u32) -> u32) {
        for name in ["a", "b", "c", "d"] {
            let path = at.join(name);
            match random(6) {
                0 if depth > 0 => {
                    fs::create_dir(&path).unwrap();
                    grow(&path, depth - 1, random);
                }
                1 | 2 => {
                    fs::write(&path, "x".repeat(random(3) as usize)).unwrap();
                    let mode = if random(2) == 0 { 0o644 } else { 0o755 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                3 => symlink(["a", "../b"][random(2) as usize], &path).unwrap(),
                _ => {}
            }
        }
    }

    fn generator(seed: u32) -> impl FnMut(u32) -> u32 {
        let mut state = u64::from(seed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % below
        }
    }

    #[test]
    fn mirror_makes_any_tree_like_any_other_and_twice_is_once() {
        for seed in 0..400 {
            let (want, have) = (Temp::new(), Temp::new());
            let mut random = generator(seed);
            grow(&want.0, 3, &mut random);
            grow(&have.0, 3, &mut random);
            let options = Options::default();
            mirror(&want.dir(), &have.dir(), &options).unwrap();
            assert_eq!(want.tree(), have.tree(), "seed {seed}");
            let again = mirror(&want.dir(), &have.dir(), &options).unwrap();
            assert_eq!(again, Changes::default(), "seed {seed}");
        }
    }

    #[test]
    fn both_ways_to_look_say_the_same() {
        let temp = Temp::new();
        fs::write(temp.0.join("f"), "x").unwrap();
        fs::create_dir(temp.0.join("d")).unwrap();
        symlink("f", temp.0.join("l")).unwrap();
        rustix::fs::mkfifoat(temp.dir(), "p", rustix::fs::Mode::RWXU).unwrap();
        for name in ["f", "d", "l", "p", "none"] {
            let looked = temp.dir().look(name.as_ref()).unwrap();
            assert_eq!(temp.dir().look_for_mount(name.as_ref()).unwrap(), looked.map(|meta| (meta, false)), "{name}");
        }
        let root = Dir::open(Path::new("/")).unwrap();
        assert_eq!(root.look_for_mount("proc".as_ref()).unwrap().map(|(_, is_mount)| is_mount), Some(true));
    }

    #[test]
    fn mirror_leaves_what_is_the_same_its_inode_and_its_time() {
        let (want, have) = (Temp::new(), Temp::new());
        for (name, content) in [("same", "1"), ("other", "2")] {
            fs::write(want.0.join(name), content).unwrap();
            fs::write(have.0.join(name), "1").unwrap();
        }
        let before = fs::metadata(have.0.join("same")).unwrap();
        let changes = mirror(&want.dir(), &have.dir(), &Options::default()).unwrap();
        let after = fs::metadata(have.0.join("same")).unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec(), before.ctime_nsec()),
            (after.ino(), after.mtime_nsec(), after.ctime_nsec())
        );
        assert_eq!((changes.written, changes.first.unwrap()), (1, PathBuf::from("other")));
    }

    #[test]
    fn a_change_behind_the_same_size_and_time_is_seen() {
        let (want, have) = (Temp::new(), Temp::new());
        fs::write(want.0.join("f"), "new").unwrap();
        mirror(&want.dir(), &have.dir(), &Options::default()).unwrap();
        fs::write(have.0.join("f"), "bad").unwrap();
        let time = want.dir().look("f".as_ref()).unwrap().unwrap().mtime;
        crate::sys::created::set_mtime(&have.dir().open_file("f".as_ref()).unwrap(), time).unwrap();
        assert_eq!(mirror(&want.dir(), &have.dir(), &Options::default()).unwrap().written, 1);
    }

    #[test]
    fn what_is_preserved_and_what_is_no_file_is_never_touched() {
        let (want, have) = (Temp::new(), Temp::new());
        fs::create_dir_all(have.0.join("data/uploads/deep")).unwrap();
        fs::write(have.0.join("data/uploads/deep/mine"), "mine").unwrap();
        fs::write(have.0.join("data/old"), "goes").unwrap();
        fs::write(have.0.join(".env"), "mine").unwrap();
        fs::write(want.0.join(".env"), "theirs").unwrap();
        rustix::fs::mkfifoat(have.dir(), "pipe", rustix::fs::Mode::RWXU).unwrap();
        let options = Options { preserve: vec!["data/uploads".into(), ".env".into()] };
        for _ in 0..2 {
            mirror(&want.dir(), &have.dir(), &options).unwrap();
            assert_eq!(fs::read_to_string(have.0.join("data/uploads/deep/mine")).unwrap(), "mine");
            assert_eq!(fs::read_to_string(have.0.join(".env")).unwrap(), "mine");
            assert!(!have.0.join("data/old").exists());
            assert!(fs::symlink_metadata(have.0.join("pipe")).is_ok());
        }
        // A file in place of a directory that holds a preserved entry is refused, and nothing changes.
        fs::write(want.0.join("data"), "a file").unwrap();
        let error = mirror(&want.dir(), &have.dir(), &options).unwrap_err().to_string();
        assert!(error.contains("data/uploads in it must stay"), "{error}");
        assert!(have.0.join("data/uploads/deep/mine").exists());
        fs::remove_file(want.0.join("data")).unwrap();
        fs::write(want.0.join("pipe"), "a file").unwrap();
        let error = mirror(&want.dir(), &have.dir(), &options).unwrap_err().to_string();
        assert!(error.contains("a FIFO, socket or device is at pipe"), "{error}");
    }

    #[test]
    fn a_file_with_a_name_outside_is_replaced_not_changed() {
        let (want, have, outside) = (Temp::new(), Temp::new(), Temp::new());
        fs::write(want.0.join("f"), "x").unwrap();
        fs::set_permissions(want.0.join("f"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(outside.0.join("f"), "x").unwrap();
        fs::set_permissions(outside.0.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(outside.0.join("f"), have.0.join("f")).unwrap();
        mirror(&want.dir(), &have.dir(), &Options::default()).unwrap();
        assert_eq!(want.tree(), have.tree());
        assert_eq!(fs::metadata(outside.0.join("f")).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_that_an_application_planted_is_replaced_not_followed() {
        let (want, have, outside) = (Temp::new(), Temp::new(), Temp::new());
        fs::create_dir(want.0.join("conf")).unwrap();
        fs::write(want.0.join("conf/app"), "new").unwrap();
        symlink(&outside.0, have.0.join("conf")).unwrap();
        mirror(&want.dir(), &have.dir(), &Options::default()).unwrap();
        assert_eq!(want.tree(), have.tree());
        assert!(outside.tree().is_empty());
    }

    #[test]
    fn restore_puts_back_what_is_missing_and_leaves_what_is_there() {
        let (want, have) = (Temp::new(), Temp::new());
        for name in ["kept", "gone", "changed"] {
            fs::write(want.0.join(name), name).unwrap();
        }
        fs::create_dir(want.0.join("logs")).unwrap();
        fs::write(want.0.join("logs/.keep"), "").unwrap();
        mirror(&want.dir(), &have.dir(), &Options::default()).unwrap();
        fs::remove_file(have.0.join("gone")).unwrap();
        fs::write(have.0.join("changed"), "by the application").unwrap();
        fs::write(have.0.join("new"), "by the application").unwrap();
        fs::remove_dir_all(have.0.join("logs")).unwrap();
        symlink("/var/log", have.0.join("logs")).unwrap();
        let changes = restore(&want.dir(), &have.dir(), &Options::default()).unwrap();
        assert_eq!((changes.written, changes.first), (1, Some("gone".into())));
        assert_eq!(fs::read_to_string(have.0.join("changed")).unwrap(), "by the application");
        assert!(have.0.join("new").exists());
        assert!(have.0.join("logs").is_symlink());
    }
}
