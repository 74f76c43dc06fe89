//! A tree in memory: each name and each link target is stored once, with 24 bytes for each entry. A directory that only
//! occurs in longer names is a part of one of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use super::item::{Item, What};
use crate::artifact::{Span, Texts};
use crate::error::{Error, Result};

/// The type and metadata of an entry, in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// CRC-32 of its content.
        crc: u32,
        /// Permission bits (07777).
        mode: u16,
    },
    /// A directory.
    Dir {
        /// Permission bits (07777).
        mode: u16,
    },
    /// A symbolic link.
    Link {
        /// The position of its target in the link targets.
        text: Span,
    },
}

/// The entries of a tree, parents before their children, siblings in byte order.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Shared with the code that collected them.
    names: Rc<Texts>,
    texts: Texts,
    rows: Vec<(Span, Entry)>,
}

impl Rows {
    /// Entries with paths in `names` and link targets in `texts`.
    pub fn new(names: Rc<Texts>, texts: Texts, rows: Vec<(Span, Entry)>) -> Self {
        Self { names, texts, rows }
    }

    /// Adds the next entry in order.
    pub fn push(&mut self, path: &[u8], what: &What) -> Result<()> {
        let bits = |mode: u32| u16::try_from(mode & 0o7777).unwrap_or(0); // it fits
        let entry = match what {
            What::File { mode, size, crc } => Entry::File { size: *size, crc: *crc, mode: bits(*mode) },
            What::Dir { mode } => Entry::Dir { mode: bits(*mode) },
            What::Link { target } => Entry::Link { text: keep(&mut self.texts, target.as_bytes())? },
        };
        let path = keep(Rc::make_mut(&mut self.names), path)?;
        self.rows.push((path, entry));
        Ok(())
    }

    /// The entry with this number.
    pub(super) fn get(&self, number: usize) -> Option<Item> {
        let (path, entry) = self.rows.get(number)?;
        let what = match *entry {
            Entry::File { size, crc, mode } => What::File { mode: mode.into(), size, crc },
            Entry::Dir { mode } => What::Dir { mode: mode.into() },
            Entry::Link { text } => What::Link { target: OsStr::from_bytes(self.texts.get(text)).to_owned() },
        };
        Some(Item { path: Path::new(OsStr::from_bytes(self.names.get(*path))).to_owned(), what })
    }
}

fn keep(texts: &mut Texts, text: &[u8]) -> Result<Span> {
    texts.push(text).ok_or_else(|| Error::failed("its names or its link texts are longer than 4 GiB together"))
}
