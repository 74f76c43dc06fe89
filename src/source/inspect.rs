//! The operator's files that a poll reads, read without asking anybody: what a check would fail with, for whoever wants to know
//! that before. Each is read by the call that the poll makes.

use super::Source;

use crate::config::Http;
use crate::config::keys::Name;
use crate::error::Result;

/// Something that is wrong: the key of the file, whether it works all the same, and what.
pub type Remark = (Name, bool, String);

impl Source {
    /// What is wrong with the files that this source reads.
    pub fn inspect(&self) -> Vec<Remark> {
        match self {
            Self::File(source) => source.inspect(),
            Self::Http(source) => source.inspect(),
            Self::S3(source) => source.inspect(),
            Self::Git(source) => source.inspect(),
        }
    }
}

/// What is wrong with the files that say whom to believe.
pub(super) fn roots(http: &Http) -> Vec<Remark> {
    let read = crate::http::tls::check_roots(http);
    read.err().map(|e| (Name::CaFile, false, e.to_string())).into_iter().collect()
}

/// What is wrong with the files that say who we are, out of having read them: warnings, or the error.
pub(super) fn credentials(http: &Http, read: Result<Vec<String>>) -> Vec<Remark> {
    let key = if http.password_file.is_some() { Name::HttpPasswordFile } else { Name::Netrc };
    match read {
        Ok(warnings) => warnings.into_iter().map(|text| (key, true, text)).collect(),
        Err(e) => vec![(key, false, e.to_string())],
    }
}
