//! Checks the operator's files that a poll reads, without any request, so that an error is found before a check fails
//! with it. Each file is read by the same function as in a poll.

use crate::config::Http;
use crate::config::keys::Name;
use crate::error::Result;

/// A problem: the key of the file, whether it is only a warning, and the message.
pub type Remark = (Name, bool, String);

/// Problems with the files of trusted roots.
pub(super) fn roots(http: &Http) -> Vec<Remark> {
    let read = crate::http::roots::check(http);
    read.err().map(|e| (Name::CaFile, false, e.to_string())).into_iter().collect()
}

/// Problems with the files of credentials; `read` is the result of reading them: warnings, or an error.
pub(super) fn credentials(http: &Http, read: Result<Vec<String>>) -> Vec<Remark> {
    let key = if http.password_file.is_some() { Name::HttpPasswordFile } else { Name::Netrc };
    match read {
        Ok(warnings) => warnings.into_iter().map(|text| (key, true, text)).collect(),
        Err(e) => vec![(key, false, e.to_string())],
    }
}
