//! An archive or a directory on this host. A poll compares names, sizes and times; if they differ, the content is read,
//! and the revision is its hash: a copy on another machine or file system has the same revision. Another process may
//! write during the read: content that changed meanwhile is not deployed, but polled again.
//!
//! `stamps` decides when sizes and times are no proof, and `tree` walks a directory.

mod stamps;
mod tree;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::stamps::Stamps;
use self::tree::Contents;
use super::inspect::Remark;
use super::offer::{Offer, Poll};
use crate::artifact::{Artifact, CacheFile, Content, Folder};
use crate::config::Settings;
use crate::config::keys::Name;
use crate::console::Progress;
use crate::error::{Context, Error, Kind, Result};
use crate::model::{Known, OF_CONTENT};
use crate::model::{Revision, Validators, hex};
use crate::sys::clock::{self, Deadline};
use crate::sys::fs::{self as sysfs, Dir, Meta};
use crate::sys::resolve::{self, Fault, Last, Way};

/// A file remote.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    max_download: u64,
    max_unpacked: u64,
    /// Whether the archive has to be verified. It is then copied first, so that another process cannot change it
    /// afterwards.
    is_proven: bool,
    /// See [`super::Source::look_ahead`]: an archive is then copied only if it has to be verified.
    pub(super) is_ahead: bool,
}

/// The file or directory that a poll opened; renaming another file over it does not affect the offer.
#[derive(Debug)]
pub struct FileOffer {
    content: Content,
    stamps: Stamps,
    validators: Validators,
}

impl FileSource {
    /// A source of the archive or directory at `path`.
    pub fn new(path: &Path, settings: &Settings) -> Self {
        let Settings { max_download, layout, trust, .. } = settings;
        let (max_download, max_unpacked) = (*max_download, layout.max_unpacked);
        let is_proven = trust.is_demanding();
        Self { path: path.to_owned(), max_download, max_unpacked, is_proven, is_ahead: false }
    }

