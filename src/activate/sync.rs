//! Makes one directory tree like another, in place: [`diff`] is pure and says what to do, applying it is the only effect.
//! New content is written under a temporary name beside its place and put there by one rename; what is the same keeps
//! its inode; what is no longer wanted goes last. Names resolve by descriptors, never through a link or onto a mount.
//! The tree as a whole is not atomic: a crash in between is healed by doing it again.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::tree::{Entry, Tree};
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self as sysfs, Dir, Kind, unique_name};

/// Our temporary names begin with this; no release may hold such a name.
const TEMPORARY: &str = ".repo-deploy-";

/// What to keep away from, and what to believe.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Relative paths that are never touched, nor what is below them.
    pub preserve: Vec<PathBuf>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries made or rewritten.
    pub written: usize,
    /// Entries whose mode or owner changed.
    pub adjusted: usize,
    /// Entries removed.
    pub removed: usize,
    /// The first entry that was written.
    pub first: Option<PathBuf>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written, {} adjusted, {} removed", self.written, self.adjusted, self.removed)
    }
}

/// What to do so that the one tree becomes like the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// Files and links that make way for a directory.
    pub clear: Vec<&'a Entry>,
    /// Directories to make, parents first.
    pub make: Vec<&'a Entry>,
    /// Files to write and links to make.
    pub put: Vec<&'a Entry>,
    /// Directories that make way for a file or link of `put`.
    pub aside: Vec<&'a Entry>,
    /// Entries that only lack the mode or the owner.
    pub adjust: Vec<&'a Entry>,
    /// Entries to remove, children first.
    pub remove: Vec<&'a Entry>,
}

/// Compares two trees. `same` tells whether two files have the same content.
pub fn diff<'a>(
    want: &'a Tree,
    have: &'a Tree,
    preserve: &[PathBuf],
    mut same: impl FnMut(&Entry, &Entry) -> Result<bool>,
) -> Result<Plan<'a>> {
    let mut plan = Plan::default();
    let is_copied = |entry: &&Entry| entry.meta.kind != Kind::Other && !entry.mount;
    for wanted in want.0.iter().filter(is_copied) {
        let Some(present) = have.find(&wanted.path) else {
            match wanted.meta.kind {
                Kind::Dir => plan.make.push(wanted),
                _ => plan.put.push(wanted),
            }
            continue;
        };
        if present.meta.kind == Kind::Other || present.mount {
            let what = if present.mount { "another file system is mounted" } else { "a FIFO, socket or device is" };
            return Err(Error::failed(format!(
                "{what} at {}, where the release has something: move it away, or name it in preserve",
                wanted.path.display()
            )));
        }
        if let Some(kept) = leads_to_preserved(present, preserve).filter(|_| wanted.target != present.target) {
            return Err(Error::failed(format!(
                "{0} is a link, {1} behind it must stay, and the release has something else there: name {0} in preserve",
                present.path.display(),
                kept.display()
            )));
        }
        match (wanted.meta.kind, present.meta.kind) {
            (Kind::Dir, Kind::Dir) => {}
            (Kind::Dir, _) => {
                plan.clear.push(present);
                plan.make.push(wanted);
                continue;
            }
            (_, Kind::Dir) => {
                refuse_to_move(present, have, preserve)?;
                plan.aside.push(present);
                plan.put.push(wanted);
                continue;
            }
            (Kind::File, Kind::File) if same(wanted, present)? => {}
            (Kind::Link, Kind::Link) if wanted.target == present.target => continue,
            _ => {
                plan.put.push(wanted);
                continue;
            }
        }
        let (w, p) = (&wanted.meta, &present.meta);
        if (w.mode, w.uid, w.gid) != (p.mode, p.uid, p.gid) {
            // Another name of the same file may lie outside, where nothing may change: this one gets a file of its own.
            let is_shared = p.kind == Kind::File && p.links > 1;
            if is_shared { plan.put.push(wanted) } else { plan.adjust.push(wanted) }
        }
    }
    let is_ours_to_remove = |entry: &&Entry| {
        entry.meta.kind != Kind::Other
            && !entry.mount
            && leads_to_preserved(entry, preserve).is_none()
            && want.find(&entry.path).is_none_or(|w| !is_copied(&w))
            && !plan.aside.iter().any(|moved| entry.path.starts_with(&moved.path))
    };
    plan.remove = have.0.iter().rev().filter(is_ours_to_remove).collect();
    Ok(plan)
}

