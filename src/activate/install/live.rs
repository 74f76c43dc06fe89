//! Examines entries of the host and of the store by path: metadata, comparison with an image, and copies. Paths have no
//! first slash and are resolved from `/` one component at a time, through no link. An entry is read only if its inode
//! is the one examined before. Each lookup asks the limit.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::super::compare::{CONTENT, Difference, other_kind, other_mode, other_size, other_text};
use super::super::copy::{copy, same_bytes};
use super::super::limit::Limit;
use super::super::parents::{Parents, is_judged, open_judged, remove_judged};
use super::super::tree::name;
use super::path_name::shown;
use super::selinux::LABEL;
use crate::console::Progress;
use crate::error::{Context, Error, Result};
use crate::store::ledger::{Image, KEPT};
use crate::sys::clock;
use crate::sys::created::{is_replaced, replaced};
use crate::sys::fs::{self as sysfs, Dir, Kind, Meta, unique_name};
use crate::sys::xattr::{self, Attribute};

/// The host and the store, open.
pub(super) struct Live<'a> {
    host: Parents<'a>,
    store: Parents<'a>,
    kept: &'a Dir,
    limit: Limit,
}

/// Number of attempts to copy a file that is being written.
const COPIES: u32 = 3;
/// Seconds. A file changed more recently may change again under the same time stamps, which are that coarse on some
/// file systems.
const COARSE: u64 = 2;

impl<'a> Live<'a> {
    /// `host` is `/`; `kept` is the store's directory of copies.
    pub(super) fn new(host: &'a Dir, store: &'a Dir, kept: &'a Dir, limit: Limit) -> Self {
        Self { host: Parents::new(host, limit), store: Parents::new(store, limit), kept, limit }
    }

    /// Binds `path` to this directory: no other inode is opened there.
    pub(super) fn judge(&mut self, path: &Path, meta: &Meta) {
        self.host.judge(path, meta);
    }

    /// Drops the limit, for a cleanup after it has passed.
    pub(super) fn without_limit(&mut self) {
        self.host.without_limit();
        self.limit = Limit::NONE;
    }

    /// Its limit.
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    /// Opens the directory that contains `path`.
    pub(super) fn dir_of(&mut self, path: &Path) -> io::Result<&Dir> {
        self.host.of(path)
    }

    /// Examines the entry at `path`. `None` also if a directory above is missing or is no directory.
    pub(super) fn look(&mut self, path: &Path) -> Result<Option<Meta>> {
        let found = self.host.of(path).and_then(|dir| dir.look(name(path)));
        match found {
            Err(e) if is_no_way(&e) => Ok(None),
            found => found.with_context(|| format!("cannot examine {}", shown(path))),
        }
    }

    /// Whether something is mounted at `path`.
    pub(super) fn is_mount(&mut self, path: &Path) -> Result<bool> {
        let mount = self.host.of(path).and_then(|dir| dir.is_mount(name(path)));
        mount.with_context(|| format!("cannot examine {}", shown(path)))
    }

    /// The image of the entry at `path`, without a file's content.
    pub(super) fn image(&mut self, path: &Path, meta: &Meta) -> Result<Image> {
        let Meta { kind, mode, uid, gid, mtime, .. } = *meta;
        let source = match kind {
            Kind::Link => self.host.of(path).and_then(|dir| read_judged_link(dir, name(path), meta)),
            Kind::File | Kind::Dir | Kind::Other => Ok(PathBuf::new()),
        };
        let attributes = self.attributes(path, meta);
        let cannot = || format!("cannot read {}", shown(path));
        Ok(Image {
            kind,
            mode,
            uid,
            gid,
            mtime,
            source: source.with_context(cannot)?,
            attributes: attributes.with_context(cannot)?,
        })
    }

    fn attributes(&mut self, path: &Path, meta: &Meta) -> io::Result<Vec<Attribute>> {
        match meta.kind {
            Kind::File => xattr::list(open_judged(self.host.of(path)?, name(path), meta.inode())?.0),
            Kind::Dir => xattr::list(self.judged_dir(path, meta)?),
            Kind::Link | Kind::Other => Ok(Vec::new()),
        }
    }

    /// Opens the directory at `path`, if it has the inode of `meta`.
    pub(super) fn judged_dir(&mut self, path: &Path, meta: &Meta) -> io::Result<Dir> {
        self.host.judged_dir(path, meta.inode())
    }

    /// Removes the entry at `path` if it has the inode of `meta`; a missing one is fine.
    pub(super) fn remove(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        remove_judged(self.host.of(path)?, name(path), meta.kind, meta.inode())
    }

