//! Counts the steps of a search, for tests.

use std::cell::Cell;

thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

/// Called for each month, and each span of a zone.
pub fn step() {
    STEPS.set(STEPS.get() + 1);
}

/// The number of calls during `work`.
pub fn steps(work: impl FnOnce()) -> u64 {
    let before = STEPS.get();
    work();
    STEPS.get() - before
}