/// What is preserved behind `entry`, when that is a link: without the link nobody finds it any more.
fn leads_to_preserved<'p>(entry: &Entry, preserve: &'p [PathBuf]) -> Option<&'p PathBuf> {
    preserve.iter().find(|path| entry.meta.kind == Kind::Link && path.starts_with(&entry.path))
}

/// A directory can make way for a file only when all that is in it may go.
fn refuse_to_move(dir: &Entry, have: &Tree, preserve: &[PathBuf]) -> Result<()> {
    let inside = |path: &Path| path.starts_with(&dir.path);
    let blocker = preserve.iter().map(PathBuf::as_path).find(|p| inside(p)).or_else(|| {
        have.0.iter().find(|e| inside(&e.path) && (e.mount || e.meta.kind == Kind::Other)).map(|e| e.path.as_path())
    });
    match blocker {
        None => Ok(()),
        Some(path) => Err(Error::failed(format!(
            "the release has a file where the directory {} is, and {} in it must stay",
            dir.path.display(),
            path.display()
        ))),
    }
}

/// Makes `to` like `from`. Twice is once.
pub fn mirror(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = Tree::read(from, &options.preserve)?;
    let have = Tree::read(to, &options.preserve)?;
    let plan = diff(&want, &have, &options.preserve, |w, p| is_same_file(from, to, w, p))?;
    Mirror::new(from, to).apply(&plan)
}

/// Puts back what `from` has and `to` lacks, and leaves everything that is there alone but what a killed run left.
pub fn restore(from: &Dir, to: &Dir, options: &Options) -> Result<Changes> {
    let want = Tree::read(from, &options.preserve)?;
    let have = Tree::read(to, &options.preserve)?;
    // What lies below something that is no directory any more is not missing: somebody put that there.
    let is_below_other = |path: &Path| {
        path.ancestors().skip(1).any(|above| have.find(above).is_some_and(|e| e.meta.kind != Kind::Dir || e.mount))
    };
    let missing = want.0.into_iter().filter(|e| have.find(&e.path).is_none() && !is_below_other(&e.path)).collect();
    let missing = Tree(missing);
    let nothing = Tree::default();
    let mut plan = diff(&missing, &nothing, &options.preserve, |_, _| Ok(true))?;
    let is_left_over = |path: &Path| path.iter().any(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()));
    let is_removable = |e: &&Entry| is_left_over(&e.path) && e.meta.kind != Kind::Other && !e.mount;
    plan.remove = have.0.iter().rev().filter(is_removable).collect();
    Mirror::new(from, to).apply(&plan)
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
    let compare = || -> io::Result<bool> {
        let open = |top: &Dir, path: &Path| -> io::Result<File> { Parents::new(top).of(path)?.open_file(name(path)) };
        same_bytes(open(from, &want.path)?, open(to, &have.path)?)
    };
    match compare() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false), // an application has just removed it
        compared => compared.context(|| format!("cannot compare {}", want.path.display())),
    }
}

fn same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let got = one.read(&mut a)?;
        if got == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        match other.read_exact(&mut b[..got]) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if a[..got] != b[..got] {
            return Ok(false);
        }
    }
}

fn name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

/// Opens the directory a path lies in, and keeps the last one open: neighbours come one after the other.
struct Parents<'a> {
    top: &'a Dir,
    last: Option<(PathBuf, Dir)>,
}

impl<'a> Parents<'a> {
    fn new(top: &'a Dir) -> Self {
        Self { top, last: None }
    }