    /// Compares the stamps of the file or directory with the remembered ones. If they are equal, but no proof, the
    /// content is read, and the offer has its revision.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll<FileOffer>> {
        let (mut content, stamps) = self.look()?;
        let before = known.map(|k| k.validators).filter(|before| stamps.are_in(before));
        if before.is_some_and(stamps::are_proof) {
            return Ok(Poll::Unchanged);
        }
        let revision = match before {
            Some(_) => Some(self.read(&mut content, &stamps, None, deadline)?),
            None => None,
        };
        let validators = stamps.remembered(before, keeps_our_time(&content).with_context(|| self.cannot_read())?);
        let offer = FileOffer { content, stamps, validators: validators.clone() };
        Ok(Poll::Changed(Offer { revision, validators, kind: offer }))
    }

    /// Returns the file or directory that the poll opened, and the hash of its content. An archive that has to be
    /// verified, or that could change during unpacking without a change of its stamps, is copied to `download`.
    pub fn fetch(&mut self, offer: FileOffer, download: &CacheFile, deadline: Deadline) -> Result<Artifact> {
        let FileOffer { mut content, stamps, validators } = offer;
        let is_hidden = !stamps::are_proof(&validators);
        let mut copy = match content {
            Content::Archive(_) if self.is_proven || is_hidden && !self.is_ahead => Some(Copy::new(download)?),
            Content::Archive(_) | Content::Directory(_) | Content::Tree(_) => None,
        };
        let revision = self.read(&mut content, &stamps, copy.as_mut(), deadline)?;
        if let (Some(copy), Content::Archive(file)) = (copy, &mut content) {
            // A write may leave the stamps unchanged: if the file now differs from the copy, the copy may be half old,
            // half new.
            if is_hidden && self.hash(file, None, deadline)? != revision.as_str() {
                return Err(self.superseded());
            }
            *file = copy.open()?;
        }
        let name = self.path.display().to_string();
        Ok(Artifact { revision, validators, content, crc: None, name })
    }

    /// Whether the stamps are still those of the artifact. A directory is also checked against its sums while it is
    /// copied.
    pub fn is_still(&self, artifact: &Validators) -> Result<bool> {
        let (_, stamps) = self.look()?;
        Ok(stamps.are_in(artifact))
    }

    /// Opens the file or directory, and reads its stamps.
    fn look(&self) -> Result<(Content, Stamps)> {
        let at = clock::now(); // before the first look: what is written from here on is younger
        let (content, meta) = self.open()?;
        let mut stamps = Stamps::new(at);
        match &content {
            Content::Archive(_) => {
                if meta.size > self.max_download {
                    return Err(Error::refused(format!(
                        "{} has {} bytes, and max-download allows {}",
                        self.path.display(),
                        meta.size,
                        self.max_download
                    )));
                }
                stamps.add_archive(&meta);
            }
            Content::Directory(folder) => {
                tree::look(&folder.dir, &meta, &mut stamps).with_context(|| self.cannot_read())?;
            }
            Content::Tree(_) => {}
        }
        Ok((content, stamps))
    }

    /// Problems with the file or directory: see [`super::inspect`]. A missing one is only a warning, as it may appear
    /// later.
    pub(super) fn inspect(&self) -> Vec<Remark> {
        let is_missing = self.path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        self.open().err().map(|e| (Name::Remote, is_missing, e.to_string())).into_iter().collect()
    }

    /// Opens the archive or the directory.
    fn open(&self) -> Result<(Content, Meta)> {
        let place = resolve::find(&self.path, Way::Any, Last::Follow).map_err(|fault| self.refusal(fault))?;
        let Some(meta) = place.meta else { return Err(self.nothing()) };
        match meta.kind {
            sysfs::Kind::Dir if self.is_proven => {
                let why = "sha256, sha256-url and verify-key are for archives, and it is a directory";
                Err(Error::config(format!("cannot verify {}: {why}", self.path.display())))
            }
            sysfs::Kind::Dir => {
                let dir = place.open_dir().map_err(|fault| self.refusal(fault))?;
                let meta = dir.meta().with_context(|| self.cannot_read())?;
                Ok((Content::Directory(Folder { dir, sums: None }), meta))
            }
            sysfs::Kind::File => {
                let (file, meta) = place.open_file().map_err(|fault| self.refusal(fault))?;
                Ok((Content::Archive(file), meta))
            }
            sysfs::Kind::Link | sysfs::Kind::Other => {
                Err(Error::failed(format!("{} is neither a file nor a directory", self.path.display())))
            }
        }
    }

    fn nothing(&self) -> Error {
        Error::failed(format!("there is nothing at {}", self.path.display()))
    }

    fn refusal(&self, fault: Fault) -> Error {
        let path = self.path.display();
        match fault {
            Fault::Untrusted(why) => {
                Error::failed(format!("cannot use remote = {path}: {why}; or remote names the place without that link"))
            }
            Fault::Io(_) if fault.is_missing() => self.nothing(),
            Fault::Io(e) => Error::failed(format!("cannot examine {path}: {}", crate::error::plain(&e))),
        }
    }

    /// Reads all of the content and returns its revision. An archive is also written to `copy`; a directory's sums are
    /// kept.
    fn read(
        &self,
        content: &mut Content,
        stamps: &Stamps,
        copy: Option<&mut Copy>,
        deadline: Deadline,
    ) -> Result<Revision> {
        match content {
            Content::Archive(file) => {
                let hash = self.hash(file, copy, deadline)?;
                let mut now = Stamps::new(0);
                now.add_archive(&sysfs::meta(file).with_context(|| self.cannot_read())?);
                if now.are_other(stamps) { Err(self.superseded()) } else { Ok(Revision::new(hash)) }
            }
            Content::Directory(folder) => {
                let mut contents = Contents::new(self.max_unpacked, deadline);
                let (hash, sums) = contents.read(&folder.dir, stamps).with_context(|| self.cannot_read())?;
                folder.sums = sums;
                Ok(Revision::new(format!("tree:{hash}")))
            }
            Content::Tree(_) => Err(Error::failed("no file or directory was offered")),
        }
    }

    fn hash(&self, mut file: &File, mut copy: Option<&mut Copy>, deadline: Deadline) -> Result<String> {
        let mut progress = Progress::start("reading", file.metadata().ok().map(|m| m.len()));
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 * 1024]);
        file.seek(SeekFrom::Start(0)).with_context(|| self.cannot_read())?;
        loop {
            let got = file.read(&mut buffer).with_context(|| self.cannot_read())?;
            if got == 0 {
                return Ok(format!("{OF_CONTENT}{}", hex(&hash.finalize())));
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

    fn cannot_read(&self) -> String {
        format!("cannot read {}", self.path.display())
    }

    fn superseded(&self) -> Error {
        Error::new(Kind::Superseded, format!("{} changed while it was read", self.path.display()))
    }
}

/// Whether this machine's clock sets the time stamps of the file or directory.
fn keeps_our_time(content: &Content) -> io::Result<bool> {
    match content {
        Content::Archive(file) => sysfs::keeps_our_time(file),
        Content::Directory(folder) => sysfs::keeps_our_time(&folder.dir),
        Content::Tree(_) => Ok(false),
    }
}

/// A private copy of the archive, in the cache.
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
        let file = dir.create(to.name()).with_context(|| format!("cannot write {}", to.path().display()))?;
        Ok(Self { to, dir, file, length: 0 })
    }

    fn append(&mut self, bytes: &[u8], limit: u64) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.length > limit {
            return Err(Error::refused(format!("it has more than {limit} bytes, and max-download allows no more")));
        }
        self.file.write_all(bytes).with_context(|| format!("cannot write {}", self.to.path().display()))
    }

    fn open(self) -> Result<File> {
        self.dir.open_file(self.to.name()).with_context(|| format!("cannot open {}", self.to.path().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_has_to_be_proven_or_is_young_is_a_copy_that_nobody_else_writes() {
        let dir = std::env::temp_dir().join(format!("repo-deploy-copy-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (path, download) = (dir.join("app.zip"), CacheFile::new(dir.clone(), "download"));
        std::fs::write(&path, "good").unwrap();
        std::fs::write(download.path(), "left over").unwrap();
        for (is_proven, is_old, expected) in
            [(true, true, "good"), (true, false, "good"), (false, false, "good"), (false, true, "evil")]
        {
            std::fs::write(&path, "good").unwrap();
            let mut source =
                FileSource { path: path.clone(), max_download: 4, max_unpacked: 4, is_proven, is_ahead: false };
            let deadline = Deadline::after(Duration::from_secs(60));
            let Poll::Changed(Offer { kind: mut offer, .. }) = source.poll(None, deadline).unwrap() else { panic!() };
            if is_old {
                offer.validators = Validators::default().with("seen", offer.stamps.text());
            }
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
