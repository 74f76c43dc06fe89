//! A member as the directory of a ZIP describes it.

/// The size of a local header without name and extra fields.
pub(super) const LOCAL_HEADER: usize = 30;

/// The place of a member, and the properties of its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The offset of its local header.
    pub(super) start: u64,
    /// The offset of its compressed data.
    pub(super) data: u64,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) crc: u32,
    /// Its index in the plan; `None`: `strip-components` leaves nothing of its name.
    pub(super) index: Option<u32>,
    pub(super) deflated: bool,
}
