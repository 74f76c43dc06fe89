//! The budget for names and link targets, the same for all sources, so that a tree that compresses well costs no more
//! memory than another. It counts stored bytes; code that only passes bytes on has limits of its own.

use crate::console::progress::size;
use crate::error::{Error, Result};

/// The bytes left for names and link targets of one tree (`max-names`).
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    used: u64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    /// Takes `bytes` from the budget; fails if fewer are left. The caller names the member.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        if self.used <= self.limit {
            return Ok(());
        }
        let limit = size(self.limit);
        Err(Error::refused(format!("with it names and link texts are over max-names = {limit}")))
    }

    /// Returns `bytes` that were taken but are not stored.
    pub fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn budget_holds_to_the_last_byte() {
        let cases: [(u64, &[u64], bool); 7] = [
            (0, &[0], true),
            (0, &[1], false),
            (10, &[4, 6], true),
            (10, &[4, 6, 0], true),
            (10, &[4, 6, 1], false),
            (10, &[1, u64::MAX], false),
            (u64::MAX, &[u64::MAX, u64::MAX], true),
        ];
        for (limit, takes, fits) in cases {
            let mut budget = Budget::new(limit);
            let taken = takes.iter().try_for_each(|bytes| budget.take(*bytes));
            assert_eq!(taken.is_ok(), fits, "{takes:?} of {limit}");
            if let Err(e) = taken {
                assert_eq!(e.kind(), Kind::Refused);
                assert!(e.to_string().starts_with("with it names and link texts are over max-names = "), "{e}");
            }
        }
    }
}
