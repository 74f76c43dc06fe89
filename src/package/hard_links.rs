//! Hard links of an archive: second names of files and links that come before them. Each becomes a copy, which costs what
//! a file costs. Pure.

use super::names::{refusal, shown};
use crate::artifact::{Span, Texts};
use crate::error::{Error, Result};
use crate::store::manifest::Budget;

/// Hard links as they come, and what each member so far has in bytes.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    links: Vec<HardLink>,
    /// The names that they link to, until all members are there.
    targets: Texts,
    /// By member; empty where no hard link can be.
    sizes: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HardLink {
    /// The member that it is. `None`: it links to itself, and is none.
    pub(super) index: Option<u32>,
    /// How many members come before it.
    pub(super) before: u32,
    target: Span,
}

impl HardLinks {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The next member has `size` bytes.
    pub(super) fn push_size(&mut self, size: u64) {
        self.sizes.push(size);
    }

    /// Adds a link to `target`, a full name, of which the budget takes what it costs meanwhile.
    pub(super) fn push(&mut self, index: Option<u32>, before: u32, target: &[u8], budget: &mut Budget) -> Result<()> {
        if let Some(reason) = refusal(target) {
            return Err(Error::refused(format!("it is a hard link to {}: {reason}", shown(target))));
        }
        budget.take(target.len() as u64)?;
        let target = self.targets.push(target).ok_or_else(|| Error::refused("its names are longer than 4 GiB"))?;
        self.links.push(HardLink { index, before, target });
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// All of them, in order.
    pub(super) fn links(&mut self) -> Vec<HardLink> {
        std::mem::take(&mut self.links)
    }

    /// The full name that one of them links to.
    pub(super) fn target(&self, link: HardLink) -> &[u8] {
        self.targets.get(link.target)
    }

    /// Gives the member `index` the size of `original`, which it is.
    pub(super) fn copy_size(&mut self, index: u32, original: u32) -> u64 {
        let size = self.sizes.get(original as usize).copied().unwrap_or_default();
        if let Some(place) = self.sizes.get_mut(index as usize) {
            *place = size;
        }
        size
    }
}
