//! The result of a poll; `T` is the data of one kind of source.

use crate::model::{Revision, Validators};

/// The result of a poll.
#[derive(Debug)]
pub enum Poll<T> {
    /// The source still has the known revision.
    Unchanged,
    /// The source has another revision.
    Changed(Offer<T>),
}

/// A revision that the source has now, with the data needed to fetch exactly this revision.
#[derive(Debug)]
pub struct Offer<T> {
    /// The revision; `None` if the source sent no validators: then it is computed from the content after the fetch.
    pub revision: Option<Revision>,
    /// The validators for the next conditional poll, as far as this poll has found them.
    pub validators: Validators,
    /// The data, by the kind of the source.
    pub(super) kind: T,
}

impl<T> Poll<T> {
    /// The same with the data that `wrap` makes of its own.
    pub(super) fn map<U>(self, wrap: impl FnOnce(T) -> U) -> Poll<U> {
        match self {
            Self::Unchanged => Poll::Unchanged,
            Self::Changed(Offer { revision, validators, kind }) => {
                Poll::Changed(Offer { revision, validators, kind: wrap(kind) })
            }
        }
    }
}
