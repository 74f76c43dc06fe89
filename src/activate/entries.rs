//! A tree in memory. An entry has only its own name and the number of its directory; a path is built on request. So two
//! trees of `max-names` names fit into the memory limit of a run.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::ops::{Deref, Index, IndexMut, Range};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::limit::Limit;
use super::tree::{Entry, Walk, name};
use crate::artifact::{Span, Texts};
use crate::error::{Error, Result};
use crate::sys::fs::{Dir, Kind, Meta};

/// The number for no entry, and for the top.
const NONE: u32 = u32::MAX;

/// The metadata of one entry, in 56 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    name: Span,
    parent: u32,
    /// The number of the first entry behind its descendants.
    end: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u32,
    mode: u16,
    /// File, directory, link or other.
    pub kind: Kind,
    /// Whether another file system is mounted here; its content is not listed.
    pub mount: bool,
    /// Bytes.
    pub size: u64,
    dev: u64,
    ino: u64,
}

impl From<&Meta> for Node {
    fn from(meta: &Meta) -> Self {
        let &Meta { kind, mode, uid, gid, size, dev, ino, links, .. } = meta;
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0); // it fits
        let links = u32::try_from(links).unwrap_or(u32::MAX);
        Self { name: Span::default(), parent: NONE, end: 0, uid, gid, links, mode, kind, mount: false, size, dev, ino }
    }
}

impl Node {
    /// Permission bits (07777).
    pub fn mode(&self) -> u32 {
        self.mode.into()
    }

    /// Mode, owner and group.
    pub fn access(&self) -> (u32, u32, u32) {
        (self.mode(), self.uid, self.gid)
    }

    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether a release can have such an entry.
    pub fn is_copied(&self) -> bool {
        self.kind != Kind::Other && !self.mount
    }
}

/// Entries in blocks: a single vector would need twice the memory while it grows.
#[derive(Debug, Default)]
struct Nodes(Vec<Vec<Node>>);

/// Entries in a block.
const PIECE: usize = 4096;

impl Nodes {
    fn push(&mut self, node: Node) {
        if self.0.last().is_none_or(|piece| piece.len() == PIECE) {
            self.0.push(Vec::with_capacity(PIECE));
        }
        self.0.last_mut().into_iter().for_each(|piece| piece.push(node));
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PIECE + last.len())
    }
}

impl Index<u32> for Nodes {
    type Output = Node;

    fn index(&self, number: u32) -> &Node {
        &self.0[number as usize / PIECE][number as usize % PIECE]
    }
}

impl IndexMut<u32> for Nodes {
    fn index_mut(&mut self, number: u32) -> &mut Node {
        &mut self.0[number as usize / PIECE][number as usize % PIECE]
    }
}

/// All entries below a directory: parents before their children, siblings in byte order.
#[derive(Debug, Default)]
pub struct Tree {
    names: Texts,
    nodes: Nodes,
    texts: Texts,
    /// The targets of links by entry number, sorted.
    targets: Vec<(u32, Span)>,
    /// Bytes that files and links take on disk.
    pub allocated: u64,
}

/// One entry of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    tree: &'a Tree,
    number: u32,
}

impl Deref for Member<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.tree.nodes[self.number]
    }
}

impl<'a> Member<'a> {
    /// Its number in the tree.
    pub fn number(self) -> u32 {
        self.number
    }

