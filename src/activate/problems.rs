//! Joins the problems of a release into one error.

use crate::error::Error;

/// Joins several problems into one error: all are logged, and the error names the first.
pub(super) fn refusal(problems: &[String]) -> Error {
    let [first, more @ ..] = problems else { return Error::refused("nothing is wrong") };
    if more.is_empty() {
        return Error::refused(first.as_str());
    }
    problems.iter().for_each(|problem| log::error!("{problem}"));
    Error::refused(format!("{first} (and {} more, above)", more.len()))
}
