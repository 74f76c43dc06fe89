//! Previews the installation of a bundle, which need not be a release; writes nothing.

use std::path::{Path, PathBuf};

use super::bundle::Installable;
use super::live::Live;
use super::{Install, conflicts};
use crate::activate::limit::Limit;
use crate::error::{Context, Result};
use crate::store::ledger::Ledger;
use crate::store::manifest::Change;
use crate::sys::fs::{Dir, Kind};
use crate::sys::sort::sort;

/// The effects of an installation.
#[derive(Debug)]
pub struct Survey {
    /// All conflicts, a line each.
    pub conflicts: Vec<String>,
    /// Warnings.
    pub oddities: Vec<String>,
    /// Paths of the host, in order.
    pub changes: Vec<(Change, PathBuf)>,
}

impl Install {
    /// Plans the installation of the bundle in `top`, and lists its conflicts and changes.
    pub fn survey(&self, top: &Path) -> Result<Survey> {
        let bundle = Installable::read(top)?;
        let ledger = Ledger::read(&self.root)?;
        let open = |path: &Path| Dir::open(path).with_context(|| format!("cannot open {}", path.display()));
        // The preview reads file content from the bundle instead of a store.
        let (host, inside) = (open(Path::new("/"))?, open(&bundle.root)?);
        let mut live = Live::new(&host, &inside, &inside, Limit::SIGNALS);
        let mut conflicts = Vec::new();
        let (plan, idle) = self.judge(&bundle, &ledger, &mut live, &mut conflicts)?;
        let mut changes = Vec::new();
        for (path, image) in &plan {
            let change = match live.look(path)? {
                None => Change::Added,
                Some(meta) if live.is(path, &meta, image)? => continue,
                Some(_) => Change::Changed,
            };
            changes.push((change, Path::new("/").join(path)));
        }
        for (path, row) in ledger.rows.iter().filter(|(path, row)| row.have.is_some() && !plan.contains_key(*path)) {
            let Some(meta) = live.look(path)? else { continue };
            let change = match &row.origin {
                Some(_) => Change::Changed, // the former entry is restored
                None if meta.kind == Kind::Dir && conflicts::stranger(&ledger, &mut live, path)?.is_some() => continue,
                None => Change::Removed,
            };
            changes.push((change, Path::new("/").join(path)));
        }
        sort(&mut changes, &mut |(_, one), (_, other)| one.cmp(other));
        Ok(Survey { conflicts, oddities: bundle.oddities(&idle), changes })
    }
}
