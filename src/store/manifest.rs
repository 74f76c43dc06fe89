//! The manifest of a release, written when it is published: a line for each name, with mode, size, CRC-32 or link
//! target. It shows the differences between two releases without reading either, and changes to a release since.
//! Durable before the release has its name. A release of an older version has none.
//!
//! CRC-32, because ZIP archives carry it and it costs nothing during unpacking; it finds damage and edits, not an
//! attacker, who could change this file as well.
//!
//! During unpacking it is in memory (`rows`), within the `budget`; a published one is a file (`text`), read anew each
//! time.

mod budget;
mod item;
mod rows;
mod text;

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::directory::{Store, StoreView};
use super::open_dirs::MANIFESTS;
use crate::error::{Context, Result};
use crate::model::ReleaseId;

pub use self::budget::Budget;
pub use self::item::{Item, What};
pub use self::rows::{Entry, Rows};

/// The block of most file systems, in bytes.
const BLOCK: u64 = 4096;

/// The names of one tree, parents before their children, siblings in byte order. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    held: Held,
    /// Limits the items to those below this directory.
    top: PathBuf,
}

/// The size of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Names, without the top.
    pub entries: u64,
    /// The directories among them.
    pub directories: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that the content takes on disk, as most file systems allocate it: in blocks of 4 KiB.
    pub space: u64,
}

#[derive(Clone, Debug)]
enum Held {
    Memory(Rc<Rows>),
    /// A file that was valid when it was opened.
    Stored(Rc<File>),
}

impl Default for Held {
    fn default() -> Self {
        Self::Memory(Rc::default())
    }
}

/// The change of a name between two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only in the second.
    Added,
    /// In both, but different.
    Changed,
    /// Only in the first.
    Removed,
}

impl Change {
    /// Its letter in lists.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Added => "A",
            Self::Changed => "M",
            Self::Removed => "D",
        }
    }
}

impl From<Rows> for Manifest {
    fn from(rows: Rows) -> Self {
        Self { held: Held::Memory(Rc::new(rows)), top: PathBuf::new() }
    }
}

/// Finds items whose paths are asked for in order.
pub struct Finder<'a> {
    items: Items<'a>,
    next: Option<Item>,
}

impl Finder<'_> {
    /// The item at `path`, which is after the one asked for before.
    pub fn at(&mut self, path: &[u8]) -> Result<Option<&Item>> {
        let path = Path::new(OsStr::from_bytes(path));
        while self.next.as_ref().is_some_and(|item| item.path.as_path() < path) {
            self.next = self.items.next().transpose()?;
        }
        Ok(self.next.as_ref().filter(|item| item.path == path))
    }
}

impl Manifest {
    /// Opens a manifest file; `None` if it is incomplete, or of another version.
    fn stored(file: File) -> Option<Self> {
        let manifest = Self { held: Held::Stored(Rc::new(file)), top: PathBuf::new() };
        manifest.items().all(|item| item.is_ok()).then_some(manifest)
    }

