//! From an artifact to a tree: determines its kind (a ZIP, a tar, a directory of this host, a tree in pieces), verifies
//! it, and unpacks it. All kinds share one policy and one writer; only reading differs. After a refusal the caller
//! removes the unpacked entries.

mod directory;
mod hard_links;
mod links;
mod minisign;
mod names;
mod policy;
mod sniff;
mod sums;
mod tar;
#[cfg(test)]
mod tests;
mod trail;
mod transfer;
mod tree;
mod unchanged;
mod unpacked;
mod verify;
mod version;
mod writer;
mod zip;

use std::fs::File;

use crate::artifact::Content;
use crate::error::{Context, Error, Result};
use crate::model::Layout;
use crate::store::Original;
use crate::store::manifest::Manifest;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

pub use self::sniff::EXTENSIONS;
pub use self::unpacked::Unpacked;
pub use self::verify::{Demands, Verified, verify};
pub use self::zip::delta;

/// The offset of a ZIP's directory; `file` needs only the head and the end of it. `None`: it is no ZIP.
pub fn directory_of(file: &File, name: &str) -> Result<Option<u64>> {
    let head = sniff::head(file).with_context(|| format!("cannot read {name}"))?;
    if sniff::tar(&head).is_some() {
        return Ok(None);
    }
    Ok(zip::end::find(file).with_context(|| format!("cannot unpack {name}"))?.map(|end| end.directory))
}

/// Like [`unpack`] without a directory, for a ZIP of which `file` has only the head, the directory and the end; `live` is the release it
/// will be compared with.
pub fn survey_directory(
    file: &File,
    name: &str,
    layout: &Layout,
    live: &Manifest,
    deadline: Deadline,
) -> Result<Unpacked> {
    let cannot = || format!("cannot unpack {name}");
    match zip::end::find(file).with_context(cannot)? {
        Some(end) => zip::survey(file, &end, layout, live, deadline).with_context(cannot),
        None => Err(Error::failed(format!("{name} has no directory"))),
    }
}

/// Unpacks `verified` into `staging`, an empty directory; on an error the caller removes its content. Files that `live`
/// has unchanged may be cloned from it. Without a directory, writes nothing, but reads and checks the artifact
/// completely, and returns the tree that it would make.
pub fn unpack(
    verified: &Verified,
    staging: Option<&Dir>,
    live: Option<&Original>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let artifact = verified.artifact();
    let name = &artifact.name;
    match &artifact.content {
        Content::Archive(file) => unpack_archive(file, name, staging, live, layout, deadline),
        Content::Directory(folder) => {
            directory::unpack(folder, staging, layout, deadline).with_context(|| format!("cannot copy {name}"))
        }
        Content::Tree(tree) => {
            tree::unpack(&**tree, staging, layout, deadline).with_context(|| format!("cannot unpack {name}"))
        }
    }
}

/// Whether a file is an archive, or begins like one.
pub fn is_archive(file: &File) -> Result<bool> {
    let head = sniff::head(file).with_context(|| "cannot read it")?;
    Ok(sniff::tar(&head).is_some() || head.starts_with(b"PK"))
}

/// The first bytes decide on the kind, then the end of a ZIP: a tar may contain such an end in one of its files.
fn unpack_archive(
    file: &File,
    name: &str,
    staging: Option<&Dir>,
    live: Option<&Original>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let cannot = |e: Error| e.about(name, "cannot unpack ");
    let head = sniff::head(file).with_context(|| format!("cannot read {name}"))?;
    if let Some(compression) = sniff::tar(&head) {
        return tar::unpack(file, compression, staging, layout, deadline).map_err(cannot);
    }
    match zip::end::find(file).map_err(cannot)? {
        Some(end) => zip::unpack(file, &end, staging, live, layout, deadline).map_err(cannot),
        None => Err(sniff::no_archive(name, &head)),
    }
}
