//! What may be unpacked, and as what: names, kinds, links, counts and sizes, one policy for every kind of artifact. Pure:
//! it sees names and numbers, never a disk. A [`Listing`] takes one member after the other; only a listing that holds
//! together as a whole becomes a [`Plan`], and only a plan can be written. Nothing is ever repaired: a name is taken as
//! it stands or refused. Memory per member: its name and 20 bytes.

use super::names::{by_component, refusal, shared_components, shown, stripped, up};
use crate::error::{Error, Result};
use crate::model::{Layout, Links};

/// Longest link text, in bytes: what Linux takes.
pub(super) const MAX_LINK: usize = 4095;
/// What a file system gives out in one piece, nearly everywhere.
const BLOCK: u64 = 4096;

/// What a member becomes. Set-id, sticky and write bits for others are not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file nobody may execute.
    File,
    /// A file with an executable bit for anybody.
    Program,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
}

impl Kind {
    /// A regular file by its permission bits.
    pub(super) fn file(mode: u32) -> Self {
        if mode & 0o111 == 0 { Self::File } else { Self::Program }
    }

    /// The mode it gets, whatever it had.
    pub(super) fn mode(self) -> u32 {
        if self == Self::File { 0o644 } else { 0o755 }
    }
}

/// A name of the arena, as it came and without what `strip-components` cuts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    skip: u16,
    len: u16,
    kind: Kind,
}

/// Members as they come, each good in itself.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    layout: &'a Layout,
    names: Vec<u8>,
    entries: Vec<Entry>,
    bytes: u64,
    space: u64,
}

/// Members that fit together: no name twice, nothing below a file or a link, within every limit.
#[derive(Debug)]
pub(super) struct Plan {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries by path, a directory right before what is in it.
    order: Vec<u32>,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Bytes on disk, about.
    pub(super) space: u64,
    /// Files, directories and links, the directories that no member names among them.
    pub(super) count: u64,
}

impl<'a> Listing<'a> {
    /// An empty listing. `expected` members are about to come, if whoever says so is right.
    pub(super) fn new(layout: &'a Layout, expected: usize) -> Self {
        Self { layout, names: Vec::new(), entries: Vec::with_capacity(expected), bytes: 0, space: 0 }
    }

    /// Adds a member by its full name, without a trailing slash. `None`: `strip-components` leaves nothing of it.
    pub(super) fn add(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<u32>> {
        if let Some(reason) = refusal(name) {
            return Err(Error::refused(format!("member {}: {reason}", shown(name))));
        }
        if kind == Kind::Link && self.layout.symlinks == Links::Refuse {
            return Err(Error::refused(format!(
                "member {}: it is a symbolic link (symlinks = inside would allow those that stay inside)",
                shown(name)
            )));
        }
        let Some(skip) = stripped(name, self.layout.strip_components) else { return Ok(None) };
        self.count(name, size)?;
        let index = u32::try_from(self.entries.len());
        let (Ok(index), Ok(start)) = (index, u32::try_from(self.names.len())) else {
            return Err(Error::refused("its names are longer than 4 GiB together"));
        };
        // Both fit: a name has at most 1024 bytes.
        let (skip, len) = (u16::try_from(skip).unwrap_or(u16::MAX), u16::try_from(name.len()).unwrap_or(u16::MAX));
        self.names.extend_from_slice(name);
        self.entries.push(Entry { start, skip, len, kind });
        Ok(Some(index))
    }

    fn count(&mut self, name: &[u8], size: u64) -> Result<()> {
        let too_much = || {
            let limit = readable(self.layout.max_unpacked);
            Error::refused(format!("member {}: with it the content is over max-unpacked = {limit}", shown(name)))
        };
        self.bytes = self.bytes.checked_add(size).filter(|b| *b <= self.layout.max_unpacked).ok_or_else(too_much)?;
        self.space = self.space.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        if self.entries.len() as u64 >= self.layout.max_files {
            return Err(too_many(self.layout));
        }
        Ok(())
    }

    /// Looks at the members as a whole.
    pub(super) fn check(self) -> Result<Plan> {
        let Self { layout, names, entries, bytes, space } = self;
        let count = entries.len();
        // As many as u32 counts: `add` saw to it.
        let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
        let path = |i: u32| entries[i as usize].path(&names);
        order.sort_unstable_by(|a, b| by_component(path(*a), path(*b)));
        let mut implied = 0;
        let mut before: Option<u32> = None;
        for &here in &order {
            let shared = match before {
                Some(before) => {
                    conflict(&entries[before as usize], &entries[here as usize], &names)?;
                    shared_components(path(before), path(here))
                }
                None => 0,
            };
            let parents = path(here).split(|b| *b == b'/').count() - 1;
            implied += parents.saturating_sub(shared) as u64;
            before = Some(here);
        }
        let count = count as u64 + implied;
        if count > layout.max_files {
            return Err(too_many(layout));
        }
        Ok(Plan { names, entries, order, bytes, space, count })
    }
}

impl Plan {
    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What a member becomes.
    pub(super) fn kind(&self, index: u32) -> Kind {
        self.entries[index as usize].kind
    }