    fn of(&mut self, path: &Path) -> io::Result<&Dir> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = match self.last.take() {
            Some((at, dir)) if at == parent => dir,
            _ => self.top.descend(parent)?,
        };
        Ok(&self.last.insert((parent.to_owned(), dir)).1)
    }
}

/// Applies a plan.
struct Mirror<'a> {
    from: Parents<'a>,
    to: Parents<'a>,
    touched: BTreeSet<PathBuf>,
}

impl<'a> Mirror<'a> {
    fn new(from: &'a Dir, to: &'a Dir) -> Self {
        Self { from: Parents::new(from), to: Parents::new(to), touched: BTreeSet::new() }
    }

    fn apply(mut self, plan: &Plan<'_>) -> Result<Changes> {
        for entry in &plan.clear {
            self.unlink(entry)?;
        }
        for entry in &plan.make {
            self.make(entry).context(|| format!("cannot make {}", entry.path.display()))?;
        }
        let staged = self.stage(&plan.put)?;
        let aside: Vec<_> = plan.aside.iter().map(|e| e.path.as_path()).collect();
        let mut moved = Vec::new();
        for (entry, temporary) in &staged {
            if aside.contains(&entry.path.as_path()) {
                match self.move_aside(&entry.path) {
                    Ok(away) => moved.push(away),
                    // A directory from a lower layer of an overlay cannot be renamed.
                    Err(e) if e.kind() == io::ErrorKind::CrossesDevices => self.remove_tree(&entry.path)?,
                    Err(e) => return Err(e).context(|| cannot_put(entry)),
                }
            }
            let dir = self.to.of(&entry.path).context(|| cannot_put(entry))?;
            dir.rename(temporary, dir, name(&entry.path)).context(|| cannot_put(entry))?;
            self.touch(&entry.path);
        }
        for entry in &plan.adjust {
            self.adjust(entry).context(|| format!("cannot change mode or owner of {}", entry.path.display()))?;
        }
        for path in &moved {
            self.remove_tree(path)?;
        }
        for entry in &plan.remove {
            self.unlink(entry)?;
        }
        self.sync(plan)?;
        Ok(Changes {
            written: plan.make.len() + plan.put.len(),
            adjusted: plan.adjust.len(),
            removed: plan.remove.len() + plan.clear.len(),
            first: plan.make.iter().chain(&plan.put).map(|e| e.path.clone()).min(),
        })
    }

    fn touch(&mut self, path: &Path) {
        self.touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
    }

    fn make(&mut self, entry: &Entry) -> io::Result<()> {
        let dir = self.to.of(&entry.path)?;
        dir.make_dir(name(&entry.path), 0o700)?;
        sysfs::set_owner_and_mode(
            dir.child(name(&entry.path))?,
            Some((entry.meta.uid, entry.meta.gid)),
            entry.meta.mode,
        )?;
        self.touch(&entry.path);
        self.touched.insert(entry.path.clone());
        Ok(())
    }

