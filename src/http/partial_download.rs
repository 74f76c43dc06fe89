//! A partial download: a private file, and a note (`<download>.meta`) that identifies its bytes. A later run resumes it
//! if the note matches: same URL, strong ETag, length and boot (so written bytes are there without a sync). In any
//! doubt, it starts over. The note is removed once the download is complete: bytes that fail verification are never
//! resumed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::connector::BUFFER;
use super::validators::ResponseIdentity;
use crate::artifact::CacheFile;
use crate::console::progress::size;
use crate::error::{Context, Error, Result};
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::host::boot_id;

/// The largest valid note, in bytes.
const LARGEST_NOTE: u64 = 4096;

/// An open download.
#[derive(Debug)]
pub(super) struct PartialDownload {
    dir: Dir,
    path: PathBuf,
    name: OsString,
    note: Option<String>,
    file: File,
    length: u64,
    /// The sum of all bytes; `None`: some are of an earlier run.
    crc: Option<Crc>,
}

impl PartialDownload {
    /// Opens a download: a partial one of `identity`, or a new file.
    pub(super) fn open(download: &CacheFile, source: &str, identity: &ResponseIdentity) -> Result<Self> {
        let (dir, name, path) = (download.open_dir()?, download.name().clone(), &download.path());
        let note = note(source, identity);
        if let (Some(note), Some(total)) = (&note, identity.length)
            && let Some((file, length)) = leftover(&dir, &name, note, total)
        {
            return Ok(Self { dir, path: path.to_owned(), name, note: Some(note.clone()), file, length, crc: None });
        }
        let file = fresh(&dir, path, &name, note.as_deref())?;
        Ok(Self { dir, path: path.to_owned(), name, note, file, length: 0, crc: Some(Crc::new()) })
    }

    /// A new file that no later run resumes.
    pub(super) fn unnoted(download: &CacheFile) -> Result<Self> {
        let (dir, name, path) = (download.open_dir()?, download.name().clone(), download.path());
        let file = fresh(&dir, &path, &name, None)?;
        Ok(Self { dir, path, name, note: None, file, length: 0, crc: Some(Crc::new()) })
    }

    /// Whether there is a partial download of `identity`.
    pub(super) fn is_begun(download: &CacheFile, source: &str, identity: &ResponseIdentity) -> bool {
        let (Some(note), Some(total), true) = (note(source, identity), identity.length, download.is_begun()) else {
            return false;
        };
        download.open_dir().is_ok_and(|dir| leftover(&dir, download.name(), &note, total).is_some())
    }

    /// The number of bytes received.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Discards the file and starts a new one for `identity`.
    pub(super) fn restart(&mut self, source: &str, identity: &ResponseIdentity) -> Result<()> {
        self.note = note(source, identity);
        self.file = fresh(&self.dir, &self.path, &self.name, self.note.as_deref())?;
        (self.length, self.crc) = (0, Some(Crc::new()));
        Ok(())
    }

    /// Fails when the file system has no room for `bytes` more.
    pub(super) fn check_room(&self, bytes: u64) -> Result<()> {
        let what = || format!("cannot write {}", self.path.display());
        let (free, _) = fs::room(&self.dir).with_context(what)?;
        if bytes > free {
            return Err(Error::failed(format!(
                "it needs {}, and {} are free: cache names another place",
                size(bytes),
                size(free)
            )))
            .with_context(what);
        }
        Ok(())
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.length += bytes.len() as u64;
        self.crc.iter_mut().for_each(|crc| crc.update(bytes));
        Ok(())
    }

    /// The first bytes, at most `length`.
    pub(super) fn beginning(&self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.dir.open_file(&self.name).and_then(|file| file.take(length).read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Reads the received bytes again, from the start.
    pub(super) fn read_again(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let what = || format!("cannot read {}", self.path.display());
        let mut file = self.dir.open_file(&self.name).with_context(what)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer).with_context(what)? {
                0 => return Ok(()),
                n => take(buffer.get(..n).unwrap_or_default())?,
            }
        }
    }

    /// Opens the complete file for reading; also returns its CRC-32, if that is known. Removes the note unless `is_kept` for
    /// a later run.
    pub(super) fn complete(self, is_kept: bool) -> Result<(File, Option<u32>)> {
        if !is_kept {
            let what = || format!("cannot remove {}.meta", self.path.display());
            remove(&self.dir, &note_name(&self.name)).with_context(what)?;
        }
        let file = self.dir.open_file(&self.name).with_context(|| format!("cannot open {}", self.path.display()))?;
        Ok((file, self.crc.map(|crc| crc.sum())))
    }

