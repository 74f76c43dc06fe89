//! Writes a [`Plan`] into an empty directory. Every name is resolved one component at a time from an open directory,
//! through no link; files are created exclusively; modes and owners do not depend on the umask. Free space is checked
//! before the first byte, and links are made last. An error here is one of this host, not of the input. Nothing is made
//! durable, which is up to the caller; the kernel is only asked to start early. Without a directory, the writer only
//! computes the tree.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use flate2::Crc;

use super::links::Paths;
use super::names::shown;
use super::policy::{Kind, Plan};
use super::trail::{Trail, split};
use super::transfer::{in_time, transfer};
use super::unchanged::Unchanged;
use super::unpacked::Unpacked;
use crate::artifact::Texts;
use crate::console::Progress;
use crate::error::{Context, Error, Result};
use crate::model::{Layout, Links};
use crate::store::check_room;
use crate::store::manifest::{Budget, Entry};
use crate::sys::clock::Deadline;
use crate::sys::durable;
use crate::sys::fs::{self, Dir};
use crate::sys::log;
use crate::sys::sync_ahead::SyncAhead;

/// The number of bytes of a large file after which the kernel is asked to write them: the disk works meanwhile.
const WRITEBACK: u64 = 16 << 20;
/// The number of bytes that are copied at once.
const COPIED: usize = 128 * 1024;
/// The initial entry of every member.
const DIRECTORY: Entry = Entry::Dir { mode: 0o755 };

/// Writes one tree.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    plan: &'a Plan,
    /// `None`: nothing is written.
    top: Option<&'a Dir>,
    trail: Trail,
    owner: Option<(u32, u32)>,
    rule: Links,
    deadline: Deadline,
    progress: Progress,
    written: u64,
    /// The buffer for copies.
    buffer: Vec<u8>,
    /// The entry of each member so far.
    what: Vec<Entry>,
    /// The texts of links.
    texts: Texts,
    /// The budget that is left for them.
    budget: Budget,
    /// Whether to start the writing of each file early: each will be synced by itself.
    is_early: bool,
    /// Otherwise all files will be synced at once.
    ahead: Option<SyncAhead<'a>>,
    /// Files to clone from the live release.
    unchanged: Option<Unchanged<'a>>,
    /// A file with no more than these bits gets its mode when it is created.
    granted: u32,
}

impl<'a> Writer<'a> {
    /// A writer into `staging`, which must be empty; without one, nothing is written.
    pub(super) fn new(plan: &'a Plan, staging: Option<&'a Dir>, layout: &Layout, deadline: Deadline) -> Result<Self> {
        if let Some(staging) = staging {
            check_room(plan.space, plan.count, staging)?;
        }
        let is_early = staging.is_some_and(|dir| !durable::is_at_once(dir, plan.count));
        let ahead = staging.filter(|_| !is_early).map(SyncAhead::new);
        let granted = staging.map_or(Ok(0), fs::granted_bits).with_context(|| "cannot read the ACL of a release")?;
        let owner = layout.owner.map(|o| (o.uid, o.gid));
        let trail = Trail::default();
        let progress = Progress::start("unpacking", Some(plan.bytes));
        let (what, texts, budget) = (vec![DIRECTORY; plan.len()], Texts::default(), plan.budget.clone());
        let (rule, buffer) = (layout.symlinks, Vec::new());
        let (top, written) = (staging, 0);
        Ok(Self {
            plan,
            top,
            trail,
            owner,
            rule,
            deadline,
            progress,
            written,
            buffer,
            what,
            texts,
            budget,
            is_early,
            ahead,
            unchanged: None,
            granted,
        })
    }

    /// Clones files instead of writing them, where possible.
    pub(super) fn clone_from(&mut self, unchanged: Unchanged<'a>) {
        self.unchanged = Some(unchanged);
    }

    /// Makes the directory `index`, unless an entry in it came first.
    pub(super) fn dir(&mut self, index: u32) -> Result<()> {
        in_time(self.deadline)?;
        let (plan, mode) = (self.plan, self.plan.mode(index));
        self.what[index as usize] = Entry::Dir { mode };
        let Some(top) = self.top else { return Ok(()) };
        self.enter(top, plan.path(index), mode).map(|_| ()).with_context(|| cannot("make", plan.name(index)))
    }

    /// Makes the file `index` with the content that `fill` passes on. `known` are its size and CRC-32, if `fill` checks
    /// them.
    pub(super) fn file(
        &mut self,
        index: u32,
        known: Option<(u64, u32)>,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        in_time(self.deadline)?;
        let (plan, deadline) = (self.plan, self.deadline);
        let (file, mode) = (self.create(index)?, plan.mode(index));
        if let (Some(file), Some((size, crc)), Some(unchanged)) = (&file, known, &mut self.unchanged)
            && unchanged.clone_to(plan, index, crc, file)
        {
            self.written += size;
            self.progress.advance(size);
            self.what[index as usize] = Entry::File { size, crc, mode };
            return Ok(());
        }
        let (mut size, mut computed) = (0, Crc::new());
        fill(&mut |bytes| {
            in_time(deadline)?;
            file.as_ref().map_or(Ok(()), |mut file| file.write_all(bytes)).with_context(|| "cannot write it")?;
            let before = size / WRITEBACK;
            size += bytes.len() as u64;
            if size / WRITEBACK != before {
                file.iter().for_each(fs::start_writeback);
            }
            if known.is_none() {
                computed.update(bytes);
            }
            self.progress.advance(bytes.len() as u64);
            Ok(())
        })
        .with_context(|| format!("member {}", shown(plan.name(index))))?;
        self.written += size;
        let crc = known.map_or_else(|| computed.sum(), |(_, crc)| crc);
        self.what[index as usize] = Entry::File { size, crc, mode };
        if let Some(file) = file.filter(|_| self.is_early && size > 0) {
            fs::start_writeback(&file);
        }
        self.ahead.iter_mut().for_each(|ahead| ahead.wrote(size));
        Ok(())
    }

