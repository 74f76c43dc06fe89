//! What a source hands over: the bytes of an archive or an open directory, with the revision that came with them.

use std::fs::File;

use crate::error::Result;
use crate::model::{Revision, Validators};
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

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

/// Takes a member's full name, what it is and how many bytes it has.
pub type Found<'a> = dyn FnMut(&[u8], Node, u64) -> Result<()> + 'a;

/// A tree in pieces, as the layer that has it hands it to the one that lays it out. Nobody has looked at its names.
pub trait Tree: std::fmt::Debug {
    /// Tells `found` of every member, always in the same order.
    fn list(&self, found: &mut Found<'_>) -> Result<()>;

    /// The contents of the members `wanted`, files and links by their number in the list, in this order.
    fn contents(&self, wanted: &[u32], deadline: Deadline) -> Result<Box<dyn Contents + '_>>;
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
