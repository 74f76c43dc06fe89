//! The policy for unpacking: names, kinds, links, counts and sizes, the same for every kind of artifact. Pure: it sees
//! names and numbers, never a disk. A [`Listing`] takes one member after the other; only a listing that is consistent
//! as a whole becomes a [`Plan`], and only a plan can be written. Nothing is ever repaired: a name is taken as it is or
//! refused. Memory per member: its name, once, and 16 bytes (24 if it can be a hard link); names and link texts share
//! one budget.

use std::rc::Rc;

use super::hard_links::HardLinks;
use super::names::{by_component, refusal, shared_components, shown, stripped};
use crate::artifact::{Access, Span, Texts};
use crate::console::progress;
use crate::error::{Context, Error, Result};
use crate::model::{Layout, Links};
use crate::store::manifest::{self, Budget, Manifest, Rows};
use crate::sys::sort::sort_numbers;

/// Longest link text, in bytes: the limit of Linux.
pub(super) const MAX_LINK: usize = 4095;
/// The allocation unit of nearly all file systems.
const BLOCK: u64 = 4096;

/// The kind of the entry that a member becomes. Set-id, sticky and write bits for others are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file without an executable bit.
    File,
    /// A file with an executable bit for any user.
    Program,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
}

impl Kind {
    /// The kind of a regular file, by its permission bits.
    pub(super) fn file(mode: u32) -> Self {
        if mode & 0o111 == 0 { Self::File } else { Self::Program }
    }

    /// The mode that a member gets, whatever it had, if all users may read it.
    pub(super) fn mode(self) -> u16 {
        if self == Self::File { 0o644 } else { 0o755 }
    }
}

/// A name as in the artifact, and the length that `strip-components` removes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    skip: u16,
    kind: Kind,
    access: Access,
}

/// Members in the order of the artifact, each valid in itself.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    layout: &'a Layout,
    names: Rc<Texts>,
    entries: Vec<Entry>,
    budget: Budget,
    hard_links: HardLinks,
    /// Bytes of announced link texts.
    texts: u64,
    bytes: u64,
    space: u64,
}

/// Members that are consistent: no name twice, nothing below a file or a link, within every limit.
#[derive(Debug)]
pub(super) struct Plan {
    names: Rc<Texts>,
    entries: Vec<Entry>,
    /// Entries by path, a directory right before its content; a repeated directory once.
    order: Vec<u32>,
    /// Each copy and its original, which comes before it.
    copies: Vec<(u32, u32)>,
    /// The budget that is left for link texts.
    pub(super) budget: Budget,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Approximate bytes on disk.
    pub(super) space: u64,
    /// The number of files, directories and links, including directories that no member names.
    pub(super) count: u64,
}

impl<'a> Listing<'a> {
    /// An empty listing with room for `expected` members.
    pub(super) fn new(layout: &'a Layout, expected: usize) -> Self {
        let (names, budget) = (Rc::default(), Budget::new(layout.max_names));
        let (entries, hard_links) = (Vec::with_capacity(expected), HardLinks::default());
        Self { layout, names, entries, budget, hard_links, texts: 0, bytes: 0, space: 0 }
    }

    /// A listing of members whose full names are in `names`.
    pub(super) fn of(layout: &'a Layout, names: Rc<Texts>) -> Self {
        Self { names, ..Self::new(layout, 0) }
    }

