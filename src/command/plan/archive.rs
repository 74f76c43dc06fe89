//! Plans an archive that the store does not have: from the directory of a ZIP, which is not fetched; or else the
//! archive is fetched, verified and read as in a check, but not unpacked into the store. A fetched archive stays in the
//! cache for the next check.

use std::path::Path;

use super::{Fact, Plan};
use crate::activate::install::bundle;
use crate::command::scratch::Scratch;
use crate::config::Settings;
use crate::console::progress::size;
use crate::deploy::check::Check;
use crate::error::{Context, Error, Kind, Result};
use crate::model::ActivationMode;
use crate::package::{self, Unpacked, Verified};
use crate::source::Offer;
use crate::store::check_room;
use crate::store::manifest::Manifest;
use crate::store::state::Record;
use crate::sys::fs::{self, Dir};

impl Check<'_> {
    /// Plans a ZIP from its directory. False: the archive must be fetched.
    pub fn plan_by_directory(&self, plan: &mut Plan, live: &Manifest, offer: &mut Offer) -> Result<bool> {
        let Settings { layout, max_download, remote, .. } = self.settings;
        let remote = &remote.to_string();
        let cannot = || format!("cannot fetch {remote}");
        let Some(mut glimpse) = offer.glimpse(*max_download, self.deadline).with_context(cannot)? else {
            return Ok(false);
        };
        let Some(directory) = package::directory_of(&glimpse.file, remote)? else { return Ok(false) };
        if !offer.reach(&mut glimpse, directory, self.deadline).with_context(cannot)? {
            return Ok(false);
        }
        let unpacked = package::survey_directory(&glimpse.file, remote, layout, live, self.deadline)?;
        if let Some(revision) = &offer.revision {
            plan.facts.push(("revision", Fact::Revision(revision.clone())));
        }
        plan.bytes("fetch", glimpse.total);
        plan.bytes("read", glimpse.bytes);
        if self.demands.is_some() {
            plan.text("proof", "to be given by what is fetched; this is only what the directory says");
        }
        self.plan_room(plan, &unpacked, glimpse.total)?;
        self.plan_switch(plan, live, &unpacked.manifest)?;
        Ok(true)
    }

    /// Plans an archive that must be fetched as a whole.
    pub fn plan_by_fetching(&mut self, plan: &mut Plan, live: &Manifest, offer: Offer) -> Result<()> {
        let settings = self.settings;
        let writes = !settings.remote.is_read_in_place() || self.demands.is_some();
        // The cache is used by one check at a time.
        let alone = if writes { self.store.try_lock(&self.places.store)? } else { None };
        let is_download = writes && settings.remote.is_archive();
        let download = self.places.download();
        let fetched = self.fetch(offer, &download)?;
        // The cache keeps git objects, and a download with a note of its revision.
        let is_kept = !settings.remote.is_archive() || download.is_begun();
        let told = match fetched {
            Some((verified, record)) => self.plan_fetched(plan, live, (&verified, &record), is_kept),
            None => {
                self.plan_nothing(plan);
                Ok(())
            }
        };
        // A refused archive must not be used again, and a download without a note cannot be resumed.
        if is_download && (!is_kept || told.as_ref().is_err_and(|e| e.kind() == Kind::Refused)) {
            download.discard();
        }
        drop(alone);
        told
    }

    fn plan_fetched(
        &self,
        plan: &mut Plan,
        live: &Manifest,
        (verified, record): (&Verified, &Record),
        is_kept: bool,
    ) -> Result<()> {
        if self.store.release(&record.release)?.is_some() {
            return self.plan_ready(plan, live, record);
        }
        plan.facts.push(("revision", Fact::Revision(record.revision.clone())));
        plan.text("release", record.release.as_str());
        let is_here = self.settings.remote.is_read_in_place();
        plan.bytes("fetch", if is_kept || is_here { 0 } else { self.findings.fetched });
        if self.findings.fetched > 0 {
            plan.bytes("read", self.findings.fetched);
        }
        if is_kept {
            plan.notes
                .push("it had to be fetched to tell, and is kept: the next check does not fetch it again".to_owned());
        }
        plan.facts.extend(record.proof.clone().map(|proof| ("proof", Fact::Text(proof))));
        let scratch = match self.state.mode {
            ActivationMode::Install => Some(Scratch::new("plan")?),
            ActivationMode::Symlink | ActivationMode::InPlace => None,
        };
        let place = scratch.as_ref().map(Scratch::dir);
        let unpacked = self.unpack_checked(verified, place, &self.source, &record.validators)?;
        self.plan_room(plan, &unpacked, 0)?;
        match scratch {
            Some(scratch) => {
                bundle::make_scripts_executable(scratch.path())?;
                self.plan_install(plan, scratch.path(), &record.release)
            }
            None => self.plan_switch(plan, live, &unpacked.manifest),
        }
    }

    /// Whether there is room for the archive and its content.
    fn plan_room(&self, plan: &mut Plan, unpacked: &Unpacked, fetch: u64) -> Result<()> {
        let Settings { remote, .. } = self.settings;
        let (store, cache) = (nearest(self.store.root())?, nearest(&self.places.cache)?);
        let device = |dir: &Dir| dir.meta().map(|meta| meta.dev).with_context(|| "cannot examine a directory");
        let room = |dir: &Dir| fs::room(dir).map(|(bytes, _)| bytes).with_context(|| "cannot ask for free space");
        let needs = unpacked.space + if device(&store)? == device(&cache)? { fetch } else { 0 };
        plan.bytes("unpacked", unpacked.bytes);
        plan.bytes("needs", needs);
        plan.bytes("free", room(&store)?);
        if fetch > room(&cache)? {
            let (needs, free) = (size(fetch), size(room(&cache)?));
            return Err(Error::failed(format!(
                "cannot fetch {remote}: it needs {needs}, and {free} are free in the cache: cache names another place"
            )));
        }
        check_room(needs, unpacked.entries, &store).with_context(|| format!("cannot unpack {remote}"))
    }
}

/// Opens the directory at `path`, or its nearest existing parent.
fn nearest(path: &Path) -> Result<Dir> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    Dir::open(there).with_context(|| format!("cannot open {}", there.display()))
}
