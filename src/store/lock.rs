//! The lock of a store: one at a time, at once or in turn.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::{Recorded, read_state};
use crate::error::{Context, Error, Kind, Result, plain};
use crate::sys;
use crate::sys::fs as sysfs;

/// Takes the lock of the store at `root`, at once, or in its turn within `most`.
pub(super) fn lock(root: &Path, most: Option<Duration>) -> Result<File> {
    let path = &root.join("lock");
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(|e| {
            // EACCES and EPERM: a store of root's, and somebody else asks.
            let is_denied = e.kind() == ErrorKind::PermissionDenied;
            let hint = if is_denied { ": run as root, or give --local and --cache places of your own" } else { "" };
            Error::failed(format!("cannot open {}: {}{hint}", path.display(), plain(&e)))
        })?;
    let cannot = || format!("cannot lock {}", path.display());
    if sysfs::try_lock(&file).context(cannot)? {
        return Ok(file);
    }
    let path = path.display();
    let then = match most {
        None => "the next check comes by itself".to_owned(),
        Some(most) => {
            wait_is_sane(root, &file)?;
            let holder = sys::lock::holder(&file).map_or_else(String::new, |pid| format!(", process {pid},"));
            let most = most.as_secs();
            log::info!(
                "waiting for another repo-deploy{holder} that is at work: it holds {path}; for {most} s at most"
            );
            if sys::lock::lock_in_turn(&file, Duration::from_secs(most)).context(cannot)? {
                return Ok(file);
            }
            format!("waited for {most} s, try again when it is done")
        }
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work: it holds {path}; {then}")))
}

/// Whether it helps to wait for whoever holds the lock of the store at `root`.
fn wait_is_sane(root: &Path, lock: &File) -> Result<()> {
    let why = match read_state(root)? {
        Recorded::Foreign(format) => {
            format!("it is of another version, whose state has the format {format}; run that version's program")
        }
        _ if sys::lock::holder(lock).is_some_and(sys::lock::is_ancestor) => {
            "this is one of its hooks, which it waits for; a hook says no by a code other than 0".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Locked, format!("another repo-deploy is at work in {}: {why}", root.display())))
}

/// Whether somebody is at work on the store at `root`.
pub fn is_locked(root: &Path) -> Result<bool> {
    let path = root.join("lock");
    let cannot = || format!("cannot look at {}", path.display());
    let file = File::open(&path).context(cannot)?;
    Ok(!sysfs::try_lock(&file).context(cannot)?) // for this moment only
}
