//! Files that the operator names and that are read at every check: passwords, netrc, roots. What others may write is
//! refused, since they could send us where they like; a secret that others may read is told about.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::sys::fs;
use crate::sys::trust::distrust_unless;

/// Far above any bundle of certificates.
const LARGEST: u64 = 8 << 20;

/// The content of a file only root and we may write.
pub(in crate::source) fn read(key: &str, path: &Path) -> Result<Vec<u8>> {
    read_unless(key, path, None)
}

fn read_unless(key: &str, path: &Path, friend: Option<(u32, u32)>) -> Result<Vec<u8>> {
    let what = || format!("cannot read {key} {}", path.display());
    let plain = || Error::failed("it is no regular file");
    // Looked at before it is opened, since opening a device does things, and after: somebody's own file can be turned into a
    // FIFO in between, and reading that would wait for ever.
    if !std::fs::metadata(path).context(what)?.is_file() {
        return Err(plain()).context(what);
    }
    if let Some(reason) = distrust_unless(path, friend).context(what)? {
        return Err(Error::failed(reason)).context(what);
    }
    let file = fs::open_file(path).context(what)?;
    if fs::meta(&file).context(what)?.kind != fs::Kind::File {
        return Err(plain()).context(what);
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).context(what)?;
    if content.len() as u64 > LARGEST {
        return Err(Error::failed(format!("it is larger than {LARGEST} bytes"))).context(what);
    }
    Ok(content)
}

/// The text of a file with a secret in it, and the warning it deserves when others may read it.
pub(in crate::source) fn read_secret(key: &str, path: &Path) -> Result<(String, Option<String>)> {
    read_secret_unless(key, path, None)
}

/// The same for a file that the user and the group `friend` may write too.
pub(in crate::source) fn read_secret_unless(
    key: &str,
    path: &Path,
    friend: Option<(u32, u32)>,
) -> Result<(String, Option<String>)> {
    let content = read_unless(key, path, friend)?;
    let text = String::from_utf8(content)
        .map_err(|_| Error::failed(format!("cannot read {key} {}: it is not UTF-8", path.display())))?;
    let mode = std::fs::metadata(path).context(|| format!("cannot read {key} {}", path.display()))?.mode();
    let warning = (mode & 0o077 != 0).then(|| format!("others may read {key} {0}: chmod 600 {0}", path.display()));
    Ok((text, warning))
}
