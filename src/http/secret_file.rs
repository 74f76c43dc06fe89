//! Files that the operator names, read at every check: passwords, netrc, roots. A file that other users can write is
//! refused, since they could redirect requests; a secret that other users can read causes a warning.

use std::io;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::sys::fs::Meta;
use crate::sys::resolve::{self, Way};
use crate::sys::trust::Us;

/// Far larger than any certificate bundle.
const LARGEST: u64 = 8 << 20;

/// Reads a file that only root and the user of this process may write.
pub fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    read_unless(key, path, None).map(|(content, _)| content)
}

fn read_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<(Vec<u8>, Meta)> {
    let read = resolve::read_file(path, Way::Trusted, Us::with(friend), LARGEST);
    read.map_err(io::Error::from).with_context(|| format!("cannot read {key} {}", path.display()))
}

/// Reads a secret. Also returns a warning if other users can read the file.
pub fn read_secret(key: &str, path: &Path) -> Result<(String, Option<String>)> {
    read_secret_unless(key, path, None)
}

/// Like `read_secret`, but the user and group `friend` may also write the file.
pub fn read_secret_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<(String, Option<String>)> {
    let (content, meta) = read_unless(key, path, friend)?;
    let text = String::from_utf8(content)
        .map_err(|_| Error::failed(format!("cannot read {key} {}: it is not UTF-8", path.display())))?;
    let warning = (meta.mode & 0o077 != 0).then(|| format!("others may read {key} {0}: chmod 600 {0}", path.display()));
    Ok((text, warning))
}
