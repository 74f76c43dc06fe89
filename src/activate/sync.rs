//! Makes one directory tree like another, in place: `diff` is pure and says what to do, `apply` is the only effect.
//! What is the same keeps its inode. The tree as a whole is not atomic: a crash in between is healed by doing it again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::apply::{Changes, Mirror, Parents, TEMPORARY, name};
use super::diff::diff;
use super::tree::{Entry, Sums, Tree};
use crate::error::{Context, Result};
use crate::store::manifest::{Item, Manifest, What};
use crate::sys::fs::{Dir, Kind, Meta};

/// What to keep away from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Relative paths that are never touched, nor what is below them.
    pub preserve: Vec<PathBuf>,
}

/// Makes `to` like `from`. Twice is once.
pub fn mirror(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = wanted(from, options)?;
    let have = Tree::read(to, &options.preserve)?;
    let plan = diff(&want, &have, &options.preserve, |w, p| is_same_file(from, to, w, p))?;
    Mirror::new(from, to).apply(&plan)
}

/// Puts back what `from` has and `to` lacks, and leaves everything that is there alone but what a killed run left.
pub fn restore(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = wanted(from, options)?;
    let have = Tree::read(to, &options.preserve)?;
    let missing = missing(want, &have);
    let nothing = Tree::default();
    let mut plan = diff(&missing, &nothing, &options.preserve, |_, _| Ok(true))?;
    let is_removable = |e: &&Entry| is_left_over(&e.path) && e.meta.kind != Kind::Other && !e.mount;
    plan.remove = have.0.iter().rev().filter(is_removable).collect();
    Mirror::new(from, to).apply(&plan)
}

/// What `from` has, but what a killed run left in it: a release that was being repaired may hold such a thing.
fn wanted(from: &Dir, options: &Options) -> Result<Tree> {
    let mut want = Tree::read(from, &options.preserve)?;
    want.0.retain(|entry| !is_left_over(&entry.path));
    Ok(want)
}

fn is_left_over(path: &Path) -> bool {
    path.iter().any(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
}

/// Makes the tree below `top` what `manifest` says, as far as that can be done without the content of files. Gives the first
/// file that lacks the right one.
pub fn mend(top: &Dir, manifest: &Manifest) -> Result<Option<PathBuf>> {
    let have = Tree::read(top, &[])?;
    let ours = top.meta().context(|| "cannot examine a release")?;
    let (mut want, mut sums) = (Tree::default(), Vec::new());
    for item in manifest.items() {
        let Item { path, what } = item?;
        let (kind, mode, size, sum, target) = match what {
            What::File { mode, size, crc } => (Kind::File, mode, size, crc, None),
            What::Dir { mode } => (Kind::Dir, mode, 0, 0, None),
            What::Link { target } => (Kind::Link, 0o777, 0, 0, Some(target)),
        };
        // Owners are not in a manifest: that of the top is everybody's where nothing else is known.
        let Meta { uid, gid, .. } = have.find(&path).map_or(ours, |entry| entry.meta);
        want.0.push(Entry { path, meta: Meta { kind, mode, uid, gid, size, ..ours }, target, mount: false });
        sums.push(sum);
    }
    let mut reader = Sums::new("verifying", None);
    let mut parents = Parents::new(top);
    let mut plan = diff(&want, &have, &[], |wanted, present| {
        let at = want.0.binary_search_by(|entry| entry.path.cmp(&wanted.path)).ok().map(|at| sums[at]);
        let size = wanted.meta.size;
        if present.meta.size != size {
            return Ok(false);
        }
        // What cannot be read is no content of anything.
        Ok(parents.of(&wanted.path).and_then(|dir| reader.of(dir, name(&wanted.path), size)).ok() == at)
    })?;
    let lacking = plan.put.iter().find(|entry| entry.meta.kind == Kind::File).map(|entry| entry.path.clone());
    plan.put.retain(|entry| entry.meta.kind != Kind::File);
    Mirror::new(top, top).apply(&plan)?;
    Ok(lacking)
}

/// The first that `from` has and `to` lacks, if there is any: what [`restore`] would put back.
pub fn lacks(from: &Dir, to: &Dir, options: &Options) -> Result<Option<PathBuf>> {
    let missing = missing(wanted(from, options)?, &Tree::read(to, &options.preserve)?);
    Ok(missing.0.into_iter().next().map(|entry| entry.path))
}

/// What lies below something that is no directory any more is not missing: somebody put that there.
fn missing(want: Tree, have: &Tree) -> Tree {
    let is_below_other = |path: &Path| {
        path.ancestors().skip(1).any(|above| have.find(above).is_some_and(|e| e.meta.kind != Kind::Dir || e.mount))
    };
    Tree(want.0.into_iter().filter(|e| have.find(&e.path).is_none() && !is_below_other(&e.path)).collect())
}

/// Removes everything below `to` but what is preserved, mounted or no file, directory or link.
pub fn clear(to: &Dir, options: &Options) -> Result<Changes> {
    let have = Tree::read(to, &options.preserve)?;
    let nothing = Tree::default();
    let plan = diff(&nothing, &have, &options.preserve, |_, _| Ok(true))?;
    Mirror::new(to, to).apply(&plan)
}

/// Whether two files have the same content. Times decide nothing: they are coarse, and anybody can set them.
fn is_same_file(from: &Dir, to: &Dir, want: &Entry, have: &Entry) -> Result<bool> {
    if want.meta.size != have.meta.size {
        return Ok(false);
    }
    let open = |top: &Dir, path: &Path| -> io::Result<File> { Parents::new(top).of(path)?.open_file(name(path)) };
    let compare = || -> io::Result<bool> {
        let wanted = open(from, &want.path)?;
        // An application has just removed it, or nobody can read it: then it is written anew.
        let Ok(present) = open(to, &have.path) else { return Ok(false) };
        same_bytes(wanted, present)
    };
    compare().context(|| format!("cannot compare {}", want.path.display()))
}

/// Whether `other` has all bytes of `one`. What of `other` cannot be read is not the same.
pub(super) fn same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let got = one.read(&mut a)?;
        if got == 0 {
            return Ok(other.read(&mut b).is_ok_and(|more| more == 0));
        }
        if other.read_exact(&mut b[..got]).is_err() || a[..got] != b[..got] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::sys::fs::unique_name;

    /// A directory that goes away.
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
            let describe = |e: Entry| {
                let content = match e.meta.kind {
                    Kind::File => fs::read_to_string(self.0.join(&e.path)).unwrap(),
                    _ => String::new(),
                };
                format!("{:?} {} {:o} {:?} {content}", e.meta.kind, e.path.display(), e.meta.mode, e.target)
            };
            Tree::read(&self.dir(), &[]).unwrap().0.into_iter().map(describe).collect()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Fills a directory with a small random tree: the same few names again and again, so that kinds collide.
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
        let time = Tree::read(&want.dir(), &[]).unwrap().0[0].meta.mtime;
        have.dir().set_mtime("f".as_ref(), time).unwrap();
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
        // A file where the preserved thing needs a directory is refused, and nothing has changed.
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
