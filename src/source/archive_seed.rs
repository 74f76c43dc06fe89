//! The archive of the live release, kept in the cache as the seed of a delta: `seed-STORE-RELEASE-CRC.zip`. The name has
//! the CRC-32 of the file, so that one rename makes it complete, and a file that was truncated or damaged since is not
//! used. Like everything in the cache it may be lost.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;

use flate2::Crc;

use crate::artifact::CacheFile;
use crate::error::{Context, Error, Result};
use crate::http::retry::check_stop;
use crate::model::ReleaseId;
use crate::package;
use crate::sys::clock::Deadline;
use crate::sys::fs::{self, Dir, Kind};
use crate::sys::log;

/// The smallest archive that is kept: of a smaller one, a second request costs as much as the bytes it saves.
const SMALLEST: u64 = 1 << 20;
/// The number of bytes that are read at once.
const READ: usize = 64 << 10;

/// The archives of one deployment in the cache.
#[derive(Debug)]
pub struct ArchiveSeeds {
    prefix: CacheFile,
    /// The cache directory; `None`: there is none that no other user can change.
    dir: Option<Dir>,
    /// The names in it when it was first listed.
    listed: OnceCell<Vec<OsString>>,
}

/// The archive of a release.
#[derive(Debug)]
pub struct ArchiveSeed {
    pub(super) file: File,
    /// Its length in bytes.
    pub(super) length: u64,
    /// The length of its directory and its end.
    pub(super) end: u64,
    /// The ETag that it came with.
    pub(super) etag: Option<String>,
    crc: u32,
}

impl ArchiveSeeds {
    /// The archives in the directory of `prefix` whose names begin with its name.
    pub fn new(prefix: CacheFile) -> Self {
        let dir = prefix.existing_dir();
        Self { prefix, dir, listed: OnceCell::new() }
    }

    /// Keeps a download, whose CRC-32 may be known, as the archive of `release`; one that cannot be a seed is discarded.
    pub fn keep(&self, download: &CacheFile, crc: Option<u32>, release: &ReleaseId) {
        if let Err(e) = self.try_keep(download, crc, release) {
            log::debug!("cannot keep {} for later deltas: {e}", download.path().display());
        }
        download.discard();
    }

    fn try_keep(&self, download: &CacheFile, crc: Option<u32>, release: &ReleaseId) -> Result<()> {
        let what = || format!("cannot read {}", download.path().display());
        let dir = download.open_dir()?;
        let file = dir.open_file(download.name()).with_context(what)?;
        let length = fs::meta(&file).with_context(what)?.size;
        if length < SMALLEST || package::directory_of(&file, "it").is_ok_and(|directory| directory.is_none()) {
            return Ok(());
        }
        let crc = crc.map_or_else(|| sum(&file, &mut |_| Ok(())), Ok)?;
        let name = self.name(release, crc);
        dir.rename(download.name(), &dir, &name).with_context(|| "cannot rename it")
    }

    fn name(&self, release: &ReleaseId, crc: u32) -> OsString {
        let mut name = self.prefix.name().clone();
        name.push(format!("-{release}-{crc:08x}.zip"));
        name
    }

    /// The release and the CRC-32 in a name.
    fn parse<'n>(&self, name: &'n OsStr) -> Option<(&'n str, u32)> {
        let rest = name.to_str()?.strip_prefix(self.prefix.name().to_str()?)?.strip_prefix('-')?;
        let (release, crc) = rest.strip_suffix(".zip")?.rsplit_once('-')?;
        Some((release, u32::from_str_radix(crc, 16).ok()?))
    }

    fn names(&self) -> Option<(&Dir, &[OsString])> {
        let dir = self.dir.as_ref()?;
        Some((dir, self.listed.get_or_init(|| dir.names().unwrap_or_default())))
    }

    /// Removes all archives but those of `releases`, and returns the number of removed ones. A failure is only logged: a
    /// file that stays costs space.
    pub fn retain(&self, releases: &[&ReleaseId]) -> usize {
        let Some((dir, names)) = self.names() else { return 0 };
        let mut removed = 0;
        for name in names {
            let is_needed = |release: &str| releases.iter().any(|needed| needed.as_str() == release);
            if self.parse(name).is_none_or(|(release, _)| is_needed(release)) {
                continue;
            }
            match dir.unlink(name) {
                Ok(()) => removed += 1,
                Err(e) => log::warn!("cannot remove {} from the cache: {e}", name.display()),
            }
        }
        removed
    }

    /// Opens the archive of `release`, which came with `etag`; `None` in any doubt.
    pub fn open(&self, release: &ReleaseId, etag: Option<&str>) -> Option<ArchiveSeed> {
        let (dir, names) = self.names()?;
        let (name, crc) = names.iter().find_map(|name| {
            let (of, crc) = self.parse(name)?;
            (of == release.as_str()).then_some((name, crc))
        })?;
        let file = dir.open_file(name).ok()?;
        let (meta, ours) = (fs::meta(&file).ok()?, dir.meta().ok()?);
        let is_ours = meta.kind == Kind::File && meta.uid == ours.uid && meta.mode == 0o600;
        let directory = package::delta::directory_of(&file).ok()??;
        let (length, etag) = (meta.size, etag.map(str::to_owned));
        is_ours.then(|| ArchiveSeed { file, length, end: length - directory, etag, crc })
    }
}

impl ArchiveSeed {
    /// Reads all of it, passes it to `take`, and fails if it is damaged.
    pub(super) fn check(&self, deadline: Deadline, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let crc = sum(&self.file, &mut |bytes| {
            check_stop()?;
            take(bytes);
            if deadline.has_passed() { Err(Error::failed("it takes too long to read the seed")) } else { Ok(()) }
        })?;
        if crc == self.crc { Ok(()) } else { Err(Error::failed("the seed is damaged")) }
    }
}

/// The CRC-32 of a file, whose bytes are passed to `take`.
fn sum(file: &File, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
    let (mut crc, mut at, mut buffer) = (Crc::new(), 0, vec![0; READ]);
    loop {
        let read = file.read_at(&mut buffer, at).with_context(|| "cannot read the seed")?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(crc.sum());
        }
        crc.update(bytes);
        take(bytes)?;
        at += read as u64;
    }
}
