//! The changes in a plan. The list may be as long as two releases have names, so it is not stored but computed from the
//! two manifests whenever it is needed.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::store::manifest::{Change, Manifest};

/// The number of changes that are shown unless all are asked for.
pub const FEW: usize = 40;

/// The changes of a plan.
#[derive(Debug, Default)]
pub struct Changes {
    all: All,
    /// The first changes, at most [`FEW`].
    first: Vec<(Change, PathBuf)>,
    added: usize,
    changed: usize,
    removed: usize,
}

#[derive(Debug)]
enum All {
    /// A finished list, for an installation on the host.
    Listed(Vec<(Change, PathBuf)>),
    /// The differences between two trees.
    Between { from: Manifest, to: Manifest, preserve: Vec<PathBuf> },
}

impl Default for All {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Changes {
    /// The changes in a list.
    pub fn listed(list: Vec<(Change, PathBuf)>) -> Self {
        let mut changes = Self::default();
        list.iter().for_each(|(change, path)| changes.note(*change, path));
        Self { all: All::Listed(list), ..changes }
    }

    /// The changes from one tree to another, except in `preserve`.
    pub fn between(from: &Manifest, to: &Manifest, preserve: &[PathBuf]) -> Result<Self> {
        let all = All::Between { from: from.clone(), to: to.clone(), preserve: preserve.to_vec() };
        let mut changes = Self::default();
        all.each(&mut |change, path| {
            changes.note(change, path);
            Ok(())
        })?;
        Ok(Self { all, ..changes })
    }

    fn note(&mut self, change: Change, path: &Path) {
        match change {
            Change::Added => self.added += 1,
            Change::Changed => self.changed += 1,
            Change::Removed => self.removed += 1,
        }
        if self.first.len() < FEW {
            self.first.push((change, path.to_owned()));
        }
    }

    /// The number of changes.
    pub fn count(&self) -> usize {
        self.added + self.changed + self.removed
    }

    /// The number of changes of each kind, as text.
    pub fn summary(&self) -> String {
        let Self { added, changed, removed, .. } = self;
        format!("{added} added, {changed} changed, {removed} removed")
    }

    /// Calls `tell` with the first changes, at most [`FEW`].
    pub fn each_of_few(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        self.first.iter().try_for_each(|(change, path)| tell(*change, path))
    }

    /// Calls `tell` with all changes, in order.
    pub fn each(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        self.all.each(tell)
    }
}

impl All {
    fn each(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        match self {
            Self::Listed(list) => list.iter().try_for_each(|(change, path)| tell(*change, path)),
            Self::Between { from, to, preserve } => from.changes_except(to, preserve, tell),
        }
    }
}