    /// Adds a member by its full name, without a trailing slash; `size` counts the bytes of its content, or of its text
    /// if it is a link. `None`: `strip-components` leaves nothing of its name.
    pub(super) fn add(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<u32>> {
        let Some(skip) = self.admit(name, kind, size)? else { return Ok(None) };
        let name = Rc::make_mut(&mut self.names).push(name);
        self.push(name, skip, kind)
    }

    /// Like [`Listing::add`], for a member whose name is among the listing's initial names.
    pub(super) fn add_at(&mut self, name: Span, kind: Kind, size: u64) -> Result<Option<u32>> {
        let names = Rc::clone(&self.names);
        match self.admit(names.get(name), kind, size)? {
            Some(skip) => self.push(Some(name), skip, kind),
            None => Ok(None),
        }
    }

    /// Records the size of the member that was added last: a hard link may refer to it.
    pub(super) fn keep_size(&mut self, size: u64) {
        self.hard_links.push_size(size);
    }

    /// Adds a hard link to an earlier member by both full names. `None`: it is no member, because it links to itself or
    /// because `strip-components` leaves nothing of its name.
    pub(super) fn add_hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<Option<u32>> {
        let before = u32::try_from(self.entries.len()).unwrap_or(u32::MAX); // `push` checks it
        let index = match name == target {
            true if stripped(name, self.layout.strip_components).is_none() => return Ok(None),
            true => None,
            // Its kind and size are known once all members are.
            false => match self.add(name, Kind::File, 0)? {
                None => return Ok(None),
                index => index,
            },
        };
        if index.is_some() {
            self.keep_size(0);
        }
        let pushed = self.hard_links.push(index, before, target, &mut self.budget);
        pushed.with_context(|| format!("member {}", shown(name)))?;
        Ok(index)
    }

    /// Whether the policy accepts a member, and the length that is removed from its name.
    fn admit(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<usize>> {
        let member = || format!("member {}", shown(name));
        if let Some(reason) = refusal(name) {
            return Err(Error::refused(reason)).with_context(member);
        }
        if kind == Kind::Link {
            check_link_kind(self.layout, size).with_context(member)?;
        }
        let Some(skip) = stripped(name, self.layout.strip_components) else { return Ok(None) };
        self.budget.take(name.len() as u64).with_context(member)?;
        if kind == Kind::Link {
            self.texts += size;
            self.budget.take(size).with_context(member)?;
        } else {
            self.count(size).with_context(member)?;
        }
        if self.entries.len() as u64 >= self.layout.max_files {
            return Err(too_many(self.layout));
        }
        Ok(Some(skip))
    }

    fn push(&mut self, name: Option<Span>, skip: usize, kind: Kind) -> Result<Option<u32>> {
        let index = u32::try_from(self.entries.len());
        let (Ok(index), Some(name)) = (index, name) else {
            return Err(Error::refused("its names are longer than 4 GiB together"));
        };
        // It fits: a name has at most 1024 bytes.
        let skip = u16::try_from(skip).unwrap_or(u16::MAX);
        self.entries.push(Entry { name, skip, kind, access: Access::All });
        Ok(Some(index))
    }

    /// Restricts reading of the member `index`, which was added before, to `access`.
    pub(super) fn restrict(&mut self, index: u32, access: Access) {
        self.entries[index as usize].access = access;
    }

    fn count(&mut self, size: u64) -> Result<()> {
        let too_much = || {
            let limit = progress::size(self.layout.max_unpacked);
            Error::refused(format!("with it the content is over max-unpacked = {limit}"))
        };
        self.bytes = self.bytes.checked_add(size).filter(|b| *b <= self.layout.max_unpacked).ok_or_else(too_much)?;
        self.space = self.space.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        Ok(())
    }

    /// Checks the members as a whole.
    pub(super) fn check(mut self) -> Result<Plan> {
        let (order, implied) = self.order()?;
        let count = order.len() as u64 + implied;
        if count > self.layout.max_files {
            return Err(too_many(self.layout));
        }
        let copies = if self.hard_links.is_empty() { Vec::new() } else { self.copies(&order)? };
        let Self { names, entries, mut budget, texts, bytes, space, .. } = self;
        budget.give_back(texts); // their actual size is taken when they are read
        Ok(Plan { names, entries, order, copies, budget, bytes, space, count })
    }

    /// The members by path, each path once, and the number of directories that no member names. Conflicting members are
    /// refused.
    fn order(&mut self) -> Result<(Vec<u32>, u64)> {
        let Self { names, entries, budget, .. } = self;
        let path = |i: u32| entries[i as usize].path(names);
        // At most as many as u32 counts: `push` checks it.
        let mut order: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        sort_numbers(&mut order, &mut |a, b| by_component(path(a), path(b)));
        // A directory may occur several times: every reader makes it once.
        let is_dir = |i: u32| entries[i as usize].kind == Kind::Dir;
        order.dedup_by(|a, b| is_dir(*a) && is_dir(*b) && path(*a) == path(*b));
        let mut implied = 0;
        let mut before: Option<u32> = None;
        for &here in &order {
            let shared = match before {
                Some(before) => {
                    conflict(&entries[before as usize], &entries[here as usize], names)?;
                    shared_components(path(before), path(here))
                }
                None => 0,
            };
            for length in parents(path(here)).skip(shared) {
                implied += 1;
                // No member has this name, but the manifest does.
                budget.take(length as u64).with_context(|| format!("member {}", shown(path(here))))?;
            }
            before = Some(here);
        }
        Ok((order, implied))
    }

    /// The original of each hard link. Copies count like any other member.
    fn copies(&mut self, order: &[u32]) -> Result<Vec<(u32, u32)>> {
        let mut hard_links = std::mem::take(&mut self.hard_links);
        let mut copies = Vec::with_capacity(hard_links.len());
        for link in hard_links.links() {
            let target = hard_links.target(link);
            let name = link.index.map_or(target, |index| self.names.get(self.entries[index as usize].name));
            let named = || format!("member {}: it is a hard link to {}", shown(name), shown(target));
            let original = self.original(order, link.before, target).map_err(Error::refused).with_context(named)?;
            self.budget.give_back(target.len() as u64);
            let Some(index) = link.index else { continue };
            let kind = self.entries[original as usize].kind;
            let name = self.entries[index as usize].name;
            self.entries[index as usize].kind = kind;
            let size = hard_links.copy_size(index, original);
            if kind != Kind::Link {
                let names = Rc::clone(&self.names);
                self.count(size).with_context(|| format!("member {}", shown(names.get(name))))?;
            }
            copies.push((index, original));
        }
        Ok(copies)
    }

    /// The member with the full name `target`, if it is a file or a link and one of the first `before`.
    fn original(&self, order: &[u32], before: u32, target: &[u8]) -> Result<u32, &'static str> {
        let skip = stripped(target, self.layout.strip_components).ok_or("which strip-components leaves out")?;
        let path = |i: u32| self.entries[i as usize].path(&self.names);
        let found = order.binary_search_by(|i| by_component(path(*i), &target[skip..])).ok().map(|at| order[at]);
        let found = found.filter(|i| *i < before && self.names.get(self.entries[*i as usize].name) == target);
        match found.map(|i| (i, self.entries[i as usize].kind)) {
            Some((i, Kind::File | Kind::Program | Kind::Link)) => Ok(i),
            Some((_, Kind::Dir)) => Err("which is a directory"),
            None => Err("which is no file before it in the archive"),
        }
    }
}

impl Plan {
    /// The number of members.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The members by path, a directory right before its content.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied()
    }

