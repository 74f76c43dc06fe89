//! The installation plan of a bundle: every file, link and directory by its path on the host, in its wanted state.
//! Reads the bundle; the host is read only to resolve destinations.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::bundle::Installable;
use super::copies::{Copy, copies};
use super::path_name::shown;
use crate::appspec::{Appspec, Place, Problem};
use crate::error::{Context, Result};
use crate::store::ledger::Image;
use crate::sys::fs::{Dir, Kind, Meta};
use crate::sys::sort::sort;

/// The wanted images by path, without the first slash.
pub(super) type Plan = BTreeMap<PathBuf, Image>;

/// Directories in which nothing is installed.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The images of all `files` of the appspec, without entries `missing` from the bundle. `store` contains the release.
pub(super) fn gather(
    bundle: &Installable,
    store: &Path,
    missing: &[Problem],
    problems: &mut Vec<String>,
) -> Result<Plan> {
    let mut missing: Vec<Place> = missing.iter().map(|problem| problem.at).collect();
    sort(&mut missing, &mut Ord::cmp);
    let mut appspec = Appspec { hooks: Vec::new(), permissions: Vec::new(), ..bundle.appspec.clone() };
    appspec.files.retain_mut(|files| match destination(&files.destination.it) {
        Ok(to) => {
            files.destination.it = to;
            missing.binary_search(&files.source.at).is_err()
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

/// The wanted image of a copy. A directory without a source in the bundle is owned by this process.
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

/// Resolves the existing part of a destination, through links of root and of this process's user only.
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

/// Resolves the existing part of a path.
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
