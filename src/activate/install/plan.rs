//! What a bundle puts where: every file, link and directory at its place on the host, as it is to be there. The bundle is
//! read, the host only for where destinations lead.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::bundle::Installable;
use super::copies::{Copy, copies};
use super::shown;
use crate::appspec::{Appspec, Place, Problem};
use crate::error::{Context, Result};
use crate::store::ledger::Image;
use crate::sys::fs::{Dir, Kind, Meta};

/// What is to be where, by path without its first slash.
pub(super) type Plan = BTreeMap<PathBuf, Image>;

/// Where nothing is installed, whatever the bundle says.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Everything that the `files` of the appspec say; what is `missing` from the bundle is left out. `store` is where the
/// release lies.
pub(super) fn gather(
    bundle: &Installable,
    store: &Path,
    missing: &[Problem],
    problems: &mut Vec<String>,
) -> Result<Plan> {
    let missing: BTreeSet<Place> = missing.iter().map(|problem| problem.at).collect();
    let mut appspec = Appspec { hooks: Vec::new(), permissions: Vec::new(), ..bundle.appspec.clone() };
    appspec.files.retain_mut(|files| match destination(&files.destination.it) {
        Ok(to) => {
            files.destination.it = to;
            !missing.contains(&files.source.at)
        }
        Err(text) => {
            problems.push(bundle.line(&Problem { at: files.destination.at, is_warning: false, text }));
            false
        }
    });
    let (copies, clashes) = copies(&appspec, &bundle.root)?;
    problems.extend(clashes.iter().map(|problem| bundle.line(problem)));
    let top = Dir::open(&bundle.root).with_context(|| "cannot open the bundle")?;
    let inside = bundle.root.strip_prefix(store).unwrap_or(Path::new(""));
    let mut plan = Plan::new();
    for (to, copy) in copies {
        let path = to.strip_prefix("/").unwrap_or(&to);
        if to.starts_with(store) {
            let text = format!("{} is in our own store", shown(path));
            problems.push(bundle.line(&Problem { at: copy.at, is_warning: false, text }));
        } else if !path.as_os_str().is_empty() {
            plan.insert(path.to_owned(), image(&top, inside, &copy)?);
        }
    }
    Ok(plan)
}

/// What is to be there. A directory that the bundle does not have is ours.
fn image(top: &Dir, inside: &Path, copy: &Copy) -> Result<Image> {
    let nothing = PathBuf::new();
    let Some(source) = copy.source.as_deref().filter(|source| !source.as_os_str().is_empty()) else {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (kind, mode, mtime, attributes) = (Kind::Dir, 0o755, (0, 0), Vec::new());
        return Ok(Image { kind, mode, uid, gid, mtime, source: nothing, attributes });
    };
    let look = || -> std::io::Result<(Meta, PathBuf)> {
        let name = source.file_name().unwrap_or_default();
        let dir = top.descend(source.parent().unwrap_or(&nothing))?;
        let meta = dir.look(name)?.ok_or(std::io::ErrorKind::NotFound)?;
        let source = match meta.kind {
            Kind::Link => dir.read_link(name)?.into(),
            Kind::File => inside.join(source),
            Kind::Dir | Kind::Other => nothing.clone(),
        };
        Ok((meta, source))
    };
    let (meta, source) = look().with_context(|| format!("cannot look at {} of the bundle", source.display()))?;
    let Meta { kind, mode, uid, gid, .. } = meta;
    let mtime = if kind == Kind::Dir { (0, 0) } else { meta.mtime };
    Ok(Image { kind, mode, uid, gid, mtime, source, attributes: Vec::new() })
}

/// Where a destination leads: what exists of it is resolved, through links that nobody but root and we could have made.
fn destination(path: &Path) -> Result<PathBuf, String> {
    for place in path.ancestors() {
        if let Ok(meta) = std::fs::symlink_metadata(place)
            && meta.is_symlink()
            && ![0, rustix::process::geteuid().as_raw()].contains(&meta.uid())
        {
            return Err(format!("{} is a link of user {}, which is not followed", place.display(), meta.uid()));
        }
    }
    let to = resolved(path);
    if to == Path::new("/") {
        return Err("the destination leads to /: name a directory below it".to_owned());
    }
    match KERNELS.iter().find(|dir| to.starts_with(dir) && !to.starts_with("/dev/shm")) {
        Some(kernel) => Err(format!("the destination {} is in {kernel}, which is the kernel's", to.display())),
        None => Ok(to),
    }
}

/// The path with what exists of it resolved.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    for place in path.ancestors() {
        if let Ok(real) = std::fs::canonicalize(place) {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        rest.extend(place.file_name());
    }
    path.to_owned()
}
