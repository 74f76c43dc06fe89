//! What a release was made of when it was published: a line for each name in it, with mode, size, CRC-32 or link text. It tells what
//! differs between two releases without reading either, and what has become of one since. Durable before the release has
//! its name. A release of an older version has none.
//!
//! CRC-32, because archives of the kind ZIP carry it and it costs nothing while they are unpacked; it finds damage and edits, not an
//! attacker, who could change this file as well.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::state::{escape, unescape};
use crate::model::ReleaseId;

/// Where they lie in the store.
pub const DIR: &str = "manifests";
/// How its first line begins; what follows is the format.
const FORMAT: &str = "manifest 1";
/// Its last line: a copy that was cut off is not mistaken for a whole one.
const END: &str = "end";

/// The names of one tree, parents before their children, siblings in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    lines: String,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the top.
    pub path: PathBuf,
    /// What it is.
    pub what: What,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Permission bits (07777).
        mode: u32,
        /// Bytes.
        size: u64,
        /// Of its content.
        crc: u32,
    },
    /// A directory.
    Dir {
        /// Permission bits (07777).
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        target: OsString,
    },
}

/// What became of a name from one tree to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Both have it, not the same.
    Changed,
    /// Only the first has it.
    Removed,
}

impl Manifest {
    /// Adds what comes next in order.
    pub fn push(&mut self, path: &[u8], what: &What) {
        let line = &mut self.lines;
        // Writing to a String cannot fail. A tab is nothing that `escape` leaves as it is.
        match what {
            What::File { mode, size, crc } => write!(line, "f\t{mode:o}\t{size}\t{crc:08x}\t").unwrap_or(()),
            What::Dir { mode } => write!(line, "d\t{mode:o}\t").unwrap_or(()),
            What::Link { target } => {
                line.push_str("l\t");
                escape(target.as_bytes(), line);
                line.push('\t');
            }
        }
        escape(path, line);
        line.push('\n');
    }

    /// All of it, in order.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        self.lines.lines().filter_map(item) // there is no other line: `parse` has seen to it
    }

    /// What lies below the directory `top`, as if that were all.
    pub fn below(&self, top: &Path) -> Self {
        let mut below = Self::default();
        for Item { path, what } in self.items() {
            match path.strip_prefix(top) {
                Ok(path) if path != Path::new("") => below.push(path.as_os_str().as_bytes(), &what),
                _ => {}
            }
        }
        below
    }

    /// As text.
    pub fn print(&self) -> String {
        format!("{FORMAT}\n{}{END}\n", self.lines)
    }

    /// Reads it back; `None` when it is not whole, or another version's.
    pub fn parse(mut text: String) -> Option<Self> {
        let length = text.strip_suffix('\n')?.strip_suffix(END)?.len();
        let head = text.strip_prefix(FORMAT)?.strip_prefix('\n').map(|rest| text.len() - rest.len())?;
        text.truncate(length); // in place: there are two hundred thousand lines
        (head <= length).then(|| text.drain(..head))?;
        text.lines().all(|line| item(line).is_some()).then_some(Self { lines: text })
    }

    /// Passes on what differs between this tree and `to`, in order.
    pub fn changes(&self, to: &Self, tell: &mut dyn FnMut(Change, &Item)) {
        let (mut olds, mut news) = (self.items().peekable(), to.items().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.path.cmp(&new.path),
            };
            let old = if order == Ordering::Greater { None } else { olds.next() };
            let new = if order == Ordering::Less { None } else { news.next() };
            match (old, new) {
                (Some(old), Some(new)) if old.what != new.what => tell(Change::Changed, &new),
                (None, Some(new)) => tell(Change::Added, &new),
                (Some(old), None) => tell(Change::Removed, &old),
                _ => {}
            }
        }
    }
}

fn item(line: &str) -> Option<Item> {
    let bytes = |text: &str| unescape(text.as_bytes()).map(OsString::from_vec);
    let mut fields = line.split('\t');
    let kind = fields.next()?;
    let what = match kind {
        "f" => What::File {
            mode: u32::from_str_radix(fields.next()?, 8).ok()?,
            size: fields.next()?.parse().ok()?,
            crc: u32::from_str_radix(fields.next()?, 16).ok()?,
        },
        "d" => What::Dir { mode: u32::from_str_radix(fields.next()?, 8).ok()? },
        "l" => What::Link { target: bytes(fields.next()?)? },
        _ => return None,
    };
    let path = PathBuf::from(bytes(fields.next()?)?);
    fields.next().is_none().then_some(Item { path, what })
}

/// Where the manifest of `release` lies in the store at `root`.
pub fn path(root: &Path, release: &ReleaseId) -> PathBuf {
    root.join(DIR).join(release)
}

/// Whether there is one for `release` that is not whole: something has damaged it.
pub fn is_damaged(root: &Path, release: &ReleaseId) -> bool {
    std::fs::symlink_metadata(path(root, release)).is_ok() && read(root, release).is_none()
}

/// The manifest of `release` in the store at `root`, when there is one that is whole; needs no lock.
pub fn read(root: &Path, release: &ReleaseId) -> Option<Manifest> {
    let text = std::fs::read_to_string(path(root, release)).ok()?; // as good as none: the tree can be read instead
    Manifest::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> What {
        What::File { mode: 0o644, size, crc: 7 }
    }

    fn of(items: &[(&[u8], What)]) -> Manifest {
        let mut manifest = Manifest::default();
        items.iter().for_each(|(path, what)| manifest.push(path, what));
        manifest
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
        let text = manifest.print();
        assert_eq!(Manifest::parse(text.clone()), Some(manifest.clone()));
        let read: Vec<_> = manifest.items().map(|i| (i.path.into_os_string().into_vec(), i.what)).collect();
        let written: Vec<_> = items.into_iter().map(|(path, what)| (path.to_vec(), what)).collect();
        assert_eq!(read, written);
        assert_eq!(Manifest::parse(Manifest::default().print()), Some(Manifest::default()));
        for cut in 0..text.len() {
            assert_eq!(Manifest::parse(text[..cut].to_owned()), None, "{:?}", &text[..cut]);
        }
        for broken in [text.replace("manifest 1", "manifest 2"), text.replace("f\t", "x\t"), text.replace("644", "9")] {
            assert_eq!(Manifest::parse(broken.clone()), None, "{broken}");
        }
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
            from.changes(to, &mut |change, item| told.push((change, item.path.display().to_string())));
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
        assert_eq!(of(&new).below(Path::new("a")), of(&[(b"same", file(2)), (b"z", file(1))]));
        assert_eq!(of(&new).below(Path::new("a/z")), Manifest::default());
    }
}