    /// The image of the entry at `path`, complete: a file's content is copied into the store, unless `known` has the
    /// same.
    pub(super) fn snapshot(&mut self, path: &Path, meta: &Meta, known: Option<&Image>) -> Result<Image> {
        let mut image = self.image(path, meta)?;
        if image.kind == Kind::File {
            image.source = match known {
                Some(known) if known.kind == Kind::File && self.has_content_of(path, meta, known)? => {
                    known.source.clone()
                }
                Some(_) | None => {
                    self.keep(path, meta).with_context(|| format!("cannot keep a copy of {}", shown(path)))?
                }
            };
        }
        Ok(image)
    }

    /// Copies a file into the store and syncs the copy; the caller syncs the directory.
    fn keep(&mut self, path: &Path, meta: &Meta) -> io::Result<PathBuf> {
        for _ in 0..COPIES {
            let kept = unique_name("")?;
            let to = self.kept.create(&kept)?;
            let (from, before) = open_judged(self.host.of(path)?, name(path), meta.inode())?;
            let is_settled = is_settled(&before);
            copy(&from, &before, &to, self.limit)?;
            let after = sysfs::meta(&from)?;
            let is_still = (before.size, before.mtime, before.ctime) == (after.size, after.mtime, after.ctime);
            if is_still && (is_settled || self.is_copy(path, meta, &kept)?) {
                to.sync_all()?;
                return Ok(Path::new(KEPT).join(kept));
            }
            self.kept.unlink(&kept)?;
        }
        Err(io::Error::other("somebody is writing it"))
    }

    /// Whether the copy `kept` equals the file at `path` now, which time stamps cannot tell.
    fn is_copy(&mut self, path: &Path, meta: &Meta, kept: &OsStr) -> io::Result<bool> {
        let copy = self.kept.open_file(kept)?;
        let (from, _) = open_judged(self.host.of(path)?, name(path), meta.inode())?;
        same_bytes(&copy, &from, self.limit)
    }

    /// Opens a file's content in the store.
    pub(super) fn content(&mut self, image: &Image) -> io::Result<File> {
        self.store.of(&image.source)?.open_file(name(&image.source))
    }

    /// Whether the entry at `path` equals `image`: kind, content, mode, owner, ACLs, and the attributes named by
    /// `image`.
    pub(super) fn is(&mut self, path: &Path, meta: &Meta, image: &Image) -> Result<bool> {
        let is_same = |live: &[Attribute]| {
            let names = [xattr::ACL, xattr::DEFAULT_ACL].map(OsStr::new);
            let wanted = image.attributes.iter().map(|(name, _)| name.as_os_str());
            names
                .into_iter()
                .chain(wanted)
                .all(|name| xattr::value(live, name) == xattr::value(&image.attributes, name))
        };
        self.is_like(path, meta, image, is_same)
    }

    /// The difference between the entry at `path` and `image`, if any.
    pub(super) fn difference(
        &mut self,
        path: &Path,
        image: &Image,
        progress: &mut Progress,
    ) -> Result<Option<Difference>> {
        let Some(meta) = self.look(path)? else { return Ok(Some(Difference::Missing)) };
        if meta.kind != image.kind {
            return Ok(Some(other_kind(meta.kind, image.kind)));
        }
        let live = match self.image(path, &meta) {
            Ok(live) => live,
            Err(e) => return Ok(Some(Difference::Unreadable(e.to_string()))),
        };
        let mut words = Vec::new();
        match meta.kind {
            Kind::File => {
                let size = self.content(image).and_then(|file| sysfs::meta(&file)).map(|wanted| wanted.size);
                match (size, self.has_content_of(path, &meta, image)) {
                    (_, Ok(true)) => {}
                    (Ok(size), Ok(false)) if size != meta.size => words.push(other_size(meta.size, size)),
                    (_, Ok(false)) => words.push(CONTENT.to_owned()),
                    (_, Err(e)) => return Ok(Some(Difference::Unreadable(e.to_string()))),
                }
                progress.advance(meta.size);
            }
            Kind::Link if live.source != image.source => words.push(other_text(&live.source, &image.source)),
            Kind::Link | Kind::Dir | Kind::Other => {}
        }
        if meta.kind != Kind::Link && live.mode != image.mode {
            words.push(other_mode(live.mode, image.mode));
        }
        if (live.uid, live.gid) != (image.uid, image.gid) {
            words.push(format!("owner {}:{}, not {}:{}", live.uid, live.gid, image.uid, image.gid));
        }
        for (name, word) in [(xattr::ACL, "ACL"), (xattr::DEFAULT_ACL, "default ACL")] {
            let value = |attributes| xattr::value(attributes, name.as_ref());
            if value(&live.attributes) != value(&image.attributes) {
                words.push(word.to_owned());
            }
        }
        let is_acl = |name: &OsStr| name == xattr::ACL || name == xattr::DEFAULT_ACL;
        for (name, value) in image.attributes.iter().filter(|(name, _)| !is_acl(name)) {
            if xattr::value(&live.attributes, name) != Some(value) {
                words.push(format!("attribute {}", name.display()));
            }
        }
        Ok((!words.is_empty()).then(|| Difference::Changed(words.join("; "))))
    }