    pub fn name(self) -> &'a OsStr {
        self.tree.name(self.number)
    }

    /// Its directory; `None`: the top.
    pub fn parent(self) -> Option<Self> {
        (self.parent != NONE).then_some(Self { number: self.parent, ..self })
    }

    /// Relative to the top.
    pub fn path(self) -> PathBuf {
        let mut way: Vec<&OsStr> = std::iter::successors(Some(self), |at| at.parent()).map(Self::name).collect();
        way.reverse();
        way.iter().collect()
    }

    /// A link's target, if the tree keeps targets.
    pub fn target(self) -> Option<&'a OsStr> {
        let at = self.tree.targets.binary_search_by_key(&self.number, |(number, _)| *number).ok()?;
        Some(OsStr::from_bytes(self.tree.texts.get(self.tree.targets[at].1)))
    }

    /// Whether it is `other`, or below it.
    pub fn is_within(self, other: u32) -> bool {
        (other..self.tree.nodes[other].end).contains(&self.number)
    }

    /// All entries below it.
    pub fn below(self) -> impl Iterator<Item = Self> {
        (self.number + 1..self.end).map(move |number| Self { number, ..self })
    }

    /// The numbers of the entries below it.
    pub fn range(self) -> Range<usize> {
        self.number as usize + 1..self.end as usize
    }
}

impl Tree {
    /// Lists the tree below `top`, without `skip` and anything below it. Link targets are not kept.
    pub fn read(top: &Dir, skip: &[PathBuf], limit: Limit) -> Result<Self> {
        Self::list(top, Walk::new(skip, limit), false)
    }

    /// The same with link targets, and without names that match `is_left_out`, nor anything below them.
    pub fn of_release(top: &Dir, skip: &[PathBuf], limit: Limit, is_left_out: fn(&OsStr) -> bool) -> Result<Self> {
        Self::list(top, Walk::new(skip, limit).without(is_left_out), true)
    }

    fn list(top: &Dir, walk: Walk<'_>, with_texts: bool) -> Result<Self> {
        let mut list = List::default();
        let names = walk.over_all(top, &mut |_, entry, name| {
            let Entry { path, meta, target, mount } = entry;
            let node = Node { name, mount, ..Node::from(&meta) };
            list.push(path, node)?;
            if node.is_copied() && node.kind != Kind::Dir {
                list.tree.allocated = list.tree.allocated.saturating_add(meta.allocated);
            }
            target.filter(|_| with_texts).map_or(Ok(()), |text| list.push_target(text.as_bytes()))
        })?;
        Ok(Self { names, ..list.finish() })
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The entry with this number, which must be one of this tree.
    pub fn at(&self, number: u32) -> Member<'_> {
        Member { tree: self, number }
    }

    /// All entries, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = Member<'_>> {
        (0..self.count()).map(|number| self.at(number))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(NONE) // never more than NONE
    }

    fn name(&self, number: u32) -> &OsStr {
        OsStr::from_bytes(self.names.get(self.nodes[number].name))
    }

    /// The entry at `path`.
    pub fn find(&self, path: &Path) -> Option<Member<'_>> {
        let (mut at, mut inside) = (NONE, 0..self.count());
        for name in path {
            at = self.child(at, inside, name)?;
            inside = at + 1..self.nodes[at].end;
        }
        (at != NONE).then(|| self.at(at))
    }

    /// The entry `name` of the directory `parent`, among the numbers `inside`.
    fn child(&self, parent: u32, mut inside: Range<u32>, name: &OsStr) -> Option<u32> {
        while !inside.is_empty() {
            let mut at = inside.start + (inside.end - inside.start) / 2;
            while self.nodes[at].parent != parent {
                at = self.nodes[at].parent;
            }
            match self.name(at).cmp(name) {
                Ordering::Less => inside.start = self.nodes[at].end,
                Ordering::Greater => inside.end = at,
                Ordering::Equal => return Some(at),
            }
        }
        None
    }

    /// Gives each entry the owner that its path has in `other`, or `otherwise`.
    pub fn take_owners(&mut self, other: &Self, otherwise: (u32, u32)) {
        self.meet(other, |node, there| (node.uid, node.gid) = there.map_or(otherwise, |at| (at.uid, at.gid)));
    }

    /// Gives each entry the mode and owner that its path has in `other`, if `other` has it.
    pub fn take_access(&mut self, other: &Self) {
        self.meet(other, |node, there| {
            let Node { mode, uid, gid, .. } = there.copied().unwrap_or(*node);
            (node.mode, node.uid, node.gid) = (mode, uid, gid);
        });
    }

    /// Calls `each` with every entry and the one at the same path in `other`.
    fn meet(&mut self, other: &Self, mut each: impl FnMut(&mut Node, Option<&Node>)) {
        let pairs = Pairs::of(self, other);
        for (number, node) in (0..).zip(self.nodes.0.iter_mut().flatten()) {
            each(node, pairs.get(number).map(|at| &other.nodes[at]));
        }
    }
}

