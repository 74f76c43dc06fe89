//! What a plan says that changes. It is as long as two releases have names, so it is not kept: it is found out again from
//! the two whenever it is wanted.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::store::manifest::{Change, Manifest};

/// So many changes are shown where nobody asked for all of them.
pub const FEW: usize = 40;

/// What becomes of names.
#[derive(Debug, Default)]
pub struct Changes {
    all: All,
    /// The first ones.
    first: Vec<(Change, PathBuf)>,
    added: usize,
    changed: usize,
    removed: usize,
}

#[derive(Debug)]
enum All {
    /// On a machine, where somebody has listed them.
    Listed(Vec<(Change, PathBuf)>),
    /// From one tree to another.
    Between { from: Manifest, to: Manifest, preserve: Vec<PathBuf> },
}

impl Default for All {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Changes {
    /// Those of a list.
    pub fn listed(list: Vec<(Change, PathBuf)>) -> Self {
        let mut changes = Self::default();
        list.iter().for_each(|(change, path)| changes.note(*change, path));
        Self { all: All::Listed(list), ..changes }
    }

    /// Those from one tree to another but in `preserve`.
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.added + self.changed + self.removed
    }

    /// How many of each kind, in words.
    pub fn summary(&self) -> String {
        let Self { added, changed, removed, .. } = self;
        format!("{added} added, {changed} changed, {removed} removed")
    }

    /// Passes on the first ones, at most [`FEW`].
    pub fn each_of_few(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        self.first.iter().try_for_each(|(change, path)| tell(*change, path))
    }

    /// Passes on all of them, in order.
    pub fn each(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        self.all.each(tell)
    }
}

impl All {
    fn each(&self, tell: &mut dyn FnMut(Change, &Path) -> Result<()>) -> Result<()> {
        match self {
            Self::Listed(list) => list.iter().try_for_each(|(change, path)| tell(*change, path)),
            Self::Between { from, to, preserve } => {
                from.changes(to, &mut |change, item| match preserve.iter().any(|kept| item.path.starts_with(kept)) {
                    true => Ok(()),
                    false => tell(change, &item.path),
                })
            }
        }
    }
}