    /// Writes every new file and link under a temporary name beside its place, all of them on disk when this returns:
    /// the time in which the tree is neither old nor new is only that of the renames. On an error nothing stays.
    fn stage<'e>(&mut self, put: &[&'e Entry]) -> Result<Vec<(&'e Entry, std::ffi::OsString)>> {
        let mut staged = Vec::with_capacity(put.len());
        let written = put.iter().try_for_each(|entry| {
            let temporary = unique_name(TEMPORARY).context(|| cannot_put(entry))?;
            staged.push((*entry, temporary.clone()));
            self.write(entry, &temporary).context(|| cannot_put(entry))
        });
        let synced = written.and_then(|()| {
            let files = staged.iter().filter(|(entry, _)| entry.meta.kind == Kind::File);
            files.into_iter().try_for_each(|(entry, temporary)| {
                let file = self.to.of(&entry.path).and_then(|dir| dir.open_file(temporary));
                file.and_then(|f| f.sync_all()).context(|| cannot_put(entry))
            })
        });
        if let Err(e) = synced {
            for (entry, temporary) in &staged {
                // Best effort: the last may not have been made, and what stays goes with the next sync.
                let _ = self.to.of(&entry.path).and_then(|dir| dir.unlink(temporary));
            }
            return Err(e);
        }
        Ok(staged)
    }

    fn write(&mut self, entry: &Entry, temporary: &std::ffi::OsStr) -> io::Result<()> {
        let to = self.to.of(&entry.path)?;
        if let Some(target) = &entry.target {
            to.symlink(target, temporary)?;
            return to.set_owner(temporary, entry.meta.uid, entry.meta.gid);
        }
        let mut source = self.from.of(&entry.path)?.open_file(name(&entry.path))?;
        let mut file = to.create(temporary)?;
        io::copy(&mut source, &mut file)?;
        sysfs::set_owner_and_mode(&file, Some((entry.meta.uid, entry.meta.gid)), entry.meta.mode)?;
        sysfs::start_writeback(&file);
        drop(file);
        to.set_mtime(temporary, entry.meta.mtime)
    }

    fn adjust(&mut self, entry: &Entry) -> io::Result<()> {
        let dir = self.to.of(&entry.path)?;
        let owner = Some((entry.meta.uid, entry.meta.gid));
        match entry.meta.kind {
            Kind::Dir => sysfs::set_owner_and_mode(dir.child(name(&entry.path))?, owner, entry.meta.mode)?,
            _ => {
                let file = dir.open_file(name(&entry.path))?;
                sysfs::set_owner_and_mode(&file, owner, entry.meta.mode)?;
                file.sync_all()?;
            }
        }
        self.touch(&entry.path);
        Ok(())
    }

    /// Renames a directory that makes way for a file.
    fn move_aside(&mut self, path: &Path) -> io::Result<PathBuf> {
        let away = unique_name(TEMPORARY)?;
        let dir = self.to.of(path)?;
        dir.rename(name(path), dir, &away)?;
        Ok(path.with_file_name(away))
    }

    fn remove_tree(&mut self, path: &Path) -> Result<()> {
        let cannot = || format!("cannot remove {}", path.display());
        let dir = self.to.top.descend(path).context(cannot)?;
        for entry in Tree::read(&dir, &[])?.0.iter().rev() {
            let inside = Parents::new(&dir).of(&entry.path).and_then(|parent| match entry.meta.kind {
                Kind::Dir => parent.remove_dir(name(&entry.path)),
                _ => parent.unlink(name(&entry.path)),
            });
            inside.context(cannot)?;
        }
        self.to.of(path).and_then(|parent| parent.remove_dir(name(path))).context(cannot)
    }

    fn unlink(&mut self, entry: &Entry) -> Result<()> {
        let removed = self.to.of(&entry.path).and_then(|dir| match entry.meta.kind {
            Kind::Dir => dir.remove_dir(name(&entry.path)),
            _ => dir.unlink(name(&entry.path)),
        });
        match removed {
            // Something in it is preserved, or an application has just put something there: both stay.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            // An application was faster, with the entry or with its directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.context(|| format!("cannot remove {}", entry.path.display()))?,
        }
        self.touch(&entry.path);
        Ok(())
    }

    /// Waits until the names are on disk. A directory that was removed needs none.
    fn sync(&mut self, plan: &Plan<'_>) -> Result<()> {
        let removed: BTreeSet<&Path> = plan.remove.iter().map(|e| e.path.as_path()).collect();
        for path in self.touched.iter().rev() {
            match self.to.top.descend(path).and_then(|dir| dir.sync()) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && removed.contains(path.as_path()) => {}
                synced => synced.context(|| format!("cannot sync the directory {}", path.display()))?,
            }
        }
        Ok(())
    }
}

fn cannot_put(entry: &Entry) -> String {
    format!("cannot write {}", entry.path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

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
