//! HTTP for archives, S3, AWS, notifications, and git's credentials. `client` sends one request to an origin, with
//! proxies (`proxy`), redirects (`redirect`, `address_policy`) and retries (`retry`, `status`, `request_error`), over
//! ureq (`connector`, `head`, `tls`, `roots`). `download` (`partial_download`, `content_range`, `coding`) writes a body to a
//! file; `range_reader` fetches only the parts of an archive that list its contents, and `assembly` writes an archive from
//! parts of it and bytes that are known. A source whose responses differ
//! from plain HTTP has a `response_policy`. Credentials come from `auth` (`netrc`, `secret_file`).

mod address_policy;
pub mod assembly;
pub mod auth;
pub mod client;
pub mod coding;
mod connector;
mod content_range;
pub mod download;
mod head;
pub mod message;
mod netrc;
mod partial_download;
pub mod post;
mod proxy;
pub mod range_reader;
mod redirect;
pub mod request_error;
pub mod response_policy;
pub mod retry;
pub mod roots;
pub mod secret_file;
pub mod status;
mod tls;
pub mod validators;

use std::sync::{Mutex, PoisonError};

/// Warnings that were logged already: a daemon does not repeat them at every check.
static WARNED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Logs each warning that this process has not logged yet.
pub fn warn_once(warnings: Vec<String>) {
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    for warning in warnings {
        if !warned.contains(&warning) {
            log::warn!("{warning}");
            warned.push(warning);
        }
    }
}

/// Decodes a percent-encoded part of a URL.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}
