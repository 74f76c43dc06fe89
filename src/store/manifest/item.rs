//! An entry of a manifest.

use std::ffi::OsString;
use std::path::PathBuf;

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Relative to the top.
    pub path: PathBuf,
    /// Its type and metadata.
    pub what: What,
}

/// The type and metadata of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Permission bits (07777).
        mode: u32,
        /// Bytes.
        size: u64,
        /// CRC-32 of its content.
        crc: u32,
    },
    /// A directory.
    Dir {
        /// Permission bits (07777).
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Its target.
        target: OsString,
    },
}
