//! Compares a plan with the host and the ledger: finds conflicts, unmanaged entries to keep, and the entries to record
//! for a rollback. Changes nothing on the host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::live::{Live, mounted, refuse_other};
use super::path_name::shown;
use super::plan::Plan;
use crate::appspec::Behaviour;
use crate::error::{Context, Result};
use crate::model::ReleaseId;
use crate::store::ledger::{Before, Image, Ledger, Row, Stage};
use crate::sys::fs::{Dir, Kind};

/// Removes existing unmanaged entries from `plan`: directories, and files to retain. Each path that cannot be installed
/// is added to `problems`.
pub(super) fn judge(
    plan: &mut Plan,
    ledger: &Ledger,
    live: &mut Live<'_>,
    behaviour: Behaviour,
    problems: &mut Vec<String>,
) -> Result<()> {
    let mut foreign = Vec::new();
    for (path, image) in plan.iter() {
        let Some(meta) = live.look(path)? else { continue };
        if let Err(e) = refuse_other(path, &meta) {
            problems.push(e.to_string());
            continue;
        }
        if image.kind != Kind::Dir && live.is_mount(path)? {
            problems.push(mounted(path));
            continue;
        }
        let place = shown(path);
        match (is_ours(ledger, path), image.kind == Kind::Dir, meta.kind == Kind::Dir) {
            (true, true, true) | (true, _, false) => {}
            (true, false, true) => {
                if let Some(stranger) = stranger(ledger, live, path)? {
                    let stranger = shown(&stranger);
                    problems.push(format!("{place} is to be a file, and {stranger} in it is not ours: move it away"));
                }
            }
            (false, true, true) => foreign.push(path.clone()),
            (false, false, true) => {
                problems.push(format!("{place} is to be a file, and it is a directory: move it away"));
            }
            (false, true, false) => {
                let what = if meta.kind == Kind::Link { "link" } else { "file" };
                problems.push(format!("{place} is to be a directory, and it is a {what}: move it away"));
            }
            (false, false, false) => match behaviour {
                Behaviour::Overwrite => {}
                Behaviour::Retain => foreign.push(path.clone()),
                Behaviour::Disallow => problems.push(format!(
                    "{place} exists, and no deployment of ours put it there: move it away, or say file_exists_behavior: OVERWRITE or RETAIN"
                )),
            },
        }
    }
    for path in foreign {
        plan.remove(&path);
    }
    // A path that is no longer planned gets its origin back, which must not be blocked.
    for (path, row) in ledger.rows.iter().filter(|(path, row)| !plan.contains_key(*path) && !row.is_foreign()) {
        let has_origin = row.origin.as_ref().is_some_and(|origin| origin.kind != Kind::Dir);
        if has_origin
            && live.look(path)?.is_some_and(|meta| meta.kind == Kind::Dir)
            && let Some(stranger) = stranger(ledger, live, path)?
        {
            let (path, stranger) = (shown(path), shown(&stranger));
            problems
                .push(format!("what was at {path} before cannot come back: {stranger} is in the way, move it away"));
        }
    }
    Ok(())
}

/// Whether the entry at `path` was installed by this deployment, or may be by now.
fn is_ours(ledger: &Ledger, path: &Path) -> bool {
    let may_be_in_place = matches!(ledger.target, Some((Stage::Installing, _)));
    ledger.rows.get(path).is_some_and(|row| row.have.is_some() || (may_be_in_place && row.want.is_some()))
}

/// An unmanaged entry in the directory `path`, if any.
pub(super) fn stranger(ledger: &Ledger, live: &mut Live<'_>, path: &Path) -> Result<Option<PathBuf>> {
    let names =
        live.dir_of(&path.join("x")).and_then(Dir::names).with_context(|| format!("cannot read {}", shown(path)))?;
    for name in names {
        let child = path.join(name);
        if !is_ours(ledger, &child) {
            return Ok(Some(child));
        }
        if live.look(&child)?.is_some_and(|meta| meta.kind == Kind::Dir)
            && let Some(found) = stranger(ledger, live, &child)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The ledger for the deployment of `target`: every installed or planned path, with the present entry if this
/// deployment did not install it.
pub(super) fn settle(ledger: Ledger, plan: Plan, live: &mut Live<'_>, target: (Stage, ReleaseId)) -> Result<Ledger> {
    let mut settled = Ledger { installed: ledger.installed, target: Some(target), rows: Default::default() };
    let stage = ledger.target.map(|(stage, _)| stage);
    for (path, row) in ledger.rows {
        let row = match stage {
            None => Row { before: before(live, &path, row.have.as_ref())?, want: None, ..row },
            // The recorded rows count: they describe the host before that deployment, which may be partly in place.
            Some(Stage::Installing) => Row { want: None, ..row },
            Some(Stage::Preparing) if row.have.is_some() || row.is_foreign() => Row { want: None, ..row },
            // Not in place yet: an entry that has appeared since, made by a script, becomes the origin.
            Some(Stage::Preparing) if plan.contains_key(&path) => {
                let origin = if row.origin.is_none() { origin(live, &path)? } else { row.origin };
                Row::new(origin)
            }
            Some(Stage::Preparing) => continue,
        };
        settled.rows.insert(path, row);
    }
    for (path, image) in plan {
        match settled.rows.get_mut(&path) {
            // An unmanaged directory that existed a moment ago: it is restored as it was.
            Some(row) if row.is_foreign() && image.kind == Kind::Dir => {}
            Some(row) => row.want = Some(image),
            None => {
                let row = Row { want: Some(image), ..Row::new(origin(live, &path)?) };
                settled.rows.insert(path, row);
            }
        }
    }
    add_parents(&mut settled, live)?;
    Ok(settled)
}

/// The entry at a managed path, if it differs from the installed one.
fn before(live: &mut Live<'_>, path: &Path, have: Option<&Image>) -> Result<Before> {
    let Some(meta) = live.look(path)? else { return Ok(Before::Absent) };
    Ok(match have {
        _ if meta.kind == Kind::Other => Before::Same, // never touched
        Some(have) if live.is_untouched(path, &meta, have)? => Before::Same,
        have => Before::Was(live.snapshot(path, &meta, have)?),
    })
}

/// The entry at a path that becomes managed; `None` for a directory.
fn origin(live: &mut Live<'_>, path: &Path) -> Result<Option<Image>> {
    match live.look(path)? {
        Some(meta) if meta.kind != Kind::Dir => live.snapshot(path, &meta, None).map(Some),
        _ => Ok(None),
    }
}

/// Adds rows for unmanaged directories above managed paths: a script may remove them.
fn add_parents(ledger: &mut Ledger, live: &mut Live<'_>) -> Result<()> {
    let mut above: BTreeSet<PathBuf> = BTreeSet::new();
    for path in ledger.rows.keys() {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !ledger.rows.contains_key(*path);
        above.extend(path.ancestors().skip(1).filter(is_missing).map(Path::to_owned));
    }
    for path in above {
        if let Some(meta) = live.look(&path)?.filter(|meta| meta.kind == Kind::Dir) {
            let row = Row::new(Some(live.image(&path, &meta)?));
            ledger.rows.insert(path, row);
        }
    }
    Ok(())
}
