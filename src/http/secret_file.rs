//! Files that the operator names, read at every check: passwords, netrc, roots. A file that other users can write is
//! refused, since they could redirect requests; a secret that other users can read causes a warning.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::sys::fs::Meta;
use crate::sys::resolve::{self, Last, Way};
use crate::sys::trust::Us;

/// Far larger than any certificate bundle.
const LARGEST: u64 = 8 << 20;

/// An open file that only root and the user of this process may write.
#[derive(Debug)]
pub struct TrustedFile {
    /// The key or variable that names it.
    pub key: String,
    pub path: PathBuf,
    pub meta: Meta,
    file: File,
}

impl TrustedFile {
    /// Opens it.
    pub fn open(key: &str, path: &Path) -> Result<Self> {
        Self::open_unless(key, path, None)
    }

    fn open_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<Self> {
        let place = resolve::find_for(path, Way::Trusted, Last::Follow, Us::with(friend));
        let opened = place.and_then(|place| place.open_file()).map_err(io::Error::from);
        let (file, meta) = opened.with_context(|| cannot_read(key, path))?;
        Ok(Self { key: key.to_owned(), path: path.to_owned(), meta, file })
    }

    /// Its content.
    pub fn read(&self) -> Result<Vec<u8>> {
        resolve::read_at_most(&self.file, LARGEST).with_context(|| cannot_read(&self.key, &self.path))
    }
}

fn cannot_read(key: &str, path: &Path) -> String {
    format!("cannot read {key} {}", path.display())
}

/// Reads a file that only root and the user of this process may write.
pub fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    TrustedFile::open(key, path)?.read()
}

/// Reads a secret. Also returns a warning if other users can read the file.
pub fn read_secret(key: &str, path: &Path) -> Result<(String, Option<String>)> {
    read_secret_unless(key, path, None)
}

/// Like `read_secret`, but the user and group `friend` may also write the file.
pub fn read_secret_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<(String, Option<String>)> {
    let file = TrustedFile::open_unless(key, path, friend)?;
    let text = String::from_utf8(file.read()?)
        .map_err(|_| Error::failed(format!("cannot read {key} {}: it is not UTF-8", path.display())))?;
    let warning =
        (file.meta.mode & 0o077 != 0).then(|| format!("others may read {key} {0}: chmod 600 {0}", path.display()));
    Ok((text, warning))
}
