//! An archive or a directory on this host. A poll looks at names, sizes and times only; what differs there is read, and the
//! revision is a hash of the content: a copy of the same, on another machine or file system, is the same revision. Somebody
//! may be writing while we read: what changed under the reader is not deployed, but polled again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Known, Offer, OfferKind, Poll};
use crate::artifact::{Artifact, CacheFile, Content};
use crate::config::Settings;
use crate::console::Progress;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::Deadline;
use crate::sys::fs::{self as sysfs, Dir, Meta};

/// How many directories may lie in each other; what may be deployed of them is for the policy to say.
const MAX_DEPTH: usize = 200;

/// A file remote.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    max_download: u64,
    max_unpacked: u64,
    /// Whether the bytes have to be proven: then they are copied first, out of reach of whoever may write the file.
    is_proven: bool,
}

/// What a poll saw, open: a file that is renamed over meanwhile does not matter.
#[derive(Debug)]
pub struct FileOffer {
    content: Content,
    seen: String,
}

impl FileSource {
    /// A source of what is at `path`.
    pub fn new(path: &Path, settings: &Settings) -> Self {
        let Settings { max_download, layout, trust, .. } = settings;
        let (max_download, max_unpacked) = (*max_download, layout.max_unpacked);
        Self { path: path.to_owned(), max_download, max_unpacked, is_proven: trust.is_demanding() }
    }

    /// Looks whether the file or directory is still what it was.
    pub fn poll(&mut self, known: Option<Known<'_>>) -> Result<Poll> {
        let (content, seen) = self.look()?;
        if known.and_then(|k| k.validators.get("seen")) == Some(seen.as_str()) {
            return Ok(Poll::Unchanged);
        }
        let validators = Validators::default().with("seen", seen.as_str());
        Ok(Poll::Changed(Offer { revision: None, validators, kind: OfferKind::File(FileOffer { content, seen }) }))
    }

    /// Hands over what the poll opened with the hash of its content; an archive that has to be proven as a copy at
    /// `download`.
    pub fn fetch(&mut self, offer: FileOffer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        let mut content = offer.content;
        let revision = match &content {
            Content::Archive(file) => {
                let mut copy = self.is_proven.then(|| Copy::new(download)).transpose()?;
                let hash = self.hash(file, copy.as_mut(), deadline)?;
                if self.seen(&sysfs::meta(file).context(|| self.cannot_read())?) != offer.seen {
                    return Err(self.superseded());
                }
                if let Some(copy) = copy {
                    content = Content::Archive(copy.open()?);
                }
                Revision::new(format!("sha256:{hash}"))
            }
            Content::Directory(dir) => Revision::new(format!("tree:{}", self.content_of(dir, &offer.seen, deadline)?)),
            Content::Tree(_) => return Err(Error::failed("no file or directory was offered")),
        };
        Ok(Artifact {
            revision,
            validators: Validators::default().with("seen", offer.seen),
            content,
            name: self.path.display().to_string(),
        })
    }

    /// Whether what was handed over is still what it was: it has been read from where it lies, not from a copy.
    pub fn is_still(&self, artifact: &Validators) -> Result<bool> {
        let (_, seen) = self.look()?;
        Ok(artifact.get("seen") == Some(seen.as_str()))
    }

    fn look(&self) -> Result<(Content, String)> {
        let meta = std::fs::metadata(&self.path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::failed(format!("there is nothing at {}", self.path.display())),
            _ => Error::failed(format!("cannot examine {}: {}", self.path.display(), crate::error::plain(&e))),
        })?;
        if meta.is_dir() && self.is_proven {
            let why = "sha256, sha256-url and verify-key are for archives, and it is a directory";
            return Err(Error::config(format!("cannot verify {}: {why}", self.path.display())));
        }
        if meta.is_dir() {
            let dir = Dir::open(&self.path).context(|| self.cannot_read())?;
            let mut hash = Sha256::new();
            fingerprint(&dir, Path::new(""), 0, &mut hash, &mut None).context(|| self.cannot_read())?;
            let seen = hex(&hash.finalize()[..16]);
            return Ok((Content::Directory(dir), seen));
        }
        if !meta.is_file() {
            let text = format!("{} is neither a file nor a directory", self.path.display());
            return Err(Error::failed(text));
        }
        let file = sysfs::open_file(&self.path).context(|| self.cannot_read())?;
        let meta = sysfs::meta(&file).context(|| self.cannot_read())?;
        if meta.size > self.max_download {
            return Err(Error::refused(format!(
                "{} has {} bytes, and max-download allows {}",
                self.path.display(),
                meta.size,
                self.max_download
            )));
        }
        let seen = self.seen(&meta);
        Ok((Content::Archive(file), seen))
    }

    fn seen(&self, meta: &Meta) -> String {
        let (m, c) = (meta.mtime, meta.ctime);
        format!("{}:{}:{}:{}.{:09}:{}.{:09}", meta.dev, meta.ino, meta.size, m.0, m.1, c.0, c.1)
    }

    fn hash(&self, mut file: &File, mut copy: Option<&mut Copy>, deadline: Deadline) -> Result<String> {
        let mut progress = Progress::start("reading", file.metadata().ok().map(|m| m.len()));
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 * 1024]);
        file.seek(SeekFrom::Start(0)).context(|| self.cannot_read())?;
        loop {
            let got = file.read(&mut buffer).context(|| self.cannot_read())?;
            if got == 0 {
                return Ok(hex(&hash.finalize()));
            }
            if deadline.has_passed() {
                return Err(Error::failed(format!("{}: the timeout was over before it was read", self.cannot_read())));
            }
            hash.update(&buffer[..got]);
            if let Some(copy) = &mut copy {
                copy.append(&buffer[..got], self.max_download)?;
            }
            progress.advance(got as u64);
        }
    }

    /// What tells a directory's content from another's, wherever it lies.
    fn content_of(&self, dir: &Dir, seen: &str, deadline: Deadline) -> Result<String> {
        let mut hash = Sha256::new();
        let mut contents = Some(Contents { left: self.max_unpacked, buffer: vec![0; 128 * 1024], deadline });
        fingerprint(dir, Path::new(""), 0, &mut hash, &mut contents).context(|| self.cannot_read())?;
        if contents.is_none() {
            hash.update(seen); // more than may be deployed: not worth reading to the end
        }
        Ok(hex(&hash.finalize()[..16]))
    }

    fn cannot_read(&self) -> String {
        format!("cannot read {}", self.path.display())
    }

    fn superseded(&self) -> Error {
        Error::new(Kind::Superseded, format!("{} changed while it was read", self.path.display()))
    }
}