/// A tree under construction.
#[derive(Debug, Default)]
pub struct List {
    tree: Tree,
    /// The directories above the next entry, with their numbers.
    way: Vec<(PathBuf, u32)>,
}

impl List {
    /// Adds the next entry in order, with its name.
    pub fn push_named(&mut self, path: PathBuf, meta: &Meta) -> Result<()> {
        let name = self.tree.names.push(name(&path).as_bytes()).ok_or_else(too_long)?;
        self.push(path, Node { name, ..Node::from(meta) })
    }

    fn push(&mut self, path: PathBuf, node: Node) -> Result<()> {
        let above = path.parent().unwrap_or(Path::new(""));
        while self.way.pop_if(|(at, _)| at != above).is_some() {}
        let parent = match self.way.last() {
            Some((_, number)) => *number,
            None if above == Path::new("") => NONE,
            None => return Err(Error::failed(format!("{} is in no directory that comes before it", path.display()))),
        };
        let number = self.tree.count();
        if number == NONE {
            return Err(Error::failed("there are too many names"));
        }
        self.tree.nodes.push(Node { parent, end: number + 1, ..node });
        if node.kind == Kind::Dir {
            self.way.push((path, number));
        }
        Ok(())
    }

    /// Sets the target of the link added last.
    pub fn push_target(&mut self, text: &[u8]) -> Result<()> {
        let text = self.tree.texts.push(text).ok_or_else(too_long)?;
        self.tree.targets.push((self.tree.count().saturating_sub(1), text));
        Ok(())
    }

    pub fn finish(self) -> Tree {
        let mut tree = self.tree;
        for at in (0..tree.count()).rev() {
            let Node { parent, end, .. } = tree.nodes[at];
            if parent != NONE {
                let parent = &mut tree.nodes[parent];
                parent.end = parent.end.max(end);
            }
        }
        tree
    }
}

fn too_long() -> Error {
    Error::failed("names or link texts are longer than 4 GiB together")
}

/// The pairs of entries with the same path in two trees.
#[derive(Debug)]
pub struct Pairs(Vec<u32>);

impl Pairs {
    /// Pairs two trees. Both are sorted, so that each entry is visited once.
    pub fn of(tree: &Tree, other: &Tree) -> Self {
        let mut pairs = Self(vec![NONE; tree.len()]);
        pairs.pair(tree, 0..tree.count(), other, 0..other.count());
        pairs
    }

    /// The number of the paired entry in the other tree.
    pub fn get(&self, number: u32) -> Option<u32> {
        self.0.get(number as usize).copied().filter(|at| *at != NONE)
    }

    /// Recurses as deep as the tree, which `MAX_DEPTH` limits.
    fn pair(&mut self, tree: &Tree, mut inside: Range<u32>, other: &Tree, mut there: Range<u32>) {
        while !inside.is_empty() && !there.is_empty() {
            let (at, to) = (tree.at(inside.start), other.at(there.start));
            let order = at.name().cmp(to.name());
            if order == Ordering::Equal {
                self.0[at.number as usize] = to.number;
                self.pair(tree, at.number + 1..at.end, other, to.number + 1..to.end);
            }
            if order != Ordering::Greater {
                inside.start = at.end;
            }
            if order != Ordering::Less {
                there.start = to.end;
            }
        }
    }
}