    /// Removes the file and its note.
    pub(super) fn discard(self) -> Result<()> {
        discard(&self.dir, &self.name).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// The text of the note; `None` if the download could not be resumed.
fn note(source: &str, identity: &ResponseIdentity) -> Option<String> {
    let (etag, length) = (identity.strong_etag()?, identity.length?);
    let boot = boot_id()?;
    Some(format!("source = {source}\netag = {etag}\nlength = {length}\nboot = {boot}\n"))
}

fn note_name(name: &OsStr) -> OsString {
    let mut note = name.to_owned();
    note.push(".meta");
    note
}

/// The partial download that matches `note`; `None` in any doubt.
fn leftover(dir: &Dir, name: &OsStr, note: &str, total: u64) -> Option<(File, u64)> {
    let mut found = String::new();
    dir.open_file(&note_name(name)).ok()?.take(LARGEST_NOTE).read_to_string(&mut found).ok()?;
    let file = dir.append(name).ok()?;
    let (meta, ours) = (fs::meta(&file).ok()?, dir.meta().ok()?);
    let is_ours = meta.kind == Kind::File && meta.uid == ours.uid && meta.mode == 0o600;
    (found == note && is_ours && (1..=total).contains(&meta.size)).then_some((file, meta.size))
}

/// Creates an empty file and its note.
fn fresh(dir: &Dir, path: &Path, name: &OsStr, note: Option<&str>) -> Result<File> {
    let what = || format!("cannot write {}", path.display());
    discard(dir, name).with_context(what)?;
    let file = dir.create(name).with_context(what)?;
    if let Some(note) = note {
        dir.create(&note_name(name)).and_then(|mut file| file.write_all(note.as_bytes())).with_context(what)?;
    }
    Ok(file)
}

/// The note is removed first: without it, the file is never resumed.
fn discard(dir: &Dir, name: &OsStr) -> std::io::Result<()> {
    remove(dir, &note_name(name))?;
    remove(dir, name)
}

fn remove(dir: &Dir, name: &OsStr) -> std::io::Result<()> {
    match dir.unlink(name) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::http::partial_download::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use ureq::http::header::{HeaderMap, HeaderName, HeaderValue};

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("repo-deploy-part-{}-{name}", std::process::id()));
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }
        fn file(&self) -> PathBuf {
            self.0.join("download")
        }
        fn download(&self) -> CacheFile {
            CacheFile::new(self.0.clone(), "download")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn identity(etag: &str, length: &str) -> ResponseIdentity {
        let header = |k, v: &str| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap());
        ResponseIdentity::of(&HeaderMap::from_iter([header("etag", etag), header("content-length", length)]))
    }

    fn begin(place: &Place) {
        let mut part = PartialDownload::open(&place.download(), "s", &identity("\"a\"", "10")).unwrap();
        assert_eq!(part.length(), 0);
        part.append(b"12345").unwrap();
    }

    #[test]
    fn a_part_is_gone_on_with_when_everything_fits_and_only_then() {
        type Doubt = (&'static str, &'static str, &'static str, &'static str, fn(&Path));
        let doubts: [Doubt; 10] = [
            ("fits", "s", "\"a\"", "10", |_| {}),
            ("source", "t", "\"a\"", "10", |_| {}),
            ("etag", "s", "\"b\"", "10", |_| {}),
            ("weak", "s", "W/\"a\"", "10", |_| {}),
            ("length", "s", "\"a\"", "11", |_| {}),
            ("nonote", "s", "\"a\"", "10", |p| std::fs::remove_file(p.with_extension("meta")).unwrap()),
            ("torn", "s", "\"a\"", "10", |p| std::fs::write(p.with_extension("meta"), "source = s\n").unwrap()),
            ("long", "s", "\"a\"", "10", |p| std::fs::write(p, [0; 11]).unwrap()),
            ("mode", "s", "\"a\"", "10", |p| {
                std::fs::set_permissions(p, std::fs::Permissions::from_mode(0o644)).unwrap();
            }),
            ("link", "s", "\"a\"", "10", |p| {
                std::fs::rename(p, p.with_extension("else")).unwrap();
                symlink(p.with_extension("else"), p).unwrap();
            }),
        ];
        for (name, source, etag, length, change) in doubts {
            let place = Place::new(name);
            begin(&place);
            change(&place.file());
            let part = PartialDownload::open(&place.download(), source, &identity(etag, length)).unwrap();
            assert_eq!(part.length(), if name == "fits" { 5 } else { 0 }, "{name}");
            let meta = std::fs::symlink_metadata(place.file()).unwrap();
            assert!(meta.is_file() && meta.permissions().mode() & 0o7777 == 0o600, "{name}");
            assert_eq!(meta.len(), part.length(), "{name}");
        }
    }

    #[test]
    fn a_complete_download_has_no_note_and_is_never_gone_on_with() {
        let place = Place::new("complete");
        begin(&place);
        let mut part = PartialDownload::open(&place.download(), "s", &identity("\"a\"", "10")).unwrap();
        part.append(b"67890").unwrap();
        let mut text = String::new();
        let (mut file, crc) = part.complete(false).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((&*text, crc), ("1234567890", None), "half of the sum is of the earlier run");
        let mut part = PartialDownload::open(&place.download(), "s", &identity("\"a\"", "10")).unwrap();
        assert_eq!(part.length(), 0);
        part.append(b"12345").unwrap();
        part.restart("s", &identity("\"a\"", "10")).unwrap();
        ["1234", "56789"].iter().for_each(|bytes| part.append(bytes.as_bytes()).unwrap());
        assert_eq!(part.complete(false).unwrap().1, Some(0xcbf4_3926), "the check value of CRC-32");
    }

    #[test]
    fn a_discarded_part_leaves_nothing() {
        let place = Place::new("discard");
        begin(&place);
        PartialDownload::open(&place.download(), "s", &identity("\"a\"", "10")).unwrap().discard().unwrap();
        assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 0);
    }

    #[test]
    fn without_room_it_is_said_before_the_first_byte() {
        let place = Place::new("room");
        let part = PartialDownload::open(&place.download(), "s", &identity("\"a\"", "10")).unwrap();
        part.check_room(1).unwrap();
        let error = part.check_room(u64::MAX).unwrap_err().to_string();
        assert!(error.contains("it needs 16.0 EiB, and "), "{error}");
    }
}
