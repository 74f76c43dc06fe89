//! What a source hands over: the bytes of an archive or an open directory, with the revision that came with them.

use std::fs::File;

use crate::model::{Revision, Validators};
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
}

impl Artifact {
    /// How many bytes the source sent for it. A directory on this host sends none.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Archive(file) => file.metadata().map_or(0, |meta| meta.len()), // a count for reports only
            Content::Directory(_) => 0,
        }
    }
}