/// A copy of ours alone.
struct Copy<'a> {
    to: &'a CacheFile,
    dir: Dir,
    file: File,
    length: u64,
}

impl<'a> Copy<'a> {
    fn new(to: &'a CacheFile) -> Result<Self> {
        to.discard();
        let dir = to.open_dir()?;
        let file = dir.create(to.name()).context(|| format!("cannot write {}", to.path().display()))?;
        Ok(Self { to, dir, file, length: 0 })
    }

    fn append(&mut self, bytes: &[u8], limit: u64) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.length > limit {
            return Err(Error::refused(format!("it has more than {limit} bytes, and max-download allows no more")));
        }
        self.file.write_all(bytes).context(|| format!("cannot write {}", self.to.path().display()))
    }

    fn open(self) -> Result<File> {
        self.dir.open_file(self.to.name()).context(|| format!("cannot open {}", self.to.path().display()))
    }
}

/// The reading of all files of a tree.
struct Contents {
    /// How many bytes it may read.
    left: u64,
    buffer: Vec<u8>,
    deadline: Deadline,
}

impl Contents {
    /// Feeds a file to `hash`; whether there was room for all of it.
    fn read(&mut self, mut file: File, hash: &mut Sha256) -> io::Result<bool> {
        loop {
            let got = file.read(&mut self.buffer)?;
            if got == 0 {
                return Ok(true);
            }
            if self.deadline.has_passed() {
                return Err(io::Error::other("the timeout was over before it was read"));
            }
            let Some(left) = self.left.checked_sub(got as u64) else { return Ok(false) };
            self.left = left;
            hash.update(&self.buffer[..got]);
        }
    }
}

/// Feeds a tree to `hash`, in byte order: names, kinds and link texts, and of files mode, size and times; with `contents`, of
/// files whether they are programs, and their bytes. There are none left behind where there are too many.
fn fingerprint(
    dir: &Dir,
    at: &Path,
    depth: usize,
    hash: &mut Sha256,
    contents: &mut Option<Contents>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("it is more than {MAX_DEPTH} directories deep")));
    }
    let by_content = contents.is_some();
    for name in dir.names()? {
        let Some(meta) = dir.look(&name)? else { continue };
        let path = at.join(&name);
        hash.update((path.as_os_str().len() as u64).to_le_bytes());
        hash.update(path.as_os_str().as_bytes());
        let mode = if by_content { u32::from(meta.mode & 0o111 != 0) } else { meta.mode };
        hash.update(format!("{:?} {mode:o}", meta.kind));
        match meta.kind {
            sysfs::Kind::Dir => fingerprint(&dir.child(&name)?, &path, depth + 1, hash, contents)?,
            sysfs::Kind::Link => {
                let target = dir.read_link(&name)?;
                hash.update((target.len() as u64).to_le_bytes());
                hash.update(target.as_bytes());
            }
            sysfs::Kind::File if by_content => {
                hash.update(meta.size.to_le_bytes());
                if let Some(reading) = contents
                    && !reading.read(dir.open_file(&name)?, hash)?
                {
                    *contents = None;
                }
            }
            sysfs::Kind::Other if by_content => {} // it is refused, and never opened
            // The inode too: a file renamed over another may keep size and time.
            _ => hash.update(format!("{} {:?} {:?} {}", meta.size, meta.mtime, meta.ctime, meta.ino)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_has_to_be_proven_is_a_copy_that_nobody_else_writes() {
        let dir = std::env::temp_dir().join(format!("repo-deploy-copy-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (path, download) = (dir.join("app.zip"), CacheFile::new(dir.clone(), "download"));
        std::fs::write(&path, "good").unwrap();
        std::fs::write(download.path(), "left over").unwrap();
        for (is_proven, expected) in [(true, "good"), (false, "evil")] {
            std::fs::write(&path, "good").unwrap();
            let mut source = FileSource { path: path.clone(), max_download: 4, max_unpacked: 4, is_proven };
            let Poll::Changed(Offer { kind: OfferKind::File(offer), .. }) = source.poll(None).unwrap() else {
                panic!()
            };
            let deadline = Deadline::after(Duration::from_secs(60));
            let Content::Archive(mut file) = source.fetch(offer, &download, deadline).unwrap().content else {
                panic!()
            };
            std::fs::write(&path, "evil").unwrap();
            let mut text = String::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
