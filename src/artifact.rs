//! What a source hands over: the bytes of an archive or an open directory, with the revision that came with them, and
//! what lies beside it to prove it by.

mod texts;

use std::fs::File;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

pub use self::texts::{Span, Texts};

/// Longest name of a member, in bytes. A source that lists names keeps none that is longer.
pub const MAX_NAME: usize = 1024;

/// So many bytes at the end of an archive are enough to find its directory by, if it has one.
pub const TAIL: u64 = 96 << 10;
/// And so many at its beginning, to tell what it is.
pub const HEAD: u64 = 512;

/// What was fetched, before anybody has looked inside.
#[derive(Debug)]
pub struct Artifact {
    /// The revision of the response that carried the bytes, never of an earlier poll.
    pub revision: Revision,
    /// What makes the next poll conditional.
    pub validators: Validators,
    /// The thing itself.
    pub content: Content,
    /// How messages call it: the remote without credentials, or the file's path.
    pub name: String,
}

/// The kinds of things that can be fetched.
#[derive(Debug)]
pub enum Content {
    /// A complete archive, positioned anywhere.
    Archive(File),
    /// A directory on this host.
    Directory(Dir),
    /// A tree that its source reads out.
    Tree(Box<dyn Tree>),
}

/// What a member of a [`Tree`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file nobody may execute.
    File,
    /// A file anybody may execute.
    Program,
    /// A symbolic link; its content is its text.
    Link,
    /// A directory, without what may be in it.
    Dir,
}

/// Takes where a member's full name stands among the names of its tree, what it is and how many bytes it has.
pub type Found<'a> = dyn FnMut(Span, Node, u64) -> Result<()> + 'a;

/// A tree in pieces, as the layer that has it hands it to the one that lays it out. Nobody has looked at its names.
pub trait Tree: std::fmt::Debug {
    /// The full names of all members, which whoever lays them out shares.
    fn names(&self) -> Rc<Texts>;

    /// Tells `found` of every member, always in the same order.
    fn list(&self, found: &mut Found<'_>) -> Result<()>;

    /// The contents of the members `wanted`, files and links by their number in the list, in this order.
    fn contents(&self, wanted: Vec<u32>, deadline: Deadline) -> Result<Box<dyn Contents + '_>>;
}

/// Contents that come one after the other.
pub trait Contents {
    /// Passes the next one on to `write`, exactly as many bytes as the list said.
    fn next(&mut self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Nothing more is wanted: whether all was well.
    fn finish(self: Box<Self>) -> Result<()>;
}

impl Artifact {
    /// How many bytes of an archive the source sent. A directory on this host sends none, and git does not tell.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Archive(file) => file.metadata().map_or(0, |meta| meta.len()), // a count for reports only
            Content::Directory(_) | Content::Tree(_) => 0,
        }
    }
}

/// What lies beside an archive at its source. Nobody has looked inside. The default: nothing was asked for.
#[derive(Debug, Default)]
pub struct Seal {
    /// The archive's own name, as a list of sums has it.
    pub archive: String,
    /// The signature; `None`: nobody asked for one.
    pub signature: Option<Paper>,
    /// The sums; `None`: nobody asked for them.
    pub sums: Option<Paper>,
}

/// A small file from a source.
#[derive(Debug)]
pub struct Paper {
    /// How messages call it.
    pub name: String,
    /// What stands in it; `None`: there is none at the source.
    pub content: Option<Vec<u8>>,
}

impl Seal {
    /// What tells it from another one.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for content in [&self.signature, &self.sums].map(|paper| paper.as_ref().and_then(|p| p.content.as_ref())) {
            // The length first: no two seals read the same.
            hash.update(content.map_or(u64::MAX, |c| c.len() as u64).to_le_bytes());
            hash.update(content.map_or(&[][..], |c| c));
        }
        hex(&hash.finalize()[..8])
    }
}