    /// Creates the file `index` with its owner and mode; `None` without a directory.
    fn create(&mut self, index: u32) -> Result<Option<File>> {
        let (plan, owner, granted) = (self.plan, self.owner, self.granted);
        let Some(top) = self.top else { return Ok(None) };
        let ((parent, name), mode) = (split(plan.path(index)), u32::from(plan.mode(index)));
        let dir = self.enter(top, parent, Kind::Dir.mode()).with_context(|| cannot("make", plan.name(index)))?;
        let file = dir.create_with(name, mode).with_context(|| cannot("create", plan.name(index)))?;
        if owner.is_some() || mode & !granted != 0 {
            fs::set_owner_and_mode(&file, owner, mode).with_context(|| owning(owner, plan.name(index)))?;
        }
        Ok(Some(file))
    }

    /// Makes the member `index` a copy of its original, which came before it; returns the number of content bytes.
    pub(super) fn copy(&mut self, index: u32) -> Result<u64> {
        let original = self.plan.original(index).unwrap_or(index);
        match self.what[original as usize] {
            Entry::File { size, crc, .. } => {
                match self.top {
                    Some(top) => self.copy_file(top, index, original, size)?,
                    None => self.written += size,
                }
                let mode = self.plan.mode(index);
                let copy = std::mem::replace(&mut self.what[index as usize], Entry::File { size, crc, mode });
                if self.top.is_some() && copy != self.what[index as usize] {
                    return Err(Error::failed("it is not what was written")).with_context(|| self.copying(original));
                }
                Ok(size)
            }
            link @ (Entry::Link { .. } | Entry::Dir { .. }) => {
                self.what[index as usize] = link;
                Ok(0)
            }
        }
    }

    fn copy_file(&mut self, top: &Dir, index: u32, original: u32, size: u64) -> Result<()> {
        let (parent, name) = split(self.plan.path(original));
        let file = self.enter(top, parent, Kind::Dir.mode()).and_then(|dir| dir.open_file(name));
        let mut file = file.with_context(|| self.copying(original))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(COPIED, 0);
        self.file(index, None, |write| transfer(&mut file, size, &mut buffer, write))?;
        self.buffer = buffer;
        Ok(())
    }

    fn copying(&self, original: u32) -> String {
        cannot("copy", self.plan.name(original))
    }

    /// Records the link `index` with the text that `fill` passes on.
    pub(super) fn link(
        &mut self,
        index: u32,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        in_time(self.deadline)?;
        let (budget, mut text) = (&mut self.budget, Vec::new());
        fill(&mut |bytes| {
            budget.take(bytes.len() as u64)?;
            text.extend_from_slice(bytes);
            Ok(())
        })
        .with_context(|| format!("member {}", shown(self.plan.name(index))))?;
        let text = self.texts.push(&text);
        let text = text.ok_or_else(|| Error::refused("the texts of its links are longer than 4 GiB together"))?;
        self.what[index as usize] = Entry::Link { text };
        Ok(())
    }

    /// Completes the tree: makes the links, and then lets other users read it.
    pub(super) fn finish(mut self) -> Result<Unpacked> {
        Paths::new(self.plan, &self.what, &self.texts, self.rule, self.budget.clone()).check()?;
        if let Some(top) = self.top {
            for index in self.plan.members() {
                self.make_link(index, top)?;
            }
            fs::set_owner_and_mode(top, self.owner, Kind::Dir.mode().into())
                .with_context(|| owning(self.owner, b"/"))?;
        }
        if let Some(Unchanged { count: count @ 1.., .. }) = self.unchanged {
            log::debug!("cloned {count} unchanged files of the live release");
        }
        let Self { plan, what, texts, written: bytes, .. } = self;
        Ok(Unpacked { entries: plan.count, bytes, space: plan.space, manifest: plan.manifest(&what, texts) })
    }

    /// Makes the member `index` if it is a link.
    fn make_link(&mut self, index: u32, top: &Dir) -> Result<()> {
        let Entry::Link { text } = self.what[index as usize] else { return Ok(()) };
        in_time(self.deadline)?;
        let (plan, owner) = (self.plan, self.owner);
        let (parent, name) = split(plan.path(index));
        self.enter(top, parent, Kind::Dir.mode()).with_context(|| cannot("make", plan.name(index)))?;
        let dir = self.trail.last(top);
        dir.symlink(OsStr::from_bytes(self.texts.get(text)), name).with_context(|| cannot("make", plan.name(index)))?;
        if let Some((uid, gid)) = owner {
            dir.set_owner(name, uid, gid).with_context(|| owning(owner, plan.name(index)))?;
        }
        Ok(())
    }

    /// Opens the directory at `path`; creates it and its parents with `mode` if they are missing.
    fn enter<'t>(&'t mut self, top: &'t Dir, path: &[u8], mode: u16) -> std::io::Result<&'t Dir> {
        let owner = self.owner;
        self.trail.enter(top, path, |dir, name| match dir.make_child(name, owner, mode.into()) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => dir.child(name),
            made => made,
        })
    }
}

fn cannot(verb: &str, name: &[u8]) -> String {
    format!("cannot {verb} {}", shown(name))
}

fn owning(owner: Option<(u32, u32)>, name: &[u8]) -> String {
    match owner {
        Some((uid, gid)) => format!("cannot give {} to {uid}:{gid} (owner)", shown(name)),
        None => format!("cannot set the mode of {}", shown(name)),
    }
}
