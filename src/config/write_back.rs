//! Writes single values back into the configuration file, which keeps `last_fetch_time`, `installation_in_progress`,
//! and overrides of the command line. The file is read again and replaced as a whole, with its mode and owner, so that
//! edits made meanwhile stay.

use std::io;
use std::path::Path;

use super::file;
use super::syntax::Document;
use crate::error::{Error, Result, plain};
use crate::sys::resolve::{self, Last, Way};

/// Writes `values` (new keys are spelled as given) into `section` of the file at `path`, which is created if missing.
/// `Ok(false)`: the file has these values already.
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

/// Replaces the file by a rename; a link to it stays a link.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let place = resolve::find(path, Way::Trusted, Last::Follow)?;
    let (mode, owner) = place.meta.map_or((0o600, None), |meta| (meta.mode & 0o777, Some((meta.uid, meta.gid))));
    place.dir.replace_for_good(&place.name, text.as_bytes(), owner, mode)
}

#[cfg(test)]
mod tests {
    use crate::config::write_back::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    fn scratch() -> PathBuf {
        let dir =
            fs::canonicalize(std::env::temp_dir()).unwrap().join(crate::sys::fs::unique_name("remember-").unwrap());
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
