//! An entry created in a directory with a default ACL inherits it, as everywhere on Linux, unless the appspec sets an
//! ACL. Computed in advance, so that the wanted state of each path is known.

use std::path::{Path, PathBuf};

use super::live::Live;
use super::permissions::bits;
use super::plan::Plan;
use crate::error::Result;
use crate::store::ledger::Image;
use crate::sys::fs::Kind;
use crate::sys::xattr;

/// Applies inherited default ACLs to a plan with permissions.
pub(super) fn hand_down(plan: &mut Plan, live: &mut Live<'_>) -> Result<()> {
    // Caches the last parent, because neighbours follow each other.
    let mut foreign: (PathBuf, Option<Vec<u8>>) = (PathBuf::new(), None);
    let paths: Vec<PathBuf> = plan.keys().cloned().collect();
    for path in paths {
        let parent = path.parent().unwrap_or(Path::new(""));
        let handed = match plan.get(parent) {
            Some(image) => default_of(image),
            None => {
                if foreign.0 != parent {
                    let meta = live.look(parent)?.filter(|meta| meta.kind == Kind::Dir);
                    let image = meta.map(|meta| live.image(parent, &meta)).transpose()?;
                    foreign = (parent.to_owned(), image.as_ref().and_then(default_of));
                }
                foreign.1.clone()
            }
        };
        if let (Some(handed), Some(image)) = (handed, plan.get_mut(&path)) {
            give(image, handed);
        }
    }
    Ok(())
}

fn default_of(image: &Image) -> Option<Vec<u8>> {
    xattr::value(&image.attributes, xattr::DEFAULT_ACL.as_ref()).map(<[u8]>::to_vec)
}

fn give(image: &mut Image, default: Vec<u8>) {
    let lacks = |image: &Image, name: &str| xattr::value(&image.attributes, name.as_ref()).is_none();
    if image.kind == Kind::Link {
        return;
    }
    let mut own = default.clone();
    let has_mask = bits(&own).1;
    for entry in own.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let shift = match entry[0] {
            0x01 => 6,
            0x04 if !has_mask => 3,
            0x10 => 3,
            0x20 => 0,
            _ => continue,
        };
        entry[2] = u8::try_from(image.mode >> shift & 7).unwrap_or(0);
    }
    if has_mask && lacks(image, xattr::ACL) {
        xattr::put(&mut image.attributes, xattr::ACL.as_ref(), own);
    }
    if image.kind == Kind::Dir && lacks(image, xattr::DEFAULT_ACL) {
        xattr::put(&mut image.attributes, xattr::DEFAULT_ACL.as_ref(), default);
    }
}