    /// All items, in order. A read error of a stored manifest is the last item.
    pub fn items(&self) -> Items<'_> {
        let from = match &self.held {
            Held::Memory(rows) => Reading::Memory(rows, 0),
            Held::Stored(file) => Reading::Stored(text::Lines::new(file)),
        };
        Items { from: Some(from), top: &self.top }
    }

    /// The number of entries, their content and its space on disk.
    pub fn extent(&self) -> Result<Extent> {
        let mut extent = Extent::default();
        for item in self.items() {
            extent.entries += 1;
            match item?.what {
                What::File { size, .. } => {
                    extent.bytes = extent.bytes.saturating_add(size);
                    extent.space = extent.space.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
                }
                What::Dir { .. } => extent.directories += 1,
                What::Link { .. } => {}
            }
        }
        Ok(extent)
    }

    /// Finds items by path.
    pub fn finder(&self) -> Result<Finder<'_>> {
        let mut items = self.items();
        let next = items.next().transpose()?;
        Ok(Finder { items, next })
    }

    /// The manifest of the directory `top`, with paths relative to it.
    #[must_use]
    pub fn below(&self, top: &Path) -> Self {
        Self { held: self.held.clone(), top: self.top.join(top) }
    }

    /// Writes it as text, line by line.
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        let cannot = || "cannot write a manifest";
        let mut lines = text::FORMAT.to_owned();
        for item in self.items() {
            text::write(&item?, &mut lines);
            if lines.len() >= BUFFER {
                to.write_all(lines.as_bytes()).with_context(cannot)?;
                lines.clear();
            }
        }
        lines.push_str(text::END);
        to.write_all(lines.as_bytes()).with_context(cannot)
    }

    /// Passes the changes from this tree to `to`, in order, except at and below `skip`.
    pub fn changes_except(
        &self,
        to: &Self,
        skip: &[PathBuf],
        tell: &mut dyn FnMut(Change, &Path) -> Result<()>,
    ) -> Result<()> {
        self.changes(to, &mut |change, item| match skip.iter().any(|kept| item.path.starts_with(kept)) {
            true => Ok(()),
            false => tell(change, &item.path),
        })
    }

    /// Passes the changes from this tree to `to`, in order.
    fn changes(&self, to: &Self, tell: &mut dyn FnMut(Change, &Item) -> Result<()>) -> Result<()> {
        let (mut olds, mut news) = (self.items(), to.items());
        let (mut old, mut new) = (olds.next().transpose()?, news.next().transpose()?);
        loop {
            let order = match (&old, &new) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.path.cmp(&new.path),
            };
            match (order, &old, &new) {
                (Ordering::Equal, Some(old), Some(new)) if old.what != new.what => tell(Change::Changed, new)?,
                (Ordering::Greater, _, Some(new)) => tell(Change::Added, new)?,
                (Ordering::Less, Some(old), _) => tell(Change::Removed, old)?,
                _ => {}
            }
            if order != Ordering::Greater {
                old = olds.next().transpose()?;
            }
            if order != Ordering::Less {
                new = news.next().transpose()?;
            }
        }
    }

    /// Whether it equals `other`.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        let mut is_same = true;
        self.changes(other, &mut |_, _| {
            is_same = false;
            Ok(())
        })?;
        Ok(is_same)
    }
}

/// Bytes written at once.
const BUFFER: usize = 32 * 1024;

/// An iterator over the items of a manifest.
#[derive(Debug)]
pub struct Items<'a> {
    /// `None`: at the end.
    from: Option<Reading<'a>>,
    top: &'a Path,
}

#[derive(Debug)]
enum Reading<'a> {
    Memory(&'a Rows, usize),
    Stored(text::Lines<'a>),
}

impl Iterator for Items<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        loop {
            let next = match self.from.as_mut()? {
                Reading::Memory(rows, at) => {
                    *at += 1;
                    Ok(rows.get(*at - 1))
                }
                Reading::Stored(lines) => lines.next(),
            };
            let Ok(Some(mut item)) = next else {
                self.from = None;
                return next.transpose();
            };
            if self.top == Path::new("") {
                return Some(Ok(item));
            }
            match item.path.strip_prefix(self.top) {
                Ok(below) if below != Path::new("") => item.path = below.to_owned(),
                _ => continue,
            }
            return Some(Ok(item));
        }
    }
}

impl Store {
    /// Writes the manifest of the release `id`, durably.
    pub fn keep_manifest(&self, id: &ReleaseId, manifest: &Manifest) -> Result<()> {
        self.write_manifest(id, manifest, true)
    }

    pub(super) fn write_manifest(&self, id: &ReleaseId, manifest: &Manifest, durably: bool) -> Result<()> {
        self.put(&format!("{MANIFESTS}/{id}"), &mut |file| manifest.write(file), 0o600, durably)
    }
}

/// Opens the manifest of `release`.
fn open(store: &StoreView, release: &ReleaseId) -> io::Result<File> {
    store.sub(MANIFESTS)?.open_file(release.as_str().as_ref())
}

/// Whether `release` has a manifest that is invalid, and so damaged.
pub fn is_damaged(store: &StoreView, release: &ReleaseId) -> bool {
    open(store, release).is_ok() && read(store, release).is_none()
}