    /// Its full name.
    pub(super) fn name(&self, index: u32) -> &[u8] {
        let entry = &self.entries[index as usize];
        &self.names[entry.start as usize..][..entry.len as usize]
    }

    /// Where it goes.
    pub(super) fn path(&self, index: u32) -> &[u8] {
        self.entries[index as usize].path(&self.names)
    }

    /// Whether the link `index` may have this text: relative, never above the tree, and through no other link of ours. It
    /// may end at one (`lib.so` -> `lib.so.1` -> `lib.so.1.2`): that one is held to the same rule.
    pub(super) fn check_link(&self, index: u32, text: &[u8]) -> Result<()> {
        let wrong = |reason: &str| {
            let name = shown(self.name(index));
            Err(Error::refused(format!("member {name}: a link to {}, which {reason}", shown(text))))
        };
        if text.is_empty() || text.len() > MAX_LINK || text.iter().any(u8::is_ascii_control) {
            return wrong("is no possible target");
        }
        if text[0] == b'/' {
            return wrong("is absolute: only links that stay inside are allowed");
        }
        let mut place = self.path(index).to_vec();
        up(&mut place);
        for component in text.split(|b| *b == b'/') {
            // Anything after a link, `.` and an empty component too, makes the kernel go through it.
            if self.is_link(&place) {
                return wrong(&format!("goes through the link {}", shown(&place)));
            }
            match component {
                b"" | b"." => {}
                b".." if place.is_empty() => return wrong("leads outside: only links that stay inside are allowed"),
                b".." => up(&mut place),
                name => {
                    if !place.is_empty() {
                        place.push(b'/');
                    }
                    place.extend_from_slice(name);
                }
            }
        }
        Ok(())
    }

    fn is_link(&self, path: &[u8]) -> bool {
        let found = self.order.binary_search_by(|i| by_component(self.path(*i), path));
        found.is_ok_and(|at| self.kind(self.order[at]) == Kind::Link)
    }
}

impl Entry {
    fn path<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        &names[self.start as usize..][self.skip as usize..self.len as usize]
    }
}

/// Whether `here`, which follows `before` in order, cannot stand beside it.
fn conflict(before: &Entry, here: &Entry, names: &[u8]) -> Result<()> {
    let (above, below) = (before.path(names), here.path(names));
    if above == below {
        return Err(Error::refused(format!("member {}: it is there twice", shown(below))));
    }
    let inside = below.strip_prefix(above).is_some_and(|rest| rest[0] == b'/');
    if inside && before.kind != Kind::Dir {
        let (above, below) = (shown(above), shown(below));
        return Err(Error::refused(format!("member {below}: it lies in {above}, which is no directory")));
    }
    Ok(())
}

fn too_many(layout: &Layout) -> Error {
    let limit = layout.max_files;
    Error::refused(format!("it holds more files, directories and links than max-files = {limit}"))
}

/// Bytes as people read them: `512 bytes`, `103.4 MiB`.
pub(super) fn readable(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let exponent = (bytes.ilog2() / 10).min(4);
    let unit = 1_u64 << (10 * exponent);
    let tenths = (u128::from(bytes) * 10 / u128::from(unit)) % 10;
    let name = UNITS[exponent as usize - 1];
    if tenths == 0 { format!("{} {name}", bytes / unit) } else { format!("{}.{tenths} {name}", bytes / unit) }
}
