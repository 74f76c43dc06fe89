//! What may be unpacked, and as what: names, kinds, links, counts and sizes, one policy for every kind of artifact. Pure:
//! it sees names and numbers, never a disk. A [`Listing`] takes one member after the other; only a listing that holds
//! together as a whole becomes a [`Plan`], and only a plan can be written. Nothing is ever repaired: a name is taken as
//! it stands or refused. Memory per member: its name, once, and 16 bytes (24 where hard links can be); names and link texts
//! together have one budget.

use std::rc::Rc;

use super::hard_links::HardLinks;
use super::names::{by_component, refusal, shared_components, shown, stripped};
use crate::artifact::{Access, Span, Texts};
use crate::console::progress;
use crate::error::{Context, Error, Result};
use crate::model::{Layout, Links};
use crate::store::manifest::{self, Budget, Manifest, Rows};

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

    /// The mode it gets, whatever it had, where everybody may read it.
    pub(super) fn mode(self) -> u16 {
        if self == Self::File { 0o644 } else { 0o755 }
    }
}

/// A name as it came, and how much of it `strip-components` cuts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    skip: u16,
    kind: Kind,
    access: Access,
}

/// Members as they come, each good in itself.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    layout: &'a Layout,
    names: Rc<Texts>,
    entries: Vec<Entry>,
    budget: Budget,
    hard_links: HardLinks,
    /// Bytes of link texts that were announced.
    texts: u64,
    bytes: u64,
    space: u64,
}

/// Members that fit together: no name twice, nothing below a file or a link, within every limit.
#[derive(Debug)]
pub(super) struct Plan {
    names: Rc<Texts>,
    entries: Vec<Entry>,
    /// Entries by path, a directory right before what is in it; of a directory that is there several times, one.
    order: Vec<u32>,
    /// Each copy, and what it is a copy of, which comes before it.
    copies: Vec<(u32, u32)>,
    /// What is left for link texts.
    pub(super) budget: Budget,
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
        let (names, budget) = (Rc::default(), Budget::new(layout.max_names));
        let (entries, hard_links) = (Vec::with_capacity(expected), HardLinks::default());
        Self { layout, names, entries, budget, hard_links, texts: 0, bytes: 0, space: 0 }
    }

    /// A listing of members of which the full names stand in `names`.
    pub(super) fn of(layout: &'a Layout, names: Rc<Texts>) -> Self {
        Self { names, ..Self::new(layout, 0) }
    }

    /// Adds a member by its full name, without a trailing slash; `size` counts the bytes of its content, or of its text
    /// when it is a link. `None`: `strip-components` leaves nothing of it.
    pub(super) fn add(&mut self, name: &[u8], kind: Kind, size: u64) -> Result<Option<u32>> {
        let Some(skip) = self.admit(name, kind, size)? else { return Ok(None) };
        let name = Rc::make_mut(&mut self.names).push(name);
        self.push(name, skip, kind)
    }

    /// The same for a member whose name stands in the names that the listing began with.
    pub(super) fn add_at(&mut self, name: Span, kind: Kind, size: u64) -> Result<Option<u32>> {
        let names = Rc::clone(&self.names);
        match self.admit(names.get(name), kind, size)? {
            Some(skip) => self.push(Some(name), skip, kind),
            None => Ok(None),
        }
    }

    /// Keeps the size of the member that was added last: a hard link may come to it.
    pub(super) fn keep_size(&mut self, size: u64) {
        self.hard_links.push_size(size);
    }

    /// Adds a hard link to an earlier member by both full names. `None`: it is no member of its own, because it links to
    /// itself or because `strip-components` leaves nothing of it.
    pub(super) fn add_hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<Option<u32>> {
        let before = u32::try_from(self.entries.len()).unwrap_or(u32::MAX); // `push` sees to it
        let index = match name == target {
            true if stripped(name, self.layout.strip_components).is_none() => return Ok(None),
            true => None,
            // What it is, and how large, is known when all members are there.
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

    /// Whether such a member is taken, and what is cut from its name.
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

    /// Lets no more than `access` read the member `index`, which was added before.
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

    /// Looks at the members as a whole.
    pub(super) fn check(mut self) -> Result<Plan> {
        let (order, implied) = self.order()?;
        let count = order.len() as u64 + implied;
        if count > self.layout.max_files {
            return Err(too_many(self.layout));
        }
        let copies = if self.hard_links.is_empty() { Vec::new() } else { self.copies(&order)? };
        let Self { names, entries, mut budget, texts, bytes, space, .. } = self;
        budget.give_back(texts); // whoever reads them takes what they really have
        Ok(Plan { names, entries, order, copies, budget, bytes, space, count })
    }

    /// The members by path, each path once, and how many directories nobody names. What cannot stand together is refused.
    fn order(&mut self) -> Result<(Vec<u32>, u64)> {
        let Self { names, entries, budget, .. } = self;
        let path = |i: u32| entries[i as usize].path(names);
        // As many as u32 counts: `push` saw to it.
        let mut order: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by(|a, b| by_component(path(*a), path(*b)));
        // A directory may be there several times: every reader makes it once.
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
                // Nobody else names it, and the manifest does.
                budget.take(length as u64).with_context(|| format!("member {}", shown(path(here))))?;
            }
            before = Some(here);
        }
        Ok((order, implied))
    }

    /// What each hard link is a copy of. Copies count like any other member.
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
    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The members by path, a directory right before what is in it.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied()
    }

    /// What it comes to, the directories that no member names among it; `what` by member, `texts` those of links.
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

    /// The members as they came.
    pub(super) fn members(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) // `push` saw to it
    }

    /// What a member becomes.
    pub(super) fn kind(&self, index: u32) -> Kind {
        self.entries[index as usize].kind
    }

    /// The mode it gets.
    pub(super) fn mode(&self, index: u32) -> u16 {
        let Entry { kind, access, .. } = self.entries[index as usize];
        access.limit(kind.mode())
    }

    /// Its full name.
    pub(super) fn name(&self, index: u32) -> &[u8] {
        self.names.get(self.entries[index as usize].name)
    }

    /// Where it goes.
    pub(super) fn path(&self, index: u32) -> &[u8] {
        self.entries[index as usize].path(&self.names)
    }

    /// What the member `index` is a copy of.
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

/// How many bytes of `path` each of its parents has, the top one first.
fn parents(path: &[u8]) -> impl Iterator<Item = usize> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at)
}

/// Whether there may be a link with a text of `size` bytes.
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

/// Whether `here`, which follows `before` in order, cannot stand beside it.
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

/// A refusal of more members than there may be.
pub(super) fn too_many(layout: &Layout) -> Error {
    let limit = layout.max_files;
    Error::refused(format!("it holds more files, directories and links than max-files = {limit}"))
}

#[cfg(test)]
mod tests;