    /// The manifest of the tree, including directories that no member names; `what` by member, `texts` those of links.
    pub(super) fn manifest(&self, what: &[manifest::Entry], texts: Texts) -> Manifest {
        let directory = manifest::Entry::Dir { mode: Kind::Dir.mode() };
        let mut rows = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
        let mut before: &[u8] = b"";
        for index in self.in_order() {
            let (path, entry) = (self.path(index), &self.entries[index as usize]);
            let span = entry.name.without(entry.skip);
            let unnamed = parents(path).skip(shared_components(before, path));
            rows.extend(unnamed.map(|length| (span.first(length), directory)));
            rows.push((span, what[index as usize]));
            before = path;
        }
        Rows::new(Rc::clone(&self.names), texts, rows).into()
    }

    /// The members in the order of the artifact.
    pub(super) fn members(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) // `push` checked it
    }

    /// The kind that a member becomes.
    pub(super) fn kind(&self, index: u32) -> Kind {
        self.entries[index as usize].kind
    }

    /// The mode that a member gets.
    pub(super) fn mode(&self, index: u32) -> u16 {
        let Entry { kind, access, .. } = self.entries[index as usize];
        access.limit(kind.mode())
    }

    /// The full name of a member.
    pub(super) fn name(&self, index: u32) -> &[u8] {
        self.names.get(self.entries[index as usize].name)
    }

    /// The path that a member is written to.
    pub(super) fn path(&self, index: u32) -> &[u8] {
        self.entries[index as usize].path(&self.names)
    }

    /// The member that `index` is a copy of.
    pub(super) fn original(&self, index: u32) -> Option<u32> {
        let found = self.copies.binary_search_by_key(&index, |(copy, _)| *copy);
        found.ok().map(|at| self.copies[at].1)
    }

    /// The link at `path`, if there is one.
    pub(super) fn link_at(&self, path: &[u8]) -> Option<u32> {
        let found = self.order.binary_search_by(|i| by_component(self.path(*i), path));
        found.ok().map(|at| self.order[at]).filter(|index| self.kind(*index) == Kind::Link)
    }
}

impl Entry {
    fn path<'a>(&self, names: &'a Texts) -> &'a [u8] {
        names.get(self.name.without(self.skip))
    }
}

/// The length of each parent of `path`, the top one first.
fn parents(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

/// Refuses a link with a text of `size` bytes if the layout does not allow it.
fn check_link_kind(layout: &Layout, size: u64) -> Result<()> {
    match layout.symlinks {
        Links::Refuse => {
            Err(Error::refused("it is a symbolic link (symlinks = inside would allow those that stay inside)"))
        }
        Links::Inside | Links::Any if size > MAX_LINK as u64 => {
            Err(Error::refused(format!("it is a link with a text of more than {MAX_LINK} bytes")))
        }
        Links::Inside | Links::Any => Ok(()),
    }
}

/// Refuses `here`, which follows `before` in order, if both cannot exist.
fn conflict(before: &Entry, here: &Entry, names: &Texts) -> Result<()> {
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

/// The refusal of too many members.
pub(super) fn too_many(layout: &Layout) -> Error {
    let limit = layout.max_files;
    Error::refused(format!("it holds more files, directories and links than max-files = {limit}"))
}

#[cfg(test)]
mod tests;
