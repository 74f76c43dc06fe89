//! Writing single values back into the configuration file, for those who keep state there: `last_fetch_time`,
//! `installation_in_progress`, and what a command line overrode. The file is replaced as a whole, with its mode and owner,
//! and read again before: what somebody edited meanwhile stays.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file;
use super::syntax::Document;
use crate::error::{Error, Result, plain};
use crate::sys::fs as sysfs;

/// Writes `values` (keys as they are spelled where they are new) into `section` of the file at `path`, which is made when
/// it is missing. `Ok(false)`: they stood there already.
pub fn remember(path: &Path, section: Option<&str>, values: &[(&str, &str)]) -> Result<bool> {
    let name = path.display().to_string();
    let old = match file::read(Some(path)) {
        Ok(old) => old.map(|configuration| configuration.doc),
        Err(_) if file::is_missing(path) => None,
        Err(e) => return Err(e),
    };
    let mut doc = old.unwrap_or(Document::parse(&name, Vec::new())?);
    let before = doc.text().to_owned();
    for (key, value) in values {
        doc = Document::parse(&name, doc.with(section, key, value).into_bytes())?;
    }
    if doc.text() == before {
        return Ok(false);
    }
    replace(path, doc.text()).map_err(|e| Error::failed(format!("cannot write {name}: {}", plain(&e))))?;
    Ok(true)
}

/// Replaces the file by one rename; a link to it stays a link.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = if file::is_missing(path) { std::path::absolute(path)? } else { fs::canonicalize(path)? };
    let (mode, owner) = match fs::metadata(&path) {
        Ok(meta) => (meta.mode() & 0o777, Some((meta.uid(), meta.gid()))),
        Err(e) if e.kind() == ErrorKind::NotFound => (0o600, None),
        Err(e) => return Err(e),
    };
    let dir = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let temporary = dir.join(sysfs::unique_name(".repo-deploy-")?);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        sysfs::set_owner_and_mode(&file, owner, mode)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&dir)?.sync_all()
    };
    let result = write();
    if result.is_err() {
        let _ = fs::remove_file(&temporary); // it may not be there, and the error tells what is wrong
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn scratch() -> PathBuf {
        let dir = fs::canonicalize(std::env::temp_dir()).unwrap().join(sysfs::unique_name("remember-").unwrap());
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn values_are_written_and_mode_link_and_other_bytes_stay() {
        let dir = scratch();
        let (file, link) = (dir.join("config.ini"), dir.join("link"));
        fs::write(&file, "# mine\n[Settings]\ns3_bucket = b\nlast_fetch_time = x\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("config.ini", &link).unwrap();
        assert!(remember(&link, Some("Settings"), &[("last_fetch_time", "y"), ("z", "1")]).unwrap());
        let expected = "# mine\n[Settings]\ns3_bucket = b\nlast_fetch_time = y\nz = 1\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        assert!(!remember(&link, Some("Settings"), &[("last_fetch_time", "y")]).unwrap());
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_missing_file_is_made_and_a_bad_one_is_left() {
        let dir = scratch();
        let file = dir.join("config.ini");
        assert!(remember(&file, Some("Settings"), &[("s3_bucket", "b")]).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "[Settings]\ns3_bucket = b\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        fs::write(&file, "nonsense\n").unwrap();
        assert!(remember(&file, None, &[("a", "b")]).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "nonsense\n");
        let error = remember(&dir.join("gone/config.ini"), None, &[("a", "b")]).unwrap_err().to_string();
        assert!(error.contains("no such file or directory"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
