//! Files that the operator names and that are read at every check: passwords, netrc, roots. What others may write is
//! refused, since they could send us where they like; a secret that others may read is told about.

use std::io;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::sys::fs::Meta;
use crate::sys::resolve::{self, Way};
use crate::sys::trust::Us;

/// Far above any bundle of certificates.
const LARGEST: u64 = 8 << 20;

/// The content of a file only root and we may write.
pub fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    read_unless(key, path, None).map(|(content, _)| content)
}

fn read_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<(Vec<u8>, Meta)> {
    let read = resolve::read_file(path, Way::Trusted, Us::with(friend), LARGEST);
    read.map_err(io::Error::from).with_context(|| format!("cannot read {key} {}", path.display()))
}

/// The text of a file with a secret in it, and the warning it deserves when others may read it.
pub fn read_secret(key: &str, path: &Path) -> Result<(String, Option<String>)> {
    read_secret_unless(key, path, None)
}

/// The same for a file that the user and the group `friend` may write too.
pub fn read_secret_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<(String, Option<String>)> {
    let (content, meta) = read_unless(key, path, friend)?;
    let text = String::from_utf8(content)
        .map_err(|_| Error::failed(format!("cannot read {key} {}: it is not UTF-8", path.display())))?;
    let warning = (meta.mode & 0o077 != 0).then(|| format!("others may read {key} {0}: chmod 600 {0}", path.display()));
    Ok((text, warning))
}
