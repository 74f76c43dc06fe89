//! A stretch of time with one offset.

/// A stretch of time without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first second.
    pub start: i64,
    /// The first second after it.
    pub end: i64,
    /// The offset of local time, ahead of UTC, in seconds.
    pub offset: i64,
}

/// The ends of time, chosen so that no arithmetic here overflows.
pub const ALWAYS: Span = Span { start: i64::MIN / 4, end: i64::MAX / 4, offset: 0 };
