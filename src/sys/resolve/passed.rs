//! The directories that the last walk passed, so that the next one begins where the two paths part. A check resolves the
//! paths of the store, the live tree and the cache one after another, and most of each path is the same.
//!
//! Only from [`remember`] to [`forget`], and only directories that no other user can change: a directory that was moved or
//! mounted over in between is not noticed, so nothing may take long there, and nothing may be changed.

use std::cell::RefCell;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use crate::sys::fs::Dir;

/// A directory of a walk.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: OsString,
    pub(super) dir: Rc<Dir>,
    /// Whether it was judged.
    pub(super) is_judged: bool,
    /// It was judged, and only root and this process's user can change it.
    pub(super) is_ours: bool,
}

impl Step {
    pub(super) fn new(name: OsString, dir: Dir) -> Self {
        Self { name, dir: Rc::new(dir), is_judged: false, is_ours: false }
    }
}

thread_local! {
    /// From `/` down; `None`: nothing is remembered. Never dropped: to register that would cost more than it saves.
    static PASSED: ManuallyDrop<RefCell<Option<Vec<Step>>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// From here on, remembers the directories of each walk for the next one.
pub fn remember() {
    PASSED.with(|passed| {
        passed.borrow_mut().get_or_insert_default();
    });
}

/// From here on, each walk begins at `/` again.
pub fn forget() {
    PASSED.with(|passed| passed.replace(None));
}

/// The remembered directories that the path with these `steps` (the first one last) passes too, which are taken off it.
pub(super) fn begin(steps: &mut Vec<OsString>) -> Vec<Step> {
    PASSED.with(|passed| {
        let passed = passed.borrow();
        let Some([root, below @ ..]) = passed.as_deref() else { return Vec::new() };
        // The last step is what the walk is for.
        let shared =
            below.iter().zip(steps.iter().skip(1).rev()).take_while(|(step, name)| step.name == **name).count();
        steps.truncate(steps.len() - shared);
        [root].into_iter().chain(&below[..shared]).cloned().collect()
    })
}

/// Keeps the directories of a finished walk.
pub(super) fn end(open: &[Step]) {
    PASSED.with(|passed| {
        if let Some(passed) = &mut *passed.borrow_mut() {
            *passed = open.iter().take_while(|step| step.is_ours).cloned().collect();
        }
    });
}