    /// The same, and the entry is untouched: also a file's time is equal, and there is no further attribute. An SELinux
    /// label that `image` lacks was set by the kernel.
    pub(super) fn is_untouched(&mut self, path: &Path, meta: &Meta, image: &Image) -> Result<bool> {
        let is_same = |live: &[Attribute]| {
            let is_named = xattr::value(&image.attributes, LABEL.as_ref()).is_some();
            live.iter().filter(|(name, _)| is_named || name != LABEL).eq(&image.attributes)
        };
        let same_time = meta.kind == Kind::Dir || meta.mtime == image.mtime;
        Ok(same_time && self.is_like(path, meta, image, is_same)?)
    }

    fn is_like(
        &mut self,
        path: &Path,
        meta: &Meta,
        image: &Image,
        is_same: impl Fn(&[Attribute]) -> bool,
    ) -> Result<bool> {
        let bits = if meta.kind == Kind::Link { image.mode } else { meta.mode };
        if (meta.kind, bits, meta.uid, meta.gid) != (image.kind, image.mode, image.uid, image.gid) {
            return Ok(false);
        }
        let source = match meta.kind {
            Kind::Link => self.host.of(path).and_then(|dir| read_judged_link(dir, name(path), meta)),
            Kind::File | Kind::Dir | Kind::Other => Ok(PathBuf::new()),
        };
        let live = source.and_then(|source| Ok((source, self.attributes(path, meta)?)));
        let (source, attributes) = match live {
            Err(e) if is_replaced(&e) => return Ok(false),
            live => live.with_context(|| format!("cannot read {}", shown(path)))?,
        };
        if !is_same(&attributes) {
            return Ok(false);
        }
        match meta.kind {
            Kind::File => self.has_content_of(path, meta, image),
            Kind::Dir | Kind::Link | Kind::Other => Ok(source == image.source),
        }
    }

    /// Whether a file has the content of `image`. False also if the content is gone from the store, or another file has
    /// replaced this one.
    fn has_content_of(&mut self, path: &Path, meta: &Meta, image: &Image) -> Result<bool> {
        let wanted = match self.content(image) {
            Err(e) if is_no_way(&e) => return Ok(false),
            opened => opened.with_context(|| format!("cannot open {} of the store", image.source.display()))?,
        };
        let limit = self.limit;
        let compare = |dir: &Dir| -> io::Result<bool> {
            let (file, live) = match open_judged(dir, name(path), meta.inode()) {
                Err(e) if is_replaced(&e) => return Ok(false),
                opened => opened?,
            };
            Ok(live.size == sysfs::meta(&wanted)?.size && same_bytes(&wanted, &file, limit)?)
        };
        self.host.of(path).and_then(compare).with_context(|| format!("cannot compare {}", shown(path)))
    }
}

/// A link's target, if it has the inode of `meta`.
fn read_judged_link(dir: &Dir, name: &OsStr, meta: &Meta) -> io::Result<PathBuf> {
    let text = dir.read_link(name)?;
    if is_judged(dir, name, meta.kind, meta.inode())? { Ok(text.into()) } else { Err(replaced()) }
}

/// Whether any later write must change the time stamps of a file examined just now.
fn is_settled(meta: &Meta) -> bool {
    u64::try_from(meta.ctime.0).is_ok_and(|changed| changed.saturating_add(COARSE) < clock::now())
}

/// Whether an error says that there is no entry: a directory above is missing, is a link, or is no directory.
pub(super) fn is_no_way(e: &io::Error) -> bool {
    e.kind() == ErrorKind::NotFound || matches!(Errno::from_io_error(e), Some(Errno::NOTDIR | Errno::LOOP))
}

/// The error for a file or link planned at a mount.
pub(super) fn mounted(path: &Path) -> String {
    format!("something is mounted at {}, and a file is to be there: unmount it, or leave the file out", shown(path))
}

/// Fails for a FIFO, socket or device, which is never touched.
pub(super) fn refuse_other(path: &Path, meta: &Meta) -> Result<()> {
    match meta.kind {
        Kind::Other => Err(Error::failed(format!("a FIFO, socket or device is at {}: move it away", shown(path)))),
        Kind::File | Kind::Dir | Kind::Link => Ok(()),
    }
}