/// The manifest of `release`, if it has a valid one; needs no lock.
pub fn read(store: &StoreView, release: &ReleaseId) -> Option<Manifest> {
    let file = open(store, release).ok()?; // treated as missing: the tree can be read instead
    Manifest::stored(file)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::artifact::{Span, Texts};

    fn file(size: u64) -> What {
        What::File { mode: 0o644, size, crc: 7 }
    }

    fn of(items: &[(&[u8], What)]) -> Manifest {
        let mut rows = Rows::default();
        items.iter().for_each(|(path, what)| rows.push(path, what).unwrap());
        rows.into()
    }

    fn print(manifest: &Manifest) -> Vec<u8> {
        let mut text = Vec::new();
        manifest.write(&mut text).unwrap();
        text
    }

    fn stored(text: &[u8]) -> Option<Manifest> {
        let mut file = crate::sys::fs::unnamed().unwrap();
        file.write_all(text).unwrap();
        Manifest::stored(file)
    }

    #[test]
    fn every_name_comes_back() {
        let items: [(&[u8], What); 5] = [
            (b"a", What::Dir { mode: 0o2755 }),
            (b"a/\xff\t\n = \\x00 \xc3\xbc", What::File { mode: 0o4755, size: u64::MAX, crc: u32::MAX }),
            (b"a.b", file(0)),
            (b"l", What::Link { target: OsString::from_vec(b"\t\xfe".to_vec()) }),
            (b"l2", What::Link { target: OsString::new() }),
        ];
        let manifest = of(&items);
        let text = print(&manifest);
        let kept = stored(&text).unwrap();
        assert!(kept.is_same(&manifest).unwrap());
        assert_eq!(print(&kept), text);
        let read: Vec<_> =
            kept.items().map(Result::unwrap).map(|i| (i.path.into_os_string().into_vec(), i.what)).collect();
        let written: Vec<_> = items.into_iter().map(|(path, what)| (path.to_vec(), what)).collect();
        assert_eq!(read, written);
        assert_eq!(stored(&print(&Manifest::default())).unwrap().items().count(), 0);
        for cut in 0..text.len() {
            assert!(stored(&text[..cut]).is_none(), "{:?}", String::from_utf8_lossy(&text[..cut]));
        }
        let text = String::from_utf8(text).unwrap();
        for broken in [
            text.replace("manifest 1", "manifest 2"),
            text.replace("f\t", "x\t"),
            text.replace("644", "9"),
            format!("{text}x"),
            format!("{text}end\n"),
            text.replace("a.b", &"b".repeat(2 << 20)),
        ] {
            assert!(stored(broken.as_bytes()).is_none(), "{:.200}", broken);
        }
    }

    #[test]
    fn directories_in_the_names_of_others_cost_no_text() {
        let (mut names, mut texts) = (Texts::default(), Texts::default());
        let span = names.push(b"top/a/b").unwrap();
        let directory = Entry::Dir { mode: 0o755 };
        let link = Entry::Link { text: texts.push(b"yz").unwrap() };
        let rows = vec![(span.without(4).first(1), directory), (span.without(4), link)];
        let manifest = Manifest::from(Rows::new(Rc::new(names), texts, rows));
        assert_eq!(print(&manifest), b"manifest 1\nd\t755\ta\nl\tyz\ta/b\nend\n");
        assert!(size_of::<(Span, Entry)>() <= 24);
    }

    #[test]
    fn changes_are_told_in_order_and_back_again_the_other_way() {
        let old: [(&[u8], What); 6] = [
            (b"a", What::Dir { mode: 0o755 }),
            (b"a/gone", file(1)),
            (b"a/same", file(2)),
            (b"a.b", file(3)),
            (b"kind", file(4)),
            (b"link", What::Link { target: "x".into() }),
        ];
        let new: [(&[u8], What); 6] = [
            (b"a", What::Dir { mode: 0o755 }),
            (b"a/same", file(2)),
            (b"a/z", file(1)),
            (b"a.b", What::File { mode: 0o755, size: 3, crc: 7 }),
            (b"kind", What::Dir { mode: 0o755 }),
            (b"link", What::Link { target: "y".into() }),
        ];
        let told = |from: &Manifest, to: &Manifest| {
            let mut told = Vec::new();
            let tell = &mut |change, item: &Item| {
                told.push((change, item.path.display().to_string()));
                Ok(())
            };
            from.changes(&stored(&print(to)).unwrap(), tell).unwrap();
            assert_eq!(from.is_same(to).unwrap(), told.is_empty());
            told
        };
        use Change::{Added, Changed, Removed};
        let there = [(Removed, "a/gone"), (Added, "a/z"), (Changed, "a.b"), (Changed, "kind"), (Changed, "link")];
        let there = there.map(|(change, path)| (change, path.to_owned()));
        assert_eq!(told(&of(&old), &of(&new)), there);
        let back = there.map(|(change, path)| match change {
            Added => (Removed, path),
            Removed => (Added, path),
            Changed => (Changed, path),
        });
        assert_eq!(told(&of(&new), &of(&old)), back);
        assert_eq!(told(&of(&new), &of(&new)), []);
        assert_eq!(told(&Manifest::default(), &of(&new)).len(), new.len());
        let below = of(&new).below(Path::new("a"));
        assert!(below.is_same(&of(&[(b"same", file(2)), (b"z", file(1))])).unwrap());
        assert_eq!(of(&new).below(Path::new("a/z")).items().count(), 0);
    }
}
