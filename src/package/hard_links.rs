//! Hard links of an archive: further names of files and links that come before them. Each becomes a copy, and counts
//! like a file. Pure.

use super::names::{refusal, shown};
use crate::artifact::{Span, Texts};
use crate::error::{Error, Result};
use crate::store::manifest::Budget;

/// Hard links in the order of the archive, and the size of each member so far.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    links: Vec<HardLink>,
    /// The names of their targets, until all members are known.
    targets: Texts,
    /// By member; empty if the archive cannot contain hard links.
    sizes: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HardLink {
    /// The member that the link is. `None`: it links to itself, and is no member.
    pub(super) index: Option<u32>,
    /// The number of members before it.
    pub(super) before: u32,
    target: Span,
}

impl HardLinks {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Records that the next member has `size` bytes.
    pub(super) fn push_size(&mut self, size: u64) {
        self.sizes.push(size);
    }

    /// Adds a link to `target`, a full name, which the budget pays for meanwhile.
    pub(super) fn push(&mut self, index: Option<u32>, before: u32, target: &[u8], budget: &mut Budget) -> Result<()> {
        if let Some(reason) = refusal(target) {
            return Err(Error::refused(format!("it is a hard link to {}: {reason}", shown(target))));
        }
        budget.take(target.len() as u64)?;
        let target = self.targets.push(target).ok_or_else(|| Error::refused("its names are longer than 4 GiB"))?;
        self.links.push(HardLink { index, before, target });
        Ok(())
    }

    /// The number of hard links.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Takes all hard links, in order.
    pub(super) fn links(&mut self) -> Vec<HardLink> {
        std::mem::take(&mut self.links)
    }

    /// The full name that `link` links to.
    pub(super) fn target(&self, link: HardLink) -> &[u8] {
        self.targets.get(link.target)
    }

    /// Gives the member `index` the size of its `original`.
    pub(super) fn copy_size(&mut self, index: u32, original: u32) -> u64 {
        let size = self.sizes.get(original as usize).copied().unwrap_or_default();
        if let Some(place) = self.sizes.get_mut(index as usize) {
            *place = size;
        }
        size
    }
}
