//! Optional files, and token files of other programs. Files with secret keys are read by `secret_file`.

use std::io::ErrorKind;
use std::path::Path;

use super::web::LARGEST;
use crate::config::Secret;
use crate::error::{Context, Error, Result};
use crate::sys::log;
use crate::sys::resolve::{self, Way};
use crate::sys::trust::Us;

/// Whether an optional file exists. A file in a directory that is closed to this process counts as missing.
pub(super) fn is_there(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            log::debug!("{} is not ours to look at", path.display());
            Ok(false)
        }
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads a token file, which another program writes.
pub(super) fn read_token(what: &str, path: &Path) -> Result<Secret> {
    let place = || format!("cannot read {what} {}", path.display());
    let (text, _) = resolve::read_file(path, Way::Any, Us::with(None), LARGEST as u64)
        .map_err(std::io::Error::from)
        .with_context(place)?;
    let text = String::from_utf8(text).map_err(|_| Error::failed("it is not UTF-8")).with_context(place)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Error::failed("it is empty")).with_context(place);
    }
    Ok(Secret::new(token))
}
